"""Spans of foreign JSON, put together by where they come from, as one OTLP request.

Spans are written one after another as they are read, each with the number of its group; a group's
resource is written aside when its first span comes.  In the end spans are gathered: one ResourceSpans for
each group.  What is read as one unit (a trace) and turns out not to be plain is taken back, and its place
noted for whoever reads it the slow way.
"""

# Inner kernels carry no annotations: their types are what the compiler infers from the arrays given.
# pyright: reportMissingParameterType=false, reportUnknownParameterType=false

from __future__ import annotations

import threading
from typing import NamedTuple

import numpy as np

from tracescope.kernels import bare, inlined, kernel
from tracescope.kernels.json_text import DOUBLE_TEXT, fill_doubles
from tracescope.kernels.octets import copy, hash_bytes, put_varint, same

#: Columns of a span that has been written: begin, end, group, and the doubles noted before and after it.
S_BEGIN, S_END, S_GROUP, S_DOUBLE, S_DOUBLE_END = range(5)
#: Columns of a group: its key in the text, whose it is, its resource in `aside`, bytes and number of spans.
G_AT, G_SIZE, G_OWNER, G_BEGIN, G_END, G_BYTES, G_SPANS, G_TO = range(8)
#: Counters: bytes written, spans, groups, bytes aside, units taken back.
N_OUT, N_SPANS, N_GROUPS, N_ASIDE, N_ODD = range(5)
#: The shortest text of a span.
SPAN_TEXT = 24
#: Ids and times take more bytes than the shortest text that stands for them.
GROWTH = 4


#: Rooms for texts of up to so many bytes are kept: to clear a fresh one costs as much as to fill it.
_KEPT_BYTES = 4 * 1024 * 1024
_kept = threading.local()


