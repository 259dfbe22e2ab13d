"""Initial values of kernels and norm parameters, by Keras' names."""

import numpy as np

# name: (variance scale, which fan, distribution); He et al. 2015, Glorot and Bengio 2010, LeCun et al. 1998
_SCALED = {
    "he_normal": (2.0, "in", "normal"),
    "he_uniform": (2.0, "in", "uniform"),
    "glorot_normal": (1.0, "mean", "normal"),
    "glorot_uniform": (1.0, "mean", "uniform"),
    "lecun_normal": (1.0, "in", "normal"),
}
KERNELS = ("sklearn", *_SCALED, "orthogonal")
# standard deviation of a standard normal truncated at two, which Keras divides by as well
_TRUNCATED_STD = 0.87962566103423978


def kernel(name, fan_in, fan_out, random_state):
    """Draw a (fan_in, fan_out) matrix; `random_state` is a `numpy.random.RandomState`."""
    if name == "orthogonal":
        tall = random_state.standard_normal((max(fan_in, fan_out), min(fan_in, fan_out)))
        q, r = np.linalg.qr(tall)
        q *= np.sign(np.diag(r))
        return q if fan_in >= fan_out else q.T
    scale, fan, distribution = _SCALED[name]
    variance = scale / (fan_in if fan == "in" else (fan_in + fan_out) / 2)
    if distribution == "uniform":
        bound = np.sqrt(3 * variance)
        return random_state.uniform(-bound, bound, (fan_in, fan_out))
    values = random_state.standard_normal((fan_in, fan_out))
    while (far := np.abs(values) > 2).any():
        values[far] = random_state.standard_normal(far.sum())
    return values * (np.sqrt(variance) / _TRUNCATED_STD)


def sklearn_bound(fan_in, fan_out, activation):
    """Limit of the uniform draw of kernels and biases: Glorot and Bengio 2010, as scikit-learn takes it."""
    return np.sqrt((2.0 if activation == "logistic" else 6.0) / (fan_in + fan_out))


def vector(initializer, size, name):
    """Make a vector from a name ("zeros", "ones"), a number or an array of shape (size,)."""
    if isinstance(initializer, str):
        if initializer not in ("zeros", "ones"):
            raise ValueError(f"{name} must be 'zeros', 'ones', a number or an array, got {initializer!r}")
        return np.full(size, 1.0 if initializer == "ones" else 0.0)
    values = np.asarray(initializer, dtype=np.float64)
    if values.shape not in ((), (size,)):
        raise ValueError(f"{name} must have shape ({size},) for a layer of {size} units, got {values.shape}")
    if not np.isfinite(values).all():
        raise ValueError(f"{name} must be finite, got {initializer!r}")
    return np.full(size, values)
