"""Tasks: one slice of the traces of some hours, as whoever works on it needs to know it.

    driver    plan ─► task, task, task ─► pool ─► done, done, done ─► merge, join hops, cap, publish
    workers             names of files, a range     partial rollups, names of
                        of ids, hours               files written, spans an hour

A task is plain data of a few kB beside the names of its files, so it runs in any process on any machine that
reads the store's folder.  Running it twice does no harm: what it writes has names of its own, and counts
only once the driver, which alone changes the store, publishes the names that it was given.  What attempts
that failed have left is removed with other files that nobody names.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from itertools import islice
from typing import Any, Final, NamedTuple, Protocol, TypeAlias

import orjson
import polars as pl

from tracescope import schema
from tracescope.analysis.rollups.merge import Tables
from tracescope.conventions.keeping import Policy
from tracescope.engine.slices import Room, Slice, Source, cut, in_threads
from tracescope.errors import StoreError
from tracescope.store.pointer import File
from tracescope.store.sealed import sealed_at
from tracescope.version import __version__

#: What must be the same wherever tasks of one sealing run.
RULES: Final = f"{__version__}, schema {schema.SCHEMA_VERSION}, rules {schema.RULES}"


class Spans(IntEnum):
    """What becomes of the spans that rollups were made of: nothing, they are given, or written."""

    LEFT = 0
    GIVEN = 1
    WRITTEN = 2


class Counted(NamedTuple):
    """Spans of an hour, with the earliest start and the latest end among them in ns."""

    spans: int
    first_ns: int
    last_ns: int


@dataclass(frozen=True, slots=True)
class Done:
    """What a task made.

    Attributes
    ----------
    tables
        Partial rollups and the names that they use.
    hours
        Spans by the hour that their trace starts in; of `Spans.LEFT` none.
    kept, files
        These spans, or the files that hold them.
    """

    tables: Tables
    hours: dict[int, Counted]
    kept: pl.DataFrame | None = None
    files: tuple[File, ...] = ()


class Task(Protocol):
    """Anything that a pool runs; a plain description, of what can be pickled."""

    def run(self) -> Done:
        """Do it, here and now."""
        ...


@dataclass(frozen=True, slots=True)
class Rolling:
    """Roll up the traces of a slice that start in hours ``[begin, end)``.

    Attributes
    ----------
    source, part, begin, end
        Whose spans.
    spans
        What becomes of them.
    rules
        RULES of whoever asks for it.
    """

    source: Source
    part: Slice
    begin: int
    end: int
    spans: Spans = Spans.LEFT
    rules: str = RULES

    def run(self) -> Done:
        """Partial rollups, and the spans that count where these are wanted.

        Raises
        ------
        StoreError
            Another version of the program asks for it: hours of one store have to be made alike.
        """
        from tracescope.analysis.rollups.process import process  # which loads the compiler

        check_version(self.rules)
        rows = self.part.of(self.source.scan())
        if self.spans == Spans.LEFT:
            rows = rows.select(list(schema.ROLLED))
        made = process(rows.collect(), keep=(self.begin * schema.HOUR_NS, self.end * schema.HOUR_NS))
        if self.spans == Spans.LEFT:
            return Done(made.tables, {})
        kept = made.spans()
        hours = _counted(kept)
        if self.spans == Spans.GIVEN:
            return Done(made.tables, hours, kept)
        return Done(made.tables, hours, files=tuple(sealed_at(self.source.root).put("spans", kept)))


@dataclass(frozen=True, slots=True)
class Resolving:
    """Resolve anew what spans of some hours mean, and write those that mean something else by today's rules.

    Attributes
    ----------
    source
        Whose spans: sealed ones.
    policy
        What settings say of attributes and addresses.
    rules
        RULES of whoever asks for it.
    """

    source: Source
    policy: Policy
    rules: str = RULES

    def run(self) -> Done:
        """Files of these hours' spans, where they have changed."""
        from tracescope.ingest.resolve import RESOLVED, resolve  # which loads the compiler

        check_version(self.rules)
        spans = self.source.sealed_spans().collect()
        made = resolve(spans, self.policy)
        if made.select(RESOLVED).equals(spans.select(RESOLVED)):
            return Done({}, {})
        ordered = made.sort("hour", maintain_order=True)
        return Done({}, {}, files=tuple(sealed_at(self.source.root).put("spans", ordered)))


def check_version(rules: str) -> None:
    """Refuse a task of another version.

    Raises
    ------
    StoreError
        Hours of one store have to be made alike.
    """
    if rules != RULES:
        raise StoreError(
            f"a worker runs tracescope {RULES}, and whoever asks it to runs {rules}",
            "install the same version on all workers",
        )


