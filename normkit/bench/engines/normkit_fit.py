"""normkit: what a user pays, a whole `MLPClassifier.fit`."""

import warnings

from sklearn.exceptions import ConvergenceWarning

from normkit.bench.engines.normkit_engine import estimator

EPOCHS = 3


class Engine:
    """Fits three epochs a call, whatever the order asked for, and reports how many steps that were."""

    def __init__(self, problem, normalization):
        self.problem, self.normalization = problem, normalization

    def prepare(self, batch_size):
        """Set the batch size."""
        self.model = estimator(
            self.problem,
            self.normalization,
            batch_size=batch_size,
            max_iter=EPOCHS,
            random_state=self.problem.seed,
        )
        self.steps = EPOCHS * -(-len(self.problem.X) // batch_size)

    def run(self, order):
        """Fit; returns the last epoch's mean loss."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            self.model.fit(self.problem.X, self.problem.y)
        return self.model.loss_

    def accuracy(self):
        """Accuracy on the test set."""
        return float(self.model.score(self.problem.X_test, self.problem.y_test))
