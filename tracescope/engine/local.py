"""Sealing on one machine: runs of hours, slices of trace ids, a small thread pool.

    landing  |h-1 |h   |h+1 |h+2 |          a trace belongs to the hour it starts in and may go on
    sealed   |....|....|                    for TRACE_WINDOW_HOURS, so hour h is made of landing and
                                            sealed spans of h-2 .. h+2

Spans that land late re-open the hours whose traces they may change, before and after.  A run of
hours is sealed with one commit a table, whatever its length; slices bound the memory.  Results do
not depend on runs or slices.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Self, TypeVar

import polars as pl
from polars.exceptions import PolarsError

from tracescope import schema
from tracescope.analysis.rollups.merge import add_up, cap_operations, carry_counts, join_hops, merge
from tracescope.engine.days import fold
from tracescope.engine.unlanded import Unlanded
from tracescope.errors import StoreError
from tracescope.store import Snapshot, SpanStore
from tracescope.store.sealed import Pointer

if TYPE_CHECKING:
    from deltalake.transaction import AddAction

    from tracescope.analysis.rollups.process import Partial

#: Bytes that a span costs while it is sealed: measured 1,150 and what is read of it, some 450 with ten
#: attributes; and some room.
SPAN_BYTES = 2_000
DEFAULT_MEMORY = 768 * 1024 * 1024
#: Spans written together, where memory allows: files of few rows cost more than their rows.
_WRITTEN = 200_000
#: Ids looked at to cut slices.
_SAMPLED = 16_384
#: Hours sealed in one commit.
RUN_HOURS = 24 * 7
HOP_WINDOW_HOURS = 24

T = TypeVar("T")

_AFTER = schema.TRACE_WINDOW_HOURS
_TABLES_BY_SLOT = tuple(schema.ROLLUPS)


@dataclass(frozen=True, slots=True)
class SealResult:
    """Hours sealed, and spans in them."""

    hours: int
    spans: int


def affected(hours: Sequence[int]) -> list[int]:
    """Hours whose traces change when spans that start in `hours` come.

    Those before may have traces that go on in them; in those after, traces may have seemed to start
    that now start here.
    """
    return sorted({h for hour in hours for h in range(hour - _AFTER, hour + _AFTER + 1)})


def _reopened(hours: Sequence[int], pointer: Pointer) -> list[int]:
    """What sealing spans of `hours` takes along; of the hours after only those sealed before."""
    given = set(hours)
    before = {h for hour in given for h in range(hour - _AFTER, hour + 1)}
    return sorted(before | {hour for hour in affected(hours) if hour in pointer.hours})


def runs(hours: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Consecutive hours as half-open runs of at most RUN_HOURS."""
    begin = end = 0
    for hour in hours:
        if hour != end or hour - begin >= RUN_HOURS:
            if end > begin:
                yield begin, end
            begin = hour
        end = hour + 1
    if end > begin:
        yield begin, end


@dataclass(frozen=True, slots=True)
class Source:
    """Spans of some hours, landed and sealed alike.

    Attributes
    ----------
    files
        Landed files of the hours around.
    sealed
        Sealed spans of the hours around.
    held
        Spans in memory.
    """

    files: list[Path]
    sealed: pl.LazyFrame
    held: list[pl.LazyFrame] = field(default_factory=list[pl.LazyFrame])

    def scan(self) -> pl.LazyFrame:
        """All of them; a span may occur twice."""
        columns = list(schema.SPANS)
        frames = [self.sealed.select(columns), *self.held]
        if self.files:
            landed = pl.scan_parquet(self.files, missing_columns="insert", extra_columns="ignore")
            frames.append(landed.select(columns))
        return pl.concat(frames)


def source(
    store: SpanStore, found: Snapshot, begin: int, end: int, unlanded: Unlanded | None = None
) -> Source:
    """What traces that start in hours ``[begin, end)`` can be made of.

    Spans of closed hours are refused: what else their traces have begins where that does.
    """
    pointer = found.pointer
    around = range(begin - _AFTER, end + _AFTER)
    wanted = [hour for hour in around if pointer.hours.get(hour, (0, 0, True))[2]]
    files = [path for hour in wanted for path in found.landed.get(hour, ())]
    near = [hour for hour in wanted if pointer.hours.get(hour, (0, 0, False))[2]]
    held = unlanded.near(wanted) if unlanded is not None else []
    if not near:
        return Source(files, pl.LazyFrame(schema=schema.dtypes(schema.SPANS)), held)
    return Source(files, sealed_spans(store, pointer, near), held)


