"""LayerNorm and RMSNorm on rows, on the simulator, against the reference in float64."""

import numpy as np
import pytest

from normkit import reference
from normkit.kernels.cuda import launch

# Two roundings to the type, and for float32 the sums of a row of this length
CLOSE = {"float64": 1e-12, "float32": 3e-6, "float16": 2e-3, "bfloat16": 1.6e-2}


def parameters_of(dtype):
    return "float64" if dtype == "float64" else "float32"


def rounded(a, device, dtype):
    """Return what the kernel sees."""
    return device.get(device.put(a, dtype), a.shape, dtype)


def forward(device, x, residual, gamma, beta, dtype, parameters, *, centred=True, offset=0, epsilon=1e-5):
    real = parameters_of(dtype)
    rows, columns = x.shape
    p = [device.put(a, dtype, offset) if a is not None else 0 for a in (x, residual)]
    s = 0 if residual is None else device.like(x, dtype, offset)
    g, b = (0 if a is None else device.put(a, parameters, 0) for a in (gamma, beta))
    y, mean, rstd = device.like(x, dtype, offset), device.like(x[:, 0], real), device.like(x[:, 0], real)
    launch.normalize_rows(
        *p, s, g, b, y, mean, rstd, rows, columns, epsilon, centred=centred, dtype=dtype, parameters=parameters,
        stream=0,
    )  # fmt: skip
    stats = [device.get(a, (rows,), real) for a in (mean, rstd)]
    return device.get(y, x.shape, dtype), device.get(s, x.shape, dtype) if s else None, *stats


def backward(device, dy, ds, x, gamma, mean, rstd, dtype, parameters, *, centred=True, offset=0):
    real = parameters_of(dtype)
    rows, columns = x.shape
    pointers = [0 if a is None else device.put(a, dtype, offset) for a in (dy, ds, x)]
    g = 0 if gamma is None else device.put(gamma, parameters)
    stats = [device.put(a, real) for a in (mean, rstd)]
    dx, dgamma, dbeta = device.like(x, dtype, offset), *(device.like(x[0], real) for _ in range(2))
    workspace = device.empty(launch.rows_workspace(rows, columns, dtype))
    launch.normalize_rows_backward(
        *pointers, g, *stats, dx, dgamma, dbeta, workspace, rows, columns, centred=centred, dtype=dtype,
        parameters=parameters, stream=0,
    )  # fmt: skip
    return device.get(dx, x.shape, dtype), *(device.get(a, (columns,), real) for a in (dgamma, dbeta))


# columns: a vector, short of one, tails of a team, several warps, pieces of a row that is too long
SHAPES = [(1, 1), (5, 8), (3, 7), (2, 64), (7, 24), (3, 65), (2, 192), (2, 250), (1, 507), (1, 521)]


@pytest.mark.parametrize("shape", SHAPES)
def test_layer_norm_forward(device, rng, shape):
    x, gamma, beta = rng.normal(3, 2, shape), rng.normal(1, 1, shape[1]), rng.normal(0, 1, shape[1])
    x, gamma, beta = (a.astype(np.float32).astype(float) for a in (x, gamma, beta))
    y, _, mean, rstd = forward(device, x, None, gamma, beta, "float32", "float32")
    expected_mean, expected_rstd = reference.statistics(x, (1,), 1e-5)
    np.testing.assert_allclose(y, reference.layer_norm(x, gamma, beta, epsilon=1e-5), atol=3e-6, rtol=3e-6)
    np.testing.assert_allclose(mean, expected_mean[:, 0], rtol=1e-6)
    np.testing.assert_allclose(rstd, expected_rstd[:, 0], rtol=1e-6)


@pytest.mark.parametrize("shape", SHAPES)
def test_layer_norm_backward(device, rng, shape):
    x, dy, gamma = rng.normal(3, 2, shape), rng.normal(0, 1, shape), rng.normal(1, 1, shape[1])
    x, dy, gamma = (a.astype(np.float32).astype(float) for a in (x, dy, gamma))
    mean, rstd = (a[:, 0] for a in reference.statistics(x, (1,), 1e-5))
    results = backward(device, dy, None, x, gamma, mean, rstd, "float32", "float32")
    scale = max(1, rstd.max() * 1e-2)  # a row of one value has rstd = 1 / sqrt(epsilon)
    for got, expected in zip(results, reference.layer_norm_backward(dy, x, gamma, epsilon=1e-5), strict=True):
        np.testing.assert_allclose(got, expected, atol=3e-6 * scale, rtol=3e-6)


