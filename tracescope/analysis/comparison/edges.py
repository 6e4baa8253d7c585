"""Edges of a report: their time, the change credited to them, and its interval.

Source: design, section 6.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tracescope import schema
from tracescope.analysis.comparison import effects as causes
from tracescope.analysis.comparison.beside_means import Beside, tests_beside
from tracescope.analysis.comparison.effects import Cells, Split
from tracescope.analysis.comparison.entry_groups import add_up
from tracescope.analysis.comparison.events import events_of
from tracescope.analysis.comparison.matched import PATH_SUMS, Unit
from tracescope.analysis.report import DecidedBy, Edge, Effect
from tracescope.analysis.rollups.period import MS, PeriodRollups
from tracescope.analysis.statistics import blocks as blocking
from tracescope.analysis.statistics.distributions import student_cdf, student_quantile
from tracescope.analysis.statistics.significance import (
    Spread,
    benjamini_hochberg,
    combine,
    interval,
    jackknife,
    of_few_days,
    shrink,
)

Floats = NDArray[np.float64]

#: A change under this part of base's clock of the entries that an edge stands in is not worth an alarm.
MIN_EFFECT_PART: Final = 0.005
#: A change of the detached part beyond this says the blocking rule changed, not the work.
DETACHED_CHANGE: Final = 0.05
#: A change of the part of waits that are below zero beyond this says that clocks moved, not the queue.
NEGATIVE_CHANGE: Final = 0.02
#: So does a change of the part of spans that had to be moved between hosts' clocks.
MENDED_CHANGE: Final = 0.3
#: What would have shown is what is found in so many of such periods, and of so few events or days that the
#: error itself is hardly known, as if it were known a little.
POWER: Final = 0.8
MIN_DOF: Final = 4.0
#: Tests stand beside that of means where so much of an edge's change is left among all of its caller's.
REMAINS_PART: Final = 0.5
#: Of the chance that a test is wrong, the part that the test of means has where others stand beside it.
WEIGHT_OF_MEANS: Final = 0.5
#: Moments at which something may have begun are tested on the same days: each more counts for so much of one
#: test.  Of normal days the least p-value of 3, 5 and 6 moments stands for 2.6, 3.7 and 4.5 tests at 0.002.
NEXT_MOMENT: Final = 0.8
#: A test beside that of means must be so sure to decide.
BESIDE_ALPHA: Final = 0.05
#: What the decomposition gives, and what it is called until a load model splits latency.
_PARTS: Final = {
    "calls": Effect.CALLS, "latency": Effect.UNSPLIT, "criticality": Effect.CRITICALITY, "new": Effect.NEW,
    "gone": Effect.GONE,
}  # fmt: skip
#: What an exemplar is the best by, and the two halves of its trace's id.
_EXEMPLARS: Final = (("slow_ns", "slow_hi", "slow_lo"), ("typical_hash", "typical_hi", "typical_lo"))


@dataclass(frozen=True, slots=True)
class _Side:
    """One period's sums per edge ``(k,)``, and its totals."""

    sums: dict[str, Floats]
    units: float
    clock_ns: float

    def of(self, k: int) -> dict[str, float]:
        """What edge `k` took, per unit of work."""
        own, inclusive, calls = (self.sums[name][k] for name in ("own_ns", "inclusive_ns", "calls"))
        return {
            "share": float(own / self.clock_ns),
            "own_ms": float(own / self.units / MS),
            "inclusive_ms": float(inclusive / self.units / MS),
            "calls_per_unit": float(calls / self.units),
        }

    def detached(self, k: int) -> float:
        """Part of the calls of edge `k` that nobody waited for."""
        calls = self.sums["calls"][k]
        return float(self.sums["detached_calls"][k] / calls) if calls else 0.0


