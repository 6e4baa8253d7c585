"""Split the latency effect of every edge: slower because of more load, or slower at the same load.

What the load explains is `latency_load`; the rest of the latency effect is `latency_growth`, so the sum
is kept exactly.  Where load and growth cannot be separated the effect stays `latency_unsplit`, and the
edge's evidence says why.

Source: design, sections 6 and 7.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tracescope import schema
from tracescope.analysis.capacity import load_model as model
from tracescope.analysis.capacity.arrivals import Arrivals, edge_ids, edge_names, of_periods, points
from tracescope.analysis.capacity.backlog import Backlog, follow, remembers
from tracescope.analysis.capacity.levels import judge
from tracescope.analysis.capacity.load_model import Fit, Points
from tracescope.analysis.capacity.offered import HEAVIER, aggressor
from tracescope.analysis.report import Edge, Effect
from tracescope.analysis.rollups.period import PeriodRollups
from tracescope.analysis.statistics.distributions import normal_quantile
from tracescope.analysis.statistics.rank_statistics import median_slope

Floats = NDArray[np.float64]

#: Edges whose latency effect is under this part of the smallest effect tested for are left unsplit.
MODEL_PART: Final = 0.5
MOST_EDGES: Final = 30
#: Replicas must differ by this factor for the load of each to be tried beside the load of all.
MORE_REPLICAS: Final = 1.2
#: Why a wait for a resource is not split.
BEHIND_LONGER: Final = "not identifiable: who waits behind calls that got longer waits longer at equal load"


@dataclass(frozen=True, slots=True)
class Modelled:
    """One edge's load model.

    Attributes
    ----------
    points
        Of all periods.
    fitted
        None where refused.
    reason
        Why it was refused; None where it was not.
    peak_load
        Arrivals a second at the resource in the busiest hours of the last week.
    replicas
        Mean live replicas of each period where loads are those of each replica; None where of all.
    load_noise
        Relative standard error of head's load over base's, from how many calls were counted.
    """

    points: Points
    fitted: Fit | None
    reason: str | None
    peak_load: float
    replicas: tuple[float, ...] | None = None
    load_noise: float = 0.0


def model_edge(base: Arrivals, head: Arrivals, now_ns: int, *, waits: bool) -> Modelled:
    """Fit one edge's load model to two periods, or say why not."""
    made = Points.join([points(base, now_ns, 0), points(head, now_ns, 1)])
    reason = model.refusal(made)
    if reason is not None:
        return Modelled(made, None, reason, head.peak_load)
    fitted = model.better(made, waits=waits)
    apart = of_each((base, head), now_ns, fitted, model.refusal, waits=waits)
    if apart is not None:
        each, made, fitted = apart
        live = tuple(float(np.mean(side.replicas)) for side in (base, head) if side.replicas is not None)
        return Modelled(made, fitted, None, each[-1].peak_load, live, _load_noise(base, head))
    return Modelled(made, fitted, None, head.peak_load, load_noise=_load_noise(base, head))


def _load_noise(*sides: Arrivals) -> float:
    """Relative standard error of the ratio of loads: calls that a unit makes together count once."""
    return math.sqrt(
        sum(side.calls.sum() / max(side.units.sum(), 1.0) / max(side.counted.sum(), 1.0) for side in sides)
    )


