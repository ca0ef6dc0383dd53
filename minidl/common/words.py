"""Names that other libraries give to functions, layers, optimizers and arguments, and what to write
in minidl.

Read when a name is missing; the errors are made in hints.py. Code stands in backquotes, so that a
test can try it: with ``F`` for minidl.functions, and ``x``, ``y``, ``t``, ``model`` for what the
user has.
"""

from collections.abc import Mapping

_SCALE = "`x / np.linalg.norm(x, axis=-1, keepdims=True)`"
_NO_CONV = "minidl has no convolutions yet; flatten images for an MLP: `x.reshape(len(x), -1)`"
_NO_NORM = "minidl has no layer for normalization yet; scale the data before training"
_SCHEDULE = "schedules are functions, given as lr: "

_LOSS = "losses are functions: `F.{}`"
_LOSSES = {
    "MSELoss": "mean_squared_error(y, t)",
    "CrossEntropyLoss": "cross_entropy(logits, labels)",
    "NLLLoss": "cross_entropy(logits, labels)",
    "BCELoss": "binary_cross_entropy(p, labels_01)",
    "BCEWithLogitsLoss": "binary_cross_entropy_with_logits(y, labels_01)",
    "HuberLoss": "huber(y, t)",
    "SmoothL1Loss": "huber(y, t)",
}

# minidl.functions
FUNCTIONS: Mapping[str, str] = {
    **{name: _LOSS.format(ours) for name, ours in _LOSSES.items()},
    "mse_loss": "write `F.mean_squared_error(y, t)`",
    "mse": "write `F.mean_squared_error(y, t)`",
    "squared_error": "write `F.mean_squared_error(y, t)`",
    "l1_loss": "write `abs(y - t).mean()`",
    "mae": "write `abs(y - t).mean()`",
    "mean_absolute_error": "write `abs(y - t).mean()`",
    "smooth_l1_loss": "write `F.huber(y, t)`",
    "huber_loss": "write `F.huber(y, t)`",
    "nll_loss": "`F.cross_entropy(logits, labels)` takes the scores before any softmax",
    "categorical_crossentropy": "`F.cross_entropy(logits, labels)` takes scores and integer labels",
    "sparse_categorical_crossentropy": "write `F.cross_entropy(logits, labels)`",
    "softmax_cross_entropy": "`F.cross_entropy(logits, labels)` takes scores and integer labels",
    "softmax_cross_entropy_with_integer_labels": "write `F.cross_entropy(logits, labels)`",
    "cross_entropy_loss": "write `F.cross_entropy(logits, labels)`",
    "binary_crossentropy": "write `F.binary_cross_entropy(p, labels_01)`",
    "sigmoid_binary_cross_entropy": "write `F.binary_cross_entropy_with_logits(y, labels_01)`",
    "bce": "write `F.binary_cross_entropy(p, labels_01)`",
    "crossentropy": "write `F.cross_entropy(logits, labels)`",
    "bce_with_logits": "write `F.binary_cross_entropy_with_logits(y, labels_01)`",
    "one_hot": "write `np.eye(10)[labels]`; F.cross_entropy takes the labels themselves",
    "swish": "write `F.silu(x)`",
    "relu6": "write `np.clip(x, 0, 6)`",
    "hardtanh": "write `F.hard_tanh(x)`",
    "logsigmoid": "write `F.log_sigmoid(x)`",
    "normalize": f"write {_SCALE}",
    "cosine_similarity": f"scale both by {_SCALE}, and sum their product",
    "cat": "write `np.concatenate([x, y], axis=-1)`",
    "clamp": "write `np.clip(x, 0, 1)`",
    "unsqueeze": "write `np.expand_dims(x, 0)`",
    "permute": "write `np.transpose(x, (1, 0))`",
    "view": "write `np.reshape(x, (-1,))`",
    "flatten": "write `x.reshape(len(x), -1)`",
    "masked_fill": "write `F.mask_fill(x, mask, 0.0)`",
    "mm": "write `x @ w`",
    "bmm": "write `x @ w`",
    "mul": "write `x * y`",
    "sub": "write `x - y`",
    "div": "write `x / y`",
    "pow": "write `x**2`",
    "embedding": "write `w[labels]`",
    "conv1d": _NO_CONV,
    "conv2d": _NO_CONV,
    "max_pool2d": _NO_CONV,
    "layer_norm": _NO_NORM,
    "batch_norm": _NO_NORM,
}

