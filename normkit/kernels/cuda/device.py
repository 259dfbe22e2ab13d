"""What depends on the compiler: access to memory, narrow types, rsqrt, shuffles; and stand-ins for the simulator.

Kernels see a value of any dtype as float32 (float64 for float64). In memory the 16-bit types are bits, uint16, so
that arrays of every producer are taken alike. `load` and `store` move `width` values between memory and a local array:
16 bytes at a time where width is more than one, for which pointer and index must be multiples of 16 bytes. With
``NUMBA_ENABLE_CUDASIM=1`` pointers are arrays, and everything here is plain Python.

Everything is made anew by a factory for each kernel: a device function keeps what it was compiled to, and that
belongs to one compute capability.
"""

import functools
import math
import threading
import weakref
from typing import Any

import numpy as np
from llvmlite import ir
from numba import cuda, types
from numba.core import cgutils
from numba.core.config import ENABLE_CUDASIM as SIMULATED

from normkit.kernels.cuda.variants import ITEM_SIZE, VECTOR_BYTES
from normkit.math.exp import exp, expm1

if not SIMULATED:
    from numba.cuda import libdevice
    from numba.cuda.extending import intrinsic, overload

    # libdevice's take the place of what is made for the vectors of a CPU
    overload(exp, target="cuda")(lambda x: lambda x: math.exp(x))
    overload(expm1, target="cuda")(lambda x: lambda x: math.expm1(x))

# How a value is stored
_STORAGE = {
    "uint8": types.uint8,
    "float16": types.uint16,
    "bfloat16": types.uint16,
    "float32": types.float32,
    "float64": types.float64,
}
# Whole warps share a mask; a smaller team has its own, so that it may take a branch without its neighbours
_WARP, _ALL = 32, 0xFFFFFFFF


def arithmetic(dtype):
    """Return the NumPy type that kernels compute in."""
    return np.float64 if dtype == "float64" else np.float32


def signature(kinds, dtype, parameters):
    """Return the type of a kernel from its letters in `variants.KERNELS`."""
    real = types.float64 if dtype == "float64" else types.float32
    kind = {
        "x": types.CPointer(_STORAGE[dtype]),
        "p": types.CPointer(_STORAGE[parameters]),
        "a": types.CPointer(real),
        "k": types.CPointer(types.int64),
        "d": types.CPointer(types.float64),
        "i": types.int64,
        "r": real,
        "f": types.float64,
    }
    return types.void(*(kind[k] for k in kinds))


def vector_width(dtype):
    """Return how many values 16 bytes hold."""
    return VECTOR_BYTES // ITEM_SIZE[dtype]


def unpacks(dtype):
    """Return whether what is loaded is unpacked.

    Behind a branch that happens before the next load is issued, so that one waits for the other. To read the last
    values of a row again, beyond its end, needs no branch, but addresses in registers.
    """
    return ITEM_SIZE[dtype] == 2


def function(formula):
    """Return a plain Python function as one that kernels can call."""
    return formula if SIMULATED else cuda.jit(device=True, forceinline=True)(formula)


# Conversions as LLVM instructions; nothing in them is special to a GPU but the packed conversion


def widen(builder, dtype, bits):
    """Return the float of the low 16 bits of an i16."""
    if dtype == "float16":
        return builder.fpext(builder.bitcast(bits, ir.HalfType()), ir.FloatType())
    word = builder.shl(builder.zext(bits, ir.IntType(32)), ir.Constant(ir.IntType(32), 16))
    return builder.bitcast(word, ir.FloatType())


def narrow(builder, dtype, value):
    """Return the i16 of a float, rounded to nearest even; NaN becomes 0x7fff in bfloat16, as in hardware."""
    i16, i32 = ir.IntType(16), ir.IntType(32)
    if dtype == "float16":
        return builder.bitcast(builder.fptrunc(value, ir.HalfType()), i16)
    word = builder.bitcast(value, i32)
    odd = builder.and_(builder.lshr(word, ir.Constant(i32, 16)), ir.Constant(i32, 1))
    rounded = builder.lshr(builder.add(builder.add(word, ir.Constant(i32, 0x7FFF)), odd), ir.Constant(i32, 16))
    nan = builder.fcmp_unordered("uno", value, value)
    return builder.trunc(builder.select(nan, ir.Constant(i32, 0x7FFF), rounded), i16)


