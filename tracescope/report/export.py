"""A graph in the forms that other programs read.

Names are hostile input: each form escapes by its own rules and nothing in a name is ever markup.
Whole names (up to `names.KEPT` letters) are kept as data; labels that people look at are shortened.

Source: the Graphviz DOT language's grammar; GraphML 1.0; Cytoscape.js elements JSON; Mermaid's
flowchart syntax; the Structurizr DSL reference.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final

from tracescope.report import graph_json
from tracescope.report.names import KEPT, csv_cell, one_line, shortened
from tracescope.report.palette import color_of
from tracescope.report.svg import Look, ink

if TYPE_CHECKING:
    from tracescope.analysis.topology.graph import Graph

_DOT_SHAPES: Final = {
    "service": "box",
    "database": "cylinder",
    "queue": "cds",
    "external": "ellipse",
    "namespace": "folder",
}


def measures(edge: Mapping[str, Any]) -> str:
    """What is said of an edge beside it: calls, mean, share."""
    mean = "" if edge["mean_ms"] is None else f", {edge['mean_ms']:.3g} ms"
    return f"{edge['calls']} calls{mean}, {edge['share']:.1%}"


def distinct(names: Iterable[str], limit: int = KEPT) -> dict[str, str]:
    """Name -> one visible line; names that look alike then are numbered apart."""
    taken: set[str] = set()
    out: dict[str, str] = {}
    for name in names:
        clean = one_line(name, limit) or "(no name)"
        made, number = clean, 1
        while made.casefold() in taken:
            number += 1
            made = f"{clean} ~{number}"
        taken.add(made.casefold())
        out[name] = made
    return out


def _said(edge: Mapping[str, Any], *, compared: bool) -> str:
    """An edge's label: its operation, its measures, its change."""
    text = measures(edge)
    if edge["operation"] is not None:
        text = f"{shortened(edge['operation'])}: {text}"
    if compared:
        chance = edge.get("significant") is False
        adds = f", {edge['added_ms']:+.3g} ms" if "added_ms" in edge else f", {edge['change'] * 100:+.1f} pt"
        text += ", ~" if chance else adds
        text += "" if edge["state"] == "both" else f" {edge['state']}"
    return text


def growth_color(graph: Graph, edge: Mapping[str, Any]) -> str:
    """The colour of what an edge adds, as in drawings; empty where nothing is compared or nothing grew."""
    if graph.base is None or edge.get("significant") is False:
        return ""
    name = ink(edge, Look(), compared=True)
    return "" if name == "flat" else color_of(name)


def as_dot(graph: Graph) -> str:
    """Graphviz source; line width follows the share of the clock, dashed is a queue hop."""

    def quoted(text: str) -> str:
        # one line, so the only things left that end or change a quoted string are these two
        return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'

    ids = distinct(graph.nodes["id"].to_list())
    lines = ["digraph tracescope {", "  rankdir=LR;", '  node [fontname="sans-serif"];']
    for node in graph.nodes.iter_rows(named=True):
        label = quoted(shortened(node["name"]) or "(no name)")
        lines.append(f"  {quoted(ids[node['id']])} [shape={_DOT_SHAPES[node['type']]}, label={label}];")
    for edge in graph.edges.iter_rows(named=True):
        style = ", style=dashed" if edge["kind"] == "queue" else ""
        style += f', color="{color}", fontcolor="{color}"' if (color := growth_color(graph, edge)) else ""
        lines.append(
            f"  {quoted(ids[edge['caller']])} -> {quoted(ids[edge['callee']])} "
            f"[label={quoted(_said(edge, compared=graph.base is not None))}, "
            f"penwidth={1 + 6 * edge['share']:.2f}{style}];"
        )
    return "\n".join([*lines, "}"]) + "\n"


_MERMAID_SHAPES: Final = {
    "service": ("[", "]"), "database": ("[(", ")]"), "queue": ("([", "])"), "external": ("{{", "}}"),
    "namespace": ("[[", "]]"),
}  # fmt: skip
#: What a Mermaid label may hold as it is; everything else is written as a character code.
_MERMAID_PLAIN: Final = re.compile(r"[^\w .,:/%~+-]")


