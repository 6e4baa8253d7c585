"""Laws of backlogs by hand: a queue message by message, slots that are empty, and what explains a wait."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from tracescope.analysis.capacity import backlog
from tracescope.analysis.capacity.arrivals import Arrivals
from tracescope.analysis.capacity.backlog import follow, remembers
from tracescope.schema import HOUR_NS

Floats = NDArray[np.float64]


def waiting(
    arrived: Floats, wait_s: Floats, *, calls: Floats | None = None, slot_ns: int = HOUR_NS
) -> Arrivals:
    """Slots of messages that waited so long."""
    counted = arrived if calls is None else calls
    start = np.arange(len(arrived)) * slot_ns
    return Arrivals(start, slot_ns, counted, counted, wait_s, arrived, counted, 0.1, arrived=arrived)


def filled(arrived: Floats, capacity: float, slot_s: float = 3600.0) -> Floats:
    """Oracle: what lies in the queue amid each slot, over what is taken a second, slot by slot."""
    left, waits = 0.0, []
    for came in arrived.tolist():
        before, left = left, max(left + came - capacity, 0.0)
        waits.append((before + left) / 2 / capacity * slot_s)
    return np.array(waits)


DAY = np.r_[np.full(12, 20.0), np.full(12, 70.0)]


def test_waits_are_those_of_a_queue_that_arrivals_fill_and_consumers_empty() -> None:
    """Slot by slot, for every capacity at once; an empty queue stays empty."""
    arrived = np.random.default_rng(1).poisson(np.tile(DAY, 5)).astype(np.float64)
    capacities = np.array([40.0, 50.0, 90.0])
    found = backlog._waits(arrived, capacities, 1800.0)
    for row, capacity in zip(found, capacities.tolist(), strict=True):
        assert row == pytest.approx(filled(arrived, capacity, 1800.0))
    assert backlog._waits(np.array([3.0, 0.0, 0.0]), np.array([2.0]), 10.0).tolist() == [[2.5, 2.5, 0.0]]


def test_the_capacity_is_the_one_that_makes_the_waits_and_heads_are_what_it_makes_of_them() -> None:
    """By hand: a queue that 50 an hour empty, and ten minutes at least; more messages in head."""
    base = np.tile(DAY, 8)
    head = 1.05 * base
    before, after = filled(base, 50.0) + 600.0, filled(head, 50.0) + 600.0
    found = follow(waiting(base, before), waiting(head, after + 300.0))
    assert found is not None
    assert found.capacity * 3600 == pytest.approx(50.0, rel=0.003)
    assert found.more == pytest.approx(1.05)
    assert found.base_s == pytest.approx(np.average(before, weights=base))
    assert found.head_s == pytest.approx(np.average(after + 300.0, weights=head))
    assert found.expected_s == pytest.approx(np.average(after, weights=head), rel=0.01)
    assert found.error_s == pytest.approx(0.0, abs=1e-6)
    half = follow(waiting(base, before, calls=base / 2), waiting(head, after + 300.0, calls=head / 2))
    assert half is not None
    assert half.expected_s == pytest.approx(found.expected_s)
    assert half.capacity == found.capacity


def test_what_is_usual_is_told_by_single_messages_too() -> None:
    """Of hours in which one comes: they wait a minute, and what comes later far longer."""
    base = np.tile(np.r_[np.full(12, 1.0), np.full(12, 70.0)], 8)
    before = filled(base, 40.0) + 60.0
    found = follow(waiting(base, before), waiting(base, before))
    assert found is not None
    assert found.expected_s == pytest.approx(found.base_s, rel=0.005)


def test_a_queue_of_bursts_is_followed_that_is_empty_most_of_the_time() -> None:
    """Consumers that take three times the mean, and one hour a day of fifteen times as many."""
    base = np.tile(np.r_[np.full(23, 6.0), 180.0], 8)
    capacity = 3.0 * float(base.mean())
    before = filled(base, capacity) + 60.0
    found = follow(waiting(base, before), waiting(base, before))
    assert found is not None
    assert found.capacity * 3600 == pytest.approx(capacity, rel=0.004)


def test_the_error_is_a_jackknife_over_bases_days() -> None:
    """Oracle: the whole of it again without each day in turn."""
    rng = np.random.default_rng(3)
    base = rng.poisson(np.tile(DAY, 6)).astype(np.float64)
    pace = np.repeat(rng.uniform(46, 54, 6), 24)
    before = np.empty(len(base))
    left = 0.0
    for k, (came, capacity) in enumerate(zip(base.tolist(), pace.tolist(), strict=True)):
        at, left = left, max(left + came - capacity, 0.0)
        before[k] = (at + left) / 2 / capacity * 3600
    one = waiting(base, before)
    found = follow(one, one)
    assert found is not None
    capacities = backlog.CAPACITIES * base.mean()
    usual = np.quantile(before, 0.1)
    expected = []
    for day in range(6):
        kept = np.arange(len(base)) // 24 != day
        off = [
            float((((filled(base, capacity) + usual - before) ** 2) * base)[kept].sum())
            for capacity in capacities.tolist()
        ]
        expected.append(np.average(filled(base, float(capacities[np.argmin(off)])), weights=base) + usual)
    exact = math.sqrt(5 / 6 * float(((np.array(expected) - np.mean(expected)) ** 2).sum()))
    assert exact > 1.0
    assert found.error_s == pytest.approx(exact, rel=1e-6)


def test_slots_without_messages_are_there_and_days_are_twenty_four_hours() -> None:
    """A night without any empties the queue; slots of a quarter of an hour make days of 96."""
    came = waiting(np.array([5.0, 7.0, 9.0]), np.array([1.0, 2.0, 3.0]))
    gappy = replace(came, start_ns=np.array([30, 31, 54]) * HOUR_NS)
    slots = backlog._Slots.of(gappy)
    assert len(slots.arrived) == 25
    assert slots.arrived[[0, 1, 24]].tolist() == [5.0, 7.0, 9.0]
    assert slots.arrived.sum() == slots.calls.sum() == 21.0
    assert slots.wait_s[[0, 1, 24]].tolist() == [1.0, 2.0, 3.0]
    assert (slots.day[23], slots.day[24], slots.slot_s) == (0, 1, 3600.0)
    quarter = backlog._Slots.of(waiting(np.ones(200), np.ones(200), slot_ns=HOUR_NS // 4))
    assert (quarter.day[95], quarter.day[96], quarter.slot_s) == (0, 1, 900.0)
    long = backlog._Slots.of(waiting(np.ones(3), np.ones(3), slot_ns=48 * HOUR_NS))
    assert long.day.tolist() == [0, 1, 2]
    assert backlog._Slots.of(replace(came, arrived=None, calls=came.calls * 2)).arrived.tolist() == [
        10,
        14,
        18,
    ]


def test_waits_remember_where_a_tenth_of_the_messages_waits_for_half_a_slot() -> None:
    """By messages and not by slots; just on either side."""
    for wait, share, told in ((1801.0, 10.0, True), (1800.0, 10.0, False), (1801.0, 9.9, False)):
        came = waiting(np.array([share, 100.0 - share]), np.array([wait, 5.0]))
        assert remembers(came) == told, (wait, share)
    assert remembers(waiting(np.ones(2), np.array([0.51, 0.0]), slot_ns=10**9))


def test_what_explains_less_than_half_of_the_waits_variance_is_no_backlog() -> None:
    """Nor are three days enough, nor a queue that nothing comes to."""
    base = np.tile(DAY, 8)
    truth = filled(base, 50.0)
    noise = np.random.default_rng(5).exponential(1.0, len(base))
    told: list[bool] = []
    for part in np.geomspace(1000, 30_000, 12).tolist():
        wait = truth + part * noise
        usual = float(np.quantile(wait, 0.1))
        capacities = (backlog.CAPACITIES * base.mean()).tolist()
        least = min(float((filled(base, one) + usual - wait) ** 2 @ base) for one in capacities)
        spread = float((wait - np.average(wait, weights=base)) ** 2 @ base)
        one = waiting(base, wait)
        told.append(follow(one, one) is not None)
        assert told[-1] == (least <= 0.5 * spread), part
    assert 2 <= sum(told) <= 10, told
    assert told == sorted(told, reverse=True)
    exact = waiting(base, truth + 60)
    for hours, known in ((96, True), (72, False)):
        short = waiting(base[:hours], truth[:hours] + 60)
        assert (follow(short, exact) is not None) == known
    assert follow(waiting(0 * base, truth), exact) is None
    assert follow(exact, waiting(0 * base, truth, calls=base)) is None
