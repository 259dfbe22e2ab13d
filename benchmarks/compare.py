"""Time the same grid of runs with normkit compare, torch and Keras, each in the same number of processes.

Twelve conditions by default, all with several seeds: the same splits, network, optimizer, epochs and batch sizes, and
loss and score of training and validation set after each epoch. The time is that of the whole command: imports, starting
the processes, all runs. What is compiled on first use is compiled before.
"""

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import click

HIDDEN = (64, 64)
RATE, MOMENTUM, EPSILON = 0.001, 0.9, 1e-3  # of the norm's statistics Keras' momentum
ENGINES = ("normkit", "torch", "keras")
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "TF_NUM_INTRAOP_THREADS",
            "TF_NUM_INTEROP_THREADS")  # fmt: skip


def train_torch(sets, norm, batch_size, seed, epochs):
    """Train eagerly on tensors that are there, with the fused Adam: the fastest plain way on a CPU."""
    import torch
    from torch import nn

    torch.set_num_threads(1)
    torch.manual_seed(seed)
    layers, width = [], sets["X_train"].shape[1]
    for units in HIDDEN:
        layers.append(nn.Linear(width, units, bias=norm == "none"))
        nn.init.kaiming_normal_(layers[-1].weight, nonlinearity="relu")
        if norm == "batch":
            layers.append(nn.BatchNorm1d(units, eps=EPSILON, momentum=1 - MOMENTUM))
        elif norm == "layer":
            layers.append(nn.LayerNorm(units, eps=EPSILON))
        layers.append(nn.ReLU())
        width = units
    model = nn.Sequential(*layers, nn.Linear(width, int(sets["y_train"].max()) + 1))
    loss_of, optimizer = nn.CrossEntropyLoss(), torch.optim.Adam(model.parameters(), RATE, fused=True)
    X, y, X_val, y_val, X_test, y_test = (
        torch.from_numpy(sets[f"{array}_{part}"]) for part in ("train", "val", "test") for array in "Xy"
    )

    def measure(X, y):
        model.eval()
        with torch.inference_mode():
            outputs = model(X)
            return loss_of(outputs, y).item(), (outputs.argmax(1) == y).float().mean().item()

    curves = []
    for _ in range(epochs):
        model.train()
        for rows in torch.randperm(len(X)).split(batch_size):
            if norm == "batch" and len(rows) == 1:
                continue
            optimizer.zero_grad()
            loss_of(model(X[rows]), y[rows]).backward()
            optimizer.step()
        curves.append((*measure(X, y), *measure(X_val, y_val)))
    return measure(X_test, y_test)[1]


def train_keras(sets, norm, batch_size, seed, epochs):
    """Train with `fit`; training loss and score are those it collects on the way."""
    import keras

    keras.utils.set_random_seed(seed)
    model = keras.Sequential([keras.Input((sets["X_train"].shape[1],))])
    for units in HIDDEN:
        model.add(keras.layers.Dense(units, use_bias=norm == "none", kernel_initializer="he_normal"))
        if norm == "batch":
            model.add(keras.layers.BatchNormalization(momentum=MOMENTUM, epsilon=EPSILON))
        elif norm == "layer":
            model.add(keras.layers.LayerNormalization(epsilon=EPSILON))
        model.add(keras.layers.ReLU())
    model.add(keras.layers.Dense(int(sets["y_train"].max()) + 1))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(RATE), loss, metrics=["accuracy"])
    model.fit(
        sets["X_train"], sets["y_train"], batch_size, epochs, verbose=0,
        validation_data=(sets["X_val"], sets["y_val"]),
    )  # fmt: skip
    return model.evaluate(sets["X_test"], sets["y_test"], verbose=0)[1]


def _peer_run(engine, folder, norm, batch_size, seed, epochs):
    import numpy as np

    with np.load(Path(folder) / f"{seed}.npz") as archive:
        sets = dict(archive)
    train = train_torch if engine == "torch" else train_keras
    return norm, batch_size, train(sets, norm, batch_size, seed, epochs)


def run_peer(request):
    """Do the grid of a request with a peer; prints mean test scores as JSON."""
    from concurrent.futures import ProcessPoolExecutor, as_completed
    from multiprocessing import get_context

    conditions = [(norm, size) for size in request["batch_sizes"] for norm in request["norms"]]
    scores = {}
    with ProcessPoolExecutor(request["jobs"], get_context("spawn")) as pool:
        futures = [
            pool.submit(_peer_run, request["engine"], request["folder"], norm, size, seed, request["epochs"])
            for seed in range(request["seeds"])
            for norm, size in conditions
        ]
        for future in as_completed(futures):
            norm, size, score = future.result()
            scores.setdefault(f"{norm} {size}", []).append(score)
    print(json.dumps({name: sum(each) / len(each) for name, each in scores.items()}))


