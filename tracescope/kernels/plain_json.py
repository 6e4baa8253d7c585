"""OTLP JSON to OTLP protobuf, for documents as exporters write them.

A text is checked to be JSON first; then each object's members are looked up, whatever their order, and
its message is written, with a length that is filled in when it ends.  What exporters hardly ever
write (nulls, names of enums, escaped keys, surrogates, lists in lists, bytes) is not plain: nothing is
given then, and whoever asked reads the text the slow way, which also knows what is wrong with it.

Source: RFC 8259; OTLP specification 1.11, "JSON Protobuf Encoding".
"""

# Inner kernels carry no annotations: their types are what the compiler infers from the arrays given.
# pyright: reportMissingParameterType=false, reportUnknownParameterType=false

from __future__ import annotations

import numpy as np

from tracescope.kernels import bare, inlined, kernel
from tracescope.kernels.octets import byte, copy, little_endian, put_varint

#: Objects and lists in one another.
DEEPEST = 64
#: Bytes of protobuf that a byte of JSON can become: an event of `{}` has a time and a name.
GROWTH = 5
#: Offsets are of 32 bits.
LARGEST = 2**31 - 1
#: The shortest text of a double, with its key.
_DOUBLE_TEXT = 14
_NOT_PLAIN = -1
#: With an exponent of two digits such a number is below 1e300.
_LONGEST_NUMBER = 200

_QUOTE, _BACKSLASH, _COMMA, _COLON = ord('"'), ord("\\"), ord(","), ord(":")
_OPEN, _CLOSE, _OPEN_LIST, _CLOSE_LIST = ord("{"), ord("}"), ord("["), ord("]")
_MINUS, _PLUS, _DOT, _ZERO, _NINE = ord("-"), ord("+"), ord("."), ord("0"), ord("9")
_N, _T, _U = ord("n"), ord("t"), ord("u")
_LONGEST_WORD = 32
_ONES, _SPACES, _HIGHS = (np.uint64(k * 0x0101010101010101) for k in (1, 32, 128))
_QUOTES, _BACKSLASHES = (np.uint64(k * 0x0101010101010101) for k in (_QUOTE, _BACKSLASH))


def _words(*words: str) -> np.ndarray:
    """Member names as rows: a length, then the bytes."""
    table = np.zeros((len(words), _LONGEST_WORD), np.uint8)
    for row, word in zip(table, words, strict=True):
        row[0] = len(word)
        row[1 : len(word) + 1] = np.frombuffer(word.encode(), np.uint8)
    return table


_LITERALS = _words("true", "false", "null")
_DOCUMENT = _words("resourceSpans")
_RESOURCE_SPANS = _words("resource", "scopeSpans", "instrumentationLibrarySpans")
_ATTRIBUTES = _words("attributes")
_SCOPE_SPANS = _words("scope", "spans")
_SCOPE = _words("name", "version", "attributes")
_SPAN = _words(
    "traceId", "spanId", "traceState", "parentSpanId", "name", "kind", "startTimeUnixNano",
    "endTimeUnixNano", "attributes", "events", "links", "status",
)  # fmt: skip
_EVENT = _words("timeUnixNano", "name", "attributes")
_LINK = _words("traceId", "spanId", "attributes")
_STATUS = _words("message", "code")
_PAIR = _words("key", "value")
_VALUE = _words(
    "stringValue", "boolValue", "intValue", "doubleValue", "arrayValue", "kvlistValue", "bytesValue"
)
_VALUES = _words("values")

#: Where in `places` each kind of object notes where its members stand.
_AT_DOCUMENT, _AT_RESOURCE_SPANS, _AT_RESOURCE, _AT_SCOPE_SPANS, _AT_SCOPE = 0, 1, 4, 5, 7
_AT_SPAN, _AT_EVENT, _AT_STATUS, _AT_PAIR, _AT_VALUE, _AT_LIST, _AT_ITEM = 10, 22, 25, 27, 29, 36, 37
_PLACES = 44

_ESCAPED = np.zeros(128, np.uint8)
for _letter, _meant in zip(b'"\\/bfnrt', b'"\\/\b\f\n\r\t', strict=True):
    _ESCAPED[_letter] = _meant


# -- is it JSON? --


@inlined
def _space(text, at, end):
    """After white space."""
    while at < end and (byte(text, at) == 32 or 9 <= byte(text, at) <= 10 or byte(text, at) == 13):
        at += 1
    return at


