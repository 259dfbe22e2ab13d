"""The report of an experiment: one HTML file that needs no network, and its plots as PNG and SVG."""

import base64
import hashlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from importlib import resources
from pathlib import Path
from typing import Any

from normkit._files import write_atomically
from normkit._version import __version__
from normkit.experiments.configuration import to_toml
from normkit.experiments.presets import PRESETS
from normkit.experiments.records import Run, Summary, Verdict, metric_name
from normkit.experiments.report import plots
from normkit.experiments.report.plots.style import KNOWN, THEME, looks
from normkit.experiments.report.tables import tables_of
from normkit.experiments.results.folders import Source

PAGE, PLOTS = "report.html", "plots"
_PACKAGE = "normkit.experiments.report"  # whose templates these are
_WIDE = 500  # points: such a plot gets the whole width of the page


def write(
    directory: str | Path, runs: list[Run], summary: Summary, experiment: dict[str, Any], environment: dict[str, Any]
) -> list[Path]:
    """Write report.html and the folder of plots of one experiment.

    Parameters
    ----------
    directory : path
        Must exist.
    runs : list of Run
    summary : Summary
        Of these runs.
    experiment : dict
        Plain values of the flags that repeat it, as config.toml has them; may be empty.
    environment : dict
        As environment.json has it; may be empty.

    Returns
    -------
    list of Path
        The files, the report first. The same arguments give the same bytes.
    """
    return write_sources(directory, runs, summary, [Source("", experiment, environment)])


def write_sources(directory: str | Path, runs: list[Run], summary: Summary, sources: list[Source]) -> list[Path]:
    """Write report.html and the plots of runs from several folders; else as `write`."""
    summary = _in_order(summary)
    folder = Path(directory) / PLOTS
    folder.mkdir(exist_ok=True)
    files, drawn = [], []
    for section, plot in plots.draw(summary, runs):
        for ending, content in (("png", plots.png(plot)), ("svg", plots.svg(plot))):
            files.append(folder / f"{plot.name}.{ending}")
            write_atomically(files[-1], content)
        drawn.append((section.label, _figure(plot)))
    page = Path(directory) / PAGE
    write_atomically(page, _page(runs, summary, sources, drawn).encode("utf-8", "replace"))
    return [page, *files]


def _in_order(summary: Summary) -> Summary:
    """Return the summary by batch size and choice, the baseline first: runs end, and come from files, in any order."""
    known = list(looks(summary.cells))
    order = {choice: i for i, choice in enumerate(sorted(known, key=lambda choice: _rank(choice, summary.baseline)))}

    def key(record):
        return record.batch_size, order.get(record.choice, len(order))

    cells = sorted(
        summary.cells, key=lambda cell: (cell.config.batch_size, order[cell.choice], cell.config.learning_rate)
    )
    return replace(
        summary, cells=cells, contrasts=sorted(summary.contrasts, key=key), benefits=sorted(summary.benefits, key=key),
        verdicts=sorted(summary.verdicts, key=lambda verdict: verdict.batch_size),
    )  # fmt: skip


def _rank(choice: str, baseline: str) -> tuple:
    norm, _, position = choice.partition(" ")
    return choice != baseline, KNOWN.index(norm) if norm in KNOWN else len(KNOWN), norm, position


def _figure(plot: plots.Plot) -> dict[str, Any]:
    from markupsafe import Markup

    return {
        "name": plot.name, "title": plot.title, "caption": plot.caption,
        "wide": plot.figure.get_size_inches()[0] * 72 > _WIDE,
        "svg": Markup(plots.inline(plot, f"{plot.name}-")),  # written by ElementTree, which escapes
    }  # fmt: skip


