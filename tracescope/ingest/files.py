"""Trace files of every kind, as chunks that a worker turns into OTLP requests.

==================  ==============================================================================
JSON                documents one after another, in lines or over many: OTLP, Jaeger, Zipkin in all
                    their wrappings (`documents`), large ones in portions (`sequence`)
OTLP protobuf       bare messages, or each with its length before it: 4 bytes, big-endian, as the
                    Collector's file exporter writes with ``format: proto``, or a varint
framed zstd         what the file exporter's ``compression: zstd`` writes: every message compressed
                    by itself, with its length before it (zstd tools cannot read it)
==================  ==============================================================================

``.gz`` and ``.zst`` around any of them are recognised by their first bytes, and so is everything else:
names say nothing.  Memory is bounded: a chunk ends at CHUNK_BYTES, protobuf that is one message excepted.
"""

from __future__ import annotations

import glob
import io
import itertools
import os
import stat
import struct
import sys
from collections import Counter
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, BinaryIO, NamedTuple

from tracescope.errors import InputError, MalformedOtlpError, SourceError, in_words, refused, translated
from tracescope.ingest import documents, foreign, otlp_framing, otlp_json, zipkin_traces
from tracescope.ingest.documents import Form, NoTracesError
from tracescope.ingest.inflate import zstd
from tracescope.ingest.sequence import CHUNK_BYTES, Documents
from tracescope.places import not_a_source

MAX_MESSAGE = 1024 * 1024 * 1024
#: Bytes that one look into a zstd frame gives at most.
_PIECE_BYTES = 1 << 20
#: So much of a file's beginning tells what it is; of protobuf more is looked at.
_HEAD, _WINDOW = 4096, 256 * 1024
_GZIP, _ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
_LENGTH = struct.Struct(">I")


class Message(NamedTuple):
    """A document or protobuf message, and the line or offset that it begins at."""

    data: bytes
    place: int


@dataclass(slots=True)
class Requests:
    """ExportTraceServiceRequest bytes, the message that each stems from, and what was skipped as what."""

    data: list[bytes] = field(default_factory=list[bytes])
    message: list[int] = field(default_factory=list[int])
    skipped: Counter[str] = field(default_factory=Counter[str])


@dataclass(frozen=True, slots=True)
class Chunk:
    """Raw messages of one file, not decoded yet.

    Attributes
    ----------
    kind
        ``json`` (documents) or ``proto``.
    form
        What the documents are, where that was said.
    messages
        Each with its line or byte offset.
    zstd
        Each message is compressed by itself.
    source
        The file.
    position, total
        Bytes of the file read so far, and its size (0: unknown).
    lenient
        A message that is malformed is refused, and counted, and the others are read.
    """

    kind: str
    form: Form
    messages: tuple[Message, ...]
    zstd: bool
    source: str
    position: int
    total: int
    lenient: bool = False

    def requests(self) -> Requests:
        """What every message holds.

        Raises
        ------
        InputError
            With the file, the line or offset, and what to do.
        """
        if self.kind == "json" and not self.zstd:
            together = documents.read_together([message.data for message in self.messages], self.form)
            if together is not None:  # of messages that are JSON, a decoder has nothing to say
                return Requests(together.requests, [0] * len(together.requests), together.skipped)
        out = Requests()
        for number, message in enumerate(self.messages):
            data = _unzstd(message.data, self._place(number)) if self.zstd else message.data
            if self.kind == "proto":
                if (signal := otlp_framing.signal_of(data)) != "traces":
                    out.skipped[signal] += 1
                    continue
                out.data.append(data)
                out.message.append(number)
                continue
            try:
                found = documents.read(data, self.form)
            except otlp_json.Malformed as error:
                raise malformed(self.source, message.place, error) from error
            out.data += found.requests
            out.message += [number] * len(found.requests)
            out.skipped += found.skipped
        return out

    def _place(self, number: int) -> str:
        place = self.messages[number].place
        return f"{self.source} at byte {place}" if self.kind == "proto" else f"{self.source}:{place}"

    def misplaced(self, error: MalformedOtlpError, requests: Requests) -> InputError:
        """A decoder's error with the place of its message."""
        return InputError(
            f"{self._place(requests.message[error.payload])}: {error.message}",
            "the file is damaged or is not OTLP; see --format",
        )


