"""Files of data: IDX, CSV, NPZ. Whatever is wrong with a file is a `DataError` that says so in one line."""

import csv
import gzip
import math
import struct
import zipfile
import zlib
from pathlib import Path

import numpy as np

from normkit.experiments.errors import DataError


def read_idx(path: Path) -> np.ndarray:
    """Read an IDX file of unsigned bytes, gzipped or not.

    LeCun's format: two zero bytes, the type, the number of dimensions, their sizes, the data.
    """
    try:
        with open(path, "rb") as file:
            zipped = file.read(2) == b"\x1f\x8b"
        with gzip.open(path, "rb") if zipped else open(path, "rb") as file:
            return _parse_idx(file)
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from None
    except (EOFError, ValueError, zlib.error) as error:
        raise DataError(f"cannot read {path}: {error}") from None


def _parse_idx(file):
    head = file.read(4)
    if len(head) < 4 or head[:3] != b"\0\0\x08" or not 1 <= head[3] <= 4:
        raise ValueError("not an IDX file of unsigned bytes")
    sizes = file.read(4 * head[3])
    if len(sizes) < 4 * head[3]:
        raise ValueError("the header is cut off")
    shape = struct.unpack(f">{head[3]}I", sizes)
    count = math.prod(shape)
    data = file.read(min(count, 1 << 31) + 1)
    if len(data) != count:
        found = "more" if len(data) > count else len(data)
        raise ValueError(f"the header says {count} bytes of data, the file has {found}")
    return np.frombuffer(data, np.uint8).reshape(shape)


def read_csv(path: Path, target: str) -> tuple[np.ndarray, np.ndarray]:
    """Read a table with a line of column names; `target` is the column of labels, the others are numbers.

    Returns
    -------
    X : ndarray of shape (rows, columns - 1), float64
    y : ndarray of shape (rows,), str
    """
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file)
            header = next(reader, None)
            rows = [(reader.line_num, row) for row in reader if row]
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} is not a CSV file in UTF-8: {error}") from None
    if not header or not rows:
        raise DataError(f"{path} needs a line of column names and at least one row of data")
    if header.count(target) != 1:
        found = f"{header.count(target)} columns" if target in header else "no column"
        raise DataError(f"{path} has {found} {target!r}; its columns are {', '.join(header[:12])}")
    label = header.index(target)
    names = header[:label] + header[label + 1 :]
    X = np.empty((len(rows), len(names)))  # (rows, features)
    for i, (line, row) in enumerate(rows):
        if len(row) != len(header):
            raise DataError(f"{path}, line {line}: {len(row)} values, but {len(header)} column names")
        if not row[label].strip():
            raise DataError(f"{path}, line {line}: the label {target!r} is missing")
        for j, text in enumerate(row[:label] + row[label + 1 :]):
            try:
                X[i, j] = float(text)
            except ValueError:
                raise DataError(
                    f"{path}, line {line}, column {names[j]!r}: {text!r} is not a number; "
                    "encode text as numbers, and fill in or leave out missing values"
                ) from None
    return X, np.array([row[label] for _, row in rows])


def read_npz(path: Path, target: str) -> tuple[np.ndarray, np.ndarray]:
    """Read an archive of two arrays: `target` holds the labels, the other the features.

    Returns
    -------
    X : ndarray of shape (rows, ...)
    y : ndarray of shape (rows,)
    """
    try:
        with open(path, "rb") as file:
            if not zipfile.is_zipfile(file):  # np.load would take it for a pickle and advise to trust it
                raise DataError(f"{path} is not an NPZ file, a zip archive of arrays")
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from None
    except DataError:
        raise
    except Exception as error:  # zipfile, zlib and NumPy raise nearly anything for a damaged archive
        raise DataError(f"{path} is not an NPZ file without pickled objects: {error}") from None
    if target not in arrays:
        raise DataError(f"{path} has no array {target!r}; its arrays are {', '.join(arrays) or 'none'}")
    y = arrays.pop(target)
    if len(arrays) != 1:
        found = ", ".join(arrays) or "none"
        raise DataError(f"{path} must hold one array of features beside {target!r}, it holds {found}")
    return arrays.popitem()[1], y
