"""What the kernels section of `gpu.py` times: the cases of `norm_cases` at a device's sizes, drawn on the device."""

import math

import torch

from normkit.bench import norm_cases

DTYPES = ("float32", "bfloat16", "float16")
FUNCTIONS = ("layer_norm", "rms_norm", "batch_norm")
DIRECTIONS = ("backward", "forward")  # the opening first
LENGTHS = (4096, 1024, 16384, 65536, 2048, 8192, 32768)
ELEMENTS = 1 << 25  # 128 MB in float32, 64 MB in 16 bits: more than a cache holds
FIRST = 4  # lengths, before the others have their turn
BATCHES = (1, 8, 64, 512, 4096, 32768)
BATCH_LENGTH = 4096
IMAGES = (((128, 256, 32, 32), 1), ((128, 32, 32, 256), -1))
DRY_SHAPES = ((6, 64), (33, 40))


class Case(norm_cases.Case):
    """A case in one of the device's types."""

    @property
    def bytes(self):
        """What must move: x and y; dy, x and dx. Parameters and statistics are not counted."""
        itemsize = {"float64": 8, "float32": 4}.get(self.dtype, 2)
        return math.prod(self.shape) * itemsize * (2 if self.direction == "forward" else 3)

    @property
    def key(self):
        """Name in the result file."""
        axis = " NCHW" if len(self.shape) == 4 and self.axis == 1 else " NHWC" if len(self.shape) == 4 else ""
        return f"{self.function} {self.direction} {self.fields['shape']}{axis} {self.dtype}"


def _cases(shapes, dtypes, functions=FUNCTIONS, axis=-1):
    return [
        Case(function, shape, axis, dtype, direction)
        for shape in shapes
        for dtype in dtypes
        for direction in DIRECTIONS
        for function in functions
        if function != "batch_norm" or shape[0] > 1  # a batch of one has no variance
    ]


def cases(quick=False, dry=False):
    """Every case, the most telling first."""
    if dry:
        return _cases(DRY_SHAPES, ("float32", "bfloat16"))
    large = [(ELEMENTS // n, n) for n in LENGTHS]
    if quick:
        return _cases(large[:1], ("float32",))
    found = _cases(large[:FIRST], ("float32", "bfloat16"))
    for shape, axis in IMAGES:
        found += _cases([shape], ("float32",), ("batch_norm",), axis)
    found += _cases(large[:1], ("float16",))
    small = [(n, BATCH_LENGTH) for n in BATCHES if n * BATCH_LENGTH != ELEMENTS]
    found += _cases(small, ("float32",))
    found += _cases(large[FIRST:], ("float32", "bfloat16"))
    found += _cases(large[1:], ("float16",))
    for shape, axis in IMAGES:
        found += _cases([shape], ("bfloat16",), ("batch_norm",), axis)
    return found


def draw(case, device, seed=0):
    """Return x, dy, gamma and beta in the case's type, as `norm_cases.draw` does on the host."""
    generator = torch.Generator(device).manual_seed(seed)
    dtype = getattr(torch, case.dtype)
    shapes = (case.shape, case.shape, (case.channels,), (case.channels,))
    arrays = [torch.randn(shape, generator=generator, device=device) for shape in shapes]
    arrays[0] += 0.5
    arrays[2] = 1 + arrays[2] / 4
    return [a.to(dtype) for a in arrays]


def empty(case, device):
    """Return memory in the place of what `draw` returns."""
    shapes = (case.shape, case.shape, (case.channels,), (case.channels,))
    return [torch.empty(shape, dtype=getattr(torch, case.dtype), device=device) for shape in shapes]


def reference(case, x, dy, gamma, beta):
    """Return (y,), or (dx, dgamma, dbeta), in float64 on the device, by torch: `norm_cases.reference` there."""
    view, axes, parameters = case.statistics_view
    gamma, beta = gamma.double().reshape(parameters), beta.double().reshape(parameters)
    xhat = x.double().reshape(view)
    if case.centred:
        xhat = xhat - xhat.mean(dim=axes, keepdim=True)
    rstd = (xhat.square().mean(dim=axes, keepdim=True) + case.epsilon).rsqrt()
    xhat = xhat * rstd
    if case.direction == "forward":
        y = xhat * gamma
        return ((y + beta if case.centred else y).reshape(case.shape),)
    dy = dy.double().reshape(view)
    sums = [(dy * xhat).sum(dim=case.summed_axes).reshape(-1)]
    if case.centred:
        sums.append(dy.sum(dim=case.summed_axes).reshape(-1))
    g = dy * gamma
    dx = g - xhat * (g * xhat).mean(dim=axes, keepdim=True)
    if case.centred:
        dx -= g.mean(dim=axes, keepdim=True)
    return ((dx * rstd).reshape(case.shape), *sums)


def errors_of(expected, results):
    """Return each result's largest error as a share of its largest value."""
    if len(results) < len(expected):
        raise ValueError(f"{len(expected)} results expected, got {len(results)}")
    errors = []
    for wanted, result in zip(expected, results):
        if result.numel() != wanted.numel():
            raise ValueError(f"a result of {wanted.numel()} values expected, got {result.numel()}")
        difference = float((result.reshape(wanted.shape).double() - wanted).abs().max())
        # not a comparison that NaN would pass
        errors.append(difference / float(wanted.abs().max()) if math.isfinite(difference) else math.inf)
    return errors
