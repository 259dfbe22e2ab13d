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
from normkit.experiments.data.tables import number_text, table_from
from normkit.experiments.data.targets import labels
from normkit.experiments.errors import DataError, one_line


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
    path, suffix = Path(name), suffix_of(Path(name))
    if name not in BUILT_IN and suffix in TABLE_READERS:
        return _rows_of_table(path, TABLE_READERS[suffix], preprocessor, classes, target)
    if name in BUILT_IN or suffix not in SUFFIXES and path.is_dir():
        found = load(name, None, data_dir, task="auto" if classes is None else "classification")
        X, values = (found.X, found.y) if found.X_test is None else (found.X_test, found.y_test)
    else:
        X, values = _rows_of_arrays(path, suffix, target, len(preprocessor.number_names))
    if len(X.names) != len(preprocessor.number_names) or preprocessor.text_names:
        wanted = len(preprocessor.number_names) + len(preprocessor.text_names)
        raise DataError(f"{name} has {len(X.names)} features, the model was trained with {wanted}")
    X.number_names = preprocessor.number_names
    return preprocessor.transform(X), None if values is None else _comparable(values, classes, name)


def _rows_of_arrays(path, suffix, target, features):
    """Return features and targets of an NPZ, LIBSVM or IDX file."""
    if suffix == ".npz":
        arrays = read_npz(path)
        values = None if target is None else arrays.pop(target, None)
        wide = {name: array for name, array in arrays.items() if array.ndim > 1}
        if len(wide) != 1:
            raise DataError(f"{path} must hold one array of features, it holds {one_line(', '.join(wide)) or 'none'}")
        return as_table(features_of(path, wide)), values
    if suffix in LIBSVM:
        dense, values = read_libsvm(path, features)
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
    return X, _comparable(columns.complete(target, "label", not text), classes, str(path))


def _comparable(values, classes, source):
    """Return targets of the kind that a model's predictions are."""
    if classes is None:
        return values.astype(np.float64)
    if classes.dtype.kind in "OUS" and values.dtype.kind not in "OUS":
        values = np.array([number_text(float(value)) for value in values])
    found = labels(values, source)
    if not np.isin(found, classes).any():
        raise DataError(
            f"{source}: the labels to compare with, as {one_line(str(found[0]))}, are none of the model's classes, "
            f"{one_line(', '.join(map(str, classes[:5])))}{', ...' * (len(classes) > 5)}"
        )
    return found
