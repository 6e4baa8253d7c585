"""Importing files: read, decode and land in parallel; visible all at once or not at all.

Chunks are decoded in threads, which the kernels let run side by side.  What was decoded waits in memory,
beyond a bound in landing files written aside, and is sealed from there in one piece: a failed or killed
import leaves the store as it was.  While another process seals it lands instead.  Batches are named after
their content: the same file again brings the same batches, and sealing finds the same spans.
"""

from __future__ import annotations

import gc
import threading
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from tracescope import keeping
from tracescope.engine.seal import seal
from tracescope.engine.unlanded import Batch, Unlanded
from tracescope.errors import MalformedOtlpError, StoreBusyError
from tracescope.ingest.documents import Form
from tracescope.ingest.files import Chunk, Skipped, read
from tracescope.keeping import Policy
from tracescope.store import SpanStore
from tracescope.store.landing import LandingGroup


@dataclass(slots=True)
class ImportResult:
    """What an import did.

    Attributes
    ----------
    read, new
        Spans in the files, and those that the store had not.
    rejected
        Spans refused, by reason.
    skipped
        Documents that are no traces, by what they are: ``metrics``, ``logs``, ...
    skipped_files
        Files that hold no traces, and what they are.
    sealed
        Whether the hours that were completed are sealed.
    """

    read: int = 0
    new: int = 0
    rejected: Counter[str] = field(default_factory=Counter[str])
    skipped: Counter[str] = field(default_factory=Counter[str])
    skipped_files: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    sealed: bool = True

    @property
    def duplicates(self) -> int:
        """Accepted spans that the store had, or that came twice."""
        return self.read - sum(self.rejected.values()) - self.new


@dataclass(frozen=True, slots=True)
class _Counts:
    """What became of one chunk: spans accepted, refused by reason, and documents skipped."""

    accepted: int
    rejected: dict[str, int]
    skipped: Counter[str]


class _Terms(NamedTuple):
    """What holds for every chunk: when it arrived, hours whose raw spans have gone, attributes kept."""

    arrived_ns: int
    closed: list[int]
    policy: Policy


def _decode(chunk: Chunk, terms: _Terms) -> tuple[Batch, Counter[str]]:
    """Decode one chunk."""
    import polars as pl

    from tracescope.ingest.decode import assemble, fingerprint, scan
    from tracescope.schema import HOUR_NS

    requests = chunk.requests()
    try:
        found = scan(requests.data, terms.arrived_ns, terms.policy)
    except MalformedOtlpError as error:
        raise chunk.misplaced(error, requests) from error
    name, decoded = fingerprint(found), assemble(found, terms.policy)
    spans, rejected = decoded.spans, dict(decoded.rejected)
    if terms.closed:
        kept = spans.filter(~(pl.col("start_ns") // HOUR_NS).is_in(terms.closed))
        if len(kept) < len(spans):
            rejected["hour_closed"] = len(spans) - len(kept)
        spans = kept
    return Batch(f"i-{name}", spans, rejected, terms.arrived_ns), requests.skipped


def _stage(group: LandingGroup, batch: Batch) -> None:
    """Write a batch to where it lands from."""
    group.land(
        batch.spans,
        batch=batch.name,
        accepted=len(batch.spans),
        rejected=batch.rejected,
        arrived_ns=batch.arrived_ns,
    )


class _Hold:
    """Takes batches: into memory while they fit, then to disk."""

    def __init__(self, group: LandingGroup, memory_bytes: int) -> None:
        self._group = group
        self._memory_bytes = memory_bytes
        self._lock = threading.Lock()
        self.batches: list[Batch] = []
        self.used_bytes = 0

    def decode(self, chunk: Chunk, terms: _Terms) -> _Counts:
        """Decode one chunk and keep its spans."""
        batch, skipped = _decode(chunk, terms)
        size = batch.spans.estimated_size()
        with self._lock:
            fits = self.used_bytes + size <= self._memory_bytes
            if fits:
                self.used_bytes += int(size)
                self.batches.append(batch)
        if not fits:
            _stage(self._group, batch)
        return _Counts(len(batch.spans), batch.rejected, skipped)


def _results(
    hold: _Hold, chunks: Iterator[Chunk], terms: _Terms, workers: int
) -> Iterator[tuple[Chunk, _Counts]]:
    """Keep every chunk, some at once."""
    waiting: list[tuple[Chunk, Future[_Counts]]] = []
    with ThreadPoolExecutor(workers) as threads:
        for chunk in chunks:
            waiting.append((chunk, threads.submit(hold.decode, chunk, terms)))
            if len(waiting) > workers:
                done, future = waiting.pop(0)
                yield done, future.result()
        for done, future in waiting:
            yield done, future.result()


@contextmanager
def _without_cycles() -> Generator[None]:
    """Look for no cycles of objects: JSON has none, and looking takes half of the time of reading it."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


def import_files(
    store: SpanStore,
    paths: Sequence[str | Path],
    *,
    arrived_ns: int,
    form: Form = "auto",
    workers: int = 2,
    memory_bytes: int = 768 * 1024 * 1024,
    policy: Policy = keeping.DEFAULT,
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
    policy
        Which attributes are kept, beside what is built in.
    progress
        Called with file, bytes read of it, its size (0: unknown) and spans so far.

    Raises
    ------
    InputError
        A file cannot be read as what it claims to be, or none holds traces; the store is as it was.
    """
    store.landing.recover()
    before = store.stored()
    result = ImportResult()
    terms = _Terms(arrived_ns, store.snapshot().closed, policy)
    skipped = Skipped(result.skipped_files)
    with (
        _without_cycles(),
        store.group(f"import-{arrived_ns}") as group,
        closing(read(paths, form, skipped)) as chunks,
    ):
        hold = _Hold(group, memory_bytes * 2 // 3)
        for chunk, taken in _results(hold, chunks, terms, workers):
            result.read += taken.accepted + sum(taken.rejected.values())
            result.rejected.update(taken.rejected)
            result.skipped.update(taken.skipped)
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
