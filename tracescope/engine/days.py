"""Days: rollups added up over whole UTC days, which long periods are read by.

    hours     |0 .. 23|24 .. 47|48 .. 71|72 ..         rollups, as sealing makes them
    days      |   0   |   24   |   48   |              the same rows added up, once nothing is expected

They are derived from the hours and never lead a life of their own: the pointer lists the days that
count, sealing an hour again takes its day off the list in the same step, and whoever seals adds up the
days that are not on it.  A reader takes a day where its hours count alike, else its hours, and gets the
same sums.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import polars as pl

from tracescope import schema
from tracescope.analysis.rollups.merge import add_up
from tracescope.store import SpanStore
from tracescope.store.pointer import Pointer

#: A day is added up when hours so long after it are sealed: traces that began in it have ended.
AFTER_HOURS = schema.TRACE_WINDOW_HOURS + 1
#: Days whose hours are in memory at once.
DAYS_AT_ONCE = 7


def fold(store: SpanStore, pointer: Pointer) -> None:
    """Add up the days that are over and not yet added up, for the pointer to be published."""
    newest = max(pointer.hours, default=0)
    over = {hour // 24 for hour in pointer.hours if hour // 24 * 24 + 23 + AFTER_HOURS <= newest}
    wanted = sorted(over.difference(pointer.days))
    if not wanted:
        return
    for of, name in schema.DAILY.items():
        added = pl.concat([_added(store, pointer, of, days) for days in _stretches(wanted)])
        slots = {day * 24 + hour for day in wanted for hour in range(24)}
        store.sealed.replace(pointer, name, added, slots if pointer.days else None)
    pointer.days = sorted({*pointer.days, *wanted})


def differing(store: SpanStore) -> list[str]:
    """Daily tables whose rows are not the sums of their hours, a sentence each."""
    pointer = store.sealed.pointer()
    out: list[str] = []
    for of, name in schema.DAILY.items():
        for days in _stretches(pointer.days):
            stored = _within(store, pointer, name, days).collect().sort(schema.KEYS[of])
            if not stored.equals(_added(store, pointer, of, days)):
                out.append(
                    f"{name} of days {days[0]}..{days[-1]} are not the sums of {of}; "
                    "`tracescope rebuild` makes them so"
                )
    return out


def _stretches(days: Sequence[int]) -> Iterator[list[int]]:
    """Days, some at once; those of one stretch lie close together."""
    out: list[int] = []
    for day in days:
        if out and (day - out[0] > 4 * DAYS_AT_ONCE or len(out) == DAYS_AT_ONCE):
            yield out
            out = []
        out.append(day)
    if out:
        yield out


def _within(store: SpanStore, pointer: Pointer, name: str, days: Sequence[int]) -> pl.LazyFrame:
    bounds = days[0] * 24, days[-1] * 24 + 23
    inside = pl.col("slot").is_between(*bounds) & (pl.col("slot") // 24).is_in(days)
    return store.sealed.scan(pointer, name, bounds).filter(inside)


def _added(store: SpanStore, pointer: Pointer, of: str, days: Sequence[int]) -> pl.DataFrame:
    """Rows of some days of one rollup, added up."""
    hours = _within(store, pointer, of, days).collect()
    return add_up(of, hours.with_columns(slot=pl.col("slot") // 24 * 24))