@dataclass(frozen=True, slots=True)
class _Tested:
    """Some statistics of every edge ``(k,)``, and their 95 % intervals where there is enough data."""

    value: Floats
    spread: Spread
    enough: bool

    def intervals(self) -> list[tuple[float, float] | None]:
        """Of every edge."""
        if not self.enough:
            return [None] * len(self.value)
        quantiles = student_quantile(self.spread.dof, 0.975)
        known = zip(self.value.tolist(), self.spread.error.tolist(), quantiles.tolist(), strict=True)
        return [interval(*one) for one in known]

    def detectable(self, minimum: Floats, beside: Sequence[Beside]) -> list[float | None]:
        """The smallest rise of every edge that any test would have shown in `POWER` of such periods."""
        if not self.enough:
            return [None] * len(self.value)

        def quantile(spread: Spread) -> Floats:
            dof = np.maximum(spread.dof, MIN_DOF)
            return student_quantile(dof, 0.975) + student_quantile(dof, POWER)

        reach = minimum + quantile(self.spread) * self.spread.error
        for each in beside:
            reach = np.minimum(reach, each.detectable(quantile(each.spread)))
        return [one if math.isfinite(one) else None for one in reach.tolist()]

    def p_value(self, minimum: Floats) -> Floats:
        """Of the hypothesis that the truth is no further from zero than `minimum` ``(k,)``."""
        error, size = self.spread.error, np.abs(self.value)
        if not self.enough:
            return np.ones(len(size))
        clear = np.where(size > minimum, np.inf, -np.inf)
        t = np.divide(size - minimum, error, out=clear, where=error > 0)
        return np.where(np.isfinite(error), student_cdf(self.spread.dof, -t), 1.0)


def edge_rows(
    unit: Unit,
    split: Split,
    periods: tuple[PeriodRollups, PeriodRollups],
    sums: tuple[PeriodRollups, PeriodRollups],
    matched: blocking.Matched,
    minimum: float | None,
) -> list[Edge]:
    """Edges of one kind of unit; significance is decided over all kinds together, by `adjusted`.

    Parameters
    ----------
    unit, split
        What they are of, decomposed.
    periods, sums
        Both periods by the hour, and as `tracescope.analysis.comparison.aggregate` adds them up.
    matched, minimum
        The blocks that they are tested on, and the smallest effect tested for; None for `MIN_EFFECT_PART` of
        base's clock of the entries that an edge stands in.
    """
    sides = _sides(unit, split)
    tested = _tested(unit, split, periods, matched, minimum)
    moved = unit.kind == schema.UNIT_MESSAGE and _clocks_moved(*sums)
    numbered = unit.paths.select("path_id", pl.Series("edge", split.edge))
    examples = [exemplars(*both, unit.kind, numbered) for both in zip(periods, sums, strict=True)]
    out: list[Edge] = []
    for row in split.edges.iter_rows(named=True):
        k = row.pop("edge")
        if not any(side.sums["calls"][k] or side.sums["own_ns"][k] for side in sides):
            continue  # nothing of it in either period, or put back where it belongs
        waits = moved and row["kind"] == schema.EDGE_QUEUE and row["operation"] == schema.QUEUE_WAIT
        note = "clocks of its hosts moved" if waits else _changed_rule(*sides, k)
        measures: dict[str, Any] = {
            f"{name}_{which}": value
            for which, side in zip(("base", "head"), sides, strict=True)
            for name, value in side.of(k).items()
        }
        edge = Edge(
            unit=schema.UNIT_NAMES[unit.kind],
            kind=schema.EDGE_KINDS[row.pop("kind")],
            **row,
            **measures,
            **tested.of(k, comparable=note is None),
            significant=False,
            note=note,
            exemplars_base=examples[0].get(k, ()),
            exemplars_head=examples[1].get(k, ()),
        )
        out.append(edge)
    return out


def _sides(unit: Unit, split: Split) -> tuple[_Side, _Side]:
    """Base and head, added up by edge."""
    base, head = (
        _Side(
            {name: split.by_edge(side.paths[name].sum(axis=0)) for name in PATH_SUMS},
            max(float(side.entries["units"].sum()), 1e-300),
            max(float(side.entries["clock_ns"].sum()), 1e-300),
        )
        for side in (unit.base, unit.head)
    )
    return base, head


