"""OTLP protobuf, scanned once into integer columns and interned string codes.

    ExportTraceServiceRequest
      1 resource_spans*   1 resource        attributes -> resource fields
                          2 scope_spans*    1 scope (name)
                                            2 spans*  -> one row each

No Python object per span.  What breaks the wire format stops the scan with its offset and what
should have stood there.  Unknown fields, and known fields of another wire type, are skipped, as
protobuf says.  A repeated scalar's last value counts.

Strings are interned: a dictionary of the call keeps the first occurrence of each distinct byte string.
What tells one call from the next (ids in paths, literals in queries) is folded before, or a million
spans would have a million strings.  The values of a span's attributes of interest are interned
together, as one combination, so that what they mean is resolved once for each.

Source: opentelemetry-proto trace/v1, common/v1, resource/v1.
"""

# Inner kernels carry no annotations: their types are what the compiler infers from the arrays given.
# pyright: reportMissingParameterType=false, reportUnknownParameterType=false

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tracescope.errors import KernelError, MalformedOtlpError
from tracescope.kernels import bare, inlined, kernel
from tracescope.kernels.octets import (
    BAD_VARINT,
    DEEPEST,
    DELIMITED,
    EXPECTED,
    FIXED_64,
    OK,
    SCRATCH,
    SHORT_64,
    SLACK,
    TOO_DEEP,
    VALUES,
    VARINT,
    big_endian,
    byte,
    copy,
    get_word,
    hash_bytes,
    hash_ends,
    length,
    little_endian,
    put_varint,
    put_word,
    same,
    skip,
    tag,
    varint,
)
from tracescope.schema import KIND_SERVER

I32 = NDArray[np.int32]
I64 = NDArray[np.int64]
U8 = NDArray[np.uint8]

#: Integer columns of a row.
(
    C_TRACE_HI, C_TRACE_LO, C_SPAN, C_PARENT, C_START, C_END, C_KIND, C_STATUS, C_THRESHOLD,
    C_RAW_END, C_HASH, C_LINKS_AT, C_LINKS, C_RESOURCE, C_NAME, C_SCOPE, C_COMBINATION,
) = range(17)  # fmt: skip
COLUMNS = 17

#: Why a span has no row; the first that holds counts.
FLAW_TRACE_ID, FLAW_SPAN_ID, FLAW_TIME, FLAW_FUTURE, FLAW_OLD, FLAW_LONG, FLAW_LARGE = range(7)
FLAWS = 7
#: No span without a flaw is shorter: two ids and a start, with a tag and a length each.
LEAST_SPAN = 18 + 10 + 9
#: A span whose kept bytes are more is flawed; a resource keeps no further attribute beyond.
LARGEST_SPAN, LARGEST_RESOURCE = 1024 * 1024, 16 * 1024
#: So much of a name, or of a value that says what a span means, is looked at.
LONGEST_STRING = 1024
#: A longer value is cut, unless settings keep its key.
LONGEST_VALUE = 64 * 1024
#: Before the latest start that is believed, nobody began a span: clocks that were never set say 1970 or 1980.
OLDEST_NS = 20 * 365 * 86_400_000_000_000
#: No span goes on for longer.
LONGEST_NS = 31 * 86_400_000_000_000

#: What is done to a value before it is interned.
FOLD_NONE, FOLD_PATH, FOLD_QUERY = range(3)
#: So much of a query is looked at: its verb and first table stand at the front, behind its columns.
QUERY_BYTES = 1024

#: What is done with an attribute: kept unless a map stands in its value, cut, cut where its value has more
#: than a URL's path, kept only as a short plain word, a small number or a truth value, or always kept.
KNOWN, CUT, CUT_WITH_QUERY, PLAIN_ONLY, KEPT = range(5)
#: A plain word has at most so many bytes, and so many digits; a small number at most so many bytes.
PLAIN_BYTES, PLAIN_DIGITS, SMALL_BYTES = 40, 4, 3

#: So many attribute keys are remembered in a scan, and looked for at so many places.
KEYS, PROBES = 1024, 8
#: Of a key that was met: where its bytes are, its field (or -1), rank, fold and deny mark, and what followed.
K_AT, K_SIZE, K_FIELD, K_RANK, K_FOLD, K_DENIED, K_NEXT = range(7)

#: Slots of the table of strings, to begin with.
SLOTS = 1024

#: Fields of Span.
_TRACE_ID, _SPAN_ID, _STATE, _PARENT, _NAME, _KIND, _START, _END, _ATTRIBUTE = range(1, 10)
_EVENT, _LINK, _STATUS = 11, 13, 15
#: More than a key's rank can be, and than any span makes of one.
_RANKS, _UNRANKED = 64, 2**30

#: Fields of AnyValue, and the wire type of each.
STRING, BOOLEAN, INTEGER, DOUBLE, ARRAY, MAP, BYTES = range(1, 8)
_FORM_WIRE = np.array([-1, DELIMITED, VARINT, VARINT, FIXED_64, DELIMITED, DELIMITED, DELIMITED], np.int64)
#: So much of a key is looked at when it is judged by patterns.
LONGEST_KEY = 256


class Keys(NamedTuple):
    """Attribute keys of interest, for the scanner.

    Attributes
    ----------
    data, offset
        Key bytes end to end (and some room) and their bounds ``(k + 1,)``.
    slots
        Hash table ``(s,)`` of key numbers plus one, 0 for empty.
    field, rank, fold
        Column of the key's value, its priority in that column (lower wins) and FOLD_*; field -1
        for keys that are only denied.
    denied
        KNOWN, CUT, ...: what is done with the attribute.
    patterns, pattern_offset, pattern_denied
        The same of keys that are not in the table, by patterns in lower case, in which ``*`` stands for any
        bytes; the first that matches wins, and PLAIN_ONLY where none does.
    of_calls
        Columns whose values say something of calls only: on a SERVER they are its client's, another for each.
    """

    data: U8
    offset: I64
    slots: I32
    field: I32
    rank: I32
    fold: I32
    denied: I32
    patterns: U8
    pattern_offset: I64
    pattern_denied: I32
    of_calls: I32


