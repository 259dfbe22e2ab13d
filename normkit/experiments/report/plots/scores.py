"""Test score against batch size, as Wu and He (2018) draw it, and against the learning rate.

The score, not their error: the verdicts, the tables and R² (which has no error rate) speak of scores.
"""

import math

from normkit.experiments.records import Cell, metric_name
from normkit.experiments.report.plots.style import PAPER, Look, Plot, figure, legend, plain, sign
from normkit.experiments.report.sections import Section
from normkit.experiments.report.texts import score_text

_FLOOR = {"accuracy": 0.0, "r2": -1.0}  # R² has no least value; below -1 it tells nothing more
_BOTTOM = 0.035  # of the axis' height: where that is marked which has no place on it


def against_batch_size(section: Section, metric: str, looks: dict[str, Look], name: str) -> Plot:
    """Draw the mean test score and its interval against the batch size, one line a choice."""
    made, axes = figure(1, 1, 5.6, 4.0)
    title = f"Test {metric_name(metric)} against batch size"
    caption = "Mean and 95 % interval over the runs; the batch size on a logarithmic axis."
    if section.has_rates:
        caption += " Each choice at the learning rate that its validation score prefers."
    plot = Plot(name, title, caption, made)
    cells = section.chosen()
    axis = axes[0][0]
    points = [(float(cell.config.batch_size), cell) for cell in cells]
    signs, marks = _draw(axis, points, metric, looks, plot, lambda size: f"Batch size {size:g}", base=2)
    axis.set(xlabel="batch size", ylabel=f"test {metric_name(metric)}")
    legend(made, signs | marks)
    return plot


def against_learning_rate(section: Section, metric: str, looks: dict[str, Look], name: str) -> Plot:
    """Draw the mean test score against the learning rate, one panel a batch size and one line a choice."""
    sizes = section.batch_sizes
    columns = min(len(sizes), 2)
    rows = math.ceil(len(sizes) / columns)
    made, axes = figure(rows, columns, 5.6 if columns == 1 else 9, 2.9 * rows + 0.6)
    plot = Plot(name, "Which learning rates still train", "Mean and 95 % interval over the runs.", made)
    signs: dict = {}
    marks: dict = {}
    for size, axis in zip(sizes, axes.flat):
        points = [(cell.config.learning_rate, cell) for cell in section.cells if cell.config.batch_size == size]
        head = f"Batch size {size}, learning rate "
        found = _draw(axis, points, metric, looks, plot, lambda rate, head=head: f"{head}{rate:g}", base=10)
        signs, marks = signs | found[0], marks | found[1]
        axis.set(title=f"Batch size {size}", xlabel="learning rate", ylabel=f"test {metric_name(metric)}")
    for axis in list(axes.flat)[len(sizes) :]:
        axis.remove()
    legend(made, signs | marks)
    return plot


def _draw(axis, points: list[tuple[float, Cell]], metric, looks, plot, head, base) -> tuple[dict, dict]:
    """Draw one line a choice through its points; return the legend's entries of choices and of marks."""
    places = sorted({x for x, _ in points})
    choices = list(dict.fromkeys(cell.choice for _, cell in points))
    low, bottom, high = _limits([cell for _, cell in points], metric)
    spread = _spread(places, len(choices))
    signs: dict = {}
    marks: dict = {}
    for i, choice in enumerate(choices):
        look = looks[choice]
        signs[plain(choice)] = sign(plain(choice), look)
        shift = spread ** (i - (len(choices) - 1) / 2)  # keeps the bars of one place apart
        own = sorted((x * shift, cell) for x, cell in _by_place(points, choice))
        marks |= _line(axis, own, look, bottom)
    axis.set_ylim(low, high)
    axis.set_xscale("log", base=base)
    edges = _edges(places)
    axis.set_xlim(edges[0], edges[-1])
    crowded = base == 10 and len(places) > 6
    shown = places[:: math.ceil(len(places) / 6)] if crowded else places
    axis.set_xticks(shown, [f"{x:g}" for x in shown])
    axis.minorticks_off()
    axis.grid(True)
    axis.set_axisbelow(True)
    _spots(axis, places, edges, points, plot, head)
    if all(cell.test_score is None for _, cell in points):
        axis.text(0.5, 0.5, "no run came to an end", transform=axis.transAxes, ha="center")
        axis.set_yticks([])
    return signs, marks


