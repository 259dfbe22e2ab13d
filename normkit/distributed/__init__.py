"""One model, trained by several processes over MPI, each on its own part of the data."""

from normkit.distributed._fit import fit, world
from normkit.distributed._ranks import RankError

__all__ = ["RankError", "fit", "world"]
