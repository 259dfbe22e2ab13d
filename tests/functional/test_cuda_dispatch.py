"""Arrays on a GPU, without one: what reaches the launches, and what comes back (see host_device)."""

import inspect
import re
import sys

import host_device
import numpy as np
import pytest
from family import BFLOAT16, BY_LABEL, CHUNK, DTYPES, EPSILON, NORMS, assert_close
from host_device import PLACES, STREAM, from_cupy, from_torch, state, to_cupy, to_torch

import normkit
from normkit import layer_norm, layer_norm_backward, update_running
from normkit.functional import _cuda_arrays
from normkit.kernels.cuda import driver, launch

every_norm = pytest.mark.parametrize("norm", NORMS, ids=lambda norm: norm.label)
TO = {"cupy": to_cupy, "torch": to_torch}
FROM = {"cupy": from_cupy, "torch": from_torch}
SHAPE, AXIS = (4, 6, 5), 1
REAL = {function.__name__: getattr(launch, function.__name__) for function in host_device.LAUNCHES}


@pytest.fixture(autouse=True)
def launches(monkeypatch):
    for function in host_device.LAUNCHES:
        monkeypatch.setattr(launch, function.__name__, function)
    monkeypatch.setitem(sys.modules, "cupy", host_device.cupy)
    state.current, state.memory, state.launches = None, [], []
    yield state.launches
    assert state.current is None


@pytest.fixture(params=["cupy", "torch"])
def kind(request, monkeypatch):
    if request.param == "torch":
        pytest.importorskip("torch")
        monkeypatch.setattr(_cuda_arrays, "is_on_gpu", lambda tensor: True)
        monkeypatch.setattr(_cuda_arrays.TorchArray, "current", state.device)
        monkeypatch.setattr(_cuda_arrays.TorchArray, "stream", lambda device: STREAM if device == -1 else 0)
    return request.param


@pytest.mark.parametrize("function", host_device.LAUNCHES, ids=lambda function: function.__name__)
def test_the_stand_ins_are_called_as_the_launches(function):
    real = REAL[function.__name__]
    assert str(inspect.signature(function)) == str(inspect.signature(real))


def given(norm, shape, axis, convert):
    """Return the arrays among the fixed arguments of a norm on the device."""
    fixed = norm.fixed(shape, axis)
    return {name: convert(a) if isinstance(a, np.ndarray) else a for name, a in fixed.items()}


def check(norm, kind, shape, axis, dtype=DTYPES[0], change=lambda a: a):
    """Compare forward and backward of changed arrays with the same on the CPU."""
    to, back = TO[kind], FROM[kind]
    number = "float64" if dtype == np.float64 else "float32"
    xs, dys, _ = norm.data(shape, axis, dtype)
    shape = change(xs[0]).shape
    _, _, parameters = norm.data(shape, axis, dtype)
    results, statistics = norm.forward([change(a) for a in xs], parameters, axis)
    saved = results[-1] if norm.arrays > 1 else change(xs[0])
    gradients = norm.backward([change(a) for a in dys], saved, parameters[0], statistics, axis)

    d_xs, d_dys = [[change(to(a)) for a in arrays] for arrays in (xs, dys)]
    d_parameters = [to(p) for p in parameters]
    got, d_statistics = norm.forward(d_xs, d_parameters, axis, **given(norm, shape, axis, to))
    for a, b in zip(got, results, strict=True):
        assert back(a).dtype == dtype
        assert_close(back(a), b)
    for a, b in zip(d_statistics, statistics, strict=True):
        assert back(a).dtype == number
        assert_close(back(a), b)
    d_saved = got[-1] if norm.arrays > 1 else d_xs[0]
    got = norm.backward(d_dys, d_saved, d_parameters[0], d_statistics, axis)
    for i, (a, b) in enumerate(zip(got, gradients, strict=True)):
        assert back(a).dtype == (dtype if i == 0 else number)
        assert_close(back(a), np.asarray(b), terms=np.prod(shape))
    for before, now in zip((*xs, *dys), (*d_xs, *d_dys), strict=True):
        np.testing.assert_array_equal(back(now), change(before))


