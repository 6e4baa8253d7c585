"""Spans become a forest: traces grouped, parents found, clocks reconciled, units of work begun.

    gateway   SERVER |------------------------------|            request, walk group 0
    checkout  CLIENT    |------------------------|               blocks
    checkout  SERVER     |----------------------|                blocks
    orders    PRODUCER        |--|                               blocks
    worker    CONSUMER               |----------------|          message, walk group 1
    audit     INTERNAL                          |-----------|    detached, walk group 2

A *walk group* is a span and everything it waits for; each group is walked once.  A unit of work is
a clock put on a group: one for a request or a detached group, one for each hop of a message (a
batch consumer with N links has N units that share a group).

Nothing is dropped without a counter.  Rows are sorted by trace and span id before anything is
decided, so the order of arrival changes nothing.

Source: design, section 4 (normalise, clock skew, what blocks, message units).
"""

# Inner kernels carry no annotations: their types are what the compiler infers from the arrays given.
# pyright: reportMissingParameterType=false, reportUnknownParameterType=false

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tracescope.kernels import inlined, kernel
from tracescope.schema import (
    CLASS_DB,
    KIND_CLIENT,
    KIND_CONSUMER,
    KIND_INTERNAL,
    KIND_PRODUCER,
    KIND_SERVER,
    KIND_UNSPECIFIED,
    MSG_RECEIVE,
    MSG_SEND,
    UNIT_DETACHED,
    UNIT_MESSAGE,
    UNIT_REQUEST,
)

I8 = NDArray[np.int8]
I32 = NDArray[np.int32]
I64 = NDArray[np.int64]
Bools = NDArray[np.bool_]

#: What a span is to the critical path; CALL has its SERVER here, LEAF_CALL has not.
(
    ROLE_INTERNAL,
    ROLE_SERVER,
    ROLE_CONSUMER,
    ROLE_CALL,
    ROLE_LEAF_CALL,
    ROLE_DB,
    ROLE_PUBLISH,
) = range(7)

#: A child that outlives its parent by more than the larger of these does not block it.
OVERHANG_NS = 1_000_000
OVERHANG_PARTS = 20  # 5 %

COUNTERS = (
    "duplicate_conflict",
    "end_before_start",
    "parent_cycle",
    "missing_parent",
    "skew_uncertain",
    "skew_corrected",
    "negative_wait",
    "detached",
)


@dataclass(frozen=True, slots=True)
class SpanArrays:
    """Columns of SPANS as arrays ``(n,)``; services and hosts as codes, links flat.

    ``host`` is -1 where unknown.  ``link_offset`` ``(n + 1,)`` delimits each span's links in
    ``link_hi``, ``link_lo``, ``link_span``.
    """

    trace_hi: I64
    trace_lo: I64
    span_id: I64
    parent_span_id: I64
    start_ns: I64
    end_ns: I64
    kind: I8
    edge_class: I8
    messaging_op: I8
    service: I32
    host: I32
    content_hash: I64
    link_offset: I64
    link_hi: I64
    link_lo: I64
    link_span: I64


@dataclass(frozen=True, slots=True)
class Forest:
    """Spans in order, their parents and the units of work they make up.

    Every array but ``order`` is indexed by sorted position ``(n,)``, walk group ``(g,)`` or unit
    ``(u,)``.

    Attributes
    ----------
    order
        Input rows kept, grouped by trace, sorted by span id within a trace.
    trace, trace_start
        Trace number of a span, and bounds ``(t + 1,)`` of each trace.
    parent
        Position of the parent, -1 for none.
    start_ns, end_ns, offset_ns
        Times after mending and skew; the offset that was added.
    role, callee, blocks
        ROLE_*; the SERVER of a CALL or -1; whether the span blocks its parent.
    group, sequence, group_start, group_root
        Walk group of a span; positions group by group, parents before children; bounds
        ``(g + 1,)`` of each group in ``sequence``; the group's first span.
    hops
        Units that share a group: 1, or the number of messages in a batch.
    unit_*
        Group, UNIT_*, clock, wait, producer's position (-1: none here) and flags of each unit.
    hop_*
        Links to producers in other traces: unit, and the producer's ids.
    unconsumed
        Publishing spans that nobody in their trace consumed.
    child_start, child
        Children of each span: bounds ``(n + 1,)`` and positions.
    counts
        What was mended or set apart, per trace ``(t, len(COUNTERS))``.
    """

    order: I64
    trace: I32
    trace_start: I64
    parent: I32
    start_ns: I64
    end_ns: I64
    offset_ns: I64
    role: I8
    callee: I32
    blocks: Bools
    group: I32
    sequence: I32
    group_start: I64
    group_root: I32
    hops: I32
    unit_group: I32
    unit_kind: I8
    unit_start_ns: I64
    unit_end_ns: I64
    unit_wait_ns: I64
    unit_producer: I32
    unit_incomplete: Bools
    unit_skewed: Bools
    hop_unit: I32
    hop_hi: I64
    hop_lo: I64
    hop_span: I64
    unconsumed: I32
    child_start: I64
    child: I32
    counts: I64

    def counters(self) -> dict[str, int]:
        """What was mended or set apart, in all, by reason."""
        return dict(zip(COUNTERS, self.counts.sum(axis=0).tolist(), strict=True))


