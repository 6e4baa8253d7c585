"""Looking after a store: retention, and proof that it is what it says.

Raw spans are kept for days after they arrived, rollups for years back from the newest hour.  An hour
whose raw spans have gone is closed: its rollups stay, more spans for it are refused.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import polars as pl

from tracescope import schema
from tracescope.analysis.rollups.merge import carry_counts, checksum
from tracescope.engine.days import differing
from tracescope.engine.rebuild import rebuild, recompute
from tracescope.engine.repair import described, heal, landing_problems, other_problems
from tracescope.engine.seal import seal
from tracescope.engine.slices import DEFAULT_MEMORY, Room, affected, runs
from tracescope.errors import TracescopeError
from tracescope.store import SpanStore, Status, body, journal
from tracescope.store.pointer import Pointer
from tracescope.store.several import together


@dataclass(frozen=True, slots=True)
class PruneResult:
    """Hours whose raw spans went, the spans in them, hours whose rollups went, and files removed."""

    hours: int
    spans: int
    rollup_hours: int
    files: int


def prune(
    store: SpanStore,
    *,
    now_ns: int,
    spans_days: int,
    rollups_days: int,
    sealing_first: bool = True,
    readers_s: float = 0.0,
    workers: int = 2,
    memory_bytes: int = DEFAULT_MEMORY,
) -> PruneResult:
    """Remove what retention no longer keeps.

    Parameters
    ----------
    store, now_ns
        Where, and the instant that ages are counted from.
    spans_days
        Raw spans are kept so many days after they arrived.
    rollups_days
        Rollups are kept so many days back from the newest hour.
    sealing_first
        Seal what has landed, so that its age counts too; hours with unsealed spans are left alone.
    readers_s
        Files that readers may have begun to read so many seconds ago stay until the next time.
    workers, memory_bytes
        What sealing may use.
    """
    if sealing_first:
        seal(store, wait=True, workers=workers, memory_bytes=memory_bytes)
    with store.sealing(wait=True):
        pointer = store.sealed.settle()
        limit = now_ns - spans_days * schema.DAY_NS
        open_hours = set(affected(list(store.landing.files())))
        settled = [hour for hour in sorted(pointer.hours) if hour not in open_hours]
        for hour in pointer.with_raw():  # an arrival that is unknown is never old: it counts from now
            if not pointer.hours[hour].arrived_ns:
                pointer.hours[hour] = replace(pointer.hours[hour], arrived_ns=now_ns)
        old = [h for h in settled if pointer.has_raw(h) and pointer.hours[h].arrived_ns < limit]
        newest = body({hour: state.spans for hour, state in pointer.hours.items()})[1]
        ancient = [h for h in settled if h < newest - rollups_days * 24]
        return _close_hours(store, pointer, old, ancient, readers_s)


def _close_hours(
    store: SpanStore, pointer: Pointer, old: list[int], ancient: list[int], readers_s: float
) -> PruneResult:
    """Remove raw spans of `old` hours and everything of `ancient` ones; the caller holds the lock."""
    gone = sum(pointer.hours[hour].spans for hour in old)
    store.sealed.replace(pointer, "spans", [], {*old, *ancient})
    for name in (*schema.ROLLUPS, *schema.DAILY.values()) if ancient else ():
        store.sealed.replace(pointer, name, [], ancient)
    for hour in old:
        pointer.hours[hour] = replace(pointer.hours[hour], has_raw=False)
    pointer.forget_hours(ancient)
    store.sealed.publish(pointer)
    files = store.sealed.vacuum(store.sealed.pointer(), readers_s=readers_s)
    return PruneResult(len(old), gone, len(ancient), files)


def reclaim(store: SpanStore, excess_bytes: int) -> PruneResult:
    """Remove the oldest hours' raw spans, whatever their age, until `excess_bytes` are gone.

    Their rollups stay.  Hours that still have unsealed spans are left alone.  The disk is short, so
    nothing waits for readers: who reads these files now reads again.
    """
    with store.sealing(wait=True):
        pointer = store.sealed.settle()
        open_hours = set(affected(list(store.landing.files())))
        sizes: dict[int, int] = {}
        for file in pointer.files.get("spans", ()):
            held = [hour for hour in pointer.with_raw() if file.first <= hour <= file.last]
            rows = sum(pointer.hours[hour].spans for hour in held)
            for hour in held:
                share = file.size * pointer.hours[hour].spans // rows
                sizes[hour] = sizes.get(hour, 0) + share
        chosen: list[int] = []
        for hour in pointer.with_raw():
            if excess_bytes <= 0:
                break
            if hour not in open_hours:
                chosen.append(hour)
                excess_bytes -= sizes.get(hour, 0)
        return _close_hours(store, pointer, chosen, [], 0.0)


def status(store: SpanStore) -> Status:
    """What a store holds, or several together, what is acknowledged but still in the journal included."""
    if len(store.stores) > 1:
        return together([status(each) for each in store.stores])
    from tracescope.ingest.drain import decode_records

    waiting, damaged = {}, 0
    for segment in journal.segments(store.journal_folder):
        try:
            held = journal.contents(segment)
        except FileNotFoundError:  # drained a moment ago
            continue
        damaged += held.damaged
        decoded = decode_records(held.records)
        waiting[journal.batch_of(segment)] = (decoded.spans, decoded.rejected)
    counted = store.status(waiting)
    return replace(counted, lost_requests=counted.lost_requests + damaged)


def verify(
    store: SpanStore,
    *,
    workers: int = 2,
    memory_bytes: int = DEFAULT_MEMORY,
    progress: Callable[[int, int], None] | None = None,
) -> list[str]:
    """What is wrong with a store, one sentence each; an empty list when nothing is.

    Every file that counts is compared with its checksum; spans are counted against the pointer; the rollups
    of every hour that still has its spans are made anew and compared.  Nothing is sealed meanwhile.
    """
    with store.unsealed():
        return _problems(store, Room(workers, memory_bytes), progress)


def repair(
    store: SpanStore, *, workers: int = 2, memory_bytes: int = DEFAULT_MEMORY
) -> tuple[list[str], list[str]]:
    """Do all that is safe for a damaged store: what was done, and what is still wrong."""
    with store.sealing(wait=True):
        done, stale = heal(store)
    if stale:
        rebuilt = rebuild(store, workers=workers, memory_bytes=memory_bytes)
        done.append(f"{rebuilt.hours} hours are made anew from {rebuilt.spans} spans")
    return done, verify(store, workers=workers, memory_bytes=memory_bytes)


def _problems(store: SpanStore, room: Room, progress: Callable[[int, int], None] | None) -> list[str]:
    pointer = store.sealed.pointer()
    problems = [told for _, told in (*other_problems(store), *landing_problems(store, pointer))]
    gone = store.sealed.broken(pointer)
    for name, files in pointer.files.items():
        problems += [described(store, file, name, gone[file]) for file in files if file in gone]
    if gone:
        return problems
    counts = store.sealed.scan(pointer, "spans").group_by("hour").len().collect()
    held = dict(counts.iter_rows())
    kept = {hour: pointer.hours[hour].spans for hour in pointer.with_raw()}
    for hour in sorted({*held, *kept}.difference(pointer.closed())):  # a repair closes hours that lost spans
        if held.get(hour, 0) != kept.get(hour, 0):
            problems.append(f"hour {hour} holds {held.get(hour, 0)} spans; {kept.get(hour, 0)} were sealed")
    # rollups that other rules made differ from what these spans give, and are no worse for it
    stretches = list(runs([hour for hour in sorted(kept) if pointer.hours[hour].rules == schema.RULES]))
    for number, (begin, end) in enumerate(stretches, 1):
        problems += _differences(store, begin, end, room)
        if progress is not None:
            progress(number, len(stretches))
    return problems + differing(store)


def _differences(store: SpanStore, begin: int, end: int, room: Room) -> list[str]:
    """Tables whose rows for hours ``[begin, end)`` are not what their spans give."""
    pointer = store.sealed.pointer()
    try:
        fresh = recompute(store, begin, end, room)
    except TracescopeError as error:
        return [f"hours {begin}..{end} cannot be analysed: {error}"]
    out: list[str] = []
    inside = (pl.col("slot") >= begin) & (pl.col("slot") < end)
    for name in schema.ROLLUPS:
        stored = store.sealed.scan(pointer, name).filter(inside).collect()
        if name == "counters":
            fresh = {**fresh, name: carry_counts(fresh[name], stored)}
        blank = {key: schema.empty(t) for key, t in {**schema.ROLLUPS, **schema.DIMENSIONS}.items()}
        if checksum({**blank, name: stored}) != checksum({**blank, name: fresh[name]}):
            out.append(
                f"{name} of hours {begin}..{end} is not what the spans give; `tracescope rebuild` makes it so"
            )
    return out
