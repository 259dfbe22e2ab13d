"""The bound: a copy that reads and writes together as many bytes as the norm must move.

Three ways, of which the fastest counts: one thread's memcpy wins on arrays of a few thousand values, a slice a
thread in the caches, and stores past the caches (no line is read before it is overwritten) on arrays larger than
these: there memcpy, which reads three lines where two would do, is no bound.
"""

import numba
import numpy as np
from llvmlite import ir
from numba import njit, prange, types
from numba.extending import intrinsic

_LINE = 64


@intrinsic
def _stream(typing_context, target, source, nbytes):
    """Copy between addresses with non-temporal stores; the target is aligned to a line, nbytes whole lines."""

    def generate(context, builder, signature, arguments):
        target, source, nbytes = arguments
        vector = ir.VectorType(ir.IntType(32), _LINE // 4)
        before = builder.block
        loop, after = builder.append_basic_block("stream"), builder.append_basic_block("streamed")
        builder.cbranch(builder.icmp_unsigned(">", nbytes, nbytes.type(0)), loop, after)
        builder.position_at_end(loop)
        offset = builder.phi(nbytes.type)
        offset.add_incoming(nbytes.type(0), before)
        line = builder.load(builder.inttoptr(builder.add(source, offset), vector.as_pointer()), align=4)
        store = builder.store(line, builder.inttoptr(builder.add(target, offset), vector.as_pointer()), align=_LINE)
        store.set_metadata("nontemporal", builder.module.add_metadata([ir.IntType(32)(1)]))
        following = builder.add(offset, nbytes.type(_LINE))
        offset.add_incoming(following, loop)
        builder.cbranch(builder.icmp_unsigned("<", following, nbytes), loop, after)
        builder.position_at_end(after)
        builder.fence("seq_cst")
        return context.get_dummy_value()

    return types.void(types.uintp, types.uintp, types.uintp), generate


@njit(parallel=True)
def _copy_slices(target, source, threads):
    lines = target.size // _LINE
    for thread in prange(threads):
        start = lines * thread // threads * _LINE
        stop = lines * (thread + 1) // threads * _LINE if thread + 1 < threads else target.size
        target[start:stop] = source[start:stop]


@njit(parallel=True)
def _stream_slices(target, source, threads, target_address, source_address):
    lines = target.size // _LINE
    for thread in prange(threads):
        start = lines * thread // threads * _LINE
        stop = lines * (thread + 1) // threads * _LINE
        _stream(np.uintp(target_address + start), np.uintp(source_address + start), np.uintp(stop - start))
    target[lines * _LINE :] = source[lines * _LINE :]


def _bytes(count):
    buffer = np.zeros(count + _LINE, np.uint8)
    start = -buffer.ctypes.data % _LINE
    return buffer[start : start + count]


class Peer:
    """Only with memory that is there; a copy to fresh memory bounds nothing that has its own."""

    def __init__(self, threads):
        numba.set_num_threads(threads)
        self.threads = threads

    def ways(self, case, mode, x, dy, gamma, beta):
        """Return the calls that do the case's work, by name."""
        if mode == "fresh":
            return {}
        source, target = _bytes(case.bytes // 2), _bytes(case.bytes // 2)
        source[...] = np.random.default_rng(0).integers(0, 256, source.size, np.uint8)
        self.source, threads = source, self.threads
        addresses = target.ctypes.data, source.ctypes.data

        def one_thread():
            np.copyto(target, source)
            return target

        def slices():
            _copy_slices(target, source, threads)
            return target

        def stream():
            _stream_slices(target, source, threads, *addresses)
            return target

        return {"one thread": one_thread, "a slice a thread": slices, "stores past the caches": stream}

    def check(self, result):
        """In place of the comparison with the norm's result."""
        return float((result != self.source).any())
