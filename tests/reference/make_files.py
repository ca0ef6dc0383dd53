"""Write the files that later versions have to read: weights in both formats, and a checkpoint.

Until the first release they are made anew when a format changes; from then on they stay, and a new format
gets a folder beside them. Usage: python -m tests.reference.make_files
"""

from pathlib import Path

import numpy as np

import minidl
from minidl import Trainer, layers, optim
from minidl import functions as F

FOLDER = Path(__file__).parent / "files_0_1"
X = np.linspace(-1, 1, 12, dtype=np.float32)[:, None]
T = X**2
EPOCHS = 2


def trainer() -> Trainer:
    minidl.seed(0)
    model = layers.MLP([4, 1], in_features=1)
    return Trainer(
        model, optim.Adam(model, lr=optim.schedules.cosine(0.05, 12)), F.mean_squared_error
    )


def fit(t: Trainer, epochs: int, **settings: object) -> None:
    t.fit(X, T, epochs=epochs, batch_size=4, verbose=0, **settings)


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    t = trainer()
    fit(t, EPOCHS)
    t.save(FOLDER / "checkpoint.npz")
    t.model.save(FOLDER / "weights.npz")
    t.model.save(FOLDER / "weights.safetensors")


if __name__ == "__main__":
    main()
