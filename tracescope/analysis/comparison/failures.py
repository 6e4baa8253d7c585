"""Errors as a change: how often entries and edges fail, where that begins, and what it makes look faster.

    gateway POST /orders   fails 0.1 % ─► 16 %       an entry's rate, with its interval
      orders POST /orders
        inventory          fails 0.0 % ─► 17 %  ◄── the deepest edge that the failures are followed to
        payment            not reached              faster by no merit of its own

Milliseconds never tell this: a request that fails early is a quick one.  So rates stand beside latency,
tested like it, in one family of hypotheses with it.

Source: design, section 6.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tracescope import schema
from tracescope.analysis.comparison.effects import Split
from tracescope.analysis.comparison.matched import Side, Unit
from tracescope.analysis.report import (
    Edge,
    EdgeFailures,
    EdgeKey,
    EntryFailures,
    Failures,
    MissingWorkKind,
    Origin,
    Rate,
)
from tracescope.analysis.rollups.period import MS, PeriodRollups
from tracescope.analysis.statistics import blocks as blocking
from tracescope.analysis.statistics.rates import LEAST_CHANGE, Compared, Counts, compare_rates
from tracescope.analysis.statistics.significance import benjamini_hochberg

Floats = NDArray[np.float64]

#: Changes that matter of the rate of calls made again, and of units that call nothing.
LEAST_OTHER: Final = (0.2, 0.01)
#: What a fall that is no improvement is called.
NOT_REACHED: Final = "not reached: requests fail before it"
FAILS_SOONER: Final = "fails more often, and sooner than it succeeds"
#: Failures are followed down to a call that shows so much of those above it.
FOLLOWED: Final = 0.5


@dataclass(frozen=True, slots=True)
class Asked:
    """What a comparison of failures rests on: one kind of unit of work, its edges, and the blocks."""

    unit: Unit
    split: Split
    matched: blocking.Matched
    hours: tuple[float, float]

    @property
    def name(self) -> str:
        """The unit's name."""
        return schema.UNIT_NAMES[self.unit.kind]

    @property
    def sides(self) -> tuple[Side, Side]:
        """Base and head."""
        return self.unit.base, self.unit.head

    def key(self, edge: int) -> EdgeKey:
        """The name of an edge of the split."""
        row = self.split.edges.row(edge, named=True)
        return EdgeKey(
            self.name, schema.EDGE_KINDS[row["kind"]], row["caller"], row["callee"], row["operation"]
        )

    def of_entries(self, events: str, least: tuple[float, float]) -> Compared:
        """How often units of each entry are such."""
        counts = [Counts(side.entries[events], side.entries["units"], side.seen) for side in self.sides]
        return compare_rates(counts[0], counts[1], self.matched, least)

    def of_edges(self, events: str, least: tuple[float, float]) -> Compared:
        """How often calls of each edge are such."""
        of = self.split.by_edge
        counts = [
            Counts(of(side.paths[events]), of(side.paths["calls"]), of(side.events)) for side in self.sides
        ]
        return compare_rates(counts[0], counts[1], self.matched, least)


def compare_failures(
    asked: list[Asked], periods: tuple[PeriodRollups, PeriodRollups], alpha: float, beside: Floats
) -> Failures:
    """Failures of all kinds of units of work.

    Parameters
    ----------
    asked
        Each kind.
    periods
        Base and head.
    alpha, beside
        False discoveries allowed, among all that is tested: these and the p-values `beside` of latency.
    """
    measured = all(period.failures_measured for period in periods)
    tested = [
        _Tested(
            one,
            one.of_entries("errors", LEAST_CHANGE),
            one.of_edges("errors", LEAST_CHANGE),
            one.of_edges("retries", LEAST_OTHER),
            one.of_entries("leafless", LEAST_OTHER),
        )
        for one in asked
    ]
    judged = _Judged(tested, alpha, beside)
    entries: list[EntryFailures] = []
    edges: list[EdgeFailures] = []
    origins: list[Origin] = []
    for one in tested:
        entries += _entries(one, judged, measured)
        edges += _edges(one, judged, measured)
        origins += _origins(one, judged)
    entries.sort(key=lambda e: (not e.rate.grew, -e.rate.change * e.rate.of_head, e.service, e.operation))
    edges.sort(key=lambda e: (not e.rate.grew, -e.rate.change * e.rate.of_head, e.key[1:]))
    return Failures(measured, tuple(entries), tuple(edges), tuple(_merged(origins)))


