"""The launches without a device: what is imported, what is said where something is missing, what is kept."""

import subprocess
import sys
import types
from pathlib import Path

import pytest

import normkit._jit
import normkit.kernels.cuda
from normkit.kernels.cuda import driver, launch, library, variants

NORM = variants.RowNorm("float32", "float32", variants.FORWARD[64], True, True, False, True, True)
DEVICE = driver.Device(0, (9, 0), 132)


@pytest.fixture(autouse=True)
def fresh(monkeypatch):
    """Forget drivers, devices and kernels, those of other tests before and this one's after."""
    driver.bindings.cache_clear()
    driver._device.cache_clear()
    monkeypatch.setattr(library, "_kernels", {})
    yield
    driver.bindings.cache_clear()
    driver._device.cache_clear()


def test_import_asks_for_nothing():
    code = """
import sys
import normkit.kernels.cuda.launch
assert not [name for name in sys.modules if name.startswith(("numba.cuda", "numba_cuda.", "cuda."))]
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def call(**options):
    arguments = {"centred": True, "dtype": "float32", "parameters": "float32", "stream": 0, **options}
    launch.normalize_rows(4096, 0, 0, 0, 0, 8192, 64, 128, 4, 64, 1e-5, **arguments)


def test_without_numba_cuda(monkeypatch):
    monkeypatch.setitem(sys.modules, "numba_cuda", None)
    with pytest.raises(driver.CudaUnavailableError, match=r"pip install 'normkit\[cuda\]'"):
        call()


def fake_driver(monkeypatch, status="CUDA_SUCCESS", capability=(9, 0), contexts=("torch's",)):
    """Put a driver in the place of CUDA's, and return the list of what is launched.

    `contexts` holds the contexts that were made current in this thread.
    """
    no_context = types.SimpleNamespace(name="CUDA_ERROR_INVALID_CONTEXT")
    success = types.SimpleNamespace(name="CUDA_SUCCESS")
    result = success if status == "CUDA_SUCCESS" else types.SimpleNamespace(name=status)
    attributes = {"COMPUTE_CAPABILITY_MAJOR": capability[0], "COMPUTE_CAPABILITY_MINOR": capability[1]}
    attributes["MULTIPROCESSOR_COUNT"] = 132
    launched = []

    def enqueue(*arguments):
        launched.append(arguments)
        return (success,)

    fake = types.SimpleNamespace(
        CUresult=types.SimpleNamespace(CUDA_SUCCESS=success, CUDA_ERROR_INVALID_CONTEXT=no_context),
        CUdevice_attribute=types.SimpleNamespace(**{f"CU_DEVICE_ATTRIBUTE_{name}": name for name in attributes}),
        cuInit=lambda flags: (result,),
        cuCtxGetDevice=lambda: (success, 0) if contexts else (no_context, None),
        cuDevicePrimaryCtxRetain=lambda number: (success, f"primary {number}"),
        cuCtxSetCurrent=lambda context: (contexts.append(context), (success,))[1],
        cuDeviceGetAttribute=lambda kind, number: (success, attributes[kind]),
        cuModuleLoadData=lambda code: (success, code),
        cuModuleGetFunction=lambda module, name: (success, (module, name)),
        cuLaunchKernel=enqueue,
    )
    monkeypatch.setitem(sys.modules, "numba_cuda", types.ModuleType("numba_cuda"))
    for name in ("cuda", "cuda.bindings"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    sys.modules["cuda.bindings"].driver = fake
    return launched


def test_without_a_device(monkeypatch):
    fake_driver(monkeypatch, status="CUDA_ERROR_NO_DEVICE")
    with pytest.raises(driver.CudaUnavailableError, match="CUDA_ERROR_NO_DEVICE.*install the driver"):
        call()


def test_old_device(monkeypatch):
    fake_driver(monkeypatch, capability=(7, 0))
    with pytest.raises(driver.CudaUnavailableError, match=r"7\.5 or later .*got 7\.0"):
        call()


def test_a_thread_that_has_no_context_yet(monkeypatch):
    contexts = []
    fake_driver(monkeypatch, contexts=contexts)
    assert [driver.current_device().number for _ in range(2)] == [0, 0]
    assert contexts == ["primary 0"]


@pytest.fixture
def compiled(monkeypatch, tmp_path):
    """Keep kernels in a folder of the test's, and return the list of what is compiled."""
    calls = []

    def to_ptx(name, norm, capability):
        calls.append((name, norm, capability))
        return "ptx", "entry"

    fake = types.SimpleNamespace(to_ptx=to_ptx, assemble=lambda ptx, capability: (b"code\n", "log"))
    monkeypatch.setitem(sys.modules, "normkit.kernels.cuda.compile", fake)
    monkeypatch.setattr(normkit.kernels.cuda, "compile", fake, raising=False)
    monkeypatch.setattr(normkit._jit, "cache_directory", lambda: str(tmp_path))
    return calls


