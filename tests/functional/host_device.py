"""A device that is the host: arrays like CuPy's or torch's, and launches that do their work with NumPy.

A launch reads and writes at the addresses that it is given, so what it gets must be contiguous, in the right order of
axes and of the right size; it checks that the addresses belong to memory that was allocated for the device, that the
device is current and the stream is its library's.
"""

import contextlib
import ctypes
import sys
import types

import numpy as np
import pytest
from family import BFLOAT16

from normkit.functional import _cuda_arrays
from normkit.kernels.cuda import launch as real

STREAM = 77
PLACES = {"cupy": 3, "torch": -1}  # a tensor in the host's memory has no device


class State:
    """The current device, the memory of each array, and the names of the launches."""

    def __init__(self):
        self.current, self.memory, self.launches = None, [], []

    @contextlib.contextmanager
    def device(self, number):
        before, self.current = self.current, number
        try:
            yield
        finally:
            self.current = before


state = State()


def waits(self, *arguments, **options):
    raise AssertionError("this would wait for the device")


class ndarray:
    """What is used of cupy.ndarray."""

    __module__ = "cupy"
    __array__ = __dlpack__ = __float__ = __bool__ = __int__ = __index__ = __iter__ = item = tolist = waits
    __array_ufunc__ = None

    def __init__(self, a):
        self.a = a

    shape = property(lambda self: self.a.shape)
    dtype = property(lambda self: self.a.dtype)
    strides = property(lambda self: self.a.strides)
    itemsize = property(lambda self: self.a.itemsize)
    size = property(lambda self: self.a.size)
    ndim = property(lambda self: self.a.ndim)
    flags = property(lambda self: self.a.flags)
    device = property(lambda self: types.SimpleNamespace(id=PLACES["cupy"]))

    @property
    def data(self):
        return types.SimpleNamespace(ptr=self.a.__array_interface__["data"][0], device_id=PLACES["cupy"])

    __cuda_array_interface__ = property(lambda self: self.a.__array_interface__)

    def transpose(self, order):
        return ndarray(self.a.transpose(order))

    def astype(self, dtype):
        return new(self.a.astype(dtype))

    def sum(self, axis):
        return new(self.a.sum(axis))

    def __getitem__(self, key):
        key = key if isinstance(key, tuple) else (key,)
        return ndarray(self.a[*key, ...])  # a view, also of one element

    def __setitem__(self, key, value):
        assert state.current == PLACES["cupy"]
        self.a[key] = value.a


def host(a):
    return a.a if isinstance(a, ndarray) else a


def operator(name):
    def call(self, *others):
        with np.errstate(all="ignore"):  # a device does not warn
            return new(getattr(np.ndarray, name)(self.a, *map(host, others)))

    return call


for name in ("add", "radd", "sub", "rsub", "mul", "rmul", "truediv", "pow", "and", "iand"):
    setattr(ndarray, f"__{name}__", operator(f"__{name}__"))


def new(a):
    """Return an array in memory of the device."""
    assert state.current == PLACES["cupy"], "the device of the array must be current"
    store = a if isinstance(a, np.ndarray) and a.base is None else np.array(a, order="K")
    state.memory.append(store)
    return ndarray(store)


def uninitialized(shape, dtype):
    a = np.empty(shape, dtype)
    a.reshape(-1).view(np.uint8)[...] = 255
    return new(a)


cupy = types.ModuleType("cupy")
cupy.ndarray = ndarray  # type: ignore
cupy.empty = uninitialized  # type: ignore
cupy.full = lambda shape, value, dtype: new(np.full(shape, value, dtype))  # type: ignore
cupy.empty_like = lambda a: new(np.empty_like(a.a))  # type: ignore
cupy.clip = lambda a, low, high: new(np.clip(a.a, low, high))  # type: ignore
cupy.where = lambda a, b, c: new(np.where(a.a, b.a, c.a))  # type: ignore
cupy.isfinite = lambda a: new(np.isfinite(a.a))  # type: ignore
cupy.cuda = types.SimpleNamespace(  # type: ignore
    Device=state.device, get_current_stream=lambda: types.SimpleNamespace(ptr=STREAM if state.current == 3 else 0)
)


