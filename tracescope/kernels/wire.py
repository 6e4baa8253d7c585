"""OTLP protobuf, scanned once into integer columns and interned string codes.

    ExportTraceServiceRequest
      1 resource_spans*   1 resource        attributes -> resource fields
                          2 scope_spans*    1 scope (name)
                                            2 spans*  -> one row each

No Python object per span.  Compiled code checks no bounds, so every read here is checked against
the end of the message it stands in; what breaks the wire format stops the scan with its offset and
what should have stood there.  Unknown fields, and known fields of another wire type, are skipped,
as protobuf says.  A repeated scalar's last value counts.

Strings are offsets into the input until somebody asks for them: a dictionary of the call keeps the
first occurrence of each distinct byte string.

Source: Protocol Buffers encoding specification; opentelemetry-proto trace/v1, common/v1,
resource/v1.
"""

# Inner kernels carry no annotations: their types are what the compiler infers from the arrays given.
# pyright: reportMissingParameterType=false, reportUnknownParameterType=false

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tracescope.errors import KernelError, MalformedOtlpError
from tracescope.kernels import inlined, kernel

I32 = NDArray[np.int32]
I64 = NDArray[np.int64]
U8 = NDArray[np.uint8]

#: What should have stood at the offset of an error, by code.
EXPECTED = (
    "",
    "a varint of at most 10 bytes",
    "a field number from 1 to 536870911",
    "a wire type of 0, 1, 2, 3 or 5",
    "a length that stays inside its message",
    "8 more bytes",
    "4 more bytes",
    "the end of the group that began here",
    "at most 100 levels of nesting",
)
OK, BAD_VARINT, BAD_FIELD, BAD_WIRE, BAD_LENGTH, SHORT_64, SHORT_32, OPEN_GROUP, TOO_DEEP = range(9)

#: Integer columns of a row.
(
    C_TRACE_HI, C_TRACE_LO, C_SPAN, C_PARENT, C_START, C_END, C_KIND, C_STATUS, C_THRESHOLD,
    C_RAW_AT, C_RAW_LEN, C_HASH, C_LINKS_AT, C_LINKS, C_RESOURCE, C_FLAWS,
) = range(16)  # fmt: skip
COLUMNS = 16

#: Bits of C_FLAWS.
FLAW_TRACE_ID, FLAW_SPAN_ID, FLAW_TIME, FLAW_FUTURE = 1, 2, 4, 8

#: Fields that are no attributes but interned like them.
FIELD_NAME, FIELD_SCOPE = 0, 1
FIRST_ATTRIBUTE_FIELD = 2
#: A field is interned at most once a rank, so a span interns at most so many strings a field.
INTERNS_PER_FIELD = 12

_M1 = np.uint64(0x9E3779B97F4A7C15)
_M2 = np.uint64(0xBF58476D1CE4E5B9)
_M3 = np.uint64(0x94D049BB133111EB)


@dataclass(frozen=True, slots=True)
class KeyTable:
    """Attribute keys of interest, for the scanner.

    Attributes
    ----------
    data, offset
        Key bytes end to end and their bounds ``(k + 1,)``.
    field, rank
        Column of the key's value and its priority in that column (lower wins); field -1 for keys
        that are only denied.
    denied
        0: kept; 1: cut; 2: cut when its value has a ``?``.
    prefixes, prefix_offset
        Keys beginning so are denied.
    slots
        Hash table ``(s,)`` of key numbers, -1 for empty.
    """

    data: U8
    offset: I64
    field: I32
    rank: I32
    denied: NDArray[np.int8]
    prefixes: U8
    prefix_offset: I64
    slots: I32


@dataclass(frozen=True, slots=True)
class Scan:
    """What a scan found.

    Attributes
    ----------
    rows
        ``(n, COLUMNS)`` int64, one row a span, in wire order.
    codes
        ``(n, fields)`` int32 string codes of name, scope and attributes; -1 when absent.
    resource_codes
        ``(r, fields)`` string codes of each resource's attributes.
    resources
        ``(r, 2)`` offset and length of each resource's kept bytes.
    strings
        ``(m, 2)`` offset and length of each distinct string.
    links
        ``(l, 24)`` bytes of every link, spans' links adjacent.
    data
        The bytes that offsets point into: the payloads, then what was rewritten without denied
        attributes.
    """

    rows: I64
    codes: I32
    resource_codes: I32
    resources: I64
    strings: I64
    links: U8
    data: U8


@inlined
def _varint(data, at, end):
    """Value, next offset (-1 on error)."""
    value = np.uint64(0)
    shift = np.uint64(0)
    for k in range(10):
        if at >= end:
            return value, np.int64(-1)
        byte = data[at]
        at += 1
        value |= np.uint64(byte & 0x7F) << shift
        if byte < 0x80:
            if k == 9 and byte > 1:
                return value, np.int64(-1)
            return value, at
        shift += np.uint64(7)
    return value, np.int64(-1)


