"""Wrong arguments of the norms on a GPU, without one: the messages of the CPU, and what only a device adds."""

import inspect
import re
import sys

import numpy as np
import pytest
from family import NORMS
from host_device import FROM, PLACES, REAL, TO, given, kind, launches, to_cupy, to_torch, torch  # noqa: F401

import normkit
from normkit import layer_norm, update_running
from normkit.functional import _cuda_arrays
from normkit.kernels.cuda import driver, launch

# ruff: noqa: F811, the fixtures
every_norm = pytest.mark.parametrize("norm", NORMS, ids=lambda norm: norm.label)
SHAPE, AXIS = (4, 6, 5), 1

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

    def initialize(self, a, *known):
        plain(self, a, *known)
        if a is gamma:
            self.kind = _cuda_arrays.DeviceKind(cls, a.dtype, self.kind.device + 1)

    monkeypatch.setattr(cls, "__init__", initialize)
    with pytest.raises(TypeError, match=f"^gamma must be in {kind}'s memory on device {PLACES[kind]}, as the other"):
        layer_norm(x, gamma)


def test_two_libraries(torch):
    with pytest.raises(TypeError, match="^gamma must be in torch's memory on device -1, .*got it in cupy's memory"):
        layer_norm(to_torch(X), to_cupy(FIVE))
    with pytest.raises(TypeError, match="^residual must be in cupy's memory on device 3, .*got it in torch's memory"):
        normkit.add_layer_norm(to_cupy(X), to_torch(X))
    with pytest.raises(TypeError, match="^running_var must be in torch's memory .*got it in cupy's memory"):
        update_running(to_torch(FIVE), to_cupy(FIVE), to_torch(FIVE), to_cupy(FIVE))


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


def test_an_array_spread_over_devices_is_not_read(monkeypatch):
    jax = pytest.importorskip("jax")
    monkeypatch.setattr(_cuda_arrays, "platforms", lambda a: {"cuda"})
    x = jax.numpy.ones((3, 4))
    with pytest.raises(TypeError, match="^x must be in the host's memory or on one NVIDIA GPU, got .* on 1 of cuda"):
        layer_norm(x)
    with pytest.raises(TypeError, match="^gamma must be in the host's memory or on one NVIDIA GPU"):
        layer_norm(X, x[0])


def test_nothing_is_installed(monkeypatch):
    monkeypatch.setattr(launch, "normalize_rows", REAL["normalize_rows"])
    monkeypatch.setitem(sys.modules, "numba_cuda", None)
    driver.bindings.cache_clear()
    with pytest.raises(driver.CudaUnavailableError, match=r"pip install 'normkit\[cuda\]'"):
        layer_norm(to_cupy(X))


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
