"""The outlook: growth-stable, or only demo-stable, with the evidence for every entry.

    at the wall     an edge of the entry has no headroom left, or the SLO is reached
    approaching     the wall comes within the horizon
    drifting        slower every week at equal load, or more calls per request every week
    growth-stable   none of these, and enough was seen to say so

Early warning comes in stages (`tracescope.analysis.capacity.early_warning`).  Instances added without more
throughput are a band-aid.  Uptime says nothing about any of this, so availability stands beside it.

Source: design, section 7.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tracescope.analysis.capacity.early_warning import Sign, early_signs, stage_of
from tracescope.analysis.capacity.forecast import EdgeForecast, EntryForecast, Forecast
from tracescope.analysis.capacity.trends import grows, weekly
from tracescope.analysis.report import State
from tracescope.analysis.rollups.flows import weight
from tracescope.analysis.rollups.instances import Lives
from tracescope.analysis.rollups.period import PeriodRollups
from tracescope.schema import HOUR_NS

Floats = NDArray[np.float64]

FEWEST_UNITS: Final = 1000
#: Instances must have grown by this factor to be a band-aid.
MORE_INSTANCES: Final = 1.25
SLOWER: Final = 1.1


@dataclass(frozen=True, slots=True)
class EntryVerdict:
    """An entry's verdict."""

    unit: str
    service: str
    operation: str
    state: State
    evidence: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class BandAid:
    """Instances that bought no throughput."""

    service: str
    instances_before: float
    instances_now: float
    words: str


@dataclass(frozen=True, slots=True)
class Outlook:
    """The whole, and every entry."""

    state: State
    stage: str | None
    reasons: tuple[str, ...]
    entries: tuple[EntryVerdict, ...]
    signs: tuple[Sign, ...]
    band_aids: tuple[BandAid, ...]


#: States from the worst to none.
_ORDER: Final = tuple(State)


def outlook(forecast: Forecast, period: PeriodRollups) -> Outlook:
    """The verdict of a forecast.

    Parameters
    ----------
    forecast
        Of this period.
    period
        ``path_hours``, ``entry_hours`` and ``service_hours``, hourly.
    """
    by_name = {(edge.unit, edge.name, edge.operation): edge for edge in forecast.edges}
    states = tuple(_state(entry, by_name, forecast.horizon_weeks) for entry in forecast.entries)
    worst = min(states, key=lambda s: _ORDER.index(s.state), default=None)
    signs = early_signs(period)
    if worst is None:
        return Outlook(State.INSUFFICIENT, None, ("no entry was seen",), (), signs, ())
    reasons = tuple(
        f"{s.service} {s.operation}: {s.evidence[0]}" for s in states if s.state == worst.state and s.evidence
    )
    return Outlook(worst.state, stage_of(signs), reasons, states, signs, band_aids(forecast, period))


def _state(
    entry: EntryForecast, by_name: dict[tuple[str, str, str], EdgeForecast], horizon: float
) -> EntryVerdict:
    edges = [by_name[entry.unit, name, operation] for name, operation in entry.edges]
    known = [edge for edge in edges if edge.reason is None]
    full: list[str] = []
    if entry.slo_ms is not None and entry.ms_now >= entry.slo_ms:
        full.append(f"its mean of {entry.ms_now:.3g} ms is over the SLO of {entry.slo_ms:g} ms")
    if entry.headroom is not None and entry.headroom <= 1:
        full.append(f"{entry.limit} makes its clock at peak load three times what it is at low load")
    near = (
        [f"{entry.limit} ends it in {entry.weeks:.1f} weeks at today's growth"]
        if entry.weeks is not None and entry.weeks <= horizon
        else []
    )
    drifts = [
        f"{edge.name} is {edge.drift.pct_per_week:+.1f} % a week slower at equal load"
        for edge in known
        if grows(edge.drift)
    ]
    drifts += [
        f"{edge.name} is called {edge.amplification.pct_per_week:+.1f} % a week more often per request"
        for edge in edges
        if grows(edge.amplification)
    ]
    tight = [
        f"{edge.name} itself is at {100 / edge.headroom:.0f} % of the load at its wall"
        for edge in known
        if edge.headroom is not None and edge.headroom <= 1
    ]
    unseen = sum(edge.headroom is None for edge in known)
    beyond = f"; the walls of {unseen} lie beyond the loads that were seen" if unseen else ""
    state = State.GROWTH_STABLE
    evidence = [f"{len(known)} edges neither drift nor near a wall{beyond}", *tight]
    if full:
        state, evidence = State.AT_THE_WALL, [*full, *tight, *drifts]
    elif near:
        state, evidence = State.APPROACHING, [*near, *tight, *drifts]
    elif drifts:
        state, evidence = State.DRIFTING, [*drifts, *tight]
    elif not known or entry.units < FEWEST_UNITS / 10 or entry.demand.pct_per_week is None:
        state, evidence = (
            State.INSUFFICIENT,
            [next((edge.reason for edge in edges if edge.reason), "too few traces, or weeks, to say")],
        )
    evidence.append(f"availability {entry.availability:.2%}")
    return EntryVerdict(entry.unit, entry.service, entry.operation, state, tuple(evidence))