@inlined
def _digit(text, at, end):
    return at < end and _ZERO <= byte(text, at) <= _NINE


@inlined
def _hex_digit(c):
    """Value of a hex digit; -1 for none."""
    if _ZERO <= c <= _NINE:
        return c - _ZERO
    c |= 32
    return c - 87 if 97 <= c <= 102 else np.int64(-1)


@inlined
def _is_dull(word):
    """Whether none of eight bytes is a quote, a backslash or a control character."""
    quote, backslash = word ^ _QUOTES, word ^ _BACKSLASHES
    found = (quote - _ONES) & ~quote | (backslash - _ONES) & ~backslash | (word - _SPACES) & ~word
    return found & _HIGHS == 0


@bare
def _checked_string(text, jump, at, end):
    """After a string whose quote stands at `at`; ``jump[at]`` is that, negative where it has escapes."""
    if at >= end or byte(text, at) != _QUOTE:
        return np.int64(_NOT_PLAIN)
    begin, escapes = at, False
    at += 1
    while at < end:
        if end - at >= 8 and _is_dull(little_endian(text, at)):
            at += 8
            continue
        c = byte(text, at)
        at += 1
        if c == _QUOTE:
            jump[begin] = -at if escapes else at
            return at
        if c < 32:
            return np.int64(_NOT_PLAIN)
        if c != _BACKSLASH:
            continue
        escapes = True
        if at >= end:
            return np.int64(_NOT_PLAIN)
        c = byte(text, at)
        at += 1
        if c == _U:
            if end - at < 4:
                return np.int64(_NOT_PLAIN)
            code = np.int64(0)
            for k in range(4):
                digit = _hex_digit(byte(text, at + k))
                if digit < 0:
                    return np.int64(_NOT_PLAIN)
                code = code * 16 + digit
            if 0xD800 <= code < 0xE000:  # half a pair
                return np.int64(_NOT_PLAIN)
            at += 4
        elif c > 127 or _ESCAPED[c] == 0:
            return np.int64(_NOT_PLAIN)
    return np.int64(_NOT_PLAIN)


@bare
def _checked_number(text, at, end):
    """After a number, of a length that a double can hold."""
    start = at
    if at < end and byte(text, at) == _MINUS:
        at += 1
    if not _digit(text, at, end):
        return np.int64(_NOT_PLAIN)
    leading = byte(text, at) == _ZERO
    at += 1
    while _digit(text, at, end):
        if leading:
            return np.int64(_NOT_PLAIN)
        at += 1
    if at < end and byte(text, at) == _DOT:
        at += 1
        if not _digit(text, at, end):
            return np.int64(_NOT_PLAIN)
        while _digit(text, at, end):
            at += 1
    if at < end and byte(text, at) | 32 == 101:
        at += 1
        if at < end and (byte(text, at) == _MINUS or byte(text, at) == _PLUS):
            at += 1
        begin = at
        while _digit(text, at, end):
            at += 1
        if not 1 <= at - begin <= 2:  # a larger exponent may be out of range
            return np.int64(_NOT_PLAIN)
    return at if at - start <= _LONGEST_NUMBER else np.int64(_NOT_PLAIN)


@bare
def _checked_key(text, jump, at, end):
    """After a key, its colon and white space."""
    at = _checked_string(text, jump, at, end)
    if at < 0:
        return at
    at = _space(text, at, end)
    if at >= end or byte(text, at) != _COLON:
        return np.int64(_NOT_PLAIN)
    return _space(text, at + 1, end)


@bare
def _checked_word(text, at, end):
    """After `true`, `false` or `null`."""
    for row in range(len(_LITERALS)):
        size = np.int64(_LITERALS[row, 0])
        if end - at < size:
            continue
        k = np.int64(0)
        while k < size and byte(text, at + k) == _LITERALS[row, k + 1]:
            k += 1
        if k == size:
            return at + size
    return np.int64(_NOT_PLAIN)


