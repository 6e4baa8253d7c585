"""Change points: where levels change, how sure that is, and which version appeared then."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.scenarios import compare
from benchmarks.worlds.mechanisms import Truth, World
from benchmarks.worlds.simulate import Conditions, Timeline
from benchmarks.worlds.topology import Call, Operation, Step, System
from tracescope.analysis.evidence.change_points import split
from tracescope.schema import DAY_NS, HOUR_NS

NOTHING = np.empty((56, 0))


def noise(rng: np.random.Generator, n: int = 56, correlation: float = 0.0) -> NDArray[np.float64]:
    drawn = rng.normal(0, 1, n)
    for k in range(1, n):
        drawn[k] = correlation * drawn[k - 1] + np.sqrt(1 - correlation**2) * drawn[k]
    return drawn


@pytest.mark.parametrize("at", [5, 28, 50])
def test_a_step_is_found_where_it_is(at: int) -> None:
    """Four standard deviations, anywhere in eight weeks."""
    values = noise(np.random.default_rng(at)) + 4.0 * (np.arange(56) >= at)
    step = split(values, np.ones(56), NOTHING)
    assert step is not None
    assert step.low <= at <= step.high
    assert step.high - step.low <= 6


@pytest.mark.parametrize("correlation", [0.0, 0.5])
def test_the_interval_holds_the_truth_about_as_often_as_it_says(correlation: float) -> None:
    """Four deviations, 200 times; 95 % stated."""
    rng = np.random.default_rng(1)
    held = found = 0
    for turn in range(200):
        at = int(rng.integers(12, 45))
        step = split(noise(rng, 56, correlation) + 4.0 * (np.arange(56) >= at), np.ones(56), NOTHING, turn)
        if step is not None:
            found += 1
            held += step.low <= at <= step.high
    assert found >= 150
    assert held >= 0.88 * found


def test_what_creeps_has_no_instant() -> None:
    """A line is a line, with noise or without."""
    rng = np.random.default_rng(2)
    line = np.arange(56) / 56 * 6
    assert split(line, np.ones(56), NOTHING) is None
    assert sum(split(line + noise(rng), np.ones(56), NOTHING) is not None for _ in range(50)) <= 3


@pytest.mark.parametrize(
    "course",
    [
        lambda at: np.clip(2 * at, 0, 1),
        lambda at: np.clip(2 * at - 1, 0, 1),
        lambda at: (1 / (1 - 0.9 * at) - 1) / 9,
        lambda at: 1 - np.exp(-4 * at),
        lambda at: 1 / (1 + np.exp(-12 * (at - 0.5))),
    ],
    ids=["early", "late", "queue", "saturating", "sigmoid"],
)
@pytest.mark.parametrize("rise", [4.0, 12.0])
def test_what_creeps_for_a_part_of_the_time_or_faster_and_faster_has_none_either(
    course: Callable[[NDArray[np.float64]], NDArray[np.float64]], rise: float
) -> None:
    """A line fits none of these, and two levels fit some of them better than a line does."""
    rng = np.random.default_rng(4)
    ramp = rise * course(np.arange(56) / 55)
    assert sum(split(ramp + noise(rng), np.ones(56), NOTHING) is not None for _ in range(50)) <= 4


def test_what_crept_while_nobody_looked_did_not_jump() -> None:
    """Two months with three others between: a line, not a step where the second begins."""
    times = np.concatenate([np.arange(28), np.arange(120, 148)])
    values = times / 20 + noise(np.random.default_rng(6)) * 0.4
    assert split(values, np.ones(56), NOTHING) is not None
    assert split(values, np.ones(56), NOTHING, times=times) is None


def test_a_slow_weekend_is_no_change() -> None:
    """What repeats every week is known."""
    weekend = (np.arange(56) % 7 >= 5).astype(np.float64)
    values = 5 * weekend + 0.1 * noise(np.random.default_rng(3))
    assert split(values, np.ones(56), weekend[:, None]) is None


def test_a_constant_and_a_short_series_have_no_change() -> None:
    assert split(np.full(56, 3.0), np.ones(56), NOTHING) is None
    assert split(np.zeros(56), np.ones(56), NOTHING) is None
    assert split(np.array([1.0, 1.0, 5.0, 5.0]), np.ones(4), np.empty((4, 0))) is None


def test_the_version_that_brought_a_slowdown_stands_beside_it() -> None:
    """Cart is deployed twice; its query gets slower with the second deploy."""
    timeline = Timeline(base_days=14, head_days=14, traces_an_hour=10.0)
    begin = timeline.head_ns + 4 * DAY_NS + 10 * HOUR_NS
    reads = tuple(Call(k, "db", "cart", f"redis/{k}", f"GET c{k}", 8.0) for k in range(3, 9))
    operation = Operation(1, "cart", "GET /cart", "http", 6.0, (Step(2, reads, False),))
    world = World(
        "",
        System({1: operation}, {1: 1.0}, {}, {"cart": 2}),
        timeline,
        Conditions(
            slower={3: [lambda t: np.where(t >= begin, 2.0, 1.0)]},
            deploys={"cart": [timeline.first_day_ns + 9 * DAY_NS, begin]},
            day_noise=0.01,
        ),
        Truth(),
    )
    first = compare(world, 5).edges[0]
    assert (first.callee, first.significant) == ("redis/3", True)
    assert first.change is not None
    assert first.change.low_ns <= begin <= first.change.high_ns
    assert [(one.service, one.version) for one in first.change.versions] == [("cart", "1.2.0")]
