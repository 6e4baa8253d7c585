"""OTLP JSON to OTLP protobuf, for documents as exporters write them.

The bytes are those that the protobuf library would write of what its JSON mapping reads, but for counts
and flags that nothing needs, which are only checked.  A document that is not plain is read the slow way,
`tracescope.ingest.otlp_json`.

Source: OTLP specification 1.11, "JSON Protobuf Encoding".
"""

# Inner kernels carry no annotations: their types are what the compiler infers from the arrays given.
# pyright: reportMissingParameterType=false, reportUnknownParameterType=false

from __future__ import annotations

import numpy as np

from tracescope.kernels import bare, kernel
from tracescope.kernels.json_text import (
    DEEPEST,
    DOUBLE_TEXT,
    LARGEST,
    NOT_PLAIN,
    OPEN_LIST,
    QUOTE,
    F,
    T,
    checked,
    close,
    enum_field,
    fill_doubles,
    find,
    first_item,
    following,
    id_field,
    is_item,
    is_utf8,
    note_double,
    space,
    string,
    text_field,
    whole,
    whole_value,
    word_field,
    words,
)
from tracescope.kernels.octets import byte

_DOCUMENT = words("resourceSpans", "batches", "trace", "result", strict=True)
_RESOURCE_SPANS = words("resource", "scopeSpans", "instrumentationLibrarySpans", "schemaUrl", strict=True)
_RESOURCE = words("attributes", "droppedAttributesCount", "entityRefs", strict=True)
_SCOPE_SPANS = words("scope", "spans", "schemaUrl", "instrumentationLibrary", strict=True)
_SCOPE = words("name", "version", "attributes", "droppedAttributesCount", strict=True)
_SPAN = words(
    "traceId", "spanId", "traceState", "parentSpanId", "name", "kind", "startTimeUnixNano",
    "endTimeUnixNano", "attributes", "events", "links", "status", "flags", "droppedAttributesCount",
    "droppedEventsCount", "droppedLinksCount", strict=True,
)  # fmt: skip
_EVENT = words("timeUnixNano", "name", "attributes", "droppedAttributesCount", strict=True)
_LINK = words("traceId", "spanId", "traceState", "attributes", "droppedAttributesCount", "flags", strict=True)
_STATUS = words("message", "code", strict=True)
_PAIR = words("key", "value", "keyStrindex", strict=True)
_VALUE = words(
    "stringValue", "boolValue", "intValue", "doubleValue", "arrayValue", "kvlistValue", "bytesValue",
    "stringValueStrindex", strict=True,
)  # fmt: skip
_VALUES = words("values", strict=True)
_KINDS = words(
    "SPAN_KIND_UNSPECIFIED", "SPAN_KIND_INTERNAL", "SPAN_KIND_SERVER", "SPAN_KIND_CLIENT",
    "SPAN_KIND_PRODUCER", "SPAN_KIND_CONSUMER",
)  # fmt: skip
_CODES = words("STATUS_CODE_UNSET", "STATUS_CODE_OK", "STATUS_CODE_ERROR")

#: Where in `places` each kind of object notes where its members stand.
_AT_DOCUMENT, _AT_RESOURCE_SPANS, _AT_RESOURCE, _AT_SCOPE_SPANS, _AT_SCOPE = 0, 4, 8, 11, 15
_AT_SPAN, _AT_EVENT, _AT_STATUS, _AT_PAIR, _AT_VALUE, _AT_LIST, _AT_ITEM = 19, 35, 41, 43, 46, 54, 55
#: Whether ids may be base64, and requests wrapped.
_LENIENT = 63
_PLACES = 64


# -- writing messages; offsets in `out`, -1 when the text is not plain --


@bare
def _is_count(text, at):
    """Whether what stands at `at` is absent or a number of 32 bits, which is not written."""
    if at < 0:
        return True
    value, good = whole(text, at)
    return good and value < np.uint64(1 << 32)


@bare
def _is_text(text, at):
    """Whether what stands at `at` is absent or a string, which is not written."""
    return at < 0 or byte(text, at) == QUOTE


@bare
def _scalar(text, jump, at, out, to, doubles, places, first):
    """Write what an AnyValue holds at the places given, lists excepted; nothing for what is unknown."""
    if places[first] >= 0:
        out[to] = 0x0A
        end = string(text, jump, places[first], out, to + 2)
        return end if end < 0 else close(out, to + 1, end, doubles)
    if places[first + 1] >= 0:
        c = byte(text, places[first + 1])
        if c != T and c != F:
            return np.int64(NOT_PLAIN)
        out[to] = 0x10
        out[to + 1] = c == T
        return to + 2
    if places[first + 2] >= 0:
        return whole_value(text, places[first + 2], out, to)
    if places[first + 3] >= 0:
        return note_double(text, jump, places[first + 3], out, to, doubles)
    if places[first + 5] >= 0 or places[first + 6] >= 0 or places[first + 7] >= 0:
        return np.int64(NOT_PLAIN)
    return to


