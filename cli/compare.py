"""``normkit compare``: every normalization at every batch size, with several seeds."""

from pathlib import Path

import click

from normkit_cli.main import WrongData
from normkit_cli.options import NORMS, ChoiceList, NumberList, data_options, model_options

_QUICK = {"epochs": 5, "seeds": 2}


@click.command()
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
    training, 20 % validation, 20 % test, or the dataset's own test set), and compares test accuracies.

    \b
    normkit compare --batch-sizes 8,32,128
    normkit compare --dataset table.csv --target label --norms none,batch --output results
    """
    from normkit.experiments import data, results
    from normkit.experiments.errors import DataError

    def unless_given(name, value):
        given = ctx.get_parameter_source(name) is not click.core.ParameterSource.DEFAULT
        return ctx.params[name] if given or not quick else _QUICK[name]

    epochs, seeds = unless_given("epochs", epochs), unless_given("seeds", seeds)
    batch_sizes = list(dict.fromkeys(batch_sizes))
    try:
        loaded = data.load(dataset, target, data_dir)
        directory = results.prepare(output) if output else None
        config = {
            "dataset": dataset, "batch_sizes": batch_sizes, "norms": norms, "seeds": seeds, "epochs": epochs, **model,
        }  # fmt: skip
        _run(loaded, config, directory)
    except DataError as error:
        raise WrongData(str(error)) from None


def _run(dataset, config, directory: Path | None):
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    from normkit.experiments import plots, results, runs, statistics

    parameters = {
        "hidden_layer_sizes": config["hidden"],
        "activation": config["activation"],
        "kernel_initializer": config["kernel_initializer"],
        "norm_position": config["norm_position"],
        "norm_momentum": config["norm_momentum"],
        "dropout": config["dropout"],
        "learning_rate_init": config["learning_rate"],
    }
    norms, batch_sizes, seeds = config["norms"], config["batch_sizes"], config["seeds"]
    done = []
    progress = Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
        console=Console(stderr=True), transient=True, disable=not Console(stderr=True).is_terminal,
    )  # fmt: skip
    with progress:
        task = progress.add_task("compiling, then training", total=len(norms) * len(batch_sizes) * seeds)
        for run in runs.grid(dataset, norms, batch_sizes, seeds, config["epochs"], **parameters):
            done.append(run)
            progress.update(task, advance=1, description=f"{run.normalization}, batch size {run.batch_size}")
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

    console = Console(highlight=False, soft_wrap=True)
    title = (
        f"{config['dataset']}, {config['epochs']} epochs, {config['seeds']} seeds, "
        f"learning rate {config['learning_rate']:g} at every batch size"
    )
    table = Table(title=title, title_justify="left")
    table.add_column("batch", justify="right")
    table.add_column("norm")
    for name in ("test accuracy", "validation loss", "ms/epoch", "diverged"):
        table.add_column(name, justify="right", no_wrap=True)
    order = {size: i for i, size in enumerate(config["batch_sizes"])}
    previous = None
    for cell in sorted(cells, key=lambda c: order[c.batch_size]):
        if previous is not None and cell.batch_size != previous:
            table.add_section()
        previous = cell.batch_size
        accuracy = "-" if cell.test_accuracy is None else f"{cell.test_accuracy:.4f}"
        accuracy += "" if cell.half_width is None else f" ± {cell.half_width:.4f}"
        table.add_row(
            str(cell.batch_size),
            cell.normalization,
            accuracy,
            "-" if cell.validation_loss is None else f"{cell.validation_loss:.4f}",
            "-" if cell.seconds_per_epoch is None else f"{cell.seconds_per_epoch * 1e3:.1f}",
            f"{cell.diverged}/{cell.runs}" if cell.diverged else "0",
        )
    console.print(table)
    for verdict in verdicts:
        console.print(verdict.sentence)
