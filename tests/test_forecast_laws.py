"""Laws of the forecast: what must hold whatever the numbers are."""

from __future__ import annotations

import math
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest
from test_forecast import CURVE, database, shop

from tracescope.analysis.capacity import load_model as model
from tracescope.analysis.capacity.curve import Curve
from tracescope.analysis.capacity.forecast import (
    EdgeForecast,
    Forecast,
    _pushed,  # pyright: ignore[reportPrivateUsage]
    forecast,
)
from tracescope.analysis.capacity.load_model import DRAWS, Fit, Headroom
from tracescope.analysis.capacity.walls import Expected, refusal, weeks_left
from tracescope.analysis.rollups.period import PeriodRollups
from tracescope.errors import InsufficientDataError

#: What all the laws are tried on: demand and drift fill the database in some eight weeks.
RAMP = {"demand": 0.03, "drift": 0.02, "peak": 0.45}


@pytest.fixture(scope="module")
def ramp() -> Forecast:
    return forecast(shop(CURVE, **RAMP), horizon_weeks=6.0, multiples=(1.0, 1.2, 1.3, 10.0))


def weeks_of(edge: EdgeForecast) -> float:
    return math.inf if edge.weeks is None else edge.weeks


def rate_of(edge: EdgeForecast) -> float:
    """Log growth a week of load and of work, from what the forecast says of either."""
    assert edge.load_trend.pct_per_week is not None
    assert edge.drift.pct_per_week is not None
    return math.log1p(edge.load_trend.pct_per_week / 100) + math.log1p(edge.drift.pct_per_week / 100)


# -- the resilience gap -----------------------------------------------------------------------------


def test_the_resilience_gap_is_headroom_over_the_demand_that_is_expected(ramp: Forecast) -> None:
    """Capacity falls as fast as drift makes work slower: both trends and drift count against it."""
    edge = database(ramp)
    assert edge.headroom is not None
    assert edge.resilience_gap == pytest.approx(edge.headroom / math.exp(6.0 * rate_of(edge)))
    assert edge.resilience_gap == pytest.approx(2 / 3 / 0.45 / math.exp(6.0 * 0.05), rel=0.1)


def test_the_resilience_gap_is_headroom_now_and_one_when_the_wall_is_reached() -> None:
    """At horizon 0, and at the horizon of as many weeks as are left."""
    period = shop(CURVE, **RAMP)
    now = database(forecast(period, horizon_weeks=0.0))
    assert now.resilience_gap == now.headroom
    then = database(forecast(period, horizon_weeks=weeks_of(now)))
    assert then.resilience_gap == pytest.approx(1.0, rel=1e-9)


def test_more_drift_and_more_demand_never_lengthen_the_weeks_or_widen_the_gap() -> None:
    """The same noise, with more of either."""
    for grown in ("drift", "demand"):
        found = [
            database(forecast(shop(CURVE, **{**RAMP, grown: size}), horizon_weeks=8.0))
            for size in (0.0, 0.01, 0.02, 0.04)
        ]
        weeks = [weeks_of(edge) for edge in found]
        gaps = [edge.resilience_gap or 0.0 for edge in found]
        assert weeks == sorted(weeks, reverse=True), (grown, weeks)
        assert gaps == sorted(gaps, reverse=True), (grown, gaps)
        assert weeks[0] > 1.5 * weeks[-1]
        assert gaps[0] > 1.2 * gaps[-1]


@pytest.mark.parametrize("times", [0.1, 100.0])
def test_scaling_all_loads_leaves_weeks_headroom_and_gap(ramp: Forecast, times: float) -> None:
    """A shop with so many times the users on so many times the machines, each trace standing for more."""
    one = database(ramp)
    other = database(forecast(shop(Curve(0.005, 50.0 * times, 0.0), **RAMP), horizon_weeks=6.0))
    assert other.peak_load == pytest.approx(times * one.peak_load, rel=1e-6)
    for name in ("weeks", "headroom", "resilience_gap", "ms_now", "share"):
        assert getattr(other, name) == pytest.approx(getattr(one, name), rel=1e-6), name
    assert other.weeks_interval == pytest.approx(one.weeks_interval, rel=1e-6)
    assert other.headroom_interval == pytest.approx(one.headroom_interval, rel=1e-6)


