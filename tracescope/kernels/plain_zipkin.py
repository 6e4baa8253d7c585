"""Zipkin v2 JSON to OTLP protobuf, for traces as Zipkin's API and reporters write them.

Version 1 is rewritten as version 2 first.  A trace that is not plain (records without a timestamp) is left
to the slow way, `tracescope.ingest.zipkin`, which also says what every field means and which of several
records keeps their span id; the spans are the same either way.
"""

# Inner kernels carry no annotations: their types are what the compiler infers from the arrays given.
# pyright: reportMissingParameterType=false, reportUnknownParameterType=false

from __future__ import annotations

import numpy as np

from tracescope.kernels import bare, inlined, kernel
from tracescope.kernels.json_groups import (
    G_END,
    N_ASIDE,
    N_OUT,
    N_SPANS,
    SPAN_TEXT,
    Groups,
    begin_span,
    end_span,
    find_group,
    jumps,
    most_spans,
    undo_unit,
)
from tracescope.kernels.json_text import (
    CLOSE,
    DEEPEST,
    LARGEST,
    NOT_PLAIN,
    OPEN,
    OPEN_LIST,
    QUOTE,
    F,
    T,
    after,
    checked,
    close,
    find,
    first_item,
    following,
    gap,
    hex_digit,
    is_empty,
    is_item,
    is_utf8,
    match,
    space,
    text_field,
    whole,
    words,
)
from tracescope.kernels.octets import SLACK, byte, same
from tracescope.kernels.plain_jaeger import LATEST_US, put_micros, put_text, put_times
from tracescope.kernels.zipkin_v1 import rewrite

_RECORD = words(
    "traceId", "id", "parentId", "kind", "name", "timestamp", "duration", "localEndpoint", "remoteEndpoint",
    "tags", "annotations", "binaryAnnotations", "shared",
)  # fmt: skip
_TRACE, _ID, _PARENT, _KIND, _NAME, _START, _DURATION, _LOCAL, _REMOTE, _TAGS, _NOTES, _V1, _SHARED = range(
    13
)
#: Columns of a record after the places of its members: ids, kind, start, endpoint, the next record of its id
#: in their order, the record that it is like, its number among them.
_HI, _LO, _OWN, _CODE, _AT_US, _SERVICE, _SERVICE_SIZE, _IP, _IP_SIZE, _NEXT, _LIKE, _NUMBER = range(13, 25)
_COLUMNS = 25
_ID_OF_TRACE = words("traceId")
_ENDPOINT = words("serviceName", "ipv4", "ipv6")
_NOTE = words("timestamp", "value", "endpoint")
_KINDS = words("SERVER", "CLIENT", "PRODUCER", "CONSUMER")
_SERVER, _CLIENT, _PRODUCER, _CONSUMER = 2, 3, 4, 5
#: The last of them is no topic.
_KNOWN_TAGS = words("kafka.topic", "rabbit.queue", "rabbit.exchange", "jms.queue", "jms.topic", "error")
_ERROR = 5

_AT_ENDPOINT, _AT_NOTE, _AT_TAG = 0, 3, 6
_PLACES = 12


def _key(text: str) -> np.ndarray:
    """A KeyValue's key field, and the tag of its value."""
    return np.frombuffer(b"\x0a" + bytes([len(text)]) + text.encode() + b"\x12", np.uint8)


_SERVICE_NAME, _HOST_IP = _key("service.name"), _key("host.ip")
_DESTINATION, _OPERATION = _key("messaging.destination.name"), _key("messaging.operation.type")
_PEER_NAME, _PEER_ADDRESS, _CLIENT_ADDRESS = (
    _key("service.peer.name"),
    _key("network.peer.address"),
    _key("client.address"),
)
_SEND = np.frombuffer(b"\x06\x0a\x04send", np.uint8)
_PROCESS = np.frombuffer(b"\x09\x0a\x07process", np.uint8)
_GOLDEN, _MIX_1, _MIX_2 = (
    np.uint64(number) for number in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB)
)


# -- records --


