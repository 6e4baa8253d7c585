"""Clocks reconciled: each answer is put inside its call, for all calls of a trace at once.

    a CLIENT |----------|                 the answer fits when b's clock is moved by x..y
    b SERVER       |------|   as sent     relative to a's
              x|------|y      moved by the least that fits, y

A clock is a host's; where a span names none, it is its parent's in the same service, or that of the
only host its service names in the trace, or its service's.  The intervals of all calls are a system
of difference constraints over the clocks of a trace: shortest paths say whether it has a solution,
and between what each clock lies once others are settled.

Clocks are settled in the order in which the spans reach them, entry first, parents before children.
The entry's is right.  Any other keeps its time where it can, else it goes in step with the clock
that called it where it can, else it moves by the least that fits; below an entry that names no host,
as a browser's or a phone's, clocks go in step first, as it is the likelier one to be off.

Calls that contradict each other have no solution.  Between two clocks most of them decide; where
there is no majority, the offset is the middle of where the sum of what is violated is least.  Where
it takes more clocks to contradict, pairs of clocks are taken in order, those that most calls agree on
first, then those nearest to no offset, and a pair that contradicts those taken before it is left out.  A
clock that no call binds keeps its time, or goes in step, whichever leaves an answer overlapping its
call and other children no earlier than their parent's start; an answer that is longer than its call
and would still lie outside starts as its call does, unless it is late work: behind its call, and far
longer.  An answer outside its call, one of which names no host, is moved into it with everything
below: two clocks were taken for one.  Whatever calls do not prove, marks the trace.

Source: design, section 4 (clock skew); Cormen et al., Introduction to Algorithms, 24.4
(difference constraints and shortest paths).
"""

# Inner kernels carry no annotations: their types are what the compiler infers from the arrays given.
# pyright: reportMissingParameterType=false, reportUnknownParameterType=false

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tracescope.kernels import bare, inlined, kernel
from tracescope.kernels.traces import I64, SEED, Bools, mix

I32 = NDArray[np.int32]

#: Bounds of what nothing binds; sums of a bound and an interval stay within 64 bits.
UNBOUND = np.int64(2**62)
#: An interval's ends lie within these, in ns: longer than any two real clocks are apart.
FARTHEST = np.int64(2**61)
#: So many looks at a pair of clocks, or so many in all, settle any real trace.  Once they are used up, clocks
#: take their lower bounds, which are a solution too; a search that takes as many again finds none.
LOOKS_PER_PAIR = 256
LOOKS = 1 << 22
#: Work that takes more than so many times its call is not what the call was for.
FAR_LONGER = 10
#: More calls that agree than these are as good as any number.
MANY_VOTES = np.int64(2**24 - 1)


class _Spans(NamedTuple):
    """Spans of all traces; see `tracescope.kernels.forest.Forest`."""

    parent: I32
    begin: I32
    child: I32
    answers: Bools
    missing: Bools
    host: I32
    service: I32
    start: I64
    end: I64


class _Room(NamedTuple):
    """What is worked out for a trace.

    Attributes
    ----------
    stack, sequence, clock
        By span ``(s,)``: a stack; spans, parents before children; the clock of each.
    seen_host, number, seen_service, only_host
        By code: the trace that a clock or service was met in last; its number, and the one host of the
        service, -1 for several.
    head, least, most, least_steps, most_steps, settled, queued, queue, joined
        By clock ``(c,)``: its first link; bounds of its offset, and how many links they came over; whether
        it is settled, or waits in the queue; a clock that pairs taken so far join it with.
    slots
        Hash table of pairs of clocks.
    pair_low, pair_high, pair_votes, pair_kept, pair_last, vote_low, vote_high, vote_before
        By pair: bounds of the offset of the second clock relative to the first, how many calls agree,
        whether it counts, and the last of its calls; by call: what it says, and the one before it.
    link_to, link_next
        Pair ``k`` makes links ``2 k`` (from its first clock) and ``2 k + 1``: to where, and the next
        one from the same clock.
    ends_low, ends_high, keys
        Intervals that contradict each other; what pairs are sorted by.
    """

    stack: I32
    sequence: I32
    clock: I32
    seen_host: I64
    number: I32
    seen_service: I64
    only_host: I32
    head: I32
    least: I64
    most: I64
    least_steps: I32
    most_steps: I32
    settled: Bools
    queued: Bools
    queue: I32
    joined: I32
    slots: I32
    pair_low: I64
    pair_high: I64
    pair_votes: I32
    pair_kept: Bools
    pair_last: I32
    vote_low: I64
    vote_high: I64
    vote_before: I32
    link_to: I32
    link_next: I32
    ends_low: I64
    ends_high: I64
    keys: I64


