"""On one GPU: W4, W6 and a wider MLP, minidl on CuPy's arrays beside PyTorch; steps per second, share of the peak rate.

``python -m benchmarks.gpu`` needs a GPU, CuPy and PyTorch, and says so where one is missing. Not run so far: no GPU was
at hand when it was written, and docs/speed.md has no figures of it.
"""

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.workloads import WORKLOADS, Data, Workload, classifier, turns

WIDE = Workload(
    "wide",
    "MLP 4096-4096-4096-10 ReLU, batch 1024, cross-entropy, AdamW",
    lambda rng: classifier(rng, (4096, 4096, 4096, 10), 1024),
)
ROUNDS, SECONDS, CHECKS = 5, 1.0, 5


def operations(d: Data) -> float:
    """Multiplications and additions in the matrix products of one training step."""
    batch, time_steps = len(d.x), d.x.shape[1] if d.x.ndim == 3 else 1
    matrices = [w.size for w in d.weights if w.ndim == 2]
    forward = 2 * batch * (time_steps * sum(matrices[:-1]) + matrices[-1])
    return (
        3.0 * forward - 2 * batch * time_steps * matrices[0]
    )  # nobody wants the gradient of the data


def peak(cupy: Any, n: int = 8192) -> float:
    """What one large product of float32 matrices reaches here, in operations per second."""
    a = cupy.ones((n, n), cupy.float32)
    return 2.0 * n**3 * rate(lambda: a @ a, cupy.cuda.runtime.deviceSynchronize)


def rate(step: Callable[[], Any], wait: Callable[[], Any]) -> float:
    """Steps per second, of at least ``SECONDS``, from and to an idle GPU."""
    step()
    wait()
    count, begun = 0, time.perf_counter()
    while count < 10 or time.perf_counter() - begun < SECONDS:
        for _ in range(10):
            step()
        wait()
        count += 10
    return count / (time.perf_counter() - begun)


def steps(name: str, d: Data, cupy: Any, torch: Any) -> dict[str, Callable[[], Any]]:
    """The training step of each, from the same weights."""
    from benchmarks.peers import minidl_eager, torch_eager

    weights = [cupy.asarray(w) for w in d.weights]
    batches = [tuple(map(cupy.asarray, batch)) for batch in d.batches]
    there = Data(**vars(d) | {"batches": batches, "weights": weights})
    recurrent = name == "W6"
    convert = torch_eager.time_first if recurrent else torch_eager.tensor
    make = (
        (lambda: torch_eager.Recurrent(d, last=True))
        if recurrent
        else (lambda: torch_eager.mlp(d, torch.nn.ReLU))
    )
    decay = {} if recurrent else {"weight_decay": torch_eager.DECAY}
    optimizer = torch.optim.Adam if recurrent else torch.optim.AdamW
    theirs = torch_eager.train(
        lambda: make().cuda(),
        optimizer,
        torch.nn.functional.cross_entropy,
        lambda: turns(d, lambda x: convert(x).cuda(), lambda t: torch_eager.tensor(t).cuda()),
        torch_eager.plainly,
        lr=d.lr,
        **decay,
    )
    return {
        "minidl": (minidl_eager.w6 if recurrent else minidl_eager.w4)(there),
        "PyTorch": theirs["fused"],
    }


def main() -> None:
    try:
        import cupy
        import torch

        if not (torch.cuda.is_available() and cupy.cuda.runtime.getDeviceCount()):
            raise ImportError("no GPU found")
    except Exception as error:
        print(f"benchmarks.gpu: needs a GPU, CuPy and PyTorch: {error}")
        return
    most = peak(cupy)
    print(
        f"float32 matrix product: {most / 1e12:.1f} TFLOP/s\n\n| | | steps/s | of the peak |\n|---|---|---|---|"
    )
    for workload in (WORKLOADS["W4"], WORKLOADS["W6"], WIDE):
        d = workload.data()
        both = steps(workload.name, d, cupy, torch)
        losses = [[float(step().item()) for _ in range(CHECKS)] for step in both.values()]
        np.testing.assert_allclose(
            *losses, rtol=1e-3, err_msg=f"{workload.name}: not the same losses"
        )
        rates: dict[str, list[float]] = {name: [] for name in both}
        for _ in range(ROUNDS):
            for name, step in both.items():
                rates[name].append(rate(step, cupy.cuda.runtime.deviceSynchronize))
        for name, found in rates.items():
            middle = float(np.median(found))
            print(
                f"| {workload.title} | {name} | {middle:.1f} | {middle * operations(d) / most:.1%} |"
            )


if __name__ == "__main__":
    main()
