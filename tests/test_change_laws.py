"""Change points: how often intervals hold the truth, and what makes no difference."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray
from simulated import START_NS, Work, period, query, serve, spans
from test_changes import NOTHING, noise

from tracescope import schema
from tracescope.analysis.diff import diff
from tracescope.analysis.evidence import change_points
from tracescope.analysis.evidence.change_points import Step, find, split
from tracescope.analysis.report import Change, Edge
from tracescope.analysis.rollups.period import PeriodRollups

Floats = NDArray[np.float64]
ONES = np.ones(56)


def step(at: int, size: float, seed: int, n: int = 56) -> Floats:
    return noise(np.random.default_rng(seed), n) + size * (np.arange(n) >= at)


def found(values: Floats, weights: Floats | None = None, known: Floats | None = None, seed: int = 0) -> Step:
    made = split(
        values,
        np.ones(len(values)) if weights is None else weights,
        np.empty((len(values), 0)) if known is None else known,
        seed,
    )
    assert made is not None
    return made


def test_the_interval_holds_the_truth_neither_too_rarely_nor_always() -> None:
    """Two and a half deviations, where it is several bins wide: 95 % are stated, 92 to 98 are held."""
    rng = np.random.default_rng(1)
    held, widths = [], []
    for turn in range(300):
        at = int(rng.integers(12, 45))
        made = split(noise(rng) + 2.5 * (np.arange(56) >= at), ONES, NOTHING, turn)
        if made is not None:
            held.append(made.low <= at <= made.high)
            widths.append(made.high - made.low)
    assert len(held) > 120
    assert 0.92 <= np.mean(held) <= 0.98, np.mean(held)
    assert 1 <= np.median(widths) <= 8


def test_a_lower_coverage_is_held_less_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """60 % where 60 are stated, at least about: the figure decides."""
    monkeypatch.setattr(change_points, "COVERAGE", 40.0)
    rng = np.random.default_rng(1)
    held = []
    for turn in range(200):
        at = int(rng.integers(12, 45))
        made = split(noise(rng) + 1.6 * (np.arange(56) >= at), ONES, NOTHING, turn)
        if made is not None:
            held.append(made.low <= at <= made.high)
    assert 0.3 <= np.mean(held) <= 0.85, np.mean(held)


def test_noise_is_rarely_taken_for_a_step() -> None:
    """Of 200 series without a change at most a few in a hundred."""
    rng = np.random.default_rng(3)
    taken = sum(split(noise(rng), ONES, NOTHING, turn) is not None for turn in range(200))
    assert taken <= 6


@pytest.mark.parametrize("at", [7, 25, 44])
def test_what_is_added_and_what_is_multiplied_moves_no_instant(at: int) -> None:
    """Nor does the weight of all together; time backwards finds it from the other side."""
    values = step(at, 5.0, at)
    made = found(values)
    assert made.low <= made.at <= made.high
    assert found(1000.0 + values) == made
    assert found(7.0 * values) == made
    assert found(-values) == made
    assert found(values, 13.0 * ONES) == made
    assert found(values[::-1]).at == 56 - made.at


def test_an_exact_step_has_an_interval_of_one_bin() -> None:
    """Anywhere that leaves a level on either side; beyond, nothing."""
    n = 12
    for at in range(n + 1):
        values = 3.0 + 2.0 * (np.arange(n) >= at)
        made = split(values, np.ones(n), np.empty((n, 0)))
        if 2 <= at <= n - 2:
            assert made == Step(at, at, at)
        elif made is not None:
            assert made.at != at


def test_the_fewest_bins_are_enough_and_one_less_is_not() -> None:
    values = 1.0 * (np.arange(8) >= 4)
    assert split(values, np.ones(8), np.empty((8, 0))) is not None
    less = values[1:]
    assert split(less, np.ones(len(less)), np.empty((len(less), 0))) is None


def test_values_that_are_worth_nothing_move_nothing() -> None:
    """A week that hardly anybody used, ten times as slow: the step is where it is without it."""
    values = step(30, 5.0, 4)
    weights = ONES.copy()
    weights[10:17] = 1e-9
    odd = values.copy()
    odd[10:17] += 50.0
    made = found(odd, weights)
    assert made.at == 30
    loud = split(odd, ONES, NOTHING)
    assert loud is None or loud.at != 30


def test_a_step_beneath_weekends_is_found_where_it_is() -> None:
    """What repeats is taken out of the step as well."""
    weekend = (np.arange(56) % 7 >= 5).astype(np.float64)
    values = step(33, 4.0, 6) + 30.0 * weekend
    assert found(values, None, weekend[:, None]).at == pytest.approx(33, abs=1)


@pytest.mark.parametrize(("length", "is_step"), [(2, True), (20, False), (40, False)])
def test_a_ramp_of_two_days_is_a_step_and_one_of_weeks_is_none(length: int, is_step: bool) -> None:
    """Without noise: a shorter one than a quarter of the time is an instant to who looks at months."""
    ramp = np.clip((np.arange(56) - 28 + length / 2) / length, 0, 1)
    rng = np.random.default_rng(7)
    values = 20 * ramp + 0.5 * rng.standard_normal(56)
    assert (split(values, ONES, NOTHING) is not None) == is_step


def rss(values: Floats, column: Floats) -> float:
    """What is left of values beside their mean and a column, by plain least squares."""
    design = np.column_stack([np.ones(len(values)), column])
    rest = values - design @ np.linalg.lstsq(design, values, rcond=None)[0]
    return float(rest @ rest)


def test_a_step_must_fit_clearly_better_than_every_ramp_and_than_none() -> None:
    """Oracle: one regression for each step and each ramp of a quarter of the time or more."""
    n = 20
    at = np.arange(n)
    course = at / (n - 1)
    ramps = [
        np.clip((course - begin / 16) / ((end - begin) / 16), 0, 1)
        for begin in range(17) for end in range(begin + 4, 17)
    ]  # fmt: skip
    zigzag = np.where(at % 2, 1.0, -1.0)
    clear: list[bool] = []
    for size in np.linspace(0.2, 9.0, 23):
        values = zigzag + size * (at >= 10)
        left = min(rss(values, 1.0 * (at >= k)) for k in range(2, n - 1))
        none, ramp = rss(values, np.zeros(n)), min(rss(values, one) for one in ramps)
        clear.append(n * np.log(none / left) >= 6 + np.log(n) and n * np.log(ramp / left) >= 6)
        assert (split(values, np.ones(n), np.empty((n, 0))) is not None) == clear[-1], size
    assert {True, False} == set(clear)


def test_the_bootstrap_takes_stretches_of_the_residuals_as_they_are() -> None:
    """Every drawn value is one of them, and neighbours mostly stay neighbours."""
    residuals = np.arange(56.0)
    drawn = change_points._resample(residuals, np.random.default_rng(0))
    assert drawn.shape == (400, 56)
    assert set(np.unique(drawn)) <= set(residuals)
    together = np.mean((np.diff(drawn, axis=1) == 1) | (np.diff(drawn, axis=1) == -55))
    assert 0.8 < together < 0.95  # stretches of 8 of 56
    assert drawn.mean() == pytest.approx(27.5, abs=0.5)


# -- edges in time ----------------------------------------------------------------------------------

HOUR, DAY = schema.HOUR_NS, schema.DAY_NS


def slower(
    days: int, at_hour: int, versions: dict[tuple[str, str], int] | None = None
) -> tuple[PeriodRollups, PeriodRollups]:
    """Two periods of days; a database takes 9 instead of 5 ms from an hour after the first on."""
    made = []
    for number in (0, 1):
        begin = START_NS + number * days * DAY

        def program(rng: np.random.Generator, at: float, number: int = number) -> Work:
            hour = (number + at) * days * 24
            ms = (9.0 if hour >= at_hour else 5.0) * float(rng.lognormal(0, 0.03))
            return serve("shop", "GET /", 2.0, [query("pg/stock", "SELECT", ms)])

        one = period(
            spans(program, start_ns=begin, hours=24 * days, per_hour=2, seed=number), begin, 24 * days
        )
        rows = [
            {"slot": ns // HOUR, "environment": "", "service": service, "instance": "", "version": version,
             "spans": 1, "first_ns": ns, "last_ns": ns + 1}
            for (service, version), ns in (versions or {}).items() if begin <= ns < begin + days * DAY
        ]  # fmt: skip
        tables = {
            **one.tables,
            "service_hours": pl.DataFrame(rows, schema=schema.dtypes(schema.SERVICE_HOURS)),
        }
        made.append(replace(one, tables=tables))
    return made[0], made[1]


def database(edges: tuple[Edge, ...]) -> Edge:
    return next(edge for edge in edges if edge.callee == "pg/stock")


def changed(pair: tuple[PeriodRollups, PeriodRollups]) -> Change:
    found = database(find(suspected(pair), *pair)).change
    assert found is not None
    return found


def suspected(pair: tuple[PeriodRollups, PeriodRollups]) -> tuple[Edge, ...]:
    """Edges of a diff, the database's significant, and none dated yet."""
    edges = diff(*pair).edges
    return tuple(replace(one, significant=one.callee is not None, change=None) for one in edges)


