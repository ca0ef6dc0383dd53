"""Names that other libraries give to functions, layers, optimizers and arguments, and what to write
in minidl.

Read when a name is missing; the errors are made in hints.py. Code stands in backquotes, so that a
test can try it: with ``F`` for minidl.functions, and ``x``, ``y``, ``t``, ``model`` for what the
user has.
"""

from minidl.common.hints import answers

_LOSSES = answers(
    """
    MSELoss: losses are functions: `F.mean_squared_error(y, t)`
    CrossEntropyLoss: losses are functions: `F.cross_entropy(logits, labels)`
    NLLLoss: losses are functions: `F.negative_log_likelihood(log_p, labels)`
    BCELoss: losses are functions: `F.binary_cross_entropy(p, labels_01)`
    BCEWithLogitsLoss: losses are functions: `F.binary_cross_entropy_with_logits(y, labels_01)`
    HuberLoss SmoothL1Loss: losses are functions: `F.huber(y, t)`
    L1Loss: losses are functions: `F.mean_absolute_error(y, t)`
    KLDivLoss: losses are functions: `F.kl_divergence(log_q, p)`
    CosineEmbeddingLoss: losses are functions: `F.cosine_distance(y, t)`
    """
)

# minidl.functions
FUNCTIONS = _LOSSES | answers(
    """
    mse_loss mse squared_error: write `F.mean_squared_error(y, t)`
    l1_loss mae: write `F.mean_absolute_error(y, t)`
    kl_div: write `F.kl_divergence(log_q, p)`
    pinball_loss: write `F.quantile_loss(y, t, 0.9)`
    r2_score: write `F.r2(y, t)`
    f1_score: write `F.f1(logits, labels)`
    smooth_l1_loss huber_loss: write `F.huber(y, t)`
    nll_loss: write `F.negative_log_likelihood(log_p, labels)`
    categorical_crossentropy softmax_cross_entropy: `F.cross_entropy(logits, labels)` takes scores
        and integer labels
    sparse_categorical_crossentropy softmax_cross_entropy_with_integer_labels cross_entropy_loss
        crossentropy: write `F.cross_entropy(logits, labels)`
    binary_crossentropy bce: write `F.binary_cross_entropy(p, labels_01)`
    sigmoid_binary_cross_entropy bce_with_logits: write `F.binary_cross_entropy_with_logits(y,
        labels_01)`
    one_hot: write `np.eye(10)[labels]`; F.cross_entropy takes the labels themselves
    swish: write `F.silu(x)`
    relu6: write `np.clip(x, 0, 6)`
    hardtanh: write `F.hard_tanh(x)`
    logsigmoid: write `F.log_sigmoid(x)`
    normalize: write `x / np.linalg.norm(x, axis=-1, keepdims=True)`
    cosine_similarity: write `1 - F.cosine_distance(x, y, reduction='none')`
    scaled_dot_product_attention: write `F.attention(x, x, x)`
    cat: write `np.concatenate([x, y], axis=-1)`
    clamp: write `np.clip(x, 0, 1)`
    unsqueeze: write `np.expand_dims(x, 0)`
    permute: write `np.transpose(x, (1, 0))`
    view: write `np.reshape(x, (-1,))`
    flatten: write `x.reshape(len(x), -1)`
    masked_fill: write `F.mask_fill(x, mask, 0.0)`
    mm bmm: write `x @ w`
    mul: write `x * y`
    sub: write `x - y`
    div: write `x / y`
    pow: write `x**2`
    conv1d conv2d: write `F.conv(images, kernels)`, features last
    max_pool1d max_pool2d: write `F.max_pool(images, 2)`, features last
    avg_pool1d avg_pool2d: write `F.avg_pool(images, 2)`, features last
    adaptive_avg_pool2d: write `images.mean((1, 2))`, features last
    """
)

