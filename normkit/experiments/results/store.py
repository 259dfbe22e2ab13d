"""The folder of an experiment: its runs are on the disk one by one, and a kill at any moment loses none of them."""

import os
import tempfile
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from normkit._files import read_regular, write_atomically
from normkit.experiments.errors import DataError, one_line
from normkit.experiments.records import Run, fault, from_json, run_from, to_json

RESULTS, CONFIG, ENVIRONMENT, SUMMARY = "results.jsonl", "config.toml", "environment.json", "summary.json"


def read_runs(directory: str | os.PathLike) -> list[Run]:
    """Read the runs of an experiment's folder, without touching it.

    Parameters
    ----------
    directory : path
        Folder that ``normkit compare --output`` has written, or is writing: a torn last line is left out.

    Returns
    -------
    list of Run
        In the order of their first line. Of a run that was repeated the last line counts.

    Raises
    ------
    DataError
        If there is no such file, or a line of it is no run.
    """
    path = Path(directory) / RESULTS
    try:
        return _parse(path, read_regular(path))[0]
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from None


def _parse(path, content):
    """Return the runs, and the bytes of the file without a last line that a kill has torn."""
    last = content[content.rfind(b"\n") + 1 :]
    try:
        from_json(last)
    except ValueError:  # no part of an object but the whole is JSON
        content = content[: len(content) - len(last)]
    runs: dict[str, Run] = {}
    for number, line in enumerate(content.splitlines(), 1):
        try:
            run = run_from(from_json(line))
            wrong: object = fault(run)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            wrong = error
        if wrong:
            raise DataError(f"{path}, line {number} is not a run: {one_line(wrong)}")
        runs[run.run_id] = run
    return list(runs.values()), content


class Store:
    """An experiment's folder, open for writing by this process alone.

    Parameters
    ----------
    directory : path
        Must exist.

    Attributes
    ----------
    runs : list of Run
        What the folder holds when it is opened.

    Raises
    ------
    DataError
        If another process has it open, it is no regular file, or a line of its results is no run.
    """

    def __init__(self, directory: str | os.PathLike):
        self.path = Path(directory)
        path = self.path / RESULTS
        try:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
        except OSError as error:
            raise DataError(f"cannot write {path}: {error.strerror or error}") from None
        try:
            _lock(self._file, self.path)
            content = read_regular(path)
            self.runs, whole = _parse(path, content)
            if len(whole) < len(content):  # the line that a kill has torn
                os.ftruncate(self._file, len(whole))
            elif content and not content.endswith(b"\n"):
                os.write(self._file, b"\n")
        except OSError as error:
            os.close(self._file)
            raise DataError(f"cannot write {path}: {error.strerror or error}") from None
        except BaseException:
            os.close(self._file)
            raise

    def add(self, run: Run) -> None:
        """Append a run; it is on the disk when this returns."""
        line = to_json(asdict(run)).encode() + b"\n"
        if os.write(self._file, line) != len(line):
            raise OSError(f"{self.path / RESULTS}: the disk is full")
        os.fsync(self._file)

    def write_text(self, name: str, text: str) -> None:
        """Write a file of the folder, whole or not at all."""
        try:
            data = text.encode()
        except UnicodeEncodeError as error:  # of a path that is not UTF-8
            raise DataError(f"cannot write {self.path / name}: {one_line(error)}") from None
        write_atomically(self.path / name, data)

    def close(self) -> None:
        """Let others write."""
        os.close(self._file)

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        self.close()


def _lock(file, directory):
    try:
        import fcntl
    except ImportError:  # Windows
        return
    try:
        # the system releases it with the process, also by kill -9: no lock is ever stale
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise DataError(f"another process is writing to {directory}") from None
    except OSError:  # a file system without locks
        pass


def write_json(path: Path, value: Any) -> None:
    """Write a file, whole or not at all."""
    write_atomically(path, (to_json(value, indent=1) + "\n").encode())


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


def holds_experiment(directory: str | os.PathLike) -> bool:
    """Whether a folder holds results, or the configuration of an experiment."""
    path = Path(directory)
    return (path / CONFIG).exists() or (path / RESULTS).exists() and (path / RESULTS).stat().st_size > 0


def read_environment(directory: str | os.PathLike) -> dict[str, Any]:
    """Read environment.json of an experiment's folder.

    Raises
    ------
    DataError
        If it is not there, or no JSON object.
    """
    path = Path(directory) / ENVIRONMENT
    try:
        value = from_json(read_regular(path))
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from None
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise DataError(f"{path} is not a JSON object")
    for name in ("data", "versions"):
        if not isinstance(value.get(name, {}), dict):
            raise DataError(f"{path}: {name!r} is not a JSON object")
    return value


def in_order(runs: Iterable[Run], names: Iterable[str]) -> list[Run]:
    """Return the runs of these ids in the order of the ids; those that are not there are left out."""
    by_id = {run.run_id: run for run in runs}
    return [by_id[name] for name in names if name in by_id]