@pytest.mark.parametrize("dtype", CLOSE)
@pytest.mark.parametrize(("columns", "offset"), [(48, 0), (520, 0), (72, 8)])
def test_dtypes_residual_and_alignment(device, rng, dtype, columns, offset):
    parameters = dtype if columns == 520 else parameters_of(dtype)
    x, residual, dy, ds = (
        rounded(rng.normal(1, 2, (1 if columns == 520 else 2, columns)), device, dtype) for _ in range(4)
    )
    gamma, beta = (rounded(rng.normal(1, 1, columns), device, parameters) for _ in range(2))
    y, s, mean, rstd = forward(device, x, residual, gamma, beta, dtype, parameters, offset=offset)
    assert device.launched[-1][1].vector == (offset == 0)
    close = {"atol": 4 * CLOSE[dtype], "rtol": CLOSE[dtype]}
    np.testing.assert_array_equal(s, rounded(x + residual, device, dtype))
    np.testing.assert_allclose(y, reference.layer_norm(s, gamma, beta, epsilon=1e-5), **close)
    dx, dgamma, dbeta = backward(device, dy, ds, s, gamma, mean, rstd, dtype, parameters, offset=offset)
    expected = reference.add_layer_norm_backward(dy, ds, s, gamma, epsilon=1e-5)
    np.testing.assert_allclose(dx, expected[0], **close)
    of_sums = min(CLOSE[dtype], CLOSE["float32"])  # sums are of the arithmetic
    np.testing.assert_allclose(dgamma, expected[1], atol=4 * of_sums)
    np.testing.assert_allclose(dbeta, expected[2], atol=4 * of_sums)


@pytest.mark.parametrize("columns", [24, 65, 520])
def test_rms_norm(device, rng, columns):
    x, dy = (rounded(rng.normal(1, 2, (2, columns)), device, "float32") for _ in range(2))
    gamma = rounded(rng.normal(1, 1, columns), device, "float32")
    y, _, _, rstd = forward(device, x, None, gamma, None, "float32", "float32", centred=False)
    np.testing.assert_allclose(y, reference.rms_norm(x, gamma, epsilon=1e-5), atol=3e-6)
    dx, dgamma, _ = backward(device, dy, None, x, gamma, rstd, rstd, "float32", "float32", centred=False)
    expected = reference.rms_norm_backward(dy, x, gamma, epsilon=1e-5)
    np.testing.assert_allclose(dx, expected[0], atol=3e-6)
    np.testing.assert_allclose(dgamma, expected[1], atol=1e-5)


@pytest.mark.parametrize("columns", [24, 193, 520])
def test_no_parameters_and_a_large_mean(device, rng, columns):
    x = rounded(rng.normal(1e4, 1, (3, columns)), device, "float32")
    dy = rounded(rng.normal(0, 1, (3, columns)), device, "float32")
    y, _, mean, rstd = forward(device, x, None, None, None, "float32", "float32")
    one = np.ones(columns)
    np.testing.assert_allclose(y, reference.layer_norm(x, one, 0 * one, epsilon=1e-5), atol=3e-6)
    results = backward(device, dy, None, x, None, mean, rstd, "float32", "float32")
    for got, expected in zip(results, reference.layer_norm_backward(dy, x, one, epsilon=1e-5), strict=True):
        np.testing.assert_allclose(got, expected, atol=6e-6)


