"""Rows in any order become traces: grouped, without duplicates, cut where they outlast their window.

Rows are sorted by trace and span id before anything is decided, so the order of arrival changes
nothing; of different spans with the same ids the smallest content hash stays.

Source: design, sections 4 (normalise) and 9 (the window of a trace).
"""

# Inner kernels carry no annotations: their types are what the compiler infers from the arrays given.
# pyright: reportMissingParameterType=false, reportUnknownParameterType=false

from __future__ import annotations

import secrets
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tracescope.kernels import bare, constant, inlined, kernel
from tracescope.kernels.tally import with_room
from tracescope.schema import HOUR_NS

I64 = NDArray[np.int64]
Bools = NDArray[np.bool_]

#: So many ids with the same leading bits are sorted by insertion.
SHORT = 64
#: Spreads ids over hash tables, so that nobody can choose ids that fall together.
SEED = np.int64(secrets.randbits(63))

#: All of time, in ns.
FOREVER = (-(2**63), 2**63 - 1)


@dataclass(frozen=True, slots=True)
class Traces:
    """Rows grouped by trace, without duplicates.

    Attributes
    ----------
    order, start
        Rows kept, by trace, by span id within; bounds ``(t + 1,)`` of each trace.
    first_ns, conflicts, later
        Of each trace ``(t,)``: its earliest start as sent, spans that share ids with another one, and
        whether it is what was left of a trace that outlasts its window.
    """

    order: I64
    start: I64
    first_ns: I64
    conflicts: I64
    later: Bools


@inlined
def mix(hi, lo):
    """Spread 128 bits over 64 (the finaliser of splitmix64)."""
    x = np.uint64(hi) * np.uint64(0x9E3779B97F4A7C15) ^ np.uint64(lo)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


@inlined
def _look_up(table, seen, hi, lo, seed):
    """Number of a trace, or -1, and its place in the table."""
    mask = np.uint64(len(table) - 1)
    slot = mix(hi ^ seed, lo) & mask
    while True:
        t = table[slot]
        if t < 0 or (seen[t, 0] == hi and seen[t, 1] == lo):
            return t, slot
        slot = (slot + np.uint64(1)) & mask


@bare
def _number(i, traces, hi, lo, start_ns, seed, table, seen, trace):
    """Number rows from `i` on until a trace finds no room; returns where, and how many traces."""
    t = np.int32(-1)
    while i < len(hi):
        if t < 0 or hi[i] != seen[t, 0] or lo[i] != seen[t, 1]:
            t, slot = _look_up(table, seen, hi[i], lo[i], seed)
            if t < 0:
                if traces == len(seen):
                    break
                t = np.int32(traces)
                table[slot] = t
                seen[t, 0], seen[t, 1], seen[t, 2] = hi[i], lo[i], 0
                seen[t, 3], seen[t, 4] = start_ns[i], start_ns[i]
                traces += 1
        trace[i] = t
        seen[t, 2] += 1
        seen[t, 3] = min(seen[t, 3], start_ns[i])
        seen[t, 4] = max(seen[t, 4], start_ns[i])
        i += 1
    return i, traces


@kernel
def group_by_trace(hi, lo, start_ns, seed):
    """Trace number of each row ``(n,)`` by first appearance, bounds ``(t + 1,)``, first and last start."""
    seen = np.empty((128, 5), np.int64)  # a trace's ids, rows, first and last start; grows as they come
    trace = np.empty(len(hi), np.int32)
    at, traces = 0, 0
    while True:
        table = np.full(2 * len(seen), -1, np.int32)
        for t in range(traces):
            table[_look_up(table, seen, seen[t, 0], seen[t, 1], seed)[1]] = t
        at, traces = _number(at, traces, hi, lo, start_ns, seed, table, seen, trace)
        if at == len(hi):
            start = np.zeros(traces + 1, np.int64)
            for t in range(traces):
                start[t + 1] = start[t] + seen[t, 2]
            return trace, start, seen[:traces, 3].copy(), seen[:traces, 4].copy()
        seen = with_room(seen, traces)


