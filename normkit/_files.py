"""Files that are there whole or not at all, and reading those that end."""

import errno
import io
import os
import stat
import threading
from pathlib import Path


def open_regular(path: str | os.PathLike) -> io.BufferedReader:
    """Open a file for reading; what is no regular one, which could be waited for or read without end, is an OSError."""
    file = open(path, "rb", opener=_without_waiting)
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise OSError(errno.EINVAL, "not a regular file", os.fspath(path))
    return file


def _without_waiting(path, flags):
    # a pipe that nobody writes to would be waited for
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def read_regular(path: str | os.PathLike) -> bytes:
    """Return what a regular file holds."""
    with open_regular(path) as file:
        return file.read()


def write_atomically(path: str | os.PathLike, data: bytes) -> None:
    """Write a file beside its place, and move it there once the disk has it.

    A file that was there keeps its mode, a symbolic link keeps pointing where it did, and a device or pipe is written
    to as it is: moving a file there would put an end to it.
    """
    place = Path(os.path.realpath(path))
    if place.exists() and not stat.S_ISREG(place.stat().st_mode):
        place.write_bytes(data)
        return
    temporary = place.with_name(f".{place.name}.{os.getpid()}.{threading.get_ident()}.tmp")
    try:
        with open(temporary, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
            if place.exists():
                os.chmod(temporary, stat.S_IMODE(place.stat().st_mode))
        os.replace(temporary, place)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
