"""One model, trained by several processes over MPI, each on its own part of the data."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from normkit.distributed._launch import RankError, agreed, leaving_none_behind, world

if TYPE_CHECKING:
    from normkit.distributed._fit import fit

__all__ = ["RankError", "agreed", "fit", "leaving_none_behind", "world"]


def __getattr__(name: str) -> Any:
    if name == "fit":  # brings Numba, which finding out whether there are other ranks need not wait for
        return import_module("normkit.distributed._fit").fit
    raise AttributeError(f"module 'normkit.distributed' has no attribute {name!r}")