# minidl.layers
LAYERS = _LOSSES | answers(
    """
    ReLU Activation: activations are functions: `layers.Sequential(layers.Linear(8), F.relu)`
    ELU: activations are functions: `layers.Sequential(layers.Linear(8), F.elu)`
    SELU: activations are functions: `layers.Sequential(layers.Linear(8), F.selu)`
    SiLU: activations are functions: `layers.Sequential(layers.Linear(8), F.silu)`
    Mish: activations are functions: `layers.Sequential(layers.Linear(8), F.mish)`
    Softsign: activations are functions: `layers.Sequential(layers.Linear(8), F.softsign)`
    LogSigmoid: activations are functions: `layers.Sequential(layers.Linear(8), F.log_sigmoid)`
    Hardtanh: activations are functions: `layers.Sequential(layers.Linear(8), F.hard_tanh)`
    LeakyReLU: activations are functions: `layers.Sequential(layers.Linear(8), F.leaky_relu)`
    Sigmoid: activations are functions: `layers.Sequential(layers.Linear(8), F.sigmoid)`
    Tanh: activations are functions: `layers.Sequential(layers.Linear(8), F.tanh)`
    GELU: activations are functions: `layers.Sequential(layers.Linear(8), F.gelu)`
    Softplus: activations are functions: `layers.Sequential(layers.Linear(8), F.softplus)`
    Softmax: activations are functions: `layers.Sequential(layers.Linear(8), F.softmax)`
    LogSoftmax: activations are functions: `layers.Sequential(layers.Linear(8), F.log_softmax)`
    Identity: activations are functions: `layers.Sequential(layers.Linear(8), lambda x: x)`
    Lambda: activations are functions: `layers.Sequential(layers.Linear(8), lambda x: x * 2)`
    Module Model: the base class is `layers.Layer`, whose subclasses write __init__ and forward
    ModuleList: a plain list of layers as an attribute is enough
    ModuleDict: a plain dict of layers as an attribute is enough
    ParameterList: a plain list of Parameters as an attribute is enough
    Parameter: write `minidl.Parameter(np.zeros(3))`
    Dense: write `layers.Linear(8)`, and the activation after it in a Sequential
    LazyLinear: write `layers.Linear(8)`, which learns its input size at first use
    SimpleRNN: write `layers.RNN(8)`
    RNNCell: input (batch, in) is one step of `layers.RNN(8)`, which carries its state
    LSTMCell: input (batch, in) is one step of `layers.LSTM(8)`, which carries its state
    GRUCell: input (batch, in) is one step of `layers.GRU(8)`, which carries its state
    Input InputLayer: the input size is learned at first use; leave it out
    MultiheadAttention: write `layers.MultiHeadAttention(1)`
    TransformerEncoderLayer TransformerEncoder Transformer: write `layers.TransformerBlock(1)`, and
        a Sequential of several
    PositionalEmbedding: write `layers.PositionalEncoding()`
    functional: functions are in `minidl.functions`
    init: initial weights are drawn by `minidl.initializers`
    Conv1D LazyConv1d: write `layers.Conv1d(8, kernel=3)`
    Conv2D LazyConv2d: write `layers.Conv2d(8, kernel=3)`
    MaxPooling1D MaxPool1D: write `layers.MaxPool1d(2)`
    MaxPooling2D MaxPool2D: write `layers.MaxPool2d(2)`
    AveragePooling1D AvgPool1D: write `layers.AvgPool1d(2)`
    AveragePooling2D AvgPool2D: write `layers.AvgPool2d(2)`
    AdaptiveAvgPool1d AdaptiveAvgPool2d GlobalAveragePooling1D GlobalAveragePooling2D: write
        `layers.GlobalAvgPool()`
    Conv3d Conv3D MaxPool3d AvgPool3d: minidl has convolutions over one or two axes only
    ConvTranspose1d ConvTranspose2d Conv1DTranspose Conv2DTranspose: minidl has no transposed
        convolutions
    BatchNorm1d BatchNorm2d BatchNormalization: write `layers.BatchNorm()`; features are the last
        axis
    LayerNormalization: write `layers.LayerNorm()`; features are the last axis
    StandardScaler: write `layers.Normalization().adapt(x)`
    """
)