def malformed(source: str, line: int, error: otlp_json.Malformed) -> InputError:
    """What is wrong with a document that begins on a line of a file."""
    return InputError(f"{source}:{line + error.lines}: {error.message}", error.hint or "fix or remove it")


@dataclass(slots=True)
class Skipped:
    """Files that hold no traces: those that a folder or pattern brought, or that stood beside others."""

    files: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])


def expand(patterns: Sequence[str | Path]) -> list[tuple[str, bool]]:
    """Files of names, globs and folders in order, and whether each was named itself; ``-`` is standard input.

    Raises
    ------
    SourceError
        A name is a URL.
    InputError
        Nothing matches a name.
    """
    out: dict[str, bool] = {}
    alone = len(patterns) == 1
    refuse_elsewhere(patterns)
    for pattern in map(str, patterns):
        if pattern == "-" or os.path.isfile(pattern):
            out.setdefault(pattern, alone)
            continue
        if os.path.isdir(pattern):
            found = [str(path) for path in files_below(Path(pattern))]
        elif os.path.exists(pattern):
            found = [pattern]
        else:
            found = [path for path in sorted(glob.glob(pattern, recursive=True)) if os.path.isfile(path)]
        if not found:
            _look(Path(pattern))
            raise InputError(
                f"{pattern}: no such file", "check the name, or quote a glob that the shell would expand"
            )
        for path in found:
            out.setdefault(path, False)
    return list(out.items())


def refuse_elsewhere(patterns: Sequence[str | Path]) -> None:
    """Raise SourceError for the first name that is a URL."""
    for pattern in map(str, patterns):
        if (wrong := not_a_source(pattern)) is not None:
            raise SourceError(wrong.message, wrong.hint)


def files_below(folder: Path) -> list[Path]:
    """Files below a folder by name, but what is hidden.

    Raises
    ------
    OSError
        A folder cannot be looked at: what lies in it must not be left out unsaid.
    """
    found: list[Path] = []
    for at, folders, names in os.walk(folder, onerror=_raise):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [Path(at, name) for name in names if not name.startswith(".")]
    return sorted(path for path in found if path.is_file())


def _raise(error: OSError) -> None:
    raise error


def _look(path: Path) -> None:
    """Raise the error of a path whose folder does not let us look; a glob only finds nothing there."""
    try:
        path.stat()
        os.scandir(path.parent).close()
    except PermissionError:
        raise
    except OSError:
        return


class FileOfNoTracesError(Exception):
    """A file that is something else, as its beginning tells."""

    def __init__(self, error: InputError) -> None:
        super().__init__(str(error))
        self.error = error


def read(
    paths: Sequence[str | Path], form: Form = "auto", skipped: Skipped | None = None
) -> Generator[Chunk]:
    """Chunks of all files, one after the other.

    Parameters
    ----------
    paths, form
        Names, globs, folders, ``-``; and what they hold, where that is known.
    skipped
        Takes files that hold no traces; where nobody wants to know, they are an error.

    Raises
    ------
    InputError
        A file cannot be opened or read; one that was named by itself, or all there are, hold no traces.
    """
    files = expand(paths)
    for path, named in files:
        try:
            yield from _read_file(path, form)
        except FileOfNoTracesError as found:
            if named or skipped is None:
                raise found.error from None
            skipped.files.append((path, found.error.message))
    if skipped is not None and files and len(skipped.files) == len(files):
        path, reason = skipped.files[0]
        raise SourceError(
            f"none of {len(files)} files holds traces; the first: {reason}", "see tracescope import --help"
        )


def _read_file(path: str, form: Form) -> Iterator[Chunk]:
    name = "standard input" if path == "-" else path
    with _read_errors(name), sys.stdin.buffer if path == "-" else open(path, "rb") as raw:
        total = 0 if path == "-" else os.path.getsize(path)
        file = _file_of(raw)
        yield from _read_stream(_Counter(raw), file, name, form, total)


