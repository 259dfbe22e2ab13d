"""scikit-learn compatible estimators on the training engine."""

from normkit.estimators.classifier import MLPClassifier
from normkit.estimators.norm_layer import NormLayer
from normkit.estimators.regressor import MLPRegressor

__all__ = ["MLPClassifier", "MLPRegressor", "NormLayer"]