def _by_place(points, choice):
    # a tuple with the cell as second member could not be sorted where two places agree
    return {x: cell for x, cell in points if cell.choice == choice}.items()


def _line(axis, own, look: Look, bottom: float) -> dict:
    """Draw the line of one choice, and under the bottom what has no place on the axis."""
    marks = {}
    style = {"color": look.colour, "clip_on": False, "zorder": 3}
    # a gap where there is no score: a line across it would claim one
    scores = [math.nan if cell.test_score is None or cell.test_score < bottom else cell.test_score for _, cell in own]
    axis.plot([x for x, _ in own], scores, look.line, color=look.colour, zorder=2)
    for (x, cell), score in zip(own, scores):
        if cell.test_score is None:
            axis.plot([x], [_BOTTOM], "x", transform=axis.get_xaxis_transform(), markersize=6, **style)
            marks["no run ended" if cell.failed else "every run diverged"] = sign("", linestyle="", marker="x")
        elif math.isnan(score):
            arrow = r"$\downarrow$"
            axis.plot([x], [_BOTTOM], marker=arrow, transform=axis.get_xaxis_transform(), markersize=7, **style)
            marks[f"below {bottom:.3g}"] = sign("", linestyle="", marker=arrow)
        else:
            trouble = cell.diverged + cell.failed
            face = PAPER if trouble else look.colour
            if cell.low is not None and cell.high is not None:
                axis.plot([x, x], [cell.low, cell.high], color=look.colour, linewidth=1.1, marker="_", markersize=5)
            axis.plot([x], [score], look.marker, markersize=5.5, markerfacecolor=face, **style)
            if trouble:
                marks["some runs did not end" if cell.failed else "some runs diverged"] = sign(
                    "", linestyle="", marker="o", markerfacecolor=PAPER
                )
    return marks


def _limits(cells: list[Cell], metric: str) -> tuple[float, float, float]:
    """Return where the score's axis begins, which score is its least, and where it ends.

    All means are between, unless they are below what the metric can tell; of wide intervals only a part.
    """
    floor = _FLOOR.get(metric, -math.inf)
    means = [cell.test_score for cell in cells if cell.test_score is not None and cell.test_score >= floor]
    if not means:
        return -0.15, 0.0, 1.0
    lows = [cell.low for cell in cells if cell.low is not None] + means
    highs = [cell.high for cell in cells if cell.high is not None] + means
    # a t interval over two runs can be wider than the axis, and would press all lines into one
    reach = 2 * max(max(means) - min(means), 0.01)
    bottom = max(min(lows), min(means) - reach, floor)
    top = min(max(highs), max(means) + reach, 1.0)
    span = max(top - bottom, 0.01)
    marked = any(cell.test_score is None or cell.test_score < bottom for cell in cells)
    return bottom - span * (0.15 if marked else 0.05), bottom, bottom + 1.05 * span


def _spread(places: list[float], lines: int) -> float:
    """Return the factor between neighbouring lines at one place: together six tenths of the way to the next."""
    gap = min((b / a for a, b in zip(places, places[1:])), default=4.0)
    return min(gap ** (0.6 / max(lines, 1)), 1.12)


def _edges(places: list[float]) -> list[float]:
    """Return the borders between the places, half way on a logarithmic axis."""
    inner = [math.sqrt(a * b) for a, b in zip(places, places[1:])]
    first = places[0] / (inner[0] / places[0] if inner else 2.0)
    last = places[-1] * (places[-1] / inner[-1] if inner else 2.0)
    return [first, *inner, last]


def _spots(axis, places, edges, points, plot: Plot, head) -> None:
    """Lay a strip over each place that tells the values of all choices there, the best first."""
    from matplotlib.patches import Rectangle

    for x, left, right in zip(places, edges, edges[1:]):
        here = [cell for place, cell in points if place == x]
        here.sort(key=lambda cell: -math.inf if cell.test_score is None else cell.test_score, reverse=True)
        text = "\n".join([head(x), *(f"{cell.choice}: {score_text(cell)}" for cell in here)])
        strip = Rectangle((left, 0), right - left, 1, transform=axis.get_xaxis_transform(), fill=False, linewidth=0)
        strip.set(edgecolor="none", gid=plot.spot(text), zorder=5)
        axis.add_patch(strip)
