"""Findings: one for each cause of growth, with its victims below it, the first cause first.

    edges that grew ─► rungs (who waits for whom) ─► what waits for nothing is a cause ─► sentences

A circle of edges that wait for each other, as calls that are made again because they take too long, begins
where the courses say that work got dearer, or calls more.  Every edge that grows significantly is the cause
of one finding or a victim in one.  Between edges that no rung orders nothing is said: they are findings
side by side.

Source: design, section 7 (findings explain each other).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import polars as pl

from tracescope import schema
from tracescope.analysis.attribution.consumers import consumers
from tracescope.analysis.attribution.courses import Course, courses, place_of
from tracescope.analysis.attribution.holders import Held, contended, held_meanwhile, resources
from tracescope.analysis.attribution.ladder import (
    LEAST_PART,
    Grown,
    Rung,
    by_name,
    is_acquire,
    is_gap,
    is_wait,
    ladder,
    more_calls,
    name_of,
    retried,
    slower,
)
from tracescope.analysis.comparison.causes import cause_clause
from tracescope.analysis.evidence.change_points import dominant
from tracescope.analysis.report import (
    Certainty,
    Edge,
    EdgeKey,
    Effect,
    Finding,
    Mechanism,
    PatternCertainty,
    Victim,
)
from tracescope.analysis.rollups.period import PeriodRollups

if TYPE_CHECKING:
    import networkx as nx

#: What names an entry: unit, service, operation.
Entered = tuple[str, str, str]

#: What an edge's largest effect is called where nothing more is known of it.
OF_EFFECT: Final[dict[Effect, Mechanism]] = {
    Effect.CALLS: Mechanism.MORE_CALLS,
    Effect.GROWTH: Mechanism.SLOWER,
    Effect.LOAD: Mechanism.LOAD,
    Effect.UNSPLIT: Mechanism.SLOWER,
    Effect.CRITICALITY: Mechanism.WAITED_FOR,
    Effect.NEW: Mechanism.NEW,
}
#: ... and a pattern that it carries; the first that it has counts.
OF_PATTERN: Final[dict[str, Mechanism]] = {
    "starved caller": Mechanism.STARVED,
    "retries": Mechanism.RETRIES,
    "n+1": Mechanism.N_PLUS_ONE,
    "made serial": Mechanism.SERIALISED,
}
#: A rise that a rung explains may be less sure than one that nothing does: larger than this part of half of
#: its 95 % interval, which is one standard error.
LIKELY: Final = 0.5
#: ... and this part of the smallest effect.
WORTH: Final = 0.5
#: An entry that grew speaks for an edge that is worth this part of the largest that grew in it.
VOUCHED_PART: Final = 0.5


@dataclass(frozen=True, slots=True)
class _Story:
    """Edges that grew, those of them that are ``certain``, the graph of their rungs, and what tells of them.

    ``outside`` are rungs from edges that were not asked for, as those of other entries, by their victims.
    """

    edges: Mapping[EdgeKey, Edge]
    courses: Mapping[EdgeKey, Course]
    per_request: Mapping[str, float]
    periods: tuple[PeriodRollups, PeriodRollups]
    held: Mapping[str, Held]
    certain: frozenset[EdgeKey]
    graph: nx.DiGraph[EdgeKey]
    outside: Mapping[EdgeKey, Rung]

    def holds(self, key: EdgeKey) -> Held | None:
        """The resource that an edge keeps busy, out of proportion to its part before."""
        found = self.held.get(place_of(key))
        return found if found is not None and found.holder == key else None

    def per_unit(self, key: EdgeKey) -> float:
        """Credited ms of an edge, per request."""
        edge = self.edges.get(key)
        return 0.0 if edge is None else edge.credited_ms * self.per_request.get(key.unit, 0.0)


def attribute(
    edges: Sequence[Edge],
    entries: Collection[Entered],
    periods: tuple[PeriodRollups, PeriodRollups],
    per_request: Mapping[str, float],
) -> tuple[Finding, ...]:
    """Findings of a comparison.

    Parameters
    ----------
    edges
        In the order of the report.
    entries
        Unit, service and operation of the entries whose own clock grows significantly.
    periods
        Hours of the edges, and of whatever reaches the same resources, of base and of head.
    per_request
        Units of each kind for one request.
    """
    base, head = periods
    most = _most(edges)
    certain = frozenset(edge.key for edge in edges if grew(edge) or vouched(edge, entries, most))
    if not certain:
        return ()
    every = {edge.key: edge for edge in edges}
    likely = {edge.key: edge for edge in edges if _likely(edge)}
    seen = courses(base, head)
    starved = {edge.caller for edge in edges if any(p.name == "starved caller" for p in edge.patterns)}
    grown = Grown(likely, seen, frozenset(starved))
    held = resources(seen)
    paths = pl.concat([period.tables["paths"] for period in (base, head)]).unique("path_id")
    rungs = [*ladder(grown, paths), *contended(grown, held), *held_meanwhile(grown, held, paths)]
    inside = [rung for rung in rungs if rung.cause in every]
    outside = {rung.victim: rung for rung in rungs if rung.cause not in every}
    story = _Story(every, seen, per_request, periods, held, certain, _graph(likely, inside), outside)
    _break_circles(story)
    _drop_uncertain(story)
    made = [_finding(story, cause, victims) for cause, victims in _by_cause(story).items()]
    made = [found for found in made if certain & {found.cause, *(victim.edge for victim in found.victims)}]
    return tuple(
        sorted(made, key=lambda found: (_long(found.cause), -round(found.total_ms, 9), str(found.cause)))
    )


def grew(edge: Edge) -> bool:
    """Whether an edge takes significantly more time, and somebody waits for it."""
    return edge.significant and edge.credited_ms > 0 and not _stays_open(edge.key)


def _most(edges: Iterable[Edge]) -> dict[Entered, float]:
    """The largest rise among the edges that grew significantly and rise in each entry."""
    most: dict[Entered, float] = {}
    for edge in edges:
        for entry in edge.rises_in or () if grew(edge) else ():
            key = edge.unit, *entry
            most[key] = max(most.get(key, 0.0), edge.credited_ms)
    return most


def vouched(edge: Edge, entries: Collection[Entered], most: Mapping[Entered, float]) -> bool:
    """Whether an edge rises in an entry whose clock grew, though it is not significant among all edges.

    Where another is and takes clearly more, the entry grew by that, and speaks for no other.
    """
    if (
        edge.credited_ms_ci is None
        or edge.credited_ms_ci[0] <= 0
        or edge.note is not None
        or _stays_open(edge.key)
    ):
        return False
    grown = [key for entry in edge.rises_in or () if (key := (edge.unit, *entry)) in entries]
    return any(edge.credited_ms >= VOUCHED_PART * most.get(key, 0.0) for key in grown)


def _stays_open(key: EdgeKey) -> bool:
    return _long(key) and key.kind == "self"


def _long(key: EdgeKey) -> bool:
    return key.unit == schema.UNIT_NAMES[schema.UNIT_LONG]


def _likely(edge: Edge) -> bool:
    """Whether an edge grew, or grew so likely that a rung may explain it."""
    if grew(edge):
        return True
    if edge.note is not None or edge.credited_ms_ci is None or _stays_open(edge.key):
        return False
    low, high = edge.credited_ms_ci
    return edge.credited_ms > max(LIKELY * (high - low) / 2, WORTH * edge.min_effect_ms)


def _eligible(story: _Story, key: EdgeKey) -> bool:
    """Whether an edge's rise is certain enough to be a cause; whoever holds a resource needs none.

    One that is hardly certain explains no surer rise of several times its size: threads that got fewer are no
    fault of the query below that took 4 % longer by chance.
    """
    edge = story.edges[key]
    if edge.significant:
        return True
    waiting = [other for other in story.graph.successors(key) if story.edges[other].significant]
    least = LEAST_PART * max((story.per_unit(other) for other in waiting), default=0.0)
    return (edge.credited_ms_ci or (0.0, 0.0))[0] > 0 and story.per_unit(key) >= least


# -- the graph ----------------------------------------------------------------------------------------


def _graph(likely: Iterable[EdgeKey], rungs: Iterable[Rung]) -> nx.DiGraph[EdgeKey]:
    """Edges that grew, and holders; each rung an edge of the graph, the surer one of two."""
    import networkx as nx

    graph: nx.DiGraph[EdgeKey] = nx.DiGraph()
    graph.add_nodes_from(by_name(list(likely)))
    for rung in rungs:
        known = graph.has_edge(rung.cause, rung.victim)
        if not known or (rung.certain and not graph.edges[rung.cause, rung.victim]["rung"].certain):
            graph.add_edge(rung.cause, rung.victim, rung=rung)
    return graph


def _break_circles(story: _Story) -> None:
    """Cut what leads into the beginning of each circle."""
    import networkx as nx

    graph = story.graph
    while circles := [part for part in nx.strongly_connected_components(graph) if len(part) > 1]:
        for circle in circles:
            first = max(by_name(list(circle)), key=lambda key: _begins(story, key))
            graph.remove_edges_from(
                [(other, first) for other in list(graph.predecessors(first)) if other in circle]
            )


def _begins(story: _Story, key: EdgeKey) -> tuple[float, float]:
    """How much an edge looks like the beginning of a circle."""
    edge, course = story.edges.get(key), story.courses.get(key)
    if edge is None:
        return 2.0, 0.0
    if more_calls(edge) and not retried(edge):
        return 2.0, edge.calls_per_unit_head - edge.calls_per_unit_base
    steady = course.steady if course is not None and slower(edge) else None
    return (0.25 if retried(edge) else 0.5 if steady is None else steady), story.per_unit(key)


def _drop_uncertain(story: _Story) -> None:
    """Remove edges that have no cause and are too uncertain to be one."""
    graph = story.graph
    while uncertain := [
        key
        for key in by_name(list(graph))
        if not graph.in_degree(key) and not _holds(story, key) and not _eligible(story, key)
    ]:
        graph.remove_nodes_from(uncertain)


def _holds(story: _Story, key: EdgeKey) -> bool:
    """Whether an edge is the cause of a surer rise, by keeping a resource busy.

    Its own rise may be unsure, as it waits for the same resource: what it brings to it is counted.
    """
    waits = story.graph.out_degree(key) > 0
    return waits and (not _likely(story.edges[key]) or story.holds(key) is not None)


def _by_cause(story: _Story) -> dict[EdgeKey, list[EdgeKey]]:
    """Victims of each cause, nearest first: every victim has one cause, the one that weighs most."""
    import networkx as nx

    graph = story.graph
    roots = [key for key in by_name(list(graph)) if not graph.in_degree(key)]
    reached = {root: nx.single_source_shortest_path_length(graph, root) for root in roots}
    weight = {root: _weight(story, root) for root in roots}
    out: dict[EdgeKey, list[EdgeKey]] = {root: [] for root in roots}
    for key in by_name(list(graph)):
        if key in reached:
            continue
        over = [root for root in roots if key in reached[root]]
        out[max(over, key=lambda root: (weight[root], str(root)))].append(key)
    return {
        root: sorted(victims, key=lambda key: (reached[root][key], -story.per_unit(key), str(key)))
        for root, victims in out.items()
    }


def _weight(story: _Story, root: EdgeKey) -> float:
    """What a cause weighs against another: its own rise, or what directly waits for it where it has none."""
    direct = [story.per_unit(key) for key in story.graph.successors(root)]
    return max(story.per_unit(root), max(direct, default=0.0) if not _likely(story.edges[root]) else 0.0)


# -- words ----------------------------------------------------------------------------------------


def _finding(story: _Story, cause: EdgeKey, victims: Sequence[EdgeKey]) -> Finding:
    edge = story.edges[cause]
    told = [_victim(story, cause, key) for key in victims]
    rungs = [_rung(story, cause, key) for key in victims]
    mechanism = _mechanism(story, edge, victims)
    certain = all(rung.certain for rung in rungs)
    hidden = not _likely(edge)
    entries = dict.fromkeys(entry for key in (cause, *victims) for entry in story.edges[key].rises_in or ())
    total = sum(story.per_unit(key) for key in ((() if hidden else (cause,)) + tuple(victims)))
    return Finding(
        cause=cause,
        mechanism=mechanism,
        sentence=_sentence(story, edge, mechanism, victims, total),
        added_ms=edge.credited_ms,
        unit=edge.unit,
        entries=tuple(entries),
        added_ms_ci=edge.credited_ms_ci,
        total_ms=total,
        victims=tuple(told),
        since=edge.change,
        certainty=Certainty.CLEAR if certain and not hidden and edge.significant else Certainty.CONSISTENT,
        q_value=edge.q_value,
        evidence=_evidence(story, edge),
        weeks_to_wall=edge.weeks_to_wall,
    )


def _rung(story: _Story, cause: EdgeKey, victim: EdgeKey) -> Rung:
    """The last rung of the shortest way from a cause to a victim."""
    import networkx as nx

    way = nx.shortest_path(story.graph, cause, victim)
    return story.graph.edges[way[-2], way[-1]]["rung"]


def _victim(story: _Story, cause: EdgeKey, key: EdgeKey) -> Victim:
    return Victim(key, story.edges[key].credited_ms, key.unit, _rung(story, cause, key).how)


def _mechanism(story: _Story, edge: Edge, victims: Sequence[EdgeKey]) -> Mechanism:
    """What happened at a cause."""
    if edge.key in story.outside:
        return Mechanism.CONTENDED
    found = {pattern.name for pattern in edge.patterns if pattern.certainty is PatternCertainty.CERTAIN}
    for name, mechanism in OF_PATTERN.items():
        if name in found:
            return mechanism
    key, course = edge.key, story.courses.get(edge.key)
    if is_acquire(key):
        return Mechanism.POOL
    shared = [other for other in victims if other.callee == key.callee is not None and other.kind == key.kind]
    if is_wait(key) and dominant(edge) is Effect.LOAD:
        return Mechanism.QUEUE
    if is_wait(key):
        return _backing_up(story, edge)
    if more_calls(edge) and (dominant(edge) in (Effect.CALLS, Effect.NEW) or any(map(is_wait, victims))):
        return Mechanism.NEW if dominant(edge) is Effect.NEW else Mechanism.MORE_CALLS
    if dominant(edge) is Effect.LOAD and story.holds(key) is None:
        return Mechanism.LOAD
    if shared and key.kind != "queue" and (story.holds(key) is not None or not is_gap(key)):
        return Mechanism.CONTENDED
    if key.unit == "message" and any(is_wait(other) for other in victims):
        return Mechanism.CONSUMER
    if (is_gap(key) or key.callee is None) and course is not None and course.waits is True:
        return Mechanism.POOL
    return OF_EFFECT.get(dominant(edge), Mechanism.SLOWER)


def _backing_up(story: _Story, edge: Edge) -> Mechanism:
    """Why messages wait longer although no work on one takes longer."""
    known = consumers(edge.key, story.courses.get(edge.key), story.periods)
    if known.fewer:
        return Mechanism.CONSUMER
    if dominant(edge) is Effect.LOAD:
        return Mechanism.LOAD
    return Mechanism.QUEUE if known.busier else Mechanism.CONSUMER


def _sentence(
    story: _Story, edge: Edge, mechanism: Mechanism, victims: Sequence[EdgeKey], total: float
) -> str:
    """One sentence: what, where, how much, and what else it slows down."""
    calls = f"{edge.calls_per_unit_base:.3g} → {edge.calls_per_unit_head:.3g}"
    name = name_of(edge.key)
    if edge.key in story.outside:
        what = f"{name} {story.outside[edge.key].how}"
    elif mechanism is Mechanism.CONTENDED:
        holds = story.holds(edge.key) is not None
        what = (
            f"{name} keeps {edge.callee} busier" if holds else f"{edge.callee} is slower for all, {name} most"
        )
    elif is_acquire(edge.key):
        what = f"{edge.key.caller} waits longer for a connection"
    elif mechanism is Mechanism.POOL:
        what = f"{name} waits for a thread or a connection"
    elif is_wait(edge.key):
        why = consumers(edge.key, story.courses.get(edge.key), story.periods).clause(edge.key)
        what = f"{edge.caller} backs up: {why}"
    elif mechanism is Mechanism.STARVED:
        what = f"{edge.caller} gets too little CPU"
    elif mechanism is Mechanism.RETRIES:
        what = f"{name} fails and is called again, {calls} times"
    elif mechanism in (Mechanism.MORE_CALLS, Mechanism.N_PLUS_ONE):
        what = f"{name} is called {calls} times"
    else:
        what = f"{name}: {cause_clause(dominant(edge), 1.0, calls)}"
    added = f"{edge.credited_ms:+.3g} ms per {edge.unit}"
    if not victims:
        return f"{what}, {added}"
    slowed = "1 more edge follows" if len(victims) == 1 else f"{len(victims)} more edges follow"
    return f"{what}, {added}; {slowed} from it, {total:+.3g} ms per request in all"


def _evidence(story: _Story, edge: Edge) -> tuple[str, ...]:
    said: list[str] = []
    course = story.courses.get(edge.key)
    if course is not None and slower(edge) and (part := course.steady) is not None:
        said.append(f"{part:.0%} of its rise is there in quiet times as well")
    if (resource := story.holds(edge.key)) is not None:
        said.append(resource.clause(edge.key))
    if edge.key in story.outside:
        said.append(f"{name_of(story.outside[edge.key].cause)} is not among what was asked for")
    return (*said, *edge.evidence, *(line for pattern in edge.patterns for line in pattern.evidence))
