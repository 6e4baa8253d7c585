"""Reports as text: tables for a terminal of any width, Markdown and CSV.

The verdict stands first, then what it rests on.  A change that is not significant is ``~``, never a
number that somebody could quote.
"""

from __future__ import annotations

import csv
import io
import textwrap
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final

from tracescope.analysis.comparison.causes import cause_words
from tracescope.analysis.comparison.standing import decided_words, is_certain, standing_words
from tracescope.analysis.report import (
    EFFECTS,
    Effect,
    Mechanism,
    PatternCertainty,
    StandingKind,
    State,
    how_many,
)
from tracescope.report import carriers, diff_json, edge_json, entries, failures, json_bytes, tails
from tracescope.report.cards import cards
from tracescope.report.columns import Column, left_out, table
from tracescope.report.figures import (
    between,
    count,
    day,
    duration,
    instant,
    interval,
    more_of,
    number,
    requests,
)
from tracescope.report.names import csv_cell, markdown, one_line
from tracescope.visible import line, visible

if TYPE_CHECKING:
    from rich.console import RenderableType

    from tracescope.analysis.report import Edge, EdgeKey, Extent, Report
    from tracescope.analysis.report import Finding as Cause
    from tracescope.analysis.rollups.trace_path import TracePath
    from tracescope.analysis.topology.findings import Finding
    from tracescope.analysis.topology.graph import Graph
    from tracescope.analysis.topology.rules import Checked
    from tracescope.store import Status

#: Width where there is no terminal: every table is as wide as what it holds.
UNBOUNDED: Final = 10_000
#: Cells of a waterfall's bars there.
_BARS: Final = 80
_UNITS: Final = {"message": "messages", "detached": "detached"}
#: Findings that stand above a table, and victims below each.
MOST_CAUSES: Final = 5
MOST_VICTIMS: Final = 4
#: Spans that a waterfall shows; of larger traces those that the unit of work waited for longest.
MOST_SPANS: Final = 1000


def _share(edge: Edge) -> str:
    return f"{edge.share_base * 100:.1f} → {edge.share_head * 100:.1f} %"


def _credited(edge: Edge) -> str:
    """What an edge is credited with; behind a ``~`` where it could be chance, a ``~`` alone if it is none."""
    per = "" if edge.unit == "request" else f" / {edge.unit}"
    if edge.significant:
        return f"{number(edge.credited_ms, sign=True)} ms{per}"
    if edge.standing is not None and edge.standing.kind is StandingKind.UNCERTAIN:
        return f"~ {number(edge.credited_ms, sign=True)} ms{per}"
    return "~"


def _critical_self(edge: Edge) -> str:
    return f"{number(edge.own_ms_base)} → {number(edge.own_ms_head)}"


def _interval(edge: Edge) -> str:
    return interval(edge.credited_ms_ci)


def why(edge: Edge) -> str:
    """The causes that carry the change, largest first, in words."""
    if edge.note is not None:
        return edge.note
    if not edge.significant:
        return standing_words(edge)
    total = sum(abs(value) for name, value in edge.effects.items() if name != Effect.TRANSIENT)
    parts = sorted(
        (
            (name, value)
            for name, value in edge.effects.items()
            if name != Effect.TRANSIENT and abs(value) >= 0.1 * total
        ),
        key=lambda pair: -abs(pair[1]),
    )
    words: list[str] = []
    for name, value in parts:
        word = ("" if is_certain(edge, name) else "perhaps ") + cause_words(name, value)
        if name == Effect.CALLS:
            word += f" ({number(edge.calls_per_unit_base)} → {number(edge.calls_per_unit_head)})"
        words.append(word if len(parts) == 1 else f"{word} {number(value, sign=True)}")
    words += [
        pattern.name + ("" if pattern.certainty == PatternCertainty.CERTAIN else "?")
        for pattern in edge.patterns[:1]
    ]
    if decided := decided_words(edge):
        words.append(decided)
    if edge.missing_work:
        words = [edge.missing_work]
    begun = since(edge)
    return ", ".join(words) + (f" {begun}" if begun else "")