def _counted(kept: pl.DataFrame) -> dict[int, Counted]:
    times = pl.col("start_ns").min(), pl.col("end_ns").max()
    return {
        hour: Counted(count, low, high)
        for hour, count, low, high in kept.group_by("hour").agg(pl.len(), *times).iter_rows()
    }


class Pool(Protocol):
    """Whatever runs tasks: threads, processes, a cluster.

    Attributes
    ----------
    workers
        Tasks that it runs at once.
    inside
        Whether they run in this process, and may hold and give what lies in its memory.
    together
        Tasks that should be there before it begins, so that no worker stands idle; 1 where it begins anyway.
    """

    workers: int
    inside: bool
    together: int

    def room(self, memory_bytes: int) -> Room:
        """How large slices may be where `memory_bytes` may be used."""
        ...

    def run(self, tasks: Sequence[Task]) -> Iterator[Done]:
        """What each task made, in their order; one that fails is tried again, or ends it with its error."""
        ...


class Threads:
    """Threads of this process: what needs no start and copies nothing."""

    inside = True
    together = 1

    def __init__(self, workers: int) -> None:
        self.workers = workers

    def room(self, memory_bytes: int) -> Room:
        """They share it."""
        return Room(self.workers, memory_bytes)

    def run(self, tasks: Sequence[Task]) -> Iterator[Done]:
        """Run tasks, a few ahead of the caller."""
        return in_threads(lambda task: task.run(), tasks, self.workers)


#: Half-open hours.
Run: TypeAlias = tuple[int, int]


def rollings(source: Source, run: Run, pool: Pool, memory_bytes: int, *, keep: bool = False) -> list[Task]:
    """Tasks that roll up a run of hours.

    Parameters
    ----------
    source, run
        Their spans, and the hours.
    pool, memory_bytes
        Who will work on them, and with how much.
    keep
        Whether the spans that count are wanted too.
    """
    spans = Spans.LEFT if not keep else Spans.GIVEN if pool.inside else Spans.WRITTEN
    parts = cut(source.scan(), pool.room(memory_bytes))
    seen = source if pool.inside else source.absolute()
    return [Rolling(seen, part, *run, spans) for part in parts]


def worked(pool: Pool, plans: Iterable[tuple[Run, list[Task]]]) -> Iterator[tuple[Run, Iterator[Done]]]:
    """Each run of hours with what its tasks made, as it comes; the caller takes all of it before the next."""
    waiting: list[tuple[Run, list[Task]]] = []
    for plan in plans:
        waiting.append(plan)
        if sum(len(tasks) for _, tasks in waiting) >= pool.together:
            yield from _worked(pool, waiting)
            waiting = []
    yield from _worked(pool, waiting)


def _worked(pool: Pool, plans: list[tuple[Run, list[Task]]]) -> Iterator[tuple[Run, Iterator[Done]]]:
    tasks = [task for _, some in plans for task in some]
    if not tasks:
        return
    results = pool.run(tasks)
    for run, some in plans:
        yield run, islice(results, len(some))


# -- between processes --

_HEAD: Final = struct.Struct(">Q")


def pack(done: Done) -> bytes:
    """As bytes: a head of JSON, then each table as an Arrow IPC stream."""
    tables = {name: _ipc(frame) for name, frame in done.tables.items()}
    head = orjson.dumps(
        {
            "tables": {name: len(data) for name, data in tables.items()},
            "hours": {str(hour): list(counted) for hour, counted in done.hours.items()},
            "files": [_fields(file) for file in done.files],
        }
    )
    return b"".join((_HEAD.pack(len(head)), head, *tables.values()))


def unpack(data: bytes) -> Done:
    """What `pack` packed; tables are checked."""
    at = _HEAD.size + _HEAD.unpack_from(data)[0]
    head: dict[str, Any] = orjson.loads(data[_HEAD.size : at])
    known = {**schema.ROLLUPS, **schema.DIMENSIONS}
    tables: Tables = {}
    for name, size in head["tables"].items():
        frame = pl.read_ipc_stream(io.BytesIO(data[at : at + size]))
        tables[name] = schema.check(frame, known[name], name)
        at += size
    hours = {int(hour): Counted(*counted) for hour, counted in head["hours"].items()}
    return Done(tables, hours, files=tuple(File(*fields) for fields in head["files"]))


def _fields(file: File) -> tuple[str, int, int, int, int, int, int]:
    return file.path, file.rows, file.size, file.check, file.first, file.last, file.version


def _ipc(frame: pl.DataFrame) -> bytes:
    out = io.BytesIO()
    frame.write_ipc_stream(out, compression="zstd")
    return out.getvalue()
