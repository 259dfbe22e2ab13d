"""Models as ONNX graphs, run by ONNX Runtime, or by the package onnx itself where that is missing."""

import sys
import warnings

import numpy as np
import pytest

from normkit import MLPClassifier, MLPRegressor
from normkit.math.activations import FORMULAS

onnx = pytest.importorskip("onnx")

NORMS = (None, "batch", "layer", "rms", "group", "ghost", "renorm", "dyt")
MOVING = (None, "batch", "ghost", "renorm")
SHORT = {"hidden_layer_sizes": (8, 6), "max_iter": 3, "batch_size": 20, "random_state": 0, "norm_groups": 2}
# Relative to the largest output. float32: both sides round, and a norm over the few features of a sample divides what
# they differ in by its deviation; normkit's own distance to float64 arithmetic is up to 1.3e-6 in these cases, and the
# largest difference seen 2.1e-6. float64: 2e-8 seen, of attributes, which ONNX holds as float32.
TOLERANCE = {"float32": 4e-6, "float64": 1e-7}


@pytest.fixture(autouse=True)
def three_epochs_are_few():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@pytest.fixture
def X():
    return np.random.default_rng(0).normal(size=(60, 6))  # (samples, features)


def run(graph, X):
    """Return the outputs by name."""
    try:
        import onnxruntime
    except ImportError:
        from onnx.reference import ReferenceEvaluator

        return dict(zip((output.name for output in graph.graph.output), ReferenceEvaluator(graph).run(None, {"X": X})))
    session = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    return dict(zip((output.name for output in session.get_outputs()), session.run(None, {"X": X})))


def close(mine, theirs, dtype):
    np.testing.assert_allclose(mine, theirs, rtol=0, atol=TOLERANCE[dtype] * max(1.0, np.abs(theirs).max()))
    assert mine.shape == theirs.shape


def regressor(X, **parameters):
    return MLPRegressor(**{**SHORT, **parameters}).fit(X, X[:, :2])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("fold", [False, True])
@pytest.mark.parametrize("position", ["before", "after"])
@pytest.mark.parametrize("norm", NORMS)
def test_norms(X, norm, position, fold, dtype):
    for normalize_input in (False, True):
        model = regressor(X, normalization=norm, norm_position=position, normalize_input=normalize_input, dtype=dtype)
        for name, values in (("gamma", 1.5), ("beta", -0.5)):  # training has hardly moved them
            for layer in model.norm_layers_:
                if getattr(layer, name) is not None:
                    getattr(layer, name)[::2] += values
        if fold and norm not in MOVING:
            with pytest.raises(ValueError, match="'batch', 'ghost', 'renorm'.*, got .*Norm|got DynamicTanh"):
                model.to_onnx(fold_norm=True)
            continue
        graph = model.to_onnx(fold_norm=fold)
        close(run(graph, X.astype(dtype))["prediction"], model.predict(X.astype(dtype)), dtype)
        kinds = {node.op_type for node in graph.graph.node}
        assert ("BatchNormalization" in kinds) == (
            not fold and (norm in MOVING[1:] or norm is None and normalize_input)
        )


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("activation", sorted(FORMULAS))
def test_activations(X, activation, dtype):
    for fold in (False, True):
        model = regressor(X, activation=activation, dtype=dtype, normalization="batch", norm_position="after")
        close(run(model.to_onnx(fold_norm=fold), X.astype(dtype))["prediction"], model.predict(X.astype(dtype)), dtype)


@pytest.mark.parametrize("model_dtype", ["float32", "float64"])
@pytest.mark.parametrize("input_dtype", ["float32", "float64", "uint8"])
def test_types_of_the_input(X, model_dtype, input_dtype):
    scale = 1 / 255
    X = (40 * np.abs(X)).astype(np.uint8).astype(input_dtype)
    model = regressor(X, dtype=model_dtype, input_scale=scale, normalize_input=True, activation=["gelu", "silu"])
    for fold in (False, True):
        graph = model.to_onnx(fold_norm=fold, input_dtype=input_dtype)
        close(run(graph, X)["prediction"], model.predict(X), model_dtype)


LABELS = {
    "binary": lambda X: (X[:, 0] > 0) * 5 - 2,
    "booleans": lambda X: X[:, 0] > 0,
    "two strings": lambda X: np.array(["no", "yes"])[(X[:, 0] > 0).astype(int)],
    "one class": lambda X: np.full(len(X), 3),
    "integers": lambda X: (X[:, 0] > 0) * 1 + (X[:, 1] > 0) * 3,
    "floats": lambda X: (X[:, 0] > 0) + 2.0 * (X[:, 1] > 0),
    "strings": lambda X: np.array(["ä", "b", "c d"])[(X[:, 0] > 0).astype(int) + (X[:, 1] > 0)],
    "objects": lambda X: np.array(["ä", "b", "c d"], object)[(X[:, 0] > 0).astype(int) + (X[:, 1] > 0)],
    "several": lambda X: (X[:, :3] > 0).astype(int),
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kind", LABELS)
def test_classifiers(X, kind, dtype):
    X = X.astype(dtype)
    model = MLPClassifier(normalization="layer", **SHORT).fit(X, LABELS[kind](X))
    outputs = run(model.to_onnx(), X)
    probabilities = model.predict_proba(X)
    if kind == "one class":  # scikit-learn's has two columns all the same
        assert probabilities.shape[1] == 2
    close(outputs["probabilities"], probabilities, dtype)
    np.testing.assert_array_equal(outputs["label"], model.predict(X))
    assert outputs["label"].shape == model.predict(X).shape


@pytest.mark.parametrize("outputs", [1, 2])
@pytest.mark.parametrize("loss", ["squared_error", "poisson"])
def test_regressors(X, loss, outputs):
    y = np.exp(X[:, 0]) if outputs == 1 else np.exp(X[:, :2])
    model = MLPRegressor(loss, normalization="batch", **SHORT).fit(X, y)
    for rows in (X, X[:1]):
        close(run(model.to_onnx(), rows)["prediction"], model.predict(rows), "float64")


def test_no_hidden_layer(X):
    model = MLPRegressor(hidden_layer_sizes=(), normalize_input=True, max_iter=3, random_state=0).fit(X, X[:, 0])
    for fold in (False, True):
        close(run(model.to_onnx(fold_norm=fold), X)["prediction"], model.predict(X), "float64")


def test_errors(X, monkeypatch):
    model = regressor(X)
    with pytest.raises(ValueError, match="input_dtype must be None or one of float32, float64, uint8, got 'int32'"):
        model.to_onnx(input_dtype="int32")
    mixed = MLPClassifier(**SHORT).fit(X, LABELS["strings"](X))
    mixed.classes_ = np.array([*mixed.classes_[:2], 3], object)
    with pytest.raises(ValueError, match="ONNX has labels of one type"):
        mixed.to_onnx()
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ImportError, match=r"pip install 'normkit\[onnx\]'"):
        model.to_onnx()
