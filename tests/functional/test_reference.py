"""The oracle itself: by hand, by complex step, by central differences, and where two of its norms are one."""

import numpy as np
import pytest

from normkit import reference

EPSILON = 1e-2


def own_shape(shape, axes):
    return tuple(shape[i] for i in reference.ascending(len(shape), axes))


def features(shape, axis):
    return own_shape(shape, axis if isinstance(axis, tuple) else (axis,))


# Each case builds from a generator: forward, a function of the differentiated arguments; these arguments; and
# backward, a function of the gradients of forward's results. Everything else (r and d, moving statistics) is fixed.


def affine(name, shape, axis, *options):
    def build(rng):
        x = rng.normal(size=shape)
        gamma, beta = rng.normal(size=(2, *features(shape, axis)))
        forward, backward = getattr(reference, name), getattr(reference, f"{name}_backward")
        return (
            lambda x, gamma, beta: (forward(x, gamma, beta, *options, axis, EPSILON),),
            (x, gamma, beta),
            lambda dy: backward(dy, x, gamma, *options, axis, EPSILON),
        )

    return build


def with_statistics(name, shape, axis):
    """Frozen norm with mean and var, renormalization with r and d."""

    def build(rng):
        fixed = rng.normal(size=shape[axis]), rng.uniform(0.5, 2, size=shape[axis])
        return affine(name, shape, axis, *fixed)(rng)

    return build


def group(name, shape, axis, groups):
    def build(rng):
        x = rng.normal(size=shape)
        gamma, beta = rng.normal(size=(2, shape[axis]))
        return (
            lambda x, gamma, beta: (reference.group_norm(x, groups, gamma, beta, axis, EPSILON),),
            (x, gamma, beta),
            lambda dy: reference.group_norm_backward(dy, x, groups, gamma, axis, EPSILON),
        )

    return build


def rms(name, shape, axes):
    def build(rng):
        x, gamma = rng.normal(size=shape), rng.normal(size=own_shape(shape, axes))
        return (
            lambda x, gamma: (reference.rms_norm(x, gamma, axes, EPSILON),),
            (x, gamma),
            lambda dy: reference.rms_norm_backward(dy, x, gamma, axes, EPSILON),
        )

    return build


def add(name, shape, axes):
    """The gradient of both summands, of a loss that sees both results."""

    def build(rng):
        x, residual = rng.normal(size=(2, *shape))
        count = 2 if name == "add_layer_norm" else 1
        parameters = tuple(rng.normal(size=(count, *own_shape(shape, axes))))
        forward, backward = getattr(reference, name), getattr(reference, f"{name}_backward")

        def both(dy, ds):
            dx, *others = backward(dy, ds, x + residual, parameters[0], axes, EPSILON)
            return dx, dx, *others

        return lambda *values: forward(*values, axes, EPSILON), (x, residual, *parameters), both

    return build


def tanh(name, shape, axes):
    def build(rng):
        x, alpha = rng.normal(size=shape), np.array(0.7)
        gamma, beta = rng.normal(size=(2, *own_shape(shape, axes)))
        return (
            lambda x, alpha, gamma, beta: (reference.dynamic_tanh(x, alpha, gamma, beta, axes),),
            (x, alpha, gamma, beta),
            lambda dy: reference.dynamic_tanh_backward(dy, x, alpha, gamma, axes),
        )

    return build


