"""SECURITY.md names tests: they are there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NAMED = re.findall(r"`([\w/]+\.py)(?:::(\w+))?`", (ROOT / "SECURITY.md").read_text(encoding="utf-8"))


@pytest.mark.parametrize("file, function", NAMED)
def test_named_tests_exist(file, function):
    found = [path for folder in ("tests", "benchmarks") for path in (ROOT / folder).rglob("*.py")
             if str(path).endswith("/" + file)]  # fmt: skip
    assert len(found) == 1
    assert f"def {function}" in found[0].read_text(encoding="utf-8")


def test_every_promise_names_one():
    assert len(NAMED) > 25
    for line in (ROOT / "SECURITY.md").read_text(encoding="utf-8").splitlines():
        if line.startswith("| ") and line not in ("| promise | test |", "| what | seen |"):
            assert re.search(r"`[\w/]+\.py", line), line
