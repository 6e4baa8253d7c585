"""Pre-aggregate hours that share block and weight, so that a comparison sums them once.

    hours    |0 1 2 ...         23|24 25 ...       47|        rows of a call path
    alike    |--------- 0 --------|--- 24 ---|- 38 --|        a row each, under the first of their hours

A comparison weighs every hour, adds weighted hours up to blocks of time, and whole days to weeks before
its end.  Hours of one such day, with one weight and in one block, may as well be one row: every sum that
is made of these rows is the sum of the hours.  Mostly all hours of a day count alike, which leaves a row
in twenty.  What needs the hours themselves (load, contention, exemplars) goes on reading them.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import polars as pl

from tracescope import schema
from tracescope.analysis.rollups.period import PeriodRollups
from tracescope.analysis.statistics import blocks as blocking

#: Measures of PATH_HOURS that are added up, and the exemplars' that are compared.
SUMS: Final = (
    "calls", "calls_visited", "visits", "own_ns", "inclusive_ns", "own_all_ns", "busy_ns", "child_sum_ns",
    "child_union_ns", "detached_calls", "errors", "failed_ns", "retries", "calls_in_failed",
    "own_in_failed_ns", "units",
)  # fmt: skip
EXTREMES: Final = ("slow_ns", "typical_hash")
#: Rows of so many hours must count alike on average for adding them up to be worth it: those that were read
#: by days are added up already.
WORTH: Final = 2.0


def condensed(
    base: PeriodRollups, head: PeriodRollups, matched: blocking.Matched
) -> tuple[PeriodRollups, PeriodRollups]:
    """Both periods with ``path_hours`` aggregated over hours that share block and weight.

    Rows keep the columns ``SUMS``, the longest call and the smallest hash of a trace.  Periods cut finer
    than into hours stay as they are.
    """
    if base.slot_ns != schema.HOUR_NS or head.slot_ns != schema.HOUR_NS:
        return base, head
    later = later_of(base, head)
    return _condensed(base, matched.base, later), _condensed(head, matched.head, later)


def later_of(base: PeriodRollups, head: PeriodRollups) -> PeriodRollups:
    """The period that ends last, from whose end days are counted."""
    return max(base, head, key=lambda period: period.end_ns)


def _condensed(period: PeriodRollups, slots: blocking.Slots, later: PeriodRollups) -> PeriodRollups:
    every = representative_hours(period, slots, later)
    hours = period.tables["path_hours"]
    if hours["slot"].n_unique() < WORTH * every["first"].n_unique():
        return period
    held = set(hours.columns)
    keys = [name for name in schema.KEYS["path_hours"] if name != "slot"]
    rows = (
        hours.lazy()
        .join(every.lazy(), on="slot")
        .group_by("first", *keys)
        .agg(
            *[pl.col(name).sum() for name in SUMS if name in held],
            *[_extreme(name) for name in EXTREMES if name in held],
        )
        .rename({"first": "slot"})
        .collect(engine="streaming")
        .sort("slot", *keys)  # threads leave them in any order, and sums of floats depend on it
    )
    return replace(period, tables={**period.tables, "path_hours": rows})


def _extreme(name: str) -> pl.Expr:
    if name == "slow_ns":
        return pl.col(name).max()
    return pl.when(pl.col(name) > 0).then(pl.col(name)).min().fill_null(0)


def representative_hours(period: PeriodRollups, slots: blocking.Slots, later: PeriodRollups) -> pl.DataFrame:
    """``slot, first``: every hour of a period, and the first of those that count as it does.

    Days are counted back from the end of the later period, as weeks are; hours that lie in the later
    period are kept apart, because what both periods hold counts once there.
    """
    hours = pl.int_range(period.start_ns // schema.HOUR_NS, -(-period.end_ns // schema.HOUR_NS), eager=True)
    day = (later.end_ns // schema.HOUR_NS - 1 - pl.col("slot")) // 24
    return (
        pl.DataFrame({"slot": hours})
        .join(slots.frame, on="slot", how="left", maintain_order="left")
        .with_columns(day.alias("day"), (pl.col("slot") < later.start_ns // schema.HOUR_NS).alias("before"))
        .select("slot", pl.col("slot").min().over("day", "before", "block", "weight").alias("first"))
    )
