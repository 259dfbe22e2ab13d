"""Hard numbers: large means, constants, outliers, the ends of each dtype's range."""

import numpy as np
import pytest
from family import BFLOAT16, BY_LABEL, DTYPES, NORMS, assert_close, steps, wide

import normkit
from normkit import batch_norm, layer_norm, reference

FLOAT32, FLOAT64, FLOAT16 = (np.dtype(t) for t in (np.float32, np.float64, np.float16))
# A label, how many rows or channels, and the axis: channels first, channels last, and samples of one row each
CENTRED = [
    ("batch_norm", (4000, 5), -1),
    ("batch_norm", (20, 5, 200), 1),
    ("batch_norm", (5, 4000), 0),
    ("batch_norm-ghost", (4000, 5), -1),
    ("batch_norm-ghost", (20, 5, 200), 1),
    ("batch_renorm", (4000, 5), -1),
    ("batch_renorm", (20, 5, 200), 1),
    ("layer_norm", (4000, 8), -1),
    ("layer_norm", (50, 1500), -1),
    ("layer_norm", (40, 6, 30), (0, 2)),
    ("add_layer_norm", (50, 1500), -1),
    ("group_norm", (50, 6, 70), 1),
    ("group_norm", (50, 70, 6), -1),
    ("instance_norm", (50, 6, 70), 1),
    ("instance_norm", (50, 700, 6), -1),
]
every_centred = pytest.mark.parametrize(
    "label, shape, axis", CENTRED, ids=[f"{case[0]}-{case[1]}".replace(" ", "") for case in CENTRED]
)


def ones(norm, shape, axis):
    _, _, parameters = norm.data(shape, axis, np.float64)
    return [np.full(p.shape, float(i == 0)) for i, p in enumerate(parameters)]


def quiet(function, *arguments):
    """The oracle's result where NumPy would warn of infinities."""
    with np.errstate(all="ignore"):
        return function(*arguments)


@every_centred
@pytest.mark.parametrize("mean", [1e3, 1e4, 2e4, 1e6])  # at 2e4 the rounding of x favours one side in sums
def test_large_means_in_float32(label, shape, axis, mean, path):
    """1e-6 from the oracle for the same float32 numbers, some ulps of the largest xhat, whatever the mean."""
    norm = BY_LABEL[label]
    xs, dys, _ = norm.data(shape, axis, np.float32)
    xs[0] = (xs[0] + mean).astype(np.float32)
    parameters = ones(norm, shape, axis)
    if label == "batch_renorm":  # moving statistics near the batch's
        channels = shape[axis]
        options = {"moving_mean": np.full(channels, mean + 0.25), "moving_var": np.full(channels, 1.5)}
        (y,), statistics = norm.forward(xs, parameters, axis, **options)
        r, d = statistics[2:]
        want = reference.batch_renorm(wide(xs[0]), *parameters, r, d, axis, 0.1)
        sigma = np.sqrt(1.6)
        np.testing.assert_allclose(d, (statistics[0] - mean - 0.25) / sigma, rtol=0, atol=1e-6)
        np.testing.assert_allclose(y, want, rtol=0, atol=1e-6)
        return
    results, statistics = norm.forward(xs, parameters, axis)
    x = results[-1] if norm.arrays > 1 else xs[0]
    want = norm.expected([x, np.zeros_like(x)][: norm.arrays], parameters, axis)[0]
    np.testing.assert_allclose(results[0], want, rtol=0, atol=1e-6)
    gradients = norm.backward(dys, x, parameters[0], statistics, axis)
    for got, expected in zip(gradients, norm.expected_gradients(dys, x, parameters[0], axis), strict=True):
        assert_close(got, expected, f"{label} {shape}")


