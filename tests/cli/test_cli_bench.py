"""``normkit bench`` as a user meets it; no time is asserted.

Where not what the processes do is looked at, all is measured in this one: to start them takes seconds.
"""

import csv
import io
import json
import os
import re
import subprocess
import sys
from dataclasses import replace

import pytest
from crew_here import Here

from normkit.bench import run, suite

SMALL = (
    "bench", "--kernels", "--functions", "layer_norm", "--shapes", "4x8", "--peers", "numpy", "--threads", "1",
    "--repeats", "3", "--quick",
)  # fmt: skip


@pytest.fixture
def here(monkeypatch, own_threads):
    monkeypatch.setattr(run, "Crew", Here)


@pytest.fixture
def old(here, normkit, tmp_path):
    """An earlier result, and its name."""
    result = normkit(*SMALL, "--output", "old.json", "--quiet")
    assert result.code == 0 and result.err == ""
    return tmp_path / "old.json"


def scaled(file, factor):
    """Make a file's times of normkit so many times what they are."""
    result = json.loads(file.read_text())
    for case in result["cases"]:
        row = case["peers"]["normkit"]
        row["us"] = [factor * value for value in row["us"]]
    file.write_text(json.dumps(result))


def test_table_and_progress(normkit):
    result = normkit(*SMALL)
    assert result.code == 0, result.err
    assert result.err.splitlines()[0] == "importing" and "2 of 2: layer_norm backward 4x8 float32" in result.err
    for words in ("Norms forward, 1 thread", "NumPy ÷", "GB/s", "of copy", "4x8"):
        assert words in result.out
    assert "\x1b" not in result.out + result.err


def test_training_alone(here, normkit, monkeypatch):
    (small, large), asked = suite.training_cases(quick=True), []
    assert (small.name, large.name) == ("64-64-64-10", "784-256-128-64-10")
    # the reference of the large one takes seconds
    monkeypatch.setattr(suite, "training_cases", lambda quick: asked.append(quick) or [replace(small, steps=4)])
    result = normkit("bench", "--training", "--quick", "--peers", "numpy", "--threads", "1", "--repeats", "3")
    assert result.code == 0, result.err
    assert "64-64-64-10" in result.out and "Norms" not in result.out and asked == [True]


def test_csv_says_that_it_has_no_comparison(normkit, old):
    result = normkit(*SMALL, "--quiet", "--format", "csv", "--compare", old)
    assert result.err == "Note: CSV has no place for the comparison; the other formats have.\n"
    assert normkit(*SMALL, "--quiet", "--format", "csv").err == ""


def test_json_holds_what_was_measured(normkit, old):
    result = normkit(*SMALL, "--format", "json", "--compare", old)
    shown, kept = json.loads(result.out), json.loads(old.read_text())
    assert shown["schema"] == 1 and set(shown) - set(kept) == {"comparison"}
    assert shown["machine"] == kept["machine"] and {"normkit", "numba", "numpy"} <= set(shown["versions"])
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", kept["date"])
    assert [case["key"] for case in shown["comparison"]["cases"]] == [case["key"] for case in kept["cases"]]
    assert all(len(case["peers"]["normkit"]["us"]) == 3 for case in kept["cases"])


def test_csv_has_a_row_for_each_case_and_peer(here, normkit):
    rows = list(csv.DictReader(io.StringIO(normkit(*SMALL, "--format", "csv").out)))
    assert [(row["case"].split()[1], row["peer"]) for row in rows] == [
        (direction, peer) for direction in ("forward", "backward") for peer in ("normkit", "numpy", "copy")
    ]
    for row in rows:
        assert 0 < float(row["us_p20"]) <= float(row["us_p50"]) <= float(row["us_p80"])
    assert [float(row["ratio_p50"]) for row in rows if row["peer"] == "normkit"] == [1.0, 1.0]


def test_markdown(here, normkit):
    lines = normkit(*SMALL, "--format", "markdown").out.splitlines()
    assert lines[0] == "**Norms forward, 1 thread**"
    assert lines[2].startswith("| function | shape | normkit µs |") and lines[4].count("|") == lines[2].count("|")
    assert lines[-1].startswith("- ")


def test_slower_than_before(normkit, old):
    scaled(old, 1e-3)
    result = normkit(*SMALL, "--quiet", "--compare", old, "--fail-slower-than", "1.2")
    assert result.code == 1 and result.err.count("\n") == 1
    assert result.err.startswith("Error: slower than 1.2 times ")
    assert "layer_norm forward 4x8 float32" in result.err and "layer_norm backward 4x8 float32" in result.err
    assert result.out.count("slower") == 2
    # without a limit it is told, and no failure
    assert normkit(*SMALL, "--quiet", "--compare", old).code == 0


