"""The forecast's parts by hand: shares, clocks and trends of a few calls, and what a known wall makes."""

from __future__ import annotations

import math
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest
from scipy import stats
from test_wall_laws import clock, edge, fitted, seen, wall

from tracescope import schema
from tracescope.analysis.capacity import forecast as forecasting
from tracescope.analysis.capacity.forecast import WhatIf, forecast
from tracescope.analysis.capacity.trends import Trend
from tracescope.analysis.capacity.walls import EdgeCurve, Expected, Wall
from tracescope.analysis.rollups.period import PeriodRollups
from tracescope.errors import InsufficientDataError
from tracescope.schema import HOUR_NS

WEEK = 168
MS = 1_000_000
ROW = {
    "unit": 0, "kind": schema.EDGE_DB, "caller": "a", "callee": "db", "operation": "GET", "edge_id": 7,
    "share": 0.25,
}  # fmt: skip


# -- one edge ---------------------------------------------------------------------------------------


def told(curve: EdgeCurve, known: Wall, horizon: float = 12.0, **row: Any) -> forecasting.EdgeForecast:
    return forecasting._edge(ROW | row, (curve, known), horizon, (0.5, 1.5))


def test_an_edge_is_told_with_its_wall_and_what_is_left_of_it_at_the_horizon() -> None:
    """By hand: headroom of two, 2 % more load and 3 % more work a week, ten weeks on."""
    curve = edge(fitted(growth=0.03), seen(8, trend=0.02))
    known = wall(curve, 8)
    one = told(curve, known, 10.0)
    assert one.resilience_gap == pytest.approx(2.0 / math.exp(0.5))
    assert one.resilience_gap_at_least is None
    assert one.ms_now == pytest.approx(10.0 / (1 - 1 / 3))
    assert (one.peak_load, one.highest_load) == (curve.peak_load, curve.highest_load)
    assert (one.unit, one.kind, one.name, one.operation, one.share) == (
        "request",
        "db",
        "a -> db",
        "GET",
        0.25,
    )
    assert (one.headroom, one.weeks, one.drift, one.load_trend) == (
        known.headroom, known.weeks, known.drift, known.load_trend
    )  # fmt: skip
    hidden = edge(fitted(growth=0.03), seen(8, trend=0.02), bends=False)
    beyond = told(hidden, wall(hidden, 8), 10.0)
    assert beyond.resilience_gap is None
    assert beyond.resilience_gap_at_least == pytest.approx(2.0 / math.exp(0.5))
    own = told(curve, known, callee=None, kind=schema.EDGE_SELF)
    assert (own.name, own.kind) == ("a (itself)", "self")
    endless = told(curve, known, 1e9)
    assert endless.resilience_gap == pytest.approx(2.0 / math.exp(50))
    short = edge(fitted(growth=0.03), seen(2))
    assert told(short, wall(short, 2, 8.0)).resilience_gap is None  # no trend, no gap


def test_an_edge_without_a_curve_takes_what_its_calls_took_in_the_last_week() -> None:
    """By its calls, and not by those before."""
    came = seen(2)
    took = np.r_[np.full(WEEK, 9.0), np.full(84, 0.01), np.full(84, 0.03)]
    calls = np.r_[np.full(WEEK, 100.0), np.full(84, 300.0), np.full(84, 100.0)]
    curve = edge(None, replace(came, self_s=took, calls=calls))
    one = told(curve, wall(replace(curve, reason="why"), 2))
    assert one.ms_now == pytest.approx(15.0)
    assert (one.reason, one.resilience_gap, one.resilience_gap_at_least) == ("why", None, None)


