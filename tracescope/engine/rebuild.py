"""Rollups made anew from the spans that sealing kept: the same ones, whatever became of the old."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial

import polars as pl
from polars.exceptions import PolarsError

from tracescope import schema
from tracescope.analysis.rollups.merge import Sum, join_hops
from tracescope.analysis.rollups.renaming import cap_operations
from tracescope.engine.days import fold
from tracescope.engine.repair import heal
from tracescope.engine.seal import carried, seal
from tracescope.engine.slices import DEFAULT_MEMORY, Room, hop_halves, process_slices, runs, source
from tracescope.errors import StoreError
from tracescope.keeping import Policy
from tracescope.store import Snapshot, SpanStore
from tracescope.store.pointer import Pointer
from tracescope.store.sealed import Rewrite


@dataclass(frozen=True, slots=True)
class RebuildResult:
    """Hours made anew, spans in them, and hours left as rules of an earlier version made them.

    Those have no raw spans any more.
    """

    hours: int
    spans: int
    left: int


def rebuild(
    store: SpanStore,
    *,
    workers: int = 2,
    memory_bytes: int = DEFAULT_MEMORY,
    policy: Policy | None = None,
) -> RebuildResult:
    """Make the rollups anew from the spans of every hour that still has them.

    What is damaged is set aside first: what can be made of spans is made, and the rest is left as it is.
    Given a `policy`, what the spans' attributes mean is resolved anew too: by today's rules, and by what it
    calls addresses.

    Raises
    ------
    StoreError
        Rollups of hours whose spans have gone cannot be read, so they cannot be kept.
    """
    with store.sealing(wait=True):
        heal(store)  # so that what has landed can be sealed
    seal(store, workers=workers, memory_bytes=memory_bytes, wait=True)
    with store.sealing(wait=True):
        pointer = store.sealed.settle()
        hours = pointer.with_raw()
        try:
            room = Room(workers, memory_bytes)
            if policy is not None:
                _resolve(store, pointer, hours, room, policy)
            _remake(store, pointer, hours, room)
        except PolarsError as error:
            raise StoreError(
                f"{store.root} cannot be rebuilt: {error}", "`tracescope verify` names the damaged files"
            ) from error
        left = sum(state.rules != schema.RULES for state in pointer.hours.values())
        return RebuildResult(len(hours), sum(pointer.hours[hour].spans for hour in hours), left)


def _resolve(store: SpanStore, pointer: Pointer, hours: list[int], room: Room, policy: Policy) -> None:
    """Replace the spans of `hours` of which today's rules say something else; nobody sees them yet."""
    from tracescope.ingest.resolve import RESOLVED, resolve  # which loads the compiler

    for some in _portions(pointer, hours, room.spans):
        spans = store.sealed.spans(pointer, some).collect()
        made = resolve(spans, policy)
        if not made.select(RESOLVED).equals(spans.select(RESOLVED)):
            files = store.sealed.put("spans", made.sort("hour", maintain_order=True))
            store.sealed.replace(pointer, "spans", files, some)


def _portions(pointer: Pointer, hours: list[int], most: int) -> Iterator[list[int]]:
    """Hours that have up to so many spans together; each at least alone."""
    some: list[int] = []
    count = 0
    for hour in hours:
        own = pointer.hours[hour].spans
        if some and count + own > most:
            yield some
            some, count = [], 0
        some.append(hour)
        count += own
    if some:
        yield some


def _remake(store: SpanStore, pointer: Pointer, hours: list[int], room: Room) -> None:
    """Replace the rollups of `hours` and publish them, with their spans, together."""
    before = Snapshot(copy.deepcopy(pointer), {}, pointer.ledger)
    former = partial(store.sealed.scan, before.pointer)
    if len(hours) == len(pointer.hours):
        for name in (*schema.ROLLUPS, *schema.DIMENSIONS, *schema.DAILY.values()):
            pointer.files[name] = []
        pointer.days = []
    made = Rewrite(store.sealed, pointer)
    for begin, end in runs(hours, before.pointer.hours):
        tables = _rolled(store, before, made.scan, (begin, end), room)
        tables["counters"] = carried(former, tables["counters"], begin, end)
        made.add(tables, [hour for hour in hours if begin <= hour < end])
        if made.full:
            made.write()
    made.write()
    for hour in hours:
        pointer.hours[hour] = replace(pointer.hours[hour], rules=schema.RULES)
    pointer.unfold(hours)
    fold(store, pointer)
    store.sealed.publish(pointer)


def recompute(store: SpanStore, begin: int, end: int, room: Room) -> dict[str, pl.DataFrame]:
    """Rollups of sealed hours ``[begin, end)`` from their sealed spans, written nowhere."""
    pointer = store.sealed.pointer()
    found = Snapshot(pointer, {}, pointer.ledger)
    stored = partial(store.sealed.scan, pointer)
    return _rolled(store, found, stored, (begin, end), room)


def _rolled(
    store: SpanStore,
    snapshot: Snapshot,
    stored: Callable[[str, tuple[int, int]], pl.LazyFrame],
    run: tuple[int, int],
    room: Room,
) -> dict[str, pl.DataFrame]:
    """Rollups of a run of hours from sealed spans, hops joined with those that are stored around them."""
    begin, end = run
    spans = source(store, snapshot, begin, end).scan()
    keep = (begin * schema.HOUR_NS, end * schema.HOUR_NS)
    total = Sum(room.memory_bytes // 8)
    for each in process_slices(spans, keep, room.memory_bytes, room.workers):
        total.add(each.tables)
    tables = total.tables()
    return cap_operations(join_hops(tables, hop_halves(stored, tables["hop_halves"], begin, end)))
