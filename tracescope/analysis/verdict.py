"""The verdict: one state for the whole, its reasons, and what a reader should know of the data.

Source: design, sections 6 and 7.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import polars as pl

from tracescope import schema
from tracescope.analysis.comparison.matched import Unit
from tracescope.analysis.report import Edge, Entry, Failures, Finding, Mechanism, State, Tail
from tracescope.analysis.rollups.period import PeriodRollups
from tracescope.analysis.statistics import blocks as blocking
from tracescope.analysis.statistics import significance

#: Units that could not be put together beyond this part are worth a word on every output.
INCOMPLETE_PART: Final = 0.2
#: A wall so near is worth a word of its own.
NEAR_WEEKS: Final = 12.0
#: ... and callees' spans that were lost, beyond this one.
MISSING_PART: Final = 0.001
#: ... or what part of them has clocks that could not be reconciled.
SKEWED_PART: Final = 0.01
#: Units of work beyond this many times those of base are more load.
MORE_LOAD: Final = 1.1
#: A rise by this part of base's clock that could be chance must not pass as growth-stable.
UNCERTAIN_PART: Final = 0.1
#: A rise at one edge by this part of base's clock must have been able to show for a clean bill of health, and
#: of one entry's own clock by that one.
MATTERS_PART: Final = 0.25
ENTRY_MATTERS_PART: Final = 0.5
#: Fewer requests than this need not show once what befalls one in twenty.
FEWEST_FOR_A_VERDICT: Final = 60
#: What befalls so many of an entry's units in head that they take longer than those of base befalls most.
MOSTLY: Final = 0.75
#: ... and how often is told where no sketch says anything.
UNKNOWN_ORDER: Final = 0.5
#: Entries that are named as reasons.
MOST_ENTRIES: Final = 3


def data_notes(
    requests: Unit, base: PeriodRollups, head: PeriodRollups, matched: blocking.Matched
) -> list[str]:
    """What a reader should know of the data before trusting the result."""
    notes: list[str] = []
    for name, side in (("base", requests.base), ("head", requests.head)):
        units = side.entries["units"].sum()
        part = side.entries["incomplete"].sum() / units if units else 0.0
        if part > INCOMPLETE_PART:
            notes.append(
                f"{part:.0%} of {name}'s requests are incomplete: their traces name spans that are not here"
            )
        skewed = side.entries["skewed"].sum() / units if units else 0.0
        if skewed > SKEWED_PART:
            notes.append(
                f"clocks of {skewed:.0%} of {name}'s requests could not be reconciled: "
                "their calls contradict each other or prove no offset, and time between services may be off"
            )
    if requests.missing_callees_part > MISSING_PART:
        notes.append(
            f"up to {requests.missing_callees_part:.1%} of a call's spans lack their callee's; "
            "they count as the rest do"
        )
    polls = [_counted(period, "idle_poll") for period in (base, head)]
    if any(polls):
        notes.append(
            f"polls that brought no message are no units of work: {polls[0]} in base, {polls[1]} in head"
        )
    kinds = [set(period.tables["entry_hours"]["threshold"].unique().to_list()) for period in (base, head)]
    if kinds[0] != kinds[1]:
        notes.append("the sampling probability changed between the periods; counts are weighted by it")
    elif kinds[0] == {schema.NO_THRESHOLD}:
        notes.append("no sampling probability in the traces: volumes are of sampled traces")
    for name, slots in (("base", matched.base), ("head", matched.head)):
        if not slots.enough:
            fewest = blocking.FEWEST_DAYS if slots.daily else blocking.FEWEST_BLOCKS
            what = "days" if slots.daily else "blocks of time"
            notes.append(f"{name} has {slots.blocks} {what}; {fewest} are needed to tell change from chance")
        elif slots.daily and slots.blocks < blocking.FEWEST_BLOCKS:
            notes.append(
                f"{name} has {slots.blocks} days, too few to show how days differ by themselves: "
                f"{significance.DAYS_DIFFER:.0%} is assumed, and only large changes can be told from chance"
            )
    shortest = min(period.end_ns - period.start_ns for period in (base, head))
    if schema.DAY_NS <= shortest < blocking.DAYS_FROM * schema.DAY_NS:
        notes.append("periods under two days cannot show how days differ by themselves: take longer ones")
    return notes


def _counted(period: PeriodRollups, reason: str) -> int:
    """What was mended or set apart in a period, for one reason."""
    counters = period.tables.get("counters")
    return 0 if counters is None else int(counters.filter(pl.col("reason") == reason)["count"].sum())


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a verdict rests on.

    Attributes
    ----------
    edges, entries
        In the order of the report.
    matched
        Blocks that they were tested on.
    clocks_ms
        Base's mean clock of each kind of unit.
    alpha
        What a q-value must not exceed.
    failing
        Sentences on entries and edges whose failures grow: nothing that fails more often is growth-stable.
    findings
        Causes of growth, told from their victims.
    """

    edges: Sequence[Edge]
    matched: blocking.Matched
    clocks_ms: Mapping[str, float]
    entries: Sequence[Entry] = ()
    alpha: float = 0.05
    failing: Sequence[str] = ()
    findings: Sequence[Finding] = ()


