"""What edges over time and call paths show, worked out by hand from a few rows."""

from __future__ import annotations

import math

import numpy as np
import polars as pl
import pytest
from rolled import HALF, rolled, table

from tracescope import schema
from tracescope.analysis.evidence.series import (
    FEWEST_SLOTS,
    Stretches,
    edge_series,
    entry_paths,
    grown_most,
    quantile_of,
    stretches,
)  # fmt: skip
from tracescope.analysis.statistics.sketch import PER_OCTAVE
from tracescope.schema import DAY_NS, HOUR_NS

MINUTE_NS = HOUR_NS // 60
MS = 1_000_000


# -- stretches --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("start", "end", "slot", "made"),
    [
        (0, 8 * DAY_NS, HOUR_NS, (0, DAY_NS, 8)),
        (HOUR_NS, HOUR_NS + 8 * DAY_NS, HOUR_NS, (0, DAY_NS, 9)),  # of whole days
        (0, 8 * DAY_NS - HOUR_NS, HOUR_NS, (0, 3 * HOUR_NS, 64)),
        (0, 180 * DAY_NS, HOUR_NS, (0, 2 * DAY_NS, 90)),
        (0, 181 * DAY_NS, HOUR_NS, (0, 3 * DAY_NS, 61)),
        (0, 8 * DAY_NS, DAY_NS, (0, DAY_NS, 8)),
        (0, 8 * HOUR_NS, HOUR_NS, (0, HOUR_NS, 8)),
        (DAY_NS, DAY_NS + 8 * HOUR_NS, MINUTE_NS, (DAY_NS, HOUR_NS, 8)),
        (0, 8 * HOUR_NS - MINUTE_NS, MINUTE_NS, (0, 6 * MINUTE_NS, 80)),
        (30 * MINUTE_NS, 7 * HOUR_NS, 60 * MINUTE_NS, (0, HOUR_NS, 7)),
        (0, 24 * HOUR_NS, 2 * HOUR_NS, (0, 2 * HOUR_NS, 12)),
        (0, 90 * MINUTE_NS, MINUTE_NS, (0, MINUTE_NS, 90)),
        (0, 91 * MINUTE_NS, MINUTE_NS, (0, 2 * MINUTE_NS, 46)),
        (5 * MINUTE_NS, 5 * MINUTE_NS, MINUTE_NS, (5 * MINUTE_NS, MINUTE_NS, 1)),
        (5 * MINUTE_NS, 6 * MINUTE_NS, HOUR_NS, (0, HOUR_NS, 1)),
    ],
)
def test_a_period_is_cut_into_days_from_eight_days_on_and_hours_from_eight_hours_on(
    start: int, end: int, slot: int, made: tuple[int, int, int]
) -> None:
    """Else into slots; several of them where there would be more than ninety."""
    cut = stretches(start, end, slot)
    assert (cut.start_ns, cut.length_ns, cut.count) == made


def test_stretches_hold_the_period_and_none_is_outside_of_it() -> None:
    """Whole slots, as many as asked for at most, but for the one that a start within a unit adds."""
    rng = np.random.default_rng(1)
    for _ in range(300):
        slot = int(rng.choice([MINUTE_NS, HOUR_NS, DAY_NS]))
        start = slot * int(rng.integers(0, 5000))
        end = start + slot * int(rng.integers(1, 2000))
        most = int(rng.integers(8, 100))
        cut = stretches(start, end, slot, most)
        assert cut.length_ns % slot == 0
        assert cut.start_ns <= start < cut.starts_ns[0] + cut.length_ns
        assert cut.starts_ns[-1] < end <= cut.starts_ns[-1] + cut.length_ns
        assert len(cut.starts_ns) == cut.count <= most + 1
        assert (np.diff(cut.starts_ns) == cut.length_ns).all()


# -- edges over time --------------------------------------------------------------------------------

CACHE = ("request", "db", "shop", "cache", "GET")
SELF = ("request", "self", "shop", None, None)
POLL = ("message", "db", "shop", "cache", "GET")
PATHS = [
    {"path_id": 1, "entry_id": 9, "parent_id": 9, "kind": schema.EDGE_DB, "caller": "shop", "callee": "cache",
     "operation": "GET", "depth": 1},
    {"path_id": 2, "entry_id": 8, "parent_id": 8, "kind": schema.EDGE_DB, "caller": "shop", "callee": "cache",
     "operation": "GET", "depth": 1},
    {"path_id": 3, "entry_id": 9, "parent_id": 9, "kind": schema.EDGE_SELF, "caller": "shop", "depth": 1},
    {"path_id": 4, "entry_id": 9, "parent_id": 9, "kind": schema.EDGE_DB, "caller": "shop", "callee": "cache",
     "operation": "PUT", "depth": 1},
]  # fmt: skip


