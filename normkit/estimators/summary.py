"""The model summary: a table like Keras' ``Model.summary``."""

from normkit.engine.norms import NONE
from normkit.estimators._parameters import trained_norm_parameters
from normkit.math.activations import CODES

_ACTIVATIONS = {code: name for name, code in CODES.items()}


def _rows_of(network, options):
    """Yield (layer, output shape, trainable, not trainable) from input to output."""
    plan, sizes = network.plan, network.sizes
    trained = trained_norm_parameters(options)

    def norm_row(b):
        norm = network.norm(b)
        shown = {"gamma": options.norm_scale, "beta": options.norm_center, "alpha": True}
        counts = {name: network.count(name, b) for name in norm.parameters if shown[name]}
        trainable = sum(count for name, count in counts.items() if name in trained)
        return norm.kind, sizes[b], trainable, sum(counts.values()) - trainable + 2 * sizes[b] * norm.moving

    yield "Input", sizes[0], 0, 0
    if plan.norm[0] != NONE:
        yield norm_row(0)
    for b in range(1, len(sizes)):
        bias = 0 if network.vector("bias", b) is None else sizes[b]
        yield "Dense", sizes[b], sizes[b] * sizes[b - 1] + bias, 0
        if b == len(sizes) - 1:
            yield f"Activation ({network.output})", sizes[b], 0, 0
            return
        rows = [(f"Activation ({_ACTIVATIONS[plan.activation[b]]})", sizes[b], 0, 0)]
        if plan.norm[b] != NONE:
            rows.insert(len(rows) if plan.after[b] else 0, norm_row(b))
        if plan.dropout[b]:
            rows.append((f"Dropout ({plan.dropout[b]:g})", sizes[b], 0, 0))
        yield from rows


def format_summary(network, options):
    """Return the table as text."""
    rows = list(_rows_of(network, options))
    lines = [f"{'Layer':<28}{'Output shape':<18}{'Parameters':>12}", "=" * 58]
    lines += [f"{name:<28}{f'(None, {size})':<18}{a + b:>12,}" for name, size, a, b in rows]
    trainable, fixed = sum(row[2] for row in rows), sum(row[3] for row in rows)
    lines += [
        "=" * 58,
        f"Total parameters: {trainable + fixed:,}",
        f"Trainable parameters: {trainable:,}",
        f"Non-trainable parameters: {fixed:,}",
    ]
    return "\n".join(lines)
