"""How x and out lie in memory does not matter: strides, order, read-only, overlap."""

import numpy as np
import pytest

from normkit import batch_norm, batch_norm_backward, layer_norm, layer_norm_backward
from normkit.kernels.cpu import arrays as kernels

SHAPE = (6, 4, 5)
CASES = [
    (batch_norm, batch_norm_backward, -1),
    (batch_norm, batch_norm_backward, 1),
    (batch_norm, batch_norm_backward, 0),
    (layer_norm, layer_norm_backward, -1),
    (layer_norm, layer_norm_backward, (0, 2)),
]


def arrays(seed=0, dtype=np.float32):
    rng = np.random.default_rng(seed)
    return rng.normal(size=SHAPE).astype(dtype), rng.normal(size=SHAPE).astype(dtype)


def read_only(a):
    a = a.copy()
    a.flags.writeable = False
    return a


def unaligned(a):
    buffer = np.zeros(a.nbytes + 1, np.uint8)
    b = buffer[1:].view(a.dtype).reshape(a.shape)
    b[...] = a
    return b


def every_second(a):
    b = np.zeros((*a.shape[:-1], 2 * a.shape[-1]), a.dtype)
    b[..., ::2] = a
    return b[..., ::2]


LAYOUTS = {
    "fortran": np.asfortranarray,
    "reversed": lambda a: a[::-1, :, ::-1].copy()[::-1, :, ::-1],
    "transposed": lambda a: np.ascontiguousarray(a.transpose(1, 2, 0)).transpose(2, 0, 1),
    "strided": every_second,
    "read-only": read_only,
    "unaligned": unaligned,
}


def assert_same(got, want):
    for a, b in zip(got, want, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("forward, backward, axis", CASES)
def test_inputs(forward, backward, axis, layout):
    x, dy = arrays()
    moved_x, moved_dy = LAYOUTS[layout](x), LAYOUTS[layout](dy)
    want = forward(x, axis=axis, return_stats=True)
    assert_same(forward(moved_x, axis=axis, return_stats=True), want)
    _, mean, rstd = want
    gradients = backward(dy, x, None, mean, rstd, axis=axis)
    assert_same(backward(moved_dy, moved_x, None, mean, rstd, axis=axis), gradients)
    assert_same((moved_x, moved_dy), (x, dy))  # inputs are left alone


@pytest.mark.parametrize("forward, backward, axis", CASES)
def test_a_read_only_input_outlives_its_name(forward, backward, axis):
    want = forward(arrays()[0], axis=axis)
    np.testing.assert_array_equal(forward(read_only(arrays()[0]), axis=axis), want)


def test_read_only_arrays_are_not_compiled_for():
    x = arrays()[0].reshape(-1, 5)
    layer_norm(x)
    compiled = len(kernels.layer_norm[0].signatures)
    layer_norm(read_only(x))
    layer_norm(unaligned(x), out=unaligned(x))
    assert len(kernels.layer_norm[0].signatures) == compiled


@pytest.mark.parametrize("forward, backward, axis", CASES)
def test_a_broadcast_input(forward, backward, axis):
    row = np.arange(5, dtype=np.float32)
    x = np.broadcast_to(row, SHAPE)
    np.testing.assert_array_equal(forward(x, axis=axis), forward(x.copy(), axis=axis))


@pytest.mark.parametrize("layout", ["c", "fortran", "reversed", "transposed", "strided", "unaligned"])
@pytest.mark.parametrize("forward, backward, axis", CASES)
def test_out(forward, backward, axis, layout):
    x, dy = arrays()
    y, mean, rstd = forward(x, axis=axis, return_stats=True)
    dx, _, _ = backward(dy, x, None, mean, rstd, axis=axis)
    out = LAYOUTS.get(layout, np.copy)(np.full(SHAPE, 9, np.float32))
    assert forward(x, axis=axis, out=out) is out
    np.testing.assert_array_equal(out, y)
    out[...] = 9
    assert backward(dy, x, None, mean, rstd, axis=axis, out=out)[0] is out
    np.testing.assert_array_equal(out, dx)


def test_out_leaves_what_lies_between_alone():
    x, _ = arrays()
    store = np.full((6, 4, 10), 9, np.float32)
    layer_norm(x, out=store[..., ::2])
    assert (store[..., 1::2] == 9).all()


@pytest.mark.parametrize("layout", ["c", "fortran", "reversed", "strided"])
@pytest.mark.parametrize("forward, backward, axis", CASES)
def test_in_place(forward, backward, axis, layout, path):
    x, dy = arrays()
    y, mean, rstd = forward(x, axis=axis, return_stats=True)
    gradients = backward(dy, x, None, mean, rstd, axis=axis)
    arrange = LAYOUTS.get(layout, np.copy)
    own = arrange(x)
    assert_same(forward(own, axis=axis, out=own, return_stats=True), (y, mean, rstd))
    own = arrange(dy)
    assert_same(backward(own, x, None, mean, rstd, axis=axis, out=own), gradients)
    own = arrange(x)
    assert_same(backward(dy, own, None, mean, rstd, axis=axis, out=own), gradients)


@pytest.mark.parametrize("shift", [-7, -1, 1, 7, 20])
@pytest.mark.parametrize("forward, backward, axis", CASES)
def test_out_that_overlaps_an_input_at_an_offset(forward, backward, axis, shift):
    x, dy = arrays()
    y, mean, rstd = forward(x, axis=axis, return_stats=True)
    dx, _, _ = backward(dy, x, None, mean, rstd, axis=axis)

    def overlapping(a):
        store = np.zeros(a.size + abs(shift), a.dtype)
        start = max(0, -shift)
        view = store[start : start + a.size].reshape(a.shape)
        view[...] = a
        return view, store[start + shift : start + shift + a.size].reshape(a.shape)

    own, out = overlapping(x)
    np.testing.assert_array_equal(forward(own, axis=axis, out=out), y)
    own, out = overlapping(dy)
    np.testing.assert_array_equal(backward(own, x, None, mean, rstd, axis=axis, out=out)[0], dx)
    own, out = overlapping(x)
    np.testing.assert_array_equal(backward(dy, own, None, mean, rstd, axis=axis, out=out)[0], dx)


def test_out_that_overlaps_transposed():
    store = np.random.default_rng(0).normal(size=(30, 30))
    want = layer_norm(store.T.copy())
    np.testing.assert_array_equal(layer_norm(store.T, out=store), want)


def test_out_that_holds_the_parameters():
    x = np.random.default_rng(0).normal(size=(5, 3))
    for norm in (batch_norm, layer_norm):
        own = x.copy()
        np.testing.assert_array_equal(norm(own, own[0], own[1], out=own), norm(x, x[0], x[1]))


@pytest.mark.parametrize("forward, backward, axis", CASES[:4])
def test_parameters_of_any_type_and_layout(forward, backward, axis):
    x, dy = arrays()
    n = SHAPE[axis]
    gamma, beta = np.arange(1, n + 1), np.linspace(-1, 1, n)
    want = forward(x, gamma.astype(float), beta, axis=axis, return_stats=True)
    wide = np.zeros(2 * n)
    wide[::2] = beta
    assert_same(forward(x, gamma, wide[::2], axis=axis, return_stats=True), want)
    assert_same(forward(x, list(gamma), list(beta), axis=axis, return_stats=True), want)
    assert_same(forward(x, gamma.astype(np.float32), read_only(beta), axis=axis, return_stats=True), want)
