"""The peers of `norms.py`: one registry, one module each, imported only in the process that runs it.

A peer's class is built once per process and asked once per case: `ways(case, mode, x, dy, gamma, beta)` returns
functions without arguments by name, all of which do the case's work; mode is "fresh", where the call allocates
its result, or "out", where it writes to memory that is there. The fastest way is the one that is timed, so that
nobody loses by a choice made here. A call returns its result or results; `arrays` makes NumPy arrays of them.
"""

from normkit.bench.entries import Entry

_NORMKIT = ("normkit", "numba", "numpy", "ml_dtypes")
_TORCH = ("torch",)

BOUND = "copy"

PEERS = {
    "normkit": Entry("normkit", "normkit_peer", _NORMKIT),
    "torch": Entry("torch", "torch_peer", _TORCH),
    "torch-compile": Entry("torch.compile", "compiled_peer", _TORCH),
    "onednn": Entry("oneDNN", "onednn_peer", _TORCH, {}, "in torch: batch norm alone"),
    "jax": Entry("JAX", "jax_peer", ("jax", "jaxlib")),
    "onnxruntime": Entry("ONNX Runtime", "onnx_peer", ("onnxruntime", "onnx"), {}, "forward alone"),
    "numpy": Entry("NumPy", "numpy_peer", ("numpy",)),
    BOUND: Entry("copy", "copy_peer", ("numba", "numpy"), {}, "a copy of as many bytes, no norm", "bound"),
}
