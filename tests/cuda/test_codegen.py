"""What the compilers make of every kernel, without a GPU: PTX, and what ptxas says about it.

No value of a kernel may leave its registers: no spills, no local memory, no calls. Registers leave room for as many
blocks on a multiprocessor as the variant says, and values are accessed 16 bytes at a time.

sm_90 gets every class of rows, other architectures a selection, and everyday runs a part of both (see `everyday`);
NORMKIT_CUDA_ALL=1 compiles all for all.
"""

import functools
import os
import re
import shutil
import subprocess
from importlib import metadata
from pathlib import Path

import pytest
from slow import nightly

pytest.importorskip("numba_cuda", reason="numba-cuda is not installed: pip install 'normkit[cuda]'")

from normkit.kernels.cuda import compile as compiling  # noqa: E402
from normkit.kernels.cuda import device, variants  # noqa: E402
from normkit.kernels.cuda.variants import ChannelNorm, ColumnGradient, DynamicTanh, RowNorm, Sum  # noqa: E402

REGISTERS = 65536
# and the threads that a multiprocessor holds
ARCHITECTURES = {(7, 5): 1024, (8, 0): 2048, (9, 0): 2048, (10, 0): 2048}
EVERYTHING = os.environ.get("NORMKIT_CUDA_ALL") == "1"


@functools.cache
def ptxas():
    """Return the path of ptxas: on PATH, in the toolkit's folder, or from the wheel nvidia-cuda-nvcc."""
    found = shutil.which("ptxas")
    for home in (os.environ.get("CUDA_HOME"), os.environ.get("CUDA_PATH"), "/usr/local/cuda"):
        found = found or (home and shutil.which("ptxas", path=os.path.join(home, "bin")))
    for wheel in ("nvidia-cuda-nvcc", "nvidia-cuda-nvcc-cu13"):
        try:
            files = metadata.files(wheel) or []
        except metadata.PackageNotFoundError:
            continue
        paths = [str(Path(file.locate())) for file in files if file.name == "ptxas"]
        found = found or next((path for path in paths if os.access(path, os.X_OK)), None)
    return found


def real(dtype):
    return "float64" if dtype == "float64" else "float32"


def shorter(teams, dtype, vector, added):
    """Return by how much shorter the rows of a team are than the tables say."""
    return (2 if dtype == "float64" or not vector else 1) * (2 if added and teams is variants.FORWARD else 1)


def row_norm(teams, longest, dtype, vector=True, centred=True, added=False, gamma=True, beta=True):
    columns = (longest or 1 << 20) // shorter(teams, dtype, vector, added)
    team = variants.team_for(teams, columns, dtype, vector, added and teams is variants.FORWARD)
    return RowNorm(dtype, real(dtype), team, vector, centred, added, gamma, beta)


def resident(teams):
    return [longest for longest, team in teams.items() if team.resident]


def rows_kernels(dtype, forward, backward, **flags):
    """Yield (name, variant) of the kernels over rows, for these lengths."""
    for longest in forward:
        yield "rows.forward", row_norm(variants.FORWARD, longest, dtype, **flags)
    for longest in backward:
        yield "rows_backward.backward", row_norm(variants.BACKWARD, longest, dtype, **flags)
    yield "rows_backward.row_means", row_norm(variants.BACKWARD, 0, dtype, **flags)


def other_kernels(dtype, vector=True):
    """Yield (name, variant) of the kernels that the length of a row does not change."""
    pair = dtype, real(dtype)
    yield "sums.add_partials", Sum(*pair, 32, variants.SUM_BLOCK)
    for name in ("elementwise.forward", "elementwise.backward"):
        yield name, DynamicTanh(*pair, vector, True, True, True, 32, variants.TANH_BLOCK)
    yield "rows_backward.column_gradient", ColumnGradient(*pair, vector, True, True, True, variants.DOWN_BLOCK)
    for name in variants.KERNELS:
        layout = name.split(".")[0]
        if layout in ("channels", "planes", "columns"):
            for by_sample in (False, True) if layout == "channels" else (True,):
                flags = (by_sample, True, True, False, not by_sample)
                yield name, ChannelNorm(*pair, vector, *flags, 32, variants.CHANNEL_BLOCK)


def chosen(capability):
    """Yield (name, variant): what is compiled for an architecture."""
    forward, backward = list(variants.FORWARD), resident(variants.BACKWARD)
    if EVERYTHING:
        for dtype in variants.ITEM_SIZE:
            for vector in (True, False):
                yield from other_kernels(dtype, vector)
                for flags in ({}, {"added": True}, {"centred": False, "beta": False}, {"gamma": False, "beta": False}):
                    yield from rows_kernels(dtype, forward, backward, vector=vector, **flags)
    elif capability == (9, 0):
        yield from rows_kernels("float32", forward, backward)
        yield from rows_kernels("bfloat16", [64, 1024, 8192, 32768, 0], [512, 1024, 8192])
        for dtype in ("float32", "bfloat16"):
            yield from other_kernels(dtype)
        for dtype in ("float16", "float64"):
            yield from rows_kernels(dtype, [8192, 0], [8192], added=True)
        yield from rows_kernels("float32", [8192], [8192], vector=False)
        yield from rows_kernels("bfloat16", [1024], [512], centred=False, beta=False)
    else:
        yield from rows_kernels("bfloat16", [8192], [8192], added=True)
        yield from ((n, v) for n, v in other_kernels("bfloat16") if n in ("columns.moments", "planes.gradient"))


