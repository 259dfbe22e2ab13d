"""BatchNorm, GroupNorm and InstanceNorm in both layouts, on the simulator, against the reference in float64."""

import numpy as np
import pytest

from normkit import reference
from normkit.kernels.cuda import launch

CLOSE = {"float64": 1e-12, "float32": 4e-6, "float16": 3e-3, "bfloat16": 2e-2}


def real_of(dtype):
    return "float64" if dtype == "float64" else "float32"


class Case:
    """An array (samples, channels, length), or (samples, length, channels), with everything that goes with it."""

    def __init__(self, device, rng, shape, last=False, groups=0, dtype="float32", parameters=None, offset=0, x=None):
        samples, channels, length = shape
        self.device, self.dtype, self.offset, self.groups = device, dtype, offset, groups
        self.real, self.parameters = real_of(dtype), parameters or real_of(dtype)
        self.shape = launch.ChannelShape(samples, channels, length, last, groups)
        size = (samples, length, channels) if last else shape
        self.axis = 2 if last else 1
        values = rng.normal(1, 2, size) if x is None else x
        self.x, self.dy = (self.rounded(a, dtype) for a in (values, rng.normal(0, 1, size)))
        self.gamma, self.beta = (self.rounded(rng.normal(1, 1, channels), self.parameters) for _ in range(2))
        self.options = {"dtype": dtype, "parameters": self.parameters, "stream": 0}
        self.workspace = device.empty(launch.channels_workspace(self.shape, dtype))

    def rounded(self, a, dtype):
        return self.device.get(self.device.put(a, dtype), a.shape, dtype)

    def put(self, a):
        return self.device.put(a, self.dtype, self.offset)

    def forward(self, epsilon=1e-5, **options):
        put, device = self.put, self.device
        g, b = (device.put(a, self.parameters) for a in (self.gamma, self.beta))
        y, stats = device.like(self.x, self.dtype, self.offset), np.empty(self.shape.sets)
        mean, rstd = device.like(stats, self.real), device.like(stats, self.real)
        launch.normalize_channels(
            self.shape, put(self.x), g, b, y, mean, rstd, self.workspace, epsilon, **self.options, **options
        )
        return device.get(y, self.x.shape, self.dtype), *(device.get(a, stats.shape, self.real) for a in (mean, rstd))

    def backward(self, mean, rstd, fixed=False):
        put, device = self.put, self.device
        g, m, r = device.put(self.gamma, self.parameters), device.put(mean, self.real), device.put(rstd, self.real)
        dx, dgamma, dbeta = put(self.dy), *(device.like(self.gamma, self.real) for _ in range(2))
        launch.normalize_channels_backward(
            self.shape, dx, put(self.x), g, m, r, dx, dgamma, dbeta, self.workspace, fixed=fixed, **self.options
        )
        parameters = (device.get(a, self.gamma.shape, self.real) for a in (dgamma, dbeta))
        return device.get(dx, self.x.shape, self.dtype), *parameters

    def expected(self):
        if self.groups:
            y = reference.group_norm(self.x, self.groups, self.gamma, self.beta, self.axis, 1e-5)
            return y, reference.group_norm_backward(self.dy, self.x, self.groups, self.gamma, self.axis, 1e-5)
        y = reference.batch_norm(self.x, self.gamma, self.beta, self.axis, 1e-5)
        return y, reference.batch_norm_backward(self.dy, self.x, self.gamma, self.axis, 1e-5)

    def check(self):
        y, mean, rstd = self.forward()
        results, (expected, gradients) = self.backward(mean, rstd), self.expected()
        close = CLOSE[self.dtype]
        np.testing.assert_allclose(y, expected, atol=2 * close, rtol=close)
        np.testing.assert_allclose(results[0], gradients[0], atol=2 * close, rtol=close)
        of_sums = 4 * min(close, CLOSE["float32"])
        for got, right in zip(results[1:], gradients[1:], strict=True):
            np.testing.assert_allclose(got, right, atol=of_sums, rtol=of_sums)


# (samples, channels, length): one value a plane, tails, several planes a block, split planes, several warps a plane
FIRST = [(3, 2, 1), (2, 3, 5), (5, 3, 7), (2, 5, 33), (1, 2, 900), (3, 1, 520), (1, 1, 4200)]
# more rows than threads, one row of channels, tails, tiles of channels, split rows
LAST = [(1, 1, 9), (1, 3, 70), (1, 24, 11), (1, 140, 5), (1, 8, 260)]


