"""normkit: the engine's own epoch on given batches."""

import numpy as np

from normkit import MLPClassifier
from normkit.engine.rows import rows_of


def estimator(problem, normalization, **parameters):
    """Return the estimator whose parameters describe the benchmark's network."""
    return MLPClassifier(
        tuple(problem.sizes[1:-1]), activation="elu", solver="adam", alpha=0.0, normalization=normalization,
        norm_position="before", norm_momentum=problem.norm_momentum, norm_epsilon=problem.norm_epsilon,
        kernel_initializer="he_normal", learning_rate_init=problem.learning_rate, beta_1=problem.beta_1,
        beta_2=problem.beta_2, epsilon=problem.adam_epsilon, n_threads=problem.threads, dtype="float32",
        **parameters,
    )  # fmt: skip


class Engine:
    """Trains through the trainer of a fitted estimator, which calls it in the same way once per epoch."""

    def __init__(self, problem, normalization):
        self.problem, self.normalization = problem, normalization
        self.rows, self._owner = rows_of(problem.X)
        self.targets = problem.y.astype(np.float32)[:, None]

    def prepare(self, batch_size):
        """Start anew from the problem's initial weights."""
        p = self.problem
        self.model = model = estimator(p, self.normalization, batch_size=batch_size, random_state=p.seed)
        model.partial_fit(p.X[:batch_size], p.y[:batch_size], classes=np.arange(p.sizes[-1]))
        # all of these are views of what the trainer trains
        for coef, intercept, kernel in zip(model.coefs_, model.intercepts_, p.kernels()):
            coef[...], intercept[...] = kernel, 0
        for norm in model.norm_layers_:
            norm.gamma[...], norm.beta[...] = 1, 0
            if norm.moving_mean is not None:
                norm.moving_mean[...], norm.moving_variance[...] = 0, 1
        self.trainer = model._trainer
        self.trainer.steps = 0
        self.trainer.first[...], self.trainer.second[...] = 0, 0

    def run(self, order):
        """Train on the batches; returns the mean loss."""
        edges = np.arange(len(order) + 1) * order.shape[1]
        return self.trainer.run(self.rows, self.targets, None, order.ravel(), edges, self.problem.threads)

    def accuracy(self):
        """Accuracy on the test set."""
        return float(self.model.score(self.problem.X_test, self.problem.y_test))
