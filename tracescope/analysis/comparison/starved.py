"""Starved caller: when a service has no CPU, every call it makes looks slow from its own side.

    healthy   |client--|                 database answers in 1 ms, is read at once
    starved   |client--.....wait.....|   answers in 1 ms, is read when the caller runs again

So its healthy database is blamed with everything else that it calls.  What tells the two apart: most of
the caller's edges got slower together, its own work with them, and for the callees' other callers nothing
changed.  Then the growth of these edges, and of the gap in front of the service, is credited to the
caller's `self` edge; sums stay what they were.

Growth of an edge is read as a caller's part and a callee's part, in ms a visit: the callee's part is what
its other callers see.  Nobody else's calls to compare with: the pattern is only possible, and nothing
moves.

Source: design, section 7 (one more rule learned from real incidents).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tracescope import schema
from tracescope.analysis.comparison.matched import Unit
from tracescope.analysis.report import Pattern, PatternCertainty
from tracescope.analysis.rollups.period import MS
from tracescope.analysis.statistics import blocks as blocking
from tracescope.analysis.statistics.significance import ROUNDING, combine, jackknife

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

NAME: Final = "starved caller"
#: Edges of the caller that there must be, and the part of them that must have grown.
FEWEST_EDGES: Final = 3
MOST_PART: Final = 0.7
#: Standard errors by which one edge, and all of them together, must have grown.
EDGE_ERRORS: Final = 1.0
TOGETHER_ERRORS: Final = 2.0
#: A callee whose other callers see more than this part of the rise is slow itself.
CALLEE_PART: Final = 0.5
#: Calls to the callee that rose second most must have risen by this part of the first's.
OTHERS_PART: Final = 0.1
#: The service's own work, or the gap in front of it, must have risen by this part of what half of its edges
#: rose by.  In a shop starved of CPU own work rose by 60 % of it, behind a pool that was too small by 0.5 %.
WORK_PART: Final = 0.1


@dataclass(frozen=True, slots=True)
class _Groups:
    """Paths ``(p,)`` added up to groups ``(k,)``, and what each group's latency effect is worth."""

    members: list[Ints]
    per_visit_ms: tuple[Floats, Floats]
    effect_ms: Floats
    error_ms: Floats

    def first(self, k: int) -> int:
        """One path of a group: those of an edge have its kind, caller, callee and operation."""
        return int(self.members[k][0])

    @property
    def rise_ms(self) -> Floats:
        """Own time per visit, head less base."""
        return self.per_visit_ms[1] - self.per_visit_ms[0]

    @property
    def grew(self) -> Bools:
        """Rises that stand out of their noise."""
        rose = self.rise_ms > ROUNDING * self.per_visit_ms[0]
        return (self.effect_ms > EDGE_ERRORS * self.error_ms) & rose


class _Reader:
    """Sums and effects of one unit, by path."""

    def __init__(self, unit: Unit, latency: Floats, matched: blocking.Matched) -> None:
        self.latency = latency / MS
        self.blocks = len(unit.base.entries["units"])
        self.shapes = matched.base.shape, matched.head.shape
        self.own = tuple(side.paths["own_ns"].sum(axis=0) / MS for side in (unit.base, unit.head))
        self.visits = tuple(side.paths["visits"].sum(axis=0) for side in (unit.base, unit.head))

    def errors(self, effects: Floats) -> Floats:
        """Standard errors of effects ``(r, k)``, whole first, then without each block."""
        whole, without = effects[0], np.split(effects[1:], [self.blocks])
        base, head = (jackknife(whole, *of) for of in zip(without, self.shapes, strict=True))
        return combine(base, head).error

    def groups(self, members: list[Ints]) -> _Groups:
        """Add paths up to groups."""
        effects = np.stack([self.latency[:, at].sum(axis=1) for at in members], axis=1)
        visits = [np.array([side[at].sum() for at in members]) for side in self.visits]
        own = [np.array([side[at].sum() for at in members]) for side in self.own]
        means = [np.divide(o, v, out=np.zeros_like(o), where=v > 0) for o, v in zip(own, visits, strict=True)]
        return _Groups(members, (means[0], means[1]), effects[0], self.errors(effects))

    def rise_ms(self, at: Ints) -> float | None:
        """Change of the own time per visit over some paths; None when one period has no visits."""
        visits = [float(side[at].sum()) for side in self.visits]
        if min(visits) <= 0:
            return None
        own = [float(side[at].sum()) for side in self.own]
        return own[1] / visits[1] - own[0] / visits[0]