@pytest.mark.parametrize("shape, axis", [((4000, 3), -1), ((20, 3, 200), 1)])
def test_large_means_in_inference(shape, axis):
    x = (np.random.default_rng(0).normal(size=shape) + 1e6).astype(np.float32)
    mean, var = np.array([1e6 + 0.3, 1e6 - 0.7, 1e6]), np.array([1.0, 0.7, 2.0])
    y = batch_norm(x, axis=axis, mean=mean, var=var)
    want = reference.frozen_batch_norm(wide(x), np.ones(3), np.zeros(3), mean, var, axis)
    np.testing.assert_allclose(y, want, rtol=0, atol=1e-6)


@every_centred
@pytest.mark.parametrize("where", ["first", "last"])
def test_an_outlier(label, shape, axis, where, path):
    """One value far from all others, also where a running shift would begin."""
    norm = BY_LABEL[label]
    xs, dys, parameters = norm.data(shape, axis, np.float32)
    xs[0][(0,) * len(shape) if where == "first" else (-1,) * len(shape)] = 1e6
    results, statistics = norm.forward(xs, parameters, axis)
    x = results[-1] if norm.arrays > 1 else xs[0]
    want = norm.expected([x, np.zeros_like(x)][: norm.arrays], parameters, axis)[0]
    assert_close(results[0], want)
    gradients = norm.backward(dys, x, parameters[0], statistics, axis)
    for got, expected in zip(gradients, norm.expected_gradients(dys, x, parameters[0], axis), strict=True):
        assert_close(got, expected)


def spread(shape):
    """Plus and minus one, as many of each in everything that is normalized together."""
    signs = np.indices(shape).sum(axis=0) % 2 * 2 - 1
    return signs.astype(np.float64)


SIGNED = [
    ("batch_norm", (40, 6), -1),
    ("batch_norm", (4, 6, 10), 1),
    ("layer_norm", (40, 6), -1),
    ("layer_norm", (6, 1000), -1),
    ("rms_norm", (40, 6), -1),
    ("group_norm", (4, 6, 10), 1),
    ("group_norm", (4, 10, 6), -1),
    ("instance_norm", (4, 6, 10), 1),
    ("instance_norm", (4, 10, 6), -1),
]


@pytest.mark.parametrize("label, shape, axis", SIGNED)
@pytest.mark.parametrize(
    "dtype, size",
    [(FLOAT32, 1e15), (FLOAT32, 1e20), (FLOAT32, 3.4e38), (FLOAT16, 65504), (BFLOAT16, 1e20), (BFLOAT16, 3.38e38)],
    ids=str,
)
def test_squares_do_not_overflow(label, shape, axis, dtype, size):
    norm = BY_LABEL[label]
    x = (spread(shape) * size).astype(dtype)
    parameters = ones(norm, shape, axis)
    (y,), statistics = norm.forward([x], parameters, axis)
    # each value is its own distance to the mean 0, over a deviation of the same size
    assert_close(y, np.sign(x.astype(np.float64)))
    _, (dy,), _ = norm.data(shape, axis, dtype)
    gradients = norm.backward([dy], x, parameters[0], statistics, axis)
    expected = norm.expected_gradients([dy], x, parameters[0], axis)
    if size < 1e38 and dtype != FLOAT16:  # dx is as much smaller as x is larger: a subnormal number beyond this
        scaled = gradients[0].astype(np.float64) * size
        np.testing.assert_allclose(scaled, (expected[0] * size).astype(float), rtol=2.0**-7, atol=2e-6)
    for got, want in zip(gradients[1:], expected[1:], strict=True):
        assert_close(got, want)


@pytest.mark.parametrize("label, shape, axis", SIGNED)
@pytest.mark.parametrize("size", [1e100, 1e150, 1e200, 1e300])
def test_squares_of_float64_are_right_or_not_finite(label, shape, axis, size):
    """There is no wider dtype to take them in; a wrong finite number would go unnoticed."""
    norm = BY_LABEL[label]
    x = spread(shape) * size
    y, statistics = norm.forward([x], ones(norm, shape, axis), axis)
    finite = np.isfinite(y[0])
    np.testing.assert_allclose(y[0][finite], np.sign(x)[finite], rtol=1e-13)
    if size < 1e150:
        assert finite.all()


