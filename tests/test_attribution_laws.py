"""Findings from rungs: which edges count, where circles begin, whose a victim is, and what is said of it."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from answered import edge, grown
from rolled import rolled

from tracescope import schema
from tracescope.analysis.attribution import findings
from tracescope.analysis.attribution.courses import place_of
from tracescope.analysis.attribution.failures import with_failures
from tracescope.analysis.attribution.findings import attribute, grew, vouched
from tracescope.analysis.attribution.ladder import Rung, name_of
from tracescope.analysis.report import (
    Certainty,
    Change,
    Edge,
    EdgeKey,
    Effect,
    EntryFailures,
    Failures,
    Finding,
    Mechanism,
    MissingWork,
    MissingWorkKind,
    Origin,
    Pattern,
    PatternCertainty,
    Rate,
)
from tracescope.conventions import semconv

PERIODS = (rolled(), rolled())
ENTRY = ("api", "GET /")
ENTERED = ("request", *ENTRY)
LONG = schema.UNIT_NAMES[schema.UNIT_LONG]


def rise(name: str, ms: float = 2.0, effect: str = "latency_growth", **more: Any) -> Edge:
    return replace(grown(name, effect, **more), credited_ms=ms)


def unsure(name: str, ms: float = 2.0, ci: tuple[float, float] | None = None, **more: Any) -> Edge:
    """An edge that grew by so much, and is not significant."""
    return replace(rise(name, ms, **more), significant=False, credited_ms_ci=ci or (ms - 1.0, ms + 1.0))


def course(waits: bool | None = None, steady: float | None = None) -> Any:
    return SimpleNamespace(waits=waits, steady=steady, rate=(0.0, 0.0))


def story(edges: list[Edge], rungs: list[tuple[int, int]] | None = None, **more: Any) -> findings._Story:
    """Edges by their place, with rungs from cause to victim; held are holders by their place."""
    keys = [one.key for one in edges]
    sure = more.get("sure", set())
    made = [
        Rung(keys[cause], keys[victim], f"waits for {name_of(keys[cause])}", (cause, victim) in sure)
        for cause, victim in rungs or []
    ]
    likely = [one.key for one in edges if findings._likely(one)]
    held = {
        place_of(keys[at]): SimpleNamespace(holder=keys[at], clause=lambda key: f"{name_of(key)} brings more")
        for at in more.get("held", ())
    }
    outside = {
        keys[at]: Rung(EdgeKey("request", "db", "x", "pg", None), keys[at], "waits at pg", False)
        for at in more.get("outside", ())
    }
    return findings._Story(
        {one.key: one for one in edges}, {keys[at]: one for at, one in more.get("courses", {}).items()},
        more.get("per_request", {"request": 1.0, "message": 0.5}), PERIODS, held,
        frozenset(one.key for one in edges if grew(one)), findings._graph(likely, made), outside,
    )  # fmt: skip


# -- which edges count ------------------------------------------------------------------------------


def test_an_edge_grew_where_it_is_significant_and_somebody_waits() -> None:
    assert grew(rise("a -> b"))
    assert not grew(rise("a -> b", 0.0))
    assert not grew(rise("a -> b", -2.0))
    assert not grew(unsure("a -> b"))
    assert not grew(rise("a", unit=LONG))
    assert grew(rise("a -> b", unit=LONG))
    assert grew(rise("a"))


@pytest.mark.parametrize(
    ("ms", "ci", "least", "likely"),
    [
        (1.01, (0.0, 4.0), 0.1, True), (1.0, (0.0, 4.0), 0.1, False), (1.0, (-0.9, 2.9), 0.1, True),
        (0.06, (0.05, 0.07), 0.1, True), (0.05, (0.04, 0.06), 0.1, False), (-1.0, (-1.1, -0.9), 0.1, False),
    ],
)  # fmt: skip
def test_a_rise_is_likely_beyond_one_standard_error_and_half_of_the_smallest_effect(
    ms: float, ci: tuple[float, float], least: float, likely: bool
) -> None:
    """Not without an interval, beside a note, or of what stays open."""
    one = unsure("a -> b", ms, ci, min_effect_ms=least)
    assert findings._likely(one) == likely
    for less in (
        replace(one, note="changed"),
        replace(one, credited_ms_ci=None),
        replace(one, callee=None, kind="self", unit=LONG),
    ):
        assert not findings._likely(less)
    assert findings._likely(replace(one, significant=True)) == (ms > 0)


@pytest.mark.parametrize(
    ("ms", "low", "most", "spoken"),
    [
        (1.0, 0.1, 2.0, True),
        (0.9, 0.1, 2.0, False),
        (1.0, 0.0, 2.0, False),
        (1.0, -0.1, 0.0, False),
        (0.1, 0.01, 0.0, True),
    ],
)
def test_an_entry_that_grew_speaks_for_half_of_its_largest_rise(
    ms: float, low: float, most: float, spoken: bool
) -> None:
    """Where the edge's own interval lies above nothing."""
    one = unsure("a -> b", ms, (low, 3.0), rises_in=(("web", "PUT"), ENTRY))
    assert vouched(one, {ENTERED}, {ENTERED: most}) == spoken
    assert vouched(one, {ENTERED}, {}) == (low > 0)
    assert not vouched(one, {("message", *ENTRY)}, {})
    assert not vouched(replace(one, rises_in=None), {ENTERED}, {})
    assert not vouched(replace(one, note="changed"), {ENTERED}, {})
    assert not vouched(replace(one, credited_ms_ci=None), {ENTERED}, {})
    assert not vouched(replace(one, callee=None, kind="self", unit=LONG), {(LONG, *ENTRY)}, {})


