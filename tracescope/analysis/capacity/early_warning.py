"""Early warning, in the order in which growth shows itself.

    stage 1    latency creeps at peak load while off-peak is flat: of requests, and of messages in queues
    stage 2    every request costs more instances
    stage 3    fewer versions are shipped

How many of them show is told beside the last one: all three together are no early warning any more.  Waiting
is no cost: a request that waits longer shows in stage 1 already.

Source: design, sections 1, 7 and 10.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tracescope import schema
from tracescope.analysis.capacity.trends import (
    ALPHA,
    LEAST_DRIFT,
    Trend,
    adjusted,
    grows,
    live_instances,
    p_value,
    trend_of,
    weekly,
)
from tracescope.analysis.report import Sign
from tracescope.analysis.rollups.flows import weight
from tracescope.analysis.rollups.period import PeriodRollups
from tracescope.analysis.statistics.distributions import binomial_tail
from tracescope.schema import HOUR_NS

Floats = NDArray[np.float64]

#: Part of hours of the week that count as peak, and as off-peak.
PEAK_PART: Final = 0.25
#: The stage when enough was seen, and nothing of it warns.
NONE: Final = "none"

#: Columns that are read, by table.
_READ: Final = {
    "entry_hours": ("slot", "unit", "threshold", "entry_id", "units", "clock_ns"),
    "service_hours": ("slot", "service", "version", "instance", "spans", "first_ns", "last_ns"),
}
#: What waits: requests, and messages in queues.
_WAITING: Final = {schema.UNIT_REQUEST: "requests", schema.UNIT_MESSAGE: "messages"}
WEEK_HOURS: Final = 7 * 24


def early_signs(period: PeriodRollups) -> tuple[Sign, ...]:
    """All stages, of ``entry_hours`` and ``service_hours``, hourly."""
    peak = {kind: _at_peak(period, kind) for kind in _WAITING}
    cost = _per_request(period)
    tested = adjusted([*(each[0] for each in peak.values()), cost])
    for number, kind in enumerate(_WAITING):
        peak[kind] = tested[number], peak[kind][1]
    return _creep(peak), _cost(tested[-1]), _velocity(period)


def signs_between(base: PeriodRollups, head: PeriodRollups) -> tuple[Sign, ...]:
    """All stages over the weeks of both periods; none where they are cut finer than hours."""
    if base.slot_ns != HOUR_NS or head.slot_ns != HOUR_NS:
        return ()
    early, late = sorted((base, head), key=lambda period: period.end_ns)
    before = pl.col("slot") < late.start_ns // HOUR_NS  # what both hold counts once
    tables = {
        name: pl.concat(
            [early.tables[name].lazy().filter(before).select(used), late.tables[name].lazy().select(used)]
        ).collect()
        for name, used in _READ.items()
        if name in early.tables and name in late.tables
    }
    start = min(base.start_ns, head.start_ns)
    return early_signs(PeriodRollups(start, late.end_ns, HOUR_NS, head.environment, tables))


def stage_of(signs: Sequence[Sign]) -> str | None:
    """The last stage that shows; `NONE` when none does; None when too little was seen to say."""
    shown = [sign.stage for sign in signs if sign.shown]
    if shown:
        return str(max(shown))
    return NONE if any(sign.known for sign in signs if sign.stage < 3) else None


def _at_peak(period: PeriodRollups, kind: int) -> tuple[Trend, Trend]:
    """Trend of the clock of one kind of unit in the busiest and in the quietest hours of the week.

    The traffic between entries is held still.
    """
    rows = period.tables["entry_hours"].filter(pl.col("unit") == kind)
    if rows.is_empty():
        return Trend(None, None), Trend(None, None)
    cell = (pl.col("slot") % WEEK_HOURS).alias("cell")
    by_cell = rows.group_by(cell).agg(pl.col("units").sum()).sort("units", "cell")["cell"].to_list()
    size = max(int(len(by_cell) * PEAK_PART), 1)
    peak, quiet = (
        _per_unit(_by_week(rows.filter((pl.col("slot") % WEEK_HOURS).is_in(cells)), period), "clock_ns")
        for cells in (by_cell[-size:], by_cell[:size])
    )
    return peak, quiet


def _creep(trends: Mapping[int, tuple[Trend, Trend]]) -> Sign:
    """Stage 1: it takes longer at peak while off-peak is flat."""
    told: list[str] = []
    shown = False
    for kind, (peak, quiet) in trends.items():
        if peak.pct_per_week is None or quiet.pct_per_week is None:
            continue
        flat = quiet.pct_per_week < max(LEAST_DRIFT, peak.pct_per_week / 2)
        shown |= grows(peak) and flat
        told.append(
            f"{_WAITING[kind]} at peak hours {peak.pct_per_week:+.1f} % a week, "
            f"off-peak {quiet.pct_per_week:+.1f} %"
        )
    if not told:
        return Sign(1, False, "too few weeks to see a creep", known=False)
    return Sign(1, shown, "latency of " + "; of ".join(told))


def _week(period: PeriodRollups) -> pl.Expr:
    """Whole weeks before the period's end, the last one 0."""
    return ((period.end_ns // period.slot_ns - 1 - pl.col("slot")) // WEEK_HOURS).alias("week")


def _by_week(rows: pl.DataFrame, period: PeriodRollups) -> pl.DataFrame:
    """``entry_id, week, units, clock_ns`` of ENTRY_HOURS rows, of whole weeks with enough hours."""
    last = period.end_ns // period.slot_ns
    return (
        rows.group_by("entry_id", _week(period))
        .agg((pl.col("units", "clock_ns") * weight()).sum(), pl.col("slot").n_unique().alias("hours"))
        .filter(pl.col("hours") * 4 >= pl.col("hours").max().over("entry_id"), pl.col("units") > 0)
        .filter((pl.col("week") + 1) * WEEK_HOURS <= last - period.start_ns // period.slot_ns + 1)
    )


def _per_unit(weeks: pl.DataFrame, column: str) -> Trend:
    """Trend of a column for one unit of work, the traffic between entries held still.

    Parameters
    ----------
    weeks
        ``entry_id, week, units`` and `column`.
    """
    series = (
        weeks.filter(pl.col(column) > 0)
        .with_columns(pl.col("units").sum().over("entry_id").alias("fixed"))
        .group_by("week")
        .agg((pl.col("fixed") * pl.col(column) / pl.col("units")).sum().alias("total"), pl.col("fixed").sum())
        .sort("week", descending=True)
    )
    at = -series["week"].to_numpy().astype(np.float64) - 0.5
    return trend_of(at, (series["total"] / series["fixed"]).to_numpy())


def _per_request(period: PeriodRollups) -> Trend:
    """Trend of live instances of all services for one request."""
    rows = period.tables.get("service_hours", schema.empty(schema.SERVICE_HOURS))
    named = rows.filter(pl.col("instance") != "")
    requests = period.tables["entry_hours"].filter(pl.col("unit") == schema.UNIT_REQUEST)
    if named.is_empty() or requests.is_empty():
        return Trend(None, None)
    begin = max(period.start_ns, int(requests["slot"].min()) * period.slot_ns)  # pyright: ignore[reportArgumentType, reportOperatorIssue]
    at, units = weekly(requests, period, "units")
    fleets = [live_instances(part, begin, period.end_ns) for part in named.partition_by("service")]
    live = np.sum([instances for _, instances in fleets], axis=0)
    common, a, b = np.intersect1d(fleets[0][0], at, return_indices=True)
    known = live[a] > 0
    each = (live[a] / units[b])[known]
    trend = trend_of(common[known], each)
    return trend if trend.pct_per_week is None else replace(trend, q_value=_rose(np.log(each)))


def _rose(values: Floats) -> float:
    """One-sided p-value of the second half of weekly values lying above the first.

    Fleets grow in steps, which a line through the weeks hardly sees (Welch's t; instances are counted, so
    weeks do not take after each other).
    """
    first, second = values[: len(values) // 2], values[len(values) // 2 :]
    if len(first) < 2:
        return 1.0
    parts = [float(np.var(half, ddof=1)) / len(half) for half in (first, second)]
    error = math.sqrt(max(sum(parts), 1e-12))
    powers = sum(part**2 / (len(half) - 1) for part, half in zip(parts, (first, second), strict=True))
    return p_value(
        float(second.mean() - first.mean()), error, max(sum(parts) ** 2 / max(powers, 1e-300), 1.0)
    )


def _cost(trend: Trend) -> Sign:
    """Stage 2: more instances for every request, needed or not."""
    if trend.pct_per_week is None:
        return Sign(2, False, "too few weeks with service.instance.id: cost is not known", known=False)
    return Sign(2, grows(trend), f"instances per request {trend.pct_per_week:+.1f} % a week")


def _velocity(period: PeriodRollups) -> Sign:
    """Stage 3: new versions a week, in the first and the second half of what was seen."""
    rows = period.tables.get("service_hours", schema.empty(schema.SERVICE_HOURS)).filter(
        pl.col("version") != ""
    )
    if rows.is_empty():
        return Sign(3, False, "no service.version in the traces: velocity is not known", known=False)
    first = rows.group_by("service", "version").agg(pl.col("first_ns").min())
    begin = int(rows["first_ns"].min())  # pyright: ignore[reportArgumentType]
    started = first.group_by("service").agg(pl.col("first_ns").min().alias("born"))
    shipped = first.join(started, on="service").filter(pl.col("first_ns") > pl.col("born"))
    at = shipped["first_ns"].to_numpy()
    middle = (begin + period.end_ns) / 2
    weeks = (period.end_ns - begin) / 2 / (WEEK_HOURS * HOUR_NS)
    before, after = float((at < middle).sum()), float((at >= middle).sum())
    words = f"{before / weeks:.1f} then {after / weeks:.1f} new versions a week"
    if before + after < 6:
        return Sign(3, False, f"{words}: too few to tell", known=False)
    return Sign(3, decrease_p_value(int(before), int(after)) < ALPHA, words)


def decrease_p_value(before: int, after: int) -> float:
    """P-value of a decrease between two counts over equal times (one-sided, exact).

    Two Poisson counts of one rate: given their sum, the first is binomial with 1/2.
    """
    return binomial_tail(before, before + after)
