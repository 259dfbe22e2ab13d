"""Channels last: (samples, length, channels); see `normkit.kernels.cuda.channels`.

A block takes `x_threads` vectors of neighbouring channels, and its rows of threads take the rows of a split in turn.
The grid is (tiles of channels, splits, samples, where a block takes another when there are more), for all of them.
Beyond the end of a split its last row is read again, and what is added up is masked: no load waits for a branch.
"""

import numpy as np
from numba import cuda

from normkit.kernels.cuda import channels, device

# Rows of a thread that are on their way at once, of one array and of two
MOMENTS_AHEAD, AHEAD = 4, 2


def moments(norm, capability):
    """Return the kernel for each split's mean, the rest of the mean, and sum of squared deviations.

    Arguments: x, partials (3, splits * planes), samples, length, channels, chunk, splits.
    """
    real = device.arithmetic(norm.dtype)
    width = device.vector_width(norm.dtype) if norm.vector else 1
    load, _, _ = device.access(norm.dtype, width, capability)
    x_threads, y_threads = norm.x_threads, norm.block // norm.x_threads
    merge, tree = channels.merge_into(norm.dtype), channels.merge_tree(norm.dtype, y_threads, x_threads)
    divide, zero, buffer, shared_size = device.divide(norm.dtype), real(0), MOMENTS_AHEAD * width, 4 * norm.block
    rounds, two, three = channels.PIECE // MOMENTS_AHEAD, 2 * width, 3 * width

    def piece(x, base, row, stop, channels, v, shift, sums, state, n):
        """Merge the next `rounds` reads of a thread; return how many rows it has now."""
        load(x, base + row * channels, shift, 0)
        for e in range(two):
            sums[e] = zero
        count = np.int64(0)
        stop = min(stop, row + rounds * MOMENTS_AHEAD * y_threads)
        while row < stop:
            for k in range(MOMENTS_AHEAD):
                load(x, base + min(row + k * y_threads, stop - 1) * channels, v, k * width)
            for k in range(MOMENTS_AHEAD):
                inside = row + k * y_threads < stop
                for e in range(width):
                    d = v[k * width + e] - shift[e] if inside else zero
                    sums[e] += d
                    sums[width + e] += d * d
                count += 1 if inside else 0
            row += MOMENTS_AHEAD * y_threads
        m = real(count)
        for e in range(width):
            off = divide(sums[e], m)
            merge(state, n, 3 * e, m, shift[e], off, sums[width + e] - sums[e] * off)
        return n + m

    piece = device.function(piece)

    def kernel(x, partials, samples, length, channels, chunk, splits):
        me = cuda.threadIdx.x
        y = me // x_threads
        c = (np.int64(cuda.blockIdx.x) * x_threads + me % x_threads) * width
        split = np.int64(cuda.blockIdx.y)
        shared = cuda.shared.array(shared_size, real)
        v, shift = cuda.local.array(buffer, real), cuda.local.array(width, real)
        sums, state = cuda.local.array(two, real), cuda.local.array(three, real)
        size = splits * samples * channels
        sample = np.int64(cuda.blockIdx.z)
        while sample < samples:
            for e in range(three):
                state[e] = zero
            n = zero
            if c < channels:
                row = split * chunk + y
                stop = min((split + 1) * chunk, length)
                while row < stop:
                    n = piece(x, sample * length * channels + c, row, stop, channels, v, shift, sums, state, n)
                    row += rounds * MOMENTS_AHEAD * y_threads
            q = (split * samples + sample) * channels + c
            for e in range(width):
                tree(state, n, 3 * e, y, me, shared)
                if y == 0 and c < channels:
                    partials[q + e], partials[size + q + e] = state[3 * e], state[3 * e + 1]
                    partials[2 * size + q + e] = state[3 * e + 2]
            sample += cuda.gridDim.z

    return kernel


