"""Files of arrays: IDX, NPZ, LIBSVM. Whatever is wrong with a file is a `DataError` that says so in one line.

Nothing is ever unpickled, and memory is bounded by the file's size or, where a file is packed, by `UNPACKED_LIMIT`.
"""

import gzip
import io
import math
import os
import stat
import struct
import warnings
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from normkit.experiments.errors import DataError

# the largest set of images that is common, EMNIST's, unpacks to 0.55 GB
UNPACKED_LIMIT = 1 << 30
# of what a small file can ask for: the dense matrix of a sparse file, one column for each of a column's texts
MEMORY_LIMIT = 1 << 31
_CHUNK = 1 << 20


@contextmanager
def reading(path: Path, kind: str, *errors: type[Exception]) -> Iterator[None]:
    """Context that makes errors of the operating system, and those given, a `DataError` that names the file."""
    try:
        yield
    except DataError:
        raise
    except (zlib.error, EOFError, gzip.BadGzipFile) as error:
        raise DataError(f"cannot read {path}: damaged compressed data: {error}") from None
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from None
    except errors as error:
        raise DataError(f"{path} is not {kind}: {one_line(error)}") from None


def one_line(error: object, length: int = 200) -> str:
    """Return an error's message on one line of printable characters, cut where it is long."""
    text = " ".join(str(error).split())
    text = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
    return text if len(text) <= length else text[: length - 3] + "..."


class _Unpacked(io.RawIOBase):
    """What a gzip file holds, as far as the limit."""

    def __init__(self, file, path, limit):
        self._unzipped = gzip.GzipFile(fileobj=file, mode="rb")
        self._file, self._path, self._limit, self._done = file, path, limit, 0

    def readable(self):
        return True

    def readinto(self, buffer):
        data = self._unzipped.read(min(len(buffer), _CHUNK))
        self._done += len(data)
        if self._done > self._limit:
            raise DataError(
                f"{self._path} unpacks to more than {self._limit:,} bytes, the limit of compressed files; "
                "decompress it first if it is what you want"
            )
        buffer[: len(data)] = data
        return len(data)

    def close(self):
        self._unzipped.close()
        self._file.close()
        super().close()


def open_data(path: Path, unpack: bool = True) -> io.BufferedReader:
    """Open a regular file; with `unpack`, one whose content is gzip's gives what is packed in it.

    Raises
    ------
    DataError
        If it is a pipe or a device, which may have no end, or when more than `UNPACKED_LIMIT` bytes (or the
        file's own size, if that is more) are read from a gzip file.
    OSError
        If it cannot be opened.
    """
    file = open(path, "rb", opener=_without_waiting)
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise DataError(f"cannot read {path}: not a regular file")
    if not unpack or file.read(2) != b"\x1f\x8b":
        file.seek(0)
        return file
    file.seek(0)
    return io.BufferedReader(_Unpacked(file, path, unpacked_limit(file)), _CHUNK)


def _without_waiting(path, flags):
    # a pipe that nobody writes to would be waited for
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def unpacked_limit(file: io.BufferedReader) -> int:
    """Return how many bytes an open compressed file may unpack to."""
    return max(UNPACKED_LIMIT, os.fstat(file.fileno()).st_size)


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
    while left and (part := file.read(min(left, _CHUNK))):
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
    return np.frombuffer(data, dtype).reshape(shape, order="F" if fortran else "C")


def read_libsvm(path: Path, features: int | None = None, limit: int = MEMORY_LIMIT) -> tuple[np.ndarray, np.ndarray]:
    """Read a file of LIBSVM's format: in each line the target, then ``index:value`` of what is not zero.

    Parameters
    ----------
    path : Path
        The file, gzipped or not.
    features : int or None
        Number of features; None for as many as the largest index says.
    limit : int
        Bytes that the dense matrix may take: a line of ten characters can ask for any number of columns.

    Returns
    -------
    X : ndarray of shape (rows, features), float32
    y : ndarray of shape (rows,), float64
    """
    from sklearn.datasets import load_svmlight_file

    with reading(path, "a LIBSVM file", Exception), open_data(path) as file, warnings.catch_warnings():
        warnings.simplefilter("error")
        X, y = load_svmlight_file(file, dtype=np.float64, n_features=features)
        rows, columns = X.shape
        if rows * columns * 4 > limit:
            raise DataError(
                f"{path}: {rows:,} rows of {columns:,} features take {rows * columns * 4:,} bytes of memory, "
                f"the limit is {limit:,}"
            )
        if not rows or not columns:
            raise DataError(f"{path} needs at least one row and one feature")
        with np.errstate(over="ignore"):  # infinity is refused with the row's number later
            return X.astype(np.float32).toarray(), y
