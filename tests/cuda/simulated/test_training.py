"""Models trained in the simulator, against the CPU's engine: the same parameters after the same steps, to rounding.

14 rows in batches of 4 leave a batch of 2, and two epochs let both sizes run directly and recorded.
"""

import gc
import pickle

import numpy as np
import pytest

from normkit import MLPClassifier, MLPRegressor
from normkit.math.activations import FORMULAS

# float32's is that of sums in another order, through two epochs; a larger epsilon keeps Adam from blowing up those of
# gradients that are rounding errors alone
CLOSE = {"float64": 1e-11, "float32": 3e-5}
TASKS = ("softmax", "logistic", "multilabel", "identity", "exp")
NAMES = list(FORMULAS)


def data(task, rng, rows=14):
    X = rng.normal(0, 1, (rows, 5))
    if task == "softmax":
        return X, np.arange(rows) * 5 % 3
    if task == "logistic":
        return X, np.arange(rows) % 2
    if task == "multilabel":
        return X, (rng.random((rows, 3)) < 0.4).astype(int)
    return X, rng.random((rows, 2)) + (rng.random((rows, 2)) > 0.2)


def model(task, device, **options):
    defaults = {
        "hidden_layer_sizes": (6, 4), "activation": "elu", "batch_size": 4, "max_iter": 2, "random_state": 0,
        "norm_groups": 2, "epsilon": 1e-3, "alpha": 0.01, "norm_momentum": 0.8, "learning_rate_init": 0.01,
    }  # fmt: skip
    options = {**defaults, **options, "device": device}
    if task in ("identity", "exp"):
        return MLPRegressor({"identity": "squared_error", "exp": "poisson"}[task], **options)
    return MLPClassifier(**options)


def state(model):
    return [model._network.params, *model._network.statistics, model.loss_curve_]


def assert_same(mine, wanted, dtype="float64"):
    assert mine._network.dtype == dtype
    assert len(mine.loss_curve_) == len(wanted.loss_curve_)
    for a, b in zip(state(mine), state(wanted), strict=True):
        np.testing.assert_allclose(a, b, rtol=CLOSE[dtype], atol=CLOSE[dtype])


def both(task, X, y, sample_weight=None, **options):
    return [model(task, device, **options).fit(X, y, sample_weight) for device in ("cuda", "cpu")]


@pytest.mark.parametrize("position", ["before", "after"])
@pytest.mark.parametrize("norm", [None, "batch", "layer", "rms", "group", "dyt"])
def test_norms(gpu, rng, norm, position):
    """Each with dropout, weights of the samples and a norm on the input, where a group of features divides it."""
    X, y = data("softmax", rng)
    weight = rng.random(14) + 0.1
    mine, wanted = both(
        "softmax", X, y, weight, normalization=norm, norm_position=position, dropout=0.3, norm_momentum=None,
        normalize_input=norm in (None, "batch", "rms"), decoupled_weight_decay=0.1,
    )  # fmt: skip
    assert_same(mine, wanted)
    assert "replay" in gpu.log
    untrained = model("softmax", "cpu", max_iter=1, learning_rate_init=1e-12, normalization=norm).fit(X, y)
    assert not np.allclose(mine.coefs_[0], untrained.coefs_[0], atol=1e-3)


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("dtype", CLOSE)
def test_losses(gpu, rng, task, dtype):
    X, y = data(task, rng)
    mine, wanted = both(task, X.astype(dtype), y, normalization="batch", dropout=[0.0, 0.5])
    assert_same(mine, wanted, dtype)
    if task in ("identity", "softmax"):  # what was trained is an ordinary model
        np.testing.assert_allclose(mine.predict(X), wanted.predict(X), atol=10 * CLOSE[dtype])


def test_large_means(gpu, rng):
    """What rounding a mean of 1e4 to float32 leaves out is 1e-3 of what is normalized."""
    X, y = data("softmax", rng)
    X = (X + rng.uniform(1e4, 2e4, 5)).astype(np.float32)
    mine, wanted = both("softmax", X, y, normalize_input=True, max_iter=1)
    np.testing.assert_allclose(mine._network.params, wanted._network.params, atol=CLOSE["float32"])


@pytest.mark.parametrize("names", [NAMES[:5], NAMES[5:]], ids="-".join)
@pytest.mark.parametrize("position", ["before", "after"])
def test_activations(gpu, rng, names, position):
    X, y = data("identity", rng)
    options = {"hidden_layer_sizes": (3,) * 5, "activation": names, "max_iter": 1}
    assert_same(*both("identity", X, y, normalization="batch", norm_position=position, **options))
    if position == "before":
        assert_same(*both("identity", X.astype(np.float32), y, **options), "float32")


