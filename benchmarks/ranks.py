"""Time a training step of ranks that train together, and what they spend on exchanging data.

mpirun -n 1 python benchmarks/ranks.py
mpirun -n 2 python benchmarks/ranks.py --widths 64,256,1024 --batch-sizes 64,512

One line of JSON a configuration, from rank 0: microseconds a step, the fastest of the epochs and their median, and
the part of it within MPI. One thread a rank.
"""

import json
import os
import time

import click
import numpy as np
from mpi4py import MPI

from normkit import MLPClassifier, distributed
from normkit.distributed._ranks import Ranks


def _integers(context, parameter, value):
    return [int(part) for part in value.split(",")]


class Timed:
    """Add the time of a method's calls up."""

    def __init__(self, name):
        self.seconds, self._call = 0.0, getattr(Ranks, name)
        setattr(Ranks, name, lambda ranks, *arguments: self.run(ranks, *arguments))

    def run(self, ranks, *arguments):
        start = time.perf_counter()
        result = self._call(ranks, *arguments)
        self.seconds += time.perf_counter() - start
        return result


def measure(width, batch_size, norm, epochs, steps, timers):
    """Return one configuration's record."""
    comm = MPI.COMM_WORLD
    rows = steps * batch_size // comm.size
    random = np.random.default_rng(comm.rank)
    X, y = random.normal(size=(rows, width)).astype(np.float32), random.integers(0, 10, rows)
    step, exchange = [], []
    run = Ranks.run

    def timed_run(ranks, *arguments):
        for timer in timers:
            timer.seconds = 0.0
        start = time.perf_counter()
        result = run(ranks, *arguments)
        step.append((time.perf_counter() - start) / steps * 1e6)
        exchange.append(sum(timer.seconds for timer in timers) / steps * 1e6)
        return result

    Ranks.run = timed_run
    try:
        model = MLPClassifier(
            (width, width), "elu", normalization=norm, batch_size=batch_size, max_iter=epochs + 1, random_state=0,
            n_threads=1, n_iter_no_change=epochs + 2,
        )  # fmt: skip
        distributed.fit(model, X, y)
    finally:
        Ranks.run = run
    step, exchange = np.array(step[1:]), np.array(exchange[1:])
    best = int(step.argmin())
    return {
        "ranks": comm.size, "width": width, "batch_size": batch_size, "norm": norm or "none",
        "step": round(float(step[best]), 1), "exchange": round(float(exchange[best]), 1),
        "median_step": round(float(np.median(step)), 1), "load": round(os.getloadavg()[0], 1),
    }  # fmt: skip


@click.command()
@click.option("--widths", default="64,256,1024", callback=_integers)
@click.option("--batch-sizes", default="64,512", callback=_integers)
@click.option("--norms", default="none,batch")
@click.option("--epochs", default=15)
@click.option("--steps", default=8, help="An epoch's; short epochs find a quiet moment.")
def main(widths, batch_sizes, norms, epochs, steps):
    timers = [Timed("add"), Timed("gather_into")]
    for width in widths:
        for batch_size in batch_sizes:
            for norm in norms.split(","):
                record = measure(width, batch_size, None if norm == "none" else norm, epochs, steps, timers)
                if MPI.COMM_WORLD.rank == 0:
                    print(json.dumps(record), flush=True)


if __name__ == "__main__":
    main()
