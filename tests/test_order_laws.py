"""Ranks of durations against SciPy and plain loops, and groups of entries of like clocks by hand."""

from __future__ import annotations

import math

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray
from rolled import table
from scipy import stats

from tracescope import schema
from tracescope.analysis.comparison import ranks
from tracescope.analysis.comparison.decompose import Tree
from tracescope.analysis.comparison.entry_groups import _by_size, add_up, group_entries
from tracescope.analysis.comparison.matched import Side, Unit
from tracescope.analysis.comparison.ranks import Counts, counts_by_block, rank_test
from tracescope.analysis.statistics.blocks import Matched, Slots
from tracescope.analysis.statistics.significance import combine, jackknife

Floats = NDArray[np.float64]
MS = 1_000_000
BLOCKS = 8


def slots(blocks: int = BLOCKS, *, daily: bool = False) -> Slots:
    frame = pl.DataFrame({"slot": range(blocks), "block": range(blocks), "weight": [1.0] * blocks})
    return Slots(frame, blocks, np.arange(blocks, dtype=float)[:, None], np.zeros((blocks, 0)), daily)


MATCHED = Matched(slots(), slots(), ())


def counted(values: list[list[int]], bins: int, first: int = 0) -> Counts:
    """Of one thing: the bins of the durations of each block."""
    return Counts(np.array([[np.bincount(block, minlength=bins) for block in values]], float), first)


def drawn(seed: int, shift: float, each: int = 12) -> list[list[int]]:
    rng = np.random.default_rng(seed)
    return [np.clip(rng.normal(10 + shift, 3.0, each), 0, 24).astype(int).tolist() for _ in range(BLOCKS)]


@pytest.mark.parametrize("shift", [0.0, 2.0, -3.0])
def test_how_often_a_call_takes_longer_is_mann_and_whitneys(shift: float) -> None:
    """Equal ones count by half; the error is that of blocks, or what so many durations have at least."""
    before, after = drawn(1, 0.0), drawn(2, shift)
    found = rank_test(counted(before, 25), counted(after, 25), MATCHED)
    b, h = np.concatenate(before), np.concatenate(after)
    expected = stats.mannwhitneyu(h, b).statistic / (len(b) * len(h))
    assert found.slower[0] == pytest.approx(expected)

    def over(base: Floats, head: Floats) -> float:
        return float(((head[:, None] > base) + 0.5 * (head[:, None] == base)).mean())

    spreads = []
    for side, other, sign in ((before, h, 1), (after, b, -1)):
        less = [np.concatenate(side[:at] + side[at + 1 :]) for at in range(BLOCKS)]
        without = np.array([[over(one, other) if sign > 0 else over(other, one)] for one in less])
        whole = np.array([expected])
        spreads.append(jackknife(whole, without, slots().shape, 1.0, may_step=False))
    spread = combine(*spreads)
    n, m = len(b), len(h)
    _, ties = np.unique(np.concatenate([b, h]), return_counts=True)
    least = math.sqrt((1 - (ties**3).sum() / (n + m) ** 3) * (n + m + 1) / (12 * n * m))
    error = max(float(spread.error[0]), least)
    assert found.shift[0] == pytest.approx((expected - 0.5) / error)
    own = least >= spread.error[0]
    assert found.dof[0] == pytest.approx(ranks.KNOWN_DOF if own else float(spread.dof[0]))
    p = stats.t.sf(abs(found.shift[0]), found.dof[0])
    clear = abs(expected - 0.5) >= ranks.LEAST_SHIFT
    assert found.p_rise[0] == pytest.approx(p if clear and shift > 0 else 1.0, rel=1e-6)
    assert found.p_fall[0] == pytest.approx(p if clear and shift < 0 else 1.0, rel=1e-6)


def test_swapping_the_periods_turns_the_order_around() -> None:
    base, head = counted(drawn(3, 0.0), 25), counted(drawn(4, 3.0), 25)
    there, back = rank_test(base, head, MATCHED), rank_test(head, base, MATCHED)
    assert there.slower[0] == pytest.approx(1 - back.slower[0])
    assert there.p_rise[0] == pytest.approx(back.p_fall[0])
    assert there.shift[0] == pytest.approx(-back.shift[0])


def test_bins_of_both_periods_are_laid_upon_each_other() -> None:
    """By their numbers; empty ones between tell nothing."""
    base, head = counted([[0, 1, 1]] * BLOCKS, 3, first=40), counted([[0, 2, 2]] * BLOCKS, 3, first=41)
    before, after = ranks._aligned(base, head)
    assert before[0, 0].tolist() == [1, 2, 0]  # bins 40, 41 and 43
    assert after[0, 0].tolist() == [0, 1, 2]
    assert rank_test(base, head, MATCHED).slower[0] == pytest.approx((2 * 3 + 1 + 2 / 2) / 9)


def test_few_durations_or_days_have_no_order() -> None:
    """Four of either period; and days that can show how they differ."""
    for each, known in ((4, True), (3, False)):
        few = Counts(np.array([[[1.0, 0.0] if at < each else [0.0, 0.0] for at in range(BLOCKS)]]), 0)
        many = Counts(np.full((1, BLOCKS, 2), [0.0, 5.0]), 0)
        assert rank_test(few, many, MATCHED).slower[0] == (1.0 if known else 0.5)
        assert rank_test(many, few, MATCHED).slower[0] == (0.0 if known else 0.5)
    base, head = counted(drawn(3, 0.0), 25), counted(drawn(4, 9.0), 25)
    for pair in ((slots(3, daily=True), slots()), (slots(), slots(3, daily=True)), (slots(3), slots())):
        nothing = rank_test(base, head, Matched(*pair, ()))
        assert (nothing.slower[0], nothing.shift[0], nothing.p_rise[0], nothing.p_fall[0]) == (
            0.5,
            0.0,
            1.0,
            1.0,
        )
    assert rank_test(base, head, Matched(slots(8, daily=True), slots(), ())).p_rise[0] < 0.05


