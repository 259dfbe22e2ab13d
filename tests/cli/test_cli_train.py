"""normkit train: a line an epoch, parameter counts, test scores, curves; and what help and version say."""

import re
import struct

import numpy as np
import pytest

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
    assert result.err == "Wrote plots/curves.png\n"
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
    assert result.err == "Note: --batch-size 64 is cut to the 32 training samples.\n"
    assert f"Total parameters: {total}\n" in result.out
    assert f"Non-trainable parameters: {fixed}\n" in result.out


def test_seed_decides(normkit, table):
    def scores(seed):
        out = normkit("train", "--dataset", "table.csv", "--target", "kind", "--epochs", "1", "--seed", seed).out
        return re.sub(r"\d+\.\d\d s", "", out)

    assert scores(1) == scores(1) != scores(2)


def test_version(normkit):
    assert normkit("--version").out == f"normkit, version {__version__}\n"


@pytest.mark.parametrize("option", ["-h", "--help"])
@pytest.mark.parametrize("command", [(), ("compare",), ("train",)])
def test_help_shows_an_example(normkit, command, option):
    result = normkit(*command, option)
    assert result.code == 0 and result.err == ""
    assert re.search(rf"^ +normkit {' '.join(command)}", result.out, re.MULTILINE)


def test_no_command_shows_help(normkit):
    result = normkit()
    assert result.code == 2 and "compare" in result.err + result.out
