"""`diff` on a store: which slots the periods are cut into, and what is told beside the result."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from tracescope.analysis.diff import Options, diff
from tracescope.analysis.matched import as_period
from tracescope.analysis.report import Report
from tracescope.analysis.where import Condition
from tracescope.engine.periods import PeriodRollups, rollups
from tracescope.errors import InsufficientDataError
from tracescope.periods import Period, format_utc
from tracescope.schema import HOUR_NS
from tracescope.store import SpanStore

#: Periods shorter than this are cut finer than into hours.
FINE_BELOW_NS = 10 * HOUR_NS
FINE_SLOTS = 512
FINEST_SLOT_NS = 100_000_000


def slot_of(period: Period) -> int:
    """Length of a slot: an hour, or for short periods a small part of them."""
    if period.length_ns >= FINE_BELOW_NS:
        return HOUR_NS
    return max(period.length_ns // FINE_SLOTS, FINEST_SLOT_NS)


def compare(
    store: SpanStore,
    base: Period,
    head: Period,
    *,
    options: Options,
    environment: str | None = None,
    where: Sequence[Condition] = (),
) -> Report:
    """Compare two periods of a store.

    Parameters
    ----------
    store, base, head
        What of what.
    options
        How.
    environment
        ``deployment.environment.name``; None for the busiest of HEAD.
    where
        Only traces whose spans carry these attributes.

    Raises
    ------
    InsufficientDataError
        A period holds too little.
    """
    overlap = base.start_ns < head.end_ns and head.start_ns < base.end_ns
    later = _rollups(store, head, environment, where)
    earlier = _rollups(store, base, environment if environment is not None else later.environment, where)
    for name, period, found in (("BASE", base, earlier), ("HEAD", head, later)):
        if found.tables["entry_hours"].is_empty():
            raise InsufficientDataError(
                f"insufficient data: {name} ({period.text}: {period.utc()}) holds no traces"
                + (f" of environment {found.environment!r}" if found.environment else "")
                + "".join(f" with --where {condition.key}={condition.value}" for condition in where),
                _held(store),
            )
    report = diff(as_period(earlier), as_period(later), options)
    notes = list(report.notes)
    if overlap:
        notes.insert(0, "the periods overlap: what they share cannot differ")
    if environment is None and len(later.environments) > 1:
        others = ", ".join(repr(name) for name in list(later.environments)[1:4])
        notes.insert(0, f"environment {later.environment!r}, the busiest; others: {others} (--env)")
    return replace(report, notes=tuple(notes), rejected=store.rejected())


def _rollups(
    store: SpanStore, period: Period, environment: str | None, where: Sequence[Condition]
) -> PeriodRollups:
    return rollups(
        store,
        period.start_ns,
        period.end_ns,
        slot_ns=slot_of(period),
        environment=environment,
        tables=("path_hours", "entry_hours", "entry_sketches", "service_hours", "counters"),
        where=where,
    )


def _held(store: SpanStore) -> str:
    """What to try instead: what the store does hold."""
    first, last = store.extent()
    if not first:
        return "the store is empty: `tracescope import FILE` or `tracescope serve` fills it"
    covered = f"{format_utc(first)} .. {format_utc(last)}"
    return f"the store holds {covered}; `tracescope diff all` compares its halves"
