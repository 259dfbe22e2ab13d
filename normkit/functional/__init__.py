"""Norm functions on arrays: forward, backward and moving statistics."""

from normkit.functional._batch_norm import batch_norm, batch_norm_backward, update_running
from normkit.functional._layer_norm import layer_norm, layer_norm_backward

__all__ = ["batch_norm", "batch_norm_backward", "layer_norm", "layer_norm_backward", "update_running"]