@dataclass(frozen=True, slots=True)
class _Tested:
    """Rates of one kind of unit: failed units and calls, calls made again, units that call nothing."""

    asked: Asked
    entries: Compared
    edges: Compared
    retries: Compared
    leafless: Compared

    def families(self) -> list[tuple[Compared, NDArray[np.int64]]]:
        """Rates with their rows that are hypotheses: where it ever happened, and an edge is a call."""
        of_call = (self.asked.split.edges["kind"] != schema.EDGE_SELF).to_numpy()
        out = [(self.entries, _happened(self.entries)), (self.leafless, _happened(self.leafless))]
        out += [(one, _happened(one)[of_call[_happened(one)]]) for one in (self.edges, self.retries)]
        return out


def _happened(rates: Compared) -> NDArray[np.int64]:
    return np.flatnonzero((rates.base > 0) | (rates.head > 0))


class _Judged:
    """Rates with the q-values that they have among all hypotheses."""

    def __init__(self, tested: list[_Tested], alpha: float, beside: Floats) -> None:
        self._alpha = alpha
        families = [family for one in tested for family in one.families()]
        values = [rates.p_value[rows] for rates, rows in families]
        q = benjamini_hochberg(np.concatenate([*values, beside, np.empty(0)]))
        self._q: dict[tuple[int, int], float] = {}
        at = 0
        for rates, rows in families:
            for row in rows.tolist():
                self._q[id(rates), row] = float(q[at])
                at += 1

    def rate(self, rates: Compared, row: int, of: tuple[float, float]) -> Rate:
        """One rate, and whether it changed; `of` is of how many it is."""
        q = self._q.get((id(rates), row), 1.0)
        return Rate(
            float(rates.base[row]), float(rates.head[row]), *of, rates.change_ci(row), q,
            rates.enough and q <= self._alpha,
        )  # fmt: skip


def _entries(one: _Tested, judged: _Judged, measured: bool) -> list[EntryFailures]:
    asked = one.asked
    sums = [{name: values.sum(axis=0) for name, values in side.entries.items()} for side in asked.sides]
    out: list[EntryFailures] = []
    rows = sorted({*_happened(one.entries).tolist(), *_happened(one.leafless).tolist()})
    for row in rows:
        units = tuple(float(side["units"][row]) for side in sums)
        failed = [float(side["errors"][row]) for side in sums]
        rate = judged.rate(one.entries, row, (units[0], units[1]))
        leafless = judged.rate(one.leafless, row, (units[0], units[1])) if measured else None
        if not any(failed) and (leafless is None or not leafless.significant):
            continue
        means: list[float | None] = []
        for side in sums:
            ok, lost = side["units"][row] - side["errors"][row], side["errors"][row]
            spent = side["failed_ns"][row]
            means.append(float((side["clock_ns"][row] - spent) / ok / MS) if measured and ok > 0 else None)
            means.append(float(spent / lost / MS) if measured and lost > 0 else None)
        names = asked.unit.entries.row(row, named=True)
        per_hour = [value / hours for value, hours in zip(units, asked.hours, strict=True)]
        done = [(all_ - bad) / hours for all_, bad, hours in zip(units, failed, asked.hours, strict=True)]
        out.append(
            EntryFailures(
                asked.name,
                names["service"],
                names["operation"],
                rate,
                leafless,
                means[0],
                means[2],
                means[1],
                means[3],
                *per_hour,
                *done,
            )
        )
    return out


def _edges(one: _Tested, judged: _Judged, measured: bool) -> list[EdgeFailures]:
    asked = one.asked
    kinds = asked.split.edges["kind"].to_numpy()
    names = ("calls", "errors", "busy_ns", "failed_ns")
    sums = [
        {name: asked.split.by_edge(side.paths[name].sum(axis=0)) for name in names} for side in asked.sides
    ]
    out: list[EdgeFailures] = []
    for row in _happened(one.edges).tolist():
        if kinds[row] == schema.EDGE_SELF:
            continue
        calls = float(sums[0]["calls"][row]), float(sums[1]["calls"][row])
        ok_ms: list[float | None] = []
        for side in sums:
            fine = side["calls"][row] - side["errors"][row]
            spent = side["busy_ns"][row] - side["failed_ns"][row]
            ok_ms.append(float(spent / fine / MS) if measured and fine > 0 else None)
        retries = judged.rate(one.retries, row, calls) if measured else None
        out.append(
            EdgeFailures(asked.key(row), judged.rate(one.edges, row, calls), retries, ok_ms[0], ok_ms[1])
        )
    return out


