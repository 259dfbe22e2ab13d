"""torch.compile: torch's functions, and ATen's backward operators, compiled by Inductor.

Compiling the backward operator gives the kernel that autograd would compile, without autograd's run time around
it. Into memory that is there: the compiled function copies its result there, which Inductor fuses into the kernel.
"""

from typing import Any

import torch

from normkit.bench.norm_peers import torch_peer as eager


def _rms_norm_backward(dy, x, gamma, rstd):
    dy, xhat = dy.float(), x.float() * rstd  # (M, N)
    g = dy * gamma.float()
    dx = rstd * (g - xhat * (g * xhat).mean(-1, keepdim=True))
    return dx.to(x.dtype), (dy * xhat).sum(0)


def _compiled(function, out, arguments):
    """Return a call of the compiled function; out is None or receives the first result."""

    def into(out, *arguments):
        results = function(*arguments)
        if isinstance(results, torch.Tensor):
            return out.copy_(results)
        return (out.copy_(results[0]), *results[1:])

    compiled = torch.compile(function if out is None else into, dynamic=False, fullgraph=True)
    if out is None:
        return lambda: compiled(*arguments)
    return lambda: compiled(out, *arguments)


class Peer:
    """Compiled anew for each case, for the exact shape."""

    def __init__(self, threads):
        torch.set_num_threads(threads)
        torch.set_grad_enabled(False)
        self.case: Any = None

    def ways(self, case, mode, x, dy, gamma, beta):
        """Return the calls that do the case's work, by name."""
        if case != self.case:
            torch.compiler.reset()
        self.case = case
        x, dy, gamma, beta = eager.tensors(case, x, dy, gamma, beta)
        gamma, beta = eager.parameter_types(case, gamma, beta)[""]
        make = self._forward if case.direction == "forward" else self._backward
        ways = {}
        for layout, (a, da) in eager.layouts(case, x, dy).items():
            out = torch.empty_like(a) if mode == "out" else None
            for name, function, arguments in make(a, da, gamma, beta):
                ways[name + layout] = _compiled(function, out, arguments)
        return ways

    def _forward(self, x, dy, gamma, beta):
        return [(name, f, (x, gamma, beta)) for name, f in eager.function_of(self.case).items()]

    def _backward(self, x, dy, gamma, beta):
        if self.case.function == "rms_norm":
            rstd = torch.rsqrt(x.float().square().mean(-1, keepdim=True) + self.case.epsilon)
            return [("formula", _rms_norm_backward, (dy, x, gamma, rstd))]
        mean, rstd = eager.statistics(self.case, x, gamma, beta)
        operator, arguments = eager.backward_kernel(self.case, gamma, beta, mean, rstd)

        def backward(*values):
            return operator(*arguments(*values))

        return [(operator.__name__, backward, (dy, x, gamma, mean, rstd))]

    def arrays(self, results):
        """Return NumPy arrays of a call's results."""
        return eager.arrays(self.case, results)
