"""What a target is: labels of classes, or numbers to be predicted."""

from typing import Literal

import numpy as np

from normkit.experiments.data.files import MEMORY_LIMIT
from normkit.experiments.data.tables import number_text
from normkit.experiments.errors import DataError, one_line

TaskName = Literal["classification", "regression"]
TASKS = ("auto", "classification", "regression")
Metric = Literal["accuracy", "r2"]
METRICS: dict[TaskName, Metric] = {"classification": "accuracy", "regression": "r2"}  # the larger the better
MOST_CLASSES = 20
# told in the help of --task, and by the note when it was applied
RULE = f"text, and whole numbers of at most {MOST_CLASSES} different values, are classes; other numbers a regression"


def judged(values: np.ndarray, task: str, source: str) -> tuple[TaskName, np.ndarray, list[str]]:
    """Return the task, its labels or numbers, and notes of what was decided.

    Parameters
    ----------
    values : ndarray of shape (rows,)
        Numbers, booleans or text, none missing.
    task : str
        "classification", "regression", or "auto" for what `RULE` says.
    source : str
        What to call the dataset in a message.

    Raises
    ------
    DataError
        If it is not one value a row, a number is not finite, or text is to be regressed.

    Examples
    --------
    >>> import numpy as np
    >>> judged(np.array([1.0, 2.0, 1.0]), "auto", "table")[:2]
    ('classification', array([1, 2, 1]))
    >>> judged(np.array([1.5, 2.0, 1.0]), "auto", "table")[:2]
    ('regression', array([1.5, 2. , 1. ]))
    """
    if values.ndim != 1:
        raise DataError(f"{source}: the target must be one value a row, its shape is {values.shape}")
    kind: TaskName = "classification"
    if values.dtype.kind in "OUSb":
        if task == "regression":
            raise DataError(
                f"{source}: the target of a regression must be numbers, {one_line(values[0], 40)!r} is none"
            )
        what = "text"
    else:
        usable = np.abs(values.astype(np.float64)) <= np.finfo(np.float32).max  # False for NaN
        if not usable.all():
            raise DataError(f"{source}: the target is NaN or infinite in row {int(np.argmin(usable)) + 1}")
        distinct = len(np.unique(values))
        whole = bool((values == np.floor(values)).all())
        if task == "regression" or task == "auto" and not (whole and distinct <= MOST_CLASSES):
            kind = "regression"
        what = f"{'whole' if whole else 'not only whole'} numbers of {distinct:,} different values"
    y = labels(values, source) if kind == "classification" else values.astype(np.float64)
    note = f"task: {kind}, the target being {what} ({RULE}; --task decides otherwise)"
    return kind, y, [note] if task == "auto" else []


def labels(values: np.ndarray, source: str) -> np.ndarray:
    """Return labels as int64, where they are whole numbers, or as text of fixed width."""
    if values.dtype.kind in "iu" or (values.dtype.kind == "f" and (values == np.floor(values)).all()):
        if not np.abs(values.astype(np.float64)).max(initial=0) < 2**53:
            raise DataError(f"{source}: labels must be smaller than 2 ** 53")
        return values.astype(np.int64)
    if values.dtype.kind == "f":
        return np.array([number_text(float(value)) for value in values])
    if values.dtype.kind == "S":
        values = np.array([value.decode("latin-1") for value in values.tolist()], dtype=object)
    texts = values.tolist()
    if 4 * len(texts) * max((len(str(text)) for text in texts), default=0) > MEMORY_LIMIT:
        raise DataError(
            f"{source}: the labels are too long, one of them has {max(len(str(t)) for t in texts):,} letters"
        )
    return np.array([str(text) for text in texts])


def spread(y: np.ndarray) -> float:
    """Return the variance of a target; exactly 0 where all values are the same, though their mean may be an ulp off."""
    return float(np.var(y)) if np.ptp(y) else 0.0


def r2_of(y: np.ndarray, predictions: np.ndarray) -> float:
    """Return scikit-learn's R2 of a target, counted from its first value: a constant's mean is then exact."""
    from sklearn.metrics import r2_score

    return float(r2_score(y - y[0], predictions - y[0]))


def check(task: TaskName, y: np.ndarray, source: str) -> None:
    """Raise a `DataError` unless each of the three sets can have what its scores need."""
    if task == "regression":
        if len(y) < 10 or y.min() == y.max():
            found = f"{len(y)} rows" if len(y) < 10 else "the same value in all rows"
            raise DataError(f"{source}: a regression needs ten rows at least, and targets that differ; here: {found}")
        return
    counts = np.unique(y, return_counts=True)[1]
    if len(counts) < 2 or counts.min() < 3:
        hint = "; or is it a regression (--task regression)?" if y.dtype.kind in "iu" and len(counts) > 2 else ""
        raise DataError(
            f"{source}: training, validation and test need two classes of three rows each at least; here: "
            f"{len(counts)} class{'es' if len(counts) != 1 else ''}, the smallest of {counts.min(initial=len(y))} "
            f"rows{hint}"
        )
