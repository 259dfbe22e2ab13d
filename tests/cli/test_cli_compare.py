"""normkit compare: the table, the verdicts, the formats, the manners."""

import csv
import json
import os
import signal
import subprocess
import sys

import numpy as np
import pytest
from click.testing import CliRunner
from normkit_cli import compare

from normkit.experiments.running import backends, one_run

# one process: starting others would take most of the time
SMALL = ("--target", "kind", "--hidden", "4", "--epochs", "2", "--seeds", "2", "--jobs", "1")


def rows(output):
    """The cells of the printed table."""
    return [[cell.strip() for cell in line.split("│")[1:-1]] for line in output.splitlines() if "│" in line]


def test_table_and_one_verdict_per_batch_size(normkit, table):
    result = normkit("compare", "--dataset", "table.csv", *SMALL, "--batch-sizes", "32,8")
    assert result.code == 0
    first, *_ = result.out.splitlines()
    assert first.startswith("table.csv: epochs 2, seeds 2, learning rate 0.001 at every batch size, adam")
    cells = rows(result.out)
    assert [cell[:2] for cell in cells] == [
        ["32", "none"], ["32", "batch"], ["32", "layer"], ["8", "none"], ["8", "batch"], ["8", "layer"],
    ]  # fmt: skip
    for _, _, accuracy, loss, _, milliseconds in cells:
        mean, width = map(float, accuracy.split(" ± "))
        assert 0 <= mean <= 1 and width > 0 and float(loss) > 0 and float(milliseconds) > 0
    sentences = [line for line in result.out.splitlines() if line.startswith("Batch size ")]
    assert sentences[0].startswith("Batch size 32: ") and sentences[1].startswith("Batch size 8: ")
    assert "\x1b" not in result.out + result.err


def test_progress_is_a_line_a_run_on_stderr(normkit, table):
    arguments = ("compare", "--dataset", "table.csv", *SMALL, "--batch-sizes", "8", "--norms", "none,batch")
    result = normkit(*arguments)
    lines = [line for line in result.err.splitlines() if not line.startswith("Note: ")]
    assert len(lines) == 4
    assert lines[0].startswith("[1/4] batch size 8, none, seed 0: test accuracy ") and lines[0].endswith(" s)")
    assert lines[3].startswith("[4/4] batch size 8, batch, seed 1: ")
    quiet = normkit(*arguments, "--quiet")
    assert quiet.err == ""
    without_time = [[cell[:5] for cell in rows(output)] for output in (result.out, quiet.out)]
    assert without_time[0] == without_time[1]


def test_formats(normkit, table):
    arguments = ("compare", "--dataset", "table.csv", *SMALL, "--batch-sizes", "8", "--norms", "none,batch", "--quiet")
    document = json.loads(normkit(*arguments, "--format", "json").out)
    assert document["experiment"]["norms"] == ["none", "batch"] and document["metric"] == "accuracy"
    assert document["notes"][:2] == ["epochs 2", "learning rate 0.001 at every batch size"]
    lines = list(csv.DictReader(normkit(*arguments, "--format", "csv").out.splitlines()))
    assert [line["choice"] for line in lines] == ["none", "batch"]
    assert [float(line["test_score"]) for line in lines] == [cell["test_score"] for cell in document["cells"]]
    markdown = normkit(*arguments, "--format", "markdown").out.splitlines()
    assert markdown[2].startswith("| batch | norm | test accuracy |") and markdown[3].startswith(
        "| ---: | --- | ---: |"
    )
    assert markdown[4].startswith(f"| 8 | none | {document['cells'][0]['test_score']:.4f} ")
    assert f"- {document['verdicts'][0]['sentence']}" in markdown


def test_every_list_of_the_grid_and_its_older_name(normkit, table):
    result = normkit(
        "compare", "--dataset", "table.csv", *SMALL, "--batch-sizes", "8", "--norms", "layer", "--positions",
        "before,after", "--learning-rate", "0.01,0.1", "--activation", "relu,elu", "--hidden", "4,3", "--dropout",
        "0,0.5", "--kernel-initializer", "sklearn,orthogonal", "--seeds", "1", "--epochs", "1", "--format", "csv",
        "--quiet",
    )  # fmt: skip
    lines = list(csv.DictReader(result.out.splitlines()))
    assert len(lines) == 2**6
    assert {line["hidden"] for line in lines} == {"4", "4-3"} and {line["choice"] for line in lines} == {
        "layer", "layer after",
    }  # fmt: skip


