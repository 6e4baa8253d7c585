"""JSON documents one after another, in lines or over many, and large ones in portions.

A portion is a document too: what stands around a large list, with some of its items.

    {"data": [{...}, {...}, {...}], "total": 3}      {"data": [{...}, {...}], "total": 3}
                                                     {"data": [{...}], "total": 3}

So a document of any size is read in little memory, as long as it is lists that make it large: of
traces, spans, or what holds them.  The text of a large document stays where it is, in its file.
"""

from __future__ import annotations

import mmap
import re
import tempfile
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from tracescope.errors import InputError
from tracescope.kernels.outline import BEGIN, DEPTH, DOCUMENT, END, MORE, TOO_DEEP, Outline

#: A run of items ends at so many bytes; what is smaller is never taken apart.
CHUNK_BYTES = 4 * 1024 * 1024
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


class Text(NamedTuple):
    """A document, or a portion of one, and the line that it begins on."""

    data: bytes
    line: int


@dataclass(slots=True)
class Documents:
    """The documents of a stream, large ones in portions.

    Attributes
    ----------
    stream, name
        Where text comes from, and what that is called in errors.
    """

    stream: BinaryIO
    name: str
    _line: int = 1
    _outline: Outline = field(default_factory=lambda: Outline(CHUNK_BYTES))

    def __iter__(self) -> Iterator[Text]:
        """Documents in order.

        Raises
        ------
        InputError
            Something else stands between documents, or the last one does not end.
        """
        text, at, base = self.stream.read(_BLOCK).removeprefix(b"\xef\xbb\xbf"), 0, 0
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
        """Put a document that has been read in part aside, and read it in portions; what follows it."""
        with tempfile.TemporaryFile() as aside:
            aside.write(text)
            rest, follows = b"", base + len(text)
            while block := self.stream.read(_BLOCK):
                array = np.frombuffer(block, np.uint8)
                at, why = self._outline.read(array, 0, follows)
                aside.write(block[:at])
                follows += at
                if why == DOCUMENT:
                    rest = block[at:]
                    break
                if why != MORE:
                    raise self._stray(array, 0, at, why)
            else:
                return text, base  # it does not end: the caller says so
            aside.flush()
            with mmap.mmap(aside.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
                yield from self._mapped(mapped, base)
        self._outline.begin()
        return rest, follows

    def _mapped(self, mapped: mmap.mmap, base: int) -> Iterator[Text]:
        """Portions of a document that stands in a file."""
        rows = self._outline.rows - np.array([base, base, 0])
        self._line += mapped[: rows[0, BEGIN]].count(b"\n")
        seen = int(rows[0, BEGIN])
        for data, begin in _portions(mapped, rows, 0, b"", b""):
            while seen < begin:  # in steps: a view of all would stay in memory
                until = min(begin, seen + CHUNK_BYTES)
                self._line += mapped[seen:until].count(b"\n")
                seen = until
            yield Text(data, self._line)
            if begin > LARGE_BYTES:
                mapped.madvise(mmap.MADV_DONTNEED, 0, begin // mmap.PAGESIZE * mmap.PAGESIZE)
        end = int(rows[0, END])
        self._line += sum(
            mapped[k : min(end, k + CHUNK_BYTES)].count(b"\n") for k in range(seen, end, CHUNK_BYTES)
        )


def _newlines(text: np.ndarray[Any, Any]) -> int:
    return int(np.count_nonzero(text == _NEWLINE))


def _portions(
    text: mmap.mmap, rows: np.ndarray[Any, Any], row: int, before: bytes, after: bytes
) -> Iterator[tuple[bytes, int]]:
    """Portions of what stands in a row, each between `before` and `after`, and where each begins."""
    begin, end, depth = map(int, rows[row])
    last = int(np.searchsorted(rows[:, BEGIN], end))
    inner = np.flatnonzero(rows[row + 1 : last, DEPTH] == depth + 1) + row + 1
    if end - begin < CHUNK_BYTES or not len(inner):
        yield before + text[begin:end] + after, begin
    elif text[begin] == ord("["):
        yield from _items(text, rows, inner, before + b"[", b"]" + after)
    else:
        large = [k for k in inner.tolist() if _may_be_split(text, rows[k])]
        if not large:
            yield before + text[begin:end] + after, begin
        for k in large:
            empty = [other for other in large if other != k]
            head = _without(text, rows, empty, begin, int(rows[k, BEGIN]))
            tail = _without(text, rows, empty, int(rows[k, END]), end)
            yield from _portions(text, rows, k, before + head, tail + after)


def _may_be_split(text: mmap.mmap, row: np.ndarray[Any, Any]) -> bool:
    """Whether a member is large, and a list or object of those that may be read in portions."""
    begin, end, _ = map(int, row)
    key = _KEY.search(text[max(0, begin - 64) : begin])
    return end - begin >= CHUNK_BYTES and key is not None and key[1] in _LISTS


def _without(text: mmap.mmap, rows: np.ndarray[Any, Any], empty: list[int], begin: int, end: int) -> bytes:
    """A stretch of text in which some lists and objects are empty."""
    out: list[bytes] = []
    for k in empty:
        if begin <= rows[k, BEGIN] < end:
            out += [text[begin : rows[k, BEGIN] + 1], text[rows[k, END] - 1 : rows[k, END]]]
            begin = int(rows[k, END])
    return b"".join([*out, text[begin:end]])


def _items(
    text: mmap.mmap, rows: np.ndarray[Any, Any], items: np.ndarray[Any, Any], before: bytes, after: bytes
) -> Iterator[tuple[bytes, int]]:
    """Runs of a list's items; what is in a large object may be taken apart, lists in lists are not."""
    most = max(CHUNK_BYTES, len(before) + len(after))
    begins, ends = rows[items, BEGIN], rows[items, END]
    k = 0
    while k < len(items):
        begin = int(begins[k])
        if ends[k] - begin >= most and text[begin] == ord("{"):
            yield from _portions(text, rows, int(items[k]), before, after)
            k += 1
            continue
        until = max(k + 1, int(np.searchsorted(ends, begin + most)))
        yield before + text[begin : int(ends[until - 1])] + after, begin
        k = until