# -- weeks ------------------------------------------------------------------------------------------


def test_weeks_are_the_logarithm_of_headroom_over_the_rate_of_growth(ramp: Forecast) -> None:
    """And lie in their interval."""
    edge = database(ramp)
    assert edge.headroom is not None
    assert edge.weeks == pytest.approx(math.log(edge.headroom) / rate_of(edge))
    assert edge.weeks_interval is not None
    low, high = edge.weeks_interval
    assert low is not None
    assert high is not None
    assert low < weeks_of(edge) < high
    assert edge.beyond_weeks == pytest.approx(2 * ramp.weeks_seen)


def known(growth: float, *, spread: float = 0.0, wall: float = 40.0, apart: float = 0.0) -> Fit:
    """A fit whose draws are given: walls around 40 calls/s, growth around one rate."""
    side = np.linspace(-1, 1, DRAWS)
    shape = np.zeros(DRAWS)
    draws = {
        "r0_s": np.full(DRAWS, 0.005), "capacity": 1.5 * wall * np.exp(apart * side), "shape": shape,
        "growth": growth + spread * side,
    }  # fmt: skip
    return Fit(Curve(0.005, 1.5 * wall, 0.0), growth, False, draws, 0.02, 100.0, 0.0, wall)


def room(times: float, *, bends: bool = True) -> Headroom:
    return Headroom(times, (times, times), lower_bound=not bends, bends=bends)


def test_what_does_not_grow_never_reaches_its_wall() -> None:
    """Nor what shrinks; what is at its wall has no week left, whatever its growth."""
    peak, sure = 20.0, (0.0, 1e-9, 40)
    assert weeks_left(known(0.0), peak, room(2.0), sure, 50.0)[0] is None
    assert weeks_left(known(0.01), peak, room(2.0), (-0.02, 1e-9, 40), 500.0) == (None, (None, None))
    assert weeks_left(known(-0.5), 80.0, room(0.5), sure, 50.0) == (0.0, (0.0, 0.0))
    assert weeks_left(known(0.02), 40.0, room(1.0), sure, 50.0)[0] == 0.0


def test_weeks_beyond_the_reach_of_a_forecast_are_not_told() -> None:
    """A wall at ln 2 / 0.02 is 34.7 weeks: within 35, beyond 34; each end of the interval by itself."""
    weeks = math.log(2.0) / 0.02
    fitted, trend = known(0.01), (0.01, 1e-9, 40)
    assert weeks_left(fitted, 20.0, room(2.0), trend, weeks + 0.1)[0] == pytest.approx(weeks)
    assert weeks_left(fitted, 20.0, room(2.0), trend, weeks - 0.1)[0] is None
    wide = known(0.01, spread=0.005)
    _, (low, high) = weeks_left(wide, 20.0, room(2.0), trend, 36.0)
    assert high is None
    assert low is not None
    assert math.log(2.0) / 0.025 < low < weeks


def test_the_interval_of_weeks_has_what_walls_growth_and_trend_leave_open() -> None:
    """80 % of even draws are the middle four fifths; each cause widens it by itself."""
    trend = (0.01, 1e-12, 40)

    def ends(fitted: Fit, trend: tuple[float, float, int] = trend) -> tuple[float, float]:
        _, (low, high) = weeks_left(fitted, 20.0, room(2.0), trend, 1e9)
        assert low is not None
        assert high is not None
        return low, high

    assert ends(known(0.01)) == pytest.approx((math.log(2) / 0.02,) * 2)
    # the rate is even between 0.015 and 0.025, so four fifths of the weeks lie between these
    assert ends(known(0.01, spread=0.005)) == pytest.approx(
        (math.log(2) / 0.024, math.log(2) / 0.016), rel=0.01
    )
    assert ends(known(0.01, apart=0.3)) == pytest.approx(
        ((math.log(2) - 0.24) / 0.02, (math.log(2) + 0.24) / 0.02), rel=0.02
    )
    wide, few = ends(known(0.01), (0.01, 0.002, 40)), ends(known(0.01), (0.01, 0.002, 3))
    assert wide == pytest.approx((math.log(2) / 0.0226, math.log(2) / 0.0174), rel=0.03)
    # three weeks are one degree of freedom
    assert few[1] == pytest.approx(math.log(2) / (0.02 - 0.00616), rel=0.05)


