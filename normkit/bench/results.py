"""Result files: written at once or not at all, read with care."""

import json
import os
import re
from pathlib import Path
from typing import Any

from normkit._files import write_atomically
from normkit.experiments.errors import DataError

KIND, SCHEMA = "bench", 1
GPU = "gpu"  # of what is measured on a GPU


def dump(result: Any) -> str:
    """Return JSON with a list of numbers on one line: a file of samples that a person can still read."""
    # a line ends between values alone: texts have it escaped
    return re.sub(r"\[[^\[\]{}]*\]", lambda found: re.sub(r"\n *", " ", found[0]), json.dumps(result, indent=1))


def write(path: str | os.PathLike, result: Any) -> None:
    """Write a file, at once or not at all."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, (dump(result) + "\n").encode())


def read(path: str | os.PathLike) -> dict[str, Any]:
    """Return the result that a file of ``normkit bench`` holds.

    Raises
    ------
    DataError
        If there is none, or one that this version cannot read.
    """
    try:
        result = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from None
    except ValueError:
        raise DataError(f"{path} is not JSON") from None
    if not isinstance(result, dict) or result.get("kind") not in (KIND, GPU):
        raise DataError(f"{path} is not a result of normkit bench")
    if result["kind"] == KIND and result.get("schema") != SCHEMA:
        raise DataError(f"{path} has schema {result.get('schema')}, this version of normkit reads {SCHEMA}")
    return result


def check_writable(path: str | os.PathLike) -> None:
    """Make the folder of a result file; raise DataError where the file cannot be written."""
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"{path.parent} cannot be made: {error.strerror}") from None
    if path.is_dir():
        raise DataError(f"{path} is a folder, the name of a file expected")
    if not os.access(path.parent, os.W_OK):
        raise DataError(f"{path.parent} cannot be written to")
