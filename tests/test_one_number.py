"""One number for one thing: headroom, drift and weeks of an edge are the same wherever they are shown."""

from __future__ import annotations

import asyncio
import io
import json
import re
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient
from test_surfaces import store as four_weeks  # noqa: F401 - a fixture

from tracescope.cli import main
from tracescope.config import Settings
from tracescope.report import canonical
from tracescope.report.forecast import forecast_text
from tracescope.serving.graph_metrics import MOST_EDGES, GraphSeries
from tracescope.session import Session
from tracescope.web.app import make_app

Name = tuple[str, str, str, str | None, str]
DATA = Path(__file__).parent / "data" / "nezha"
#: Numbers that the diff of a store has at least, and how it may end: what is compared is not nothing.
LEAST = {"demo": 1200, "store": 100, "incident": 500}
CODES = {"demo": (0,), "store": (0, 4), "incident": (0, 4)}
#: What is told of an edge: in a diff, and in a forecast.
SAME = {
    "headroom": "headroom",
    "headroom_ci": "headroom_interval",
    "headroom_at_least": "headroom_at_least",
    "weeks_to_wall": "weeks",
    "weeks_to_wall_ci": "weeks_interval",
}


def printed(*arguments: str, codes: tuple[int, ...] = (0,)) -> str:
    done = CliRunner().invoke(main, list(arguments), catch_exceptions=False)
    assert done.exit_code in codes, done.output
    return done.stdout


def command(*arguments: str, codes: tuple[int, ...] = (0,)) -> Any:
    return json.loads(printed(*arguments, codes=codes))


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three months of a shop with walls in sight."""
    path = tmp_path_factory.mktemp("one") / "demo"
    command("demo", "--seed", "3", "--store", str(path), "--format", "json")
    return path


@pytest.fixture(scope="module")
def incident(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Real traces of minutes, of which the two halves are compared."""
    path = tmp_path_factory.mktemp("one") / "incident"
    printed("import", *(str(DATA / f"ob0822-05.{side}.jsonl.gz") for side in "AB"), "--store", str(path))
    return path


@pytest.fixture(params=["demo", "four_weeks"])
def weeks(request: pytest.FixtureRequest) -> Path:
    return request.getfixturevalue(request.param)


@pytest.fixture(params=["demo", "four_weeks", "incident"])
def store(request: pytest.FixtureRequest) -> Path:
    return request.getfixturevalue(request.param)


def name(edge: dict[str, Any]) -> Name:
    return edge["unit"], edge["kind"], edge["caller"], edge["callee"], edge["operation"] or ""


def of_diff(edge: dict[str, Any]) -> dict[str, Any]:
    """What a diff, an explanation or a page tell of an edge's wall; nothing where they do not look."""
    names = (*SAME, "growth_pct_per_week", "growth_pct_per_week_ci")
    told = {key: edge[key] for key in names}
    return told if any(value is not None for value in told.values()) else {}


def of_forecast(edge: dict[str, Any]) -> dict[str, Any]:
    told = {key: edge[name] for key, name in SAME.items()}
    told["growth_pct_per_week"] = edge["drift"]["pct_per_week"]
    told["growth_pct_per_week_ci"] = edge["drift"]["interval"]
    return told if any(value is not None for value in told.values()) else {}


def tool(session: Session, name: str, **given: Any) -> Any:
    pytest.importorskip("mcp", reason="the `mcp` extra brings it")
    from tracescope.mcp import make_server

    answer: Any = asyncio.run(make_server(session).call_tool(name, given))
    content = answer[0] if isinstance(answer, tuple) else getattr(answer, "content", answer)
    return json.loads(content[0].text)


def same(told: Any, truth: Any, at: str = "") -> int:
    """How many numbers two answers have in common; fails where they are not the same answer."""
    if isinstance(truth, dict):
        assert isinstance(told, dict), at
        assert set(told) == set(truth), at
        return sum(same(told[key], truth[key], f"{at}.{key}") for key in truth)
    if isinstance(truth, list):
        assert len(told) == len(truth), at
        return sum(
            same(one, other, f"{at}[{n}]") for n, (one, other) in enumerate(zip(told, truth, strict=True))
        )
    assert told == truth, at
    return int(isinstance(truth, int | float) and not isinstance(truth, bool))


