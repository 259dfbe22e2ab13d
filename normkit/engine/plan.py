"""A network as plain data: what the compiled code reads instead of asking objects.

Block 0 is the input, possibly normalized; blocks 1..L are dense layers, each with an optional norm before or
after its activation. All parameters stand in one vector, all activations in flat feature-major buffers: block b
of a batch of B samples is the C-ordered matrix (sizes[b], B) that starts at rows[b] * B.
"""

from typing import NamedTuple

import numpy as np

from normkit.math.activations import CODES

# Which values a norm averages decides where threads must meet: none, FEATURE (over the batch), SAMPLE (over features).
NONE, FEATURE, SAMPLE = 0, 1, 2
NORMS = {None: NONE, "batch": FEATURE, "layer": SAMPLE}

# The stages of a step. Each but LOSS and OUTPUT is run by all threads, with a barrier after it.
GATHER, FORWARD, FORWARD_FINISH, OUTPUT, LOSS, BACKWARD, BACKWARD_FINISH, UPDATE = range(8)


class Plan(NamedTuple):
    """One entry a block; offsets into the parameter vector are -1 where a block has no such parameter."""

    sizes: np.ndarray
    activation: np.ndarray
    norm: np.ndarray
    after: np.ndarray
    weight: np.ndarray
    bias: np.ndarray
    gamma: np.ndarray
    beta: np.ndarray
    rows: np.ndarray


class Settings(NamedTuple):
    """What holds for a whole epoch. Floats are float64 here and cast once where they are used."""

    loss: int
    optimizer: int
    learning_rate: float
    momentum: float
    nesterov: bool
    beta_1: float
    beta_2: float
    epsilon: float
    alpha: float
    norm_momentum: float
    norm_epsilon: float
    train_gamma: bool
    train_beta: bool
    dropout: float
    seed: int
    training: bool


class Work(NamedTuple):
    """Buffers of a step, allocated once a fit; flat ones are feature-major."""

    batch: np.ndarray  # (B, features), the gathered rows
    target: np.ndarray  # (B, outputs or 1)
    weight: np.ndarray  # (B,)
    pre: np.ndarray  # (rows * B,) input of the activation
    post: np.ndarray  # (rows * B,) its output, where a norm or dropout follows
    xhat: np.ndarray  # (rows * B,)
    out: np.ndarray  # (rows * B,) output of the block
    delta: np.ndarray  # (rows * B,) gradient
    keep: np.ndarray  # (rows * B,) dropout factors, empty without dropout
    rstd: np.ndarray  # (rows,) FEATURE norms
    partial: np.ndarray  # (threads, 2, B) SAMPLE norms, each thread's share
    merged: np.ndarray  # (threads, 2, B) and their sum, a copy a thread
    sample_rstd: np.ndarray  # (blocks, threads, B)
    squares: np.ndarray  # (threads,) sum of squared weights


def make_plan(sizes, activation, out_normless, normalization, position, normalize_input):
    """Lay out a network of layer sizes (features, hidden..., outputs); returns the plan and the vector's length.

    `out_normless` tells that the last dense layer carries neither norm nor activation: its output function
    belongs to the loss.
    """
    blocks = len(sizes)
    code = NORMS[normalization]
    last = blocks - 1 if out_normless else blocks
    norm = [NORMS[normalization or "batch"] if normalize_input else NONE]
    norm += [code if 0 < b < last else NONE for b in range(1, blocks)]
    columns = {name: [-1] * blocks for name in ("weight", "bias", "gamma", "beta")}
    length = rows = 0
    starts = []
    for b, size in enumerate(sizes):
        # a norm subtracts any constant, so a dense layer that a norm follows directly needs no bias
        biased = b > 0 and (norm[b] == NONE or position == "after")
        for name, wanted, count in (
            ("weight", b > 0, size * sizes[b - 1]),
            ("bias", biased, size),
            ("gamma", norm[b] != NONE, size),
            ("beta", norm[b] != NONE, size),
        ):
            if wanted:
                columns[name][b] = length
                length += count
        starts.append(rows)
        rows += size if b > 0 or norm[0] != NONE else 0
    codes = [CODES["identity"], *[CODES[activation]] * (blocks - 2), CODES["identity"]]
    after = [position == "after" and b > 0 for b in range(blocks)]
    plan = Plan(*(np.array(v, np.int64) for v in (
        sizes, codes, norm, after, columns["weight"], columns["bias"], columns["gamma"], columns["beta"],
        [*starts, rows],
    )))  # fmt: skip
    return plan, length


def _forward_schedule(plan):
    schedule = [(GATHER, 0)]
    for b in range(len(plan.sizes)):
        if b > 0 or plan.norm[0] != NONE:
            schedule.append((FORWARD, b))
            if plan.norm[b] == SAMPLE:
                schedule.append((FORWARD_FINISH, b))
    return [*schedule, (OUTPUT, 0)]


def prediction_schedule(plan):
    """Stages of a prediction, (stages, 2): stage and block."""
    return np.array(_forward_schedule(plan), np.int64)


def training_schedule(plan):
    """Stages of a training step, (stages, 2): stage and block."""
    schedule = [*_forward_schedule(plan), (LOSS, 0)]
    for b in reversed(range(len(plan.sizes))):
        if b > 0 or plan.norm[0] != NONE:
            schedule.append((BACKWARD, b))
            if plan.norm[b] == SAMPLE:
                schedule.append((BACKWARD_FINISH, b))
    return np.array([*schedule, (UPDATE, 0)], np.int64)


def _aligned(shape, dtype):
    """Zeros on a 64-byte boundary: no cache line belongs to two buffers."""
    count = int(np.prod(shape)) * np.dtype(dtype).itemsize
    raw = np.zeros(count + 64, np.uint8)
    start = -raw.ctypes.data % 64
    return raw[start : start + count].view(dtype).reshape(shape)


def make_work(plan, batch_size, dtype, threads, target_width, *, training=True, dropout=0.0):
    """Allocate the buffers for batches of up to batch_size samples."""
    rows, blocks = int(plan.rows[-1]), len(plan.sizes)
    flat = rows * batch_size
    needs_post = training and (dropout > 0 or bool((plan.norm * plan.after).any()))
    some = bool(plan.norm.any())
    sample = batch_size if (plan.norm == SAMPLE).any() else 0
    return Work(
        batch=_aligned((batch_size, int(plan.sizes[0])), dtype),
        target=_aligned((batch_size, target_width), dtype),
        weight=_aligned(batch_size, dtype),
        pre=_aligned(flat, dtype),
        post=_aligned(flat if needs_post else 0, dtype),
        xhat=_aligned(flat if some else 0, dtype),
        out=_aligned(flat, dtype),
        delta=_aligned(flat if training else 0, dtype),
        keep=_aligned(flat if dropout > 0 and training else 0, dtype),
        rstd=_aligned(rows, np.float64),
        partial=_aligned((threads, 2, sample), np.float64),
        merged=_aligned((threads, 2, sample), np.float64),
        sample_rstd=_aligned((blocks, threads, sample), np.float64),
        squares=_aligned(threads, np.float64),
    )