@pytest.mark.parametrize(("days", "bin_hours"), [(4, 3), (6, 4), (7, 24), (8, 24)])
def test_a_change_is_told_by_the_day_from_two_weeks_on_and_by_a_64th_below(days: int, bin_hours: int) -> None:
    """Its interval begins with the bin before and ends with its own: the change may lie in either."""
    hour = days * 24 + 24
    found = changed(slower(days, hour))
    assert found.at_ns == START_NS + hour * HOUR
    assert found.at_ns - found.low_ns == bin_hours * HOUR
    assert found.high_ns - found.at_ns == bin_hours * HOUR


def test_a_change_is_told_with_the_versions_that_appeared_in_it_at_either_end() -> None:
    """Not with the first of a service, not with others', not with those before or after."""
    begin = START_NS + 5 * DAY
    found = changed(slower(4, 5 * 24, {
        ("shop", "1.0"): START_NS, ("shop", "1.1"): begin - 30 * HOUR, ("shop", "1.2"): begin + HOUR,
        ("shop", "1.3"): begin + 30 * HOUR, ("pg/stock", "15"): START_NS, ("pg/stock", "16"): begin - HOUR,
        ("cart", "1"): START_NS, ("cart", "2"): begin + HOUR, ("shop", ""): begin,
    }))  # fmt: skip
    assert [(one.service, one.version) for one in found.versions] == [("pg/stock", "16"), ("shop", "1.2")]