def to_cupy(a, order="C"):
    with state.device(PLACES["cupy"]):
        return new(np.array(a, order=order))


def from_cupy(a):
    assert type(a) is ndarray
    return a.a


def to_torch(a, copy=True):
    import torch

    a = a.copy() if copy else a
    return torch.from_numpy(a.view(np.int16)).view(torch.bfloat16) if a.dtype == BFLOAT16 else torch.from_numpy(a)


def from_torch(a):
    import torch

    assert type(a) is torch.Tensor
    return a.view(torch.int16).numpy().view(BFLOAT16) if a.dtype == torch.bfloat16 else a.numpy()


# --- launches -------------------------------------------------------------------------------------------------------


class Memory:
    """The arrays of one launch, by their addresses."""

    def __init__(self, name, dtype, parameters, stream):
        state.launches.append(name)
        assert stream == STREAM
        assert state.current in PLACES.values()
        self.checked = state.current == PLACES["cupy"]
        self.dtypes = {"values": np.dtype(BFLOAT16 if dtype == "bfloat16" else dtype)}
        self.dtypes["number"] = np.dtype("float64" if dtype == "float64" else "float32")
        self.dtypes["bytes"] = np.dtype("uint8")
        assert parameters in (dtype, self.dtypes["number"].name)
        self.dtypes["parameters"] = np.dtype(BFLOAT16 if parameters == "bfloat16" else parameters)
        self.read: list = []

    def at(self, pointer, shape, what="values"):
        """Return the array at an address."""
        dtype = self.dtypes[what]
        size = int(np.prod(shape)) * dtype.itemsize
        assert type(pointer) is int and pointer > 0 and size > 0
        if self.checked:
            stores = [(a.__array_interface__["data"][0], a.nbytes) for a in state.memory]
            assert any(start <= pointer and pointer + size <= start + n for start, n in stores), "not allocated"
        return np.frombuffer((ctypes.c_char * size).from_address(pointer), dtype).reshape(shape)

    def get(self, pointer, shape, what="values", default=None, same=False):
        """Return a copy of the array at an address in float64; `same`: it may be that which is written."""
        if pointer == 0 and default is not None:
            return np.full(shape, default, np.float64)
        a = self.at(pointer, shape, what)
        self.read.append((a, same))
        return a.astype(np.float64)

    def put(self, value, pointer, what="values"):
        """Write an array to an address that is one of those read, or apart from them."""
        a = self.at(pointer, np.shape(value), what)
        for b, same in self.read:
            shared = np.shares_memory(a, b)
            assert not shared or (same and a.__array_interface__["data"][0] == b.__array_interface__["data"][0])
        with np.errstate(over="ignore"):
            a[...] = value

    def use(self, workspace, size):
        self.at(workspace, (size,), "bytes")[...] = 255


def rows_workspace(rows, columns, dtype):
    return 8 * (rows + columns) + 16


def normalize_rows(
    x, residual, s, gamma, beta, y, mean, rstd, rows, columns, epsilon, *, centred, dtype, parameters, stream
):  # fmt: skip
    memory = Memory("normalize_rows", dtype, parameters, stream)
    shape = rows, columns
    values = memory.get(x, shape, same=True)
    gamma = memory.get(gamma, (columns,), "parameters", 1)
    beta = memory.get(beta, (columns,), "parameters", 0)
    assert bool(residual) == bool(s)
    if residual:
        values = (values + memory.get(residual, shape, same=True)).astype(memory.dtypes["values"])
        memory.put(values, s)
        values = values.astype(np.float64)
    center = values.mean(1, keepdims=True) if centred else np.zeros((rows, 1))
    scale = 1 / np.sqrt(((values - center) ** 2).mean(1, keepdims=True) + epsilon)
    memory.put(gamma * (values - center) * scale + beta, y)
    if centred:
        memory.put(center[:, 0], mean, "number")
    else:
        assert mean == 0
    memory.put(scale[:, 0], rstd, "number")


