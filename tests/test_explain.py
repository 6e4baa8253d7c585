"""One edge explained, through the command line, on traces with something to explain."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from tracescope.analysis.explain import choose
from tracescope.cli import main
from tracescope.demo import payloads
from tracescope.engine.seal import seal
from tracescope.errors import UsageError
from tracescope.ingest.decode import decode
from tracescope.report.explain import spark, waterfall
from tracescope.schema import DAY_NS, HOUR_NS
from tracescope.store import open_store

NOW_NS = 1_795_519_253 * 10**9
PERIODS = ("2026-08-25T12:00Z/2026-09-14T12:00Z", "2026-11-04T12:00Z/2026-11-24T12:00Z")


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo's shop, every day of its first and last twenty."""
    where = tmp_path_factory.mktemp("shop") / "store"
    store = open_store(where, create=True)
    end = NOW_NS // HOUR_NS * HOUR_NS
    for number, (day_end, payload) in enumerate(payloads(5, NOW_NS)):
        if (end - day_end) // DAY_NS % 70 < 20:
            spans = decode([payload], day_end)
            store.land(
                spans.spans, batch=f"{number}", accepted=spans.accepted, rejected={}, arrived_ns=NOW_NS
            )
    seal(store)
    return where


def explain(shop: Path, edge: str, options: tuple[str, ...] = ()) -> Result:
    arguments = ["explain", edge, *PERIODS, "--store", str(shop), "--tz", "UTC", *options]
    return CliRunner().invoke(main, arguments, catch_exceptions=False)


def test_a_contending_database_that_drifts_is_explained(shop: Path) -> None:
    """6 % a week at equal load is the truth; effects add up; both periods have traces."""
    result = explain(shop, "inventory -> postgresql/stock", options=("--format", "json"))
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    edge = found["edge"]
    assert edge["growth_pct_per_week"] == pytest.approx(6.0, abs=1.0)
    told = {name: value or 0.0 for name, value in edge["effects"].items()}
    assert told["latency_growth"] > told["latency_load"] > 0
    assert told["latency_unsplit"] == 0
    assert sum(told.values()) == pytest.approx(edge["credited_ms"] + told["transient"], rel=1e-6)
    assert "same load" in found["sentence"]
    assert {sample["period"] for sample in found["load"]["samples"]} == {"base", "head"}
    assert found["load"]["headroom"] > 0
    assert [caller["name"] for caller in found["entries"]] == ["gateway POST /api/checkout"]
    assert edge["exemplars"]["base"]
    assert edge["exemplars"]["head"]
    assert found["weeks"][-1]["ms_per_call"] > 2 * found["weeks"][0]["ms_per_call"]


def test_the_text_shows_curve_weeks_callers_and_traces(shop: Path) -> None:
    """What a reader sees, top to bottom."""
    text = explain(shop, "cart → pricing").stdout
    places = [
        text.index(word)
        for word in ("why", "load curve", "weeks", "entries it lies", "who reaches", "traces")
    ]
    assert places == sorted(places)
    assert "called" in text.splitlines()[0]


def test_a_name_of_several_edges_lists_them(shop: Path) -> None:
    """And an unknown one says where to look; both are usage errors."""
    several = explain(shop, "gateway")
    assert several.exit_code == 2
    assert "gateway -> cart" in several.output
    unknown = explain(shop, "nobody -> nothing")
    assert unknown.exit_code == 2
    assert "tracescope diff --all" in unknown.output


def test_no_edge_is_chosen_by_chance() -> None:
    with pytest.raises(UsageError):
        choose([], "a -> b")


def test_bars_begin_where_the_one_before_ended() -> None:
    """A rise of 3 and a fall of 1."""
    rise, fall = waterfall([("calls", 3.0), ("latency_load", -1.0)], width=30)
    assert rise.count("█") == 30
    assert fall.count("░") == 10
    assert fall.endswith("░")
    assert spark([0.0, 1.0, 2.0]) == "▁▅█"
