"""The last-return walk: what the unit of work was waiting for, at every instant.

    checkout  |--------------------------|
      reserve   |-----|
      charge            |-----------|        <- ends last: waited for first, going back

Segments tile the clock: no gap, no overlap.  An explicit stack, because deep traces must not
crash.  ``<=``, not ``<``: a child that ends as the next begins was waited for.  `eps` forgives the
few microseconds by which real instrumentations let a finished call overlap the next one.

Source: Zhang et al., CRISP, USENIX ATC 2022, section 3; design, section 4.
"""

# Inner kernels carry no annotations: their types are what the compiler infers from the arrays given.
# pyright: reportMissingParameterType=false, reportUnknownParameterType=false

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from tracescope.kernels import bare, inlined, kernel
from tracescope.kernels.forest import I32, I64, Bools, Forest

#: A finished call may overlap the next by the smallest of these.
EPS_NS = 1_000_000
EPS_PARENT_PARTS = 100
EPS_CHILD_PARTS = 10


@dataclass(frozen=True, slots=True)
class Walk:
    """The critical path of every walk group.

    Attributes
    ----------
    own_ns, inclusive_ns, visited
        Per span ``(n,)``: its own segments, its window on the path, whether the walk entered it.
    self_ns
        Own time on or off the path: duration less the union of blocking children.
    child_sum_ns, child_union_ns
        Durations of blocking children inside the span, summed and united.
    seg_group, seg_span, seg_start_ns, seg_end_ns
        Segments ``(m,)``, group by group, last first.
    """

    own_ns: I64
    inclusive_ns: I64
    visited: Bools
    self_ns: I64
    child_sum_ns: I64
    child_union_ns: I64
    seg_group: I32
    seg_span: I32
    seg_start_ns: I64
    seg_end_ns: I64


@inlined
def _before(a, b, hi, start, end):
    """Whether child `a` is looked at before child `b`: later end first, then earlier start, then id."""
    end_a, end_b = min(end[a], hi), min(end[b], hi)
    if end_a != end_b:
        return end_a > end_b
    if start[a] != start[b]:
        return start[a] < start[b]
    return a < b


@bare
def _sift(items, lo, size, root, hi, start, end):
    while True:
        last = root
        left = 2 * root + 1
        if left < size and _before(items[lo + last], items[lo + left], hi, start, end):
            last = left
        if left + 1 < size and _before(items[lo + last], items[lo + left + 1], hi, start, end):
            last = left + 1
        if last == root:
            return
        items[lo + root], items[lo + last] = items[lo + last], items[lo + root]
        root = last


