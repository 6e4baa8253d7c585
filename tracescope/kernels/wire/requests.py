"""Requests, one after the other: resources, their scopes, and the spans of each.

The outer levels are checked and counted first (`_count`): what is filled has a known size before it is.
Payloads are copied into windows that stay in a processor's cache while they are scanned.
"""

# Inner kernels carry no annotations: their types are what the compiler infers from the arrays given.
# pyright: reportMissingParameterType=false, reportUnknownParameterType=false

from __future__ import annotations

from typing import Any

import numpy as np

from tracescope.errors import KernelError, MalformedOtlpError
from tracescope.kernels import bare, inlined, kernel
from tracescope.kernels.octets import (
    DELIMITED,
    EXPECTED,
    OK,
    SCRATCH,
    SLACK,
    copy,
    hash_bytes,
    length,
    skip,
    tag,
)
from tracescope.kernels.wire.keys import (
    K_FIELD,
    K_FOLD,
    K_RANK,
    KEYS,
    Keys,
    is_denied,
    key_of,
    no_keys,
    power_of_two,
)
from tracescope.kernels.wire.room import (
    C_RAW_END,
    C_RESOURCE,
    C_SCOPE,
    COLUMNS,
    COMBINATIONS,
    FIELDS,
    FLAWED,
    FLAWS,
    HEAP,
    I64,
    LINKS,
    RAW,
    RESOURCE_RAW,
    RESOURCES,
    ROWS,
    SPANS,
    STRINGS,
    U8,
    UNRANKED,
    Room,
    Scan,
)
from tracescope.kernels.wire.spans import LEAST_SPAN, scan_span
from tracescope.kernels.wire.strings import SLOTS, intern, intern_value
from tracescope.kernels.wire.values import attribute

#: A resource keeps no further attribute beyond so many bytes.
LARGEST_RESOURCE = 16 * 1024
#: Bytes of strings for each byte of payload: a folded string's digit may become four.
_HEAP_FACTOR = 5
#: Payloads are scanned in windows of so many bytes, or of one payload if that is longer.
WINDOW = 512 * 1024


# -- kernels ----------------------------------------------------------------------------------------


@bare
def _count_bare(data, at, end):
    """Spans and resources of one request, its three outer levels checked; offset and error.

    A span that is too short for one is not among them, nor a resource without others.
    """
    spans, resources = 0, 0
    while at < end:
        number, wire, after, error = tag(data, at, end)
        if error:
            return spans, resources, after, error
        at, error = skip(data, number, wire, after, end)
        if error:
            return spans, resources, at, error
        if number != 1 or wire != DELIMITED:
            continue
        before = spans
        _, inner, _ = length(data, after, end)
        while inner < at:
            number, wire, after, error = tag(data, inner, at)
            if error:
                return spans, resources, after, error
            inner, error = skip(data, number, wire, after, at)
            if error:
                return spans, resources, inner, error
            if number != 2 or wire != DELIMITED:
                continue
            _, scope, _ = length(data, after, at)
            while scope < inner:
                number, wire, after, error = tag(data, scope, inner)
                if error:
                    return spans, resources, after, error
                scope, error = skip(data, number, wire, after, inner)
                if error:
                    return spans, resources, scope, error
                spans += number == 2 and wire == DELIMITED and scope - after > LEAST_SPAN
        resources += spans > before
    return spans, resources, np.int64(at), np.int64(OK)


