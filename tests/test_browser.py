"""Chromium against a real `tracescope serve` over real traces: what a person would see and do."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

DATA = Path(__file__).parent / "data"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
IN_CI = bool(os.environ.get("CI"))

if CHROMIUM is None and not IN_CI:
    pytest.skip("no Chromium on this machine: `apt-get install chromium` brings one", allow_module_level=True)
playwright = pytest.importorskip("playwright.sync_api", reason="the `test` extra brings playwright")
axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="the `test` extra brings axe")


def run(*arguments: str | Path) -> str:
    command = [sys.executable, "-m", "tracescope", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


class Site:
    """A served store: its address, and the query that compares its two periods."""

    def __init__(self, address: str, query: dict[str, str]) -> None:
        self.origin = f"http://{address}"
        self.query = query

    def url(self, path: str, **more: str) -> str:
        return f"{self.origin}{path}?{urlencode({**self.query, **more})}"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """`tracescope serve` over both windows of a real incident."""
    store = tmp_path_factory.mktemp("browser") / "store"
    known = json.loads((DATA / "nezha" / "incidents.json").read_text())
    chosen = next(one for one in known if one["id"] == "ob0822-05")
    run("import", *(DATA / "nezha" / f"ob0822-05.{side}.jsonl.gz" for side in "AB"), "--store", store)
    off = ["--grpc", "127.0.0.1:0", "--http", "off"]
    command = [sys.executable, "-m", "tracescope", "serve", *off, "--web", "127.0.0.1:0"]
    process = subprocess.Popen(
        [*command, "--store", str(store)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "TRACESCOPE_TZ": "UTC"},
    )
    try:
        address = ""
        assert process.stdout is not None
        while not address:
            line = process.stdout.readline()
            assert line, "the server ended before it said where its page is"
            if line.startswith("web page on http://"):
                address = line.removeprefix("web page on http://").split(",")[0].removesuffix("/").strip()
        query = {n: "/".join(chosen[f"window_{side}"]) for n, side in (("base", "A"), ("head", "B"))}
        yield Site(address, query)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.communicate(timeout=30)
        finally:
            process.kill()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as started:
        # containers run as root, where Chromium's own sandbox cannot
        opened = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


class Watched:
    """A page that notes what the console says and where requests go."""

    def __init__(self, browser: Any, site: Site, **options: Any) -> None:
        self.context = browser.new_context(viewport={"width": 1400, "height": 900}, **options)
        self.page = self.context.new_page()
        self.site = site
        self.said: list[str] = []
        self.asked: list[str] = []
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("request", lambda request: self.asked.append(request.url))

    def open(self, path: str, **more: str) -> Any:
        answer = self.page.goto(self.site.url(path, **more))
        assert answer.status == 200, path
        return self.page

    def check(self) -> None:
        """Nothing on the console, no request to anybody else."""
        assert self.said == []
        assert all(url.startswith((self.site.origin, "data:")) for url in self.asked), self.asked

    def close(self) -> None:
        self.context.close()


@pytest.fixture
def watched(browser: Any, site: Site) -> Iterator[Watched]:
    made = Watched(browser, site)
    yield made
    made.close()


def edge_query(page: Any, site: Site) -> dict[str, str]:
    edge = page.request.get(site.url("/api/growth")).json()["edges"][0]
    return {
        "edge_kind": edge["kind"], "caller": edge["caller"], "callee": edge["callee"] or "",
        "operation": edge["operation"] or "", "unit": edge["unit"],
    }  # fmt: skip


def every_page(page: Any, site: Site) -> list[tuple[str, dict[str, str]]]:
    trace = page.request.get(site.url("/api/traces")).json()["traces"][0]["trace_id"]
    edge = edge_query(page, site)
    plain = [
        "/",
        "/map",
        "/paths",
        "/traces",
        "/forecast",
        f"/trace/{trace}",
        "/quality",
        f"/service/{edge['caller']}",
    ]
    return [*((path, {}) for path in plain), ("/edge", edge)]


def violations(page: Any) -> list[str]:
    """What axe objects to: the rule, how often, and the first place."""
    found = axe.Axe().run(page).response["violations"]
    return [f"{rule['id']} x{len(rule['nodes'])}: {rule['nodes'][0]['html'][:200]}" for rule in found]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_page_loads_without_a_complaint_from_console_or_axe(browser, site, scheme: str) -> None:
    """No console message, no request to another host, no accessibility violation, light and dark."""
    watched = Watched(browser, site, color_scheme=scheme)
    try:
        problems: list[str] = []
        for path, more in every_page(watched.page, site):
            page = watched.open(path, **more)
            assert page.locator("h1").inner_text()
            problems += [f"{path}: {problem}" for problem in violations(page)]
        assert not problems, "\n".join(problems)
        watched.check()
    finally:
        watched.close()


def test_no_page_is_wider_than_a_phone(browser, site) -> None:
    """Tables and drawings scroll inside their cards; the page itself never does sideways."""
    watched = Watched(browser, site)
    try:
        watched.page.set_viewport_size({"width": 390, "height": 844})
        for path, more in every_page(watched.page, site):
            page = watched.open(path, **more)
            over = page.evaluate(
                "document.documentElement.scrollWidth - document.documentElement.clientWidth"
            )
            assert over == 0, path
        watched.check()
    finally:
        watched.close()


def test_a_phone_shows_text_that_can_be_read_and_targets_that_can_be_hit(browser, site) -> None:
    """Words in drawings are 11 px and more as they are seen; what is pressed is 24 px high and more."""
    watched = Watched(browser, site)
    try:
        page = watched.page
        page.set_viewport_size({"width": 390, "height": 844})
        for path in ("/", "/map", "/paths", "/traces", "/forecast", "/quality"):
            watched.open(path)
            small = page.evaluate("""() => [...document.querySelectorAll("svg text")]
                .filter(t => t.getClientRects().length)
                .map(t => [parseFloat(getComputedStyle(t).fontSize) * t.getScreenCTM().a, t.textContent])
                .filter(([size]) => size < 10.95).slice(0, 5)""")
            assert small == [], path
            low = page.evaluate("""() => [...document.querySelectorAll("a, button, summary, input, select")]
                .filter(e => !e.closest("svg, .skip, p.lead, .narrowed") && e.getClientRects().length)
                .map(e => [e.getBoundingClientRect().height, e.outerHTML.slice(0, 90)])
                .filter(([height]) => height < 23.5).slice(0, 5)""")
            assert low == [], path
    finally:
        watched.close()


def test_a_filter_changes_the_url_and_the_picture(watched, site) -> None:
    """Choosing a kind keeps the periods, and leaves edges of that kind only."""
    page = watched.open("/")
    before = page.locator("table tbody tr").count()
    with page.expect_navigation():
        page.select_option("select[name=kind]", "rpc")
    assert "kind=rpc" in page.url
    assert "base=" in page.url
    kinds = page.locator("table tbody .kind").all_inner_texts()
    assert set(kinds) == {"rpc"}
    assert 0 < len(kinds) <= before
    page.go_back()
    assert "kind=rpc" not in page.url
    watched.check()


def test_the_map_changes_with_its_level_and_keeps_its_places(watched, site) -> None:
    """Base and head stand at the same places; another level is another graph."""
    page = watched.open("/map")
    boxes = "svg.ts-graph rect.ts-box"

    def places() -> list[Any]:
        return page.locator(boxes).evaluate_all("all => all.map(b => [b.getBBox().x, b.getBBox().y])")

    change = page.locator("svg.ts-graph").inner_html()
    at = places()
    with page.expect_navigation():
        page.select_option("select[name=side]", "base")
    assert page.locator("svg.ts-graph").inner_html() != change
    assert places() == at
    with page.expect_navigation():
        page.select_option("select[name=level]", "service")
    assert "level=service" in page.url
    watched.check()


def test_an_edge_leads_to_its_page_and_on_to_a_trace(watched, site) -> None:
    """Growth, edge, trace: three clicks, no dead end."""
    page = watched.open("/")
    page.locator("td.name a").first.click()
    page.wait_for_url("**/edge?**")
    assert page.locator("svg.chart").count() >= 2
    page.locator("section[aria-labelledby=traces-title] td.name a").first.click()
    page.wait_for_url("**/trace/**")
    assert page.locator("svg.waterfall rect.wf-bar").count() > 0
    watched.check()


def test_the_page_works_without_scripts(browser, site) -> None:
    """Filters are a plain form, links are links."""
    watched = Watched(browser, site, java_script_enabled=False)
    try:
        page = watched.open("/")
        page.select_option("select[name=kind]", "self")
        page.get_by_role("button", name="Show").click()
        assert "kind=self" in page.url
        assert set(page.locator("table tbody .kind").all_inner_texts()) == {"self"}
        page.get_by_role("link", name="Paths").click()
        assert page.locator("svg.icicle rect").count() > 3
        watched.check()
    finally:
        watched.close()


def test_a_keyboard_is_enough(watched, site) -> None:
    """The first stop skips to the content, with the first finding near; a slash goes to the search."""
    page = watched.open("/")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
    page.keyboard.press("Enter")
    at = []
    while len(at) < 4 and not (at and at[-1]):
        page.keyboard.press("Tab")
        at.append(page.evaluate("document.activeElement.closest('.finding, td.name') !== null"))
    # of a comparison without a finding the edges come behind the filters
    assert at[-1] or page.locator(".finding").count() == 0
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.name") == "q"
    page.keyboard.type("cartservice")
    with page.expect_navigation():
        page.keyboard.press("Enter")
    assert "q=cartservice" in page.url
    assert page.locator("td.name a").count() > 0
    watched.check()


def test_a_word_shows_its_definition_and_a_chart_its_values(watched, site) -> None:
    """By a key as by a pointer; dragging over a chart compares that time with the equal time before."""
    page = watched.open("/")
    page.locator("h2 button.term").first.focus()
    page.keyboard.press("Enter")
    assert page.locator("[popover]:popover-open").count() == 1
    page.keyboard.press("Escape")
    assert page.locator("[popover]:popover-open").count() == 0
    chart = page.locator("svg.chart[data-time]").first
    chart.scroll_into_view_if_needed()
    box = chart.bounding_box()
    middle = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + box["width"] * 0.4, middle)
    assert "UTC: " in page.locator(".reading").inner_text()
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.6, middle, steps=4)
    with page.expect_navigation():
        page.mouse.up()
    assert "base=" in page.url
    assert page.url != site.url("/")
    watched.said.clear()  # so short a time holds too little: an answer with a status of its own


def test_load_curves_and_call_paths_tell_what_lies_below_the_pointer(watched, site) -> None:
    """At once, in words of their own, and gone with the pointer."""
    page = watched.open("/paths")
    box = page.locator("svg.icicle a").first
    box.hover()
    assert "per " in page.locator(".reading").inner_text()
    page.mouse.move(2, 2)
    assert page.locator(".reading").is_hidden()
    edges = page.request.get(site.url("/api/growth", top="200")).json()["edges"]
    for edge in edges:
        page = watched.open("/edge", **{
            "edge_kind": edge["kind"], "caller": edge["caller"], "callee": edge["callee"] or "",
            "operation": edge["operation"] or "", "unit": edge["unit"],
        })  # fmt: skip
        if page.locator("svg.chart[data-load]").count():
            break
    else:
        pytest.fail("no edge has a load curve")
    page.locator("svg.chart[data-load] circle").first.hover(force=True)
    assert re.match(r"[\d.e+]+ calls/s: [\d.e+]+ ms, (before|after)", page.locator(".reading").inner_text())
    watched.check()


def test_the_report_opens_from_a_file_and_asks_for_nothing(browser, site, tmp_path: Path) -> None:
    """Saved from the page, opened from the disk: the same sentence, no console message, axe content."""
    watched = Watched(browser, site)
    try:
        page = watched.open("/")
        said = page.locator("h1").inner_text()
        with page.expect_download() as download:
            page.get_by_role("link", name="report", exact=True).click()
        file = tmp_path / "review.html"
        download.value.save_as(file)
        watched.asked.clear()
        page.goto(file.as_uri())
        assert page.locator("h1").inner_text() == said
        assert [url for url in watched.asked if not url.startswith(("file:", "data:"))] == []
        assert watched.said == []
        assert violations(page) == []
        assert page.locator("svg").count() >= 3
    finally:
        watched.close()
