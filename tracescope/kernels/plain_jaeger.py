"""Jaeger JSON to OTLP protobuf, for traces as Jaeger's API, UI and storage write them.

A trace that is not plain is left to the slow way, `tracescope.ingest.jaeger`, which also says what every
field means; the spans are the same either way.
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
    Groups,
    begin_span,
    end_span,
    find_group,
    jumps,
    undo_unit,
)
from tracescope.kernels.json_text import (
    ABSENT,
    CLOSE,
    CLOSE_LIST,
    DEEPEST,
    LARGEST,
    NOT_PLAIN,
    NULL,
    OPEN,
    OPEN_LIST,
    QUOTE,
    F,
    T,
    after,
    checked,
    checked_number,
    close,
    find,
    first_item,
    following,
    gap,
    hex_digit,
    is_empty,
    is_fraction,
    is_item,
    is_utf8,
    match,
    note_double,
    put_fixed,
    put_hex,
    space,
    string,
    text_field,
    whole,
    whole_value,
    words,
)
from tracescope.kernels.octets import SLACK, byte, same

_UNIT = words("spans", "processes", "traceID", "spanID", "_source", "data", "hits")
_SPAN = words(
    "traceID", "spanID", "operationName", "references", "startTime", "duration", "tags", "logs", "processID",
    "process", "parentSpanID", "tag",
)  # fmt: skip
_TRACE, _ID, _NAME, _REFERENCES, _START, _DURATION, _TAGS, _LOGS, _PROCESS_ID, _PROCESS, _PARENT, _FLAT = (
    range(12)
)
_REFERENCE = words("refType", "traceID", "spanID")
_TAG = words("key", "type", "value")
_LOG = words("timestamp", "fields")
_OF_PROCESS = words("serviceName", "tags", "tag")
#: Types of tags, and the number that stands for none.
_TYPES = words("string", "bool", "int64", "float64")
_STRING, _BOOL, _INT, _FLOAT, _UNTYPED = range(5)
_CHILD_OF = words("CHILD_OF")
_BOOLEANS = words("false", "true")
_CODES = words("OK", "ERROR")
_EVENT = words("event")
_KINDS = words("", "internal", "server", "client", "producer", "consumer")
_CONSUMER = 5
#: Tags that stand for something; what they say is noted from `_AT_SAID` on.
_KEYS = words("span.kind", "error", "otel.status_code", "otel.status_description", "w3c.tracestate")
_KIND, _ERROR, _CODE, _MESSAGE, _STATE = range(5)
#: The same as Elasticsearch's maps of tags have them.
_FLAT_KEYS = words("span@kind", "error", "otel@status_code", "otel@status_description", "w3c@tracestate")
_AT_SIGN, _DOT, _N = ord("@"), ord("."), ord("n")

_AT_SPAN, _AT_REFERENCE, _AT_TAG, _AT_LOG, _AT_PROCESS, _AT_SAID, _AT_UNIT, _AT_NOTES = (
    0, 12, 15, 18, 20, 23, 28, 35,
)  # fmt: skip
#: Tags of a span whose places are noted when they are first looked at; of more they are found again.
_NOTED = 64
#: Of a noted tag: where key, type and value stand, what it stands for, and how it stands.
_N_SAID, _N_FORM, _NOTE = 3, 4, 5
#: How tags stand: in a list (or as members of an object), or as members with dots written as ``@``.
_LISTED, _MAPPED = 0, 1
#: Fields that hold attributes.
_OF_SPAN, _OF_RESOURCE, _OF_EVENT = 0x4A, 0x0A, 0x1A
_PLACES = _AT_NOTES + 1 + _NOTED * _NOTE
_SERVICE_NAME = np.frombuffer(b"\x0a\x0cservice.name\x12", np.uint8)
LATEST_US = np.uint64((2**63 - 1) // 1000)
#: Processes of a trace that are looked through for a name.
_PROCESSES = 1024


# -- ids and times --


@bare
def put_id(text, jump, at, tag, size, out, to):
    """Write a hex id of up to `size` bytes, leading zeros left out, as a field."""
    if at < 0 or byte(text, at) != QUOTE:
        return np.int64(NOT_PLAIN)
    count = np.int64(jump[at]) - at - 2
    if count < 1 or count > 2 * size:
        return np.int64(NOT_PLAIN)
    out[to] = tag
    out[to + 1] = size
    to += 2
    if count == 2 * size:  # nearly all
        return to + size if put_hex(text, at + 1, size, out, to) else np.int64(NOT_PLAIN)
    for k in range(size):
        out[to + k] = 0
    for k in range(count):
        digit = hex_digit(byte(text, at + count - k))
        if digit < 0:
            return np.int64(NOT_PLAIN)
        out[to + size - 1 - (k >> 1)] |= digit << 4 * (k & 1)
    return to + size


@bare
def put_times(text, start, duration, out, to):
    """Write start and end of a span, given in microseconds, as fields; zeros as nothing."""
    begin, good = whole(text, start)
    span, also_good = np.uint64(0), True
    if duration >= 0:
        span, also_good = whole(text, duration)
    if not (good and also_good) or begin > LATEST_US or span > LATEST_US - begin:
        return np.int64(NOT_PLAIN)
    if begin > 0:
        out[to] = 0x39
        to = put_fixed(out, to + 1, begin * np.uint64(1000))
    if begin + span > 0:
        out[to] = 0x41
        to = put_fixed(out, to + 1, (begin + span) * np.uint64(1000))
    return to


@bare
def put_micros(text, at, tag, out, to):
    """Write a time given in microseconds as a field; none and zero as nothing."""
    if at < 0:
        return to
    value, good = whole(text, at)
    if not good or value > LATEST_US:
        return np.int64(NOT_PLAIN)
    if value == 0:
        return to
    out[to] = tag
    return put_fixed(out, to + 1, value * np.uint64(1000))


# -- tags --


@bare
def put_text(text, jump, at, out, to, doubles):
    """Write a string as what an AnyValue holds."""
    out[to] = 0x0A
    end = string(text, jump, at, out, to + 2)
    return end if end < 0 else close(out, to + 1, end, doubles)


@inlined
def _put_bool(out, to, value):
    out[to], out[to + 1] = 0x10, value
    return to + 2


@bare
def _value(text, jump, kind, at, out, to, doubles):
    """Write what an AnyValue of a tag holds; what does not fit its type is not plain."""
    if at < 0:
        return to
    c = byte(text, at)
    if c == T or c == F:
        return _put_bool(out, to, c == T)
    if c == QUOTE:
        if kind == _BOOL:
            word = match(text, jump, at, _BOOLEANS)
            return np.int64(NOT_PLAIN) if word < 0 else _put_bool(out, to, word)
        if kind == _INT:
            return whole_value(text, at, out, to)
        if kind == _FLOAT:
            end = np.int64(jump[at]) - 1
            if end < 0 or checked_number(text, at + 1, end) != end:
                return np.int64(NOT_PLAIN)
            end = note_double(text, jump, at + 1, out, to, doubles)
            doubles[doubles[0, 0], 2] = np.int64(jump[at]) - 1
            return end
        return put_text(text, jump, at, out, to, doubles)
    if c == OPEN or c == OPEN_LIST:
        return np.int64(NOT_PLAIN)
    if kind == _FLOAT or (kind != _INT and is_fraction(text, at)):
        return note_double(text, jump, at, out, to, doubles)
    return whole_value(text, at, out, to)


@bare
def _tag(text, jump, out, to, doubles, places, tag, form):
    """Write the tag that has been found as a field; a map's has dots written as ``@``."""
    if places[_AT_TAG] < 0:
        return np.int64(NOT_PLAIN)
    kind = np.int64(_UNTYPED)
    if places[_AT_TAG + 1] >= 0 and not is_empty(text, places[_AT_TAG + 1]):
        kind = match(text, jump, places[_AT_TAG + 1], _TYPES)
        if kind < 0:
            return np.int64(NOT_PLAIN)
    out[to] = tag
    begin = to + 1
    key = to + 2
    to = text_field(text, jump, places[_AT_TAG], 0x0A, out, key, doubles)
    if to < 0:
        return to
    if form == _MAPPED:
        for k in range(key, to):
            if out[k] == _AT_SIGN:
                out[k] = _DOT
    out[to] = 0x12
    end = _value(text, jump, kind, places[_AT_TAG + 2], out, to + 2, doubles)
    if end < 0:
        return end
    return close(out, begin, close(out, to + 1, end, doubles), doubles)


