"""What `norms.py` times: functions, shapes and types, and the float64 result that every peer must reach."""

import dataclasses
import itertools
import math
from pathlib import Path

import numpy as np

# NumPy imports it when it is first used, and Ctrl-C during the import would be lost
from numpy.random import default_rng

DTYPES = ("float32", "bfloat16")
DIRECTIONS = ("forward", "backward")
ROWS = ((8, 64), (64, 256), (512, 1024), (4096, 768), (20000, 256), (8192, 4096))
IMAGES = (((32, 64, 56, 56), 1), ((32, 56, 56, 64), -1))
GROUPS = (32, 8)
QUICK_ROWS = ((8, 64), (33, 40))
QUICK_IMAGES = (((3, 8, 5, 4), 1), ((3, 5, 4, 8), -1))
QUICK_GROUPS = (4, 2)

# Largest error of a result, as a share of its largest value. Wide enough for parameter gradients summed over
# 100 000 rows in float32 and for parameters kept in bfloat16, far too narrow for a term left out.
TOLERANCES = {"float32": 2e-4, "bfloat16": 3e-2, "float16": 4e-3, "float64": 1e-10}
# Of parameter gradients alone: torch 2.13 sums those of a bfloat16 layer norm in bfloat16 and is off by a tenth
# over 20 000 rows. That is rough, not less work: it is timed, and said.
ROUGH = 0.5


@dataclasses.dataclass(frozen=True)
class Case:
    """One function on one shape and type, forward or backward."""

    function: str
    shape: tuple
    axis: int
    dtype: str
    direction: str
    groups: int = 0
    epsilon: float = 1e-3

    @property
    def fields(self):
        """What `--only` may name."""
        return {
            "function": self.function,
            "shape": "x".join(map(str, self.shape)),
            "dtype": self.dtype,
            "direction": self.direction,
        }

    @property
    def label(self):
        """Layout of an image batch, shape and groups, for a table."""
        layout = "" if len(self.shape) == 2 else "NCHW " if self.axis == 1 else "NHWC "
        groups = f", {self.groups} groups" if self.function == "group_norm" else ""
        return f"{layout}{'×'.join(map(str, self.shape))}{groups}"

    @property
    def channels(self):
        """Length of gamma and beta."""
        return self.shape[self.axis]

    @property
    def centred(self):
        """Whether the norm subtracts the mean; what does has a beta too."""
        return self.function != "rms_norm"

    @property
    def bytes(self):
        """What must move: x and y; x, dy and dx. Parameters and statistics are not counted."""
        itemsize, arrays = 4 if self.dtype == "float32" else 2, 2 if self.direction == "forward" else 3
        return math.prod(self.shape) * itemsize * arrays

    @property
    def statistics_view(self):
        """Shape to view x in, axes of it that share statistics, shape of the parameters against it."""
        shape, axis = self.shape, self.axis % len(self.shape)
        if self.function in ("group_norm", "instance_norm"):
            split = (self.groups, self.channels // self.groups)
            if axis == 1:
                return (shape[0], *split, math.prod(shape[2:])), (2, 3), (1, *split, 1)
            return (shape[0], math.prod(shape[1:-1]), *split), (1, 3), (1, 1, *split)
        parameters = tuple(n if i == axis else 1 for i, n in enumerate(shape))
        if self.function == "batch_norm":
            return shape, tuple(i for i in range(len(shape)) if i != axis), parameters
        return shape, (axis,), parameters

    @property
    def summed_axes(self):
        """Axes of the view over which a parameter's gradient is a sum."""
        return tuple(i for i, n in enumerate(self.statistics_view[2]) if n == 1)


def cases(quick=False):
    """Every case, small shapes first within a function."""
    rows, images = (QUICK_ROWS, QUICK_IMAGES) if quick else (ROWS, IMAGES)
    found: list[tuple] = [
        (function, shape, -1, 0) for function in ("layer_norm", "rms_norm", "batch_norm") for shape in rows
    ]
    found += [("batch_norm", *image, 0) for image in images]
    found += [("group_norm", *image, n) for n in (QUICK_GROUPS if quick else GROUPS) for image in images]
    found += [("instance_norm", shape, axis, shape[axis]) for shape, axis in images]
    return [
        Case(function, shape, axis, dtype, direction, groups)
        for direction, (function, shape, axis, groups), dtype in itertools.product(DIRECTIONS, found, DTYPES)
    ]


def round_to_bfloat16(a):
    """Return float32 values rounded to the nearest that bfloat16 has, ties to even."""
    bits = a.view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) & np.uint32(0xFFFF0000)).view(np.float32)