def _narrow_pair(builder, dtype, low, high, packed):
    """Return the i32 of two floats; `packed` is whether the device converts two in one instruction, from sm_80."""
    i32 = ir.IntType(32)
    if packed:
        kind = {"float16": "f16x2", "bfloat16": "bf16x2"}[dtype]
        asm = ir.InlineAsm(ir.FunctionType(i32, [ir.FloatType()] * 2), f"cvt.rn.{kind}.f32 $0, $1, $2;", "=r,f,f")
        return builder.call(asm, [high, low])
    low, high = (builder.zext(narrow(builder, dtype, v), i32) for v in (low, high))
    return builder.or_(low, builder.shl(high, ir.Constant(i32, 16)))


def _halves(builder, word):
    """Return the two i16 of an i32, low first."""
    i16 = ir.IntType(16)
    return builder.trunc(word, i16), builder.trunc(builder.lshr(word, ir.Constant(ir.IntType(32), 16)), i16)


def _elements(context, builder, array_type, array, start, count):
    """Return pointers to elements start to start + count of a local array."""
    data = cgutils.create_struct_proxy(array_type)(context, builder, value=array).data
    first = builder.gep(data, [start])
    return [builder.gep(first, [ir.Constant(ir.IntType(64), e)]) for e in range(count)]


