"""Zipkin v1 JSON rewritten as v2 JSON: a record of each side that a record of version 1 holds.

    v1  {"traceId", "id", "name",                            v2  {"traceId", "id", "name", "kind": "CLIENT",
         "annotations": [{"value": "cs", "endpoint": A},          "localEndpoint": A, "timestamp", ...},
                         {"value": "sr", "endpoint": B}],         {..., "kind": "SERVER", "localEndpoint": B,
         "binaryAnnotations": [...]}                               "shared": true, ...}

Texts are copied as they stand, so that escapes stay what they are.  A record that is not plain stays as it
is, for the slow way, `tracescope.ingest.zipkin`, which says what every field means; the records of both
are the same.
"""

# Inner kernels carry no annotations: their types are what the compiler infers from the arrays given.
# pyright: reportMissingParameterType=false, reportUnknownParameterType=false

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from tracescope.kernels import bare, kernel
from tracescope.kernels.json_text import (
    ABSENT,
    DEEPEST,
    LARGEST,
    MINUS,
    NOT_PLAIN,
    OPEN,
    OPEN_LIST,
    QUOTE,
    F,
    T,
    after,
    checked,
    find,
    first_item,
    following,
    gap,
    is_empty,
    is_fraction,
    is_item,
    match,
    space,
    whole,
    words,
)
from tracescope.kernels.octets import SLACK, byte, copy, same

_RECORD = words(
    "traceId", "id", "parentId", "name", "timestamp", "duration", "annotations", "binaryAnnotations"
)
_TRACE, _ID, _PARENT, _NAME, _START, _DURATION, _NOTES, _TAGS = range(8)
_NOTE = words("timestamp", "value", "endpoint")
_TAG = words("key", "value", "endpoint")
_ENDPOINT = words("serviceName", "ipv4", "ipv6")
_EVENTS = words("cs", "cr", "sr", "ss", "ms", "mr")
_ADDRESSES = words("sa", "ca", "ma")
_OF_COMPONENT = words("lc")
_TRUE = words("true")
#: Kinds of sides: none, then in the order of `_EVENTS`.
_NONE, _CLIENT, _SERVER, _PRODUCER, _CONSUMER = range(5)
_AT_RECORD, _AT_ITEM, _AT_ENDPOINT, _PLACES = 0, 8, 11, 14

#: What a record may have at most, sides and annotations of both sorts.
_SIDES, _ITEMS = 16, 256
#: Columns of an item: time, value, service and address of its endpoint with their sizes, its key where it is
#: a tag, kind of the event or address that it stands for (-1 for none), its side.
_AT, _VALUE, _SERVICE, _SERVICE_SIZE, _IP, _IP_SIZE, _KEY, _SAYS, _SIDE = range(9)
#: Columns of a side: kind, its endpoint as of an item, first and last event, the other side's endpoint.
_KIND, _FIRST, _LAST, _REMOTE, _REMOTE_SIZE, _REMOTE_IP, _REMOTE_IP_SIZE, _PEER = 0, 1, 6, 7, 8, 9, 10, 11
_COLUMNS = 12


class Room(NamedTuple):
    """Of one record: items ``(_ITEMS * 9,)``, sides ``(_SIDES * _COLUMNS,)``, and times of one side."""

    items: np.ndarray
    sides: np.ndarray
    times: np.ndarray


def _text(text: str) -> np.ndarray:
    return np.frombuffer(text.encode(), np.uint8)