def _changed_rule(base: _Side, head: _Side, k: int) -> str | None:
    """A note where another part of the calls of edge `k` is detached than before."""
    called = base.sums["calls"][k] > 0 < head.sums["calls"][k]
    changed = called and abs(head.detached(k) - base.detached(k)) > DETACHED_CHANGE
    return "blocking rule changed" if changed else None


@dataclass(frozen=True, slots=True)
class _EdgeTests:
    """What was tested about every edge ``(k,)``: estimates, their intervals, and which test decides."""

    tests: _Tests
    credited: _Tested
    p_value: Floats
    floor: Floats
    decided: Sequence[DecidedBy]
    detectable: Sequence[float | None]
    shrunk: Floats
    shares: Sequence[tuple[float, float] | None]
    places: Sequence[Mapping[str, Any]]
    credited_cis: Sequence[tuple[float, float] | None]
    part_cis: Mapping[str, Sequence[tuple[float, float] | None]]

    def of(self, k: int, *, comparable: bool) -> dict[str, Any]:
        """Fields of edge `k`; one that is not comparable has no q-value."""
        parts, transient = self.tests.parts, self.tests.transient
        return {
            "share_ci": self.shares[k],
            "credited_ms": float(self.credited.value[k]),
            "credited_ms_ci": self.credited_cis[k],
            "shrunk_ms": float(self.shrunk[k]) if comparable else 0.0,
            "q_value": float(self.p_value[k]) if comparable else None,
            "effects": {
                **{_PARTS[name]: float(part.value[k]) for name, part in parts.items()},
                Effect.TRANSIENT: float(transient[k]),
            },
            "effects_ci": {_PARTS[name]: cis[k] for name, cis in self.part_cis.items()},
            "min_effect_ms": float(self.floor[k]),
            "detectable_ms": self.detectable[k],
            "decided_by": self.decided[k],
            **self.places[k],
        }


def _tested(
    unit: Unit,
    split: Split,
    periods: tuple[PeriodRollups, PeriodRollups],
    matched: blocking.Matched,
    minimum: float | None,
) -> _EdgeTests:
    """Test every edge, by its mean and by what stands beside it."""
    passing = causes.transient(unit, min(period.slot_ns for period in periods))
    testing = _Testing(unit, split, matched, passing)
    tests = testing.of(split.by_edges)
    credited, latency = tests.credited, tests.parts["latency"].value
    p, floor = _p_values(split, testing, credited, minimum)
    mostly = np.abs(latency) > np.abs(credited.value - latency)
    beside = tests_beside(unit, split, periods, matched, floor, credited.value + tests.transient, mostly)
    detectable = credited.detectable(floor, beside)
    large = (np.abs(credited.value) > floor) & _remains(split, credited.value)
    p, credited, decided = _decided(p, credited, beside, large)
    return _EdgeTests(
        tests,
        credited,
        p,
        floor,
        decided,
        detectable,
        shrink(credited.value, credited.spread.error),
        _Tested(*causes.shares(unit, split, matched), matched.enough).intervals(),
        _places(unit, split, passing),
        credited.intervals(),
        {name: part.intervals() for name, part in tests.parts.items()},
    )


@dataclass(frozen=True, slots=True)
class _Tests:
    """Tests of rows of `Cells`: what is credited, its parts, and what passes."""

    credited: _Tested
    parts: dict[str, _Tested]
    transient: Floats


