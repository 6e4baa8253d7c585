"""What failures leave in a trace: calls made again, and units of work that called nothing.

    checkout  |-----------------------------|
      charge    |--x                             failed
      charge         |------x                    made again, and failed
      charge                  |-----|            made again

A call is made again where the call of the same edge before it, under the same span, failed and had ended
when this one began: of a loop over many items one failure makes one call more, not all that follow.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tracescope import schema
from tracescope.kernels.forest import Forest

Bools = np.ndarray[Any, np.dtype[np.bool_]]
Ints = np.ndarray[Any, np.dtype[np.signedinteger[Any]]]


def called_again(forest: Forest, status: Ints, opens: Ints, home: Ints) -> Bools:
    """Whether each span is a call made again after it failed ``(n,)``.

    Parameters
    ----------
    forest, status
        The spans, and how each ended ``(n,)``.
    opens, home
        As `tracescope.kernels.rollup.attribute` gives them.
    """
    again = np.zeros(len(opens), np.bool_)
    calls = (opens >= 0) & (forest.parent >= 0)
    calls[forest.group_root] = False  # nobody waited for it: what follows is no answer to it
    failed = np.flatnonzero(calls & (status == schema.STATUS_ERROR))
    if not len(failed):
        return again
    callers = np.zeros(len(opens), np.bool_)
    callers[home[forest.parent[failed]]] = True
    calls = np.flatnonzero(calls)
    calls = calls[callers[home[forest.parent[calls]]]]
    caller, edge = home[forest.parent[calls]], opens[calls]
    start, end, bad = forest.start_ns[calls], forest.end_ns[calls], status[calls] == schema.STATUS_ERROR
    order = np.lexsort((bad, end, start, edge, caller))
    before, after = order[:-1], order[1:]
    same = (caller[before] == caller[after]) & (edge[before] == edge[after])
    again[calls[after[same & bad[before] & (end[before] <= start[after])]]] = True
    return again


def without_calls(forest: Forest, opens: Ints, via: Ints, late: Ints) -> Bools:
    """Whether nothing was called in each walk group ``(g,)``, waited for or not.

    Parameters
    ----------
    forest, opens, via, late
        As for `called_again`.
    """
    quiet = np.ones(len(forest.group_root), np.bool_)
    quiet[forest.group[(opens >= 0) | (via >= 0)]] = False
    above = forest.parent[forest.group_root[late >= 0]]
    quiet[forest.group[above[above >= 0]]] = False
    return quiet
