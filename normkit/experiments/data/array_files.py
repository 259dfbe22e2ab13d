"""Files of arrays: IDX, NPZ, LIBSVM. Whatever is wrong with a file is a `DataError` that says so in one line.

Nothing is ever unpickled, and memory is bounded by the file's size or, where a file is packed, by
`files.UNPACKED_LIMIT`.
"""

import math
import struct
import sys
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from normkit.experiments.data.files import CHUNK, MEMORY_LIMIT, open_data, reading, unpacked_limit
from normkit.experiments.errors import DataError, one_line


def read_idx(path: Path) -> np.ndarray:
    """Read an IDX file of unsigned bytes, gzipped or not.

    LeCun's format: two zero bytes, the type, the number of dimensions, their sizes, the data.

    Parameters
    ----------
    path : Path
        The file, by whatever name.

    Returns
    -------
    ndarray of uint8
        Read-only, of the shape that the header says.
    """
    with reading(path, "a readable IDX file", ValueError), open_data(path) as file:
        head = file.read(4)
        if len(head) < 4 or head[:3] != b"\0\0\x08" or not 1 <= head[3] <= 4:
            raise DataError(f"cannot read {path}: not an IDX file of unsigned bytes")
        sizes = file.read(4 * head[3])
        if len(sizes) < 4 * head[3]:
            raise DataError(f"cannot read {path}: the header is cut off")
        shape = struct.unpack(f">{head[3]}I", sizes)
        count = math.prod(shape)
        data = _read(file, count + 1)
        if len(data) != count:
            found = "more" if len(data) > count else len(data)
            raise DataError(f"cannot read {path}: the header says {count} bytes of data, the file has {found}")
        return np.frombuffer(data, np.uint8).reshape(shape)


def _read(file, count):
    """Read up to a number of bytes without believing that there are as many."""
    parts, left = [], count
    while left and (part := file.read(min(left, CHUNK))):
        parts.append(part)
        left -= len(part)
    return b"".join(parts)


def read_npz(path: Path, wanted: tuple[str, ...] = ()) -> dict[str, np.ndarray]:
    """Read an archive of arrays of numbers, booleans or text.

    Parameters
    ----------
    path : Path
        A file of `numpy.savez` or `numpy.savez_compressed`.
    wanted : tuple of str
        Names that must be among the arrays.

    Returns
    -------
    dict of str to ndarray
        In the order of the archive.
    """
    # zipfile, its decompressors and NumPy raise nearly anything for a damaged archive
    with reading(path, "an NPZ file", Exception), open_data(path, unpack=False) as file:
        limit = unpacked_limit(file)
        if not zipfile.is_zipfile(file):
            raise DataError(f"{path} is not an NPZ file, a zip archive of arrays")
        with zipfile.ZipFile(file) as archive:
            members = {member.filename.removesuffix(".npy"): member for member in archive.infolist()}
            if len(members) < len(archive.infolist()):
                raise DataError(f"{path} holds two arrays of one name")
            for name in wanted:
                if name not in members:
                    found = one_line(", ".join(members)) or "none"
                    raise DataError(f"{path} has no array {name!r}; its arrays are {found}")
            if sum(member.file_size for member in members.values()) > limit:
                raise DataError(f"{path} unpacks to more than {limit:,} bytes, the limit of compressed files")
            return {name: _member(archive, member, path) for name, member in members.items()}


def _member(archive, member, path):
    """Read one array, once its header is found to tell the true size of what follows."""
    with archive.open(member) as stream:
        version = np.lib.format.read_magic(stream)
        if version not in ((1, 0), (2, 0)):
            raise DataError(f"{path} is not an NPZ file of plain arrays: {one_line(member.filename)} is of version "
                            f"{version[0]}.{version[1]}")  # fmt: skip
        header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, fortran, dtype = header(stream)
        if dtype.kind not in "biufUS" or not dtype.itemsize:
            raise DataError(
                f"{path} is not an NPZ file without pickled objects: array {one_line(member.filename)} is of {dtype}; "
                "numbers, booleans and text are read"
            )
        data = stream.read()
        if min(shape, default=1) < 0 or math.prod(shape) * dtype.itemsize != len(data):
            raise DataError(f"{path} is not an NPZ file: {one_line(member.filename)} has {len(data)} bytes of data, "
                            f"its header says shape {shape} of {dtype}")  # fmt: skip
    if dtype.kind == "U":
        codes = np.frombuffer(data, np.dtype(np.uint32).newbyteorder(dtype.byteorder))
        if ((codes > sys.maxunicode) | (codes >> 11 == 0xD800 >> 11)).any():
            raise DataError(f"{path} is not an NPZ file of text: {one_line(member.filename)} holds what is no letter")
    return np.frombuffer(data, dtype).reshape(shape, order="F" if fortran else "C")


def read_libsvm(
    path: Path, features: int | None = None, zero_based: bool | None = None, limit: int = MEMORY_LIMIT
) -> tuple[np.ndarray, np.ndarray, bool | None]:
    """Read a file of LIBSVM's format: in each line the target, then ``index:value`` of what is not zero.

    Parameters
    ----------
    path : Path
        The file, gzipped or not.
    features : int or None
        Number of features; None for as many as the largest index says.
    zero_based : bool or None
        With `features`, whether the first of them has index 0 and not 1; None for True where an index of the file is 0,
        as without `features`.
    limit : int
        Bytes that the dense matrix may take: a line of ten characters can ask for any number of columns.

    Returns
    -------
    X : ndarray of shape (rows, features), float32
    y : ndarray of shape (rows,), float64
    zero_based : bool or None
        As found; with `features` as given.
    """
    from sklearn.datasets import load_svmlight_file

    with reading(path, "a LIBSVM file", Exception), open_data(path) as file, warnings.catch_warnings():
        warnings.simplefilter("error")
        base: Any = True if features is None else "auto" if zero_based is None else zero_based
        X, y = load_svmlight_file(file, dtype=np.float64, n_features=features, zero_based=base)
        if features is None:
            zero_based = not X.nnz or bool(X.indices.min() == 0)
            X = X if zero_based else X[:, 1:]
        rows, columns = X.shape
        if rows * columns * 4 > limit:
            raise DataError(
                f"{path}: {rows:,} rows of {columns:,} features take {rows * columns * 4:,} bytes of memory, "
                f"the limit is {limit:,}"
            )
        if not rows or not columns:
            raise DataError(f"{path} needs at least one row and one feature")
        with np.errstate(over="ignore"):  # infinity is refused with the row's number later
            return X.astype(np.float32).toarray(), y, zero_based
