"""Files of an experiment: JSON, CSV, PNG. Each is written beside its place and moved there whole."""

import csv
import io
import json
import os
import platform
import tempfile
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

from normkit.experiments.errors import DataError

_COLUMNS = (
    "normalization", "batch_size", "seed", "status", "test_accuracy", "test_loss", "validation_loss",
    "seconds_per_epoch",
)  # fmt: skip


def prepare(directory: str | Path) -> Path:
    """Make the output directory and see that it can be written to, before hours are spent."""
    path = Path(directory)
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        reason = "it is a file" if isinstance(error, FileExistsError) else error.strerror or error
        raise DataError(f"cannot write to the output directory {directory}: {reason}") from None
    return path


def write(path: Path, data: bytes) -> None:
    """Write a file so that it is there whole or not at all."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def environment() -> dict[str, str]:
    """Versions and machine, so that a number can be told where it comes from."""
    packages = ("normkit", "numba", "numpy", "scikit-learn", "scipy")
    return {
        **{name: version(name) for name in packages},
        "python": platform.python_version(),
        "machine": platform.machine(),
        "system": platform.system(),
        "cores": str(os.cpu_count()),
    }


def write_json(path: Path, config: dict, runs, cells, verdicts) -> None:
    """Write everything there is to know about an experiment."""
    document = {
        "schema": 1,
        "config": config,
        "environment": environment(),
        "verdicts": [asdict(verdict) for verdict in verdicts],
        "summary": [asdict(cell) for cell in cells],
        "runs": [asdict(run) for run in runs],
    }
    write(path, json.dumps(document, indent=1, allow_nan=False).encode())


def write_csv(path: Path, runs) -> None:
    """Write one line a run, without the curves."""
    text = io.StringIO()
    table = csv.DictWriter(text, _COLUMNS, extrasaction="ignore", lineterminator="\n")
    table.writeheader()
    table.writerows(asdict(run) for run in runs)
    write(path, text.getvalue().encode())
