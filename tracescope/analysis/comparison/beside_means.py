"""Tests beside the test of means: by the ranks of calls, and on the logarithm of latency, load being known.

    ranks        three in a hundred requests call it, in 5 ms before and 228 ms now: their mean is anybody's
                 guess, and that nearly every call takes longer is not
    logarithm    near its wall a resource takes 20 ms one day and 200 the next, as load will have it; days
                 differ by factors, and most of each factor is the load of that day, which was counted
    since then   what began in the middle of HEAD is half of it noise to a mean; what comes after a quarter, a
                 half or three quarters of HEAD is compared with all that came before

The test of means decides unless one of these is surer after Bonferroni's correction for all that were tried.
Then its interval is the one that is told: the credited milliseconds times ``1 +- quantile / t``, so that it
leaves zero out exactly where the test does.  Milliseconds are never moved.

Source: Miettinen, "Estimability and estimation in case-referent studies", American Journal of Epidemiology
103, 1976 (intervals from a test); Cochran, "Analysis of covariance: its nature and uses", Biometrics 13,
1957; design, sections 6, 7 and 10.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tracescope.analysis.comparison.effects import Split
from tracescope.analysis.comparison.matched import Side, Unit
from tracescope.analysis.comparison.ranks import LEAST_SHIFT, counts_by_block, rank_test
from tracescope.analysis.report import DecidedBy
from tracescope.analysis.rollups.period import MS, PeriodRollups
from tracescope.analysis.statistics import blocks as blocking
from tracescope.analysis.statistics.distributions import student_cdf
from tracescope.analysis.statistics.significance import Spread, combine, jackknife

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

#: A rank test is of an edge itself where so much of the change of its calls' time is its own.
SELF_PART: Final = 0.5
#: An edge's latency is tested where so much of its change is credited to it.
FELT_PART: Final = 0.5
#: Latency is tested on its logarithm where blocks of either period differ by so much, as a deviation of the
#: logarithm: below that means say as much.
DIFFERS: Final = 0.2
#: ... and where every block holds so many visits: the logarithm of a mean of few lies below the truth's.
FEWEST_VISITS: Final = 30
FEWEST_BLOCKS: Final = 7
#: Parts of HEAD after which something may have begun, blocks that must come after it, and visits of each.
BEGINS: Final = (0.25, 0.375, 0.5, 0.625, 0.75, 0.875)
FEWEST_AFTER: Final = 3
VISITS_AFTER: Final = 8
#: Loads must be seen this many deviations from where they are compared, or less.
LOADS_APART: Final = 2.0
#: Capacities that latency at equal load is tried with, as multiples of the highest load; the last is a power
#: of load.
CAPACITIES: Final = (1.02, 1.05, 1.1, 1.2, 1.5, math.inf)


@dataclass(frozen=True, slots=True)
class Beside:
    """One more test of every edge ``(k,)``.

    ``value`` over ``spread.error`` is its t, ``least`` what value is not worth an alarm; ``tried`` where it
    says anything; ``name`` as it is told.  ``own_ms`` is what a logarithm is of, None for ranks.
    """

    name: DecidedBy
    value: Floats
    spread: Spread
    least: Floats
    tried: Bools
    own_ms: Floats | None = None

    def detectable(self, quantile: Floats) -> Floats:
        """The smallest rise in ms that would have shown ``(k,)``, `quantile` errors past `least`."""
        if self.own_ms is None:
            return np.full(len(self.value), np.inf)
        reach = np.expm1(np.minimum(self.least + quantile * self.spread.error, 10.0))
        return np.where(self.tried, self.own_ms * reach, np.inf)

    def p_value(self) -> Floats:
        """Of the hypothesis that the truth is no further from zero than `least`."""
        sure = self.tried & (self.spread.error > 0)
        t = (np.abs(self.value) - self.least) / np.where(sure, self.spread.error, 1.0)
        return np.where(sure, student_cdf(self.spread.dof, -t), 1.0)


def tests_beside(
    unit: Unit,
    split: Split,
    periods: Sequence[PeriodRollups],
    matched: blocking.Matched,
    floor: Floats,
    credited: Floats,
    latency: Bools,
) -> list[Beside]:
    """All that can be tried on the edges of one kind of unit.

    Parameters
    ----------
    unit, split, periods, matched
        What is compared.
    floor, credited, latency
        The smallest effect of each edge and what it is credited with, spikes included, in ms; whether that is
        mostly latency ``(k,)``.
    """
    if not matched.enough:
        return []
    own = split.by_edge(unit.base.paths["own_ns"].sum(axis=0)) / MS
    own_ms = own / max(float(unit.base.entries["units"].sum()), 1e-300)
    least = np.log1p(np.divide(floor, own_ms, out=np.zeros_like(own), where=own > 0))
    felt = latency & _felt(unit, split, credited)
    since = _since_then(unit, split, matched, least, latency)
    ranked = _by_rank(unit, split, periods, matched)
    tests = [*([] if ranked is None else [ranked]), *_on_the_logarithm(unit, split, matched, own_ms, least)]
    return [
        *(replace(each, tried=each.tried & felt) for each in tests),
        *(replace(each, tried=each.tried & (felt | ~latency)) for each in since),
    ]


def _felt(unit: Unit, split: Split, credited: Floats) -> Bools:
    """Whether the clock felt most of how an edge's latency changed ``(k,)``.

    Of parallel branches that changed places only the net is credited: the one that got slower did, and that
    is no finding.
    """
    before, after = (_per_visit(side, split, "own_ns") for side in (unit.base, unit.head))
    both = (before > 0) & (after > 0)
    change = np.log(np.where(both, after, 1.0) / np.where(both, before, 1.0))
    own = sum(
        split.by_edge(side.paths["own_ns"].sum(axis=0)) / MS / max(float(side.entries["units"].sum()), 1e-300)
        for side in (unit.base, unit.head)
    )
    whole = change * own / 2
    return (np.sign(whole) == np.sign(credited)) & (np.abs(credited) >= FELT_PART * np.abs(whole))


def _by_rank(
    unit: Unit, split: Split, periods: Sequence[PeriodRollups], matched: blocking.Matched
) -> Beside | None:
    """How often a call of head takes longer than one of base, where its time is mostly the edge's own."""
    if any(side.tables.get("path_sketches", pl.DataFrame()).is_empty() for side in periods):
        return None
    index = unit.paths.select(pl.col("path_id").alias("id"), pl.Series("index", split.edge))
    counts = [
        counts_by_block(side.tables["path_sketches"], unit.kind, "path_id", index, slots)
        for side, slots in zip(periods, (matched.base, matched.head), strict=True)
    ]
    ranks = rank_test(counts[0], counts[1], matched)
    change = _per_visit(unit.head, split, "own_ns") - _per_visit(unit.base, split, "own_ns")
    whole = _per_visit(unit.head, split, "inclusive_ns") - _per_visit(unit.base, split, "inclusive_ns")
    shift = ranks.slower - 0.5
    own = (np.sign(change) == np.sign(shift)) & (np.abs(change) >= SELF_PART * np.abs(whole))
    tried = own & (np.abs(shift) >= LEAST_SHIFT) & (ranks.shift != 0)
    error = np.divide(shift, ranks.shift, out=np.ones_like(shift), where=tried)
    return Beside(DecidedBy.RANKS, shift, Spread(error, ranks.dof), np.zeros(len(shift)), tried)


