"""minidl against numbers that other systems computed: functions and their derivatives, training trajectories.
The numbers and their origin are in `reference/`; what holds without another system is tested elsewhere."""

import json
from pathlib import Path

import numpy as np
import pytest

import minidl
from minidl import Variable, layers, optim
from minidl import functions as F
from minidl.optim import hooks, schedules

NAMES = {**vars(layers), **vars(optim), "F": F, "np": np, "hooks": hooks, "schedules": schedules}


def cases(name):
    with np.load(Path(__file__).parent / "reference" / name) as file:
        index, numbers = json.loads(str(file["index"])), file["numbers"]
    position, params = 0, []
    for number, case in enumerate(index):
        for key, shape in case.pop("shapes").items():
            case[key] = numbers[position : (position := position + int(np.prod(shape)))].reshape(
                shape
            )
        label = case.get("call") or f"{case['model']} {case['optimizer']}"
        params.append(pytest.param(case, id=f"{number}: {label}"))
    assert position == numbers.size
    return params


def every(case, prefix):
    return {
        key.removeprefix(prefix): value for key, value in case.items() if key.startswith(prefix)
    }


def close(ours, theirs, tolerance):
    assert isinstance(ours, Variable)
    assert ours.dtype == np.float64
    np.testing.assert_allclose(
        ours.data, theirs, rtol=tolerance, atol=tolerance
    )  # checks the shape too


@pytest.mark.parametrize("case", cases("functions.npz") + cases("torch_functions.npz"))
def test_value_gradient_and_second_derivative(case):
    inputs = {name: Variable(array) for name, array in every(case, "input ").items()}
    value = eval(case["call"], NAMES | inputs)
    close(value, case["value"], 1e-12)

    for create_graph in (False, True):  # fused functions have a rule of their own for the first
        for x in inputs.values():
            x.cleargrad()
        value.backward(case["u"], create_graph=create_graph)
        first = {name: x.grad for name, x in inputs.items()}
        for name, gradient in first.items():
            close(gradient, case[f"first {name}"], 1e-11)

    along = sum(F.sum(gradient * case[f"v {name}"]) for name, gradient in first.items())
    along = (
        along + sum(F.sum(x) for x in inputs.values()) * 0.0
    )  # so that it depends on all of them
    second = minidl.gradients(along, list(inputs.values()))
    for name, gradient in zip(inputs, second, strict=True):
        close(gradient, case[f"second {name}"], 1e-11)


class Last(layers.Layer):
    def __init__(self, recurrent, readout):
        self.recurrent, self.readout = recurrent, readout

    def forward(self, x):
        return self.readout(self.recurrent(x)[:, -1])


@pytest.mark.parametrize("case", cases("trajectories.npz"))
def test_training_trajectory(case):
    model = eval(case["model"], NAMES | {"Last": Last})
    names = [name for name, _ in model.named_parameters()]
    model.load_state_dict(dict(zip(names, every(case, "initial ").values(), strict=True)))
    optimizer = eval(case["optimizer"], NAMES | {"model": model})
    loss_function = getattr(F, case["loss"])
    t = case["t"].astype(np.int64) if case["loss"] == "cross_entropy" else case["t"]

    losses = []
    for _ in case["losses"]:
        loss = loss_function(model(case["x"]), t)
        model.cleargrads()
        loss.backward()
        optimizer.update()
        losses.append(loss.item())

    np.testing.assert_allclose(losses, case["losses"], rtol=1e-10)
    for parameter, final in zip(model.parameters(), every(case, "final ").values(), strict=True):
        close(parameter, final, 1e-10)