@bare
def _value(text, jump, at, out, to, doubles, places):
    """Write what an AnyValue holds."""
    members = find(text, jump, at, _VALUE, places, _AT_VALUE)
    if members < 0 or members > 1:
        return np.int64(NOT_PLAIN)
    if places[_AT_VALUE + 4] < 0:
        return _scalar(text, jump, at, out, to, doubles, places, _AT_VALUE)
    out[to] = 0x2A
    begin = to + 1
    to += 2
    if find(text, jump, places[_AT_VALUE + 4], _VALUES, places, _AT_LIST) < 0:
        return np.int64(NOT_PLAIN)
    item = first_item(text, places[_AT_LIST])
    if item == NOT_PLAIN:
        return item
    while is_item(text, item):
        members = find(text, jump, item, _VALUE, places, _AT_ITEM)
        if members < 0 or members > 1 or places[_AT_ITEM + 4] >= 0:
            return np.int64(NOT_PLAIN)
        out[to] = 0x0A
        end = _scalar(text, jump, item, out, to + 2, doubles, places, _AT_ITEM)
        if end < 0:
            return end
        to = close(out, to + 1, end, doubles)
        item = following(text, jump, item)
    return close(out, begin, to, doubles)


@bare
def _attributes(text, jump, at, tag, out, to, doubles, places):
    """Write a list of KeyValues as fields; an absent one as nothing."""
    at = first_item(text, at)
    if at == NOT_PLAIN:
        return at
    while is_item(text, at):
        if find(text, jump, at, _PAIR, places, _AT_PAIR) < 0 or places[_AT_PAIR + 2] >= 0:
            return np.int64(NOT_PLAIN)
        out[to] = tag
        begin = to + 1
        to = text_field(text, jump, places[_AT_PAIR], 0x0A, out, to + 2, doubles)
        if to < 0:
            return to
        if places[_AT_PAIR + 1] >= 0:
            out[to] = 0x12
            end = _value(text, jump, places[_AT_PAIR + 1], out, to + 2, doubles, places)
            if end < 0:
                return end
            to = close(out, to + 1, end, doubles)
        to = close(out, begin, to, doubles)
        at = following(text, jump, at)
    return to


@bare
def _event(text, jump, at, out, to, doubles, places):
    """Write an event's fields."""
    if find(text, jump, at, _EVENT, places, _AT_EVENT) < 0 or not _is_count(text, places[_AT_EVENT + 3]):
        return np.int64(NOT_PLAIN)
    to = word_field(text, places[_AT_EVENT], 0x09, out, to)
    if to >= 0:
        to = text_field(text, jump, places[_AT_EVENT + 1], 0x12, out, to, doubles)
    return to if to < 0 else _attributes(text, jump, places[_AT_EVENT + 2], 0x1A, out, to, doubles, places)


@bare
def _link(text, jump, at, out, to, doubles, places):
    """Write a link's fields."""
    if find(text, jump, at, _LINK, places, _AT_EVENT) < 0:
        return np.int64(NOT_PLAIN)
    if not (_is_count(text, places[_AT_EVENT + 4]) and _is_count(text, places[_AT_EVENT + 5])):
        return np.int64(NOT_PLAIN)
    lenient = places[_LENIENT]
    to = id_field(text, jump, places[_AT_EVENT], 0x0A, 16 * lenient, out, to)
    if to >= 0:
        to = id_field(text, jump, places[_AT_EVENT + 1], 0x12, 8 * lenient, out, to)
    if to >= 0:
        to = text_field(text, jump, places[_AT_EVENT + 2], 0x1A, out, to, doubles)
    return to if to < 0 else _attributes(text, jump, places[_AT_EVENT + 3], 0x22, out, to, doubles, places)


@bare
def _status(text, jump, at, out, to, doubles, places):
    """Write a status as a field; an absent one as nothing."""
    if at < 0:
        return to
    if find(text, jump, at, _STATUS, places, _AT_STATUS) < 0:
        return np.int64(NOT_PLAIN)
    out[to] = 0x7A
    begin = to + 1
    to = text_field(text, jump, places[_AT_STATUS], 0x12, out, to + 2, doubles)
    if to >= 0:
        to = enum_field(text, jump, places[_AT_STATUS + 1], _CODES, 0x18, out, to)
    return to if to < 0 else close(out, begin, to, doubles)


