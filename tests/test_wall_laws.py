"""Laws of walls and of entries' clocks, on curves that are known to the last digit."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray
from scipy import stats
from scipy.optimize import brentq

from tracescope import schema
from tracescope.analysis.capacity import entry_clock, walls
from tracescope.analysis.capacity.arrivals import Arrivals
from tracescope.analysis.capacity.curve import Curve
from tracescope.analysis.capacity.entry_clock import EntryClock
from tracescope.analysis.capacity.load_model import DRAWS, DRIFT, Fit, Headroom, Points
from tracescope.analysis.capacity.trends import Trend
from tracescope.analysis.capacity.walls import EdgeCurve, Expected, Wall, curve_of, until, wall_of, weeks_seen
from tracescope.analysis.rollups.period import PeriodRollups
from tracescope.schema import HOUR_NS

Floats = NDArray[np.float64]
WEEK = 168
EVEN = np.linspace(-1, 1, DRAWS)
EXACT = np.zeros(DRAWS)


def fitted(capacity: float = 60.0, *, growth: float = 0.0, apart: float = 0.0, unsure: float = 0.0) -> Fit:
    """An M/M/1 of so much capacity, known to some log units, and growth to some a week."""
    draws = {
        "r0_s": np.full(DRAWS, 0.01), "capacity": capacity * np.exp(apart * EVEN), "shape": EXACT.copy(),
        "growth": growth + unsure * EVEN[::-1],
    }  # fmt: skip
    return Fit(Curve(0.01, capacity, 0.0), growth, DRIFT, draws, 0.02, 50.0, 0.0, 30.0)


def seen(weeks: int = 1, *, trend: float = 0.0, peak: float = 20.0, highest: float = 30.0) -> Arrivals:
    """Weeks of a load that hardly varies, at its peak now; once, at first, it was higher."""
    n = weeks * WEEK
    start = np.arange(n) * HOUR_NS
    load = peak * np.exp(trend * (np.arange(n) // WEEK - weeks + 1))
    load[0] = highest
    calls = np.full(n, 100.0)
    return Arrivals(start, HOUR_NS, calls, calls, np.full(n, 0.01), load, calls, 0.01)


def edge(fit: Fit | None = None, arrivals: Arrivals | None = None, *, bends: bool | None = True) -> EdgeCurve:
    """An edge with this curve; whether its wall is in sight."""
    came = seen() if arrivals is None else arrivals
    room = None
    if fit is not None:
        wall = fit.wall / came.peak_load
        room = Headroom(wall, (0.9 * wall, 1.1 * wall), lower_bound=not bends, bends=bool(bends))
    nothing = np.zeros(0)
    return EdgeCurve(
        fit, None, came, came, Points(nothing, nothing, nothing, nothing, np.zeros(0, int)), room
    )


# -- where an edge stands on its curve --------------------------------------------------------------


def test_where_an_edge_stands_is_told_by_the_last_weeks_hours() -> None:
    """Peak, highest and usual load, by hand; replicas only where load is that of each."""
    came = replace(seen(2), calls=np.r_[np.full(WEEK, 1e6), np.full(84, 300.0), np.full(84, 100.0)])
    came = replace(came, load=np.r_[np.full(WEEK, 40.0), np.full(84, 10.0), np.full(84, 30.0)])
    one = edge(fitted(), came)
    assert (one.peak_load, one.highest_load, one.usual_load) == (30.0, 40.0, 15.0)
    assert one.replicas is None
    alive = replace(came, replicas=np.r_[np.full(2 * WEEK - 24, 9.0), np.full(24, 2.0)])
    assert replace(one, whole=alive).replicas == 2.0
    assert replace(one, whole=alive, arrivals=alive).replicas is None
    assert replace(one, whole=came, arrivals=alive).replicas is None


def test_latency_at_loads_that_were_served_is_finite_whatever_a_draw_says() -> None:
    """A tenth beyond the highest, too; beyond that a draw's capacity is its end."""
    one = edge(fitted(25.0))
    assert one.slower(20.0) == pytest.approx(np.full(DRAWS, 5.0))
    for load in (25.0, 30.0, 32.9, 1.1 * 30.0):
        assert np.isfinite(one.slower(load)).all()
    assert (one.slower(32.9) > one.slower(30.0)).all()
    assert np.isinf(one.slower(33.1)).all()
    assert np.isfinite(edge(fitted(0.1)).slower(30.0)).all()