CASES = [
    (affine, "batch_norm", (6, 4), -1),
    (affine, "batch_norm", (3, 4, 5), 1),
    (affine, "batch_norm", (2, 3, 2, 2), 0),
    (affine, "layer_norm", (5, 4), (-1,)),
    (affine, "layer_norm", (2, 3, 4), (1, 2)),
    (affine, "layer_norm", (3, 2, 4), (0, -1)),
    (affine, "ghost_batch_norm", (7, 3), -1, 3),
    (affine, "ghost_batch_norm", (6, 3, 2), 1, 2),
    (affine, "ghost_batch_norm", (3, 2), 1, 5),
    (with_statistics, "frozen_batch_norm", (5, 3), -1),
    (with_statistics, "frozen_batch_norm", (2, 3, 4), 1),
    (with_statistics, "batch_renorm", (6, 3), -1),
    (with_statistics, "batch_renorm", (2, 3, 4), 1),
    (group, "group_norm", (3, 6), -1, 2),
    (group, "group_norm", (2, 4, 3, 2), 1, 2),
    (group, "group_norm", (2, 3, 6), -1, 3),
    (group, "group_norm", (2, 2, 4, 3), 2, 4),
    (affine, "instance_norm", (2, 3, 4), 1),
    (affine, "instance_norm", (2, 3, 2, 4), -1),
    (rms, "rms_norm", (5, 4), (-1,)),
    (rms, "rms_norm", (3, 2, 4), (0, -1)),
    (add, "add_layer_norm", (4, 5), (-1,)),
    (add, "add_layer_norm", (2, 3, 4), (1, 2)),
    (add, "add_rms_norm", (4, 5), (-1,)),
    (add, "add_rms_norm", (2, 3, 4), (0, 2)),
    (tanh, "dynamic_tanh", (4, 5), (-1,)),
    (tanh, "dynamic_tanh", (2, 3, 4), (0, 2)),
]
every_case = pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case[1]}-{case[2]}-{case[3]}")


def setup(case):
    """The loss as a function of the arguments; the arguments; the gradients."""
    build, *rest = case
    rng = np.random.default_rng(7)
    forward, values, backward = build(*rest)(rng)
    upstream = [rng.normal(size=result.shape) for result in forward(*values)]

    def loss(values):
        return sum((d * result).sum() for d, result in zip(upstream, forward(*values), strict=True))

    return loss, values, backward(*upstream)


def derivative(loss, values, which, step, difference):
    """Derivative of loss by each element of one of its arguments."""
    result = np.empty(values[which].shape)
    for index in np.ndindex(result.shape):
        moved = [v.astype(np.result_type(v, step)) for v in values]
        moved[which][index] += step
        result[index] = difference(moved, index)
    return result


@every_case
def test_gradients_by_complex_step(case):
    loss, values, gradients = setup(case)
    h = 1e-30
    for which, gradient in zip(range(len(values)), gradients, strict=True):
        expected = derivative(loss, values, which, 1j * h, lambda moved, index: loss(moved).imag / h)
        assert np.shape(gradient) == expected.shape
        # no difference that cancels: what is left is the float64 rounding of sums of some 20 terms
        np.testing.assert_allclose(gradient, expected, rtol=1e-12, atol=1e-12)


@every_case
def test_gradients_by_central_differences(case):
    loss, values, gradients = setup(case)
    h = 1e-5

    for which, gradient in zip(range(len(values)), gradients, strict=True):

        def central(moved, index, which=which):
            above = loss(moved)
            moved[which][index] -= 2 * h
            return (above - loss(moved)) / (2 * h)

        expected = derivative(loss, values, which, h, central)
        # h**2 times the third derivative, and 1e-15 / h of rounding: both near 1e-9 here
        np.testing.assert_allclose(gradient, expected, rtol=1e-6, atol=1e-7)


def test_every_norm_is_tested():
    differentiated = {name.removesuffix("_backward") for name in vars(reference) if name.endswith("_backward")}
    assert {case[1] for case in CASES} == differentiated - {"norm"}


def test_values_by_hand():
    x = np.array([[1.0, 10.0], [3.0, 30.0]])  # (2, 2); means 2 and 20, biased variances 1 and 100
    gamma, beta = np.array([2.0, 1.0]), np.array([0.0, 5.0])
    y = reference.batch_norm(x, gamma, beta, epsilon=0.0)
    np.testing.assert_allclose(y, [[-2, 4], [2, 6]], rtol=1e-15)
    y = reference.layer_norm(x, gamma, beta, epsilon=0.0)
    np.testing.assert_allclose(y, [[-2, 6], [-2, 6]], rtol=1e-15)
    y = reference.batch_norm(x, np.ones(2), np.zeros(2), epsilon=3.0)
    np.testing.assert_allclose(y[:, 0], [-0.5, 0.5], rtol=1e-15)  # 1 / sqrt(1 + 3)
    y = reference.rms_norm(np.array([[1.0, 7.0]]), gamma, epsilon=0.0)  # mean square 25
    np.testing.assert_allclose(y, [[0.4, 1.4]], rtol=1e-15)
    y, s = reference.add_rms_norm(x, -x + 5, gamma, epsilon=0.0)
    np.testing.assert_array_equal(s, np.full((2, 2), 5.0))
    np.testing.assert_allclose(y, [[2, 1], [2, 1]], rtol=1e-15)
    y = reference.group_norm(np.array([[1.0, 3.0, 10.0, 30.0]]), 2, np.ones(4), np.arange(4.0), epsilon=0.0)
    np.testing.assert_allclose(y, [[-1, 2, 1, 4]], rtol=1e-15)
    y = reference.dynamic_tanh(np.array([0.0, np.inf, -np.inf]), 0.5, np.full(3, 2.0), np.full(3, 1.0))
    np.testing.assert_array_equal(y, [1, 3, -1])


