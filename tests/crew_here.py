"""A crew of the benchmark that works in the process of the test: no starts, and a peer can be made to go wrong."""

import importlib

from normkit.bench.processes import EngineFailed


class Here:
    """Stands in for `processes.Crew`."""

    def __init__(self, folder, cores, entries, command, cold=False):
        self.module, self.folder = importlib.import_module(command[0]), folder
        self.arguments = [int(value) for value in command[1:]]
        self.workers, self.absent = {}, {}

    def start(self, stack, names):
        self.workers = {name: self.module.Worker(name, self.folder, *self.arguments) for name in names}

    def import_together(self):
        return {name: worker.ready() for name, worker in self.workers.items()}

    def ask(self, name, do, **request):
        try:
            return getattr(self.workers[name], do)(**request)
        except Exception as error:
            raise EngineFailed(f"{type(error).__name__}: {error}") from None
