"""What the compilers make of the kernels of training, without a GPU; nvJitLink has ptxas in it and tells the same.

As in test_codegen: no spills, no local memory, no calls, and registers for the blocks that a multiprocessor is meant to
hold. sm_90 gets every kernel, other architectures a selection; NORMKIT_CUDA_ALL=1 compiles all for all.
"""

import re

import pytest
from test_codegen import ARCHITECTURES, EVERYTHING, REGISTERS, marked

pytest.importorskip("numba_cuda", reason="numba-cuda is not installed: pip install 'normkit[cuda]'")

from normkit.kernels.cuda import compile as compiling  # noqa: E402
from normkit.kernels.cuda import variants  # noqa: E402
from normkit.kernels.cuda.variants import Dense, Outputs, Rows, Update  # noqa: E402
from normkit.math.activations import CODES as ACTIVATIONS  # noqa: E402
from normkit.math.losses import CODES as LOSSES  # noqa: E402
from normkit.math.updates import CODES as OPTIMIZERS  # noqa: E402

BLOCK, ACROSS = variants.DENSE_BLOCK, variants.DENSE_ACROSS
# bias, norm, after, dropout, cumulative
LAYERS = {
    "plain": (True, "", False, True, False),
    "before": (False, "batch", False, True, True),
    "after": (True, "batch", True, True, False),
    "fixed": (True, "fixed", True, False, False),
}


def dense(dtype, activation, layer):
    bias, *flags = LAYERS[layer]
    for name in ("dense.forward", "dense.backward"):
        yield name, Dense(dtype, dtype, ACTIVATIONS[activation], bias, *flags, bias, ACROSS, BLOCK)


def outputs(dtype, code):
    for name in ("outputs.predict", "outputs.loss"):
        yield name, Outputs(dtype, dtype, LOSSES[code], True, variants.OUTPUT_ACROSS, variants.OUTPUT_BLOCK)


def update(dtype, name):
    return "updates.update", Update(dtype, dtype, OPTIMIZERS[name], variants.UPDATE_BLOCK)


def everything():
    for dtype in ("float32", "float64"):
        for source in ("float32", "float64", "uint8"):
            for flag in (True, False):
                yield "batches.gather", Rows(dtype, source, flag, flag, 32, BLOCK)
        for activation in ACTIVATIONS:
            for layer in LAYERS:
                yield from dense(dtype, activation, layer)
        for code in LOSSES:
            yield from outputs(dtype, code)
        for name in ("adam", "sgd"):
            yield update(dtype, name)
        yield "updates.finish", update(dtype, "sgd")[1]
    for source in ("float32", "float64"):
        yield "batches.count_nonfinite", Rows("float32", source, False, False, 32, BLOCK)


def chosen(capability):
    """Yield (name, variant): the kernels that need most are those of gelu, of softmax and of Adam."""
    if EVERYTHING:
        yield from everything()
    elif capability == (9, 0):
        yield "batches.gather", Rows("float32", "uint8", True, True, 32, BLOCK)
        yield "batches.count_nonfinite", Rows("float32", "float64", False, False, 32, BLOCK)
        for layer in LAYERS:
            yield from dense("float32", "gelu" if layer == "after" else "softplus", layer)
        yield from outputs("float32", "softmax")
        yield from list(outputs("float32", "logistic"))[1:]
        yield update("float32", "adam")
        yield update("float32", "sgd")
        yield "updates.finish", update("float32", "sgd")[1]
        yield list(dense("float64", "gelu", "after"))[1]
        yield list(outputs("float64", "softmax"))[1]
    else:
        yield list(dense("float32", "gelu", "after"))[1]
        yield list(outputs("float32", "softmax"))[1]
        yield update("float64", "adam")


def label(case):
    capability, name, norm = case
    words = [f"sm_{capability[0]}{capability[1]}", name, norm.dtype, *(str(v) for v in norm[1:-3])]
    return "-".join(word for word in words if word)


@pytest.mark.parametrize("case", marked(chosen), ids=label)
def test_a_kernel_of_training_stays_in_its_registers(case):
    capability, name, norm = case
    ptx, _ = compiling.to_ptx(name, norm, capability)
    for word in (r"\bcall\b", r"\.extern\b", r"\.local\b"):
        assert not re.search(word, ptx), f"{word} in PTX"
    adam = name == "updates.update" and norm.optimizer == OPTIMIZERS["adam"]
    moved = {"updates.update": (4, 3) if adam else (3, 2)}.get(name, (0, 0))
    assert (ptx.count("ld.global.v"), ptx.count("st.global.v")) == moved, "accesses of 16 bytes"
    if norm.dtype == "float32" and name in ("dense.backward", "outputs.predict"):
        # the arithmetic is in float32 but for the draws of dropout, whose one multiplication and comparison are not
        assert not re.search(r"(add|sub|div|fma)\.(rn\.)?f64", ptx)
    _, log = compiling.assemble(ptx, capability)
    assert "0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads" in log
    registers = int(re.search(r"Used (\d+) registers", log)[1])
    blocks = min(norm.blocks, ARCHITECTURES[capability] // norm.block)
    assert -(-registers // 8) * 8 * norm.block * blocks <= REGISTERS, f"{registers} registers"


def test_the_cpu_and_the_gpu_do_not_take_each_others_functions():
    """exp is one name with two meanings: compiling for a GPU leaves the CPU's as it is."""
    import numpy as np

    from normkit._jit import entry
    from normkit.math.exp import exp

    compiling.to_ptx(*next(dense("float32", "logistic", "plain")), (9, 0))

    @entry
    def host(x):
        return exp(x)

    assert host(np.float32(-90.0)) == 0.0  # the CPU's has no denormal numbers
    np.testing.assert_allclose(host(np.float64(1.5)), np.exp(1.5), rtol=1e-15)