@bare
def _read_id(text, jump, at, digits):
    """High and low half of a hex id, and whether it is one."""
    high, low = np.uint64(0), np.uint64(0)
    if at < 0 or byte(text, at) != QUOTE:
        return np.int64(0), np.int64(0), False
    count = np.int64(jump[at]) - at - 2
    if count < 1 or count > digits:
        return np.int64(0), np.int64(0), False
    for k in range(count):
        digit = hex_digit(byte(text, at + 1 + k))
        if digit < 0:
            return np.int64(0), np.int64(0), False
        high = high << np.uint64(4) | low >> np.uint64(60)
        low = low << np.uint64(4) | np.uint64(digit)
    return np.int64(high), np.int64(low), True


@bare
def _read_endpoint(text, jump, at, places):
    """Where service and address of an endpoint stand, -1 for none; whether they are plain."""
    if at < 0:
        return np.int64(-1), np.int64(-1), True
    if find(text, jump, at, _ENDPOINT, places, _AT_ENDPOINT) < 0:
        return np.int64(-1), np.int64(-1), False
    for k in range(3):
        place = places[_AT_ENDPOINT + k]
        if place < 0 or is_empty(text, place):
            places[_AT_ENDPOINT + k] = -1
        elif byte(text, place) != QUOTE or jump[place] < 0:
            return np.int64(-1), np.int64(-1), False
    address = places[_AT_ENDPOINT + 1]
    return places[_AT_ENDPOINT], address if address >= 0 else places[_AT_ENDPOINT + 2], True


@inlined
def _size(jump, at):
    """Characters of a string without escapes, 0 for none."""
    return np.int64(jump[at]) - at - 2 if at >= 0 else np.int64(0)


@bare
def _read(text, jump, at, records, row, places):
    """Read what tells a record from others; 0, or `NOT_PLAIN`."""
    r = row * _COLUMNS
    if find(text, jump, at, _RECORD, records, r) < 0 or records[r + _V1] >= 0:
        return np.int64(NOT_PLAIN)
    high, low, good = _read_id(text, jump, records[r + _TRACE], 32)
    _, own, also_good = _read_id(text, jump, records[r + _ID], 16)
    if not (good and also_good) or records[r + _START] < 0:
        return np.int64(NOT_PLAIN)
    start, good = whole(text, records[r + _START])
    if not good or start == 0 or start > LATEST_US:
        return np.int64(NOT_PLAIN)
    kind = np.int64(0)
    if records[r + _KIND] >= 0:
        kind = match(text, jump, records[r + _KIND], _KINDS) + 2
        if kind < 2:
            return np.int64(NOT_PLAIN)
    shared = records[r + _SHARED]
    if shared >= 0:
        c = byte(text, shared)
        if c != T and c != F:
            return np.int64(NOT_PLAIN)
        shared = np.int64(c == T)
    service, address, good = _read_endpoint(text, jump, records[r + _LOCAL], places)
    if not good:
        return np.int64(NOT_PLAIN)
    records[r + _HI], records[r + _LO], records[r + _OWN] = high, low, own
    records[r + _CODE], records[r + _AT_US], records[r + _SHARED] = kind, np.int64(start), max(shared, 0)
    records[r + _SERVICE], records[r + _SERVICE_SIZE] = service, _size(jump, service)
    records[r + _IP], records[r + _IP_SIZE] = address, _size(jump, address)
    records[r + _NEXT] = records[r + _LIKE] = -1
    records[r + _NUMBER] = 0
    return np.int64(0)


@bare
def _lives_with(text, records, a, b, exactly):
    """Whether two records are of one service, and where that is asked of one address."""
    size = records[a + _SERVICE_SIZE]
    if size != records[b + _SERVICE_SIZE]:
        return False
    if not same(text, records[a + _SERVICE] + 1, text, records[b + _SERVICE] + 1, size):
        return False
    if not exactly:
        return True
    size = records[a + _IP_SIZE]
    return size == records[b + _IP_SIZE] and same(
        text, records[a + _IP] + 1, text, records[b + _IP] + 1, size
    )


@inlined
def _mixed(word):
    word = (word ^ word >> np.uint64(30)) * _MIX_1
    word = (word ^ word >> np.uint64(27)) * _MIX_2
    return word ^ word >> np.uint64(31)