def test_what_if_is_todays_time_by_what_is_expected() -> None:
    """Extrapolated beyond the highest load that was seen, and never before it."""
    curve = edge(fitted())
    ratio = (2 / 3) / (1 - 1.5 / 3)
    assert forecasting._one(curve, 6.0, 1.5) == WhatIf(
        1.5, pytest.approx(6 * ratio), None, False, pytest.approx((6 * ratio, 6 * ratio))
    )  # fmt: skip
    assert forecasting._one(curve, 6.0, 1.51).extrapolated
    wide = edge(fitted(apart=0.1))
    expected = wide.expected(1.5)
    assert expected.ratio is not None
    assert expected.interval is not None
    low, high = expected.interval
    assert low < expected.ratio < high
    assert forecasting._one(wide, 6.0, 1.5).interval == pytest.approx((6 * low, 6 * high))
    one = told(wide, wall(wide, 1))
    assert [each.times for each in one.what_if] == [0.5, 1.5]
    assert one.what_if[1].ms == pytest.approx(one.ms_now * expected.ratio)
    full = forecasting._one(curve, 6.0, 4.0)
    assert (full.ms, full.limit, full.interval, full.at_least) == (None, "itself", None, None)
    unseen = forecasting._one(edge(fitted(), bends=False), 6.0, 2.0)
    assert (unseen.ms, unseen.at_least, unseen.limit) == (None, pytest.approx(6 * ratio), None)


def test_past_loads_are_those_of_whole_weeks_in_times_of_todays_peak() -> None:
    curve = edge(fitted(), seen(4, trend=0.1))
    found = forecasting._past_load(curve, 4 * WEEK * HOUR_NS)
    assert [at for at, _ in found] == [-3.5, -2.5, -1.5, -0.5]
    assert [times for _, times in found] == pytest.approx(
        [math.exp(-0.3), math.exp(-0.2), math.exp(-0.1), 1.0]
    )
    idle = replace(curve, whole=replace(curve.whole, load=0 * curve.whole.load))
    assert forecasting._past_load(idle, 4 * WEEK * HOUR_NS) == ()


def test_growth_is_held_against_what_adds_half_a_per_cent_to_the_clock() -> None:
    """An edge of a tenth of it must grow by 5 % in all, spread over the weeks that were seen."""
    units: Any = SimpleNamespace(per_unit=lambda _: (0.02, 0.01, 12))
    curve = edge(fitted(growth=0.03, unsure=0.02), seen(8, trend=0.02))
    known = wall(curve, 8)
    least = math.log(1.05) / 8
    drift, amplified = forecasting._p_values(7, known, units, 0.1, 8.0)
    growth, error, dof = known.drift_logs or (0.0, 0.0, 0.0)
    assert drift == pytest.approx(stats.t.sf((growth - least) / error, dof), rel=1e-5)
    assert amplified.q_value == pytest.approx(stats.t.sf((0.02 - least) / 0.01, 10), rel=1e-5)
    assert amplified.pct_per_week == pytest.approx(100 * math.expm1(0.02))
    never: Any = SimpleNamespace(per_unit=lambda _: (0.0, math.inf, 2))
    blind = wall(replace(edge(None, seen(8)), reason="why"), 8)
    assert forecasting._p_values(7, blind, never, 0.1, 8.0) == (None, Trend(None, None))
    nothing, _ = forecasting._p_values(7, known, units, 0.0, 8.0)
    assert nothing == pytest.approx(1.0, abs=1e-6)


def test_drifts_and_amplifications_are_adjusted_together() -> None:
    """Four tests of two edges, by Benjamini and Hochberg."""
    curve = edge(fitted(growth=0.03, unsure=0.02), seen(8, trend=0.02))
    one = told(curve, wall(curve, 8))
    found = forecasting._tested([(one, 0.01, Trend(1.0, None, 0.04)), (one, 0.02, Trend(2.0, None, 0.5))])
    q = stats.false_discovery_control([0.01, 0.02, 0.04, 0.5])
    assert [each.drift.q_value for each in found] == pytest.approx(q[:2])
    assert [each.amplification.q_value for each in found] == pytest.approx(q[2:])
    assert [each.amplification.pct_per_week for each in found] == [1.0, 2.0]