@dataclass(frozen=True, slots=True)
class _Testing:
    """How rows of `Cells` are tested: one kind of unit, its blocks, and what passes on each call path."""

    unit: Unit
    split: Split
    matched: blocking.Matched
    passing: Floats

    def of(self, cells: Cells) -> _Tests:
        """Tests of every row."""
        transient = cells.add_up(self.passing)
        # what a row's effects are about: its own time, and what lies below calls that are more or fewer
        own = [
            cells.add_up(side.paths["own_ns"].sum(axis=0))
            / max(float(side.entries["units"].sum()), 1e-300)
            / MS
            for side in (self.unit.base, self.unit.head)
        ]
        below = sum((np.abs(cells.whole[name]) for name in _PARTS if name != "latency"), np.zeros(1))
        scales = (own[0], own[1] + below)
        counted = events_of(self.unit, self.split, cells)

        def tested(
            less: Floats | float, pick: Callable[[dict[str, Floats]], Floats], *, picked: bool = False
        ) -> _Tested:
            # parts of an effect that is shown for its size are held to what its own days show as well
            whole = pick(cells.whole)
            spreads: list[Spread] = []
            sides = (cells.without_base, self.matched.base), (cells.without_head, self.matched.head)
            for (without, slots), scale, events in zip(sides, scales, counted, strict=True):
                days = slots.daily and not picked
                shown = jackknife(whole, pick(without), slots.shape, scale, events.show_a_step, days=days)
                shown = of_few_days(shown, scale, slots.blocks) if slots.daily else shown
                spreads.append(events.bound(shown))
            return _Tested(whole - less, combine(*spreads), self.matched.enough)

        return _Tests(
            tested(transient, lambda effects: sum((effects[name] for name in _PARTS), np.zeros(1))),
            {
                name: tested(
                    transient if name == "latency" else 0.0,
                    lambda effects, name=name: effects[name],
                    picked=True,
                )
                for name in _PARTS
            },
            transient,
        )


def _p_values(
    split: Split, testing: _Testing, credited: _Tested, minimum: float | None
) -> tuple[Floats, Floats]:
    """P-value of every edge ``(k,)``, and the smallest effect that it was tested for.

    The smallest effect is a part of the clock of a group of entries.  An edge that stands in several is
    tested in each where it changed the way it did in all, and what is least likely chance decides, for as
    many tests as there were (Bonferroni).
    """
    edges, cells, groups = len(split.edges), split.cells, split.groups
    if minimum is not None:
        floor = np.full(edges, minimum)
        return credited.p_value(floor), floor
    overall = MIN_EFFECT_PART * float(groups.clock_ms.sum())
    floors = MIN_EFFECT_PART * groups.clock_ms[cells.group]
    floors = np.where(floors > 0, floors, overall)
    if len(cells.edge) == edges:  # each edge stands in one group
        return credited.p_value(floors), floors
    alone = testing.of(cells).credited
    alike = np.sign(alone.value) == np.sign(credited.value[cells.edge])
    p = np.where(alike, alone.p_value(floors), 1.0)
    tries = np.bincount(cells.edge, minlength=edges)
    best = np.lexsort((floors, p, cells.edge))
    first = best[np.searchsorted(cells.edge[best], np.arange(edges))]
    return np.minimum(p[first] * tries, 1.0), floors[first]


def _remains(split: Split, credited: Floats) -> NDArray[np.bool_]:
    """Whether most of an edge's change is left where all that its caller waits for is added up ``(k,)``.

    Of two parallel calls that change places one got slower, which its ranks show, and nobody waits longer.
    """
    _, number = np.unique(split.edges["caller"].to_numpy(), return_inverse=True)
    around = np.bincount(number, weights=credited)[number]
    return (np.sign(around) == np.sign(credited)) & (np.abs(around) >= REMAINS_PART * np.abs(credited))


