"""One entry must never hide another: smallest effects, states and clocks belong to entries that are alike."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from simulated import START_NS, Work, call, edge, period, query, serve, spans

from tracescope import schema
from tracescope.analysis.diff import diff
from tracescope.analysis.report import Report
from tracescope.analysis.rollups.long_lived import durations_note, find_long_lived, set_apart
from tracescope.analysis.rollups.period import PeriodRollups

DAY_NS = schema.DAY_NS
DAYS = 6


def side(first: int, select_ms: float, slow_ms: float, *, shared: bool = False) -> PeriodRollups:
    """Some days of ``GET /rooms``, of which one in eight is a ``POST /export`` of `slow_ms` (0: none)."""

    def program(random: np.random.Generator, at: float) -> Work:
        del at
        if slow_ms and not random.integers(8):
            below = [query("postgresql/chat", "SELECT rooms", 20.0)] if shared else []
            return serve("chat", "POST /export", slow_ms * random.uniform(0.5, 1.5), below)
        ms = select_ms * random.uniform(0.9, 1.1)
        return serve("chat", "GET /rooms", 10.0, [query("postgresql/chat", "SELECT rooms", ms)])

    start = START_NS + first * DAY_NS
    return period(spans(program, start_ns=start, hours=24 * DAYS, per_hour=8, seed=first), start, 24 * DAYS)


def states(report: Report) -> dict[str, str]:
    return {entry.operation: entry.state for entry in report.entries}


@pytest.mark.parametrize(
    ("slow_ms", "shared"),
    [(0.0, False), *((ms, shared) for ms in (3_000.0, 60_000.0, 900_000.0) for shared in (False, True))],
)
def test_a_slow_entry_hides_no_doubling_of_a_quick_one(slow_ms: float, shared: bool) -> None:
    """Found whatever stands beside it, and told of the entry in which it is."""
    report = diff(side(0, 20.0, slow_ms, shared=shared), side(7, 40.0, slow_ms, shared=shared))
    assert report.state == "drifting"
    found = edge(report, "chat -> postgresql/chat")
    assert found.significant
    quick = 7 / 8 if slow_ms else 1.0
    assert found.credited_ms == pytest.approx(20.0 * quick, rel=0.05)
    assert [one.name for one in report.edges if one.significant] == [found.name]
    assert states(report)["GET /rooms"] == "drifting"
    assert states(report).get("POST /export", "growth-stable") == "growth-stable"


def test_shares_of_a_group_are_parts_of_its_own_clock() -> None:
    """The quick ones' add up to one, and the slow one's; the smallest effect is half a percent of each."""
    report = diff(side(0, 20.0, 60_000.0), side(7, 20.0, 60_000.0))
    groups: dict[float, float] = {}
    for one in report.edges:
        assert one.group_ms is not None
        assert one.group_share_base is not None
        groups[one.group_ms] = groups.get(one.group_ms, 0.0) + one.group_share_base
        assert one.min_effect_ms == pytest.approx(0.005 * one.group_ms)
    assert len(groups) == 2
    assert list(groups.values()) == [pytest.approx(1.0), pytest.approx(1.0)]
    assert sum(groups) == pytest.approx(report.clock["base_ms"])


def test_what_is_quicker_than_typical_is_measured_with_the_typical() -> None:
    """A health check that takes a millisecond more is no finding beside requests of a hundred."""

    def program(health_ms: float):  # type: ignore[no-untyped-def]
        def made(random: np.random.Generator, at: float) -> Work:
            del at
            if not random.integers(4):
                return serve("chat", "GET /health", health_ms)
            return serve("chat", "GET /rooms", 100.0 * random.uniform(0.9, 1.1))

        return made

    sides = [
        period(
            spans(program(ms), start_ns=START_NS + at * DAY_NS, hours=24 * DAYS, per_hour=8, seed=at),
            START_NS + at * DAY_NS,
            24 * DAYS,
        )
        for ms, at in ((1.0, 0), (1.5, 7))
    ]
    report = diff(*sides)
    assert report.state == "growth-stable"
    assert states(report) == {"GET /rooms": "growth-stable", "GET /health": "growth-stable"}


# -- set apart for their durations ---------------------------------------------------------------


def long_names(*periods: PeriodRollups) -> list[str]:
    found = find_long_lived(*periods)
    rows = periods[0].tables["entries"].filter(pl.col("entry_id").is_in(sorted(found)))
    return sorted(rows["operation"].to_list())


def test_an_entry_far_beyond_the_others_in_both_periods_is_long_lived() -> None:
    """What was quick and now hangs is not, and neither is the one that is slow among slow ones."""
    base, hung = side(0, 20.0, 300_000.0), side(7, 40_000.0, 300_000.0)
    assert long_names(base, side(7, 20.0, 300_000.0)) == ["POST /export"]
    assert long_names(base, hung) == ["POST /export"]
    assert long_names(side(0, 20.0, 5_000.0)) == []
    assert long_names(side(0, 4_000.0, 60_000.0)) == []
    assert long_names(hung) == []  # nothing quick is left that it could be far beyond


def test_what_is_set_apart_keeps_everything_but_its_kind() -> None:
    before = side(0, 20.0, 300_000.0, shared=True)
    after = set_apart(before, find_long_lived(before))
    for name in ("path_hours", "path_sketches", "entry_hours", "entry_sketches"):
        old, new = before.tables[name], after.tables[name]
        assert old.drop("unit").equals(new.drop("unit"))
        assert new.schema == old.schema
        assert set(new["unit"].unique()) == {schema.UNIT_REQUEST, schema.UNIT_LONG}
    lazily = replace(before, hours=before.by_hour)
    ids = before.tables["path_hours"]["path_id"].unique().to_list()
    columns = ("slot", "unit", "calls")
    rows = set_apart(lazily, find_long_lived(before)).by_hour(ids, columns)
    assert rows.equals(after.by_hour(ids, columns))
    assert durations_note(find_long_lived(before), before)[0].startswith("compared apart as long-lived")


def test_long_lived_work_is_compared_with_a_clock_of_its_own_and_moves_no_verdict_by_staying_open() -> None:
    sides = [side(0, 20.0, 300_000.0), side(7, 20.0, 900_000.0)]
    found = find_long_lived(*sides)
    report = diff(*(set_apart(one, found) for one in sides))
    assert report.clock["base_ms"] == pytest.approx(30.0, rel=0.05)
    assert report.other_clocks["long-lived"]["base_ms"] == pytest.approx(300_000.0, rel=0.1)
    assert report.state == "growth-stable"
    assert states(report) == {"GET /rooms": "growth-stable", "POST /export": "drifting"}


def test_calls_below_long_lived_work_still_count() -> None:
    """A nightly job whose query doubles is worth a word, though nobody waits for the job."""

    def program(ms: float):  # type: ignore[no-untyped-def]
        def made(random: np.random.Generator, at: float) -> Work:
            del at
            if not random.integers(8):
                below = [call("stock", "POST /all", 5.0, [query("postgresql/stock", "SELECT", ms)])]
                return serve("jobs", "nightly", 100.0, below)
            return serve("chat", "GET /rooms", 10.0 * random.uniform(0.9, 1.1))

        return made

    sides = [
        period(
            spans(program(ms), start_ns=START_NS + at * DAY_NS, hours=24 * DAYS, per_hour=8, seed=at),
            START_NS + at * DAY_NS,
            24 * DAYS,
        )
        for ms, at in ((20_000.0, 0), (40_000.0, 7))
    ]
    found = find_long_lived(*sides)
    report = diff(*(set_apart(one, found) for one in sides))
    assert report.state == "drifting"
    assert "postgresql/stock" in report.reasons[0]
    assert states(report) == {"GET /rooms": "growth-stable", "nightly": "drifting"}