def test_the_largest_rise_of_an_entry_is_of_what_grew_in_it() -> None:
    edges = [
        rise("a -> b", 2.0, rises_in=(ENTRY,)),
        rise("a -> c", 3.0, rises_in=(ENTRY, ("web", "PUT"))),
        unsure("a -> d", 9.0, rises_in=(ENTRY,)),
        rise("a -> e", 4.0),
        rise("a -> f", 5.0, unit="message", rises_in=(ENTRY,)),
    ]
    assert findings._most(edges) == {ENTERED: 3.0, ("request", "web", "PUT"): 3.0, ("message", *ENTRY): 5.0}


# -- circles and causes -----------------------------------------------------------------------------


def caused(given: findings._Story) -> dict[str, list[str]]:
    findings._break_circles(given)
    findings._drop_uncertain(given)
    return {
        name_of(cause): [name_of(one) for one in found] for cause, found in findings._by_cause(given).items()
    }


def test_victims_stand_below_the_cause_that_weighs_most_nearest_first() -> None:
    """Then by what they add, for each request, and by name."""
    edges = [
        rise("a -> big", 5.0), rise("a -> small", 1.0), rise("a -> both", 1.0), rise("a -> far", 9.0),
        rise("a -> near", 3.0), rise("b -> x", 3.0), rise("a -> msg", 5.0, unit="message"),
    ]  # fmt: skip
    given = story(edges, [(0, 2), (1, 2), (0, 4), (2, 3), (0, 5), (0, 6)])
    assert caused(given) == {
        "a -> big": ["a -> near", "b -> x", "a -> msg", "a -> both", "a -> far"],
        "a -> small": [],
    }
    assert given.per_unit(edges[6].key) == 2.5
    assert given.per_unit(EdgeKey("request", "db", "no", "where", None)) == 0.0


@pytest.mark.parametrize(
    ("first", "second", "begins"),
    [
        (rise("a -> b", 1.0, "calls", calls_per_unit_head=2.0), rise("b -> c", 9.0), 0),
        (
            rise("a -> b", 1.0, "calls", calls_per_unit_head=2.0),
            rise("b -> c", 9.0, "calls", calls_per_unit_head=2.1),
            1,
        ),
        (
            rise("a -> b", 9.0, "calls", calls_per_unit_base=9.0, calls_per_unit_head=10.0),
            rise("b -> c", 1.0, "calls", calls_per_unit_head=2.1),
            1,
        ),
        (rise("a -> b", 1.0), rise("b -> c", 2.0), 1),
        (rise("a -> b", 3.0), rise("b -> c", 2.0), 0),
    ],
)
def test_a_circle_begins_where_more_is_called_and_else_at_the_larger(
    first: Edge, second: Edge, begins: int
) -> None:
    given = story([first, second], [(0, 1), (1, 0)])
    pair = [name_of(first.key), name_of(second.key)]
    assert caused(given) == {pair[begins]: [pair[1 - begins]]}


