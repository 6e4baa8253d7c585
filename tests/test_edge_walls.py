"""What a diff's edge tells of its wall: its own paths, the past that is asked for, and the words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import polars as pl
import pytest
from test_split import edge
from test_wall_laws import edge as curve
from test_wall_laws import fitted, seen, tables

from tracescope.analysis.capacity import edge_walls
from tracescope.analysis.capacity.entry_clock import EntryClock
from tracescope.analysis.capacity.trends import Trend
from tracescope.analysis.capacity.walls import wall_of
from tracescope.analysis.rollups.period import PeriodRollups
from tracescope.schema import HOUR_NS

WEEKS = 8
END_NS = WEEKS * 168 * HOUR_NS
CURVE = curve(fitted(growth=0.03), seen(WEEKS, trend=0.02))
WALL = wall_of(CURVE, END_NS, float(WEEKS))


def test_an_edge_has_the_numbers_of_its_wall() -> None:
    """All of them, and no words where the wall is in sight."""
    one = edge(3.0, evidence=("before",))
    told = edge_walls.with_wall(one, (CURVE, WALL))
    assert told.headroom == WALL.headroom == pytest.approx(2.0)
    assert (told.headroom_ci, told.headroom_at_least) == (WALL.headroom_interval, None)
    assert (told.weeks_to_wall, told.weeks_to_wall_ci) == (WALL.weeks, WALL.weeks_interval)
    assert told.growth_pct_per_week == WALL.drift.pct_per_week
    assert told.growth_pct_per_week_ci == WALL.drift.interval
    assert told.evidence == ("before",)
    assert told.weeks_to_clock_wall is not None
    assert edge_walls.with_wall(one, None) is one
    assert edge_walls.with_wall(one, (CURVE, replace(WALL, reason="why"))) is one


def test_a_wall_out_of_sight_is_told_in_words_with_what_was_served() -> None:
    hidden = curve(fitted(), seen(WEEKS), bends=False)
    told = edge_walls.with_wall(
        edge(3.0, evidence=("before",)), (hidden, wall_of(hidden, END_NS, float(WEEKS)))
    )
    assert told.evidence == (
        "before",
        "the wall lies beyond the loads that were seen: up to 30 calls/s load hardly slows it down, so "
        "headroom is at least 2 times peak load, and nobody has seen how much more",
    )
    assert (told.headroom, told.weeks_to_clock_wall) == (None, None)


def test_the_clocks_wall_is_that_of_a_clock_of_which_the_edge_is_a_part() -> None:
    """By its share of its group, or of all; the less of it the later; all of it at most."""

    def weeks(share: float) -> float | None:
        return EntryClock(1.0, {0: share}, {0: (CURVE, WALL)}).wall(WALL.beyond_weeks).weeks

    base = edge(3.0, share_head=0.95, group_share_head=0.0)
    assert edge_walls._clock_weeks(base, CURVE, WALL) == weeks(0.95)
    assert edge_walls._clock_weeks(replace(base, group_share_head=0.9), CURVE, WALL) == weeks(0.9)
    assert edge_walls._clock_weeks(replace(base, group_share_head=1.7), CURVE, WALL) == weeks(1.0)
    most, whole = weeks(0.9), weeks(1.0)
    assert most is not None
    assert whole is not None
    assert most > whole
    assert edge_walls._clock_weeks(base, CURVE, replace(WALL, headroom=None)) is None
    assert edge_walls._clock_weeks(base, CURVE, replace(WALL, weeks_interval=None)) is None


def test_the_past_is_asked_for_the_paths_of_the_edges_that_are_worth_it() -> None:
    """Of either period, each once and in order; nothing is asked where no path is theirs."""
    early, late = tables(range(0, 24), path=4), tables(range(24, 48), path=2)
    mine = edge(3.0, caller="a", callee="db", operation="GET")
    asked: list[Sequence[int]] = []

    def past(paths: Sequence[int]) -> PeriodRollups:
        asked.append(paths)
        return late

    found = edge_walls.standing([mine], (early, late), past)
    assert asked == [[2, 4]]
    assert set(found) == {(2, "a", "db", "GET")}
    assert "10 are needed" in (found[2, "a", "db", "GET"][1].reason or "")
    asked.clear()
    assert edge_walls.standing([replace(mine, operation="POST")], (early, late), past) == {}
    assert edge_walls.standing([], (early, late), past) == {}
    assert asked == []
    small = replace(mine, significant=False, effects={})
    edges = [small, mine, replace(mine, operation="POST")]
    told = edge_walls.with_walls(edges, 0.1, (early, late), past)
    assert asked == [[2, 4]]
    assert told == edges  # a day of one call an hour shows no curve


def test_without_a_past_the_two_periods_are_it() -> None:
    """All that both hold; other paths are none of it."""
    early, late = tables(range(0, 24), path=2), tables(range(24, 48), path=2)
    mine = edge(3.0, caller="a", callee="db", operation="GET")
    ((key, (one, wall)),) = edge_walls.standing([mine], (early, late), None).items()
    assert key == (2, "a", "db", "GET")
    assert one.points.calls.sum() == 0  # 48 calls fill no window of a hundred
    assert one.arrivals.calls.sum() == 48
    assert (wall.headroom, wall.drift) == (None, Trend(None, None))
    other = late.tables["paths"].with_columns(operation=pl.lit("PUT"), path_id=pl.lit(9, pl.Int64))
    more = replace(late, tables=late.tables | {"paths": pl.concat([late.tables["paths"], other])})
    assert edge_walls.standing([mine], (early, more), None)[key][0].arrivals.calls.sum() == 48
