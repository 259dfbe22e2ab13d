"""Vectors of 64 bytes inside compiled code, on any CPU: LLVM splits them where its registers are shorter.

The loop vectorizer may sum in any order, and chooses differently in serial code, in parallel code and in code from
the cache. With explicit vectors the order of every sum is written down, so all of them give the same bits, at the
full width of the machine; and 16-bit numbers are widened and rounded on their way from and to memory.

An array's element type says how its numbers are computed with: float64 in float64, all others in float32. Two
integer types stand for formats that Numba has no CPU arithmetic for: uint16 holds the bits of a float16, int16 those
of a bfloat16. Functions that take a lane count `n` touch the first n lanes only, and read zeros in the others.
"""

import operator
import platform
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import intrinsic, lower_builtin, models, register_model

from normkit._jit import leaf

BYTES = 64
_ELEMENT = {types.float32: ir.FloatType(), types.float64: ir.DoubleType()}


class VectorType(types.Type):
    """BYTES bytes of float32 or float64."""

    def __init__(self, dtype: Any) -> None:
        self.dtype = dtype
        self.lanes = BYTES * 8 // dtype.bitwidth
        super().__init__(name=f"vector({dtype})")


@register_model(VectorType)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, manager: Any, kind: VectorType) -> None:
        super().__init__(manager, kind, _llvm_type(kind))


def _llvm_type(kind: VectorType) -> Any:
    return ir.VectorType(_ELEMENT[kind.dtype], kind.lanes)


def computed_in(dtype: Any) -> Any:
    """Return the Numba type that elements of a type are computed in."""
    return types.float64 if dtype == types.float64 else types.float32


def _vector_of(array: Any) -> VectorType:
    if not (isinstance(array, types.Array) and array.ndim == 1 and array.layout == "C"):
        raise TypeError(f"a contiguous row is needed, got {array}")
    return VectorType(computed_in(array.dtype))


def _arithmetic(operation: Any, instruction: str) -> None:
    @infer_global(operation)
    class Template(AbstractTemplate):
        def generic(self, args: Any, kws: Any) -> Any:
            if len(args) == 2 and isinstance(args[0], VectorType) and args[0] == args[1]:
                return signature(args[0], *args)
            return None

    @lower_builtin(operation, VectorType, VectorType)
    def lower(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return getattr(builder, instruction)(*args)


for _operation, _instruction in (
    (operator.add, "fadd"),
    (operator.iadd, "fadd"),
    (operator.sub, "fsub"),
    (operator.mul, "fmul"),
):
    _arithmetic(_operation, _instruction)


def _mangled(kind: Any) -> str:
    element = {"half": "f16", "float": "f32", "double": "f64"}.get(str(kind.element), str(kind.element))
    return f"v{kind.count}{element}"


def _call(builder: Any, name: str, result: Any, arguments: Any) -> Any:
    kind = ir.FunctionType(result, [argument.type for argument in arguments])
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, name), arguments)


@intrinsic
def lanes(context: Any, array: Any) -> Any:
    """Return how many elements of the row a vector holds; a constant."""
    count = _vector_of(array).lanes

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return context.get_constant(types.intp, count)

    return types.intp(array), codegen


@intrinsic
def splat(context: Any, array: Any, value: Any) -> Any:
    """Return a vector with the value in every lane, in the type that the row is computed in."""
    kind = _vector_of(array)

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        scalar = context.cast(builder, args[1], sig.args[1], kind.dtype)
        return _splat(builder, scalar, _llvm_type(kind))

    return kind(array, value), codegen


@intrinsic
def computed(context: Any, array: Any, value: Any) -> Any:
    """Return the number rounded to the type that the row is computed in."""
    kind = _vector_of(array)

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return context.cast(builder, args[1], sig.args[1], kind.dtype)

    return kind.dtype(array, value), codegen


def _splat(builder: Any, scalar: Any, kind: Any) -> Any:
    int32 = ir.IntType(32)
    one = builder.insert_element(ir.Constant(kind, ir.Undefined), scalar, int32(0))
    return builder.shuffle_vector(one, one, ir.Constant(ir.VectorType(int32, kind.count), [0] * kind.count))


