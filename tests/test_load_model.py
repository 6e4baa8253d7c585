"""The load model: what load does, told apart from what time does."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from click.testing import CliRunner
from numpy.typing import NDArray
from scipy.optimize import brentq, least_squares

from benchmarks.queues import Kind, two_periods
from tracescope import schema
from tracescope.analysis.capacity import arrivals
from tracescope.analysis.capacity import load_model as load
from tracescope.analysis.capacity.curve import SHAPES, Curve, slowdown
from tracescope.analysis.capacity.levels import judge
from tracescope.analysis.capacity.load_model import Points
from tracescope.analysis.capacity.split import Modelled, model_edge
from tracescope.analysis.rollups.period import PeriodRollups
from tracescope.cli import main
from tracescope.engine.rollups import RollupRequest, rollups
from tracescope.schema import HOUR_NS
from tracescope.store import open_store

DATA = Path(__file__).parent / "data"
#: Threads and queries a second of a Cisco benchmark: Schwartz, "Practical Scalability Analysis with the
#: Universal Scalability Law", 2015, which also gives lambda, sigma, kappa and the peak.
CISCO = (
    955.16, 1878.91, 2688.01, 3548.68, 4315.54, 5130.43, 5931.37, 6531.08, 7219.80, 7867.61, 8278.71,
    8646.70, 9047.84, 9426.55, 9645.37, 9897.24, 10097.60, 10240.50, 10532.39, 10798.52, 11151.43,
    11518.63, 11806.00, 12089.37, 12075.41, 12177.29, 12211.41, 12158.93, 12155.27, 12118.04, 12140.40,
    12074.39,
)  # fmt: skip


def of_curve(
    curve: Curve, rng: np.random.Generator, *, growth: float = 0.0, noise: float = 0.02, shift: float = 1.0
) -> Points:
    """Two months of the law itself, head at `shift` times the load."""
    made: list[Points] = []
    for period, (begin, end) in enumerate(((-12.0, -8.0), (-4.0, 0.0))):
        t = np.sort(rng.uniform(begin, end, 20))
        x = 20 * rng.permutation(np.linspace(0.4, 1.6, 20)) * (shift if period else 1.0)
        took = curve.latency_s(x, growth * t) * np.exp(rng.normal(0, noise, 20))
        made.append(Points(t, x, took, np.full(20, 1000.0), np.full(20, period)))
    return Points.join(made)


def test_the_curve_solves_the_law_for_the_arrivals() -> None:
    """Oracle: a root finder on R = R0 (1 + aN + bN^2) with N = X R."""
    for r0, a, b in ((0.01, 0.5, 0.0), (0.01, 0.0, 0.3), (0.2, 0.05, 0.01)):
        curve = Curve.of(r0, a, b)
        assert curve.contention == pytest.approx(a)
        assert curve.coherency == pytest.approx(b)
        for part in (0.1, 0.5, 0.9):
            x = part * curve.capacity

            def gap(r: float, x: float = x, r0: float = r0, a: float = a, b: float = b) -> float:
                return r0 * (1 + a * x * r + b * (x * r) ** 2) - r

            first = next(r for r in np.geomspace(r0, 1e4 * r0, 4000) if gap(r) < 0)
            assert curve.latency_s(np.array([x]))[0] == pytest.approx(
                brentq(gap, r0 * 0.999, first), rel=1e-6
            )


def test_every_shape_reaches_three_times_its_low_load_latency_at_its_wall() -> None:
    """Except coherency alone, which is at the end of its capacity before."""
    for shape in SHAPES:
        wall = shape.wall()
        value = math.exp(float(shape.slowdown(np.array([wall]))[0][0]))
        if wall < 0.98:
            assert value == pytest.approx(3.0, rel=1e-3)
        else:  # the end of capacity comes first
            assert shape.phi >= 2 / 3 or shape.queue is not None
        tiny = 1e-6
        slope = (shape.slowdown(np.array([0.5 + tiny]))[0] - shape.slowdown(np.array([0.5]))[0]) / tiny
        assert shape.slowdown(np.array([0.5]))[1] == pytest.approx(slope, rel=1e-3)


def fit_closed(concurrency: np.ndarray, throughput: np.ndarray) -> tuple[float, float, float]:
    """Gunther's law on closed-form data: ``lambda, sigma, kappa``.

    ``X(N) = lambda * N / (1 + sigma * (N - 1) + kappa * N * (N - 1))``; the same curve as `Curve.of`
    with ``R0 = (1 - sigma) / lambda, a = (sigma - kappa) / (1 - sigma), b = kappa / (1 - sigma)``.
    """

    def residual(theta: np.ndarray) -> np.ndarray:
        slow = 1 + theta[1] * (concurrency - 1) + theta[2] * concurrency * (concurrency - 1)
        return theta[0] * concurrency / slow - throughput

    first = float(throughput[0] / concurrency[0])
    found = least_squares(
        residual, [first, 0.01, 1e-4], bounds=([0, 0, 0], [np.inf, 1, 1]), x_scale=[first, 0.01, 1e-3],
        ftol=1e-14, xtol=1e-14, gtol=1e-14,
    )  # fmt: skip
    return float(found.x[0]), float(found.x[1]), float(found.x[2])


def test_a_published_scalability_example_is_reproduced() -> None:
    """The fit gives the book's lambda, sigma and kappa, and the open form the book's peak."""
    lam, sigma, kappa = fit_closed(np.arange(1, 33, dtype=np.float64), np.array(CISCO))
    assert (lam, sigma, kappa) == pytest.approx((995.6486, 0.02671591, 7.690945e-4), rel=1e-4)
    curve = Curve.of((1 - sigma) / lam, (sigma - kappa) / (1 - sigma), kappa / (1 - sigma))
    assert curve.capacity == pytest.approx(12341, rel=1e-3)


@pytest.mark.parametrize("phi", [0.0, 0.5])
def test_a_curve_and_its_growth_are_found_in_the_laws_own_data(phi: float) -> None:
    """Capacity, growth at equal load and the wall, within their intervals about as often as they say."""
    truth = Curve(0.01, 60.0, phi)
    inside = [0, 0]
    for seed in range(40):
        found = load.fit(of_curve(truth, np.random.default_rng(seed), growth=0.03))
        low, high = found.interval(found.draws["growth"])
        inside[0] += low <= 0.03 <= high
        low, high = found.interval(found.walls(), 0.8)
        inside[1] += low <= truth.wall <= high
    assert inside[0] >= 35, inside
    assert inside[1] >= 22, inside


@pytest.mark.parametrize("kind", ["M/M/1", "M/M/4", "lock"])
def test_growth_of_a_simulated_queue_is_found_at_equal_load(kind: str) -> None:
    """3 % a week, whatever kind of queue: the 95 % interval holds it in at least 16 of 20 runs."""
    queue = {"M/M/1": Kind(), "M/M/4": Kind(4), "lock": Kind(parallel_s=0.01)}[kind]
    rng = np.random.default_rng(7)
    inside, found = 0, []
    for _ in range(20):
        fitted = load.fit(two_periods(rng, queue, peak=0.75, growth=0.03, calls=600))
        low, high = fitted.interval(fitted.draws["growth"])
        inside += low <= 0.03 <= high
        found.append(fitted.growth)
    assert inside >= 16
    assert np.mean(found) == pytest.approx(0.03, abs=0.004)


def test_more_load_at_equal_work_is_no_growth() -> None:
    """Head at 1.4 times the load: the whole rise is the load's part."""
    points = of_curve(Curve(0.01, 60.0, 0.0), np.random.default_rng(2), shift=1.4)
    told = load.shift(load.better(points), points)
    assert told.load > 0.2
    assert told.growth_interval[0] <= 0.0 <= told.growth_interval[1]
    assert abs(told.growth) < 0.05


