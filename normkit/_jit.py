"""How normkit compiles: one set of flags, and a cache on disk that never gets in the way.

Leaf functions are compiled into the entry points that call them; only entry points are cached. Numba's own
cache looks at the time stamp of the entry point's file alone, so a changed leaf in another file would go
unnoticed: here the stamp is a digest of all of normkit's sources. An unwritable folder or a damaged file means
compiling without the cache.
"""

import functools
import hashlib
import os
import tempfile
from pathlib import Path

import numba
from numba.core.caching import CompileResultCacheImpl, FunctionCache, _CacheLocator

# All of LLVM's "fast" flags but nnan and ninf: NaN and infinity keep their meaning.
_FAST = {"contract", "arcp", "nsz", "reassoc"}
_FLAGS = {"fastmath": _FAST, "error_model": "numpy"}


@functools.cache
def _source_digest() -> str:
    digest = hashlib.sha256(numba.__version__.encode())
    for path in sorted(Path(__file__).parent.rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


@functools.cache
def cache_directory() -> str:
    """Folder of the compiled code: ``NUMBA_CACHE_DIR``, the user's cache folder, or a temporary one."""
    base = numba.config.CACHE_DIR or os.environ.get("XDG_CACHE_HOME")
    candidates = [Path(base)] if base else []
    try:
        candidates.append(Path.home() / ".cache")
    except RuntimeError:  # no home directory
        pass
    for candidate in candidates:
        folder = candidate / "normkit" / _source_digest()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                return str(folder)
        except OSError:
            continue
    return ""


class _Locator(_CacheLocator):
    def __init__(self, py_func):
        self._name = py_func.__module__

    def get_cache_path(self):
        return cache_directory()

    def get_source_stamp(self):
        return _source_digest()

    def get_disambiguator(self):
        return self._name.replace(".", "_")

    @classmethod
    def from_function(cls, py_func, py_file):
        return cls(py_func)


class _CacheImpl(CompileResultCacheImpl):
    _locator_classes = [_Locator]

    def __init__(self, py_func):
        super().__init__(py_func)
        self._locator = _Locator(py_func)


class _Cache(FunctionCache):
    _impl_class = _CacheImpl

    def __init__(self, py_func, variant):
        super().__init__(py_func)
        self._variant = variant

    def _index_key(self, sig, codegen):
        # one Python function is compiled serial and parallel: they must not find each other's code
        return (*super()._index_key(sig, codegen), self._variant)

    def load_overload(self, sig, target_context):
        try:
            return super().load_overload(sig, target_context)
        except Exception:  # whatever a damaged file makes the unpickler raise: compile instead
            return None

    def save_overload(self, sig, data):
        try:
            super().save_overload(sig, data)
        except OSError:
            pass


def leaf(function=None, *, inline=False):
    """Compile a function that is called from compiled code only.

    `inline` is for one with a long argument list: a call passes every field of every array and named tuple on the
    stack, 0.3 us for a few hundred of them.
    """
    if function is None:
        return functools.partial(leaf, inline=inline)
    return numba.njit(no_cpython_wrapper=True, no_cfunc_wrapper=True, forceinline=inline, **_FLAGS)(function)


def entry(function=None, *, parallel=False):
    """Compile a function that is called from Python; its machine code is kept on disk."""
    if function is None:
        return functools.partial(entry, parallel=parallel)
    dispatcher = numba.njit(parallel=parallel, nogil=True, **_FLAGS)(function)
    if cache_directory():
        dispatcher._cache = _Cache(function, "parallel" if parallel else "serial")
    return dispatcher
