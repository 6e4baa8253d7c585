"""Calls whose callee's span is missing, merged with the same calls that have theirs.

    gateway CLIENT ─► cart SERVER ─► cart CLIENT (db)          99 of 100: http gateway -> cart, and below
    gateway CLIENT ─► (never arrived)                           1 of 100: gateway -> cart.internal

A collector that drops one span in a hundred would otherwise show a new dependency, on nothing.  The
few are taken as the many are: their time is spread over the subtree of the call that they resolve
to, so that sums stay what they were.

Source: design, section 6.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tracescope import schema
from tracescope.analysis.comparison.decompose import Tree

Floats = NDArray[np.float64]
Sums = dict[str, Floats]

#: At most this part of a call's spans is taken as lost; with more, the callee sends none.
MISSING_PART: Final = 0.1
_CALLS: Final = ("calls", "calls_visited", "visits", "detached_calls")


def missing_callees(paths: pl.DataFrame) -> list[tuple[int, int]]:
    """Pairs of paths ``(lost, whole)``: leaf calls, and the one call beside them they resolve to.

    Both hang under the same path and caller; the peer's name is the callee's (``cart``,
    ``cart.shop.svc:8080``), or else only one call there has the operation.
    """
    calls = paths.filter(
        pl.col("kind").is_in([schema.EDGE_HTTP, schema.EDGE_RPC, schema.EDGE_EXTERNAL])
        & pl.col("callee").is_not_null()
    )
    rows = calls.select("uninstrumented", "parent_id", "caller", "index", "callee", "operation").rows()
    beside: dict[tuple[int, str], list[tuple[int, str, str]]] = {}
    for lost, parent_id, caller, *whole in rows:
        if not lost:
            beside.setdefault((parent_id, caller), []).append((whole[0], whole[1], whole[2]))
    found: list[tuple[int, int]] = []
    for lost, parent_id, caller, index, callee, operation in rows:
        if not lost:
            continue
        host = callee.rpartition("/")[2].partition(":")[0]
        names = (callee, host, host.partition(".")[0])
        candidates = beside.get((parent_id, caller), [])
        alike = [call for call in candidates if call[1] in names]
        same = [call for call in alike or candidates if call[2] == operation]
        chosen = same or alike
        if len(chosen) == 1:
            found.append((index, chosen[0][0]))
    return found


def rejoin(pairs: Sequence[tuple[int, int]], tree: Tree, sides: Sequence[Sums]) -> float:
    """Spread calls without their callee's span over the subtrees they belong to, in place.

    Parameters
    ----------
    pairs
        As `missing_callees` gives them.
    tree, sides
        The paths, and both periods' sums ``(b, p)`` by name.

    Returns
    -------
    float
        The largest part of a period's calls of one path that was put back.
    """
    most = 0.0
    for lost, whole in pairs:
        parts = [float(side["calls"][:, lost].sum()) for side in sides]
        kept = [float(side["calls"][:, whole].sum()) for side in sides]
        if any(part > MISSING_PART * rest for part, rest in zip(parts, kept, strict=True)):
            continue
        below = np.zeros(len(tree.parent), np.bool_)
        below[whole] = True
        for path in np.flatnonzero(tree.depth > tree.depth[whole]).tolist():
            below[path] = below[tree.parent[path]]
        for side, part, rest in zip(sides, parts, kept, strict=True):
            if part:
                _spread(side, lost, whole, below)
                most = max(most, part / (part + rest))
    return most


def _spread(side: Sums, missing: int, whole: int, below: NDArray[np.bool_]) -> None:
    """Scale a subtree up, block by block; where a block has none of it, move the sums as they are."""
    own = side["own_ns"]
    time, base = own[:, missing].copy(), own[:, below].sum(axis=1)
    here = (base > 0) & (side["visits"][:, whole] > 0)
    longer = 1 + np.divide(time, base, out=np.zeros_like(time), where=here)
    more = 1 + np.divide(
        side["visits"][:, missing], side["visits"][:, whole], out=np.zeros_like(time), where=here
    )
    for name, values in side.items():
        factor = more if name in _CALLS else longer
        values[:, below] *= factor[:, None]
        values[:, whole] += np.where(here, 0.0, values[:, missing])
        values[:, missing] = 0.0
