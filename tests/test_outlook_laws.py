"""Laws of the outlook: early signs by hand, an entry's verdict by what is known of it, band-aids."""

from __future__ import annotations

import math
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest
from scipy import stats

from tracescope import schema
from tracescope.analysis.capacity import early_warning, forecast_verdict
from tracescope.analysis.capacity import failure_trends as failing_trends
from tracescope.analysis.capacity.early_warning import decrease_p_value, early_signs, stage_of
from tracescope.analysis.capacity.failure_trends import FailureTrend, failure_trends
from tracescope.analysis.capacity.forecast import EdgeForecast, EntryForecast, Forecast
from tracescope.analysis.capacity.forecast_verdict import EntryVerdict, band_aids, entry_states
from tracescope.analysis.capacity.trends import Trend
from tracescope.analysis.report import Sign, State
from tracescope.analysis.rollups.period import PeriodRollups
from tracescope.schema import HOUR_NS

WEEK = 168
FLAT, UP, SHY = Trend(0.0, (-1.0, 1.0), 0.9), Trend(5.0, (4.0, 6.0), 0.001), Trend(5.0, (-4.0, 9.0), 0.3)
NOTHING = Trend(None, None)


# -- early signs ------------------------------------------------------------------------------------


def test_latency_creeps_where_peaks_grow_and_quiet_hours_do_not() -> None:
    """Off-peak is flat under half a per cent, or under half of what peaks grow by."""

    def shown(peak: float, quiet: float, q_value: float = 0.01) -> bool:
        trends = {schema.UNIT_REQUEST: (Trend(peak, None, q_value), Trend(quiet, None, 0.9))}
        return early_warning._creep(trends).shown

    assert shown(5.0, 2.4)
    assert not shown(5.0, 2.6)
    assert shown(0.6, 0.49)
    assert not shown(0.6, 0.5)
    assert not shown(5.0, 0.0, 0.06)
    assert shown(5.0, -3.0)


def test_a_creep_is_told_of_each_kind_that_has_weeks_enough() -> None:
    """And shows where one of them does."""
    both = {schema.UNIT_REQUEST: (FLAT, FLAT), schema.UNIT_MESSAGE: (UP, FLAT)}
    told = early_warning._creep(both)
    assert told == Sign(
        1, True,
        "latency of requests at peak hours +0.0 % a week, off-peak +0.0 %; "
        "of messages at peak hours +5.0 % a week, off-peak +0.0 %",
    )  # fmt: skip
    one = early_warning._creep({schema.UNIT_REQUEST: (NOTHING, FLAT), schema.UNIT_MESSAGE: (FLAT, FLAT)})
    assert one == Sign(1, False, "latency of messages at peak hours +0.0 % a week, off-peak +0.0 %")
    none = early_warning._creep({schema.UNIT_REQUEST: (UP, NOTHING), schema.UNIT_MESSAGE: (NOTHING, FLAT)})
    assert (none.shown, none.known) == (False, False)
    assert early_warning._cost(UP) == Sign(2, True, "instances per request +5.0 % a week")
    assert not early_warning._cost(SHY).shown
    assert not early_warning._cost(NOTHING).known


def test_the_stage_is_the_last_that_shows_and_none_where_enough_was_seen() -> None:
    """Versions alone say nothing of growth."""
    quiet = [Sign(n, False, "") for n in (1, 2, 3)]
    assert stage_of(quiet) == "none"
    assert stage_of([replace(quiet[0], shown=True), quiet[1], quiet[2]]) == "1"
    assert stage_of([replace(quiet[0], shown=True), quiet[1], replace(quiet[2], shown=True)]) == "3"
    blind = [replace(sign, known=False) for sign in quiet]
    assert stage_of(blind) is None
    assert stage_of([*blind[:2], quiet[2]]) is None
    assert stage_of([blind[0], quiet[1], blind[2]]) == "none"


