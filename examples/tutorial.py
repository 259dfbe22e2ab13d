"""Every figure of the tutorial, measured: ``python examples/tutorial.py``.

Needs Fashion-MNIST (Debian, Ubuntu: ``apt-get install dataset-fashion-mnist``; or ``--data-dir``). Writes
results.json, from which the documentation makes its tables, and curves.png. ``--quick`` runs every experiment once, on
few images: it shows that the script works, not what is true.
"""

import hashlib
import inspect
import json
from dataclasses import asdict, dataclass
from pathlib import Path

import click
import matplotlib
import numpy as np
from advice import EXPERIMENTS
from measuring import Data, Scale, fitted, mean_and_interval

import normkit
from normkit.experiments.data import load, split

HERE = Path(__file__).parent
FULL = Scale(rows=6000, test_rows=10_000, epochs=10, seeds=5, course_rows=55_000, course_seeds=3)
QUICK = Scale(rows=640, test_rows=300, epochs=1, seeds=2, course_rows=640, course_seeds=2)


@dataclass
class Table:
    """A table of the documentation; cells are text."""

    columns: list[str]
    rows: list[list[str]]
    fingerprint: str = ""


def fingerprint(experiment, scale):
    """Return a digest of what a table depends on here: the code of the experiment, how it trains, and how much."""
    text = inspect.getsource(experiment) + (HERE / "measuring.py").read_text(encoding="utf-8") + repr(scale)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def course(data: Data, scale: Scale, curves: Path) -> dict[str, Table]:
    """Train 256-128-64 with and without batch norm on all images; draw the curves."""
    parts = [data.take(scale.course_rows, seed) for seed in range(scale.course_seeds)]
    changes = {"max_iter": scale.epochs, "norm_momentum": 0.99}
    models = {
        name: [fitted(part, seed, {**changes, "normalization": norm}, True) for seed, part in enumerate(parts)]
        for name, norm in (("none", None), ("batch", "batch"))
    }
    draw(models, curves)
    X, y = data.X_test[: scale.test_rows], data.y_test[: scale.test_rows]
    scores, gaps = [], []

    def add(name, fits):
        probabilities = [model.predict_proba(X) for model in fits]
        losses = [-np.log(p[np.arange(len(y)), y]).mean() for p in probabilities]
        found = np.array([(p.argmax(axis=1) == y).mean() for p in probabilities])
        training = np.array([model.score(part.X, part.y) for model, part in zip(fits, parts)])
        count = sum(fits[0].count_params())
        scores.append([name, f"{count:,}", mean_and_interval(losses), mean_and_interval(found)])
        gaps.append([name, mean_and_interval(training), mean_and_interval(training - found)])

    for name, fits in models.items():
        add(name, fits)
    for model, part in zip(models["batch"], parts):
        model.recompute_statistics(part.X)
    add("batch, exact statistics", models["batch"])
    return {
        "course": Table(["norm", "parameters", "test loss", "test accuracy"], scores),
        "gap": Table(["norm", "training accuracy", "training minus test accuracy"], gaps),
    }


def draw(models, path):
    """Draw accuracy and loss of training and validation set by epoch: means over seeds, and their range."""
    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    panels = [("accuracy", "score", "val_score"), ("cross-entropy", "loss", "val_loss")]
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    for axis, (label, *names) in zip(axes, panels):
        for color, (norm, fits) in zip(("tab:gray", "tab:blue"), models.items()):
            for style, name, which in zip(("--", "-"), names, ("training", "validation")):
                lines = np.array([fit.history_[name] for fit in fits])
                epochs = np.arange(1, lines.shape[1] + 1)
                axis.plot(epochs, lines.mean(axis=0), style, color=color, label=f"{norm}, {which}")
                axis.fill_between(epochs, lines.min(axis=0), lines.max(axis=0), color=color, alpha=0.15, lw=0)
        axis.set(xlabel="epoch", ylabel=label)
        axis.grid(alpha=0.3)
    axes[0].legend(frameon=False, fontsize="small")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=144)
    plt.close(figure)


@click.command()
@click.option("--output", type=click.Path(path_type=Path), default=HERE.parent / "docs" / "tutorial_results")
@click.option("--data-dir", help="Folder of the files of Fashion-MNIST.")
@click.option("--quick", is_flag=True, help="Once, on few images.")
@click.option("--only", "names", multiple=True, type=click.Choice(["course", *EXPERIMENTS]), help="May be repeated.")
def main(output, data_dir, quick, names):
    """Measure what the tutorial shows; experiments that are not named keep their figures."""
    scale = QUICK if quick else FULL
    file = output / "results.json"
    tables = json.loads(file.read_text())["tables"] if names and file.exists() else {}
    data = Data.of(split(load("fashion-mnist", data_dir=data_dir), 0))
    for name in names or ["course", *EXPERIMENTS]:
        click.echo(name)
        if name == "course":
            found = course(data, scale, output / "curves.png")
        else:
            found = {name: Table(*EXPERIMENTS[name](data, scale))}
        for key, table in found.items():
            table.fingerprint = fingerprint(EXPERIMENTS.get(name, course), scale)
            tables[key] = asdict(table)
            for row in [table.columns, *table.rows]:
                click.echo("  " + " | ".join(row))
        about = {"normkit": normkit.__version__, "scale": asdict(scale)}
        output.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps({**about, "tables": tables}, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
