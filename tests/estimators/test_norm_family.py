"""Norms of the family in an estimator: what they show, frozen, averaged and recomputed statistics, copies."""

import io
import pickle

import numpy as np
import pytest
import scipy.sparse
from sklearn.exceptions import NotFittedError

from normkit import MLPClassifier, MLPRegressor
from normkit.engine.norms import NORMS

NAMES = [name for name in NORMS if name]
STATISTICS = [name for name in NAMES if NORMS[name].moving]
FIT = {"hidden_layer_sizes": (8, 4), "norm_groups": 2, "batch_size": 20, "virtual_batch_size": 8, "random_state": 0}
# kind, name, and numbers of trained and of moving vectors
BATCH = "BatchNormalization", "batch_normalization", 2, 2
KINDS = {
    "batch": BATCH,
    "ghost": BATCH,
    "renorm": BATCH,
    "layer": ("LayerNormalization", "layer_normalization", 2, 0),
    "group": ("GroupNormalization", "group_normalization", 2, 0),
    "rms": ("RMSNormalization", "rms_normalization", 1, 0),
    "dyt": ("DynamicTanh", "dynamic_tanh", 2, 0),
}


def norms_of(model):
    return [v.copy() for layer in model.norm_layers_
            for v in (*layer.trainable_variables.values(), *layer.non_trainable_variables.values())]  # fmt: skip


@pytest.mark.parametrize("normalization", NAMES)
def test_layers_and_counts(normalization, blobs):
    model = MLPClassifier(normalization=normalization, max_iter=2, **FIT).fit(*blobs)
    kind, name, trained, moving = KINDS[normalization]
    assert [layer.name for layer in model.norm_layers_] == [name, f"{name}_1"]
    assert {layer.kind for layer in model.norm_layers_} == {kind}
    alphas = 2 * (normalization == "dyt")
    biases = 12 if normalization in ("rms", "dyt") else 0
    dense = 4 * 8 + 8 * 4 + 4 * 3 + 3 + biases
    assert model.count_params() == (dense + 12 * trained + alphas, 12 * moving)
    out = io.StringIO()
    model.summary(out)
    assert out.getvalue().count(kind) == 2
    assert f"Trainable parameters: {dense + 12 * trained + alphas}\n" in out.getvalue()
    model.set_params(freeze_norm=True).summary(out)
    assert model.count_params() == (dense, 12 * (trained + moving) + alphas)
    assert f"Trainable parameters: {dense}\n" in out.getvalue()
    for layer in model.norm_layers_:
        assert (layer.alpha is not None) == (normalization == "dyt")
        assert (layer.beta is None) == (normalization == "rms")


def test_alpha_is_a_view(blobs):
    model = MLPClassifier(normalization="dyt", dyt_alpha=0.7, max_iter=3, **FIT).fit(*blobs)
    first = model.norm_layers_[0]
    assert first.alpha.shape == () and 0.6 < first.alpha < 0.8 and first.alpha != 0.7
    first.alpha[...] = 0
    hidden = model.hidden_activations(blobs[0], 0)
    np.testing.assert_allclose(hidden, np.maximum(np.tile(first.beta, (60, 1)), 0), atol=1e-12)


@pytest.mark.parametrize("normalization", NAMES)
def test_pickle_goes_on_alike(normalization, blobs):
    X, y = blobs
    model = MLPClassifier(normalization=normalization, norm_momentum=None, **FIT)
    for _ in range(2):
        model.partial_fit(X, y, classes=[0, 1, 2])
    copy = pickle.loads(pickle.dumps(model))
    copy._random_state = pickle.loads(pickle.dumps(model._random_state))
    np.testing.assert_array_equal(copy.predict_proba(X), model.predict_proba(X))
    for one in (model, copy):
        one.partial_fit(X, y)
    np.testing.assert_array_equal(copy.predict_proba(X), model.predict_proba(X))


@pytest.mark.parametrize("normalization", STATISTICS)
def test_cumulative_average_over_calls(normalization, blobs):
    X, y = blobs
    fit = {**FIT, "hidden_layer_sizes": (), "normalize_input": True, "shuffle": False, "batch_size": 20}
    model = MLPClassifier(normalization=normalization, norm_momentum=None, **fit)
    for part in (slice(0, 40), slice(20, 60)):
        model.partial_fit(X[part], y[part], classes=[0, 1, 2])
    batches = [X[:20], X[20:40], X[20:40], X[40:]]
    if normalization == "ghost":
        batches = [half for batch in batches for half in (batch[:8], batch[8:])]
    (layer,) = model.norm_layers_
    np.testing.assert_allclose(layer.moving_mean, np.mean([b.mean(axis=0) for b in batches], axis=0), rtol=1e-12)
    np.testing.assert_allclose(layer.moving_variance, np.mean([b.var(axis=0) for b in batches], axis=0), rtol=1e-12)


