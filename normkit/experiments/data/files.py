"""Opening a file of data safely: memory is bounded, and whatever is wrong is a `DataError` that names the file."""

import gzip
import io
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from normkit._files import open_regular
from normkit.experiments.errors import DataError, one_line

# the largest set of images that is common, EMNIST's, unpacks to 0.55 GB
UNPACKED_LIMIT = 1 << 30
# of what a small file can ask for: the dense matrix of a sparse file, one column for each of a column's texts
MEMORY_LIMIT = 1 << 31
CHUNK = 1 << 20


@contextmanager
def reading(path: Path, kind: str, *errors: type[Exception]) -> Iterator[None]:
    """Context that makes errors of the operating system, and those given, a `DataError` that names the file."""
    try:
        yield
    except DataError:
        raise
    except (zlib.error, EOFError, gzip.BadGzipFile) as error:
        raise DataError(f"cannot read {path}: damaged compressed data: {one_line(error)}") from None
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or one_line(error)}") from None
    except errors as error:
        raise DataError(f"{path} is not {kind}: {one_line(error)}") from None


class _Unpacked(io.RawIOBase):
    """What a gzip file holds, as far as the limit."""

    def __init__(self, file, path, limit):
        self._unzipped = gzip.GzipFile(fileobj=file, mode="rb")
        self._file, self._path, self._limit, self._done = file, path, limit, 0

    def readable(self):
        return True

    def readinto(self, buffer):
        data = self._unzipped.read(min(len(buffer), CHUNK))
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
        When more than `UNPACKED_LIMIT` bytes (or the file's own size, if that is more) are read from a gzip file.
    OSError
        If it cannot be opened, or is a pipe or a device, which may have no end.
    """
    file = open_regular(path)
    if not unpack or file.read(2) != b"\x1f\x8b":
        file.seek(0)
        return file
    file.seek(0)
    return io.BufferedReader(_Unpacked(file, path, unpacked_limit(file)), CHUNK)


def unpacked_limit(file: io.BufferedReader) -> int:
    """Return how many bytes an open compressed file may unpack to."""
    return max(UNPACKED_LIMIT, os.fstat(file.fileno()).st_size)
