"""minidl.sklearn as scikit-learn sees it: its own checks, pipelines, grid search; and what it is told that is wrong.
How fast it is, benchmarks/sklearn_fit.py measures."""

import pickle
import subprocess
import sys

import numpy as np
import pytest

import minidl
from minidl import functions as F

sklearn = pytest.importorskip("sklearn")

from sklearn import base, datasets, ensemble, metrics, model_selection, pipeline, preprocessing  # noqa: E402
from sklearn.utils.estimator_checks import check_estimator  # noqa: E402

from minidl.sklearn import MLPClassifier, MLPRegressor  # noqa: E402


@pytest.mark.parametrize("kind", [MLPClassifier, MLPRegressor])
def test_scikit_learns_own_checks(kind):
    found = check_estimator(kind(), on_fail=None, on_skip=None)
    assert [
        (check["check_name"], check["exception"]) for check in found if check["status"] == "failed"
    ] == []
    assert sum(check["status"] == "passed" for check in found) > 50


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
    with pytest.raises(ValueError, match=r"all of sample_weight is zero|at least one non-zero"):
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
    assert "MLPClassifier: epoch 2 of 2, loss 0." in capsys.readouterr().out
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.predict_proba(x), model.predict_proba(x))
    assert not hasattr(base.clone(model), "model_")
    assert isinstance(model.model_, minidl.layers.MLP)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"activation": "swish"},
            "MLPRegressor: activation must be one of relu, tanh, logistic, .* got 'swish'",
        ),
        (
            {"hidden_layer_sizes": (10, 0)},
            r"hidden_layer_sizes must be a list of positive integers, .* got \(10, 0\)",
        ),
        ({"hidden_layer_sizes": "large"}, "hidden_layer_sizes must be"),
        ({"learning_rate_init": 0}, "learning_rate_init must be a positive number, got 0"),
        ({"max_iter": 2.5}, 'max_iter must be "auto" or a positive integer, got 2.5'),
        ({"batch_size": 0}, "batch_size must be"),
        ({"alpha": -1}, "alpha must be"),
        ({"validation_fraction": 1}, "validation_fraction must be between 0 and 1, got 1"),
        (
            {"learning_rate_init": 1e30},
            "the loss is .* in epoch .*: lower learning_rate_init, or scale X",
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
