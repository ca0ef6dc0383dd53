"""rnn, lstm and gru: what the catalogue does not say of a fused sequence: its composition, memory, lengths."""

import numpy as np
import pytest

import minidl
from minidl import Variable, gradients
from minidl import functions as F

RNG = np.random.default_rng(3)
BATCH, TIME, FEATURES, HIDDEN = 3, 4, 2, 5


GATES = {F.rnn: 1, F.gru: 3, F.lstm: 4}


def arguments(function, dtype=np.float64, batch=BATCH):
    gates, states = GATES[function], 2 if function is F.lstm else 1
    shapes = [(batch, TIME, FEATURES), *[(batch, HIDDEN)] * states]
    shapes += [(FEATURES, gates * HIDDEN), (HIDDEN, gates * HIDDEN), (gates * HIDDEN,)]
    if function is F.gru:
        shapes.append((HIDDEN,))
    return [RNG.normal(size=shape).astype(dtype) for shape in shapes]


def outputs(y):
    return y if isinstance(y, tuple) else (y,)


def total(y):
    """A sum with different factors, curved so that second derivatives have no zeros to hide in."""
    return sum(
        (o * o * np.cos(np.arange(o.size)).reshape(o.shape).astype(o.dtype)).sum()
        for o in outputs(y)
    )


FUNCTIONS = pytest.mark.parametrize("function", list(GATES), ids=lambda f: f.__name__)
SEQUENCES = pytest.mark.parametrize("return_sequences", [True, False])


@FUNCTIONS
@SEQUENCES
@pytest.mark.parametrize(("dtype", "rtol"), [(np.float64, 1e-11), (np.float32, 2e-4)])
@pytest.mark.parametrize(("batch", "lengths"), [(3, None), (1, None), (3, [3, 1, TIME]), (1, [2])])
def test_equals_its_composition_to_second_order(
    function, return_sequences, dtype, rtol, batch, lengths
):
    samples = arguments(function, dtype, batch)
    found = []
    for f in (function, function.equals):
        xs = [Variable(a) for a in samples]

        def run():
            return f(*xs, lengths=lengths, return_sequences=return_sequences)  # noqa: B023

        ys = run()
        first = gradients(total(ys), xs, create_graph=False)
        graph = gradients(total(run()), xs, create_graph=True)
        second = gradients(sum((g * g).sum() for g in graph), xs)
        found.append([v.data for v in (*outputs(ys), *first, *graph, *second)])
    for a, b in zip(*found, strict=True):
        assert a.dtype == b.dtype == dtype and a.shape == b.shape
        np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol * np.abs(b).max())


@FUNCTIONS
@SEQUENCES
@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
@pytest.mark.parametrize("batch", [1, BATCH])
@pytest.mark.filterwarnings("ignore:invalid value")
def test_what_is_not_finite_is_as_in_the_composition(function, return_sequences, value, batch):
    x, *others = arguments(function, batch=batch)
    x[0, 1, 0] = value
    settings = {"return_sequences": return_sequences}
    for lengths in (None, [TIME] * batch, [1] * batch):
        got = function(x, *others, lengths=lengths, **settings)
        want = function.equals(x, *others, lengths=lengths, **settings)
        for a, b in zip(outputs(got), outputs(want), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-11)


@FUNCTIONS
@SEQUENCES
def test_every_subset_of_wanted_arguments_gets_the_same_gradients(function, return_sequences):
    samples = arguments(function)
    everything = [Variable(a) for a in samples]
    whole = gradients(total(function(*everything, return_sequences=return_sequences)), everything)
    for chosen in range(1, 2 ** len(samples)):
        places = [i for i in range(len(samples)) if chosen >> i & 1]
        mixed = [Variable(a) if i in places else a for i, a in enumerate(samples)]
        parts = gradients(
            total(function(*mixed, return_sequences=return_sequences)), [mixed[i] for i in places]
        )
        for i, g in zip(places, parts, strict=True):
            np.testing.assert_allclose(g.data, whole[i].data, rtol=1e-12, atol=1e-14)


@FUNCTIONS
def test_only_what_is_wanted_is_computed(function):
    samples = arguments(function)
    wanted = [False] * len(samples)
    y, saved = function.forward(*samples)
    g = [np.ones_like(o) for o in outputs(y)]
    found = function.joint(g if function is F.lstm else g[0], y, saved, wanted, *samples)
    assert found[0] is None and found[3 if function is F.lstm else 2 :] == (None,) * (
        len(found) - 2 - (function is F.lstm)
    )  # the products over all steps: of x, and of the weights


@FUNCTIONS
@SEQUENCES
def test_writing_to_a_result_changes_no_gradient(function, return_sequences):
    """What was saved for the backward pass is no part of what the user can see."""
    samples, found = arguments(function), []
    for write in (False, True):
        xs = [Variable(a) for a in samples]
        ys = outputs(function(*xs, return_sequences=return_sequences))
        for y in ys:
            if write:
                y.data[...] = 7
            y.backward()
        found.append([x.grad.data for x in xs])
    for a, b in zip(*found, strict=True):
        np.testing.assert_array_equal(a, b)