@pytest.mark.parametrize(
    "n, size, lengths", [(7, 3, [3, 4]), (6, 3, [3, 3]), (2, 3, [2]), (3, 3, [3]), (5, 1, [1] * 5)]
)
def test_chunks(n, size, lengths):
    parts = reference.chunks(n, size)
    assert [part.stop - part.start for part in parts] == lengths
    assert [i for part in parts for i in range(part.start, part.stop)] == list(range(n))


def test_renorm_corrects_to_the_moving_statistics_unless_it_is_clipped():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(9, 3))  # (N, C)
    gamma, beta, mean = rng.normal(size=(3, 3))
    var = rng.uniform(0.5, 2, size=3)
    r, d = reference.renorm_corrections(x, mean, var, 1e3, 1e3)
    y = reference.batch_renorm(x, gamma, beta, r, d)
    np.testing.assert_allclose(y, reference.frozen_batch_norm(x, gamma, beta, mean, var), rtol=1e-12, atol=1e-12)
    r, d = reference.renorm_corrections(x, np.array([9.0, -9.0, 0.0]), np.array([99.0, 1e-4, 1.0]), 1.5, 0.25)
    np.testing.assert_allclose(r[:2], [1 / 1.5, 1.5], rtol=1e-15)
    np.testing.assert_allclose(d[:2], [-0.25, 0.25], rtol=1e-15)
    r, d = reference.renorm_corrections(x, mean, var, 1.0, 0.0)
    np.testing.assert_array_equal((r, d), (np.ones(3), np.zeros(3)))  # batch_norm


def test_norms_that_are_one():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(3, 4, 5))  # (N, C, L)
    gamma, beta = rng.normal(size=(2, 4))
    group = reference.group_norm(x, 1, gamma, beta, axis=1)
    ones, zeros = np.ones((4, 5)), np.zeros((4, 5))
    layer = reference.layer_norm(x, ones, zeros, (1, 2)) * gamma[:, None] + beta[:, None]
    np.testing.assert_allclose(group, layer, rtol=1e-13, atol=1e-13)
    instance = reference.instance_norm(x, gamma, beta, axis=1)
    np.testing.assert_allclose(instance, reference.group_norm(x, 4, gamma, beta, axis=1), rtol=1e-13)
    one_by_one = [reference.batch_norm(sample[None], gamma, beta, axis=1)[0] for sample in x]
    np.testing.assert_allclose(instance, one_by_one, rtol=1e-13, atol=1e-13)
    ghosts = reference.ghost_batch_norm(x, gamma, beta, 1, axis=1)
    np.testing.assert_allclose(ghosts, instance, rtol=1e-13, atol=1e-13)
    last = reference.group_norm(np.moveaxis(x, 1, -1), 2, gamma, beta)
    np.testing.assert_allclose(np.moveaxis(last, -1, 1), reference.group_norm(x, 2, gamma, beta, axis=1), rtol=1e-13)
    centred = x - x.mean(axis=-1, keepdims=True)
    rms = reference.rms_norm(centred, np.ones(5), epsilon=1e-3)
    np.testing.assert_allclose(rms, reference.layer_norm(x, np.ones(5), np.zeros(5)), rtol=1e-12)


def test_moving_average():
    running, batch = np.array([1.0, 2.0, 3.0]), np.array([11.0, np.nan, np.inf])
    np.testing.assert_allclose(reference.moving_average(running, batch, 0.9), [2, 2, 3], rtol=1e-15)
    np.testing.assert_allclose(reference.moving_average(running, batch, count=4), [3.5, 2, 3], rtol=1e-15)


def test_axes_that_x_has_not():
    with pytest.raises(np.exceptions.AxisError):
        reference.layer_norm(np.zeros((2, 3)), np.ones(3), np.zeros(3), axes=(5,))
