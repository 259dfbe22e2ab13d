"""The kernels of the sections after it, compiled ahead on all cores."""

from normkit.bench.gpu import cases, compile
from normkit.bench.gpu.peers import normkit_peer, raw_peer
from normkit.bench.gpu.sections import Item, correctness, training


def items(run):
    """Return one case; none on the CPU, which has other kernels."""
    return [] if run.dry else [Item("kernels", lambda: _compile(run))]


def _calls(run):
    """Yield calls that launch what the other sections launch."""
    # first what is timed: where cores are few, the time is over before all is compiled
    if "kernels" in run.sections:
        for case in cases.cases(run.quick, run.dry):
            for peer in (normkit_peer, raw_peer):
                yield lambda case=case, peer=peer: _call(run, case, peer)
    if "correctness" in run.sections:
        for given in correctness.checks(run):
            yield lambda given=given: correctness.launched(run, *given)
    if "training" in run.sections:
        yield from training.launched(run)


def _call(run, case, peer):
    for call in peer.ways(run, case, *cases.empty(case, run.device.kind)).values():
        call()


def _compile(run):
    return compile.compile_all(compile.needed(_calls(run)), min(90.0, run.left()))
