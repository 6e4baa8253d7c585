"""Offered work: calls count for the work that they bring, measured where nothing waits."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from test_load_model import period_of
from test_split import edge

from tracescope.analysis.capacity import split
from tracescope.analysis.capacity.arrivals import by_edge, of_periods
from tracescope.analysis.capacity.load_model import shift
from tracescope.analysis.capacity.offered import Asked, Quiet, aggressor, call_seconds
from tracescope.analysis.capacity.split import Modelled, model_edge
from tracescope.analysis.rollups.period import PeriodRollups

WEEKS = 3
#: Seconds of work a second that make the database full.
CORES = 2.0
Work = dict[str, tuple[float, float]]  # calls an hour and ms of each, by caller


def database(work: Sequence[Work], *, seed: int = 1, servers_slower: float = 1.0) -> list[PeriodRollups]:
    """Periods of a database that queues as all its callers' work has it, in order of time."""
    rng = np.random.default_rng(seed)
    made: list[PeriodRollups] = []
    for number, callers in enumerate(work):
        rows: list[tuple[int, str, int, float]] = []
        slower = servers_slower if number else 1.0
        for slot in range(WEEKS * 168):
            day = 1 + 0.6 * math.sin(slot / 24 * 2 * math.pi)
            calls = {name: int(rng.poisson(per_hour * day)) for name, (per_hour, _) in callers.items()}
            busy = sum(calls[name] * ms * slower for name, (_, ms) in callers.items()) / 3.6e6 / CORES
            for name, n in calls.items():
                if n:
                    took = callers[name][1] * slower / (1 - min(busy, 0.95)) * math.exp(rng.normal(0, 0.03))
                    rows.append((slot, name, n, took))
        period = period_of(rows, WEEKS * 168)
        start = number * WEEKS * 168
        moved = period.tables["path_hours"].with_columns(slot=period.tables["path_hours"]["slot"] + start)
        slot_ns = period.slot_ns
        made.append(
            replace(
                period, start_ns=start * slot_ns, end_ns=(start + WEEKS * 168) * slot_ns,
                tables=period.tables | {"path_hours": moved},
            )
        )  # fmt: skip
    return made


def modelled(periods: list[PeriodRollups], edge: int = 1) -> Modelled:
    """One edge's load model; edges are numbered in the order of their callers' names."""
    before, after = of_periods(periods, [edge])
    return model_edge(before[edge], after[edge], periods[1].end_ns, waits=False)


def growth_of(periods: list[PeriodRollups], edge: int = 1) -> tuple[float, tuple[float, float]]:
    """Log growth at equal load, and its interval."""
    found = modelled(periods, edge)
    assert found.fitted is not None, found.reason
    told = shift(found.fitted, found.points)
    return told.growth, told.growth_interval


CALM: Work = {"a": (36_000.0, 20.0), "b": (9_000.0, 20.0)}


def test_a_neighbour_with_heavier_calls_is_load_and_no_growth() -> None:
    """The other caller's calls take three times the work: the victim is slower by load, and says whose."""
    heavier = CALM | {"b": (9_000.0, 60.0)}
    periods = database([CALM, heavier])
    growth, (low, high) = growth_of(periods)
    assert abs(growth) < 0.03
    assert low <= 0 <= high
    before, after = of_periods(periods, [1])
    found = aggressor(1, before[1].asked, after[1].asked)
    assert found is not None
    assert (found.edge, found.calls) == (2, pytest.approx(1.0, abs=0.02))
    assert found.each == pytest.approx(3.0, rel=0.15)
    assert "times the work in each call" in found.words("b -> postgresql/shared SELECT")
    plain = [by_edge(period, [1])[1] for period in periods]  # each measured by itself: calls are calls
    alone = model_edge(plain[0], plain[1], periods[1].end_ns, waits=False)
    assert alone.fitted is not None
    assert shift(alone.fitted, alone.points).growth_interval[0] > 0.05  # invented by calls that count alike