@pytest.mark.parametrize("shape", FIRST)
def test_batch_norm_channels_first(device, rng, shape):
    Case(device, rng, shape).check()


@pytest.mark.parametrize("shape", LAST)
def test_batch_norm_channels_last(device, rng, shape):
    Case(device, rng, shape, last=True).check()


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize(("shape", "groups"), [((3, 4, 9), 2), ((2, 6, 20), 6), ((3, 3, 5), 1), ((2, 4, 140), 2)])
def test_group_norm(device, rng, shape, groups, last):
    Case(device, rng, shape, last, groups).check()


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("dtype", CLOSE)
@pytest.mark.parametrize("offset", [0, 8])
def test_dtypes_and_alignment(device, rng, dtype, last, offset):
    parameters = dtype if offset else real_of(dtype)
    case = Case(device, rng, (2, 16, 24), last, 0, dtype, parameters, offset)
    case.check()
    assert device.launched[-1][1].vector == (offset == 0)


@pytest.mark.parametrize("last", [False, True])
def test_large_mean_and_an_outlier_first(device, rng, last):
    shape = (2, 300, 3) if last else (2, 3, 300)
    x = rng.normal(1e4, 1, shape)
    if last:
        x[0, 0, 1] = 1e7
    else:
        x[0, 1, 0] = 1e7
    case = Case(device, rng, (2, 3, 300), last, x=x)
    y, mean, rstd = case.forward()
    results, (expected, gradients) = case.backward(mean, rstd), case.expected()
    np.testing.assert_allclose(y, expected, atol=6e-6, rtol=4e-6)
    for got, right in zip(results, gradients, strict=True):
        np.testing.assert_allclose(got, right, atol=2e-5, rtol=1e-5)


@pytest.mark.parametrize("last", [False, True])
def test_given_statistics(device, rng, last):
    case = Case(device, rng, (2, 5, 12), last)
    mean, var = case.rounded(rng.normal(0, 1, 5), "float32"), case.rounded(rng.uniform(0.5, 2, 5), "float32")
    pointers = [device.put(a, "float32") for a in (case.gamma, case.beta, mean, var)]
    x, rstd = case.put(case.x), device.like(mean, "float32")
    launch.apply_channels(case.shape, x, *pointers, x, rstd, 1e-5, **case.options)
    y = device.get(x, case.x.shape, "float32")
    expected = reference.frozen_batch_norm(case.x, case.gamma, case.beta, mean, var, case.axis, 1e-5)
    np.testing.assert_allclose(y, expected, atol=4e-6)
    results = case.backward(mean, device.get(rstd, (5,), "float32"), fixed=True)
    expected = reference.frozen_batch_norm_backward(case.dy, case.x, case.gamma, mean, var, case.axis, 1e-5)
    for got, right in zip(results, expected, strict=True):
        np.testing.assert_allclose(got, right, atol=2e-5)


def test_moving_statistics_and_what_is_not_finite(device, rng):
    case = Case(device, rng, (2, 3, 10))
    case.x[0, 1, 4] = np.inf
    running_mean, running_var = rng.normal(0, 1, 3), rng.uniform(1, 2, 3)
    moving = [device.put(a, "float32") for a in (running_mean, running_var)]
    y, _, _ = case.forward(moving_mean=moving[0], moving_var=moving[1], kept=0.9, correction=20 / 19)
    assert np.isnan(y[:, 1]).all()
    assert np.isfinite(y[:, ::2]).all()
    new = [device.get(a, (3,), "float32") for a in moving]
    batch = case.x.mean(axis=(0, 2)), case.x[:, ::2].var(axis=(0, 2), ddof=1)
    expected = reference.moving_average(running_mean, batch[0], 0.9)
    np.testing.assert_allclose(new[0], expected, rtol=1e-6)
    np.testing.assert_allclose(new[1][::2], 0.9 * running_var[::2] + 0.1 * batch[1], rtol=1e-6)
    np.testing.assert_allclose(new[1][1], running_var[1], rtol=1e-6)


def test_statistics_alone(device, rng):
    case = Case(device, rng, (1, 3, 40), last=True)
    mean, rstd = device.like(case.gamma, "float32"), device.like(case.gamma, "float32")
    launch.normalize_channels(case.shape, case.put(case.x), 0, 0, 0, mean, rstd, case.workspace, 1e-5, **case.options)
    np.testing.assert_allclose(device.get(mean, (3,), "float32"), case.x.mean(axis=(0, 1)), rtol=1e-6)
    assert not any(name.endswith("apply") for name, _, _ in device.launched)
