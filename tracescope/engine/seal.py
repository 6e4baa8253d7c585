"""Sealing: landed spans become rollups and sealed spans, whole hours at a time.

Spans that land late re-open the hours whose traces they may change, before and after.  A run of
hours is sealed with one commit a table, whatever its length; slices bound the memory
(`tracescope.engine.slices`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Self

import polars as pl
from polars.exceptions import PolarsError

from tracescope import schema
from tracescope.analysis.rollups.merge import cap_operations, carry_counts, join_hops, merge
from tracescope.engine.days import fold
from tracescope.engine.slices import (
    DEFAULT_MEMORY,
    HOP_WINDOW_HOURS,
    SPAN_BYTES,
    affected,
    by_slice,
    hop_halves,
    runs,
    source,
)
from tracescope.engine.unlanded import Unlanded
from tracescope.store import Snapshot, SpanStore
from tracescope.store.sealed import HourState, Pointer

if TYPE_CHECKING:
    from deltalake.transaction import AddAction

#: Spans written together, where memory allows: files of few rows cost more than their rows.
_WRITTEN = 200_000

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
    """
    with store.sealing(wait=wait):
        store.sealed.settle()
        found = store.snapshot()
        if unlanded is not None:
            found = _along(found, unlanded)
        limit = None if before_ns is None else before_ns // schema.HOUR_NS
        hours = _reopened(list(found.landed), found.pointer)
        chosen = [hour for hour in hours if limit is None or hour < limit]
        return _seal(store, found, chosen, workers, memory_bytes, progress, unlanded)


def _along(found: Snapshot, unlanded: Unlanded) -> Snapshot:
    """A snapshot with what has not landed."""
    staged = unlanded.group.files()
    hours = sorted({*found.landed, *staged, *unlanded.hours()})
    return replace(found, landed={hour: found.landed.get(hour, []) + staged.get(hour, []) for hour in hours})


def quiet_hours(landed: dict[int, list[Path]], *, now_ns: int, grace_s: float) -> list[int]:
    """Hours that are over and have had no new spans for a while; see `seal_quiet`."""
    limit = int(now_ns - grace_s * 1e9) // schema.HOUR_NS
    quiet: list[int] = []
    for hour, paths in landed.items():
        if hour >= limit:
            continue
        try:
            ages = [now_ns / 1e9 - path.stat().st_mtime for path in paths]
        except FileNotFoundError:  # sealed by another process a moment ago
            continue
        if min(ages) >= grace_s or max(ages) >= 4 * grace_s:
            quiet.append(hour)
    return quiet


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
        store.sealed.settle()
        found = store.snapshot()
        quiet = quiet_hours(found.landed, now_ns=now_ns, grace_s=grace_s)
        return _seal(store, found, _reopened(quiet, found.pointer), workers, memory_bytes, None)


def _seal(
    store: SpanStore,
    found: Snapshot,
    chosen: list[int],
    workers: int,
    memory_bytes: int,
    progress: Callable[[int, int], None] | None,
    unlanded: Unlanded | None = None,
) -> SealResult:
    """Seal the chosen hours that have spans, then drop the landed files that no other hour needs."""
    targets = [hour for hour in chosen if _may_hold(hour, found) and not found.pointer.is_closed(hour)]
    pointer = store.sealed.pointer()
    done = spans = 0
    for begin, end in runs(targets):
        spans += _seal_run(store, pointer, found.landed, begin, end, workers, memory_bytes, unlanded)
        if unlanded is None:
            store.sealed.publish(pointer)
        done += end - begin
        if progress is not None:
            progress(done, len(targets))
    for begin, end in runs(_rejoined(store, pointer, targets)):
        _seal_run(store, pointer, found.landed, begin, end, workers, memory_bytes, unlanded)
    settled = set(chosen)
    files = [
        path
        for hour, paths in found.landed.items()
        if settled.issuperset(_reopened([hour], found.pointer))
        for path in paths
    ]
    _clear(store, pointer, files, _late(found, files, unlanded), unlanded)
    fold(store)
    return SealResult(done, spans)


def _may_hold(hour: int, found: Snapshot) -> bool:
    """Whether a trace can start in `hour`."""
    return hour in found.landed or hour in found.pointer.hours


def _late(found: Snapshot, files: list[Path], unlanded: Unlanded | None) -> int:
    """Spans that came while retention closed their hour."""
    closed = {path for hour in found.closed for path in found.landed.get(hour, ())}
    paths = sorted(closed.intersection(files))
    late = [pl.scan_parquet(paths)] if paths else []
    if unlanded is not None:
        late += unlanded.near(found.closed)
    return sum(int(frame.select(pl.len()).collect().item()) for frame in late)


def _rejoined(store: SpanStore, pointer: Pointer, sealed: list[int]) -> list[int]:
    """Hours sealed before whose consumers wait for producers that these hours have now."""
    if not sealed:
        return []
    halves = store.sealed.scan(pointer, "hop_halves")
    ids = ["key_hi", "key_lo", "key_span"]
    mine = halves.filter(pl.col("slot").is_in(sealed), pl.col("side") == 0).select(ids)
    near = halves.filter(
        pl.col("side") == 1,
        pl.col("slot").is_between(min(sealed) - HOP_WINDOW_HOURS, max(sealed) + HOP_WINDOW_HOURS),
        ~pl.col("slot").is_in(sealed),
    )
    hours = near.join(mine, on=ids, how="semi").select("slot").unique().collect()["slot"].to_list()
    return sorted(hour for hour in hours if pointer.has_raw(hour))


