"""Plots: what is on them is what the summary says, whatever there is to draw."""

import io
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import matplotlib
import numpy as np
import pytest
from drawn_runs import grid, lost, run
from matplotlib.image import imread

from normkit.experiments.report import plots
from normkit.experiments.report.plots.style import COLOURS, KNOWN, looks, printable
from normkit.experiments.report.plots.training import mean_curve
from normkit.experiments.report.sections import sections
from normkit.experiments.report.texts import number
from normkit.experiments.statistics.summary import summarize

SVG = "{http://www.w3.org/2000/svg}"
EIGHT = ("none", "batch", "layer", "group", "rms", "ghost", "renorm", "dyt")
HOSTILE = '</script><img src=x onerror="alert(1)">$\\frac{$ \x00\x1b'


def drawn(runs, baseline="none"):
    return {plot.name: plot for _, plot in plots.draw(summarize(runs, baseline), runs)}


def texts(plot):
    """What is written on a plot, its titles apart."""
    root = ElementTree.fromstring(plots.svg(plot))
    return ["".join(element.itertext()).strip() for element in root.iter(f"{SVG}text")]


def line_of(axis, colour):
    """The values of the line that joins the points of one colour."""
    joined = [line for line in axis.lines if line.get_color() == colour and line.get_linestyle() in ("-", "--")]
    return max(joined, key=lambda line: len(line.get_xdata()))


def seen(plot):
    """The palette's colours that at least 15 pixels of the picture have."""
    picture = np.round(imread(io.BytesIO(plots.png(plot)))[..., :3] * 255).astype(int).reshape(-1, 3)
    palette = {colour: [int(colour[i : i + 2], 16) for i in (1, 3, 5)] for colour in COLOURS}
    return [name for name, colour in palette.items() if (abs(picture - colour).max(axis=1) <= 2).sum() >= 15]


@pytest.mark.parametrize(
    ("runs", "names", "lines"),
    [
        (grid(), ["score", "heat", "curves"], 2),
        (grid(seeds=1, batch_sizes=(8,)), ["score", "heat", "curves"], 2),  # no interval
        (grid(EIGHT, (1, 2, 4, 8, 16, 32, 64, 128, 256, 1000), 2, norm_groups=4, curves={}), ["score", "heat"], 8),
        (grid(batch_sizes=(8,), epochs=1), ["score", "heat", "curves"], 2),
        (grid(batch_sizes=(8,), epochs=120), ["score", "heat", "curves"], 2),
        ([lost(curves={"loss": [], "val_loss": []}), lost("batch")], ["score", "heat"], 2),
        ([lost(), lost("batch", status="failed"), *grid(("layer",))], ["score", "heat", "curves"], 3),
        (grid(batch_sizes=(8,), metric="r2", score=-0.4), ["score", "heat", "curves"], 2),
        (
            grid(batch_sizes=(8,), learning_rate=0.1) + grid(learning_rate=1.0),
            ["score", "heat", "rates", "heat-rates", "curves"], 2,
        ),
    ],
)  # fmt: skip
def test_there_is_a_plot_of_everything(runs, names, lines):
    made = drawn(runs)
    assert list(made) == names
    for plot in made.values():
        assert imread(io.BytesIO(plots.png(plot))).shape[1] > 400
        root = ElementTree.fromstring(plots.svg(plot))
        told = [spot.find(f"{SVG}title").text for spot in root.iter(f"{SVG}g") if spot.get("class") == "spot"]
        assert told == [*plot.spots.values()] and told
    # squares of a heat map may have a colour like one of the palette's
    assert len(seen(made["score"])) >= lines


def test_score_against_batch_size_is_the_summarys():
    runs = grid(("none", "batch", "layer"), (4, 16, 64))
    summary = summarize(runs)
    plot = drawn(runs)["score"]
    axis = plot.figure.axes[0]
    for choice, look in looks(summary.cells).items():
        cells = [cell for cell in summary.cells if cell.choice == choice]
        line = line_of(axis, look.colour)
        assert line.get_ydata() == pytest.approx([cell.test_score for cell in cells])
        assert line.get_xdata() == pytest.approx([4, 16, 64], rel=0.2)  # moved apart a little
        bars = [line.get_ydata() for line in axis.lines if line.get_color() == look.colour and line.get_marker() == "_"]
        assert np.array(bars) == pytest.approx(np.array([(cell.low, cell.high) for cell in cells]))
        assert f"{choice}: {cells[1].test_score:.4f} [" in plot.spots["spot-2"]
    assert axis.get_xscale() == "log"
    assert {"batch size", "test accuracy", "none", "batch", "layer", "4", "16", "64"} <= set(texts(plot))


def test_the_bars_of_neighbouring_batch_sizes_stay_apart():
    axis = drawn(grid(EIGHT, (30, 32), 2, norm_groups=4))["score"].figure.axes[0]
    reach = {colour: line_of(axis, colour).get_xdata() for colour in COLOURS}
    assert max(x[0] for x in reach.values()) < min(x[1] for x in reach.values())


