"""The whole family on the device against float64 on the host: types, shapes, layouts, streams, repetition."""

import torch

from normkit.bench.gpu import family
from normkit.bench.gpu.sections import Item
from normkit.bench.gpu.timing import number
from normkit.bench.norm_cases import TOLERANCES

DTYPES = ("float32", "bfloat16", "float16", "float64")
# what goes where: whole vectors, one row, odd width, more rows than a grid has blocks, longer than the registers hold
ROWS = {
    "even": (64, 1024), "odd": (33, 1023), "one row": (1, 4096), "long": (3, 20000), "longest": (2, 70000),
    "many rows": (70001, 24),
}  # fmt: skip
CHANNELS = {
    "even": ((64, 96), -1), "odd": ((33, 38), -1), "NCHW": ((8, 6, 9, 7), 1), "NHWC": ((8, 9, 8, 32), -1),
    "large NCHW": ((8, 4, 128, 128), 1), "one image": ((1, 6, 8, 8), 1), "many rows": ((70001, 8), -1),
}  # fmt: skip
DRY = {"odd": (9, 15), "even": (8, 16)}
DRY_CHANNELS = {"odd": ((9, 6, 5), 1), "even": ((8, 16), -1)}
VARIANTS = ("misaligned", "other stream", "twice", "in place")
GHOST = "batch_norm, ghost batches"


def _shapes(subject, run):
    """Return the shapes of a subject by name, each with its axis."""
    if not subject.channels:
        return _on_last(DRY if run.dry else ROWS)
    found = dict(DRY_CHANNELS if run.dry else CHANNELS)
    if subject.name == "instance_norm":  # of a plane with one value nothing is left
        found = {name: value for name, value in found.items() if len(value[0]) > 2}
    if subject.name == "group_norm" or subject.name == GHOST:
        found.pop("many rows", None)  # statistics for each sample: the host would take long
    if subject.name == GHOST:
        found.pop("one image", None)  # fewer rows than a part
    return found


def _on_last(shapes):
    return {name: (shape, -1) for name, shape in shapes.items()}


def checks(run):
    """Yield (subject, shape, axis, dtype, variant): all in float32, then how they are called, then the other types."""
    subjects = {subject: _shapes(subject, run) for subject in family.subjects()}
    # the first of its shapes stands for a subject
    first = {subject: next(iter(shapes)) for subject, shapes in subjects.items()}
    for variant in ("", *VARIANTS):
        for subject, shapes in subjects.items():
            yield subject, *shapes[first[subject]], "float32", variant
    for dtype in DTYPES[:2] if run.quick else DTYPES:
        for subject, shapes in subjects.items():
            for name, (shape, axis) in shapes.items():
                if (dtype, name) != ("float32", first[subject]) and (not run.quick or name in ("odd", "NCHW")):
                    yield subject, shape, axis, dtype, ""
    for variant in () if run.quick else VARIANTS:
        for subject, shapes in subjects.items():
            yield subject, *shapes[first[subject]], "bfloat16", variant


def items(run):
    """Return the checks as cases."""
    found = []
    for given in checks(run):
        subject, shape, axis, dtype, variant = given
        fields = {"function": subject.name, "dtype": dtype, "shape": "x".join(map(str, shape))}
        key = f"{subject.name} {fields['shape']} axis {axis} {dtype}" + (f" {variant}" if variant else "")
        found.append(Item(key, lambda given=given: check(run, *given), fields))
    return found


def launched(run, subject, shape, axis, dtype, variant):
    """Call what a check calls, for the sake of its launches."""
    subject.run(family.Arrays(shape, axis, dtype, run.device.kind, shifted=variant == "misaligned"), False)


def check(run, subject, shape, axis, dtype, variant):
    """Return the errors of one check, and whether it is right."""
    arrays = family.Arrays(shape, axis, dtype, run.device.kind, shifted=variant == "misaligned")
    expected = subject.expected(arrays.host())
    if variant == "other stream":
        found = _on_stream(run, subject, arrays)
    else:
        found = subject.run(arrays, variant == "in place")
    errors = family.errors(expected, found)
    limit = TOLERANCES[dtype]
    record = {
        "function": subject.name, "shape": list(shape), "axis": axis, "dtype": dtype, "variant": variant or "plain",
        "limit": limit, "errors": {name: number(error) for name, error in errors.items()},
        "right": max(errors.values()) <= limit,
    }  # fmt: skip
    if variant == "twice":
        record["bit_equal"] = equal = _same_bits(found, subject.run(arrays, False))
        record["right"] &= equal
    return record


def _on_stream(run, subject, arrays):
    """Compute on another stream, where the inputs arrive late, and read the results there."""
    late = ("x", "dy", "residual", "ds")
    values = {name: getattr(arrays, name).clone() for name in late}
    for name in late:
        getattr(arrays, name).fill_(float("nan"))
    run.device.synchronize()
    # kernels are compiled before: meanwhile the delay would be over
    subject.run(arrays, False)
    run.device.synchronize()
    with run.device.other_stream(delay=True):
        for name, value in values.items():
            getattr(arrays, name).copy_(value)
        found = subject.run(arrays, False)
        found = {name: a.clone() if isinstance(a, torch.Tensor) else a for name, a in found.items()}
    return found


def _same_bits(first, second):
    return all(family.to_host(first[name]).tobytes() == family.to_host(second[name]).tobytes() for name in first)
