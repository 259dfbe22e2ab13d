"""Predictions as CSV or JSON."""

from typing import Any

import numpy as np

from normkit.experiments.records import csv_text
from normkit.experiments.records import to_json as strict_json


def columns(predictions: np.ndarray, probabilities: np.ndarray | None, classes: np.ndarray | None) -> dict[str, list]:
    """Return the columns of the table: what is predicted, then the probability of each class.

    Of several outputs a row each has a column, named by the class or by its number.
    """
    wide = predictions.ndim == 2
    names = [str(label) for label in classes.tolist()] if classes is not None else None
    found = {}
    if wide:
        for j in range(predictions.shape[1]):
            found[f"prediction {names[j] if names else j}"] = _plain(predictions[:, j])
    else:
        found["prediction"] = _plain(predictions)
    if probabilities is not None:
        assert names is not None
        for name, column in zip(names, probabilities.T):
            found[f"probability {name}"] = _plain(column)
    return found


def _plain(values: np.ndarray) -> list[Any]:
    """Return Python values; float32 in as many digits as it has."""
    if values.dtype != np.float32:
        return values.tolist()
    return [float(str(value)) for value in values]


def to_csv(table: dict[str, list]) -> bytes:
    """Return the table as CSV with a line of names."""
    return csv_text([table, *zip(*table.values())]).encode()


def to_json(table: dict[str, list]) -> bytes:
    """Return the table as a JSON object of columns; what is not finite is null."""
    return (strict_json(table) + "\n").encode()
