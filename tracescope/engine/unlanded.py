"""Spans that are sealed without having landed: those of an import, when nothing else is sealing.

Landing makes spans durable before they are sealed, which costs a third of an import.  An import is
durable when its last hour is: until then nothing of it is visible, and whoever runs it has its input.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from tracescope import schema
from tracescope.store.landing import LandingGroup, Ledger

_HOUR = pl.col("start_ns") // schema.HOUR_NS


@dataclass(frozen=True, slots=True)
class Batch:
    """Decoded spans, and what they count in a ledger; see `SpanStore.land`.

    Attributes
    ----------
    name, spans, rejected, arrived_ns
        As they land.
    counts
        Spans by the hour they start in.
    """

    name: str
    spans: pl.DataFrame
    rejected: dict[str, int]
    arrived_ns: int
    counts: dict[int, int]

    @classmethod
    def of(cls, name: str, spans: pl.DataFrame, rejected: dict[str, int], arrived_ns: int) -> Batch:
        """Count the spans by hour."""
        hours, counts = np.unique(spans["start_ns"].to_numpy() // schema.HOUR_NS, return_counts=True)
        return cls(name, spans, rejected, arrived_ns, dict(zip(hours.tolist(), counts.tolist(), strict=True)))

    def hours(self) -> set[int]:
        """Hours that its spans start in."""
        return set(self.counts)


@dataclass(frozen=True, slots=True)
class Unlanded:
    """Spans to be sealed from where they are, all or nothing.

    Attributes
    ----------
    batches
        In memory.
    group
        Staged on disk.
    also
        Names to be remembered beside theirs: what brought the spans, by the names of sources.
    arrived_ns
        When these arrived.
    """

    batches: list[Batch]
    group: LandingGroup
    also: Sequence[str] = ()
    arrived_ns: int = 0

    def counts(self) -> Counter[int]:
        """Those in memory by the hour they start in."""
        total: Counter[int] = Counter()
        for batch in self.batches:
            total.update(batch.counts)
        return total

    def near(self, hours: Iterable[int]) -> list[pl.LazyFrame]:
        """Those in memory that start in `hours`."""
        wanted = set(hours)
        found: list[pl.LazyFrame] = []
        for batch in self.batches:
            some = wanted.intersection(batch.counts)
            if len(some) == len(batch.counts):
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
        for name in self.also:
            if name not in seen:
                total.count(name, 0, {}, self.arrived_ns)
        return total
