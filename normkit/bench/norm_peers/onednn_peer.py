"""oneDNN as torch offers it: batch norm of four-dimensional tensors in oneDNN's own layout.

Layer norm of such a tensor ends in an error, group norm too; oneDNN's primitives for them cannot be reached from
torch's public functions. Rows are passed as images of one pixel. The conversions are not timed.
"""

import torch

from normkit.bench.norm_peers import torch_peer as eager


class Peer:
    """The operators return a tensor of their own; there is no way to give them memory."""

    def __init__(self, threads):
        torch.set_num_threads(threads)
        self.guard = torch.inference_mode()
        self.guard.__enter__()

    def ways(self, case, mode, x, dy, gamma, beta):
        """Return the calls that do the case's work, by name."""
        if case.function != "batch_norm" or mode == "out":
            return {}
        self.case = case
        if case.axis == -1:
            x, dy = (a.reshape(-1, case.channels, 1, 1) for a in (x, dy))
        dtype = getattr(torch, case.dtype)
        x, dy = (torch.from_numpy(a).to(dtype).to_mkldnn() for a in (x, dy))
        gamma, beta = torch.from_numpy(gamma), torch.from_numpy(beta)
        if case.direction == "forward":
            operator, arguments = eager.kernel(case, x, gamma, beta)
        else:
            mean, rstd = eager.statistics(case, x, gamma, beta)
            operator, arguments = eager.backward_kernel(case, gamma, beta, mean, rstd)
            arguments = arguments(dy, x, gamma, mean, rstd)
        default = operator.default
        return {operator.__name__: lambda: default(*arguments)}

    def arrays(self, results):
        """Return NumPy arrays of a call's results."""
        return eager.arrays(self.case, results)
