"""minidl.sklearn's estimators beside scikit-learn's own MLPs: time to fit, and how good they are on held-out folds.

Both fit the same folds in turns in one process on one thread. The other benchmarks ask about minidl without it.
"""

from __future__ import annotations

import argparse
import statistics
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import report

KINDS = {"digits": "MLPClassifier", "diabetes": "MLPRegressor"}
SAME = {"max_iter": 40, "batch_size": 200, "tol": 0.0, "n_iter_no_change": 10**6}


def contestants() -> dict[str, tuple[Any, dict[str, Any]]]:
    """Name: the module that has the estimators, and their settings."""
    from sklearn import neural_network

    import minidl.sklearn

    return {
        "minidl": (minidl.sklearn, {}),
        "scikit-learn": (neural_network, {}),
        "scikit-learn, until it has converged": (neural_network, {"max_iter": 3000}),
        "minidl, 40 epochs of 200": (minidl.sklearn, SAME),
        "scikit-learn, 40 epochs of 200": (neural_network, SAME),
    }


def folds(name: str, seed: int) -> list[tuple[Any, ...]]:
    """(x, y, x held out, y held out) five times, the features brought to mean 0 and deviation 1."""
    from sklearn import datasets, model_selection, preprocessing

    x, y = getattr(datasets, f"load_{name}")(return_X_y=True)
    split = model_selection.StratifiedKFold if name == "digits" else model_selection.KFold
    found = []
    for own, other in split(5, shuffle=True, random_state=seed).split(x, y):
        scaler = preprocessing.StandardScaler().fit(x[own])
        found.append((scaler.transform(x[own]), y[own], scaler.transform(x[other]), y[other]))
    return found


def measured(name: str, seeds: int) -> dict[str, dict[str, list[float]]]:
    """Seconds of each fit, epochs, and the score on the fold held out."""
    found: dict[str, dict[str, list[float]]] = {}
    for seed in range(seeds):
        for x, y, x_test, y_test in folds(name, seed):
            for who, (module, settings) in contestants().items():
                model = getattr(module, KINDS[name])(random_state=seed, **settings)
                start = time.perf_counter()
                model.fit(x, y)
                seconds = time.perf_counter() - start
                for key, value in (
                    ("s", seconds),
                    ("epochs", model.n_iter_),
                    ("score", model.score(x_test, y_test)),
                ):
                    found.setdefault(who, {}).setdefault(key, []).append(float(value))
    return found


def main(argv: Sequence[str] | None = None) -> None:
    import sklearn
    from threadpoolctl import threadpool_limits

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument(
        "--out", type=Path, default=report.RESULTS / "sklearn_fit", help="path without suffix"
    )
    options = parser.parse_args(argv)
    parts = [
        "# Fitting beside scikit-learn",
        f"{report.machine()}; scikit-learn {sklearn.__version__}; one thread; "
        f"medians of {5 * options.seeds} fits in turns; scores are means over the folds held out.",
    ]
    data: dict[str, Any] = {}
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it has not converged, the score says
        measured("diabetes", 1)  # the first fits import and warm up
        for name in KINDS:
            data[name] = measured(name, options.seeds)
            seconds = {who: statistics.median(found["s"]) for who, found in data[name].items()}
            rows = []
            for who, found in data[name].items():
                scores = found["score"]
                base = "minidl, 40 epochs of 200" if "40 epochs" in who else "minidl"
                rows.append(
                    [
                        who,
                        f"{1e3 * seconds[who]:.0f}",
                        f"{seconds[who] / seconds[base]:.1f}",
                        f"{statistics.median(found['epochs']):.0f}",
                        f"{np.mean(scores):.4f} ± {np.std(scores) / len(scores) ** 0.5:.4f}",
                    ]
                )
            score = "accuracy" if name == "digits" else "R²"
            parts += [
                f"## {name}",
                report.table(["", "fit, ms", "times minidl's", "epochs", score], rows),
            ]
    report.save(options.out, "\n\n".join(parts), {"machine": report.machine(), "fits": data})


if __name__ == "__main__":
    main()
