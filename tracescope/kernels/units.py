"""Units of work: what blocks is grouped, and clocks are put on the groups.

    orders PRODUCER |---|                     wait: from the end of publishing to the start of work
    worker CONSUMER        |---------|        a message: its clock runs from | to the consumer's end
                        |-----------|

A *walk group* is a span and everything it waits for; each group is walked once.  A batch consumer
has one unit for each message, and they share a group.

Waiting for messages is no work.  A poll that found none is no unit, a loop that only polls is none, and
a poll that began before its message existed counts from the message's publishing:

    orders PRODUCER                |---|
    worker CONSUMER receive |------------------|       idle up to the publishing, then a message
                                       |-------|

Source: design, section 4 (what blocks, message units).
"""

# Inner kernels carry no annotations: their types are what the compiler infers from the arrays given.
# pyright: reportMissingParameterType=false, reportUnknownParameterType=false

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tracescope.kernels import bare, inlined, kernel
from tracescope.kernels.roles import (
    ROLE_CALL,
    ROLE_CONSUMER,
    ROLE_INTERNAL,
    ROLE_LEAF_CALL,
    ROLE_POLL,
    ROLE_PUBLISH,
    ROLE_TRANSPORT,
)
from tracescope.kernels.traces import find_span, mix
from tracescope.schema import (
    LIFE_SCHEDULED,
    LIFE_STREAM,
    MSG_EMPTY,
    MSG_SETTLE,
    STATUS_ERROR,
    UNIT_DETACHED,
    UNIT_LONG,
    UNIT_MESSAGE,
    UNIT_REQUEST,
)

#: A child that outlives its parent by more than the larger of these does not block it.
OVERHANG_NS = 1_000_000
OVERHANG_PARTS = 20  # 5 %
#: A consumer so short only marks the arrival of a message; what follows below it is the work.
INSTANT_NS = 1_000_000
#: A call that takes all of a poll but one part of these is how the poll is made, not what came of it.
TRANSPORT_PARTS = 10
#: What lives as long as its unit, but for one part of these, says what the unit is.
LIFE_PARTS = 10


class Spans(NamedTuple):
    """What units are made of, per span in order ``(n,)``; see `tracescope.kernels.forest.Forest`.

    ``begin`` ``(n + 1,)`` and ``child`` are the children of each.
    """

    parent: NDArray[Any]
    begin: NDArray[Any]
    child: NDArray[Any]
    role: NDArray[Any]
    answers: NDArray[Any]
    messaging_op: NDArray[Any]
    status: NDArray[Any]
    service: NDArray[Any]
    start_ns: NDArray[Any]
    end_ns: NDArray[Any]


class Links(NamedTuple):
    """Spans' ids and links: rows of the input, and where `order` finds them; see `SpanArrays`."""

    order: NDArray[Any]
    trace: NDArray[Any]
    trace_start: NDArray[Any]
    span_id: NDArray[Any]
    trace_hi: NDArray[Any]
    trace_lo: NDArray[Any]
    offset: NDArray[Any]
    hi: NDArray[Any]
    lo: NDArray[Any]
    span: NDArray[Any]


class Groups(NamedTuple):
    """Walk groups: spans group by group, bounds ``(g + 1,)``, roots, and which only polled (`cut_groups`)."""

    sequence: NDArray[Any]
    bounds: NDArray[Any]
    roots: NDArray[Any]
    chained: NDArray[Any]


class Units(NamedTuple):
    """Units of work ``(u,)``: see `tracescope.kernels.forest.Forest`.

    ``negative`` are consumed before their publishing began.
    """

    group: NDArray[Any]
    kind: NDArray[Any]
    start: NDArray[Any]
    end: NDArray[Any]
    wait: NDArray[Any]
    producer: NDArray[Any]
    negative: NDArray[Any]


class Clocked(NamedTuple):
    """What `put_clocks` finds.

    Attributes
    ----------
    units
        `Units`.
    hops, group_from ``(g,)``
        Units of each group, and when its work began.
    hop_unit, hop_link
        Links to other traces.
    consumed ``(n,)``
        Spans that somebody in their trace consumed.
    idle, settled ``(g,)``
        Groups that only polled, and that only settled.
    """

    units: Units
    hops: NDArray[Any]
    group_from: NDArray[Any]
    hop_unit: NDArray[Any]
    hop_link: NDArray[Any]
    consumed: NDArray[Any]
    idle: NDArray[Any]
    settled: NDArray[Any]


