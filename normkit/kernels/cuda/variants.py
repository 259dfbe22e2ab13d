"""The kernels' names, arguments and variants: all that a launch must know before anything is compiled.

A variant has a `dtype`, the dtype `parameters` of gamma and beta, the threads of a `block`, and how many `blocks` are
meant to be on a multiprocessor at once, for which the compiler is told to leave room in the registers. `vector` says
that memory is accessed 16 bytes at a time: every pointer and the length of a row must be multiples of that.
"""

import importlib
from typing import NamedTuple

VECTOR_BYTES = 16
# Parameters in training stand in lines of so many bytes, each of one kind: not trained, a vector's, or a weight
# matrix', which alone has a penalty and decays
LINE = 64
FIXED, VECTOR, WEIGHT = range(3)
# Threads of a block where teams have no table
CHANNEL_BLOCK, TANH_BLOCK, DOWN_BLOCK, SUM_BLOCK = 256, 256, 128, 512
# and of those of training: threads side by side on a row of a dense layer, and on the outputs of a sample
DENSE_BLOCK, DENSE_ACROSS, OUTPUT_BLOCK, OUTPUT_ACROSS, UPDATE_BLOCK = 256, 8, 128, 32, 256
ITEM_SIZE = {"float16": 2, "bfloat16": 2, "float32": 4, "float64": 8}

# Arguments in order: pointers to (x) values, (p) gamma and beta, (a) numbers of the arithmetic, (k) int64, (d) float64;
# (i) sizes, int64, (r) a number of the arithmetic, and (f) a float64. The name is the module's and the factory's, whose
# docstring has the arguments' names.
KERNELS = {
    "rows.forward": "xxxppxaaiirr",
    "rows_backward.backward": "xxxpaaxaiir",
    "rows_backward.row_means": "xxpaaaiir",
    "rows_backward.column_gradient": "xxxpaaaxaiii",
    "sums.add_partials": "aaaii",
    "elementwise.forward": "xappxrii",
    "elementwise.backward": "xxapxaarii",
    "channels.merge_moments": "aaaaaaiiiiiiirrr",
    "channels.invert": "aari",
    "channels.merge_sums": "apaaaaiiiiiir",
    "channels.add_channels": "aaaaaiiii",
    "planes.moments": "xaiiii",
    "planes.sums": "xxaaiiiiii",
    "planes.apply": "xaaappxiiiii",
    "planes.gradient": "xxaapaxiiiiii",
    "columns.moments": "xaiiiii",
    "columns.sums": "xxaaiiiiii",
    "columns.apply": "xaaappxiiiii",
    "columns.gradient": "xxaapaxiiiiii",
    "batches.gather": "pkkkadaaiiiir",
    "batches.count_nonfinite": "pkiiii",
    "dense.forward": "aaaaaaakaakkiifriiiff",
    "dense.backward": "aaaaaaaaaakkiifriii",
    "outputs.predict": "aaaii",
    "outputs.loss": "aaakkkaadiii",
    "updates.update": "aaaakdkdirrrrr",
    "updates.finish": "dididkd",
}


class Team(NamedTuple):
    """Who works on a row: `threads` of a block of `block`, each on `values` of it at a time.

    A `resident` row is held in registers.
    """

    threads: int
    values: int
    block: int
    resident: bool
    blocks: int


# Rows up to the first number belong to the team; the last one takes any. The blocks are what 65536 registers hold.
FORWARD = {
    64: Team(8, 8, 128, True, 12),
    256: Team(32, 8, 128, True, 12),
    512: Team(32, 16, 128, True, 10),
    1024: Team(32, 32, 128, True, 8),
    2048: Team(128, 16, 128, True, 10),
    4096: Team(256, 16, 256, True, 5),
    8192: Team(256, 32, 256, True, 4),
    16384: Team(512, 32, 512, True, 2),
    32768: Team(1024, 32, 1024, True, 1),
    0: Team(512, 16, 512, False, 2),
}
BACKWARD = {
    64: Team(8, 8, 128, True, 6),
    256: Team(32, 8, 128, True, 6),
    512: Team(32, 16, 128, True, 4),
    1024: Team(128, 8, 128, True, 6),
    2048: Team(128, 16, 128, True, 4),
    4096: Team(256, 16, 256, True, 2),
    8192: Team(512, 16, 512, True, 1),
    0: Team(512, 16, 512, False, 1),
}


