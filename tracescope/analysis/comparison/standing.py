"""What an edge's change amounts to where it is not a significant change of its own.

    own time changed, hardly any of it credited ─┬─ a significant change of calls above it ─► follows that
                                                 └─ none ─► traffic moved between entries
    time with all below changed, own did not ────── a significant change below it ─► follows that
    interval within the smallest effect ─► too small to matter
    else ─► not told from chance, by the interval or by the q value

Pure functions of the report's edges: nothing here changes what is credited.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Final

from tracescope.analysis.report import DecidedBy, Edge, EdgeKey, Effect, Standing, StandingKind

#: Effects by which an edge makes what lies below it run more or less often.
_OFTEN: Final = (Effect.CALLS, Effect.NEW, Effect.GONE, Effect.CRITICALITY)
#: How a test is called that sees what the mean does not.
_TESTS: Final = {
    DecidedBy.RANKS: "ranks of calls",
    DecidedBy.LOGARITHMS: "logarithms of latency",
    DecidedBy.AT_EQUAL_LOAD: "logarithms at equal load",
    DecidedBy.SINCE_THEN: "a part of head against all before",
}
#: Edges by unit and the service that they lead to, or start from.
Linked = Mapping[tuple[str, str], Sequence[Edge]]


def with_standing(edges: Sequence[Edge], alpha: float) -> list[Edge]:
    """The edges, each with what its change amounts to.

    Parameters
    ----------
    edges
        All of a comparison.
    alpha
        False discovery rate that they were tested at.
    """
    into: dict[tuple[str, str], list[Edge]] = {}
    out_of: dict[tuple[str, str], list[Edge]] = {}
    for edge in edges:
        out_of.setdefault((edge.unit, edge.caller), []).append(edge)
        if edge.callee is not None:
            into.setdefault((edge.unit, edge.callee), []).append(edge)
    return [replace(edge, standing=_standing(edge, into, out_of, alpha)) for edge in edges]


def is_certain(edge: Edge, effect: Effect) -> bool:
    """Whether the interval of one effect on an edge excludes zero."""
    ci = edge.effects_ci.get(effect)
    return ci is None or not ci[0] <= 0 <= ci[1]


def standing_words(edge: Edge) -> str:
    """What a change amounts to that is no significant one of its own, in words; empty for one that is."""
    if edge.significant or edge.standing is None:
        return ""
    standing = edge.standing
    if standing.follows is not None:
        name = standing.follows.name.replace(" -> ", " → ")
        return f"follows {name} {standing.follows.operation or ''}".strip()
    if standing.kind is StandingKind.SMALL:
        return f"{standing.kind.value} (under {edge.min_effect_ms:.2g} ms)"
    if standing.kind is not StandingKind.UNCERTAIN:
        return standing.kind.value
    by_q = standing.decides == "q value" and edge.q_value is not None
    rests_on = [f"q {edge.q_value:.2g}" if by_q else "", decided_words(edge)]
    said = ", ".join(words for words in rests_on if words)
    return f"{standing.kind.value} ({said})" if said else standing.kind.value


def decided_words(edge: Edge) -> str:
    """The test that decided, where it is another than that of means; else empty."""
    name = _TESTS.get(edge.decided_by)
    return "" if name is None else f"tested by {name}"


def _standing(edge: Edge, into: Linked, out_of: Linked, alpha: float) -> Standing:
    if edge.significant:
        return Standing(StandingKind.CHANGED)
    least = edge.min_effect_ms
    low, high = edge.credited_ms_ci or (edge.credited_ms, edge.credited_ms)
    unsure = max(abs(low), abs(high))
    elsewhere = edge.own_ms_head - edge.own_ms_base - edge.credited_ms
    if abs(elsewhere) > max(least, unsure):
        cause = _nearest(_above(edge, into), elsewhere, by_calls=True)
        return Standing(StandingKind.MOVED) if cause is None else Standing(StandingKind.FOLLOWS, cause)
    below = edge.inclusive_ms_head - edge.inclusive_ms_base
    if abs(below) > max(least, unsure):
        cause = _nearest(_below(edge, out_of), below, by_calls=False)
        if cause is not None:
            return Standing(StandingKind.FOLLOWS, cause)
    if edge.credited_ms_ci is not None and unsure < least:
        return Standing(StandingKind.SMALL)
    if edge.credited_ms_ci is not None and not low <= 0 <= high and (edge.q_value or 0.0) > alpha:
        return Standing(StandingKind.UNCERTAIN, decides="q value")
    return Standing(StandingKind.UNCERTAIN, decides="interval")


def _nearest(candidates: Iterator[Edge], change: float, *, by_calls: bool) -> EdgeKey | None:
    """The first significant change in the same direction; where `by_calls`, one that is mostly of calls."""
    for edge in candidates:
        often = sum(edge.effects.get(name, 0.0) for name in _OFTEN)
        if not (edge.significant and edge.credited_ms * change > 0):
            continue
        if not by_calls or abs(often) > abs(edge.credited_ms) / 2:
            return edge.key
    return None


def _above(edge: Edge, into: Linked) -> Iterator[Edge]:
    """Edges that lead to an edge, nearest first."""
    yield from _walk([edge.caller], edge.unit, into, lambda each: each.caller)


def _below(edge: Edge, out_of: Linked) -> Iterator[Edge]:
    """Edges that an edge leads to, nearest first."""
    starts = [edge.callee] if edge.callee is not None else []
    yield from _walk(starts, edge.unit, out_of, lambda each: each.callee)


def _walk(
    starts: Sequence[str], unit: str, linked: Linked, onward: Callable[[Edge], str | None]
) -> Iterator[Edge]:
    level, seen = list(starts), set(starts)
    while level:
        found = sorted(
            (edge for name in level for edge in linked.get((unit, name), ())),
            key=lambda edge: -abs(edge.credited_ms),
        )
        yield from found
        level = []
        for edge in found:
            name = onward(edge)
            if name is not None and name not in seen:
                seen.add(name)
                level.append(name)