def _clear(
    store: SpanStore, pointer: Pointer, files: list[Path], late: int, unlanded: Unlanded | None
) -> None:
    """Publish the pointer with the ledger of what is sealed, and drop landed files that are."""
    pointer.ledger.merge(store.landing.ledger(set(pointer.ledger.batches)))
    if unlanded is not None:
        pointer.ledger.merge(unlanded.ledger(set(pointer.ledger.batches)))
    pointer.ledger.add(-late, {"hour_closed": late} if late else {})
    store.sealed.publish(pointer)
    store.landing.forget(set(pointer.ledger.batches))
    store.landing.drop(files)


def _seal_run(
    store: SpanStore,
    pointer: Pointer,
    landed: dict[int, list[Path]],
    begin: int,
    end: int,
    workers: int,
    memory_bytes: int,
    unlanded: Unlanded | None,
) -> int:
    """Seal hours ``[begin, end)``, for the pointer to be published; returns their spans."""
    from tracescope.analysis.rollups.process import process

    fresh = not pointer.hours or begin > max(pointer.hours)
    spans = source(store, Snapshot(pointer, landed, pointer.ledger), begin, end, unlanded).scan()
    keep = (begin * schema.HOUR_NS, end * schema.HOUR_NS)
    replaced = [] if fresh else [hour for hour in pointer.hours if begin <= hour < end]

    def work(rows: pl.DataFrame) -> tuple[dict[str, pl.DataFrame], pl.DataFrame]:
        partial = process(rows, keep=keep)
        return partial.tables, partial.spans()

    # the old files stay until a newer pointer is out, so slices may go on reading them
    tables: list[dict[str, pl.DataFrame]] = []
    with _Writer(store, pointer, min(_WRITTEN, memory_bytes // SPAN_BYTES)) as written:
        for rolled, kept in by_slice(spans, memory_bytes, workers, work):
            tables.append(rolled)
            written.take(kept)
        written.write()  # while the rollups are
        merged = merge(tables)
        merged = join_hops(merged, hop_halves(store, pointer, merged, begin, end))
        merged = carried(store, pointer, cap_operations(merged), begin, end)
        for name in schema.ROLLUPS:
            between = None if fresh else f"slot >= {begin} AND slot < {end}"
            store.sealed.write(pointer, name, merged[name], between)
        for name in schema.DIMENSIONS:
            store.sealed.union(pointer, name, merged[name])
        store.sealed.add_spans(pointer, written.files(), replaced)
    _date(store, pointer, landed, range(begin, end), written.counts, unlanded)
    pointer.first_ns, pointer.last_ns = written.first_ns, written.last_ns
    pointer.unfold(begin, end)
    return sum(written.counts.values())


class _Writer:
    """Writes the spans of slices in a thread, some slices together, and counts them by hour."""

    def __init__(self, store: SpanStore, pointer: Pointer, rows: int) -> None:
        self._store = store
        self._rows = rows
        self._held: list[pl.DataFrame] = []
        self._pool = ThreadPoolExecutor(1)
        self._writing: Future[list[AddAction]] | None = None
        self._files: list[AddAction] = []
        self.counts: dict[int, int] = {}
        self.first_ns, self.last_ns = pointer.first_ns, pointer.last_ns

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown()

    def take(self, kept: pl.DataFrame) -> None:
        """Take a slice's spans, by hour."""
        times = pl.col("start_ns").min(), pl.col("end_ns").max()
        for hour, count, low, high in kept.group_by("hour").agg(pl.len(), *times).iter_rows():
            self.counts[hour] = self.counts.get(hour, 0) + count
            self.first_ns, self.last_ns = min(self.first_ns or low, low), max(self.last_ns, high)
        self._held.append(kept)
        if sum(map(len, self._held)) >= self._rows:
            self.write()

    def write(self) -> None:
        """Begin to write what is held; what was begun before is done then."""
        held, self._held = self._held, []
        if held:
            self._finish()
            self._writing = self._pool.submit(self._store.sealed.put_spans, held)

    def files(self) -> list[AddAction]:
        """The files of all spans taken."""
        self.write()
        self._finish()
        return self._files

    def _finish(self) -> None:
        writing, self._writing = self._writing, None
        if writing is not None:
            self._files += writing.result()


def _date(
    store: SpanStore,
    pointer: Pointer,
    landed: dict[int, list[Path]],
    hours: range,
    counts: dict[int, int],
    unlanded: Unlanded | None,
) -> None:
    """Note how many spans each sealed hour has, and when its latest arrived."""
    arrived = store.landing.ledger(set()).arrived_ns
    if unlanded is not None:
        arrived = max(arrived, unlanded.ledger(set()).arrived_ns)
    for hour in hours:
        former = pointer.hours.pop(hour, HourState(0, 0, has_raw=True))
        if hour in counts:
            new = any(near in landed for near in range(hour, hour + _AFTER + 1))
            latest = max(former.arrived_ns, arrived if new else 0)
            pointer.hours[hour] = HourState(counts[hour], latest, has_raw=True)


def carried(
    store: SpanStore, pointer: Pointer, tables: dict[str, pl.DataFrame], begin: int, end: int
) -> dict[str, pl.DataFrame]:
    """`tables` with the counts that spans which were sealed before cannot give again."""
    mine = (pl.col("slot") >= begin) & (pl.col("slot") < end)
    try:
        stored = store.sealed.scan(pointer, "counters").filter(mine).collect()
    except (OSError, PolarsError):
        return tables  # damaged, which is what a rebuild mends; what only they knew is lost with them
    return {**tables, "counters": carry_counts(tables["counters"], stored)}