@bare
def _first_tag(text, at, form):
    """The first of tags in a list, or of those that are an object's members; as `first_item` otherwise."""
    if at < 0 or (form == _MAPPED and is_empty(text, at)):
        return np.int64(NULL)
    if byte(text, at) == OPEN or (byte(text, at) == OPEN_LIST and form == _LISTED):
        return gap(text, at + 1)
    return np.int64(NOT_PLAIN)


@inlined
def _is_tag(text, item):
    """Whether a tag stands at `item`, and not the end of all."""
    return item >= 0 and byte(text, item) != CLOSE_LIST and byte(text, item) != CLOSE


@bare
def _find_tag(text, jump, at, item, places):
    """Note where key, type and value of a tag of `at` stand; where it ends begins, or `NOT_PLAIN`."""
    if byte(text, at) == OPEN_LIST:
        if find(text, jump, item, _TAG, places, _AT_TAG) < 0 or places[_AT_TAG] < 0:
            return np.int64(NOT_PLAIN)
        return item
    value = gap(text, gap(text, abs(np.int64(jump[item]))) + 1)
    places[_AT_TAG], places[_AT_TAG + 1] = item, ABSENT
    places[_AT_TAG + 2] = NULL if byte(text, value) == _N else value
    return value


@bare
def _said(text, jump, form, places):
    """Which of the tags that stand for something a tag is; -1 for none."""
    if form == _MAPPED:
        return match(text, jump, places[_AT_TAG], _FLAT_KEYS)
    return match(text, jump, places[_AT_TAG], _KEYS)


