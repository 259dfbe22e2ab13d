"""Matrix products on slices, whole and in blocks."""

import numba
import numpy as np
import pytest

from normkit.engine import blas


@numba.njit
def matmul(small, a, b, c, lda, ldb, ldc, m, n, k, transpose_a, transpose_b):
    blas.matmul(small, a, b, c, lda, ldb, ldc, m, n, k, transpose_a, transpose_b)


def padded(rng, rows, columns, extra, dtype):
    """Return a flat array of `rows` rows with `extra` elements behind each, and the row length."""
    values = rng.normal(size=(rows, columns + extra)).astype(dtype)
    return values, values.reshape(-1), columns + extra


@pytest.mark.parametrize("dtype, tolerance", [(np.float32, 1e-5), (np.float64, 1e-13)])
@pytest.mark.parametrize("transpose_a, transpose_b", [(False, False), (False, True), (True, False), (True, True)])
@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 1, 5), (1, 70, 300), (40, 130, 20), (33, 65, 257), (130, 8, 260)])
@pytest.mark.parametrize("small", [0, 5_000, 30_000, 1_000_000])
def test_matmul(small, shape, transpose_a, transpose_b, dtype, tolerance):
    m, n, k = shape
    rng = np.random.default_rng(0)
    a, flat_a, lda = padded(rng, *((k, m) if transpose_a else (m, k)), 5, dtype)
    b, flat_b, ldb = padded(rng, *((n, k) if transpose_b else (k, n)), 0, dtype)
    c, flat_c, ldc = padded(rng, m, n, 3, dtype)
    beyond = c[:, n:].copy()
    matmul(small, flat_a, flat_b, flat_c, lda, ldb, ldc, m, n, k, transpose_a, transpose_b)
    left = a[:, : m if transpose_a else k]
    expected = (left.T if transpose_a else left).astype(np.float64) @ (b.T if transpose_b else b)
    np.testing.assert_allclose(c[:, :n], expected, rtol=tolerance, atol=tolerance * k)
    np.testing.assert_array_equal(c[:, n:], beyond)