@intrinsic
def muladd(context: Any, a: Any, b: Any, c: Any) -> Any:
    """Return a * b + c, rounded once where the machine can."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        kind = _llvm_type(a)
        return _call(builder, f"llvm.fmuladd.{_mangled(kind)}", kind, args)

    if isinstance(a, VectorType) and a == b == c:
        return a(a, b, c), codegen
    return None


@intrinsic
def keep_first(context: Any, vector: Any, n: Any) -> Any:
    """Return the vector with zeros in all lanes but the first n."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        zero = ir.Constant(_llvm_type(vector), [0.0] * vector.lanes)
        return builder.select(_mask(builder, args[1], vector.lanes), args[0], zero)

    return vector(vector, types.intp), codegen


@intrinsic
def total(context: Any, vector: Any) -> Any:
    """Return the sum of the lanes: halves added, then their halves."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        value, count, int32 = args[0], vector.lanes, ir.IntType(32)
        while count > 1:
            count //= 2
            low, high = (
                ir.Constant(ir.VectorType(int32, count), list(range(start, start + count))) for start in (0, count)
            )
            value = builder.fadd(builder.shuffle_vector(value, value, low), builder.shuffle_vector(value, value, high))
        return builder.extract_element(value, int32(0))

    return vector.dtype(vector), codegen


# --- memory ---------------------------------------------------------------------------------------------------------


def _pointer(context: Any, builder: Any, array: Any, value: Any, index: Any, lanes_kind: Any) -> Any:
    data = context.make_array(array)(context, builder, value).data
    return builder.bitcast(builder.gep(data, [index]), lanes_kind.as_pointer())


def _stored_type(array: Any, count: int) -> Any:
    if array.dtype == types.uint16:
        return ir.VectorType(ir.HalfType(), count)
    if array.dtype == types.int16:
        return ir.VectorType(ir.IntType(16), count)
    return ir.VectorType(_ELEMENT[array.dtype], count)


def _widen(context: Any, builder: Any, array: Any, value: Any, count: int) -> Any:
    wide, bits = ir.VectorType(ir.FloatType(), count), ir.VectorType(ir.IntType(32), count)
    if array.dtype == types.uint16:
        _check_half(context)
        return builder.fpext(value, wide)
    if array.dtype == types.int16:
        shifted = builder.shl(builder.zext(value, bits), ir.Constant(bits, [16] * count))
        return builder.bitcast(shifted, wide)
    return value


class _BFloatType(ir.types.Type):
    """LLVM's type for bfloat16, which llvmlite does not have."""

    intrinsic_name = "bf16"
    null = "0.0"

    def __str__(self) -> str:
        return "bfloat"


def _has(context: Any, feature: str) -> bool:
    """Return whether the machine that is compiled for, which need not be this one, has an instruction."""
    return f"+{feature}" in context.codegen()._tm_features.split(",")


def _check_half(context: Any) -> None:
    # elsewhere LLVM would call functions that no library here has, and the process would die
    if platform.machine() in ("x86_64", "AMD64") and not _has(context, "f16c"):
        raise TypeError("float16 needs a processor with F16C, and NUMBA_CPU_FEATURES that say so; convert to float32")


def _round(context: Any, builder: Any, array: Any, value: Any, count: int) -> Any:
    if array.dtype == types.uint16:
        _check_half(context)
        return builder.fptrunc(value, ir.VectorType(ir.HalfType(), count))
    if array.dtype == types.int16 and _has(context, "avx512bf16"):
        # one instruction for what takes nine, a layer norm in a third of the time; it makes subnormal results zero
        rounded = builder.fptrunc(value, ir.VectorType(_BFloatType(), count))
        return builder.bitcast(rounded, ir.VectorType(ir.IntType(16), count))
    if array.dtype == types.int16:
        # to nearest, ties to even, by an addition that carries into the bits kept; NaN must not carry to infinity
        bits = ir.VectorType(ir.IntType(32), count)

        def constant(number: int) -> Any:
            return ir.Constant(bits, [number] * count)

        word = builder.bitcast(value, bits)
        odd = builder.and_(builder.lshr(word, constant(16)), constant(1))
        rounded = builder.add(word, builder.add(odd, constant(0x7FFF)))
        quiet = builder.or_(word, constant(0x400000))
        kept = builder.select(builder.fcmp_unordered("uno", value, value), quiet, rounded)
        return builder.trunc(builder.lshr(kept, constant(16)), ir.VectorType(ir.IntType(16), count))
    return value


def _mask(builder: Any, n: Any, count: int) -> Any:
    kind = ir.VectorType(n.type, count)
    numbers = ir.Constant(kind, list(range(count)))
    return builder.icmp_signed("<", numbers, _splat(builder, n, kind))