def sealed_spans(store: SpanStore, pointer: Pointer, hours: Iterable[int]) -> pl.LazyFrame:
    """Sealed spans of some hours; files of other hours are not even named."""
    names = {f"hour={hour}" for hour in hours}
    chosen = Pointer(files={"spans": [f for f in pointer.files.get("spans", ()) if f.split("/")[1] in names]})
    return store.sealed.scan(chosen, "spans")


def slices(spans: pl.LazyFrame, memory_bytes: int, workers: int) -> list[pl.LazyFrame]:
    """Cut spans by trace id so that `workers` slices fit into `memory_bytes` together."""
    count = int(spans.select(pl.len()).collect().item())
    parts = max(1, -(-count * SPAN_BYTES * workers // memory_bytes))
    if count > 200_000:
        parts = max(parts, 2 * workers)  # one half is written while the other is worked on
    if parts == 1:
        return [spans]
    # ids padded to 64 bits have an empty high half; the fold spreads both kinds
    fold = (pl.col("trace_hi") ^ pl.col("trace_lo")).alias("fold")
    if spans.select(pl.col("trace_hi").min() == pl.col("trace_hi").max()).collect().item():
        return [spans.filter((fold % parts + parts) % parts == part) for part in range(parts)]
    every = max(1, count // _SAMPLED)  # slices need not be of one size
    some = spans.select(pl.col("trace_hi").gather_every(every)).collect()["trace_hi"].sort()
    bounds = [int(some[len(some) * part // parts]) for part in range(1, parts)]
    edges = [None, *sorted(set(bounds)), None]
    out: list[pl.LazyFrame] = []
    for left, right in pairwise(edges):
        part = spans
        if left is not None:
            part = part.filter(pl.col("trace_hi") >= left)
        if right is not None:
            part = part.filter(pl.col("trace_hi") < right)
        out.append(part)
    return out


def process_slices(
    spans: pl.LazyFrame,
    keep: tuple[int, int],
    memory_bytes: int,
    workers: int,
    *,
    slot_ns: int = schema.HOUR_NS,
    only: Callable[[pl.DataFrame], pl.DataFrame] | None = None,
    slower_than: pl.DataFrame | None = None,
) -> Iterator[Partial]:
    """Partial rollups of slices of trace ids.

    Parameters
    ----------
    spans, keep, slot_ns, slower_than
        As for `process`.
    memory_bytes, workers
        Slices worked on at once, and what they may take together.
    only
        Takes the spans of whole traces and gives those of the traces that count.
    """
    from tracescope.analysis.rollups.process import process

    def work(rows: pl.DataFrame) -> Partial:
        rows = rows if only is None else only(rows)
        return process(rows, keep=keep, slot_ns=slot_ns, slower_than=slower_than)

    return _by_slice(spans, memory_bytes, workers, work)


def _by_slice(
    spans: pl.LazyFrame, memory_bytes: int, workers: int, work: Callable[[pl.DataFrame], T]
) -> Iterator[T]:
    """What `work` makes of each slice of trace ids, by several threads."""
    parts = slices(spans, memory_bytes, workers)

    def begin(part: pl.LazyFrame) -> T:
        return work(part.collect())

    if len(parts) == 1 or workers == 1:
        yield from map(begin, parts)
        return
    with ThreadPoolExecutor(workers) as pool:
        ahead = workers + 1  # so that nobody waits while the caller uses what is done
        waiting = [pool.submit(begin, part) for part in parts[:ahead]]
        for part in parts[ahead:]:
            done = waiting.pop(0).result()
            waiting.append(pool.submit(begin, part))
            yield done
        for future in waiting:
            yield future.result()


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
    hours = found.pointer.hours
    targets = [hour for hour in chosen if _may_hold(hour, found) and hours.get(hour, (0, 0, True))[2]]
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
    return sorted(hour for hour in hours if pointer.hours.get(hour, (0, 0, False))[2])


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
        for rolled, kept in _by_slice(spans, memory_bytes, workers, work):
            tables.append(rolled)
            written.take(kept)
        written.write()  # while the rollups are
        merged = merge(tables)
        merged = join_hops(merged, _halves(store, pointer, merged, begin, end))
        merged = _carried(store, pointer, cap_operations(merged), begin, end)
        for name in _TABLES_BY_SLOT:
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
        before = pointer.hours.pop(hour, (0, 0, True))[1]
        if hour in counts:
            new = any(near in landed for near in range(hour, hour + _AFTER + 1))
            pointer.hours[hour] = (counts[hour], max(before, arrived if new else 0), True)


def _halves(
    store: SpanStore, pointer: Pointer, tables: dict[str, pl.DataFrame], begin: int, end: int
) -> pl.DataFrame:
    """Hop halves of these hours and of the day around them."""
    around = store.sealed.scan(pointer, "hop_halves").filter(
        pl.col("slot").is_between(begin - HOP_WINDOW_HOURS, end + HOP_WINDOW_HOURS),
        ~pl.col("slot").is_between(begin, end - 1),
    )
    return pl.concat([tables["hop_halves"], around.collect()])


def _carried(
    store: SpanStore, pointer: Pointer, tables: dict[str, pl.DataFrame], begin: int, end: int
) -> dict[str, pl.DataFrame]:
    """`tables` with the counts that spans which were sealed before cannot give again."""
    mine = (pl.col("slot") >= begin) & (pl.col("slot") < end)
    try:
        stored = store.sealed.scan(pointer, "counters").filter(mine).collect()
    except (OSError, PolarsError):
        return tables  # damaged, which is what a rebuild mends; what only they knew is lost with them
    return {**tables, "counters": carry_counts(tables["counters"], stored)}


def rebuild(store: SpanStore, *, workers: int = 2, memory_bytes: int = DEFAULT_MEMORY) -> SealResult:
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
        hours = sorted(hour for hour, (_, _, raw) in pointer.hours.items() if raw)
        try:
            _remake(store, pointer, hours, workers, memory_bytes)
        except (DeltaError, PolarsError) as error:
            raise StoreError(
                f"{store.root} cannot be rebuilt: {error}", "`tracescope verify` names the damaged files"
            ) from error
        return SealResult(len(hours), sum(pointer.hours[hour][0] for hour in hours))


def _remake(store: SpanStore, pointer: Pointer, hours: list[int], workers: int, memory_bytes: int) -> None:
    """Replace the rollups of `hours` and publish them together."""
    before = Snapshot(store.sealed.pointer(), {}, pointer.ledger)
    whole = len(hours) == len(pointer.hours)
    dimensions: list[dict[str, pl.DataFrame]] = []
    for number, (begin, end) in enumerate(runs(hours)):
        keep = (begin * schema.HOUR_NS, end * schema.HOUR_NS)
        spans = source(store, before, begin, end).scan()
        tables = merge([part.tables for part in process_slices(spans, keep, memory_bytes, workers)])
        tables = cap_operations(join_hops(tables, _halves(store, pointer, tables, begin, end)))
        tables = _carried(store, before.pointer, tables, begin, end)
        replace = f"slot >= {begin} AND slot < {end}"
        if whole:
            replace = None if number else "true"
        for name in _TABLES_BY_SLOT:
            store.sealed.write(pointer, name, tables[name], replace)
        dimensions.append({name: tables[name] for name in schema.DIMENSIONS})
    for name in schema.DIMENSIONS:
        frame = add_up(name, pl.concat([some[name] for some in dimensions])) if dimensions else None
        if frame is not None and whole:
            store.sealed.write(pointer, name, frame, "true")
        elif frame is not None:
            store.sealed.union(pointer, name, frame)
    pointer.days = [] if whole else sorted(set(pointer.days) - {hour // 24 for hour in hours})
    store.sealed.publish(pointer)
    fold(store)


def recompute(store: SpanStore, begin: int, end: int) -> dict[str, pl.DataFrame]:
    """Rollups of sealed hours ``[begin, end)`` from their sealed spans, written nowhere."""
    pointer = store.sealed.pointer()
    spans = source(store, Snapshot(pointer, {}, pointer.ledger), begin, end).scan()
    keep = (begin * schema.HOUR_NS, end * schema.HOUR_NS)
    tables = merge([partial.tables for partial in process_slices(spans, keep, DEFAULT_MEMORY, 2)])
    return cap_operations(join_hops(tables, _halves(store, pointer, tables, begin, end)))
