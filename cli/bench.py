"""``normkit bench``: how fast, against whom, and whether that has changed."""

import contextlib
from pathlib import Path

import click

from normkit.bench import suite
from normkit.experiments.errors import DataError

from . import printing
from .options import ChoiceList, FiniteRange

_DTYPES = ("float32", "bfloat16")
_GPU_PEERS = ("liger", "triton")
_FORMATS = ("table", "json", "csv", "markdown")


class _Shapes(click.ParamType):
    """Comma-separated shapes of two or four axes."""

    name = "MxN,..."

    def convert(self, value, param, ctx):
        """Return a list of tuples, or fail with one line."""
        found = []
        for part in value.split(","):
            try:
                shape = tuple(int(number) for number in part.strip().split("x"))
            except ValueError:
                shape = ()
            if len(shape) not in (2, 4) or min(shape) < 2:
                self.fail(f"{part!r} is not rows like 4096x768 or images like 16x64x32x32, each at least 2", param, ctx)
            found.append(shape)
        return list(dict.fromkeys(found))


def _json_file(ctx, param, value):
    if value is not None and value.suffix.lower() != ".json":
        raise click.BadParameter(f"{str(value)!r} is not the name of a .json file")
    return value


@click.command(
    short_help="Time kernels and training against peers.",
    epilog="""\b
    Examples:
      normkit bench
      normkit bench --quick --output before.json
      normkit bench --quick --compare before.json --fail-slower-than 1.2
      normkit bench --kernels --functions layer_norm --shapes 512x1024,8192x4096 --dtypes float32,bfloat16
      normkit bench --training --peers normkit,torch,torch-compile --threads 1
      normkit bench --device cuda
    """,
)
@click.option("--kernels", is_flag=True, help="The norms on arrays. Both parts, unless one is named.")
@click.option("--training", is_flag=True, help="A training step of an MLP with batch norm.")
@click.option("--device", type=click.Choice(("cpu", "cuda")), default="cpu", show_default=True)
@click.option("--functions", type=ChoiceList(suite.FUNCTIONS), help=f"Of {', '.join(suite.FUNCTIONS)}.")
@click.option("--dtypes", type=ChoiceList(_DTYPES), help=f"Of {', '.join(_DTYPES)}; the first.")
@click.option("--shapes", type=_Shapes(), help="Rows like 4096x768, images like 16x64x32x32 (NCHW).")
@click.option(
    "--peers", type=ChoiceList((*suite.PEERS, *_GPU_PEERS)), help=f"Of {', '.join(suite.PEERS)}; all but torch-compile."
)
@click.option("--threads", type=click.IntRange(1), help="Default: one for each core this process may use.")
@click.option("--repeats", type=click.IntRange(1), help="Default: 9, in a quick run 5.")
@click.option("--quick", is_flag=True, help="Fewer cases, some half a minute.")
@click.option("--format", "form", type=click.Choice(_FORMATS), default="table", show_default=True)
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    callback=_json_file,
    metavar="FILE.json",
    help="Write all samples, versions and the machine there, case by case.",
)
@click.option(
    "--compare",
    "earlier",
    type=click.Path(path_type=Path),
    metavar="OLD.json",
    help="Set the times beside those of an earlier --output.",
)
@click.option(
    "--fail-slower-than",
    "limit",
    type=FiniteRange(0, min_open=True),
    metavar="RATIO",
    help="With --compare: exit with 1 if a case takes longer by this factor and by more than the spread.",
)
@click.option("--quiet", is_flag=True, help="No progress on standard error.")
@click.option("--dry-run", is_flag=True, hidden=True)
def bench(device, form, output, earlier, limit, quiet, **options):
    """Time kernels and training against whatever peers are installed, in two minutes.

    Each peer runs in a process of its own on the same cores; its result is checked against float64, and what is wrong
    is not timed. In each repeat all have their turn. Measure on a machine that does nothing else.
    """
    from normkit.bench import results
    from normkit.bench.compare import compare

    if limit is not None and earlier is None:
        raise click.UsageError("--fail-slower-than needs --compare OLD.json")
    old = results.read(earlier) if earlier else None
    if old and old["kind"] != (results.GPU if device == "cuda" else results.KIND):
        raise DataError(f"{earlier} is a result of another device")
    if output:
        results.check_writable(output)
    run = _on_cuda if device == "cuda" else _on_cpu
    result, failed = run(options, output, quiet)
    comparison = compare(result, old, str(earlier)) if old and not failed else None
    _show(result, comparison, form)
    if failed:
        raise click.ClickException(f"normkit's own result is wrong or failed: {', '.join(failed)}")
    if slower := comparison.slower_than(limit) if comparison and limit is not None else []:
        cases = ", ".join(f"{case.key} ({case.change.ratio:.2f})" for case in slower)
        raise click.ClickException(f"slower than {limit:g} times {earlier}, by more than the spread: {cases}")


