"""What is known of the walls of a diff's edges: the numbers of `forecast`, of the same past.

A diff compares two periods; an edge's headroom and weeks are those at the end of the later one, of all that
was seen until then, so that they do not change with what is compared.

Source: design, section 7.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import polars as pl

from tracescope.analysis.capacity.entry_clock import EntryClock
from tracescope.analysis.capacity.split import edge_key, worthy
from tracescope.analysis.capacity.walls import EdgeCurve, Wall, until, walls_of
from tracescope.analysis.report import Edge
from tracescope.analysis.rollups.period import PeriodRollups

#: Gives all that was seen until HEAD's end of what reaches the resources of some call paths.
Past = Callable[[Sequence[int]], PeriodRollups]


def with_walls(
    edges: Sequence[Edge],
    minimum_ms: float,
    periods: tuple[PeriodRollups, PeriodRollups],
    past: Past | None = None,
) -> list[Edge]:
    """Edges whose latency did something, with headroom, drift and weeks to the wall.

    Parameters
    ----------
    edges, minimum_ms
        As of `tracescope.analysis.capacity.split.split_latency`, before it.
    periods
        Base and head by the hour.
    past
        None for what the two periods hold.
    """
    found = standing([edges[number] for number in worthy(edges, minimum_ms)], periods, past)
    return [with_wall(edge, found.get(edge_key(edge))) for edge in edges]


def standing(
    edges: Sequence[Edge], periods: tuple[PeriodRollups, PeriodRollups], past: Past | None
) -> dict[tuple[int, str, str | None, str], tuple[EdgeCurve, Wall]]:
    """Curve and wall of some edges by what names them."""
    ids: dict[tuple[int, str, str | None, str], list[int]] = {edge_key(edge): [] for edge in edges}
    names = ("kind", "caller", "callee", "operation")
    paths = pl.concat([period.tables["paths"].select("path_id", *names) for period in periods]).unique()
    for path_id, *name in paths.sort("path_id").iter_rows():
        if (key := tuple(name)) in ids:
            ids[key].append(path_id)
    if not any(ids.values()):
        return {}
    numbered = dict(enumerate(ids))
    wanted = {number: ids[key] for number, key in numbered.items()}
    all_ids = sorted({path_id for each in ids.values() for path_id in each})
    period = until(*periods) if past is None else past(all_ids)
    return {numbered[number]: each for number, each in walls_of(period, wanted).items()}


def with_wall(edge: Edge, known: tuple[EdgeCurve, Wall] | None) -> Edge:
    """An edge with what is known of its wall."""
    if known is None or known[1].reason is not None:
        return edge
    curve, wall = known
    evidence = list(edge.evidence)
    if wall.headroom_at_least is not None:
        assert curve.fitted is not None
        evidence.append(
            f"the wall lies beyond the loads that were seen: up to {curve.fitted.highest:.3g} calls/s load "
            f"hardly slows it down, so headroom is at least {wall.headroom_at_least:.3g} times peak load, "
            "and nobody has seen how much more"
        )
    return replace(
        edge,
        growth_pct_per_week=wall.drift.pct_per_week,
        growth_pct_per_week_ci=wall.drift.interval,
        headroom=wall.headroom,
        headroom_ci=wall.headroom_interval,
        headroom_at_least=wall.headroom_at_least,
        weeks_to_wall=wall.weeks,
        weeks_to_wall_ci=wall.weeks_interval,
        weeks_to_clock_wall=_clock_weeks(edge, curve, wall),
        evidence=tuple(evidence),
    )


def _clock_weeks(edge: Edge, curve: EdgeCurve, wall: Wall) -> float | None:
    """Weeks until the clock that an edge is a part of is three times what it is at low load, by this edge."""
    if wall.headroom is None or wall.weeks_interval is None:
        return None
    share = min(edge.group_share_head or edge.share_head, 1.0)
    clock = EntryClock(1.0, {0: share}, {0: (curve, wall)})
    return clock.wall(wall.beyond_weeks).weeks
