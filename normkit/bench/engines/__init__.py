"""The engines under test: one registry, one module each, imported only in the process that runs it."""

from normkit.bench.entries import Entry

_TORCH = ("torch",)
_NORMKIT = ("normkit", "numba", "numpy")
_KERAS = ("keras", "tensorflow")
_FIT = "MLPClassifier.fit of three epochs with validation and label encoding; its own initial draw and order"

ENGINES = {
    "normkit": Entry("normkit, batch norm", "normkit_engine", _NORMKIT, {"normalization": "batch"}),
    "normkit-layer": Entry("normkit, layer norm", "normkit_engine", _NORMKIT, {"normalization": "layer"}),
    "normkit-none": Entry("normkit, no norm", "normkit_engine", _NORMKIT, {"normalization": None}),
    "normkit-fit": Entry("normkit, whole fit", "normkit_fit", _NORMKIT, {"normalization": "batch"}, _FIT),
    "jax": Entry("JAX, one jitted lax.scan", "jax_engine", ("jax", "jaxlib")),
    "torch": Entry("torch eager, Adam", "torch_engine", _TORCH),
    "torch-fused": Entry("torch eager, fused Adam", "torch_engine", _TORCH, {"fused": True}),
    "torch-compile": Entry(
        "torch.compile, fused Adam", "torch_engine", _TORCH, {"fused": True, "compiled": True}
    ),
    "keras": Entry("Keras/TF fit", "keras_engine", _KERAS),
    "keras-32": Entry(
        "Keras/TF fit, 32 a call", "keras_engine", _KERAS, {"steps_per_execution": 32},
        "steps_per_execution=32",
    ),
    "numpy": Entry("NumPy, written out", "numpy_engine", ("numpy",)),
    "sklearn": Entry(
        "scikit-learn partial_fit", "sklearn_engine", ("scikit-learn",), {}, "no norm, relu: it has neither"
    ),
    "gemm-team": Entry(
        "GEMM only, slice a thread", "gemm", _NORMKIT, {"team": True}, "a bound, no training", "bound"
    ),
    "gemm-blas": Entry(
        "GEMM only, BLAS threads", "gemm", _NORMKIT, {"team": False}, "a bound, no training", "bound"
    ),
}  # fmt: skip
