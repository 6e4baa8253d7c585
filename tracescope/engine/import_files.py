"""Importing files: read, decode and land in parallel; visible all at once or not at all.

OTLP is decoded in threads, which the kernels let run side by side; turning other tools' JSON into it
holds the interpreter, so much of that goes to processes.  What was decoded waits in memory, beyond a
bound in landing files written aside, and is sealed from there in one piece: a failed or killed import
leaves the store as it was.  While another process seals it lands instead.  Batches are named after
their content: the same file again brings the same batches, and sealing finds the same spans.
"""

from __future__ import annotations

import multiprocessing
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path

from tracescope.engine.seal import seal
from tracescope.engine.unlanded import Batch, Unlanded
from tracescope.errors import MalformedOtlpError, StoreBusyError
from tracescope.ingest.files import Chunk, Format, read
from tracescope.store import SpanStore
from tracescope.store.landing import LandingGroup

#: Text of other tools below this is handled in threads: starting processes takes a second.
SMALL = 24 * 1024 * 1024
#: Chunks that the kernels read.
_THREADED = ("proto", "json")


@dataclass(slots=True)
class ImportResult:
    """What an import did: spans read, new to the store, already there, and refused by reason."""

    read: int = 0
    new: int = 0
    rejected: dict[str, int] = field(default_factory=dict[str, int])
    sealed: bool = True

    @property
    def duplicates(self) -> int:
        """Accepted spans that the store had, or that came twice."""
        return self.read - sum(self.rejected.values()) - self.new


def _decode(chunk: Chunk, arrived_ns: int, closed: list[int]) -> Batch:
    """Decode one chunk."""
    import polars as pl

    from tracescope.ingest.decode import assemble, fingerprint, scan
    from tracescope.schema import HOUR_NS

    try:
        found = scan(chunk.requests(), arrived_ns)
    except MalformedOtlpError as error:
        raise chunk.misplaced(error) from error
    name, decoded = fingerprint(found), assemble(found)
    spans, rejected = decoded.spans, dict(decoded.rejected)
    if closed:
        kept = spans.filter(~(pl.col("start_ns") // HOUR_NS).is_in(closed))
        if len(kept) < len(spans):
            rejected["hour_closed"] = len(spans) - len(kept)
        spans = kept
    return Batch(f"i-{name}", spans, rejected, arrived_ns)


def _stage(group: LandingGroup, batch: Batch) -> None:
    """Write a batch to where it lands from."""
    group.land(
        batch.spans,
        batch=batch.name,
        accepted=len(batch.spans),
        rejected=batch.rejected,
        arrived_ns=batch.arrived_ns,
    )


def _decode_aside(
    group: LandingGroup, chunk: Chunk, arrived_ns: int, closed: list[int]
) -> tuple[int, dict[str, int]]:
    """Decode and stage one chunk, in a process of its own; spans accepted and refused."""
    batch = _decode(chunk, arrived_ns, closed)
    _stage(group, batch)
    return len(batch.spans), batch.rejected


class _Hold:
    """Takes batches: into memory while they fit, then to disk."""

    def __init__(self, group: LandingGroup, memory_bytes: int) -> None:
        self._group = group
        self._memory_bytes = memory_bytes
        self._lock = threading.Lock()
        self.batches: list[Batch] = []
        self.used_bytes = 0

    def take(self, chunk: Chunk, arrived_ns: int, closed: list[int]) -> tuple[int, dict[str, int]]:
        """Decode one chunk and keep its spans; how many were accepted and refused."""
        batch = _decode(chunk, arrived_ns, closed)
        size = batch.spans.estimated_size()
        with self._lock:
            fits = self.used_bytes + size <= self._memory_bytes
            if fits:
                self.used_bytes += int(size)
                self.batches.append(batch)
        if not fits:
            _stage(self._group, batch)
        return len(batch.spans), batch.rejected


def _results(
    group: LandingGroup,
    hold: _Hold,
    chunks: Iterator[Chunk],
    arrived_ns: int,
    closed: list[int],
    workers: int,
) -> Iterator[tuple[Chunk, tuple[int, dict[str, int]]]]:
    """Keep every chunk: in threads, once much turns out to hold the interpreter in processes."""
    waiting: list[tuple[Chunk, Future[tuple[int, dict[str, int]]]]] = []
    text = 0
    with ExitStack() as stack:
        threads = stack.enter_context(ThreadPoolExecutor(workers))
        processes: ProcessPoolExecutor | None = None
        for chunk in chunks:
            if chunk.kind not in _THREADED:
                text += sum(map(len, chunk.messages))
            if text > SMALL and workers > 1 and processes is None:
                context = multiprocessing.get_context("spawn")
                processes = stack.enter_context(ProcessPoolExecutor(workers, mp_context=context))
            if chunk.kind in _THREADED or processes is None:
                future = threads.submit(hold.take, chunk, arrived_ns, closed)
            else:
                future = processes.submit(_decode_aside, group, chunk, arrived_ns, closed)
            waiting.append((chunk, future))
            if len(waiting) > workers:
                done, future = waiting.pop(0)
                yield done, future.result()
        for done, future in waiting:
            yield done, future.result()


def import_files(
    store: SpanStore,
    paths: Sequence[str | Path],
    *,
    arrived_ns: int,
    form: Format = "auto",
    workers: int = 2,
    memory_bytes: int = 768 * 1024 * 1024,
    progress: Callable[[str, int, int, int], None] | None = None,
) -> ImportResult:
    """Import files and seal what they complete.

    Parameters
    ----------
    store, paths, form
        Where to, what (names, globs, folders, ``-``), and of which format.
    arrived_ns
        Now.
    workers, memory_bytes
        Chunks in work at once, and what they may take together.
    progress
        Called with file, bytes read of it, its size (0: unknown) and spans so far.

    Raises
    ------
    InputError
        A file cannot be read as what it claims to be; the store is as it was.
    """
    store.landing.recover()
    before = store.stored()
    result = ImportResult()
    closed = store.snapshot().closed
    with store.group(f"import-{arrived_ns}") as group, closing(read(paths, form)) as chunks:
        hold = _Hold(group, memory_bytes * 2 // 3)
        for chunk, (accepted, rejected) in _results(group, hold, chunks, arrived_ns, closed, workers):
            result.read += accepted + sum(rejected.values())
            for reason, number in rejected.items():
                result.rejected[reason] = result.rejected.get(reason, 0) + number
            if progress is not None:
                progress(chunk.source, chunk.position, chunk.total, result.read)
        try:
            left = memory_bytes - hold.used_bytes
            seal(store, workers=workers, memory_bytes=left, unlanded=Unlanded(hold.batches, group))
            group.drop()
        except StoreBusyError:  # whoever seals next finds them landed
            for batch in hold.batches:
                _stage(group, batch)
            result.sealed = False
    result.new = store.stored() - before
    return result
