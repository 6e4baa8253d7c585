"""What a change amounts to that is no significant one of its own: by what is written, edge by edge."""

from __future__ import annotations

from dataclasses import replace

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