def test_a_step_between_the_periods_is_found_as_one() -> None:
    """A deploy that makes everything a fifth slower."""
    points = of_curve(Curve(0.01, 60.0, 0.0), np.random.default_rng(3))
    slower = Points(
        points.weeks,
        points.load,
        points.latency_s * np.where(points.period, 1.2, 1.0),
        points.calls,
        points.period,
    )
    assert load.better(slower).course.step
    assert load.shift(load.better(slower), slower).growth == pytest.approx(math.log(1.2), abs=0.04)


def risen(weeks: NDArray[np.float64], since: float, jump: float, rise: float) -> NDArray[np.float64]:
    """Log growth that begins at a moment: so much at once, and so much until now."""
    return np.where(weeks < since, 0.0, jump + rise * (weeks - since) / -since)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
    ("course", "words"),
    [((-4, 0.0, 0.3), "a rise"), ((-2, 0.3, 0.0), "a step")],
)
def test_growth_that_takes_its_own_course_is_told_from_load(
    course: tuple[float, float, float], words: str, seed: int
) -> None:
    """It begins with head, or within it, at a fifth more load: growth is what it is, and load what it is.

    A steady drift and a step between the periods leave residuals that hang together, as if hardly a window
    were independent of the others.
    """
    law = Curve(0.01, 60.0, 0.0)
    points = of_curve(law, np.random.default_rng(20 + seed), shift=1.2)
    logs = risen(points.weeks, *course)
    took = points.latency_s * np.exp(logs)
    found = load.better(replace(points, latency_s=took))
    assert found.course.step == (words == "a step")
    assert found.course.words in (words, "a step that goes on rising")
    assert found.dof > 10
    told = load.shift(found, replace(points, latency_s=took))
    head = points.period == 1
    mean = math.log(float(np.mean(np.exp(logs[head]))))
    assert told.growth == pytest.approx(mean, abs=0.06)
    assert told.growth_interval[0] > 0.05
    assert told.load > 0.05


