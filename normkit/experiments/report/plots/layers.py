"""What runs with `--diagnose` saw inside the network: a quantity of each layer after each epoch."""

import numpy as np

from normkit.experiments.records import Run
from normkit.experiments.report.plots.style import Look, Plot, figure, legend, plain, printable, sign
from normkit.experiments.report.sections import Section
from normkit.experiments.report.texts import number

_PLACE = ("epoch", "layer")  # of an entry; everything else that is a number is a quantity


def of_batch_size(section: Section, size: int, looks: dict[str, Look], name: str) -> Plot | None:
    """Draw each quantity of each layer against the epoch at one batch size; None where no run has any."""
    chosen = [cell.config for cell in section.chosen() if cell.config.batch_size == size]
    runs = [run for run in section.runs if run.config in chosen and run.diagnostics]
    table = _table(runs)
    if not table:
        return None
    layers = list(dict.fromkeys(layer for _, layer, _ in table))
    quantities = list(dict.fromkeys(quantity for quantity, _, _ in table))
    made, axes = figure(len(quantities), len(layers), 1 + 2.6 * len(layers), 2.1 * len(quantities) + 0.6)
    plot = Plot(name, f"Inside the network, batch size {size}", "Mean over the runs, a column a layer.", made)
    signs: dict = {}
    for quantity, row in zip(quantities, axes):
        for layer, axis in zip(layers, row):
            found = ((choice, table.get((quantity, layer, choice))) for choice in section.choices)
            lines = {choice: line for choice, line in found if line is not None}
            for choice, (epochs, values) in lines.items():
                look = looks[choice]
                marker = look.marker if len(epochs) == 1 else None
                axis.plot(epochs, values, linestyle=look.line, color=look.colour, marker=marker, linewidth=1.4)
                signs.setdefault(plain(choice), sign("", Look(look.colour, "", look.line)))
            if not lines:
                axis.remove()
                continue
            what = printable(quantity).replace("pre_", "pre-").replace("_", " ")
            where = printable(layer)
            axis.set(title=plain(f"{where}: {what}"), xlabel="epoch")
            axis.grid(True)
            axis.xaxis.get_major_locator().set_params(integer=True)
            _spots(axis, lines, plot, f"Batch size {size}, {where}, {what}")
    legend(made, signs)
    return plot


def _table(runs: list[Run]) -> dict[tuple, tuple[list[int], np.ndarray]]:
    """Return {(quantity, layer, choice): (epochs, mean over the runs)}."""
    values: dict[tuple, dict[int, list[float]]] = {}
    for run in runs:
        for entry in run.diagnostics or []:
            for quantity, value in entry.items():
                is_number = isinstance(value, int | float) and not isinstance(value, bool)
                if quantity not in _PLACE and is_number and np.isfinite(value):
                    key = quantity, _layer(entry), run.config.choice
                    values.setdefault(key, {}).setdefault(int(entry.get("epoch", 0)), []).append(value)
    return {
        key: (sorted(seen), np.array([np.mean(seen[epoch]) for epoch in sorted(seen)])) for key, seen in values.items()
    }


def _layer(entry: dict) -> str:
    return str(entry.get("name", f"layer {entry.get('layer', 0)}"))


def _spots(axis, lines: dict[str, tuple[list[int], np.ndarray]], plot: Plot, head: str) -> None:
    from matplotlib.patches import Rectangle

    every = sorted({epoch for epochs, _ in lines.values() for epoch in epochs})
    step = max(len(every) // 25, 1)
    for epoch in every[::-1][::step][::-1]:
        told = [
            f"{choice}: {number(float(values[epochs.index(epoch)]))}"
            for choice, (epochs, values) in lines.items()
            if epoch in epochs
        ]
        strip = Rectangle((epoch - step / 2, 0), step, 1, transform=axis.get_xaxis_transform(), fill=False)
        strip.set(edgecolor="none", linewidth=0, gid=plot.spot("\n".join([f"{head}, epoch {epoch}", *told])), zorder=5)
        axis.add_patch(strip)
    if every:
        axis.set_xlim(every[0] - max(step / 2, len(every) / 40), every[-1] + max(step / 2, len(every) / 40))
