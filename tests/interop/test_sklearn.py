"""minidl.sklearn as scikit-learn sees it: its own checks, pipelines, grid search; and what it is told that is wrong.
How fast it is, benchmarks/sklearn_fit.py measures."""

import pickle
import signal
import subprocess
import sys

import numpy as np
import pytest

import minidl
from minidl import functions as F

sklearn = pytest.importorskip("sklearn")

from sklearn import (  # noqa: E402  # noqa: E402
    base,
    datasets,
    ensemble,
    exceptions,
    metrics,
    model_selection,
    pipeline,
    preprocessing,
)
from sklearn.utils.estimator_checks import check_estimator  # noqa: E402

from minidl.sklearn import Estimator, MLPClassifier, MLPRegressor  # noqa: E402


@pytest.fixture(autouse=True)
def seeded():
    minidl.seed(0)  # weights that a model has before it is given to an Estimator


def make_mlp(outputs):
    return minidl.layers.MLP([16, outputs], dtype=np.float64)


FULL = {"lr": 0.02, "epochs": 60, "batch_size": 64, "dtype": "float64"}
SKIPPED = {  # what the machine lacks, or the estimators
    "check_array_api_input",
    "check_classifiers_multilabel_output_format_decision_function",
    "check_sample_weights_pandas_series",
    "check_classifier_data_not_an_array",
    "check_regressor_data_not_an_array",
}


@pytest.mark.parametrize(
    ("estimator", "least"),
    [
        (MLPClassifier(), 60),
        (MLPRegressor(), 50),
        (Estimator(make_mlp, F.cross_entropy, **FULL), 55),
        (Estimator(make_mlp, F.mean_squared_error, **FULL), 50),
    ],
    ids=["classifier", "regressor", "any-classifier", "any-regressor"],
)
def test_scikit_learns_own_checks(estimator, least):
    found = check_estimator(estimator, on_fail=None, on_skip=None)
    names = {status: [] for status in ("passed", "failed", "skipped", "xfail")}
    for check in found:
        names[check["status"]].append((check["check_name"], check["exception"]))
    assert names["failed"] == names["xfail"] == []
    assert {name for name, _ in names["skipped"]} <= SKIPPED
    assert len(names["passed"]) >= least


def test_digits_and_diabetes():
    x, y = datasets.load_digits(return_X_y=True)
    own, other = slice(0, 1200), slice(1200, None)
    model = MLPClassifier(random_state=0).fit(x[own] / 16, y[own])
    assert model.score(x[other] / 16, y[other]) > 0.92  # scikit-learn's: 0.923 to 0.932
    np.testing.assert_allclose(model.predict_proba(x[other] / 16).sum(1), 1, rtol=1e-5)
    x, y = datasets.load_diabetes(return_X_y=True)
    model = pipeline.make_pipeline(preprocessing.StandardScaler(), MLPRegressor(random_state=0))
    assert model_selection.cross_val_score(model, x, y).mean() > 0.42


def test_grid_search_in_a_pipeline():
    x, y = datasets.load_iris(return_X_y=True)
    model = pipeline.make_pipeline(
        preprocessing.StandardScaler(), MLPClassifier(random_state=0, max_iter=30)
    )
    names = np.array(["setosa", "versicolor", "virginica"])
    grid = {
        "mlpclassifier__hidden_layer_sizes": [(8,), (16, 8)],
        "mlpclassifier__activation": ["relu", "tanh", F.gelu],
    }
    search = model_selection.GridSearchCV(model, grid, cv=3).fit(x, names[y])
    assert search.best_score_ > 0.9
    assert search.predict(x[:1])[0] == "setosa"


def test_weights_and_ensembles():
    x, y = datasets.make_moons(300, noise=0.2, random_state=0)
    boosted = ensemble.AdaBoostClassifier(
        MLPClassifier((10,), random_state=0), n_estimators=3, random_state=0
    )
    assert boosted.fit(x, y).score(x, y) > 0.85
    weight = np.where(y == 0, 1.0, 0.0)
    assert (MLPClassifier(random_state=0).fit(x, y, sample_weight=weight).predict(x) == 0).all()
    t, far = x[:, :1] * 2, x[:, :1] * 2 + np.where(y == 0, 0, 100)[:, None]
    model = MLPRegressor(random_state=0, learning_rate_init=0.03).fit(x, far, sample_weight=weight)
    assert metrics.r2_score(t[y == 0], model.predict(x)[y == 0]) > 0.95
    with pytest.raises(
        ValueError, match=r"want some samples of a weight above 0|at least one non-zero"
    ):
        model.fit(x, t, sample_weight=np.zeros(300))


