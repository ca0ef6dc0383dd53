"""Every differentiable function, under NumPy's own name where NumPy has it, and the losses.

Public names, no logic. The functions register themselves, so that NumPy's own and the operators of
Variables find them.
"""

from typing import TYPE_CHECKING

from minidl.common.hints import refuse_unknown
from minidl.functions import (
    activation,
    classification,
    comparison,
    convolution,
    cumulative,
    decompositions,
    differences,
    dot_attention,
    elementwise,
    error_function,
    indexing,
    joining,
    linalg,
    loops,
    loss,
    metrics,
    normalization,
    order,
    polynomials,
    pooling,
    probabilities,
    products,
    rearrangement,
    recurrent_gru,
    recurrent_lstm,
    recurrent_rnn,
    reduction,
    regression,
    shape,
    special,  # noqa: F401  # registers itself; its names are SciPy's
    statistics,
    ufuncs,
)
from minidl.functions.activation import *
from minidl.functions.classification import *
from minidl.functions.comparison import *
from minidl.functions.convolution import *
from minidl.functions.cumulative import *
from minidl.functions.decompositions import *
from minidl.functions.differences import *
from minidl.functions.dot_attention import *
from minidl.functions.elementwise import *
from minidl.functions.error_function import *
from minidl.functions.indexing import *
from minidl.functions.joining import *
from minidl.functions.linalg import *
from minidl.functions.loops import *
from minidl.functions.loss import *
from minidl.functions.metrics import *
from minidl.functions.normalization import *
from minidl.functions.order import *
from minidl.functions.polynomials import *
from minidl.functions.pooling import *
from minidl.functions.probabilities import *
from minidl.functions.products import *
from minidl.functions.rearrangement import *
from minidl.functions.recurrent_gru import *
from minidl.functions.recurrent_lstm import *
from minidl.functions.recurrent_rnn import *
from minidl.functions.reduction import *
from minidl.functions.regression import *
from minidl.functions.shape import *
from minidl.functions.statistics import *
from minidl.functions.ufuncs import *

__all__ = [
    *activation.__all__,
    *classification.__all__,
    *comparison.__all__,
    *convolution.__all__,
    *decompositions.__all__,
    *statistics.__all__,
    *rearrangement.__all__,
    *metrics.__all__,
    *order.__all__,
    *joining.__all__,
    *differences.__all__,
    *cumulative.__all__,
    *dot_attention.__all__,
    *elementwise.__all__,
    *error_function.__all__,
    *indexing.__all__,
    *linalg.__all__,
    *loops.__all__,
    *loss.__all__,
    *normalization.__all__,
    *polynomials.__all__,
    *pooling.__all__,
    *probabilities.__all__,
    *products.__all__,
    *recurrent_gru.__all__,
    *recurrent_lstm.__all__,
    *recurrent_rnn.__all__,
    *reduction.__all__,
    *regression.__all__,
    *shape.__all__,
    *ufuncs.__all__,
]


def __dir__() -> list[str]:
    """What completion shows: the public names."""
    return __all__


if not TYPE_CHECKING:  # a checker would take __getattr__ for leave to use any name
    __getattr__ = refuse_unknown(__name__)