@inlined
def _mix(hi: np.int64, lo: np.int64) -> np.uint64:
    """Spread 128 bits over 64 (the finaliser of splitmix64)."""
    x = np.uint64(hi) * np.uint64(0x9E3779B97F4A7C15) ^ np.uint64(lo)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


@kernel
def group_by_trace(hi, lo):
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
            slot = _mix(hi[i], lo[i]) & mask
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
    kept = 0
    last_id, last_hash = np.int64(0), np.int64(0)
    for t in range(len(start) - 1):
        lo, hi = start[t], start[t + 1]
        if hi - lo <= 48:
            for a in range(lo + 1, hi):
                row = rows[a]
                key, tie = span_id[row], content_hash[row]
                b = a - 1
                while b >= lo and (
                    span_id[rows[b]] > key or (span_id[rows[b]] == key and content_hash[rows[b]] > tie)
                ):
                    rows[b + 1] = rows[b]
                    b -= 1
                rows[b + 1] = row
        else:
            part = rows[lo:hi].copy()
            part = part[np.argsort(span_id[part], kind="mergesort")]
            a = 0
            while a < len(part):  # runs of one id, by content hash
                b = a + 1
                while b < len(part) and span_id[part[b]] == span_id[part[a]]:
                    b += 1
                if b - a > 1:
                    run = part[a:b].copy()
                    part[a:b] = run[np.argsort(content_hash[run], kind="mergesort")]
                a = b
            rows[lo:hi] = part
        for a in range(lo, hi):
            row = rows[a]
            if a > lo and span_id[row] == last_id:
                conflicts[t] += content_hash[row] != last_hash
            else:
                rows[kept] = row
                kept += 1
            last_id, last_hash = span_id[row], content_hash[row]
        kept_start[t + 1] = kept
    return rows[:kept].copy(), kept_start, conflicts


@kernel
def _find_parents(order, start, span_id, parent_span_id):
    """Position of each span's parent; -1 without one, -2 when it names one that is not here."""
    n = len(order)
    parent = np.empty(n, np.int32)
    trace = np.empty(n, np.int32)
    for t in range(len(start) - 1):
        lo, hi = start[t], start[t + 1]
        for i in range(lo, hi):
            trace[i] = t
            wanted = parent_span_id[order[i]]
            if wanted == 0:
                parent[i] = -1
                continue
            a, b = lo, hi
            while a < b:
                middle = (a + b) // 2
                if span_id[order[middle]] < wanted:
                    a = middle + 1
                else:
                    b = middle
            parent[i] = a if a < hi and span_id[order[a]] == wanted else -2
    return parent, trace


@kernel
def _break_cycles(parent, start_ns):
    """Cut each parent cycle at its earliest start (ties: lowest position); returns where."""
    n = len(parent)
    state = np.zeros(n, np.int8)  # 0 unseen, 1 on the chain being followed, 2 done
    chain = np.empty(n, np.int32)
    broken = np.zeros(n, np.bool_)
    for i in range(n):
        if state[i] != 0:
            continue
        depth = 0
        j = np.int32(i)
        while j >= 0 and state[j] == 0:
            state[j] = 1
            chain[depth] = j
            depth += 1
            j = parent[j]
        if j >= 0 and state[j] == 1:
            earliest = j
            k = parent[j]
            while k != j:
                if start_ns[k] < start_ns[earliest] or (start_ns[k] == start_ns[earliest] and k < earliest):
                    earliest = k
                k = parent[k]
            parent[earliest] = -2
            broken[earliest] = True
        for d in range(depth):
            state[chain[d]] = 2
    return broken


