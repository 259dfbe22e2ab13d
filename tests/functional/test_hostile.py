"""What a review found: long rows, tiny epsilons, outputs that cannot hold their elements, another target."""

import os
import subprocess
import sys

import numpy as np
import pytest

import normkit
from normkit import layer_norm, reference


def test_long_rows_keep_their_gradient():
    x = np.random.default_rng(0).normal(size=(1, 1 << 19)).astype(np.float32)
    dy = np.full_like(x, 0.7)
    _, mean, rstd = layer_norm(x, return_stats=True)
    dx = normkit.layer_norm_backward(dy, x, None, mean, rstd)[0]
    want = reference.layer_norm_backward(dy.astype(float), x.astype(float), np.ones(x.shape[1]))[0]
    np.testing.assert_allclose(dx, want, rtol=0, atol=1e-6)
    dalpha = normkit.dynamic_tanh_backward(dy, x, 0.5, None)[1]
    wide = x.astype(float)
    expected = (0.7 * (1 - np.tanh(0.5 * wide) ** 2) * wide).sum()
    assert dalpha == pytest.approx(expected, rel=1e-5, abs=0.05)


@pytest.mark.parametrize("value", [1.0, 1e14, 1e30])
def test_a_constant_is_beta_for_small_epsilons_too(value):
    x = np.full((40, 6), value, np.float32)
    beta = np.linspace(-1, 1, 6, dtype=np.float32)
    for y in (layer_norm(x, beta=beta, epsilon=1e-35), normkit.batch_norm(x, beta=beta, epsilon=1e-35)):
        np.testing.assert_array_equal(y, np.broadcast_to(beta, x.shape))


def test_an_epsilon_below_the_arithmetic_is_refused():
    with pytest.raises(ValueError, match="epsilon must be at least .* in float32, got 1e-80"):
        layer_norm(np.zeros((2, 3), np.float32), epsilon=1e-80)
    assert np.isfinite(layer_norm(np.zeros((2, 3)), epsilon=1e-80)).all()


def test_an_output_needs_a_place_for_each_element():
    x = np.random.default_rng(0).normal(size=(4, 3))
    out = np.lib.stride_tricks.as_strided(np.empty(3), (4, 3), (0, 8))
    with pytest.raises(ValueError, match="out must have a place for each element"):
        layer_norm(x, out=out)


def test_interleaved_outputs_do_not_overlap():
    x = np.random.default_rng(0).normal(size=(4, 8))
    memory = np.empty((4, 16))
    y, s = normkit.add_layer_norm(x, x, out=memory[:, :8], sum_out=memory[:, 8:])
    np.testing.assert_array_equal(memory[:, 8:], 2 * x)
    np.testing.assert_array_equal(y, layer_norm(2 * x))


def test_gradients_of_an_empty_batch_are_two_arrays():
    x = np.empty((0, 3))
    _, dgamma, dbeta = normkit.batch_norm_backward(x, x, None, np.zeros(3), np.ones(3))
    assert not np.shares_memory(dgamma, dbeta)


def test_masks_are_not_lost():
    with pytest.raises(TypeError, match="x must not be a masked array"):
        layer_norm(np.ma.masked_array(np.zeros((2, 3))))
    with pytest.raises(TypeError, match="gamma must not be a masked array"):
        layer_norm(np.zeros((2, 3)), np.ma.masked_array(np.ones(3), [1, 0, 0]))


PROGRAM = """
import numpy as np, ml_dtypes
from normkit import layer_norm
x = np.random.default_rng(0).normal(size=(9, 40)).astype(np.float32)
for dtype in (np.float32, ml_dtypes.bfloat16):
    y = layer_norm(x.astype(dtype)).astype(np.float64)
    x64 = x.astype(dtype).astype(np.float64)
    want = (x64 - x64.mean(1, keepdims=True)) / np.sqrt(x64.var(1, keepdims=True) + 1e-3)
    assert abs(y - want).max() < 0.02, dtype
try:
    y = layer_norm(x.astype(np.float16)).astype(np.float64)
except Exception as error:
    assert "float16 needs a processor with F16C" in str(error)
print("done")
"""


def test_code_for_any_processor(tmp_path):
    """As for a cache that a cluster shares; 16-bit numbers must not need instructions that are not there."""
    environment = {
        **os.environ, "NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": "", "NUMBA_CACHE_DIR": str(tmp_path)
    }  # fmt: skip
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, env=environment, timeout=300)
    assert done.stdout.strip() == "done", done.stderr[-2000:]