def test_residuals_that_hang_together_by_themselves_choose_no_other_course() -> None:
    """Slow weather of a system that did not change: at most two of 20 are told as another course."""
    others = 0
    for seed in range(20):
        rng = np.random.default_rng(50 + seed)
        points = of_curve(Curve(0.01, 60.0, 0.0), rng)
        weather = np.zeros(40)
        for i in range(1, 40):
            weather[i] = 0.8 * weather[i - 1] + rng.normal(0, 0.02)
        found = load.better(replace(points, latency_s=points.latency_s * np.exp(weather)))
        head = float(points.weeks[points.period == 1].min())
        others += found.course not in (load.DRIFT, load.Course(head, step=True))
    assert others <= 2


def test_a_rise_that_began_lately_is_one_in_a_single_stretch_too() -> None:
    """Two quiet months, then 10 % a week: what lies ahead is 10 % a week, not the mean of all weeks."""
    rng = np.random.default_rng(5)
    weeks = np.linspace(-12, 0, 48)
    x = 20 * rng.permutation(np.linspace(0.4, 1.6, 48))
    took = Curve(0.01, 60.0, 0.0).latency_s(x, 0.1 * np.maximum(weeks + 3, 0)) * np.exp(
        rng.normal(0, 0.01, 48)
    )
    found = load.better(Points(weeks, x, took, np.full(48, 1000.0), np.zeros(48, np.int64)))
    assert found.course.words == "a rise"
    assert found.growth == pytest.approx(0.1, abs=0.02)


def test_the_scale_of_the_load_does_not_matter() -> None:
    """Sampled without saying so, load is a part of what it was; headroom and growth stay."""
    points = of_curve(Curve(0.01, 60.0, 0.2), np.random.default_rng(4), growth=0.02)
    a = load.fit(points)
    b = load.fit(Points(points.weeks, points.load / 100, points.latency_s, points.calls, points.period))
    assert b.curve.wall * 100 == pytest.approx(a.curve.wall, rel=1e-3)
    assert b.growth == pytest.approx(a.growth, abs=1e-4)