@inlined
def _is_apart(start, end, call_start, call_end):
    """Whether an answer lies wholly outside its call.

    What begins after its call and is far longer than it is no answer out of place: no clock could put it
    inside.  It is work that the call only set off, and that is late.
    """
    if start >= call_end and (end - start) // FAR_LONGER > call_end - call_start:
        return False
    if start == end:
        return start > call_end or end < call_start
    return start >= call_end or end <= call_start


@inlined
def _half(x):
    """Half of `x`, towards zero: the same whichever clock comes first."""
    return x // 2 if x >= 0 else -(-x // 2)


@inlined
def _nearest(x, low, high):
    """What lies in ``[low, high]`` nearest to `x`."""
    return min(max(x, low), high)


@inlined
def _is_violated(i, p, spans):
    """Whether an answer that sticks out of its call could not do so by one clock."""
    if not spans.answers[i] or (spans.host[i] >= 0 and spans.host[i] == spans.host[p]):
        return False
    start, end = spans.start[i], spans.end[i]
    call_start, call_end = spans.start[p], spans.end[p]
    return end - start <= call_end - call_start or _is_apart(start, end, call_start, call_end)


# -- clocks --------------------------------------------------------------------------------------


@bare
def _put_in_order(lo, hi, spans, room):
    """A trace's spans, parents before children, those below a missing parent last."""
    at = 0
    for turn in range(2):
        for root in range(lo, hi):
            if spans.parent[root] >= 0 or spans.missing[root] != (turn == 1):
                continue
            room.stack[0] = root
            top = 1
            while top > 0:
                top -= 1
                i = room.stack[top]
                room.sequence[at] = i
                at += 1
                for c in range(spans.begin[i + 1] - 1, spans.begin[i] - 1, -1):
                    room.stack[top] = spans.child[c]
                    top += 1


@bare
def _find_clocks(lo, hi, t, spans, room):
    """Number the clocks of a trace in the order in which its spans reach them; how many."""
    for i in range(lo, hi):
        host, service = spans.host[i], spans.service[i]
        if host < 0:
            continue
        if room.seen_service[service] != t:
            room.seen_service[service], room.only_host[service] = t, host
        elif room.only_host[service] != host:
            room.only_host[service] = -1
    clocks = 0
    for k in range(hi - lo):
        i = np.int64(room.sequence[k])
        p, host, service = spans.parent[i], np.int64(spans.host[i]), spans.service[i]
        if host < 0:
            if p >= 0 and service == spans.service[p] and not spans.answers[i]:
                room.clock[i - lo] = room.clock[p - lo]
                continue
            if room.seen_service[service] == t:
                host = np.int64(room.only_host[service])
        code = 2 * host if host >= 0 else 2 * np.int64(service) + 1
        if room.seen_host[code] != t:
            room.seen_host[code], room.number[code] = t, clocks
            room.head[clocks] = -1
            clocks += 1
        room.clock[i - lo] = room.number[code]
    return clocks


