"""Datasets: loading, checking, splitting."""

import csv
import gzip
import math
import os
import struct
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from normkit.experiments.errors import DataError

FASHION_FILES = {
    "X_train": "train-images-idx3-ubyte",
    "y_train": "train-labels-idx1-ubyte",
    "X_test": "t10k-images-idx3-ubyte",
    "y_test": "t10k-labels-idx1-ubyte",
}
# where the operating system's package dataset-fashion-mnist puts them
FASHION_FOLDERS = (Path("/usr/share/datasets/fashion-mnist"), Path("/usr/local/share/datasets/fashion-mnist"))
BUILT_IN = ("digits", "fashion-mnist")


@dataclass
class Dataset:
    """A classification task; the test set may be given or split off."""

    name: str
    X: np.ndarray  # (samples, features) float32
    y: np.ndarray  # (samples,)
    X_test: np.ndarray | None = None
    y_test: np.ndarray | None = None
    standardize: bool = False


@dataclass
class Split:
    """Training, validation and test sets."""

    X_train: np.ndarray
    y_train: np.ndarray
    X_val: np.ndarray
    y_val: np.ndarray
    X_test: np.ndarray
    y_test: np.ndarray


def load(name: str, target: str | None = None, data_dir: str | None = None) -> Dataset:
    """Load a dataset by name, or a table by path.

    Raises
    ------
    DataError
        If it does not exist or cannot be used.
    """
    if name == "digits":
        from sklearn.datasets import load_digits

        X, y = load_digits(return_X_y=True)
        return Dataset(name, (X / 16).astype(np.float32), y)
    if name == "fashion-mnist":
        return _load_fashion_mnist(data_dir)
    path = Path(name)
    suffix = path.suffix.lower()
    if suffix not in (".csv", ".npz"):
        raise DataError(f"unknown dataset {name!r}: give {', '.join(BUILT_IN)}, or the path of a .csv or .npz file")
    if target is None:
        raise DataError(f"{name}: which column is the label? Give --target NAME")
    try:
        X, y = (_read_csv if suffix == ".csv" else _read_npz)(path, target)
    except OSError as error:
        raise DataError(f"cannot read {name}: {error.strerror or error}") from None
    return _checked_table(path, X, y)


def _load_fashion_mnist(data_dir):
    folders = [Path(data_dir)] if data_dir else list(FASHION_FOLDERS)
    arrays = {}
    for key, stem in FASHION_FILES.items():
        found = [f / n for f in folders for n in (stem, f"{stem}.gz") if (f / n).is_file()]
        if not found:
            raise DataError(
                f"Fashion-MNIST file {stem}[.gz] not found in {', '.join(map(str, folders))}: on Debian or Ubuntu "
                "'apt-get install dataset-fashion-mnist', or give the folder of the four files with --data-dir"
            )
        try:
            arrays[key] = _read_idx(found[0])
        except (OSError, EOFError, ValueError) as error:
            raise DataError(f"cannot read {found[0]}: {error}") from None
    for part in ("train", "test"):
        images, labels = arrays[f"X_{part}"], arrays[f"y_{part}"]
        if images.ndim < 2 or labels.ndim != 1 or len(images) != len(labels):
            raise DataError(f"Fashion-MNIST {part} files do not match: {images.shape} images, {labels.shape} labels")
        arrays[f"X_{part}"] = images.reshape(len(images), -1).astype(np.float32) / np.float32(255)
    return Dataset(
        "fashion-mnist", arrays["X_train"], arrays["y_train"], arrays["X_test"], arrays["y_test"]
    )


def _read_idx(path):
    """Read an IDX file of unsigned bytes (LeCun's format: two zeros, type, dimensions, sizes, data)."""
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rb") as file:
        head = file.read(4)
        if len(head) < 4 or head[:3] != b"\0\0\x08" or not 1 <= head[3] <= 4:
            raise ValueError("not an IDX file of unsigned bytes")
        sizes = file.read(4 * head[3])
        if len(sizes) < 4 * head[3]:
            raise ValueError("truncated header")
        shape = struct.unpack(f">{head[3]}I", sizes)
        count = math.prod(shape)
        data = file.read(min(count, 1 << 31) + 1)
    if len(data) != count:
        raise ValueError(f"header says {count} bytes of data, file has {'more' if len(data) > count else len(data)}")
    return np.frombuffer(data, np.uint8).reshape(shape)