def kept(folder):
    return sorted(Path(folder).rglob("*.cubin"))


def test_a_kernel_is_compiled_once(monkeypatch, compiled, tmp_path):
    launched = fake_driver(monkeypatch)
    for _ in range(2):
        call()
    assert len(compiled) == 1
    assert len(launched) == 2
    kernel, *shape, arguments, extra = launched[0]
    assert kernel == (b"code\n", b"entry")
    assert shape == [1, 1, 1, 128, 1, 1, 0, 0]  # grid, block, shared memory, stream
    assert arguments[0] == (4096, 0, 0, 0, 0, 8192, 64, 128, 4, 64, 1 / 64, 1e-5)
    library._kernels.clear()  # another process
    call()
    assert len(compiled) == 1
    call(dtype="bfloat16")
    assert len(compiled) == 2
    assert len(kept(tmp_path)) == 2


def test_alignment_chooses_the_kernel(monkeypatch, compiled):
    fake_driver(monkeypatch)
    launch.normalize_rows(4096 + 4, 0, 0, 0, 0, 8192, 64, 128, 4, 64, 1e-5, centred=True, dtype="float32",
                          parameters="float32", stream=0)  # fmt: skip
    call()
    assert [norm.vector for _, norm, _ in compiled] == [False, True]


@pytest.mark.parametrize("damage", [b"", b"x" * 40])
def test_a_damaged_file_is_replaced(compiled, tmp_path, damage):
    for _ in range(2):
        assert library.machine_code("rows.forward", NORM, (9, 0)) == ("entry", b"code\n")
        (file,) = kept(tmp_path)
        file.write_bytes(damage)
    assert len(compiled) == 2


def test_nothing_can_be_kept(monkeypatch, compiled):
    monkeypatch.setattr(normkit._jit, "cache_directory", lambda: "")
    assert library.machine_code("rows.forward", NORM, (9, 0)) == ("entry", b"code\n")
    monkeypatch.setattr(normkit._jit, "cache_directory", lambda: "/proc/nowhere")
    assert library.machine_code("rows.forward", NORM, (9, 0)) == ("entry", b"code\n")


@pytest.mark.parametrize("columns", [1, 64, 65, 1000, 8192, 8193, 16384, 40000, 1 << 20])
@pytest.mark.parametrize("dtype", variants.ITEM_SIZE)
@pytest.mark.parametrize(("vector", "added"), [(True, False), (False, False), (True, True)])
def test_a_team_holds_its_row(columns, dtype, vector, added):
    for teams in (variants.FORWARD, variants.BACKWARD):
        team = variants.team_for(teams, columns, dtype, vector, added)
        assert not team.resident or columns <= team.threads * team.values
        assert team.values % (variants.VECTOR_BYTES // variants.ITEM_SIZE[dtype] if vector else 1) == 0
        assert team.block % team.threads == 0
        assert team.threads in (8, 32) or team.threads == team.block


def test_shares_fit_the_workspace(monkeypatch):
    """No launch writes past what the function beside it asks for: the pointers that it makes from it are inside."""
    monkeypatch.setattr(driver, "current_device", lambda: DEVICE)
    ends = []

    def enqueue(name, norm, grid, arguments, device, stream):
        if name in ("rows_backward.backward", "rows_backward.column_gradient"):
            blocks = grid[0] if name.endswith("backward.backward") else grid[1]
            place = 7 if name.endswith("backward.backward") else 8
            ends.append(arguments[place] + (2 if norm.centred else 1) * blocks * columns * 4)

    monkeypatch.setattr(library, "enqueue", enqueue)
    for rows in (1, 1000, 100_000):
        for columns in (8, 64, 100, 4096, 8200, 100_000):
            for x in (4096, 4098):
                start = 1 << 30
                size = launch.rows_workspace(rows, columns, "bfloat16")
                launch.normalize_rows_backward(
                    x, 0, x, 0, 64, 64, x, 64, 64, start, rows, columns, centred=True, dtype="bfloat16",
                    parameters="float32", stream=0,
                )  # fmt: skip
                assert ends.pop() <= start + size
