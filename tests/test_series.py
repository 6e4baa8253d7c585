"""Edges over time, and call paths of two periods: they must show what the diff compares."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from simulated import START_NS, Work, call, period, query, serve, spans

from tracescope import schema
from tracescope.analysis.comparison.matched import matched_sums
from tracescope.analysis.diff import diff
from tracescope.analysis.evidence.series import edge_series, entry_paths, stretches
from tracescope.analysis.report import Appeared, Change
from tracescope.analysis.topology.graph import graph
from tracescope.report import charts

EIGHTH = int(2**56 * 7 / 8)
DAY_NS = schema.DAY_NS
STOCK = ("request", "db", "shop", "postgresql/stock", "SELECT")


def shop(own: float, stock: float, **more: int) -> Work:
    return serve("shop", "GET /", own, [query("postgresql/stock", "SELECT", stock)], **more)


def sampled_anew(_: np.random.Generator, at: float) -> Work:
    """One request in two spends half its time in the database, the other a tenth; after half of the
    time only one in eight of the other kind is kept, and says so.
    """
    number = round(at * 24 * 18)
    if at < 0.5:
        return shop(10, 10) if number % 2 else shop(18, 2)
    return shop(18, 2, threshold=EIGHTH) if number % 9 == 0 else shop(10, 10)


def test_a_trend_stays_flat_when_only_the_sampling_changes() -> None:
    """Midway eight rows become one that stands for eight: share, ms and calls move nowhere."""
    seen = period(spans(sampled_anew, start_ns=START_NS, hours=24, per_hour=18), START_NS, 24)
    cut = stretches(seen.start_ns, seen.end_ns, seen.slot_ns)
    found = edge_series(seen, cut, [STOCK])[STOCK]
    assert len(found.share) >= 8
    assert found.share == pytest.approx(np.full(len(found.share), 0.3), abs=0.02)
    assert found.own_ms == pytest.approx(np.full(len(found.share), 6.0), abs=0.4)
    assert found.call_ms == pytest.approx(np.full(len(found.share), 6.0), abs=0.4)
    assert found.calls_per_unit == pytest.approx(np.ones(len(found.share)))


def test_call_paths_are_as_long_whatever_was_sampled() -> None:
    """A period sampled at one in eight has the same mean clock and call paths as one that was not."""

    def kept(_: np.random.Generator, at: float) -> Work:
        return shop(10, 10) if round(at * 24 * 18) % 2 else shop(18, 2)

    later = START_NS + DAY_NS
    base = period(spans(kept, start_ns=START_NS, hours=24, per_hour=18), START_NS, 24)
    head = period(spans(sampled_anew, start_ns=later, hours=24, per_hour=18), later, 24)
    found = entry_paths(base.tables, head.tables, base.tables["entries"]["entry_id"][0])
    assert found is not None
    assert found.ms_head == pytest.approx(found.ms_base, rel=0.01)
    for path in found.paths:
        assert path.own_ms_head == pytest.approx(path.own_ms_base, rel=0.03)
        assert path.calls_head == pytest.approx(path.calls_base, rel=0.01)


def weekly(_: np.random.Generator, at: float, days: int, first: int) -> Work:
    """At weekends the database takes most of the time, on weekdays little of it."""
    weekend = (first + int(at * days)) % 7 >= 5
    stock = 40.0 if weekend else 5.0
    return serve("web", "GET /", 5.0, [call("stock", "GET /s", 1.0, [query("pg/stock", "SELECT", stock)])])


def test_shares_in_a_graph_are_the_shares_of_the_diff() -> None:
    """Base has one weekend in five days, head two in fourteen; hours are matched in both alike."""
    base_days, head_days, at = 5, 14, START_NS + 7 * DAY_NS
    base = period(
        spans(lambda r, t: weekly(r, t, base_days, 2), start_ns=START_NS + 2 * DAY_NS, hours=24 * base_days,
              per_hour=1),
        START_NS + 2 * DAY_NS, 24 * base_days,
    )  # fmt: skip
    head = period(
        spans(lambda r, t: weekly(r, t, head_days, 0), start_ns=at, hours=24 * head_days, per_hour=1),
        at,
        24 * head_days,
    )
    report = diff(base, head)
    earlier, later = matched_sums(base, head, "UTC")
    made = graph(later, "operation", base=earlier)
    raw = graph(head.tables, "operation", base=base.tables)
    drawn, unmatched = (
        {(e["kind"], e["caller"], e["callee"], e["operation"]): e for e in one.edges.iter_rows(named=True)}
        for one in (made, raw)
    )
    checked = 0
    for edge in report.edges:
        if edge.callee is None:
            continue
        key = (edge.kind, edge.caller, edge.callee, edge.operation)
        assert drawn[key]["share"] == pytest.approx(edge.share_head, rel=1e-9)
        assert drawn[key]["share_base"] == pytest.approx(edge.share_base, rel=1e-9)
        assert drawn[key]["own_ms"] == pytest.approx(edge.own_ms_head, rel=1e-9)
        checked += unmatched[key]["share"] != pytest.approx(edge.share_head, rel=1e-3)
    assert checked >= 1
    services = {row["name"]: row["share"] for row in made.nodes.iter_rows(named=True)}
    own = {edge.caller: edge.share_head for edge in report.edges if edge.callee is None}
    assert services["web"] == pytest.approx(own["web"], rel=1e-9)


def test_a_step_is_marked_in_its_trend_with_the_version_that_appeared() -> None:
    """The interval, the instant and the words, where the change of an edge has an instant; else nothing."""
    made = [
        period(spans(shop(5, ms), start_ns=at, hours=24, per_hour=4), at, 24)
        for ms, at in ((5, START_NS), (9, START_NS + DAY_NS))
    ]
    base, head = (
        edge_series(side, stretches(side.start_ns, side.end_ns, side.slot_ns), [STOCK])[STOCK]
        for side in made
    )
    found = next(edge for edge in diff(*made).edges if edge.callee == "postgresql/stock")
    assert "change" not in charts.trend(base, head, changes=charts.changes_of(replace(found, change=None)))
    at = START_NS + DAY_NS + 6 * schema.HOUR_NS
    step = Change(at, at - schema.HOUR_NS, at + schema.HOUR_NS, (Appeared("shop", "<2.1>", at),))
    drawn = charts.trend(base, head, changes=charts.changes_of(replace(found, change=step)))
    assert drawn.count('class="change"') == drawn.count('class="change-band"') == 1
    assert "since 3 Jun 2025 (shop &lt;2.1&gt;)" in drawn
