"""``normkit summary``: what a model file holds."""

import io

import click


@click.command(
    short_help="Show the layers of a saved model.",
    epilog="""\b
    Example:
      normkit train --save digits.safetensors
      normkit summary digits.safetensors
    """,
)
@click.argument("model", metavar="MODEL")
def summary(model):
    """Show a model saved by `train --save` or `model.save`: its layers, training and classes.

    Nothing in the file is run.
    """
    from normkit.experiments.saved_models import open_model

    saved = open_model(model)
    print_layers(saved.model)
    for name, text in _facts(saved):
        # what a file says must not move the cursor or colour the terminal
        click.echo(f"{name + ':':<28}{''.join(c if c.isprintable() else '?' for c in text)}")


def print_layers(model):
    """Print the table of layers by click, as all other lines: two writers would change places in an ASCII locale."""
    table = io.StringIO()
    model.summary(file=table)
    click.echo(table.getvalue(), nl=False)


def _facts(saved):
    model = saved.model
    yield "Model", f"{type(model).__name__}, {model.coefs_[0].dtype}"
    if model.normalization or model.normalize_input:
        places = [f"{model.norm_position} the activation"] * bool(model.normalization)
        yield (
            "Norm",
            f"{model.normalization or 'batch'}, {' and '.join([*places, *['on the input'] * model.normalize_input])}",
        )
    loss = getattr(model, "loss_", None)
    trained = f"{model.solver}, {model.n_iter_} epochs"
    yield "Training", trained + ("" if loss is None else f", mean loss within the last {loss:.4f}")
    if saved.classes is not None:
        shown = ", ".join(str(label) for label in saved.classes[:10].tolist())
        yield "Classes", f"{len(saved.classes)}: {shown}{', ...' if len(saved.classes) > 10 else ''}"
    if saved.target is not None:
        yield "Target", saved.target
    if saved.about is not None:
        columns = [*saved.preprocessor.number_names, *saved.preprocessor.text_names]
        yield "Columns", f"{len(columns)}: {', '.join(columns[:10])}{', ...' if len(columns) > 10 else ''}"
        for name in ("dataset", "seed", "test_score"):
            if name in saved.about:
                value = saved.about[name]
                yield name.capitalize().replace("_", " "), f"{value:.4f}" if isinstance(value, float) else str(value)
