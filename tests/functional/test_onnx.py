"""The node tests of the ONNX standard: another source of expected results, for all of its normalizations."""

import functools
import importlib
import pkgutil
import warnings

import numpy as np
import pytest

from normkit import batch_norm, group_norm, instance_norm, layer_norm, rms_norm, update_running

node = pytest.importorskip("onnx.backend.test.case.node")

# How many the standard has, so that none is lost silently. Cases that end in _expanded or _expanded_verN are
# the same data for a graph of elementary operations, and not counted.
OPERATORS = {
    "BatchNormalization": 4,
    "GroupNormalization": 2,
    "InstanceNormalization": 2,
    "LayerNormalization": 19,
    "MeanVarianceNormalization": 1,
    "RMSNormalization": 19,
}


@functools.cache
def cases():
    """Return {operator: [(name, attributes, opset, inputs, outputs)]} of all graphs of one such node."""
    from onnx import helper, numpy_helper

    def arrays(values):
        return [v if isinstance(v, np.ndarray) else numpy_helper.to_array(v) for v in values]

    found = {operator: [] for operator in OPERATORS}
    # these modules alone: the loader of all makes the cases of every operator, which takes ten seconds
    with warnings.catch_warnings(action="ignore"):
        for module in pkgutil.iter_modules(node.__path__):
            if "norm" in module.name:
                importlib.import_module(f"{node.__name__}.{module.name}")
    for test in node._NodeTestCases:
        nodes = [] if test.model is None else test.model.graph.node
        if len(nodes) != 1 or nodes[0].op_type not in found:
            continue
        attributes = {a.name: helper.get_attribute_value(a) for a in nodes[0].attribute}
        opset = test.model.opset_import[0].version
        for inputs, outputs in test.data_sets:
            found[nodes[0].op_type].append((test.name, attributes, opset, arrays(inputs), arrays(outputs)))
    return found


def batch(attributes, x, scale, bias, mean, var):
    epsilon = attributes.get("epsilon", 1e-5)
    if not attributes.get("training_mode", 0):
        return (batch_norm(x, scale, bias, axis=1, epsilon=epsilon, mean=mean, var=var),)
    y, batch_mean, rstd = batch_norm(x, scale, bias, axis=1, epsilon=epsilon, return_stats=True)
    running = mean.copy(), var.copy()
    # ONNX's momentum is the share kept, as here
    update_running(*running, batch_mean, rstd**-2 - epsilon, momentum=attributes.get("momentum", 0.9))
    return y, *running


def row_axes(attributes, x):
    return tuple(range(attributes.get("axis", -1) % x.ndim, x.ndim))


def layer(attributes, x, scale, bias=None):
    axes = row_axes(attributes, x)
    y, mean, rstd = layer_norm(x, scale, bias, axis=axes, epsilon=attributes.get("epsilon", 1e-5), return_stats=True)
    return y, np.expand_dims(mean, axes), np.expand_dims(rstd, axes)


def rms(attributes, x, scale):
    return (rms_norm(x, scale, axis=row_axes(attributes, x), epsilon=attributes.get("epsilon", 1e-5)),)


def group(attributes, x, scale, bias):
    epsilon = attributes.get("epsilon", 1e-5)
    return (group_norm(x, attributes["num_groups"], scale, bias, axis=1, epsilon=epsilon),)


def instance(attributes, x, scale, bias):
    return (instance_norm(x, scale, bias, axis=1, epsilon=attributes.get("epsilon", 1e-5)),)


def mean_variance(attributes, x):
    axes = tuple(attributes.get("axes", (0, 2, 3)))
    # divides by the standard deviation plus 1e-9: nothing in float32, and nothing under the root either
    return (layer_norm(x, axis=axes, epsilon=1e-18),)


RUN = dict(zip(OPERATORS, (batch, group, instance, layer, mean_variance, rms), strict=True))


def test_no_case_is_lost():
    found = {operator: len(named) for operator, named in cases().items()}
    assert found == OPERATORS and sum(found.values()) == 47
    names = [name for named in cases().values() for name, *_ in named]
    assert len(set(names)) == 47 and not any("_expanded" in name for name in names)


@pytest.mark.parametrize("operator", OPERATORS)
def test_node(operator):
    for name, attributes, opset, inputs, outputs in cases()[operator]:
        assert operator != "GroupNormalization" or opset >= 21, f"{name}: before 21 the scale was one a group"
        got = RUN[operator](attributes, *inputs)
        assert len(got) >= len(outputs), name
        for a, want in zip(got, outputs):
            # computed by ONNX in float32, in some order; the values are N(0, 1)-like
            np.testing.assert_allclose(a, want, rtol=0, atol=1e-6, err_msg=name)