@inlined
def _pair(a, b, mask, seed, pairs, room):
    """Number of a pair of clocks, the first of which is the smaller; `pairs` for a new one."""
    slot = np.int64(mix(np.int64(a) ^ seed, np.int64(b)) & np.uint64(mask))
    while room.slots[slot] >= 0:
        k = room.slots[slot]
        if room.link_to[2 * k] == b and room.link_to[2 * k + 1] == a:
            return np.int64(k)
        slot = (slot + 1) & mask
    room.slots[slot] = pairs
    return np.int64(pairs)


@bare
def _find_pairs(lo, hi, seed, spans, room):
    """Intervals between clocks, from all calls between them; whether some contradict each other."""
    votes = pairs = 0
    mask = 3
    while mask + 1 < 2 * (hi - lo):
        mask = 2 * mask + 1
    room.slots[: mask + 1] = -1
    for k in range(hi - lo):
        i = np.int64(room.sequence[k])
        if not spans.answers[i]:
            continue
        p = np.int64(spans.parent[i])
        a, b = room.clock[p - lo], room.clock[i - lo]
        low, high = spans.start[p] - spans.start[i], spans.end[p] - spans.end[i]
        if a == b or low > high:
            continue
        if a > b:
            a, b, low, high = b, a, -high, -low
        low, high = _nearest(low, -FARTHEST, FARTHEST), _nearest(high, -FARTHEST, FARTHEST)
        q = _pair(a, b, mask, seed, pairs, room)
        if q == pairs:
            pairs += 1
            room.pair_low[q], room.pair_high[q] = low, high
            room.pair_votes[q], room.pair_kept[q], room.pair_last[q] = 0, True, -1
            room.link_to[2 * q], room.link_next[2 * q], room.head[a] = b, room.head[a], 2 * q
            room.link_to[2 * q + 1], room.link_next[2 * q + 1], room.head[b] = a, room.head[b], 2 * q + 1
        room.pair_low[q], room.pair_high[q] = max(room.pair_low[q], low), min(room.pair_high[q], high)
        room.vote_low[votes], room.vote_high[votes] = low, high
        room.vote_before[votes], room.pair_last[q] = room.pair_last[q], votes
        room.pair_votes[q] += 1
        votes += 1
    torn = False
    for q in range(pairs):
        if room.pair_low[q] > room.pair_high[q]:
            torn = True
            _agree(q, room)
    return pairs, torn


