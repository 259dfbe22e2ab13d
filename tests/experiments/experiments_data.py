"""Small data and grids that several tests run."""

import numpy as np
import pandas as pd

from normkit.experiments.data import Dataset, split


def blobs(rows=120, classes=3):
    """Classes that overlap a little."""
    random = np.random.default_rng(0)
    y = np.arange(rows) % classes
    X = random.normal(size=(rows, 4)) + 2 * np.eye(max(classes, 3), 4)[y]
    return Dataset("blobs", X.astype(np.float32), y)


def slope(rows=120):
    """A regression with noise."""
    random = np.random.default_rng(1)
    X = random.normal(size=(rows, 4)).astype(np.float32)
    return Dataset("slope", X, X @ [1.0, -2.0, 0.5, 0.0] + 0.1 * random.normal(size=rows), task="regression")


def sets(dataset=None, seed=0):
    """The hold-out split of a dataset."""
    return split(dataset or blobs(), seed)


def table(rows=60, seed=0):
    """Columns of every kind: numbers, text, groups of rows, and targets for both tasks."""
    random = np.random.default_rng(seed)
    return pd.DataFrame({
        "width": random.normal(size=rows), "colour": random.choice(["red", "blue"], rows),
        "owner": np.arange(rows) // 5,
        "kind": np.array(["no", "yes"])[np.arange(rows) % 2], "price": random.normal(100, 9, rows),
        "stars": np.arange(rows) % 3,
    })  # fmt: skip
