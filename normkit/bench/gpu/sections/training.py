"""A small MLP by MLPClassifier(device="cuda"), and with the modules of normkit.torch and torch's own.

These run eagerly, compiled, and in a CUDA graph. All have the same data, initial weights and order of rows. Before them
the engine behind the estimator is compared with the CPU's, norm by norm: the parameters after some epochs.
"""

import time
from typing import Any, NamedTuple

import torch
from torch import nn

from normkit.bench.gpu import engine, timing
from normkit.bench.gpu.sections import Item

SIZES = (784, 256, 128, 64, 10)
ROWS, LEARNING_RATE, EPSILON, MOMENTUM = 8192, 1e-3, 1e-3, 0.01
BATCHES = (64, 1024)
NORMS = ("batch_norm", "layer_norm")
COMPARED = {
    "batch_norm": "batch", "layer_norm": "layer", "rms_norm": "rms", "group_norm": "group", "dynamic_tanh": "dyt",
    "no norm": None,
}  # fmt: skip
CHECK_STEPS, STEPS = 8, 50
# of the mean loss of the first steps; TF32 is off, what is left is another order of sums, amplified by the training
TOLERANCE = 2e-2


class Engine(NamedTuple):
    """How it is called, whose norms it has, and what runs a step."""

    label: str
    own: bool
    way: str


ENGINES = {
    "normkit-cuda": Engine('MLPClassifier(device="cuda")', True, "engine"),
    "normkit": Engine("normkit.torch, eager", True, "eager"),
    "normkit-graph": Engine("normkit.torch, CUDA graph", True, "graph"),
    "normkit-compile": Engine("normkit.torch, torch.compile", True, "compile"),
    "torch": Engine("torch, eager", False, "eager"),
    "torch-compile": Engine("torch, torch.compile", False, "compile"),
    "torch-graph": Engine("torch, CUDA graph", False, "graph"),
    "torch-compile-graph": Engine("torch, torch.compile with CUDA graphs", False, "compile-graph"),
}
DRY = ("normkit-cuda", "normkit", "torch")
# of float64 parameters, relative to the largest: sums in another order, amplified by 15 steps
SAME = 1e-8


def items(run):
    """Return a case for each norm and batch size."""
    batches = (16,) if run.dry else BATCHES[:1] if run.quick else BATCHES
    same = [
        Item(
            f"parameters, {name} {position}",
            lambda name=name, position=position: _compare(run, name, position),
            {"function": name},
        )
        for name in COMPARED
        for position in ("before", "after")
    ]
    return same + [
        Item(f"{norm} batch {size}", lambda norm=norm, size=size: _measure(run, norm, size), {"function": norm})
        for norm in NORMS
        for size in batches
    ]


def _compare(run, name, position):
    # a dry run compares the CPU's engine with itself: one type is enough to compile
    dtype = "float32" if run.dry else "float64"
    difference = engine.compare(COMPARED[name], position, run.device.kind, dtype)
    return {
        "norm": name,
        "position": position,
        "difference": timing.number(difference),
        "right": difference <= SAME,
    }


def _norm(own, name, width):
    import normkit.torch

    namespace = normkit.torch if own else nn
    if name == "layer_norm":
        return namespace.LayerNorm(width, eps=EPSILON)
    return namespace.BatchNorm1d(width, eps=EPSILON, momentum=MOMENTUM)


def _network(own, norm, sizes, device):
    torch.manual_seed(0)  # the norms draw nothing: all engines begin with the same weights
    layers = []
    for inputs, outputs in zip(sizes[:-2], sizes[1:-1]):
        layers += [nn.Linear(inputs, outputs, bias=False), _norm(own, norm, outputs), nn.ELU()]
    layers.append(nn.Linear(*sizes[-2:]))
    return nn.Sequential(*layers).to(device)


class _Torch:
    """A network and its optimizer; `step(rows)` trains on a batch and returns its loss."""

    def __init__(self, engine, norm, sizes, X, y, batch):
        self.X, self.y = X, y
        self.model = _network(engine.own, norm, sizes, X.device)
        on_device = X.is_cuda
        self.optimizer = torch.optim.Adam(
            self.model.parameters(), lr=LEARNING_RATE, fused=True, capturable=on_device and "graph" in engine.way
        )
        self.loss_of = self._loss
        if engine.way.startswith("compile"):
            torch.compiler.reset()
            mode = "reduce-overhead" if engine.way == "compile-graph" else None
            self.loss_of = torch.compile(self._loss, dynamic=False, mode=mode)
        self.step = self._captured(batch) if engine.way == "graph" else self._step

    def _loss(self, X, y):
        return nn.functional.cross_entropy(self.model(X), y)

    def _step(self, rows):
        loss = self.loss_of(self.X.index_select(0, rows), self.y.index_select(0, rows))
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        return loss.detach()

    def _captured(self, batch):
        """Return a step that replays a graph; what the steps before the capture have learned is undone."""
        begun = {name: value.clone() for name, value in self.model.state_dict().items()}
        rows = torch.arange(batch, device=self.X.device)
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(3):
                self._step(rows)
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        self.optimizer.zero_grad(set_to_none=True)
        with torch.cuda.graph(graph):
            loss = self._step(rows)
        self.model.load_state_dict(begun)  # in place, as the graph needs it
        for state in self.optimizer.state.values():
            for value in state.values():
                value.zero_()
        self.graph = graph

        def step(given):
            rows.copy_(given)
            graph.replay()
            return loss.clone()

        return step


