"""The device behind training without one: what is asked of the driver and of cuBLAS, in which order, with what.

The driver's stand-in has the host's memory for the device's, cuBLAS' one multiplies by columns as cuBLAS does. Both are
held to the signatures of the real bindings where these are installed.
"""

import ctypes
import gc
import inspect
import sys
import threading
import types

import numpy as np
import pytest

from normkit import MLPClassifier, MLPRegressor
from normkit.engine.cuda import blas
from normkit.engine.cuda import device as devices
from normkit.kernels.cuda import driver


class Driver:
    """In the place of cuda.bindings.driver; `calls` has the names and arguments, `memory` what is allocated."""

    def __init__(self, capability=(9, 0), refuse=()):
        self.calls, self.memory, self.refuse = [], {}, refuse
        self.contexts, self.capturing = [], False
        self.CUresult = types.SimpleNamespace(
            CUDA_SUCCESS=types.SimpleNamespace(name="CUDA_SUCCESS"),
            CUDA_ERROR_INVALID_CONTEXT=types.SimpleNamespace(name="CUDA_ERROR_INVALID_CONTEXT"),
        )
        names = ["COMPUTE_CAPABILITY_MAJOR", "COMPUTE_CAPABILITY_MINOR", "MULTIPROCESSOR_COUNT"]
        self.values = dict(zip(names, (*capability, 132)))
        self.CUdevice_attribute = types.SimpleNamespace(**{f"CU_DEVICE_ATTRIBUTE_{name}": name for name in names})
        self.CUstreamCaptureMode = types.SimpleNamespace(CU_STREAM_CAPTURE_MODE_THREAD_LOCAL="thread local")
        self.CUpointer_attribute = types.SimpleNamespace(CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL="ordinal")

    def __getattr__(self, name):
        if not name.startswith("cu"):
            raise AttributeError(name)

        def call(*arguments):
            self.calls.append((name, arguments))
            if name in self.refuse:
                return (types.SimpleNamespace(name="CUDA_ERROR_OUT_OF_MEMORY"),)
            value = getattr(self, f"_{name}", lambda *arguments: None)(*arguments)
            return (self.CUresult.CUDA_SUCCESS,) if value is None else (self.CUresult.CUDA_SUCCESS, value)

        return call

    def names(self):
        return [name for name, _ in self.calls]

    def _cuDevicePrimaryCtxRetain(self, number):
        return f"context {number}"

    def _cuCtxPushCurrent(self, context):
        self.contexts.append(context)

    def _cuCtxPopCurrent(self):
        return self.contexts.pop()

    def _cuCtxGetDevice(self):
        return 0

    def _cuDeviceGetAttribute(self, kind, number):
        return self.values[kind]

    def _cuStreamCreate(self, flags):
        assert flags == 1, "a stream that waits for the default stream cannot be recorded beside it"
        return 7

    def _cuMemAlloc(self, size):
        assert self.contexts and not self.capturing
        buffer = ctypes.create_string_buffer(size)
        self.memory[ctypes.addressof(buffer)] = buffer
        return ctypes.addressof(buffer)

    def _cuMemFree(self, pointer):
        del self.memory[pointer]

    def _cuMemsetD8Async(self, pointer, value, size, stream):
        ctypes.memset(pointer, value, size)

    def _cuMemcpyHtoDAsync(self, to, source, size, stream):
        ctypes.memmove(to, source, size)

    _cuMemcpyDtoHAsync = _cuMemcpyHtoDAsync

    def _cuStreamBeginCapture(self, stream, mode):
        assert mode == "thread local"
        self.capturing = True

    def _cuStreamEndCapture(self, stream):
        self.capturing = False
        return "graph"

    def _cuGraphInstantiate(self, graph, flags):
        return "executable"

    def _cuPointerGetAttribute(self, attribute, pointer):
        assert attribute == "ordinal"
        return 0


