"""Bad input is one clear line on stderr and exit code 2, never a traceback."""

import os
import struct
from typing import NamedTuple

import numpy as np
import pytest
from click.testing import CliRunner
from normkit_cli.main import main


@pytest.fixture
def normkit(tmp_path, monkeypatch):
    """Run the command in the test's folder and in this process: a hundred of their own take minutes."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        done = CliRunner().invoke(main, [str(argument) for argument in arguments], catch_exceptions=False)
        return Result(done.exit_code, done.stdout, done.stderr)

    return run


class Result(NamedTuple):
    code: int
    out: str
    err: str


def is_one_line(result, *words):
    assert "Traceback" not in result.err
    assert result.err.count("\n") == 1, result.err
    assert result.err.startswith("Error: ")
    for word in words:
        assert word in result.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--batch-sizes", "0"], ["--batch-sizes", "at least 1, got 0"]),
        (["--batch-sizes", "8,-1"], ["--batch-sizes", "at least 1, got -1"]),
        (["--batch-sizes", "8,1"], ["batches of 2 samples at least", "--batch-sizes", "--norms"]),
        (["--batch-sizes", "8,x"], ["--batch-sizes", "'8,x'", "whole numbers like 8,32,128"]),
        (["--batch-sizes", "8,1.5"], ["'8,1.5'", "whole numbers"]),
        (["--batch-sizes", ""], ["--batch-sizes", "''", "whole numbers"]),
        (["--batch-sizes", "8,"], ["'8,'", "whole numbers"]),
        (["--norms", "batch,nope"], ["--norms", "'nope'", "none, batch, layer"]),
        (["--norms", ""], ["--norms", "''"]),
        (["--hidden", "64,0"], ["--hidden", "at least 1"]),
        (["--seeds", "0"], ["--seeds", "x>=1"]),
        (["--epochs", "0"], ["--epochs", "x>=1"]),
        (["--learning-rate", "0"], ["--learning-rate", "0<x"]),
        (["--learning-rate", "nan"], ["--learning-rate", "not a finite number"]),
        (["--learning-rate", "inf"], ["--learning-rate", "not a finite number"]),
        (["--dropout", "1"], ["--dropout", "x<1"]),
        (["--activation", "nope"], ["--activation", "'nope'", "relu, elu"]),
        (["--nope"], ["--nope"]),
        (["surplus"], ["surplus"]),
        (["--dataset", "nope"], ["unknown dataset 'nope'", "digits, iris", ".csv, .parquet"]),
        (["--dataset", "table.csv"], ["which column of", "table.csv is the label", "--target NAME"]),
        (["--dataset", "missing.csv", "--target", "kind"], ["cannot read missing.csv", "No such file"]),
        (["--dataset", "folder.csv", "--target", "kind"], ["cannot read", "folder.csv: Is a directory"]),
        (["--dataset", "table.csv", "--target", "nope"], ["no column 'nope'", "a, b, kind, c"]),
        (["--dataset", "table.csv", "--target", "a", "--task", "classification"], ["table.csv"]),
        (["--target", "kind"], ["--target", "digits brings its own labels"]),
        (["--data-dir", "folder.csv"], ["--data-dir", "digits"]),
        (
            ["--dataset", "fashion-mnist", "--data-dir", "folder.csv"],
            ["apt-get install dataset-fashion-mnist"],
        ),
        (["--output", "table.csv"], ["cannot write to the output directory table.csv", "it is a file"]),
        (["--output", "table.csv/below"], ["cannot write to the output directory", "Not a directory"]),
    ],
    ids=lambda value: " ".join(value).replace("/", ":") if value and value[0].startswith("-") else "",
)
def test_compare(normkit, table, tmp_path, arguments, words):
    (tmp_path / "folder.csv").mkdir()
    result = normkit("compare", *arguments)
    assert result.code == 2 and result.out == ""
    is_one_line(result, *words)


ROWS = b"1,no\n2,yes\n" * 5


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("empty.csv", b"", ["one row of data"]),
        ("header.csv", b"a,kind\n", ["one row of data"]),
        ("garbage.csv", bytes(range(256)) * 9, ["not a CSV file in UTF-8"]),
        ("nan.csv", b"a,kind\nnan,no\n" + ROWS, ["nan.csv, line 2, column 'a': the value is missing"]),
        ("inf.csv", b"a,kind\ninf,no\n" + ROWS, ["inf.csv, line 2, column 'a': inf is infinity"]),
        (
            "missing.csv",
            b"a,kind\n,no\n" + ROWS,
            ["line 2, column 'a': the value is missing", "--missing impute"],
        ),
        ("ragged.csv", b"a,kind\n1\n" + ROWS, ["line 2: 1 values, but 2 column names"]),
        ("one_class.csv", b"a,kind\n" + b"1,no\n" * 9, ["two classes", "1 class, the smallest of 9 rows"]),
        ("rare.csv", b"a,kind\n3,maybe\n" + ROWS, ["the smallest of 1 rows"]),
        ("empty.npz", b"", ["not an NPZ file"]),
        ("garbage.npz", bytes(range(256)) * 9, ["not an NPZ file"]),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_files(normkit, tmp_path, name, content, words):
    (tmp_path / name).write_bytes(content)
    result = normkit("compare", "--dataset", name, "--target", "kind")
    assert result.code == 2 and result.out == ""
    is_one_line(result, name, *words)


def test_truncated_archive(normkit, tmp_path):
    np.savez(tmp_path / "a.npz", X=np.ones((9, 2)), kind=np.arange(9) % 2)
    content = (tmp_path / "a.npz").read_bytes()
    (tmp_path / "a.npz").write_bytes(content[: len(content) // 2])
    result = normkit("compare", "--dataset", "a.npz", "--target", "kind")
    assert result.code == 2
    is_one_line(result, "a.npz", "not an NPZ file")


@pytest.mark.parametrize("content", [b"", b"\x1f\x8b\x08\x00\x00", b"\0\0\x08\x03" + struct.pack(">3I", 60, 28, 28)])
def test_truncated_images(normkit, tmp_path, content):
    for stem in ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1"):
        (tmp_path / f"{stem}-ubyte").write_bytes(content)
    result = normkit("train", "--dataset", "fashion-mnist", "--data-dir", ".")
    assert result.code == 2
    is_one_line(result, "cannot read", "train-images-idx3-ubyte")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read and write everything")
def test_permissions(normkit, table, tmp_path):
    (tmp_path / "locked").mkdir(mode=0o500)
    is_one_line(normkit("compare", "--output", "locked"), "locked: Permission denied")
    table.chmod(0)
    is_one_line(normkit("compare", "--dataset", "table.csv", "--target", "kind"), "Permission denied")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--batch-size", "0"], ["--batch-size"]),
        (["--batch-size", "1"], ["batches of 2 samples at least", "--batch-size", "--norm layer"]),
        (["--batch-size", "1", "--norm", "none", "--normalize-input"], ["batches of 2 samples at least"]),
        (["--norm", "nope"], ["--norm", "'nope'"]),
        (["--seed", "-1"], ["--seed"]),
        (["--seed", str(2**32)], ["--seed"]),
        (["--plot", "curves.jpg"], ["--plot", "curves.jpg", ".png"]),
        (["--plot", "table.csv/curves.png"], ["cannot write", "table.csv"]),
        (["--dataset", "nope"], ["unknown dataset 'nope'"]),
    ],
    ids=lambda value: " ".join(value).replace("/", ":") if value and value[0].startswith("-") else "",
)
def test_train(normkit, table, arguments, words):
    result = normkit("train", *arguments)
    assert result.code == 2 and result.out == ""
    is_one_line(result, *words)


def test_unknown_command(normkit):
    result = normkit("nope")
    assert result.code == 2
    is_one_line(result, "'nope'")


def test_divergence_of_the_only_model_is_a_failure(normkit, table):
    result = normkit(
        "train",
        "--dataset",
        table,
        "--target",
        "kind",
        "--norm",
        "none",
        "--batch-size",
        "8",
        "--learning-rate",
        "1e30",
    )
    assert result.code == 1
    *notes, error = result.err.splitlines()
    assert all(line.startswith("Note: ") for line in notes)
    assert error == "Error: training diverged in epoch 1; lower --learning-rate"


@pytest.mark.parametrize("command", [("compare", "--norms"), ("train", "--norm")])
def test_groups_that_do_not_fit(normkit, table, command):
    name, option = command
    result = normkit(name, "--dataset", "table.csv", "--target", "kind", "--hidden", "16,12", option, "group")
    assert result.code == 2
    assert result.err == "Error: --norm-groups 8 must divide a layer of 12 into groups of at least 2 features\n"


@pytest.mark.parametrize("command", [("compare", "--norms"), ("train", "--norm")])
def test_layers_of_one_that_a_norm_makes_constant(normkit, table, command):
    name, option = command
    result = normkit(name, "--dataset", "table.csv", "--target", "kind", "--hidden", "4,1", option, "layer")
    assert (result.code, result.err) == (
        2, "Error: layer normalization makes a layer of 1 constant: it needs 2 features at least\n",
    )  # fmt: skip


@pytest.mark.parametrize("norm", ["ghost", "renorm"])
@pytest.mark.parametrize("command", [("compare", "--norms", "--batch-sizes"), ("train", "--norm", "--batch-size")])
def test_batches_of_one_for_the_kin_of_batch_norm(normkit, table, command, norm):
    name, option, batch = command
    result = normkit(name, "--dataset", "table.csv", "--target", "kind", option, norm, batch, "1")
    assert result.code == 2 and "batches of 2 samples at least" in result.err