def test_without_a_wall_in_sight_the_interval_begins_when_load_passes_what_was_seen() -> None:
    """There is no week to name, and no end."""
    point, (low, high) = weeks_left(known(0.01), 20.0, room(1.5, bends=False), (0.01, 1e-9, 40), 50.0)
    assert (point, high) == (None, None)
    assert low == pytest.approx(math.log(1.5) / 0.02)


# -- what if ----------------------------------------------------------------------------------------


def test_what_if_nothing_changed_is_now_and_more_load_is_never_faster(ramp: Forecast) -> None:
    """And the first multiple beyond what was seen is extrapolated."""
    edge = database(ramp)
    told = [one.ms for one in edge.what_if]
    assert told[0] == pytest.approx(edge.ms_now)
    assert told[0] < told[1] < told[2]  # type: ignore[operator]
    assert told[3] is None
    assert edge.what_if[3].limit == "itself"
    assert [one.limit for one in edge.what_if[:3]] == [None] * 3
    for one in edge.what_if:
        assert one.extrapolated == (one.times * edge.peak_load > edge.highest_load)
    assert {one.extrapolated for one in edge.what_if} == {True, False}


def test_what_an_entry_would_take_is_its_clock_and_what_its_edges_get_slower_by(ramp: Forecast) -> None:
    """Own time of each edge times its slowdown; at least that where a part was never seen at such a load."""
    (entry,) = ramp.entries
    edge = database(ramp)
    own = next(one for one in ramp.edges if one.callee is None)
    spent = edge.share * entry.ms_now
    for told, one, flat in zip(entry.what_if, edge.what_if, own.what_if, strict=True):
        assert told.extrapolated == one.extrapolated
        if one.limit is not None:
            assert (told.ms, told.limit) == (None, "gateway -> postgresql/shop")
            continue
        assert told.limit is None
        assert one.ms is not None
        if flat.ms is None:
            assert told.ms is None
            assert told.at_least is not None
            assert one.interval is not None
            assert flat.at_least is not None
            rest = entry.ms_now - spent
            least = spent * one.interval[0] / edge.ms_now + rest * flat.at_least / own.ms_now
            assert told.at_least == pytest.approx(least, rel=1e-6)
            continue
        assert told.ms == pytest.approx(entry.ms_now + spent * (one.ms / edge.ms_now - 1), rel=1e-6)
    assert entry.what_if[1].at_least is not None
    assert entry.what_if[1].at_least > entry.ms_now


def entry_of(ms: float, spent: dict[int, float], expected: dict[int, Expected], seen: float = 9.0) -> Any:
    """An entry's clock of `ms`, with what is expected of some of its edges at any load."""
    curves = {
        edge: SimpleNamespace(expected=lambda times, one=one: one, peak_load=1.0, highest_load=seen)
        for edge, one in expected.items()
    }
    return SimpleNamespace(ms=ms, spent=spent, walls={edge: (curve, None) for edge, curve in curves.items()})


NAMES = {1: ("shop -> db", "SELECT"), 2: ("shop -> cache", "GET"), 3: ("shop", "work")}


def test_an_entrys_clock_grows_by_what_each_of_its_edges_adds() -> None:
    """By its ratio and both ends of it, each times what it takes now; the rest stays."""
    known = {1: Expected(2.0, (1.5, 3.0)), 2: Expected(1.5, (1.0, 2.0))}
    case = _pushed(entry_of(10.0, {1: 4.0, 2: 2.0}, known), NAMES, 2.0)
    assert (case.ms, case.interval, case.extrapolated) == (
        pytest.approx(15.0),
        pytest.approx((12.0, 20.0)),
        False,
    )
    assert _pushed(entry_of(10.0, {1: 4.0, 2: 2.0}, known, seen=1.5), NAMES, 2.0).extrapolated


