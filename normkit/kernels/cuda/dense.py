"""What follows the product of a dense layer, on batches of rows (n, columns): bias, norm over the batch, activation,
dropout, in one kernel each way.

A block takes `x_threads` neighbouring columns and all rows, its rows of threads in turn, so that sums over the batch
stay in it; where there is nothing to sum, the grid's second dimension shares the rows out. Nothing but the product and
the column's statistics is kept for the backward: the rest is cheaper to compute again than to write and read.

The weights of the samples, `share`, have the sum 1. The mean is a pair, as in `normkit.kernels.cuda.channels`, found in
two passes over rows that are in the cache.
"""

import math

import numpy as np
from numba import cuda

from normkit.kernels.cuda import device, formulas
from normkit.math import activations
from normkit.math.random import uniform

_FORMULAS = list(activations.FORMULAS.values())


def _column_sums(dtype, norm, count):
    """Return total(sums, me, shared): each of `count` sums becomes that of the column's threads, in all of them."""
    wait, zero = device.barrier(), device.arithmetic(dtype)(0)
    threads, x_threads, y_threads = norm.block, norm.x_threads, norm.block // norm.x_threads

    def total(sums, me, shared):
        for i in range(count):
            shared[i * threads + me] = sums[i]
        wait()
        for i in range(count):
            s = zero
            for other in range(y_threads):
                s += shared[i * threads + other * x_threads + me % x_threads]
            sums[i] = s
        wait()

    return device.function(total)


def _dropout(norm):
    """Return keep(rate, scale, seed, step, k): the factor of element k, 0 or scale."""
    draw, zero = device.function(uniform), device.arithmetic(norm.dtype)(0)

    def keep(rate, scale, seed, step, k):
        return scale if draw(seed, step, k) >= rate else zero

    return device.function(keep)


def _moving(norm):
    """Return move(moving_mean, moving_var, batches, c, mean, var, kept), as `normkit.engine.norms` does."""
    real, cumulative = device.arithmetic(norm.dtype), norm.cumulative
    moved, finite = device.function(formulas.moving_average), device.function(formulas.finite)

    def move(moving_mean, moving_var, batches, c, mean, var, kept):
        if cumulative:
            kept = batches[c] / (batches[c] + 1.0)
        new_mean = real(moved(np.float64(moving_mean[c]), mean, kept, 1.0 - kept))
        new_var = real(moved(np.float64(moving_var[c]), var, kept, 1.0 - kept))
        if finite(new_mean) and finite(new_var):
            moving_mean[c], moving_var[c] = new_mean, new_var
            if cumulative:
                batches[c] += 1

    return device.function(move)


def forward(norm, capability):
    """Return the kernel for out = dropout(activation(norm(x + bias))), or with `after` the norm of the activation.

    Arguments: x, bias, gamma, beta, share (n,), moving_mean, moving_var, batches, stats (3, columns), out, steps
    (batches of the epoch, 2), counter, n, columns, rate, scale = 1 / (1 - rate), seed, first, width, epsilon, kept.
    `stats` receives mean, low and rstd. Row i and column c draw the random number first + c * width + i of a step;
    steps[counter, 1] is its number.
    """
    real, name, after = device.arithmetic(norm.dtype), norm.norm, norm.after
    x_threads, y_threads = norm.x_threads, norm.block // norm.x_threads
    averaging, has_bias, has_dropout = name == "batch", norm.bias, norm.dropout
    activate, keep = device.function(_FORMULAS[norm.activation][0]), _dropout(norm)
    deviation, move = device.function(formulas.deviation), _moving(norm)
    total, shared_size = _column_sums(norm.dtype, norm, 2), 2 * norm.block if averaging else 1
    zero, one = real(0), real(1)

    def value(x, place, shift):
        v = x[place] + shift if has_bias else x[place]
        return activate(v) if after else v

    value = device.function(value)

    def moments(x, share, n, columns, c, y, shift, me, sums, shared):
        """Return the mean as a pair, and the variance."""
        sums[0], sums[1] = zero, zero
        row = np.int64(y)
        while row < n and c < columns:
            sums[0] += share[row] * value(x, row * columns + c, shift)
            row += y_threads
        total(sums, me, shared)
        high = sums[0]
        sums[0], sums[1] = zero, zero
        row = np.int64(y)
        while row < n and c < columns:
            d = value(x, row * columns + c, shift) - high
            sums[0] += share[row] * d
            sums[1] += share[row] * (d * d)
            row += y_threads
        total(sums, me, shared)
        low = np.float64(sums[0])
        return high, sums[0], max(np.float64(sums[1]) - low * low, 0.0)

    moments = device.function(moments)

    def kernel(x, bias, gamma, beta, share, moving_mean, moving_var, batches, stats, out, steps, counter, n, columns,
               rate, scale, seed, first, width, epsilon, kept):  # fmt: skip
        me = cuda.threadIdx.x
        y = me // x_threads
        c = np.int64(cuda.blockIdx.x) * x_threads + me % x_threads
        shared, sums = cuda.shared.array(shared_size, real), cuda.local.array(2, real)
        shift, high, low, rstd, gain, offset = zero, zero, zero, one, one, zero
        if has_bias and c < columns:
            shift = bias[c]
        if averaging:
            high, low, var = moments(x, share, n, columns, c, y, shift, me, sums, shared)
            rstd = real(1.0 / math.sqrt(var + epsilon))
            if y == 0 and c < columns:
                stats[c], stats[columns + c], stats[2 * columns + c] = high, low, rstd
                move(moving_mean, moving_var, batches, c, np.float64(high) + np.float64(low), var, kept)
        elif name == "fixed" and c < columns:
            high, rstd = moving_mean[c], real(1.0 / math.sqrt(np.float64(moving_var[c]) + epsilon))
            if y == 0 and cuda.blockIdx.y == 0:
                stats[c], stats[columns + c], stats[2 * columns + c] = high, low, rstd
        if name != "" and c < columns:
            gain, offset = gamma[c], beta[c]
        row = np.int64(cuda.blockIdx.y) * y_threads + y
        while row < n and c < columns:
            v = value(x, row * columns + c, shift)
            if name != "":
                v = gain * (deviation(v, high, low) * rstd) + offset
            if not after:
                v = activate(v)
            if has_dropout:
                v *= keep(rate, scale, seed, steps[2 * counter[0] + 1], first + c * width + row)
            out[row * columns + c] = v
            row += np.int64(cuda.gridDim.y) * y_threads

    return kernel