def of_each(
    sides: Sequence[Arrivals],
    now_ns: int,
    whole: Fit,
    refuse: Callable[[Points], str | None],
    *,
    waits: bool,
) -> tuple[list[Arrivals], Points, Fit] | None:
    """The model of the load of each replica, where that fits clearly better than the load of all.

    Four replicas that serve twice as much as two did are as busy as these were, and the load of all would
    make them quicker than they are.  As long as replicas are as many, the two are one model.

    Parameters
    ----------
    sides
        An edge's periods.
    now_ns
        Where weeks are counted from.
    whole
        The model of the load of all.
    refuse
        Why points show no curve; None when they may.
    waits
        See `tracescope.analysis.capacity.load_model.better`.
    """
    each = [known for side in sides if (known := side.each) is not None]
    if len(each) < len(sides):
        return None
    live = np.concatenate([side.replicas for side in each if side.replicas is not None])
    fewest, most = np.quantile(live, [0.05, 0.95])
    if most < MORE_REPLICAS * fewest:
        return None
    made = Points.join([points(side, now_ns, number) for number, side in enumerate(each)])
    if refuse(made) is not None:
        return None
    fitted = model.better(made, waits=waits)
    if not model.clearly_better(fitted, whole, len(made)):
        return None
    return each, made, fitted


def is_wait(edge: Edge) -> bool:
    """Whether an edge is a queue's wait."""
    return edge.kind == "queue" and edge.operation == schema.QUEUE_WAIT


def needs_load_model(edge: Edge, minimum_ms: float) -> bool:
    """Whether what an edge's latency did is worth a load model."""
    latency = abs(edge.effects.get(Effect.UNSPLIT, 0.0))
    return edge.significant or latency >= MODEL_PART * minimum_ms > 0


def worthy(edges: Sequence[Edge], minimum_ms: float) -> list[int]:
    """Numbers of the edges whose latency did most, at most `MOST_EDGES`."""
    sizes = [
        (abs(edge.effects.get(Effect.UNSPLIT, 0.0)), number)
        for number, edge in enumerate(edges)
        if needs_load_model(edge, minimum_ms)
    ]
    return [number for _, number in sorted(sizes, reverse=True)[:MOST_EDGES]]


def split_latency(
    edges: Sequence[Edge], base: PeriodRollups, head: PeriodRollups, minimum_ms: float
) -> list[Edge]:
    """Split the latency effects that are worth it.

    Parameters
    ----------
    edges
        Of one comparison, with ``latency_unsplit``.
    base, head
        What they were made of.
    minimum_ms
        Smallest effect tested for.
    """
    ids = edge_ids([base, head])
    chosen = worthy(edges, minimum_ms)
    keys = {number: ids.get(edge_key(edges[number])) for number in chosen}
    wanted = {key for key in keys.values() if key is not None}
    if not wanted:
        return list(edges)
    before, after = of_periods([base, head], wanted)
    names = edge_names([base, head])
    wider = _selected(len(chosen), len(edges))
    out = list(edges)
    for number, key in keys.items():
        if key is None or key not in before or key not in after:
            continue
        edge = edges[number]
        modelled = model_edge(before[key], after[key], head.end_ns, waits=is_wait(edge))
        remembered = is_wait(edge) and (remembers(before[key]) or remembers(after[key]))
        followed = follow(before[key], after[key]) if remembered else None
        loudest = aggressor(key, before[key].asked, after[key].asked)
        if followed is not None:
            split = _of_the_past(edge, followed, wider)
        elif loudest is not None and loudest.each >= HEAVIER and _grew(modelled):
            split = replace(edge, evidence=(*edge.evidence, BEHIND_LONGER))
        else:
            split = _with_model(edge, modelled, wider)
        if loudest is not None and edge.credited_ms > 0:
            split = replace(split, evidence=(*split.evidence, loudest.words(names[loudest.edge])))
        out[number] = split
    return out


def _grew(modelled: Modelled) -> bool:
    """Whether a load model shows significant growth."""
    fitted = modelled.fitted
    if fitted is None:
        return False
    return model.shift(fitted, modelled.points, modelled.load_noise).growth_interval[0] > 0