@bare
def _note_said(text, jump, at, form, places):
    """Note where tags stand, and what those say that stand for something; `NOT_PLAIN` if unclear."""
    item = _first_tag(text, at, form)
    while _is_tag(text, item):
        item = _find_tag(text, jump, at, item, places)
        if item < 0:
            return item
        said = _said(text, jump, form, places)
        value = places[_AT_TAG + 2]
        if said == _KIND:
            if places[_AT_SAID] == ABSENT:
                places[_AT_SAID] = match(text, jump, value, _KINDS) if value >= 0 else np.int64(-1)
                if places[_AT_SAID] < 0:
                    return np.int64(NOT_PLAIN)
        elif said >= 0:
            if value < 0 or (said != _ERROR and byte(text, value) != QUOTE):
                return np.int64(NOT_PLAIN)
            places[_AT_SAID + said] = value
        _note(places, said, form)
        item = following(text, jump, item)
    return item if item == NOT_PLAIN else np.int64(0)


@inlined
def _note(places, said, form):
    """Note the tag that has been found, where there is room."""
    number = places[_AT_NOTES]
    places[_AT_NOTES] = number + 1
    if number < _NOTED:
        at = _AT_NOTES + 1 + number * _NOTE
        for k in range(_N_SAID):
            places[at + k] = places[_AT_TAG + k]
        places[at + _N_SAID], places[at + _N_FORM] = said, form


@bare
def _noted_attributes(text, jump, tags, flat, out, to, doubles, places):
    """Write a span's tags, which have been noted, as fields."""
    if places[_AT_NOTES] > _NOTED:
        to = _attributes(text, jump, tags, _LISTED, _OF_SPAN, out, to, doubles, places)
        return to if to < 0 else _attributes(text, jump, flat, _MAPPED, _OF_SPAN, out, to, doubles, places)
    for number in range(places[_AT_NOTES]):
        at = _AT_NOTES + 1 + number * _NOTE
        if places[at + _N_SAID] != _KIND:
            for k in range(_N_SAID):
                places[_AT_TAG + k] = places[at + k]
            to = _tag(text, jump, out, to, doubles, places, np.int64(_OF_SPAN), places[at + _N_FORM])
            if to < 0:
                return to
    return to


@bare
def _attributes(text, jump, at, form, tag, out, to, doubles, places):
    """Write tags as fields, the span's kind excepted."""
    item = _first_tag(text, at, form)
    while _is_tag(text, item):
        item = _find_tag(text, jump, at, item, places)
        if item < 0:
            return item
        if tag != _OF_SPAN or _said(text, jump, form, places) != _KIND:
            to = _tag(text, jump, out, to, doubles, places, tag, form)
            if to < 0:
                return to
        item = following(text, jump, item)
    return item if item == NOT_PLAIN else to


