"""Sums over a block, and of the blocks' shares of the gradients of parameters that lie along a row."""

import numpy as np
from numba import cuda

from normkit.kernels.cuda import device


def add_partials(norm, capability):
    """Return the kernel that adds up the middle axis of partials (2, blocks, columns), always in the same order.

    Arguments: partials, first, second, blocks, columns. The grid is (tiles of columns, 1 or 2): how many of the two
    halves are there. Both are written as (columns,).
    """
    real, wait = device.arithmetic(norm.dtype), device.barrier()
    x_threads, y_threads = norm.x_threads, norm.block // norm.x_threads
    zero, stride, size = real(0), x_threads + 1, y_threads * (x_threads + 1)

    def kernel(partials, first, second, blocks, columns):
        x, y = cuda.threadIdx.x % x_threads, cuda.threadIdx.x // x_threads
        rows = cuda.shared.array(size, real)
        c = np.int64(cuda.blockIdx.x) * x_threads + x
        total = zero
        if c < columns:
            start = cuda.blockIdx.y * blocks * columns + c
            row = np.int64(y)
            while row < blocks:
                total += partials[start + row * columns]
                row += y_threads
        rows[y * stride + x] = total
        wait()
        if y == 0 and c < columns:
            total = zero
            for other in range(y_threads):
                total += rows[other * stride + x]
            if cuda.blockIdx.y == 0:
                first[c] = total
            else:
                second[c] = total

    return kernel


def block_sum(threads):
    """Return total(value, me, shared): the sum of a float64 or int64 over a block, in its first thread."""
    wait = device.barrier()

    def total(value, me, shared):
        shared[me] = value
        offset = threads // 2
        while offset > 0:
            wait()
            if me < offset:
                shared[me] += shared[me + offset]
            offset //= 2
        return shared[me]

    return device.function(total)
