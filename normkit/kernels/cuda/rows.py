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


def forward(norm, capability):
    """Return the kernel for y = gamma * xhat + beta, one team a row.

    Arguments: x, residual, s, gamma, beta, y, mean, rstd, rows, columns, share = 1 / columns, epsilon.
    """
    real, team = device.arithmetic(norm.dtype), norm.team
    width = device.vector_width(norm.dtype) if norm.vector else 1
    load, store, store_rounded = device.access(norm.dtype, width, capability)
    load_parameter, _, _ = device.access(norm.parameters, width, capability)
    threads, values, resident = team.threads, team.values, team.resident
    chunks, teams, step = values // width, team.block // threads, threads * values
    centred, added, has_gamma, has_beta = norm.centred, norm.added, norm.gamma, norm.beta
    total = device.team_sum(threads, 2, norm.dtype)
    scratch_size = device.team_scratch(threads, 2)
    rsqrt, deviation = device.rsqrt(norm.dtype), device.function(formulas.deviation)
    zero, one = real(0), real(1)
    limit, small = (real(v) for v in _RANGE[norm.dtype])
    back, retried = real(1 / small), norm.dtype != "float16"

    clamped = device.unpacks(norm.dtype)

    def fill(x, base, start, lane, end, columns, v):
        """Read a piece; what is beyond the row's end is not to be used."""
        for k in range(chunks):
            c = start + (k * threads + lane) * width
            if clamped:
                load(x, base + min(c, columns - width), v, k * width)
            elif c < end:
                load(x, base + c, v, k * width)

    def add(s, base, start, lane, end, v, r):
        for k in range(chunks):
            c = start + (k * threads + lane) * width
            if c < end:
                for e in range(k * width, (k + 1) * width):
                    v[e] += r[e]
                store_rounded(s, base + c, v, k * width)

    fill, add = device.function(fill), device.function(add)

    def kernel(x, residual, s, gamma, beta, y, mean, rstd, rows, columns, share, epsilon):
        lane = cuda.threadIdx.x % threads
        row = np.int64(cuda.blockIdx.x) * teams + cuda.threadIdx.x // threads
        base = min(row, rows - 1) * columns
        end = columns if row < rows else 0  # the other teams of the block go through the motions
        last = step if resident else end
        scratch = cuda.shared.array(scratch_size, real)
        v = cuda.local.array(values, real)
        p = cuda.local.array(values, real)
        sums = cuda.local.array(2, real)
        source = x
        if resident or added:
            start = 0
            while start < last:
                fill(x, base, start, lane, end, columns, v)
                if added:
                    fill(residual, base, start, lane, end, columns, p)
                    add(s, base, start, lane, end, v, p)
                start += step
            if added:
                source = s
        unit, high, low, r = one, zero, zero, zero
        turn = 0
        searching = True
        while searching:
            if centred:
                sums[0], sums[1] = zero, zero
                start = 0
                while start < last:
                    if not resident:
                        fill(source, base, start, lane, end, columns, v)
                    for k in range(chunks):
                        if start + (k * threads + lane) * width < end:
                            for e in range(k * width, (k + 1) * width):
                                sums[0] += v[e] * unit
                    start += step
                total(sums, scratch, turn)
                turn = 1 - turn
                high = sums[0] * share
            sums[0], sums[1] = zero, zero
            start = 0
            while start < last:
                if not resident:
                    fill(source, base, start, lane, end, columns, v)
                for k in range(chunks):
                    if start + (k * threads + lane) * width < end:
                        for e in range(k * width, (k + 1) * width):
                            d = v[e] * unit - high
                            if centred:
                                sums[0] += d
                            sums[1] += d * d
                start += step
            total(sums, scratch, turn)
            turn = 1 - turn
            low = sums[0] * share
            var = sums[1] * share - low * low
            var = zero if var < zero else var
            r = rsqrt(var + epsilon * unit * unit)
            searching = retried and unit == one and not var < limit
            if searching:
                unit = small
        if lane == 0 and row < rows:
            if centred:
                mean[row] = (high + low) * (one if unit == one else back)
            rstd[row] = r * unit
        start = 0
        while start < last:
            if not resident:
                fill(source, base, start, lane, end, columns, v)
            for k in range(chunks):
                c = start + (k * threads + lane) * width
                if c < end:
                    first = k * width
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
            start += step

    return kernel
