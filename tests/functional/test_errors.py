"""Wrong arguments of the norms: the message names the argument, what came and what is expected."""

import ml_dtypes
import numpy as np
import pytest
from family import BFLOAT16, NORMS

import normkit
from normkit import batch_norm, layer_norm

X = np.zeros((4, 6, 5), np.float32)
READ_ONLY = X.copy()
READ_ONLY.flags.writeable = False
AXIS = 1
every_norm = pytest.mark.parametrize("norm", NORMS, ids=lambda norm: norm.label)


def forward(norm, x=X, *parameters, axis=AXIS, **options):
    residual = [np.zeros(np.shape(x), getattr(x, "dtype", None))] if norm.arrays > 1 else []
    arguments = x, *residual, *norm.extra(X.shape, AXIS), *parameters
    return getattr(normkit, norm.name)(*arguments, axis=axis, **{**norm.fixed(X.shape, AXIS), **options})


DTYPES = [
    (np.zeros(X.shape, int), "int64"),
    (np.zeros(X.shape, bool), "bool"),
    (np.zeros(X.shape, complex), "complex128"),
    (np.zeros(X.shape, ml_dtypes.float8_e4m3fn), "float8_e4m3fn"),
    (np.zeros(X.shape, object), "object"),
    (np.zeros(X.shape, ">f4" if np.little_endian else "<f4"), ".f4"),
    ("text", "<U4"),
    (None, "object"),
]


@every_norm
def test_types_of_x(norm):
    for x, name in DTYPES:
        with pytest.raises(TypeError, match=f"^x must be .*float32.*{name}"):
            forward(norm, x)


@every_norm
def test_integers_are_told_what_to_do(norm):
    with pytest.raises(TypeError, match=r"np\.asarray\(x, np\.float32\)|astype"):
        forward(norm, np.zeros(X.shape, int))


@every_norm
def test_scalars(norm):
    with pytest.raises(ValueError, match="^x must have at least one dimension"):
        forward(norm, np.float32(1))


@every_norm
def test_types_may_not_mix(norm):
    xs, dys, parameters = norm.data(X.shape, AXIS, np.float32)
    results, statistics = norm.forward(xs, parameters, AXIS)
    x = results[-1] if norm.arrays > 1 else xs[0]
    other = "s" if norm.arrays > 1 else "x"
    for dtype in (np.float64, np.float16, BFLOAT16):
        for which in range(norm.arrays):
            mixed = list(dys)
            mixed[which] = mixed[which].astype(dtype)
            name = ("dy", "ds")[which]
            with pytest.raises(
                TypeError, match=f"^{name} must have the dtype of {other}.*float32.*got {np.dtype(dtype)}"
            ):
                norm.backward(mixed, x, parameters[0], statistics, AXIS)
        if norm.arrays > 1:
            with pytest.raises(TypeError, match="^residual must have the dtype of x"):
                norm.forward([xs[0], xs[1].astype(dtype)], parameters, AXIS)


@every_norm
def test_shapes_of_arrays(norm):
    xs, dys, parameters = norm.data(X.shape, AXIS, np.float32)
    results, statistics = norm.forward(xs, parameters, AXIS)
    x = results[-1] if norm.arrays > 1 else xs[0]
    for which in range(norm.arrays):
        wrong = list(dys)
        wrong[which] = wrong[which][:3]
        with pytest.raises(
            ValueError, match=rf"^{('dy', 'ds')[which]} must have the shape of . \(4, 6, 5\), got \(3, 6"
        ):
            norm.backward(wrong, x, parameters[0], statistics, AXIS)
    if norm.arrays > 1:
        with pytest.raises(ValueError, match=r"^residual must have the shape of x \(4, 6, 5\), got \(5,\)"):
            norm.forward([xs[0], xs[1][0, 0]], parameters, AXIS)


@every_norm
def test_parameters(norm):
    for which, name in enumerate(("gamma", "beta")[: norm.parameters]):
        before = [None] * which
        for wrong, got in ((np.ones(4), r"\(4,\)"), (np.ones((1, 6)), r"\(1, 6\)"), (2.0, r"\(\)")):
            with pytest.raises(ValueError, match=rf"^{name} must have shape \(6,\), got {got}"):
                forward(norm, X, *before, wrong)
        for wrong, got in ((np.ones(6, complex), "complex128"), (["a"] * 6, "<U1")):
            with pytest.raises(TypeError, match=f"^{name} must hold real numbers, got dtype {got}"):
                forward(norm, X, *before, wrong)


@every_norm
def test_statistics(norm):
    xs, dys, parameters = norm.data(X.shape, AXIS, np.float32)
    results, statistics = norm.forward(xs, parameters, AXIS)
    x = results[-1] if norm.arrays > 1 else xs[0]
    names = ("rstd",) if len(statistics) == 1 else ("mean", "rstd", "r", "d")
    for which, name in enumerate(names[: len(statistics)]):
        wrong = list(statistics)
        wrong[which] = np.ones(7)
        with pytest.raises(ValueError, match=rf"^{name} must have shape \(.*\), got \(7,\)"):
            norm.backward(dys, x, parameters[0], wrong, AXIS)
        wrong[which] = None
        with pytest.raises(TypeError, match=f"^{name} must hold real numbers, got dtype object"):
            norm.backward(dys, x, parameters[0], wrong, AXIS)
    with pytest.raises(ValueError, match=r"^gamma must have shape \(6,\), got \(5,\)"):
        norm.backward(dys, x, np.ones(5), statistics, AXIS)


