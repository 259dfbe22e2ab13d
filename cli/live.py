"""What is seen while an experiment runs, on standard error: a table that fills in, or lines where it is no terminal."""

import contextlib
import itertools
import time

from .tables import factor_text, factors, rich_table, score_name


def compiling_notice(console):
    """Context that tells on a console when compilation takes longer than a second."""
    from normkit._jit import tell_when_compiling

    return tell_when_compiling(lambda: console.print("Compiling, about 25 seconds; the machine code is kept."))


class Quiet:
    """Shows nothing."""

    def __init__(self, console):
        self.console = console

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        """Nothing is to be taken down."""

    def note(self, text):
        """Tell something that is no result."""

    def add(self, run):
        """Show a run that has ended."""

    @contextlib.contextmanager
    def compiling(self):
        """Tell when compiling takes longer than a second."""
        yield


class Lines(Quiet):
    """A line for each run."""

    def __init__(self, console, conditions, runs, total):
        super().__init__(console)
        self._factors = factors(conditions)
        self._done, self._total = len(runs), total

    def note(self, text):
        """Tell something that is no result."""
        self.console.print(text, soft_wrap=not self.console.is_terminal)

    def add(self, run):
        """Print a line."""
        self._done += 1
        condition = run.config
        name = [f"batch size {condition.batch_size}", condition.choice]
        name += [f"{head} {factor_text(condition, factor)}" for factor, head in self._factors.items()]
        name += [f"seed {run.seed}"] + [f"fold {run.fold}"] * (run.fold > 0)
        result = run.error if run.test_score is None else f"{score_name(run.metric)} {run.test_score:.4f}"
        width = len(str(self._total))
        self.note(f"[{self._done:>{width}}/{self._total}] {', '.join(name)}: {result} ({run.seconds:.2f} s)")

    @contextlib.contextmanager
    def compiling(self):
        """Tell when compiling takes longer than a second."""
        with compiling_notice(self.console):
            yield


class LiveTable(Lines):
    """A table of the cells, with mean scores so far, under a line of progress."""

    def __init__(self, console, conditions, runs, total, metric):
        from rich.live import Live

        super().__init__(console, conditions, runs, total)
        self._metric = metric
        self._runs: dict = {condition: [] for condition in conditions}
        for run in runs:
            self._runs[run.config].append(run)
        self._each = total // len(conditions)
        self._began, self._new = time.monotonic(), 0
        self._last = conditions[0]
        self._live = Live(get_renderable=self._render, console=console, transient=True, refresh_per_second=4)

    def __enter__(self):
        self._live.start()
        return self

    def __exit__(self, *unused):
        """Clear the table away."""
        self._live.stop()

    def add(self, run):
        """Fill the run in."""
        self._done += 1
        self._new += 1
        self._runs[run.config].append(run)
        self._last = run.config

    def _render(self):
        from rich.console import Group

        heads = [("batch", True), *((head, False) for head in self._factors.values()), ("norm", False)]
        heads += [(score_name(self._metric), True), ("validation loss", True), ("ms/epoch", True), ("runs", True)]
        rows = [self._row(condition) for condition in self._visible()]
        hidden = len(self._runs) - len(rows)
        below = f"… and {hidden} more of {len(self._runs)} rows" if hidden else ""
        return Group(self._progress(), rich_table(heads, rows, self.console.width), *[below] * (hidden > 0))

    def _visible(self):
        """Return as many cells as the terminal has lines for, the one that changed last among them."""
        conditions = list(self._runs)
        room = max(4, self.console.height - 9)  # beside progress, headings in two lines, borders, the line below
        for count in range(min(len(conditions), room), 0, -1):
            start = max(0, min(conditions.index(self._last) - count // 2, len(conditions) - count))
            shown = conditions[start : start + count]
            if count + sum(a.batch_size != b.batch_size for a, b in itertools.pairwise(shown)) <= room:
                break
        return shown

    def _row(self, condition):
        runs = self._runs[condition]
        ended = [run for run in runs if run.status == "ok"]
        lost = {name: sum(run.status == status for run in runs) for name, status in _LOST.items()}
        score, loss, seconds = "", "", ""
        if ended:
            score = f"{_mean(run.test_score for run in ended):.4f}"
            loss = f"{_mean(run.validation_loss for run in ended):.4f}"
            seconds = f"{_mean(run.seconds / run.config.epochs for run in ended) * 1e3:.1f}"
        score = "  ".join([score] * bool(score) + [f"{name} {count}" for name, count in lost.items() if count])
        return [
            str(condition.batch_size), *(factor_text(condition, name) for name in self._factors), condition.choice,
            score, loss, seconds, f"{len(runs)}/{self._each}",
        ]  # fmt: skip

    def _progress(self):
        from rich.progress_bar import ProgressBar
        from rich.table import Table

        elapsed = time.monotonic() - self._began
        left = elapsed / self._new * (self._total - self._done) if self._new else None
        line = Table.grid(padding=(0, 1))
        line.add_row(
            f"{self._done}/{self._total} runs",
            ProgressBar(total=self._total, completed=self._done, width=min(40, self.console.width // 3)),
            f"{_clock(elapsed)} elapsed",
            "" if left is None else f"about {_clock(left)} left",
        )
        return line


_LOST = {"div": "diverged", "failed": "failed"}


def _mean(values):
    values = list(values)
    return sum(values) / len(values)


def _clock(seconds):
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


def display(console, quiet, experiment, runs):
    """Return what shows the progress: nothing, lines, or on a terminal the table."""
    if quiet:
        return Quiet(console)
    arguments = console, experiment.conditions, runs, len(experiment.tasks)
    return LiveTable(*arguments, experiment.metric) if console.is_terminal else Lines(*arguments)
