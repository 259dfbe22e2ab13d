"""What belongs together in a plot: cells that differ in nothing but choice, batch size and learning rate."""

from dataclasses import dataclass, fields
from typing import Any

from normkit.experiments.records import Cell, Condition, Run, Summary
from normkit.experiments.report.texts import value_text
from normkit.experiments.statistics.candidates import by_condition, candidates

_AXES = ("normalization", "norm_position", "batch_size", "learning_rate")  # of the plots themselves
# what these say about a run is said only where its norm reads them
_READ_BY = {
    "norm_momentum": ("batch", "ghost", "renorm"),
    "virtual_batch_size": ("ghost",),
    "norm_groups": ("group",),
    "norm_epsilon": ("batch", "ghost", "renorm", "layer", "group", "rms"),
}


@dataclass
class Section:
    """Cells and runs that are compared with each other, and what tells them from the other sections."""

    label: str  # empty if there is one section only
    cells: list[Cell]
    runs: list[Run]

    @property
    def batch_sizes(self) -> list[int]:
        """The batch sizes of its cells, ascending."""
        return sorted({cell.config.batch_size for cell in self.cells})

    @property
    def choices(self) -> list[str]:
        """Its choices, in the order of the cells."""
        return list(dict.fromkeys(cell.choice for cell in self.cells))

    @property
    def has_rates(self) -> bool:
        """Whether several learning rates were tried at one batch size."""
        pairs = {(cell.config.batch_size, cell.config.learning_rate) for cell in self.cells}
        return len(pairs) > len(self.batch_sizes)

    def chosen(self) -> list[Cell]:
        """Return one cell a choice and batch size: at the learning rate that the validation set prefers."""
        conditions = chosen_conditions(self.runs)
        return [cell for cell in self.cells if cell.config in conditions]


def chosen_conditions(runs: list[Run]) -> set[Condition]:
    """Return the conditions that stand for their choice at their batch size, as in the verdicts."""
    return {candidate.config for group in candidates(by_condition(runs)).values() for candidate in group}


def best_conditions(summary: Summary, runs: list[Run]) -> set[Condition]:
    """Return the conditions that stand for the best choice of their batch size."""
    winners = {(verdict.batch_size, verdict.best) for verdict in summary.verdicts}
    return {config for config in chosen_conditions(runs) if (config.batch_size, config.choice) in winners}


def _key(config: Condition, names: list[str]) -> tuple[Any, ...]:
    """Return the values by which a condition is told from others, None for those that its norm does not read."""
    reads = [
        config.normalization in _READ_BY[name] if name in _READ_BY else
        config.normalization != "none" or name != "norm_noise"
        for name in names
    ]  # fmt: skip
    return tuple(getattr(config, name) if read else None for name, read in zip(names, reads))


def _includes(wide: tuple, narrow: tuple) -> bool:
    return all(a is None or a == b for a, b in zip(wide, narrow))


def differing(conditions: list[Condition]) -> list[str]:
    """Return the fields, those on the plots' axes aside, that have several values at one batch size."""
    names = [f.name for f in fields(Condition) if f.name not in _AXES]
    values: dict[tuple[str, int], set] = {}
    for config in conditions:
        for name, value in zip(names, _key(config, names)):
            if value is not None:
                values.setdefault((name, config.batch_size), set()).add(value)
    return [name for name in names if any(key[0] == name and len(found) > 1 for key, found in values.items())]


def sections(cells: list[Cell], runs: list[Run]) -> list[Section]:
    """Split the cells into sections; a cell whose norm does not read what tells them apart is in each."""
    names = differing([cell.config for cell in cells])
    keys = list(dict.fromkeys(_key(cell.config, names) for cell in cells))
    keys = [key for key in keys if not any(key != other and _includes(key, other) for other in keys)]
    return [
        Section(
            ", ".join(f"{name.replace('_', ' ')} {value_text(value)}" for name, value in zip(names, key)),
            [cell for cell in cells if _includes(_key(cell.config, names), key)],
            [run for run in runs if _includes(_key(run.config, names), key)],
        )
        for key in keys
    ]
