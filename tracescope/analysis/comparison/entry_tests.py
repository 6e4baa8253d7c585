"""Test each entry by itself: the change of its clock, its interval, and the smallest detectable change.

An entry of two requests in a hundred hardly moves the mean over all, so its edges are measured against a
clock that it is no part of.  Here each entry is measured against its own, twice:

    means    base 5 ms, head 50 ms, with the error that blocks of time and the number of requests leave
    ranks    how often a request of head takes longer than one of base: nearly always

Ranks see what the mean of a few requests with long tails cannot.  What would have shown is told as well: the
rise of its mean that four of five such pairs of periods would have made certain.

Source: Mann & Whitney, "On a test of whether one of two random variables is stochastically larger than the
other", Annals of Mathematical Statistics 18, 1947; design, sections 6 and 10.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tracescope.analysis.comparison.edges import MIN_DOF, POWER
from tracescope.analysis.comparison.effects import Split
from tracescope.analysis.comparison.matched import Side, Unit
from tracescope.analysis.comparison.ranks import counts_by_block, rank_test
from tracescope.analysis.rollups.period import MS, PeriodRollups
from tracescope.analysis.statistics import blocks as blocking
from tracescope.analysis.statistics.distributions import student_cdf, student_quantile
from tracescope.analysis.statistics.significance import Spread, combine, jackknife, of_few_days

Floats = NDArray[np.float64]

#: A change of an entry's clock is worth an alarm of its own from this part of it on, or of the mean over all
#: where that is more: a health check's ripple is none.  What takes so many times as long is one in any case.
MATTERS_PART: Final = 0.05
MANY_TIMES: Final = 3.0
#: Where the mix inside an entry is more than this part of its change, ranks are of other requests.
MIXED_PART: Final = 0.1
CERTAIN: Final = 0.975


@dataclass(frozen=True, slots=True)
class EntryTests:
    """Tests of the entries of one kind of unit, and last of all of them at an unchanged mix ``(e + 1,)``.

    Attributes
    ----------
    rise_ms, reach_ms
        Change of each entry's mean clock but for the mix inside it, per unit of its own, and half of its 95 %
        interval; infinite where nothing is known.
    detectable_ms
        The smallest rise that would have shown.
    mean_p, rank_p
        One-sided p-values of a rise: of the mean by more than what matters, and of ranks; 1 where there is
        nothing to compare, or the mean rose by less.
    slower
        How often a unit of head takes longer than one of base; 0.5 where unknown.
    seen
        Units seen in base and in head ``(2, e)``.
    """

    rise_ms: Floats
    reach_ms: Floats
    detectable_ms: Floats
    mean_p: Floats
    rank_p: Floats
    slower: Floats
    seen: Floats


def entry_tests(
    unit: Unit, split: Split, matched: blocking.Matched, base: PeriodRollups, head: PeriodRollups
) -> EntryTests:
    """Test every entry of a kind of unit; `split` tells what inside it is mix."""
    sides, slots = (unit.base, unit.head), (matched.base, matched.head)
    units = [side.entries["units"].sum(axis=0) for side in sides]
    both = (units[0] > 0) & (units[1] > 0)
    parts = sum(each / max(float(each.sum()), 1e-300) for each in units) / 2 * both
    means, spreads = zip(
        *(_mean(*both, parts / max(float(parts.sum()), 1e-300)) for both in zip(sides, slots, strict=True)),
        strict=True,
    )
    mixed = np.divide(split.routed, parts, out=np.zeros_like(parts), where=parts > 0)
    rise, spread = means[1] - means[0] - np.append(mixed, split.routed.sum()), combine(*spreads)
    alike = np.abs(mixed) < MIXED_PART * np.abs(rise[:-1])
    known = np.isfinite(spread.error) & matched.enough & (means[0] > 0) & (means[1] > 0)
    dof = np.where(known, spread.dof, 1.0)
    error = np.where(known, spread.error, np.inf)
    reach = student_quantile(dof, CERTAIN) * error
    matters = np.minimum(MATTERS_PART * np.maximum(means[0], means[0][-1]), (MANY_TIMES - 1) * means[0])
    over = rise - matters
    t = np.divide(over, error, out=np.where(over > 0, np.inf, -np.inf), where=error > 0)
    names = unit.entries.select(pl.col("entry_id").alias("id"), pl.col("index").cast(pl.Int64))
    counted = [
        counts_by_block(side.tables["entry_sketches"], unit.kind, "entry_id", names, each)
        for side, each in zip((base, head), slots, strict=True)
    ]
    ranks = rank_test(counted[0], counted[1], matched)
    fair = np.maximum(dof, MIN_DOF)
    return EntryTests(
        rise,
        reach,
        (student_quantile(fair, CERTAIN) + student_quantile(fair, POWER)) * error,
        np.where(known, student_cdf(dof, -np.where(np.isnan(t), -np.inf, t)), 1.0),
        np.append(np.where(alike & (over[:-1] > 0), ranks.p_rise, 1.0), 1.0),
        np.append(ranks.slower, 0.5),
        np.array([np.append(side.seen, side.seen.sum()) for side in sides]),
    )


def _mean(side: Side, slots: blocking.Slots, parts: Floats) -> tuple[Floats, Spread]:
    """Mean clock of each entry in ms, and of all in these `parts`, and its spread; zero without units."""
    units, clock = side.entries["units"], side.entries["clock_ns"]

    def mean(clock: Floats, units: Floats) -> Floats:
        each = np.divide(clock, units, out=np.zeros_like(clock), where=units > 0) / MS
        return np.concatenate([each, (each @ parts)[..., None]], axis=-1)

    total_units, total_clock = units.sum(axis=0), clock.sum(axis=0)
    whole = mean(total_clock, total_units)
    without = mean(np.maximum(total_clock - clock, 0.0), np.maximum(total_units - units, 0.0))
    spread = jackknife(whole, without, slots.shape, whole)
    if slots.daily:
        spread = of_few_days(spread, whole, slots.blocks)
    seen = np.append(side.seen, side.seen.sum())
    return whole, Spread(spread.error, np.minimum(spread.dof, np.maximum(seen - 1, 1.0)))
