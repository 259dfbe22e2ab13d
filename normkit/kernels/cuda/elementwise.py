"""Dynamic tanh on rows, (rows, columns): elementwise, with gamma and beta a position in the row."""

import math

import numpy as np
from numba import cuda

from normkit.kernels.cuda import device


def _tanh(dtype):
    real = device.arithmetic(dtype)
    return device.function(lambda x: real(math.tanh(x)))


def forward(norm, capability):
    """Return the kernel for y = gamma * tanh(alpha * x) + beta.

    Arguments: x, alpha_pointer, gamma, beta, y, alpha, rows, columns. The grid is (blocks along the row, blocks of
    rows): a thread takes the same columns in every row that its block comes to.
    """
    real = device.arithmetic(norm.dtype)
    width = device.vector_width(norm.dtype) if norm.vector else 1
    load, store, _ = device.access(norm.dtype, width, capability)
    load_parameter, _, _ = device.access(norm.parameters, width, capability)
    has_gamma, has_beta, alpha_in_memory = norm.gamma, norm.beta, norm.alpha_in_memory
    x_threads, y_threads = norm.x_threads, norm.block // norm.x_threads
    tanh, zero, one = _tanh(norm.dtype), real(0), real(1)

    def kernel(x, alpha_pointer, gamma, beta, y, alpha, rows, columns):
        c = (np.int64(cuda.blockIdx.x) * x_threads + cuda.threadIdx.x % x_threads) * width
        v = cuda.local.array(width, real)
        gain, shift = cuda.local.array(width, real), cuda.local.array(width, real)
        for e in range(width):
            gain[e], shift[e] = one, zero
        if c < columns:
            if has_gamma:
                load_parameter(gamma, c, gain, 0)
            if has_beta:
                load_parameter(beta, c, shift, 0)
            if alpha_in_memory:
                alpha = alpha_pointer[0]
            row = np.int64(cuda.blockIdx.y) * y_threads + cuda.threadIdx.x // x_threads
            while row < rows:
                load(x, row * columns + c, v, 0)
                for e in range(width):
                    v[e] = tanh(alpha * v[e]) * gain[e] + shift[e]
                store(y, row * columns + c, v, 0)
                row += np.int64(cuda.gridDim.y) * y_threads

    return kernel


def backward(norm, capability):
    """Return the kernel for dx and the blocks' shares of the other gradients.

    Arguments: dy, x, alpha_pointer, gamma, dx, partials (2, blocks, columns), dalpha_partials (blocks, tiles), alpha,
    rows, columns. The grid is (tiles of columns, blocks of rows). `sums.add_partials` adds the shares of dgamma and
    dbeta, and those of dalpha as one column.
    """
    real = device.arithmetic(norm.dtype)
    width = device.vector_width(norm.dtype) if norm.vector else 1
    load, store, _ = device.access(norm.dtype, width, capability)
    load_parameter, _, _ = device.access(norm.parameters, width, capability)
    has_gamma, alpha_in_memory = norm.gamma, norm.alpha_in_memory
    threads, x_threads, y_threads = norm.block, norm.x_threads, norm.block // norm.x_threads
    tanh, wait, zero, one = _tanh(norm.dtype), device.barrier(), real(0), real(1)
    total, scratch_size = device.team_sum(threads, 1, norm.dtype), device.team_scratch(threads, 1)
    tile = x_threads * width
    shared_size = y_threads * tile

    def write_partials(out, base, c, columns, acc, shared):
        """Add up the block's rows of threads in order, and write the block's share."""
        lane, own = cuda.threadIdx.x % x_threads, cuda.threadIdx.x // x_threads
        for e in range(width):
            shared[(own * width + e) * x_threads + lane] = acc[e]
        wait()
        if own == 0 and c < columns:
            for e in range(width):
                s = zero
                for other in range(y_threads):
                    s += shared[(other * width + e) * x_threads + lane]
                out[base + c + e] = s
        wait()

    write_partials = device.function(write_partials)

    def kernel(dy, x, alpha_pointer, gamma, dx, partials, dalpha_partials, alpha, rows, columns):
        c = (np.int64(cuda.blockIdx.x) * x_threads + cuda.threadIdx.x % x_threads) * width
        shared = cuda.shared.array(shared_size, real)
        scratch = cuda.shared.array(scratch_size, real)
        grad, v = cuda.local.array(width, real), cuda.local.array(width, real)
        gain, sums = cuda.local.array(width, real), cuda.local.array(1, real)
        dgamma, dbeta = cuda.local.array(width, real), cuda.local.array(width, real)
        for e in range(width):
            gain[e], dgamma[e], dbeta[e] = one, zero, zero
        sums[0] = zero
        if alpha_in_memory:
            alpha = alpha_pointer[0]
        if c < columns:
            if has_gamma:
                load_parameter(gamma, c, gain, 0)
            row = np.int64(cuda.blockIdx.y) * y_threads + cuda.threadIdx.x // x_threads
            while row < rows:
                load(dy, row * columns + c, grad, 0)
                load(x, row * columns + c, v, 0)
                for e in range(width):
                    t = tanh(alpha * v[e])
                    dgamma[e] += grad[e] * t
                    dbeta[e] += grad[e]
                    slope = grad[e] * gain[e] * (one - t * t)
                    sums[0] += slope * v[e]
                    grad[e] = slope * alpha
                store(dx, row * columns + c, grad, 0)
                row += np.int64(cuda.gridDim.y) * y_threads
        blocks = np.int64(cuda.gridDim.y)
        mine = np.int64(cuda.blockIdx.y) * columns
        write_partials(partials, mine, c, columns, dgamma, shared)
        write_partials(partials, blocks * columns + mine, c, columns, dbeta, shared)
        total(sums, scratch, 0)
        if cuda.threadIdx.x == 0:
            dalpha_partials[np.int64(cuda.blockIdx.y) * cuda.gridDim.x + cuda.blockIdx.x] = sums[0]

    return kernel
