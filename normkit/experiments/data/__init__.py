"""The data of an experiment: loaded by name or path, checked, prepared and split."""

from normkit.experiments.data.dataset import Dataset
from normkit.experiments.data.loading import BUILT_IN, load
from normkit.experiments.data.rows import load_rows
from normkit.experiments.data.sets import Split
from normkit.experiments.data.splitting import split, splits

__all__ = ["BUILT_IN", "Dataset", "Split", "load", "load_rows", "split", "splits"]
