"""Tables of named columns, numbers or text: CSV and Parquet files, and arrays that are seen as such."""

import array
import csv
import io
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from normkit.experiments.errors import DataError
from normkit.experiments.readers import MEMORY_LIMIT, one_line, open_data, reading

MISSING = ("", "NA", "NaN", "nan")  # and every other spelling of NaN in a column of numbers
ROW_NUMBERS = "__index_level_0__"  # pandas' name for them in a Parquet file
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
        f"({sum(int(gaps.sum()) for _, gaps in found):,} in all); --missing impute fills in what is missing, --drop "
        "leaves a column out"
    )


def read_csv(path: Path, keep: Callable[[str], bool] = lambda name: True) -> Columns:
    """Read a CSV file with a line of column names, in UTF-8, gzipped or not.

    A first column without name that counts the rows, as pandas writes it, is left out.

    Parameters
    ----------
    path : Path
        The file.
    keep : callable
        Says of a column's name whether the column is wanted; it is called for each.
    """
    # csv.Error of a field of more than 131,072 characters, too
    with (
        reading(path, "a CSV file in UTF-8", UnicodeDecodeError, csv.Error),
        io.TextIOWrapper(open_data(path), "utf-8-sig", newline="") as file,
    ):
        reader = csv.reader(_without_nul(file, path), strict=True)
        header = [name.strip() for name in next(reader, [])]
        values: list[list[str]] = [[] for _ in header]
        lines = array.array("q")
        for row in reader:
            if not row:
                continue
            if len(row) != len(header):
                raise DataError(f"{path}, line {reader.line_num}: {len(row)} values, but {len(header)} column names")
            lines.append(reader.line_num)
            for column, text in zip(values, row):
                column.append(text)
    if not header or not lines:
        raise DataError(f"{path} needs a line of column names and at least one row of data")
    notes = []
    if header[0] == "" and len(header) > 1 and _counts(values[0]):
        header, values = header[1:], values[1:]
        notes.append("the first column, which has no name, numbers the rows and is left out")
    _check_names(header, path)
    kept = {name: np.array(column, dtype=object) for name, column in zip(header, values) if keep(name)}
    return Columns(str(path), kept, np.array(lines), notes=notes)


def _without_nul(lines, path):
    for number, line in enumerate(lines, 1):
        if "\0" in line:
            raise DataError(f"{path}, line {number}: a NUL byte; it is not a CSV file in UTF-8")
        yield line


def _counts(texts):
    return texts[0] in ("0", "1") and all(text == str(i) for i, text in enumerate(texts, int(texts[0])))


def _check_names(names, path):
    if "" in names:
        raise DataError(f"{path}: column {names.index('') + 1} has no name")
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise DataError(f"{path} has {names.count(twice)} columns {one_line(twice, 60)!r}")


def read_parquet(path: Path, keep: Callable[[str], bool] = lambda name: True, limit: int = MEMORY_LIMIT) -> Columns:
    """Read a Parquet file of numbers, booleans and text with pyarrow.

    Parameters
    ----------
    path : Path
        The file.
    keep : callable
        Says of a column's name whether the column is wanted; it is called for each.
    limit : int
        Bytes that the columns may unpack to.
    """
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        raise DataError(f"reading {path} needs pyarrow: pip install 'normkit[parquet]'") from None
    with reading(path, "a Parquet file", Exception), open_data(path, unpack=False) as file:
        found = pq.ParquetFile(file)
        names = found.schema_arrow.names
        _check_names(names, path)
        kept = [name for name in names if keep(name) and name != ROW_NUMBERS]
        for name in kept:
            if not _is_text(found.schema_arrow.field(name).type):
                _check_numbers(found.schema_arrow.field(name).type, name, path)
        texts = [name for name in kept if _is_text(found.schema_arrow.field(name).type)]
        # as a dictionary: a long text that is repeated in a million rows takes no more memory than in the file
        found = pq.ParquetFile(file, read_dictionary=texts)
        size, batches = 0, []
        for batch in found.iter_batches(8192, columns=kept, use_threads=False):
            size += batch.nbytes
            if size > limit:
                raise DataError(f"{path} unpacks to more than {limit:,} bytes, the limit of Parquet files")
            batches.append(batch)
        if not kept or not sum(map(len, batches)):
            raise DataError(f"{path} needs at least one column and one row of data")
        table = pa.Table.from_batches(batches)
        table.validate(full=True)
        values = {name: (_words if name in texts else _floats)(table.column(name)) for name in kept}
    notes = [f"column {ROW_NUMBERS}, pandas' row numbers, is left out"] if ROW_NUMBERS in names else []
    return Columns(str(path), values, typed=True, notes=notes)


def _is_text(kind):
    from pyarrow import types

    if types.is_dictionary(kind):
        kind = kind.value_type
    return types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind)


def _check_numbers(kind, name, path):
    from pyarrow import types

    kind = kind.value_type if types.is_dictionary(kind) else kind
    if not any(test(kind) for test in (types.is_integer, types.is_floating, types.is_decimal, types.is_boolean)):
        raise DataError(
            f"{path}, column {one_line(name, 60)!r}: {one_line(kind, 60)} is neither numbers nor text; "
            "convert it, or leave it out with --drop"
        )


def _floats(column):
    """Return an Arrow column as float64, NaN where missing; booleans as text, which they are in a CSV file."""
    from pyarrow import float64, types

    if types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if types.is_boolean(column.type):
        return np.array(["" if value is None else str(value) for value in column.to_pylist()], dtype=object)
    return np.asarray(column.cast(float64(), safe=False).fill_null(math.nan).to_numpy(), dtype=np.float64)


def _words(column):
    """Return an Arrow column of text as an object array, equal texts as one object."""
    parts = []
    for chunk in column.chunks:
        coded = chunk if hasattr(chunk, "dictionary") else chunk.dictionary_encode()
        words = np.array([*("" if word is None else word for word in coded.dictionary.to_pylist()), ""], dtype=object)
        parts.append(words[coded.indices.fill_null(len(words) - 1).to_numpy(zero_copy_only=False).astype(np.int64)])
    return np.concatenate(parts)
