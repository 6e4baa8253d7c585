"""Trace files of every kind, as chunks that a worker turns into OTLP requests.

==================  ==============================================================================
OTLP JSON lines     one TracesData a line, as the Collector's file exporter writes
OTLP JSON           one document
OTLP protobuf       messages with a 4-byte big-endian length before each, as the file exporter
                    writes with ``format: proto``; or one bare message
framed zstd         what the file exporter's ``compression: zstd`` writes: every message compressed
                    by itself, with its length before it (zstd tools cannot read it)
Jaeger, Zipkin v2   JSON documents
==================  ==============================================================================

``.gz`` and ``.zst`` around any of them are recognised by their first bytes, not by their name.
Memory is bounded: a chunk ends at CHUNK_BYTES, documents that are one message excepted.
"""

from __future__ import annotations

import glob
import io
import os
import struct
import sys
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, BinaryIO, Literal

from tracescope.errors import InputError, MalformedOtlpError
from tracescope.ingest import jaeger, otlp_json, zipkin

Format = Literal["auto", "otlp-json", "otlp-proto", "jaeger", "zipkin"]

#: Names of trace files in a folder; a file that is named itself may be called anything.
SUFFIXES = (".json", ".jsonl", ".ndjson", ".pb", ".binpb", ".proto", ".otlp")
CHUNK_BYTES = 4 * 1024 * 1024
MAX_DOCUMENT = 1024 * 1024 * 1024
_GZIP, _ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
_LENGTH = struct.Struct(">I")


@dataclass(frozen=True, slots=True)
class Chunk:
    """Raw messages of one file, not decoded yet.

    Attributes
    ----------
    kind
        ``json`` (one document each), ``proto``, ``jaeger`` or ``zipkin``.
    messages
        Their bytes.
    zstd
        Each message is compressed by itself.
    source, first
        File, and line (JSON) or byte offset (protobuf) of the first message.
    offsets
        Byte offset of each protobuf message.
    position, total
        Bytes of the file read so far, and its size (0: unknown).
    """

    kind: str
    messages: tuple[bytes, ...]
    zstd: bool
    source: str
    first: int
    offsets: tuple[int, ...]
    position: int
    total: int

    def requests(self) -> list[bytes]:
        """ExportTraceServiceRequest bytes of every message.

        Raises
        ------
        InputError
            With the file, the line or offset, and what to do.
        """
        out: list[bytes] = []
        for number, message in enumerate(self.messages):
            data = _unzstd(message, self._place(number)) if self.zstd else message
            try:
                out.append(self._request(data))
            except otlp_json.Malformed as error:
                raise InputError(
                    f"{self._place(number)}: {error.message}", error.hint or "fix or remove it"
                ) from error
        return out

    def _request(self, data: bytes) -> bytes:
        if self.kind == "proto":
            return data
        if self.kind == "json":
            return otlp_json.transcode(data)
        import orjson

        try:
            document: Any = orjson.loads(data)
        except orjson.JSONDecodeError as error:
            raise otlp_json.Malformed(f"not JSON: {error}") from error
        return jaeger.transcode(document) if self.kind == "jaeger" else zipkin.transcode(document)

    def _place(self, number: int) -> str:
        if self.kind == "proto":
            return f"{self.source} at byte {self.offsets[number]}"
        return f"{self.source}:{self.first + number}"

    def misplaced(self, error: MalformedOtlpError) -> InputError:
        """A decoder's error with the place of its message."""
        return InputError(
            f"{self._place(error.payload)}: {error.message}",
            "the file is damaged or is not OTLP; see --format",
        )


def expand(patterns: Sequence[str | Path]) -> list[str]:
    """Files of names, globs and folders (there by `SUFFIXES`), in order; ``-`` is standard input.

    Raises
    ------
    InputError
        Nothing matches a name.
    """
    out: list[str] = []
    for pattern in map(str, patterns):
        if pattern == "-":
            out.append(pattern)
            continue
        if os.path.isdir(pattern):
            found = sorted(str(path) for path in Path(pattern).rglob("*") if _looks_like_traces(path))
        else:
            found = [pattern] if os.path.exists(pattern) else sorted(glob.glob(pattern, recursive=True))
        if not found:
            raise InputError(
                f"{pattern}: no such file", "check the name, or quote a glob that the shell would expand"
            )
        out += found
    return out


def _looks_like_traces(path: Path) -> bool:
    """Whether a file found in a folder, which nobody named, is meant: by its name, compressed or not."""
    name = path.name.lower().removesuffix(".gz").removesuffix(".zst").removesuffix(".framed")
    return path.is_file() and name[0:1] != "." and name.endswith(SUFFIXES)


def read(paths: Sequence[str | Path], form: Format = "auto") -> Generator[Chunk]:
    """Chunks of all files, one after the other.

    Raises
    ------
    InputError
        A file cannot be opened, read, or recognised.
    """
    for path in expand(paths):
        yield from _read_file(path, form)