def since(edge: Edge) -> str:
    """When a step began, and the versions that appeared and the marks set then; empty where there is none."""
    if edge.change is None:
        return ""
    told = [f"{one.service} {one.version}" for one in edge.change.versions[:2]]
    told += [f"“{one_line(name)}”" for name in edge.change.marks[:2]]
    beside = f" ({', '.join(told)})" if told else ""
    return f"since {day(edge.change.at_ns)}{beside}"


def _label(edge: Edge | EdgeKey) -> str:
    return f"{edge.caller} (itself)" if edge.callee is None else f"{edge.caller} → {edge.callee}"


def _extent(extent: Extent) -> str:
    return f"{between(extent.start_ns, extent.end_ns)} UTC"


def _summary(report: Report) -> list[str]:
    """The lines above the table."""
    base, head, clock = report.base, report.head, report.clock
    environment = f" · {report.environment}" if report.environment else ""
    part = clock["delta_ms"] / clock["base_ms"] if clock["base_ms"] else 0.0
    lines = [
        f"before (base)  {_extent(base)}   {requests(base)}   mean {number(clock['base_ms'])} ms"
        f"{environment}",
        f"after (head)   {_extent(head)}   {requests(head)}   mean {number(clock['head_ms'])} ms"
        f"   {number(clock['delta_ms'], sign=True)} ms ({number(part * 100, sign=True)} %)",
    ]
    mix = report.effects_total.get("mix", 0.0)
    if abs(mix) >= 0.05 * max(abs(clock["delta_ms"]), 1e-9):
        lines.append(
            f"mix            {number(mix, sign=True)} ms of that is a shift of traffic between entries; "
            f"{number(clock['delta_mix_adjusted_ms'], sign=True)} ms is not"
        )
    for unit, other in report.other_clocks.items():
        lines.append(
            f"{_UNITS.get(unit, unit)}  mean {number(other['base_ms'])} → {number(other['head_ms'])} ms"
            f" ({number(other['delta_ms'], sign=True)} ms)"
        )
    return lines


def headline(report: Report) -> str:
    """The verdict in one sentence."""
    if report.state == State.INSUFFICIENT:
        return f"{report.state}: {report.reasons[0]}"
    worse = [edge for edge in report.edges if edge.significant and edge.credited_ms > 0]
    if not worse:
        return f"{report.state}: {report.reasons[0]}" if report.reasons else report.state
    leads = _label(report.findings[0].cause if report.findings else worse[0])
    why = f"{report.state}: "
    if report.state in (State.AT_THE_WALL, State.APPROACHING) and report.reasons:
        # which edge is at its wall the verdict decides; where it is not the first cause both are named
        decided = report.reasons[0].replace(" -> ", " → ")
        why += "" if decided.startswith(f"{leads} ") else f"{decided}; "
    if report.findings:
        return why + _first_cause(report.findings)
    first = worse[0]
    more = f", and {more_of(len(worse) - 1, 'edge grows', 'edges grow')}" if len(worse) > 1 else ""
    takes = f"{number(first.credited_ms, sign=True)} ms per {first.unit}"
    return f"{why}{_label(first)} takes {takes}{more}"


def _first_cause(findings: Sequence[Cause]) -> str:
    """The first cause, what follows from it, and how many more there are, as a clause."""
    first = findings[0]
    takes = f"{_label(first.cause)} takes {number(first.added_ms, sign=True)} ms per {first.unit}"
    if first.mechanism is Mechanism.ERRORS:  # what fails may take no longer, or less
        takes = first.sentence
    waiting = len(first.victims)
    below = f", {waiting} more edge{'s follow' if waiting > 1 else ' follows'} from it" if waiting else ""
    others = len(findings) - 1
    return takes + below + (f", and {others} more cause{'s' if others > 1 else ''}" if others else "")