@pytest.mark.parametrize("label, shape, axis", SIGNED)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_small_values(label, shape, axis, dtype):
    """Far below sqrt(epsilon), down to subnormal numbers: y is x / sqrt(epsilon), nothing is flushed to zero.

    But for subnormal bfloat16, where the processor has an instruction that rounds to it.
    """
    norm = BY_LABEL[label]
    smallest = {FLOAT32: 1e-45, FLOAT64: 5e-324, FLOAT16: 6e-8, BFLOAT16: 1e-40}[dtype]
    tiny = {FLOAT32: 1.2e-38, FLOAT64: 2.3e-308, FLOAT16: 6.2e-5, BFLOAT16: 1.2e-38}[dtype]
    for size in (1e-3, 1e-4, tiny, 1000 * smallest, 8 * smallest):
        x = (spread(shape) * size).astype(dtype)
        want = x.astype(np.float64) / np.sqrt(x.astype(np.float64) ** 2 + 0.1)
        got = norm.forward([x], ones(norm, shape, axis), axis)[0][0]
        if dtype == BFLOAT16:
            flushed = (np.abs(want) < 1.2e-38) & (got == 0)
            assert (flushed | (steps(got, want) <= 1)).all(), size
        elif dtype.itemsize == 2:
            assert (steps(got, want) <= 1).all(), size
        else:
            ulp = np.spacing(np.abs(want).astype(dtype)).astype(np.float64)
            assert (np.abs(got - want) <= 4 * ulp).all(), size


CONSTANT = [
    ("batch_norm", lambda n: (n, 2), -1),
    ("batch_norm", lambda n: (1, 2, n), 1),
    ("batch_norm", lambda n: (2, n), 0),
    ("layer_norm", lambda n: (2, n), -1),
    ("layer_norm", lambda n: (n, 2), 0),
    ("add_layer_norm", lambda n: (2, n), -1),
    ("group_norm", lambda n: (2, 4, n), 1),
    ("group_norm", lambda n: (2, n, 4), -1),
    ("instance_norm", lambda n: (2, 3, n), 1),
    ("instance_norm", lambda n: (2, n, 3), -1),
]


@pytest.mark.parametrize("n", [3, 7, 1000, 100003])
@pytest.mark.parametrize("label, shape, axis", CONSTANT, ids=[f"{c[0]}{c[1](7)}".replace(" ", "") for c in CONSTANT])
def test_a_constant_becomes_beta(label, shape, axis, n):
    """Exactly: the mean of n times the same number is that number, however often it was rounded on the way."""
    norm, shape = BY_LABEL[label], shape(n)
    _, _, (_, beta) = norm.data(shape, axis, np.float32)
    gamma = np.full(beta.shape, 3.0)
    for dtype in DTYPES if n < 1e5 else (FLOAT32, FLOAT64):
        for value in (0.1, 1 / 3, 1e8, 1e30, -65504.0, 0.0):
            if dtype == FLOAT16 and abs(value) > 65504:
                continue
            x = np.full(shape, value, dtype)
            xs = [x, np.zeros_like(x)][: norm.arrays]
            y = norm.forward(xs, [gamma, beta], axis)[0][0]
            want = beta.astype(dtype).reshape([-1 if i == axis % len(shape) else 1 for i in range(len(shape))])
            np.testing.assert_array_equal(y, np.broadcast_to(want, shape), err_msg=f"{value} {dtype}")


def test_zero_rows_have_no_root_mean_square():
    for dtype in DTYPES:
        x = np.zeros((4, 9), dtype)
        y, rstd = normkit.rms_norm(x, return_stats=True)
        assert not y.any()
        np.testing.assert_allclose(rstd, 1e3, rtol=1e-6)