def test_what_more_load_does_is_the_curves_ratio_with_its_80_percent() -> None:
    """M/M/1 at a third of its capacity, at a half, and at a sixth; at today's load nothing happens."""
    one = edge(fitted(apart=0.2))
    assert one.expected(1.0) == Expected(1.0, (1.0, 1.0))
    for times in (1.5, 0.5):
        rho = 20 / (60 * np.exp(0.2 * np.quantile(EVEN, [0.9, 0.5, 0.1], method="inverted_cdf")))
        ratios = sorted(((1 - rho) / (1 - times * rho)).tolist())
        told = one.expected(times)
        assert told.ratio == pytest.approx(ratios[1], rel=1e-2)
        assert told.interval == pytest.approx((ratios[0], ratios[2]), rel=1e-2)
        assert (told.at_least, told.full) == (None, False)


def test_of_unseen_loads_there_is_a_number_only_where_a_wall_is_in_sight() -> None:
    """Else it is at least what the highest load took, and never less than now."""
    hidden = edge(fitted(), bends=False)
    assert hidden.expected(1.64).ratio == pytest.approx((2 / 3) / (1 - 1.64 / 3))
    told = hidden.expected(1.66)  # 33.2, more than a tenth over 30
    assert (told.ratio, told.interval) == (None, None)
    assert told.at_least == pytest.approx((2 / 3) / (1 / 2))
    assert edge(fitted()).expected(1.66).ratio == pytest.approx((2 / 3) / (1 - 1.66 / 3))
    calm = edge(fitted(), seen(highest=10.0), bends=False)
    assert calm.expected(2.0).at_least == 1.0
    unsure = edge(fitted(apart=0.3), bends=False).expected(2.0)
    rho = 20 / (60 * np.exp(0.3 * 0.8))
    assert unsure.at_least == pytest.approx((1 - rho) / (1 - 1.5 * rho), rel=2e-3)


def test_a_resource_is_full_where_nothing_that_the_data_leave_open_can_serve_it() -> None:
    """Where only some can, it is slower than the quickest of them by a factor that nobody knows."""
    assert edge(fitted()).expected(3.1) == Expected(None, full=True)
    some = edge(fitted(apart=0.4)).expected(3.0)
    assert (some.ratio, some.full) == (None, False)
    rho = 1 / (3 * np.exp(0.4 * 0.8))
    assert some.at_least == pytest.approx((1 - rho) / (1 - 3 * rho), rel=0.02)
    for apart, known in ((0.15, True), (0.175, False)):
        rho = np.exp(-apart * 0.8 * np.array([1, -1])) / 3
        low, high = (1 - rho) / (1 - 2.4 * rho)
        assert (high <= 3 * low) == known
        assert (edge(fitted(apart=apart)).expected(2.4).ratio is not None) == known


def test_of_an_edge_without_a_curve_more_load_makes_nothing_quicker() -> None:
    assert edge(None).expected(1.0) == Expected(1.0, (1.0, 1.0))
    assert edge(None).expected(2.0) == Expected(None, at_least=1.0)
    assert edge(None).expected(0.5) == Expected(None)


# -- its wall ---------------------------------------------------------------------------------------


def wall(curve: EdgeCurve, weeks: int, seen_weeks: float | None = None) -> Wall:
    return wall_of(curve, weeks * WEEK * HOUR_NS, float(weeks) if seen_weeks is None else seen_weeks)