# minidl.optim
OPTIMIZERS = answers(
    """
    Nesterov: write `optim.Momentum(model, lr=0.1, nesterov=True)`
    RMSProp: write `optim.RMSprop(model, lr=0.01)`
    AdaGrad: write `optim.Adagrad(model, lr=0.01)`
    Adadelta: minidl has no Adadelta; write `optim.Adam(model, lr=1e-3)`
    LBFGS: scipy.optimize.minimize has L-BFGS: give it `minidl.value_and_grad(f)`, jac=True
    lr_scheduler CosineAnnealingLR CosineDecay cosine_decay_schedule: schedules are functions, given
        as lr: `optim.schedules.cosine(0.1, steps=1000)`
    StepLR ExponentialDecay exponential_decay: schedules are functions, given as lr:
        `optim.schedules.step(0.1, every=100, factor=0.5)`
    OneCycleLR: schedules are functions, given as lr: `optim.schedules.one_cycle(0.1, steps=1000)`
    clip_grad_value_: write `optim.SGD(model, lr=0.1, hooks=[optim.hooks.ClipValue(1.0)])`
    clip_grad_norm_ clip_by_global_norm: write `optim.SGD(model, lr=0.1,
        hooks=[optim.hooks.ClipGrad(1.0)])`
    apply_updates: an optimizer changes the parameters itself, by update()
    """
)

# minidl.optim.schedules
SCHEDULES = answers(
    """
    CosineAnnealingLR CosineDecay: write `optim.schedules.cosine(0.1, steps=1000)`
    StepLR: write `optim.schedules.step(0.1, every=100, factor=0.5)`
    ExponentialLR ExponentialDecay: write `optim.schedules.step(0.1, every=1, factor=0.99)`
    LambdaLR: a function of the number of updates is a schedule: `optim.SGD(model, lr=lambda t: 0.1
        / (1 + t))`
    OneCycleLR onecycle: write `optim.schedules.one_cycle(0.1, steps=1000)`
    ReduceLROnPlateau ReduceOnPlateau: it is a callback:
        `minidl.callbacks.ReduceOnPlateau('val_loss')`
    """
)

# minidl.optim.hooks
HOOKS = answers(
    """
    ClipNorm GradientClipping clip_grad_norm_ clip_by_global_norm: write `optim.SGD(model, lr=0.1,
        hooks=[optim.hooks.ClipGrad(1.0)])`
    clip_grad_value_ ClipByValue: write `optim.SGD(model, lr=0.1,
        hooks=[optim.hooks.ClipValue(1.0)])`
    """
)

# minidl.callbacks
CALLBACKS = answers(
    """
    ModelCheckpoint: write `minidl.callbacks.Checkpoint('run.npz')`
    CSVLogger: write `minidl.callbacks.Logger('run.csv')`
    TensorBoard: a fit returns its history; write `minidl.callbacks.Logger('run.csv')`
    LambdaCallback: a subclass of `minidl.callbacks.Callback` has on_epoch_end and others
    ReduceLROnPlateau: write `minidl.callbacks.ReduceOnPlateau('val_loss')`
    ModelEMA SwapEMAWeights EMA: write `minidl.callbacks.MovingAverage(decay=0.999)`
    LearningRateScheduler: give it to the optimizer: `optim.SGD(model, lr=optim.schedules.step(0.1,
        every=100))`
    """
)

# minidl.datasets
DATASETS = answers(
    """
    mnist MNIST load_mnist fashion_mnist cifar10: nothing is downloaded; handwritten digits are
        `minidl.datasets.digits()`
    load_digits: write `minidl.datasets.digits()`
    make_moons: write `minidl.datasets.spiral()`
    """
)

