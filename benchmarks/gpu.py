"""Check normkit's CUDA kernels on the device, then time them against a copy and against their peers.

One command, one file, written case by case and gone on with where it was left; see benchmarks/README.md. The work is
done by `normkit.bench.gpu`, whose short form is `normkit bench --device cuda`.
"""

import sys
import time
from pathlib import Path

import click

sys.path.append(str(Path(__file__).parents[1]))  # a checkout need not be installed

from normkit.bench.gpu import table  # noqa: E402
from normkit.bench.gpu.sections import SECTIONS  # noqa: E402
from normkit.bench.gpu.store import Store  # noqa: E402
from normkit.bench.gpu.supervisor import supervise  # noqa: E402


def _sections(context, parameter, value):
    names = value.split(",")
    if unknown := [name for name in names if name not in SECTIONS]:
        raise click.BadParameter(f"unknown {', '.join(unknown)}; known are {', '.join(SECTIONS)}")
    return [name for name in SECTIONS if name in names]


@click.command(context_settings={"show_default": True})
@click.option("--output", type=click.Path(dir_okay=False, path_type=Path), required=True, help="File to write.")
@click.option("--sections", callback=_sections, default=",".join(SECTIONS), help="Comma-separated.")
@click.option("--only", multiple=True, metavar="TERM", help="Function, shape (64x256), type or direction; repeatable.")
@click.option("--peers", help="Comma-separated; default: all that are installed, in a dry run normkit and torch.")
@click.option("--minutes", type=click.FloatRange(0, min_open=True), default=8.0, help="Time for all together.")
@click.option("--quick", is_flag=True, help="Few cases, few repeats: does it work at all?")
@click.option("--fresh", is_flag=True, help="Replace the file instead of going on with it.")
@click.option("--retry", is_flag=True, help="Try again what failed before.")
@click.option("--dry-run", is_flag=True, help="On the CPU, tiny shapes, no figures: is the harness whole?")
def main(output, minutes, **options):
    """Check and time normkit on an NVIDIA GPU; exits with 1 if something was wrong, with 2 if something is missing."""
    options |= {"output": str(output), "deadline": time.time() + 60 * minutes}
    status = supervise(options)
    store = Store.read(output) if status != 2 else None
    if store and not options["dry_run"]:
        click.echo(table.summary(store.result))
    sys.exit(status)


if __name__ == "__main__":
    main()
