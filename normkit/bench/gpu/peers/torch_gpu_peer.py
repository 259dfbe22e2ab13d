"""PyTorch's own kernels, called eagerly: its functions, ATen's operators and autograd, whichever is fastest."""

import torch

from normkit.bench.norm_peers import torch_peer as eager


def channels_first(case, *tensors):
    """Return images as torch wants them: channels-last ones as views of its channels-last format."""
    if len(case.shape) == 4 and case.axis == -1:
        return [a.permute(0, 3, 1, 2) for a in tensors]
    return list(tensors)


def results(case, found):
    """Return the results that are compared, in the case's layout."""
    found = [found] if isinstance(found, torch.Tensor) else list(found)
    if len(case.shape) == 4 and case.axis == -1:
        found[0] = found[0].permute(0, 2, 3, 1)
    return tuple(found)


def _no_grad(call):
    def without():
        with torch.no_grad():
            return call()

    return without


def _autograd(case, function, x, dy, gamma, beta):
    inputs = [a.detach().requires_grad_() for a in ((x, gamma, beta) if case.centred else (x, gamma))]
    y = function(*inputs) if case.centred else function(*inputs, None)
    return lambda: results(case, torch.autograd.grad(y, inputs, dy, retain_graph=True))


def _fused_rms(case, x, dy, gamma):
    """Return ATen's backward operator of rms_norm, which newer releases have."""
    forward, backward = (
        getattr(torch.ops.aten, name, None) for name in ("_fused_rms_norm", "_fused_rms_norm_backward")
    )
    if forward is None or backward is None:
        return None
    rstd = forward(x, [case.channels], gamma, case.epsilon)[1]
    return lambda: backward(dy, x, [case.channels], rstd, gamma, [True, True])


def ways(run, case, x, dy, gamma, beta):
    """Return what torch has for the case."""
    x, dy = channels_first(case, x, dy)
    functions = eager.function_of(case)
    if case.direction == "forward":
        # a function of its own for each: a closure over the loop's variable would be the last one's
        return {name: _no_grad(lambda f=f: results(case, f(x, gamma, beta))) for name, f in functions.items()}
    found = {"autograd": _autograd(case, next(iter(functions.values())), x, dy, gamma, beta)}
    if case.function == "rms_norm":
        if fused := _fused_rms(case, x, dy, gamma):
            found["_fused_rms_norm_backward"] = _no_grad(fused)
        return found
    mean, rstd = eager.statistics(case, x, gamma, beta)
    operator, arguments = eager.backward_kernel(case, gamma, beta, mean, rstd)
    given = arguments(dy, x, gamma, mean, rstd)
    found[operator.__name__] = _no_grad(lambda: results(case, operator.default(*given)))
    return found
