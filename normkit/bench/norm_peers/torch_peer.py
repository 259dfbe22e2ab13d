"""PyTorch's own kernels on the CPU, without autograd where a backward kernel can be called.

Written to memory that is there (`out`), only batch norm's forward kernel has an entry that computes there; the
other `.out` functions of ATen compute elsewhere and copy. They are timed all the same, for torch has nothing else.
rms_norm has no backward kernel on the CPU: its gradient is autograd's, of a graph kept from one forward pass.
"""

import functools
from typing import Any

import torch
from torch.nn import functional

_ALL = [True, True, True]


def tensors(case, x, dy, gamma, beta):
    """Return torch tensors of the arrays; channels-last images become NCHW views, as torch wants them."""
    dtype = getattr(torch, case.dtype)
    x, dy = (torch.from_numpy(a).to(dtype) for a in (x, dy))
    if len(case.shape) == 4 and case.axis == -1:
        x, dy = (a.permute(0, 3, 1, 2) for a in (x, dy))
    return x, dy, torch.from_numpy(gamma), torch.from_numpy(beta)


def layouts(case, x, dy):
    """Return (x, dy) by the name of their layout: batch norm of images channels last is one of rows, too."""
    found = {"": (x, dy)}
    if case.function == "batch_norm" and len(case.shape) == 4 and case.axis == -1:
        found[" of rows"] = tuple(a.permute(0, 2, 3, 1).reshape(-1, case.channels) for a in (x, dy))
    return found


def parameter_types(case, gamma, beta):
    """Return (gamma, beta) by the name of their type; rms_norm takes no other type than x's."""
    if case.dtype == "float32":
        return {"": (gamma, beta)}
    half = (gamma.bfloat16(), beta.bfloat16())
    return {"": half} if case.function == "rms_norm" else {"": (gamma, beta), ", bfloat16 parameters": half}


def function_of(case):
    """Return f(x, gamma, beta) -> y by torch's public functions, under their names."""
    shape, epsilon = (case.channels,), case.epsilon
    if case.function == "layer_norm":
        return {"layer_norm": lambda x, w, b: functional.layer_norm(x, shape, w, b, epsilon)}
    if case.function == "rms_norm":
        return {"rms_norm": lambda x, w, b: functional.rms_norm(x, shape, w, epsilon)}
    if case.function == "batch_norm":
        return {"batch_norm": lambda x, w, b: functional.batch_norm(x, None, None, w, b, True, 0.0, epsilon)}
    found = {"group_norm": lambda x, w, b: functional.group_norm(x, case.groups, w, b, epsilon)}
    if case.function == "instance_norm":
        found["instance_norm"] = lambda x, w, b: functional.instance_norm(x, weight=w, bias=b, eps=epsilon)
    return found


def kernel(case, x, gamma, beta):
    """Return ATen's forward operator with its arguments, None for rms_norm."""
    aten, epsilon = torch.ops.aten, case.epsilon
    if case.function == "rms_norm":
        return None
    if case.function == "layer_norm":
        return aten.native_layer_norm, (x, [case.channels], gamma, beta, epsilon)
    if case.function == "batch_norm":
        return aten.native_batch_norm, (x, gamma, beta, None, None, True, 0.0, epsilon)
    n, channels = x.shape[:2]
    sizes = (n, channels, x[0, 0].numel(), case.groups)
    return aten.native_group_norm, (x, gamma, beta, *sizes, epsilon)


def backward_kernel(case, gamma, beta, mean, rstd):
    """Return ATen's backward operator and f(dy, x, gamma, mean, rstd) -> its arguments; None for rms_norm."""
    aten, epsilon = torch.ops.aten, case.epsilon
    if case.function == "rms_norm":
        return None
    if case.function == "layer_norm":
        shape = [case.channels]
        return aten.native_layer_norm_backward, lambda dy, x, w, m, r: (dy, x, shape, m, r, w, beta, _ALL)
    if case.function == "batch_norm":
        return (
            aten.native_batch_norm_backward,
            lambda dy, x, w, m, r: (dy, x, w, None, None, m, r, True, epsilon, _ALL),
        )
    n, channels = case.shape[0], case.channels
    sizes = (n, channels, x_plane(case), case.groups)
    return aten.native_group_norm_backward, lambda dy, x, w, m, r: (dy, x, m, r, w, *sizes, _ALL)


