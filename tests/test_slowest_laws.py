"""How long a request must take to be among the slowest, worked out by hand from a few bins."""

from __future__ import annotations

import math

import pytest
from rolled import HALF, table

from tracescope import schema
from tracescope.analysis.comparison.slowest import thresholds
from tracescope.analysis.statistics.sketch import PER_OCTAVE, ZERO_BIN
from tracescope.schema import DAY_NS, HOUR_NS


def least(
    rows: list[dict[str, int]],
    quantile: float = 0.5,
    end_ns: int = HOUR_NS,
    slot_ns: int = HOUR_NS,
    start_ns: int = 0,
):  # type: ignore[no-untyped-def]
    """Thresholds by slot and entry."""
    found = thresholds(table("entry_sketches", rows), start_ns, end_ns, slot_ns, quantile)
    assert found.columns == ["slot", "entry_id", "least_ns"]
    return {(slot, entry): ns for slot, entry, ns in found.iter_rows()}


def at(position: float) -> int:
    """The clock at a place among bins, in whole ns."""
    return math.ceil(2.0 ** (position / PER_OCTAVE))


@pytest.mark.parametrize(
    ("quantile", "position"),
    [(0.5, 101.0), (0.25, 100.5), (0.75, 102.0), (0.625, 101.5), (0.1, 100.2), (0.9, 102.0), (1.0, 102.0)],
)
def test_a_quantile_lies_inside_its_bin_as_far_as_counts_reach(quantile: float, position: float) -> None:
    """Half of the requests in the first bin, a quarter in the second; of the last bin all count."""
    rows = [{"bin": 102, "count": 5}, {"bin": 100, "count": 10}, {"bin": 101, "count": 5}]
    assert least(rows, quantile) == {(0, 0): at(position)}


def test_requests_count_as_often_as_they_stand_for_and_only_requests_do() -> None:
    rows = [
        {"bin": 100, "count": 4}, {"bin": 101, "count": 4, "threshold": HALF}, {"bin": 103, "count": 4},
        {"bin": 99, "count": 99, "unit": schema.UNIT_MESSAGE},
    ]  # fmt: skip
    assert least(rows, 0.5) == {(0, 0): at(101.5)}
    assert least([{"bin": ZERO_BIN, "count": 9}, {"bin": 100, "count": 1}], 0.5) == {(0, 0): 0}


def test_each_entry_and_day_has_its_own_and_one_of_few_requests_that_of_all() -> None:
    """Five must lie above it; of periods of two days and more."""
    rows = [
        {"slot": 0, "bin": 100, "count": 10}, {"slot": 23, "bin": 104, "count": 10},
        {"slot": 24, "bin": 120, "count": 10}, {"slot": 30, "bin": 122, "count": 10},
        {"slot": 48, "bin": 140, "count": 9}, {"slot": 24, "entry_id": 7, "bin": 60, "count": 10},
        {"slot": 25, "entry_id": 7, "bin": 61, "count": 1},
    ]  # fmt: skip
    found = least(rows, 0.5, end_ns=3 * DAY_NS)
    days = {0: at(101.0), 23: at(101.0), 24: at(121.0), 30: at(121.0)}
    assert {slot: found[slot, 0] for slot in days} == days
    whole = least([{**row, "slot": 0} for row in rows if row.get("entry_id", 0) == 0], 0.5)[0, 0]
    assert found[48, 0] == whole == at(120 + 4.5 / 10)
    assert found[24, 7] == found[25, 7] == at(60.55)
    assert len(found) == 7
    ten = [{**row, "count": 10} if row["slot"] == 48 else row for row in rows]
    assert least(ten, 0.5, end_ns=3 * DAY_NS)[48, 0] == at(140.0)


def test_short_periods_have_sixteen_stretches_of_whole_slots_at_least() -> None:
    """Of thirty-two hours two each; of eight hours one each; counted from the start of the period."""
    rows = [{"slot": 100 + slot, "bin": 100 + 4 * slot, "count": 10} for slot in range(8)]
    start = 100 * HOUR_NS
    short = least(rows, 0.5, start + 8 * HOUR_NS, start_ns=start)
    assert [short[100 + slot, 0] for slot in range(8)] == [at(100.0 + 4 * slot) for slot in range(8)]
    long = least(rows, 0.5, start + 32 * HOUR_NS, start_ns=start)
    assert [long[100 + slot, 0] for slot in range(8)] == [at(101.0 + 8 * (slot // 2)) for slot in range(8)]
    early = least(rows, 0.5, start + 33 * HOUR_NS, start_ns=start + HOUR_NS)
    assert early[100, 0] == early[101, 0] == early[102, 0]  # what began before counts in the first
    almost = least(rows, 0.5, start + 2 * DAY_NS - HOUR_NS, start_ns=start)
    assert almost[100, 0] == almost[102, 0] != almost[103, 0]
