"""MLPRegressor: scikit-learn's, with norm layers, dropout and more activations."""

from sklearn import neural_network

from normkit.estimators._base import NormMLP


class MLPRegressor(NormMLP, neural_network.MLPRegressor):
    """Multilayer perceptron regressor with normalization layers.

    Everything of `sklearn.neural_network.MLPRegressor` holds: parameters, defaults, fitted attributes, methods.
    With ``normalization=None`` and the same `random_state` the numbers are scikit-learn's, to rounding.
    Training uses the statistics of the batch, prediction the moving ones. A last batch of a single row joins
    the one before where a norm averages over the batch, whose variance would otherwise be zero.

    Parameters
    ----------
    activation : {"identity", "logistic", "tanh", "relu", "elu", "leaky_relu", "selu", "gelu", "silu", \
            "softplus"}, default="relu"
        Activation of the hidden layers. leaky_relu has slope 0.01, gelu is the exact one.
    normalization : {None, "batch", "layer"}, default=None
        Norm layer of each hidden layer. None computes what scikit-learn computes.
    norm_position : {"before", "after"}, default="before"
        Norm before or after the activation. A dense layer that a norm follows directly has no bias: its entry
        of ``intercepts_`` is zero and not trained.
    normalize_input : bool, default=False
        Put a norm layer on the input as well (BatchNorm if `normalization` is None).
    norm_momentum : float in [0, 1], default=0.99
        Share of the moving statistics that a batch leaves as it was, Keras' convention
        (torch's `momentum` is one minus that). 0.9 suits small data.
    norm_epsilon : float, default=1e-3
        Added to the variance.
    norm_center, norm_scale : bool, default=True
        Whether norm layers have a trainable shift beta, scale gamma.
    norm_gamma_initializer : {"zeros", "ones"}, float or array-like, default="ones"
    norm_beta_initializer : {"zeros", "ones"}, float or array-like, default="zeros"
    norm_moving_mean_initializer : {"zeros", "ones"}, float or array-like, default="zeros"
    norm_moving_variance_initializer : {"zeros", "ones"}, float or array-like, default="ones"
        First values of the norm layers; an array must have the width of every normalized layer.
    dropout : float in [0, 1), default=0.0
        Share of each hidden layer's outputs set to zero in training, after norm and activation.
    kernel_initializer : {"sklearn", "he_normal", "he_uniform", "glorot_normal", "glorot_uniform", \
            "lecun_normal", "orthogonal"}, default="sklearn"
        First values of the weights. "sklearn" draws scikit-learn's numbers, biases included; with the others
        biases start at zero.
    n_threads : int, default=None
        Threads to train with. None: the cores this process may use, where the step is large enough for that.

    Attributes
    ----------
    norm_layers_ : list of NormLayer
        The norm layers from input to output, with `gamma`, `beta`, `moving_mean`, `moving_variance`.
    coefs_, intercepts_ : list of ndarray
        As in scikit-learn; views of the network's parameters.

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
        **NormMLP._parameter_constraints,
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
        norm_center=True,
        norm_scale=True,
        norm_gamma_initializer="ones",
        norm_beta_initializer="zeros",
        norm_moving_mean_initializer="zeros",
        norm_moving_variance_initializer="ones",
        dropout=0.0,
        kernel_initializer="sklearn",
        n_threads=None,
    ):
        super().__init__(
            loss=loss,
            hidden_layer_sizes=hidden_layer_sizes,
            activation=activation,
            solver=solver,
            alpha=alpha,
            batch_size=batch_size,
            learning_rate=learning_rate,
            learning_rate_init=learning_rate_init,
            power_t=power_t,
            max_iter=max_iter,
            shuffle=shuffle,
            random_state=random_state,
            tol=tol,
            verbose=verbose,
            warm_start=warm_start,
            momentum=momentum,
            nesterovs_momentum=nesterovs_momentum,
            early_stopping=early_stopping,
            validation_fraction=validation_fraction,
            beta_1=beta_1,
            beta_2=beta_2,
            epsilon=epsilon,
            n_iter_no_change=n_iter_no_change,
            max_fun=max_fun,
        )
        self.normalization = normalization
        self.norm_position = norm_position
        self.normalize_input = normalize_input
        self.norm_momentum = norm_momentum
        self.norm_epsilon = norm_epsilon
        self.norm_center = norm_center
        self.norm_scale = norm_scale
        self.norm_gamma_initializer = norm_gamma_initializer
        self.norm_beta_initializer = norm_beta_initializer
        self.norm_moving_mean_initializer = norm_moving_mean_initializer
        self.norm_moving_variance_initializer = norm_moving_variance_initializer
        self.dropout = dropout
        self.kernel_initializer = kernel_initializer
        self.n_threads = n_threads