def _command(engine, request):
    if engine != "normkit":
        return [sys.executable, __file__, "--peer", json.dumps({**request, "engine": engine})]
    lists = {name: ",".join(map(str, request[name])) for name in ("norms", "batch_sizes")}
    return [
        sys.executable, "-m", "normkit", "compare", "--dataset", request["dataset"], "--batch-sizes",
        lists["batch_sizes"], "--norms", lists["norms"], "--seeds", str(request["seeds"]), "--epochs",
        str(request["epochs"]), "--jobs", str(request["jobs"]), "--quiet", "--format", "json",
    ]  # fmt: skip


def measure(engine, request):
    """Return seconds and mean test scores of an engine's grid, in processes of one thread each."""
    environment = {**os.environ, **dict.fromkeys(_THREADS, "1"), "TF_CPP_MIN_LOG_LEVEL": "3", "JAX_PLATFORMS": "cpu"}
    environment["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false"
    began = time.perf_counter()
    done = subprocess.run(_command(engine, request), env=environment, capture_output=True, text=True)
    seconds = time.perf_counter() - began
    if done.returncode:
        raise click.ClickException(f"{engine} failed: {done.stderr.strip().splitlines()[-1]}")
    found = json.loads(done.stdout)
    if engine == "normkit":
        found = {
            f"{cell['config']['normalization']} {cell['config']['batch_size']}": cell["test_score"]
            for cell in found["cells"]
        }
    return {"seconds": seconds, "test_scores": found}


def _save_splits(folder, dataset, seeds):
    import numpy as np

    from normkit.experiments import data

    loaded = data.load(dataset)
    for seed in range(seeds):
        split = data.split(loaded, seed)
        names = [f"{array}_{part}" for part in ("train", "val", "test") for array in "Xy"]
        np.savez(Path(folder) / f"{seed}.npz", **{name: np.ascontiguousarray(getattr(split, name)) for name in names})


def _versions():
    found = {}
    for package in ("normkit", "numba", "numpy", "torch", "keras", "tensorflow", "tensorflow-cpu", "jax"):
        with contextlib.suppress(PackageNotFoundError):
            found[package] = version(package)
    return {**found, "keras_backend": os.environ.get("KERAS_BACKEND", "tensorflow")}


@click.command(context_settings={"show_default": True})
@click.option("--dataset", default="digits")
@click.option("--norms", default="none,batch,layer")
@click.option("--batch-sizes", default="8,16,32,128")
@click.option("--seeds", type=click.IntRange(1), default=5)
@click.option("--epochs", type=click.IntRange(1), default=30)
@click.option("--jobs", type=click.IntRange(1), default=2, help="Processes.")
@click.option("--engines", default=",".join(ENGINES))
@click.option("--repeats", type=click.IntRange(1), default=1, help="Of the whole grid, one engine after the other.")
@click.option("--output", type=click.Path(dir_okay=False, path_type=Path), help="JSON file to write.")
@click.option("--peer", hidden=True)
def main(dataset, norms, batch_sizes, seeds, epochs, jobs, engines, repeats, output, peer):
    """Time the grid of `normkit compare` against the same grid written for torch and Keras."""
    if peer:
        run_peer(json.loads(peer))
        return
    names = engines.split(",")
    if unknown := set(names) - set(ENGINES):
        raise click.BadParameter(f"unknown {', '.join(unknown)}; known are {', '.join(ENGINES)}")
    from normkit.bench import machine

    request = {
        "dataset": dataset, "norms": norms.split(","), "batch_sizes": [int(size) for size in batch_sizes.split(",")],
        "seeds": seeds, "epochs": epochs, "jobs": jobs,
    }  # fmt: skip
    company, seconds, scores = machine.Company(), {name: [] for name in names}, {}
    with tempfile.TemporaryDirectory() as folder:
        _save_splits(folder, dataset, seeds)
        for name in names:  # what is compiled at first use is on the disk then
            measure(name, {**request, "folder": folder, "seeds": 1, "epochs": 1, "batch_sizes": [128]})
        for _ in range(repeats):
            for name in names:
                found = measure(name, {**request, "folder": folder})
                seconds[name].append(found["seconds"])
                scores[name] = found["test_scores"]
                ratio = seconds[name][-1] / seconds[names[0]][-1]
                click.echo(f"{name}: {seconds[name][-1]:.1f} s, {ratio:.1f} times {names[0]}'s")
    result = {
        "kind": "compare", "machine": machine.describe(), "versions": _versions(), **request, "hidden": HIDDEN,
        "seconds": seconds, "test_scores": scores, "share_of_other_processes": company.share(),
    }  # fmt: skip
    if output:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
