"""A network as plain data: what the compiled code reads instead of asking objects.

Block 0 is the input, possibly normalized; blocks 1..L are dense layers, each with an optional norm before or
after its activation. All parameters stand in one vector. All activations stand in feature-major buffers with
rows of one length: block b is rows[b] to rows[b] + sizes[b], one feature a row.
"""

import itertools
from typing import NamedTuple

import numpy as np

from normkit._jit import leaf
from normkit.engine.norms import NONE, NORMS, SAMPLE, group_count, has_alpha, virtual_batches
from normkit.math.activations import CODES

# The stages of a step: each thread does its share of one, and waits for the others where the schedule says so.
GATHER, FORWARD, FORWARD_FINISH, OUTPUT, STORE, LOSS, BACKWARD, BACKWARD_FINISH, UPDATE, UPDATE_ALPHA = range(10)
# and where several processes train together
EXCHANGE_MOMENTS, EXCHANGE_SUMS, EXCHANGE_GRADIENT, APPLY = range(10, 14)

_LINE = 64  # bytes of a cache line
_HUGE_PAGE = 1 << 21
_LARGE = 1 << 18
_stagger = itertools.cycle(range(0, 16 * 4160, 4160))


class Plan(NamedTuple):
    """One entry a block; offsets into the parameter vector are -1 where a block has no such parameter."""

    sizes: np.ndarray
    activation: np.ndarray
    norm: np.ndarray  # what it needs: NONE, FEATURE or SAMPLE
    variant: np.ndarray  # which one it is: `normkit.engine.norms.Norm.code`
    groups: np.ndarray  # of features, which a SAMPLE norm averages over
    after: np.ndarray
    weight: np.ndarray
    bias: np.ndarray
    gamma: np.ndarray
    beta: np.ndarray
    alpha: np.ndarray
    rows: np.ndarray
    dropout: np.ndarray  # float64


class Settings(NamedTuple):
    """What holds for a whole epoch. Floats are float64 here and cast once where they are used."""

    training: bool
    loss: int
    total_weight: float = 0.0  # what the loss is averaged over; 0: the batch's own sum of weights
    optimizer: int = 0
    learning_rate: float = 0.0
    warmup_steps: float = 0.0
    cosine_steps: float = 0.0  # 0: no decay
    momentum: float = 0.0
    nesterov: bool = False
    beta_1: float = 0.0
    beta_2: float = 0.0
    epsilon: float = 0.0
    alpha: float = 0.0  # times a weight, over what the loss is averaged over, is added to its gradient
    decay: float = 0.0  # times a weight is added to its gradient
    decoupled_decay: float = 0.0
    norm_momentum: float = 0.0  # negative: the average of all batches
    norm_epsilon: float = 0.0
    frozen: bool = False  # training normalizes with the moving statistics, and leaves them
    virtual_batch_size: int = 32
    renorm_r_max: float = 1.0
    renorm_d_max: float = 0.0
    train_gamma: bool = True
    train_beta: bool = True
    train_alpha: bool = True
    norm_noise: float = 0.0  # strength of the noise after each norm, see normkit.engine.noise
    seed: int = 0
    joined: bool = False  # the batch is a part of one that other processes have the rest of
    synchronized: bool = False  # and norms over the batch average over all of it
    exchange: int = 0  # address, see normkit.engine.exchange
    small_product: int = 0  # see normkit.engine.blas


class Work(NamedTuple):
    """Buffers of a step, allocated once a fit. `width` is the batch size rounded up to a cache line."""

    batch: np.ndarray  # (B, features), the gathered rows
    target: np.ndarray  # (B, outputs or 1)
    share: np.ndarray  # (B,) weight of each sample, divided by what the loss is averaged over
    pre: np.ndarray  # (rows, width) input of the activation
    post: np.ndarray  # (rows, width) its output, where a norm or dropout follows
    xhat: np.ndarray  # (rows, width)
    out: np.ndarray  # (rows, width) output of the block
    delta: np.ndarray  # (rows, width) gradient
    keep: np.ndarray  # (rows, width) dropout factors, empty without dropout
    factor: np.ndarray  # (rows, width) what noise after a norm multiplied by, empty without noise
    raw: np.ndarray  # (rows, width) input of a dynamic tanh
    rstd: np.ndarray  # (rows, chunks) FEATURE norms
    correction: np.ndarray  # (2, rows) r and d of a renormalization
    chunk_share: np.ndarray  # (threads, width) weight of each sample in its chunk, a copy a thread
    chunk_weight: np.ndarray  # (threads, >= chunks) sum of shares of each chunk
    partial: np.ndarray  # (groups + threads - 1, 3, width) SAMPLE norms, each thread's share of each group
    merged: np.ndarray  # (threads, 2, width) and their sum, a copy a thread
    sample_rstd: np.ndarray  # (blocks, groups + threads - 1, width)
    tile: np.ndarray  # (threads, elements) gradient of some rows of a weight matrix
    vectors: np.ndarray  # (threads, 3, features) gradients of bias, gamma, beta
    slope: np.ndarray  # (threads, >= blocks) each thread's part of alpha's gradient
    column: np.ndarray  # (2, width) softmax
    totals: np.ndarray  # (threads, 16) sums of the losses and of the penalties of the epoch; a cache line or more each
    joined: np.ndarray  # (batches, 4 + processes) what the batches add up to, see normkit.engine.joined; else empty
    moments: np.ndarray  # (2 * features,) float64, of this process' samples; or the sums of the gradient
    gathered: np.ndarray  # (processes * 2 * features,) the moments of each process
    gradient: np.ndarray  # like the parameters


