"""The tables of `gpu.py` in the README, between two markers.

python benchmarks/gpu_table.py benchmarks/results/NAME-gpu.json            writes benchmarks/README.md
python benchmarks/gpu_table.py --check benchmarks/results/NAME-gpu.json    fails if it is not up to date
"""

import json
from pathlib import Path

import click
import table

from normkit.bench.gpu.table import NotAResult, markdown

MARKER = "gpu"


@click.command()
@click.argument("files", nargs=-1, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--check", is_flag=True, help="Write nothing; fail if the README is not what it would write.")
def main(files, check):
    """Put the tables of result FILES of gpu.py into benchmarks/README.md."""
    texts = []
    for file in sorted(files):
        try:
            texts.append(markdown(json.loads(file.read_text(encoding="utf-8"))))
        except NotAResult as error:
            raise click.ClickException(f"{file} is {error}") from None
    text = table.README.read_text(encoding="utf-8")
    new = table._replaced(text, MARKER, texts)
    if check and new != text:
        raise click.ClickException(f"{table.README} is out of date: run this without --check")
    if not check:
        table.README.write_text(new, encoding="utf-8")


if __name__ == "__main__":
    main()
