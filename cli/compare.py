"""``normkit compare``: every normalization at every batch size, with several seeds."""

import contextlib
import os
import shlex

import click

from normkit.experiments.errors import DataError
from normkit.experiments.presets import PRESETS
from normkit.experiments.running import workers

from .configured import EXECUTION, ConfiguredCommand, plain
from .data_options import cv_option, data_options
from .options import grid_options, training_options


class _Compare(ConfiguredCommand):
    quick = {"budget": "epochs", "epochs": 5, "seeds": 2}


@click.command(
    short_help="Tell which norm to use at your batch size.",
    cls=_Compare,
    epilog="""\b
    Examples:
      normkit compare --batch-sizes 8,32,128
      normkit compare --dataset table.csv --target label --norms none,batch --output results
      normkit compare --resume results
      normkit compare --preset group-norm --dataset fashion-mnist --seeds 3
      normkit compare --config experiment.toml --backend dask --scheduler tcp://10.0.0.1:8786
    """,
)
@data_options
@cv_option
@grid_options
@training_options
@click.option("--seeds", type=click.IntRange(1), default=5, show_default=True, help="Runs of each combination.")
@click.option("--baseline", metavar="NORM", help="What the others are compared with.  [default: none]")
@click.option("--diagnose", is_flag=True, help="Record what goes on in each layer after each epoch.")
@click.option("--preset", type=click.Choice(tuple(PRESETS)), help="A published experiment; other options change it.")
@click.option("--config", metavar="FILE", help="Options in TOML or YAML, by the same names.")
@click.option("--quick", is_flag=True, help="5 epochs and 2 seeds, unless these are given.")
@click.option("--jobs", type=click.IntRange(1), metavar="N", help="Processes.  [default: the cores]")
@click.option(
    "--backend",
    type=click.Choice(("loky", "dask", "serial")),
    default="loky",
    show_default=True,
    help="Processes of this machine, a Dask cluster, or neither.",
)
@click.option("--scheduler", metavar="ADDRESS", help="Of a Dask cluster, as tcp://host:8786.")
@click.option("--output", metavar="DIR", help="Write runs, as they end, summary and plots there.")
@click.option("--resume", metavar="DIR", help="Go on with the experiment that --output DIR began.")
@click.option("--format", type=click.Choice(("table", "json", "csv", "markdown")), default="table", show_default=True)
@click.option("--benefits", is_flag=True, help="Print the claimed benefits of each norm, measured.")
@click.option("--quiet", is_flag=True, help="Results and errors alone.")
@click.pass_context
def compare(ctx, config, resume, **options):  # fmt: skip
    """Tell which normalization to use at your batch size, and whether it matters.

    Trains every combination of what is given with several seeds, spread over processes, and compares test scores
    within each seed: there the split, the first weights and the order of the rows are the same. Options that take
    a list are crossed with each other.
    """
    from rich.console import Console

    values = {param.name: plain(options[param.name]) for param in ctx.command.params if param.name in options}
    execution = {name: values.pop(name) for name in EXECUTION}
    if execution["scheduler"] and execution["backend"] != "dask":
        raise click.UsageError("--scheduler is for --backend dask")
    for name, flags, used in (
        ("updates", "--budget updates", values["budget"] == "updates"),
        ("base_batch_size", "--lr-scaling or --budget updates",
         values["lr_scaling"] != "none" or values["budget"] == "updates"),
    ):  # fmt: skip
        if not used and ctx.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE:
            raise click.UsageError(f"--{name.replace('_', '-')} is for {flags}")
    _make_absolute(values)
    if resume:
        _refuse_changes(ctx, resume, values)
    _run(values, execution, resume, Console(stderr=True, highlight=False, markup=False))


def _make_absolute(values):
    """Let an experiment be resumed from another folder."""
    from normkit.experiments.data import BUILT_IN

    for name in ("dataset", "data_dir"):
        if values[name] and values[name] not in BUILT_IN and os.path.exists(values[name]):
            values[name] = os.path.abspath(values[name])


