"""Messages of many rows woven from columns, against the protobuf encoding written out."""

from __future__ import annotations

import random
import struct
from itertools import pairwise

import numpy as np

from tracescope.kernels.weave import BYTES, FIELDS, FIXED, NUMBER, weave

WORD = 2**64 - 1


def number(value: int) -> bytes:
    """A varint."""
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def test_rows_are_the_fields_of_their_values_in_the_order_of_the_columns() -> None:
    """Bytes with their length, varints, fixed numbers, and fields as they are; what is absent is nothing."""
    rng = random.Random(1)
    data = rng.randbytes(400)
    kinds = (FIELDS, BYTES, NUMBER, FIXED, BYTES, NUMBER)
    tags = (0, 0x0A, 0x30, 0x39, 0x7A, 0x10)
    for rows in (0, 1, 70):
        first = np.zeros((len(kinds), rows), np.int64)
        size = np.full((len(kinds), rows), -1, np.int64)
        wanted: list[bytes] = []
        for row in range(rows):
            message = b""
            for k, (tag, kind) in enumerate(zip(tags, kinds, strict=True)):
                if rng.random() < 0.2:
                    first[k, row] = rng.randint(0, 400)
                    continue
                if kind in (FIELDS, BYTES):
                    length = rng.choice((0, 1, 127, 128, 200))
                    at = rng.randint(0, 400 - length)
                    first[k, row], size[k, row] = at, length
                    head = bytes([tag]) + number(length) if kind == BYTES else b""
                    message += head + data[at : at + length]
                    continue
                value = rng.choice((0, 1, 127, 128, 300, 2**63 - 1, -1, -(2**63)))
                first[k, row], size[k, row] = value, 0
                packed = struct.pack("<q", value) if kind == FIXED else number(value & WORD)
                message += bytes([tag]) + packed
            wanted.append(message)
        columns = np.array(list(zip(tags, kinds, strict=True)), np.int64)
        out, ends = weave(columns, first, size, np.frombuffer(data, np.uint8))
        assert len(ends) == rows + 1
        assert [out[a:b].tobytes() for a, b in pairwise(ends)] == wanted
        assert ends[0] == 0
        assert len(out) == ends[-1]


def test_there_is_room_for_messages_of_nothing_but_the_largest_numbers() -> None:
    columns = np.array([[0x10, NUMBER]] * 3 + [[0x18, NUMBER]] * 2, np.int64)
    minus, size = np.full((5, 5), -1, np.int64), np.zeros((5, 5), np.int64)
    size[3:] = -1  # absent
    out, _ = weave(columns, minus, size, np.zeros(0, np.uint8))
    assert out.tobytes() == (b"\x10" + number(WORD)) * 15
