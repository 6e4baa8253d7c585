"""JSON text in compiled code: checked once, walked by offsets, written as protobuf fields.

A text is checked to be JSON first, and where each string, list and object ends is noted; then members
of objects are looked up, whatever their order, and messages are written, with a length that is filled
in when they end.  What exporters hardly ever write (escaped keys, members given twice, numbers beyond a
double) is not plain: the offset is negative then, and whoever asked reads the text the slow way, which
also knows what is wrong with it.

Protobuf never takes more bytes than the JSON it is written from: the shortest item of a list, ``{},``,
becomes a tag and a length of nothing, and a string or number keeps its characters or loses some.

Source: RFC 8259; Protocol Buffers encoding specification.
"""

# Inner kernels carry no annotations: their types are what the compiler infers from the arrays given.
# pyright: reportMissingParameterType=false, reportUnknownParameterType=false

from __future__ import annotations

import numpy as np

from tracescope.kernels import bare, inlined
from tracescope.kernels.octets import byte, copy, little_endian, put_varint, trailing_zeros

#: Objects and lists in one another.
DEEPEST = 64
#: Offsets are of 32 bits.
LARGEST = 2**31 - 1
LARGEST_INTEGER = 2**63 - 1
#: The shortest text of a double, with its key.
DOUBLE_TEXT = 10
NOT_PLAIN = -1
#: `find`: a member is not there, or is null.
ABSENT, NULL = -1, -2
#: With an exponent of two digits such a number is below 1e300.
_LONGEST_NUMBER = 200

QUOTE, BACKSLASH, COMMA, _COLON = ord('"'), ord("\\"), ord(","), ord(":")
OPEN, CLOSE, OPEN_LIST, CLOSE_LIST = ord("{"), ord("}"), ord("["), ord("]")
MINUS, _PLUS, _DOT, ZERO, _NINE, _EQUALS = ord("-"), ord("+"), ord("."), ord("0"), ord("9"), ord("=")
_N, T, F, _U, _UNDERSCORE = ord("n"), ord("t"), ord("f"), ord("u"), ord("_")
_LONGEST_WORD = 32
_ONES, _SPACES, _HIGHS = (np.uint64(k * 0x0101010101010101) for k in (1, 32, 128))
_QUOTES, _BACKSLASHES = (np.uint64(k * 0x0101010101010101) for k in (QUOTE, BACKSLASH))


def words(*names: str, strict: bool = False) -> np.ndarray:
    """Member names as rows: a length, then the bytes.

    With `strict`, an unknown name that may be another spelling of a known one is not plain.
    """
    table = np.zeros((len(names), _LONGEST_WORD), np.uint8)
    for row, name in zip(table, names, strict=True):
        row[0] = len(name)
        row[1 : len(name) + 1] = np.frombuffer(name.encode(), np.uint8)
    table[0, -1] = strict
    return table


_LITERALS = words("true", "false", "null")
_ESCAPED = np.zeros(128, np.uint8)
for _letter, _meant in zip(b'"\\/bfnrt', b'"\\/\b\f\n\r\t', strict=True):
    _ESCAPED[_letter] = _meant
_HEX = np.full(256, -1, np.int8)
for _digits in (b"0123456789abcdef", b"0123456789ABCDEF"):
    _HEX[np.frombuffer(_digits, np.uint8)] = np.arange(16)