# -- spans --


@bare
def _read_reference(text, jump, item, trace, out, to, places):
    """Write a link of a reference; whether it is of the same trace, and whether it is a child's."""
    if find(text, jump, item, _REFERENCE, places, _AT_REFERENCE) < 0 or places[_AT_REFERENCE] < 0:
        return np.int64(NOT_PLAIN), False, False
    place = places[_AT_REFERENCE + 1]
    if place < 0 or is_empty(text, place):
        place = trace
    out[to] = 0x6A
    end = put_id(text, jump, place, 0x0A, 16, out, to + 2)
    if end >= 0:
        end = put_id(text, jump, places[_AT_REFERENCE + 2], 0x12, 8, out, end)
    if end < 0:
        return end, False, False
    out[to + 1] = end - to - 2
    return end, True, match(text, jump, places[_AT_REFERENCE], _CHILD_OF) == 0


@bare
def _is_plain_parent(text, jump, item, trace, places):
    """Whether a reference, which is found, names a parent by the very text of the span's trace id."""
    if find(text, jump, item, _REFERENCE, places, _AT_REFERENCE) < 0 or places[_AT_REFERENCE] < 0:
        return False
    place = places[_AT_REFERENCE + 1]
    if place < 0 or byte(text, place) != QUOTE or jump[place] - place != jump[trace] - trace:
        return False
    size = np.int64(jump[trace]) - trace - 2
    return (
        size > 0
        and same(text, place + 1, text, trace + 1, size)
        and match(text, jump, places[_AT_REFERENCE], _CHILD_OF) == 0
    )


@bare
def _parent(text, jump, trace, trace_at, out, to, places):
    """Write the parent's id as a field; where it is, and number of the reference that names it, -1 for none.

    `trace_at` is where the span's trace id has been written.
    """
    item = first_item(text, places[_AT_SPAN + _REFERENCES])
    if is_item(text, item) and _is_plain_parent(text, jump, item, trace, places):
        return put_id(text, jump, places[_AT_REFERENCE + 2], 0x22, 8, out, to), np.int64(0)
    number, first, links = np.int64(0), np.int64(-1), np.int64(0)
    while is_item(text, item):
        _, good, child = _read_reference(text, jump, item, trace, out, to, places)
        if not good:
            return np.int64(NOT_PLAIN), number
        here = same(out, to + 4, out, trace_at, 16)
        if here and (child or (number == 0 and places[_AT_SAID + _KIND] != _CONSUMER)):
            if child:
                first = number
                break
            first = np.int64(-2)  # FOLLOWS_FROM, unless a parent is named
        links += 1
        number += 1
        item = following(text, jump, item)
    if item == NOT_PLAIN:
        return item, number
    if first == -2:
        first = np.int64(0)
        item = first_item(text, places[_AT_SPAN + _REFERENCES])
        _read_reference(text, jump, item, trace, out, to, places)
    if first >= 0:
        out[to], out[to + 1] = 0x22, 8
        for k in range(8):
            out[to + 2 + k] = out[to + 22 + k]
        return to + 10, first
    old = places[_AT_SPAN + _PARENT]
    if old >= 0 and not is_empty(text, old):
        return put_id(text, jump, old, 0x22, 8, out, to), first
    return to, first


@bare
def _links(text, jump, trace, parent, out, to, places):
    """Write references as fields, but for the one that names the parent."""
    item = first_item(text, places[_AT_SPAN + _REFERENCES])
    number = np.int64(0)
    while is_item(text, item):
        if number != parent:
            to, good, _ = _read_reference(text, jump, item, trace, out, to, places)
            if not good:
                return np.int64(NOT_PLAIN)
        number += 1
        item = following(text, jump, item)
    return to


