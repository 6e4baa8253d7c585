"""Hours that count alike are one row, and nothing that is computed from them changes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import pytest
from rolled import rolled

from tracescope import schema
from tracescope.analysis.comparison.aggregate import condensed, later_of, representative_hours
from tracescope.analysis.rollups.period import PeriodRollups
from tracescope.analysis.statistics.blocks import Matched, Slots
from tracescope.schema import HOUR_NS


def slots(rows: list[tuple[int, int, float]]) -> Slots:
    frame = pl.DataFrame(
        rows, schema={"slot": pl.Int64, "block": pl.Int32, "weight": pl.Float64}, orient="row"
    )
    return Slots(frame, 2, np.zeros((2, 0)), np.zeros((2, 0)), True)


def hours(first: int, count: int, **more: Any) -> PeriodRollups:
    """A path with as many calls in each hour as the hour's number."""
    rows = [
        {"slot": at, "path_id": 1, "calls": at, "own_ns": 2 * at, "slow_ns": 100 - at, "slow_hi": at,
         "typical_hash": at % 5 * 10}
        for at in range(first, first + count)
    ]  # fmt: skip
    return rolled((first + count) * HOUR_NS, start_ns=first * HOUR_NS, path_hours=more.get("rows", rows))


def firsts(period: PeriodRollups, of: Slots, later: PeriodRollups) -> list[int]:
    return representative_hours(period, of, later)["first"].to_list()


def test_days_are_counted_back_from_the_end_of_the_later_period() -> None:
    """Thirty hours before it: six of one day, then twenty-four."""
    later, base = hours(30, 24), hours(0, 30)
    every = slots([(at, 0, 1.0) for at in range(30)])
    assert firsts(base, every, later) == [0] * 6 + [6] * 24
    assert firsts(later, slots([(at, 0, 1.0) for at in range(30, 54)]), later) == [30] * 24
    assert later_of(base, later) is later_of(later, base) is later


def test_hours_of_another_block_or_weight_or_that_do_not_count_stand_apart() -> None:
    later = hours(8, 24)
    base = hours(0, 8)
    mixed = slots([(0, 0, 1.0), (1, 0, 1.0), (2, 1, 1.0), (3, 0, 2.0), (4, 0, 1.0), (6, 1, 1.0)])
    assert firsts(base, mixed, later) == [0, 0, 2, 3, 0, 5, 2, 5]


def test_hours_that_both_periods_hold_stand_apart_from_those_before() -> None:
    """They count once in the later one."""
    later, base = hours(4, 20), hours(0, 8)
    assert firsts(base, slots([(at, 0, 1.0) for at in range(8)]), later) == [0] * 4 + [4] * 4


def test_parts_of_hours_at_the_ends_of_a_period_are_hours() -> None:
    part = replace(hours(0, 3), start_ns=HOUR_NS // 2, end_ns=2 * HOUR_NS + 1)
    assert representative_hours(part, slots([]), part)["slot"].to_list() == [0, 1, 2]


def test_rows_are_summed_and_exemplars_are_the_longest_and_the_smallest() -> None:
    """By path, unit and sampling; a hash of 0 is none."""
    base, head = hours(0, 6), hours(6, 24)
    other = {"slot": 2, "path_id": 2, "unit": schema.UNIT_MESSAGE, "calls": 7, "threshold": 5}
    base = replace(base, tables=hours(0, 6, rows=[*base.tables["path_hours"].to_dicts(), other]).tables)
    sides = [slots([(at, 0, 1.0) for at in range(*bounds)]) for bounds in ((0, 6), (6, 30))]
    made = condensed(base, head, Matched(sides[0], sides[1], ()))
    rows = made[0].tables["path_hours"]
    assert rows.select("slot", "unit", "path_id", "threshold", "calls", "own_ns").rows() == [
        (0, 0, 1, -1, 15, 30), (0, 1, 2, 5, 7, 0),
    ]  # fmt: skip
    assert rows.select("slow_ns", "typical_hash").rows() == [(100, 10), (0, 0)]
    assert "slow_hi" not in rows.columns
    assert made[1].tables["path_hours"].select("slot", "calls").rows() == [(6, sum(range(6, 30)))]
    assert made[0].tables["entry_hours"] is base.tables["entry_hours"]


@pytest.mark.parametrize(("count", "worth"), [(2, True), (1, False)])
def test_it_is_worth_it_where_a_row_stands_for_two_hours(count: int, worth: bool) -> None:
    """Half as many representative hours as there are rows of; finer slots stay."""
    base, head = hours(0, 2 * count), hours(2 * count, 24)
    blocks = slots([(at, at // count, 1.0) for at in range(2 * count)])
    late = slots([(at, 0, 1.0) for at in range(2 * count, 2 * count + 24)])
    made, _ = condensed(base, head, Matched(blocks, late, ()))
    assert (made is not base) == worth
    for pair in ((replace(base, slot_ns=HOUR_NS // 2), head), (base, replace(head, slot_ns=HOUR_NS // 2))):
        assert condensed(*pair, Matched(blocks, late, ())) == pair