@intrinsic
def load(context: Any, array: Any, index: Any, n: Any) -> Any:
    """Return the n elements that begin at index, and zeros after them."""
    kind = _vector_of(array)

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        stored = _stored_type(array, kind.lanes)
        pointer = _pointer(context, builder, array, args[0], args[1], stored)
        align = ir.Constant(ir.IntType(32), array.dtype.bitwidth // 8)
        zero = ir.Constant(stored, [0] * kind.lanes if array.dtype == types.int16 else [0.0] * kind.lanes)
        arguments = [pointer, align, _mask(builder, args[2], kind.lanes), zero]
        value = _call(builder, f"llvm.masked.load.{_mangled(stored)}.p0", stored, arguments)
        return _widen(context, builder, array, value, kind.lanes)

    return kind(array, types.intp, types.intp), codegen


@intrinsic
def store(context: Any, array: Any, index: Any, vector: Any, n: Any) -> Any:
    """Write the vector's first n lanes to the elements that begin at index."""
    kind = _vector_of(array)

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        stored = _stored_type(array, kind.lanes)
        pointer = _pointer(context, builder, array, args[0], args[1], stored)
        value = _round(context, builder, array, args[2], kind.lanes)
        align = ir.Constant(ir.IntType(32), array.dtype.bitwidth // 8)
        arguments = [value, pointer, align, _mask(builder, args[3], kind.lanes)]
        _call(builder, f"llvm.masked.store.{_mangled(stored)}.p0", ir.VoidType(), arguments)
        return context.get_dummy_value()

    return types.void(array, types.intp, kind, types.intp), codegen


@intrinsic
def stream(context: Any, array: Any, index: Any, vector: Any) -> Any:
    """Write a whole vector past the caches to the elements that begin at index, aligned to its size; see `stream_from`.

    Nobody reads it before the end of the parallel region, whose barrier is a locked instruction: that drains it.
    """
    kind = _vector_of(array)

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        pointer = _pointer(context, builder, array, args[0], args[1], _stored_type(array, kind.lanes))
        value = _round(context, builder, array, args[2], kind.lanes)
        instruction = builder.store(value, pointer, align=kind.lanes * array.dtype.bitwidth // 8)
        instruction.set_metadata("nontemporal", builder.module.add_metadata([ir.Constant(ir.IntType(32), 1)]))
        return context.get_dummy_value()

    return types.void(array, types.intp, kind), codegen


@intrinsic
def prefetch(context: Any, array: Any, index: Any) -> Any:
    """Have the line of an element brought into the second-level cache."""
    _vector_of(array)

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        pointer = _pointer(context, builder, array, args[0], args[1], ir.IntType(8))
        int32 = ir.IntType(32)
        _call(builder, "llvm.prefetch.p0", ir.VoidType(), [pointer, int32(0), int32(2), int32(1)])
        return context.get_dummy_value()

    return types.void(array, types.intp), codegen


@intrinsic
def address(context: Any, array: Any) -> Any:
    """Return the address of the array's first element."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        data = context.make_array(array)(context, builder, args[0]).data
        return builder.ptrtoint(data, context.get_value_type(types.intp))

    return types.intp(array), codegen


# Bytes of all that a kernel reads and writes from which the output is written past the caches: it would not be there
# any more when it is read again, and a line that is written whole need not be read first. Half the time at 40 MB.
STREAMED = 30 << 20


@leaf
def stream_from(output, arrays):  # (M, N), scalar
    """Return from which element of each row on an output is streamed, one of so many arrays; -1 for not at all.

    It is where they are large. Before the element, a row is not aligned to a vector; all rows are alike. The lines
    that two rows share are not streamed: where rows are short there are so many of these that nothing is gained.
    """
    size = lanes(output[0]) * output.itemsize
    misaligned, row = address(output) % size, output.shape[1] * output.itemsize
    if output.nbytes * arrays <= STREAMED or row % size != 0 or misaligned % output.itemsize != 0:
        return -1
    if misaligned != 0 and row < 32 * size:
        return -1
    return (size - misaligned) % size // output.itemsize


@leaf(inline=True, ordered=True)
def write(array, index, vector, n, streamed):
    """Write the vector's first n lanes; past the caches if `streamed` >= 0, which takes whole vectors."""
    if streamed >= 0:
        stream(array, index, vector)
    else:
        store(array, index, vector, n)
