"""The plan over hours and slices: what to seal, and what a period's rollups are made of."""

from tracescope.engine.local import SealResult, rebuild, seal
from tracescope.engine.periods import PeriodRollups, rollups, trace_spans

__all__ = ["PeriodRollups", "SealResult", "rebuild", "rollups", "seal", "trace_spans"]
