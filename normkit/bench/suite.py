"""What ``normkit bench`` times, and against whom."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from normkit.bench.engines import ENGINES
from normkit.bench.norm_peers import BOUND
from normkit.bench.norm_peers import PEERS as KERNEL_PEERS

if TYPE_CHECKING:
    from normkit.bench.norm_cases import Case

OWN = "normkit"


class Peer(NamedTuple):
    """A library: how it is called, and what of it is timed; None where it has nothing of the kind."""

    label: str
    kernels: str | None
    engine: str | None


# of each library the way that is its fastest, as a rule
PEERS = {
    OWN: Peer("normkit", "normkit", "normkit"),
    "numpy": Peer("NumPy", "numpy", "numpy"),
    "torch": Peer("torch", "torch", "torch-fused"),
    "torch-compile": Peer("torch.compile", "torch-compile", "torch-compile"),
    "jax": Peer("JAX", "jax", "jax"),
    "keras": Peer("Keras", None, "keras-32"),
    "onnxruntime": Peer("ONNX Runtime", "onnxruntime", None),
    "sklearn": Peer("scikit-learn", None, "sklearn"),
}
# torch.compile compiles for minutes where all else takes one
DEFAULT_PEERS = tuple(name for name in PEERS if name != "torch-compile")
# importing TensorFlow takes half of a quick run
QUICK_PEERS = tuple(name for name in DEFAULT_PEERS if name != "keras")

ROW_FUNCTIONS = ("layer_norm", "rms_norm", "batch_norm")
IMAGE_FUNCTIONS = ("batch_norm", "group_norm", "instance_norm")
FUNCTIONS = ("layer_norm", "rms_norm", "batch_norm", "group_norm", "instance_norm")
DEFAULT_FUNCTIONS = FUNCTIONS[:4]
# within a core's cache, and larger than any core's; a batch of images
SHAPES = ((64, 256), (4096, 768), (16, 64, 32, 32))
QUICK_SHAPES = ((512, 768), (8, 64, 16, 16))
QUICK_FUNCTIONS = ("layer_norm", "group_norm")


def groups_of(channels: int) -> int:
    """Return the number of groups: 32 as in the paper, or the next smaller one that divides the channels."""
    return next(n for n in range(min(32, max(1, channels // 2)), 0, -1) if channels % n == 0)


def kernel_cases(functions: Sequence[str], shapes: Sequence[Sequence[int]], dtypes: Sequence[str]) -> "list[Case]":
    """Return the cases: shapes of two axes are rows, of four are images, channels first."""
    from normkit.bench.norm_cases import DIRECTIONS, Case  # NumPy, for which help does not wait

    found = []
    for direction in DIRECTIONS:
        for function in functions:
            for shape in shapes:
                images = len(shape) == 4
                if function not in (IMAGE_FUNCTIONS if images else ROW_FUNCTIONS):
                    continue
                axis, channels = (1, shape[1]) if images else (-1, shape[-1])
                groups = {"group_norm": groups_of(channels), "instance_norm": channels}.get(function, 0)
                found += [Case(function, tuple(shape), axis, dtype, direction, groups) for dtype in dtypes]
    return found


@dataclass(frozen=True)
class Step:
    """A training step of a network on batches of one size."""

    network: tuple[int, ...]
    data: str
    batch: int
    steps: int  # in a row, as many for all

    @property
    def name(self) -> str:
        """The network as users write it."""
        return "-".join(map(str, self.network))


_LARGE, _SMALL = ((784, 256, 128, 64, 10), "random images"), ((64, 64, 64, 10), "digits")


def training_cases(quick: bool = False) -> list[Step]:
    """Return the steps; those on one network follow one another."""
    if quick:
        return [Step(*_SMALL, 32, 64), Step(*_LARGE, 64, 32)]
    found = [Step(*_SMALL, batch, 192) for batch in (8, 32, 128)]
    return found + [Step(*_LARGE, 64, 96), Step(*_LARGE, 512, 32)]


def labels(names: Sequence[str]) -> dict[str, str]:
    """Return how peers and the bound are called."""
    return {**{name: PEERS[name].label for name in names}, BOUND: "copy"}


def kernel_peers(names: Sequence[str]) -> dict[str, str]:
    """Return the names in the registry of kernels, by peer; the bound is always there."""
    found = {name: PEERS[name].kernels for name in names}
    return {**{name: entry for name, entry in found.items() if entry}, BOUND: BOUND}


def engines(names: Sequence[str]) -> dict[str, str]:
    """Return the names in the registry of engines, by peer."""
    found = {name: PEERS[name].engine for name in names}
    return {name: entry for name, entry in found.items() if entry}


def remarks(names: Sequence[str]) -> dict[str, str]:
    """Return what must be known of a peer's figures."""
    found = {}
    for name in names:
        entries = [KERNEL_PEERS.get(PEERS[name].kernels or ""), ENGINES.get(PEERS[name].engine or "")]
        texts = [entry.remark for entry in entries if entry and entry.remark]
        if texts:
            found[name] = "; ".join(texts)
    return found