def credit(latency: Floats, unit: Unit, matched: blocking.Matched) -> tuple[Floats, tuple[Pattern, ...]]:
    """Move what starved callers made their edges look like to their own work.

    Parameters
    ----------
    latency
        Latency effects by path ``(r, p)`` in ns, the whole first, then without each block of base
        and of head.
    unit, matched
        What they are of, and the blocks they come from.

    Returns
    -------
    latency ``(r, p)``
        With the same sum in each row.
    patterns
        What was found, and what was only possible.
    """
    kind = unit.paths["kind"].to_numpy()
    caller, callee = unit.paths["caller"].to_numpy(), unit.paths["callee"].to_numpy()
    operation = unit.paths["operation"].to_numpy()
    reader = _Reader(unit, latency, matched)
    alive = (reader.visits[0] > 0) & (reader.visits[1] > 0)  # only these have a latency to compare
    found: list[Pattern] = []
    for service in sorted({str(name) for name in caller}):
        mine = (caller == service) & alive
        out = _by_name(np.flatnonzero(mine & (kind != schema.EDGE_SELF)), kind, callee, operation)
        own = np.flatnonzero((caller == service) & (kind == schema.EDGE_SELF) & alive)
        if len(out) < FEWEST_EDGES or not len(own):
            continue
        edges = reader.groups(out)
        grew = edges.grew
        if not _together(reader, edges, grew):
            continue
        into = np.flatnonzero((callee == service) & alive)
        work = reader.groups([own, into])
        if not work.grew.any():
            continue
        if _one_callee(edges, grew, callee) or not _late_itself(edges, grew, work):
            continue
        parts = [_callee_part(reader, edges, k, caller, callee, kind) for k in np.flatnonzero(grew).tolist()]
        shared = [part for part in parts if part is not None]
        if shared and float(np.median(shared)) > CALLEE_PART:
            continue
        certain = bool(shared) and bool(work.grew[0])
        evidence = _evidence(edges, grew, work, shared, unit)
        found.append(
            Pattern(
                NAME,
                f"{service} (itself)",
                None,
                PatternCertainty.CERTAIN if certain else PatternCertainty.POSSIBLE,
                evidence,
            )
        )
        if certain:
            chosen = np.flatnonzero(grew)
            moved = {k: 1 - (part or 0.0) for k, part in zip(chosen.tolist(), parts, strict=True)}
            factor = np.zeros(latency.shape[1])
            for k, part in moved.items():
                factor[edges.members[k]] = part
            if work.grew[1]:
                factor[into] = 1.0
            latency = _move(latency, factor, unit, kind, caller, service)
    return latency, tuple(found)


def _by_name(at: Ints, *columns: NDArray[np.object_] | NDArray[np.int8]) -> list[Ints]:
    """Paths `at` that are the same edge, by its kind, callee and operation."""
    groups: dict[tuple[object, ...], list[int]] = {}
    for path in at.tolist():
        groups.setdefault(tuple(column[path] for column in columns), []).append(path)
    return [np.array(paths) for paths in groups.values()]


def _together(reader: _Reader, edges: _Groups, grew: Bools) -> bool:
    """Whether enough edges grew, most of those that there are, and all of them clearly."""
    if grew.sum() < FEWEST_EDGES or grew.sum() < MOST_PART * len(grew):
        return False
    every = np.concatenate(edges.members)
    effect = reader.latency[:, every].sum(axis=1)
    return bool(effect[0] > TOGETHER_ERRORS * reader.errors(effect[:, None]).item())


