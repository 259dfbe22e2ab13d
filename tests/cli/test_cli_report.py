"""``normkit report``: what compare wrote becomes a report again, and errors are a line."""

import json
import shutil

import pytest

# one process: starting others would take most of the time
GRID = ("--epochs", "2", "--seeds", "2", "--hidden", "8", "--norm-groups", "4", "--jobs", "1", "--quiet")


@pytest.fixture
def results(normkit, table):
    """The folder of an experiment, named results."""
    done = normkit(
        "compare", "--dataset", "table.csv", "--target", "kind", "--batch-sizes", "8,16", "--norms", "none,batch",
        "--lr-scaling", "linear", *GRID, "--output", "results",
    )  # fmt: skip
    assert done.code == 0, done.err
    return table.parent / "results"


def contents(folder):
    """Files as bytes: equals are told apart, and sums made, in the order of the grid, here as there."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_same_report_again_without_the_data(normkit, results):
    before = contents(results)
    assert "report.html" in before and "plots/score.svg" in before
    (results / "report.html").unlink()
    shutil.rmtree(results / "plots")
    for name in ("summary.json", "results.csv"):
        (results / name).unlink()
    (results.parent / "table.csv").unlink()
    done = normkit("report", "results")
    assert (done.code, done.out.split()) == (0, ["results/report.html"])
    assert done.err == "8 runs; wrote report.html and 6 plots to results\n"
    assert contents(results) == before
    assert b"in proportion to the batch size" in before["report.html"]


def test_two_folders_become_one(normkit, results):
    done = normkit(
        "compare", "--dataset", "table.csv", "--target", "kind", "--batch-sizes", "8", "--norms", "none,layer",
        "--lr-scaling", "linear", *GRID, "--output", "more",
    )  # fmt: skip
    assert done.code == 0, done.err
    refused = normkit("report", "results", "more")
    assert refused.code == 2 and refused.err.startswith("Error: several directories need --output DIR")
    done = normkit("report", "results", "more", "--output", "both")
    assert done.code == 0 and done.err.startswith("10 runs;")
    page = (results.parent / "both" / "report.html").read_text("utf-8")
    assert "2 runs are in more than one folder and were counted once" in page and "layer" in page
    summary = json.loads((results.parent / "both" / "summary.json").read_text())
    assert {cell["choice"] for cell in summary["cells"]} == {"none", "batch", "layer"}

    done = normkit("report", "results", "more", "--output", "results")
    assert done.code == 2 and "--output results holds runs of its own" in done.err

    other = normkit("compare", "--norms", "none", "--batch-sizes", "256", *GRID, "--output", "digits")
    assert other.code == 0, other.err
    done = normkit("report", "results", "digits", "--output", "mixed")
    assert done.code == 2 and "differ in their data" in done.err and not (results.parent / "mixed").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "Missing argument 'DIR...'"),
        (("missing",), "cannot read missing/results.jsonl"),
        (("table.csv",), "cannot read table.csv/results.jsonl"),
        (("broken",), "broken/results.jsonl, line 1 is not a run"),
    ],
)
def test_errors_are_one_line(normkit, table, arguments, message):
    broken = table.parent / "broken"
    broken.mkdir()
    (broken / "results.jsonl").write_text("[]\n")
    done = normkit("report", *arguments)
    assert done.code == 2 and message in done.err and done.err.count("\n") == 1 and done.out == ""