@FUNCTIONS
@SEQUENCES
def test_a_second_backward_adds_the_same(function, return_sequences):
    xs = [Variable(a) for a in arguments(function)]
    y = total(function(*xs, return_sequences=return_sequences))
    y.backward()
    first = [x.grad.data.copy() for x in xs]
    y.backward()
    for x, g in zip(xs, first, strict=True):
        np.testing.assert_array_equal(x.grad.data, 2 * g)


@FUNCTIONS
def test_gradients_share_no_memory(function):
    xs = [Variable(a) for a in arguments(function)]
    total(function(*xs)).backward()
    for i, a in enumerate(xs):
        for b in xs[:i]:
            assert not np.shares_memory(a.grad.data, b.grad.data)


@FUNCTIONS
def test_one_application_and_nothing_saved_without_a_graph(function):
    xs = [Variable(a) for a in arguments(function)]
    last = outputs(function(*xs))[0]
    node = last._node.inputs[0] if function is F.lstm else last._node
    assert node.name == function.__name__ and [n.owner() for n in node.inputs] == xs
    with minidl.no_grad():
        assert all(not y.requires_grad for y in outputs(function(*xs)))


@FUNCTIONS
def test_strides_of_the_input_and_of_the_gradient_do_not_matter(function):
    x, *rest = arguments(function)
    strided = np.asfortranarray(x)[::-1][::-1]
    for a, b in zip(outputs(function(x, *rest)), outputs(function(strided, *rest)), strict=True):
        np.testing.assert_array_equal(a, b)
    v, w = Variable(x), Variable(strided)
    seed = RNG.normal(size=(HIDDEN, TIME, BATCH))
    (outputs(function(v, *rest))[0] * seed.T.copy()).sum().backward()
    outputs(function(w, *rest))[0].backward(seed.T)
    np.testing.assert_allclose(v.grad.data, w.grad.data, rtol=1e-12)


@FUNCTIONS
def test_large_pre_activations_saturate_without_a_warning(function):
    x, *rest = arguments(function, np.float32)
    xs = [Variable(a) for a in (x * 1e4, *rest)]
    ys = outputs(function(*xs))
    sum(y.sum() for y in ys).backward()
    assert all(np.isfinite(y.data).all() for y in ys) and all(
        np.isfinite(v.grad.data).all() for v in xs
    )


@FUNCTIONS
def test_dtypes_are_promoted_and_gradients_cast_back(function):
    samples = arguments(function)
    xs = [Variable(a.astype(np.float32) if i % 2 else a) for i, a in enumerate(samples)]
    ys = outputs(function(*xs))
    sum(y.sum() for y in ys).backward()
    assert all(y.dtype == np.float64 for y in ys) and all(x.grad.dtype == x.dtype for x in xs)


@FUNCTIONS
@pytest.mark.parametrize("place", range(6))
@pytest.mark.parametrize(
    "bad",
    [
        lambda a: a[..., 1:],
        lambda a: a[None],
        lambda a: np.concatenate([a, a]),
        lambda a: a[0],
    ],
    ids=["last", "axes", "first", "fewer"],
)
def test_shapes_that_do_not_fit(function, place, bad):
    samples = arguments(function)
    if place >= len(samples):
        return
    samples[place] = bad(samples[place])
    with pytest.raises(ValueError, match=rf"^{function.__name__}: want .* \(got float64 \("):
        function(*samples)


@FUNCTIONS
def test_no_steps_and_integers(function):
    x, *rest = arguments(function)
    with pytest.raises(ValueError, match="time > 0"):
        function(x[:, :0], *rest)
    with pytest.raises(TypeError, match=rf"^{function.__name__}: want floating arrays \(got int64"):
        function(x.astype(np.int64), *rest)


@FUNCTIONS
def test_a_long_thin_sequence(function):
    rng = np.random.default_rng(0)
    gates, states = GATES[function], 2 if function is F.lstm else 1
    x, zero = rng.normal(size=(1, 500, 3)), np.zeros((1, 4))
    shapes = [(3, 4 * gates), (4, 4 * gates), (4 * gates,)] + [(4,)] * (function is F.gru)
    w = [Variable(rng.normal(size=s) / 2) for s in shapes]
    fused, plain = (
        gradients(total(f(x, *[zero] * states, *w)), w) for f in (function, function.equals)
    )
    for a, b in zip(fused, plain, strict=True):
        np.testing.assert_allclose(a.data, b.data, rtol=1e-9)


# ---- lengths ----------------------------------------------------------------------------------------------------


