"""Edges' figures, what a test would have shown, and which test decides; worked out by hand and by SciPy."""

from __future__ import annotations

import math
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest
from answered import edge
from rolled import rolled
from scipy import stats

from tracescope import schema
from tracescope.analysis.comparison import edges
from tracescope.analysis.comparison.beside_means import Beside
from tracescope.analysis.report import DecidedBy
from tracescope.analysis.rollups.period import PeriodRollups
from tracescope.analysis.statistics.significance import Spread

MS = 1_000_000
RANKS, LOGS, SINCE = DecidedBy.RANKS, DecidedBy.LOGARITHMS, DecidedBy.SINCE_THEN


def judged(value: list[float], error: list[float], dof: float = 9.0, *, enough: bool = True) -> edges._Tested:
    return edges._Tested(np.array(value), Spread(np.array(error), np.full(len(value), dof)), enough)


def beside(name: DecidedBy, value: float, error: float = 1.0, **more: Any) -> Beside:
    """One test of one edge that is surer the larger its value."""
    made = {name: np.array([more.get(name, usual)]) for name, usual in (("least", 0.0), ("tried", True))}
    own = np.array([more["own_ms"]]) if "own_ms" in more else None
    return Beside(name, np.array([value]), Spread(np.array([error]), np.array([9.0])), **made, own_ms=own)


# -- figures ----------------------------------------------------------------------------------------


def side(calls: float, detached: float = 0.0) -> edges._Side:
    sums = {
        "own_ns": [30.0 * MS],
        "inclusive_ns": [90.0 * MS],
        "calls": [calls],
        "detached_calls": [detached],
    }
    return edges._Side({name: np.array(values) for name, values in sums.items()}, 6.0, 120.0 * MS)


def test_an_edge_has_its_figures_for_each_unit_of_work() -> None:
    assert side(12.0).of(0) == {"share": 0.25, "own_ms": 5.0, "inclusive_ms": 15.0, "calls_per_unit": 2.0}
    assert (side(12.0, 3.0).detached(0), side(0.0).detached(0)) == (0.25, 0.0)


@pytest.mark.parametrize(
    ("base", "head", "changed"),
    [
        ((100, 0), (100, 6), True),
        ((100, 6), (100, 0), True),
        ((100, 0), (100, 5), False),
        ((0, 0), (100, 50), False),
        ((100, 50), (0, 0), False),
        ((1, 0), (0.5, 0.5), True),
    ],
)
def test_the_blocking_rule_changed_where_a_twentieth_more_or_less_is_detached(
    base: tuple[float, float], head: tuple[float, float], changed: bool
) -> None:
    """Of calls that both periods have."""
    assert (edges._changed_rule(side(*base), side(*head), 0) == "blocking rule changed") == changed


# -- tests ------------------------------------------------------------------------------------------


def test_intervals_are_students() -> None:
    """None where an error is infinite, or there is too little of anything."""
    quantile = stats.t.ppf(0.975, 9)
    first, second = judged([3.0, 1.0], [0.5, math.inf]).intervals()
    assert first == pytest.approx((3 - quantile * 0.5, 3 + quantile * 0.5))
    assert second is None
    assert judged([3.0], [0.5], enough=False).intervals() == [None]


@pytest.mark.parametrize(("value", "least"), [(3.0, 1.0), (-3.0, 1.0), (0.5, 1.0), (1.0, 1.0)])
def test_a_p_value_is_of_a_change_beyond_the_smallest_effect(value: float, least: float) -> None:
    """One-sided: up or down alike; certain where there is no error, unknown where it is infinite."""
    minimum = np.array([least])
    expected = stats.t.sf((abs(value) - least) / 0.5, 9)
    assert judged([value], [0.5]).p_value(minimum)[0] == pytest.approx(expected, rel=1e-6)
    assert judged([value], [0.0]).p_value(minimum)[0] == (0.0 if abs(value) > least else 1.0)
    assert judged([value], [math.inf]).p_value(minimum)[0] == 1.0
    assert judged([value], [0.5], enough=False).p_value(minimum)[0] == 1.0


