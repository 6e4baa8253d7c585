"""What the causes of an edge's change are called: short in tables and bars, as clauses in a sentence.

One place, so that terminal, page, report and explanation say the same; a cause that took time away is
named the other way round.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Cause:
    """Words for a cause that adds time (``more``) and one that takes it away (``less``)."""

    more: str
    less: str
    more_clause: str
    less_clause: str


#: By the names of `tracescope.analysis.report.EFFECTS`; ``{calls}`` are the calls per unit, base → head.
CAUSES: Final[dict[str, Cause]] = {
    "calls": Cause("more calls", "fewer calls", "it is called {calls} times", "it is called {calls} times"),
    "latency_growth": Cause(
        "slower at equal load",
        "faster at equal load",
        "each call is slower at the same load",
        "each call is faster at the same load",
    ),
    "latency_load": Cause(
        "slower under more load",
        "faster under less load",
        "more load makes each call wait",
        "less load lets each call pass",
    ),
    "latency_unsplit": Cause("slower", "faster", "each call is slower", "each call is faster"),
    "criticality": Cause(
        "more often waited for",
        "less often waited for",
        "it is more often waited for",
        "it is less often waited for",
    ),
    "new": Cause("new", "new", "it is new", "it is new"),
    "gone": Cause("gone", "gone", "it is gone", "it is gone"),
    "transient": Cause("one-off spikes", "one-off spikes", "spikes passed", "spikes passed"),
}


def cause_words(name: str, ms: float) -> str:
    """A cause in a table, given the milliseconds it adds or takes away."""
    found = CAUSES[name]
    return found.less if ms < 0 else found.more


def cause_clause(name: str, ms: float, calls: str) -> str:
    """A cause in a sentence; `calls` are the calls per unit, base → head."""
    found = CAUSES[name]
    return (found.less_clause if ms < 0 else found.more_clause).replace("{calls}", calls)
