"""Keras with the TensorFlow backend: Model.fit on a tf.data pipeline of gathered batches."""

import keras
import tensorflow as tf
from keras import layers


class Engine:
    """`fit` as users call it, the order of the rows given as a dataset of indices (as Keras does inside)."""

    def __init__(self, problem, steps_per_execution=1):
        tf.config.threading.set_intra_op_parallelism_threads(problem.threads)
        tf.config.threading.set_inter_op_parallelism_threads(problem.threads)
        self.problem, self.steps_per_execution = problem, steps_per_execution
        self.X, self.y = tf.constant(problem.X), tf.constant(problem.y, tf.int32)

    def prepare(self, batch_size):
        """Start anew from the problem's initial weights."""
        p = self.problem
        keras.backend.clear_session()
        *hidden, last = p.kernels()
        stack = [keras.Input((p.sizes[0],))]
        for kernel in hidden:
            stack.append(layers.Dense(kernel.shape[1], use_bias=False))
            stack.append(layers.BatchNormalization(momentum=p.norm_momentum, epsilon=p.norm_epsilon))
            stack.append(layers.Activation("elu"))
        stack.append(layers.Dense(last.shape[1]))
        self.model = keras.Sequential(stack)
        dense = [layer for layer in self.model.layers if isinstance(layer, layers.Dense)]
        for layer, kernel in zip(dense, [*hidden, last]):
            layer.kernel.assign(kernel)
        self.model.compile(
            keras.optimizers.Adam(p.learning_rate, p.beta_1, p.beta_2, p.adam_epsilon),
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            steps_per_execution=self.steps_per_execution,
        )

    def run(self, order):
        """Train on the batches; returns the mean loss."""
        X, y = self.X, self.y
        batches = tf.data.Dataset.from_tensor_slices(order.astype("int32"))
        batches = batches.map(lambda rows: (tf.gather(X, rows), tf.gather(y, rows))).prefetch(tf.data.AUTOTUNE)
        return self.model.fit(batches, epochs=1, verbose=0).history["loss"][-1]

    def accuracy(self):
        """Accuracy on the test set."""
        found = self.model.predict(self.problem.X_test, batch_size=1000, verbose=0).argmax(axis=1)
        return float((found == self.problem.y_test).mean())
