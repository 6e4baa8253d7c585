"""Tests beside that of means: ranks of calls, and logarithms of latency whose load is known."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from scipy import stats
from test_blocks import hours

from benchmarks.calibration import LENGTHS, Case, simulate
from benchmarks.near_the_wall import pair
from tracescope.analysis.comparison.ranks import FEWEST, LEAST_SHIFT, Counts, rank_test
from tracescope.analysis.diff import diff
from tracescope.analysis.report import Edge, State
from tracescope.analysis.statistics.blocks import match

#: Half a day in either period: blocks are hours.
SHORT = match(hours(0, 0.5), hours(1, 0.5), "UTC")


def counts(rng: np.random.Generator, bins: np.ndarray) -> Counts:
    """Durations in `bins`, one thing, each in a block at random."""
    table = np.zeros((1, SHORT.base.blocks, 64))
    np.add.at(table[0], (rng.integers(0, SHORT.base.blocks, len(bins)), bins), 1.0)
    return Counts(table, 0)


@pytest.mark.parametrize(("base", "head", "shift"), [(12, 9, 0), (200, 150, 4), (30, 8, 20)])
def test_how_often_a_call_takes_longer_is_mann_and_whitneys(base: int, head: int, shift: int) -> None:
    """The statistic of scipy over the product of both numbers, ties by half."""
    rng = np.random.default_rng(base)
    before, after = rng.integers(0, 20, base), rng.integers(0, 20, head) + shift
    found = rank_test(counts(rng, before), counts(rng, after), SHORT)
    expected = stats.mannwhitneyu(
        after, before, alternative="greater", method="asymptotic", use_continuity=False
    )
    assert found.slower[0] == pytest.approx(expected.statistic / base / head)
    if found.slower[0] - 0.5 >= LEAST_SHIFT:  # no surer than so many durations are by themselves
        assert found.p_rise[0] >= expected.pvalue * 0.99
    else:
        assert found.p_rise[0] == 1.0


def test_ranks_of_identical_durations_are_rarely_told_apart() -> None:
    """Of 400 pairs of few durations with a long tail, at most one in twenty rises."""
    rng = np.random.default_rng(5)
    raised = 0
    for _ in range(400):
        sides = [
            counts(rng, np.clip(rng.lognormal(2.0, 1.0, int(rng.integers(4, 60))), 0, 63).astype(int))
            for _ in range(2)
        ]
        raised += bool(rank_test(*sides, SHORT).p_rise[0] <= 0.05)
    assert raised <= 24, raised


def test_a_few_durations_have_no_order() -> None:
    rng = np.random.default_rng(1)
    three, many = counts(rng, np.full(FEWEST - 1, 3)), counts(rng, np.full(40, 50))
    assert rank_test(three, many, SHORT).p_rise[0] == 1.0
    days = match(hours(0, 3), hours(7, 3), "UTC")
    table = np.zeros((1, 3, 64))
    table[0, :, 5] = 30
    later = np.roll(table, 20, axis=2)
    assert rank_test(Counts(table, 0), Counts(later, 0), days).p_rise[0] == 1.0


def database(rise: float, seed: int) -> Edge:
    """The edge near its wall, of a pair in which it got slower by a part of itself at any load."""
    report = diff(*pair(rise, seed))
    return next(edge for edge in report.edges if edge.kind == "db")


def test_a_rise_near_the_wall_is_found_given_the_load_of_each_day() -> None:
    """Days differ fourfold by their load: means cannot tell, and logarithms at equal load can."""
    found = [database(0.6, seed) for seed in range(6)]
    assert sum(edge.significant for edge in found) >= 5
    surer = [edge for edge in found if edge.decided_by != "means"]
    assert surer
    for edge in surer:
        assert edge.credited_ms_ci is not None
        assert 0 < edge.credited_ms_ci[0] < edge.credited_ms < edge.credited_ms_ci[1]


def test_a_wall_that_did_not_move_is_left_alone() -> None:
    """The same days without any growth."""
    assert not any(database(0.0, seed).significant for seed in range(6))


def test_the_interval_that_is_told_is_that_of_the_test_that_decides() -> None:
    """Wherever an edge is significant, its interval leaves zero out."""
    for seed in range(4):
        for edge in diff(*pair(0.6, seed)).edges:
            if edge.significant:
                assert edge.credited_ms_ci is not None
                assert not edge.credited_ms_ci[0] <= 0 <= edge.credited_ms_ci[1]
    assert isinstance(pair(0.0, 1)[0].tables["path_hours"], pl.DataFrame)


@pytest.mark.parametrize(("begins", "creeps"), [(0.5, False), (0.75, False), (0.5, True)])
def test_what_begins_inside_head_is_found_and_no_clean_bill(begins: float, creeps: bool) -> None:
    """A doubling from the middle on, of the last quarter, or creeping in over the second half."""
    for seed in range(3):
        case = Case(LENGTHS["14d"], 0.0, 10**6 + seed, rise=1.0, begins=begins, creeps=creeps)
        base, head, operation, _ = simulate(case)
        report = diff(base, head)
        found = [edge for edge in report.edges if edge.operation == operation and edge.significant]
        assert found
        assert found[0].credited_ms_ci is not None
        assert found[0].credited_ms_ci[0] > 0
        assert report.state == State.DRIFTING


def test_a_small_rise_near_the_wall_is_found_on_the_curve_of_its_capacity() -> None:
    """Latency runs away from a straight line there; on the curve a rise of 30 % shows in most pairs."""
    assert sum(database(0.3, seed).significant for seed in range(8)) >= 5