@bare
def _head(text, jump, out, to, doubles, places):
    """Write the fields of a span up to its times; its members have been found."""
    for k in range(12, 16):
        if not _is_count(text, places[_AT_SPAN + k]):
            return np.int64(NOT_PLAIN)
    for k in range(5):
        member = places[_AT_SPAN + k]
        tag = 0x0A + 8 * k  # fields 1 to 5
        if k == 2 or k == 4:
            to = text_field(text, jump, member, tag, out, to, doubles)
        else:
            size = places[_LENIENT] * (16 if k == 0 else 8)
            to = id_field(text, jump, member, tag, size, out, to)
        if to < 0:
            return to
    to = enum_field(text, jump, places[_AT_SPAN + 5], _KINDS, 0x30, out, to)
    if to >= 0:
        to = word_field(text, places[_AT_SPAN + 6], 0x39, out, to)
    return to if to < 0 else word_field(text, places[_AT_SPAN + 7], 0x41, out, to)


@bare
def _span(text, jump, at, out, to, doubles, places):
    """Write a span's fields."""
    if find(text, jump, at, _SPAN, places, _AT_SPAN) < 0:
        return np.int64(NOT_PLAIN)
    to = _head(text, jump, out, to, doubles, places)
    if to >= 0:
        to = _attributes(text, jump, places[_AT_SPAN + 8], 0x4A, out, to, doubles, places)
    if to < 0:
        return to
    for k in range(2):
        item = first_item(text, places[_AT_SPAN + 9 + k])
        if item == NOT_PLAIN:
            return item
        while is_item(text, item):
            out[to] = 0x5A if k == 0 else 0x6A
            if k == 0:
                end = _event(text, jump, item, out, to + 2, doubles, places)
            else:
                end = _link(text, jump, item, out, to + 2, doubles, places)
            if end < 0:
                return end
            to = close(out, to + 1, end, doubles)
            item = following(text, jump, item)
    return _status(text, jump, places[_AT_SPAN + 11], out, to, doubles, places)


@bare
def _scope(text, jump, at, out, to, doubles, places):
    """Write a scope as a field; an absent one as nothing."""
    if at < 0:
        return to
    if find(text, jump, at, _SCOPE, places, _AT_SCOPE) < 0 or not _is_count(text, places[_AT_SCOPE + 3]):
        return np.int64(NOT_PLAIN)
    out[to] = 0x0A
    begin = to + 1
    to = text_field(text, jump, places[_AT_SCOPE], 0x0A, out, to + 2, doubles)
    if to >= 0:
        to = text_field(text, jump, places[_AT_SCOPE + 1], 0x12, out, to, doubles)
    if to >= 0:
        to = _attributes(text, jump, places[_AT_SCOPE + 2], 0x1A, out, to, doubles, places)
    return to if to < 0 else close(out, begin, to, doubles)


@bare
def _scope_spans(text, jump, at, out, to, doubles, places):
    """Write the fields of a ScopeSpans."""
    if find(text, jump, at, _SCOPE_SPANS, places, _AT_SCOPE_SPANS) < 0:
        return np.int64(NOT_PLAIN)
    item = first_item(text, places[_AT_SCOPE_SPANS + 1])
    if (
        item == NOT_PLAIN
        or places[_AT_SCOPE_SPANS + 3] >= 0
        or not _is_text(text, places[_AT_SCOPE_SPANS + 2])
    ):
        return np.int64(NOT_PLAIN)
    to = _scope(text, jump, places[_AT_SCOPE_SPANS], out, to, doubles, places)
    if to < 0:
        return to
    while is_item(text, item):
        out[to] = 0x12
        end = _span(text, jump, item, out, to + 2, doubles, places)
        if end < 0:
            return end
        to = close(out, to + 1, end, doubles)
        item = following(text, jump, item)
    return to


@bare
def _resource(text, jump, at, out, to, doubles, places):
    """Write a resource as a field; an absent one as nothing."""
    if at < 0:
        return to
    if find(text, jump, at, _RESOURCE, places, _AT_RESOURCE) < 0 or places[_AT_RESOURCE + 2] >= 0:
        return np.int64(NOT_PLAIN)
    if not _is_count(text, places[_AT_RESOURCE + 1]):
        return np.int64(NOT_PLAIN)
    out[to] = 0x0A
    end = _attributes(text, jump, places[_AT_RESOURCE], 0x0A, out, to + 2, doubles, places)
    return end if end < 0 else close(out, to + 1, end, doubles)


