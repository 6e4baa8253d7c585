"""One question has one answer, whoever asks it: command line, page, agent, report and metrics."""

from __future__ import annotations

import asyncio
import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from simulated import START_NS, Work, call, publish, query, serve, spans
from starlette.testclient import TestClient
from stores import land, new_store

from tracescope.cli import main
from tracescope.config import Settings
from tracescope.engine.seal import seal
from tracescope.session import Session
from tracescope.web.app import make_app

DATA = Path(__file__).parent / "data"
#: When two load levels of the hotel were recorded.
LEVELS = ("2022-06-20T19:34:17Z/2022-06-20T19:36:36Z", "2022-06-20T22:53:47Z/2022-06-20T22:54:21Z")
DAYS = 28
BASE, HEAD = "2025-06-02/2025-06-16", "2025-06-16/2025-06-30"
WHOLE = "2025-06-02/2025-06-30"
#: Settings that change what is asked, and with them every number.
ASKED: dict[str, dict[str, Any]] = {
    "all": {},
    "excluded": {"exclude": "pay"},
    "included": {"include": "GET", "min_effect": 0.5},
    "other zone": {"tz": "Asia/Tokyo"},
}


def program(rng: np.random.Generator, at: float) -> Work:
    """Two entries and a queue; the database behind one of them gets slower, the other is asked for more."""
    slow = 3.0 + 4.0 * (at >= 0.5)
    if rng.random() < 0.2 + 0.2 * (at >= 0.5):
        pay = query("postgresql/pay", "INSERT pay", 9.0 * rng.lognormal(0, 0.2))
        return serve("shop", "POST /pay", 1.0, [pay, publish("orders", 2.0, "mailer", 1.0)])
    stock = call("stock", "GET /items", 1.0, [query("postgresql/stock", "SELECT items", slow, times=2)])
    return serve("shop", "GET /", 2.0, [stock, query("redis/cart", "GET cart", rng.lognormal(0, 0.3))])


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four weeks, sealed."""
    made = new_store(tmp_path_factory.mktemp("surfaces") / "store")
    land(made, spans(program, start_ns=START_NS, hours=24 * DAYS, per_hour=3), "all")
    seal(made)
    return made.root


@pytest.fixture(params=ASKED, ids=str)
def asked(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Settings, for the surfaces of this process and in the environment for commands."""
    settings = {"tz": "UTC", **ASKED[request.param]}
    for name, value in settings.items():
        monkeypatch.setenv(f"TRACESCOPE_{name.upper()}", str(value))
    return settings


def command(*arguments: str, codes: tuple[int, ...] = (0,)) -> str:
    done = CliRunner().invoke(main, list(arguments), catch_exceptions=False)
    assert done.exit_code in codes, done.output
    return done.stdout


def session(store: Path, settings: dict[str, Any]) -> Session:
    return Session(store, Settings(store=str(store), **settings))


def page(store: Path, settings: dict[str, Any], path: str, **view: str) -> Any:
    client = TestClient(make_app(session(store, settings)), base_url="http://127.0.0.1")
    answer = client.get(path, params=view)
    assert answer.status_code == 200, answer.text
    return answer.json()


def tool(store: Path, settings: dict[str, Any], name: str, **given: Any) -> Any:
    pytest.importorskip("mcp", reason="the `mcp` extra brings it")
    from tracescope.mcp import make_server

    answer: Any = asyncio.run(make_server(session(store, settings)).call_tool(name, given))
    content = answer[0] if isinstance(answer, tuple) else getattr(answer, "content", answer)
    return json.loads(content[0].text)


def differences(one: Any, other: Any, where: str = "") -> list[str]:
    """Where two answers are not the same; members that one of them lacks are not compared."""
    if isinstance(one, dict) and isinstance(other, dict):
        common = one.keys() & other.keys()
        return [line for key in common for line in differences(one[key], other[key], f"{where}.{key}")]
    if isinstance(one, list) and isinstance(other, list):
        if len(one) != len(other):
            return [f"{where}: {len(one)} and {len(other)}"]
        return [
            line
            for k, both in enumerate(zip(one, other, strict=True))
            for line in differences(*both, f"{where}[{k}]")
        ]
    if isinstance(one, float) and isinstance(other, int | float):
        return (
            [] if math.isclose(one, other, rel_tol=1e-9, abs_tol=1e-12) else [f"{where}: {one} and {other}"]
        )
    return [] if one == other else [f"{where}: {one!r} and {other!r}"]