def _of_the_past(edge: Edge, backlog: Backlog, wider: float) -> Edge:
    """A wait told apart by its backlog: what BASE's consumers would have made of HEAD's arrivals is load."""
    latency = edge.effects.get(Effect.UNSPLIT, 0.0)
    rise = backlog.head_s - backlog.base_s
    beyond = backlog.head_s - backlog.expected_s
    error = 1.96 * wider * backlog.error_s
    part = 1.0 if abs(beyond) <= error else (backlog.expected_s - backlog.base_s) / rise if rise else 1.0
    by_load, half = latency * part, abs(latency * error / rise) if rise else 0.0
    effects = {name: value for name, value in edge.effects.items() if name != Effect.UNSPLIT}
    intervals = {name: value for name, value in edge.effects_ci.items() if name != Effect.UNSPLIT}
    effects |= {Effect.LOAD: by_load, Effect.GROWTH: latency - by_load}
    intervals |= {
        Effect.LOAD: (by_load - half, by_load + half),
        Effect.GROWTH: (latency - by_load - half, latency - by_load + half),
    }
    said = (
        f"messages wait longer than load is counted, so their backlog is followed: base's consumers, at "
        f"{backlog.capacity:.3g} a second, would make of {backlog.more:.2f} times the arrivals a wait of "
        f"{backlog.expected_s:.3g} s (± {error:.2g}), {backlog.head_s:.3g} s are seen"
    )
    return replace(edge, effects=effects, effects_ci=intervals, evidence=(*edge.evidence, said))


def _selected(chosen: int, tested: int) -> float:
    """Factor for 95 % intervals of the `chosen` of `tested` edges that were picked for being large.

    An interval that is shown because its value is far from zero misses more often than it says: in
    identical periods 5 to 20 % of them did not hold zero.  At a level of ``1 - 0.05 * chosen / tested``
    at most 5 % of those shown miss, on average.

    Source: Benjamini & Yekutieli, "False discovery rate-adjusted multiple confidence intervals for
    selected parameters", JASA 100, 2005.
    """
    return normal_quantile(1 - 0.025 * chosen / max(tested, 1)) / normal_quantile(0.975)


def edge_key(edge: Edge) -> tuple[int, str, str | None, str]:
    """What names an edge in the rollups: kind, caller, callee, operation."""
    return schema.EDGE_KINDS.index(edge.kind), edge.caller, edge.callee, edge.operation or ""


def _log_mean(a: float, b: float) -> float:
    if a <= 0 or b <= 0:
        return 0.0
    return a if abs(a - b) < 1e-12 * a else (b - a) / math.log(b / a)


def _with_model(edge: Edge, modelled: Modelled, wider: float) -> Edge:
    """An edge with what its load model says; unsplit, with the reason, where it says nothing.

    Intervals of the parts are `wider` than those of any edge; see `_selected`.
    """
    fitted = modelled.fitted
    latency = edge.effects.get(Effect.UNSPLIT, 0.0)
    if fitted is None:
        said = _by_base_alone(modelled.points) or modelled.reason
        assert said is not None
        return replace(edge, evidence=(*edge.evidence, said))
    shift = model.shift(fitted, modelled.points, modelled.load_noise)
    reason = None
    if fitted.dof < 3:
        reason = "not identifiable: the windows are too alike in time to count as independent"
    elif shift.load_error > max(model.MOST_UNCERTAIN, 0.3 * abs(shift.load + shift.growth)):
        reason = (
            f"not identifiable: what more load explains is uncertain "
            f"({(math.exp(shift.load) - 1) * 100:+.0f} %, standard error {shift.load_error * 100:.0f} %)"
        )
    if reason is not None:
        return replace(edge, evidence=(*edge.evidence, reason))
    scale = _scale(edge, latency, shift)
    by_load = scale * shift.load
    effects = {name: value for name, value in edge.effects.items() if name != Effect.UNSPLIT}
    effects |= {Effect.LOAD: by_load, Effect.GROWTH: latency - by_load}
    intervals = {name: value for name, value in edge.effects_ci.items() if name != Effect.UNSPLIT}
    whole = edge.effects_ci.get(Effect.UNSPLIT)
    spread = 1.96 * wider * scale * shift.load_error
    intervals[Effect.LOAD] = (by_load - spread, by_load + spread)
    if whole is not None:
        half = math.hypot(wider * (whole[1] - whole[0]) / 2, spread)
        intervals[Effect.GROWTH] = (latency - by_load - half, latency - by_load + half)
    return replace(
        edge,
        effects=effects,
        effects_ci=intervals,
        load_elasticity=fitted.curve.elasticity(modelled.peak_load),
        evidence=(*edge.evidence, *_evidence(modelled, shift)),
    )


