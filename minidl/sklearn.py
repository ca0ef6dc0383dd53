"""Estimators for scikit-learn."""

from minidl.interop.sklearn import MLPClassifier, MLPRegressor

__all__ = ["MLPClassifier", "MLPRegressor"]