def test_edges_come_by_weeks_headroom_and_name() -> None:
    curve = edge(fitted(), seen(8))
    one = replace(told(curve, wall(curve, 8)), weeks=5.0, headroom=2.0)
    ordered = [
        replace(one, weeks=0.0, headroom=0.0), one, replace(one, headroom=3.0), replace(one, headroom=None),
        replace(one, weeks=None, headroom=1.0), replace(one, weeks=None, headroom=None, caller="A"),
        replace(one, weeks=None, headroom=None), replace(one, weeks=None, headroom=None, operation="PUT"),
    ]  # fmt: skip
    stirred = [ordered[at] for at in (5, 2, 7, 0, 3, 6, 1, 4)]
    assert sorted(stirred, key=forecasting._urgency) == ordered


# -- one entry --------------------------------------------------------------------------------------


def test_an_entry_ends_by_its_slo_where_that_comes_before_its_wall() -> None:
    """Else by its own clock, and by nothing where neither is reached."""
    names = {3: ("a -> db", "GET"), 4: ("a (itself)", "GET /")}
    one = clock(fitted(growth=0.02), trend=(0.03, 0.0, 9.0))
    own = one.wall(100.0)
    assert forecasting._first_wall(one, None, 100.0, names) == (own, "a -> db")
    soon, limit = forecasting._first_wall(one, 15.0, 100.0, names)
    assert (soon.weeks, soon.weeks_interval) == one.reaches(15.0, 100.0)
    assert limit == "SLO of 15 ms"
    assert soon.headroom == own.headroom
    assert own.weeks is not None
    late = float(one.at(np.ones(400), np.full(400, own.weeks + 0.2), demand=True)[0])
    assert forecasting._first_wall(one, late, 100.0, names) == (own, "a -> db")
    assert forecasting._first_wall(one, 1e9, 100.0, names) == (own, "a -> db")
    same = forecasting._first_wall(one, 9.0, 100.0, names)
    assert (same[0].weeks, same[1]) == (0.0, "SLO of 9 ms")
    still = clock(fitted(), bends=False)
    assert forecasting._first_wall(still, 1e9, 100.0, names)[1] is None


NAMES = {1: ("shop -> db", "SELECT"), 2: ("shop -> cache", "GET"), 3: ("shop", "work")}


def pushed(
    spent: dict[int, float], expected: dict[int, Expected], times: float = 2.0, highest: float = 9.0
) -> WhatIf:
    curves = {
        n: (SimpleNamespace(expected=lambda _, one=one: one, peak_load=1.0, highest_load=highest), None)
        for n, one in expected.items()
    }
    one: Any = SimpleNamespace(ms=10.0, spent=spent, walls=curves)
    return forecasting._pushed(one, NAMES, times)


def test_an_entrys_clock_at_other_loads_by_hand() -> None:
    """What each edge takes, by what is expected of it; an edge under a fiftieth decides nothing."""
    two = {1: Expected(2.0, (1.5, 3.0)), 2: Expected(0.5, (0.25, 0.75))}
    assert pushed({1: 4.0, 2: 2.0}, two) == WhatIf(
        2.0, pytest.approx(13.0), None, False, (pytest.approx(10.5), pytest.approx(17.5))
    )
    assert pushed({1: 4.0, 2: 2.0}, two, times=1.0) == WhatIf(1.0, 10.0, None, False, (10.0, 10.0))
    for spent, known in ((0.2, False), (0.19, True)):
        one = pushed({1: 4.0, 2: spent}, {1: two[1], 2: Expected(None, at_least=1.0)})
        assert (one.ms is not None) == known, spent
        assert one.at_least == (None if known else pytest.approx(12.0))
        assert pushed({1: 4.0, 3: spent}, {1: two[1]}).extrapolated != known
        assert pushed({1: spent}, {1: two[1]}, highest=1.9).extrapolated != known
    assert not pushed({1: 4.0}, {1: two[1]}, highest=2.0).extrapolated  # what was seen is not
    part = pushed({1: 4.0, 2: 2.0}, {1: two[1], 2: Expected(None, at_least=1.7)})
    assert part.at_least == pytest.approx(10 + 4 * 0.5 + 2 * 0.7)
    lost = pushed({1: 4.0, 2: 2.0}, {1: two[1], 2: Expected(None)}, times=0.5)
    assert lost.at_least == pytest.approx(10 + 4 * 0.5 - 2.0)
    full = {1: Expected(None, full=True), 2: Expected(None, full=True)}
    assert pushed({1: 2.0, 2: 4.0}, full) == WhatIf(2.0, None, "shop -> cache", False)
    assert pushed({1: 4.0, 2: 2.0}, full).limit == "shop -> db"
    assert not pushed({3: 5.0}, {}, times=0.5).extrapolated
    assert pushed({3: 5.0}, {}, times=0.5).at_least == pytest.approx(5.0)
    assert pushed({3: 5.0}, {}, times=1.5).at_least == pytest.approx(10.0)