@bare
def _order(items, lo, n, hi, start, end):
    """Sort ``items[lo:lo + n]`` by `_before`: insertion for few, heap for many."""
    if n <= 24:
        for a in range(lo + 1, lo + n):
            item = items[a]
            b = a - 1
            while b >= lo and _before(item, items[b], hi, start, end):
                items[b + 1] = items[b]
                b -= 1
            items[b + 1] = item
        return
    for root in range(n // 2 - 1, -1, -1):
        _sift(items, lo, n, root, hi, start, end)
    for size in range(n - 1, 0, -1):
        items[lo], items[lo + size] = items[lo + size], items[lo]
        _sift(items, lo, size, 0, hi, start, end)


@kernel
def _effective(sequence, parent, blocks, start_ns, end_ns, group_root, group_from_ns):
    """Every span clipped to its blocking parent's clipped span, a group's first to where its work begins."""
    start, end = start_ns.copy(), end_ns.copy()
    for g in range(len(group_root)):
        start[group_root[g]] = group_from_ns[g]
    for k in range(len(sequence)):
        i = sequence[k]
        if not blocks[i]:
            continue
        p = parent[i]
        start[i] = min(max(start[i], start[p]), end[p])
        end[i] = max(min(end[i], end[p]), start[i])
    return start, end


@kernel
def _children_last_first(child_start, child, blocks, start, end):
    """Blocking children of each span in the order they are looked at, and what they take.

    Returns
    -------
    items, count
        Children from ``child_start[i]`` on, and how many ``(n,)``.
    self_ns, child_sum, child_union
        As in `Walk`.
    """
    n = len(start)
    items = np.empty(len(child), np.int32)
    count = np.empty(n, np.int32)
    self_ns = np.empty(n, np.int64)
    child_sum = np.empty(n, np.int64)
    child_union = np.empty(n, np.int64)
    for i in range(n):
        first = at = child_start[i]
        for c in range(first, child_start[i + 1]):
            if blocks[child[c]]:
                items[at] = child[c]
                at += 1
        count[i] = at - first
        if at - first > 1:
            _order(items, first, at - first, end[i], start, end)
        total, union, low = np.int64(0), np.int64(0), end[i]
        for c in range(first, at):
            j = items[c]
            total += end[j] - start[j]
            if start[j] < low:
                union += min(end[j], low) - start[j]
                low = start[j]
        child_sum[i], child_union[i] = total, union
        self_ns[i] = end[i] - start[i] - union
    return items, count, self_ns, child_sum, child_union


@kernel
def _walk(group_root, child_start, items, count, start, end, eps_ns, strict, keep):
    """Walk every group; `start` and `end` are the clipped times, `items` is reordered."""
    n = len(start)
    own = np.zeros(n, np.int64)
    inclusive = np.zeros(n, np.int64)
    visited = np.zeros(n, np.bool_)
    room = 2 * n if keep else 0
    seg_group = np.empty(room, np.int32)
    seg_span = np.empty(room, np.int32)
    seg_start = np.empty(room, np.int64)
    seg_end = np.empty(room, np.int64)
    segments = 0
    span = np.empty(n, np.int32)
    now = np.empty(n, np.int64)
    window = np.empty(n, np.int64)
    following = np.empty(n, np.int64)
    for g in range(len(group_root)):
        i = np.int64(group_root[g])
        t = hi = end[i]
        visited[i], inclusive[i] = True, t - start[i]
        at = child_start[i]
        last = at + count[i]
        depth = 0
        while True:
            if at < last:
                j = np.int64(items[at])
                at += 1
                length = end[j] - start[j]
                if length == 0 or start[j] >= t:
                    continue
                overlap = min(end[j], hi) - t
                if overlap > 0:
                    eps = min(eps_ns, (end[i] - start[i]) // EPS_PARENT_PARTS, length // EPS_CHILD_PARTS)
                    if overlap > eps:
                        continue
                elif strict and overlap == 0 and t < hi:
                    continue
                stop = min(end[j], t)
                if t > stop:
                    own[i] += t - stop
                    if keep:
                        seg_group[segments], seg_span[segments] = g, i
                        seg_start[segments], seg_end[segments] = stop, t
                        segments += 1
                visited[j], inclusive[j] = True, stop - start[j]
                span[depth], now[depth], window[depth], following[depth] = i, start[j], hi, at
                depth += 1
                i, t, hi = j, stop, stop
                at = child_start[i]
                last = at + count[i]
                if hi < end[i] and last - at > 1:
                    _order(items, at, last - at, hi, start, end)
                continue
            if t > start[i]:
                own[i] += t - start[i]
                if keep:
                    seg_group[segments], seg_span[segments] = g, i
                    seg_start[segments], seg_end[segments] = start[i], t
                    segments += 1
            if depth == 0:
                break
            depth -= 1
            i, t, hi, at = np.int64(span[depth]), now[depth], window[depth], following[depth]
            last = child_start[i] + count[i]
    return (
        own, inclusive, visited, seg_group[:segments].copy(), seg_span[:segments].copy(),
        seg_start[:segments].copy(), seg_end[:segments].copy(),
    )  # fmt: skip


def walk(
    forest: Forest, *, eps: bool = True, compat: Literal["jaeger"] | None = None, segments: bool = False
) -> Walk:
    """Walk every group of a forest.

    Parameters
    ----------
    forest
        What `build_forest` made.
    eps
        Forgive small overlaps; off, the laws of order, scaling and slack hold exactly.
    compat
        ``"jaeger"``: strict ``<`` and no eps, as Jaeger's UI draws it; for a forest built the same way.
    segments
        Also return the segments, not only sums.
    """
    strict = compat == "jaeger"
    start, end = _effective(
        forest.sequence, forest.parent, forest.blocks, forest.start_ns, forest.end_ns, forest.group_root,
        forest.group_from_ns,
    )  # fmt: skip
    items, count, self_ns, child_sum, child_union = _children_last_first(
        forest.child_start, forest.child, forest.blocks, start, end
    )
    eps_ns = np.int64(EPS_NS if eps and not strict else 0)
    own, inclusive, visited, seg_group, seg_span, seg_start, seg_end = _walk(
        forest.group_root, forest.child_start, items, count, start, end, eps_ns, strict, segments
    )
    return Walk(
        own, inclusive, visited, self_ns, child_sum, child_union, seg_group, seg_span, seg_start, seg_end
    )