def _pieces(builder, dtype, pointer, index, width):
    """Return pointers to the 16-byte vectors at an index, and how many values each holds; of one value its own."""
    pointer = builder.gep(pointer, [index])
    if width == 1:
        return [pointer], 1
    each = vector_width(dtype)
    kind = {2: ir.IntType(32), 4: ir.FloatType(), 8: ir.DoubleType()}[ITEM_SIZE[dtype]]
    vector = ir.VectorType(kind, VECTOR_BYTES // (8 if dtype == "float64" else 4)).as_pointer()
    starts = [builder.gep(pointer, [ir.Constant(ir.IntType(64), i)]) for i in range(0, width, each)]
    return [builder.bitcast(start, vector) for start in starts], each


def _at(i):
    return ir.Constant(ir.IntType(32), i)


def _read(builder, dtype, piece, each):
    """Return the values of a piece."""
    if each == 1:
        value = builder.load(piece)
        return [value if ITEM_SIZE[dtype] > 2 else widen(builder, dtype, value)]
    vector = builder.load(piece, align=VECTOR_BYTES)
    parts = [builder.extract_element(vector, _at(i)) for i in range(vector.type.count)]
    if ITEM_SIZE[dtype] > 2:
        return parts
    return [widen(builder, dtype, half) for word in parts for half in _halves(builder, word)]


def _write(builder, dtype, piece, values, packed):
    """Write values to a piece and return them as they are read back."""
    if ITEM_SIZE[dtype] > 2:
        parts = values
    elif len(values) == 1:
        parts = [narrow(builder, dtype, values[0])]
    else:
        pairs = zip(values[::2], values[1::2], strict=True)
        parts = [_narrow_pair(builder, dtype, low, high, packed) for low, high in pairs]
    if len(values) == 1:
        builder.store(parts[0], piece)
        return values if ITEM_SIZE[dtype] > 2 else [widen(builder, dtype, parts[0])]
    vector = ir.Constant(ir.VectorType(parts[0].type, len(parts)), ir.Undefined)
    for i, part in enumerate(parts):
        vector = builder.insert_element(vector, part, _at(i))
    builder.store(vector, piece, align=VECTOR_BYTES)
    if ITEM_SIZE[dtype] > 2:
        return values
    return [widen(builder, dtype, half) for word in parts for half in _halves(builder, word)]


def _compiled_access(dtype, width, capability):
    packed = capability >= (8, 0)

    def typing(context, pointer, index, values, start):
        def codegen(context, builder, signature, arguments):
            pointer, index, array, start = arguments
            elements = _elements(context, builder, signature.args[2], array, start, width)
            pieces, each = _pieces(builder, dtype, pointer, index, width)
            for i, piece in enumerate(pieces):
                for element, value in zip(elements[i * each :], _read(builder, dtype, piece, each), strict=False):
                    builder.store(value, element)
            return context.get_dummy_value()

        return types.void(pointer, types.int64, values, types.int64), codegen

    def storing(keep):
        def typing(context, pointer, index, values, start):
            def codegen(context, builder, signature, arguments):
                pointer, index, array, start = arguments
                elements = _elements(context, builder, signature.args[2], array, start, width)
                values = [builder.load(element) for element in elements]
                pieces, each = _pieces(builder, dtype, pointer, index, width)
                for i, piece in enumerate(pieces):
                    mine = slice(i * each, (i + 1) * each)
                    rounded = _write(builder, dtype, piece, values[mine], packed)
                    if keep:
                        for element, value in zip(elements[mine], rounded, strict=True):
                            builder.store(value, element)
                return context.get_dummy_value()

            return types.void(pointer, types.int64, values, types.int64), codegen

        return intrinsic(typing)

    return intrinsic(typing), storing(False), storing(True)


# Stand-ins for the simulator


def widen_bits(dtype, bits):
    """Do what `widen` does, in NumPy: uint16 to float32."""
    bits = np.asarray(bits, np.uint16)
    if dtype == "float16":
        return bits.view(np.float16).astype(np.float32)
    return (bits.astype(np.uint32) << np.uint32(16)).view(np.float32)


def narrow_bits(dtype, values):
    """Do what `narrow` does, in NumPy: float32 to uint16."""
    values = np.asarray(values, np.float32)
    if dtype == "float16":
        with np.errstate(over="ignore"):
            return values.astype(np.float16).view(np.uint16)
    word = values.view(np.uint32).astype(np.uint64)
    rounded = (word + np.uint64(0x7FFF) + ((word >> np.uint64(16)) & np.uint64(1))) >> np.uint64(16)
    return np.where(np.isnan(values), np.uint64(0x7FFF), rounded).astype(np.uint16)


def _simulated_access(dtype, width):
    narrow_type = ITEM_SIZE[dtype] == 2
    wide = widen_bits(dtype, np.arange(1 << 16)) if narrow_type else np.empty(0)

    def load(pointer, index, values, start):
        assert width == 1 or index * ITEM_SIZE[dtype] % VECTOR_BYTES == 0, "a vector at an index that is none's"
        for e in range(width):
            value = pointer[index + e]
            values[start + e] = wide[value] if narrow_type else value

    def store(pointer, index, values, start):
        assert width == 1 or index * ITEM_SIZE[dtype] % VECTOR_BYTES == 0, "a vector at an index that is none's"
        for e in range(width):
            value = values[start + e]
            pointer[index + e] = narrow_bits(dtype, value) if narrow_type else value

    def store_rounded(pointer, index, values, start):
        store(pointer, index, values, start)
        load(pointer, index, values, start)

    return load, store, store_rounded


def _simulated_thread() -> Any:
    """Return the simulator's thread; `cuda` stands for it in the modules of the kernels alone."""
    return threading.current_thread()


class _Teams:
    """What the simulator's threads tell their team: a barrier and a slot for each."""

    def __init__(self):
        self._of_block: Any = weakref.WeakKeyDictionary()
        self._lock = threading.Lock()

    def gather(self, value, width):
        """Return the thread's lane and the values of all threads of its team."""
        thread = _simulated_thread()
        team, lane = divmod(thread.threadIdx.x, width)
        with self._lock:
            teams = self._of_block.setdefault(thread._manager, {})
            barrier, slots = teams.setdefault((team, width), (threading.Barrier(width), [None] * width))
        slots[lane] = value
        barrier.wait(60)
        values = list(slots)
        barrier.wait(60)
        return lane, values

    def exchange(self, value, offset, width):
        lane, values = self.gather(value, width)
        return values[lane ^ offset]

    def total(self, sums, count, width):
        _, values = self.gather([sums[i] for i in range(count)], width)
        for i in range(count):
            sums[i] = sum(value[i] for value in values)


_teams = _Teams()


# What kernels are built from


@functools.cache
def access(dtype, width, capability):
    """Return load, store and store_rounded: (pointer, index, local array, start) moves `width` values.

    The last one leaves in the array what was written to memory, rounded as it is there.
    """
    return _simulated_access(dtype, width) if SIMULATED else _compiled_access(dtype, width, capability)


def rsqrt(dtype):
    """Return 1 / sqrt(x) in the type of the arithmetic."""
    if SIMULATED:
        real = arithmetic(dtype)
        return lambda x: real(1) / np.sqrt(real(x))
    return libdevice.rsqrtf if arithmetic(dtype) is np.float32 else libdevice.rsqrt


def divide(dtype):
    """Return x / y in the type of the arithmetic, to 2 units in the last place."""
    if SIMULATED or arithmetic(dtype) is np.float64:
        return function(lambda x, y: x / y)
    return libdevice.fast_fdividef


def barrier():
    """Return what all threads of a block wait in."""
    return (lambda: _simulated_thread().syncthreads()) if SIMULATED else cuda.syncthreads


def shuffle(width):
    """Return exchange(value, offset) with the thread of a team of `width`, at most a warp, whose lane differs so."""
    if SIMULATED:
        return lambda value, offset: _teams.exchange(value, offset, width)
    if width == _WARP:
        return function(lambda value, offset: cuda.shfl_xor_sync(_ALL, value, offset))
    ones = (1 << width) - 1

    def exchange(value, offset):
        return cuda.shfl_xor_sync(ones << (cuda.threadIdx.x % _WARP // width * width), value, offset)

    return function(exchange)


def team_sum(threads, count, dtype, shuffled=not SIMULATED):
    """Return total(sums, scratch, turn): each of `count` sums becomes that of the team's threads, the same in all.

    A team is `threads` neighbours: part of a warp, a warp, or the block, whose threads must all come here. `scratch`
    is shared memory of ``team_scratch(threads, count)`` values, and `turn` must alternate between 0 and 1 from call to
    call: a block waits once, not twice, since one half is written while the other is read. Shuffles are slow in the
    simulator, so that it adds up at once unless `shuffled`.
    """
    if not shuffled:
        return lambda sums, scratch, turn: _teams.total(sums, count, threads)
    width = min(threads, _WARP)
    exchange, wait = shuffle(width), barrier()
    warps = threads // _WARP
    half = warps * count
    many = exchange if warps <= 1 else shuffle(_WARP)

    def within(sums):
        for i in range(count):
            offset = width // 2
            while offset > 0:
                sums[i] += exchange(sums[i], offset)
                offset //= 2

    within_warp = function(within)

    def across(sums, scratch, turn):
        within_warp(sums)
        thread = cuda.threadIdx.x if not SIMULATED else _simulated_thread().threadIdx.x
        lane = thread % _WARP
        if lane == 0:
            for i in range(count):
                scratch[turn * half + thread // _WARP * count + i] = sums[i]
        wait()
        for i in range(count):
            sums[i] = scratch[turn * half + lane % warps * count + i]
            offset = warps // 2
            while offset > 0:
                sums[i] += many(sums[i], offset)
                offset //= 2

    def alone(sums, scratch, turn):
        within_warp(sums)

    return function(across if warps > 1 else alone)


def team_scratch(threads, count):
    """Return the length of the scratch of `team_sum`."""
    return max(1, 2 * (threads // _WARP) * count)