def test_an_edges_wall_is_its_headroom_over_what_load_and_drift_take_of_it() -> None:
    """By hand: a wall at twice the load, 2 % more load and 3 % more work a week."""
    one = wall(edge(fitted(growth=0.03, unsure=0.02), seen(8, trend=0.02)), 8)
    assert one.headroom == pytest.approx(2.0)
    assert one.headroom_interval == pytest.approx((1.8, 2.2))
    assert one.headroom_at_least is None
    assert one.weeks == pytest.approx(math.log(2) / 0.05, rel=1e-6)
    assert one.beyond_weeks == 16.0
    assert one.load_trend.pct_per_week == pytest.approx(100 * math.expm1(0.02))
    assert one.trend_logs == (pytest.approx(0.02), pytest.approx(0.02 / 7), 6.0)
    low, high = 0.03 - 0.016, 0.03 + 0.016
    assert one.drift.pct_per_week == pytest.approx(100 * math.expm1(0.03))
    assert one.drift.interval == pytest.approx((100 * math.expm1(low), 100 * math.expm1(high)), rel=0.02)
    error = 0.016 / stats.t.ppf(0.9, 50.0)
    assert one.drift_logs == (0.03, pytest.approx(error, rel=0.01), 50.0)
    assert one.drift.q_value == pytest.approx(stats.t.sf(0.03 / error, 50.0), rel=0.1)
    assert one.reason is None


def test_a_wall_out_of_sight_is_a_bound_and_no_week() -> None:
    one = wall(edge(fitted(growth=0.03), seen(8, trend=0.02), bends=False), 8)
    assert (one.headroom, one.headroom_interval, one.weeks) == (None, None, None)
    assert one.headroom_at_least == pytest.approx(2.0)
    assert one.weeks_interval is not None


def test_drift_needs_a_week_and_the_way_to_the_wall_three() -> None:
    """Of what was seen of the whole, however long this edge was; a trend needs three weeks of its own."""
    curve = edge(fitted(growth=0.03), seen(8, trend=0.02))
    for weeks, drift, left in (
        (0.99, False, False),
        (1.0, True, False),
        (2.99, True, False),
        (4.0, True, False),
    ):
        told = wall(curve, 8, weeks)
        assert (told.drift.pct_per_week is not None) == drift, weeks
        assert (told.weeks_interval is not None) == (weeks >= 3), weeks
        assert (told.weeks is not None) == left  # it lies beyond twice what was seen
    short = wall(edge(fitted(growth=0.03), seen(2)), 2, 8.0)
    assert (short.load_trend, short.weeks_interval) == (Trend(None, None), None)
    assert short.trend_logs == (0.0, math.inf, 1.0)


def test_an_edge_without_a_curve_has_its_reason_and_its_load() -> None:
    told = wall(replace(edge(None, seen(8, trend=0.02)), reason="why"), 8)
    assert told == Wall(
        None, None, None, Trend(None, None), told.load_trend, None, None, 16.0, told.trend_logs, None, "why"
    )
    assert told.load_trend.pct_per_week == pytest.approx(100 * math.expm1(0.02))


def test_weeks_of_silence_are_no_window(monkeypatch: pytest.MonkeyPatch) -> None:
    """More than a week between two slots parts them; a week does not."""
    made: list[int] = []
    known = walls.points

    def counted(arrivals: Arrivals, now_ns: int, period: int) -> Points:
        made.append(len(arrivals.load))
        return known(arrivals, now_ns, period)

    monkeypatch.setattr(walls, "points", counted)
    for gap, parts in ((WEEK, [60]), (WEEK + 1, [20, 40])):
        start = (np.arange(60) + np.where(np.arange(60) >= 20, gap - 1, 0)) * HOUR_NS
        calls = np.full(60, 100.0)
        came = Arrivals(start, HOUR_NS, calls, calls, np.full(60, 0.01), calls / 9, calls, 0.01)
        made.clear()
        joined = walls._points(came, int(start[-1]))
        assert made == parts
        assert joined.calls.sum() == 6000.0
        assert (joined.period == 0).all()


