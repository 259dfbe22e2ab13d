"""The tables of a report: cells, contrasts, benefits, and runs that have no score."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

from normkit.experiments.presets import Preset
from normkit.experiments.records import Benefit, Cell, Contrast, Run, Summary, metric_name
from normkit.experiments.report.sections import best_conditions, differing
from normkit.experiments.report.texts import number, troubles, value_text
from normkit.experiments.statistics.comparisons import differs


class Value(NamedTuple):
    """What a cell of a table shows, and what it is sorted by where that is a number."""

    text: str
    key: float | None = None


@dataclass
class Column:
    """A column, and how a row's value is found."""

    title: str
    value: Callable[[Any], Value]
    numeric: bool = True
    choice: bool = False  # named with its colour
    prose: bool = False  # sentences, which may break


@dataclass
class Table:
    """A table, its anchor on the page, and a line on how to read it."""

    id: str
    title: str
    hint: str
    columns: list[Column]
    rows: list[list[Value]]


def tables_of(summary: Summary, runs: list[Run], presets: Iterable[Preset] = ()) -> list[Table]:
    """Return the tables that have rows; those of published experiments, which these are, come first."""
    made = [
        *(_published_table(f"published-{number}", preset, summary) for number, preset in enumerate(presets, start=1)),
        _table("cells", "All cells", _CELLS, _cell_columns(summary, runs), summary.cells),
        _table("contrasts", "Differences", _CONTRASTS, _contrast_columns(summary), summary.contrasts),
        _table(
            "benefits",
            "Claimed benefits, measured",
            _BENEFITS.format(baseline=summary.baseline),
            _benefit_columns(),
            summary.benefits,
        ),
        _table("lost", "Runs without a score", _LOST, _lost_columns(), [run for run in runs if run.status != "ok"]),
    ]
    return [table for table in made if table.rows]


_CELLS = (
    "Each line is the mean over the runs of one condition. The interval is of the mean test score, at 95 %. Click a "
    "column's head to sort."
)
_CONTRASTS = (
    "Mean difference in test score between two choices, within each seed and fold. The interval and the adjusted p are "
    "Holm's, over all pairs of choices."
)
_BENEFITS = "What textbooks claim for batch normalization, measured here against the baseline ‘{baseline}’."
_PUBLISHED = "Those of the paper, whose setting is told above, and what was found here at the same batch size."
_LOST = "They are counted in their cells, and in no mean."


def _published_table(id: str, preset: Preset, summary: Summary) -> Table:
    columns = [
        Column("batch size", lambda pair: _whole(pair[0].batch_size)),
        Column("choice", lambda pair: Value(pair[0].choice), numeric=False, choice=True),
        Column(f"published {preset.measures}", lambda pair: _decimal(pair[0].value, 1)),
        Column(f"here {preset.measures}", lambda pair: _decimal(pair[1], 1)),
    ]
    return _table(id, "Published figures", _PUBLISHED, columns, preset.beside(summary))


def _table(id: str, title: str, hint: str, columns: list[Column], records: list) -> Table:
    return Table(id, title, hint, columns, [[column.value(record) for column in columns] for record in records])


def _decimal(value: float | None, digits: int = 4) -> Value:
    return Value(number(value, digits), value)


def _whole(value: int) -> Value:
    return Value(str(value), value)


def _interval(low: float | None, high: float | None) -> Value:
    if low is None or high is None:
        return Value("–")
    return Value(f"{number(low)} to {number(high)}", low)


def _milliseconds(seconds: float | None) -> Value:
    return Value("–") if seconds is None else Value(f"{1e3 * seconds:.3g}", seconds)


def _field_column(name: str) -> Column:
    def value(cell: Cell) -> Value:
        found = getattr(cell.config, name)
        return Value(value_text(found), found if isinstance(found, int | float) else None)

    return Column(
        name.replace("_", " "), value, numeric=name not in ("hidden", "activation", "kernel_initializer", "solver")
    )


