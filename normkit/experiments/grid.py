"""The grid of an experiment: every combination of what is compared, and the rules that tie it to the batch size."""

import itertools
import math
from collections.abc import Iterable
from dataclasses import dataclass, field, fields

from normkit.engine.network import batch_edges
from normkit.engine.norms import NORMS
from normkit.experiments.errors import DataError
from normkit.experiments.records import Condition

LR_SCALING = ("none", "sqrt", "linear")
BUDGETS = ("epochs", "updates")


@dataclass(frozen=True)
class Grid:
    """What is compared, and how. Every list is crossed with every other.

    Examples
    --------
    >>> from normkit.experiments.grid import Grid
    >>> grid = Grid(norms=["none", "batch"], batch_sizes=[8, 32], lr_scaling="linear")
    >>> [(c.normalization, c.batch_size, c.learning_rate) for c in grid.conditions(rows=100)]
    [('none', 8, 0.001), ('batch', 8, 0.001), ('none', 32, 0.004), ('batch', 32, 0.004)]
    """

    norms: list[str] = field(default_factory=lambda: ["none", "batch", "layer"])
    positions: list[str] = field(default_factory=lambda: ["before"])
    batch_sizes: list[int] = field(default_factory=lambda: [8, 32, 128])
    learning_rates: list[float] = field(default_factory=lambda: [0.001])
    activations: list[str] = field(default_factory=lambda: ["relu"])
    hidden: list[list[int]] = field(default_factory=lambda: [[64, 64]])
    dropouts: list[float] = field(default_factory=lambda: [0.0])
    initializers: list[str] = field(default_factory=lambda: ["he_normal"])
    norm_noises: list[float] = field(default_factory=lambda: [0.0])
    lr_scaling: str = "none"
    base_batch_size: int | None = None  # where the learning rate is as given; None: the smallest
    budget: str = "epochs"
    epochs: int = 20
    updates: int | None = None  # with budget "updates"; None: what the base batch size makes in `epochs`
    solver: str = "adam"
    momentum: float = 0.9
    weight_decay: float = 0.0
    norm_momentum: float = 0.9
    norm_epsilon: float = 1e-3
    norm_groups: int = 8
    virtual_batch_size: int = 32

    def __post_init__(self):
        for name, known in (("lr_scaling", LR_SCALING), ("budget", BUDGETS)):
            if getattr(self, name) not in known:
                flag = f"--{name.replace('_', '-')}"
                raise DataError(f"{flag} must be one of {', '.join(known)}, got {getattr(self, name)!r}")
        for f in fields(self):
            if getattr(self, f.name) == []:
                raise DataError(f"--{f.name.replace('_', '-')} needs a value at least")
        over_batch = [norm for norm in self.norms if NORMS[None if norm == "none" else norm].moving]
        if min(self.batch_sizes) == 1 and over_batch:
            raise DataError(
                "batch normalization needs batches of 2 samples at least, since one sample has no variance: "
                f"leave 1 out of --batch-sizes or {', '.join(over_batch)} out of --norms"
            )
        for norm in self.norms:
            check_widths(norm, self.norm_groups, itertools.chain(*self.hidden))

    def _base(self, rows: int) -> int:
        return self.base_batch_size or min(self.sizes(rows))

    def sizes(self, rows: int) -> list[int]:
        """Return the distinct batch sizes, none larger than a training set of `rows`."""
        return list(dict.fromkeys(min(size, rows) for size in self.batch_sizes))

    def learning_rate(self, rate: float, batch_size: int, rows: int) -> float:
        """Return the learning rate used at a batch size, for one that is given and a training set of `rows`."""
        power = {"none": 0.0, "sqrt": 0.5, "linear": 1.0}[self.lr_scaling]
        return rate * (batch_size / self._base(rows)) ** power

    def _updates(self, rows: int) -> int:
        return self.updates or self.epochs * steps_per_epoch(rows, min(self._base(rows), rows))

    def epochs_at(self, batch_size: int, rows: int) -> int:
        """Return the epochs at a batch size: as given, or as many whole ones as the updates take."""
        if self.budget == "epochs":
            return self.epochs
        return math.ceil(self._updates(rows) / steps_per_epoch(rows, batch_size))

    def conditions(self, rows: int) -> list[Condition]:
        """Return the cells of the grid for a training set of `rows`, without repetitions."""
        cells = []
        for hidden, activation, initializer, dropout, size, rate, norm, position, noise in itertools.product(
            self.hidden, self.activations, self.initializers, self.dropouts, self.sizes(rows), self.learning_rates,
            self.norms, self.positions, self.norm_noises,
        ):  # fmt: skip
            cells.append(
                Condition(
                    normalization=norm,
                    norm_position=position if norm != "none" else "before",
                    batch_size=size,
                    learning_rate=self.learning_rate(rate, size, rows),
                    epochs=self.epochs_at(size, rows),
                    hidden=tuple(hidden),
                    activation=activation,
                    kernel_initializer=initializer,
                    dropout=dropout,
                    norm_momentum=self.norm_momentum,
                    norm_epsilon=self.norm_epsilon,
                    norm_groups=self.norm_groups,
                    virtual_batch_size=self.virtual_batch_size,
                    norm_noise=noise if norm != "none" else 0.0,
                    solver=self.solver,
                    momentum=self.momentum,
                    weight_decay=self.weight_decay,
                )  # fmt: skip
            )
        return list(dict.fromkeys(cells))

    def choices(self) -> list[str]:
        """Return the choices that are compared, in order."""
        return list(dict.fromkeys(condition.choice for condition in self.conditions(rows=max(self.batch_sizes))))

    def rules(self, rows: int) -> list[str]:
        """Return in words how much a run is trained, and how learning rates follow the batch size."""
        sizes = self.sizes(rows)
        if self.budget == "epochs":
            budget = f"epochs {self.epochs}"
        else:
            each = ", ".join(f"{self.epochs_at(size, rows)} at batch size {size}" for size in sizes)
            budget = f"as many whole epochs as {self._updates(rows):,} updates take ({each})"
        rates = ", ".join(f"{rate:g}" for rate in self.learning_rates)
        rate = f"learning rate{'s' if len(self.learning_rates) > 1 else ''} {rates}"
        if self.lr_scaling == "none":
            return [budget, f"{rate} at every batch size"]
        how = "the batch size" if self.lr_scaling == "linear" else "the square root of the batch size"
        first = self.learning_rates[0]
        each = ", ".join(f"{self.learning_rate(first, size, rows):.4g} at {size}" for size in sizes)
        return [budget, f"{rate} at batch size {self._base(rows)}, in proportion to {how} ({each})"]


def check_widths(norm: str, groups: int, widths: Iterable[int]) -> None:
    """Raise a `DataError` unless a norm, of so many groups if it is "group", leaves layers of these widths to vary."""
    for width in widths:
        if norm == "layer" and width < 2:
            raise DataError("layer normalization makes a layer of 1 constant: it needs 2 features at least")
        if norm == "group" and (width % groups or width < 2 * groups):
            raise DataError(f"--norm-groups {groups} must divide a layer of {width} into groups of at least 2 features")


def steps_per_epoch(rows: int, batch_size: int, over_batch: bool = False) -> int:
    """Return the optimizer's steps in an epoch.

    Parameters
    ----------
    rows, batch_size : int
        Size of the training set and of its batches.
    over_batch : bool
        Whether a norm averages over the batch: a last batch of one row then joins the one before.
    """
    size = min(batch_size, rows)
    return len(batch_edges(rows, size, "merge" if over_batch and rows % size == 1 else "keep")) - 1