_ACTIVATION = "activations are functions: `layers.Sequential(layers.Linear(8), {})`"
_ACTIVATIONS = {
    "ReLU": "F.relu",
    "ELU": "F.elu",
    "SELU": "F.selu",
    "SiLU": "F.silu",
    "Mish": "F.mish",
    "Softsign": "F.softsign",
    "LogSigmoid": "F.log_sigmoid",
    "Hardtanh": "F.hard_tanh",
    "LeakyReLU": "F.leaky_relu",
    "Sigmoid": "F.sigmoid",
    "Tanh": "F.tanh",
    "GELU": "F.gelu",
    "Softplus": "F.softplus",
    "Softmax": "F.softmax",
    "LogSoftmax": "F.log_softmax",
    "Identity": "lambda x: x",
    "Lambda": "lambda x: x * 2",
    "Flatten": "lambda x: x.reshape(len(x), -1)",
    "Activation": "F.relu",
}
_STEP = "input (batch, in) is one step of `layers.{}(8)`, which carries its state"

# minidl.layers
LAYERS: Mapping[str, str] = {
    **{name: _ACTIVATION.format(ours) for name, ours in _ACTIVATIONS.items()},
    **{name: _LOSS.format(ours) for name, ours in _LOSSES.items()},
    "L1Loss": "losses are functions: `abs(y - t).mean()`",
    "Module": "the base class is `layers.Layer`, whose subclasses write __init__ and forward",
    "Model": "the base class is `layers.Layer`, whose subclasses write __init__ and forward",
    "ModuleList": "a plain list of layers as an attribute is enough",
    "ModuleDict": "a plain dict of layers as an attribute is enough",
    "ParameterList": "a plain list of Parameters as an attribute is enough",
    "Parameter": "write `minidl.Parameter(np.zeros(3))`",
    "Dense": "write `layers.Linear(8)`, and the activation after it in a Sequential",
    "LazyLinear": "write `layers.Linear(8)`, which learns its input size at first use",
    "SimpleRNN": "write `layers.RNN(8)`",
    "RNNCell": _STEP.format("RNN"),
    "LSTMCell": _STEP.format("LSTM"),
    "GRUCell": _STEP.format("GRU"),
    "Input": "the input size is learned at first use; leave it out",
    "InputLayer": "the input size is learned at first use; leave it out",
    "Embedding": "minidl has no Embedding yet; a Parameter is indexed: `w[labels]`",
    "functional": "functions are in `minidl.functions`",
    "init": "initial weights are drawn by `minidl.initializers`",
    **dict.fromkeys(["Conv1d", "Conv2d", "Conv1D", "Conv2D", "MaxPool2d", "AvgPool2d"], _NO_CONV),
    **dict.fromkeys(["BatchNorm1d", "BatchNorm2d", "BatchNorm", "LayerNorm"], _NO_NORM),
}

_COSINE = f"{_SCHEDULE}`optim.schedules.cosine(0.1, steps=1000)`"
_STEPS = f"{_SCHEDULE}`optim.schedules.step(0.1, every=100, factor=0.5)`"

# minidl.optim
OPTIMIZERS: Mapping[str, str] = {
    "Nesterov": "write `optim.Momentum(model, lr=0.1, nesterov=True)`",
    "RMSprop": "minidl has no RMSprop yet; write `optim.Adam(model, lr=1e-3)`",
    "Adagrad": "minidl has no Adagrad yet; write `optim.Adam(model, lr=1e-3)`",
    "Adadelta": "minidl has no Adadelta; write `optim.Adam(model, lr=1e-3)`",
    "LBFGS": "scipy.optimize.minimize has L-BFGS: give it `minidl.value_and_grad(f)`, jac=True",
    "lr_scheduler": f"{_SCHEDULE}`optim.schedules.cosine(0.1, steps=1000)`",
    "CosineAnnealingLR": _COSINE,
    "CosineDecay": _COSINE,
    "cosine_decay_schedule": _COSINE,
    "StepLR": _STEPS,
    "ExponentialDecay": _STEPS,
    "exponential_decay": _STEPS,
    "clip_grad_norm_": "write `optim.SGD(model, lr=0.1, hooks=[optim.hooks.ClipGrad(1.0)])`",
    "clip_by_global_norm": "write `optim.SGD(model, lr=0.1, hooks=[optim.hooks.ClipGrad(1.0)])`",
    "apply_updates": "an optimizer changes the parameters itself, by update()",
}

# minidl.optim.schedules
SCHEDULES: Mapping[str, str] = {
    "CosineAnnealingLR": "write `optim.schedules.cosine(0.1, steps=1000)`",
    "CosineDecay": "write `optim.schedules.cosine(0.1, steps=1000)`",
    "StepLR": "write `optim.schedules.step(0.1, every=100, factor=0.5)`",
    "ExponentialLR": "write `optim.schedules.step(0.1, every=1, factor=0.99)`",
    "ExponentialDecay": "write `optim.schedules.step(0.1, every=1, factor=0.99)`",
    "LambdaLR": "a function of the number of updates is a schedule: `optim.SGD(model, lr=lambda t: 0.1 / (1 + t))`",
    "ReduceLROnPlateau": "assign `optimizer.lr = 0.01` in a callback's on_epoch_end",
}

