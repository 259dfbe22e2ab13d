"""normkit train: a line an epoch, parameter counts, test scores, curves; and what help and version say."""

import json
import os
import re
import signal
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import normkit as normkit_package
from normkit import __version__

EPOCH = re.compile(
    r"Epoch (\d)/2 +\d+\.\d\d s  loss \d\.\d{4}  accuracy [01]\.\d{4}  "
    r"val_loss \d\.\d{4}  val_accuracy [01]\.\d{4}"
)


def test_lines_and_plot(normkit, table, tmp_path):
    result = normkit(
        "train", "--dataset", "table.csv", "--target", "kind", "--hidden", "4,5", "--epochs", "2",
        "--batch-size", "16", "--plot", "plots/curves.png",
    )  # fmt: skip
    assert result.code == 0
    lines = result.out.splitlines()
    assert lines[0] == "table.csv: 54 training, 18 validation, 18 test samples of 3 features"
    assert [EPOCH.fullmatch(line)[1] for line in lines[1:3]] == ["1", "2"]
    assert re.fullmatch(r"Test loss \d\.\d{4}  accuracy [01]\.\d{4}", lines[-1])
    assert result.err.splitlines()[-1] == "Wrote plots/curves.png"
    assert all(line.startswith("Note: ") for line in result.err.splitlines()[:-1])
    assert (tmp_path / "plots" / "curves.png").read_bytes().startswith(b"\x89PNG")


def fashion(folder):
    random = np.random.default_rng(0)
    for name, rows in (("train", 40), ("t10k", 10)):
        images, labels = (
            random.integers(0, 256, (rows, 28, 28), dtype=np.uint8),
            np.arange(rows, dtype=np.uint8) % 10,
        )
        head = b"\0\0\x08\x03" + struct.pack(">3I", rows, 28, 28)
        (folder / f"{name}-images-idx3-ubyte").write_bytes(head + images.tobytes())
        (folder / f"{name}-labels-idx1-ubyte").write_bytes(b"\0\0\x08\x01" + struct.pack(">I", rows) + labels.tobytes())


# the course page's networks and counts
COURSE = ("--hidden", "256,128,64")
DEEP = ("--hidden", "300,300", "--normalize-input")


@pytest.mark.parametrize(
    ("options", "total", "fixed"),
    [
        ((*COURSE, "--norm", "batch"), "244,106", "896"),
        ((*COURSE, "--norm", "none"), "242,762", "0"),
        ((*DEEP, "--norm-position", "after"), "334,346", "2,768"),
        ((*DEEP, "--norm-position", "before"), "333,746", "2,768"),
    ],
)
def test_parameter_counts_of_the_course(normkit, tmp_path, options, total, fixed):
    fashion(tmp_path)
    result = normkit(
        "train",
        "--dataset",
        "fashion-mnist",
        "--data-dir",
        ".",
        "--activation",
        "elu",
        "--epochs",
        "1",
        *options,
    )
    assert result.code == 0, result.err
    assert "32 training, 8 validation, 10 test samples of 784 features" in result.out
    assert result.err.endswith("Note: --batch-size 64 is cut to the 32 training samples.\n")
    assert f"Total parameters: {total}\n" in result.out
    assert f"Non-trainable parameters: {fixed}\n" in result.out


def test_seed_decides(normkit, table):
    def scores(seed):
        out = normkit("train", "--dataset", "table.csv", "--target", "kind", "--epochs", "1", "--seed", seed).out
        return re.sub(r"\d+\.\d\d s", "", out)

    assert scores(1) == scores(1) != scores(2)


@pytest.fixture
def prices(tmp_path):
    """A regression of 120 rows, prices.csv, with a column of text and one that says nothing."""
    random = np.random.default_rng(0)
    size, town = random.normal(size=120), np.array(["Rom", "Oslo"])[np.arange(120) % 2]
    price = 300 + 40 * size + 25 * (town == "Rom")
    lines = [f"{a:.4f},{b},{c:.3f},{i}" for i, (a, b, c) in enumerate(zip(size, town, price))]
    (tmp_path / "prices.csv").write_text("\n".join(["size,town,price,number", *lines]) + "\n")
    return "prices.csv"


