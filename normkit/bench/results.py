"""Result files."""

import json
import os
import re
from pathlib import Path
from typing import Any


def dump(result: Any) -> str:
    """Return JSON with a list of numbers on one line: a file of samples that a person can still read."""
    text = json.dumps(result, indent=1)
    return re.sub(r"\[[^\[\]{}]*\]", lambda found: " ".join(found[0].split()), text)


def write(path: str | os.PathLike, result: Any) -> None:
    """Write a file, at once or not at all."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(path.name + ".new")
    new.write_text(dump(result) + "\n", encoding="utf-8")
    os.replace(new, path)
