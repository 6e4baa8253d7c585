"""Whether the raw spans of a period are at hand, and how many there are."""

from __future__ import annotations

from tracescope.engine.slices import spans_of
from tracescope.periods import Period
from tracescope.schema import HOUR_NS
from tracescope.store import Snapshot


def raw_spans(snapshot: Snapshot, period: Period) -> int | None:
    """How many raw spans a period has, roughly; None where those of some of its hours are gone."""
    hours = range(period.start_ns // HOUR_NS, -(-period.end_ns // HOUR_NS))
    if any(snapshot.pointer.is_closed(hour) for hour in hours):
        return None
    counts = spans_of(snapshot)
    return sum(counts.get(hour, 0) for hour in hours)
