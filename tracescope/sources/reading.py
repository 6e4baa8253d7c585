"""A source's parts as chunks: what is here already is left out, small parts are fetched some at once.

parts      a  b  c  D  e  f ...          D is large: it is streamed when its turn comes
fetched    a  b  c     e  f              at most FETCHED_BYTES and FETCHED_PARTS ahead, in their order
groups    [a  b  c] [D] [D] [e  f]       chunks decoded together: decoding costs by the call, too
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from typing import Final

from tracescope.errors import SourceError
from tracescope.ingest.documents import Form
from tracescope.ingest.files import Chunk, FileOfNoTracesError, Message, Skipped, read_pieces
from tracescope.ingest.sequence import CHUNK_BYTES
from tracescope.sources import Between, Part, Source, digest
from tracescope.store.pointer import OF_PART

#: Parts of at most so many bytes are fetched ahead, ...
SMALL_BYTES: Final = 4 * 1024 * 1024
#: ... so many bytes and parts at most, by so many threads.
FETCHED_BYTES: Final = 24 * 1024 * 1024
FETCHED_PARTS: Final = 64
FETCHERS: Final = 8
#: So many bytes are decoded at once, and at most such a part of what was read before.
TOGETHER_BYTES: Final = 4 * CHUNK_BYTES
TOGETHER_PART: Final = 4

Group = tuple[Chunk, ...]


@dataclass(slots=True)
class Reading:
    """One reading of a source.

    Attributes
    ----------
    source, form, skipped
        What is read, what its files hold, and which of them hold no traces.
    before
        Batches that the store has.
    names
        Batches of the parts that were read.
    known, outside
        Parts that the store had, and those that hold nothing of what is between.
    between
        What is between, by what messages call a part.
    """

    source: Source
    form: Form
    skipped: Skipped
    before: Collection[str]
    names: list[str] = field(default_factory=list[str])
    known: int = 0
    outside: int = 0
    between: dict[str, Between] = field(default_factory=dict[str, Between])
    _prefix: str = ""
    _shown: dict[str, Part] = field(default_factory=dict[str, Part])

    def groups(self) -> Generator[Group]:
        """Chunks of all parts that are new, each group to be decoded at once.

        Raises
        ------
        InputError
            A part cannot be read, or there are some and none holds traces.
        """
        self._prefix = batch_prefix(self.source)
        with closing(_fetched(self._new())) as parts:
            yield from grouped(self._chunks(parts))
        if not (self.names or self.known or self.outside) and self.skipped.files:
            raise SourceError(
                f"{self.source.name}: none of {len(self.skipped.files)} parts holds traces; the first: "
                f"{self.skipped.files[0][1]}",
                "see tracescope import --help",
            )

    def _new(self) -> Iterator[Part]:
        """Parts that the store has not, each name once."""
        size = len(self._prefix)
        names = {batch[size:] for batch in self.before if batch.startswith(self._prefix)}
        for part in self.source.parts(frozenset(names)):
            if part.outside:
                self.outside += 1
            elif part.name in names or _narrowed(part) in names:
                self.known += 1
            else:
                names.add(part.name)
                yield part

    def narrow(self, left_out: Collection[str]) -> None:
        """Name parts of which spans were left out so that an import of more reads them again.

        Parameters
        ----------
        left_out
            What messages call them.
        """
        for shown in self._shown.keys() & set(left_out):
            part = self._shown[shown]
            at = self.names.index(self._prefix + part.name)
            self.names[at] = self._prefix + _narrowed(part)

    def _chunks(self, parts: Iterator[tuple[Part, Iterable[bytes]]]) -> Iterator[Chunk]:
        for part, pieces in parts:
            if part.between is not None:
                self.between[part.shown] = part.between
                self._shown[part.shown] = part
            try:
                yield from chunks_of(part, pieces, self.form)
            except FileOfNoTracesError as found:
                self.skipped.files.append((part.shown, found.error.message))
                continue  # not remembered: another time, or with another --format, it may be read
            self.names.append(self._prefix + part.name)


def batch_prefix(source: Source) -> str:
    """What batches of a source's parts begin with."""
    return f"{OF_PART}{digest(source.identity)}-"


def chunks_of(part: Part, pieces: Iterable[bytes], form: Form) -> Iterator[Chunk]:
    """Chunks of a part."""
    if part.messages:
        return _of_messages(part, pieces)
    return read_pieces(pieces, part.shown, form, part.size)


def _narrowed(part: Part) -> str:
    """What a part is called of which only spans between are kept."""
    return digest(part.name, part.between)


def _of_messages(part: Part, pieces: Iterable[bytes]) -> Iterator[Chunk]:
    """Chunks of a part whose pieces are messages."""
    some: list[Message] = []
    size = position = 0
    for number, message in enumerate(pieces):
        if some and size + len(message) > CHUNK_BYTES:
            yield _message_chunk(some, part, position)
            some, size = [], 0
        some.append(Message(message, number))
        size += len(message)
        position += len(message)
    if some:
        yield _message_chunk(some, part, position)


def _message_chunk(messages: list[Message], part: Part, position: int) -> Chunk:
    total = max(part.size, position) if part.size else 0
    return Chunk("proto", "otlp-proto", tuple(messages), False, part.shown, position, total, lenient=True)


def grouped(chunks: Iterator[Chunk]) -> Iterator[Group]:
    """Groups of chunks: small ones together, and where there are many, as many as TOGETHER_BYTES hold.

    A group is at most a part of what came before it, so that all workers have something to do from the start.
    """
    some: list[Chunk] = []
    size = seen = 0
    for chunk in chunks:
        more = sum(len(message.data) for message in chunk.messages)
        if some and size + more > min(TOGETHER_BYTES, max(CHUNK_BYTES, seen // TOGETHER_PART)):
            yield tuple(some)
            some, size = [], 0
        some.append(chunk)
        size += more
        seen += more
    if some:
        yield tuple(some)


def _fetched(parts: Iterator[Part]) -> Generator[tuple[Part, Iterable[bytes]]]:
    """Parts and their bytes, in order; small ones were fetched ahead."""
    ahead: deque[tuple[Part, Future[list[bytes]] | None]] = deque()
    held = 0
    with ThreadPoolExecutor(FETCHERS, thread_name_prefix="fetch") as threads:
        try:
            for part in parts:
                small = 0 < part.size <= SMALL_BYTES
                ahead.append((part, threads.submit(_fetch, part) if small else None))
                held += part.size * small
                while len(ahead) >= FETCHED_PARTS or (held > FETCHED_BYTES and len(ahead) > 1):
                    held -= ahead[0][0].size * (ahead[0][1] is not None)
                    yield _next(ahead)
            while ahead:
                yield _next(ahead)
        finally:
            for _, fetching in ahead:
                if fetching is not None:
                    fetching.cancel()


def _next(ahead: deque[tuple[Part, Future[list[bytes]] | None]]) -> tuple[Part, Iterable[bytes]]:
    part, fetching = ahead.popleft()
    return part, part.read() if fetching is None else fetching.result()


def _fetch(part: Part) -> list[bytes]:
    return list(part.read())