def test_regression(normkit, prices, tmp_path):
    result = normkit(
        "train", "--dataset", prices, "--target", "price", "--drop", "number", "--epochs", "60", "--learning-rate",
        "0.01", "--batch-size", "8", "--output", "out",
    )  # fmt: skip
    assert result.code == 0, result.err
    assert "r2 " in result.out and "val_r2 " in result.out
    assert float(re.search(r"Test loss \d\.\d{4}  r2 (.*)", result.out)[1]) > 0.8
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "model.safetensors", "run.json", "curves.png", "confusion.png",
    }  # fmt: skip
    run = json.loads((tmp_path / "out" / "run.json").read_text())
    assert run["metric"] == "r2" and len(run["curves"]["val_loss"]) == 60 and run["status"] == "ok"
    assert run["environment"]["versions"]["normkit"] == __version__


def test_the_run_is_that_of_compare(normkit, table, tmp_path):
    data = ("--dataset", "table.csv", "--target", "kind", "--epochs", "3")
    one = normkit("train", *data, "--norm", "layer", "--batch-size", "8", "--seed", "0", "--output", "one")
    many = normkit(
        "compare", *data, "--norms", "layer", "--batch-sizes", "8", "--seeds", "1", "--jobs", "1", "--output", "many"
    )
    assert one.code == many.code == 0, one.err + many.err
    record = json.loads((tmp_path / "one" / "run.json").read_text())
    found = json.loads((tmp_path / "many" / "results.jsonl").read_text().splitlines()[0])
    assert record["run_id"] == found["run_id"]
    assert record["test_loss"] == pytest.approx(found["test_loss"], rel=1e-6)
    assert record["curves"]["loss"] == pytest.approx(found["curves"]["loss"], rel=1e-6)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--save", "."), ["--save", "is a folder"]),
        (("--save", "table.csv/model"), ["cannot write", "table.csv"]),
        (("--confusion", "matrix.svg"), ["--confusion", ".png"]),
        (("--output", "table.csv"), ["cannot write to the output directory table.csv", "it is a file"]),
        (("--task", "regression"), ["table.csv", "numbers"]),
    ],
)
def test_wrong_places(normkit, table, options, words):
    result = normkit("train", "--dataset", "table.csv", "--target", "kind", *options)
    assert result.code == 2 and result.out == "" and result.err.count("\n") == 1
    assert all(word in result.err for word in words), result.err


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device of Linux")
@pytest.mark.parametrize("option", ["--save", "--plot"])
def test_a_full_disk(normkit, table, tmp_path, option):
    (tmp_path / "full.png").symlink_to("/dev/full")
    result = normkit("train", "--dataset", "table.csv", "--target", "kind", "--epochs", "1", option, "full.png")
    assert result.code == 1
    assert "No space left on device" in result.err and "Traceback" not in result.err


def test_version(normkit):
    assert normkit("--version").out == f"normkit, version {__version__}\n"


def test_no_command_shows_help(normkit):
    result = normkit()
    assert result.code == 2 and "compare" in result.err + result.out


def test_ctrl_c_leaves_the_model_of_the_last_epoch(table):
    command = [sys.executable, "-m", "normkit", "train", "--dataset", "table.csv", "--target", "kind", "--hidden", "4",
               "--epochs", "100000", "--output", "run"]  # fmt: skip
    with subprocess.Popen(
        command, cwd=table.parent, text=True, bufsize=1, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    ) as running:  # fmt: skip
        while not running.stdout.readline().startswith("Epoch      2/"):
            assert running.poll() is None
        running.send_signal(signal.SIGINT)
        out, err = running.communicate(timeout=300)
    assert running.returncode == 130 and "Traceback" not in err
    trained = int(re.search(r"Training was interrupted after epoch (\d+) of 100000\.", err)[1])
    record = json.loads((table.parent / "run" / "run.json").read_text())
    assert 2 <= trained == len(record["curves"]["loss"]) < 100_000
    model, _ = normkit_package.load(table.parent / "run" / "model.safetensors", return_metadata=True)
    assert trained <= model.n_iter_ <= trained + 1  # the interrupt may have come while an epoch was measured
    assert (table.parent / "run" / "curves.png").exists()


@pytest.mark.parametrize("command", [("train",), ("compare", "--norms", "none", "--seeds", "1", "--jobs", "1")])
def test_names_of_columns_do_not_write_to_the_terminal(normkit, tmp_path, command):
    lines = [f"{i},{'' if i % 5 == 0 else i},{'ab'[i % 2]}\n" for i in range(60)]
    (tmp_path / "esc.csv").write_text("x,\x1b[31mred\x1b[0m,y\n" + "".join(lines))
    result = normkit(*command, "--dataset", "esc.csv", "--target", "y", "--missing", "impute", "--epochs", "1")
    assert result.code == 0, result.err
    assert (
        "missing values: 12, in \N{REPLACEMENT CHARACTER}[31mred" in result.err
        and "\x1b" not in result.err + result.out
    )
