"""Gradients of the norms over rows, (rows, columns).

A block takes rows as long as there are any and adds up dgamma and dbeta in registers, so x and dy are read once and
dx is written once; `sums.add_partials` adds up the blocks in order. A row that is too long for that is read twice:
`row_means` finds the means that its dx needs, and `column_gradient` goes down the columns.

With d = x - mean, the mean of d is `low`, what rounding the mean left out, and
``sum(g * xhat) = rstd * (sum(g * d) - low * sum(g))``: one reduction a row gives all that dx needs.
"""

import numpy as np
from numba import cuda

from normkit.kernels.cuda import device, formulas

# Rows of `column_gradient` whose values are on their way at once
AHEAD = 2


def _row_sums(norm, capability):
    """Return two functions: fill(...) reads a piece of a row, add_up(...) adds it to the row's three sums."""
    real, team = device.arithmetic(norm.dtype), norm.team
    width = device.vector_width(norm.dtype) if norm.vector else 1
    load, _, _ = device.access(norm.dtype, width, capability)
    threads, values, centred, zero = team.threads, team.values, norm.centred, real(0)
    chunks, clamped = values // width, device.unpacks(norm.dtype)

    def fill(dy, x, base, start, lane, end, columns, center, grad, d):
        """Read a piece of dy and x - mean, zeros beyond the row's end."""
        if clamped:
            for k in range(chunks):
                c = min(start + (k * threads + lane) * width, columns - width)
                load(dy, base + c, grad, k * width)
                load(x, base + c, d, k * width)
            for k in range(chunks):
                inside = start + (k * threads + lane) * width < end
                for e in range(k * width, (k + 1) * width):
                    grad[e] = grad[e] if inside else zero
                    d[e] = d[e] - center if inside else zero
        else:
            for k in range(chunks):
                c, first = start + (k * threads + lane) * width, k * width
                if c < end:
                    load(dy, base + c, grad, first)
                    load(x, base + c, d, first)
                    for e in range(first, first + width):
                        d[e] -= center
                else:
                    for e in range(first, first + width):
                        grad[e], d[e] = zero, zero

    def add_up(grad, d, gain, sums):
        for e in range(values):
            g = grad[e] * gain[e]
            sums[0] += g
            sums[1] += g * d[e]
            if centred:
                sums[2] += d[e]

    return device.function(fill), device.function(add_up)


