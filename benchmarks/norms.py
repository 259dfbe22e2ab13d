"""Time the norm functions of normkit and of its peers on arrays, against a copy of as many bytes.

One process a peer, kept alive, all on the same cores; in each repeat every peer is timed for a slice, one after
the other. See benchmarks/README.md.
"""

import contextlib
import dataclasses
import tempfile
from pathlib import Path

import click
import norm_table
from rich.console import Console

from normkit.bench import machine, norm_cases
from normkit.bench.norm_peers import PEERS
from normkit.bench.processes import Crew, EngineFailed
from normkit.bench.results import dump


def _peers(context, parameter, value):
    names = value.split(",")
    if unknown := [name for name in names if name not in PEERS]:
        raise click.BadParameter(f"unknown {', '.join(unknown)}; known are {', '.join(PEERS)}")
    return names


def select(cases, terms):
    """Return the cases that agree with the terms; terms of the same kind are alternatives.

    A term is a function, a shape like 64x256, a type or a direction.
    """
    wanted = {}
    for term in terms:
        fields = {name for case in cases for name, value in case.fields.items() if value == term}
        if not fields:
            known = sorted({value for case in cases for value in case.fields.values()})
            raise click.BadParameter(f"nothing is called {term!r}; known are {', '.join(known)}", param_hint="--only")
        wanted.setdefault(fields.pop(), set()).add(term)
    return [case for case in cases if all(case.fields[name] in values for name, values in wanted.items())]


class Benchmark:
    """The workers of one run and the result they add up to."""

    def __init__(self, console, result, output):
        self.console, self.result, self.output = console, result, output

    def start(self, stack, names, folder, cores):
        """Start a worker for each peer that can run."""
        self.crew = Crew(folder, cores, PEERS, ("normkit.bench.norm_worker", str(len(cores))))
        self.crew.start(stack, names)
        for name, reason in self.crew.absent.items():
            self.result["absent"][name] = reason
            self.console.print(f"[yellow]{name}[/]: {reason}", highlight=False)

    def _ask(self, peers, name, **request):
        """Return the reply; a peer that fails is out for this case."""
        try:
            return self.crew.ask(name, **request)
        except EngineFailed as error:
            peers[name] = {"error": str(error)}
            return None

    def measure(self, case, folder, repeats, slice_s):
        """Fill in one case."""
        norm_cases.save(folder, case)
        peers = {}
        for name in list(self.crew.workers):
            if reply := self._ask(peers, name, do="prepare", case=dataclasses.asdict(case), slice_s=slice_s):
                self.result["versions"].update(reply["versions"])
                self.result["thread_settings"][name] = reply["threads"]
                peers[name] = {mode: {**found, "us": []} for mode, found in reply["modes"].items()}
                if reply["failed"]:
                    peers[name]["failed"] = reply["failed"]
        for _ in range(repeats):
            for name in [name for name, row in peers.items() if "fresh" in row or "out" in row]:
                if reply := self._ask(peers, name, do="measure"):
                    for mode, microseconds in reply["us"].items():
                        peers[name][mode]["us"].append(float(f"{microseconds:.4g}"))
        self.result["cases"].append({**dataclasses.asdict(case), "bytes": case.bytes, "peers": peers})
        self.save()  # an interrupted run keeps what it has

    def save(self):
        """Write what there is."""
        if self.output:
            self.output.parent.mkdir(parents=True, exist_ok=True)
            self.output.write_text(dump(self.result) + "\n", encoding="utf-8")


@click.command(context_settings={"show_default": True})
@click.option("--peers", callback=_peers, default=",".join(PEERS), help="Comma-separated.")
@click.option("--only", multiple=True, metavar="TERM", help="Function, shape (64x256), type or direction; repeatable.")
@click.option("--threads", type=click.IntRange(1), help="Default: one for each core this process may use.")
@click.option("--repeats", type=click.IntRange(1), default=11)
@click.option("--slice-ms", type=click.FloatRange(0, min_open=True), default=20.0, help="Length of a timed slice.")
@click.option("--quick", is_flag=True, help="Tiny shapes, two repeats of a millisecond: does it work at all?")
@click.option("--json", "output", type=click.Path(dir_okay=False, path_type=Path), help="File to write.")
def main(peers, only, threads, repeats, slice_ms, quick, output):
    """Time norm functions on arrays, forward and backward, with fresh and with given output."""
    cores = machine.cores()
    threads = threads or len(cores)
    if threads > len(cores):
        raise click.ClickException(f"--threads {threads}: this process may use {len(cores)} cores")
    if quick:
        repeats, slice_ms = 2, 1.0
    cases = select(norm_cases.cases(quick), only)
    result = {
        "kind": "norms", "machine": machine.describe(), "versions": {}, "threads": threads,
        "affinity": cores[:threads], "repeats": repeats, "slice_ms": slice_ms, "absent": {}, "thread_settings": {},
        "labels": {name: PEERS[name].label for name in peers}, "cases": [],
    }  # fmt: skip
    company = machine.Company()
    console = Console()
    if not console.is_terminal:  # a file or pipe has no width to keep to
        console.width = 200
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        benchmark = Benchmark(console, result, output)
        benchmark.start(stack, peers, folder, cores[:threads])
        for i, case in enumerate(cases):
            doing = f"{i + 1} of {len(cases)}: {case.function} {case.label} {case.dtype} {case.direction}"
            # a spinner that turns would be work on the cores that are measured
            with console.status(doing, refresh_per_second=0.5):
                benchmark.measure(case, folder, repeats, slice_ms / 1e3)
    result["other_load"] = company.share()
    benchmark.save()
    norm_table.print_tables(console, result)


if __name__ == "__main__":
    main()
