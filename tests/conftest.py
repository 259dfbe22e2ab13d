"""Settings of the whole suite."""

import contextlib
import os
import signal
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import settings

# A job in the background of a shell ignores Ctrl-C, and so would the programs that tests start to interrupt them.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# The same examples in every run, and no limit on the time of one: the first of them may compile.
settings.register_profile("normkit", deadline=None, derandomize=True, max_examples=50, database=None)
settings.load_profile("normkit")


@pytest.fixture(autouse=True)
def seed_of_numpy():
    """Draw the same weights in every run where an estimator is given no ``random_state``, as scikit-learn does."""
    np.random.seed(0)


@pytest.fixture(scope="session")
def compiled(tmp_path_factory):
    """Compile what commands need before the first of them runs, once for all workers that test at the same time."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    with open(folder / "compiled", "a+") as mark:
        with contextlib.suppress(ImportError):
            import fcntl  # not on Windows, where each worker may compile

            fcntl.flock(mark, fcntl.LOCK_EX)
        mark.seek(0)
        if not mark.read():
            subprocess.run([sys.executable, "-m", "normkit", "warmup"], check=True, capture_output=True, timeout=1800)
            mark.write("yes")


@pytest.fixture
def own_threads():
    """Give Numba and BLAS back the threads that they had; a worker of the benchmark sets them for its process."""
    import numba
    import threadpoolctl

    before = numba.get_num_threads()
    with threadpoolctl.threadpool_limits(None):
        yield
    numba.set_num_threads(before)


@pytest.fixture
def table(tmp_path):
    """Two separable classes of 45 rows: table.csv, whose label column is `kind`."""
    random = np.random.default_rng(0)
    y = np.arange(90) % 2
    X = random.normal(size=(90, 3)) + 4 * y[:, None]
    lines = [f"{a:.3f},{b:.3f},{'yes' if label else 'no'},{c:.3f}" for (a, b, c), label in zip(X, y)]
    (tmp_path / "table.csv").write_text("\n".join(["a,b,kind,c", *lines]) + "\n")
    return tmp_path / "table.csv"
