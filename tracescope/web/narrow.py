"""Apply a view's filters: to edges, headline, findings, patterns and map.

The verdict's clock stays that of all requests, and call paths those of whole entries; the page says so.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Final

import polars as pl

from tracescope.analysis.report import Edge, EdgeKey, Report, State
from tracescope.analysis.topology.graph import Graph
from tracescope.analysis.verdict import state_of
from tracescope.report.page import points
from tracescope.web.view import View

#: Orders of the table of edges: what it is sorted by, the largest or first one first.
ORDERS: Final[dict[str, Callable[[Edge], Any]]] = {
    "name": lambda edge: (edge.name, edge.operation or ""),
    "share": lambda edge: -edge.share_head,
    "points": lambda edge: -abs(points(edge)),
    "ms": lambda edge: -edge.own_ms_head,
    "credited": lambda edge: -edge.credited_ms,
}


def narrows(view: View) -> bool:
    """Whether a view asks for some edges only."""
    return bool(view.kind or view.service or view.min_change)


def words(view: View) -> str:
    """What is asked for, in words."""
    said = [
        f"{view.kind} edges" if view.kind else "",
        f"edges at {view.service}" if view.service else "",
        f"changes of at least {view.min_change:g} points" if view.min_change else "",
    ]
    return ", ".join(each for each in said if each)


def listed(report: Report, view: View) -> list[Edge]:
    """Edges that the view's filters leave, in its order."""
    found = [
        edge
        for edge in report.edges
        if (not view.kind or edge.kind == view.kind)
        and (not view.service or view.service in (edge.caller, edge.callee))
        and abs(points(edge)) >= view.min_change
    ]
    return sorted(found, key=ORDERS[view.sort]) if view.sort else found


def narrowed(report: Report, view: View) -> Report:
    """The report of the edges that the filters leave: their verdict, findings and patterns."""
    if not narrows(view):
        return report
    edges = listed(report, replace(view, sort=""))
    keys, names = {edge.key for edge in edges}, {(edge.name, edge.operation) for edge in edges}
    worse = [edge for edge in edges if edge.significant and edge.credited_ms > 0]
    state, reasons = state_of(worse)
    if report.state == State.INSUFFICIENT:
        state, reasons = report.state, report.reasons
    return replace(
        report,
        state=state,
        reasons=reasons,
        edges=tuple(edges),
        findings=tuple(
            found
            for found in report.findings
            if found.cause in keys or any(each.edge in keys for each in found.victims)
        ),
        patterns=tuple(each for each in report.patterns if (each.edge, each.operation) in names),
    )


def kept(graph: Graph, edges: Sequence[Edge]) -> Graph:
    """The part of a graph that has some edges, and services whose own work is among them."""
    names = dict(graph.nodes.select("id", "name").iter_rows())
    wanted = {(edge.kind, edge.caller, edge.callee) for edge in edges if edge.callee is not None}
    own = {edge.caller for edge in edges if edge.callee is None}
    chosen = [
        (kind, names[caller], names[callee]) in wanted
        for kind, caller, callee in graph.edges.select("kind", "caller", "callee").iter_rows()
    ]
    rows = graph.edges.filter(pl.Series(chosen, dtype=pl.Boolean))
    ends = {*rows["caller"].to_list(), *rows["callee"].to_list()}
    nodes = graph.nodes.filter(pl.col("id").is_in(list(ends)) | pl.col("name").is_in(list(own)))
    return replace(graph, nodes=nodes, edges=rows)


def find(report: Report, key: EdgeKey) -> Edge | None:
    """The edge with a key."""
    return next((edge for edge in report.edges if edge.key == key), None)
