"""One number for one thing: headroom, drift and weeks of an edge are the same wherever they are shown."""

from __future__ import annotations

import asyncio
import io
import json
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
from tracescope.report.forecast import forecast_text
from tracescope.serving.graph_metrics import GraphSeries
from tracescope.session import Session
from tracescope.web.app import make_app

Name = tuple[str, str, str, str | None, str]
#: What is told of an edge: in a diff, and in a forecast.
SAME = {
    "headroom": "headroom",
    "headroom_ci": "headroom_interval",
    "headroom_at_least": "headroom_at_least",
    "weeks_to_wall": "weeks",
    "weeks_to_wall_ci": "weeks_interval",
}


def command(*arguments: str) -> Any:
    done = CliRunner().invoke(main, list(arguments), catch_exceptions=False)
    assert done.exit_code in (0, 4), (
        done.output
    )  # too little data for a verdict is an answer with numbers, too
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three months of a shop with walls in sight."""
    path = tmp_path_factory.mktemp("one") / "demo"
    command("demo", "--seed", "3", "--store", str(path), "--format", "json")
    return path


@pytest.fixture(params=["demo", "four_weeks"])
def store(request: pytest.FixtureRequest) -> Path:
    return request.getfixturevalue(request.param)


def name(edge: dict[str, Any]) -> Name:
    return edge["unit"], edge["kind"], edge["caller"], edge["callee"], edge["operation"] or ""


def rounded(value: Any) -> Any:
    """As an answer is written: twelve digits."""
    if isinstance(value, list):
        return [rounded(one) for one in value]
    return float(f"{value:.9g}") if isinstance(value, float) else value


def of_diff(edge: dict[str, Any]) -> dict[str, Any]:
    """What a diff, an explanation or a page tell of an edge's wall; nothing where they do not look."""
    names = (*SAME, "growth_pct_per_week", "growth_pct_per_week_ci")
    told = {key: rounded(edge[key]) for key in names}
    return told if any(value is not None for value in told.values()) else {}


def of_forecast(edge: dict[str, Any]) -> dict[str, Any]:
    told = {key: rounded(edge[name]) for key, name in SAME.items()}
    told["growth_pct_per_week"] = rounded(edge["drift"]["pct_per_week"])
    told["growth_pct_per_week_ci"] = rounded(edge["drift"]["interval"])
    return told if any(value is not None for value in told.values()) else {}


def tool(session: Session, name: str, **given: Any) -> Any:
    pytest.importorskip("mcp", reason="the `mcp` extra brings it")
    from tracescope.mcp import make_server

    answer: Any = asyncio.run(make_server(session).call_tool(name, given))
    content = answer[0] if isinstance(answer, tuple) else getattr(answer, "content", answer)
    return json.loads(content[0].text)


def test_every_surface_tells_the_same_of_an_edges_wall(store: Path) -> None:
    """Command line, page, agent's tools, explanation and metrics against the forecast's JSON."""
    where = ("--store", str(store), "--format", "json")
    seen = command("forecast", *where)
    truth = {name(edge): of_forecast(edge) for edge in seen["edges"]}
    session = Session(store, Settings(store=str(store)))
    client = TestClient(make_app(session), base_url="http://127.0.0.1")
    diff = command("diff", *where, "--all")
    assert seen["verdict"]["stage"] == diff["verdict"]["stage"]
    assert seen["verdict"]["early_warning"] == diff["verdict"]["early_warning"]
    compared = 0
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
                assert rounded(getattr(explained.edge, key)) == told[key]
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
    if "demo" in store.name:
        assert compared >= 4  # one edge at least has a number, on all four


def test_a_number_does_not_change_with_what_it_is_compared_with(demo: Path) -> None:
    """The same HEAD against another BASE: the same headroom, drift and weeks."""
    session = Session(demo, Settings(store=str(demo)))
    told: list[dict[Name, dict[str, Any]]] = []
    for base in ("last-week", "last-month"):
        where = ("--store", str(demo), "--format", "json", "--all")
        edges = command("diff", base, "this-week", *where)["edges"]
        told.append({name(edge): of_diff(edge) for edge in edges if of_diff(edge)})
    both = told[0].keys() & told[1].keys()
    assert all(told[0][key] == told[1][key] for key in both)
    assert session.ask().forecast(horizon_weeks=12.0)[1].state


def test_the_text_of_a_forecast_has_the_numbers_of_its_json(demo: Path) -> None:
    """Headroom as printed is headroom as written."""
    from rich.console import Console

    found, outlook = Session(demo, Settings(store=str(demo))).ask().forecast(horizon_weeks=12.0)
    console = Console(width=250, record=True, file=io.StringIO())
    console.print(forecast_text(found, outlook, top=50))
    text = console.export_text()
    for edge in found.edges:
        if edge.headroom is not None:
            assert f"{edge.headroom:.2f}×" in text or f"{edge.headroom:.3g}×" in text, edge.headroom
