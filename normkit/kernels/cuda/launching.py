"""What the launches share."""

import functools

from normkit.kernels.cuda import library, variants
from normkit.kernels.cuda.variants import ITEM_SIZE, VECTOR_BYTES

# How many launches' variants and grids are kept: to choose them anew takes a call longer than the rest of its way
KEPT = 1024


def ceil_div(a, b):
    """Return a / b, rounded up."""
    return -(-a // b)


def arithmetic_size(dtype):
    """Return the bytes of a number of the arithmetic."""
    return 8 if dtype == "float64" else 4


def is_vector(dtype, length, pointers):
    """Return whether rows of this length at these addresses can be accessed 16 bytes at a time."""
    together = length * ITEM_SIZE[dtype]
    for pointer in pointers:
        together |= pointer
    return together % VECTOR_BYTES == 0


def width_of(dtype, vector):
    """Return how many values are accessed at a time."""
    return VECTOR_BYTES // ITEM_SIZE[dtype] if vector else 1


@functools.cache
def _sum(dtype):
    return variants.Sum(dtype, "float32", 32, variants.SUM_BLOCK)


def add_partials(partials, first, second, blocks, columns, dtype, device, stream):
    """Add up partials (1 or 2, blocks, columns) over the blocks; `second` is 0 where there is no second."""
    norm = _sum(dtype)
    grid = (ceil_div(columns, norm.x_threads), 2 if second else 1, 1)
    library.enqueue("sums.add_partials", norm, grid, (partials, first, second, blocks, columns), device, stream)
