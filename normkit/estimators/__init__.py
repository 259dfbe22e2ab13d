"""scikit-learn compatible estimators on the training engine."""

from normkit.estimators._exporting import TRUSTED_TYPES, PickleVersionWarning
from normkit.estimators._model_file import ModelFileError
from normkit.estimators._persistence import load
from normkit.estimators.classifier import MLPClassifier
from normkit.estimators.norm_layer import NormLayer
from normkit.estimators.regressor import MLPRegressor

__all__ = [
    "TRUSTED_TYPES",
    "MLPClassifier",
    "MLPRegressor",
    "ModelFileError",
    "NormLayer",
    "PickleVersionWarning",
    "load",
]
