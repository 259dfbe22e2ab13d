"""Time a training step of normkit and of its peers, and show that all of them learn the same.

One process an engine, kept alive; in each repeat every engine does the same number of steps, one engine after
the other. See benchmarks/README.md.
"""

import contextlib
import json
import tempfile
from pathlib import Path

import click
import table
from rich.console import Console

from normkit.bench import machine
from normkit.bench.engines import ENGINES
from normkit.bench.engines.problem import Problem
from normkit.bench.processes import EngineFailed, Process


def _console():
    console = Console()
    if not console.is_terminal:  # a file or pipe has no width to keep to
        console.width = 110
    return console


def _integers(separator):
    def parse(context, parameter, value):
        try:
            numbers = [int(part) for part in value.split(separator)]
        except ValueError:
            numbers = []
        if not numbers or min(numbers) < 1:
            raise click.BadParameter(f"positive integers separated by {separator!r} expected, got {value!r}")
        return numbers

    return parse


def _names(context, parameter, value):
    if value is None:
        return list(ENGINES)
    names = value.split(",")
    if unknown := [name for name in names if name not in ENGINES]:
        raise click.BadParameter(f"unknown {', '.join(unknown)}; known are {', '.join(ENGINES)}")
    return names


def load_problem(folder, dataset, data_dir, sizes, rows, threads, seed):
    """Write the problem and its data into the folder."""
    from normkit.experiments import data
    from normkit.experiments.errors import DataError

    try:
        sets = data.split(data.load(dataset, data_dir=data_dir), seed)
    except DataError as error:
        raise click.ClickException(str(error)) from None
    features, classes = sets.X_train.shape[1], int(sets.y_train.max()) + 1
    if sizes[0] != features or sizes[-1] < classes or len(sizes) < 3:
        raise click.ClickException(
            f"--network must be {features}-...-{classes} with at least one hidden layer for {dataset}, "
            f"got {'-'.join(map(str, sizes))}"
        )
    Problem(sizes, threads, seed).save(folder, sets.X_train[:rows], sets.y_train[:rows], sets.X_test, sets.y_test)


class Benchmark:
    """The workers of one run and the result they add up to."""

    def __init__(self, console, result, output):
        self.console, self.result, self.output = console, result, output
        self.workers = {}
        self.failed = {}

    def start(self, stack, names, folder, cores, cold):
        """Start a worker for each engine that can run."""
        for name in names:
            try:
                self.workers[name] = process = Process(name, folder, cores, cold)
                stack.enter_context(process)
            except EngineFailed as error:
                self._fail(name, error)

    def _fail(self, name, error):
        self.failed[name] = str(error)
        self.workers.pop(name, None)
        self.console.print(f"[yellow]{name}[/]: {error}", highlight=False)

    def _ask_all(self, what, rows, **request):
        for name in list(self.workers):
            with self.console.status(f"{what}: {name}"):
                try:
                    yield rows[name], self.workers[name].ask(**request)
                except EngineFailed as error:
                    self._fail(name, error)

    def measure(self, batch_size, steps, repeats, check_epochs):
        """Fill in one batch size."""
        names = [*self.workers, *self.failed]
        rows = {name: {"kind": ENGINES[name].kind, "remark": ENGINES[name].remark} for name in ENGINES if name in names}
        for row, reply in self._ask_all("compile", rows, do="prepare", batch_size=batch_size, steps=steps):
            self.result["versions"].update(reply.pop("versions"))
            row.update(reply)
        for row, reply in self._ask_all("check", rows, do="check", batch_size=batch_size, epochs=check_epochs):
            row.update(reply)
        for repeat in range(repeats):
            asked = {"do": "measure", "batch_size": batch_size, "steps": steps, "repeat": repeat}
            for row, reply in self._ask_all(f"repeat {repeat + 1} of {repeats}", rows, **asked):
                row.setdefault("step_s", []).append(reply["step_s"])
        for name, error in self.failed.items():
            rows[name].pop("step_s", None)
            rows[name]["error"] = error
        self.result["batches"][str(batch_size)] = rows
        self._save()
        table.print_table(self.console, self.result, batch_size)

    def _save(self):
        # after each batch size: an interrupted run keeps what it has
        if self.output:
            self.output.parent.mkdir(parents=True, exist_ok=True)
            self.output.write_text(json.dumps(self.result, indent=1) + "\n", encoding="utf-8")


@click.command(context_settings={"show_default": True})
@click.option("--dataset", type=click.Choice(["fashion-mnist", "digits"]), default="fashion-mnist")
@click.option("--data-dir", help="Folder of Fashion-MNIST's four files.")
@click.option("--network", callback=_integers("-"), default="784-256-128-64-10")
@click.option("--batch-sizes", callback=_integers(","), default="8,64,512")
@click.option("--engines", callback=_names, help="Comma-separated; all by default.")
@click.option("--threads", type=click.IntRange(1), help="Default: one for each core this process may use.")
@click.option("--steps", type=click.IntRange(1), default=400, help="Timed steps in a repeat.")
@click.option("--repeats", type=click.IntRange(1), default=9)
@click.option("--check-epochs", type=click.IntRange(1), default=3, help="Whole epochs before the loss is compared.")
@click.option("--rows", type=click.IntRange(1), help="Use only the first training rows.")
@click.option("--seed", type=click.IntRange(0), default=0)
@click.option("--keep-caches", is_flag=True, help="Use code compiled earlier; compile times then mean little.")
@click.option("--output", type=click.Path(dir_okay=False, path_type=Path), help="JSON file to write.")
def main(
    dataset, data_dir, network, batch_sizes, engines, threads, steps, repeats, check_epochs, rows, seed,
    keep_caches, output,
):  # fmt: skip
    """Time a training step of each engine: same network, data, initial weights, order of rows and cores."""
    cores = machine.cores()
    threads = threads or len(cores)
    if threads > len(cores):
        raise click.ClickException(f"--threads {threads}: this process may use {len(cores)} cores")
    result = {
        "machine": machine.describe(), "versions": {}, "dataset": dataset, "rows": rows,
        "network": "-".join(map(str, network)), "threads": threads, "affinity": cores[:threads],
        "steps": steps, "repeats": repeats, "check_epochs": check_epochs, "seed": seed,
        "cold_caches": not keep_caches,
        "labels": {name: ENGINES[name].label for name in engines}, "batches": {},
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        load_problem(folder, dataset, data_dir, network, rows, threads, seed)
        benchmark = Benchmark(_console(), result, output)
        benchmark.start(stack, engines, folder, cores[:threads], not keep_caches)
        for batch_size in batch_sizes:
            benchmark.measure(batch_size, steps, repeats, check_epochs)


if __name__ == "__main__":
    main()
