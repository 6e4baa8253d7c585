"""What each page shows: values for its template, from the answers to its view."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Final
from urllib.parse import quote, urlsplit

from tracescope import schema
from tracescope.analysis.capacity.forecast import EdgeForecast
from tracescope.analysis.capacity.forecast_verdict import entry_states
from tracescope.analysis.evidence.series import CallPath, EntryPaths
from tracescope.analysis.explain import sentence
from tracescope.analysis.report import Edge, EdgeKey, Report
from tracescope.analysis.rollups.where import attributes, conditions
from tracescope.analysis.topology.backbone import backbone
from tracescope.analysis.topology.graph import Graph
from tracescope.engine.trace_search import Criteria
from tracescope.errors import InputError, InsufficientDataError, TracescopeError
from tracescope.near import suggestion
from tracescope.periods import WORDS
from tracescope.report import charts, page, text
from tracescope.report.cards import Card, cards
from tracescope.report.figures import between, share
from tracescope.report.review import causes_drawn
from tracescope.report.wall import MOST_WALLS, date_of, riskiest, soonest, wall_chart
from tracescope.report.waterfall import length_of, waterfall
from tracescope.session import SPARK_POINTS, TREND_POINTS, Answers, entry_digits, entry_number
from tracescope.web import periods
from tracescope.web.map import drawn
from tracescope.web.map import narrowed as narrowed_map
from tracescope.web.narrow import kept, listed, narrowed, narrows, words
from tracescope.web.view import ALL, View

NAV: Final = (
    ("/", "Growth"),
    ("/map", "Map"),
    ("/paths", "Paths"),
    ("/traces", "Traces"),
    ("/forecast", "Forecast"),
    ("/quality", "Data quality"),
)
#: Findings shown before the rest is folded.
FIRST_CARDS: Final = 3
#: Spans listed below a waterfall.
LISTED_SPANS: Final = 1000
#: Less than a nanosecond is what adding up leaves.
_ROUNDING_MS: Final = 1e-6
Values = dict[str, Any]


def common(view: View, path: str) -> Values:
    """Values every page needs; links of the navigation keep the periods and the environment."""
    default = View()
    keeps = {"base", "head", "env", "tz"}
    plain = {name: getattr(default, name) for name in View.__dataclass_fields__ if name not in keeps}
    return {
        "view": view,
        "plain": plain,
        "nav": NAV,
        "here": path,
        "twin": view.url("/api" + (path if path != "/" else "/growth")),
        "period_words": WORDS,
        "kinds": schema.EDGE_KINDS,
        "digits": entry_digits,
    }


def _sparks(answers: Answers, view: View, edges: Sequence[Edge]) -> list[Any]:
    keys = tuple(edge.key for edge in edges)
    found = answers.series(keys, SPARK_POINTS)
    return [
        charts.sparkline([*base.share.tolist(), *head.share.tolist()], split=len(base.share))
        for base, head in (found[key] for key in keys)
    ]


def _links(view: View, edges: Sequence[Edge]) -> list[str]:
    return [view.edge_url(edge.key) for edge in edges]


def growth(answers: Answers, view: View) -> Values:
    """One sentence, the findings, what is worse, and whether it is real."""
    whole, carried = _carried(answers, view)
    report = narrowed(whole, view)
    chosen = listed(report, view)
    edges = chosen[: view.top]
    everything = cards(report)
    found = [card for card in everything if not card.muted]
    muted = everything[len(found) :]
    graph = answers.judged(answers.mapped("dependency"))
    values: Values = {
        "title": "Growth",
        "report": report,
        "bar": periods.bar(answers, view, whole, "/"),
        "headline": text.headline(report),
        "lead": page.lead(report),
        "cards": found,
        "card_links": [card_links(view, card) for card in found],
        "muted": muted,
        "muted_links": [card_links(view, card) for card in muted],
        "most": FIRST_CARDS,
        "narrowed": words(view),
        "carried": carried,
        "all_carriers": view.url("/", explain_by=ALL),
        "edges": edges,
        "hidden": len(chosen) - len(edges),
        "links": _links(view, edges),
        "sparks": _sparks(answers, view, edges),
        "services": sorted({end for e in whole.edges for end in (e.caller, e.callee) if end}),
        "entries": answers.every_entry(),
        "selected": 0,
        "chosen": edges[0] if edges else None,
        "graph": drawn(answers, view, _pictured(graph, report, view), prefix="growth"),
    }
    if edges:
        values["trend"] = _trend(answers, view, edges[0])
        values["sentence"] = sentence(edges[0])
    return {**values, **_first_paths(answers, view), **_first_trace(answers, view, edges)}


def explained_by(answers: Answers, view: View) -> tuple[str, ...] | None:
    """Attributes that may carry the change, none for all of them; None where nobody asks."""
    if not view.explain_by:
        return None
    return () if view.explain_by == ALL else attributes(view.explain_by, answers.settings.policy)


def _carried(answers: Answers, view: View) -> tuple[Report, str]:
    """The report, with who carries its change where that is asked; and why that cannot be told."""
    keys = explained_by(answers, view)
    if keys is None:
        return answers.report(), ""
    try:
        return answers.explained(keys), ""
    except InsufficientDataError as error:  # the rest of the page is there all the same
        return answers.report(), f"Who carries the change cannot be told: {error.message}"


def _pictured(graph: Graph, report: Report, view: View) -> Graph:
    """What of the graph the first page draws: what the filters leave, a large one by its namespaces."""
    if narrows(view):
        return backbone(kept(graph, report.edges))
    return narrowed_map(graph, replace(view.resolved(len(graph.nodes)), hops=0))[0]


def card_links(view: View, card: Card) -> Values:
    """Where a finding's card leads."""
    before = card.edge.exemplars_base[0] if card.edge is not None and card.edge.exemplars_base else ""
    return {
        "edge": view.edge_url(card.finding.cause),
        "victims": [view.edge_url(victim.edge) for victim in card.victims],
        "trace": view.url(f"/trace/{card.trace_id}") if card.trace_id else "",
        "both": view.url(f"/trace/{card.trace_id}", beside=before) if card.trace_id and before else "",
    }


