"""Modules for torch: its own norms, with `normkit`'s functions in forward and backward.

Each is a subclass of torch's module of the same name. Constructor, representation, ``state_dict`` and initial values
are inherited, and what one has saved the other loads. Results, gradients and running statistics are torch's up to
rounding. Gradients are not differentiable themselves. As everywhere in `normkit`, `eps` must be positive.
"""

from __future__ import annotations

from functools import partial
from typing import Any

try:
    import torch  # type: ignore[import-not-found]
except ModuleNotFoundError as error:
    if error.name != "torch":  # it is there, but broken: its own message tells more
        raise
    raise ImportError("normkit.torch needs PyTorch, which is not installed; run: pip install torch") from error

from torch.autograd.function import once_differentiable  # type: ignore[import-not-found]

from normkit.functional import (
    batch_norm,
    batch_norm_backward,
    group_norm,
    group_norm_backward,
    layer_norm,
    layer_norm_backward,
    rms_norm,
    rms_norm_backward,
)

__all__ = ["BatchNorm1d", "BatchNorm2d", "GroupNorm", "LayerNorm", "RMSNorm"]


class Normalize(torch.autograd.Function):
    """A norm whose gradient is computed by a function of its own."""

    @staticmethod
    def forward(ctx: Any, norm: Any, gradient: Any, x: torch.Tensor, *parameters: torch.Tensor | None) -> torch.Tensor:
        """Return the result of ``norm(x, *parameters)``, which returns its statistics too; keep what `gradient` takes.

        Parameters
        ----------
        ctx : context of the call
        norm, gradient : function of `normkit`, with all its options
        x : tensor
        parameters : weight, and bias for a norm that has one; each may be None
        """
        y, *ctx.statistics = norm(x.detach(), *parameters, return_stats=True)
        ctx.gradient = gradient
        ctx.save_for_backward(x, parameters[0])
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """Return the gradients of x and of the parameters, None for one that nobody asked for.

        Those of parameters come in the dtype they were summed in; autograd converts them to the parameter's.
        """
        x, weight = ctx.saved_tensors
        gradients = ctx.gradient(dy.detach(), x.detach(), weight, *ctx.statistics)
        return None, None, *(a if asked else None for a, asked in zip(gradients, ctx.needs_input_grad[2:], strict=True))


def _apply(*arguments):
    apply = Normalize.apply
    if torch.compiler.is_compiling():  # compiled functions cannot be traced: a break in the graph
        apply = torch.compiler.disable(apply)
    return apply(*arguments)


_CHANNELS_LAST = {4: torch.channels_last, 5: torch.channels_last_3d}


def _memory_for(x, channels_last=True):
    """Return memory for the result, or None where x has a layout that torch gives to results.

    Other strides would be kept, and a view that is possible of torch's result would not be of this one.
    """
    if x.is_contiguous():
        return None
    if channels_last and x.ndim in _CHANNELS_LAST and x.is_contiguous(memory_format=_CHANNELS_LAST[x.ndim]):
        return None
    return torch.empty_like(x, memory_format=torch.contiguous_format)


