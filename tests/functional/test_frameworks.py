"""Forward and gradients against torch's functions with autograd, and against JAX's differentiation of formulas."""

import numpy as np
import pytest
from family import BY_LABEL, CHUNK, CLIPS, EPSILON, NORMS, moving, own_axes

from normkit import batch_norm, layer_norm, reference, update_running

# float64 on both sides; sums of up to some thousand terms in different orders
TOLERANCE = 1e-11


def example(norm, shape, axis, dtype=np.float64):
    """Arguments, results and gradients of a norm."""
    xs, dys, parameters = norm.data(shape, axis, dtype)
    results, statistics = norm.forward(xs, parameters, axis)
    x = results[-1] if norm.arrays > 1 else xs[0]
    return xs, dys, parameters, results, norm.backward(dys, x, parameters[0], statistics, axis)


def assert_near(got, want):
    for a, b in zip(got, want, strict=True):
        np.testing.assert_allclose(np.asarray(a), np.asarray(b), rtol=TOLERANCE, atol=TOLERANCE)


# torch


def in_torch(function, xs, dys, parameters):
    """Results of a function of tensors, and the gradients of all its arguments."""
    torch = pytest.importorskip("torch")
    leaves = [torch.tensor(a, requires_grad=True) for a in (*xs, *parameters)]
    results = function(torch.nn.functional, *leaves)
    results = results if isinstance(results, tuple) else (results,)
    torch.autograd.backward(results, [torch.tensor(dy) for dy in dys])
    return [y.detach().numpy() for y in results], [leaf.grad.numpy() for leaf in leaves]


def batch(F, x, gamma, beta):
    return F.batch_norm(x, None, None, gamma, beta, training=True, eps=EPSILON)


def frozen(F, x, gamma, beta):
    import torch

    mean, var = (torch.tensor(a) for a in moving(x.shape, 1))
    return F.batch_norm(x, mean, var, gamma, beta, training=False, eps=EPSILON)


def layer(F, x, gamma, beta):
    return F.layer_norm(x, gamma.shape, gamma, beta, eps=EPSILON)


def rms(F, x, gamma):
    return F.rms_norm(x, gamma.shape, gamma, eps=EPSILON)


def group(F, x, gamma, beta):
    return F.group_norm(x, 2, gamma, beta, eps=EPSILON)


def instance(F, x, gamma, beta):
    return F.instance_norm(x, weight=gamma, bias=beta, eps=EPSILON)


def add_layer(F, x, residual, gamma, beta):
    return layer(F, x + residual, gamma, beta), x + residual


def add_rms(F, x, residual, gamma):
    return rms(F, x + residual, gamma), x + residual


def tanh(F, x, gamma, beta):
    return gamma * (0.75 * x).tanh() + beta


TORCH = [
    ("batch_norm", (7, 5), 1, batch),
    ("batch_norm", (3, 4, 5, 6), 1, batch),
    ("batch_norm-frozen", (3, 4, 5), 1, frozen),
    ("layer_norm", (7, 5), -1, layer),
    ("layer_norm", (3, 4, 5, 6), (2, 3), layer),
    ("rms_norm", (7, 5), -1, rms),
    ("rms_norm", (3, 4, 5), (1, 2), rms),
    ("add_layer_norm", (7, 5), -1, add_layer),
    ("add_rms_norm", (7, 5), -1, add_rms),
    ("group_norm", (3, 6, 5, 4), 1, group),
    ("group_norm", (3, 6), 1, group),
    ("instance_norm", (3, 4, 5, 6), 1, instance),
    ("dynamic_tanh", (7, 5), -1, tanh),
]


@pytest.mark.parametrize("label, shape, axis, function", TORCH)
def test_torch(label, shape, axis, function):
    xs, dys, parameters, results, gradients = example(BY_LABEL[label], shape, axis)
    want, want_gradients = in_torch(function, xs, dys, parameters)
    assert_near(results, want)
    if len(xs) > 1:
        np.testing.assert_array_equal(want_gradients[0], want_gradients[1])
        want_gradients = want_gradients[1:]
    assert_near(gradients[:1] + gradients[2:] if label == "dynamic_tanh" else gradients, want_gradients)


def test_torch_parameters_with_a_sign_apart():
    torch = pytest.importorskip("torch")
    gamma = torch.tensor([1 + 2j, 3 - 4j]).conj().imag
    x = np.array([[1.0, 4.0]])
    np.testing.assert_allclose(layer_norm(x, gamma), reference.layer_norm(x, np.array([-2.0, 4.0]), np.zeros(2)))


def test_torch_moving_statistics():
    """Their momentum is the share taken in, with the unbiased variance; the documentation says how to convert."""
    torch = pytest.importorskip("torch")
    x = np.random.default_rng(0).normal(size=(20, 3))
    running_mean, running_var = torch.zeros(3, dtype=torch.float64), torch.ones(3, dtype=torch.float64)
    torch.nn.functional.batch_norm(torch.tensor(x), running_mean, running_var, training=True, momentum=0.1)
    ours = np.zeros(3), np.ones(3)
    _, mean, rstd = batch_norm(x, epsilon=1e-5, return_stats=True)
    update_running(*ours, mean, (rstd**-2 - 1e-5) * 20 / 19, momentum=0.9)
    assert_near(ours, (running_mean, running_var))


