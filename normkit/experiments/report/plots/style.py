"""What all plots share: how a choice looks, figures, and the texts that show on hover."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from normkit.experiments.records import Cell

INK, GRID, PAPER = "#1b1f24", "#c9ced6", "#ffffff"

# Okabe and Ito's palette, told apart with any colour vision, with grey and wine for its black and yellow
COLOURS = ("#5f6368", "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#882255")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "p")
# the same colour and marker in every report, whatever else is compared
KNOWN = ("none", "batch", "layer", "group", "rms", "ghost", "renorm", "dyt")

# what the report shows instead in its light and dark scheme, by the name of a CSS variable
THEME = {
    INK: "--ink", GRID: "--grid", PAPER: "--card",
    **{colour: f"--choice-{i}" for i, colour in enumerate(COLOURS)},
}  # fmt: skip


@dataclass(frozen=True)
class Look:
    """How a choice is drawn."""

    colour: str
    marker: str
    line: str


def looks(cells: list[Cell]) -> dict[str, Look]:
    """Return the look of each choice: colour and marker tell the norm, a dashed line its position after."""
    named = {cell.choice: cell.config for cell in cells}
    order = list(KNOWN) + sorted({config.normalization for config in named.values()} - set(KNOWN))
    result = {}
    for choice, config in named.items():
        place = order.index(config.normalization)
        # beyond eight the colours begin again, with the next marker
        marker = _MARKERS[(place + place // len(COLOURS)) % len(_MARKERS)]
        line = "--" if choice != config.normalization else "-"
        result[choice] = Look(COLOURS[place % len(COLOURS)], marker, line)
    return result


@dataclass
class Plot:
    """A figure, the name of its files, and what each of its spots tells on hover."""

    name: str
    title: str
    caption: str
    figure: Any  # matplotlib's Figure
    spots: dict[str, str] = field(default_factory=dict)  # gid of an artist: text, a line each

    def spot(self, text: str) -> str:
        """Take the text of one more spot and return the gid that its artist must carry."""
        gid = f"spot-{len(self.spots) + 1}"
        self.spots[gid] = text
        return gid


@contextmanager
def drawing() -> Iterator[None]:
    """Draw with the same settings for everybody, whatever their matplotlibrc says."""
    import matplotlib

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(
            {
                "svg.hashsalt": "normkit", "svg.fonttype": "none", "font.size": 9, "axes.titlesize": 9.5,
                "axes.labelcolor": INK, "axes.edgecolor": INK, "text.color": INK, "xtick.color": INK,
                "ytick.color": INK, "axes.titlecolor": INK, "grid.color": GRID, "grid.linewidth": 0.6,
                "legend.frameon": False, "axes.spines.top": False, "axes.spines.right": False,
                "figure.facecolor": PAPER, "axes.facecolor": PAPER,
            }
        )  # fmt: skip
        yield


def figure(rows: int, columns: int, width: float, height: float):
    """Return a figure without pyplot, in inches, and its axes as an array of rows and columns."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    made = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(made)
    return made, made.subplots(rows, columns, squeeze=False)


def plain(text: object) -> str:
    """Return a text that matplotlib draws as it is: no mathematics between $, no control characters."""
    return printable(text).replace("$", r"\$")


def printable(text: object) -> str:
    """Return a text without the characters that an XML file must not hold."""
    return "".join(c if c.isprintable() or c == "\n" else "\N{REPLACEMENT CHARACTER}" for c in str(text))


def legend(made, handles: dict[str, Any]) -> None:
    """Put one legend under all axes: inside them it covers lines."""
    if not handles:
        return
    width = 0.6 + 0.07 * max(map(len, handles))  # inches of an entry, about
    most = max(1, int(made.get_size_inches()[0] / width))
    rows = math.ceil(len(handles) / most)
    columns = math.ceil(len(handles) / rows)
    made.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=columns)


def sign(label: str, look: Look | None = None, **kwargs):
    """Return an entry for a legend: a choice's line and marker, or what the keywords say."""
    from matplotlib.lines import Line2D

    if look is not None:
        kwargs = {"color": look.colour, "marker": look.marker, "linestyle": look.line, "markersize": 5, **kwargs}
    return Line2D([], [], label=label, **{"color": INK, **kwargs})