# Functions of NumPy's and SciPy's that cannot take a Variable.
INSTEAD = answers(
    """
    np.linalg.eig: it gives complex numbers, which minidl does not have; np.linalg.eigh is for
        symmetric matrices
    np.linalg.eigvals: it gives complex numbers, which minidl does not have; np.linalg.eigvalsh is
        for symmetric matrices
    np.roots: it gives complex numbers, which minidl does not have
    np.add.at: it writes into an array, whose values are no part of a graph: write `F.index_add(x,
        [0], 1.0)`
    np.add.reduceat: write `np.stack([part.sum() for part in np.split(x, [1, 3])])`
    np.full: write `np.broadcast_to(x, (4, 3))`
    np.copyto: it writes into an array, whose values are no part of a graph: write
        `np.broadcast_to(x, (4, 3))`, as np.full_like would give
    np.put np.put_along_axis np.fill_diagonal: it writes into an array, whose values are no part of
        a graph: write `F.index_set(x, [0], 1.0)`
    np.place np.putmask: it writes into an array, whose values are no part of a graph: write
        `np.where(x > 0, x, 0.0)`
    np.r_: np.r_ and np.c_ make arrays: write `np.concatenate([x, x])`, `np.stack([x, x], axis=-1)`
    np.polynomial.polynomial.polyval: write `np.polyval(p[::-1], x)`: its lowest power is the first
    np.mgrid: write `np.linspace(0.0, x, 5)`
    np.vectorize.__call__: write the function for whole arrays, or `np.stack([f(v) for v in x])`
    np.empty_like: its values would be no part of a graph; collect results with `np.stack([x, x])`
    np.histogram: counts have no derivative: give it `x.data`
    scipy.special.exprel: write `np.expm1(x) / x`
    scipy.special.polygamma: write (-1)**(n + 1) * math.factorial(n) * scipy.special.zeta(n + 1, x)
    scipy.special.multigammaln: it is a sum of scipy.special.gammaln, which takes Variables
    scipy.integrate.simpson: write `np.trapezoid(x)`
    scipy.linalg.cho_factor: write np.linalg.cholesky, and minidl.functions.cho_solve
    """
)

# minidl
MINIDL = answers(
    """
    Tensor tensor: write `minidl.Variable([1.0, 2.0])`
    array: arrays are NumPy's; one to differentiate by is `minidl.Variable([1.0, 2.0])`
    from_numpy: write `minidl.Variable(np.ones(3))`, which shares the array's memory
    zeros ones rand randn arange linspace eye: arrays are NumPy's, and go into
        `minidl.Variable(np.ones(3))`
    nn: layers are in `minidl.layers`, functions in `minidl.functions`
    losses: losses are functions of `minidl.functions`
    metrics: metrics are functions, such as `minidl.functions.accuracy`
    numpy: write `np.exp(minidl.Variable(1.0))`
    Module Model: write `layers.Layer`
    manual_seed set_seed: write `minidl.seed(0)`
    jit: write `minidl.compile(f)`
    jacrev jacfwd: write `minidl.jacobian(f)`
    vmap: write f for a batch: NumPy broadcasts over leading axes
    stop_gradient: write `x.detach()`
    inference_mode: write `with minidl.no_grad(), minidl.test_mode():`
    cat: write `np.concatenate([x, y], axis=-1)`
    device: minidl computes where the arrays are; a model is moved by `model.to('cpu')`
    enable_grad: gradients are recorded unless inside no_grad()
    EarlyStopping: write `minidl.callbacks.EarlyStopping`
    Checkpoint ModelCheckpoint: write `minidl.callbacks.Checkpoint`
    Callback: write `minidl.callbacks.Callback`
    TensorDataset Dataset: write `minidl.DataLoader(x, t)`
    Layer: write `minidl.layers.Layer`
    Sequential: write `minidl.layers.Sequential`
    Linear: write `minidl.layers.Linear`
    MLP: write `minidl.layers.MLP`
    RNN: write `minidl.layers.RNN`
    LSTM: write `minidl.layers.LSTM`
    GRU: write `minidl.layers.GRU`
    Dropout: write `minidl.layers.Dropout`
    SGD: write `minidl.optim.SGD`
    Momentum: write `minidl.optim.Momentum`
    Adam: write `minidl.optim.Adam`
    AdamW: write `minidl.optim.AdamW`
    RMSprop: write `minidl.optim.RMSprop`
    Adagrad: write `minidl.optim.Adagrad`
    Lion: write `minidl.optim.Lion`
    hooks: write `minidl.optim.hooks`
    schedules: write `minidl.optim.schedules`
    relu: write `minidl.functions.relu`
    sigmoid: write `minidl.functions.sigmoid`
    softmax: write `minidl.functions.softmax`
    cross_entropy: write `minidl.functions.cross_entropy`
    """
)

