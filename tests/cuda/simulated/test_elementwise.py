"""Dynamic tanh and the sums over a warp, on the simulator."""

import numpy as np
import pytest
from memory import DTYPES
from numba import cuda

from normkit import reference
from normkit.kernels.cuda import device as compiled
from normkit.kernels.cuda import launch

CLOSE = {"float64": 1e-13, "float32": 1e-6, "float16": 2e-3, "bfloat16": 1.6e-2}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("shape", "offset"), [((3, 48), 0), ((19, 7), 0), ((2, 70), 8)])
def test_dynamic_tanh(device, rng, dtype, shape, offset):
    real = "float64" if dtype == "float64" else "float32"
    rows, columns = shape
    x, dy = (device.get(device.put(rng.normal(0, 2, shape), dtype), shape, dtype) for _ in range(2))
    parameters = (device.get(device.put(rng.normal(1, 1, columns), real), (columns,), real) for _ in range(2))
    gamma, beta = parameters
    options = {"dtype": dtype, "parameters": real, "stream": 0}
    a, b = device.put(x, dtype, offset), device.put(dy, dtype, offset)
    g, shift, alpha = device.put(gamma, real), device.put(beta, real), device.put(np.array([0.75]), real)
    y = device.like(x, dtype, offset)
    for value, pointer in ((0.75, 0), (-1.0, alpha)):
        launch.dynamic_tanh(a, value, pointer, g, shift, y, rows, columns, **options)
        expected = reference.dynamic_tanh(x, 0.75, gamma, beta)
        np.testing.assert_allclose(device.get(y, shape, dtype), expected, atol=4 * CLOSE[dtype], rtol=CLOSE[dtype])
    dalpha, dgamma, dbeta = device.empty(8), *(device.like(gamma, real) for _ in range(2))
    workspace = device.empty(launch.dynamic_tanh_workspace(rows, columns, dtype))
    launch.dynamic_tanh_backward(
        b, a, 0.75, 0, g, b, dalpha, dgamma, dbeta, workspace, rows, columns, **options
    )  # fmt: skip
    expected = reference.dynamic_tanh_backward(dy, x, 0.75, gamma)
    np.testing.assert_allclose(device.get(b, shape, dtype), expected[0], atol=4 * CLOSE[dtype], rtol=CLOSE[dtype])
    of_sums = 40 * min(CLOSE[dtype], 1e-6)
    np.testing.assert_allclose(device.get(dalpha, (-1,), real)[0], expected[1], atol=of_sums)
    np.testing.assert_allclose(device.get(dgamma, (columns,), real), expected[2], atol=of_sums)
    np.testing.assert_allclose(device.get(dbeta, (columns,), real), expected[3], atol=of_sums)


@pytest.mark.parametrize("threads", [8, 32, 128])
def test_sums_by_shuffles(rng, threads):
    """What a GPU runs, which the other tests replace for speed: twice, as the halves of the scratch alternate."""
    total = compiled.team_sum(threads, 2, "float32", shuffled=True)
    size = compiled.team_scratch(threads, 2)

    def kernel(x, out):
        scratch = cuda.shared.array(size, np.float32)
        sums = cuda.local.array(2, np.float32)
        for turn in range(2):
            sums[0], sums[1] = x[cuda.threadIdx.x], x[cuda.threadIdx.x] * np.float32(2 + turn)
            total(sums, scratch, turn)
            out[turn, 0, cuda.threadIdx.x], out[turn, 1, cuda.threadIdx.x] = sums[0], sums[1]

    x, out = rng.normal(0, 1, 128).astype(np.float32), np.empty((2, 2, 128), np.float32)
    cuda.jit(kernel)[1, 128](x, out)
    expected = np.repeat(x.reshape(-1, threads).sum(axis=1), threads)
    for turn in range(2):
        np.testing.assert_allclose(out[turn, 0], expected, atol=4e-6)
        np.testing.assert_allclose(out[turn, 1], (2 + turn) * expected, atol=1e-5)
