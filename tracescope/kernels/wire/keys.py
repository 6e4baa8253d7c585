"""Keys of attributes: which column a key's value belongs to, and whether the attribute is kept.

A scan remembers the keys that it meets, and which one followed which: most spans have the same keys in the
same order, so that a key costs one comparison.
"""

# Inner kernels carry no annotations: their types are what the compiler infers from the arrays given.
# pyright: reportMissingParameterType=false, reportUnknownParameterType=false

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from tracescope.kernels import bare, inlined, kernel
from tracescope.kernels.octets import (
    DELIMITED,
    SLACK,
    VALUES,
    byte,
    copy,
    get_word,
    hash_ends,
    length,
    little_endian,
    put_word,
    same,
    skip,
    tag,
)
from tracescope.kernels.wire.room import I32, I64, KEY_BYTES, KEYS_MET, U8
from tracescope.kernels.wire.values import ARRAY, DOUBLE, INTEGER, MAP, STRING, level_inside

#: What is done with an attribute: kept unless a map stands in its value, cut, cut where its value has more
#: than a URL's path, kept only as a short plain word, a small number or a truth value, or always kept.
KNOWN, CUT, CUT_WITH_QUERY, PLAIN_ONLY, KEPT = range(5)
#: A plain word has at most so many bytes, and so many digits; a small number at most so many bytes.
PLAIN_BYTES, PLAIN_DIGITS, SMALL_BYTES = 40, 4, 3
#: A longer value is cut, unless settings keep its key.
LONGEST_VALUE = 64 * 1024
#: So much of a key is looked at when it is judged by patterns.
LONGEST_KEY = 256

#: So many attribute keys are remembered in a scan, and looked for at so many places.
KEYS, PROBES = 1024, 8
#: Of a key that was met: where its bytes are, its field (or -1), rank, fold and deny mark, and what followed.
K_AT, K_SIZE, K_FIELD, K_RANK, K_FOLD, K_DENIED, K_NEXT = range(7)


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
    number, to = room.filled[KEYS_MET], room.filled[KEY_BYTES]
    learns = number < len(room.met) and to + size + SLACK <= len(room.key_bytes)
    slot = _slot_of(data, at, size, room.key_slots)
    for _ in range(PROBES):
        if room.key_slots[slot] == 0:
            break
        slot = (slot + np.uint64(1)) & np.uint64(len(room.key_slots) - 1)
    if learns and room.key_slots[slot] == 0:
        room.key_slots[slot] = number
        room.met[number, K_AT], room.met[number, K_SIZE] = to, size
        room.filled[KEYS_MET], room.filled[KEY_BYTES] = number + 1, copy(data, at, size, room.key_bytes, to)
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
def key_of(room, data, at, size, before, keys):
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
def is_denied(room, key, data, at, size, form, keys):
    """Whether a met key's attribute is cut, given its value: `form` is the field of AnyValue that it is."""
    denied = room.met[key, K_DENIED]
    if denied == KNOWN and form <= DOUBLE and size <= LONGEST_VALUE:  # nearly all
        return False
    return denied == CUT or _is_cut(data, at, size, form, denied, keys)


@bare
def _is_cut(data, at, size, form, denied, keys):
    """`is_denied` of what depends on the value."""
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
        inner = level_inside(level, number)
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
def is_known(data, at, size, keys):
    """Whether a name of an event would be kept as an attribute's key: others may be sentences."""
    verdict = _judge_any(data, at, size, keys)
    return size == 0 or verdict == KNOWN or verdict == KEPT


@kernel
def _hash(data, at, size):
    return hash_ends(data, at, size) >> np.uint64(32)


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
    size = power_of_two(4 * len(names))
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


def power_of_two(least: int) -> int:
    """Slots of a hash table: the power of two that is at least `least`, and 64."""
    return 1 << max(6, (least - 1).bit_length())


def no_keys() -> I32:
    """Keys met, before any is: number 0 is none."""
    met = np.zeros((KEYS, 8), np.int32)
    met[:, K_SIZE] = -1
    return met
