"""`forecast` on a store: how much of the past it looks at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from tracescope.analysis.capacity.forecast import MULTIPLES, Forecast, forecast
from tracescope.analysis.capacity.forecast_verdict import Outlook, outlook
from tracescope.engine.rollups import PeriodRollups, rollups
from tracescope.errors import InsufficientDataError
from tracescope.schema import DAY_NS, HOUR_NS
from tracescope.store import SpanStore

#: Older weeks say little about the next ones.
PAST_NS: Final = 26 * 7 * DAY_NS


def past(store: SpanStore, environment: str | None) -> PeriodRollups:
    """Rollups of the half year until the last span, by the hour."""
    first, last = store.extent()
    if not first:
        raise InsufficientDataError(
            "insufficient data: the store is empty", "`tracescope import FILE` or `tracescope serve` fills it"
        )
    end = -(-last // HOUR_NS) * HOUR_NS
    start = max(first // HOUR_NS * HOUR_NS, end - PAST_NS)
    tables = ("path_hours", "entry_hours", "service_hours")
    return rollups(store, start, end, environment=environment, tables=tables)


def foresee(
    store: SpanStore,
    *,
    horizon_weeks: float,
    multiples: Sequence[float],
    slo_ms: Mapping[str, float],
    environment: str | None = None,
) -> tuple[Forecast, Outlook]:
    """Forecast from a store's last half year, with its verdict; no `multiples` are `MULTIPLES`."""
    found = past(store, environment)
    made = forecast(
        found, horizon_weeks=horizon_weeks, multiples=tuple(multiples) or MULTIPLES, slo_ms=slo_ms
    )
    return made, outlook(made, found)
