"""Where a model is trained, and where its data lie: all that chooses between the host's engine and a GPU's."""

import numpy as np
import scipy.sparse
from sklearn.utils.validation import _check_feature_names, _check_n_features

from normkit.engine.cuda.arrays import GpuArray, gpu_array, is_on_gpu
from normkit.engine.rows import DTYPES, rows_of
from normkit.engine.trainer import Trainer


def check_device(model, X):
    """Refuse what the model's device does not have, before anything starts."""
    if model.device == "cpu":
        if is_on_gpu(X):
            raise ValueError("X is on the GPU and device='cpu' trains on the CPU: use device='cuda', or a NumPy array")
        return
    from normkit.engine.cuda import device, passes

    if model.solver == "lbfgs":
        raise ValueError("device='cuda' needs solver='adam' or solver='sgd', got solver='lbfgs'")
    if model.normalization not in passes.SUPPORTED:
        known = ", ".join(repr(name) for name in passes.SUPPORTED)
        raise ValueError(f"normalization must be among {known} with device='cuda', got {model.normalization!r}")
    if model.norm_noise > 0:
        raise ValueError(f"norm_noise must be 0 with device='cuda', got {model.norm_noise}")
    if scipy.sparse.issparse(X):
        raise ValueError(f"X must be dense with device='cuda', got a sparse {X.format} matrix: use X.toarray()")
    device.current()


def trainer_class(device):
    """Return the class of the trainers of a device."""
    if device == "cpu":
        return Trainer
    from normkit.engine.cuda.trainer import CudaTrainer

    return CudaTrainer


def moved_to(trainer, device):
    """Return the trainer, or one of another device with its state."""
    wanted = trainer_class(device)
    if type(trainer) is wanted:
        return trainer
    moved = wanted.__new__(wanted)
    moved.__setstate__(trainer.__getstate__())
    return moved


def rows_for(X, scale, device="cpu"):
    """Return the rows of X that an engine reads, and what keeps them; those of an array on a GPU stay there."""
    if device == "cpu" and not isinstance(X, GpuArray):
        return rows_of(X, scale)
    from normkit.engine.cuda.rows import DeviceRows

    rows = DeviceRows(X, scale)
    return rows, rows


def on_host(a, name):
    """Return an array on a GPU as one of NumPy's, and anything else as it is."""
    if not is_on_gpu(a):
        return a
    from normkit.engine.cuda.rows import download

    return download(gpu_array(a, name))


def check_gpu_rows(model, X, reset):
    """Return the view of X, an array on a GPU, that passes what scikit-learn asks of an array."""
    from normkit.engine.cuda.rows import DeviceRows

    X = gpu_array(X, "X")
    if X.ndim != 2:
        raise ValueError(f"X must have 2 dimensions, got an array on the GPU of shape {X.shape}")
    if X.dtype.type not in DTYPES:
        names = ", ".join(np.dtype(dtype).name for dtype in DTYPES)
        raise ValueError(f"X on the GPU must have one of the dtypes {names}, got {X.dtype}: convert it first")
    if 0 in X.shape:
        raise ValueError(f"X must have at least 1 sample and 1 feature, got an array on the GPU of shape {X.shape}")
    _check_feature_names(model, X, reset=reset)
    _check_n_features(model, X, reset=reset)
    bad = DeviceRows(X).count_nonfinite()
    if bad:
        raise ValueError(f"X must be finite, got {bad} values that are NaN or infinity in an array on the GPU")
    return X
