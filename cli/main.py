"""The ``normkit`` command. Heavy layers are imported by the command that needs them, not by --help."""

import contextlib
import os
import signal
import sys
from importlib import import_module

import click

from normkit._version import __version__
from normkit.experiments.errors import DataError

_COMMANDS = ("compare", "report", "train", "predict", "summary", "bench", "doctor", "warmup", "completion")


class _ClosedPipe(click.ClickException):
    """Nobody reads the output any more, as after ``| head``; the shell gives this code to others that it ends."""

    exit_code = 128 + getattr(signal, "SIGPIPE", 13)


class LazyGroup(click.Group):
    """A group that imports a command when it is asked for, and reports errors in one line."""

    def list_commands(self, ctx):
        """Return the names of the commands."""
        return list(_COMMANDS)

    def get_command(self, ctx, cmd_name):
        """Import and return a command; None if there is none of this name."""
        if cmd_name not in _COMMANDS:
            return None
        return getattr(import_module(f"{__package__}.{cmd_name}"), cmd_name)

    def invoke(self, ctx):
        """Run the command, and see that what it wrote has arrived."""
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
        except BrokenPipeError:
            raise _ClosedPipe("") from None
        return result

    def main(self, *args, **kwargs):
        """Run, and exit: wrong usage or data is a line and code 2, a failure a line and 1, Ctrl-C is 130.

        A closed pipe behind the output ends the command without a word, with code 141.
        """
        kwargs["standalone_mode"] = False
        for stream in (sys.stdout, sys.stderr):
            if hasattr(stream, "reconfigure"):
                stream.reconfigure(errors="replace")  # an ASCII terminal has no ±
        try:
            result = super().main(*args, **kwargs)
        except click.exceptions.NoArgsIsHelpError as error:
            error.show()
            sys.exit(error.exit_code)
        except click.ClickException as error:
            _fail(error.format_message(), error.exit_code)
        except DataError as error:
            _fail(str(error), click.UsageError.exit_code)
        except (OSError, MemoryError) as error:
            _fail(_reason(error), 1)
        except click.Abort:
            _fail("interrupted", 130)
        sys.exit(result if isinstance(result, int) else 0)


def _reason(error):
    if isinstance(error, MemoryError):
        return str(error) or "out of memory"
    name = getattr(error, "filename", None)
    return f"{f'{name}: ' if name else ''}{error.strerror or error}"


def _fail(message, exit_code):
    with contextlib.suppress(OSError):
        if message:
            click.echo(f"Error: {' '.join(message.split())}", err=True)
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:  # what could not be written must not be tried again when Python ends
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, stream.fileno())
            os.close(nowhere)
    sys.exit(exit_code)


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="""\b
    Examples:
      normkit compare --batch-sizes 8,32,128
      normkit train --dataset fashion-mnist --hidden 256,128,64 --plot curves.png
      normkit COMMAND --help
    """,
)
@click.version_option(__version__, prog_name="normkit")
def main():
    """Normalization layers for a CPU, and the experiment that tells which one to use."""


if __name__ == "__main__":
    main()