@bare
def _checked(text, jump, at, end, opened):
    """After the JSON value at `at`; ``jump`` tells the same of every list and object in it."""
    depth = 0
    while True:  # a value stands here
        if at >= end:
            return np.int64(_NOT_PLAIN)
        c = byte(text, at)
        if c == _OPEN or c == _OPEN_LIST:
            inside = _space(text, at + 1, end)
            if inside < end and byte(text, inside) == c + 2:  # of both the closing one is two on
                jump[at] = inside + 1
                at = inside + 1
            else:
                if depth == DEEPEST:
                    return np.int64(_NOT_PLAIN)
                opened[depth] = at
                depth += 1
                at = inside if c == _OPEN_LIST else _checked_key(text, jump, inside, end)
                if at < 0:
                    return at
                continue
        elif c == _QUOTE:
            at = _checked_string(text, jump, at, end)
        elif c == _MINUS or _ZERO <= c <= _NINE:
            at = _checked_number(text, at, end)
        else:
            at = _checked_word(text, at, end)
        if at < 0:
            return at
        while True:  # it has ended, and so may those that it stands in
            if depth == 0:
                return at
            at = _space(text, at, end)
            if at >= end:
                return np.int64(_NOT_PLAIN)
            c = byte(text, at)
            outer = byte(text, opened[depth - 1])
            if c == outer + 2:
                at += 1
                depth -= 1
                jump[opened[depth]] = at
            elif c == _COMMA:
                at = _space(text, at + 1, end)
                if outer == _OPEN:
                    at = _checked_key(text, jump, at, end)
                    if at < 0:
                        return at
                break
            else:
                return np.int64(_NOT_PLAIN)


# -- moving over what is known to be JSON --


@inlined
def _gap(text, at):
    """After white space, which something follows."""
    while byte(text, at) <= 32:
        at += 1
    return at


@inlined
def _after(text, jump, at):
    """After the value at `at`."""
    c = byte(text, at)
    if c == _QUOTE or c == _OPEN or c == _OPEN_LIST:
        return abs(np.int64(jump[at]))
    while byte(text, at) > 32 and byte(text, at) != _COMMA and byte(text, at) | 32 != _CLOSE:
        at += 1
    return at


@inlined
def _next(text, jump, at):
    """The next item or member after the value at `at`, or what closes the list or object."""
    at = _gap(text, _after(text, jump, at))
    return _gap(text, at + 1) if byte(text, at) == _COMMA else at


@bare
def _find(text, jump, at, names, places, first):
    """Note in ``places[first:]`` where named members of an object stand, -1 for none; how many it has."""
    for k in range(len(names)):
        places[first + k] = -1
    if byte(text, at) != _OPEN:
        return np.int64(_NOT_PLAIN)
    members = np.int64(0)
    at = _gap(text, at + 1)
    while byte(text, at) != _CLOSE:
        begin, after = at + 1, np.int64(jump[at])
        if after < 0:
            return np.int64(_NOT_PLAIN)
        size = after - 1 - begin
        at = _gap(text, _gap(text, after) + 1)
        for k in range(len(names)):
            if names[k, 0] != size:
                continue
            same = np.int64(0)
            while same < size and byte(text, begin + same) == names[k, same + 1]:
                same += 1
            if same == size:
                if byte(text, at) == _N:
                    return np.int64(_NOT_PLAIN)
                places[first + k] = at
                break
        members += 1
        at = _next(text, jump, at)
    return members


# -- writing messages; offsets in `out`, -1 when the text is not plain --


@bare
def _close(out, begin, to, doubles):
    """Fill in the length of what was written after the byte kept for it at `begin`."""
    size = to - begin - 1
    more = np.int64(0)
    rest = size >> 7
    while rest > 0:
        more += 1
        rest >>= 7
    if more > 0:
        copy(out, begin + 1, size, out, begin + 1 + more)
        k = doubles[0, 0]
        while k > 0 and doubles[k, 0] > begin:
            doubles[k, 0] += more
            k -= 1
    put_varint(out, begin, size)
    return to + more


