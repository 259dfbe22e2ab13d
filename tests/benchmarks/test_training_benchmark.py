"""The benchmark of the training step: every engine learns what the reference learns; no time is asserted."""

import signal
from importlib.util import find_spec

import pytest
from slow import nightly

pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="workers are stopped by a signal")

PEERS = {"torch": ("torch", "torch-fused"), "jax": ("jax",), "tensorflow": ("keras-32",)}


@pytest.fixture
def train(script, read, tmp_path):
    """Time some engines on few rows of the digits, and return their rows of the file and what was printed."""

    def run(*engines):
        file = tmp_path / "training.json"
        shown = script(
            "training.py", "--dataset", "digits", "--network", "64-16-10", "--rows", 320, "--batch-sizes", 32,
            "--threads", 1, "--steps", 4, "--repeats", 2, "--check-epochs", 2, "--keep-caches",
            "--engines", ",".join(engines), "--output", file,
        )  # fmt: skip
        rows = read(file)["batches"]["32"]
        assert {name: row["error"] for name, row in rows.items() if "error" in row} == {}
        assert all(len(row["step_s"]) == 2 and min(row["step_s"]) > 0 for row in rows.values())
        return rows, shown

    return run


@nightly
def test_quick_run(train):
    rows, shown = train("numpy", "normkit-fit")
    # the fit draws and shuffles for itself, the same in every run
    assert 0 < rows["normkit-fit"]["loss"] < 2 * rows["numpy"]["loss"]
    assert all("compile_s" in row and 0 < row["accuracy"] <= 1 for row in rows.values())
    assert "NumPy, written out" in shown and "normkit, whole fit" in shown


@pytest.mark.parametrize("library", PEERS)
def test_peers_learn_the_same(train, library):
    if find_spec(library) is None:  # not imported here, which takes seconds
        pytest.skip(f"{library} is not installed")
    rows, _ = train("numpy", "normkit", *PEERS[library])
    reference = rows.pop("numpy")
    for name, row in rows.items():
        assert row["loss"] == pytest.approx(reference["loss"], rel=1e-3), name
        assert row["accuracy"] == pytest.approx(reference["accuracy"], abs=0.01), name