def normalize_rows_backward(
    dy, ds, x, gamma, mean, rstd, dx, dgamma, dbeta, workspace, rows, columns, *, centred, dtype, parameters, stream
):  # fmt: skip
    memory = Memory("normalize_rows_backward", dtype, parameters, stream)
    shape = rows, columns
    dy, x = memory.get(dy, shape, same=True), memory.get(x, shape, same=True)
    ds = memory.get(ds, shape, default=0, same=True)
    g = dy * memory.get(gamma, (columns,), "parameters", 1)
    scale = memory.get(rstd, (rows,), "number")[:, None]
    xhat = scale * (x - (memory.get(mean, (rows,), "number")[:, None] if centred else 0))
    if centred:
        memory.put(dy.sum(0), dbeta, "number")
        g = g - g.mean(1, keepdims=True)
    memory.put(scale * (g - xhat * (g * xhat).mean(1, keepdims=True)) + ds, dx)
    memory.put((dy * xhat).sum(0), dgamma, "number")
    memory.use(workspace, rows_workspace(rows, columns, dtype))


def dynamic_tanh_workspace(rows, columns, dtype):
    return 8 * (rows + columns) + 24


def dynamic_tanh(x, alpha, alpha_pointer, gamma, beta, y, rows, columns, *, dtype, parameters, stream):
    memory = Memory("dynamic_tanh", dtype, parameters, stream)
    x = memory.get(x, (rows, columns), same=True)
    alpha = memory.get(alpha_pointer, (), "number") if alpha_pointer else alpha
    gamma = memory.get(gamma, (columns,), "parameters", 1)
    memory.put(gamma * np.tanh(alpha * x) + memory.get(beta, (columns,), "parameters", 0), y)


def dynamic_tanh_backward(
    dy, x, alpha, alpha_pointer, gamma, dx, dalpha, dgamma, dbeta, workspace, rows, columns, *, dtype, parameters,
    stream,
):  # fmt: skip
    memory = Memory("dynamic_tanh_backward", dtype, parameters, stream)
    dy, x = memory.get(dy, (rows, columns), same=True), memory.get(x, (rows, columns), same=True)
    alpha = memory.get(alpha_pointer, (), "number") if alpha_pointer else alpha
    t = np.tanh(alpha * x)
    g = memory.get(gamma, (columns,), "parameters", 1) * dy * (1 - t**2)
    memory.put(alpha * g, dx)
    memory.put((g * x).sum(), dalpha, "number")
    memory.put((dy * t).sum(0), dgamma, "number")
    memory.put(dy.sum(0), dbeta, "number")
    memory.use(workspace, dynamic_tanh_workspace(rows, columns, dtype))


def channels_workspace(shape, dtype):
    return 8 * (shape.sets + shape.channels) + 16


