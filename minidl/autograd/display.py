"""How others see a Variable: libraries that share its memory by DLPack, notebooks that show a card.

Nothing here computes. The graph's picture is drawn by minidl.interop.graph.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

import numpy as np

from minidl.common.arrays import host
from minidl.common.html import block, card


class DisplayMixin:
    """What Variable, the one class made from it, is to others."""

    __slots__ = ()

    def __dlpack__(self: Any, **settings: Any) -> Any:
        """The memory of a Variable that requires no gradient, shared.

        BufferError for one that does.
        """
        if self._node is not None:
            raise BufferError(
                "DLPack would lose the graph of a Variable that requires a gradient; "
                "pass variable.data"
            )
        return self.data.__dlpack__(**settings)

    def __dlpack_device__(self: Any) -> Any:
        return self.data.__dlpack_device__()  # (1, 0): the CPU

    def _repr_html_(self: Any) -> str:
        title = type(self).__name__ + (f" {self.name}" if self.name else "")
        if self.lazy:
            return card(title, "no data yet")
        facts = [f"{self.dtype} {self.shape}"]
        if self.creator:
            facts.append(f"made by {self.creator.name}")
        elif self._node is None:
            facts.append("constant")
        if self.grad is not None:
            facts.append("has a gradient")
        body = block(np.array2string(host(self.data), precision=5, threshold=200, edgeitems=3))
        if self.creator:
            body += import_module("minidl.interop.graph").notebook_drawing(self)
        return card(title, " · ".join(facts), body)
