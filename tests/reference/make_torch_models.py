"""Makes torch_models.npz and torch_convolutions.npz: state dicts of PyTorch's and what the models
give, for test_torch.py.

It needs PyTorch.
"""

from pathlib import Path

import numpy as np
import torch
from torch import nn


class Forecaster(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm, self.out = nn.LSTM(3, 5, batch_first=True), nn.Linear(5, 2)

    def forward(self, x):
        return self.out(self.lstm(x)[0][:, -1])


def convolutions():
    """Models of images and series; what they get is stored features last, as minidl has it."""
    torch.manual_seed(1)
    models = {
        "images": nn.Sequential(
            nn.Conv2d(2, 6, (3, 2), stride=(1, 2), padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(6, 4, 3, padding="same", dilation=2, groups=2, bias=False),
            nn.Flatten(),
            nn.Linear(48, 5),
            nn.ReLU(),
            nn.Linear(5, 3),
        ),
        "series": nn.Sequential(
            nn.Conv1d(3, 4, 3, stride=2, padding=1),
            nn.Tanh(),
            nn.AvgPool1d(2),
            nn.AdaptiveAvgPool1d(1),
            nn.Flatten(),
        ),
    }
    arrays = {}
    for name, model in models.items():
        x = torch.randn((4, 2, 8, 10) if name == "images" else (4, 3, 9))
        arrays[f"{name}/x"] = x.movedim(1, -1)
        arrays[f"{name}/y"] = model(x)
        arrays |= {f"{name}/{key}": value for key, value in model.state_dict().items()}
    return arrays


def write(name, arrays):
    path = Path(__file__).with_name(name)
    np.savez_compressed(path, **{name: value.detach().numpy() for name, value in arrays.items()})


def main():
    torch.manual_seed(0)
    models = {
        "linear": nn.Linear(3, 4),
        "sequential": nn.Sequential(
            nn.Linear(3, 7), nn.Tanh(), nn.Linear(7, 6), nn.Tanh(), nn.Linear(6, 3)
        ),
        "rnn": nn.RNN(3, 5, batch_first=True),
        "lstm": nn.LSTM(3, 5, batch_first=True),
        "two lstms": nn.LSTM(3, 5, num_layers=2, batch_first=True),
        "forecaster": Forecaster(),
        "gru": nn.GRU(3, 5, batch_first=True),
        "bidirectional lstm": nn.LSTM(3, 5, batch_first=True, bidirectional=True),
        "two bidirectional grus": nn.GRU(3, 5, 2, batch_first=True, bidirectional=True),
    }
    arrays = {}
    for name, model in models.items():
        x = torch.randn((4, 3) if name in ("linear", "sequential") else (4, 6, 3))
        y = model(x)
        arrays[f"{name}/x"], arrays[f"{name}/y"] = x, y[0] if isinstance(y, tuple) else y
        arrays |= {f"{name}/{key}": value for key, value in model.state_dict().items()}
    write("torch_models.npz", arrays)
    write("torch_convolutions.npz", convolutions())


if __name__ == "__main__":
    main()