def test_periods_without_common_loads_are_refused_in_words() -> None:
    """Never a made-up number."""
    points = of_curve(Curve(0.01, 600.0, 0.0), np.random.default_rng(5), shift=8.0)
    assert "loads do not overlap" in (load.refusal(points) or "")
    few = points.select(np.arange(len(points)) < 22)
    assert "head has" in (load.refusal(few) or "")
    flat = Points(
        points.weeks, np.where(points.period, 10.5, 10.0), points.latency_s, points.calls, points.period
    )
    assert "hardly varies" in (load.refusal(flat) or "")
    assert load.refusal(of_curve(Curve(0.01, 60.0, 0.0), np.random.default_rng(5))) is None


def level(curve: Curve, x: float, number: int, rng: np.random.Generator, factor: float = 1.0) -> Points:
    took = curve.latency_s(np.array([x])) * factor * np.exp(rng.normal(0, 0.02, 1))
    return Points(np.array([0.0]), np.array([x]), took, np.array([1000.0]), np.array([number]))


def test_other_load_levels_judge_a_period_without_overlap() -> None:
    """What the curve expects is consistent with load; half as slow again is not; two levels say nothing."""
    curve, rng = Curve(0.01, 60.0, 0.0), np.random.default_rng(6)
    known = Points.join([level(curve, x, n, rng) for n, x in enumerate((5.0, 10.0, 15.0, 20.0, 25.0, 30.0))])
    assert judge(known, level(curve, 35.0, 9, rng)).consistent is True
    slow = judge(known, level(curve, 27.0, 9, rng, 1.5))
    assert slow.consistent is False
    assert "not explained by load" in slow.words
    assert judge(known.select(known.period < 2), level(curve, 20.0, 9, rng)).consistent is None


def period_of(
    rows: list[tuple[int, str, int, float]], hours: int, threshold: int = schema.NO_THRESHOLD
) -> PeriodRollups:
    """Rollups of database calls: hour, caller, calls, mean ms."""
    callers = sorted({caller for _, caller, _, _ in rows})
    ids = {caller: number + 1 for number, caller in enumerate(callers)}
    blank = dict.fromkeys(schema.PATH_HOURS, 0)
    path_hours = pl.DataFrame(
        [
            {**blank, "slot": slot, "path_id": ids[caller], "threshold": threshold, "calls": calls,
             "units": calls, "own_all_ns": int(ms * 1e6 * calls)}
            for slot, caller, calls, ms in rows
        ],
        schema=schema.dtypes(schema.PATH_HOURS),
    )  # fmt: skip
    paths = pl.DataFrame(
        [
            {"path_id": ids[caller], "parent_id": 0, "entry_id": 0, "depth": 1, "kind": schema.EDGE_DB,
             "caller": caller, "callee": "postgresql/shared", "operation": "SELECT", "edge_id": ids[caller],
             "uninstrumented": False}
            for caller in callers
        ],
        schema=schema.dtypes(schema.PATHS),
    )  # fmt: skip
    return PeriodRollups(0, hours * HOUR_NS, HOUR_NS, "", {"path_hours": path_hours, "paths": paths})


def test_a_shared_database_whose_other_caller_doubles_shows_no_growth() -> None:
    """The load is the database's, over all callers: one edge's own arrivals would invent growth."""
    curve, rng = Curve(0.005, 8000 / 3600, 0.0), np.random.default_rng(8)
    rows: list[tuple[int, str, int, float]] = []
    weeks = 12
    for slot in range(weeks * 168):
        day = 1 + 0.6 * math.sin(slot / 24 * 2 * math.pi)
        calls = {"a": rng.poisson(1200 * day), "b": rng.poisson(900 * day * (1 + slot / (weeks * 168)))}
        total = sum(calls.values())
        for caller, n in calls.items():
            ms = float(curve.latency_s(np.array([total / 3600]))[0]) * 1e3 * math.exp(rng.normal(0, 0.02))
            rows.append((slot, caller, int(n), ms))
    whole = period_of(rows, weeks * 168)
    edge = arrivals.by_edge(whole, [1])[1]
    points = arrivals.points(edge, whole.end_ns, 0)
    points = replace(points, period=(points.weeks > -6).astype(int))
    found = load.fit(points)
    assert abs(found.growth) < 0.003
    assert found.curve.capacity == pytest.approx(curve.capacity, rel=0.1)