def causes(report: Report, width: int = UNBOUNDED) -> list[str]:
    """Findings as a short list: what it is, since when, how sure, what suffers from it, what next."""
    lines: list[str] = []
    known = cards(report)
    found = [card for card in known if not card.muted]
    for rank, card in enumerate(found[:MOST_CAUSES], 1):
        lines += textwrap.wrap(f"{rank}. {card.title}", width, subsequent_indent="   ")
        left = f"weeks left: {card.weeks}" if card.weeks else ""
        owner = f"owner: {one_line(card.owner)}" if card.owner else ""
        said = (card.since, card.certainty, left, owner, f"finding {card.finding.id}")
        facts = "; ".join(words for words in said if words)
        lines += textwrap.wrap(facts, width, initial_indent="   ", subsequent_indent="   ")
        for victim in card.victims[:MOST_VICTIMS]:
            told = f"{victim.name} {victim.adds}: {victim.how}"
            lines += textwrap.wrap(f"   └ {told}", width, subsequent_indent="     ")
        if (more := len(card.victims) - MOST_VICTIMS) > 0:
            lines.append(f"   └ and {more} more (--format json)")
        lines += textwrap.wrap(card.question, width, initial_indent="   ask: ", subsequent_indent="        ")
    if found:
        lines.append(f"next: {found[0].command}")
    if (more := len(found) - MOST_CAUSES) > 0:
        lines.append(f"{more_of(more, 'finding', 'findings')} (--format json)")
    for card in known[len(found) :]:
        words = f"{one_line(card.muted, 440)}; finding {card.finding.id}: {card.title}"
        lines += textwrap.wrap(words, width, subsequent_indent="   ")
    return [*lines, ""] if lines else []


def _footer(report: Report) -> list[str]:
    lines: list[str] = []
    hidden = report.edges_in_all - len(report.edges)
    if hidden > 0:
        lines.append(f"{more_of(hidden, 'edge', 'edges')} (--all)")
    if any(not edge.significant for edge in report.edges):
        lines.append("~ no significant change of its own: the last column says why")
    spikes = [
        edge for edge in report.edges if abs(edge.effects[Effect.TRANSIENT]) >= report.min_effect_ms / 2 > 0
    ]
    for edge in spikes[:3]:
        lines.append(
            f"transient: {_label(edge)} {number(edge.effects[Effect.TRANSIENT], sign=True)} ms, "
            "carried by a few blocks of time only; not ranked"
        )
    if report.rejected:
        reasons = ", ".join(f"{count(n)} {reason}" for reason, n in report.rejected.items())
        lines.append(f"spans refused over the store's life: {reasons}")
    return lines + [f"note: {note}" for note in report.notes]


def _columns(report: Report) -> list[Column[Edge]]:
    """Columns of the table of edges, in order; those about load where anything is known of it."""
    ranks = {id(edge): str(rank) for rank, edge in enumerate(report.edges, 1)}

    def dim(_: Edge) -> str:
        return "dim"

    def change(edge: Edge) -> str:
        return (
            ("bold red" if edge.credited_ms > 0 else "green")
            if edge.significant and not edge.missing_work
            else "dim"
        )

    columns: list[Column[Edge]] = [
        Column("", lambda edge: ranks[id(edge)], right=True, style=dim),
        Column("edge", _label, least=28, style=lambda edge: "" if edge.significant else "dim"),
        Column("operation", lambda edge: edge.operation or "", 3, least=12, style=dim),
        Column("kind", lambda edge: edge.kind, 4),
        Column("share", _share, 1, right=True),
        Column("ms per unit", _critical_self, 5, right=True),
        Column("credited", _credited, right=True, style=change),
        Column("95 %", _interval, 6, right=True, style=dim),
        Column("errors", failures.edge_cell, 3, right=True),
        Column("why", why, 2, least=16, folds=True),
    ]
    return [column for column in columns if any(column.cell(edge) for edge in report.edges)]


