"""Blocks of time: what makes two periods comparable, and what their uncertainty is made of.

Hours are matched by hour of the week, so that a period with one more Monday is no growth.  Traffic
of one day resembles the next, so uncertainty comes from blocks of time, not from requests: the
standard error is a jackknife over blocks, widened for serial correlation, with t quantiles at the
effective degrees of freedom.  (A percentile bootstrap over 4 to 10 blocks flags 10 to 16 % of
identical periods, and 26 to 37 % at a day-to-day correlation of 0.5.)

Source: design, section 6; Bayley & Hammersley 1946 (effective sample size of an autocorrelated
series); Kendall 1954 (bias of the sample autocorrelation); Miller 1974 (the jackknife).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tracescope.schema import DAY_NS, HOUR_NS

Floats = NDArray[np.float64]

#: Blocks a period is cut into at most, and must have at least.
MOST_BLOCKS: Final = 32
FEWEST_BLOCKS: Final = 5
#: Hours of the week match only where at least this part of each period's slots finds a partner.
LEAST_MATCH: Final = 0.25
#: Periods at least so long are matched by hour of the week.
MATCH_FROM_NS: Final = 2 * DAY_NS
#: A correlation estimated above this is taken as this.
MOST_CORRELATION: Final = 0.85
#: From so many blocks on, a line is taken out before noise is measured.
TREND_FROM: Final = 8


@dataclass(frozen=True, slots=True)
class Slots:
    """What becomes of each slot of one period.

    Attributes
    ----------
    frame
        ``slot, block, weight``: block number, and the factor for all additive rows.
    blocks
        How many blocks.
    """

    frame: pl.DataFrame
    blocks: int


@dataclass(frozen=True, slots=True)
class Matched:
    """Both periods' slots, and what a reader should know of the match."""

    base: Slots
    head: Slots
    notes: tuple[str, ...]


def hour_of_week(slots: NDArray[np.int64], slot_ns: int, zone: str) -> NDArray[np.int64]:
    """Hour of the week in `zone`, Monday 00 h is 0, of each slot ``(n,)``."""
    instants = pl.Series(slots * slot_ns).cast(pl.Datetime("ns", "UTC")).dt.convert_time_zone(zone)
    return ((instants.dt.weekday().cast(pl.Int64) - 1) * 24 + instants.dt.hour().cast(pl.Int64)).to_numpy()


