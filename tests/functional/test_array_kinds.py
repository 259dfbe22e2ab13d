"""Arrays of other libraries: what comes in as torch's or JAX's goes out as such, with the same numbers."""

import numpy as np
import pytest
from family import BFLOAT16, BY_LABEL, NORMS

from normkit import batch_norm, layer_norm, layer_norm_backward, reference, update_running

every_norm = pytest.mark.parametrize("norm", NORMS, ids=lambda norm: norm.label)


def torch_array(a):
    torch = pytest.importorskip("torch")
    if a.dtype == BFLOAT16:
        return torch.from_numpy(a.astype(np.float32)).to(torch.bfloat16)
    return torch.from_numpy(a.copy())


def jax_array(a):
    jnp = pytest.importorskip("jax.numpy")
    return jnp.asarray(a)


def numpy_array(a):
    """Back to NumPy, whatever the kind."""
    if type(a).__module__ == "torch":
        return a.float().numpy() if str(a.dtype) == "torch.bfloat16" else a.numpy()
    return np.asarray(a)


KINDS = {"torch": (torch_array, "Tensor"), "jax": (jax_array, "ArrayImpl")}
KIND_CASES = [(kind, dtype) for kind in KINDS for dtype in (np.dtype(np.float32), np.dtype(np.float16), BFLOAT16)]


@pytest.mark.parametrize("kind, dtype", KIND_CASES, ids=str)
@every_norm
def test_same_kind_out(norm, kind, dtype):
    convert, type_name = KINDS[kind]
    shape, axis = (4, 6, 5), 1
    xs, dys, parameters = norm.data(shape, axis, dtype)
    given = [convert(a) for a in xs]  # before anything is compiled: without the library there is nothing to compare
    results, statistics = norm.forward(xs, parameters, axis)
    x = results[-1] if norm.arrays > 1 else xs[0]
    gradients = norm.backward(dys, x, parameters[0], statistics, axis)

    def same(got, want):
        assert type(got).__name__ == type_name and str(got.dtype).removeprefix("torch.") == str(want.dtype)
        np.testing.assert_array_equal(numpy_array(got).astype(want.dtype), want)

    got, same_statistics = norm.forward(given, [convert(p) for p in parameters], axis)
    for a, b in zip(got, results, strict=True):
        same(a, b)
    for a, b in zip(same_statistics, statistics, strict=True):
        assert type(a) is np.ndarray
        np.testing.assert_array_equal(a, b)
    got = norm.backward([convert(a) for a in dys], convert(x), convert(parameters[0]), same_statistics, axis)
    same(got[0], gradients[0])
    for a, b in zip(got[1:], gradients[1:], strict=True):
        np.testing.assert_array_equal(numpy_array(a), b)


@pytest.mark.parametrize("kind", KINDS)
def test_an_array_given_is_left_alone(kind):
    x = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)
    given = KINDS[kind][0](x)
    layer_norm(given)
    np.testing.assert_array_equal(numpy_array(given), x)


def test_torch_strides():
    x = np.random.default_rng(0).normal(size=(5, 4, 6)).astype(np.float32)
    tensor = torch_array(x)
    for moved, plain in ((tensor.transpose(0, 2), x.transpose(2, 1, 0)), (tensor[::2, :, 1::2], x[::2, :, 1::2])):
        np.testing.assert_array_equal(layer_norm(moved).numpy(), layer_norm(plain))
        np.testing.assert_array_equal(batch_norm(moved, axis=1).numpy(), batch_norm(plain, axis=1))


def test_torch_writes_to_out():
    x = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)
    tensor, out = torch_array(x), torch_array(np.zeros_like(x))
    assert layer_norm(tensor, out=out) is out
    np.testing.assert_array_equal(out.numpy(), layer_norm(x))
    assert layer_norm(tensor, out=tensor) is tensor
    np.testing.assert_array_equal(tensor.numpy(), layer_norm(x))


def test_torch_in_training():
    """A tensor that records its history says so, instead of losing it silently or failing obscurely."""
    tensor = torch_array(np.ones((3, 4), np.float32)).requires_grad_()
    with pytest.raises((TypeError, ValueError, RuntimeError, BufferError), match="detach|requires.grad"):
        layer_norm(tensor)
    layer_norm(tensor.detach())


def test_a_torch_tensor_elsewhere():
    torch = pytest.importorskip("torch")
    with pytest.raises((TypeError, ValueError), match="(?i)cpu|device|meta"):
        layer_norm(torch.empty(3, 4, device="meta"))


def test_torch_and_numpy_mix():
    x = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)
    y, mean, rstd = layer_norm(torch_array(x), np.ones(4), [0, 0, 0, 0], return_stats=True)
    np.testing.assert_array_equal(y.numpy(), layer_norm(x))
    dx, _, _ = layer_norm_backward(x, torch_array(x), None, mean, rstd)
    np.testing.assert_array_equal(numpy_array(dx), layer_norm_backward(x, x, None, mean, rstd)[0])


class Interface:
    """Memory described by __array_interface__, nothing more."""

    def __init__(self, a):
        self.owner = a
        self.__array_interface__ = a.__array_interface__


class Converts:
    """Something with __array__, nothing more."""

    def __init__(self, a):
        self.a = a

    def __array__(self, dtype=None, copy=None):
        return self.a if dtype is None else self.a.astype(dtype)


@pytest.mark.parametrize("wrap", [Interface, Converts])
@every_norm
def test_anything_that_is_an_array(norm, wrap):
    shape, axis = (4, 6, 5), 1
    xs, dys, parameters = norm.data(shape, axis, np.float32)
    results, statistics = norm.forward(xs, parameters, axis)
    got, same = norm.forward([wrap(a) for a in xs], [wrap(p) for p in parameters], axis)
    for a, b in zip((*got, *same), (*results, *statistics), strict=True):
        np.testing.assert_array_equal(np.asarray(a), b)


def test_lists_of_floats_are_float64():
    got = layer_norm([[1.0, 2.0, 4.0]])
    assert got.dtype == np.float64
    np.testing.assert_allclose(got, reference.layer_norm(np.array([[1.0, 2, 4]]), 1 + np.zeros(3), np.zeros(3)))


def test_subclasses_lose_nothing_but_their_class():
    x = np.random.default_rng(0).normal(size=(5, 4))
    np.testing.assert_array_equal(np.asarray(layer_norm(x.view(np.matrix))), layer_norm(x))


@pytest.mark.parametrize("kind", KINDS)
def test_update_running_takes_any_batch(kind):
    running_mean, running_var = np.zeros(2), np.ones(2)
    batch = KINDS[kind][0](np.array([1.0, 3.0], np.float32))
    update_running(running_mean, running_var, batch, batch, momentum=0.5)
    np.testing.assert_array_equal((running_mean, running_var), ([0.5, 1.5], [1, 2]))


@pytest.mark.parametrize("label", ["layer_norm", "batch_norm", "group_norm"])
def test_a_memory_map(label, tmp_path):
    norm = BY_LABEL[label]
    xs, _, parameters = norm.data((4, 6, 5), 1, np.float32)
    store = np.memmap(tmp_path / "x", np.float32, "w+", shape=(4, 6, 5))
    store[...] = xs[0]
    read_only = np.memmap(tmp_path / "x", np.float32, "r", shape=(4, 6, 5))
    want = norm.forward(xs, parameters, 1)[0][0]
    np.testing.assert_array_equal(norm.forward([read_only], parameters, 1)[0][0], want)
    norm.forward([store], parameters, 1, out=store)
    np.testing.assert_array_equal(store, want)
