"""What the ranks of test_ranks.py run under mpiexec: examples whose weights are kept, and ranks that fail.

mpiexec -n 2 python -m mpi4py tests/distributed/rank_program.py example mlp_digits float64 weights.npz
"""

import os
import runpy
import signal
import sys
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

import minidl  # noqa: E402  # the checkout's, which the line above found
from minidl import Trainer, callbacks, layers, optim  # noqa: E402
from minidl import functions as F  # noqa: E402


def example(name: str, dtype: str, file: str) -> None:
    """Run an example in its short form, its model computing in a dtype; the first rank keeps the weights."""
    made = []

    class Noted(Trainer):
        def __init__(self, model, *args, **settings):
            super().__init__(model.to(dtype=dtype), *args, **settings)
            made.append(self)

    minidl.Trainer = Noted
    sys.argv = [name, "--short", "--distributed"]
    runpy.run_path(str(ROOT / "examples" / f"{name}.py"), run_name="__main__")
    (trainer,) = made
    weights = {n: p.data for n, p in trainer.model.named_parameters()}
    assert {p.dtype.name for p in weights.values()} == {dtype}
    if trainer.ranks.first:
        np.savez(
            file, **weights, loss=trainer.history["loss"], val_loss=trainer.history["val_loss"]
        )


class Fault(callbacks.Callback):
    def __init__(self, how: str, rank: int) -> None:
        self.how, self.rank = how, rank

    def on_batch_end(self, batch: int, logs: dict[str, float]) -> None:
        if self.trainer.ranks.rank != self.rank or self.trainer.steps != 20:
            return
        if self.how == "raise":
            raise ValueError("a fault of this rank alone")
        if self.how == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.how == "term":
            os.kill(os.getpid(), signal.SIGTERM)
        if self.how == "exit":
            sys.exit("this rank leaves")
        if self.how == "drift":
            next(iter(self.trainer.model.parameters())).data[...] += 1e-3
        if self.how == "stop":
            self.trainer.stop = True


def fault(how: str, rank: str) -> None:
    """Train for long, with something that happens to one rank after 20 updates."""
    minidl.seed(0)
    x = np.linspace(-1, 1, 64)[:, None]
    model = layers.MLP([8, 1])
    trainer = Trainer(
        model,
        optim.SGD(model, lr=0.01),
        F.mean_squared_error,
        callbacks=[Fault(how, int(rank))],
        distributed=True,
    )
    start = time.perf_counter()
    trainer.fit(x, x**2, epochs=10**6, batch_size=16, verbose=0, max_time=30.0)
    trainer.ranks.comm.Barrier()
    seconds = time.perf_counter() - start
    print(
        f"rank {trainer.ranks.rank} ended at {trainer.steps} {trainer.interrupted}: {seconds:.1f} s",
        flush=True,
    )


if __name__ == "__main__":
    {"example": example, "fault": fault}[sys.argv[1]](*sys.argv[2:])