@pytest.mark.parametrize(
    ("dtype", "scale"), [("float32", 1e20), ("float32", 1e37), ("bfloat16", 1e30), ("float64", 1e200)]
)
@pytest.mark.parametrize(("columns", "centred"), [(24, True), (200, True), (520, False)])
def test_squares_out_of_range(device, rng, dtype, scale, columns, centred):
    x = rounded(rng.normal(1, 2, (3, columns)) * scale, device, dtype)
    y, _, _, rstd = forward(device, x, None, None, None, dtype, parameters_of(dtype), centred=centred)
    x = x.astype(np.longdouble)
    m = x.mean(axis=1, keepdims=True) if centred else 0
    root = np.sqrt(((x - m) ** 2).mean(axis=1, keepdims=True))
    np.testing.assert_allclose(y, ((x - m) / root).astype(float), atol=4 * CLOSE[dtype])
    # below 1e-38 float32 is coarse
    np.testing.assert_allclose(rstd, (1 / root[:, 0]).astype(float), rtol=1e-5 if scale < 1e37 else 1e-1)


@pytest.mark.parametrize("columns", [24, 200, 520])
def test_not_finite_stays_in_its_row(device, rng, columns):
    x = rounded(rng.normal(1, 2, (4, columns)), device, "float32")
    dy = rounded(rng.normal(1, 2, (4, columns)), device, "float32")
    one = np.ones(columns)
    expected = reference.layer_norm(x, one, 0 * one, epsilon=1e-5)
    expected_dx = reference.layer_norm_backward(dy, x, one, epsilon=1e-5)[0]
    x[1, 3], x[3, 7] = np.nan, np.inf
    y, _, mean, rstd = forward(device, x, None, None, None, "float32", "float32")
    dx, _, _ = backward(device, dy, None, x, None, mean, rstd, "float32", "float32")
    for got, right in ((y, expected), (dx, expected_dx)):
        assert np.isnan(got[[1, 3]]).all()
        np.testing.assert_allclose(got[[0, 2]], right[[0, 2]], atol=6e-6)


@pytest.mark.parametrize(("rows", "columns"), [(19, 24), (5, 72), (5, 200), (17, 520)])
def test_more_rows_than_blocks_and_in_place(device, rng, rows, columns):
    """Blocks take several rows, their teams' and their own shares are merged; dx takes the place of dy."""
    x, dy = (rounded(rng.normal(1, 2, (rows, columns)), device, "float32") for _ in range(2))
    mean, rstd = (a[:, 0] for a in reference.statistics(x, (1,), 1e-5))
    a, b = device.put(x, "float32"), device.put(dy, "float32")
    stats = [device.put(v, "float32") for v in (mean, rstd)]
    dgamma, dbeta = device.like(x[0], "float32"), device.like(x[0], "float32")
    workspace = device.empty(launch.rows_workspace(rows, columns, "float32"))
    launch.normalize_rows_backward(
        b, 0, a, 0, *stats, b, dgamma, dbeta, workspace, rows, columns, centred=True, dtype="float32",
        parameters="float32", stream=0,
    )  # fmt: skip
    expected = reference.layer_norm_backward(dy, x, np.ones(columns), epsilon=1e-5)
    np.testing.assert_allclose(device.get(b, x.shape, "float32"), expected[0], atol=6e-6)
    np.testing.assert_allclose(device.get(dgamma, (columns,), "float32"), expected[1], atol=3e-5)
    np.testing.assert_allclose(device.get(dbeta, (columns,), "float32"), expected[2], atol=3e-5)


def test_residual_in_place(device, rng):
    """The sum takes the place of x, y that of the residual."""
    for columns in (24, 600):
        x, residual = (rounded(rng.normal(1, 2, (3, columns)), device, "float32") for _ in range(2))
        a, b, mean, rstd = *(device.put(v, "float32") for v in (x, residual)), *(device.empty(12) for _ in range(2))
        launch.normalize_rows(
            a, b, a, 0, 0, b, mean, rstd, 3, columns, 1e-5, centred=True, dtype="float32", parameters="float32",
            stream=0,
        )  # fmt: skip
        s = device.get(a, x.shape, "float32")
        np.testing.assert_array_equal(s, rounded(x + residual, device, "float32"))
        one = np.ones(columns)
        expected = reference.layer_norm(s, one, 0 * one, epsilon=1e-5)
        np.testing.assert_allclose(device.get(b, x.shape, "float32"), expected, atol=6e-6)