@kernel
def _children(parent):
    """Children of each span as bounds ``(n + 1,)`` and positions, in order of position."""
    n = len(parent)
    begin = np.zeros(n + 1, np.int64)
    for i in range(n):
        if parent[i] >= 0:
            begin[parent[i] + 1] += 1
    for i in range(n):
        begin[i + 1] += begin[i]
    cursor = begin[:n].copy()
    child = np.empty(begin[n], np.int32)
    for i in range(n):
        p = parent[i]
        if p >= 0:
            child[cursor[p]] = i
            cursor[p] += 1
    return begin, child


@kernel
def _roles(parent, begin, child, kind, edge_class, messaging_op, service):
    """ROLE_* of each span, and the SERVER that answers each CALL.

    Sources without kinds are read by services alone: what starts in another service than its
    parent was called, and a span whose one child lies in another service called it.
    """
    n = len(parent)
    role = np.zeros(n, np.int8)
    callee = np.full(n, -1, np.int32)
    for i in range(n):
        k = kind[i]
        p = parent[i]
        if k == KIND_SERVER:
            role[i] = ROLE_SERVER
        elif k == KIND_CONSUMER:
            role[i] = ROLE_CONSUMER
        elif k == KIND_PRODUCER or (k == KIND_CLIENT and messaging_op[i] == MSG_SEND):
            role[i] = ROLE_PUBLISH
        elif edge_class[i] == CLASS_DB:
            role[i] = ROLE_DB
        elif k == KIND_CLIENT:
            role[i] = ROLE_LEAF_CALL
        elif p >= 0 and service[p] != service[i]:
            role[i] = ROLE_SERVER
    for i in range(n):
        r = role[i]
        if r != ROLE_LEAF_CALL and r != ROLE_DB and r != ROLE_INTERNAL:
            continue
        found = np.int32(-1)
        wraps = False
        for c in range(begin[i], begin[i + 1]):
            j = child[c]
            if role[j] == ROLE_SERVER and (kind[j] == KIND_SERVER or service[j] != service[i]):
                if found < 0:
                    found = j
            elif service[j] == service[i] and role[j] >= ROLE_CALL:
                wraps = True
        if r == ROLE_LEAF_CALL or r == ROLE_DB:
            if found >= 0:
                role[i] = ROLE_CALL
                callee[i] = found
            elif wraps and r == ROLE_LEAF_CALL:
                role[i] = ROLE_INTERNAL
        elif found >= 0 and begin[i + 1] - begin[i] == 1 and service[found] != service[i]:
            if kind[i] == KIND_UNSPECIFIED or kind[i] == KIND_INTERNAL:
                role[i] = ROLE_CALL
                callee[i] = found
    return role, callee


