"""float16 and bfloat16 as bits, over all patterns: the simulator's stand-ins, and the compiled instructions on a CPU.

From sm_80 the device narrows two values in one instruction, `cvt.rn.bf16x2.f32` or `cvt.rn.f16x2.f32`, which only a
GPU can run: that it rounds alike, and which of the two becomes the low half, is left to a test there.
"""

import ctypes

import llvmlite.binding as llvm
import ml_dtypes
import numpy as np
import pytest
from llvmlite import ir

device = pytest.importorskip("normkit.kernels.cuda.device", reason="numba-cuda is not installed", exc_type=ImportError)

DTYPES = {"float16": np.dtype(np.float16), "bfloat16": np.dtype(ml_dtypes.bfloat16)}
BITS = np.arange(1 << 16, dtype=np.uint32).astype(np.uint16)


def hard_values():
    """Every value of both types, what lies halfway between neighbours and beside it, and random bits."""
    values = [BITS.view(dtype).astype(np.float32) for dtype in DTYPES.values()]
    halfway = (np.arange(1 << 19, dtype=np.uint32) << np.uint32(13)).view(np.float32)  # float16's are among them
    beside = [np.nextafter(halfway, np.float32(to)) for to in (0, np.inf, -np.inf)]
    drawn = np.random.default_rng(0).integers(0, 1 << 32, 1 << 18, dtype=np.uint64).astype(np.uint32).view(np.float32)
    return np.concatenate([*values, halfway, *beside, drawn])


@pytest.fixture(scope="module")
def values():
    with np.errstate(all="ignore"):
        return hard_values()


def same(a, b, dtype):
    """Return whether bits stand for the same values; every NaN is as good as another."""
    x, y = a.view(dtype).astype(np.float32), b.view(dtype).astype(np.float32)
    return np.array_equal(a[~np.isnan(x)], b[~np.isnan(y)]) and np.array_equal(np.isnan(x), np.isnan(y))


def on_cpu(build, argument, result):
    """Return a function over arrays from one that builds the conversion of a single value."""
    module = ir.Module()
    pointers = [ir.PointerType(argument), ir.PointerType(result)]
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), [*pointers, ir.IntType(64)]), "convert")
    entry, loop, done = (function.append_basic_block() for _ in range(3))
    ir.IRBuilder(entry).branch(loop)
    builder = ir.IRBuilder(loop)
    i = builder.phi(ir.IntType(64))
    value = builder.load(builder.gep(function.args[0], [i]))
    builder.store(build(builder, value), builder.gep(function.args[1], [i]))
    following = builder.add(i, ir.Constant(i.type, 1))
    i.add_incoming(ir.Constant(i.type, 0), entry)
    i.add_incoming(following, loop)
    builder.cbranch(builder.icmp_signed("<", following, function.args[2]), loop, done)
    ir.IRBuilder(done).ret_void()
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    features = llvm.get_host_cpu_features().flatten()
    machine = llvm.Target.from_default_triple().create_target_machine(
        cpu=llvm.get_host_cpu_name(), features=features, opt=2
    )
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(str(module)), machine)
    engine.finalize_object()
    compiled = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64)(
        engine.get_function_address("convert")
    )

    def convert(a, dtype):
        out = np.empty(a.size, dtype)
        compiled(a.ctypes.data, out.ctypes.data, a.size)
        return out

    convert.engine = engine  # owns the code
    return convert


@pytest.mark.parametrize(("name", "dtype"), DTYPES.items())
def test_stand_in_widens(name, dtype):
    np.testing.assert_array_equal(device.widen_bits(name, BITS), BITS.view(dtype).astype(np.float32))


@pytest.mark.parametrize(("name", "dtype"), DTYPES.items())
def test_stand_in_narrows(name, dtype, values):
    with np.errstate(all="ignore"):
        expected = values.astype(dtype).view(np.uint16)
    assert same(device.narrow_bits(name, values), expected, dtype)


@pytest.mark.parametrize(("name", "dtype"), DTYPES.items())
def test_instructions_widen(name, dtype):
    convert = on_cpu(lambda builder, bits: device.widen(builder, name, bits), ir.IntType(16), ir.FloatType())
    np.testing.assert_array_equal(convert(BITS, np.float32), BITS.view(dtype).astype(np.float32))


@pytest.mark.parametrize(("name", "dtype"), DTYPES.items())
def test_instructions_narrow(name, dtype, values):
    convert = on_cpu(lambda builder, value: device.narrow(builder, name, value), ir.FloatType(), ir.IntType(16))
    with np.errstate(all="ignore"):
        expected = values.astype(dtype).view(np.uint16)
    assert same(convert(values, np.uint16), expected, dtype)