def _origins(one: _Tested, judged: _Judged) -> list[Origin]:
    """Where failures of entries that fail more often begin."""
    asked = one.asked
    tree, kinds = asked.unit.tree, asked.unit.paths["kind"].to_numpy()
    units = [np.maximum(side.entries["units"].sum(axis=0), 1e-300)[tree.entry] for side in asked.sides]
    errors = [side.paths["errors"].sum(axis=0) for side in asked.sides]
    added = errors[1] / units[1] - errors[0] / units[0]  # failed calls more, for each unit of its entry
    below: dict[tuple[int, int], list[int]] = {}
    for path, (parent, entry) in enumerate(zip(tree.parent.tolist(), tree.entry.tolist(), strict=True)):
        below.setdefault((entry, parent), []).append(path)
    out: list[Origin] = []
    for entry in _happened(one.entries).tolist():
        of = tuple(float(side.entries["units"].sum(axis=0)[entry]) for side in asked.sides)
        rate = judged.rate(one.entries, entry, (of[0], of[1]))
        if not rate.grew:
            continue
        at, here = -1, rate.change
        while True:
            calls = [path for path in below.get((entry, at), ()) if kinds[path] != schema.EDGE_SELF]
            most = max(calls, key=lambda path: (added[path], -path), default=None)
            if most is None or added[most] < FOLLOWED * here:
                break
            at, here = most, float(added[most])
        own = [path for path in below.get((entry, at), ()) if kinds[path] == schema.EDGE_SELF]
        served = max(own, key=lambda path: (added[path], -path), default=None)
        if served is not None and (at < 0 or added[served] >= FOLLOWED * here):
            at = served
        if at < 0:
            continue
        edge = int(asked.split.edge[at])
        calls_of = [asked.split.by_edge(side.paths["calls"].sum(axis=0))[edge] for side in asked.sides]
        names = asked.unit.entries.row(entry, named=True)
        within = np.unique(asked.split.edge[at_and_below(at, tree.parent)]).tolist()
        own_rate = judged.rate(one.edges, edge, (float(calls_of[0]), float(calls_of[1])))
        out.append(
            Origin(
                asked.key(edge),
                own_rate,
                ((names["service"], names["operation"]),),
                rate.change * of[1],
                tuple(asked.key(one) for one in within),
            )
        )
    return out


def _merged(origins: list[Origin]) -> list[Origin]:
    """One origin for each edge, most failed units first."""
    by_edge: dict[EdgeKey, list[Origin]] = {}
    for origin in origins:
        by_edge.setdefault(origin.key, []).append(origin)
    merged = [
        Origin(
            key,
            some[0].rate,
            tuple(entry for one in some for entry in one.entries),
            sum(one.added for one in some),
            tuple(dict.fromkeys(key for one in some for key in one.within)),
        )
        for key, some in by_edge.items()
    ]
    return sorted(merged, key=lambda one: (-one.added, one.key.caller, one.key.callee or ""))


def at_and_below(path: int, parent: NDArray[np.int64]) -> NDArray[np.int64]:
    """A call path and those below it; parents come before children."""
    inside = np.zeros(len(parent), np.bool_)
    inside[path] = True
    for at in range(path + 1, len(parent)):
        inside[at] = parent[at] >= 0 and inside[parent[at]]
    return np.flatnonzero(inside)


def on_edges(edges: Sequence[Edge], failures: Failures) -> list[Edge]:
    """Edges with how often their calls fail; those that are not reached because of failures say so."""
    rates = {one.key: one for one in failures.edges}
    unreached = {
        one.edge: one.sentence for one in failures.missing_work if one.kind is MissingWorkKind.NOT_REACHED
    }
    begins = {one.key for one in failures.origins} | {one.key for one in failures.edges if one.rate.grew}
    out: list[Edge] = []
    for edge in edges:
        missing = ""
        if edge.credited_ms < 0:
            missing = NOT_REACHED if edge.key in unreached else FAILS_SOONER if edge.key in begins else ""
        evidence = (*edge.evidence, *([unreached[edge.key]] if edge.key in unreached else []))
        out.append(replace(edge, failures=rates.get(edge.key), evidence=evidence, missing_work=missing))
    return out