@every_norm
def test_every_layout(norm, kind):
    for shape, axis in norm.layouts:
        check(norm, kind, shape, axis)


@every_norm
def test_every_dtype(norm, kind):
    for dtype in DTYPES[1:]:
        check(norm, kind, SHAPE, AXIS, dtype)


def moved(a, order):
    return a.permute(order) if hasattr(a, "permute") else a.transpose(order)


MEMORY = {
    "transposed": lambda a: moved(a, (2, 1, 0)),
    "channels last": lambda a: moved(a, (0, 2, 1)),
    "sliced": lambda a: a[::2, 1:, ::2],
    "shifted": lambda a: a[1:],
    "one row": lambda a: a[:1],
}


@pytest.mark.parametrize("memory", MEMORY)
@every_norm
def test_every_memory(norm, kind, memory):
    check(norm, kind, (6, 7, 6) if memory == "sliced" else (6, 6, 6), AXIS, change=MEMORY[memory])


def outputs(a, b):
    """Return pairs of arrays that may be input and output: apart, the same, shifted, and not contiguous."""
    store = np.zeros((2, *SHAPE), a.dtype)
    yield a.copy(), store[0]
    same = a.copy()
    yield same, same
    shifted = np.zeros((5, *SHAPE[1:]), a.dtype)
    shifted[:4] = a
    yield shifted[:4], shifted[1:]
    yield a.copy(), np.zeros((*SHAPE[:2], 10), a.dtype)[..., ::2]
    yield a.copy(), np.zeros((6, 5, 4), a.dtype).transpose(2, 0, 1)


def on_device(kind, *arrays):
    """Return arrays that share their memory with these."""
    if kind == "torch":
        return [sys.modules["torch"].from_numpy(a) for a in arrays]
    for a in arrays:
        while a.base is not None:
            a = a.base
        state.memory.append(a)
    return [host_device.ndarray(a) for a in arrays]


@every_norm
def test_out(norm, kind):
    to = TO[kind]
    xs, dys, parameters = norm.data(SHAPE, AXIS, np.float32)
    fixed, d_parameters = given(norm, SHAPE, AXIS, to), [to(p) for p in parameters]
    wants, statistics = norm.forward(xs, parameters, AXIS)
    for x, out in outputs(xs[0], None):
        x, y = on_device(kind, x, out)
        got, d_statistics = norm.forward([x, *map(to, xs[1:])], d_parameters, AXIS, out=y, **fixed)
        assert got[0] is y
        assert_close(out, wants[0])
    saved = wants[-1] if norm.arrays > 1 else xs[0]
    want = norm.backward(dys, saved, parameters[0], statistics, AXIS)
    for dy, out in outputs(dys[0], None):
        dy, dx = on_device(kind, dy, out)
        rest = [to(a) for a in dys[1:]]
        got = norm.backward([dy, *rest], to(saved), d_parameters[0], d_statistics, AXIS, out=dx)
        assert got[0] is dx
        assert_close(out, want[0])
        for a, b in zip(got[1:], want[1:], strict=True):
            assert_close(FROM[kind](a), np.asarray(b), terms=200)


@pytest.mark.parametrize("label", ["add_layer_norm", "add_rms_norm"])
def test_sum_out(label, kind):
    norm = BY_LABEL[label]
    xs, _, parameters = norm.data(SHAPE, AXIS, np.float32)
    d_parameters = [TO[kind](p) for p in parameters]
    wants, _ = norm.forward(xs, parameters, AXIS)
    for y, s in ((0, 1), (1, 0), (None, 0), (1, None)):
        stores = [a.copy() for a in xs]
        arrays = on_device(kind, *stores)
        chosen = [None if i is None else arrays[i] for i in (y, s)]
        got, _ = norm.forward(arrays, d_parameters, AXIS, out=chosen[0], sum_out=chosen[1])
        for a, memory, want in zip(got, chosen, wants, strict=True):
            assert memory is None or a is memory
            assert_close(FROM[kind](a), want)
    both = TO[kind](xs[0])
    with pytest.raises(ValueError, match="^out and sum_out must not share memory"):
        norm.forward([TO[kind](a) for a in xs], d_parameters, AXIS, out=both, sum_out=both)