# -- the whole --------------------------------------------------------------------------------------


def few(weeks: int = 4, *, tenth: bool = False) -> PeriodRollups:
    """Two requests and one job an hour, too few for any curve; one of the requests calls a database.

    ``GET /`` takes 10 ms, 6 of them at the database, twice in each; ``PUT /`` takes 30 ms of its own.  In the
    last week it is half as much again, and a tenth of its requests fails.
    """
    threshold = int(0.9 * 2**56) if tenth else schema.NO_THRESHOLD
    path, entry = dict.fromkeys(schema.PATH_HOURS, 0), dict.fromkeys(schema.ENTRY_HOURS, 0)
    path_rows, entry_rows = [], []
    for slot in range(weeks * WEEK):
        late = slot >= (weeks - 1) * WEEK
        for unit, number, units, ms, failed in (
            (0, 1, 2, 10.0, 0), (0, 2, 2, 45.0 if late else 30.0, int(late and slot % 5 == 0)),
            (1, 3, 1, 8.0, 0),
        ):  # fmt: skip
            entry_rows.append(
                entry | {"slot": slot, "unit": unit, "entry_id": number, "threshold": threshold,
                         "units": units, "clock_ns": round(units * ms * MS), "errors": failed}
            )  # fmt: skip
        for unit, number, calls, ms in (
            (0, 11, 2, 4.0),
            (0, 12, 4, 3.0),
            (0, 21, 2, 45.0 if late else 30.0),
            (1, 31, 1, 8.0),
        ):
            path_rows.append(
                path | {"slot": slot, "unit": unit, "path_id": number, "threshold": threshold, "calls": calls,
                        "units": min(calls, 2), "own_ns": round(calls * ms * MS),
                        "own_all_ns": round(calls * ms * MS)}
            )  # fmt: skip
    named = [
        (11, 1, schema.EDGE_SELF, None, "GET /", 101), (12, 1, schema.EDGE_DB, "db", "SELECT", 102),
        (21, 2, schema.EDGE_SELF, None, "PUT /", 103), (31, 3, schema.EDGE_SELF, None, "job", 104),
    ]  # fmt: skip
    paths = [
        {"path_id": number, "parent_id": 0, "entry_id": of, "depth": 1, "kind": kind, "caller": "shop",
         "callee": callee, "operation": operation, "edge_id": edge_id, "uninstrumented": False}
        for number, of, kind, callee, operation, edge_id in named
    ]  # fmt: skip
    entries = [
        {"entry_id": n, "environment": "", "service": "shop", "operation": name}
        for n, name in ((1, "GET /"), (2, "PUT /"), (3, "job"))
    ]
    tables = {
        "path_hours": pl.DataFrame(path_rows, schema=schema.dtypes(schema.PATH_HOURS)),
        "entry_hours": pl.DataFrame(entry_rows, schema=schema.dtypes(schema.ENTRY_HOURS)),
        "paths": pl.DataFrame(paths, schema=schema.dtypes(schema.PATHS)),
        "entries": pl.DataFrame(entries, schema=schema.dtypes(schema.ENTRIES)),
        "service_hours": schema.empty(schema.SERVICE_HOURS),
    }
    return PeriodRollups(0, weeks * WEEK * HOUR_NS, HOUR_NS, "", tables)