@bare
def _resource_spans(text, jump, at, out, to, doubles, places):
    """Write the fields of a ResourceSpans."""
    if find(text, jump, at, _RESOURCE_SPANS, places, _AT_RESOURCE_SPANS) < 0:
        return np.int64(NOT_PLAIN)
    if places[_AT_RESOURCE_SPANS + 2] >= 0:
        if places[_AT_RESOURCE_SPANS + 1] >= 0:
            return np.int64(NOT_PLAIN)
        places[_AT_RESOURCE_SPANS + 1] = places[_AT_RESOURCE_SPANS + 2]
    item = first_item(text, places[_AT_RESOURCE_SPANS + 1])
    if item == NOT_PLAIN or not _is_text(text, places[_AT_RESOURCE_SPANS + 3]):
        return np.int64(NOT_PLAIN)
    to = _resource(text, jump, places[_AT_RESOURCE_SPANS], out, to, doubles, places)
    if to < 0:
        return to
    while is_item(text, item):
        out[to] = 0x12
        end = _scope_spans(text, jump, item, out, to + 2, doubles, places)
        if end < 0:
            return end
        to = close(out, to + 1, end, doubles)
        item = following(text, jump, item)
    return to


@bare
def _request(text, jump, at, out, to, doubles, places):
    """Write a request, as it is or in what tools wrap around it."""
    for _ in range(DEEPEST):
        if find(text, jump, at, _DOCUMENT, places, _AT_DOCUMENT) < 0:
            return np.int64(NOT_PLAIN)
        inner = max(places[_AT_DOCUMENT + 2], places[_AT_DOCUMENT + 3])
        if inner < 0 or max(places[_AT_DOCUMENT], places[_AT_DOCUMENT + 1]) >= 0 or not places[_LENIENT]:
            break
        at = inner
    item = first_item(text, max(places[_AT_DOCUMENT], places[_AT_DOCUMENT + 1]))
    if item < 0 or min(places[_AT_DOCUMENT], places[_AT_DOCUMENT + 1]) >= 0:
        return np.int64(NOT_PLAIN)
    while is_item(text, item):
        out[to] = 0x0A
        end = _resource_spans(text, jump, item, out, to + 2, doubles, places)
        if end < 0:
            return end
        to = close(out, to + 1, end, doubles)
        item = following(text, jump, item)
    return to


@bare
def _document(text, jump, at, out, doubles, places):
    """Write the request of a document, or of all in a list."""
    if byte(text, at) != OPEN_LIST or not places[_LENIENT]:
        return _request(text, jump, at, out, np.int64(0), doubles, places)
    to = np.int64(0)
    item = first_item(text, at)
    while is_item(text, item):
        to = _request(text, jump, item, out, to, doubles, places)
        if to < 0:
            return to
        item = following(text, jump, item)
    return to


@kernel
def _transcode(text, lenient):
    end = len(text)
    if end > LARGEST:
        return np.empty(0, np.uint8), np.zeros((1, 3), np.int64), False
    jump = np.empty(end, np.int32)  # touched only where a string, list or object begins
    begin = space(text, np.int64(0), end)
    past = checked(text, jump, begin, end, np.empty(DEEPEST, np.int64))
    if past < 0 or space(text, past, end) != end:
        return np.empty(0, np.uint8), np.zeros((1, 3), np.int64), False
    out = np.empty(end + 64, np.uint8)
    doubles = np.empty((end // DOUBLE_TEXT + 2, 3), np.int64)
    doubles[0, 0] = 0
    places = np.empty(_PLACES, np.int64)
    places[_LENIENT] = lenient
    to = _document(text, jump, begin, out, doubles, places)
    if to < 0:
        return np.empty(0, np.uint8), np.zeros((1, 3), np.int64), False
    noted = doubles[0, 0]
    return out[:to], doubles[1 : noted + 1], True


def transcode(text: bytes, *, lenient: bool = False) -> bytes | None:
    """ExportTraceServiceRequest bytes of a document that is plain, else None.

    Parameters
    ----------
    text
        A document in UTF-8.
    lenient
        Whether ids may be base64, as protobuf's own JSON mapping writes them, and requests stand in a list
        or in what tools wrap around them.
    """
    if not is_utf8(text):  # strings are copied as they are
        return None
    written, doubles, plain = _transcode(np.frombuffer(text, np.uint8), np.int64(lenient))
    if not plain:
        return None
    fill_doubles(written, doubles, text)
    return written.tobytes()
