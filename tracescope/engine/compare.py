"""`diff` on a store: which slots the periods are cut into, and what is told beside the result."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

import polars as pl

from tracescope import schema
from tracescope.analysis.comparison.aggregate import firsts, later_of
from tracescope.analysis.comparison.blocks import match
from tracescope.analysis.comparison.matched import slots_of
from tracescope.analysis.comparison.slowest import thresholds
from tracescope.analysis.diff import Options, diff
from tracescope.analysis.report import Report
from tracescope.analysis.rollups.period import both
from tracescope.analysis.rollups.where import Condition
from tracescope.engine.rollups import PeriodRollups, read_unread, rollups, rollups_in, rules_notes
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
    zone: str | None = None,
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
    zone
        In which hours of the week will be matched: then hours that count alike are read by days, and rows
        of ``path_hours`` stand for several of them.  None for every hour.
    """
    if zone is None:
        later = _rollups(store, head, environment, where, tables)
        wanted = environment if environment is not None else later.environment
        earlier = _rollups(store, base, wanted, where, tables)
    else:
        earlier, later = store.reading(
            partial(
                _by_days, store, base, head, environment=environment, where=where, tables=tables, zone=zone
            )
        )
    notes: list[str] = []
    if environment is None and len(later.environments) > 1:
        others = ", ".join(repr(name) for name in list(later.environments)[1:4])
        notes.append(f"environment {later.environment!r}, the busiest; others: {others} (--env)")
    if base.start_ns < head.end_ns and head.start_ns < base.end_ns:
        notes.append("the periods overlap: what they share cannot differ")
    if len(earlier.rules) == len(later.rules) == 1:  # else a period says so itself
        notes += rules_notes(earlier.rules | later.rules)
    return Sides(earlier, later, (base, head), tuple(where), tuple(notes))


def _by_days(
    store: SpanStore,
    base: Period,
    head: Period,
    found: Snapshot,
    *,
    environment: str | None,
    where: Sequence[Condition],
    tables: Sequence[str],
    zone: str,
) -> tuple[PeriodRollups, PeriodRollups]:
    """Rollups of both periods of one snapshot, hours that count alike in one row."""

    def read(period: Period, wanted: str | None) -> PeriodRollups:
        return rollups_in(
            store,
            found,
            start_ns=period.start_ns,
            end_ns=period.end_ns,
            slot_ns=slot_of(period),
            environment=wanted,
            tables=tables,
            where=where,
            unread=True,
        )

    later = read(head, environment)
    earlier = read(base, environment if environment is not None else later.environment)
    sides = earlier, later
    matched = match(slots_of(sides[0]), slots_of(sides[1]), zone)
    last = later_of(*sides)
    alike = firsts(sides[0], matched.base, last), firsts(sides[1], matched.head, last)
    return both(lambda side: read_unread(store, found, *side), (earlier, alike[0]), (later, alike[1]))


def compare_sides(store: SpanStore, sides: Sides, options: Options) -> Report:
    """The diff of what `read_sides` read.

    Raises
    ------
    InsufficientDataError
        A period holds too little.
    """
    sides.check_filled(store)
    report = diff(sides.base, sides.head, options)
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
    if quantile is None:
        sides = read_sides(store, base, head, environment=environment, where=where, zone=options.zone)
    else:
        whole = read_sides(store, base, head, environment=environment, where=where)
        sides = slowest_sides(store, whole, quantile)
    return compare_sides(store, sides, options)


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
