"""Matrix products on the device, by cuBLAS."""

import ctypes
from typing import Any

from normkit.kernels.cuda.driver import INSTALL, CudaUnavailableError

# Bytes of cuBLAS' work space; its own default for Hopper, and more than that for older GPUs
WORKSPACE = 32 << 20


def bindings() -> Any:
    """Return the bindings of cuBLAS; raise CudaUnavailableError where they or the library are missing."""
    try:
        from nvmath.bindings import cublas  # type: ignore
    except ImportError as error:
        raise CudaUnavailableError(
            f"training on a GPU needs nvmath-python and cuBLAS, got {error!r}: {INSTALL}"
        ) from error
    return cublas


class Blas:
    """A handle of cuBLAS on one stream.

    Its default mode computes in the numbers' own type: TF32 only where the environment forces it on.
    """

    def __init__(self, stream, workspace):
        self._cublas = bindings()
        try:
            self._handle = self._cublas.create()
        except Exception as error:  # the bindings' own kinds of errors: no library, too old a driver
            raise CudaUnavailableError(
                f"training on a GPU needs cuBLAS of CUDA 13, got {type(error).__name__}: {error}: {INSTALL}"
            ) from error
        # before the work space, which setting a stream takes away
        self._cublas.set_stream(self._handle, stream)
        # given from outside: cuBLAS would allocate within a graph
        self._cublas.set_workspace(self._handle, workspace, WORKSPACE)
        self._functions = {
            "float32": (self._cublas.sgemm, ctypes.c_float(1), ctypes.c_float(0)),
            "float64": (self._cublas.dgemm, ctypes.c_double(1), ctypes.c_double(0)),
        }

    def gemm(self, dtype, transpose_a, transpose_b, m, n, k, a, lda, b, ldb, c, ldc):
        """Row-major C (m, n) = op(A) (m, k) @ op(B) (k, n), of addresses and row lengths, as `engine.blas.matmul`."""
        function, one, zero = self._functions[dtype]
        # to cuBLAS, which counts by columns, each matrix is transposed: C.T = op(B).T @ op(A).T
        function(
            self._handle, int(transpose_b), int(transpose_a), n, m, k, ctypes.addressof(one), b, ldb, a, lda,
            ctypes.addressof(zero), c, ldc,
        )  # fmt: skip