def _per_visit(side: Side, split: Split, name: str) -> Floats:
    """Time of a visit of each edge ``(k,)``, in ns."""
    visits = split.by_edge(side.paths["visits"].sum(axis=0))
    time = split.by_edge(side.paths[name].sum(axis=0))
    return np.divide(time, visits, out=np.zeros_like(time), where=visits > 0)


@dataclass(frozen=True, slots=True)
class _Course:
    """Of each block and edge ``(b, k)``: logarithms of the time of a visit and of the load of the callee.

    ``shape`` is what is known of the blocks, ``known`` where every block of an edge holds enough ``(k,)``.
    """

    time: Floats
    load: Floats
    shape: Floats
    known: Bools

    def free(self, values: Floats) -> Floats:
        """Values less their mean and `shape`."""
        design, _ = np.linalg.qr(np.column_stack([np.ones(len(values)), self.shape]))
        return values - design @ (design.T @ values)

    def spread(self, values: Floats) -> Spread:
        """Of the mean of values."""
        n = len(values)
        return jackknife(values.mean(axis=0), (values.sum(axis=0) - values) / (n - 1), self.shape)


def _on_the_logarithm(
    unit: Unit, split: Split, matched: blocking.Matched, own_ms: Floats, least: Floats
) -> list[Beside]:
    slots = matched.base, matched.head
    if min(one.blocks for one in slots) < FEWEST_BLOCKS:
        return []
    base, head = (_course(side, split, one) for side, one in zip((unit.base, unit.head), slots, strict=True))
    differs = np.max([one.free(one.time).std(axis=0) for one in (base, head)], axis=0) >= DIFFERS
    tried = base.known & head.known & differs
    change = head.time.mean(axis=0) - base.time.mean(axis=0)
    plain = Beside(
        DecidedBy.LOGARITHMS, change, combine(base.spread(base.time), head.spread(head.time)), least, tried
    )
    return [plain, _at_equal_load(base, head, plain)]