_BEGIN, _COMMA, _END, _END_LIST, _END_OBJECT = (_text(part) for part in ("{", ",", "}", "]", "}"))
_MEMBERS = tuple(_text(f'"{name}":') for name in ("traceId", "id", "parentId", "name"))
_MEMBER_TRACE, _MEMBER_ID, _MEMBER_PARENT, _MEMBER_NAME = _MEMBERS
_MEMBER_START, _MEMBER_DURATION, _MEMBER_SHARED = (
    _text(part) for part in (',"timestamp":', ',"duration":', ',"shared":true')
)
_KIND_CLIENT, _KIND_SERVER, _KIND_PRODUCER, _KIND_CONSUMER = (
    _text(f',"kind":"{kind}"') for kind in ("CLIENT", "SERVER", "PRODUCER", "CONSUMER")
)
_LOCAL, _OTHER = _text(',"localEndpoint":{"serviceName":"'), _text(',"remoteEndpoint":{"serviceName":"')
_IPV4, _CLOSED = _text('","ipv4":"'), _text('"}')
_LIST_OF_NOTES, _AT_TIME, _VALUED = _text(',"annotations":['), _text('{"timestamp":'), _text(',"value":')
_OBJECT_OF_TAGS, _COLON = _text(',"tags":{'), _text(":")
_SAID_TRUE, _SAID_FALSE, _QUOTED_NOTHING, _MARK = (_text(part) for part in ('"True"', '"False"', '""', '"'))
#: The most that a side takes beside what is copied of its record.
_AROUND = 320


@bare
def _put(out, to, part):
    for k in range(len(part)):
        out[to + k] = part[k]
    return to + len(part)


@bare
def _put_whole(out, to, value):
    """Write an integer that is not negative in digits."""
    digits = 1
    rest = value // 10
    while rest > 0:
        digits += 1
        rest //= 10
    for k in range(digits):
        out[to + digits - 1 - k] = 48 + value % 10
        value //= 10
    return to + digits


@bare
def _time(text, at):
    """A time, 0 for none; -1 where it is not plain."""
    if at < 0:
        return np.int64(0)
    if byte(text, at) == QUOTE or byte(text, at) == MINUS:
        return np.int64(-1)
    value, good = whole(text, at)
    return np.int64(value) if good and value < np.uint64(1 << 62) else np.int64(-1)


@bare
def _read_item(text, jump, names, item, row, items, places):
    """Read an annotation of either sort; 0, or `NOT_PLAIN`."""
    if find(text, jump, item, names, places, _AT_ITEM) < 0:
        return np.int64(NOT_PLAIN)
    r = row * 9
    items[r + _VALUE] = places[_AT_ITEM + 1]
    items[r + _KEY] = items[r + _SIDE] = -1
    items[r + _SERVICE] = items[r + _SERVICE_SIZE] = items[r + _IP] = items[r + _IP_SIZE] = 0
    endpoint = places[_AT_ITEM + 2]
    if endpoint >= 0:
        if find(text, jump, endpoint, _ENDPOINT, places, _AT_ENDPOINT) < 0:
            return np.int64(NOT_PLAIN)
        for k in range(3):
            place = places[_AT_ENDPOINT + k]
            if place < 0 or is_empty(text, place):
                continue
            if byte(text, place) != QUOTE or jump[place] < 0:
                return np.int64(NOT_PLAIN)
            column = _SERVICE if k == 0 else _IP
            if items[r + column + 1] == 0:
                items[r + column], items[r + column + 1] = place + 1, np.int64(jump[place]) - place - 2
    return np.int64(0)


@bare
def _read_notes(text, jump, at, items, places):
    """Read annotations in order of time; how many, or `NOT_PLAIN`."""
    count, item = np.int64(0), first_item(text, at)
    while is_item(text, item):
        if count == _ITEMS or _read_item(text, jump, _NOTE, item, count, items, places) < 0:
            return np.int64(NOT_PLAIN)
        value, at_us = places[_AT_ITEM + 1], _time(text, places[_AT_ITEM])
        if at_us < 0 or (value >= 0 and byte(text, value) != QUOTE):
            return np.int64(NOT_PLAIN)
        event = match(text, jump, value, _EVENTS) if value >= 0 else np.int64(-1)
        items[count * 9 + _AT] = at_us
        items[count * 9 + _SAYS] = event if event < 0 else _CLIENT + event // 2 if event < 4 else event - 1
        row = count
        while row > 0 and items[(row - 1) * 9 + _AT] > at_us:  # the sort of few that mostly stand in order
            for k in range(9):
                here, before = items[row * 9 + k], items[(row - 1) * 9 + k]
                items[row * 9 + k], items[(row - 1) * 9 + k] = before, here
            row -= 1
        count += 1
        item = following(text, jump, item)
    return np.int64(NOT_PLAIN) if item == NOT_PLAIN else count