def _read_file(path: str, form: Format) -> Iterator[Chunk]:
    name = "standard input" if path == "-" else path
    try:
        with sys.stdin.buffer if path == "-" else open(path, "rb") as raw:
            total = 0 if path == "-" else os.path.getsize(path)
            counter = _Counter(raw)
            yield from _read_stream(counter, name, form, total)
    except (EOFError, OSError) as error:
        raise InputError(f"{name}: {error}", "the file is damaged or incomplete; copy it again") from error


class _Counter(io.RawIOBase):
    """Counts bytes on the way, and can look ahead."""

    def __init__(self, raw: BinaryIO) -> None:
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

    def __init__(self, raw: _Counter, decompressor: Any) -> None:
        self._raw, self._decompressor = raw, decompressor
        self._frame: Any = None
        self._given, self._made = b"", b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._made:
            data = self._given or self._raw.read(1 << 17)
            self._given = b""
            if not data:
                if self._frame is not None:
                    raise EOFError("the compressed data ends before it is complete")
                return 0
            if self._frame is None:
                self._frame = self._decompressor.decompressobj()
            self._made = self._frame.decompress(data)
            if self._frame.eof:
                self._given, self._frame = self._frame.unused_data, None
        count = min(len(buffer), len(self._made))
        buffer[:count] = self._made[:count]
        self._made = self._made[count:]
        return count


def _read_stream(counter: _Counter, name: str, form: Format, total: int) -> Iterator[Chunk]:
    head = counter.peek(8)
    if not head:
        return
    if head[:2] == _GZIP:
        from isal import igzip

        stream: IO[bytes] = igzip.IGzipFile(fileobj=io.BufferedReader(counter, 1 << 18))  # pyright: ignore[reportAssignmentType]
    elif head[:4] == _ZSTD:
        import zstandard

        stream = _Zstd(counter, zstandard.ZstdDecompressor())  # pyright: ignore[reportAssignmentType]
    else:
        stream = counter  # pyright: ignore[reportAssignmentType]
    text = io.BufferedReader(stream, 1 << 20)  # pyright: ignore[reportArgumentType]
    try:
        yield from _read_plain(text, counter, name, form, total)
    except _decompression_errors() as error:
        raise InputError(f"{name}: {error}", "the file is damaged or incomplete; copy it again") from error


def _decompression_errors() -> tuple[type[Exception], ...]:
    import zlib

    import zstandard
    from isal import isal_zlib

    return (zlib.error, isal_zlib.error, zstandard.ZstdError)  # pyright: ignore[reportReturnType]


def _read_plain(
    text: io.BufferedReader, counter: _Counter, name: str, form: Format, total: int
) -> Iterator[Chunk]:
    head = text.peek(64)[:64]
    if not head:
        return
    framed = head[4:8] == _ZSTD and head[0] != 0x7B
    json = head.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] in (b"{", b"[", b"")
    if form in ("jaeger", "zipkin"):
        yield Chunk(form, (_all_of(text, name),), False, name, 1, (0,), counter.position, total)
    elif framed:
        kind = _framed_kind(head, text, name) if form == "auto" else form.removeprefix("otlp-")
        yield from _length_prefixed(text, counter, name, total, kind, zstd=True)
    elif form == "auto" and not json and _is_text(head):
        raise InputError(f"{name} at byte 0: text, and no JSON", "leave it out, or name its --format")
    elif form == "otlp-proto" or (form == "auto" and not json):
        yield from _protobuf(text, counter, name, total)
    else:
        yield from _json(text, counter, name, form, total)


def _is_text(head: bytes) -> bool:
    """Whether a file begins as prose does; a protobuf message begins with a tag, or a length below 16 MiB."""
    return head[:1] not in (b"\x0a", b"\x00") and all(32 <= byte < 127 or byte in b"\t\r\n" for byte in head)


def _framed_kind(head: bytes, text: io.BufferedReader, name: str) -> str:
    """What a message-wise compressed file holds: its first message tells."""
    size = _LENGTH.unpack(head[:4])[0]
    first = text.peek(size + 4)[4 : size + 4]
    import zstandard

    try:
        start = zstandard.ZstdDecompressor().stream_reader(io.BytesIO(first)).read(64)
    except zstandard.ZstdError as error:
        raise InputError(f"{name}: {error}", "the file is damaged; copy it again") from error
    return "json" if start.lstrip()[:1] in (b"{", b"[") else "proto"


def _all_of(text: io.BufferedReader, name: str) -> bytes:
    data = text.read(MAX_DOCUMENT + 1)
    if len(data) > MAX_DOCUMENT:
        raise InputError(
            f"{name}: one document of over {MAX_DOCUMENT >> 20} MiB", "split it, or use OTLP JSON lines"
        )
    return data


