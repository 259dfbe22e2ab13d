"""The bound: a copy that moves as many bytes as the case must, half read, half written."""

import torch


def ways(run, case, x, dy, gamma, beta):
    """Return torch's copy."""
    source = torch.ones(case.bytes // 2, dtype=torch.uint8, device=x.device)
    target = torch.empty_like(source)
    return {"copy_": lambda: (target.copy_(source),)}