def test_factors_beside_norm_and_batch_size_have_a_column(normkit, table):
    result = normkit(
        "compare", "--dataset", "table.csv", *SMALL, "--batch-sizes", "8", "--norms", "none", "--hidden", "4,3",
        "--learning-rates", "0.01,0.1",
    )  # fmt: skip
    heads = [cell.strip() for cell in result.out.splitlines()[2].split("┃")[1:-1]]
    assert heads == ["batch", "hidden", "learning rate", "norm", "test accuracy", "validation loss", "best", "ms/epoch"]
    assert [cell[1:3] for cell in rows(result.out)] == [["4", "0.01"], ["4", "0.1"], ["4-3", "0.01"], ["4-3", "0.1"]]


def test_the_rules_are_stated(normkit, table):
    result = normkit(
        "compare", "--dataset", "table.csv", *SMALL, "--batch-sizes", "8,32", "--norms", "none", "--lr-scaling",
        "sqrt", "--budget", "updates", "--updates", "20", "--solver", "sgd", "--weight-decay", "0.01",
    )  # fmt: skip
    assert result.out.splitlines()[0] == (
        "table.csv: as many whole epochs as 20 updates take (3 at batch size 8, 10 at batch size 32), seeds 2, "
        "learning rate 0.001 at batch size 8, in proportion to the square root of the batch size (0.001 at 8, 0.002 "
        "at 32), sgd with momentum 0.9, weight decay 0.01"
    )


def test_quick_is_the_default_of_what_is_not_given(normkit, table):
    arguments = ("compare", "--dataset", "table.csv", "--target", "kind", "--norms", "none", "--quick", "--jobs", "1")
    assert "epochs 5, seeds 2" in normkit(*arguments).out
    assert "epochs 1, seeds 2" in normkit(*arguments, "--epochs", "1").out


def test_quick_is_quick_with_a_preset_that_counts_updates():
    values = compare.compare.make_context("compare", ["--preset", "bn-paper", "--quick"]).params
    assert (values["budget"], values["epochs"], values["seeds"]) == ("epochs", 5, 2)
    values = compare.compare.make_context("compare", ["--preset", "bn-paper", "--quick", "--budget", "updates"]).params
    assert (values["budget"], values["updates"]) == ("updates", 50_000)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--updates", "9"], "--updates is for --budget updates"),
        (["--base-batch-size", "8"], "--base-batch-size is for --lr-scaling or --budget updates"),
        (["--preset", "bn-paper", "--updates", "9", "--budget", "epochs"], "--updates is for --budget updates"),
    ],
)
def test_options_that_would_change_nothing_are_refused(normkit, arguments, message):
    result = normkit("compare", *arguments)
    assert result.code == 2 and message in result.err


@pytest.mark.parametrize(
    "arguments",
    [
        ["--budget", "updates", "--updates", "2"], ["--budget", "updates", "--base-batch-size", "32", "--epochs", "1"],
        ["--lr-scaling", "sqrt", "--base-batch-size", "8", "--epochs", "1"],
        ["--preset", "group-norm", "--lr-scaling", "none", "--epochs", "1"],
    ],
)  # fmt: skip
def test_options_that_change_something_are_taken(normkit, table, arguments):
    result = normkit("compare", "--dataset", "table.csv", "--target", "kind", *arguments, "--batch-sizes", "32",
                     "--norms", "none", "--hidden", "4", "--seeds", "1", "--jobs", "1")  # fmt: skip
    assert result.code == 0, result.err


def test_columns_in_a_file_that_are_numbers(tmp_path):
    (tmp_path / "c.toml").write_text("drop = [2019, 2020]\nhidden = [8, 4]\n")
    values = compare.compare.make_context("compare", ["--config", str(tmp_path / "c.toml")]).params
    assert list(values["drop"]) == ["2019", "2020"] and list(values["hidden"]) == [[8, 4]]