def test_an_edge_of_which_nothing_is_known_gets_no_faster_by_more_load_and_may_vanish_with_less() -> None:
    """So more load is today's clock at least, and less load that clock without the edge."""
    entry = entry_of(10.0, {1: 4.0, 3: 5.0}, {1: Expected(2.0, (1.5, 3.0))})
    more, less = (_pushed(entry, NAMES, times) for times in (2.0, 0.5))
    assert (more.ms, more.at_least) == (None, pytest.approx(12.0))
    assert (less.ms, less.at_least) == (None, pytest.approx(7.0))
    assert (more.extrapolated, less.extrapolated) == (True, False)


def test_an_entry_whose_edge_is_full_has_no_clock_but_its_name() -> None:
    """The edge that takes most first, whatever else is known."""
    full = {1: Expected(None, full=True), 2: Expected(None, full=True)}
    case = _pushed(entry_of(10.0, {2: 2.0, 1: 4.0}, full), NAMES, 5.0)
    assert (case.ms, case.limit, case.at_least) == (None, "shop -> db", None)


def test_an_entry_ends_by_its_own_clock(ramp: Forecast) -> None:
    """Later than its edge, whose time is a part of it, and before that is at its capacity."""
    (entry,) = ramp.entries
    edge = database(ramp)
    assert entry.headroom is not None
    assert edge.headroom is not None
    assert edge.headroom < entry.headroom < edge.headroom * 1.5
    assert weeks_of(edge) < (entry.weeks or 0) < weeks_of(edge) * 2
    assert entry.limit == edge.name
    assert entry.demand.pct_per_week == pytest.approx(3.0, abs=0.5)
    assert (edge.name, edge.operation) in entry.edges
    assert entry.availability == 1.0


@pytest.mark.parametrize("part", [0.9, 0.3, 0.02])
def test_an_edge_of_a_small_part_of_the_clock_is_no_wall_until_its_capacity(part: float) -> None:
    """Oracle: the load at which ``rest + part / (1 - rho)`` is three times what it is at no load."""
    rest = 5.0 * (1 - part) / part
    total = rest + 5.0
    rho = 1 - 5.0 / (3 * total - rest)
    period = shop(CURVE, peak=0.62)
    own = pl.when(pl.col("path_id") == 2).then(rest / 2).otherwise(1.0)
    tables = dict(period.tables)
    extra = (tables["entry_hours"]["units"] * (rest - 2) * 1e6).cast(pl.Int64)
    tables["entry_hours"] = tables["entry_hours"].with_columns(pl.col("clock_ns") + extra)
    tables["path_hours"] = tables["path_hours"].with_columns(
        [(pl.col(name) * own).cast(pl.Int64) for name in ("own_ns", "own_all_ns", "inclusive_ns")]
    )
    (entry,) = forecast(replace(period, tables=tables)).entries
    assert entry.headroom_interval is not None
    low, high = entry.headroom_interval
    assert low <= rho / 0.62 <= (high or math.inf)
    assert entry.headroom == pytest.approx(rho / 0.62, rel=0.2)


def test_an_slo_is_reached_when_drift_has_brought_the_clock_there() -> None:
    """Load does nothing here: the database's part grows by 3 % a week, the gateway's own 2 ms do not."""
    period = shop(Curve(0.005, 5e6, 0.0), peak=1e-6, drift=0.03)
    now = forecast(period).entries[0]
    edge = database(forecast(period))
    spent = edge.share * now.ms_now
    for weeks in (2.0, 5.0):
        slo = now.ms_now + spent * math.expm1(0.03 * weeks)
        found = forecast(period, slo_ms={"gateway GET /": slo}).entries[0]
        assert found.weeks == pytest.approx(weeks, abs=0.5)
        assert (found.slo_ms, found.limit) == (slo, f"SLO of {slo:g} ms")
    never = forecast(period, slo_ms={"gateway GET /": 1e6}).entries[0]
    assert (never.weeks, never.limit) == (None, None)
    other = forecast(period, slo_ms={"gateway POST /": 1.0}).entries[0]
    assert other.slo_ms is None


