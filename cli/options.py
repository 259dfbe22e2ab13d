"""Parameter types and options that commands share."""

import math

import click


class NumberList(click.ParamType):
    """Comma-separated positive integers."""

    name = "N,N,..."

    def convert(self, value, param, ctx):
        """Return a list of integers, or fail with one line."""
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


class FiniteRange(click.FloatRange):
    """A range of numbers without NaN, which passes every comparison, and without infinity."""

    def convert(self, value, param, ctx):
        """Return a finite number of the range, or fail with one line."""
        number = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value!r} is not a finite number", param, ctx)
        return number


NORMS = ("none", "batch", "layer", "rms", "group", "ghost", "renorm", "dyt")
BATCH_NORMS = ("batch", "ghost", "renorm")
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


model_options = together(
    click.option("--hidden", type=NumberList(), default="64,64", show_default=True,
                 help="Hidden layer sizes."),
    click.option("--activation", type=click.Choice(ACTIVATIONS), default="relu", show_default=True),
    click.option("--kernel-initializer", type=click.Choice(KERNEL_INITIALIZERS), default="he_normal",
                 show_default=True),
    click.option("--norm-position", type=click.Choice(("before", "after")), default="before",
                 show_default=True, help="Norm before or after the activation."),
    click.option("--norm-momentum", type=FiniteRange(0, 1), default=0.9, show_default=True,
                 help="Share of the moving statistics kept at each step (Keras' convention)."),
    click.option("--norm-groups", type=click.IntRange(1), default=8, show_default=True,
                 help="Groups of the group norm; must divide the width of each layer."),
    click.option("--virtual-batch-size", type=click.IntRange(2), default=32, show_default=True,
                 help="Rows that the ghost norm normalizes together."),
    click.option("--dropout", type=FiniteRange(0, 1, max_open=True), default=0.0, show_default=True),
    click.option("--learning-rate", type=FiniteRange(0, min_open=True), default=0.001, show_default=True,
                 help="Adam's learning rate."),
)  # fmt: skip


def check_groups(norms, widths, groups):
    """Return what is wrong with the groups of a group norm on layers of these widths, or None."""
    wrong = [width for width in widths if width % groups or width < 2 * groups]
    if "group" not in norms or not wrong:
        return None
    return f"--norm-groups {groups} must divide a layer of {wrong[0]} into groups of at least 2 features"


def estimator_parameters(model: dict) -> dict:
    """Translate the values of `model_options` into the estimator's parameters."""
    names = {"hidden": "hidden_layer_sizes", "learning_rate": "learning_rate_init"}
    return {names.get(name, name): value for name, value in model.items()}


def compiling_notice(console):
    """Context that tells on a console when compilation takes longer than a second."""
    from normkit._jit import tell_when_compiling

    return tell_when_compiling(lambda: console.print("Compiling, about 25 seconds; the machine code is kept."))