def _page(runs: list[Run], summary: Summary, sources: list[Source], drawn: list[tuple[str, dict]]) -> str:
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=PackageLoader(_PACKAGE), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    style, script = (_own(f"report.{ending}") for ending in ("css", "js"))
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    labels = list(dict.fromkeys(label for label, _ in drawn))
    grouped = [{"label": label, "plots": [figure for of, figure in drawn if of == label]} for label in labels]
    names = dict.fromkeys(source.experiment.get("preset") for source in sources)
    presets = [PRESETS[name] for name in names if name in PRESETS]
    tables = tables_of(summary, runs, presets)
    contents = [("verdicts", "Verdicts"), ("notes", "How to read this"), ("plots", "Plots")]
    contents += [(table.id, table.title) for table in tables] + [("reproduce", "How to reproduce")]
    return environment.get_template("report.html").render(
        title=_title(sources), counts=_counts(runs, summary), overall=summary.overall, contents=contents,
        verdicts=[_verdict(verdict) for verdict in summary.verdicts], plots=grouped,
        notes=[_sentence(note) for note in (*summary.notes, *(" ".join(preset.sentences) for preset in presets))],
        tables=tables, sources=[_source(source) for source in sources], version=__version__, zip=zip,
        colours={choice: f"var({THEME[look.colour]})" for choice, look in looks(summary.cells).items()},
        style=Markup(style), script=Markup(script), script_hash=f"sha256-{digest}",
    )  # fmt: skip


def _own(name: str) -> str:
    return resources.files(_PACKAGE).joinpath("templates", name).read_text("utf-8")


def _title(sources: Iterable[Source]) -> str:
    names = dict.fromkeys(str(source.experiment.get("dataset", "")) for source in sources)
    known = ", ".join(name.replace("\\", "/").rpartition("/")[2] for name in names if name)
    return f"Which normalization for {known}?" if known else "Which normalization?"


def _counts(runs: list[Run], summary: Summary) -> str:
    status = Counter(run.status for run in runs)
    lost = [f"{status[name]} {name}" for name in ("diverged", "failed") if status[name]]
    parts = [
        f"{len(runs)} run{'s' * (len(runs) != 1)}" + (f", {' and '.join(lost)}" if lost else ", all came to an end"),
        _many(len({cell.choice for cell in summary.cells}), "choice"),
        _many(len({cell.config.batch_size for cell in summary.cells}), "batch size"),
        _many(len({run.seed for run in runs}), "seed"),
    ]
    if (folds := len({run.fold for run in runs})) > 1:
        parts.append(_many(folds, "fold"))
    return f"{'; '.join(parts)}. Scores are {metric_name(summary.metric)}, the larger the better."


def _many(count: int, what: str) -> str:
    return f"{count} {what}{'s' * (count != 1)}"


def _verdict(verdict: Verdict) -> dict[str, Any]:
    kind = "lost" if verdict.best is None else "clear" if verdict.clear else "open"
    badges = {"lost": "no run came to an end", "clear": "clearly the best", "open": "not clearly the best"}
    return {
        "batch_size": verdict.batch_size, "best": verdict.best, "kind": kind, "badge": badges[kind],
        "sentence": verdict.sentence.removeprefix(f"Batch size {verdict.batch_size}: "),
    }  # fmt: skip


def _sentence(note: str) -> str:
    return f"{note[:1].upper()}{note[1:]}" + ("" if note.endswith((".", "?", "!")) else ".")


def _source(source: Source) -> dict[str, Any]:
    return {
        "name": source.name, "environment": list(_flat(source.environment)),
        "toml": to_toml(source.experiment) if source.experiment else "",
    }  # fmt: skip


def _flat(values: dict[str, Any], head: str = "") -> Iterable[tuple[str, str]]:
    """Yield names and values of nested ones, as "cpu cores"."""
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{head}{name} ")
        elif isinstance(value, list) and value and all(isinstance(part, dict) for part in value):
            yield from _flat({str(number): part for number, part in enumerate(value, start=1)}, f"{head}{name} ")
        else:
            text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
            yield f"{head}{name}".replace("_", " "), text