def test_out_over_a_parameter(kind):
    """What is read for every row must not be overwritten by the first."""
    store = np.random.default_rng(0).normal(size=(4, 6)).astype(np.float32)
    x = store[::-1].copy()
    want = layer_norm(x, store[2].copy(), store[0].copy())
    y, gamma, beta = on_device(kind, store, store[2], store[0])
    assert layer_norm(TO[kind](x), gamma, beta, out=y) is y
    assert_close(store, want)


def test_dtypes_of_parameters(kind):
    """Parameters have the dtype of the array or of the arithmetic, and both the same; else they are converted."""
    to, back = TO[kind], FROM[kind]
    x = np.random.default_rng(0).normal(size=(4, 6)).astype(np.float16)
    gamma, beta = np.linspace(0.5, 1.5, 6), np.linspace(-1, 1, 6)
    choices = (np.float16, np.float32, np.float64)
    for first in choices:
        for second in choices:
            a, b = gamma.astype(first), beta.astype(second)
            assert_close(back(layer_norm(to(x), to(a), to(b))), layer_norm(x, a, b))
    whole = np.arange(6)
    assert_close(back(layer_norm(to(x), to(whole))), layer_norm(x, whole))


@every_norm
def test_empty(norm, kind, launches):
    for shape in ((0, 6, 5), (4, 6, 0), (0, 6, 0)):
        to = TO[kind]
        xs, dys, parameters = norm.data(shape, AXIS, np.float32)
        results, statistics = norm.forward(xs, parameters, AXIS)
        saved = results[-1] if norm.arrays > 1 else xs[0]
        gradients = norm.backward(dys, saved, parameters[0], statistics, AXIS)
        d_parameters = [to(p) for p in parameters]
        got, d_statistics = norm.forward([to(a) for a in xs], d_parameters, AXIS, **given(norm, shape, AXIS, to))
        d_gradients = norm.backward([to(a) for a in dys], to(saved), d_parameters[0], d_statistics, AXIS)
        for a, b in zip((*got, *d_statistics, *d_gradients), (*results, *statistics, *gradients), strict=True):
            np.testing.assert_allclose(FROM[kind](a), b, rtol=1e-6)
    assert not launches


def test_one_launch_for_ghost_batches_where_channels_come_last(kind, launches):
    norm = BY_LABEL["batch_norm-ghost"]
    xs, _, parameters = norm.data((3 * CHUNK, 2, 5), -1, np.float32)
    norm.forward([TO[kind](xs[0])], [TO[kind](p) for p in parameters], -1)
    assert launches == ["normalize_channels"]


def test_alpha_on_the_device(kind):
    norm = BY_LABEL["dynamic_tanh"]
    to, back = TO[kind], FROM[kind]
    xs, dys, (gamma, beta) = norm.data(SHAPE, AXIS, np.float16)
    alpha = np.array([0.75], np.float32)
    y = normkit.dynamic_tanh(to(xs[0]), to(alpha), to(gamma), to(beta), axis=AXIS)
    assert_close(back(y), normkit.dynamic_tanh(xs[0], alpha, gamma, beta, axis=AXIS))
    got = normkit.dynamic_tanh_backward(to(dys[0]), to(xs[0]), to(alpha), to(gamma), axis=AXIS)
    want = normkit.dynamic_tanh_backward(dys[0], xs[0], alpha, gamma, axis=AXIS)
    for a, b in zip(got, want, strict=True):
        assert_close(back(a), np.asarray(b), terms=120)
    with pytest.raises(ValueError, match=r"^alpha must be one number, got shape \(2,\)"):
        normkit.dynamic_tanh(to(xs[0]), to(np.ones(2, np.float32)))
    with pytest.raises(TypeError, match="^alpha must be in the host's memory"):
        normkit.dynamic_tanh(xs[0].copy() if kind == "cupy" else np.ones(3), to(alpha))


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16])
@pytest.mark.parametrize("options", [{}, {"momentum": 0.1}, {"momentum": None, "count": 3}], ids=str)
def test_update_running(kind, dtype, options):
    running = np.array([1.0, 2.0, 3.0], dtype), np.array([4.0, 5.0, 6.0], dtype)
    batch = np.array([1.0, np.nan, 3.5], np.float32), np.array([np.inf, 2.0, 8.0], np.float32)
    d_running, d_batch = [TO[kind](a) for a in running], [TO[kind](a) for a in batch]
    got = update_running(*d_running, *d_batch, **options)
    update_running(*running, *batch, **options)
    for a, before, want in zip(got, d_running, running, strict=True):
        assert a is before
        np.testing.assert_array_equal(FROM[kind](a), want)


