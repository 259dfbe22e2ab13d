"""The names that the command line offers without importing the engine are the engine's."""

from normkit_cli import options

from normkit.engine.initializers import KERNELS
from normkit.engine.norms import NORMS
from normkit.math.activations import CODES


def test_names_are_those_of_the_registries():
    assert set(options.ACTIVATIONS) == set(CODES)
    assert set(options.KERNEL_INITIALIZERS) == set(KERNELS)
    assert set(options.NORMS) == {name or "none" for name in NORMS}
    assert set(options.BATCH_NORMS) == {name for name, norm in NORMS.items() if norm.moving}