def x_plane(case):
    """Return the number of values of one channel of one image."""
    size = 1
    for n in case.shape[1:]:
        size *= n
    return size // case.channels


def statistics(case, x, gamma, beta):
    """Return mean and rstd in the shape and type that the backward kernel takes."""
    operator, arguments = kernel(case, x, gamma, beta)
    return operator(*arguments)[1:]


def arrays(case, results):
    """Return NumPy arrays of the results that are compared, channels where the case has them."""
    wanted = [results] if isinstance(results, torch.Tensor) else list(results)
    if case.direction == "forward":
        wanted = wanted[:1]  # mean and rstd follow
    wanted = [a.detach().to_dense() if a.layout == torch._mkldnn else a.detach() for a in wanted]
    if wanted[0].dim() == 4 and case.axis == -1 and wanted[0].shape[2:] != (1, 1):
        wanted[0] = wanted[0].permute(0, 2, 3, 1)
    return [a.float().numpy() for a in wanted]


class Peer:
    """Eager calls."""

    def __init__(self, threads):
        torch.set_num_threads(threads)
        self.guard = None

    def ways(self, case, mode, x, dy, gamma, beta):
        """Return the calls that do the case's work, by name."""
        if self.guard:
            self.guard.__exit__(None, None, None)
        self.case = case
        by_autograd = case.function == "rms_norm" and case.direction == "backward"
        # the cheapest dispatch; its tensors cannot enter a graph
        self.guard = torch.inference_mode(not by_autograd)
        self.guard.__enter__()
        x, dy, gamma, beta = tensors(case, x, dy, gamma, beta)
        if by_autograd:
            return self._autograd(mode, x, dy, *parameter_types(case, gamma, beta)[""])
        ways: dict[str, Any] = {}
        for layout, (a, da) in layouts(case, x, dy).items():
            for kind, parameters in parameter_types(case, gamma, beta).items():
                make = self._forward if case.direction == "forward" else self._backward
                found = make(mode, a, da, *parameters)
                ways |= {f"{name}{layout}{kind}": call for name, call in found.items()}
        return ways

    def _forward(self, mode, x, dy, gamma, beta):
        native = kernel(self.case, x, gamma, beta)
        ways = {}
        if mode == "fresh":
            for name, function in function_of(self.case).items():
                ways[name] = functools.partial(function, x, gamma, beta)
        if native:
            ways |= _operator(mode, *native)
        return ways

    def _backward(self, mode, x, dy, gamma, beta):
        mean, rstd = statistics(self.case, x, gamma, beta)
        operator, arguments = backward_kernel(self.case, gamma, beta, mean, rstd)
        return _operator(mode, operator, arguments(dy, x, gamma, mean, rstd))

    def _autograd(self, mode, x, dy, gamma, beta):
        if mode == "out":
            return {}
        inputs = x.requires_grad_(), gamma.requires_grad_()
        (function,) = function_of(self.case).values()
        y = function(*inputs, None)
        return {"autograd": lambda: torch.autograd.grad(y, inputs, dy, retain_graph=True)}

    def arrays(self, results):
        """Return NumPy arrays of a call's results."""
        return arrays(self.case, results)


def _operator(mode, operator, arguments):
    name = operator.__name__
    default = operator.default
    if mode == "fresh":
        return {name: lambda: default(*arguments)}
    names = ("out", "save_mean", "save_invstd") if name == "native_batch_norm" else ("out0", "out1", "out2")
    outputs = dict(zip(names, default(*arguments)))
    into = operator.out
    return {f"{name}.out": lambda: into(*arguments, **outputs)}