@bare
def _read_tags(text, jump, at, first, items, places):
    """Read binary annotations behind the others; how many items there are, or `NOT_PLAIN`."""
    count, item = np.int64(first), first_item(text, at)
    while is_item(text, item):
        if count == _ITEMS or _read_item(text, jump, _TAG, item, count, items, places) < 0:
            return np.int64(NOT_PLAIN)
        key, value = places[_AT_ITEM], places[_AT_ITEM + 1]
        if key < 0 or byte(text, key) != QUOTE or jump[key] < 0 or not _is_tag(text, value):
            return np.int64(NOT_PLAIN)
        r = count * 9
        items[r + _KEY], items[r + _SAYS] = key, -1
        if value >= 0:
            one, good = whole(text, value)
            digit = byte(text, value) != QUOTE and good and one == 1
            if byte(text, value) == T or digit or match(text, jump, value, _TRUE) == 0:
                items[r + _SAYS] = match(text, jump, key, _ADDRESSES)
        count += 1
        item = following(text, jump, item)
    return np.int64(NOT_PLAIN) if item == NOT_PLAIN else count


@bare
def _is_tag(text, at):
    """Whether a tag's value is a text, a truth, an integer of few digits or nothing."""
    if at < 0:
        return True
    c = byte(text, at)
    if c == QUOTE or c == T or c == F:
        return True
    if c == OPEN or c == OPEN_LIST or c == MINUS or is_fraction(text, at):
        return False
    value, good = whole(text, at)
    return good and value < np.uint64(1 << 62)


# -- sides --


@bare
def _new_side(kind, items, r, sides, count):
    s = count * _COLUMNS
    for k in range(_COLUMNS):
        sides[s + k] = 0
    sides[s + _KIND] = kind
    for k in range(_SERVICE, _IP_SIZE + 1):
        sides[s + k] = items[r + k]
    sides[s + _FIRST] = sides[s + _LAST] = 0
    return count + 1


@bare
def _side_of(text, items, r, sides, count):
    """The side at an item's endpoint; the first where it names none; -1 for a new one."""
    for side in range(count):
        s = side * _COLUMNS
        size, ip_size = items[r + _SERVICE_SIZE], items[r + _IP_SIZE]
        if sides[s + _SERVICE_SIZE] != size or sides[s + _IP_SIZE] != ip_size:
            continue
        if same(text, sides[s + _SERVICE], text, items[r + _SERVICE], size) and same(
            text, sides[s + _IP], text, items[r + _IP], ip_size
        ):
            return np.int64(side)
    return np.int64(0) if items[r + _SERVICE_SIZE] == 0 and count > 0 else np.int64(-1)


@bare
def _find_sides(text, jump, items, notes, count, sides):
    """The sides of a record, and whose each item is; how many, or `NOT_PLAIN`."""
    found = np.int64(0)
    for row in range(notes):
        kind = items[row * 9 + _SAYS]
        if kind < 0:
            continue
        side = np.int64(0)
        while side < found and sides[side * _COLUMNS + _KIND] != kind:
            side += 1
        if side == found:
            found = _new_side(kind, items, row * 9, sides, found)
            sides[side * _COLUMNS + _FIRST] = items[row * 9 + _AT]
        sides[side * _COLUMNS + _LAST] = items[row * 9 + _AT]
    for row in range(count):
        r = row * 9
        says = items[r + _SAYS]
        if row < notes and says >= 0:
            continue
        if row >= notes and says >= 0:
            _meet(items, r, says, sides, found)
            continue
        side = _side_of(text, items, r, sides, found)
        if side < 0:
            if found == _SIDES:
                return np.int64(NOT_PLAIN)
            side = found
            found = _new_side(_NONE, items, r, sides, found)
        items[r + _SIDE] = side
        if (
            row >= notes
            and match(text, jump, items[r + _KEY], _OF_COMPONENT) == 0
            and _is_nothing(text, items[r + _VALUE])
        ):
            items[r + _SIDE] = -1  # it only says where
    return found


