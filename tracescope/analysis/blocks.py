"""Blocks of time: what makes two periods comparable, and what their uncertainty is made of.

Hours are matched by hour of the week, so that a period with one more Monday is no growth.  Traffic
of one day resembles the next, so uncertainty comes from blocks of time, not from requests
(`tracescope.analysis.significance`).

Source: design, section 6.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tracescope.schema import DAY_NS, HOUR_NS

#: Blocks a period is cut into at most, and must have at least.
MOST_BLOCKS: Final = 32
FEWEST_BLOCKS: Final = 5
#: Hours of the week match only where at least this part of each period's slots finds a partner.
LEAST_MATCH: Final = 0.25
#: Periods at least so long are matched by hour of the week.
MATCH_FROM_NS: Final = 2 * DAY_NS


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


@dataclass(frozen=True, slots=True)
class Extent:
    """A period's slots that hold data.

    Attributes
    ----------
    slots, units
        Slots ``(n,)``, ascending, and units of work in each.
    start_ns, end_ns, slot_ns
        The period, half-open, and the length of its slots.
    """

    slots: NDArray[np.int64]
    units: NDArray[np.float64]
    start_ns: int
    end_ns: int
    slot_ns: int

    @property
    def length_ns(self) -> int:
        """The period's length."""
        return self.end_ns - self.start_ns


def _blocks(period: Extent, kept: NDArray[np.bool_]) -> tuple[NDArray[np.int64], int]:
    """Number of the block that each kept slot lies in, and how many there are.

    Days, or several, for periods of ten days and more; else equal numbers of hours; within hours,
    stretches of time that hold equally many units of work.
    """
    slots, n = period.slots[kept], int(kept.sum())
    if n == 0:
        return np.empty(0, np.int64), 0
    if period.length_ns >= 10 * DAY_NS:
        size = DAY_NS * math.ceil(math.ceil(period.length_ns / DAY_NS) / MOST_BLOCKS)
        raw = (slots * period.slot_ns - period.start_ns).clip(0) // size
    elif period.slot_ns >= HOUR_NS:
        raw = np.arange(n) * min(MOST_BLOCKS, n) // n
    else:
        units = period.units[kept]
        before = np.cumsum(units) - units / 2
        raw = (before * min(MOST_BLOCKS, n) / max(units.sum(), 1.0)).astype(np.int64)
    _, number = np.unique(raw, return_inverse=True)
    return number, int(number.max()) + 1


def match(base: Extent, head: Extent, zone: str) -> Matched:
    """Match the slots of two periods by hour of the week, and cut them into blocks.

    Parameters
    ----------
    base, head
        Their slots with data.
    zone
        IANA name of the zone whose hours count.
    """
    ZoneInfo(zone)
    notes: list[str] = []
    sides = (base, head)
    keep = [np.ones(len(side.slots), np.bool_) for side in sides]
    weights = [np.ones(len(side.slots)) for side in sides]
    if max(base.length_ns, head.length_ns) >= MATCH_FROM_NS and len(base.slots) and len(head.slots):
        cells = [hour_of_week(side.slots, side.slot_ns, zone) for side in sides]
        words = "hours of the week"
        if not _enough(cells):  # too short for weekdays
            cells, words = [cell % 24 for cell in cells], "hours of the day"
        if _enough(cells):
            counts = [np.bincount(cell, minlength=168).astype(np.float64) for cell in cells]
            common = (counts[0] > 0) & (counts[1] > 0)
            shares = [np.where(common, count, 0) / count[common].sum() for count in counts]
            target = (shares[0] + shares[1]) / 2
            for side in (0, 1):
                factor = np.divide(target, shares[side], out=np.zeros(168), where=shares[side] > 0)
                keep[side] = common[cells[side]]
                weights[side] = factor[cells[side]]
            notes += _match_notes(sides, keep, words)
        else:
            notes.append("the periods share too few hours of the week to be matched by them")
    made: list[Slots] = []
    for side, kept, weight in zip(sides, keep, weights, strict=True):
        number, blocks = _blocks(side, kept)
        frame = pl.DataFrame(
            {
                "slot": pl.Series(side.slots[kept], dtype=pl.Int64),
                "block": pl.Series(number, dtype=pl.Int32),
                "weight": weight[kept],
            }
        )
        made.append(Slots(frame, blocks))
    return Matched(made[0], made[1], tuple(notes))


def _match_notes(sides: tuple[Extent, Extent], keep: list[NDArray[np.bool_]], words: str) -> list[str]:
    """What the match left out."""
    lone = [float((~kept).sum() * side.slot_ns / HOUR_NS) for side, kept in zip(sides, keep, strict=True)]
    if not sum(lone):
        return []
    for name, other, short in (("head", "base", 0), ("base", "head", 1)):
        if lone[short] > 0.5 * len(sides[short].slots) * sides[short].slot_ns / HOUR_NS:
            return [f"{name} is short: it is compared with the same {words} of {other}"]
    return [
        f"{words} that only one period has are left out: {lone[0]:.3g} h of base, {lone[1]:.3g} h of head"
    ]


def _enough(cells: list[NDArray[np.int64]]) -> bool:
    """Whether the shorter period's hours are found in the longer one."""
    short, long = sorted(cells, key=lambda cell: len(np.unique(cell)))
    return bool(np.isin(short, long).mean() >= LEAST_MATCH)