def team_for(teams, columns, dtype, vector, added=False):
    """Return the team of FORWARD or BACKWARD for rows of this length.

    It is that of rows twice as long, with half the values a thread and half the blocks, where a residual is `added`, so
    that both wait in registers, and where a value takes two registers or, accessed by itself, a predicate. A block of
    1024 threads has no more registers to give.
    """
    factor = (2 if dtype == "float64" or not vector else 1) * (2 if added else 1)
    team = next((team for longest, team in teams.items() if factor * columns <= longest), teams[0])
    if factor == 1:
        return team
    if team.block == 1024:
        team = teams[0]
    least = VECTOR_BYTES // ITEM_SIZE[dtype] if vector else 1
    return team._replace(values=max(team.values // factor, least), blocks=max(1, team.blocks // 2))


class RowNorm(NamedTuple):
    """Norms over rows. `added` is a residual in the forward, ds in the backward, which has no use for `beta`."""

    dtype: str
    parameters: str
    team: Team
    vector: bool
    centred: bool
    added: bool
    gamma: bool
    beta: bool

    @property
    def block(self):
        """Threads of a block."""
        return self.team.block

    @property
    def blocks(self):
        """Blocks on a multiprocessor."""
        return self.team.blocks


class Sum(NamedTuple):
    """Sums over the first axis of a matrix: `x_threads` columns and block / x_threads rows at once."""

    dtype: str
    parameters: str
    x_threads: int
    block: int
    blocks: int = 2


class ColumnGradient(NamedTuple):
    """The gradient of `RowNorm` down the columns, where rows are too long for registers; `added` is ds."""

    dtype: str
    parameters: str
    vector: bool
    centred: bool
    added: bool
    gamma: bool
    block: int
    blocks: int = 4


class DynamicTanh(NamedTuple):
    """Dynamic tanh. `x_threads` work side by side on a row; `alpha_in_memory`: alpha is a pointer."""

    dtype: str
    parameters: str
    vector: bool
    gamma: bool
    beta: bool
    alpha_in_memory: bool
    x_threads: int
    block: int
    blocks: int = 2


class ChannelNorm(NamedTuple):
    """Norms with a parameter a channel; see `normkit.kernels.cuda.channels`.

    `x_threads` of a block work side by side: on a plane, channels first; on a row, channels last; on a set, merging.
    `fixed`: the statistics were given. `moving`: a merge that updates moving statistics.
    """

    dtype: str
    parameters: str
    vector: bool
    by_sample: bool
    gamma: bool
    beta: bool
    fixed: bool
    moving: bool
    x_threads: int
    block: int
    blocks: int = 2


class Rows(NamedTuple):
    """Rows of X, read as dtype `parameters`; `shares`: the weights of the samples are written too, `weighted`: read."""

    dtype: str
    parameters: str
    shares: bool
    weighted: bool
    x_threads: int
    block: int
    blocks: int = 2


class Dense(NamedTuple):
    """What follows the product of a dense layer; see `normkit.kernels.cuda.dense`.

    `activation` is a code; `norm` is "", "batch", or "fixed" with given statistics, before the activation or `after`.
    `cumulative`: the moving statistics are the average of all batches. `sums`: the gradient of the bias is wanted.
    """

    dtype: str
    parameters: str
    activation: int
    bias: bool
    norm: str
    after: bool
    dropout: bool
    cumulative: bool
    sums: bool
    x_threads: int
    block: int
    blocks: int = 2


class Outputs(NamedTuple):
    """The output function and its loss, by their code; `threads` of a warp work on a sample."""

    dtype: str
    parameters: str
    code: int
    bias: bool
    threads: int
    block: int
    blocks: int = 2


class Update(NamedTuple):
    """An optimizer, by its code."""

    dtype: str
    parameters: str
    optimizer: int
    block: int
    blocks: int = 2


def make(name, norm, capability):
    """Return the Python function of a kernel by its name in `KERNELS`."""
    module, factory = name.split(".")
    return getattr(importlib.import_module(f"normkit.kernels.cuda.{module}"), factory)(norm, capability)
