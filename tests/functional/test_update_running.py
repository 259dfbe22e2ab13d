"""update_running: Keras' convention, in place."""

import numpy as np
import pytest

from normkit import batch_norm, reference, update_running


@pytest.mark.parametrize("momentum", [0.0, 0.9, 0.99, 1.0, 1])
def test_momentum_is_the_share_kept(momentum):
    running_mean, running_var = np.array([1.0, -2.0]), np.array([4.0, 0.5])
    mean, var = np.array([10.0, 0.0]), np.array([2.0, 8.0])
    returned = update_running(running_mean, running_var, mean, var, momentum=momentum)
    assert returned[0] is running_mean and returned[1] is running_var
    # one rounding a product and one a sum
    np.testing.assert_allclose(running_mean, momentum * np.array([1, -2]) + (1 - momentum) * mean, rtol=1e-15)
    np.testing.assert_allclose(running_var, momentum * np.array([4, 0.5]) + (1 - momentum) * var, rtol=1e-15)
    np.testing.assert_array_equal(mean, [10.0, 0.0])


def test_default_momentum():
    running = update_running(np.zeros(1), np.zeros(1), np.ones(1), np.ones(1))
    np.testing.assert_allclose(running, 0.01, rtol=1e-14)


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_rounds_once(dtype):
    running = np.array([1 / 3], dtype)
    expected = (0.99 * running.astype(np.float64) + 0.01 * 0.7).astype(dtype)
    update_running(running, running.copy(), np.array([0.7]), np.array([0.7]))
    np.testing.assert_array_equal(running, expected)


def test_the_batch_may_be_the_moving_statistic():
    running_mean, running_var = np.array([3.0]), np.array([5.0])
    update_running(running_mean, running_var, running_mean, running_var, momentum=0.5)
    assert running_mean[0] == 3.0 and running_var[0] == 5.0


