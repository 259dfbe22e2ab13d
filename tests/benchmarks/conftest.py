"""The benchmarks are scripts, not a package: their modules are found beside them."""

import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def script():
    """Run a script of the benchmarks and return what it prints."""

    def run(name, *arguments):
        done = subprocess.run(
            [sys.executable, FOLDER / name, *map(str, arguments)], capture_output=True, text=True, timeout=300
        )
        assert done.returncode == 0, f"{name}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    return run


@pytest.fixture
def module(monkeypatch):
    """Import a module of the benchmarks."""
    monkeypatch.syspath_prepend(str(FOLDER))
    return importlib.import_module


@pytest.fixture
def grids():
    """Return the tables of a Markdown text, each a list of rows of cells."""

    def split(text):
        found, last = [], ""
        for line in text.splitlines():
            if line.startswith("|"):
                if not last.startswith("|"):
                    found.append([])
                found[-1].append([cell.strip() for cell in line.strip("|").split("|")])
            last = line
        return found

    return split


@pytest.fixture
def read():
    """Return a JSON file's content."""
    return lambda path: json.loads(path.read_text(encoding="utf-8"))
