"""The examples in the docstrings."""

import doctest
import sys

import pytest

import normkit.functional

FUNCTIONS = normkit.functional.__all__


@pytest.mark.parametrize("name", FUNCTIONS)
def test_examples(name):
    function = getattr(normkit, name)
    finder, runner = doctest.DocTestFinder(recurse=False), doctest.DocTestRunner()
    for case in finder.find(function, name, module=sys.modules[function.__module__]):
        runner.run(case)
    failed, attempted = runner.summarize()
    assert attempted > 1 and failed == 0