def _partials_writer(norm):
    """Return write(out, base, own, lane, columns, acc, row): the sums of a block's teams, in order, to memory."""
    team, wait = norm.team, device.barrier()
    width = device.vector_width(norm.dtype) if norm.vector else 1
    threads, values, teams, block = team.threads, team.values, team.block // team.threads, team.block

    def write(out, base, own, lane, columns, acc, row):
        for t in range(teams):
            if own == t:
                for e in range(values):
                    c = (e // width * threads + lane) * width + e % width
                    row[c] = acc[e] if t == 0 else row[c] + acc[e]
            wait()
        c = cuda.threadIdx.x
        while c < columns:
            out[base + c] = row[c]
            c += block
        wait()

    def write_own(out, base, own, lane, columns, acc, row):
        for e in range(values):
            c = (e // width * threads + lane) * width + e % width
            if c < columns:
                out[base + c] = acc[e]

    return device.function(write if teams > 1 else write_own)


def backward(norm, capability):
    """Return the kernel for dx and the blocks' shares of dgamma and dbeta, for a resident team.

    Arguments: dy, ds, x, gamma, mean, rstd, dx, partials (2, blocks, columns), rows, columns, share = 1 / columns. The
    second half of `partials` is there only where the norm is centred.
    """
    real, team = device.arithmetic(norm.dtype), norm.team
    width = device.vector_width(norm.dtype) if norm.vector else 1
    load, store, _ = device.access(norm.dtype, width, capability)
    load_parameter, _, _ = device.access(norm.parameters, width, capability)
    threads, values, teams = team.threads, team.values, team.block // team.threads
    chunks, centred, added, has_gamma = values // width, norm.centred, norm.added, norm.gamma
    total, scratch_size = device.team_sum(threads, 3, norm.dtype), device.team_scratch(threads, 3)
    shared_row = threads * values if teams > 1 else 1
    fill, add_up = _row_sums(norm, capability)
    write_partials, gradient = _partials_writer(norm), device.function(formulas.gradient)
    zero, one = real(0), real(1)

    def finish(ds, dx, base, lane, end, grad, d, gain, low, r, mean_g, mean_g_xhat, dgamma, dbeta):
        """Write dx of a row and add to dgamma and dbeta."""
        for k in range(chunks):
            c, first = (k * threads + lane) * width, k * width
            if c < end:
                for e in range(first, first + width):
                    xhat = (d[e] - low) * r
                    dgamma[e] += grad[e] * xhat
                    if centred:
                        dbeta[e] += grad[e]
                    grad[e] = gradient(grad[e] * gain[e], xhat, r, mean_g, mean_g_xhat)
                if added:
                    load(ds, base + c, d, first)
                    for e in range(first, first + width):
                        grad[e] += d[e]
                store(dx, base + c, grad, first)

    finish = device.function(finish)

    def kernel(dy, ds, x, gamma, mean, rstd, dx, partials, rows, columns, share):
        lane, own = cuda.threadIdx.x % threads, cuda.threadIdx.x // threads
        scratch = cuda.shared.array(scratch_size, real)
        shared = cuda.shared.array(shared_row, real)
        grad, d = cuda.local.array(values, real), cuda.local.array(values, real)
        gain = cuda.local.array(values, real)
        dgamma, dbeta = cuda.local.array(values, real), cuda.local.array(values, real)
        sums = cuda.local.array(3, real)
        for e in range(values):
            gain[e], dgamma[e], dbeta[e] = one, zero, zero
        if has_gamma:
            for k in range(chunks):
                c = (k * threads + lane) * width
                if c < columns:
                    load_parameter(gamma, c, gain, k * width)
        first = np.int64(cuda.blockIdx.x) * teams
        turn = 0
        while first < rows:  # for the whole block; a team without a row goes through the motions
            row = first + own
            base = min(row, rows - 1) * columns
            end = columns if row < rows else 0
            center, r = zero, zero
            if row < rows:
                r = rstd[row]
                if centred:
                    center = mean[row]
            sums[0], sums[1], sums[2] = zero, zero, zero
            fill(dy, x, base, 0, lane, end, columns, center, grad, d)
            add_up(grad, d, gain, sums)
            total(sums, scratch, turn)
            turn = 1 - turn
            low = sums[2] * share
            mean_g = sums[0] * share if centred else zero
            mean_g_xhat = (sums[1] - low * sums[0]) * r * share
            finish(ds, dx, base, lane, end, grad, d, gain, low, r, mean_g, mean_g_xhat, dgamma, dbeta)
            first += np.int64(cuda.gridDim.x) * teams
        mine = np.int64(cuda.blockIdx.x) * columns
        write_partials(partials, mine, own, lane, columns, dgamma, shared)
        if centred:
            write_partials(partials, np.int64(cuda.gridDim.x) * columns + mine, own, lane, columns, dbeta, shared)

    return kernel


def row_means(norm, capability):
    """Return the kernel for the means that dx of a row needs: low, mean(g) and mean(g * xhat), a block a row.

    Arguments: dy, x, gamma, mean, rstd, means (3, rows), rows, columns, share = 1 / columns.
    """
    real, team = device.arithmetic(norm.dtype), norm.team
    width = device.vector_width(norm.dtype) if norm.vector else 1
    load_parameter, _, _ = device.access(norm.parameters, width, capability)
    threads, values, centred, has_gamma = team.threads, team.values, norm.centred, norm.gamma
    chunks, step = values // width, threads * values
    total, scratch_size = device.team_sum(threads, 3, norm.dtype), device.team_scratch(threads, 3)
    fill, add_up = _row_sums(norm, capability)
    zero, one = real(0), real(1)

    def kernel(dy, x, gamma, mean, rstd, means, rows, columns, share):
        lane = cuda.threadIdx.x
        scratch = cuda.shared.array(scratch_size, real)
        grad, d = cuda.local.array(values, real), cuda.local.array(values, real)
        gain, sums = cuda.local.array(values, real), cuda.local.array(3, real)
        for e in range(values):
            gain[e] = one
        row = np.int64(cuda.blockIdx.x)
        center = mean[row] if centred else zero
        sums[0], sums[1], sums[2] = zero, zero, zero
        start = np.int64(0)
        while start < columns:
            if has_gamma:
                for k in range(chunks):
                    c = start + (k * threads + lane) * width
                    if c < columns:
                        load_parameter(gamma, c, gain, k * width)
            fill(dy, x, row * columns, start, lane, columns, columns, center, grad, d)
            add_up(grad, d, gain, sums)
            start += step
        total(sums, scratch, 0)
        if lane == 0:
            low = sums[2] * share
            means[row] = low
            means[rows + row] = sums[0] * share if centred else zero
            means[2 * rows + row] = (sums[1] - low * sums[0]) * rstd[row] * share

    return kernel


def column_gradient(norm, capability):
    """Return the kernel for dx and the blocks' shares of dgamma and dbeta, after `row_means`.

    Arguments: dy, ds, x, gamma, mean, rstd, means (3, rows), dx, partials (2, blocks, columns), rows, columns,
    block_rows. The grid is (tiles of columns, blocks of block_rows rows). The second half of `partials` is there only
    where the norm is centred.
    """
    real = device.arithmetic(norm.dtype)
    width = device.vector_width(norm.dtype) if norm.vector else 1
    load, store, _ = device.access(norm.dtype, width, capability)
    load_parameter, _, _ = device.access(norm.parameters, width, capability)
    centred, added, has_gamma = norm.centred, norm.added, norm.gamma
    deviation, gradient = device.function(formulas.deviation), device.function(formulas.gradient)
    zero, one, buffer, block = real(0), real(1), AHEAD * width, norm.block

    def kernel(dy, ds, x, gamma, mean, rstd, means, dx, partials, rows, columns, block_rows):
        c = (np.int64(cuda.blockIdx.x) * block + cuda.threadIdx.x) * width
        row = cuda.blockIdx.y * block_rows
        stop = min(row + block_rows, rows)
        grad, d = cuda.local.array(buffer, real), cuda.local.array(buffer, real)
        other, gain = cuda.local.array(width, real), cuda.local.array(width, real)
        dgamma, dbeta = cuda.local.array(width, real), cuda.local.array(width, real)
        for e in range(width):
            gain[e], dgamma[e], dbeta[e] = one, zero, zero
        if c < columns:
            if has_gamma:
                load_parameter(gamma, c, gain, 0)
            while row < stop:
                for k in range(AHEAD):  # beyond the end its last row: no load waits for a branch
                    place = min(row + k, stop - 1) * columns + c
                    load(dy, place, grad, k * width)
                    load(x, place, d, k * width)
                for k in range(AHEAD):
                    if row + k < stop:
                        center = mean[row + k] if centred else zero
                        low, r = means[row + k], rstd[row + k]
                        mean_g, mean_g_xhat = means[rows + row + k], means[2 * rows + row + k]
                        for e in range(width):
                            g = grad[k * width + e]
                            xhat = deviation(d[k * width + e], center, low) * r
                            dgamma[e] += g * xhat
                            dbeta[e] += g
                            grad[k * width + e] = gradient(g * gain[e], xhat, r, mean_g, mean_g_xhat)
                        if added:
                            load(ds, (row + k) * columns + c, other, 0)
                            for e in range(width):
                                grad[k * width + e] += other[e]
                        store(dx, (row + k) * columns + c, grad, k * width)
                row += AHEAD
            mine = cuda.blockIdx.y * columns + c
            for e in range(width):
                partials[mine + e] = dgamma[e]
                if centred:
                    partials[cuda.gridDim.y * columns + mine + e] = dbeta[e]

    return kernel
