"""Attributes as they stand in a message: a KeyValue's key and value, and what lies nested in a value.

    KeyValue     1 key     2 AnyValue
    AnyValue     1 string  2 boolean  3 integer  4 double  5 ArrayValue  6 KeyValueList  7 bytes

What is nested is followed with a stack in the window's last bytes, down to `DEEPEST`.
"""

# Inner kernels carry no annotations: their types are what the compiler infers from the arrays given.
# pyright: reportMissingParameterType=false, reportUnknownParameterType=false

from __future__ import annotations

import numpy as np

from tracescope.kernels import bare, inlined
from tracescope.kernels.octets import (
    DEEPEST,
    DELIMITED,
    FIXED_64,
    OK,
    TOO_DEEP,
    VALUES,
    VARINT,
    byte,
    get_word,
    length,
    little_endian,
    put_word,
    skip,
    tag,
)

#: Fields of AnyValue, and the wire type of each.
STRING, BOOLEAN, INTEGER, DOUBLE, ARRAY, MAP, BYTES = range(1, 8)
_FORM_WIRE = np.array([-1, DELIMITED, VARINT, VARINT, FIXED_64, DELIMITED, DELIMITED, DELIMITED], np.int64)


@inlined
def level_inside(level, number):
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
        inner = level_inside(level, number) if wire == DELIMITED else np.int64(-1)
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
def attribute(data, at, end):
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
    """`attribute` in any form that protobuf allows."""
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
