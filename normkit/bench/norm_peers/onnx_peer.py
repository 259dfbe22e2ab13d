"""ONNX Runtime: a graph of one operator, forward alone; operators that a build lacks are left out with its words.

Inference is what it is made for: there is no gradient, and no way to give it memory but by a binding, which is tried
beside the plain call.
"""

import numpy as np
import onnxruntime
from onnx import TensorProto, helper

# opset, and the version of the format that came with it
_OPSET, _FORMAT = 23, 11
_FLOAT = TensorProto.FLOAT


def _node(case):
    """Return the operator with its inputs beside x, None where there is none."""
    if case.function == "layer_norm":
        return helper.make_node("LayerNormalization", ["x", "gamma", "beta"], ["y"], axis=-1, epsilon=case.epsilon)
    if case.function == "rms_norm":
        return helper.make_node("RMSNormalization", ["x", "gamma"], ["y"], axis=-1, epsilon=case.epsilon)
    if case.axis != 1 and len(case.shape) > 2:
        return None  # its images are NCHW
    if case.function == "batch_norm":
        inputs, outputs = ["x", "gamma", "beta", "mean", "var"], ["y", "new_mean", "new_var"]
        return helper.make_node("BatchNormalization", inputs, outputs, epsilon=case.epsilon, training_mode=1)
    if case.function == "instance_norm":
        return helper.make_node("InstanceNormalization", ["x", "gamma", "beta"], ["y"], epsilon=case.epsilon)
    inputs = ["x", "gamma", "beta"]
    return helper.make_node("GroupNormalization", inputs, ["y"], epsilon=case.epsilon, num_groups=case.groups)


def _model(case, node):
    channels = {name: np.zeros(case.channels, np.float32) for name in ("beta", "mean")}
    channels |= {name: np.ones(case.channels, np.float32) for name in ("gamma", "var")}
    values = [helper.make_tensor_value_info(name, _FLOAT, channels[name].shape) for name in node.input[1:]]
    x = helper.make_tensor_value_info("x", _FLOAT, case.shape)
    outputs = [helper.make_tensor_value_info("y", _FLOAT, case.shape)]
    graph = helper.make_graph([node], "norm", [x, *values], outputs)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_FORMAT)
    return model.SerializeToString(), channels


class Peer:
    """One session a case."""

    def __init__(self, threads):
        self.options = onnxruntime.SessionOptions()
        self.options.intra_op_num_threads = threads
        self.options.log_severity_level = 4

    def ways(self, case, mode, x, dy, gamma, beta):
        """Return the calls that do the case's work, by name."""
        node = _node(case)
        if node is None or mode == "out" or case.direction == "backward" or case.dtype != "float32":
            return {}
        model, channels = _model(case, node)
        session = onnxruntime.InferenceSession(model, self.options, providers=["CPUExecutionProvider"])
        given = {"x": x, **channels, "gamma": gamma, "beta": beta}
        feeds = {name: given[name] for name in node.input}

        def bound():
            binding = session.io_binding()
            for name, value in values.items():
                binding.bind_ortvalue_input(name, value)
            binding.bind_output("y", "cpu")
            session.run_with_iobinding(binding)
            return binding.get_outputs()

        values = {name: onnxruntime.OrtValue.ortvalue_from_numpy(value) for name, value in feeds.items()}
        return {"run": lambda: session.run(["y"], feeds), "run_with_iobinding": bound}

    @staticmethod
    def arrays(results):
        """Return NumPy arrays of a call's results."""
        return [a.numpy() if isinstance(a, onnxruntime.OrtValue) else a for a in results]