def test_a_fleet_that_grew_in_a_step_is_told_by_welchs_test_of_its_halves() -> None:
    """Scipy's, one-sided; of three weeks nothing is known; halves without any spread are sure."""
    values = np.log(np.array([2.0, 2.1, 2.0, 1.9, 2.05, 3.0, 3.3, 3.1, 3.2, 2.9, 3.15]))
    expected = stats.ttest_ind(values[5:], values[:5], equal_var=False, alternative="greater").pvalue
    assert early_warning._rose(values) == pytest.approx(expected, rel=1e-6)
    assert early_warning._rose(values[::-1]) == pytest.approx(
        stats.ttest_ind(values[::-1][5:], values[::-1][:5], equal_var=False, alternative="greater").pvalue
    )
    assert early_warning._rose(values[:3]) == 1.0
    assert early_warning._rose(values[[0, 1, 5, 6]]) < 0.05
    assert early_warning._rose(np.array([1.0, 1.0, 2.0, 2.0])) == pytest.approx(0.0, abs=1e-5)
    assert early_warning._rose(np.ones(8)) == pytest.approx(0.5)


def test_fewer_than_before_is_a_coins_tail() -> None:
    """By hand: of eight versions seven in the first half: (8 + 1) / 256."""
    assert decrease_p_value(7, 1) == pytest.approx(9 / 256)
    assert decrease_p_value(4, 4) == pytest.approx(stats.binom.sf(3, 8, 0.5))
    assert decrease_p_value(0, 3) == 1.0


def entry_hours(rows: list[tuple[int, int, int, float]], unit: int = schema.UNIT_REQUEST) -> pl.DataFrame:
    """Slot, entry, units and ms of each."""
    blank = dict.fromkeys(schema.ENTRY_HOURS, 0)
    made = [
        blank | {"slot": slot, "unit": unit, "entry_id": entry, "threshold": schema.NO_THRESHOLD,
                 "units": units, "clock_ns": round(units * ms * 1e6)}
        for slot, entry, units, ms in rows
    ]  # fmt: skip
    return pl.DataFrame(made, schema=schema.dtypes(schema.ENTRY_HOURS))


def life(service: str, instance: str, first: float, last: float, version: str = "") -> dict[str, Any]:
    """One instance from one week to another, from week 0 on."""
    first_ns, last_ns = (round(week * WEEK * HOUR_NS) for week in (first, last))
    return {"slot": 0, "environment": "", "service": service, "version": version, "instance": instance,
            "spans": 10**6, "first_ns": first_ns, "last_ns": last_ns}  # fmt: skip


def seen(
    weeks: int, entries: pl.DataFrame | None = None, lives: list[dict[str, Any]] | None = None
) -> PeriodRollups:
    """Weeks with these hours of entries and lives of instances."""
    tables = {
        "entry_hours": schema.empty(schema.ENTRY_HOURS) if entries is None else entries,
        "service_hours": pl.DataFrame(lives or [], schema=schema.dtypes(schema.SERVICE_HOURS)),
    }
    return PeriodRollups(0, weeks * WEEK * HOUR_NS, HOUR_NS, "", tables)


def test_peak_is_the_busiest_quarter_of_the_weeks_hours_and_quiet_the_emptiest() -> None:
    """4 % a week in the 42 busiest hours, 1 % in the 42 emptiest, 20 % in those between."""
    rows = []
    for slot in range(6 * WEEK):
        hour, week = slot % WEEK, slot // WEEK
        units = 300 if hour < 42 else 200 if hour < 126 else 100
        rate = {300: 0.04, 200: 0.2, 100: 0.01}[units]
        rows.append((slot, 1, units + hour % 7, 10 * math.exp(rate * week)))
    peak, quiet = early_warning._at_peak(seen(6, entry_hours(rows)), schema.UNIT_REQUEST)
    assert peak.pct_per_week == pytest.approx(100 * math.expm1(0.04), abs=1e-3)
    assert quiet.pct_per_week == pytest.approx(100 * math.expm1(0.01), abs=1e-3)
    assert early_warning._at_peak(seen(6, entry_hours(rows)), schema.UNIT_MESSAGE) == (NOTHING, NOTHING)
    # of three cells one is peak, and one is quiet
    few = [(w * WEEK + h, 1, 10 * (h + 1), 5.0 * math.exp(0.05 * w * h)) for w in range(6) for h in range(3)]
    peak, quiet = early_warning._at_peak(seen(6, entry_hours(few)), schema.UNIT_REQUEST)
    assert peak.pct_per_week == pytest.approx(100 * math.expm1(0.1), abs=1e-3)
    assert quiet.pct_per_week == pytest.approx(0.0, abs=1e-6)


