"""The names that the command line offers without importing the engine are the engine's."""

import pytest
from normkit_cli import compare, options

from normkit.engine.initializers import KERNELS
from normkit.engine.norms import NORMS
from normkit.experiments import grid
from normkit.experiments.running import backends
from normkit.math.activations import CODES


def test_names_are_those_of_the_registries():
    assert set(options.ACTIVATIONS) == set(CODES)
    assert set(options.KERNEL_INITIALIZERS) == set(KERNELS)
    assert set(options.NORMS) == {name or "none" for name in NORMS}
    assert set(options.BATCH_NORMS) == {name for name, norm in NORMS.items() if norm.moving}


def choices(name):
    param = next(param for param in compare.compare.params if param.name == name)
    return set(param.type.choices)


@pytest.mark.parametrize(
    ("option", "known"),
    [
        ("backend", backends.BACKENDS), ("lr_scaling", grid.LR_SCALING), ("budget", grid.BUDGETS),
    ],
)  # fmt: skip
def test_choices_of_compare_are_those_of_the_experiments(option, known):
    assert choices(option) == set(known)


def test_defaults_of_the_grid_are_those_of_the_flags():
    plain = vars(grid.Grid())
    shared = [param for param in compare.compare.params if param.name in plain]
    assert len(shared) == len(plain)
    for param in shared:
        value = compare.compare.make_context("compare", []).params[param.name]
        assert (list(value) if isinstance(value, tuple) else value) == plain[param.name], param.name
