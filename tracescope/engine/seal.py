"""Sealing: landed spans become rollups and sealed spans, whole hours at a time.

Spans that land late re-open the hours whose traces they may change, before and after.  All hours of one
sealing are published together, a file or two a table; what is made of very many is published as it comes.
Slices bound the memory (`tracescope.engine.slices`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple, Self

import polars as pl
from polars.exceptions import PolarsError

from tracescope import schema
from tracescope.analysis.rollups.merge import Sum, carry_counts, join_hops
from tracescope.analysis.rollups.renaming import cap_operations
from tracescope.engine.days import fold
from tracescope.engine.slices import (
    DEFAULT_MEMORY,
    HOP_WINDOW_HOURS,
    affected,
    hop_halves,
    runs,
    source,
    spans_of,
)
from tracescope.engine.tasks import Done, Pool, Run, Task, Threads, rollings, worked
from tracescope.engine.unlanded import Unlanded
from tracescope.errors import refused
from tracescope.store import Snapshot, SpanStore
from tracescope.store.pointer import File, HourState, Pointer
from tracescope.store.sealed import READERS_S, Rewrite

#: Spans written together, where memory allows: files of few rows cost more than their rows.
_WRITTEN = 200_000

#: This part of the memory may be rollups that wait to be added up, and as much those that wait to be written.
_SUMMED = 8

#: Publications between two looks for files that nobody names any more.
_SWEPT_EVERY = 16

_AFTER = schema.TRACE_WINDOW_HOURS


@dataclass(frozen=True, slots=True)
class SealResult:
    """Hours sealed, and spans in them."""

    hours: int
    spans: int


def _reopened(hours: Sequence[int], pointer: Pointer) -> list[int]:
    """What sealing spans of `hours` takes along; of the hours after only those sealed before."""
    given = set(hours)
    before = {h for hour in given for h in range(hour - _AFTER, hour + 1)}
    return sorted(before | {hour for hour in affected(hours) if hour in pointer.hours})


def seal(
    store: SpanStore,
    *,
    before_ns: int | None = None,
    workers: int = 2,
    memory_bytes: int = DEFAULT_MEMORY,
    wait: bool = False,
    unlanded: Unlanded | None = None,
    progress: Callable[[int, int], None] | None = None,
    pool: Pool | None = None,
) -> SealResult:
    """Seal every hour that has landed spans, or may have got some.

    Parameters
    ----------
    store
        Where.
    before_ns
        Only hours that end by then; None for all.
    workers, memory_bytes
        Slices worked on at once, and what they may take together.
    wait
        Wait for another process's sealing instead of raising StoreBusyError.
    unlanded
        Spans to seal along with those that landed.  Nothing becomes visible before all is sealed;
        with an error the store stays as it was.
    progress
        Called with hours done and hours in all.
    pool
        Who works on the slices; `workers` threads where none is given, and where spans are `unlanded`.
    """
    if pool is None or unlanded is not None:
        pool = Threads(workers)
    with store.sealing(wait=wait):
        found = store.snapshot()
        if unlanded is not None:
            found = _along(found, unlanded)
        limit = None if before_ns is None else before_ns // schema.HOUR_NS
        hours = _reopened(list(found.landed), found.pointer)
        chosen = [hour for hour in hours if limit is None or hour < limit]
        return _seal(store, found, chosen, _Means(pool, memory_bytes), progress, unlanded)


def _along(snapshot: Snapshot, unlanded: Unlanded) -> Snapshot:
    """A snapshot with what has not landed."""
    staged = unlanded.group.files()
    hours = sorted({*snapshot.landed, *staged, *unlanded.counts()})
    return replace(
        snapshot, landed={hour: snapshot.landed.get(hour, []) + staged.get(hour, []) for hour in hours}
    )


def quiet_hours(written: Mapping[int, Sequence[float]], *, now_ns: int, grace_s: float) -> list[int]:
    """Hours that are over and have had no new spans for a while, by when their files were written."""
    limit = int(now_ns - grace_s * 1e9) // schema.HOUR_NS
    quiet: list[int] = []
    for hour, times in written.items():
        ages = [now_ns / 1e9 - at for at in times]
        if hour < limit and (min(ages) >= grace_s or max(ages) >= 4 * grace_s):
            quiet.append(hour)
    return sorted(quiet)


def seal_quiet(
    store: SpanStore, *, now_ns: int, grace_s: float, workers: int = 1, memory_bytes: int = DEFAULT_MEMORY
) -> SealResult:
    """Seal the hours that are over and have had no new spans for a while.

    Parameters
    ----------
    store, now_ns
        Where and when.
    grace_s
        Hours that ended so long ago, and got nothing for as long, are sealed; after four times that
        they are sealed whatever still trickles in.
    """
    with store.sealing():
        found = store.snapshot()
        quiet = quiet_hours(store.landing.written(), now_ns=now_ns, grace_s=grace_s)
        means = _Means(Threads(workers), memory_bytes)
        return _seal(store, found, _reopened(quiet, found.pointer), means, None)


class _Means(NamedTuple):
    """Who works on slices, and the memory that may be used here."""

    pool: Pool
    memory_bytes: int


@dataclass(slots=True)
class _Sealing:
    """One sealing: what it reads, and what it has made that nobody sees yet."""

    store: SpanStore
    snapshot: Snapshot
    means: _Means
    unlanded: Unlanded | None
    pointer: Pointer
    rolled: Rewrite
    spans: _Writer

    def worked(self, stretches: Iterable[Run]) -> Iterator[tuple[Run, Iterator[Done]]]:
        """What the tasks of each run of hours made; to be taken by `add` before the next."""
        return worked(self.means.pool, ((run, self._tasks(run)) for run in stretches))

    def _tasks(self, run: Run) -> list[Task]:
        # landed and sealed spans of the hours around stay as they are until the pointer is out
        near = source(self.store, self.snapshot, *run, self.unlanded)
        return rollings(near, run, self.means.pool, self.means.memory_bytes, keep=True)

    def add(self, run: Run, results: Iterable[Done]) -> None:
        """Gather rollups and sealed spans of a run of hours."""
        begin, end = run
        total = Sum(self.means.memory_bytes // _SUMMED)
        for done in results:
            total.add(done.tables)
            self.spans.add(done)
        merged = total.tables()
        halves = hop_halves(self.rolled.scan, merged["hop_halves"], begin, end)
        merged = cap_operations(join_hops(merged, halves))
        former = {hour for hour in self.pointer.hours if begin <= hour < end}
        merged["counters"] = carried(self.rolled.scan, merged["counters"], begin, end)
        hours = former.union(merged["path_hours"]["slot"], merged["entry_hours"]["slot"], self.spans.counts)
        self.rolled.add(merged, {hour for hour in hours if begin <= hour < end})
        self.spans.replaced |= former
        self.pointer.unfold(hours)

    def write(self) -> None:
        """Write what was made, for the pointer to be published."""
        self.rolled.write()
        pointer, spans = self.pointer, self.spans
        self.store.sealed.replace(pointer, "spans", spans.files(), spans.replaced)
        arrived = _arrived(self.store, self.snapshot, self.unlanded)
        for hour in {*spans.replaced, *spans.counts}:
            former = pointer.hours.pop(hour, None)
            if hour in spans.counts:
                latest = [arrived.get(near, 0) for near in range(hour, hour + _AFTER + 1)]
                known = former.arrived_ns if former else 0
                pointer.hours[hour] = HourState(spans.counts[hour], max(known, *latest), has_raw=True)
        pointer.first_ns, pointer.last_ns = spans.first_ns, spans.last_ns
        spans.done()


def _seal(
    store: SpanStore,
    snapshot: Snapshot,
    chosen: list[int],
    means: _Means,
    progress: Callable[[int, int], None] | None,
    unlanded: Unlanded | None = None,
) -> SealResult:
    """Seal the chosen hours that have spans, then drop the landed files that no other hour needs."""
    targets = [hour for hour in chosen if _may_hold(hour, snapshot) and not snapshot.pointer.is_closed(hour)]
    held = {*snapshot.landed, *snapshot.pointer.hours}
    pointer = store.sealed.settle()
    done = 0
    room = means.pool.room(means.memory_bytes)
    with _Writer(store, pointer, min(_WRITTEN, room.spans)) as spans:
        rolled = Rewrite(store.sealed, pointer, min(Rewrite.FULL_BYTES, means.memory_bytes // _SUMMED))
        made = _Sealing(store, snapshot, means, unlanded, pointer, rolled, spans)
        for run, done_tasks in made.worked(runs(targets, held, spans_of(snapshot, unlanded), room)):
            made.add(run, done_tasks)
            if made.rolled.full:
                made.write()
                if unlanded is None:
                    store.sealed.publish(pointer)
            done += sum(run[0] <= hour < run[1] for hour in targets)
            if progress is not None:
                progress(done, len(targets))
        count = spans.taken
        for run, done_tasks in made.worked(runs(_rejoined(made.rolled, targets), held)):
            made.add(run, done_tasks)
        made.write()
    settled = set(chosen)
    files = [
        path
        for hour, paths in snapshot.landed.items()
        if settled.issuperset(_reopened([hour], snapshot.pointer))
        for path in paths
    ]
    _clear(store, pointer, files, _late(snapshot, files, unlanded), unlanded)
    return SealResult(done, count)


def _arrived(store: SpanStore, snapshot: Snapshot, unlanded: Unlanded | None) -> dict[int, int]:
    """When the latest of the spans that are to be sealed arrived, by the hour they start in.

    Where a batch's entry is lost its file tells: it was written no sooner than its spans arrived.
    """
    known = store.landing.arrivals(store.landing.held())
    latest: dict[int, int] = {}
    if unlanded is not None:
        known |= store.landing.arrivals([unlanded.group.folder])
        for batch in unlanded.batches:
            for hour in batch.hours():
                latest[hour] = max(latest.get(hour, 0), batch.arrived_ns)
    for hour, paths in snapshot.landed.items():
        for path in paths:
            at = known.get(path.stem) or path.stat().st_mtime_ns
            latest[hour] = max(latest.get(hour, 0), at)
    return latest


def _may_hold(hour: int, snapshot: Snapshot) -> bool:
    """Whether a trace can start in `hour`."""
    return hour in snapshot.landed or hour in snapshot.pointer.hours


def _late(snapshot: Snapshot, files: list[Path], unlanded: Unlanded | None) -> int:
    """Spans that came while retention closed their hour."""
    closed = {path for hour in snapshot.closed for path in snapshot.landed.get(hour, ())}
    paths = sorted(closed.intersection(files))
    late = [pl.scan_parquet(paths)] if paths else []
    if unlanded is not None:
        late += unlanded.near(snapshot.closed)
    return sum(int(frame.select(pl.len()).collect().item()) for frame in late)


def _rejoined(rolled: Rewrite, sealed: list[int]) -> list[int]:
    """Hours sealed before whose consumers wait for producers that these hours have now."""
    if not sealed:
        return []
    around = min(sealed) - HOP_WINDOW_HOURS, max(sealed) + HOP_WINDOW_HOURS
    halves = rolled.scan("hop_halves", around)
    ids = ["key_hi", "key_lo", "key_span"]
    mine = halves.filter(pl.col("slot").is_in(sealed), pl.col("side") == 0).select(ids)
    near = halves.filter(pl.col("side") > 0, ~pl.col("slot").is_in(sealed))
    hours = near.join(mine, on=ids, how="semi").select("slot").unique().collect()["slot"].to_list()
    return sorted(hour for hour in hours if rolled.pointer.has_raw(hour))


def _clear(
    store: SpanStore, pointer: Pointer, files: list[Path], late: int, unlanded: Unlanded | None
) -> None:
    """Publish the pointer with the ledger of what is sealed, and drop landed files that are."""
    pointer.ledger.merge(store.landing.ledger(set(pointer.ledger.batches), store.landing.held()))
    if unlanded is not None:
        pointer.ledger.merge(unlanded.ledger(set(pointer.ledger.batches)))
    pointer.ledger.add(-late, {"hour_closed": late} if late else {})
    fold(store, pointer)
    store.sealed.publish(pointer)
    store.landing.settle(files, set(pointer.ledger.batches))
    if pointer.sequence % _SWEPT_EVERY == 0:
        store.sealed.vacuum(pointer, readers_s=READERS_S)


class _Writer:
    """Writes the spans of slices in a thread, some slices together, and counts them by hour.

    Attributes
    ----------
    counts
        Spans by hour, since `done` was called.
    replaced
        Hours whose former spans these replace.
    taken
        Spans in all.
    first_ns, last_ns
        Earliest start and latest end of them and of those that the pointer had.
    """

    def __init__(self, store: SpanStore, pointer: Pointer, rows: int) -> None:
        self._store = store
        self._rows = rows
        self._held: list[pl.DataFrame] = []
        self._pool = ThreadPoolExecutor(1)
        self._writing: Future[list[File]] | None = None
        self._files: list[File] = []
        self.counts: dict[int, int] = {}
        self.replaced: set[int] = set()
        self.taken = 0
        self.first_ns, self.last_ns = pointer.first_ns, pointer.last_ns

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown()

    def add(self, done: Done) -> None:
        """Take a slice's spans, by hour."""
        for hour, (count, low, high) in done.hours.items():
            self.counts[hour] = self.counts.get(hour, 0) + count
            self.first_ns, self.last_ns = min(self.first_ns or low, low), max(self.last_ns, high)
            self.taken += count
        self._files += done.files
        if done.kept is None:
            return
        self._held.append(done.kept)
        if sum(map(len, self._held)) >= self._rows:
            self.write()

    def write(self) -> None:
        """Begin to write what is held; what was begun before is done then."""
        held, self._held = self._held, []
        if held:
            self._finish()
            self._writing = self._pool.submit(self._put, held)

    def _put(self, held: list[pl.DataFrame]) -> list[File]:
        return self._store.sealed.put("spans", pl.concat(held).sort("hour", maintain_order=True))

    def files(self) -> list[File]:
        """The files of all spans written."""
        self.write()
        self._finish()
        return self._files

    def done(self) -> None:
        """Start over: the published pointer owns what was written."""
        self._files, self.counts, self.replaced = [], {}, set()

    def _finish(self) -> None:
        writing, self._writing = self._writing, None
        if writing is not None:
            self._files += writing.result()


def carried(
    stored: Callable[[str, tuple[int, int]], pl.LazyFrame], fresh: pl.DataFrame, begin: int, end: int
) -> pl.DataFrame:
    """Counters of hours ``[begin, end)`` with what spans that were sealed before cannot give again."""
    try:
        former = stored("counters", (begin, end - 1)).filter(pl.col("slot").is_between(begin, end - 1))
        return carry_counts(fresh, former.collect())
    except (OSError, PolarsError) as error:
        if refused(error):
            raise
        return fresh  # damaged, which is what a rebuild mends; what only they knew is lost with them
