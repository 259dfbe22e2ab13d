"""Every norm, forward and backward, in every dtype and along every axis, against the oracle."""

import numpy as np
import pytest
from family import BY_LABEL, DTYPES, DTYPES_AND_PATHS, NORMS, SIXTEEN_BIT, assert_close, own_shape

import normkit
from normkit import reference

every_norm = pytest.mark.parametrize("norm", NORMS, ids=lambda norm: norm.label)
every_dtype = pytest.mark.parametrize("dtype, path", DTYPES_AND_PATHS, indirect=["path"], ids=str)


def saved(xs, results):
    """What the backward function is given: x, or the rounded sum."""
    return results[-1] if len(xs) > 1 else xs[0]


@every_dtype
@every_norm
def test_forward(norm, dtype, path):
    for shape, axis in norm.layouts:
        xs, _, parameters = norm.data(shape, axis, dtype)
        results, statistics = norm.forward(xs, parameters, axis)
        assert len(results) == norm.arrays and all(type(y) is np.ndarray and y.dtype == dtype for y in results)
        if norm.arrays == 2:
            # float32's 24 digits are enough to round 16-bit sums twice without harm (Figueroa 1995)
            exact = xs[0] + xs[1] if dtype.itemsize > 2 else (xs[0].astype(np.float32) + xs[1]).astype(dtype)
            np.testing.assert_array_equal(results[1], exact)
            xs = [results[1], np.zeros_like(xs[1])]
        expected = norm.expected(xs, parameters, axis)
        assert_close(results[0], expected[0], f"{shape}, axis {axis}")
        expected = norm.expected_statistics(sum(xs[1:], xs[0]), axis)
        for got, want in zip(statistics, expected, strict=True):
            assert type(got) is np.ndarray and got.dtype == np.float64
            # 16-bit and float32 data may be summed in float32
            assert_close(got if dtype == np.float64 else got.astype(np.float32), want, f"{shape}, axis {axis}")


@every_dtype
@every_norm
def test_backward(norm, dtype, path):
    sums = np.float32 if dtype in SIXTEEN_BIT else dtype
    for shape, axis in norm.layouts:
        xs, dys, parameters = norm.data(shape, axis, dtype)
        results, statistics = norm.forward(xs, parameters, axis)
        x = saved(xs, results)
        gradients = norm.backward(dys, x, parameters[0], statistics, axis)
        expected = norm.expected_gradients(dys, x, parameters[0], axis)
        assert gradients[0].dtype == dtype
        for got, want in zip(gradients, expected, strict=True):
            if got is not gradients[0]:
                assert isinstance(got, float) if np.ndim(want) == 0 else got.dtype == sums
                got = np.asarray(got, sums)
            assert_close(got, want, f"{shape}, axis {axis}", x.size // max(1, np.size(want)))


@pytest.mark.parametrize("norm", [norm for norm in NORMS if norm.name != "batch_renorm"], ids=lambda norm: norm.label)
def test_gradient_is_the_derivative_of_the_function(norm):
    """Whatever the oracle says. Not for renormalization: r and d follow x, and are constants to the gradient."""
    shape, axis = next((shape, axis) for shape, axis in norm.layouts if np.prod(shape) <= 130 and len(shape) > 1)
    xs, dys, parameters = norm.data(shape, axis, np.float64)
    results, statistics = norm.forward(xs, parameters, axis)
    gradients = norm.backward(dys, saved(xs, results), parameters[0], statistics, axis)
    if norm.name == "dynamic_tanh":
        gradients = gradients[0], *gradients[2:]
    values, h = [xs[0], *parameters], 1e-5

    def loss(x, *parameters):
        results, _ = norm.forward([x, *xs[1:]], parameters, axis)
        return sum((dy * y).sum() for dy, y in zip(dys, results, strict=True))

    for which, gradient in enumerate(gradients):
        for index in list(np.ndindex(gradient.shape))[::5]:
            losses = []
            for step in (h, -h):
                moved = [v.copy() for v in values]
                moved[which][index] += step
                losses.append(loss(*moved))
            # central differences: h**2 of truncation, 1e-15 / h of rounding
            assert gradient[index] == pytest.approx((losses[0] - losses[1]) / (2 * h), rel=1e-6, abs=1e-8)


def assert_same(got, want):
    for a, b in zip(got, want, strict=True):
        np.testing.assert_array_equal(a, b)


@every_norm
def test_left_out_parameters_are_ones_and_zeros(norm):
    shape, axis = norm.layouts[2]
    xs, dys, _ = norm.data(shape, axis, np.float32)
    own = own_shape(shape, axis)
    parameters = [np.ones(own), np.zeros(own)][: norm.parameters]
    want, statistics = norm.forward(xs, parameters, axis)
    got, same_statistics = norm.forward(xs, [], axis)
    assert_same((*got, *same_statistics), (*want, *statistics))
    assert_same(norm.forward(xs, [None] * norm.parameters, axis)[0], want)
    x = saved(xs, want)
    got = norm.backward(dys, x, None, statistics, axis)
    assert_same(got, norm.backward(dys, x, parameters[0], statistics, axis))


@pytest.mark.parametrize("norm", [norm for norm in NORMS if norm.takes_epsilon], ids=lambda norm: norm.label)
def test_statistics_are_returned_only_when_asked_for(norm):
    shape, axis = norm.layouts[2]
    xs, _, parameters = norm.data(shape, axis, np.float32)
    want, _ = norm.forward(xs, parameters, axis)
    options = {**norm.fixed(shape, axis), "epsilon": 0.1}
    got = getattr(normkit, norm.name)(*xs, *norm.extra(shape, axis), *parameters, axis=axis, **options)
    assert_same(got if norm.arrays > 1 else (got,), want)


@pytest.mark.parametrize("label, epsilon", [("rms_norm", 1e-6), ("add_rms_norm", 1e-6), ("layer_norm", 1e-3)])
def test_default_epsilon(label, epsilon):
    x = np.array([[1e-3, 2e-3, 4e-3]])
    results = getattr(normkit, label)(*([x, np.zeros_like(x)] if label[:3] == "add" else [x]))
    expected = getattr(reference, label.removeprefix("add_"))
    y = results[0] if label[:3] == "add" else results
    arguments = (np.ones(3),) if "rms" in label else (np.ones(3), np.zeros(3))
    np.testing.assert_allclose(y, expected(x, *arguments, epsilon=epsilon), rtol=1e-13)


@pytest.mark.parametrize("label", ["add_layer_norm", "add_rms_norm"])
def test_the_sums_gradient_may_be_left_out(label):
    norm = BY_LABEL[label]
    xs, dys, parameters = norm.data((6, 5), -1, np.float32)
    (_, s), statistics = norm.forward(xs, parameters, -1)
    alone = norm.backward((dys[0], None), s, parameters[0], statistics, -1)
    zeros = norm.backward((dys[0], np.zeros_like(s)), s, parameters[0], statistics, -1)
    assert_same(alone, zeros)
    plain = getattr(normkit, f"{label.removeprefix('add_')}_backward")(dys[0], s, parameters[0], *statistics)
    assert_same(alone, plain)


@pytest.mark.parametrize("label", ["add_layer_norm", "add_rms_norm"])
def test_the_pair_is_the_norm_of_the_sum(label):
    norm = BY_LABEL[label]
    for dtype in DTYPES:
        xs, _, parameters = norm.data((6, 35), -1, dtype)
        (y, s), statistics = norm.forward(xs, parameters, -1)
        plain = getattr(normkit, label.removeprefix("add_"))
        assert_same((y, *statistics), plain(s, *parameters, epsilon=0.1, return_stats=True))