@bare
def _slot(records, high, low, span_id, slots, mask):
    """The slot of the records of a trace and span id, or the free one that is theirs."""
    word = _mixed(np.uint64(span_id) ^ _mixed(np.uint64(low) ^ _mixed(np.uint64(high))))
    slot = np.int64(word & np.uint64(mask))
    while slots[slot] >= 0:
        r = np.int64(slots[slot]) * _COLUMNS
        if records[r + _OWN] == span_id and records[r + _LO] == low and records[r + _HI] == high:
            break
        slot = (slot + 1) & mask
    return slot


@inlined
def _rank(records, r):
    """Senders before receivers, each with what is not marked as shared first."""
    kind = records[r + _CODE]
    return (0 if kind == _CLIENT or kind == _PRODUCER else 2) + records[r + _SHARED]


@bare
def _order(text, a, size_a, b, size_b):
    """Below, at or above 0 as one string comes before another, is it, or comes after it."""
    for k in range(min(size_a, size_b)):
        left, right = byte(text, a + 1 + k), byte(text, b + 1 + k)
        if left != right:
            return left - right
    return size_a - size_b


@bare
def _is_before(text, records, a, b):
    """Whether a record comes before another of its id, however they stand in the file."""
    order = _rank(records, a) - _rank(records, b)
    if order == 0:
        order = records[a + _AT_US] - records[b + _AT_US]
    if order == 0:
        order = _order(
            text, records[a + _SERVICE], records[a + _SERVICE_SIZE],
            records[b + _SERVICE], records[b + _SERVICE_SIZE],
        )  # fmt: skip
    if order == 0:
        order = _order(text, records[a + _IP], records[a + _IP_SIZE], records[b + _IP], records[b + _IP_SIZE])
    if order == 0:
        order = records[a + _CODE] - records[b + _CODE]
    return order < 0


@bare
def _insert(text, records, row, slots, mask):
    """Put a record among those of its id, in their order."""
    r = row * _COLUMNS
    slot = _slot(records, records[r + _HI], records[r + _LO], records[r + _OWN], slots, mask)
    before, other = np.int64(-1), np.int64(slots[slot])
    found = False
    while other >= 0:
        o = other * _COLUMNS
        if records[o + _CODE] == records[r + _CODE] and records[o + _AT_US] == records[r + _AT_US]:
            if _lives_with(text, records, o, r, True):
                records[r + _LIKE] = other
                return
        if not found:
            if _is_before(text, records, o, r):
                before = other
            else:
                found = True
        other = records[o + _NEXT]
    if before < 0:
        records[r + _NEXT] = np.int64(slots[slot])
        slots[slot] = row
    else:
        records[r + _NEXT] = records[before * _COLUMNS + _NEXT]
        records[before * _COLUMNS + _NEXT] = row


@bare
def _number(records, count, slots, mask):
    """Number the records of each id."""
    for slot in range(mask + 1):
        row, number = np.int64(slots[slot]), np.int64(0)
        while row >= 0:
            records[row * _COLUMNS + _NUMBER] = number
            number += 1
            row = records[row * _COLUMNS + _NEXT]
    for row in range(count):
        like = records[row * _COLUMNS + _LIKE]
        if like >= 0:
            records[row * _COLUMNS + _NUMBER] = records[like * _COLUMNS + _NUMBER]


@inlined
def _id_of(records, r):
    """The id that a record gets."""
    number, own = records[r + _NUMBER], records[r + _OWN]
    if number == 0:
        return own
    return np.int64(_mixed(np.uint64(own) + np.uint64(number) * _GOLDEN))


@bare
def _parent_among(text, records, r, row):
    """Of the records of the parent's id the one that lives where the child does."""
    for exactly in (True, False):
        for receives in (True, False):
            other = row
            while other >= 0:
                o = other * _COLUMNS
                kind = records[o + _CODE]
                if (kind == _SERVER or kind == _CONSUMER) == receives:
                    if _lives_with(text, records, o, r, exactly):
                        return o
                other = records[o + _NEXT]
    return row * _COLUMNS


