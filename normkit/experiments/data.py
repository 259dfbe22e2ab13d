"""Datasets by name or by path, and rows for models that were trained before."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from normkit.experiments import images
from normkit.experiments.dataset import Dataset, as_table, checked
from normkit.experiments.errors import DataError
from normkit.experiments.preprocessing import Preprocessor
from normkit.experiments.readers import one_line, read_idx, read_libsvm, read_npz
from normkit.experiments.splits import Split, split, splits
from normkit.experiments.tables import Columns, Table, number_text, read_csv, read_parquet, table_from
from normkit.experiments.targets import check, judged, labels

__all__ = ["BUILT_IN", "Dataset", "Split", "load", "load_rows", "split", "splits"]

# scikit-learn's, with what makes the generated ones worth comparing on; all of them the same at each call
_LOADERS: dict[str, tuple[str, dict]] = {
    "digits": ("load_digits", {}),
    "iris": ("load_iris", {}),
    "wine": ("load_wine", {}),
    "breast-cancer": ("load_breast_cancer", {}),
    "diabetes": ("load_diabetes", {}),
    "moons": ("make_moons", {"n_samples": 1000, "noise": 0.3}),
    "circles": ("make_circles", {"n_samples": 1000, "noise": 0.15, "factor": 0.5}),
    "classification": ("make_classification", {"n_samples": 1000, "n_features": 20, "n_informative": 8}),
    "regression": ("make_regression", {"n_samples": 1000, "n_features": 20, "noise": 10.0}),
    "friedman1": ("make_friedman1", {"n_samples": 1000, "noise": 1.0}),
}
BUILT_IN = (*_LOADERS, *images.BUILT_IN)
_TABLES = {".csv": read_csv, ".parquet": read_parquet}
_LIBSVM = (".svm", ".libsvm", ".svmlight")
SUFFIXES = (*_TABLES, ".npz", *_LIBSVM)


def load(
    name: str,
    target: str | None = None,
    data_dir: str | None = None,
    *,
    task: str = "auto",
    missing: str = "refuse",
    group: str | None = None,
    drop: Sequence[str] = (),
) -> Dataset:
    """Load a dataset by name, or from a file or a folder of IDX files.

    Parameters
    ----------
    name : str
        One of `BUILT_IN`; the path of a file whose name ends as one of `SUFFIXES`, or in that and ``.gz`` (CSV and
        LIBSVM); or a folder.
    target : str or None
        The column or array to predict, of CSV, Parquet and NPZ files.
    data_dir : str or None
        Folder of the files of "mnist" or "fashion-mnist".
    task : {"auto", "classification", "regression"}
        "auto" is the rule that `targets.RULE` states.
    missing : {"refuse", "impute"}
        What is done where a table lacks a value.
    group : str or None
        The column or array that says which rows belong together; no group is on two sides of a split.
    drop : sequence of str
        Columns to leave out.

    Raises
    ------
    DataError
        If it does not exist or cannot be used.

    Examples
    --------
    >>> iris = load("iris")
    >>> iris.task, iris.n_samples, iris.feature_names[0]
    ('classification', 150, 'sepal length (cm)')
    """
    if data_dir is not None and name not in images.BUILT_IN:
        raise DataError(f"the folder of image files (--data-dir) is of no use with the dataset {name!r}")
    path, suffix = Path(name), _suffix(Path(name))
    if name in BUILT_IN or suffix not in SUFFIXES and path.is_dir():
        if target is not None:
            raise DataError(f"a label column (--target) is for tables; {name} brings its own labels")
        if group is not None:
            raise DataError(f"a column of groups (--group) is for tables; {name} has none")
        if name in _LOADERS:
            return _built_in(name, task, tuple(drop))
        return _images(name, data_dir, task, tuple(drop))
    if suffix not in SUFFIXES or "\0" in name:
        raise DataError(
            f"unknown dataset {name!r}: give {', '.join(BUILT_IN)}, a folder of IDX files, or the path of a file that "
            f"ends in {', '.join(SUFFIXES)}"
        )
    if suffix in _LIBSVM:
        if target is not None or group is not None:
            raise DataError(f"--target and --group are for tables with names; {name} has its target first in each line")
        X, values = read_libsvm(path)
        return checked(Columns(name, {}), as_table(X), values, task, missing, tuple(drop))
    if target is None:
        raise DataError(f"which column of {name} is the label? Give --target NAME")
    if group == target or {target, group} & set(drop):
        raise DataError("--target, --group and --drop must name different columns")
    if suffix == ".npz":
        return _archive(path, target, task, missing, group, tuple(drop))
    return _table(path, _TABLES[suffix], target, task, missing, group, tuple(drop))


def _suffix(path):
    suffixes = [suffix.lower() for suffix in path.suffixes[-2:]] or [""]
    unzipped = suffixes[-1] != ".gz" or len(suffixes) < 2 or suffixes[0] not in (".csv", *_LIBSVM)
    return suffixes[-1] if unzipped else suffixes[0]


def _built_in(name, task, drop):
    from sklearn import datasets

    function, options = _LOADERS[name]
    if function.startswith("make"):
        X, y = getattr(datasets, function)(**options, random_state=0)
        names = [f"x{j}" for j in range(X.shape[1])]
    else:
        bunch = getattr(datasets, function)()
        X, y, names = bunch.data, bunch.target, list(bunch.feature_names)
    dataset = checked(Columns(name, {}), Table(X, names), y, task, "refuse", drop)
    dataset.notes.clear()  # what it is, is known
    if name == "digits":
        dataset.scaling = 16.0
    return dataset


def _images(name, data_dir, task, drop):
    if drop:
        raise DataError(f"--drop is for tables; {name} is of images")
    arrays = images.read(name, data_dir)
    kind, y, _ = judged(arrays["y_train"], task, name)
    if "X_test" not in arrays:
        check(kind, y, name)
        return Dataset(name, as_table(arrays["X_train"]), y, task=kind, scaling=255.0)
    X, X_test = (as_table(arrays[part]) for part in ("X_train", "X_test"))
    return Dataset(name, X, y, X_test, arrays["y_test"].astype(y.dtype), kind, scaling=255.0)


def _archive(path, target, task, missing, group, drop):
    if drop:
        raise DataError(f"--drop is for tables; {path} has arrays")
    beside = {"target": target, **({"group": group} if group else {})}
    arrays = read_npz(path, tuple(beside.values()))
    taken = {what: arrays.pop(name) for what, name in beside.items()}
    if len(arrays) != 1:
        found = one_line(", ".join(arrays)) or "none"
        raise DataError(f"{path} must hold one array of features beside {target!r}, it holds {found}")
    X = _features(path, arrays)
    for what, array in taken.items():
        if array.ndim != 1 or len(array) != len(X):
            raise DataError(f"{path}: the {what} must be a row's one value; shapes are {array.shape} and {X.shape}")
    values, groups = taken["target"], taken.get("group")
    return checked(Columns(os.fspath(path), {}), as_table(X), values, task, missing, (), groups, group)


def _features(path, arrays):
    X = arrays.popitem()[1]
    if X.ndim < 2 or X.dtype.kind not in "biuf":
        raise DataError(f"{path}: the features must be numbers of shape (rows, ...), these are {X.dtype} of {X.shape}")
    if not X.size:
        raise DataError(f"{path}: the features have shape {X.shape}, which holds nothing")
    return X.view(np.uint8) if X.dtype == bool else X


def _table(path, reader, target, task, missing, group, drop):
    dropped = set()

    def keep(name):
        if name in drop:
            dropped.add(name)
        return name not in drop

    columns = reader(path, keep)
    for name in {*drop} - dropped:
        columns.require(name, "to leave out")
    values = _target(columns, target, task)
    groups = None
    if group is not None:
        columns.require(group, "for the groups")
        groups = _without_gaps(columns, group, "group", columns.holds_numbers(group))
    names = [name for name in columns.values if name not in (target, group)]
    numbers = [name for name in names if columns.holds_numbers(name)]
    table = table_from(columns, numbers, [name for name in names if name not in numbers])
    dataset = checked(columns, table, values, task, missing, (), groups, group)
    if drop:
        dataset.notes.append(f"columns left out: {', '.join(drop)}")
    return dataset


def _target(columns, name, task):
    columns.require(name, "for the target")
    try:
        return _without_gaps(columns, name, "label", columns.holds_numbers(name))
    except DataError:
        # some of the labels are numbers, as in 1, 2, 3, 3+
        if task != "classification" or not columns.holds_numbers(name):
            raise
        return _without_gaps(columns, name, "label", False)


def _without_gaps(columns, name, what, numbers):
    """Return a column as numbers or text; what is missing in it is a `DataError`."""
    values = columns.as_numbers(name) if numbers else columns.as_text(name)
    gaps = np.isnan(values) if numbers else values == ""
    if gaps.any():
        raise DataError(f"{columns.place(int(gaps.argmax()))}: the {what} {name!r} is missing")
    return values


def load_rows(
    name: str,
    preprocessor: Preprocessor,
    classes: np.ndarray | None = None,
    target: str | None = None,
    data_dir: str | None = None,
) -> tuple[np.ndarray, np.ndarray | None]:
    """Load rows for a model that was trained before: what `load` reads, and single IDX files of images.

    Columns are found by their names, in any order; others are ignored.

    Parameters
    ----------
    name, data_dir
        As for `load`. Of a set of images with a test set the test set is loaded.
    preprocessor : Preprocessor
        Of the split that the model was trained with.
    classes : ndarray or None
        The model's classes, None for a regression.
    target : str or None
        The column or array to compare predictions with. Where it is None, or a table has no such column, y is None.

    Returns
    -------
    X : ndarray of shape (rows, features), float32
    y : ndarray of shape (rows,) or None
        Labels of the classes' type, or numbers as the file has them.

    Raises
    ------
    DataError
        If it does not exist, or a column of the training data is not there.
    """
    path, suffix = Path(name), _suffix(Path(name))
    if name not in BUILT_IN and suffix in _TABLES:
        return _rows_of_table(path, _TABLES[suffix], preprocessor, classes, target)
    if name in BUILT_IN or suffix not in SUFFIXES and path.is_dir():
        found = load(name, None, data_dir, task="auto" if classes is None else "classification")
        X, values = (found.X, found.y) if found.X_test is None else (found.X_test, found.y_test)
    elif suffix == ".npz":
        arrays = read_npz(path)
        values = None if target is None else arrays.pop(target, None)
        wide = {name: array for name, array in arrays.items() if array.ndim > 1}
        if len(wide) != 1:
            raise DataError(f"{path} must hold one array of features, it holds {one_line(', '.join(wide)) or 'none'}")
        X = as_table(_features(path, wide))
    elif suffix in _LIBSVM:
        dense, values = read_libsvm(path, len(preprocessor.number_names))
        X = as_table(dense)
    else:
        pixels, values = read_idx(path), None
        if not pixels.size:
            raise DataError(f"{path}: the images have shape {pixels.shape}, which holds nothing")
        X = as_table(pixels)
    if len(X.names) != len(preprocessor.number_names) or preprocessor.text_names:
        wanted = len(preprocessor.number_names) + len(preprocessor.text_names)
        raise DataError(f"{name} has {len(X.names)} features, the model was trained with {wanted}")
    X.number_names = preprocessor.number_names
    return preprocessor.transform(X), None if values is None else _comparable(values, classes, name)


def _rows_of_table(path, reader, preprocessor, classes, target):
    known = {*preprocessor.number_names, *preprocessor.text_names}
    columns = reader(path, lambda name: name in known or name == target)
    for column in [*preprocessor.number_names, *preprocessor.text_names]:
        columns.require(column, "which the model was trained with")
    X = preprocessor.transform(table_from(columns, preprocessor.number_names, preprocessor.text_names))
    if target is None or target not in columns.values:
        return X, None
    text = classes is not None and classes.dtype.kind in "OUS"
    return X, _comparable(_without_gaps(columns, target, "label", not text), classes, str(path))


def _comparable(values, classes, source):
    """Return targets of the kind that a model's predictions are."""
    if classes is None:
        return values.astype(np.float64)
    if classes.dtype.kind in "OUS" and values.dtype.kind not in "OUS":
        values = np.array([number_text(float(value)) for value in values])
    return labels(values, source)
