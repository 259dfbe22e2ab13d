"""``normkit doctor``: what is there, what is not, and why."""

import shutil
import sys
import textwrap

import click


@click.command(
    short_help="Look at versions, threads, caches and GPU.",
    epilog="""\b
    Examples:
      normkit doctor
      normkit doctor --json > doctor.json
    """,
)
@click.option("--format", type=click.Choice(("table", "json")), default="table", show_default=True)
@click.option("--json", "format", flag_value="json", help="The same as --format json.")
def doctor(format):  # fmt: skip
    """Look at versions, threads, BLAS, caches, GPU and data, and check the compiled norms against the formulas.

    Exit code 0 if normkit works, 1 if there is a problem; what is missing and not needed is no problem.
    """
    from normkit.doctor import examine

    findings = []
    for finding in examine():
        findings.append(finding)
        if format == "table":
            click.echo(_wrapped(f"{finding.status:<8} {finding.name:<16} ", finding.text))
    if format == "json":
        import json

        records = {f.name: {"status": f.status, "text": f.text} for f in findings}
        click.echo(json.dumps(records, indent=1))
    if any(finding.status == "problem" for finding in findings):
        click.get_current_context().exit(1)


def _wrapped(head, text):
    if not sys.stdout.isatty():  # a line each for grep
        return head + text
    width = shutil.get_terminal_size().columns
    return textwrap.fill(
        text, max(width, 60), initial_indent=head, subsequent_indent=" " * len(head), break_on_hyphens=False
    )