def embedded(store: Path, folder: Path) -> Any:
    """The numbers that a report carries with it."""
    file = folder / "review.html"
    printed("report", "--store", str(store), "-o", str(file))
    found = re.search(
        r'<script type="application/json" id="data">(.*?)</script>', file.read_text(), re.DOTALL
    )
    assert found is not None
    return json.loads(found[1])


def samples(session: Session) -> dict[str, list[tuple[dict[str, str], float]]]:
    """What `/metrics` says of the verdict, by a series' name."""
    registry = CollectorRegistry()
    registry.register(GraphSeries(session))
    families = text_string_to_metric_families(generate_latest(registry).decode())
    return {family.name: [(one.labels, one.value) for one in family.samples] for family in families}


#: Series of an edge, the field of JSON that each is, and what it is multiplied by.
EDGE_SERIES: dict[str, tuple[str, float]] = {
    "share": ("share_head", 1.0),
    "credited_seconds": ("credited_ms", 1e-3),
    "q_value": ("q_value", 1.0),
    "growth_percent_per_week": ("growth_pct_per_week", 1.0),
    "headroom": ("headroom", 1.0),
    "weeks_to_wall": ("weeks_to_wall", 1.0),
}


def test_every_number_of_a_diff_is_one_on_all_surfaces(store: Path, tmp_path: Path) -> None:
    """Command line, page, agent's tool, report, digest and the page of each edge: all fields, all edges."""
    truth = command("diff", "--store", str(store), "--format", "json", "--all", codes=CODES[store.name])
    session = Session(store, Settings(store=str(store)))
    client = TestClient(make_app(session), base_url="http://127.0.0.1")
    page = client.get("/api/growth", params={"top": "500"}).json()
    told = tool(session, "diff", top=500)
    assert len(truth["edges"]) == truth["edges_in_all"] <= 50
    compared = []
    for found in (page, told, embedded(store, tmp_path)):
        compared.append(same({key: found[key] for key in truth}, truth))
    assert min(compared) == max(compared) >= LEAST[store.name]
    for edge in truth["edges"]:
        key = {name: edge[name] or "" for name in ("unit", "caller", "callee", "operation")}
        same(client.get("/api/edge", params={**key, "edge_kind": edge["kind"]}).json()["edge"], edge)
    digest = command("digest", "--store", str(store), "--format", "json")
    same(digest["findings"], truth["findings"][: len(digest["findings"])])
    assert len(digest["findings"]) == min(len(truth["findings"]), 3)
    assert store.name != "demo" or len(digest["findings"]) == 3


def test_every_number_of_a_series_is_that_of_the_diff(store: Path) -> None:
    """Each sample of each edge and finding; what has no number has no sample, and what has one has one."""
    truth = command("diff", "--store", str(store), "--format", "json", "--all", codes=CODES[store.name])
    found = samples(Session(store, Settings(store=str(store))))
    first: dict[tuple[str, ...], dict[str, Any]] = {}
    for edge in truth["edges"][:MOST_EDGES]:
        labels = edge["kind"], edge["caller"], edge["callee"] or "", edge["operation"] or ""
        first.setdefault(labels, edge)
    for series, (field, times) in EDGE_SERIES.items():
        shown = {
            tuple(labels[name] for name in ("kind", "caller", "callee", "operation")): value
            for labels, value in found[f"tracescope_edge_{series}"]
        }
        expected = {key: edge[field] * times for key, edge in first.items() if edge[field] is not None}
        assert shown == pytest.approx(expected, rel=1e-9), series
    for series, (field, times) in {
        "added_seconds": ("added_ms", 1e-3),
        "q_value": ("q_value", 1.0),
        "weeks_left": ("weeks_to_wall", 1.0),
    }.items():  # fmt: skip
        shown_of = {labels["id"]: value for labels, value in found[f"tracescope_finding_{series}"]}
        assert shown_of == pytest.approx(
            {one["id"]: one[field] * times for one in truth["findings"] if one[field] is not None}, rel=1e-9
        ), series
    (state,) = [labels["state"] for labels, value in found["tracescope_verdict"] if value]
    assert state == truth["verdict"]["state"]


