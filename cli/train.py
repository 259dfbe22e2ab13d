"""``normkit train``: one model, its progress per epoch, its curves, and the file it is kept in."""

import contextlib
from pathlib import Path

import click

from normkit.experiments.errors import DataError, one_line

from .data_options import data_options
from .live import compiling_notice
from .options import BATCH_NORMS, NORMS, model_options, solver_options
from .summary import print_layers


def _png(ctx, param, value):
    if value is not None and (Path(value).suffix.lower() != ".png" or Path(value).is_dir()):
        raise click.BadParameter(f"{value!r} is not the name of a .png file")
    return value


def _file(ctx, param, value):
    if value is not None and Path(value).is_dir():
        raise click.BadParameter(f"{value!r} is a folder")
    return value


@click.command(
    short_help="Train one model, with curves; save it.",
    epilog="""\b
    Examples:
      normkit train --save digits.safetensors --confusion confusion.png
      normkit train --dataset fashion-mnist --hidden 256,128,64 --activation elu --norm batch --plot curves.png
      normkit train --dataset houses.csv --target price --task regression --output houses
    """,
)
@data_options
@click.option("--norm", type=click.Choice(NORMS), default="batch", show_default=True)
@click.option("--normalize-input", is_flag=True, help="Put a norm on the input as well.")
@click.option("--batch-size", type=click.IntRange(1), default=64, show_default=True)
@click.option("--epochs", type=click.IntRange(1), default=10, show_default=True)
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), default=0, show_default=True)
@model_options
@solver_options
@click.option("--save", metavar="MODEL", callback=_file, help="Keep the model in this file, for `normkit predict`.")
@click.option("--plot", metavar="FILE", callback=_png, help="Save the curves of loss and score as PNG.")
@click.option(
    "--confusion",
    metavar="FILE",
    callback=_png,
    help="Save the test set's confusion matrix as PNG; of a regression predicted against true values.",
)
@click.option("--output", metavar="DIR", help="Write model.safetensors, run.json, curves.png and confusion.png there.")
def train(norm, normalize_input, batch_size, epochs, seed, save, plot, confusion, output, **options):  # fmt: skip
    """Train one model; show loss and score of training and validation set after each epoch.

    The data is split as `normkit compare` splits it: 60 % of the rows train, 20 % validate, 20 % test, or the
    dataset's own test set. Of Fashion-MNIST 55,000 images train and the first 5,000 validate.

    Under an MPI launcher, as in `mpirun -n 2 normkit train ...`, all ranks train one model together, each on its part
    of the training rows (needs mpi4py). The batch size is that of all ranks.
    """
    with _ranks() as comm:
        _train(comm, norm, normalize_input, batch_size, epochs, seed, save, plot, confusion, output, options)


@contextlib.contextmanager
def _ranks():
    """Give the communicator where an MPI launcher started this command, else None."""
    from normkit import distributed

    try:
        comm = distributed.world()
        with distributed.leaving_none_behind(comm):
            yield comm
    except (distributed.RankError, ImportError) as error:
        raise click.ClickException(str(error)) from None


