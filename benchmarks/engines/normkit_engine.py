"""normkit: the engine's own epoch on given batches."""

import numpy as np

from normkit import MLPClassifier
from normkit.engine.network import Network, Trainer


def estimator(problem, normalization, **parameters):
    """Return the estimator whose parameters describe the benchmark's network."""
    return MLPClassifier(
        tuple(problem.sizes[1:-1]), activation="elu", solver="adam", alpha=0.0, normalization=normalization,
        norm_position="before", norm_momentum=problem.norm_momentum, norm_epsilon=problem.norm_epsilon,
        kernel_initializer="he_normal", learning_rate_init=problem.learning_rate, beta_1=problem.beta_1,
        beta_2=problem.beta_2, epsilon=problem.adam_epsilon, n_threads=problem.threads, **parameters,
    )  # fmt: skip


class Engine:
    """Trains through `Trainer.run`, as `MLPClassifier.fit` does once per epoch."""

    def __init__(self, problem, normalization):
        self.problem, self.normalization = problem, normalization
        self.targets = problem.y.astype(np.float32)[:, None]

    def prepare(self, batch_size):
        """Start anew from the problem's initial weights."""
        options = estimator(self.problem, self.normalization)
        self.network = Network(self.problem.sizes, np.float32, options, "softmax")
        for b in self.network.norm_blocks():
            self.network.vector("gamma", b)[...] = 1
        self.network.set_dense(self.problem.kernels(), [np.zeros(n) for n in self.problem.sizes[1:]])
        self.trainer = Trainer(self.network, options, 0)

    def run(self, order):
        """Train on the batches; returns the mean loss."""
        edges = np.arange(len(order) + 1) * order.shape[1]
        return self.trainer.run(self.problem.X, self.targets, None, order.ravel(), edges)

    def accuracy(self):
        """Accuracy on the test set."""
        p = self.network.predict(self.problem.X_test, self.problem.threads, self.problem.norm_epsilon)
        return float((p.argmax(axis=1) == self.problem.y_test).mean())