@FUNCTIONS
@SEQUENCES
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_padded_rows_are_the_rows_alone(function, return_sequences, dtype):
    """Values and gradients, whatever stands in the padding, and in what comes back for it."""
    samples = arguments(function, dtype)
    states = 2 if function is F.lstm else 1
    lengths = np.array([2, TIME, 1])
    samples[0][np.arange(TIME) >= lengths[:, None]] = np.nan
    seeds = [
        RNG.normal(size=o.shape).astype(dtype)
        for o in outputs(function(*arguments(function), return_sequences=return_sequences))
    ]
    xs = [Variable(a) for a in samples]
    ys = outputs(function(*xs, lengths=lengths, return_sequences=return_sequences))
    sum((y * s).sum() for y, s in zip(ys, seeds)).backward()
    assert all(y.dtype == dtype for y in ys)
    weights = [Variable(a) for a in samples[1 + states :]]
    for i, n in enumerate(lengths):
        row = [
            Variable(samples[0][i : i + 1, :n]),
            *(Variable(s[i : i + 1]) for s in samples[1 : 1 + states]),
        ]
        alone = outputs(function(*row, *weights, return_sequences=return_sequences))
        parts = [s[i : i + 1] for s in seeds]
        h = ys[0].data[i : i + 1]
        if return_sequences:
            assert not h[:, n:].any()
            h, parts[0] = h[:, :n], parts[0][:, :n]
        for got, want in zip([h, *(y.data[i : i + 1] for y in ys[1:])], alone, strict=True):
            np.testing.assert_allclose(got, want.data, rtol=1e-5, atol=1e-6)
        sum((y * s).sum() for y, s in zip(alone, parts)).backward()
        assert not xs[0].grad.data[i, n:].any()
        np.testing.assert_allclose(
            xs[0].grad.data[i : i + 1, :n], row[0].grad.data, rtol=1e-4, atol=1e-5
        )
        for got, want in zip(xs[1 : 1 + states], row[1:], strict=True):
            np.testing.assert_allclose(
                got.grad.data[i : i + 1], want.grad.data, rtol=1e-4, atol=1e-5
            )
    for got, want in zip(xs[1 + states :], weights, strict=True):
        np.testing.assert_allclose(got.grad.data, want.grad.data, rtol=1e-4, atol=1e-5)


@FUNCTIONS
def test_full_lengths_are_none(function):
    samples = arguments(function)
    for lengths in ([TIME] * BATCH, np.full(BATCH, TIME, np.uint8), Variable(np.full(BATCH, TIME))):
        plain, full = function(*samples), function(*samples, lengths)
        for a, b in zip(outputs(plain), outputs(full), strict=True):
            np.testing.assert_array_equal(a, b.data if isinstance(b, Variable) else b)


@FUNCTIONS
@pytest.mark.parametrize(
    ("lengths", "error", "complaint"),
    [
        ([1, 2, TIME + 1], ValueError, f"want lengths from 1 to {TIME}, got {TIME + 1}"),
        ([1, 0, 2], ValueError, f"want lengths from 1 to {TIME}, got 0"),
        ([1, -1, 2], ValueError, f"want lengths from 1 to {TIME}, got -1"),
        ([1, 2], ValueError, r"want an integer length for each row, \(3,\), got int64 \(2,\)"),
        ([[1, 2, 3]], ValueError, "want an integer length for each row"),
        (2, ValueError, "want an integer length for each row"),
        ([1.0, 2.0, 3.0], TypeError, "want an integer length for each row"),
        ([True, True, False], TypeError, "want an integer length for each row"),
        (np.ones((3, TIME), bool), TypeError, "want an integer length for each row"),
    ],
)
@pytest.mark.parametrize("plain", [False, True])
def test_what_are_no_lengths(function, lengths, error, complaint, plain):
    if plain:
        with pytest.raises(error, match=complaint):
            function.equals(*arguments(function), lengths)
    else:
        with pytest.raises(error, match=rf"^{function.__name__}: {complaint}"):
            function(*arguments(function), lengths)


@pytest.mark.parametrize("batch", [1, 3, 100])
@FUNCTIONS
def test_small_and_large_blocks_alike(function, batch):
    """Above a size the loops share memory instead of copying."""
    from minidl.functions import sequences

    samples, found = arguments(function, batch=batch), []
    for limit in (0, 2**30):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sequences, "_SMALL", limit)
            xs = [Variable(a) for a in samples]
            total(function(*xs)).backward()
            found.append([x.grad.data for x in xs])
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("function", [F.lstm, F.gru], ids=["lstm", "gru"])
@pytest.mark.parametrize("z", [-5.0, -20.0, -30.0])
def test_gates_that_are_nearly_closed_keep_their_digits(function, z):
    """In float32 as in float64: values, and slopes by the input that closes all gates."""
    found = []
    for dtype in (np.float32, np.float64):
        samples = [np.zeros_like(a) for a in arguments(function, dtype)]
        x, *states, w_x, _, b = samples[: 6 if function is F.lstm else 5]
        x[...] = z
        w_x[0] = 1
        w_x[0, -HIDDEN:] = 0  # but not what they let in
        b[-HIDDEN:] = 0.5
        for state in states:
            state[...] = 0.7
        v = Variable(x[:, :1])
        ys = outputs(function(v, *samples[1:]))
        ys[-1].sum().backward()
        found.append([*(y.data for y in ys), v.grad.data])
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-6)
        assert b.any()