class _Messages(NamedTuple):
    """What is known of messages while units are made.

    ``claims`` are those processed in spans of their own (`_claims`), ``seed`` spreads them;
    ``consumed_by`` ``(n,)`` is the last group that consumed from a span.
    """

    claims: NDArray[Any]
    seed: int
    consumed_by: NDArray[Any]


class _Built(NamedTuple):
    """Units as they are made, and links to other traces: ``size`` has how many of each there are."""

    units: Units
    hop_unit: NDArray[Any]
    hop_link: NDArray[Any]
    size: NDArray[Any]


_UNITS, _HOPS = range(2)


# -- what lies between ---------------------------------------------------------------------------


@kernel
def extend_instants(spans):
    """Let a consumer that only marks an arrival last as long as what follows it; new ends ``(n,)``.

    poll       CONSUMER |                  the message arrives
    on-message             |--------|      its child begins when it has ended
    """
    end = spans.end_ns.copy()
    for i in range(len(end)):
        poll = spans.role[i] == ROLE_POLL
        if not poll and spans.role[i] != ROLE_CONSUMER:
            continue
        if not poll and spans.end_ns[i] - spans.start_ns[i] > INSTANT_NS:
            continue
        for c in range(spans.begin[i], spans.begin[i + 1]):
            j = spans.child[c]
            role = spans.role[j]
            if role == ROLE_CONSUMER or role == ROLE_POLL or spans.messaging_op[j] == MSG_SETTLE:
                continue
            if spans.service[j] == spans.service[i] and spans.start_ns[j] >= spans.end_ns[i]:
                end[i] = max(end[i], spans.end_ns[j])
    return end


@inlined
def _handed_over(spans, i):
    """Whether a consumer's parent is what sent it its message: a publisher, or another service."""
    p = spans.parent[i]
    return p >= 0 and (spans.role[p] == ROLE_PUBLISH or spans.service[p] != spans.service[i])


@inlined
def _was_sent(spans, hop, cut, i):
    """Whether a consumer's parent stands for its publisher; a service may hand a message to itself."""
    p = spans.parent[i]
    if p < 0 or spans.role[p] == ROLE_CONSUMER or spans.role[p] == ROLE_POLL:
        return False
    return _handed_over(spans, i) or (spans.role[i] == ROLE_CONSUMER and not hop[i] and not cut[i])


@inlined
def _links_of(links, i):
    row = links.order[i]
    return links.offset[row + 1] - links.offset[row]


@bare
def _is_covered(spans, links, i):
    """Whether a consumer stands in the work of one of its own service that has the messages already."""
    q = spans.parent[i]
    while q >= 0 and spans.service[q] == spans.service[i] and spans.role[q] != ROLE_POLL:
        if spans.role[q] == ROLE_CONSUMER and (_links_of(links, q) > 0 or _handed_over(spans, q)):
            return True
        q = spans.parent[q]
    return False


@kernel
def find_loops(spans):
    """For each poll, the parentless INTERNAL span in which it loops; -1 for all else ``(n,)``."""
    n = len(spans.parent)
    top = np.full(n, -2, np.int32)  # -2: not known
    out = np.full(n, -1, np.int32)
    for i in range(n):
        if spans.role[i] != ROLE_POLL or spans.parent[i] < 0:
            continue
        q = spans.parent[i]
        found = np.int32(-1)
        while True:
            if top[q] != -2:
                found = top[q]
                break
            if spans.role[q] != ROLE_INTERNAL:
                break
            if spans.parent[q] < 0:
                found = np.int32(q)
                break
            q = spans.parent[q]
        q = spans.parent[i]
        while q >= 0 and top[q] == -2 and spans.role[q] == ROLE_INTERNAL:
            top[q] = found
            q = spans.parent[q]
        out[i] = found
    return out


@kernel
def find_hops(spans, links, loop):
    """Whether a queue, or idle waiting for it, lies between each span and its parent ``(n,)``."""
    n = len(spans.parent)
    hop = np.zeros(n, np.bool_)
    for i in range(n):
        if spans.parent[i] < 0 or (spans.role[i] != ROLE_CONSUMER and spans.role[i] != ROLE_POLL):
            continue
        if _handed_over(spans, i) or loop[i] >= 0:
            hop[i] = True
        elif _links_of(links, i) > 0:
            hop[i] = not _is_covered(spans, links, i)
    return hop