def test_processes_change_no_number(normkit, table):
    arguments = ("compare", "--dataset", "table.csv", *SMALL, "--batch-sizes", "16", "--format", "json")
    one, two = (json.loads(normkit(*arguments, "--jobs", jobs).out) for jobs in "12")
    for document in (one, two):
        for cell in document["cells"]:
            del cell["seconds_per_epoch"]
    assert one == two


def test_batches_beyond_the_training_set_become_one(normkit, table):
    result = normkit("compare", "--dataset", "table.csv", *SMALL, "--batch-sizes", "8,100,200", "--norms", "none")
    assert [cell[0] for cell in rows(result.out)] == ["8", "54"]
    assert "Note: larger batches than the 54 training samples become one batch of all.\n" in result.err


def test_single_samples_are_a_batch_for_the_others(normkit, table):
    result = normkit("compare", "--dataset", "table.csv", *SMALL, "--batch-sizes", "1", "--norms", "none,layer")
    assert result.code == 0 and len(rows(result.out)) == 2


def test_divergence_is_shown_in_its_cell(normkit, table):
    result = normkit(
        "compare", "--dataset", "table.csv", *SMALL, "--learning-rate", "1e38", "--norms", "none", "--batch-sizes", "8"
    )
    assert result.code == 0
    assert rows(result.out)[0][:4] == ["8", "none", "div 2/2", "-"]
    assert "seed 0: diverged in epoch 1 (" in result.err


def test_regression(normkit, tmp_path):
    result = normkit(
        "compare", "--dataset", "friedman1", "--quick", "--norms", "none", "--batch-sizes", "32", "--jobs", 1
    )
    assert result.code == 0 and "test R²" in result.out and "test R² " in result.err


def test_npz_of_images(normkit, tmp_path):
    y = np.arange(60) % 3
    np.savez(tmp_path / "images.npz", pixels=np.random.default_rng(0).normal(size=(60, 4, 4)), kind=y)
    result = normkit("compare", "--dataset", "images.npz", *SMALL, "--batch-sizes", "8")
    assert result.code == 0 and len(rows(result.out)) == 3


def test_published_figures_stand_beside(normkit, table):
    result = normkit("compare", "--dataset", "table.csv", "--target", "kind", "--quick", "--preset", "group-norm",
                     "--hidden", "16", "--batch-sizes", "8,32", "--jobs", "1", "--quiet")  # fmt: skip
    assert result.code == 0 and "Published: Wu and He 2018" in result.out
    beside = rows(result.out)[-10:]
    assert beside[0][:3] == ["32", "batch", "23.6"] and beside[4] == ["2", "batch", "34.7", "-"]
    for size, norm, _, here in beside:
        score = [cell[2] for cell in rows(result.out)[:8] if cell[:2] == [size, norm]]
        assert here == (f"{100 * (1 - float(score[0].split(' ')[0])):.1f}" if score else "-")


def test_a_preset_gives_way_to_flags(normkit, table):
    result = normkit("compare", "--dataset", "table.csv", *SMALL, "--preset", "ghost", "--batch-sizes", "8", "--quiet",
                     "--format", "json")  # fmt: skip
    values = json.loads(result.out)["experiment"]
    assert (values["hidden"], values["batch_sizes"], values["epochs"]) == ([[4]], [8], 2)
    assert (values["solver"], values["lr_scaling"], values["norms"]) == ("sgd", "sqrt", ["batch", "ghost"])


def test_benefits_on_request(normkit, table):
    arguments = ("compare", "--dataset", "table.csv", *SMALL, "--batch-sizes", "8", "--norms", "none,batch", "--quiet")
    benefits = json.loads(normkit(*arguments, "--format", "json").out)["benefits"]
    assert benefits
    shown = normkit(*arguments, "--benefits").out
    assert all(" ".join(benefit["sentence"].split()) in shown for benefit in benefits if "ms" not in benefit["unit"])


def failing_perform(*arguments):
    run = one_run.perform(*arguments)
    if run.seed == 1:
        run.status, run.error, run.test_score = "failed", "MemoryError: none left", None
    return run


