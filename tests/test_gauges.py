"""Series from the rollups: what they count, that they are bounded, and that the dashboard asks for them."""

from __future__ import annotations

import json
import re
from pathlib import Path

import polars as pl
import pytest
import stores
from click.testing import CliRunner
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from tracescope.cli import main
from tracescope.config import Settings
from tracescope.engine.forecast import past
from tracescope.engine.seal import seal
from tracescope.ingest.meters import Meters
from tracescope.schema import UNIT_LONG, UNIT_REQUEST
from tracescope.serving import graph_metrics as gauges
from tracescope.serving.graph_metrics import GraphSeries
from tracescope.session import Session
from tracescope.store import SpanStore, open_store

DATA = Path(__file__).parent / "data"
DASHBOARD = Path(__file__).parent.parent / "examples" / "grafana-dashboard.json"


@pytest.fixture
def series(tmp_path: Path) -> GraphSeries:
    """Series of a store of real traces, counted from before its first hour."""
    store = tmp_path / "store"
    arguments = ["import", str(DATA / "opensearch-otel" / "spans.jsonl"), "--store", str(store)]
    assert CliRunner().invoke(main, arguments).exit_code == 0
    made = GraphSeries(Session(store, Settings(store=str(store), tz="UTC")))
    made._since = min(open_store(store).sealed.pointer().hours)
    return made


def samples(series: GraphSeries) -> dict[str, list[tuple[dict[str, str], float]]]:
    """What Prometheus would read."""
    registry = CollectorRegistry()
    registry.register(series)
    found: dict[str, list[tuple[dict[str, str], float]]] = {}
    for family in text_string_to_metric_families(generate_latest(registry).decode()):
        for sample in family.samples:
            found.setdefault(sample.name, []).append((sample.labels, sample.value))
    return found


def test_the_service_graph_series_name_the_golden_map(series: GraphSeries) -> None:
    """Plain calls between services are the thirteen edges of the map, each counted once."""
    golden = json.loads((DATA / "opensearch-otel" / "service_map.json").read_text())
    found = samples(series)
    calls = {
        (labels["client"], labels["server"]): value
        for labels, value in found["traces_service_graph_request_total"]
        if not labels["connection_type"]
    }
    assert {tuple(edge) for edge in golden["edges"]} <= set(calls)
    again = samples(series)
    assert again == found
    for labels, value in found["traces_service_graph_request_client_seconds_count"]:
        pair = {name: labels[name] for name in ("connection_type", "client", "server")}
        assert (pair, value) in found["traces_service_graph_request_total"]


def test_buckets_rise_to_the_count(series: GraphSeries) -> None:
    """A histogram's buckets are cumulative."""
    by_pair: dict[tuple[str, str, str], list[float]] = {}
    for labels, value in samples(series)["traces_service_graph_request_client_seconds_bucket"]:
        by_pair.setdefault((labels["connection_type"], labels["client"], labels["server"]), []).append(value)
    assert by_pair
    for values in by_pair.values():
        assert values == sorted(values)


def test_beyond_the_cap_pairs_count_together(series: GraphSeries, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cardinality is bounded and nothing is lost."""
    whole = sum(value for _, value in samples(series)["traces_service_graph_request_total"])
    monkeypatch.setattr(gauges, "MOST_PAIRS", 3)
    capped = samples(series)["traces_service_graph_request_total"]
    assert len(capped) == 4
    assert sum(value for _, value in capped) == pytest.approx(whole)


def test_no_store_gives_no_samples_and_no_error(tmp_path: Path) -> None:
    """The receiver's own figures are still read."""
    made = GraphSeries(Session(tmp_path / "none", Settings(store=str(tmp_path / "none"))))
    assert samples(made) == {}


def test_the_dashboard_asks_for_series_that_exist() -> None:
    """Every name in an expression is exposed by the receiver or made here."""
    families = Meters().names()
    families += [f.name for f in GraphSeries(Session("none", Settings())).describe()]
    known = {name.removesuffix("_total").removesuffix("_info") for name in families}
    asked: set[str] = set()
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        for target in panel["targets"]:
            asked |= set(re.findall(r"(?:tracescope|traces)_\w+", target["expr"]))
    assert len(asked) > 10
    for name in asked:
        assert re.sub(r"_(total|bucket|sum|count)$", "", name) in known, name


def _with_a_feed(folder: Path) -> SpanStore:
    """Requests of a second, and feeds that stay open for a quarter of an hour, both below a gateway."""
    lines = [
        line
        for number in range(24)
        for at in [f"10:{number * 2:02}:00"]
        for line in (f"R{number} gateway GET-/rooms {at} +2s", f"  R{number} rooms list {at} +1s")
    ]
    for number in range(4):
        lines += [
            f"F{number} gateway GET-/feed 10:0{number}:00 +900s",
            f"  F{number} rooms follow 10:0{number}:00 +890s",
        ]
    store = stores.new_store(folder / "store")
    stores.land(store, stores.spans("\n".join(lines)), "all")
    seal(store)
    return store


def test_long_lived_work_is_a_connection_of_its_own_kind(tmp_path: Path) -> None:
    """A feed of a quarter of an hour is no call that took a quarter of an hour, and no attribute says so."""
    store = _with_a_feed(tmp_path)
    made = GraphSeries(Session(store.root, Settings(store=str(store.root), tz="UTC")))
    made._since = min(store.sealed.pointer().hours)
    found = samples(made)["traces_service_graph_request_client_seconds_sum"]
    seconds = {labels["connection_type"]: value for labels, value in found if labels["server"] == "rooms"}
    assert seconds == {"": pytest.approx(24.0), "long_lived": pytest.approx(4 * 890.0)}


def test_a_forecast_sets_long_lived_work_apart_as_a_diff_does(tmp_path: Path) -> None:
    """The clock of requests is theirs alone, and a note says what was set apart."""
    found = past(_with_a_feed(tmp_path), None)
    clocks = dict(found.tables["entry_hours"].group_by("unit").agg(pl.col("clock_ns").sum()).iter_rows())
    assert clocks == {UNIT_REQUEST: 24 * 2 * 10**9, UNIT_LONG: 4 * 900 * 10**9}
    assert any("GET-/feed" in note for note in found.notes)
