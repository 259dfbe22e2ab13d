"""Plots of an experiment; matplotlib is imported when one is drawn."""

from collections.abc import Iterator

from normkit.experiments.records import Condition, Run, Summary
from normkit.experiments.report.plots import heat, layers, scores, training
from normkit.experiments.report.plots.files import inline, png, svg
from normkit.experiments.report.plots.style import Plot, drawing, looks
from normkit.experiments.report.sections import Section, best_conditions, sections

__all__ = [
    "Plot",
    "draw",
    "inline",
    "of_training",
    "png",
    "svg",
]


def draw(summary: Summary, runs: list[Run]) -> Iterator[tuple[Section, Plot]]:
    """Draw all plots that the runs and their summary have something for, section by section.

    The names of the plots are those of their files: a section after the first has its number in them.
    """
    best = best_conditions(summary, runs)
    for i, section in enumerate(sections(summary.cells, runs)):
        with drawing():
            plots = list(_of_section(section, summary, best, f"-{i + 1}" if i else ""))
        for plot in plots:
            yield section, plot


def _of_section(section: Section, summary: Summary, best: set[Condition], end: str) -> Iterator[Plot]:
    metric, styles = summary.metric, looks(summary.cells)
    yield scores.against_batch_size(section, metric, styles, f"score{end}")
    yield heat.by_batch_size(section, metric, best, f"heat{end}")
    if section.has_rates:
        yield scores.against_learning_rate(section, metric, styles, f"rates{end}")
        yield heat.by_learning_rate(section, metric, best, f"heat-rates{end}")
    if any(any(run.curves.values()) for run in section.runs):
        yield training.of_section(section, metric, styles, f"curves{end}")
    for size in section.batch_sizes:
        if plot := layers.of_batch_size(section, size, styles, f"layers-{size}{end}"):
            yield plot


def of_training(curves: dict[str, list[float]], metric: str, label: str) -> Plot:
    """Draw loss and score of one training, as `Run.curves` has them; `png` and `svg` make files of it."""
    with drawing():
        return training.of_model(curves, metric, label)
