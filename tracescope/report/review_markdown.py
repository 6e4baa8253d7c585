"""The report for an architecture review as Markdown: the same parts as the file, for a wiki.

to decide ─ findings ─ the graph as Mermaid ─ growing edges ─ forecast ─ method ─ the command
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tracescope.analysis.explain import sentence
from tracescope.analysis.topology.backbone import backbone
from tracescope.report import carriers, failures, page, tails, text
from tracescope.report.cards import cards
from tracescope.report.export import as_mermaid
from tracescope.report.figures import between, instant, requests
from tracescope.report.forecast import headroom_text, trend_text, weeks_text
from tracescope.report.names import markdown
from tracescope.report.review import Review, reviewed
from tracescope.report.wall import date_of, riskiest
from tracescope.visible import line

if TYPE_CHECKING:
    from tracescope.analysis.report import Report
    from tracescope.report.cards import Card
    from tracescope.session import Answers

#: Nodes of the flowchart.
_FLOWCHART: Final = 30
#: Edges of the forecast that are listed.
_FORECAST: Final = 12


def review_as_markdown(answers: Answers, command: str) -> str:
    """The report of a question, its graph as a flowchart."""
    shown = backbone(answers.judged(answers.mapped("dependency")), _FLOWCHART)
    return review_markdown(reviewed(answers, command, "light"), as_mermaid(shown))


def review_markdown(review: Review, mermaid: str = "") -> str:
    """The report.

    Parameters
    ----------
    review
        What the file shows.
    mermaid
        Its graph as a flowchart; empty for none.
    """
    report = review.report
    parts = [
        f"# {markdown(text.headline(report))}",
        f"Architecture review, generated {instant(review.generated_ns)} UTC.",
        "\n".join(
            f"- {name}: {between(one.start_ns, one.end_ns)} UTC, {requests(one)}"
            for name, one in (("before (base)", report.base), ("after (head)", report.head))
        ),
        markdown(page.lead(report)),
        "\n".join(f"- {markdown(each)}" for each in _facts(report)),
        "## To decide",
        _decide(review),
    ]
    if mermaid:
        parts += ["## Where it grew", f"```mermaid\n{mermaid.rstrip()}\n```"]
    if review.findings:
        parts += [
            "## Findings in the architecture",
            "\n".join(f"- {markdown(found)}" for found in review.findings),
        ]
    parts += _forecast(review)
    parts += ["## All edges", text.edges_markdown(report), "## Method and data", _method(report)]
    parts += ["To see it again:", f"```sh\n{line(review.command)}\n```"]
    return "\n\n".join(part for part in parts if part) + "\n"


def _facts(report: Report) -> list[str]:
    """Lines about failures, the tail and what carries it, and the notes."""
    return [*failures.lines(report), *tails.lines(report), *carriers.lines(report), *report.notes]


def _decide(review: Review) -> str:
    found = cards(review.report)
    if not found:
        return markdown("; ".join(review.report.reasons)) + ". Nothing grew that asks for a decision."
    return "\n".join(_card(rank, card) for rank, card in enumerate(found, 1))


def _card(rank: int, card: Card) -> str:
    """A finding with all that is said of it."""
    lines = [f"{rank}. **{markdown(card.title)}**"]
    said = [
        ("since when", card.since), ("how sure", card.certainty), ("what it adds", card.adds),
        ("weeks left", card.weeks), ("owner", card.owner), ("muted", card.muted.removeprefix("muted ")),
    ]  # fmt: skip
    lines += [f"   - {name}: {markdown(words)}" for name, words in said if words]
    if card.edge is not None:
        lines.append(f"   - {markdown(sentence(card.edge))}")
    lines += [
        f"   - suffers from it: {markdown(f'{one.name} {one.adds}, {one.how}')}" for one in card.victims
    ]
    if card.question:
        lines.append(f"   - **{markdown(card.question)}**")
    if card.trace_id:
        lines.append(f"   - a slow trace: `{card.trace_id}`")
    return "\n".join(lines)


def _forecast(review: Review) -> list[str]:
    if review.forecast is None:
        return []
    found, outlook = review.forecast
    said = f"**{outlook.state.value}**" + (
        f": {markdown('; '.join(outlook.reasons))}" if outlook.reasons else ""
    )
    rows = [
        "| edge | load a week | drift a week | headroom | weeks to the wall | when |",
        "|---|---:|---:|---:|---:|---|",
    ]
    for edge in riskiest(found.edges)[:_FORECAST]:
        if edge.reason is not None:
            continue
        cells = [
            f"{edge.name} {edge.operation}".strip(), trend_text(edge.load_trend), trend_text(edge.drift),
            headroom_text(edge), weeks_text(edge.weeks, edge.weeks_interval, edge.beyond_weeks),
            date_of(edge, found.end_ns),
        ]  # fmt: skip
        rows.append("| " + " | ".join(markdown(cell) for cell in cells) + " |")
    told = "\n".join(f"- {markdown(note)}" for note in found.notes)
    return ["## Forecast", said, "\n".join(rows) if len(rows) > 2 else "", told]


def _method(report: Report) -> str:
    said = [
        "Every trace becomes units of work, and every unit a critical path whose segments tile its clock "
        "exactly. Hours of the week are matched between the periods; the change of the mean is split exactly "
        "over call paths and causes; intervals come from blocks of time "
        f"({report.base.blocks} before, {report.head.blocks} after), and a change counts as significant at a "
        f"false discovery rate of {report.alpha * 100:g} %. “~” is no significant change of its own; the "
        "last column says what it is."
    ]
    if report.rejected:
        refused = ", ".join(f"{text.count(n)} {reason}" for reason, n in report.rejected.items())
        said.append(f"Spans refused over the store's life: {markdown(refused)}.")
    return "\n\n".join(said)
