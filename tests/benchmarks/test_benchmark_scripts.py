"""What all benchmarks have in common."""

from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks"
SCRIPTS = ("training.py", "rows.py", "norms.py", "accuracy.py", "compare.py", "false_alarms.py", "soak.py", "table.py")


@pytest.mark.parametrize("name", SCRIPTS)
def test_help_needs_no_peer(script, name):
    assert "Usage:" in script(name, "--help")


def test_tables_are_those_of_the_results(script):
    script("table.py", "--check", *sorted((FOLDER / "results").glob("*.json")))


def test_every_script_is_in_the_readme():
    text = (FOLDER / "README.md").read_text(encoding="utf-8")
    for name in SCRIPTS:
        assert f"python benchmarks/{name}" in text
