"""The bound of a training step: its products are those of a step, and are right."""

import numba
import numpy as np
import pytest
from slow import SLOW

from normkit.bench.engines import gemm
from normkit.bench.engines.problem import Problem

SIZES, BATCH = (5, 9, 6, 3), 4


@pytest.fixture
def engine(request):
    problem = Problem(list(SIZES), threads=min(2, numba.config.NUMBA_NUM_THREADS))
    made = gemm.Engine(problem, request.param)
    yield made
    made.blas.close()


@pytest.mark.skipif(not (SLOW or numba.config.DISABLE_JIT), reason="nightly: it compiles for seconds, and few use it")
@pytest.mark.parametrize("engine", [True, False], indirect=True, ids=["slice a thread", "BLAS threads"])
def test_products(engine):
    engine.prepare(BATCH)
    engine.run(np.zeros((1, BATCH), np.int64))
    for i, (lda, ldb, ldc, m, n, k, transpose_a, transpose_b) in enumerate(engine.products):
        a, b, c = (array.reshape(-1, leading) for array, leading in zip(engine.arrays[3 * i :], (lda, ldb, ldc)))
        a, b = a.T if transpose_a else a, b.T if transpose_b else b
        assert (a.shape, b.shape, c.shape) == ((m, k), (k, n), (m, n))
        np.testing.assert_allclose(c, a @ b, rtol=1e-5, atol=1e-5)


def test_a_step_has_three_products_a_layer_but_the_first():
    products = gemm.products(SIZES, BATCH)
    work = sum(m * n * k for m, n, k in products[:, gemm.M : gemm.K + 1].tolist())
    layers = [below * units * BATCH for below, units in zip(SIZES, SIZES[1:])]
    assert work == 3 * sum(layers) - layers[0] and len(products) == 3 * len(layers) - 1