@pytest.mark.parametrize("probability", [1.0, 0.1, 0.01])
def test_headroom_is_the_same_at_every_sampling_probability(probability: float) -> None:
    """The same traffic, counted whole, by tenths and by hundredths with its threshold written on it."""
    curve, rng = Curve(0.005, 20.0, 0.0), np.random.default_rng(9)
    threshold = int((1 - probability) * 2**56) if probability < 1 else schema.NO_THRESHOLD
    rows: list[tuple[int, str, int, float]] = []
    for slot in range(6 * 168):
        rate = 8 * (1 + 0.6 * math.sin(slot / 24 * 2 * math.pi))
        n = int(rng.binomial(rng.poisson(rate * 3600), probability))
        if n:
            ms = (
                float(curve.latency_s(np.array([rate]))[0])
                * 1e3
                * math.exp(rng.normal(0, 0.5 / math.sqrt(n)))
            )
            rows.append((slot, "a", n, ms))
    whole = period_of(rows, 6 * 168, threshold)
    edge = arrivals.by_edge(whole)[1]
    found = load.fit(arrivals.points(edge, whole.end_ns, 0))
    assert found.curve.wall / edge.peak_load == pytest.approx(curve.wall / (8 * 1.6), rel=0.08)
    assert abs(found.growth) < 0.01


