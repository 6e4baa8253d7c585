"""Protobuf messages of many rows at once, each put together from the row's values in several columns.

    column   tag   row 0        row 1
    name     2A    "checkout"   absent       row 0:  2A 08 checkout  30 03
    kind     30    3            2            row 1:  30 02

What a column's values are: bytes with their length before them, a varint, eight bytes of a fixed number, or
bytes that are fields already.

Source: Protocol Buffers documentation, "Encoding".
"""

# Inner kernels carry no annotations: their types are what the compiler infers from the arrays given.
# pyright: reportMissingParameterType=false, reportUnknownParameterType=false

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tracescope.kernels import bare, kernel
from tracescope.kernels.octets import copy

#: What a column's values are.
FIELDS, BYTES, NUMBER, FIXED = range(4)
#: A tag of one byte, a number of at most ten.
_MOST = 11


@bare
def _put_number(out, at, value):
    """Write an unsigned number as a varint; the offset after it."""
    while value > np.uint64(127):
        out[at] = np.uint8(value & np.uint64(127)) | np.uint8(128)
        value >>= np.uint64(7)
        at += 1
    out[at] = np.uint8(value)
    return at + 1


@kernel
def _weave(columns, first, size, data, out, ends):
    to = np.int64(0)
    for row in range(first.shape[1]):
        for k in range(len(columns)):
            count = size[k, row]
            if count < 0:
                continue
            value, kind = first[k, row], columns[k, 1]
            if kind == FIELDS:
                to = copy(data, value, count, out, to)
                continue
            out[to] = np.uint8(columns[k, 0])
            to += 1
            if kind == BYTES:
                to = _put_number(out, to, np.uint64(count))
                to = copy(data, value, count, out, to)
            elif kind == NUMBER:
                to = _put_number(out, to, np.uint64(value))
            else:
                word = np.uint64(value)
                for _ in range(8):
                    out[to] = np.uint8(word & np.uint64(255))
                    word >>= np.uint64(8)
                    to += 1
        ends[row + 1] = to
    return to


def weave(
    columns: NDArray[np.int64], first: NDArray[np.int64], size: NDArray[np.int64], data: NDArray[np.uint8]
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Put every row's message together.

    Parameters
    ----------
    columns
        Tag and kind of each column ``(k, 2)``.
    first
        Offset of each value in `data`, or its 64 bits where it is a number ``(k, n)``.
    size
        Bytes of each value, 0 for a number, -1 where it is absent ``(k, n)``.
    data
        Where the bytes are.

    Returns
    -------
    out, ends
        The messages one after the other, and where each begins and the last ends ``(n + 1,)``.
    """
    rows = first.shape[1]
    ends = np.zeros(rows + 1, np.int64)
    most = int(np.maximum(size, 0).sum()) + _MOST * int((size >= 0).sum())
    out: Any = np.empty(most, np.uint8)
    end = _weave(columns, first, size, data, out, ends)
    return out[:end], ends
