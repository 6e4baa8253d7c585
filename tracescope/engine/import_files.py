"""Importing files: read, decode and land in parallel; visible all at once or not at all.

Chunks are decoded in threads, which the kernels let run side by side.  What was decoded waits in memory,
beyond a bound in landing files written aside, and is sealed from there in one piece: a failed or killed
import leaves the store as it was.  While another process seals it lands instead.  Batches are named after
their content: the same file again brings the same batches, and sealing finds the same spans.  Parts of a
source (`tracescope.sources`) are batches too, by names of their own, so that they are read once.
"""

from __future__ import annotations

import gc
import threading
from collections import Counter
from collections.abc import Callable, Collection, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple

from tracescope import schema
from tracescope.conventions import keeping
from tracescope.conventions.keeping import Policy
from tracescope.engine.seal import seal
from tracescope.engine.unlanded import Batch, Unlanded
from tracescope.errors import MalformedOtlpError, StoreBusyError
from tracescope.ingest.documents import Form
from tracescope.ingest.files import Requests, Skipped, read
from tracescope.sources import Between, Source
from tracescope.sources.reading import Group, Reading, grouped
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
    known
        Parts of sources that the store has from an import before, and that were not read.
    outside, parts_outside
        Spans that were left out because they are not of the time that was asked for, and parts of which
        that was known before they were read.
    sealed
        Whether the hours that were completed are sealed.
    """

    read: int = 0
    new: int = 0
    rejected: Counter[str] = field(default_factory=Counter[str])
    skipped: Counter[str] = field(default_factory=Counter[str])
    skipped_files: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    known: int = 0
    outside: int = 0
    parts_outside: int = 0
    sealed: bool = True

    @property
    def duplicates(self) -> int:
        """Accepted spans that the store had, or that came twice."""
        return self.read - sum(self.rejected.values()) - self.new


@dataclass(frozen=True, slots=True)
class _Counts:
    """What became of one group: spans accepted, refused by reason, documents skipped, spans left out."""

    accepted: int
    rejected: dict[str, int]
    skipped: Counter[str]
    outside: int


class _Terms(NamedTuple):
    """What holds for every chunk: when it arrived, hours whose raw spans have gone, attributes kept."""

    arrived_ns: int
    closed: list[int]
    policy: Policy


class _Decoded(NamedTuple):
    """Spans of a chunk, the bytes that they take in memory, documents skipped, and spans left out."""

    batch: Batch
    size: int
    skipped: Counter[str]
    outside: int


#: What the interpreter, the libraries, the compiled code and chunks in work take, in any import.
PROGRAM_BYTES: Final = 376 * 1024 * 1024
#: Beside them at least so much is used for spans, whatever the settings say.
LEAST_BYTES: Final = 176 * 1024 * 1024
#: What is written aside is written in pieces of so many bytes at least.
_LEAST_ASIDE: Final = 4 * 1024 * 1024
#: A decoded span's integers, and sixteen bytes for each of its strings, wherever their text is.
_ROW_BYTES: Final = sum(16 if kind in ("String", "Binary") else 8 for kind in schema.SPANS.values())


def _requests(chunks: Group, only: Callable[[bytes], bool] | None = None) -> tuple[Requests, list[int]]:
    """What chunks hold, and which of them each request stems from; of lenient ones what `only` accepts."""
    out, origin = Requests(), list[int]()
    for number, chunk in enumerate(chunks):
        found = chunk.requests()
        out.skipped += found.skipped
        for data, message in zip(found.data, found.message, strict=True):
            if only is None or not chunk.lenient or only(data):
                out.data.append(data)
                out.message.append(message)
                origin.append(number)
    return out, origin


def _decode(chunks: Group, terms: _Terms, between: Between | None) -> _Decoded:
    """Decode some chunks as one, and keep what starts between."""
    import polars as pl

    from tracescope.ingest.decode import assemble, fingerprint, scan

    def sound(data: bytes) -> bool:
        try:
            scan([data], terms.arrived_ns, terms.policy)
        except MalformedOtlpError:
            return False
        return True

    requests, origin = _requests(chunks)
    refused = 0
    try:
        found = scan(requests.data, terms.arrived_ns, terms.policy)
    except MalformedOtlpError as error:
        chunk = chunks[origin[error.payload]]
        if not chunk.lenient:
            raise chunk.misplaced(error, requests) from error
        left, _ = _requests(chunks, sound)
        refused = len(requests.data) - len(left.data)
        requests, found = left, scan(left.data, terms.arrived_ns, terms.policy)
    name, decoded = fingerprint(found), assemble(found, terms.policy)
    spans, rejected = decoded.spans, dict(decoded.rejected)
    if refused:
        rejected["malformed_message"] = refused
    every = len(spans)
    if between is not None:
        spans = spans.filter(pl.col("start_ns").is_between(*between, closed="left"))
        if len(spans) < every:
            name = f"{name}-{between.first_ns}-{between.end_ns}"
    outside = every - len(spans)
    if terms.closed:
        kept = spans.filter(~(pl.col("start_ns") // schema.HOUR_NS).is_in(terms.closed))
        if len(kept) < len(spans):
            rejected["hour_closed"] = len(spans) - len(kept)
        spans = kept
    size = _ROW_BYTES * len(spans) + sum(each.nbytes for each in (found.raw, found.resource_raw, found.heap))
    return _Decoded(Batch.of(f"i-{name}", spans, rejected, terms.arrived_ns), size, requests.skipped, outside)


def _stage(group: LandingGroup, batches: list[Batch], also: Sequence[str] = ()) -> None:
    """Write batches to where they land from, as one: files of few rows cost more than their rows."""
    import polars as pl

    rejected: Counter[str] = Counter()
    for batch in batches:
        rejected.update(batch.rejected)
    spans = pl.concat([batch.spans for batch in batches])
    group.land(
        spans,
        batch=batches[0].name,
        accepted=len(spans),
        rejected=rejected,
        arrived_ns=batches[0].arrived_ns,
        also=[*(batch.name for batch in batches[1:]), *also],
    )


class _Hold:
    """Takes batches: into memory while they fit, then to disk."""

    def __init__(self, group: LandingGroup, room_bytes: int) -> None:
        self._group = group
        self._memory_bytes = room_bytes * 9 // 20
        self._aside_bytes = max(_LEAST_ASIDE, room_bytes // 16)
        self._lock = threading.Lock()
        self._aside: list[Batch] = []
        self._waiting_bytes = 0
        self.batches: list[Batch] = []
        self.used_bytes = 0

    def decode(self, chunks: Group, terms: _Terms, between: Between | None) -> _Counts:
        """Decode some chunks and keep their spans, those that start between."""
        made = _decode(chunks, terms, between)
        full: list[Batch] = []
        with self._lock:
            if self.used_bytes + made.size <= self._memory_bytes:
                self.used_bytes += made.size
                self.batches.append(made.batch)
            else:
                self._aside.append(made.batch)
                self._waiting_bytes += made.size
                if self._waiting_bytes >= self._aside_bytes:
                    full, self._aside, self._waiting_bytes = self._aside, [], 0
        if full:
            _stage(self._group, full)
        return _Counts(len(made.batch.spans), made.batch.rejected, made.skipped, made.outside)

    def finish(self) -> None:
        """Write what waits to be written."""
        if self._aside:
            _stage(self._group, self._aside)
            self._aside = []


def _results(
    hold: _Hold, groups: Iterator[tuple[Group, Between | None]], terms: _Terms, workers: int
) -> Iterator[tuple[Group, _Counts]]:
    """Keep every chunk, some at once."""
    waiting: list[tuple[Group, Future[_Counts]]] = []
    with ThreadPoolExecutor(workers) as threads:
        for chunks, between in groups:
            waiting.append((chunks, threads.submit(hold.decode, chunks, terms, between)))
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


@dataclass(slots=True)
class _Asked:
    """What is to be read: files, then sources."""

    files: list[str | Path]
    readings: list[Reading]
    form: Form
    skipped: Skipped

    @classmethod
    def of(
        cls, paths: Sequence[str | Path | Source], form: Form, skipped: Skipped, before: Collection[str]
    ) -> _Asked:
        """Sort what is named; `before` are the batches that the store has."""
        files = [each for each in paths if isinstance(each, (str, Path))]
        sources = [each for each in paths if not isinstance(each, (str, Path))]
        return cls(files, [Reading(each, form, Skipped(), before) for each in sources], form, skipped)

    def groups(self) -> Generator[tuple[Group, Between | None]]:
        """Chunks of all, by what is decoded together, and between what their spans have to start."""
        if self.files:
            with closing(read(self.files, self.form, self.skipped)) as chunks:
                for group in grouped(chunks):
                    yield group, None
        for reading in self.readings:
            with closing(reading.groups()) as groups:
                for group in groups:
                    yield group, reading.between.get(group[-1].source)
            self.skipped.files += reading.skipped.files

    def names(self, left_out: Collection[str]) -> list[str]:
        """Batches of the parts that were read; of those in `left_out` some spans were."""
        for reading in self.readings:
            reading.narrow(left_out)
        return [name for reading in self.readings for name in reading.names]


def import_files(
    store: SpanStore,
    paths: Sequence[str | Path | Source],
    *,
    arrived_ns: int,
    form: Form = "auto",
    workers: int = 2,
    memory_bytes: int = 768 * 1024 * 1024,
    policy: Policy = keeping.DEFAULT,
    progress: Callable[[str, int, int, int], None] | None = None,
    let_go: Callable[[], object] = lambda: None,
) -> ImportResult:
    """Import files and seal what they complete.

    Parameters
    ----------
    store, paths, form
        Where to, what (names, globs, folders, ``-``, and sources that were opened), and of which format.
    arrived_ns
        Now.
    workers, memory_bytes
        Chunks in work at once, and what the process may take, the program itself included: never less
        than PROGRAM_BYTES and LEAST_BYTES together.
    policy
        Which attributes are kept, beside what is built in.
    progress
        Called with file, bytes read of it, its size (0: unknown) and spans so far.
    let_go
        Called when all is read: returns freed memory that the process keeps.

    Raises
    ------
    InputError
        A file cannot be read as what it claims to be, or none holds traces; the store is as it was.
    """
    store.landing.recover()
    before = store.stored()
    result = ImportResult()
    found = store.snapshot()
    terms = _Terms(arrived_ns, found.closed, policy)
    known = {*found.pointer.ledger.batches, *found.ledger.batches}
    asked = _Asked.of(paths, form, Skipped(result.skipped_files), known)
    with (
        _without_cycles(),
        store.group(f"import-{arrived_ns}") as group,
        closing(asked.groups()) as groups,
    ):
        room = max(memory_bytes - PROGRAM_BYTES, LEAST_BYTES)
        hold = _Hold(group, room)
        left_out: set[str] = set()
        for chunks, taken in _results(hold, groups, terms, workers):
            if taken.outside:
                left_out.update(chunk.source for chunk in chunks)
            result.outside += taken.outside
            result.read += taken.accepted + sum(taken.rejected.values())
            result.rejected.update(taken.rejected)
            result.skipped.update(taken.skipped)
            if progress is not None:
                chunk = chunks[-1]
                progress(chunk.source, chunk.position, chunk.total, result.read)
        hold.finish()
        let_go()
        names = asked.names(left_out)
        result.known = sum(reading.known for reading in asked.readings)
        result.parts_outside = sum(reading.outside for reading in asked.readings)
        try:
            left = room - hold.used_bytes
            unlanded = Unlanded(hold.batches, group, names, arrived_ns)
            seal(store, workers=workers, memory_bytes=left, unlanded=unlanded)
            group.drop()
        except StoreBusyError:  # whoever seals next finds them landed
            batches = hold.batches
            if names and not batches:
                batches = [Batch.of(names.pop(), schema.empty(schema.SPANS), {}, arrived_ns)]
            if batches:
                _stage(group, batches, names)
            result.sealed = False
    result.new = store.stored() - before
    return result
