"""The verdict's states and the notes on the data, at their bounds."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest
from test_blocks import hours

from tracescope import schema
from tracescope.analysis.report import Edge, Entry, State
from tracescope.analysis.statistics.blocks import Matched, match
from tracescope.analysis.verdict import Evidence, data_notes, detectable_ms, entry_states, state_of
from tracescope.analysis.verdict import verdict as verdict_of


def edge(credited: float = 4.0, **more: object) -> Edge:
    made = Edge(
        "request", "db", "shop", "stock", "GET", False, 0.3, 0.5, None, 5.0, 9.0, 5.0, 9.0, credited,
        (credited - 1, credited + 1), credited, 0.001, True, {"latency_growth": credited}, {}, 1.0, 1.0, None,
        (), (),
    )  # fmt: skip
    return replace(made, **more)


def days(base: int = 14, head: int = 14) -> Matched:
    return match(hours(0, base), hours(14, head), "UTC")


CLOCK = {"request": 20.0}
STABLE = "no edge takes significantly more time than before"


def verdict(edges: list[Edge], matched: Matched, clocks: dict[str, float], **more: Any) -> tuple[Any, Any]:
    return verdict_of(Evidence(edges, matched, clocks, **more))


def entry(base: float = 20.0, head: float = 20.0, **more: object) -> Entry:
    """An entry that was tested, of a thousand requests in either period."""
    rise = head - base
    made = Entry(
        "request", "shop", "GET /cart", 1000.0, 1000.0, base, head, None, None, 1.0, 1.0, 0.0, State.COMPARED,
        rise_ms=rise, rise_ms_ci=(rise - 1, rise + 1), detectable_ms=2.0, slower=0.5, q_value=1.0,
        units_seen=1000.0,
    )  # fmt: skip
    return replace(made, **more)


def test_edges_that_take_more_time_are_drifting_near_or_at_their_wall() -> None:
    """The soonest within twelve weeks is named; three edges are reasons."""
    assert state_of([]) == ("growth-stable", ("no edge takes significantly more time than before",))
    assert state_of([edge()]) == ("drifting", ("shop -> stock: +4 ms per request",))
    late, near, soon = (edge(weeks_to_clock_wall=weeks, caller=f"c{weeks}") for weeks in (12.1, 12.0, 3.0))
    assert state_of([late])[0] == "drifting"
    state, reasons = state_of([late, near, soon])
    assert (state, reasons[0]) == ("approaching", "c3.0 -> stock takes the clock to its wall in 3.0 weeks")
    assert len(reasons) == 4
    assert state_of([near])[0] == "approaching"
    full = edge(weeks_to_clock_wall=0.0, caller="full")
    state, reasons = state_of([late, soon, full, edge(), edge()])
    assert (state, reasons[0]) == ("at the wall", "full -> stock has no headroom left at peak load")
    assert len(reasons) == 4


def test_only_significant_growth_is_a_reason() -> None:
    """What got better, or could be chance and is small, is none."""
    assert verdict([edge(-4.0)], days(), CLOCK)[0] == "growth-stable"
    assert verdict([edge(1.0, significant=False)], days(), CLOCK)[0] == "growth-stable"
    assert verdict([edge(0.0)], days(), CLOCK)[0] == "growth-stable"
    assert verdict([edge(4.0), edge(-9.0)], days(), CLOCK) == (
        "drifting",
        ("shop -> stock: +4 ms per request",),
    )


def test_a_large_rise_that_could_be_chance_is_no_clean_bill() -> None:
    """More than a tenth of base's clock; unless something is surely worse, or it cannot be compared."""
    for credited, state in ((2.0, "growth-stable"), (2.1, "insufficient data")):
        assert verdict([edge(credited, significant=False)], days(), CLOCK)[0] == state
    some = [edge(3.0, significant=False), edge(5.0, significant=False, caller="worst")]
    state, (reason,) = verdict(some, days(), CLOCK)
    assert reason == "worst -> stock: +5 ms per request is large, and could be chance (+4 to +6)"
    assert verdict([*some, edge(1.0)], days(), CLOCK)[0] == "drifting"
    noted = edge(5.0, significant=False, note="blocking rule changed")
    assert verdict([noted], days(), CLOCK)[0] == "growth-stable"
    assert verdict([edge(5.0, significant=False, unit="message")], days(), CLOCK)[0] == "growth-stable"
    open_ended = edge(5.0, significant=False, credited_ms_ci=None)
    assert "(-inf to +inf)" in verdict([open_ended], days(), CLOCK)[1][0]