_CLIP = "write `optim.SGD(model, lr=0.1, hooks=[optim.hooks.ClipGrad(1.0)])`"

# minidl.optim.hooks
HOOKS: Mapping[str, str] = dict.fromkeys(
    ["ClipNorm", "GradientClipping", "clip_grad_norm_", "clip_by_global_norm"], _CLIP
)

# minidl.callbacks
CALLBACKS: Mapping[str, str] = {
    "ModelCheckpoint": "write `minidl.callbacks.Checkpoint('run.npz')`",
    "CSVLogger": "write `minidl.callbacks.Logger('run.csv')`",
    "TensorBoard": "a fit returns its history; write `minidl.callbacks.Logger('run.csv')`",
    "LambdaCallback": "a subclass of `minidl.callbacks.Callback` has on_epoch_end and others",
    "ReduceLROnPlateau": "in a subclass of `minidl.callbacks.Callback` assign the optimizer's lr",
    "LearningRateScheduler": "give it to the optimizer: `optim.SGD(model, lr=optim.schedules.step(0.1, every=100))`",
}

_NO_DOWNLOADS = "nothing is downloaded; handwritten digits are `minidl.datasets.digits()`"

# minidl.datasets
DATASETS: Mapping[str, str] = {
    **dict.fromkeys(["mnist", "MNIST", "load_mnist", "fashion_mnist", "cifar10"], _NO_DOWNLOADS),
    "load_digits": "write `minidl.datasets.digits()`",
    "make_moons": "write `minidl.datasets.spiral()`",
}

_STORE = "it writes into an array, whose values are no part of a graph: "

# Functions of NumPy's and SciPy's that cannot take a Variable.
INSTEAD: Mapping[str, str] = {
    "np.add.at": f"{_STORE}write `F.index_add(x, [0], 1.0)`",
    "np.add.reduceat": "write `np.stack([part.sum() for part in np.split(x, [1, 3])])`",
    "np.full": "write `np.broadcast_to(x, (4, 3))`",
    "np.copyto": f"{_STORE}write `np.broadcast_to(x, (4, 3))`, as np.full_like would give",
    "np.put": f"{_STORE}write `F.index_set(x, [0], 1.0)`",
    "np.place": f"{_STORE}write `np.where(x > 0, x, 0.0)`",
    "np.putmask": f"{_STORE}write `np.where(x > 0, x, 0.0)`",
    "np.put_along_axis": f"{_STORE}write `F.index_set(x, [0], 1.0)`",
    "np.fill_diagonal": f"{_STORE}write `F.index_set(x, [0], 1.0)`",
    "np.r_": "np.r_ and np.c_ make arrays: write `np.concatenate([x, x])`, `np.stack([x, x], axis=-1)`",
    "np.polynomial.polynomial.polyval": "write `np.polyval(p[::-1], x)`: its lowest power is the first",
    "np.mgrid": "write `np.linspace(0.0, x, 5)`",
    "np.vectorize.__call__": "write the function for whole arrays, or `np.stack([f(v) for v in x])`",
    "np.empty_like": "its values would be no part of a graph; collect results with `np.stack([x, x])`",
    "np.histogram": "counts have no derivative: give it `x.data`",
    "scipy.special.exprel": "write `np.expm1(x) / x`",
    "scipy.special.polygamma": "write (-1)**(n + 1) * math.factorial(n) * scipy.special.zeta(n + 1, x)",
    "scipy.special.multigammaln": "it is a sum of scipy.special.gammaln, which takes Variables",
    "scipy.integrate.simpson": "write `np.trapezoid(x)`",
    "scipy.linalg.cho_factor": "write np.linalg.cholesky, and minidl.functions.cho_solve",
}