@kernel
def _radix_sort(rows, lo, hi, span_id):
    """Sort ``rows[lo:hi]`` by id, byte by byte: time per row does not depend on how many there are."""
    size = hi - lo
    count = np.zeros((8, 256), np.int64)
    one, two = rows[lo:hi].copy(), np.empty(size, np.int64)
    key, other = np.empty(size, np.uint64), np.empty(size, np.uint64)
    for a in range(size):
        key[a] = np.uint64(span_id[one[a]]) ^ np.uint64(1 << 63)  # signed order
        for byte in range(8):
            count[byte, (key[a] >> np.uint64(8 * byte)) & np.uint64(255)] += 1
    for byte in range(8):
        shift = np.uint64(8 * byte)
        if count[byte, (key[0] >> shift) & np.uint64(255)] == size:
            continue
        at = 0
        for digit in range(256):
            count[byte, digit], at = at, at + count[byte, digit]
        for a in range(size):
            digit = (key[a] >> shift) & np.uint64(255)
            place = count[byte, digit]
            count[byte, digit] += 1
            other[place], two[place] = key[a], one[a]
        key, other = other, key
        one, two = two, one
    for a in range(size):
        rows[lo + a] = one[a]


@bare
def _sort_by_bits(rows, lo, hi, span_id, content_hash, members, ids, key, count):
    """Sort ``rows[lo:hi]`` by id and content hash: by leading bits, as ids are random, then by insertion.

    Sorts nothing and returns False where too many share their leading bits.
    """
    size = hi - lo
    bits = 6
    while 1 << bits < size:
        bits += 1
    shift, half = 64 - bits, (1 << bits) >> 1  # signed order
    count[: 2 * half + 1] = 0
    for a in range(size):
        members[a] = rows[lo + a]
        ids[a] = span_id[members[a]]
        count[(ids[a] >> shift) + half + 1] += 1
    if size > SHORT:
        for digit in range(2 * half):
            if count[digit + 1] > SHORT:
                return False
    for digit in range(2 * half):
        count[digit + 1] += count[digit]
    for a in range(size):
        digit = (ids[a] >> shift) + half
        place = count[digit]
        count[digit] += 1
        rows[lo + place], key[place] = members[a], ids[a]
    for a in range(1, size):
        wanted = key[a]
        if wanted > key[a - 1]:
            continue
        row = rows[lo + a]
        b = a
        while b > 0 and (
            key[b - 1] > wanted
            or (key[b - 1] == wanted and content_hash[rows[lo + b - 1]] > content_hash[row])
        ):
            key[b] = key[b - 1]
            rows[lo + b] = rows[lo + b - 1]
            b -= 1
        key[b] = wanted
        rows[lo + b] = row
    return True


@kernel
def _sort_clustered(rows, lo, hi, span_id, content_hash, key):
    """Sort ``rows[lo:hi]`` by id and content hash, whatever the ids."""
    _radix_sort(rows, lo, hi, span_id)
    a = lo
    while a < hi:
        b = a + 1
        while b < hi and span_id[rows[b]] == span_id[rows[a]]:
            b += 1
        if b - a > 1:
            _radix_sort(rows, a, b, content_hash)
        a = b
    for a in range(hi - lo):
        key[a] = span_id[rows[lo + a]]


@kernel
def _sort_and_dedupe(trace, start, span_id, content_hash):
    """Rows kept, by trace and span id; exact repeats go, of different ones the smallest hash stays."""
    n = len(trace)
    rows = np.empty(n, np.int64)
    cursor = start.copy()
    for i in range(n):
        t = trace[i]
        rows[cursor[t]] = i
        cursor[t] += 1
    kept_start = np.zeros(len(start), np.int64)
    conflicts = np.zeros(len(start) - 1, np.int64)
    longest = SHORT
    for t in range(len(start) - 1):
        longest = max(longest, start[t + 1] - start[t])
    members, ids, key = np.empty(longest, np.int64), np.empty(longest, np.int64), np.empty(longest, np.int64)
    count = np.empty(2 * longest + 1, np.int32)
    kept = 0
    for t in range(len(start) - 1):
        lo, hi = start[t], start[t + 1]
        if not _sort_by_bits(rows, lo, hi, span_id, content_hash, members, ids, key, count):
            _sort_clustered(rows, lo, hi, span_id, content_hash, key)
        last = rows[lo]
        for a in range(lo, hi):
            row = rows[a]
            if a > lo and key[a - lo] == key[a - lo - 1]:
                conflicts[t] += content_hash[row] != content_hash[last]
            else:
                rows[kept] = row
                kept += 1
            last = row
        kept_start[t + 1] = kept
    return rows[:kept], kept_start, conflicts


