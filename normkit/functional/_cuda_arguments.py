"""What stands before and behind a launch: parameters, statistics and outputs as contiguous memory on the device."""

from normkit.functional import _arrays
from normkit.functional._arrays import check_place, memory_for, real_error, shape_error
from normkit.functional._cuda_arrays import device_array

_REAL = "float16", "bfloat16", "float32", "float64", "int", "uint"


def pointer(a):
    """Return the address of an array, 0 for None."""
    return 0 if a is None else a.pointer


def contiguous(a, order):
    """Return an array in an order of axes; a copy only where its strides demand one."""
    return (a if order is None else a.transpose(order)).contiguous()


def operand_like(a, data, kind, name, like="x"):
    """Return an array of the shape and dtype of x's (data, kind); `like` is what x is called."""
    array = device_array(a, name)
    if array is not None and array.kind is kind and array.shape == data.shape and array.owner is a:
        return array
    return _arrays.operand_like(a, data, kind, name, like)


def parameter(a, shape, name, kind):
    """Return gamma, beta or a statistic, in a dtype that kernels know: that of the values or of the arithmetic."""
    array = device_array(a, name)
    if array is None:
        got, how = type(a).__name__, kind.move.format(name)
        raise TypeError(
            f"{name} must be in {kind.place}, as the other arrays are, got {got} in the host's memory; "
            f"move it there, as with {how}"
        )
    if array.kind is not kind and array.kind is not kind.numbers:
        check_place(array, kind.place, name)
        if not array.dtype.startswith(_REAL):
            raise real_error(array, name)
    if array.shape != shape:
        raise shape_error(array, shape, name)
    if array.kind is not kind:
        array = array.astype(kind.number)
    return array if array.is_contiguous else array.copied()


def scale_and_shift(gamma, beta, shape, kind):
    """Return gamma and beta, None for the default, and the dtype that both have."""
    gamma = None if gamma is None else parameter(gamma, shape, "gamma", kind)
    beta = None if beta is None else parameter(beta, shape, "beta", kind)
    if gamma is None or beta is None or gamma.dtype == beta.dtype:
        given = beta if gamma is None else gamma
        return gamma, beta, kind.number if given is None else given.dtype
    return gamma.astype(kind.number), beta.astype(kind.number), kind.number


def statistic(a, shape, name, kind):
    """Return a statistic in the arithmetic."""
    return parameter(a, shape, name, kind).astype(kind.number)


def new_statistics(count, shape, data, kind):
    """Return memory for so many statistics, (count, *shape); NaN where there is no value to take them of.

    One piece: taking memory is what costs a call most.
    """
    shape = (count, *shape)
    return data.empty(shape, kind.numbers) if data.size else data.full(shape, float("nan"), kind.numbers)


def new_gradients(count, shape, data, kind):
    """Return memory for so many gradients of parameters, (count, *shape); zeros where there is nothing to add up."""
    shape = (count, *shape)
    return data.empty(shape, kind.numbers) if data.size else data.full(shape, 0, kind.numbers)


def memory(out, data, kind, name="out"):
    """Return the memory that a result belongs in: that of out, or new one like data for None."""
    if out is None:
        return data.empty_like()
    array = device_array(out, name)
    if array is not None and array.kind is kind and array.shape == data.shape:
        if array.is_contiguous and array.owner is out:
            return array
    return memory_for(out, data, kind, name)


class Output:
    """Contiguous memory for a kernel to write to, and the way from there to where its numbers belong.

    Parameters
    ----------
    memory : DeviceArray
        Where the numbers belong.
    given : array or None
        What the caller gave for it.
    order : tuple of int or None
        The kernel's order of axes.
    places : sequence of DeviceArray
        What the kernel reads, contiguous; each may be the very memory that is written.
    others : sequence of DeviceArray or None
        What it reads, contiguous, that must not be written.
    """

    __slots__ = ("written", "pointer", "_meant", "_owner")

    def __init__(self, memory, given, order, places, others=()):
        self._owner = memory.owner if given is None else given
        self._meant = self.written = memory if order is None else memory.transpose(order)
        self.pointer = self._meant.pointer
        clear = self._meant.is_contiguous
        if clear and given is not None:
            clear = not any(self._overlaps(a) and a.pointer != self.pointer for a in places)
            clear &= not any(self._overlaps(a) for a in others if a is not None)
        if not clear:
            self.written = memory.empty(self._meant.shape, memory.kind)
            self.pointer = self.written.pointer

    def _overlaps(self, a):
        """Return whether contiguous memory overlaps that which is meant, contiguous too."""
        return a.pointer < self.pointer + self._meant.nbytes and self.pointer < a.pointer + a.nbytes

    def store(self):
        """Copy what was written to where it belongs, unless it is there; return that array."""
        if self.written is not self._meant:
            self._meant.owner[...] = self.written.owner
        return self._owner
