"""`forecast` on a store: how much of the past it looks at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import Final

import polars as pl

from tracescope import schema
from tracescope.analysis.capacity.arrivals import near
from tracescope.analysis.capacity.edge_walls import Past
from tracescope.analysis.capacity.forecast import MULTIPLES, Forecast, forecast
from tracescope.analysis.capacity.forecast_verdict import Outlook, outlook
from tracescope.analysis.capacity.walls import FEWEST_WEEKS
from tracescope.analysis.rollups.long_lived import durations_note, find_long_lived, set_apart
from tracescope.analysis.rollups.names import shorten
from tracescope.analysis.rollups.period import PeriodRollups
from tracescope.analysis.rollups.renaming import collapse
from tracescope.engine.question import KeepEntry
from tracescope.engine.rollups import BUDGET, Budget, RollupRequest, readable, rollups, rollups_in
from tracescope.errors import InsufficientDataError
from tracescope.periods import Period
from tracescope.schema import DAY_NS, HOUR_NS
from tracescope.store import SpanStore

#: Older weeks say little about the next ones.
PAST_NS: Final = 26 * 7 * DAY_NS
#: How long entries took longer ago does not matter: half a year of sketches would cost more than the rest.
_TYPICAL_NS: Final = 28 * DAY_NS


def past(
    store: SpanStore, environment: str | None, budget: Budget = BUDGET, *, until_ns: int | None = None
) -> PeriodRollups:
    """Rollups of the half year until the last span, or an earlier instant, by the hour.

    What is long-lived is set apart, as in a diff.
    """
    request = _request(store, environment, budget, until_ns)
    apart, notes = _long_lived(store, request)
    found = rollups(store, request)
    return replace(set_apart(found, apart), notes=(*found.notes, *notes))


def _long_lived(store: SpanStore, request: RollupRequest) -> tuple[frozenset[int], list[str]]:
    """Entries that were long-lived in the last weeks of what is asked for, and what to say of them."""
    start = max(request.start_ns, request.end_ns - _TYPICAL_NS)
    recent = rollups(
        store, replace(request, start_ns=start, tables=("entry_hours", "entry_sketches"), unread=False)
    )
    found = find_long_lived(recent)
    return found, durations_note(found, recent)


def _request(
    store: SpanStore, environment: str | None, budget: Budget, until_ns: int | None
) -> RollupRequest:
    first, last = store.extent()
    if not first:
        raise InsufficientDataError(
            "insufficient data: the store is empty", "`tracescope import FILE` or `tracescope serve` fills it"
        )
    end = -(-last // HOUR_NS) * HOUR_NS
    if until_ns is not None and until_ns < last:
        end = until_ns // HOUR_NS * HOUR_NS
    start = max(first // HOUR_NS * HOUR_NS, end - PAST_NS)
    tables = ("path_hours", "entry_hours", "service_hours", "counters")
    return RollupRequest(start, end, environment=environment, tables=tables, budget=budget)


def busiest(store: SpanStore, period: Period, budget: Budget = BUDGET) -> str | None:
    """The environment that a diff takes where nobody chose: the busiest of HEAD; None where HEAD is empty."""
    request = RollupRequest(period.start_ns, period.end_ns, tables=("entry_hours",), budget=budget)
    found = rollups(store, request)
    return found.environment if found.environments else None


def past_of_paths(store: SpanStore, environment: str, until_ns: int, budget: Budget = BUDGET) -> Past | None:
    """What `past` reads of all that reaches the resources of some call paths, as it is asked for.

    None where less was seen than a forecast needs.
    """
    request = replace(_request(store, environment, budget, until_ns), unread=True)
    if request.end_ns - request.start_ns < FEWEST_WEEKS * 7 * DAY_NS:
        return None

    @cache
    def whole() -> PeriodRollups:
        found = store.reading(lambda snapshot: rollups_in(store, snapshot, request))
        (found,) = collapse(readable(store, found))
        names = {name: found.tables[name] for name in schema.DIMENSIONS}
        found = replace(found, tables={**found.tables, **shorten(names)[0]})
        return set_apart(found, _long_lived(store, request)[0])

    def read(ids: Sequence[int]) -> PeriodRollups:
        found = whole()
        if not ids:
            tables = {**found.tables, "path_hours": found.tables["path_hours"].clear()}
            return replace(found, tables=tables, hours=None)
        paths = found.tables["paths"]
        edges = paths.filter(pl.col("path_id").is_in(list(ids)))
        keys = edges.select("kind", "caller", "callee", "operation").unique().iter_rows()
        return found.of_paths(near(keys, found))

    return read


def foresee(
    store: SpanStore,
    *,
    horizon_weeks: float,
    multiples: Sequence[float],
    slo_ms: Mapping[str, float],
    environment: str | None = None,
    keep_entry: KeepEntry | None = None,
    until_ns: int | None = None,
    budget: Budget = BUDGET,
) -> tuple[Forecast, Outlook]:
    """Forecast from a store's last half year, with its verdict; no `multiples` are `MULTIPLES`.

    Of the entries that `keep_entry` keeps; the load of what they share with others is everybody's.
    """
    found = past(store, environment, budget, until_ns=until_ns)
    made = forecast(
        found,
        horizon_weeks=horizon_weeks,
        multiples=tuple(multiples) or MULTIPLES,
        slo_ms=slo_ms,
        keep_entry=keep_entry,
    )
    return made, outlook(made, found.of_entries(keep_entry))