@bare
def _string(text, jump, at, out, to):
    """Write the characters of a string."""
    if byte(text, at) != _QUOTE:
        return np.int64(_NOT_PLAIN)
    after = np.int64(jump[at])
    at += 1
    if after > 0:
        return copy(text, at, after - 1 - at, out, to)
    while True:
        begin = at
        while byte(text, at) != _QUOTE and byte(text, at) != _BACKSLASH:
            at += 1
        to = copy(text, begin, at - begin, out, to)
        if byte(text, at) == _QUOTE:
            return to
        c = byte(text, at + 1)
        at += 2
        if c != _U:
            out[to] = _ESCAPED[c]
            to += 1
            continue
        code = np.int64(0)
        for k in range(4):
            code = code * 16 + _hex_digit(byte(text, at + k))
        at += 4
        if code < 0x80:
            out[to] = code
            to += 1
        elif code < 0x800:
            out[to] = 0xC0 | code >> 6
            out[to + 1] = 0x80 | code & 63
            to += 2
        else:
            out[to] = 0xE0 | code >> 12
            out[to + 1] = 0x80 | code >> 6 & 63
            out[to + 2] = 0x80 | code & 63
            to += 3


@bare
def _text_field(text, jump, at, tag, out, to, doubles):
    """Write a string as a field; an absent one as empty."""
    out[to] = tag
    if at < 0:
        out[to + 1] = 0
        return to + 2
    end = _string(text, jump, at, out, to + 2)
    return end if end < 0 else _close(out, to + 1, end, doubles)


@bare
def _id_field(text, at, tag, out, to, doubles):
    """Write a hex id as a field; an absent one as empty."""
    out[to] = tag
    begin = to + 1
    to += 2
    if at >= 0:
        if byte(text, at) != _QUOTE:
            return np.int64(_NOT_PLAIN)
        at += 1
        while byte(text, at) != _QUOTE:
            high = _hex_digit(byte(text, at))
            if high < 0 or byte(text, at + 1) == _QUOTE:
                return np.int64(_NOT_PLAIN)
            low = _hex_digit(byte(text, at + 1))
            if low < 0:
                return np.int64(_NOT_PLAIN)
            out[to] = high << 4 | low
            to += 1
            at += 2
    return _close(out, begin, to, doubles)


@inlined
def _is_empty(text, at):
    """Whether a string, list or object at `at` is empty."""
    c = byte(text, at)
    if c == _QUOTE:
        return byte(text, at + 1) == _QUOTE
    return (c == _OPEN or c == _OPEN_LIST) and byte(text, _gap(text, at + 1)) == c + 2


@bare
def _whole(text, at):
    """An integer, as a number or as a string of digits, and whether it is one of less than 20 digits."""
    quoted = byte(text, at) == _QUOTE
    if quoted:
        at += 1
    negative = byte(text, at) == _MINUS
    if negative:
        at += 1
    value = np.uint64(0)
    digits = 0
    while _ZERO <= byte(text, at) <= _NINE and digits < 20:
        value = value * np.uint64(10) + np.uint64(byte(text, at) - _ZERO)
        digits += 1
        at += 1
    c = byte(text, at)
    ended = c == _QUOTE if quoted else c <= 32 or c == _COMMA or c | 32 == _CLOSE
    if negative:
        value = np.uint64(0) - value
    return value, ended and 1 <= digits < (19 if negative else 20)


@inlined
def _put_fixed(out, at, value):
    """Write eight bytes, the lowest first; the offset after them."""
    for k in range(8):
        out[at + k] = np.uint8(value >> np.uint64(8 * k) & np.uint64(255))
    return at + 8


@bare
def _word_field(text, at, tag, out, to):
    """Write a time as a field."""
    value, good = _whole(text, at)
    if not good or byte(text, at) == _MINUS or byte(text, at + 1) == _MINUS:
        return np.int64(_NOT_PLAIN)
    out[to] = tag
    return _put_fixed(out, to + 1, value)


@bare
def _code_field(text, at, tag, out, to):
    """Write an enum's number as a field; zero is not written."""
    value, good = _whole(text, at)
    if not good or byte(text, at) == _QUOTE or value >= np.uint64(1 << 31):
        return np.int64(_NOT_PLAIN)
    if value == 0:
        return to
    out[to] = tag
    return put_varint(out, to + 1, np.int64(value))


@bare
def _put_wide(out, at, value):
    """Write an unsigned 64-bit varint."""
    while value > np.uint64(127):
        out[at] = np.uint8(value & np.uint64(127) | np.uint64(128))
        value >>= np.uint64(7)
        at += 1
    out[at] = np.uint8(value)
    return at + 1


