"""What only the norms within a sample have: several axes, groups, and one being a case of another."""

import numpy as np
import pytest
from family import BY_LABEL, DTYPES, assert_close

import normkit
from normkit import (
    batch_norm,
    dynamic_tanh,
    dynamic_tanh_backward,
    group_norm,
    group_norm_backward,
    instance_norm,
    layer_norm,
    rms_norm,
)


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


@pytest.mark.parametrize("label", ["layer_norm", "rms_norm", "add_layer_norm", "add_rms_norm", "dynamic_tanh"])
def test_a_tuple_of_axes_in_any_order_is_the_flattened_axis(label):
    norm = BY_LABEL[label]
    xs, _, parameters = norm.data((5, 3, 4), (1, 2), np.float64)
    flat = norm.forward([x.reshape(5, 12) for x in xs], [p.ravel() for p in parameters], -1)[0]
    for axes in ((1, 2), (2, 1), (-1, 1)):
        for a, b in zip(norm.forward(xs, parameters, axes)[0], flat, strict=True):
            np.testing.assert_array_equal(a.reshape(5, 12), b)


@pytest.mark.parametrize("label", ["layer_norm", "rms_norm", "add_layer_norm", "add_rms_norm", "dynamic_tanh"])
@pytest.mark.parametrize("axis", [(), (0, 0), (0, -2), 2, -3, (0, 5)])
def test_wrong_axes(label, axis):
    norm = BY_LABEL[label]
    with pytest.raises(ValueError, match="axis"):
        getattr(normkit, label)(*[np.zeros((3, 4))] * norm.arrays, axis=axis)


@pytest.mark.parametrize("norm", [layer_norm, rms_norm])
def test_samples_do_not_see_each_other(norm):
    x = normal(40, 9).astype(np.float32)
    whole = norm(x)
    np.testing.assert_array_equal(norm(x[7:8]), whole[7:8])
    np.testing.assert_array_equal(norm(x[::-1]), whole[::-1])


