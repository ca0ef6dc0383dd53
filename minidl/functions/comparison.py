"""Functions with nothing to differentiate: comparisons, signs, positions. Recorded, without a rule.

Choice by a condition (``where``, ``maximum``) has a derivative and lives in elementwise.py.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from minidl.autograd.function import differentiable, implements
from minidl.autograd.modes import values_of

# fmt: off
__all__ = [
    "all", "angle", "any", "argmax", "argmin", "argsort", "bitwise_and", "bitwise_count", "bitwise_or",
    "bitwise_xor", "ceil", "equal", "floor", "floor_divide", "gcd", "greater", "greater_equal",
    "imag", "invert", "iscomplex", "isfinite", "isin", "isinf", "isnan",
    "isneginf", "isposinf", "isreal", "lcm", "left_shift", "less", "less_equal",
    "logical_and", "logical_not", "logical_or", "logical_xor", "nanargmax", "nanargmin", "nonzero",
    "not_equal", "ones_like", "right_shift", "rint", "round", "sign", "signbit", "spacing", "trunc", "zeros_like",
]
# fmt: on

# fmt: off
equal         = differentiable(np.equal)
not_equal     = differentiable(np.not_equal)
less          = differentiable(np.less)
less_equal    = differentiable(np.less_equal)
greater       = differentiable(np.greater)
greater_equal = differentiable(np.greater_equal)
logical_and   = differentiable(np.logical_and)
logical_or    = differentiable(np.logical_or)
logical_xor   = differentiable(np.logical_xor)
logical_not   = differentiable(np.logical_not)
bitwise_and   = differentiable(np.bitwise_and)
bitwise_or    = differentiable(np.bitwise_or)
bitwise_xor   = differentiable(np.bitwise_xor)
invert        = differentiable(np.invert)
left_shift    = differentiable(np.left_shift)
right_shift   = differentiable(np.right_shift)
gcd           = differentiable(np.gcd)
lcm           = differentiable(np.lcm)
bitwise_count = differentiable(np.bitwise_count)
signbit       = differentiable(np.signbit)
spacing       = differentiable(np.spacing)
isnan         = differentiable(np.isnan)
isfinite      = differentiable(np.isfinite)
isinf         = differentiable(np.isinf)
sign          = differentiable(np.sign)
floor         = differentiable(np.floor)
ceil          = differentiable(np.ceil)
rint          = differentiable(np.rint)
trunc         = differentiable(np.trunc, name="trunc", replaces=(np.fix,))
round         = differentiable(np.round, replaces=(np.round, np.around))
floor_divide  = differentiable(np.floor_divide)
argmax        = differentiable(np.argmax, replaces=(np.argmax,))
argmin        = differentiable(np.argmin, replaces=(np.argmin,))
argsort       = differentiable(np.argsort, replaces=(np.argsort,))
nonzero       = differentiable(np.nonzero, replaces=(np.nonzero,), static=0)
isin          = differentiable(np.isin, replaces=(np.isin,))
isposinf      = differentiable(np.isposinf, replaces=(np.isposinf,))
isneginf      = differentiable(np.isneginf, replaces=(np.isneginf,))
nanargmax     = differentiable(np.nanargmax, replaces=(np.nanargmax,))
nanargmin     = differentiable(np.nanargmin, replaces=(np.nanargmin,))
# Of real numbers, the only ones there are.
imag          = differentiable(np.imag, replaces=(np.imag,))
angle         = differentiable(np.angle, replaces=(np.angle,))
isreal        = differentiable(np.isreal, replaces=(np.isreal,))
iscomplex     = differentiable(np.iscomplex, replaces=(np.iscomplex,))
any           = differentiable(np.any, replaces=(np.any,))
all           = differentiable(np.all, replaces=(np.all,))
zeros_like    = differentiable(np.zeros_like, replaces=(np.zeros_like,))
ones_like     = differentiable(np.ones_like, replaces=(np.ones_like,))
# fmt: on


# Questions whose answers are plain Python values.
implements(np.shape)(lambda a: a.shape)
implements(np.ndim)(lambda a: a.ndim)
implements(np.isrealobj)(lambda x: True)
implements(np.iscomplexobj)(lambda x: False)
implements(np.size)(lambda a, axis=None: np.size(a.data, axis))


def _plain(original: Callable[..., Any]) -> None:
    """Let a function that answers in plain Python values take the values of Variables."""
    how = f"np.{original.__name__}"

    def answer(*args: Any, **settings: Any) -> Any:
        return original(*[values_of(a, how) for a in args], **settings)

    implements(original)(answer)


_ANSWERS: list[Callable[..., Any]] = [np.allclose, np.array_equal, np.array_equiv, np.result_type]
_ANSWERS += [np.array_repr, np.array_str, np.array2string, np.shares_memory, np.min_scalar_type]
for _original in _ANSWERS:
    _plain(_original)
