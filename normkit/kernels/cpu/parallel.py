"""How kernels are shared out: in a fixed number of blocks, so that no result depends on the number of threads."""

import numpy as np
from numba import types
from numba.extending import overload

from normkit._jit import entry, leaf

BLOCKS = 64


@leaf
def block_count(rows, least):
    """Return into how many blocks rows are split: BLOCKS, but none of fewer than the least number of rows."""
    return max(1, min(BLOCKS, rows // least))


@leaf
def flush(sums, totals):  # two (n,)
    """Move sums to totals in float64."""
    for j in range(sums.size):
        totals[j] += np.float64(sums[j])
        sums[j] = 0


def both(kernel):
    """Return the kernel compiled serial and parallel."""
    return entry(kernel), entry(parallel=True)(kernel)


def row_if(wanted, array, i):
    """Return row i of the array, inside compiled code; None where the argument of which it is part is None."""
    return None if wanted is None else array[i]


@overload(row_if, inline="always")
def _row_if(wanted, array, i):
    # typed by what the argument is: the compiler takes an "if" for a row that may be None at run time
    if isinstance(wanted, types.NoneType):
        return lambda wanted, array, i: None
    return lambda wanted, array, i: array[i]
