"""Options that say which data a command works on."""

import click

from .options import together

# said here, not imported: help does not wait for scikit-learn (a test holds the two together)
TASK_RULE = "text, and whole numbers of at most 20 different values, are classes; other numbers a regression"

data_options = together(
    click.option("--dataset", default="digits", show_default=True,
                 help="digits, iris, wine, breast-cancer, diabetes, moons, circles, classification, regression, "
                      "friedman1, fashion-mnist or mnist; the path of a .csv, .parquet, .npz or .svm (LIBSVM) file; or "
                      "a folder of IDX files."),
    click.option("--target", metavar="NAME", help="Column of the labels or numbers to predict; of an NPZ file the "
                                                  "array."),
    click.option("--data-dir", metavar="DIR", help="Folder of the four files of fashion-mnist or mnist."),
    click.option("--task", type=click.Choice(("auto", "classification", "regression")), default="auto",
                 show_default=True, help=f"What the target is. auto: {TASK_RULE}."),
    click.option("--missing", type=click.Choice(("refuse", "impute")), default="refuse", show_default=True,
                 help="Empty fields, NA and NaN: an error that names the first, or the median of the training rows "
                      "(text: a category of its own)."),
    click.option("--group", metavar="NAME", help="Column that says which rows belong together, such as a patient: "
                                                 "none is on two sides of a split."),
    click.option("--drop", metavar="NAME", multiple=True, help="Column to leave out; may be repeated."),
)  # fmt: skip

cv_option = click.option(
    "--cv", type=click.IntRange(2), metavar="K", help="K folds, each the test set once, instead of 60/20/20."
)