def _trend(answers: Answers, view: View, edge: Edge, measure: Any = "share") -> Any:
    base, head = answers.series((edge.key,), TREND_POINTS)[edge.key]
    ends = [name for name in (edge.caller, edge.callee) if name is not None]
    return charts.trend(
        base,
        head,
        measure=measure,
        title=f"{edge.name}: {measure} over time",
        changes=charts.changes_of(edge),
        events=periods.events(answers, *ends),
    )


def _first_paths(answers: Answers, view: View) -> Values:
    entry = answers.grown_entry()
    if entry is None:
        return {"icicle": "", "icicle_title": "", "paths_url": ""}
    return {
        "icicle": charts.icicle(entry, link=partial(path_link, view, entry.unit)),
        "icicle_title": f"{entry.service} {entry.operation}",
        "paths_url": view.url("/paths", entry=entry_digits(entry.entry_id)),
    }


def path_link(view: View, unit: str, path: CallPath) -> str:
    """The page of the edge that a call path ends in."""
    return view.edge_url(EdgeKey(unit, path.kind, path.caller, path.callee, path.operation))


def _first_trace(answers: Answers, view: View, edges: Sequence[Edge]) -> Values:
    """The slowest trace of head on the first edge, where its spans are still here."""
    for edge in edges[:3]:
        for trace_id in edge.exemplars_head:
            try:
                trace = answers.trace(trace_id, near_periods=True)
            except InputError:  # its raw spans have gone
                continue
            return {
                "trace": waterfall(trace, most=24),
                "trace_url": view.url(f"/trace/{trace_id}"),
            }
    return {"trace": "", "trace_url": ""}


def edge(answers: Answers, view: View) -> Values:
    """One edge: trend, load, effects, examples."""
    report = answers.report()
    found = find_edge(report, view)
    key = found.key
    told = {name: value for name, value in found.effects.items() if abs(value) > _ROUNDING_MS}
    return {
        "title": found.name,
        "report": report,
        "bar": periods.bar(answers, replace(view, base="", head=""), report, "/edge"),
        "here": "/edge",
        "edge": found,
        "sentence": sentence(found),
        "around": around(view, found),
        "trend_share": _trend(answers, view, found),
        "trend_calls": _trend(answers, view, found, "calls_per_unit"),
        "trend_call": _trend(answers, view, found, "call_ms"),
        "told": told,
        "effects": causes_drawn(found),
        "quantiles": answers.quantiles(key),
        "callers": callers(answers, view, key),
        "examples": answers.whole_examples(key),
        **_curve(answers, view, found),
    }