@inlined
def _tag(data, at, end):
    """Field number, wire type, next offset, error."""
    if at < end and data[at] < 0x80:  # one byte: fields 1 to 15
        tag = np.int64(data[at])
        at += 1
    else:
        wide, after = _varint(data, at, end)
        if after < 0:
            return np.int64(0), np.int64(0), at, np.int64(BAD_VARINT)
        if wide > np.uint64(0xFFFFFFFF):
            return np.int64(0), np.int64(0), at, np.int64(BAD_FIELD)
        tag = np.int64(wide)
        at = after
    if tag >> 3 == 0:
        return np.int64(0), np.int64(0), at, np.int64(BAD_FIELD)
    return tag >> 3, tag & 7, at, np.int64(OK)


@inlined
def _length(data, at, end):
    """Length of a delimited field and where it begins; error."""
    if at < end and data[at] < 0x80:
        size = np.int64(data[at])
        at += 1
    else:
        wide, after = _varint(data, at, end)
        if after < 0:
            return np.int64(0), at, np.int64(BAD_VARINT)
        if wide > np.uint64(0x7FFFFFFF):
            return np.int64(0), at, np.int64(BAD_LENGTH)
        size = np.int64(wide)
        at = after
    if size > end - at:
        return np.int64(0), at, np.int64(BAD_LENGTH)
    return size, at, np.int64(OK)


@kernel
def _skip(data, number, wire, at, end):
    """Offset after an unknown field's value, and an error; groups are followed to their end."""
    depth = 0
    opened = np.empty(100, np.int64)
    begin = at
    while True:
        error = np.int64(OK)
        if wire == 0:
            _, after = _varint(data, at, end)
            if after < 0:
                return at, np.int64(BAD_VARINT)
            at = after
        elif wire == 1:
            if end - at < 8:
                return at, np.int64(SHORT_64)
            at += 8
        elif wire == 2:
            size, at, error = _length(data, at, end)
            if error:
                return at, error
            at += size
        elif wire == 5:
            if end - at < 4:
                return at, np.int64(SHORT_32)
            at += 4
        elif wire == 3:
            if depth == 100:
                return at, np.int64(TOO_DEEP)
            opened[depth] = number
            depth += 1
        elif wire == 4:
            if depth == 0 or opened[depth - 1] != number:
                return at, np.int64(BAD_WIRE)
            depth -= 1
        else:
            return at, np.int64(BAD_WIRE)
        if depth == 0:
            return at, np.int64(OK)
        if at >= end:
            return begin, np.int64(OPEN_GROUP)
        number, wire, at, error = _tag(data, at, end)
        if error:
            return at, error


@inlined
def _word(data, at, size):
    """Up to 8 bytes, little endian."""
    word = np.uint64(0)
    for k in range(size):
        word |= np.uint64(data[at + k]) << np.uint64(8 * k)
    return word


@kernel
def hash_bytes(data, at, size, seed):
    """64-bit hash of ``data[at:at + size]``; the same on every machine."""
    h = np.uint64(seed) ^ (np.uint64(size) * _M1)
    k = np.int64(0)
    while size - k >= 8:
        word = (
            np.uint64(data[at + k])
            | np.uint64(data[at + k + 1]) << np.uint64(8)
            | np.uint64(data[at + k + 2]) << np.uint64(16)
            | np.uint64(data[at + k + 3]) << np.uint64(24)
            | np.uint64(data[at + k + 4]) << np.uint64(32)
            | np.uint64(data[at + k + 5]) << np.uint64(40)
            | np.uint64(data[at + k + 6]) << np.uint64(48)
            | np.uint64(data[at + k + 7]) << np.uint64(56)
        )
        h = (h ^ word) * _M2
        h ^= h >> np.uint64(29)
        k += 8
    if k < size:
        h = (h ^ _word(data, at + k, size - k)) * _M3
    h = (h ^ (h >> np.uint64(32))) * _M1
    return h ^ (h >> np.uint64(29))


@inlined
def _same(data, a, b, size):
    for k in range(size):
        if data[a + k] != data[b + k]:
            return False
    return True


@kernel
def _find_key(data, at, size, keys, key_offset, key_slots):
    """Number of a known attribute key, or -1."""
    mask = np.uint64(len(key_slots) - 1)
    slot = hash_bytes(data, at, size, np.uint64(0)) & mask
    while key_slots[slot] >= 0:
        number = key_slots[slot]
        begin = key_offset[number]
        if key_offset[number + 1] - begin == size:
            same = True
            for k in range(size):
                if keys[begin + k] != data[at + k]:
                    same = False
                    break
            if same:
                return np.int64(number)
        slot = (slot + np.uint64(1)) & mask
    return np.int64(-1)


@kernel
def _has_denied_prefix(data, at, size, prefixes, prefix_offset):
    for number in range(len(prefix_offset) - 1):
        begin = prefix_offset[number]
        length = prefix_offset[number + 1] - begin
        if length > size:
            continue
        same = True
        for k in range(length):
            if prefixes[begin + k] != data[at + k]:
                same = False
                break
        if same:
            return True
    return False


