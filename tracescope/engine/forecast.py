"""`forecast` on a store: how much of the past it looks at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from tracescope.analysis.capacity.forecast import MULTIPLES, Forecast, forecast
from tracescope.analysis.capacity.forecast_verdict import Outlook, outlook
from tracescope.analysis.rollups.period import PeriodRollups
from tracescope.engine.question import KeepEntry
from tracescope.engine.rollups import BUDGET, Budget, RollupRequest, rollups
from tracescope.errors import InsufficientDataError
from tracescope.schema import DAY_NS, HOUR_NS
from tracescope.store import SpanStore

#: Older weeks say little about the next ones.
PAST_NS: Final = 26 * 7 * DAY_NS


def past(store: SpanStore, environment: str | None, budget: Budget = BUDGET) -> PeriodRollups:
    """Rollups of the half year until the last span, by the hour."""
    first, last = store.extent()
    if not first:
        raise InsufficientDataError(
            "insufficient data: the store is empty", "`tracescope import FILE` or `tracescope serve` fills it"
        )
    end = -(-last // HOUR_NS) * HOUR_NS
    start = max(first // HOUR_NS * HOUR_NS, end - PAST_NS)
    tables = ("path_hours", "entry_hours", "service_hours")
    return rollups(store, RollupRequest(start, end, environment=environment, tables=tables, budget=budget))


def foresee(
    store: SpanStore,
    *,
    horizon_weeks: float,
    multiples: Sequence[float],
    slo_ms: Mapping[str, float],
    environment: str | None = None,
    keep_entry: KeepEntry | None = None,
    budget: Budget = BUDGET,
) -> tuple[Forecast, Outlook]:
    """Forecast from a store's last half year, with its verdict; no `multiples` are `MULTIPLES`.

    Of the entries that `keep_entry` keeps; the load of what they share with others is everybody's.
    """
    found = past(store, environment, budget)
    made = forecast(
        found,
        horizon_weeks=horizon_weeks,
        multiples=tuple(multiples) or MULTIPLES,
        slo_ms=slo_ms,
        keep_entry=keep_entry,
    )
    return made, outlook(made, found.of_entries(keep_entry))
