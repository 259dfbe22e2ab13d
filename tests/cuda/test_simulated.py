"""Every kernel on Numba's simulator: the tests in tests/cuda/simulated, each file in a process of its own.

Numba decides at its import whether a kernel is compiled or simulated, and this process has imported it. The time
limit is for a shuffle that some thread of a team never comes to.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

FILES = sorted(Path(__file__).with_name("simulated").glob("test_*.py"))
SECONDS = 600


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_on_the_simulator(path):
    command = [sys.executable, "-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider", "--no-header", "--tb=short"]
    environment = {**os.environ, "NUMBA_ENABLE_CUDASIM": "1"}
    environment.pop("PYTEST_XDIST_WORKER", None)
    # NumPy's scalars, which the simulator computes with, warn where a GPU's registers overflow
    command += ["-W", "ignore::RuntimeWarning", str(path)]
    try:
        child = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=SECONDS)
    except subprocess.TimeoutExpired as error:
        output = (error.stdout or b"").decode()
        pytest.fail(f"the simulator did not finish {path.name} within {SECONDS} s: {output[-4000:]}")
    if child.returncode:
        pytest.fail(f"on the simulator:\n{child.stdout[-8000:]}\n{child.stderr[-2000:]}", pytrace=False)
