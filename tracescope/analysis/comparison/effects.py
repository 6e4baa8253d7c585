"""Effects per edge: the exact decomposition of every replicate, added up from paths to edges.

What a few blocks carry is set apart as transient, so that it is nobody's growth.

Source: design, section 6.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tracescope import schema
from tracescope.analysis.comparison import starved
from tracescope.analysis.comparison.decompose import Sums, decompose, mix
from tracescope.analysis.comparison.entry_groups import Groups, add_up, group_entries
from tracescope.analysis.comparison.matched import Unit
from tracescope.analysis.comparison.routing import routed
from tracescope.analysis.report import Pattern
from tracescope.analysis.rollups.period import MS
from tracescope.analysis.statistics import blocks as blocking
from tracescope.analysis.statistics import significance

Floats = NDArray[np.float64]

#: A block this many deviations above the median is an outlier, if few are and none is the last.
TRANSIENT_DEVIATIONS: Final = 6.0
TRANSIENT_PART: Final = 0.1


#: What edges can be added up to: all their operations, or everything of a kind.
ALL: Final = "(all)"
LEVELS: Final[dict[str, tuple[pl.Expr, ...]]] = {
    "operation": (),
    "service": (pl.lit(None, pl.String).alias("operation"),),
    "kind": (
        pl.lit(ALL).alias("caller"),
        pl.when(pl.col("callee").is_not_null()).then(pl.lit(ALL)).alias("callee"),
        pl.lit(None, pl.String).alias("operation"),
    ),
}


def _stack(whole: Sums, without: Sums) -> Sums:
    return Sums(
        **{
            name: np.concatenate([getattr(whole, name), getattr(without, name)])
            for name in Sums.__dataclass_fields__
        }
    )


def _repeat(whole: Sums, times: int) -> Sums:
    return Sums(
        **{name: np.repeat(getattr(whole, name), times, axis=0) for name in Sums.__dataclass_fields__}
    )


@dataclass(frozen=True, slots=True)
class Cells:
    """Effects by edge and group of entries, or by edge alone: one row of each.

    Attributes
    ----------
    number
        Row of each call path ``(p,)``.
    edge, group
        Edge and group of each row ``(c,)``; of edges alone the groups are all 0.
    whole, without_base, without_head
        Effects of the whole ``(c,)`` and without each block ``(b, c)`` of either period.
    """

    number: NDArray[np.int64]
    edge: NDArray[np.int64]
    group: NDArray[np.int64]
    whole: dict[str, Floats]
    without_base: dict[str, Floats]
    without_head: dict[str, Floats]

    def add_up(self, values: Floats) -> Floats:
        """Add values per path ``(..., p)`` up to rows ``(..., c)``."""
        return add_up(values, self.number, len(self.edge))

    def by_edge(self, edges: int) -> Cells:
        """The same by edge alone."""

        def of(values: Floats) -> Floats:
            return add_up(values, self.edge, edges)

        parts = (self.whole, self.without_base, self.without_head)
        return Cells(
            self.edge[self.number],
            np.arange(edges),
            np.zeros(edges, np.int64),
            *({name: of(values) for name, values in part.items()} for part in parts),
        )


@dataclass(frozen=True, slots=True)
class Split:
    """Effects per edge: the whole ``(k,)`` and without each block ``(b, k)`` of either period.

    ``cells`` are the same by edge and group of entries, ``credit`` the sum of the effects of each call path
    ``(p,)``.  ``mix`` is that of each entry ``(e,)``, ``routed`` the part of it inside the entry.
    ``patterns`` are those that credit was moved for, or might have to be.
    """

    edge: NDArray[np.int64]
    edges: pl.DataFrame
    by_edges: Cells
    cells: Cells
    groups: Groups
    credit: Floats
    mix: Floats
    routed: Floats
    patterns: tuple[Pattern, ...] = ()

    def by_edge(self, values: Floats) -> Floats:
        """Add values per path ``(..., p)`` up to edges ``(..., k)``."""
        return add_up(values, self.edge, len(self.edges))


def split(unit: Unit, matched: blocking.Matched, by: str = "operation") -> Split:
    """Decompose with every replicate, and add paths up to edges, or to what `LEVELS` names `by`."""
    base, head = unit.base.replicates(), unit.head.replicates()
    n_base, n_head = len(base[1].units), len(head[1].units)
    sums_b = _stack(_stack(base[0], base[1]), _repeat(base[0], n_head))
    sums_h = _stack(_stack(head[0], _repeat(head[0], n_base)), head[1])
    effects = decompose(sums_b, sums_h, unit.tree)
    effects, chosen = routed(effects, sums_b, sums_h, unit.tree, unit.paths["kind"].to_numpy())
    effects["latency"], patterns = starved.credit(effects["latency"], unit, matched)
    names = ["kind", "caller", "callee", "operation"]
    named = unit.paths.with_columns(LEVELS[by])
    edges = (
        named.group_by(names)
        .agg(pl.col("uninstrumented").any())
        .sort(names, nulls_last=True)
        .with_row_index("edge")
    )
    edge = named.join(edges, on=names, how="left", nulls_equal=True, maintain_order="left")["edge"]
    number = edge.to_numpy().astype(np.int64)

    groups = group_entries(unit)
    pairs, cell = np.unique(number * len(groups.clock_ms) + groups.of[unit.tree.entry], return_inverse=True)
    summed = {name: add_up(values, cell, len(pairs)) / MS for name, values in effects.items()}
    cells = Cells(
        cell,
        pairs // len(groups.clock_ms),
        pairs % len(groups.clock_ms),
        {name: values[0] for name, values in summed.items()},
        {name: values[1 : 1 + n_base] for name, values in summed.items()},
        {name: values[1 + n_base :] for name, values in summed.items()},
    )
    shift, _ = mix(base[0], head[0])
    return Split(
        number,
        edges,
        cells.by_edge(len(edges)),
        cells,
        groups,
        sum((values[0] for values in effects.values()), np.zeros(len(number))) / MS,
        (shift[0] + chosen) / MS,
        chosen / MS,
        patterns,
    )


def transient(unit: Unit, slot_ns: int) -> Floats:
    """What a few blocks carry, per path, on the mean clock; head less base, in ms ``(p,)``."""
    out = np.zeros(len(unit.paths))
    if slot_ns < schema.HOUR_NS:
        return out
    both = [side.entries["units"].sum(axis=0) for side in (unit.base, unit.head)]
    weight = sum(u / max(u.sum(), 1e-300) for u in both) / 2
    weight = np.where((both[0] > 0) & (both[1] > 0), weight, 0.0)
    for sign, side in ((-1.0, unit.base), (1.0, unit.head)):
        units = side.entries["units"][:, unit.tree.entry]
        blocks = len(units)
        if blocks < 8:
            continue
        visits, own = side.paths["visits"], side.paths["own_ns"]
        value = np.divide(own, visits, out=np.zeros_like(own), where=visits > 0)
        middle = np.median(value, axis=0)
        deviation = 1.4826 * np.median(np.abs(value - middle), axis=0)
        far = value > middle + np.maximum(TRANSIENT_DEVIATIONS * deviation, 0.25 * middle)
        few = (far.sum(axis=0) <= max(1, TRANSIENT_PART * blocks)) & (middle > 0) & ~far[-1]
        excess = np.where(far & few, (value - middle) * visits, 0.0).sum(axis=0)
        out += sign * excess / np.maximum(units.sum(axis=0), 1e-300) * weight[unit.tree.entry]
    return out / MS


def shares(unit: Unit, split: Split, matched: blocking.Matched) -> tuple[Floats, significance.Spread]:
    """Change of every edge's share of all critical time ``(k,)``, and its spread."""
    spreads: list[significance.Spread] = []
    wholes: list[Floats] = []
    for side, slots in ((unit.base, matched.base), (unit.head, matched.head)):
        own, clock = side.paths["own_ns"], side.entries["clock_ns"].sum(axis=1)
        by_edge = split.by_edge(own)
        total, over = by_edge.sum(axis=0), max(clock.sum(), 1e-300)
        wholes.append(total / over)
        spreads.append(
            significance.jackknife(
                wholes[-1], (total - by_edge) / np.maximum(over - clock, 1e-300)[:, None], slots.shape
            )
        )
    return wholes[1] - wholes[0], significance.combine(spreads[0], spreads[1])
