"""Early warning, in the order in which growth shows itself.

    stage 1    latency creeps at peak load while off-peak is flat
    stage 2    every request costs more: time worked, calls
    stage 3    fewer versions are shipped

Source: design, sections 1 and 7.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl

from tracescope import schema
from tracescope.analysis.capacity.trends import LEAST_DRIFT, Trend, grows, trend_of
from tracescope.analysis.rollups.flows import weight
from tracescope.analysis.rollups.period import PeriodRollups
from tracescope.analysis.statistics.distributions import binomial_tail
from tracescope.schema import HOUR_NS

#: Part of hours of the week that count as peak, and as off-peak.
PEAK_PART: Final = 0.25
#: The stage when enough was seen, and nothing of it warns.
NONE: Final = "none"

#: Columns that are read, by table.
_READ: Final = {
    "path_hours": ("slot", "unit", "threshold", "path_id", "own_all_ns", "calls"),
    "entry_hours": ("slot", "unit", "threshold", "entry_id", "units", "clock_ns"),
    "service_hours": ("slot", "service", "version", "first_ns"),
}


@dataclass(frozen=True, slots=True)
class Sign:
    """One stage of early warning: whether it shows, what is known either way, and whether anything is."""

    stage: int
    shown: bool
    words: str
    known: bool = True


def early_signs(period: PeriodRollups) -> tuple[Sign, ...]:
    """All stages, of ``path_hours``, ``entry_hours`` and ``service_hours``, hourly."""
    return _creep(period), _cost(period), _velocity(period)


def stage_between(base: PeriodRollups, head: PeriodRollups) -> str | None:
    """The stage over the weeks of both periods; None when they are too few, or cut finer than hours."""
    if base.slot_ns != HOUR_NS or head.slot_ns != HOUR_NS:
        return None
    early, late = sorted((base, head), key=lambda period: period.end_ns)
    before = pl.col("slot") < late.start_ns // HOUR_NS  # what both hold counts once
    tables = {
        name: pl.concat(
            [early.tables[name].lazy().filter(before).select(used), late.tables[name].lazy().select(used)]
        ).collect()
        for name, used in _READ.items()
        if name in early.tables and name in late.tables
    }
    ids = ("path_id", "entry_id")
    tables["paths"] = pl.concat([side.tables["paths"].select(ids) for side in (base, head)]).unique()
    start = min(base.start_ns, head.start_ns)
    return stage_of(early_signs(PeriodRollups(start, late.end_ns, HOUR_NS, head.environment, tables)))


def stage_of(signs: Sequence[Sign]) -> str | None:
    """The last stage that shows; `NONE` when none does; None when too little was seen to say."""
    shown = [sign.stage for sign in signs if sign.shown]
    if shown:
        return str(max(shown))
    return NONE if any(sign.known for sign in signs if sign.stage < 3) else None


def _creep(period: PeriodRollups) -> Sign:
    """Stage 1: latency creeps at peak load while off-peak is flat; traffic between entries held still."""
    rows = period.tables["entry_hours"].filter(pl.col("unit") == schema.UNIT_REQUEST)
    if rows.is_empty():
        return Sign(1, False, "no requests were seen", known=False)
    cell = (pl.col("slot") % 168).alias("cell")
    by_cell = rows.group_by(cell).agg(pl.col("units").sum()).sort("units", "cell")["cell"].to_list()
    size = max(int(len(by_cell) * PEAK_PART), 1)
    found: list[Trend] = []
    for cells in (by_cell[-size:], by_cell[:size]):
        part = _by_week(rows.filter((pl.col("slot") % 168).is_in(cells)), period)
        found.append(_per_unit(part, "clock_ns"))
    peak, quiet = found
    if peak.pct_per_week is None or quiet.pct_per_week is None:
        return Sign(1, False, "too few weeks to see a creep", known=False)
    words = f"latency at peak hours {peak.pct_per_week:+.1f} % a week, off-peak {quiet.pct_per_week:+.1f} %"
    flat = quiet.pct_per_week < max(LEAST_DRIFT, peak.pct_per_week / 2)
    return Sign(1, grows(peak) and flat, words)


def _week(period: PeriodRollups) -> pl.Expr:
    """Whole weeks before the period's end, the last one 0."""
    return ((period.end_ns // period.slot_ns - 1 - pl.col("slot")) // (7 * 24)).alias("week")


def _by_week(rows: pl.DataFrame, period: PeriodRollups) -> pl.DataFrame:
    """``entry_id, week, units, clock_ns`` of ENTRY_HOURS rows, of whole weeks with enough hours."""
    last = period.end_ns // period.slot_ns
    return (
        rows.group_by("entry_id", _week(period))
        .agg((pl.col("units", "clock_ns") * weight()).sum(), pl.col("slot").n_unique().alias("hours"))
        .filter(pl.col("hours") * 4 >= pl.col("hours").max().over("entry_id"), pl.col("units") > 0)
        .filter((pl.col("week") + 1) * 7 * 24 <= last - period.start_ns // period.slot_ns + 1)
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


def _cost(period: PeriodRollups) -> Sign:
    """Stage 2: what a request costs in calls and in time worked, whether waited for or not."""
    requests = pl.col("unit") == schema.UNIT_REQUEST
    spent = (
        period.tables["path_hours"]
        .lazy()
        .filter(requests)
        .group_by("path_id", _week(period))
        .agg((pl.col("own_all_ns", "calls") * weight()).sum())
        .join(period.tables["paths"].lazy().select("path_id", "entry_id"), on="path_id")
        .group_by("entry_id", "week")
        .agg(pl.col("own_all_ns", "calls").sum())
        .collect()
    )
    weeks = _by_week(period.tables["entry_hours"].filter(requests), period)
    weeks = weeks.join(spent, on=["entry_id", "week"])
    told: list[str] = []
    shown = False
    for column, what in (("own_all_ns", "time worked"), ("calls", "calls")):
        trend = _per_unit(weeks, column)
        if trend.pct_per_week is None:
            continue
        shown |= grows(trend)
        told.append(f"{what} per request {trend.pct_per_week:+.1f} % a week")
    if not told:
        return Sign(2, False, "too few weeks to see what a request costs", known=False)
    return Sign(2, shown, ", ".join(told))


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
    weeks = (period.end_ns - begin) / 2 / (7 * 24 * HOUR_NS)
    before, after = float((at < middle).sum()), float((at >= middle).sum())
    words = f"{before / weeks:.1f} then {after / weeks:.1f} new versions a week"
    if before + after < 6:
        return Sign(3, False, f"{words}: too few to tell", known=False)
    return Sign(3, decrease_p_value(int(before), int(after)) < 0.05, words)


def decrease_p_value(before: int, after: int) -> float:
    """How likely two equal times give so many counts in the first, or more, by chance.

    Two Poisson counts of one rate: given their sum, the first is binomial with 1/2.
    """
    return binomial_tail(before, before + after)
