"""The engine's leaf functions one at a time, against Python's integers, SciPy and scikit-learn."""

import math

import numpy as np
import pytest
import scipy.sparse
from scipy import special
from sklearn.metrics import log_loss, mean_poisson_deviance, mean_squared_error

from normkit._jit import entry
from normkit.engine import losses, noise, optimizers, rows, sync
from normkit.engine.plan import Settings
from normkit.math.random import uniform as formula

_uniform, DTYPES = noise._uniform, [np.float32, np.float64]
SEED, STEP, FIRST, N = 7, 3, 11, 50
PLAIN = Settings(True, 0)


@entry
def uniform(seed, step, k):
    return _uniform(seed, step, k)


@entry
def drop(rate, seed, step, first, a, out, keep):
    noise.drop(rate, seed, step, first, a, out, keep)


@entry
def perturb(strength, seed, step, row, first, y, factor):
    noise.perturb_row(strength, seed, step, row, first, y, factor)


@entry
def outputs_of(code, z, top, total):
    losses.predict_outputs(code, z, top, total)


@entry
def loss_and_gradient(code, p, target, share, delta):
    return losses.loss_and_gradient(code, p, target, share, delta)


@entry
def step_size(settings, step):
    return optimizers.step_size(settings, step)


@entry
def update(settings, rate, decay, shrink, p, g, first, second):
    return optimizers.update(settings, rate, decay, shrink, p, g, first, second)


@entry
def read_row(described, k, out):
    rows.prefetch_row(described, k, out.size)
    rows.read_row(described, k, out)


@entry
def share(n, thread, threads):
    return sync.share(n, thread, threads)


def splitmix(seed, step, k):
    """Steele et al. 2014 in integers without an end."""
    x = (seed + step * 0xD1B54A32D192ED03 + k * 0x9E3779B97F4A7C15) % 2**64
    x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9 % 2**64
    x = (x ^ x >> 27) * 0x94D049BB133111EB % 2**64
    return (x ^ x >> 31) // 2**11 / 2**53


@pytest.mark.filterwarnings("ignore:overflow:RuntimeWarning")  # NumPy's integers, where this is not compiled
def test_random_numbers_are_splitmix64():
    for seed, step, k in ((0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1), (12345, 678, 2**40), (2**31, 10**6, 9)):
        assert uniform(seed, step, k) == splitmix(seed, step, k) == formula(seed, step, k)


@pytest.mark.filterwarnings("ignore:overflow:RuntimeWarning")
@pytest.mark.parametrize("dtype", DTYPES)
def test_dropout(dtype):
    a = np.linspace(-1, 1, N).astype(dtype)
    out, keep = np.empty_like(a), np.empty_like(a)
    drop(0.3, SEED, STEP, FIRST, a, out, keep)
    kept = np.array([splitmix(SEED, STEP, FIRST + i) >= 0.3 for i in range(N)])
    assert 0 < kept.sum() < N
    np.testing.assert_array_equal(keep, np.where(kept, 1 / 0.7, 0).astype(dtype))
    np.testing.assert_array_equal(out, a * keep)


@pytest.mark.filterwarnings("ignore:overflow:RuntimeWarning")
def test_noise_after_a_norm():
    c, row, y, factor = 0.4, 5, np.linspace(-2, 2, N), np.empty(N)
    base = [(4 * (row + 1) + kind) * 2**32 for kind in range(4)]
    mu = c * (2 * splitmix(SEED, STEP, base[0]) - 1)
    sigma = 1 + c / 2 * splitmix(SEED, STEP, base[0] + 1)
    shift, radius, angle = (
        np.array([splitmix(SEED, STEP, base[kind] + FIRST + i) for i in range(N)]) for kind in (1, 2, 3)
    )
    normal = np.sqrt(-2 * np.log1p(-radius)) * np.cos(2 * np.pi * angle)
    expected_factor = sigma + c / 5 * normal
    expected = expected_factor * y + mu + c / 5 * (2 * shift - 1)
    perturb(c, SEED, STEP, row, FIRST, y, factor)
    np.testing.assert_allclose(factor, expected_factor, rtol=1e-12)
    np.testing.assert_allclose(y, expected, rtol=1e-12, atol=1e-12)


def scores(outputs, seed=0):
    return np.random.default_rng(seed).normal(0, 2, (outputs, N))  # (outputs, samples)


LINKS = {
    "softmax": lambda z: special.softmax(z, axis=0),
    "logistic": special.expit,
    "identity": np.array,
    "exp": np.exp,
}