@kernel
def find_blocking(spans, hop, clip):
    """Whether each span blocks its parent; roots do not.  `clip`: whatever overlaps its parent does."""
    parent, start_ns, end_ns = spans.parent, spans.start_ns, spans.end_ns
    n = len(parent)
    blocks = np.zeros(n, np.bool_)
    for i in range(n):
        p = parent[i]
        if p < 0:
            continue
        if not clip and hop[i]:
            continue
        if start_ns[i] >= end_ns[p] and not (start_ns[i] == end_ns[i] and start_ns[i] == end_ns[p]):
            continue
        if end_ns[i] <= start_ns[p] and end_ns[i] > start_ns[i]:
            continue
        overhang = end_ns[i] - end_ns[p]
        allowed = max(OVERHANG_NS, (end_ns[i] - start_ns[i]) // OVERHANG_PARTS)
        if overhang > allowed and not (clip or spans.answers[i]):
            continue
        blocks[i] = True
    return blocks


# -- groups --------------------------------------------------------------------------------------


@kernel
def cut_groups(spans, blocks):
    """Walk groups: numbers, spans group by group with parents first, bounds and roots.

    A poll whose messages are processed below it starts no unit; ``chained`` ``(n,)`` marks it.
    """
    parent, begin, child = spans.parent, spans.begin, spans.child
    n = len(parent)
    group = np.empty(n, np.int32)
    sequence = np.empty(n, np.int32)
    roots = np.empty(n, np.int32)
    bounds = np.zeros(n + 1, np.int64)
    cut = blocks.copy()
    chained = np.zeros(n, np.bool_)
    for i in range(n):
        p = parent[i]
        if p >= 0 and spans.role[i] == ROLE_CONSUMER and spans.role[p] == ROLE_POLL:
            cut[i] = False
            chained[p] = True
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
    return group, sequence, bounds[: groups + 1].copy(), roots[:groups].copy(), cut, chained


# -- hops ----------------------------------------------------------------------------------------


@kernel
def _link_ranks(links, lo, hi, seed):
    """For each of some links, the first of them that names the same span."""
    n = hi - lo
    size = 4
    while size < 2 * n:
        size *= 2
    mask = np.uint64(size - 1)
    table = np.full(size, -1, np.int32)
    first = np.empty(n, np.int32)
    for k in range(n):
        slot = mix(mix(links.hi[lo + k] ^ seed, links.lo[lo + k]), links.span[lo + k]) & mask
        while table[slot] >= 0:
            other = lo + table[slot]
            if links.span[other] == links.span[lo + k] and links.lo[other] == links.lo[lo + k]:
                if links.hi[other] == links.hi[lo + k]:
                    break
            slot = (slot + np.uint64(1)) & mask
        if table[slot] < 0:
            table[slot] = k
        first[k] = table[slot]
    return first


@inlined
def _claim_slot(claims, trace, service, hi, lo, span, seed):
    """Slot of a claim: where it stands, or where it would."""
    mask = np.uint64(len(claims) - 1)
    slot = mix(mix(mix(hi ^ seed, lo), span), np.int64(trace) << 32 | np.int64(service)) & mask
    while claims[slot, 0] >= 0:
        if claims[slot, 0] == trace and claims[slot, 1] == service and claims[slot, 4] == span:
            if claims[slot, 2] == hi and claims[slot, 3] == lo:
                break
        slot = (slot + np.uint64(1)) & mask
    return np.int64(slot)


@inlined
def _put_claim(claims, slot, trace, service, hi, lo, span):
    claims[slot, 0], claims[slot, 1] = trace, service
    claims[slot, 2], claims[slot, 3], claims[slot, 4] = hi, lo, span


@kernel
def _claims(spans, links, groups, hop, cut, seed):
    """Messages that are processed in spans of their own: ``(s, 5)`` of trace, service and message; -1: empty.

    A poll that names one of them brought it, and its processing is the unit of work.
    """
    room, asked = 0, False
    for g in range(len(groups.roots)):
        r = groups.roots[g]
        if spans.role[r] == ROLE_CONSUMER:
            room += 1 + _links_of(links, r)
        elif spans.role[r] == ROLE_POLL and not groups.chained[r]:
            asked = True
    size = 4
    while asked and size < 2 * room:
        size *= 2
    claims = np.full((size, 5), -1, np.int64)
    if not asked:
        return claims
    for g in range(len(groups.roots)):
        r = groups.roots[g]
        if spans.role[r] != ROLE_CONSUMER:
            continue
        t, service, row = links.trace[r], spans.service[r], links.order[r]
        for k in range(links.offset[row], links.offset[row + 1]):
            slot = _claim_slot(claims, t, service, links.hi[k], links.lo[k], links.span[k], seed)
            _put_claim(claims, slot, t, service, links.hi[k], links.lo[k], links.span[k])
        if _was_sent(spans, hop, cut, r):
            q = links.order[spans.parent[r]]
            hi, lo, span = links.trace_hi[q], links.trace_lo[q], links.span_id[q]
            slot = _claim_slot(claims, t, service, hi, lo, span, seed)
            _put_claim(claims, slot, t, service, hi, lo, span)
    return claims


@inlined
def _is_claimed(spans, links, messages, r, hi, lo, span):
    if spans.role[r] != ROLE_POLL:
        return False
    claims = messages.claims
    slot = _claim_slot(claims, links.trace[r], spans.service[r], hi, lo, span, messages.seed)
    return claims[slot, 0] >= 0


@inlined
def _add_unit(built, producer, g):
    """A unit of a group, of the message that a span published: -1 for one of another trace, or of none."""
    at = built.size[_UNITS]
    built.units.producer[at], built.units.group[at] = producer, g
    built.size[_UNITS] = at + 1


@inlined
def _published_here(links, i, k):
    """Position of the span that a span's link `k` names, where it is of the same trace; else -1."""
    row, t = links.order[i], links.trace[i]
    if links.hi[k] != links.trace_hi[row] or links.lo[k] != links.trace_lo[row]:
        return np.int64(-1)
    return find_span(
        links.order, links.trace_start[t], links.trace_start[t + 1], links.span_id, links.span[k]
    )


@kernel
def _find_hops_of(g, r, source, sent, spans, links, messages, built):
    """Add the units of a consumer: one for each message, by parent (if `sent`) or link.

    Returns whether others claim a message.
    """
    claimed = False
    asks = spans.role[source] == ROLE_CONSUMER or spans.role[source] == ROLE_POLL
    if sent:
        producer = np.int64(spans.parent[source])
        q = links.order[producer]
        if _is_claimed(spans, links, messages, r, links.trace_hi[q], links.trace_lo[q], links.span_id[q]):
            claimed = True
        else:
            _add_unit(built, producer, g)
        messages.consumed_by[producer] = g
    row = links.order[source]
    lo, hi = links.offset[row], links.offset[row + 1]
    if not asks or lo == hi:
        return claimed
    ranks = _link_ranks(links, lo, hi, messages.seed)
    for k in range(lo, hi):
        if _is_claimed(spans, links, messages, r, links.hi[k], links.lo[k], links.span[k]):
            claimed = True
            continue
        a = _published_here(links, source, k)
        if a >= 0:
            if messages.consumed_by[a] == g:
                continue
            messages.consumed_by[a] = g
        else:
            if ranks[k - lo] != k - lo:
                continue
            cross = built.size[_HOPS]
            built.hop_unit[cross], built.hop_link[cross] = built.size[_UNITS], k
            built.size[_HOPS] = cross + 1
        _add_unit(built, a, g)
    return claimed


# -- clocks --------------------------------------------------------------------------------------


@bare
def _first_work(spans, cut, r):
    """When work below a poll began; the poll's end where nothing but the poll was done."""
    first = spans.end_ns[r]
    length = spans.end_ns[r] - spans.start_ns[r]
    for c in range(spans.begin[r], spans.begin[r + 1]):
        j = spans.child[c]
        if not cut[j]:
            continue
        role = spans.role[j]
        took = spans.end_ns[j] - spans.start_ns[j]
        if role == ROLE_TRANSPORT:
            continue
        if (role == ROLE_CALL or role == ROLE_LEAF_CALL) and took >= length - length // TRANSPORT_PARTS:
            continue
        first = min(first, max(spans.start_ns[j], spans.start_ns[r]))
    return first


@bare
def _poll_from(spans, cut, r, units, before, size):
    """When the own time of a poll with units began to be somebody's: what it brought was out, or work began.

    Sets the start of each unit in this trace on the way.
    """
    first = _first_work(spans, cut, r)
    begun = spans.start_ns[r]
    known = True
    for u in range(before, size):
        q = units.producer[u]
        if q < 0:
            known = False
            units.start[u] = first
            continue
        published = min(spans.end_ns[q], spans.end_ns[r])
        if spans.start_ns[q] <= first < published:  # handed out before its publisher knew that it was out
            published = first
        elif first == published == spans.end_ns[r] and spans.start_ns[q] <= spans.start_ns[r]:
            published = spans.start_ns[r]  # who published waits for what was asked: the receive is the work
        units.start[u] = published
        begun = max(begun, published)
        units.negative[u] = spans.start_ns[q] > spans.end_ns[r]
    return begun if known else first


@bare
def _clock_messages(spans, cut, r, units, before, size):
    """Clocks of a consumer's units; when its work began."""
    poll = spans.role[r] == ROLE_POLL
    begun = _poll_from(spans, cut, r, units, before, size) if poll else spans.start_ns[r]
    for u in range(before, size):
        units.kind[u], units.end[u] = UNIT_MESSAGE, spans.end_ns[r]
        q = units.producer[u]
        if q < 0:
            units.start[u], units.wait[u], units.negative[u] = begun, 0, False
            continue
        if not poll:
            units.start[u] = spans.end_ns[q]
            # with confirms, a message may be consumed before its publisher knows that it is out
            units.negative[u] = spans.start_ns[q] > spans.start_ns[r]
        units.start[u] = min(units.start[u], begun)
        units.wait[u] = begun - units.start[u]
    return begun


@bare
def _is_long(spans, groups, g):
    """Whether something that lives about as long as group `g` is a stream, or scheduled."""
    r = groups.roots[g]
    length = spans.end_ns[r] - spans.start_ns[r]
    for k in range(groups.bounds[g], groups.bounds[g + 1]):
        j = groups.sequence[k]
        life = spans.messaging_op[j]
        if life == LIFE_STREAM or life == LIFE_SCHEDULED:
            if spans.end_ns[j] - spans.start_ns[j] >= length - length // LIFE_PARTS:
                return True
    return False


@bare
def _worked(spans, groups, g):
    """Whether a loop did anything but poll, or failed."""
    failed = spans.status[groups.roots[g]] == STATUS_ERROR
    for k in range(groups.bounds[g], groups.bounds[g + 1]):
        if failed or spans.role[groups.sequence[k]] != ROLE_INTERNAL:
            return True
    return failed


@kernel
def _last_polls(spans, loop, cut):
    """End of the last poll in each loop ``(n,)``, -1 elsewhere; of no length where nothing loops."""
    some = False
    for i in range(len(loop)):
        some |= loop[i] >= 0 and not cut[i]
    polled = np.full(len(loop) if some else 0, -1, np.int64)
    for i in range(len(polled)):
        if loop[i] >= 0 and not cut[i]:
            polled[loop[i]] = max(polled[loop[i]], spans.end_ns[i])
    return polled


@bare
def _looked_for(spans):
    """Whether a stream or something scheduled is among the spans, and whether messages are."""
    lives, messages = False, False
    for i in range(len(spans.role)):
        life, role = spans.messaging_op[i], spans.role[i]
        lives |= (life == LIFE_STREAM) | (life == LIFE_SCHEDULED)
        messages |= (role == ROLE_CONSUMER) | (role == ROLE_POLL) | (role == ROLE_PUBLISH)
    return lives, messages


@bare
def _clock_alone(spans, groups, cut, g, polled, lives):
    """Kind (-1: no unit) of what brought no message, and when its work began.

    `polled` is the end of the last poll in a loop; -1 elsewhere.  `lives` is whether anything lives long.
    """
    r = groups.roots[g]
    p = spans.parent[r]
    begun = spans.start_ns[r]
    if spans.role[r] == ROLE_POLL:
        first = _first_work(spans, cut, r)
        if spans.status[r] == STATUS_ERROR:
            return UNIT_LONG, begun
        if first == spans.end_ns[r] or spans.messaging_op[r] == MSG_EMPTY:
            return -1, begun
        return UNIT_REQUEST, first
    if polled >= 0:
        return (UNIT_LONG if _worked(spans, groups, g) else -1), max(begun, min(polled, spans.end_ns[r]))
    settles = spans.messaging_op[r] == MSG_SETTLE and spans.role[r] == ROLE_LEAF_CALL
    if p < 0 and settles and spans.status[r] != STATUS_ERROR:
        return -1, begun
    if lives and _is_long(spans, groups, g):
        return UNIT_LONG, begun
    return (UNIT_REQUEST if p < 0 or spans.role[r] == ROLE_CONSUMER else UNIT_DETACHED), begun


@kernel
def _new_units(room):
    """Room for so many units, of no message and no wait as yet."""
    return Units(
        np.empty(room, np.int32), np.empty(room, np.int8), np.empty(room, np.int64),
        np.empty(room, np.int64), np.zeros(room, np.int64), np.full(room, -1, np.int32),
        np.zeros(room, np.bool_),
    )  # fmt: skip


@bare
def _consumes(spans, links, groups, hop, cut, r):
    """Whether a group takes messages, from which span's parent and links, and whether one by the parent.

    That span is the group's first, or the poll that brought the messages.
    """
    p, role = np.int64(spans.parent[r]), spans.role[r]
    poll = role == ROLE_POLL
    # whatever another service does about what was published, once it is out, is a message's work
    late = not poll and p >= 0 and spans.role[p] == ROLE_PUBLISH and spans.service[p] != spans.service[r]
    if not late and role != ROLE_CONSUMER and not (poll and spans.messaging_op[r] != MSG_EMPTY):
        return False, r, False
    brought = role == ROLE_CONSUMER and p >= 0 and groups.chained[p] and _links_of(links, r) == 0
    source = p if brought else r
    return True, source, late or _was_sent(spans, hop, cut, source)


@kernel
def put_clocks(spans, links, groups, hop, cut, loop, seed):
    """Put clocks on groups; gives `Clocked`."""
    n, size = len(spans.parent), len(groups.roots)
    units, linked = _new_units(size + len(links.hi)), len(links.hi)
    built = _Built(units, np.empty(linked, np.int32), np.empty(linked, np.int64), np.zeros(2, np.int64))
    hops, group_from = np.zeros(size, np.int32), np.empty(size, np.int64)
    idle, settled = np.zeros(size, np.bool_), np.zeros(size, np.bool_)
    consumed = np.zeros(n, np.bool_)
    lives, any_messages = _looked_for(spans)
    messages = _Messages(
        _claims(spans, links, groups, hop, cut, seed), seed, np.full(n if any_messages else 0, -1, np.int32)
    )
    polled = _last_polls(spans, loop, cut)
    for g in range(size):
        r = np.int64(groups.roots[g])
        group_from[g] = spans.start_ns[r]
        if groups.chained[r]:
            continue
        before, claimed = built.size[_UNITS], False
        consumes, source, sent = _consumes(spans, links, groups, hop, cut, r)
        if consumes:
            claimed = _find_hops_of(g, r, source, sent, spans, links, messages, built)
        after = built.size[_UNITS]
        if after > before:
            group_from[g] = _clock_messages(spans, cut, r, units, before, after)
            for u in range(before, after):
                if units.producer[u] >= 0:
                    consumed[units.producer[u]] = True
        elif not claimed:
            last = polled[r] if len(polled) else np.int64(-1)
            kind, group_from[g] = _clock_alone(spans, groups, cut, g, last, lives)
            if kind < 0:
                idle[g], settled[g] = spans.role[r] != ROLE_LEAF_CALL, spans.role[r] == ROLE_LEAF_CALL
            else:
                _add_unit(built, -1, g)
                units.kind[before] = kind
                units.start[before], units.end[before] = group_from[g], spans.end_ns[r]
        hops[g] = built.size[_UNITS] - before
    count, cross = built.size[_UNITS], built.size[_HOPS]
    kept = Units(
        units.group[:count].copy(), units.kind[:count].copy(), units.start[:count].copy(),
        units.end[:count].copy(), units.wait[:count].copy(), units.producer[:count].copy(),
        units.negative[:count].copy(),
    )  # fmt: skip
    hop_unit, hop_link = built.hop_unit[:cross].copy(), built.hop_link[:cross].copy()
    return Clocked(kept, hops, group_from, hop_unit, hop_link, consumed, idle, settled)
