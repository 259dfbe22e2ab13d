"""The command line in a folder of its own.

It runs in the test's process: to start Python and import what a command needs takes seconds. What is about processes,
signals, pipes and the environment starts some itself.
"""

from typing import NamedTuple

import pytest
from click.testing import CliRunner
from normkit_cli.main import main


class Result(NamedTuple):
    code: int
    out: str
    err: str


@pytest.fixture
def normkit(tmp_path, monkeypatch):
    """Run the command in the test's folder."""

    def run(*arguments):
        with monkeypatch.context() as patch:
            patch.chdir(tmp_path)
            done = CliRunner().invoke(main, list(map(str, arguments)), prog_name="normkit", catch_exceptions=False)
        return Result(done.exit_code, done.stdout, done.stderr)

    return run


@pytest.fixture(scope="session", autouse=True)
def quiet(compiled):
    """Compile before any test: the first command to do so says it on stderr."""