@bare
def _scalar(text, jump, at, out, to, doubles, places, first):
    """Write what an AnyValue holds at the places given, lists excepted; nothing for what is unknown."""
    if places[first] >= 0:
        return _text_field(text, jump, places[first], 0x0A, out, to, doubles)
    if places[first + 1] >= 0:
        c = byte(text, places[first + 1])
        if c != _T and c != 102:
            return np.int64(_NOT_PLAIN)
        out[to] = 0x10
        out[to + 1] = c == _T
        return to + 2
    if places[first + 2] >= 0:
        value, good = _whole(text, places[first + 2])
        if not good:
            return np.int64(_NOT_PLAIN)
        out[to] = 0x18
        return _put_wide(out, to + 1, value)
    if places[first + 3] >= 0:
        begin = places[first + 3]
        if byte(text, begin) != _MINUS and not _ZERO <= byte(text, begin) <= _NINE:
            return np.int64(_NOT_PLAIN)
        doubles[0, 0] += 1
        noted = doubles[0, 0]
        out[to] = 0x21
        doubles[noted, 0], doubles[noted, 1], doubles[noted, 2] = to + 1, begin, _after(text, jump, begin)
        return to + 9
    if places[first + 5] >= 0 or places[first + 6] >= 0:
        return np.int64(_NOT_PLAIN)
    return to


@bare
def _value(text, jump, at, out, to, doubles, places):
    """Write what an AnyValue holds."""
    members = _find(text, jump, at, _VALUE, places, _AT_VALUE)
    if members < 0 or members > 1:
        return np.int64(_NOT_PLAIN)
    if places[_AT_VALUE + 4] < 0:
        return _scalar(text, jump, at, out, to, doubles, places, _AT_VALUE)
    out[to] = 0x2A
    begin = to + 1
    to += 2
    if _find(text, jump, places[_AT_VALUE + 4], _VALUES, places, _AT_LIST) < 0:
        return np.int64(_NOT_PLAIN)
    item = places[_AT_LIST]
    if item >= 0:
        if byte(text, item) != _OPEN_LIST:
            return np.int64(_NOT_PLAIN)
        item = _gap(text, item + 1)
        while byte(text, item) != _CLOSE_LIST:
            members = _find(text, jump, item, _VALUE, places, _AT_ITEM)
            if members < 0 or members > 1 or places[_AT_ITEM + 4] >= 0:
                return np.int64(_NOT_PLAIN)
            out[to] = 0x0A
            end = _scalar(text, jump, item, out, to + 2, doubles, places, _AT_ITEM)
            if end < 0:
                return end
            to = _close(out, to + 1, end, doubles)
            item = _next(text, jump, item)
    return _close(out, begin, to, doubles)


@bare
def _attributes(text, jump, at, tag, out, to, doubles, places):
    """Write a list of KeyValues as fields; an absent one as nothing."""
    if at < 0:
        return to
    if byte(text, at) != _OPEN_LIST:
        return np.int64(_NOT_PLAIN)
    at = _gap(text, at + 1)
    while byte(text, at) != _CLOSE_LIST:
        if _find(text, jump, at, _PAIR, places, _AT_PAIR) < 0:
            return np.int64(_NOT_PLAIN)
        out[to] = tag
        begin = to + 1
        to = _text_field(text, jump, places[_AT_PAIR], 0x0A, out, to + 2, doubles)
        if to < 0:
            return to
        out[to] = 0x12
        end = to + 2
        if places[_AT_PAIR + 1] >= 0:
            end = _value(text, jump, places[_AT_PAIR + 1], out, end, doubles, places)
            if end < 0:
                return end
        to = _close(out, begin, _close(out, to + 1, end, doubles), doubles)
        at = _next(text, jump, at)
    return to


@bare
def _event(text, jump, at, out, to, doubles, places):
    """Write an event's fields."""
    if _find(text, jump, at, _EVENT, places, _AT_EVENT) < 0:
        return np.int64(_NOT_PLAIN)
    if places[_AT_EVENT] < 0:
        out[to] = 0x09
        to = _put_fixed(out, to + 1, np.uint64(0))
    else:
        to = _word_field(text, places[_AT_EVENT], 0x09, out, to)
        if to < 0:
            return to
    to = _text_field(text, jump, places[_AT_EVENT + 1], 0x12, out, to, doubles)
    return to if to < 0 else _attributes(text, jump, places[_AT_EVENT + 2], 0x1A, out, to, doubles, places)