@kernel
def _check_value(data, at, end):
    """Follow an AnyValue's nested arrays and key-value lists; offset and error.

    Levels: AnyValue (0), ArrayValue (1), KeyValueList (2), KeyValue (3).
    """
    ends = np.empty(101, np.int64)
    level = np.empty(101, np.int64)
    ends[0], level[0] = end, 0
    depth = 0
    while depth >= 0:
        if at >= ends[depth]:
            depth -= 1
            continue
        number, wire, after, error = _tag(data, at, ends[depth])
        if error:
            return at, error
        inner = np.int64(-1)
        if wire == 2:
            if level[depth] == 0 and number == 5:
                inner = 1
            elif level[depth] == 0 and number == 6:
                inner = 2
            elif level[depth] == 1 and number == 1:
                inner = 0
            elif level[depth] == 2 and number == 1:
                inner = 3
            elif level[depth] == 3 and number == 2:
                inner = 0
        if inner < 0:
            at, error = _skip(data, number, wire, after, ends[depth])
            if error:
                return at, error
            continue
        size, begin, error = _length(data, after, ends[depth])
        if error:
            return after, error
        if depth == 99:
            return begin, np.int64(TOO_DEEP)
        depth += 1
        ends[depth], level[depth] = begin + size, inner
        at = begin
    return at, np.int64(OK)


@kernel
def _attribute(data, at, end):
    """Key and value of a KeyValue: offset and length of each (value -1 when no string); error.

    A string value's offset and length; any other value is only checked.
    """
    key_at, key_size = at, np.int64(0)
    value_at, value_size = np.int64(-1), np.int64(0)
    while at < end:
        number, wire, after, error = _tag(data, at, end)
        if error:
            return key_at, key_size, value_at, value_size, at, error
        if wire != 2 or number > 2:
            at, error = _skip(data, number, wire, after, end)
            if error:
                return key_at, key_size, value_at, value_size, at, error
            continue
        size, begin, error = _length(data, after, end)
        if error:
            return key_at, key_size, value_at, value_size, after, error
        at = begin + size
        if number == 1:
            key_at, key_size = begin, size
            continue
        inside = begin
        while inside < at:
            number, wire, after, error = _tag(data, inside, at)
            if error:
                return key_at, key_size, value_at, value_size, inside, error
            if number == 1 and wire == 2:
                value_size, value_at, error = _length(data, after, at)
                if error:
                    return key_at, key_size, value_at, value_size, after, error
                inside = value_at + value_size
                continue
            if 1 < number < 8:
                value_at, value_size = np.int64(-1), np.int64(0)
            if wire == 2 and (number == 5 or number == 6):
                size, begin, error = _length(data, after, at)
                if error:
                    return key_at, key_size, value_at, value_size, after, error
                inside, error = _check_value(data, inside, begin + size)
                if error:
                    return key_at, key_size, value_at, value_size, inside, error
                inside = begin + size
                continue
            inside, error = _skip(data, number, wire, after, at)
            if error:
                return key_at, key_size, value_at, value_size, inside, error
    return key_at, key_size, value_at, value_size, at, np.int64(OK)


@kernel
def _is_denied(data, at, end, keys, key_offset, key_slots, key_denied, prefixes, prefix_offset):
    """Whether a KeyValue (already checked) is on the deny-list."""
    key_at, key_size, value_at, value_size, _, _ = _attribute(data, at, end)
    number = _find_key(data, key_at, key_size, keys, key_offset, key_slots)
    if number >= 0 and key_denied[number] == 2:  # a URL: only with a query
        for k in range(value_size):
            if data[value_at + k] == 63:
                return True
        return False
    if number >= 0 and key_denied[number] == 1:
        return True
    return _has_denied_prefix(data, key_at, key_size, prefixes, prefix_offset)


@inlined
def _put_varint(out, at, value):
    while value > 127:
        out[at] = np.uint8(value & 127 | 128)
        value >>= 7
        at += 1
    out[at] = np.uint8(value)
    return at + 1