def _last_axes(x: torch.Tensor, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the axes of x that are normalized."""
    if tuple(x.shape[x.ndim - len(shape) :]) != shape:
        raise RuntimeError(f"input must end with the axes normalized_shape={shape}, got shape {tuple(x.shape)}")
    return tuple(range(x.ndim - len(shape), x.ndim))


class LayerNorm(torch.nn.LayerNorm):
    """Normalize each sample over its last axes: ``torch.nn.LayerNorm``.

    ``y = weight * (x - mean) / sqrt(var + eps) + bias``, the biased variance.

    Parameters
    ----------
    normalized_shape : int or sequence of int
        Shape of the last axes, over which is normalized.
    eps : float, default=1e-5
        Added to the variance, positive.
    elementwise_affine : bool, default=True
        Learn a weight and, with `bias`, a bias of shape `normalized_shape`.
    bias : bool, default=True
        Learn a bias.
    device, dtype : optional
        Of the parameters.

    Examples
    --------
    >>> import torch
    >>> from normkit.torch import LayerNorm
    >>> norm = LayerNorm(2, eps=1e-12)
    >>> norm.load_state_dict(torch.nn.LayerNorm(2).state_dict())
    <All keys matched successfully>
    >>> norm(torch.tensor([[1.0, 3.0], [10.0, 30.0]])).detach()
    tensor([[-1.,  1.],
            [-1.,  1.]])
    """

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Return the normalized input."""
        axes = _last_axes(input, self.normalized_shape)
        norm = partial(layer_norm, axis=axes, epsilon=self.eps, out=_memory_for(input, channels_last=False))
        return _apply(norm, partial(layer_norm_backward, axis=axes), input, self.weight, self.bias)


class RMSNorm(torch.nn.RMSNorm):
    """Divide each sample by the root mean square over its last axes: ``torch.nn.RMSNorm``.

    ``y = weight * x / sqrt(mean(x**2) + eps)``.

    Parameters
    ----------
    normalized_shape : int or sequence of int
        Shape of the last axes, over which is normalized.
    eps : float, optional
        Added to the mean square, positive. Default: the resolution of float32, for float64 inputs that of float64.
    elementwise_affine : bool, default=True
        Learn a weight of shape `normalized_shape`.
    device, dtype : optional
        Of the weight.

    Examples
    --------
    >>> import torch
    >>> from normkit.torch import RMSNorm
    >>> RMSNorm(3)(torch.tensor([[3.0, -3.0, 3.0]])).detach()
    tensor([[ 1., -1.,  1.]])
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the normalized input."""
        axes = _last_axes(x, self.normalized_shape)
        epsilon = self.eps
        if epsilon is None:
            epsilon = torch.finfo(torch.float64 if x.dtype == torch.float64 else torch.float32).eps
        norm = partial(rms_norm, axis=axes, epsilon=epsilon, out=_memory_for(x))
        return _apply(norm, partial(rms_norm_backward, axis=axes), x, self.weight)


class GroupNorm(torch.nn.GroupNorm):
    """Normalize each sample over groups of channels: ``torch.nn.GroupNorm``.

    ``y = weight * (x - mean) / sqrt(var + eps) + bias``, mean and the biased variance of a sample's group. A group
    with a single value is an error for every batch size, not only for one sample: it would be the bias whatever the
    input.

    Parameters
    ----------
    num_groups : int
        Number of groups; divides the number of channels.
    num_channels : int
        Channels of the input, its axis 1.
    eps : float, default=1e-5
        Added to the variance, positive.
    affine : bool, default=True
        Learn a weight and a bias a channel.
    device, dtype : optional
        Of the parameters.
    bias : bool, default=True
        Learn a bias (where torch's module has this option).

    Examples
    --------
    >>> import torch
    >>> from normkit.torch import GroupNorm
    >>> GroupNorm(2, 4, eps=1e-12)(torch.tensor([[1.0, 3.0, 10.0, 30.0]])).detach()
    tensor([[-1.,  1., -1.,  1.]])
    """

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Return the normalized input."""
        groups, options = self.num_groups, {"axis": 1, "epsilon": self.eps, "out": _memory_for(input)}

        def norm(x, weight, bias, return_stats):
            return group_norm(x, groups, weight, bias, return_stats=return_stats, **options)

        def gradient(dy, x, weight, mean, rstd):
            return group_norm_backward(dy, x, groups, weight, mean, rstd, axis=1)

        return _apply(norm, gradient, input, self.weight, self.bias)


class _BatchNorm(torch.nn.modules.batchnorm._BatchNorm):
    """What the batch norms share; torch's class of the same number of dimensions checks the input."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Return the normalized input; in training mode update the running statistics."""
        self._check_input_dim(input)
        of_batch = self.training or (self.running_mean is None and self.running_var is None)
        if of_batch and input.numel() == input.shape[1] > 0:
            raise ValueError(f"Expected more than 1 value per channel when training, got input size {input.shape}")
        options = {"axis": 1, "epsilon": self.eps, "out": _memory_for(input)}
        if of_batch:
            norm = partial(self._normalize_by_batch, **options)
        else:
            norm = partial(batch_norm, mean=self.running_mean, var=self.running_var, **options)
        gradient = partial(batch_norm_backward, axis=1, training=of_batch)
        return _apply(norm, gradient, input, self.weight, self.bias)

    def _normalize_by_batch(self, x, weight, bias, **options):
        tracks = self.training and self.track_running_stats
        if tracks and x.shape[1] != self.num_features:  # statistics of one channel would be spread over all
            raise RuntimeError(
                f"axis 1 of input must have num_features={self.num_features}, got shape {tuple(x.shape)}"
            )
        y, mean, rstd = batch_norm(x, weight, bias, **options)
        if tracks:
            if self.num_batches_tracked is not None:
                self.num_batches_tracked.add_(1)
            if x.numel() and self.running_mean is not None:
                self._update(x, mean, rstd)
        return y, mean, rstd

    def _update(self, x, mean, rstd):
        """Take the statistics of a batch into the running ones, the variance as that of a sample."""
        share = self.momentum
        if share is None:
            share = 0.0 if self.num_batches_tracked is None else 1.0 / float(self.num_batches_tracked)
        n = x.numel() // x.shape[1]
        mean, rstd = (torch.as_tensor(a, device=x.device) for a in (mean, rstd))
        var = rstd.pow(-2).sub_(self.eps).clamp_(min=0.0).mul_(n / (n - 1))
        for running, value in ((self.running_mean, mean), (self.running_var, var)):
            assert running is not None
            running.copy_(running.double().mul_(1.0 - share).add_(value, alpha=share))  # rounded once


class BatchNorm1d(_BatchNorm, torch.nn.BatchNorm1d):
    """Normalize each channel of inputs of shape (N, C) or (N, C, L) over the batch: ``torch.nn.BatchNorm1d``.

    ``y = weight * (x - mean) / sqrt(var + eps) + bias``, mean and the biased variance of the batch; in evaluation
    those that training has tracked.

    Parameters
    ----------
    num_features : int
        Number of channels C.
    eps : float, default=1e-5
        Added to the variance, positive.
    momentum : float or None, default=0.1
        The share of the batch in the running statistics: torch's convention, one minus that of `normkit`'s functions.
        None for the average over all batches.
    affine : bool, default=True
        Learn a weight and a bias a channel.
    track_running_stats : bool, default=True
        Keep running statistics, the variance unbiased. Without them evaluation takes the batch's too.
    device, dtype : optional
        Of parameters and running statistics.
    bias : bool, default=True
        Learn a bias (where torch's module has this option).

    Examples
    --------
    >>> import torch
    >>> from normkit.torch import BatchNorm1d
    >>> norm = BatchNorm1d(1, eps=1e-12)
    >>> norm(torch.tensor([[1.0], [3.0]])).detach().flatten()
    tensor([-1.,  1.])
    >>> norm.running_mean, norm.running_var
    (tensor([0.2000]), tensor([1.1000]))
    """


class BatchNorm2d(_BatchNorm, torch.nn.BatchNorm2d):
    """Normalize each channel of inputs of shape (N, C, H, W) over the batch: ``torch.nn.BatchNorm2d``.

    Everything else is as in `BatchNorm1d`; images may be in torch's channels-last memory format.

    Parameters
    ----------
    num_features : int
        Number of channels C.
    eps : float, default=1e-5
        Added to the variance, positive.
    momentum : float or None, default=0.1
        The share of the batch in the running statistics, None for the average over all batches.
    affine : bool, default=True
        Learn a weight and a bias a channel.
    track_running_stats : bool, default=True
        Keep running statistics.
    device, dtype : optional
        Of parameters and running statistics.
    bias : bool, default=True
        Learn a bias (where torch's module has this option).

    Examples
    --------
    >>> import torch
    >>> from normkit.torch import BatchNorm2d
    >>> images = torch.rand(8, 3, 4, 4).to(memory_format=torch.channels_last)
    >>> BatchNorm2d(3)(images).is_contiguous(memory_format=torch.channels_last)
    True
    """
