"""``normkit train``: one model, its progress per epoch, its curves."""

from pathlib import Path

import click

from normkit_cli.main import WrongData
from normkit_cli.options import NORMS, data_options, model_options


@click.command()
@data_options
@click.option("--norm", type=click.Choice(NORMS), default="batch", show_default=True)
@click.option("--normalize-input", is_flag=True, help="Put a norm on the input as well.")
@click.option("--batch-size", type=click.IntRange(1), default=64, show_default=True)
@click.option("--epochs", type=click.IntRange(1), default=10, show_default=True)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@model_options
@click.option("--plot", metavar="FILE", help="Save the curves of loss and accuracy as PNG.")
def train(dataset, target, data_dir, norm, normalize_input, batch_size, epochs, seed, plot, **model):
    """Train one classifier; show loss and accuracy of training and validation set after each epoch.

    Fashion-MNIST: 55,000 images train, the first 5,000 validate, pixels are scaled to [0, 1].

    \b
    normkit train --dataset fashion-mnist --hidden 256,128,64 --activation elu \\
      --kernel-initializer he_normal --norm batch --batch-size 64 --epochs 10 --plot curves.png
    """
    from normkit.experiments import data, plots, results, runs
    from normkit.experiments.errors import DataError

    try:
        sets = data.split(data.load(dataset, target, data_dir), seed)
        if plot:
            results.prepare(str(Path(plot).parent))
    except DataError as error:
        raise WrongData(str(error)) from None
    click.echo(
        f"{dataset}: {len(sets.X_train):,} training, {len(sets.X_val):,} validation, {len(sets.X_test):,} test "
        f"samples of {sets.X_train.shape[1]} features"
    )

    def show(number, epoch):
        click.echo(
            f"Epoch {number:>{len(str(epochs))}}/{epochs}  {epoch.seconds:6.2f} s  "
            f"loss {epoch.loss:.4f}  accuracy {epoch.accuracy:.4f}  "
            f"val_loss {epoch.val_loss:.4f}  val_accuracy {epoch.val_accuracy:.4f}"
        )

    fitted, curves = runs.train(
        sets, epochs, seed, show,
        normalization=None if norm == "none" else norm, normalize_input=normalize_input,
        batch_size=min(batch_size, len(sets.X_train)), hidden_layer_sizes=model["hidden"],
        activation=model["activation"], kernel_initializer=model["kernel_initializer"],
        norm_position=model["norm_position"], norm_momentum=model["norm_momentum"], dropout=model["dropout"],
        learning_rate_init=model["learning_rate"],
    )  # fmt: skip
    if fitted is None:
        raise click.ClickException(f"training diverged after {len(curves)} epochs; lower --learning-rate")
    fitted.summary()
    loss, accuracy = runs.evaluate(fitted, sets.X_test, sets.y_test)
    click.echo(f"Test loss {loss:.4f}  accuracy {accuracy:.4f}")
    if plot:
        plots.curves(plot, {"": {norm: [curves]}})
        click.echo(f"Wrote {plot}", err=True)
