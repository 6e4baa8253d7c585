"""Holders: who keeps a shared resource busy, and who waits for it.

    postgresql/stock     inventory SELECT   60 % of its work before     50 % now
                         reports   SELECT   40 %                        50 %, and 3 times as much: the holder

A database, a service or an external serves all its callers from the same cores and locks.  What an edge
brings to it is work: its calls times the time that one of them takes in quiet times, when nobody is in
line.  Whose work grew out of proportion keeps the others waiting; where everybody's grew alike nobody is to
blame but the resource, and its edges are one finding.  A row is held longer than its query takes
where its holder waits for something else before it lets go.

Source: design, section 7 (load is offered work).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import polars as pl

from tracescope.analysis.attribution.courses import OF_A_LINE, OF_WORK, Course, place_of
from tracescope.analysis.attribution.ladder import Grown, Rung, by_name, name_of, paths_of, slower
from tracescope.analysis.capacity.offered import call_seconds, quiet_times
from tracescope.analysis.report import EdgeKey
from tracescope.analysis.rollups.period import MS

#: Work at a resource that grew by less than this part makes nobody wait.
MORE_WORK: Final = 0.05
#: The holder brings this part of the new work at least, and its own grew by this factor more than the rest's.
LARGEST_PART: Final = 0.5
OUT_OF_PROPORTION: Final = 1.15
#: A resource is slower for all where edges with this part of its work are.
MOST_WORK: Final = 0.5


@dataclass(frozen=True, slots=True)
class Held:
    """One resource and the work that every edge brings to it, in ms an hour ``(base, head)``.

    ``asked`` is that work where no call got heavier: what the number of calls alone makes of it.
    """

    place: str
    work: Mapping[EdgeKey, tuple[float, float]]
    asked: Mapping[EdgeKey, tuple[float, float]]

    @property
    def total(self) -> tuple[float, float]:
        """Of all edges."""
        return _sum(self.work)

    @property
    def holder(self) -> EdgeKey | None:
        """The edge whose work grew out of proportion; None where there is none.

        Where all that wait for a busy resource look heavier than one that does not, its calls still tell.
        """
        return _out_of_proportion(self.work) or _out_of_proportion(self.asked)

    def clause(self, key: EdgeKey) -> str:
        """What an edge brings to it, in words."""
        work = self.work if _out_of_proportion(self.work) is not None else self.asked
        before, now = work[key]
        parts = [
            value / total if total else 0.0 for value, total in zip((before, now), _sum(work), strict=True)
        ]
        more = f", {now / before:.2g} times as much" if before > 0 else ", all of it new"
        return f"{name_of(key)} brings {parts[0]:.0%} → {parts[1]:.0%} of the work of {self.place}{more}"


def _sum(work: Mapping[EdgeKey, tuple[float, float]]) -> tuple[float, float]:
    return sum(b for b, _ in work.values()), sum(h for _, h in work.values())


def _out_of_proportion(work: Mapping[EdgeKey, tuple[float, float]]) -> EdgeKey | None:
    """The edge that brings most of the new work, and whose own grew more than the rest's."""
    base, head = _sum(work)
    if head < (1 + MORE_WORK) * base or len(work) < 2:
        return None
    rises = {key: h - b for key, (b, h) in work.items()}
    most = max(by_name(list(rises)), key=lambda key: rises[key])
    if rises[most] < LARGEST_PART * sum(max(rise, 0.0) for rise in rises.values()):
        return None
    mine_b, mine_h = work[most]
    rest = (head - mine_h) / max(base - mine_b, 1e-9) if base > mine_b else 1.0
    return most if mine_h > OUT_OF_PROPORTION * max(rest, 1.0) * mine_b else None


def resources(courses: Mapping[EdgeKey, Course]) -> dict[str, Held]:
    """What more than one edge reaches: databases, services, externals."""
    places: dict[str, dict[EdgeKey, Course]] = {}
    for key, course in courses.items():
        if key.callee is not None and key.kind != "queue":
            places.setdefault(place_of(key), {})[key] = course
    return {place: _held(place, found) for place, found in places.items() if len(found) > 1}