def test_an_slo_that_comes_after_the_wall_changes_nothing(ramp: Forecast) -> None:
    late = forecast(shop(CURVE, **RAMP), slo_ms={"gateway GET /": 1e4}).entries[0]
    assert (late.weeks, late.limit) == (ramp.entries[0].weeks, ramp.entries[0].limit)


# -- what is seen, and what is not ------------------------------------------------------------------


def test_a_forecast_needs_three_weeks_and_says_how_many_it_had() -> None:
    """Three are enough; a day less is not."""
    enough = shop(CURVE, weeks=3)
    assert forecast(enough).weeks_seen == pytest.approx(3.0)
    short = replace(enough, end_ns=enough.end_ns - 24 * enough.slot_ns)
    with pytest.raises(InsufficientDataError, match=r"20\.0 days were seen; a trend needs 3"):
        forecast(short)
    empty = replace(enough, tables={k: v.clear() for k, v in enough.tables.items()})
    with pytest.raises(InsufficientDataError, match="no traces"):
        forecast(empty)


def test_weeks_before_the_first_trace_were_not_seen(ramp: Forecast) -> None:
    period = shop(CURVE, **RAMP)
    earlier = replace(period, start_ns=period.start_ns - 20 * 168 * period.slot_ns)
    found = forecast(earlier, horizon_weeks=6.0, multiples=(1.0, 1.2, 1.3, 10.0))
    assert found.weeks_seen == ramp.weeks_seen == pytest.approx(10.0)
    assert found.start_ns == period.start_ns
    assert database(found).weeks == pytest.approx(weeks_of(database(ramp)))


def test_a_curve_needs_points_and_loads_that_differ(ramp: Forecast) -> None:
    """In words, with the figures; an edge without one has no headroom, and no week."""
    some = model.Points(
        np.linspace(-3, 0, 12), np.linspace(10, 14, 12), np.ones(12), np.full(12, 500.0), np.zeros(12, int)
    )
    assert refusal(some) is None
    assert "12 windows" not in (refusal(some) or "")
    few = some.select(np.arange(12) < 9)
    assert refusal(few) == "not identifiable: 4500 counted calls make 9 windows of 100; 10 are needed"
    flat = replace(some, load=np.linspace(10, 12.9, 12))
    assert refusal(flat) == "not identifiable: load hardly varies (10 to 12.9 calls/s)"
    assert refusal(replace(some, load=np.linspace(10, 13.1, 12))) is None
    own = next(edge for edge in forecast(shop(CURVE, calls_an_hour=2.0, weeks=4)).edges)
    assert own.reason is not None
    assert (own.headroom, own.weeks, own.weeks_interval, own.resilience_gap) == (None, None, None, None)


def test_edges_that_hardly_count_are_not_forecast() -> None:
    """Those under half a per cent of the critical time; shares of one kind of unit add up to one."""
    found = forecast(shop(Curve(0.005, 50.0, 0.0), peak=0.3))
    assert sum(edge.share for edge in found.edges) == pytest.approx(1.0)
    small = forecast(shop(Curve(5e-6, 50000.0, 0.0), peak=0.3))
    assert [edge.callee for edge in small.edges] == [None]
    assert small.edges[0].share > 0.995


# -- several entries, and what comes first ----------------------------------------------------------


def beside(one: PeriodRollups, other: PeriodRollups, *, unit: int = 0, part: float = 1.0) -> PeriodRollups:
    """Two shops as two entries of one gateway: the other's ids, database and operation are its own."""
    ids = {"path_id": 100, "parent_id": 100, "entry_id": 100, "edge_id": 100}
    tables = {}
    for name, table in other.tables.items():
        moved = table.with_columns([pl.col(c) + by for c, by in ids.items() if c in table.columns])
        if "unit" in moved.columns:
            moved = moved.with_columns(pl.lit(unit, moved.schema["unit"]).alias("unit"))
        if name == "entries":
            moved = moved.with_columns(operation=pl.lit("GET /other"))
        if name == "paths":
            database = pl.col("callee").is_not_null()
            moved = moved.with_columns(
                callee=pl.when(database).then(pl.lit("mysql/other")),
                operation=pl.when(database).then("operation").otherwise(pl.lit("GET /other")),
            )
        if part != 1.0 and name in ("path_hours", "entry_hours"):
            some = [
                c
                for c in moved.columns
                if c.endswith("_ns") or c in ("calls", "units", "visits", "calls_visited")
            ]
            moved = moved.with_columns([(pl.col(c) * part).cast(moved.schema[c]) for c in some])
        tables[name] = pl.concat([one.tables[name], moved.select(one.tables[name].columns)])
    return replace(one, tables=tables)


