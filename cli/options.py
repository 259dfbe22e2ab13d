"""Parameter types and options that commands share."""

import click


class NumberList(click.ParamType):
    """Comma-separated positive integers."""

    name = "N,N,..."

    def convert(self, value, param, ctx):
        """Return a list of distinct integers, or fail with one line."""
        if isinstance(value, list):
            return value
        try:
            numbers = [int(part) for part in value.split(",")]
        except ValueError:
            self.fail(f"{value!r} is not a list of whole numbers like 8,32,128", param, ctx)
        if min(numbers) < 1:
            self.fail(f"every number must be at least 1, got {min(numbers)}", param, ctx)
        return numbers


class ChoiceList(click.ParamType):
    """Comma-separated names out of a set."""

    name = "NAME,..."

    def __init__(self, choices):
        self.choices = tuple(choices)

    def convert(self, value, param, ctx):
        """Return a list of distinct names, or fail with one line."""
        if isinstance(value, list):
            return value
        names = [part.strip() for part in value.split(",")]
        for name in names:
            if name not in self.choices:
                self.fail(f"{name!r} is not one of {', '.join(self.choices)}", param, ctx)
        return list(dict.fromkeys(names))


NORMS = ("none", "batch", "layer")
ACTIVATIONS = (
    "identity", "logistic", "tanh", "relu", "elu", "leaky_relu", "selu", "gelu", "silu", "softplus",
)  # fmt: skip
KERNEL_INITIALIZERS = (
    "sklearn", "he_normal", "he_uniform", "glorot_normal", "glorot_uniform", "lecun_normal", "orthogonal",
)  # fmt: skip


def together(*decorators):
    """Apply several option decorators, in the order in which help shows them."""

    def decorate(command):
        for decorator in reversed(decorators):
            command = decorator(command)
        return command

    return decorate


data_options = together(
    click.option("--dataset", default="digits", show_default=True,
                 help="digits, fashion-mnist, or the path of a .csv or .npz file."),
    click.option("--target", help="Label column of the CSV, or label array of the NPZ file."),
    click.option("--data-dir", help="Folder of the four Fashion-MNIST files."),
)  # fmt: skip

model_options = together(
    click.option("--hidden", type=NumberList(), default="64,64", show_default=True, help="Hidden layer sizes."),
    click.option("--activation", type=click.Choice(ACTIVATIONS), default="relu", show_default=True),
    click.option("--kernel-initializer", type=click.Choice(KERNEL_INITIALIZERS), default="he_normal",
                 show_default=True),
    click.option("--norm-position", type=click.Choice(("before", "after")), default="before", show_default=True,
                 help="Norm before or after the activation."),
    click.option("--norm-momentum", type=click.FloatRange(0, 1), default=0.9, show_default=True,
                 help="Share of the moving statistics kept at each step (Keras' convention)."),
    click.option("--dropout", type=click.FloatRange(0, 1, max_open=True), default=0.0, show_default=True),
    click.option("--learning-rate", type=click.FloatRange(0, min_open=True), default=0.001, show_default=True,
                 help="Adam's learning rate."),
)  # fmt: skip
