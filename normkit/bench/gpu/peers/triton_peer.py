"""A small Triton kernel, where Liger-Kernel is not installed."""

import torch

from normkit.bench.gpu.peers import triton_kernels

# a row is one block: beyond this it does not fit into a multiprocessor's registers
LONGEST = 65536


def _warps(columns):
    return min(max(columns // 512, 4), 16)


def ways(run, case, x, dy, gamma, beta):
    """Return the launch for the case."""
    if case.function not in ("layer_norm", "rms_norm") or case.channels > LONGEST:
        return {}
    rows, columns = x.shape
    block, warps = 1 << (columns - 1).bit_length(), _warps(columns)
    mean, rstd = (torch.empty(rows, dtype=torch.float32, device=x.device) for _ in range(2))
    options = {"CENTRED": case.centred, "BLOCK": block, "num_warps": warps}

    def forward():
        y = torch.empty_like(x)
        triton_kernels.forward[(rows,)](x, gamma, beta, y, mean, rstd, columns, case.epsilon, **options)
        return (y,)

    if case.direction == "forward":
        return {"kernel": forward}
    forward()
    programs = min(rows, 2 * getattr(getattr(run.device, "properties", None), "multi_processor_count", 4))
    size = -(-rows // programs)
    programs = -(-rows // size)

    def backward():
        dx = torch.empty_like(x)
        partials = torch.empty((2, programs, columns), dtype=torch.float32, device=x.device)
        triton_kernels.backward[(programs,)](
            dy, x, gamma, mean, rstd, dx, partials[0], partials[1], rows, columns, size, **options
        )
        sums = partials[: 2 if case.centred else 1].sum(1)
        return (dx, *(part.to(gamma.dtype) for part in sums))

    return {"kernel": backward}
