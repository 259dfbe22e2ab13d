"""Liger-Kernel's launchers, below its autograd functions; it has no batch norm."""

import torch


def _layer_norm(case, x, dy, gamma, beta):
    from liger_kernel.ops.layer_norm import layer_norm_backward, layer_norm_forward

    if case.direction == "forward":
        return lambda: layer_norm_forward(x, gamma, beta, case.epsilon)
    _, _, mean, rstd, *_ = layer_norm_forward(x, gamma, beta, case.epsilon)
    return lambda: layer_norm_backward(dy, x, gamma, beta, mean, rstd)


def _rms_norm(case, x, dy, gamma, beta):
    from liger_kernel.ops.rms_norm import rms_norm_backward, rms_norm_forward

    # its models' way: the row in float32, the product with gamma in the type of x
    given = (x, gamma, case.epsilon, 0.0, "llama", None)
    if case.direction == "forward":
        return lambda: rms_norm_forward(*given)
    _, _, rstd, block, warps, mode = rms_norm_forward(*given)
    return lambda: rms_norm_backward(dy, x, gamma, rstd, 0.0, mode, block, warps, False, None)


def ways(run, case, x, dy, gamma, beta):
    """Return the launcher for the case."""
    make = {"layer_norm": _layer_norm, "rms_norm": _rms_norm}.get(case.function)
    if make is None:
        return {}
    call = make(case, x, dy, gamma, beta)

    def without():
        with torch.no_grad():
            return call()

    return {"launcher": without}
