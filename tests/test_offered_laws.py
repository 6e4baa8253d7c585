"""Laws of offered work's parts: errors of ratios, quiet hours, heavier calls, and who brings the load."""

from __future__ import annotations

import math

import numpy as np
import polars as pl
import pytest

from tracescope.analysis.capacity import offered
from tracescope.analysis.capacity.offered import Aggressor, Asked, Quiet, aggressor, call_seconds, quiet_times

MS = 1_000_000


def slots(rows: list[tuple[int, int, float, float]], *, stretch: int = 0) -> pl.DataFrame:
    """Slot, edge, calls and ms of each, all at one database."""
    return pl.DataFrame(
        [("s:db", stretch, slot, edge, calls, calls * ms * MS) for slot, edge, calls, ms in rows],
        schema=["resource", "stretch", "slot", "edge_id", "arrived", "own_ns"],
        orient="row",
    )


# -- quiet hours ------------------------------------------------------------------------------------


def test_the_error_of_slots_of_like_size_is_that_of_their_mean() -> None:
    """Oracle: the standard error of a mean over the mean; of a single slot nothing is known."""
    took = np.array([3.0, 5.0, 4.0, 9.0, 2.0])
    off = float(((took - took.mean()) ** 2).sum())
    exact = float(took.std(ddof=1) / math.sqrt(5) / took.mean())
    assert offered.ratio_error(off, float(took.sum()), 5) == pytest.approx(exact)
    assert offered.ratio_error(8.0, 4.0, 2) == pytest.approx(1.0)
    assert offered.ratio_error(8.0, 4.0, 1) == math.inf
    assert offered.ratio_error(0.0, 4.0, 0) == math.inf


def test_quiet_hours_are_the_three_tenths_with_the_least_work() -> None:
    """By hand: of ten slots the three of the least calls, whose 60 ms are not the 20 ms of the others."""
    rows = [(slot, 1, 50.0 + slot, 60.0 if slot < 3 else 20.0) for slot in range(10)]
    assert quiet_times(slots(rows)) == {("s:db", 1, 0): (pytest.approx(0.06), pytest.approx(0.0, abs=1e-9))}
    alike = [(slot, 1, 60.0, 60.0 if slot < 3 else 20.0) for slot in range(10)]  # all as busy: all are quiet
    assert quiet_times(slots(alike))["s:db", 1, 0].seconds == pytest.approx(0.032)


def test_too_few_quiet_calls_make_every_slot_count() -> None:
    """150 in the quiet slots are enough."""
    for first, seconds in ((49.0, 0.06), (48.0, (149 * 0.06 + 651 * 0.02) / 800)):
        calls = [first, 50.0, 51.0, *(90.0 + n for n in range(7))]
        rows = [(slot, 1, each, 60.0 if slot < 3 else 20.0) for slot, each in enumerate(calls)]
        assert quiet_times(slots(rows))["s:db", 1, 0].seconds == pytest.approx(seconds), first


def test_a_resource_is_quiet_by_the_work_of_all_its_edges_and_not_by_calls() -> None:
    """Few heavy calls make the last seven slots busy for the light ones, too; each stretch has its own."""
    light = [(slot, 1, 100.0 - slot, 10.0 if slot < 3 else 30.0) for slot in range(10)]
    heavy = [(slot, 2, 1.0 + slot, 9000.0) for slot in range(10)]
    told = quiet_times(slots([*light, *heavy]))
    assert told["s:db", 1, 0].seconds == pytest.approx(0.01)
    assert told["s:db", 2, 0].seconds == pytest.approx(9.0)  # 6 calls in quiet slots: all of them
    again = [(slot + 10, 1, 100.0 + slot, 40.0 if slot < 3 else 30.0) for slot in range(10)]
    both = quiet_times(pl.concat([slots([*light, *heavy]), slots(again, stretch=1)]))
    assert both["s:db", 1, 0] == told["s:db", 1, 0]
    assert both["s:db", 1, 1].seconds == pytest.approx(0.04)
    assert set(both) == {("s:db", 1, 0), ("s:db", 2, 0), ("s:db", 1, 1)}


def test_what_made_no_calls_or_took_no_time_has_no_quiet_time() -> None:
    told = quiet_times(slots([(0, 1, 0.0, 5.0), (0, 2, 5.0, 0.0), (0, 3, 5.0, 2.0), (1, 3, 5.0, 4.0)]))
    assert set(told) == {("s:db", 3, 0)}
    assert told["s:db", 3, 0] == (pytest.approx(0.003), pytest.approx(1 / 3))  # one error of two slots


# -- what a call counts for -------------------------------------------------------------------------

LEAST = Quiet(0.01, 0.0), Quiet(0.02, 0.0)  # everybody waits twice as long, or 10 ms longer


@pytest.mark.parametrize(
    ("now", "times"),
    [
        (0.08, 1.0),  # between as much longer (60 ms) and as many times as long (100 ms)
        (0.06, 1.0),
        (0.1, 1.0),
        (0.1 * 1.29, 1.0),  # less than a third beyond either
        (0.1 * 1.31, 1.31),
        (0.06 / 1.29, 1.0),
        (0.06 / 1.31, 1 / 1.31),
        (0.3, 3.0),
    ],
)
def test_a_call_is_as_many_times_the_work_as_its_time_is_beyond_what_waiting_explains(
    now: float, times: float
) -> None:
    told = offered._times_the_work(Quiet(0.05, 0.0), Quiet(now, 0.0), LEAST)
    assert told == pytest.approx(times)


