"""Spans that are sealed without having landed: those of an import, when nothing else is sealing.

Landing makes spans durable before they are sealed, which costs a third of an import.  An import is
durable when its last hour is: until then nothing of it is visible, and whoever runs it has its input.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import polars as pl

from tracescope import schema
from tracescope.store.landing import LandingGroup, Ledger

_HOUR = pl.col("start_ns") // schema.HOUR_NS


@dataclass(frozen=True, slots=True)
class Batch:
    """Decoded spans, and what they count in a ledger; see `SpanStore.land`."""

    name: str
    spans: pl.DataFrame
    rejected: dict[str, int]
    arrived_ns: int

    def hours(self) -> set[int]:
        """Hours that its spans start in."""
        return set(self.spans.select(_HOUR.unique())["start_ns"].to_list())


@dataclass(frozen=True, slots=True)
class Unlanded:
    """Spans to be sealed from where they are, all or nothing.

    Attributes
    ----------
    batches
        In memory.
    group
        Staged on disk.
    """

    batches: list[Batch]
    group: LandingGroup

    def hours(self) -> set[int]:
        """Hours that any of those in memory starts in."""
        return {hour for batch in self.batches for hour in batch.hours()}

    def near(self, hours: Iterable[int]) -> list[pl.LazyFrame]:
        """Those in memory that start in `hours`."""
        wanted = set(hours)
        found: list[pl.LazyFrame] = []
        for batch in self.batches:
            some = wanted.intersection(batch.hours())
            if some == batch.hours():
                found.append(batch.spans.lazy())
            elif some:
                found.append(batch.spans.lazy().filter(_HOUR.is_in(some)))
        return found

    def ledger(self, known: set[str]) -> Ledger:
        """Sum the batches that are not among `known`."""
        total = self.group.ledger(known)
        seen = known.union(total.batches)
        for batch in self.batches:
            if batch.name not in seen:
                seen.add(batch.name)
                total.count(batch.name, len(batch.spans), batch.rejected, batch.arrived_ns)
        return total