def _json(text: io.BufferedReader, counter: _Counter, name: str, form: Format, total: int) -> Iterator[Chunk]:
    """JSON lines, or one document of any kind."""
    first = text.readline(MAX_DOCUMENT)
    line = 1
    while first and not first.strip():
        first, line = text.readline(MAX_DOCUMENT), line + 1
    if not first:
        return
    stripped = first.lstrip(b"\xef\xbb\xbf").strip()
    looks_whole = stripped[:1] == b"{" and stripped[-1:] == b"}" and b'"resourceSpans"' in stripped[:4096]
    if not looks_whole and (not _is_complete(stripped) or b'"resourceSpans"' not in stripped):
        rest = stripped + b"\n" + _all_of(text, name)
        yield _document(rest, counter, name, form, total)
        return
    messages, size, begin = [stripped], len(stripped), line
    for raw in text:
        line += 1
        message = raw.strip()
        if not message:
            message = b'{"resourceSpans":[]}'
        messages.append(message)
        size += len(message)
        if size >= CHUNK_BYTES:
            yield Chunk("json", tuple(messages), False, name, begin, (), counter.position, total)
            messages, size, begin = [], 0, line + 1
    if messages:
        yield Chunk("json", tuple(messages), False, name, begin, (), counter.position, total)


def _is_complete(data: bytes) -> bool:
    import orjson

    try:
        orjson.loads(data)
    except orjson.JSONDecodeError:
        return False
    return True


def _document(data: bytes, counter: _Counter, name: str, form: Format, total: int) -> Chunk:
    """One JSON document; which kind, by the names in it."""
    import orjson

    data = data.lstrip(b"\xef\xbb\xbf")
    try:
        document: Any = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        line = data[: error.pos].count(b"\n") + 1
        raise InputError(f"{name}:{line}: not JSON: {error}", "fix the file, or name its --format") from error
    kind = "json"
    if form == "auto":
        if isinstance(document, list):
            kind = "zipkin"
        elif "resourceSpans" not in document:
            kind = "jaeger"
            if "data" not in document and "spans" not in document:
                raise InputError(
                    f"{name}: JSON, but neither OTLP, Jaeger nor Zipkin: no resourceSpans, data or spans",
                    "name its --format",
                )
    return Chunk(kind, (data,), False, name, 1, (0,), counter.position, total)


def _protobuf(text: io.BufferedReader, counter: _Counter, name: str, total: int) -> Iterator[Chunk]:
    """Length-prefixed messages, or one bare message: a length in front begins with a byte below 8."""
    head = text.peek(8)[:8]
    if head[:1] == b"\x0a" and not (
        len(head) >= 5 and head[0] == 0x0A and head[4:5] == b"\x0a" and _fits(head, total)
    ):
        yield Chunk("proto", (_all_of(text, name),), False, name, 1, (0,), counter.position, total)
        return
    yield from _length_prefixed(text, counter, name, total, "proto", zstd=False)


def _fits(head: bytes, total: int) -> bool:
    return total == 0 or _LENGTH.unpack(head[:4])[0] + 4 <= total


def _length_prefixed(
    text: io.BufferedReader, counter: _Counter, name: str, total: int, kind: str, *, zstd: bool
) -> Iterator[Chunk]:
    messages: list[bytes] = []
    offsets: list[int] = []
    size = at = number = begin = 0
    while prefix := text.read(4):
        if len(prefix) < 4:
            raise InputError(
                f"{name} at byte {at}: {len(prefix)} bytes of a 4-byte length", "the file is cut off"
            )
        length = _LENGTH.unpack(prefix)[0]
        if length > MAX_DOCUMENT:
            raise InputError(
                f"{name} at byte {at}: a message of {length} bytes",
                "not length-prefixed OTLP; name its --format",
            )
        message = text.read(length)
        if len(message) < length:
            raise InputError(
                f"{name} at byte {at}: a message of {length} bytes, of which {len(message)} are there",
                "the file is cut off; copy it again",
            )
        messages.append(message)
        offsets.append(at)
        at += 4 + length
        size += length
        number += 1
        if size >= CHUNK_BYTES:
            yield Chunk(kind, tuple(messages), zstd, name, begin + 1, tuple(offsets), counter.position, total)
            messages, offsets, size, begin = [], [], 0, number
    if messages:
        yield Chunk(kind, tuple(messages), zstd, name, begin + 1, tuple(offsets), counter.position, total)


def _unzstd(message: bytes, place: str) -> bytes:
    import zstandard

    try:
        with zstandard.ZstdDecompressor().stream_reader(io.BytesIO(message)) as reader:
            data = reader.read(MAX_DOCUMENT + 1)
    except zstandard.ZstdError as error:
        raise InputError(f"{place}: {error}", "the file is damaged; copy it again") from error
    if len(data) > MAX_DOCUMENT:
        raise InputError(f"{place}: a message of over {MAX_DOCUMENT >> 20} MiB", "it is damaged, or a bomb")
    promised = zstandard.frame_content_size(message)
    if promised not in (-1, len(data)):  # -1: the frame does not say
        raise InputError(
            f"{place}: {len(data)} bytes of {promised} after decompression", "copy the file again"
        )
    return data