class Room(NamedTuple):
    """Arrays that one scan fills; sizes are bounds that no input can pass.

    Attributes
    ----------
    window
        Some payloads, end to end: few enough to stay in a processor's cache while they are scanned.
    heap
        Distinct strings, end to end.
    rows, combinations
        ``(n, COLUMNS)``; ``(n, fields + 1)``: kind, then a code for each field.
    resource_codes, resource_end
        ``(r, fields)`` and ``(r,)``.
    strings, slots, combination_slots
        ``(m, 2)`` offset and length; hash tables of code plus one, 0 for empty.
    links
        ``(l, 24)``.
    raw, resource_raw
        Kept bytes of spans and of resources, end to end.
    best, codes
        Scratch ``(fields,)`` and ``(fields + 1,)``.
    met, key_slots, key_bytes
        Attribute keys met, ``(KEYS, 8)``: K_*; hash table of their numbers, 0 for empty; their bytes end
        to end.
    filled
        ``(11 + FLAWS,)``: strings, combinations, links, ends of ``heap``, ``resource_raw`` and ``raw``, rows,
        resources, keys met, end of ``key_bytes``, ``slots`` in use less one; then spans with each flaw.
    """

    window: U8
    heap: U8
    rows: I64
    combinations: I32
    resource_codes: I32
    resource_end: I64
    strings: I64
    slots: I32
    combination_slots: I32
    links: U8
    raw: U8
    resource_raw: U8
    best: I64
    codes: I32
    met: I32
    key_slots: I32
    key_bytes: U8
    filled: I64


_STRINGS, _COMBINATIONS, _LINKS, _HEAP, _RESOURCE_RAW, _RAW, _ROWS, _RESOURCES, _KEYS, _KEY_BYTES = range(10)
_MASK, _FLAWED = 10, 11


@dataclass(frozen=True, slots=True)
class Scan:
    """Results of a scan.

    Attributes
    ----------
    rows
        ``(n, COLUMNS)`` int64, one row a span without a flaw, in wire order.
    flawed
        ``(FLAWS,)`` spans that have no row, by FLAW_*.
    combinations
        ``(c, fields + 1)`` int32: kind and the string codes (-1: absent) of attribute fields.
    resource_codes
        ``(r, fields)`` string codes of each resource's attributes.
    strings
        ``(m, 2)`` offset and length in ``heap`` of each distinct string.
    links
        ``(l, 24)`` bytes of every link, spans' links adjacent.
    raw, resource_raw, resource_end
        Kept bytes end to end; ``rows[:, C_RAW_END]`` and ``resource_end`` say where each ends.
    heap
        The bytes that strings point into.
    """

    rows: I64
    combinations: I32
    resource_codes: I32
    strings: I64
    links: U8
    raw: U8
    resource_raw: U8
    resource_end: I64
    heap: U8
    flawed: I64


# -- attributes ----------------------------------------------------------------------------------


@inlined
def _slot_of(data, at, size, slots):
    """Where a key is looked for first."""
    return hash_ends(data, at, size) >> np.uint64(32) & np.uint64(len(slots) - 1)


@inlined
def _find_key(data, at, size, keys):
    """Number of a key of `keys`, or -1."""
    slot = _slot_of(data, at, size, keys.slots)
    while keys.slots[slot] > 0:
        number = keys.slots[slot] - 1
        begin = keys.offset[number]
        if keys.offset[number + 1] - begin == size and same(keys.data, begin, data, at, size):
            return np.int64(number)
        slot = (slot + np.uint64(1)) & np.uint64(len(keys.slots) - 1)
    return np.int64(-1)


@bare
def _learn(room, data, at, size, keys):
    """Write down what is known of a key that this scan meets first; its number.

    A long key, or one too many, is number 0 until the next of that kind.
    """
    number, to = room.filled[_KEYS], room.filled[_KEY_BYTES]
    learns = number < len(room.met) and to + size + SLACK <= len(room.key_bytes)
    slot = _slot_of(data, at, size, room.key_slots)
    for _ in range(PROBES):
        if room.key_slots[slot] == 0:
            break
        slot = (slot + np.uint64(1)) & np.uint64(len(room.key_slots) - 1)
    if learns and room.key_slots[slot] == 0:
        room.key_slots[slot] = number
        room.met[number, K_AT], room.met[number, K_SIZE] = to, size
        room.filled[_KEYS], room.filled[_KEY_BYTES] = number + 1, copy(data, at, size, room.key_bytes, to)
    else:
        number = np.int64(0)
    key = _find_key(data, at, size, keys)
    room.met[number, K_FIELD] = keys.field[key] if key >= 0 else -1
    room.met[number, K_RANK] = keys.rank[key] if key >= 0 else 0
    room.met[number, K_FOLD] = keys.fold[key] if key >= 0 else 0
    room.met[number, K_DENIED] = keys.denied[key] if key >= 0 else _judge(data, at, size, keys)
    return number


@bare
def _judge(data, at, size, keys):
    """What is done with attributes of a key, by patterns."""
    for number in range(len(keys.pattern_denied)):
        begin, end = keys.pattern_offset[number], keys.pattern_offset[number + 1]
        if _matches(data, at, min(size, LONGEST_KEY), keys.patterns, begin, end):
            return np.int64(keys.pattern_denied[number])
    return np.int64(PLAIN_ONLY)


@bare
def _matches(data, at, size, patterns, begin, end):
    """Whether a key matches a pattern; a ``*`` takes as little as lets the rest match."""
    k, p = np.int64(0), begin
    star, mark = np.int64(-1), np.int64(0)
    while k < size:
        wanted = byte(patterns, p) if p < end else np.int64(0)
        if p < end and wanted == 42:  # '*'
            star, mark = p, k
            p += 1
            continue
        have = byte(data, at + k)
        if 65 <= have <= 90:
            have += 32
        if p < end and wanted == have:
            k += 1
            p += 1
        elif star >= 0:
            mark += 1
            k, p = mark, star + 1
        else:
            return False
    while p < end and byte(patterns, p) == 42:
        p += 1
    return p == end


@inlined
def _is_met(room, number, data, at, size):
    """Whether a key is the one met as `number`."""
    met = room.met
    return met[number, K_SIZE] == size and same(room.key_bytes, np.int64(met[number, K_AT]), data, at, size)


@inlined
def _key(room, data, at, size, before, keys):
    """Number of a key among those that this scan has met; it is likely what followed `before` last time."""
    number = np.int64(room.met[before, K_NEXT])
    if _is_met(room, number, data, at, size):
        return number
    slot, number = _slot_of(data, at, size, room.key_slots), np.int64(0)
    for _ in range(PROBES):
        found = np.int64(room.key_slots[slot])
        if found == 0:
            break
        if _is_met(room, found, data, at, size):
            number = found
            break
        slot = (slot + np.uint64(1)) & np.uint64(len(room.key_slots) - 1)
    if number == 0:
        number = _learn(room, data, at, size, keys)
    room.met[before, K_NEXT] = number
    return number