@kernel
def _skew(trace_start, parent, begin, child, role, callee, host, start_ns, end_ns, offset):
    """Offsets that put each callee inside its caller; returns flags of traces that resist.

    Per trace and pair of hosts, each CALL and its SERVER allow an interval of offsets; their
    intersection's smallest value is applied, or the midpoint where it is empty.
    """
    traces = len(trace_start) - 1
    uncertain = np.zeros(traces, np.bool_)
    stack = np.empty(max(len(parent), 1), np.int32)
    for t in range(traces):
        lo, hi = trace_start[t], trace_start[t + 1]
        violated = False
        for i in range(lo, hi):
            c = callee[i]
            if c < 0 or host[i] < 0 or host[c] < 0 or host[i] == host[c]:
                continue
            if end_ns[c] - start_ns[c] > end_ns[i] - start_ns[i]:
                continue
            if start_ns[c] < start_ns[i] or end_ns[c] > end_ns[i]:
                violated = True
                break
        if not violated:
            continue
        pairs = 0
        limit = hi - lo
        pair_a = np.empty(limit, np.int32)
        pair_b = np.empty(limit, np.int32)
        least = np.empty(limit, np.int64)
        most = np.empty(limit, np.int64)
        mid = np.empty(limit, np.int64)
        for i in range(lo, hi):
            c = callee[i]
            if c < 0 or host[i] < 0 or host[c] < 0 or host[i] == host[c]:
                continue
            if end_ns[c] - start_ns[c] > end_ns[i] - start_ns[i]:
                continue
            x, y = start_ns[i] - start_ns[c], end_ns[i] - end_ns[c]
            a, b = host[i], host[c]
            if a > b:
                a, b = b, a
                x, y = -y, -x
            k = 0
            while k < pairs and not (pair_a[k] == a and pair_b[k] == b):
                k += 1
            if k == pairs:
                pair_a[k], pair_b[k] = a, b
                least[k], most[k] = x, y
                mid[k] = (x + y) // 2
                pairs += 1
            else:
                least[k], most[k] = max(least[k], x), min(most[k], y)
        for k in range(pairs):
            if least[k] > most[k]:
                uncertain[t] = True
                mid[k] = (least[k] + most[k]) // 2
            elif least[k] > 0:
                mid[k] = least[k]
            elif most[k] < 0:
                mid[k] = most[k]
            else:
                mid[k] = 0
        hosts = 0
        known = np.empty(limit, np.int32)
        shift = np.empty(limit, np.int64)
        top = 0
        for i in range(hi - 1, lo - 1, -1):
            if parent[i] < 0:
                stack[top] = i
                top += 1
        while top > 0:
            top -= 1
            i = stack[top]
            p = parent[i]
            inherited = offset[p] if p >= 0 else np.int64(0)
            value = inherited
            if host[i] >= 0:
                k = 0
                while k < hosts and known[k] != host[i]:
                    k += 1
                if k < hosts:
                    value = shift[k]
                else:
                    if p >= 0 and host[p] >= 0 and host[p] != host[i]:
                        value = np.int64(0)
                        if callee[p] == i:
                            for q in range(pairs):
                                if pair_a[q] == host[p] and pair_b[q] == host[i]:
                                    value = inherited + mid[q]
                                elif pair_b[q] == host[p] and pair_a[q] == host[i]:
                                    value = inherited - mid[q]
                    known[hosts] = host[i]
                    shift[hosts] = value
                    hosts += 1
            offset[i] = value
            for c in range(begin[i + 1] - 1, begin[i] - 1, -1):
                stack[top] = child[c]
                top += 1
    return uncertain