def sums(norm, capability):
    """Return the kernel for each split's sums of dy, dy * (x - mean) and, unless `fixed`, x - mean.

    Arguments: dy, x, mean, partials (3, splits * planes), samples, length, channels, members, chunk, splits.
    """
    real = device.arithmetic(norm.dtype)
    width = device.vector_width(norm.dtype) if norm.vector else 1
    load, _, _ = device.access(norm.dtype, width, capability)
    x_threads, y_threads = norm.x_threads, norm.block // norm.x_threads
    by_sample, count = norm.by_sample, 2 if norm.fixed else 3
    wait, zero, buffer = device.barrier(), real(0), AHEAD * width
    shared_size = width * norm.block
    threads, three = norm.block, 3 * width

    def kernel(dy, x, mean, partials, samples, length, channels, members, chunk, splits):
        me = cuda.threadIdx.x
        y = me // x_threads
        c = (np.int64(cuda.blockIdx.x) * x_threads + me % x_threads) * width
        split = np.int64(cuda.blockIdx.y)
        shared = cuda.shared.array(shared_size, real)
        grad, v = cuda.local.array(buffer, real), cuda.local.array(buffer, real)
        acc, center = cuda.local.array(three, real), cuda.local.array(width, real)
        sample = np.int64(cuda.blockIdx.z)
        while sample < samples:
            for e in range(three):
                acc[e] = zero
            base = sample * length * channels + c
            if c < channels:
                for e in range(width):
                    center[e] = mean[(sample * channels + c + e) // members if by_sample else c + e]
                row = split * chunk + y
                stop = min((split + 1) * chunk, length)
                while row < stop:
                    for k in range(AHEAD):
                        place = base + min(row + k * y_threads, stop - 1) * channels
                        load(dy, place, grad, k * width)
                        load(x, place, v, k * width)
                    for k in range(AHEAD):
                        inside = row + k * y_threads < stop
                        for e in range(width):
                            g = grad[k * width + e] if inside else zero
                            d = v[k * width + e] - center[e] if inside else zero
                            acc[e] += g
                            acc[width + e] += g * d
                            acc[2 * width + e] += d
                    row += AHEAD * y_threads
            q = (split * samples + sample) * channels + c
            for j in range(count):
                for e in range(width):
                    shared[e * threads + me] = acc[j * width + e]
                wait()
                if y == 0 and c < channels:
                    for e in range(width):
                        s = zero
                        for other in range(y_threads):
                            s += shared[e * threads + other * x_threads + me]
                        partials[j * splits * samples * channels + q + e] = s
                wait()
            sample += cuda.gridDim.z

    return kernel


def apply(norm, capability):
    """Return the kernel for y = gamma * (x - mean - low) * rstd + beta.

    Arguments: x, mean, low, rstd, gamma, beta, y, samples, length, channels, members, chunk.
    """
    real = device.arithmetic(norm.dtype)
    width = device.vector_width(norm.dtype) if norm.vector else 1
    load, store, _ = device.access(norm.dtype, width, capability)
    x_threads, y_threads = norm.x_threads, norm.block // norm.x_threads
    coefficients = channels.coefficients_of(norm, capability)
    buffer, three = AHEAD * width, 3 * width

    def kernel(x, mean, low, rstd, gamma, beta, y, samples, length, channels, members, chunk):
        c = (np.int64(cuda.blockIdx.x) * x_threads + cuda.threadIdx.x % x_threads) * width
        split = np.int64(cuda.blockIdx.y)
        v, p = cuda.local.array(buffer, real), cuda.local.array(1, real)
        own = cuda.local.array(three, real)
        sample = np.int64(cuda.blockIdx.z)
        while sample < samples and c < channels:
            for e in range(width):
                coefficients(sample * channels + c + e, c + e, mean, low, rstd, gamma, beta, members, p, own, 3 * e)
            base = sample * length * channels + c
            row = split * chunk + cuda.threadIdx.x // x_threads
            stop = min((split + 1) * chunk, length)
            while row < stop:
                for k in range(AHEAD):
                    load(x, base + min(row + k * y_threads, stop - 1) * channels, v, k * width)
                for k in range(AHEAD):
                    if row + k * y_threads < stop:
                        for e in range(width):
                            v[k * width + e] = (v[k * width + e] - own[3 * e]) * own[3 * e + 1] + own[3 * e + 2]
                        store(y, base + (row + k * y_threads) * channels, v, k * width)
                row += AHEAD * y_threads
            sample += cuda.gridDim.z

    return kernel


def gradient(norm, capability):
    """Return the kernel for dx, after `channels.merge_sums`; with `fixed`, dx = gamma * rstd * dy.

    Arguments: dy, x, mean, rstd, gamma, coefficients (3, sets), dx, samples, length, channels, members, sets, chunk.
    """
    real = device.arithmetic(norm.dtype)
    width = device.vector_width(norm.dtype) if norm.vector else 1
    load, store, _ = device.access(norm.dtype, width, capability)
    x_threads, y_threads = norm.x_threads, norm.block // norm.x_threads
    coefficients_of = channels.gradient_coefficients_of(norm, capability)
    buffer, four, fixed = AHEAD * width, 4 * width, norm.fixed

    def kernel(dy, x, mean, rstd, gamma, coefficients, dx, samples, length, channels, members, sets, chunk):
        c = (np.int64(cuda.blockIdx.x) * x_threads + cuda.threadIdx.x % x_threads) * width
        split = np.int64(cuda.blockIdx.y)
        grad, v = cuda.local.array(buffer, real), cuda.local.array(buffer, real)
        p, own = cuda.local.array(1, real), cuda.local.array(four, real)
        sample = np.int64(cuda.blockIdx.z)
        while sample < samples and c < channels:
            for e in range(width):
                plane = sample * channels + c + e
                coefficients_of(plane, c + e, mean, rstd, gamma, coefficients, members, sets, p, own, 4 * e)
            base = sample * length * channels + c
            row = split * chunk + cuda.threadIdx.x // x_threads
            stop = min((split + 1) * chunk, length)
            while row < stop:
                for k in range(AHEAD):
                    place = base + min(row + k * y_threads, stop - 1) * channels
                    load(dy, place, grad, k * width)
                    if not fixed:
                        load(x, place, v, k * width)
                for k in range(AHEAD):
                    if row + k * y_threads < stop:
                        for e in range(width):
                            d = grad[k * width + e] * own[4 * e + 1]
                            if not fixed:
                                d += (v[k * width + e] - own[4 * e]) * own[4 * e + 2] + own[4 * e + 3]
                            grad[k * width + e] = d
                        store(dx, base + (row + k * y_threads) * channels, grad, k * width)
                row += AHEAD * y_threads
            sample += cuda.gridDim.z

    return kernel