def test_each_entry_has_its_own_clock_demand_and_limit() -> None:
    """What another entry does, of the same kind of unit or of another, is none of its business."""
    one, other = shop(CURVE, **RAMP), shop(Curve(0.02, 20.0, 0.0), peak=0.2, demand=-0.01, seed=3)
    alone = {"GET /": forecast(one).entries[0], "GET /other": forecast(other).entries[0]}
    for unit in (0, 1):
        found = {entry.operation: entry for entry in forecast(beside(one, other, unit=unit)).entries}
        assert len(found) == 2
        for name, entry in found.items():
            assert entry.ms_now == pytest.approx(alone[name].ms_now), (unit, name)
            assert entry.units == pytest.approx(alone[name].units)
            assert entry.demand.pct_per_week == pytest.approx(alone[name].demand.pct_per_week)
            assert len(entry.edges) == 2
        assert found["GET /"].limit == "gateway -> postgresql/shop"
        assert found["GET /"].weeks == pytest.approx(alone["GET /"].weeks, rel=0.05)
        assert found["GET /other"].unit == ("request" if unit == 0 else found["GET /other"].unit)


def test_edges_come_by_their_weeks_then_by_their_headroom_then_by_name() -> None:
    """The soonest first; without weeks the narrowest that has a wall in sight."""
    both = beside(shop(CURVE, peak=0.45, demand=0.03), shop(CURVE, peak=0.5, demand=0.04, seed=3))
    edges = forecast(both).edges
    keys = [
        (
            edge.weeks or math.inf,
            edge.headroom or math.inf,
            edge.name,
        )
        for edge in edges
    ]
    assert keys == sorted(keys)
    assert edges[0].callee == "mysql/other"
    still = beside(shop(CURVE, peak=0.6, demand=-0.01), shop(CURVE, peak=0.35, demand=-0.01, seed=3))
    edges = forecast(still).edges
    assert [edge.weeks for edge in edges] == [None] * 4
    assert [edge.callee for edge in edges[:2]] == ["postgresql/shop", "mysql/other"]


def test_without_being_asked_a_forecast_tells_twice_five_and_ten_times_and_twelve_weeks() -> None:
    found = forecast(shop(CURVE, weeks=4))
    assert found.multiples == (2.0, 5.0, 10.0)
    assert found.horizon_weeks == 12.0
    assert [one.times for one in found.edges[0].what_if] == [2.0, 5.0, 10.0]


def test_an_slo_is_reached_by_demand_too() -> None:
    """Load that grows by 4 % a week brings the queue to where the SLO is: by the curve itself."""
    period = shop(CURVE, peak=0.4, demand=0.04)
    now = forecast(period).entries[0]
    edge = database(forecast(period))
    spent = edge.share * now.ms_now
    weeks = 6.0
    slower = (1 - 0.4) / (1 - 0.4 * math.exp(0.04 * weeks))  # of an M/M/1
    slo = now.ms_now + spent * (slower - 1)
    found = forecast(period, slo_ms={"gateway GET /": slo}).entries[0]
    assert found.weeks == pytest.approx(weeks, rel=0.15)


def test_amplification_is_the_growth_of_calls_for_each_unit() -> None:
    """4 % a week more calls per request; none where requests grow with their calls."""
    spreads = database(forecast(shop(Curve(0.005, 5000.0, 0.0), peak=0.005, repeats=0.04)))
    assert spreads.amplification.pct_per_week == pytest.approx(100 * math.expm1(0.04), abs=0.5)
    assert spreads.load_trend.pct_per_week == pytest.approx(100 * math.expm1(0.04), abs=0.7)
    grows = database(forecast(shop(CURVE, peak=0.3, demand=0.04)))
    assert grows.amplification.pct_per_week == pytest.approx(0.0, abs=0.1)
