"""The gradient of whole networks against central finite differences."""

import itertools

import numba
import numpy as np
import pytest
from differences import central_differences

from normkit.engine.rows import rows_of
from normkit.engine.trainer import Trainer
from normkit.math.activations import CODES as ACTIVATIONS

SAMPLES, SIZES = 7, (3, 5, 4, 3)
OUTPUTS = ["softmax", "logistic", "identity", "exp"]
NORMS = [(None, "before"), ("batch", "before"), ("batch", "after"), ("layer", "before"), ("layer", "after")]
# every activation with every norm, place and input; the output function and the weights vary beside them
CASES = [
    pytest.param(activation, *norm, normalize_input, OUTPUTS[i % 4], i % 3 == 0, id=f"{activation}-{norm}-{i}")
    for i, (activation, norm, normalize_input) in enumerate(itertools.product(ACTIVATIONS, NORMS, [False, True]))
]
# a central difference is wrong by step**2 times a third derivative (1e2 where a norm has four values) and by
# rounding / step = 1e-10
STEP, TOLERANCE = 2e-6, 1e-8


def assert_gradient_is_right(network, targets, weight=None, n_threads=1):
    X = np.random.default_rng(2).normal(size=(SAMPLES, network.sizes[0]))
    rows, owner = rows_of(X)
    total = SAMPLES if weight is None else weight.sum()
    trainer = Trainer(network, "accumulate", total_weight=float(total), norm_momentum=1.0)
    order, edges = np.arange(SAMPLES), np.array([0, SAMPLES])

    # scikit-learn's squared error is averaged over the outputs, its gradient is not
    factor = network.sizes[-1] if network.output == "identity" else 1

    def loss(n_threads=1):
        return factor * trainer.run(rows, targets, weight, order, edges, n_threads)

    trainer.first[...] = 0
    # on threads the gradient alone: a step of theirs takes milliseconds where there are more of them than cores
    of_threads = loss(n_threads)
    gradient = trainer.first.copy()
    np.testing.assert_allclose(loss(), of_threads, rtol=1e-12)
    indices = network.trainable()
    if numba.config.DISABLE_JIT:  # a step takes a hundred times as long
        indices = indices[::7]
        gradient[np.setdiff1d(np.arange(gradient.size), indices)] = 0
    numeric = central_differences(network.params, indices, loss, STEP)
    assert np.abs(numeric).max() > 1e-3
    np.testing.assert_allclose(gradient, numeric, rtol=0, atol=TOLERANCE * max(1, np.abs(numeric).max()))


@pytest.mark.parametrize("activation, norm, position, normalize_input, output, weighted", CASES)
def test_every_activation_and_norm(
    activation, norm, position, normalize_input, output, weighted, make_network, make_targets
):
    network = make_network(SIZES, output, activation, norm, position, normalize_input)
    weight = np.random.default_rng(3).uniform(0.2, 2, SAMPLES) if weighted else None
    assert_gradient_is_right(network, make_targets(output, SAMPLES, SIZES[-1]), weight)


@pytest.mark.parametrize("n_threads", [1, 3])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("norm, position", NORMS)
@pytest.mark.parametrize("output", OUTPUTS)
def test_every_output_with_weights_on_threads(
    output, norm, position, weighted, n_threads, make_network, make_targets, any_size
):
    network = make_network(SIZES, output, "tanh", norm, position, True)
    weight = np.random.default_rng(3).integers(0, 3, SAMPLES).astype(float) if weighted else None
    assert_gradient_is_right(network, make_targets(output, SAMPLES, SIZES[-1]), weight, n_threads)


@pytest.mark.parametrize("n_threads", [1, 3])
@pytest.mark.parametrize("normalize_input", [False, True])
@pytest.mark.parametrize("norm", [None, "batch", "layer"])
@pytest.mark.parametrize("sizes", [(3, 2), (1, 1, 1), (2, 1, 3, 2)])
def test_smallest_networks(sizes, norm, normalize_input, n_threads, make_network, make_targets, any_size):
    network = make_network(sizes, "identity", "tanh", norm, "after", normalize_input)
    assert_gradient_is_right(network, make_targets("identity", SAMPLES, sizes[-1]), n_threads=n_threads)
