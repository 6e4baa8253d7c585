"""`explain` on a store: a diff, and what one of its edges rests on."""

from __future__ import annotations

from tracescope.analysis.diff import Options
from tracescope.analysis.explain import Explanation, choose, explain
from tracescope.analysis.matched import as_period
from tracescope.engine.comparing import compare, slot_of
from tracescope.engine.periods import rollups
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
    report = compare(store, base, head, options=options, environment=environment)
    chosen = choose(report.edges, edge, operation)
    sides = [
        as_period(
            rollups(
                store,
                period.start_ns,
                period.end_ns,
                slot_ns=slot_of(period),
                environment=report.environment,
                tables=("path_hours", "entry_hours"),
            )
        )
        for period in (base, head)
    ]
    return explain(report, chosen, *sides)
