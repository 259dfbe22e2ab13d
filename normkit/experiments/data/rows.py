"""Rows for models that were trained before."""

from pathlib import Path

import numpy as np

from normkit.experiments.data.array_files import read_idx, read_libsvm, read_npz
from normkit.experiments.data.dataset import as_table
from normkit.experiments.data.loading import (
    BUILT_IN,
    LIBSVM,
    SUFFIXES,
    TABLE_READERS,
    features_of,
    load,
    suffix_of,
)
from normkit.experiments.data.preprocessing import Preprocessor
from normkit.experiments.data.tables import table_from
from normkit.experiments.data.targets import TaskName, judged, labels
from normkit.experiments.errors import DataError, one_line


def load_rows(
    name: str,
    preprocessor: Preprocessor,
    classes: np.ndarray | None = None,
    target: str | None = None,
    data_dir: str | None = None,
    notes: list[str] | None = None,
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
    notes : list of str or None
        Where given, targets that predictions cannot be compared with are no error: y is None, and a note says why.

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
    path, suffix = Path(name), suffix_of(Path(name))
    if name not in BUILT_IN and suffix in TABLE_READERS:
        X, values = _rows_of_table(path, TABLE_READERS[suffix], preprocessor, classes, target)
        return X, _comparable(values, len(X), classes, name, notes)
    if name in BUILT_IN or suffix not in SUFFIXES and path.is_dir():
        found = load(name, None, data_dir, task="auto" if classes is None else "classification")
        X, values = (found.X, found.y) if found.X_test is None else (found.X_test, found.y_test)
    else:
        X, values = _rows_of_arrays(path, suffix, target, preprocessor)
    if len(X.names) != len(preprocessor.number_names) or preprocessor.text_names:
        wanted = len(preprocessor.number_names) + len(preprocessor.text_names)
        raise DataError(f"{name} has {len(X.names)} features, the model was trained with {wanted}")
    X.number_names = preprocessor.number_names
    return preprocessor.transform(X), _comparable(values, len(X), classes, name, notes)


def _rows_of_arrays(path, suffix, target, preprocessor):
    """Return features and targets of an NPZ, LIBSVM or IDX file."""
    if suffix == ".npz":
        arrays = read_npz(path)
        values = None if target is None else arrays.pop(target, None)
        wide = {name: array for name, array in arrays.items() if array.ndim > 1}
        if len(wide) != 1:
            raise DataError(f"{path} must hold one array of features, it holds {one_line(', '.join(wide)) or 'none'}")
        return as_table(features_of(path, wide)), values
    if suffix in LIBSVM:
        dense, values, _ = read_libsvm(path, len(preprocessor.number_names), preprocessor.zero_based)
        return as_table(dense), values
    pixels = read_idx(path)
    if not pixels.size:
        raise DataError(f"{path}: the images have shape {pixels.shape}, which holds nothing")
    return as_table(pixels), None


def _rows_of_table(path, reader, preprocessor, classes, target):
    known = {*preprocessor.number_names, *preprocessor.text_names}
    columns = reader(path, lambda name: name in known or name == target)
    for column in [*preprocessor.number_names, *preprocessor.text_names]:
        columns.require(column, "which the model was trained with")
    X = preprocessor.transform(table_from(columns, preprocessor.number_names, preprocessor.text_names))
    if target is None or target not in columns.values:
        return X, None
    text = classes is not None and classes.dtype.kind in "OUS"
    return X, lambda: columns.complete(target, "label", not text)


def _comparable(values, rows, classes, source, notes):
    """Return targets, or what a call makes such, as of the kind that a model's predictions are."""
    if values is None:
        return None
    try:
        values = values() if callable(values) else values
        if values.shape != (rows,):
            raise DataError(f"{source}: the target must be one value a row, shapes are {values.shape} and ({rows},)")
        task: TaskName = "regression" if classes is None else "classification"
        found = judged(values, task, source)[1]
        return found if classes is None else _labels_of(classes, found, source)
    except DataError as error:
        if notes is None:
            raise
        notes.append(f"no score: {error}")
        return None


def _labels_of(classes, found, source):
    """Return labels of the classes' type, of which one is a class at least."""
    text = classes.dtype.kind in "OUS"
    if text:  # whole numbers are none yet
        found = found.astype(str)
    if (found.dtype.kind == "U") != text or not np.isin(found, classes).any():
        strange = found[~np.isin(found.astype(str), labels(classes, source).astype(str))]
        raise DataError(
            f"{source}: the labels to compare with, as {one_line(strange[0])}, are none of the model's classes, "
            f"{one_line(', '.join(map(str, classes[:5])))}{', ...' * (len(classes) > 5)}"
        )
    return found
