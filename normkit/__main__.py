"""``python -m normkit`` is the ``normkit`` command."""

from normkit_cli.main import main

if __name__ == "__main__":
    main(prog_name="normkit")
