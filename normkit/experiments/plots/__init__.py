"""Plots of an experiment; matplotlib is imported when one is drawn."""

from normkit.experiments.plots.legacy import _COLOURS as _COLOURS
from normkit.experiments.plots.legacy import accuracy_against_batch_size, curves, curves_by_batch_size

__all__ = ["accuracy_against_batch_size", "curves", "curves_by_batch_size"]
