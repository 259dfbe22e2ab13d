"""Plots as PNG and SVG, the same bytes for the same plot, and as SVG inside the report."""

import io
import re
from xml.etree import ElementTree

from normkit.experiments.report.plots.style import THEME, Plot, drawing, printable

_SVG, _XLINK = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"
_HIGHEST = 60_000  # pixels; Agg refuses more than 2 ** 16
_COLOUR = re.compile("|".join(THEME))


def png(plot: Plot) -> bytes:
    """Return the plot as PNG."""
    buffer = io.BytesIO()
    dpi = min(144.0, _HIGHEST / max(plot.figure.get_size_inches()))
    with drawing():
        _settle(plot.figure)
        plot.figure.savefig(buffer, format="png", dpi=dpi, metadata={"Software": None})
    return buffer.getvalue()


def _settle(figure) -> None:
    """Arrange the axes once: each `savefig` would do it anew, and draw everything twice for it."""
    engine = figure.get_layout_engine()
    if engine is not None:
        engine.execute(figure)
        figure.set_layout_engine(None)


def svg(plot: Plot) -> bytes:
    """Return the plot as an SVG file; its spots have titles, which viewers show on hover."""
    root = _tree(plot)
    root.set("role", "img")
    title = ElementTree.Element(f"{{{_SVG}}}title")
    title.text = printable(plot.title)
    root.insert(0, title)
    ElementTree.register_namespace("", _SVG)
    ElementTree.register_namespace("xlink", _XLINK)
    return ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)


def inline(plot: Plot, prefix: str) -> str:
    """Return the plot as an SVG element for a page of HTML that has variables for the theme's colours.

    The ids are made unique on the page by the prefix, and nothing refers to anything outside it.
    """
    root = _tree(plot)
    for element in root.iter():
        element.tag = element.tag.removeprefix(f"{{{_SVG}}}")
        for name in list(element.attrib):
            value = element.attrib.pop(name)
            name = name.removeprefix(f"{{{_XLINK}}}")
            if name == "id":
                value = prefix + value
            elif name == "href":
                value = value.replace("#", f"#{prefix}", 1)
            element.set(name, _COLOUR.sub(_variable, value.replace("url(#", f"url(#{prefix}")))
    width, height = (float(root.attrib.pop(name).removesuffix("pt")) for name in ("width", "height"))
    root.attrib = {
        "class": "plot", "role": "group", "aria-label": printable(plot.title), "viewBox": f"0 0 {width:g} {height:g}",
        "style": f"--width: {width:.0f}; --height: {height:.0f}",
    }  # fmt: skip
    # as HTML: a browser that parses a page knows no self-closing <g/>
    return ElementTree.tostring(root, encoding="unicode", short_empty_elements=False)


def _variable(found: re.Match) -> str:
    return f"var({THEME[found[0]]})"


def _tree(plot: Plot) -> ElementTree.Element:
    """Return what matplotlib writes, without its metadata and its style sheet, and with the spots' titles."""
    buffer = io.BytesIO()
    with drawing():
        _settle(plot.figure)
        plot.figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    root = ElementTree.fromstring(buffer.getvalue())
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag in (f"{{{_SVG}}}metadata", f"{{{_SVG}}}style"):
                parent.remove(child)
    root.set("style", "stroke-linejoin: round; stroke-linecap: butt")  # what the style sheet said
    for element in root.iter(f"{{{_SVG}}}text"):
        element.set("pointer-events", "none")  # a number in a square is no hole in it
    for element in root.iter(f"{{{_SVG}}}g"):
        text = plot.spots.get(element.get("id", ""))
        if text is not None:
            element.set("class", "spot")
            element.set("style", "pointer-events: all")
            title = ElementTree.Element(f"{{{_SVG}}}title")
            title.text = printable(text)
            element.insert(0, title)
    return root