@pytest.mark.parametrize("normalization", NAMES)
def test_early_stopping_restores_norms(normalization, blobs):
    seen = []

    def record(model):
        seen.append((model.validation_scores_[-1], norms_of(model), model._network.statistics.batches.copy()))

    model = MLPClassifier(
        normalization=normalization, norm_momentum=None, early_stopping=True, max_iter=8, learning_rate_init=0.05,
        epoch_callback=record, **FIT,
    ).fit(*blobs)  # fmt: skip
    _, expected, batches = max(seen, key=lambda entry: entry[0])  # the first of the best
    for mine, kept in zip(norms_of(model), expected, strict=True):
        np.testing.assert_array_equal(mine, kept)
    np.testing.assert_array_equal(model._network.statistics.batches, batches)


@pytest.mark.parametrize("freeze", ["statistics", True])
@pytest.mark.parametrize("normalization", NAMES)
@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_frozen_norms(solver, normalization, freeze, blobs):
    X, y = blobs
    model = MLPClassifier(normalization=normalization, norm_momentum=0.5, max_iter=5, warm_start=True, **FIT).fit(X, y)
    before, coefs = norms_of(model), model.coefs_[0].copy()
    model.set_params(freeze_norm=freeze, solver=solver, batch_size=1).fit(X, y)  # no batch is too small
    after = norms_of(model)
    assert (model.coefs_[0] != coefs).any()
    kept = [np.array_equal(a, b) for a, b in zip(before, after, strict=True)]
    per_layer = len(kept) // 2
    moving = 2 * (normalization in STATISTICS)
    trained = [freeze is True] * (per_layer - moving) + [True] * moving
    assert kept == 2 * trained


@pytest.mark.parametrize("position", ["before", "after"])
@pytest.mark.parametrize("normalization", STATISTICS)
def test_recompute_statistics(normalization, position, blobs, monkeypatch):
    X, y = blobs
    model = MLPRegressor(
        activation="tanh", normalization=normalization, norm_position=position, normalize_input=True, max_iter=4, **FIT
    ).fit(X, y)  # fmt: skip
    monkeypatch.setattr("normkit.engine.network._MOMENT_ROWS", 7)  # several chunks, the last one smaller
    assert model.recompute_statistics(X) is model
    layers, a = model.norm_layers_, X
    for b, layer in enumerate(layers):
        if b:
            a = a @ model.coefs_[b - 1] + model.intercepts_[b - 1]
            a = np.tanh(a) if position == "after" else a
        np.testing.assert_allclose(layer.moving_mean, a.mean(axis=0), rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(layer.moving_variance, a.var(axis=0), rtol=1e-9)
        a = layer.gamma * (a - layer.moving_mean) / np.sqrt(layer.moving_variance + 1e-3) + layer.beta
        a = np.tanh(a) if b and position == "before" else a
    predicted, dense = model.predict(X), norms_of(model)
    model.recompute_statistics(scipy.sparse.csr_matrix(X))
    np.testing.assert_allclose(model.predict(X), predicted, rtol=1e-9)
    np.testing.assert_allclose(np.concatenate(norms_of(model)), np.concatenate(dense), rtol=1e-9)


def test_recompute_statistics_refuses(blobs):
    X, y = blobs
    with pytest.raises(NotFittedError):
        MLPClassifier(normalization="batch").recompute_statistics(X)
    for normalization in (None, "layer", "rms", "group", "dyt"):
        model = MLPClassifier(normalization=normalization, max_iter=1, **FIT).fit(X, y)
        with pytest.raises(ValueError, match="no layer has moving statistics"):
            model.recompute_statistics(X)
    model = MLPClassifier(normalization="batch", dtype="float32", max_iter=1, **FIT).fit(X, y)
    before = norms_of(model)
    with pytest.raises(ValueError, match="4 features"):
        model.recompute_statistics(X[:, :3])
    with pytest.raises(ValueError, match="not finite"):
        model.recompute_statistics(X * 1e30)
    for mine, kept in zip(norms_of(model), before, strict=True):
        np.testing.assert_array_equal(mine, kept)


def test_another_kind_takes_over_what_both_have(blobs):
    X, y = blobs
    model = MLPClassifier(normalization="batch", norm_momentum=0.5, max_iter=5, **FIT).fit(X, y)
    before = norms_of(model)
    for normalization in ("ghost", "renorm"):
        model.set_params(normalization=normalization).predict(X)
        for mine, kept in zip(norms_of(model), before, strict=True):
            np.testing.assert_array_equal(mine, kept)
    gammas = [layer.gamma.copy() for layer in model.norm_layers_]
    model.set_params(normalization="rms").predict(X)
    for layer, gamma in zip(model.norm_layers_, gammas):
        np.testing.assert_array_equal(layer.gamma, gamma)


def test_lbfgs_with_virtual_batches(blobs):
    X, y = blobs
    model = MLPClassifier(
        (), normalization="ghost", normalize_input=True, virtual_batch_size=30, solver="lbfgs", max_iter=5
    )
    model.fit(X, y)
    (layer,) = model.norm_layers_
    np.testing.assert_allclose(layer.moving_mean, X.mean(axis=0), rtol=1e-10)
    np.testing.assert_allclose(layer.moving_variance, (X[:30].var(axis=0) + X[30:].var(axis=0)) / 2, rtol=1e-10)
