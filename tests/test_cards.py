"""A finding as a card: the words of every surface, by what is written."""

from __future__ import annotations

import shlex

from answered import edge, grown, report

from tracescope.analysis.report import (
    Appeared,
    Certainty,
    Change,
    EdgeKey,
    Effect,
    Finding,
    Mechanism,
    State,
    Victim,
)
from tracescope.engine.attention import marked
from tracescope.report import diff_json, digest, text
from tracescope.report.cards import QUESTIONS, cards, weeks
from tracescope.report.figures import more_of

DAY = 86_400 * 10**9
BEGAN = 1_793_750_400 * 10**9  # 2026-11-04
CAUSE = EdgeKey("request", "db", "inventory", "postgresql/stock", "UPDATE stock")
FOUND = Finding(
    cause=CAUSE,
    mechanism=Mechanism.CONTENDED,
    sentence="calls inventory -> postgresql/stock wait for a lock",
    added_ms=3.29,
    unit="request",
    entries=(("gateway", "POST /checkout"),),
    added_ms_ci=(3.09, 3.49),
    total_ms=5.1,
    victims=(Victim(EdgeKey("request", "http", "checkout", "inventory", None), 1.81, "request", "waits"),),
    since=Change(BEGAN, BEGAN - DAY, BEGAN + DAY, (Appeared("inventory", "4.18", BEGAN),)),
    q_value=1e-9,
    weeks_to_wall=7.9,
)


def test_a_card_tells_what_since_when_how_sure_how_much_and_what_next() -> None:
    """Deploys and marks stand beside the day; a tiny q value is no number."""
    marks = {"black-friday": BEGAN + 2 * DAY, "long-ago": BEGAN - 90 * DAY, "later": BEGAN + 2 * DAY + 1}
    (card,) = cards(marked(report(findings=(FOUND,)), marks))
    assert card.title == "calls inventory → postgresql/stock wait for a lock"
    assert card.since == (
        "since 4 Nov 2026 (between 3 Nov 2026 and 5 Nov 2026), when inventory 4.18 was first seen "
        "and “black-friday” was marked"
    )
    assert card.certainty == "clear, 95 % interval +3.09 … +3.49 ms, q below 0.001"
    assert card.adds == "+3.29 ms per request of gateway POST /checkout; +5.10 ms with what suffers from it"
    assert card.weeks == "about 7.90 until its wall, at today's growth"
    assert card.victims[0][1:] == ("checkout → inventory", "+1.81 ms per request", "waits")
    assert card.question == QUESTIONS[Mechanism.CONTENDED]
    said = shlex.split(card.command)
    assert said[:3] == ["tracescope", "explain", "inventory -> postgresql/stock UPDATE stock"]
    assert len(said) == 5


def test_what_is_not_known_is_not_said() -> None:
    """No day, no interval, no wall; a cause that is not proven says so."""
    vague = Finding(CAUSE, Mechanism.SLOWER, "slower", 2.0, "message", certainty=Certainty.CONSISTENT)
    (card,) = cards(report(findings=(vague,)))
    assert card.since == "it crept up: no single day on which it began"
    assert card.certainty == "the evidence is consistent with this cause; it does not prove it"
    assert (card.adds, card.weeks, card.trace_id) == ("+2.00 ms per message", "", "")
    assert weeks(0) == "none: it is at its wall at peak load now"


def test_every_mechanism_has_a_question() -> None:
    """A card without one leaves its reader alone."""
    assert set(QUESTIONS) == set(Mechanism)


def test_terminal_markdown_and_json_say_the_same() -> None:
    """Sentence, day, question and command stand on each."""
    made = report(findings=(FOUND,), edges=(edge("inventory -> postgresql/stock"),))
    (card,) = cards(made)
    lines = "\n".join(text.causes(made))
    for words in (
        card.title,
        card.since,
        card.certainty,
        card.weeks,
        card.question,
        card.command,
        "└ checkout → inventory",
    ):
        assert words in lines
    (found,) = diff_json(made)["findings"]
    assert found["next"] == {"question": card.question, "command": card.command, "trace_id": None}


def test_a_mark_beside_a_change_stands_on_every_surface() -> None:
    """One place puts it there: terminal, table, digest and JSON; what no mark is near is untouched."""
    slower = grown("inventory -> postgresql/stock", Effect.CALLS, change=FOUND.since)
    made = report(findings=(FOUND,), edges=(slower,))
    said = marked(made, {"black-friday": BEGAN - 2 * DAY, "early": BEGAN - 2 * DAY - 1})
    for words in ("\n".join(text.causes(said)), "\n".join(digest.lines(said)), text.why(said.edges[0])):
        assert "black-friday" in words
        assert "early" not in words
    answer = diff_json(said)
    assert answer["findings"][0]["since"]["marks"] == ["black-friday"]
    assert answer["edges"][0]["change"]["marks"] == ["black-friday"]
    assert marked(made, {}) is made
    assert marked(made, {"long-ago": 0}) == made


def test_at_the_wall_the_headline_names_what_the_first_reason_names() -> None:
    """The verdict alone decides which edge is full; the first cause follows where it is another one."""
    slower = grown("inventory -> postgresql/stock", Effect.CALLS)
    full = "cart -> redis has no headroom left at peak load"
    own = "inventory -> postgresql/stock has no headroom left at peak load"
    for findings in ((), (FOUND,)):
        made = report(findings=findings, edges=(slower,), state=State.AT_THE_WALL, reasons=(full, "more"))
        assert text.headline(made).startswith(
            "at the wall: cart → redis has no headroom left at peak load; inventory → postgresql/stock takes "
        )
        made = report(findings=findings, edges=(slower,), state=State.AT_THE_WALL, reasons=(own, "more"))
        assert text.headline(made).startswith("at the wall: inventory → postgresql/stock takes +")


def test_what_a_list_leaves_out_is_one_thing_or_several() -> None:
    """One more edge, and seven more edges."""
    assert [more_of(n, "edge", "edges") for n in (1, 2, 7)] == ["1 more edge", "2 more edges", "7 more edges"]
