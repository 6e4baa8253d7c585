"""Bytes: the protobuf wire format, read with every step checked, and a hash of byte strings.

Compiled code checks no bounds, so every function takes the end of the message it reads in, and gives
an error instead of reading past it.  An error is a number of `EXPECTED`; the offset returned with it
is where the thing should have stood.  Byte strings are hashed and compared in words of eight bytes, so
an array that holds one has `SLACK` bytes of room after it, whose values say nothing.

Source: Protocol Buffers encoding specification.
"""

# Inner kernels carry no annotations: their types are what the compiler infers from the arrays given.
# pyright: reportMissingParameterType=false, reportUnknownParameterType=false

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils

from tracescope.kernels import bare, inlined, primitive

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

#: Wire types.
VARINT, FIXED_64, DELIMITED, GROUP, END_GROUP, FIXED_32 = range(6)
DEEPEST = 100
#: The last bytes of every array of input are room for what is open: groups, then values.
SCRATCH = 12 * DEEPEST
VALUES = 8 * DEEPEST
SLACK = 8

_M1 = np.uint64(0x9E3779B97F4A7C15)
_M2 = np.uint64(0xBF58476D1CE4E5B9)
_M3 = np.uint64(0x94D049BB133111EB)


@primitive
def byte(typingctx: Any, data: Any, at: Any) -> Any:
    """One byte of an array; the offset is not negative, so nothing wraps around."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        return builder.zext(builder.load(builder.gep(array.data, [arguments[1]])), ir.IntType(64))

    return types.int64(data, types.int64), generate


@primitive
def little_endian(typingctx: Any, data: Any, at: Any) -> Any:
    """Eight bytes of an array as an unsigned integer, the first lowest, wherever they stand."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        word = builder.bitcast(builder.gep(array.data, [arguments[1]]), ir.IntType(64).as_pointer())
        return builder.load(word, align=1)

    return types.uint64(data, types.int64), generate


@primitive
def trailing_zeros(typingctx: Any, word: Any) -> Any:
    """Zero bits below the lowest bit that is set, of a word that is not zero."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 1))

    return types.uint64(types.uint64), generate


@primitive
def _move(typingctx: Any, data: Any, at: Any, size: Any, out: Any, to: Any) -> Any:
    """`memmove` between two byte arrays."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        source = context.make_array(signature.args[0])(context, builder, arguments[0])
        target = context.make_array(signature.args[3])(context, builder, arguments[3])
        cgutils.raw_memmove(
            builder,
            builder.gep(target.data, [arguments[4]]),
            builder.gep(source.data, [arguments[1]]),
            arguments[2],
            1,
        )
        return context.get_dummy_value()

    return types.void(data, types.int64, types.int64, out, types.int64), generate


@bare
def varint(data, at, end):
    """Value and next offset; the offset is -1 when no varint stands here."""
    value = np.uint64(0)
    shift = np.uint64(0)
    for k in range(10):
        if at >= end:
            break
        low = byte(data, at)
        at += 1
        value |= np.uint64(low & 0x7F) << shift
        if low < 0x80:
            if k == 9 and low > 1:
                break
            return value, np.int64(at)
        shift += np.uint64(7)
    return value, np.int64(-1)


@bare
def _wide_tag(data, at, end):
    if end - at >= 2:
        low, high = byte(data, at), byte(data, at + 1)
        if low >= 0x80 and 0 < high < 0x80:  # two bytes: fields 16 to 2047
            return (low & 0x7F | high << 7) >> 3, low & 7, np.int64(at + 2), np.int64(OK)
    wide, after = varint(data, at, end)
    if after < 0:
        return np.int64(0), np.int64(0), np.int64(at), np.int64(BAD_VARINT)
    if wide > np.uint64(0xFFFFFFFF) or wide < np.uint64(8):
        return np.int64(0), np.int64(0), np.int64(at), np.int64(BAD_FIELD)
    return np.int64(wide) >> 3, np.int64(wide) & 7, after, np.int64(OK)


@inlined
def tag(data, at, end):
    """Field number, wire type, next offset, error."""
    if at < end:
        low = byte(data, at)
        if 8 <= low < 0x80:  # one byte: fields 1 to 15
            return low >> 3, low & 7, np.int64(at + 1), np.int64(OK)
    return _wide_tag(data, at, end)


@bare
def _wide_length(data, at, end):
    wide, after = varint(data, at, end)
    if after < 0:
        return np.int64(0), np.int64(at), np.int64(BAD_VARINT)
    if wide > np.uint64(0x7FFFFFFF) or np.int64(wide) > end - after:
        return np.int64(0), np.int64(at), np.int64(BAD_LENGTH)
    return np.int64(wide), after, np.int64(OK)


@inlined
def length(data, at, end):
    """Length of a delimited field, where it begins, error; the field ends inside its message."""
    if at < end:
        low = byte(data, at)
        if low < 0x80 and low < end - at:
            return low, np.int64(at + 1), np.int64(OK)
    return _wide_length(data, at, end)


