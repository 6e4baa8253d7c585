"""The map of a view: which part of the graph it shows, and the graph as a part of any page.

    whole graph, judged ─► namespaces collapsed ─► surroundings of a node, or the backbone ─► drawn

Every box and edge is a link: a service to its page, anything else to its surroundings, a collapsed
namespace to the map with it open.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import Any, Final, Literal, cast
from urllib.parse import quote

import polars as pl
from markupsafe import Markup

from tracescope.analysis.topology.backbone import backbone, collapsed, expanded
from tracescope.analysis.topology.graph import Graph, Level
from tracescope.errors import InputError
from tracescope.near import suggestion
from tracescope.report.svg import Look, arrange, draw
from tracescope.session import Answers
from tracescope.web import periods
from tracescope.web.view import LEVELS, SIDES, ZOOMS, View

#: A drawing is shrunk to this part of its size at most, told to the style sheet in hundreds of px.
SMALLEST: Final = 1.0
MOST_HUNDREDS: Final = 40
#: Edges listed below the map.
LISTED_EDGES: Final = 60
_WIDTH: Final = re.compile(r' width="(\d+)"')
Side = Literal["change", "head", "base"]
Values = dict[str, Any]


def drawn(answers: Answers, view: View, shown: Graph, *, prefix: str, side: Side = "change") -> Markup:
    """A judged graph as a part of a page, its boxes and edges being links."""
    best = edge_links(answers, view)
    names = dict(shown.nodes.select("id", "name").iter_rows())

    def edge_href(row: Mapping[str, Any]) -> str | None:
        return best.get((row["kind"], names[row["caller"]], names[row["callee"]]))

    def node_href(row: Mapping[str, Any]) -> str | None:
        if row["type"] == "service":
            return view.url(f"/service/{quote(row['name'], safe='')}", level=View().level, hops=0, service="")
        if row["type"] == "namespace":
            return view.toggled(row["name"]).url("/map")
        return view.url("/map", service=row["name"], hops=1)

    look = Look(view=side, prefix=prefix, embed_style=False, node_href=node_href, edge_href=edge_href)
    arranged = arrange(shown)
    # names stay readable: a wide drawing is scrolled sideways rather than shrunk below this
    scale = view.zoom / 100 if view.zoom else SMALLEST
    picture = draw(shown, arranged, look)
    width = int(_WIDTH.search(picture)[1])  # pyright: ignore[reportOptionalSubscript] - every drawing has one
    hundreds = min(math.ceil(width * scale / 100), MOST_HUNDREDS)
    return Markup(
        f'<div class="wide w{hundreds}" tabindex="0" role="group" aria-label="Map, scrolls" data-zooms>'
        f"{picture}</div>"
    )


def edge_links(answers: Answers, view: View) -> dict[tuple[str, str, str], str]:
    """The page of the edge that grew most, by kind, caller and callee."""
    best: dict[tuple[str, str, str], str] = {}
    for found in answers.report().edges:
        if found.callee is not None:
            best.setdefault((found.kind, found.caller, found.callee), view.edge_url(found.key))
    return best


#: Orders of the list below the map, the largest first.
_ORDERS: Final[dict[str, Callable[[Values], Any]]] = {
    "name": lambda row: (row["caller"], row["callee"]),
    "share": lambda row: -row["share"],
    "points": lambda row: -abs(row["change"]),
    "credited": lambda row: -row["added_ms"],
    "ms": lambda row: -row["calls"],
}


def rows_of(answers: Answers, view: View, shown: Graph) -> list[Values]:
    """Edges of the map as rows with their pages, what adds most first unless asked otherwise."""
    links, names = edge_links(answers, view), dict(shown.nodes.select("id", "name").iter_rows())
    rows = [
        {**row, "url": links.get((row["kind"], names[row["caller"]], names[row["callee"]]), "")}
        for row in shown.edges.iter_rows(named=True)
    ]
    return sorted(rows, key=_ORDERS[view.sort or "credited"])


def map_(answers: Answers, view: View) -> Values:
    """Base, head and change at the same places."""
    shown, about, whole = of_view(answers, view)
    view = view.resolved(len(whole.nodes))
    return {
        "title": "Map",
        "report": answers.report(),
        "bar": periods.bar(answers, view, answers.report(), "/map"),
        "here": "/map",
        "headline": _headline(whole),
        "about": about,
        "graph": drawn(answers, view, shown, prefix="map", side=cast("Side", view.side))
        if len(shown.nodes)
        else "",
        "levels": LEVELS,
        "views": SIDES,
        "names": whole.nodes["name"].to_list(),
        "spaces": spaces(whole, view),
        "rows": rows_of(answers, view, shown),
        "zooms": [
            ("fit" if zoom == 0 else f"{zoom} %", view.url("/map", zoom=zoom), zoom == view.zoom)
            for zoom in ZOOMS
        ],
        "most": LISTED_EDGES,
    }


def _headline(whole: Graph) -> str:
    """How many edges of a judged graph take more time."""
    worse, edges = int((whole.edges["added_ms"] > 0).sum()), len(whole.edges)
    said = f"{worse or 'None'} of {edges} edges take{'s' if worse == 1 else ''} more time than before"
    return f"{said}, between {len(whole.nodes)} nodes"


def of_view(answers: Answers, view: View) -> tuple[Graph, str, Graph]:
    """What of the graph a view shows, words about that, and the whole of its kind."""
    whole = of_kind(answers.judged(answers.mapped(cast("Level", view.level))), view)
    shown, about = narrowed(whole, view.resolved(len(whole.nodes)))
    return shown, about, whole


def of_kind(whole: Graph, view: View) -> Graph:
    """The graph's edges of the view's kind."""
    return whole.kept(whole.edges.filter(pl.col("kind") == view.kind)) if view.kind else whole


def spaces(whole: Graph, view: View) -> list[Values]:
    """Namespaces of a graph: name, nodes, whether it is collapsed, and the address that changes that."""
    counted = whole.nodes.filter(pl.col("namespace") != "").group_by("namespace").len().sort("namespace")
    return [
        {"name": name, "nodes": nodes, "closed": view.closes(name), "url": view.toggled(name).url("/map")}
        for name, nodes in counted.iter_rows()
    ]


def narrowed(whole: Graph, view: View) -> tuple[Graph, str]:
    """What of a graph to draw, and words about it: a node's surroundings, or the backbone."""
    chosen = whole.nodes.filter(pl.col("name") == view.service) if view.service else whole.nodes.clear()
    focused = set(chosen["namespace"].to_list())  # it is to be seen, so its namespace stays open
    closed = {name for name in set(whole.nodes["namespace"].to_list()) - {""} if view.closes(name)} - focused
    boxed = collapsed(whole, closed) if closed else whole
    if view.service:
        ids = chosen["id"].to_list()
        if not ids and view.service in closed:
            ids = boxed.nodes.filter((pl.col("type") == "namespace") & (pl.col("name") == view.service))[
                "id"
            ].to_list()
        if not ids:
            hint = suggestion(view.service, whole.nodes["name"].to_list(), "choose one from the list")
            raise InputError(f"no node {view.service} in these periods", hint)
        hops = view.hops or 1
        none = boxed.kept(boxed.edges.clear())
        shown = expanded(boxed, none, ids[0], hops)
        steps = "one hop" if hops == 1 else f"{hops} hops"
        return (
            shown,
            f"Within {steps} of {view.service}: {len(shown.nodes)} of {len(boxed.nodes)} nodes.",
        )
    shown = backbone(boxed, view.nodes)
    if len(shown.nodes) == len(boxed.nodes):
        return shown, ""
    return shown, (
        f"The backbone: {len(shown.nodes)} of {len(boxed.nodes)} nodes, the strongest edges with their "
        "heaviest way from an entry. Focus on a node and choose hops, collapse namespaces, or ask for more "
        "boxes to see the rest."
    )
