"""The passes of a network over a batch: which kernels and products are enqueued, in which order.

On the device a batch is (samples, features), row after row, and the parameters are one vector laid out as the host's.
A dense layer is a product, then one kernel with everything of a column in it (`normkit.kernels.cuda.dense`). Norms over
a row have kernels of their own between two of these: its `inner` ends where the norm begins, its `outer` follows.
"""

from typing import NamedTuple

import numpy as np

from normkit.engine.norms import NONE, NORMS
from normkit.kernels.cuda import launch, variants
from normkit.kernels.cuda import launch_training as training
from normkit.kernels.cuda.launch_training import Dropout, Layer
from normkit.math.activations import CODES

IDENTITY = CODES["identity"]
BATCH, LAYER, RMS, GROUP, DYT = (NORMS[name].code for name in ("batch", "layer", "rms", "group", "dyt"))
# The norms that a device has
SUPPORTED = (None, "batch", "layer", "rms", "group", "dyt")


class Block(NamedTuple):
    """A layer between two products; pointers are 0 for what is not there."""

    size: int
    x: int  # its product; the batch itself for the input's norm
    source: int  # what a norm over rows is given
    normed: int  # and what it makes
    out: int
    inner: Layer | None
    outer: Layer | None
    variant: int
    groups: int
    mean: int
    rstd: int


def moves_statistics(settings):
    """Whether a norm over the batch uses the batch's statistics."""
    return settings.training and not settings.frozen


