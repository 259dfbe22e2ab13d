"""Start programs on MPI ranks."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest


class Result(NamedTuple):
    code: int
    out: str
    err: str


def launcher():
    # of the environment's own MPI, if it has one: mpi4py loads that library first
    return shutil.which("mpirun", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]))


class Job:
    """An mpirun of a Python program, in a process group of its own so that nothing of it can be left."""

    def __init__(self, arguments, folder, ranks):
        command = [launcher(), "-n", str(ranks)]
        version = subprocess.run([command[0], "--version"], capture_output=True, text=True, timeout=300).stdout
        if "Open MPI" in version:
            command += ["--oversubscribe", "--bind-to", "none"] + ["--allow-run-as-root"] * (os.geteuid() == 0)
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
        self.process = subprocess.Popen(
            [*command, sys.executable, *arguments], cwd=folder, env=environment, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True, start_new_session=True,
        )  # fmt: skip

    def end(self, timeout=600):
        """Wait for the end; fail if it does not come."""
        try:
            out, err = self.process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            self.kill()
            out, err = self.process.communicate(timeout=300)
            pytest.fail(f"still running after {timeout} s\n{out}\n{err}")
        return Result(self.process.returncode, out, err)

    def kill(self):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(20)
            os.killpg(self.process.pid, signal.SIGKILL)
