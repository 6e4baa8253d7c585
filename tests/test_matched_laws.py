"""Two periods side by side: block sums, call paths and clocks, worked out by hand from a few rows."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import pytest
from rolled import HALF, rolled, table

from tracescope import schema
from tracescope.analysis.comparison import matched
from tracescope.analysis.comparison.matched import Unit, clock_of, gather, matched_sums, slots_of, units_seen
from tracescope.analysis.rollups.period import PeriodRollups
from tracescope.analysis.statistics.blocks import Matched, Slots

MS = 1_000_000
DAY_NS, HOUR_NS = schema.DAY_NS, schema.HOUR_NS

#: shop calls cart, which works and asks a database; home is another entry.
ENTRIES = [
    {"entry_id": 70, "service": "shop", "operation": "GET /"},
    {"entry_id": 60, "service": "home", "operation": "GET /h"},
]
PATHS = [
    {
        "path_id": 5,
        "parent_id": 70,
        "entry_id": 70,
        "depth": 1,
        "kind": schema.EDGE_HTTP,
        "caller": "shop",
        "callee": "cart",
    },
    {"path_id": 2, "parent_id": 5, "entry_id": 70, "depth": 2, "kind": schema.EDGE_SELF, "caller": "cart"},
    {
        "path_id": 1,
        "parent_id": 2,
        "entry_id": 70,
        "depth": 3,
        "kind": schema.EDGE_DB,
        "caller": "cart",
        "callee": "pg",
    },
    {"path_id": 9, "parent_id": 60, "entry_id": 60, "depth": 1, "kind": schema.EDGE_SELF, "caller": "home"},
    {
        "path_id": 4,
        "parent_id": 60,
        "entry_id": 60,
        "depth": 1,
        "kind": schema.EDGE_QUEUE,
        "caller": "t",
        "callee": "q",
        "operation": schema.QUEUE_ROUTE,
    },
    {
        "path_id": 8,
        "parent_id": 60,
        "entry_id": 60,
        "depth": 1,
        "kind": schema.EDGE_QUEUE,
        "caller": "t",
        "callee": "w",
        "operation": schema.QUEUE_WAIT,
    },
    {"path_id": 6, "parent_id": 50, "entry_id": 50, "depth": 1, "kind": schema.EDGE_SELF, "caller": "gone"},
]


def period(calls: list[dict[str, Any]], units: list[dict[str, Any]], **more: Any) -> PeriodRollups:
    return rolled(path_hours=calls, entry_hours=units, **{"entries": ENTRIES, "paths": PATHS, **more})


def slots(*rows: tuple[int, int, float], blocks: int = 2) -> Slots:
    """Slot, block and weight of each hour that counts."""
    frame = pl.DataFrame(
        list(rows), schema={"slot": pl.Int64, "block": pl.Int32, "weight": pl.Float64}, orient="row"
    )
    return Slots(frame, blocks, np.zeros((blocks, 0)), np.zeros((blocks, 0)), False)


BASE = period(
    [
        {"slot": 3, "path_id": 1, "calls": 4, "own_ns": 10, "units": 2},
        {"slot": 3, "path_id": 1, "calls": 1, "own_ns": 3, "units": 1, "threshold": HALF},
        {"slot": 4, "path_id": 1, "calls": 7, "own_ns": 5, "units": 5},
        {"slot": 9, "path_id": 1, "calls": 99, "own_ns": 99, "units": 99},
        {"slot": 4, "path_id": 8, "calls": 2, "own_ns": 6, "units": 2},
        {"slot": 3, "path_id": 1, "calls": 99, "own_ns": 99, "units": 99, "unit": schema.UNIT_MESSAGE},
    ],
    [
        {"slot": 3, "entry_id": 70, "units": 3, "clock_ns": 30 * MS},
        {"slot": 3, "entry_id": 70, "units": 1, "clock_ns": 20 * MS, "threshold": HALF},
        {"slot": 4, "entry_id": 60, "units": 5, "clock_ns": 10 * MS, "errors": 2, "failed_ns": 3 * MS},
        {"slot": 9, "entry_id": 60, "units": 10, "clock_ns": 90 * MS},
        {"slot": 3, "entry_id": 70, "units": 99, "clock_ns": 1, "unit": schema.UNIT_MESSAGE},
    ],
)
HEAD = period(
    [{"slot": 20, "path_id": 9, "calls": 6, "own_ns": 12, "units": 6}],
    [
        {"slot": 20, "entry_id": 60, "units": 6, "clock_ns": 12 * MS},
        {"slot": 21, "entry_id": 60, "units": 2, "clock_ns": 12 * MS},
    ],
)
MATCHED = Matched(slots((3, 0, 1.0), (4, 1, 0.5)), slots((20, 1, 2.0)), ())


def gathered(**more: Any) -> Unit:
    made = gather(
        schema.UNIT_REQUEST, more.get("base", BASE), more.get("head", HEAD), MATCHED, more.get("keep")
    )
    assert made is not None
    return made


def test_paths_are_those_that_either_period_saw_and_all_above_them_callers_first() -> None:
    """By depth and then id; without routes, which take no time, and paths of entries that are left out."""
    unit = gathered()
    assert unit.entries.select("index", "entry_id").rows() == [(0, 60), (1, 70)]
    assert unit.paths["path_id"].to_list() == [5, 8, 9, 2, 1]
    assert unit.paths["index"].to_list() == [0, 1, 2, 3, 4]
    assert unit.tree.parent.tolist() == [-1, -1, -1, 0, 3]
    assert unit.tree.entry.tolist() == [1, 0, 0, 1, 1]
    assert unit.tree.depth.tolist() == [1, 1, 1, 2, 3]
    assert (unit.kind, unit.missing_callees_part) == (schema.UNIT_REQUEST, 0.0)


def test_block_sums_weigh_hours_and_sampling_and_count_what_is_compared() -> None:
    """Of hours that count, by block; of the same kind of unit."""
    unit = gathered()
    assert unit.base.paths["calls"].tolist() == [[0, 0, 0, 0, 4 + 2 * 1], [0, 0.5 * 2, 0, 0, 0.5 * 7]]
    assert unit.base.paths["own_ns"].tolist() == [[0, 0, 0, 0, 10 + 2 * 3], [0, 3, 0, 0, 2.5]]
    assert unit.head.paths["calls"].tolist() == [[0] * 5, [0, 0, 12, 0, 0]]
    assert unit.base.entries["units"].tolist() == [[0, 3 + 2], [2.5, 0]]
    assert unit.base.entries["errors"].tolist() == [[0, 0], [1, 0]]
    assert unit.head.entries["clock_ns"].tolist() == [[0, 0], [24 * MS, 0]]
    assert unit.head.paths["calls"].dtype == np.float64


def test_events_are_units_as_many_as_were_seen_in_hours_that_count() -> None:
    """Not weighed by anything."""
    unit = gathered()
    assert unit.base.events.tolist() == [0, 2, 0, 0, 8]
    assert unit.base.seen.tolist() == [5, 4]
    assert unit.head.events.tolist() == [0, 0, 6, 0, 0]
    assert unit.head.seen.tolist() == [6, 0]
    assert [units_seen(unit, one, part) for one, part in ((BASE, MATCHED.base), (HEAD, MATCHED.head))] == [
        9,
        6,
    ]


def test_replicates_are_the_whole_and_all_but_each_block() -> None:
    """Never less than nothing, whatever rounding leaves."""
    whole, without = gathered().base.replicates()
    assert whole.calls.tolist() == [[0, 1, 0, 0, 9.5]]
    assert without.calls.tolist() == [[0, 1, 0, 0, 3.5], [0, 0, 0, 0, 6]]
    assert whole.units.tolist() == [[2.5, 5]]
    assert without.units.tolist() == [[2.5, 0], [0, 5]]
    assert (without.clock.shape, whole.overlap_sum.shape, without.overlap_union.shape) == (
        (2, 2),
        (1, 5),
        (2, 5),
    )
    unit = gathered()
    unit.base.paths["own_ns"][:, 0] = [-1.0, 3.0]
    assert unit.base.replicates()[1].critical_self[:, 0].tolist() == [3.0, 0.0]
    names = ("calls_visited", "visits", "own_ns", "child_sum_ns", "child_union_ns")
    for at, name in enumerate(names):
        unit.base.paths[name][:, 1] = [at + 1.0, 0.0]
    made = unit.base.replicates()[0]
    found = (made.calls_visited, made.visits, made.critical_self, made.overlap_sum, made.overlap_union)
    assert [values[0, 1] for values in found] == [1.0, 2.0, 3.0, 4.0, 5.0]


def test_entries_can_be_chosen_and_of_none_there_is_no_unit() -> None:
    unit = gathered(keep=lambda service, operation: (service, operation) == ("home", "GET /h"))
    assert unit.entries["service"].to_list() == ["home"]
    assert unit.paths["path_id"].to_list() == [8, 9]
    assert units_seen(unit, BASE, MATCHED.base) == 5
    assert gather(0, BASE, HEAD, MATCHED, lambda *_: False) is None
    assert gather(schema.UNIT_DETACHED, BASE, HEAD, MATCHED, None) is None


def test_a_callee_that_sends_spans_in_one_period_sends_them() -> None:
    """Of two rows of a path the instrumented one counts, whichever period has it."""
    lost = [{**path, "uninstrumented": path["path_id"] == 1} for path in PATHS]
    base, head = (replace(one, tables={**one.tables, "paths": table("paths", lost)}) for one in (BASE, HEAD))
    for made in (gathered(base=base), gathered(head=head)):
        assert not made.paths["uninstrumented"].any()
    assert gathered(base=base, head=head).paths["uninstrumented"].to_list() == [False] * 4 + [True]


# -- clocks -----------------------------------------------------------------------------------------


def test_clocks_are_matched_and_as_they_were() -> None:
    """Means over all entries; of units that succeeded; weighed by sampling, and by hour where matched."""
    measured = [replace(one, rules=frozenset({schema.RULES})) for one in (BASE, HEAD)]
    found = clock_of(gathered(), measured[0], measured[1])
    assert found["base_ms"] == pytest.approx((30 + 40 + 5) / 7.5)
    assert found["base_ok_ms"] == pytest.approx((75 - 1.5) / 6.5)
    assert found["base_raw_ms"] == pytest.approx((30 + 40 + 10 + 90) / (3 + 2 + 5 + 10))
    assert (found["head_ms"], found["head_ok_ms"]) == pytest.approx((2.0, 2.0))
    assert found["head_raw_ms"] == pytest.approx(24 / 8)
    assert found["delta_ms"] == pytest.approx(found["head_ms"] - found["base_ms"])
    former = replace(BASE, rules=frozenset({schema.FAILURES_SINCE - 1}))
    assert set(found) - set(clock_of(gathered(), former, measured[1])) == {"base_ok_ms"}


def test_without_units_clocks_are_nothing() -> None:
    empty = period([], [])
    found = clock_of(gathered(head=empty), BASE, empty)
    assert (found["head_ms"], found["head_raw_ms"]) == (0.0, 0.0)
    assert "head_ok_ms" not in found
    failed = period(
        [], [{"slot": 20, "entry_id": 60, "units": 6, "clock_ns": 12 * MS, "errors": 6, "failed_ns": 12 * MS}]
    )
    assert "head_ok_ms" not in clock_of(gathered(head=failed), BASE, failed)
    one = period([], [{"slot": 21, "entry_id": 60, "units": 1, "clock_ns": 12 * MS}])
    alone = gather(0, BASE, one, Matched(MATCHED.base, slots((21, 0, 1.0)), ()), None)
    assert alone is not None
    assert clock_of(alone, BASE, one)["head_ok_ms"] == 12.0


# -- sums over time ---------------------------------------------------------------------------------


def day(slots_and_calls: dict[int, int], **more: Any) -> PeriodRollups:
    calls = [
        {"slot": at, "path_id": 5, "calls": n, "own_ns": 3 * n, "threshold": HALF if at % 2 else -1}
        for at, n in slots_and_calls.items()
    ]
    units = [
        {"slot": at, "entry_id": 70, "units": n, "clock_ns": 10 * n} for at, n in slots_and_calls.items()
    ]
    return period(calls, units, **more)


def test_extents_are_slots_with_units_and_how_many_each_has() -> None:
    one = day({7: 2, 3: 5}, end_ns=2 * DAY_NS, start_ns=HOUR_NS)
    extent = slots_of(one)
    assert (extent.slots.tolist(), extent.units.tolist()) == ([3, 7], [5.0, 2.0])
    assert (extent.start_ns, extent.end_ns, extent.slot_ns) == (HOUR_NS, 2 * DAY_NS, HOUR_NS)


def test_sums_over_time_keep_all_keys_but_the_hour() -> None:
    """Of short periods all hours count as they are."""
    base, head = matched_sums(day({0: 2, 1: 3, 2: 5}), day({24: 1}), "UTC")
    rows = base["path_hours"]
    assert rows.select("unit", "path_id", "threshold", "calls", "own_ns").rows() == [
        (0, 5, -1, 7, 21),
        (0, 5, HALF, 3, 9),
    ]
    assert base["entry_hours"].select("entry_id", "units", "clock_ns").rows() == [(70, 10, 100)]
    assert "slot" not in rows.columns
    assert rows.schema["calls"] == pl.Int64  # whole numbers stay whole
    assert head["path_hours"]["calls"].to_list() == [1]
    assert base["paths"].height == len(PATHS)


def test_sums_over_time_weigh_hours_of_the_week_as_both_periods_have_them() -> None:
    """Base has Thursday and Friday, head Thursday twice a week apart: hours that one lacks do not count."""
    base = day({0: 4, 24: 6, 25: 9}, end_ns=2 * DAY_NS)
    week = 7 * 24
    head = day({week: 1, 2 * week: 1, week + 24: 2}, start_ns=7 * DAY_NS, end_ns=16 * DAY_NS)
    found, later = matched_sums(base, head, "UTC")
    shares = np.array([2.0, 1.0]) / 3, np.array([1.0, 1.0]) / 2
    target = (shares[0] + shares[1]) / 2
    expected = [side["path_hours"]["calls"].to_list() for side in (found, later)]
    assert expected[0] == pytest.approx([4 * target[0] / shares[1][0] + 6 * target[1] / shares[1][1]])
    assert expected[1] == pytest.approx([2 * target[0] / shares[0][0] + 2 * target[1] / shares[0][1]])


def test_hours_of_which_only_some_count_as_they_are_are_weighed() -> None:
    """Of three hours of the week one is as frequent in both periods, the others are not."""
    x, y, z, week = 0, 1, 24, 7 * 24
    base = day({x: 1, y: 10, z: 100, week + z: 1000}, end_ns=14 * DAY_NS)
    at = 2 * week
    head = day(
        {at + x: 1, at + y: 10, at + week + y: 100, at + z: 1000}, start_ns=14 * DAY_NS, end_ns=28 * DAY_NS
    )
    sums = [side["entry_hours"]["units"].sum() for side in matched_sums(base, head, "UTC")]
    many, few = 0.375 / 0.5, 0.375 / 0.25
    assert sums == pytest.approx([1 + few * 10 + many * 1100, 1 + many * 110 + few * 1000])


def test_a_block_sum_of_no_rows_is_nothing_as_a_number() -> None:
    frame = table("path_hours", [])
    made = matched._dense(
        frame, slots((3, 0, 1.0)), "path_id", pl.DataFrame({"path_id": [5], "index": [0]}), ["calls"]
    )
    assert made["calls"].tolist() == [[0.0], [0.0]]
    assert made["calls"].dtype == np.float64