def test_an_edge_over_time_is_its_sums_over_those_of_all_units_stretch_by_stretch() -> None:
    """Two hours each; of two paths and two entries together, of what happened in the period alone."""
    message = {"unit": schema.UNIT_MESSAGE}
    calls = [
        {"slot": 10, "path_id": 1, "calls": 6, "own_ns": 12 * MS, "busy_ns": 30 * MS},
        {"slot": 10, "path_id": 2, "calls": 2, "own_ns": 3 * MS, "busy_ns": 10 * MS},
        {"slot": 11, "path_id": 1, "calls": 1, "own_ns": 5 * MS, "busy_ns": 5 * MS, "threshold": HALF},
        {"slot": 12, "path_id": 3, "calls": 9, "own_ns": 8 * MS, "busy_ns": 9 * MS},
        {"slot": 9, "path_id": 1, "calls": 99, "own_ns": 99 * MS, "busy_ns": 99 * MS},
        {"slot": 14, "path_id": 1, "calls": 99, "own_ns": 99 * MS, "busy_ns": 99 * MS},
        {"slot": 10, "path_id": 4, "calls": 99, "own_ns": 99 * MS, "busy_ns": 99 * MS},
        {"slot": 10, "path_id": 1, "calls": 4, "own_ns": 7 * MS, "busy_ns": 8 * MS, **message},
        {"slot": 13, "path_id": 1, "calls": 9, "own_ns": 9 * MS, "busy_ns": 9 * MS, **message},
    ]  # fmt: skip
    units = [
        {"slot": 10, "entry_id": 9, "units": 2, "clock_ns": 40 * MS},
        {"slot": 10, "entry_id": 8, "units": 1, "clock_ns": 10 * MS},
        {"slot": 11, "entry_id": 9, "units": 1, "clock_ns": 25 * MS, "threshold": HALF},
        {"slot": 13, "entry_id": 9, "units": 4, "clock_ns": 80 * MS},
        {"slot": 9, "entry_id": 9, "units": 99, "clock_ns": 1 * MS},
        {"slot": 14, "entry_id": 9, "units": 99, "clock_ns": 1 * MS},
        {"slot": 10, "entry_id": 9, "units": 2, "clock_ns": 28 * MS, **message},
    ]  # fmt: skip
    period = rolled(path_hours=calls, entry_hours=units, paths=PATHS)
    cut = Stretches(10 * HOUR_NS, 2 * HOUR_NS, 2)
    other = ("request", "http", "shop", "cache", "GET")
    found = edge_series(period, cut, [CACHE, SELF, POLL, other])
    assert list(found) == [CACHE, SELF, POLL, other]
    one = found[CACHE]
    assert one.starts_ns == [10 * HOUR_NS, 12 * HOUR_NS]
    np.testing.assert_allclose(one.units, [5.0, 4.0])
    np.testing.assert_allclose(one.share, [(12 + 3 + 10) / (40 + 10 + 50), 0.0])
    np.testing.assert_allclose(one.own_ms, [25 / 5, 0.0])
    np.testing.assert_allclose(one.calls_per_unit, [(6 + 2 + 2) / 5, 0.0])
    np.testing.assert_allclose(one.call_ms, [50 / 10, math.nan])
    np.testing.assert_allclose(found[SELF].share, [0.0, 0.0])  # in an hour without units
    np.testing.assert_allclose(found[POLL].share, [7 / 28, math.nan])
    np.testing.assert_allclose(found[POLL].units, [2.0, 0.0])
    np.testing.assert_allclose(found[other].share, [0.0, 0.0])
    assert np.isnan([one.share_low, one.share_high]).all()
    none = edge_series(rolled(paths=PATHS), cut, [CACHE])[CACHE]
    assert np.isnan([none.share, none.own_ms, none.calls_per_unit, none.call_ms]).all()


def hours(own: list[float], clock: list[float]) -> tuple[float, float, float]:
    """Share, and its band, of one stretch with so many ms in each hour."""
    rows = [{"slot": at, "path_id": 1, "calls": 1, "own_ns": int(ms * MS)} for at, ms in enumerate(own)]
    units = [{"slot": at, "entry_id": 9, "units": 1, "clock_ns": int(ms * MS)} for at, ms in enumerate(clock)]
    period = rolled(path_hours=rows, entry_hours=units, paths=PATHS)
    one = edge_series(period, Stretches(0, DAY_NS, 1), [CACHE])[CACHE]
    return one.share[0], one.share_low[0], one.share_high[0]


