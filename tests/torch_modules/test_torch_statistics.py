"""What BatchNorm keeps over several batches, and when it takes which statistics."""

import pytest

torch = pytest.importorskip("torch")

from twins import TOLERANCE, assert_same, drawn, pair, used  # noqa: E402

CONTENTS = [
    {},
    {"momentum": 0.5},
    {"momentum": 1.0},
    {"momentum": 0.0},
    {"momentum": None},
    {"track_running_stats": False},
    {"affine": False, "momentum": None},
]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("options", CONTENTS, ids=str)
def test_steps(options, dtype):
    """Batches of several sizes, an empty one among them; evaluation in between changes nothing."""
    modules = pair("BatchNorm1d", (5,), options, dtype)
    for step, (n, training) in enumerate([(7, True), (3, True), (4, False), (0, True), (1, False), (20, True)]):
        if n == 1 and not options.get("track_running_stats", True):
            continue
        x, dy = drawn((n, 5), dtype, seed=step), drawn((n, 5), dtype, seed=step + 100)
        got, want = (used(module.train(training), x, dy) for module in modules)
        # torch's own gradients in bfloat16 are rounded more than once
        assert_same(got, want, TOLERANCE[dtype] * (4 if dtype == torch.bfloat16 else 1))


@pytest.mark.parametrize("scale, shift", [(1e-6, 0.0), (1e-4, 1.0), (1.0, 1e4), (1e15, 0.0)])
def test_running_variance_of_all_sizes(scale, shift):
    """It is computed from 1 / sqrt(var + eps), in float64: that must not show."""
    x = drawn((64, 5)).mul(scale).add(shift).float()
    ours, theirs = pair("BatchNorm1d", (5,), {"momentum": 1.0}, torch.float32)
    ours(x), theirs.double()(x.double())
    torch.testing.assert_close(ours.running_var.double(), theirs.running_var, rtol=1e-4, atol=0.0)
    torch.testing.assert_close(ours.running_mean.double(), theirs.running_mean, rtol=1e-6, atol=1e-6 * scale)


@pytest.mark.parametrize("eps", [1e-5, 1e-3, 2e-3, 3e-3, 5e-3, 7e-3])
def test_constant_batch(eps):
    """The variance must not be negative by rounding, as it is with some eps; evaluation would refuse it."""
    ours, _ = pair("BatchNorm1d", (5,), {"momentum": 1.0, "eps": eps})
    ours(torch.full((4, 5), 3.0, dtype=torch.float64))
    torch.testing.assert_close(ours.running_var, torch.zeros(5, dtype=torch.float64), rtol=0, atol=1e-17)
    assert (ours.running_var >= 0).all() and (ours.running_mean == 3).all()
    assert ours.eval()(drawn((2, 5))).isfinite().all()


def test_running_statistics_are_rounded_once():
    ours, theirs = pair("BatchNorm1d", (500,), {}, torch.bfloat16)
    x = drawn((7, 500), torch.bfloat16)
    ours(x), theirs.double()(x.double())
    assert torch.equal(ours.running_mean, theirs.running_mean.bfloat16())
    assert torch.equal(ours.running_var, theirs.running_var.bfloat16())


def test_statistics_taken_away():
    """Evaluation without running statistics takes those of the batch, and does not count it."""
    ours, theirs = pair("BatchNorm1d", (5,), {})
    for module in (ours, theirs):
        module.eval().running_mean = module.running_var = None
    x = drawn((7, 5))
    assert_same(used(ours, x, x), used(theirs, x, x), TOLERANCE[x.dtype])
    assert ours.num_batches_tracked == theirs.num_batches_tracked == 0


def test_not_finite():
    """It stays in its channel. Their mean of an infinity is infinite, ours NaN."""
    x = drawn((4, 5))
    x[0, 1], x[0, 2] = float("nan"), float("inf")
    ours, theirs = pair("BatchNorm1d", (5,), {})
    ours(x), theirs(x)
    for name in ("running_mean", "running_var"):
        got, want = getattr(ours, name), getattr(theirs, name)
        assert got.isfinite().tolist() == want.isfinite().tolist() == [True, False, False, True, True]
        torch.testing.assert_close(got[[0, 3, 4]], want[[0, 3, 4]], rtol=1e-11, atol=0.0)


@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
def test_tracking_turned_off_later(training):
    ours, theirs = pair("BatchNorm1d", (5,), {})
    x = drawn((7, 5))
    for module in (ours, theirs):
        module.track_running_stats = False
        module.train(training)
    assert_same(used(ours, x, x), used(theirs, x, x), TOLERANCE[x.dtype])
    assert ours.num_batches_tracked == 0


def test_reset():
    ours, theirs = pair("BatchNorm2d", (6,), {})
    ours(drawn((2, 6, 3, 3)))
    ours.reset_running_stats(), theirs.reset_running_stats()
    assert_same(ours.state_dict(), theirs.state_dict(), 0.0)


@pytest.mark.parametrize(
    "name, shape", [("BatchNorm1d", (1, 5)), ("BatchNorm1d", (1, 5, 1)), ("BatchNorm2d", (1, 5, 1, 1))]
)
@pytest.mark.parametrize("training, options", [(True, {}), (False, {"track_running_stats": False})])
def test_a_single_value(name, shape, training, options):
    messages = []
    for module in pair(name, (5,), options):
        with pytest.raises(ValueError, match="^Expected more than 1 value per channel when training") as caught:
            module.train(training)(drawn(shape))
        messages.append(str(caught.value))
    assert messages[0] == messages[1]


def test_an_error_leaves_the_statistics():
    ours, _ = pair("BatchNorm1d", (5,), {"affine": False})
    before = {name: a.clone() for name, a in ours.state_dict().items()}
    for shape in [(1, 5), (3, 4), (3, 1), (3,), (3, 5, 2, 2)]:
        with pytest.raises((ValueError, RuntimeError)):
            ours(drawn(shape))
    assert_same(ours.state_dict(), before, 0.0)


def test_one_channel_too_few():
    """Statistics of one channel could be spread over all running ones."""
    ours, _ = pair("BatchNorm1d", (5,), {"affine": False})
    with pytest.raises(RuntimeError, match=r"num_features=5, got shape \(3, 1\)"):
        ours(drawn((3, 1)))


@pytest.mark.parametrize("name, shape", [("BatchNorm1d", (3, 5, 2, 2)), ("BatchNorm2d", (3, 5))])
def test_dimensions(name, shape):
    messages = []
    for module in pair(name, (5,), {}):
        with pytest.raises(ValueError, match="^expected") as caught:
            module(drawn(shape))
        messages.append(str(caught.value))
    assert messages[0] == messages[1]
