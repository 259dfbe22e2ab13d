"""Every function of normkit on the device, forward and backward, and its float64 result on the host."""

import math
from typing import Any, NamedTuple

import numpy as np
import torch

import normkit
from normkit import reference

ALPHA, R_MAX, D_MAX, PART, KEPT = 0.7, 1.5, 0.6, 4, 0.9


class Subject(NamedTuple):
    """A function in one of its uses."""

    name: str
    run: Any  # f(arrays, in_place) -> {name: result}
    expected: Any  # f(host arrays) -> {name: float64 result}
    channels: bool = False


class Arrays:
    """The inputs of one check, in the given type, on the device; `host` has their values in float64."""

    def __init__(self, shape, axis, dtype, device, groups=2, shifted=False, seed=0):
        self.shape, self.axis, self.groups = shape, axis, groups
        self.dtype = getattr(torch, dtype)
        self.statistic = torch.float64 if dtype == "float64" else torch.float32
        self.device, self.shifted = device, shifted
        generator = torch.Generator().manual_seed(seed)
        channels = (shape[axis],)

        def normal(shape, scale=1.0, shift=0.0):
            return torch.randn(shape, generator=generator, dtype=torch.float64) * scale + shift

        self.x, self.residual = self._put(normal(shape, 1.0, 0.5)), self._put(normal(shape))
        self.dy, self.ds = self._put(normal(shape)), self._put(normal(shape))
        self.gamma, self.beta = self._put(normal(channels, 0.25, 1.0)), self._put(normal(channels))
        self.mean = normal(channels, 0.1, 0.4).to(device, self.statistic)
        self.var = normal(channels, 0.1).abs().add(0.8).to(device, self.statistic)

    def _put(self, values):
        """Return the values on the device; shifted: contiguous, but at an address that no vector access may use."""
        flat = torch.empty(values.numel() + 1, dtype=self.dtype, device=self.device)
        part = flat[1:] if self.shifted else flat[:-1]
        return part.copy_(values.reshape(-1)).reshape(values.shape)

    def host(self):
        """Return the inputs in float64."""
        names = ("x", "residual", "dy", "ds", "gamma", "beta", "mean", "var")
        found = {name: to_host(getattr(self, name)) for name in names}
        total = self.x.double().cpu() + self.residual.double().cpu()
        return Host(axis=self.axis, groups=self.groups, s=total.to(self.dtype).double().numpy(), **found)


class Host(NamedTuple):
    """The same in float64; s is the sum as the type has it."""

    x: Any
    residual: Any
    dy: Any
    ds: Any
    gamma: Any
    beta: Any
    mean: Any
    var: Any
    s: Any
    axis: int
    groups: int


def to_host(a):
    """Return any result as a float64 array of NumPy's."""
    return a.detach().double().cpu().numpy() if isinstance(a, torch.Tensor) else np.asarray(a, np.float64)


def _out(a, in_place):
    """Return an input and the output of a call: with in_place the same memory, a copy that the call may change."""
    copy = a.clone() if in_place else a
    return copy, copy if in_place else None


def _rows(name):
    centred, added = "layer" in name, name.startswith("add_")
    forward, backward = getattr(normkit, name), getattr(normkit, f"{name}_backward")
    oracle, gradient = getattr(reference, name), getattr(reference, f"{name}_backward")
    sums = ("dgamma", "dbeta") if centred else ("dgamma",)

    def run(a, in_place):
        x, out = _out(a.x, in_place)
        dy, dx_out = _out(a.dy, in_place)
        lead, parameters = (x, a.residual) if added else (x,), (a.gamma, a.beta) if centred else (a.gamma,)
        y, *rest = forward(*lead, *parameters, return_stats=True, out=out)
        found = {"y": y}
        s = a.x
        if added:
            s, *rest = rest
            found["s"] = s
        dx, *values = backward(dy, *((a.ds, s) if added else (s,)), a.gamma, *rest, out=dx_out)
        return found | {"dx": dx} | dict(zip(sums, values, strict=True))

    def expected(h):
        parameters = (h.gamma, h.beta) if centred else (h.gamma,)
        if added:
            # the sum is rounded to the type before it is normalized
            found = {"y": getattr(reference, name[4:])(h.s, *parameters), "s": h.s}
            values = gradient(h.dy, h.ds, h.s, h.gamma)
        else:
            found, values = {"y": oracle(h.x, *parameters)}, gradient(h.dy, h.x, h.gamma)
        return found | dict(zip(("dx", *sums), values, strict=True))

    return Subject(name, run, expected)


def _dynamic_tanh():
    def run(a, in_place):
        x, out = _out(a.x, in_place)
        dy, dx_out = _out(a.dy, in_place)
        y = normkit.dynamic_tanh(x, ALPHA, a.gamma, a.beta, out=out)
        dx, dalpha, dgamma, dbeta = normkit.dynamic_tanh_backward(dy, a.x, ALPHA, a.gamma, out=dx_out)
        return {"y": y, "dx": dx, "dalpha": dalpha, "dgamma": dgamma, "dbeta": dbeta}

    def expected(h):
        dx, dalpha, dgamma, dbeta = reference.dynamic_tanh_backward(h.dy, h.x, ALPHA, h.gamma)
        y = reference.dynamic_tanh(h.x, ALPHA, h.gamma, h.beta)
        return {"y": y, "dx": dx, "dalpha": dalpha, "dgamma": dgamma, "dbeta": dbeta}

    return Subject("dynamic_tanh", run, expected)


