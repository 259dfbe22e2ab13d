"""Who computes layer norm and batch norm in `accuracy.py`: a function of a NumPy array each, gamma one."""

import os

import numpy as np

from normkit.bench.entries import installed

EPSILON = 1e-5

# before the first import of either; the CPU's messages about itself help nobody here
os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
os.environ.setdefault("JAX_PLATFORMS", "cpu")


def _normkit():
    import normkit

    def normalize(name, x, beta):
        return getattr(normkit, name)(x, None, np.full(x.shape[1], beta, np.float32), axis=1, epsilon=EPSILON)

    return normalize


def _numpy():
    def normalize(name, x, beta):
        axis = 1 if name == "layer_norm" else 0
        a = x.astype(np.float32)
        centred = a - a.mean(axis=axis, keepdims=True)
        variance = np.square(centred).mean(axis=axis, keepdims=True)
        y = centred / np.sqrt(variance + np.float32(EPSILON)) + np.float32(beta)
        return y.astype(x.dtype)

    return normalize


def _torch():
    import torch
    from torch.nn import functional

    def normalize(name, x, beta):
        # torch knows nothing of ml_dtypes' type; every value of it is a float32
        a = torch.from_numpy(x.astype(np.float32)).to(getattr(torch, x.dtype.name))
        gamma, beta = torch.ones(x.shape[1]), torch.full((x.shape[1],), beta)
        if name == "layer_norm":
            y = functional.layer_norm(a, (x.shape[1],), gamma.to(a.dtype), beta.to(a.dtype), EPSILON)
        else:
            y = functional.batch_norm(a, None, None, gamma, beta, training=True, eps=EPSILON)
        return y.float().numpy()

    return normalize


def _jax(standardize):
    import jax
    import jax.numpy as jnp

    def formula(a, axis):
        centred = a - a.mean(axis=axis, keepdims=True)
        return centred * jax.lax.rsqrt(jnp.square(centred).mean(axis=axis, keepdims=True) + EPSILON)

    def compute(x, beta, axis):
        a = x.astype(jnp.float32)
        y = jax.nn.standardize(a, axis=axis, epsilon=EPSILON) if standardize else formula(a, axis)
        return (y + beta).astype(x.dtype)

    compiled = jax.jit(compute, static_argnums=2)

    def normalize(name, x, beta):
        y = compiled(jnp.asarray(x), np.float32(beta), 1 if name == "layer_norm" else 0)
        return np.asarray(y.astype(jnp.float32))

    return normalize


def _keras():
    import keras

    def normalize(name, x, beta):
        layer = keras.layers.LayerNormalization if name == "layer_norm" else keras.layers.BatchNormalization
        built = layer(epsilon=EPSILON, dtype=x.dtype.name, beta_initializer=keras.initializers.Constant(beta))
        y = built(keras.ops.convert_to_tensor(x.astype(np.float32), x.dtype.name), training=True)
        return keras.ops.convert_to_numpy(keras.ops.cast(y, "float32"))

    return normalize


def _onnx():
    import onnx
    import onnxruntime
    from onnx import TensorProto, helper

    def normalize(name, x, beta):
        if name != "layer_norm":
            raise NotImplementedError("no batch statistics: its CPU build does not train")
        kind = {"float32": TensorProto.FLOAT, "float16": TensorProto.FLOAT16}.get(x.dtype.name)
        if kind is None:
            raise NotImplementedError(f"no {x.dtype.name} in its layer norm")
        names = ("x", "gamma", "beta")
        shapes = (x.shape, x.shape[1:], x.shape[1:])
        graph = helper.make_graph(
            [helper.make_node("LayerNormalization", names, ["y"], axis=1, epsilon=EPSILON)], "layer_norm",
            [helper.make_tensor_value_info(n, kind, shape) for n, shape in zip(names, shapes)],
            [helper.make_tensor_value_info("y", kind, x.shape)],
        )  # fmt: skip
        # the runtime may be older than the model format of this version of onnx
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        onnx.checker.check_model(model)
        session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        parameters = np.ones(x.shape[1], x.dtype), np.full(x.shape[1], beta, x.dtype)
        return session.run(None, dict(zip(names, (x, *parameters))))[0]

    return normalize


# label, distributions, function that imports them and returns normalize(name, x, beta)
PEERS = {
    "normkit": ("normkit", ("normkit", "numba"), _normkit),
    "numpy": ("NumPy, two passes", ("numpy",), _numpy),
    "torch": ("torch", ("torch",), _torch),
    "jax": ("JAX, two passes", ("jax", "jaxlib"), lambda: _jax(False)),
    "jax-standardize": ("jax.nn.standardize", ("jax", "jaxlib"), lambda: _jax(True)),
    "keras": ("Keras/TF", ("keras", "tensorflow"), _keras),
    "onnx": ("ONNX Runtime", ("onnxruntime", "onnx"), _onnx),
}


def load(name):
    """Return the peer's function, or None with what is not installed."""
    _, packages, make = PEERS[name]
    if absent := [package for package in packages if not installed(package)]:
        return None, f"not installed: {', '.join(absent)}"
    return make(), None