@inlined
def find_span(order, lo, hi, span_id, target):
    """Position in ``[lo, hi)`` of the span with an id; -1 when it is not there."""
    a, b = lo, hi
    while a < b:
        middle = (a + b) // 2
        if span_id[order[middle]] < target:
            a = middle + 1
        else:
            b = middle
    return a if a < hi and span_id[order[a]] == target else np.int64(-1)


@bare
def _spread_of_kept(order, given, start, start_ns, low, high):
    """Mend the earliest and latest start of traces that lost a row."""
    for t in range(len(low)):
        if start[t + 1] - start[t] < given[t + 1] - given[t]:
            low[t] = high[t] = start_ns[order[start[t]]]
            for a in range(start[t], start[t + 1]):
                low[t], high[t] = min(low[t], start_ns[order[a]]), max(high[t], start_ns[order[a]])


@kernel
def _windows(order, trace_start, span_id, start_ns, low, high, conflicts, window_ns, first_keep, last_keep):
    """Cut traces that outlast their window, and keep those that start in ``[first_keep, last_keep)``.

    A trace's first part holds what starts within the window of the hour it starts in; what is left
    makes further parts by the same rule.  Returns rows, bounds, earliest start, conflicts and
    whether each is a later part.
    """
    n = len(order)
    rows = np.empty(n, np.int64)
    bounds = np.zeros(n + 1, np.int64)
    first = np.empty(n, np.int64)
    count = np.empty(n, np.int64)
    later = np.zeros(n, np.bool_)
    at, parts = 0, 0
    for t in range(len(trace_start) - 1):
        members = order[trace_start[t] : trace_start[t + 1]]
        size = len(members)
        begin = low[t]
        whole = high[t] < begin // HOUR_NS * HOUR_NS + window_ns
        by_start = members.copy()
        if not whole:
            _radix_sort(by_start, 0, size, start_ns)
        a = 0
        while a < size:
            b = size
            if not whole:
                begin = start_ns[by_start[a]]
                limit = begin // HOUR_NS * HOUR_NS + window_ns
                b = a
                while b < size and start_ns[by_start[b]] < limit:
                    b += 1
            if first_keep <= begin < last_keep:
                for k in range(a, b):
                    rows[at + k - a] = by_start[k]
                if not whole:  # rows of a trace are in order of their ids
                    _radix_sort(rows, at, at + b - a, span_id)
                at += b - a
                first[parts] = begin
                count[parts] = conflicts[t] if a == 0 else 0
                later[parts] = a > 0
                parts += 1
                bounds[parts] = at
            a = b
    return (
        rows[:at].copy(), bounds[: parts + 1].copy(), first[:parts].copy(), count[:parts].copy(),
        later[:parts].copy(),
    )  # fmt: skip


def group_traces(
    trace_hi: I64,
    trace_lo: I64,
    span_id: I64,
    content_hash: I64,
    start_ns: I64,
    *,
    window_ns: int | None = None,
    keep: tuple[int, int] | None = None,
) -> Traces:
    """Group rows ``(n,)`` in any order by trace and settle duplicates.

    Parameters
    ----------
    trace_hi, trace_lo, span_id, content_hash, start_ns
        Columns of SPANS.
    window_ns
        Cut traces so long after the hour they start in; None for never.
    keep
        Half-open interval in ns: only traces whose earliest start lies in it.
    """
    span_id, content_hash, start_ns = map(constant, (span_id, content_hash, start_ns))
    trace, given, low, high = group_by_trace(constant(trace_hi), constant(trace_lo), start_ns, SEED)
    order, start, conflicts = _sort_and_dedupe(trace, given, span_id, content_hash)
    _spread_of_kept(order, given, start, start_ns, low, high)
    first_keep, last_keep = keep if keep is not None else (FOREVER[0], FOREVER[1])
    window = FOREVER[1] // 2 if window_ns is None else window_ns
    whole = high < low // HOUR_NS * HOUR_NS + window
    if (whole & (first_keep <= low) & (low < last_keep)).all():
        return Traces(order, start, low, conflicts, np.zeros(len(low), np.bool_))
    return Traces(
        *_windows(order, start, span_id, start_ns, low, high, conflicts, window, first_keep, last_keep)
    )