def _read_csv(path, target):
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file)
            header = next(reader, None)
            rows = [row for row in reader if row]
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} is not a CSV file in UTF-8: {error}") from None
    if not header or not rows:
        raise DataError(f"{path} needs a line of column names and at least one row of data")
    if target not in header:
        raise DataError(f"{path} has no column {target!r}; its columns are {', '.join(header[:12])}")
    label = header.index(target)
    names = [name for i, name in enumerate(header) if i != label]
    X = np.empty((len(rows), len(names)))
    for i, row in enumerate(rows):
        if len(row) != len(header):
            raise DataError(f"{path}, data row {i + 1}: {len(row)} values, but {len(header)} column names")
        for j, text in enumerate(value for k, value in enumerate(row) if k != label):
            try:
                X[i, j] = float(text)
            except ValueError:
                raise DataError(
                    f"{path}, data row {i + 1}, column {names[j]!r}: {text!r} is not a number; "
                    "encode text columns as numbers first"
                ) from None
    return X, np.array([row[label] for row in rows])


def _read_npz(path, target):
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except (ValueError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"{path} is not an NPZ file without pickled objects: {error}") from None
    if target not in arrays:
        raise DataError(f"{path} has no array {target!r}; its arrays are {', '.join(arrays) or 'none'}")
    y = arrays.pop(target)
    if len(arrays) != 1:
        raise DataError(
            f"{path} must hold one array of features beside {target!r}, it holds {', '.join(arrays) or 'none'}"
        )
    return next(iter(arrays.values())), y


def _checked_table(path, X, y):
    from sklearn.utils import check_X_y
    from sklearn.utils.multiclass import type_of_target

    try:
        X, y = check_X_y(X, y, dtype=np.float32)
        kind = type_of_target(y)
    except (ValueError, TypeError) as error:
        raise DataError(f"{path}: {' '.join(str(error).split())}") from None
    if kind not in ("binary", "multiclass"):
        raise DataError(f"{path}: the target must hold class labels, these look {kind}")
    counts = np.unique(y, return_counts=True)[1]
    if len(counts) < 2 or counts.min() < 3:
        raise DataError(
            f"{path}: at least two classes of three rows each are needed for training, validation and test, "
            f"got {len(counts)} classes, the smallest with {counts.min()} rows"
        )
    return Dataset(os.fspath(path), X, y, standardize=True)


def split(dataset: Dataset, seed: int, validation_rows: int | None = None) -> Split:
    """Split 60 / 20 / 20, stratified; a given test set is kept, its training set then ends after validation.

    With a given test set the first `validation_rows` (default 5,000, or a fifth) training rows validate, as the
    course's experiment does. Tables are standardized with the training rows' mean and deviation.
    """
    from sklearn.model_selection import train_test_split
    from sklearn.preprocessing import StandardScaler

    if dataset.X_test is not None and dataset.y_test is not None:
        k = min(5000, len(dataset.X) // 5) if validation_rows is None else validation_rows
        return Split(dataset.X[k:], dataset.y[k:], dataset.X[:k], dataset.y[:k], dataset.X_test, dataset.y_test)
    try:
        X_rest, X_test, y_rest, y_test = train_test_split(
            dataset.X, dataset.y, test_size=0.2, stratify=dataset.y, random_state=seed
        )
        X_train, X_val, y_train, y_val = train_test_split(
            X_rest, y_rest, test_size=0.25, stratify=y_rest, random_state=seed
        )
    except ValueError as error:
        raise DataError(f"{dataset.name}: cannot be split into training, validation and test: {error}") from None
    if dataset.standardize:
        scaler = StandardScaler().fit(X_train)
        X_train, X_val, X_test = (scaler.transform(part) for part in (X_train, X_val, X_test))
    return Split(X_train, y_train, X_val, y_val, X_test, y_test)
