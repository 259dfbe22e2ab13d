"""The end of a step: the optimizer on all parameters at once, and the loss."""

import numpy as np
from numba import cuda

from normkit.kernels.cuda import device
from normkit.kernels.cuda.sums import block_sum
from normkit.kernels.cuda.variants import FIXED, LINE, VECTOR_BYTES, WEIGHT
from normkit.math import updates


def update(norm, capability):
    """Return the kernel that updates parameters with their gradients; a block leaves its weights' squares in partials.

    Arguments: params, grads, first, second, kinds (lines,), table (batches, 5), counter, partials, length, beta_1,
    beta_2, rest_1, rest_2, epsilon. The table has the rate, the penalty's factor and what a decoupled decay leaves;
    momentum has mu, ahead, now / rate in the place of the first three of the numbers after `length`.
    """
    real, width = device.arithmetic(norm.dtype), device.vector_width(norm.dtype)
    load, store, _ = device.access(norm.dtype, width, capability)
    adam, momentum = device.function(updates.adam), device.function(updates.momentum)
    is_adam = norm.optimizer == updates.CODES["adam"]
    block, line, zero, one = norm.block, LINE // VECTOR_BYTES, real(0), real(1)
    total = block_sum(norm.block)

    def kernel(params, grads, first, second, kinds, table, counter, partials, length, beta_1, beta_2, rest_1, rest_2,
               epsilon):  # fmt: skip
        me = cuda.threadIdx.x
        shared = cuda.shared.array(block, np.float64)
        w, g = cuda.local.array(width, real), cuda.local.array(width, real)
        m, v = cuda.local.array(width, real), cuda.local.array(width, real)
        row = 5 * counter[0]
        rate, penalty, kept = real(table[row]), real(table[row + 1]), real(table[row + 2])
        squares = 0.0
        k = np.int64(cuda.blockIdx.x) * block + me
        while k * width < length:
            kind = kinds[k // line]
            if kind != FIXED:
                decay, shrink = (penalty, kept) if kind == WEIGHT else (zero, one)
                load(params, k * width, w, 0)
                load(grads, k * width, g, 0)
                load(first, k * width, m, 0)
                if is_adam:
                    load(second, k * width, v, 0)
                for e in range(width):
                    squares += np.float64(w[e] * w[e]) if kind == WEIGHT else 0.0
                    d = g[e] + decay * w[e]
                    if is_adam:
                        w[e], m[e], v[e] = adam(
                            w[e], d, m[e], v[e], rate, shrink, beta_1, beta_2, rest_1, rest_2, epsilon
                        )  # fmt: skip
                    else:
                        w[e], m[e] = momentum(w[e], d, m[e], rate, shrink, beta_1, beta_2, rest_1 * rate)
                store(params, k * width, w, 0)
                store(first, k * width, m, 0)
                if is_adam:
                    store(second, k * width, v, 0)
            k += np.int64(cuda.gridDim.x) * block
        squares = total(squares, me, shared)
        if me == 0:
            partials[cuda.blockIdx.x] = squares

    return kernel


def finish(norm, capability):
    """Return the kernel of one block that adds the step's loss to the epoch's, and goes on to the next batch.

    Arguments: losses, loss_blocks, squares, square_blocks, table (batches, 5), counter, epoch (1,).
    """
    total, block = block_sum(norm.block), norm.block

    def kernel(losses, loss_blocks, squares, square_blocks, table, counter, epoch):
        me = cuda.threadIdx.x
        shared = cuda.shared.array(block, np.float64)
        row = 5 * counter[0]
        found = 0.0
        k = np.int64(me)
        while k < loss_blocks:
            found += losses[k]
            k += block
        k = np.int64(me)
        while k < square_blocks:
            found += 0.5 * table[row + 1] * squares[k]
            k += block
        found = total(found, me, shared)
        if me == 0:
            epoch[0] += table[row + 3] * found
            counter[0] += 1

    return kernel
