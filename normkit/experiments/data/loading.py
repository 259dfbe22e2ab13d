"""Datasets by name or by path."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from normkit.experiments.data import images
from normkit.experiments.data.array_files import read_libsvm, read_npz
from normkit.experiments.data.dataset import Dataset, as_table, checked
from normkit.experiments.data.table_files import read_csv, read_parquet
from normkit.experiments.data.tables import Columns, Table, table_from
from normkit.experiments.data.targets import TASKS, check, judged
from normkit.experiments.errors import DataError, one_line

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
TABLE_READERS = {".csv": read_csv, ".parquet": read_parquet}
LIBSVM = (".svm", ".libsvm", ".svmlight")
OPTIONS = ("target", "data_dir", "task", "missing", "group", "drop")  # of `load`, beside the name
SUFFIXES = (*TABLE_READERS, ".npz", *LIBSVM)


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
    for option, value, known in (("task", task, TASKS), ("missing", missing, ("refuse", "impute"))):
        if value not in known:
            raise DataError(f"--{option} must be one of {', '.join(known)}, got {value!r}")
    drop = (drop,) if isinstance(drop, str) else tuple(drop)
    if data_dir is not None and name not in images.BUILT_IN:
        raise DataError(f"the folder of image files (--data-dir) is of no use with the dataset {name!r}")
    path, suffix = Path(name), suffix_of(Path(name))
    if name in BUILT_IN or suffix not in SUFFIXES and path.is_dir():
        if target is not None:
            raise DataError(f"a label column (--target) is for tables; {name} brings its own labels")
        if group is not None:
            raise DataError(f"a column of groups (--group) is for tables; {name} has none")
        if name in _LOADERS:
            return _built_in(name, task, drop)
        return _images(name, data_dir, task, drop)
    return _file(path, suffix, target, task, missing, group, drop)


def _file(path, suffix, target, task, missing, group, drop):
    name = os.fspath(path)
    if suffix not in SUFFIXES or "\0" in name:
        raise DataError(
            f"unknown dataset {name!r}: give {', '.join(BUILT_IN)}, a folder of IDX files, or the path of a file that "
            f"ends in {', '.join(SUFFIXES)}"
        )
    if suffix in LIBSVM:
        if target is not None or group is not None:
            raise DataError(f"--target and --group are for tables with names; {name} has its target first in each line")
        X, values, zero_based = read_libsvm(path)
        dataset = checked(Columns(name, {}), as_table(X), values, task, missing, drop)
        dataset.zero_based = zero_based
        return dataset
    if target is None:
        raise DataError(f"which column of {name} is the label? Give --target NAME")
    if group == target or {target, group} & set(drop):
        raise DataError("--target, --group and --drop must name different columns")
    if suffix == ".npz":
        return _archive(path, target, task, missing, group, drop)
    return _table(path, TABLE_READERS[suffix], target, task, missing, group, drop)


def suffix_of(path: Path) -> str:
    """Return the ending by which a file's format is known, that before .gz where the file may be packed."""
    suffixes = [suffix.lower() for suffix in path.suffixes[-2:]] or [""]
    unzipped = suffixes[-1] != ".gz" or len(suffixes) < 2 or suffixes[0] not in (".csv", *LIBSVM)
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
    kind, y, _ = judged(arrays["y_train"], "classification" if task == "auto" else task, name)
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
    X = features_of(path, arrays)
    for what, array in taken.items():
        if array.ndim != 1 or len(array) != len(X):
            raise DataError(f"{path}: the {what} must be a row's one value; shapes are {array.shape} and {X.shape}")
    values, groups = taken["target"], taken.get("group")
    if groups is not None and groups.dtype.kind == "f" and (gaps := np.isnan(groups)).any():
        raise DataError(f"{path}, row {int(gaps.argmax()) + 1}: the group {group!r} is missing")
    return checked(Columns(os.fspath(path), {}), as_table(X), values, task, missing, (), groups, group)


def features_of(path: Path, arrays: dict[str, np.ndarray]) -> np.ndarray:
    """Take the features out of what an NPZ file holds, and see that they are such."""
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
        groups = columns.complete(group, "group", columns.holds_numbers(group))
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
        return columns.complete(name, "label", columns.holds_numbers(name))
    except DataError:
        # some of the labels are numbers, as in 1, 2, 3, 3+
        if task != "classification" or not columns.holds_numbers(name):
            raise
        return columns.complete(name, "label", False)