def test_a_circle_begins_where_work_is_dearer_in_quiet_times() -> None:
    """More than half, which is what nothing is known of; calls that are made again begin none."""
    small, large = rise("a -> b", 1.0), rise("b -> c", 9.0)
    for steady, begins in ((0.6, "a -> b"), (0.4, "b -> c"), (None, "b -> c")):
        assert list(caused(story([small, large], [(0, 1), (1, 0)], courses={0: course(steady=steady)}))) == [
            begins
        ]
    retries = (Pattern("retries", "", None, PatternCertainty.CERTAIN, ()),)
    again = rise("b -> c", 9.0, "calls", calls_per_unit_head=3.0, patterns=retries)
    assert list(caused(story([small, again], [(0, 1), (1, 0)]))) == ["a -> b"]
    line = {0: course(steady=0.2)}
    assert list(caused(story([small, again], [(0, 1), (1, 0)], courses=line))) == ["b -> c"]
    quick = rise("a -> b", 1.0, "criticality")
    assert list(caused(story([quick, large], [(0, 1), (1, 0)], courses={0: course(steady=0.9)}))) == [
        "b -> c"
    ]


def test_only_what_leads_into_the_beginning_from_within_a_circle_is_cut() -> None:
    """A cause outside of it stays its cause; circles within are cut, too."""
    edges = [rise("z -> y", 1.0), rise("a -> b", 5.0), rise("b -> c", 2.0), rise("c -> d", 1.0)]
    assert caused(story(edges, [(0, 1), (1, 2), (2, 3), (3, 1), (3, 2)])) == {
        "z -> y": ["a -> b", "b -> c", "c -> d"]
    }
    assert caused(story(edges, [(1, 2), (2, 3), (3, 1), (3, 2)])) == {
        "z -> y": [],
        "a -> b": ["b -> c", "c -> d"],
    }


def test_who_is_not_among_the_edges_begins_a_circle() -> None:
    """Whoever keeps a resource busy and was not asked for."""
    edges = [rise("a -> b", 1.0)]
    given = story(edges)
    other = EdgeKey("request", "db", "x", "pg", None)
    assert findings._begins(given, other) == (2.0, 0.0)


@pytest.mark.parametrize(
    ("made", "kept"),
    [
        (unsure("a -> b", 2.0, (0.1, 3.9)), True), (unsure("a -> b", 2.0, (0.0, 3.9)), False),
        (unsure("a -> b", 2.0, (-0.1, 3.9)), False), (unsure("a -> b", 1.5, (0.1, 2.9)), True),
        (unsure("a -> b", 1.4, (0.1, 2.7)), False),
    ],
)  # fmt: skip
def test_a_cause_that_is_not_significant_is_surely_above_nothing_and_half_of_what_waits(
    made: Edge, kept: bool
) -> None:
    """Of significant rises that wait for it directly; else its victim stands alone."""
    victim, doubtful = rise("c -> d", 3.0), unsure("c -> e", 9.0)
    found = caused(story([made, victim, doubtful], [(0, 1), (0, 2)]))
    assert ("a -> b" in found) == kept
    assert kept or "c -> d" in found
    alone = caused(story([made]))
    assert ("a -> b" in alone) == ((made.credited_ms_ci or (0.0,))[0] > 0)


def test_whoever_keeps_a_resource_busy_needs_no_rise_of_its_own() -> None:
    """If somebody waits for it; it weighs what directly waits, and is counted with nothing of its own."""
    hidden, victim, other = edge("x -> pg", credited=0.01), rise("a -> pg", 3.0), rise("b -> q", 2.0)
    given = story([hidden, victim, other], [(0, 1), (2, 1)])
    assert caused(given) == {"x -> pg": ["a -> pg"], "b -> q": []}
    assert caused(story([hidden, victim, replace(other, credited_ms=4.0)], [(0, 1), (2, 1)])) == {
        "x -> pg": [], "b -> q": ["a -> pg"],
    }  # fmt: skip
    weak = unsure("x -> pg", 2.0, (-0.1, 3.9))
    assert "x -> pg" not in caused(story([weak, victim], [(0, 1)]))
    assert caused(story([weak, victim], [(0, 1)], held=(0,))) == {"x -> pg": ["a -> pg"]}
    assert "x -> pg" not in caused(story([weak, victim], [], held=(0,)))