def test_a_diff_is_the_same_on_every_surface(store: Path, asked: dict[str, Any]) -> None:
    """Clock, effects, verdict, entries and every edge; the report in as many digits as it shows."""
    periods = [BASE, HEAD, "--store", str(store)]
    told = json.loads(command("diff", *periods, "--format", "json"))
    growth = page(store, asked, "/api/growth", base=BASE, head=HEAD, top="500")
    agent = tool(store, asked, "diff", base=BASE, head=HEAD, top=50)
    assert {
        "clock",
        "edges",
        "entries",
        "effects_total",
        "verdict",
    } <= told.keys() & growth.keys() & agent.keys()
    assert differences(told, growth) == []
    assert differences(told, agent) == []
    document = command("diff", *periods, "--format", "markdown")
    first = told["edges"][0]
    assert first["significant"]
    clock = told["clock"]
    shown = re.findall(r"mean ([\d.]+) ms", document)[:2]
    assert [float(number) for number in shown] == pytest.approx(
        [clock["base_ms"], clock["head_ms"]], rel=5e-3
    )
    review = command("report", *periods, "--format", "markdown")
    rows = [line for line in document.splitlines() if re.match(r"\| \d+ \|", line)]
    assert rows == [line for line in review.splitlines() if line in rows]


def test_settings_change_what_is_compared(store: Path) -> None:
    """Else the test above would hold for settings that nobody reads."""
    means = set()
    for name, settings in ASKED.items():
        growth = page(store, {"tz": "UTC", **settings}, "/api/growth", base=BASE, head=HEAD)
        entries = {entry["operation"] for entry in growth["entries"]}
        assert ("POST /pay" in entries) == (name in ("all", "other zone")), name
        means.add(round(growth["clock"]["head_ms"], 6))
    assert len(means) >= 2


def test_one_edge_is_the_same_on_every_surface(store: Path, asked: dict[str, Any]) -> None:
    """Explained by the command, the page and the agent, and as it stands in the diff."""
    periods = [BASE, HEAD, "--store", str(store)]
    first = json.loads(command("diff", *periods, "--format", "json"))["edges"][0]
    name = f"{first['caller']} -> {first['callee']}"
    told = json.loads(command("explain", name, BASE, HEAD, "--store", str(store), "--format", "json"))
    key = {"unit": first["unit"], "edge_kind": first["kind"], "caller": first["caller"],
           "callee": first["callee"], "operation": first["operation"]}  # fmt: skip
    seen = page(store, asked, "/api/edge", base=BASE, head=HEAD, **key)["edge"]
    agent = tool(
        store, asked, "explain", base=BASE, head=HEAD, caller=first["caller"], callee=first["callee"]
    )
    explained = told.get("edge", told)
    assert {"credited_ms", "significant"} <= explained.keys() & seen.keys() & agent["edge"].keys()
    for other in (explained, seen, agent["edge"]):
        assert differences(first, other) == []


def test_a_graph_is_the_same_on_every_surface(store: Path, asked: dict[str, Any]) -> None:
    """And its edges have the shares and times of the diff's."""
    told = json.loads(
        command(
            "graph", "--diff", BASE, HEAD, "--level", "operation", "--store", str(store), "--format", "json"
        )
    )
    seen = page(store, asked, "/api/map", base=BASE, head=HEAD, level="operation")
    agent = tool(store, asked, "graph", base=BASE, head=HEAD, level="operation")
    assert {"nodes", "edges"} <= told.keys() & seen.keys() & agent.keys()
    assert differences(told, seen) == []
    assert differences(seen, agent) == []
    edges = json.loads(command("diff", BASE, HEAD, "--store", str(store), "--format", "json"))["edges"]
    drawn = {(e["kind"], e["caller"], e["callee"], e["operation"]): e for e in seen["edges"]}
    checked = 0
    for edge in edges:
        if edge["unit"] == "request" and edge["callee"] is not None and edge["kind"] != "queue":
            one = drawn[edge["kind"], edge["caller"], edge["callee"], edge["operation"]]
            assert one["share"] == pytest.approx(edge["share_head"], rel=1e-9)
            checked += 1
    assert checked >= 2