BAD = [
    ("batch_norm", (300, 4), -1, lambda a: a[:, 2]),
    ("batch_norm", (3, 4, 50), 1, lambda a: a[:, 2]),
    ("batch_norm-frozen", (300, 4), -1, lambda a: a[7:8, 2]),
    ("batch_norm-ghost", (300, 4), -1, lambda a: a[6:9, 2]),
    ("batch_renorm", (300, 4), -1, lambda a: a[:, 2]),
    ("layer_norm", (70, 5), -1, lambda a: a[7]),
    ("layer_norm", (20, 500), -1, lambda a: a[7]),
    ("layer_norm", (20, 4, 500), (0, 2), lambda a: a[:, 2]),
    ("rms_norm", (70, 5), -1, lambda a: a[7]),
    ("add_layer_norm", (70, 5), -1, lambda a: a[7]),
    ("add_rms_norm", (70, 5), -1, lambda a: a[7]),
    ("group_norm", (20, 4, 50), 1, lambda a: a[7, 2:]),
    ("group_norm", (20, 50, 4), -1, lambda a: a[7, :, 2:]),
    ("instance_norm", (20, 4, 50), 1, lambda a: a[7, 2]),
    ("instance_norm", (20, 50, 4), -1, lambda a: a[7, :, 2]),
    ("dynamic_tanh", (70, 5), -1, lambda a: a[7:8, 2]),
]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("label, shape, axis, own", BAD, ids=[f"{c[0]}-{c[1]}".replace(" ", "") for c in BAD])
def test_a_bad_value_stays_with_those_it_is_normalized_with(label, shape, axis, own, value, path):
    norm = BY_LABEL[label]
    for dtype in (FLOAT32, FLOAT64, BFLOAT16) if path == "serial" else (FLOAT32,):
        xs, dys, parameters = norm.data(shape, axis, dtype)
        good, statistics = norm.forward(xs, parameters, axis)
        good_gradients = norm.backward(dys, good[1] if norm.arrays > 1 else xs[0], parameters[0], statistics, axis)
        for position in (0, -1):
            bad = [x.copy() for x in xs]
            region = own(bad[0])
            region[np.unravel_index(position % region.size, region.shape)] = value
            results, statistics = norm.forward(bad, parameters, axis)
            x = results[1] if norm.arrays > 1 else bad[0]
            gradients = norm.backward(dys, x, parameters[0], statistics, axis)
            inside = np.zeros(shape, bool)
            own(inside)[...] = True
            for got, want in ((results[0], good[0]), (gradients[0], good_gradients[0])):
                got = np.asarray(got).astype(np.float64)
                np.testing.assert_array_equal(got[~inside], np.asarray(want).astype(np.float64)[~inside])
                if label != "dynamic_tanh" and not label.endswith("rms_norm") and label != "batch_norm-frozen":
                    assert np.isnan(got[inside]).all()
            if norm.parameters == 2:  # dbeta is a sum of dy alone
                np.testing.assert_array_equal(gradients[-1], good_gradients[-1])
            if norm.name in ("batch_norm", "batch_renorm"):
                np.testing.assert_array_equal(np.delete(gradients[1], 2), np.delete(good_gradients[1], 2))


@pytest.mark.parametrize("norm", NORMS, ids=lambda norm: norm.label)
def test_no_warnings_of_any_values(norm):
    """Overflow and NaN are in the result; NumPy's warnings about them would depend on the path taken."""
    shape, axis = (6, 4, 8), 1
    for dtype in DTYPES:
        xs, dys, parameters = norm.data(shape, axis, dtype)
        values = [np.nan, np.inf, -np.inf, 0, 6e4, 1e-7, -6e4]
        xs[0].flat[::7] = np.resize(values, -(-xs[0].size // 7)).astype(dtype)
        dys[0].flat[::5] = np.resize([np.inf, 1, np.nan, 0], -(-xs[0].size // 5)).astype(dtype)
        results, statistics = norm.forward(xs, parameters, axis)
        norm.backward(dys, results[-1] if norm.arrays > 1 else xs[0], parameters[0], statistics, axis)


def test_wide_parameters_overflow_quietly():
    x = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float16)
    y = layer_norm(x, np.full(4, 1e6))
    want = quiet(lambda: reference.layer_norm(x.astype(float), np.full(4, 1e6), np.zeros(4)).astype(np.float16))
    np.testing.assert_array_equal(y, want)