@pytest.mark.parametrize(
    ("base", "head", "state"),
    [(3, 14, "insufficient data"), (14, 3, "insufficient data"), (4, 4, "growth-stable")],
)
def test_under_four_days_nothing_is_a_clean_bill(base: int, head: int, state: str) -> None:
    assert verdict([], days(base, head), CLOCK, entries=[entry()])[0] == state
    assert verdict([edge()], days(base, head), CLOCK)[0] == "drifting"
    if state == "insufficient data":
        assert verdict([], days(base, head), CLOCK)[1] == (
            "nothing changed by so much that 3 days could tell it from chance",
        )
    few = match(hours(0, 0.125), hours(1, 0.125), "UTC")
    assert verdict([edge()], few, CLOCK) == (
        "insufficient data", ("too few blocks of time to tell change from chance",),
    )  # fmt: skip
    short = match(hours(0, 0.5), hours(1, 0.5), "UTC")
    assert verdict([], short, CLOCK)[0] == "growth-stable"


# -- clean bills are earned --------------------------------------------------------------------------


def test_a_clean_bill_says_what_would_have_shown() -> None:
    """The least certain edge of requests decides; what is not compared, and other units, do not."""
    quiet = edge(0.1, significant=False, detectable_ms=1.5)
    noted = edge(0.1, significant=False, detectable_ms=9.0, note="blocking rule changed")
    message = edge(0.1, significant=False, detectable_ms=9.0, unit="message")
    known = [quiet, noted, message, edge(0.1, significant=False)]
    assert detectable_ms(known) == 1.5
    assert verdict(known, days(), CLOCK, entries=[entry()]) == (
        State.GROWTH_STABLE, (f"{STABLE}; a rise of 1.5 ms per request would have shown",),
    )  # fmt: skip


def test_what_would_not_have_shown_is_no_clean_bill() -> None:
    """A quarter of the clock must have been able to show."""
    for least, state in ((5.0, State.GROWTH_STABLE), (5.1, State.INSUFFICIENT)):
        found, (reason,) = verdict([edge(0.1, significant=False, detectable_ms=least)], days(), CLOCK)
        assert found == state
        assert (reason == "no change seen; one under 5.1 ms per request would not have shown") == (least > 5)


def test_a_few_requests_are_no_clean_bill() -> None:
    """Forty in an afternoon, over all entries and in the period that has fewer."""
    few = [entry(units_seen=30.0), entry(units_seen=10.0, operation="GET /")]
    assert verdict([], days(), CLOCK, entries=few) == (
        State.INSUFFICIENT, ("40 requests are too few to say that nothing changed; 60 are needed",),
    )  # fmt: skip
    assert verdict([], days(), CLOCK, entries=[*few, entry(units_seen=20.0)])[0] == State.GROWTH_STABLE
    assert verdict([edge()], days(), CLOCK, entries=few)[0] == State.DRIFTING


