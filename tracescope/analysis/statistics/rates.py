"""How often something happens, by blocks of time, and whether that changed.

    rate = events / trials:   failed calls of all calls, retries of all calls, slow requests of all requests

A count has the error of its tosses, and days differ by more than tosses do: an outage takes a hundred
requests at once.  So the variance is that of the tosses times what the blocks show beyond it (never less than
once), a level that changed once within a period taken out, as what is looked for.  Of few events an exact
test has the last word: five failures in ten thousand requests, and none before, are not yet a change.

Source: design, section 6; McCullagh & Nelder, "Generalized Linear Models", 1989, 4.5 (overdispersion);
Przyborowski & Wilenski, "Homogeneity of results in testing samples from Poisson series", Biometrika 31, 1940
(the exact test, conditional on the events of both periods).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tracescope.analysis.statistics import blocks as blocking
from tracescope.analysis.statistics.distributions import incomplete_beta, student_cdf, student_quantile
from tracescope.analysis.statistics.significance import (
    DAYS_DIFFER,
    KNOWN_FROM,
    STEP_SIDE,
    UNKNOWN,
    Spread,
    combine,
    interval,
)

Floats = NDArray[np.float64]

#: Changes of a rate of failures that matter: by a fifth of it, and by one in ten thousand.
LEAST_CHANGE: Final = (0.2, 1e-4)
#: Events that a change of level within a period must rest on, and by how much it must fit better than none:
#: ``n * log(sum of squares)``, as in `tracescope.analysis.statistics.significance`.
STEP_EVENTS: Final = 16.0
CLEAR_STEP: Final = 22.0
#: Correlation from block to block of what blocks show beyond tosses: assumed of few blocks, and at least.
CORRELATED: Final = 0.4
ALONE_FROM: Final = 12
LEAST_CORRELATED: Final = 0.2
MOST_CORRELATED: Final = 0.8


@dataclass(frozen=True, slots=True)
class Counts:
    """Of one period: weighed events and trials by block ``(b, k)``, and the trials that were seen ``(k,)``.

    Trials that cannot differ by themselves count once: of ten calls of one request the request is seen.
    """

    events: Floats
    trials: Floats
    seen: Floats

    def rates(self) -> Floats:
        """Of the whole period ``(k,)``."""
        return _ratio(self.events.sum(axis=0), self.trials.sum(axis=0))


@dataclass(frozen=True, slots=True)
class Compared:
    """Rates of both periods ``(k,)``, the standard error of their difference, and its p-value."""

    base: Floats
    head: Floats
    spread: Spread
    p_value: Floats
    enough: bool

    def change_ci(self, k: int) -> tuple[float, float] | None:
        """95 % interval of the change of one rate."""
        if not self.enough:
            return None
        quantile = float(student_quantile(self.spread.dof[k], 0.975))
        return interval(float(self.head[k] - self.base[k]), float(self.spread.error[k]), quantile)


def _ratio(above: Floats, below: Floats) -> Floats:
    return np.divide(above, below, out=np.zeros_like(above), where=below > 0)


def compare_rates(
    base: Counts, head: Counts, matched: blocking.Matched, least: tuple[float, float], *, parts: bool = True
) -> Compared:
    """Compare the rates of two periods.

    Parameters
    ----------
    base, head
        What was counted.
    matched
        The blocks it was counted in.
    least
        Changes that matter: a part of the larger rate, and an absolute one; smaller ones are none.
    parts
        Events are a part of the trials; else their number for each trial may be any.
    """
    rates = base.rates(), head.rates()
    seen = np.maximum(base.seen, 1.0), np.maximum(head.seen, 1.0)
    events = rates[0] * base.seen, rates[1] * head.seen
    pooled = (events[0] + events[1]) / (seen[0] + seen[1])
    toss = pooled * np.clip(1 - pooled, 0.0, 1.0) if parts else pooled
    spreads: list[Spread] = []
    for side, rate, slots, n in zip((base, head), rates, (matched.base, matched.head), seen, strict=True):
        beyond, dof = _dispersion(side, rate, parts)
        variance = toss * beyond / n
        if slots.daily and slots.blocks < KNOWN_FROM:
            apart = np.abs(np.subtract.outer(np.arange(slots.blocks), np.arange(slots.blocks)))
            variance = variance + (DAYS_DIFFER * rate) ** 2 * float((UNKNOWN**apart).mean())
        spreads.append(Spread(np.sqrt(variance), dof))
    spread = combine(*spreads)
    size = np.abs(rates[1] - rates[0])
    floor = np.maximum(least[0] * np.maximum(*rates), least[1])
    t = np.divide(
        size - floor, spread.error, out=np.where(size > floor, np.inf, -np.inf), where=spread.error > 0
    )
    p = np.minimum(2 * student_cdf(spread.dof, -t), 1.0)
    p = np.where(np.isfinite(spread.error) & matched.enough, np.maximum(p, _exact(events, seen)), 1.0)
    return Compared(rates[0], rates[1], spread, p, matched.enough)


def _dispersion(side: Counts, rate: Floats, parts: bool) -> tuple[Floats, Floats]:
    """Variance of the whole's rate over that of tosses ``(k,)``, at least 1, and its degrees of freedom."""
    blocks = len(side.events)
    scale = side.seen / np.maximum(side.trials.sum(axis=0), 1e-300)
    trials = side.trials * scale
    off = (_ratio(side.events, side.trials) - rate) * np.sqrt(trials)  # the variance of a toss in each block
    toss = rate * np.clip(1 - rate, 0.0, 1.0) if parts else rate
    off = off / np.sqrt(np.where(toss > 0, toss, np.inf))
    power, dof = (off**2).sum(axis=0), np.full(len(rate), max(blocks - 1.0, 1.0))
    least, without = power, off  # what the step that fits best leaves
    for at in range(STEP_SIDE, blocks - STEP_SIDE + 1):
        column = np.where(np.arange(blocks)[:, None] >= at, 1.0, 0.0) * np.sqrt(trials)
        column = column - np.sqrt(trials) * _ratio((column * np.sqrt(trials)).sum(axis=0), trials.sum(axis=0))
        fit = _ratio((column * off).sum(axis=0), (column**2).sum(axis=0))
        rest = off - fit * column
        left = (rest**2).sum(axis=0)
        least, without = np.where(left < least, left, least), np.where(left < least, rest, without)
    gain = blocks * np.log(_ratio(power, np.maximum(least, 1e-12 * power) + 1e-300) + 1e-300)
    clear = (gain >= CLEAR_STEP) & (rate * side.seen >= STEP_EVENTS)
    off, power = np.where(clear, without, off), np.where(clear, least, power)
    dof = np.where(clear, max(blocks - 2.0, 1.0), dof)
    excess = np.maximum(power / dof - 1, 0.0)
    correlation = np.full(len(rate), CORRELATED)
    if blocks >= ALONE_FROM:
        shown = _ratio((off[1:] * off[:-1]).sum(axis=0), power) + 1 / blocks
        correlation = np.clip(shown, LEAST_CORRELATED, MOST_CORRELATED)
    return 1 + excess * (1 + correlation) / (1 - correlation), dof


def _exact(events: tuple[Floats, Floats], seen: tuple[Floats, Floats]) -> Floats:
    """Two-sided p-value of the split of all events over the periods, given how much each could show."""
    first, second = np.round(events[0]), np.round(events[1])
    share = seen[0] / (seen[0] + seen[1])
    below = _at_most(first, second, share)
    above = _at_most(second, first, 1 - share)
    return np.minimum(2 * np.minimum(below, above), 1.0)


def _at_most(count: Floats, rest: Floats, share: Floats) -> Floats:
    """Probability that of ``count + rest`` events `count` or fewer fall into a part `share` of the trials."""
    out = np.ones(len(count))
    some = rest > 0
    if some.any():
        out[some] = incomplete_beta(rest[some], count[some] + 1, 1 - share[some])
    return out