# Arguments that have no counterpart of another name; those that have are KEYWORDS in hints.py.
ARGUMENTS = answers(
    """
    lr: the rate is the optimizer's: `optim.Adam(model, lr=1e-3)`
    kernel_size: the windows of a pool are its size: `layers.MaxPool2d(size=2)`
    callbacks: they are the Trainer's: `minidl.Trainer(model, optimizer, loss, callbacks=[])`
    epochs: write `minidl.Trainer(model, optimizer, loss).fit(x, t, epochs=1)`
    sample_weight: give the weights to the data:
        `minidl.Trainer(model, optimizer, loss).fit(x, t, np.ones(4), epochs=1)`
    class_weight: cross_entropy has it: `lambda y, t: F.cross_entropy(y, t, class_weight=w)`
    momentum: write `optim.Momentum(model, lr=0.1, momentum=0.9)`
    nesterov: write `optim.Momentum(model, lr=0.1, nesterov=True)`
    weight_decay decay: write `optim.AdamW(model, weight_decay=0.01)`, or add
        `optim.hooks.WeightDecay(0.01)` to hooks
    clipnorm global_clipnorm: add `optim.hooks.ClipGrad(1.0)` to hooks
    clipvalue: add `optim.hooks.ClipValue(1.0)` to hooks
    rho: write `optim.RMSprop(model, alpha=0.99)`
    beta_1 beta_2 b1 b2: write `optim.Adam(model, betas=(0.9, 0.999))`
    amsgrad: minidl's Adam is that of the paper, without AMSGrad
    dampening: minidl's Momentum has no dampening
    activation: put it after the layer: `layers.Sequential(layers.Linear(8), F.relu)`
    kernel_initializer: assign your own weights: `layer.w.data = np.zeros((3, 2), np.float32)`
    input_shape: the input size is learned at first use, or is in_features
    num_layers n_layers: put one after the other: `layers.Sequential(layers.LSTM(8),
        layers.LSTM(8))`
    batch_first: sequences are always (batch, time, features); leave it out
    bidirectional: write `layers.Bidirectional(layers.LSTM(8))`
    device: move the layer: `model.to('cpu')`
    inplace: functions return new arrays; leave it out
    num_workers: batches are cut where they are used; leave it out
    pin_memory: batches are plain arrays; leave it out
    name: layers are named by their attributes; leave it out
    seed random_state: write `layers.Linear(8, rng=np.random.default_rng(0))`
    """
)

# What a module answers for a name that it lacks: see refuse_unknown in hints.py.
OF_MODULES: dict[str, dict[str, str]] = {
    "minidl.callbacks": CALLBACKS,
    "minidl.datasets": DATASETS,
    "minidl.functions": FUNCTIONS,
    "minidl.layers": LAYERS,
    "minidl.optim": OPTIMIZERS,
    "minidl.optim.hooks": HOOKS,
    "minidl.optim.schedules": SCHEDULES,
}
