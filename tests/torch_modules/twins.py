"""Pairs of modules, normkit's and torch's, and what is compared of them."""

import numpy as np
import torch
from torch import nn

import normkit.torch

# name, arguments, shape of an input
CASES = [
    ("LayerNorm", (5,), {}, (7, 5)),
    ("LayerNorm", ((4, 5),), {}, (3, 2, 4, 5)),
    ("LayerNorm", (5,), {"elementwise_affine": False, "eps": 1e-3}, (7, 5)),
    ("LayerNorm", (5,), {"bias": False}, (2, 3, 5)),
    ("RMSNorm", (5,), {}, (7, 5)),
    ("RMSNorm", ([4, 5],), {"eps": 1e-3}, (3, 4, 5)),
    ("RMSNorm", (5,), {"elementwise_affine": False}, (7, 5)),
    ("GroupNorm", (2, 6), {}, (3, 6, 4, 5)),
    ("GroupNorm", (2, 6), {"eps": 1e-3}, (3, 6)),
    ("GroupNorm", (3, 6), {"affine": False}, (3, 6, 4)),
    ("BatchNorm1d", (5,), {}, (7, 5)),
    ("BatchNorm1d", (5,), {"eps": 1e-3, "momentum": 0.3}, (4, 5, 3)),
    ("BatchNorm1d", (5,), {"affine": False}, (7, 5)),
    ("BatchNorm1d", (5,), {"track_running_stats": False}, (7, 5)),
    ("BatchNorm2d", (6,), {}, (3, 6, 4, 5)),
    ("BatchNorm2d", (6,), {"momentum": None}, (3, 6, 4, 5)),
]
IDS = [f"{name}-{shape}-{options}" for name, _, options, shape in CASES]
# one of each, on images where it takes them
SHORT = [CASES[i] for i in (1, 5, 7, 11, 14)]
SHORT_IDS = [case[0] for case in SHORT]
# float64 on both sides, sums of some dozens of terms; float32 rounds in another order; 16 bits are rounded once
TOLERANCE = {torch.float64: 1e-11, torch.float32: 2e-5, torch.float16: 1.1e-3, torch.bfloat16: 8.5e-3}


def pair(name, arguments, options, dtype=torch.float64, seed=0):
    """A module of normkit's and one of torch's with the same state, drawn at random."""
    theirs = getattr(nn, name)(*arguments, **options, dtype=dtype)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for a in [*theirs.parameters(), *theirs.buffers()]:
            if a.is_floating_point():
                a.copy_(torch.rand(a.shape, generator=generator, dtype=torch.float64) + 0.5)
    ours = getattr(normkit.torch, name)(*arguments, **options, dtype=dtype)
    ours.load_state_dict(theirs.state_dict())
    return ours, theirs


def drawn(shape, dtype=torch.float64, seed=1):
    return torch.tensor(np.random.default_rng(seed).normal(1.0, 2.0, shape)).to(dtype)


def used(module, x, dy):
    """Result, gradients and state after one forward and backward, by name."""
    x = x.detach().requires_grad_()
    y = module(x)
    y.backward(dy)
    found = {"y": y.detach(), "dx": x.grad}
    found |= {f"d{name}": parameter.grad for name, parameter in module.named_parameters()}
    return found | {name: buffer.clone() for name, buffer in module.named_buffers()}


def assert_same(got, want, tolerance):
    assert got.keys() == want.keys()
    for name, a in got.items():
        assert a.shape == want[name].shape, name
        b = want[name].double()
        scale = max(1.0, b.abs().max().item()) if b.numel() else 1.0  # sums of gradients cancel
        torch.testing.assert_close(a.double(), b, rtol=tolerance, atol=tolerance * scale, msg=lambda m, n=name: n + m)
