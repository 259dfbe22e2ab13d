"""Tables of named columns, numbers or text: as a file has them (`Columns`), and as features (`Table`)."""

import math
from dataclasses import dataclass, field

import numpy as np

from normkit.experiments.errors import DataError, one_line

MISSING = ("", "NA", "NaN", "nan")  # and every other spelling of NaN in a column of numbers
_LARGEST = float(np.finfo(np.float32).max)


@dataclass
class Columns:
    """A file's columns by name, as written: text, or numbers where the file knows them as such."""

    source: str
    values: dict[str, np.ndarray]  # object arrays of str, "" where missing; or float64, NaN where missing
    lines: np.ndarray | None = None  # of the file, where the rows are lines
    typed: bool = False  # the file itself tells text from numbers
    notes: list[str] = field(default_factory=list)

    def __len__(self):
        return len(next(iter(self.values.values()), ()))

    def place(self, row: int) -> str:
        """Return where a row is, for a message."""
        return f"{self.source}, {f'line {self.lines[row]}' if self.lines is not None else f'row {row + 1}'}"

    def require(self, name: str, purpose: str) -> np.ndarray:
        """Return a column's values, or raise a `DataError` that lists the columns there are."""
        if name not in self.values:
            found = one_line(", ".join(self.values), 300)
            raise DataError(f"{self.source} has no column {name!r} {purpose}; its columns are {found}")
        return self.values[name]

    def as_numbers(self, name: str) -> np.ndarray:
        """Return a column as float64, NaN where missing; what is no number or infinite is a `DataError`."""
        values = self.values[name]
        numbers, strangers = _parsed(values)
        if strangers.any():
            row = int(strangers.argmax())
            raise DataError(
                f"{self.place(row)}, column {name!r}: {one_line(values[row], 40)!r} is not a number, as the others "
                "are; an empty field or NA is a missing value"
            )
        with np.errstate(invalid="ignore"):
            infinite = np.abs(numbers) > _LARGEST
        if infinite.any():
            row = int(infinite.argmax())
            raise DataError(f"{self.place(row)}, column {name!r}: {numbers[row]:g} is infinity in float32")
        return numbers

    def as_text(self, name: str) -> np.ndarray:
        """Return a column as an object array of str, "" where missing."""
        values = self.values[name]
        if values.dtype != object:
            return np.array(["" if math.isnan(v) else number_text(v) for v in values.tolist()], dtype=object)
        return np.array(["" if v.strip() in MISSING else v for v in values], dtype=object)

    def complete(self, name: str, what: str, numbers: bool) -> np.ndarray:
        """Return a column as numbers or text; a value that is missing in it is a `DataError`."""
        values = self.as_numbers(name) if numbers else self.as_text(name)
        gaps = np.isnan(values) if numbers else values == ""
        if gaps.any():
            raise DataError(f"{self.place(int(gaps.argmax()))}: the {what} {name!r} is missing")
        return values

    def holds_numbers(self, name: str) -> bool:
        """Tell whether a column is one of numbers: more than half of what is there."""
        values = self.values[name]
        if self.typed or values.dtype != object:
            return values.dtype != object
        numbers, strangers = _parsed(values)
        return bool((~np.isnan(numbers)).sum() > strangers.sum())


def number_text(value: float) -> str:
    """Return a number as a table would have it: 3.0 as "3"."""
    return str(int(value)) if value.is_integer() else repr(value)


def _parsed(values):
    """Return (float64 with NaN where missing or no number, where it is no number)."""
    if values.dtype != object:
        return values, np.zeros(len(values), bool)
    try:
        if "_" not in "".join(values):  # float() takes 1_000 for 1000
            return np.fromiter(map(float, values), np.float64, len(values)), np.zeros(len(values), bool)
    except ValueError:
        pass
    numbers = np.full(len(values), np.nan)
    strangers = np.zeros(len(values), bool)
    for i, text in enumerate(values):
        try:
            if "_" in text:
                raise ValueError
            numbers[i] = float(text)
        except ValueError:
            strangers[i] = text.strip() not in MISSING
    return numbers, strangers


@dataclass
class Table:
    """Rows of features: numbers in one array, text in another.

    Examples
    --------
    >>> import numpy as np
    >>> table = Table(np.array([[1.0], [2.0]]), ["width"], np.array([["red"], ["blue"]], object), ["colour"])
    >>> len(table), table.names, table[np.array([1])].texts.tolist()
    (2, ['width', 'colour'], [['blue']])
    """

    numbers: np.ndarray  # (rows, columns of numbers), NaN where missing
    number_names: list[str]
    texts: np.ndarray = field(default_factory=lambda: np.empty((0, 0), object))  # (rows, columns of text) of str
    text_names: list[str] = field(default_factory=list)

    def __len__(self):
        return len(self.numbers)

    def __getitem__(self, rows) -> "Table":
        texts = self.texts[rows] if self.text_names else self.texts
        return Table(self.numbers[rows], self.number_names, texts, self.text_names)

    @property
    def names(self) -> list[str]:
        """Names of all columns, numbers first."""
        return [*self.number_names, *self.text_names]


def table_from(columns: Columns, numbers: list[str], texts: list[str]) -> Table:
    """Return the columns of these names, read as these kinds."""
    table = Table(np.empty((len(columns), len(numbers))), numbers, np.empty((len(columns), len(texts)), object), texts)
    for j, name in enumerate(numbers):
        table.numbers[:, j] = columns.as_numbers(name)
    for j, name in enumerate(texts):
        table.texts[:, j] = columns.as_text(name)
    return table


def missing_in(table: Table) -> list[tuple[str, np.ndarray]]:
    """Return (name, where it is missing) of each column that lacks a value."""
    found = []
    for j, name in enumerate(table.number_names):
        gaps = np.isnan(table.numbers[:, j]) if table.numbers.dtype.kind == "f" else np.zeros(len(table), bool)
        found.append((name, gaps))
    found += [(name, table.texts[:, j] == "") for j, name in enumerate(table.text_names)]
    return [(name, gaps) for name, gaps in found if gaps.any()]


def refuse_missing(table: Table, columns: Columns) -> None:
    """Raise a `DataError` that names row and column of the first missing value, if there is one."""
    if not (found := missing_in(table)):
        return
    name, gaps = min(found, key=lambda pair: pair[1].argmax())
    raise DataError(
        f"{columns.place(int(gaps.argmax()))}, column {name!r}: the value is missing "
        f"({sum(int(gaps.sum()) for _, gaps in found):,} in {', '.join(name for name, _ in found[:5])}"
        f"{', ...' * (len(found) > 5)}); --missing impute fills in what is missing, --drop "
        "leaves a column out"
    )
