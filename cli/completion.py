"""``normkit completion``: what a shell must read to complete commands and options."""

import click
from click.shell_completion import get_completion_class


@click.command(
    short_help="Print the completion script of a shell.",
    epilog="""\b
    Examples:
      echo 'eval "$(normkit completion bash)"' >> ~/.bashrc
      echo 'eval "$(normkit completion zsh)"' >> ~/.zshrc
      normkit completion fish > ~/.config/fish/completions/normkit.fish
    """,
)
@click.argument("shell", type=click.Choice(("bash", "zsh", "fish")))
@click.pass_context
def completion(ctx, shell):
    """Print the script that completes normkit's commands and options in a shell.

    It takes effect in shells that start after it was installed as the examples show.
    """
    root = ctx.find_root()
    complete = get_completion_class(shell)(root.command, {}, "normkit", "_NORMKIT_COMPLETE")
    click.echo(complete.source())