def test_a_curve_is_refused_where_its_windows_are_too_few_or_too_alike() -> None:
    """In words; a queue that remembers has none; latency that follows load has one."""
    came = seen(3)
    load = 10 + 8 * np.sin(np.arange(3 * WEEK) / 24 * 2 * np.pi)
    noise = np.exp(0.02 * np.random.default_rng(2).standard_normal(3 * WEEK))
    took = Curve(0.01, 30.0, 0.0).latency_s(load) * noise
    good = replace(came, load=load, self_s=took)
    found = curve_of(good, 3 * WEEK * HOUR_NS, waits=False)
    assert found.fitted is not None
    assert found.room == found.fitted.headroom(good.peak_load)
    assert found.fitted.wall == pytest.approx(20.0, rel=0.1)
    hours = replace(good, self_s=took * 1e6)
    assert "load of the past" in (curve_of(hours, 3 * WEEK * HOUR_NS, waits=True).reason or "")
    assert curve_of(hours, 3 * WEEK * HOUR_NS, waits=False).fitted is not None
    few = replace(good.select(np.arange(9)), calls=np.full(9, 100.0))
    refused = curve_of(few, 3 * WEEK * HOUR_NS, waits=False)
    assert (refused.fitted, refused.room) == (None, None)
    assert "10 are needed" in (refused.reason or "")