class Cublas:
    """In the place of nvmath.bindings.cublas."""

    def __init__(self):
        self.setup = []

    def create(self):
        return 99

    def set_stream(self, handle, stream_id):
        self.setup.append(("stream", handle, stream_id))

    def set_workspace(self, handle, workspace, workspace_size_in_bytes):
        self.setup.append(("workspace", workspace, workspace_size_in_bytes))

    def _gemm(self, real, handle, transa, transb, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc):
        def matrix(pointer, rows, columns, leading):
            size = (leading * (columns - 1) + rows) * np.dtype(real).itemsize
            flat = np.frombuffer((ctypes.c_char * size).from_address(pointer), real)
            return np.lib.stride_tricks.as_strided(flat, (rows, columns), (flat.itemsize, leading * flat.itemsize))

        scalar = ctypes.c_float if real is np.float32 else ctypes.c_double
        left = matrix(a, k, m, lda).T if transa else matrix(a, m, k, lda)
        right = matrix(b, n, k, ldb).T if transb else matrix(b, k, n, ldb)
        out = matrix(c, m, n, ldc)
        out[...] = scalar.from_address(alpha).value * (left @ right) + scalar.from_address(beta).value * out

    def sgemm(self, handle, transa, transb, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc):
        self._gemm(np.float32, handle, transa, transb, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc)

    def dgemm(self, handle, transa, transb, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc):
        self._gemm(np.float64, handle, transa, transb, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc)


def forget():
    for cached in (driver.bindings, driver._device, devices.device):
        cached.cache_clear()


@pytest.fixture(autouse=True)
def fresh():
    forget()
    yield
    forget()
    gc.collect()