def verdict(evidence: Evidence) -> tuple[State, tuple[str, ...]]:
    """State and reasons, from edges and entries that grow significantly and the wall of each.

    A rise that is large, and too uncertain to be told from chance, is no clean bill: a service that swings
    between 40 ms and 1.5 s in the minute that is looked at has a mean that nobody knows.  Nor is it one where
    a rise that matters would not have shown.
    """
    if not evidence.matched.enough:
        return State.INSUFFICIENT, ("too few blocks of time to tell change from chance",)
    waited = [edge for edge in evidence.edges if not _stays_open(edge)]
    worse = [edge for edge in waited if edge.significant and edge.credited_ms > 0]
    slower = [_grown(entry) for entry in evidence.entries if grows(entry, evidence.alpha)]
    if worse or slower or evidence.failing:
        state, reasons = state_of(worse, evidence.findings) if worse else (State.DRIFTING, ())
        return state, (*reasons, *(slower[:MOST_ENTRIES] if not worse else ()), *evidence.failing)
    uncertain = _uncertain(evidence, waited)
    return (State.INSUFFICIENT, (uncertain,)) if uncertain else (State.GROWTH_STABLE, (_earned(evidence),))


def _uncertain(evidence: Evidence, waited: Sequence[Edge]) -> str | None:
    """Why nothing that is significant is no clean bill of health; None where it is one."""
    large = [
        edge
        for edge in waited
        if edge.note is None and edge.credited_ms > UNCERTAIN_PART * _clock_around(edge, evidence.clocks_ms)
    ]
    if large:
        most = max(large, key=lambda edge: edge.credited_ms)
        low, high = most.credited_ms_ci or (-math.inf, math.inf)
        return (
            f"{most.name}: {most.credited_ms:+.3g} ms per {most.unit} is large, and could be chance "
            f"({low:+.3g} to {high:+.3g})"
        )
    days = [slots.blocks for slots in (evidence.matched.base, evidence.matched.head) if slots.daily]
    if days and min(days) < significance.KNOWN_FROM:
        return f"nothing changed by so much that {min(days)} days could tell it from chance"
    rare = [entry for entry in evidence.entries if _doubled(entry)]
    if rare:
        most = max(rare, key=lambda entry: (entry.ms_head or 0.0) / (entry.ms_base or 1.0))
        return f"{_moved(most)}: too rare to tell"
    moved = [entry for entry in evidence.entries if _heavy(entry, evidence.clocks_ms)]
    if moved:
        most = max(moved, key=lambda entry: (entry.rise_ms or 0.0) * entry.weight_head)
        low, high = most.rise_ms_ci or (-math.inf, math.inf)
        return f"{_moved(most)} is large, and hardly sure ({low:+.3g} to {high:+.3g} ms)"
    requests = [
        entry for entry in evidence.entries if entry.unit == "request" and entry.units_seen is not None
    ]
    seen = sum(entry.units_seen or 0.0 for entry in requests)
    if requests and seen < FEWEST_FOR_A_VERDICT:
        return (
            f"{seen:.0f} requests are too few to say that nothing changed; {FEWEST_FOR_A_VERDICT} are needed"
        )
    least = detectable_ms(evidence.edges)
    if least is not None and least > MATTERS_PART * evidence.clocks_ms.get("request", math.inf):
        return f"no change seen; one under {least:.3g} ms per request would not have shown"
    return None