def test_update_running_errors(kind):
    to = TO[kind]
    one, whole = np.ones(3, np.float32), np.ones(3, np.int32)
    with pytest.raises(TypeError, match="^mean must be in .*got ndarray in the host's memory"):
        update_running(to(one), to(one), one, to(one))
    with pytest.raises(TypeError, match="^mean must be in the host's memory"):
        update_running(one.copy(), one.copy(), to(one), one)
    with pytest.raises(TypeError, match="^running_var must be an array of float.*got ndarray"):
        update_running(to(one), one, to(one), to(one))
    with pytest.raises(TypeError, match="^running_mean must be an array of float.*got dtype int32"):
        update_running(to(whole), to(one), to(one), to(one))
    with pytest.raises(ValueError, match=r"^var must have shape \(3,\), got \(2,\)"):
        update_running(to(one), to(one), to(one), to(one[:2]))
    same = to(one)
    with pytest.raises(ValueError, match="^running_mean and running_var must not share memory"):
        update_running(same, same, to(one), to(one))


# --- errors ---------------------------------------------------------------------------------------------------------

X = np.zeros(SHAPE, np.float32)
SIX, FIVE = np.ones(6, np.float32), np.ones(5, np.float32)
WRONG = {
    "dtype": (X.astype(np.int32), {}),
    "scalar": (X[0, 0, 0], {}),
    "axis": (X, {"axis": 3}),
    "axes": (X, {"axis": 1.5}),
    "gamma": (X, {"gamma": FIVE}),
    "complex": (X, {"gamma": SIX.astype(complex)}),
    "epsilon": (X, {"epsilon": 0.0}),
    "epsilon type": (X, {"epsilon": "1"}),
    "out type": (X, {"out": [0.0]}),
    "out shape": (X, {"out": X[1:]}),
    "out dtype": (X, {"out": X.astype(np.float16)}),
    "virtual": (X, {"virtual_batch_size": 0}),
    "one of two": (X, {"mean": SIX}),
    "var": (X, {"mean": SIX, "var": FIVE}),
    "both": (X, {"mean": SIX, "var": SIX, "virtual_batch_size": 2}),
    "one value": (X[:1, :, :1], {}),
    "r_max": (X, {"r_max": 0.5}),
    "d_max": (X, {"d_max": -1.0}),
    "alpha": (X, {"alpha": np.inf}),
}


def message(function, *arguments, **options):
    try:
        function(*arguments, **options)
    except (TypeError, ValueError) as error:
        # what to convert with is the library's
        return type(error), re.sub("; convert it with.*", "", str(error))
    return None


@every_norm
def test_the_same_errors(norm, kind):
    function = getattr(normkit, norm.name)
    for case, (x, options) in WRONG.items():
        options = {"axis": AXIS, **norm.fixed(SHAPE, AXIS), **options}
        if set(options) <= set(inspect.signature(function).parameters):
            check_error(norm, kind, case, x, options)


def check_error(norm, kind, case, x, options):
    to, function = TO[kind], getattr(normkit, norm.name)
    more = [X] if norm.arrays > 1 else []
    arrays = {name: to(a) if isinstance(a, np.ndarray) else a for name, a in options.items()}
    extra = () if case == "alpha" else norm.extra(SHAPE, AXIS)
    want = message(function, x, *more, *extra, **options)
    got = message(function, to(np.asarray(x)), *[to(a) for a in more], *extra, **arrays)
    assert got == want, case
    # a row may have one value, and fixed statistics are there already
    assert want is not None or case == "one value" or (case, norm.label) == ("one of two", "batch_norm-frozen")


