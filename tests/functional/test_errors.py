"""Wrong arguments of the norms: the message names the argument, what came and what is expected."""

import numpy as np
import pytest

from normkit import batch_norm, batch_norm_backward, layer_norm, layer_norm_backward

X = np.zeros((4, 3), np.float32)
READ_ONLY = np.zeros((4, 3), np.float32)
READ_ONLY.flags.writeable = False

FORWARD = [
    (
        (np.zeros((2, 3), int),),
        {},
        TypeError,
        "x must be .*got dtype int64; convert it with np.asarray",
    ),
    ((np.zeros((2, 3), np.float16),), {}, TypeError, "x must be float32 or float64, got dtype float16"),
    ((np.zeros((2, 3), ">f4"),), {}, TypeError, "x must be float32 or float64, got dtype >f4"),
    ((np.zeros((2, 3), complex),), {}, TypeError, "x must be float32 or float64, got dtype complex128"),
    (("text",), {}, TypeError, "x must be float32 or float64, got dtype <U4"),
    ((None,), {}, TypeError, "x must be float32 or float64, got dtype object"),
    ((np.float32(1),), {}, ValueError, "x must have at least one dimension, got a scalar"),
    ((X, np.ones(4)), {}, ValueError, r"gamma must have shape \(3,\), got \(4,\)"),
    ((X, np.ones((1, 3))), {}, ValueError, r"gamma must have shape \(3,\), got \(1, 3\)"),
    ((X, 2.0), {}, ValueError, r"gamma must have shape \(3,\), got \(\)"),
    ((X, np.ones(3, complex)), {}, TypeError, "gamma must hold real numbers, got dtype complex128"),
    ((X, ["a", "b", "c"]), {}, TypeError, "gamma must hold real numbers, got dtype <U1"),
    ((X, None, np.ones(2)), {}, ValueError, r"beta must have shape \(3,\), got \(2,\)"),
    ((X,), {"epsilon": 0.0}, ValueError, "epsilon must be positive and finite, got 0.0"),
    ((X,), {"epsilon": -1e-3}, ValueError, "epsilon must be positive and finite, got -0.001"),
    ((X,), {"epsilon": np.nan}, ValueError, "epsilon must be positive and finite, got nan"),
    ((X,), {"epsilon": np.inf}, ValueError, "epsilon must be positive and finite, got inf"),
    ((X,), {"epsilon": "1e-3"}, TypeError, "epsilon must be a number, got str"),
    ((X,), {"epsilon": None}, TypeError, "epsilon must be a number, got NoneType"),
    ((X,), {"axis": 2}, ValueError, "axis: axis 2 is out of bounds for array of dimension 2"),
    ((X,), {"axis": -3}, ValueError, "axis: axis -3 is out of bounds for array of dimension 2"),
    ((X,), {"axis": 1.0}, TypeError, "axis must be an integer.*, got 1.0"),
    ((X,), {"axis": None}, TypeError, "axis must be an integer.*, got None"),
    (
        (X,),
        {"out": [[0.0]]},
        ValueError,
        r"out must be .*shape \(4, 3\) and dtype float32, got list",
    ),
    (
        (X,),
        {"out": np.zeros((3, 4), np.float32)},
        ValueError,
        r"out must be .* got shape \(3, 4\), dtype",
    ),
    ((X,), {"out": np.zeros((4, 3))}, ValueError, r"out must be .* got shape \(4, 3\), dtype float64"),
    ((X,), {"out": READ_ONLY}, ValueError, "out must be writeable, got a read-only array"),
]


@pytest.mark.parametrize("norm", [batch_norm, layer_norm])
@pytest.mark.parametrize("arguments, options, kind, message", FORWARD)
def test_forward(norm, arguments, options, kind, message):
    with pytest.raises(kind, match=f"^{message}"):
        norm(*arguments, **options)


THREE, FOUR = np.ones(3), np.ones(4)
BACKWARD = [
    # the parameters' shapes are those of batch_norm for axis -1 and of layer_norm for axis 0 of (4, 3)
    ((X.astype(int), X, None, THREE, THREE), {}, TypeError, "dy must be float32 or float64, got dtype int64"),
    (
        (X.astype(float), X, None, THREE, THREE),
        {},
        TypeError,
        "dy must have the dtype .* float32, got float64",
    ),
    ((X[:3], X, None, THREE, THREE), {}, ValueError, r"dy must have the shape of x \(4, 3\), got \(3, 3\)"),
    ((X, X, None, np.ones(2), THREE), {}, ValueError, r"mean must have shape \(3,\), got \(2,\)"),
    ((X, X, None, THREE, np.ones(2)), {}, ValueError, r"rstd must have shape \(3,\), got \(2,\)"),
    ((X, X, None, None, THREE), {}, TypeError, "mean must hold real numbers, got dtype object"),
    ((X, X, np.ones(2), THREE, THREE), {}, ValueError, r"gamma must have shape \([34],\), got \(2,\)"),
    (
        (X, X, None, THREE, THREE),
        {"out": X.T},
        ValueError,
        r"out must be .* got shape \(3, 4\), dtype",
    ),
]


@pytest.mark.parametrize("backward, axis", [(batch_norm_backward, -1), (layer_norm_backward, 0)])
@pytest.mark.parametrize("arguments, options, kind, message", BACKWARD)
def test_backward(backward, axis, arguments, options, kind, message):
    with pytest.raises(kind, match=f"^{message}"):
        backward(*arguments, axis=axis, **options)


def test_mean_and_var_come_together():
    with pytest.raises(ValueError, match="^mean and var must be given together"):
        batch_norm(X, mean=THREE)
    with pytest.raises(ValueError, match="^mean and var must be given together"):
        batch_norm(X, var=THREE)
    with pytest.raises(ValueError, match=r"^var must have shape \(3,\), got \(4,\)"):
        batch_norm(X, mean=THREE, var=FOUR)
    with pytest.raises(ValueError, match="^var must not be negative, got -1.0"):
        batch_norm(X, mean=THREE, var=np.array([1.0, -1.0, 0.0]))


def test_axes_of_layer_norm():
    with pytest.raises(ValueError, match=r"^axis must name at least one axis, got \(\)"):
        layer_norm(X, axis=())
    with pytest.raises(ValueError, match="repeated axis"):
        layer_norm(X, axis=(0, -2))
    with pytest.raises(TypeError, match="^axis must be an integer or a tuple of integers, got 'last'"):
        layer_norm(X, axis="last")
    with pytest.raises(TypeError, match=r"^axis must be an integer, got \(0, 1\)"):
        batch_norm(X, axis=(0, 1))