@kernel
def _blocking(parent, role, service, callee, start_ns, end_ns):
    """Whether each span blocks its parent; roots do not."""
    n = len(parent)
    blocks = np.zeros(n, np.bool_)
    for i in range(n):
        p = parent[i]
        if p < 0:
            continue
        if role[i] == ROLE_CONSUMER and (role[p] == ROLE_PUBLISH or service[p] != service[i]):
            continue
        if start_ns[i] >= end_ns[p] and not (start_ns[i] == end_ns[i] and start_ns[i] == end_ns[p]):
            continue
        if end_ns[i] <= start_ns[p] and end_ns[i] > start_ns[i]:
            continue
        overhang = end_ns[i] - end_ns[p]
        allowed = max(OVERHANG_NS, (end_ns[i] - start_ns[i]) // OVERHANG_PARTS)
        if overhang > allowed and not (role[p] == ROLE_CALL and role[i] == ROLE_SERVER):
            continue
        blocks[i] = True
    return blocks


@kernel
def _groups(parent, begin, child, blocks, role, messaging_op):
    """Walk groups: numbers, spans group by group with parents first, bounds and roots.

    A receive span that only polled (its process child does the work) starts no unit: its group
    carries the mark -1 in `idle`.
    """
    n = len(parent)
    group = np.full(n, -1, np.int32)
    sequence = np.empty(n, np.int32)
    roots = np.empty(n, np.int32)
    bounds = np.zeros(n + 1, np.int64)
    cut = blocks.copy()
    idle = np.zeros(n, np.bool_)
    for i in range(n):
        p = parent[i]
        if (
            p >= 0
            and role[i] == ROLE_CONSUMER
            and role[p] == ROLE_CONSUMER
            and messaging_op[p] == MSG_RECEIVE
            and messaging_op[i] != MSG_RECEIVE
        ):
            cut[i] = False
            idle[p] = True
    stack = np.empty(max(n, 1), np.int32)
    groups = 0
    at = 0
    for i in range(n):
        if cut[i]:
            continue
        roots[groups] = i
        top = 1
        stack[0] = i
        while top > 0:
            top -= 1
            j = stack[top]
            group[j] = groups
            sequence[at] = j
            at += 1
            for c in range(begin[j + 1] - 1, begin[j] - 1, -1):
                if cut[child[c]]:
                    stack[top] = child[c]
                    top += 1
        groups += 1
        bounds[groups] = at
    return group, sequence, bounds[: groups + 1].copy(), roots[:groups].copy(), cut, idle


@kernel
def _units(
    roots, parent, role, idle, start_ns, end_ns, order, trace, trace_start, span_id,
    trace_hi, trace_lo, link_offset, link_hi, link_lo, link_span, missing, uncertain,
):  # fmt: skip
    """Put clocks on groups; see `Forest` for what the arrays mean."""
    room = len(roots) + len(link_hi)
    unit_group = np.empty(room, np.int32)
    unit_kind = np.empty(room, np.int8)
    unit_start = np.empty(room, np.int64)
    unit_end = np.empty(room, np.int64)
    unit_wait = np.zeros(room, np.int64)
    unit_producer = np.full(room, -1, np.int32)
    unit_incomplete = np.zeros(room, np.bool_)
    unit_skewed = np.zeros(room, np.bool_)
    hop_unit = np.empty(len(link_hi), np.int32)
    hop_link = np.empty(len(link_hi), np.int64)
    consumed = np.zeros(len(parent), np.bool_)
    hops = np.zeros(len(roots), np.int32)
    units, cross = 0, 0
    negative = np.zeros(room, np.bool_)
    for g in range(len(roots)):
        r = roots[g]
        if idle[r]:
            continue
        p = parent[r]
        source = r
        if role[r] == ROLE_CONSUMER and p >= 0 and idle[p]:
            row = order[r]
            source = r if link_offset[row + 1] > link_offset[row] else p
        producer = parent[source]
        before = units
        if role[r] == ROLE_CONSUMER:
            if producer >= 0 and role[producer] != ROLE_CONSUMER:
                unit_producer[units] = producer
                unit_group[units] = g
                consumed[producer] = True
                units += 1
            row = order[source]
            for k in range(link_offset[row], link_offset[row + 1]):
                here = link_hi[k] == trace_hi[row] and link_lo[k] == trace_lo[row]
                if here:
                    lo, hi = trace_start[trace[r]], trace_start[trace[r] + 1]
                    a, b = lo, hi
                    while a < b:
                        middle = (a + b) // 2
                        if span_id[order[middle]] < link_span[k]:
                            a = middle + 1
                        else:
                            b = middle
                    if a >= hi or span_id[order[a]] != link_span[k]:
                        continue
                    seen = False
                    for u in range(before, units):
                        seen = seen or unit_producer[u] == a
                    if seen:
                        continue
                    unit_producer[units] = a
                    consumed[a] = True
                else:
                    unit_producer[units] = -1
                    hop_unit[cross] = units
                    hop_link[cross] = k
                    cross += 1
                unit_group[units] = g
                units += 1
        if units == before:
            unit_group[units] = g
            unit_kind[units] = UNIT_REQUEST if p < 0 or role[r] == ROLE_CONSUMER else UNIT_DETACHED
            unit_start[units], unit_end[units] = start_ns[r], end_ns[r]
            units += 1
        else:
            for u in range(before, units):
                unit_kind[u] = UNIT_MESSAGE
                unit_end[u] = end_ns[r]
                unit_start[u] = start_ns[r]
                producer = unit_producer[u]
                if producer >= 0:
                    unit_start[u] = min(end_ns[producer], start_ns[r])
                    unit_wait[u] = start_ns[r] - unit_start[u]
                    negative[u] = end_ns[producer] > start_ns[r]
        hops[g] = units - before
        for u in range(before, units):
            unit_incomplete[u] = missing[r]
            unit_skewed[u] = uncertain[trace[r]]
    return (
        unit_group[:units].copy(), unit_kind[:units].copy(), unit_start[:units].copy(),
        unit_end[:units].copy(), unit_wait[:units].copy(), unit_producer[:units].copy(),
        unit_incomplete[:units].copy(), unit_skewed[:units].copy(), hops,
        hop_unit[:cross].copy(), hop_link[:cross].copy(), consumed, negative[:units].copy(),
    )  # fmt: skip


def build_forest(columns: SpanArrays, *, skew: bool = True) -> Forest:
    """Group, mend, reconcile and cut spans into units of work.

    Parameters
    ----------
    columns
        Arrays ``(n,)`` in any order.
    skew
        Estimate clock offsets between hosts and apply them.

    Returns
    -------
    Forest
    """
    trace, start = group_by_trace(columns.trace_hi, columns.trace_lo)
    order, trace_start, conflicts = _sort_and_dedupe(trace, start, columns.span_id, columns.content_hash)
    parent, trace = _find_parents(order, trace_start, columns.span_id, columns.parent_span_id)
    start_ns, end_ns = columns.start_ns[order], columns.end_ns[order]
    backwards = end_ns < start_ns
    np.maximum(end_ns, start_ns, out=end_ns)
    cycles = _break_cycles(parent, start_ns)
    missing = parent == -2
    parent[missing] = -1
    begin, child = _children(parent)
    service, host = columns.service[order], columns.host[order]
    messaging_op = columns.messaging_op[order]
    role, callee = _roles(
        parent, begin, child, columns.kind[order], columns.edge_class[order], messaging_op, service
    )
    offset = np.zeros(len(order), np.int64)
    uncertain = np.zeros(len(trace_start) - 1, np.bool_)
    if skew:
        uncertain = _skew(trace_start, parent, begin, child, role, callee, host, start_ns, end_ns, offset)
        start_ns += offset
        end_ns += offset
    blocks = _blocking(parent, role, service, callee, start_ns, end_ns)
    group, sequence, bounds, roots, cut, idle = _groups(parent, begin, child, blocks, role, messaging_op)
    (
        unit_group, unit_kind, unit_start, unit_end, unit_wait, unit_producer, unit_incomplete,
        unit_skewed, hops, hop_unit, hop_link, consumed, negative,
    ) = _units(
        roots, parent, role, idle, start_ns, end_ns, order, trace, trace_start, columns.span_id,
        columns.trace_hi, columns.trace_lo, columns.link_offset, columns.link_hi, columns.link_lo,
        columns.link_span, missing, uncertain,
    )  # fmt: skip
    traces = len(trace_start) - 1
    of_unit = trace[roots[unit_group]]
    found = (
        conflicts,
        np.bincount(trace[backwards], minlength=traces),
        np.bincount(trace[cycles], minlength=traces),
        np.bincount(trace[missing & ~cycles], minlength=traces),
        uncertain,
        np.bincount(trace[offset != 0], minlength=traces),
        np.bincount(of_unit[negative], minlength=traces),
        np.bincount(of_unit[unit_kind == UNIT_DETACHED], minlength=traces),
    )
    return Forest(
        order=order,
        trace=trace,
        trace_start=trace_start,
        parent=parent,
        start_ns=start_ns,
        end_ns=end_ns,
        offset_ns=offset,
        role=role,
        callee=callee,
        blocks=cut,
        group=group,
        sequence=sequence,
        group_start=bounds,
        group_root=roots,
        hops=hops,
        unit_group=unit_group,
        unit_kind=unit_kind,
        unit_start_ns=unit_start,
        unit_end_ns=unit_end,
        unit_wait_ns=unit_wait,
        unit_producer=unit_producer,
        unit_incomplete=unit_incomplete,
        unit_skewed=unit_skewed,
        hop_unit=hop_unit,
        hop_hi=columns.link_hi[hop_link],
        hop_lo=columns.link_lo[hop_link],
        hop_span=columns.link_span[hop_link],
        unconsumed=np.flatnonzero((role == ROLE_PUBLISH) & ~consumed).astype(np.int32),
        child_start=begin,
        child=child,
        counts=np.column_stack([column.astype(np.int64) for column in found]),
    )