def _blocks(slots: NDArray[np.int64], start_ns: int, end_ns: int, slot_ns: int) -> tuple[Any, int]:
    """Number of the block that each slot lies in: days, several days, hours or slices of time."""
    length = end_ns - start_ns
    if length >= 10 * DAY_NS:
        size = DAY_NS * -(-(-(-length // DAY_NS)) // MOST_BLOCKS)
    elif length >= FEWEST_BLOCKS * 2 * HOUR_NS:
        size = HOUR_NS * max(1, -(-length // HOUR_NS) // MOST_BLOCKS)
    else:
        size = max(slot_ns, -(-length // MOST_BLOCKS))
    raw = (slots * slot_ns - start_ns).clip(0) // size
    _, number = np.unique(raw, return_inverse=True)
    return number, int(number.max(initial=-1)) + 1


def match(
    base: tuple[NDArray[np.int64], int, int], head: tuple[NDArray[np.int64], int, int], slot_ns: int, zone: str
) -> Matched:
    """Match the slots of two periods by hour of the week, and cut them into blocks.

    Parameters
    ----------
    base, head
        Slots with data ``(n,)``, start and end in ns.
    slot_ns
        Length of a slot.
    zone
        IANA name of the zone whose hours count.
    """
    ZoneInfo(zone)
    notes: list[str] = []
    keep: list[NDArray[np.bool_]] = [np.ones(len(base[0]), np.bool_), np.ones(len(head[0]), np.bool_)]
    weights: list[Floats] = [np.ones(len(base[0])), np.ones(len(head[0]))]
    if min(base[2] - base[1], head[2] - head[1]) >= MATCH_FROM_NS and len(base[0]) and len(head[0]):
        cells = [hour_of_week(period[0], slot_ns, zone) for period in (base, head)]
        if not _enough(cells):  # too short for weekdays: hours of the day
            cells = [cell % 24 for cell in cells]
        if _enough(cells):
            counts = [np.bincount(cell, minlength=168).astype(np.float64) for cell in cells]
            common = (counts[0] > 0) & (counts[1] > 0)
            lone = [int(count[~common].sum()) for count in counts]
            shares = [np.where(common, count, 0) / count[common].sum() for count in counts]
            target = (shares[0] + shares[1]) / 2
            for side in (0, 1):
                factor = np.divide(target, shares[side], out=np.zeros(168), where=shares[side] > 0)
                keep[side] = common[cells[side]]
                weights[side] = factor[cells[side]]
            if sum(lone):
                notes.append(
                    f"hours of the week that only one period has are left out: {lone[0]} h of base, "
                    f"{lone[1]} h of head"
                )
        else:
            notes.append("the periods share too few hours of the week to be matched by them")
    sides: list[Slots] = []
    for side, (slots, start, end) in enumerate((base, head)):
        number, blocks = _blocks(slots[keep[side]], start, end, slot_ns)
        frame = pl.DataFrame(
            {
                "slot": pl.Series(slots[keep[side]], dtype=pl.Int32),
                "block": pl.Series(number, dtype=pl.Int32),
                "weight": weights[side][keep[side]],
            }
        )
        sides.append(Slots(frame, blocks))
    return Matched(sides[0], sides[1], tuple(notes))


def _enough(cells: list[NDArray[np.int64]]) -> bool:
    return all(
        np.isin(mine, theirs).mean() >= LEAST_MATCH for mine, theirs in (cells, cells[::-1])
    )


@dataclass(frozen=True, slots=True)
class Spread:
    """Standard errors and effective degrees of freedom ``(k,)`` of some statistics."""

    error: Floats
    freedom: Floats


def jackknife(full: Floats, without: Floats) -> Spread:
    """Standard error of statistics from their values without each block.

    Parameters
    ----------
    full
        The statistics ``(k,)``.
    without
        Their values without each block in turn ``(n, k)``.

    Notes
    -----
    Pseudo-values ``n * full - (n - 1) * without`` are treated as a line plus an AR(1) series: the
    variance of their mean grows by ``(1 + r) / (1 - r)``, the effective number shrinks by the same
    factor.  The line goes first, because growth within a period is what we look for, not noise.
    """
    n = len(without)
    if n < 2:
        nothing = np.full(full.shape, np.inf)
        return Spread(nothing, np.ones(full.shape))
    pseudo = n * full - (n - 1) * without
    residual = pseudo - pseudo.mean(axis=0)
    spent = 1
    if n >= TREND_FROM:
        time = np.arange(n) - (n - 1) / 2
        residual = residual - np.outer(time, time @ residual / (time @ time))
        spent = 2
    power = (residual**2).sum(axis=0)
    lagged = (residual[1:] * residual[:-1]).sum(axis=0)
    r = np.divide(lagged, power, out=np.zeros_like(power), where=power > 0)
    # the sample autocorrelation of a short series is too small, of a detrended one more so
    r = np.clip(r + (spent + 2 * (spent + 1) * r / spent) / n, 0.0, MOST_CORRELATION)
    if (power > 0).any():  # what the edges share is known better than what each has
        r = np.maximum(r, r[power > 0].mean())
    inflation = (1 + r) / (1 - r)
    variance = power / max(n - spent, 1) / n * inflation
    return Spread(np.sqrt(variance), np.maximum(n / inflation - spent, 1.0))


def combine(base: Spread, head: Spread) -> Spread:
    """Standard error of a difference of independent periods (Welch and Satterthwaite)."""
    a, b = base.error**2, head.error**2
    total = a + b
    below = a**2 / base.freedom + b**2 / head.freedom
    freedom = np.divide(total**2, below, out=np.ones_like(total), where=below > 0)
    return Spread(np.sqrt(total), np.maximum(freedom, 1.0))


def benjamini_hochberg(p: Floats) -> Floats:
    """Adjusted p-values ``(k,)`` that bound the false discovery rate (Benjamini & Hochberg 1995)."""
    k = len(p)
    order = np.argsort(p)
    scaled = p[order] * k / np.arange(1, k + 1)
    out = np.empty(k)
    out[order] = np.minimum(np.minimum.accumulate(scaled[::-1])[::-1], 1.0)
    return out
