"""What only the batch norms have: given statistics, chunks of the batch, corrections, batches that are too small."""

import numpy as np
import pytest
from family import BY_LABEL, DTYPES, assert_close

from normkit import batch_norm, batch_norm_backward, batch_renorm, batch_renorm_backward, reference

GAMMA, BETA = np.array([1.5, -0.5, 1.0]), np.array([0.25, 2.0, -1.0])


def data(shape, dtype=np.float32, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(0.5, 1, size=shape).astype(dtype), rng.normal(size=shape).astype(dtype)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape, axis", [((8, 3), -1), ((2, 3, 5), 1)])
def test_inference_uses_the_given_statistics(shape, axis, dtype):
    x, _ = data(shape, dtype)
    mean, var = np.array([1.0, -2.0, 3.0]), np.array([0.0, 0.5, 4.0])
    y, got_mean, rstd = batch_norm(x, GAMMA, BETA, axis=axis, epsilon=0.1, mean=mean, var=var, return_stats=True)
    assert_close(y, reference.frozen_batch_norm(x.astype(float), GAMMA, BETA, mean, var, axis, 0.1))
    np.testing.assert_array_equal(got_mean, mean)
    np.testing.assert_allclose(rstd, 1 / np.sqrt(var + 0.1), rtol=1e-15)
    got_mean += 1  # the caller's moving mean must not move with the returned one
    np.testing.assert_array_equal(mean, [1.0, -2.0, 3.0])


def test_inference_does_not_depend_on_the_batch():
    x, dy = data((20, 3))
    mean, var = np.zeros(3), np.ones(3)
    whole = batch_norm(x, GAMMA, BETA, mean=mean, var=var)
    one = batch_norm(x[4:5], GAMMA, BETA, mean=mean, var=var)
    np.testing.assert_array_equal(one, whole[4:5])
    whole, _, _ = batch_norm_backward(dy, x, GAMMA, mean, var, training=False)
    one, dgamma, dbeta = batch_norm_backward(dy[4:5], x[4:5], GAMMA, mean, var, training=False)
    np.testing.assert_array_equal(one, whole[4:5])
    np.testing.assert_array_equal(dbeta, dy[4])
    assert_close(dgamma, (dy[4] * x[4]).astype(float))


@pytest.mark.parametrize("shape, axis", [((1, 3), -1), ((3,), 0), ((1, 3, 1), 1), ((3, 1), 0)])
def test_one_value_has_no_statistics(shape, axis):
    x = np.ones(shape, np.float32)
    with pytest.raises(ValueError, match="(?s)one|single.*batch.*mean.*var"):
        batch_norm(x, axis=axis)
    n = shape[axis]
    assert batch_norm(x, axis=axis, mean=np.zeros(n), var=np.ones(n)).shape == shape


def test_one_value_a_chunk_has_no_statistics():
    with pytest.raises(ValueError, match="one|single"):
        batch_norm(np.ones((4, 3)), virtual_batch_size=1)
    assert batch_norm(np.ones((4, 3, 2)), virtual_batch_size=1, axis=1).shape == (4, 3, 2)


# Ghost batches


@pytest.mark.parametrize("n, size", [(12, 4), (13, 4), (15, 4), (4, 4), (5, 4), (3, 4), (100, 7), (64, 2)])
@pytest.mark.parametrize("tail, axis", [((3,), -1), ((3, 5), 1), ((5, 3), -1)])
def test_a_chunk_is_a_batch_of_its_own(n, size, tail, axis, path):
    x, dy = data((n, *tail))
    y, mean, rstd = batch_norm(x, GAMMA, BETA, axis=axis, virtual_batch_size=size, return_stats=True)
    dx, dgamma, dbeta = batch_norm_backward(dy, x, GAMMA, mean, rstd, axis=axis, virtual_batch_size=size)
    parts = reference.chunks(n, size)
    assert mean.shape == rstd.shape == (len(parts), 3) == (max(1, n // size), 3)
    totals = np.zeros((2, 3))
    for part, part_mean, part_rstd in zip(parts, mean, rstd, strict=True):
        want, want_mean, want_rstd = batch_norm(x[part], GAMMA, BETA, axis=axis, return_stats=True)
        assert_close(y[part], want)
        assert_close(part_mean.astype(np.float32), want_mean)
        assert_close(part_rstd.astype(np.float32), want_rstd)
        want, *sums = batch_norm_backward(dy[part], x[part], GAMMA, part_mean, part_rstd, axis=axis)
        assert_close(dx[part], want)
        totals += sums
    np.testing.assert_allclose((dgamma, dbeta), totals, rtol=1e-5, atol=1e-5)  # the parts were rounded before


def test_a_chunk_as_large_as_the_batch_is_batch_norm():
    x, _ = data((10, 3))
    want = batch_norm(x, return_stats=True)
    for size in (6, 10, 11, 1000, np.int64(10)):
        y, mean, rstd = batch_norm(x, virtual_batch_size=size, return_stats=True)
        assert_close(y, want[0])
        assert mean.shape == rstd.shape == (1, 3)


@pytest.mark.parametrize(
    "size, kind", [(0, ValueError), (-4, ValueError), (2.0, TypeError), ("4", TypeError), (True, TypeError)]
)
def test_wrong_chunks(size, kind):
    with pytest.raises(kind, match="^virtual_batch_size must "):
        batch_norm(np.zeros((8, 3)), virtual_batch_size=size)
    statistics = np.ones((2, 3)), np.ones((2, 3))
    with pytest.raises(kind, match="^virtual_batch_size must "):
        batch_norm_backward(np.zeros((8, 3)), np.zeros((8, 3)), None, *statistics, virtual_batch_size=size)


@pytest.mark.parametrize("shape, axis", [((4, 3), 0), ((4, 3), -2), ((4,), 0)])
def test_chunks_need_the_features_elsewhere(shape, axis):
    with pytest.raises(ValueError, match="axis"):
        batch_norm(np.zeros(shape), axis=axis, virtual_batch_size=2)


def test_statistics_of_chunks_have_two_dimensions():
    x, dy = data((8, 3))
    with pytest.raises(ValueError, match=r"^mean must have shape \(2, 3\), got \(3,\)"):
        batch_norm_backward(dy, x, None, np.zeros(3), np.ones(3), virtual_batch_size=4)


# Batch renormalization


def test_corrections_of_nothing_are_batch_norm():
    x, dy = data((50, 3))
    y, mean, rstd, r, d = batch_renorm(
        x, GAMMA, BETA, moving_mean=np.full(3, 9.0), moving_var=np.full(3, 9.0), r_max=1, d_max=0, return_stats=True
    )
    np.testing.assert_array_equal((r, d), (np.ones(3), np.zeros(3)))
    assert_close(y, batch_norm(x, GAMMA, BETA))
    gradients = batch_renorm_backward(dy, x, GAMMA, mean, rstd, r, d)
    for got, want in zip(gradients, batch_norm_backward(dy, x, GAMMA, mean, rstd), strict=True):
        assert_close(got, want)


def test_corrections_without_limits_are_inference():
    x, _ = data((50, 3))
    mean, var = np.array([1.0, -1.0, 0.5]), np.array([0.5, 1.0, 2.0])
    y = batch_renorm(x, GAMMA, BETA, moving_mean=mean, moving_var=var, r_max=1e6, d_max=1e6)
    assert_close(y, batch_norm(x, GAMMA, BETA, mean=mean, var=var))


def test_default_limits():
    x, _ = data((50, 3))
    mean, var = np.array([100.0, -100.0, 0.5]), np.array([0.01, 100.0, 1.0])
    _, batch_mean, rstd, r, d = batch_renorm(x, moving_mean=mean, moving_var=var, return_stats=True)
    np.testing.assert_allclose(r[:2], [3, 1 / 3], rtol=1e-14)
    np.testing.assert_allclose(d[:2], [-5, 5], rtol=1e-14)
    sigma = np.sqrt(1.001)
    np.testing.assert_allclose((r[2], d[2]), (1 / (rstd[2] * sigma), (batch_mean[2] - 0.5) / sigma), rtol=1e-12)


def test_moving_statistics_are_left_alone():
    x, _ = data((50, 3))
    mean, var = np.zeros(3), np.ones(3)
    results = batch_renorm(x, moving_mean=mean, moving_var=var, return_stats=True)
    for a in results:
        a += 1
    np.testing.assert_array_equal((mean, var), (np.zeros(3), np.ones(3)))


THREE = np.ones(3)
WRONG = [
    ({"moving_mean": np.ones(2)}, ValueError, r"moving_mean must have shape \(3,\), got \(2,\)"),
    ({"moving_var": np.ones((1, 3))}, ValueError, r"moving_var must have shape \(3,\), got \(1, 3\)"),
    ({"moving_var": -THREE}, ValueError, "moving_var must not be negative, got -1.0"),
    ({"moving_mean": None}, TypeError, "moving_mean must hold real numbers"),
    ({"r_max": 0.5}, ValueError, "r_max must .*got 0.5"),
    ({"r_max": np.nan}, ValueError, "r_max must .*got nan"),
    ({"r_max": "3"}, TypeError, "r_max must be a number, got str"),
    ({"d_max": -1.0}, ValueError, "d_max must .*got -1.0"),
    ({"d_max": np.nan}, ValueError, "d_max must .*got nan"),
    ({"d_max": None}, TypeError, "d_max must be a number, got NoneType"),
]


@pytest.mark.parametrize("options, kind, message", WRONG)
def test_wrong_corrections(options, kind, message):
    with pytest.raises(kind, match=f"^{message}"):
        batch_renorm(np.zeros((4, 3)), **{"moving_mean": THREE, "moving_var": THREE, **options})


def test_corrections_have_a_shape():
    x = np.zeros((4, 3))
    for which in range(4):
        statistics = [THREE] * 4
        statistics[which] = np.ones(2)
        name = ("mean", "rstd", "r", "d")[which]
        with pytest.raises(ValueError, match=rf"^{name} must have shape \(3,\), got \(2,\)"):
            batch_renorm_backward(x, x, None, *statistics)


@pytest.mark.parametrize("label", ["batch_norm", "batch_norm-ghost", "batch_renorm"])
def test_layouts_agree(label):
    """Channels first is channels last of the moved axis; two kernels, two orders of summation."""
    norm = BY_LABEL[label]
    for dtype in DTYPES:
        xs, dys, parameters = norm.data((6, 4, 50), 1, dtype)
        first, statistics = norm.forward(xs, parameters, 1)
        gradients = norm.backward(dys, xs[0], parameters[0], statistics, 1)
        moved = [np.ascontiguousarray(np.moveaxis(a, 1, -1)) for a in (xs[0], dys[0])]
        last, _ = norm.forward(moved[:1], parameters, -1)
        assert_close(np.moveaxis(last[0], -1, 1), first[0].astype(float))
        same = norm.backward(moved[1:], moved[0], parameters[0], statistics, -1)
        assert_close(np.moveaxis(same[0], -1, 1), gradients[0].astype(float))
