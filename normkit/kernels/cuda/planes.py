"""Channels first: (planes, length), a plane one channel of one sample; see `normkit.kernels.cuda.channels`.

A team of `x_threads` takes a range of a plane. The grid is (groups of planes, splits) for all of them; `chunk` is the
length of a split. Beyond its end its last values are read again, and what is added up is masked: no load waits for a
branch.
"""

import numpy as np
from numba import cuda

from normkit.kernels.cuda import channels, device

# Vectors of a thread that are on their way at once, of one array and of two
MOMENTS_AHEAD, AHEAD = 4, 2


def moments(norm, capability):
    """Return the kernel for each split's mean, the rest of the mean, and sum of squared deviations.

    Arguments: x, partials (3, splits * planes), planes, length, chunk, splits.
    """
    real = device.arithmetic(norm.dtype)
    width = device.vector_width(norm.dtype) if norm.vector else 1
    load, _, _ = device.access(norm.dtype, width, capability)
    threads, teams = norm.x_threads, norm.block // norm.x_threads
    merge, tree = channels.merge_into(norm.dtype), channels.merge_tree(norm.dtype, norm.x_threads, 1)
    divide, zero, buffer, step = device.divide(norm.dtype), real(0), MOMENTS_AHEAD * width, threads * width
    shared_size = 4 * norm.block
    rounds, two = max(1, channels.PIECE // buffer), 2 * width

    def piece(x, base, i, stop, v, sums, state, n):
        """Merge the next `rounds` reads of a thread; return how many values it has now."""
        for e in range(two):
            sums[e] = zero
        count = np.int64(0)
        shift = zero
        last = stop - width
        stop = min(stop, i + rounds * MOMENTS_AHEAD * step)
        while i < stop:
            for k in range(MOMENTS_AHEAD):
                load(x, base + min(i + k * step, last), v, k * width)
            if count == 0:
                shift = v[0]
            for k in range(MOMENTS_AHEAD):
                inside = i + k * step < stop
                for e in range(width):
                    d = v[k * width + e] - shift if inside else zero
                    sums[e] += d
                    sums[width + e] += d * d
                count += width if inside else 0
            i += MOMENTS_AHEAD * step
        first, second = zero, zero
        for e in range(width):
            first += sums[e]
            second += sums[width + e]
        m = real(count)
        off = divide(first, m)
        merge(state, n, 0, m, shift, off, second - first * off)
        return n + m

    piece = device.function(piece)

    def kernel(x, partials, planes, length, chunk, splits):
        me = cuda.threadIdx.x
        lane = me % threads
        plane = np.int64(cuda.blockIdx.x) * teams + me // threads
        split = np.int64(cuda.blockIdx.y)
        shared = cuda.shared.array(shared_size, real)
        v, sums = cuda.local.array(buffer, real), cuda.local.array(two, real)
        state = cuda.local.array(3, real)
        state[0], state[1], state[2] = zero, zero, zero
        n = zero
        if plane < planes:
            i = split * chunk + lane * width
            stop = min((split + 1) * chunk, length)
            while i < stop:
                n = piece(x, plane * length, i, stop, v, sums, state, n)
                i += rounds * MOMENTS_AHEAD * step
        tree(state, n, 0, lane, me, shared)
        if lane == 0 and plane < planes:
            q, size = split * planes + plane, splits * planes
            partials[q], partials[size + q], partials[2 * size + q] = state[0], state[1], state[2]

    return kernel


def sums(norm, capability):
    """Return the kernel for each split's sums of dy, dy * (x - mean) and, unless `fixed`, x - mean.

    Arguments: dy, x, mean, partials (3, splits * planes), planes, channels, members, length, chunk, splits.
    """
    real = device.arithmetic(norm.dtype)
    width = device.vector_width(norm.dtype) if norm.vector else 1
    load, _, _ = device.access(norm.dtype, width, capability)
    threads, teams = norm.x_threads, norm.block // norm.x_threads
    total, scratch_size = device.team_sum(threads, 3, norm.dtype), device.team_scratch(threads, 3)
    by_sample, fixed = norm.by_sample, norm.fixed
    zero, step, buffer, three = real(0), threads * width, AHEAD * width, 3 * width

    def kernel(dy, x, mean, partials, planes, channels, members, length, chunk, splits):
        lane = cuda.threadIdx.x % threads
        plane = np.int64(cuda.blockIdx.x) * teams + cuda.threadIdx.x // threads
        split = np.int64(cuda.blockIdx.y)
        scratch = cuda.shared.array(scratch_size, real)
        grad, v = cuda.local.array(buffer, real), cuda.local.array(buffer, real)
        acc = cuda.local.array(three, real)
        result = cuda.local.array(3, real)
        for e in range(three):
            acc[e] = zero
        if plane < planes:
            center = mean[plane // members if by_sample else plane % channels]
            i = split * chunk + lane * width
            stop = min((split + 1) * chunk, length)
            while i < stop:
                for k in range(AHEAD):
                    place = plane * length + min(i + k * step, stop - width)
                    load(dy, place, grad, k * width)
                    load(x, place, v, k * width)
                for k in range(AHEAD):
                    inside = i + k * step < stop
                    for e in range(width):
                        g = grad[k * width + e] if inside else zero
                        d = v[k * width + e] - center if inside else zero
                        acc[e] += g
                        acc[width + e] += g * d
                        acc[2 * width + e] += d
                i += AHEAD * step
        for j in range(3):
            result[j] = zero
            for e in range(width):
                result[j] += acc[j * width + e]
        total(result, scratch, 0)
        if lane == 0 and plane < planes:
            q, size = split * planes + plane, splits * planes
            partials[q], partials[size + q] = result[0], result[1]
            if not fixed:
                partials[2 * size + q] = result[2]

    return kernel


def apply(norm, capability):
    """Return the kernel for y = gamma * (x - mean - low) * rstd + beta.

    Arguments: x, mean, low, rstd, gamma, beta, y, planes, channels, members, length, chunk.
    """
    real = device.arithmetic(norm.dtype)
    width = device.vector_width(norm.dtype) if norm.vector else 1
    load, store, _ = device.access(norm.dtype, width, capability)
    threads, teams = norm.x_threads, norm.block // norm.x_threads
    coefficients = channels.coefficients_of(norm, capability)
    step, buffer = threads * width, AHEAD * width

    def kernel(x, mean, low, rstd, gamma, beta, y, planes, channels, members, length, chunk):
        plane = np.int64(cuda.blockIdx.x) * teams + cuda.threadIdx.x // threads
        v, p = cuda.local.array(buffer, real), cuda.local.array(1, real)
        c = cuda.local.array(3, real)
        if plane < planes:
            coefficients(plane, plane % channels, mean, low, rstd, gamma, beta, members, p, c, 0)
            i = np.int64(cuda.blockIdx.y) * chunk + cuda.threadIdx.x % threads * width
            stop = min((np.int64(cuda.blockIdx.y) + 1) * chunk, length)
            while i < stop:
                for k in range(AHEAD):
                    load(x, plane * length + min(i + k * step, stop - width), v, k * width)
                for k in range(AHEAD):
                    if i + k * step < stop:
                        for e in range(k * width, (k + 1) * width):
                            v[e] = (v[e] - c[0]) * c[1] + c[2]
                        store(y, plane * length + i + k * step, v, k * width)
                i += AHEAD * step

    return kernel


def gradient(norm, capability):
    """Return the kernel for dx, after `channels.merge_sums`; with `fixed`, dx = gamma * rstd * dy.

    Arguments: dy, x, mean, rstd, gamma, coefficients (3, sets), dx, planes, channels, members, sets, length, chunk.
    """
    real = device.arithmetic(norm.dtype)
    width = device.vector_width(norm.dtype) if norm.vector else 1
    load, store, _ = device.access(norm.dtype, width, capability)
    threads, teams = norm.x_threads, norm.block // norm.x_threads
    coefficients_of = channels.gradient_coefficients_of(norm, capability)
    step, buffer, fixed = threads * width, AHEAD * width, norm.fixed

    def kernel(dy, x, mean, rstd, gamma, coefficients, dx, planes, channels, members, sets, length, chunk):
        plane = np.int64(cuda.blockIdx.x) * teams + cuda.threadIdx.x // threads
        grad, v = cuda.local.array(buffer, real), cuda.local.array(buffer, real)
        p, c = cuda.local.array(1, real), cuda.local.array(4, real)
        if plane < planes:
            coefficients_of(plane, plane % channels, mean, rstd, gamma, coefficients, members, sets, p, c, 0)
            i = np.int64(cuda.blockIdx.y) * chunk + cuda.threadIdx.x % threads * width
            stop = min((np.int64(cuda.blockIdx.y) + 1) * chunk, length)
            while i < stop:
                for k in range(AHEAD):
                    place = plane * length + min(i + k * step, stop - width)
                    load(dy, place, grad, k * width)
                    if not fixed:
                        load(x, place, v, k * width)
                for k in range(AHEAD):
                    if i + k * step < stop:
                        for e in range(k * width, (k + 1) * width):
                            grad[e] *= c[1]
                            if not fixed:
                                grad[e] += (v[e] - c[0]) * c[2] + c[3]
                        store(dx, plane * length + i + k * step, grad, k * width)
                i += AHEAD * step

    return kernel
