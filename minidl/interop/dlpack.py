"""Arrays of other libraries by DLPack, whose memory is shared.

PyTorch's weights are in torch.py.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from minidl.autograd import Variable

__all__ = ["from_dlpack"]


def from_dlpack(x: Any, requires_grad: bool | None = None, name: str | None = None) -> Variable:
    """A Variable over the memory of another library's array or tensor; nothing is copied.

    A change on either side is seen on the other, until the Variable is given other memory: at an
    optimizer's first update (which moves what it trains into one buffer of its own), when ``.data``
    is assigned another array, by ``load_state_dict`` and ``to``. ``x`` has ``__dlpack__`` and lies
    in the CPU's memory; the other arguments are ``Variable``'s. The way out is
    ``torch.from_dlpack(variable.data)``, or, for one that requires no gradient, of the variable
    itself. NumPy before 2.3 shares memory to be read only: writing into it raises.

    Raises TypeError if ``x`` does not speak DLPack, BufferError if it lies elsewhere or may not be
    shared.

    >>> a = np.zeros(2)
    >>> x = from_dlpack(a)
    >>> a[0] = 1
    >>> x
    Variable([1., 0.])
    """
    if not hasattr(x, "__dlpack__"):
        hint = "Variable(x) takes arrays, numbers and lists"
        raise TypeError(f"from_dlpack: {type(x).__name__} has no __dlpack__; {hint}")
    try:
        shared = np.from_dlpack(x)
    except BufferError:
        raise
    except (RuntimeError, ValueError) as error:
        raise BufferError(
            f"from_dlpack: this {type(x).__name__} cannot be shared with the CPU: {error}"
        ) from error
    return Variable(shared, requires_grad, name)
