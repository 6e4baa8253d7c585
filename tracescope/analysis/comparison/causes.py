"""What the causes of an edge's change are called: short in tables and bars, as clauses in a sentence.

One place, so that terminal, page, report and explanation say the same; a cause that took time away is
named the other way round.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from tracescope.analysis.report import Effect


@dataclass(frozen=True, slots=True)
class Cause:
    """Words for a cause that adds time (``more``) and one that takes it away (``less``)."""

    more: str
    less: str
    more_clause: str
    less_clause: str


#: ``{calls}`` are the calls per unit, base → head.
CAUSES: Final[dict[Effect, Cause]] = {
    Effect.CALLS: Cause(
        "more calls", "fewer calls", "it is called {calls} times", "it is called {calls} times"
    ),
    Effect.GROWTH: Cause(
        "slower at equal load",
        "faster at equal load",
        "each call is slower at the same load",
        "each call is faster at the same load",
    ),
    Effect.LOAD: Cause(
        "slower under more load",
        "faster under less load",
        "more load makes each call wait",
        "less load lets each call pass",
    ),
    Effect.UNSPLIT: Cause("slower", "faster", "each call is slower", "each call is faster"),
    Effect.CRITICALITY: Cause(
        "more often waited for",
        "less often waited for",
        "it is more often waited for",
        "it is less often waited for",
    ),
    Effect.NEW: Cause("new", "new", "it is new", "it is new"),
    Effect.GONE: Cause("gone", "gone", "it is gone", "it is gone"),
    Effect.TRANSIENT: Cause("one-off spikes", "one-off spikes", "spikes passed", "spikes passed"),
}


def cause_words(name: str, ms: float) -> str:
    """A cause in a table, given the milliseconds it adds or takes away."""
    found = CAUSES[Effect(name)]
    return found.less if ms < 0 else found.more


def cause_clause(name: str, ms: float, calls: str) -> str:
    """A cause in a sentence; `calls` are the calls per unit, base → head."""
    found = CAUSES[Effect(name)]
    return (found.less_clause if ms < 0 else found.more_clause).replace("{calls}", calls)