@bare
def _link(text, jump, at, out, to, doubles, places):
    """Write a link's fields."""
    if _find(text, jump, at, _LINK, places, _AT_EVENT) < 0:
        return np.int64(_NOT_PLAIN)
    to = _id_field(text, places[_AT_EVENT], 0x0A, out, to, doubles)
    if to < 0:
        return to
    to = _id_field(text, places[_AT_EVENT + 1], 0x12, out, to, doubles)
    return to if to < 0 else _attributes(text, jump, places[_AT_EVENT + 2], 0x22, out, to, doubles, places)


@bare
def _status(text, jump, at, out, to, doubles, places):
    """Write a status as a field; one without members as nothing."""
    members = _find(text, jump, at, _STATUS, places, _AT_STATUS)
    if members <= 0:
        return to if members == 0 else np.int64(_NOT_PLAIN)
    out[to] = 0x7A
    begin = to + 1
    to += 2
    if places[_AT_STATUS] >= 0 and not _is_empty(text, places[_AT_STATUS]):
        to = _text_field(text, jump, places[_AT_STATUS], 0x12, out, to, doubles)
        if to < 0:
            return to
    if places[_AT_STATUS + 1] >= 0:
        to = _code_field(text, places[_AT_STATUS + 1], 0x18, out, to)
        if to < 0:
            return to
    return _close(out, begin, to, doubles)


@bare
def _span(text, jump, at, out, to, doubles, places):
    """Write a span's fields, in the order of the slow way."""
    if _find(text, jump, at, _SPAN, places, _AT_SPAN) < 0:
        return np.int64(_NOT_PLAIN)
    for k in range(5):
        member = places[_AT_SPAN + k]
        if member < 0 or _is_empty(text, member):
            continue
        tag = 0x0A + 8 * k  # fields 1 to 5
        if k == 2 or k == 4:
            to = _text_field(text, jump, member, tag, out, to, doubles)
        else:
            to = _id_field(text, member, tag, out, to, doubles)
        if to < 0:
            return to
    if places[_AT_SPAN + 5] >= 0:
        to = _code_field(text, places[_AT_SPAN + 5], 0x30, out, to)
        if to < 0:
            return to
    for k in range(2):
        member = places[_AT_SPAN + 6 + k]
        if member < 0:
            continue
        if byte(text, member) == _ZERO:  # a number: nothing, or a fraction
            if not _whole(text, member)[1]:
                return np.int64(_NOT_PLAIN)
            continue
        to = _word_field(text, member, 0x39 + 8 * k, out, to)
        if to < 0:
            return to
    to = _attributes(text, jump, places[_AT_SPAN + 8], 0x4A, out, to, doubles, places)
    if to < 0:
        return to
    for k in range(2):
        item = places[_AT_SPAN + 9 + k]
        if item < 0:
            continue
        if byte(text, item) != _OPEN_LIST:
            return np.int64(_NOT_PLAIN)
        item = _gap(text, item + 1)
        while byte(text, item) != _CLOSE_LIST:
            out[to] = 0x5A if k == 0 else 0x6A
            if k == 0:
                end = _event(text, jump, item, out, to + 2, doubles, places)
            else:
                end = _link(text, jump, item, out, to + 2, doubles, places)
            if end < 0:
                return end
            to = _close(out, to + 1, end, doubles)
            item = _next(text, jump, item)
    if places[_AT_SPAN + 11] < 0:
        return to
    return _status(text, jump, places[_AT_SPAN + 11], out, to, doubles, places)


@bare
def _scope_spans(text, jump, at, out, to, doubles, places):
    """Write the fields of a ScopeSpans."""
    if _find(text, jump, at, _SCOPE_SPANS, places, _AT_SCOPE_SPANS) < 0:
        return np.int64(_NOT_PLAIN)
    item = places[_AT_SCOPE_SPANS + 1]
    if places[_AT_SCOPE_SPANS] >= 0:
        members = _find(text, jump, places[_AT_SCOPE_SPANS], _SCOPE, places, _AT_SCOPE)
        if members < 0:
            return members
        if members > 0:
            out[to] = 0x0A
            end = _text_field(text, jump, places[_AT_SCOPE], 0x0A, out, to + 2, doubles)
            if end >= 0:
                end = _text_field(text, jump, places[_AT_SCOPE + 1], 0x12, out, end, doubles)
            if end >= 0:
                end = _attributes(text, jump, places[_AT_SCOPE + 2], 0x1A, out, end, doubles, places)
            if end < 0:
                return end
            to = _close(out, to + 1, end, doubles)
    if item < 0:
        return to
    if byte(text, item) != _OPEN_LIST:
        return np.int64(_NOT_PLAIN)
    item = _gap(text, item + 1)
    while byte(text, item) != _CLOSE_LIST:
        out[to] = 0x12
        end = _span(text, jump, item, out, to + 2, doubles, places)
        if end < 0:
            return end
        to = _close(out, to + 1, end, doubles)
        item = _next(text, jump, item)
    return to


