"""A dataset, checked: what is known of it, what identifies it, what prepares it."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

import numpy as np

from normkit.experiments.data.files import MEMORY_LIMIT
from normkit.experiments.data.preprocessing import Preprocessor
from normkit.experiments.data.sets import Split
from normkit.experiments.data.tables import Columns, Table, missing_in, refuse_missing
from normkit.experiments.data.targets import METRICS, Metric, TaskName, check, judged
from normkit.experiments.errors import DataError, one_line

_MOST_TEXTS = 1000  # one-hot encoded of a column


@dataclass
class Dataset:
    """Features and targets; the test set is given, or None where it is to be split off.

    Arrays of features become tables of columns x0, x1 and so on.
    """

    name: str
    X: Table
    y: np.ndarray  # (samples,), labels or float64
    X_test: Table | None = None
    y_test: np.ndarray | None = None
    task: TaskName = "classification"
    groups: np.ndarray | None = None  # (samples,), whole numbers
    group_name: str | None = None
    # "columns" are standardized and encoded with the training rows; a number divides all features
    scaling: Literal["columns"] | float | None = None
    impute: bool = False
    notes: list[str] = field(default_factory=list)
    given_split: Split | None = field(default=None, repr=False)  # of the dataset's own test set, once it was made
    zero_based: bool | None = None  # of a LIBSVM file, whether its first feature has index 0

    def __post_init__(self):
        self.X = as_table(self.X)
        self.X_test = None if self.X_test is None else as_table(self.X_test)

    @property
    def metric(self) -> Metric:
        """What scores are: larger is better."""
        return METRICS[self.task]

    @property
    def feature_names(self) -> list[str]:
        """Names of the columns, numbers first."""
        return self.X.names

    @property
    def n_samples(self) -> int:
        """Number of rows, those of the test set included."""
        return len(self.X) + (0 if self.X_test is None else len(self.X_test))

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over everything that results depend on; not the name, so that files may move."""
        digest = hashlib.sha256()

        def add(what, content):
            content = content if isinstance(content, bytes | memoryview) else repr(content).encode()
            digest.update(f"{what}:{len(content)}:".encode())
            digest.update(content)

        imputed = self.impute and bool(missing_in(self.X))  # else it changes nothing that is trained
        add("options", (self.task, self.scaling, imputed, self.X.number_names, self.X.text_names))
        arrays = [self.X.numbers, self.X.texts, self.y, self.groups]
        if self.X_test is not None:
            arrays += [self.X_test.numbers, self.X_test.texts, self.y_test]
        for values in arrays:
            if values is None or values.dtype.kind in "OUS":
                add("texts", None if values is None else (values.shape, [str(text) for text in values.ravel()]))
                continue
            values = np.ascontiguousarray(values, values.dtype.newbyteorder("<"))
            add(f"{values.dtype.str} {values.shape}", values.reshape(-1).view(np.uint8).data)
        return digest.hexdigest()

    def preprocessor_for(self, training: Table) -> tuple[Preprocessor | None, list[str]]:
        """Return what prepares the features, learned from the training rows, and notes of what it does."""
        if self.scaling is None:
            return None, []
        if self.scaling != "columns":
            k = len(self.X.number_names)
            divided = Preprocessor(self.X.number_names, np.zeros(k), np.full(k, self.scaling))
            return divided, [f"features are divided by {self.scaling:g}"]
        fitted = Preprocessor.fit(training, self.impute)
        fitted.zero_based = self.zero_based
        k, notes = len(fitted.number_names), []
        if k:
            notes.append(f"numbers standardized, learned from the training rows: {k}")
        if fitted.text_names:
            encoded = len(fitted.feature_names) - k
            notes.append(f"columns of text one-hot encoded: {len(fitted.text_names)}, into {encoded}")
        return fitted, notes


def as_table(X: Table | np.ndarray) -> Table:
    """Return an array as a table of columns x0, x1 and so on; what follows the first axis is flattened."""
    if isinstance(X, Table):
        return X
    X = np.asarray(X).reshape(len(X), -1)
    return Table(X, [f"x{j}" for j in range(X.shape[1])])


def checked(
    columns: Columns,
    table: Table,
    values: np.ndarray,
    task: str,
    missing: str,
    drop: Sequence[str] = (),
    groups: np.ndarray | None = None,
    group_name: str | None = None,
) -> Dataset:
    """Return the dataset of a table, its target and its groups.

    Raises
    ------
    DataError
        If they cannot be used; `columns` knows the rows' places in the file.
    """
    source = columns.source
    for name in drop:
        if name not in table.names:
            raise DataError(f"{source} has no column {name!r} to leave out; its columns are "
                            f"{one_line(', '.join(table.names), 300)}")  # fmt: skip
    if drop:
        kept = [j for j, name in enumerate(table.number_names) if name not in drop]
        table = Table(table.numbers[:, kept], [table.number_names[j] for j in kept])
    if not table.names:
        raise DataError(f"{source} has no column of features left")
    kind, y, notes = judged(values, task, source)
    check(kind, y, source)
    notes = [*columns.notes, *notes]
    _check_finite(columns, table)
    if missing == "refuse":
        refuse_missing(table, columns)
    elif gaps := missing_in(table):
        for name, where in gaps:
            if where.all():
                raise DataError(f"{source}: column {name!r} holds no value at all; leave it out with --drop")
        notes.append(
            f"missing values: {sum(int(where.sum()) for _, where in gaps):,}, in {', '.join(n for n, _ in gaps[:5])}"
            f"{', ...' * (len(gaps) > 5)}; numbers get the training rows' median, text a category of its own"
        )
    _check_texts(table, source)
    codes = None if groups is None else np.unique(groups, return_inverse=True)[1]
    impute = missing == "impute"
    return Dataset(source, table, y, None, None, kind, codes, group_name, "columns", impute, notes)


def _check_finite(columns, table):
    """Refuse what float32 has no place for."""
    with np.errstate(invalid="ignore", over="ignore"):
        wrong = (
            np.isinf(table.numbers.astype(np.float32)) if table.numbers.dtype.kind == "f" else np.zeros((1, 1), bool)
        )
    if wrong.any():
        row, column = np.argwhere(wrong)[0]
        raise DataError(f"{columns.place(int(row))}, column {table.number_names[column]!r}: "
                        f"{table.numbers[row, column]:g} is infinity in float32")  # fmt: skip


def _check_texts(table, source):
    """Refuse columns of text that are names rather than categories, before they take all memory."""
    features = len(table.number_names)
    for j, name in enumerate(table.text_names):
        found = len(set(table.texts[:, j]))
        if found > _MOST_TEXTS:
            raise DataError(f"{source}: column {name!r} holds {found:,} different texts, at most {_MOST_TEXTS:,} are "
                            "encoded; leave it out with --drop")  # fmt: skip
        features += found
    if (size := 4 * features * len(table)) > MEMORY_LIMIT:
        raise DataError(f"{source}: {len(table):,} rows of {features:,} encoded features take {size:,} bytes of "
                        f"memory, the limit is {MEMORY_LIMIT:,}")  # fmt: skip
