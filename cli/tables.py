"""The result of an experiment as a table: on a terminal, in Markdown, or as JSON."""

import json
from dataclasses import asdict

from normkit.experiments.records import metric_name

_DISPENSABLE = ("ms/epoch", "validation loss", "best")  # the first one first
_FACTORS = {
    "hidden": "hidden", "activation": "activation", "kernel_initializer": "initializer", "dropout": "dropout",
}  # fmt: skip


def score_name(metric):
    """Return what scores are called."""
    return f"test {metric_name(metric)}"


def factors(conditions):
    """Return the names of what differs between conditions beside batch size and norm, with their headings."""
    found = {name: head for name, head in _FACTORS.items() if len({getattr(c, name) for c in conditions}) > 1}
    if len({condition.norm_noise for condition in conditions} - {0.0}) > 1:  # whether there is any is in the choice
        found["norm_noise"] = "noise"
    rates: dict[int, set[float]] = {}
    for condition in conditions:
        rates.setdefault(condition.batch_size, set()).add(condition.learning_rate)
    if any(len(values) > 1 for values in rates.values()):  # more than what follows from the batch size
        found["learning_rate"] = "learning rate"
    return found


def factor_text(condition, name):
    """Return what a condition has of a factor."""
    value = getattr(condition, name)
    if isinstance(value, tuple):
        return "-".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def headings(metric, varying):
    """Return the columns: name, and whether they hold numbers."""
    return [
        ("batch", True), *((head, False) for head in varying.values()), ("norm", False),
        (score_name(metric), True), ("validation loss", True), ("best", True), ("ms/epoch", True),
    ]  # fmt: skip


def cells_as_text(summary):
    """Return the cells of a summary as rows of text, in the order of `headings`."""
    varying = factors([cell.config for cell in summary.cells])
    return [
        [
            str(cell.config.batch_size), *(factor_text(cell.config, name) for name in varying), cell.choice,
            score_text(cell), "-" if cell.validation_loss is None else f"{cell.validation_loss:.4f}",
            _best(cell), "-" if cell.seconds_per_epoch is None else f"{cell.seconds_per_epoch * 1e3:.1f}",
        ]
        for cell in summary.cells
    ]  # fmt: skip


def score_text(cell):
    """Return score and interval, and how many runs are not in them."""
    parts = []
    if cell.test_score is not None:
        parts.append(f"{cell.test_score:.4f}")
        if cell.high is not None and cell.low is not None:
            parts[0] += f" ± {(cell.high - cell.low) / 2:.4f}"
    parts += [
        f"{name} {count}/{cell.runs}" for name, count in (("div", cell.diverged), ("failed", cell.failed)) if count
    ]
    return "  ".join(parts) or "-"


def _best(cell):
    chance = "-" if cell.probability_best is None else f"{cell.probability_best:.2f}"
    return chance + (" =" if cell.tied else "  ")


def rich_table(heads, rows, width):
    """Return a table for a terminal of a width; a line is drawn where the batch size changes.

    Where it is narrow, headings are broken between words; where it is narrower still, columns are left out.
    """
    from rich.table import Table

    kept = list(range(len(heads)))
    widest = [max((len(row[i]) for row in rows), default=0) for i in kept]
    names = [name for name, _ in heads]

    def needed():
        return 1 + sum(3 + max(widest[i], *map(len, names[i].split("\n"))) for i in kept)

    if needed() > width:
        names = [name.replace(" ", "\n") for name in names]
    for dispensable in _DISPENSABLE:
        if needed() > width:
            kept = [i for i in kept if heads[i][0] != dispensable]
    table = Table()
    for i in kept:
        table.add_column(names[i], justify="right" if heads[i][1] else "left", no_wrap=True)
    before = None
    for row in rows:
        if before not in (None, row[0]):
            table.add_section()
        before = row[0]
        table.add_row(*(row[i] for i in kept))
    return table


def markdown(heads, rows):
    """Return a table in Markdown."""
    lines = [[head for head, _ in heads], ["---:" if number else "---" for _, number in heads], *rows]
    return "".join(f"| {' | '.join(cell.strip().replace('|', chr(92) + '|') for cell in line)} |\n" for line in lines)


def as_json(summary, values):
    """Return the experiment and its summary as one JSON object."""
    return json.dumps({"experiment": values, **asdict(summary)}, indent=1, allow_nan=False) + "\n"


def published(preset, summary):
    """Return the columns and rows of what a paper found, and what was found here."""
    heads = [
        ("batch", True), ("norm", False), (f"published {preset.measures}", True), (f"here {preset.measures}", True)
    ]  # fmt: skip
    rows = [
        [str(figure.batch_size), figure.choice, f"{figure.value:.1f}", "-" if here is None else f"{here:.1f}"]
        for figure, here in preset.beside(summary)
    ]
    return heads, rows