@bare
def _event(text, jump, at, out, to, doubles, places):
    """Write a log's fields: the first field `event` that is a text is the name."""
    if find(text, jump, at, _LOG, places, _AT_LOG) < 0:
        return np.int64(NOT_PLAIN)
    to = put_micros(text, places[_AT_LOG], 0x09, out, to)
    if to < 0:
        return to
    fields, name = first_item(text, places[_AT_LOG + 1]), np.int64(-1)
    item = fields
    while is_item(text, item) and name < 0:
        if find(text, jump, item, _TAG, places, _AT_TAG) < 0 or places[_AT_TAG] < 0:
            return np.int64(NOT_PLAIN)
        value_at = places[_AT_TAG + 2]
        if (
            match(text, jump, places[_AT_TAG], _EVENT) == 0
            and value_at >= 0
            and byte(text, value_at) == QUOTE
        ):
            name = item
            to = text_field(text, jump, value_at, 0x12, out, to, doubles)
            if to < 0:
                return to
        item = following(text, jump, item)
    item = fields
    while is_item(text, item):
        if item != name:
            if find(text, jump, item, _TAG, places, _AT_TAG) < 0:
                return np.int64(NOT_PLAIN)
            to = _tag(text, jump, out, to, doubles, places, _OF_EVENT, _LISTED)
            if to < 0:
                return to
        item = following(text, jump, item)
    return item if item == NOT_PLAIN else to


@bare
def _status(text, jump, out, to, doubles, places):
    """Write what the tags say of success as a field; nothing where they say nothing."""
    code = np.int64(0)
    if places[_AT_SAID + _CODE] >= 0:
        code = match(text, jump, places[_AT_SAID + _CODE], _CODES) + 1
    error = places[_AT_SAID + _ERROR]
    if error >= 0:
        c = byte(text, error)
        if c != T and c != F and c != QUOTE:
            return np.int64(NOT_PLAIN)
        if c == T or match(text, jump, error, _BOOLEANS) == 1:
            code = np.int64(2)
    if code == 0:
        return to
    out[to] = 0x7A
    end = text_field(text, jump, places[_AT_SAID + _MESSAGE], 0x12, out, to + 2, doubles)
    if end < 0:
        return end
    out[end], out[end + 1] = 0x18, code
    return close(out, to + 1, end + 2, doubles)


@bare
def _head(text, jump, trace, out, to, doubles, places):
    """Write the fields of a span up to its times; number of the reference that names its parent."""
    own = to + 2
    to = put_id(text, jump, trace, 0x0A, 16, out, to)
    if to >= 0:
        to = put_id(text, jump, places[_AT_SPAN + _ID], 0x12, 8, out, to)
    if to >= 0:
        to = text_field(text, jump, places[_AT_SAID + _STATE], 0x1A, out, to, doubles)
    if to < 0:
        return to, np.int64(0)
    to, parent = _parent(text, jump, trace, own, out, to, places)
    if to >= 0:
        to = text_field(text, jump, places[_AT_SPAN + _NAME], 0x2A, out, to, doubles)
    if to >= 0:
        if places[_AT_SAID + _KIND] > 0:
            out[to], out[to + 1] = 0x30, places[_AT_SAID + _KIND]
            to += 2
        to = put_times(text, places[_AT_SPAN + _START], places[_AT_SPAN + _DURATION], out, to)
    return to, parent


@bare
def _span(text, jump, trace, out, to, doubles, places):
    """Write the fields of the span whose members have been found."""
    if places[_AT_SPAN + _TRACE] >= 0:
        trace = places[_AT_SPAN + _TRACE]
    if places[_AT_SPAN + _TRACE] == NULL or places[_AT_SPAN + _START] < 0:
        return np.int64(NOT_PLAIN)
    tags, flat = places[_AT_SPAN + _TAGS], places[_AT_SPAN + _FLAT]
    places[_AT_NOTES] = 0
    for k in range(len(_KEYS)):
        places[_AT_SAID + k] = ABSENT
    if _note_said(text, jump, tags, _LISTED, places) < 0 or _note_said(text, jump, flat, _MAPPED, places) < 0:
        return np.int64(NOT_PLAIN)
    to, parent = _head(text, jump, trace, out, to, doubles, places)
    if to >= 0:
        to = _noted_attributes(text, jump, tags, flat, out, to, doubles, places)
    if to < 0:
        return to
    item = first_item(text, places[_AT_SPAN + _LOGS])
    while is_item(text, item):
        out[to] = 0x5A
        end = _event(text, jump, item, out, to + 2, doubles, places)
        if end < 0:
            return end
        to = close(out, to + 1, end, doubles)
        item = following(text, jump, item)
    if item == NOT_PLAIN:
        return item
    to = _links(text, jump, trace, parent, out, to, places)
    return to if to < 0 else _status(text, jump, out, to, doubles, places)


