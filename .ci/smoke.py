"""What is installed trains a model on the data it ships: for the wheel, in an environment with nothing else.

Run it with -I from another folder, so that no checkout is imported.
"""

import sys
from pathlib import Path

import minidl
from minidl import Trainer, datasets, layers, optim
from minidl import functions as F

home = Path(minidl.__file__).parent
if Path(sys.prefix) not in home.parents:
    sys.exit(f"want the minidl installed in {sys.prefix}, got {home}")
(x, t), held_out = datasets.digits()
model = layers.MLP([64, 10])
trainer = Trainer(model, optim.Adam(model, lr=3e-3), F.cross_entropy, metrics=[F.accuracy])
accuracy = trainer.fit(x, t, epochs=10, validation=held_out, verbose=0)["val_accuracy"][-1]
if accuracy < 0.9 or not (home / "py.typed").exists():
    sys.exit(f"accuracy {accuracy}, want 0.9 at least; py.typed: {(home / 'py.typed').exists()}")
print(f"minidl {minidl.__version__} from the wheel: accuracy {accuracy:.3f}")
