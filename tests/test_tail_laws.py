"""What more slow requests are, worked out by hand from a few bins."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from rolled import HALF, rolled

from tracescope import schema
from tracescope.analysis.comparison import tail
from tracescope.analysis.comparison.decompose import Tree
from tracescope.analysis.comparison.matched import Side, Unit
from tracescope.analysis.rollups.period import PeriodRollups
from tracescope.analysis.statistics.blocks import Matched, Slots
from tracescope.analysis.statistics.rates import Compared
from tracescope.analysis.statistics.significance import Spread
from tracescope.analysis.statistics.sketch import PER_OCTAVE

MS = 1_000_000
BLOCKS = 8
NOTHING = np.zeros(0)


def slots(weights: tuple[float, ...] = (1.0,) * BLOCKS, first: int = 0) -> Slots:
    """Hours, each a block."""
    n = len(weights)
    frame = pl.DataFrame({"slot": range(first, first + n), "block": range(n), "weight": weights})
    return Slots(frame, n, np.zeros((n, 0)), np.zeros((n, 0)), False)


MATCHED = Matched(slots(), slots(), ())


def unit(
    means_ms: tuple[float, float] = (10.0, 10.0), kind: int = 0, entries: int = 1, count: float = 100.0
) -> Unit:
    """Entries of so many units in each block, twice as many in head, with these mean clocks."""
    frame = pl.DataFrame(
        {
            "entry_id": [9 - at for at in range(entries)], "service": ["shop", "cart", "mail"][:entries],
            "operation": ["GET /"] * entries,
        }
    ).with_row_index("index")  # fmt: skip
    whole = np.full((BLOCKS, entries), count)
    sides = [
        Side({}, {"units": n * whole, "clock_ns": n * whole * ms * MS}, NOTHING, NOTHING)
        for n, ms in zip((1, 2), means_ms, strict=True)
    ]
    none = np.zeros(0, np.int64)
    return Unit(kind, frame, pl.DataFrame(), Tree(none, none, none), sides[0], sides[1], 0.0)


def period(*bins: dict[int, int], kind: int = 0, **more: int) -> PeriodRollups:
    """Counts by bin of each entry in every hour."""
    rows = [
        {"slot": at, "unit": kind, "entry_id": 9 - entry, "bin": one, "count": n, **more}
        for entry, counts in enumerate(bins)
        for at in range(BLOCKS)
        for one, n in counts.items()
    ]
    return rolled(entry_sketches=rows)


def bin_ms(at: int) -> float:
    return 2 ** ((at + 0.5) / PER_OCTAVE) / MS


def found(base: PeriodRollups, head: PeriodRollups, made: Unit | None = None, beside: float | None = None):  # type: ignore[no-untyped-def]
    made = made or unit()
    others = np.array([] if beside is None else [beside] * 50)
    return tail.compare_tails({made.kind: made}, (base, head), MATCHED, 0.05, others)


def test_the_quantile_of_a_sketch_is_the_bin_that_reaches_its_part() -> None:
    """Over all blocks together; of nothing the first."""
    counts = np.zeros((2, 3, 4))
    counts[0, 0], counts[1, 0] = [50, 5, 0, 1], [40, 0, 4, 0]
    counts[1, 1] = [0, 0, 1, 9]
    one = tail._Sketches(counts, counts.sum(axis=(0, 2)))
    for q, places in (
        (0.9, [0, 3, 0]),
        (0.901, [1, 3, 0]),
        (0.95, [1, 3, 0]),
        (0.99, [2, 3, 0]),
        (0.1, [0, 2, 0]),
    ):
        assert one.quantile(q).tolist() == places, q
    beyond = one.beyond(np.array([1, 2, 0]))
    assert beyond.events.tolist() == [[1, 0, 0], [4, 9, 0]]
    assert beyond.trials.tolist() == [[56, 0, 0], [44, 10, 0]]
    assert beyond.seen.tolist() == [100, 10, 0]


def test_a_sketch_counts_what_is_compared_as_much_as_it_stands_for() -> None:
    """By hour and sampling; other kinds, hours that one period lacks and entries left out do not count."""
    rows = [
        {"slot": 5, "entry_id": 9, "bin": 20, "count": 3},
        {"slot": 5, "entry_id": 9, "bin": 20, "count": 2, "threshold": HALF},
        {"slot": 6, "entry_id": 8, "bin": 10, "count": 4},
        {"slot": 6, "entry_id": 9, "bin": 30, "count": 1},
        {"slot": 6, "entry_id": 9, "bin": 30, "count": 99, "unit": schema.UNIT_MESSAGE},
        {"slot": 7, "entry_id": 9, "bin": 10, "count": 99},
        {"slot": 5, "entry_id": 7, "bin": 10, "count": 99},
    ]
    made = tail._sketches(
        rolled(entry_sketches=rows), unit(entries=2), slots((1.0, 0.5), first=5), np.array([10, 20, 30])
    )
    assert made.counts.tolist() == [
        [[0.0, 3 + 2 * 2.0, 0.0], [0.0] * 3], [[0.0, 0.0, 0.5], [4 * 0.5, 0.0, 0.0]],
    ]  # fmt: skip
    assert made.seen.tolist() == [6.0, 4.0]


QUICK = {100: 960, 120: 30, 160: 10}
SLOW = {100: 960, 160: 40}


def test_more_requests_beyond_the_quantile_are_told_with_both_quantiles_and_means() -> None:
    """One in a hundred lay beyond it, and four do: p99 is where these are; p95 stayed."""
    (one,) = found(period(QUICK), period(SLOW), unit((10.0, 10.4)))
    assert (one.unit, one.service, one.operation, one.q, one.name) == (
        "request",
        "shop",
        "GET /",
        0.99,
        "p99",
    )
    assert (one.ms_base, one.ms_head) == pytest.approx((bin_ms(120), bin_ms(160)))
    assert (one.mean_base, one.mean_head, one.flat) == (10.0, 10.4, True)
    assert (one.beyond.base, one.beyond.head) == pytest.approx((0.01, 0.04))
    assert (one.beyond.of_base, one.beyond.of_head) == (800.0, 1600.0)
    assert one.beyond.significant
    assert one.beyond.change_ci is not None
    assert 0.0 < one.beyond.change_ci[0] < 0.03 < one.beyond.change_ci[1]
    assert one.grew
    (less,) = found(period({100: 930, 120: 60, 160: 10}), period({100: 985, 120: 14, 160: 1}))
    assert (less.q, less.grew) == (0.95, False)
    assert found(period(QUICK), period(QUICK)) == ()


def test_all_that_is_tested_shares_what_may_be_found_by_chance() -> None:
    """Beside fifty p-values of 1 the same change is less sure, by as many as there are."""
    alone, beside = found(period(QUICK), period(SLOW)), found(period(QUICK), period(SLOW), beside=1.0)
    p = alone[0].beyond.q_value
    assert 0.0 < beside[0].beyond.q_value <= 0.05
    assert beside[0].beyond.q_value == pytest.approx(p * 52 / 2, rel=1e-6)


def test_tails_stand_by_how_many_times_as_long_they_are() -> None:
    """Of all entries and kinds; their own rows and names."""
    base = {100: 800, 110: 192, 112: 8}
    twice, thrice = {100: 800, 126: 200}, {100: 800, 136: 200}

    def later(counts: dict[int, int]) -> dict[int, int]:
        return {at + 40: n for at, n in counts.items()}

    made = found(period(later(base), base, base), period(later(twice), base, thrice), unit(entries=3))
    assert [(one.service, one.q) for one in made] == [
        ("mail", 0.95), ("mail", 0.99), ("shop", 0.95), ("shop", 0.99),
    ]  # fmt: skip
    assert [one.ms_head for one in made] == pytest.approx([bin_ms(at) for at in (136, 136, 166, 166)])
    both = {
        schema.UNIT_REQUEST: unit(), schema.UNIT_MESSAGE: unit(kind=schema.UNIT_MESSAGE),
        schema.UNIT_DETACHED: None, schema.UNIT_LONG: unit(kind=schema.UNIT_LONG),
    }  # fmt: skip
    sides = []
    for counts in (base, twice):
        frames = [period(counts, kind=kind).tables["entry_sketches"] for kind in both]
        sides.append(replace(period(), tables={"entry_sketches": pl.concat(frames)}))
    made = tail.compare_tails(both, (sides[0], sides[1]), MATCHED, 0.05, NOTHING)
    assert {one.unit for one in made} == {"request", "message"}
    assert len(made) == 4


def test_without_sketches_there_are_no_tails() -> None:
    """Neither where one period has no such table, nor where both have no row."""
    bare = replace(period(SLOW), tables={})
    assert found(period(QUICK), bare) == found(bare, period(SLOW)) == found(period(), period()) == ()


@pytest.mark.parametrize(
    ("base", "head", "tested"),
    [
        ({100: 500, 160: 5}, {100: 500, 160: 5}, [0]), ({100: 500, 160: 4}, {100: 500, 160: 5}, []),
        ({100: 500, 160: 5}, {100: 490, 160: 9}, []), ({100: 500, 160: 5}, {100: 490, 160: 10}, [0]),
    ],
)  # fmt: skip
def test_five_requests_lie_beyond_a_quantile_that_is_tested(
    base: dict[int, int], head: dict[int, int], tested: list[int]
) -> None:
    """In base as they were seen, in head as many as there would be without a change."""
    bins = np.array([100, 160])

    def sketches(counts: dict[int, int]) -> tail._Sketches:
        by_bin = np.array(list(counts.values()), float)
        return tail._Sketches(np.tile(by_bin / BLOCKS, (BLOCKS, 1, 1)), by_bin.sum(keepdims=True))

    one = tail._test(unit(), 0.99, (sketches(base), sketches(head)), bins, MATCHED)
    assert one.rows.tolist() == tested
    assert one.rates.base[0] == pytest.approx(base[160] / sum(base.values()))


@pytest.mark.parametrize(
    ("ms", "q_value", "enough", "told"),
    [
        ((100.0, 110.0), 0.05, True, True), ((100.0, 109.9), 0.01, True, False),
        ((109.9, 100.0), 0.01, True, False), ((110.1, 100.0), 0.01, True, True),
        ((100.0, 150.0), 0.051, True, False), ((100.0, 150.0), 0.01, False, False),
        ((0.0, 1.0), 0.01, True, True),
    ],
)  # fmt: skip
def test_a_tail_is_a_significant_change_of_more_than_a_bins_width(
    ms: tuple[float, float], q_value: float, enough: bool, told: bool
) -> None:
    """By a tenth, up or down."""
    column = [np.array([value]) for value in ms]
    rates = Compared(
        np.array([0.01]), np.array([0.02]), Spread(np.array([1e-3]), np.array([9.0])), column[0], enough
    )
    one = tail._Tested(unit(), 0.99, rates, (column[0], column[1]), np.array([0]))
    made = tail._tail(one, 0, q_value, 0.05)
    assert (made is not None) == told
    if made is not None:
        assert (made.ms_base, made.ms_head, made.beyond.q_value) == (*ms, q_value)


@pytest.mark.parametrize(("head", "flat"), [(10.49, True), (10.51, False), (9.51, True), (9.49, False)])
def test_a_mean_is_flat_within_a_twentieth_of_what_it_was(head: float, flat: bool) -> None:
    (one,) = found(period(QUICK), period(SLOW), unit((10.0, head)))
    assert one.flat == flat
    assert (one.mean_base, one.mean_head) == pytest.approx((10.0, head))


@pytest.mark.parametrize(
    ("base", "head", "changed"),
    [(600, 1500, False), (600, 2500, True), (9000, 13_000, False), (9000, 15_000, True)],
)
def test_a_part_that_is_larger_by_less_than_a_thousandth_or_a_third_is_as_it_was(
    base: int, head: int, changed: bool
) -> None:
    """Whatever a million requests can tell."""
    bins, whole = np.array([100, 160]), 1_000_000

    def sketches(slow: int) -> tail._Sketches:
        by_bin = np.array([whole - slow, slow], float)
        return tail._Sketches(np.tile(by_bin / BLOCKS, (BLOCKS, 1, 1)), np.array([float(whole)]))

    one = tail._test(unit(), 0.99, (sketches(base), sketches(head)), bins, MATCHED)
    assert (one.rates.p_value[0] < 1e-3) == changed