def _decided(
    p: Floats, credited: _Tested, beside: Sequence[Beside], large: NDArray[np.bool_]
) -> tuple[Floats, _Tested, list[DecidedBy]]:
    """P-values, what they are of with the error of the test that decides, and the name of that test.

    The surest of all tests decides, where an edge's change is `large` enough and the test sees one the same
    way.  All that were tried are paid for (Bonferroni's correction with weights): the test of means with
    `WEIGHT_OF_MEANS`, so that what it sees it must see nearly as surely as if it stood alone, and the two
    kinds of tests beside it with equal parts of the rest, so that many moments cost latency at equal load
    nothing.
    """
    names = [DecidedBy.MEANS] * len(p)
    usable = [large & each.tried & (np.sign(each.value) == np.sign(credited.value)) for each in beside]
    tries = [_tries(each.name, beside, usable) for each in beside]
    alone = np.where(np.any(usable, axis=0), p / WEIGHT_OF_MEANS, p) if usable else p
    found, error, dof = alone.copy(), credited.spread.error.copy(), credited.spread.dof.copy()
    for each, may, paid in zip(beside, usable, tries, strict=True):
        better = np.where(may, each.p_value() * paid, 1.0)
        chosen = better < found
        t = np.abs(each.value) / np.where(may & (each.spread.error > 0), each.spread.error, 1.0)
        found = np.where(chosen, better, found)
        error = np.where(chosen, np.abs(credited.value) / np.where(chosen, t, 1.0), error)
        dof = np.where(chosen, each.spread.dof, dof)
        names = [each.name if new else old for new, old in zip(chosen.tolist(), names, strict=True)]
    # what is no finding after the correction keeps the interval of its mean
    clear = (found <= BESIDE_ALPHA) & (found < alone)
    spread = Spread(np.where(clear, error, credited.spread.error), np.where(clear, dof, credited.spread.dof))
    names = [name if new else DecidedBy.MEANS for new, name in zip(clear.tolist(), names, strict=True)]
    return np.minimum(found, 1.0), _Tested(credited.value, spread, credited.enough), names


def _tries(name: DecidedBy, beside: Sequence[Beside], usable: Sequence[NDArray[np.bool_]]) -> Floats:
    """Tests that one beside that of means stands for, over its part of the chance to be wrong ``(k,)``."""
    zero = np.zeros(usable[0].shape)
    of_moments = sum(
        (may for each, may in zip(beside, usable, strict=True) if each.name is DecidedBy.SINCE_THEN), zero
    )
    others = sum((may for may in usable), zero) - of_moments
    kinds = (of_moments > 0).astype(np.float64) + (others > 0)
    mine = 1 + NEXT_MOMENT * (of_moments - 1) if name is DecidedBy.SINCE_THEN else others
    return np.asarray(mine * np.maximum(kinds, 1.0) / (1.0 - WEIGHT_OF_MEANS), np.float64)


