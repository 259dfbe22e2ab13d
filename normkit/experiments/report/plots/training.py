"""Curves of training: loss and score after each epoch."""

import math
from collections.abc import Iterable

import numpy as np

from normkit.experiments.records import Run, metric_name
from normkit.experiments.report.plots.style import COLOURS, Look, Plot, figure, legend, plain, sign
from normkit.experiments.report.sections import Section
from normkit.experiments.report.texts import number

_STRIPS = 50  # places of a panel that tell their values: more could not be hit


def of_section(section: Section, metric: str, looks: dict[str, Look], name: str) -> Plot:
    """Draw loss and score of training and validation set per epoch, one row of panels a batch size."""
    caption = "Mean over the runs that did not diverge: validation thick, training thin."
    if any(run.status == "diverged" for run in section.runs):
        caption += " A run that diverged is drawn as far as it came to the end of an epoch, which ✕ marks."
    chosen = {(cell.choice, cell.config.batch_size): cell.config for cell in section.chosen()}
    if section.has_rates:
        caption += " Each choice at the learning rate that its validation score prefers."
    panels = {
        f"Batch size {size}": {
            choice: [run for run in section.runs if run.config == chosen[choice, size]]
            for choice in section.choices
            if (choice, size) in chosen
        }
        for size in section.batch_sizes
    }
    return _draw(Plot(name, "Curves of training", caption, None), panels, metric, looks)


def of_model(curves: dict[str, list[float]], metric: str, label: str) -> Plot:
    """Draw the curves of one training, as `Run.curves` has them."""
    run = Run("", None, 0, 0, "ok", metric, 0, curves=curves)  # type: ignore[arg-type]
    plot = Plot("curves", "Curves of training", "Validation thick, training thin.", None)
    return _draw(plot, {"": {label: [run]}}, metric, {label: Look(COLOURS[1], "o", "-")})


def _draw(plot: Plot, panels: dict[str, dict[str, list[Run]]], metric: str, looks) -> Plot:
    plot.figure, axes = figure(len(panels), 2, 9, 2.8 * len(panels) + 0.5)
    signs: dict = {}
    for row, (title, named) in zip(axes, panels.items()):
        for axis, quantity in zip(row, ("loss", "score")):
            label = metric_name(metric) if quantity == "score" else "loss"
            signs |= _panel(axis, named, quantity, looks, plot, f"{title}, {label}" if title else label)
            axis.set(title=f"{title}: {label}" if title else label, xlabel="epoch", ylabel=label)
            axis.grid(True)
            axis.xaxis.get_major_locator().set_params(integer=True)
    if signs:
        signs["validation"] = sign("", linewidth=1.8)
        signs["training"] = sign("", linewidth=0.7)
    legend(plot.figure, signs)
    return plot


def _panel(axis, named: dict[str, list[Run]], quantity: str, looks, plot: Plot, head: str) -> dict:
    signs: dict = {}
    means: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    for choice, runs in named.items():
        look = looks[choice]
        style = {"color": look.colour, "linestyle": look.line}
        finished = [run.curves for run in runs if run.status == "ok"]
        train, validation = (mean_curve(curve.get(key, []) for curve in finished) for key in keys(quantity))
        if len(validation) or len(train):
            means[choice] = train, validation
            signs[plain(choice)] = sign("", Look(look.colour, "", look.line))
            axis.plot(np.arange(1, len(train) + 1), train, linewidth=0.7, **style)
            marker = look.marker if len(validation) == 1 else None
            axis.plot(np.arange(1, len(validation) + 1), validation, linewidth=1.8, marker=marker, **style)
    low, high = axis.get_ylim()
    for choice, runs in named.items():
        look = looks[choice]
        for curve in (run.curves.get(keys(quantity)[1], []) for run in runs if run.status == "diverged"):
            if curve:
                signs.setdefault(plain(choice), sign("", Look(look.colour, "", look.line)))
                signs["diverged"] = sign("", linestyle="", marker="x")
                _diverged(axis, curve, look)
    if means:
        _limits(axis, [*means.values()], low, high, quantity)
    _strips(axis, means, plot, head)
    return signs


def keys(quantity: str) -> tuple[str, str]:
    """Return the names of the training and the validation curve of "loss" or "score"."""
    return quantity, f"val_{quantity}"


def mean_curve(curves: Iterable[list[float]]) -> np.ndarray:
    """Return the mean over curves as far as all of them go, empty if there is none; NaN for null, which JSON has."""
    many = [curve for curve in curves if curve]
    shortest = min(map(len, many), default=0)
    return np.mean(np.array([curve[:shortest] for curve in many], float), axis=0) if many else np.empty(0)


def _diverged(axis, curve: list[float], look: Look) -> None:
    epochs = np.arange(1, len(curve) + 1)
    values = np.array(curve, float)
    axis.plot(epochs, values, linestyle=":", color=look.colour, linewidth=0.9, alpha=0.8)
    axis.plot(epochs[-1:], values[-1:], "x", color=look.colour, markersize=5)


def _limits(axis, means, low: float, high: float, quantity: str) -> None:
    """Let the finished runs set the limits: the last loss of a diverging run is astronomic."""
    values = np.concatenate([np.concatenate(pair) for pair in means])
    values = values[np.isfinite(values)]
    if not len(values):
        return
    least, most = float(values.min()), float(values.max())
    if quantity == "loss" and least > 0 and most / least > 30:
        axis.set_yscale("log")
        axis.minorticks_off()
        axis.set_ylim(least / 1.3, most * 1.3)
    elif quantity == "score":
        axis.set_ylim(max(low, -1.0 - 0.1), min(high, 1.02))
    else:
        axis.set_ylim(low, high)


def _strips(axis, means, plot: Plot, head: str) -> None:
    """Lay strips over the epochs that tell the values of all choices there."""
    from matplotlib.patches import Rectangle

    epochs = max((max(map(len, pair)) for pair in means.values()), default=0)
    step = math.ceil(epochs / _STRIPS) if epochs else 1
    for epoch in range(epochs, 0, -step)[::-1]:
        lines = []
        for choice, pair in means.items():
            train, validation = (number(float(c[epoch - 1])) if epoch <= len(c) else "–" for c in pair)
            lines.append(f"{choice}: validation {validation}, training {train}")
        text = "\n".join([f"{head}, epoch {epoch}", *lines])
        strip = Rectangle((epoch - step / 2, 0), step, 1, transform=axis.get_xaxis_transform(), fill=False)
        strip.set(edgecolor="none", linewidth=0, gid=plot.spot(text), zorder=5)
        axis.add_patch(strip)
    if epochs:
        axis.set_xlim(1 - max(step / 2, epochs / 40), epochs + max(step / 2, epochs / 40))
