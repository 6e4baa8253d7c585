"""Rollups made anew from the spans that sealing kept: the same ones, whatever became of the old."""

from __future__ import annotations

from dataclasses import dataclass, replace

import polars as pl
from polars.exceptions import PolarsError

from tracescope import schema
from tracescope.analysis.rollups.merge import add_up, cap_operations, join_hops, merge
from tracescope.engine.days import fold
from tracescope.engine.seal import carried, seal
from tracescope.engine.slices import DEFAULT_MEMORY, hop_halves, process_slices, runs, source
from tracescope.errors import StoreError
from tracescope.store import Snapshot, SpanStore
from tracescope.store.sealed import Pointer


@dataclass(frozen=True, slots=True)
class RebuildResult:
    """Hours made anew, spans in them, and hours left as rules of an earlier version made them.

    Those have no raw spans any more.
    """

    hours: int
    spans: int
    left: int


def rebuild(store: SpanStore, *, workers: int = 2, memory_bytes: int = DEFAULT_MEMORY) -> RebuildResult:
    """Make the rollups anew from the spans of every hour that still has them.

    When every hour has its spans, nothing of the old rollups is read: damaged ones are mended too.

    Raises
    ------
    StoreError
        Rollups of hours whose spans have gone cannot be read, so they cannot be kept.
    """
    from deltalake.exceptions import DeltaError

    seal(store, workers=workers, memory_bytes=memory_bytes, wait=True)
    with store.sealing(wait=True):
        pointer = store.sealed.settle()
        hours = pointer.with_raw()
        try:
            _remake(store, pointer, hours, workers, memory_bytes)
        except (DeltaError, PolarsError) as error:
            raise StoreError(
                f"{store.root} cannot be rebuilt: {error}", "`tracescope verify` names the damaged files"
            ) from error
        left = sum(state.rules != schema.RULES for state in pointer.hours.values())
        return RebuildResult(len(hours), sum(pointer.hours[hour].spans for hour in hours), left)


def _remake(store: SpanStore, pointer: Pointer, hours: list[int], workers: int, memory_bytes: int) -> None:
    """Replace the rollups of `hours` and publish them together."""
    before = Snapshot(store.sealed.pointer(), {}, pointer.ledger)
    whole = len(hours) == len(pointer.hours)
    dimensions: list[dict[str, pl.DataFrame]] = []
    for number, (begin, end) in enumerate(runs(hours)):
        keep = (begin * schema.HOUR_NS, end * schema.HOUR_NS)
        spans = source(store, before, begin, end).scan()
        tables = merge([part.tables for part in process_slices(spans, keep, memory_bytes, workers)])
        tables = cap_operations(join_hops(tables, hop_halves(store, pointer, tables, begin, end)))
        tables = carried(store, before.pointer, tables, begin, end)
        former = f"slot >= {begin} AND slot < {end}"
        if whole:
            former = None if number else "true"
        for name in schema.ROLLUPS:
            store.sealed.write(pointer, name, tables[name], former)
        dimensions.append({name: tables[name] for name in schema.DIMENSIONS})
    for name in schema.DIMENSIONS:
        frame = add_up(name, pl.concat([some[name] for some in dimensions])) if dimensions else None
        if frame is not None and whole:
            store.sealed.write(pointer, name, frame, "true")
        elif frame is not None:
            store.sealed.union(pointer, name, frame)
    for hour in hours:
        pointer.hours[hour] = replace(pointer.hours[hour], rules=schema.RULES)
    pointer.days = [] if whole else sorted(set(pointer.days) - {hour // 24 for hour in hours})
    store.sealed.publish(pointer)
    fold(store)


def recompute(store: SpanStore, begin: int, end: int) -> dict[str, pl.DataFrame]:
    """Rollups of sealed hours ``[begin, end)`` from their sealed spans, written nowhere."""
    pointer = store.sealed.pointer()
    spans = source(store, Snapshot(pointer, {}, pointer.ledger), begin, end).scan()
    keep = (begin * schema.HOUR_NS, end * schema.HOUR_NS)
    tables = merge([partial.tables for partial in process_slices(spans, keep, DEFAULT_MEMORY, 2)])
    return cap_operations(join_hops(tables, hop_halves(store, pointer, tables, begin, end)))