def test_samples_do_not_see_each_other_in_groups():
    x = normal(6, 4, 5).astype(np.float32)
    for axis in (1, -1):
        channels = x.shape[axis]
        whole = group_norm(x, channels // (2 if axis == 1 else 5), axis=axis)
        one = group_norm(x[2:3], channels // (2 if axis == 1 else 5), axis=axis)
        np.testing.assert_array_equal(one, whole[2:3])


def test_groups_of_all_channels_are_a_layer():
    x, gamma, beta = normal(3, 4, 5), normal(4, seed=1), normal(4, seed=2)
    got, mean, rstd = group_norm(x, 1, gamma, beta, axis=1, return_stats=True)
    layer, layer_mean, layer_rstd = layer_norm(x, axis=(1, 2), return_stats=True)
    np.testing.assert_allclose(got, layer * gamma[:, None] + beta[:, None], rtol=1e-13, atol=1e-13)
    assert mean.shape == rstd.shape == (3, 1)
    np.testing.assert_allclose((mean[:, 0], rstd[:, 0]), (layer_mean, layer_rstd), rtol=1e-13)


def test_groups_of_one_channel_are_instances():
    x, gamma, beta = normal(3, 4, 5), normal(4, seed=1), normal(4, seed=2)
    group = group_norm(x, 4, gamma, beta, axis=1, return_stats=True)
    for got, want in zip(instance_norm(x, gamma, beta, axis=1, return_stats=True), group, strict=True):
        np.testing.assert_array_equal(got, want)


def test_an_instance_is_a_batch_of_one():
    x, gamma, beta = normal(3, 4, 5), normal(4, seed=1), normal(4, seed=2)
    got = instance_norm(x, gamma, beta, axis=1)
    want = np.concatenate([batch_norm(sample[None], gamma, beta, axis=1) for sample in x])
    np.testing.assert_allclose(got, want, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("label", ["group_norm", "instance_norm"])
def test_channels_may_lie_anywhere(label, dtype):
    norm = BY_LABEL[label]
    xs, dys, parameters = norm.data((3, 4, 5, 6), 1, dtype)
    first, statistics = norm.forward(xs, parameters, 1)
    gradients = norm.backward(dys, xs[0], parameters[0], statistics, 1)
    for axis in (2, 3, -2, -1):
        x, dy = (np.ascontiguousarray(np.moveaxis(a, 1, axis)) for a in (xs[0], dys[0]))
        y, same = norm.forward([x], parameters, axis)
        assert_close(np.moveaxis(y[0], axis, 1), first[0].astype(float))
        assert_close(np.array(same).astype(np.float32), np.array(statistics))
        same = norm.backward([dy], x, parameters[0], statistics, axis)
        assert_close(np.moveaxis(same[0], axis, 1), gradients[0].astype(float))
        for got, want in zip(same[1:], gradients[1:], strict=True):
            assert_close(got, want.astype(float))


WRONG_GROUPS = [
    ((2, 6, 5), 4, 1, ValueError, "groups must divide"),
    ((2, 6, 5), 0, 1, ValueError, "groups must "),
    ((2, 6, 5), -2, 1, ValueError, "groups must "),
    ((2, 6, 5), 7, 1, ValueError, "groups must "),
    ((2, 6, 5), 2.0, 1, TypeError, "groups must "),
    ((2, 6, 5), "2", 1, TypeError, "groups must "),
    ((2, 6, 5), True, 1, TypeError, "groups must "),
    ((2, 6, 5), 1, 0, ValueError, "axis "),
    ((2, 6, 5), 1, -3, ValueError, "axis "),
    ((2, 6, 5), 1, 3, ValueError, "axis"),
    ((2, 6, 5), 1, (1, 2), TypeError, "axis must be an integer"),
    ((6,), 2, 0, ValueError, "axis|dimensions"),
]


@pytest.mark.parametrize("shape, groups, axis, kind, message", WRONG_GROUPS)
def test_wrong_groups(shape, groups, axis, kind, message):
    x = np.zeros(shape)
    with pytest.raises(kind, match=message):
        group_norm(x, groups, axis=axis)
    with pytest.raises(kind, match=message):
        group_norm_backward(x, x, groups, None, np.zeros((2, 1)), np.zeros((2, 1)), axis=axis)


@pytest.mark.parametrize("shape, axis", [((4, 6), -1), ((4, 6, 1), 1), ((4, 1, 6), -1)])
def test_one_value_a_group_has_no_statistics(shape, axis):
    with pytest.raises(ValueError, match="one value|single value"):
        group_norm(np.ones(shape), 6, axis=axis)
    with pytest.raises(ValueError, match="one value|single value"):
        instance_norm(np.ones(shape), axis=axis)
    assert group_norm(np.ones(shape), 3, axis=axis).shape == shape


def test_statistics_of_groups_have_a_shape():
    x = np.zeros((2, 6, 5))
    with pytest.raises(ValueError, match=r"^mean must have shape \(2, 3\), got \(3, 2\)"):
        group_norm_backward(x, x, 3, None, np.zeros((3, 2)), np.ones((2, 3)), axis=1)
    with pytest.raises(ValueError, match=r"^rstd must have shape \(2, 3\), got \(2,\)"):
        group_norm_backward(x, x, 3, None, np.zeros((2, 3)), np.ones(2), axis=1)
    with pytest.raises(ValueError, match=r"^gamma must have shape \(6,\), got \(3,\)"):
        group_norm(x, 3, np.ones(3), axis=1)


# Dynamic tanh


def test_default_alpha():
    x = normal(4, 3)
    np.testing.assert_array_equal(dynamic_tanh(x), dynamic_tanh(x, 0.5))
    np.testing.assert_allclose(dynamic_tanh(x), np.tanh(x / 2), rtol=1e-14)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_dynamic_tanh_saturates(dtype):
    x = np.array([[0, 1e4, -1e4, np.inf, -np.inf, np.nan]]).astype(dtype)
    want = np.array([[0, 2, -2, 2, -2, np.nan]])
    np.testing.assert_array_equal(dynamic_tanh(x, 1.0, np.full(6, 2.0)).astype(float), want)
    dx, dalpha, dgamma, _ = dynamic_tanh_backward(np.ones_like(x[:, :3]), x[:, :3], 1.0, None)
    np.testing.assert_array_equal(dx.astype(float), [[1, 0, 0]])
    assert dalpha == 0.0
    np.testing.assert_array_equal(dgamma, [0, 1, -1])


@pytest.mark.parametrize("alpha", [0.0, -0.5, 1e-8, 30.0, 1])
def test_any_alpha(alpha):
    x = normal(50, 30)
    np.testing.assert_allclose(dynamic_tanh(x, alpha), np.tanh(alpha * x), rtol=1e-14, atol=0)
    got = dynamic_tanh(x.astype(np.float32), alpha)
    np.testing.assert_allclose(got, np.tanh(alpha * x.astype(np.float32).astype(float)), rtol=1e-6, atol=0)


@pytest.mark.parametrize(
    "alpha, kind", [("0.5", TypeError), (None, TypeError), (np.ones(3), TypeError), (np.nan, ValueError)]
)
def test_wrong_alpha(alpha, kind):
    with pytest.raises(kind, match="^alpha must "):
        dynamic_tanh(np.zeros((2, 3)), alpha)
