"""Tables of results on terminals of any width and height."""

import io
from dataclasses import replace

import pytest
from normkit_cli import live, tables
from rich.console import Console

from normkit.experiments.records import Condition, Run, run_id

HEADS = [("batch", True), ("norm", False), ("test accuracy", True), ("validation loss", True), ("best", True),
         ("ms/epoch", True)]  # fmt: skip
ROWS = [["8", "batch after", "0.9761 ± 0.0072", "0.0879", "0.62 =", "4.3"],
        ["128", "none", "0.9467 ± 0.0126  div 1/5", "0.1991", "-", "113.7"]]  # fmt: skip


def shown(renderable, width, height=40):
    console = Console(file=io.StringIO(), width=width, height=height)
    console.print(renderable)
    return console.file.getvalue()


@pytest.mark.parametrize("width", [200, 100, 82, 70, 60])
def test_no_cell_is_cut(width):
    text = shown(tables.rich_table(HEADS, ROWS, width), width)
    assert max(map(len, text.splitlines())) <= width and "…" not in text
    dropped = sum(ROWS[1][i] not in text for i in (3, 5))
    assert dropped == 0 if width > 82 else dropped <= 2
    for row in ROWS:
        assert all(cell in text for cell in row[:3])


def test_the_answer_is_left_out_last():
    left_out = [tables.rich_table(HEADS, ROWS, width).columns for width in (100, 72, 60, 40)]
    names = ["ms/epoch", "validation loss", "best"]
    there = [[" ".join(str(column.header).split()) for column in columns] for columns in left_out]
    assert [[name for name in names if name in each] for each in there] == [names, names[1:], names[2:], []]


def test_the_widest_table_has_its_headings_in_one_line():
    assert "test accuracy" in shown(tables.rich_table(HEADS, ROWS, 200), 200)


def test_markdown_escapes_what_would_end_a_cell():
    assert tables.markdown([("a", False)], [["x|y"]]) == "| a |\n| --- |\n| x\\|y |\n"


def run(condition, seed, status="ok"):
    name = run_id(condition, seed)
    done = Run(name, condition, seed, 0, status, "accuracy", 10, seconds=0.2)
    return replace(done, test_score=0.9, validation_loss=0.1) if status == "ok" else replace(done, error="diverged")


CONDITIONS = [Condition(norm, batch_size=size) for size in (2, 4, 8, 16, 32) for norm in ("none", "batch", "layer")]


@pytest.mark.parametrize("height", [14, 20, 24, 30, 60])
@pytest.mark.parametrize("last", [0, 7, 14])
def test_the_live_table_fits_and_shows_what_changed_last(height, last):
    console = Console(file=io.StringIO(), width=90, height=height)
    table = live.LiveTable(console, CONDITIONS, [], 30, "accuracy")
    table.add(run(CONDITIONS[last], 0))
    text = shown(table._render(), 90, height)
    assert len(text.splitlines()) <= height and " 0.9000 " in text and "1/30 runs" in text
    hidden = len(CONDITIONS) - text.count("/2 │")
    assert (f"… and {hidden} more of 15 rows" in text) is (hidden > 0) and (hidden == 0) is (height > 29)


def test_the_live_table_tells_what_diverged_and_what_was_done_before():
    console = Console(file=io.StringIO(), width=90, height=60)
    before = [run(CONDITIONS[0], 0, "diverged"), run(CONDITIONS[0], 1)]
    text = shown(live.LiveTable(console, CONDITIONS, before, 30, "accuracy")._render(), 90, 60)
    assert "0.9000  div 1" in text and "2/30 runs" in text and "2/2" in text and "left" not in text
