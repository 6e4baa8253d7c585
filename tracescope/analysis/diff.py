"""`diff`: which edges take more of the latency in HEAD than in BASE, why, and with which uncertainty.

    rollups of two periods ─► matched slots, blocks ─► sums per (replicate, path)      blocks, alike, matched
        ─► mix + effects per path (exact) ─► effects per edge                          decompose, effects
        ─► intervals, false discovery rate ─► findings, verdict ─► Report              edges, attribution

Pure: frames in, `Report` out.  Effects over all edges and mix add up to the change of the mean
clock to within 1e-9 of it.

Source: design, section 6.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tracescope import schema
from tracescope.analysis.attribution.failures import with_failures
from tracescope.analysis.attribution.findings import attribute
from tracescope.analysis.capacity.arrivals import near
from tracescope.analysis.capacity.early_warning import early_signs, signs_between, stage_of
from tracescope.analysis.capacity.edge_walls import Past, with_walls
from tracescope.analysis.capacity.split import edge_key, needs_load_model, split_latency
from tracescope.analysis.comparison import effects as causes
from tracescope.analysis.comparison.aggregate import condensed
from tracescope.analysis.comparison.edges import MIN_EFFECT_PART, adjusted, edge_rows
from tracescope.analysis.comparison.entries import FEWEST_UNITS, entry_rows
from tracescope.analysis.comparison.entries import adjusted as adjusted_entries
from tracescope.analysis.comparison.entry_tests import entry_tests
from tracescope.analysis.comparison.failures import Asked, compare_failures, on_edges
from tracescope.analysis.comparison.matched import Side, Unit, clock_of, gather, slots_of, units_seen
from tracescope.analysis.comparison.missing_work import find_missing_work
from tracescope.analysis.comparison.overlap import check_overlap
from tracescope.analysis.comparison.renamed import align_renamed
from tracescope.analysis.comparison.standing import with_standing
from tracescope.analysis.comparison.tail import compare_tails
from tracescope.analysis.evidence import change_points as changes
from tracescope.analysis.evidence import patterns
from tracescope.analysis.report import EFFECTS, Edge, Entry, Extent, Failures, Report, State, Tail
from tracescope.analysis.rollups.period import PeriodRollups, hours_of
from tracescope.analysis.statistics import blocks as blocking
from tracescope.analysis.verdict import (
    Evidence,
    data_notes,
    detectable_ms,
    entry_states,
    failing,
    failing_entries,
    grows,
    tailing,
    verdict,
)
from tracescope.errors import InsufficientDataError

Floats = NDArray[np.float64]

#: Decimals of a millisecond that edges are ranked by; beyond them sums differ from run to run.
RANKED_DIGITS: Final = 9


@dataclass(frozen=True, slots=True)
class Options:
    """How to compare.

    ``min_effect_ms`` is of a request and of a message alike; None is `MIN_EFFECT_PART` of base's clock of
    the entries that an edge stands in.  ``keep_entry`` narrows what is compared.  ``by`` is a level of
    `tracescope.analysis.comparison.effects.LEVELS`.
    """

    alpha: float = 0.05
    min_effect_ms: float | None = None
    zone: str = "UTC"
    keep_entry: Callable[[str, str], bool] | None = None
    by: str = "operation"


def _check_enough(base: PeriodRollups, head: PeriodRollups) -> None:
    for name, period in (("BASE", base), ("HEAD", head)):
        hours = period.tables["entry_hours"]
        units = int(hours.filter(pl.col("unit") == schema.UNIT_REQUEST)["units"].sum())
        if units == 0:
            units = int(hours["units"].sum())
        if units < FEWEST_UNITS:
            raise InsufficientDataError(
                f"insufficient data: {name} has {units} units of work; at least {FEWEST_UNITS} are needed",
                "`tracescope status` shows what the store holds; choose a longer period",
            )


def diff(
    base: PeriodRollups, head: PeriodRollups, options: Options = Options(), past: Past | None = None
) -> Report:
    """Compare two periods.

    Parameters
    ----------
    base, head
        Their rollups.
    options
        See `Options`.
    past
        Where headroom, drift and weeks to the wall come from; None for what the two periods hold.

    Raises
    ------
    InsufficientDataError
        A period holds fewer than `FEWEST_UNITS` units of work.
    IncomparableError
        They hardly have entries or services in common.
    """
    _check_enough(base, head)
    compared = _compared(base, head, options)
    base, head, matched = compared.base, compared.head, compared.matched
    clock, clocks_ms = compared.clocks["request"], {n: each["base_ms"] for n, each in compared.clocks.items()}
    minimum = options.min_effect_ms
    if minimum is None:
        minimum = MIN_EFFECT_PART * clock["base_ms"]
    edges, failures, tails = _tested_edges(compared, options)
    looked_at = near(map(edge_key, (edge for edge in edges if needs_load_model(edge, minimum))), base, head)
    hours = hours_of(looked_at, base, head)
    edges = split_latency(with_walls(edges, minimum, hours, past), *hours, minimum)
    entries = _entries(compared)
    per_request = _units_per_request(compared.units)
    thin = {(e.unit, e.service, e.operation) for e in entries if e.state == State.INSUFFICIENT}
    ranked = changes.find(sorted(edges, key=lambda e: _rank(e, per_request, thin)), *hours)
    moved = [pattern for split in compared.splits.values() for pattern in split.patterns]
    ranked, seen = patterns.attach(ranked, *hours, compared.sums, moved)
    ranked = with_standing(ranked, options.alpha)
    growing = {(e.unit, e.service, e.operation) for e in entries if grows(e, options.alpha)}
    findings = attribute(ranked, growing, hours, per_request) if matched.enough else ()
    state, reasons = verdict(Evidence(ranked, matched, clocks_ms, entries, options.alpha, findings=findings))
    told = with_failures(() if state == State.INSUFFICIENT else findings, failures, ranked)
    state, reasons = tailing(*failing(state, reasons, failures, told), tails)
    if state != State.INSUFFICIENT:
        entries = failing_entries(entry_states(entries, ranked, options.alpha), failures)
    signs = (
        signs_between(*compared.sums)
        if past is None
        else early_signs(past([]).of_entries(options.keep_entry))
    )
    requests = compared.requests
    return Report(
        environment=head.environment or base.environment,
        notes=(*compared.notes, *data_notes(requests, base, head, matched)),
        base=_extent(base, requests, requests.base, matched.base),
        head=_extent(head, requests, requests.head, matched.head),
        clock=clock,
        other_clocks={name: each for name, each in compared.clocks.items() if name != "request"},
        state=state,
        stage=stage_of(signs),
        signs=signs,
        reasons=reasons,
        edges=tuple(ranked),
        entries=tuple(entries),
        effects_total=_effects_total(edges, compared),
        min_effect_ms=minimum,
        alpha=options.alpha,
        edges_in_all=len(ranked),
        patterns=seen,
        detectable_ms=detectable_ms(ranked),
        findings=() if state == State.INSUFFICIENT else told,
        failures=failures,
        tails=tails,
    )


@dataclass(frozen=True, slots=True)
class _Compared:
    """Two periods whose names are aligned, matched by blocks, added up and decomposed.

    ``base`` and ``head`` are by the hour, ``sums`` as `condensed` adds them up; ``units`` and ``splits`` are
    by kind of unit, ``clocks`` by its name.
    """

    base: PeriodRollups
    head: PeriodRollups
    matched: blocking.Matched
    sums: tuple[PeriodRollups, PeriodRollups]
    units: Mapping[int, Unit]
    splits: Mapping[int, causes.Split]
    clocks: Mapping[str, dict[str, float]]
    notes: Sequence[str]

    @property
    def requests(self) -> Unit:
        """Requests, which are always there."""
        return self.units[schema.UNIT_REQUEST]


def _compared(base: PeriodRollups, head: PeriodRollups, options: Options) -> _Compared:
    """What all tests rest on."""
    renamed = check_overlap(base, head)
    base, head, aligned = align_renamed(base, head)
    matched = blocking.match(slots_of(base), slots_of(head), options.zone)
    sums = condensed(base, head, matched)
    gathered = {
        kind: gather(kind, *sums, matched, options.keep_entry) for kind in range(len(schema.UNIT_NAMES))
    }
    units = {kind: unit for kind, unit in gathered.items() if unit is not None}
    if schema.UNIT_REQUEST not in units:
        raise InsufficientDataError(
            "insufficient data: no requests in either period",
            "only messages, detached and long-lived work were seen",
        )
    splits = {kind: causes.split(unit, matched, options.by) for kind, unit in units.items()}
    clocks = {schema.UNIT_NAMES[kind]: clock_of(unit, base, head) for kind, unit in units.items()}
    clock = clocks["request"]
    clock["delta_mix_adjusted_ms"] = clock["delta_ms"] - float(splits[schema.UNIT_REQUEST].mix.sum())
    notes = [*dict.fromkeys((*base.notes, *head.notes)), *matched.notes, *renamed, *aligned]
    return _Compared(base, head, matched, sums, units, splits, clocks, notes)


def _tested_edges(compared: _Compared, options: Options) -> tuple[list[Edge], Failures, tuple[Tail, ...]]:
    """Edges with intervals and q-values, and what failed or got slow beside their means."""
    both, matched, splits = (compared.base, compared.head), compared.matched, compared.splits
    edges: list[Edge] = []
    for kind, unit in compared.units.items():
        edges += edge_rows(unit, splits[kind], both, compared.sums, matched, options.min_effect_ms)
    hours = _hours(matched, *(period.slot_ns for period in both))
    asked = [Asked(unit, splits[kind], matched, hours) for kind, unit in compared.units.items()]
    tested = np.array([edge.q_value for edge in edges if edge.q_value is not None], np.float64)
    failures = compare_failures(asked, both, options.alpha, tested)
    failures = replace(failures, missing_work=find_missing_work(asked, failures, options.alpha))
    tails = compare_tails(compared.units, both, matched, options.alpha, tested)
    return on_edges(adjusted(edges, options.alpha), failures), failures, tails


def _entries(compared: _Compared) -> list[Entry]:
    """Entries of every kind of unit; their q-values count all of them."""
    base, head = compared.base, compared.head
    rows: list[Entry] = []
    for kind, unit in compared.units.items():
        split = compared.splits[kind]
        tests = entry_tests(unit, split, compared.matched, base, head)
        rows += entry_rows(unit, split, tests, base, head)
    return adjusted_entries(rows)


def _effects_total(edges: Sequence[Edge], compared: _Compared) -> dict[str, float]:
    """Effects on a request, ms, over all edges, and the mix of entries."""
    total: dict[str, float] = {
        name: sum(e.effects.get(name, 0.0) for e in edges if e.unit == "request") for name in EFFECTS
    }
    total["mix"] = float(compared.splits[schema.UNIT_REQUEST].mix.sum())
    return total


def _hours(matched: blocking.Matched, *slot_ns: int) -> tuple[float, float]:
    """Hours that count, of base and of head."""
    base, head = (
        float(slots.frame["weight"].sum()) * length / schema.HOUR_NS
        for slots, length in zip((matched.base, matched.head), slot_ns, strict=True)
    )
    return base, head


def _units_per_request(units: Mapping[int, Unit]) -> dict[str, float]:
    """Units of each kind for one request in head, so that their milliseconds can be ranked together."""
    counts = {
        schema.UNIT_NAMES[kind]: float(unit.head.entries["units"].sum() + unit.base.entries["units"].sum())
        for kind, unit in units.items()
    }
    requests = max(counts.get("request", 1.0), 1e-300)
    return {name: count / requests for name, count in counts.items()}


def _rank(edge: Edge, per_request: Mapping[str, float], thin: Set[tuple[str, str, str]]) -> tuple[Any, ...]:
    """Significant rises by their size; then the rest by what noise leaves of them; what is alike by name.

    What nobody waits for stands behind what somebody does, and so does a message's edge that rises only in
    entries of which there is too little, `thin` by unit and name.
    """
    worse = edge.significant and edge.credited_ms > 0
    size = edge.credited_ms if edge.significant else edge.shrunk_ms
    names = edge.caller, edge.callee or "", edge.operation or "", edge.kind, edge.unit
    # a hundred messages of a request pass at once, and nobody waits for their sum
    each = min(per_request[edge.unit], 1.0)
    sizes = (round(-value, RANKED_DIGITS) for value in (size * each, edge.credited_ms))
    long = edge.unit == schema.UNIT_NAMES[schema.UNIT_LONG]
    rises = [(edge.unit, *name) for name in edge.rises_in or ()]
    few = edge.unit != "request" and bool(rises) and all(one in thin for one in rises)
    return not worse, long or few, *sizes, *names


def _extent(period: PeriodRollups, unit: Unit, side: Side, slots: blocking.Slots) -> Extent:
    return Extent(
        period.start_ns,
        period.end_ns,
        float(side.entries["units"].sum()),
        len(slots.frame) * period.slot_ns / schema.HOUR_NS,
        slots.blocks,
        units_seen(unit, period, slots),
    )
