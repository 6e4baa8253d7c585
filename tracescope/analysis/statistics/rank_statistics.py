"""Statistics of ranks and of medians: what outliers and odd scales cannot bend.

Importing scipy.stats takes longer than comparing two periods, and these are a few lines each; the tests
hold them against it.

Source: Theil 1950 and Sen 1968 (slopes of medians, their interval); Kendall, "Rank Correlation Methods",
1970, chapters 3 and 5 (tau-b, its variance with ties).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tracescope.analysis.statistics.distributions import normal_quantile

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Slope:
    """Median slope of all pairs of points, and its interval."""

    estimate: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Correlation:
    """Kendall's tau-b and its p-value (two-sided, large samples)."""

    tau: float
    p_value: float


def _ties(values: Floats) -> Ints:
    """How often each distinct value occurs."""
    return np.unique(values, return_counts=True)[1].astype(np.int64)


def median_slope(y: Floats, x: Floats, level: float = 0.95) -> Slope:
    """Slope of `y` over `x`, both ``(n,)``, as the median over all pairs of points (Theil, Sen).

    Parameters
    ----------
    y, x
        At least two different `x`.
    level
        Of the interval.
    """
    first, second = np.triu_indices(len(x), 1)
    across = x[second] - x[first]
    apart = across != 0
    slopes = np.sort((y[second] - y[first])[apart] / across[apart])
    n, pairs = len(y), len(slopes)
    tied = sum(float((k * (k - 1) * (2 * k + 5)).sum()) for k in (_ties(x), _ties(y)))
    sigma = math.sqrt((n * (n - 1) * (2 * n + 5) - tied) / 18)
    reach = normal_quantile(0.5 + level / 2) * sigma
    low, high = max(round((pairs - reach) / 2) - 1, 0), min(round((pairs + reach) / 2), pairs - 1)
    return Slope(float(np.median(slopes)), float(slopes[low]), float(slopes[high]))


def _discordant(x: Floats, y: Floats) -> int:
    """Pairs in which one of the two rises and the other falls; n log n, bit by bit of the ranks.

    With rows in the order of `x`, these are the inversions of the ranks of `y`.  Two ranks differ first
    in some bit: among ranks alike above it, an inversion is a 1 that comes before a 0.
    """
    ranks = np.unique(y, return_inverse=True)[1][np.lexsort((y, x))].astype(np.int64)
    found = 0
    for bit in reversed(range(int(ranks.max()).bit_length())):
        above = ranks >> (bit + 1)
        order = np.argsort(above, kind="stable")
        ones = (ranks[order] >> bit) & 1
        before = np.cumsum(ones) - ones
        start = np.searchsorted(above[order], above[order])  # where each row's group begins
        found += int(((before - before[start]) * (1 - ones)).sum())
    return found


def rank_correlation(x: Floats, y: Floats) -> Correlation:
    """Kendall's tau-b of ``(n,)`` pairs; no correlation where either never changes."""
    n = len(x)
    pairs = n * (n - 1) // 2
    by_x, by_y, by_both = _ties(x), _ties(y), np.unique(np.stack([x, y]), axis=1, return_counts=True)[1]
    tied_x, tied_y, tied = (int((k * (k - 1)).sum()) // 2 for k in (by_x, by_y, by_both))
    if pairs in (tied_x, tied_y):
        return Correlation(0.0, 1.0)
    score = pairs - tied_x - tied_y + tied - 2 * _discordant(x, y)
    tau = score / math.sqrt(pairs - tied_x) / math.sqrt(pairs - tied_y)
    often = [float((k * (k - 1) * (2 * k + 5)).sum()) for k in (by_x, by_y)]
    thrice = [float((k * (k - 1) * (k - 2)).sum()) for k in (by_x, by_y)]
    variance = (n * (n - 1) * (2 * n + 5) - sum(often)) / 18 + 2 * tied_x * tied_y / (n * (n - 1))
    variance += thrice[0] * thrice[1] / (9 * n * (n - 1) * (n - 2)) if n > 2 else 0.0
    return Correlation(tau, math.erfc(abs(score) / math.sqrt(2 * variance)))