def test_calls_of_one_kind_of_work_count_as_calls() -> None:
    """Pure contention: more of the same calls, all wait longer, and nobody's work is called heavier."""
    periods = database([CALM, {name: (1.25 * n, ms) for name, (n, ms) in CALM.items()}])
    before, after = of_periods(periods, [1])
    for period, found in zip(periods, (before, after), strict=True):
        rows = period.tables["path_hours"].group_by("slot", maintain_order=True).agg(pl.col("calls").sum())
        assert found[1].load == pytest.approx(rows["calls"].to_numpy() / 3600, rel=0.15)
    was, now = ([one[1].asked[n].seconds for n in (1, 2)] for one in (before, after))
    assert now == pytest.approx(was, rel=1e-9)
    growth, (low, high) = growth_of(periods)
    assert abs(growth) < 0.03
    assert low <= 0 <= high


def test_an_edge_that_got_slower_itself_is_no_load_for_itself() -> None:
    """Its own work takes half as long again: that is growth, for it, and load, for its neighbour."""
    periods = database([CALM, CALM | {"b": (9_000.0, 30.0)}])
    own, (low, _) = growth_of(periods, 2)
    assert low > 0.2
    assert own == pytest.approx(math.log(1.5), abs=0.1)
    assert abs(growth_of(periods, 1)[0]) < 0.05


def test_a_neighbour_that_got_lighter_makes_nobody_heavier() -> None:
    """The one that changed least is the measure, not the one that went down."""
    periods = database([CALM | {"b": (9_000.0, 40.0)}, CALM | {"b": (9_000.0, 10.0)}])
    before, after = of_periods(periods, [1])
    assert after[1].asked[1].seconds == pytest.approx(before[1].asked[1].seconds, rel=1e-9)
    assert after[1].asked[2].seconds == pytest.approx(before[1].asked[2].seconds / 4, rel=0.2)
    assert aggressor(1, before[1].asked, after[1].asked) is None


def test_a_database_that_is_slower_for_everybody_is_growth_for_everybody() -> None:
    """No edge is heavier than another, so the load is as before."""
    periods = database([CALM, CALM], servers_slower=1.3)
    for number in (1, 2):
        assert growth_of(periods, number)[0] == pytest.approx(math.log(1.3), abs=0.08)


def test_a_new_caller_is_named_as_new() -> None:
    """Work that nobody asked for before."""
    found = aggressor(1, {1: Asked(2.0, 0.01)}, {1: Asked(2.0, 0.01), 7: Asked(1.0, 0.05)})
    assert found is not None
    assert found.words("c -> db SELECT") == (
        "the work asked of what it calls rose by 250%, and all of that is c -> db SELECT: it is new there"
    )


@pytest.mark.parametrize(
    ("before", "now"),
    [
        ({1: Asked(2.0, 0.01)}, {1: Asked(4.0, 0.01)}),  # the victim's own calls
        (
            {1: Asked(2.0, 0.01), 2: Asked(1.0, 0.01)},
            {1: Asked(2.0, 0.01), 2: Asked(1.1, 0.01)},
        ),  # hardly more
        (
            {n: Asked(1.0, 0.01) for n in range(1, 5)},
            {n: Asked(1.5, 0.01) for n in range(1, 5)},
        ),  # everybody alike
    ],
)
def test_nobody_is_named_where_nobody_in_particular_brings_the_load(
    before: dict[int, Asked], now: dict[int, Asked]
) -> None:
    """The victim itself, a small rise, and a rise that all have."""
    assert aggressor(1, before, now) is None


@pytest.mark.parametrize(
    ("waits", "told"),
    [
        (lambda s: s * 1.4, (0.01, 0.05)),  # everybody waits as many times as long
        (lambda s: s + 0.01, (0.01, 0.05)),  # everybody waits as much longer
    ],
)
def test_waiting_longer_is_not_being_heavier(
    waits: Callable[[float], float], told: tuple[float, float]
) -> None:
    """Times that rose as a queue in front makes them rise count as they were."""
    times = {("s:db", n, 0): Quiet(s, 0.01) for n, s in enumerate(told)}
    times |= {("s:db", n, 1): Quiet(waits(s), 0.01) for n, s in enumerate(told)}
    assert {n: call_seconds(times)["s:db", n, 1] for n in range(2)} == pytest.approx(dict(enumerate(told)))


