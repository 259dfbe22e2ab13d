"""How normkit compiles: one set of flags, and a cache on disk that never gets in the way.

Leaf functions are compiled into the entry points that call them; only entry points are cached. Numba's own
cache looks at the time stamp of the entry point's file alone, so a changed leaf in another file would go
unnoticed: here the stamp is a digest of every source that is compiled. An unwritable folder or a damaged file
means compiling without the cache.
"""

import contextlib
import functools
import hashlib
import os
import tempfile
import threading
from pathlib import Path

import numba
from numba.core import event
from numba.core.caching import CompileResultCacheImpl, FunctionCache, _CacheLocator
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import Compiler
from numba.core.runtime import rtsys

# Flags that leave every result as it is written, and those that let a sum be reordered, which vectorizing it needs.
# Of LLVM's "fast" flags nnan and ninf are in neither: NaN and infinity keep their meaning.
_EXACT = {"contract", "nsz"}
_REORDERED = {*_EXACT, "arcp", "reassoc"}
_COMPILED = ("_jit.py", "math", "kernels", "engine")


@functools.cache
def _source_digest() -> str:
    digest = hashlib.sha256(numba.__version__.encode())
    root = Path(__file__).parent
    for path in sorted(root.rglob("*.py")):
        if path.relative_to(root).parts[0] in _COMPILED:
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
            # Numba's own load first registers all that it could compile, 0.1 s; compiling does that for itself
            rtsys.initialize(target_context)
            return self._load_overload(sig, target_context)
        except Exception:  # whatever a damaged file makes the unpickler raise: compile instead
            return None

    def save_overload(self, sig, data):
        with contextlib.suppress(OSError):
            try:
                super().save_overload(sig, data)
            except OSError:
                raise
            except Exception:  # a damaged index cannot take another entry: begin a new one
                self.flush()
                super().save_overload(sig, data)


class _SlowCompilation(event.Listener):
    """Tells when compilation has taken longer than some seconds; reading from the cache is no compilation."""

    def __init__(self, tell, seconds):
        self._tell, self._seconds, self._depth = tell, seconds, 0

    def on_start(self, event):
        """Start the clock at the outermost function."""
        self._depth += 1
        if self._depth == 1:
            self._timer = threading.Timer(self._seconds, self._tell)
            self._timer.daemon = True
            self._timer.start()

    def on_end(self, event):
        """Stop the clock."""
        self._depth -= 1
        if self._depth == 0:
            self._timer.cancel()


@contextlib.contextmanager
def tell_when_compiling(tell, seconds=1.0):
    """Call ``tell()`` once compilation within the context takes longer than `seconds`."""
    with event.install_listener("numba:compile", _SlowCompilation(tell, seconds)):
        yield


class _LeafLibrary(JITCodeLibrary):
    """Code of a leaf: optimized and made machine code only as part of the entry points that call it.

    Numba would do both for each leaf as well, a quarter of the time that the engine takes to compile. And a leaf would
    exist twice, with its sums in two orders: which of the two is called would depend on whether the entry point was
    just compiled or comes from the cache.
    """

    def _optimize_final_module(self):
        pass

    def _finalize_final_module(self):
        self._finalize_dynamic_globals()
        self._finalized = True

    def get_pointer_to_function(self, name):
        self._ensure_finalized()
        return 0

    @property
    def codegen(self):
        return self

    def set_env(self, name, environment):
        """Do nothing: the environment would be written into the machine code."""


class _LeafCompiler(Compiler):
    def __init__(self, typing_context, target_context, library, *others):
        library = _LeafLibrary(target_context.codegen(), "leaf")
        super().__init__(typing_context, target_context, library, *others)


def leaf(function=None, *, inline=False, ordered=False, allocates=False):
    """Compile a function that is called from compiled code only.

    `inline` is for three kinds. One has a long argument list: a call passes every field of every array and named
    tuple on the stack, 0.3 us for a few hundred of them. The second sums: the compiler may reorder its sums. The third
    is a piece of a loop whose constant arguments decide what becomes of it; where it sums in vectors, `ordered` keeps
    the sums as they are written.

    Only a leaf that `allocates` an array, or makes one of an address, counts references to arrays. Numba would count
    every array argument of every call up and down, atomically, in counters that the threads share: more work than a
    row of 256 numbers, and a fifth of a training step at batch 8. Such a leaf must not return an array.
    """
    if function is None:
        return functools.partial(leaf, inline=inline, ordered=ordered, allocates=allocates)
    fastmath = _REORDERED if inline and not ordered else _EXACT
    options = {"fastmath": fastmath, "error_model": "numpy", "forceinline": inline, "pipeline_class": _LeafCompiler}
    options["_nrt"] = allocates  # Numba's runtime, which counts references
    return numba.njit(no_cpython_wrapper=True, no_cfunc_wrapper=True, **options)(function)


def entry(function=None, *, parallel=False):
    """Compile a function that is called from Python; its machine code is kept on disk."""
    if function is None:
        return functools.partial(entry, parallel=parallel)
    dispatcher = numba.njit(parallel=parallel, nogil=True, fastmath=_EXACT, error_model="numpy")(function)
    if cache_directory():
        dispatcher._cache = _Cache(function, "parallel" if parallel else "serial")
    return dispatcher
