"""Parameter types and options that commands share."""

import math

import click


class NumberList(click.ParamType):
    """Comma-separated positive integers."""

    name = "N,N,..."

    def convert(self, value, param, ctx):
        """Return a list of integers, or fail with one line."""
        try:
            numbers = [int(part) for part in value.split(",")]
        except ValueError:
            self.fail(f"{value!r} is not a list of whole numbers like 8,32,128", param, ctx)
        if min(numbers) < 1:
            self.fail(f"every number must be at least 1, got {min(numbers)}", param, ctx)
        return numbers


class FloatList(click.ParamType):
    """Comma-separated finite numbers of a range."""

    name = "X,X,..."

    def __init__(self, low, high=math.inf, low_open=False, high_open=False):
        self._range = FiniteRange(low, high, min_open=low_open, max_open=high_open)

    def convert(self, value, param, ctx):
        """Return a list of numbers, or fail with one line."""
        return list(dict.fromkeys(self._range.convert(part, param, ctx) for part in value.split(",")))


class ChoiceList(click.ParamType):
    """Comma-separated names out of a set."""

    name = "NAME,..."

    def __init__(self, choices):
        self.choices = tuple(choices)

    def convert(self, value, param, ctx):
        """Return a list of distinct names, or fail with one line."""
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


_norm_options = together(
    click.option("--norm-momentum", type=FiniteRange(0, 1), default=0.9, show_default=True,
                 help="Share of the moving statistics kept at each step (Keras' convention)."),
    click.option("--norm-epsilon", type=FiniteRange(0, min_open=True), default=0.001, show_default=True,
                 help="Added to the variance."),
    click.option("--norm-groups", type=click.IntRange(1), default=8, show_default=True,
                 help="Groups of the group norm; must divide the width of each layer."),
    click.option("--virtual-batch-size", type=click.IntRange(2), default=32, show_default=True,
                 help="Rows that the ghost norm normalizes together."),
)  # fmt: skip

solver_options = together(
    click.option("--solver", type=click.Choice(("adam", "sgd")), default="adam", show_default=True),
    click.option("--momentum", type=FiniteRange(0, 1), default=0.9, show_default=True, help="Of solver sgd."),
    click.option("--weight-decay", type=FiniteRange(0), default=0.0, show_default=True,
                 help="This times a weight is added to its gradient."),
)  # fmt: skip

model_options = together(
    click.option("--hidden", type=NumberList(), default="64,64", show_default=True,
                 help="Hidden layer sizes."),
    click.option("--activation", type=click.Choice(ACTIVATIONS), default="relu", show_default=True),
    click.option("--kernel-initializer", type=click.Choice(KERNEL_INITIALIZERS), default="he_normal",
                 show_default=True),
    click.option("--norm-position", type=click.Choice(("before", "after")), default="before",
                 show_default=True, help="Norm before or after the activation."),
    _norm_options,
    click.option("--dropout", type=FiniteRange(0, 1, max_open=True), default=0.0, show_default=True),
    click.option("--learning-rate", type=FiniteRange(0, min_open=True), default=0.001, show_default=True,
                 help="Learning rate."),
)  # fmt: skip


def _among(names):
    return f"Among {', '.join(names)}."


grid_options = together(
    click.option("--batch-sizes", type=NumberList(), default="8,32,128", show_default=True),
    click.option("--norms", type=ChoiceList(NORMS), default="none,batch,layer", show_default=True,
                 help=_among(NORMS)),
    click.option("--positions", "--norm-position", "positions", type=ChoiceList(("before", "after")),
                 default="before", show_default=True, help="Norm before or after the activation."),
    click.option("--learning-rates", "--learning-rate", "learning_rates", type=FloatList(0, low_open=True),
                 default="0.001", show_default=True),
    click.option("--lr-scaling", type=click.Choice(("none", "sqrt", "linear")), default="none", show_default=True,
                 help="How learning rates follow the batch size."),
    click.option("--base-batch-size", type=click.IntRange(1), metavar="N",
                 help="Where the learning rate is as given.  [default: the smallest]"),
    click.option("--hidden", type=NumberList(), multiple=True, default=("64,64",), show_default="64,64",
                 help="Hidden layer sizes; give it again for another network."),
    click.option("--activations", "--activation", "activations", type=ChoiceList(ACTIVATIONS), default="relu",
                 show_default=True, help=_among(ACTIVATIONS)),
    click.option("--initializers", "--kernel-initializer", "initializers", type=ChoiceList(KERNEL_INITIALIZERS),
                 default="he_normal", show_default=True, help=f"Of the first weights. {_among(KERNEL_INITIALIZERS)}"),
    click.option("--dropouts", "--dropout", "dropouts", type=FloatList(0, 1, high_open=True), default="0",
                 show_default=True),
    click.option("--norm-noises", type=FloatList(0), default="0", show_default=True,
                 help="Strength of noise after each norm, in training."),
)  # fmt: skip

training_options = together(
    click.option("--budget", type=click.Choice(("epochs", "updates")), default="epochs", show_default=True,
                 help="What is the same at all batch sizes."),
    click.option("--epochs", type=click.IntRange(1), default=20, show_default=True),
    click.option("--updates", type=click.IntRange(1), metavar="N",
                 help="Steps of the optimizer.  [default: those of --epochs at the base batch size]"),
    solver_options,
    _norm_options,
)  # fmt: skip
