"""Rank statistics against scipy's, which take longer to import than a comparison takes."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from scipy import stats

from tracescope.analysis.capacity.early_warning import decrease_p_value
from tracescope.analysis.statistics.rank_statistics import median_slope, rank_correlation


@pytest.mark.parametrize("steps", [0, 5, 40])
@pytest.mark.parametrize("n", [3, 4, 12, 61])
def test_the_median_slope_and_its_interval_are_scipys(n: int, steps: int) -> None:
    """With ties (values in so many steps) and without, at both levels in use."""
    for seed in range(20):
        rng = np.random.default_rng(seed)
        x, y = np.arange(n) + rng.integers(0, 2, n) * 0.5, rng.standard_normal(n)
        y = np.round(y * steps) / steps if steps else y
        for level in (0.68, 0.95):
            expected = stats.theilslopes(y, x, alpha=level)
            found = median_slope(y, x, level)
            assert found.estimate == pytest.approx(expected[0], abs=1e-12)
            assert (found.low, found.high) == pytest.approx((expected[2], expected[3]), abs=1e-12)


@pytest.mark.parametrize("steps", [0, 1, 6])
@pytest.mark.parametrize("n", [48, 333, 1200])
def test_the_rank_correlation_and_its_chance_are_scipys(n: int, steps: int) -> None:
    """With ties in both and without, from none to strong correlation either way."""
    for seed, together in enumerate((0.0, 0.1, -0.4, 0.9)):
        rng = np.random.default_rng(seed)
        x = rng.standard_normal(n)
        y = together * x + rng.standard_normal(n)
        if steps:
            x, y = np.round(x * steps), np.round(y * steps)
        expected = stats.kendalltau(x, y, method="asymptotic")
        found = rank_correlation(x, y)
        assert found.tau == pytest.approx(expected.statistic, abs=1e-12)
        assert found.p_value == pytest.approx(expected.pvalue, rel=1e-9)


def test_what_never_changes_goes_along_with_nothing() -> None:
    """Scipy answers NaN for a constant; an answer must not."""
    found = rank_correlation(np.ones(50), np.arange(50.0))
    assert (found.tau, found.p_value) == (0.0, 1.0)


def test_fewer_versions_are_as_unlikely_as_scipys_binomial_test_says() -> None:
    """What `outlook` takes for the chance of so many versions in the first of two equal halves."""
    for before, after in ((0, 6), (6, 0), (5, 2), (20, 9)):
        expected = stats.binomtest(before, before + after, alternative="greater").pvalue
        assert decrease_p_value(before, after) == pytest.approx(expected, rel=1e-12)


def test_comparing_imports_no_scipy_stats() -> None:
    """Its import alone takes a third of a small comparison."""
    code = (
        "import sys; import tracescope.analysis.diff, tracescope.analysis.capacity.forecast_verdict; "
        "from tracescope.analysis.capacity.split import load_trend; import numpy as np; "
        "load_trend(np.arange(4.0), np.arange(1.0, 5.0)); print('scipy.stats' in sys.modules)"
    )
    made = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert made.stdout == "False\n"


def test_two_points_agree_with_the_probability_of_one_pair() -> None:
    """Their only pair has variance 1: the normal probability of one standard error, either way."""
    for y in ([1.0, 2.0], [2.0, 1.0]):
        found = rank_correlation(np.array([0.0, 1.0]), np.array(y))
        assert abs(found.tau) == pytest.approx(1.0)
        assert found.p_value == pytest.approx(2 * stats.norm.sf(1.0))