def test_a_forecast_is_the_same_on_every_surface(store: Path, asked: dict[str, Any]) -> None:
    told = json.loads(command("forecast", "--store", str(store), "--format", "json", "--horizon", "12w"))
    seen = page(store, asked, "/api/forecast", horizon="12")
    agent = tool(store, asked, "forecast", horizon=12)
    assert told["edges"]
    assert {"verdict", "edges", "entries"} <= told.keys() & seen.keys() & agent.keys()
    assert differences(told, seen) == []
    assert differences(seen, agent) == []


def test_the_same_command_twice_gives_the_same_bytes(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """To the last digit and in the same order, whatever threads add up first."""
    monkeypatch.setenv("TRACESCOPE_TZ", "UTC")
    commands = (
        ("diff", BASE, HEAD), ("graph", "--diff", BASE, HEAD), ("forecast",),
        ("explain", "stock -> postgresql/stock", BASE, HEAD),
    )  # fmt: skip
    for one in commands:
        texts = {command(*one, "--store", str(store), "--format", "json") for _ in range(4)}
        assert len(texts) == 1, one[0]


@pytest.fixture(scope="module")
def hotel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two load levels of a hotel, with the spans as they were sent."""
    folder = tmp_path_factory.mktemp("surfaces") / "hotel"
    files = [str(DATA / "dsb-hotel" / f"load{level}.jsonl.gz") for level in (25, 150)]
    command("import", *files, "--store", str(folder))
    return folder


def hotel_diff(hotel: Path, *more: str) -> dict[str, Any]:
    """As JSON, without the words on what was read."""
    told = json.loads(
        command("diff", *LEVELS, "--store", str(hotel), "--format", "json", "--tz", "UTC", *more)
    )
    told.pop("notes")
    return told


def test_a_condition_that_holds_for_all_is_no_condition(hotel: Path) -> None:
    """`--where` that every trace fulfils reads spans instead of rollups, and finds the same."""
    plain = hotel_diff(hotel)
    assert plain["edges"]
    assert differences(plain, hotel_diff(hotel, "--where", "service.name=frontend")) == []
    none = ["diff", *LEVELS, "--store", str(hotel), "--where", "service.name=nobody"]
    command(*none, codes=(4,))


def test_a_quantile_of_nearly_none_is_no_quantile(hotel: Path) -> None:
    """Every request is above the smallest part of its entry's."""
    plain, some = hotel_diff(hotel), hotel_diff(hotel, "--quantile", "1e-9")
    assert differences(plain, some) == []
    assert differences(plain, hotel_diff(hotel, "--quantile", "0.2")) != []


def test_metrics_count_the_calls_of_the_graph(store: Path) -> None:
    """Every call between two services since the series began, as the graph of that time has them."""
    from test_gauges import samples

    from tracescope.serving.graph_metrics import GraphSeries
    from tracescope.store import open_store

    series = GraphSeries(session(store, {"tz": "UTC"}))
    series._since = min(open_store(store).sealed.pointer().hours)
    counted = {
        (labels["client"], labels["server"]): value
        for labels, value in samples(series)["traces_service_graph_request_total"]
    }
    text = command("graph", WHOLE, "--level", "dependency", "--store", str(store), "--format", "json")
    drawn = json.loads(text)
    calls = {(e["caller"], e["callee"]): e["calls"] for e in drawn["edges"]}
    common = counted.keys() & calls.keys()
    assert ("shop", "stock") in common
    assert len(common) >= 3, (counted, calls)
    for pair in common:
        assert counted[pair] == calls[pair], pair
