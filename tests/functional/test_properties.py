"""Properties that hold for arrays of any shape, memory layout, type and values."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from normkit import batch_norm, batch_norm_backward, layer_norm, layer_norm_backward, reference

DTYPES = st.sampled_from([np.float32, np.float64])
SHAPES = hnp.array_shapes(min_dims=1, max_dims=5, max_side=7)


@st.composite
def layouts(draw, x):
    """The same values with other strides: axes stored in another order, backwards or with gaps."""
    order = draw(st.permutations(range(x.ndim)))
    steps = [draw(st.sampled_from([1, 2, -1, -3])) for _ in range(x.ndim)]
    store = np.zeros([abs(step) * n for step, n in zip(steps, (x.shape[i] for i in order))], x.dtype)
    view = store[tuple(slice(None, None, step) for step in steps)].transpose(np.argsort(order))
    view[...] = x
    return view


@st.composite
def cases(draw, several_axes):
    """x, dy, the axis or axes, gamma, beta and epsilon."""
    shape = draw(SHAPES)
    dtype = draw(DTYPES)
    values = st.floats(-100, 100, width=32)
    arrays = hnp.arrays(dtype, shape, elements=values, fill=st.nothing())
    x, dy = draw(layouts(draw(arrays))), draw(layouts(draw(arrays)))
    axis = draw(st.integers(-len(shape), len(shape) - 1))
    if several_axes:
        axis = tuple(draw(st.lists(st.integers(0, len(shape) - 1), min_size=1, unique=True)))
        own = tuple(shape[i] for i in sorted(axis))
    else:
        own = (shape[axis],)
    gamma, beta = draw(hnp.arrays(np.float64, (2, *own), elements=st.floats(-3, 3)))
    return x, dy, axis, gamma, beta, draw(st.sampled_from([1e-5, 1e-3, 1.0]))


def assert_close(got, want, scale, dtype):
    # Rounding once to float32 is 2**-24 of the result. What is before it is float64: some hundred roundings
    # of terms of the given size, cancelling or not.
    rtol = 2.0**-24 if dtype == np.float32 else 0
    np.testing.assert_allclose(got, want, rtol=rtol, atol=1e-14 * 100 * scale)


def check(forward, backward, reference_forward, reference_backward, case):
    x, dy, axis, gamma, beta, epsilon = case
    wide_x, wide_dy = x.astype(np.float64), dy.astype(np.float64)
    y, mean, rstd = forward(x, gamma, beta, axis=axis, epsilon=epsilon, return_stats=True)
    assert y.shape == x.shape and y.dtype == x.dtype
    largest = rstd.max() if rstd.size else 1.0
    # (x - mean) * rstd: centring rounds relative to x
    scale = 1 + 3 * largest * np.abs(wide_x).max()
    assert_close(y, reference_forward(wide_x, gamma, beta, axis, epsilon), scale, x.dtype)
    gradients = backward(dy, x, gamma, mean, rstd, axis=axis)
    expected = reference_backward(wide_dy, wide_x, gamma, axis, epsilon)
    # the same, times dy and the number of terms, and once more rstd in dx
    scale *= (1 + np.abs(wide_dy).max()) * (1 + largest) * x.size
    for got, want in zip(gradients, expected, strict=True):
        assert got.shape == want.shape and got.dtype == x.dtype
        assert_close(got, want, scale, x.dtype)


@given(cases(several_axes=False))
def test_batch_norm_is_the_reference(case):
    names = reference.batch_norm, reference.batch_norm_backward
    check(batch_norm, batch_norm_backward, *names, case)


@given(cases(several_axes=True))
def test_layer_norm_is_the_reference(case):
    names = reference.layer_norm, reference.layer_norm_backward
    check(layer_norm, layer_norm_backward, *names, case)


@given(hnp.arrays(np.float64, (5, 4), elements=st.floats(-10, 10)), st.floats(-1e3, 1e3))
def test_an_offset_changes_nothing(x, offset):
    # shifting rounds the input itself, by 1e-13 at 1e3, and rstd is at most 32
    for norm in (batch_norm, layer_norm):
        np.testing.assert_allclose(norm(x + offset), norm(x), atol=2e-11)


@given(hnp.arrays(np.float64, (6, 4), elements=st.floats(-10, 10)))
def test_batch_norm_is_layer_norm_of_the_transposed(x):
    # two orders of summation
    np.testing.assert_allclose(batch_norm(x), layer_norm(x.T).T, rtol=0, atol=1e-12)


@given(hnp.arrays(np.float32, (9, 3), elements=st.floats(-10, 10, width=32)), st.permutations(range(9)))
def test_samples_do_not_see_each_other_in_layer_norm(x, order):
    np.testing.assert_array_equal(layer_norm(x[list(order)]), layer_norm(x)[list(order)])


@given(
    hnp.arrays(np.float32, (4, 6), elements=st.floats(width=32)),
    st.integers(0, 3),
    st.sampled_from([np.nan, np.inf, -np.inf]),
)
def test_any_float_is_taken_without_a_warning(x, row, value):
    x[row, 2] = value
    y = layer_norm(x)
    assert np.isnan(y[row]).all()
    rows = np.isfinite(x).all(axis=1)
    assert np.isfinite(y[rows]).all()
    y = batch_norm(x)
    columns = np.isfinite(x).all(axis=0)
    assert np.isfinite(y[:, columns]).all() and np.isnan(y[:, ~columns]).all()