def test_an_entry_that_doubled_is_told_or_said_to_be_too_rare_to_tell() -> None:
    """Ten times as slow in 2 % of the requests: a finding where ranks or means are sure, else no bill."""
    rare = entry(5.0, 50.0, units_seen=8.0, slower=0.97, q_value=0.2)
    state, (reason,) = verdict([], days(), CLOCK, entries=[entry(), rare])
    assert (state, reason) == (
        State.INSUFFICIENT,
        "shop GET /cart: 5 to 50 ms in 8 requests: too rare to tell",
    )
    sure = replace(rare, q_value=0.001)
    state, (reason,) = verdict([], days(), CLOCK, entries=[entry(), sure])
    assert (state, reason) == (
        State.DRIFTING, "shop GET /cart: 5 to 50 ms in 8 requests, and 97% take longer than one of base",
    )  # fmt: skip
    one_giant = replace(rare, slower=0.5001, rise_ms_ci=(-60.0, 150.0))
    assert verdict([], days(), CLOCK, entries=[entry(), one_giant])[0] == State.GROWTH_STABLE


def test_of_rare_entries_the_one_that_got_most_times_as_slow_is_named() -> None:
    """Where nothing was measured before, a millisecond stands for it; units that nobody counted are none."""
    rare = entry(5.0, 20.0, units_seen=None, slower=0.9, operation="four times")
    from_nothing = entry(0.0, 3.0, units_seen=8.0, slower=0.9, operation="from nothing")
    (reason,) = verdict([], days(), CLOCK, entries=[from_nothing, rare])[1]
    assert reason == "shop four times: 5 to 20 ms in 0 requests: too rare to tell"


@pytest.mark.parametrize(("share", "state"), [(0.3, State.GROWTH_STABLE), (0.5, State.INSUFFICIENT)])
def test_an_entry_is_heavy_by_its_part_of_all_requests(share: float, state: State) -> None:
    """Its rise times its part, the mean of both periods', is held against a tenth of the clock."""
    rising = entry(20.0, 25.0, weight_base=share, weight_head=share)
    found, (reason,) = verdict([], days(), CLOCK, entries=[rising])
    assert found == state
    assert (
        reason == "shop GET /cart: 20 to 25 ms in 1000 requests is large, and hardly sure (+4 to +6 ms)"
    ) == (state == State.INSUFFICIENT)


def test_an_entry_grows_up_to_and_with_the_level_that_was_asked_for() -> None:
    """5 % where none was."""
    for q_value, level, drifts in ((0.05, 0.05, True), (0.07, 0.05, False), (0.07, 0.1, True)):
        one = entry(20.0, 23.0, weight_base=0.1, weight_head=0.1, q_value=q_value)
        found = verdict([], days(), CLOCK, entries=[one], alpha=level)[0]
        assert (found == State.DRIFTING) == drifts
        assert (entry_states([one], [], level)[0].state == State.DRIFTING) == drifts
    assert entry_states([entry(q_value=0.07)], [])[0].state == State.GROWTH_STABLE


def test_an_entry_is_stable_only_where_a_rise_of_it_would_have_shown() -> None:
    cases = (
        (entry(), State.GROWTH_STABLE),
        (entry(detectable_ms=10.0), State.GROWTH_STABLE),
        (entry(detectable_ms=10.1), State.INSUFFICIENT),
        (entry(detectable_ms=None), State.INSUFFICIENT),
        (entry(units_seen=59.0), State.INSUFFICIENT),
        (entry(20.0, 41.0, slower=0.9), State.INSUFFICIENT),
        (entry(20.0, 41.0, slower=0.9, q_value=0.01), State.DRIFTING),
        (entry(state=State.INSUFFICIENT), State.INSUFFICIENT),
    )
    for one, state in cases:
        assert entry_states([one], [])[0].state == state, one
    rising = edge(rises_in=(("shop", "GET /cart"),))
    assert entry_states([entry(detectable_ms=None)], [rising])[0].state == State.DRIFTING
    for other in (replace(rising, unit="message"), edge(rises_in=(("shop", "GET /"),)), edge(rises_in=None)):
        assert entry_states([entry()], [other])[0].state == State.GROWTH_STABLE


