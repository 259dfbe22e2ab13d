"""Every norm called in one way, and how near to the oracle its results have to be."""

from collections.abc import Callable
from typing import NamedTuple

import ml_dtypes
import numpy as np

import normkit
from normkit import reference

BFLOAT16 = np.dtype(ml_dtypes.bfloat16)
SIXTEEN_BIT = [np.dtype(np.float16), BFLOAT16]
DTYPES = [np.dtype(np.float32), np.dtype(np.float64), *SIXTEEN_BIT]
# The parallel code is the same kernel once more, and takes three times as long to compile: one dtype stands for all
DTYPES_AND_PATHS = [*((dtype, "serial") for dtype in DTYPES), (DTYPES[0], "parallel")]
EPSILON = 0.1  # keeps rstd below 3.2, so that the data is N(0, 1)-like after the norm as before


def wide(a):
    """Return a in more than float64, where the platform has it: the oracle for float64 must not round as float64."""
    return np.asarray(a).astype(np.longdouble)


def own_axes(shape, axis):
    return reference.ascending(len(shape), axis if isinstance(axis, tuple) else (axis,))


def own_shape(shape, axis):
    return tuple(shape[i] for i in own_axes(shape, axis))


def nothing(shape, axis):
    return {}


class Norm(NamedTuple):
    """A function of the family. `fixed` are keyword arguments it needs, `extra` positional ones after the arrays."""

    label: str
    name: str
    layouts: list  # of (shape, axis)
    oracle: str
    statistics: Callable  # the oracle's, of (x, axis, epsilon)
    parameters: int = 2
    arrays: int = 1
    extra: Callable = lambda shape, axis: ()
    fixed: Callable = nothing  # keyword arguments of the forward function
    fixed_backward: Callable = nothing
    constants: Callable = lambda x, axis, epsilon: ()  # what the oracle is given instead of fixed
    takes_epsilon: bool = True
    rows: bool = False  # the oracle takes a tuple of axes

    def forward(self, xs, parameters, axis, **options):
        """Return (y,) or (y, s), and the statistics."""
        arguments = *xs, *self.extra(np.shape(xs[0]), axis), *parameters
        options = {"epsilon": EPSILON, "return_stats": True, **self.fixed(np.shape(xs[0]), axis), **options}
        if not self.takes_epsilon:
            del options["epsilon"], options["return_stats"]
            return (getattr(normkit, self.name)(*arguments, axis=axis, **options),), ()
        results = getattr(normkit, self.name)(*arguments, axis=axis, **options)
        return results[: self.arrays], results[self.arrays :]

    def backward(self, dys, saved, gamma, statistics, axis, **options):
        """Return the gradients; saved is x, or the sum where two arrays were added."""
        shape = np.shape(saved)
        arguments = *dys, saved, *self.extra(shape, axis), gamma, *statistics
        function = getattr(normkit, f"{self.name}_backward")
        return function(*arguments, axis=axis, **self.fixed_backward(shape, axis), **options)

    def expected(self, xs, parameters, axis, epsilon=EPSILON):
        """Return what forward should, as the oracle has it."""
        xs = [wide(x) for x in xs]
        tail = self.tail(sum(xs), axis, epsilon)
        results = getattr(reference, self.oracle)(
            *xs, *self.extra(xs[0].shape, axis), *(wide(p) for p in parameters), *tail
        )
        return results if isinstance(results, tuple) else (results,)

    def expected_statistics(self, x, axis, epsilon=EPSILON):
        return self.statistics(wide(x), axis, epsilon)

    def expected_gradients(self, dys, saved, gamma, axis, epsilon=EPSILON):
        saved = wide(saved)
        dys = [wide(dy) for dy in dys]
        function = getattr(reference, f"{self.oracle}_backward")
        tail = self.tail(saved, axis, epsilon)
        return function(*dys, saved, *self.extra(saved.shape, axis), wide(gamma), *tail)

    def tail(self, x, axis, epsilon):
        axes = own_axes(x.shape, axis) if self.rows else axis
        return *self.constants(x, axis, epsilon), axes, *([epsilon] if self.takes_epsilon else [])

    def data(self, shape, axis, dtype, seed=0):
        """Return x or (x, residual), as many gradients, and the parameters; all of one dtype."""
        rng = np.random.default_rng(seed)
        xs = [a.astype(dtype) for a in rng.normal(0.5, 1, size=(self.arrays, *shape))]
        dys = [a.astype(dtype) for a in rng.normal(size=(self.arrays, *shape))]
        own = own_shape(shape, axis)
        gamma = rng.uniform(0.5, 1.5, size=own) * rng.choice([-1, 1], size=own)
        parameters = [gamma.astype(dtype), rng.normal(size=own).astype(dtype)]
        return xs, dys, parameters[: self.parameters]