def as_mermaid(graph: Graph) -> str:
    """A Mermaid flowchart, as GitHub and GitLab draw it in Markdown; dotted is a queue hop."""

    def text(raw: str) -> str:
        return _MERMAID_PLAIN.sub(lambda found: f"#{ord(found[0])};", raw)

    numbers = {name: f"n{at}" for at, name in enumerate(graph.nodes["id"].to_list())}
    colored: list[str] = []
    lines = ["flowchart LR"]
    for node in graph.nodes.iter_rows(named=True):
        left, right = _MERMAID_SHAPES[node["type"]]
        label = text(shortened(node["name"]) or "(no name)")
        lines.append(f'  {numbers[node["id"]]}{left}"{label}"{right}:::{node["type"]}')
    for at, edge in enumerate(graph.edges.iter_rows(named=True)):
        if color := growth_color(graph, edge):
            colored.append(f"  linkStyle {at} stroke:{color},stroke-width:{1 + 8 * edge['share']:.1f}px")
        arrow = "-.->" if edge["kind"] == "queue" else "==>" if edge["share"] > 0.1 else "-->"
        label = text(_said(edge, compared=graph.base is not None))
        lines.append(f'  {numbers[edge["caller"]]} {arrow}|"{label}"| {numbers[edge["callee"]]}')
    lines += [
        *colored,
        "  classDef service fill:#ffffff,stroke:#5d6778,color:#1d2433",
        "  classDef database fill:#fdf3df,stroke:#d8b163,color:#1d2433",
        "  classDef queue fill:#e2f4ee,stroke:#66b39a,color:#1d2433",
        "  classDef external fill:#f2f4f8,stroke:#98a3b6,color:#1d2433,stroke-dasharray:3 2",
        "  classDef namespace fill:#edf1fe,stroke:#8ea2e4,color:#1d2433",
    ]
    return "\n".join(lines) + "\n"


def as_graphml(graph: Graph) -> str:
    """GraphML with every column as an attribute, for yEd, Gephi and the like."""
    import networkx as nx

    made: nx.MultiDiGraph[str] = nx.MultiDiGraph(level=graph.level, environment=one_line(graph.environment))
    numbers = {name: f"n{at}" for at, name in enumerate(graph.nodes["id"].to_list())}
    for node in graph.nodes.iter_rows(named=True):
        made.add_node(numbers[node["id"]], label=shortened(node["name"]), **_plain(node))
    for at, edge in enumerate(graph.edges.iter_rows(named=True)):
        caller, callee = numbers[edge["caller"]], numbers[edge["callee"]]
        color = growth_color(graph, edge)
        made.add_edge(caller, callee, key=f"e{at}", **_plain(edge), **({"color": color} if color else {}))
    return "\n".join(nx.generate_graphml(made, named_key_ids=True)) + "\n"


def _plain(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row without nulls, its texts on one line each."""
    return {
        key: one_line(value) if isinstance(value, str) else value
        for key, value in row.items()
        if value is not None and key != "id"
    }


def as_cytoscape(graph: Graph) -> dict[str, Any]:
    """Cytoscape.js elements, which networkx reads too; ready for a JSON encoder."""
    numbers = {name: f"n{at}" for at, name in enumerate(graph.nodes["id"].to_list())}
    nodes = [
        {
            "data": {
                **_plain(node),
                "id": numbers[node["id"]],
                "value": numbers[node["id"]],  # what networkx takes for the node
                "label": shortened(node["name"]),
            }
        }
        for node in graph.nodes.iter_rows(named=True)
    ]
    edges = [
        {
            "data": {
                **_plain(edge),
                "id": f"e{at}",
                "key": f"e{at}",
                "source": numbers[edge["caller"]],
                "target": numbers[edge["callee"]],
                **({"color": color} if (color := growth_color(graph, edge)) else {}),
            }
        }
        for at, edge in enumerate(graph.edges.iter_rows(named=True))
    ]
    about = {key: value for key, value in graph_json(graph).items() if key not in ("nodes", "edges")}
    elements = {"nodes": nodes, "edges": edges}
    return {
        "data": [list(pair) for pair in about.items() if not isinstance(pair[1], dict)],
        "directed": True,
        "multigraph": True,
        "elements": elements,
    }


def as_csv(graph: Graph) -> str:
    """One row an edge, all its columns; cells that a spreadsheet would run as a formula are quoted."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(graph.edges.columns)
    for row in graph.edges.iter_rows():
        writer.writerow([csv_cell(value) for value in row])
    return out.getvalue()
