"""Random numbers of a run: each is drawn from a stream of its own, whatever was drawn or run before.

A stream is named by what it is for and by numbers (seed, fold, layer), never by the order of running. So two
conditions with one seed share their first weights wherever shapes agree, and the order of the rows.
"""

import numpy as np

from normkit.engine import initializers
from normkit.engine.norms import NORMS


def stream(purpose: str, *numbers: int) -> np.random.RandomState:
    """Return the stream of a purpose, keyed by numbers that are not negative.

    Examples
    --------
    >>> from normkit.experiments.running.seeds import stream
    >>> bool(stream("order", 3, 0).rand() == stream("order", 3, 0).rand())
    True
    >>> bool(stream("order", 3, 0).rand() == stream("dropout", 3, 0).rand())
    False
    """
    sequence = np.random.SeedSequence(numbers, spawn_key=tuple(purpose.encode()))
    return np.random.RandomState(np.random.MT19937(sequence))


class Draws(np.random.RandomState):
    """The `random_state` of a model: it shuffles from one stream and seeds its noise from another.

    From one stream the order of the rows would depend on how many numbers first weights or dropout took.
    """

    def __init__(self, seed: int, fold: int = 0):
        super().__init__(0)
        self._order = stream("order", seed, fold)
        self._noise = stream("noise", seed, fold)

    def shuffle(self, x):
        """Shuffle in place, from the stream of the order."""
        self._order.shuffle(x)

    def randint(self, *args, **options):
        """Draw integers, which a model seeds its dropout and noise with, from the stream of the noise."""
        return self._noise.randint(*args, **options)


def initial_values(sizes: list[int], activation: str, initializer: str, normalization: str | None, position: str,
                   seed: int, fold: int = 0) -> tuple[list[np.ndarray], list[np.ndarray]]:  # fmt: skip
    """Draw the first weights and biases of a network, each layer from a stream of its own.

    Parameters
    ----------
    sizes : list of int
        Units of the layers, from the input to the output.
    activation, initializer, normalization, position : str
        The estimator's `activation`, `kernel_initializer`, `normalization` and `norm_position`.
    seed, fold : int
        Keys of the streams.

    Returns
    -------
    coefs : list of ndarray of shape (inputs, units)
    intercepts : list of ndarray of shape (units,)
        Zero where a norm takes the place of the bias.
    """
    coefs, intercepts = [], []
    last = len(sizes) - 2
    for layer, (inputs, units) in enumerate(zip(sizes, sizes[1:])):
        kernels, biases = (stream(purpose, seed, fold, layer) for purpose in ("kernel", "bias"))
        bias = np.zeros(units)
        if initializer == "sklearn":
            bound = initializers.sklearn_bound(inputs, units, activation)
            coefs.append(kernels.uniform(-bound, bound, (inputs, units)))
            if layer == last or position == "after" or not NORMS[normalization].centres:
                bias = biases.uniform(-bound, bound, units)
        else:
            coefs.append(initializers.kernel(initializer, inputs, units, kernels))
        intercepts.append(bias)
    return coefs, intercepts
