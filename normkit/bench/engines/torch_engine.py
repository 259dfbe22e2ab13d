"""PyTorch on the CPU: eager or compiled, Adam one tensor at a time or fused."""

import torch
from torch import nn


def _network(problem):
    layers = []
    *hidden, last = problem.kernels()
    for kernel in hidden:
        layers.append(nn.Linear(*kernel.shape, bias=False))
        # torch's momentum is the share taken in
        layers.append(nn.BatchNorm1d(kernel.shape[1], eps=problem.norm_epsilon, momentum=1 - problem.norm_momentum))
        layers.append(nn.ELU())
    layers.append(nn.Linear(*last.shape))
    model = nn.Sequential(*layers)
    dense = [layer for layer in layers if isinstance(layer, nn.Linear)]
    with torch.no_grad():
        for layer, kernel in zip(dense, [*hidden, last]):
            layer.weight.copy_(torch.from_numpy(kernel.T.copy()))
        dense[-1].bias.zero_()
    return model


class Engine:
    """torch's usual loop at its leanest: no DataLoader, batches by index_select, gradients set to None."""

    def __init__(self, problem, fused=False, compiled=False):
        # denormal moments of rarely lit pixels would slow Adam down; the others flush them by default
        torch.set_flush_denormal(True)
        torch.set_num_threads(problem.threads)
        self.problem, self.fused, self.compiled = problem, fused, compiled
        self.X, self.y = torch.from_numpy(problem.X), torch.from_numpy(problem.y)

    def prepare(self, batch_size):
        """Start anew from the problem's initial weights."""
        p = self.problem
        torch.compiler.reset()
        self.model = model = _network(p)
        self.optimizer = torch.optim.Adam(
            model.parameters(), lr=p.learning_rate, betas=(p.beta_1, p.beta_2), eps=p.adam_epsilon,
            fused=self.fused or None,
        )  # fmt: skip

        def loss_of(X, y):
            return nn.functional.cross_entropy(model(X), y)

        self.loss_of = torch.compile(loss_of, dynamic=False) if self.compiled else loss_of

    def run(self, order):
        """Train on the batches; returns the mean loss."""
        self.model.train()
        X, y, loss_of, optimizer = self.X, self.y, self.loss_of, self.optimizer
        total = torch.zeros(())
        for rows in torch.from_numpy(order):
            loss = loss_of(torch.index_select(X, 0, rows), torch.index_select(y, 0, rows))
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            total += loss.detach()
        return float(total) / len(order)

    def accuracy(self):
        """Accuracy on the test set."""
        self.model.eval()
        with torch.inference_mode():
            found = self.model(torch.from_numpy(self.problem.X_test)).argmax(dim=1).numpy()
        return float((found == self.problem.y_test).mean())