def _places(unit: Unit, split: Split, passing: Floats) -> list[dict[str, Any]]:
    """Of every edge: the clock of the groups of entries it stands in, its part of it, where it rises."""
    edges, cells, groups = len(split.edges), split.cells, split.groups
    clock, around_ms = np.zeros(edges), np.zeros(edges)
    np.add.at(clock, cells.edge, groups.clock_ms[cells.group])
    np.maximum.at(around_ms, cells.edge, np.cumsum(groups.clock_ms)[cells.group])
    parts: list[Floats] = []
    for side, clocks in zip((unit.base, unit.head), groups.clocks_ns, strict=True):
        around = np.zeros(edges)
        np.add.at(around, cells.edge, clocks[cells.group])
        own = split.by_edge(side.paths["own_ns"].sum(axis=0))
        parts.append(np.divide(own, around, out=np.zeros(edges), where=around > 0))
    entries = len(groups.of)
    pairs, number = np.unique(split.edge * entries + unit.tree.entry, return_inverse=True)
    rise = add_up(split.credit - passing, number, len(pairs))
    most = np.zeros(edges)
    np.maximum.at(most, pairs // entries, rise)
    enough = rise >= MIN_EFFECT_PART * groups.entry_ms[pairs % entries]
    rises = (rise > 0) & (enough | (rise == most[pairs // entries]))
    names = unit.entries.select("service", "operation").rows()
    where: list[list[tuple[str, str]]] = [[] for _ in range(edges)]
    for pair in pairs[rises].tolist():
        where[pair // entries].append(names[pair % entries])
    return [
        {
            "group_ms": float(clock[k]),
            "around_ms": float(around_ms[k]),
            "group_share_base": float(parts[0][k]),
            "group_share_head": float(parts[1][k]),
            "rises_in": tuple(where[k]),
        }
        for k in range(edges)
    ]


def _clocks_moved(base: PeriodRollups, head: PeriodRollups) -> bool:
    """Whether hosts' clocks differ in one period as they did not in the other.

    Between calls and their servers clocks are reconciled; between a producer and its consumer nothing
    tells a wait from an offset.  What tells that there is one: messages consumed before they were
    published, and spans that had to be moved.
    """
    parts: list[tuple[float, float]] = []
    for period in (base, head):
        if "counters" not in period.tables:
            return False
        counted = dict(period.tables["counters"].group_by("reason").agg(pl.col("count").sum()).iter_rows())
        hours = period.tables["entry_hours"].filter(pl.col("unit") == schema.UNIT_MESSAGE)
        messages, calls = int(hours["units"].sum()), int(period.tables["path_hours"]["calls"].sum())
        early, mended = counted.get("negative_wait", 0), counted.get("skew_corrected", 0)
        parts.append((early / max(messages, 1), mended / max(calls, 1)))
    (early_b, mended_b), (early_h, mended_h) = parts
    return abs(early_h - early_b) > NEGATIVE_CHANGE or abs(mended_h - mended_b) > MENDED_CHANGE


def adjusted(edges: list[Edge], alpha: float) -> list[Edge]:
    """Adjust p-values over all edges."""
    tested = [edge for edge in edges if edge.q_value is not None]
    q = benjamini_hochberg(np.array([edge.q_value for edge in tested], dtype=np.float64))
    adjusted = iter(q.tolist())
    out: list[Edge] = []
    for edge in edges:
        if edge.q_value is None:
            out.append(edge)
            continue
        value = next(adjusted)
        out.append(replace(edge, q_value=value, significant=value <= alpha))
    return out


def exemplars(
    period: PeriodRollups, sums: PeriodRollups, kind: int, numbered: pl.DataFrame
) -> dict[int, tuple[str, ...]]:
    """Trace ids of the slowest and of a typical call on each edge.

    Parameters
    ----------
    period, sums, kind
        Where from: by the hour, and as `tracescope.analysis.comparison.aggregate` adds hours up.
    numbered
        ``path_id, edge``.
    """
    if "slow_ns" not in period.tables["path_hours"].columns:
        return {}
    hours, summed = (
        one.tables["path_hours"].lazy().filter((pl.col("unit") == kind) & (pl.col("calls") > 0))
        for one in (period, sums)
    )
    best = (
        summed.join(numbered.lazy(), on="path_id")
        .group_by("edge")
        .agg(
            pl.col("slow_ns").max(),
            pl.col("typical_hash").filter(pl.col("typical_hash") > 0).min(),
        )
        .collect()
    )
    picked = [
        _traces(hours, numbered, best.select("edge", value), *ids).with_columns(pl.lit(turn).alias("turn"))
        for turn, (value, *ids) in enumerate(_EXEMPLARS)
    ]
    found: dict[int, tuple[str, ...]] = {}
    for edge, trace in pl.concat(picked).sort("turn").select("edge", "id").collect().iter_rows():
        found[edge] = tuple(dict.fromkeys((*found.get(edge, ()), schema.trace_hex(trace["hi"], trace["lo"]))))
    return found


def _traces(
    hours: pl.LazyFrame, numbered: pl.DataFrame, best: pl.DataFrame, hi: str, lo: str
) -> pl.LazyFrame:
    """``edge, id``: of each edge the trace whose call has the edge's best value."""
    value = best.columns[1]
    return (
        hours.select("path_id", value, hi=hi, lo=lo)
        .filter(pl.col(value).is_in(best[value].drop_nulls().unique().to_list()))
        .join(numbered.lazy(), on="path_id")
        .join(best.lazy(), on=["edge", value])
        .group_by("edge")
        .agg(pl.struct("hi", "lo").sort().first().alias("id"))
    )
