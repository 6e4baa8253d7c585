"""Demand against the wall as a picture: drawn where a wall is known, the nearest first, with its date."""

from __future__ import annotations

import math
import re

import pytest

from tracescope.analysis.capacity.forecast import EdgeForecast
from tracescope.analysis.capacity.trends import Trend
from tracescope.report.charts import Event
from tracescope.report.wall import WEEK_NS, date_of, riskiest, wall_chart

END_NS = 1_795_737_600 * 10**9  # 2026-11-27


def edge(caller: str = "shop", **more: object) -> EdgeForecast:
    given: dict[str, object] = {
        "unit": "request", "kind": "db", "caller": caller, "callee": "stock", "operation": "GET",
        "share": 0.2, "ms_now": 5.0, "peak_load": 3.0, "highest_load": 3.0, "headroom": 1.5,
        "headroom_interval": (1.2, 1.9), "headroom_at_least": None, "drift": Trend(0.0, (-0.1, 0.1)),
        "load_trend": Trend(5.0, (4.0, 6.0)), "amplification": Trend(0.0, None),
        "weeks": math.log(1.5) / math.log(1.05), "weeks_interval": (7.0, 10.0), "beyond_weeks": 50.0,
        "resilience_gap": 1.0, "resilience_gap_at_least": None, "what_if": (), "reason": None,
    }  # fmt: skip
    return EdgeForecast(**{**given, **more})  # type: ignore[arg-type]


def lines(svg: str, style: str) -> list[tuple[float, float]]:
    found = re.search(f'<polyline class="{style}" points="([^"]+)"', svg)
    assert found is not None
    return [tuple(map(float, pair.split(","))) for pair in found[1].split(" ")]  # type: ignore[misc]


def test_load_meets_the_wall_at_the_week_that_is_told() -> None:
    """The lines cross where the date's line stands."""
    made = edge()
    svg = str(wall_chart(made, END_NS, 12.0))
    load, wall = lines(svg, "line"), lines(svg, "wall")
    crossed = next(x for (x, y), (_, w) in zip(load, wall, strict=True) if y <= w)
    mark = re.search('<line class="change" x1="([^"]+)"', svg)
    assert mark is not None
    assert crossed == pytest.approx(float(mark[1]), abs=(load[-1][0] - load[0][0]) / 50)
    assert "25 Jan 2027" in svg or "24 Jan 2027" in svg or "23 Jan 2027" in svg


def test_load_so_far_leads_to_today_and_deploys_stand_beside_it() -> None:
    """A point a week on the left of today, the last one today's peak; an event is drawn where it was."""
    past = ((-3.5, 0.7), (-2.5, 0.8), (-1.5, 0.9), (-0.5, 0.95))
    shipped = Event(END_NS - 2 * WEEK_NS, "stock 1.4")
    svg = str(wall_chart(edge(past_load=past), END_NS, 12.0, events=[shipped]))
    before, load = lines(svg, "past"), lines(svg, "line")
    assert len(before) == len(past) + 1
    assert before[-1] == load[0]
    assert [y for _, y in before] == sorted((y for _, y in before), reverse=True)
    assert "<title>stock 1.4</title>" in svg
    mark = re.search('<line class="event" x1="([^"]+)"', svg)
    assert mark is not None
    assert before[1][0] < float(mark[1]) < before[2][0]
    high = str(wall_chart(edge(past_load=((-1.5, 6.0), (-0.5, 1.0))), END_NS, 12.0))
    assert lines(high, "past")[0][1] >= 0


def test_drift_lowers_the_wall() -> None:
    """Slower at equal load: the same wall is reached by less."""
    wall = lines(str(wall_chart(edge(drift=Trend(3.0, None)), END_NS, 12.0)), "wall")
    assert wall[-1][1] > wall[0][1]
    flat = lines(str(wall_chart(edge(), END_NS, 12.0)), "wall")
    assert flat[-1][1] == flat[0][1]


def test_nothing_is_drawn_that_is_not_known() -> None:
    """No wall, or no trend: no picture, and no date."""
    assert wall_chart(edge(headroom=None, headroom_at_least=1.0), END_NS, 12.0) == ""
    assert wall_chart(edge(load_trend=Trend(None, None)), END_NS, 12.0) == ""
    assert date_of(edge(weeks=None), END_NS) == ""
    late = str(wall_chart(edge(weeks=40.0), END_NS, 12.0))
    assert 'class="change"' not in late


def test_dates_carry_their_interval() -> None:
    """What is open at an end stays open."""
    assert date_of(edge(weeks=0.0), END_NS) == "it is there at today's peak"
    found = date_of(edge(weeks=8.0, weeks_interval=(7.0, None)), END_NS)
    assert found == "about 22 Jan 2027, 80 %: 15 Jan 2027 – ?"
    assert date_of(edge(weeks=8.0, weeks_interval=None), END_NS) == "about 22 Jan 2027"
    assert WEEK_NS == 604_800 * 10**9


def test_the_nearest_wall_comes_first_and_what_nobody_knows_last() -> None:
    """Known weeks, a known wall that is not reached, a bound, no curve."""
    order = [
        edge("now", weeks=0.0), edge("soon", weeks=2.0), edge("never", weeks=None),
        edge("bound", headroom=None, headroom_at_least=1.0, weeks=None),
        edge("none", headroom=None, reason="too few windows", weeks=None),
    ]  # fmt: skip
    assert riskiest(order[::-1]) == order