def _channels(label, name, lead=None, options=None, oracle=None, backward_options=None):
    """Return a subject of the norms with a parameter a channel.

    `lead(a)` are arguments before gamma, `options(a)` those by name of the forward function; `oracle(h)` returns y,
    then dx, dgamma and dbeta.
    """
    forward, backward = getattr(normkit, name), getattr(normkit, f"{name}_backward")

    def run(a, in_place):
        x, out = _out(a.x, in_place)
        dy, dx_out = _out(a.dy, in_place)
        first = lead(a) if lead else ()
        given = options(a) if options else {}
        y, *stats = forward(x, *first, a.gamma, a.beta, axis=a.axis, out=out, return_stats=True, **given)
        more = backward_options or {}
        dx, dgamma, dbeta = backward(dy, a.x, *first, a.gamma, *stats, axis=a.axis, out=dx_out, **more)
        return {"y": y, "dx": dx, "dgamma": dgamma, "dbeta": dbeta}

    def expected(h):
        return dict(zip(("y", "dx", "dgamma", "dbeta"), oracle(h), strict=True))

    return Subject(label, run, expected, channels=True)


def _batch(h):
    return (
        reference.batch_norm(h.x, h.gamma, h.beta, h.axis),
        *reference.batch_norm_backward(h.dy, h.x, h.gamma, h.axis),
    )


def _frozen(h):
    return (
        reference.frozen_batch_norm(h.x, h.gamma, h.beta, h.mean, h.var, h.axis),
        *reference.frozen_batch_norm_backward(h.dy, h.x, h.gamma, h.mean, h.var, h.axis),
    )


def _ghost(h):
    return (
        reference.ghost_batch_norm(h.x, h.gamma, h.beta, PART, h.axis),
        *reference.ghost_batch_norm_backward(h.dy, h.x, h.gamma, PART, h.axis),
    )


def _renorm(h):
    r, d = reference.renorm_corrections(h.x, h.mean, h.var, R_MAX, D_MAX, h.axis)
    return (
        reference.batch_renorm(h.x, h.gamma, h.beta, r, d, h.axis),
        *reference.batch_renorm_backward(h.dy, h.x, h.gamma, r, d, h.axis),
    )


def _group(h):
    return (
        reference.group_norm(h.x, h.groups, h.gamma, h.beta, h.axis),
        *reference.group_norm_backward(h.dy, h.x, h.groups, h.gamma, h.axis),
    )


def _instance(h):
    return (
        reference.instance_norm(h.x, h.gamma, h.beta, h.axis),
        *reference.instance_norm_backward(h.dy, h.x, h.gamma, h.axis),
    )


def _update_running():
    def run(a, in_place):
        moving = [a.mean.clone(), a.var.clone()]
        batch = [a.mean + 1, 2 * a.var]
        if a.mean.is_cpu:  # in the host's memory they are NumPy's arrays
            moving, batch = ([tensor.numpy() for tensor in tensors] for tensors in (moving, batch))
        normkit.update_running(*moving, *batch, momentum=KEPT)
        return {"mean": moving[0], "var": moving[1]}

    def expected(h):
        mean, var = (reference.moving_average(*pair, KEPT) for pair in ((h.mean, h.mean + 1), (h.var, 2 * h.var)))
        return {"mean": mean, "var": var}

    return Subject("update_running", run, expected, channels=True)


def subjects():
    """Return the whole family."""
    given = {"mean": "mean", "var": "var"}
    moving = {"moving_mean": "mean", "moving_var": "var"}

    def named(names, **more):
        return lambda a: {name: getattr(a, of) for name, of in names.items()} | more

    return [
        *(_rows(name) for name in ("layer_norm", "rms_norm")),
        _channels("batch_norm", "batch_norm", oracle=_batch),
        _channels("group_norm", "group_norm", lead=lambda a: (a.groups,), oracle=_group),
        _channels("instance_norm", "instance_norm", oracle=_instance),
        *(_rows(name) for name in ("add_layer_norm", "add_rms_norm")),
        _dynamic_tanh(),
        _channels(
            "batch_norm, given statistics", "batch_norm", options=named(given), oracle=_frozen,
            backward_options={"training": False},
        ),
        _channels(
            "batch_norm, ghost batches", "batch_norm", options=lambda a: {"virtual_batch_size": PART}, oracle=_ghost,
            backward_options={"virtual_batch_size": PART},
        ),
        _channels(
            "batch_renorm", "batch_renorm", options=named(moving, r_max=R_MAX, d_max=D_MAX), oracle=_renorm,
        ),
        _update_running(),
    ]  # fmt: skip


def errors(expected, found):
    """Return each result's largest error as a share of its largest value."""
    result = {}
    for name, wanted in expected.items():
        value, wanted = to_host(found[name]), np.asarray(wanted, np.float64)
        difference = float(np.abs(value.reshape(wanted.shape) - wanted).max())
        result[name] = difference / max(float(np.abs(wanted).max()), 1e-30) if math.isfinite(difference) else math.inf
    return result