def test_the_surer_of_two_rungs_stays() -> None:
    a, b = rise("a -> b").key, rise("b -> c").key
    doubt, sure = Rung(a, b, "perhaps", False), Rung(a, b, "surely", True)
    for rungs in ([doubt, sure], [sure, doubt]):
        assert findings._graph([a, b], rungs).edges[a, b]["rung"] is sure
    again = [doubt, doubt._replace(how="another")]
    assert findings._graph([a, b], again).edges[a, b]["rung"] is doubt


# -- what is said -----------------------------------------------------------------------------------


def told(edges: list[Edge], rungs: list[tuple[int, int]] | None = None, **more: Any) -> Any:
    """The finding of the first edge with all others for its victims."""
    given = story(edges, rungs if rungs is not None else [(0, at) for at in range(1, len(edges))], **more)
    return findings._finding(given, edges[0].key, [one.key for one in edges[1:]])


def test_a_finding_adds_up_its_cause_and_victims_for_each_request() -> None:
    """Entries of all, in their order; certain where every last rung is."""
    cause = rise(
        "a -> b",
        2.0,
        rises_in=(ENTRY,),
        change=Change(1, 0, 2),
        weeks_to_wall=3.0,
        evidence=("of the model",),
    )
    near, far = rise("c -> d", 1.0, rises_in=(("web", "PUT"), ENTRY)), rise("e -> f", 4.0, unit="message")
    one = told([cause, near, far], [(0, 1), (1, 2)], sure={(0, 1), (1, 2)})
    assert (one.cause, one.added_ms, one.unit, one.q_value) == (cause.key, 2.0, "request", 0.001)
    assert one.entries == (ENTRY, ("web", "PUT"))
    assert (one.added_ms_ci, one.since, one.weeks_to_wall) == ((1.5, 2.5), cause.change, 3.0)
    assert one.total_ms == 2.0 + 1.0 + 2.0
    assert [(v.edge, v.added_ms, v.unit, v.how) for v in one.victims] == [
        (near.key, 1.0, "request", "waits for a -> b"), (far.key, 4.0, "message", "waits for c -> d"),
    ]  # fmt: skip
    assert one.certainty is Certainty.CLEAR
    assert one.evidence == ("of the model",)
    assert one.sentence == (
        "a -> b: each call is slower at the same load, +2 ms per request; 2 more edges follow from it, "
        "+5 ms per request in all"
    )
    for sure in ({(0, 1)}, {(1, 2)}, set()):
        assert told([cause, near, far], [(0, 1), (1, 2)], sure=sure).certainty is Certainty.CONSISTENT
    assert told([cause]).certainty is Certainty.CLEAR
    assert told([unsure("a -> b")]).certainty is Certainty.CONSISTENT
    hidden = told([edge("x -> pg", credited=0.01), near], sure={(0, 1)})
    assert (hidden.total_ms, hidden.certainty) == (1.0, Certainty.CONSISTENT)


def test_the_evidence_names_quiet_times_what_is_held_and_who_was_not_asked_for() -> None:
    pattern = Pattern("contention", "", None, PatternCertainty.POSSIBLE, ("of a pattern",))
    cause = rise("a -> pg", kind="db", evidence=("of the model",), patterns=(pattern,))
    one = told([cause], courses={0: course(steady=0.25)}, held=(0,), outside=(0,))
    assert one.evidence == (
        "25% of its rise is there in quiet times as well", "a -> pg brings more",
        "x -> pg is not among what was asked for", "of the model", "of a pattern",
    )  # fmt: skip
    calls = rise("a -> pg", effect="calls")
    assert told([calls], courses={0: course(steady=0.25)}).evidence == ()


def pattern(name: str, certainty: PatternCertainty = PatternCertainty.CERTAIN) -> tuple[Pattern, ...]:
    return (Pattern(name, "", None, certainty, ()),)


WAIT = {"kind": "queue", "operation": schema.QUEUE_WAIT}