@pytest.mark.parametrize("which", range(4))
def test_four_errors_of_any_of_the_times_leave_it_at_chance(which: int) -> None:
    """Twice the work at an error of 0.17, and not at one of 0.18."""
    for error, times in ((math.log(2) / 4 - 1e-6, 2.0), (math.log(2) / 4 + 1e-6, 1.0)):
        errors = [error if k == which else 0.0 for k in range(4)]
        before, now, was, is_now = map(Quiet, (0.05, 0.1, 0.01, 0.01), errors)
        assert offered._times_the_work(before, now, (was, is_now)) == pytest.approx(times), error
    each = math.log(2) / 4 / 2  # of four alike, twice one
    for error, times in ((each - 1e-6, 2.0), (each + 1e-6, 1.0)):
        one, two = Quiet(0.05, error), Quiet(0.1, error)
        assert offered._times_the_work(one, two, (one, one)) == pytest.approx(times), error


def test_the_measure_is_the_edge_whose_time_may_have_changed_least() -> None:
    """Either way, and by two of its errors more than it did."""
    assert offered._changed((Quiet(0.01, 0.03), Quiet(0.02, 0.04))) == pytest.approx(math.log(2) + 0.1)
    assert offered._changed((Quiet(0.02, 0.0), Quiet(0.01, 0.0))) == pytest.approx(math.log(2))
    times = {("s:db", 1, 0): Quiet(0.01, 0.0), ("s:db", 1, 1): Quiet(0.02, 0.0)}
    times |= {("s:db", 2, 0): Quiet(0.01, 0.0), ("s:db", 2, 1): Quiet(0.04, 0.0)}
    times |= {("s:db", 3, 0): Quiet(0.01, 0.9), ("s:db", 3, 1): Quiet(0.01, 0.9)}
    told = call_seconds(times)
    assert told["s:db", 1, 1] == 0.01  # as its own measure
    assert told["s:db", 2, 1] == pytest.approx(0.02)


def test_a_call_counts_for_what_it_took_in_the_first_stretch_that_it_was_made_in() -> None:
    """A new edge has its own time; one of another resource measures nothing here."""
    times = {("s:a", 1, 2): Quiet(0.01, 0.0), ("s:a", 1, 5): Quiet(0.1, 0.0)}
    assert call_seconds(times) == {("s:a", 1, 2): 0.01, ("s:a", 1, 5): 0.01}
    more = times | {
        ("s:a", 2, 5): Quiet(0.3, 0.0),
        ("s:b", 3, 2): Quiet(1.0, 0.0),
        ("s:b", 3, 5): Quiet(1.0, 0.0),
    }
    assert call_seconds(more) == call_seconds(times) | {
        ("s:a", 2, 5): 0.3, ("s:b", 3, 2): 1.0, ("s:b", 3, 5): 1.0
    }  # fmt: skip


# -- who brings the load ----------------------------------------------------------------------------


def test_most_of_what_is_asked_beyond_before_is_more_than_half_of_it() -> None:
    """By hand: 1.5 more of 10, of which the loudest neighbour brings two thirds; then just half."""
    before = {n: Asked(5.0, 0.4) for n in range(1, 6)}
    now = before | {2: Asked(10.0, 0.3), 3: Asked(5.0, 0.5)}
    assert Asked(5.0, 0.4).work == 2.0
    assert aggressor(1, before, now) == (
        2, pytest.approx(0.15), pytest.approx(2 / 3), pytest.approx(2.0), pytest.approx(0.75)
    )  # fmt: skip
    assert aggressor(2, before, now) is None  # the victim brings most of it
    assert aggressor(1, before, now | {3: Asked(5.0, 0.6)}) is None
    assert aggressor(1, before, now | {3: Asked(5.0, 0.599)}) is not None
    assert aggressor(1, before, now | {3: Asked(5.0, 0.49)}) is None  # under 15 % more in all
    assert aggressor(1, {}, now) is None
    assert aggressor(1, {}, {2: Asked(1.0, 1.0)}) is None  # nothing was asked for before
    newcomer = aggressor(1, before, before | {2: Asked(6.0, 0.4), 7: Asked(3.0, 0.4)})
    assert newcomer == (7, pytest.approx(0.16), pytest.approx(0.75), math.inf, 1.0)


def test_a_neighbour_that_brings_more_than_all_of_it_brings_all() -> None:
    """Others ask for less than before; what is new there makes without end more calls than none."""
    before = {1: Asked(10.0, 1.0), 2: Asked(10.0, 1.0)}
    found = aggressor(1, before, {1: Asked(5.0, 1.0), 2: Asked(30.0, 1.0)})
    assert found == (2, pytest.approx(0.75), 1.0, 3.0, 1.0)
    new = aggressor(1, before, {1: Asked(5.0, 1.0), 2: Asked(5.0, 1.0), 3: Asked(30.0, 2.0)})
    assert new == (3, pytest.approx(2.5), 1.0, math.inf, 1.0)
    assert aggressor(1, {1: Asked(10.0, 1.0)}, {1: Asked(20.0, 1.0)}) is None  # there is no other


def test_words_say_what_is_a_third_more_and_what_part_is_whose() -> None:
    """Both factors where both are; neither where neither is."""

    def told(part: float, calls: float, each: float) -> str:
        return Aggressor(2, 0.5, part, calls, each).words("b -> db")

    assert told(0.96, 1.3, 1.3) == (
        "the work asked of what it calls rose by 50%, and all of that is b -> db: "
        "1.3 times the calls and 1.3 times the work in each call"
    )
    assert told(0.95, 1.29, 2.0).endswith("and 95% of that is b -> db: 2 times the work in each call")
    assert told(0.7, 2.0, 1.29).endswith("b -> db: 2 times the calls")
    assert told(0.7, 1.2, 1.2).endswith("b -> db: more of the same calls")
    assert told(1.0, math.inf, 1.0).endswith("b -> db: it is new there")