_SIXTY_FOUR = np.full(256, 255, np.uint8)
_SIXTY_FOUR[np.frombuffer(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/", np.uint8)] = (
    np.arange(64)
)


# -- is it JSON? --


@inlined
def space(text, at, end):
    """After white space."""
    while at < end and (byte(text, at) == 32 or 9 <= byte(text, at) <= 10 or byte(text, at) == 13):
        at += 1
    return at


@inlined
def _digit(text, at, end):
    return at < end and ZERO <= byte(text, at) <= _NINE


@inlined
def hex_digit(c):
    """Value of a hex digit; -1 for none."""
    return np.int64(_HEX[c])


@bare
def put_hex(text, at, size, out, to):
    """Write `size` bytes given by twice as many hex digits; whether they are all digits."""
    bad = np.int64(0)
    for k in range(size):
        high, low = hex_digit(byte(text, at + 2 * k)), hex_digit(byte(text, at + 2 * k + 1))
        bad |= high | low  # negative if one is
        out[to + k] = high << 4 & 255 | low & 15
    return bad >= 0


@inlined
def dull(word):
    """How many of eight bytes stand before the first quote, backslash or control character."""
    quote, backslash = word ^ _QUOTES, word ^ _BACKSLASHES
    found = (quote - _ONES) & ~quote | (backslash - _ONES) & ~backslash | (word - _SPACES) & ~word
    found &= _HIGHS  # its lowest bit is right; those above it may be borrowed
    return np.int64(8) if found == 0 else np.int64(trailing_zeros(found) >> np.uint64(3))


@bare
def _code_unit(text, at, end):
    """The four hex digits of an escape; -1 for none."""
    if end - at < 4:
        return np.int64(-1)
    code = np.int64(0)
    for k in range(4):
        digit = hex_digit(byte(text, at + k))
        if digit < 0:
            return np.int64(-1)
        code = code * 16 + digit
    return code


@bare
def _checked_string(text, jump, at, end):
    """After a string whose quote stands at `at`; ``jump[at]`` is that, negative where it has escapes."""
    if at >= end or byte(text, at) != QUOTE:
        return np.int64(NOT_PLAIN)
    begin, escapes = at, False
    at += 1
    while at < end:
        if end - at >= 8:
            skipped = dull(little_endian(text, at))
            at += skipped
            if skipped == 8:
                continue
        c = byte(text, at)
        at += 1
        if c == QUOTE:
            jump[begin] = -at if escapes else at
            return at
        if c < 32:
            return np.int64(NOT_PLAIN)
        if c != BACKSLASH:
            continue
        escapes = True
        if at >= end:
            return np.int64(NOT_PLAIN)
        c = byte(text, at)
        at += 1
        if c == _U:
            code = _code_unit(text, at, end)
            at += 4
            if 0xD800 <= code < 0xDC00:  # half a pair: the other half follows
                if end - at < 6 or byte(text, at) != BACKSLASH or byte(text, at + 1) != _U:
                    return np.int64(NOT_PLAIN)
                other = _code_unit(text, at + 2, end)
                at += 6
                if not 0xDC00 <= other < 0xE000:
                    return np.int64(NOT_PLAIN)
            elif code < 0 or 0xDC00 <= code < 0xE000:
                return np.int64(NOT_PLAIN)
        elif c > 127 or _ESCAPED[c] == 0:
            return np.int64(NOT_PLAIN)
    return np.int64(NOT_PLAIN)


@bare
def checked_number(text, at, end):
    """After a number, of a length that a double can hold."""
    start = at
    if at < end and byte(text, at) == MINUS:
        at += 1
    if not _digit(text, at, end):
        return np.int64(NOT_PLAIN)
    leading = byte(text, at) == ZERO
    at += 1
    while _digit(text, at, end):
        if leading:
            return np.int64(NOT_PLAIN)
        at += 1
    if at < end and byte(text, at) == _DOT:
        at += 1
        if not _digit(text, at, end):
            return np.int64(NOT_PLAIN)
        while _digit(text, at, end):
            at += 1
    if at < end and byte(text, at) | 32 == 101:
        at += 1
        if at < end and (byte(text, at) == MINUS or byte(text, at) == _PLUS):
            at += 1
        begin = at
        while _digit(text, at, end):
            at += 1
        if not 1 <= at - begin <= 2:  # a larger exponent may be out of range
            return np.int64(NOT_PLAIN)
    return at if at - start <= _LONGEST_NUMBER else np.int64(NOT_PLAIN)


@bare
def _checked_key(text, jump, at, end):
    """After a key, its colon and white space."""
    at = _checked_string(text, jump, at, end)
    if at < 0:
        return at
    at = space(text, at, end)
    if at >= end or byte(text, at) != _COLON:
        return np.int64(NOT_PLAIN)
    return space(text, at + 1, end)


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
    return np.int64(NOT_PLAIN)


@bare
def checked(text, jump, at, end, opened):
    """After the JSON value at `at`; ``jump`` tells the same of every list and object in it."""
    depth = 0
    while True:  # a value stands here
        if at >= end:
            return np.int64(NOT_PLAIN)
        c = byte(text, at)
        if c == OPEN or c == OPEN_LIST:
            inside = space(text, at + 1, end)
            if inside < end and byte(text, inside) == c + 2:  # of both the closing one is two on
                jump[at] = inside + 1
                at = inside + 1
            else:
                if depth == DEEPEST:
                    return np.int64(NOT_PLAIN)
                opened[depth] = at
                depth += 1
                at = inside if c == OPEN_LIST else _checked_key(text, jump, inside, end)
                if at < 0:
                    return at
                continue
        elif c == QUOTE:
            at = _checked_string(text, jump, at, end)
        elif c == MINUS or ZERO <= c <= _NINE:
            at = checked_number(text, at, end)
        else:
            at = _checked_word(text, at, end)
        if at < 0:
            return at
        while True:  # it has ended, and so may those that it stands in
            if depth == 0:
                return at
            at = space(text, at, end)
            if at >= end:
                return np.int64(NOT_PLAIN)
            c = byte(text, at)
            outer = byte(text, opened[depth - 1])
            if c == outer + 2:
                at += 1
                depth -= 1
                jump[opened[depth]] = at
            elif c == COMMA:
                at = space(text, at + 1, end)
                if outer == OPEN:
                    at = _checked_key(text, jump, at, end)
                    if at < 0:
                        return at
                break
            else:
                return np.int64(NOT_PLAIN)


# -- moving over what is known to be JSON --


@inlined
def gap(text, at):
    """After white space, which something follows."""
    while byte(text, at) <= 32:
        at += 1
    return at


@inlined
def after(text, jump, at):
    """After the value at `at`."""
    c = byte(text, at)
    if c == QUOTE or c == OPEN or c == OPEN_LIST:
        return abs(np.int64(jump[at]))
    while byte(text, at) > 32 and byte(text, at) != COMMA and byte(text, at) | 32 != CLOSE:
        at += 1
    return at


@inlined
def following(text, jump, at):
    """The next item or member after the value at `at`, or what closes the list or object."""
    at = gap(text, after(text, jump, at))
    return gap(text, at + 1) if byte(text, at) == COMMA else at


@inlined
def first_item(text, at):
    """The first item of the list at `at`, or what closes it; `NOT_PLAIN` for no list, `NULL` for nothing."""
    if at < 0:
        return np.int64(NULL)
    return gap(text, at + 1) if byte(text, at) == OPEN_LIST else np.int64(NOT_PLAIN)


@inlined
def is_item(text, at):
    """Whether an item of a list stands at `at`, and not its end."""
    return at >= 0 and byte(text, at) != CLOSE_LIST


@bare
def _is_another_spelling(text, begin, size):
    """Whether a key has a `_`, as names of protobuf fields have, or is one of an extension."""
    for k in range(size):
        c = byte(text, begin + k)
        if c == _UNDERSCORE or c == OPEN_LIST:
            return True
    return False


@inlined
def _is_word(text, at, size, names, row):
    """Whether the `size` characters at `at` are a name; of a long one eight are compared at once."""
    if np.int64(names[row, 0]) != size:
        return False
    word = row * _LONGEST_WORD + 1
    k = np.int64(0)
    while size - k >= 8:
        if little_endian(text, at + k) != little_endian(names, word + k):
            return False
        k += 8
    if size >= 8:
        return little_endian(text, at + size - 8) == little_endian(names, word + size - 8)
    while k < size:
        if byte(text, at + k) != byte(names, word + k):
            return False
        k += 1
    return True


@inlined
def _row_of(text, at, size, names, likely):
    """Row of the name that the characters at `at` are, looked for from a likely one on; -1 for none."""
    for row in range(likely, len(names)):
        if _is_word(text, at, size, names, row):
            return np.int64(row)
    for row in range(min(likely, len(names))):
        if _is_word(text, at, size, names, row):
            return np.int64(row)
    return np.int64(-1)


@bare
def find(text, jump, at, names, places, first):
    """Note in ``places[first:]`` where named members of an object stand; how many members it has.

    A member that is not there is noted as `ABSENT`, one that is null as `NULL`.  Names are best given in the
    order in which members are usually written.
    """
    for k in range(len(names)):
        places[first + k] = ABSENT
    if byte(text, at) != OPEN:
        return np.int64(NOT_PLAIN)
    strict = names[0, _LONGEST_WORD - 1] != 0
    members = likely = np.int64(0)
    at = gap(text, at + 1)
    while byte(text, at) != CLOSE:
        begin, end = at + 1, np.int64(jump[at])
        if end < 0:
            return np.int64(NOT_PLAIN)
        size = end - 1 - begin
        at = gap(text, gap(text, end) + 1)
        row = _row_of(text, begin, size, names, likely)
        if row >= 0:
            if places[first + row] != ABSENT:
                return np.int64(NOT_PLAIN)
            places[first + row] = NULL if byte(text, at) == _N else at
            likely = row + 1
        elif strict and _is_another_spelling(text, begin, size):
            return np.int64(NOT_PLAIN)
        members += 1
        at = following(text, jump, at)
    return members


# -- writing messages; offsets in `out`, -1 when the text is not plain --


@bare
def close(out, begin, to, doubles):
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
def string(text, jump, at, out, to):
    """Write the characters of a string."""
    if byte(text, at) != QUOTE:
        return np.int64(NOT_PLAIN)
    after = np.int64(jump[at])
    at += 1
    if after > 0:
        return copy(text, at, after - 1 - at, out, to)
    while True:
        begin = at
        while byte(text, at) != QUOTE and byte(text, at) != BACKSLASH:
            at += 1
        to = copy(text, begin, at - begin, out, to)
        if byte(text, at) == QUOTE:
            return to
        c = byte(text, at + 1)
        at += 2
        if c != _U:
            out[to] = _ESCAPED[c]
            to += 1
            continue
        code = _code_unit(text, at, at + 4)
        at += 4
        if 0xD800 <= code < 0xDC00:
            code = 0x10000 + ((code - 0xD800) << 10) + _code_unit(text, at + 2, at + 6) - 0xDC00
            at += 6
        if code < 0x80:
            out[to] = code
            to += 1
            continue
        more = 1 if code < 0x800 else 2 if code < 0x10000 else 3  # bytes of six bits after the first
        out[to] = (0xFF00 >> (more + 1)) & 0xFF | code >> 6 * more
        for k in range(more):
            out[to + 1 + k] = 0x80 | code >> 6 * (more - 1 - k) & 63
        to += 1 + more


@bare
def text_field(text, jump, at, tag, out, to, doubles):
    """Write a string as a field; an absent or empty one as nothing."""
    if at < 0 or (byte(text, at) == QUOTE and byte(text, at + 1) == QUOTE):
        return to
    out[to] = tag
    end = string(text, jump, at, out, to + 2)
    return end if end < 0 else close(out, to + 1, end, doubles)


@bare
def _sixty_four(text, at, count, size, out, to):
    """Write `size` bytes that `count` characters of base64, padding included, stand for."""
    padding = count // 4 * 3 - size
    bits = np.int64(0)
    for k in range(count):
        c = byte(text, at + k)
        digit = np.int64(_SIXTY_FOUR[c])
        if k >= count - padding:
            if c != _EQUALS:
                return np.int64(NOT_PLAIN)
            digit = np.int64(0)
        elif digit == 255:
            return np.int64(NOT_PLAIN)
        bits = bits << 6 | digit
        if k & 3 == 3:
            for j in range(3):
                out[to + (k >> 2) * 3 + j] = bits >> 8 * (2 - j) & 255
            bits = np.int64(0)
    return to + size


@bare
def id_field(text, jump, at, tag, size, out, to):
    """Write a hex id as a field, or where `size` is not 0 base64 of so many bytes; none as nothing."""
    if at < 0:
        return to
    if byte(text, at) != QUOTE:
        return np.int64(NOT_PLAIN)
    count = np.int64(jump[at]) - at - 2
    at += 1
    if count == 0:
        return to
    if count < 0 or count > 254:
        return np.int64(NOT_PLAIN)
    out[to] = tag
    if size > 0 and count == (size + 2) // 3 * 4 and byte(text, at + count - 1) == _EQUALS:
        out[to + 1] = size
        return _sixty_four(text, at, count, size, out, to + 2)
    if count & 1:
        return np.int64(NOT_PLAIN)
    out[to + 1] = count >> 1
    to += 2
    return to + (count >> 1) if put_hex(text, at, count >> 1, out, to) else np.int64(NOT_PLAIN)


@inlined
def is_empty(text, at):
    """Whether a string, list or object at `at` is empty."""
    c = byte(text, at)
    if c == QUOTE:
        return byte(text, at + 1) == QUOTE
    return (c == OPEN or c == OPEN_LIST) and byte(text, gap(text, at + 1)) == c + 2


@bare
def is_fraction(text, at):
    """Whether the number at `at` is written with a point or an exponent."""
    while byte(text, at) > 32 and byte(text, at) != COMMA and byte(text, at) | 32 != CLOSE:
        if byte(text, at) == _DOT or byte(text, at) | 32 == 101:
            return True
        at += 1
    return False


@bare
def whole(text, at):
    """An integer, as a number or as a string of digits, and whether it is one of less than 20 digits.

    A negative one is given as two's complement.
    """
    quoted = byte(text, at) == QUOTE
    if quoted:
        at += 1
    negative = byte(text, at) == MINUS
    if negative:
        at += 1
    value = np.uint64(0)
    digits = 0
    while ZERO <= byte(text, at) <= _NINE and digits < 20:
        value = value * np.uint64(10) + np.uint64(byte(text, at) - ZERO)
        digits += 1
        at += 1
    c = byte(text, at)
    ended = c == QUOTE if quoted else c <= 32 or c == COMMA or c | 32 == CLOSE
    if negative:
        value = np.uint64(0) - value
    return value, ended and 1 <= digits < (19 if negative else 20)


@inlined
def put_fixed(out, at, value):
    """Write eight bytes, the lowest first; the offset after them."""
    for k in range(8):
        out[at + k] = np.uint8(value >> np.uint64(8 * k) & np.uint64(255))
    return at + 8


@bare
def word_field(text, at, tag, out, to):
    """Write a time as a field; an absent one and zero as nothing."""
    if at < 0:
        return to
    value, good = whole(text, at)
    if not good or byte(text, at) == MINUS or byte(text, at + 1) == MINUS:
        return np.int64(NOT_PLAIN)
    if value == 0:
        return to
    out[to] = tag
    return put_fixed(out, to + 1, value)


@bare
def match(text, jump, at, names):
    """Row of the word that a string is; -1 for none of them."""
    if byte(text, at) == QUOTE:  # its size is negative with escapes
        return _row_of(text, at + 1, np.int64(jump[at]) - at - 2, names, np.int64(0))
    return np.int64(-1)


@bare
def enum_field(text, jump, at, names, tag, out, to):
    """Write an enum's number, or that of its name, as a field; an absent one and zero as nothing."""
    if at < 0:
        return to
    value = np.uint64(match(text, jump, at, names))
    if byte(text, at) != QUOTE:
        value, good = whole(text, at)
        if not good:
            return np.int64(NOT_PLAIN)
    if value >= np.uint64(1 << 31):
        return np.int64(NOT_PLAIN)
    if value == 0:
        return to
    out[to] = tag
    return put_varint(out, to + 1, np.int64(value))


@bare
def put_wide(out, at, value):
    """Write an unsigned 64-bit varint."""
    while value > np.uint64(127):
        out[at] = np.uint8(value & np.uint64(127) | np.uint64(128))
        value >>= np.uint64(7)
        at += 1
    out[at] = np.uint8(value)
    return at + 1


@bare
def whole_value(text, at, out, to):
    """Write an integer as what an AnyValue holds."""
    value, good = whole(text, at)
    negative = byte(text, at) == MINUS or byte(text, at + 1) == MINUS
    if not good or (not negative and value > np.uint64(LARGEST_INTEGER)):
        return np.int64(NOT_PLAIN)
    out[to] = 0x18
    return put_wide(out, to + 1, value)


@bare
def note_double(text, jump, at, out, to, doubles):
    """Leave room for the double whose text stands at `at`, as what an AnyValue holds, and note both.

    The slow way knows ``-0`` as an integer, which has no sign.
    """
    if byte(text, at) != MINUS and not ZERO <= byte(text, at) <= _NINE:
        return np.int64(NOT_PLAIN)
    if byte(text, at) == MINUS and byte(text, at + 1) == ZERO and not is_fraction(text, at):
        return np.int64(NOT_PLAIN)
    doubles[0, 0] += 1
    noted = doubles[0, 0]
    out[to] = 0x21
    doubles[noted, 0], doubles[noted, 1], doubles[noted, 2] = to + 1, at, after(text, jump, at)
    return to + 9


# -- what is left to the interpreter --


def is_utf8(text: bytes) -> bool:
    """Whether a text is UTF-8, as strings that are copied from it must be."""
    if text.isascii():
        return True
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True


def fill_doubles(written: np.ndarray, doubles: np.ndarray, text: bytes) -> None:
    """Write the doubles that were noted; ``doubles (n, 3)`` are where to, and the ends of the text."""
    for to, begin, end in doubles.tolist():
        written[to : to + 8] = np.frombuffer(np.float64(text[begin:end]).tobytes(), np.uint8)
