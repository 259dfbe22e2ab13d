"""normkit's functions on NumPy arrays."""

import numpy as np

import normkit


class Peer:
    """Statistics for backward come from the forward function, untimed."""

    def __init__(self, threads):
        pass

    def ways(self, case, mode, x, dy, gamma, beta):
        """Return the calls that do the case's work, by name."""
        if case.dtype == "bfloat16":
            from ml_dtypes import bfloat16

            x, dy = x.astype(bfloat16), dy.astype(bfloat16)
        forward = getattr(normkit, case.function)
        groups = (case.groups,) if case.function == "group_norm" else ()
        parameters = (gamma, beta) if case.centred else (gamma,)
        options = {"axis": case.axis}
        out = np.empty_like(x) if mode == "out" else None
        if case.direction == "forward":
            options |= {"epsilon": case.epsilon}
            return {case.function: lambda: (forward(x, *groups, *parameters, **options, out=out),)}
        statistics = forward(x, *groups, *parameters, **options, epsilon=case.epsilon, return_stats=True)[1:]
        backward = getattr(normkit, f"{case.function}_backward")
        return {backward.__name__: lambda: backward(dy, x, *groups, gamma, *statistics, **options, out=out)}

    @staticmethod
    def arrays(results):
        """Return NumPy arrays of a call's results."""
        return [np.asarray(a, np.float32) for a in results]