def around(view: View, edge: Edge) -> list[tuple[str, str]]:
    """Links from an edge to its ends, and to the map around them."""
    ends = [name for name in (edge.caller, edge.callee) if name is not None]
    links = [(name, view.url(f"/service/{quote(name, safe='')}")) for name in ends]
    return [*links, ("around it on the map", view.url("/map", service=ends[-1], hops=1))]


def _curve(answers: Answers, view: View, edge: Edge) -> Values:
    """The load model of an edge as a picture, and what it says."""
    curve = answers.explain(edge).curve
    if curve is None or not curve.samples:
        return {"curve": "", "curve_words": ""}
    room = f"capacity {text.number(curve.capacity_per_s)}" if curve.capacity_per_s else "no capacity in sight"
    words = curve.reason or (
        f"Low-load {text.number(curve.r0_ms or 0.0)} ms; peak now {text.number(curve.peak_load_per_s)} calls "
        f"a second at the resource; {room}."
    )
    return {"curve": charts.load_curve(curve), "curve_words": words}


def find_edge(report: Report, view: View) -> Edge:
    """The edge a view names; raises InputError with near ones."""
    for found in report.edges:
        if found.key == view.edge_key:
            return found
    near = [e.name for e in report.edges if view.caller and view.caller in (e.caller, e.callee)]
    raise InputError(
        f"no edge {view.caller} -> {view.callee or '(itself)'} {view.operation} in these periods",
        f"near it: {', '.join(dict.fromkeys(near[:5]))}"
        if near
        else suggestion(
            f"{view.caller} -> {view.callee}", [e.name for e in report.edges], "choose one on the Growth page"
        ),
    )


def callers(answers: Answers, view: View, key: EdgeKey, most: int = 30) -> list[Values]:
    """Call paths that end in an edge, most calls in head first."""
    rows: list[Values] = []
    for entry_id, service, operation, _ in answers.entries()[:60]:
        entry = answers.paths(entry_id)
        if entry is None or entry.unit != key[0]:
            continue
        by_id = {path.path_id: path for path in entry.paths}
        for path in entry.paths:
            if (entry.unit, path.kind, path.caller, path.callee, path.operation) != key:
                continue
            chain: list[str] = []
            at: CallPath | None = path
            while at is not None:
                chain.append(at.callee or f"{at.caller} (itself)")
                at = by_id.get(at.parent_id)
            rows.append(
                {
                    "entry": f"{service} {operation}",
                    "url": view.url("/paths", entry=entry_digits(entry_id)),
                    "chain": " → ".join([service, *reversed(chain)]),
                    "base": path.calls_base * entry.units_base,
                    "head": path.calls_head * entry.units_head,
                }
            )
    return sorted(rows, key=lambda row: (-row["head"], row["chain"], row["entry"]))[:most]


def service(answers: Answers, view: View, name: str) -> Values:
    """One service: what it waits for, who waits for it, its entries."""
    report = answers.report()
    outgoing = [e for e in report.edges if e.caller == name][: view.top * 2]
    incoming = [e for e in report.edges if e.callee == name][: view.top * 2]
    entries = [e for e in report.entries if e.service == name]
    if not outgoing and not incoming and not entries:
        known = {end for edge in report.edges for end in (edge.caller, edge.callee) if end}
        raise InputError(
            f"no service {name} in these periods",
            suggestion(name, sorted(known), "choose one on the Map page"),
        )
    said = " ".join(_takes(outgoing, unit) for unit in schema.UNIT_NAMES)
    return {
        "title": name,
        "report": report,
        "bar": periods.bar(answers, view, report, f"/service/{quote(name, safe='')}"),
        "here": f"/service/{quote(name, safe='')}",
        "name": name,
        "sentence": said.strip() or "It waits for nothing, and nothing of its own was waited for.",
        "around": view.url("/map", service=name, hops=1),
        "outgoing": outgoing,
        "links_out": _links(view, outgoing),
        "sparks_out": _sparks(answers, view, outgoing),
        "incoming": incoming,
        "links_in": _links(view, incoming),
        "sparks_in": _sparks(answers, view, incoming),
        "its_entries": entries,
    }


