"""JSON documents one after another, in lines or over many, and large ones in portions.

A portion is a document too: what stands around a large list, with some of its items.

    {"data": [{...}, {...}, {...}], "total": 3}      {"data": [{...}, {...}], "total": 3}
                                                     {"data": [{...}], "total": 3}

So a document of any size is read in little memory, as long as it is lists that make it large: of
traces, spans, or what holds them.  The text of a large document is read again from its file, or where
there is none (compressed data, a pipe) from a temporary one.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Generator, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from tracescope.errors import InputError
from tracescope.kernels.outline import BEGIN, DEPTH, DOCUMENT, END, MORE, TOO_DEEP, Outline

#: A run of items ends at so many bytes; what is smaller is never taken apart.
CHUNK_BYTES = 2 * 1024 * 1024
#: Documents of more are put aside, and read in portions.
LARGE_BYTES = 4 * CHUNK_BYTES
_BLOCK = 1024 * 1024
#: Lists that may be read in portions: what stands in them means the same in any number.
_LISTS = frozenset(
    (
        b"data", b"result", b"trace", b"traces", b"hits", b"spans", b"batches", b"resourceSpans",
        b"resource_spans", b"scopeSpans", b"scope_spans", b"instrumentationLibrarySpans", b"resourceMetrics",
        b"resourceLogs",
    )
)  # fmt: skip
_KEY = re.compile(rb'"([A-Za-z_]+)"\s*:\s*\Z')
_NEWLINE = 10
#: What some editors write before text.
_MARK = b"\xef\xbb\xbf"


class Text(NamedTuple):
    """A document, or a portion of one, and the line that it begins on."""

    data: bytes
    line: int


@dataclass(frozen=True, slots=True)
class _Source:
    """Text in a file, by the offsets that it has in its stream."""

    file: int
    shift: int

    def read(self, begin: int, end: int) -> bytes:
        """The bytes from `begin` to `end`.

        Raises
        ------
        EOFError
            The file has become shorter.
        """
        parts: list[bytes] = []
        while begin < end:
            part = os.pread(self.file, end - begin, begin + self.shift)
            if not part:
                raise EOFError("the file became shorter while it was read")
            parts.append(part)
            begin += len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)


@dataclass(slots=True)
class Documents:
    """The documents of a stream, large ones in portions.

    Attributes
    ----------
    stream, name
        Where text comes from, and what that is called in errors.
    file
        Descriptor of a file that holds the same bytes, if there is one.
    """

    stream: BinaryIO
    name: str
    file: int | None = None
    _line: int = 1
    _outline: Outline = field(default_factory=lambda: Outline(CHUNK_BYTES))

    def __iter__(self) -> Iterator[Text]:
        """Documents in order.

        Raises
        ------
        InputError
            Something else stands between documents, or the last one does not end.
        """
        text, at, base = self.stream.read(_BLOCK), 0, 0
        if text.startswith(_MARK):
            text, base = text[len(_MARK) :], len(_MARK)
        while True:
            array, begin = np.frombuffer(text, np.uint8), 0
            while (read := self._outline.read(array, at, base))[1] == DOCUMENT:
                at, first = read[0], int(self._outline.rows[0, BEGIN]) - base
                self._line += text.count(b"\n", begin, first)
                yield Text(text[first:at], self._line)
                self._line += text.count(b"\n", first, at)
                begin = at
                self._outline.begin()
            if read[1] != MORE:
                raise self._stray(array, begin, *read)
            text, base, at = text[begin:], base + begin, read[0] - begin
            if len(text) >= LARGE_BYTES and self._outline.inside:
                text, base = yield from self._large(text, base)
                at = 0 if not self._outline.inside else len(text)
            if not (block := self.stream.read(_BLOCK)):
                if at == len(text):
                    break
                continue
            text += block
        if self._outline.inside:
            self._line += text.count(b"\n", 0, int(self._outline.rows[0, BEGIN]) - base)
            raise InputError(
                f"{self.name}:{self._line}: not JSON: the document that begins here does not end",
                "the file is cut off or damaged: copy it again, or remove the document",
            )

    def _stray(self, text: np.ndarray[Any, Any], begin: int, at: int, why: int) -> InputError:
        line = self._line + _newlines(text[begin:at])
        if why == TOO_DEEP:
            return InputError(f"{self.name}:{line}: lists and objects nested too deeply", "fix or remove it")
        shown = text[at : at + 20].tobytes().decode(errors="replace").splitlines()[0]
        return InputError(f"{self.name}:{line}: not JSON: {shown!r} between documents", "fix or remove it")

    def _large(self, text: bytes, base: int) -> Generator[Text, None, tuple[bytes, int]]:
        """Read a document of which `text` is the beginning in portions; what follows it, and its offset."""
        with tempfile.TemporaryFile() if self.file is None else nullcontext() as aside:
            if aside is not None:
                aside.write(text)
            rest, follows, why = b"", base + len(text), MORE
            while why == MORE and (block := self.stream.read(_BLOCK)):
                array = np.frombuffer(block, np.uint8)
                at, why = self._outline.read(array, 0, follows)
                if why not in (MORE, DOCUMENT):
                    raise self._stray(array, 0, at, why)
                if aside is not None:
                    aside.write(block[:at])
                follows += at
                rest = block[at:]
            if why == MORE:
                return text, base  # it does not end: the caller says so
            if aside is not None:
                aside.flush()
            source = _Source(self.file or 0, 0) if aside is None else _Source(aside.fileno(), -base)
            yield from self._in_portions(source, text.count(b"\n", 0, self._begin - base))
        self._outline.begin()
        return rest, follows

    @property
    def _begin(self) -> int:
        """Offset of the document that has begun."""
        return int(self._outline.rows[0, BEGIN])

    def _in_portions(self, source: _Source, lines: int) -> Iterator[Text]:
        """Portions of the document that has been read; `lines` end before it."""
        self._line += lines
        seen, end = self._begin, int(self._outline.rows[0, END])
        for data, at, begin, size in _portions(source, self._outline.rows, 0, b"", b""):
            self._line += source.read(seen, begin).count(b"\n") if seen < begin else 0
            yield Text(data, self._line)
            self._line += data.count(b"\n", at, at + size)
            seen = begin + size
        while seen < end:
            until = min(end, seen + CHUNK_BYTES)
            self._line += source.read(seen, until).count(b"\n")
            seen = until


def _newlines(text: np.ndarray[Any, Any]) -> int:
    return int(np.count_nonzero(text == _NEWLINE))


class _Portion(NamedTuple):
    """A portion as a document; where in it text of its source stands, its offset there, and its size."""

    data: bytes
    at: int
    begin: int
    size: int

    @classmethod
    def of(cls, text: _Source, begin: int, end: int, before: bytes, after: bytes) -> _Portion:
        """What stands from `begin` to `end`, between other text."""
        return cls(b"".join((before, text.read(begin, end), after)), len(before), begin, end - begin)


def _portions(
    text: _Source, rows: np.ndarray[Any, Any], row: int, before: bytes, after: bytes
) -> Iterator[_Portion]:
    """Portions of what stands in a row, each between `before` and `after`."""
    begin, end, depth = map(int, rows[row])
    last = int(np.searchsorted(rows[:, BEGIN], end))
    inner = np.flatnonzero(rows[row + 1 : last, DEPTH] == depth + 1) + row + 1
    if end - begin < CHUNK_BYTES or not len(inner):
        yield _Portion.of(text, begin, end, before, after)
    elif text.read(begin, begin + 1) == b"[":
        yield from _items(text, rows, inner, before + b"[", b"]" + after)
    else:
        large = [k for k in inner.tolist() if _may_be_split(text, rows[k], begin)]
        if not large:
            yield _Portion.of(text, begin, end, before, after)
        for k in large:
            empty = [other for other in large if other != k]
            head = _without(text, rows, empty, begin, int(rows[k, BEGIN]))
            tail = _without(text, rows, empty, int(rows[k, END]), end)
            yield from _portions(text, rows, k, before + head, tail + after)


def _may_be_split(text: _Source, row: np.ndarray[Any, Any], least: int) -> bool:
    """Whether a member is large, and a list or object of those that may be read in portions."""
    begin, end, _ = map(int, row)
    key = _KEY.search(text.read(max(least, begin - 64), begin))
    return end - begin >= CHUNK_BYTES and key is not None and key[1] in _LISTS


def _without(text: _Source, rows: np.ndarray[Any, Any], empty: list[int], begin: int, end: int) -> bytes:
    """A stretch of text in which some lists and objects are empty."""
    out: list[bytes] = []
    for k in empty:
        if begin <= rows[k, BEGIN] < end:
            out += [
                text.read(begin, int(rows[k, BEGIN]) + 1),
                text.read(int(rows[k, END]) - 1, int(rows[k, END])),
            ]
            begin = int(rows[k, END])
    return b"".join([*out, text.read(begin, end)])


def _items(
    text: _Source, rows: np.ndarray[Any, Any], items: np.ndarray[Any, Any], before: bytes, after: bytes
) -> Iterator[_Portion]:
    """Runs of a list's items; what is in a large object may be taken apart, lists in lists are not."""
    most = max(CHUNK_BYTES, len(before) + len(after))
    begins, ends = rows[items, BEGIN], rows[items, END]
    k = 0
    while k < len(items):
        begin = int(begins[k])
        if ends[k] - begin >= most and text.read(begin, begin + 1) == b"{":
            yield from _portions(text, rows, int(items[k]), before, after)
            k += 1
            continue
        until = max(k + 1, int(np.searchsorted(ends, begin + most)))
        yield _Portion.of(text, begin, int(ends[until - 1]), before, after)
        k = until
