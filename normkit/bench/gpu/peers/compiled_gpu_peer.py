"""torch.compile: torch's functions and ATen's backward operators, compiled by Inductor for the exact shape."""

import torch

from normkit.bench.gpu.peers.torch_gpu_peer import channels_first, results
from normkit.bench.norm_peers import compiled_peer


class _Peer(compiled_peer.Peer):
    def __init__(self, case):  # without what the other benchmark sets for all of the process
        self.case = case


def ways(run, case, x, dy, gamma, beta):
    """Return the compiled functions."""
    torch.compiler.reset()
    peer, found = _Peer(case), {}
    x, dy = channels_first(case, x, dy)
    make = peer._forward if case.direction == "forward" else peer._backward
    for name, function, arguments in make(x, dy, gamma, beta):
        found[name] = _call(case, torch.compile(function, dynamic=False, fullgraph=True), arguments)
    return found


def _call(case, compiled, arguments):
    def call():
        with torch.no_grad():
            return results(case, compiled(*arguments))

    return call
