"""How training is watched: records per epoch, the validation set, scikit-learn's rule for stopping."""

from typing import Any

import numpy as np
from sklearn.base import is_classifier
from sklearn.metrics import accuracy_score, r2_score

from normkit.estimators._network import NetworkMLP

# rows whose outputs are held at a time when a set is measured
_EVALUATED = 16384


class MonitoringMLP(NetworkMLP):
    """Mixin with what happens between epochs. A subclass decodes outputs to labels: `_decode`."""

    def _start_records(self):
        """Begin the records of training that are not there; a warm start goes on with them."""
        state = self.__dict__
        self.loss_curve_: list[float] = state.get("loss_curve_", [])
        self.history_: dict[str, list[float]] = state.get("history_", {"loss": self.loss_curve_})
        self._no_improvement_count = state.get("_no_improvement_count", 0)
        early = self.early_stopping
        scores, best = state.get("validation_scores_"), state.get("best_validation_score_")
        self.validation_scores_: Any = ([] if scores is None else scores) if early else scores
        self.best_validation_score_: Any = (-np.inf if best is None else best) if early else best
        self.best_loss_ = state.get("best_loss_", None if early else np.inf)
        if self.best_loss_ is None and not early:
            self.best_loss_ = np.inf

    def _record_validation(self, watched, held_out, samples, chosen):
        """Measure the watched set, or its held-out rows, and the training rows; returns the watched score."""
        record = self._processes.first(lambda: self._measure(watched, held_out, samples, chosen))
        for name, value in record.items():
            self.history_.setdefault(name, []).append(value)
        return record["val_score"]

    def _measure(self, watched, held_out, samples, chosen):
        rows = np.arange(watched.X.shape[0]) if held_out is None else held_out
        loss, score = self._evaluate(watched, rows)
        record = {"val_loss": loss, "val_score": score}
        if held_out is None:
            record["score"] = self._evaluate(samples, chosen)[1]
        return record

    def _evaluate(self, samples, indices):
        """Return (loss without penalty, score) on some rows; NaN where the model predicts no finite numbers."""
        predicted, total, total_weight = [], 0.0, 0.0
        classifies = is_classifier(self)
        for start in range(0, len(indices), _EVALUATED):  # the outputs of all rows may be larger than X
            part = indices[start : start + _EVALUATED]
            outputs = self._network.predict(samples.rows, part, self.n_threads)
            if not np.isfinite(outputs).all():
                return float("nan"), float("nan")
            weight = samples.sample_weight_of(part)
            share = float(len(part) if weight is None else weight.sum())
            if share > 0:
                total += share * self._network.loss(outputs, samples.targets[part], weight)
                total_weight += share
            labels = self._decode(outputs)
            predicted.append(self._encode(labels) if classifies else labels)
        # targets are dense, also of sparse labels
        score, truth = (accuracy_score, samples.targets) if classifies else (r2_score, samples.labels)
        truth, weight = truth[indices], samples.sample_weight_of(indices)
        value = score(truth, np.concatenate(predicted), sample_weight=weight)
        return total / total_weight if total_weight else float("nan"), float(value)

    def _count_no_improvement(self, score):
        """scikit-learn's rule: count the epochs without an improvement of more than tol.

        Returns whether the validation score is the best so far.
        """
        best = False
        if self.early_stopping:
            self.validation_scores_.append(score)
            if self.verbose:
                print(f"Validation score: {score:f}")
            worse = score < self.best_validation_score_ + self.tol
            best = score > self.best_validation_score_
            if best:
                self.best_validation_score_ = score
        else:
            worse = self.loss_ > self.best_loss_ - self.tol
            if self.loss_ < self.best_loss_:
                self.best_loss_ = self.loss_
        self._no_improvement_count = self._no_improvement_count + 1 if worse else 0
        return best

    def _has_converged(self):
        """Stop after too many epochs without improvement; the adaptive schedule first lowers the learning rate."""
        if self._no_improvement_count <= self.n_iter_no_change:
            return False
        what = "Validation score" if self.early_stopping else "Training loss"
        message = (
            f"{what} did not improve more than tol={self.tol:f} for {self.n_iter_no_change} consecutive epochs."
        )  # fmt: skip
        if self._optimizer.trigger_stopping(message, self.verbose):
            return True
        self._no_improvement_count = 0
        return False
