"""The outlook: growth-stable, or only demo-stable, with the evidence for every entry.

    at the wall     an edge of the entry has no headroom left, or the SLO is reached
    approaching     the wall comes within the horizon
    drifting        slower every week at equal load, more calls per request every week, or more of them fail
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

from tracescope import schema
from tracescope.analysis.capacity.early_warning import early_signs, stage_of
from tracescope.analysis.capacity.forecast import EdgeForecast, EntryForecast, Forecast
from tracescope.analysis.capacity.trends import Trend, adjusted, grows, live_instances, trend_of, weekly
from tracescope.analysis.report import Sign, State, how_many
from tracescope.analysis.rollups.flows import weight
from tracescope.analysis.rollups.period import PeriodRollups

Floats = NDArray[np.float64]

FEWEST_UNITS: Final = 1000
#: Instances must have grown by this factor to be a band-aid.
MORE_INSTANCES: Final = 1.25
SLOWER: Final = 1.1
#: The whole is growth-stable only where entries that hold this part of all time are known to be.
LEAST_KNOWN: Final = 0.5
#: Calls of each instance that leave it a band-aid.
MORE_EACH: Final = 1.05
FEWEST_BAND_AID_WEEKS: Final = 4


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

    @property
    def how_many(self) -> str:
        """How many early warnings show, in words."""
        return how_many(self.signs)


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
    state = worst.state
    if state is State.GROWTH_STABLE and _part_known(forecast.entries, states) < LEAST_KNOWN:
        state = State.INSUFFICIENT
    reasons = tuple(
        f"{s.service} {s.operation}: {s.evidence[0]}" for s in states if s.state == state and s.evidence
    )
    return Outlook(state, stage_of(signs), reasons, states, signs, band_aids(forecast, period))


def _part_known(entries: Sequence[EntryForecast], states: Sequence[EntryVerdict]) -> float:
    """Part of the time of all units of work whose entries have data enough for a verdict."""
    spent = [entry.units * entry.ms_now for entry in entries]
    known = sum(time for time, one in zip(spent, states, strict=True) if one.state is not State.INSUFFICIENT)
    return known / sum(spent) if sum(spent) > 0 else 0.0


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
    soon = entry.weeks is not None and entry.weeks <= horizon
    walled = [edge for edge in known if edge.headroom is not None]
    sure = grows(entry.demand) or any(
        grows(trend) for edge in walled for trend in (edge.drift, edge.load_trend, edge.amplification)
    )
    near = [f"{entry.limit} ends it in {entry.weeks:.1f} weeks at today's growth"] if soon and sure else []
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
    if soon and not sure:  # close to a wall for ever is not on the way to it
        tight.append(
            f"{entry.limit} is near the load at its wall, and no growth towards it is told from chance"
        )
    fails = [entry.failures.words(entry.unit)] if entry.failures is not None and entry.failures.grows else []
    unseen = sum(edge.headroom is None for edge in known)
    beyond = f"; the walls of {unseen} lie beyond the loads that were seen" if unseen else ""
    state = State.GROWTH_STABLE
    evidence = [f"{len(known)} edges neither drift nor near a wall{beyond}", *tight]
    if full:
        state, evidence = State.AT_THE_WALL, [*full, *tight, *drifts, *fails]
    elif near:
        state, evidence = State.APPROACHING, [*near, *tight, *drifts, *fails]
    elif fails or drifts:
        state, evidence = State.DRIFTING, [*fails, *drifts, *tight]
    elif not known or entry.units < FEWEST_UNITS / 10 or entry.demand.pct_per_week is None:
        state, evidence = (
            State.INSUFFICIENT,
            [next((edge.reason for edge in edges if edge.reason), "too few traces, or weeks, to say")],
        )
    evidence.append(f"availability {entry.availability:.2%}")
    return EntryVerdict(entry.unit, entry.service, entry.operation, state, tuple(evidence))


def band_aids(forecast: Forecast, period: PeriodRollups) -> tuple[BandAid, ...]:
    """Services that got more instances, serve no more with each, and wait longer downstream.

    What they wait for is slower for any reason: a resource that they share gets slower by the load that more
    instances put on it, without any drift.
    """
    found: list[BandAid] = []
    services = period.tables["service_hours"].filter(pl.col("instance") != "")
    for (service,), rows in services.partition_by("service", as_dict=True).items():
        weeks, live = live_instances(rows, forecast.start_ns, period.end_ns)
        if len(weeks) < FEWEST_BAND_AID_WEEKS:
            continue
        quarter = len(weeks) // 4
        before, now = float(live[:quarter].mean()), float(live[-quarter:].mean())
        if before <= 0 or now < MORE_INSTANCES * before:
            continue
        calls = _served(period, str(service))
        more = (
            float(calls[-quarter:].mean() / calls[:quarter].mean()) if len(calls) >= 2 * quarter else math.nan
        )
        if not more < MORE_EACH * now / before:
            continue
        waits = _waits_longer(forecast, period, str(service))
        if waits is None or (1 + (waits[1].pct_per_week or 0.0) / 100) ** (len(weeks) - quarter) < SLOWER:
            continue
        edge, trend = waits
        why = "at equal load" if grows(edge.drift) else "with its load"
        words = (
            f"{service} went from {before:.1f} to {now:.1f} instances for {more:.2f} times the calls, and "
            f"still waits {trend.pct_per_week:+.1f} % a week longer on {edge.name}, which gets slower {why}: "
            "they do not help there"
        )
        found.append(BandAid(str(service), before, now, words))
    return tuple(found)


def _waits_longer(
    forecast: Forecast, period: PeriodRollups, service: str
) -> tuple[EdgeForecast, Trend] | None:
    """The downstream edge of a service whose calls take longer every week, by the most; None: none does."""
    below = [edge for edge in forecast.edges if edge.caller == service and edge.callee is not None]
    trends: list[Trend] = []
    for edge in below:
        paths = period.tables["paths"].filter(
            (pl.col("caller") == edge.caller)
            & (pl.col("callee") == edge.callee)
            & (pl.col("operation") == edge.operation)
            & (pl.col("kind") == schema.EDGE_KINDS.index(edge.kind))
        )
        rows = period.tables["path_hours"].join(paths.select("path_id"), on="path_id", how="semi")
        at, spent = weekly(rows, period, "own_all_ns")
        calls_at, calls = weekly(rows, period, "calls")
        common, a, b = np.intersect1d(at, calls_at, return_indices=True)
        trends.append(trend_of(common, spent[a] / calls[b]))
    longer = [(edge, trend) for edge, trend in zip(below, adjusted(trends), strict=True) if grows(trend)]
    return max(longer, key=lambda one: one[1].pct_per_week or 0.0, default=None)


def _served(period: PeriodRollups, service: str) -> Floats:
    """Requests a service served in whole weeks, oldest first."""
    paths = period.tables["paths"].filter(pl.col("callee").is_null() & (pl.col("caller") == service))
    rows = period.tables["path_hours"].join(paths.select("path_id"), on="path_id", how="semi")
    return weekly(rows.with_columns(weight().alias("w")), period, "calls")[1]


def entry_states(states: Sequence[EntryVerdict]) -> dict[tuple[str, str, str], State]:
    """State by unit, service and operation."""
    return {(s.unit, s.service, s.operation): s.state for s in states}