# -- writing --


@inlined
def _put_word(out, at, value):
    """Write eight bytes, the highest first."""
    for k in range(8):
        out[at + k] = np.uint8(np.uint64(value) >> np.uint64(56 - 8 * k) & np.uint64(255))
    return at + 8


@bare
def _put(out, to, constant):
    for k in range(len(constant)):
        out[to + k] = constant[k]
    return to + len(constant)


@bare
def _attribute(text, jump, at, tag, key, out, to, doubles):
    """Write a string under a known key as a field; nothing for none."""
    if at < 0:
        return to
    out[to] = tag
    value = _put(out, to + 2, key)
    end = put_text(text, jump, at, out, value + 1, doubles)
    return end if end < 0 else close(out, to + 1, close(out, value, end, doubles), doubles)


@bare
def _tags(text, jump, at, out, to, doubles, places):
    """Write tags as fields; where known ones stand is noted."""
    for k in range(len(_KNOWN_TAGS)):
        places[_AT_TAG + k] = -1
    if at < 0:
        return to
    if byte(text, at) != OPEN:
        return np.int64(NOT_PLAIN)
    item = gap(text, at + 1)
    while byte(text, item) != CLOSE:
        value = gap(text, gap(text, abs(np.int64(jump[item]))) + 1)
        known = match(text, jump, item, _KNOWN_TAGS)
        if known >= 0:
            places[_AT_TAG + known] = value
        out[to] = 0x4A
        begin = to + 1
        to = text_field(text, jump, item, 0x0A, out, to + 2, doubles)
        if to < 0:
            return to
        out[to] = 0x12
        end = put_text(text, jump, value, out, to + 2, doubles)
        if end < 0:
            return end
        to = close(out, begin, close(out, to + 1, end, doubles), doubles)
        item = following(text, jump, value)
    return to


@bare
def _peer(text, jump, remote, kind, out, to, doubles, places):
    """Write what is known of the other side as attributes."""
    service, address, good = _read_endpoint(text, jump, remote, places)
    if not good:
        return np.int64(NOT_PLAIN)
    if kind == _PRODUCER or kind == _CONSUMER:
        topic = np.int64(-1)
        for k in range(_ERROR):
            if topic < 0:
                topic = places[_AT_TAG + k]
        if topic < 0 or is_empty(text, topic):
            topic = service
        to = _attribute(text, jump, topic, 0x4A, _DESTINATION, out, to, doubles)
        if to < 0:
            return to
        out[to] = 0x4A
        end = _put(out, to + 2, _OPERATION)
        end = _put(out, end, _SEND if kind == _PRODUCER else _PROCESS)
        to = close(out, to + 1, end, doubles)
    elif kind == _CLIENT:
        to = _attribute(text, jump, service, 0x4A, _PEER_NAME, out, to, doubles)
        if to < 0:
            return to
    if kind == _SERVER:
        return _attribute(text, jump, address, 0x4A, _CLIENT_ADDRESS, out, to, doubles)
    return _attribute(text, jump, address, 0x4A, _PEER_ADDRESS, out, to, doubles)


@bare
def _events(text, jump, at, out, to, doubles, places):
    """Write annotations as fields."""
    item = first_item(text, at)
    while is_item(text, item):
        if find(text, jump, item, _NOTE, places, _AT_NOTE) < 0 or places[_AT_NOTE + 2] >= 0:
            return np.int64(NOT_PLAIN)
        out[to] = 0x5A
        end = put_micros(text, places[_AT_NOTE], 0x09, out, to + 2)
        if end >= 0:
            end = text_field(text, jump, places[_AT_NOTE + 1], 0x12, out, end, doubles)
        if end < 0:
            return end
        to = close(out, to + 1, end, doubles)
        item = following(text, jump, item)
    return item if item == NOT_PLAIN else to


