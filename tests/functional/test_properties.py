"""Properties that hold for arrays of any shape, memory layout, type and values."""

import numpy as np
import pytest
from family import BFLOAT16, DTYPES, NORMS, SIXTEEN_BIT, own_shape, steps, wide
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from normkit import batch_norm, group_norm, layer_norm, rms_norm

every_norm = pytest.mark.parametrize("norm", NORMS, ids=lambda norm: norm.label)


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
def axes_for(draw, norm, shape):
    """An axis, or several, that the norm takes for this shape."""
    dimensions = len(shape)
    if norm.rows:
        several = st.lists(st.integers(0, dimensions - 1), min_size=1, unique=True).map(tuple)
        return draw(st.integers(-dimensions, dimensions - 1) | several)
    first = 1 if norm.label in ("batch_norm-ghost", "group_norm", "instance_norm") else 0
    assume(dimensions > first)
    axis = draw(st.integers(first, dimensions - 1)) - draw(st.sampled_from([0, dimensions]))
    channels = shape[axis]
    if norm.label == "group_norm":
        assume(channels % 2 == 0 or channels % 3 == 0)
    together = np.prod(shape) // channels
    if norm.label in ("group_norm", "instance_norm"):
        together = together // shape[0] * (channels // norm.extra(shape, axis)[0] if norm.extra(shape, axis) else 1)
    elif norm.label == "batch_norm-ghost":
        together = together // shape[0] * min(3, shape[0])
    assume(together > 1 or norm.label == "batch_norm-frozen")
    return axis


@st.composite
def cases(draw, norm):
    """Arrays, gradients, axis, parameters and epsilon."""
    shape = draw(hnp.array_shapes(min_dims=1, max_dims=5, max_side=7))
    axis = draw(axes_for(norm, shape))
    dtype = draw(st.sampled_from(DTYPES))
    values = st.floats(-100, 100, width=16)
    arrays = hnp.arrays(np.float64, shape, elements=values, fill=st.nothing()).map(lambda a: a.astype(dtype))
    xs = [draw(layouts(draw(arrays))) for _ in range(norm.arrays)]
    dys = [draw(layouts(draw(arrays))) for _ in range(norm.arrays)]
    own = own_shape(shape, axis)
    parameters = [draw(hnp.arrays(np.float32, own, elements=st.floats(-3, 3, width=32))) for _ in "gb"]
    return xs, dys, axis, parameters[: norm.parameters], draw(st.sampled_from([1e-5, 1e-3, 1.0]))


def assert_close(got, want, scale):
    """Some tens of roundings of terms of the given size, cancelling or not, and one of the result."""
    got, dtype = np.asarray(got), np.asarray(got).dtype
    error = np.abs(got.astype(np.longdouble) - want)
    precision = 2.0**-53 if dtype == np.float64 else 2.0**-24
    bad = error > 40 * precision * scale
    if dtype in SIXTEEN_BIT:
        bad &= steps(got, want) > 1
    elif dtype == np.float32:
        bad &= error > 4 * precision * np.abs(want)
    assert not bad.any(), (got[bad], np.asarray(want)[bad], scale)


