"""Five lines for a chat: the verdict, the findings that matter most, and where to look.

    digest(report) ─► lines ─┬─ text
                             ├─ Slack: mrkdwn sections        webhooks take these as they are
                             ├─ Teams: an Adaptive Card
                             └─ JSON: the lines, and the findings with all their fields

Source: Slack's "Block Kit" and "Escaping text"; Microsoft's Adaptive Cards schema 1.4 for webhooks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from tracescope.analysis.report import State
from tracescope.analysis.rollups.hops import of_hops
from tracescope.report import cause_json, iso
from tracescope.report.cards import Card, cards
from tracescope.report.figures import between, number
from tracescope.report.names import markdown, one_line
from tracescope.report.text import headline

if TYPE_CHECKING:
    from tracescope.analysis.report import Report

DIGEST_SCHEMA: Final = "tracescope.digest/1"
#: Findings told, so that with verdict and page there are five lines.
MOST: Final = 3
_LETTERS: Final = 280


def lines(report: Report, page: str = "") -> list[str]:
    """At most five lines of plain text.

    Parameters
    ----------
    report
        The diff.
    page
        Where the same can be looked at; empty for none.
    """
    everything = cards(report)
    known = [card for card in everything if not card.muted]
    clock = report.clock
    part = (clock["delta_ms"] / clock["base_ms"] if clock["base_ms"] else 0.0) * 100
    after = between(report.head.start_ns, report.head.end_ns)
    where = f" in {report.environment}" if report.environment else ""
    said = [
        f"{headline(report)}{where}. {after} UTC: the mean request takes {number(clock['base_ms'])} → "
        f"{number(clock['head_ms'])} ms ({number(part, sign=True)} %)."
        + (f" Note: {note}." if (note := of_hops(report.notes)) else "")
    ]
    said += [_finding(rank, card) for rank, card in enumerate(known[:MOST], 1)]
    more = len(known) - MOST
    silent = len(everything) - len(known)
    rest = [f"{more} more finding{'s' if more > 1 else ''}" if more > 0 else ""]
    rest.append(f"{silent} muted" if silent else "")
    last = [", ".join(filter(None, rest)), page]
    if not page and known:
        last[1] = known[0].command
    said.append(": ".join(each for each in last if each))
    return [one_line(each, _LETTERS if at else 2 * _LETTERS) for at, each in enumerate(said) if each]


def _finding(rank: int, card: Card) -> str:
    facts = [card.owner, card.since, f"weeks left: {card.weeks}" if card.weeks else "", card.question]
    return f"{rank}. {card.title}; " + "; ".join(fact for fact in facts if fact)


def payload(report: Report, form: str, page: str = "") -> dict[str, Any]:
    """What `serve` sends of a report: the message of a webhook, and an alert a finding.

    Parameters
    ----------
    report, page
        As `lines` takes them.
    form
        What the webhook takes: ``json``, ``slack`` or ``teams``.
    """
    said = lines(report, page)
    message = _in_form(form, said, page) or as_json(report, said, page)
    found = [_alert(report, card, page) for card in cards(report) if not card.muted]
    return {"state": report.state.value, "message": message, "findings": found}


def unknown(why: str, form: str, page: str = "") -> dict[str, Any]:
    """The same where there is too little to compare, and why."""
    state = State.INSUFFICIENT.value
    said = [one_line(f"{state}: {why}", 2 * _LETTERS), *([page] if page else [])]
    plain: dict[str, Any] = {"schema": DIGEST_SCHEMA, "state": state, "lines": said, "findings": []}
    message = _in_form(form, said, page) or {**plain, "page": page or None}
    return {"state": state, "message": message, "findings": []}


def _in_form(form: str, said: list[str], page: str) -> dict[str, Any] | None:
    """A message to Slack or Teams; None where JSON is wanted."""
    return as_slack(said, page) if form == "slack" else as_teams(said, page) if form == "teams" else None


def _alert(report: Report, card: Card, page: str) -> dict[str, Any]:
    """A finding with its name, its day, and labels and annotations as Alertmanager has them."""
    cause, mechanism = card.finding.cause, card.finding.mechanism.value
    labels = {
        "alertname": "TracescopeFinding",
        "severity": "warning",
        "mechanism": mechanism,
        "kind": cause.kind,
        "caller": cause.caller,
        "callee": cause.callee or "",
        "operation": cause.operation or "",
        "environment": report.environment,
        "owner": card.owner,
    }
    notes = {
        "summary": card.title,
        "since": card.since,
        "certainty": card.certainty,
        "adds": card.adds,
        "weeks_left": card.weeks,
        "question": card.question,
        "command": card.command,
    }
    alert: dict[str, Any] = {
        "labels": {name: one_line(value, _LETTERS) for name, value in labels.items() if value},
        "annotations": {name: one_line(value, 2 * _LETTERS) for name, value in notes.items() if value},
    }
    if page:
        alert["generatorURL"] = page
    began = card.finding.since
    return {
        "id": card.finding.id,
        "since": None if began is None else iso(began.at_ns),
        "alert": alert,
    }


def as_json(report: Report, said: list[str], page: str = "") -> dict[str, Any]:
    """The digest with its findings."""
    return {
        "schema": DIGEST_SCHEMA,
        "state": report.state.value,
        "environment": report.environment,
        "base": {"start": iso(report.base.start_ns), "end": iso(report.base.end_ns)},
        "head": {"start": iso(report.head.start_ns), "end": iso(report.head.end_ns)},
        "lines": said,
        "findings": [cause_json(card) for card in cards(report)[:MOST]],
        "page": page or None,
    }


def as_slack(said: list[str], page: str = "") -> dict[str, Any]:
    """What a Slack webhook takes; names become text, never a link or a mention."""
    escaped = [line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;") for line in said]
    blocks: list[dict[str, Any]] = [
        {"type": "section", "text": {"type": "plain_text", "text": line, "emoji": False}} for line in said
    ]
    if page:
        link = {"type": "mrkdwn", "text": f"<{page.replace('|', '%7C').replace('>', '%3E')}|Open the page>"}
        blocks[-1] = {"type": "section", "text": link}
    return {"text": escaped[0], "blocks": blocks, "unfurl_links": False}


def as_teams(said: list[str], page: str = "") -> dict[str, Any]:
    """What a Teams webhook takes: an Adaptive Card."""
    body = [
        {
            "type": "TextBlock",
            "text": markdown(line),
            "wrap": True,
            **({"weight": "Bolder"} if not at else {}),
        }
        for at, line in enumerate(said[:-1] if page else said)
    ]
    card: dict[str, Any] = {
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": "1.4",
        "body": body,
    }
    if page:
        card["actions"] = [{"type": "Action.OpenUrl", "title": "Open the page", "url": page}]
    kind = "application/vnd.microsoft.card.adaptive"
    return {"type": "message", "attachments": [{"contentType": kind, "content": card}]}
