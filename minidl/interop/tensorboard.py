"""TensorBoard: a callback that writes what a fit measures where TensorBoard shows it.

What is measured is decided in training; `Logger`, which needs no library, is in its callbacks.py.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from minidl.common.arrays import host
from minidl.common.checks import count, flag
from minidl.common.extras import install
from minidl.layers.layer import Layer
from minidl.training.callbacks import Callback

__all__ = ["TensorBoard"]


class TensorBoard(Callback):
    """Write the figures of every epoch to a folder that ``tensorboard --logdir`` shows.

    They stand over the number of updates: ``loss/training`` and ``loss/validation``, so every
    metric, and the rate ``lr``. Its ``folder`` is made if it is not there; give each run one of its
    own beside the others to compare them. In one that has figures already a new fit hides them, and
    a resumed one only those after the checkpoint, so that no step is shown twice; no file is
    changed or removed. Of several processes only the first one writes.

    Args:
        folder: where the event files lie.
        histograms: whether the model's parameters are written too, as histograms.
        gradients: whether those of the last update in the epoch are.

    What is not finite in a histogram is left out. Raises ImportError without tensorboardX (the
    extra ``tensorboard``), NotADirectoryError for a ``folder`` that is a file, ValueError as a fit
    begins for one that another callback writes to.

    >>> import tempfile
    >>> try:
    ...     TensorBoard(tempfile.mkdtemp(), histograms=True).histograms
    ... except ImportError:
    ...     True
    True
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        histograms: bool = False,
        gradients: bool = False,
    ) -> None:
        try:
            import tensorboardX  # noqa: F401  # said now, not after an epoch
        except ImportError:
            raise ImportError(
                f"TensorBoard: tensorboardX is not installed; {install('tensorboard')}"
            ) from None
        self.folder = Path(folder)
        self.histograms = flag("TensorBoard: histograms", histograms)
        self.gradients = flag("TensorBoard: gradients", gradients)
        if self.folder.exists() and not self.folder.is_dir():
            raise NotADirectoryError(f"TensorBoard: want a folder, got the file {folder}")
        self.written = -1  # the last step
        self._writer: Any = None

    def on_train_begin(self) -> None:
        self.written = -1
        for other in self.trainer.callbacks:
            if isinstance(other, TensorBoard) and other is not self and other.folder == self.folder:
                raise ValueError(f"TensorBoard: two callbacks would write to {self.folder}")

    def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
        if not self.trainer._writes:
            return
        if self._writer is None:
            self._writer = self._open()
        step = self.trainer.steps
        for name, value in logs.items():
            self._writer.add_scalar(tag_of(name), value, step)
        for name, p in self._parameters().items():
            if self.histograms:
                self._write_histogram(f"parameters/{name}", p, step)
            if self.gradients:
                self._write_histogram(f"gradients/{name}", p.grad, step)
        self._writer.flush()
        self.written = step

    def on_train_end(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _open(self) -> Any:
        """A writer, of which TensorBoard learns that it takes the place of all later steps."""
        from tensorboardX import SummaryWriter

        self.folder.mkdir(parents=True, exist_ok=True)
        files = sum(1 for _ in self.folder.iterdir())  # two files of one second need two names
        return SummaryWriter(
            str(self.folder),
            purge_step=self.written + 1,
            filename_suffix=f".{files:06}",
        )

    def _parameters(self) -> dict[str, Any]:
        """Those with data, by name; those of a model that is a function by number."""
        if isinstance(self.trainer.model, Layer):
            named: list[tuple[str, Any]] = list(self.trainer.model.named_parameters())
        else:
            named = [(str(i), p) for i, p in enumerate(self.trainer.optimizer.params)]
        return {name: p for name, p in named if not p.lazy}

    def _write_histogram(self, tag: str, x: Any, step: int) -> None:
        if x is None:
            return
        values = np.asarray(host(x.data), np.float64)
        values = values[np.isfinite(values)]
        if values.size:
            self._writer.add_histogram(tag, values, step)

    def state_dict(self) -> dict[str, Any]:
        return {"written": self.written}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.written = count("TensorBoard: written", state["written"], least=-1)


def tag_of(name: str) -> str:
    """Where TensorBoard shows a figure: both of a loss or metric in one group.

    >>> tag_of("loss"), tag_of("val_loss"), tag_of("lr")
    ('loss/training', 'loss/validation', 'lr')
    """
    if name == "lr":
        return name
    trained = name.removeprefix("val_")
    return f"{trained}/training" if trained == name else f"{trained}/validation"
