"""Findings: one for each cause of growth, with its victims below it, the first cause first.

Source: design, section 7 (findings explain each other).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from tracescope import schema
from tracescope.analysis.comparison.causes import CAUSES
from tracescope.analysis.evidence.change_points import dominant
from tracescope.analysis.report import Certainty, Edge, Effect, Finding, Mechanism

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
    "queue backs up": Mechanism.QUEUE,
}


def attribute(edges: Sequence[Edge], per_request: Mapping[str, float]) -> tuple[Finding, ...]:
    """Findings of a comparison.

    Parameters
    ----------
    edges
        In the order of the report.
    per_request
        Units of each kind for one request.
    """
    grown = [edge for edge in edges if grew(edge)]
    return tuple(_alone(edge, per_request) for edge in grown)


def grew(edge: Edge) -> bool:
    """Whether an edge takes significantly more time, and somebody waits for it."""
    open_long = edge.unit == schema.UNIT_NAMES[schema.UNIT_LONG] and edge.kind == "self"
    return edge.significant and edge.credited_ms > 0 and not open_long


def _alone(edge: Edge, per_request: Mapping[str, float]) -> Finding:
    mechanism = mechanism_of(edge)
    return Finding(
        cause=edge.key,
        mechanism=mechanism,
        sentence=f"{edge.name} {edge.operation or ''}: {mechanism.value}, "
        f"{edge.credited_ms:+.3g} ms per {edge.unit}",
        added_ms=edge.credited_ms,
        unit=edge.unit,
        entries=edge.rises_in or (),
        added_ms_ci=edge.credited_ms_ci,
        total_ms=edge.credited_ms * per_request.get(edge.unit, 0.0),
        since=edge.change,
        certainty=Certainty.CLEAR,
        q_value=edge.q_value,
        evidence=(CAUSES[dominant(edge)].more, *edge.evidence),
        weeks_to_wall=edge.weeks_to_wall,
    )


def mechanism_of(edge: Edge) -> Mechanism:
    """What happened at an edge, seen by itself."""
    named = {pattern.name for pattern in edge.patterns if pattern.certainty == "found"}
    for name, mechanism in OF_PATTERN.items():
        if name in named:
            return mechanism
    return OF_EFFECT.get(dominant(edge), Mechanism.SLOWER)
