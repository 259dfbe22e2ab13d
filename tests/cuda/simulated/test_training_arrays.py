"""Arrays on the GPU in fit and predict, in the simulator: rows read where they lie, targets brought to the host."""

import numpy as np
import pytest
from host_gpu import GpuArrayOfTests

from normkit import MLPClassifier, MLPRegressor

OPTIONS = {"hidden_layer_sizes": (4,), "batch_size": 5, "max_iter": 2, "random_state": 0, "normalization": "batch"}


def problem(rng, dtype="float64"):
    return rng.normal(0, 1, (12, 3)).astype(dtype), np.arange(12) % 3


def same(a, b):
    np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("order", ["C", "F", "sliced"])
def test_fit_and_predict(gpu, rng, order):
    X, y = problem(rng)
    if order == "sliced":
        given = np.repeat(np.repeat(X, 2, 0), 3, 1).copy()[::2, 1::3]
        assert given.base is not None and not given.flags.c_contiguous
    else:
        given = np.asfortranarray(X) if order == "F" else X
    weight = rng.random(12)
    wanted = MLPClassifier(**OPTIONS).fit(X, y, weight)
    labels = np.repeat(y, 2)[::2] if order == "sliced" else y
    on_gpu = [GpuArrayOfTests(gpu, a) for a in (given, labels, weight)]
    model = MLPClassifier(device="cuda", **OPTIONS).fit(*on_gpu)
    same(model._network.params, wanted._network.params)
    for name in ("predict", "predict_proba", "_forward_pass_fast"):
        same(getattr(model, name)(on_gpu[0]), getattr(wanted, name)(X))
    assert type(model.predict(on_gpu[0])) is np.ndarray
    same(model.hidden_activations(on_gpu[0], 0), wanted.hidden_activations(X, 0))
    same(model.recompute_statistics(on_gpu[0]).norm_layers_[0].moving_mean,
         wanted.recompute_statistics(X).norm_layers_[0].moving_mean)  # fmt: skip
    same(wanted.predict_proba(on_gpu[0]), model.predict_proba(X))  # a prediction runs where X is


@pytest.mark.parametrize("norm", ["layer", "rms", "group", "dyt", None])
@pytest.mark.parametrize("position", ["before", "after"])
def test_predictions_of_all_norms(gpu, rng, monkeypatch, norm, position):
    from normkit.engine.cuda import predictor

    monkeypatch.setattr(predictor, "CHUNK", 7)
    X = rng.normal(0, 1, (12, 3))
    options = {**OPTIONS, "hidden_layer_sizes": (4, 4), "norm_groups": 2, "normalization": norm, "dropout": 0.5}
    model = MLPRegressor(norm_position=position, activation=["gelu", "selu"], **options)
    model.fit(X, rng.normal(0, 1, (12, 2)))
    same(model.predict(GpuArrayOfTests(gpu, X)), model.predict(X))


def test_partial_fit_validation_data_and_bytes(gpu, rng):
    X, y = rng.integers(0, 256, (12, 3)).astype(np.uint8), np.arange(12) % 2
    options = {**OPTIONS, "input_scale": 1 / 255, "dtype": "float64"}
    on_gpu = GpuArrayOfTests(gpu, X), GpuArrayOfTests(gpu, y)
    models = [MLPClassifier(device=device, **options) for device in ("cuda", "cpu")]
    models[0].fit(*on_gpu, validation_data=on_gpu)
    models[1].fit(X, y, validation_data=(X, y))
    models[0].partial_fit(*on_gpu)
    models[1].partial_fit(X, y)
    same(*(model._network.params for model in models))
    same(*(model.history_["val_loss"] for model in models))


class OnlyDlpack:
    shape = (12, 3)

    def __dlpack_device__(self):
        return 2, 0


class Tensor:
    """What matters of a tensor of torch with a gradient: its interface raises."""

    requires_grad = is_cuda = True

    def __init__(self, array):
        self._array, self.shape, self.dtype = array, array.shape, array.dtype

    def detach(self):
        return self._array

    @property
    def __cuda_array_interface__(self):
        raise RuntimeError("can't get __cuda_array_interface__ on a tensor that requires grad")


def test_tensors_with_a_gradient(gpu, rng):
    X, y = problem(rng)
    on_gpu = Tensor(GpuArrayOfTests(gpu, X))
    model = MLPClassifier(device="cuda", **OPTIONS).fit(on_gpu, y)
    same(model.predict_proba(on_gpu), model.predict_proba(X))


def test_errors(gpu, rng):
    X, y = problem(rng)
    bad = X.copy()
    bad[3, 1], bad[7, 2] = np.nan, np.inf
    model = MLPClassifier(device="cuda", **OPTIONS)
    for given, error, match in (
        (bad, ValueError, "X must be finite, got 2 values"),
        (X[0].copy(), ValueError, r"2 dimensions, got an array on the GPU of shape \(3,\)"),
        (X.astype(np.float16), ValueError, "dtypes float64, float32, uint8, got float16"),
        (X[:0].copy(), ValueError, "at least 1 sample"),
        (X[:5].copy(), ValueError, "inconsistent numbers of samples"),
    ):
        with pytest.raises(error, match=match):
            model.fit(GpuArrayOfTests(gpu, given), y)
    with pytest.raises(TypeError, match=r"X must have __cuda_array_interface__.*torch.from_dlpack\(X\)"):
        model.fit(OnlyDlpack(), y)
    with pytest.raises(ValueError, match="X is on the GPU and device='cpu'"):
        MLPClassifier(**OPTIONS).fit(GpuArrayOfTests(gpu, X), y)
    model.fit(X, y)
    with pytest.raises(ValueError, match="X has 2 features, but MLPClassifier is expecting 3"):
        model.predict(GpuArrayOfTests(gpu, X[:, :2].copy()))
    with pytest.raises(ValueError, match="negative strides"):
        model.fit(X, GpuArrayOfTests(gpu, y[::-1]))
    masked = GpuArrayOfTests(gpu, X)
    masked.__cuda_array_interface__["mask"] = GpuArrayOfTests(gpu, X > 0)
    with pytest.raises(TypeError, match="X must have no mask, got a masked array on the GPU"):
        model.fit(masked, y)
    assert gpu.depth == 0