@every_norm
def test_places_may_not_mix(norm, kind):
    to = TO[kind]
    xs, dys, parameters = norm.data(SHAPE, AXIS, np.float32)
    fixed, d_parameters = given(norm, SHAPE, AXIS, to), [to(p) for p in parameters]
    d_xs, d_dys = [to(a) for a in xs], [to(a) for a in dys]
    results, statistics = norm.forward(d_xs, d_parameters, AXIS, **fixed)

    def fails(name, *arguments, backward=False, **options):
        with pytest.raises(TypeError, match=f"^{name} must be in .*, as the other arrays are, got"):
            (norm.backward if backward else norm.forward)(*arguments, AXIS, **options)

    for i, name in enumerate(("gamma", "beta")[: norm.parameters]):
        mixed = [*d_parameters]
        mixed[i] = parameters[i]
        fails(name, d_xs, mixed, **fixed)
        fails(name, xs, [to(a) if j == i else a for j, a in enumerate(parameters)])
    fails("out", d_xs, d_parameters, out=xs[0], **fixed)
    fails("out", xs, parameters, out=d_xs[0])
    for name, a in fixed.items():
        if hasattr(a, "shape"):
            fails(name, d_xs, d_parameters, **{**fixed, name: np.ones(6)})
    if norm.arrays > 1:
        fails("residual", [d_xs[0], xs[1]], d_parameters)
        fails("residual", [xs[0], d_xs[1]], parameters)
    saved = results[-1]
    for i, name in enumerate(("dy", "ds")[: norm.arrays]):
        mixed = [*d_dys]
        mixed[i] = dys[i]
        fails(name, mixed, saved, d_parameters[0], statistics, backward=True)
    names = ("rstd",) if len(statistics) == 1 else ("mean", "rstd", "r", "d")
    for i, name in enumerate(names[: len(statistics)]):
        for other in (FROM[kind](statistics[i]), None):
            mixed = [*statistics]
            mixed[i] = other
            fails(name, d_dys, saved, d_parameters[0], mixed, backward=True)
        if kind == "cupy":
            host = [FROM[kind](a) for a in statistics]
            host[i] = statistics[i]
            fails(name, dys, FROM[kind](saved), parameters[0], host, backward=True)


def test_how_to_move(kind):
    how = {"cupy": r"cupy\.asarray\(gamma\)", "torch": r"torch\.as_tensor\(gamma, device=x\.device\)"}[kind]
    with pytest.raises(TypeError, match=how):
        layer_norm(TO[kind](X), np.ones(5))


def test_two_devices(kind, monkeypatch):
    x, gamma = TO[kind](X), TO[kind](FIVE)
    cls = type(_cuda_arrays.device_array(x, "x"))
    plain = cls.__init__

    def initialize(self, a):
        plain(self, a)
        self.device += a is gamma

    monkeypatch.setattr(cls, "__init__", initialize)
    monkeypatch.setattr(_cuda_arrays, "_kinds", {})
    if kind == "torch":
        monkeypatch.setattr(type(gamma), "detach", lambda self: self)
        monkeypatch.setattr(type(gamma), "resolve_neg", lambda self: self)
    with pytest.raises(TypeError, match=f"^gamma must be in {kind}'s memory on device {PLACES[kind]}, as the other"):
        layer_norm(x, gamma)


class Foreign:
    """An array of a library on a device that is not known, by either protocol."""

    def __init__(self, a, number):
        self.a, self.number, self.dtype, self.shape = a, number, a.dtype, a.shape

    def __dlpack_device__(self):
        return self.number, 0

    def __dlpack__(self, **options):
        return self.a.__dlpack__(**options)


