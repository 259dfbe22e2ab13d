"""Files of tables: CSV and Parquet."""

import array
import csv
import io
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np

from normkit.experiments.data.files import MEMORY_LIMIT, open_data, reading
from normkit.experiments.data.tables import Columns
from normkit.experiments.errors import DataError, one_line

ROW_NUMBERS = "__index_level_0__"  # pandas' name for them in a Parquet file


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
        if len(header) == 1 and (other := next((mark for mark in ";\t" if mark in header[0]), None)):
            raise DataError(f"{path}: columns are separated by {other!r}, a CSV file has commas between them")
        elif not header:
            raise DataError(
                f"{path} needs a line of column names and at least one row of data; its first line is blank"
            )
        values: list[list[str]] = [[] for _ in header]
        lines = array.array("q")
        for row in reader:
            if not row and len(header) == 1:
                row = [""]
            elif not row:
                continue
            if len(row) != len(header):
                raise DataError(f"{path}, line {reader.line_num}: {len(row)} values, but {len(header)} column names")
            lines.append(reader.line_num)
            for column, text in zip(values, row):
                column.append(text)
    if not lines:
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
        codes = coded.indices.cast("int64").fill_null(len(words) - 1)
        parts.append(words[codes.to_numpy()])
    return np.concatenate(parts)
