"""Plots: PNG files with something on them."""

import numpy as np
import pytest
from matplotlib.image import imread

from normkit.experiments import plots
from normkit.experiments.runs import Epoch, Run
from normkit.experiments.statistics import summarize


def runs(epochs=3, seeds=2, norms=("none", "batch", "layer"), batch_sizes=(8, 32)):
    random = np.random.default_rng(0)
    return [
        Run(
            norm, size, seed, 100, "ok", float(random.random()), 0.1, 0.1, 0.1,
            [Epoch(*map(float, random.random(5))) for _ in range(epochs)],
        )
        for norm in norms for size in batch_sizes for seed in range(seeds)
    ]  # fmt: skip


def diverged(norm="none", size=8):
    return [Run(norm, size, 0, 100, "diverged")]


def colours(path):
    """The palette's colours that at least 20 pixels of the picture have."""
    picture = np.round(imread(path)[..., :3] * 255).astype(int).reshape(-1, 3)
    found = []
    for name in plots._COLOURS:
        colour = [int(name[i : i + 2], 16) for i in (1, 3, 5)]
        if (abs(picture - colour).max(axis=1) <= 2).sum() >= 20:
            found.append(name)
    return found


@pytest.mark.parametrize(
    ("made", "lines"),
    [
        (runs(), 3),
        (runs(seeds=1), 3),  # no interval
        (runs(batch_sizes=(8,)), 3),
        (runs(norms=("batch",), batch_sizes=(1, 10_000)), 1),
        (diverged() + runs(norms=("batch",)), 1),
        (diverged(), 0),
    ],
)
def test_accuracy_against_batch_size(tmp_path, made, lines):
    path = tmp_path / "accuracy.png"
    plots.accuracy_against_batch_size(path, summarize(made))
    # an errorbar without points still draws its sign in the legend
    assert len(colours(path)) >= lines
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("made", "lines"),
    [
        (runs(), 3),
        (runs(epochs=1), 3),
        (runs(epochs=50), 3),
        (diverged() + runs(norms=("batch",)), 1),  # one colour a norm, also where another is missing
        (diverged(), 0),
    ],
)
def test_curves_by_batch_size(tmp_path, made, lines):
    path = tmp_path / "curves.png"
    plots.curves_by_batch_size(path, made)
    assert len(colours(path)) == lines
    rows = len({run.batch_size for run in made})
    assert imread(path).shape[0] == pytest.approx(rows * 3.6 * 120, abs=2)


def test_curves_of_one_model(tmp_path):
    path = tmp_path / "curves.png"
    plots.curves(path, {"": {"batch": [runs()[0].curves]}})
    assert colours(path) == [plots._COLOURS[0]]
