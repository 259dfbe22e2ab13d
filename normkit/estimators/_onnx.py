"""A fitted model as an ONNX graph.

Opset 17, which has LayerNormalization. ONNX Runtime lacks kernels of float64 for some activations: those are put
together from operators that it has, but for Erf, so that gelu is float32's in a model of float64.
"""

import math

import numpy as np
from sklearn.base import is_classifier

from normkit._version import __version__
from normkit.engine.norms import NORMS
from normkit.estimators._folding import folded_layers
from normkit.estimators._parameters import activations_of
from normkit.math.activations import LEAKY_SLOPE, SELU_ALPHA, SELU_SCALE

_OPSET, _IR_VERSION = 17, 8
_INPUTS = ("float32", "float64", "uint8")
_OPERATORS: dict[str, tuple[str, dict[str, float]]] = {
    "logistic": ("Sigmoid", {}),
    "tanh": ("Tanh", {}),
    "relu": ("Relu", {}),
    "elu": ("Elu", {}),
    "leaky_relu": ("LeakyRelu", {"alpha": LEAKY_SLOPE}),
    "selu": ("Selu", {"alpha": SELU_ALPHA, "gamma": SELU_SCALE}),
    "softplus": ("Softplus", {}),
    "softmax": ("Softmax", {"axis": 1}),
    "exp": ("Exp", {}),
}


class _Graph:
    """Nodes and constants of a graph, one after the other; a method returns the name of what it appended."""

    def __init__(self, onnx, dtype):
        self.onnx, self.dtype = onnx, dtype
        self.nodes: list = []
        self.constants: list = []

    def constant(self, value, dtype=None):
        array = np.array(value, self.dtype if dtype is None else dtype)
        name = f"constant_{len(self.constants)}"
        self.constants.append(self.onnx.numpy_helper.from_array(array, name))
        return name

    def node(self, operator, *inputs, output=None, **attributes):
        name = output or f"{operator}_{len(self.nodes)}"
        self.nodes.append(self.onnx.helper.make_node(operator, list(inputs), [name], **attributes))
        return name

    def cast(self, x, dtype, output=None):
        return self.node("Cast", x, output=output, to=self.onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))

    def activation(self, name, x):
        if name == "identity":
            return x
        if name == "silu":
            return self.node("Mul", x, self.node("Sigmoid", x))
        if name == "gelu":
            inner = self.cast(self.node("Mul", x, self.constant(math.sqrt(0.5))), np.float32)
            share = self.node("Add", self.cast(self.node("Erf", inner), self.dtype), self.constant(1))
            return self.node("Mul", self.node("Mul", x, self.constant(0.5)), share)
        if self.dtype == np.float64 and name in ("elu", "selu", "softplus"):
            return self._in_double(name, x)
        operator, attributes = _OPERATORS[name]
        return self.node(operator, x, **attributes)

    def _in_double(self, name, x):
        zero, one = self.constant(0), self.constant(1)
        positive = self.node("Max", x, zero)
        if name == "softplus":
            power = self.node("Exp", self.node("Neg", self.node("Abs", x)))
            return self.node("Add", positive, self.node("Log", self.node("Add", power, one)))
        scale, alpha = (SELU_SCALE, SELU_ALPHA) if name == "selu" else (1, 1)
        negative = self.node("Sub", self.node("Exp", self.node("Min", x, zero)), one)
        total = self.node("Add", positive, self.node("Mul", negative, self.constant(alpha)))
        return self.node("Mul", total, self.constant(scale))

    def norm(self, network, b, x):
        gamma, beta, alpha = (network.vector(name, b) for name in ("gamma", "beta", "alpha"))
        gain = self.constant(gamma)
        kind, epsilon = network.norm(b), network.norm_epsilon
        if kind.moving:
            moving = (self.constant(values) for values in network.moving(b))
            return self.node("BatchNormalization", x, gain, self.constant(beta), *moving, epsilon=epsilon)
        if kind is NORMS["layer"]:
            return self.node("LayerNormalization", x, gain, self.constant(beta), axis=-1, epsilon=epsilon)
        if kind is NORMS["rms"]:
            squares = self.node("ReduceMean", self.node("Mul", x, x), axes=[1], keepdims=1)
            x = self.node("Div", x, self.node("Sqrt", self.node("Add", squares, self.constant(epsilon))))
            return self.node("Mul", x, gain)
        if kind is NORMS["dyt"]:
            x = self.node("Tanh", self.node("Mul", x, self.constant(alpha)))
        elif kind is NORMS["group"]:  # a group of features is a sample of its own to a layer norm
            size = network.sizes[b] // int(network.plan.groups[b])
            x = self.node("Reshape", x, self.constant([0, -1, size], np.int64))
            x = self.node("LayerNormalization", x, self.constant(np.ones(size)), axis=-1, epsilon=epsilon)
            x = self.node("Reshape", x, self.constant([0, network.sizes[b]], np.int64))
        else:
            raise NotImplementedError(f"no operators of ONNX are known for the norm of block {b}")
        return self.node("Add", self.node("Mul", x, gain), self.constant(beta))


