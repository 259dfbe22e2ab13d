"""The plots of one model's test set say what scikit-learn's functions say."""

import numpy as np
import pytest
from sklearn.metrics import confusion_matrix, r2_score

from normkit.experiments.report import plots
from normkit.experiments.report.plots import evaluation


def texts(axis):
    return {(int(t.get_position()[1]), int(t.get_position()[0])): t.get_text() for t in axis.texts}


def test_counts_and_shares():
    random = np.random.default_rng(0)
    classes = np.array(["cat", "dog", "emu $x$"])
    y, predictions = classes[random.integers(3, size=50)], classes[random.integers(2, size=50)]
    plot = evaluation.confusion(y, predictions, classes)
    axis = plot.figure.axes[0]
    counts = confusion_matrix(y, predictions, labels=classes)
    assert texts(axis) == {(i, j): str(counts[i, j]) for i, j in np.argwhere(counts)}
    np.testing.assert_allclose(axis.images[0].get_array(), counts / counts.sum(axis=1, keepdims=True))
    assert [label.get_text() for label in axis.get_yticklabels()] == ["cat", "dog", r"emu \$x\$"]
    assert (axis.get_xlabel(), axis.get_ylabel()) == ("predicted", "true")
    assert f"accuracy {np.mean(y == predictions):.4f}, 50 rows" in plot.title
    assert plots.png(plot).startswith(b"\x89PNG")


@pytest.mark.parametrize("count", [2, 20, 21, 41, 300])
def test_many_classes(count):
    classes = np.arange(count)
    plot = evaluation.confusion(classes[:-1], classes[:-1], classes)  # the last one has no row
    axis = plot.figure.axes[0]
    assert len(axis.texts) == (count - 1 if count <= 20 else 0)
    assert np.isfinite(np.asarray(axis.images[0].get_array())).all()
    assert plots.png(plot).startswith(b"\x89PNG")


@pytest.mark.parametrize("rows", [30, 6000])
def test_predicted_against_true(rows):
    random = np.random.default_rng(0)
    y = random.normal(100, 20, rows)
    predictions = y + random.normal(0, 5, rows)
    plot = evaluation.predicted_against_true(y, predictions, "price_$")
    axis = plot.figure.axes[0]
    assert f"R² {r2_score(y, predictions):.4f}" in plot.title and f"{rows:,} rows" in plot.title
    assert axis.get_xlim() == axis.get_ylim() and axis.get_xlabel() == r"true price_\$"
    if rows == 30:
        np.testing.assert_array_equal(axis.lines[0].get_xydata(), np.column_stack([y, predictions]))
    else:
        assert axis.collections[0].get_array().sum() == rows
    assert plots.png(plot).startswith(b"\x89PNG")


def test_one_value():
    plot = evaluation.predicted_against_true(np.full(5, 2.0), np.full(5, 2.0), None)
    low, high = plot.figure.axes[0].get_xlim()
    assert low < 2 < high


def test_a_constant_target_whose_mean_is_another_number():
    y = np.full(30, 0.1)
    assert y.mean() != 0.1
    assert "R² 0.0000" in evaluation.predicted_against_true(y, y + 1, None).title