def read_pieces(pieces: Iterable[bytes], name: str, form: Form, total: int) -> Iterator[Chunk]:
    """Chunks of a file whose bytes come in pieces.

    Parameters
    ----------
    pieces
        Its bytes.
    name, form, total
        What it is called, what it holds where that is known, and its size (0: unknown).

    Raises
    ------
    FileOfNoTracesError
        It holds something else.
    InputError
        It is damaged.
    """
    with _read_errors(name):
        yield from _read_stream(_Counter(_Pieces(iter(pieces))), None, name, form, total)


@contextmanager
def _read_errors(name: str) -> Generator[None]:
    """Say of an error of reading which file it is."""
    try:
        yield
    except (EOFError, OSError) as error:
        known = translated(error) if refused(error) else None
        hint = known.hint if known is not None else "the file is damaged or incomplete; copy it again"
        raise InputError(f"{name}: {in_words(error)}", hint) from error


class _Pieces(io.RawIOBase):
    """A stream of what an iterator gives."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._left = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._left:
            piece = next(self._pieces, None)
            if piece is None:
                return 0
            self._left = memoryview(piece)
        count = min(len(buffer), len(self._left))
        buffer[:count] = self._left[:count]
        self._left = self._left[count:]
        return count


class _Counter(io.RawIOBase):
    """Counts bytes on the way, and can look ahead."""

    def __init__(self, raw: BinaryIO | io.RawIOBase) -> None:
        self._raw = raw
        self._head = b""
        self.position = 0

    def readable(self) -> bool:
        return True

    def peek(self, size: int) -> bytes:
        while len(self._head) < size and (more := self._raw.read(size - len(self._head))):
            self._head += more
        return self._head[:size]

    def readinto(self, buffer: Any) -> int:
        count = min(len(self._head), len(buffer))
        buffer[:count] = self._head[:count]
        self._head = self._head[count:]
        # whoever peeks into a buffered reader gets what its first call brought
        count += self._raw.readinto(memoryview(buffer)[count:])  # pyright: ignore[reportAttributeAccessIssue]
        self.position += count
        return count


class _Zstd(io.RawIOBase):
    """Frames one after the other; unlike the library's own reader it tells when the last is cut off."""

    def __init__(self, raw: _Counter) -> None:
        self._raw = raw
        self._frame: zstd.ZstdDecompressor | None = None
        self._given, self._made = b"", b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._made:
            data = b""
            if self._frame is None or self._frame.needs_input:
                data = self._given or self._raw.read(1 << 17) or b""
                self._given = b""
                if not data:
                    if self._frame is not None:
                        raise EOFError("the compressed data ends before it is complete")
                    return 0
            if self._frame is None:
                self._frame = zstd.ZstdDecompressor()
            self._made = self._frame.decompress(data, _PIECE_BYTES)
            if self._frame.eof:
                self._given, self._frame = self._frame.unused_data, None
        count = min(len(buffer), len(self._made))
        buffer[:count] = self._made[:count]
        self._made = self._made[count:]
        return count


def _file_of(raw: BinaryIO) -> int | None:
    """Descriptor of a regular file that is at its beginning, which may be read again."""
    number = raw.fileno()
    return number if stat.S_ISREG(os.fstat(number).st_mode) and raw.tell() == 0 else None


def _read_stream(counter: _Counter, file: int | None, name: str, form: Form, total: int) -> Iterator[Chunk]:
    head = counter.peek(8)
    if head[:2] == _GZIP:
        from isal import igzip

        stream: IO[bytes] = igzip.IGzipFile(fileobj=io.BufferedReader(counter, 1 << 18))  # pyright: ignore[reportAssignmentType]
    elif head[:4] == _ZSTD:
        stream = _Zstd(counter)  # pyright: ignore[reportAssignmentType]
    else:
        stream = counter  # pyright: ignore[reportAssignmentType]
    ahead = _Counter(io.BufferedReader(stream, 1 << 18))  # pyright: ignore[reportArgumentType]
    try:
        window = ahead.peek(_WINDOW)
        text: io.BufferedReader = io.BufferedReader(ahead, 1 << 20)  # pyright: ignore[reportAssignmentType]
        plain = file if head[:2] != _GZIP and head[:4] != _ZSTD else None
        yield from _Plain(text, window, counter, name, form, total, plain).chunks()
    except _decompression_errors() as error:
        raise InputError(f"{name}: {error}", "the file is damaged or incomplete; copy it again") from error


