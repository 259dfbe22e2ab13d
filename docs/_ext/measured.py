"""The directive ``measured``: a table of tutorial_results/results.json, which ``examples/tutorial.py`` writes.

A table whose figures come from other code than that in ``examples/`` is a warning, and with ``-W`` an error.
"""

import json
import sys
from pathlib import Path

from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective

DOCS = Path(__file__).resolve().parents[1]
RESULTS = DOCS / "tutorial_results" / "results.json"
sys.path.insert(0, str(DOCS.parent / "examples"))


def stale(results):
    """Return the names of the tables whose experiments have changed since."""
    import tutorial

    experiments = {"course": tutorial.course, "gap": tutorial.course, **tutorial.EXPERIMENTS}
    current = {name: tutorial.fingerprint(function, tutorial.FULL) for name, function in experiments.items()}
    found = {name: table["fingerprint"] for name, table in results["tables"].items()}
    return sorted(name for name in {*current, *found} if current.get(name) != found.get(name))


class Measured(SphinxDirective):
    """``measured:: name``; the option `columns` gives other headers, separated by ``|``."""

    required_arguments = 1
    option_spec = {"columns": directives.unchanged, "rows": directives.unchanged}

    def run(self):
        """Return the table."""
        self.env.note_dependency(str(RESULTS))
        table = json.loads(RESULTS.read_text(encoding="utf-8"))["tables"][self.arguments[0]]
        header, rows = table["columns"], [list(row) for row in table["rows"]]
        if "columns" in self.options:
            header = [text.strip() for text in self.options["columns"].split("|")]
        if "rows" in self.options:
            names = [text.strip() for text in self.options["rows"].split("|")]
            rows = [[name, *row[1:]] for name, row in zip(names, rows, strict=True)]
        if len(header) != len(table["columns"]):
            raise self.error(f"{self.arguments[0]} has {len(table['columns'])} columns, got {len(header)} names")
        return [_built(header, rows)]


def _built(header, rows):
    group = nodes.tgroup(cols=len(header))
    group += [nodes.colspec(colwidth=1) for _ in header]
    head, body = nodes.thead(), nodes.tbody()
    head += _row(header)
    body += [_row(row) for row in rows]
    group += [head, body]
    table = nodes.table("", group, classes=["measured"])
    return nodes.container("", table, classes=["scrolled"])


def _row(cells):
    row = nodes.row()
    row += [nodes.entry("", nodes.paragraph(text=cell)) for cell in cells]
    return row


def _warn_of_stale(app):
    names = stale(json.loads(RESULTS.read_text(encoding="utf-8")))
    if names:
        logging.getLogger(__name__).warning(
            "other code than today's measured %s: run python examples/tutorial.py", ", ".join(names)
        )


def setup(app):
    """Register the directive."""
    app.add_directive("measured", Measured)
    app.connect("builder-inited", _warn_of_stale)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
