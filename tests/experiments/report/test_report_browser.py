"""The report in Chromium, at the width of a desktop and of a phone.

Needs the Python package playwright and a Chromium of the system (Debian's package chromium, or NORMKIT_CHROMIUM).
"""

import os
import shutil
from types import SimpleNamespace

import pytest
from drawn_runs import grid, lost

from normkit.experiments.report import page
from normkit.experiments.statistics.summary import summarize

sync_api = pytest.importorskip("playwright.sync_api", reason="NOT TESTED IN A BROWSER: playwright is not installed")

NAMES = ("chromium", "chromium-browser", "chromium-headless-shell", "google-chrome")
FOUND = os.environ.get("NORMKIT_CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
pytestmark = pytest.mark.skipif(FOUND is None, reason=f"NOT TESTED IN A BROWSER: none of {', '.join(NAMES)} is there")

WIDTHS = (1280, 390)
HOSTILE = '<img src="http://example.org/x.png" onerror="alert(1)">'


@pytest.fixture(scope="module")
def browser():
    with sync_api.sync_playwright() as playwright:
        # root, as in a container, has no sandbox; the page is one that the test has written
        started = playwright.chromium.launch(executable_path=FOUND, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    runs = [
        *grid(("none", "batch", "layer", "group", "rms", "ghost", "renorm"), (2, 4, 8, 64), 2),
        *grid(("dyt", "batch"), (2, 4, 8), 2, norm_position="after"), lost("layer", 64, 2),
    ]  # fmt: skip
    experiment = {"dataset": HOSTILE, "words": "word" * 60}
    return page.write(tmp_path_factory.mktemp("report"), runs, summarize(runs), experiment, {"long": "x" * 300})[0]


@pytest.fixture(scope="module", params=WIDTHS)
def opened(request, browser, path):
    """The page, and what it asked for and complained of since it was opened."""
    page = browser.new_page(viewport={"width": request.param, "height": 800})
    complaints, requests = [], []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda asked: requests.append(asked.url))
    page.goto(path.as_uri())
    page.set_default_timeout(5000)
    yield SimpleNamespace(page=page, complaints=complaints, requests=requests)
    page.close()


def column(page, index):
    return page.locator("#cells tbody tr").evaluate_all(f"rows => rows.map(row => row.cells[{index}].textContent)")


def test_the_page_never_scrolls_sideways(opened):
    widths = opened.page.evaluate("[document.documentElement.scrollWidth, document.body.scrollWidth, innerWidth]")
    assert widths[0] <= widths[2] and widths[1] <= widths[2]
    # but a wide table does, within itself
    table = opened.page.locator("#cells .scroll")
    inner, outer = table.evaluate("box => [box.scrollWidth, box.clientWidth]")
    assert inner > outer or widths[2] > 1000
    assert opened.page.locator("#verdicts").bounding_box()["y"] < 500


def test_tables_sort(opened):
    page = opened.page
    head = page.locator("#cells th", has_text="test accuracy")
    for direction, sign in (("ascending", 1), ("descending", -1)):
        head.locator("button").click()
        assert head.get_attribute("aria-sort") == direction
        scores = [float(text) for text in column(page, 2) if text != "–"]
        assert scores == sorted(scores, key=lambda score: sign * score) and len(scores) > 30
    # from the keyboard; a tie keeps its order, and what is missing is last both ways
    page.locator("#cells th button", has_text="choice").focus()
    page.keyboard.press("Enter")
    assert head.get_attribute("aria-sort") is None
    names = column(page, 1)
    assert names == sorted(names) and len(set(names)) == 9


def test_values_show_on_hover_and_from_the_keyboard(opened):
    page = opened.page
    tip = page.locator("#tip")
    assert tip.is_hidden()
    spots = page.locator("svg[aria-label='Test accuracy against batch size'] .spot")
    spots.nth(1).scroll_into_view_if_needed()
    spots.nth(1).hover()
    assert tip.inner_text().startswith("Batch size 4\n") and "layer: 0." in tip.inner_text()
    box = tip.bounding_box()
    assert box["x"] >= 0 and box["x"] + box["width"] <= page.viewport_size["width"]
    page.mouse.move(1, 1)
    page.wait_for_function("document.getElementById('tip').hidden")
    spots.first.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    page.wait_for_function("document.getElementById('tip').textContent.startsWith('Batch size 8')")
    assert page.evaluate("document.activeElement.getAttribute('aria-label')") == tip.text_content()
    page.keyboard.press("Escape")
    assert tip.is_hidden()
    # one stop a plot, however many spots it has
    stops = page.locator("svg.plot").evaluate_all(
        "plots => plots.map(p => p.querySelectorAll('[tabindex=\"0\"]').length)"
    )
    assert set(stops) == {1} and len(stops) >= 3
    heat = page.locator("svg[aria-label='Test accuracy by choice and batch size'] .spot")
    heat.last.scroll_into_view_if_needed()
    heat.last.hover()
    assert "batch size" in tip.inner_text()


def test_names_are_text_and_nothing_is_asked_of_a_network(opened, path):
    assert opened.page.locator("img").count() == 0
    assert opened.page.locator("h1").inner_text().startswith("Which normalization for")
    assert opened.requests == [path.as_uri()]
    assert opened.complaints == []
    # what comes in by other ways is kept out by the policy
    with opened.page.expect_console_message() as complaint:
        opened.page.evaluate("document.body.append(Object.assign(new Image(), {src: 'http://127.0.0.1:9/x.png'}))")
    assert "violates the following Content Security Policy" in complaint.value.text


def test_dark_scheme_and_print_have_their_colours(browser, path):
    page = browser.new_page(color_scheme="dark")
    page.goto(path.as_uri())
    colours = "[getComputedStyle(document.body), getComputedStyle(document.querySelector('svg.plot text'))]"
    dark = page.evaluate(f"{colours}.map(style => [style.backgroundColor, style.fill])")
    assert dark[0][0] == "rgb(16, 19, 23)" and dark[1][1] == "rgb(230, 233, 238)"
    page.emulate_media(media="print")
    paper = page.evaluate(f"{colours}.map(style => [style.backgroundColor, style.fill])")
    assert paper[0][0] == "rgb(255, 255, 255)" and paper[1][1] == "rgb(0, 0, 0)"
    page.close()