@pytest.mark.parametrize("tenth", [False, True])
def test_the_last_week_is_what_everything_is_a_part_of(tenth: bool) -> None:
    """By hand: of 110 ms of requests an hour 90 are PUT's, 12 the database's and 8 GET's own."""
    found = forecast(few(tenth=tenth), horizon_weeks=6.0, multiples=(3.0,))
    shares = {one.name + " " + one.operation: one.share for one in found.edges}
    assert shares == {
        "shop (itself) GET /": pytest.approx(8 / 110), "shop -> db SELECT": pytest.approx(12 / 110),
        "shop (itself) PUT /": pytest.approx(90 / 110), "shop (itself) job": pytest.approx(1.0),
    }  # fmt: skip
    get, put, job = sorted(found.entries, key=lambda one: one.operation)
    times = 10 if tenth else 1
    assert [one.units for one in (get, put, job)] == pytest.approx([336 * times, 336 * times, 168 * times])
    assert [one.ms_now for one in (get, put, job)] == pytest.approx([10.0, 45.0, 8.0])
    failed = len([slot for slot in range(3 * WEEK, 4 * WEEK) if slot % 5 == 0])
    assert [one.availability for one in (get, put, job)] == pytest.approx([1.0, 1 - failed / 336, 1.0])
    assert get.edges == (("shop -> db", "SELECT"), ("shop (itself)", "GET /"))  # most of its time first
    assert [one.unit for one in found.entries] == ["request", "request", job.unit]
    assert [one.operation for one in found.entries] == ["GET /", "PUT /", "job"]
    assert get.demand.pct_per_week == pytest.approx(0.0, abs=1e-6)
    assert (put.failures is None, get.failures is None) == (False, True)
    assert (found.weeks_seen, found.horizon_weeks, found.multiples) == (4.0, 6.0, (3.0,))
    assert all(one.amplification.pct_per_week == pytest.approx(0.0, abs=1e-6) for one in found.edges)
    assert get.slo_ms is None
    assert (found.start_ns, found.end_ns) == (0, 4 * WEEK * HOUR_NS)


def test_an_edges_part_of_its_entries_clocks_by_hand() -> None:
    """In the last week; of the entries that it lies under alone."""
    clocks = forecasting._Clocks(few())
    assert clocks.part({"unit": 0, "edge_id": 102}) == pytest.approx(12 / 20)
    assert clocks.part({"unit": 0, "edge_id": 103}) == pytest.approx(1.0)
    assert clocks.part({"unit": 1, "edge_id": 102}) == 0.0
    assert clocks.own["edge_id"].to_list() == [
        103,
        102,
        101,
        104,
    ]  # the smaller number first where both take as long


