"""The bound: the matrix products of a step and nothing else, on the engine's layout.

`team` splits each product over Numba's threads by rows of its result, as the engine does, without a barrier
anywhere; otherwise each product is one call of a BLAS that uses all threads itself.
"""

import contextlib

import numba
import numpy as np
import threadpoolctl

from normkit.engine.blas import matmul, small_product

# columns of a product C (m, n) = op(A) op(B): arguments of `matmul` after the three arrays
LDA, LDB, LDC, M, N, K, TRANSPOSE_A, TRANSPOSE_B = range(8)


def products(sizes, batch):
    """Return (products, 8): forward, weight gradient and, above the first layer, input gradient."""
    rows: list[tuple] = []
    for b, (below, units) in enumerate(zip(sizes, sizes[1:])):
        first = b == 0  # its input lies row by row, (batch, features); all others feature by feature
        rows.append((below, below if first else batch, batch, units, batch, below, 0, first))
        rows.append((batch, below if first else batch, below, units, below, batch, 0, not first))
        if not first:
            rows.append((below, batch, batch, below, batch, units, 1, 0))
    return np.array(rows, np.int64)


@numba.njit
def _slice(small, p, i, thread, threads, a, b, c):
    """One thread's rows of product i."""
    m0, m1 = p[i, M] * thread // threads, p[i, M] * (thread + 1) // threads
    if m1 > m0:
        start = m0 if p[i, TRANSPOSE_A] else m0 * p[i, LDA]
        matmul(
            small, a[start:], b, c[m0 * p[i, LDC] :], p[i, LDA], p[i, LDB], p[i, LDC], m1 - m0, p[i, N], p[i, K],
            p[i, TRANSPOSE_A] == 1, p[i, TRANSPOSE_B] == 1,
        )  # fmt: skip


@numba.njit(parallel=True)
def _team_steps(small, p, steps, threads, arrays):
    for thread in numba.prange(threads):
        for _ in range(steps):
            for i in range(p.shape[0]):
                _slice(small, p, i, thread, threads, arrays[3 * i], arrays[3 * i + 1], arrays[3 * i + 2])


@numba.njit
def _blas_steps(p, steps, arrays):
    for _ in range(steps):
        for i in range(p.shape[0]):
            _slice(0, p, i, 0, 1, arrays[3 * i], arrays[3 * i + 1], arrays[3 * i + 2])


class Engine:
    """Runs the products on random operands; there is no loss."""

    def __init__(self, problem, team):
        self.problem, self.team = problem, team
        if team:
            numba.set_num_threads(problem.threads)
        self.blas = contextlib.ExitStack()
        self.blas.enter_context(threadpoolctl.threadpool_limits(1 if team else problem.threads, "blas"))

    def prepare(self, batch_size):
        """Allocate the operands of all products."""
        rng = np.random.default_rng(self.problem.seed)
        self.products = products(self.problem.sizes, batch_size)
        arrays = []
        for row in self.products:
            m, n, k = row[[M, N, K]]
            arrays += [rng.standard_normal(s, np.float32) for s in (m * k, k * n, m * n)]
        self.arrays = tuple(arrays)

    def run(self, order):
        """Multiply, as often as the order has batches."""
        if self.team:
            _team_steps(small_product(), self.products, len(order), self.problem.threads, self.arrays)
        else:
            _blas_steps(self.products, len(order), self.arrays)

    def accuracy(self):
        """Nothing is trained."""
