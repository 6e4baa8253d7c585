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
