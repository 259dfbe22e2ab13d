"""LayerNorm and RMSNorm in Triton as its users write them: a row a program, partial sums of dgamma and dbeta."""

import triton
import triton.language as tl


@triton.jit
def forward(x, gamma, beta, y, mean, rstd, columns, epsilon, CENTRED: tl.constexpr, BLOCK: tl.constexpr):
    """Normalize a row."""
    row = tl.program_id(0).to(tl.int64)
    at = tl.arange(0, BLOCK)
    there = at < columns
    a = tl.load(x + row * columns + at, mask=there, other=0.0).to(tl.float32)
    if CENTRED:
        m = tl.sum(a, axis=0) / columns
        tl.store(mean + row, m)
        a = tl.where(there, a - m, 0.0)
    r = 1.0 / tl.sqrt(tl.sum(a * a, axis=0) / columns + epsilon)
    tl.store(rstd + row, r)
    result = a * r * tl.load(gamma + at, mask=there, other=0.0).to(tl.float32)
    if CENTRED:
        result += tl.load(beta + at, mask=there, other=0.0).to(tl.float32)
    tl.store(y + row * columns + at, result.to(y.dtype.element_ty), mask=there)


@triton.jit
def backward(
    dy, x, gamma, mean, rstd, dx, partial_gamma, partial_beta, rows, columns, size, CENTRED: tl.constexpr,
    BLOCK: tl.constexpr,
):  # fmt: skip
    """Compute dx of some rows and their part of the sums."""
    program = tl.program_id(0).to(tl.int64)
    at = tl.arange(0, BLOCK)
    there = at < columns
    g = tl.load(gamma + at, mask=there, other=0.0).to(tl.float32)
    sum_gamma = tl.zeros((BLOCK,), dtype=tl.float32)
    sum_beta = tl.zeros((BLOCK,), dtype=tl.float32)
    for row in range(program * size, tl.minimum((program + 1) * size, rows)):
        start = row * columns
        d = tl.load(dy + start + at, mask=there, other=0.0).to(tl.float32)
        a = tl.load(x + start + at, mask=there, other=0.0).to(tl.float32)
        r = tl.load(rstd + row)
        if CENTRED:
            a = tl.where(there, a - tl.load(mean + row), 0.0)
        a *= r
        sum_gamma += d * a
        if CENTRED:
            sum_beta += d
        d *= g
        result = d - a * (tl.sum(d * a, axis=0) / columns)
        if CENTRED:
            result -= tl.sum(d, axis=0) / columns
        tl.store(dx + start + at, (result * r).to(dx.dtype.element_ty), mask=there)
    tl.store(partial_gamma + program * columns + at, sum_gamma, mask=there)
    if CENTRED:
        tl.store(partial_beta + program * columns + at, sum_beta, mask=there)