def test_every_surface_tells_the_same_of_an_edges_wall(weeks: Path) -> None:
    """Command line, page, agent's tools, explanation and metrics against the forecast's JSON."""
    store = weeks
    where = ("--store", str(store), "--format", "json")
    seen = command("forecast", *where)
    truth = {name(edge): of_forecast(edge) for edge in seen["edges"]}
    session = Session(store, Settings(store=str(store)))
    client = TestClient(make_app(session), base_url="http://127.0.0.1")
    diff = command("diff", *where, "--all", codes=CODES[store.name])
    assert seen["verdict"]["stage"] == diff["verdict"]["stage"]
    assert seen["verdict"]["early_warning"] == diff["verdict"]["early_warning"]
    walls, compared = {key for key, told in truth.items() if told.get("headroom") is not None}, 0
    for found in (
        diff["edges"],
        tool(session, "diff")["edges"],
        client.get("/api/growth", params={"top": "500"}).json()["edges"],
    ):
        for edge in found:
            if (told := of_diff(edge)) and name(edge) in truth:
                assert told == truth[name(edge)], name(edge)
                compared += told["headroom"] is not None
    for again in (client.get("/api/forecast").json(), tool(session, "forecast", growth=2.0)):
        for edge in again["edges"]:
            assert of_forecast(edge) == truth[name(edge)]
    for edge in seen["edges"]:
        if edge["reason"] is None and name(edge) in {name(one) for one in diff["edges"]}:
            words = (
                f"{edge['caller']} -> {edge['callee']}" if edge["callee"] else f"{edge['caller']} (itself)"
            )
            explained = session.ask().explain(session.ask().edge(words, edge["operation"] or None))
            told = truth[name(edge)]
            for key in ("headroom", "headroom_at_least", "weeks_to_wall"):
                assert canonical(getattr(explained.edge, key)) == told[key]
            assert explained.curve is not None
            assert explained.curve.headroom == explained.edge.headroom
            assert explained.curve.peak_load_per_s == pytest.approx(edge["peak_load"], rel=1e-8)
    registry = CollectorRegistry()
    registry.register(GraphSeries(session))
    for family in text_string_to_metric_families(generate_latest(registry).decode()):
        for sample in family.samples if family.name == "tracescope_edge_headroom" else ():
            labels = [sample.labels[key] for key in ("kind", "caller", "callee", "operation")]
            told = {(k[1], k[2], k[3] or "", k[4]): v for k, v in truth.items()}[tuple(labels)]
            assert sample.value == pytest.approx(told["headroom"], rel=1e-8)
            compared += 1
    # wherever an edge is listed its number is: diff, tool, page, metrics
    listed = {name(edge) for edge in diff["edges"]}
    assert compared == 4 * len(walls & listed)
    assert len(walls & listed) >= (2 if store.name == "demo" else 0)


def test_a_number_does_not_change_with_what_it_is_compared_with(demo: Path) -> None:
    """The same HEAD against another BASE: the same headroom, drift and weeks."""
    session = Session(demo, Settings(store=str(demo)))
    told: list[dict[Name, dict[str, Any]]] = []
    for base in ("last-week", "last-month"):
        where = ("--store", str(demo), "--format", "json", "--all")
        edges = command("diff", base, "this-week", *where, codes=(0, 4))["edges"]  # a week may be too short
        told.append({name(edge): of_diff(edge) for edge in edges if of_diff(edge)})
    both = told[0].keys() & told[1].keys()
    assert all(told[0][key] == told[1][key] for key in both)
    assert session.ask().forecast(horizon_weeks=12.0)[1].state


@pytest.mark.parametrize("width", [80, 250])
def test_the_text_of_a_forecast_has_the_numbers_of_its_json(demo: Path, width: int) -> None:
    """Headroom as printed is headroom as written, in a narrow terminal too: nothing is cut."""
    from rich.console import Console

    found, outlook = Session(demo, Settings(store=str(demo))).ask().forecast(horizon_weeks=12.0)
    console = Console(width=width, record=True, file=io.StringIO())
    console.print(forecast_text(found, outlook, top=50, width=width))
    text = " ".join(console.export_text().split())
    assert "…" not in text.replace(" … ", "")
    for edge in found.edges:
        if edge.headroom is not None:
            assert f"{edge.headroom:.2f}×" in text or f"{edge.headroom:.3g}×" in text, edge.headroom
