"""Laws of arrivals by hand: which calls count where, and for how much; windows, and their counting noise."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray

from tracescope import schema
from tracescope.analysis.capacity import arrivals
from tracescope.analysis.capacity.arrivals import Arrivals, by_edge, of_periods, points
from tracescope.analysis.capacity.load_model import Points
from tracescope.analysis.rollups.period import PeriodRollups
from tracescope.schema import DAY_NS, HOUR_NS

Floats = NDArray[np.float64]
WEEK_NS = 7 * DAY_NS
MS = 1_000_000
#: Path, kind, caller, callee and operation of each.
Paths = Sequence[tuple[int, int, str, str | None, str]]
TWO: Paths = (
    (1, schema.EDGE_DB, "a", "postgresql/db", "SELECT"),
    (2, schema.EDGE_DB, "b", "postgresql/db", "SELECT"),
)


def period(
    rows: list[tuple[int, int, int, float]],
    hours: int,
    *,
    paths: Paths = TWO,
    first: int = 0,
    tenth: bool = False,
) -> PeriodRollups:
    """Rollups of slot, path, calls and ms of each; one trace in ten was kept, or all."""
    threshold = int(0.9 * 2**56) if tenth else schema.NO_THRESHOLD
    blank = dict.fromkeys(schema.PATH_HOURS, 0)
    hour_rows = [
        blank | {"slot": slot, "path_id": path, "threshold": threshold, "calls": calls, "units": calls // 2,
                 "own_all_ns": int(ms * MS * calls)}
        for slot, path, calls, ms in rows
    ]  # fmt: skip
    path_rows = [
        {"path_id": path, "parent_id": 0, "entry_id": 0, "depth": 1, "kind": kind, "caller": caller,
         "callee": callee, "operation": operation, "edge_id": path, "uninstrumented": False}
        for path, kind, caller, callee, operation in paths
    ]  # fmt: skip
    tables = {
        "path_hours": pl.DataFrame(hour_rows, schema=schema.dtypes(schema.PATH_HOURS)),
        "paths": pl.DataFrame(path_rows, schema=schema.dtypes(schema.PATHS)),
    }
    return PeriodRollups(first * HOUR_NS, (first + hours) * HOUR_NS, HOUR_NS, "", tables)


def day(
    a: tuple[int, float], b: tuple[int, float], first: int = 0, hours: int = 24
) -> list[tuple[int, int, int, float]]:
    """As many calls of both edges in every hour, each of so many ms."""
    return [(first + slot, path, *one) for slot in range(hours) for path, one in ((1, a), (2, b))]


# -- what counts, and for how much ------------------------------------------------------------------


@pytest.mark.parametrize("tenth", [False, True])
def test_a_call_counts_for_its_own_work_over_the_mean_work_of_all(tenth: bool) -> None:
    """By hand: 100 calls of 10 ms and 100 of 30 ms an hour are 200 calls; 160 of equal work know as much."""
    whole = period(day((100, 10.0), (100, 30.0)), 24, tenth=tenth)
    times = 10.0 if tenth else 1.0
    found = by_edge(whole)
    assert set(found) == {1, 2}
    for edge, seconds in ((1, 0.01), (2, 0.03)):
        one = found[edge]
        assert one.load == pytest.approx(np.full(24, times * 200 / 3600))
        assert one.counted == pytest.approx(np.full(24, 160.0))
        assert one.noise == pytest.approx(1 / math.sqrt(160))
        assert one.calls.tolist() == [100.0] * 24
        assert one.units.tolist() == [50.0] * 24
        assert one.self_s == pytest.approx(np.full(24, seconds))
        assert one.arrived == pytest.approx(np.full(24, times * 100))
        assert (one.replicas, one.slot_ns) == (None, HOUR_NS)
        assert one.asked == {
            n: (pytest.approx(times * 100 / 3600), pytest.approx(s)) for n, s in ((1, 0.01), (2, 0.03))
        }
    assert by_edge(whole, [2])[2].load == pytest.approx(found[2].load)
    assert set(by_edge(whole, [2])) == {2}


def test_calls_that_got_heavier_are_load_for_their_neighbours_and_none_for_themselves() -> None:
    """By hand: 90 ms instead of 30 in head; the usual call of both periods takes 35 ms."""
    base = period(day((100, 10.0), (100, 30.0)), 24)
    head = period(day((100, 10.0), (100, 90.0), 24), 24, first=24)
    before, after = of_periods([base, head])
    assert before[1].load == pytest.approx(np.full(24, 100 * 40 / 35 / 3600))
    assert after[1].load == pytest.approx(np.full(24, 100 * 100 / 35 / 3600))
    assert before[2].load == pytest.approx(before[1].load)
    assert after[2].load == pytest.approx(before[1].load)
    assert after[1].asked[2].seconds == pytest.approx(0.09)
    assert before[1].asked[2].seconds == pytest.approx(0.03)


def test_within_one_period_a_call_is_weighed_anew_every_fortnight() -> None:
    """Three times the work from the third week on, and not from the second."""
    for first, grown in ((2, True), (1, False)):
        n = 4 * 168
        rows = [
            (slot, path, 2000, 10.0 if path == 1 else 30.0 if slot < first * 168 else 90.0)
            for slot in range(n)
            for path in (1, 2)
        ]
        load = by_edge(period(rows, n))[1].load
        ratio = load[n // 2 :].mean() / load[: n // 2].mean()
        assert ratio == pytest.approx(100 / 40) if grown else ratio < 100 / 40
        assert load[168:336].mean() == pytest.approx(load[:168].mean())  # one fortnight


def test_a_service_serves_what_its_own_edges_count_and_what_sends_no_spans_what_reaches_it() -> None:
    """Callers' calls are among those that the service itself counts; they have its load."""
    paths: Paths = (
        (1, schema.EDGE_HTTP, "web", "shop", "GET"),
        (2, schema.EDGE_SELF, "shop", None, "handle"),
        (3, schema.EDGE_HTTP, "web", "outside", "GET"),
    )
    rows = [(slot, path, calls, 10.0) for slot in range(24) for path, calls in ((1, 30), (2, 100), (3, 7))]
    found = by_edge(period(rows, 24, paths=paths))
    for edge, calls in ((1, 100), (2, 100), (3, 7)):
        assert found[edge].load == pytest.approx(np.full(24, calls / 3600)), edge
    assert set(found[1].asked) == {2}


