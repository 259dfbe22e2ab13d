"""A command whose options also come from a file, a preset or an earlier run: flags first, then these."""

from pathlib import Path

import click

from normkit.experiments import configuration
from normkit.experiments.errors import DataError
from normkit.experiments.presets import PRESETS
from normkit.experiments.results.store import CONFIG

from .options import NumberList

# how a command is run and shown, not what it computes
EXECUTION = ("backend", "benefits", "format", "jobs", "output", "quick", "quiet", "scheduler")
_NOT_IN_FILES = ("config", "help", "quick", "resume")


class ConfiguredCommand(click.Command):
    """Takes defaults from ``--resume``, ``--quick``, ``--config`` and ``--preset``, the first of them that has one."""

    quick: dict = {}

    def parse_args(self, ctx, args):
        """Look which files and presets are named, before the other options are given their values."""
        if not ctx.resilient_parsing:
            given = self.make_parser(ctx).parse_args(list(args))[0]
            ctx.default_map = self._defaults(ctx, {name: value for name, value in given.items() if value})
        return super().parse_args(ctx, args)

    def _defaults(self, ctx, given):
        values: dict = {}
        if directory := given.get("resume"):
            values = self._from_file(ctx, _config_of(directory))
        else:
            if file := given.get("config"):
                values = self._from_file(ctx, file)
            if given.get("quick"):
                values |= self.quick
        name = given.get("preset", values.get("preset"))
        if isinstance(name, str) and name in PRESETS:  # of another click says what is wrong with it
            values = {**PRESETS[name].values, **values}
        return {name: self._as_flag(name, value) for name, value in values.items()}

    def _by_name(self, name):
        return next(param for param in self.params if param.name == name)

    def _from_file(self, ctx, path):
        """Read a file, whose names are those of the long flags."""
        names = {
            flag.removeprefix("--").replace("-", "_"): param.name
            for param in self.get_params(ctx) if param.name not in _NOT_IN_FILES
            for flag in (*param.opts, *param.secondary_opts) if flag.startswith("--")
        }  # fmt: skip
        values = {}
        for name, value in configuration.read(path, names).items():
            if names[name] in values:
                raise DataError(f"{path} has two names for {self._by_name(names[name]).opts[0]}")
            values[names[name]] = value
        return values

    def _as_flag(self, name, value):
        """Return a value as it would be given to a flag: click then checks it in the same way."""
        if not self._by_name(name).multiple:
            return _text(name, value)
        values = value if isinstance(value, list) else [value]
        # the widths of one network
        if values and isinstance(self._by_name(name).type, NumberList) and all(isinstance(one, int) for one in values):
            values = [values]
        return [_text(name, one) for one in values]

    def stored(self, directory):
        """Return all options, by name, as an earlier run left them in its folder."""
        return self.make_context(self.name, ["--resume", directory]).params


def _config_of(directory):
    path = Path(directory) / CONFIG
    if not path.is_file():
        raise DataError(f"{directory} holds no experiment to resume: there is no {path.name}")
    return path


def _text(name, value):
    if isinstance(value, list) and value and not any(isinstance(entry, list | dict) for entry in value):
        return ",".join(_text(name, entry) for entry in value)
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str | int | float):
        return str(value)
    flag = f"--{name.replace('_', '-')}"
    raise click.BadParameter(f"{value!r} is no value of a flag", param_hint=flag)


def plain(value):
    """Return an option's value as a file holds it: lists, no tuples."""
    return [plain(entry) for entry in value] if isinstance(value, list | tuple) else value
