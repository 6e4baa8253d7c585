"""Groups of entries with similar clocks: relevance is judged by their clock, not by that of all entries.

    typical          |---- GET /rooms 40 ms ----- GET /health 1 ms ----|      one clock, one smallest effect
    far slower                        |- GET /export 9 s -|                   its own

A mean over both would be mostly the slow entry's, and half a percent of it more than the quick ones take
at all.  So entries are put into groups by how many times what is typical they take; what is quicker than
typical is measured with the typical, or the smallest ripple of a health check would be a finding, and so
is a group of which there is too little to matter.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tracescope.analysis.comparison.matched import Unit
from tracescope.analysis.rollups.period import MS

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

#: Entries within so many times of one another are alike.
GROUP_STEP: Final = 30.0
#: A group with less than this part of all units, and of all time, does not matter by itself.
MATTERS: Final = 0.01


@dataclass(frozen=True, slots=True)
class Groups:
    """Groups of one kind of unit's entries, quicker ones first.

    Attributes
    ----------
    of
        Group of each entry ``(e,)``.
    clock_ms
        What each group's entries take in base, per unit of all groups ``(g,)``; in head where base has none.
    entry_ms
        The same of each entry ``(e,)``.
    clocks_ns
        All time of each group in base and in head ``(2, g)``.
    """

    of: Ints
    clock_ms: Floats
    entry_ms: Floats
    clocks_ns: Floats


def group_entries(unit: Unit) -> Groups:
    """Groups of a kind's entries, by their mean clock in base (in head where base has none)."""
    units = np.array([side.entries["units"].sum(axis=0) for side in (unit.base, unit.head)])
    clock = np.array([side.entries["clock_ns"].sum(axis=0) for side in (unit.base, unit.head)])
    which = np.where(units[0] > 0, 0, 1)
    at = np.arange(units.shape[1])
    count, time = units[which, at], clock[which, at]
    mean = np.divide(time, count, out=np.zeros_like(time), where=count > 0)
    totals = np.maximum(units.sum(axis=1), 1e-300)
    entry_ms = time / totals[which] / MS
    of = _by_size(mean, count)
    parts = (
        np.bincount(of, count) / max(count.sum(), 1e-300),
        np.bincount(of, time) / max(time.sum(), 1e-300),
    )
    small = (parts[0] < MATTERS) & (parts[1] < MATTERS)
    _, of = np.unique(np.where(small[of], 0, of), return_inverse=True)
    size = int(of.max()) + 1
    per_group = [add_up(values, of, size) for values in (entry_ms, *clock)]
    return Groups(of, per_group[0], entry_ms, np.array(per_group[1:]))


def add_up(values: Floats, number: Ints, size: int) -> Floats:
    """Sums over the last axis of values with the same number ``(..., size)``."""
    out = np.zeros((*values.shape[:-1], size))
    np.add.at(out.T, number, values.T)
    return out


def _by_size(mean: Floats, count: Floats) -> Ints:
    """How many steps of `GROUP_STEP` each mean lies above the median over units; none below it."""
    order = np.argsort(mean, kind="stable")
    reached = np.cumsum(count[order])
    middle = order[np.searchsorted(reached, reached[-1] / 2)] if len(order) and reached[-1] > 0 else 0
    usual = max(float(mean[middle]), 1.0) if len(mean) else 1.0
    steps = np.log(np.maximum(mean / usual, 1.0)) / np.log(GROUP_STEP)
    return np.floor(steps + 0.5).astype(np.int64)