def test_what_would_have_shown_is_found_in_four_of_five_such_periods() -> None:
    """By the best of all tests; of few events as if the error were known a little."""
    least = np.array([1.0])
    for dof, known in ((9.0, 9.0), (4.0, 4.0), (1.0, 4.0)):
        reach = stats.t.ppf(0.975, known) + stats.t.ppf(0.8, known)
        (found,) = judged([3.0], [0.5], dof).detectable(least, ())
        assert found == pytest.approx(1.0 + reach * 0.5)
    other = beside(LOGS, 0.0, 0.01, own_ms=20.0, least=0.02)
    reach = stats.t.ppf(0.975, 9) + stats.t.ppf(0.8, 9)
    assert judged([3.0], [0.5]).detectable(least, [other])[0] == pytest.approx(
        20 * math.expm1(0.02 + 0.01 * reach)
    )
    far = beside(LOGS, 0.0, 0.01, own_ms=90.0, least=0.02)
    assert judged([3.0], [0.01]).detectable(least, [far])[0] == pytest.approx(1.0 + reach * 0.01)
    assert judged([3.0], [math.inf]).detectable(least, ()) == [None]
    assert judged([3.0], [0.5], enough=False).detectable(least, ()) == [None]


@pytest.mark.parametrize(
    ("credited", "remains"),
    [
        ([4.0, -2.0], [True, False]), ([4.0, -2.1], [False, False]), ([4.0, 1.0], [True, True]),
        ([-4.0, 1.0], [True, False]), ([-4.0, 4.0], [False, False]),
    ],
)  # fmt: skip
def test_half_of_a_change_is_left_among_all_that_its_caller_waits_for(
    credited: list[float], remains: list[bool]
) -> None:
    """In the same direction; other callers have their own."""
    split = SimpleNamespace(edges=pl.DataFrame({"caller": ["a", "a", "b"]}))
    assert edges._remains(split, np.array([*credited, 1.0])).tolist() == [*remains, True]  # type: ignore[arg-type]


def decided(
    p: float, *tests: Beside, value: float = 2.0, large: bool = True
) -> tuple[float, float, float, DecidedBy]:
    """P-value, and error, degrees of freedom and name of the test that decides."""
    made = edges._decided(np.array([p]), judged([value], [0.5], 7.0), tests, np.array([large]))
    return float(made[0][0]), float(made[1].spread.error[0]), float(made[1].spread.dof[0]), made[2][0]


def sure(t: float) -> float:
    return float(stats.t.sf(t, 9))


def test_the_surest_test_decides_and_all_that_were_tried_are_paid_for() -> None:
    """Means alone cost nothing; beside another their p counts twice, as that of the other does."""
    assert decided(0.01) == (0.01, 0.5, 7.0, DecidedBy.MEANS)
    p, error, dof, name = decided(0.2, beside(RANKS, 5.0))
    assert (name, p, error, dof) == (RANKS, pytest.approx(2 * sure(5.0)), pytest.approx(2.0 / 5.0), 9.0)
    p, error, dof, name = decided(1e-6, beside(RANKS, 5.0))
    assert (name, p, error, dof) == (DecidedBy.MEANS, pytest.approx(2e-6), 0.5, 7.0)
    p, _, _, name = decided(0.2, beside(RANKS, 5.0), beside(LOGS, 6.0))
    assert (name, p) == (LOGS, pytest.approx(2 * 2 * sure(6.0)))


def test_moments_are_one_kind_of_test_of_which_each_more_costs_four_fifths() -> None:
    """So that many of them cost the other kind no more than one does."""
    moments = [beside(SINCE, t) for t in (6.0, 4.0, 3.0)]
    p, _, _, name = decided(0.2, *moments)
    assert (name, p) == (SINCE, pytest.approx((1 + 0.8 * 2) * 1 * 2 * sure(6.0)))
    p, _, _, name = decided(0.2, *moments, beside(LOGS, 9.0))
    assert (name, p) == (LOGS, pytest.approx(1 * 2 * 2 * sure(9.0)))
    p, _, _, name = decided(0.2, *moments, beside(LOGS, 1.0))
    assert (name, p) == (SINCE, pytest.approx((1 + 0.8 * 2) * 2 * 2 * sure(6.0)))


@pytest.mark.parametrize("other", [beside(RANKS, -9.0), beside(RANKS, 9.0, tried=False)])
def test_a_test_that_sees_the_other_way_or_nothing_is_none(other: Beside) -> None:
    """It costs nothing either; nor does any where the change is small."""
    assert decided(0.04, other) == (0.04, 0.5, 7.0, DecidedBy.MEANS)
    assert decided(0.04, beside(RANKS, 9.0), large=False) == (0.04, 0.5, 7.0, DecidedBy.MEANS)


