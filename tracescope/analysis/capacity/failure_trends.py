"""Failures that grow: how often units of an entry failed in the weeks seen, and where that is going.

    failed     0.1 %   0.1 %   0.2 %   1.9 %   2.4 %   2.3 %        weeks
               `----- earlier -----'   `------ later -----'         the test of a diff, by blocks of time

Latency says nothing of it: a request that fails early is a quick one.  What was seen is cut in half, and
where its last quarter begins, and the two parts compared as a diff compares them; the surer cut decides, paid
for twice (Bonferroni).  An entry whose failures grow is never growth-stable.  The trend is told where every
week holds failures enough for one; of few there is none, and how often they came before and now is told.

Source: design, sections 6 and 7.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tracescope.analysis.capacity.trends import ALPHA, Trend, trend_of, weekly
from tracescope.analysis.rollups.flows import weight
from tracescope.analysis.rollups.period import PeriodRollups
from tracescope.analysis.statistics import blocks as blocking
from tracescope.analysis.statistics.rates import LEAST_CHANGE, Counts, compare_rates
from tracescope.analysis.statistics.significance import benjamini_hochberg

Floats = NDArray[np.float64]

#: Parts of what was seen after which failures may have become more.
CUTS: Final = (0.5, 0.75)
#: Failures that each week must hold for a trend of their rate.
FEWEST_A_WEEK: Final = 5


@dataclass(frozen=True, slots=True)
class FailureTrend:
    """How often units of one entry fail.

    Attributes
    ----------
    before, now
        Part of them that failed before and after the cut that tells most, 0 to 1.
    change_ci
        95 % interval of ``now - before``; None where there is too little.
    trend
        Growth of the rate in per cent a week; without a number where a week holds too few failures for one.
    q_value
        How likely chance alone raises the rate as much, adjusted for all entries.
    grows
        Whether it rose.
    """

    before: float
    now: float
    change_ci: tuple[float, float] | None
    trend: Trend
    q_value: float
    grows: bool

    def words(self, unit: str) -> str:
        """As evidence: how many failed before and now, and the trend where there is one."""
        told = f"{100 * self.before:.2g} % → {100 * self.now:.2g} % of its {unit}s fail"
        growth = self.trend.pct_per_week
        return told if growth is None else f"{told}, {growth:+.0f} % a week"


def failure_trends(period: PeriodRollups, hours: pl.DataFrame) -> dict[tuple[int, int], FailureTrend]:
    """Trends of failures of every entry that has any, by unit and ``entry_id``.

    Parameters
    ----------
    period
        All that was seen until now, hourly.
    hours
        Its ``entry_hours``.
    """
    failed = hours.filter(pl.col("errors") > 0).select("unit", "entry_id").unique().sort("unit", "entry_id")
    keys = failed.rows()
    if not keys:
        return {}
    rows = hours.join(failed.with_row_index("index"), on=["unit", "entry_id"])
    every = hours.group_by("slot").agg(pl.col("units").sum()).sort("slot")
    tested = [_cut(rows, every, period, part, len(keys)) for part in CUTS]
    best = np.argmin([one.p_value for one in tested], axis=0)
    p = np.minimum(len(CUTS) * np.min([one.p_value for one in tested], axis=0), 1.0)
    q = benjamini_hochberg(p)
    parts = rows.partition_by("index", as_dict=True)
    return {
        key: FailureTrend(
            float(tested[best[k]].before[k]),
            float(tested[best[k]].now[k]),
            tested[best[k]].change_ci[k],
            _trend(parts[(k,)], period),
            float(q[k]),
            bool(q[k] <= ALPHA),
        )
        for k, key in enumerate(keys)
    }


@dataclass(frozen=True, slots=True)
class _Cut:
    """Rates before and after a cut ``(k,)``, and one-sided p-values of a rise."""

    before: Floats
    now: Floats
    change_ci: Sequence[tuple[float, float] | None]
    p_value: Floats


def _cut(rows: pl.DataFrame, every: pl.DataFrame, period: PeriodRollups, part: float, entries: int) -> _Cut:
    """Compare what comes after a part of what was seen with what came before."""
    slots, units = every["slot"].to_numpy().astype(np.int64), every["units"].to_numpy().astype(np.float64)
    first, end = int(slots[0]), period.end_ns // period.slot_ns
    middle = first + round(part * (end - first))
    bounds = (first, middle), (middle, end)
    extents = [
        blocking.Extent(
            slots[inside], units[inside], since * period.slot_ns, until * period.slot_ns, period.slot_ns
        )
        for since, until in bounds
        for inside in ((slots >= since) & (slots < until),)
    ]
    matched = blocking.match(extents[0], extents[1], "UTC")
    sides = [_counts(rows, side, entries) for side in (matched.base, matched.head)]
    if not matched.enough:  # one of them holds no days to tell change from chance by
        return _Cut(sides[0].rates(), sides[1].rates(), [None] * entries, np.ones(entries))
    found = compare_rates(sides[0], sides[1], matched, LEAST_CHANGE)
    rose = found.head > found.base
    return _Cut(
        found.base,
        found.head,
        [found.change_ci(k) for k in range(entries)],
        np.where(rose, found.p_value / 2, 1.0),
    )


def _counts(rows: pl.DataFrame, slots: blocking.Slots, entries: int) -> Counts:
    """Failed units and all units of every entry, by block."""
    joined = rows.join(slots.frame.rename({"weight": "of_hour"}), on="slot")
    joined = joined.with_columns((weight() * pl.col("of_hour")).alias("factor"))
    shape = max(slots.blocks, 1), entries
    at = joined["block"].to_numpy().astype(np.int64) * entries + joined["index"].to_numpy().astype(np.int64)

    def summed(name: str, by: str | None = "factor") -> Floats:
        values = joined[name].to_numpy().astype(np.float64)
        values = values if by is None else values * joined[by].to_numpy()
        return np.bincount(at, values, shape[0] * shape[1]).astype(np.float64).reshape(shape)

    return Counts(summed("errors"), summed("units"), summed("units", None).sum(axis=0))


def _trend(rows: pl.DataFrame, period: PeriodRollups) -> Trend:
    """Growth of the rate of failures a week; none where a week holds too few of them."""
    nothing = Trend(None, None)
    per_week = 7 * 24
    last = period.end_ns // period.slot_ns
    counted = rows.group_by((last - 1 - pl.col("slot")) // per_week).agg(pl.col("errors").sum())
    at, errors = weekly(rows, period, "errors")
    units_at, units = weekly(rows, period, "units")
    if len(at) < len(units_at) or int(counted["errors"].min() or 0) < FEWEST_A_WEEK:  # type: ignore[operator]
        return nothing
    common, a, b = np.intersect1d(at, units_at, return_indices=True)
    return replace(trend_of(common, errors[a] / units[b]), q_value=None)