class Groups(NamedTuple):
    """What is written, and where what stands in it."""

    out: np.ndarray
    aside: np.ndarray
    doubles: np.ndarray
    spans: np.ndarray
    groups: np.ndarray
    slots: np.ndarray
    odd: np.ndarray
    counts: np.ndarray

    @classmethod
    def of(cls, size: int) -> Groups:
        """Room for what a text of `size` bytes can become; a thread keeps it, and has it back empty."""
        made: Groups | None = getattr(_kept, "made", None)
        if made is None or len(made.out) < GROWTH * size + 64:
            made = cls._new(size)
            if size <= _KEPT_BYTES:
                _kept.made = made
            return made
        made.groups[: made.counts[N_GROUPS]] = 0
        made.slots.fill(-1)
        made.doubles[0] = 0
        made.counts.fill(0)
        return made

    @classmethod
    def _new(cls, size: int) -> Groups:
        most = most_spans(size)
        return cls(
            out=np.empty(GROWTH * size + 64, np.uint8),
            aside=np.empty(GROWTH * size + 64, np.uint8),
            doubles=np.zeros((size // DOUBLE_TEXT + 2, 3), np.int64),
            spans=np.empty((most, 5), np.int64),
            groups=np.zeros((most, 8), np.int64),
            slots=np.full(2 << most.bit_length(), -1, np.int32),
            odd=np.empty((most, 2), np.int64),
            counts=np.zeros(5, np.int64),
        )

    def request(self, text: bytes) -> tuple[bytes, list[bytes]]:
        """ExportTraceServiceRequest bytes of all groups, and the units of a text that were taken back."""
        size = self.counts[N_OUT] + self.counts[N_ASIDE] + 16 * self.counts[N_GROUPS] + 16
        final = np.empty(int(size), np.uint8)
        end = _gather(self, final)
        fill_doubles(final, self.doubles[1 : self.doubles[0, 0] + 1], text)
        odd = self.odd[: self.counts[N_ODD]].tolist()
        return final[:end].tobytes(), [text[begin:end] for begin, end in odd]


def jumps(size: int) -> np.ndarray:
    """Room for where the strings, lists and objects of a text of `size` bytes end; a thread keeps it."""
    room: np.ndarray | None = getattr(_kept, "jump", None)
    if room is None or len(room) < size:
        room = np.empty(size, np.int32)
        if size <= _KEPT_BYTES:
            _kept.jump = room
    return room[:size]


def most_spans(size: int) -> int:
    """Spans that a text of `size` bytes can have, and one more."""
    return size // SPAN_TEXT + 2


@inlined
def begin_span(sink):
    """Note where a span begins; the offset for its fields."""
    counts, spans = sink.counts, sink.spans
    at = counts[N_OUT]
    row = counts[N_SPANS]
    spans[row, S_BEGIN], spans[row, S_DOUBLE] = at, sink.doubles[0, 0]
    sink.out[at] = 0x12  # ScopeSpans.spans
    return at + 2


@inlined
def end_span(sink, to, group):
    """Note that a span of a group ends."""
    counts, spans = sink.counts, sink.spans
    row = counts[N_SPANS]
    spans[row, S_END], spans[row, S_GROUP], spans[row, S_DOUBLE_END] = to, group, sink.doubles[0, 0]
    counts[N_OUT] = to
    counts[N_SPANS] = row + 1


@bare
def find_group(text, at, size, owner, sink):
    """Number of a group by its key and whose it is; whether it is new."""
    groups, slots = sink.groups, sink.slots
    slot = np.int64(hash_bytes(text, at, size, owner) & np.uint64(len(slots) - 1))
    while slots[slot] >= 0:
        group = np.int64(slots[slot])
        if groups[group, G_OWNER] == owner and groups[group, G_SIZE] == size:
            if same(text, groups[group, G_AT], text, at, size):
                return group, False
        slot = (slot + 1) & (len(slots) - 1)
    group = sink.counts[N_GROUPS]
    sink.counts[N_GROUPS] = group + 1
    slots[slot] = group
    groups[group, G_AT], groups[group, G_SIZE], groups[group, G_OWNER] = at, size, owner
    groups[group, G_BEGIN] = groups[group, G_END] = sink.counts[N_ASIDE]
    return group, True


@bare
def undo_unit(sink, spans, doubles, to, begin, end):
    """Forget the spans that a unit brought, and note where the unit stands."""
    counts = sink.counts
    counts[N_SPANS], counts[N_OUT] = spans, to
    sink.doubles[0, 0] = doubles
    row = counts[N_ODD]
    sink.odd[row, 0], sink.odd[row, 1] = begin, end
    counts[N_ODD] = row + 1


@inlined
def _varint_size(value):
    size = np.int64(1)
    while value > 127:
        value >>= 7
        size += 1
    return size


@bare
def _put_heads(sink, final):
    """Write the heads of all groups, with their resources; where the last one ends."""
    groups, to = sink.groups, np.int64(0)
    for group in range(sink.counts[N_GROUPS]):
        if groups[group, G_SPANS] == 0:
            continue
        resource = groups[group, G_END] - groups[group, G_BEGIN]
        size = groups[group, G_BYTES]
        final[to] = 0x0A  # ExportTraceServiceRequest.resource_spans
        to = put_varint(final, to + 1, resource + 1 + _varint_size(size) + size)
        to = copy(sink.aside, groups[group, G_BEGIN], resource, final, to)
        final[to] = 0x12  # ResourceSpans.scope_spans
        to = put_varint(final, to + 1, size)
        groups[group, G_TO] = to
        to += size
    return to


@kernel
def _gather(sink, final):
    spans, groups, doubles = sink.spans, sink.groups, sink.doubles
    for row in range(sink.counts[N_SPANS]):
        group = spans[row, S_GROUP]
        groups[group, G_SPANS] += 1
        groups[group, G_BYTES] += spans[row, S_END] - spans[row, S_BEGIN]
    end = _put_heads(sink, final)
    for row in range(sink.counts[N_SPANS]):
        group, begin = spans[row, S_GROUP], spans[row, S_BEGIN]
        to = groups[group, G_TO]
        for k in range(spans[row, S_DOUBLE] + 1, spans[row, S_DOUBLE_END] + 1):
            doubles[k, 0] += to - begin
        groups[group, G_TO] = copy(sink.out, begin, spans[row, S_END] - begin, final, to)
    return end
