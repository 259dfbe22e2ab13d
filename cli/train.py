"""``normkit train``: one model, its progress per epoch, its curves."""

from pathlib import Path

import click

from .data_options import data_options
from .main import WrongData
from .options import (
    BATCH_NORMS,
    NORMS,
    check_groups,
    compiling_notice,
    estimator_parameters,
    model_options,
)


def _png(ctx, param, value):
    if value is not None and (Path(value).suffix.lower() != ".png" or Path(value).is_dir()):
        raise click.BadParameter(f"{value!r} is not the name of a .png file")
    return value


@click.command(
    epilog="""\b
    Example:
      normkit train --dataset fashion-mnist --hidden 256,128,64 --activation elu \\
        --kernel-initializer he_normal --norm batch --batch-size 64 --epochs 10 --plot curves.png
    """
)
@data_options
@click.option("--norm", type=click.Choice(NORMS), default="batch", show_default=True)
@click.option("--normalize-input", is_flag=True, help="Put a norm on the input as well.")
@click.option("--batch-size", type=click.IntRange(1), default=64, show_default=True)
@click.option("--epochs", type=click.IntRange(1), default=10, show_default=True)
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), default=0, show_default=True)
@model_options
@click.option("--plot", metavar="FILE", callback=_png, help="Save the curves of loss and accuracy as PNG.")
def train(dataset, target, data_dir, norm, normalize_input, batch_size, epochs, seed, plot, **model):
    """Train one classifier; show loss and accuracy of training and validation set after each epoch.

    Fashion-MNIST: 55,000 images train, the first 5,000 validate, pixels are scaled to [0, 1].
    """
    from normkit.experiments import data, results
    from normkit.experiments.errors import DataError

    try:
        sets = data.split(data.load(dataset, target, data_dir), seed)
        if batch_size == 1 and (norm in BATCH_NORMS or normalize_input and norm == "none"):
            raise DataError(
                "batch normalization needs batches of 2 samples at least, since one sample has no variance: "
                "give a larger --batch-size or --norm layer"
            )
        widths = [*model["hidden"], *[sets.X_train.shape[1]] * normalize_input]
        if wrong := check_groups([norm], widths, model["norm_groups"]):
            raise DataError(wrong)
        if plot:
            results.prepare(Path(plot).parent)
    except DataError as error:
        raise WrongData(str(error)) from None
    from rich.console import Console

    from normkit.experiments import plots, runs  # imports Numba, which wrong data need not wait for

    samples = len(sets.X_train)
    click.echo(
        f"{dataset}: {samples:,} training, {len(sets.X_val):,} validation, {len(sets.X_test):,} test samples "
        f"of {sets.X_train.shape[1]} features"
    )
    if batch_size > samples:
        click.echo(f"Note: --batch-size {batch_size} is cut to the {samples:,} training samples.", err=True)

    def show(number, epoch):
        click.echo(
            f"Epoch {number:>{len(str(epochs))}}/{epochs}  {epoch.seconds:6.2f} s  "
            f"loss {epoch.loss:.4f}  accuracy {epoch.accuracy:.4f}  "
            f"val_loss {epoch.val_loss:.4f}  val_accuracy {epoch.val_accuracy:.4f}"
        )

    with compiling_notice(Console(stderr=True)):
        fitted, curves = runs.train(
            sets, epochs, seed, show,
            normalization=None if norm == "none" else norm, normalize_input=normalize_input,
            batch_size=min(batch_size, samples), **estimator_parameters(model),
        )  # fmt: skip
    if fitted is None:
        raise click.ClickException(f"training diverged in epoch {len(curves) + 1}; lower --learning-rate")
    fitted.summary()
    loss, accuracy = runs.evaluate(fitted, sets.X_test, sets.y_test)
    click.echo(f"Test loss {loss:.4f}  accuracy {accuracy:.4f}")
    if plot:
        plots.curves(plot, {"": {norm: [curves]}})
        click.echo(f"Wrote {plot}", err=True)
