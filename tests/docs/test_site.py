"""The built documentation: no warning, no broken link inside it, nothing that a page loads from elsewhere."""

import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

pytest.importorskip("sphinx")
pytest.importorskip("pydata_sphinx_theme")

DOCS = Path(__file__).parents[2] / "docs"


class Page(HTMLParser):
    """Where a page can be pointed at, what it points at, and what it loads."""

    def __init__(self, path):
        super().__init__()
        self.targets, self.links, self.loaded = set(), [], []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        self.targets |= {found[key] for key in ("id", "name") if found.get(key)}
        if tag == "a" and found.get("href"):
            self.links.append(found["href"])
        elif found.get("src") or tag == "link":
            self.loaded.append(found.get("src") or found["href"])


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """Build into an empty folder, with warnings as errors; returns the pages by path."""
    out = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-d", out / "doctrees", DOCS, out / "html"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    pages = [path for path in (out / "html").rglob("*.html") if "_static" not in path.parts]
    return {path: Page(path) for path in pages}


def broken(path, pages, link):
    url = urlsplit(link)
    if url.scheme or url.netloc:
        return False
    target = (path.parent / unquote(url.path)).resolve() if url.path else path
    if not target.exists():
        return True
    return bool(url.fragment) and target in pages and unquote(url.fragment) not in pages[target].targets


def test_links_within_the_site_lead_somewhere(site):
    links = [(path, link) for path, page in site.items() for link in page.links]
    assert len(links) > 500
    assert [(path.name, link) for path, link in links if broken(path, site, link)] == []
    some = next(iter(site))
    assert broken(some, site, "nowhere.html") and broken(some, site, "#nowhere")


def test_pages_need_no_network(site):
    assert {
        url for page in site.values() for url in page.loaded if urlsplit(url).scheme or urlsplit(url).netloc
    } == set()


@pytest.mark.parametrize(
    "name", ["MLPClassifier", "MLPRegressor", "batch_norm", "layer_norm_backward", "update_running"]
)
def test_public_names_have_an_entry(site, name):
    assert any(f"normkit.{name}" in page.targets for page in site.values())


def test_every_public_name_is_in_the_reference(site):
    import normkit

    targets = set().union(*(page.targets for page in site.values()))
    assert {n for n in normkit.__all__ if n != "__version__" and f"normkit.{n}" not in targets} == set()
    modules = ("BatchNorm1d", "BatchNorm2d", "GroupNorm", "LayerNorm", "RMSNorm")
    assert {n for n in modules if f"normkit.torch.{n}" not in targets} == set()


def test_every_command_is_in_the_reference(site):
    import click
    from normkit_cli.main import main

    page = next(page for path, page in site.items() if path.name == "cli.html")
    assert {name for name in main.list_commands(click.Context(main)) if f"normkit-{name}" not in page.targets} == set()