def _folded(graph, model, network, activations, x):
    for b, (weight, bias) in enumerate(folded_layers(network, model.input_scale), start=1):
        x = graph.node("Gemm", x, graph.constant(weight), graph.constant(bias))
        if b <= len(activations):
            x = graph.activation(activations[b - 1], x)
    return x


def _kept(graph, model, network, activations, x):
    normalized = set(network.norm_blocks())
    if model.input_scale != 1:
        x = graph.node("Mul", x, graph.constant(model.input_scale))
    if 0 in normalized:
        x = graph.norm(network, 0, x)
    for b in range(1, len(network.sizes)):
        bias = network.vector("bias", b)
        x = graph.node("MatMul", x, graph.constant(network.weight(b).T))
        x = x if bias is None else graph.node("Add", x, graph.constant(bias))
        if b in normalized and not network.plan.after[b]:
            x = graph.norm(network, b, x)
        if b <= len(activations):
            x = graph.activation(activations[b - 1], x)
        if b in normalized and network.plan.after[b]:
            x = graph.norm(network, b, x)
    return x


def _class_constant(graph, classes):
    """Return the name of the constant of class labels, and its type."""
    dtype: type
    if classes.dtype.kind in "iu":
        dtype = np.int64
    elif classes.dtype.kind in "bf":
        dtype = classes.dtype.type
    elif all(isinstance(label, str) for label in classes):
        dtype = np.object_  # ONNX's strings
    else:
        raise ValueError(f"ONNX has labels of one type, numbers or strings; got {classes.tolist()}")
    return graph.constant(classes, dtype), np.dtype(dtype)


def _classified(graph, model, x):
    """Append label and probabilities to the outputs of the network; return their values' descriptions."""
    kind = model._label_binarizer.y_type_
    if kind == "multilabel-indicator":
        graph.node("Identity", x, output="probabilities")
        graph.cast(graph.node("Greater", x, graph.constant(0.5)), np.int64, output="label")
        return [("label", np.dtype(np.int64), [None, model.n_outputs_]),
                ("probabilities", graph.dtype, [None, model.n_outputs_])]  # fmt: skip
    if kind == "binary":
        graph.node("Concat", graph.node("Sub", graph.constant(1), x), x, output="probabilities", axis=1)
        index = graph.cast(graph.node("Greater", x, graph.constant(0.5)), np.int64)
        index = graph.node("Reshape", index, graph.constant([-1], np.int64))
        if len(model.classes_) == 1:
            index = graph.node("Mul", index, graph.constant([0], np.int64))
    else:
        graph.node("Identity", x, output="probabilities")
        index = graph.node("ArgMax", x, axis=1, keepdims=0)
    labels, dtype = _class_constant(graph, model.classes_)
    graph.node("Gather", labels, index, output="label")
    return [("label", dtype, [None]), ("probabilities", graph.dtype, [None, max(model.n_outputs_, 2)])]


def to_onnx(model, fold_norm=False, input_dtype=None):
    """Return an ONNX model, see `normkit.MLPClassifier.to_onnx`."""
    try:
        import onnx
    except ImportError as error:
        raise ImportError("to_onnx needs the package onnx: pip install 'normkit[onnx]'") from error

    network = model._link()
    given = network.dtype.name if input_dtype is None else np.dtype(input_dtype).name
    if given not in _INPUTS:
        raise ValueError(f"input_dtype must be None or one of {', '.join(_INPUTS)}, got {input_dtype!r}")
    graph = _Graph(onnx, network.dtype)
    x = "X" if given == network.dtype.name else graph.cast("X", network.dtype)
    activations = activations_of(model, model.n_layers_ - 2)
    x = (_folded if fold_norm else _kept)(graph, model, network, activations, x)
    x = graph.activation(network.output, x)
    if is_classifier(model):
        outputs = _classified(graph, model, x)
    else:
        shape = [-1] if model.n_outputs_ == 1 else [-1, model.n_outputs_]
        graph.node("Reshape", x, graph.constant(shape, np.int64), output="prediction")
        outputs = [("prediction", graph.dtype, [None, *shape[1:]])]

    def described(name, dtype, shape):
        kind = onnx.helper.np_dtype_to_tensor_dtype(dtype)
        return onnx.helper.make_tensor_value_info(name, kind, ["samples" if size is None else size for size in shape])

    made = onnx.helper.make_graph(
        graph.nodes, "normkit", [described("X", np.dtype(given), [None, network.sizes[0]])],
        [described(*output) for output in outputs], graph.constants,
    )  # fmt: skip
    result = onnx.helper.make_model(
        made, opset_imports=[onnx.helper.make_opsetid("", _OPSET)], ir_version=_IR_VERSION, producer_name="normkit",
        producer_version=__version__,
    )  # fmt: skip
    onnx.checker.check_model(result, full_check=True)
    return result