@bare
def _resource_spans(text, jump, at, out, to, doubles, places):
    """Write the fields of a ResourceSpans."""
    if _find(text, jump, at, _RESOURCE_SPANS, places, _AT_RESOURCE_SPANS) < 0:
        return np.int64(_NOT_PLAIN)
    resource, item = places[_AT_RESOURCE_SPANS], places[_AT_RESOURCE_SPANS + 1]
    if item < 0 or _is_empty(text, item):
        item = places[_AT_RESOURCE_SPANS + 2]
    out[to] = 0x0A
    end = to + 2
    if resource >= 0:
        if _find(text, jump, resource, _ATTRIBUTES, places, _AT_RESOURCE) < 0:
            return np.int64(_NOT_PLAIN)
        end = _attributes(text, jump, places[_AT_RESOURCE], 0x0A, out, end, doubles, places)
        if end < 0:
            return end
    to = _close(out, to + 1, end, doubles)
    if item < 0:
        return to
    if byte(text, item) != _OPEN_LIST:
        return np.int64(_NOT_PLAIN)
    item = _gap(text, item + 1)
    while byte(text, item) != _CLOSE_LIST:
        out[to] = 0x12
        end = _scope_spans(text, jump, item, out, to + 2, doubles, places)
        if end < 0:
            return end
        to = _close(out, to + 1, end, doubles)
        item = _next(text, jump, item)
    return to


@bare
def _document(text, jump, at, out, doubles, places):
    """Write a whole request."""
    if _find(text, jump, at, _DOCUMENT, places, _AT_DOCUMENT) < 0 or places[_AT_DOCUMENT] < 0:
        return np.int64(_NOT_PLAIN)
    item = places[_AT_DOCUMENT]
    if byte(text, item) != _OPEN_LIST:
        return np.int64(_NOT_PLAIN)
    to = np.int64(0)
    item = _gap(text, item + 1)
    while byte(text, item) != _CLOSE_LIST:
        out[to] = 0x0A
        end = _resource_spans(text, jump, item, out, to + 2, doubles, places)
        if end < 0:
            return end
        to = _close(out, to + 1, end, doubles)
        item = _next(text, jump, item)
    return to


@kernel
def _transcode(text):
    end = len(text)
    if end > LARGEST:
        return np.empty(0, np.uint8), np.zeros((1, 3), np.int64), False
    jump = np.empty(end, np.int32)  # touched only where a string, list or object begins
    begin = _space(text, np.int64(0), end)
    after = _checked(text, jump, begin, end, np.empty(DEEPEST, np.int64))
    if after < 0 or _space(text, after, end) != end:
        return np.empty(0, np.uint8), np.zeros((1, 3), np.int64), False
    out = np.empty(GROWTH * end + 64, np.uint8)
    doubles = np.empty((end // _DOUBLE_TEXT + 2, 3), np.int64)
    doubles[0, 0] = 0
    to = _document(text, jump, begin, out, doubles, np.empty(_PLACES, np.int64))
    if to < 0:
        return np.empty(0, np.uint8), np.zeros((1, 3), np.int64), False
    noted = doubles[0, 0]
    return out[:to], doubles[1 : noted + 1], True


def transcode(text: bytes) -> bytes | None:
    """ExportTraceServiceRequest bytes of a document that is plain, else None.

    Parameters
    ----------
    text
        A document in UTF-8.
    """
    try:
        text.decode()  # strings are copied as they are
    except UnicodeDecodeError:
        return None
    written, doubles, plain = _transcode(np.frombuffer(text, np.uint8))
    if not plain:
        return None
    for to, begin, end in doubles.tolist():
        written[to : to + 8] = np.frombuffer(np.float64(text[begin:end]).tobytes(), np.uint8)
    return written.tobytes()
