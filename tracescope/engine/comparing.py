"""`diff` on a store: which slots the periods are cut into, and what is told beside the result."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

import polars as pl

from tracescope import schema
from tracescope.analysis.alike import firsts, later_of
from tracescope.analysis.blocks import Slots, match
from tracescope.analysis.diff import Options, diff
from tracescope.analysis.matched import Period as MatchedPeriod
from tracescope.analysis.matched import as_period, slots_of
from tracescope.analysis.report import Report
from tracescope.analysis.slowest import thresholds
from tracescope.analysis.where import Condition
from tracescope.engine.periods import PeriodRollups, hours_of_paths, read_unread, rollups, rollups_in
from tracescope.errors import InsufficientDataError
from tracescope.periods import Period, format_utc
from tracescope.schema import HOUR_NS
from tracescope.store import Snapshot, SpanStore

#: Periods shorter than this are cut finer than into hours.
FINE_BELOW_NS = 10 * HOUR_NS
FINE_SLOTS = 512
FINEST_SLOT_NS = 100_000_000
#: Rollups that a diff reads.
COMPARED: Final = ("path_hours", "entry_hours", "entry_sketches", "service_hours", "counters")


def slot_of(period: Period) -> int:
    """Length of a slot: an hour, or for short periods a small part of them."""
    if period.length_ns >= FINE_BELOW_NS:
        return HOUR_NS
    return max(period.length_ns // FINE_SLOTS, FINEST_SLOT_NS)


@dataclass(frozen=True, slots=True)
class Sides:
    """Rollups of two periods of one environment, read once for whoever compares them.

    Attributes
    ----------
    base, head
        Their rollups; either may be empty.
    periods, where
        What was asked for.
    notes
        What a reader should know of the choice of environment and periods.
    """

    base: PeriodRollups
    head: PeriodRollups
    periods: tuple[Period, Period]
    where: tuple[Condition, ...]
    notes: tuple[str, ...]

    def check_filled(self, store: SpanStore) -> None:
        """Raise InsufficientDataError when a period holds no traces."""
        found = (self.base, self.head)
        for name, period, side in zip(("BASE", "HEAD"), self.periods, found, strict=True):
            if side.tables["entry_hours"].is_empty():
                raise InsufficientDataError(
                    f"insufficient data: {name} ({period.text}: {period.utc()}) holds no traces"
                    + (f" of environment {side.environment!r}" if side.environment else "")
                    + "".join(f" with --where {one.key}={one.value}" for one in self.where),
                    _held(store),
                )


def read_sides(
    store: SpanStore,
    base: Period,
    head: Period,
    *,
    environment: str | None = None,
    where: Sequence[Condition] = (),
    tables: Sequence[str] = COMPARED,
) -> Sides:
    """Rollups of two periods of a store.

    Parameters
    ----------
    store, base, head
        What of what.
    environment
        ``deployment.environment.name``; None for the busiest of HEAD.
    where
        Only traces whose spans carry these attributes.
    tables
        Rollups wanted; `COMPARED` is what `compare_sides` needs.
    """

    def read(period: Period, wanted: str | None) -> PeriodRollups:
        return _rollups(store, period, wanted, where, tables)

    return _sides(read, base, head, environment, where)


def _sides(
    read: Callable[[Period, str | None], PeriodRollups],
    base: Period,
    head: Period,
    environment: str | None,
    where: Sequence[Condition],
) -> Sides:
    """Both periods as `read` gives them, of one environment, and what to know of the choice."""
    later = read(head, environment)
    earlier = read(base, environment if environment is not None else later.environment)
    notes: list[str] = []
    if environment is None and len(later.environments) > 1:
        others = ", ".join(repr(name) for name in list(later.environments)[1:4])
        notes.append(f"environment {later.environment!r}, the busiest; others: {others} (--env)")
    if base.start_ns < head.end_ns and head.start_ns < base.end_ns:
        notes.append("the periods overlap: what they share cannot differ")
    return Sides(earlier, later, (base, head), tuple(where), tuple(notes))


def compare_sides(store: SpanStore, sides: Sides, options: Options) -> Report:
    """The diff of what `read_sides` read.

    Raises
    ------
    InsufficientDataError
        A period holds too little.
    """
    sides.check_filled(store)
    return _told(store, sides, diff(as_period(sides.base), as_period(sides.head), options))


def _told(store: SpanStore, sides: Sides, report: Report) -> Report:
    """A report with what is to be told beside it."""
    return replace(report, notes=(*sides.notes, *report.notes), rejected=store.rejected())


def compare(
    store: SpanStore,
    base: Period,
    head: Period,
    *,
    options: Options,
    environment: str | None = None,
    where: Sequence[Condition] = (),
    quantile: float | None = None,
) -> Report:
    """Compare two periods of a store: `read_sides`, `slowest_sides` if asked for, `compare_sides`."""
    if quantile is not None:
        sides = read_sides(store, base, head, environment=environment, where=where)
        return compare_sides(store, slowest_sides(store, sides, quantile), options)
    return store.reading(partial(_compare, store, base, head, options, environment, where))


def _compare(
    store: SpanStore,
    base: Period,
    head: Period,
    options: Options,
    environment: str | None,
    where: Sequence[Condition],
    found: Snapshot,
) -> Report:
    """The diff of one snapshot, read by days where hours count alike."""

    def read(period: Period, wanted: str | None) -> PeriodRollups:
        return rollups_in(
            store,
            found,
            start_ns=period.start_ns,
            end_ns=period.end_ns,
            slot_ns=slot_of(period),
            environment=wanted,
            tables=COMPARED,
            where=where,
            unread=True,
        )

    sides = _sides(read, base, head, environment, where)
    sides.check_filled(store)
    earlier, later = as_period(sides.base), as_period(sides.head)
    matched = match(slots_of(earlier), slots_of(later), options.zone)
    last = later_of(earlier, later)

    def whole(side: PeriodRollups, period: MatchedPeriod, slots: Slots) -> MatchedPeriod:
        if not side.unread:
            return period
        told = read_unread(store, found, side, firsts(period, slots, last))
        return replace(as_period(told), hours=partial(hours_of_paths, store, found, side))

    known = whole(sides.base, earlier, matched.base), whole(sides.head, later, matched.head)
    return _told(store, sides, diff(*known, options))


def slowest_sides(store: SpanStore, sides: Sides, quantile: float) -> Sides:
    """The same periods, only each entry's requests above a quantile; read from raw spans.

    Raises
    ------
    InsufficientDataError
        A period holds no traces, or its raw spans are gone.
    """
    sides.check_filled(store)
    tables = tuple(sides.base.tables.keys() - schema.DIMENSIONS.keys())
    slow = [
        _rollups(
            store, period, side.environment, sides.where, tables,
            thresholds(side.tables["entry_sketches"], side.start_ns, side.end_ns, side.slot_ns, quantile),
        )
        for period, side in zip(sides.periods, (sides.base, sides.head), strict=True)
    ]  # fmt: skip
    told = f"only the slowest {1 - quantile:.3g} of each entry's requests, day by day"
    return replace(sides, base=slow[0], head=slow[1], notes=(told, *sides.notes))


def _rollups(
    store: SpanStore,
    period: Period,
    environment: str | None,
    where: Sequence[Condition],
    tables: Sequence[str],
    slower_than: pl.DataFrame | None = None,
) -> PeriodRollups:
    return rollups(
        store,
        period.start_ns,
        period.end_ns,
        slot_ns=slot_of(period),
        environment=environment,
        tables=tables,
        where=where,
        slower_than=slower_than,
    )


def _held(store: SpanStore) -> str:
    """What to try instead: what the store does hold."""
    first, last = store.extent()
    if not first:
        return "the store is empty: `tracescope import FILE` or `tracescope serve` fills it"
    covered = f"{format_utc(first)} .. {format_utc(last)}"
    return f"the store holds {covered}; `tracescope diff all` compares its halves"
