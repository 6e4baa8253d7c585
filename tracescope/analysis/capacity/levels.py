"""Load levels: whether a period shows what the curve of other load levels expects.

Source: design, section 7.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from tracescope.analysis.capacity.load_model import DRAWS, Points, fit

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Judgement:
    """A period held against the curve of other load levels.

    Attributes
    ----------
    consistent
        Whether its latency lies in the interval of what load alone explains; None: refused.
    ratio
        Latency over the expected one.
    interval
        95 % interval of that ratio under load alone.
    words
        The answer as a sentence.
    """

    consistent: bool | None
    ratio: float
    interval: tuple[float, float]
    words: str


def judge(known: Points, new: Points, *, alpha: float = 0.05) -> Judgement:
    """Whether a period is what the curve of at least three other load levels expects at its load.

    Parameters
    ----------
    known
        Other periods, told apart by ``period``; each counts as one point, because what differs
        between periods besides load is the noise that matters.
    new
        The period in question, at whatever load.
    alpha
        Chance to call a period inconsistent that is not; shared by all edges judged together.
    """
    levels = [_one(known.select(known.period == number)) for number in np.unique(known.period)]
    levels.sort(key=lambda level: float(level.load[0]))
    distinct = 1 + sum(float(b.load[0]) > 1.1 * float(a.load[0]) for a, b in pairwise(levels))
    one = _one(new)
    if distinct < 3:
        words = f"not identifiable: a curve needs three other load levels, {distinct} were seen"
        return Judgement(None, math.nan, (0.0, math.inf), words)
    expected = _expected(Points.join(levels), one)
    middle = float(np.median(expected))
    low, high = (float(v) for v in np.quantile(expected - middle, [alpha / 2, 1 - alpha / 2]))
    off = math.log(float(one.latency_s[0])) - middle
    consistent = low <= off <= high
    bounds = math.exp(low), math.exp(min(high, 50.0))
    verdict = "consistent with load" if consistent else "not explained by load"
    upper = f"{bounds[1]:.2f}" if bounds[1] < 100 else "any"
    words = (
        f"{verdict}: {math.exp(off):.2f} times what {len(levels)} other load levels expect, "
        f"interval {bounds[0]:.2f} to {upper}"
    )
    return Judgement(consistent, math.exp(off), bounds, words)


def _expected(levels: Points, one: Points) -> Floats:
    """Log latencies that a new level at one's load may show ``(k,)``; of three levels or more.

    Half of what is expected beyond the loads seen is the shape of the curve, so a straight line of the
    logarithms stands beside the law, each with the weight that its fit deserves.
    """
    fitted = fit(levels, growth=False)
    d, n = fitted.draws, len(levels)
    rng = np.random.default_rng(1)
    own = math.sqrt(1 / float(one.calls[0]))
    pick = rng.integers(0, DRAWS, 10 * DRAWS)
    by_law = np.log(d["r0_s"]) + fitted.drawn((one.load[0] / d["capacity"])[:, None])[0][:, 0]
    by_law = by_law[pick] + rng.standard_t(fitted.dof, len(pick)) * max(fitted.noise, own)
    x, y = np.log(levels.load), np.log(levels.latency_s)
    x0 = float(x.mean())
    spread = float(((x - x0) ** 2).sum())
    slope = max(float((x - x0) @ (y - y.mean())) / spread, 0.0)
    rest = y - y.mean() - slope * (x - x0)
    error = max(math.sqrt(float(rest @ rest) / (n - 2)), own)
    far = math.log(float(one.load[0])) - x0
    by_line = y.mean() + slope * far
    wide = error * math.sqrt(1 + 1 / n + far**2 / spread)
    by_line = by_line + rng.standard_t(n - 2, len(pick)) * wide
    law = y - np.log(fitted.curve.latency_s(levels.load))
    squares = np.array([float(law @ law), float(rest @ rest)]) + n * own**2
    parts = squares ** (-n / 2)
    return np.where(rng.random(len(pick)) < parts[0] / parts.sum(), by_law, by_line)


def _one(points: Points) -> Points:
    """A period as one point."""
    calls = points.calls
    return Points(
        np.array([np.average(points.weeks, weights=calls)]),
        np.array([np.average(points.load, weights=calls)]),
        np.array([np.average(points.latency_s, weights=calls)]),
        np.array([calls.sum()]),
        points.period[:1],
    )
