"""``normkit warmup``: compile ahead."""

import time

import click


@click.command(
    short_help="Compile ahead.",
    epilog="""\b
    Example:
      NUMBA_CACHE_DIR=/var/cache/normkit normkit warmup
    """,
)
def warmup():
    """Compile training, batch norm and layer norm now, in float32 and float64, so that no later program waits.

    Other norm functions and types are compiled when they are first called, a second or two each.

    The machine code is kept in NUMBA_CACHE_DIR, or in the user's cache folder.
    """
    from normkit._jit import cache_directory
    from normkit.warmup import warm_up

    start = time.perf_counter()
    for part in warm_up():
        click.echo(f"{time.perf_counter() - start:6.1f} s  {part}")
    folder = cache_directory()
    click.echo(f"Kept in {folder}" if folder else "No folder can be written to: compiled for this process alone")