def test_what_chance_makes_heavier_counts_as_before() -> None:
    """Twice the time, known to a half only, is not told from the same."""
    times = {("s:db", n, stretch): Quiet(0.01, 0.02) for n in range(2) for stretch in range(2)}
    heavy = ("s:db", 2, 1)
    times[("s:db", 2, 0)] = Quiet(0.01, 0.02)
    unsure, sure = (times | {heavy: Quiet(0.02, error)} for error in (0.5, 0.02))
    assert call_seconds(unsure)[heavy] == 0.01
    assert call_seconds(sure)[heavy] == pytest.approx(0.02)


def test_the_victims_page_names_the_aggressor() -> None:
    """The split's evidence, which every page of the edge shows, has the sentence."""
    periods = database([CALM, CALM | {"b": (30_000.0, 20.0)}])
    victim = edge(5.0, caller="a", callee="postgresql/shared", operation="SELECT", credited_ms=5.0)
    (told,) = split.split_latency([victim], *periods, minimum_ms=0.1)
    (line,) = [line for line in told.evidence if "b -> postgresql/shared SELECT" in line]
    assert "all of that is" in line
    assert line.endswith("3.33 times the calls")


def test_who_waits_behind_longer_calls_is_not_told_to_grow() -> None:
    """Behind longer calls one waits longer than load alone makes it: left unsplit, and why."""
    rows = [CALM, CALM | {"b": (9_000.0, 60.0)}]
    periods = database(rows)
    slower = (
        periods[1]
        .tables["path_hours"]
        .with_columns(
            own_all_ns=pl.when(pl.col("path_id") == 1)
            .then(pl.col("own_all_ns") * 1.3)
            .otherwise(pl.col("own_all_ns"))
            .cast(pl.Int64)
        )
    )
    behind = [periods[0], replace(periods[1], tables=periods[1].tables | {"path_hours": slower})]
    victim = edge(9.0, caller="a", callee="postgresql/shared", operation="SELECT", credited_ms=9.0)
    (told,) = split.split_latency([victim], *behind, minimum_ms=0.1)
    assert told.effects == victim.effects
    assert split.BEHIND_LONGER in told.evidence
    (plain,) = split.split_latency([victim], *periods, minimum_ms=0.1)
    assert "latency_load" in plain.effects


def _thin(seed: int, calls: float) -> Modelled:
    """A database busy to nine tenths at HEAD's peaks, a quarter more load than in BASE, few calls a slot."""
    rng, made = np.random.default_rng(seed), []
    for number, more in enumerate((1.0, 1.25)):
        rows: list[tuple[int, str, int, float]] = []
        for slot in range(4 * 168):
            day = (1 + 0.6 * math.sin(slot / 24 * 2 * math.pi)) * more
            if n := int(rng.poisson(calls * day)):
                rows.append((slot, "a", n, float(rng.exponential(10 / (1 - 0.45 * day), n).mean())))
        period = period_of(rows, 4 * 168)
        start, length = number * 4 * 168, 4 * 168
        moved = period.tables["path_hours"].with_columns(slot=period.tables["path_hours"]["slot"] + start)
        made.append(
            replace(
                period, start_ns=start * period.slot_ns, end_ns=(start + length) * period.slot_ns,
                tables=period.tables | {"path_hours": moved},
            )
        )  # fmt: skip
    return modelled(made)


@pytest.mark.parametrize("calls", [3.0, 12.0])
def test_few_calls_a_slot_leave_open_what_of_a_rise_is_load(calls: float) -> None:
    """Near a wall an error of the load is several times that in latency: intervals hold no growth, too."""
    held = 0
    for seed in range(6):
        found = _thin(seed, calls)
        assert found.fitted is not None
        low, high = shift(found.fitted, found.points, found.load_noise).growth_interval
        bare = shift(found.fitted, found.points)
        assert low < bare.growth_interval[0] < bare.growth_interval[1] < high
        held += low <= 0 <= high
    assert held >= 5
