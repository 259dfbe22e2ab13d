"""Machine code on disk, damaged: a function gives the same numbers, compiled anew where it must be."""

import os
import subprocess
import sys

import numpy as np
import pytest

from normkit import _jit

CASES = int(os.environ.get("NORMKIT_CACHE_TRUNCATIONS", 20))

PROGRAM = """
import sys
import numpy as np
from normkit.engine.losses import mean_loss

print("ready", flush=True)
sys.stdin.readline()  # all begin at once
p = np.full((4, 2), 0.5)
print(mean_loss(2, p, np.zeros((4, 2)), np.empty(0)), sum(mean_loss.stats.cache_hits.values()))
"""


def square_of_norm(x):
    total = 0.0
    for value in x:
        total += value * value
    return total


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(_jit, "cache_directory", lambda: str(tmp_path))
    return tmp_path


def call():
    """What a new process does: make the function, and load or compile it. Returns whether it was loaded."""
    function = _jit.entry(square_of_norm)
    assert function(np.array([1.0, 2.0, 3.0])) == 14.0
    return sum(function.stats.cache_hits.values()) == 1


def test_random_truncations(folder):
    """Files that end anywhere, alone or together: NORMKIT_CACHE_TRUNCATIONS asks for more than 20 cases."""
    assert not call() and call()
    whole = {path: path.read_bytes() for path in folder.rglob("*.nb?")}
    assert {path.suffix for path in whole} == {".nbi", ".nbc"}
    rng, recovered = np.random.default_rng(0), 0
    for _ in range(CASES):
        for path in folder.rglob("*.nb?"):
            path.unlink()
        damaged = [path for path in whole if rng.random() < 0.5] or list(whole)
        for path, content in whole.items():
            path.write_bytes(content[: rng.integers(len(content))] if path in damaged else content)
        assert not call()  # compiled anew
        recovered += call()  # and kept
    assert recovered == CASES


def test_a_full_disk(folder, monkeypatch):
    """No room for the files: the function works, and nothing half-written is left that a later process trips over."""
    written = os.replace

    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    assert not call() and not call()
    monkeypatch.setattr(os, "replace", written)
    assert not call() and call()


def test_processes_that_compile_at_once(tmp_path):
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    pipe = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}

    def start():
        return subprocess.Popen([sys.executable, "-c", PROGRAM], env=environment, **pipe)

    running = [start() for _ in range(3)]
    assert [process.stdout.readline() for process in running] == ["ready\n"] * 3
    for process in running:
        process.stdin.write("\n")
        process.stdin.flush()
    for process in running:
        output, errors = process.communicate(timeout=300)
        assert process.returncode == 0 and output.split()[0] == "0.125", errors
    assert start().communicate("\n", timeout=300)[0].split() == ["ready", "0.125", "1"]
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and path.suffix not in (".nbi", ".nbc")]
