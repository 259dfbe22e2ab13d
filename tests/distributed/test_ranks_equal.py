"""Two ranks find what one process finds with the joined batches, to rounding, and both the same to the last bit."""

from pathlib import Path

import numpy as np
import pytest
import rank_cases as cases
from jobs import Job

from normkit.engine.network import batch_edges
from normkit.engine.trainer import Trainer

# groups of two or three features magnify roundings; so do batches of two samples, and a mean of 1e5
TOLERANCES = {
    "float32": 2e-5, "group-adam": 1e-8, "group-sgd": 1e-8, "group-after": 1e-8, "threads-group": 1e-8, "offset": 1e-9,
    "uneven": 1e-8,
}  # fmt: skip


@pytest.fixture(scope="module")
def results(mpi, tmp_path_factory):
    """What the ranks found, by case and rank."""
    folder = tmp_path_factory.mktemp("found")
    job = Job(["-m", "mpi4py", cases.__file__, str(folder)], Path(cases.__file__).parent, 2)
    result = job.end()
    assert result.code == 0, result.out + result.err
    return {name: [dict(np.load(folder / f"{name}-{rank}.npz")) for rank in (0, 1)] for name in cases.CASES}


def joined_order(owner, size, mode):
    """Return the samples in the order of the joined batches, by a plain reading of the rule, and how many are used.

    In batch after batch the samples not taken yet come from the rank that is farthest behind its share.
    """
    counts = np.bincount(owner)
    taken, rank_of = np.zeros(2, int), []
    for _ in range(len(owner)):
        next_place = [(taken[q] + 0.5) / counts[q] if taken[q] < counts[q] else np.inf for q in (0, 1)]
        rank_of.append(int(np.argmin(next_place)))
        taken[rank_of[-1]] += 1
    edges, order, at = batch_edges(len(owner), size, mode), [], [0, 0]
    for a, b in zip(edges, edges[1:]):
        for q in (0, 1):
            n = rank_of[a:b].count(q)
            order += list(np.flatnonzero(owner == q)[at[q] : at[q] + n])
            at[q] += n
    return np.array(order)


@pytest.mark.parametrize("name", cases.CASES)
def test_same_as_one_process_and_on_all_ranks(name, results):
    for key, values in results[name][0].items():
        np.testing.assert_array_equal(values, results[name][1][key])
    counts, parameters, options = cases.CASES[name]
    X, y, weight, owner = cases.data(counts, options)
    size = parameters.get("batch_size", cases.BASE["batch_size"])
    mode = "merge" if name == "merge" else parameters.get("last_batch", "keep")
    order = joined_order(owner, size, mode)
    if mode == "drop":  # those that are left out still are classes and samples
        order = np.concatenate([order, np.setdiff1d(np.arange(len(owner)), order)])
    parameters = {**parameters, "n_threads": 1}
    if options.get("synchronize") is False:
        parameters |= {"normalization": "ghost", "virtual_batch_size": 8}
    model = cases.make(parameters, options)
    for _ in range(options.get("fits", 1)):
        model.fit(X[order], y[order], None if weight is None else weight[order])
    tolerance = TOLERANCES.get(name, 1e-11)
    for key, values in cases.found(model).items():
        # the moments of a step are sums of products of what has been rounded
        np.testing.assert_allclose(results[name][0][key], values, rtol=tolerance, atol=tolerance, err_msg=key)
    assert isinstance(model._trainer, Trainer)


def test_training_moves(results):
    """The comparisons would hold between models that were never trained."""
    for name, ((first, _), *_) in zip(results, cases.CASES.values()):
        losses = results[name][0]["losses"]
        assert first > 0 and losses[-1] != losses[0] and np.isfinite(results[name][0]["params"]).all()