def launched(run):
    """Yield calls that launch what the section launches of normkit's engine."""
    for norm in COMPARED.values():
        for position in ("before", "after"):
            yield lambda norm=norm, position=position: engine.compare(norm, position, run.device.kind, epochs=1)
    for norm in NORMS:
        for batch in BATCHES:
            yield lambda norm=norm, batch=batch: _start(run, "normkit-cuda", norm, batch, *_data(run, batch))


class _Engine:
    """normkit's engine, which takes many steps at once."""

    def __init__(self, norm, sizes, X, y):
        model = _network(True, norm, sizes, "cpu")
        self._engine = engine.Engine(model, norm, sizes, X, y, EPSILON, LEARNING_RATE, MOMENTUM, X.device.type)
        self.many = self._engine.train


def _data(run, batch):
    generator = torch.Generator().manual_seed(1)
    rows = 8 * batch if run.dry else ROWS
    X = torch.rand(rows, SIZES[0], generator=generator)
    teacher = torch.randn(SIZES[0], SIZES[-1], generator=generator)
    y = ((X - 0.5) @ teacher).argmax(1)
    order = torch.randperm(rows, generator=generator)[: rows // batch * batch].reshape(-1, batch)
    return [a.to(run.device.kind) for a in (X, y, order)]


def _wall(run, made, order, steps):
    """Return microseconds a step of wall time, the device's work included."""
    if isinstance(made, _Engine):
        steps = steps if run.quick else engine.STEPS
        rows = order.cpu().numpy()
        rows = rows[[i % len(rows) for i in range(steps)]]
        made.many(rows[:1])
        began = time.perf_counter()
        made.many(rows)
        return 1e6 * (time.perf_counter() - began) / steps
    step = made.step
    step(order[0])
    run.device.synchronize()
    began = time.perf_counter()
    for i in range(steps):
        step(order[i % len(order)])
    run.device.synchronize()
    return 1e6 * (time.perf_counter() - began) / steps


def _start(name, norm, batch, X, y, order):
    """Return an engine that has made its first steps, and their mean loss."""
    if ENGINES[name].way == "engine":
        made = _Engine(norm, SIZES, X, y)
        return made, made.many(order.cpu().numpy()[[i % len(order) for i in range(CHECK_STEPS)]])
    network = _Torch(ENGINES[name], norm, SIZES, X, y, batch)
    losses = [network.step(order[i % len(order)]).clone() for i in range(CHECK_STEPS)]
    return network, float(torch.stack(losses).mean())


def _measure(run, norm, batch):
    torch.backends.cuda.matmul.allow_tf32 = False
    X, y, order = _data(run, batch)
    engines: dict[str, dict[str, Any]] = {}
    calls = {}
    for name in DRY if run.dry else ENGINES:
        try:
            made, loss = _start(name, norm, batch, X, y, order)
        except Exception as error:  # the others go on
            if not run.device.healthy():
                raise
            engines[name] = {"error": f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0][:200]}"}
            continue
        engines[name] = {"loss": loss}
        calls[name] = made
    wanted = engines.get("torch", {}).get("loss")
    for name in list(calls):
        loss = engines[name]["loss"]
        if wanted is not None and not abs(loss - wanted) <= TOLERANCE * wanted:
            engines[name]["error"] = f"mean loss {loss:.4g} after {CHECK_STEPS} steps, torch's is {wanted:.4g}"
            del calls[name]
    steps = 3 if run.quick else STEPS

    def sample(made, count):
        return [_wall(run, made, order, steps) for _ in range(max(1, count // 5))]

    for name, times in timing.interleaved(calls, sample, run.quick).items():
        engines[name]["step"] = times
    labels = {name: ENGINES[name].label for name in engines}
    right = not any("error" in row for name, row in engines.items() if ENGINES[name].own)
    return {"norm": norm, "batch": batch, "sizes": list(SIZES), "labels": labels, "engines": engines, "right": right}
