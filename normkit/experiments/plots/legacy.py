"""Plots; matplotlib is imported when one is drawn."""

import io
from pathlib import Path

import numpy as np

from normkit.experiments.results import write

# Okabe and Ito's palette: told apart with any colour vision
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")


def _figure(rows: int, columns: int, size: tuple[float, float]):
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots(rows, columns, squeeze=False)


def _save(figure, path):
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120)
    write(Path(path), buffer.getvalue())


def _style(axis, title, x, y):
    axis.set(title=title, xlabel=x, ylabel=y)
    axis.grid(alpha=0.3)
    axis.spines[["top", "right"]].set_visible(False)


def accuracy_against_batch_size(path, cells) -> None:
    """Test accuracy with its interval against the batch size, one line a normalization."""
    figure, axes = _figure(1, 1, (6.4, 4.2))
    axis = axes[0][0]
    norms = list(dict.fromkeys(cell.normalization for cell in cells))
    for i, norm in enumerate(norms):
        row = [c for c in cells if c.normalization == norm and c.test_accuracy is not None]
        row.sort(key=lambda cell: cell.batch_size)
        # a small factor keeps the bars of one batch size apart
        x = [cell.batch_size * 1.04 ** (i - (len(norms) - 1) / 2) for cell in row]
        y, error = [c.test_accuracy for c in row], [c.half_width or 0.0 for c in row]
        axis.errorbar(x, y, error, marker="o", capsize=3, label=norm, color=_COLOURS[i % len(_COLOURS)])
    sizes = sorted({cell.batch_size for cell in cells})
    axis.set_xscale("log", base=2)
    axis.set_xticks(sizes, [str(size) for size in sizes])
    axis.minorticks_off()
    bottom, top = axis.get_ylim()
    axis.set_ylim(max(bottom, -0.02), min(top, 1.02))  # a t interval may reach beyond what accuracy can be
    _style(axis, "Test accuracy, mean and 95 % interval over seeds", "batch size", "test accuracy")
    axis.legend(frameon=False)
    _save(figure, path)


def _draw_curves(row, named, colours):
    """Draw loss and accuracy on two axes: training dashed, validation solid, the mean over the runs."""
    for label, many in named.items():
        if not many:
            continue
        epochs = np.arange(1, len(many[0]) + 1)
        for axis, quantity in zip(row, ("loss", "accuracy")):
            for name, style, what in ((quantity, "--", "training"), (f"val_{quantity}", "-", "validation")):
                mean = np.mean([[getattr(epoch, name) for epoch in one] for one in many], axis=0)
                axis.plot(
                    epochs, mean, style, marker="." if len(epochs) < 20 else None,
                    color=colours[label], label=f"{label}, {what}",
                )  # fmt: skip


def curves(path, panels) -> None:
    """Loss and accuracy of training and validation per epoch, side by side, one row of axes a panel.

    `panels` maps a title to {label: list of curves, one a run}.
    """
    figure, axes = _figure(len(panels), 2, (11, 3.6 * len(panels)))
    labels = dict.fromkeys(label for named in panels.values() for label in named)
    colours = {label: _COLOURS[i % len(_COLOURS)] for i, label in enumerate(labels)}
    for row, (title, named) in zip(axes, panels.items()):
        _draw_curves(row, named, colours)
        for axis, quantity in zip(row, ("loss", "accuracy")):
            _style(axis, f"{title}: {quantity}" if title else quantity.capitalize(), "epoch", quantity)
            axis.xaxis.get_major_locator().set_params(integer=True)
    # one legend above all panels: inside them it covers lines
    lines = {line.get_label(): line for axis in axes.flat for line in axis.lines}
    figure.legend(lines.values(), lines.keys(), loc="outside upper center", ncols=min(len(lines), 6) or 1)
    _save(figure, path)


def curves_by_batch_size(path, runs) -> None:
    """Curves of an experiment, one row of axes a batch size, one colour a normalization."""
    panels: dict = {}
    for run in runs:
        named = panels.setdefault(f"Batch size {run.batch_size}", {}).setdefault(run.normalization, [])
        if run.status == "ok":
            named.append(run.curves)
    curves(path, panels)
