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

from dataclasses import dataclass, fields
from typing import Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from tracescope.kernels import bare, constant, kernel
from tracescope.kernels.roles import ROLE_PUBLISH, find_roles
from tracescope.kernels.sidecars import fold_sidecars
from tracescope.kernels.skew import reconcile
from tracescope.kernels.traces import I64, SEED, Bools, Traces, group_traces
from tracescope.kernels.units import (
    Groups,
    Links,
    Spans,
    cut_groups,
    extend_instants,
    find_blocking,
    find_hops,
    find_loops,
    put_clocks,
)
from tracescope.schema import KIND_INTERNAL, UNIT_DETACHED

I8 = NDArray[np.int8]
I32 = NDArray[np.int32]
Scalar = TypeVar("Scalar", bound=np.generic)

#: Spreads span ids over a trace's table: a product's leading bits, as nobody knows the factor.
SPREAD = np.uint64(SEED) | np.uint64(1)

COUNTERS = (
    "duplicate_conflict",
    "end_before_start",
    "parent_cycle",
    "missing_parent",
    "skew_uncertain",
    "skew_corrected",
    "negative_wait",
    "idle_poll",
    "lone_settle",
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
    status: I8
    service: I32
    host: I32
    content_hash: I64
    link_offset: I64
    link_hi: I64
    link_lo: I64
    link_span: I64

    def __post_init__(self) -> None:
        for each in fields(self):
            object.__setattr__(self, each.name, constant(getattr(self, each.name)))


@dataclass(frozen=True, slots=True)
class Forest:
    """Spans in order, their parents and the units of work they make up.

    Every array but ``order`` is indexed by sorted position ``(n,)``, walk group ``(g,)`` or unit
    ``(u,)``.

    Attributes
    ----------
    order
        Input rows kept, grouped by trace, sorted by span id within a trace.
    service, stands_for
        Service code of a span, a sidecar's being its application's; position of the span whose operation it
        has, its own but for sidecars.
    trace, trace_start
        Trace number of a span, and bounds ``(t + 1,)`` of each trace.
    parent
        Position of the parent, -1 for none.
    start_ns, end_ns, offset_ns
        Times after mending and skew; the offset that was added.
    role, callee, answers, blocks
        ROLE_*; the first SERVER that answers a call, or -1; whether the span answers its parent's call;
        whether it blocks its parent.
    group, sequence, group_start, group_root
        Walk group of a span; positions group by group, parents before children; bounds
        ``(g + 1,)`` of each group in ``sequence``; the group's first span.
    group_from_ns
        When the group's work began: its first span's start, or later where that only polled at first.
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
    service: I32
    stands_for: I32
    trace: I32
    trace_start: I64
    parent: I32
    start_ns: I64
    end_ns: I64
    offset_ns: I64
    role: I8
    callee: I32
    answers: Bools
    blocks: Bools
    group: I32
    sequence: I32
    group_start: I64
    group_root: I32
    group_from_ns: I64
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
    child_start: I32
    child: I32
    counts: I64

    def counters(self) -> dict[str, int]:
        """What was mended or set apart, in all, by reason."""
        return dict(zip(COUNTERS, self.counts.sum(axis=0).tolist(), strict=True))


def gather(column: NDArray[Scalar], order: I64) -> NDArray[Scalar]:
    """Values of a column in order: one column at a time, as its part in use stays near the processor."""
    return _gather(constant(column), order)  # pyright: ignore[reportReturnType]


@kernel
def _gather(column, order):
    out = np.empty(len(order), column.dtype)
    for i in range(len(order)):
        out[i] = column[order[i]]
    return out


@kernel
def _mend_ends(trace_start, start_ns, end_ns):
    """Let no span end before it starts; counts them by trace."""
    backwards = np.zeros(len(trace_start) - 1, np.int64)
    for t in range(len(trace_start) - 1):
        for i in range(trace_start[t], trace_start[t + 1]):
            if end_ns[i] < start_ns[i]:
                end_ns[i] = start_ns[i]
                backwards[t] += 1
    return backwards


@kernel
def _find_parents(trace_start, span_id, parent_span_id, seed):
    """Position of each span's parent; -1 without one, -2 when it names one that is not here."""
    n = len(span_id)
    parent = np.empty(n, np.int32)
    trace = np.empty(n, np.int32)
    longest = 0
    for t in range(len(trace_start) - 1):
        longest = max(longest, trace_start[t + 1] - trace_start[t])
    size = 4
    while size < 2 * longest:
        size *= 2
    table = np.empty(size, np.int32)
    for t in range(len(trace_start) - 1):
        lo, hi = trace_start[t], trace_start[t + 1]
        size, bits = 4, 2
        while size < 2 * (hi - lo):
            size, bits = 2 * size, bits + 1
        shift, mask = np.uint64(64 - bits), np.uint64(size - 1)
        table[:size] = -1
        for i in range(lo, hi):
            trace[i] = t
            slot = (np.uint64(span_id[i]) * seed) >> shift
            while table[slot] >= 0:
                slot = (slot + np.uint64(1)) & mask
            table[slot] = i
        for i in range(lo, hi):
            wanted = parent_span_id[i]
            if wanted == 0:
                parent[i] = -1
                continue
            slot = (np.uint64(wanted) * seed) >> shift
            while table[slot] >= 0 and span_id[table[slot]] != wanted:
                slot = (slot + np.uint64(1)) & mask
            parent[i] = table[slot] if table[slot] >= 0 else -2
    return parent, trace


@kernel
def _break_cycles(trace_start, parent, start_ns):
    """Cut each parent cycle at its earliest start (ties: lowest position); returns where.

    Where every span starts after its parent there is no cycle to look for.
    """
    n = len(parent)
    broken = np.zeros(n, np.bool_)
    state = np.zeros(n, np.int8)  # 0 unseen, 1 on the chain being followed, 2 done
    chain = np.empty(n, np.int32)
    for t in range(len(trace_start) - 1):
        lo, hi = trace_start[t], trace_start[t + 1]
        i = lo
        while i < hi:
            p = parent[i]
            if p >= 0 and (start_ns[p] > start_ns[i] or (start_ns[p] == start_ns[i] and p >= i)):
                break
            i += 1
        if i < hi:
            _break_cycles_of(lo, hi, parent, start_ns, broken, state, chain)
    return broken


@bare
def _break_cycles_of(lo, hi, parent, start_ns, broken, state, chain):
    for i in range(lo, hi):
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


@kernel
def _free_pages(parent, kind, service, start_ns, end_ns):
    """Let what goes on around its parent, in another service and of no call's kind, start for itself.

    A page that a browser loads names the span of the server that made it as its parent:

        shop     SERVER          |----|
        browser  INTERNAL    |-------------------|
    """
    for i in range(len(parent)):
        p = parent[i]
        if p < 0 or kind[i] != KIND_INTERNAL or service[i] == service[p]:
            continue
        longer = end_ns[i] - start_ns[i] > end_ns[p] - start_ns[p]
        if longer and (start_ns[i] < start_ns[p] or start_ns[i] > end_ns[p]):
            parent[i] = -1


@kernel
def _children(parent):
    """Children of each span as bounds ``(n + 1,)`` and positions, in order of position."""
    n = len(parent)
    begin = np.zeros(n + 1, np.int32)
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


def build_forest(
    columns: SpanArrays,
    traces: Traces | None = None,
    *,
    skew: bool = True,
    compat: Literal["jaeger"] | None = None,
) -> Forest:
    """Mend, reconcile and cut spans into units of work.

    Parameters
    ----------
    columns
        Arrays ``(n,)`` in any order.
    traces
        What `group_traces` made of them; None groups all of them.
    skew
        Estimate clock offsets between hosts and apply them.
    compat
        ``"jaeger"``: whatever overlaps its parent is clipped to it and blocks, as in Jaeger's UI.

    Returns
    -------
    Forest
    """
    if traces is None:
        traces = group_traces(
            columns.trace_hi, columns.trace_lo, columns.span_id, columns.content_hash, columns.start_ns
        )
    order, trace_start, conflicts = traces.order, traces.start, traces.conflicts
    parent, trace = _find_parents(
        trace_start, gather(columns.span_id, order), gather(columns.parent_span_id, order), SPREAD
    )
    start_ns, end_ns = gather(columns.start_ns, order), gather(columns.end_ns, order)
    backwards = _mend_ends(trace_start, start_ns, end_ns)
    service, host = gather(columns.service, order), gather(columns.host, order)
    kind, messaging_op = gather(columns.kind, order), gather(columns.messaging_op, order)
    status = gather(columns.status, order)
    edge_class = gather(columns.edge_class, order)
    cycles = _break_cycles(trace_start, parent, start_ns)
    missing = parent == -2
    parent[missing] = -1
    _free_pages(parent, kind, service, start_ns, end_ns)
    begin, child = _children(parent)
    service, stands_for = fold_sidecars(parent, begin, child, kind, edge_class, service)
    role, callee, answers = find_roles(parent, begin, kind, edge_class, messaging_op, service, start_ns)
    offset = np.zeros(len(order), np.int64)
    uncertain = np.zeros(len(trace_start) - 1, np.bool_)
    if skew:
        family = parent, begin, child, missing
        uncertain = reconcile(trace_start, family, answers, (host, service), (start_ns, end_ns), offset)
        start_ns += offset
        end_ns += offset
    spans = Spans(parent, begin, child, role, answers, messaging_op, status, service, start_ns, end_ns)
    links = Links(
        order, trace, trace_start, columns.span_id, columns.trace_hi, columns.trace_lo, columns.link_offset,
        columns.link_hi, columns.link_lo, columns.link_span,
    )  # fmt: skip
    if compat is None:
        end_ns = extend_instants(spans)
        spans = spans._replace(end_ns=end_ns)
    loop = find_loops(spans)
    hop = find_hops(spans, links, loop)
    blocks = find_blocking(spans, hop, compat == "jaeger")
    group, sequence, bounds, roots, cut, chained = cut_groups(spans, blocks)
    groups = Groups(sequence, bounds, roots, chained)
    (
        (unit_group, unit_kind, unit_start, unit_end, unit_wait, unit_producer), hops, group_from,
        hop_unit, hop_link, consumed, negative, idle, settled,
    ) = put_clocks(spans, links, groups, hop, cut, loop, SEED)  # fmt: skip
    of_group = trace[roots]
    size = len(trace_start) - 1
    of_unit = of_group[unit_group]
    found = (
        conflicts,
        backwards,
        np.bincount(trace[cycles], minlength=size),
        np.bincount(trace[missing & ~cycles], minlength=size),
        uncertain,
        np.bincount(trace[offset != 0], minlength=size),
        np.bincount(of_unit[negative], minlength=size),
        np.bincount(of_group[idle], minlength=size),
        np.bincount(of_group[settled], minlength=size),
        np.bincount(of_unit[unit_kind == UNIT_DETACHED], minlength=size),
    )
    return Forest(
        order=order,
        service=service,
        stands_for=stands_for,
        trace=trace,
        trace_start=trace_start,
        parent=parent,
        start_ns=start_ns,
        end_ns=end_ns,
        offset_ns=offset,
        role=role,
        callee=callee,
        answers=answers,
        blocks=cut,
        group=group,
        sequence=sequence,
        group_start=bounds,
        group_root=roots,
        group_from_ns=group_from,
        hops=hops,
        unit_group=unit_group,
        unit_kind=unit_kind,
        unit_start_ns=unit_start,
        unit_end_ns=unit_end,
        unit_wait_ns=unit_wait,
        unit_producer=unit_producer,
        unit_incomplete=missing[roots[unit_group]],
        unit_skewed=uncertain[of_unit],
        hop_unit=hop_unit,
        hop_hi=columns.link_hi[hop_link],
        hop_lo=columns.link_lo[hop_link],
        hop_span=columns.link_span[hop_link],
        unconsumed=np.flatnonzero((role == ROLE_PUBLISH) & ~consumed).astype(np.int32),
        child_start=begin,
        child=child,
        counts=np.column_stack([column.astype(np.int64) for column in found]),
    )
