"""The oracle itself: by hand, by complex step, by central differences."""

import numpy as np
import pytest

from normkit import reference

CASES = [
    ("batch_norm", (6, 4), -1),
    ("batch_norm", (3, 4, 5), 1),
    ("batch_norm", (2, 3, 2, 2), 0),
    ("layer_norm", (5, 4), (-1,)),
    ("layer_norm", (2, 3, 4), (1, 2)),
    ("layer_norm", (3, 2, 4), (0, -1)),
]
EPSILON = 1e-2


def parameter_shape(name, shape, axis):
    axes = (axis,) if name == "batch_norm" else sorted(i % len(shape) for i in axis)
    return tuple(shape[i] for i in axes)


def setup(name, shape, axis):
    rng = np.random.default_rng(7)
    x, dy = rng.normal(size=shape), rng.normal(size=shape)
    gamma, beta = rng.normal(size=(2, *parameter_shape(name, shape, axis)))
    forward, backward = getattr(reference, name), getattr(reference, f"{name}_backward")
    gradients = backward(dy, x, gamma, axis, EPSILON)

    def loss(values):
        return (dy * forward(*values, axis, EPSILON)).sum()

    return loss, (x, gamma, beta), gradients


def derivative(loss, values, which, step, difference):
    """Derivative of loss by each element of one of its arguments."""
    result = np.empty(values[which].shape)
    for index in np.ndindex(result.shape):
        moved = [v.astype(np.result_type(v, step)) for v in values]
        moved[which][index] += step
        result[index] = difference(moved, index)
    return result


@pytest.mark.parametrize("name, shape, axis", CASES)
def test_gradients_by_complex_step(name, shape, axis):
    loss, values, gradients = setup(name, shape, axis)
    h = 1e-30
    for which, gradient in enumerate(gradients):
        expected = derivative(loss, values, which, 1j * h, lambda moved, index: loss(moved).imag / h)
        # no difference that cancels: what is left is the float64 rounding of sums of some 20 terms
        np.testing.assert_allclose(gradient, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name, shape, axis", CASES)
def test_gradients_by_central_differences(name, shape, axis):
    loss, values, gradients = setup(name, shape, axis)
    h = 1e-5

    for which, gradient in enumerate(gradients):

        def central(moved, index, which=which):
            above = loss(moved)
            moved[which][index] -= 2 * h
            return (above - loss(moved)) / (2 * h)

        expected = derivative(loss, values, which, h, central)
        # h**2 times the third derivative, and 1e-15 / h of rounding: both near 1e-9 here
        np.testing.assert_allclose(gradient, expected, rtol=1e-6, atol=1e-7)


def test_values_by_hand():
    x = np.array([[1.0, 10.0], [3.0, 30.0]])  # (2, 2); means 2 and 20, biased variances 1 and 100
    y = reference.batch_norm(x, np.array([2.0, 1.0]), np.array([0.0, 5.0]), epsilon=0.0)
    np.testing.assert_allclose(y, [[-2, 4], [2, 6]], rtol=1e-15)
    y = reference.layer_norm(x, np.array([2.0, 1.0]), np.array([0.0, 5.0]), epsilon=0.0)
    np.testing.assert_allclose(y, [[-2, 6], [-2, 6]], rtol=1e-15)
    y = reference.batch_norm(x, np.ones(2), np.zeros(2), epsilon=3.0)
    np.testing.assert_allclose(y[:, 0], [-0.5, 0.5], rtol=1e-15)  # 1 / sqrt(1 + 3)