def test_diverged_runs_are_marked():
    runs = [
        *grid(("none",), (4, 16, 64)), *[lost("batch", 4, seed) for seed in range(3)],
        *grid(("batch",), (16, 64)), lost("batch", 64, 3),
    ]  # fmt: skip
    made = drawn(runs)
    axis = made["score"].figure.axes[0]
    joined = line_of(axis, looks(summarize(runs).cells)["batch"].colour)
    assert np.isnan(joined.get_ydata()).tolist() == [True, False, False]  # no line where there is no score
    crosses = [line for line in axis.lines if line.get_marker() == "x"]
    assert len(crosses) == 1 and crosses[0].get_ydata()[0] < 0.1
    hollow = [line for line in axis.lines if line.get_markerfacecolor() == "#ffffff"]
    assert [line.get_xdata()[0] for line in hollow] == pytest.approx([64], rel=0.2)
    assert {"every run diverged", "some runs diverged"} <= set(texts(made["score"]))
    assert "batch: div 3/3" in made["score"].spots["spot-1"]
    assert {"div 3/3", "div 1/4"} <= set(texts(made["heat"]))


def test_heat_map_marks_the_best_and_the_tied():
    scores = {"none": (0.70, 0.71, 0.72), "batch": (0.90, 0.91, 0.92), "layer": (0.91, 0.90, 0.921)}
    runs = [run(norm, 8, seed, score) for norm, row in scores.items() for seed, score in enumerate(row)]
    plot = drawn(runs)["heat"]
    assert {"0.710", "0.910 ≈", "0.910 ★"} <= set(texts(plot))
    told = "".join(plot.spots.values())
    assert told.count("the best") == 2 and told.count("tied with the best") == 1


def test_a_score_that_is_far_below_the_axis_does_not_press_the_others_together():
    runs = [
        run(norm, size, seed, -1e6 if (norm, size) == ("batch", 32) else 0.3 + seed / 10, metric="r2")
        for norm in ("none", "batch") for size in (8, 32) for seed in range(3)
    ]  # fmt: skip
    plot = drawn(runs)["score"]
    axis = plot.figure.axes[0]
    assert -1.5 < axis.get_ylim()[0] < axis.get_ylim()[1] <= 1.1
    assert any(line.get_marker() == r"$\downarrow$" for line in axis.lines)
    assert "batch: -1e+06" in plot.spots["spot-2"]


def test_learning_rates_stand_for_a_choice_by_validation_not_by_test():
    runs = [
        run("none", 8, seed, score=test, validation_score=validation, learning_rate=rate)
        for rate, test, validation in ((0.1, 0.6, 0.9), (1.0, 0.8, 0.7)) for seed in range(2)
    ]  # fmt: skip
    made = drawn(runs)
    assert "none: 0.6000" in made["score"].spots["spot-1"]
    assert line_of(made["rates"].figure.axes[0], COLOURS[0]).get_ydata() == pytest.approx([0.6, 0.8])
    assert made["rates"].figure.axes[0].get_xscale() == "log"


def test_scaled_learning_rates_are_no_axis():
    runs = grid(batch_sizes=(8,), learning_rate=0.1) + grid(batch_sizes=(32,), learning_rate=0.4)
    assert list(drawn(runs)) == ["score", "heat", "curves"]


def test_what_else_is_compared_has_plots_of_its_own():
    runs = grid(dropout=0.0) + grid(dropout=0.5)
    found = sections(summarize(runs).cells, runs)
    assert [section.label for section in found] == ["dropout 0", "dropout 0.5"]
    assert [len(section.cells) for section in found] == [4, 4]
    assert list(drawn(runs)) == ["score", "heat", "curves", "score-2", "heat-2", "curves-2"]


def test_what_a_norm_does_not_read_does_not_set_it_apart():
    runs = grid(("none",)) + grid(("group",), norm_groups=4) + grid(("group",), norm_groups=16)
    found = sections(summarize(runs).cells, runs)
    assert [section.label for section in found] == ["norm groups 4", "norm groups 16"]
    assert all(section.choices == ["none", "group"] for section in found)


def test_curves_are_means_of_the_runs_that_ended():
    short = lost("batch", 8, 1, curves={"val_loss": [0.4, 9e9], "val_score": [0.1, 0.1]})
    runs = [run("none", 8, 0, 0.8), run("none", 8, 1, 0.9), run("batch", 8, 0, 0.9), short]
    plot = drawn(runs)["curves"]
    loss, score = plot.figure.axes
    thick = [line for line in score.lines if line.get_linewidth() == 1.8]
    assert thick[0].get_ydata() == pytest.approx([0.35, 0.6, 0.85])
    assert any(line.get_marker() == "x" and line.get_xdata()[0] == 2 for line in loss.lines)
    assert loss.get_ylim()[1] < 10
    assert "none: validation 0.8500, training 0.9900" in "\n".join(plot.spots.values())


