"""``normkit compare``: every normalization at every batch size, with several seeds."""

import click

from .data_options import data_options
from .main import WrongData
from .options import (
    BATCH_NORMS,
    NORMS,
    ChoiceList,
    NumberList,
    check_groups,
    compiling_notice,
    estimator_parameters,
    model_options,
)

_QUICK = {"epochs": 5, "seeds": 2}


@click.command(
    epilog="""\b
    Examples:
      normkit compare --batch-sizes 8,32,128
      normkit compare --dataset table.csv --target label --norms none,batch --output results
    """
)
@click.option("--batch-sizes", type=NumberList(), default="8,32,128", show_default=True)
@click.option("--norms", type=ChoiceList(NORMS), default="none,batch,layer", show_default=True)
@click.option("--seeds", type=click.IntRange(1), default=5, show_default=True, help="Runs of each combination.")
@click.option("--epochs", type=click.IntRange(1), default=20, show_default=True)
@data_options
@model_options
@click.option("--quick", is_flag=True, help="5 epochs and 2 seeds, unless these are given.")
@click.option("--output", metavar="DIR", help="Write results.json, results.csv and plots there.")
@click.pass_context
def compare(ctx, batch_sizes, norms, seeds, epochs, dataset, target, data_dir, quick, output, **model):
    """Tell which normalization to use at your batch size, and whether it matters.

    Trains every combination of normalization and batch size with several seeds on the same splits (60 %
    training, 20 % validation, 20 % test, or the dataset's own test set), and compares test accuracies within
    each seed. Intervals are 95 % t intervals over the seeds.
    """
    from normkit.experiments import data, results
    from normkit.experiments.errors import DataError

    def unless_given(name):
        given = ctx.get_parameter_source(name) is not click.core.ParameterSource.DEFAULT
        return ctx.params[name] if given or not quick else _QUICK[name]

    try:
        loaded = data.load(dataset, target, data_dir)
        rows = len(data.split(loaded, 0).X_train)
        over_batch = [norm for norm in norms if norm in BATCH_NORMS]
        if min(batch_sizes) == 1 and over_batch:
            raise DataError(
                "batch normalization needs batches of 2 samples at least, since one sample has no variance: "
                f"leave 1 out of --batch-sizes or {', '.join(over_batch)} out of --norms"
            )
        if wrong := check_groups(norms, model["hidden"], model["norm_groups"]):
            raise DataError(wrong)
        directory = results.prepare(output) if output else None
    except DataError as error:
        raise WrongData(str(error)) from None
    from normkit.experiments import runs  # imports Numba, which wrong data need not wait for

    possible = runs.possible_batch_sizes(batch_sizes, rows)
    if max(batch_sizes) > rows:
        click.echo(f"Note: larger batches than the {rows:,} training samples become one batch of all.", err=True)
    config = {
        "dataset": dataset, "batch_sizes": possible, "norms": norms, "seeds": unless_given("seeds"),
        "epochs": unless_given("epochs"), **model,
    }  # fmt: skip
    done = _train(loaded, config, estimator_parameters(model))
    _report(config, done, directory)


def _train(dataset, config, parameters):
    """Train the grid under a progress bar, which appears on a terminal only."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    from normkit.experiments import runs

    norms, batch_sizes, seeds = config["norms"], config["batch_sizes"], config["seeds"]
    console = Console(stderr=True)
    done = []
    with Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
        console=console, transient=True, disable=not console.is_terminal,
    ) as progress:  # fmt: skip
        task = progress.add_task("starting", total=len(norms) * len(batch_sizes) * seeds)
        with compiling_notice(progress.console):
            for run in runs.grid(dataset, norms, batch_sizes, seeds, config["epochs"], **parameters):
                done.append(run)
                progress.update(task, advance=1, description=f"{run.normalization}, batch size {run.batch_size}")
    return done


def _report(config, done, directory):
    from normkit.experiments import plots, results, statistics

    cells, verdicts = statistics.summarize(done), statistics.verdicts(done)
    _print_table(config, cells, verdicts)
    if directory:
        results.write_json(directory / "results.json", config, done, cells, verdicts)
        results.write_csv(directory / "results.csv", done)
        plots.accuracy_against_batch_size(directory / "accuracy.png", cells)
        plots.curves_by_batch_size(directory / "curves.png", done)
        click.echo(f"Wrote results.json, results.csv, accuracy.png and curves.png to {directory}", err=True)


def _print_table(config, cells, verdicts):
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False, markup=False)

    def sentence(text):
        # wrapped between words on a terminal, one line each in a file
        console.print(text, soft_wrap=not console.is_terminal)

    sentence(
        f"{config['dataset']}: epochs {config['epochs']}, seeds {config['seeds']}, "
        f"learning rate {config['learning_rate']:g} at every batch size"
    )
    table = Table()
    table.add_column("batch", justify="right")
    table.add_column("norm")
    for name in ("test accuracy", "validation loss", "ms/epoch", "diverged"):
        table.add_column(name, justify="right", no_wrap=True)
    for size in config["batch_sizes"]:
        for cell in (cell for cell in cells if cell.batch_size == size):
            accuracy = "-" if cell.test_accuracy is None else f"{cell.test_accuracy:.4f}"
            table.add_row(
                str(size),
                cell.normalization,
                accuracy + ("" if cell.half_width is None else f" ± {cell.half_width:.4f}"),
                "-" if cell.validation_loss is None else f"{cell.validation_loss:.4f}",
                "-" if cell.seconds_per_epoch is None else f"{cell.seconds_per_epoch * 1e3:.1f}",
                f"{cell.diverged}/{cell.runs}",
            )
        table.add_section()
    console.print(table)
    for verdict in verdicts:
        sentence(verdict.sentence)