def live_instances(rows: pl.DataFrame, begin_ns: int, end_ns: int) -> tuple[Floats, Floats]:
    """Mean number of live instances in whole weeks before `end_ns`, oldest first.

    Returns
    -------
    weeks, live ``(w,)``
    """
    week = 7 * 24 * HOUR_NS
    count = int((end_ns - begin_ns) // week)
    starts = end_ns - np.arange(count, 0, -1) * week
    weeks = np.asarray(-np.arange(count)[::-1] - 0.5, dtype=np.float64)
    return weeks, Lives.of(rows).between(starts, starts + week)


def band_aids(forecast: Forecast, period: PeriodRollups) -> tuple[BandAid, ...]:
    """Services that got more instances, serve no more with each, and wait longer downstream."""
    found: list[BandAid] = []
    services = period.tables["service_hours"].filter(pl.col("instance") != "")
    begin = forecast.start_ns
    slow = {edge.caller: edge for edge in sorted(forecast.edges, key=_slower) if _slower(edge) > 0}
    for (service,), rows in services.partition_by("service", as_dict=True).items():
        weeks, live = live_instances(rows, begin, period.end_ns)
        edge = slow.get(str(service))
        if len(weeks) < 4 or edge is None:
            continue
        quarter = max(len(weeks) // 4, 1)
        before, now = float(live[:quarter].mean()), float(live[-quarter:].mean())
        if before <= 0 or now < MORE_INSTANCES * before:
            continue
        calls = _served(period, str(service))
        more = (
            float(calls[-quarter:].mean() / calls[:quarter].mean()) if len(calls) >= 2 * quarter else math.nan
        )
        waits = (1 + _slower(edge) / 100) ** (len(weeks) - quarter)
        if not more < 1.05 * now / before or waits < SLOWER:
            continue
        words = (
            f"{service} went from {before:.1f} to {now:.1f} instances for {more:.2f} times the calls, and "
            f"still waits {_slower(edge):+.1f} % a week longer on {edge.name}: they do not help there"
        )
        found.append(BandAid(str(service), before, now, words))
    return tuple(found)


def _slower(edge: EdgeForecast) -> float:
    """Per cent a week that a downstream edge gets slower at equal load."""
    shared = edge.callee is not None and grows(edge.drift)
    return edge.drift.pct_per_week or 0.0 if shared else 0.0


def _served(period: PeriodRollups, service: str) -> Floats:
    """Requests a service served in whole weeks, oldest first."""
    paths = period.tables["paths"].filter(pl.col("callee").is_null() & (pl.col("caller") == service))
    rows = period.tables["path_hours"].join(paths.select("path_id"), on="path_id", how="semi")
    return weekly(rows.with_columns(weight().alias("w")), period, "calls")[1]


def entry_states(states: Sequence[EntryVerdict]) -> dict[tuple[str, str, str], State]:
    """State by unit, service and operation."""
    return {(s.unit, s.service, s.operation): s.state for s in states}