@kernel
def _rewrite(
    data, at, end, out, to, attribute_field, keys, key_offset, key_slots, key_denied, prefixes, prefix_offset
):
    """Copy a checked message without its denied attributes; where the copy ends.

    `attribute_field` is 9 for a Span, 1 for a Resource; a Span's events (11) and links (13) are
    rewritten inside.
    """
    while at < end:
        number, wire, after, _ = _tag(data, at, end)
        if wire != 2:
            stop, _ = _skip(data, number, wire, after, end)
        else:
            size, begin, _ = _length(data, after, end)
            stop = begin + size
            if number == attribute_field and _is_denied(
                data, begin, stop, keys, key_offset, key_slots, key_denied, prefixes, prefix_offset
            ):
                at = stop
                continue
            if attribute_field == 9 and (number == 11 or number == 13):
                nested = 3 if number == 11 else 4
                cut = np.int64(0)
                inside = begin
                while inside < stop:
                    n2, w2, a2, _ = _tag(data, inside, stop)
                    s2, _ = _skip(data, n2, w2, a2, stop)
                    if w2 == 2 and n2 == nested:
                        size2, b2, _ = _length(data, a2, stop)
                        if _is_denied(
                            data,
                            b2,
                            b2 + size2,
                            keys,
                            key_offset,
                            key_slots,
                            key_denied,
                            prefixes,
                            prefix_offset,
                        ):
                            cut += s2 - inside
                    inside = s2
                if cut > 0:
                    for k in range(at, after):
                        out[to] = data[k]
                        to += 1
                    to = _put_varint(out, to, size - cut)
                    inside = begin
                    while inside < stop:
                        n2, w2, a2, _ = _tag(data, inside, stop)
                        s2, _ = _skip(data, n2, w2, a2, stop)
                        drop = False
                        if w2 == 2 and n2 == nested:
                            size2, b2, _ = _length(data, a2, stop)
                            drop = _is_denied(
                                data,
                                b2,
                                b2 + size2,
                                keys,
                                key_offset,
                                key_slots,
                                key_denied,
                                prefixes,
                                prefix_offset,
                            )
                        if not drop:
                            for k in range(inside, s2):
                                out[to] = data[k]
                                to += 1
                        inside = s2
                    at = stop
                    continue
        for k in range(at, stop):
            out[to] = data[k]
            to += 1
        at = stop
    return to


@kernel
def _count(data, at, end):
    """Spans, links and resources of one request (its three outer levels checked); error, offset."""
    spans, resources = 0, 0
    while at < end:
        number, wire, after, error = _tag(data, at, end)
        if error:
            return spans, resources, at, error
        if number != 1 or wire != 2:
            at, error = _skip(data, number, wire, after, end)
            if error:
                return spans, resources, at, error
            continue
        size, begin, error = _length(data, after, end)
        if error:
            return spans, resources, after, error
        at = begin + size
        resources += 1
        inner = begin
        while inner < at:
            number, wire, after, error = _tag(data, inner, at)
            if error:
                return spans, resources, inner, error
            if number != 2 or wire != 2:
                inner, error = _skip(data, number, wire, after, at)
                if error:
                    return spans, resources, inner, error
                continue
            size, begin, error = _length(data, after, at)
            if error:
                return spans, resources, after, error
            inner = begin + size
            scope = begin
            while scope < inner:
                number, wire, after, error = _tag(data, scope, inner)
                if error:
                    return spans, resources, scope, error
                scope, error = _skip(data, number, wire, after, inner)
                if error:
                    return spans, resources, scope, error
                if number == 2 and wire == 2:
                    spans += 1
    return spans, resources, at, np.int64(OK)


@inlined
def _big_endian(data, at):
    value = np.uint64(0)
    for k in range(8):
        value = value << np.uint64(8) | np.uint64(data[at + k])
    return np.int64(value)


@inlined
def _little_endian(data, at):
    value = np.uint64(0)
    for k in range(8):
        value |= np.uint64(data[at + k]) << np.uint64(8 * k)
    return value


@kernel
def _threshold(data, at, size):
    """T of ``ot=...;th:HEX`` in a tracestate, right-padded to 14 digits; -1 when absent or ill-formed."""
    end = at + size
    member = at
    while member < end:
        stop = member
        while stop < end and data[stop] != 44:  # ','
            stop += 1
        k = member
        while k < stop and (data[k] == 32 or data[k] == 9):
            k += 1
        if stop - k > 3 and data[k] == 111 and data[k + 1] == 116 and data[k + 2] == 61:  # 'ot='
            k += 3
            while k < stop:
                if stop - k > 3 and data[k] == 116 and data[k + 1] == 104 and data[k + 2] == 58:  # 'th:'
                    k += 3
                    value = np.int64(0)
                    digits = 0
                    while k < stop and data[k] != 59 and data[k] != 32:
                        c = np.int64(data[k])
                        if 48 <= c <= 57:
                            c -= 48
                        elif 97 <= c <= 102:
                            c -= 87
                        else:
                            return np.int64(-1)
                        value = value << 4 | c
                        digits += 1
                        if digits > 14:
                            return np.int64(-1)
                        k += 1
                    return value << (4 * (14 - digits)) if digits > 0 else np.int64(-1)
                while k < stop and data[k] != 59:
                    k += 1
                k += 1
        member = stop + 1
    return np.int64(-1)


@kernel
def _intern(data, at, size, strings, table, count):
    """Code of a byte string; the caller keeps room for one more."""
    mask = np.uint64(len(table) - 1)
    h = hash_bytes(data, at, size, np.uint64(1))
    slot = h & mask
    while table[slot] >= 0:
        code = table[slot]
        if strings[code, 1] == size and _same(data, strings[code, 0], at, size):
            return np.int64(code), count
        slot = (slot + np.uint64(1)) & mask
    strings[count, 0], strings[count, 1] = at, size
    table[slot] = count
    return np.int64(count), count + 1