@pytest.mark.parametrize("output", LINKS)
def test_output_functions(output):
    z = scores(4)
    expected = LINKS[output](z)
    outputs_of(losses.CODES[output], z, np.empty(N), np.empty(N))
    np.testing.assert_allclose(z, expected, rtol=1e-13)


def problem(output):
    """Predictions (samples, outputs), targets in the engine's form, and the loss of scikit-learn given weights."""
    rng = np.random.default_rng(1)
    p = LINKS[output](scores(3)).T.copy()
    if output == "softmax":
        target = rng.integers(0, 3, (N, 1)).astype(float)
        return p, target, np.eye(3)[target[:, 0].astype(int)], lambda w: log_loss(target[:, 0], p, sample_weight=w)
    if output == "logistic":
        target = rng.integers(0, 2, (N, 3)).astype(float)
        return p, target, target, lambda w: sum(
            log_loss(target[:, j], p[:, j], sample_weight=w) for j in range(3)
        )  # fmt: skip
    if output == "exp":
        target = rng.poisson(1.5, (N, 3)).astype(float)
        return p, target, target, lambda w: sum(
            mean_poisson_deviance(target[:, j], p[:, j], sample_weight=w) / 2 for j in range(3)
        )  # fmt: skip
    target = rng.normal(size=(N, 3))
    return p, target, target, lambda w: mean_squared_error(target, p, sample_weight=w) / 2


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("output", LINKS)
def test_losses_are_scikit_learns(output, weighted):
    p, target, wanted, loss = problem(output)
    weight = np.random.default_rng(2).uniform(0.2, 3, N) if weighted else np.ones(N)
    part = weight / weight.sum()
    delta = np.full((3, N), 9.0)
    code = losses.CODES[output]
    np.testing.assert_allclose(loss_and_gradient(code, p.T.copy(), target, part, delta), loss(weight), rtol=1e-12)
    np.testing.assert_allclose(delta, part * (p - wanted).T, rtol=1e-12, atol=1e-17)
    given = weight if weighted else np.empty(0)
    np.testing.assert_allclose(losses.mean_loss(code, p, target, given), loss(weight), rtol=1e-12)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("output", ["softmax", "logistic"])
def test_certain_and_wrong_costs_what_one_rounding_does(output, dtype):
    eps = float(np.finfo(dtype).eps)
    p = np.array([[0.0, 1.0]] if output == "softmax" else [[0.0], [1.0]], dtype)
    target = np.array([[0.0]] if output == "softmax" else [[1.0], [0.0]], dtype)
    code, none = losses.CODES[output], np.empty(0, dtype)
    assert losses.mean_loss(code, p, target, none) == pytest.approx(-math.log(eps), rel=1e-6)
    right = (1 - target).astype(dtype)
    assert losses.mean_loss(code, p, right, none) == pytest.approx(-math.log1p(-eps), rel=1e-6, abs=0)


def test_no_events_where_none_are_expected():
    # y log(y / p) is zero for y = 0
    loss = losses.mean_loss(losses.CODES["exp"], np.array([[0.5]]), np.array([[0.0]]), np.empty(0))
    assert loss == pytest.approx(0.5)


def test_learning_rates_of_a_schedule():
    sgd = PLAIN._replace(learning_rate=0.5, optimizer=0)
    assert [step_size(sgd, step) for step in (1, 10)] == [0.5, 0.5]
    warm = sgd._replace(warmup_steps=4.0)
    assert [step_size(warm, step) for step in (1, 3, 4, 5)] == [0.125, 0.375, 0.5, 0.5]
    decays = warm._replace(cosine_steps=12.0)
    # half a turn of the cosine from step 4 to step 12
    expected = [0.125, 0.5, 0.5 * (1 + math.cos(math.pi / 4)) / 2, 0.25, 0, 0]
    assert [step_size(decays, step) for step in (1, 4, 6, 8, 12, 20)] == pytest.approx(expected, abs=1e-16)
    at_once = sgd._replace(cosine_steps=0.5)
    assert step_size(at_once, 1) == pytest.approx(0, abs=1e-16)
    adam = PLAIN._replace(learning_rate=0.5, optimizer=1, beta_1=0.9, beta_2=0.99)
    assert step_size(adam, 2) == pytest.approx(0.5 * math.sqrt(1 - 0.99**2) / (1 - 0.9**2))