@bare
def _resource(room, at, end, resource, keys):
    """A Resource's attributes into its row, its kept bytes behind the others; offset and error.

    ``room.best`` is set by the caller: of a message given twice, protobuf merges both.
    """
    data, met = room.window, room.met
    kept, to = at, room.filled[RESOURCE_RAW]  # what stands before `kept` is copied or cut
    most = to + LARGEST_RESOURCE
    while at < end:
        begin = at
        number, wire, after, error = tag(data, at, end)
        if error:
            return after, error
        at, error = skip(data, number, wire, after, end)
        if error:
            return at, error
        if number != 1 or wire != DELIMITED:
            if to + at - kept > most:
                to = copy(data, kept, begin - kept, room.resource_raw, to)
                kept = at
            continue
        _, first, _ = length(data, after, end)
        ka, ks, va, vs, form, where, error = attribute(data, first, at)
        if error:
            return where, error
        key = key_of(room, data, ka, ks, np.int64(0), keys)
        if to + at - kept > most or is_denied(room, key, data, va, vs, form, keys):
            to = copy(data, kept, begin - kept, room.resource_raw, to)
            kept = at
        field = met[key, K_FIELD]
        if field >= 0 and met[key, K_RANK] < room.best[field]:
            code = intern_value(room, va, vs, form, met[key, K_FOLD])
            if code >= 0:
                room.resource_codes[resource, field] = code
                room.best[field] = met[key, K_RANK]
    room.filled[RESOURCE_RAW] = copy(data, kept, end - kept, room.resource_raw, to)
    return np.int64(at), np.int64(OK)


@bare
def _scope(room, at, end, code):
    """Code of an InstrumentationScope's name (`code`: none); offset and error."""
    data = room.window
    while at < end:
        number, wire, after, error = tag(data, at, end)
        if error:
            return code, after, error
        at, error = skip(data, number, wire, after, end)
        if error:
            return code, at, error
        if wire != DELIMITED:
            continue
        size, begin, _ = length(data, after, end)
        if number == 1:
            code = intern(room, data, begin, size)
        elif number == 3:
            _, _, _, _, _, where, error = attribute(data, begin, at)
            if error:
                return code, where, error
    return code, np.int64(at), np.int64(OK)


@inlined
def _resource_of(room, begin, end, resource, keys):
    """The resource of a ResourceSpans, wherever it stands in it: its hash; offset and error."""
    kept_from = room.filled[RESOURCE_RAW]
    room.resource_codes[resource, :] = -1
    room.best[:] = UNRANKED
    at = begin
    while at < end:
        number, wire, after, _ = tag(room.window, at, end)
        at, _ = skip(room.window, number, wire, after, end)
        if number == 1 and wire == DELIMITED:
            _, first, _ = length(room.window, after, end)
            where, error = _resource(room, first, at, resource, keys)
            if error:
                return np.uint64(0), where, error
    kept_to = room.filled[RESOURCE_RAW]
    room.resource_end[resource] = kept_to
    resource_hash = hash_bytes(room.resource_raw, kept_from, kept_to - kept_from, np.uint64(7))
    return resource_hash, np.int64(at), np.int64(OK)


@inlined
def _scope_of(room, begin, end):
    """Code of the name of a ScopeSpans' scope, wherever it stands in it (-1: none); offset and error."""
    code, at = np.int64(-1), begin
    while at < end:
        number, wire, after, _ = tag(room.window, at, end)
        at, _ = skip(room.window, number, wire, after, end)
        if number == 1 and wire == DELIMITED:
            _, first, _ = length(room.window, after, end)
            code, where, error = _scope(room, first, at, code)
            if error:
                return code, where, error
    return code, np.int64(at), np.int64(OK)


@bare
def _resource_spans(room, begin, end, latest_start, keys):
    """One ResourceSpans: its resource first, then the spans of its scopes; offset and error."""
    data, filled = room.window, room.filled
    resource, kept_from, rows_before = filled[RESOURCES], filled[RESOURCE_RAW], filled[ROWS]
    resource_hash, where, error = _resource_of(room, begin, end, resource, keys)
    if error:
        return where, error
    at = begin
    while at < end:
        number, wire, after, _ = tag(data, at, end)
        at, _ = skip(data, number, wire, after, end)
        if number != 2 or wire != DELIMITED:
            continue
        _, inner, _ = length(data, after, end)
        scope_code, where, error = _scope_of(room, inner, at)
        if error:
            return where, error
        while inner < at:
            number, wire, after, _ = tag(data, inner, at)
            inner, _ = skip(data, number, wire, after, at)
            if number != 2 or wire != DELIMITED:
                continue
            _, first, _ = length(data, after, at)
            row = room.rows[filled[ROWS]]
            row[C_RESOURCE], row[C_SCOPE] = resource, scope_code
            flaw, where, error = scan_span(
                room, first, inner, row, filled[RAW], resource_hash, latest_start, keys
            )
            if error:
                return where, error
            filled[SPANS] += 1
            if flaw >= 0:
                filled[FLAWED + flaw] += 1
            else:
                filled[RAW] = row[C_RAW_END]
                filled[ROWS] += 1
    if filled[ROWS] > rows_before:
        filled[RESOURCES] += 1
    else:  # nobody needs it
        filled[RESOURCE_RAW] = kept_from
    return np.int64(at), np.int64(OK)


