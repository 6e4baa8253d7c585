"""The plan over hours and slices: what to seal, what a period's rollups are made of, what is compared."""

from tracescope.engine.comparing import Sides, compare, compare_sides, read_sides, slot_of
from tracescope.engine.explaining import explain_edge
from tracescope.engine.forecasting import foresee
from tracescope.engine.graphs import MAPPED, Mapped, map_period, map_sides
from tracescope.engine.local import SealResult, rebuild, seal, seal_quiet
from tracescope.engine.periods import PeriodRollups, rollups, trace_spans
from tracescope.engine.upkeep import PruneResult, prune, reclaim, status, verify

__all__ = [
    "MAPPED",
    "Mapped",
    "PeriodRollups",
    "PruneResult",
    "SealResult",
    "Sides",
    "compare",
    "compare_sides",
    "explain_edge",
    "foresee",
    "map_period",
    "map_sides",
    "prune",
    "read_sides",
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