@pytest.mark.parametrize(
    ("cause", "victims", "more", "mechanism", "said"),
    [
        (rise("a -> b"), [], {"outside": (0,)}, Mechanism.CONTENDED, "a -> b waits at pg"),
        (rise("a", patterns=pattern("starved caller")), [], {}, Mechanism.STARVED, "a gets too little CPU"),
        (
            rise("a -> b", effect="calls", patterns=pattern("retries"), calls_per_unit_head=2.0),
            [],
            {},
            Mechanism.RETRIES,
            "a -> b fails and is called again, 1 → 2 times",
        ),
        (
            rise("a -> b", effect="calls", patterns=pattern("n+1"), calls_per_unit_head=7.0),
            [],
            {},
            Mechanism.N_PLUS_ONE,
            "a -> b is called 1 → 7 times",
        ),
        (
            rise("a -> b", effect="criticality", patterns=pattern("made serial")),
            [],
            {},
            Mechanism.SERIALISED,
            "a -> b: it is more often waited for",
        ),
        (
            rise(
                "a -> b",
                effect="calls",
                calls_per_unit_head=7.0,
                patterns=pattern("n+1", PatternCertainty.POSSIBLE),
            ),
            [],
            {},
            Mechanism.MORE_CALLS,
            "a -> b is called 1 → 7 times",
        ),
        (
            rise("a -> pg", kind="db", operation=semconv.ACQUIRE),
            [],
            {},
            Mechanism.POOL,
            "a waits longer for a connection",
        ),
        (
            rise("o -> w", effect="latency_load", **WAIT),
            [],
            {},
            Mechanism.QUEUE,
            "o backs up: w takes messages later",
        ),
        (
            rise("o -> w", **WAIT),
            [],
            {},
            Mechanism.CONSUMER,
            "o backs up: w takes messages later than they come",
        ),
        (rise("a -> b", effect="new"), [], {}, Mechanism.NEW, "a -> b: it is new"),
        (
            rise("a -> b", effect="calls", calls_per_unit_head=1.1),
            [],
            {},
            Mechanism.MORE_CALLS,
            "a -> b is called 1 → 1.1 times",
        ),
        (
            rise("a -> b", effect="calls", calls_per_unit_head=1.05),
            [],
            {},
            Mechanism.MORE_CALLS,
            "a -> b is called 1 → 1.05 times",
        ),
        (
            rise("a -> o", calls_per_unit_head=2.0),
            [rise("o -> w", **WAIT)],
            {},
            Mechanism.MORE_CALLS,
            "a -> o is called 1 → 2 times",
        ),
        (
            rise("a -> o", calls_per_unit_head=2.0),
            [rise("o -> w")],
            {},
            Mechanism.SLOWER,
            "a -> o: each call is slower",
        ),
        (
            rise("a -> pg", effect="latency_load", kind="db"),
            [rise("b -> pg", kind="db")],
            {},
            Mechanism.LOAD,
            "a -> pg: more load makes each call wait",
        ),
        (
            rise("a -> pg", effect="latency_load", kind="db"),
            [rise("b -> pg", kind="db")],
            {"held": (0,)},
            Mechanism.CONTENDED,
            "a -> pg keeps pg busier",
        ),
        (
            rise("a -> pg", kind="db"),
            [rise("b -> pg", kind="db")],
            {},
            Mechanism.CONTENDED,
            "pg is slower for all, a -> pg most",
        ),
        (
            rise("a -> pg", kind="db"),
            [rise("b -> pg", kind="external")],
            {},
            Mechanism.SLOWER,
            "a -> pg: each call is slower",
        ),
        (
            rise("a -> pg", kind="db"),
            [rise("b -> my", kind="db")],
            {},
            Mechanism.SLOWER,
            "a -> pg: each call is slower",
        ),
        (rise("a"), [rise("b")], {}, Mechanism.SLOWER, "a (itself): each call is slower"),
        (rise("a -> s"), [rise("b -> s")], {}, Mechanism.SLOWER, "a -> s: each call is slower"),
        (rise("a -> s"), [rise("b -> s")], {"held": (0,)}, Mechanism.CONTENDED, "a -> s keeps s busier"),
        (
            rise("a -> t", kind="queue", operation="publish"),
            [rise("b -> t", kind="queue", operation="publish")],
            {},
            Mechanism.SLOWER,
            "a -> t publish: each call is slower",
        ),
        (
            rise("w", unit="message"),
            [rise("o -> w", **WAIT)],
            {},
            Mechanism.CONSUMER,
            "w (itself): each call is slower",
        ),
        (rise("w"), [rise("o -> w", **WAIT)], {}, Mechanism.SLOWER, "w (itself): each call is slower"),
        (
            rise("w", unit="message"),
            [rise("a -> w")],
            {},
            Mechanism.SLOWER,
            "w (itself): each call is slower",
        ),
        (
            rise("a -> s"),
            [],
            {"courses": {0: course(True)}},
            Mechanism.POOL,
            "a -> s waits for a thread or a connection",
        ),
        (rise("a"), [], {"courses": {0: course(True)}}, Mechanism.POOL, "a (itself) waits for a thread or"),
        (
            rise("a -> s"),
            [],
            {"courses": {0: course(False)}},
            Mechanism.SLOWER,
            "a -> s: each call is slower",
        ),
        (
            rise("a -> pg", kind="db"),
            [],
            {"courses": {0: course(True)}},
            Mechanism.SLOWER,
            "a -> pg: each call is slower",
        ),
        (
            rise("a -> s", effect="latency_load"),
            [],
            {"courses": {0: course(True)}},
            Mechanism.LOAD,
            "a -> s: more load",
        ),
        (rise("a -> s", effect="latency_unsplit"), [], {}, Mechanism.SLOWER, "a -> s: each call is slower"),
        (
            rise("a -> s", effect="criticality"),
            [],
            {},
            Mechanism.WAITED_FOR,
            "a -> s: it is more often waited for",
        ),
        (rise("a -> s", effect="gone"), [], {}, Mechanism.SLOWER, "a -> s: it is gone"),
    ],
)
def test_a_mechanism_is_what_patterns_structure_and_effects_say_in_this_order(
    cause: Edge, victims: list[Edge], more: dict[str, Any], mechanism: Mechanism, said: str
) -> None:
    """With a sentence for each."""
    one = told([cause, *victims], **more)
    assert one.mechanism is mechanism
    assert one.sentence.startswith(said)
    assert f"{cause.credited_ms:+.3g} ms per {cause.unit}" in one.sentence
    assert ("1 more edge follows from it, " in one.sentence) == (len(victims) == 1)