def test_the_band_is_that_of_a_ratio_of_sums() -> None:
    """Cochran's: residuals of own time from the share of each hour's clock; by hand and by plain sums."""
    share, low, high = hours([2.0, 4.0, 2.0, 4.0], [10.0, 10.0, 10.0, 10.0])
    half = 1.96 * math.sqrt(4 * 4 / 3) / 40
    assert (share, low, high) == pytest.approx((0.3, 0.3 - half, 0.3 + half))
    own, clock = [1.0, 7.0, 3.0, 2.0, 6.0], [12.0, 30.0, 11.0, 19.0, 17.0]
    share, low, high = hours(own, clock)
    ratio = sum(own) / sum(clock)
    squares = sum((a - ratio * b) ** 2 for a, b in zip(own, clock, strict=True))
    half = 1.96 * math.sqrt(squares * 5 / 4) / sum(clock)
    assert (share, low, high) == pytest.approx((ratio, ratio - half, ratio + half))


def test_a_band_needs_four_hours_and_lies_within_nothing_and_all() -> None:
    assert FEWEST_SLOTS == 4
    assert np.isnan(hours([1.0, 3.0, 1.0], [10.0] * 3)[1:]).all()
    assert hours([0.0, 0.0, 0.0, 9.0], [10.0] * 4)[1] == 0.0
    assert hours([10.0, 10.0, 10.0, 1.0], [10.0] * 4)[2] == 1.0
    assert hours([3.0] * 4, [10.0] * 4) == pytest.approx((0.3, 0.3, 0.3))


# -- call paths -------------------------------------------------------------------------------------


def side(*calls: tuple[int, int, float, float], units: int = 4, clock_ms: float = 100.0, **more: int):  # type: ignore[no-untyped-def]
    """Tables with path, calls, inclusive and own ms of each row."""
    rows = [
        {"path_id": path, "calls": n, "inclusive_ns": int(ms * MS), "own_ns": int(own * MS), **more}
        for path, n, ms, own in calls
    ]
    entry = {"entry_id": 9, "units": units, "clock_ns": int(clock_ms * MS), **more}
    names = [{"entry_id": 9, "service": "shop", "operation": "GET /"}, {"entry_id": 8, "service": "x"}]
    paths = [{**path, "depth": 2} if path["path_id"] == 4 else path for path in PATHS]
    hours = [entry, {"entry_id": 8, "units": 99, "clock_ns": 1}]
    return rolled(path_hours=rows, entry_hours=hours, paths=paths, entries=names).tables


def test_call_paths_are_means_for_each_unit_callers_first_and_then_the_largest_now() -> None:
    """Of an entry of its own; nothing of another's paths, and in base alone what has gone."""
    base = side((1, 8, 40.0, 20.0), (2, 99, 99.0, 99.0), (3, 4, 10.0, 10.0))
    head = side((1, 4, 20.0, 5.0), (4, 2, 90.0, 90.0), (3, 4, 30.0, 30.0), units=2, clock_ms=90.0)
    found = entry_paths(base, head, 9)
    assert found is not None
    assert (found.unit, found.service, found.operation) == ("request", "shop", "GET /")
    assert (found.ms_base, found.ms_head, found.units_base, found.units_head) == (25.0, 45.0, 4.0, 2.0)
    assert [(one.path_id, one.depth, one.only) for one in found.paths] == [
        (3, 1, None), (1, 1, None), (4, 2, "head"),
    ]  # fmt: skip
    one = found.paths[1]
    assert (one.kind, one.caller, one.callee, one.operation) == ("db", "shop", "cache", "GET")
    assert (one.ms_base, one.ms_head, one.own_ms_base, one.own_ms_head) == (10.0, 10.0, 5.0, 2.5)
    assert (one.calls_base, one.calls_head) == (2.0, 2.0)
    back = entry_paths(head, base, 9)
    assert back is not None
    assert [one.only for one in back.paths] == [None, None, "base"]


def test_an_entry_that_one_period_lacks_has_the_paths_of_the_other_and_an_unknown_one_none() -> None:
    """Its unit is that of the period that has it."""
    nothing = {name: frame.clear() for name, frame in side().items()}
    some = side((1, 8, 40.0, 20.0), unit=schema.UNIT_MESSAGE)
    for pair, only in (((nothing, some), "head"), ((some, nothing), "base")):
        found = entry_paths(*pair, 9)
        assert found is not None
        assert (found.unit, [one.only for one in found.paths]) == ("message", [only])
        assert {found.units_base, found.units_head} == {0.0, 4.0}
        assert {found.ms_base, found.ms_head} == {0.0, 25.0}
    assert entry_paths(nothing, nothing, 9) is None
    assert entry_paths(some, some, 7) is None
    idle = side(units=0, clock_ms=0.0)
    assert entry_paths(idle, idle, 9) is None


