"""A few of the pairs that `benchmarks/calibration.py` runs by the thousand."""

from __future__ import annotations

import pytest

from benchmarks.calibration import LENGTHS, Case, measure, simulate
from tracescope.analysis.diff import diff


@pytest.mark.parametrize(("length", "correlation"), [("7d", 0.5), ("28d", 0.0), ("3h", 0.5), ("4d", 0.5)])
def test_identical_periods_rarely_raise_an_alarm(length: str, correlation: float) -> None:
    """Five pairs of each kind, the seeds fixed: at most one of 20 may be flagged, here none of five."""
    tally = measure(length, correlation, 5, rises=())
    assert tally.pairs == 5
    assert tally.insufficient == 0
    assert tally.alarms == 0
    assert tally.covered["ms"] >= 0.85 * tally.intervals["ms"] > 0


def test_an_edge_that_got_half_as_slow_again_is_found_in_a_month() -> None:
    """Five pairs with one edge +50 %: significant and first in each."""
    for seed in range(5):
        base, head, operation, _ = simulate(Case(LENGTHS["28d"], 0.5, seed, rise=0.5))
        first = diff(base, head).edges[0]
        assert first.operation == operation
        assert first.significant
        assert first.credited_ms_ci is not None
        assert first.credited_ms_ci[0] > 0


def test_two_days_raise_no_alarm_and_give_no_clean_bill() -> None:
    """Hours of one day are alike, days are not: what differs between two days and two others is no growth."""
    for seed in range(6):
        base, head, *_ = simulate(Case(LENGTHS["2d"], 0.5, seed))
        report = diff(base, head)
        assert not any(edge.significant for edge in report.edges)
        assert report.state == "insufficient data"
        assert any("too few to show how days differ" in note for note in report.notes)


def test_an_edge_that_takes_four_times_as_long_is_found_within_two_days() -> None:
    """More than days differ by themselves, whatever the two of them show."""
    for seed in range(6):
        base, head, operation, _ = simulate(Case(LENGTHS["2d"], 0.5, 10**6 + seed, rise=3.0))
        first = diff(base, head).edges[0]
        assert (first.operation, first.significant) == (operation, True)


def test_intervals_of_effects_that_were_picked_for_being_large_hold_the_truth() -> None:
    """Only the largest effects are split into load and growth: of those shown, about one in twenty misses."""
    held = shown = 0
    for seed in range(12):
        base, head, *_ = simulate(Case(LENGTHS["28d"], 0.5, seed))
        for edge in diff(base, head).edges:
            ci = edge.effects_ci.get("latency_growth")
            if ci is not None:
                shown, held = shown + 1, held + (ci[0] <= 0 <= ci[1])
    assert shown > 20
    assert held >= 0.87 * shown