def diff_text(report: Report, *, width: int, wide: bool = False) -> RenderableType:
    """A report for a terminal of `width` columns; `wide` shows every column whatever the width."""
    from rich.console import Group
    from rich.text import Text

    report = visible(report)
    colour = {State.DRIFTING: "bold red", State.GROWTH_STABLE: "bold green"}.get(report.state, "bold yellow")
    columns = _columns(report)
    footer = _footer(report)
    if not wide and (hidden := left_out(columns, report.edges, width)):
        footer.insert(0, f"no room for {', '.join(hidden)} (--format wide)")
    return Group(
        Text(headline(report), style=colour),
        *[Text(line) for line in causes(report, width)],
        *[Text(line) for line in (*failures.lines(report), *tails.lines(report), *carriers.lines(report))],
        *[Text(words) for words in (how_many(report.signs),) if words],
        *[Text(line, style="dim") for line in _summary(report)],
        Text(""),
        table(columns, report.edges, width, everything=wide),
        Text(""),
        *[Text(line, style="dim") for line in footer],
        *([Text(""), entries.entries_table(report, width)] if wide and report.entries else []),
    )


_COLUMNS: Final = (
    "rank", "unit", "kind", "caller", "callee", "operation", "share_base", "share_head", "own_ms_base",
    "own_ms_head", "inclusive_ms_base", "inclusive_ms_head", "credited_ms", "credited_ms_low",
    "credited_ms_high", "q_value", "significant", "calls_per_unit_base", "calls_per_unit_head",
    "error_rate_base", "error_rate_head",
)  # fmt: skip


def _flat(report: Report) -> Iterable[dict[str, Any]]:
    for rank, edge in enumerate(report.edges, 1):
        row = edge_json(edge)
        low, high = edge.credited_ms_ci or (None, None)
        rate = edge.failures.rate if edge.failures is not None else None
        errors = {
            "error_rate_base": None if rate is None else rate.base,
            "error_rate_head": None if rate is None else rate.head,
        }
        yield {**row, "rank": rank, "credited_ms_low": low, "credited_ms_high": high, **errors}