def test_failed_runs_are_told_and_end_with_1(table, tmp_path, monkeypatch):
    monkeypatch.setattr(backends, "perform", failing_perform)
    arguments = ["--dataset", str(table), *SMALL, "--batch-sizes", "8", "--norms", "none,batch", "--output"]
    done = CliRunner().invoke(compare.compare, [*arguments, str(tmp_path / "out")])
    assert done.exit_code == 1
    assert "2 of 4 runs failed, MemoryError: none left; normkit compare --resume" in done.stderr
    assert "failed 1/2" in done.stdout and (tmp_path / "out" / "summary.json").exists()


def test_workers_that_are_killed_again_and_again_are_a_failure(table, tmp_path, monkeypatch):
    def lost(*arguments):
        raise backends.WorkersLost("worker processes were killed 3 times, with no run ended")
        yield

    monkeypatch.setattr(backends, "loky", lost)
    arguments = ["--dataset", str(table), *SMALL, "--jobs", "2", "--output", str(tmp_path / "out")]
    done = CliRunner().invoke(compare.compare, arguments)
    assert done.exit_code == 1 and "killed 3 times" in done.stderr and "--resume" in done.stderr


def process(tmp_path, *arguments, **environment):
    return subprocess.Popen(
        [sys.executable, "-m", "normkit", *arguments], cwd=tmp_path, env={**os.environ, **environment},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def test_ascii_output_has_no_traceback(table, tmp_path):
    running = process(
        tmp_path, "compare", "--dataset", "table.csv", *SMALL, "--batch-sizes", "8", "--quiet", PYTHONIOENCODING="ascii"
    )
    out, err = running.communicate(timeout=300)
    assert running.returncode == 0 and err == b""
    out.decode("ascii")


def test_a_broken_pipe_has_no_traceback(table, tmp_path):
    running = process(tmp_path, "compare", "--dataset", "table.csv", *SMALL, "--output", "out")
    running.stdout.close()
    err = running.stderr.read()
    running.stderr.close()
    assert running.wait(timeout=300) == 141
    assert b"Traceback" not in err and b"Exception" not in err
    # what nobody reads is no reason to lose what was found
    assert {"summary.json", "results.csv", "report.html"} <= {path.name for path in (tmp_path / "out").iterdir()}


def test_colours_on_a_terminal_unless_they_are_not_wanted(table, tmp_path):
    pty = pytest.importorskip("pty")
    shown = []
    for environment in ({}, {"NO_COLOR": "1"}):
        master, slave = pty.openpty()
        variables = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "140", "LINES": "40", **environment}
        running = subprocess.Popen(
            [sys.executable, "-m", "normkit", "compare", "--dataset", "table.csv", *SMALL, "--batch-sizes", "8"],
            cwd=tmp_path, env=variables, stdout=slave, stderr=slave, stdin=slave,
        )  # fmt: skip
        os.close(slave)
        text = b""
        while True:
            try:
                text += os.read(master, 4096)
            except OSError:  # nobody has the other end open any more
                break
        os.close(master)
        assert running.wait(timeout=300) == 0
        shown.append(text.decode())
    assert "6/6 runs" in shown[0] and "elapsed" in shown[0]
    assert "\x1b[1m" in shown[0] or "\x1b[3" in shown[0]
    assert not any(f"\x1b[{code}" in shown[1] for code in ("31m", "32m", "33m", "34m", "35m", "36m", "38;"))


def test_ctrl_c_without_a_folder_ends_with_130_and_no_traceback(table, tmp_path):
    runs = ("--norms", "none", "--batch-sizes", "2", "--epochs", "100", "--seeds", "100")
    running = process(tmp_path, "compare", "--dataset", "table.csv", *SMALL, *runs)
    while b"[  1/100]" not in running.stderr.readline():  # from here on epochs are in progress
        assert running.poll() is None
    running.send_signal(signal.SIGINT)
    err = running.communicate(timeout=300)[1]
    assert running.returncode == 130
    last = err.strip().splitlines()[-1]
    assert last == b"Error: interrupted" and b"Traceback" not in err