def test_a_test_that_is_not_sure_leaves_the_interval_of_the_mean() -> None:
    """Of a twentieth; its p-value stays, 1 at most."""
    t = stats.t.isf(0.03, 9)
    p, error, dof, name = decided(0.9, beside(RANKS, float(t)))
    assert (p, error, dof, name) == (pytest.approx(0.06), 0.5, 7.0, DecidedBy.MEANS)
    assert decided(0.9, beside(RANKS, 0.01))[0] == pytest.approx(2 * sure(0.01))
    assert decided(0.9, beside(RANKS, 0.0001, least=5.0))[0] <= 1.0
    t = stats.t.isf(0.02, 9)
    assert decided(0.9, beside(RANKS, float(t)))[3] is RANKS
    assert decided(0.9, beside(RANKS, -float(t)), value=-2.0)[3] is RANKS


def test_p_values_are_adjusted_over_the_edges_that_are_comparable() -> None:
    """Significant up to alpha itself."""
    made = edges.adjusted([edge("a -> b", q_value=q) for q in (0.02, None, 0.05, 0.5)], 0.06)
    assert [one.q_value for one in made] == pytest.approx([0.06, None, 0.075, 0.5])
    assert [one.significant for one in made] == [True, False, False, False]
    assert edges.adjusted([], 0.05) == []


# -- clocks -----------------------------------------------------------------------------------------


def clocks(early: int = 0, mended: int = 0, **more: Any) -> PeriodRollups:
    """A hundred messages, a hundred calls, of which some came early, or were moved."""
    counters = [
        {"reason": "negative_wait", "count": early, "slot": 0},
        {"reason": "skew_corrected", "count": mended},
    ]
    return rolled(
        counters=more.get("counters", counters),
        path_hours=[{"calls": 60}, {"calls": 40}],
        entry_hours=[{"units": 100, "unit": schema.UNIT_MESSAGE}, {"units": 900}],
    )


@pytest.mark.parametrize(
    ("one", "other", "moved"),
    [
        (clocks(), clocks(early=3), True),
        (clocks(), clocks(early=2), False),
        (clocks(early=9), clocks(early=9), False),
        (clocks(), clocks(mended=31), True),
        (clocks(), clocks(mended=30), False),
        (clocks(5, 5), clocks(6, 20), False),
        (clocks(), clocks(counters=[]), False),
    ],
)
def test_clocks_moved_where_messages_come_early_or_spans_are_moved_as_they_were_not(
    one: PeriodRollups, other: PeriodRollups, moved: bool
) -> None:
    """Two messages in a hundred, or thirty spans; in either period."""
    assert edges._clocks_moved(one, other) == edges._clocks_moved(other, one) == moved
    bare = replace(other, tables={name: part for name, part in other.tables.items() if name != "counters"})
    assert not edges._clocks_moved(one, bare)
    assert not edges._clocks_moved(bare, one)


# -- exemplars --------------------------------------------------------------------------------------


def test_exemplars_are_the_slowest_call_and_a_fair_draw_of_each_edge() -> None:
    """Of several paths; the smaller trace of two as slow, and one trace once."""
    rows = [
        {"path_id": 1, "slow_ns": 5, "slow_lo": 10, "typical_hash": 7, "typical_lo": 20},
        {"path_id": 2, "slow_ns": 9, "slow_lo": 12, "typical_hash": 3, "typical_lo": 22},
        {"path_id": 2, "slow_ns": 9, "slow_lo": 11, "typical_hash": 0, "typical_lo": 29, "slot": 1},
        {"path_id": 3, "slow_ns": 4, "slow_lo": 31, "typical_hash": 8, "typical_lo": 31},
        {"path_id": 4, "slow_ns": 2, "slow_hi": 5, "slow_lo": 41},
        {"path_id": 1, "slow_ns": 99, "slow_lo": 9, "typical_hash": 1, "calls": 0},
        {"path_id": 1, "slow_ns": 99, "slow_lo": 9, "typical_hash": 1, "unit": 1},
    ]
    rows = [{"calls": 1, **row} for row in rows]
    period = rolled(path_hours=rows)
    numbered = pl.DataFrame({"path_id": [1, 2, 3, 4], "edge": [0, 0, 1, 2]})
    found = edges.exemplars(period, period, schema.UNIT_REQUEST, numbered)
    name = schema.trace_hex
    assert found == {0: (name(0, 11), name(0, 22)), 1: (name(0, 31),), 2: (name(5, 41),)}
    less = rolled(path_hours=rows)
    tables = {**less.tables, "path_hours": less.tables["path_hours"].drop("slow_ns")}
    assert edges.exemplars(PeriodRollups(0, 1, 1, "", tables), period, 0, numbered) == {}
