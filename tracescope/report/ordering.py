"""The order of items within columns, so that few edges cross.

Sweeps to the right and back put each item where its neighbours in the column before stand on average
(barycentre) or in the middle (median); the order with the fewest crossings over all sweeps wins, and
at last neighbours are exchanged where that helps.

Source: Sugiyama, Tagawa and Toda, 1981; Gansner et al., "A Technique for Drawing Directed Graphs",
IEEE TSE 1993 (medians, exchanges); Barth, Jünger and Mutzel, 2002 (counting).
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Sequence
from typing import Final

_SWEEPS: Final = 12
#: Sweeps without gain after which to stop.
_PATIENCE: Final = 4
#: Exchanges look at every pair of neighbours, so only for so many items.
_EXCHANGED: Final = 400

Edge = tuple[int, int, float]


def ordered(columns: Sequence[Sequence[int]], edges: Sequence[Edge]) -> list[list[int]]:
    """Items of each column, top to bottom.

    Parameters
    ----------
    columns
        Items, numbered from 0, by column.
    edges
        Item, item of the next column, pull (unused here).
    """
    items = sum(len(column) for column in columns)
    above: list[list[int]] = [[] for _ in range(items)]
    below: list[list[int]] = [[] for _ in range(items)]
    for left, right, _ in edges:
        below[left].append(right)
        above[right].append(left)
    best: list[list[int]] = []
    fewest = -1
    for start in (_by_walk(columns, below), _by_walk(columns, below, heaviest_first=True)):
        orders, crossings = _swept(start, above, below)
        if fewest < 0 or crossings < fewest:
            best, fewest = orders, crossings
    return best


def _by_walk(
    columns: Sequence[Sequence[int]], below: Sequence[Sequence[int]], *, heaviest_first: bool = False
) -> list[list[int]]:
    """Items in the order in which a walk from the left finds them, subtrees together."""
    out: list[list[int]] = [[] for _ in columns]
    at = {item: number for number, column in enumerate(columns) for item in column}
    seen: set[int] = set()
    for column in columns:
        roots = [item for item in column if item not in seen]
        if heaviest_first:
            roots.sort(key=lambda item: -len(below[item]))
        for root in roots:
            if root in seen:
                continue
            stack = [root]
            while stack:
                item = stack.pop()
                if item in seen:
                    continue
                seen.add(item)
                out[at[item]].append(item)
                stack.extend(reversed(below[item]))
    return out


def _swept(
    orders: list[list[int]], above: Sequence[Sequence[int]], below: Sequence[Sequence[int]]
) -> tuple[list[list[int]], int]:
    position = [0] * len(above)
    for order in orders:
        for at, item in enumerate(order):
            position[item] = at
    best, fewest, idle = [list(order) for order in orders], crossings(orders, below, position), 0
    for sweep in range(_SWEEPS):
        if not fewest or idle >= _PATIENCE:
            break
        rightward = sweep % 2 == 0
        near = above if rightward else below
        for column in range(1, len(orders)) if rightward else range(len(orders) - 2, -1, -1):
            _sort(orders[column], near, position, median=sweep % 4 >= 2)
        found = crossings(orders, below, position)
        if len(above) <= _EXCHANGED:
            found -= _exchange(orders, above, below, position)
        if found < fewest:
            best, fewest, idle = [list(order) for order in orders], found, 0
        else:
            idle += 1
    return best, fewest


def _sort(order: list[int], beside: Sequence[Sequence[int]], position: list[int], *, median: bool) -> None:
    """Sort a column by its items' neighbours; items without any keep their place."""
    key: dict[int, float] = {}
    for at, item in enumerate(order):
        others = beside[item]
        if not others:
            key[item] = float(at)
        elif median and len(others) > 2:
            places = sorted(position[other] for other in others)
            key[item] = (places[(len(places) - 1) // 2] + places[len(places) // 2]) / 2
        else:
            key[item] = sum(position[other] for other in others) / len(others)
    order.sort(key=key.__getitem__)
    for at, item in enumerate(order):
        position[item] = at


def crossings(
    orders: Sequence[Sequence[int]], below: Sequence[Sequence[int]], position: Sequence[int]
) -> int:
    """How many pairs of edges cross between neighbouring columns."""
    total = 0
    for order in orders[:-1]:
        seen: list[int] = []  # ends so far, sorted
        for item in order:
            ends = sorted(position[other] for other in below[item])
            total += sum(len(seen) - bisect_right(seen, end) for end in ends)
            for end in ends:
                insort(seen, end)
    return total


def _pair(upper: Sequence[int], lower: Sequence[int]) -> int:
    """Crossings of the edges of two neighbours, one above the other; ends are sorted."""
    return sum(len(upper) - bisect_right(upper, end) for end in lower)


def _exchange(
    orders: list[list[int]],
    above: Sequence[Sequence[int]],
    below: Sequence[Sequence[int]],
    position: list[int],
) -> int:
    """Exchange neighbours while that removes crossings; returns how many it removed."""
    gained = 0
    for _ in range(3):
        before = gained
        for order in orders:
            sides = {
                item: tuple(sorted(position[other] for other in near[item]) for near in (above, below))
                for item in order
            }
            for at in range(len(order) - 1):
                upper, lower = order[at], order[at + 1]
                now = sum(_pair(u, w) for u, w in zip(sides[upper], sides[lower], strict=True))
                then = sum(_pair(w, u) for u, w in zip(sides[upper], sides[lower], strict=True))
                if then < now:
                    order[at], order[at + 1] = lower, upper
                    gained += now - then
            for at, item in enumerate(order):
                position[item] = at
        if gained == before:
            break
    return gained