def _earned(evidence: Evidence) -> str:
    """What a clean bill rests on."""
    least = detectable_ms(evidence.edges)
    shown = "" if least is None else f"; a rise of {least:.3g} ms per request would have shown"
    return f"no edge takes significantly more time than before{shown}"


def detectable_ms(edges: Sequence[Edge]) -> float | None:
    """The smallest rise at any edge of requests that four of five such periods would have shown.

    None where that is not known of any.
    """
    known = [edge.detectable_ms for edge in edges if edge.unit == "request" and edge.note is None]
    return max((reach for reach in known if reach is not None), default=None)


def grows(entry: Entry, alpha: float) -> bool:
    """Whether an entry's own clock grows significantly, whatever its part of all requests."""
    return not _is_long(entry) and entry.q_value is not None and entry.q_value <= alpha


def _is_long(entry: Entry) -> bool:
    """Whether an entry's clock is how long something stays open."""
    return entry.unit == schema.UNIT_NAMES[schema.UNIT_LONG]


def _heavy(entry: Entry, clocks_ms: Mapping[str, float]) -> bool:
    """Whether an entry's rise alone is a large, significant part of the clock over all entries."""
    part = (entry.weight_base + entry.weight_head) / 2
    least = UNCERTAIN_PART * clocks_ms.get(entry.unit, math.inf)
    likely = entry.rise_ms_ci is not None and entry.rise_ms_ci[0] > 0
    return likely and not _is_long(entry) and (entry.rise_ms or 0.0) * part > least


def _doubled(entry: Entry) -> bool:
    """Whether an entry takes twice as long as it did, and most of its units do."""
    if entry.ms_base is None or entry.ms_head is None or _is_long(entry):
        return False
    mostly = entry.slower is None or entry.slower == UNKNOWN_ORDER or entry.slower >= MOSTLY
    return (entry.rise_ms or 0.0) >= entry.ms_base and mostly


def _moved(entry: Entry) -> str:
    """An entry's change in words."""
    return (
        f"{entry.service} {entry.operation}: {entry.ms_base:.3g} to {entry.ms_head:.3g} ms in "
        f"{entry.units_seen or 0:.0f} {entry.unit}s"
    )


def _grown(entry: Entry) -> str:
    if entry.slower is not None and entry.slower >= MOSTLY:
        return f"{_moved(entry)}, and {entry.slower:.0%} take longer than one of base"
    return _moved(entry)


def _stays_open(edge: Edge) -> bool:
    """Whether an edge's time is how long something stays open or runs, which nobody waits for."""
    return edge.unit == schema.UNIT_NAMES[schema.UNIT_LONG] and edge.kind == "self"


def _clock_around(edge: Edge, clocks_ms: Mapping[str, float]) -> float:
    """Base's clock of the entries that an edge stands in, and of quicker ones: slower ones hide nothing."""
    return edge.around_ms if edge.around_ms else clocks_ms.get(edge.unit, math.inf)


def state_of(worse: Sequence[Edge], findings: Sequence[Finding] = ()) -> tuple[State, tuple[str, ...]]:
    """State and reasons from edges that grow significantly, worst first.

    Where findings tell causes from victims, these are the reasons.
    """
    if not worse:
        return State.GROWTH_STABLE, ("no edge takes significantly more time than before",)
    reasons = tuple(f"{edge.name}: {edge.credited_ms:+.3g} ms per {edge.unit}" for edge in worse[:3])
    if findings:
        reasons = tuple(one.sentence for one in findings[:3])
    left = {edge.key: edge.weeks_to_clock_wall for edge in worse if edge.weeks_to_clock_wall is not None}
    full = [edge for edge in worse if left.get(edge.key) == 0]
    if full:
        return State.AT_THE_WALL, (f"{full[0].name} has no headroom left at peak load", *reasons)
    near = [edge for edge in worse if edge.key in left and left[edge.key] <= NEAR_WEEKS]
    if near:
        soonest = min(near, key=lambda edge: left[edge.key])
        return State.APPROACHING, (
            f"{soonest.name} takes the clock to its wall in {left[soonest.key]:.1f} weeks",
            *reasons,
        )
    return State.DRIFTING, reasons


