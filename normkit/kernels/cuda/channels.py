"""Norms with statistics over many rows or planes: what the two layouts share, and the small kernels in between.

An array is (samples, channels, length), channels first, or (samples, length, channels), channels last. A *plane* is
one channel of one sample, number sample * channels + channel; a *set* is the planes that share statistics: a channel
of all samples (BatchNorm, `by_sample` False), or consecutive channels of one sample (GroupNorm, InstanceNorm, ghost
batches). BatchNorm of a channels-last array has one sample.

Each pass leaves an intermediate result for each plane and *split*, a range of the plane's values, at
split * planes + plane; a small kernel adds these up, always in the same order. Means are pairs and a thread's sums are
taken around its own first value, so a large mean costs no digits. Squares are not protected from overflow: a
deviation of more than about 1e19 in float32 gives rstd = 0 and the result beta.
"""

import numpy as np
from numba import cuda

from normkit.kernels.cuda import device, formulas

# Values that a thread sums around one of them before it merges
PIECE = 64


def merge_into(dtype):
    """Return merge(state, n, i, other's n, mean, low, m2), which merges a sample into state[i : i + 3]."""
    merged, divide = device.function(formulas.merge_moments), device.divide(dtype)
    zero = device.arithmetic(dtype)(0)

    def merge(state, n, i, other_n, other_mean, other_low, other_m2):
        if other_n > zero:
            if n > zero:
                share = divide(other_n, n + other_n)
                mean, low, m2 = state[i], state[i + 1], state[i + 2]
                mean, low, m2 = merged(n, mean, low, m2, other_n, other_mean, other_low, other_m2, share)
                state[i], state[i + 1], state[i + 2] = mean, low, m2
            else:
                state[i], state[i + 1], state[i + 2] = other_mean, other_low, other_m2

    return device.function(merge)


def merge_tree(dtype, threads, distance):
    """Return tree(state, n, i, position, shared): merges state[i : i + 3] of `threads` threads, `distance` apart.

    `position` is the thread's place among those; the result, a count too, is that of the thread with position 0. All
    threads of a block must come here, and `shared` has 4 values for each.
    """
    merge, wait = merge_into(dtype), device.barrier()

    def tree(state, n, i, position, me, shared):
        offset = threads // 2
        while offset > 0:
            shared[4 * me] = n
            shared[4 * me + 1], shared[4 * me + 2], shared[4 * me + 3] = state[i], state[i + 1], state[i + 2]
            wait()
            if position < offset:
                other = 4 * (me + offset * distance)
                merge(state, n, i, shared[other], shared[other + 1], shared[other + 2], shared[other + 3])
                n += shared[other]
            wait()
            offset //= 2
        return n

    return device.function(tree)


def sum_tree(dtype, threads, distance, count):
    """Return tree(sums, position, me, shared): like `merge_tree`, for `count` plain sums in one local array."""
    wait = device.barrier()

    def tree(sums, position, me, shared):
        offset = threads // 2
        while offset > 0:
            for i in range(count):
                shared[count * me + i] = sums[i]
            wait()
            if position < offset:
                for i in range(count):
                    sums[i] += shared[count * (me + offset * distance) + i]
            wait()
            offset //= 2

    return device.function(tree)