@bare
def _is_nothing(text, at):
    if at < 0 or byte(text, at) == F or is_empty(text, at):
        return True
    value, good = whole(text, at)
    return byte(text, at) != QUOTE and good and value == 0


@bare
def _meet(items, r, says, sides, count):
    """Note the address of the other side with the sides that have it."""
    for side in range(count):
        s = side * _COLUMNS
        kind = sides[s + _KIND]
        if kind == says + 1 or (says == 2 and (kind == _NONE or kind == _CONSUMER)):
            sides[s + _PEER] = 1
            for k in range(4):
                sides[s + _REMOTE + k] = items[r + _SERVICE + k]


# -- writing --


@bare
def _put_endpoint(text, at, size, ip, ip_size, out, to):
    to = copy(text, at, size, out, to)
    if ip_size > 0:
        to = copy(text, ip, ip_size, out, _put(out, to, _IPV4))
    return _put(out, to, _CLOSED)


@bare
def _put_member(text, jump, at, name, begun, out, to):
    """Write a member that is there and holds something; whether one has been written."""
    if at < 0 or is_empty(text, at):
        return to, begun
    if begun:
        to = _put(out, to, _COMMA)
    to = _put(out, to, name)
    return copy(text, at, after(text, jump, at) - at, out, to), True


@bare
def _put_head(text, jump, side, sides, count, times, out, to, places):
    """Write what tells a side's record from others."""
    s = side * _COLUMNS
    to = _put(out, to, _BEGIN)
    begun = False
    to, begun = _put_member(text, jump, places[_TRACE], _MEMBER_TRACE, begun, out, to)
    to, begun = _put_member(text, jump, places[_ID], _MEMBER_ID, begun, out, to)
    to, begun = _put_member(text, jump, places[_PARENT], _MEMBER_PARENT, begun, out, to)
    to, begun = _put_member(text, jump, places[_NAME], _MEMBER_NAME, begun, out, to)
    kind = sides[s + _KIND]
    if kind == _CLIENT:
        to = _put(out, to, _KIND_CLIENT)
    elif kind == _SERVER:
        to = _put(out, to, _KIND_SERVER)
    elif kind == _PRODUCER:
        to = _put(out, to, _KIND_PRODUCER)
    elif kind == _CONSUMER:
        to = _put(out, to, _KIND_CONSUMER)
    if (kind == _SERVER or kind == _CONSUMER) and count > 1:
        to = _put(out, to, _MEMBER_SHARED)
    if times[0] > 0:
        to = _put_whole(out, _put(out, to, _MEMBER_START), times[0])
    if times[1] > 0:
        to = _put_whole(out, _put(out, to, _MEMBER_DURATION), times[1])
    to = _put(out, to, _LOCAL)
    to = _put_endpoint(
        text, sides[s + _SERVICE], sides[s + _SERVICE_SIZE], sides[s + _IP], sides[s + _IP_SIZE], out, to
    )
    if sides[s + _PEER] > 0:
        to = _put(out, to, _OTHER)
        to = _put_endpoint(
            text, sides[s + _REMOTE], sides[s + _REMOTE_SIZE], sides[s + _REMOTE_IP],
            sides[s + _REMOTE_IP_SIZE], out, to,
        )  # fmt: skip
    return to


@bare
def _put_notes(text, jump, side, items, notes, out, to):
    """Write a side's annotations."""
    begun = False
    for row in range(notes):
        r = row * 9
        if items[r + _SIDE] != side:
            continue
        to = _put(out, to, _COMMA if begun else _LIST_OF_NOTES)
        begun = True
        to = _put_whole(out, _put(out, to, _AT_TIME), items[r + _AT])
        value = items[r + _VALUE]
        if value >= 0:
            to = _put(out, to, _VALUED)
            to = copy(text, value, after(text, jump, value) - value, out, to)
        to = _put(out, to, _END)
    return _put(out, to, _END_LIST) if begun else to


