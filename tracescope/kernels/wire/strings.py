"""Strings and what a span's attributes say together, each once: codes stand for them.

A dictionary of the scan keeps the first occurrence of each distinct byte string.  What tells one call from
the next (ids in paths, literals in queries) is folded before.  The values of a span's attributes of interest
are interned together, as one combination.
"""

# Inner kernels carry no annotations: their types are what the compiler infers from the arrays given.
# pyright: reportMissingParameterType=false, reportUnknownParameterType=false

from __future__ import annotations

import numpy as np

from tracescope.kernels import bare, inlined
from tracescope.kernels.octets import DELIMITED, byte, copy, hash_bytes, length, same, skip, tag, varint
from tracescope.kernels.wire.room import COMBINATIONS, HEAP, I64, MASK, STRINGS
from tracescope.kernels.wire.values import ARRAY, INTEGER, STRING

#: So much of a name, or of a value that says what a span means, is looked at.
LONGEST_STRING = 1024
#: Slots of the table of strings, to begin with.
SLOTS = 1024

#: What is done to a value before it is interned.
FOLD_NONE, FOLD_PATH, FOLD_QUERY = range(3)
#: So much of a query is looked at: its verb and first table stand at the front, behind its columns.
QUERY_BYTES = 1024


@inlined
def intern(room, data, at, size):
    """Code of a byte string of `data`, of its front where it is too long."""
    if size > LONGEST_STRING:
        size = _front(data, at)
    return intern_hashed(room, data, at, size, string_hash(data, at, size))


@bare
def _front(data, at):
    """Bytes of a long string's front that end where a character does."""
    size = np.int64(LONGEST_STRING)
    while size > LONGEST_STRING - 4 and byte(data, at + size) & 0xC0 == 0x80:
        size -= 1
    return size


@inlined
def intern_hashed(room, data, at, size, h):
    """`intern`, with the string's hash."""
    mask = np.uint64(room.filled[MASK])
    slot = h & mask
    while room.slots[slot] > 0:
        code = room.slots[slot] - 1
        if room.strings[code, 1] == size and same(room.heap, room.strings[code, 0], data, at, size):
            return np.int64(code)
        slot = (slot + np.uint64(1)) & mask
    code, to = room.filled[STRINGS], room.filled[HEAP]
    room.strings[code, 0], room.strings[code, 1] = to, size
    room.slots[slot] = code + 1
    room.filled[STRINGS], room.filled[HEAP] = code + 1, copy(data, at, size, room.heap, to)
    if 2 * (code + 1) > room.filled[MASK] + 1:
        _spread(room)
    return code


@inlined
def string_hash(data, at, size):
    """64-bit hash of a string."""
    return hash_bytes(data, at, size, np.uint64(1))


@bare
def _spread(room):
    """Let the table of strings have twice as many slots: few strings then lie close together."""
    mask = 2 * room.filled[MASK] + 1
    room.slots[: mask + 1] = 0
    for code in range(room.filled[STRINGS]):
        slot = string_hash(room.heap, room.strings[code, 0], room.strings[code, 1]) & np.uint64(mask)
        while room.slots[slot] > 0:
            slot = (slot + np.uint64(1)) & np.uint64(mask)
        room.slots[slot] = code + 1
    room.filled[MASK] = mask


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
    data, heap, to = room.window, room.heap, room.filled[HEAP]
    if form == INTEGER:
        value, _ = varint(data, at, at + size)
        return intern(room, heap, to, _decimal(np.int64(value), heap, to) - to)
    end = _list(data, at, size, heap, to) if form == ARRAY else to
    return intern(room, heap, to, end - to) if end > to else np.int64(-1)


@inlined
def intern_value(room, at, size, form, fold):
    """Code of an attribute's value, folded first where its key asks for it; -1 where it names nothing."""
    if form != STRING:
        return _intern_other(room, at, size, form)
    data, heap, to = room.window, room.heap, room.filled[HEAP]
    if fold == FOLD_NONE or size == 0:
        return intern(room, data, at, size)
    if fold == FOLD_PATH:
        return intern(room, heap, to, _fold_path(data, at, size, heap, to) - to)
    return intern(room, heap, to, _fold_query(data, at, size, heap, to) - to)


@inlined
def mix(field, code):
    """64-bit hash of a field and its code."""
    h = (np.uint64(field) << np.uint64(32) | np.uint64(code)) * np.uint64(0xBF58476D1CE4E5B9)
    return (h ^ (h >> np.uint64(31))) * np.uint64(0x94D049BB133111EB)


@inlined
def combine(room, h, width):
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
    number = room.filled[COMBINATIONS]
    for k in range(width):
        room.combinations[number, k] = room.codes[k]
    room.combination_slots[slot] = number + 1
    room.filled[COMBINATIONS] = number + 1
    return number