@pytest.mark.parametrize("value", [None, float("nan"), float("inf")])
def test_curves_with_numbers_that_are_none(value):
    curves = {"loss": [value] * 3, "val_loss": [0.3, 0.2, 0.1], "score": [], "val_score": [0.5, value, 0.5]}
    plot = drawn([run(), run("batch", curves=curves)])["curves"]
    assert len(plots.png(plot)) > 1000
    told = "\n".join(plot.spots.values())
    shown = "inf" if value == float("inf") else "–"
    assert f"batch: validation 0.2000, training {shown}" in told
    assert f"batch: validation {shown}, training –" in told


def test_mean_of_curves_ends_with_the_shortest():
    assert mean_curve([[1.0, 2.0, 3.0], [3.0, 4.0], []]).tolist() == [2.0, 3.0]
    assert mean_curve([]).size == 0


def test_one_training_can_be_drawn_alone():
    plot = plots.of_training(run().curves, "accuracy", "batch")
    assert COLOURS[1] in seen(plot)
    assert {"batch", "validation", "training", "epoch"} <= set(texts(plot))


def test_layers_are_drawn_where_runs_looked_into_them():
    def entries(factor):
        return [
            {"epoch": epoch, "layer": layer, "name": name, "gradient_norm": factor * epoch, "saturated": share}
            for epoch in (1, 2, 3) for layer, name, share in ((1, "hidden 1", 0.5), (2, HOSTILE, None))
        ]  # fmt: skip

    runs = [run("batch", 8, 0, diagnostics=entries(1)), run("batch", 8, 1, diagnostics=entries(3)), run("none", 8)]
    made = drawn(runs)
    assert list(made) == ["score", "heat", "curves", "layers-8"]
    plot = made["layers-8"]
    assert len(plot.figure.axes) == 3  # the second layer has no share
    assert plot.figure.axes[0].lines[0].get_ydata() == pytest.approx([2, 4, 6])
    ElementTree.fromstring(plots.svg(plot))


def test_the_same_plot_is_the_same_bytes_whatever_the_users_settings_are():
    def files():
        made = drawn(grid(batch_sizes=(8,))).values()
        return [(plots.png(plot), plots.svg(plot), plots.inline(plot, "a-")) for plot in made]

    first = files()
    with matplotlib.rc_context({"lines.linewidth": 9, "svg.fonttype": "path", "font.size": 20}):
        before = dict(matplotlib.rcParams)
        assert files() == first
        assert dict(matplotlib.rcParams) == before
    assert b"<dc:date>" not in first[0][1] and b"<text" in first[0][1]


def test_a_choice_looks_the_same_in_every_company():
    every = looks(summarize(grid(EIGHT, norm_groups=4)).cells)
    assert [*every] == [*EIGHT] and set(EIGHT) == set(KNOWN)
    assert len({look.colour for look in every.values()}) == len({look.marker for look in every.values()}) == 8
    few = looks(summarize(grid(("dyt", "layer"), (8,)), "dyt").cells)
    assert few == {name: every[name] for name in ("dyt", "layer")}
    after = looks(summarize(grid(("none", "batch"), norm_position="after")).cells)
    assert (after["batch after"].colour, after["batch after"].line) == (every["batch"].colour, "--")
    strange = looks(summarize(grid(("none", "x", "y", "z"))).cells)
    assert len({(look.colour, look.marker) for look in strange.values()}) == 4


@pytest.mark.parametrize("name", [HOSTILE, "_hidden", "\ud800url(#a)#0072b2"])
def test_hostile_names_are_text(name):
    for plot in drawn(grid(("none", name), (8,), 2)).values():
        assert len(plots.png(plot)) > 1000
        ElementTree.fromstring(plots.svg(plot))
        page = ElementTree.fromstring(plots.inline(plot, "a-"))
        assert not [element for element in page.iter() if element.tag in ("img", "script")]
        assert any(printable(name) in text for text in page.itertext())


def test_pyplot_is_not_imported():
    code = """if True:
        import sys
        sys.path.insert(0, {!r})
        from drawn_runs import grid
        from normkit.experiments.report import plots
        from normkit.experiments.statistics.summary import summarize
        assert "matplotlib" not in sys.modules
        for _, plot in plots.draw(summarize(grid()), grid()):
            plots.svg(plot)
        assert "matplotlib.pyplot" not in sys.modules
    """
    subprocess.run([sys.executable, "-c", code.format(str(Path(__file__).parents[1]))], check=True, timeout=300)


def test_numbers():
    assert [number(x) for x in (None, float("nan"), 0.12345, -2.0, 1e6)] == ["–", "–", "0.1235", "-2.0000", "1e+06"]
