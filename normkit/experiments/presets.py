"""Published experiments, as configurations for data at hand, with what was published beside them.

A preset is values of flags; flags and a configuration file override them. Figures stand here only where the paper
prints them in a table; curves are told in words.
"""

from dataclasses import dataclass, field
from typing import Any

from normkit.experiments.records import Summary


@dataclass(frozen=True)
class Published:
    """A figure of a paper."""

    batch_size: int
    choice: str
    value: float


@dataclass(frozen=True)
class Preset:
    """Values of flags, and what the paper found.

    `measures` is what the figures are, in the paper's unit: "error in %" is compared with 100 (1 - accuracy).
    """

    source: str
    setting: str  # of the paper, where it is not that of the flags
    found: str
    values: dict[str, Any] = field(default_factory=dict)
    measures: str = "error in %"
    figures: tuple[Published, ...] = ()

    @property
    def sentences(self) -> list[str]:
        """What was published, and in which setting."""
        return [f"Published: {self.source}: {self.found}.", f"There: {self.setting}."]

    def beside(self, summary: Summary) -> list[tuple[Published, float | None]]:
        """Return the published figures, each with what was found here at its batch size, in the same unit."""
        if summary.metric != "accuracy":
            return []
        # of several cells of a choice that which stands for it, which alone has such a probability
        cells = sorted(reversed(summary.cells), key=lambda cell: cell.probability_best is not None)
        scores = {(cell.config.batch_size, cell.choice): cell.test_score for cell in cells}
        found = [(figure, scores.get((figure.batch_size, figure.choice))) for figure in self.figures]
        return [(figure, None if score is None else 100 * (1 - score)) for figure, score in found]


def _figures(sizes, **rows):
    return tuple(Published(size, norm, value) for norm, row in rows.items() for size, value in zip(sizes, row))


PRESETS = {
    "group-norm": Preset(
        source="Wu and He 2018, Group Normalization, table 2 (arXiv:1803.08494)",
        setting="ResNet-50 on ImageNet; batch sizes are images per GPU, of 8 GPUs; 32 groups",
        found="batch norm's error rises below 16 images a batch, group norm's stays",
        values={
            "batch_sizes": [2, 4, 8, 16, 32, 64, 128], "norms": ["none", "batch", "layer", "group"],
            "hidden": [[64, 64]], "solver": "sgd", "momentum": 0.9, "weight_decay": 1e-4, "learning_rates": [0.1],
            "lr_scaling": "linear", "base_batch_size": 32, "norm_momentum": 0.9,
        },
        figures=_figures(
            [32, 16, 8, 4, 2], batch=[23.6, 23.7, 24.8, 27.3, 34.7], group=[24.1, 24.2, 24.0, 24.2, 24.1]
        ),
    ),
    "ghost": Preset(
        source="Hoffer, Hubara and Soudry 2017, Train longer, generalize better (arXiv:1705.08741)",
        setting="their network F1 on MNIST: batch sizes 128 and 4096, ghost batches of 128",
        found="large batches generalize worse; a larger learning rate and ghost batches win back a part of it, as many "
        "updates as the small batch makes (--budget updates) all of it",
        values={
            "batch_sizes": [128, 4096], "norms": ["batch", "ghost"], "baseline": "batch", "hidden": [[512] * 5],
            "solver": "sgd", "learning_rates": [0.1], "momentum": 0.9, "weight_decay": 1e-4,
            "virtual_batch_size": 128, "lr_scaling": "sqrt", "base_batch_size": 128,
        },
    ),
    "bn-paper": Preset(
        source="Ioffe and Szegedy 2015, Batch Normalization, section 4.1 (arXiv:1502.03167)",
        setting="MNIST, first weights small and Gaussian, 50,000 steps; the learning rate is not told",
        found="with batch norm the test accuracy rises faster, and higher",
        values={
            "batch_sizes": [60], "norms": ["none", "batch"], "hidden": [[100] * 3], "activations": ["logistic"],
            "initializers": ["glorot_normal"], "solver": "sgd", "momentum": 0.0, "learning_rates": [0.1],
            "budget": "updates", "updates": 50_000,
        },
    ),
    "learning-rates": Preset(
        source="Bjorck, Gomes, Selman and Weinberger 2018, Understanding Batch Normalization (arXiv:1806.02375)",
        setting="ResNet-110 on CIFAR-10, batches of 128, learning rates 0.0001, 0.003 and 0.1",
        found="at 0.0001 both do alike; at the larger ones the network without norm diverges, and that with batch norm "
        "does better than at 0.0001",
        values={
            "batch_sizes": [128], "norms": ["none", "batch"], "hidden": [[64] * 10], "solver": "sgd",
            "momentum": 0.9, "weight_decay": 5e-4,
            "learning_rates": [0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0],
        },
    ),
    "noisy-bn": Preset(
        source="Santurkar, Tsipras, Ilyas and Madry 2018, How Does Batch Normalization Help Optimization? "
        "(arXiv:1805.11604)",
        setting="VGG on CIFAR-10; after each batch norm noise whose mean and spread are drawn anew at each step",
        found="noise that makes what layers see less stable than without norm leaves batch norm's advantage as it was",
        values={
            "batch_sizes": [128], "norms": ["none", "batch"], "norm_noises": [0.0, 0.5], "hidden": [[64] * 8],
            "solver": "sgd", "momentum": 0.9, "weight_decay": 5e-4, "learning_rates": [0.1],
        },
    ),
}  # fmt: skip
