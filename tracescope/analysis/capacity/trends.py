"""Trends by the week: robust growth of anything that is counted, with its 80 % interval.

Source: design, section 7; the slope is Theil's and Sen's (`tracescope.analysis.statistics.rank_statistics`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tracescope.analysis.capacity.arrivals import WEEK_NS
from tracescope.analysis.capacity.split import load_trend
from tracescope.analysis.rollups.flows import weight
from tracescope.analysis.rollups.instances import Lives
from tracescope.analysis.rollups.period import PeriodRollups
from tracescope.analysis.statistics.distributions import student_cdf, student_quantile
from tracescope.analysis.statistics.significance import benjamini_hochberg
from tracescope.schema import HOUR_NS

Floats = NDArray[np.float64]

LEVEL: Final = 0.8
#: False discoveries among the trends that are called growth.
ALPHA: Final = 0.05
#: Growth in per cent a week under which nothing is called a drift.
LEAST_DRIFT: Final = 0.5
#: ... nor what adds less than this part to the clock of its entries, as in a diff.
MIN_EFFECT_PART: Final = 0.005


@dataclass(frozen=True, slots=True)
class Trend:
    """Growth in per cent a week with its 80 % interval; None where too few weeks were seen.

    ``q_value`` is how likely chance alone shows as much growth and more, adjusted for all that is tested
    beside it (Benjamini and Hochberg); None where it was not tested.
    """

    pct_per_week: float | None
    interval: tuple[float, float] | None
    q_value: float | None = None

    @staticmethod
    def of(slope: float, error: float, weeks: int) -> Trend:
        """From a log slope and its standard error, tested against no growth."""
        if not math.isfinite(error):
            return Trend(None, None)
        dof = max(weeks - 2, 1)
        wide = float(student_quantile(dof, 0.5 + LEVEL / 2)) * error
        low, high = (pct(slope + side * wide) for side in (-1, 1))
        return Trend(pct(slope), (low, high), p_value(slope, error, dof))


def p_value(slope: float, error: float, dof: float, least: float = 0.0) -> float:
    """How likely a log slope as large is when there is no more than `least` of it."""
    if not math.isfinite(error):
        return 1.0
    return 1 - float(student_cdf(dof, (slope - least) / max(error, 1e-12)))


def adjusted(trends: Sequence[Trend]) -> list[Trend]:
    """Trends that are tested together, with their false discovery rates."""
    tested = [number for number, trend in enumerate(trends) if trend.q_value is not None]
    q = benjamini_hochberg(np.array([trends[number].q_value for number in tested], dtype=np.float64))
    out = list(trends)
    for number, value in zip(tested, q.tolist(), strict=True):
        out[number] = replace(out[number], q_value=value)
    return out


def pct(log: float) -> float:
    """A log change in per cent."""
    return (math.exp(min(max(log, -50.0), 50.0)) - 1) * 100


def weekly(rows: pl.DataFrame, period: PeriodRollups, column: str) -> tuple[Floats, Floats]:
    """Middles of whole weeks in weeks from now ``(w,)``, and the weighted sum of a column in each."""
    per_week = WEEK_NS // HOUR_NS
    last = period.end_ns // period.slot_ns
    by_week = (
        rows.with_columns(((last - 1 - pl.col("slot")) // per_week).alias("week"))
        .sort("slot", "threshold")
        .group_by("week", maintain_order=True)
        .agg((pl.col(column) * weight()).sum().alias("sum"), pl.col("slot").n_unique().alias("hours"))
        .filter(pl.col("hours") * 4 >= pl.col("hours").max())
        .sort("week", descending=True)
    )
    first = int(period.start_ns // period.slot_ns)
    whole = by_week.filter((pl.col("week") + 1) * per_week <= last - first + 1)
    whole = whole.filter(pl.col("sum") > 0)
    return -whole["week"].to_numpy().astype(np.float64) - 0.5, whole["sum"].to_numpy().astype(np.float64)


def trend_of(weeks: Floats, values: Floats) -> Trend:
    """Growth of weekly values."""
    slope, error = load_trend(weeks, values)
    return Trend.of(slope, error, len(weeks))


def grows(trend: Trend) -> bool:
    """Whether a trend is significant and rises by `LEAST_DRIFT` or more."""
    return (
        trend.pct_per_week is not None
        and trend.q_value is not None
        and trend.q_value <= ALPHA
        and trend.pct_per_week >= LEAST_DRIFT
    )


def live_instances(rows: pl.DataFrame, begin_ns: int, end_ns: int) -> tuple[Floats, Floats]:
    """Mean number of live instances in whole weeks before `end_ns`, oldest first.

    Returns
    -------
    weeks, live ``(w,)``
    """
    week = 7 * 24 * HOUR_NS
    count = int((end_ns - begin_ns) // week)
    starts = end_ns - np.arange(count, 0, -1) * week
    weeks = np.asarray(-np.arange(count)[::-1] - 0.5, dtype=np.float64)
    return weeks, Lives.of(rows).between(starts, starts + week)
