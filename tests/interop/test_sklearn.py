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
