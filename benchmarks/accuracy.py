"""Compare the exactness of layer norm and batch norm with that of other packages, against float64.

Every input is rounded to its type first; the largest absolute error is that of the arithmetic alone, and, for
16-bit types, of rounding the result. See benchmarks/README.md.
"""

import json
import math
from pathlib import Path

import accuracy_peers
import accuracy_table
import click
import numpy as np
from accuracy_peers import EPSILON, PEERS
from rich.console import Console

from normkit.bench import machine
from normkit.bench.entries import installed

FUNCTIONS = ("layer_norm", "batch_norm")
SHAPES = {"layer_norm": (256, 1024), "batch_norm": (1024, 256)}
BETA = 0.3  # not 0, which a wrong sum could hide in


def _normal(mean, scale=1.0):
    return lambda rng, shape: mean + scale * rng.standard_normal(shape)


def _near_the_largest(rng, shape):
    return rng.uniform(60000, 65504, shape) * rng.choice([-1.0, 1.0], shape)


def _constant(value):
    return lambda rng, shape: np.full(shape, value)


# label, type, values, whether beta is wanted
INPUTS = (
    ("mean 0", "float32", _normal(0), False),
    ("mean 1e2", "float32", _normal(1e2), False),
    ("mean 1e4", "float32", _normal(1e4), False),
    ("mean 1e6", "float32", _normal(1e6), False),
    ("values around ±1e20", "float32", _normal(0, 1e20), False),
    ("constant 0.1", "float32", _constant(0.1), True),
    ("constant 12345.678", "float32", _constant(12345.678), True),
    ("mean 0", "float16", _normal(0), False),
    ("±60000 to ±65504", "float16", _near_the_largest, False),
    ("constant 65504", "float16", _constant(65504), True),
    ("mean 0", "bfloat16", _normal(0), False),
    ("mean 1e2", "bfloat16", _normal(1e2), False),
)


def _dtype(name):
    if name == "bfloat16":
        from ml_dtypes import bfloat16

        return np.dtype(bfloat16)
    return np.dtype(name)


def exact(function, x):
    """Normalize in float64, beta zero."""
    axis = 1 if function == "layer_norm" else 0
    a = x.astype(np.float64)
    centred = a - a.mean(axis=axis, keepdims=True)
    return centred / np.sqrt(np.square(centred).mean(axis=axis, keepdims=True) + EPSILON)


def case(function, label, dtype, draw, constant, peers, shape):
    """Return one row: the largest error of each peer, or why there is none."""
    x = draw(np.random.default_rng(0), shape).astype(_dtype(dtype))
    # float32 and float16 have no 0.3: the beta that a constant row must come out as is the type's own
    beta = float(np.asarray(BETA, _dtype(dtype))) if constant else 0.0
    expected = np.full(shape, beta) if constant else exact(function, x)
    rounded = np.abs(expected.astype(x.dtype).astype(np.float64) - expected).max()
    row = {"function": function, "input": label, "dtype": dtype, "rounding": float(rounded), "errors": {}}
    for name, normalize in peers.items():
        try:
            with np.errstate(all="ignore"):
                y = np.asarray(normalize(function, x, beta)).astype(np.float64)
        except Exception as error:  # a type or function that a peer lacks is a result
            row["errors"][name] = f"{type(error).__name__}: {(str(error).strip() or repr(error)).splitlines()[0]}"
            continue
        worst = float(np.abs(y - expected).max())
        row["errors"][name] = worst if math.isfinite(worst) else "not finite"
    return row


def _names(context, parameter, value):
    names = value.split(",")
    if unknown := [name for name in names if name not in PEERS]:
        raise click.BadParameter(f"unknown {', '.join(unknown)}; known are {', '.join(PEERS)}")
    return names


@click.command(context_settings={"show_default": True})
@click.option("--peers", callback=_names, default=",".join(PEERS), help="Comma-separated.")
@click.option("--quick", is_flag=True, help="Small arrays: does it work at all?")
@click.option("--json", "output", type=click.Path(dir_okay=False, path_type=Path), help="File to write.")
def main(peers, quick, output):
    """Measure the largest error of each peer on each input."""
    result = {
        "kind": "accuracy", "machine": machine.describe(), "versions": {}, "epsilon": EPSILON,
        "shapes": {name: [16, 24] if quick else list(SHAPES[name]) for name in FUNCTIONS},
        "labels": {}, "absent": {}, "cases": [],
    }  # fmt: skip
    console = Console()
    if not console.is_terminal:
        console.width = 160
    loaded = {}
    for name in peers:
        label, packages, _ = PEERS[name]
        result["labels"][name] = label
        function, absent = accuracy_peers.load(name)
        if absent:
            result["absent"][name] = absent
            continue
        loaded[name] = function
        result["versions"] |= {package: installed(package) for package in packages}
    if not installed("ml_dtypes"):
        result["absent"]["bfloat16"] = "NumPy has it from ml_dtypes, which is not installed"
    inputs = [given for given in INPUTS if given[1] not in result["absent"]]
    for function in FUNCTIONS:
        for given in inputs:
            result["cases"].append(case(function, *given, loaded, tuple(result["shapes"][function])))
    accuracy_table.print_tables(console, result)
    if output:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
