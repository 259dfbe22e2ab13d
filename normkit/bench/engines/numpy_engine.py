"""NumPy: the network, its gradient and Adam, written out; in float64 what the others must reach."""

import numpy as np


class _Layer:
    """A dense layer, in a hidden one followed by norm and activation; arrays are (batch, features)."""

    def __init__(self, kernel, problem, plain, last):
        self.kernel, self.problem, self.plain, self.last = kernel, problem, plain, last
        units, dtype = kernel.shape[1], kernel.dtype
        self.parameters = [kernel]
        if last or plain:
            self.bias = np.zeros(units, dtype)
            self.parameters.append(self.bias)
        else:
            self.gamma, self.beta = np.ones(units, dtype), np.zeros(units, dtype)
            self.parameters += [self.gamma, self.beta]
            self.moving_mean, self.moving_var = np.zeros(units, dtype), np.ones(units, dtype)
        self.moments = [(np.zeros_like(p), np.zeros_like(p)) for p in self.parameters]

    def forward(self, X, training):
        """Return the layer's output."""
        self.X = X
        z = X @ self.kernel
        if self.last or self.plain:
            z += self.bias
            self.z = z
            return z if self.last else np.maximum(z, 0)
        if training:
            mean, keep = z.mean(axis=0), self.problem.norm_momentum
            var = np.square(z - mean).mean(axis=0)
            self.moving_mean += (1 - keep) * (mean - self.moving_mean)
            self.moving_var += (1 - keep) * (var - self.moving_var)
        else:
            mean, var = self.moving_mean, self.moving_var
        self.rstd = 1 / np.sqrt(var + self.problem.norm_epsilon)
        self.xhat = (z - mean) * self.rstd
        z = self.gamma * self.xhat + self.beta
        self.negative = np.expm1(np.minimum(z, 0))
        return np.where(z > 0, z, self.negative)  # elu

    def backward(self, dy, first):
        """Return the gradients of the parameters, and of the input unless this is the first layer."""
        gradients = []
        if self.plain and not self.last:
            dy = dy * (self.z > 0)
        if self.last or self.plain:
            gradients.append(dy.sum(axis=0))
        else:
            dy = dy * (self.negative + 1)  # elu' is 1 where the output is positive, exp(z) where it is not
            dgamma, dbeta = (dy * self.xhat).sum(axis=0), dy.sum(axis=0)
            gradients += [dgamma, dbeta]
            dy = self.gamma * self.rstd * (dy - (self.xhat * dgamma + dbeta) / len(dy))
        return [self.X.T @ dy, *gradients], None if first else dy @ self.kernel.T

    def update(self, gradients, rate):
        """Make a step of Adam, its epsilon where scikit-learn and Keras put it."""
        p = self.problem
        for parameter, gradient, (first, second) in zip(self.parameters, gradients, self.moments):
            first += (1 - p.beta_1) * (gradient - first)
            second += (1 - p.beta_2) * (np.square(gradient) - second)
            parameter -= rate * first / (np.sqrt(second) + p.adam_epsilon)


class Engine:
    """Trains in float32, or in the given type; `plain` is the network of scikit-learn, with relu and without norm."""

    def __init__(self, problem, plain=False, dtype="float32"):
        self.problem, self.plain = problem, plain
        self.X, self.y = problem.X.astype(dtype, copy=False), problem.y
        self.dtype = self.X.dtype

    def prepare(self, batch_size):
        """Start anew from the problem's initial weights."""
        *hidden, last = (kernel.astype(self.dtype) for kernel in self.problem.kernels())
        self.layers = [_Layer(kernel, self.problem, self.plain, False) for kernel in hidden]
        self.layers.append(_Layer(last, self.problem, self.plain, True))
        self.steps_done = 0

    def _outputs(self, X, training):
        for layer in self.layers:
            X = layer.forward(X, training)
        return X

    def _step(self, rows):
        p = self.problem
        logits = self._outputs(self.X[rows], True)
        logits -= logits.max(axis=1, keepdims=True)
        log_p = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
        at = np.arange(len(rows)), self.y[rows]
        loss = -log_p[at].mean()
        dy = np.exp(log_p)
        dy[at] -= 1
        dy /= len(rows)
        self.steps_done += 1
        t = self.steps_done
        rate = self.dtype.type(p.learning_rate * np.sqrt(1 - p.beta_2**t) / (1 - p.beta_1**t))
        found = []
        for i, layer in reversed(list(enumerate(self.layers))):
            gradients, dy = layer.backward(dy, i == 0)
            found.append((layer, gradients))
        for layer, gradients in found:
            layer.update(gradients, rate)
        return float(loss)

    def run(self, order):
        """Train on the batches; returns the mean loss."""
        return sum(self._step(rows) for rows in order) / len(order)

    def accuracy(self):
        """Accuracy on the test set."""
        found = self._outputs(self.problem.X_test.astype(self.dtype, copy=False), False).argmax(axis=1)
        return float((found == self.problem.y_test).mean())
