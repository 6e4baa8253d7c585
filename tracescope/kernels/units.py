"""Units of work: what blocks is grouped, and clocks are put on the groups.

    orders PRODUCER |---|                     wait: from the end of publishing to the start of work
    worker CONSUMER        |---------|        a message: its clock runs from | to the consumer's end
                        |-----------|

A *walk group* is a span and everything it waits for; each group is walked once.  A batch consumer
has one unit for each message, and they share a group.

Source: design, section 4 (what blocks, message units).
"""

# Inner kernels carry no annotations: their types are what the compiler infers from the arrays given.
# pyright: reportMissingParameterType=false, reportUnknownParameterType=false

from __future__ import annotations

import numpy as np

from tracescope.kernels import kernel
from tracescope.kernels.roles import ROLE_CONSUMER, ROLE_PUBLISH
from tracescope.kernels.traces import find_span, mix
from tracescope.schema import MSG_RECEIVE, UNIT_DETACHED, UNIT_MESSAGE, UNIT_REQUEST

#: A child that outlives its parent by more than the larger of these does not block it.
OVERHANG_NS = 1_000_000
OVERHANG_PARTS = 20  # 5 %


@kernel
def find_blocking(parent, role, service, answers, start_ns, end_ns, clip):
    """Whether each span blocks its parent; roots do not.  `clip`: whatever overlaps its parent does."""
    n = len(parent)
    blocks = np.zeros(n, np.bool_)
    for i in range(n):
        p = parent[i]
        if p < 0:
            continue
        if not clip and role[i] == ROLE_CONSUMER and (role[p] == ROLE_PUBLISH or service[p] != service[i]):
            continue
        if start_ns[i] >= end_ns[p] and not (start_ns[i] == end_ns[i] and start_ns[i] == end_ns[p]):
            continue
        if end_ns[i] <= start_ns[p] and end_ns[i] > start_ns[i]:
            continue
        overhang = end_ns[i] - end_ns[p]
        allowed = max(OVERHANG_NS, (end_ns[i] - start_ns[i]) // OVERHANG_PARTS)
        if overhang > allowed and not (clip or answers[i]):
            continue
        blocks[i] = True
    return blocks


@kernel
def cut_groups(parent, begin, child, blocks, role, messaging_op):
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
def _link_ranks(lo, hi, link_hi, link_lo, link_span, seed):
    """For each of some links, the first of them that names the same span."""
    n = hi - lo
    size = 4
    while size < 2 * n:
        size *= 2
    mask = np.uint64(size - 1)
    table = np.full(size, -1, np.int32)
    first = np.empty(n, np.int32)
    for k in range(n):
        slot = mix(mix(link_hi[lo + k] ^ seed, link_lo[lo + k]), link_span[lo + k]) & mask
        while table[slot] >= 0:
            other = lo + table[slot]
            if link_span[other] == link_span[lo + k] and link_lo[other] == link_lo[lo + k]:
                if link_hi[other] == link_hi[lo + k]:
                    break
            slot = (slot + np.uint64(1)) & mask
        if table[slot] < 0:
            table[slot] = k
        first[k] = table[slot]
    return first


@kernel
def put_clocks(
    roots, parent, role, idle, start_ns, end_ns, order, trace, trace_start, span_id,
    trace_hi, trace_lo, link_offset, link_hi, link_lo, link_span, missing, uncertain, seed,
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
    taken = np.full(len(parent), -1, np.int32)  # last group that consumed from a span
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
                taken[producer] = g
                units += 1
            row = order[source]
            ranks = _link_ranks(link_offset[row], link_offset[row + 1], link_hi, link_lo, link_span, seed)
            for k in range(link_offset[row], link_offset[row + 1]):
                a = np.int64(-1)
                if link_hi[k] == trace_hi[row] and link_lo[k] == trace_lo[row]:
                    t = trace[r]
                    a = find_span(order, trace_start[t], trace_start[t + 1], span_id, link_span[k])
                if a >= 0:
                    if taken[a] == g:
                        continue
                    taken[a] = g
                    unit_producer[units] = a
                    consumed[a] = True
                else:
                    if ranks[k - link_offset[row]] != k - link_offset[row]:
                        continue
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
                    # with confirms, a message may be consumed before its publisher knows that it is out
                    negative[u] = start_ns[producer] > start_ns[r]
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
