"""Splits in files that worker processes map into their memory: the data is there once, however many work on it."""

import contextlib
import functools
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import joblib
from joblib.externals.loky.backend import resource_tracker

from normkit.experiments.data import Split


@functools.lru_cache(maxsize=16)
def opened(directory: Path) -> Split:
    """Return the split of a folder, its arrays mapped into memory; the last ones stay open."""
    return Split.open(directory)


@contextlib.contextmanager
def share(split: Callable[[int], Split], numbers: Iterable[int]) -> Iterator[dict[int, Path]]:
    """Write splits to folders, equal ones once, and delete them at the end.

    Parameters
    ----------
    split : callable
        Returns the split of a number.
    numbers : iterable of int
        Those that are needed.
    """
    folder = Path(tempfile.mkdtemp(prefix="normkit-"))
    # another process deletes it where this one is killed
    resource_tracker.register(str(folder), "folder")
    try:
        places: dict[str, Path] = {}
        shared = {}
        for number in dict.fromkeys(numbers):
            data = split(number)
            key = joblib.hash([data.X_train, data.y_train, data.X_val, data.y_val, data.X_test, data.y_test])
            if key not in places:
                places[key] = folder / str(number)
                data.save(places[key])
            shared[number] = places[key]
        yield shared
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        resource_tracker.unregister(str(folder), "folder")
