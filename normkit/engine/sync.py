"""A barrier between threads that run compiled code, in memory they share.

A region of Numba's parallel layers costs 2 us (omp) to 180 us (workqueue) to enter and leave; a step of a small
network has ten of them. This barrier costs some 50 ns between two cores and belongs to no threading layer.
"""

import os
import platform

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from normkit._jit import leaf

# Elements of the shared array, a cache line (64 bytes) or more apart
_ARRIVED, _GENERATION, _ABORTED, _SIZE = 0, 16, 32, 48
_SPINS = 1000
_X86, _ARM = ("x86_64", "amd64"), ("aarch64", "arm64")


def new_barrier():
    """Make the array that the threads of one team share."""
    return np.zeros(_SIZE, np.int64)


def abort(barrier):
    """Make every thread leave: `wait` returns False from now on."""
    barrier[_ABORTED] = 1


def _element(context, builder, signature, arguments):
    array = context.make_array(signature.args[0])(context, builder, arguments[0])
    return builder.gep(array.data, [arguments[1]])


@intrinsic
def _load(context, array, index):
    def codegen(context, builder, signature, arguments):
        return builder.load_atomic(_element(context, builder, signature, arguments), "acquire", 8)

    return types.int64(array, types.int64), codegen


@intrinsic
def _store(context, array, index, value):
    def codegen(context, builder, signature, arguments):
        builder.store_atomic(arguments[2], _element(context, builder, signature, arguments), "release", 8)
        return context.get_dummy_value()

    return types.void(array, types.int64, types.int64), codegen


@intrinsic
def _add(context, array, index, value):
    def codegen(context, builder, signature, arguments):
        return builder.atomic_rmw("add", _element(context, builder, signature, arguments), arguments[2], "acq_rel")

    return types.int64(array, types.int64, types.int64), codegen


@intrinsic
def _relax(context):
    """Tell the core that this is a spinning loop."""

    def codegen(context, builder, signature, arguments):
        machine, void, word = platform.machine().lower(), ir.VoidType(), ir.IntType(32)
        if machine in _X86:
            kind = ir.FunctionType(void, [])
            builder.call(cgutils.get_or_insert_function(builder.module, kind, "llvm.x86.sse2.pause"), [])
        elif machine in _ARM:
            kind = ir.FunctionType(void, [word])
            yield_hint = cgutils.get_or_insert_function(builder.module, kind, "llvm.aarch64.hint")
            builder.call(yield_hint, [ir.Constant(word, 1)])
        return context.get_dummy_value()

    return types.void(), codegen


@intrinsic
def _give_way(context):
    """Let another thread have the core: there may be more threads than cores."""

    def codegen(context, builder, signature, arguments):
        if os.name == "posix":
            kind = ir.FunctionType(ir.IntType(32), [])
            builder.call(cgutils.get_or_insert_function(builder.module, kind, "sched_yield"), [])
        return context.get_dummy_value()

    return types.void(), codegen


@leaf
def share(n, thread, threads):
    """Return (start, stop) of a thread's part of n."""
    return n * thread // threads, n * (thread + 1) // threads


@leaf
def leave(barrier):
    """`abort` from compiled code."""
    _store(barrier, _ABORTED, 1)


@leaf
def wait(barrier, threads):
    """Return when all threads have called this; False if the team was aborted."""
    if threads == 1:
        return True
    generation = _load(barrier, _GENERATION)
    if _add(barrier, _ARRIVED, 1) == threads - 1:
        _store(barrier, _ARRIVED, 0)
        _store(barrier, _GENERATION, generation + 1)
        return True
    spins = 0
    while _load(barrier, _GENERATION) == generation:
        if _load(barrier, _ABORTED) != 0:
            return False
        spins += 1
        if spins < _SPINS:
            _relax()
        else:
            _give_way()
    return True
