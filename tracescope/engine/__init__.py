"""The plan over hours and slices: what to seal, what a period's rollups are made of, what is compared."""

from tracescope.engine.comparing import compare, slot_of
from tracescope.engine.explaining import explain_edge
from tracescope.engine.forecasting import foresee
from tracescope.engine.graphs import Mapped, map_period
from tracescope.engine.local import SealResult, rebuild, seal, seal_quiet
from tracescope.engine.periods import PeriodRollups, rollups, trace_spans
from tracescope.engine.upkeep import PruneResult, prune, reclaim, status, verify

__all__ = [
    "Mapped",
    "PeriodRollups",
    "PruneResult",
    "SealResult",
    "compare",
    "explain_edge",
    "foresee",
    "map_period",
    "prune",
    "rebuild",
    "reclaim",
    "rollups",
    "seal",
    "seal_quiet",
    "slot_of",
    "status",
    "trace_spans",
    "verify",
]