def test_nothing_that_fails_more_often_is_stable() -> None:
    """A sentence of growing failures stands behind the edges that take longer."""
    failing = ("shop GET /cart fails in 3 % of requests, from 0 %",)
    assert verdict([], days(), CLOCK, failing=failing) == (State.DRIFTING, failing)
    state, reasons = verdict([edge()], days(), CLOCK, failing=failing)
    assert (state, reasons[-1], len(reasons)) == (State.DRIFTING, failing[0], 2)


# -- notes ------------------------------------------------------------------------------------------


def notes(
    *,
    incomplete: float = 0.0,
    skewed: float = 0.0,
    lost: float = 0.0,
    thresholds: tuple[int, int] = (5, 5),
    matched: Matched | None = None,
    length_days: tuple[float, float] = (14, 14),
    polls: tuple[int, int] = (0, 0),
    units: int = 100,
) -> list[str]:
    """Of periods that are as given."""

    def side(part: float, moved: float) -> Any:
        counts = {"units": (units, units), "incomplete": (200 * part, 0), "skewed": (0, 200 * moved)}
        return SimpleNamespace(entries={name: np.array(both, float) for name, both in counts.items()})

    unit: Any = SimpleNamespace(base=side(0.0, 0.0), head=side(incomplete, skewed), missing_callees_part=lost)
    periods: list[Any] = [
        SimpleNamespace(
            tables={
                "entry_hours": pl.DataFrame({"threshold": [threshold]}),
                "counters": pl.DataFrame({"reason": ["idle_poll", "other"], "count": [idle, 7]}),
            },
            start_ns=0, end_ns=int(length * schema.DAY_NS),
        )
        for threshold, length, idle in zip(thresholds, length_days, polls, strict=True)
    ]  # fmt: skip
    return data_notes(unit, *periods, matched or days())


def test_data_that_are_whole_have_no_note() -> None:
    assert notes() == []
    assert notes(incomplete=0.2, skewed=0.01, lost=0.001) == []
    assert notes(units=0) == []


def test_incomplete_and_lost_spans_are_worth_a_word() -> None:
    """Beyond a fifth of the requests, and a thousandth of the spans."""
    assert notes(incomplete=0.21) == [
        "21% of head's requests are incomplete: their traces name spans that are not here"
    ]
    assert notes(skewed=0.02)[0].startswith("clocks of 2% of head's requests could not be reconciled")
    assert notes(lost=0.0015)
    assert notes(lost=0.011)[0].startswith("up to 1.1% of a call's spans lack their callee's")


def test_polls_that_brought_nothing_are_told_where_either_period_has_any() -> None:
    assert notes(polls=(0, 3)) == ["polls that brought no message are no units of work: 0 in base, 3 in head"]
    assert len(notes(polls=(2, 0))) == 1


def test_sampling_that_changed_or_is_not_known_is_worth_a_word() -> None:
    assert notes(thresholds=(5, 6)) == [
        "the sampling probability changed between the periods; counts are weighted by it"
    ]
    assert notes(thresholds=(schema.NO_THRESHOLD,) * 2) == [
        "no sampling probability in the traces: volumes are of sampled traces"
    ]


def test_too_few_blocks_are_named_with_how_many_are_needed() -> None:
    """Days need two, blocks of less need four; three days are enough, and large changes alone are told."""
    few = match(hours(0, 0.125), hours(1, 0.5), "UTC")
    assert notes(matched=few) == ["base has 3 blocks of time; 4 are needed to tell change from chance"]
    one = match(hours(0, 2, only=range(0)), hours(14, 14), "UTC")
    assert notes(matched=one) == ["base has 0 days; 2 are needed to tell change from chance"]
    (said,) = notes(matched=days(14, 3))
    assert said.startswith("head has 3 days, too few to show how days differ by themselves: 15% is assumed")
    assert notes(matched=days(4, 4)) == []


@pytest.mark.parametrize(("length", "said"), [(0.9, False), (1.0, True), (1.9, True), (2.0, False)])
def test_a_day_cannot_show_how_days_differ(length: float, said: bool) -> None:
    assert bool(notes(length_days=(14, length))) == said