def _at_equal_load(base: _Course, head: _Course, plain: Beside) -> Beside:
    """The same with the load of each block known: one slope for both periods, and what it leaves.

    Latency runs away from a straight line as load nears what the resource can serve, so that the slope is of
    whichever of `CAPACITIES` leaves the least.
    """
    time = [one.free(one.time) for one in (base, head)]
    most = np.maximum(base.load.max(axis=0), head.load.max(axis=0))
    bent = [_bent(base, head, time, most, capacity) for capacity in CAPACITIES]
    best = np.argmin([one.left for one in bent], axis=0)
    power, slope, apart, width, left = (
        np.take_along_axis(np.array([getattr(one, name) for one in bent]), best[None], axis=0)[0]
        for name in _Bent._fields[:-1]
    )
    rest = [np.take_along_axis(np.array(sides), best[None, None], axis=0)[0] for sides in zip(
        *(one.rest for one in bent), strict=True
    )]  # fmt: skip
    spread = combine(*(one.spread(values) for one, values in zip((base, head), rest, strict=True)))
    dof = np.maximum(spread.dof - 2, 1.0)
    of_slope = np.divide(left, power, out=np.zeros_like(left), where=power > 0) / dof
    error = np.sqrt(spread.error**2 + of_slope * apart**2)
    tried = plain.tried & (slope > 0) & (np.abs(apart) <= LOADS_APART * width)
    return Beside(
        DecidedBy.AT_EQUAL_LOAD, plain.value - slope * apart, Spread(error, dof), plain.least, tried
    )


class _Bent(NamedTuple):
    """Latency given load on one curve, of each edge ``(k,)``.

    ``power`` is the sum of squares of load, ``slope`` that of latency on it, ``apart`` head's load less
    base's, ``width`` the deviation of load within the periods, ``left`` the sum of squares that it leaves;
    ``rest`` latency of both periods ``(b, k)`` less what load explains.
    """

    power: Floats
    slope: Floats
    apart: Floats
    width: Floats
    left: Floats
    rest: tuple[Floats, Floats]


def _bent(base: _Course, head: _Course, time: Sequence[Floats], most: Floats, capacity: float) -> _Bent:
    """With the load that latency of one server follows whose capacity is so many times the highest load."""
    sides = (base, head)
    if math.isinf(capacity):
        loads = [one.load for one in sides]
    else:
        loads = [-np.log1p(-np.exp(one.load - most) / capacity) for one in sides]
    free = [one.free(load) for one, load in zip(sides, loads, strict=True)]
    zero = np.zeros(len(most))
    power = sum(((load**2).sum(axis=0) for load in free), zero)
    both = sum(((took * load).sum(axis=0) for took, load in zip(time, free, strict=True)), zero)
    slope = np.maximum(np.divide(both, power, out=np.zeros_like(both), where=power > 0), 0.0)
    left = sum(
        (((took - slope * load) ** 2).sum(axis=0) for took, load in zip(time, free, strict=True)), zero
    )
    first, second = (
        one.time - slope * (load - load.mean(axis=0)) for one, load in zip(sides, loads, strict=True)
    )
    width = np.sqrt(power / max(len(base.time) + len(head.time) - 2, 1))
    return _Bent(power, slope, loads[1].mean(axis=0) - loads[0].mean(axis=0), width, left, (first, second))