def _train(comm, norm, normalize_input, batch_size, epochs, seed, save, plot, confusion, output, options):
    from normkit import distributed
    from normkit.experiments.data.loading import OPTIONS
    from normkit.experiments.records import Condition

    given = {name: options.pop(name) for name in ("dataset", *OPTIONS) if name in options}
    target = given["target"]
    speaks = comm is None or comm.rank == 0
    if output:
        folder = Path(output)
        save, plot = save or folder / "model.safetensors", plot or folder / "curves.png"
        confusion, record = confusion or folder / "confusion.png", folder / "run.json"
    else:
        record = None

    def load():
        from normkit.experiments import data
        from normkit.experiments.results.store import prepare

        names = [given.pop(name) for name in ("dataset", "target", "data_dir")]
        dataset = data.load(*names, **given)
        sets = data.split(dataset, seed)
        _check(sets, norm, normalize_input, batch_size, options)
        if speaks:
            if output:
                prepare(output)
            for place in filter(None, (save, plot, confusion)):
                prepare(Path(place).parent)
        return dataset, sets

    dataset, sets = distributed.agreed(comm, load)
    condition = Condition(
        normalization=norm, normalize_input=normalize_input, batch_size=min(batch_size, len(sets.X_train)),
        epochs=epochs, **options,
    )  # fmt: skip
    if speaks:
        _tell(dataset, sets, batch_size)
    model, run = _trained(sets, condition, seed, comm)
    if not speaks:
        return
    if run.error:
        click.echo(f"Training was {run.error}.", err=True)
    print_layers(model)
    metric = run.metric
    click.echo(f"Test loss {run.test_loss:.4f}  {metric} {run.test_score:.4f}")
    if save:
        _keep(save, model, sets, target, {"dataset": dataset.name, "seed": seed, "test_score": run.test_score})
    if plot:
        _write(plot, _curves(run))
    if confusion:
        _write(confusion, _evaluation(model, sets, target))
    if record:
        _write(record, _json(run))
    if run.error:
        raise KeyboardInterrupt


def _check(sets, norm, normalize_input, batch_size, model):
    from normkit.experiments.grid import check_widths

    if batch_size == 1 and (norm in BATCH_NORMS or normalize_input and norm == "none"):
        raise DataError(
            "batch normalization needs batches of 2 samples at least, since one sample has no variance: "
            "give a larger --batch-size or --norm layer"
        )
    check_widths(norm, model["norm_groups"], [*model["hidden"], *[sets.X_train.shape[1]] * normalize_input])


def _tell(dataset, sets, batch_size):
    samples = len(sets.X_train)
    click.echo(
        f"{dataset.name}: {samples:,} training, {len(sets.X_val):,} validation, {len(sets.X_test):,} test samples "
        f"of {sets.X_train.shape[1]} features"
    )
    for note in (*dataset.notes, *sets.notes[1:]):  # the first is the rule of the split, which the help has
        click.echo(f"Note: {one_line(note, 1000)}", err=True)
    if batch_size > samples:
        click.echo(f"Note: --batch-size {batch_size} is cut to the {samples:,} training samples.", err=True)


def _trained(sets, condition, seed, comm):
    from rich.console import Console

    from normkit.experiments.running import one_run

    epochs, name = condition.epochs, sets.metric

    def show(number, epoch):
        click.echo(
            f"Epoch {number:>{len(str(epochs))}}/{epochs}  {epoch.seconds:6.2f} s  "
            f"loss {epoch.loss:.4f}  {name} {epoch.score:.4f}  "
            f"val_loss {epoch.val_loss:.4f}  val_{name} {epoch.val_score:.4f}"
        )

    with compiling_notice(Console(stderr=True, quiet=comm is not None and comm.rank > 0)):
        model, run = one_run.train(sets, condition, seed, show, comm)
    if run.status != "ok":
        raise click.ClickException(f"training {run.error}; lower --learning-rate")
    return model, run


def _write(path, data):
    from normkit._files import write_atomically

    write_atomically(path, data)
    click.echo(f"Wrote {path}", err=True)


def _keep(path, model, sets, target, about):
    from normkit.experiments import saved_models

    saved_models.save(path, model, sets, target, about)
    click.echo(f"Wrote {path}", err=True)


def _curves(run):
    from normkit.experiments.report import plots

    return plots.png(plots.of_training(run.curves, run.metric, run.config.choice))


def _evaluation(model, sets, target):
    from normkit.experiments.report import plots
    from normkit.experiments.report.plots import evaluation

    predictions = model.predict(sets.X_test)
    if sets.task == "classification":
        return plots.png(evaluation.confusion(sets.y_test, predictions, sets.classes))
    y, predictions = (values * sets.target_scale + sets.target_mean for values in (sets.y_test, predictions))
    return plots.png(evaluation.predicted_against_true(y, predictions, target))


def _json(run):
    import json
    from dataclasses import asdict

    from normkit.experiments.results.environment import environment

    return json.dumps({**asdict(run), "environment": environment()}, indent=1, allow_nan=False).encode()