def draw(case, seed=0):
    """Return x, dy, gamma and beta as float32 arrays of values that the case's type has."""
    rng = default_rng(seed)
    shapes = (case.shape, case.shape, case.channels, case.channels)
    arrays = [rng.standard_normal(shape, np.float32) for shape in shapes]
    arrays[0] += np.float32(0.5)
    arrays[2] = 1 + arrays[2] / 4
    return [round_to_bfloat16(a) if case.dtype == "bfloat16" else a for a in arrays]


def reference(case, x, dy, gamma, beta):
    """Return (y,), or (dx, dgamma, dbeta), in float64; rms_norm has no dbeta."""
    view, axes, parameters = case.statistics_view
    x, gamma, beta = (a.astype(np.float64) for a in (x, gamma, beta))
    centred = x.reshape(view)
    if case.centred:
        centred = centred - centred.mean(axis=axes, keepdims=True)
    rstd = 1 / np.sqrt(np.square(centred).mean(axis=axes, keepdims=True) + case.epsilon)
    xhat = centred * rstd
    if case.direction == "forward":
        y = xhat * gamma.reshape(parameters)
        return ((y + beta.reshape(parameters) if case.centred else y).reshape(case.shape),)
    dy = dy.astype(np.float64).reshape(view)
    g = dy * gamma.reshape(parameters)
    dx = g - xhat * (g * xhat).mean(axis=axes, keepdims=True)
    if case.centred:
        dx -= g.mean(axis=axes, keepdims=True)
    dx *= rstd
    sums = [(dy * xhat).sum(axis=case.summed_axes).ravel()]
    if case.centred:
        sums.append(dy.sum(axis=case.summed_axes).ravel())
    return (dx.reshape(case.shape), *sums)


def save(folder, case):
    """Write the case's inputs and its reference result where the workers find them."""
    inputs = draw(case)
    folder = Path(folder)
    for name, array in zip(("x", "dy", "gamma", "beta"), inputs):
        np.save(folder / f"{name}.npy", array)
    for i, array in enumerate(reference(case, *inputs)):
        np.save(folder / f"expected-{i}.npy", array.astype(np.float32))


def load(folder):
    """Return the inputs that `save` wrote."""
    return [np.load(Path(folder) / f"{name}.npy") for name in ("x", "dy", "gamma", "beta")]


def errors_of(folder, case, results):
    """Return each result's largest error as a share of its largest value; results are NumPy arrays."""
    count = 1 if case.direction == "forward" else 3 if case.centred else 2
    if len(results) != count:
        raise ValueError(f"{count} results expected, got {len(results)}")
    errors = []
    for i, result in enumerate(results):
        expected = np.load(Path(folder) / f"expected-{i}.npy")
        if result.size != expected.size:
            raise ValueError(f"a result of {expected.size} values expected, got {result.size}")
        difference = np.abs(np.asarray(result, np.float32).reshape(expected.shape) - expected).max()
        # not a comparison that NaN would pass
        errors.append(float(difference / np.abs(expected).max()) if np.isfinite(difference) else math.inf)
    return errors


def verdict(case, errors):
    """Return "right", "rough" or "wrong"."""
    first, *sums = errors
    limit = TOLERANCES[case.dtype]
    if max(errors) <= limit:
        return "right"
    return "rough" if first <= limit and max(sums, default=0.0) <= ROUGH else "wrong"
