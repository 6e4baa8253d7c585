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
from typing import Literal, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from tracescope.kernels import bare, constant, kernel
from tracescope.kernels.roles import ROLE_PUBLISH, find_roles
from tracescope.kernels.sidecars import fold_sidecars
from tracescope.kernels.skew import reconcile
from tracescope.kernels.traces import I64, SEED, Bools, Traces, group_traces
from tracescope.kernels.units import (
    Clocked,
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


@dataclass(frozen=True, slots=True)
class _Ordered:
    """Columns by trace and span ``(n,)``, their ends mended, and who stands below whom.

    ``begin`` ``(n + 1,)`` and ``child`` are the children of each; ``cut`` marks where a cycle was broken,
    ``missing`` whose parent is not here.  ``mended`` ``(t,)`` counts ends that lay before their starts.
    """

    trace: I32
    parent: I32
    begin: I32
    child: I32
    start_ns: I64
    end_ns: I64
    service: I32
    host: I32
    kind: I8
    messaging_op: I8
    status: I8
    edge_class: I8
    cut: Bools
    missing: Bools
    mended: I64


def _in_order(columns: SpanArrays, traces: Traces) -> _Ordered:
    """Spans by trace and id, each below the parent that it has here."""
    order = traces.order
    parent, trace = _find_parents(
        traces.start, gather(columns.span_id, order), gather(columns.parent_span_id, order), SPREAD
    )
    start_ns, end_ns = gather(columns.start_ns, order), gather(columns.end_ns, order)
    mended = _mend_ends(traces.start, start_ns, end_ns)
    kind, service = gather(columns.kind, order), gather(columns.service, order)
    cut = _break_cycles(traces.start, parent, start_ns)
    missing = parent == -2
    parent[missing] = -1
    _free_pages(parent, kind, service, start_ns, end_ns)
    begin, child = _children(parent)
    return _Ordered(
        trace=trace,
        parent=parent,
        begin=begin,
        child=child,
        start_ns=start_ns,
        end_ns=end_ns,
        service=service,
        host=gather(columns.host, order),
        kind=kind,
        messaging_op=gather(columns.messaging_op, order),
        status=gather(columns.status, order),
        edge_class=gather(columns.edge_class, order),
        cut=cut,
        missing=missing,
        mended=mended,
    )


def _counted(
    traces: Traces, rows: _Ordered, roots: I32, clocked: Clocked, uncertain: Bools, offset: I64
) -> I64:
    """`COUNTERS` of each trace ``(t, len(COUNTERS))``; `roots` are the spans that walk groups begin with."""
    size = len(traces.start) - 1
    of_group = rows.trace[roots]
    of_unit = of_group[clocked.units.group]

    def by_trace(trace: I32) -> I64:
        return np.bincount(trace, minlength=size)

    columns = (
        traces.conflicts,
        rows.mended,
        by_trace(rows.trace[rows.cut]),
        by_trace(rows.trace[rows.missing & ~rows.cut]),
        uncertain,
        by_trace(rows.trace[offset != 0]),
        by_trace(of_unit[clocked.units.negative]),
        by_trace(of_group[clocked.idle]),
        by_trace(of_group[clocked.settled]),
        by_trace(of_unit[clocked.units.kind == UNIT_DETACHED]),
    )
    return np.column_stack([column.astype(np.int64) for column in columns])


class _Work(NamedTuple):
    """Spans cut into walk groups: the group of each, whether it blocks its parent, and clocks.

    The spans' ends are those after `extend_instants`.
    """

    spans: Spans
    group: I32
    blocks: Bools
    groups: Groups
    clocked: Clocked


def _cut(spans: Spans, links: Links, compat: Literal["jaeger"] | None) -> _Work:
    """Cut spans into what waits for one another, and put clocks on it."""
    if compat is None:
        spans = spans._replace(end_ns=extend_instants(spans))
    loop = find_loops(spans)
    hop = find_hops(spans, links, loop)
    blocking = find_blocking(spans, hop, compat == "jaeger")
    group, sequence, bounds, roots, cut, chained = cut_groups(spans, blocking)
    groups = Groups(sequence, bounds, roots, chained)
    return _Work(spans, group, cut, groups, put_clocks(spans, links, groups, hop, cut, loop, SEED))


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
    traces = traces or group_traces(
        columns.trace_hi, columns.trace_lo, columns.span_id, columns.content_hash, columns.start_ns
    )
    rows = _in_order(columns, traces)
    parent, begin, child, op = rows.parent, rows.begin, rows.child, rows.messaging_op
    start_ns, end_ns = rows.start_ns, rows.end_ns
    service, stands_for = fold_sidecars(parent, begin, child, rows.kind, rows.edge_class, rows.service)
    role, callee, answers = find_roles(parent, begin, rows.kind, rows.edge_class, op, service, start_ns)
    offset = np.zeros(len(parent), np.int64)
    uncertain = np.zeros(len(traces.start) - 1, np.bool_)
    if skew:
        family = parent, begin, child, rows.missing
        uncertain = reconcile(traces.start, family, answers, (rows.host, service), (start_ns, end_ns), offset)
        start_ns += offset
        end_ns += offset
    spans = Spans(parent, begin, child, role, answers, op, rows.status, service, start_ns, end_ns)
    links = Links(
        traces.order, rows.trace, traces.start, columns.span_id, columns.trace_hi, columns.trace_lo,
        columns.link_offset, columns.link_hi, columns.link_lo, columns.link_span,
    )  # fmt: skip
    work = _cut(spans, links, compat)
    groups, found = work.groups, work.clocked
    units = found.units
    return Forest(
        order=traces.order,
        service=service,
        stands_for=stands_for,
        trace=rows.trace,
        trace_start=traces.start,
        parent=parent,
        start_ns=start_ns,
        end_ns=work.spans.end_ns,
        offset_ns=offset,
        role=role,
        callee=callee,
        answers=answers,
        blocks=work.blocks,
        group=work.group,
        sequence=groups.sequence,
        group_start=groups.bounds,
        group_root=groups.roots,
        group_from_ns=found.group_from,
        hops=found.hops,
        unit_group=units.group,
        unit_kind=units.kind,
        unit_start_ns=units.start,
        unit_end_ns=units.end,
        unit_wait_ns=units.wait,
        unit_producer=units.producer,
        unit_incomplete=rows.missing[groups.roots[units.group]],
        unit_skewed=uncertain[rows.trace[groups.roots[units.group]]],
        hop_unit=found.hop_unit,
        hop_hi=columns.link_hi[found.hop_link],
        hop_lo=columns.link_lo[found.hop_link],
        hop_span=columns.link_span[found.hop_link],
        unconsumed=np.flatnonzero((role == ROLE_PUBLISH) & ~found.consumed).astype(np.int32),
        child_start=begin,
        child=child,
        counts=_counted(traces, rows, groups.roots, found, uncertain, offset),
    )
