"""The web page over a store of real traces: every page and its twin, what is refused, hostile names."""

from __future__ import annotations

import json
import re
import shutil
import time
from collections import Counter
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import orjson
import pytest
from click.testing import CliRunner
from starlette.testclient import TestClient

from tracescope.cli import main
from tracescope.config import Settings
from tracescope.mcp import Tools
from tracescope.report.terms import term
from tracescope.serving.graph_metrics import GraphSeries
from tracescope.session import Session
from tracescope.store import open_store
from tracescope.web import api
from tracescope.web.app import make_app
from tracescope.web.view import SORTS, View, read

DATA = Path(__file__).parent / "data"
HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "</style></svg><script>alert(2)</script>",
    "a\x1b[31mred\x00\x07",
    "\u202egnp.exe\u2066",
    "long" * 2500,
    "{{ 7 * 7 }}{% raw %}",
]


def command(*arguments: str | Path) -> str:
    result = CliRunner().invoke(main, [str(argument) for argument in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.fixture(scope="module")
def incident(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """A store with both windows of a real incident, and the query that compares them."""
    store = tmp_path_factory.mktemp("web") / "store"
    known = json.loads((DATA / "nezha" / "incidents.json").read_text())
    chosen = next(one for one in known if one["id"] == "ob0822-05")
    command("import", *(DATA / "nezha" / f"ob0822-05.{side}.jsonl.gz" for side in "AB"), "--store", store)
    return store, {name: "/".join(chosen[f"window_{side}"]) for name, side in (("base", "A"), ("head", "B"))}


def client_of(store: Path, **options: Any) -> TestClient:
    settings = Settings(store=str(store), tz="UTC")
    return TestClient(make_app(Session(store, settings), **options), base_url="http://127.0.0.1")


@pytest.fixture(scope="module")
def client(incident: tuple[Path, dict[str, str]]) -> TestClient:
    return client_of(incident[0])


def pages_of(client: TestClient, query: dict[str, str]) -> dict[str, dict[str, str]]:
    """Every page with a query that it can answer."""
    edge = client.get("/api/growth", params=query).json()["edges"][0]
    named = {"edge_kind": edge["kind"], "caller": edge["caller"], "unit": edge["unit"]}
    named |= {"callee": edge["callee"] or "", "operation": edge["operation"] or ""}
    trace = client.get("/api/traces", params=query).json()["traces"][0]["trace_id"]
    return {
        "/": query,
        "/edge": {**query, **named},
        f"/service/{edge['caller']}": query,
        "/paths": query,
        "/traces": {**query, **named},
        f"/trace/{trace}": query,
        "/forecast": query,
        "/quality": query,
    }


class Links(HTMLParser):
    """What a page refers to, and whether it carries script or style of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.hrefs: list[str] = []
        self.inline: list[str] = []
        self.loads: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.inline += [name for name in found if name.startswith("on") or name == "style"]
        if tag == "style" or (tag == "script" and "src" not in found):
            self.inline.append(tag)
        if tag in ("script", "img", "iframe") and found.get("src"):
            self.loads.append(str(found["src"]))
        if tag == "link":
            self.loads.append(str(found["href"]))
        if tag == "a" and found.get("href"):
            self.hrefs.append(str(found["href"]))


def parsed(text: str) -> Links:
    links = Links()
    links.feed(text)
    return links


def test_every_page_answers_has_a_twin_and_carries_neither_script_nor_style(client, incident) -> None:
    """All state is in the URL; the twin's address stands on the page; the policy allows nothing inline."""
    for path, query in pages_of(client, incident[1]).items():
        answer = client.get(path, params=query)
        assert answer.status_code == 200, (path, answer.text[:500])
        assert "script-src 'self'; style-src 'self'" in answer.headers["content-security-policy"]
        links = parsed(answer.text)
        assert links.inline == [], path
        assert all(load.startswith("/static/") for load in links.loads), path
        twin = next(link for link in links.hrefs if link.startswith("/api/") and "openapi" not in link)
        found = client.get(twin)
        assert found.status_code == 200, twin
        assert found.headers["content-type"] == "application/json"
        assert "NaN" not in found.text
        assert "Infinity" not in found.text


def test_links_on_pages_lead_somewhere(client, incident) -> None:
    """No dead link, one step from each page."""
    seen: set[str] = set()
    for path, query in pages_of(client, incident[1]).items():
        for link in parsed(client.get(path, params=query).text).hrefs:
            if (
                link.startswith("/")
                and not link.startswith("/report")
                and link not in seen
                and len(seen) < 60
            ):
                seen.add(link)
                assert client.get(link).status_code == 200, link
    assert len(seen) > 20


def test_the_growth_page_says_what_diff_says(client, incident) -> None:
    """One Report for the page, its twin and the terminal."""
    store, query = incident
    said = json.loads(
        command("diff", query["base"], query["head"], "--store", store, "--format", "json", "--tz", "UTC")
    )
    twin = client.get("/api/growth", params={**query, "top": "500"}).json()
    assert [e["credited_ms"] for e in twin["edges"]] == [e["credited_ms"] for e in said["edges"]]
    assert twin["verdict"] == said["verdict"]
    assert said["verdict"]["state"] in client.get("/", params=query).text


def test_filters_narrow_the_edges(client, incident) -> None:
    """Kind, service and least change; each only takes away."""
    query = {**incident[1], "top": "500"}
    every = client.get("/api/growth", params=query).json()["edges"]
    rpc = client.get("/api/growth", params={**query, "kind": "rpc"}).json()["edges"]
    assert rpc == [edge for edge in every if edge["kind"] == "rpc"]
    mine = client.get("/api/growth", params={**query, "service": "cartservice"}).json()["edges"]
    assert mine == [edge for edge in every if "cartservice" in (edge["caller"], edge["callee"])]
    moved = client.get("/api/growth", params={**query, "min_change": "2"}).json()["edges"]
    assert moved == [e for e in every if abs(e["share_head"] - e["share_base"]) >= 0.02]
    assert 0 < len(moved) < len(every)


def test_series_of_an_edge_average_to_its_share(client, incident) -> None:
    """Weighted by the clock of each stretch the points are the period's share."""
    query = incident[1]
    edge = client.get("/api/growth", params=query).json()
    for row, series in zip(edge["edges"], edge["series"], strict=True):
        for side in ("base", "head"):
            values = [v for v in series[side]["share"] if v is not None]
            assert min(values) - 1e-9 <= row[f"share_{side}"] <= max(values) + 1e-9


@pytest.mark.parametrize(
    ("path", "status", "words"),
    [
        ("/?kind=nothing", 400, "one of http"),
        ("/?min_change=much", 400, "not a number"),
        ("/?top=100000", 400, "from 1 to 500"),
        ("/?colour=red", 400, "no parameter"),
        ("/?base=soon", 400, "cannot read the period"),
        ("/?head=today", 400, "head without base"),
        ("/edge?edge_kind=db&caller=nobody&callee=nothing", 404, "no edge"),
        ("/service/nobody", 404, "no service nobody"),
        ("/trace/xyz", 400, "invalid trace ID"),
        ("/trace/00000000000000000000000000000001", 404, "no trace"),
        ("/paths?entry=zz", 400, "not the id of an entry"),
        ("/paths?entry=0000000000000001", 404, "no entry"),
        ("/nowhere", 404, "no page"),
        ("/static/../pyproject.toml", 404, ""),
        ("/?base=2001&head=2002", 404, "holds no traces"),
    ],
)
def test_what_cannot_be_answered_gets_a_sentence_on_the_page_and_in_the_twin(
    client, incident, path: str, status: int, words: str
) -> None:
    """Never a traceback, always the value and what to do."""
    if ("base" not in path and "head" not in path and "?" in path) or path.startswith(("/service", "/edge")):
        joint = "&" if "?" in path else "?"
        path += joint + "&".join(f"{k}={v}" for k, v in incident[1].items())
    answer = client.get(path)
    assert answer.status_code == status
    assert words in answer.text.replace("&#39;", "'")
    if not path.startswith(("/nowhere", "/static")):
        twin = client.get("/api/growth" + path[1:] if path.startswith("/?") else "/api" + path)
        assert twin.status_code == status
        assert words in twin.json()["error"] + (twin.json()["hint"] or "")


def test_a_head_without_traces_is_not_blamed_on_base(client, incident) -> None:
    """BASE is there; it is HEAD's period that holds nothing."""
    said = client.get("/api/growth", params={"base": incident[1]["base"], "head": "2031-01"}).json()
    assert "HEAD (2031-01" in said["error"]


def test_an_error_page_leads_on(client, incident) -> None:
    """Its twin is the one that was asked for, and its links answer."""
    query = "&".join(f"{k}={v}" for k, v in incident[1].items())
    for path in (
        f"/service/nobody?{query}",
        f"/edge?{query}&caller=nobody&edge_kind=db",
        "/?base=2001&head=2002",
    ):
        links = [link for link in parsed(client.get(path).text).hrefs if link.startswith("/")]
        twin = next(link for link in links if link.startswith("/api/") and "openapi" not in link)
        assert "{" not in twin
        assert client.get(twin).json()["error"]
        assert "/?base=all" in links
        assert client.get("/?base=all").status_code == 200


def test_a_period_alone_says_that_nothing_is_compared(client, incident) -> None:
    """Call paths of an entry that base lacks are shown, and called what they are."""
    page = client.get("/paths", params={"base": "2001", "head": incident[1]["head"]})
    assert page.status_code == 200
    assert "Only head holds units of this entry" in page.text


def test_filters_narrow_verdict_findings_map_and_patterns_too(client, incident) -> None:
    """What does not match is nowhere on the page but where it says so."""
    query = {**incident[1], "kind": "db"}
    page, twin = client.get("/", params=query).text, client.get("/api/growth", params=query).json()
    assert "Only db edges:" in page
    keys = {(e["kind"], e["caller"], e["callee"]) for e in twin["edges"]}
    assert {kind for kind, *_ in keys} <= {"db"}
    for found in twin["findings"]:
        ends = [found["cause"], *(victim["edge"] for victim in found["victims"])]
        assert any((e["kind"], e["caller"], e["callee"]) in keys for e in ends)
    drawn = page[page.index('class="ts-graph"') :].split("</svg>")[0]
    whole = client.get("/", params=incident[1]).text
    assert drawn.count('class="ts-edge"') == len(keys) < whole.count('class="ts-edge"')


def test_an_entry_is_chosen_from_all_of_them(client, incident) -> None:
    """Choosing one does not take the others away."""
    entries = client.get("/api/paths", params=incident[1]).json()["entries"]
    chosen = client.get("/", params={**incident[1], "entry": entries[0]["entry"]}).text
    select = chosen[chosen.index('<select name="entry">') :].split("</select>")[0]
    assert select.count("<option") == 1 + len(entries[:60])


def test_examples_say_when_where_how_long_and_with_how_many_errors(client, incident) -> None:
    """On the page of an edge and of traces, as the trace itself says."""
    edge = client.get("/api/growth", params=incident[1]).json()["edges"][0]
    named = {"edge_kind": edge["kind"], "caller": edge["caller"], "unit": edge["unit"]}
    named |= {"callee": edge["callee"] or "", "operation": edge["operation"] or ""}
    found = client.get("/api/edge", params={**incident[1], **named}).json()["traces"]
    assert {one["side"] for one in found} == {"base", "head"}
    for one in found[:3]:
        trace = client.get(f"/api/trace/{one['trace_id']}").json()
        assert one["spans"] == len(trace["spans"])
        assert one["errors"] == sum(span["error"] for span in trace["spans"])
        assert one["start"][:19] == trace["start"][:19]
        assert one["service"]
    for path in ("/edge", "/traces"):
        page = client.get(path, params={**incident[1], **named}).text
        assert found[0]["service"] in page.partition("Example traces, the slowest first")[2]


def test_call_paths_are_those_of_the_entry_that_grew_and_of_a_kind(client, incident) -> None:
    """Where no entry is named; of a kind the list has those alone, and the picture keeps what holds them."""
    grown = client.get("/api/paths", params=incident[1]).json()["entry"]
    assert grown["ms_head"] - grown["ms_base"] == max(
        (one := client.get("/api/paths", params={**incident[1], "entry": each["entry"]}).json()["entry"])[
            "ms_head"
        ]
        - one["ms_base"]
        for each in client.get("/api/paths", params=incident[1]).json()["entries"][:12]
    )
    kinds = {path["kind"] for path in grown["paths"]}
    kind = sorted(kinds - {"self"})[0]
    some = client.get("/api/paths", params={**incident[1], "kind": kind}).json()["entry"]
    assert some["paths"] == [path for path in grown["paths"] if path["kind"] == kind]
    assert len(some["paths"]) < len(grown["paths"])
    page = client.get("/paths", params={**incident[1], "kind": kind}).text
    assert page.count("aside") > 0
    assert page.count("<tr>") == 1 + len(some["paths"])


def test_who_carries_the_change_is_asked_on_the_page_too(client, incident) -> None:
    """As `diff --explain-by` tells it, and not where nobody asks."""
    told = json.loads(
        command("diff", incident[1]["base"], incident[1]["head"], "--store", incident[0], "--format", "json",
                "--explain-by", "")
    )["explained_by"]  # fmt: skip
    asked = {**incident[1], "explain_by": "all"}
    assert client.get("/api/growth", params=asked).json()["explained_by"] == told
    page = client.get("/", params=asked).text
    assert "by  " in page or "by " in page.partition("Errors, lost work and the tail")[2]
    assert told["values"] == [] or told["values"][0]["value"] in page
    assert client.get("/api/growth", params=incident[1]).json()["explained_by"] is None


def test_rows_can_be_sorted_and_saved(client, incident) -> None:
    """Every order shows the same edges; files hold what the filters leave."""
    orders = {}
    for order in ("", *SORTS):
        found = client.get("/api/growth", params={**incident[1], "sort": order, "top": "500"}).json()["edges"]
        orders[order] = [(e["unit"], e["kind"], e["caller"], e["callee"], e["operation"]) for e in found]
    assert {tuple(sorted(map(str, rows))) for rows in orders.values()} == {
        tuple(sorted(map(str, orders[""])))
    }
    names = [caller for _, _, caller, _, _ in orders["name"]]
    assert names == sorted(names)
    saved = client.get("/export/edges.csv", params={**incident[1], "kind": "db"})
    assert "attachment" in saved.headers["content-disposition"]
    lines = saved.text.splitlines()
    assert len(lines) == 1 + sum(kind == "db" for _, kind, *_ in orders[""])
    svg = client.get("/export/map.svg", params=incident[1]).text
    assert svg.startswith("<svg")
    assert client.get("/export/map.png", params=incident[1]).content[:4] == b"\x89PNG"


def test_words_find_services_edges_entries_and_traces(client, incident) -> None:
    """Everything that has them in its name, and a trace by its first digits; near ones for a slip."""
    found = client.get("/api/search", params={**incident[1], "q": "cart"}).json()["found"]
    assert {"service", "edge"} <= {one["what"] for one in found}
    assert all("cart" in one["name"].lower() for one in found)
    for one in found[:8]:
        assert client.get(one["page"]).status_code == 200, one
    trace = client.get("/api/traces", params=incident[1]).json()["traces"][0]["trace_id"]
    (only,) = client.get("/api/search", params={**incident[1], "q": trace[:12]}).json()["found"]
    assert only["name"] == trace
    assert client.get(only["page"]).status_code == 200
    assert "cartservice" in client.get("/search", params={**incident[1], "q": "cartservise"}).text


def test_an_instant_is_marked_by_a_form_of_the_page_alone(incident, tmp_path: Path) -> None:
    """Another site's form, a request without an origin and a name that is none change nothing."""
    store = tmp_path / "store"
    shutil.copytree(incident[0], store)
    client = client_of(store)
    form = {"name": "release-1.4", "at": "2022-08-22T04:35", "page": "/map", **incident[1]}
    assert client.post("/mark", data=form).status_code == 403
    assert client.post("/mark", data=form, headers={"origin": "http://evil.example"}).status_code == 403
    own = {"origin": "http://127.0.0.1"}
    refused = client.post("/mark", data={**form, "name": "today"}, headers=own)
    assert refused.status_code == 400
    assert "cannot name an instant" in refused.text
    assert open_store(store).marks() == {}
    done = client.post("/mark", data=form, headers=own, follow_redirects=False)
    assert done.status_code == 303
    assert done.headers["location"].startswith("/map?base=")
    assert list(open_store(store).marks()) == ["release-1.4"]
    page = client.get("/", params=incident[1]).text
    assert "<title>release-1.4</title>" in page
    elsewhere = client.post(
        "/mark", data={**form, "page": "//evil.example"}, headers=own, follow_redirects=False
    )
    assert elsewhere.headers["location"].startswith("/?base=")


def test_days_of_a_calendar_become_periods(client) -> None:
    """The last day counts; what is no day says so."""
    days = {
        "base_from": "2026-08-01",
        "base_to": "2026-08-14",
        "head_from": "2026-08-15",
        "head_to": "2026-08-31",
    }
    found = client.get("/periods", params={**days, "kind": "db", "page": "/map"}, follow_redirects=False)
    assert found.status_code == 303
    assert found.headers["location"] == (
        "/map?base=2026-08-01%2F2026-08-15&head=2026-08-15%2F2026-09-01&kind=db"
    )
    assert client.get("/periods", params={**days, "head_to": "soon"}).status_code == 400


def test_periods_are_offered_that_the_store_holds_and_one_address_keeps_them(client, incident) -> None:
    """Presets of an import long ago are its halves, not this week."""
    page = client.get("/", params=incident[1]).text
    offered = page[page.index('class="choices"') :].split("</details>")[0]
    assert "the two halves of all there is" in offered
    assert "last week and this week" not in offered
    assert "base=2022-08-22T04%3A34%3A08Z%2F2022-08-22T04%3A36%3A01Z" in offered


def test_every_word_with_a_definition_is_in_the_glossary_and_its_meaning_on_the_page(
    client, incident
) -> None:
    """A button's target is there, once."""
    for path, query in pages_of(client, incident[1]).items():
        text = client.get(path, params=query).text
        for name in set(re.findall(r'popovertarget="([^"]+)"', text)):
            assert text.count(f'id="{name}"') == 1, (path, name)
    with pytest.raises(KeyError):
        term("a word that nobody defined")


def test_only_reading_is_served(client) -> None:
    """No route changes anything."""
    for method in ("POST", "PUT", "DELETE", "PATCH", "OPTIONS"):
        assert client.request(method, "/").status_code == 405
    assert client.head("/quality").status_code == 200


def test_another_host_or_origin_is_refused(incident) -> None:
    """A name that was rebound to loopback, and pages of other sites, get nothing."""
    client = client_of(incident[0])
    assert client.get("/quality", headers={"host": "evil.example"}).status_code == 421
    assert client.get("/quality", headers={"host": "localhost:8317"}).status_code == 200
    assert client.get("/quality", headers={"host": "[::1]:8317"}).status_code == 200
    assert client.get("/quality", headers={"origin": "http://evil.example"}).status_code == 403
    assert client.get("/quality", headers={"origin": "http://127.0.0.1"}).status_code == 200


def test_a_token_is_asked_for_when_there_is_one(incident) -> None:
    """Bearer from programs; a browser's password prompt is as good."""
    client = client_of(incident[0], allow=lambda header: header == "Bearer first")
    refused = client.get("/quality")
    assert refused.status_code == 401
    assert "Basic" in refused.headers["www-authenticate"]
    assert client.get("/static/tracescope.css").status_code == 401
    assert client.get("/quality", headers={"authorization": "Bearer other"}).status_code == 401
    assert client.get("/quality", headers={"authorization": "Bearer first"}).status_code == 200
    assert client.get("/quality", auth=("anybody", "first")).status_code == 200
    assert client.get("/quality", auth=("first", "other")).status_code == 401
    assert client.get("/quality", headers={"authorization": "Basic ???"}).status_code == 401


def test_the_openapi_description_names_every_route_and_parameter(client) -> None:
    """A route or a parameter that is not described does not exist."""
    said = client.get("/api/openapi.json").json()
    assert set(said["paths"]) == {path.replace(":path", "") for path, _ in api.ROUTES} | {"/api/mute"}
    for path in said["paths"].values():
        (asked,) = path.values()
        names = {parameter["name"] for parameter in asked["parameters"] if parameter["in"] == "query"}
        assert names == set(View.__dataclass_fields__)


def test_a_view_survives_its_own_link() -> None:
    """Writing a state into a URL and reading it back changes nothing."""
    view = View(
        base="2026-08", head="30d", kind="db", min_change=0.4, top=30, caller="a&b=c", operation="é ?#"
    )
    client = TestClient(lambda scope, receive, send: None)  # type: ignore[arg-type, return-value]
    query = dict(client.build_request("GET", view.url("/edge")).url.params)
    assert read(query) == view
    assert View().url("/") == "/"


def span(
    trace: int, number: int, parent: int, name: str, begin: int, end: int, **more: Any
) -> dict[str, Any]:
    return {
        "traceId": f"{trace:032x}", "spanId": f"{number:016x}",
        "parentSpanId": f"{parent:016x}" if parent else "", "name": name,
        "startTimeUnixNano": str(begin), "endTimeUnixNano": str(end), **more,
    }  # fmt: skip


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store in which every name is an attack, in two halves an hour apart."""
    folder = tmp_path_factory.mktemp("hostile")
    lines: list[bytes] = []
    now = time.time_ns() - 4 * 3_600_000_000_000
    trace = 1
    for half in range(2):
        for at in range(40):
            begin = now + half * 3_600_000_000_000 + at * 1_000_000_000
            for number, name in enumerate(HOSTILE):
                length = 5_000_000 * (1 + half * number)
                rows = [
                    span(trace, 1, 0, name, begin, begin + length + 2_000_000, kind=2),
                    span(trace, 2, 1, name, begin + 1_000_000, begin + length, kind=3, attributes=[
                        {"key": "db.system.name", "value": {"stringValue": name}},
                        {"key": "db.namespace", "value": {"stringValue": name}},
                    ]),
                ]  # fmt: skip
                attributes = [{"key": "service.name", "value": {"stringValue": name}}]
                part = {"resource": {"attributes": attributes}, "scopeSpans": [{"spans": rows}]}
                lines.append(orjson.dumps({"resourceSpans": [part]}))
                trace += 1
    file = folder / "hostile.jsonl"
    file.write_bytes(b"\n".join(lines) + b"\n")
    command("import", file, "--store", folder / "store")
    return folder / "store"


def test_hostile_names_stay_text_on_every_page(hostile: Path) -> None:
    """No tag, no control character, no direction mark, nothing 10 KB long."""
    client = client_of(hostile)
    for path, query in pages_of(client, {"base": "all"}).items():
        page = client.get(path, params=query)
        assert page.status_code == 200, (path, page.text[:300])
        check_tame(page.text)
    check_tame(client.get("/report", params={"base": "all"}).text)


def test_hostile_names_stay_text_on_paper(hostile: Path, tmp_path: Path) -> None:
    """The PDF opens in another reader, and its text is as tame as the page's."""
    pypdf = pytest.importorskip("pypdf", reason="the `test` extra brings pypdf")
    pytest.importorskip("weasyprint", exc_type=OSError, reason="no Pango on this machine")
    command("report", "all", "--store", hostile, "-o", tmp_path / "review.pdf")
    said = "\n".join(page.extract_text() for page in pypdf.PdfReader(tmp_path / "review.pdf").pages)
    assert "alert(1)" in said
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f\u202a-\u202e\u2066-\u2069]", said)
    assert "long" * 400 not in said.replace("\n", "")


def check_tame(text: str) -> None:
    assert "<script>alert" not in text
    assert "<img" not in text
    assert "49" not in re.findall(r"<h1>[^<]*", text)
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f\u202a-\u202e\u2066-\u2069]", text)
    shown = re.sub(r'(href|value|content)="[^"]*"', "", text)
    shown = re.sub(r'<script type="application/json".*?</script>', "", shown, flags=re.DOTALL)
    assert "long" * 400 not in shown


def test_the_report_is_one_file_that_asks_for_nothing(client, incident, tmp_path: Path) -> None:
    """No script that runs, no address but the data inside; the command writes the same file."""
    store, query = incident
    said = command("report", query["base"], query["head"], "--store", store, "--tz", "UTC")
    links = parsed(said)
    assert links.loads == []
    assert all(link.startswith("#") for link in links.hrefs)
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", said)
    data = json.loads(re.search(r'id="data">(.*?)</script>', said, re.DOTALL)[1])  # type: ignore[index]
    assert data["schema"] == "tracescope.diff/1"
    assert data["edges"]
    assert f"tracescope report {query['base']} {query['head']}" in said
    web = client.get("/report", params=query)
    assert "attachment" in web.headers["content-disposition"]
    made = re.compile(r"made \d+ \w+ \d+ [\d:]+")
    assert made.sub("", web.text) == made.sub("", said)
    command(
        "report", query["base"], query["head"], "--store", store, "--tz", "UTC", "-o", tmp_path / "r.html"
    )
    assert made.sub("", (tmp_path / "r.html").read_text()) == made.sub("", said)


def test_an_empty_store_says_so_on_every_page(tmp_path: Path) -> None:
    """The next command stands there, not a traceback."""
    client = client_of(tmp_path / "none")
    for path in ("/", "/paths", "/traces", "/quality", "/edge?caller=a"):
        answer = client.get(path)
        assert answer.status_code == 404
        assert "tracescope import FILE" in answer.text


def test_a_store_that_is_still_empty_says_where_it_listens_and_how_to_send(tmp_path: Path) -> None:
    """The addresses and what to put into a Collector; the page asks until there are spans."""
    open_store(tmp_path / "new", create=True)
    receivers = {"grpc": "127.0.0.1:4317", "http": "http://127.0.0.1:4318"}
    client = client_of(tmp_path / "new", receivers=lambda: receivers)
    page = client.get("/")
    assert page.status_code == 200
    for words in (
        "endpoint: 127.0.0.1:4317",
        "OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:4318",
        "data-await-spans",
    ):
        assert words in page.text
    assert client.get("/api/state").json() == {"spans": 0, "unsealed_spans": 0, "last": None}
    alone = client_of(tmp_path / "new").get("/")
    assert "nobody listens here" in alone.text
    assert "tracescope import" in alone.text


def counted(make: Callable[[], Any], calls: list[int]) -> Callable[..., Any]:
    def count(*arguments: Any, **named: Any) -> Any:
        calls.append(1)
        return make(*arguments, **named)

    return count


def test_answers_are_remembered_until_the_store_changes(incident, monkeypatch, tmp_path: Path) -> None:
    """The same question costs once; new spans make it cost again."""
    from tracescope import session as module

    command("import", DATA / "opensearch-otel" / "spans.jsonl", "--store", tmp_path / "store")
    calls: list[int] = []
    monkeypatch.setattr(module, "compare_sides", counted(module.compare_sides, calls))
    client = client_of(tmp_path / "store")
    first = client.get("/api/growth", params={"base": "all"})
    assert client.get("/api/growth", params={"base": "all"}).json() == first.json()
    assert len(calls) == 1
    command("import", DATA / "hotrod" / "spans.jsonl.gz", "--store", tmp_path / "store")
    client.get("/api/growth", params={"base": "all"})
    assert len(calls) == 2


def test_each_period_is_read_once_for_all_pages(incident, monkeypatch) -> None:
    """Growth, map, edge, paths and report rest on the same rollups, whatever filter stands in the URL."""
    from tracescope.engine import compare as module

    read: list[tuple[str, ...]] = []

    def noted(make: Callable[..., Any]) -> Callable[..., Any]:
        def made(*arguments: Any, **named: Any) -> Any:
            read.append(arguments[2].tables)
            return make(*arguments, **named)

        return made

    monkeypatch.setattr(module, "rollups_in", noted(module.rollups_in))
    client, query = client_of(incident[0]), incident[1]
    for path, more in pages_of(client, query).items():
        assert client.get(path, params=more).status_code == 200
    for path, more in (("/map", {}), ("/map", {"level": "service"}), ("/", {"kind": "rpc"}), ("/report", {})):
        assert client.get(path, params={**query, **more}).status_code == 200
    assert sorted(Counter(table for tables in read for table in tables).items()) == [
        ("counters", 2), ("entry_hours", 2), ("entry_sketches", 2), ("path_hours", 2), ("path_sketches", 2),
        ("service_hours", 2),
    ]  # fmt: skip


def test_the_map_carries_the_shares_of_the_diff(client, incident) -> None:
    """The same edge has the same share on the Growth and the Map page."""
    query = incident[1]
    said = {
        (e["kind"], e["caller"], e["callee"], e["operation"]): e
        for e in client.get("/api/growth", params={**query, "top": "500"}).json()["edges"]
        if e["callee"] and e["unit"] == "request"
    }
    drawn = client.get("/api/map", params={**query, "level": "operation"}).json()["edges"]
    both = [
        (e, said[key])
        for e in drawn
        if (key := (e["kind"], e["caller"], e["callee"], e["operation"])) in said
    ]
    assert len(both) > 10
    for one, other in both:
        assert one["share"] == pytest.approx(other["share_head"], abs=1e-9)
        assert one["share_base"] == pytest.approx(other["share_base"], abs=1e-9)


SPACES = {"web": "front", "cart": "shop, the <b>first</b>", "stock": "shop, the <b>first</b>"}


@pytest.fixture(scope="module")
def spaced(tmp_path_factory: pytest.TempPathFactory) -> TestClient:
    """Web of one namespace calls cart, and that stock, both of another, whose name is hard to link to."""
    folder = tmp_path_factory.mktemp("spaced")
    lines: list[bytes] = []
    for trace in range(1, 81):
        begin = time.time_ns() - (5 - trace // 41) * 3_600_000_000_000 + trace * 1_000_000_000
        end, parent = begin + 9_000_000, 0
        for number, (service, space) in enumerate(SPACES.items()):
            rows = [
                span(trace, 2 * number + kind - 1, parent + kind - 2, "GET /", begin, end, kind=kind)
                for kind in (2, 3)[: 1 + (number < 2)]
            ]
            if number == 0:
                rows[0]["parentSpanId"] = ""
            parent = 2 * number + 2
            attributes = [
                {"key": key, "value": {"stringValue": value}}
                for key, value in (("service.name", service), ("service.namespace", space))
            ]
            part = {"resource": {"attributes": attributes}, "scopeSpans": [{"spans": rows}]}
            lines.append(orjson.dumps({"resourceSpans": [part]}))
    file = folder / "spaced.jsonl"
    file.write_bytes(b"\n".join(lines) + b"\n")
    command("import", file, "--store", folder / "store")
    return client_of(folder / "store")


def nodes_of(client: TestClient, page: str) -> set[tuple[str, str]]:
    found = client.get("/api" + page).json()["nodes"]
    return {(node["id"], node["type"]) for node in found}


def test_namespaces_collapse_and_open_by_links_alone(spaced: TestClient) -> None:
    """All of it is in the URL; each link undoes itself; a service that is focused on is always seen."""
    shop = SPACES["cart"]
    closed, one = ("web", "service"), (shop, "namespace")
    assert nodes_of(spaced, "/map?base=all") == {(name, "service") for name in SPACES}

    def chips(page: str) -> list[str]:
        answer = spaced.get(page)
        assert answer.status_code == 200
        assert "<b>first" not in answer.text
        return [link for link in parsed(answer.text).hrefs if link.startswith("/map") and "but=" in link]

    collapse = next(link for link in chips("/map?base=all") if "shop" in link)
    assert nodes_of(spaced, collapse) == {closed, one}
    opened = [link for link in parsed(spaced.get(collapse).text).hrefs if link == "/map?base=all"]
    assert opened  # both the chip and the box lead back
    everything = "/map?base=all&spaces=closed"
    assert nodes_of(spaced, everything) == {("front", "namespace"), one}
    reopened = next(link for link in chips(everything) if "shop" in link)
    assert nodes_of(spaced, reopened) == {("front", "namespace"), ("cart", "service"), ("stock", "service")}
    assert ("stock", "service") in nodes_of(spaced, everything + "&service=stock&hops=1")
    assert nodes_of(spaced, everything + "&service=front&hops=1") == {("front", "namespace"), one}


def test_a_map_of_more_boxes_than_asked_for_is_its_backbone(client, incident) -> None:
    """So many boxes and no more, and words about what is left out."""
    query = {**incident[1], "nodes": "4"}
    assert len(client.get("/api/map", params=query).json()["nodes"]) <= 4
    assert "The backbone: 4 of" in client.get("/map", params=query).text


def test_every_page_and_series_is_documented(client) -> None:
    """A page that README and manual do not name, or a series that its table lacks, does not exist."""
    root = Path(__file__).parent.parent
    readme = (root / "README.md").read_text()
    pages = readme[readme.index("on a web page") :].split("\n\n")[0]
    names = {"growth": "Growth", "quality": "Data quality"}
    for path, _ in api.ROUTES:
        page = path.removeprefix("/api/").split("/")[0]
        if page not in ("openapi.json", "state"):
            assert names.get(page, page.capitalize()) in pages, page
    table = (root / "collector-config" / "receiver.md").read_text()
    for family in GraphSeries(Session("none", Settings())).describe():
        assert f"`{family.name}" in table, family.name


# -- what is no request --


@pytest.mark.parametrize(
    ("body", "code", "words"),
    [
        (b"[" * 4000, 400, "nested too deeply"),
        (b'{"finding": "\\ud800"}', 400, "half a character"),
        (b'{"finding": "\xff"}', 400, "not text in UTF-8"),
        (b'{"findng": "1a2b3c4d"}', 400, "'findng', which is none of finding, until, reason"),
        (b'{"finding": 7}', 400, "object of texts"),
        (b"", 400, "no JSON"),
        (b'{"finding": "' + b"x" * 5000 + b'"}', 413, "more than 4096 bytes"),
    ],
    ids=["deep", "half a character", "no UTF-8", "an unknown member", "a number", "nothing", "too long"],
)
def test_a_body_that_is_none_is_refused_in_words(
    client: TestClient, body: bytes, code: int, words: str
) -> None:
    """Nothing of it is cut off and taken for the whole."""
    answer = client.post("/api/mute", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == code
    assert words in answer.json()["error"]
    assert answer.json()["hint"]


def test_a_form_that_is_too_long_is_refused_whole(client: TestClient) -> None:
    """A name cut in the middle would be another name."""
    form, own = {"name": "x" * 5000, "at": "now"}, {"origin": "http://127.0.0.1"}
    assert client.post("/mark", data=form, headers=own).status_code == 413


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("top=" + "9" * 400, "top is 9999"),
        ("top=1.5", "not a whole number"),
        ("growth=nan", "growth is nan"),
        ("quantile=x", "not a number"),
        ("nope=1", "no parameter 'nope'"),
    ],
)
def test_a_parameter_that_cannot_be_is_told_with_what_can(client: TestClient, query: str, words: str) -> None:
    """Its name, its value, and its range."""
    answer = client.get(f"/api/growth?{query}")
    assert answer.status_code == 400
    assert words in answer.json()["error"]
    assert answer.json()["hint"]


def test_a_method_that_a_path_does_not_take_is_told_with_those_it_does(client: TestClient) -> None:
    """RFC 9110, section 15.5.6: with the header Allow; routes of programs say it in JSON."""
    own = {"origin": "http://127.0.0.1"}
    for path, method, allowed in (
        ("/", "POST", "GET, HEAD"),
        ("/mark", "GET", "POST"),
        ("/mark", "PUT", "POST"),
        ("/api/mute", "GET", "POST"),
        ("/api/growth", "DELETE", "GET, HEAD"),
    ):
        answer = client.request(method, path, headers=own)
        assert (answer.status_code, answer.headers["allow"]) == (405, allowed), path
        said = answer.json()["error"] if path.startswith("/api/") else answer.text
        assert f"{path} takes {allowed}, not {method}" in said


def test_what_the_system_refuses_is_told_by_page_and_tools(
    incident: tuple[Path, dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the path and what to do, in the form of each surface, and without a traceback."""

    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device", "/data/store")

    store = incident[0]
    client, tools = client_of(store), Tools(Session(store, Settings(store=str(store), tz="UTC")))
    monkeypatch.setattr(Session, "status", refuse)
    said = client.get("/api/state")
    assert (said.status_code, said.json()["error"]) == (500, "/data/store: No space left on device")
    assert "`df /data`" in said.json()["hint"]
    page = client.get("/quality")
    assert page.status_code == 500
    assert "/data/store: No space left on device" in page.text
    assert tools.quality() == said.json()
