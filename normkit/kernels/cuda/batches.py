"""Batches of rows of X, gathered on the device.

The step of a batch is captured once and replayed for others: which one it is stands in memory, at `counter`.
"""

import numpy as np
from numba import cuda

from normkit.kernels.cuda import device
from normkit.kernels.cuda.sums import block_sum


def gather(norm, capability):
    """Return the kernel that copies the rows of a batch, and makes the shares of its weight.

    Arguments: X, order, steps (batches, 2), counter, weight, table (batches, 5), share, out (n, columns), n, columns,
    row_stride, column_stride in elements, scale. The batch begins at steps[counter, 0] of the order, and
    table[counter, 4] is the sum of its weights.
    """
    real, shares, weighted = device.arithmetic(norm.dtype), norm.shares, norm.weighted
    x_threads, y_threads = norm.x_threads, norm.block // norm.x_threads

    def kernel(X, order, steps, counter, weight, table, share, out, n, columns, row_stride, column_stride, scale):
        me = cuda.threadIdx.x
        c = np.int64(cuda.blockIdx.x) * x_threads + me % x_threads
        row = np.int64(cuda.blockIdx.y) * y_threads + me // x_threads
        batch = counter[0]
        start = steps[2 * batch]
        while row < n:
            k = order[start + row]
            if c < columns:
                out[row * columns + c] = real(X[k * row_stride + c * column_stride]) * scale
            if shares and c == 0:
                w = np.float64(weight[k]) if weighted else 1.0
                share[row] = real(w / table[5 * batch + 4])
            row += np.int64(cuda.gridDim.y) * y_threads

    return kernel


def count_nonfinite(norm, capability):
    """Return the kernel that counts NaN and infinity; arguments: X, counts, rows, columns, row_stride, column_stride.

    A block leaves its count in counts[its number].
    """
    threads, total = norm.block, block_sum(norm.block)

    def kernel(X, counts, rows, columns, row_stride, column_stride):
        me = cuda.threadIdx.x
        shared = cuda.shared.array(threads, np.int64)
        found = np.int64(0)
        k = np.int64(cuda.blockIdx.x) * threads + me
        while k < rows * columns:
            row = k // columns
            x = X[row * row_stride + (k - row * columns) * column_stride]
            found += 0 if x - x == 0 else 1
            k += np.int64(cuda.gridDim.x) * threads
        found = total(found, me, shared)
        if me == 0:
            counts[cuda.blockIdx.x] = found

    return kernel