def batch_statistics(x, axis, epsilon):
    axes = reference.other_axes(x.ndim, own_axes(x.shape, axis))
    return tuple(a.reshape(-1) for a in reference.statistics(x, axes, epsilon))


def ghost_statistics(x, axis, epsilon):
    parts = [batch_statistics(x[part], axis, epsilon) for part in reference.chunks(len(x), CHUNK)]
    return tuple(np.stack(a) for a in zip(*parts, strict=True))


def moving(shape, axis):
    channels = shape[axis]
    return np.linspace(-1, 1, channels), np.linspace(0.25, 2, channels)


def frozen_statistics(x, axis, epsilon):
    mean, var = moving(x.shape, axis)
    return mean, 1 / np.sqrt(wide(var) + epsilon)


def renorm_corrections(x, axis, epsilon):
    return reference.renorm_corrections(x, *map(wide, moving(x.shape, axis)), *CLIPS, axis, epsilon)


def row_statistics(x, axis, epsilon):
    axes = own_axes(x.shape, axis)
    return tuple(a.squeeze(axes) for a in reference.statistics(x, axes, epsilon))


def rms_statistics(x, axis, epsilon):
    axes = own_axes(x.shape, axis)
    return (reference.root_mean_square(x, axes, epsilon).squeeze(axes),)


def group_statistics(x, axis, epsilon, groups=None):
    flat = reference.grouped(x, groups or x.shape[axis], axis)
    return tuple(a.reshape(a.shape[:2]) for a in reference.statistics(flat, (2, 3), epsilon))


def groups_of(shape, axis):
    """Two groups, or three where the channels do not divide by two."""
    return (2 if shape[axis] % 2 == 0 else 3,)


CHUNK = 3
CLIPS = 1.25, 0.5  # tight enough that some channels are clipped and some are not
FEATURES = [
    ((7, 5), -1),
    ((65, 33), 1),
    ((1000, 3), 1),
    ((40, 30), 0),
    ((4, 5, 6), 1),
    ((4, 5, 6), -2),
    ((4, 1, 6), 1),
    ((3, 4, 5, 6), 0),
    ((3, 4, 5, 6), 1),
    ((3, 4, 5, 6), -1),
    ((2, 3, 4, 3, 2), 2),
    ((2, 3, 4, 1, 1), 2),
]
NOT_FIRST = [(shape, axis) for shape, axis in FEATURES if axis % len(shape) != 0]
ROWS = [
    ((1, 3), -1),
    ((7, 1), -1),
    ((65, 33), 1),
    ((3, 1000), -1),
    ((11,), 0),
    ((40, 30), 0),
    ((4, 5, 6), 1),
    ((4, 5, 6), (1, 2)),
    ((4, 5, 6), (2, 0)),
    ((4, 5, 6), (0, 1, 2)),
    ((3, 4, 5, 6), (-1, 1)),
    ((2, 3, 4, 3, 2), (1, 3)),
    ((2, 3, 4, 3, 2), -3),
]
GROUPS = [
    ((7, 6), -1),
    ((4, 8, 6), 1),
    ((4, 5, 6), -1),
    ((3, 4, 5, 6), 1),
    ((3, 4, 6, 5), 2),
    ((3, 4, 5, 6), -1),
    ((2, 9, 4), 1),
    ((2, 3, 4, 3, 2), 2),
    ((1, 6, 1, 1), 1),
]
INSTANCES = [((4, 5, 6), 1), ((4, 5, 6), -1), ((3, 4, 5, 6), 1), ((3, 4, 5, 6), -1), ((2, 3, 4, 3, 2), 2)]

