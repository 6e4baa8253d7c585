"""What a change amounts to that is no significant one of its own: by what is written, edge by edge."""

from __future__ import annotations

from dataclasses import replace

import pytest
from answered import edge, grown

from tracescope.analysis.comparison.standing import decided_words, is_certain, standing_words, with_standing
from tracescope.analysis.report import DecidedBy, Edge, EdgeKey, StandingKind
from tracescope.report.text import why

ALPHA = 0.05


def told(edges: list[Edge], at: int = 0) -> tuple[StandingKind, str]:
    found = with_standing(edges, ALPHA)[at]
    assert found.standing is not None
    return found.standing.kind, standing_words(found)


def test_a_significant_change_is_one() -> None:
    """It needs no other word."""
    assert told([grown("cart -> pricing", "calls")]) == (StandingKind.CHANGED, "")


def test_what_is_surely_small_is_told_apart_from_what_is_unsure() -> None:
    """By the interval against the smallest effect; else what decides is named."""
    assert told([edge("a -> b")]) == (StandingKind.SMALL, "too small to matter (under 0.1 ms)")
    assert told([edge("a -> b", (1, 2), 1.0, (-0.5, 2.5))]) == (
        StandingKind.UNCERTAIN,
        "not told from chance",
    )
    by_q = edge("a -> b", (1, 2), 1.0, (0.05, 2.0), q_value=0.2)
    assert told([by_q]) == (StandingKind.UNCERTAIN, "not told from chance (q 0.2)")
    assert told([edge("a -> b", (1, 2), 1.0, None)])[0] is StandingKind.UNCERTAIN


def test_the_test_that_decided_is_named_where_it_is_not_that_of_means() -> None:
    """Of a change, of what may be chance, and of every test that there is."""
    for test in DecidedBy:
        changed = grown("a -> b", "latency_growth", decided_by=test)
        (words,) = {decided_words(changed), why(changed).removeprefix("slower at equal load").lstrip(", ")}
        assert words.startswith("tested by ") == (test is not DecidedBy.MEANS), test
    unsure = edge("a -> b", (1, 2), 1.0, (0.05, 2.0), q_value=0.2, decided_by=DecidedBy.RANKS)
    assert told([unsure]) == (
        StandingKind.UNCERTAIN,
        "not told from chance (q 0.2, tested by ranks of calls)",
    )


def test_what_runs_more_often_because_of_calls_above_follows_them() -> None:
    """Two steps below an N+1; what is slower above it is no reason to run more often."""
    below = edge("pricing -> postgresql/pricing", (0.7, 1.9))
    chain = [below, edge("shop -> pricing"), grown("cart -> shop", "calls")]
    assert told(chain) == (StandingKind.FOLLOWS, "follows cart → shop")
    slower = [below, grown("cart -> pricing", "latency_growth")]
    assert told(slower) == (StandingKind.MOVED, "traffic moved between entries")


def test_what_waits_for_something_slower_follows_it() -> None:
    """Its own time stayed; what lies below it grew."""
    waits = edge("checkout -> inventory", inclusive_ms_head=3.0)
    found = told([waits, grown("inventory -> postgresql/stock", "latency_growth")])
    assert found == (StandingKind.FOLLOWS, "follows inventory → postgresql/stock")


def test_circles_of_calls_end() -> None:
    """Every service is looked at once."""
    ring = [edge("a -> b", (1.0, 3.0)), edge("b -> a"), edge("b -> b")]
    assert told(ring)[0] is StandingKind.MOVED


def test_other_units_explain_nothing() -> None:
    """A request's edge follows no message's."""
    other = replace(grown("cart -> pricing", "calls"), unit="message")
    assert told([edge("pricing -> db", (1.0, 3.0)), other])[0] is StandingKind.MOVED


def test_a_part_whose_interval_holds_zero_is_not_told() -> None:
    """Without an interval it stands as it is."""
    made = edge("a -> b", effects_ci={"calls": (-1.0, 2.0), "new": (1.0, 2.0), "gone": None})
    assert [is_certain(made, name) for name in ("calls", "new", "gone")] == [False, True, True]
    assert EdgeKey("request", "http", "a", "b", None) == made.key


def changed(own: float, credited: float, ci: tuple[float, float] | None, **more: object) -> Edge:
    """An edge of 10 ms whose own time, and with all below, changed by so much; a part of it is credited."""
    return edge("a -> b", (10.0, 10.0 + own), credited, ci, **more)


@pytest.mark.parametrize(
    ("made", "kind"),
    [
        (changed(2.4, 1.0, (0.5, 1.5)), StandingKind.UNCERTAIN),  # 1.4 ms elsewhere, and 1.5 are unsure
        (changed(2.5, 1.0, (0.5, 1.5)), StandingKind.UNCERTAIN),
        (changed(2.6, 1.0, (0.5, 1.5)), StandingKind.MOVED),
        (changed(2.4, 1.0, (-1.5, 0.5)), StandingKind.UNCERTAIN),
        (changed(2.6, 1.0, (-1.5, 0.5)), StandingKind.MOVED),
        (changed(-2.6, -1.0, (-1.5, -0.5)), StandingKind.MOVED),
        (changed(0.4, 0.0, (-0.01, 0.01), min_effect_ms=0.5), StandingKind.SMALL),
        (changed(0.6, 0.0, (-0.01, 0.01), min_effect_ms=0.5), StandingKind.MOVED),
        (changed(1.9, 1.0, None), StandingKind.UNCERTAIN),
        (changed(2.1, 1.0, None), StandingKind.MOVED),
        (changed(0.0, 0.0, (-0.5, 0.5), min_effect_ms=0.5), StandingKind.UNCERTAIN),
        (changed(0.0, 0.0, (-0.5, 0.5), min_effect_ms=0.6), StandingKind.SMALL),
        (changed(0.0, 0.0, None, min_effect_ms=0.6), StandingKind.UNCERTAIN),
    ],
)  # fmt: skip
def test_own_time_moved_where_more_changed_than_is_credited_or_unsure(made: Edge, kind: StandingKind) -> None:
    """More than the smallest effect, and than either end of the interval; up or down."""
    assert told([made])[0] is kind