def test_other_libraries():
    with pytest.raises(TypeError, match=r"^x must be an array of torch or CuPy.*torch\.from_dlpack\(x\)"):
        layer_norm(Foreign(X, 2))
    with pytest.raises(TypeError, match=r"^gamma must be an array of torch or CuPy.*cupy\.from_dlpack\(gamma\)"):
        layer_norm(X, Foreign(FIVE, 2))
    interface = Foreign(X, 1)
    interface.__cuda_array_interface__ = {}
    with pytest.raises(TypeError, match=r"^x must be an array of torch or CuPy"):
        layer_norm(interface)


def test_nothing_is_installed(monkeypatch):
    monkeypatch.setattr(launch, "normalize_rows", REAL["normalize_rows"])
    monkeypatch.setitem(sys.modules, "numba_cuda", None)
    driver._driver.cache_clear()
    with pytest.raises(driver.CudaUnavailableError, match=r"pip install 'normkit\[cuda\]'"):
        layer_norm(to_cupy(X))


# --- torch ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def torch(monkeypatch, request):
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(_cuda_arrays, "is_on_gpu", lambda tensor: True)
    monkeypatch.setattr(_cuda_arrays.TorchArray, "current", state.device)
    monkeypatch.setattr(_cuda_arrays.TorchArray, "stream", lambda device: STREAM)
    return torch


MODULES = {
    "LayerNorm": ((5,), (4, 6, 5)),
    "RMSNorm": ((5,), (4, 6, 5)),
    "GroupNorm": ((2, 6), (4, 6, 5)),
    "BatchNorm1d": ((6,), (4, 6, 5)),
    "BatchNorm2d": ((6,), (4, 6, 5, 3)),
}


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("name", MODULES)
def test_modules_for_torch(torch, launches, name, last):
    import normkit.torch

    arguments, shape = MODULES[name]
    ours, theirs = getattr(normkit.torch, name)(*arguments), getattr(torch.nn, name)(*arguments)
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    if last:
        x = x.transpose(1, -1).contiguous().transpose(1, -1)
    for training in (True, False):
        gradients = []
        for module in (ours, theirs):
            module.train(training)
            leaf = x.clone().requires_grad_()
            y = module(leaf)
            # a gradient that is the same for all has no memory of its own
            (y * x.cos()).sum().backward() if training else y.sum().backward()
            gradients.append((y.detach(), leaf.grad, *(p.grad for p in module.parameters())))
        for a, b in zip(*gradients, strict=True):
            assert a.shape == b.shape
            torch.testing.assert_close(a, b, rtol=1e-4, atol=2e-5)
        for a, b in zip(ours.buffers(), theirs.buffers(), strict=True):
            torch.testing.assert_close(a, b)
    assert len(launches) == 4


def test_parameters_that_are_learned(torch):
    x = torch.linspace(-1, 1, 20).reshape(4, 5)
    gamma = torch.nn.Parameter(torch.ones(5))
    y, mean, rstd = layer_norm(x, gamma, return_stats=True, epsilon=EPSILON)
    assert not y.requires_grad
    dx, dgamma, _ = layer_norm_backward(x, x, gamma, mean, rstd)
    assert not dx.requires_grad and not dgamma.requires_grad
    with pytest.raises(TypeError, match=r"^x requires a gradient.*x\.detach\(\)"):
        layer_norm(x.clone().requires_grad_())


def test_a_sign_apart(torch):
    x = torch.randn(4, 5, dtype=torch.complex64)
    minus = x.conj().imag
    assert minus.is_neg()
    torch.testing.assert_close(layer_norm(minus), layer_norm(-x.imag.contiguous()))
    with pytest.raises(ValueError, match="^out must hold its own sign"):
        layer_norm(x.real.contiguous(), out=minus)
    with pytest.raises(ValueError, match="^out must have a place for each element"):
        layer_norm(x.real.contiguous(), out=torch.zeros(5).expand(4, 5))


def test_bfloat16_is_not_copied(torch, launches):
    x = to_torch(np.ones((4, 5), BFLOAT16))
    assert layer_norm(x, out=x) is x
    assert not from_torch(x).astype(np.float32).any()
    assert launches == ["normalize_rows"]
