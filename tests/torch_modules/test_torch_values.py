"""Results, gradients and running statistics against torch's own modules."""

import copy

import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402
from twins import CASES, IDS, SHORT, SHORT_IDS, TOLERANCE, assert_same, drawn, pair, used  # noqa: E402

import normkit.torch as norms  # noqa: E402

LAYOUTS = {
    "transposed": lambda shape: drawn(shape[::-1]).permute(*reversed(range(len(shape)))),
    "every second": lambda shape: drawn([2 * n for n in shape])[tuple(slice(None, None, 2) for _ in shape)],
    "expanded": lambda shape: drawn((1, *shape[1:])).expand(shape),
}


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_equal_to_torch(case, training, dtype):
    *constructed, shape = case
    x, dy = drawn(shape, dtype), drawn(shape, dtype, seed=2)
    got, want = (used(module.train(training), x, dy) for module in pair(*constructed, dtype))
    assert_same(got, want, TOLERANCE[dtype])
    assert {name: a.dtype for name, a in got.items()} == {name: a.dtype for name, a in want.items()}


@pytest.mark.parametrize("parameters", ["16 bits", "float32"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
@pytest.mark.parametrize("case", SHORT, ids=SHORT_IDS)
def test_16_bits(case, training, dtype, parameters):
    """Against float64 arithmetic on the same numbers: computed in float32 and rounded once."""
    *constructed, shape = case
    of_parameters = dtype if parameters == "16 bits" else torch.float32
    x, dy = drawn(shape, dtype), drawn(shape, dtype, seed=2)
    ours, theirs = pair(*constructed, of_parameters)
    theirs = theirs.double()
    if isinstance(theirs, nn.RMSNorm):
        theirs.eps = constructed[2]["eps"]
    got = used(ours.train(training), x, dy)
    assert_same(got, used(theirs.train(training), x.double(), dy.double()), TOLERANCE[dtype])
    assert got["y"].dtype == got["dx"].dtype == dtype
    assert {a.dtype for name, a in got.items() if name in ("dweight", "dbias", "running_var")} == {of_parameters}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("case", SHORT, ids=SHORT_IDS)
def test_layouts(case, layout):
    *constructed, shape = case
    x, dy = LAYOUTS[layout](shape), LAYOUTS[layout](shape)
    ours, theirs = pair(*constructed)
    assert_same(used(copy.deepcopy(ours), x, dy), used(copy.deepcopy(theirs), x, dy), TOLERANCE[x.dtype])
    assert ours(x).stride() == theirs(x).stride()  # what is a view of the one is a view of the other


@pytest.mark.parametrize("case", [case for case in SHORT if len(case[3]) == 4], ids=lambda case: case[0])
def test_channels_last(case):
    *constructed, shape = case
    x, dy = (drawn(shape, seed=seed).to(memory_format=torch.channels_last) for seed in (1, 2))
    ours, theirs = pair(*constructed)
    assert_same(used(copy.deepcopy(ours), x, dy), used(copy.deepcopy(theirs), x, dy), TOLERANCE[x.dtype])
    assert ours(x).stride() == theirs(x).stride()


@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
@pytest.mark.parametrize("case", SHORT, ids=SHORT_IDS)
def test_empty_batch(case, training):
    *constructed, shape = case
    x = torch.empty(0, *shape[1:], dtype=torch.float64)
    got, want = (used(module.train(training), x, x) for module in pair(*constructed))
    assert_same(got, want, 0.0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64], ids=str)
def test_default_eps_of_rms_norm(dtype):
    """Small numbers, of which the mean square is below the default eps of float32."""
    x = drawn((4, 8)).mul(1e-5).to(dtype)
    ours, theirs = pair("RMSNorm", (8,), {}, dtype)
    assert_same({"y": ours(x)}, {"y": theirs(x)}, TOLERANCE[dtype] * 1e-2 if dtype.itemsize > 2 else TOLERANCE[dtype])


def test_autocast():
    ours, theirs = pair("LayerNorm", (8,), {}, torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        x = nn.Linear(4, 8)(torch.ones(3, 4))
        assert ours(x).dtype == theirs(x).dtype == torch.bfloat16


def small_network(namespace):
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 8, 3),
        namespace.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3, stride=2),
        namespace.GroupNorm(2, 8),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(32, 16, bias=False),
        namespace.BatchNorm1d(16),
        nn.ReLU(),
        namespace.RMSNorm(16),
        nn.Linear(16, 16),
        namespace.LayerNorm(16),
        nn.Linear(16, 3),
    )


def losses(network, steps=20):
    x, target = drawn((64, 1, 8, 8), torch.float32), torch.arange(64) % 3
    optimizer = torch.optim.SGD(network.parameters(), lr=0.05, momentum=0.9)
    for step in range(steps):
        batch = slice(16 * (step % 4), 16 * (step % 4 + 1))
        loss = nn.functional.cross_entropy(network(x[batch]), target[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        yield loss.item()
    with torch.no_grad():
        yield nn.functional.cross_entropy(network.eval()(x), target).item()


def test_a_network_learns_the_same():
    ours, theirs = list(losses(small_network(norms))), list(losses(small_network(nn)))
    assert ours == pytest.approx(theirs, abs=1e-5)
    assert theirs[-2] < 0.7 * theirs[0]  # it does learn
