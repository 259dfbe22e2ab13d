"""Time a training step of ranks that train together, and what they spend on exchanging data.

mpirun -n 1 python benchmarks/ranks.py
mpirun -n 2 python benchmarks/ranks.py --widths 64,256,1024 --batch-sizes 64,512

One line of JSON a configuration, from rank 0: microseconds of a step, from the end of one exchange of gradients to the
end of the next, and the part of it within MPI; means of the fastest tenth of the steps, and the median. One thread a
rank.
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


class Clock:
    """The steps' ends, which are those of the exchanges of gradients, and the time within exchanges."""

    def __init__(self):
        self.reset()
        for name in ("add", "gather_into"):
            setattr(Ranks, name, self._timed(getattr(Ranks, name)))

    def reset(self):
        self.steps, self.exchanges, self._last, self._within = [], [], None, 0.0

    def _timed(self, call):
        def timed(ranks, array, *others):
            start = time.perf_counter()
            call(ranks, array, *others)
            end = time.perf_counter()
            self._within += end - start
            if array.dtype == np.float32:  # gradients; what norms exchange is float64
                if self._last is not None:
                    self.steps.append((end - self._last) * 1e6)
                    self.exchanges.append(self._within * 1e6)
                self._last, self._within = end, 0.0

        return timed


def measure(width, batch_size, norm, steps, clock):
    """Return one configuration's record."""
    comm = MPI.COMM_WORLD
    rows = min(steps * batch_size // comm.size, 1 << 15)
    random = np.random.default_rng(comm.rank)
    X, y = random.normal(size=(rows, width)).astype(np.float32), random.integers(0, 10, rows)
    epochs = max(1, steps * batch_size // comm.size // rows)
    model = MLPClassifier(
        (width, width), "elu", normalization=norm, batch_size=batch_size, max_iter=epochs, random_state=0, n_threads=1,
        n_iter_no_change=epochs + 1,
    )  # fmt: skip
    clock.reset()
    distributed.fit(model, X, y)
    step, exchange = np.array(clock.steps), np.array(clock.exchanges)
    fastest = np.argsort(step)[: max(1, len(step) // 10)]
    return {
        "ranks": comm.size, "width": width, "batch_size": batch_size, "norm": norm or "none",
        "step": round(float(step[fastest].mean()), 1), "exchange": round(float(exchange[fastest].mean()), 1),
        "median_step": round(float(np.median(step)), 1), "steps": len(step), "load": round(os.getloadavg()[0], 1),
    }  # fmt: skip


@click.command()
@click.option("--widths", default="64,256,1024", callback=_integers)
@click.option("--batch-sizes", default="64,512", callback=_integers)
@click.option("--norms", default="none,batch")
@click.option("--steps", default=200)
def main(widths, batch_sizes, norms, steps):
    clock = Clock()
    for width in widths:
        for batch_size in batch_sizes:
            for norm in norms.split(","):
                record = measure(width, batch_size, None if norm == "none" else norm, steps, clock)
                if MPI.COMM_WORLD.rank == 0:
                    print(json.dumps(record), flush=True)


if __name__ == "__main__":
    main()
