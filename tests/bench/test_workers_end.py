"""Whatever ends the command, no worker outlives it."""

import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="watches processes of Linux")

# a case ends after some seconds: so many that a busy machine interrupts before the last
SHAPES = [f"{rows}x64" for rows in range(8, 28)]
COMMAND = (
    sys.executable, "-m", "normkit", "bench", "--kernels", "--functions", "layer_norm", "--shapes", ",".join(SHAPES),
    "--peers", "numpy", "--threads", "1", "--repeats", "100000",
)  # fmt: skip


def children(pid):
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:  # it has just ended
            continue
        if int(fields[1]) == pid:
            found.append(int(path.parent.name))
    return found


@pytest.fixture
def busy(tmp_path):
    """A benchmark in the middle of a case, and descriptors of its workers."""
    file = tmp_path / "result.json"
    process = subprocess.Popen(
        [*COMMAND, "--output", str(file)], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    told = [process.stderr.readline(), process.stderr.readline()]
    assert told == ["importing\n", "1 of 40: layer_norm forward 8x64 float32\n"]
    workers = [os.pidfd_open(pid) for pid in children(process.pid)]
    assert len(workers) == 3
    yield process, workers
    process.kill()
    process.communicate()
    for descriptor in workers:
        os.close(descriptor)


def ended(workers):
    """Return whether all end within some minutes."""
    return all(select.select([descriptor], [], [], 300)[0] for descriptor in workers)


def test_interrupted(busy):
    process, workers = busy
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=300)
    assert (process.returncode, out) == (130, "") and err.splitlines()[-1] == "Error: interrupted", err
    assert "Traceback" not in err and ended(workers)


def test_killed(busy):
    process, workers = busy
    process.kill()  # it cannot end its workers, two of which sleep
    assert process.wait(300) == -signal.SIGKILL and ended(workers)