def test_a_topics_two_ends_are_two_resources_whose_time_is_no_work() -> None:
    """What is published counts for the topic, what waits for who takes it; every message counts as one."""
    paths: Paths = (
        (1, schema.EDGE_QUEUE, "shop", "kafka/orders", schema.QUEUE_PUBLISH),
        (2, schema.EDGE_QUEUE, "kafka/orders", "billing", schema.QUEUE_WAIT),
        (3, schema.EDGE_QUEUE, "web", "kafka/orders", schema.QUEUE_PUBLISH),
    )
    rows = [
        (slot, path, calls, ms)
        for slot in range(24)
        for path, calls, ms in ((1, 40, 1.0), (2, 90, 500.0), (3, 60, 9.0))
    ]
    found = by_edge(period(rows, 24, paths=paths))
    for edge, calls in ((1, 100), (2, 90), (3, 100)):
        assert found[edge].load == pytest.approx(np.full(24, calls / 3600)), edge
        assert found[edge].counted == pytest.approx(np.full(24, calls))
        assert found[edge].asked == {}
    table = arrivals._edges(period(rows, 24, paths=paths).tables["paths"]).sort("edge_id")
    assert table["resource"].to_list() == ["p:kafka/orders", "w:kafka/orders", "p:kafka/orders"]
    assert not table["own"].any()


def test_the_paths_near_an_edge_are_all_that_reach_its_resource() -> None:
    """A service's own, too; in any period; nothing of other resources."""
    paths: Paths = (
        (1, schema.EDGE_HTTP, "web", "shop", "GET"),
        (2, schema.EDGE_SELF, "shop", None, "handle"),
        (3, schema.EDGE_HTTP, "web", "other", "GET"),
    )
    whole = period([(0, 1, 1, 1.0)], 1, paths=paths)
    later = period([(0, 1, 1, 1.0)], 1, paths=((4, schema.EDGE_RPC, "job", "shop", "Run"),))
    assert arrivals.near([(schema.EDGE_HTTP, "web", "shop", "GET")], whole, later) == [1, 2, 4]
    assert arrivals.near([(schema.EDGE_SELF, "shop", None, "handle")], whole) == [1, 2]
    assert arrivals.near([(schema.EDGE_HTTP, "web", "shop", "POST")], whole) == []
    assert arrivals.edge_names([whole, later]) == {
        1: "web -> shop GET", 2: "shop handle", 3: "web -> other GET", 4: "job -> shop Run"
    }  # fmt: skip