# -- processes and traces --


@bare
def _process_of(text, jump, processes, at, size):
    """Where a trace's process of a name stands; `NULL` for none, `NOT_PLAIN` where that is not clear."""
    if processes < 0:
        return np.int64(NULL)
    if byte(text, processes) != OPEN:
        return np.int64(NOT_PLAIN)
    item = gap(text, processes + 1)
    for _ in range(_PROCESSES):
        if byte(text, item) != QUOTE:
            return np.int64(NULL)
        end = np.int64(jump[item])
        value = gap(text, gap(text, abs(end)) + 1)
        if end < 0:
            return np.int64(NOT_PLAIN)
        if end - 2 - item == size and same(text, item + 1, text, at, size):
            return value
        item = following(text, jump, value)
    return np.int64(NOT_PLAIN)


@bare
def _resource(text, jump, at, sink, places):
    """Write the resource of a process aside; `NOT_PLAIN` where it is not."""
    out, doubles = sink.aside, sink.doubles
    to = sink.counts[N_ASIDE]
    noted = doubles[0, 0]
    out[to] = 0x0A
    end = to + 2
    name = np.int64(NULL)
    if at >= 0:
        if find(text, jump, at, _OF_PROCESS, places, _AT_PROCESS) < 0:
            return np.int64(NOT_PLAIN)
        name, tags, flat = places[_AT_PROCESS], places[_AT_PROCESS + 1], places[_AT_PROCESS + 2]
        end = _attributes(text, jump, tags, _LISTED, _OF_RESOURCE, out, end, doubles, places)
        if end >= 0:
            end = _attributes(text, jump, flat, _MAPPED, _OF_RESOURCE, out, end, doubles, places)
        if end < 0:
            return end
    out[end] = 0x0A
    begin = end + 1
    end += 2
    for k in range(len(_SERVICE_NAME)):
        out[end + k] = _SERVICE_NAME[k]
    end += len(_SERVICE_NAME)
    value = end
    out[value + 1], out[value + 2] = 0x0A, 0
    end = value + 3
    if name >= 0:
        end = put_text(text, jump, name, out, value + 1, doubles)
        if end < 0:
            return end
    end = close(out, begin, close(out, value, end, doubles), doubles)
    if doubles[0, 0] != noted:  # they would have to be followed to where the resource goes
        doubles[0, 0] = noted
        return np.int64(NOT_PLAIN)
    sink.counts[N_ASIDE] = close(out, to + 1, end, doubles)
    return np.int64(0)


@bare
def _group_of(text, jump, owner, processes, sink, places):
    """Number of the group of the span whose members have been found."""
    own, name = places[_AT_SPAN + _PROCESS], places[_AT_SPAN + _PROCESS_ID]
    if own >= 0 and not is_empty(text, own):
        if byte(text, own) != OPEN:
            return np.int64(NOT_PLAIN)
        at, size, owner = own, after(text, jump, own) - own, np.int64(-1)
    elif name >= 0:
        if byte(text, name) != QUOTE or jump[name] < 0:
            return np.int64(NOT_PLAIN)
        at, size = name + 1, np.int64(jump[name]) - name - 2
        own = np.int64(NULL)
    else:
        at, size, own = np.int64(0), np.int64(0), np.int64(NULL)
    group, new = find_group(text, at, size, owner, sink)
    if new:
        if own < 0 and size > 0:
            own = _process_of(text, jump, processes, at, size)
        if own == NOT_PLAIN or _resource(text, jump, own, sink, places) < 0:
            sink.groups[group, G_END] = -1
        else:
            sink.groups[group, G_END] = sink.counts[N_ASIDE]
    return group if sink.groups[group, G_END] >= 0 else np.int64(NOT_PLAIN)