def test_no_hidden_layer_is_a_linear_model_and_samples_of_weight_zero_are_left_out():
    x, y = datasets.make_friedman1(100, random_state=0)
    model = MLPRegressor((), random_state=0).fit(x, y)
    assert len(model.model_.layers) == 1
    weight = np.where(np.arange(100) < 80, 1.0, 0.0)
    some = MLPRegressor(random_state=0).fit(x, y, sample_weight=weight)
    fewer = MLPRegressor(random_state=0).fit(x[:80], y[:80], sample_weight=np.ones(80))
    np.testing.assert_allclose(some.predict(x), fewer.predict(x), rtol=1e-5)


def test_early_stopping_keeps_the_best():
    x, y = datasets.load_diabetes(return_X_y=True)
    x = preprocessing.scale(x)
    model = MLPRegressor(
        (50,), early_stopping=True, max_iter=500, n_iter_no_change=5, random_state=0
    ).fit(x, y)
    assert model.n_iter_ < 500
    assert len(model.validation_scores_) == len(model.loss_curve_) == model.n_iter_
    assert max(model.validation_scores_[-5:]) <= max(model.validation_scores_) + model.tol
    model = MLPClassifier(early_stopping=True, max_iter=5, random_state=0).fit(x, y > 140)
    assert model.validation_scores_[0] > 0.4


def test_same_seed_same_model_and_numpys_generator_untouched():
    x, y = datasets.make_friedman1(100, random_state=0)
    before = np.random.get_state()[1].copy()  # noqa: NPY002  # that it is not used is what is tested
    first, second = (MLPRegressor(random_state=3).fit(x, y).predict(x) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002
    assert not np.array_equal(MLPRegressor(random_state=4).fit(x, y).predict(x), first)


def test_pickled_cloned_and_verbose(capsys):
    x, y = datasets.make_moons(100, random_state=0)
    model = MLPClassifier(4, "identity", max_iter=2, verbose=True, random_state=0).fit(x, y)
    assert "epoch 2/2  loss 0." in capsys.readouterr().out
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.predict_proba(x), model.predict_proba(x))
    assert not hasattr(base.clone(model), "model_")
    assert isinstance(model.model_, minidl.layers.MLP)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"activation": "swish"},
            "MLPRegressor: activation: want one of relu, tanh, logistic, .* got 'swish'",
        ),
        (
            {"hidden_layer_sizes": (10, 0)},
            r"hidden_layer_sizes: want a list of positive integers, .* got \(10, 0\)",
        ),
        ({"hidden_layer_sizes": "large"}, "hidden_layer_sizes: want"),
        ({"learning_rate_init": 0}, "learning_rate_init: want a positive number, got 0"),
        ({"max_iter": 2.5}, 'max_iter: want an int of at least 1, or "auto", got 2.5'),
        ({"batch_size": 0}, "batch_size: want"),
        ({"alpha": -1}, "alpha: want"),
        ({"warm_start": "no"}, "warm_start: want True or False, got 'no'"),
        ({"shuffle": 2}, "shuffle: want True or False, got 2"),
        ({"early_stopping": None}, "early_stopping: want True or False"),
        ({"validation_fraction": 1}, "validation_fraction: want between 0 and 1, got 1"),
        (
            {"learning_rate_init": 1e30},
            "MLPRegressor: the .* at update .* lower learning_rate_init, or scale X, as by",
        ),
    ],
)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # NumPy's, of the steps that are too long
def test_what_is_wrong_is_said(settings, message):
    x, y = datasets.make_friedman1(200, random_state=0)
    with pytest.raises(ValueError, match=message):
        MLPRegressor(random_state=0, **settings).fit(x, y)


