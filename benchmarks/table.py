"""Tables from the benchmark's JSON: on the terminal, and in the README between two markers.

python benchmarks/table.py benchmarks/results/*.json            writes benchmarks/README.md
python benchmarks/table.py --check benchmarks/results/*.json    fails if it is not up to date
"""

import json
import statistics
from pathlib import Path

import accuracy_table
import click
import norm_table

from normkit.bench.table import grid

# the part of the README that a kind of result goes to
SECTIONS = {"training": "results", "norms": "norms", "accuracy": "accuracy", "compare": "compare"}
README = Path(__file__).with_name("README.md")
HEADER = ("engine", "step µs", "ratio", "quartiles", "loss", "acc.", "compile s")
CASE_HEADER = ("type", "order", "rows", "step µs", "fastest")


def reference(rows):
    """Name of the engine that ratios refer to: normkit where it ran, else the first that did."""
    ran = [name for name, row in rows.items() if row.get("step_s")]
    return "normkit" if "normkit" in ran else next(iter(ran), None)


def lines(rows, labels):
    """Return one batch size's rows as text, engines first, bounds last, each by its median."""
    base = reference(rows)
    order = sorted(
        rows,
        key=lambda name: (
            rows[name]["kind"] == "bound",
            statistics.median(rows[name].get("step_s") or [1e9]),
        ),
    )
    return [(labels[name], *_cells(rows[name], rows[base] if base else None)) for name in order]


def _cells(row, base):
    times = row.get("step_s")
    compile_s = f"{row['compile_s']:.1f}" if "compile_s" in row else ""
    if not times:
        return ("", "", "", "", "", compile_s)
    # repeats are interleaved: each is compared with the reference's of the same round
    ratios = [time / other for time, other in zip(times, base["step_s"])]
    quartiles = statistics.quantiles(ratios, n=4, method="inclusive") if len(ratios) > 1 else ratios * 3
    return (
        f"{statistics.median(times) * 1e6:.0f}",
        f"{statistics.median(ratios):.2f}",
        f"{quartiles[0]:.2f}-{quartiles[2]:.2f}",
        "" if row.get("loss") is None else f"{row['loss']:.4f}",
        "" if row.get("accuracy") is None else f"{row['accuracy']:.4f}",
        compile_s,
    )


def bound_share(rows):
    """Share of normkit's step that the faster way to make its matrix products takes alone."""
    base = reference(rows)
    bounds = [statistics.median(row["step_s"]) for row in rows.values() if row["kind"] == "bound" and "step_s" in row]
    if base != "normkit" or not bounds:
        return None
    return min(bounds) / statistics.median(rows[base]["step_s"])


def title(result, batch_size):
    """Return a heading for one batch size."""
    return (
        f"{result['network']}, {result['dataset']}, batch {batch_size}, {result['threads']} "
        f"thread{'s' if result['threads'] > 1 else ''}"
    )


def notes(result, rows):
    """Return the lines under a table."""
    found = (
        []
        if reference(rows) is None
        else [
            f"Medians of {result['repeats']} interleaved repeats of {result['steps']} steps; ratios to "
            f"{reference(rows)} and their quartiles.",
            f"Mean training loss of epoch {result['check_epochs']}, test accuracy after it.",
        ]
    )
    share = bound_share(rows)
    if share is not None:
        found.append(f"GEMM calls alone, the faster way: {share:.0%} of normkit's step.")
    for name, row in rows.items():
        if text := row.get("error") or row["remark"]:
            found.append(f"{result['labels'][name]}: {text}.")
    return found


def case_cells(case):
    """Return one line of the benchmark of rows."""
    middle, fastest = statistics.median(case["step_s"]), min(case["step_s"])
    return (case["type"], case["order"], f"{case['rows']:,}", f"{middle * 1e6:.0f}", f"{fastest * 1e6:.0f}")


def print_table(console, result, batch_size):
    """Show one batch size on the terminal."""
    from rich import box
    from rich.table import Table

    rows = result["batches"][str(batch_size)]
    table = Table(title=title(result, batch_size), box=box.SIMPLE)
    for name in HEADER:
        table.add_column(name, justify="left" if name == "engine" else "right", no_wrap=True)
    for cells in lines(rows, result["labels"]):
        table.add_row(*cells)
    console.print(table)
    console.print(*notes(result, rows), sep="\n", highlight=False, end="\n\n")


COMPARE_HEADER = ("engine", "s", "ratio", "mean test accuracy")


def compare_markdown(result, grid):
    """Return the table of `compare.py`: whole commands, and what the models can do."""
    cases = len(result["norms"]) * len(result["batch_sizes"])
    title = (
        f"**{cases} conditions, {result['seeds']} seeds, {result['epochs']} epochs of {result['dataset']}, "
        f"{result['jobs']} processes of one thread**"
    )
    seconds = {name: statistics.median(each) for name, each in result["seconds"].items()}
    cells = [
        (name, f"{seconds[name]:.1f}", f"{seconds[name] / seconds['normkit']:.1f}",
         f"{statistics.fmean(result['test_scores'][name].values()):.4f}")
        for name in seconds
    ]  # fmt: skip
    repeats = max(map(len, result["seconds"].values()))
    return [title, grid(COMPARE_HEADER, cells), f"- Medians of {repeats} run{'s' * (repeats > 1)} of the command."]


MARKDOWN = {"norms": norm_table.markdown, "accuracy": accuracy_table.markdown, "compare": compare_markdown}


def kind(result):
    """Return which script wrote the result; `training.py` and `rows.py` share a part of the README."""
    return result.get("kind", "training")


def markdown(result):
    """Return a result file as Markdown."""
    machine = result["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in sorted(result["versions"].items()))
    parts = [f"{machine['cpu']}, {machine['system']}, Python {machine['python']}; {versions}."]
    if kind(result) != "training":
        return "\n\n".join(parts + MARKDOWN[kind(result)](result, grid))
    if "cases" in result:
        threads = f"{result['threads']} thread{'s' if result['threads'] > 1 else ''}"
        parts.append(f"**A step against the number of rows, batch {result['batch_size']}, {threads}**")
        parts.append(grid(CASE_HEADER, [case_cells(case) for case in result["cases"]], left=2))
    for batch_size, rows in result.get("batches", {}).items():
        parts.append(f"**{title(result, batch_size)}**")
        parts.append(grid(HEADER, lines(rows, result["labels"])))
        parts.append("\n".join(f"- {note}" for note in notes(result, rows)))
    return "\n\n".join(parts)


def _replaced(text, marker, tables):
    begin, end = f"<!-- {marker}: begin -->", f"<!-- {marker}: end -->"
    if text.count(begin) != 1 or text.count(end) != 1:
        raise click.ClickException(f"{README} needs one line {begin} and one line {end}")
    head, rest = text.split(begin)
    body = "\n\n".join(tables) or "Not measured yet."
    return f"{head}{begin}\n\n{body}\n\n{end}{rest.split(end)[1]}"


@click.command()
@click.argument("files", nargs=-1, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--check", is_flag=True, help="Write nothing; fail if the README is not what it would write.")
def main(files, check):
    """Put the tables of result FILES into benchmarks/README.md."""
    results = [json.loads(file.read_text(encoding="utf-8")) for file in sorted(files)]
    new = text = README.read_text(encoding="utf-8")
    for name, marker in SECTIONS.items():
        new = _replaced(new, marker, [markdown(result) for result in results if kind(result) == name])
    if check and new != text:
        raise click.ClickException(f"{README} is out of date: run this without --check")
    if not check:
        README.write_text(new, encoding="utf-8")


if __name__ == "__main__":
    main()
