"""The server that workers are forked from."""

import signal
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="workers are forked on Linux alone")

EARLY = """
import os
import sys
from pathlib import Path

def inside():
    return sorted({"numba", "sklearn"} & set(sys.modules)), os.environ["OMP_NUM_THREADS"], os.getppid()

if __name__ == "__main__":
    from multiprocessing import forkserver

    from normkit.experiments.running import workers

    workers.start_early()
    assert "numba" not in sys.modules and "sklearn" not in sys.modules and os.environ["OMP_NUM_THREADS"] == "3"
    server = forkserver._forkserver._forkserver_pid
    status = Path(f"/proc/{server}/status").read_text().splitlines()
    print(next(line.split()[1] for line in status if line.startswith("SigBlk")))
    with workers.context().Pool(1) as pool:
        print(pool.apply(inside) == (["numba", "sklearn"], "1", server))
"""


def test_workers_are_forked_of_a_server_that_has_imported_and_does_not_hear_ctrl_c(tmp_path):
    script = tmp_path / "early.py"
    script.write_text(EARLY)
    environment = {"PYTHONPATH": ":".join(sys.path), "OMP_NUM_THREADS": "3"}
    done = subprocess.run([sys.executable, script], env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    blocked, right = done.stdout.split()
    assert int(blocked, 16) & 1 << signal.SIGINT - 1 and right == "True"
