"""Arrays on a GPU, without one: what reaches the launches, and what comes back (see host_device)."""

import inspect

import host_device
import numpy as np
import pytest
from family import BFLOAT16, BY_LABEL, CHUNK, DTYPES, EPSILON, NORMS, assert_close
from host_device import FROM, TO, from_torch, given, kind, launches, state, to_cupy, to_torch, torch  # noqa: F401

import normkit
from normkit import layer_norm, layer_norm_backward, update_running

# ruff: noqa: F811, the fixtures
every_norm = pytest.mark.parametrize("norm", NORMS, ids=lambda norm: norm.label)
SHAPE, AXIS = (4, 6, 5), 1


@pytest.mark.parametrize("function", host_device.LAUNCHES, ids=lambda function: function.__name__)
def test_the_stand_ins_are_called_as_the_launches(function):
    real = host_device.REAL[function.__name__]
    assert str(inspect.signature(function)) == str(inspect.signature(real))


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
        return [to_torch(a, copy=False) for a in arrays]
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


def test_fixed_statistics_come_back_in_memory_of_their_own(kind):
    moving = np.zeros(5, np.float32), np.ones(5, np.float32)
    mean, var = on_device(kind, *moving)
    _, got, _ = normkit.batch_norm(TO[kind](np.ones((4, 5), np.float32)), mean=mean, var=var, return_stats=True)
    moving[0][:] = 7  # as a moving average would
    assert not FROM[kind](got).any()


@pytest.mark.parametrize("label", ["layer_norm", "batch_norm", "group_norm"])
def test_in_place_takes_memory_for_statistics_only(label):
    norm = BY_LABEL[label]
    x = to_cupy(norm.data(SHAPE, 1, np.float32)[0][0])
    axis = (1, 2) if norm.rows else 1
    before = len(state.memory)
    y = norm.forward([x], [], axis, out=x)[0][0]
    assert y is x
    taken = [a for a in state.memory[before:] if a.dtype != np.uint8]
    assert len(taken) == 1


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
@pytest.mark.parametrize("options", [{}, {"momentum": 1.0}, {"momentum": 0.1}, {"momentum": None, "count": 3}], ids=str)
def test_update_running(kind, dtype, options):
    rng = np.random.default_rng(0)
    running = rng.normal(size=100).astype(dtype), rng.uniform(size=100).astype(dtype)
    batch = rng.normal(size=100).astype(np.float32), rng.uniform(size=100).astype(np.float32)
    batch[0][:2], batch[1][1:3] = np.nan, np.inf
    d_running, d_batch = [TO[kind](a) for a in running], [TO[kind](a) for a in batch]
    got = update_running(*d_running, *d_batch, **options)
    update_running(*running, *batch, **options)
    for a, before, want in zip(got, d_running, running, strict=True):
        assert a is before
        np.testing.assert_array_equal(FROM[kind](a), want)


# --- torch ----------------------------------------------------------------------------------------------------------


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
    one = torch.tensor([2.0 + 1.0j]).conj().imag  # contiguous, as nothing else of this kind
    torch.testing.assert_close(normkit.dynamic_tanh(one, 1.0), torch.tanh(torch.tensor([-1.0])))
    with pytest.raises(ValueError, match="^out must hold its own sign"):
        layer_norm(x.real.contiguous(), out=minus)
    with pytest.raises(ValueError, match="^out must have a place for each element"):
        layer_norm(x.real.contiguous(), out=torch.zeros(5).expand(4, 5))


def test_bfloat16_is_not_copied(torch, launches):
    x = to_torch(np.ones((4, 5), BFLOAT16))
    assert layer_norm(x, out=x) is x
    assert not from_torch(x).astype(np.float32).any()
    assert launches == ["normalize_rows"]