@pytest.mark.parametrize(
    ("messages", "effect", "mechanism", "said"),
    [
        ((100.0, 106.0), "latency_growth", Mechanism.QUEUE, "6% more messages come"),
        ((100.0, 104.0), "latency_growth", Mechanism.CONSUMER, "w takes messages later than they come"),
        ((0.0, 50.0), "latency_growth", Mechanism.QUEUE, "messages come that did not"),
    ],
)
def test_a_queue_backs_up_because_more_comes_or_its_consumers_are_slow(
    messages: tuple[float, float], effect: str, mechanism: Mechanism, said: str
) -> None:
    waits = SimpleNamespace(waits=None, steady=None, rate=messages)
    one = told([rise("o -> w", effect=effect, **WAIT)], courses={0: waits})
    assert (one.mechanism, one.sentence.split(",")[0]) == (mechanism, f"o backs up: {said}")


def test_each_mechanism_of_an_effect_is_told() -> None:
    """Of every effect that adds time."""
    assert set(findings.OF_EFFECT) == set(Effect) - {Effect.GONE, Effect.TRANSIENT}


# -- all together -----------------------------------------------------------------------------------


def test_findings_stand_by_what_they_cost_and_those_that_stay_open_last() -> None:
    """By name where they cost as much; nothing where nothing grew for certain."""
    edges = [
        rise("a -> b", 2.0), rise("a -> c", 3.0), rise("b -> x", 2.0), rise("z -> s", 9.0, unit=LONG),
        unsure("q -> r", 5.0), rise("m -> n", 5.0, unit="message"),
    ]  # fmt: skip
    found = attribute(edges, (), PERIODS, {"request": 1.0, LONG: 1.0, "message": 0.5})
    assert [name_of(one.cause) for one in found] == ["a -> c", "m -> n", "a -> b", "b -> x", "z -> s"]
    assert attribute([unsure("q -> r", 5.0)], (), PERIODS, {"request": 1.0}) == ()
    spoken = unsure("q -> r", 5.0, rises_in=(ENTRY,))
    (one,) = attribute([spoken], {ENTERED}, PERIODS, {"request": 1.0})
    assert one.certainty is Certainty.CONSISTENT


def test_a_starved_caller_is_the_cause_of_what_it_reads_late() -> None:
    own = rise("s", 5.0, patterns=pattern("starved caller"))
    late = rise("s -> pg", 2.0, kind="db")
    (one,) = attribute([late, own], (), PERIODS, {"request": 1.0})
    assert (one.cause, [victim.edge for victim in one.victims]) == (own.key, [late.key])