def failing(
    state: State, reasons: tuple[str, ...], failures: Failures, findings: Sequence[Finding] = ()
) -> tuple[State, tuple[str, ...]]:
    """State and reasons with what fails more often: that is never growth-stable, however quick it is.

    Reasons stand in the order of the findings: where failures lead these, they lead what is drifting, too.
    """
    if not failures.grown:
        return state, reasons
    told = tuple(
        f"{one.service} {one.operation}: {100 * one.rate.head:.3g} % of its {one.unit}s fail "
        f"({100 * one.rate.base:.3g} % before)"
        for one in failures.grown[:3]
    )
    if state in (State.GROWTH_STABLE, State.INSUFFICIENT):
        return State.DRIFTING, told
    if state == State.DRIFTING and findings and findings[0].mechanism is Mechanism.ERRORS:
        return state, (*told, *reasons)
    return state, (*reasons, *told)


def tailing(state: State, reasons: tuple[str, ...], tails: Sequence[Tail]) -> tuple[State, tuple[str, ...]]:
    """State and reasons with entries of which more are slow: no clean bill, though no mean tells.

    Where the mean is flat nothing else tells it; where it moved, but by no more than chance may, it is told
    as long as nothing else grows.  Where more came than before, load may have made them slow: then it is a
    reason, and no state.
    """
    grown = [tail for tail in tails if tail.grew and (tail.flat or state == State.GROWTH_STABLE)]
    told = tuple(
        f"{tail.service} {tail.operation}: {tail.name} {tail.ms_base:.3g} to {tail.ms_head:.3g} ms, "
        + (
            "though the mean is flat"
            if tail.flat
            else f"the mean {tail.mean_base:.3g} to {tail.mean_head:.3g} ms"
        )
        for tail in grown[:2]
    )
    alone = any(tail.beyond.of_head <= MORE_LOAD * tail.beyond.of_base for tail in grown)
    if state == State.GROWTH_STABLE and alone:
        return State.DRIFTING, told
    return state, (*reasons, *told)


def failing_entries(entries: Sequence[Entry], failures: Failures) -> list[Entry]:
    """Entries with what fails in each, and no clean bill for those that fail more often."""
    found = {(one.unit, one.service, one.operation): one for one in failures.entries}
    out: list[Entry] = []
    for entry in entries:
        one = found.get((entry.unit, entry.service, entry.operation))
        if one is None:
            out.append(entry)
            continue
        worse = one.rate.grew and entry.state == State.GROWTH_STABLE
        out.append(replace(entry, failures=one, state=State.DRIFTING if worse else entry.state))
    return out


def entry_states(entries: Sequence[Entry], edges: Sequence[Edge], alpha: float = 0.05) -> list[Entry]:
    """Entries with the state that the edges give them that rise in them, or their own clocks.

    Too little data stays so, and where a rise that matters would not have shown nothing is stable.
    """
    worse = [edge for edge in edges if edge.significant and edge.credited_ms > 0]
    out: list[Entry] = []
    for entry in entries:
        name = entry.service, entry.operation
        own = [edge for edge in worse if edge.unit == entry.unit and name in (edge.rises_in or ())]
        state = entry.state
        if state != State.INSUFFICIENT:
            state = state_of(own)[0]
            if not own:
                state = State.DRIFTING if grows(entry, alpha) else _quiet(entry)
        out.append(replace(entry, state=state))
    return out


def _quiet(entry: Entry) -> State:
    """The state of an entry in which nothing grows: stable where a rise that matters would have shown."""
    if entry.units_seen is None:
        return State.GROWTH_STABLE
    seen = entry.detectable_ms is not None and entry.ms_base is not None
    shown = seen and entry.detectable_ms <= ENTRY_MATTERS_PART * entry.ms_base  # type: ignore[operator]
    enough = entry.units_seen >= FEWEST_FOR_A_VERDICT and shown and not _doubled(entry)
    return State.GROWTH_STABLE if enough else State.INSUFFICIENT