@kernel
def _regrow(data, strings, count):
    """Twice the room, keeping the first `count` strings."""
    wider = np.empty((2 * len(strings) + 64, 2), np.int64)
    wider[:count] = strings[:count]
    size = 64
    while size < 2 * len(wider):
        size *= 2
    slots = np.full(size, -1, np.int32)
    mask = np.uint64(size - 1)
    for code in range(count):
        slot = hash_bytes(data, strings[code, 0], strings[code, 1], np.uint64(1)) & mask
        while slots[slot] >= 0:
            slot = (slot + np.uint64(1)) & mask
        slots[slot] = code
    return wider, slots


@kernel
def _span(
    data, at, end, row, code_row, best, strings, table, count, links, link_count, keys, key_offset,
    key_slots, key_field, key_rank, key_denied, prefixes, prefix_offset, latest_start,
):  # fmt: skip
    """One Span into its row; error, offset, string count, link count, whether it must be rewritten."""
    best[:] = 2**30
    dirty = False
    trace_at, trace_size = np.int64(0), np.int64(0)
    span_at, span_size = np.int64(0), np.int64(0)
    parent_at, parent_size = np.int64(0), np.int64(0)
    start, stop = np.uint64(0), np.uint64(0)
    row[C_THRESHOLD] = -1
    row[C_LINKS_AT] = link_count
    name_at, name_size = at, np.int64(0)
    while at < end:
        number, wire, after, error = _tag(data, at, end)
        if error:
            return error, at, count, link_count, dirty
        if wire == 2:
            size, begin, error = _length(data, after, end)
            if error:
                return error, after, count, link_count, dirty
            at = begin + size
            if number == 9:
                ka, ks, va, vs, where, error = _attribute(data, begin, at)
                if error:
                    return error, where, count, link_count, dirty
                key = _find_key(data, ka, ks, keys, key_offset, key_slots)
                if key < 0:
                    dirty = dirty or _has_denied_prefix(data, ka, ks, prefixes, prefix_offset)
                    continue
                if key_denied[key] == 1:
                    dirty = True
                elif key_denied[key] == 2:
                    for k in range(vs):
                        dirty = dirty or data[va + k] == 63
                f = key_field[key]
                if f >= 0 and va >= 0 and key_rank[key] < best[f]:
                    code, count = _intern(data, va, vs, strings, table, count)
                    code_row[f] = code
                    best[f] = key_rank[key]
            elif number == 1:
                trace_at, trace_size = begin, size
            elif number == 2:
                span_at, span_size = begin, size
            elif number == 3:
                row[C_THRESHOLD] = _threshold(data, begin, size)
            elif number == 4:
                parent_at, parent_size = begin, size
            elif number == 5:
                name_at, name_size = begin, size
            elif number == 15:
                inside = begin
                while inside < at:
                    n2, w2, a2, error = _tag(data, inside, at)
                    if error:
                        return error, inside, count, link_count, dirty
                    if n2 == 3 and w2 == 0:
                        value, inside = _varint(data, a2, at)
                        if inside < 0:
                            return np.int64(BAD_VARINT), a2, count, link_count, dirty
                        row[C_STATUS] = np.int64(value) & 0xFFFFFFFF
                        continue
                    inside, error = _skip(data, n2, w2, a2, at)
                    if error:
                        return error, inside, count, link_count, dirty
            elif number == 11 or number == 13:
                nested = 3 if number == 11 else 4
                link_trace, link_span = np.int64(-1), np.int64(-1)
                inside = begin
                while inside < at:
                    n2, w2, a2, error = _tag(data, inside, at)
                    if error:
                        return error, inside, count, link_count, dirty
                    if w2 == 2:
                        s2, b2, error = _length(data, a2, at)
                        if error:
                            return error, a2, count, link_count, dirty
                        inside = b2 + s2
                        if n2 == nested:
                            ka, ks, va, vs, where, error = _attribute(data, b2, inside)
                            if error:
                                return error, where, count, link_count, dirty
                            dirty = dirty or _is_denied(
                                data,
                                b2,
                                inside,
                                keys,
                                key_offset,
                                key_slots,
                                key_denied,
                                prefixes,
                                prefix_offset,
                            )
                        elif number == 13 and n2 == 1:
                            link_trace = b2 if s2 == 16 else np.int64(-1)
                        elif number == 13 and n2 == 2:
                            link_span = b2 if s2 == 8 else np.int64(-1)
                        continue
                    inside, error = _skip(data, n2, w2, a2, at)
                    if error:
                        return error, inside, count, link_count, dirty
                if number == 13 and link_trace >= 0 and link_span >= 0 and link_count < len(links):
                    for k in range(16):
                        links[link_count, k] = data[link_trace + k]
                    for k in range(8):
                        links[link_count, 16 + k] = data[link_span + k]
                    link_count += 1
            continue
        if wire == 1 and (number == 7 or number == 8):
            if end - after < 8:
                return np.int64(SHORT_64), after, count, link_count, dirty
            if number == 7:
                start = _little_endian(data, after)
            else:
                stop = _little_endian(data, after)
            at = after + 8
            continue
        if wire == 0 and number == 6:
            value, at = _varint(data, after, end)
            if at < 0:
                return np.int64(BAD_VARINT), after, count, link_count, dirty
            row[C_KIND] = np.int64(value) & 0xFFFFFFFF
            continue
        at, error = _skip(data, number, wire, after, end)
        if error:
            return error, at, count, link_count, dirty
    row[C_LINKS] = link_count - row[C_LINKS_AT]
    code, count = _intern(data, name_at, name_size, strings, table, count)
    code_row[FIELD_NAME] = code
    flaws = 0
    if trace_size == 16:
        row[C_TRACE_HI], row[C_TRACE_LO] = _big_endian(data, trace_at), _big_endian(data, trace_at + 8)
    if row[C_TRACE_HI] == 0 and row[C_TRACE_LO] == 0:
        flaws |= FLAW_TRACE_ID
    if span_size == 8:
        row[C_SPAN] = _big_endian(data, span_at)
    if row[C_SPAN] == 0 or (parent_size != 0 and parent_size != 8):
        flaws |= FLAW_SPAN_ID
    if parent_size == 8:
        row[C_PARENT] = _big_endian(data, parent_at)
    most = np.uint64(0x7FFFFFFFFFFFFFFF)
    if start == 0 or start > most or stop > most:
        flaws |= FLAW_TIME
    else:
        row[C_START], row[C_END] = np.int64(start), np.int64(stop)
        if row[C_START] > latest_start:
            flaws |= FLAW_FUTURE
    if row[C_KIND] > 5:
        row[C_KIND] = 0
    if row[C_STATUS] > 2:
        row[C_STATUS] = 0
    row[C_FLAWS] = flaws
    return np.int64(OK), np.int64(0), count, link_count, dirty


