"""``normkit report``: the report of an experiment again, or of several together."""

from pathlib import Path

import click


@click.command(
    short_help="Make the report of a folder of runs.",
    epilog="""\b
    Examples:
      normkit report results
      normkit report monday tuesday --output both
    """,
)
@click.argument("directories", metavar="DIR...", nargs=-1, required=True)
@click.option("--output", metavar="DIR", help="Write there.  [default: DIR itself, if it is one]")
def report(directories, output):
    """Make report, plots and summary from the runs of `normkit compare --output DIR`, also while it is running.

    Several directories become one report: a run that is in more than one of them is counted once. They must be of
    the same data, metric and folds, since choices are compared within a seed.

    Prints the path of the report.
    """
    if len(directories) > 1 and not output:
        raise click.UsageError("several directories need --output DIR to write their common report to")
    from normkit.experiments.output import write_summary
    from normkit.experiments.report import page
    from normkit.experiments.results.folders import summarize_folders
    from normkit.experiments.results.store import RESULTS, prepare

    if len(directories) > 1 and (Path(output) / RESULTS).exists():
        raise click.UsageError(f"--output {output} holds runs of its own, whose report this would replace")
    runs, summary, sources = summarize_folders(directories)
    directory = prepare(output or directories[0])
    write_summary(directory, runs, summary)
    written = page.write_sources(directory, runs, summary, sources)
    click.echo(f"{len(runs)} runs; wrote {written[0].name} and {len(written) - 1} plots to {directory}", err=True)
    click.echo(written[0])
