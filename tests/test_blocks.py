"""Matching hours and cutting blocks: what makes two periods comparable, on slots written by hand."""

from __future__ import annotations

import numpy as np
import pytest

from tracescope.analysis.statistics.blocks import Extent, Matched, Slots, hour_of_week, match
from tracescope.schema import DAY_NS, HOUR_NS

#: A Monday, 00:00 UTC.
MONDAY = 20_241  # days since the epoch
MINUTE_NS = HOUR_NS // 60


def hours(
    first_day: float,
    days: float,
    *,
    only: range | None = None,
    slot_ns: int = HOUR_NS,
    first: int | None = None,
) -> Extent:
    """A period that begins so many days after a Monday, with a unit of work in every hour (of the day).

    Of its slots only the `first` may hold any.
    """
    begin = int((MONDAY + first_day) * DAY_NS)
    slots = np.arange(begin // slot_ns, int(begin + days * DAY_NS) // slot_ns)
    if only is not None:
        slots = slots[np.isin(slots * slot_ns // HOUR_NS % 24, list(only))]
    slots = slots[:first]
    return Extent(slots, np.ones(len(slots)), begin, int(begin + days * DAY_NS), slot_ns)


def weights(slots: Slots) -> dict[int, float]:
    return dict(zip(slots.frame["slot"].to_list(), slots.frame["weight"].to_list(), strict=True))


def test_the_hour_of_the_week_is_that_of_the_zone() -> None:
    """Monday 00 h is 0; Tokyo is nine hours ahead, New York four behind in June."""
    slots = np.array([MONDAY * 24, MONDAY * 24 + 167, MONDAY * 24 + 168])
    assert hour_of_week(slots, HOUR_NS, "UTC").tolist() == [0, 167, 0]
    assert hour_of_week(slots, HOUR_NS, "Asia/Tokyo").tolist() == [9, 8, 9]
    june = np.array([20_241 * 24])
    assert hour_of_week(june, HOUR_NS, "America/New_York").tolist() == [164]
    assert hour_of_week(np.array([MONDAY * 24 * 60 + 59]), MINUTE_NS, "UTC").tolist() == [0]


def test_equal_weeks_are_compared_as_they_are() -> None:
    """Every hour counts once, in days."""
    matched = match(hours(0, 14), hours(14, 14), "UTC")
    assert matched.notes == ()
    for side in (matched.base, matched.head):
        assert set(weights(side).values()) == {1.0}
        assert (side.blocks, side.daily, side.enough) == (14, True, True)
        assert side.frame["block"].to_list() == [day for day in range(14) for _ in range(24)]


def test_a_period_with_one_more_monday_has_no_more_of_mondays() -> None:
    """Eight days against seven: the two Mondays count as one, and both sides weigh every hour alike."""
    matched = match(hours(0, 7), hours(7, 8), "UTC")
    base, head = weights(matched.base), weights(matched.head)
    first, second = (int((MONDAY + day) * 24) for day in (0, 1))
    assert base[first] == pytest.approx((1 + 2 * 168 / 192) / 2)
    assert base[second] == pytest.approx((1 + 168 / 192) / 2)
    assert head[first + 168] == head[first + 14 * 24] == pytest.approx((192 / 168 / 2 + 1) / 2)
    assert head[second + 168] == pytest.approx((192 / 168 + 1) / 2)
    sums = []
    for side, extent in ((base, hours(0, 7)), (head, hours(7, 8))):
        of = hour_of_week(extent.slots, HOUR_NS, "UTC")
        total = np.zeros(168)
        for slot, hour in zip(extent.slots.tolist(), of.tolist(), strict=True):
            total[hour] += side[slot]
        sums.append(total / total.sum())
    assert sums[0] == pytest.approx(sums[1])
    assert matched.notes == ()


def test_hours_that_only_one_period_has_are_left_out_and_told() -> None:
    """Base by day and night, head by day: half of base is too little to compare with, and says so."""
    matched = match(hours(0, 7), hours(7, 7, only=range(20)), "UTC")
    assert matched.base.frame.height == 7 * 20
    assert matched.head.frame.height == 7 * 20
    assert matched.notes == (
        "hours of the week that only one period has are left out: 28 h of base, 0 h of head",
    )
    short = match(hours(0, 7), hours(7, 7, only=range(8)), "UTC")
    assert short.notes == ("head is short: it is compared with the same hours of the week of base",)
    for kept, said in (
        (16, "left out: 56 h of base"),
        (12, "left out: 84 h of base"),
    ):  # half is not more than half
        (note,) = match(hours(0, 7), hours(7, 7, only=range(kept)), "UTC").notes
        assert said in note
    other = match(hours(0, 7, only=range(8)), hours(7, 7), "UTC")
    assert other.notes == ("base is short: it is compared with the same hours of the week of head",)


def test_parts_of_a_week_are_matched_by_weekdays_and_weekends_or_by_hours_of_the_day() -> None:
    """Monday and Tuesday against Wednesday and Thursday, and against Saturday and Sunday."""
    days = match(hours(0, 2), hours(2, 2), "UTC")
    assert days.base.frame.height == days.head.frame.height == 48
    assert days.notes == ()
    weekend = match(hours(0, 2), hours(5, 2), "UTC")
    assert weekend.base.frame.height == weekend.head.frame.height == 48
    apart = match(hours(0, 2, only=range(8)), hours(2, 2, only=range(12, 20)), "UTC")
    assert apart.notes == ("the periods share too few hours of the week to be matched by them",)
    assert apart.base.frame.height == 16


def test_weekdays_are_matched_with_weekdays_and_weekends_with_weekends() -> None:
    """Thursday to Saturday against Sunday and Monday: two weekdays weigh what one does, with its weekend."""
    matched = match(hours(3, 3), hours(6, 2), "UTC")
    assert matched.notes == ()
    base, head = weights(matched.base), weights(matched.head)
    thursday, saturday, sunday, monday = (int((MONDAY + day) * 24 + 7) for day in (3, 5, 6, 7))
    assert base[thursday] == pytest.approx((2 / 3 + 1 / 2) / 2 / (2 / 3))
    assert base[saturday] == pytest.approx((1 / 3 + 1 / 2) / 2 / (1 / 3))
    assert head[monday] == pytest.approx((2 / 3 + 1 / 2) / 2 / (1 / 2))
    assert head[sunday] == pytest.approx((1 / 3 + 1 / 2) / 2 / (1 / 2))


def test_periods_under_two_days_are_not_matched() -> None:
    """An evening is compared with a morning as it is."""
    matched = match(hours(0, 1, only=range(8)), hours(1, 1, only=range(12, 20)), "UTC")
    assert matched.notes == ()
    assert matched.base.frame.height == matched.head.frame.height == 8
    just = match(hours(0, 2), hours(2, 1), "UTC")
    assert just.head.frame.height == 24
    assert just.base.frame.height == 48


@pytest.mark.parametrize(
    ("extent", "blocks", "daily", "enough"),
    [
        (hours(0, 2), 2, True, True),
        (hours(0, 32), 32, True, True),
        (hours(0, 33), 17, True, True),  # of two days each
        (hours(0, 64), 32, True, True),
        (hours(0, 1), 24, False, True),
        (hours(0, 1.9), 32, False, True),
        (hours(0, 0.125), 3, False, False),
        (hours(0, 4 / 24), 4, False, True),
        (hours(0, 1 / 24, slot_ns=MINUTE_NS), 32, False, True),
        (hours(0, 0.5 / 24, slot_ns=MINUTE_NS), 30, False, True),
        (hours(0, 0.0), 0, False, False),
        (hours(0, 2, only=range(0)), 0, True, False),
        (hours(0, 2, first=24), 1, True, False),
    ],
)
def test_blocks_are_days_or_several_hours_or_stretches_of_them(
    extent: Extent, blocks: int, daily: bool, enough: bool
) -> None:
    """At most 32; two days are enough, or four blocks of less."""
    made = match(extent, extent, "UTC").base
    assert (made.blocks, made.daily, made.enough) == (blocks, daily, enough)
    if blocks:
        numbers = made.frame["block"].to_numpy()
        assert (np.diff(numbers) >= 0).all()
        assert set(numbers.tolist()) == set(range(blocks))
        sizes = np.bincount(numbers)
        assert sizes.max() <= 2 * sizes.min() or daily


def test_both_periods_must_hold_enough() -> None:
    some, few = match(hours(0, 7), hours(7, 7), "UTC").base, match(hours(0, 0.125), hours(7, 7), "UTC").base
    assert Matched(some, some, ()).enough
    assert not Matched(some, few, ()).enough
    assert not Matched(few, some, ()).enough


def test_within_hours_blocks_hold_equally_many_units() -> None:
    """A busy minute is a block by itself, quiet ones are joined."""
    extent = hours(0, 2 / 24, slot_ns=MINUTE_NS)
    units = np.where(np.arange(120) < 60, 9.0, 1.0)
    busy = Extent(extent.slots, units, extent.start_ns, extent.end_ns, MINUTE_NS)
    made = match(busy, busy, "UTC").base
    of = np.bincount(made.frame["block"].to_numpy(), weights=units)
    assert made.blocks == 32
    assert of.max() < 2.0 * of.mean()
    assert of.min() > 0.5 * of.mean()


@pytest.mark.parametrize(
    ("extent", "columns"),
    [
        (hours(0, 6), 0),
        (hours(0, 7), 1),  # weekends
        (hours(0, 8), 2),  # and the course of time
        (hours(0, 4), 0),
        (hours(0, 28), 2),
        (hours(0, 12 / 24), 1),  # twelve hours: the course of time
        (hours(0, 7 / 24), 0),
        (hours(0, 1), 2),  # a day by the hour: its wave; a line would hide how days differ
        (hours(0, 15 / 24), 1),
    ],
)
def test_what_is_no_noise_is_as_much_as_the_blocks_bear(extent: Extent, columns: int) -> None:
    """Each column's mean is nothing, and none is constant."""
    shape = match(extent, extent, "UTC").base.shape
    assert shape.shape[1] == columns
    assert shape.mean(axis=0) == pytest.approx(np.zeros(columns), abs=1e-12)
    assert (np.ptp(shape, axis=0) > 0).all() if columns else True


def test_the_shape_of_weeks_is_time_and_weekends() -> None:
    """Saturday and Sunday stand out in the zone's own days."""
    shape = match(hours(0, 14), hours(14, 14), "UTC").base.shape
    assert np.diff(shape[:, 0]) == pytest.approx(np.ones(13))
    weekend = shape[:, 1] > 0
    assert np.flatnonzero(weekend).tolist() == [5, 6, 12, 13]
    assert np.ptp(shape[:, 1]) == pytest.approx(1.0)
    assert shape[[5, 12], 1] == pytest.approx(shape[[6, 13], 1])  # Saturday from its first hour on


def test_the_shape_of_a_day_is_a_wave_of_24_hours() -> None:
    """A cosine and a sine of the hour, of mean zero."""
    shape = match(hours(0, 1), hours(1, 1), "UTC").base.shape
    turn = 2 * np.pi * np.arange(24) / 24
    assert shape == pytest.approx(np.column_stack([np.cos(turn), np.sin(turn)]), abs=1e-9)
