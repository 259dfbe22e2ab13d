"""How one model does on a test set, drawn: the confusion matrix of labels, predicted against true values."""

import numpy as np

from normkit.experiments.data.targets import r2_of
from normkit.experiments.report.plots.style import COLOURS, INK, Plot, drawing, figure, plain

_LABELLED, _COUNTED = 40, 20  # classes up to which rows have names, cells have counts
_DOTS = 5000  # rows up to which each has a dot


def confusion(y: np.ndarray, predictions: np.ndarray, classes: np.ndarray) -> Plot:
    """Draw the confusion matrix: a row a true class, a column a predicted one, colour by the share of the row."""
    from sklearn.metrics import confusion_matrix

    counts = confusion_matrix(y, predictions, labels=classes)  # (true, predicted)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    n = len(classes)
    accuracy = counts.trace() / max(counts.sum(), 1)
    title = f"Test set: accuracy {accuracy:.4f}, {counts.sum():,} rows"
    plot = Plot("confusion", title, "", None)
    names = [_short(label) for label in classes.tolist()]
    longest = max(map(len, names)) if n <= _LABELLED else 0
    size = 2.2 + min(0.42 * n, 8) + 0.06 * longest
    with drawing():
        plot.figure, axes = figure(1, 1, size + 0.6, size)
        axis = axes[0][0]
        image = axis.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        plot.figure.colorbar(image, ax=axis, shrink=0.8, label="share of the true class").outline.set_visible(False)
        axis.set(title=title, xlabel="predicted", ylabel="true")
        axis.spines[:].set_visible(False)
        if n <= _LABELLED:
            turned = {"rotation": 90} if longest > 3 else {}
            axis.set_xticks(range(n), names, **turned)
            axis.set_yticks(range(n), names)
        axis.tick_params(length=0)
        for i, j in np.argwhere(counts) if n <= _COUNTED else ():
            colour = "white" if shares[i, j] > 0.5 else INK
            axis.text(j, i, f"{counts[i, j]}", ha="center", va="center", color=colour, fontsize=8)
    return plot


def predicted_against_true(y: np.ndarray, predictions: np.ndarray, target: str | None) -> Plot:
    """Draw predicted against true values of a regression, in the units of the target."""
    from sklearn.metrics import root_mean_squared_error

    r2, error = r2_of(y, predictions), root_mean_squared_error(y, predictions)
    title = f"Test set: R² {r2:.4f}, root mean squared error {error:.4g}, {len(y):,} rows"
    plot = Plot("predictions", title, "", None)
    low, high = float(min(y.min(), predictions.min())), float(max(y.max(), predictions.max()))
    margin = 0.03 * (high - low or 1.0)
    limits = low - margin, high + margin
    name = _short(target or "target", 40)
    with drawing():
        plot.figure, axes = figure(1, 1, 5.4, 5.2)
        axis = axes[0][0]
        if len(y) <= _DOTS:
            axis.plot(y, predictions, "o", markersize=3, alpha=0.5, color=COLOURS[1], markeredgewidth=0)
        else:
            drawn = axis.hexbin(y, predictions, gridsize=60, bins="log", mincnt=1, cmap="Blues")
            plot.figure.colorbar(drawn, ax=axis, shrink=0.8, label="rows").outline.set_visible(False)
        axis.plot(limits, limits, color=INK, linewidth=0.8, linestyle="--")
        axis.set(
            title=title, xlabel=f"true {name}", ylabel=f"predicted {name}", xlim=limits, ylim=limits, aspect="equal"
        )
        axis.grid(True)
    return plot


def _short(label, length: int = 20) -> str:
    text = str(label)
    return plain(text if len(text) <= length else f"{text[: length - 1]}…")