@bare
def _head(text, jump, records, r, slots, mask, out, to):
    """Write the ids of a span as fields."""
    out[to], out[to + 1] = 0x0A, 16
    to = _put_word(out, _put_word(out, to + 2, records[r + _HI]), records[r + _LO])
    out[to], out[to + 1] = 0x12, 8
    to = _put_word(out, to + 2, _id_of(records, r))
    parent, own = np.int64(0), records[r + _OWN]
    place = records[r + _PARENT]
    if records[r + _NUMBER] > 0:
        parent = own
    elif place < 0 or is_empty(text, place):
        return to
    else:
        _, parent, good = _read_id(text, jump, place, 16)
        if not good:
            return np.int64(NOT_PLAIN)
        if parent != own:
            slot = _slot(records, records[r + _HI], records[r + _LO], parent, slots, mask)
            if slots[slot] >= 0:
                parent = _id_of(records, _parent_among(text, records, r, np.int64(slots[slot])))
    out[to], out[to + 1] = 0x22, 8
    return _put_word(out, to + 2, parent)


@bare
def _span(text, jump, records, r, slots, mask, sink, to, places):
    """Write the fields of a span."""
    out, doubles = sink.out, sink.doubles
    to = _head(text, jump, records, r, slots, mask, out, to)
    if to >= 0:
        to = text_field(text, jump, records[r + _NAME], 0x2A, out, to, doubles)
    if to < 0:
        return to
    kind = records[r + _CODE]
    if kind == 0 and records[r + _LOCAL] >= 0 and not is_empty(text, records[r + _LOCAL]):
        kind = np.int64(1)
    if kind > 0:
        out[to], out[to + 1] = 0x30, kind
        to += 2
    to = put_times(text, records[r + _START], records[r + _DURATION], out, to)
    if to >= 0:
        to = _tags(text, jump, records[r + _TAGS], out, to, doubles, places)
    if to >= 0:
        to = _peer(text, jump, records[r + _REMOTE], records[r + _CODE], out, to, doubles, places)
    if to >= 0:
        to = _events(text, jump, records[r + _NOTES], out, to, doubles, places)
    if to >= 0 and places[_AT_TAG + _ERROR] >= 0:
        out[to], out[to + 1], out[to + 2], out[to + 3] = 0x7A, 2, 0x18, 2
        to += 4
    return to


@bare
def _group_of(text, jump, records, r, sink):
    """Number of the group of a record."""
    at = records[r + _LOCAL]
    size = after(text, jump, at) - at if at >= 0 else np.int64(0)
    group, new = find_group(text, max(at, 0), size, np.int64(-1), sink)
    if new:
        out, to = sink.aside, sink.counts[N_ASIDE]
        out[to] = 0x0A
        end = to + 2
        if records[r + _SERVICE] >= 0:
            end = _attribute(text, jump, records[r + _SERVICE], 0x0A, _SERVICE_NAME, out, end, sink.doubles)
        else:
            out[end] = 0x0A
            begin = end + 1
            end = _put(out, end + 2, _SERVICE_NAME)
            out[end], out[end + 1], out[end + 2] = 2, 0x0A, 0
            end = close(out, begin, end + 3, sink.doubles)
        end = _attribute(text, jump, records[r + _IP], 0x0A, _HOST_IP, out, end, sink.doubles)
        sink.counts[N_ASIDE] = sink.groups[group, G_END] = close(out, to + 1, end, sink.doubles)
    return group


@bare
def _write(text, jump, records, count, slots, mask, sink, places):
    """Write the records of a unit; 0, or `NOT_PLAIN`."""
    for row in range(count):
        r = row * _COLUMNS
        group = _group_of(text, jump, records, r, sink)
        to = begin_span(sink)
        end = _span(text, jump, records, r, slots, mask, sink, to, places)
        if end < 0:
            return end
        end_span(sink, close(sink.out, to - 1, end, sink.doubles), group)
    return np.int64(0)


