"""The modules as modules: constructors, state, copies; and how the package is imported."""

import copy
import doctest
import inspect
import io
import pickle
import subprocess
import sys

import pytest

NAMES = ["BatchNorm1d", "BatchNorm2d", "GroupNorm", "LayerNorm", "RMSNorm"]


def run(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)


def test_without_torch():
    done = run("import sys; sys.modules['torch'] = None; import normkit; normkit.layer_norm; import normkit.torch")
    assert done.returncode == 1
    message = "ImportError: normkit.torch needs PyTorch, which is not installed; run: pip install torch"
    assert done.stderr.strip().splitlines()[-1] == message


def test_a_broken_torch_speaks_for_itself(tmp_path):
    (tmp_path / "torch.py").write_text("import a_library_of_torch")
    done = run(f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import normkit.torch")
    assert done.stderr.strip().splitlines()[-1] == "ModuleNotFoundError: No module named 'a_library_of_torch'"


def test_normkit_does_not_import_torch():
    done = run(
        "import normkit, sys; [getattr(normkit, name) for name in normkit.__all__]; print('torch' in sys.modules)"
    )
    assert (done.stdout, done.stderr) == ("False\n", "")


@pytest.fixture
def torch():
    return pytest.importorskip("torch")


@pytest.fixture
def cases(torch):
    from twins import CASES

    return CASES


def test_signature_and_representation(torch, cases):
    import normkit.torch as norms

    assert norms.__all__ == NAMES
    for name in NAMES:
        ours, theirs = getattr(norms, name), getattr(torch.nn, name)
        assert inspect.signature(ours) == inspect.signature(theirs)
        assert inspect.signature(ours.forward).parameters.keys() == inspect.signature(theirs.forward).parameters.keys()
    for name, arguments, options, _ in cases:
        assert repr(getattr(norms, name)(*arguments, **options)) == repr(getattr(torch.nn, name)(*arguments, **options))


def test_state_goes_both_ways(torch, cases):
    import twins

    for name, arguments, options, shape in cases:
        ours, theirs = twins.pair(name, arguments, options)
        ours(twins.drawn(shape))
        assert list(ours.state_dict()) == list(theirs.state_dict())
        file = io.BytesIO()
        torch.save(ours.state_dict(), file)
        file.seek(0)
        assert theirs.load_state_dict(torch.load(file, weights_only=True)).missing_keys == []
        x = twins.drawn(shape, seed=3)
        twins.assert_same({"y": ours.eval()(x)}, {"y": theirs.eval()(x)}, twins.TOLERANCE[x.dtype])


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda module: pickle.loads(pickle.dumps(module))])
def test_copies_are_independent(torch, cases, duplicate):
    import twins

    for name, arguments, options, shape in cases:
        ours, _ = twins.pair(name, arguments, options)
        x = twins.drawn(shape)
        twins.used(ours, x, x)  # gradients and statistics are there
        before = {key: a.clone() for key, a in ours.state_dict().items()}
        twin = duplicate(ours)
        assert type(twin) is type(ours)
        assert torch.equal(twin.eval()(x), ours.eval()(x))
        twins.used(twin.train(), x, x)
        twins.assert_same(ours.state_dict(), before, 0.0)


def test_examples(torch):
    import normkit.torch as norms

    finder, runner = doctest.DocTestFinder(recurse=False), doctest.DocTestRunner()
    for name in NAMES:
        for case in finder.find(getattr(norms, name), name, module=norms):
            runner.run(case)
    failed, attempted = runner.summarize()
    assert attempted > 15 and failed == 0
