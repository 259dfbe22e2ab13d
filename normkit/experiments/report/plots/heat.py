"""Heat maps: the score of each choice at each batch size or learning rate, with the number in the cell."""

from normkit.experiments.records import Cell, Condition, metric_name
from normkit.experiments.report.plots.style import Plot, figure, plain
from normkit.experiments.report.sections import Section
from normkit.experiments.report.texts import number, score_text, troubles

# these stay as they are in the report's dark scheme, since the colour of the cell under them stays
_DARK, _LIGHT, _EMPTY = "#0b0b0b", "#fdfdfd", "#dfe2e7"
_MEANING = {"★": "\nthe best", "≈": "\ntied with the best", "": ""}
_CAPTION = (
    "★ the best choice at its batch size; ≈ tied with it, no difference that the runs can show; "
    "div: runs that diverged, which the mean leaves out."
)


def by_batch_size(section: Section, metric: str, best: set[Condition], name: str) -> Plot:
    """Draw choice by batch size; `best` are the conditions of the choices that the verdicts name."""
    cells = section.chosen()
    caption = _CAPTION
    if section.has_rates:
        caption += " Each choice at the learning rate that its validation score prefers."
    columns = [(size, [cell for cell in cells if cell.config.batch_size == size]) for size in section.batch_sizes]
    plot = Plot(name, f"Test {metric_name(metric)} by choice and batch size", caption, None)
    return _draw(plot, [("", "batch size", columns)], section.choices, metric, best)


def by_learning_rate(section: Section, metric: str, best: set[Condition], name: str) -> Plot:
    """Draw choice by learning rate, one panel a batch size."""
    panels = []
    for size in section.batch_sizes:
        cells = [cell for cell in section.cells if cell.config.batch_size == size]
        rates = sorted({cell.config.learning_rate for cell in cells})
        columns = [(rate, [cell for cell in cells if cell.config.learning_rate == rate]) for rate in rates]
        panels.append((f"Batch size {size}", "learning rate", columns))
    plot = Plot(name, f"Test {metric_name(metric)} by choice and learning rate", _CAPTION, None)
    return _draw(plot, panels, section.choices, metric, best)


def _draw(plot: Plot, panels, choices: list[str], metric: str, best: set[Condition]) -> Plot:
    widest = max(len(columns) for _, _, columns in panels)
    long = max(map(len, choices))
    width = max(1.0 + 0.085 * long + 0.74 * widest, 4.2)
    height = (0.75 + 0.44 * len(choices)) * len(panels)
    plot.figure, axes = figure(len(panels), 1, width, height)
    scale = _scale([cell for _, _, columns in panels for _, cells in columns for cell in cells], metric)
    for (title, label, columns), axis in zip(panels, axes.flat):
        for x, (value, cells) in enumerate(columns):
            for y, choice in enumerate(choices):
                cell = next((cell for cell in cells if cell.choice == choice), None)
                if cell is None:
                    axis.text(x, y, "–", ha="center", va="center")
                    continue
                where = f"{title}, {label} {value:g}" if title else f"{label} {value:g}"
                mark = "★" if cell.config in best else "≈" if cell.tied else ""
                gid = plot.spot(f"{choice}, {where}\n{score_text(cell)}{_MEANING[mark]}")
                _square(axis, x, y, cell, scale, mark, gid)
        axis.set(xlim=(-0.5, len(columns) - 0.5), ylim=(len(choices) - 0.5, -0.5), title=title, xlabel=label)
        axis.set_xticks(range(len(columns)), [f"{value:g}" for value, _ in columns])
        axis.set_yticks(range(len(choices)), [plain(choice) for choice in choices])
        axis.tick_params(length=0)
        axis.spines[:].set_visible(False)
    return plot


def _scale(cells: list[Cell], metric: str):
    """Return what maps a score to a colour; R² below -1 is as dark as -1."""
    from matplotlib import colormaps
    from matplotlib.colors import Normalize

    scores = [cell.test_score for cell in cells if cell.test_score is not None]
    if metric == "r2":
        scores = [max(score, -1.0) for score in scores]
    low, high = (min(scores), max(scores)) if scores else (0.0, 1.0)
    # differences in the last digits are no reason for all the colours there are
    span = Normalize(min(low, high - 0.01), high, clip=True)
    return lambda score: colormaps["cividis"](span(score))


def _square(axis, x: int, y: int, cell: Cell, scale, mark: str, gid: str) -> None:
    from matplotlib.colors import to_hex, to_rgb
    from matplotlib.patches import Rectangle

    colour = to_hex(scale(cell.test_score)) if cell.test_score is not None else _EMPTY
    axis.add_patch(Rectangle((x - 0.48, y - 0.46), 0.96, 0.92, facecolor=colour, edgecolor="none", gid=gid))
    lines = [f"{number(cell.test_score, 3)} {mark}".rstrip()] if cell.test_score is not None else []
    lines += troubles(cell).split(", ") if troubles(cell) else []
    red, green, blue = to_rgb(colour)
    ink = _DARK if 0.299 * red + 0.587 * green + 0.114 * blue > 0.5 else _LIGHT
    axis.text(x, y, "\n".join(lines), ha="center", va="center", color=ink, fontsize=8, linespacing=1.1)
