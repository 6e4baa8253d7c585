"""Routers: where a shift between branches is the requests' doing, and nobody's growth.

A gateway whose entry is one operation (``/*``) hands each request to exactly one service.  When more
requests come for the slow one, that is a shift of traffic, as it is between entries; read as calls, the
branch that people use more would be blamed for all the time below it.

    gateway /*   ──► search  30 → 50 %        one call a visit in both periods: mix
                 ──► cart    70 → 50 %

Routers stand at the entry, right below another router, or behind what only hands on each request, as a
proxy in front of a gateway does; further down, which branch is taken is a decision of the code.  A branch
that is new or gone stays what it is.

Source: design, section 6 (mix is shown apart and never ranked as an edge's fault).
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from tracescope import schema
from tracescope.analysis.comparison.decompose import Sums, Tree

Floats = NDArray[np.float64]

#: Calls for each visit may be so far from one; lost spans make some visits look empty.
ONE_CALL: Final = 0.03
_REMOTE: Final = (schema.EDGE_HTTP, schema.EDGE_RPC)


def routed(
    effects: dict[str, Floats], base: Sums, head: Sums, tree: Tree, kind: NDArray[np.int8]
) -> tuple[dict[str, Floats], Floats]:
    """Take the choice of branch out of the calls effects of routers' branches.

    Parameters
    ----------
    effects
        By path ``(r, p)``.
    base, head, tree
        What they were made of.
    kind
        Edge kind of each path ``(p,)``.

    Returns
    -------
    effects
        Without it.
    mix ``(e,)``
        It, by entry, of the first replicate.
    """
    mix = np.zeros(base.units.shape[1])
    chosen = np.zeros(len(kind), np.bool_)
    handed = np.zeros(len(kind), np.bool_)  # to whom each request goes on, whole
    for depth in np.unique(tree.depth).tolist():
        at = np.flatnonzero((tree.depth == depth) & (kind != schema.EDGE_SELF))
        if depth > 1:
            at = at[handed[tree.parent[at]]]
        if not len(at):
            break
        once, several = _once(at, base, head, tree, kind)
        handed[at[once]] = True
        chosen[at[once & several]] = True
    if not chosen.any():
        return effects, mix
    np.add.at(mix, tree.entry[chosen], effects["calls"][0, chosen])
    return {**effects, "calls": np.where(chosen, 0.0, effects["calls"])}, mix


def _once(
    at: NDArray[np.int64], base: Sums, head: Sums, tree: Tree, kind: NDArray[np.int8]
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Of the paths `at`, all of one depth: who is handed each request, with the others under the same parent.

    The second tells whether there are others.
    """
    above = np.where(tree.parent[at] >= 0, tree.parent[at], -1 - tree.entry[at])
    names, of = np.unique(above, return_inverse=True)
    hands_on = np.bincount(of, ~np.isin(kind[at], _REMOTE)) == 0
    for sums in (base, head):
        made = np.bincount(of, sums.calls_visited[0, at])
        visits = np.array(
            [sums.visits[0, name] if name >= 0 else sums.units[0, -1 - name] for name in names.tolist()]
        )
        hands_on &= (visits > 0) & (np.abs(made - visits) <= ONE_CALL * visits)
    return hands_on[of], (np.bincount(of) > 1)[of]