def label(case):
    capability, name, norm = case
    words = [f"sm_{capability[0]}{capability[1]}", name, norm.dtype]
    words += [f"{norm.team.threads}x{norm.team.values}"] if isinstance(norm, RowNorm) else []
    flags = norm._asdict()
    words += [flag for flag in ("added", "centred", "by_sample") if flags.get(flag)]
    words += ["" if flags.get("vector", True) else "scalar", "" if flags.get("gamma", True) else "no-gamma"]
    return "-".join(word for word in words if word)


def everyday(capability, name, norm):
    """Return whether every run compiles a kernel.

    Of rows the teams of the least and of the most values a thread, in registers and not; of what knows no more of a
    16-bit type than its parameters' one type; and of architectures one on either side of the packed conversions.
    """
    if capability not in ((7, 5), (9, 0)):
        return False
    if name.startswith(("channels", "sums")):
        return norm.dtype == "float32"
    usual = isinstance(norm, RowNorm) and capability == (9, 0) and norm.vector and norm.centred and not norm.added
    return not usual or norm.team[:2] in ((8, 8), (32, 16), (32, 32), (512, 16), (1024, 32))


def marked(chosen):
    """Return the parameters of a test: what is chosen for each architecture, all or as everyday runs have it."""
    cases = [(capability, *case) for capability in ARCHITECTURES for case in dict.fromkeys(chosen(capability))]
    return [case if EVERYTHING or everyday(*case) else pytest.param(case, marks=nightly) for case in cases]


def vectors(name, norm):
    """Return how many 16-byte loads and stores a kernel has, or may have a multiple of where the compiler unrolls."""
    width = device.vector_width(norm.dtype)
    parameter = max(1, variants.ITEM_SIZE[norm.parameters] * width // variants.VECTOR_BYTES)
    if isinstance(norm, RowNorm):
        chunks = norm.team.values // width
        parameters = parameter * (norm.gamma + norm.beta)
        if name == "rows.forward":
            reads = (1 + norm.added) if norm.team.resident else 2 + norm.centred + 2 * norm.added
            return chunks * (reads + parameters), chunks * (1 + norm.added)
        reads = chunks * (2 + parameter * norm.gamma)
        return (reads, 0) if name == "rows_backward.row_means" else (reads + chunks * norm.added, chunks)
    return {
        "rows_backward.column_gradient": (2 * 2 + parameter + 2, 2),
        "elementwise.forward": (1 + 2 * parameter, 1),
        "elementwise.backward": (2 + parameter, 1),
        "planes.moments": (4, 0),
        "planes.sums": (4, 0),
        "planes.apply": (2, 2),
        "planes.gradient": (4, 2),
        "columns.moments": (5, 0),
        "columns.sums": (4, 0),
        "columns.apply": (2, 2),
        "columns.gradient": (4, 2),
    }.get(name, (0, 0))


def check_vectors(name, norm, ptx):
    loads, stores = ptx.count("ld.global.v"), ptx.count("st.global.v")
    if not getattr(norm, "vector", False):
        assert (loads, stores) == (0, 0)
        return
    expected = vectors(name, norm)
    if name.startswith(("planes", "columns", "elementwise")) or (isinstance(norm, RowNorm) and not norm.team.resident):
        # loops that may be unrolled, and then have a rest
        for got, least in zip((loads, stores), expected, strict=True):
            assert got >= least and (least or not got), f"{got} accesses of 16 bytes, at least {least} expected"
    else:
        assert (loads, stores) == expected
    narrow = {2: "u16|b16", 4: "f32", 8: "f64"}[variants.ITEM_SIZE[norm.dtype]]
    if variants.ITEM_SIZE[norm.dtype] == 2:
        assert not re.search(rf"(ld|st)\.global\.({narrow})", ptx), "a value is accessed by itself"


@pytest.fixture(scope="module")
def assembler():
    if ptxas() is None:
        pytest.skip("ptxas is not on PATH, in CUDA_HOME, or installed as a wheel: pip install nvidia-cuda-nvcc")
    return ptxas()


@pytest.mark.parametrize("case", marked(chosen), ids=label)
def test_a_kernel_stays_in_its_registers(case, assembler, tmp_path):
    capability, name, norm = case
    ptx, entry = compiling.to_ptx(name, norm, capability)
    assert entry in ptx
    for word in (r"\bcall\b", r"\.extern\b", r"\.local\b"):
        assert not re.search(word, ptx), f"{word} in PTX"
    check_vectors(name, norm, ptx)
    source = tmp_path / "kernel.ptx"
    source.write_text(ptx)
    architecture = f"-arch=sm_{capability[0]}{capability[1]}"
    command = [assembler, "-v", architecture, str(source), "-o", str(tmp_path / "kernel.cubin")]
    result = subprocess.run(command, capture_output=True, text=True, timeout=300)
    if "Unsupported .version" in result.stderr:
        pytest.skip(f"ptxas is older than numba-cuda's compiler: {result.stderr.splitlines()[0]}")
    assert result.returncode == 0, result.stderr
    assert "0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads" in result.stderr
    registers = int(re.search(r"Used (\d+) registers", result.stderr)[1])
    blocks = min(norm.blocks, ARCHITECTURES[capability] // norm.block)
    assert -(-registers // 8) * 8 * norm.block * blocks <= REGISTERS, f"{registers} registers"


def test_what_is_loaded_is_what_ptxas_makes():
    """The library assembles with nvJitLink: the same registers, and machine code of an ELF file."""
    norm = row_norm(variants.FORWARD, 4096, "bfloat16")
    ptx, entry = compiling.to_ptx("rows.forward", norm, (9, 0))
    code, log = compiling.assemble(ptx, (9, 0))
    assert code[:4] == b"\x7fELF"
    assert entry.encode() in code
    assert re.search(r"used \d+ registers.* 0 stack.* 0 bytes lmem", log)
