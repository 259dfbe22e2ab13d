"""Write the model files that later releases must load, with what they predict; run once for each schema."""

import json
import sys
import warnings
from pathlib import Path

import numpy as np

import normkit

HERE = Path(__file__).parent


def models():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(80, 6))  # (samples, features)
    words = np.array(["hi", "low", "middle"])[(X[:, 0] > 0).astype(int) + (X[:, 1] > 0.5)]
    common = {"max_iter": 4, "batch_size": 20, "random_state": 0}
    yield (
        "classifier-batch", X,
        normkit.MLPClassifier((8, 5), "elu", normalization="batch", dropout=0.2, **common).fit(X, words),
    )  # fmt: skip
    yield (
        "multilabel-group", X,
        normkit.MLPClassifier((8,), normalization="group", norm_groups=2, solver="sgd", **common).fit(
            X, (X[:, :3] > 0).astype(int)
        ),
    )  # fmt: skip
    yield (
        "regressor-dyt", X,
        normkit.MLPRegressor(
            hidden_layer_sizes=(7,), normalization="dyt", norm_position="after", normalize_input=True, dtype="float32",
            **common,
        ).fit(X, X[:, :2] ** 2),
    )  # fmt: skip
    yield "regressor-poisson", X, normkit.MLPRegressor("poisson", (6,), "tanh", **common).fit(X, np.exp(X[:, 0]))


def outputs(model, X):
    return model.predict_proba(X) if isinstance(model, normkit.MLPClassifier) else model.predict(X)


if __name__ == "__main__":
    schema = sys.argv[1]
    warnings.simplefilter("ignore")  # four epochs do not converge
    for name, X, model in models():
        stem = f"model-schema-{schema}-{name}"
        model.save(HERE / f"{stem}.safetensors")
        expected = {"X": X[:10].tolist(), "outputs": outputs(model, X[:10]).tolist(),
                    "predictions": model.predict(X[:10]).tolist()}  # fmt: skip
        (HERE / f"{stem}.json").write_text(json.dumps(expected))