def test_a_curve_has_the_load_of_each_replica_where_that_fits_and_three_degrees_at_least(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What is taken is told apart from the load of all; a fit of two degrees is none."""
    came = replace(seen(3), load=np.tile(np.linspace(10.0, 20.0, 24), 21))
    each = replace(came, load=came.load / 2)
    found = fitted()
    monkeypatch.setattr(walls.model, "better", lambda *_, **__: found)
    whole = curve_of(came, 3 * WEEK * HOUR_NS, waits=False)
    assert (whole.arrivals, whole.fitted, whole.replicas) == (came, found, None)
    monkeypatch.setattr(walls, "of_each", lambda *_, **__: ([each], whole.points, found))
    apart = curve_of(came, 3 * WEEK * HOUR_NS, waits=False)
    assert (apart.arrivals, apart.whole) == (each, came)
    assert apart.room == found.headroom(each.peak_load) != whole.room
    monkeypatch.setattr(walls, "of_each", lambda *_, **__: None)
    for dof, told in ((3.0, True), (2.99, False)):
        less = replace(found, dof=dof)
        monkeypatch.setattr(walls.model, "better", lambda *_, less=less, **__: less)
        assert (curve_of(came, 3 * WEEK * HOUR_NS, waits=False).fitted is not None) == told


def test_a_period_shows_no_curve_of_few_windows_or_of_one_load() -> None:
    """Ten windows whose loads differ by three tenths do, just."""
    made = Points(np.zeros(10), np.linspace(10, 13, 10), np.ones(10), np.full(10, 150.0), np.zeros(10, int))
    assert walls.refusal(made) is None
    assert walls.refusal(replace(made, load=np.linspace(10, 12.9, 10))) == (
        "not identifiable: load hardly varies (10 to 12.9 calls/s)"
    )
    assert walls.refusal(made.select(np.arange(10) > 0)) == (
        "not identifiable: 1350 counted calls make 9 windows of 100; 10 are needed"
    )


def test_weeks_left_are_none_at_the_wall_and_their_interval_is_the_trends() -> None:
    """By hand: an error of half a per cent a week of nine weeks' trend; nothing is left of a full edge."""
    room = Headroom(2.0, (2.0, 2.0), lower_bound=False, bends=True)
    fit = fitted(growth=0.02)
    wide = 0.005 * stats.t.ppf(0.9, 7)
    point, (low, high) = walls.weeks_left(fit, 20.0, room, (0.03, 0.005, 9), 1e9)
    assert point == pytest.approx(math.log(2) / 0.05)
    assert low == pytest.approx(math.log(2) / (0.05 + wide), rel=0.02)
    assert high == pytest.approx(math.log(2) / (0.05 - wide), rel=0.04)
    _, (_, last) = walls.weeks_left(fit, 20.0, room, (0.03, 0.005, 3), 1e9)
    assert last == pytest.approx(math.log(2) / (0.05 - 0.005 * stats.t.ppf(0.9, 1)), rel=0.1)
    assert walls.weeks_left(fit, 20.0, room, (0.03, 0.005, 2), 1e9) == (
        walls.weeks_left(fit, 20.0, room, (0.03, 0.005, 3), 1e9)
    )
    for peak in (40.0, 60.0):
        full = Headroom(40 / peak, (0.5, 1.0), lower_bound=False, bends=True)
        exact = fitted()
        exact.draws["capacity"][:] = 60.0
        for trend in (0.03, 0.0, -0.03):
            told = walls.weeks_left(exact, peak, full, (trend, 0.0, 9), 50.0)
            assert told == (0.0, (0.0, 0.0)), (peak, trend)
    shrinking = walls.weeks_left(fit, 20.0, room, (-0.02, 0.0, 9), 50.0)
    assert shrinking == (None, (None, None))


# -- all that was seen ------------------------------------------------------------------------------


def tables(slots: range, path: int = 1) -> PeriodRollups:
    """Hours of one path, and one unit of work in each."""
    blank, entry = dict.fromkeys(schema.PATH_HOURS, 0), dict.fromkeys(schema.ENTRY_HOURS, 0)
    hours = pl.DataFrame(
        [blank | {"slot": slot, "path_id": path, "calls": 1} for slot in slots],
        schema=schema.dtypes(schema.PATH_HOURS),
    )
    entries = pl.DataFrame(
        [entry | {"slot": slot} for slot in slots], schema=schema.dtypes(schema.ENTRY_HOURS)
    )
    paths = pl.DataFrame(
        [
            {"path_id": path, "parent_id": 0, "entry_id": 0, "depth": 1, "kind": schema.EDGE_DB,
             "caller": "a", "callee": "db", "operation": "GET", "edge_id": 7, "uninstrumented": False}
        ],
        schema=schema.dtypes(schema.PATHS),
    )  # fmt: skip
    given = {"path_hours": hours, "entry_hours": entries, "paths": paths}
    return PeriodRollups(slots.start * HOUR_NS, slots.stop * HOUR_NS, HOUR_NS, "", given)


def test_two_periods_are_all_that_was_seen_once_in_any_order() -> None:
    """What both hold counts once, the gap between them stays, and paths are those of both."""
    early, late = tables(range(0, 10)), tables(range(6, 12), path=2)
    for pair in ((early, late), (late, early)):
        whole = until(*pair)
        assert (whole.start_ns, whole.end_ns, whole.slot_ns) == (0, 12 * HOUR_NS, HOUR_NS)
        assert whole.tables["path_hours"]["slot"].to_list() == list(range(12))
        assert whole.tables["entry_hours"]["slot"].to_list() == list(range(12))
        assert sorted(whole.tables["paths"]["path_id"].to_list()) == [1, 2]
        assert "service_hours" not in whole.tables
    lives = schema.empty(schema.SERVICE_HOURS)
    known = replace(late, tables=late.tables | {"service_hours": lives})
    assert "service_hours" not in until(early, known).tables
    assert (
        "service_hours" in until(replace(early, tables=early.tables | {"service_hours": lives}), known).tables
    )
    assert until(replace(early, slot_ns=HOUR_NS // 60), late) is late
    assert until(late, replace(early, slot_ns=HOUR_NS // 60)) is late
    short = replace(late, slot_ns=HOUR_NS // 60)
    assert until(early, short) is short


def test_weeks_are_seen_from_the_first_unit_of_work_to_the_end() -> None:
    """Or from the period's start; of nothing there is none."""
    whole = tables(range(24, 24 + WEEK))
    assert weeks_seen(whole) == 1.0
    assert weeks_seen(replace(whole, start_ns=0)) == 1.0
    assert weeks_seen(replace(whole, start_ns=(24 + 84) * HOUR_NS)) == 0.5
    assert weeks_seen(replace(whole, tables={k: v.clear() for k, v in whole.tables.items()})) == 0.0
    without = {name: table for name, table in whole.tables.items() if name != "entry_hours"}
    assert weeks_seen(replace(whole, tables=without)) == 1.0


# -- an entry's clock -------------------------------------------------------------------------------


def clock(
    fit: Fit,
    *,
    ms: float = 10.0,
    spent: float = 6.0,
    trend: tuple[float, float, float] = (0.0, 0.0, 9.0),
    bends: bool = True,
) -> EntryClock:
    """An entry of 10 ms, of which 6 are spent at one edge, at a third of its capacity."""
    curve = edge(fit, bends=bends)
    known = replace(wall_of(curve, WEEK * HOUR_NS, 1.0), trend_logs=trend)
    return EntryClock(ms, {3: spent, 4: ms - spent}, {3: (curve, known)})


LOW = 6.0 * (1 - 1 / 3)  # of six ms at a third of capacity, at none


def test_a_clock_is_what_does_not_change_and_each_edge_along_its_curve() -> None:
    """By hand, in times of the peak and in weeks of growth; at today's load it is today's clock."""
    one, still = clock(fitted(growth=0.1)), np.zeros(DRAWS)
    assert one.bends
    assert (one.rest, one.low_ms[0]) == (pytest.approx(4.0), pytest.approx(4.0 + LOW, rel=1e-2))
    usual = 20 * (167 + 1.5) / 168  # of the last week's calls
    low = 6.0 * (1 - usual / 60)
    for times, weeks in ((1.0, 0.0), (2.0, 0.0), (1.5, 2.0), (0.5, -3.0)):
        drift = math.exp(0.1 * weeks)
        exact = 4.0 + low * drift / (1 - times * drift / 3)
        assert one.at(np.full(DRAWS, times), np.full(DRAWS, weeks)) == pytest.approx(np.full(DRAWS, exact))
    assert np.isinf(one.at(np.full(DRAWS, 3.01), still)).all()
    more = clock(fitted(), trend=(0.05, 0.0, 9.0))
    grown = more.at(np.ones(DRAWS), np.full(DRAWS, 4.0), demand=True)
    assert grown == pytest.approx(more.at(np.full(DRAWS, math.exp(0.2)), still))
    assert more.at(np.ones(DRAWS), np.full(DRAWS, 4.0)) == pytest.approx(more.at(np.ones(DRAWS), still))


def test_a_queues_waits_are_at_todays_load_what_they_are_and_an_unknown_trend_is_none() -> None:
    """Without what serving takes; loads that nobody knows the trend of stay."""
    waits = fitted()
    waits = replace(waits, curve=replace(waits.curve, less=0.98))
    one = clock(waits)
    usual = one.parts[3].curve.usual_load / one.parts[3].curve.peak_load
    assert one.at(np.full(DRAWS, usual), np.zeros(DRAWS)) == pytest.approx(np.full(DRAWS, 10.0))
    blind = clock(fitted(), trend=(0.7, math.inf, 1.0))
    at = np.ones(DRAWS), np.full(DRAWS, 1.0)
    assert blind.at(*at, demand=True) == pytest.approx(blind.at(*at))


def test_an_edge_whose_wall_is_not_in_sight_only_drifts() -> None:
    """Load does nothing to it here; its work grows, within e^20."""
    one = clock(fitted(growth=0.1), bends=False)
    assert not one.bends
    told = one.at(np.full(DRAWS, 50.0), np.full(DRAWS, 2.0))
    assert told == pytest.approx(np.full(DRAWS, 4.0 + 6.0 * math.exp(0.2)))
    assert one.at(np.ones(DRAWS), np.full(DRAWS, 1e6))[0] == pytest.approx(4.0 + 6.0 * math.exp(20))
    assert one.at(np.ones(DRAWS), np.full(DRAWS, -1e6))[0] == pytest.approx(4.0)
    wall = one.wall(50.0)
    assert (wall.headroom, wall.weeks, wall.limit) == (None, None, None)
    assert wall.headroom_at_least == pytest.approx(1.5)  # what was served
    assert clock(fitted(), spent=0.2, bends=False).wall(50.0).headroom_at_least == pytest.approx(1.5)
    far, calm = (
        edge(fitted(), seen(highest=90.0), bends=False),
        edge(fitted(), seen(highest=19.0), bends=False),
    )
    known = wall_of(far, WEEK * HOUR_NS, 1.0)
    for other, least in ((edge(fitted(), bends=False), 1.5), (calm, 1.0)):
        both = EntryClock(10.0, {3: 5.0, 5: 5.0}, {3: (far, known), 5: (other, known)})
        assert both.wall(50.0).headroom_at_least == pytest.approx(least)
    assert clock(fitted(), spent=0.1, bends=False).wall(50.0).headroom_at_least is None
    assert EntryClock(10.0, {3: 6.0}, {}).wall(50.0).headroom_at_least is None
    assert EntryClock(10.0, {3: 6.0}, {}).rest == 10.0
    assert EntryClock(10.0, {3: 6.0}, {3: (edge(None), wall_of(edge(None), 1, 1.0))}).parts == {}


def test_an_entrys_wall_is_where_its_own_clock_is_three_times_that_at_low_load() -> None:
    """Oracle: a root finder on the M/M/1's own formula, in load and in weeks."""
    usual = 20 * (167 + 1.5) / 168
    low = 6.0 * (1 - usual / 60)
    target = 3 * (4.0 + low)
    times = brentq(lambda m: 4.0 + low / (1 - m / 3) - target, 0.1, 2.99)
    one = clock(fitted(growth=0.02), trend=(0.03, 0.0, 9.0)).wall(100.0)
    assert one.headroom == pytest.approx(times, rel=1e-6)
    assert one.headroom_interval == pytest.approx((times, times), rel=1e-6)
    assert (one.headroom_at_least, one.limit) == (None, 3)
    weeks = brentq(
        lambda t: 4.0 + low * math.exp(0.02 * t) / (1 - math.exp(0.05 * t) / 3) - target, 0.1, 21.9
    )
    assert one.weeks == pytest.approx(weeks, rel=1e-6)
    assert one.weeks_interval == pytest.approx((weeks, weeks), rel=1e-6)
    near = clock(fitted(growth=0.02), trend=(0.03, 0.0, 9.0)).wall(weeks - 0.1)
    assert (near.weeks, near.weeks_interval) == (None, (None, None))
    blind = clock(fitted(), trend=(0.0, math.inf, 1.0)).wall(100.0)
    assert (blind.headroom, blind.weeks, blind.weeks_interval) == (pytest.approx(times, rel=1e-6), None, None)


def test_a_clock_that_is_at_its_wall_has_no_week_left() -> None:
    """Seven ms, of which six are spent at an edge that is nearly full."""
    full = clock(fitted(21.0), ms=7.0, trend=(0.01, 0.0, 9.0)).wall(50.0)
    assert (full.weeks, full.weeks_interval) == (0.0, (0.0, 0.0))
    assert full.headroom is not None
    assert full.headroom < 1


def test_weeks_are_told_where_the_trends_of_all_that_bends_are_known() -> None:
    one = edge(fitted())
    known, blind = (
        replace(wall_of(one, WEEK * HOUR_NS, 1.0), trend_logs=(0.03, error, 9.0)) for error in (0.0, math.inf)
    )
    for other, told in ((known, True), (blind, False)):
        both = EntryClock(10.0, {3: 4.0, 5: 4.0}, {3: (one, known), 5: (one, other)}).wall(90.0)
        assert (both.weeks is not None) == told
        assert both.headroom is not None


def test_one_edge_that_bends_is_enough_for_a_wall() -> None:
    one, hidden = edge(fitted()), edge(fitted(), bends=False)
    known = wall_of(one, WEEK * HOUR_NS, 1.0)
    both = EntryClock(10.0, {3: 6.0, 5: 2.0}, {3: (one, known), 5: (hidden, known)})
    assert both.wall(50.0).headroom == pytest.approx(clock(fitted()).wall(50.0).headroom)
    assert both._limit(2.0) == 3


def test_a_wall_is_looked_for_between_a_sixty_fourth_and_sixty_four_times_the_load() -> None:
    """Beyond it is not in sight, and under it not less."""
    for capacity, told in ((1600.0, True), (1800.0, False)):
        low = 6.0 * (1 - 20 * (167 + 1.5) / 168 / capacity)
        rho = brentq(lambda r, low=low: 4.0 + low / (1 - r) - 3 * (4.0 + low), 0.1, 0.999)
        assert (rho * capacity / 20 < 64) == told
        found = clock(fitted(capacity)).wall(50.0)
        assert (found.headroom is not None) == told


def test_a_wall_known_to_a_factor_of_four_is_in_sight_and_beyond_it_is_none() -> None:
    """Headroom's 80 % are those of the capacities that the data leave open."""
    for apart, known in ((0.5, True), (1.4, False)):
        found = clock(fitted(apart=apart)).wall(50.0)
        assert (found.headroom is not None) == known
        if known:
            low, high = found.headroom_interval or (0.0, 0.0)
            assert low < (found.headroom or 0.0) < (high or 0.0) <= 4 * low
        else:
            assert found.headroom_at_least == pytest.approx(1.5)


def test_an_slo_is_reached_by_drift_and_demand_or_is_already() -> None:
    """Oracle: a root finder; nothing is left where the clock is there today."""
    one = clock(fitted(growth=0.02), trend=(0.03, 0.0, 9.0))
    usual = 20 * (167 + 1.5) / 168
    low = 6.0 * (1 - usual / 60)

    def at(t: float) -> float:
        return 4.0 + low * math.exp(0.02 * t) / (1 - math.exp(0.05 * t) / 3)

    weeks = brentq(lambda t: at(t) / at(0.0) * 10.0 - 15.0, 0.0, 21.0)
    told, interval = one.reaches(15.0, 100.0)
    assert told == pytest.approx(weeks, rel=1e-6)
    assert interval == pytest.approx((weeks, weeks), rel=1e-6)
    assert one.reaches(15.0, weeks - 0.1) == (None, (None, None))
    assert one.reaches(10.0, 9.0) == (0.0, (0.0, 0.0))
    assert one.reaches(9.0, 9.0) == (0.0, (0.0, 0.0))


def test_the_limit_is_the_edge_that_adds_most_at_the_wall() -> None:
    """Of two that bend; a fuller one adds more than one that takes as long."""
    slow, full = edge(fitted(80.0)), edge(fitted(45.0))
    known = {
        n: replace(wall_of(one, WEEK * HOUR_NS, 1.0), trend_logs=(0.0, 0.0, 9.0))
        for n, one in ((3, slow), (5, full))
    }
    both = EntryClock(10.0, {3: 4.0, 5: 4.0}, {3: (slow, known[3]), 5: (full, known[5])})
    assert both.wall(50.0).limit == 5
    alike = EntryClock(10.0, {3: 4.0, 5: 4.0}, {3: (slow, known[3]), 5: (slow, known[3])})
    assert alike._limit(2.0) == 3  # the first of two that are alike
    slower = EntryClock(20.0, {3: 16.0, 5: 4.0}, {3: (slow, known[3]), 5: (full, known[5])})
    assert slower._limit(2.0) == 5  # by what is added, not by what it takes
    mostly = EntryClock(20.0, {3: 16.0, 5: 1.0}, {3: (slow, known[3]), 5: (full, known[5])})
    assert mostly._limit(1.2) == 3


def test_a_crossing_is_found_to_a_billionth_of_its_range() -> None:
    """Each draw's own; at the low end where it is reached there, never where not at the high end."""
    target = np.linspace(-1.0, 30.0, DRAWS)
    found = entry_clock._crossing(lambda x: x**3, target, 0.0, 3.0)
    exact = np.where(target <= 0, 0.0, np.where(target > 27, np.inf, np.cbrt(target)))
    np.testing.assert_allclose(found, exact, atol=1e-8)


def test_what_is_open_of_one_edge_is_drawn_apart_from_anothers_and_alike_each_time() -> None:
    """The trend's error is Student's t; the draws of a curve stay together."""
    fit = fitted(growth=0.01, apart=0.2, unsure=0.05)
    one = clock(fit, trend=(0.02, 0.01, 9.0)).parts[3]
    again = clock(fit, trend=(0.02, 0.01, 9.0)).parts[3]
    assert (one.trend == again.trend).all()
    assert float(np.median(one.trend)) == pytest.approx(0.02, abs=0.002)
    assert float(np.ptp(np.quantile(one.trend, [0.1, 0.9]))) == pytest.approx(
        0.02 * stats.t.ppf(0.9, 9), rel=0.15
    )
    assert one.curve.fitted is not None
    # as drawn: the larger the capacity the less the growth
    assert np.argsort(one.curve.fitted.draws["capacity"]).tolist() == np.argsort(-one.growth).tolist()
    low = 6.0 * (1 - one.curve.usual_load / one.curve.fitted.draws["capacity"])
    assert one.low_ms == pytest.approx(low)