def _scale(edge: Edge, latency: float, shift: model.Shift) -> float:
    """Milliseconds of the latency effect for each log unit by which a call itself got slower.

    A branch of a fan-out that becomes the slowest is waited for more than it got slower: calls that take
    85 % longer were seven times the time on the path.  Load and growth that pull the same way did that
    together, so they share it as they share the calls' own change.  Else, and where that change is hardly
    more than its error, a log unit is worth the edge's own time.
    """
    change = shift.load + shift.growth
    if shift.load * shift.growth > 0 and change * latency > 0 and abs(change) > 2 * shift.load_error:
        return latency / change
    return _log_mean(edge.own_ms_base, edge.own_ms_head)


def _evidence(modelled: Modelled, shift: model.Shift) -> list[str]:
    """What the split rests on."""
    fitted, points = modelled.fitted, modelled.points
    assert fitted is not None
    loads = [float(np.exp(model.mean_load(points.select(points.period == number)))) for number in (0, 1)]
    more = (loads[1] / loads[0] - 1) * 100
    by_load, by_growth = ((math.exp(part) - 1) * 100 for part in (shift.load, shift.growth))
    how = _course(fitted.course, points)
    out = [
        f"load {more:+.0f} % explains {by_load:+.0f} % of latency; at equal load it is "
        f"{by_growth:+.0f} % ({_pct(shift.growth_interval)}){how}"
    ]
    if modelled.replicas is not None:
        before, now = modelled.replicas
        out.append(
            f"load is that of each of its {before:.3g} → {now:.3g} replicas: this fits better than all of it"
        )
    return out


def _course(course: model.Course, points: Points) -> str:
    """When growth came, in words; nothing of a steady drift."""
    if not course.words:
        return ""
    if course.since <= float(points.weeks[points.period > 0].min()):
        where = "between the periods" if course.step else "since head began"
        return f", {course.words} {where}"
    days = -course.since * 7
    return f", {course.words} since about {days:.2g} day{'s' * (days != 1)} before head's end"


def _pct(logs: tuple[float, float]) -> str:
    low, high = ((math.exp(min(value, 20.0)) - 1) * 100 for value in logs)
    return f"{low:+.0f} to {high:+.0f} %"


def load_trend(weeks: Floats, peaks: Floats) -> tuple[float, float]:
    """Log growth of peak load a week, and its standard error: half of a 68 % interval's width."""
    if len(weeks) < 3:
        return 0.0, math.inf
    found = median_slope(np.log(peaks), weeks, 0.68)
    fewest = 0.02 / float(np.ptp(weeks))
    return found.estimate, max((found.high - found.low) / 2, fewest)


def _by_base_alone(points: Points) -> str | None:
    """Without overlap: whether base's curve, seen at three loads or more, expects what head shows."""
    base, head = points.select(points.period == 0), points.select(points.period == 1)
    if (
        len(base) < model.FEWEST_POINTS_IN_ALL
        or len(head) == 0
        or model.overlap(points) >= model.LEAST_OVERLAP
    ):
        return None
    if base.load.max() < 2 * base.load.min():
        return None
    order = np.argsort(base.load)
    level = np.empty(len(base), np.int64)
    level[order] = np.arange(len(base)) * 5 // len(base)
    known = Points(base.weeks, base.load, base.latency_s, base.calls, level)
    found = judge(known, head)
    if not found.consistent:
        return None
    return f"loads do not overlap, but base's curve at other loads says: {found.words}"