def _refuse_changes(ctx, directory, values):
    for name in ("output", "config", "quick"):
        if ctx.params[name]:
            raise click.UsageError(f"--resume goes on with what its directory holds: leave --{name} out")
    stored = {name: plain(value) for name, value in ctx.command.stored(directory).items()}
    for name, value in values.items():
        if value != stored[name]:
            flag = f"--{name.replace('_', '-')}"
            raise DataError(
                f"the experiment in {directory} has {flag} {_shown(stored[name])}, not {_shown(value)}: leave the "
                "option out, or begin another experiment with --output"
            )


def _shown(value):
    return ",".join(map(_shown, value)) if isinstance(value, list | tuple) else str(value)


def _run(values, execution, resume, console):
    jobs = execution["jobs"] or workers.default_jobs()
    if execution["backend"] == "loky" and jobs > 1:
        workers.start_early()
    from normkit.experiments.experiment import Experiment
    from normkit.experiments.output import begin
    from normkit.experiments.results.store import Store, holds_experiment, prepare

    directory = resume or execution["output"]
    if directory and not resume and holds_experiment(prepare(directory)):
        raise DataError(f"{directory} holds an experiment already; --resume {shlex.quote(directory)} goes on with it")
    experiment = Experiment(values)
    execution["jobs"] = min(jobs, len(experiment.tasks))
    with Store(directory) if directory else contextlib.nullcontext() as store:
        notes = begin(store, experiment, execution["backend"], execution["jobs"]) if store else []
        runs = _train(experiment, execution, store, notes, console)
        _report(experiment, execution, store, runs, console)
    if failed := [run for run in runs if run.status == "failed"]:
        advice = f"; {_resuming(directory)} repeats them" if directory else ""
        raise click.ClickException(f"{len(failed)} of {len(runs)} runs failed, {failed[0].error}{advice}")


def _resuming(directory):
    return f"normkit compare --resume {shlex.quote(str(directory))}"


def _train(experiment, execution, store, notes, console):
    """Do the runs that are missing; returns all of them in the order of the tasks."""
    from normkit.experiments.results.store import in_order, read_runs
    from normkit.experiments.running.backends import WorkersLost

    from .live import display

    runs = [run for run in store.runs if run.status != "failed"] if store else []
    tasks = experiment.left(runs)
    jobs, backend = min(execution["jobs"], max(len(tasks), 1)), execution["backend"]
    if backend == "loky" and jobs == 1:
        backend = "serial"
    try:
        with display(console, execution["quiet"], experiment, runs) as shown, shown.compiling():
            for note in [*experiment.notes, *notes]:
                shown.note(f"Note: {note}.")
            if runs:
                shown.note(f"{len(runs)} of {len(experiment.tasks)} runs are done already.")
            for run in experiment.run(tasks, backend, jobs, execution["scheduler"]):
                if store:
                    store.add(run)
                runs.append(run)
                shown.add(run)
    except WorkersLost as error:
        advice = f"; {_resuming(store.path)} goes on" if store else ""
        raise click.ClickException(f"{error}{advice}") from None
    except KeyboardInterrupt:
        if store:
            # not those counted here: the interrupt may have come between the file and the list
            saved = sum(run.status != "failed" for run in read_runs(store.path))
            click.echo(f"{saved} of {len(experiment.tasks)} runs are saved. To go on:", err=True)
            click.echo(f"  {_resuming(store.path)}", err=True)
        raise
    return in_order(runs, experiment.ids)


def _report(experiment, execution, store, runs, console):
    from normkit.experiments.output import finish

    from . import printing

    summary = experiment.summarize(runs)
    # first what must not be lost where nobody reads on
    written = finish(store, experiment, runs, summary) if store else []
    printing.show(experiment, summary, execution["format"], execution["benefits"])
    if written and not execution["quiet"]:
        console.print(f"Wrote {', '.join(written)} to {store.path}", soft_wrap=True)
