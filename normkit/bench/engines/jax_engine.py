"""JAX: all steps in one jitted lax.scan, buffers donated, rows gathered within it."""

import jax
import jax.numpy as jnp
import numpy as np


def _functions(p):
    """Return the jitted epoch and the jitted outputs in inference mode."""

    def forward(params, moving, X, training):
        new = []
        for layer, (mean, var) in zip(params[:-1], moving):
            z = X @ layer["kernel"]
            if training:
                batch_mean = z.mean(axis=0)
                batch_var = jnp.square(z - batch_mean).mean(axis=0)
                keep = p.norm_momentum
                new.append((keep * mean + (1 - keep) * batch_mean, keep * var + (1 - keep) * batch_var))
                mean, var = batch_mean, batch_var
            z = (z - mean) * jax.lax.rsqrt(var + p.norm_epsilon) * layer["gamma"] + layer["beta"]
            X = jax.nn.elu(z)
        return X @ params[-1]["kernel"] + params[-1]["bias"], new

    def loss_of(params, moving, X, y):
        logits, moving = forward(params, moving, X, True)
        log_p = jax.nn.log_softmax(logits)
        return -jnp.take_along_axis(log_p, y[:, None], axis=1).mean(), moving

    def step(state, rows, X, y):
        params, moving, first, second, t = state
        # a plain X[rows] would test each index
        X, y = (a.at[rows].get(mode="promise_in_bounds") for a in (X, y))
        (loss, moving), grads = jax.value_and_grad(loss_of, has_aux=True)(params, moving, X, y)
        t = t + 1
        rate = p.learning_rate * jnp.sqrt(1 - p.beta_2**t) / (1 - p.beta_1**t)
        first = jax.tree.map(lambda m, g: p.beta_1 * m + (1 - p.beta_1) * g, first, grads)
        second = jax.tree.map(lambda v, g: p.beta_2 * v + (1 - p.beta_2) * g * g, second, grads)
        params = jax.tree.map(lambda w, m, v: w - rate * m / (jnp.sqrt(v) + p.adam_epsilon), params, first, second)
        return (params, moving, first, second, t), loss

    def epoch(state, order, X, y):
        state, losses = jax.lax.scan(lambda state, rows: step(state, rows, X, y), state, order)
        return state, losses.mean()

    outputs = jax.jit(lambda state, X: forward(state[0], state[1], X, False)[0])
    return jax.jit(epoch, donate_argnums=0), outputs


class Engine:
    """Adam written out; its epsilon stands where scikit-learn and Keras put it."""

    compiles_number_of_steps = True

    def __init__(self, problem):
        self.problem = problem
        self.epoch, self.outputs = _functions(problem)
        self.X, self.y = jnp.asarray(problem.X), jnp.asarray(problem.y, jnp.int32)

    def prepare(self, batch_size):
        """Start anew from the problem's initial weights."""
        *hidden, last = self.problem.kernels()
        params = [
            {"kernel": k, "gamma": np.ones(k.shape[1], k.dtype), "beta": np.zeros(k.shape[1], k.dtype)} for k in hidden
        ]
        params.append({"kernel": last, "bias": np.zeros(last.shape[1], last.dtype)})
        moving = [(np.zeros(k.shape[1], k.dtype), np.ones(k.shape[1], k.dtype)) for k in hidden]
        zeros = [jax.tree.map(np.zeros_like, params) for _ in range(2)]
        self.state = jax.tree.map(jnp.array, (params, moving, *zeros, np.float32(0)))

    def run(self, order):
        """Train on the batches; returns the mean loss."""
        self.state, loss = self.epoch(self.state, jnp.asarray(order, jnp.int32), self.X, self.y)
        jax.block_until_ready(self.state)
        return float(loss)

    def accuracy(self):
        """Accuracy on the test set."""
        found = np.asarray(self.outputs(self.state, self.problem.X_test)).argmax(axis=1)
        return float((found == self.problem.y_test).mean())