@kernel
def _scan(
    data, bounds, length, n, resources_n, keys, key_offset, key_slots, key_field, key_rank, key_denied,
    prefixes, prefix_offset, fields, latest_start,
):  # fmt: skip
    """Fill the tables of `Scan`; error, offset and payload number first.

    `data` holds the payloads in its first `length` bytes, bounds ``(p + 1,)``, and room behind them
    for what is rewritten.
    """
    rows = np.zeros((n, COLUMNS), np.int64)
    codes = np.full((n, fields), -1, np.int32)
    best = np.empty(fields, np.int32)
    resource_codes = np.full((resources_n, fields), -1, np.int32)
    resources = np.zeros((resources_n, 2), np.int64)
    strings = np.empty((1024, 2), np.int64)
    table = np.full(2048, -1, np.int32)
    links = np.empty((64, 24), np.uint8)
    count, row, resource, link_count, spare = 0, 0, 0, 0, length
    for payload in range(len(bounds) - 1):
        at, end = bounds[payload], bounds[payload + 1]
        while at < end:
            number, wire, after, error = _tag(data, at, end)
            if number != 1 or wire != 2:
                at, error = _skip(data, number, wire, after, end)
                continue
            size, rs_begin, error = _length(data, after, end)
            at = rs_begin + size
            rs_end = at
            # the resource first, wherever it stands
            best[:] = 2**30
            resource_begin, resource_size, dirty = np.int64(0), np.int64(0), False
            inner = rs_begin
            while inner < rs_end:
                number, wire, after, error = _tag(data, inner, rs_end)
                begin = after
                if wire == 2:
                    size, begin, error = _length(data, after, rs_end)
                inner, error = _skip(data, number, wire, after, rs_end)
                if number != 1 or wire != 2:
                    continue
                resource_begin, resource_size = begin, size
                a = begin
                while a < inner:
                    number, wire, after, error = _tag(data, a, inner)
                    if error:
                        return (
                            error,
                            a,
                            payload,
                            rows,
                            codes,
                            resource_codes,
                            resources,
                            strings[:count],
                            links[:link_count],
                            spare,
                        )
                    if number == 1 and wire == 2:
                        size, begin, error = _length(data, after, inner)
                        if error:
                            return (
                                error,
                                after,
                                payload,
                                rows,
                                codes,
                                resource_codes,
                                resources,
                                strings[:count],
                                links[:link_count],
                                spare,
                            )
                        ka, ks, va, vs, where, error = _attribute(data, begin, begin + size)
                        if error:
                            return (
                                error,
                                where,
                                payload,
                                rows,
                                codes,
                                resource_codes,
                                resources,
                                strings[:count],
                                links[:link_count],
                                spare,
                            )
                        a = begin + size
                        key = _find_key(data, ka, ks, keys, key_offset, key_slots)
                        if key < 0:
                            dirty = dirty or _has_denied_prefix(data, ka, ks, prefixes, prefix_offset)
                            continue
                        dirty = dirty or key_denied[key] != 0
                        f = key_field[key]
                        if f >= 0 and va >= 0 and key_rank[key] < best[f]:
                            if count == len(strings):
                                strings, table = _regrow(data, strings, count)
                            code, count = _intern(data, va, vs, strings, table, count)
                            resource_codes[resource, f] = code
                            best[f] = key_rank[key]
                        continue
                    a, error = _skip(data, number, wire, after, inner)
                    if error:
                        return (
                            error,
                            a,
                            payload,
                            rows,
                            codes,
                            resource_codes,
                            resources,
                            strings[:count],
                            links[:link_count],
                            spare,
                        )
            if dirty:
                stop = _rewrite(
                    data,
                    resource_begin,
                    resource_begin + resource_size,
                    data,
                    spare,
                    1,
                    keys,
                    key_offset,
                    key_slots,
                    key_denied,
                    prefixes,
                    prefix_offset,
                )
                resource_begin, resource_size, spare = spare, stop - spare, stop
            resources[resource, 0], resources[resource, 1] = resource_begin, resource_size
            resource_hash = hash_bytes(data, resource_begin, resource_size, np.uint64(7))
            inner = rs_begin
            while inner < rs_end:
                number, wire, after, error = _tag(data, inner, rs_end)
                if number != 2 or wire != 2:
                    inner, error = _skip(data, number, wire, after, rs_end)
                    continue
                size, ss_begin, error = _length(data, after, rs_end)
                inner = ss_begin + size
                ss_end = inner
                scope_code = np.int64(-1)
                s = ss_begin
                while s < ss_end:  # the scope first as well
                    number, wire, after, error = _tag(data, s, ss_end)
                    begin = after
                    if wire == 2:
                        size, begin, error = _length(data, after, ss_end)
                    s, error = _skip(data, number, wire, after, ss_end)
                    if number != 1 or wire != 2:
                        continue
                    a = begin
                    while a < s:
                        number, wire, after, error = _tag(data, a, s)
                        if error:
                            return (
                                error,
                                a,
                                payload,
                                rows,
                                codes,
                                resource_codes,
                                resources,
                                strings[:count],
                                links[:link_count],
                                spare,
                            )
                        if wire == 2:
                            size, begin, error = _length(data, after, s)
                            if error:
                                return (
                                    error,
                                    after,
                                    payload,
                                    rows,
                                    codes,
                                    resource_codes,
                                    resources,
                                    strings[:count],
                                    links[:link_count],
                                    spare,
                                )
                            if number == 1:
                                if count == len(strings):
                                    strings, table = _regrow(data, strings, count)
                                scope_code, count = _intern(data, begin, size, strings, table, count)
                            elif number == 3:
                                _, _, _, _, where, error = _attribute(data, begin, begin + size)
                                if error:
                                    return (
                                        error,
                                        where,
                                        payload,
                                        rows,
                                        codes,
                                        resource_codes,
                                        resources,
                                        strings[:count],
                                        links[:link_count],
                                        spare,
                                    )
                            a = begin + size
                            continue
                        a, error = _skip(data, number, wire, after, s)
                        if error:
                            return (
                                error,
                                a,
                                payload,
                                rows,
                                codes,
                                resource_codes,
                                resources,
                                strings[:count],
                                links[:link_count],
                                spare,
                            )
                s = ss_begin
                while s < ss_end:
                    number, wire, after, error = _tag(data, s, ss_end)
                    if number != 2 or wire != 2:
                        s, error = _skip(data, number, wire, after, ss_end)
                        continue
                    size, span_begin, error = _length(data, after, ss_end)
                    s = span_begin + size
                    if row == n:
                        return (
                            np.int64(BAD_LENGTH),
                            s,
                            payload,
                            rows,
                            codes,
                            resource_codes,
                            resources,
                            strings[:count],
                            links[:link_count],
                            spare,
                        )
                    while count + INTERNS_PER_FIELD * fields > len(strings):
                        strings, table = _regrow(data, strings, count)
                    if link_count + (s - span_begin) // 4 + 1 > len(links):
                        more = np.empty((2 * len(links) + (s - span_begin) // 4 + 1, 24), np.uint8)
                        more[:link_count] = links[:link_count]
                        links = more
                    codes[row, FIELD_SCOPE] = scope_code
                    rows[row, C_RESOURCE] = resource
                    error, where, count, link_count, dirty = _span(
                        data, span_begin, s, rows[row], codes[row], best, strings, table, count, links,
                        link_count, keys, key_offset, key_slots, key_field, key_rank, key_denied, prefixes,
                        prefix_offset, latest_start[payload],
                    )  # fmt: skip
                    if error:
                        return (
                            error,
                            where,
                            payload,
                            rows,
                            codes,
                            resource_codes,
                            resources,
                            strings[:count],
                            links[:link_count],
                            spare,
                        )
                    if dirty:
                        stop = _rewrite(
                            data,
                            span_begin,
                            s,
                            data,
                            spare,
                            9,
                            keys,
                            key_offset,
                            key_slots,
                            key_denied,
                            prefixes,
                            prefix_offset,
                        )
                        rows[row, C_RAW_AT], rows[row, C_RAW_LEN] = spare, stop - spare
                        spare = stop
                    else:
                        rows[row, C_RAW_AT], rows[row, C_RAW_LEN] = span_begin, s - span_begin
                    rows[row, C_HASH] = np.int64(
                        hash_bytes(data, rows[row, C_RAW_AT], rows[row, C_RAW_LEN], resource_hash)
                    )
                    row += 1
            resource += 1
    return (
        np.int64(OK),
        np.int64(0),
        0,
        rows,
        codes,
        resource_codes,
        resources,
        strings[:count],
        links[:link_count],
        spare,
    )


def make_key_table(
    fields: dict[str, tuple[int, int]], denied: dict[str, int], denied_prefixes: tuple[str, ...]
) -> KeyTable:
    """Build the scanner's table of keys.

    Parameters
    ----------
    fields
        Attribute key -> (field, rank); lower ranks win.
    denied
        Attribute key -> 1 (never kept) or 2 (kept unless its value has a ``?``).
    denied_prefixes
        Keys beginning so are never kept.
    """
    names = sorted({*fields, *denied})
    data = [name.encode() for name in names]
    size = 64
    while size < 4 * len(names):
        size *= 2
    slots = np.full(size, -1, np.int32)
    for number, key in enumerate(data):
        slot = int(hash_bytes(np.frombuffer(key, np.uint8), 0, len(key), np.uint64(0))) & (size - 1)
        while slots[slot] >= 0:
            slot = (slot + 1) & (size - 1)
        slots[slot] = number
    prefixes = [prefix.encode() for prefix in denied_prefixes]
    return KeyTable(
        data=np.frombuffer(b"".join(data), np.uint8),
        offset=np.cumsum([0, *map(len, data)]).astype(np.int64),
        field=np.array([fields.get(name, (-1, 0))[0] for name in names], np.int32),
        rank=np.array([fields.get(name, (-1, 0))[1] for name in names], np.int32),
        denied=np.array([denied.get(name, 0) for name in names], np.int8),
        prefixes=np.frombuffer(b"".join(prefixes) or b"\0", np.uint8),
        prefix_offset=np.cumsum([0, *map(len, prefixes)]).astype(np.int64),
        slots=slots,
    )


def count_spans(data: U8, begin: int, end: int) -> tuple[int, int]:
    """Spans and resources of one request, its outer levels checked.

    Raises
    ------
    MalformedOtlpError
        With the offset from `begin`.
    """
    spans, resources, at, error = _count(data, begin, end)
    if error:
        raise MalformedOtlpError(int(at) - begin, EXPECTED[error])
    return int(spans), int(resources)


def scan(payloads: list[bytes], latest_start: I64, keys: KeyTable, fields: int) -> Scan:
    """Scan requests, one after the other.

    Parameters
    ----------
    payloads
        ExportTraceServiceRequest (or TracesData) messages.
    latest_start
        ``(p,)`` ns: spans of a payload that start later are flawed.
    keys, fields
        What `make_key_table` made, and how many columns its fields need.

    Raises
    ------
    MalformedOtlpError
        At the first byte that breaks the wire format; its `payload` names the message.
    KernelError
        More than 2 GiB at once.
    """
    length = sum(map(len, payloads))
    if length > 2**31 - 1:
        raise KernelError(f"{length} bytes in one scan; give it at most 2 GiB")
    data = np.empty(2 * length + 16, np.uint8)
    bounds = np.zeros(len(payloads) + 1, np.int64)
    np.cumsum([len(payload) for payload in payloads], out=bounds[1:])
    data[:length] = np.frombuffer(b"".join(payloads), np.uint8)
    spans = resources = 0
    for number in range(len(payloads)):
        try:
            found = count_spans(data, int(bounds[number]), int(bounds[number + 1]))
        except MalformedOtlpError as error:
            error.payload = number
            raise
        spans += found[0]
        resources += found[1]
    result: tuple[Any, ...] = _scan(
        data, bounds, length, spans, resources, keys.data, keys.offset, keys.slots, keys.field, keys.rank,
        keys.denied, keys.prefixes, keys.prefix_offset, fields, latest_start,
    )  # fmt: skip
    error, where, payload = (int(value) for value in result[:3])
    if error:
        malformed = MalformedOtlpError(where - int(bounds[payload]), EXPECTED[error])
        malformed.payload = payload
        raise malformed
    rows, codes, resource_codes, kept, strings, links, stop = result[3:]
    return Scan(rows, codes, resource_codes, kept, strings, links, data[:stop])