@pytest.mark.parametrize(
    ("below", "ci", "sign", "follows"),
    [
        (0.09, (-0.01, 0.01), 1, False), (0.11, (-0.01, 0.01), 1, True), (-0.11, (-0.01, 0.01), -1, True),
        (-0.11, (-0.01, 0.01), 1, False), (0.11, (-0.01, 0.01), -1, False),
        (0.49, (-0.5, 0.2), 1, False), (0.51, (-0.5, 0.2), 1, True),
    ],
)  # fmt: skip
def test_what_waits_follows_only_what_changed_in_its_direction_and_by_enough(
    below: float, ci: tuple[float, float], sign: int, follows: bool
) -> None:
    """An edge of which the callee takes longer; by more than the smallest effect and than is unsure."""
    waits = edge("a -> b", credited=0.0, ci=ci, inclusive_ms_head=1.0 + below)
    cause = replace(grown("b", "latency_growth"), credited_ms=2.0 * sign)
    assert (told([waits, cause])[0] is StandingKind.FOLLOWS) == follows
    assert told([waits])[0] is not StandingKind.FOLLOWS
    assert told([waits, replace(cause, significant=False)])[0] is not StandingKind.FOLLOWS
    itself = edge("a", credited=0.0, ci=ci, inclusive_ms_head=1.0 + below)
    assert told([itself, replace(cause, caller="a")])[0] is not StandingKind.FOLLOWS  # calls nothing


@pytest.mark.parametrize(
    ("effects", "follows"),
    [
        ({"calls": 1.1}, True), ({"calls": 1.0}, False), ({"calls": -1.1}, True),
        ({"calls": 0.6, "criticality": 0.6}, True), ({"new": 0.6, "gone": 0.6}, True),
        ({"calls": 1.6, "gone": -1.0}, False), ({"latency_growth": 2.0}, False), ({}, False),
    ],
)  # fmt: skip
def test_what_runs_more_often_follows_a_change_that_is_mostly_of_calls(
    effects: dict[str, float], follows: bool
) -> None:
    """More than half of its 2 ms: calls, being waited for, new and gone together."""
    often = edge("b -> c", (1.0, 3.0))
    cause = replace(grown("a -> b", "calls"), effects=effects)
    assert told([often, cause])[0] is (StandingKind.FOLLOWS if follows else StandingKind.MOVED)


def test_the_nearest_change_is_followed_and_of_the_near_ones_the_largest() -> None:
    """Level by level; an operation is named."""
    often = edge("d -> e", (1.0, 3.0))
    far = replace(grown("a -> b", "calls"), credited_ms=3.5, operation="GET /a")
    near = [
        replace(grown("b -> d", "calls"), credited_ms=size, operation=name)
        for size, name in ((1.0, "GET /s"), (3.0, "GET /l"), (2.0, "GET /m"))
    ]
    assert told([often, far, *near])[1] == "follows b → d GET /l"
    assert told([often, far, edge("b -> d")])[1] == "follows a → b GET /a"
    fall = edge("d -> e", (3.0, 1.0))
    less = replace(near[0], credited_ms=-1.0)
    assert told([fall, far, *near[1:], less])[1] == "follows b → d GET /s"


@pytest.mark.parametrize(
    ("ci", "q", "decides"),
    [
        ((0.1, 2.0), 0.051, "q value"), ((0.1, 2.0), 0.05, "interval"), ((-2.0, -0.1), 0.2, "q value"),
        ((0.0, 2.0), 0.2, "interval"), ((-2.0, 0.0), 0.2, "interval"), ((-1.0, 1.0), 0.2, "interval"),
        ((0.1, 2.0), None, "interval"), (None, 0.2, "interval"),
    ],
)  # fmt: skip
def test_the_q_value_decides_where_the_interval_alone_would_have_shown(
    ci: tuple[float, float] | None, q: float | None, decides: str
) -> None:
    (found,) = with_standing([edge("a -> b", (1.0, 2.0), 1.0, ci, q_value=q)], ALPHA)
    assert found.standing is not None
    assert (found.standing.kind, found.standing.decides) == (StandingKind.UNCERTAIN, decides)
    assert ("q 0" in standing_words(found)) == (decides == "q value")


def test_an_effect_is_certain_when_its_interval_lies_beside_zero() -> None:
    bounds = {"calls": (0.0, 1.0), "new": (-1.0, 0.0), "gone": (-2.0, -1.0), "criticality": (0.1, 1.0)}
    made = edge("a -> b", effects_ci=bounds)
    assert [is_certain(made, name) for name in bounds] == [False, False, True, True]
    assert standing_words(made) == ""  # nothing was told of it yet


def test_what_is_one_step_away_in_a_circle_is_still_looked_at() -> None:
    """The first service may be reached again, and what it calls besides explains no more than once."""
    often = edge("b -> c", (1.0, 3.0))
    ring = [often, edge("a -> b"), edge("b -> a"), grown("z -> a", "calls")]
    assert told(ring) == (StandingKind.FOLLOWS, "follows z → a")