@bare
def _agree(q, room):
    """Bounds of a pair whose calls contradict each other: what most of them say, else the middle."""
    lows, highs, n = room.ends_low, room.ends_high, room.pair_votes[q]
    vote = room.pair_last[q]
    for k in range(n):
        lows[k], highs[k] = room.vote_low[vote], room.vote_high[vote]
        vote = room.vote_before[vote]
    low = high = _least_violated(lows, highs, n)
    _sort(lows, n)
    _sort(highs, n)
    most, ended = n // 2, 0
    for k in range(n):
        while highs[ended] < lows[k]:
            ended += 1
        agree = k + 1 - ended
        near = abs(_nearest(np.int64(0), lows[k], highs[ended]))
        if agree > most or (agree == most > n // 2 and near < abs(_nearest(np.int64(0), low, high))):
            most, low, high = agree, lows[k], highs[ended]
    room.pair_low[q], room.pair_high[q] = low, high
    room.pair_votes[q] = most if most > n // 2 else 0


@bare
def _sort(values, n):
    """Sort the first `n` values: as a heap, the largest of which is taken out again and again."""
    for size in range(n // 2 + n, 0, -1):
        if size > n:
            root, end = size - n - 1, n
        else:
            values[0], values[size - 1] = values[size - 1], values[0]
            root, end = 0, size - 1
        while 2 * root + 1 < end:
            child = 2 * root + 1
            if child + 1 < end and values[child + 1] > values[child]:
                child += 1
            if values[root] >= values[child]:
                break
            values[root], values[child] = values[child], values[root]
            root = child


@bare
def _ranked(low, high, n, rank):
    """The end that `rank` of the ends of `n` intervals do not exceed."""
    a, b = low[0], high[0]
    for k in range(n):
        a, b = min(a, low[k]), max(b, high[k])
    while a < b:
        middle = a + (b - a) // 2
        count = 0
        for k in range(n):
            count += low[k] <= middle
            count += high[k] <= middle
        if count >= rank:
            b = middle
        else:
            a = middle + 1
    return a


@bare
def _least_violated(low, high, n):
    """Where intervals that do not all meet are violated least in sum; the middle of such places.

    The sum's slope is the number of ends to the left less `n`: it is least between the two ends in the
    middle.
    """
    return _half(_ranked(low, high, n, n) + _ranked(low, high, n, n + 1))


# -- offsets -------------------------------------------------------------------------------------


@inlined
def _interval(link, room):
    """What the offset at a link's end is, relative to that at its beginning."""
    k = link // 2
    if link % 2 == 0:
        return room.pair_low[k], room.pair_high[k]
    return -room.pair_high[k], -room.pair_low[k]


@bare
def _spread(source, clocks, looks, least_looks, room):
    """Bounds of all clocks, now that one is settled; looks left, and whether there is a solution.

    Shortest paths by labels that are corrected first in, first out.  A path over as many links as there are
    clocks, or bounds that cross, is a circle of intervals that contradict each other.
    """
    room.least_steps[source] = room.most_steps[source] = 0
    room.queue[0], room.queued[source] = source, True
    first, waiting = 0, 1
    while waiting > 0:
        a = room.queue[first]
        first = first + 1 if first + 1 < clocks else 0
        waiting -= 1
        room.queued[a] = False
        link = room.head[a]
        while link >= 0:
            looks -= 1
            b = room.link_to[link]
            if not room.pair_kept[link // 2]:
                link = room.link_next[link]
                continue
            low, high = _interval(link, room)
            low, high = max(room.least[a] + low, -UNBOUND), min(room.most[a] + high, UNBOUND)
            closer = low > room.least[b] or high < room.most[b]
            if low > room.least[b]:
                room.least[b], room.least_steps[b] = low, room.least_steps[a] + 1
            if high < room.most[b]:
                room.most[b], room.most_steps[b] = high, room.most_steps[a] + 1
            circle = closer and max(room.least_steps[b], room.most_steps[b]) >= clocks
            if looks < least_looks or circle or room.least[b] > room.most[b]:
                return looks, False
            if closer and not room.queued[b]:
                last = first + waiting if first + waiting < clocks else first + waiting - clocks
                room.queue[last], room.queued[b] = b, True
                waiting += 1
            link = room.link_next[link]
    return looks, True


@bare
def _forget(clocks, room):
    """Let no clock be settled, and nothing bind one."""
    for a in range(clocks):
        room.least[a], room.most[a] = -UNBOUND, UNBOUND
        room.least_steps[a] = room.most_steps[a] = 0
        room.settled[a] = room.queued[a] = False


@inlined
def _joint(a, room):
    """What stands for all clocks that a clock is joined with."""
    while room.joined[a] != a:
        room.joined[a] = room.joined[room.joined[a]]
        a = room.joined[a]
    return a


@bare
def _untangle(clocks, pairs, looks, room):
    """Leave out pairs that contradict those that go before them; looks left.

    Without looks left, every pair that closes a ring is left out.
    """
    least_looks = -looks
    for q in range(pairs):
        near = np.uint64(abs(_nearest(np.int64(0), room.pair_low[q], room.pair_high[q])))
        bits = 0
        while near > 0:
            near >>= np.uint64(1)
            bits += 1
        few = MANY_VOTES - min(np.int64(room.pair_votes[q]), MANY_VOTES)
        room.keys[q] = few << 38 | bits << 32 | q
        room.pair_kept[q] = False
    _sort(room.keys, pairs)
    for a in range(clocks):
        room.joined[a] = a
    for k in range(pairs):
        q = room.keys[k] & 0xFFFFFFFF
        a, b = room.link_to[2 * q + 1], room.link_to[2 * q]
        one, other = _joint(a, room), _joint(b, room)
        if one != other:
            room.joined[other] = one
            room.pair_kept[q] = True
        elif looks >= 0:
            _forget(clocks, room)
            room.least[a] = room.most[a] = 0
            looks, solved = _spread(a, clocks, looks - clocks, least_looks, room)
            low, high = max(room.least[b], room.pair_low[q]), min(room.most[b], room.pair_high[q])
            room.pair_kept[q] = solved and low <= high
    return looks


@bare
def _unbound(i, first, second, caller, spans):
    """Offset of a clock that no call binds, reached at span `i`; whether that is a guess."""
    p = spans.parent[i]
    if p < 0:
        return first, False
    begin, stop = spans.start[p] + caller, spans.end[p] + caller
    for k in range(2):
        shift = first if k == 0 else second
        start, end = spans.start[i] + shift, spans.end[i] + shift
        fits = not _is_apart(start, end, begin, stop) if spans.answers[i] else start >= begin
        if fits:
            return shift, False
    return (begin - spans.start[i], True) if spans.answers[i] else (first, False)


@bare
def _settle(lo, hi, clocks, most_looks, looks, spans, room):
    """Settle all clocks of a trace, into ``room.least``.

    Returns whether a clock is not proved by calls, looks left, and whether the calls have a solution.
    """
    _forget(clocks, room)
    uncertain = False
    known = spans.host[room.sequence[0]] >= 0
    for k in range(hi - lo):
        i = np.int64(room.sequence[k])
        a = room.clock[i - lo]
        if room.settled[a]:
            continue
        p = spans.parent[i]
        caller = room.least[room.clock[p - lo]] if p >= 0 else np.int64(0)
        first, second = (np.int64(0), caller) if known else (caller, np.int64(0))
        low, high, bound = room.least[a], room.most[a], room.least[a] > -UNBOUND
        if not bound:
            shift, guessed = _unbound(i, first, second, caller, spans)
            uncertain |= guessed
        elif looks < 0:
            shift = low
        elif low <= first <= high or not low <= second <= high:
            shift = _nearest(first, low, high)
        else:
            shift = second
        room.settled[a] = True
        room.least[a] = room.most[a] = shift
        if room.head[a] >= 0 and (looks >= 0 or not bound):
            looks, solved = _spread(a, clocks, looks, -most_looks, room)
            if not solved:
                return uncertain, looks, False
    return uncertain, looks, True


@bare
def _shift(lo, hi, spans, room, offset):
    """Offsets of a trace's spans; whether one is not proved by calls."""
    uncertain = False
    for k in range(hi - lo):
        i = np.int64(room.sequence[k])
        p = np.int64(spans.parent[i])
        offset[i] = room.least[room.clock[i - lo]]
        if p < 0:
            continue
        offset[i] += offset[p] - room.least[room.clock[p - lo]]  # what was moved above takes this along
        if not spans.answers[i] or (spans.host[i] >= 0 and spans.host[p] >= 0):
            continue
        start, end = spans.start[i] + offset[i], spans.end[i] + offset[i]
        begin, stop = spans.start[p] + offset[p], spans.end[p] + offset[p]
        if _is_apart(start, end, begin, stop):
            fits = end - start <= stop - begin
            offset[i] += _nearest(np.int64(0), begin - start, stop - end) if fits else begin - start
            uncertain |= not fits
    return uncertain


@kernel
def _reconcile(trace_start, spans, seed, per_pair, least, offset):
    traces = len(trace_start) - 1
    uncertain = np.zeros(traces, np.bool_)
    violated = np.zeros(traces, np.bool_)
    longest = 0
    parent, start, end = spans.parent, spans.start, spans.end
    for t in range(traces):
        for i in range(trace_start[t], trace_start[t + 1]):
            p = parent[i]
            if p >= 0 and (start[i] < start[p] or end[i] > end[p]):
                violated[t] |= _is_violated(i, p, spans)
        if violated[t]:
            longest = max(longest, trace_start[t + 1] - trace_start[t])
    if longest == 0:
        return uncertain
    services = codes = 0
    for i in range(len(spans.service)):
        services = max(services, spans.service[i] + 1)
        codes = max(codes, spans.host[i] + 1)
    codes = 2 * max(codes, services)
    size = 4
    while size < 2 * longest:
        size *= 2
    room = _Room(
        np.empty(longest, np.int32), np.empty(longest, np.int32), np.empty(longest, np.int32),
        np.full(codes, -1, np.int64), np.empty(codes, np.int32),
        np.full(services, -1, np.int64), np.empty(services, np.int32),
        np.empty(longest, np.int32), np.empty(longest, np.int64), np.empty(longest, np.int64),
        np.empty(longest, np.int32), np.empty(longest, np.int32),
        np.empty(longest, np.bool_), np.empty(longest, np.bool_),
        np.empty(longest, np.int32), np.empty(longest, np.int32), np.empty(size, np.int32),
        np.empty(longest, np.int64), np.empty(longest, np.int64), np.empty(longest, np.int32),
        np.empty(longest, np.bool_), np.empty(longest, np.int32),
        np.empty(longest, np.int64), np.empty(longest, np.int64), np.empty(longest, np.int32),
        np.empty(2 * longest, np.int32), np.empty(2 * longest, np.int32),
        np.empty(longest, np.int64), np.empty(longest, np.int64), np.empty(longest, np.int64),
    )  # fmt: skip
    for t in range(traces):
        if not violated[t]:
            continue
        lo, hi = trace_start[t], trace_start[t + 1]
        _put_in_order(lo, hi, spans, room)
        clocks = _find_clocks(lo, hi, t, spans, room)
        pairs, torn = _find_pairs(lo, hi, seed, spans, room)
        most_looks = per_pair * pairs + least
        guessed, looks, solved = _settle(lo, hi, clocks, most_looks, most_looks, spans, room)
        if not solved:
            torn = True
            looks = _untangle(clocks, pairs, most_looks, room)
            guessed, looks, solved = _settle(lo, hi, clocks, most_looks, looks, spans, room)
            if not solved:  # the search for a solution was cut off: without rings there is nothing to search
                _untangle(clocks, pairs, np.int64(-1), room)
                guessed, looks, solved = _settle(lo, hi, clocks, most_looks, most_looks, spans, room)
        uncertain[t] = _shift(lo, hi, spans, room, offset) or torn or guessed
    return uncertain


def reconcile(
    trace_start: I64,
    family: tuple[I32, I32, I32, Bools],
    answers: Bools,
    clocks: tuple[I32, I32],
    times: tuple[I64, I64],
    offset: I64,
    looks: tuple[int, int] = (LOOKS_PER_PAIR, LOOKS),
) -> Bools:
    """Offsets that put each answer inside its call.

    Parameters
    ----------
    trace_start
        Bounds ``(t + 1,)`` of each trace.
    family
        By span: its parent, bounds and positions of children, and whether its parent is missing.
    answers
        Whether a span answers its parent's call.
    clocks
        Codes of each span's host, -1 where none is named, and service.
    times
        Start and end of each span, ns.
    offset
        Zeros ``(n,)``; each span's offset in ns is written here.
    looks
        How many looks the search for a trace's offsets may take: for each pair of clocks, and in all.

    Returns
    -------
    uncertain
        Whether a trace's calls contradict each other or leave an offset unproved ``(t,)``.
    """
    parent, begin, child, missing = family
    spans = _Spans(parent, begin, child, answers, missing, *clocks, *times)
    return _reconcile(trace_start, spans, SEED, np.int64(looks[0]), np.int64(looks[1]), offset)
