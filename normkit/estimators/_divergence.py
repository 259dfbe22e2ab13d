"""What becomes of a fit whose numbers are no longer finite."""

import warnings

import numpy as np
from sklearn.exceptions import ConvergenceWarning


class LastFinite:
    """The parameters and moving statistics after the last epoch that left them finite.

    `trained` tells whether they are of a model that was trained at all.
    """

    def __init__(self, network, trained):
        self.trained = trained
        self._state = network.state() if is_finite(network) else None

    def keep(self, network):
        """Copy what the network holds; returns False, and keeps what was there, where it is not finite."""
        if not is_finite(network):
            return False
        now = (network.params, *network.statistics)
        if self._state is not None and self._state[0].shape == network.params.shape:
            for kept, values in zip(self._state, now):
                kept[...] = values
        else:  # a callback changed the network
            self._state = network.state()
        self.trained = True
        return True

    def restore(self, model):
        """Go back, with a warning, and begin the optimizer's moments anew in a later `partial_fit`.

        Nothing happens where no epoch ended well: there is no model to keep, and the fit is an error.
        """
        network = model._network
        if not self.trained or self._state is None or self._state[0].shape != network.params.shape:
            return
        network.restore(self._state)
        model.__dict__.pop("_trainer", None)
        warnings.warn(
            f"Training diverged: epoch {model.n_iter_} ended with parameters or statistics that are not finite. "
            "The model is kept as it was before that epoch. Scaled inputs, a smaller learning rate or a norm may help.",
            ConvergenceWarning,
            stacklevel=8,
        )


def is_finite(network):
    """Whether all parameters and moving statistics are finite numbers."""
    with np.errstate(all="ignore"):
        # a finite sum has finite terms; only where it overflows must each be looked at
        return all(
            np.isfinite(values.sum()) or np.isfinite(values).all() for values in (network.params, *network.statistics)
        )