def _takes(outgoing: Sequence[Edge], unit: str) -> str:
    """How much of one kind of unit's latency a service and its direct calls take."""
    mine = [edge for edge in outgoing if edge.unit == unit]
    if not mine:
        return ""
    base, head = sum(edge.share_base for edge in mine), sum(edge.share_head for edge in mine)
    grown = sum(edge.credited_ms for edge in mine if edge.significant)
    said = f"It and what it waits for directly take {share(base)} → {share(head)} of {unit} latency"
    return said + (
        f"; {text.number(grown, sign=True)} ms of significant change per {unit}." if grown else "."
    )


def paths(answers: Answers, view: View) -> Values:
    """The call paths of one entry."""
    entries = answers.every_entry()
    values: Values = {"title": "Call paths", "entries": entries, "entry": None, "entry_id": 0, "tree": []}
    values["report"] = None
    if not entries:
        return values
    try:
        report = answers.report()
        values |= {"report": report, "bar": periods.bar(answers, view, report, "/paths")}
    except InsufficientDataError:  # of one period alone there are call paths, and nothing to compare
        pass
    entry = chosen_entry(answers, view)
    return {
        **values,
        "entry": entry,
        "entry_id": entry.entry_id,
        "icicle": charts.icicle(entry, link=partial(path_link, view, entry.unit), kind=view.kind),
        "tree": [
            (depth, path)
            for depth, path in reading_order(entry.entry_id, entry.paths)
            if view.kind in ("", path.kind)
        ],
        "path_link": partial(path_link, view, entry.unit),
    }


def chosen_entry(answers: Answers, view: View) -> EntryPaths:
    """Call paths of the entry that a view names, or of the one that grew most, or of the busiest.

    Raises
    ------
    InputError
        No such entry is in the periods.
    """
    found = answers.paths(entry_number(view.entry)) if view.entry else answers.grown_entry()
    if found is None and not view.entry:
        found = answers.paths(answers.every_entry()[0][0])
    if found is None:
        raise InputError(f"no entry {view.entry} in these periods", "the list of /api/paths has them all")
    return found


def reading_order(entry_id: int, rows: Sequence[CallPath]) -> list[tuple[int, CallPath]]:
    """Depth and path, a parent before its children, the largest in head first."""
    below: dict[int, list[CallPath]] = {}
    for path in rows:
        below.setdefault(path.parent_id, []).append(path)
    out: list[tuple[int, CallPath]] = []
    stack = [(0, path) for path in reversed(below.get(entry_id, []))]
    while stack:
        depth, path = stack.pop()
        out.append((depth, path))
        stack.extend((depth + 1, child) for child in reversed(below.get(path.path_id, [])))
    return out


def traces(answers: Answers, view: View) -> Values:
    """Traces that are looked for, and examples of an edge or of everything."""
    key = view.edge_key if view.edge_kind else None
    about = f"{view.caller} → {view.callee or '(itself)'} {view.operation}".strip() if key else ""
    found = answers.search(trace_conditions(answers, view), side="base" if view.side == "base" else "head")
    return {
        "title": "Traces",
        "about": about,
        "examples": answers.whole_examples(key),
        "found": found,
        "looked": None
        if found.hours is None
        else between(found.hours[0] * schema.HOUR_NS, (found.hours[1] + 1) * schema.HOUR_NS),
        "services": answers.sides().head.tables["paths"]["caller"].unique().sort().to_list(),
    }


def trace_conditions(answers: Answers, view: View) -> Criteria:
    """Which traces a view looks for."""
    return Criteria(
        service=view.service,
        operation=view.op,
        where=conditions([view.where] if view.where else [], answers.settings.policy),
        least_ms=view.min_ms,
        most_ms=view.max_ms,
        failed=bool(view.failed),
        environment=view.env,
    )


def trace(answers: Answers, view: View, trace_id: str) -> Values:
    """One trace, perhaps with a span's details, perhaps beside another trace."""
    near = bool(view.base)
    found = answers.trace(trace_id, near_periods=near)
    other = answers.trace(view.beside, near_periods=near) if view.beside else None
    length = max(length_of(found), length_of(other)) if other is not None else 0
    out = answers.settings.trace_url
    return {
        "title": f"Trace {found.trace_id}",
        "trace": found,
        "picture": waterfall(found, length_ns=length),
        "other": other,
        "other_picture": waterfall(other, length_ns=length) if other is not None else "",
        "details": answers.span_details(trace_id, view.span) if view.span else None,
        "out": out.replace("{trace_id}", found.trace_id) if out else "",
        "out_name": urlsplit(out).hostname or "",
        "units": found.units.to_dicts(),
        "spans": found.spans.head(LISTED_SPANS).to_dicts(),
        "more": max(len(found.spans) - LISTED_SPANS, 0),
    }