def diff_csv(report: Report) -> str:
    """One line an edge, numbers unrounded."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([*_COLUMNS, *(f"effect_{name}" for name in EFFECTS)])
    for edge, row in zip(report.edges, _flat(report), strict=True):
        cells = [*(row[name] for name in _COLUMNS), *(edge.effects.get(name) for name in EFFECTS)]
        writer.writerow([csv_cell(cell) for cell in cells])
    return out.getvalue()


def diff_ndjson(report: Report) -> str:
    """One JSON object an edge, then one for the whole with ``edges`` left out."""
    whole: dict[str, Any] = {**diff_json(report)}
    edges: list[dict[str, Any]] = whole.pop("edges")
    lines = [json_bytes({"schema": whole["schema"], **edge}).decode() for edge in edges]
    return "\n".join([*lines, json_bytes(whole).decode()]) + "\n"


def _markdown_row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(markdown(cell) for cell in cells) + " |"


def _markdown_list(items: Iterable[str]) -> list[str]:
    return [f"- {markdown(item)}" for item in items]


def edges_markdown(report: Report) -> str:
    """The edges of a report as a table."""
    head = ["", "edge", "operation", "kind", "share", "ms per unit", "credited", "95 %", "why"]
    rows = [
        _markdown_row(
            [
                str(rank),
                _label(edge),
                edge.operation or "",
                edge.kind,
                _share(edge),
                f"{number(edge.own_ms_base)} → {number(edge.own_ms_head)}",
                _credited(edge),
                _interval(edge),
                why(edge),
            ]
        )
        for rank, edge in enumerate(report.edges, 1)
    ]
    return "\n".join([_markdown_row(head), "|---:|---|---|---|---:|---:|---:|---:|---|", *rows])


def diff_markdown(report: Report) -> str:
    """A report for a pull request or a wiki: headline, findings, and the edges as a table."""
    found = [f"{markdown(line)}  " if line else "" for line in causes(report)]
    lines = [f"**{markdown(headline(report))}**", "", *found]
    lines += [
        *_markdown_list(
            [*failures.lines(report), *tails.lines(report), *carriers.lines(report), *_summary(report)]
        ),
        "",
    ]
    lines += [edges_markdown(report), "", *_markdown_list(_footer(report))]
    return "\n".join(lines).rstrip() + "\n"


def status_text(status: Status, where: str) -> str:
    """What a store holds, a line each."""
    status = visible(status)
    lines = [f"store      {where} ({count(status.disk_bytes)}B)"]
    if not status.stored:
        lines.append("           empty: `tracescope import FILE` or `tracescope serve` fills it")
    else:
        lines.append(f"spans      {count(status.stored)} stored, {count(status.accepted)} accepted")
        lines.append(f"covers     {instant(status.first_ns)} – {instant(status.last_ns)} UTC")
        lines.append(f"units      {count(status.units)} of work, in sealed hours")
        until = instant(status.sealed_until_ns) + " UTC" if status.sealed_until_ns else "nothing yet"
        lines.append(f"sealed     until {until}; {count(status.landing_spans)} spans not sealed yet")
    lines.append(f"journal    {count(status.journal_bytes)}B")
    refused = ", ".join(f"{count(n)} {reason}" for reason, n in status.rejected.items())
    lines.append(f"rejected   {refused or 'none'}")
    if status.counters:
        mended = ", ".join(f"{count(n)} {reason}" for reason, n in status.counters.items())
        lines.append(f"counted    {mended}")
    lines += [f"damaged    {told}; `tracescope verify` says more" for told in status.damaged]
    if status.quarantined or status.lost_requests:
        lost = f"{status.lost_requests} acknowledged requests could not be read"
        lines.append(f"damaged    {status.quarantined} files set aside in quarantine/; {lost}")
    return "\n".join(lines) + "\n"


def graph_text(graph: Graph, *, width: int) -> RenderableType:
    """Edges as a table, most critical time first."""
    from rich.table import Table
    from rich.text import Text

    compared = graph.base is not None
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim", pad_edge=False)
    table.width = width if width < UNBOUNDED else None
    table.add_column("edge", no_wrap=True, overflow="ellipsis", ratio=3)
    if graph.level == "operation":
        table.add_column("operation", no_wrap=True, overflow="ellipsis", ratio=2)
    figures = ("kind", "calls", "errors", "mean ms", "p95 ms", "share", *(("change",) if compared else ()))
    for name in (*figures, "ms per unit"):
        table.add_column(name, no_wrap=True, justify="left" if name == "kind" else "right")
    for edge in graph.edges.iter_rows(named=True):
        cells = [f"{one_line(edge['caller'])} → {one_line(edge['callee'])}"]
        if graph.level == "operation":
            cells.append(one_line(edge["operation"] or ""))
        cells += [edge["kind"], count(edge["calls"]), count(edge["errors"])]
        cells += ["" if edge[name] is None else number(edge[name]) for name in ("mean_ms", "p95_ms")]
        cells.append(f"{edge['share'] * 100:.1f} %")
        if compared:
            chance = edge.get("significant") is False
            change = "~" if chance else number(edge["change"] * 100, sign=True) + " pt"
            cells.append(change if edge["state"] == "both" else f"{change} {edge['state']}")
        cells.append(
            number(edge["inclusive_ms"]) + ("" if edge["unit"] == "request" else f" / {edge['unit']}")
        )
        table.add_row(*[Text(cell) for cell in cells])
    return table


def findings_text(findings: Sequence[Finding]) -> str:
    """Findings, one a line, under what they are about."""
    if not findings:
        return "nothing stands out\n"
    lines: list[str] = []
    for kind in dict.fromkeys(each.kind for each in findings):
        lines.append(kind.replace("_", " "))
        lines += [f"  {one_line(each.text, 400)}" for each in findings if each.kind == kind]
    return "\n".join(lines) + "\n"


def checked_text(checked: Checked) -> str:
    """Broken rules, one a line with its reason; or that all hold."""
    rules = f"{checked.rules} rule" + ("" if checked.rules == 1 else "s")
    if not checked.violations:
        return f"ok: {rules} checked\n"
    lines = [
        f"✗ {each.rule}: {one_line(each.text)}" + (f" ({one_line(each.reason)})" if each.reason else "")
        for each in checked.violations
    ]
    return "\n".join([*lines, f"{len(lines)} broken, {rules} checked"]) + "\n"


def path_text(trace: TracePath, *, width: int) -> RenderableType:
    """A waterfall: bars of time, the critical path in solid blocks, its own time in figures."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    spans = trace.spans.with_row_index("row")
    length = max(int((spans["start_ns"] + spans["duration_ns"]).max() or 1), 1)  # pyright: ignore[reportArgumentType, reportOperatorIssue]
    bounded = width < UNBOUNDED
    bars = max(width - 64, 20) if bounded else _BARS
    table = Table(box=None, padding=(0, 1, 0, 0), header_style="dim", pad_edge=False)
    table.add_column("span", no_wrap=True, overflow="ellipsis", width=36 if bounded else None)
    table.add_column(f"0 … {duration(length)}", no_wrap=True, width=bars)
    table.add_column("duration", justify="right", no_wrap=True)
    table.add_column("on the path", justify="right", no_wrap=True)
    hidden = len(spans) - MOST_SPANS
    if hidden > 0:
        spans = spans.sort("own_ns", "duration_ns", descending=True, maintain_order=True)
        spans = spans.head(MOST_SPANS).sort("row")
    rows = spans["row"].implode()
    segments = trace.segments.filter(trace.segments["span"].is_in(rows))
    by_span: dict[int, list[tuple[int, int]]] = {}
    for span, start, end in segments.select("span", "start_ns", "end_ns").iter_rows():
        by_span.setdefault(span, []).append((start, end))
    for span in spans.iter_rows(named=True):
        bar = [" "] * bars
        _fill(bar, span["start_ns"], span["start_ns"] + span["duration_ns"], length, "─")
        for start, end in by_span.get(span["row"], ()):
            _fill(bar, start, end, length, "█")
        mark = "↳ " if span["detached"] else ""
        error = " ✗" if span["error"] else ""
        name = f"{'  ' * min(span['depth'], 12)}{mark}{span['service']} {span['operation']}{error}"
        own = duration(span["own_ns"]) if span["own_ns"] else ""
        table.add_row(Text(one_line(name)), Text("".join(bar)), duration(span["duration_ns"]), own)
    units = [
        f"{unit['kind']}: {unit['service']} {unit['operation']} {duration(unit['clock_ns'])}"
        + (f", waited {duration(unit['wait_ns'])}" if unit["wait_ns"] else "")
        + (", incomplete" if unit["incomplete"] else "")
        + (", clocks uncertain" if unit["skewed"] else "")
        for unit in trace.units.iter_rows(named=True)
    ]
    notes = [*trace.notes, *[f"{name}: {n}" for name, n in trace.counters.items()]]
    if hidden > 0:
        notes.insert(0, f"{hidden} more spans, waited for less than these; --format json lists all")
    return Group(
        Text(f"trace {trace.trace_id} · {instant(trace.start_ns)} UTC", style="bold"),
        *[Text(line(each), style="dim") for each in units],
        table,
        *[Text(line(note), style="dim") for note in notes],
    )


def _fill(line: list[str], start: int, end: int, length: int, mark: str) -> None:
    cells = len(line)
    first = min(int(start * cells / length), cells - 1)
    last = min(max(int(end * cells / length), first + 1), cells)
    for at in range(first, last):
        line[at] = mark