def test_more_traffic_at_a_slow_entry_is_no_slower_entry() -> None:
    """The traffic between entries is held still: each has its own clock, of its own weeks."""
    rows = [
        (slot, entry, units, ms)
        for slot in range(5 * WEEK)
        for entry, units, ms in ((1, 100, 10.0), (2, 10 + 40 * (slot // WEEK), 90.0))
    ]
    by_week = early_warning._by_week(entry_hours(rows), seen(5))
    assert early_warning._per_unit(by_week, "clock_ns").pct_per_week == pytest.approx(0.0, abs=1e-9)
    slower = [
        (slot, entry, units, ms * (math.exp(0.1 * (slot // WEEK)) if entry == 2 else 1))
        for slot, entry, units, ms in rows
    ]
    told = early_warning._per_unit(early_warning._by_week(entry_hours(slower), seen(5)), "clock_ns")
    units = np.array([100.0 * 5, 10 * 5 + 40 * 10.0]) * WEEK
    clocks = [10 * units[0] + 90 * math.exp(0.1 * week) * units[1] for week in range(5)]
    slope = stats.theilslopes(np.log(clocks), np.arange(5))[0]
    assert told.pct_per_week == pytest.approx(100 * math.expm1(slope), rel=1e-4)


def test_an_entrys_week_needs_a_quarter_of_its_hours_and_is_whole() -> None:
    """Counted back from the end; a cut first week is left out, and so is one of 41 hours."""
    rows = [(slot, 1, 1, 1.0) for slot in range(100, 4 * WEEK) if not 2 * WEEK + 41 <= slot < 3 * WEEK]
    period = replace(seen(4, entry_hours(rows)), start_ns=100 * HOUR_NS)
    told = early_warning._by_week(entry_hours(rows), period).sort("week")
    assert told["week"].to_list() == [0, 2]
    assert told["units"].to_list() == [168.0, 168.0]
    more = [*rows, (2 * WEEK + 41, 1, 1, 1.0)]
    assert early_warning._by_week(entry_hours(more), period)["week"].sort().to_list() == [0, 1, 2]
    idle = [(slot, entry, 0 if slot >= 3 * WEEK else units, ms) for slot, entry, units, ms in more]
    assert early_warning._by_week(entry_hours(idle), period)["week"].sort().to_list() == [1, 2]
    hour_less = replace(period, start_ns=HOUR_NS)
    assert 3 in early_warning._by_week(entry_hours(more), hour_less)["week"].to_list()
    assert 3 not in early_warning._by_week(entry_hours(more), replace(period, start_ns=2 * HOUR_NS))["week"]


def test_what_a_request_costs_is_live_instances_of_all_services_over_requests() -> None:
    """Three, from the fourth of eight weeks on five, for as many requests each; messages cost nothing."""
    rows = [(slot, 1, 100, 1.0) for slot in range(8 * WEEK)]
    lives = [life("a", "1", 0, 8), life("a", "2", 0, 8), life("b", "1", 0, 8)]
    lives += [life("b", "2", 4, 8), life("a", "3", 4, 8)]
    told = early_warning._per_request(seen(8, entry_hours(rows), lives))
    each = np.log(np.repeat([3.0, 5.0], 4))
    slope = stats.theilslopes(each, np.arange(8))[0]
    assert told.pct_per_week == pytest.approx(100 * math.expm1(slope), rel=1e-3)
    assert told.q_value is not None
    assert told.q_value < 1e-3
    twice = [(slot, 1, 100 if slot < 4 * WEEK else 167, 1.0) for slot in range(8 * WEEK)]
    assert (early_warning._per_request(seen(8, entry_hours(twice), lives)).q_value or 0) > 0.05
    assert early_warning._per_request(seen(8, entry_hours(rows, schema.UNIT_MESSAGE), lives)) == NOTHING
    nameless = [one | {"instance": ""} for one in lives]
    assert early_warning._per_request(seen(8, entry_hours(rows), nameless)) == NOTHING
    begun = [(slot, 1, 100, 1.0) for slot in range(4 * WEEK + 68, 8 * WEEK)]  # amid a week, which is none
    told = early_warning._per_request(seen(8, entry_hours(begun), lives[:3]))
    assert told.pct_per_week == pytest.approx(0.0, abs=1e-3)
    late = [(slot, 1, 100, 1.0) for slot in range(6 * WEEK, 8 * WEEK)]
    assert early_warning._per_request(seen(8, entry_hours(late), lives)) == NOTHING  # two weeks of requests


def test_velocity_is_new_versions_in_either_half_and_the_first_is_not_new() -> None:
    """By hand: eight then one in ten weeks; five in all are too few."""

    def told(at: list[float]) -> Sign:
        lives = [life("a", "1", 0.0, 10.0, "first"), life("b", "1", 2.0, 10.0, "other")]
        lives += [life("a", "1", week, 10.0, f"v{n}") for n, week in enumerate(at)]
        return early_warning._velocity(seen(10, None, lives))

    eight = [0.5 + 0.5 * n for n in range(8)]
    assert told([*eight, 7.0]) == Sign(3, True, "1.6 then 0.2 new versions a week")
    assert not told([*eight, 6.0, 7.0, 8.0, 9.0]).shown
    assert told([1.0, 2.0, 3.0, 5.0, 6.0]) == Sign(
        3, False, "0.6 then 0.4 new versions a week: too few to tell", known=False
    )
    assert told([1.0, 2.0, 3.0, 4.0, 5.0, 6.0]).words == "0.8 then 0.4 new versions a week"
    assert told([1.0, 2.0, 3.0, 4.0, 5.0, 6.0]).known
    nothing = early_warning._velocity(seen(10, None, [life("a", "1", 0, 10)]))
    assert (nothing.known, nothing.shown) == (False, False)
    assert [sign.stage for sign in early_signs(seen(3))] == [1, 2, 3]


# -- failures ---------------------------------------------------------------------------------------


def failing(rates: Any) -> tuple[PeriodRollups, pl.DataFrame, Any]:
    """Eight weeks of a thousand requests an hour, of which so many parts fail, and the failures."""
    n = 8 * WEEK
    errors = np.random.default_rng(3).binomial(1000, np.broadcast_to(rates, n))
    hours = entry_hours([(slot, 1, 1000, 1.0) for slot in range(n)]).with_columns(
        errors=pl.Series("errors", errors, dtype=pl.Int64)
    )
    return seen(8, hours), hours, errors


@pytest.mark.parametrize("part", [0.5, 0.75])
def test_failures_are_told_before_and_after_a_part_of_what_was_seen(
    monkeypatch: pytest.MonkeyPatch, part: float
) -> None:
    """One per mille, then one per cent: rates, interval, chance and trend by hand."""
    at = round(8 * part)
    period, hours, errors = failing(np.where(np.arange(8 * WEEK) >= at * WEEK, 0.01, 0.001))
    monkeypatch.setattr(failing_trends, "CUTS", (part,))
    ((key, told),) = failure_trends(period, hours).items()
    assert key == (schema.UNIT_REQUEST, 1)
    assert told.grows
    assert told.before == pytest.approx(errors[: at * WEEK].mean() / 1000, rel=0.01)
    assert told.now == pytest.approx(errors[at * WEEK :].mean() / 1000, rel=0.01)
    low, high = told.change_ci or (0.0, 0.0)
    assert low < told.now - told.before < high
    assert told.q_value < 1e-9
    assert told.trend.q_value is None
    by_week = errors.reshape(8, WEEK).sum(axis=1) / 1000 / WEEK
    slope = stats.theilslopes(np.log(by_week), np.arange(8))[0]
    assert told.trend.pct_per_week == pytest.approx(100 * math.expm1(slope), rel=1e-6)


def test_the_surer_cut_decides_and_is_paid_for_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """Either way; what fell is no growth at any cut."""
    period, hours, _ = failing(np.where(np.arange(8 * WEEK) >= 5 * WEEK, 0.0013, 0.001))
    alone: dict[tuple[float, ...], FailureTrend] = {}
    (usual,) = failure_trends(period, hours).values()
    late, at_last, _ = failing(np.where(np.arange(8 * WEEK) >= 6 * WEEK, 0.0013, 0.001))
    (lately,) = failure_trends(late, at_last).values()
    for cuts in ((0.5,), (0.75,), (0.5, 0.75), (0.75, 0.5)):
        monkeypatch.setattr(failing_trends, "CUTS", cuts)
        (alone[cuts],) = failure_trends(period, hours).values()
    one, other = alone[0.5,], alone[0.75,]
    surer = min(one, other, key=lambda told: told.q_value)
    for cuts in ((0.5, 0.75), (0.75, 0.5)):
        assert (alone[cuts].before, alone[cuts].now) == (surer.before, surer.now)
        assert alone[cuts].change_ci == surer.change_ci
        assert alone[cuts].q_value == pytest.approx(min(2 * surer.q_value, 1.0))
    assert usual == alone[0.5, 0.75]
    monkeypatch.setattr(failing_trends, "CUTS", (0.75,))
    (three_quarters,) = failure_trends(late, at_last).values()
    assert (lately.before, lately.now) == (three_quarters.before, three_quarters.now)
    monkeypatch.setattr(failing_trends, "CUTS", (0.5,))
    (half,) = failure_trends(period, hours).values()
    assert (usual.before, usual.now) == (half.before, half.now)
    period, fewer, _ = failing(np.where(np.arange(8 * WEEK) >= 4 * WEEK, 0.001, 0.01))
    (fell,) = failure_trends(period, fewer).values()
    assert (fell.grows, fell.q_value) == (False, 1.0)
    assert failure_trends(period, hours.with_columns(errors=pl.lit(0, pl.Int64))) == {}


def test_every_entry_has_its_own_failures_from_the_first_hour_that_was_seen(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Two of three fail, from hour 1000 on; one of them more from the middle on; chance is one-sided."""
    first, n = 1000, 6 * WEEK
    rows = [(first + slot, entry, 100 * entry, 1.0) for slot in range(n) for entry in (1, 2, 3)]
    slot, entry = np.array([row[0] - first for row in rows]), np.array([row[1] for row in rows])
    errors = np.where(entry == 3, 2, np.where((entry == 2) & (slot >= n // 2), 6, 0))
    errors = np.where((entry == 2) & (slot < n // 2) & (slot % 2 == 0), 1, errors)
    hours = entry_hours(rows).with_columns(errors=pl.Series("errors", errors, dtype=pl.Int64))
    period = replace(seen(6, hours), start_ns=0, end_ns=(first + n) * HOUR_NS)
    monkeypatch.setattr(failing_trends, "CUTS", (0.5,))
    found = failure_trends(period, hours)
    assert list(found) == [(schema.UNIT_REQUEST, 2), (schema.UNIT_REQUEST, 3)]
    grown, same = found.values()
    assert (grown.before, grown.now) == (pytest.approx(0.0025), pytest.approx(0.03))
    assert (same.before, same.now) == (pytest.approx(2 / 300), pytest.approx(2 / 300))
    assert (grown.grows, same.grows, same.q_value) == (True, False, 1.0)
    rates = SimpleNamespace(
        base=np.array([0.1, 0.2]),
        head=np.array([0.2, 0.1]),
        p_value=np.array([0.04, 0.04]),
        change_ci=lambda k: (k, k),
    )
    monkeypatch.setattr(failing_trends, "compare_rates", lambda *_: rates)
    up, down = failure_trends(period, hours).values()
    assert (up.q_value, down.q_value) == (pytest.approx(0.04), 1.0)  # 0.02, the smaller of two
    assert (up.change_ci, down.change_ci) == ((0, 0), (1, 1))
    rare = hours.with_columns(errors=pl.lit(0, pl.Int64)).with_columns(
        errors=pl.when((pl.col("entry_id") == 3) & (pl.col("slot") % 7 == 0)).then(1).otherwise("errors")
    )
    assert list(failure_trends(period, rare)) == [(schema.UNIT_REQUEST, 3)]
    middle = first + n // 2
    amid = hours.filter(pl.col("slot").is_between(middle - 2, middle + 1))
    grown, _ = failure_trends(replace(period, end_ns=(middle + 2) * HOUR_NS), amid).values()
    assert (grown.before, grown.now) == (pytest.approx(0.0025), pytest.approx(0.03))
    short = hours.filter(pl.col("slot") >= first + n - 4)
    for told in failure_trends(period, short).values():
        assert (told.change_ci, told.q_value, told.grows) == (None, 1.0, False)


def test_a_trend_of_failures_needs_five_in_every_week() -> None:
    """Four in one of them, or none, and there is no number."""
    n = 6 * WEEK
    for few, known in ((5, True), (4, False), (0, False)):
        errors = np.zeros(n, np.int64)
        errors[::WEEK] = [20, 15, few // 2, 10, 25, 30]  # in the first hour of a week, and in its last
        errors[WEEK - 1 :: WEEK] = [20, 15, few - few // 2, 10, 25, 30]
        hours = entry_hours([(slot, 1, 1000, 1.0) for slot in range(n)]).with_columns(
            errors=pl.Series("errors", errors, dtype=pl.Int64)
        )
        (told,) = failure_trends(seen(6, hours), hours).values()
        assert (told.trend.pct_per_week is not None) == known
    words = FailureTrend(0.001449, 0.02351, None, NOTHING, 0.01, True)
    assert words.words("request") == "0.14 % → 2.4 % of its requests fail"
    assert replace(words, trend=UP).words("message") == "0.14 % → 2.4 % of its messages fail, +5 % a week"


# -- an entry's verdict -----------------------------------------------------------------------------


def edge(**more: Any) -> EdgeForecast:
    """A quiet edge with a wall at twice the load."""
    given: dict[str, Any] = {
        "unit": "request", "kind": "db", "caller": "a", "callee": "db", "operation": "GET", "share": 0.5,
        "ms_now": 5.0, "peak_load": 20.0, "highest_load": 30.0, "headroom": 2.0, "headroom_interval": None,
        "headroom_at_least": None, "drift": FLAT, "load_trend": FLAT, "amplification": FLAT, "weeks": None,
        "weeks_interval": None, "beyond_weeks": 20.0, "resilience_gap": None, "resilience_gap_at_least": None,
        "what_if": (), "reason": None,
    }  # fmt: skip
    return EdgeForecast(**given | more)


def entry(**more: Any) -> EntryForecast:
    """A quiet entry that lies over that edge."""
    given: dict[str, Any] = {
        "unit": "request", "service": "a", "operation": "GET /", "units": 1e6, "demand": FLAT, "ms_now": 10.0,
        "slo_ms": None, "availability": 0.9995, "weeks": None, "weeks_interval": None, "limit": "a -> db",
        "headroom": 2.0, "headroom_interval": None, "headroom_at_least": None, "what_if": (),
        "edges": (("a -> db", "GET"),), "failures": None,
    }  # fmt: skip
    return EntryForecast(**given | more)


def verdict(one: EntryForecast, *edges: EdgeForecast) -> EntryVerdict:
    by_name = {(each.unit, each.name, each.operation): each for each in edges or (edge(),)}
    names = tuple((each.name, each.operation) for each in edges or (edge(),))
    return forecast_verdict._state(replace(one, edges=names), by_name, 12.0)


AVAILABLE = "availability 99.95%"


def test_an_entry_is_stable_where_enough_was_seen_and_nothing_moves() -> None:
    """With availability beside it; less than a hundred units, or no curve, or no trend, is too little."""
    assert verdict(entry()) == EntryVerdict(
        "request", "a", "GET /", State.GROWTH_STABLE, ("1 edges neither drift nor near a wall", AVAILABLE)
    )
    beyond = edge(headroom=None, headroom_at_least=1.5)
    assert verdict(entry(), edge(), replace(beyond, callee="x")).evidence[0] == (
        "2 edges neither drift nor near a wall; the walls of 1 lie beyond the loads that were seen"
    )
    assert verdict(entry(units=100.0)).state is State.GROWTH_STABLE
    assert verdict(entry(units=99.0)).state is State.INSUFFICIENT
    assert verdict(entry(demand=NOTHING)).state is State.INSUFFICIENT
    blind = verdict(entry(), edge(reason="not identifiable: few", headroom=None))
    assert (blind.state, blind.evidence) == (State.INSUFFICIENT, ("not identifiable: few", AVAILABLE))
    assert verdict(entry(units=9.0)).evidence[0] == "too few traces, or weeks, to say"


def test_an_entry_at_its_wall_or_over_its_slo_is_at_the_wall() -> None:
    """Headroom of one, or its mean at the SLO; what drifts stands behind."""
    full = verdict(entry(headroom=1.0), edge(drift=UP))
    assert full.state is State.AT_THE_WALL
    assert full.evidence == (
        "a -> db makes its clock at peak load three times what it is at low load",
        "a -> db is +5.0 % a week slower at equal load", AVAILABLE,
    )  # fmt: skip
    over = verdict(entry(slo_ms=10.0))
    assert over.evidence[0] == "its mean of 10 ms is over the SLO of 10 ms"
    assert over.state is State.AT_THE_WALL
    assert verdict(entry(slo_ms=10.1)).state is State.GROWTH_STABLE
    assert verdict(entry(headroom=1.01)).state is State.GROWTH_STABLE


@pytest.mark.parametrize("grown", ["drift", "load_trend", "amplification", "demand"])
def test_an_entry_approaches_its_wall_where_growth_beyond_chance_brings_it_there(grown: str) -> None:
    """Within the horizon; of edges with a wall in sight, or of demand; else it is near and no more."""

    def told(weeks: float | None, trend: Trend, **more: Any) -> EntryVerdict:
        if grown == "demand":
            return verdict(entry(weeks=weeks, demand=trend))
        return verdict(entry(weeks=weeks), edge(**{grown: trend} | more))

    assert told(12.0, UP).state is State.APPROACHING
    assert told(12.0, UP).evidence[0] == "a -> db ends it in 12.0 weeks at today's growth"
    assert told(12.1, UP).state is not State.APPROACHING
    assert told(None, UP).state is not State.APPROACHING
    shy = told(3.0, SHY)
    assert shy.state is State.GROWTH_STABLE
    assert shy.evidence[1] == (
        "a -> db is near the load at its wall, and no growth towards it is told from chance"
    )
    if grown != "demand":
        assert told(3.0, UP, headroom=None).state is not State.APPROACHING


def test_an_entry_drifts_by_an_edge_by_more_calls_and_by_failures() -> None:
    """Failures lead; an edge over its wall's load is told whatever the state."""
    slower = verdict(entry(), edge(drift=UP))
    assert (slower.state, slower.evidence[0]) == (
        State.DRIFTING, "a -> db is +5.0 % a week slower at equal load"
    )  # fmt: skip
    often = verdict(entry(), edge(amplification=UP, reason="no curve", headroom=None))
    assert often.evidence[0] == "a -> db is called +5.0 % a week more often per request"
    assert often.state is State.DRIFTING
    assert verdict(entry(), edge(drift=SHY, amplification=SHY)).state is State.GROWTH_STABLE
    assert verdict(entry(), edge(drift=UP, reason="no curve")).state is State.INSUFFICIENT
    failing = FailureTrend(0.001, 0.02, None, NOTHING, 0.01, True)
    both = verdict(entry(failures=failing), edge(drift=UP, headroom=0.8))
    assert both.state is State.DRIFTING
    assert both.evidence == (
        "0.1 % → 2 % of its requests fail", "a -> db is +5.0 % a week slower at equal load",
        "a -> db itself is at 125 % of the load at its wall", AVAILABLE,
    )  # fmt: skip
    calm = verdict(entry(failures=replace(failing, grows=False)))
    assert calm.state is State.GROWTH_STABLE
    tight = verdict(entry(), edge(headroom=1.0))
    assert tight.evidence[1] == "a -> db itself is at 100 % of the load at its wall"
    assert verdict(entry(), edge(headroom=1.01)).evidence[1] == AVAILABLE


def test_the_part_of_all_time_that_is_known_is_of_entries_with_a_verdict() -> None:
    """By their units and what each takes; of nothing none is known."""
    entries = [entry(units=200.0, ms_now=10.0), entry(units=150.0, ms_now=40.0)]
    states = [verdict(entry()), replace(verdict(entry()), state=State.INSUFFICIENT)]
    assert forecast_verdict._part_known(entries, states) == 0.25
    assert forecast_verdict._part_known(entries, states[::-1]) == 0.75
    assert forecast_verdict._part_known([entry(units=0.0)], states[:1]) == 0.0
    assert forecast_verdict._part_known([entry(units=0.01)], states[:1]) == 1.0
    assert entry_states(states[:1]) == {("request", "a", "GET /"): State.GROWTH_STABLE}


# -- band-aids --------------------------------------------------------------------------------------


def scaled(
    live: tuple[int, int], calls: float = 1.0, slower: float = 0.05, weeks: int = 8
) -> tuple[Forecast, PeriodRollups]:
    """Service a with so many instances in either half, so many times the calls, waiting longer on db."""
    lives = [life("a", str(n), 0, weeks) for n in range(live[0])]
    lives += [life("a", f"+{n}", weeks / 2, weeks) for n in range(live[1] - live[0])]
    blank = dict.fromkeys(schema.PATH_HOURS, 0)
    rows = []
    for slot in range(weeks * WEEK):
        served = 100 * (calls if slot >= weeks * WEEK // 2 else 1.0)
        took = 5e6 * math.exp(slower * (slot // WEEK))
        for path, ns in ((1, 1e6), (2, took), (3, 5e6), (4, 5e6), (5, 5e6), (6, 5e6)):
            rows.append(
                blank | {"slot": slot, "path_id": path, "threshold": schema.NO_THRESHOLD,
                         "calls": round(served), "units": round(served), "own_all_ns": round(served * ns)}
            )  # fmt: skip
    path = {"parent_id": 0, "entry_id": 1, "depth": 1, "caller": "a", "uninstrumented": False}
    paths = [
        path | {"path_id": 1, "edge_id": 1, "kind": schema.EDGE_SELF, "callee": None, "operation": "GET /"},
        path | {"path_id": 2, "edge_id": 2, "kind": schema.EDGE_DB, "callee": "db", "operation": "GET"},
        path | {"path_id": 3, "edge_id": 3, "kind": schema.EDGE_DB, "callee": "cache", "operation": "GET"},
        path | {"path_id": 4, "edge_id": 4, "kind": schema.EDGE_DB, "callee": "db", "operation": "PUT"},
        path | {"path_id": 5, "edge_id": 5, "kind": schema.EDGE_HTTP, "callee": "db", "operation": "GET"},
        path
        | {"path_id": 6, "edge_id": 6, "kind": schema.EDGE_DB, "callee": "db", "operation": "GET"}
        | {"caller": "b"},
    ]
    period = seen(weeks, None, lives)
    tables = period.tables | {
        "path_hours": pl.DataFrame(rows, schema=schema.dtypes(schema.PATH_HOURS)),
        "paths": pl.DataFrame(paths, schema=schema.dtypes(schema.PATHS)),
    }
    edges = (edge(), edge(kind="self", callee=None, operation="GET /"))
    made = Forecast("", 0, period.end_ns, float(weeks), 12.0, (2.0,), edges, (entry(),), ())
    return made, replace(period, tables=tables)


def test_instances_that_buy_no_throughput_while_what_is_below_gets_slower_are_a_band_aid() -> None:
    """Two to four instances for as many calls, 5 % a week longer below: by hand."""
    (found,) = band_aids(*scaled((2, 4)))
    assert (found.service, found.instances_before, found.instances_now) == (
        "a", pytest.approx(2.0, rel=1e-3), pytest.approx(4.0, rel=1e-3)
    )  # fmt: skip
    assert found.words == (
        "a went from 2.0 to 4.0 instances for 1.00 times the calls, and still waits +5.1 % a week longer on "
        "a -> db, which gets slower with its load: they do not help there"
    )
    made, period = scaled((2, 4))
    drifting = replace(made, edges=(edge(drift=UP),))
    assert "which gets slower at equal load" in band_aids(drifting, period)[0].words


@pytest.mark.parametrize(
    ("live", "calls", "slower", "weeks", "found"),
    [
        ((15, 19), 1.0, 0.05, 8, True),  # a quarter more
        ((13, 16), 1.0, 0.05, 8, False),
        ((2, 4), 2.09, 0.05, 8, True),  # each serves 4.5 % more
        ((2, 4), 2.11, 0.05, 8, False),
        ((2, 4), 1.0, math.log(1.0161), 8, True),  # a tenth longer in six weeks
        ((2, 4), 1.0, math.log(1.0159), 8, False),
        ((2, 4), 1.0, 0.05, 4, True),
        ((2, 4), 1.0, 0.05, 3, False),
        ((4, 4), 1.0, 0.05, 8, False),
    ],
)
def test_a_band_aid_is_a_quarter_more_instances_that_serve_no_more_each_above_a_tenth_more_waiting(
    live: tuple[int, int], calls: float, slower: float, weeks: int, found: bool
) -> None:
    """Just on either side of each bound."""
    assert bool(band_aids(*scaled(live, calls, slower, weeks))) == found


def test_the_edge_below_that_gets_slower_most_is_the_one_waited_on() -> None:
    """Not the service's own work, nor an edge of somebody else."""
    made, period = scaled((2, 4))
    assert forecast_verdict._waits_longer(made, period, "a") is not None
    assert forecast_verdict._waits_longer(made, period, "b") is None
    found = forecast_verdict._waits_longer(made, period, "a")
    assert found is not None
    assert found[0].callee == "db"
    assert found[1].pct_per_week == pytest.approx(100 * math.expm1(0.05), rel=1e-3)
    assert forecast_verdict._served(period, "a") == pytest.approx(np.full(8, 16_800.0))
    calm, period = scaled((2, 4), slower=0.0)
    assert forecast_verdict._waits_longer(calm, period, "a") is None