def test_calls_for_each_unit_are_those_of_the_edges_own_entries() -> None:
    """Twice the requests of another entry change nothing; twice the calls in half of the weeks do."""
    requests = forecasting._Requests(few(6))
    slope, error, weeks = requests.per_unit(102)
    assert (slope, weeks) == (pytest.approx(0.0, abs=1e-12), 6)
    assert error == pytest.approx(0.02 / 5)
    at, units = requests.of(102)
    assert at.tolist() == [-5.5, -4.5, -3.5, -2.5, -1.5, -0.5]
    assert units.tolist() == [336.0] * 6
    assert requests.of(104)[1].tolist() == [168.0] * 6
    whole = few(6)
    grown = whole.tables["path_hours"].with_columns(
        calls=pl.when(pl.col("path_id") == 12).then((pl.col("slot") // WEEK + 1) * 4).otherwise("calls")
    )
    more = forecasting._Requests(replace(whole, tables=whole.tables | {"path_hours": grown}))
    slope, _, _ = more.per_unit(102)
    assert slope == pytest.approx(stats.theilslopes(np.log(np.arange(1, 7)), np.arange(6))[0])


def test_edges_of_half_a_per_cent_are_told_and_the_forty_largest_at_most(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """By their share of their kind of unit."""
    monkeypatch.setattr(forecasting, "LEAST_SHARE", 12 / 110)
    assert {one.name for one in forecast(few()).edges} == {"shop -> db", "shop (itself)"}
    assert len(forecast(few()).edges) == 3
    monkeypatch.setattr(forecasting, "LEAST_SHARE", 12.1 / 110)
    assert len(forecast(few()).edges) == 2
    monkeypatch.setattr(forecasting, "MOST_EDGES", 1)
    (only,) = forecast(few()).edges
    assert only.operation == "job"


def test_an_entrys_edges_are_those_that_matter_to_it_and_are_forecast(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Six of ten milliseconds are a part of six tenths; what is too small for the whole is not named."""

    def names() -> list[str]:
        (get,) = (one for one in forecast(few()).entries if one.operation == "GET /")
        return [name for name, _ in get.edges]

    for least, told in ((0.4, 2), (0.41, 1), (0.6, 1), (0.61, 0)):
        monkeypatch.setattr(forecasting, "MATERIAL", least)
        assert len(names()) == told, least
    monkeypatch.setattr(forecasting, "MATERIAL", 0.02)
    monkeypatch.setattr(forecasting, "LEAST_SHARE", 10 / 110)
    assert names() == ["shop -> db"]


def test_an_entry_without_work_in_the_last_week_is_left_out_and_one_without_calls_has_no_edges() -> None:
    whole = few()
    late = pl.col("slot") >= 3 * WEEK
    idle = whole.tables["entry_hours"].with_columns(
        units=pl.when(late & (pl.col("entry_id") == 3)).then(0).otherwise("units")
    )
    found = forecast(replace(whole, tables=whole.tables | {"entry_hours": idle}))
    assert [one.operation for one in found.entries] == ["GET /", "PUT /"]
    silent = whole.tables["path_hours"].filter(~(late & (pl.col("path_id") == 31)))
    found = forecast(replace(whole, tables=whole.tables | {"path_hours": silent}))
    assert [(one.operation, len(one.edges)) for one in found.entries] == [
        ("GET /", 2),
        ("PUT /", 1),
        ("job", 0),
    ]


def test_a_forecast_of_some_entries_is_of_their_edges_and_needs_three_weeks() -> None:
    kept = forecast(few(), keep_entry=lambda service, operation: operation == "GET /")
    assert [one.operation for one in kept.entries] == ["GET /"]
    assert {one.operation for one in kept.edges} == {"GET /", "SELECT"}
    found = forecast(few(3))
    assert (found.weeks_seen, found.horizon_weeks, found.multiples) == (3.0, 12.0, (2.0, 5.0, 10.0))
    with pytest.raises(InsufficientDataError, match=r"14\.0 days were seen; a trend needs 3 weeks"):
        forecast(few(2))
    with pytest.raises(InsufficientDataError, match="no traces"):
        forecast(few(), keep_entry=lambda *_: False)


def test_an_slo_of_an_entry_that_is_over_it_leaves_no_week() -> None:
    """By service and operation, those of others change nothing."""
    get, put, _ = sorted(forecast(few(), slo_ms={"shop PUT /": 45.0}).entries, key=lambda one: one.operation)
    assert (put.slo_ms, put.weeks, put.limit) == (45.0, 0.0, "SLO of 45 ms")
    assert (get.slo_ms, get.weeks, get.limit) == (None, None, None)