def merge_moments(norm, capability):
    """Return the kernel that makes mean and rstd of each set from its planes' moments.

    Arguments: partials (3, splits * planes), mean, low, rstd, moving_mean, moving_var, planes, sets, members, stride,
    splits, chunk, length, epsilon, kept, correction. Member k of set s is plane first + k * stride, where first is
    s * members with `by_sample`, else s. A team of x_threads takes a set.
    ``moving = kept * moving + (1 - kept) * batch`` where all of these are finite, the variance times `correction`.
    """
    real = device.arithmetic(norm.dtype)
    threads, teams = norm.x_threads, norm.block // norm.x_threads
    by_sample, moving = norm.by_sample, norm.moving
    merge, tree = merge_into(norm.dtype), merge_tree(norm.dtype, threads, 1 if by_sample else teams)
    rsqrt, divide, finite = device.rsqrt(norm.dtype), device.divide(norm.dtype), device.function(formulas.finite)
    moved = device.function(formulas.moving_average)
    zero, one, shared_size = real(0), real(1), 4 * norm.block

    def kernel(partials, mean, low, rstd, moving_mean, moving_var, planes, sets, members, stride, splits, chunk, length,
               epsilon, kept, correction):  # fmt: skip
        me = cuda.threadIdx.x
        lane = me % threads if by_sample else me // teams  # neighbours read neighbours
        s = np.int64(cuda.blockIdx.x) * teams + (me // threads if by_sample else me % teams)
        shared = cuda.shared.array(shared_size, real)
        state = cuda.local.array(3, real)
        state[0], state[1], state[2] = zero, zero, zero
        n = zero
        size = splits * planes
        first = s * members if by_sample else s
        k = np.int64(lane)
        while s < sets and k < members * splits:
            split = k // members
            q = split * planes + first + (k - split * members) * stride
            count = real(min(chunk, length - split * chunk))
            merge(state, n, 0, count, partials[q], partials[size + q], partials[2 * size + q])
            n += count
            k += threads
        n = tree(state, n, 0, lane, me, shared)
        if lane == 0 and s < sets:
            var = divide(state[2], n)
            mean[s], low[s], rstd[s] = state[0], state[1], rsqrt(var + epsilon)
            if moving:
                new_mean = moved(moving_mean[s], state[0] + state[1], kept, one - kept)
                new_var = moved(moving_var[s], var * correction, kept, one - kept)
                # a share of 0 would hide an infinity
                if finite(state[0]) and finite(var) and finite(new_mean) and finite(new_var):
                    moving_mean[s], moving_var[s] = new_mean, new_var

    return kernel


def invert(norm, capability):
    """Return the kernel for rstd = 1 / sqrt(var + epsilon); arguments: var, rstd, epsilon, count."""
    rsqrt = device.rsqrt(norm.dtype)

    def kernel(var, rstd, epsilon, count):
        i = np.int64(cuda.blockIdx.x) * cuda.blockDim.x + cuda.threadIdx.x
        if i < count:
            rstd[i] = rsqrt(var[i] + epsilon)

    return kernel


def merge_sums(norm, capability):
    """Return the kernel that makes what dx needs of each set from its planes' sums.

    Arguments: partials (3, splits * planes) of the sums of dy, dy * (x - mean) and x - mean, gamma, rstd, coefficients
    (3, sets), dgamma, dbeta, planes, channels, sets, members, stride, splits, share = 1 / values in a set. The
    coefficients are low, mean(g) and mean(g * xhat), g = gamma * dy. Without `by_sample` a set is a channel, and dgamma
    and dbeta are written too; with it `add_channels` does that.
    """
    real = device.arithmetic(norm.dtype)
    threads, teams = norm.x_threads, norm.block // norm.x_threads
    load_parameter, _, _ = device.access(norm.parameters, 1, capability)
    by_sample, has_gamma, fixed = norm.by_sample, norm.gamma, norm.fixed
    tree = sum_tree(norm.dtype, threads, 1 if by_sample else teams, 3)
    zero, one, shared_size = real(0), real(1), 3 * norm.block

    def kernel(partials, gamma, rstd, coefficients, dgamma, dbeta, planes, channels, sets, members, stride, splits,
               share):  # fmt: skip
        me = cuda.threadIdx.x
        lane = me % threads if by_sample else me // teams
        s = np.int64(cuda.blockIdx.x) * teams + (me // threads if by_sample else me % teams)
        shared = cuda.shared.array(shared_size, real)
        sums, gain = cuda.local.array(3, real), cuda.local.array(1, real)
        sums[0], sums[1], sums[2], gain[0] = zero, zero, zero, one
        size = splits * planes
        first = s * members if by_sample else s
        k = np.int64(lane)
        while s < sets and k < members * splits:
            split = k // members
            plane = first + (k - split * members) * stride
            if has_gamma and by_sample:
                load_parameter(gamma, plane % channels, gain, 0)
            q = split * planes + plane
            sums[0] += gain[0] * partials[q]
            sums[1] += gain[0] * partials[size + q]
            if not fixed:
                sums[2] += partials[2 * size + q]
            k += threads
        tree(sums, lane, me, shared)
        if lane == 0 and s < sets:
            low = sums[2] * share
            dot = (sums[1] - low * sums[0]) * rstd[s]
            gain[0] = one
            if not by_sample:
                dbeta[s], dgamma[s] = sums[0], dot
                if has_gamma:
                    load_parameter(gamma, s, gain, 0)
            if not fixed:
                coefficients[s] = low
                coefficients[sets + s] = gain[0] * sums[0] * share
                coefficients[2 * sets + s] = gain[0] * dot * share

    return kernel


def add_channels(norm, capability):
    """Return the kernel that adds up dgamma and dbeta over samples, after `merge_sums`.

    Arguments: partials, rstd, coefficients, dgamma, dbeta, planes, channels, members, splits. A team takes a channel.
    """
    real = device.arithmetic(norm.dtype)
    threads, teams = norm.x_threads, norm.block // norm.x_threads
    tree = sum_tree(norm.dtype, threads, teams, 2)
    zero, shared_size = real(0), 2 * norm.block

    def kernel(partials, rstd, coefficients, dgamma, dbeta, planes, channels, members, splits):
        me = cuda.threadIdx.x
        lane = me // teams
        c = np.int64(cuda.blockIdx.x) * teams + me % teams
        shared = cuda.shared.array(shared_size, real)
        sums = cuda.local.array(2, real)
        sums[0], sums[1] = zero, zero
        size = splits * planes
        k = lane * channels + c  # over splits and samples
        while c < channels and k < size:
            s = k % planes // members
            sums[0] += (partials[size + k] - coefficients[s] * partials[k]) * rstd[s]
            sums[1] += partials[k]
            k += threads * channels
        tree(sums, lane, me, shared)
        if lane == 0 and c < channels:
            dgamma[c], dbeta[c] = sums[0], sums[1]

    return kernel


def coefficients_of(norm, capability):
    """Return of(plane, channel, mean, low, rstd, gamma, beta, members, out, i): center, scale, shift of y at out[i].

    ``y = (x - center) * scale + shift``.
    """
    load_parameter, _, _ = device.access(norm.parameters, 1, capability)
    by_sample, has_gamma, has_beta, fixed = norm.by_sample, norm.gamma, norm.beta, norm.fixed
    zero = device.arithmetic(norm.dtype)(0)

    def of(plane, channel, mean, low, rstd, gamma, beta, members, p, out, i):
        s = plane // members if by_sample else channel
        out[i], out[i + 1], out[i + 2] = mean[s], rstd[s], zero
        if not fixed:
            out[i + 2] -= low[s] * rstd[s]
        if has_gamma:
            load_parameter(gamma, channel, p, 0)
            out[i + 1] *= p[0]
            out[i + 2] *= p[0]
        if has_beta:
            load_parameter(beta, channel, p, 0)
            out[i + 2] += p[0]

    return device.function(of)


def gradient_coefficients_of(norm, capability):
    """Return of(...), center, scale, slope and shift at out[i]: ``dx = dy * scale + (x - center) * slope + shift``."""
    load_parameter, _, _ = device.access(norm.parameters, 1, capability)
    by_sample, has_gamma, fixed = norm.by_sample, norm.gamma, norm.fixed
    zero = device.arithmetic(norm.dtype)(0)

    def of(plane, channel, mean, rstd, gamma, coefficients, members, sets, p, out, i):
        s = plane // members if by_sample else channel
        out[i], out[i + 1], out[i + 2], out[i + 3] = zero, rstd[s], zero, zero
        if has_gamma:
            load_parameter(gamma, channel, p, 0)
            out[i + 1] *= p[0]
        if not fixed:
            r = rstd[s]
            slope = -(coefficients[2 * sets + s] * r) * r
            out[i], out[i + 2] = mean[s], slope
            out[i + 3] = -coefficients[sets + s] * r - coefficients[s] * slope

    return device.function(of)
