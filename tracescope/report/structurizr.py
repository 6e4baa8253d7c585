"""A graph as a C4 model in the Structurizr DSL: containers of one software system, and what is outside.

Services, databases and topics are containers, grouped by namespace; systems that send no spans are
software systems of their own.

Source: the Structurizr DSL language reference (workspace, model, group, views, styles; strings,
identifiers and ``${...}`` substitution).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from tracescope.report.export import distinct, growth_color, measures
from tracescope.report.names import one_line, shortened
from tracescope.report.palette import color_of

if TYPE_CHECKING:
    from tracescope.analysis.topology.graph import Graph

_TAGS: Final = {
    "service": "Service", "database": "Database", "queue": "Queue", "external": "External",
    "namespace": "Namespace",
}  # fmt: skip
_TECHNOLOGY: Final = {"http": "HTTP", "rpc": "RPC", "db": "Database", "queue": "Messaging", "external": ""}
_NAME: Final = 120


def quoted(text: str) -> str:
    """A DSL string.  There is nothing that keeps a quote or ``${``, so look-alikes stand for them."""
    clean = one_line(text).replace("\\", "⧵").replace('"', "”").replace("${", "$ {")
    return f'"{clean}"'


def as_structurizr(graph: Graph) -> str:
    """A Structurizr workspace with one container view."""
    names = distinct(graph.nodes["id"].to_list(), _NAME)
    ids = {name: f"n{at}" for at, name in enumerate(names)}
    rows = graph.nodes.rows(named=True)
    system = one_line(graph.environment, _NAME) or "System"
    while system.casefold() in {name.casefold() for name in names.values()}:
        system += " (system)"
    out = [
        f"workspace {quoted(system)} {quoted('Dependencies as traces show them')} {{",
        "  model {",
        f"    system = softwareSystem {quoted(system)} {{",
    ]
    for space in sorted({row["namespace"] for row in rows}):
        inside = [row for row in rows if row["namespace"] == space and row["type"] != "external"]
        if not inside:
            continue
        out += [f"      group {quoted(space)} {{"] if space else []
        out += [f"        {_container(row, ids, names)}" for row in inside]
        out += ["      }"] if space else []
    out.append("    }")
    for row in rows:
        if row["type"] == "external":
            name = quoted(names[row["id"]])
            out.append(f'    {ids[row["id"]]} = softwareSystem {name} "Sends no spans" "External"')
    out += [f"    {line}" for line in _relations(graph, ids)]
    out += ["  }", "  views {", '    container system "dependencies" {', "      include *"]
    out += ["      autoLayout lr", "    }", *_STYLES, "  }", "}"]
    return "\n".join(out) + "\n"


def _container(row: Mapping[str, Any], ids: Mapping[str, str], names: Mapping[str, str]) -> str:
    technology = row["name"].partition("/")[0] if row["type"] == "database" else row["type"]
    about = f"{row['share']:.1%} of the clock"
    return (
        f"{ids[row['id']]} = container {quoted(names[row['id']])} {quoted(about)} "
        f'{quoted(shortened(technology))} "{_TAGS[row["type"]]}"'
    )


def _relations(graph: Graph, ids: Mapping[str, str]) -> list[str]:
    """One line an edge; descriptions of the same two ends must differ, so kind and operation lead."""
    taken: set[tuple[str, str, str]] = set()
    out: list[str] = []
    for edge in graph.edges.iter_rows(named=True):
        ends = (ids[edge["caller"]], ids[edge["callee"]])
        about = f"{shortened(edge['operation'] or edge['kind'])}: {measures(edge)}"
        text, number = about, 1
        while (*ends, text) in taken:
            number += 1
            text = f"{about} ~{number}"
        taken.add((*ends, text))
        technology = _TECHNOLOGY[edge["kind"]]
        tags = ["Queue hop"] if edge["kind"] == "queue" else []
        tags += [_GROWTH[color]] if (color := growth_color(graph, edge)) in _GROWTH else []
        tag = f' "{",".join(tags)}"' if tags else ""
        out.append(f'{ends[0]} -> {ends[1]} {quoted(text)} "{technology}"{tag}')
    return out


#: Colour of what an edge adds -> its tag.
_GROWTH: Final = {
    color_of("up3"): "Adds much",
    color_of("up2"): "Adds more",
    color_of("up1"): "Adds some",
    color_of("down"): "Takes less",
}
_STYLES: Final = (
    "    styles {",
    '      element "Service" {',
    "        shape RoundedBox",
    "      }",
    '      element "Database" {',
    "        shape Cylinder",
    "        background #fdf3df",
    "      }",
    '      element "Queue" {',
    "        shape Pipe",
    "        background #e2f4ee",
    "      }",
    '      element "External" {',
    "        background #f2f4f8",
    "      }",
    '      relationship "Queue hop" {',
    "        style dashed",
    "      }",
    *(
        line
        for color, tag in _GROWTH.items()
        for line in (f'      relationship "{tag}" {{', f"        color {color}", "      }")
    ),
    "    }",
)
