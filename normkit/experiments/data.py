"""Datasets: by name or by path, checked, split."""

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from normkit.experiments.errors import DataError
from normkit.experiments.readers import read_csv, read_idx, read_npz

FASHION_FILES = {
    "X_train": "train-images-idx3-ubyte",
    "y_train": "train-labels-idx1-ubyte",
    "X_test": "t10k-images-idx3-ubyte",
    "y_test": "t10k-labels-idx1-ubyte",
}
# where the operating system's package dataset-fashion-mnist puts them
FASHION_FOLDERS = (Path("/usr/share/datasets/fashion-mnist"), Path("/usr/local/share/datasets/fashion-mnist"))
BUILT_IN = ("digits", "fashion-mnist")
# the course's experiment validates with the first 5,000 images
_VALIDATION_ROWS = 5000


@dataclass
class Dataset:
    """A classification task; the test set is given, or None where it is to be split off."""

    name: str
    X: np.ndarray  # (samples, features), float32
    y: np.ndarray  # (samples,)
    X_test: np.ndarray | None = None
    y_test: np.ndarray | None = None
    standardize: bool = False


@dataclass
class Split:
    """Training, validation and test sets."""

    X_train: np.ndarray  # (training samples, features), float32
    y_train: np.ndarray
    X_val: np.ndarray
    y_val: np.ndarray
    X_test: np.ndarray
    y_test: np.ndarray

    @property
    def classes(self) -> np.ndarray:
        """Every label of the three sets: without stratification the training set may lack one."""
        return np.unique(np.concatenate([self.y_train, self.y_val, self.y_test]))


def load(name: str, target: str | None = None, data_dir: str | None = None) -> Dataset:
    """Load a dataset by name, or a table by path.

    Raises
    ------
    DataError
        If it does not exist or cannot be used.
    """
    if data_dir is not None and name != "fashion-mnist":
        raise DataError(f"the folder of Fashion-MNIST's files (--data-dir) is of no use with the dataset {name!r}")
    if name in BUILT_IN:
        if target is not None:
            raise DataError(f"a label column (--target) is for tables; {name} brings its own labels")
        return _digits() if name == "digits" else _fashion_mnist(data_dir)
    path = Path(name)
    readers = {".csv": read_csv, ".npz": read_npz}
    if path.suffix.lower() not in readers:
        raise DataError(f"unknown dataset {name!r}: give {', '.join(BUILT_IN)}, or the path of a .csv or .npz file")
    if target is None:
        raise DataError(f"which column of {name} is the label? Give --target NAME")
    return _checked_table(path, *readers[path.suffix.lower()](path, target))


def _digits():
    from sklearn.datasets import load_digits

    X, y = load_digits(return_X_y=True)
    return Dataset("digits", (X / 16).astype(np.float32), y)


def _fashion_mnist(data_dir):
    folders = [Path(data_dir)] if data_dir else list(FASHION_FOLDERS)
    arrays = {}
    for key, stem in FASHION_FILES.items():
        found = [f / n for f in folders for n in (stem, f"{stem}.gz") if (f / n).is_file()]
        if not found:
            raise DataError(
                f"Fashion-MNIST's file {stem}[.gz] is not in {' or '.join(map(str, folders))}: on Debian or "
                "Ubuntu 'apt-get install dataset-fashion-mnist', or give the folder of the four files "
                "with --data-dir"
            )
        arrays[key] = read_idx(found[0])
    for part in ("train", "test"):
        images, labels = arrays[f"X_{part}"], arrays[f"y_{part}"]
        if images.ndim < 2 or not images.size or labels.shape != images.shape[:1]:
            raise DataError(
                f"Fashion-MNIST's {part} files do not belong together: images of shape {images.shape}, "
                f"labels of shape {labels.shape}"
            )
        arrays[f"X_{part}"] = images.reshape(len(images), -1).astype(np.float32) / np.float32(255)
    if arrays["X_train"].shape[1] != arrays["X_test"].shape[1]:
        raise DataError("Fashion-MNIST's training and test images differ in size")
    if len(np.unique(arrays["y_train"])) < 2 or len(arrays["y_train"]) < 10:
        raise DataError("Fashion-MNIST's training set needs two classes and ten images at least")
    X, y, X_test, y_test = (arrays[key] for key in FASHION_FILES)
    return Dataset("fashion-mnist", X, y, X_test, y_test)


def _checked_table(path, X, y):
    from sklearn.utils import check_X_y
    from sklearn.utils.multiclass import type_of_target

    if X.ndim > 2:  # images and the like
        X = X.reshape(len(X), -1)
    try:
        with np.errstate(over="ignore"):  # check_X_y refuses the infinity that comes of it
            X, y = check_X_y(X, y, dtype=np.float32)
        kind = type_of_target(y)
    except (ValueError, TypeError) as error:
        raise DataError(f"{path}: {' '.join(str(error).split())}") from None
    if kind not in ("binary", "multiclass"):
        raise DataError(f"{path}: the target must hold class labels, these look {kind}")
    counts = np.unique(y, return_counts=True)[1]
    if len(counts) < 2 or counts.min() < 3:
        raise DataError(
            f"{path}: training, validation and test need two classes of three rows each at least; here: "
            f"{len(counts)} class{'es' if len(counts) > 1 else ''}, the smallest of {counts.min()} rows"
        )
    return Dataset(os.fspath(path), X, y, standardize=True)


def split(dataset: Dataset, seed: int) -> Split:
    """Split 60 / 20 / 20, stratified; a given test set is kept.

    With a given test set the first 5,000 rows (a fifth, if that is less) validate, whatever the seed, as in
    the course's experiment. Tables are standardized with the mean and deviation of the training rows.
    """
    from sklearn.model_selection import train_test_split
    from sklearn.preprocessing import StandardScaler

    X, y = dataset.X, dataset.y
    if dataset.X_test is not None and dataset.y_test is not None:
        k = min(_VALIDATION_ROWS, len(X) // 5)
        return Split(X[k:], y[k:], X[:k], y[:k], dataset.X_test, dataset.y_test)
    try:
        X_rest, X_test, y_rest, y_test = train_test_split(X, y, test_size=0.2, stratify=y, random_state=seed)
        X_train, X_val, y_train, y_val = train_test_split(
            X_rest, y_rest, test_size=0.25, stratify=y_rest, random_state=seed
        )
    except ValueError as error:
        raise DataError(f"{dataset.name} cannot be split into training, validation and test: {error}") from None
    if dataset.standardize:
        scaler = StandardScaler().fit(X_train)
        X_train, X_val, X_test = (scaler.transform(part) for part in (X_train, X_val, X_test))
    return Split(X_train, y_train, X_val, y_val, X_test, y_test)
