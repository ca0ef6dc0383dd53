"""The learning-rate finder: a sensible rate, a picture, everything as it was before, bad arguments named."""

from pathlib import Path
from typing import Any

import pytest

import minidl
from minidl import DataLoader, Trainer, datasets, layers, optim
from minidl import functions as F
from minidl.optim import schedules
from minidl.training.lr_finder import LRCurve


def digits(lr: Any = 1e-3) -> tuple[Trainer, Any, Any]:
    minidl.seed(0)
    (x, t), _ = datasets.digits()
    model = layers.Sequential(layers.MLP([32, 10]), layers.Dropout(0.1))
    return Trainer(model, optim.Adam(model, lr=lr), F.cross_entropy), x, t


def test_the_suggestion_trains_well_and_the_plot_shows_it(tmp_path: Path) -> None:
    trainer, x, t = digits()
    found = trainer.find_lr(x, t)
    assert found.suggestion is not None
    assert (
        1e-4 < found.suggestion < 0.3
        and len(found.rates) == len(found.losses) == len(found.smooth) <= 100
    )
    assert found.rates[-1] < 10  # it ended where it diverged
    pytest.importorskip("matplotlib")
    figure = found.plot(tmp_path / "rates.png")
    assert (tmp_path / "rates.png").stat().st_size > 10_000 and figure.axes[0].get_xscale() == "log"
    trainer.optimizer.lr = found.suggestion
    assert trainer.fit(x, t, epochs=3, verbose=0)["loss"][-1] < 0.5


@pytest.mark.parametrize("lr", [0.01, schedules.cosine(0.01, 100)])
@pytest.mark.parametrize("trained", [False, True])
def test_everything_is_as_it_was(lr: Any, trained: bool) -> None:
    results = []
    for look in (False, True):
        trainer, x, t = digits(lr)
        loader = DataLoader(x, t, batch_size=200)
        if trained:
            trainer.fit(loader, epochs=2, max_steps=9, verbose=0)
        if look:
            trainer.find_lr(loader, steps=30)
            assert trainer.optimizer.lr == lr
        trainer.fit(loader, epochs=1, verbose=0)
        weights = [p.data.tobytes() for p in trainer.optimizer.params]
        results.append((weights, trainer.history.rows, minidl.random.generator().random()))
    assert results[0] == results[1]


@pytest.mark.parametrize(
    "keywords", [{"start": 0.1, "end": 0.1}, {"start": 0}, {"steps": 2}, {"steps": 0}]
)
def test_bad_arguments(keywords: Any) -> None:
    trainer, x, t = digits()
    with pytest.raises(ValueError, match="find_lr: "):
        trainer.find_lr(x, t, **keywords)


def test_losses_that_never_fall() -> None:
    curve = LRCurve([0.1, 0.2, 0.4], [1.0, 2.0, 3.0])
    assert curve.suggestion is None
    assert repr(curve) == "LRCurve(3 rates from 0.1 to 0.4, suggestion=None)"
    pytest.importorskip("matplotlib")
    assert len(curve.plot().axes[0].lines) == 2