NORMS = [
    Norm("batch_norm", "batch_norm", FEATURES, "batch_norm", batch_statistics),
    Norm(
        "batch_norm-frozen",
        "batch_norm",
        [*FEATURES, ((1, 3), -1), ((11,), 0)],
        "frozen_batch_norm",
        frozen_statistics,
        fixed=lambda shape, axis: dict(zip(("mean", "var"), moving(shape, axis), strict=True)),
        fixed_backward=lambda shape, axis: {"training": False},
        constants=lambda x, axis, epsilon: map(wide, moving(x.shape, axis)),
    ),
    Norm(
        "batch_norm-ghost",
        "batch_norm",
        NOT_FIRST,
        "ghost_batch_norm",
        ghost_statistics,
        fixed=lambda shape, axis: {"virtual_batch_size": CHUNK},
        fixed_backward=lambda shape, axis: {"virtual_batch_size": CHUNK},
        constants=lambda x, axis, epsilon: (CHUNK,),
    ),
    Norm(
        "batch_renorm",
        "batch_renorm",
        FEATURES,
        "batch_renorm",
        lambda x, axis, epsilon: (*batch_statistics(x, axis, epsilon), *renorm_corrections(x, axis, epsilon)),
        fixed=lambda shape, axis: {
            **dict(zip(("moving_mean", "moving_var"), moving(shape, axis), strict=True)),
            **dict(zip(("r_max", "d_max"), CLIPS, strict=True)),
        },
        constants=renorm_corrections,
    ),
    Norm("layer_norm", "layer_norm", ROWS, "layer_norm", row_statistics, rows=True),
    Norm("rms_norm", "rms_norm", ROWS, "rms_norm", rms_statistics, parameters=1, rows=True),
    Norm("add_layer_norm", "add_layer_norm", ROWS, "add_layer_norm", row_statistics, arrays=2, rows=True),
    Norm("add_rms_norm", "add_rms_norm", ROWS, "add_rms_norm", rms_statistics, parameters=1, arrays=2, rows=True),
    Norm(
        "group_norm",
        "group_norm",
        GROUPS,
        "group_norm",
        lambda x, axis, epsilon: group_statistics(x, axis, epsilon, *groups_of(x.shape, axis)),
        extra=groups_of,
    ),
    Norm("instance_norm", "instance_norm", INSTANCES, "instance_norm", group_statistics),
    Norm(
        "dynamic_tanh",
        "dynamic_tanh",
        ROWS,
        "dynamic_tanh",
        lambda x, axis, epsilon: (),
        extra=lambda shape, axis: (0.75,),
        takes_epsilon=False,
        rows=True,
    ),
]
BY_LABEL = {norm.label: norm for norm in NORMS}


def steps(got, want):
    """Return how many representable numbers got is away from want rounded to got's dtype."""
    integers = []
    for a in (got, np.asarray(want).astype(np.float64).astype(got.dtype)):
        bits = np.asarray(a).view(np.int16).astype(np.int32)
        integers.append(np.where(bits < 0, -(bits & 0x7FFF), bits))  # sign and magnitude, to a line
    return np.abs(integers[0] - integers[1])


def assert_close(got, want, message="", terms=1):
    """Compare a result for N(0, 1)-like data with the oracle's.

    float32: 1e-6, some ten roundings of numbers below 8. float64: 1e-14, as many ulps of numbers of that size.
    16-bit: one ulp of the rounded oracle; the arithmetic between is float32, so that what cancels to near zero
    keeps float32's error. Sums, the gradients of parameters, have the error of their size; that of many terms, which
    may cancel, grows with the square root of their number.
    """
    got, want = np.asarray(got), np.asarray(want)
    assert got.shape == want.shape, message
    scale = max(1.0, float(np.abs(want).max(initial=0)), terms**0.5 / 4)
    error = np.abs(got.astype(np.longdouble) - want)
    if got.dtype in SIXTEEN_BIT:
        bad = (steps(got, want) > 1) & (error > 1e-6 * scale)
    else:
        bad = ~(error <= {4: 1e-6, 8: 1e-14}[got.dtype.itemsize] * scale)
    worst = np.unravel_index(error.argmax(), error.shape) if error.size else None
    assert not bad.any(), f"{message} at {worst}: got {got[worst]!r}, not {want[worst]!r}, {error[worst]:.2e} away"
