"""examples/tutorial.py in its short form: every experiment runs, and writes tables of the same form."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "docs" / "tutorial_results" / "results.json"


def write_idx(path, values):
    """Write bytes as the files of Fashion-MNIST have them."""
    header = bytes([0, 0, 8, values.ndim]) + b"".join(n.to_bytes(4, "big") for n in values.shape)
    path.write_bytes(header + values.astype(np.uint8).tobytes())


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """As many images of ten classes as the short form needs, each class with a bright row of its own."""
    folder = tmp_path_factory.mktemp("images")
    random = np.random.default_rng(0)
    for name, count in (("train", 5700), ("t10k", 300)):
        labels = random.integers(0, 10, count)
        pixels = random.integers(0, 80, (count, 28, 28))
        pixels[np.arange(count), 2 * labels] += 150
        write_idx(folder / f"{name}-images-idx3-ubyte", pixels)
        write_idx(folder / f"{name}-labels-idx1-ubyte", labels)
    return folder


def test_every_experiment_runs(images, tmp_path):
    done = subprocess.run(
        [sys.executable, "-W", "error", ROOT / "examples" / "tutorial.py", "--quick", "--data-dir", images,
         "--output", tmp_path],
        env={**os.environ, "NUMBA_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    measured = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
    shown = json.loads(RESULTS.read_text(encoding="utf-8"))
    assert shown["scale"] != measured["scale"] and shown["tables"].keys() == measured["tables"].keys()
    for name, table in measured["tables"].items():
        assert table["columns"] == shown["tables"][name]["columns"], name
        assert [row[0] for row in table["rows"]] == [row[0] for row in shown["tables"][name]["rows"]], name
        for row in table["rows"]:
            assert len(row) == len(table["columns"])
    best = max(float(row[3].split()[0]) for row in measured["tables"]["course"]["rows"])
    assert best > 0.8  # the classes can be told apart