def _decompression_errors() -> tuple[type[Exception], ...]:
    import zlib

    from isal import isal_zlib

    return (zlib.error, isal_zlib.error, zstd.ZstdError)  # pyright: ignore[reportReturnType]


@dataclass(frozen=True, slots=True)
class _Plain:
    """A file after decompression.

    Attributes
    ----------
    text, window
        Its bytes, and the first of them, which are still to be read.
    counter
        How many of its compressed bytes have been read.
    name, form, total
        What it is called, what it was said to be, its size.
    file
        Its descriptor, where it is neither compressed nor a pipe.
    """

    text: io.BufferedReader
    window: bytes
    counter: _Counter
    name: str
    form: Form
    total: int
    file: int | None

    def chunks(self) -> Iterator[Chunk]:
        """The file's messages."""
        if not self.window:
            return
        begun = False
        try:
            for chunk in self._by_content(self.window[:_HEAD]):
                yield chunk
                begun = True
        except NoTracesError as error:
            found = SourceError(f"{self.name}: {error.message}", error.hint or "leave it out")
            raise found if begun else FileOfNoTracesError(found) from error

    def _by_content(self, head: bytes) -> Iterator[Chunk]:
        json = head.lstrip(b"\xef\xbb\xbf \t\r\n\x1e")[:1] in (b"{", b"[", b"")
        said_json = self.form in ("otlp-json", "jaeger", "zipkin")
        if self.form == "auto" and (found := foreign.known_binary(head)) is not None:
            raise NoTracesError(f"{found.name}, which cannot be read", found.way)
        if head[4:8] == _ZSTD and head[0] != 0x7B:
            kind = self._framed_kind() if self.form == "auto" else "json" if said_json else "proto"
            yield from self._gathered(self._prefixed(), kind, zstd=True)
        elif self.form == "otlp-proto" or not (json or said_json):
            if self.form == "auto":
                self._refuse_foreign(head)
            yield from self._protobuf()
        else:
            yield from self._json()

    def _refuse_foreign(self, head: bytes) -> None:
        """Raise for text that is no JSON."""
        if _is_text(head):
            found = foreign.known_text(head.decode(errors="replace"))
            if found is not None:
                raise NoTracesError(f"{found.name}, which cannot be read", found.way)
            raise NoTracesError("text, and no JSON", "leave it out, or name its --format")

    def _gathered(self, messages: Iterable[Message], kind: str, *, zstd: bool = False) -> Iterator[Chunk]:
        """Chunks of messages."""
        some: list[Message] = []
        size = 0
        for message in messages:
            if some and size + len(message.data) > CHUNK_BYTES:
                yield self._chunk(some, kind, zstd)
                some, size = [], 0
            some.append(message)
            size += len(message.data)
        if some:
            yield self._chunk(some, kind, zstd)

    def _chunk(self, messages: list[Message], kind: str, zstd: bool) -> Chunk:
        return Chunk(kind, self.form, tuple(messages), zstd, self.name, self.counter.position, self.total)

    def _json(self) -> Iterator[Chunk]:
        """Chunks of documents; the first of them is read at once, and tells whether there are traces."""
        stream = iter(Documents(self.text, self.name, self.file))  # pyright: ignore[reportArgumentType]
        try:
            first = next(stream, None)
            if first is None:
                return
            self._probe(Message(*first))
        except InputError as error:
            if self.form != "auto" or documents.guess_form(self.window) != "auto":
                raise
            found = foreign.known_text(self.window[:_HEAD].decode(errors="replace"))
            if found is not None:
                raise NoTracesError(f"{found.name}, which cannot be read", found.way) from error
            raise FileOfNoTracesError(error) from error
        texts = itertools.chain((first,), stream)
        if documents.guess_form(first.data) == "zipkin" or self.form == "zipkin":
            texts = zipkin_traces.together(texts)
        yield from self._gathered((Message(*text) for text in texts), "json")

    def _probe(self, first: Message) -> None:
        """Raise where the first document is something else than traces."""
        if documents.guess_form(first.data) == "auto" and len(first.data) < CHUNK_BYTES:
            try:
                documents.read(first.data, self.form)
            except NoTracesError:
                raise
            except otlp_json.Malformed as error:
                raise malformed(self.name, first.place, error) from error

    def _framed_kind(self) -> str:
        """What a message-wise compressed file holds: its first message tells."""
        size = _LENGTH.unpack(self.window[:4])[0]
        first = self.window[4 : size + 4]
        try:
            start = zstd.ZstdDecompressor().decompress(first, 64)
        except zstd.ZstdError as error:
            raise InputError(f"{self.name}: {error}", "the file is damaged; copy it again") from error
        return "json" if start.lstrip()[:1] in (b"{", b"[") else "proto"

    def _protobuf(self) -> Iterator[Chunk]:
        """Bare messages, which read as one, or messages with their lengths."""
        framing = otlp_framing.framing_of(self.window)
        if framing is None and self.form == "auto":
            raise NoTracesError("neither text nor OTLP protobuf", "leave it out, or name its --format")
        if framing == "bare":
            messages = iter([Message(self._all(), 0)])
        elif framing == "varint":
            messages = self._delimited()
        else:
            messages = self._prefixed()
        yield from self._gathered(messages, "proto")

    def _all(self) -> bytes:
        data = self.text.read(MAX_MESSAGE + 1)
        if len(data) > MAX_MESSAGE:
            raise InputError(
                f"{self.name}: one message of over {MAX_MESSAGE >> 20} MiB",
                "write it in several, each with its length",
            )
        return data

    def _prefixed(self) -> Iterator[Message]:
        """Messages with a length of four bytes before each."""
        at = 0
        while prefix := self.text.read(4):
            if len(prefix) < 4:
                raise self._damaged(at, f"{len(prefix)} bytes of a 4-byte length", "the file is cut off")
            length = _LENGTH.unpack(prefix)[0]
            yield Message(self._message(at, length), at)
            at += 4 + length

    def _delimited(self) -> Iterator[Message]:
        """Messages with a length as varint before each."""
        at = 0
        while first := self.text.read(1):
            length, size = first[0] & 0x7F, 1
            while first[0] & 0x80:
                if not (first := self.text.read(1)) or size == 5:
                    raise self._damaged(at, "a length that does not end", "the file is cut off or damaged")
                length |= (first[0] & 0x7F) << 7 * size
                size += 1
            yield Message(self._message(at, length), at)
            at += size + length

    def _message(self, at: int, length: int) -> bytes:
        if length > MAX_MESSAGE:
            raise self._damaged(
                at, f"a message of {length} bytes", "not length-prefixed OTLP; name its --format"
            )
        message = self.text.read(length)
        if len(message) < length:
            raise self._damaged(
                at, f"a message of {length} bytes, of which {len(message)} are there",
                "the file is cut off; copy it again",
            )  # fmt: skip
        return message

    def _damaged(self, at: int, what: str, hint: str) -> InputError:
        return InputError(f"{self.name} at byte {at}: {what}", hint)


def _is_text(head: bytes) -> bool:
    """Whether a file begins as prose does; a protobuf message begins with a tag, or a length below 16 MiB."""
    if head[:1] in (b"\x0a", b"\x00"):
        return False
    try:
        text = head.decode()
    except UnicodeDecodeError as error:
        if error.start < len(head) - 3:
            return False
        text = head[: error.start].decode()
    return all(character.isprintable() or character in "\t\r\n\x1b\f" for character in text)


def _unzstd(message: bytes, place: str) -> bytes:
    try:
        data = zstd.ZstdDecompressor().decompress(message, MAX_MESSAGE + 1)
        promised = zstd.get_frame_info(message).decompressed_size
    except zstd.ZstdError as error:
        raise InputError(f"{place}: {error}", "the file is damaged; copy it again") from error
    if len(data) > MAX_MESSAGE:
        raise InputError(f"{place}: a message of over {MAX_MESSAGE >> 20} MiB", "it is damaged, or a bomb")
    if promised not in (None, len(data)):  # None: the frame does not say
        raise InputError(
            f"{place}: {len(data)} bytes of {promised} after decompression", "copy the file again"
        )
    return data
