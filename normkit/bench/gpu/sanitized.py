"""A short part of the correctness checks, for compute-sanitizer, under which everything takes far longer."""

import sys
import types

from normkit.bench.gpu import device, family
from normkit.bench.gpu.sections import correctness

SHAPES = {False: ((5, 1024), (3, 301), (2, 9000)), True: ((33, 40), (4, 6, 9, 7))}
DTYPES = ("float32", "bfloat16")


def checks():
    """Yield (subject, shape, axis, dtype)."""
    for subject in family.subjects():
        for shape in SHAPES[subject.channels]:
            if subject.name != "instance_norm" or len(shape) > 2:
                for dtype in DTYPES:
                    yield subject, shape, 1 if len(shape) > 2 else -1, dtype


def main():
    """Print what is wrong; return the exit status."""
    run = types.SimpleNamespace(device=device.Host() if "--dry-run" in sys.argv else device.Cuda())
    wrong = count = 0
    for subject, shape, axis, dtype in checks():
        record = correctness.check(run, subject, shape, axis, dtype, "")
        count += 1
        if not record["right"]:
            wrong += 1
            print(f"wrong: {subject.name} {shape} {dtype}: {record['errors']}")
    print(f"{count} checks, {wrong} wrong")
    return 1 if wrong else 0