def test_faster_than_before(normkit, old):
    scaled(old, 1e3)
    result = normkit(*SMALL, "--quiet", "--compare", old, "--fail-slower-than", "1.2")
    assert result.code == 0 and result.err == "" and result.out.count("faster") >= 2


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--functions", "weight_norm"], "'weight_norm' is not one of layer_norm"),
        (["--shapes", "64"], "'64' is not rows like 4096x768"),
        (["--shapes", "1x64"], "each at least 2"),
        (["--shapes", "4x8x2"], "images like 16x64x32x32"),
        (["--functions", "layer_norm", "--shapes", "2x4x3x3"], "nothing to time: layer_norm on 2x4x3x3"),
        (["--dtypes", "float16"], "'float16' is not one of float32, bfloat16"),
        (["--peers", "tensorflow"], "'tensorflow' is not one of"),
        (["--peers", "liger"], "--peers liger needs --device cuda"),
        (["--threads", "9999"], "--threads: 9999 threads: this process may use"),
        (["--repeats", "0"], "--repeats"),
        (["--output", "result.txt"], "'result.txt' is not the name of a .json file"),
        (["--output", "folder.json"], "folder.json is a folder"),
        (["--compare", "none.json"], "none.json cannot be read: No such file"),
        (["--compare", "bad.json"], "bad.json is not JSON"),
        (["--fail-slower-than", "1.2"], "--fail-slower-than needs --compare"),
        (["--compare", "bad.json", "--fail-slower-than", "nan"], "--fail-slower-than"),
        (["--device", "cuda", "--threads", "2"], "--threads is for the CPU"),
        (["--device", "cuda", "--functions", "group_norm"], "--functions group_norm: with --device cuda one of"),
        (["--device", "cuda", "--peers", "jax"], "--peers jax: with --device cuda one of"),
    ],
)
def test_wrong_usage_is_a_line_before_anything_runs(normkit, tmp_path, arguments, words):
    (tmp_path / "folder.json").mkdir()
    (tmp_path / "bad.json").write_text("{")
    result = normkit("bench", *arguments)
    assert result.code == 2 and result.out == "" and result.err.count("\n") == 1, result
    assert result.err.startswith("Error: ") and words in result.err


def test_a_terminal_without_colour(tmp_path):
    pty = pytest.importorskip("pty")
    parent, child = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "normkit", *SMALL, "--quiet"], cwd=tmp_path, stdout=child, stderr=subprocess.PIPE,
        env={**os.environ, "NO_COLOR": "1", "TERM": "xterm", "COLUMNS": "80"},
    )  # fmt: skip
    os.close(child)
    written = b""
    while True:
        try:
            part = os.read(parent, 4096)
        except OSError:  # the other side is closed
            break
        if not part:
            break
        written += part
    assert process.communicate()[1] == b"" and process.returncode == 0
    text = re.sub(r"\x1b\[[013]?m", "", written.decode())  # bold and italics are no colours
    assert "\x1b" not in text and max(map(len, text.splitlines())) <= 80


def test_the_gpu_that_is_missing_is_a_line(normkit, tmp_path):
    torch = None
    try:
        import torch
    except ImportError:
        pass
    if torch and torch.cuda.is_available():
        pytest.skip("nothing is missing")
    result = normkit("bench", "--device", "cuda", "--output", "gpu.json")
    assert result.code == 2 and result.out == "" and result.err.count("\n") == 1
    assert result.err.startswith("Error: --device cuda needs ") and list(tmp_path.iterdir()) == []


def test_dry_run_of_the_gpu(tmp_path):
    pytest.importorskip("torch")

    def normkit(*arguments):  # a process, whose stderr the worker writes to
        command = [sys.executable, "-m", "normkit", *arguments]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)

    dry = ("bench", "--device", "cuda", "--dry-run", "--kernels", "--functions", "rms_norm")
    first = normkit(*dry, "--output", "gpu.json")
    assert first.returncode == 0, first.stderr
    assert "rms_norm, forward" in first.stdout and "dry run" in first.stdout and "kernels: " in first.stderr
    kept = json.loads((tmp_path / "gpu.json").read_text())
    assert kept["kind"] == "gpu" and kept["quick"] and "training" not in kept["sections"]
    again = normkit(*dry, "--quiet", "--compare", "gpu.json", "--format", "json")
    assert again.returncode == 0 and again.stderr == ""
    assert {case["key"] for case in json.loads(again.stdout)["comparison"]["cases"]} == set(
        kept["sections"]["kernels"]["cases"]
    )
    refused = normkit(*SMALL, "--compare", "gpu.json")  # before anything runs
    assert refused.returncode == 2 and refused.stderr == "Error: gpu.json is a result of another device\n"
