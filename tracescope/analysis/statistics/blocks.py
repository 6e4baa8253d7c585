"""Blocks of time: they make two periods comparable and give the uncertainty of their difference.

Hours are matched by hour of the week, so that a period with one more Monday is no growth.  Traffic
of one day resembles the next, so uncertainty comes from blocks of time, not from requests
(`tracescope.analysis.statistics.significance`).

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

Floats = NDArray[np.float64]

#: Blocks a period is cut into at most, and must have at least.
MOST_BLOCKS: Final = 32
FEWEST_BLOCKS: Final = 4
FEWEST_DAYS: Final = 2
#: Periods of so many days and more have days for blocks.
DAYS_FROM: Final = 2
#: From so many blocks on a line is taken out before noise is measured, and from so many the weekends.
TREND_FROM: Final = 8
WEEKEND_FROM: Final = 7
#: ... and from so many on the wave of the hours of the day, where there are hours.
WAVE_FROM: Final = 16
#: Hours are matched by the first of these that leaves at least its part of the shorter period.
CELLS: Final = (
    ("hours of the week", 0.75),
    ("hours of weekdays and of weekends", 0.5),
    ("hours of the day", 0.25),
)
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
    shape
        What is known of each block ``(blocks, q)`` and no noise: the course of time, its part of
        weekend, the hour of the day.
    season
        The same without the course of time.
    daily
        Blocks are days, or several.
    """

    frame: pl.DataFrame
    blocks: int
    shape: Floats
    season: Floats
    daily: bool

    @property
    def enough(self) -> bool:
        """Whether there are enough blocks to test a change; days count for more."""
        return self.blocks >= (FEWEST_DAYS if self.daily else FEWEST_BLOCKS)


@dataclass(frozen=True, slots=True)
class Matched:
    """Both periods' slots, and what a reader should know of the match."""

    base: Slots
    head: Slots
    notes: tuple[str, ...]

    @property
    def enough(self) -> bool:
        """Whether both periods have enough blocks to test a change."""
        return self.base.enough and self.head.enough


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

    Days, or several, for periods of `DAYS_FROM` days and more, because what slows a day down tends to
    last it; else equal numbers of hours; within hours, stretches of time that hold equally many
    units of work.
    """
    slots, n = period.slots[kept], int(kept.sum())
    if n == 0:
        return np.empty(0, np.int64), 0
    if period.length_ns >= DAYS_FROM * DAY_NS:
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
        hours = [hour_of_week(side.slots, side.slot_ns, zone) for side in sides]
        chosen = _cells(hours)
        if chosen is not None:
            cells, words = chosen
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
        season = _season(side, side.slots[kept], number, blocks, zone)
        shape = _varying([*_course(side, blocks), *season.T], blocks)
        made.append(Slots(frame, blocks, shape, season, side.length_ns >= DAYS_FROM * DAY_NS))
    return Matched(made[0], made[1], tuple(notes))


def _course(period: Extent, blocks: int) -> list[Floats]:
    """The course of time: growth within a period is looked for, and no noise."""
    few_days = DAY_NS <= period.length_ns < DAYS_FROM * DAY_NS  # a line would hide how days differ
    return [np.arange(blocks, dtype=np.float64)] if blocks >= TREND_FROM and not few_days else []


def _season(
    period: Extent, slots: NDArray[np.int64], number: NDArray[np.int64], blocks: int, zone: str
) -> Floats:
    """Columns of `Slots.season`, each of mean zero; as many as the number of blocks bears."""
    columns: list[Floats] = []
    if period.length_ns >= DAY_NS and blocks >= WEEKEND_FROM:
        hours = hour_of_week(slots, period.slot_ns, zone)
        held = np.bincount(number, minlength=blocks)
        by_block: list[Floats] = []
        if period.length_ns >= DAYS_FROM * DAY_NS:
            by_block.append((hours >= 5 * 24).astype(np.float64))
        elif blocks >= WAVE_FROM:
            turn = 2 * np.pi * (hours % 24) / 24
            by_block += [np.cos(turn), np.sin(turn)]
        columns += [np.bincount(number, value, blocks) / held for value in by_block]
    return _varying(columns, blocks)


def _varying(columns: list[Floats], blocks: int) -> Floats:
    """Columns less their means, as one table; without those that say nothing."""
    table = np.column_stack(columns) if columns else np.empty((blocks, 0))
    table = table - table.mean(axis=0) if blocks else table
    return table[:, np.abs(table).max(axis=0, initial=0.0) > 1e-9]


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


def _cells(hours: list[NDArray[np.int64]]) -> tuple[list[NDArray[np.int64]], str] | None:
    """Cells of time to match by, and their name; None where the periods share too few."""
    for at, (words, least) in enumerate(CELLS):
        cells = [hour if at == 0 else hour % 24 + (hour // 120 * 24 if at == 1 else 0) for hour in hours]
        short, long = sorted(cells, key=lambda cell: len(np.unique(cell)))
        if np.isin(short, long).mean() >= least:
            return cells, words
    return None