@pytest.mark.parametrize("nesterov", [True, False])
def test_sgd_and_schedules(gpu, rng, nesterov):
    X, y = data("softmax", rng)
    options = {"learning_rate": "invscaling"} if nesterov else {"warmup_epochs": 1.5, "learning_rate_decay": "cosine"}
    mine, wanted = both(
        "softmax", X, y, solver="sgd", nesterovs_momentum=nesterov, normalization="rms", max_iter=3, **options
    )  # fmt: skip
    assert_same(mine, wanted)


@pytest.mark.parametrize("frozen", [True, "statistics"])
@pytest.mark.parametrize("scale", [True, False])
def test_frozen_norms(gpu, rng, frozen, scale):
    X, y = data("softmax", rng)
    options = {"normalization": "batch", "norm_position": "after", "norm_moving_mean_initializer": 0.3}
    mine, wanted = both("softmax", X, y, freeze_norm=frozen, norm_scale=scale, **options)
    assert_same(mine, wanted)
    assert np.all(mine.norm_layers_[0].moving_mean == 0.3)
    assert np.all(mine._network.vector("beta", 1) == 0) == (frozen is True)


@pytest.mark.parametrize("last", ["merge", "drop"])
def test_last_batch(gpu, rng, last):
    X, y = data("identity", rng)
    assert_same(*both("identity", X, y, last_batch=last, normalization="batch"))


def test_batches_without_weight(gpu, rng):
    """They are left out, and counted; a sample without weight is none."""
    X, y = data("softmax", rng)
    weight = np.r_[np.zeros(5), np.ones(9)]
    assert_same(*both("softmax", X, y, weight, shuffle=False, normalization="batch"))


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_rows_of_other_types(gpu, rng, dtype):
    X = rng.integers(0, 256, (14, 10)).astype(dtype)[:, ::2]
    options = {"input_scale": 1 / 255, "dtype": "float64"}
    assert_same(*both("softmax", X, np.arange(14) % 3, **options))


def test_class_weight_and_float32(gpu, rng):
    X, y = data("softmax", rng)
    y[:4] = 0
    assert_same(*both("softmax", X.astype(np.float32), y, class_weight="balanced", normalization="layer"), "float32")


def test_early_stopping(gpu, rng):
    X, y = data("softmax", rng, 30)
    options = {"early_stopping": True, "validation_fraction": 0.3, "n_iter_no_change": 1, "max_iter": 8, "tol": 0.3}
    mine, wanted = both("softmax", X, y, normalization="batch", batch_size=7, **options)
    assert_same(mine, wanted)
    assert mine.n_iter_ < 8
    assert mine.validation_scores_ == wanted.validation_scores_
    np.testing.assert_allclose(mine.history_["val_loss"], wanted.history_["val_loss"])


def test_validation_data_and_callbacks(gpu, rng):
    X, y = data("softmax", rng)
    seen = {"cuda": [], "cpu": []}

    def callback(model):
        """See the parameters, change one of them and what a recorded step is built of, and stop after two epochs."""
        seen[model.device].append(model.coefs_[0].copy())
        model.coefs_[1][0, 0] += 0.5
        model.set_params(norm_momentum=0.5, activation="tanh", alpha=0.1)
        return len(seen[model.device]) == 2

    models = [
        model("softmax", device, epoch_callback=callback, max_iter=5, normalization="batch").fit(
            X, y, validation_data=(X[:6], y[:6])
        )
        for device in seen
    ]
    assert_same(*models)
    assert len(seen["cuda"]) == 2
    np.testing.assert_allclose(seen["cuda"], seen["cpu"])
    for name in ("val_loss", "score"):
        np.testing.assert_allclose(*(m.history_[name] for m in models))


def test_going_on(gpu, rng):
    """partial_fit after pickling keeps the moments, on either device; warm_start begins with new ones."""
    X, y = data("softmax", rng)
    models = {device: model("softmax", device, normalization="batch") for device in ("cuda", "cpu")}
    for m in models.values():
        m.partial_fit(X, y, classes=[0, 1, 2])
    models = {device: pickle.loads(pickle.dumps(m)) for device, m in models.items()}
    for m in models.values():
        m.partial_fit(X[:9], y[:9])
    assert_same(models["cuda"], models["cpu"])
    for device, other in (("cuda", "cpu"), ("cpu", "cuda")):
        models[device].set_params(device=other).partial_fit(X, y)
    assert_same(models["cuda"], models["cpu"])
    for m in models.values():
        m.set_params(warm_start=True, dropout=0.2, activation="tanh").fit(X, y)
    assert_same(models["cuda"], models["cpu"])