@kernel
def _count(data, at, end):
    """`_count_bare`, to be called from outside."""
    return _count_bare(data, at, end)


@kernel
def _scan(room, bounds, latest_start, keys):
    """Fill `room` from a window whose outer levels `_count` has checked; payload, offset and error."""
    data = room.window
    for payload in range(len(bounds) - 1):
        at, end = bounds[payload], bounds[payload + 1]
        while at < end:
            number, wire, after, _ = tag(data, at, end)
            at, _ = skip(data, number, wire, after, end)
            if number == 1 and wire == DELIMITED:
                _, first, _ = length(data, after, end)
                where, error = _resource_spans(room, first, at, latest_start[payload], keys)
                if error:
                    return payload, where, error
    return 0, np.int64(0), np.int64(OK)


# -- windows ----------------------------------------------------------------------------------------


def _room(window: U8, size: int, spans: int, resources: int, fields: int) -> Room:
    """Arrays for one scan of `size` bytes.

    A distinct string of two bytes or more costs four bytes of input (a tag and a length around it and
    itself), or is a span's name; a link has 24 bytes of ids.  Memory never written costs nothing.
    """
    strings = size // 4 + spans + 512
    spans, resources = spans + 1, resources + 1  # the last ones are for what turns out to have a flaw
    slots = np.empty(max(SLOTS, power_of_two(2 * strings)), np.int32)
    slots[:SLOTS] = 0
    return Room(
        window=window,
        heap=np.empty(_HEAP_FACTOR * size + 64, np.uint8),
        rows=np.zeros((spans, COLUMNS), np.int64),
        combinations=np.empty((spans, fields + 1), np.int32),
        resource_codes=np.empty((resources, fields), np.int32),
        resource_end=np.zeros(resources, np.int64),
        strings=np.empty((strings, 2), np.int64),
        slots=slots,
        combination_slots=np.zeros(power_of_two(2 * spans), np.int32),
        links=np.empty((size // 24 + 1, 24), np.uint8),
        raw=np.empty(size + SLACK, np.uint8),
        resource_raw=np.empty(size + SLACK, np.uint8),
        best=np.empty(fields, np.int64),
        codes=np.empty(fields + 1, np.int32),
        fields=np.empty(FIELDS, np.int64),
        met=no_keys(),
        key_slots=np.zeros(4 * KEYS, np.int32),
        key_bytes=np.empty(32 * KEYS, np.uint8),
        filled=np.array([0, 0, 0, 0, 0, 0, 0, 0, 1, 0, SLOTS - 1, 0] + [0] * FLAWS),
    )


class _Windows:
    """Payloads, some at a time in one array that stays in the cache."""

    def __init__(self, payloads: list[bytes]) -> None:
        self.payloads = payloads
        self.groups: list[range] = []
        begin = filled = largest = 0
        for number, payload in enumerate(payloads):
            if filled and filled + len(payload) > WINDOW:
                self.groups.append(range(begin, number))
                begin, filled = number, 0
            filled += len(payload)
            largest = max(largest, filled)
        if payloads:
            self.groups.append(range(begin, len(payloads)))
        self.data = np.empty(largest + 64 + SCRATCH, np.uint8)

    def fill(self, group: range) -> tuple[I64, int, int]:
        """Put a group's payloads into the window; their bounds, spans and resources.

        Raises
        ------
        MalformedOtlpError
            One of the outer levels is broken.
        """
        bounds = np.zeros(len(group) + 1, np.int64)
        spans = resources = 0
        for place, number in enumerate(group):
            payload = self.payloads[number]
            begin, end = int(bounds[place]), int(bounds[place]) + len(payload)
            self.data[begin:end] = np.frombuffer(payload, np.uint8)
            bounds[place + 1] = end
            found: tuple[Any, ...] = _count(self.data, begin, end)
            if found[3]:
                raise _malformed(int(found[2]) - begin, int(found[3]), number)
            spans += int(found[0])
            resources += int(found[1])
        return bounds, spans, resources


def count_spans(payload: bytes) -> int:
    """How many rows a request can have at most; raises MalformedOtlpError as `scan` does."""
    return _Windows([payload]).fill(range(1))[1]


def scan(payloads: list[bytes], latest_start: I64, keys: Keys, fields: int) -> Scan:
    """Scan requests, one after the other.

    Parameters
    ----------
    payloads
        ExportTraceServiceRequest (or TracesData) messages.
    latest_start
        ``(p,)`` ns: spans of a payload that start later are flawed.
    keys, fields
        What `make_keys` made, and how many columns its fields need.

    Raises
    ------
    MalformedOtlpError
        At the first byte that breaks the wire format; its `payload` names the message.
    KernelError
        More than 512 MiB at once.
    """
    size = sum(map(len, payloads))
    if size > 2**29:
        raise KernelError(f"{size} bytes in one scan; give it at most {2**29}")
    windows = _Windows(payloads)
    latest = np.ascontiguousarray(latest_start)
    # the first window tells how many spans to expect; where it misleads, they are counted first
    share = (sum(len(payloads[number]) for number in windows.groups[0]) / size) if size else 1.0
    first = windows.fill(windows.groups[0]) if payloads else None
    _, spans, resources = first or (None, 0, 0)
    if len(windows.groups) > 1:
        spans, resources = int(1.1 * spans / share), int(1.1 * resources / share) + 1
    found = _scan_windows(windows, _room(windows.data, size, spans, resources, fields), latest, keys, first)
    if found is None:
        counts = [windows.fill(group)[1:] for group in windows.groups]
        spans, resources = (sum(column) for column in zip(*counts, strict=True))
        found = _scan_windows(windows, _room(windows.data, size, spans, resources, fields), latest, keys)
    assert found is not None
    return found


def _scan_windows(
    windows: _Windows, room: Room, latest_start: I64, keys: Keys, first: tuple[I64, int, int] | None = None
) -> Scan | None:
    """Scan window after window into `room`; None when it has too few rows.

    `first` is what filling the first window gave, where that has just been done.
    """
    filled = room.filled
    for group in windows.groups:
        bounds, spans, resources = first or windows.fill(group)
        first = None
        if filled[ROWS] + spans >= len(room.rows) or filled[RESOURCES] + resources >= len(room.resource_end):
            return None
        number, where, error = _scan(room, bounds, latest_start[group.start : group.stop], keys)
        if error:
            raise _malformed(int(where) - int(bounds[number]), int(error), group.start + int(number))
    return Scan(
        rows=room.rows[: filled[ROWS]],
        combinations=room.combinations[: filled[COMBINATIONS]],
        resource_codes=room.resource_codes[: filled[RESOURCES]],
        strings=room.strings[: filled[STRINGS]],
        links=room.links[: filled[LINKS]],
        raw=room.raw[: filled[RAW]],
        resource_raw=room.resource_raw[: filled[RESOURCE_RAW]],
        resource_end=room.resource_end[: filled[RESOURCES]],
        heap=room.heap[: filled[HEAP]],
        flawed=filled[FLAWED:].copy(),
    )


def _malformed(offset: int, error: int, payload: int) -> MalformedOtlpError:
    malformed = MalformedOtlpError(offset, EXPECTED[error])
    malformed.payload = payload
    return malformed