@bare
def _is_key(text, jump, items, r, other):
    size = np.int64(jump[items[r + _KEY]]) - items[r + _KEY]
    if np.int64(jump[items[other + _KEY]]) - items[other + _KEY] != size:
        return False
    return same(text, items[r + _KEY], text, items[other + _KEY], size)


@bare
def _put_tags(text, jump, side, items, notes, count, out, to):
    """Write a side's tags, each where its key comes first and with the value that comes last."""
    begun = False
    for row in range(notes, count):
        r = row * 9
        if items[r + _SIDE] != side:
            continue
        value, earlier = items[r + _VALUE], False
        for other in range(notes, count):
            o = other * 9
            if other != row and items[o + _SIDE] == side and _is_key(text, jump, items, r, o):
                if other < row:
                    earlier = True
                    break
                value = items[o + _VALUE]
        if earlier:
            continue
        to = _put(out, to, _COMMA if begun else _OBJECT_OF_TAGS)
        begun = True
        key = items[r + _KEY]
        to = _put(out, copy(text, key, np.int64(jump[key]) - key, out, to), _COLON)
        to = _put_value(text, jump, value, out, to)
    return _put(out, to, _END_OBJECT) if begun else to


@bare
def _put_value(text, jump, at, out, to):
    """Write a tag's value as a text."""
    if at < 0:
        return _put(out, to, _QUOTED_NOTHING)
    c = byte(text, at)
    if c == QUOTE:
        return copy(text, at, after(text, jump, at) - at, out, to)
    if c == T:
        return _put(out, to, _SAID_TRUE)
    if c == F:
        return _put(out, to, _SAID_FALSE)
    value, _ = whole(text, at)
    return _put(out, _put_whole(out, _put(out, to, _MARK), np.int64(value)), _MARK)


@bare
def _leads(sides, count):
    """The side whose times the record's are: a sender, else one of a kind, else the first."""
    best, found = np.int64(3), np.int64(0)
    for side in range(count):
        kind = sides[side * _COLUMNS + _KIND]
        rank = 0 if kind == _CLIENT or kind == _PRODUCER else 2 if kind == _NONE else 1
        if rank < best:
            best, found = np.int64(rank), np.int64(side)
    return found


@bare
def _put_times(side, leads, start, duration, sides, items, notes, times):
    """Start and duration of a side, 0 for none."""
    s = side * _COLUMNS
    times[0], times[1] = sides[s + _FIRST], 0
    if leads and start > 0:
        times[0] = start
    if leads and duration > 0:
        times[1] = duration
    elif sides[s + _LAST] > times[0]:
        times[1] = sides[s + _LAST] - times[0]
    if times[0] == 0:
        for row in range(notes):  # in order of time
            if items[row * 9 + _SIDE] == side:
                times[0] = items[row * 9 + _AT]
                break


@bare
def _rewrite(text, jump, at, items, sides, times, out, to, places):
    """Write the records of a record of version 1; `NOT_PLAIN` for what is none, or not plain."""
    if byte(text, at) != OPEN or find(text, jump, at, _RECORD, places, _AT_RECORD) < 0:
        return np.int64(NOT_PLAIN)
    if places[_TAGS] == ABSENT and not _has_endpoints(text, jump, places):
        return np.int64(NOT_PLAIN)
    for k in range(_NAME + 1):
        if places[k] >= 0 and byte(text, places[k]) != QUOTE:
            return np.int64(NOT_PLAIN)
    start, duration = _time(text, places[_START]), _time(text, places[_DURATION])
    notes = _read_notes(text, jump, places[_NOTES], items, places)
    count = _read_tags(text, jump, places[_TAGS], notes, items, places) if notes >= 0 else notes
    if start < 0 or duration < 0 or count < 0 or places[_TRACE] < 0 or is_empty(text, places[_TRACE]):
        return np.int64(NOT_PLAIN)
    found = _find_sides(text, jump, items, notes, count, sides)
    if found == 0:
        items[_SERVICE] = items[_SERVICE_SIZE] = items[_IP] = items[_IP_SIZE] = 0
        notes = count = np.int64(0)
        found = _new_side(_NONE, items, 0, sides, np.int64(0))
    size = after(text, jump, at) - at
    if found < 0 or to + (found + 1) * (size + _AROUND) + count * 40 > len(out):
        return np.int64(NOT_PLAIN)
    first = _leads(sides, found)
    for side in range(found):
        if side > 0:
            to = _put(out, to, _COMMA)
        _put_times(side, side == first, start, duration, sides, items, notes, times)
        to = _put_head(text, jump, side, sides, found, times, out, to, places)
        to = _put_notes(text, jump, side, items, notes, out, to)
        to = _put(out, _put_tags(text, jump, side, items, notes, count, out, to), _END)
    return to