@bare
def _add(text, jump, at, trace, owner, processes, sink, places):
    """Write a span; 0, or `NOT_PLAIN`."""
    if find(text, jump, at, _SPAN, places, _AT_SPAN) < 0:
        return np.int64(NOT_PLAIN)
    group = _group_of(text, jump, owner, processes, sink, places)
    if group < 0:
        return group
    to = begin_span(sink)
    end = _span(text, jump, trace, sink.out, to, sink.doubles, places)
    if end < 0:
        return end
    end_span(sink, close(sink.out, to - 1, end, sink.doubles), group)
    return np.int64(0)


@bare
def _unit(text, jump, at, sink, places):
    """Write a trace, or a span that stands alone: all of it or nothing."""
    counts = sink.counts
    spans, doubles, to = counts[N_SPANS], sink.doubles[0, 0], counts[N_OUT]
    item, trace = places[_AT_UNIT], places[_AT_UNIT + 2]
    good = np.int64(0)
    if item < 0:
        good = _add(text, jump, at, np.int64(NULL), at, np.int64(NULL), sink, places)
    else:
        processes = places[_AT_UNIT + 1]
        item = first_item(text, item)
        while is_item(text, item) and good >= 0:
            good = _add(text, jump, item, trace, at, processes, sink, places)
            item = following(text, jump, item)
        if item == NOT_PLAIN:
            good = item
    if good < 0:
        undo_unit(sink, spans, doubles, to, at, after(text, jump, at))


@bare
def _unwrapped(text, jump, at, places):
    """Where the list, trace or span in some wrappers stands."""
    for _ in range(DEEPEST):
        if byte(text, at) == OPEN_LIST:
            return at
        if find(text, jump, at, _UNIT, places, _AT_UNIT) < 0:
            break
        if places[_AT_UNIT] >= 0 or places[_AT_UNIT + 3] >= 0:
            return at
        inner = max(places[_AT_UNIT + 4], places[_AT_UNIT + 5], places[_AT_UNIT + 6])
        if inner < 0:
            break
        at = inner
    return np.int64(NOT_PLAIN)


@bare
def _list(text, jump, at, sink, places):
    """Write the traces and spans of a list; 0, or `NOT_PLAIN` where something else stands in it."""
    item = gap(text, at + 1)
    while is_item(text, item):
        unit = _unwrapped(text, jump, item, places)
        if unit < 0 or byte(text, unit) != OPEN:
            return np.int64(NOT_PLAIN)
        _unit(text, jump, unit, sink, places)
        item = following(text, jump, item)
    return np.int64(0)


@bare
def _document(text, jump, at, sink, places):
    """Write what a document or a list of them holds; 0, or `NOT_PLAIN` for none of Jaeger's."""
    at = _unwrapped(text, jump, at, places)
    if at < 0:
        return at
    if byte(text, at) == OPEN:
        _unit(text, jump, at, sink, places)
        return np.int64(0)
    item = gap(text, at + 1)
    good = np.int64(0)
    while is_item(text, item) and good >= 0:
        unit = _unwrapped(text, jump, item, places)
        if unit < 0:
            return unit
        if byte(text, unit) == OPEN:
            _unit(text, jump, unit, sink, places)
        else:
            good = _list(text, jump, unit, sink, places)
        item = following(text, jump, item)
    return good


@kernel
def _written(text, jump, opened, sink, places):
    end = len(text) - SLACK
    begin = space(text, np.int64(0), end)
    past = checked(text, jump, begin, end, opened)
    if past < 0 or space(text, past, end) != end:
        return False
    return _document(text, jump, begin, sink, places) >= 0


def transcode(text: bytes) -> tuple[bytes, list[bytes]] | None:
    """ExportTraceServiceRequest bytes of Jaeger JSON, and its traces that are not plain; None for neither.

    Parameters
    ----------
    text
        A document in UTF-8: traces or spans, alone, in a list or in an answer.
    """
    if len(text) > LARGEST or not is_utf8(text):  # strings are copied as they are
        return None
    sink = Groups.of(len(text))
    padded = np.frombuffer(text + bytes(SLACK), np.uint8)
    jump = jumps(len(text))
    opened, places = np.empty(DEEPEST, np.int64), np.empty(_PLACES, np.int64)
    return sink.request(text) if _written(padded, jump, opened, sink, places) else None
