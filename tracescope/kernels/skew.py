"""Clocks of hosts reconciled: each answer is put inside its call.

    a CLIENT |----------|                 the answer fits when b's clock is moved by x..y
    b SERVER       |------|   as sent
              x|------|y      moved by the least that fits, y

Source: design, section 4 (clock skew).
"""

# Inner kernels carry no annotations: their types are what the compiler infers from the arrays given.
# pyright: reportMissingParameterType=false, reportUnknownParameterType=false

from __future__ import annotations

import numpy as np

from tracescope.kernels import bare, inlined, kernel


@inlined
def _votes(i, parent, answers, host, start, end):
    """Whether a call and its answer say something about the clocks of their hosts."""
    p = parent[i]
    if p < 0 or not answers[i] or host[i] < 0 or host[p] < 0 or host[i] == host[p]:
        return False
    return end[i] - start[i] <= end[p] - start[p]


@inlined
def _half(x):
    """Half of `x`, towards zero: the same whichever host is named first."""
    return x // 2 if x >= 0 else -(-x // 2)


@kernel
def _host_pairs(lo, hi, votes, parent, answers, host, start_ns, end_ns):
    """Distinct pairs of hosts of a trace, sorted, their offset, and whether any pair is torn."""
    pair = np.empty(votes, np.int64)
    least = np.empty(votes, np.int64)
    most = np.empty(votes, np.int64)
    k = 0
    for i in range(lo, hi):
        if not _votes(i, parent, answers, host, start_ns, end_ns):
            continue
        p = parent[i]
        a, b = np.int64(host[p]), np.int64(host[i])
        x, y = start_ns[p] - start_ns[i], end_ns[p] - end_ns[i]
        if a > b:
            a, b = b, a
            x, y = -y, -x
        pair[k], least[k], most[k] = a << 32 | b, x, y
        k += 1
    order = np.argsort(pair)
    key = np.empty(votes, np.int64)
    shift = np.empty(votes, np.int64)
    pairs = 0
    torn = False
    k = 0
    while k < votes:
        name = pair[order[k]]
        x, y = least[order[k]], most[order[k]]
        k += 1
        while k < votes and pair[order[k]] == name:
            x, y = max(x, least[order[k]]), min(y, most[order[k]])
            k += 1
        key[pairs] = name
        if x > y:
            torn = True
            shift[pairs] = _half(x + y)
        elif x > 0:
            shift[pairs] = x
        else:
            shift[pairs] = min(y, 0)
        pairs += 1
    return key[:pairs], shift[:pairs], torn


@inlined
def _pair_shift(key, shift, a, b):
    """Offset of host `b` against host `a`, which called it."""
    wanted = min(a, b) << 32 | max(a, b)
    lo, hi = 0, len(key)
    while lo < hi:
        middle = (lo + hi) // 2
        if key[middle] < wanted:
            lo = middle + 1
        else:
            hi = middle
    return shift[lo] if a < b else -shift[lo]


@bare
def _shift_hosts(lo, hi, t, parent, begin, child, answers, host, start_ns, end_ns, key, shift, known,
                 shift_of, stack, sequence):  # fmt: skip
    """Offsets of a trace's hosts; its spans, parents before children, go to `sequence`."""
    top = at = 0
    for i in range(hi - 1, lo - 1, -1):
        if parent[i] < 0:
            stack[top] = i
            top += 1
    while top > 0:
        top -= 1
        i = stack[top]
        sequence[at] = i
        at += 1
        if _votes(i, parent, answers, host, start_ns, end_ns):
            a, b = np.int64(host[parent[i]]), np.int64(host[i])
            if known[a] != t:
                known[a], shift_of[a] = t, 0
            if known[b] != t:
                known[b], shift_of[b] = t, shift_of[a] + _pair_shift(key, shift, a, b)
        for c in range(begin[i + 1] - 1, begin[i] - 1, -1):
            stack[top] = child[c]
            top += 1


@kernel
def reconcile(trace_start, parent, begin, child, answers, host, start_ns, end_ns, offset):
    """Offsets that put each answer inside its call; returns flags of traces that resist.

    Per trace and pair of hosts, each call and its answer allow an interval of offsets; their
    intersection's smallest value is applied, or the midpoint where it is empty.  A host takes the
    offset of the first call that reaches it, parents before children; hosts that no call reaches
    have none, and spans without a host take their parent's.
    """
    traces = len(trace_start) - 1
    uncertain = np.zeros(traces, np.bool_)
    longest = 0
    for t in range(traces):
        longest = max(longest, trace_start[t + 1] - trace_start[t])
    stack, sequence = np.empty(longest, np.int32), np.empty(longest, np.int32)
    hosts = 0
    for i in range(len(host)):
        hosts = max(hosts, host[i] + 1)
    known = np.full(hosts, -1, np.int64)  # trace that a host's shift was found in
    shift_of = np.zeros(hosts, np.int64)
    for t in range(traces):
        lo, hi = trace_start[t], trace_start[t + 1]
        violated = False
        for i in range(lo, hi):
            p = parent[i]
            if p >= 0 and (start_ns[i] < start_ns[p] or end_ns[i] > end_ns[p]):
                violated |= _votes(i, parent, answers, host, start_ns, end_ns)
        if not violated:
            continue
        votes = 0
        for i in range(lo, hi):
            votes += _votes(i, parent, answers, host, start_ns, end_ns)
        key, shift, uncertain[t] = _host_pairs(lo, hi, votes, parent, answers, host, start_ns, end_ns)
        _shift_hosts(lo, hi, t, parent, begin, child, answers, host, start_ns, end_ns, key, shift, known,
                     shift_of, stack, sequence)  # fmt: skip
        for k in range(hi - lo):
            i = sequence[k]
            if host[i] < 0:
                offset[i] = offset[parent[i]] if parent[i] >= 0 else np.int64(0)
            elif known[host[i]] == t:
                offset[i] = shift_of[host[i]]
    return uncertain
