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

from tracescope.kernels import inlined, kernel
from tracescope.schema import HOUR_NS

I64 = NDArray[np.int64]
Bools = NDArray[np.bool_]

#: Up to so many spans a trace is sorted by insertion; also six bits of an id.
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


@kernel
def group_by_trace(hi, lo, seed):
    """Trace number of each row ``(n,)`` by first appearance, and bounds ``(t + 1,)``."""
    n = len(hi)
    size = 16
    while size < 2 * n:
        size *= 2
    mask = np.uint64(size - 1)
    table = np.full(size, -1, np.int32)
    trace = np.empty(n, np.int32)
    first = np.empty(n, np.int32)
    count = np.zeros(n + 1, np.int64)
    traces = 0
    for i in range(n):
        if i > 0 and hi[i] == hi[i - 1] and lo[i] == lo[i - 1]:
            t = trace[i - 1]
        else:
            slot = mix(hi[i] ^ seed, lo[i]) & mask
            while True:
                t = table[slot]
                if t < 0:
                    t = np.int32(traces)
                    table[slot] = t
                    first[t] = i
                    traces += 1
                    break
                if hi[first[t]] == hi[i] and lo[first[t]] == lo[i]:
                    break
                slot = (slot + np.uint64(1)) & mask
        trace[i] = t
        count[t + 1] += 1
    start = np.cumsum(count[: traces + 1])
    return trace, start


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
    rows[lo:hi] = one


@inlined
def _sort_short(rows, lo, hi, span_id, content_hash, members, key, count):
    """Sort few rows by id and content hash: by six bits first, as ids are random, then by insertion."""
    count[:] = 0
    for a in range(lo, hi):
        members[a - lo] = rows[a]
        count[(span_id[rows[a]] >> 58) + 33] += 1
    for digit in range(SHORT):
        count[digit + 1] += count[digit]
    for a in range(hi - lo):
        digit = (span_id[members[a]] >> 58) + 32
        place = count[digit]
        count[digit] += 1
        rows[lo + place] = members[a]
        key[place] = span_id[members[a]]
    for a in range(1, hi - lo):
        row, wanted = rows[lo + a], key[a]
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
    members, key = np.empty(SHORT, np.int64), np.empty(SHORT, np.int64)
    count = np.empty(SHORT + 1, np.int64)
    kept = 0
    for t in range(len(start) - 1):
        lo, hi = start[t], start[t + 1]
        if hi - lo <= SHORT:
            _sort_short(rows, lo, hi, span_id, content_hash, members, key, count)
        else:
            _radix_sort(rows, lo, hi, span_id)
            a = lo
            while a < hi:  # runs of one id, by content hash
                b = a + 1
                while b < hi and span_id[rows[b]] == span_id[rows[a]]:
                    b += 1
                if b - a > 1:
                    run = rows[a:b].copy()
                    rows[a:b] = run[np.argsort(content_hash[run], kind="mergesort")]
                a = b
        last = rows[lo]
        for a in range(lo, hi):
            row = rows[a]
            if a > lo and span_id[row] == span_id[last]:
                conflicts[t] += content_hash[row] != content_hash[last]
            else:
                rows[kept] = row
                kept += 1
            last = row
        kept_start[t + 1] = kept
    return rows[:kept].copy(), kept_start, conflicts


@inlined
def find_span(order, lo, hi, span_id, wanted):
    """Position in ``[lo, hi)`` of the span with an id; -1 when it is not there."""
    a, b = lo, hi
    while a < b:
        middle = (a + b) // 2
        if span_id[order[middle]] < wanted:
            a = middle + 1
        else:
            b = middle
    return a if a < hi and span_id[order[a]] == wanted else np.int64(-1)


@kernel
def _windows(order, trace_start, start_ns, conflicts, window_ns, first_keep, last_keep):
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
        low, high = start_ns[members[0]], start_ns[members[0]]
        for a in range(1, size):
            low, high = min(low, start_ns[members[a]]), max(high, start_ns[members[a]])
        whole = high < low // HOUR_NS * HOUR_NS + window_ns
        by_start = np.argsort(start_ns[members]) if not whole else np.empty(0, np.int64)
        a = 0
        while a < size:
            b = size
            if not whole:
                low = start_ns[members[by_start[a]]]
                limit = low // HOUR_NS * HOUR_NS + window_ns
                b = a
                while b < size and start_ns[members[by_start[b]]] < limit:
                    b += 1
            if first_keep <= low < last_keep:
                rows[at : at + b - a] = members if whole else members[np.sort(by_start[a:b])]
                at += b - a
                first[parts] = low
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
    trace, start = group_by_trace(trace_hi, trace_lo, SEED)
    order, start, conflicts = _sort_and_dedupe(trace, start, span_id, content_hash)
    low, high = keep if keep is not None else (FOREVER[0], FOREVER[1])
    window = FOREVER[1] // 2 if window_ns is None else window_ns
    if not len(order):
        nothing = np.empty(0, np.int64)
        return Traces(order, start, nothing, nothing, np.empty(0, np.bool_))
    return Traces(*_windows(order, start, start_ns, conflicts, window, low, high))
