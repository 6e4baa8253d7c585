"""Spans of some hours, cut by trace id into slices that fit into memory, and worked on by a few threads.

    landing  |h-1 |h   |h+1 |h+2 |          a trace belongs to the hour it starts in and may go on
    sealed   |....|....|                    for TRACE_WINDOW_HOURS, so hour h is made of landing and
                                            sealed spans of h-2 .. h+2

Results do not depend on how hours are run together, nor on slices.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import polars as pl

from tracescope import schema
from tracescope.engine.unlanded import Unlanded
from tracescope.store import Snapshot, SpanStore
from tracescope.store.pointer import File, Pointer
from tracescope.store.sealed import sealed_at

if TYPE_CHECKING:
    from tracescope.analysis.rollups.process import Partial

#: Bytes that a span costs while a slice is worked on: measured 1,150 and what is read of it, some 450 with
#: ten attributes; and some room.  What waits and is written meanwhile counts as one more worker's slice.
SPAN_BYTES = 1_800
#: Bytes of a landed file that a span takes, roughly.
_LANDED_BYTES = 100
DEFAULT_MEMORY = 768 * 1024 * 1024
#: Ids looked at to cut slices.
_SAMPLED = 16_384
#: From so many spans on there are two slices a worker, but none of fewer than these.
_SLICED, _LEAST_SLICE = 200_000, 12_500
#: Hours worked on together, and slices of them; of fewer hours those around cost more than they themselves.
RUN_HOURS = 24 * 7
_RUN_SLICES = 16
_LEAST_RUN = 4
HOP_WINDOW_HOURS = 24

A = TypeVar("A")
T = TypeVar("T")

_AFTER = schema.TRACE_WINDOW_HOURS


class Room(NamedTuple):
    """Slices worked on at once, and what they may take together."""

    workers: int
    memory_bytes: int

    @property
    def spans(self) -> int:
        """Spans of one slice."""
        return max(1, self.memory_bytes // (SPAN_BYTES * (self.workers + 1)))


def affected(hours: Sequence[int]) -> list[int]:
    """Hours whose traces change when spans that start in `hours` come.

    Those before may have traces that go on in them; in those after, traces may have seemed to start
    that now start here.
    """
    return sorted({h for hour in hours for h in range(hour - _AFTER, hour + _AFTER + 1)})


def runs(
    hours: Sequence[int],
    held: Collection[int] = (),
    spans: Mapping[int, int] | None = None,
    room: Room | None = None,
) -> Iterator[tuple[int, int]]:
    """Ascending hours as half-open runs, each of at most RUN_HOURS of them.

    A run goes on over hours that are not among `hours`, as long as none of these is `held`: where nothing
    is, nothing starts.  Where it is known how many `spans` hours have, a run ends when it has as many slices
    as are worth reading all of its hours for each.
    """
    others = sorted(set(held).difference(hours))
    begin = last = count = size = 0
    for hour in hours:
        broken = bisect_left(others, hour) != bisect_left(others, last) if held else hour != last + 1
        own = 0 if spans is None else spans.get(hour, 0)
        large = room is not None and count >= _LEAST_RUN and size + own > _RUN_SLICES * room.spans
        if count and (broken or large or count == RUN_HOURS):
            yield begin, last + 1
            count = size = 0
        begin = hour if not count else begin
        last, count, size = hour, count + 1, size + own
    if count:
        yield begin, last + 1


def spans_of(snapshot: Snapshot, unlanded: Unlanded | None = None) -> dict[int, int]:
    """How many spans start in each hour, roughly: copies are counted as often as they came."""
    counts = {hour: state.spans for hour, state in snapshot.pointer.hours.items() if state.has_raw}
    for hour, paths in snapshot.landed.items():
        size = 0
        for path in paths:
            with suppress(FileNotFoundError):  # sealed by another process a moment ago
                size += path.stat().st_size
        counts[hour] = counts.get(hour, 0) + size // _LANDED_BYTES
    for hour, count in unlanded.counts().items() if unlanded is not None else ():
        counts[hour] = counts.get(hour, 0) + count
    return counts


@dataclass(frozen=True, slots=True)
class Source:
    """Where spans of some hours lie, landed and sealed alike: names of files, which any process can read.

    Attributes
    ----------
    root
        The store's folder.
    landed
        Landed files of the hours around.
    sealed, hours
        Sealed files, and the hours of which their spans are wanted.
    held
        Spans in the memory of this process.
    """

    root: Path
    landed: tuple[Path, ...]
    sealed: tuple[File, ...]
    hours: tuple[int, ...]
    held: tuple[pl.LazyFrame, ...] = ()

    def scan(self) -> pl.LazyFrame:
        """All of them; a span may occur twice."""
        columns = list(schema.SPANS)
        frames = [self.sealed_spans().select(columns), *self.held]
        if self.landed:
            landed = pl.scan_parquet(list(self.landed), missing_columns="insert", extra_columns="ignore")
            frames.append(landed.select(columns))
        return pl.concat(frames)

    def sealed_spans(self) -> pl.LazyFrame:
        """Those that are sealed, with their ``hour``."""
        return sealed_at(self.root).spans(Pointer(files={"spans": list(self.sealed)}), self.hours)

    def absolute(self) -> Source:
        """The same for whoever works in another folder."""
        return replace(self, root=self.root.absolute(), landed=tuple(path.absolute() for path in self.landed))


def source(
    store: SpanStore, snapshot: Snapshot, begin: int, end: int, unlanded: Unlanded | None = None
) -> Source:
    """Where the spans of traces that start in hours ``[begin, end)`` lie.

    Spans of closed hours are refused: what else their traces have begins where that does.
    """
    pointer = snapshot.pointer
    around = range(begin - _AFTER, end + _AFTER)
    wanted = [hour for hour in around if not pointer.is_closed(hour)]
    files = tuple(path for hour in wanted for path in snapshot.landed.get(hour, ()))
    near = frozenset(hour for hour in wanted if pointer.has_raw(hour))
    held = tuple(unlanded.near(wanted)) if unlanded is not None else ()
    sealed = tuple(file for file in pointer.files.get("spans", ()) if file.among(near))
    return Source(store.root, files, sealed if near else (), tuple(sorted(near)), held)


class Slice(NamedTuple):
    """Traces by their ids: those whose high half lies in ``[low, high)``, or one part of a hash of many."""

    low: int | None = None
    high: int | None = None
    part: int = 0
    parts: int = 1

    def of(self, spans: pl.LazyFrame) -> pl.LazyFrame:
        """Spans of these traces."""
        if self.parts > 1:
            # ids padded to 64 bits have an empty high half; the fold spreads both kinds
            fold = (pl.col("trace_hi") ^ pl.col("trace_lo")).alias("fold")
            return spans.filter((fold % self.parts + self.parts) % self.parts == self.part)
        if self.low is not None:
            spans = spans.filter(pl.col("trace_hi") >= self.low)
        if self.high is not None:
            spans = spans.filter(pl.col("trace_hi") < self.high)
        return spans


def cut(spans: pl.LazyFrame, room: Room) -> list[Slice]:
    """Slices of trace ids of which a room's workers hold one each."""
    count = int(spans.select(pl.len()).collect().item())
    parts = max(1, -(-count // room.spans))
    if count > _SLICED:  # one half is written while the other is worked on
        parts = max(parts, min(2 * room.workers, count // _LEAST_SLICE))
    if parts == 1:
        return [Slice()]
    if spans.select(pl.col("trace_hi").min() == pl.col("trace_hi").max()).collect().item():
        return [Slice(part=part, parts=parts) for part in range(parts)]
    every = max(1, count // _SAMPLED)  # slices need not be of one size
    some = spans.select(pl.col("trace_hi").gather_every(every)).collect()["trace_hi"].sort()
    bounds = [int(some[len(some) * part // parts]) for part in range(1, parts)]
    edges = [None, *sorted(set(bounds)), None]
    return [Slice(low, high) for low, high in pairwise(edges)]


def slices(spans: pl.LazyFrame, memory_bytes: int, workers: int) -> list[pl.LazyFrame]:
    """Cut spans by trace id so that `workers` slices fit into `memory_bytes` together."""
    return [each.of(spans) for each in cut(spans, Room(workers, memory_bytes))]


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

    if only is None:  # which looks at attributes
        spans = spans.select(list(schema.ROLLED))
    return by_slice(spans, memory_bytes, workers, work)


def by_slice(
    spans: pl.LazyFrame, memory_bytes: int, workers: int, work: Callable[[pl.DataFrame], T]
) -> Iterator[T]:
    """What `work` makes of each slice of trace ids, by several threads."""

    def begin(part: pl.LazyFrame) -> T:
        return work(part.collect())

    yield from in_threads(begin, slices(spans, memory_bytes, workers), workers)


def in_threads(work: Callable[[A], T], items: Sequence[A], workers: int) -> Iterator[T]:
    """What `work` makes of each item, in their order, by several threads; what waits is bounded."""
    if len(items) == 1 or workers == 1:
        yield from map(work, items)
        return
    with ThreadPoolExecutor(workers) as pool:
        ahead = workers + 1  # so that nobody waits while the caller uses what is done
        waiting = [pool.submit(work, item) for item in items[:ahead]]
        for item in items[ahead:]:
            done = waiting.pop(0).result()
            waiting.append(pool.submit(work, item))
            yield done
        for future in waiting:
            yield future.result()


def hop_halves(
    stored: Callable[[str, tuple[int, int]], pl.LazyFrame], given: pl.DataFrame, begin: int, end: int
) -> pl.DataFrame:
    """Hop halves of hours ``[begin, end)``, given, and of the day around them, from rollups as stored."""
    around = stored("hop_halves", (begin - HOP_WINDOW_HOURS, end + HOP_WINDOW_HOURS)).filter(
        pl.col("slot").is_between(begin - HOP_WINDOW_HOURS, end + HOP_WINDOW_HOURS),
        ~pl.col("slot").is_between(begin, end - 1),
    )
    return pl.concat([given, around.collect()])
