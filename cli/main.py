"""The ``normkit`` command. Heavy layers are imported by the command that needs them, not by --help."""

import sys
from importlib import import_module

import click

from normkit._version import __version__

_COMMANDS = {"compare": "normkit_cli.compare", "train": "normkit_cli.train"}


class LazyGroup(click.Group):
    """A group that imports a command when it is asked for, and reports errors in one line."""

    def list_commands(self, ctx):
        """Return the names of the commands."""
        return sorted(_COMMANDS)

    def get_command(self, ctx, cmd_name):
        """Import and return a command; None if there is none of this name."""
        if cmd_name not in _COMMANDS:
            return None
        return getattr(import_module(_COMMANDS[cmd_name]), cmd_name)

    def main(self, *args, **kwargs):
        """Run; wrong usage and wrong data are one line on stderr and exit code 2, Ctrl-C is 130."""
        kwargs["standalone_mode"] = False
        try:
            result = super().main(*args, **kwargs)
        except click.ClickException as error:
            click.echo(f"Error: {' '.join(error.format_message().split())}", err=True)
            sys.exit(error.exit_code)
        except click.Abort:
            click.echo("Interrupted.", err=True)
            sys.exit(130)
        sys.exit(result if isinstance(result, int) else 0)


class WrongData(click.ClickException):
    """The user's data or paths cannot be used."""

    exit_code = 2


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="normkit")
def main():
    """Normalization layers, fast on a CPU, and the experiment that tells which one to use.

    \b
    normkit compare --batch-sizes 8,32,128
    normkit train --dataset fashion-mnist --hidden 256,128,64 --norm batch --plot curves.png
    """


if __name__ == "__main__":
    main()
