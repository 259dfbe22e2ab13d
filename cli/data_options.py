"""Options that say which data a command works on."""

import click

from .options import together

data_options = together(
    click.option("--dataset", default="digits", show_default=True,
                 help="digits, fashion-mnist, or the path of a .csv or .npz file."),
    click.option("--target", metavar="NAME", help="Label column of the CSV, or label array of the NPZ file."),
    click.option("--data-dir", metavar="DIR", help="Folder of the four Fashion-MNIST files."),
)  # fmt: skip