@every_norm
@given(st.data())
def test_norms_are_the_oracle(norm, data):
    xs, dys, axis, parameters, epsilon = data.draw(cases(norm))
    options = {"epsilon": epsilon} if norm.takes_epsilon else {}
    results, statistics = norm.forward(xs, parameters, axis, **options)
    x = results[-1] if norm.arrays > 1 else xs[0]
    for y in results:
        assert y.shape == x.shape and y.dtype == x.dtype
    expected = norm.expected([x, np.zeros_like(x)][: norm.arrays], parameters, axis, epsilon)[0]
    for got, want in zip(statistics, norm.expected_statistics(x, axis, epsilon), strict=True):
        # float32 carries the mean and the deviations to float32's precision, relative to x and to the deviation
        precision = 2.0**-48 if x.dtype == np.float64 else 2.0**-20
        np.testing.assert_allclose(got, want.astype(float), rtol=precision * 10, atol=100 * precision)
    # (x - mean) * rstd: centring rounds relative to x
    rstd = statistics[min(1, len(statistics) - 1)] if statistics else np.ones(1)
    largest = max(1.0, float(rstd.max(initial=0)))
    size = 1 + np.abs(wide(x)).max()
    scale = 4 * (1 + largest * size)
    assert_close(results[0], expected, scale)
    gradients = norm.backward(dys, x, parameters[0], statistics, axis)
    wanted = norm.expected_gradients(dys, x, parameters[0], axis, epsilon)
    # the same, times dy and the number of terms, and once more rstd in dx
    scale *= (1 + sum(np.abs(wide(dy)).max() for dy in dys)) * (1 + largest) * x.size
    assert gradients[0].dtype == x.dtype
    for got, want in zip(gradients, wanted, strict=True):
        assert np.shape(got) == np.shape(want)
        # a 16-bit dtype has no say in the sums
        assert_close(np.float32(got) if x.dtype != np.float64 and np.ndim(want) == 0 else got, want, scale)


@given(hnp.arrays(np.float64, (5, 4), elements=st.floats(-10, 10)), st.floats(-1e3, 1e3))
def test_an_offset_changes_nothing(x, offset):
    # shifting rounds the input itself, by 1e-13 at 1e3, and rstd is at most 32
    for norm in (batch_norm, layer_norm):
        np.testing.assert_allclose(norm(x + offset), norm(x), atol=2e-11)


@given(
    hnp.arrays(np.float64, (5, 4), elements=st.floats(-10, 10, allow_subnormal=False)),
    st.sampled_from([0.5, 2.0, 1024.0]),
)
def test_a_factor_of_two_is_exact_but_for_epsilon(x, factor):
    """Scaling by a power of two rounds nothing: with epsilon scaled along, all bits are the same."""
    for norm in (batch_norm, layer_norm, rms_norm):
        np.testing.assert_array_equal(norm(x * factor, epsilon=1e-3 * factor**2), norm(x, epsilon=1e-3))


@given(hnp.arrays(np.float64, (6, 4), elements=st.floats(-10, 10)))
def test_batch_norm_is_layer_norm_of_the_transposed(x):
    # two orders of summation
    np.testing.assert_allclose(batch_norm(x), layer_norm(x.T).T, rtol=0, atol=1e-12)


@given(hnp.arrays(np.float32, (9, 3), elements=st.floats(-10, 10, width=32)), st.permutations(range(9)))
def test_samples_do_not_see_each_other(x, order):
    for norm in (layer_norm, rms_norm):
        np.testing.assert_array_equal(norm(x[list(order)]), norm(x)[list(order)])
    images = np.stack([x, -x, x + 1], axis=1)  # (9, 3, 3)
    got = group_norm(images[list(order)], 1, axis=1)
    np.testing.assert_array_equal(got, group_norm(images, 1, axis=1)[list(order)])


@pytest.mark.parametrize("dtype", [np.float32, BFLOAT16], ids=["float32", "bfloat16"])
@given(st.data())
def test_any_float_is_taken_without_a_warning(dtype, data):
    x = data.draw(hnp.arrays(np.float32, (4, 6), elements=st.floats(width=32)))
    value = data.draw(st.sampled_from([np.nan, np.inf, -np.inf]))
    row = data.draw(st.integers(0, 3))
    x[row, 2] = value
    with np.errstate(over="ignore"):
        x = x.astype(dtype)
    finite = np.isfinite(x.astype(np.float64))
    y = layer_norm(x).astype(np.float64)
    assert np.isnan(y[row]).all()
    assert np.isfinite(y[finite.all(axis=1)]).all()
    y = batch_norm(x).astype(np.float64)
    columns = finite.all(axis=0)
    assert np.isfinite(y[:, columns]).all() and np.isnan(y[:, ~columns]).all()
    y = rms_norm(x).astype(np.float64)
    assert np.isfinite(y[finite.all(axis=1)]).all()
