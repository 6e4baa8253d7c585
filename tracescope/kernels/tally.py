"""Rows of four integers are numbered by first appearance, and what stands beside them is added up.

Tables grow outside the loops that fill them: a loop stops where a row may find no room, and goes on
there in larger ones, so that it passes no array on that could be another one next time.
"""

# Inner kernels carry no annotations: their types are what the compiler infers from the arrays given.
# pyright: reportMissingParameterType=false, reportUnknownParameterType=false

from __future__ import annotations

import numpy as np

from tracescope.kernels import bare, inlined, kernel


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
    """Number of the row (a, b, c, d) among `size`; a new one is added, for which there must be room."""
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


@kernel
def roomier(rows, size):
    """Double the room for the `size` rows there are, and rebuild their table."""
    more = np.empty((2 * len(rows), 4), np.int64)
    more[:size] = rows[:size]
    table = np.full(8 * len(rows), -1, np.int32)
    for r in range(size):
        intern(more, r, table, more[r, 0], more[r, 1], more[r, 2], more[r, 3])
    return more, table


@bare
def _tally_on(at, keys, measures, distinct, count, table, sums, number):
    """Go on at row `at` until distinct rows may not suffice; returns where, and how many."""
    while at < len(keys) and count < len(distinct):
        k = intern(distinct, count, table, keys[at, 0], keys[at, 1], keys[at, 2], keys[at, 3])
        if k == count:
            sums[k] = 0
            count += 1
        for m in range(measures.shape[1]):
            sums[k, m] += measures[at, m]
        number[at] = k
        at += 1
    return at, count


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
    distinct, table, count = np.empty((256, 4), np.int64), np.full(1024, -1, np.int32), 0
    sums = np.empty((256, measures.shape[1]), np.int64)
    number = np.empty(len(keys), np.int32)
    at = 0
    while True:
        at, count = _tally_on(at, keys, measures, distinct, count, table, sums, number)
        if at == len(keys):
            return distinct[:count].copy(), sums[:count].copy(), number
        distinct, table = roomier(distinct, count)
        more = np.empty((len(distinct), measures.shape[1]), np.int64)
        more[:count] = sums
        sums = more


@kernel
def sum_by(index, values, size):
    """Sum of the values of each index below `size`."""
    out = np.zeros(size, np.int64)
    for i in range(len(index)):
        out[index[i]] += values[i]
    return out
