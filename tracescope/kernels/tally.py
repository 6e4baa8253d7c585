"""Rows of four integers are numbered by first appearance, and what stands beside them is added up.

Tables grow outside the loops that fill them: a loop stops where a row may find no room, and goes on
there in larger ones, so that it passes no array on that could be another one next time.
"""

# Inner kernels carry no annotations: their types are what the compiler infers from the arrays given.
# pyright: reportMissingParameterType=false, reportUnknownParameterType=false

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tracescope.kernels import bare, inlined, kernel


class Table(NamedTuple):
    """Distinct rows of four integers, in order of appearance.

    ``rows`` ``(room, 4)`` has ``size[0]`` in use; ``slots`` is a hash table of their numbers, -1 for empty.
    """

    rows: NDArray[Any]
    slots: NDArray[Any]
    size: NDArray[Any]


@inlined
def hash4(a, b, c, d):
    """Spread four integers over 64 bits."""
    x = np.uint64(a) * np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ np.uint64(b) ^ (x >> np.uint64(29))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ np.uint64(c) ^ (x >> np.uint64(31))) * np.uint64(0x94D049BB133111EB)
    x = (x ^ np.uint64(d) ^ (x >> np.uint64(29))) * np.uint64(0xBF58476D1CE4E5B9)
    return x ^ (x >> np.uint64(32))


@inlined
def intern(rows, size, table, a, b, c, d):
    """Number of the row (a, b, c, d) among `size`; a new one is written behind them: there must be room."""
    mask = np.uint64(len(table) - 1)
    slot = hash4(a, b, c, d) & mask
    while True:
        r = np.int64(table[slot])
        if r < 0:
            rows[size, 0], rows[size, 1], rows[size, 2], rows[size, 3] = a, b, c, d
            table[slot] = size
            return size
        if rows[r, 0] == a and rows[r, 1] == b and rows[r, 2] == c and rows[r, 3] == d:
            return r
        slot = (slot + np.uint64(1)) & mask


@inlined
def number_of(table, a, b, c, d):
    """`intern`, into a `Table`."""
    size = table.size[0]
    number = intern(table.rows, size, table.slots, a, b, c, d)
    if number == size:
        table.size[0] = size + 1
    return np.int64(number)


@inlined
def has_room(table, more):
    """Whether a `Table` has room for so many rows more."""
    return table.size[0] + more <= len(table.rows)


@kernel
def new_table(room):
    """Give a `Table` without rows, with room for some: a power of two."""
    return Table(np.empty((room, 4), np.int64), np.full(4 * room, -1, np.int32), np.zeros(1, np.int64))


@kernel
def with_room(rows, size):
    """Copy the first `size` rows ``(room, m)`` into twice the room.

    Value by value: an assignment between slices brings along how numba words its errors, two seconds of
    compiling.
    """
    out = np.empty((2 * len(rows), rows.shape[1]), np.int64)
    for r in range(size):
        for c in range(rows.shape[1]):
            out[r, c] = rows[r, c]
    return out


@kernel
def grown(table):
    """Double a `Table`'s room, and find its rows anew."""
    size = table.size[0]
    rows, slots = with_room(table.rows, size), np.full(8 * len(table.rows), -1, np.int32)
    for r in range(size):
        intern(rows, r, slots, rows[r, 0], rows[r, 1], rows[r, 2], rows[r, 3])
    return Table(rows, slots, table.size)


@bare
def _tally_on(at, keys, measures, distinct, sums, number):
    """Go on at row `at` until distinct rows may not suffice; returns where."""
    while at < len(keys) and has_room(distinct, 1):
        count = distinct.size[0]
        k = number_of(distinct, keys[at, 0], keys[at, 1], keys[at, 2], keys[at, 3])
        if k == count:
            sums[k] = 0
        for m in range(measures.shape[1]):
            sums[k, m] += measures[at, m]
        number[at] = k
        at += 1
    return at


@kernel
def tally(keys, measures):
    """Add rows ``(n, m)`` up whose keys ``(n, 4)`` are the same.

    Returns
    -------
    distinct ``(k, 4)``, sums ``(k, m)``
        Keys by first appearance, and what they add up to.
    number ``(n,)``
        Which of them each row has.
    """
    distinct = new_table(256)
    sums = np.empty((256, measures.shape[1]), np.int64)
    number = np.empty(len(keys), np.int32)
    at = 0
    while True:
        at = _tally_on(at, keys, measures, distinct, sums, number)
        if at == len(keys):
            count = distinct.size[0]
            return distinct.rows[:count].copy(), sums[:count].copy(), number
        sums = with_room(sums, distinct.size[0])
        distinct = grown(distinct)


@kernel
def sum_by(index, values, size):
    """Sum of the values of each index below `size`."""
    out = np.zeros(size, np.int64)
    for i in range(len(index)):
        out[index[i]] += values[i]
    return out
