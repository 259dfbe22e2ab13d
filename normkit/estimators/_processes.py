"""The processes that a fit runs in: one, unless `normkit.distributed` says otherwise."""


class OneProcess:
    """What a fit asks of the processes that train together, and the answers of one that trains alone."""

    def same(self, **values):
        """Raise unless all processes have the same values."""

    def labels(self, y):
        """Return labels among which are those of all processes."""
        return y

    def total(self, count):
        """Return the sum of the processes' numbers of samples."""
        return count

    def part(self, edges):
        """Return the boundaries of this process' parts of the batches, of whose boundaries `total` is the last."""
        return edges

    def shuffle(self, random_state, order):
        """Shuffle this process' samples in place."""
        random_state.shuffle(order)

    def first(self, function):
        """Return what the function returns in the first process."""
        return function()

    def any(self, flag):
        """Return whether the flag is set in any process."""
        return flag

    def begin(self, trainer):
        """Let all processes train from the same state."""

    def run(self, trainer, *arguments):
        """One epoch; returns the mean loss of a sample."""
        return trainer.run(*arguments)

    def interrupted(self):
        """Let all processes stop."""
