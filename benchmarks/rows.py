"""Time a training step of normkit against the number of rows, which lie in a memory-mapped file.

A step should cost the same whether the file has ten thousand rows or a million, at least while the file is in
the page cache; the random order of a real epoch is set beside the order of the file.
"""

import itertools
import json
import os
import tempfile
import time
from pathlib import Path

import click
import numpy as np
import table
from rich import box
from rich.console import Console
from rich.table import Table

from normkit.bench import machine
from normkit.bench.engines.problem import Problem
from normkit.bench.entries import installed

SIZES = [784, 256, 128, 64, 10]
DTYPES = ("float32", "uint8")


def write(path, rows, dtype):
    """Write a file of random rows, the same ten thousand over and over."""
    rng = np.random.default_rng(0)
    block = rng.integers(0, 256, (min(rows, 10_000), SIZES[0]), np.uint8)
    if dtype == "float32":
        block = block / np.float32(255)
    with open(path, "wb") as file:
        for start in range(0, rows, len(block)):
            block[: rows - start].tofile(file)


class Case:
    """One file and one order, with a network of its own."""

    def __init__(self, path, rows, dtype, shuffled, batch_size, steps, threads):
        from normkit.bench.engines.normkit_engine import Engine

        self.name = (rows, dtype, "random" if shuffled else "in order")
        self.shuffled, self.batch_size, self.steps = shuffled, batch_size, steps
        self.problem = problem = Problem(SIZES, threads)
        problem.X = np.memmap(path, dtype, "r", shape=(rows, SIZES[0]))
        problem.y = np.random.default_rng(1).integers(0, SIZES[-1], rows)
        self.engine = Engine(problem, "batch")
        self.engine.prepare(batch_size)
        self.times = []

    def order(self, repeat):
        """Rows of each batch, (steps, batch size)."""
        if self.shuffled:
            return self.problem.order(repeat, self.batch_size, self.steps)
        count = self.steps * self.batch_size
        start = repeat * count
        return ((start + np.arange(count)) % len(self.problem.X)).reshape(self.steps, self.batch_size)

    def measure(self, repeat):
        """Run the steps once."""
        order = self.order(repeat)
        began = time.perf_counter()
        self.engine.run(order)
        self.times.append((time.perf_counter() - began) / self.steps)


@click.command(context_settings={"show_default": True})
@click.option("--rows", type=click.IntRange(1), multiple=True, default=(10_000, 1_000_000))
@click.option("--dtype", type=click.Choice(DTYPES), multiple=True, default=DTYPES, help="uint8: 0..255, unscaled.")
@click.option("--batch-size", type=click.IntRange(2), default=64)
@click.option("--steps", type=click.IntRange(1), default=400, help="Timed steps in a repeat.")
@click.option("--repeats", type=click.IntRange(1), default=9)
@click.option("--threads", type=click.IntRange(1), help="Default: one for each core this process may use.")
@click.option("--folder", type=click.Path(exists=True, file_okay=False), help="Where the files go for the while.")
@click.option("--output", type=click.Path(dir_okay=False, path_type=Path), help="JSON file to write.")
def main(rows, dtype, batch_size, steps, repeats, threads, folder, output):
    """Time a step for each number of rows, type and order, interleaved.

    The files are temporary; a million rows take 3.1 GB as float32 and 0.8 GB as uint8.
    """
    cores = machine.cores()
    threads = threads or len(cores)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, cores[:threads])
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        cases = []
        for kind, count in itertools.product(dtype, rows):
            path = Path(temporary) / f"{count}-{kind}"
            write(path, count, kind)
            cases += [Case(path, count, kind, shuffled, batch_size, steps, threads) for shuffled in (False, True)]
        for case in cases:
            case.engine.run(case.order(0))
        for repeat in range(1, repeats + 1):
            for case in cases:
                case.measure(repeat)
    result = {
        "machine": machine.describe(),
        "versions": {name: installed(name) for name in ("normkit", "numba")},
        "threads": threads,
        "batch_size": batch_size,
        "steps": steps,
        "cases": [dict(zip(("rows", "type", "order"), case.name), step_s=case.times) for case in cases],
    }
    shown = Table(title=f"{'-'.join(map(str, SIZES))}, batch {batch_size}, {threads} threads", box=box.SIMPLE)
    for name in table.CASE_HEADER:
        shown.add_column(name, justify="right")
    for case in result["cases"]:
        shown.add_row(*table.case_cells(case))
    Console().print(shown)
    if output:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