def _held(place: str, courses: Mapping[EdgeKey, Course]) -> Held:
    """Work that every edge brings to one place: calls an hour times the quiet time of a call, in ms an hour.

    It is the load of the load model (`tracescope.analysis.capacity.offered`): what got dearer by no more than
    its neighbours counts as it was, as where a place is kept busy its quiet times are busy too.
    """
    keys = by_name(list(courses))
    rows = [
        pl.DataFrame(
            {"slot": side.slot, "arrived": side.calls, "own_ns": side.work_ms * side.calls * MS}
        ).with_columns(resource=pl.lit(""), stretch=pl.lit(stretch), edge_id=pl.lit(number))
        for number, key in enumerate(keys)
        for stretch, side in enumerate((courses[key].base, courses[key].head))
    ]
    seconds = call_seconds(quiet_times(pl.concat(rows)))
    work: dict[EdgeKey, tuple[float, float]] = {}
    asked: dict[EdgeKey, tuple[float, float]] = {}
    for number, key in enumerate(keys):
        base_ms, head_ms = (seconds.get(("", number, stretch), 0.0) * 1e3 for stretch in (0, 1))
        before, now = courses[key].rate
        work[key] = before * base_ms, now * head_ms
        asked[key] = before * base_ms, now * (base_ms or head_ms)
    return Held(place, work, asked)


def contended(grown: Grown, held: Mapping[str, Held]) -> Iterator[Rung]:
    """Rungs from whoever keeps a resource busy to who waits for it."""
    for place, resource in sorted(held.items()):
        late = [
            key for key in by_name(list(grown.edges)) if key in resource.work and slower(grown.edges[key])
        ]
        if not late:
            continue
        holder = resource.holder
        if holder is not None:
            for victim in late:
                if victim == holder:
                    continue
                agrees = grown.agrees(holder, victim)
                if agrees is not None:
                    yield Rung(
                        holder, victim, f"waits at {place}, which {name_of(holder)} keeps busier", agrees
                    )
        else:
            yield from _slower_for_all(grown, resource, late)


def _slower_for_all(grown: Grown, resource: Held, late: list[EdgeKey]) -> Iterator[Rung]:
    """One resource that got slower, or has more to do, for most of what is asked of it."""
    base = resource.total[0]
    asked = [key for key in late if resource.work[key][0] > 0]
    if len(asked) < 2 or sum(resource.work[key][0] for key in asked) < MOST_WORK * base:
        return
    first = max(by_name(asked), key=lambda key: (_dearer(grown, key), grown.edges[key].credited_ms))
    for key in asked:
        if key != first:
            yield Rung(first, key, f"asks {resource.place} as well, which is slower for all", False)


def _dearer(grown: Grown, key: EdgeKey) -> float:
    """Work by which calls got dearer in quiet times, in ms an hour: a line shows in busy ones only."""
    course = grown.courses[key]
    before, now = course.quiet_ms
    return course.rate[1] * max(now - before, 0.0)


def held_meanwhile(grown: Grown, held: Mapping[str, Held], paths: pl.DataFrame) -> Iterator[Rung]:
    """Rungs from what a holder of a lock waits for to who waits for the lock.

    The lock's edges are dearer in busy times only; what its holder does beside them in the same visit is
    dearer at any time.
    """
    for place, resource in sorted(held.items()):
        late = [
            key for key in by_name(list(grown.edges)) if key in resource.work and slower(grown.edges[key])
        ]
        if not late:
            continue
        parts = {victim: _steady(grown, victim) for victim in late}
        if not any(part is not None and part < OF_A_LINE for part in parts.values()):
            continue
        for cause in _beside(grown, resource, paths):
            own = _steady(grown, cause)
            if own is None or own <= OF_WORK:
                continue
            for victim, part in parts.items():
                if part is None or part <= OF_WORK:
                    how = f"waits for {place}, which {cause.caller} holds while it waits for {name_of(cause)}"
                    yield Rung(cause, victim, how, False)


def _steady(grown: Grown, key: EdgeKey) -> float | None:
    course = grown.courses.get(key)
    return None if course is None else course.steady


def _beside(grown: Grown, resource: Held, paths: pl.DataFrame) -> list[EdgeKey]:
    """Edges that grew and are called in the same visits as the resource, by the same caller."""
    others = [
        key
        for key in by_name(list(grown.edges))
        if place_of(key) != resource.place and slower(grown.edges[key])
    ]
    others = [key for key in others if key.kind != "queue"]
    visits = paths_of(by_name(list(resource.work)), paths).select("parent_id").unique()
    found = (
        paths_of(others, paths).join(visits, on="parent_id", how="semi")["number"].unique().sort().to_list()
    )
    return [others[number] for number in found]
