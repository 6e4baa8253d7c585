"""An entry's change of latency, split exactly over its call paths and their causes.

Own critical time of path p, per unit of work, is a product down the path:

    o_p = prod over k from the entry to p of  calls_k * criticality_k   *   latency_p

    calls_k         calls made under a visited parent, per visit of the parent
    criticality_k   the part of those calls that the walk entered
    latency_p       own critical time per visit

LMDI gives each factor ``L(o_base, o_head) * ln(factor_head / factor_base)`` with L the logarithmic
mean; these add up to the change exactly.  A factor's part is credited to the edge where the factor
changed, over its whole subtree, so an N+1 upstream is not blamed on the ten leaves under it.

All arrays carry a leading axis of replicates ``(r,)``: the whole data first, then the data without
one block each, so that uncertainty is computed by the same code as the result.

Source: Ang, "LMDI decomposition approach: a guide for implementation", Energy Policy 86, 2015;
design, section 6.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

EFFECTS: Final = ("calls", "criticality", "latency", "new", "gone")
#: Branches changed places when the change of who is waited for is at least this part of their latency's.
FLIPPED_PART: Final = 0.1
#: Time in which siblings overlap counts as fallen below this part of what it was.
OVERLAP_FELL: Final = 0.98


@dataclass(frozen=True, slots=True)
class Sums:
    """One period's sums, replicates first.

    Attributes
    ----------
    units, clock
        Per entry ``(r, e)``.
    calls, calls_visited, visits, own
        Per path ``(r, p)``.
    overlap_sum, overlap_union
        Of the children of each path ``(r, p)``.
    """

    units: Floats
    clock: Floats
    calls: Floats
    calls_visited: Floats
    visits: Floats
    critical_self: Floats
    overlap_sum: Floats
    overlap_union: Floats


@dataclass(frozen=True, slots=True)
class Tree:
    """Call paths ``(p,)`` as a forest under entries.

    ``parent`` is -1 for an entry's first edges; parents stand before their children.
    """

    parent: Ints
    entry: Ints
    depth: Ints

    def levels(self) -> list[Ints]:
        """Paths that stand below another, by depth, callers first."""
        return [np.flatnonzero(self.depth == depth) for depth in np.unique(self.depth[self.parent >= 0])]


def log_mean(a: Floats, b: Floats) -> Floats:
    """Logarithmic mean of non-negative numbers; 0 where either is 0."""
    ratio = _log(a) - _log(b)
    mean = np.divide(a - b, ratio, out=(a + b) / 2, where=np.abs(ratio) >= 1e-8)
    return np.where((a > 0) & (b > 0), mean, 0.0)


def _log(values: Floats) -> Floats:
    """Logarithms; of what has none, 0."""
    return np.log(values, out=np.zeros(values.shape), where=values > 0)


def _ratio(a: Floats, b: Floats) -> Floats:
    return np.divide(a, b, out=np.zeros(np.broadcast_shapes(a.shape, b.shape)), where=b > 0)


def _log_change(head: Floats, base: Floats) -> Floats:
    return np.where((head > 0) & (base > 0), _log(head) - _log(base), 0.0)


def _up(values: Floats, tree: Tree) -> Floats:
    """Sum of `values` over each path's subtree, itself included."""
    total = values.copy()
    for at in reversed(tree.levels()):
        np.add.at(total.T, tree.parent[at], total.T[at])
    return total


def mix(base: Sums, head: Sums) -> tuple[Floats, Floats]:
    """Midpoint weights: mix per entry ``(r, e)``, and each entry's weight for its own change.

    An entry that one period lacks changed nothing but the mix.
    """
    weight_b = _ratio(base.units, base.units.sum(axis=1, keepdims=True))
    weight_h = _ratio(head.units, head.units.sum(axis=1, keepdims=True))
    mean_b, mean_h = _ratio(base.clock, base.units), _ratio(head.clock, head.units)
    mean_b, mean_h = np.where(base.units > 0, mean_b, mean_h), np.where(head.units > 0, mean_h, mean_b)
    return (weight_h - weight_b) * (mean_b + mean_h) / 2, (weight_b + weight_h) / 2


def decompose(base: Sums, head: Sums, tree: Tree) -> dict[str, Floats]:
    """Effects of every path on the mean clock of all units, ``(r, p)`` each, in the clock's unit.

    Returns
    -------
    dict
        `EFFECTS`; they add up over paths to what is left of the clock's change after `mix`.
    """
    _, weight = mix(base, head)
    both = (base.units > 0) & (head.units > 0)
    scale = np.where(both, weight, 0.0)[:, tree.entry]
    root = tree.parent < 0
    up = np.maximum(tree.parent, 0)

    def above(sums: Sums) -> Floats:
        return np.where(root, sums.units[:, tree.entry], sums.visits[:, up])

    over_b, over_h = above(base), above(head)
    own_b = _ratio(base.critical_self, base.units[:, tree.entry])
    own_h = _ratio(head.critical_self, head.units[:, tree.entry])
    change = (own_h - own_b) * scale

    dead_here = (base.visits <= 0) | (head.visits <= 0)
    dead_at = np.where(dead_here, np.arange(len(root)), -1)  # topmost ancestor that one period never visited
    for at in tree.levels():
        inherited = dead_at[:, tree.parent[at]]
        dead_at[:, at] = np.where(inherited >= 0, inherited, dead_at[:, at])
    alive = dead_at < 0

    shared = np.where(alive, log_mean(own_b, own_h), 0.0) * scale
    carried = _up(shared, tree)
    calls = carried * _log_change(_ratio(head.calls_visited, over_h), _ratio(base.calls_visited, over_b))
    criticality = carried * _log_change(
        _ratio(head.visits, head.calls_visited), _ratio(base.visits, base.calls_visited)
    )
    latency = shared * _log_change(
        _ratio(head.critical_self, head.visits), _ratio(base.critical_self, base.visits)
    )
    latency = np.where(alive & (shared == 0), change, latency)

    new, gone = np.zeros_like(change), np.zeros_like(change)
    rows, columns = np.nonzero(~alive & (change != 0))
    at, amount = dead_at[rows, columns], change[rows, columns]
    never_b, never_h = base.calls[rows, at] <= 0, head.calls[rows, at] <= 0
    for target, chosen in (
        (new, never_b), (gone, never_h & ~never_b), (criticality, ~never_b & ~never_h),
    ):  # fmt: skip
        np.add.at(target, (rows[chosen], at[chosen]), amount[chosen])
    effects = {"calls": calls, "criticality": criticality, "latency": latency, "new": new, "gone": gone}
    _net_calls_and_criticality(effects)
    _net_siblings(effects, base, head, tree)
    return effects