# minidl
MINIDL: Mapping[str, str] = {
    "Tensor": "write `minidl.Variable([1.0, 2.0])`",
    "tensor": "write `minidl.Variable([1.0, 2.0])`",
    "array": "arrays are NumPy's; one to differentiate by is `minidl.Variable([1.0, 2.0])`",
    "from_numpy": "write `minidl.Variable(np.ones(3))`, which shares the array's memory",
    **dict.fromkeys(
        ["zeros", "ones", "rand", "randn", "arange", "linspace", "eye"],
        "arrays are NumPy's, and go into `minidl.Variable(np.ones(3))`",
    ),
    "nn": "layers are in `minidl.layers`, functions in `minidl.functions`",
    "losses": "losses are functions of `minidl.functions`",
    "metrics": "metrics are functions, such as `minidl.functions.accuracy`",
    "numpy": "write `np.exp(minidl.Variable(1.0))`",
    "Module": "write `layers.Layer`",
    "Model": "write `layers.Layer`",
    "manual_seed": "write `minidl.seed(0)`",
    "set_seed": "write `minidl.seed(0)`",
    "jit": "write `minidl.compile(f)`",
    "jacrev": "write `minidl.jacobian(f)`",
    "jacfwd": "write `minidl.jacobian(f)`",
    "vmap": "write f for a batch: NumPy broadcasts over leading axes",
    "stop_gradient": "write `x.detach()`",
    "inference_mode": "write `with minidl.no_grad(), minidl.test_mode():`",
    "cat": "write `np.concatenate([x, y], axis=-1)`",
    "device": "minidl computes where the arrays are; a model is moved by `model.to('cpu')`",
    "enable_grad": "gradients are recorded unless inside no_grad()",
    "EarlyStopping": "write `minidl.callbacks.EarlyStopping`",
    "Checkpoint": "write `minidl.callbacks.Checkpoint`",
    "ModelCheckpoint": "write `minidl.callbacks.Checkpoint`",
    "Callback": "write `minidl.callbacks.Callback`",
    "TensorDataset": "write `minidl.DataLoader(x, t)`",
    "Dataset": "write `minidl.DataLoader(x, t)`",
    **{
        name: f"write `minidl.layers.{name}`"
        for name in ("Layer", "Sequential", "Linear", "MLP", "RNN", "LSTM", "GRU", "Dropout")
    },
    **{
        name: f"write `minidl.optim.{name}`"
        for name in ("SGD", "Momentum", "Adam", "AdamW", "hooks", "schedules")
    },
    **{
        name: f"write `minidl.functions.{name}`"
        for name in ("relu", "sigmoid", "softmax", "cross_entropy")
    },
}

_DECAY = (
    "write `optim.AdamW(model, weight_decay=0.01)`, or add `optim.hooks.WeightDecay(0.01)` to hooks"
)

# Arguments that have no counterpart of another name; those that have are KEYWORDS in hints.py.
ARGUMENTS: Mapping[str, str] = {
    "lr": "the rate is the optimizer's: `optim.Adam(model, lr=1e-3)`",
    "callbacks": "they are the Trainer's: `minidl.Trainer(model, optimizer, loss, callbacks=[])`",
    "epochs": "write `minidl.Trainer(model, optimizer, loss).fit(x, t, epochs=1)`",
    "sample_weight": "weigh the samples in a loss of your own",
    "class_weight": "weigh the samples in a loss of your own",
    "momentum": "write `optim.Momentum(model, lr=0.1, momentum=0.9)`",
    "nesterov": "write `optim.Momentum(model, lr=0.1, nesterov=True)`",
    "weight_decay": _DECAY,
    "decay": _DECAY,
    "clipnorm": "add `optim.hooks.ClipGrad(1.0)` to hooks",
    "global_clipnorm": "add `optim.hooks.ClipGrad(1.0)` to hooks",
    "beta_1": "write `optim.Adam(model, betas=(0.9, 0.999))`",
    "beta_2": "write `optim.Adam(model, betas=(0.9, 0.999))`",
    "b1": "write `optim.Adam(model, betas=(0.9, 0.999))`",
    "b2": "write `optim.Adam(model, betas=(0.9, 0.999))`",
    "amsgrad": "minidl's Adam is that of the paper, without AMSGrad",
    "dampening": "minidl's Momentum has no dampening",
    "activation": "put it after the layer: `layers.Sequential(layers.Linear(8), F.relu)`",
    "kernel_initializer": "assign your own weights: `layer.w.data = np.zeros((3, 2), np.float32)`",
    "input_shape": "the input size is learned at first use, or is in_features",
    "num_layers": "put one after the other: `layers.Sequential(layers.LSTM(8), layers.LSTM(8))`",
    "n_layers": "put one after the other: `layers.Sequential(layers.LSTM(8), layers.LSTM(8))`",
    "batch_first": "sequences are always (batch, time, features); leave it out",
    "bidirectional": "write `layers.Bidirectional(layers.LSTM(8))`",
    "device": "move the layer: `model.to('cpu')`",
    "inplace": "functions return new arrays; leave it out",
    "num_workers": "batches are cut where they are used; leave it out",
    "pin_memory": "batches are plain arrays; leave it out",
    "name": "layers are named by their attributes; leave it out",
    "seed": "write `layers.Linear(8, rng=np.random.default_rng(0))`",
    "random_state": "write `layers.Linear(8, rng=np.random.default_rng(0))`",
}
