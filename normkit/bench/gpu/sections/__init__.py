"""The parts of `gpu.py`, in their order: one module each, imported only in the worker.

A module has `items(run)`, which returns its cases, the most telling first; a case is an `Item`. SECTIONS tells which
share of the time that is left a section may take, in proportion to those of the sections after it.
"""

from typing import Any, NamedTuple

SECTIONS = {
    "environment": 0.01,
    "copy": 0.03,
    "compile": 0.14,
    "correctness": 0.16,
    "sanitizer": 0.16,
    "kernels": 0.36,
    "host": 0.04,
    "training": 0.10,
}


class Unfinished(Exception):
    """A case for which time did not suffice: it is not on file, and begun anew by the next run."""


class Item(NamedTuple):
    """A case: its name in the file, what `--only` may name of it (nothing: it always runs), and what does it."""

    key: str
    call: Any
    fields: dict = {}  # noqa: RUF012


def select(items, terms):
    """Return the items that agree with the terms; terms of the same kind are alternatives."""
    wanted: dict[str, set] = {}
    for term in terms:
        kinds = [name for item in items for name, value in item.fields.items() if value == term]
        if kinds:
            wanted.setdefault(kinds[0], set()).add(term)
    return [
        item
        for item in items
        if not item.fields or all(item.fields.get(name) in values for name, values in wanted.items())
    ]


def unknown(items, terms):
    """Return the terms that no item is called by."""
    values = {value for item in items for value in item.fields.values()}
    return [term for term in terms if term not in values]