# JAX: the same formulas written once more, without a word about their gradients


def standardize(x, axes):
    mean = x.mean(axis=axes, keepdims=True)
    return (x - mean) / (((x - mean) ** 2).mean(axis=axes, keepdims=True) + EPSILON) ** 0.5


def along(a, x, axis):
    return reference.along(a, x.ndim, own_axes(x.shape, axis))


def others(x, axis):
    return reference.other_axes(x.ndim, own_axes(x.shape, axis))


def affine(xhat, gamma, beta, axis):
    return xhat * along(gamma, xhat, axis) + along(beta, xhat, axis)


def jax_batch(jax, axis, x, gamma, beta):
    return affine(standardize(x, others(x, axis)), gamma, beta, axis)


def jax_frozen(jax, axis, x, gamma, beta):
    mean, var = (along(a, x, axis) for a in moving(x.shape, axis))
    return affine((x - mean) / (var + EPSILON) ** 0.5, gamma, beta, axis)


def jax_ghost(jax, axis, x, gamma, beta):
    count = max(1, len(x) // CHUNK)
    parts = jax.numpy.split(x, [CHUNK * i for i in range(1, count)])
    return jax.numpy.concatenate([jax_batch(jax, axis, part, gamma, beta) for part in parts])


def jax_renorm(jax, axis, x, gamma, beta):
    axes = others(x, axis)
    mean, var = (along(a, x, axis) for a in moving(x.shape, axis))
    sigma, moving_sigma = (x.var(axis=axes, keepdims=True) + EPSILON) ** 0.5, (var + EPSILON) ** 0.5
    r = jax.lax.stop_gradient(jax.numpy.clip(sigma / moving_sigma, 1 / CLIPS[0], CLIPS[0]))
    offset = (x.mean(axis=axes, keepdims=True) - mean) / moving_sigma
    d = jax.lax.stop_gradient(jax.numpy.clip(offset, -CLIPS[1], CLIPS[1]))
    return affine(standardize(x, axes) * r + d, gamma, beta, axis)


def jax_layer(jax, axis, x, gamma, beta):
    return affine(standardize(x, own_axes(x.shape, axis)), gamma, beta, axis)


def jax_rms(jax, axis, x, gamma):
    square = (x**2).mean(axis=own_axes(x.shape, axis), keepdims=True)
    return x / (square + EPSILON) ** 0.5 * along(gamma, x, axis)


def jax_add_layer(jax, axis, x, residual, gamma, beta):
    return jax_layer(jax, axis, x + residual, gamma, beta), x + residual


def jax_add_rms(jax, axis, x, residual, gamma):
    return jax_rms(jax, axis, x + residual, gamma), x + residual


def jax_group(jax, axis, x, gamma, beta, groups=2):
    parts = jax.numpy.split(x, groups, axis=axis)
    axes = tuple(range(1, x.ndim))
    return affine(jax.numpy.concatenate([standardize(part, axes) for part in parts], axis=axis), gamma, beta, axis)


def jax_instance(jax, axis, x, gamma, beta):
    return jax_group(jax, axis, x, gamma, beta, x.shape[axis])


def jax_tanh(jax, axis, x, gamma, beta):
    return affine(jax.numpy.tanh(0.75 * x), gamma, beta, axis)


JAX = [
    ("batch_norm", jax_batch, -1),
    ("batch_norm", jax_batch, 1),
    ("batch_norm-frozen", jax_frozen, 1),
    ("batch_norm-ghost", jax_ghost, -1),
    ("batch_norm-ghost", jax_ghost, 1),
    ("batch_renorm", jax_renorm, -1),
    ("batch_renorm", jax_renorm, 1),
    ("layer_norm", jax_layer, -1),
    ("layer_norm", jax_layer, (0, 2)),
    ("rms_norm", jax_rms, 1),
    ("add_layer_norm", jax_add_layer, -1),
    ("add_rms_norm", jax_add_rms, (1, 2)),
    ("group_norm", jax_group, -1),
    ("group_norm", jax_group, 1),
    ("instance_norm", jax_instance, 1),
    ("dynamic_tanh", jax_tanh, -1),
]


@pytest.mark.parametrize("label, function, axis", JAX)
def test_jax(label, function, axis):
    jax = pytest.importorskip("jax")
    xs, dys, parameters, results, gradients = example(BY_LABEL[label], (7, 4, 6), axis)
    with jax.enable_x64(True) if hasattr(jax, "enable_x64") else jax.experimental.enable_x64():  # where JAX has it now
        want, pull = jax.vjp(lambda *a: function(jax, axis, *a), *map(jax.numpy.asarray, (*xs, *parameters)))
        want_gradients = pull(tuple(map(jax.numpy.asarray, dys)) if len(xs) > 1 else jax.numpy.asarray(dys[0]))
    assert_near(results, want if len(xs) > 1 else (want,))
    want_gradients = want_gradients[len(xs) - 1 :]
    assert_near(gradients[:1] + gradients[2:] if label == "dynamic_tanh" else gradients, want_gradients)


def test_every_norm_is_compared():
    labels = {norm.label for norm in NORMS}
    assert {case[0] for case in JAX} == labels
    assert {case[0] for case in TORCH} == labels - {"batch_norm-ghost", "batch_renorm"}
