"""normkit compare: the table, the verdicts, the files, the manners."""

import csv
import json
import os
import signal
import subprocess
import sys

import numpy as np
import pytest

SMALL = ("--target", "kind", "--hidden", "4", "--epochs", "2", "--seeds", "2")


def rows(output):
    """The cells of the printed table."""
    return [[cell.strip() for cell in line.split("│")[1:-1]] for line in output.splitlines() if "│" in line]


def test_table_and_one_verdict_per_batch_size(normkit, table):
    result = normkit("compare", "--dataset", "table.csv", *SMALL, "--batch-sizes", "32,8")
    assert result.code == 0 and result.err == ""
    assert result.out.startswith("table.csv: epochs 2, seeds 2, learning rate 0.001 at every batch size\n")
    cells = rows(result.out)
    assert [cell[:2] for cell in cells] == [
        ["32", "none"], ["32", "batch"], ["32", "layer"], ["8", "none"], ["8", "batch"], ["8", "layer"],
    ]  # fmt: skip
    for _, _, accuracy, loss, milliseconds, diverged in cells:
        mean, width = map(float, accuracy.split(" ± "))
        assert 0 <= mean <= 1 and width > 0 and float(loss) > 0 and float(milliseconds) > 0
        assert diverged == "0/2"
    last = result.out.splitlines()[-2:]
    assert last[0].startswith("Batch size 32: ") and last[1].startswith("Batch size 8: ")
    assert "\x1b" not in result.out


def test_output_directory(normkit, table, tmp_path):
    result = normkit(
        "compare", "--dataset", "table.csv", *SMALL, "--batch-sizes", "8", "--norms", "none,batch",
        "--output", "made/here",
    )  # fmt: skip
    assert result.code == 0
    assert result.err == "Wrote results.json, results.csv, accuracy.png and curves.png to made/here\n"
    folder = tmp_path / "made" / "here"
    assert sorted(os.listdir(folder)) == ["accuracy.png", "curves.png", "results.csv", "results.json"]
    document = json.loads((folder / "results.json").read_text())
    assert document["config"] == {
        "dataset": "table.csv", "batch_sizes": [8], "norms": ["none", "batch"], "seeds": 2, "epochs": 2,
        "hidden": [4], "activation": "relu", "kernel_initializer": "he_normal", "norm_position": "before",
        "norm_momentum": 0.9, "norm_groups": 8, "virtual_batch_size": 32, "dropout": 0.0, "learning_rate": 0.001,
    }  # fmt: skip
    assert document["verdicts"][0]["sentence"] == result.out.splitlines()[-1]
    assert [len(run["curves"]) for run in document["runs"]] == [2] * 4
    with open(folder / "results.csv", newline="") as file:
        lines = list(csv.DictReader(file))
    assert [float(line["test_accuracy"]) for line in lines] == [r["test_accuracy"] for r in document["runs"]]
    for name in ("accuracy.png", "curves.png"):
        assert (folder / name).read_bytes().startswith(b"\x89PNG")


def test_quick_is_the_default_of_what_is_not_given(normkit, table):
    arguments = ("compare", "--dataset", "table.csv", "--target", "kind", "--norms", "none", "--quick")
    assert "epochs 5, seeds 2" in normkit(*arguments).out
    assert "epochs 1, seeds 2" in normkit(*arguments, "--epochs", "1").out


def test_same_command_same_numbers(normkit, table):
    arguments = ("compare", "--dataset", "table.csv", *SMALL, "--batch-sizes", "16")
    first, again = (normkit(*arguments).out for _ in range(2))
    without_time = [[cell[:4] for cell in rows(output)] for output in (first, again)]
    assert without_time[0] == without_time[1]
    assert first.splitlines()[-1] == again.splitlines()[-1]


def test_batches_beyond_the_training_set_become_one(normkit, table):
    result = normkit("compare", "--dataset", "table.csv", *SMALL, "--batch-sizes", "8,100,200", "--norms", "none")
    assert [cell[0] for cell in rows(result.out)] == ["8", "54"]
    assert result.err == "Note: larger batches than the 54 training samples become one batch of all.\n"


def test_single_samples_are_a_batch_for_the_others(normkit, table):
    result = normkit("compare", "--dataset", "table.csv", *SMALL, "--batch-sizes", "1", "--norms", "none,layer")
    assert result.code == 0 and result.err == "" and len(rows(result.out)) == 2


def test_divergence_is_shown_in_its_cell(normkit, table):
    result = normkit("compare", "--dataset", "table.csv", *SMALL, "--learning-rate", "1e30", "--norms", "none")
    assert result.code == 0
    assert rows(result.out)[0] == ["8", "none", "-", "-", "-", "2/2"]
    assert "Batch size 8: every run diverged." in result.out


def test_npz_of_images(normkit, tmp_path):
    y = np.arange(60) % 3
    np.savez(tmp_path / "images.npz", pixels=np.random.default_rng(0).normal(size=(60, 4, 4)), kind=y)
    result = normkit("compare", "--dataset", "images.npz", *SMALL, "--batch-sizes", "8")
    assert result.code == 0 and len(rows(result.out)) == 3


def process(tmp_path, *arguments, **environment):
    return subprocess.Popen(
        [sys.executable, "-m", "normkit", *arguments], cwd=tmp_path, env={**os.environ, **environment},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def test_ascii_output_has_no_traceback(table, tmp_path):
    running = process(
        tmp_path, "compare", "--dataset", "table.csv", *SMALL, "--batch-sizes", "8", PYTHONIOENCODING="ascii"
    )
    out, err = running.communicate(timeout=300)
    assert running.returncode == 0 and err == b""
    out.decode("ascii")


@pytest.mark.parametrize("command", ["compare", "train"])
def test_broken_pipe_has_no_traceback(table, tmp_path, command):
    arguments = [option for option in SMALL if command == "compare" or option not in ("--seeds", "2")]
    running = process(tmp_path, command, "--dataset", "table.csv", *arguments)
    running.stdout.close()
    err = running.stderr.read()
    running.stderr.close()
    running.wait(timeout=300)
    assert b"Traceback" not in err and b"Exception" not in err


def test_ctrl_c_ends_with_130_and_no_traceback(table, tmp_path):
    running = process(
        tmp_path,
        "train",
        "--dataset",
        "table.csv",
        "--target",
        "kind",
        "--batch-size",
        "8",
        "--epochs",
        "1000000",
    )
    for _ in range(3):  # the third line comes from the middle of training
        running.stdout.readline()
    running.send_signal(signal.SIGINT)
    err = running.communicate(timeout=300)[1]
    assert running.returncode == 130
    assert err.strip() == b"Error: interrupted"