def _plan(options):
    """Return what to time on the CPU."""
    from normkit.bench import machine
    from normkit.bench.run import Plan

    quick, cores = options["quick"], len(machine.cores())
    threads = options["threads"] or cores
    if threads > cores:
        raise click.BadParameter(f"{threads} threads: this process may use {cores} cores", param_hint="--threads")
    both = options["kernels"] == options["training"]
    kernels, steps = [], []
    if both or options["kernels"]:
        functions = options["functions"] or (suite.QUICK_FUNCTIONS if quick else suite.DEFAULT_FUNCTIONS)
        shapes = options["shapes"] or (suite.QUICK_SHAPES if quick else suite.SHAPES)
        kernels = suite.kernel_cases(functions, shapes, options["dtypes"] or _DTYPES[:1])
        if not kernels:
            raise click.UsageError(
                f"nothing to time: {', '.join(functions)} on {', '.join('x'.join(map(str, s)) for s in shapes)}; "
                "layer_norm, rms_norm and batch_norm take rows, batch_norm, group_norm and instance_norm images"
            )
    if both or options["training"]:
        steps = suite.training_cases(quick)
    if unknown := [name for name in options["peers"] or () if name not in suite.PEERS]:
        raise click.UsageError(f"--peers {','.join(unknown)} needs --device cuda")
    peers = options["peers"] or (suite.QUICK_PEERS if quick else suite.DEFAULT_PEERS)
    peers = [name for name in suite.PEERS if name in (suite.OWN, *peers)]
    repeats = options["repeats"] or (5 if quick else 9)
    return Plan(kernels, steps, peers, threads, repeats, 5.0 if quick else 10.0, 1.5 if quick else 4.0, quick)


def _on_cpu(options, output, quiet):
    """Return the result, and the cases in which normkit was wrong."""
    from normkit.bench import results, table
    from normkit.bench.run import Bench

    plan = _plan(options)

    def save(result):
        if output:
            results.write(output, result)

    with _progress(quiet) as tell:
        result = Bench(plan, tell, save).run()
    return result, table.wrong(result)


def _on_cuda(options, output, quiet):
    """Return the result of the short form on the GPU, and the cases that failed."""
    from normkit.bench.gpu import short

    for name in ("threads", "repeats", "shapes", "dtypes"):
        if options[name] is not None:
            raise click.UsageError(f"--{name} is for the CPU; on a GPU, benchmarks/gpu.py has more than the short form")
    for name, known in (("functions", short.FUNCTIONS), ("peers", short.PEERS)):
        if unknown := [value for value in options[name] or () if value not in known]:
            raise click.UsageError(f"--{name} {','.join(unknown)}: with --device cuda one of {', '.join(known)}")
    if missing := short.missing(options["dry_run"]):
        raise DataError(f"--device cuda needs {'; '.join(missing)}")
    both = options["kernels"] == options["training"]
    parts = [*short.KERNELS * (both or options["kernels"]), *short.TRAINING * (both or options["training"])]
    status, result, wrong = short.run(
        list(dict.fromkeys(parts)),
        options["functions"] or (),
        options["peers"] or (),
        output,
        options["dry_run"],
        quiet,
    )
    if result is None:
        raise click.exceptions.Exit(status)
    return result, wrong or ["the device"] * (status != 0)


@contextlib.contextmanager
def _progress(quiet):
    """Give a function to tell what is done now: in one line on a terminal that changes, else line by line."""
    from rich.console import Console

    console = Console(stderr=True, highlight=False, markup=False)
    if quiet:
        yield lambda text: None
    elif console.is_terminal:
        # a spinner that turns would be work on the cores that are measured
        with console.status("starting", refresh_per_second=0.5) as status:
            yield status.update
    else:
        yield lambda text: click.echo(text, err=True)


def _show(result, comparison, form):
    """Print a result as it was asked for."""
    from normkit.bench import results, table
    from normkit.bench.gpu import table as gpu_table
    from normkit.experiments.records import csv_text

    views = table if result["kind"] == results.KIND else gpu_table
    if form == "json":
        shown = {**result, "comparison": table.changes_as_data(comparison)} if comparison else result
        click.echo(results.dump(shown))
    elif form == "csv":
        click.echo(csv_text([views.CSV_HEADER, *views.csv_rows(result)]), nl=False)
        if comparison:
            click.echo("Note: CSV has no place for the comparison; the other formats have.", err=True)
    else:
        tables, notes = list(views.tables(result)), views.notes(result)
        if views is gpu_table:
            notes = [views.head(result), *views.correctness(result), *notes]
        if comparison:
            tables.append(("Against the earlier result", table.CHANGE_HEADER, table.changes(comparison), 1))
            notes = [*notes, *comparison.notes]
        (_print_markdown if form == "markdown" else _print_tables)(tables, notes)


def _print_markdown(tables, notes):
    from normkit.bench.table import grid

    for title, header, rows, left in tables:
        click.echo(f"**{title}**\n\n{grid(header, rows, left)}\n")
    click.echo("\n".join(f"- {note}" for note in notes))


def _print_tables(tables, notes):
    from rich import box
    from rich.table import Table

    console = printing.standard_output()
    for title, header, rows, left in tables:
        drawn = Table(title=title, box=box.SIMPLE_HEAD, padding=0, show_edge=False, title_justify="left")
        for i, name in enumerate(header):
            drawn.add_column(name, justify="left" if i < left else "right", no_wrap=i < left)
        for row in rows:
            drawn.add_row(*row)
        console.print(drawn, "")
    for note in notes:
        console.print(note, soft_wrap=not console.is_terminal)
