"""Fits, predictions, saved models and norm functions over and over, to see that memory stays flat.

``python benchmarks/soak.py --minutes 30 --output soak.json`` writes the memory of the process over time.
The exit status is 1 where the last quarter's median is above the second quarter's by more than --allowed MiB.
"""

import gc
import itertools
import json
import os
import pickle
import platform
import statistics
import tempfile
import time
import warnings
from pathlib import Path

import click
import numpy as np
from sklearn.base import clone

import normkit
from normkit.engine.norms import NORMS


def resident():
    """Return the MiB of this process that are in memory."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def fits(rng, norm, dtype):
    """Train, go on, copy, save, load and predict with networks of changing sizes."""
    rows = int(rng.integers(40, 400))
    X = rng.normal(size=(rows, 20)).astype(dtype)
    y = rng.integers(0, 3, rows)
    hidden = tuple(8 * rng.integers(1, 9, 2))
    for estimator in (normkit.MLPClassifier, normkit.MLPRegressor):
        solver = str(rng.choice(["adam", "sgd", "lbfgs"] if norm != "renorm" else ["adam", "sgd"]))
        model = estimator(
            hidden_layer_sizes=hidden, normalization=norm, solver=solver, max_iter=4, norm_groups=4, random_state=0,
            learning_rate_init=1e-3, early_stopping=solver == "adam",
        ).fit(X, y)  # fmt: skip
        if solver == "sgd":
            model.partial_fit(X, y)
        clone(model)
        expected = model.predict(X)
        with tempfile.TemporaryDirectory() as folder:
            model.save(Path(folder) / "model")
            copies = normkit.load(Path(folder) / "model"), pickle.loads(pickle.dumps(model))
        if not all(np.array_equal(copy.predict(X), expected) for copy in copies):
            raise AssertionError(f"a copy predicts other numbers: {model}")


def norm_functions(rng, dtype):
    """Forward and backward on arrays of changing shapes."""
    x = rng.normal(size=(int(rng.integers(2, 300)), 8 * int(rng.integers(1, 40)))).astype(dtype)
    y, mean, rstd = normkit.batch_norm(x, return_stats=True)
    normkit.batch_norm_backward(x, x, None, mean, rstd)
    for result in (y, normkit.layer_norm(x), normkit.rms_norm(x), normkit.group_norm(x, 4, axis=1)):
        if not np.isfinite(result).all():
            raise AssertionError("a norm gave no finite numbers")


def soak(seconds, seed=0):
    """Return (seconds, MiB) after each round, and the number of rounds."""
    rng = np.random.default_rng(seed)
    start, curve, rounds = time.perf_counter(), [], 0
    for norm, dtype in itertools.cycle(itertools.product(NORMS, (np.float32, np.float64))):
        fits(rng, norm, dtype)
        norm_functions(rng, dtype)
        rounds += 1
        passed = time.perf_counter() - start
        # the first rounds load the machine code of all combinations
        if rounds > 2 * len(NORMS) and (not curve or passed - curve[-1][0] >= seconds / 500):
            gc.collect()
            curve.append((round(passed, 2), round(resident(), 2)))
        if passed > seconds and len(curve) >= 8:
            return curve, rounds


def growth(curve):
    """Return the MiB between the medians of the second and the last quarter."""
    quarter = len(curve) // 4
    memory = [mib for _, mib in curve]
    return statistics.median(memory[-quarter:]) - statistics.median(memory[quarter : 2 * quarter])


@click.command(context_settings={"show_default": True})
@click.option("--minutes", default=30.0)
@click.option("--allowed", default=8.0, help="MiB of growth.")
@click.option("--output", type=click.Path(dir_okay=False, path_type=Path), help="JSON file to write.")
def main(minutes, allowed, output):
    """Fit, predict, save and load over and over, to see that memory stays flat."""
    warnings.simplefilter("ignore")
    curve, rounds = soak(60 * minutes)
    result = {
        "normkit": normkit.__version__, "python": platform.python_version(), "machine": platform.machine(),
        "rounds": rounds, "growth_mib": growth(curve), "curve_seconds_mib": curve,
    }  # fmt: skip
    if output:
        output.write_text(json.dumps(result) + "\n")
    click.echo(
        f"{rounds} rounds, {curve[-1][0]:.0f} s, {curve[0][1]} to {curve[-1][1]} MiB, growth {growth(curve):+.2f} MiB"
    )
    raise SystemExit(growth(curve) > allowed)


if __name__ == "__main__":
    main()
