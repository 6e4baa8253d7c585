"""A finding as a card: what every surface says of it, in the same words and order.

1. what it is, in a sentence
   since when ─ how sure ─ what it adds ─ weeks left
   what suffers from it
   what to look at next: a question, the command, a slow trace
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final, NamedTuple

from tracescope.analysis.report import Certainty, Mechanism
from tracescope.periods import format_utc
from tracescope.report.figures import day, interval, number

if TYPE_CHECKING:
    from tracescope.analysis.report import Change, Edge, EdgeKey, Extent, Finding, Report

#: What to ask of a cause.
QUESTIONS: Final[Mapping[Mechanism, str]] = {
    Mechanism.MORE_CALLS: "Should one request make so many calls, and does the number stop growing?",
    Mechanism.SERIALISED: "Why do these calls wait for each other now, and may they run side by side again?",
    Mechanism.N_PLUS_ONE: "Can one call fetch what this loop asks for one by one?",
    Mechanism.RETRIES: "What fails the first time, and who limits how often it is tried again?",
    Mechanism.NEW: "Who decided on this dependency, and what happens to a request when it is down?",
    Mechanism.SLOWER: "What grew with the weeks, and who prunes, indexes or shards it before it doubles?",
    Mechanism.LOAD: "How much more load may come before it waits for itself, and what is the plan then?",
    Mechanism.CONTENDED: "Which lock, row or pool do callers queue for, and who can hold it for less long?",
    Mechanism.CONSUMER: "What does the consumer wait for while it works, and can it work on more at once?",
    Mechanism.QUEUE: "Does the consumer keep up at the next peak, and who notices when it does not?",
    Mechanism.STARVED: "Has the caller enough CPU and threads, and what else runs on its host?",
    Mechanism.POOL: "How many connections does the pool hold, who keeps them for long, and is it too small?",
    Mechanism.WAITED_FOR: "Which work used to run beside it, and must it now come after?",
    Mechanism.ERRORS: "What do the errors say, and since which deploy?",
}
#: A q value under this is told as such: more digits would claim more than the model knows.
_TINY_Q: Final = 0.001


class Suffers(NamedTuple):
    """A victim: the edge, its key, what it adds, and how that comes."""

    edge: EdgeKey
    name: str
    adds: str
    how: str


class Card(NamedTuple):
    """What is said of one finding; what is not known is empty.

    Attributes
    ----------
    finding, edge
        What it is of; the edge is None where the report lists it no more.
    title
        One sentence.
    since, sure, adds, weeks
        Since when, how sure, how much, how long it may go on, in words.
    victims
        What suffers from it, nearest first.
    question, command, trace_id
        What to look at next.
    owner, muted
        Who owns it; until when it is muted, and why.
    """

    finding: Finding
    edge: Edge | None
    title: str
    since: str
    certainty: str
    adds: str
    weeks: str
    victims: tuple[Suffers, ...]
    question: str
    command: str
    trace_id: str
    owner: str
    muted: str


def cards(report: Report) -> list[Card]:
    """Every finding of a report as a card, in its order."""
    known = {edge.key: edge for edge in report.edges}
    return [_card(report, found, known.get(found.cause)) for found in report.findings]


def _card(report: Report, finding: Finding, edge: Edge | None) -> Card:
    return Card(
        finding=finding,
        edge=edge,
        title=finding.sentence.replace(" -> ", " → "),
        since=since(finding.since),
        certainty=certainty(finding),
        adds=_adds(finding),
        weeks=weeks(finding.weeks_to_wall),
        victims=tuple(
            Suffers(
                each.edge, at(each.edge), f"{number(each.added_ms, sign=True)} ms per {each.unit}", each.how
            )
            for each in finding.victims
        ),
        question=QUESTIONS.get(finding.mechanism, ""),
        command=explain_command(finding.cause, report),
        trace_id=edge.exemplars_head[0] if edge is not None and edge.exemplars_head else "",
        owner=finding.owner,
        muted=muted(finding),
    )


def muted(finding: Finding) -> str:
    """Until when a finding is muted, and why; empty where it is not."""
    if finding.mute is None:
        return ""
    return f"muted until {format_utc(finding.mute.until_ns)} UTC: {finding.mute.reason}"


def at(key: EdgeKey) -> str:
    """An edge in a sentence."""
    name = f"{key.caller} (itself)" if key.callee is None else f"{key.caller} → {key.callee}"
    return f"{name} {key.operation}" if key.operation else name


def since(change: Change | None) -> str:
    """Since when, with the deploys and marks beside it; what creeps has no day on which it began."""
    if change is None:
        return "it crept up: no single day on which it began"
    said = f"since {day(change.at_ns)}"
    if day(change.low_ns) != day(change.high_ns):
        said += f" (between {day(change.low_ns)} and {day(change.high_ns)})"
    beside = [f"{one.service} {one.version} was first seen" for one in change.versions[:2]]
    beside += [f"“{name}” was marked" for name in change.marks[:2]]
    return said + (f", when {' and '.join(beside)}" if beside else "")


def certainty(finding: Finding) -> str:
    """Certainty in words: of the cause, then of the change."""
    cause = {
        Certainty.CLEAR: "clear",
        Certainty.CONSISTENT: "the evidence is consistent with this cause; it does not prove it",
    }[finding.certainty]
    said = [cause]
    if finding.added_ms_ci is not None:
        said.append(f"95 % interval {interval(finding.added_ms_ci)} ms")
    if finding.q_value is not None:
        said.append(f"q {'below 0.001' if finding.q_value < _TINY_Q else f'{finding.q_value:.2g}'}")
    return ", ".join(said)


def _adds(finding: Finding) -> str:
    if finding.mechanism is Mechanism.ERRORS:  # its sentence says how many fail: a failure is no milliseconds
        return ""
    said = f"{number(finding.added_ms, sign=True)} ms per {finding.unit}"
    if len(finding.entries) == 1:
        said += f" of {' '.join(finding.entries[0])}"
    elif finding.entries:
        said += f", in {len(finding.entries)} entries"
    if finding.victims and finding.unit == "request" and number(finding.total_ms) != number(finding.added_ms):
        said += f"; {number(finding.total_ms, sign=True)} ms with what suffers from it"
    return said


def weeks(left: float | None) -> str:
    """Weeks to the wall in words; empty where nobody knows."""
    if left is None:
        return ""
    if left == 0:
        return "none: it is at its wall at peak load now"
    return f"about {number(left)} until its wall, at today's growth"


def explain_command(cause: EdgeKey, report: Report) -> str:
    """The command that tells more of a cause, of the same periods."""
    name = f"{cause.name} {cause.operation or ''}".strip()
    return f"tracescope explain {shlex.quote(name)} {_period(report.base)} {_period(report.head)}"


def _period(extent: Extent) -> str:
    return f"{format_utc(extent.start_ns)}/{format_utc(extent.end_ns)}"