def test_only_the_first_significant_edges_are_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    pair = slower(4, 5 * 24)
    edges = suspected(pair)
    assert database(find(edges, *pair)).change is not None
    quiet = tuple(replace(edge, significant=False) for edge in edges)
    assert find(quiet, *pair) == quiet
    monkeypatch.setattr(change_points, "MOST_EDGES", 0)
    assert find(edges, *pair) == edges


def test_a_change_between_months_that_nobody_saw_has_no_instant() -> None:
    """Up to three bins may be missing around it."""
    for gap_days, told in ((2, True), (9, False)):
        base, head = slower(8, 8 * 24)
        later = gap_days * DAY
        moved = {
            name: table.with_columns(pl.col("slot") + later // HOUR) if "slot" in table.columns else table
            for name, table in head.tables.items()
        }
        head = replace(head, start_ns=head.start_ns + later, end_ns=head.end_ns + later, tables=moved)
        pair = base, head
        assert (database(find(suspected(pair), *pair)).change is not None) == told, gap_days


def test_more_calls_are_dated_by_the_calls_and_not_by_their_latency() -> None:
    """One query becomes three from the second day of HEAD on, each as quick as before."""
    made = []
    for number in (0, 1):
        begin = START_NS + number * 4 * DAY

        def program(rng: np.random.Generator, at: float, number: int = number) -> Work:
            times = 3 if (number + at) * 4 >= 5 else 1
            return serve(
                "shop", "GET /", 2.0, [query("pg/stock", "SELECT", 5 * rng.lognormal(0, 0.1), times=times)]
            )

        made.append(period(spans(program, start_ns=begin, hours=96, per_hour=2, seed=number), begin, 96))
    assert changed((made[0], made[1])).at_ns == START_NS + 5 * DAY


def test_twenty_edges_are_dated_at_most() -> None:
    """Those that come first."""
    pair = slower(4, 5 * 24)
    many = (database(suspected(pair)),) * 22
    assert [one.change is not None for one in find(many, *pair)] == [True] * 20 + [False] * 2


@pytest.mark.parametrize(("days", "columns"), [(6, 0), (7, 1), (10, 1)])
def test_weekends_are_known_where_bins_are_days(
    monkeypatch: pytest.MonkeyPatch, days: int, columns: int
) -> None:
    """Saturday and Sunday of UTC; shorter bins know none."""
    seen: list[tuple[Floats, NDArray[np.int64]]] = []

    def recorded(values: Floats, weights: Floats, known: Floats, *, times: NDArray[np.int64]) -> None:
        seen.append((known, times))

    monkeypatch.setattr(change_points, "split", recorded)
    pair = slower(days, days * 24)
    find(suspected(pair), *pair)
    for known, times in seen:
        assert known.shape == (len(times), columns)
        if columns:
            weekday = pl.Series(times).cast(pl.Datetime("ns")).dt.weekday().to_numpy()
            assert known[:, 0].tolist() == (weekday >= 6).astype(float).tolist()
    assert seen


def test_a_bin_is_a_64th_of_both_periods_in_whole_slots_of_the_finer() -> None:
    """One slot at least, and a day from two weeks on."""
    base, head = slower(4, 5 * 24)
    assert change_points._bin(base, head) == 3 * HOUR
    assert change_points._bin(replace(base, slot_ns=HOUR // 12), head) == 3 * HOUR
    assert change_points._bin(base, replace(head, slot_ns=4 * HOUR)) == 3 * HOUR
    short = replace(base, end_ns=base.start_ns + HOUR)
    assert change_points._bin(short, short) == HOUR
    long = replace(base, end_ns=base.start_ns + 7 * DAY)
    assert change_points._bin(long, long) == DAY


def test_versions_appear_where_they_are_first_seen() -> None:
    """In whichever of their hours is first; a store of before knows none."""
    base, head = slower(2, 24, {("shop", "1"): START_NS, ("shop", "2"): START_NS + DAY})
    hours = base.tables["service_hours"]
    later = hours.with_columns(pl.col("first_ns") + 7 * HOUR, pl.col("slot") + 7)
    twice = replace(base, tables={**base.tables, "service_hours": pl.concat([hours, later])})
    assert change_points.versions_of(twice, head).rows() == [("shop", "2", START_NS + DAY)]
    none = [
        replace(one, tables={k: v for k, v in one.tables.items() if k != "service_hours"})
        for one in (base, head)
    ]
    assert change_points.versions_of(none[0], none[1]).is_empty()


def test_bins_without_calls_count_as_none_and_bins_without_visits_are_left_out() -> None:
    """An edge that is new has nothing a unit before; the latency of what was not called is unknown."""
    base, head = slower(4, 5 * 24)
    ((k, edge),) = [(k, one) for k, one in enumerate(suspected((base, head))) if one.callee == "pg/stock"]
    gone = base.tables["path_hours"].filter(pl.col("slot") < START_NS // HOUR + 48)
    less = replace(base, tables={**base.tables, "path_hours": gone})
    calls = replace(edge, effects={"calls": 1.0})
    starts, values, _ = change_points._series({k: calls}, less, head, 3 * HOUR)[k]
    assert len(starts) == 64
    assert values.tolist() == [1.0] * 16 + [0.0] * 16 + [1.0] * 32
    latency = replace(edge, effects={"latency_growth": 1.0})
    starts, values, _ = change_points._series({k: latency}, less, head, 3 * HOUR)[k]
    assert len(starts) == 48
    assert np.isfinite(values).all()