def test_converges_to_the_statistics_of_a_repeated_batch():
    x = np.random.default_rng(0).normal(3, 2, size=(100, 4))
    running_mean, running_var = np.zeros(4), np.ones(4)
    _, mean, rstd = batch_norm(x, return_stats=True)
    for _ in range(400):
        update_running(running_mean, running_var, mean, rstd**-2 - 1e-3, momentum=0.9)
    # 0.9**400 of the start is left, below 1e-18
    np.testing.assert_allclose(running_mean, x.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(running_var, x.var(axis=0), rtol=1e-12)
    y = batch_norm(x, mean=running_mean, var=running_var)
    np.testing.assert_allclose(y, batch_norm(x), rtol=1e-11, atol=1e-11)


def test_views_are_updated_in_place():
    store = np.zeros((4, 3))
    update_running(store[::2, 1], store[::2, 2], [1.0, 2.0], [3, 4], momentum=0)
    np.testing.assert_array_equal(store, [[0, 1, 3], [0, 0, 0], [0, 2, 4], [0, 0, 0]])


def test_without_momentum_it_is_the_average_of_all_batches():
    batches = np.random.default_rng(0).normal(3, 2, size=(50, 2, 4))
    running_mean, running_var = np.full(4, 9.0), np.full(4, 9.0)  # the first batch replaces what was there
    for count, (mean, var) in enumerate(batches, start=1):
        update_running(running_mean, running_var, mean, var, momentum=None, count=count)
        np.testing.assert_allclose(running_mean, batches[:count, 0].mean(axis=0), rtol=1e-13)
    np.testing.assert_allclose(running_var, batches[:, 1].mean(axis=0), rtol=1e-13)
    expected = reference.moving_average(running_mean, batches[0, 0], count=51)
    update_running(running_mean, running_var, *batches[0], momentum=None, count=51)
    np.testing.assert_allclose(running_mean, expected, rtol=1e-15)


@pytest.mark.parametrize("options", [{}, {"momentum": 0.0}, {"momentum": 1.0}, {"momentum": None, "count": 3}])
def test_what_is_not_finite_is_left_out(options):
    """One bad batch would spoil the moving statistics, and with them all inference, for ever."""
    bad = np.array([np.nan, np.inf, -np.inf, 1.0])
    running_mean, running_var = np.arange(4.0), np.arange(4.0) + 1
    update_running(running_mean, running_var, bad, np.abs(bad), **options)
    np.testing.assert_array_equal(running_mean[:3], [0, 1, 2])
    np.testing.assert_array_equal(running_var[:3], [1, 2, 3])
    momentum = options.get("momentum", 0.99)
    want = reference.moving_average(np.array([3.0, 4.0]), 1.0, momentum, options.get("count"))
    np.testing.assert_allclose((running_mean[3], running_var[3]), want, rtol=1e-15)


def test_what_would_overflow_is_left_out():
    running_mean, running_var = np.ones(2, np.float16), np.ones(2, np.float32)
    update_running(running_mean, running_var, np.array([1e9, 2.0]), np.array([1.0, 1e60]))
    assert np.isfinite(running_mean).all() and np.isfinite(running_var).all()


def test_statistics_of_an_empty_batch_are_left_out():
    running_mean, running_var = np.ones(3), np.ones(3)
    _, mean, rstd = batch_norm(np.empty((0, 3)), return_stats=True)
    update_running(running_mean, running_var, mean, rstd**-2 - 1e-3)
    np.testing.assert_array_equal((running_mean, running_var), np.ones((2, 3)))


def read_only(a):
    a.flags.writeable = False
    return a


ZERO = np.zeros(2)
WRONG = [
    (([0.0, 0.0], ZERO, ZERO, ZERO), {}, TypeError, "running_mean must be an array of float.*got list"),
    (
        (ZERO, np.zeros(2, int), ZERO, ZERO),
        {},
        TypeError,
        "running_var must be an array .*got dtype int64",
    ),
    ((ZERO, read_only(np.zeros(2)), ZERO, ZERO), {}, ValueError, "running_var must be writeable.*read-only"),
    (
        (np.zeros(3), ZERO, np.zeros(3), ZERO),
        {},
        ValueError,
        r"running_var must have shape \(3,\), got \(2,\)$",
    ),
    ((ZERO, ZERO, np.zeros(2), ZERO), {}, ValueError, "running_mean and running_var must"),
    (
        (ZERO, ZERO, ZERO, ZERO),
        {"count": 3},
        ValueError,
        "count must be None unless momentum is None, got 3 with momentum 0.99$",
    ),
    ((ZERO, ZERO, np.zeros(3), ZERO), {}, ValueError, r"mean must have shape \(2,\), got \(3,\)"),
    ((ZERO, ZERO, ZERO, np.zeros((1, 2))), {}, ValueError, r"var must have shape \(2,\), got \(1, 2\)"),
    ((ZERO, ZERO, ZERO, ["a", "b"]), {}, TypeError, "var must hold real numbers, got dtype <U1"),
    ((ZERO, ZERO, ZERO, None), {}, TypeError, "var must hold real numbers, got dtype object"),
    ((ZERO, ZERO, ZERO, ZERO), {"momentum": 1.5}, ValueError, r"momentum must be in \[0, 1\], got 1.5"),
    ((ZERO, ZERO, ZERO, ZERO), {"momentum": np.nan}, ValueError, r"momentum must be in \[0, 1\], got nan"),
    ((ZERO, ZERO, ZERO, ZERO), {"momentum": "0.9"}, TypeError, "momentum must be a number, got str"),
    ((ZERO, ZERO, ZERO, ZERO), {"momentum": True}, TypeError, "momentum must be a number, got bool"),
    ((ZERO, ZERO, ZERO, ZERO), {"momentum": None}, (TypeError, ValueError), ".*count"),
    ((ZERO, ZERO, ZERO, ZERO), {"momentum": None, "count": 0}, ValueError, "count must .*got 0"),
    ((ZERO, ZERO, ZERO, ZERO), {"momentum": None, "count": -1}, ValueError, "count must .*got -1"),
    ((ZERO, ZERO, ZERO, ZERO), {"momentum": None, "count": 1.5}, TypeError, "count must .*"),
]


@pytest.mark.parametrize("arguments, options, kind, message", WRONG)
def test_errors(arguments, options, kind, message):
    with pytest.raises(kind, match=f"^{message}"):
        update_running(*arguments, **options)


def test_an_error_changes_nothing():
    running_mean = np.zeros(2)
    with pytest.raises(ValueError, match="^var must have shape"):
        update_running(running_mean, np.zeros(2), np.ones(2), np.ones(3))
    np.testing.assert_array_equal(running_mean, [0, 0])