def _one_callee(edges: _Groups, grew: Bools, callee: NDArray[np.object_]) -> bool:
    """Whether calls to one callee rose and those to others hardly.

    A starved caller reads every answer late, whoever gave it.  A pool of connections that is too small
    keeps all operations of one callee waiting, and the noise of a busy machine makes the others grow, too.
    """
    ascending = sorted(np.flatnonzero(grew).tolist(), key=lambda k: edges.rise_ms[k])
    rises = {str(callee[edges.first(k)]): float(edges.rise_ms[k]) for k in ascending}  # the last stays
    *others, most = sorted(rises.values())
    return not others or others[-1] < OTHERS_PART * most


def _late_itself(edges: _Groups, grew: Bools, work: _Groups) -> bool:
    """Whether what the service does itself is late as well, and not just a little.

    Without CPU it is late to read an answer, to take a request and to go on with its own work, each about
    as much.  A busy machine makes own work a little slower everywhere, which says nothing of its calls.
    """
    own = float(work.rise_ms[work.grew].max())
    return own >= WORK_PART * float(np.median(edges.rise_ms[grew]))


def _callee_part(
    reader: _Reader,
    edges: _Groups,
    k: int,
    caller: NDArray[np.object_],
    callee: NDArray[np.object_],
    kind: NDArray[np.int8],
) -> float | None:
    """The part of an edge's rise that the callee's other callers see; None when there are none."""
    first = edges.first(k)
    others = np.flatnonzero((callee == callee[first]) & (kind == kind[first]) & (caller != caller[first]))
    rise = reader.rise_ms(others)
    if rise is None:
        return None
    return float(np.clip(rise / edges.rise_ms[k], 0.0, 1.0))


def _evidence(edges: _Groups, grew: Bools, work: _Groups, shared: list[float], unit: Unit) -> tuple[str, ...]:
    """What speaks for it, in sentences, largest first."""
    rows = unit.paths.select("kind", "callee", "operation").rows()
    said = [
        f"{int(grew.sum())} of the {len(grew)} edges it calls through got slower together",
        f"its own work {_change(work, 0)}" if work.grew[0] else "its own work did not clearly",
    ]
    if work.grew[1]:
        said.append(f"the gap in front of it {_change(work, 1)}")
    said.append(
        f"the other callers of {len(shared)} of these callees see {float(np.median(shared)):.0%} of the rise"
        if shared
        else "nobody else calls these callees, so they could be slow themselves"
    )
    for k in sorted(np.flatnonzero(grew).tolist(), key=lambda k: -edges.effect_ms[k])[:5]:
        code, callee, operation = rows[edges.first(k)]
        said.append(f"{schema.EDGE_KINDS[code]} {callee} {operation or ''} {_change(edges, k)}")
    return tuple(said)


def _change(groups: _Groups, k: int) -> str:
    return f"{groups.per_visit_ms[0][k]:.3g} → {groups.per_visit_ms[1][k]:.3g} ms a call"


def _move(
    latency: Floats, factor: Floats, unit: Unit, kind: NDArray[np.int8], caller: NDArray[np.object_],
    service: str,
) -> Floats:  # fmt: skip
    """Move a part of some paths' latency to the service's own work in the same visit."""
    parent = unit.tree.parent
    own = np.flatnonzero((kind == schema.EDGE_SELF) & (caller == service))
    by_parent = {(int(parent[at]), int(unit.tree.entry[at])): int(at) for at in own.tolist()}
    largest = int(own[np.argmax(unit.head.paths["own_ns"].sum(axis=0)[own])])
    latency = latency.copy()
    for at in np.flatnonzero(factor).tolist():
        above = at if caller[at] != service else int(parent[at])  # the gap in front stands above its work
        target = by_parent.get((above, int(unit.tree.entry[at])), largest)
        amount = latency[:, at] * factor[at]
        latency[:, at] -= amount
        latency[:, target] += amount
    return latency
