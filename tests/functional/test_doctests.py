"""The examples in the docstrings."""

import doctest
import sys

import pytest

import normkit

FUNCTIONS = ["batch_norm", "batch_norm_backward", "layer_norm", "layer_norm_backward", "update_running"]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_examples(name):
    function = getattr(normkit, name)
    finder, runner = doctest.DocTestFinder(recurse=False), doctest.DocTestRunner()
    for case in finder.find(function, name, module=sys.modules[function.__module__]):
        runner.run(case)
    failed, attempted = runner.summarize()
    assert attempted > 1 and failed == 0