def test_an_entry_is_read_as_the_kind_that_most_of_its_units_are() -> None:
    """Weighed by their sampling; of equals a request."""

    def both(requests: int, messages: int, **more: int):  # type: ignore[no-untyped-def]
        made = side((1, 8, 40.0, 20.0), units=requests)
        other = side((1, 6, 60.0, 6.0), units=messages, unit=schema.UNIT_MESSAGE, **more)
        return {
            name: pl.concat([made[name], other[name]]) if "hours" in name else made[name] for name in made
        }

    for tables, unit, ms in (
        (both(4, 3), "request", 10.0), (both(4, 4), "request", 10.0), (both(4, 5), "message", 12.0),
        (both(4, 3, threshold=HALF), "message", 20.0),
    ):  # fmt: skip
        found = entry_paths(tables, tables, 9)
        assert found is not None
        assert (found.unit, found.paths[0].ms_head) == (unit, ms)


def entries(*rows: tuple[int, int, float], **more: int) -> dict[str, pl.DataFrame]:
    """Units and mean clock in ms of some entries."""
    return {
        "entry_hours": table("entry_hours", [
            {"entry_id": entry, "units": units, "clock_ns": int(units * ms * MS), **more}
            for entry, units, ms in rows
        ])
    }  # fmt: skip


def test_the_entry_that_grew_most_is_that_whose_growth_cost_most_time() -> None:
    """The rise of the mean clock, times what head has of it; only of requests, and of what both have."""
    base, head = (
        entries((1, 10, 5.0), (2, 10, 5.0), (3, 10, 5.0)),
        entries((1, 2, 9.0), (2, 90, 5.2), (3, 3, 4.0)),
    )
    assert grown_most(base, head, [1, 2, 3]) == 2
    assert grown_most(base, head, [1, 3]) == 1
    assert grown_most(head, base, [1, 2, 3]) == 3
    assert grown_most(base, head, [3]) == 3
    assert grown_most(base, base, [2, 1]) == 2  # the first of equals
    slow = entries((1, 10, 900.0), (2, 10, 5.0)), entries((1, 2, 904.0), (2, 90, 5.2))
    assert grown_most(*slow, [1, 2]) == 2
    assert grown_most(base, head, []) is grown_most(base, head, [4]) is None
    assert grown_most(base, entries((4, 3, 9.0)), [1, 4]) is None
    assert grown_most(base, entries((1, 3, 9.0), unit=schema.UNIT_MESSAGE), [1]) is None
    assert grown_most(entries((1, 3, 4.0), unit=schema.UNIT_MESSAGE), entries((1, 3, 9.0)), [1]) == 1
    tie = {
        "entry_hours": pl.concat(
            [
                entries((1, 3, 9.0), unit=unit)["entry_hours"]
                for unit in (schema.UNIT_MESSAGE, schema.UNIT_REQUEST)
            ]
        )
    }
    assert grown_most(base, tie, [1]) == 1  # of equals a request
    assert grown_most(entries((1, 0, 4.0)), entries((1, 3, 9.0)), [1]) is None


MIXED = {32: 1, 48: 1, 64: 2}


@pytest.mark.parametrize(
    ("counts", "part", "at"),
    [
        (MIXED, 0.25, 32), (MIXED, 0.26, 48), (MIXED, 0.5, 48), (MIXED, 0.51, 64), (MIXED, 1.0, 64),
        ({48: 0, 64: 5}, 0.0, 64), ({-3: 1, 5: 1}, 0.5, -3), ({7: 1}, 0.99, 7),
    ],
)  # fmt: skip
def test_a_quantile_is_the_bin_that_reaches_its_part(counts: dict[int, int], part: float, at: int) -> None:
    """In whatever order the rows come; in ms."""
    rows = [{"bin": one, "count": n} for one, n in reversed(counts.items())]
    expected = 2 ** ((at + 0.5) / PER_OCTAVE) / MS
    assert quantile_of(table("path_sketches", rows), part) == pytest.approx(expected)


def test_a_quantile_counts_what_sampling_left_out_and_of_nothing_there_is_none() -> None:
    """One of two was kept of the slow ones: so half of all are slow, and no longer a third."""
    rows = [{"bin": 10, "count": 2}, {"bin": 20, "count": 1, "threshold": HALF}]
    slow, quick = (2 ** ((at + 0.5) / PER_OCTAVE) / MS for at in (20, 10))
    assert quantile_of(table("path_sketches", rows), 0.6) == pytest.approx(slow)
    assert quantile_of(table("path_sketches", rows), 0.5) == pytest.approx(quick)
    third = [{"bin": at, "count": 1, "threshold": round(2**56 * 2 / 3)} for at in (10, 15, 20)]
    assert quantile_of(table("path_sketches", third), 2 / 3) == pytest.approx(2 ** (15.5 / PER_OCTAVE) / MS)
    assert quantile_of(table("path_sketches", []), 0.5) is None
    assert quantile_of(table("path_sketches", [{"bin": 3, "count": 0}]), 0.5) is None