def test_a_model_needs_no_gpu(gpu, rng, monkeypatch):
    from normkit.engine.cuda import device as devices

    X, y = data("softmax", rng)
    pickled = pickle.dumps(model("softmax", "cuda", normalization="batch").fit(X, y))
    wanted = model("softmax", "cpu", normalization="batch").fit(X, y)

    def missing(*arguments):
        raise AssertionError("this needs a GPU")

    monkeypatch.setattr(devices, "current", missing)
    monkeypatch.setattr(devices, "of_pointer", missing)
    gpu.log.clear()
    again = pickle.loads(pickled)
    np.testing.assert_allclose(again.predict_proba(X), wanted.predict_proba(X))
    np.testing.assert_allclose(again.hidden_activations(X, 0), wanted.hidden_activations(X, 0))
    assert gpu.log == []


def test_what_an_epoch_enqueues(gpu, rng, monkeypatch):
    """Each size of batch runs directly once, is recorded once, and replayed; nothing waits between the steps."""
    monkeypatch.setattr(gpu.memory, "enqueue", lambda *arguments: None)
    X, y = data("softmax", rng)
    logs = []

    def callback(model):
        logs.append(list(gpu.log))
        gpu.log.clear()

    made = model("softmax", "cuda", normalization="batch", max_iter=3, epoch_callback=callback, n_iter_no_change=9)
    made.fit(X, y)
    step = [
        "batches.gather", "gemm", "dense.forward", "gemm", "dense.forward", "gemm", "outputs.loss",
        "dense.backward", "gemm", "gemm", "dense.backward", "gemm", "gemm", "dense.backward", "gemm",
        "updates.update", "updates.finish",
    ]  # fmt: skip
    replay = ["replay", *step]
    first, second, third = (log[_first_launch(log) :] for log in logs)
    assert first[: first.index("download")] == step + ["capture"] + 2 * replay + step
    assert second[: second.index("download")] == 3 * replay + ["capture"] + replay
    assert third[: third.index("download")] == 4 * replay
    # four arrays of the network, order, steps, table, counter and loss go up; loss and the four arrays come back
    assert third[third.index("download") :] == ["download"] * 5
    assert gpu.log == ["download"] * 2  # the moments, at the end; then nothing of the fit is left on the device
    del made
    gc.collect()
    assert gpu.memory._allocations == {}
    assert logs[2][: _first_launch(logs[2])] == ["upload"] * 9


def _first_launch(log):
    return next(i for i, name in enumerate(log) if name == "replay" or "." in name)


@pytest.mark.parametrize(
    ("norm", "launches"), [("batch", 17), (None, 17), ("layer", 23), ("rms", 27), ("dyt", 29), ("group", 31)]
)
def test_launches_of_a_step(gpu, rng, monkeypatch, norm, launches):
    monkeypatch.setattr(gpu.memory, "enqueue", lambda *arguments: None)
    X, y = data("softmax", rng)
    model("softmax", "cuda", normalization=norm, max_iter=1, dropout=0.1).fit(X, y)
    recorded = gpu.log[gpu.log.index("replay") + 1 :]
    assert recorded.index("replay") == launches


def test_an_error_leaves_the_model(gpu, rng, monkeypatch):
    X, y = data("softmax", rng)
    fitted = model("softmax", "cuda", warm_start=True).fit(X, y)
    before = [a.copy() for a in state(fitted)]
    monkeypatch.setattr(gpu, "gemm", lambda *arguments: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        fitted.fit(X, y)
    for a, b in zip(state(fitted), before, strict=True):
        np.testing.assert_array_equal(a, b)
    assert gpu.depth == 0


@pytest.mark.parametrize("norm", ["batch", "rms"])
def test_what_the_benchmark_compares(gpu, monkeypatch, norm):
    """The comparison that a GPU runs before it is timed."""
    compare = pytest.importorskip("normkit.bench.gpu.engine").compare
    sizes = {"rows": 7, "batch": 3, "epochs": 1}
    assert 0 < compare(norm, "before", "cuda", **sizes) <= 1e-8
    assert compare(norm, "before", "cpu", **sizes) == 0
    monkeypatch.setattr(gpu, "gemm", lambda *arguments: None)
    assert compare(norm, "before", "cuda", **sizes) > 1e-3