@bare
def _has_endpoints(text, jump, places):
    """Whether an annotation names its endpoint, as those of version 1 do."""
    item = first_item(text, places[_NOTES])
    while is_item(text, item):
        if byte(text, item) == OPEN:
            if find(text, jump, item, _NOTE, places, _AT_ITEM) < 0:
                return False
            if places[_AT_ITEM + 2] != ABSENT:
                return True
        item = following(text, jump, item)
    return False


@bare
def _records(text, jump, at, room, out, to, places):
    """Write the records of a list, or one that stands alone; -1 where there is no room."""
    items, sides, times = room.items, room.sides, room.times
    listed = byte(text, at) == OPEN_LIST
    if listed:
        out[to] = OPEN_LIST
        to += 1
    item, begun = gap(text, at + 1) if listed else at, False
    while is_item(text, item):
        if begun:
            to = _put(out, to, _COMMA)
        begun = True
        end = _rewrite(text, jump, item, items, sides, times, out, to, places)
        if end < 0:
            size = after(text, jump, item) - item
            if to + size + 16 > len(out):
                return np.int64(-1)
            end = copy(text, item, size, out, to)
        to = end
        if not listed:
            return to
        item = following(text, jump, item)
    return _put(out, to, _END_LIST)


@kernel
def _rewritten(text, jump, opened, room, out, places):
    end = len(text) - SLACK
    at = space(text, np.int64(0), end)
    past = checked(text, jump, at, end, opened)
    if past < 0 or space(text, past, end) != end:
        return np.int64(-1)
    if byte(text, at) == OPEN:  # it may become several
        out[0] = OPEN_LIST
        to = _records(text, jump, at, room, out, np.int64(1), places)
        return to if to < 0 else _put(out, to, _END_LIST)
    if byte(text, at) != OPEN_LIST:
        return np.int64(-1)
    item = gap(text, at + 1)
    if byte(text, item) != OPEN_LIST:
        return _records(text, jump, at, room, out, np.int64(0), places)
    out[0] = OPEN_LIST
    to, begun = np.int64(1), False
    while is_item(text, item):
        if byte(text, item) != OPEN_LIST:
            return np.int64(-1)
        if begun:
            to = _put(out, to, _COMMA)
        begun = True
        to = _records(text, jump, item, room, out, to, places)
        if to < 0:
            return to
        item = following(text, jump, item)
    return _put(out, to, _END_LIST)


def rewrite(text: bytes, jump: np.ndarray) -> bytes:
    """The same records, those of version 1 as ones of version 2 as far as they are plain.

    Parameters
    ----------
    text
        A document in UTF-8: a record, a list of records, a list of such.
    jump
        Room for as many numbers as the text has bytes.
    """
    if len(text) > LARGEST or (b'"binaryAnnotations"' not in text and b'"endpoint"' not in text):
        return text
    padded = np.frombuffer(text + bytes(SLACK), np.uint8)
    out = np.empty(4 * len(text) + 4096, np.uint8)
    room = Room(*(np.empty(size, np.int64) for size in (_ITEMS * 9, _SIDES * _COLUMNS, 2)))
    end = _rewritten(padded, jump, np.empty(DEEPEST, np.int64), room, out, np.empty(_PLACES, np.int64))
    return out[:end].tobytes() if end >= 0 else text