def scaled(known: bool, *, fixed: bool = False) -> tuple[PeriodRollups, PeriodRollups]:
    """A service with two replicas in base and four in head, for twice the traffic; days as ever.

    With `fixed` its latency follows the load of all, as behind one lock.
    """
    rng, each = np.random.default_rng(12), Curve(0.02, 6.0, 0.0)
    made: list[PeriodRollups] = []
    for number, replicas in enumerate((2, 4)):
        rows: list[tuple[int, str, int, float]] = []
        for slot in range(4 * 168):
            rate = 1.6 * replicas * (1 + 0.6 * math.sin(slot / 24 * 2 * math.pi) * (1 + 0.2 * number))
            busy = rate / replicas if not fixed else rate / 3
            n = int(rng.poisson(rate * 600))
            ms = float(each.latency_s(np.array([busy]))[0]) * 1e3 * math.exp(rng.normal(0, 0.02))
            rows.append((slot + number * 4 * 168, "pricing", n, ms))
        period = period_of(rows, 8 * 168, int((1 - 1 / 6) * 2**56))
        paths = period.tables["paths"].with_columns(
            pl.lit(schema.EDGE_SELF, pl.Int8).alias("kind"), pl.lit(None, pl.String).alias("callee")
        )
        begin, end = (hours * 168 * 4 * HOUR_NS for hours in (number, number + 1))
        lives = pl.DataFrame(
            [
                {"slot": slot, "environment": "", "service": "pricing", "instance": f"{number}-{k}",
                 "version": "", "spans": 50, "first_ns": slot * HOUR_NS, "last_ns": (slot + 1) * HOUR_NS}
                for k in range(replicas) for slot in range(begin // HOUR_NS, end // HOUR_NS)
            ],
            schema=schema.dtypes(schema.SERVICE_HOURS),
        )  # fmt: skip
        tables = {**period.tables, "paths": paths} | ({"service_hours": lives} if known else {})
        made.append(PeriodRollups(begin, end, HOUR_NS, "", tables))
    return made[0], made[1]


def modelled(periods: tuple[PeriodRollups, PeriodRollups]) -> Modelled:
    base, head = (arrivals.by_edge(period)[1] for period in periods)
    return model_edge(base, head, periods[1].end_ns, waits=False)


def test_a_service_with_twice_the_replicas_for_twice_the_load_is_as_slow_as_before() -> None:
    """The load of each replica tells that; the load of all sees a service that got quicker."""
    told, blind = modelled(scaled(known=True)), modelled(scaled(known=False))
    assert told.replicas == pytest.approx((2.0, 4.0), rel=0.01)
    assert told.fitted is not None
    assert blind.fitted is not None
    assert told.fitted.cost < blind.fitted.cost / 2
    shift = load.shift(told.fitted, told.points)
    assert abs(shift.growth) < 0.03
    assert load.shift(blind.fitted, blind.points).growth < -0.2
    room = told.fitted.headroom(told.peak_load)
    assert room.times == pytest.approx(2 / 3 * 6.0 / told.peak_load, rel=0.15)
    assert told.peak_load == pytest.approx(blind.peak_load / 4, rel=0.01)


def test_replicas_that_buy_nothing_leave_the_load_that_of_all() -> None:
    """Behind one lock the load of all tells how slow it is, and is what is taken."""
    told = modelled(scaled(known=True, fixed=True))
    assert told.replicas is None
    assert told.fitted is not None
    assert abs(load.shift(told.fitted, told.points).growth) < 0.05


@pytest.mark.parametrize("peak", [0.5, 0.75])
def test_a_wall_that_nobody_has_seen_lies_beyond_the_loads_that_were(peak: float) -> None:
    """Sixteen servers are as quick as one until they are full: headroom is at least what was served."""
    hidden = 0
    for seed in range(8):
        points = two_periods(np.random.default_rng(seed), Kind(16), peak=peak)
        now = float(np.quantile(points.load, 0.9))
        room = load.fit(points).headroom(now)
        if room.bends:
            continue
        hidden += 1
        assert room.lower_bound
        assert room.interval == (room.times, None)
        assert 1.0 <= room.times <= points.load.max() / now
        assert room.times < Kind(16).wall / now
    assert hidden >= 5


def test_work_that_got_slower_takes_from_the_load_that_was_served() -> None:
    """A peak of twelve weeks ago says little of today when each call takes 5 % more a week."""
    points = two_periods(np.random.default_rng(3), Kind(16), peak=0.3, growth=0.05)
    points.load[0] *= 3.0
    assert points.weeks[0] < -11
    assert load.fit(points).highest < 0.8 * points.load[0]


def test_six_real_load_levels_are_consistent_with_load(tmp_path: Path) -> None:
    """DeathStarBench: each level against the curve of the other five; no pair of levels is called growth."""
    levels: list[PeriodRollups] = []
    for rate in (25, 50, 75, 100, 125, 150):
        where = tmp_path / str(rate)
        source = DATA / "dsb-hotel" / f"load{rate}.jsonl.gz"
        done = CliRunner().invoke(main, ["import", str(source), "--store", str(where)])
        assert done.exit_code == 0, done.output
        store = open_store(where)
        first, last = store.extent()
        levels.append(rollups(store, RollupRequest(first, last + 1, (last + 1 - first) // 512)))
    edges = [arrivals.by_edge(period) for period in levels]
    common = set.intersection(*(set(found) for found in edges))
    assert len(common) >= 10
    single = 0
    for edge in common:
        made = [arrivals.points(found[edge], 0, n) for n, found in enumerate(edges)]
        for n in range(6):
            others = Points.join([points for m, points in enumerate(made) if m != n])
            assert judge(others, made[n], alpha=0.05 / len(common)).consistent is True
            single += judge(others, made[n]).consistent is True
            for m in range(n):
                pair = Points.join(
                    [made[m], Points(*(getattr(made[n], f) for f in Points.__dataclass_fields__))]
                )
                pair = Points(
                    pair.weeks, pair.load, pair.latency_s, pair.calls, (pair.period == n).astype(int)
                )
                assert load.refusal(pair) is not None
    assert single >= 0.95 * 6 * len(common)


def test_slowdown_goes_on_as_a_line_beyond_capacity() -> None:
    """So that an optimiser may pass; finite everywhere."""
    value, slope = slowdown(np.array([0.5, 0.98, 1.5, 3.0]), 0.0)
    assert np.isfinite(value).all()
    assert (np.diff(value) > 0).all()
    assert slope[1] == slope[2] == slope[3]
