"""Training, validation and test rows of a dataset: hold-out or folds, stratified, grouped, from a seed."""

import warnings
from collections.abc import Iterator

import numpy as np

from normkit.experiments.data.dataset import Dataset
from normkit.experiments.data.sets import Split
from normkit.experiments.data.targets import spread
from normkit.experiments.errors import DataError, one_line
from normkit.experiments.records import VALIDATION_SHARE

# the course's experiment validates with the first 5,000 images
_VALIDATION_ROWS = 5000
LACKING = "no training row is of class"  # begins a note


def split(dataset: Dataset, seed: int) -> Split:
    """Return the hold-out split of a seed; see `splits`."""
    return splits(dataset, seed)[0]


def splits(dataset: Dataset, seed: int, cv: int | None = None) -> list[Split]:
    """Split into training, validation and test sets, the same for the same seed.

    Without `cv` once, 60 / 20 / 20, or with the dataset's own test set, where the first 5,000 rows (a fifth, if that
    is less) validate whatever the seed, as in the course's experiment. With `cv` each of as many folds is the test
    set once, and a fifth of the other folds' rows validates. Classes are spread evenly over the sets, and groups are
    kept whole, as far as both can be had. What is learned from the data, to fill in and standardize numbers and to
    encode text, is learned from the training rows.

    Parameters
    ----------
    dataset : Dataset
        What `load` returned.
    seed : int
        Of the shuffling.
    cv : int or None
        Number of folds.

    Returns
    -------
    list of Split
        One, or one a fold.

    Raises
    ------
    DataError
        If there are too few rows, classes or groups for it.
    """
    if dataset.X_test is not None:
        if cv is not None:
            raise DataError(f"{dataset.name} brings its own test set: leave --cv out")
        k = min(_VALIDATION_ROWS, len(dataset.X) // 5)
        note = f"the dataset's own test set; of its other rows the first {k:,} validate, whatever the seed"
        if dataset.given_split is None:  # one of many seeds' is all seeds'
            dataset.given_split = _prepared(dataset, slice(k, None), slice(k), None, note)
        return [dataset.given_split]
    try:
        with warnings.catch_warnings():
            # of classes that are in fewer groups than there are folds; `_prepared` looks at what came out
            warnings.simplefilter("ignore")
            found = list(_folds(dataset, seed, cv) if cv else _hold_out(dataset, seed))
    except ValueError as error:
        raise DataError(
            f"{dataset.name} cannot be split into training, validation and test: {one_line(error)}"
        ) from None
    return [_prepared(dataset, train, val, test, _rule(dataset, cv)) for train, val, test in found]


def _rule(dataset, cv):
    share = (
        f"{cv} folds, each the test set once; a fifth of the other folds validates"
        if cv
        else "60 % of the rows train, 20 % validate, 20 % test"
    )
    stratified = ", the classes spread evenly" if dataset.task == "classification" else ""
    grouped = f", the groups of {dataset.group_name!r} kept whole" if dataset.groups is not None else ""
    return f"{share}{stratified}{grouped}"


def _hold_out(dataset, seed) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    rest, test = _two_parts(dataset, np.arange(len(dataset.X)), 0.2, seed)
    train, val = _two_parts(dataset, rest, 0.25, seed)
    yield train, val, test


def _two_parts(dataset, rows, share, seed):
    """Split off a share of rows."""
    from sklearn.model_selection import GroupShuffleSplit, StratifiedGroupKFold, train_test_split

    y = dataset.y[rows]
    classes = dataset.task == "classification"
    if dataset.groups is None:
        return train_test_split(rows, test_size=share, stratify=y if classes else None, random_state=seed)
    groups = dataset.groups[rows]
    count = len(np.unique(groups))
    folds = min(round(1 / share), count)
    if folds < 2:
        raise ValueError(f"{len(np.unique(dataset.groups))} groups are too few")
    if classes:
        cutter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    else:
        cutter = GroupShuffleSplit(1, test_size=share, random_state=seed)
    first, second = next(cutter.split(rows, y, groups))
    return rows[first], rows[second]


def _folds(dataset, seed, cv) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    from sklearn.model_selection import GroupKFold, KFold, StratifiedGroupKFold, StratifiedKFold

    classes = dataset.task == "classification"
    if cv < 2:
        raise ValueError(f"--cv must be at least 2, got {cv}")
    if dataset.groups is None:
        if classes and (smallest := np.unique(dataset.y, return_counts=True)[1].min()) < cv:
            raise ValueError(f"{cv} folds need as many rows of each class, the smallest class has {smallest}")
        kind = StratifiedKFold if classes else KFold
    else:
        kind = StratifiedGroupKFold if classes else GroupKFold
    cutter = kind(cv, shuffle=True, random_state=seed)
    for rest, test in cutter.split(dataset.y, dataset.y, dataset.groups):
        train, val = _two_parts(dataset, rest, VALIDATION_SHARE, seed)
        yield train, val, test


def _prepared(dataset, train, val, test, note):
    """Return the split of these rows; test None is the dataset's own test set."""
    y_train = dataset.y[train]
    tables = [dataset.X[train], dataset.X[val], dataset.X_test if test is None else dataset.X[test]]
    targets = [y_train, dataset.y[val], dataset.y_test if test is None else dataset.y[test]]
    if not all(len(table) for table in tables):
        raise DataError(f"{dataset.name} has too few rows or groups for training, validation and test sets")
    preprocessor, notes = dataset.preprocessor_for(tables[0])
    mean, scale = 0.0, 1.0
    if dataset.task == "regression":
        # by a power of two: the squares of tiny numbers are 0
        exponent = np.frexp(np.abs(y_train).max())[1]
        mean = float(np.mean(y_train))
        scale = float(np.ldexp(np.sqrt(spread(np.ldexp(y_train, -exponent))), exponent))
        if not scale:
            raise DataError(f"{dataset.name}: the target is the same in all training rows")
        targets = [(y - mean) / scale for y in targets]
        notes.append(f"the target is standardized with the training rows' mean {mean:.4g} and deviation {scale:.4g}")
    elif (found := len(np.unique(y_train))) < 2:
        raise DataError(f"{dataset.name}: the training rows of a split hold {found} class; each group should hold more")
    elif absent := sorted(set(np.unique(dataset.y).tolist()) - set(np.unique(y_train).tolist()), key=str):
        notes.append(f"{LACKING} {', '.join(map(str, absent[:5]))}")
    parts = [_matrix(table, preprocessor) for table in tables]
    (X_train, X_val, X_test), (y_train, y_val, y_test) = parts, targets
    return Split(
        X_train, y_train, X_val, y_val, X_test, y_test, dataset.task, mean, scale, preprocessor, [note, *notes]
    )


def _matrix(table, preprocessor):
    if preprocessor is None:
        return np.ascontiguousarray(table.numbers, np.float32)
    return preprocessor.transform(table)