def forecast(answers: Answers, view: View) -> Values:
    """When each edge hits the wall, and what more users would do; too little data is an answer."""
    try:
        found, outlook = answers.forecast(horizon_weeks=view.horizon, multiples=view.multiples)
    except InsufficientDataError as error:
        return {"title": "Forecast", "forecast": None, "insufficient": f"{error.message}; {error.hint or ''}"}

    def links(edges: Sequence[EdgeForecast]) -> list[str]:
        return [view.edge_url(EdgeKey(e.unit, e.kind, e.caller, e.callee, e.operation)) for e in edges]

    ranked = riskiest(found.edges)
    known = tuple(edge for edge in ranked if edge.headroom is not None)
    unknown = tuple(edge for edge in ranked if edge.headroom is None)
    return {
        "title": "Forecast",
        "forecast": replace(found, edges=known, entries=soonest(found.entries)),
        "outlook": outlook,
        "links": links(known),
        "unknown": unknown,
        "unknown_links": links(unknown),
        "walls": [
            (
                edge,
                links([edge])[0],
                wall_chart(
                    edge,
                    found.end_ns,
                    found.horizon_weeks,
                    events=periods.events(answers, edge.caller, edge.callee or edge.caller),
                ),
                date_of(edge, found.end_ns),
            )
            for edge in known[:MOST_WALLS]
            if edge.headroom is not None
        ],
        "states": entry_states(outlook.entries),
    }


def quality(answers: Answers, view: View) -> Values:
    """Rejects, mends, sampling, orphans, and whether the periods can be compared."""
    status = answers.status()
    values: Values = {
        "title": "Data quality",
        "status": status,
        "rejected": [(k, n, schema.REJECT_REASONS.get(k, "")) for k, n in status.rejected.items()],
        "counters": [(k, n, schema.COUNTER_REASONS.get(k, "")) for k, n in status.counters.items()],
        "sides": [],
        "report": None,
    }
    refused = sum(status.rejected.values())
    said = f"{text.count(refused)} spans were refused" if refused else "No span was refused"
    try:
        report, both = answers.report(), answers.sides()
    except TracescopeError as error:
        return {**values, "sentence": f"{said}. {error.message}"}
    rows = [side.tables["entry_hours"] for side in (both.base, both.head)]
    sums = [
        {name: int(frame[name].sum()) for name in ("units", "incomplete", "skewed", "mixed")}
        for frame in rows
    ]
    facts: list[tuple[str, str, str]] = [
        ("units of work", *(text.count(s["units"]) for s in sums)),  # type: ignore[list-item]
        *(  # type: ignore[list-item]
            (words, *(share(s[name] / max(s["units"], 1)) for s in sums))
            for name, words in (
                ("incomplete", "incomplete: a parent is not here"),
                ("skewed", "clocks could not be reconciled"),
                ("mixed", "spans of different sampling in one unit"),
            )
        ),
        ("blocks of time for the statistics", str(report.base.blocks), str(report.head.blocks)),
        ("hours compared", f"{report.base.hours:.4g}", f"{report.head.hours:.4g}"),
        ("sampling", *(_sampling(frame) for frame in rows)),  # type: ignore[list-item]
    ]
    count = len(report.notes)
    return {
        **values,
        "report": report,
        "sides": facts,
        "sentence": f"{said}; {count} remark{'' if count == 1 else 's'} on the periods.",
    }


def _sampling(frame: Any) -> str:
    """The sampling probabilities that units carry, in words."""
    thresholds = sorted(frame["threshold"].unique().to_list())
    if thresholds == [schema.NO_THRESHOLD]:
        return "none stated"
    known = [1 - t / 2**56 for t in thresholds if t >= 0]
    words = ", ".join(f"{part * 100:.3g} %" for part in sorted(known, reverse=True)[:4])
    return words + (" and some unstated" if schema.NO_THRESHOLD in thresholds else "")
