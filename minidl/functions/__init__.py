"""Every differentiable function, under NumPy's own name where NumPy has it, and the losses.

Public names, no logic. The functions register themselves, so that NumPy's own and the operators of
Variables find them.
"""

from minidl.functions.activation import (
    dropout, gelu, leaky_relu, log_softmax, mask_fill, relu, sigmoid, softmax, softplus,
)
from minidl.functions.comparison import (
    all, any, argmax, argmin, argsort, bitwise_and, bitwise_or, bitwise_xor, ceil, equal, floor, greater,
    greater_equal, invert, isfinite, isinf, isnan, less, less_equal, logical_and, logical_not, logical_or,
    nonzero, not_equal, ones_like, rint, sign, zeros_like,
)
from minidl.functions.elementwise import (
    abs, add, arctan, astype, clip, cos, cosh, divide, erf, exp, expm1, log, log1p, maximum, minimum, multiply,
    negative, positive, power, sin, sinh, sqrt, square, subtract, tan, tanh, where,
)
from minidl.functions.indexing import getitem, take
from minidl.functions.linalg import dot, linear, matmul
from minidl.functions.loss import (
    accuracy, binary_cross_entropy, binary_cross_entropy_with_logits, cross_entropy, huber, mean_squared_error,
)
from minidl.functions.recurrent import lstm, rnn
from minidl.functions.reduction import max, mean, min, sum, var
from minidl.functions.shape import (
    broadcast_to, concatenate, expand_dims, ravel, reshape, split, squeeze, stack, sum_to, swapaxes, transpose,
)

__all__ = [
    "abs", "accuracy", "add", "all", "any", "arctan", "argmax", "argmin", "argsort", "astype",
    "binary_cross_entropy", "binary_cross_entropy_with_logits", "bitwise_and", "bitwise_or", "bitwise_xor",
    "broadcast_to", "ceil", "clip", "concatenate", "cos", "cosh", "cross_entropy", "divide", "dot", "dropout",
    "equal", "erf", "exp", "expand_dims", "expm1", "floor", "gelu", "getitem", "greater", "greater_equal", "huber",
    "invert", "isfinite", "isinf", "isnan", "leaky_relu", "less", "less_equal", "linear", "log", "log1p",
    "log_softmax", "logical_and", "logical_not", "logical_or", "lstm", "mask_fill", "matmul", "max", "maximum", "mean",
    "mean_squared_error", "min", "minimum", "multiply", "negative", "nonzero", "not_equal", "ones_like", "positive",
    "power", "ravel", "relu", "reshape", "rint", "rnn", "sigmoid", "sign", "sin", "sinh", "softmax", "softplus",
    "split", "sqrt", "square", "squeeze", "stack", "subtract", "sum", "sum_to", "swapaxes", "take", "tan", "tanh",
    "transpose", "var", "where", "zeros_like",
]