@bare
def _skip_plain(data, wire, at, end):
    """Offset after the value of a field that is no group, and an error."""
    if wire == DELIMITED:
        size, begin, error = length(data, at, end)
        return begin + size, error
    if wire == VARINT:
        _, after = varint(data, at, end)
        return (np.int64(at), np.int64(BAD_VARINT)) if after < 0 else (after, np.int64(OK))
    if wire == FIXED_64:
        short = end - at < 8
        return (np.int64(at), np.int64(SHORT_64)) if short else (np.int64(at + 8), np.int64(OK))
    if wire == FIXED_32:
        short = end - at < 4
        return (np.int64(at), np.int64(SHORT_32)) if short else (np.int64(at + 4), np.int64(OK))
    return np.int64(at), np.int64(BAD_WIRE)


@inlined
def put_word(data, at, value):
    """Write 32 bits."""
    data[at] = value & 255
    data[at + 1] = (value >> 8) & 255
    data[at + 2] = (value >> 16) & 255
    data[at + 3] = (value >> 24) & 255


@inlined
def get_word(data, at):
    """Read 32 bits."""
    return (
        np.int64(data[at])
        | np.int64(data[at + 1]) << 8
        | np.int64(data[at + 2]) << 16
        | np.int64(data[at + 3]) << 24
    )


@bare
def _skip_group(data, number, at, end):
    """Offset after the end of a group whose start has been read; groups nest at most `DEEPEST`."""
    begin, bottom = np.int64(at), len(data) - SCRATCH
    put_word(data, bottom, number)
    depth = 1
    while at < end:
        inner, wire, after, error = tag(data, at, end)
        if error:
            return after, error
        at = after
        if wire == END_GROUP:
            depth -= 1
            if get_word(data, bottom + 4 * depth) != inner:
                return after, np.int64(BAD_WIRE)
            if depth == 0:
                return after, np.int64(OK)
        elif wire == GROUP:
            if depth == DEEPEST:
                return after, np.int64(TOO_DEEP)
            put_word(data, bottom + 4 * depth, inner)
            depth += 1
        else:
            at, error = _skip_plain(data, wire, after, end)
            if error:
                return at, error
    return begin, np.int64(OPEN_GROUP)


@bare
def skip(data, number, wire, at, end):
    """Offset after a field's value, and an error; groups are followed to their end."""
    if wire == GROUP:
        return _skip_group(data, number, at, end)
    return _skip_plain(data, wire, at, end)


@inlined
def big_endian(data, at):
    """Eight bytes as a signed integer, the first highest."""
    word = little_endian(data, at)
    value = np.uint64(0)
    for k in range(8):
        value = value << np.uint64(8) | (word >> np.uint64(8 * k)) & np.uint64(255)
    return np.int64(value)


@inlined
def _first(word, count):
    """The first `count` bytes of a word, 0 to 7 of them, and zeros."""
    return word & ((np.uint64(1) << np.uint64(8 * count)) - np.uint64(1))


@inlined
def _stir(h, word):
    h = (h ^ word) * _M2
    return h ^ (h >> np.uint64(29))


@bare
def hash_bytes(data, at, size, seed):
    """64-bit hash of ``data[at:at + size]``; the same on every machine."""
    a = np.uint64(seed) ^ (np.uint64(size) * _M1)
    k = np.int64(0)
    if size >= 64:  # four chains side by side
        b, c, d = a ^ _M1, a ^ _M2, a ^ _M3
        while size - k >= 32:
            a = _stir(a, little_endian(data, at + k))
            b = _stir(b, little_endian(data, at + k + 8))
            c = _stir(c, little_endian(data, at + k + 16))
            d = _stir(d, little_endian(data, at + k + 24))
            k += 32
        a = _stir(_stir(_stir(a, b), c), d)
    while size - k >= 8:
        a = _stir(a, little_endian(data, at + k))
        k += 8
    if k < size:
        a = (a ^ _first(little_endian(data, at + k), size - k)) * _M3
    a = (a ^ (a >> np.uint64(32))) * _M1
    return a ^ (a >> np.uint64(29))


@inlined
def hash_ends(data, at, size):
    """64-bit hash of a byte string's length, first and last eight bytes; for short names."""
    if size >= 8:
        a = _stir(np.uint64(size) * _M1, little_endian(data, at))
        return _stir(a, little_endian(data, at + size - 8)) * _M3
    word = _first(little_endian(data, at), size)
    return _stir(word ^ np.uint64(size), _M1) * _M3


@bare
def same(left, a, right, b, size):
    """Whether two byte strings of `size` bytes are equal."""
    k = np.int64(0)
    while size - k >= 8:
        if little_endian(left, a + k) != little_endian(right, b + k):
            return False
        k += 8
    return _first(little_endian(left, a + k) ^ little_endian(right, b + k), size - k) == 0


@inlined
def copy(data, at, size, out, to):
    """Copy `size` bytes; the offset after them."""
    _move(data, at, size, out, to)
    return to + size


@bare
def put_varint(out, at, value):
    """Write a varint; the offset after it."""
    while value > 127:
        out[at] = np.uint8(value & 127 | 128)
        value >>= 7
        at += 1
    out[at] = np.uint8(value)
    return at + 1
