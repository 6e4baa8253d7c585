"""`explain` on a store: a diff, and what one of its edges rests on."""

from __future__ import annotations

from tracescope.analysis.diff import Options
from tracescope.analysis.explain import Explanation, choose, explain
from tracescope.engine.compare import compare_sides, read_sides
from tracescope.periods import Period
from tracescope.store import SpanStore


def explain_edge(
    store: SpanStore,
    base: Period,
    head: Period,
    *,
    edge: str,
    operation: str | None,
    options: Options,
    environment: str | None = None,
) -> Explanation:
    """Compare two periods and explain the edge that `edge` names; see `tracescope.analysis.explain`."""
    sides = read_sides(store, base, head, environment=environment, zone=options.zone)
    report = compare_sides(store, sides, options)
    chosen = choose(report.edges, edge, operation)
    return explain(report, chosen, sides.base, sides.head)
