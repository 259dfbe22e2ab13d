"""The result of an experiment on standard output."""

from pathlib import Path

import click

from normkit.experiments.records import to_csv

from . import tables

# of a file or a pipe: on a terminal sentences are wrapped between words, there each is a line
_WIDE = 1_000_000


def show(experiment, summary, form, benefits):
    """Print a summary as a table with its verdicts, as Markdown, CSV or JSON."""
    if form == "json":
        click.echo(tables.as_json(summary, experiment.values), nl=False)
    elif form == "csv":
        click.echo(to_csv(summary.cells), nl=False)
    else:
        _show_text(experiment, summary, form, benefits)


def standard_output():
    """Return a console; where a pipe is closed, that ends the command as it does elsewhere."""
    from rich.console import Console

    class StandardOutput(Console):
        def on_broken_pipe(self):
            raise  # the BrokenPipeError, for which rich itself would end the program

    console = StandardOutput(highlight=False, markup=False)
    if not console.is_terminal:  # a file or pipe has no width to keep to
        console.width = _WIDE
    return console


def _show_text(experiment, summary, form, benefits):
    console = standard_output()
    heads = tables.headings(summary.metric, tables.factors([cell.config for cell in summary.cells]))
    rows = tables.cells_as_text(summary)
    sentences = [verdict.sentence for verdict in summary.verdicts] + [summary.overall] * bool(summary.overall)
    table = tables.rich_table(heads, rows, console.width)
    best_is_shown = form == "markdown" or any(column.header == "best" for column in table.columns)
    if best_is_shown and any(cell.tied for cell in summary.cells):
        sentences.append("= marks choices between which this many runs show no difference.")
    if len({(cell.config.batch_size, cell.choice) for cell in summary.cells}) < len(summary.cells):
        sentences.append("A choice is judged by the settings that did best on the validation sets at that batch size.")
    if benefits:
        sentences += [benefit.sentence for benefit in summary.benefits]
    if form == "markdown":
        lines = [_first_line(experiment), "", tables.markdown(heads, rows), *(f"- {text}" for text in sentences)]
        click.echo("\n".join(lines))
        return
    for item in (_first_line(experiment), table, *sentences):
        console.print(item)
    if preset := experiment.preset:
        _show_published(console, preset, summary)


def _first_line(experiment):
    values = experiment.values
    budget, rate = experiment.rules
    solver = values["solver"] if values["solver"] == "adam" else f"sgd with momentum {values['momentum']:g}"
    parts = [budget, f"seeds {values['seeds']}"]
    if values.get("cv"):
        parts.append(f"folds {values['cv']}")
    decay = [f"weight decay {values['weight_decay']:g}"] * (values["weight_decay"] > 0)
    return f"{Path(experiment.dataset.name).name}: {', '.join([*parts, rate, solver, *decay])}"


def _show_published(console, preset, summary):
    """Print what a paper found beside what was found here."""
    for text in preset.sentences:
        console.print(text)
    heads, rows = tables.published(preset, summary)
    if rows:
        console.print(tables.rich_table(heads, rows, console.width))
