"""How few events a change rests on: what blocks of time cannot show when there is hardly anything in them.

    blocks   |  .  |  .  |  .  |  .  |  .  |  2  |     two calls among a hundred requests

Two calls in the last block look like a level that rose, two in the middle like noise.  They are two calls
either way: whether a request makes one is a toss, and of two tosses nothing is certain, wherever they lie.
So the error of a change is at least that of its counts, its degrees of freedom are at most those of the
events that it rests on, and no step is taken out of fewer events than would show one.

Source: design, section 6; Satterthwaite 1946 (degrees of freedom of a weighted sum).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tracescope.analysis.comparison.decompose import Tree
from tracescope.analysis.comparison.effects import Cells, Split
from tracescope.analysis.comparison.matched import Side, Unit
from tracescope.analysis.rollups.period import MS
from tracescope.analysis.statistics.significance import Spread

Floats = NDArray[np.float64]

#: Units of work with the call that a change of level within a period must rest on.  Of calls that begin or
#: end each is a sign; of times, which differ by themselves, two blocks of thirty need several.
STEP_OF_CALLS: Final = 16.0
STEP_OF_TIMES: Final = 64.0


@dataclass(frozen=True, slots=True)
class Events:
    """What the events of one period say about rows of `Cells` ``(c,)``.

    Attributes
    ----------
    error
        Standard error of each row's milliseconds from counts alone.
    count
        Units of work that each row's change rests on, as equal ones; infinite where it rests on none.
    show_a_step
        Rows of which there is enough to tell a change of level within the period.
    """

    error: Floats
    count: Floats
    show_a_step: NDArray[np.bool_]

    def bound(self, shown: Spread) -> Spread:
        """Spread with at least the error that this number of events implies."""
        return Spread(
            np.maximum(shown.error, self.error), np.minimum(shown.dof, np.maximum(self.count - 1, 1.0))
        )


def events_of(unit: Unit, split: Split, cells: Cells) -> tuple[Events, Events]:
    """Events of base and of head behind every row of `cells`.

    A path's calls are counted by the units of work that make any: ten calls of one request are one event.
    """
    sides = unit.base, unit.head
    carried = [_carried(side, unit.tree) for side in sides]
    both = (unit.base.events > 0) & (unit.head.events > 0)
    moved = np.where(both, (carried[0] + carried[1]) / 2, np.abs(split.credit))
    first, second = (_events(side, unit.tree, cells, moved, np.abs(split.credit)) for side in sides)
    return first, second


def _carried(side: Side, tree: Tree) -> Floats:
    """Time on each path and below it, in ms per unit of work of all entries ``(p,)``."""
    total = side.paths["own_ns"].sum(axis=0)
    for depth in range(int(tree.depth.max(initial=0)), 1, -1):
        at = np.flatnonzero(tree.depth == depth)
        np.add.at(total, tree.parent[at], total[at])
    return total / max(float(side.entries["units"].sum()), 1e-300) / MS


def _events(side: Side, tree: Tree, cells: Cells, moved: Floats, credit: Floats) -> Events:
    seen = side.events
    above = np.where(tree.parent >= 0, seen[np.maximum(tree.parent, 0)], side.seen[tree.entry])
    part = np.minimum(np.divide(seen, above, out=np.ones_like(seen), where=above > 0), 1.0)
    each = np.maximum(seen, 1.0)
    error = np.sqrt(cells.add_up(np.where(seen > 0, moved**2 * (1 - part) / each, 0.0)))
    some = np.where(seen > 0, credit, 0.0)
    power = cells.add_up(some**2 / each)
    whole = cells.add_up(some)
    count = np.divide(whole**2, power, out=np.full(len(power), np.inf), where=power > 0)
    calls, times = (
        sum((np.abs(cells.whole[name]) for name in names), np.zeros(1))
        for names in (("calls", "new", "gone"), ("latency", "criticality"))
    )
    return Events(error, count, count >= np.where(calls > times, STEP_OF_CALLS, STEP_OF_TIMES))
