"""Rebuild rollups from the spans that sealing kept: the same ones, whatever happened to the old."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial

import polars as pl
from polars.exceptions import PolarsError

from tracescope import schema
from tracescope.analysis.rollups.merge import Sum, join_hops
from tracescope.analysis.rollups.renaming import cap_operations
from tracescope.conventions.keeping import Policy
from tracescope.engine.days import fold
from tracescope.engine.repair import heal
from tracescope.engine.seal import carried, seal
from tracescope.engine.slices import DEFAULT_MEMORY, Room, Source, hop_halves, runs, source
from tracescope.engine.tasks import Done, Pool, Resolving, Run, Task, Threads, rollings, worked
from tracescope.errors import StoreError
from tracescope.store import Snapshot, SpanStore
from tracescope.store.pointer import Pointer
from tracescope.store.sealed import Rewrite


@dataclass(frozen=True, slots=True)
class RebuildResult:
    """Hours rebuilt, spans in them, and hours left as an earlier version's rules built them.

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
    pool: Pool | None = None,
) -> RebuildResult:
    """Rebuild the rollups of every hour that still has its spans.

    What is damaged is set aside first: what can be made of spans is made, and the rest is left as it is.
    Given a `policy`, what the spans' attributes mean is resolved anew too: by today's rules, and by what it
    calls addresses.  The `pool` works on the slices, or so many `workers`, threads, where none is given.

    Raises
    ------
    StoreError
        Rollups of hours whose spans have gone cannot be read, so they cannot be kept.
    """
    pool = Threads(workers) if pool is None else pool
    with store.sealing(wait=True):
        heal(store)  # so that what has landed can be sealed
    seal(store, memory_bytes=memory_bytes, wait=True, pool=pool)
    with store.sealing(wait=True):
        pointer = store.sealed.settle()
        hours = pointer.with_raw()
        try:
            if policy is not None:
                _resolve(store, pointer, hours, policy, pool, memory_bytes)
            _remake(store, pointer, hours, pool, memory_bytes)
        except PolarsError as error:
            raise StoreError(
                f"{store.root} cannot be rebuilt: {error}", "`tracescope verify` names the damaged files"
            ) from error
        left = sum(state.rules != schema.RULES for state in pointer.hours.values())
        return RebuildResult(len(hours), sum(pointer.hours[hour].spans for hour in hours), left)


def _resolve(
    store: SpanStore, pointer: Pointer, hours: list[int], policy: Policy, pool: Pool, memory_bytes: int
) -> None:
    """Replace the spans of `hours` of which today's rules say something else; nobody sees them yet."""
    root = store.root if pool.inside else store.root.absolute()
    files = tuple(pointer.files.get("spans", ()))

    def task(some: list[int]) -> Task:
        among = frozenset(some)
        near = tuple(file for file in files if file.among(among))
        return Resolving(Source(root, (), near, tuple(some)), policy)

    portions = list(_portions(pointer, hours, pool.room(memory_bytes).spans))
    plans = (((some[0], some[-1] + 1), [task(some)]) for some in portions)
    for some, (_, made) in zip(portions, worked(pool, plans), strict=True):
        for done in made:
            if done.files:
                store.sealed.replace(pointer, "spans", list(done.files), some)


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


def _remake(store: SpanStore, pointer: Pointer, hours: list[int], pool: Pool, memory_bytes: int) -> None:
    """Replace the rollups of `hours` and publish them, with their spans, together."""
    before = Snapshot(copy.deepcopy(pointer), {}, pointer.ledger)
    former = partial(store.sealed.scan, before.pointer)
    if len(hours) == len(pointer.hours):
        for name in (*schema.ROLLUPS, *schema.DIMENSIONS, *schema.DAILY.values()):
            pointer.files[name] = []
        pointer.days = []
    made = Rewrite(store.sealed, pointer)
    stretches = runs(hours, before.pointer.hours)
    plans = ((run, rollings(source(store, before, *run), run, pool, memory_bytes)) for run in stretches)
    for (begin, end), parts in worked(pool, plans):
        tables = _rolled(parts, made.scan, (begin, end), memory_bytes)
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
    pool, run = Threads(room.workers), (begin, end)
    parts = pool.run(rollings(source(store, found, begin, end), run, pool, room.memory_bytes))
    return _rolled(parts, stored, run, room.memory_bytes)


def _rolled(
    parts: Iterable[Done],
    stored: Callable[[str, tuple[int, int]], pl.LazyFrame],
    run: Run,
    memory_bytes: int,
) -> dict[str, pl.DataFrame]:
    """Rollups of a run of hours from what tasks made, hops joined with those that are stored around them."""
    total = Sum(memory_bytes // 8)
    for part in parts:
        total.add(part.tables)
    tables = total.tables()
    return cap_operations(join_hops(tables, hop_halves(stored, tables["hop_halves"], *run)))