def _course(side: Side, split: Split, slots: blocking.Slots) -> _Course:
    visits, own = split.by_edge(side.paths["visits"]), split.by_edge(side.paths["own_ns"])
    known = np.all((visits >= FEWEST_VISITS) & (own > 0), axis=0)
    names = split.edges.select("kind", "caller", "callee")
    resource = names.select(
        pl.coalesce("callee", "caller").rank("dense").cast(pl.Int64) - 1
    ).to_series().to_numpy()  # fmt: skip
    calls = np.zeros((len(visits), int(resource.max(initial=0)) + 1))
    np.add.at(calls.T, resource, split.by_edge(side.paths["calls"]).T)
    hours = np.bincount(slots.frame["block"].to_numpy(), slots.frame["weight"].to_numpy(), slots.blocks)
    load = (calls / np.maximum(hours, 1e-300)[:, None])[:, resource]
    safe = np.where(known, own, 1.0) / np.where(known, visits, 1.0)
    return _Course(np.log(safe), np.log(np.where(known, load, 1.0)), slots.shape, known)


def _since_then(
    unit: Unit, split: Split, matched: blocking.Matched, least: Floats, latency: Bools
) -> list[Beside]:
    """What comes after some part of HEAD against all before it, on the logarithm: what began inside HEAD.

    Of edges whose change is of latency the time of a visit, of others the calls of a unit of work.
    """
    if matched.head.blocks < FEWEST_BLOCKS or matched.base.blocks < FEWEST_BLOCKS:
        return []
    sides = (unit.base, matched.base), (unit.head, matched.head)
    series, known = zip(*(_series(side, split, latency) for side, _ in sides), strict=True)
    values = np.concatenate(series)
    tried = known[0] & known[1]
    widest = max(slots.season.shape[1] for _, slots in sides)
    season = np.concatenate(
        [np.pad(slots.season, ((0, 0), (0, widest - slots.season.shape[1]))) for _, slots in sides]
    )
    found: list[Beside] = []
    for part in BEGINS:
        first = matched.base.blocks + math.ceil(part * matched.head.blocks)
        if len(values) - first < FEWEST_AFTER:
            continue
        later = (np.arange(len(values)) >= first).astype(np.float64)
        design = np.column_stack([np.ones(len(values)), later, season])
        rest = values - season @ np.linalg.lstsq(design, values, rcond=None)[0][2:]
        before, after = rest[:first].mean(axis=0), rest[first:].mean(axis=0)
        spread = _of_difference(rest - np.where(later[:, None] > 0, after, before), first)
        found.append(Beside(DecidedBy.SINCE_THEN, after - before, spread, least, tried & (spread.error > 0)))
    return found


def _of_difference(noise: Floats, first: int) -> Spread:
    """Spread of the difference of the means of blocks from `first` on and of those before it.

    Few blocks come after it, and how these differ is known from all: `noise` ``(b, k)`` is around both means.
    """
    n = len(noise)
    whole = jackknife(
        noise.mean(axis=0), (noise.sum(axis=0) - noise) / (n - 1), np.empty((n, 0)), may_step=False
    )
    return Spread(whole.error * math.sqrt(n / first + n / (n - first)), np.maximum(whole.dof - 1, 1.0))


def _series(side: Side, split: Split, latency: Bools) -> tuple[Floats, Bools]:
    """Logarithm of what each edge's change is of, by block ``(b, k)``, and where every block holds enough."""
    visits, own, calls = (split.by_edge(side.paths[name]) for name in ("visits", "own_ns", "calls_visited"))
    units = side.entries["units"].sum(axis=1)[:, None]
    over, under = np.where(latency, own, calls), np.where(latency, visits, units)
    known = np.all((np.where(latency, visits, calls) >= VISITS_AFTER) & (over > 0), axis=0)
    return np.log(np.where(known, over, 1.0) / np.where(known, under, 1.0)), known
