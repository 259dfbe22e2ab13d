"""The file of a model: named arrays and a JSON document in safetensors' format, which holds no code.

safetensors sees to it that the header is JSON of at most 100 MB and that the arrays cover the rest of the file
exactly, so that no header makes a reader allocate more than the file has. On top come a schema number and a checksum
over everything but itself. The checksum tells damage; it is no signature.
"""

import hashlib
import json
import os
from typing import Any

import numpy as np

from normkit._files import write_atomically
from normkit._version import __version__

FORMAT, SCHEMA = "normkit.model", 1


class ModelFileError(ValueError):
    """The file is not a model that this release can load; the message says why, in one line."""


def _digest(described: dict[str, str], arrays: dict[str, np.ndarray]) -> str:
    digest = hashlib.sha256(json.dumps(described, sort_keys=True).encode())
    for name, array in sorted(arrays.items()):
        digest.update(json.dumps([name, array.dtype.str, array.shape]).encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def write(path: str | os.PathLike, document: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
    """Write arrays and a document; the file is there whole or not at all."""
    import safetensors.numpy

    # an array of no dimensions would become one of one
    arrays = {name: np.require(array, requirements=["C"]).reshape(array.shape) for name, array in arrays.items()}
    described = {
        "format": FORMAT, "schema": str(SCHEMA), "normkit": __version__,
        "document": json.dumps(document, allow_nan=False),
    }  # fmt: skip
    described["sha256"] = _digest(described, arrays)
    write_atomically(path, safetensors.numpy.save(arrays, metadata=described))


def read(path: str | os.PathLike) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Return document and arrays.

    Raises
    ------
    ModelFileError
        If the file is not a model, truncated, altered or of a newer schema.
    OSError
        If it cannot be read.
    """
    import safetensors.numpy

    name = os.fspath(path)
    with open(path, "rb") as file:
        data = file.read()
    try:
        arrays = safetensors.numpy.load(data)
        described = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")]).get("__metadata__", {})
    except MemoryError:
        raise
    except Exception as error:  # the library's own error, and what its dtypes and our JSON may raise
        raise ModelFileError(f"{name} is not a model file, or truncated: {_line(error)}") from None
    if described.get("format") != FORMAT:
        raise ModelFileError(f"{name} is a safetensors file, but not one of normkit's models")
    schema, version = described.get("schema", ""), described.get("normkit", "")
    if schema.isdecimal() and SCHEMA < int(schema[:9]):
        raise ModelFileError(
            f"{name} has schema {schema[:9]}, written by normkit {version[:20]!r}; normkit {__version__} reads up to "
            f"schema {SCHEMA}: update normkit"
        )
    if described.pop("sha256", None) != _digest(described, arrays):
        raise ModelFileError(f"{name} was altered or damaged: its checksum does not match its content")
    try:
        document = json.loads(described["document"])
    except (ValueError, KeyError, RecursionError) as error:
        raise ModelFileError(f"{name} has no readable document: {_line(error)}") from None
    if not isinstance(document, dict):
        raise ModelFileError(f"{name} has a document that is no object of names and values")
    return document, arrays


def _line(error: Exception) -> str:
    """Return an error's text in one line that is safe to show: it may quote the file."""
    text = " ".join(str(error).split()) or type(error).__name__
    return "".join(c if c.isprintable() else "?" for c in text[:300])