@pytest.mark.parametrize("known", [True, False])
def test_a_service_whose_instances_are_known_has_its_load_by_replica(known: bool) -> None:
    """Two instances, of some 50 spans each; of five spans nothing is known."""
    paths: Paths = ((1, schema.EDGE_SELF, "shop", None, "handle"),)
    whole = period([(slot, 1, 100, 10.0) for slot in range(24)], 24, paths=paths)
    lives = pl.DataFrame(
        [
            {"slot": slot, "environment": "", "service": "shop", "instance": name, "version": "",
             "spans": 50 if known else 0, "first_ns": slot * HOUR_NS, "last_ns": (slot + 1) * HOUR_NS}
            for slot in range(24) for name in "xy"
        ],
        schema=schema.dtypes(schema.SERVICE_HOURS),
    )  # fmt: skip
    one = by_edge(replace(whole, tables=whole.tables | {"service_hours": lives}))[1]
    assert one.load == pytest.approx(np.full(24, 100 / 3600))
    if not known:
        assert one.replicas is None
        return
    assert one.replicas == pytest.approx(np.full(24, 2.0), rel=0.01)
    each = one.each
    assert each is not None
    assert each.load == pytest.approx(one.load / one.replicas)
    alone = lives.filter(pl.col("instance") == "x")
    single = by_edge(replace(whole, tables=whole.tables | {"service_hours": alone}))[1]
    assert single.replicas == pytest.approx(np.ones(24), rel=0.01)
    chosen = one.select(np.array([3, 5]))
    assert chosen.start_ns.tolist() == [3 * HOUR_NS, 5 * HOUR_NS]
    assert chosen.replicas is not None
    assert len(chosen.replicas) == len(chosen.load) == len(chosen.calls) == len(chosen.self_s) == 2
    minutes = replace(whole, slot_ns=HOUR_NS // 60, end_ns=24 * HOUR_NS // 60)
    assert by_edge(replace(minutes, tables=whole.tables | {"service_hours": lives}))[1].replicas is None


def test_slots_without_calls_are_left_out_and_odd_ones_stay_numbers() -> None:
    """More units than calls are as many as calls; no time at all is a nanosecond; one instance at least."""
    whole = period([(0, 1, 10, 0.0), (1, 1, 0, 5.0), (2, 1, 10, 5.0), (2, 2, 10, 5.0)], 3)
    table = whole.tables["path_hours"].with_columns(units=pl.lit(99, pl.Int64))
    one = by_edge(replace(whole, tables=whole.tables | {"path_hours": table}))[1]
    assert (one.start_ns // HOUR_NS).tolist() == [0, 2]
    assert one.units.tolist() == [10.0, 10.0]
    assert one.self_s.tolist() == [1e-9, 0.005]


# -- windows ----------------------------------------------------------------------------------------


def hours(load: Floats, calls: float, *, slot_ns: int = HOUR_NS, own_s: Floats | None = None) -> Arrivals:
    """Slots of so many calls each."""
    n = len(load)
    full, took = np.full(n, calls), np.full(n, 0.01) if own_s is None else own_s
    return Arrivals(np.arange(n) * slot_ns, slot_ns, full, full, took, load, full * 1e9, 0.01)


@pytest.mark.parametrize(
    ("calls", "slots", "count"),
    [
        (100.0, 200, 20),  # a thousand calls each
        (100.0, 2400, 120),  # 120 at most
        (100.0, 40, 16),  # of fewer than 16,000 calls sixteen
        (100.0, 23, 15),  # ... or as many as hold 150
        (100.0, 3, 2),
        (100.0, 2, 1),
        (99.0, 1, 0),
    ],
)
def test_short_slots_are_joined_as_they_follow_each_other(calls: float, slots: int, count: int) -> None:
    """Windows of a thousand calls, of 150 at least; in order, and about as many slots in each."""
    took = np.arange(1.0, slots + 1)
    made = points(hours(np.ones(slots), calls, slot_ns=HOUR_NS // 12, own_s=took), 0, 3)
    assert len(made) == count
    assert (np.diff(made.latency_s) > 0).all()
    if count:
        assert made.calls.sum() == calls * slots
        assert np.ptp(made.calls) <= calls
    assert (made.period == 3).all()


def test_hours_are_cut_into_stretches_of_time_and_each_into_levels_of_load() -> None:
    """By hand: sixteen windows of two days, four stretches of twelve hours, each by its load in four."""
    rng = np.random.default_rng(1)
    load = np.concatenate([rng.permutation(np.arange(1.0, 13.0)) * 10**k for k in range(4)])
    made = points(hours(load, 400.0), 48 * HOUR_NS, 0)
    assert (made.calls == 1200.0).all()
    expected = [10**k * level for k in range(4) for level in (2.0, 5.0, 8.0, 11.0)]
    assert sorted(made.load) == pytest.approx(expected)
    assert (np.diff(made.weeks) >= 0).all()
    middle = [float(np.mean(made.weeks[4 * k : 4 * k + 4])) * 168 for k in range(4)]
    assert middle == pytest.approx([-42.0, -30.0, -18.0, -6.0])


def test_levels_are_three_to_eight_about_the_root_of_the_windows() -> None:
    """And one where there are but two windows; no level is empty."""
    for total, levels, stretches in (
        (300, 1, 2), (450, 3, 1), (16_000, 4, 4), (36_000, 6, 6), (100_000, 8, 12)
    ):  # fmt: skip
        n = 10 * levels * stretches
        load = np.tile(np.linspace(1, 2, n // stretches), stretches)
        made = points(hours(load, total / n + 1e-9), n * HOUR_NS, 0)
        assert len(made) == levels * stretches, total
        assert np.ptp(made.calls) <= 1e-6
        assert (np.ptp(made.load) < 1e-6) == (levels == 1)


def test_a_window_is_the_mean_of_its_slots_by_calls_unless_they_are_short() -> None:
    """By hand; where loads are counts, a mean by calls would lean to the busy ones."""
    start = np.arange(2) * HOUR_NS
    seen = Arrivals(
        start, HOUR_NS, np.array([100.0, 300.0]), np.ones(2), np.array([0.01, 0.03]), np.array([1.0, 3.0]),
        np.full(2, 1e9), 0.01,
    )  # fmt: skip
    one = arrivals._group(seen, np.zeros(2, np.int64), 2 * HOUR_NS, 1)
    assert (one.calls.tolist(), one.period.tolist()) == ([400.0], [1])
    assert one.load == pytest.approx(2.5)
    assert one.latency_s == pytest.approx(0.025)
    assert one.weeks * 168 == pytest.approx((-1.5 * 100 - 0.5 * 300) / 400)
    short = arrivals._group(replace(seen, slot_ns=HOUR_NS - 1), np.zeros(2, np.int64), 0, 1)
    assert short.load == pytest.approx(2.0)
    assert short.latency_s == pytest.approx(0.025)
    apart = arrivals._group(seen, np.array([7, 2]), 0, 1)
    assert apart.load.tolist() == [1.0, 3.0]  # in order of time
    assert len(arrivals._group(replace(seen, calls=np.array([99.9, 100.0])), np.arange(2), 0, 1)) == 1


@pytest.mark.parametrize(
    ("per_point", "clump", "left"),
    [
        (400.0, 1.0, 0.75),
        (400.0, 2.0, 0.5),
        (100.0 / 0.7 + 1e-6, 1.0, 0.3),
        (142.0, 1.0, 0.0),
        (9.0, 1.0, 0.0),
    ],
)
def test_loads_keep_the_part_of_their_variance_that_counting_does_not_explain(
    per_point: float, clump: float, left: float
) -> None:
    """By hand: logs vary by 0.01, counts by their clumps over their number; under 0.3 nothing is left."""
    log = np.array([-0.1, 0.0, 0.1])
    made = Points(np.zeros(3), 5 * np.exp(log), np.ones(3), np.full(3, 100.0), np.zeros(3, np.int64))
    seen = replace(hours(np.ones(3), 60.0), units=np.full(3, 60.0 / clump), counted=np.full(3, per_point))
    told = arrivals._calibrated(made, seen)
    assert np.log(told.load / 5) == pytest.approx(left * log, abs=1e-9)
    two = made.select(np.array([True, True, False]))
    assert arrivals._calibrated(two, seen) is two
    same = replace(made, load=np.full(3, 5.0))
    assert arrivals._calibrated(same, seen).load == pytest.approx(same.load)
    none = arrivals._calibrated(made, replace(seen, units=np.zeros(3)))
    assert none.load == pytest.approx(np.full(3, 5.0), rel=0.11)


# -- peaks ------------------------------------------------------------------------------------------


def test_the_last_weeks_peak_is_of_its_168_hours_and_of_no_other() -> None:
    """The hour before them does not count."""
    load = np.concatenate([np.full(10, 99.0), np.arange(168.0)])
    assert hours(load, 9.0).peak_load == pytest.approx(0.95 * 167)
    assert hours(load[9:], 9.0).peak_load == pytest.approx(0.95 * 167)


def test_a_week_of_seven_tenths_is_one_and_ends_where_it_is_counted_from() -> None:
    """Weeks of 168 hours back from now; 117 hours apart are too few, 118 are enough."""
    for n, told in ((118, []), (119, [-0.5])):
        assert hours(np.ones(n), 9.0).weekly_peaks(168 * HOUR_NS)[0].tolist() == told
    load = np.arange(336.0)
    at, peaks = hours(load, 9.0).weekly_peaks(336 * HOUR_NS)
    assert at.tolist() == [-1.5, -0.5]
    assert peaks == pytest.approx([0.95 * 167, 168 + 0.95 * 167])
