"""Arrays without elements, without features, and with a single row."""

import warnings

import numpy as np
import pytest
from family import DTYPES, NORMS, assert_close, own_shape

FEATURES = [((0, 3), -1), ((0, 3, 4), 1), ((2, 3, 0), 1), ((5, 0), -1)]
ROWS = [((0, 3), -1), ((3, 0), -1), ((2, 0, 4), (1, 2)), ((2, 0, 4), -1), ((0,), 0)]
GROUPS = [((0, 6, 4), 1), ((2, 6, 0), 1), ((0, 4, 6), -1), ((2, 0, 6), -1)]


def empties(norm):
    if norm.rows:
        return ROWS
    return GROUPS if norm.name in ("group_norm", "instance_norm") else FEATURES


CASES = [(norm, *layout) for norm in NORMS for layout in empties(norm)]


@pytest.mark.parametrize("norm, shape, axis", CASES, ids=lambda value: getattr(value, "label", None))
def test_nothing_comes_of_nothing(norm, shape, axis):
    for dtype in DTYPES:
        xs, dys, parameters = norm.data(shape, axis, dtype)
        results, statistics = norm.forward(xs, parameters, axis)
        assert all(y.shape == shape and y.dtype == dtype for y in results)
        with warnings.catch_warnings(action="ignore"):  # NumPy's, of the mean of nothing
            expected = norm.expected_statistics(xs[0], axis)
        for got, want in zip(statistics, expected, strict=True):
            # where there is a statistic at all, there is no value to take it of: NaN, unless it was given
            np.testing.assert_array_equal(got.astype(np.float32), want.astype(np.float32))
        x = results[-1] if norm.arrays > 1 else xs[0]
        dx, *sums = norm.backward(dys, x, parameters[0], statistics, axis)
        assert dx.shape == shape and dx.dtype == dtype
        for a in sums:
            assert np.shape(a) in ((), own_shape(shape, axis)) and not np.any(a)


@pytest.mark.parametrize("norm", [norm for norm in NORMS if norm.rows], ids=lambda norm: norm.label)
def test_a_single_row(norm):
    for dtype in DTYPES:
        for n in (2, 3, 17, 1000):
            xs, dys, parameters = norm.data((n,), 0, dtype)
            flat, statistics = norm.forward(xs, parameters, 0)
            gradients = norm.backward(dys, flat[-1] if norm.arrays > 1 else xs[0], parameters[0], statistics, 0)
            assert all(np.shape(s) == () for s in statistics)
            row, statistics = norm.forward([x[None] for x in xs], parameters, -1)
            for a, b in zip(row, flat, strict=True):
                np.testing.assert_array_equal(a[0], b)
            x = row[-1] if norm.arrays > 1 else xs[0][None]
            for a, b in zip(norm.backward([dy[None] for dy in dys], x, parameters[0], statistics, -1), gradients):
                assert_close(np.asarray(a).reshape(np.shape(b)), np.asarray(b).astype(float))