def backward(norm, capability):
    """Return the kernel for the gradient of `forward` in place of delta, and those of bias, gamma and beta.

    Arguments: x, bias, gamma, beta, share, stats, delta, dbias, dgamma, dbeta, steps, counter, n, columns, rate, scale,
    seed, first, width. With a norm, or `sums`, the second dimension of the grid must be 1.
    """
    real, name, after = device.arithmetic(norm.dtype), norm.norm, norm.after
    x_threads, y_threads = norm.x_threads, norm.block // norm.x_threads
    has_bias, has_dropout, normed, has_sums = norm.bias, norm.dropout, norm.norm != "", norm.sums
    activate, derive = (device.function(formula) for formula in _FORMULAS[norm.activation])
    deviation, keep = device.function(formulas.deviation), _dropout(norm)
    total, shared_size = _column_sums(norm.dtype, norm, 2), 2 * norm.block if normed or has_sums else 1
    zero, one = real(0), real(1)

    def pull(d, v, high, low, rstd, gain, offset):
        """Return what the norm is given of the gradient d of the block, and xhat; before the norm, of its input v."""
        if after:
            return d, deviation(activate(v), high, low) * rstd if normed else zero
        xhat = deviation(v, high, low) * rstd if normed else zero
        z = gain * xhat + offset if normed else v
        return derive(z, activate(z), d), xhat

    pull = device.function(pull)

    def second(d, v, share, xhat, slope, sum_d, sum_dot):
        """Return the gradient of x from that of y, the norm's output."""
        d = slope * (d - share * (sum_d + xhat * sum_dot)) if name == "batch" else slope * d
        return derive(v, activate(v), d) if after else d

    second = device.function(second)

    def kernel(x, bias, gamma, beta, share, stats, delta, dbias, dgamma, dbeta, steps, counter, n, columns, rate, scale,
               seed, first, width):  # fmt: skip
        me = cuda.threadIdx.x
        y = me // x_threads
        c = np.int64(cuda.blockIdx.x) * x_threads + me % x_threads
        shared, sums = cuda.shared.array(shared_size, real), cuda.local.array(2, real)
        shift, high, low, rstd, gain, offset = zero, zero, zero, one, one, zero
        if has_bias and c < columns:
            shift = bias[c]
        if normed and c < columns:
            high, low, rstd = stats[c], stats[columns + c], stats[2 * columns + c]
            gain, offset = gamma[c], beta[c]
        sums[0], sums[1] = zero, zero
        row = np.int64(cuda.blockIdx.y) * y_threads + y
        while row < n and c < columns:
            place = row * columns + c
            d = delta[place]
            if has_dropout:
                d *= keep(rate, scale, seed, steps[2 * counter[0] + 1], first + c * width + row)
            d, xhat = pull(d, x[place] + shift, high, low, rstd, gain, offset)
            delta[place] = d
            sums[0] += d
            sums[1] += d * xhat
            row += np.int64(cuda.gridDim.y) * y_threads
        if normed:
            total(sums, me, shared)
            sum_d, sum_dot = sums[0], sums[1]
            if y == 0 and c < columns:
                dbeta[c], dgamma[c] = sum_d, sum_dot
            sums[0] = zero
            row = np.int64(y)
            while row < n and c < columns:
                place = row * columns + c
                v = x[place] + shift
                xhat = deviation(activate(v) if after else v, high, low) * rstd
                d = second(delta[place], v, share[row], xhat, gain * rstd, sum_d, sum_dot)
                delta[place] = d
                sums[0] += d
                row += y_threads
        if has_sums:
            total(sums, me, shared)
            if y == 0 and c < columns:
                dbias[c] = sums[0]

    return kernel