def activation_codes(activations):
    """Return one code a block for the names of the hidden layers' activations."""
    names = ["identity", *activations, "identity"]
    return np.array([CODES[name] for name in names], np.int64)


def dropout_rates(dropouts):
    """Return one rate a block for those of the hidden layers."""
    return np.array([0.0, *dropouts, 0.0])


def make_plan(sizes, normalization, position, normalize_input, itemsize, groups=1):
    """Lay out a network of layer sizes (features, hidden..., outputs); returns the plan and the vector's length.

    The hidden layers' activations are the identity and their dropout rates zero until they are set. The output layer
    has neither norm nor activation: its output function belongs to the loss.
    """
    blocks = len(sizes)
    hidden, none = NORMS[normalization], NORMS[None]
    norms = [NORMS[normalization or "batch"] if normalize_input else none, *[hidden] * (blocks - 2), none]
    columns = {name: [-1] * blocks for name in ("weight", "bias", "gamma", "beta", "alpha")}
    line = _LINE // itemsize
    length = rows = 0
    starts = []
    for b, size in enumerate(sizes):
        norm = norms[b]
        # a norm that centres takes a bias away, so that a dense layer which it follows directly needs none
        biased = b > 0 and (not norm.centres or position == "after")
        for name, wanted, count in (
            ("weight", b > 0, size * sizes[b - 1]),
            ("bias", biased, size),
            ("gamma", "gamma" in norm.parameters, size),
            ("beta", "beta" in norm.parameters, size),
            ("alpha", "alpha" in norm.parameters, 1),
        ):
            if wanted:
                columns[name][b] = length
                length += -(-count // line) * line
        starts.append(rows)
        rows += size if b > 0 or norm.axis != NONE else 0
    after = [position == "after" and b > 0 for b in range(blocks)]
    plain = ["identity"] * (blocks - 2)
    parts = [group_count(norm, size, groups) for norm, size in zip(norms, sizes)]
    kinds = [norm.axis for norm in norms], [norm.code for norm in norms], parts
    integers = (sizes, activation_codes(plain), *kinds, after, *columns.values(), [*starts, rows])
    arrays = [np.array(values, np.int64) for values in integers]
    return Plan._make([*arrays, dropout_rates([0.0] * (blocks - 2))]), length


def _blocks(plan):
    return range(0 if plan.rows[1] > 0 else 1, len(plan.sizes))  # the input's only if it has a norm


def _forward_schedule(plan, last):
    schedule = [(GATHER, 0, 1)]
    for b in _blocks(plan):
        if b <= last:
            schedule.append((FORWARD, b, 1))
            if plan.norm[b] == SAMPLE:
                schedule.append((FORWARD_FINISH, b, 1))
    return schedule


def prediction_schedule(plan, block=None):
    """Stages of a prediction, or of the outputs of a hidden block; (stages, 3): stage, block, whether to wait."""
    last = len(plan.sizes) - 1
    schedule = _forward_schedule(plan, last if block is None else block)
    if block is None:
        schedule.append((OUTPUT, last, 0))
    schedule.append((STORE, last if block is None else block, 0))
    return np.array(schedule, np.int64)


def training_schedule(plan):
    """Stages of a training step, (stages, 3): stage, block, whether to wait for the other threads after it.

    A weight matrix may change once every thread has propagated its gradient through it, one stage later than
    the gradient is known; the lowest matrix has nothing below it and changes at once.
    """
    last = len(plan.sizes) - 1
    schedule = [*_forward_schedule(plan, last), (OUTPUT, last, 0), (LOSS, last, 1)]
    readable: list[tuple[int, int, int]] = []
    for b in reversed(_blocks(plan)):
        schedule.append((BACKWARD, b, 0))
        if plan.norm[b] == SAMPLE:
            schedule[-1] = (BACKWARD, b, 1)
            schedule.append((BACKWARD_FINISH, b, 0))
        schedule += readable
        # what this stage propagated through, or left its part of, may change after the barrier
        readable = [(UPDATE, b + 1, 0)] if b < last else []
        readable += [(UPDATE_ALPHA, b, 0)] if plan.alpha[b] >= 0 else []
        if b == 1 and plan.norm[0] == NONE:
            schedule.append((UPDATE, 1, 0))
        # the output layer's own part is bias alone: the stage below need not wait for it
        stage, block, _ = schedule[-1]
        schedule[-1] = (stage, block, int(b < last or last == 1))
    schedule += readable
    return np.array(schedule, np.int64)


def joined_schedule(plan, merged):
    """`training_schedule` of one of several processes, whose norms of the blocks `merged` average over all samples."""
    schedule = []
    exchanges = {FORWARD: (EXCHANGE_MOMENTS, FORWARD_FINISH), BACKWARD: (EXCHANGE_SUMS, BACKWARD_FINISH)}
    for stage, b, wait in training_schedule(plan).tolist():
        if stage in exchanges and b in merged:
            exchange, finish = exchanges[stage]
            schedule += [(stage, b, 1), (exchange, b, 1), (finish, b, wait)]
        else:
            schedule.append((stage, b, wait))
    stage, b, _ = schedule[-1]
    schedule[-1] = (stage, b, 1)
    schedule.append((EXCHANGE_GRADIENT, 0, 1))
    schedule += [(APPLY, b, 0) for b in _blocks(plan)]
    return np.array(schedule, np.int64)


def aligned(shape, dtype):
    """Zeros on a 64-byte boundary: no cache line belongs to two buffers.

    Large ones begin in a huge page: NumPy asks the system for them from 4 MB, of which only what is used becomes
    memory. A panel of a matrix product touches hundreds of small pages, more than the processor keeps addresses of.
    """
    count = int(np.prod(shape)) * np.dtype(dtype).itemsize
    if count < _LARGE:
        raw = np.zeros(count + _LINE, np.uint8)
        start = -raw.ctypes.data % _LINE
    else:
        raw = np.zeros(max(count + 2 * _HUGE_PAGE, 2 * _HUGE_PAGE), np.uint8)
        # not all at the same offset in a page, which would make them compete for the same cache sets
        start = -raw.ctypes.data % _HUGE_PAGE + next(_stagger)
    return raw[start : start + count].view(dtype).reshape(shape)


def aligned_copy(array):
    """Copy to memory that is aligned and may be written."""
    copy = aligned(array.shape, array.dtype)
    copy[...] = array
    return copy


# Elements of a tile of weight gradients: small enough to be still in cache when the optimizer reads it
TILE = 1 << 17


def tile_rows(rows, fan_in):
    """Rows of a weight matrix whose gradient makes one tile; equal tiles."""
    tiles = max(1, -(-rows * fan_in // TILE))
    return max(1, -(-rows // tiles))


tile_rows_compiled = leaf(tile_rows)


def padded(count, dtype):
    """Round up to whole cache lines."""
    line = _LINE // np.dtype(dtype).itemsize
    return -(-count // line) * line


def make_work(
    plan, batch_size, dtype, threads, target_width, training, virtual_batch_size=1, noise=False,
    processes=0, parameters=0,
):  # fmt: skip
    """Allocate the buffers for batches of up to batch_size samples.

    `processes` that train together, 0 for one that trains alone, have as many `parameters` each.
    """
    rows, blocks, sizes = int(plan.rows[-1]), len(plan.sizes), [int(size) for size in plan.sizes]
    line = _LINE // np.dtype(dtype).itemsize
    width = padded(batch_size, dtype)
    dropout = training and bool(plan.dropout.any())
    post = dropout or bool((plan.norm * plan.after).any())
    sample = width if (plan.norm == SAMPLE).any() else 0
    segments = int(plan.groups.max()) + threads - 1
    chunks = virtual_batches(plan.variant, batch_size, virtual_batch_size) if training else 1
    # the larger of a layer's two shares may have the smaller tiles; and the team may have to make do with one thread
    shares = [
        (count, below)
        for below, above in zip(sizes, sizes[1:])
        for count in (above, above // threads, -(-above // threads))
    ]
    tile = max(tile_rows(count, below) * below for count, below in shares) if training else 0

    def block_rows(wanted):
        return aligned((rows if wanted else 0, width), dtype)

    return Work(
        batch=aligned((batch_size, sizes[0]), dtype),
        target=aligned((batch_size if training else 0, target_width), dtype),
        share=aligned(batch_size if training else 0, dtype),
        pre=block_rows(True),
        post=block_rows(post),
        xhat=block_rows(bool(plan.norm.any())),
        out=block_rows(True),
        delta=block_rows(training),
        keep=block_rows(dropout),
        factor=block_rows(training and noise),
        raw=block_rows(training and has_alpha(plan.variant)),
        rstd=aligned((rows, chunks), dtype),
        correction=aligned((2, rows), dtype),
        chunk_share=aligned((threads, width if chunks > 1 or processes else 0), dtype),
        chunk_weight=aligned((threads, -(-chunks // 8) * 8), np.float64),
        partial=aligned((segments, 3, sample), dtype),
        merged=aligned((threads, 2, sample), dtype),
        sample_rstd=aligned((blocks, segments, sample), dtype),
        tile=aligned((threads, -(-tile // line) * line), dtype),
        vectors=aligned((threads, 3, -(-max(sizes) // line) * line if training else 0), dtype),
        slope=aligned((threads, -(-blocks // 8) * 8), np.float64),
        column=aligned((2, width), dtype),
        totals=aligned((threads, 16), np.float64),
        joined=np.empty((0, 0)),
        moments=aligned(2 * max(sizes) if processes else 0, np.float64),
        gathered=aligned(2 * max(sizes) * processes, np.float64),
        gradient=aligned(parameters, dtype),
    )