def installed(monkeypatch, fake, cublas=None):
    monkeypatch.setitem(sys.modules, "numba_cuda", types.ModuleType("numba_cuda"))
    for name in ("cuda", "cuda.bindings", "nvmath", "nvmath.bindings"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    sys.modules["cuda.bindings"].driver = fake
    sys.modules["nvmath.bindings"].cublas = cublas or Cublas()
    return fake


def exercised(monkeypatch):
    """Return the calls of everything that a device can do."""
    fake = installed(monkeypatch, Driver())
    device = devices.device(0)
    with device:
        buffer = device.put(np.arange(6.0))
        graph = device.capture(lambda: None)
        device.replay(graph)
        device.wait_for_others()
        device.download(buffer.pointer, np.empty(6))
    devices.of_pointer(buffer.pointer)
    del graph, buffer
    gc.collect()
    return fake


def test_memory(monkeypatch):
    fake = installed(monkeypatch, Driver())
    device = devices.device(0)
    assert devices.current() is device and device.info.multiprocessors == 132
    kept = len(fake.memory)
    values = np.arange(12.0).reshape(3, 4)
    with device:
        assert fake.contexts == ["context 0"]
        zeros, empty = np.ones(4), device.allocate(32)
        device.download(empty.pointer, zeros)
        assert not zeros.any()
        del empty
        buffer, back = device.put(values[:, ::2]), np.empty((3, 2))
        fake.calls.clear()
        device.download(buffer.pointer, back)
        assert fake.names() == ["cuMemcpyDtoHAsync", "cuStreamSynchronize"]
    np.testing.assert_array_equal(back, values[:, ::2])
    assert len(fake.memory) == kept + 1  # that of the zeros went with its buffer
    del buffer
    assert len(fake.memory) == kept
    assert fake.contexts == []


def test_recording(monkeypatch):
    fake = installed(monkeypatch, Driver())
    seen = []
    with devices.device(0) as device:
        fake.calls.clear()
        graph = device.capture(lambda: seen.append(fake.capturing))
        device.replay(graph)
        device.replay(graph)
        assert seen == [True]
        assert fake.calls == [
            ("cuStreamBeginCapture", (7, "thread local")), ("cuStreamEndCapture", (7,)),
            ("cuGraphInstantiate", ("graph", 0)), ("cuGraphDestroy", ("graph",)),
            *[("cuGraphLaunch", ("executable", 7))] * 2,
        ]  # fmt: skip
        with pytest.raises(ZeroDivisionError):
            device.capture(lambda: 1 / 0)
        assert not fake.capturing
    fake.calls.clear()
    del graph
    assert fake.names() == ["cuCtxPushCurrent", "cuGraphExecDestroy", "cuCtxPopCurrent"]


def test_garbage_while_a_step_is_recorded(monkeypatch):
    """To free memory would end the recording; it is done after it."""
    fake = installed(monkeypatch, Driver())
    with devices.device(0) as device:
        kept = len(fake.memory)
        buffers = [device.allocate(8), device.allocate(8)]
        fake.calls.clear()
        device.capture(buffers.clear)
        assert fake.names()[:2] == ["cuStreamBeginCapture", "cuStreamEndCapture"]
        assert fake.names().count("cuMemFree") == 2 and len(fake.memory) == kept


def test_one_thread_at_a_time(monkeypatch):
    installed(monkeypatch, Driver())
    device, answers = devices.device(0), []

    def other():
        answers.append(device._lock.acquire(blocking=False))

    for _ in range(2):
        with device:
            thread = threading.Thread(target=other)
            thread.start()
            thread.join(10)
        assert answers.pop() is False
    other()
    assert answers == [True]
    device._lock.release()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("transpose_a", [False, True])
@pytest.mark.parametrize("transpose_b", [False, True])
def test_products(monkeypatch, dtype, transpose_a, transpose_b):
    """Row-major matrices in longer rows, as the engine has them."""
    cublas = Cublas()
    installed(monkeypatch, Driver(), cublas)
    rng = np.random.default_rng(0)
    m, n, k = 3, 5, 4
    a = rng.normal(size=(k, m + 2) if transpose_a else (m, k + 1)).astype(dtype)
    b = rng.normal(size=(n, k + 3) if transpose_b else (k, n)).astype(dtype)
    c = np.full((m, n + 1), np.nan, dtype)
    c[:, :n] = 7
    with devices.device(0) as device:
        buffers = [device.put(values) for values in (a, b, c)]
        pointers = [x for buffer, values in zip(buffers, (a, b, c)) for x in (buffer.pointer, values.shape[1])]
        device.gemm(dtype, transpose_a, transpose_b, m, n, k, *pointers)
        device.download(buffers[2].pointer, c)
    left, right = (a[:, :m].T if transpose_a else a[:, :k]), (b[:, :k].T if transpose_b else b[:, :n])
    np.testing.assert_allclose(c[:, :n], left @ right, rtol=1e-5 if dtype == "float32" else 1e-12)
    assert np.isnan(c[:, n]).all()
    # setting the stream takes the work space away
    assert [entry[0] for entry in cublas.setup] == ["stream", "workspace"]
    assert cublas.setup[0][2] == 7 and cublas.setup[1][2] == blas.WORKSPACE


def parameters_of(documented):
    """Return the names of the parameters in the first line of a binding's docstring."""
    inside = documented.strip().splitlines()[0].partition("(")[2].rpartition(")")[0]
    return [part.partition(":")[0].split()[-1] for part in inside.split(",") if part.strip()]


def test_the_bindings_take_what_is_given(monkeypatch):
    """Nothing of this needs a driver: the bindings know their signatures."""
    driver_bindings = pytest.importorskip("cuda.bindings.driver", reason="pip install 'normkit[cuda]'")
    cublas = pytest.importorskip("nvmath.bindings.cublas", reason="pip install 'normkit[cuda]'")
    for name in ("sgemm", "dgemm", "set_stream", "set_workspace", "create"):
        wanted = parameters_of(getattr(cublas, name).__doc__)
        assert list(inspect.signature(getattr(Cublas, name)).parameters)[1:] == wanted, name
    calls = exercised(monkeypatch).calls
    names = {name for name, _ in calls}
    assert {"cuGraphLaunch", "cuMemFree", "cuGraphExecDestroy", "cuPointerGetAttribute", "cuCtxSynchronize"} <= names
    for name, arguments in calls:
        wanted = parameters_of(getattr(driver_bindings, name).__doc__)
        assert len(arguments) == len(wanted), f"{name}{arguments}: {wanted}"
    assert hasattr(driver_bindings.CUstreamCaptureMode, "CU_STREAM_CAPTURE_MODE_THREAD_LOCAL")
    assert hasattr(driver_bindings.CUpointer_attribute, "CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL")
    assert int(driver_bindings.CUstream_flags.CU_STREAM_NON_BLOCKING) == 1


# Errors: an explicit request for the GPU never falls back

X, Y = np.random.default_rng(0).normal(0, 1, (20, 3)), np.arange(20) % 2


def refused(error, match, X=X, **options):
    model = MLPClassifier((4,), device="cuda", max_iter=1, **options)
    with pytest.raises(error, match=match):
        model.fit(X, Y)
    with pytest.raises(error, match=match):
        MLPRegressor(hidden_layer_sizes=(4,), device="cuda", max_iter=1, **options).partial_fit(X, Y)
    assert not hasattr(model, "coefs_")


def test_without_numba_cuda(monkeypatch):
    monkeypatch.setitem(sys.modules, "numba_cuda", None)
    refused(driver.CudaUnavailableError, r"pip install 'normkit\[cuda\]'")


def test_without_a_driver(monkeypatch):
    installed(monkeypatch, Driver(refuse=("cuInit",)))
    refused(driver.CudaUnavailableError, "NVIDIA GPU and its driver for CUDA 13")


def test_an_old_device(monkeypatch):
    installed(monkeypatch, Driver(capability=(7, 0)))
    refused(driver.CudaUnavailableError, r"7\.5 or later .*got 7\.0")


def test_without_cublas(monkeypatch):
    installed(monkeypatch, Driver())
    monkeypatch.setitem(sys.modules, "nvmath.bindings", None)
    refused(driver.CudaUnavailableError, r"nvmath-python and cuBLAS, got .*pip install 'normkit\[cuda\]'")


def test_with_a_cublas_that_does_not_start(monkeypatch):
    cublas = Cublas()
    monkeypatch.setattr(cublas, "create", lambda: 1 / 0)
    fake = installed(monkeypatch, Driver(), cublas)
    refused(driver.CudaUnavailableError, r"cuBLAS of CUDA 13, got ZeroDivisionError")
    assert fake.contexts == []


def test_no_memory_left(monkeypatch):
    fake = installed(monkeypatch, Driver())
    device = devices.device(0)
    fake.refuse = ("cuMemAlloc",)
    with device, pytest.raises(MemoryError, match="the GPU has no 80 bytes of memory left: .*OUT_OF_MEMORY"):
        device.allocate(80)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"solver": "lbfgs"}, "device='cuda' needs solver='adam' or solver='sgd', got solver='lbfgs'"),
        ({"normalization": "ghost"}, "normalization must be among None, 'batch', .* with device='cuda', got 'ghost'"),
        ({"normalization": "renorm"}, "got 'renorm'"),
        ({"normalization": "batch", "norm_noise": 0.5}, "norm_noise must be 0 with device='cuda', got 0.5"),
    ],
)
def test_what_a_gpu_does_not_have(monkeypatch, options, match):
    fake = installed(monkeypatch, Driver())
    refused(ValueError, match, **options)
    assert fake.calls == []


def test_sparse_rows(monkeypatch):
    import scipy.sparse

    fake = installed(monkeypatch, Driver())
    refused(ValueError, "X must be dense with device='cuda', got a sparse csr matrix", scipy.sparse.csr_matrix(X))
    assert fake.calls == []


def test_another_device(monkeypatch):
    from sklearn.utils._param_validation import InvalidParameterError

    with pytest.raises(InvalidParameterError, match="'device' parameter of MLPClassifier must be a str among"):
        MLPClassifier(device="gpu").fit(X, Y)
