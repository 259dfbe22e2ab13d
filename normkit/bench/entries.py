"""What the registries of peers hold, and what is installed of it."""

import importlib.metadata
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Entry:
    """A row of the table: where its class is, how it is built, what must be installed for it."""

    label: str
    module: str
    requires: tuple[str, ...]
    options: dict = field(default_factory=dict)
    remark: str = ""
    kind: str = "engine"  # or "bound": the step's matrix products alone, no training


def installed(package):
    """Return the version of a distribution, None if it is absent; any build of TensorFlow will do."""
    for name in (package, f"{package}-cpu"):
        try:
            return importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return None
