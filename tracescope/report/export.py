"""A graph in the forms that other programs read.

Names are hostile input: each form escapes by its own rules and nothing in a name is ever markup.
Whole names (up to `names.KEPT` letters) are kept as data; labels that people look at are shortened.

Source: the Graphviz DOT language's grammar; GraphML 1.0; Cytoscape.js elements JSON; Mermaid's
flowchart syntax; the Structurizr DSL reference.
"""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING, Any, Final

from tracescope.report.names import one_line, shortened

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tracescope.analysis.graph import Graph

_SHAPES: Final = {"service": "box", "database": "cylinder", "queue": "cds", "external": "ellipse"}


def measures(edge: Mapping[str, Any]) -> str:
    """What is said of an edge beside it: calls, mean, share."""
    mean = "" if edge["mean_ms"] is None else f", {edge['mean_ms']:.3g} ms"
    return f"{edge['calls']} calls{mean}, {edge['share']:.1%}"


def as_dot(graph: Graph) -> str:
    """Graphviz source; line width follows the share of the clock, dashed is a queue hop."""

    def quoted(text: str) -> str:
        # one line, so the only things left that end or change a quoted string are these two
        return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'

    lines = ["digraph tracescope {", "  rankdir=LR;", '  node [fontname="sans-serif"];']
    for node in graph.nodes.iter_rows(named=True):
        label = quoted(shortened(node["name"]))
        lines.append(f"  {quoted(one_line(node['id']))} [shape={_SHAPES[node['type']]}, label={label}];")
    for edge in graph.edges.iter_rows(named=True):
        about = measures(edge)
        text = quoted(about if edge["operation"] is None else f"{shortened(edge['operation'])}: {about}")
        style = ", style=dashed" if edge["kind"] == "queue" else ""
        lines.append(
            f"  {quoted(one_line(edge['caller']))} -> {quoted(one_line(edge['callee']))} "
            f"[label={text}, penwidth={1 + 6 * edge['share']:.2f}{style}];"
        )
    return "\n".join([*lines, "}"]) + "\n"


def as_csv(graph: Graph) -> str:
    """One row an edge, all its columns; cells that a spreadsheet would run as a formula are quoted."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(graph.edges.columns)
    for row in graph.edges.iter_rows():
        writer.writerow([_cell(value) for value in row])
    return out.getvalue()


def _cell(value: Any) -> Any:
    if not isinstance(value, str):
        return "" if value is None else value
    text = one_line(value)
    return f"'{text}" if text.startswith(("=", "+", "-", "@")) else text
