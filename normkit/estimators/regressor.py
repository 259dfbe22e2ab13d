"""MLPRegressor: scikit-learn's, with norm layers, dropout and more activations."""

from sklearn import neural_network
from sklearn.utils import check_array, check_consistent_length

from normkit.estimators._exporting import ExportingMLP
from normkit.estimators._parameters import CONSTRAINTS, set_parameters
from normkit.estimators._persistence import saved


@saved
class MLPRegressor(ExportingMLP, neural_network.MLPRegressor):
    """Multilayer perceptron regressor with normalization layers.

    Everything of `sklearn.neural_network.MLPRegressor` holds: parameters, defaults, fitted attributes, methods.
    With ``normalization=None`` and the same `random_state` the numbers are scikit-learn's, to rounding.
    Training uses the statistics of the batch, prediction the moving ones. A last batch of a single row joins
    the one before where a norm averages over the batch, whose variance would otherwise be zero.

    Parameters
    ----------
    activation : str or list of str, default="relu"
        Activation of the hidden layers, or of each: "identity", "logistic", "tanh", "relu", "elu", "leaky_relu"
        (slope 0.01), "selu", "gelu" (the exact one), "silu", "softplus".
    normalization : {None, "batch", "layer", "rms", "group", "ghost", "renorm", "dyt"}, default=None
        Norm layer of each hidden layer. None computes what scikit-learn computes. "batch" averages over the batch;
        "ghost" over parts of it (Hoffer et al. 2017), "renorm" corrects the batch's statistics towards the moving
        ones (Ioffe 2017). "layer" averages over the features of a sample, "group" over groups of consecutive ones
        (Wu and He 2018), "rms" their squares, without centring or beta (Zhang and Sennrich 2019). "dyt" computes
        ``gamma * tanh(alpha * x) + beta`` in place of a norm (Zhu et al. 2025).
    norm_position : {"before", "after"}, default="before"
        Norm before or after the activation. A dense layer that a norm follows directly has no bias: its entry
        of ``intercepts_`` is zero and not trained. "rms" and "dyt" do not centre and leave it its bias.
    normalize_input : bool, default=False
        Put a norm layer on the input as well (BatchNorm if `normalization` is None).
    norm_momentum : float in [0, 1] or None, default=0.99
        Share of the moving statistics that a batch leaves as it was, Keras' convention
        (torch's `momentum` is one minus that). 0.9 suits small data: the statistics, by which early stopping
        measures as well, need some ``3 / (1 - norm_momentum)`` batches to describe anything. None: they are the
        average over all batches trained with None, each of the same weight, also over several calls of
        `partial_fit`; for weights that move little any more, since the first batches count as much as the last.
    norm_epsilon : float, default=1e-3
        Added to the variance, or to the mean square of "rms".
    norm_groups : int, default=8
        Groups of "group". Must divide the width of every normalized layer, into groups of at least 2 features.
    virtual_batch_size : int, default=32
        Rows of a batch that "ghost" normalizes together: ``max(1, n // virtual_batch_size)`` consecutive parts, the
        last of which takes the remainder. The moving statistics move once a part, in order, as if it were a batch.
    renorm_r_max, renorm_d_max : float, default=3.0, 5.0
        Limits of the correction of "renorm": r within [1 / r_max, r_max], d within [-d_max, d_max]. 1 and 0 make it
        "batch", with which Ioffe trains first: `epoch_callback` may raise them.
    dyt_alpha : float, default=0.5
        First value of the trainable alpha of each layer of "dyt".
    freeze_norm : bool or "statistics", default=False
        For fine-tuning with `warm_start` or `partial_fit`. "statistics": training normalizes with the moving
        statistics as prediction does, and leaves them. True: gamma, beta and alpha stay as well, of any norm; so
        does a layer of Keras with ``trainable=False``.
    norm_noise : float, default=0.0
        Noise after each norm in training (Santurkar et al. 2018, "noisy BatchNorm", who ask whether a norm helps by
        keeping distributions stable). The norm's output y of a unit becomes ``s * y + m``. At each step each unit draws
        mu from U(-c, c) and sigma from U(1, 1 + c / 2), c being `norm_noise`; then for each sample m comes from
        U(mu - c / 5, mu + c / 5) and s from N(sigma, c / 5), its standard deviation. 0.5 gives their constants.
        The gradient is exact for the noise drawn. Needs a norm, and solver "adam" or "sgd".
    norm_center, norm_scale : bool, default=True
        Whether norm layers have a trainable shift beta, scale gamma.
    norm_gamma_initializer : {"zeros", "ones"}, float or array-like, default="ones"
    norm_beta_initializer : {"zeros", "ones"}, float or array-like, default="zeros"
    norm_moving_mean_initializer : {"zeros", "ones"}, float or array-like, default="zeros"
    norm_moving_variance_initializer : {"zeros", "ones"}, float or array-like, default="ones"
        First values of the norm layers; an array must have the width of every normalized layer.
    dropout : float in [0, 1) or list of float, default=0.0
        Share of each hidden layer's outputs set to zero in training, after norm and activation.
    kernel_initializer : {"sklearn", "he_normal", "he_uniform", "glorot_normal", "glorot_uniform", \
            "lecun_normal", "orthogonal"}, default="sklearn"
        First values of the weights. "sklearn" draws scikit-learn's numbers, biases included; with the others
        biases start at zero.
    coefs_init, intercepts_init : list of array-like, default=None
        First values of `coefs_` and `intercepts_` instead of drawn ones. A layer without bias takes zeros.
    decoupled_weight_decay : float, default=0.0
        Each step takes ``learning rate * decoupled_weight_decay`` of every weight (AdamW, Loshchilov and Hutter
        2019), biases and norms excepted. `alpha` is the L2 penalty, which goes through the optimizer.
    warmup_epochs : float, default=0.0
        Epochs over which the learning rate rises linearly from zero, step by step.
    learning_rate_decay : {None, "cosine"}, default=None
        "cosine" lowers the learning rate to zero over the rest of `max_iter` epochs (Loshchilov and Hutter 2017).
    last_batch : {"auto", "keep", "merge", "drop"}, default="auto"
        A last batch that is smaller than the others is used as it is, joins the one before, or is left out.
        "auto" merges a last batch of one row where a norm averages over the batch, and keeps any other.
    input_scale : float, default=1.0
        Factor of every value of X, applied as rows are read: 1 / 255 for images of bytes.
    dtype : {None, "float32", "float64"}, default=None
        Precision of the training. None: float32 for float32 data, else float64, as in scikit-learn, whose
        "lbfgs" alone is always float64.
    epoch_callback : callable, default=None
        Called with the model after each epoch; training stops when it returns True. `set_callbacks` takes
        scikit-learn's callbacks.
    n_threads : int, default=None
        Threads to train with, at most: a network or batch too small to gain uses one. None: the cores this process
        may use.
    device : {"cpu", "cuda"}, default="cpu"
        Where the model is trained. "cuda": on the current NVIDIA GPU, in CUDA graphs, with norms "batch", "layer",
        "rms", "group" and "dyt" and the same random numbers; needs ``pip install 'normkit[cuda]'``. `fit`,
        `partial_fit` and `validation_data` then also take arrays on the GPU, of all libraries with
        ``__cuda_array_interface__``. A fitted model needs no GPU: a prediction runs where its X is, and is a NumPy
        array.

    Attributes
    ----------
    norm_layers_ : list of NormLayer
        The norm layers from input to output, with `gamma`, `beta`, `moving_mean`, `moving_variance`, `alpha`.
    coefs_, intercepts_ : list of ndarray
        As in scikit-learn; views of the network's parameters.
    history_ : dict of list
        Per epoch: "loss" (`loss_curve_`); with validation data, or rows held out for early stopping, "val_loss"
        and "val_score"; with validation data also "score", of the training rows as the model predicts them.

    See Also
    --------
    sklearn.neural_network.MLPRegressor : The parameters that are not listed here.

    Examples
    --------
    >>> from sklearn.datasets import make_regression
    >>> from normkit import MLPRegressor
    >>> X, y = make_regression(200, 5, random_state=0)
    >>> model = MLPRegressor(hidden_layer_sizes=(32,), normalization="layer", max_iter=100, random_state=0,
    ...                      learning_rate_init=0.05, n_iter_no_change=100, tol=0).fit(X, y)
    >>> bool(model.score(X, y) > 0.9)
    True
    """

    _parameter_constraints: dict = {
        **neural_network.MLPRegressor._parameter_constraints,
        **CONSTRAINTS,
    }

    def __init__(
        self,
        loss="squared_error",
        hidden_layer_sizes=(100,),
        activation="relu",
        *,
        solver="adam",
        alpha=0.0001,
        batch_size="auto",
        learning_rate="constant",
        learning_rate_init=0.001,
        power_t=0.5,
        max_iter=200,
        shuffle=True,
        random_state=None,
        tol=1e-4,
        verbose=False,
        warm_start=False,
        momentum=0.9,
        nesterovs_momentum=True,
        early_stopping=False,
        validation_fraction=0.1,
        beta_1=0.9,
        beta_2=0.999,
        epsilon=1e-8,
        n_iter_no_change=10,
        max_fun=15000,
        normalization=None,
        norm_position="before",
        normalize_input=False,
        norm_momentum=0.99,
        norm_epsilon=1e-3,
        norm_groups=8,
        virtual_batch_size=32,
        renorm_r_max=3.0,
        renorm_d_max=5.0,
        dyt_alpha=0.5,
        freeze_norm=False,
        norm_noise=0.0,
        norm_center=True,
        norm_scale=True,
        norm_gamma_initializer="ones",
        norm_beta_initializer="zeros",
        norm_moving_mean_initializer="zeros",
        norm_moving_variance_initializer="ones",
        dropout=0.0,
        kernel_initializer="sklearn",
        coefs_init=None,
        intercepts_init=None,
        decoupled_weight_decay=0.0,
        warmup_epochs=0.0,
        learning_rate_decay=None,
        last_batch="auto",
        input_scale=1.0,
        dtype=None,
        epoch_callback=None,
        n_threads=None,
        device="cpu",
    ):
        set_parameters(self, locals())

    def _check_targets(self, X, y, incremental, reset):
        X, y = self._check_data(X, y, reset, y_numeric=True)
        y = self._column(y)
        self.n_outputs_ = self._checked_outputs(y, None if reset else self.coefs_[-1].shape[1])
        return X, y

    def _checked_outputs(self, y, outputs):
        """Return the number of columns, None for any, of values that the loss can be taken of."""
        got = 1 if y.ndim == 1 else y.shape[1]
        if outputs not in (None, got):
            raise ValueError(f"y must have {outputs} columns, as many as the model has outputs, got {got}")
        if self.loss == "poisson" and y.min() < 0:
            raise ValueError(f"y must not be negative with loss='poisson', got {y.min():g}")
        return got

    def _check_labels(self, y, X):
        y = self._column(check_array(y, ensure_2d=False, dtype="numeric", input_name="y"))
        check_consistent_length(X, y)
        self._checked_outputs(y, self.n_outputs_)
        return y

    def _output_activation(self):
        return "exp" if self.loss == "poisson" else "identity"

    def _encode(self, labels):
        return labels.reshape(len(labels), -1)

    def _decode(self, outputs):
        return outputs.ravel() if self.n_outputs_ == 1 else outputs