EPSILONS = [
    (0.0, ValueError, "epsilon must be positive and finite, got 0.0"),
    (-1e-3, ValueError, "epsilon must be positive and finite, got -0.001"),
    (np.nan, ValueError, "epsilon must be positive and finite, got nan"),
    (np.inf, ValueError, "epsilon must be positive and finite, got inf"),
    ("1e-3", TypeError, "epsilon must be a number, got str"),
    (None, TypeError, "epsilon must be a number, got NoneType"),
    (True, TypeError, "epsilon must be a number, got bool"),
    (1e-3j, TypeError, "epsilon must be a number, got complex"),
    (np.array([1e-3]), TypeError, "epsilon must be a number, got ndarray"),
]


@pytest.mark.parametrize("norm", [norm for norm in NORMS if norm.takes_epsilon], ids=lambda norm: norm.label)
def test_epsilon(norm):
    for epsilon, kind, message in EPSILONS:
        with pytest.raises(kind, match=f"^{message}"):
            forward(norm, epsilon=epsilon)


@every_norm
def test_axis(norm):
    for axis in (3, -4):
        with pytest.raises(ValueError, match=f"^axis: axis {axis} is out of bounds for array of dimension 3"):
            forward(norm, axis=axis)
    for axis in (1.0, None, "last"):
        with pytest.raises(TypeError, match=f"^axis must be an integer.*, got {axis!r}"):
            forward(norm, axis=axis)
    if not norm.rows:
        with pytest.raises(TypeError, match=r"^axis must be an integer, got \(0, 1\)"):
            forward(norm, axis=(0, 1))


WRONG_OUT = [
    ([[0.0]], "list"),
    (np.zeros((4, 5, 6), np.float32), r"shape \(4, 5, 6\)"),
    (np.zeros(X.shape), "float64"),
    (np.zeros(X.shape, np.float16), "float16"),
    (READ_ONLY, "read-only"),
]


@every_norm
def test_out(norm):
    xs, dys, parameters = norm.data(X.shape, AXIS, np.float32)
    results, statistics = norm.forward(xs, parameters, AXIS)
    x = results[-1] if norm.arrays > 1 else xs[0]
    for out, got in WRONG_OUT:
        for name in ("out", "sum_out")[: norm.arrays]:
            with pytest.raises((TypeError, ValueError), match=f"^{name} must be .*{got}"):
                norm.forward(xs, parameters, AXIS, **{name: out})
        with pytest.raises((TypeError, ValueError), match=f"^out must be .*{got}"):
            norm.backward(dys, x, parameters[0], statistics, AXIS, out=out)


@pytest.mark.parametrize("label", ["add_layer_norm", "add_rms_norm"])
def test_two_results_need_two_outputs(label):
    """One memory for both: the second would overwrite the first."""
    store = np.zeros((4, 6), np.float32)
    with pytest.raises(ValueError, match="^out and sum_out must not share memory"):
        getattr(normkit, label)(store.copy(), store.copy(), out=store, sum_out=store)


@pytest.mark.parametrize("label, options", [("instance_norm", []), ("group_norm", [3])])
def test_groups_of_one_value(label, options):
    with pytest.raises(ValueError, match=f"^{label} needs groups of at least two values, .* in each of its 3 groups"):
        getattr(normkit, label)(np.ones((4, 3)), *options)


def test_mean_and_var_come_together():
    x = np.zeros((4, 3))
    three, four = np.ones(3), np.ones(4)
    with pytest.raises(ValueError, match="^mean and var must be given together"):
        batch_norm(x, mean=three)
    with pytest.raises(ValueError, match="^mean and var must be given together"):
        batch_norm(x, var=three)
    with pytest.raises(ValueError, match=r"^var must have shape \(3,\), got \(4,\)"):
        batch_norm(x, mean=three, var=four)
    with pytest.raises(ValueError, match="^var must not be negative, got -1.0"):
        batch_norm(x, mean=three, var=np.array([1.0, -1.0, 0.0]))
    with pytest.raises(ValueError, match="virtual_batch_size"):
        batch_norm(x, mean=three, var=three, virtual_batch_size=2)


@pytest.mark.parametrize("label", ["layer_norm", "batch_norm", "group_norm", "rms_norm"])
def test_an_error_leaves_out_alone(label):
    norm = next(norm for norm in NORMS if norm.label == label)
    out = X + 7
    with pytest.raises(ValueError, match="^epsilon must"):
        forward(norm, epsilon=-1.0, out=out)
    with pytest.raises(ValueError, match="^gamma must"):
        forward(norm, X, np.ones(3), out=out)
    assert (out == 7).all()


def test_options_are_keywords():
    with pytest.raises(TypeError, match="positional"):
        layer_norm(X, None, None, -1)
