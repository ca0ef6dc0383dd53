"""Other frameworks' words, and what minidl offers instead: named in errors, never added as aliases.

Only the words and the errors live here. Classes inherit ``HintsMixin``; modules and functions call
``missing`` and ``unexpected`` themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import wraps
from textwrap import dedent
from types import FunctionType
from typing import TYPE_CHECKING, Any, ClassVar, ParamSpec, TypeVar, cast

P = ParamSpec("P")
R = TypeVar("R")


def answers(text: str) -> dict[str, str]:
    """A table of what to answer for each word, from lines of words and their answer.

    A line that is indented goes on with the one before it.

    >>> answers("numpy values: its array is x.data")["values"]
    'its array is x.data'
    """
    lines = dedent(text).strip().replace("\n    ", " ").splitlines()
    rows = [line.split(": ", 1) for line in lines]
    return {word: answer for words, answer in rows for word in words.split()}


# Each answer is a whole sentence, without its full stop, about the words before it.
VARIABLE_WORDS = answers(
    """
    step: update() belongs to the optimizer
    zero_grad zero_grads clear_grad: clear the gradient with x.cleargrad()
    numpy value values to_numpy: its array is x.data
    cpu device: a Variable computes where its array is, and that is x.data
    cuda: arrays on a GPU are CuPy's: make the Variable of one, or call layer.to('cuda')
    to type: another dtype is x.astype(dtype)
    float: write x.astype(np.float32)
    half: write x.astype(np.float16)
    double: write x.astype(np.float64)
    long: write x.astype(np.int64)
    int: write x.astype(np.int32)
    bool: write x.astype(bool)
    type_as: write x.astype(other.dtype)
    dim: the number of axes is x.ndim
    numel nelement: the number of elements is x.size
    tolist: write x.data.tolist()
    clone: x + 0 is a copy with a graph, x.data.copy() one of the array without
    flat: write x.reshape(-1), which can be indexed
    copy_: a leaf gets a new value by x.data = ..
    fill_: a leaf gets a new value by x.data[...] = ..
    zero_: a leaf gets a new value by x.data[...] = 0
    add_: write x = x + other, or x.data += other to update a leaf
    sub_: write x = x - other, or x.data -= other to update a leaf
    mul_: write x = x * other, or x.data *= other to update a leaf
    div_: write x = x / other, or x.data /= other to update a leaf
    clamp_: write x = x.clip(low, high)
    detach_: write x = x.detach(), or x.unchain() to cut the graph in place
    requires_grad_: assign x.requires_grad = True or False
    retain_grad: call backward(retain_grad=True)
    grad_fn: the application that made it is x.creator
    is_leaf: a leaf is a Variable whose x.creator is None
    register_hook: there are no hooks of Variables: wrap the step in minidl.differentiable
    view resize: write x.reshape(..)
    view_as: write x.reshape(other.shape)
    permute: write x.transpose(..)
    t: write x.T
    unsqueeze: write np.expand_dims(x, axis)
    expand: write np.broadcast_to(x, shape)
    expand_as: write np.broadcast_to(x, other.shape)
    contiguous: memory is laid out as needed; leave it out
    mul: write x * other
    add: write x + other
    sub: write x - other
    div true_divide: write x / other
    pow: write x ** other
    neg: write -x
    abs: write abs(x)
    matmul mm bmm mv: write x @ other
    eq: write x == other
    ne: write x != other
    lt: write x < other
    le: write x <= other
    gt: write x > other
    ge: write x >= other
    exp: write np.exp(x)
    log: write np.log(x)
    sqrt: write np.sqrt(x)
    square: write x * x
    tanh: write np.tanh(x)
    sin: write np.sin(x)
    cos: write np.cos(x)
    relu: write minidl.functions.relu(x)
    sigmoid: write minidl.functions.sigmoid(x)
    softmax: write minidl.functions.softmax(x)
    log_softmax: write minidl.functions.log_softmax(x)
    norm: write np.sqrt((x * x).sum())
    clamp: write x.clip(low, high)
    where: write np.where(condition, x, other)
    masked_fill: write minidl.functions.mask_fill(x, mask, value)
    gather: write x[rows, columns]
    index_select: write x.take(indices, axis)
    chunk split: write np.split(x, parts, axis)
    stack: write np.stack([..])
    sort: it would sort in place; write np.sort(x)
    partition: it would sort in place; write np.partition(x, kth)
    cat: write np.concatenate([..], axis)
    """
)

LAYER_WORDS = answers(
    """
    zero_grad cleargrad clear_grad zero_grads: clear the gradients with `model.cleargrads()`
    train: a model trains unless told otherwise; evaluate it inside `with minidl.test_mode():`
    eval training: evaluate a model inside `with minidl.test_mode():`
    call: write the layer's forward(), and call the layer itself
    params weights variables trainable_variables trainable_weights: its parameters are
        `model.parameters()`
    trainable requires_grad requires_grad_: call `model.freeze()` or `model.unfreeze()`
    weight kernel: the weight is called w, as in `layer.w`
    bias: the bias is called b, as in `layer.b`
    cpu: move it with `model.to('cpu')`
    cuda: move it with `model.to('cuda')`
    astype type float: change the layer with `model.to(dtype=np.float32)`
    double: change the layer with `model.to(dtype=np.float64)`
    half: change the layer with `model.to(dtype=np.float16)`
    modules named_modules children named_children: the layers in it, itself included, are
        `model.sublayers()`
    apply: write `for layer in model.sublayers(): layer.reset_state()`, or what is to be done
    get_weights set_weights: the parameters' values are `model.state_dict()` and
        `model.load_state_dict(state)`
    register_buffer: assign the array to an attribute, and name that in the class attribute buffers
    named_buffers: their values are in `model.state_dict()`
    running_mean moving_mean: the running mean is called mean
    running_var moving_variance: the running variance is called var
    gamma: the scale is called w, as in `layer.w`
    beta: the shift is called b, as in `layer.b`
    register_parameter add_module: assign it to an attribute: a Parameter, a layer, or a list or
        dict of them
    add append: give all layers at once: `layers.Sequential(layers.Linear(8), F.relu)`
    build: sizes are learned at the first call, such as `model(x)`
    init: parameters are in the layer; sizes are learned at the first call, such as `model(x)`
    reset_states: write `model.reset_state()`
    fit compile train_on_batch: training is `minidl.Trainer(model, optimizer, loss).fit(x, t,
        epochs=1)`
    predict: write `minidl.Trainer(model, optimizer, loss).predict(x)`
    evaluate: write `minidl.Trainer(model, optimizer, loss).evaluate(x, t)`
    """
)

OPTIMIZER_WORDS = answers(
    """
    step minimize apply_gradients apply_updates: one step is `optimizer.update()`
    zero_grad cleargrad clear_grad zero_grads: clear the gradients with `optimizer.cleargrads()`
    param_groups: its groups are `optimizer.groups`; a rate of theirs that changes is a schedule
    add_param_group: give all groups at first, `optim.SGD([{'params': model}])`; parameters that a
        model gets later take part
    parameters: its parameters are `optimizer.params`
    learning_rate: the rate is called lr, as in `optimizer.lr`
    get_last_lr: the rate of the next step is `optimizer.current_lr`
    momentum: with momentum there is `optim.Momentum(model, momentum=0.9)`
    weight_decay: give it a hook, `optim.SGD(model, hooks=[optim.hooks.WeightDecay(0.01)])`, or take AdamW
    betas: they are settings of Adam, AdamW and Lion
    """
)

TRAINER_WORDS = answers(
    """
    metric: they are `trainer.metrics`, a list or a dict
    callback: they are `trainer.callbacks`, a list
    criterion loss_fn loss_function: it is `trainer.loss`
    optim opt: it is `trainer.optimizer`
    lr learning_rate: the rate is the optimizer's, `trainer.optimizer.lr`
    """
)

# What programs for other frameworks assign, to freeze or evaluate a model, or for another rate.
_WITHOUT_EFFECT = frozenset(
    {
        *("learning_rate", "requires_grad", "trainable", "training"),
        *("momentum", "weight_decay", "betas"),
        *TRAINER_WORDS,
    }
)
_ALLOWED = frozenset(  # in classes of users
    {"training", "momentum", "weight_decay", "betas", *TRAINER_WORDS} - {"learning_rate"}
)

# What others call an argument, and its name here.
KEYWORDS = answers(
    """
    dim dims: axis
    keepdim keep_dims: keepdims
    unbiased correction: ddof
    learning_rate: lr
    epsilon: eps
    p drop_rate keep_prob: rate
    num_features normalized_shape embedding_dim: features
    num_embeddings: count
    units hidden_size output_dim out_channels filters: out_features
    input_size input_dim in_channels: in_features
    use_bias: bias
    kernel_size: kernel
    pool_size: size
    strides: stride
    dilation_rate: dilation
    hidden_sizes hidden_layer_sizes: sizes
    params parameters: target
    return_sequence: return_sequences
    key generator: rng
    min_val: a_min
    max_val: a_max
    validation_data validation_split val_data: validation
    batch: batch_size
    max_epochs n_epochs num_epochs: epochs
    """
)


def missing(owner: object, name: str, words: Mapping[str, str]) -> AttributeError:
    """The error for a name that ``owner`` (an object, or a module's name) does not have.

    A module raises it in its ``__getattr__``; a sentence in ``words`` says what to write instead.

    >>> raise missing("minidl.layers", "ReLU", {"ReLU": "activations are functions: write F.relu"})
    Traceback (most recent call last):
    AttributeError: minidl.layers has no 'ReLU': activations are functions: write F.relu
    """
    if isinstance(owner, str):
        text = f"{owner} has no {name!r}"
    else:
        text = f"{type(owner).__name__} has no attribute {name!r}"
    if name in words:
        return AttributeError(f"{text}: {words[name]}")
    if isinstance(owner, str):
        return AttributeError(text)
    return AttributeError(text, name=name, obj=owner)  # so that Python looks for a similar name


def refuse_unknown(module: str) -> Callable[[str], Any]:
    """The ``__getattr__`` of a module, which says what to write instead of a name that it lacks.

    >>> refuse_unknown("minidl.optim")("Adamax")
    Traceback (most recent call last):
    AttributeError: minidl.optim has no 'Adamax'
    """

    def __getattr__(name: str) -> Any:
        if name.startswith("__"):  # Python asks, at each import, for __path__
            raise AttributeError(f"{module} has no {name!r}")
        from minidl.common.words import OF_MODULES  # which needs `answers`

        raise missing(module, name, OF_MODULES[module])

    return __getattr__


def unexpected(function: str, name: str, takes: Mapping[str, Any] | tuple[str, ...]) -> TypeError:
    """The error for a keyword that ``function`` does not take; ``takes`` are the names it does.

    >>> raise unexpected("sum", "dim", ("axis", "keepdims"))
    Traceback (most recent call last):
    TypeError: sum: got an unexpected keyword 'dim'; here it is called 'axis'
    """
    from minidl.common.words import ARGUMENTS  # which needs `answers`

    ours = KEYWORDS.get(name)
    if ours in takes:
        hint = f"here it is called {ours!r}"
    elif name in ARGUMENTS:
        hint = ARGUMENTS[name]
    else:
        hint = f"want one of: {', '.join(takes)}" if takes else "it takes no keywords"
    return TypeError(f"{function}: got an unexpected keyword {name!r}; {hint}")


def check_keywords(function: str, keywords: Iterable[str], takes: tuple[str, ...]) -> None:
    """Raise TypeError, with what to write instead, for a keyword that the function does not take."""
    for name in keywords:
        if name not in takes:
            raise unexpected(function, name, takes)


def refuse_unexpected(method: Callable[P, R]) -> Callable[P, R]:
    """A method, ``__init__`` above all, that answers keywords it does not take by what to write
    instead.

    >>> class Layer:
    ...     @refuse_unexpected
    ...     def __init__(self, rate=0.5):
    ...         self.rate = rate
    >>> Layer(p=0.1)
    Traceback (most recent call last):
    TypeError: Layer: got an unexpected keyword 'p'; here it is called 'rate'
    """
    code = cast(FunctionType, method).__code__
    takes = code.co_varnames[1 : code.co_argcount + code.co_kwonlyargcount]
    of_class = code.co_name == "__init__"

    @wraps(method)
    def checked(*args: P.args, **keywords: P.kwargs) -> R:
        function = type(args[0]).__name__ if of_class else code.co_name
        check_keywords(function, keywords, takes)
        return method(*args, **keywords)

    return checked


def refuse_assignment(owner: object, name: str, words: Mapping[str, str]) -> None:
    """Raise AttributeError for a name of another framework's, which would be set without effect."""
    if name in _WITHOUT_EFFECT and name in words:
        kind = type(owner)
        if hasattr(kind, name) or (name in _ALLOWED and not kind.__module__.startswith("minidl.")):
            return  # the user's own
        what = f"assigning {name!r} would change nothing"
        raise AttributeError(f"{kind.__name__}: {what}: {words[name]}")


class HintsMixin:
    """A base class: a missing attribute that another framework has says what to write instead."""

    __slots__ = ()
    _words: ClassVar[Mapping[str, str]] = {}

    if not TYPE_CHECKING:  # a checker would take __getattr__ for leave to use any name

        def __getattr__(self, name: str) -> Any:
            raise missing(self, name, self._words)