def test_gradients_are_added_up_or_left_for_others():
    p, g = np.array([1.0, -2.0, 3.0]), np.array([0.5, 0.25, -1.0])
    first, second = np.array([1.0, 1.0, 1.0]), np.empty(0)
    assert update(PLAIN._replace(optimizer=2), 0.1, 0.2, 0.9, p, g, first, second) == 14
    np.testing.assert_array_equal((p, first), ([1, -2, 3], [1.5, 1.25, 0]))
    assert update(PLAIN._replace(optimizer=2, joined=True), 0.1, 0.2, 0.9, p, g, first, second) == 0
    np.testing.assert_array_equal((p, first), ([1, -2, 3], g))


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_moments_do_not_decay_into_denormals(optimizer):
    settings = PLAIN._replace(
        optimizer=optimizers.CODES[optimizer], momentum=0.5, beta_1=0.5, beta_2=0.5, epsilon=1e-8
    )  # fmt: skip
    p, g = np.ones(2), np.zeros(2)
    first, second = np.array([1e-31, -1e-24]), np.array([1e-36, 1e-34])
    update(settings, 0.1, 0.0, 1.0, p, g, first, second)
    np.testing.assert_array_equal(first, [0, -5e-25])
    np.testing.assert_array_equal(second, [0, 5e-35] if optimizer == "adam" else [1e-36, 1e-34])


LAYOUTS = {
    "c": np.ascontiguousarray,
    "fortran": np.asfortranarray,
    "strided": lambda X: np.repeat(np.repeat(X, 2, axis=0), 3, axis=1)[::2, ::3],
    "reversed": lambda X: X[::-1, ::-1].copy()[::-1, ::-1],
    "csr": scipy.sparse.csr_matrix,
    "csr with wide indices": lambda X: wide(scipy.sparse.csr_array(X)),
    "csc": scipy.sparse.csc_array,
}


def wide(X):
    X.indices, X.indptr = X.indices.astype(np.int64), X.indptr.astype(np.int64)
    return X


@pytest.mark.parametrize("kind", rows.DTYPES)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_rows_where_they_lie(layout, kind):
    X = np.random.default_rng(0).integers(0, 5, (9, 33)).astype(kind)
    described, owner = rows.rows_of(LAYOUTS[layout](X), 0.25)
    for k in (0, 4, 8):
        out = np.full(33, 9.0)
        read_row(described, k, out)
        np.testing.assert_array_equal(out, X[k] * 0.25)
    assert owner is not None


def test_shares_are_all_there_is_and_nearly_equal():
    for n, threads in ((10, 3), (3, 5), (0, 2), (64, 1)):
        parts = [share(n, thread, threads) for thread in range(threads)]
        assert [i for start, stop in parts for i in range(start, stop)] == list(range(n))
        assert max(stop - start for start, stop in parts) - min(stop - start for start, stop in parts) <= 1


@entry
def wait(barrier, threads):
    return sync.wait(barrier, threads)


@entry
def leave(barrier):
    sync.leave(barrier)


def test_a_barrier_opens_for_the_last_and_for_a_team_that_is_aborted():
    barrier, untouched = sync.new_barrier(), sync.new_barrier()
    assert wait(barrier, 1)
    np.testing.assert_array_equal(barrier, untouched)
    for generation in (1, 2):  # used again at once
        barrier[sync._ARRIVED] = 2
        assert wait(barrier, 3)
        assert barrier[sync._ARRIVED] == 0 and barrier[sync._GENERATION] == generation
    for abort in (sync.abort, leave):
        barrier = sync.new_barrier()
        abort(barrier)
        assert barrier[sync._ABORTED]  # or this would wait for ever
        assert not wait(barrier, 2)


@pytest.mark.parametrize("nesterov", [False, True])
def test_momentum_with_both_decays(nesterov):
    p, g, first = np.array([1.0, -2.0]), np.array([0.5, 0.25]), np.array([0.1, -0.3])
    gradient = g + 0.2 * p
    velocity = 0.9 * first - 0.5 * gradient
    expected = 0.75 * p + (0.9 * velocity - 0.5 * gradient if nesterov else velocity)
    settings = PLAIN._replace(optimizer=0, momentum=0.9, nesterov=nesterov)
    assert update(settings, 0.5, 0.2, 0.75, p, g, first, np.empty(0)) == 5
    np.testing.assert_allclose(p, expected, rtol=1e-14)
    np.testing.assert_allclose(first, velocity, rtol=1e-14)


def test_a_target_between_two_classes_costs_both():
    p, target = np.array([[0.3]]), np.array([[0.2]])
    expected = -0.2 * math.log(0.3) - 0.8 * math.log(0.7)
    assert losses.mean_loss(losses.CODES["logistic"], p, target, np.empty(0)) == pytest.approx(expected, rel=1e-14)
