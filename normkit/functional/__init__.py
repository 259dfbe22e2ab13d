"""Norm functions on arrays: forward, backward and moving statistics."""

from normkit.functional._batch_norm import batch_norm, batch_norm_backward
from normkit.functional._batch_renorm import batch_renorm, batch_renorm_backward
from normkit.functional._dynamic_tanh import dynamic_tanh, dynamic_tanh_backward
from normkit.functional._group_norm import group_norm, group_norm_backward, instance_norm, instance_norm_backward
from normkit.functional._layer_norm import add_layer_norm, add_layer_norm_backward, layer_norm, layer_norm_backward
from normkit.functional._moving import update_running
from normkit.functional._rms_norm import add_rms_norm, add_rms_norm_backward, rms_norm, rms_norm_backward

__all__ = [
    "add_layer_norm",
    "add_layer_norm_backward",
    "add_rms_norm",
    "add_rms_norm_backward",
    "batch_norm",
    "batch_norm_backward",
    "batch_renorm",
    "batch_renorm_backward",
    "dynamic_tanh",
    "dynamic_tanh_backward",
    "group_norm",
    "group_norm_backward",
    "instance_norm",
    "instance_norm_backward",
    "layer_norm",
    "layer_norm_backward",
    "rms_norm",
    "rms_norm_backward",
    "update_running",
]