def _cell_columns(summary: Summary, runs: list[Run]) -> list[Column]:
    metric = metric_name(summary.metric)
    conditions = [cell.config for cell in summary.cells]
    fields = differing(conditions)
    for name in ("epochs", "learning_rate"):
        if name not in fields and len({getattr(config, name) for config in conditions}) > 1:
            fields.insert(0, name)
    best = best_conditions(summary, runs)

    def standing(cell: Cell) -> Value:
        return Value("best" if cell.config in best else "tied" if cell.tied else "")

    return [
        Column("batch size", lambda cell: _whole(cell.config.batch_size)),
        Column("choice", lambda cell: Value(cell.choice), numeric=False, choice=True),
        *map(_field_column, fields),
        Column(f"test {metric}", lambda cell: _decimal(cell.test_score)),
        Column("95 % interval", lambda cell: _interval(cell.low, cell.high)),
        Column("standing", standing, numeric=False),
        Column("P(best)", lambda cell: _decimal(cell.probability_best, 2)),
        Column("runs", lambda cell: _whole(cell.runs)),
        Column("lost", lambda cell: Value(troubles(cell) or "0", cell.diverged + cell.failed)),
        Column("test loss", lambda cell: _decimal(cell.test_loss)),
        Column(f"validation {metric}", lambda cell: _decimal(cell.validation_score)),
        Column("validation loss", lambda cell: _decimal(cell.validation_loss)),
        Column("train − validation", lambda cell: _decimal(cell.gap)),
        Column("ms/epoch", lambda cell: _milliseconds(cell.seconds_per_epoch)),
    ]


def _contrast_columns(summary: Summary) -> list[Column]:
    def found(contrast: Contrast) -> Value:
        if not differs(contrast):
            return Value("no difference shown")
        return Value("better" if contrast.difference > 0 else "worse")

    def signed(contrast: Contrast) -> Value:
        sign = "+" if contrast.difference > 0 else ""
        return Value(sign + number(contrast.difference), contrast.difference)

    return [
        Column("batch size", lambda contrast: _whole(contrast.batch_size)),
        Column("choice", lambda contrast: Value(contrast.choice), numeric=False, choice=True),
        Column("against", lambda contrast: Value(contrast.against), numeric=False, choice=True),
        Column(f"difference in {metric_name(summary.metric)}", signed),
        Column("interval, adjusted", lambda contrast: _interval(contrast.low, contrast.high)),
        Column("p", lambda contrast: _probability(contrast.p_value)),
        Column("p, adjusted", lambda contrast: _probability(contrast.p_adjusted)),
        Column("pairs", lambda contrast: _whole(contrast.pairs)),
        Column("finding", found, numeric=False),
    ]


def _probability(p: float) -> Value:
    return Value("< 0.0001" if p < 1e-4 else f"{p:.4f}", p)


def _benefit_columns() -> list[Column]:
    def amount(value: float | None, unit: str) -> Value:
        return Value("–" if value is None else f"{value:.4g} {unit}".rstrip(), value)

    def sentence(benefit: Benefit) -> Value:
        return Value(benefit.sentence)

    return [
        Column("benefit", lambda benefit: Value(benefit.name), numeric=False),
        Column("batch size", lambda benefit: _whole(benefit.batch_size)),
        Column("choice", lambda benefit: Value(benefit.choice), numeric=False, choice=True),
        Column("measured", lambda benefit: amount(benefit.value, benefit.unit)),
        Column("baseline", lambda benefit: amount(benefit.baseline, benefit.unit)),
        Column("in words", sentence, numeric=False, prose=True),
    ]


def _lost_columns() -> list[Column]:
    return [
        Column("batch size", lambda run: _whole(run.config.batch_size)),
        Column("choice", lambda run: Value(run.config.choice), numeric=False, choice=True),
        Column("learning rate", lambda run: Value(f"{run.config.learning_rate:g}", run.config.learning_rate)),
        Column("seed", lambda run: _whole(run.seed)),
        Column("fold", lambda run: _whole(run.fold)),
        Column("status", lambda run: Value(run.status), numeric=False),
        Column("why", lambda run: Value(run.error or ""), numeric=False, prose=True),
    ]
