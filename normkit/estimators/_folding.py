"""Norms that are a fixed affine map at inference, taken up by the dense layers before or after them."""

import copy

import numpy as np
from sklearn import neural_network
from sklearn.base import is_classifier

from normkit.engine.norms import NORMS
from normkit.estimators._parameters import activations_of

_ACTIVATIONS = ("identity", "logistic", "relu", "tanh")  # those that scikit-learn has
_FITTED = (
    "n_features_in_", "feature_names_in_", "classes_", "_label_binarizer", "n_outputs_", "n_layers_", "out_activation_",
    "n_iter_", "t_", "loss_", "best_loss_", "loss_curve_", "validation_scores_", "best_validation_score_",
    "_no_improvement_count",
)  # fmt: skip


def norm_map(network, b):
    """Return scale and shift of block b's norm at inference, float64; ValueError where it depends on the sample."""
    mean, variance = network.moving(b)
    if mean is None:
        fixed = ", ".join(repr(name) for name, norm in NORMS.items() if norm.moving)
        raise ValueError(
            f"the norm must be a fixed affine map at inference to be folded ({fixed}), got {network.norm(b).kind}, "
            "whose scale depends on the sample"
        )
    rstd = 1 / np.sqrt(variance.astype(np.float64) + network.norm_epsilon)
    scale = network.vector("gamma", b).astype(np.float64) * rstd
    return scale, network.vector("beta", b).astype(np.float64) - scale * mean


def folded_layers(network, input_scale):
    """Return the weight (inputs, outputs) and bias of each dense layer with all norms taken up, float64."""
    scale, shift = np.full(network.sizes[0], float(input_scale)), np.zeros(network.sizes[0])
    normalized = set(network.norm_blocks())
    if 0 in normalized:
        gain, shift = norm_map(network, 0)
        scale = scale * gain
    layers = []
    for b in range(1, len(network.sizes)):
        weight = network.weight(b).T.astype(np.float64)  # (inputs, outputs)
        bias = shift @ weight
        if network.vector("bias", b) is not None:
            bias += network.vector("bias", b)
        weight *= scale[:, None]
        scale, shift = np.ones(network.sizes[b]), np.zeros(network.sizes[b])
        if b in normalized:
            gain, offset = norm_map(network, b)
            if network.plan.after[b]:  # of the activation: what the next layer sees
                scale, shift = gain, offset
            else:
                weight, bias = weight * gain, bias * gain + offset
        layers.append((weight, bias))
    return layers


def fold_norm(model):
    """Return a plain scikit-learn model, see `normkit.MLPClassifier.fold_norm`."""
    names = set(activations_of(model, model.n_layers_ - 2)) or {"identity"}
    if len(names) > 1 or not names <= set(_ACTIVATIONS):
        raise ValueError(
            f"scikit-learn has one activation for all layers, of {', '.join(_ACTIVATIONS)}; got {model.activation!r}"
        )
    network = model._link()
    layers = folded_layers(network, model.input_scale)
    kind = neural_network.MLPClassifier if is_classifier(model) else neural_network.MLPRegressor
    shared = kind().get_params()
    parameters = {name: value for name, value in model.get_params().items() if name in shared}
    plain = kind(**{**parameters, "activation": names.pop()})
    plain.__dict__.update({name: copy.deepcopy(vars(model)[name]) for name in _FITTED if name in vars(model)})
    plain.coefs_ = [weight.astype(network.dtype) for weight, _ in layers]
    plain.intercepts_ = [bias.astype(network.dtype) for _, bias in layers]
    if plain.early_stopping:  # a warm start may find nothing better
        plain._best_coefs = [coef.copy() for coef in plain.coefs_]
        plain._best_intercepts = [intercept.copy() for intercept in plain.intercepts_]
    return plain
