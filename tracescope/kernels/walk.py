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
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

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


class _Tree(NamedTuple):
    """Blocking children of each span, as `_children_last_first` gives them, and the clipped times."""

    child_start: NDArray[Any]
    items: NDArray[Any]
    size: NDArray[Any]
    start: NDArray[Any]
    end: NDArray[Any]


class _Path(NamedTuple):
    """What the walk finds, per span ``(n,)``."""

    critical: NDArray[Any]
    inclusive: NDArray[Any]
    visited: NDArray[Any]


class _Segments(NamedTuple):
    """Segments found, of which there are ``size[0]``; no room at all where they are not kept."""

    group: NDArray[Any]
    span: NDArray[Any]
    start: NDArray[Any]
    end: NDArray[Any]
    size: NDArray[Any]


class _Stack(NamedTuple):
    """Where the walk goes on in the spans that it came from: instant, window's end and next child of each."""

    span: NDArray[Any]
    now: NDArray[Any]
    window: NDArray[Any]
    following: NDArray[Any]


@inlined
def _spend(g, i, start, end, path, segments):
    """Give a span the time between two instants, which are not the same."""
    path.critical[i] += end - start
    if len(segments.group):
        at = segments.size[0]
        segments.group[at], segments.span[at] = g, i
        segments.start[at], segments.end[at] = start, end
        segments.size[0] = at + 1


@inlined
def _is_waited_for(i, j, t, hi, tree, eps_ns, strict):
    """Whether span `i` waited for its child `j`, going back from `t`; it was on the path until `hi`."""
    start, end = tree.start, tree.end
    length = end[j] - start[j]
    if length == 0 or start[j] >= t:
        return False
    overlap = min(end[j], hi) - t
    if overlap > 0:
        return overlap <= min(eps_ns, (end[i] - start[i]) // EPS_PARENT_PARTS, length // EPS_CHILD_PARTS)
    return not (strict and overlap == 0 and t < hi)


@inlined
def _walk_group(g, root, tree, path, segments, stack, eps_ns, strict):
    """Go back from the end of a group's first span to its start."""
    start, end, items = tree.start, tree.end, tree.items
    i = root
    t = hi = end[i]
    path.visited[i], path.inclusive[i] = True, t - start[i]
    at = tree.child_start[i]
    last = at + tree.size[i]
    depth = 0
    while True:
        if at < last:
            j = np.int64(items[at])
            at += 1
            if not _is_waited_for(i, j, t, hi, tree, eps_ns, strict):
                continue
            stop = min(end[j], t)
            if t > stop:
                _spend(g, i, stop, t, path, segments)
            path.visited[j], path.inclusive[j] = True, stop - start[j]
            stack.span[depth], stack.now[depth] = i, start[j]
            stack.window[depth], stack.following[depth] = hi, at
            depth += 1
            i, t, hi = j, stop, stop
            at = tree.child_start[i]
            last = at + tree.size[i]
            if hi < end[i] and last - at > 1:
                _order(items, at, last - at, hi, start, end)
            continue
        if t > start[i]:
            _spend(g, i, start[i], t, path, segments)
        if depth == 0:
            return
        depth -= 1
        i, t = np.int64(stack.span[depth]), stack.now[depth]
        hi, at = stack.window[depth], stack.following[depth]
        last = tree.child_start[i] + tree.size[i]


@kernel
def _walk(group_root, tree, eps_ns, strict, keep):
    """Walk every group; the tree's `items` are reordered."""
    n = len(tree.start)
    path = _Path(np.zeros(n, np.int64), np.zeros(n, np.int64), np.zeros(n, np.bool_))
    room = 2 * n if keep else 0
    segments = _Segments(
        np.empty(room, np.int32), np.empty(room, np.int32), np.empty(room, np.int64),
        np.empty(room, np.int64), np.zeros(1, np.int64),
    )  # fmt: skip
    stack = _Stack(np.empty(n, np.int32), np.empty(n, np.int64), np.empty(n, np.int64), np.empty(n, np.int64))
    for g in range(len(group_root)):
        _walk_group(g, np.int64(group_root[g]), tree, path, segments, stack, eps_ns, strict)
    size = segments.size[0]
    return path, _Segments(
        segments.group[:size].copy(), segments.span[:size].copy(), segments.start[:size].copy(),
        segments.end[:size].copy(), segments.size,
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
    tree = _Tree(forest.child_start, items, count, start, end)
    path, found = _walk(forest.group_root, tree, eps_ns, strict, segments)
    return Walk(*path, self_ns, child_sum, child_union, found.group, found.span, found.start, found.end)
