"""Estimators for scikit-learn."""

from minidl.interop.sklearn import MLPClassifier, MLPRegressor
from minidl.interop.sklearn_estimator import Estimator

__all__ = ["Estimator", "MLPClassifier", "MLPRegressor"]