@inlined
def _is_denied(room, key, data, at, size, form, keys):
    """Whether a met key's attribute is cut, given its value: `form` is the field of AnyValue that it is."""
    denied = room.met[key, K_DENIED]
    if denied == KNOWN and form <= DOUBLE and size <= LONGEST_VALUE:  # nearly all
        return False
    return denied == CUT or _is_cut(data, at, size, form, denied, keys)


@bare
def _is_cut(data, at, size, form, denied, keys):
    """`_is_denied` of what depends on the value."""
    if size > LONGEST_VALUE and denied != KEPT:
        return True
    if form == STRING:
        if denied == CUT_WITH_QUERY:
            return _has_query(data, at, size)
        return denied == PLAIN_ONLY and not _is_plain(data, at, size)
    if form <= DOUBLE:
        return denied == PLAIN_ONLY and form == INTEGER and size > SMALL_BYTES
    return (
        denied == PLAIN_ONLY or denied == CUT_WITH_QUERY or _cuts_inside(data, at, size, form, denied, keys)
    )


#: Of a byte: what may stand in a plain word (1) and is a digit (2**32 more).
_IN_WORD = np.zeros(256, np.int64)
_IN_WORD[list(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-_.")] = 1
_IN_WORD[list(b"0123456789")] = 2**32 + 1


@bare
def _is_plain(data, at, size):
    """Whether a value is a short word that names a kind of thing."""
    if size > PLAIN_BYTES:
        return False
    counts, more = np.int64(0), np.int64(0)
    for k in range(at, at + size - 1, 2):
        counts += _IN_WORD[byte(data, k)]
        more += _IN_WORD[byte(data, k + 1)]
    if size & 1:
        counts += _IN_WORD[byte(data, at + size - 1)]
    counts += more
    return counts & 0xFFFFFFFF == size and counts >> 32 <= PLAIN_DIGITS


_BYTES, _HIGH_BITS = np.uint64(0x0101010101010101), np.uint64(0x8080808080808080)
_MARKS, _HASHES, _ATS, _BIT_2 = (np.uint64(c * 0x0101010101010101) for c in (0x3F, 0x23, 0x40, 4))


@bare
def _has_query(data, at, size):
    """Whether a URL has more than a path: a query, a fragment, parameters, or a user."""
    k = np.int64(0)
    while size - k >= 8:
        word = little_endian(data, at + k)
        mark, pound, user = (word | _BIT_2) ^ _MARKS, word ^ _HASHES, word ^ _ATS  # `;` is `?` less a bit
        found = (mark - _BYTES) & ~mark | (pound - _BYTES) & ~pound | (user - _BYTES) & ~user
        if found & _HIGH_BITS:
            return True
        k += 8
    while k < size:
        c = byte(data, at + k)
        if c | 4 == 63 or c == 35 or c == 64:
            return True
        k += 1
    return False


@bare
def _cuts_inside(data, at, size, form, denied, keys):
    """Whether an array or a map, which has been checked, holds what its attribute is cut for.

    Where the attribute is KEPT, by settings, that is a key that is cut; else any map.
    """
    if form != ARRAY and form != MAP:
        return False
    begin, end = np.int64(at), np.int64(at + size)
    open_at = len(data) - VALUES
    level, depth = np.int64(form - 4), 0
    while True:
        if level >= 2 and denied != KEPT:
            return True
        if begin >= end:
            if depth == 0:
                return False
            depth -= 1
            end = get_word(data, open_at + 8 * depth)
            level = get_word(data, open_at + 8 * depth + 4)
            continue
        number, wire, after, _ = tag(data, begin, end)
        stop, _ = skip(data, number, wire, after, end)
        begin = stop
        if wire != DELIMITED:
            continue
        long, first, _ = length(data, after, end)
        if level == 3 and number == 1 and _judge_any(data, first, long, keys) == CUT:
            return True
        inner = _level_inside(level, number)
        if inner >= 0:
            put_word(data, open_at + 8 * depth, end)
            put_word(data, open_at + 8 * depth + 4, level)
            depth += 1
            begin, end, level = first, stop, inner


@bare
def _judge_any(data, at, size, keys):
    """What is done with attributes of any key, by the table or by patterns."""
    key = _find_key(data, at, size, keys)
    return np.int64(keys.denied[key]) if key >= 0 else _judge(data, at, size, keys)


@bare
def _is_known(data, at, size, keys):
    """Whether a name of an event would be kept as an attribute's key: others may be sentences."""
    verdict = _judge_any(data, at, size, keys)
    return size == 0 or verdict == KNOWN or verdict == KEPT


@inlined
def _level_inside(level, number):
    """Level of what a field of a level holds; -1 for none.

    Levels: AnyValue (0), ArrayValue (1), KeyValueList (2), KeyValue (3).
    """
    inner = np.int64(-1)
    if level == 0 and (number == 5 or number == 6):
        inner = number - 4
    elif level == 1 and number == 1:
        inner = np.int64(0)
    elif level == 2 and number == 1:
        inner = np.int64(3)
    elif level == 3 and number == 2:
        inner = np.int64(0)
    return inner


@bare
def _check_value(data, at, end):
    """Follow an AnyValue's nested arrays and key-value lists; offset and error."""
    open_at = len(data) - VALUES
    level, depth = np.int64(0), 0
    while True:
        if at >= end:
            if depth == 0:
                return np.int64(at), np.int64(OK)
            depth -= 1
            end = get_word(data, open_at + 8 * depth)
            level = get_word(data, open_at + 8 * depth + 4)
            continue
        number, wire, after, error = tag(data, at, end)
        if error:
            return after, error
        inner = _level_inside(level, number) if wire == DELIMITED else np.int64(-1)
        stop, error = skip(data, number, wire, after, end)
        if error:
            return stop, error
        at = stop
        if inner >= 0:
            _, at, _ = length(data, after, end)
            if depth == DEEPEST - 1:
                return at, np.int64(TOO_DEEP)
            put_word(data, open_at + 8 * depth, end)
            put_word(data, open_at + 8 * depth + 4, level)
            depth += 1
            end, level = stop, inner


@inlined
def _attribute(data, at, end):
    """Key and value of a KeyValue: offset and length of each, the value's form; offset and error.

    The form is the value's field of AnyValue: STRING, BOOLEAN, INTEGER, DOUBLE, ARRAY, MAP, BYTES; or 0.
    """
    size = end - at
    if size >= 6 and byte(data, at) == 10:  # as everybody writes it: a key, then a short value
        key_size = byte(data, at + 1)
        rest = size - 2 - key_size
        value_at = np.int64(at + 2 + key_size)
        if (
            key_size < 0x80
            and 4 <= rest < 0x82
            and byte(data, value_at) == 18
            and byte(data, value_at + 1) == rest - 2
        ):
            form = byte(data, value_at + 2)
            if form == 10 and byte(data, value_at + 3) == rest - 4:  # a string
                return (
                    np.int64(at + 2), key_size, value_at + 4, np.int64(rest - 4), np.int64(STRING),
                    np.int64(end), np.int64(OK),
                )  # fmt: skip
            if (form == 24 and _is_varint(data, value_at + 3, end)) or (form == 33 and rest == 11):
                return (
                    np.int64(at + 2), key_size, value_at + 3, np.int64(rest - 3), np.int64(form >> 3),
                    np.int64(end), np.int64(OK),
                )  # fmt: skip
    return _any_attribute(data, at, end)


@inlined
def _is_varint(data, at, end):
    """Whether nothing but a varint of up to seven bytes stands here."""
    last = np.uint64(8 * (end - at - 1))
    ends = little_endian(data, at) & np.uint64(0x8080808080808080)
    before = (np.uint64(1) << last) - np.uint64(1)
    return end - at <= 7 and (
        ends & (before | np.uint64(0x80) << last) == before & np.uint64(0x8080808080808080)
    )


@bare
def _any_attribute(data, at, end):
    """`_attribute` in any form that protobuf allows."""
    key_at, key_size = np.int64(at), np.int64(0)
    value_at, value_size, form = np.int64(at), np.int64(0), np.int64(0)
    while at < end:
        number, wire, after, error = tag(data, at, end)
        if error:
            return key_at, key_size, value_at, value_size, form, after, error
        if wire != DELIMITED or number > 2:
            at, error = skip(data, number, wire, after, end)
            if error:
                return key_at, key_size, value_at, value_size, form, at, error
            continue
        size, begin, error = length(data, after, end)
        if error:
            return key_at, key_size, value_at, value_size, form, begin, error
        at = begin + size
        if number == 1:
            key_at, key_size = begin, size
            continue
        inside = begin
        while inside < at:
            number, wire, after, error = tag(data, inside, at)
            if error:
                return key_at, key_size, value_at, value_size, form, after, error
            stop, error = skip(data, number, wire, after, at)
            if not error and wire == DELIMITED and (number == ARRAY or number == MAP):
                stop, error = _check_value(data, inside, stop)
            if error:
                return key_at, key_size, value_at, value_size, form, stop, error
            if 0 < number < 8 and wire == _FORM_WIRE[number]:
                if wire == DELIMITED:
                    value_size, value_at, _ = length(data, after, at)
                else:
                    value_at, value_size = after, stop - after
                form = np.int64(number)
            inside = stop
    return key_at, key_size, value_at, value_size, form, np.int64(at), np.int64(OK)


# -- strings -------------------------------------------------------------------------------------


@inlined
def _intern(room, data, at, size):
    """Code of a byte string of `data`, of its front where it is too long."""
    if size > LONGEST_STRING:
        size = _front(data, at)
    return _intern_hashed(room, data, at, size, _string_hash(data, at, size))


@bare
def _front(data, at):
    """Bytes of a long string's front that end where a character does."""
    size = np.int64(LONGEST_STRING)
    while size > LONGEST_STRING - 4 and byte(data, at + size) & 0xC0 == 0x80:
        size -= 1
    return size


@inlined
def _intern_hashed(room, data, at, size, h):
    """`_intern`, with the string's hash."""
    mask = np.uint64(room.filled[_MASK])
    slot = h & mask
    while room.slots[slot] > 0:
        code = room.slots[slot] - 1
        if room.strings[code, 1] == size and same(room.heap, room.strings[code, 0], data, at, size):
            return np.int64(code)
        slot = (slot + np.uint64(1)) & mask
    code, to = room.filled[_STRINGS], room.filled[_HEAP]
    room.strings[code, 0], room.strings[code, 1] = to, size
    room.slots[slot] = code + 1
    room.filled[_STRINGS], room.filled[_HEAP] = code + 1, copy(data, at, size, room.heap, to)
    if 2 * (code + 1) > room.filled[_MASK] + 1:
        _spread(room)
    return code


@inlined
def _string_hash(data, at, size):
    return hash_bytes(data, at, size, np.uint64(1))


@bare
def _spread(room):
    """Let the table of strings have twice as many slots: few strings then lie close together."""
    mask = 2 * room.filled[_MASK] + 1
    room.slots[: mask + 1] = 0
    for code in range(room.filled[_STRINGS]):
        slot = _string_hash(room.heap, room.strings[code, 0], room.strings[code, 1]) & np.uint64(mask)
        while room.slots[slot] > 0:
            slot = (slot + np.uint64(1)) & np.uint64(mask)
        room.slots[slot] = code + 1
    room.filled[_MASK] = mask


def _classes(**members: tuple[str, int]) -> I64:
    """What a byte counts as; a later class wins."""
    table = np.zeros(256, np.int64)
    for text, number in members.values():
        table[list(text.encode())] = number
    return table


_DIGITS, _LETTERS = "0123456789", "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
#: Of a path's bytes: what may stand in a hex id (1) and is a digit (2**32 more), and ends a segment (-1).
_IN_PATH = _classes(hex=("abcdefABCDEF-", 1), digit=(_DIGITS, 2**32 + 1), end=("/?#", -1))
#: Of a query's bytes.
_LETTER, _DIGIT, _QUOTE = 1, 2, 3
_IN_QUERY = _classes(word=(_LETTERS + "_", _LETTER), digit=(_DIGITS, _DIGIT), quote=("'", _QUOTE))


@bare
def _fold_path(data, at, size, out, to):
    """Copy a path or URL without its query, numbers and long hex segments as ``{id}``; the end."""
    k = np.int64(0)
    if size > LONGEST_STRING:
        size = _front(data, at)
    while True:
        begin, seen, counts = k, np.int64(0), np.int64(0)
        while k < size:
            seen = _IN_PATH[byte(data, at + k)]
            if seen < 0:
                break
            counts += seen
            k += 1
        count, hexes, digits = k - begin, counts & 0xFFFFFFFF, counts >> 32
        if count > 0 and (digits == count or (hexes == count and count >= 16 and digits > 0)):
            out[to], out[to + 1], out[to + 2], out[to + 3] = 123, 105, 100, 125
            to += 4
        else:
            to = copy(data, at + begin, count, out, to)
        if k == size or byte(data, at + k) != 47:
            return to
        out[to] = 47
        to += 1
        k += 1


@bare
def _fold_query(data, at, size, out, to):
    """Copy the front of a query, quoted literals and numbers as ``?``, lists of them as one; the end."""
    stop = min(size, QUERY_BYTES)
    k, word, begin = np.int64(0), False, to
    while k < stop:
        here = byte(data, at + k)
        seen = _IN_QUERY[here]
        k += 1
        if seen == _QUOTE:  # to its partner
            while k < stop and byte(data, at + k) != 39:
                k += 1
            here, k = np.int64(63), k + 1
        elif seen == _DIGIT and not word:
            while k < stop and (_IN_QUERY[byte(data, at + k)] == _DIGIT or byte(data, at + k) == 46):
                k += 1
            here = np.int64(63)
        else:
            word = seen > 0
        if here == 63:
            last = to - 1
            if last > begin and byte(out, last) == 32:
                last -= 1
            if last > begin and byte(out, last) == 44 and byte(out, last - 1) == 63:  # `?, ?`
                to = last
                continue
        out[to] = here
        to += 1
    return to


@bare
def _decimal(value, out, to):
    """An integer's digits; where they end."""
    left = np.uint64(value)
    if value < 0:
        out[to] = 45
        to += 1
        left = np.uint64(0) - left
    digits, rest = 1, left // np.uint64(10)
    while rest > 0:
        digits, rest = digits + 1, rest // np.uint64(10)
    for k in range(digits):
        out[to + digits - 1 - k] = np.uint8(48 + left % np.uint64(10))
        left //= np.uint64(10)
    return to + digits


@bare
def _list(data, at, size, out, to):
    """Copy the strings of an ArrayValue that has been checked, with commas between; where they end."""
    begin, end = to, at + size
    while at < end and to - begin <= LONGEST_STRING:
        number, wire, after, _ = tag(data, at, end)
        at, _ = skip(data, number, wire, after, end)
        if number != 1 or wire != DELIMITED:
            continue
        _, inside, _ = length(data, after, end)
        while inside < at:
            number, wire, after, _ = tag(data, inside, at)
            inside, _ = skip(data, number, wire, after, at)
            if number == STRING and wire == DELIMITED:
                long, first, _ = length(data, after, at)
                if to > begin:
                    out[to] = 44
                    to += 1
                to = copy(data, first, long, out, to)
    return to


@bare
def _intern_other(room, at, size, form):
    """Code of an attribute's value that is no string; -1 where it names nothing."""
    data, heap, to = room.window, room.heap, room.filled[_HEAP]
    if form == INTEGER:
        value, _ = varint(data, at, at + size)
        return _intern(room, heap, to, _decimal(np.int64(value), heap, to) - to)
    end = _list(data, at, size, heap, to) if form == ARRAY else to
    return _intern(room, heap, to, end - to) if end > to else np.int64(-1)


@inlined
def _intern_value(room, at, size, form, fold):
    """Code of an attribute's value, folded first where its key asks for it; -1 where it names nothing."""
    if form != STRING:
        return _intern_other(room, at, size, form)
    data, heap, to = room.window, room.heap, room.filled[_HEAP]
    if fold == FOLD_NONE or size == 0:
        return _intern(room, data, at, size)
    if fold == FOLD_PATH:
        return _intern(room, heap, to, _fold_path(data, at, size, heap, to) - to)
    return _intern(room, heap, to, _fold_query(data, at, size, heap, to) - to)


@inlined
def _mix(field, code):
    """64-bit hash of a field and its code."""
    h = (np.uint64(field) << np.uint64(32) | np.uint64(code)) * np.uint64(0xBF58476D1CE4E5B9)
    return (h ^ (h >> np.uint64(31))) * np.uint64(0x94D049BB133111EB)


@inlined
def _combine(room, h, width):
    """Number of the combination in ``room.codes[:width]``, whose fields' hashes XOR to `h`."""
    h ^= h >> np.uint64(29)
    mask = np.uint64(len(room.combination_slots) - 1)
    slot = h & mask
    while room.combination_slots[slot] > 0:
        number = room.combination_slots[slot] - 1
        differs = np.int32(0)
        for k in range(width):
            differs |= room.combinations[number, k] ^ room.codes[k]
        if differs == 0:
            return np.int64(number)
        slot = (slot + np.uint64(1)) & mask
    number = room.filled[_COMBINATIONS]
    for k in range(width):
        room.combinations[number, k] = room.codes[k]
    room.combination_slots[slot] = number + 1
    room.filled[_COMBINATIONS] = number + 1
    return number


# -- what is kept --------------------------------------------------------------------------------


@inlined
def _drops(room, part, number, wire, value, end, keys):
    """Whether a field of an event, a link or a status is not kept: a denied attribute, or free words."""
    data = room.window
    if wire != DELIMITED:
        return False
    size, first, _ = length(data, value, end)
    if part == _STATUS:
        return number == 2
    if part == _EVENT and number == 2:
        return not _is_known(data, first, size, keys)
    if number != (3 if part == _EVENT else 4):
        return False
    ka, ks, va, vs, form, _, _ = _attribute(data, first, first + size)
    return _is_denied(room, _key(room, data, ka, ks, np.int64(0), keys), data, va, vs, form, keys)


@bare
def _keep_nested(room, at, after, begin, end, to, part, keys):
    """Copy an event, link or status without what is not kept, its length mended; where the copy ends."""
    data, out = room.window, room.raw
    size = np.int64(0)
    for turn in range(2):
        if turn == 1:  # the tag, the length, then the fields
            to = copy(data, at, after - at, out, to)
            to = put_varint(out, to, size)
        inside = begin
        while inside < end:
            number, wire, value, _ = tag(data, inside, end)
            stop, _ = skip(data, number, wire, value, end)
            drop = _drops(room, part, number, wire, value, end, keys)
            if not drop and turn == 0:
                size += stop - inside
            elif not drop:
                to = copy(data, inside, stop - inside, out, to)
            inside = stop
    return to


# -- messages ------------------------------------------------------------------------------------


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
def _threshold(data, at, size):
    """T of ``ot=...;th:HEX`` in a tracestate, right-padded to 14 digits; -1 when absent or ill-formed.

    Older samplers write ``p:N`` for a probability of 2^-N; ``th`` beside it counts.
    """
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
            older = np.int64(-1)
            while k < stop:
                if stop - k > 3 and data[k] == 116 and data[k + 1] == 104 and data[k + 2] == 58:  # 'th:'
                    return _hex(data, k + 3, stop)
                if older < 0 and stop - k > 2 and data[k] == 112 and data[k + 1] == 58:  # 'p:'
                    older = _exponent(data, k + 2, stop)
                while k < stop and data[k] != 59:
                    k += 1
                k += 1
            return older
        member = stop + 1
    return np.int64(-1)


@bare
def _exponent(data, at, end):
    """T of a probability of 2^-N, up to two decimal digits before a ``;``; -1 when T has no such bits."""
    value, digits = np.int64(0), 0
    while at < end and data[at] != 59 and data[at] != 32:
        c = np.int64(data[at]) - 48
        digits += 1
        if c < 0 or c > 9 or digits > 2:
            return np.int64(-1)
        value = 10 * value + c
        at += 1
    if digits == 0 or value > 56:
        return np.int64(-1)
    return (np.int64(1) << 56) - (np.int64(1) << (56 - value))


@bare
def _hex(data, at, end):
    """Up to 14 lower-case hex digits before a ``;``, right-padded to 14; -1 when ill-formed."""
    value, digits = np.int64(0), 0
    while at < end and data[at] != 59 and data[at] != 32:
        c = np.int64(data[at])
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
        at += 1
    return value << (4 * (14 - digits)) if digits > 0 else np.int64(-1)


@bare
def _resource(room, at, end, resource, keys):
    """A Resource's attributes into its row, its kept bytes behind the others; offset and error.

    ``room.best`` is set by the caller: of a message given twice, protobuf merges both.
    """
    data, met = room.window, room.met
    kept, to = at, room.filled[_RESOURCE_RAW]  # what stands before `kept` is copied or cut
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
        ka, ks, va, vs, form, where, error = _attribute(data, first, at)
        if error:
            return where, error
        key = _key(room, data, ka, ks, np.int64(0), keys)
        if to + at - kept > most or _is_denied(room, key, data, va, vs, form, keys):
            to = copy(data, kept, begin - kept, room.resource_raw, to)
            kept = at
        field = met[key, K_FIELD]
        if field >= 0 and met[key, K_RANK] < room.best[field]:
            code = _intern_value(room, va, vs, form, met[key, K_FOLD])
            if code >= 0:
                room.resource_codes[resource, field] = code
                room.best[field] = met[key, K_RANK]
    room.filled[_RESOURCE_RAW] = copy(data, kept, end - kept, room.resource_raw, to)
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
            code = _intern(room, data, begin, size)
        elif number == 3:
            _, _, _, _, _, where, error = _attribute(data, begin, at)
            if error:
                return code, where, error
    return code, np.int64(at), np.int64(OK)


@bare
def _event_or_link(room, at, end, number, keys):
    """Check an event or link, keep a link's ids; whether something of it is cut, offset and error."""
    data, dirty = room.window, False
    attribute = 3 if number == _EVENT else 4
    trace_at, span_at = np.int64(-1), np.int64(-1)
    while at < end:
        inner, wire, after, error = tag(data, at, end)
        if error:
            return dirty, after, error
        at, error = skip(data, inner, wire, after, end)
        if error:
            return dirty, at, error
        if wire != DELIMITED:
            continue
        size, begin, _ = length(data, after, end)
        if inner == attribute:
            ka, ks, va, vs, form, where, error = _attribute(data, begin, at)
            if error:
                return dirty, where, error
            key = _key(room, data, ka, ks, np.int64(0), keys)
            dirty = _is_denied(room, key, data, va, vs, form, keys) or dirty
        elif number == _EVENT and inner == 2:
            dirty = dirty or not _is_known(data, begin, size, keys)
        elif number == _LINK and inner == 1:
            trace_at = begin if size == 16 else np.int64(-1)
        elif number == _LINK and inner == 2:
            span_at = begin if size == 8 else np.int64(-1)
    if trace_at >= 0 and span_at >= 0:
        link = room.filled[_LINKS]
        for k in range(16):
            room.links[link, k] = data[trace_at + k]
        for k in range(8):
            room.links[link, 16 + k] = data[span_at + k]
        room.filled[_LINKS] = link + 1
    return dirty, np.int64(at), np.int64(OK)


@bare
def _status(data, at, end, code):
    """Code of a Status (`code`: none), and whether it has a message; offset and error."""
    words = False
    while at < end:
        number, wire, after, error = tag(data, at, end)
        if error:
            return code, words, after, error
        if number == 3 and wire == VARINT:
            value, at = varint(data, after, end)
            if at < 0:
                return code, words, after, np.int64(BAD_VARINT)
            code = np.int64(value) & 0xFFFFFFFF
            continue
        words = words or (number == 2 and wire == DELIMITED)
        at, error = skip(data, number, wire, after, end)
        if error:
            return code, words, at, error
    return code, words, np.int64(at), np.int64(OK)


@inlined
def _span(room, at, end, number_of_span, row, raw_at, resource_hash, latest_start, keys):
    """One Span into its row, its kept bytes at `raw_at` of ``room.raw``; flaw (-1: none), offset and error.

    What a span with a flaw has written into its row is the next span's to write over.
    """
    data, best, codes = room.window, room.best, room.codes
    codes[:] = -1
    better = _RANKS * number_of_span  # than all of the spans before, whose ranks need not be forgotten
    met, key = room.met, np.int64(0)
    combined = np.uint64(0)
    kept, to = at, raw_at  # what stands before `kept` is copied or cut
    row[C_THRESHOLD], row[C_PARENT], row[C_KIND], row[C_STATUS] = -1, 0, 0, 0
    row[C_LINKS_AT] = room.filled[_LINKS]
    trace_at, trace_size = np.int64(0), np.int64(0)
    span_at, span_size = np.int64(0), np.int64(0)
    parent_at, parent_size = np.int64(0), np.int64(0)
    name_at, name_size = np.int64(at), np.int64(0)
    start, stop = np.uint64(0), np.uint64(0)
    while at < end:
        begin = at
        number, wire, after, error = tag(data, at, end)
        if error:
            return np.int64(-1), after, error
        if wire == DELIMITED:
            size, first, error = length(data, after, end)
            if error:
                return np.int64(-1), first, error
            at = first + size
            if number == _ATTRIBUTE:
                ka, ks, va, vs, form, where, error = _attribute(data, first, at)
                if error:
                    return np.int64(-1), where, error
                key = _key(room, data, ka, ks, key, keys)
                if _is_denied(room, key, data, va, vs, form, keys):
                    if begin > kept:
                        to = copy(data, kept, begin - kept, room.raw, to)
                    kept = at
                field = met[key, K_FIELD]
                if field >= 0 and met[key, K_RANK] - better < best[field]:
                    code = _intern_value(room, va, vs, form, met[key, K_FOLD])
                    if code >= 0:
                        if codes[field + 1] >= 0:
                            combined ^= _mix(field, codes[field + 1])
                        codes[field + 1] = code
                        combined ^= _mix(field, code)
                        best[field] = met[key, K_RANK] - better
            elif number == _TRACE_ID:
                trace_at, trace_size = first, size
            elif number == _SPAN_ID:
                span_at, span_size = first, size
            elif number == _STATE:
                row[C_THRESHOLD] = _threshold(data, first, size)
            elif number == _PARENT:
                parent_at, parent_size = first, size
            elif number == _NAME:  # a column of its own holds its template
                name_at, name_size = first, size
                to = copy(data, kept, begin - kept, room.raw, to)
                kept = at
            elif number == _STATUS:
                row[C_STATUS], dirty, where, error = _status(data, first, at, row[C_STATUS])
                if error:
                    return np.int64(-1), where, error
                if dirty:
                    to = copy(data, kept, begin - kept, room.raw, to)
                    to = _keep_nested(room, begin, after, first, at, to, number, keys)
                    kept = at
            elif number == _EVENT or number == _LINK:
                dirty, where, error = _event_or_link(room, first, at, number, keys)
                if error:
                    return np.int64(-1), where, error
                if dirty:
                    to = copy(data, kept, begin - kept, room.raw, to)
                    to = _keep_nested(room, begin, after, first, at, to, number, keys)
                    kept = at
        elif wire == FIXED_64 and (number == _START or number == _END):
            if end - after < 8:
                return np.int64(-1), after, np.int64(SHORT_64)
            if number == _START:
                start = little_endian(data, after)
            else:
                stop = little_endian(data, after)
            at = after + 8
        elif wire == VARINT and number == _KIND:
            value, at = varint(data, after, end)
            if at < 0:
                return np.int64(-1), after, np.int64(BAD_VARINT)
            row[C_KIND] = np.int64(value) & 0xFFFFFFFF
        else:
            at, error = skip(data, number, wire, after, end)
            if error:
                return np.int64(-1), at, error
    row[C_RAW_END] = copy(data, kept, end - kept, room.raw, to)
    flaw = np.int64(-1)
    if row[C_RAW_END] - raw_at > LARGEST_SPAN:
        flaw = np.int64(FLAW_LARGE)
    most = np.uint64(0x7FFFFFFFFFFFFFFF)
    if start == 0 or start > most or stop > most:
        flaw = np.int64(FLAW_TIME)
    else:
        row[C_START], row[C_END] = np.int64(start), np.int64(stop)
        if row[C_START] > latest_start or row[C_END] > latest_start:
            flaw = np.int64(FLAW_FUTURE)
        elif row[C_START] < latest_start - OLDEST_NS:
            flaw = np.int64(FLAW_OLD)
        elif row[C_END] > row[C_START] and row[C_END] - row[C_START] > LONGEST_NS:
            flaw = np.int64(FLAW_LONG)
    row[C_SPAN] = big_endian(data, span_at) if span_size == 8 else 0
    if row[C_SPAN] == 0 or (parent_size != 0 and parent_size != 8):
        flaw = np.int64(FLAW_SPAN_ID)
    row[C_TRACE_HI] = big_endian(data, trace_at) if trace_size == 16 else 0
    row[C_TRACE_LO] = big_endian(data, trace_at + 8) if trace_size == 16 else 0
    if row[C_TRACE_HI] == 0 and row[C_TRACE_LO] == 0:
        flaw = np.int64(FLAW_TRACE_ID)
    if flaw >= 0:
        room.filled[_LINKS] = row[C_LINKS_AT]
        return flaw, np.int64(at), np.int64(OK)
    if parent_size == 8:
        row[C_PARENT] = big_endian(data, parent_at)
    row[C_LINKS] = room.filled[_LINKS] - row[C_LINKS_AT]
    if row[C_KIND] > 5:
        row[C_KIND] = 0
    if row[C_STATUS] > 2:
        row[C_STATUS] = 0
    named = _string_hash(data, name_at, name_size)
    if name_size > LONGEST_STRING:
        row[C_NAME] = _intern(room, data, name_at, name_size)
    else:
        row[C_NAME] = _intern_hashed(room, data, name_at, name_size, named)
    codes[0] = row[C_KIND]
    if row[C_KIND] == KIND_SERVER:
        for k in range(len(keys.of_calls)):
            field = keys.of_calls[k]
            if codes[field + 1] >= 0:
                combined ^= _mix(field, codes[field + 1])
                codes[field + 1] = -1
    row[C_COMBINATION] = _combine(room, combined ^ _mix(np.int64(-1), row[C_KIND]), len(codes))
    row[C_HASH] = np.int64(hash_bytes(room.raw, raw_at, row[C_RAW_END] - raw_at, resource_hash ^ named))
    return flaw, np.int64(at), np.int64(OK)


@bare
def _scan_bare(room, bounds, latest_start, keys):
    """Fill `room` from a window whose outer levels `_count` has checked; payload, offset and error."""
    data = room.window
    row, resource, raw_at = room.filled[_ROWS], room.filled[_RESOURCES], room.filled[_RAW]
    span = row + room.filled[_FLAWED : _FLAWED + FLAWS].sum()
    for payload in range(len(bounds) - 1):
        at, end = bounds[payload], bounds[payload + 1]
        while at < end:
            number, wire, after, _ = tag(data, at, end)
            at, _ = skip(data, number, wire, after, end)
            if number != 1 or wire != DELIMITED:
                continue
            _, first, _ = length(data, after, end)
            kept_from, rows_before = room.filled[_RESOURCE_RAW], row
            room.resource_codes[resource, :] = -1
            room.best[:] = _UNRANKED
            inner = first
            while inner < at:  # the resource first, wherever it stands
                number, wire, after, _ = tag(data, inner, at)
                inner, _ = skip(data, number, wire, after, at)
                if number == 1 and wire == DELIMITED:
                    _, begin, _ = length(data, after, at)
                    where, error = _resource(room, begin, inner, resource, keys)
                    if error:
                        return payload, where, error
            kept_to = room.filled[_RESOURCE_RAW]
            room.resource_end[resource] = kept_to
            resource_hash = hash_bytes(room.resource_raw, kept_from, kept_to - kept_from, np.uint64(7))
            inner = first
            while inner < at:
                number, wire, after, _ = tag(data, inner, at)
                inner, _ = skip(data, number, wire, after, at)
                if number != 2 or wire != DELIMITED:
                    continue
                _, begin, _ = length(data, after, at)
                scope_code, k = np.int64(-1), begin
                while k < inner:
                    number, wire, after, _ = tag(data, k, inner)
                    k, _ = skip(data, number, wire, after, inner)
                    if number == 1 and wire == DELIMITED:
                        _, value, _ = length(data, after, inner)
                        scope_code, where, error = _scope(room, value, k, scope_code)
                        if error:
                            return payload, where, error
                k = begin
                while k < inner:
                    number, wire, after, _ = tag(data, k, inner)
                    k, _ = skip(data, number, wire, after, inner)
                    if number != 2 or wire != DELIMITED:
                        continue
                    _, value, _ = length(data, after, inner)
                    here = room.rows[row]
                    here[C_RESOURCE], here[C_SCOPE] = resource, scope_code
                    flaw, where, error = _span(
                        room, value, k, span, here, raw_at, resource_hash, latest_start[payload], keys
                    )
                    if error:
                        return payload, where, error
                    span += 1
                    if flaw >= 0:
                        room.filled[_FLAWED + flaw] += 1
                    else:
                        raw_at = here[C_RAW_END]
                        row += 1
            if row > rows_before:
                resource += 1
            else:  # nobody needs it
                room.filled[_RESOURCE_RAW] = kept_from
    room.filled[_ROWS], room.filled[_RESOURCES], room.filled[_RAW] = row, resource, raw_at
    return 0, np.int64(0), np.int64(OK)


@kernel
def _hash(data, at, size):
    return hash_ends(data, at, size) >> np.uint64(32)


@kernel
def _count(data, at, end):
    """`_count_bare`, to be called from outside."""
    return _count_bare(data, at, end)


@kernel
def _scan(room, bounds, latest_start, keys):
    """`_scan_bare`, to be called from outside."""
    return _scan_bare(room, bounds, latest_start, keys)


def make_keys(
    fields: dict[str, tuple[int, int, int]],
    denied: dict[str, int],
    patterns: list[tuple[str, int]],
    of_calls: list[int],
) -> Keys:
    """Build the scanner's table of keys.

    Parameters
    ----------
    fields
        Attribute key -> (field, rank, FOLD_*); lower ranks win.
    denied
        Attribute key -> KNOWN, CUT, ...: what is done with the attribute; for every key of `fields`.
    patterns
        The same of all other keys, by patterns; the first that matches wins.
    of_calls
        Fields that a SERVER's values are not read of.
    """
    names = sorted({*fields, *denied})
    data = [name.encode() for name in names]
    size = _power_of_two(4 * len(names))
    slots = np.zeros(size, np.int32)
    for number, key in enumerate(data):
        slot = int(_hash(_padded([key]), 0, len(key))) & (size - 1)
        while slots[slot]:
            slot = (slot + 1) & (size - 1)
        slots[slot] = number + 1
    lower = [pattern.encode().lower() for pattern, _ in patterns]
    rows = np.array([fields.get(name, (-1, 0, 0)) for name in names], np.int32).reshape(-1, 3)
    return Keys(
        data=_padded(data),
        offset=np.cumsum([0, *map(len, data)]).astype(np.int64),
        slots=slots,
        field=np.ascontiguousarray(rows[:, 0]),
        rank=np.ascontiguousarray(rows[:, 1]),
        fold=np.ascontiguousarray(rows[:, 2]),
        denied=np.array([denied[name] for name in names], np.int32),
        patterns=_padded(lower),
        pattern_offset=np.cumsum([0, *map(len, lower)]).astype(np.int64),
        pattern_denied=np.array([verdict for _, verdict in patterns], np.int32),
        of_calls=np.array(of_calls, np.int32),
    )


def _padded(parts: list[bytes]) -> U8:
    """Byte strings end to end, with room to read a word at their end."""
    return np.array(bytearray(b"".join(parts) + bytes(SLACK)), np.uint8)


def _power_of_two(least: int) -> int:
    return 1 << max(6, (least - 1).bit_length())


#: Bytes of strings for each byte of payload: a folded string's digit may become four.
_HEAP_FACTOR = 5
#: Payloads are scanned in windows of so many bytes, or of one payload if that is longer.
WINDOW = 512 * 1024


def _room(window: U8, size: int, spans: int, resources: int, fields: int) -> Room:
    """Arrays for one scan of `size` bytes.

    A distinct string of two bytes or more costs four bytes of input (a tag and a length around it and
    itself), or is a span's name; a link has 24 bytes of ids.  Memory never written costs nothing.
    """
    strings = size // 4 + spans + 512
    spans, resources = spans + 1, resources + 1  # the last ones are for what turns out to have a flaw
    slots = np.empty(max(SLOTS, _power_of_two(2 * strings)), np.int32)
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
        combination_slots=np.zeros(_power_of_two(2 * spans), np.int32),
        links=np.empty((size // 24 + 1, 24), np.uint8),
        raw=np.empty(size + SLACK, np.uint8),
        resource_raw=np.empty(size + SLACK, np.uint8),
        best=np.empty(fields, np.int64),
        codes=np.empty(fields + 1, np.int32),
        met=_no_keys(),
        key_slots=np.zeros(4 * KEYS, np.int32),
        key_bytes=np.empty(32 * KEYS, np.uint8),
        filled=np.array([0, 0, 0, 0, 0, 0, 0, 0, 1, 0, SLOTS - 1] + [0] * FLAWS),
    )


def _no_keys() -> I32:
    """Keys met, before any is: number 0 is none."""
    met = np.zeros((KEYS, 8), np.int32)
    met[:, K_SIZE] = -1
    return met


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
        if filled[_ROWS] + spans >= len(room.rows) or filled[_RESOURCES] + resources >= len(
            room.resource_end
        ):
            return None
        number, where, error = _scan(room, bounds, latest_start[group.start : group.stop], keys)
        if error:
            raise _malformed(int(where) - int(bounds[number]), int(error), group.start + int(number))
    return Scan(
        rows=room.rows[: filled[_ROWS]],
        combinations=room.combinations[: filled[_COMBINATIONS]],
        resource_codes=room.resource_codes[: filled[_RESOURCES]],
        strings=room.strings[: filled[_STRINGS]],
        links=room.links[: filled[_LINKS]],
        raw=room.raw[: filled[_RAW]],
        resource_raw=room.resource_raw[: filled[_RESOURCE_RAW]],
        resource_end=room.resource_end[: filled[_RESOURCES]],
        heap=room.heap[: filled[_HEAP]],
        flawed=filled[_FLAWED:].copy(),
    )


def _malformed(offset: int, error: int, payload: int) -> MalformedOtlpError:
    malformed = MalformedOtlpError(offset, EXPECTED[error])
    malformed.payload = payload
    return malformed