# -- failures ---------------------------------------------------------------------------------------


def failed(entries: dict[tuple[str, str], float], **more: Any) -> Failures:
    """Entries of which so many more fail, after a hundredth, all from one call on."""
    rows = tuple(
        EntryFailures(
            "request", *entry, Rate(0.01, 0.01 + part, 9.0, 9.0, None, part / 10, True), None,
            *[None] * 4, *[0.0] * 4,
        )
        for entry, part in entries.items()
    )  # fmt: skip
    begins = EdgeKey("request", "http", "web", "stock", more.get("operation"))
    rate = Rate(0.02, 0.25, 9.0, 9.0, None, 0.01, True)
    within = (begins, EdgeKey("request", "db", "stock", "pg", None))
    origin = Origin(begins, rate, tuple(entries), 5.0, within)
    return Failures(entries=rows, origins=(origin,), missing_work=more.get("missing", ()))


def finding(cause: EdgeKey, mechanism: Mechanism = Mechanism.SLOWER) -> Finding:
    return Finding(cause, mechanism, "", 1.0, "request")


def test_failures_are_told_of_the_entry_that_grew_most_and_of_how_many_more() -> None:
    """With the parts that fail now and before; an operation where the call has one."""
    for entries, more in (
        ({("a", "GET"): 0.04}, ""), ({("a", "GET"): 0.04, ("b", "PUT"): 0.02}, " and 1 more entry"),
        ({("b", "PUT"): 0.02, ("a", "GET"): 0.04, ("c", "GET"): 0.01}, " and 2 more entries"),
    ):  # fmt: skip
        (one,) = with_failures((), failed(entries), ())
        assert one.sentence == (
            "web -> stock: 25 % of its calls fail (2 % before), and "
            f"5 % of requests of a GET{more} (1 % before)"
        )
        assert (one.mechanism, one.added_ms, one.unit, one.since) == (Mechanism.ERRORS, 0.0, "request", None)
        assert (one.entries, one.q_value) == (tuple(entries), pytest.approx(0.004))
    (one,) = with_failures((), failed({("a", "GET"): 0.04}, operation="POST /r"), ())
    assert one.sentence.startswith("web -> stock POST /r: 25 %")


def test_failures_come_first_unless_slower_work_below_explains_them() -> None:
    """More calls, more waiting and calls made again are what failing does."""
    known = failed({("a", "GET"): 0.04})
    cause = known.origins[0].within[1]
    other = finding(EdgeKey("request", "db", "x", "y", None))
    assert [one.mechanism for one in with_failures((other,), known, ())] == [
        Mechanism.ERRORS,
        Mechanism.SLOWER,
    ]
    found = with_failures((finding(cause), finding(known.origins[0].key), other), known, ())
    assert [one.mechanism is Mechanism.ERRORS for one in found] == [False, False, False, True]
    assert found[-1].evidence == ("stock -> pg got slower, and what waits for it fails",)
    for mechanism in Mechanism:
        made = with_failures((finding(cause, mechanism),), known, ())
        does = mechanism in (Mechanism.RETRIES, Mechanism.MORE_CALLS, Mechanism.WAITED_FOR)
        assert (made[0].sentence != "") == does, mechanism


def test_failures_carry_what_is_missing_because_of_them_and_since_when() -> None:
    """What is not reached anywhere; of their entries and of the call, whatever it is."""
    called = EdgeKey("request", "http", "web", "stock", None)
    kinds = (
        MissingWork(MissingWorkKind.NOT_REACHED, "not reached"),
        MissingWork(MissingWorkKind.RETRIED, "elsewhere"),
        MissingWork(MissingWorkKind.FAILS_EARLY, "of the entry", entry=("a", "GET")),
        MissingWork(MissingWorkKind.FAILS_EARLY, "of another", entry=("z", "GET")),
        MissingWork(MissingWorkKind.RETRIED, "of the call", edge=called),
    )
    step = rise("web -> stock", change=Change(1, 0, 2))
    (one,) = with_failures((), failed({("a", "GET"): 0.04}, missing=kinds), (step,))
    assert one.evidence == ("not reached", "of the entry", "of the call")
    assert one.since == step.change