def _net_calls_and_criticality(effects: dict[str, Floats]) -> None:
    """A wider fan-out of which each call is less often critical: net into the larger.

    The whole decides for every replicate, so that leaving a block out is a small step.
    """
    calls, criticality = effects["calls"], effects["criticality"]
    against = (calls[:1] * criticality[:1] < 0) & np.ones_like(calls, np.bool_)
    total = calls + criticality
    calls_win = np.abs(calls[:1]) >= np.abs(criticality[:1])
    effects["calls"] = np.where(against, np.where(calls_win, total, 0.0), calls)
    effects["criticality"] = np.where(against, np.where(calls_win, 0.0, total), criticality)


def _net_siblings(effects: dict[str, Floats], base: Sums, head: Sums, tree: Tree) -> None:
    """Branches that took over from one another: only their net is anybody's.

    Unless work was made serial, or parallel, the branch that took over did so because it got
    slower, and the net is its latency.  Made serial is:

        base  |--a--|            head  |--a--|
              |--b--|                        |--b--|

    less time in which siblings overlap, and more in which any of them runs.  Both are sums over the
    family less unions; a call with one thing under it adds nothing to the first.
    """
    criticality = effects["criticality"]
    family = np.where(tree.parent >= 0, tree.parent, -1 - tree.entry)
    names, of = np.unique(family, return_inverse=True)
    shape = (criticality.shape[0], len(names))

    def total(values: Floats) -> Floats:
        out = np.zeros((values.shape[0], shape[1]))
        np.add.at(out.T, of, values.T)
        return out

    gain, loss = total(np.maximum(criticality, 0)), total(np.minimum(criticality, 0))
    net = gain + loss
    mixed = (gain > 0) & (loss < 0)
    keep_gain = np.where(mixed, _ratio(np.maximum(net, 0), gain), 1.0)[:, of]
    keep_loss = np.where(mixed, _ratio(np.maximum(-net, 0), -loss), 1.0)[:, of]
    netted = np.where(criticality > 0, criticality * keep_gain, criticality * keep_loss)
    overlap, running = [], []
    for sums in (base, head):
        above = np.where(
            tree.parent < 0, sums.units[:1, tree.entry], sums.visits[:1, np.maximum(tree.parent, 0)]
        )
        overlap.append(total(_ratio(sums.overlap_sum[:1] - sums.overlap_union[:1], above)))
        running.append(total(_ratio(sums.overlap_union[:1], above)))
    serial = (overlap[1] < overlap[0] * OVERLAP_FELL) & (running[1] > running[0])
    parallel = (overlap[0] < overlap[1] * OVERLAP_FELL) & (running[0] > running[1])
    same = (~(serial | parallel) & mixed)[:, of]
    effects["criticality"] = np.where(same, 0.0, netted)
    flipped = same & (np.abs(criticality[:1]) >= FLIPPED_PART * np.abs(_up(effects["latency"][:1], tree)))
    effects["latency"] = _net_flipped(
        effects["latency"] + np.where(same, netted, 0.0), flipped & (criticality[:1] != 0), of, tree
    )


def _net_flipped(latency: Floats, flipped: Bools, of: Ints, tree: Tree) -> Floats:
    """Of parallel branches that changed places, only what the clock felt is anybody's.

        base  |---a---|          head  |--a--|
              |--b--|                  |---b---|

    b got slower and a faster, and their caller waits as long as before.  Rises and falls of the branches,
    with everything below them, are netted like their criticality.
    """
    if not flipped.any():
        return latency
    below = _up(latency, tree)
    shape = (latency.shape[0], int(of.max()) + 1)

    def total(values: Floats) -> Floats:
        out = np.zeros(shape)
        np.add.at(out.T, of, np.where(flipped, values, 0.0).T)
        return out

    gain, loss = total(np.maximum(below, 0)), total(np.minimum(below, 0))
    net, mixed = gain + loss, (gain > 0) & (loss < 0)
    keep_gain = np.where(mixed, _ratio(np.maximum(net, 0), gain), 1.0)[:, of]
    keep_loss = np.where(mixed, _ratio(np.maximum(-net, 0), -loss), 1.0)[:, of]
    keep = np.where(flipped, np.where(below > 0, keep_gain, keep_loss), 1.0)
    for at in tree.levels():  # what a branch keeps holds for all below it
        keep[:, at] *= keep[:, tree.parent[at]]
    return latency * keep