class Channels:
    """The sets of a `ChannelShape` on arrays of (samples, channels, length)."""

    def __init__(self, shape):
        assert type(shape) is real.ChannelShape and min(shape[:3]) > 0
        self.shape = shape
        self.stored = (shape.samples, shape.length, shape.channels) if shape.last else shape[:3]

    def moved(self, a):
        """Bring an array to (samples, channels, length), or back to how it is stored."""
        return a.transpose(0, 2, 1) if self.shape.last else a

    def spread(self, a):
        """Return a number for each plane from one for each set."""
        if not self.shape.groups:
            return a[None, :, None]
        each = a.reshape(self.shape.samples, self.shape.groups)
        return np.repeat(each, self.shape.channels // self.shape.groups, 1)[:, :, None]

    def means(self, a):
        if not self.shape.groups:
            return a.mean((0, 2))
        return a.reshape(self.shape.samples * self.shape.groups, -1).mean(1)


def normalize_channels(
    shape, x, gamma, beta, y, mean, rstd, workspace, epsilon, *, dtype, parameters, stream, moving_mean=0, moving_var=0,
    kept=1.0, correction=1.0,
):  # fmt: skip
    memory = Memory("normalize_channels", dtype, parameters, stream)
    channels, one = Channels(shape), (shape.channels,)
    values = channels.moved(memory.get(x, channels.stored, same=True))
    center = channels.means(values)
    centred = values - channels.spread(center)
    scale = 1 / np.sqrt(channels.means(centred**2) + epsilon)
    if y:
        gamma = memory.get(gamma, one, "parameters", 1)[:, None]
        beta = memory.get(beta, one, "parameters", 0)[:, None]
        memory.put(channels.moved(gamma * centred * channels.spread(scale) + beta), y)
    memory.put(center, mean, "number")
    memory.put(scale, rstd, "number")
    memory.use(workspace, channels_workspace(shape, dtype))


def apply_channels(shape, x, gamma, beta, mean, var, y, rstd, epsilon, *, dtype, parameters, stream):
    memory = Memory("apply_channels", dtype, parameters, stream)
    channels, one = Channels(shape), (shape.channels,)
    assert not shape.groups
    values = channels.moved(memory.get(x, channels.stored, same=True))
    scale = 1 / np.sqrt(memory.get(var, one, "number") + epsilon)
    xhat = (values - memory.get(mean, one, "number")[:, None]) * scale[:, None]
    gamma, beta = memory.get(gamma, one, "parameters", 1), memory.get(beta, one, "parameters", 0)
    memory.put(channels.moved(gamma[:, None] * xhat + beta[:, None]), y)
    memory.put(scale, rstd, "number")


def normalize_channels_backward(
    shape, dy, x, gamma, mean, rstd, dx, dgamma, dbeta, workspace, *, dtype, parameters, stream, fixed=False
):  # fmt: skip
    memory = Memory("normalize_channels_backward", dtype, parameters, stream)
    channels, one, sets = Channels(shape), (shape.channels,), (shape.sets,)
    assert not (fixed and shape.groups)
    dy, x = (channels.moved(memory.get(a, channels.stored, same=True)) for a in (dy, x))
    scale = channels.spread(memory.get(rstd, sets, "number"))
    xhat = (x - channels.spread(memory.get(mean, sets, "number"))) * scale
    g = memory.get(gamma, one, "parameters", 1)[:, None] * dy
    if not fixed:
        g = g - channels.spread(channels.means(g)) - xhat * channels.spread(channels.means(g * xhat))
    memory.put(channels.moved(scale * g), dx)
    memory.put((dy * xhat).sum((0, 2)), dgamma, "number")
    memory.put(dy.sum((0, 2)), dbeta, "number")
    memory.use(workspace, channels_workspace(shape, dtype))


LAUNCHES = [
    rows_workspace, normalize_rows, normalize_rows_backward, dynamic_tanh_workspace, dynamic_tanh,
    dynamic_tanh_backward, channels_workspace, normalize_channels, apply_channels, normalize_channels_backward,
]  # fmt: skip

# --- what tests take --------------------------------------------------------------------------------------------------

TO = {"cupy": to_cupy, "torch": to_torch}
FROM = {"cupy": from_cupy, "torch": from_torch}
REAL = {function.__name__: getattr(real, function.__name__) for function in LAUNCHES}


@pytest.fixture(autouse=True)
def launches(monkeypatch):
    for function in LAUNCHES:
        monkeypatch.setattr(real, function.__name__, function)
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    state.current, state.memory, state.launches = None, [], []
    yield state.launches
    assert state.current is None


@pytest.fixture
def torch(monkeypatch):
    """Take torch's tensors for arrays on a device."""
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(_cuda_arrays, "is_on_gpu", lambda tensor: True)
    monkeypatch.setattr(_cuda_arrays.TorchArray, "current", state.device)
    monkeypatch.setattr(_cuda_arrays.TorchArray, "stream", lambda device: STREAM if device == PLACES["torch"] else 0)
    return torch


@pytest.fixture(params=["cupy", "torch"])
def kind(request):
    if request.param == "torch":
        request.getfixturevalue("torch")
    return request.param


def given(norm, shape, axis, convert):
    """Return the arrays among the fixed arguments of a norm on the device."""
    fixed = norm.fixed(shape, axis)
    return {name: convert(a) if isinstance(a, np.ndarray) else a for name, a in fixed.items()}
