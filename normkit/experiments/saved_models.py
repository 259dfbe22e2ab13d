"""Models in files together with what prepares their data: new rows need nothing but the file."""

import json
import os
from dataclasses import dataclass
from typing import Any

import numpy as np

from normkit.estimators import MLPClassifier, MLPRegressor, ModelFileError, load
from normkit.experiments.data import Split
from normkit.experiments.data.preprocessing import Preprocessor
from normkit.experiments.data.targets import r2_of
from normkit.experiments.errors import DataError


@dataclass
class SavedModel:
    """A model from a file. Predictions of a regression are in the units of the data it was trained on."""

    model: MLPClassifier | MLPRegressor
    preprocessor: Preprocessor
    target: str | None = None
    target_mean: float = 0.0
    target_scale: float = 1.0
    about: dict[str, Any] | None = None  # what else was told of the data and the training

    @property
    def classes(self) -> np.ndarray | None:
        """The labels of a classifier."""
        return getattr(self.model, "classes_", None)

    def predict(self, X: np.ndarray) -> np.ndarray:
        """Return labels, or values in the units of the target, for prepared rows."""
        predictions = self.model.predict(X)
        if self.classes is not None:
            return predictions
        return predictions.astype(np.float64) * self.target_scale + self.target_mean

    def score(self, y: np.ndarray, predictions: np.ndarray) -> tuple[str, float]:
        """Return the name of the metric and its value, for targets in the units of the data."""
        from sklearn.metrics import accuracy_score

        if self.classes is not None:
            return "accuracy", float(accuracy_score(y, predictions))
        return "r2", r2_of(y, predictions)


def save(path: str | os.PathLike, model, data: Split, target: str | None, about: dict[str, Any]) -> None:
    """Write a model with the split that it was trained on: its preprocessor and the units of its target."""
    state = None if data.preprocessor is None else data.preprocessor.to_state()
    metadata = {
        "target": target, "target_mean": data.target_mean, "target_scale": data.target_scale, "preprocessor": state,
        "about": about,
    }  # fmt: skip
    model.save(path, metadata=json.loads(json.dumps(metadata, default=np.ndarray.tolist)))


def open_model(path: str | os.PathLike) -> SavedModel:
    """Open a model that `save`, or the estimator's own `save`, has written.

    Raises
    ------
    DataError
        If the file cannot be read or is no model.
    """
    try:
        model, metadata = load(path, return_metadata=True)
    except ModelFileError as error:
        raise DataError(str(error)) from None
    except OSError as error:
        raise DataError(f"cannot read {os.fspath(path)}: {error.strerror or error}") from None
    given = metadata if isinstance(metadata, dict) else {}
    if (state := given.get("preprocessor")) is None:
        names = [str(name) for name in getattr(model, "feature_names_in_", [])]
        names = names or [f"x{i}" for i in range(model.n_features_in_)]
        return SavedModel(model, Preprocessor(names, np.zeros(len(names)), np.ones(len(names))))
    try:
        units = float(given["target_mean"]), float(given["target_scale"])
        target, about = given["target"], given["about"]
        if not np.isfinite(units).all() or not isinstance(target, str | None) or not isinstance(about, dict):
            raise ValueError("target or units are not of their kind")
        preprocessor = Preprocessor.from_state(state)
        if len(preprocessor.feature_names) != model.n_features_in_:
            raise ValueError("the preprocessor makes other features than the model has")
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise DataError(f"{os.fspath(path)} does not say how to prepare its data: {error}") from None
    return SavedModel(model, preprocessor, target, *units, about)