def test_the_missing_extra_is_named():
    code = """if True:
        import sys
        sys.modules["sklearn"] = sys.modules["sklearn.base"] = None
        import minidl.sklearn
        assert ">>>" not in minidl.sklearn.MLPClassifier.__doc__
        try:
            minidl.sklearn.MLPClassifier()
        except ImportError as error:
            print(error)
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (
        done.stdout.strip()
        == "minidl.sklearn.MLPClassifier needs scikit-learn: in minidl's folder run: "
        "pip install '.[sklearn]'"
    )


def test_minidl_does_not_import_it():
    code = "import sys, minidl; print({'sklearn', 'onnx', 'minidl.sklearn', 'minidl.onnx'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


# ---- data as people have it: compared with what scikit-learn's own estimators do --------------------------


def moons():
    x, y = datasets.make_moons(100, noise=0.1, random_state=0)
    return x, y, np.array(["no", "yes"])[y]


QUICK = {"max_iter": 2, "random_state": 0}


def test_columns_of_a_data_frame():
    pandas = pytest.importorskip("pandas")
    x, y, names = moons()
    frame = pandas.DataFrame(x, columns=["p", "q"])
    for model, target in (
        (MLPClassifier(**QUICK), pandas.Series(names, dtype="category")),
        (MLPRegressor(**QUICK), pandas.Series(x[:, 0])),
        (Estimator(make_mlp, F.cross_entropy, epochs=2), pandas.Series(names, dtype="category")),
    ):
        model.fit(frame, target)
        assert list(model.feature_names_in_) == ["p", "q"]
        assert len(model.predict(frame)) == 100
        with pytest.raises(ValueError, match="in the same order as they were in fit"):
            model.predict(frame[["q", "p"]])
        with pytest.raises(ValueError, match="Feature names seen at fit time, yet now missing"):
            model.predict(frame[["p"]])
        with pytest.warns(UserWarning, match="X does not have valid feature names"):
            model.predict(x)
    with pytest.raises(ValueError, match="contains NaN"):
        model.fit(frame.mask(frame > 1).astype("Float64"), target)
    two = MLPRegressor(**QUICK).fit(frame, frame)
    assert two.predict(frame).shape == (100, 2)


def test_rows_with_another_index_are_taken_by_position():
    pandas = pytest.importorskip("pandas")
    x, _, names = moons()
    mixed = np.random.default_rng(0).permutation(100)
    frame = pandas.DataFrame(x, index=mixed)
    frame.columns = frame.columns.astype(str)
    labels = pandas.Series(names, index=mixed[::-1])
    weight = pandas.Series(np.linspace(0.5, 1.5, 100), index=mixed)
    model = MLPClassifier(**QUICK).fit(frame, labels, sample_weight=weight)
    plain = MLPClassifier(**QUICK).fit(x, names, sample_weight=weight.to_numpy())
    np.testing.assert_array_equal(
        model.predict_proba(frame), plain.predict_proba(x.astype(np.float64))
    )


def test_object_arrays_are_numbers_or_refused():
    x, y, names = moons()
    model = MLPClassifier(**QUICK).fit(x, y)
    for same in (x.astype(object), x.tolist(), x.astype(str).astype(object)):
        again = MLPClassifier(**QUICK).fit(same, y)
        np.testing.assert_array_equal(again.predict_proba(x), model.predict_proba(x))
    assert set(MLPClassifier(**QUICK).fit(x, names.astype(object)).predict(x)) <= {"no", "yes"}
    with pytest.raises(ValueError, match="could not convert string to float"):
        MLPClassifier(**QUICK).fit(names[:, None].astype(object), y)
    mixed = np.array([1 if label else "b" for label in y], object)
    for labels in (y.astype(object), mixed, np.where(y, None, "b")):
        with pytest.raises(ValueError, match="Unknown label type"):
            MLPClassifier(**QUICK).fit(x, labels)


@pytest.mark.parametrize("kind", [MLPClassifier, MLPRegressor])
@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda x: np.where(x > 1, np.nan, x), ValueError, "Input X contains NaN"),
        (lambda x: np.where(x > 1, np.inf, x), ValueError, "contains infinity"),
        (lambda x: x * 1j, ValueError, "Complex data not supported"),
        (lambda x: x[:, 0], ValueError, "Expected 2D array"),
        (lambda x: x[:, :, None], ValueError, "dim 3"),
        (lambda x: x[:50], ValueError, "inconsistent numbers of samples"),
        (lambda x: pytest.importorskip("scipy.sparse").csr_array(x), TypeError, "Sparse data"),
    ],
)
def test_samples_that_are_refused(kind, change, error, message):
    x, y, _ = moons()
    with pytest.raises(error, match=message):
        kind(**QUICK).fit(change(x), y)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_targets_and_weights_that_are_refused(bad):
    x, y, _ = moons()
    broken = np.where(y, bad, 1.0)
    for kind in (MLPClassifier, MLPRegressor):
        with pytest.raises(ValueError, match="Input y contains"):
            kind(**QUICK).fit(x, broken)
        with pytest.raises(ValueError, match="sample_weight contains"):
            kind(**QUICK).fit(x, y, sample_weight=broken)
    with pytest.raises(ValueError, match="Unknown label type: continuous"):
        MLPClassifier(**QUICK).fit(x, x[:, 0])
    with pytest.raises(ValueError, match="y: want targets whose squares are finite"):
        MLPRegressor(**QUICK).fit(x, y * 1e300)


# ---- going on with a model: partial_fit, warm_start ----------------------------------------------------------


def test_partial_fit_learns_in_parts():
    x, y = datasets.load_digits(return_X_y=True)
    x = x / 16
    model = MLPClassifier(random_state=0)
    for _ in range(4):
        for start in range(0, 1200, 300):
            rows = slice(start, start + 300)
            model.partial_fit(x[rows], y[rows], classes=range(10))
    assert model.score(x[1200:], y[1200:]) > 0.85
    assert model.n_iter_ == len(model.loss_curve_) == 16
    assert model.loss_curve_[-1] < model.loss_curve_[0] / 4
    again = pickle.loads(pickle.dumps(model))
    for part in (model, again):
        part.partial_fit(x[:300], y[:300])
    np.testing.assert_array_equal(again.predict_proba(x), model.predict_proba(x))


def test_partial_fit_is_adam_at_a_constant_rate():
    """One batch a call: the model after three calls is that of three steps by hand."""
    x, y, _ = moons()
    x, t = x[:40], x[:40, :1] * 3 + 1
    settings = {"alpha": 0.0, "shuffle": False, "learning_rate_init": 0.02, "random_state": 0}
    model = MLPRegressor((5,), "tanh", **settings)
    scaled = (t - t.mean()) / t.std()
    for _ in range(3):
        model.partial_fit(x, t[:, 0])
    own = MLPRegressor((5,), "tanh", **settings | {"learning_rate_init": 1e-30})
    own = own.partial_fit(x, t[:, 0]).model_  # the weights it begins with
    adam = minidl.optim.Adam(own, lr=0.02)
    for _ in range(3):
        own.cleargrads()
        F.mean_squared_error(own(x), scaled).backward()
        adam.update()
    np.testing.assert_allclose(model.predict(x), (own(x).data * t.std() + t.mean())[:, 0])


def test_partial_fit_after_fit_goes_on():
    x, y, names = moons()
    model = MLPClassifier(random_state=0).fit(x, names)
    epochs, loss = model.n_iter_, model.loss_
    model.partial_fit(x, names)
    assert model.n_iter_ == epochs + 1 and model.loss_ < loss + 0.1
    assert model.partial_fit(x[y == 0], names[y == 0]).predict(x).dtype == names.dtype


def test_warm_start_begins_with_the_weights_there_are():
    x, y = datasets.make_friedman1(200, random_state=0)
    for kind, t in ((MLPRegressor, y), (MLPClassifier, y > y.mean())):
        cold = kind(random_state=0, max_iter=20)
        warm = kind(random_state=0, max_iter=20, warm_start=True).fit(x, t)
        loss = warm.loss_
        np.testing.assert_array_equal(cold.fit(x, t).predict(x), warm.predict(x))
        model = warm.model_
        assert warm.fit(x, t).loss_curve_[20] < 1.5 * loss and warm.n_iter_ == 40
        assert warm.loss_ < loss and warm.model_ is not model
        np.testing.assert_array_equal(cold.fit(x, t).loss_curve_, warm.loss_curve_[:20])


def test_going_on_with_something_else_is_refused():
    x, y, names = moons()
    model = MLPClassifier(**QUICK)
    with pytest.raises(ValueError, match="classes must be passed on the first call"):
        model.partial_fit(x, names)
    with pytest.raises(ValueError, match=r"y: want labels of \['maybe' 'no'\], got \['yes'\]"):
        model.partial_fit(x, names, classes=["no", "maybe"])
    model = MLPClassifier(**QUICK).partial_fit(x, names, classes=["no", "yes"])
    with pytest.raises(ValueError, match=r"y: want labels of \['no' 'yes'\], got \['new'\] too"):
        model.partial_fit(x[:2], ["yes", "new"])
    with pytest.raises(ValueError, match="want the classes of the fit before"):
        model.partial_fit(x, names, classes=["no", "yes", "maybe"])
    with pytest.raises(ValueError, match="want the classes of the fit before"):
        model.partial_fit(x, np.eye(2, dtype=int)[y])
    with pytest.raises(ValueError, match="early_stopping: want False for partial_fit, got True"):
        model.set_params(early_stopping=True).partial_fit(x, names)
    with pytest.raises(ValueError, match="features"):
        model.set_params(early_stopping=False).partial_fit(x[:, :1], names)
    model = MLPClassifier(**QUICK, warm_start=True).fit(x, names)
    with pytest.raises(ValueError, match=r"hidden_layer_sizes: want \[100\] as in the fit before"):
        model.set_params(hidden_layer_sizes=(8,)).fit(x, names)
    with pytest.raises(ValueError, match=r"hidden_layer_sizes: want \[100\] as in the fit before"):
        model.partial_fit(x, names)
    model = MLPRegressor(**QUICK).partial_fit(x, x)
    with pytest.raises(ValueError, match=r"y: want 2 targets for a sample, .* got 1"):
        model.partial_fit(x, x[:, 0])


def test_a_fit_that_fails_leaves_no_model():
    x, y, names = moons()
    model = MLPClassifier(**QUICK).fit(x, names)
    with pytest.raises(ValueError, match="scale X"), np.errstate(all="ignore"):
        model.set_params(learning_rate_init=1e38, max_iter=50).fit(x, y + 5)
    with pytest.raises(exceptions.NotFittedError):
        model.predict(x)


# ---- weights of classes, several labels, several targets -----------------------------------------------------


def test_class_weight_is_a_weight_of_samples():
    x, y, names = moons()
    weight = np.linspace(0.5, 1.5, 100)
    by_class = MLPClassifier(**QUICK, class_weight={"no": 3.0, "yes": 0.5})
    by_class.fit(x, names, sample_weight=weight)
    by_sample = MLPClassifier(**QUICK).fit(x, names, sample_weight=weight * np.where(y, 0.5, 3))
    np.testing.assert_allclose(by_class.predict_proba(x), by_sample.predict_proba(x), rtol=1e-6)
    rows = np.r_[np.flatnonzero(y == 0)[:5], np.flatnonzero(y == 1)[:40]]
    balanced = MLPClassifier(**QUICK, class_weight="balanced").fit(x[rows], names[rows])
    weight = np.where(y[rows], 45 / (2 * 40), 45 / (2 * 5))
    by_sample = MLPClassifier(**QUICK).fit(x[rows], names[rows], sample_weight=weight)
    np.testing.assert_allclose(balanced.predict_proba(x), by_sample.predict_proba(x))
    part = MLPClassifier(**QUICK, class_weight={0: 1.0, 1: 0.0})
    part.partial_fit(x, y, classes=[0, 1])
    assert (part.fit(x, y).predict(x) == 0).all()


@pytest.mark.parametrize(
    ("weight", "message"),
    [
        ({0: 1.0}, r"class_weight: want a weight for every class, also for \[1\], got \{0"),
        ({0: 1.0, 1: -1.0}, "class_weight: want finite numbers of at least 0"),
        ({0: 1.0, 1: np.nan}, "class_weight: want finite numbers of at least 0"),
        ({0: 1.0, 1: "2"}, "class_weight: want finite numbers of at least 0"),
        ({0: 0, 1: 0}, "class_weight: want some samples of a weight above 0"),
        ("equal", 'class_weight: want None, a dict or "balanced", got .equal'),
        ([1.0, 2.0], 'class_weight: want None, a dict or "balanced"'),
        (np.ones(2), 'class_weight: want None, a dict or "balanced"'),
    ],
)
def test_class_weights_that_are_refused(weight, message):
    x, y, _ = moons()
    with pytest.raises(ValueError, match=message):
        MLPClassifier(**QUICK, class_weight=weight).fit(x, y)


def test_balanced_in_parts_and_weights_of_another_length_are_refused():
    x, y, _ = moons()
    with pytest.raises(ValueError, match="partial_fit: class_weight: want a dict"):
        MLPClassifier(class_weight="balanced").partial_fit(x, y, classes=[0, 1])
    for estimator in (MLPClassifier(), MLPRegressor(), Estimator(make_mlp, F.cross_entropy)):
        with pytest.raises(ValueError, match=r"sample_weight.shape == \(99,\)"):
            estimator.fit(x, y, sample_weight=np.ones(99))
        with pytest.raises(ValueError, match="Negative values"):
            estimator.fit(x, y, sample_weight=-np.ones(100))


def test_several_labels():
    x, y = datasets.make_multilabel_classification(300, n_labels=3, random_state=0)
    model = MLPClassifier(random_state=0).fit(x[:200], y[:200])
    guess = model.predict(x[200:])
    assert guess.shape == (100, 5) and set(np.unique(guess)) == {0, 1}
    assert metrics.f1_score(y[200:], guess, average="micro") > 0.65
    assert model.score(x[200:], y[200:]) == (guess == y[200:]).all(1).mean()
    p = model.predict_proba(x)
    assert p.shape == (300, 5) and ((p > 0.5) == model.predict(x)).all()
    np.testing.assert_allclose(model.predict_log_proba(x), np.log(p))
    model = MLPClassifier(random_state=0, early_stopping=True, max_iter=3).fit(x, y)
    assert 0 < model.validation_scores_[-1] < 1
    sparse = pytest.importorskip("scipy.sparse").csr_array(y)
    again = MLPClassifier(random_state=0, early_stopping=True, max_iter=3).fit(x, sparse)
    np.testing.assert_array_equal(again.predict(x), model.predict(x))
    first = MLPClassifier(**QUICK).partial_fit(x, y)
    assert first.predict(x).shape == (300, 5)
    with pytest.raises(ValueError, match="class_weight: want None for an indicator matrix"):
        first.set_params(class_weight={0: 1.0, 1: 2.0}).fit(x, y)
    with pytest.raises(
        ValueError, match=r"want labels .* got a matrix .* of more than two classes"
    ):
        MLPClassifier().fit(x, y + np.arange(300)[:, None] % 2)


def test_logarithms_of_probabilities_have_all_digits():
    x, y, _ = moons()
    model = MLPClassifier(random_state=0).fit(x, y)
    far = x * 1e4
    log_p = model.predict_log_proba(far)
    assert np.isfinite(log_p).all() and log_p.min() < -1000
    np.testing.assert_allclose(model.predict_log_proba(x), np.log(model.predict_proba(x)))


def test_weights_count_in_scores_and_several_targets():
    x, y = datasets.make_friedman1(200, random_state=0)
    t = np.c_[y, 1000 * y]
    weight = np.linspace(0, 1, 200)
    model = MLPRegressor(random_state=0).fit(x, t, sample_weight=weight)
    assert model.predict(x).shape == (200, 2)
    want = metrics.r2_score(t, model.predict(x), sample_weight=weight)
    assert model.score(x, t, sample_weight=weight) == want > 0.8


# ---- any layer ----------------------------------------------------------------------------------------------


def test_an_estimator_of_images_in_a_search():
    x, y = datasets.load_digits(return_X_y=True)
    x, names = x[:400].reshape(-1, 8, 8, 1) / 16, np.array(list("abcdefghij"))[y[:400]]
    layers = minidl.layers
    model = layers.Sequential(
        layers.Conv2d(8, kernel=3), F.relu, lambda y: y.reshape(len(y), -1), layers.Linear(10)
    )
    estimator = Estimator(model, F.cross_entropy, epochs=8, lr=0.005, random_state=0)
    search = model_selection.GridSearchCV(estimator, {"lr": [1e-6, 0.005]}, cv=2)
    search.fit(x, names)
    assert search.best_params_ == {"lr": 0.005} and search.best_score_ > 0.8
    assert model[0].in_features is None  # the one given has learned nothing, not even its shape
    assert search.predict(x[:1])[0] in names
    np.testing.assert_allclose(search.predict_proba(x).sum(1), 1)


def test_models_are_tried_in_a_search_and_stay_as_they_are():
    x, y = datasets.make_friedman1(200, random_state=0)
    models = [minidl.layers.MLP([n, 1], in_features=5) for n in (1, 32)]
    before = [model.state_dict() for model in models]
    estimator = Estimator(models[0], F.mean_squared_error, epochs=60, lr=0.02, random_state=0)
    scaled = pipeline.make_pipeline(preprocessing.StandardScaler(), estimator)
    search = model_selection.GridSearchCV(scaled, {"estimator__model": models}, cv=2)
    t = y - y.mean()
    search.fit(x[:, :5], t)
    assert search.best_score_ > 0.6 and len(search.best_params_["estimator__model"][0].b) == 32
    for model, state in zip(models, before, strict=True):
        assert all((value == state[name]).all() for name, value in model.state_dict().items())
    fitted = search.best_estimator_[-1]
    assert fitted.predict(x[:, :5]).shape == (200,)
    again = pickle.loads(pickle.dumps(fitted))
    np.testing.assert_array_equal(again.predict(x[:, :5]), fitted.predict(x[:, :5]))
    with pytest.raises((ValueError, AttributeError)):
        estimator.set_params(model__sizes=[1])


def test_an_estimator_trains_as_a_trainer_does():
    x, y = datasets.make_friedman1(96, random_state=0)
    x, t = x.astype(np.float32), y.astype(np.float32)[:, None]
    model = minidl.layers.MLP([8, 1], in_features=10, rng=np.random.default_rng(0))
    own = minidl.layers.MLP([8, 1], in_features=10, rng=np.random.default_rng(0))
    weight = np.linspace(0.1, 1, 96)
    metric = {"error": F.mean_absolute_error}
    estimator = Estimator(model, F.mean_squared_error, epochs=3, shuffle=False, metrics=metric)
    estimator.fit(x, y, sample_weight=weight)
    trainer = minidl.Trainer(own, minidl.optim.Adam(own), F.mean_squared_error, metric)
    history = trainer.fit(x, t, weight, epochs=3, shuffle=False, verbose=0)
    np.testing.assert_allclose(estimator.history_["error"], history["error"], rtol=1e-5)
    np.testing.assert_allclose(estimator.predict(x), own(x).data[:, 0], rtol=1e-5)


def test_integers_stay_integers_and_dropout_repeats():
    layers = minidl.layers
    rng = np.random.default_rng(0)
    words = rng.integers(0, 20, (300, 6))
    y = (words == 7).any(1)
    model = layers.Sequential(
        layers.Embedding(20, 8),
        lambda e: e.reshape(len(e), -1),
        layers.Dropout(0.1),
        layers.Linear(2),
    )
    settings = {"epochs": 20, "lr": 0.02, "random_state": 0, "dtype": None}
    first, second = (Estimator(model, F.cross_entropy, **settings).fit(words, y) for _ in range(2))
    assert first.score(words, y) > 0.9
    np.testing.assert_array_equal(first.predict_proba(words), second.predict_proba(words))
    assert first.predict(words).dtype == bool


def test_a_loss_of_ones_own_and_an_autoencoder():
    x, _ = datasets.load_digits(return_X_y=True)
    x = x[:300] / 16

    def loss(y, t):
        return F.mean_squared_error(y, t) * 2

    estimator = Estimator(minidl.layers.MLP([16, 64]), loss, epochs=30, lr=0.01, random_state=0)
    assert not hasattr(estimator, "predict_proba")
    assert estimator.fit(x, x).predict(x).shape == (300, 64)
    assert ((estimator.predict(x) - x) ** 2).mean() < 0.5 * x.var(0).mean()
    assert base.is_regressor(estimator) and not base.is_classifier(estimator)
    chosen = Estimator(make_mlp, loss, classifier=True)
    assert base.is_classifier(chosen) and hasattr(chosen, "predict_proba")


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"model": minidl.layers.MLP([3])}, ValueError, "want an output for each of 2 classes"),
        ({"model": "MLP"}, ValueError, "Estimator: model: want a layer, or a function that makes"),
        ({"model": minidl.layers.MLP}, ValueError, "model: want a layer, or a function that"),
        ({"model": lambda n: n}, TypeError, "model: want a function that makes a layer, got 2"),
        ({"loss": "mse"}, ValueError, "Estimator: loss: want a function, got 'mse'"),
        ({"optimizer": "adam"}, ValueError, "optimizer: want a class, or a function of the model"),
        ({"classifier": "yes"}, ValueError, "classifier: want True or False, got 'yes'"),
        ({"epochs": 0}, ValueError, "epochs: want an int of at least 1, got 0"),
        ({"batch_size": 1.5}, ValueError, "batch_size: want an int of at least 1, got 1.5"),
        ({"lr": -1.0}, ValueError, "lr"),
        ({"lr": 1e300, "epochs": 50}, ValueError, "lower lr, or scale X, as by make_pipeline"),
    ],
)
def test_what_an_estimator_refuses(settings, error, message):
    x, y, _ = moons()
    estimator = Estimator(**{"model": make_mlp, "loss": F.cross_entropy} | settings)
    with pytest.raises(error, match=message), np.errstate(all="ignore"):
        estimator.fit(x, y)
    with pytest.raises(exceptions.NotFittedError):
        estimator.predict(x)


def test_an_estimator_says_what_labels_it_wants():
    x, y = datasets.make_multilabel_classification(50, random_state=0)
    with pytest.raises(ValueError, match="got an indicator matrix; say classifier=False"):
        Estimator(make_mlp, F.cross_entropy).fit(x, y)
    several = Estimator(make_mlp, F.binary_cross_entropy_with_logits, random_state=0)
    assert several.fit(x, y).predict(x).shape == (50, 5)
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        several.fit(x[:40], y)

    def own(y, t):
        return F.cross_entropy(y, t)

    with pytest.raises(ValueError, match="got text; for labels say classifier=True"):
        Estimator(make_mlp, own).fit(x, np.where(y[:, 0], "a", "b"))
    with pytest.raises(TypeError, match="labels must be integers") as caught:
        Estimator(minidl.layers.MLP([2]), own).fit(x, y[:, 0])
    assert "is a regressor: y are float32; see classifier=" in caught.value.__notes__[-1]
    labels = Estimator(make_mlp, own, classifier=True).fit(x, np.where(y[:, 0], "a", "b"))
    assert set(labels.predict(x)) <= {"a", "b"}


@pytest.mark.parametrize("part", [False, True])
def test_an_interrupt_ends_more_than_the_fit(part):
    x, y, _ = moons()

    def interrupted(x):
        signal.raise_signal(signal.SIGINT)
        return F.relu(x)

    model = MLPClassifier(activation=interrupted, random_state=0)
    with pytest.raises(KeyboardInterrupt):
        model.partial_fit(x, y, [0, 1]) if part else model.fit(x, y)
    assert not hasattr(model, "model_")


def test_processes_and_threads():
    joblib = pytest.importorskip("joblib")
    x, y = datasets.make_friedman1(100, random_state=0)
    model = MLPRegressor(**QUICK)
    want = model_selection.cross_val_predict(model, x, y, cv=3)
    for backend in ("loky", "threading"):
        with joblib.parallel_config(backend, n_jobs=2):
            got = model_selection.cross_val_predict(model, x, y, cv=3)
        np.testing.assert_allclose(got, want, rtol=1e-6)
    dropping = minidl.layers.Sequential(
        minidl.layers.MLP([16, 8]), minidl.layers.Dropout(0.5), minidl.layers.Linear(1)
    )
    estimator = Estimator(dropping, F.mean_squared_error, epochs=5, random_state=0)
    want = model_selection.cross_val_predict(estimator, x, y, cv=4)
    with joblib.parallel_config("threading", n_jobs=4):
        got = model_selection.cross_val_predict(estimator, x, y, cv=4)
    np.testing.assert_allclose(got, want, rtol=1e-5)
