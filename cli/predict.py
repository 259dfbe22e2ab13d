"""``normkit predict``: a saved model on new rows."""

from pathlib import Path

import click

from normkit.experiments.errors import DataError, one_line


@click.command(
    short_help="Predict the rows of a file with a model.",
    epilog="""\b
    Examples:
      normkit train --dataset table.csv --target label --save model.safetensors
      normkit predict model.safetensors new.csv --proba --output predictions.csv
      normkit predict model.safetensors new.csv --format json
    """,
)
@click.argument("model", metavar="MODEL")
@click.argument("data", metavar="DATA")
@click.option(
    "--target",
    metavar="NAME",
    help="Column to compare predictions with.  [default: what the model was trained to predict, if it is there]",
)
@click.option("--data-dir", metavar="DIR", help="Folder of the files of mnist or fashion-mnist.")
@click.option("--proba", is_flag=True, help="The probability of each class too.")
@click.option("--format", type=click.Choice(("csv", "json")), default="csv", show_default=True)
@click.option("--output", metavar="FILE", help="Write there instead of to the terminal.")
def predict(model, data, target, data_dir, proba, format, output):  # fmt: skip
    """Predict the rows of DATA with a MODEL that `normkit train --save` or the estimator's `save` has written.

    DATA is what `normkit train --dataset` takes: a name, or the path of a file with the same columns; others are
    ignored. Rows are prepared as those of the training were. Nothing in the model file is run. Where the true values
    are known the score goes to standard error.
    """
    from normkit._files import write_atomically
    from normkit.experiments import predictions, saved_models
    from normkit.experiments.data import load_rows
    from normkit.experiments.results.store import prepare

    saved = saved_models.open_model(model)
    if proba and saved.classes is None:
        raise DataError("--proba is for classifications, the model is a regression")
    if output:
        if Path(output).is_dir():
            raise DataError(f"--output {output} is a folder, it must be a file")
        prepare(Path(output).parent)
    notes: list[str] = []
    X, y = load_rows(
        data, saved.preprocessor, saved.classes, target or saved.target, data_dir, notes if target is None else None
    )
    if target is not None and y is None:
        raise DataError(f"{data} has no column {target!r} to compare predictions with")
    predicted = saved.predict(X)
    table = predictions.columns(predicted, saved.model.predict_proba(X) if proba else None, saved.classes)
    written = (predictions.to_json if format == "json" else predictions.to_csv)(table)
    if output:
        write_atomically(output, written)
        click.echo(f"Wrote {len(X):,} predictions to {output}", err=True)
    else:
        click.echo(written, nl=False)
    for note in notes:
        click.echo(f"Note: {one_line(note, 1000)}", err=True)
    if y is not None and predicted.ndim == 1:
        name, score = saved.score(y, predicted)
        click.echo(f"{name} {score:.4f} over {len(y):,} rows", err=True)
