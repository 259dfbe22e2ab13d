"""How the modules take part in autograd."""

import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402
from twins import CASES, IDS, SHORT, SHORT_IDS, TOLERANCE, assert_same, drawn, pair, used  # noqa: E402

import normkit.torch as norms  # noqa: E402


@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_gradcheck(case, training):
    *constructed, shape = case
    module = pair(*constructed)[0].train(training)
    names = [name for name, _ in module.named_parameters()]

    def function(x, *parameters):
        return torch.func.functional_call(module, dict(zip(names, parameters)), (x,))

    leaves = [a.detach().clone().requires_grad_() for a in (drawn(shape), *module.parameters())]
    assert torch.autograd.gradcheck(function, leaves)


@pytest.mark.parametrize("case", SHORT, ids=SHORT_IDS)
def test_only_what_is_asked_for(case):
    *constructed, shape = case
    x, dy = drawn(shape), drawn(shape, seed=2)
    for frozen in ("x", "weight", "bias"):
        ours, theirs = pair(*constructed)
        if frozen == "bias" and getattr(ours, "bias", None) is None:
            continue
        found = []
        for module in (ours, theirs):
            leaves = {"x": x.clone().requires_grad_(), **dict(module.named_parameters())}
            leaves[frozen].requires_grad_(False)
            module(leaves["x"]).backward(dy)
            assert leaves.pop(frozen).grad is None
            found.append({name: leaf.grad for name, leaf in leaves.items()})
        assert_same(*found, TOLERANCE[x.dtype])


@pytest.mark.parametrize("case", SHORT, ids=SHORT_IDS)
def test_nothing_is_recorded_where_nothing_is_asked_for(case):
    *constructed, shape = case
    ours, theirs = pair(*constructed)
    x = drawn(shape)
    want = theirs(x).detach()
    with torch.no_grad():
        results = [ours(x.clone().requires_grad_())]
    with torch.inference_mode():
        results.append(ours(x))
    ours.requires_grad_(False)
    results.append(ours(x))
    for y in results:
        assert not y.requires_grad and y.grad_fn is None
        assert_same({"y": y}, {"y": want}, TOLERANCE[x.dtype])


@pytest.mark.parametrize("case", SHORT, ids=SHORT_IDS)
def test_second_derivatives_are_refused(case):
    *constructed, shape = case
    ours, _ = pair(*constructed)
    x = drawn(shape).requires_grad_()
    (dx,) = torch.autograd.grad(ours(x).square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="differentiate twice"):
        dx.sum().backward()


@pytest.mark.parametrize("case", SHORT, ids=SHORT_IDS)
def test_what_backward_needs_must_not_change(case):
    *constructed, shape = case
    for changed in ("x", "weight"):
        ours, _ = pair(*constructed)
        x = drawn(shape).requires_grad_() * 1.0
        y = ours(x)
        with torch.no_grad():
            (x if changed == "x" else ours.weight).add_(1.0)
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            y.sum().backward()


@pytest.mark.parametrize("case", SHORT, ids=SHORT_IDS)
def test_backward_twice_and_with_strides_of_zero(case):
    *constructed, shape = case
    found = []
    for module in pair(*constructed):
        x = drawn(shape).requires_grad_()
        y = module(x)
        y.sum().backward(retain_graph=True)  # its gradient is one number, expanded
        (y * 2).sum().backward()
        with pytest.raises(RuntimeError, match="backward through the graph a second time"):
            y.sum().backward()
        found.append({"dx": x.grad} | {name: a.grad for name, a in module.named_parameters()})
    assert_same(*found, TOLERANCE[torch.float64])


def test_statistics_that_move_on_do_not_change_the_gradient():
    """Evaluation, then a training step, then the gradient of the evaluation."""
    found = []
    for module in pair("BatchNorm1d", (5,), {"affine": False}):
        x = drawn((7, 5)).requires_grad_()
        y = module.eval()(x)
        before = torch.autograd.grad(y.square().sum(), x, retain_graph=True)[0]
        module.train()(x.detach() * 3)
        if isinstance(module, norms.BatchNorm1d):
            assert torch.equal(torch.autograd.grad(y.square().sum(), x)[0], before)
        found.append({"dx": before})
    assert_same(*found, TOLERANCE[torch.float64])


def test_checkpoint():
    ours, _ = pair("LayerNorm", (5,), {})
    x, dy = drawn((7, 5)), drawn((7, 5), seed=2)
    want = used(ours, x, dy)
    leaf = x.clone().requires_grad_()
    torch.utils.checkpoint.checkpoint(ours, leaf, use_reentrant=False).backward(dy)
    assert torch.equal(leaf.grad, want["dx"])


@pytest.mark.filterwarnings("ignore")  # the compiler's own
def test_compiled_around():
    """What is around the norms is compiled; they break the graph."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(4, 8), norms.BatchNorm1d(8), nn.ReLU(), norms.RMSNorm(8), nn.Linear(8, 2))
    x, dy = drawn((6, 4), torch.float32), drawn((6, 2), torch.float32)
    torch._dynamo.reset()
    compiled = used(torch.compile(network, backend="eager"), x, dy)
    network.zero_grad()
    plain = used(network, x, dy)
    for name in ("y", "dx"):
        assert_same({name: compiled[name]}, {name: plain[name]}, TOLERANCE[torch.float32])
    assert network[1].num_batches_tracked == 2


@pytest.mark.parametrize(
    "module, x, message",
    [
        (norms.LayerNorm(5), torch.zeros(3, 4), r"normalized_shape=\(5,\), got shape \(3, 4\)"),
        (norms.LayerNorm((2, 5)), torch.zeros(5), r"normalized_shape=\(2, 5\), got shape \(5,\)"),
        (norms.RMSNorm(5, elementwise_affine=False), torch.zeros(3, 4), r"normalized_shape=\(5,\), got"),
        (norms.GroupNorm(2, 4), torch.zeros(3, 6), "gamma must have shape"),
        (norms.GroupNorm(2, 2), torch.zeros(3, 2), "at least two values"),
        (norms.LayerNorm(5, eps=0.0), torch.zeros(3, 5), "epsilon must be positive"),
        (norms.LayerNorm(5), torch.zeros(3, 5, dtype=torch.int64), "x must be float16, bfloat16, float32 or float64"),
    ],
)
def test_errors(module, x, message):
    with pytest.raises((RuntimeError, TypeError, ValueError), match=message):
        module(x)
