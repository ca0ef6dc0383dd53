"""A table of numbers and categories: an MLP of minidl's in a pipeline and search of scikit-learn's.

Who stays a customer? The table is made on the spot. With pandas it is a DataFrame, else its columns
are taken by their numbers; the pipeline is the same.
"""

import argparse
from pathlib import Path

import numpy as np
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from minidl.sklearn import MLPClassifier

NUMBERS = ["age", "months", "price"]
CATEGORIES = ["plan", "city"]


def customers(count, rng):
    """Columns by name, and whether each customer stays, which no straight line tells."""
    age = rng.integers(18, 80, count).astype(float)
    months = rng.exponential(24, count)
    plan = rng.choice(["basic", "family", "business"], count, p=[0.5, 0.3, 0.2])
    city = rng.choice(["Bergen", "Lagos", "Lima", "Osaka"], count)
    fair = np.select([plan == "basic", plan == "family"], [10, 25], 60)
    price = fair * rng.lognormal(0, 0.3, count)
    score = 1.5 - 4 * np.abs(np.log(price / fair))  # too cheap is cut short, too dear is left
    score += np.where(plan == "family", np.cos((age - 40) / 8), np.sin(months / 10))
    score += np.where(city == "Lima", 1.0, 0.0)
    stays = np.where(score + rng.logistic(0, 0.3, count) > 0.4, "stays", "leaves")
    age[rng.random(count) < 0.05] = np.nan  # some did not say
    return {"age": age, "months": months, "price": price, "plan": plan, "city": city}, stays


def as_table(columns):
    """A DataFrame; or an array of objects, and the names of its columns in order."""
    try:
        import pandas
    except ImportError:
        return np.array(list(columns.values()), dtype=object).T
    return pandas.DataFrame(columns)


def prepare(table, names):
    """What makes numbers of the table, so that all are of one size."""
    places = names if hasattr(table, "columns") else range(len(names))
    place = dict(zip(names, places, strict=True))
    numbers = make_pipeline(SimpleImputer(), StandardScaler())
    return ColumnTransformer(
        [
            ("numbers", numbers, [place[name] for name in NUMBERS]),
            ("categories", OneHotEncoder(), [place[name] for name in CATEGORIES]),
        ],
        sparse_threshold=0,  # minidl takes no sparse arrays
    )


def draw(results, baseline, file):
    """What the search found at each setting, beside the straight line."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.2), layout="constrained")
    axes = figure.subplots()
    settings = [
        f"{layers}, rate {lr}, alpha {a}" for a, layers, lr in map(dict.values, results["params"])
    ]
    axes.barh(settings, results["mean_test_score"], xerr=results["std_test_score"])
    axes.axvline(baseline, color="crimson", label="logistic regression")
    axes.set(xlim=(0.5, 1), xlabel="accuracy, three-fold")
    axes.legend()
    file.parent.mkdir(exist_ok=True)
    figure.savefig(file, dpi=120)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--short", action="store_true", help="fewer customers, for tests")
    options = parser.parse_args()
    count = 1600 if options.short else 4000
    columns, stays = customers(count, np.random.default_rng(options.seed))
    table = as_table(columns)
    x, x_test, y, y_test = train_test_split(table, stays, random_state=options.seed)

    steps = [("prepare", prepare(table, list(columns))), ("model", LogisticRegression())]
    baseline = Pipeline(steps).fit(x, y).score(x_test, y_test)
    model = Pipeline([steps[0], ("model", MLPClassifier(random_state=options.seed))])
    grid = {
        "model__hidden_layer_sizes": [(16,), (64, 32)],
        "model__learning_rate_init": [0.003, 0.02],
        "model__alpha": [0.01, 1.0],
    }
    search = GridSearchCV(model, grid, cv=3).fit(x, y)
    for name, value in search.best_params_.items():
        print(f"{name.removeprefix('model__'):20} {value}")
    accuracy = search.score(x_test, y_test)
    print(f"accuracy on {len(y_test)} customers not seen: {accuracy:.3f}")
    most = max(np.mean(y_test == label) for label in set(y))
    print(f"logistic regression: {baseline:.3f}, always the same: {most:.3f}")
    draw(search.cv_results_, baseline, Path("out/sklearn_table.png"))
    assert accuracy > baseline


if __name__ == "__main__":
    main()
