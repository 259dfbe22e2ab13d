"""Files that hold what flags hold: TOML, or YAML where PyYAML is installed."""

import difflib
import json
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from normkit._files import read_regular
from normkit.experiments.errors import DataError, one_line


def read(path: str | Path, known: Iterable[str]) -> dict[str, Any]:
    """Read a file of names and values.

    Parameters
    ----------
    path : path
        A .toml, .yaml or .yml file.
    known : iterable of str
        The names it may hold, with dashes or underscores.

    Returns
    -------
    dict
        The values by their names with underscores.

    Raises
    ------
    DataError
        If it cannot be read, or holds a name that is not known.
    """
    content = parse(Path(path))
    if not isinstance(content, dict):
        raise DataError(f"{path} must hold names and values, it holds {type(content).__name__}")
    names = [name.replace("_", "-") for name in known]
    values = {}
    for key, value in content.items():
        name = str(key).replace("_", "-")
        if name not in names:
            near = difflib.get_close_matches(name, names, 1, 0.4)
            raise DataError(f"{path} has an unknown name {key!r}" + (f"; did you mean {near[0]!r}?" if near else ""))
        if name.replace("-", "_") in values:
            raise DataError(f"{path} has {key!r} twice, with a dash and with an underscore")
        values[name.replace("-", "_")] = value
    return values


def parse(path: Path) -> Any:
    """Return what a .toml, .yaml or .yml file holds; a `DataError` where it cannot be read."""
    try:
        text = read_regular(path).decode("utf-8-sig")
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise DataError(f"{path} is not a text file in UTF-8") from None
    if path.suffix.lower() == ".toml":
        try:
            return tomllib.loads(text)
        except (tomllib.TOMLDecodeError, RecursionError) as error:
            raise DataError(f"{path} is not TOML: {error}") from None
    if path.suffix.lower() not in (".yaml", ".yml"):
        raise DataError(f"{path} must be a .toml, .yaml or .yml file")
    try:
        import yaml
    except ImportError:
        raise DataError(f"{path} needs the package PyYAML; TOML needs none") from None
    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError) as error:
        raise DataError(f"{path} is not YAML: {one_line(error)}") from None


def to_toml(values: dict[str, Any]) -> str:
    """Write names and values as TOML; what is None is left out.

    Examples
    --------
    >>> from normkit.experiments.configuration import to_toml
    >>> print(to_toml({"batch_sizes": [8, 32], "target": None, "dataset": "digits"}), end="")
    batch-sizes = [8, 32]
    dataset = "digits"
    """
    lines = [f"{name.replace('_', '-')} = {_value(value)}\n" for name, value in values.items() if value is not None]
    return "".join(lines)


def _value(value):
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_value, value))}]"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    # JSON's strings are TOML's, but for the one control character that JSON does not escape
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
