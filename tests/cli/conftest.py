"""The command line as a user meets it: a process of its own, in a folder of its own."""

import subprocess
import sys
from typing import NamedTuple

import pytest


class Result(NamedTuple):
    code: int
    out: str
    err: str


@pytest.fixture
def normkit(tmp_path):
    """Run the command in the test's folder."""

    def run(*arguments):
        done = subprocess.run(
            [sys.executable, "-m", "normkit", *map(str, arguments)],
            cwd=tmp_path, capture_output=True, text=True, encoding="utf-8", timeout=300,
        )  # fmt: skip
        return Result(done.returncode, done.stdout, done.stderr)

    return run


@pytest.fixture(scope="session", autouse=True)
def compiled():
    """Compile before any test: the first command to do so says it on stderr."""
    subprocess.run([sys.executable, "-m", "normkit", "warmup"], check=True, capture_output=True, timeout=600)
