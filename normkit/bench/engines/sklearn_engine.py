"""scikit-learn's MLPClassifier: the same sizes without norm, relu in elu's place."""

import numpy as np
from sklearn.neural_network import MLPClassifier


class _GivenWeights(MLPClassifier):
    """Starts from given kernels."""

    def _init_coef(self, fan_in, fan_out, dtype):
        return next(self.given).astype(dtype), np.zeros(fan_out, dtype)


class Engine:
    """Trains by one `partial_fit` on the rows of all batches in their order."""

    def __init__(self, problem):
        self.problem = problem

    def prepare(self, batch_size):
        """Start anew from the problem's initial weights."""
        p = self.problem
        self.model = _GivenWeights(
            tuple(p.sizes[1:-1]), alpha=0.0, batch_size=batch_size, shuffle=False,
            learning_rate_init=p.learning_rate, beta_1=p.beta_1, beta_2=p.beta_2, epsilon=p.adam_epsilon,
            random_state=p.seed,
        )  # fmt: skip
        self.model.given = iter(p.kernels())
        self.classes = np.arange(p.sizes[-1])

    def run(self, order):
        """Train on the batches; returns the mean loss."""
        rows = order.ravel()
        self.model.partial_fit(self.problem.X[rows], self.problem.y[rows], classes=self.classes)
        return self.model.loss_

    def accuracy(self):
        """Accuracy on the test set."""
        return float(self.model.score(self.problem.X_test, self.problem.y_test))
