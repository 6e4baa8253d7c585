"""`diff` on a store: which slots the periods are cut into, and what is told beside the result."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final

from tracescope.analysis.comparison.aggregate import later_of, representative_hours
from tracescope.analysis.comparison.matched import slots_of
from tracescope.analysis.comparison.slowest import thresholds
from tracescope.analysis.diff import Options, diff
from tracescope.analysis.report import Report
from tracescope.analysis.rollups.long_lived import durations_note, find_long_lived, set_apart
from tracescope.analysis.rollups.names import shorten
from tracescope.analysis.rollups.period import PeriodRollups, both
from tracescope.analysis.rollups.renaming import collapse
from tracescope.analysis.rollups.where import Condition
from tracescope.analysis.statistics.blocks import match
from tracescope.engine.forecast import past_of_paths
from tracescope.engine.rollups import (
    BUDGET,
    Budget,
    RollupRequest,
    namings,
    read_unread,
    rollups_in,
    rules_notes,
)
from tracescope.errors import InsufficientDataError
from tracescope.near import suggestion
from tracescope.periods import Period, format_utc
from tracescope.schema import DAY_NS, HOUR_NS
from tracescope.store import Snapshot, SpanStore

#: Periods shorter than this are cut finer than into hours.
FINE_BELOW_NS = 10 * HOUR_NS
FINE_SLOTS = 512
FINEST_SLOT_NS = 100_000_000
#: Rollups that a diff reads.
COMPARED: Final = ("path_hours", "entry_hours", "entry_sketches", "service_hours", "counters")
#: Periods up to this length are compared by the ranks of calls too: there rare paths have few, and their
#: sketches few rows.
RANKED_UP_TO_NS: Final = 2 * DAY_NS


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

    @property
    def until_ns(self) -> int:
        """End of the later period."""
        return max(period.end_ns for period in self.periods)

    def check_filled(self, store: SpanStore) -> None:
        """Raise InsufficientDataError when a period holds no traces."""
        found = (self.base, self.head)
        for name, period, side in zip(("BASE", "HEAD"), self.periods, found, strict=True):
            if side.tables["entry_hours"].is_empty():
                raise InsufficientDataError(
                    f"insufficient data: {name} ({period.text}: {period.utc()}) holds no traces"
                    + (f" of environment {side.environment!r}" if side.environment else "")
                    + "".join(f" with --where {one.key}={one.value}" for one in self.where),
                    suggestion(
                        side.environment,
                        [name for one in found for name in one.environments if name != side.environment],
                        _held(store),
                    ),
                )


def read_sides(
    store: SpanStore,
    base: Period,
    head: Period,
    *,
    environment: str | None = None,
    where: Sequence[Condition] = (),
    quantile: float | None = None,
    tables: Sequence[str] = COMPARED,
    zone: str | None = None,
    budget: Budget = BUDGET,
) -> Sides:
    """Rollups of two periods of one snapshot of a store.

    Parameters
    ----------
    store, base, head
        What of what.
    environment
        ``deployment.environment.name``; None for the busiest of HEAD.
    where
        Only traces whose spans carry these attributes.
    quantile
        Only each entry's requests above this quantile of their day; read from raw spans.
    tables
        Rollups wanted; `COMPARED` is what `compare_sides` needs.
    zone
        In which hours of the week will be matched: then hours that count alike are read by days, and rows
        of ``path_hours`` stand for several of them.  None for every hour.
    budget
        What slices of raw spans may take.

    Raises
    ------
    InsufficientDataError
        Raw spans that `where` or `quantile` needs are gone; with `quantile`, a period holds no traces.
    """
    if tables == COMPARED and max(base.length_ns, head.length_ns) <= RANKED_UP_TO_NS:
        tables = (*tables, "path_sketches")
    reading = _Reading(store, (base, head), environment, tuple(where), tuple(tables), budget)
    notes: list[str] = []
    if quantile is not None:
        earlier, later, told = store.reading(partial(reading.slowest, quantile=quantile))
        notes += told
        notes.append(f"only the slowest {1 - quantile:.3g} of each entry's requests, day by day")
    elif zone is not None:
        earlier, later = store.reading(partial(reading.by_days, zone=zone))
    else:
        earlier, later = store.reading(reading.by_hours)
    earlier, later = collapse(earlier, later)
    if quantile is None and "entry_sketches" in tables:
        earlier, later, told = _apart(earlier, later, (earlier, later))
        notes += told
    earlier, later = _under_common_names(earlier, later)
    if environment is None and (told := environment_note(later)):
        notes.append(told)
    if base.start_ns < head.end_ns and head.start_ns < base.end_ns:
        notes.append("the periods overlap: what they share cannot differ")
    if len(namings(earlier.rules)) == len(namings(later.rules)) == 1:  # else a period says so itself
        notes += rules_notes(earlier.rules | later.rules)
    return Sides(earlier, later, (base, head), tuple(where), tuple(notes))


def _apart(
    base: PeriodRollups, head: PeriodRollups, whole: tuple[PeriodRollups, PeriodRollups]
) -> tuple[PeriodRollups, PeriodRollups, list[str]]:
    """Both periods with what is long-lived in `whole` set apart, and what to say of it."""
    entries = find_long_lived(*whole)
    return set_apart(base, entries), set_apart(head, entries), durations_note(entries, *whole)


def environment_note(period: PeriodRollups) -> str:
    """Note which of several environments was chosen by default; empty where there is only one."""
    if len(period.environments) < 2:
        return ""
    others = ", ".join(repr(name) for name in list(period.environments)[1:4])
    return f"environment {period.environment!r}, the busiest; others: {others} (--env)"


def _under_common_names(base: PeriodRollups, head: PeriodRollups) -> tuple[PeriodRollups, PeriodRollups]:
    """Two periods under names that are short in both."""
    tables = shorten(base.tables, head.tables)
    return replace(base, tables=tables[0]), replace(head, tables=tables[1])


@dataclass(frozen=True, slots=True)
class _Reading:
    """Both periods of one snapshot, in three ways."""

    store: SpanStore
    periods: tuple[Period, Period]
    environment: str | None
    where: tuple[Condition, ...]
    tables: tuple[str, ...]
    budget: Budget

    def _side(
        self, snapshot: Snapshot, period: Period, environment: str | None, **asked: Any
    ) -> PeriodRollups:
        request = RollupRequest(
            period.start_ns,
            period.end_ns,
            slot_of(period),
            environment,
            self.tables,
            self.where,
            budget=self.budget,
        )
        return rollups_in(self.store, snapshot, replace(request, **asked))

    def by_hours(self, snapshot: Snapshot, **asked: Any) -> tuple[PeriodRollups, PeriodRollups]:
        """Every hour; BASE of the environment that HEAD is of."""
        base, head = self.periods
        later = self._side(snapshot, head, self.environment, **asked)
        # a HEAD without traces is of no environment: BASE is then of its own busiest
        chosen = (
            self.environment if self.environment is not None or not later.environments else later.environment
        )
        return self._side(snapshot, base, chosen, **asked), later

    def by_days(self, snapshot: Snapshot, *, zone: str) -> tuple[PeriodRollups, PeriodRollups]:
        """Hours that share block and weight in one row."""
        earlier, later = self.by_hours(snapshot, unread=True)
        matched = match(slots_of(earlier), slots_of(later), zone)
        last = later_of(earlier, later)
        before = representative_hours(earlier, matched.base, last)
        after = representative_hours(later, matched.head, last)
        return both(lambda side: read_unread(self.store, snapshot, *side), (earlier, before), (later, after))

    def slowest(
        self, snapshot: Snapshot, *, quantile: float
    ) -> tuple[PeriodRollups, PeriodRollups, list[str]]:
        """Only each entry's requests above a quantile of their day; what is long-lived is told by all."""
        whole = self.by_hours(snapshot)
        Sides(*whole, self.periods, self.where, ()).check_filled(self.store)
        base, head = (
            self._side(
                snapshot,
                period,
                side.environment,
                slower_than=thresholds(
                    side.tables["entry_sketches"], side.start_ns, side.end_ns, side.slot_ns, quantile
                ),
            )
            for period, side in zip(self.periods, whole, strict=True)
        )
        return _apart(base, head, whole)


def compare_sides(store: SpanStore, sides: Sides, options: Options) -> Report:
    """The diff of what `read_sides` read.

    Raises
    ------
    InsufficientDataError
        A period holds too little.
    """
    sides.check_filled(store)
    report = diff(
        sides.base, sides.head, options, past_of_paths(store, sides.head.environment, sides.until_ns)
    )
    return replace(report, notes=(*sides.notes, *report.notes), rejected=store.rejected())


def _held(store: SpanStore) -> str:
    """What to try instead: what the store does hold."""
    first, last = store.extent()
    if not first:
        return "the store is empty: `tracescope import FILE` or `tracescope serve` fills it"
    covered = f"{format_utc(first)} .. {format_utc(last)}"
    return f"the store holds {covered}; `tracescope diff all` compares its halves"
