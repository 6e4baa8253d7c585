"""Importing files: read, decode and land in parallel; visible all at once or not at all.

Protobuf is decoded in threads, which the kernels let run side by side; turning JSON into protobuf
holds the interpreter, so much of it goes to processes.  Each writes its
landing files aside; the group becomes visible when the last one is done, so a failed or killed
import leaves the store as it was.  Batches are named after their content: the same file again lands
the same batches, and sealing finds the same spans.
"""

from __future__ import annotations

import hashlib
import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path

from tracescope.engine.local import seal
from tracescope.errors import MalformedOtlpError, StoreBusyError
from tracescope.ingest.files import Chunk, Format, read
from tracescope.store import SpanStore
from tracescope.store.landing import LandingGroup

#: Text below this is handled in threads: starting processes takes a second.
SMALL = 24 * 1024 * 1024
#: What a worker may hold for each byte of a chunk.
CHUNK_FACTOR = 24


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


def _land(
    group: LandingGroup, chunk: Chunk, arrived_ns: int, closed: list[int]
) -> tuple[int, dict[str, int]]:
    """Decode one chunk and stage it; spans read and refused."""
    import polars as pl

    from tracescope.ingest.decode import decode
    from tracescope.schema import HOUR_NS

    requests = chunk.requests()
    try:
        decoded = decode(requests, arrived_ns)
    except MalformedOtlpError as error:
        raise chunk.misplaced(error) from error
    spans, rejected = decoded.spans, dict(decoded.rejected)
    if closed:
        kept = spans.filter(~(pl.col("start_ns") // HOUR_NS).is_in(closed))
        if len(kept) < len(spans):
            rejected["hour_closed"] = len(spans) - len(kept)
        spans = kept
    digest = hashlib.blake2b(digest_size=12)
    for request in requests:
        digest.update(hashlib.blake2b(request).digest())
    name = f"i-{digest.hexdigest()}"
    group.land(spans, batch=name, accepted=len(spans), rejected=rejected, arrived_ns=arrived_ns)
    return len(spans) + sum(rejected.values()), rejected


def _results(
    group: LandingGroup, chunks: Iterator[Chunk], arrived_ns: int, closed: list[int], workers: int
) -> Iterator[tuple[Chunk, tuple[int, dict[str, int]]]]:
    """Land every chunk: in threads, once much turns out to be text in processes."""
    waiting: list[tuple[Chunk, Future[tuple[int, dict[str, int]]]]] = []
    text = 0
    with ExitStack() as stack:
        threads = stack.enter_context(ThreadPoolExecutor(workers))
        processes: ProcessPoolExecutor | None = None
        for chunk in chunks:
            if chunk.kind != "proto":
                text += sum(map(len, chunk.messages))
            if text > SMALL and workers > 1 and processes is None:
                context = multiprocessing.get_context("spawn")
                processes = stack.enter_context(ProcessPoolExecutor(workers, mp_context=context))
            pool = threads if chunk.kind == "proto" or processes is None else processes
            waiting.append((chunk, pool.submit(_land, group, chunk, arrived_ns, closed)))
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
    before = store.status().stored
    result = ImportResult()
    closed = store.snapshot().closed
    with store.group(f"import-{arrived_ns}") as group, closing(read(paths, form)) as chunks:
        for chunk, (count, rejected) in _results(group, chunks, arrived_ns, closed, workers):
            result.read += count
            for reason, number in rejected.items():
                result.rejected[reason] = result.rejected.get(reason, 0) + number
            if progress is not None:
                progress(chunk.source, chunk.position, chunk.total, result.read)
    try:
        seal(store, workers=workers, memory_bytes=memory_bytes)
    except StoreBusyError:
        result.sealed = False
    result.new = store.status().stored - before
    return result
