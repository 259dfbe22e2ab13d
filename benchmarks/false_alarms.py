"""How often a verdict claims a difference where there is none, and finds one that was planted, in simulated scores.

An experiment is drawn with known truth and goes through `normkit.experiments.statistics.summary.summarize` as a real
one does. An alarm is any claim about a true tie: a contrast with an adjusted p-value below 0.05, of any two choices, at
any batch size. See benchmarks/README.md.
"""

import itertools
import json
from pathlib import Path
from typing import NamedTuple

import click
import joblib
import numpy as np
from rich.console import Console
from rich.table import Table
from scipy import stats

from normkit.experiments.records import Condition, Run, run_from
from normkit.experiments.statistics.summary import summarize

BATCH_SIZES = (8, 32, 128, 512)
TEST_SAMPLES = 360  # those of the digits: accuracies come in steps of 1 / 360
ACCURACY = 0.95
SEED_SPREAD = 0.01  # standard deviation of what the choices of a seed have in common


class Case(NamedTuple):
    """How scores come about. `spreads`: standard deviation of a run's own accuracy, the norms take them in turn."""

    spreads: tuple[float, ...]
    diverging: float = 0.0  # probability of a run


CASES = {
    "equal": Case((0.005,)),
    "unequal noise": Case((0.002, 0.02)),
    "some diverge": Case((0.005,), diverging=0.15),
    "few steps": Case((0.0,)),
}


def experiment(case, norms, seeds, batch_sizes, difference, rng):
    """Runs of one experiment; the second norm is better by `difference` at every batch size."""
    runs = []
    for seed in range(seeds):
        common = rng.normal(ACCURACY - difference, SEED_SPREAD)
        for size in BATCH_SIZES[:batch_sizes]:
            for k in range(norms):
                condition = Condition(normalization="none" if k == 0 else f"norm {k}", batch_size=size)
                run = Run(f"{size} {k} {seed}", condition, seed, 0, "ok", "accuracy", TEST_SAMPLES)
                if rng.random() < case.diverging:
                    run.status = "diverged"
                else:
                    own = common + difference * (k == 1) + rng.normal(0, case.spreads[k % len(case.spreads)])
                    run.test_score = rng.binomial(TEST_SAMPLES, min(max(own, 0), 1)) / TEST_SAMPLES
                runs.append(run)
    return runs


def claims(summary):
    """Pairs of choices about which something is claimed, with the better one first."""
    found = [c for c in [*summary.contrasts, *(c for v in summary.verdicts for c in v.evidence)] if c.p_adjusted < 0.05]
    return {(c.batch_size, *((c.choice, c.against) if c.difference > 0 else (c.against, c.choice))) for c in found}


def count(case, norms, seeds, repeats, batch_sizes, difference):
    """Return (repeats with a false claim, share of batch sizes at which the planted difference to none is found)."""
    rng = np.random.default_rng([norms, seeds, batch_sizes])
    alarms = found = 0
    for _ in range(repeats):
        made = claims(summarize(experiment(case, norms, seeds, batch_sizes, difference, rng)))
        # with a planted difference only the second norm may be called better
        alarms += any(difference == 0 or better != "norm 1" for _, better, _ in made)
        found += sum((size, "norm 1", "none") in made for size in BATCH_SIZES[:batch_sizes])
    return alarms, found / repeats / batch_sizes


def permuted(runs, rng):
    """Stored runs with the choices of each seed, fold and batch size in a random order: no difference is left."""
    groups = {}
    for run in runs:
        groups.setdefault((run.config.batch_size, run.seed, run.fold), []).append(run)
    made = []
    for group in groups.values():
        for target, source in zip(group, rng.permutation(len(group))):
            made.append(Run(**{**vars(group[source]), "config": target.config, "run_id": target.run_id}))
    return made


def _stored(paths, repeats):
    runs = [run_from(json.loads(line)) for path in paths for line in path.read_text().splitlines() if line.strip()]
    rng = np.random.default_rng(0)
    return sum(bool(claims(summarize(permuted(runs, rng)))) for _ in range(repeats)), len(runs)


def _share(hits, repeats):
    interval = stats.binomtest(hits, repeats).proportion_ci(0.95, "wilson")
    return f"{hits / repeats:.1%} ({interval.low:.0%} to {interval.high:.0%})"


def _row(name, norms, seeds, repeats, batch_sizes, differences):
    alarms, _ = count(CASES[name], norms, seeds, repeats, batch_sizes, 0.0)
    planted = [count(CASES[name], norms, seeds, repeats, batch_sizes, difference) for difference in differences]
    return [name, str(norms), str(seeds), _share(alarms, repeats), *(f"{found:.0%}" for _, found in planted)]


@click.command()
@click.option("--repeats", type=click.IntRange(1), default=200, show_default=True, help="Experiments of each kind.")
@click.option("--batch-sizes", type=click.IntRange(1, len(BATCH_SIZES)), default=3, show_default=True)
@click.option(
    "--difference", "differences", type=float, multiple=True, default=(0.03, 0.06), show_default=True,
    help="In accuracy, planted to be found; may be given several times.",
)  # fmt: skip
@click.option("--jobs", type=int, default=-1, show_default=True, help="Processes; -1: one a core.")
@click.option(
    "--results", type=click.Path(exists=True, dir_okay=False, path_type=Path), multiple=True,
    help="results.jsonl of a real experiment, whose scores are permuted instead of drawn.",
)  # fmt: skip
def main(repeats, batch_sizes, differences, jobs, results):
    """Count false alarms, and how often a planted difference is found."""
    console = Console(width=None if Console().is_terminal else 110)
    if results:
        alarms, runs = _stored(results, repeats)
        console.print(f"{runs} stored runs, permuted within seeds {repeats} times: alarms {_share(alarms, repeats)}")
        return
    table = Table(title=f"{repeats} experiments with {batch_sizes} batch sizes a row, 95 % Wilson intervals")
    for name in ("scores", "norms", "seeds", "false alarms", *(f"{one:g} found" for one in differences)):
        table.add_column(name)
    rows = itertools.product(CASES, (3, 5, 8), (3, 5, 10))
    for cells in joblib.Parallel(jobs)(joblib.delayed(_row)(*row, repeats, batch_sizes, differences) for row in rows):
        table.add_row(*cells)
    console.print(table)


if __name__ == "__main__":
    main()