@bare
def _unit(text, jump, at, records, slots, sink, places):
    """Write a trace, or a record that stands alone: all of it or nothing."""
    counts = sink.counts
    spans, to, count, good = counts[N_SPANS], counts[N_OUT], np.int64(0), np.int64(0)
    if byte(text, at) == OPEN:
        good, count = _read(text, jump, at, records, 0, places), np.int64(1)
    else:
        item = gap(text, at + 1)
        while is_item(text, item) and good >= 0:
            good = _read(text, jump, item, records, count, places)
            count += 1
            item = following(text, jump, item)
    mask = np.int64(1)
    while mask < 2 * count:
        mask *= 2
    mask -= 1
    if good >= 0:
        for slot in range(mask + 1):
            slots[slot] = -1
        for row in range(count):
            _insert(text, records, row, slots, mask)
        _number(records, count, slots, mask)
        good = _write(text, jump, records, count, slots, mask, sink, places)
    if good < 0:
        undo_unit(sink, spans, np.int64(0), to, at, after(text, jump, at))


@bare
def _document(text, jump, at, records, slots, sink, places):
    """Write what a document holds; 0, or `NOT_PLAIN` for lists that hold both lists and records."""
    if byte(text, at) != OPEN and byte(text, at) != OPEN_LIST:
        return np.int64(NOT_PLAIN)
    if byte(text, at) == OPEN_LIST:
        item = gap(text, at + 1)
        inner = byte(text, item)
        if inner == OPEN_LIST:
            while is_item(text, item):
                if byte(text, item) != OPEN_LIST:
                    return np.int64(NOT_PLAIN)
                _unit(text, jump, item, records, slots, sink, places)
                item = following(text, jump, item)
            return np.int64(0)
    _unit(text, jump, at, records, slots, sink, places)
    return np.int64(0)


@kernel
def _trace_ids(text):
    end = len(text) - SLACK
    nothing = np.zeros((0, 4), np.int64), False
    if end > LARGEST:
        return nothing
    jump = np.empty(end, np.int32)
    at = space(text, np.int64(0), end)
    past = checked(text, jump, at, end, np.empty(DEEPEST, np.int64))
    if past < 0 or space(text, past, end) != end:
        return nothing
    found, count = np.empty((end // SPAN_TEXT + 2, 4), np.int64), 0
    places = np.empty(_PLACES, np.int64)
    listed = byte(text, at) == OPEN_LIST
    item = gap(text, at + 1) if listed else at
    while is_item(text, item) and (listed or count == 0):
        if find(text, jump, item, _ID_OF_TRACE, places, 0) < 0:
            return nothing
        high, low, good = _read_id(text, jump, places[0], 32)
        if not good:
            return nothing
        found[count, 0], found[count, 1] = high, low
        found[count, 2], found[count, 3] = item, after(text, jump, item)
        count += 1
        if listed:
            item = following(text, jump, item)
    return found[:count], True


def trace_ids(text: bytes) -> np.ndarray | None:
    """The trace id of every record of a list ``(n, 4)``: its halves, and where the record stands.

    None for text that is no list of records, or not plain.
    """
    found, plain = _trace_ids(np.frombuffer(text + bytes(SLACK), np.uint8))
    return found if plain else None


@kernel
def _written(text, jump, opened, records, of_unit, sink, places):
    end = len(text) - SLACK
    begin = space(text, np.int64(0), end)
    past = checked(text, jump, begin, end, opened)
    if past < 0 or space(text, past, end) != end:
        return False
    return _document(text, jump, begin, records, of_unit, sink, places) >= 0


def transcode(text: bytes) -> tuple[bytes, list[bytes]] | None:
    """ExportTraceServiceRequest bytes of Zipkin JSON, and its traces that are not plain; None for neither.

    Parameters
    ----------
    text
        A document in UTF-8: a record, a list of records that are one or more whole traces, a list of such.
    """
    if len(text) > LARGEST or not is_utf8(text):  # strings are copied as they are
        return None
    text = rewrite(text, jumps(len(text)))
    if len(text) > LARGEST:
        return None
    sink = Groups.of(len(text))
    padded = np.frombuffer(text + bytes(SLACK), np.uint8)
    jump = jumps(len(text))
    opened, places = np.empty(DEEPEST, np.int64), np.empty(_PLACES, np.int64)
    records = np.empty(most_spans(len(text)) * _COLUMNS, np.int64)
    of_unit = np.empty(len(sink.slots), np.int32)
    plain = _written(padded, jump, opened, records, of_unit, sink, places)
    return sink.request(text) if plain else None
