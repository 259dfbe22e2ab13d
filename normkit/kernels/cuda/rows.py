"""Norms over rows, (rows, columns): LayerNorm and RMSNorm, both also with a residual added first.

A team of threads takes a row. Where the row fits the team's registers, a resident team, it is read once; a longer one
is read again for each step, from the cache as long as the rows at work fit there. The first step is the mean, the
second the mean and the mean square of what is left: the former, `low`, corrects the mean where it is large against the
deviations. The backward finds `low` again, as its mean of one float32 has not kept it.

Values whose squares leave the arithmetic are measured in another unit, a power of two: the steps are done again.
"""

import numpy as np
from numba import cuda

from normkit.kernels.cuda import device, formulas

# var below this needs no other unit, and the unit that others are measured in; float16 cannot reach it
_RANGE = {
    "float16": (np.inf, 1.0),
    "bfloat16": (1e34, 2.0**-80),
    "float32": (1e34, 2.0**-80),
    "float64": (1e300, 2.0**-560),
}


def _reader(norm, capability):
    """Return fill(x, base, start, lane, end, columns, v): reads a piece of a row to a thread's values."""
    width = device.vector_width(norm.dtype) if norm.vector else 1
    load, _, _ = device.access(norm.dtype, width, capability)
    threads, chunks, clamped = norm.team.threads, norm.team.values // width, device.unpacks(norm.dtype)

    def fill(x, base, start, lane, end, columns, v):
        """What is beyond the row's end is not to be used."""
        for k in range(chunks):
            c = start + (k * threads + lane) * width
            if clamped:
                load(x, base + min(c, columns - width), v, k * width)
            elif c < end:
                load(x, base + c, v, k * width)

    return device.function(fill)


def _sweep(norm, fill, squares):
    """Return sweep(...), a thread's sum of d = unit * x - high, or with `squares` those of d and of d * d."""
    real, team = device.arithmetic(norm.dtype), norm.team
    width = device.vector_width(norm.dtype) if norm.vector else 1
    threads, resident, step = team.threads, team.resident, team.threads * team.values
    chunks, centred, zero = team.values // width, norm.centred, real(0)

    def sweep(x, base, lane, end, last, columns, v, unit, high, sums):
        sums[0], sums[1] = zero, zero
        start = 0
        while start < last:
            if not resident:
                fill(x, base, start, lane, end, columns, v)
            for k in range(chunks):
                if start + (k * threads + lane) * width < end:
                    for e in range(k * width, (k + 1) * width):
                        d = v[e] * unit - high
                        if centred:
                            sums[0] += d
                        if squares:
                            sums[1] += d * d
            start += step

    return device.function(sweep)


def _statistics(norm, fill):
    """Return measure(...), the mean as a pair, rstd and the unit that they are in."""
    real, centred, retried = device.arithmetic(norm.dtype), norm.centred, norm.dtype != "float16"
    first, second = _sweep(norm, fill, False), _sweep(norm, fill, True)
    total, rsqrt = device.team_sum(norm.team.threads, 2, norm.dtype), device.rsqrt(norm.dtype)
    zero, one = real(0), real(1)
    limit, small = (real(v) for v in _RANGE[norm.dtype])

    def measure(x, base, lane, end, last, columns, v, sums, scratch, share, epsilon):
        unit, high, low, r = one, zero, zero, zero
        turn = 0
        searching = True
        while searching:
            if centred:
                first(x, base, lane, end, last, columns, v, unit, zero, sums)
                total(sums, scratch, turn)
                turn = 1 - turn
                high = sums[0] * share
            second(x, base, lane, end, last, columns, v, unit, high, sums)
            total(sums, scratch, turn)
            turn = 1 - turn
            low = sums[0] * share
            var = sums[1] * share - low * low
            var = zero if var < zero else var
            r = rsqrt(var + epsilon * unit * unit)
            searching = retried and unit == one and not var < limit
            if searching:
                unit = small
        return high, low, r, unit

    return device.function(measure)


def _writer(norm, capability):
    """Return write(...), which makes y of a piece from a thread's values."""
    width = device.vector_width(norm.dtype) if norm.vector else 1
    _, store, _ = device.access(norm.dtype, width, capability)
    load_parameter, _, _ = device.access(norm.parameters, width, capability)
    threads, chunks = norm.team.threads, norm.team.values // width
    has_gamma, has_beta, deviation = norm.gamma, norm.beta, device.function(formulas.deviation)

    def write(gamma, beta, y, base, start, lane, end, v, p, high, low, r, unit):
        for k in range(chunks):
            c, first = start + (k * threads + lane) * width, k * width
            if c < end:
                for e in range(first, first + width):
                    v[e] = deviation(v[e] * unit, high, low) * r
                if has_gamma:
                    load_parameter(gamma, c, p, first)
                    for e in range(first, first + width):
                        v[e] *= p[e]
                if has_beta:
                    load_parameter(beta, c, p, first)
                    for e in range(first, first + width):
                        v[e] += p[e]
                store(y, base + c, v, first)

    return device.function(write)


def forward(norm, capability):
    """Return the kernel for y = gamma * xhat + beta, one team a row.

    Arguments: x, residual, s, gamma, beta, y, mean, rstd, rows, columns, share = 1 / columns, epsilon.
    """
    real, team = device.arithmetic(norm.dtype), norm.team
    width = device.vector_width(norm.dtype) if norm.vector else 1
    _, _, store_rounded = device.access(norm.dtype, width, capability)
    threads, values, resident = team.threads, team.values, team.resident
    chunks, teams, step = values // width, team.block // threads, threads * values
    centred, added, scratch_size = norm.centred, norm.added, device.team_scratch(threads, 2)
    one, back = real(1), real(1 / _RANGE[norm.dtype][1])
    fill = _reader(norm, capability)
    measure, write = _statistics(norm, fill), _writer(norm, capability)

    def add(s, base, start, lane, end, v, r):
        for k in range(chunks):
            c = start + (k * threads + lane) * width
            if c < end:
                for e in range(k * width, (k + 1) * width):
                    v[e] += r[e]
                store_rounded(s, base + c, v, k * width)

    add = device.function(add)

    def kernel(x, residual, s, gamma, beta, y, mean, rstd, rows, columns, share, epsilon):
        lane = cuda.threadIdx.x % threads
        row = np.int64(cuda.blockIdx.x) * teams + cuda.threadIdx.x // threads
        base = min(row, rows - 1) * columns
        end = columns if row < rows else 0  # the other teams of the block go through the motions
        last = step if resident else end
        scratch = cuda.shared.array(scratch_size, real)
        v, p = cuda.local.array(values, real), cuda.local.array(values, real)
        sums = cuda.local.array(2, real)
        source = s if added else x
        if resident or added:
            start = 0
            while start < last:
                fill(x, base, start, lane, end, columns, v)
                if added:
                    fill(residual, base, start, lane, end, columns, p)
                    add(s, base, start, lane, end, v, p)
                start += step
        high, low, r, unit = measure(source, base, lane, end, last, columns, v, sums, scratch, share, epsilon)
        if lane == 0 and row < rows:
            if centred:
                mean[row] = (high + low) * (one if unit == one else back)
            rstd[row] = r * unit
        start = 0
        while start < last:
            if not resident:
                fill(source, base, start, lane, end, columns, v)
            write(gamma, beta, y, base, start, lane, end, v, p, high, low, r, unit)
            start += step

    return kernel
