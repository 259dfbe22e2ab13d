"""The mutation test's lists: what they name is there."""

import pytest
from mutation import PARTS, ROOT, UNCHANGED, copy_tree, difference, survivors


@pytest.mark.parametrize("name", PARTS)
def test_modules_and_tests_are_there(name):
    part = PARTS[name]
    for module in part.modules.split():
        assert list((ROOT / "normkit").glob(f"{module}.py")), module
    for test in part.tests.split():
        assert (ROOT / "tests" / f"{test}.py").is_file(), test


def test_survivors_and_what_they_change(tmp_path):
    path = tmp_path / "mutants" / "normkit" / "engine" / "plan.py"
    path.parent.mkdir(parents=True)
    path.write_text("def x_f__mutmut_orig(a):\n    return a + 1\ndef x_f__mutmut_2(a):\n    return a - 1\n")
    assert difference(tmp_path, "engine/plan", "normkit.engine.plan.x_f__mutmut_2") == [
        "-    return a + 1",
        "+    return a - 1",
    ]
    assert survivors({"a": 0, "b": 1, "c": 33, "d": None, "e": -24}) == ["a", "c"]


def test_what_is_left_unchanged_is_there_and_marked(tmp_path):
    copy_tree(tmp_path, PARTS["compiled"])
    for module, names in UNCHANGED.items():
        text = (tmp_path / "normkit" / f"{module}.py").read_text("utf-8")
        assert text.count("# pragma: no mutate block") == len(names.split("|")), module
    assert "@leaf" not in (tmp_path / "normkit" / "engine" / "sync.py").read_text("utf-8")