class Passes:
    """Buffers for batches of up to `batch` samples of a network, and its passes over them.

    Parameters
    ----------
    device : normkit.engine.cuda.device.Device
    network : normkit.engine.network.Network
    plan : normkit.engine.plan.Plan
        That of the network, or one like it.
    settings : normkit.engine.plan.Settings
    sizes : iterable of int
        All sizes of batches to come.
    """

    def __init__(self, device, network, plan, settings, sizes):
        self.device, self.plan, self.settings = device, plan, settings
        self.dtype, self.item = network.dtype.name, network.dtype.itemsize
        self.sizes, self.last = network.sizes, len(network.sizes) - 1
        self.batch = max(sizes)
        line = 64 // self.item
        self.width = -(-self.batch // line) * line  # of the host's buffers, by which it numbers what it draws
        self.length = network.params.size
        self._buffers = []
        self.params, self.grads = self._numbers(self.length), self._numbers(self.length if settings.training else 0)
        rows = int(plan.rows[-1])
        self.moving = self._numbers(rows), self._numbers(rows), self._bytes(8 * rows)
        self.steps_pointer, self.counter, self.share = 0, self._bytes(8), self._numbers(self.batch)
        self.rows = self._numbers(self.batch * self.sizes[0])
        self.first = 0 if network.plan.norm[0] != NONE else 1
        self.blocks = {b: self._block(b) for b in range(self.first, self.last)}
        self.z = self._numbers(self.batch * self.sizes[-1])
        wide = self.batch * max(self.sizes) if settings.training else 0
        self._deltas = self._numbers(wide), self._numbers(wide)
        self.workspace = self._bytes(max([self._workspace(b, n) for b in self.blocks for n in sizes], default=0))

    def _bytes(self, size):
        if size == 0:
            return 0
        self._buffers.append(self.device.allocate(size))
        return self._buffers[-1].pointer

    def _numbers(self, count):
        return self._bytes(int(count) * self.item)

    def parameter(self, name, b, base=None):
        """Return the address of a parameter of block b, or of its gradient with that `base`; 0 where it has none."""
        start = int(getattr(self.plan, name)[b])
        return 0 if start < 0 else (self.params if base is None else base) + start * self.item

    def _block(self, b):
        plan, size, settings = self.plan, self.sizes[b], self.settings
        count = self.batch * size
        variant, after, activation = int(plan.variant[b]), bool(plan.after[b]), int(plan.activation[b])
        x, out, bias = self.rows if b == 0 else self._numbers(count), self._numbers(count), self.parameter("bias", b)
        dropout = Dropout()
        if settings.training and plan.dropout[b] > 0:
            first = int(plan.rows[b]) * self.width
            dropout = Dropout(float(plan.dropout[b]), int(settings.seed), first, self.width)
        if plan.norm[b] == NONE:
            return Block(size, x, x, 0, out, Layer(size, activation, bias, dropout=dropout), None, 0, 1, 0, 0)
        if variant == BATCH:
            layer = self._batch_norm(b, Layer(size, activation, bias, after=after, dropout=dropout))
            return Block(size, x, x, 0, out, layer, None, variant, 1, 0, 0)
        below, above = (activation, IDENTITY) if after else (IDENTITY, activation)
        inner = Layer(size, below, bias) if below != IDENTITY or bias else None
        source = x if inner is None or not after else self._numbers(count)
        outer = Layer(size, above, dropout=dropout) if above != IDENTITY or dropout.rate else None
        normed = out if outer is None else self._numbers(count)
        groups = int(plan.groups[b])
        statistics = [self._numbers(self.batch * groups) for _ in range(2)]
        return Block(size, x, source, normed, out, inner, outer, variant, groups, *statistics)

    def _batch_norm(self, b, layer):
        start, settings = int(self.plan.rows[b]), self.settings
        mean, var, batches = self.moving
        return layer._replace(
            norm="batch" if moves_statistics(settings) else "fixed",
            gamma=self.parameter("gamma", b), beta=self.parameter("beta", b), moving_mean=mean + start * self.item,
            moving_var=var + start * self.item, batches=batches + 8 * start, stats=self._numbers(3 * layer.columns),
            epsilon=settings.norm_epsilon, kept=settings.norm_momentum,
        )  # fmt: skip

    def _workspace(self, b, n):
        block = self.blocks[b]
        if block.variant in (LAYER, RMS):
            return launch.rows_workspace(n, block.size, self.dtype) if self.settings.training else 0
        if block.variant == GROUP:
            return launch.channels_workspace(self._groups(block, n), self.dtype)
        if block.variant == DYT:
            return launch.dynamic_tanh_workspace(n, block.size, self.dtype) if self.settings.training else 0
        return 0

    @staticmethod
    def _groups(block, n):
        return launch.ChannelShape(n, block.size, 1, True, block.groups)

    @property
    def place(self):
        """Where the kernels run."""
        return training.Place(self.dtype, self.steps_pointer, self.counter, self.device.stream)

    def load(self, network):
        """Copy parameters and moving statistics of the host's network to the device."""
        for array, pointer in zip((network.params, *network.statistics), (self.params, *self.moving)):
            if array.size:
                self.device.upload(array, pointer)

    def store(self, network):
        """Copy them back."""
        for array, pointer in zip((network.params, *network.statistics), (self.params, *self.moving)):
            if array.size:
                self.device.download(pointer, array)

    def kinds(self):
        """Return for each line of the parameters how it is trained, see `normkit.kernels.cuda.variants`."""
        line, settings = variants.LINE // self.item, self.settings
        kinds = np.full(self.length // line, variants.FIXED, np.int64)
        trained = {"gamma": settings.train_gamma, "beta": settings.train_beta, "alpha": settings.train_alpha}
        for b, size in enumerate(self.sizes):
            for name in ("weight", "bias", "gamma", "beta", "alpha"):
                start = int(getattr(self.plan, name)[b])
                if start >= 0 and trained.get(name, True):
                    count = {"weight": size * self.sizes[b - 1], "alpha": 1}.get(name, size)
                    kind = variants.WEIGHT if name == "weight" else variants.VECTOR
                    kinds[start // line : -(-(start + count) // line)] = kind
        return kinds

    def input_of(self, b):
        """Return what block b multiplies with its weights."""
        return self.blocks[b - 1].out if b - 1 in self.blocks else self.rows

    def _product(self, b, n, out):
        """Out = input @ weight.T."""
        below, size = self.sizes[b - 1], self.sizes[b]
        self.device.gemm(
            self.dtype, False, True, n, size, below, self.input_of(b), below, self.parameter("weight", b), below, out,
            size,
        )  # fmt: skip

    def forward(self, n, last=None):
        """Enqueue the blocks up to `last`, by default all and the product of the output layer, left in `z`."""
        for b, block in self.blocks.items():
            if b > 0:
                self._product(b, n, block.x)
            self._forward(b, block, n)
            if b == last:
                return
        self._product(self.last, n, self.z)

    def _forward(self, b, block, n):
        place, layer = self.place, block.inner
        if block.variant in (0, BATCH):
            training.forward(place, layer, block.x, self.share, block.out, n)
            return
        if layer is not None:
            training.forward(place, layer, block.x, 0, block.source, n)
        options = {"dtype": self.dtype, "parameters": self.dtype, "stream": self.device.stream}
        gamma, beta, epsilon = self.parameter("gamma", b), self.parameter("beta", b), self.settings.norm_epsilon
        if block.variant == DYT:
            alpha = self.parameter("alpha", b)
            launch.dynamic_tanh(block.source, 0.0, alpha, gamma, beta, block.normed, n, block.size, **options)
        elif block.variant == GROUP:
            launch.normalize_channels(
                self._groups(block, n), block.source, gamma, beta, block.normed, block.mean, block.rstd, self.workspace,
                epsilon, **options,
            )  # fmt: skip
        else:
            launch.normalize_rows(
                block.source, 0, 0, gamma, beta, block.normed, block.mean, block.rstd, n, block.size, epsilon,
                centred=block.variant == LAYER, **options,
            )  # fmt: skip
        if block.outer is not None:
            training.forward(place, block.outer, block.normed, 0, block.out, n)

    def output_gradient(self):
        """Return where the gradient of the output layer's product belongs."""
        return self._deltas[self.last % 2]

    def backward(self, n):
        """Enqueue the gradients of all parameters, from that of the output layer's product."""
        b, delta = self.last, self.output_gradient()
        bias = Layer(self.sizes[b], IDENTITY)
        if dbias := self.parameter("bias", b, self.grads):
            training.backward(self.place, bias, self.z, 0, delta, dbias, 0, 0, n)
        self._weight_gradient(b, n, delta)
        for b in range(self.last - 1, self.first - 1, -1):
            above, delta = delta, self._deltas[b % 2]
            size, rows = self.sizes[b], self.sizes[b + 1]
            weight = self.parameter("weight", b + 1)
            self.device.gemm(self.dtype, False, False, n, size, rows, above, rows, weight, size, delta, size)
            self._backward(b, self.blocks[b], n, delta)
            if b > 0:
                self._weight_gradient(b, n, delta)

    def _weight_gradient(self, b, n, delta):
        """Write delta.T @ input."""
        below, size = self.sizes[b - 1], self.sizes[b]
        out = self.parameter("weight", b, self.grads)
        self.device.gemm(self.dtype, True, False, size, below, n, delta, size, self.input_of(b), below, out, below)

    def _backward(self, b, block, n, delta):
        place, layer = self.place, block.inner
        dbias, dgamma, dbeta = (self.parameter(name, b, self.grads) for name in ("bias", "gamma", "beta"))
        if block.variant in (0, BATCH):
            training.backward(place, layer, block.x, self.share, delta, dbias, dgamma, dbeta, n)
            return
        if block.outer is not None:
            training.backward(place, block.outer, block.normed, 0, delta, 0, 0, 0, n)
        self._norm_backward(b, block, n, delta, dgamma, dbeta)
        if layer is not None:
            # before the norm the bias stands in x already
            layer = layer if block.source != block.x else layer._replace(bias=0)
            training.backward(place, layer, block.x, 0, delta, dbias, 0, 0, n)

    def _norm_backward(self, b, block, n, delta, dgamma, dbeta):
        options = {"dtype": self.dtype, "parameters": self.dtype, "stream": self.device.stream}
        gamma = self.parameter("gamma", b)
        if block.variant == DYT:
            launch.dynamic_tanh_backward(
                delta, block.source, 0.0, self.parameter("alpha", b), gamma, delta,
                self.parameter("alpha", b, self.grads), dgamma, dbeta, self.workspace, n, block.size, **options,
            )  # fmt: skip
        elif block.variant == GROUP:
            launch.normalize_channels_backward(
                self._groups(block, n), delta, block.source, gamma, block.mean, block.rstd, delta, dgamma, dbeta,
                self.workspace, **options,
            )  # fmt: skip
        else:
            launch.normalize_rows_backward(
                delta, 0, block.source, gamma, block.mean, block.rstd, delta, dgamma, dbeta, self.workspace, n,
                block.size, centred=block.variant == LAYER, **options,
            )  # fmt: skip