def test_durations_are_counted_by_thing_block_and_bin() -> None:
    """Several ids may be of one thing; hours that do not count, and other kinds, are left out."""
    rows = [
        {"slot": 0, "entry_id": 5, "bin": 7, "count": 3}, {"slot": 0, "entry_id": 6, "bin": 7, "count": 2},
        {"slot": 1, "entry_id": 4, "bin": 9, "count": 4}, {"slot": 1, "entry_id": 3, "bin": 2, "count": 99},
        {"slot": 99, "entry_id": 4, "bin": 2, "count": 99},
        {"slot": 1, "entry_id": 4, "bin": 2, "count": 99, "unit": schema.UNIT_MESSAGE},
    ]  # fmt: skip
    index = pl.DataFrame({"id": [4, 5, 6], "index": [0, 1, 1]})
    made = counts_by_block(table("entry_sketches", rows), schema.UNIT_REQUEST, "entry_id", index, slots(2))
    assert made.first == 7
    assert made.table.tolist() == [[[0, 0, 0], [0, 0, 4]], [[5, 0, 0], [0, 0, 0]]]
    none = counts_by_block(table("entry_sketches", []), 0, "entry_id", index, slots(2))
    assert (none.table.shape, none.first, none.table.sum()) == ((2, 2, 1), 0, 0)
    nobody = counts_by_block(table("entry_sketches", rows), 0, "entry_id", index.clear(), slots(2))
    assert nobody.table.shape == (0, 2, 1)


# -- groups -----------------------------------------------------------------------------------------


def entries(base: list[tuple[float, float]], head: list[tuple[float, float]] | None = None) -> Unit:
    """Units and mean clock in ms of each entry, in two blocks."""
    sides = []
    for rows in (base, head or base):
        units, ms = np.array(rows).T
        both = np.stack([units, units]) / 2
        sides.append(Side({}, {"units": both, "clock_ns": both * ms * MS}, np.zeros(0), np.zeros(0)))
    none = np.zeros(0, np.int64)
    return Unit(0, pl.DataFrame(), pl.DataFrame(), Tree(none, none, none), *sides, 0.0)


@pytest.mark.parametrize(
    ("rows", "groups"),
    [
        ([(90, 10.0), (10, 50.0)], [0, 0]), ([(90, 10.0), (10, 10 * 30**0.49)], [0, 0]),
        ([(90, 10.0), (10, 10 * 30**0.51)], [0, 1]), ([(90, 10.0), (5, 0.01), (5, 9.0)], [0, 0, 0]),
        ([(90, 10.0), (5, 300.0), (5, 9000.0)], [0, 1, 2]), ([(90, 10.0), (5, 9000.0)], [0, 1]),
        ([(51, 300.0), (49, 10.0)], [0, 0]), ([(49, 300.0), (51, 10.0)], [1, 0]),
        ([(999, 1000.0), (1, 5900.0)], [0, 0]), ([(999, 1000.0), (1, 11000.0)], [0, 1]),
        ([(9900, 1.0), (100, 6.0)], [0, 1]),
        ([(9901, 1.0), (99, 6.0)], [0, 1]), ([(0, 0.0), (10, 5.0)], [0, 0]),
        ([(99_900, 1.0), (99, 6.0)], [0, 0]),
    ],
)  # fmt: skip
def test_entries_are_alike_within_thirty_times_and_a_group_matters_from_a_hundredth_on(
    rows: list[tuple[float, float]], groups: list[int]
) -> None:
    """Of all units or of all time; counted from the clock that half of the units do not exceed."""
    assert group_entries(entries(rows)).of.tolist() == groups


def test_a_group_has_the_clock_of_its_entries_for_each_unit_of_all() -> None:
    """In base, and in head where base has none; and all of its time in both."""
    made = group_entries(entries([(80, 10.0), (20, 900.0), (0, 0.0)], [(40, 20.0), (50, 900.0), (10, 15.0)]))
    assert made.of.tolist() == [0, 1, 0]
    assert made.entry_ms.tolist() == pytest.approx([8.0, 180.0, 1.5])
    assert made.clock_ms.tolist() == pytest.approx([9.5, 180.0])
    assert (made.clocks_ns / MS).tolist() == pytest.approx(np.array([[800, 18000], [950, 45000]]))


def test_sizes_are_steps_above_the_median_over_units() -> None:
    """Of clocks under a nanosecond one; of none nothing."""
    mean, count = np.array([9.0, 1.0, 300.0]), np.array([1.0, 1.0, 5.0])
    assert _by_size(mean, count).tolist() == [0, 0, 0]
    assert _by_size(mean, count[::-1]).tolist() == [0, 0, 1]
    assert _by_size(np.array([0.0, 20.0]), np.array([9.0, 1.0])).tolist() == [0, 1]
    assert _by_size(np.array([0.0, 20.0]), np.zeros(2)).tolist() == [0, 1]
    assert _by_size(np.zeros(0), np.zeros(0)).tolist() == []


def test_values_of_the_same_number_add_up_over_the_last_axis() -> None:
    number = np.array([1, 0, 1])
    assert add_up(np.array([1.0, 2.0, 4.0]), number, 3).tolist() == [2.0, 5.0, 0.0]
    assert add_up(np.array([[1.0, 2.0, 4.0], [1.0, 1.0, 1.0]]), number, 2).tolist() == [
        [2.0, 5.0],
        [1.0, 2.0],
    ]
