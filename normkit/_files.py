"""Files that are there whole or not at all."""

import os
import stat
import threading
from pathlib import Path


def write_atomically(path: str | os.PathLike, data: bytes) -> None:
    """Write a file beside its place, and move it there once the disk has it.

    A symbolic link keeps pointing where it did, and a device or pipe is written to as it is: moving a file there would
    put an end to it.
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
        os.replace(temporary, place)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
