"""Noise after a norm: the distributions that the docstring tells, exact gradients with the noise held, threads."""

import itertools

import numba
import numpy as np
import pytest
import scipy.stats
from differences import central_differences

from normkit._jit import entry
from normkit.engine.noise import perturb_row
from normkit.engine.norms import NORMS
from normkit.engine.rows import rows_of
from normkit.engine.trainer import Trainer

SIZES, SAMPLES = (6, 8, 4, 3), 11
NAMES = [name for name in NORMS if name]
STEP, TOLERANCE = 2e-6, 1e-8  # as in test_norms_in_engine


@entry
def _perturb(strength, seed, step, y, factor):  # scalars and two (units, samples)
    for row in range(y.shape[0]):
        perturb_row(strength, seed, step, row, 0, y[row], factor[row])


def draw(strength, units, samples, step=1, seed=3, value=0.0):
    """Return noise s and s * value + m, (units, samples) each."""
    y, s = np.full((units, samples), value), np.empty((units, samples))
    _perturb(strength, seed, step, y, s)
    return s, y


@pytest.mark.parametrize("c", [0.5, 1.3])
def test_distributions(c):
    units, samples = 2000, 400
    s, m = draw(c, units, samples)
    # mu and sigma of a unit are known as well as its samples tell, here to a hundredth of their range
    mu, sigma = m.mean(axis=1), s.mean(axis=1)
    assert scipy.stats.kstest(mu, scipy.stats.uniform(-c, 2 * c).cdf).pvalue > 1e-3
    assert scipy.stats.kstest(sigma, scipy.stats.uniform(1, c / 2).cdf).pvalue > 1e-3
    assert abs(np.corrcoef(mu, sigma)[0, 1]) < 4 / np.sqrt(units)
    shift, factor = (m - mu[:, None]).ravel(), (s - sigma[:, None]).ravel()
    # centred with their own means the draws spread less by 1 / samples
    correction = np.sqrt(1 - 1 / samples)
    np.testing.assert_allclose(shift.std(), correction * 0.2 * c / np.sqrt(3), rtol=5e-3)
    assert 0.19 * c < np.abs(shift).max() < 0.23 * c  # the estimate of mu is off by 0.006 c
    np.testing.assert_allclose(factor.std(), correction * 0.2 * c, rtol=5e-3)
    assert abs(scipy.stats.kurtosis(factor)) < 0.05 and abs(scipy.stats.skew(factor)) < 0.02
    assert abs(np.corrcoef(shift, factor)[0, 1]) < 4 / np.sqrt(shift.size)
    for values in (shift.reshape(s.shape), factor.reshape(s.shape)):
        assert abs(np.corrcoef(values[:-1].ravel(), values[1:].ravel())[0, 1]) < 0.005
        assert abs(np.corrcoef(values[:, :-1].ravel(), values[:, 1:].ravel())[0, 1]) < 0.01


def test_new_at_each_step_and_seed_and_linear_in_the_value():
    s, m = draw(0.5, 20, 10)
    again, _ = draw(0.5, 20, 10)
    np.testing.assert_array_equal(s, again)
    for other in (draw(0.5, 20, 10, step=2), draw(0.5, 20, 10, seed=4)):
        assert (other[0] != s).all() and (other[1] != m).all()
        assert abs(np.corrcoef(other[1].mean(axis=1), m.mean(axis=1))[0, 1]) < 0.8
    _, y = draw(0.5, 20, 10, value=3.0)
    np.testing.assert_allclose(y, 3 * s + m, rtol=1e-14)


CASES = [
    pytest.param(*case, i % 2 == 0, 1 + i % 3, id="-".join(map(str, case)))
    for i, case in enumerate(itertools.product(NAMES, ["before", "after"], [False, True], [0.0, 0.4]))
]


@pytest.mark.parametrize("norm, position, normalize_input, dropout, weighted, n_threads", CASES)
def test_gradient(norm, position, normalize_input, dropout, weighted, n_threads, make_network, make_targets, any_size):
    network = make_network(SIZES, "softmax", "tanh", norm, position, normalize_input)
    network.configure(["tanh"] * 2, [dropout] * 2, 1e-3)
    weight = np.random.default_rng(3).integers(0, 3, SAMPLES).astype(float) if weighted else None
    total = float(SAMPLES if weight is None else weight.sum())
    settings = {"renorm_r_max": 1.25, "renorm_d_max": 0.2} if norm == "renorm" else {}
    if norm == "renorm":  # r and d are constants only where they are clipped
        network.statistics.mean[...], network.statistics.var[...] = 30.0, 1e4
    trainer = Trainer(
        network, "accumulate", total_weight=total, norm_momentum=1.0, virtual_batch_size=4, norm_noise=0.5, seed=9,
        **settings,
    )  # fmt: skip
    rows, owner = rows_of(np.random.default_rng(2).normal(size=(SAMPLES, SIZES[0])))
    targets, order, edges = make_targets("softmax", SAMPLES, 3), np.arange(SAMPLES), np.array([0, SAMPLES])

    def loss(n_threads=1):
        trainer.steps = 4  # the noise of one step
        return trainer.run(rows, targets, weight, order, edges, n_threads)

    trainer.first[...] = 0
    # on threads the gradient alone: a step of theirs takes milliseconds where there are more of them than cores
    noisy = loss(n_threads)
    gradient = trainer.first.copy()
    np.testing.assert_allclose(loss(), noisy, rtol=1e-12)
    trainable = network.trainable()
    if numba.config.DISABLE_JIT:  # a step takes a hundred times as long
        trainable = trainable[::19]
        gradient[np.setdiff1d(np.arange(gradient.size), trainable)] = 0
    numeric = central_differences(network.params, trainable, loss, STEP)
    np.testing.assert_allclose(gradient, numeric, rtol=0, atol=TOLERANCE * max(1, np.abs(numeric).max()))
    trainer.settings = trainer.settings._replace(norm_noise=0.0)
    assert loss() != noisy


@pytest.mark.parametrize("norm", ["batch", "group"])
def test_same_on_any_number_of_threads(norm, make_network, make_targets, any_size):
    rows, owner = rows_of(np.random.default_rng(2).normal(size=(40, SIZES[0])))
    results = []
    for n_threads in (1, 2, 3):
        network = make_network(SIZES, "softmax", "tanh", norm, "before", True)
        trainer = Trainer(network, "sgd", learning_rate=0.1, norm_momentum=0.9, norm_noise=0.5, seed=9)
        for _ in range(3):
            trainer.run(rows, make_targets("softmax", 40, 3), None, np.arange(40), np.arange(0, 41, 10), n_threads)
        results.append(network.params.copy())
    # groups of two features, whose statistics the threads merge, magnify roundings; other noise would change digits
    for other in results[1:]:
        np.testing.assert_allclose(other, results[0], rtol=0, atol=1e-8)


def test_output_is_noisy_in_training_alone(make_network, make_targets):
    """With given statistics the noise is all that tells training from prediction."""
    network = make_network((5, 6, 2), "identity", "identity", "batch")
    trainer = Trainer(network, "accumulate", frozen=True, norm_noise=0.5, seed=7)
    X = np.random.default_rng(0).normal(size=(9, 5))
    rows, owner = rows_of(X)
    trainer.run(rows, make_targets("identity", 9, 2), None, np.arange(9), np.array([0, 9]))
    s, y = np.empty((6, 9)), network.predict(rows, np.arange(9), block=1).T.copy()
    _perturb(0.5, 7, 1, y, s)
    np.testing.assert_allclose(trainer._work[1].out[:6, :9], y, rtol=1e-12)
