"""Every export of a graph, read back by a parser that is not ours, with names that mean harm."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import shutil
import subprocess
import unicodedata
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import networkx as nx
import polars as pl
import pydot
import pytest
import resvg_py
from flows import rollups
from rich.console import Console

from tracescope.analysis.rollups.flows import Selection, call_tree
from tracescope.analysis.topology.graph import Graph, graph
from tracescope.report import export, graph_json, text
from tracescope.report.names import KEPT, SHOWN, escaped, one_line, shortened
from tracescope.report.png import as_png
from tracescope.report.structurizr import as_structurizr
from tracescope.report.svg import Look, View, arrange, draw
from tracescope.report.tree import tree_text

#: Folder with what `npm install` and `mvn dependency:copy-dependencies` bring.
TOOLS = Path(os.environ.get("EXPORT_PARSERS") or Path(__file__).parent / "tools")

HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "a\"b'c\\d\\",
    "two\nlines\tand \x00\x1b[31mred",
    "\u202egnp.exe\u2066",
    "x" * 10_000 + "1",
    "x" * 10_000 + "2",
    "${PATH}",
    "]]>&amp;<!--",
    "=cmd|' /C calc'!A0",
    "`code` **bold**",
    "end",
    "#quot;#35;",
    "%%{init: {}}%%",
    "名前/データベース",
    "} workspace {",
    "a|b]c)d}e",
    "\ufffe\ue000",
    "!include http://x",
    "subgraph;n0 --> n1",
    "",
]
SHOP = """
request n0 GET /: 10 units, 1000 ms
  http n0 -> n1 [n2]: 10 calls, 100 own, 600 inclusive
    db n1 -> n3 [n4]: 20 calls, 300 own
    queue n1 -> n5 [publish]: 10 calls, 100 own
    external n1 -> !n6 [n7]: 10 calls, 100 own
  http n0 -> n8 [n9]: 10 calls, 100 own, 300 inclusive
    db n8 -> n10 [n11]: 10 calls, 100 own
    rpc n8 -> n12 [n13]: 10 calls, 100 own
message n14 n15: 10 units, 2000 ms
  queue n5 -> n14 [wait]: 10 calls, 1500 own, 2000 inclusive
    rpc n14 -> n16 [n17]: 10 calls, 500 own
    http n14 -> !n18 [n19]: 10 calls, 0 own
    db n14 -> n20 [n2]: 1 calls, 1 own
"""


def renamed(tables: dict[str, pl.DataFrame]) -> dict[str, pl.DataFrame]:
    """The tables with hostile names for n0, n1, ..."""
    names = {f"n{at}": name for at, name in enumerate(HOSTILE)}
    columns = [pl.col("caller", "callee", "operation").replace(names)]
    return {
        **tables,
        "paths": tables["paths"].with_columns(columns),
        "entries": tables["entries"].with_columns(pl.col("service", "operation").replace(names)),
    }


@pytest.fixture(scope="module")
def hostile() -> Graph:
    """Operations and nodes of hostile names, compared with a base that lacks some of them."""
    base = (
        "\n".join(line for line in SHOP.splitlines() if "n10" not in line)
        + """
  db n0 -> n12 [gone]: 5 calls, 5 own
"""
    )
    return graph(
        renamed(rollups(SHOP)), "operation", base=renamed(rollups(base)), namespaces={HOSTILE[1]: HOSTILE[0]}
    )


def unseen(value: str) -> list[str]:
    """Characters that a reader cannot see, or that turn what he sees around."""
    return [
        c
        for c in value
        if unicodedata.category(c) in {"Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp"} and c != "\n"
    ]


def run(*command: str | Path) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=120).stdout


# -- names ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", HOSTILE)
def test_a_name_becomes_one_visible_line(name: str) -> None:
    assert not unseen(one_line(name))
    assert "\n" not in one_line(name)
    assert len(one_line(name)) <= KEPT
    assert len(shortened(name)) <= SHOWN
    assert ElementTree.fromstring(f"<a b='{escaped(one_line(name))}'>{escaped(one_line(name))}</a>").text in (
        one_line(name), None,
    )  # fmt: skip


def test_names_that_differ_stay_different() -> None:
    """Two long names with the same beginning, and names that differ in case, are numbered apart."""
    made = export.distinct([*HOSTILE, "END"])
    assert len({name.casefold() for name in made.values()}) == len(HOSTILE) + 1


def test_both_ends_of_a_long_name_are_shown() -> None:
    assert shortened("postgresql/" + "x" * 100 + "_orders_2026").startswith("postgresql/xxx")
    assert shortened("postgresql/" + "x" * 100 + "_orders_2026").endswith("xx_orders_2026")


# -- what machines read -----------------------------------------------------------------------------


def ends(made: Graph) -> list[tuple[str, str]]:
    names = dict(made.nodes.select("id", "name").iter_rows())
    pairs = made.edges.select("caller", "callee").iter_rows()
    return sorted((one_line(names[a]), one_line(names[b])) for a, b in pairs)


@pytest.mark.filterwarnings("ignore:.*deprecated - use:DeprecationWarning")  # pydot, of its own parser
def test_dot_is_what_pydot_and_graphviz_read(hostile: Graph) -> None:
    source = export.as_dot(hostile)
    (found,) = pydot.graph_from_dot_data(source) or [None]
    assert found is not None
    named = [node for node in found.get_nodes() if node.get_name() != "node"]
    assert len(named) == len(hostile.nodes)
    assert len(found.get_edges()) == len(hostile.edges)
    assert not unseen(source)


@pytest.mark.skipif(
    shutil.which("dot") is None, reason="Graphviz is not installed: dot cannot draw the export"
)
def test_graphviz_draws_every_node_and_edge(hostile: Graph, tmp_path: Path) -> None:
    (tmp_path / "graph.dot").write_text(export.as_dot(hostile))
    drawn = ElementTree.fromstring(run("dot", "-Tsvg", tmp_path / "graph.dot"))
    kinds = [element.get("class") for element in drawn.iter("{http://www.w3.org/2000/svg}g")]
    assert kinds.count("node") == len(hostile.nodes)
    assert kinds.count("edge") == len(hostile.edges)
    texts = {element.text for element in drawn.iter("{http://www.w3.org/2000/svg}text")}
    assert HOSTILE[0] in texts


def test_graphml_is_what_networkx_reads(hostile: Graph) -> None:
    found = nx.parse_graphml(export.as_graphml(hostile))
    names = nx.get_node_attributes(found, "name")
    assert sorted(names.values()) == sorted(one_line(name) for name in hostile.nodes["name"])
    assert sorted((names[a], names[b]) for a, b in found.edges()) == ends(hostile)
    shares = sorted(value for _, _, value in found.edges(data="share"))
    assert shares == pytest.approx(sorted(hostile.edges["share"].to_list()))


def test_cytoscape_elements_are_what_networkx_reads(hostile: Graph) -> None:
    found = nx.cytoscape_graph(json.loads(json.dumps(export.as_cytoscape(hostile))))
    names = {key: data["name"] for key, data in found.nodes(data=True)}
    assert sorted((names[a], names[b]) for a, b in found.edges()) == ends(hostile)
    assert found.number_of_nodes() == len(hostile.nodes)


def test_json_keeps_whole_names(hostile: Graph) -> None:
    found = json.loads(json.dumps(graph_json(hostile)))
    assert found["schema"] == "tracescope.graph/1"
    assert {node["name"] for node in found["nodes"]} == set(hostile.nodes["name"])
    assert HOSTILE[5] in {node["name"] for node in found["nodes"]}
    assert {edge["state"] for edge in found["edges"]} == {"both", "new", "gone"}


def test_csv_has_a_row_an_edge_and_nothing_a_spreadsheet_runs(hostile: Graph) -> None:
    rows = list(csv.DictReader(io.StringIO(export.as_csv(hostile))))
    assert len(rows) == len(hostile.edges)
    names = [row[column] for row in rows for column in ("caller", "callee", "operation")]
    assert not [name for name in names if name.startswith(("=", "+", "-", "@"))]
    assert not [name for name in names if unseen(name)]
    assert float(rows[0]["share"]) == pytest.approx(hostile.edges["share"][0])


_MERMAID_LINE = re.compile(
    r"""flowchart\ LR | \ \ linkStyle\ \d+\ stroke:\#[0-9a-f]{6},stroke-width:[\d.]+px
      | \ \ classDef\ \w+\ [\w:#,\ -]+
      | \ \ n\d+(\["[^"]*"\]|\[\("[^"]*"\)\]|\(\["[^"]*"\]\)|\{\{"[^"]*"\}\}|\[\["[^"]*"\]\]):::\w+
      | \ \ n\d+\ (-->|==>|-\.->)\|"[^"]*"\|\ n\d+""",
    re.VERBOSE,
)


def test_mermaid_lines_hold_nothing_but_the_grammar(hostile: Graph) -> None:
    """Labels hold letters, digits, a few signs and character codes: no quote, bracket or angle."""
    lines = export.as_mermaid(hostile).splitlines()
    assert not [line for line in lines if not _MERMAID_LINE.fullmatch(line)]
    labels = [label for line in lines for label in re.findall(r'"([^"]*)"', line)]
    assert len(labels) == len(hostile.nodes) + len(hostile.edges)
    assert not [label for label in labels if re.search(r"[^\w .,:/%~+#;-]", label)]


@pytest.mark.skipif(
    shutil.which("node") is None or not (TOOLS / "node_modules" / "mermaid").is_dir(),
    reason="Mermaid is not installed (tests/tools/install.sh): its own parser did not read the export",
)
def test_mermaid_itself_reads_every_node_and_edge(hostile: Graph, tmp_path: Path) -> None:
    (tmp_path / "graph.mmd").write_text(export.as_mermaid(hostile), encoding="utf-8")
    found = json.loads(run("node", TOOLS / "parse.mjs", tmp_path / "graph.mmd"))
    assert len(found["vertices"]) == len(hostile.nodes)
    assert len(found["edges"]) == len(hostile.edges)
    shapes = dict(zip(hostile.nodes["type"], (v["shape"] for v in found["vertices"]), strict=True))
    assert shapes["database"] == "cylinder"
    assert {edge["stroke"] for edge in found["edges"]} >= {"dotted", "normal"}
    # Mermaid keeps codes as codes until it sets text: nothing of a name became markup
    said = json.dumps(found)
    assert "<script" not in said
    assert "<img" not in said


def test_structurizr_strings_cannot_be_left(hostile: Graph) -> None:
    """Outside of strings there are only our own words; strings hold no quote, no ``${``, no backslash."""
    for line in as_structurizr(hostile).splitlines():
        bare = re.sub(r'"[^"\\]*"', "", line)
        assert re.fullmatch(r"[\w\s{}*=#]*(->[\w\s]*)?", bare), line
        assert "${" not in line


@pytest.mark.skipif(
    shutil.which("java") is None or not list((TOOLS / "jars").glob("structurizr-dsl-*.jar")),
    reason="Structurizr is not installed (tests/tools/install.sh): its own parser did not read the export",
)
def test_structurizr_itself_reads_every_element_and_relation(hostile: Graph, tmp_path: Path) -> None:
    (tmp_path / "workspace.dsl").write_text(as_structurizr(hostile), encoding="utf-8")
    here = Path(__file__).parent / "tools"
    found = json.loads(run("java", "-cp", f"{TOOLS}/jars/*", here / "Parse.java", tmp_path / "workspace.dsl"))
    systems = found["model"]["softwareSystems"]
    elements = [*systems, *(each for system in systems for each in system.get("containers", []))]
    own = [each for each in elements if "Element" in each["tags"] and each["name"] != "System"]
    assert len(own) == len(hostile.nodes)
    between = [
        r for each in elements for r in each.get("relationships", []) if not r.get("linkedRelationshipId")
    ]
    assert len(between) == len(hostile.edges)
    names = {each["name"] for each in elements}
    assert HOSTILE[0] in names
    assert any("$ {PATH}" in relation["description"] for relation in between)
    assert os.environ["PATH"] not in json.dumps(found)
    tags = {each["name"]: each["tags"] for each in elements}
    assert "Database" in tags[one_line(HOSTILE[3], 120)]


# -- what people look at ----------------------------------------------------------------------------

SVG = "{http://www.w3.org/2000/svg}"
DRAWN = {"svg", "g", "path", "rect", "text", "title", "desc", "style", "a"}


def drawing(made: Graph, **how: Any) -> ElementTree.Element:
    return ElementTree.fromstring(draw(made, arrange(made), Look(**how)))


@pytest.mark.parametrize("view", ["change", "head", "base"])
def test_a_drawing_is_plain_shapes_and_text(hostile: Graph, view: View) -> None:
    """No script, no foreign element, no event handler, no address, and names are shortened text."""
    root = drawing(hostile, view=view, heading=HOSTILE[0], title=HOSTILE[1])
    for element in root.iter():
        assert element.tag.removeprefix(SVG) in DRAWN
        assert not [name for name in element.attrib if name.startswith("on") or name in ("style", "href")]
        assert not unseen(element.text or "")
    names = [element.text or "" for element in root.iter(f"{SVG}text") if element.get("class") == "ts-name"]
    assert len(names) == len(hostile.nodes)
    assert max(len(name) for name in names) <= SHOWN


def test_a_drawing_says_what_it_shows(hostile: Graph) -> None:
    """It has a role, a title and a description; so has every node and edge."""
    root = drawing(hostile, prefix="one")
    assert root.get("role") == "img"
    ids = [element.get("id") for element in root.iter() if element.get("id")]
    assert (root.get("aria-labelledby") or "").split() == ids == ["one-title", "one-desc"]
    for kind, count in (("ts-node", len(hostile.nodes)), ("ts-edge", len(hostile.edges))):
        groups = [g for g in root.iter(f"{SVG}g") if (g.get("class") or "").split()[:1] == [kind]]
        assert len(groups) == count
        assert all(g.find(f"{SVG}title") is not None for g in groups)


def test_places_are_the_same_in_every_view(hostile: Graph) -> None:
    def boxes(view: View) -> list[tuple[str | None, str | None]]:
        root = drawing(hostile, view=view)
        return [
            (e.get("x"), e.get("y"))
            for e in root.iter(f"{SVG}rect")
            if (e.get("class") or "").startswith("ts-box")
        ]

    assert boxes("base") == boxes("head") == boxes("change")


def test_links_of_nodes_and_edges_are_escaped(hostile: Graph) -> None:
    root = drawing(hostile, node_href=lambda node: f"/service?name={node['name']}", edge_href=lambda _: None)
    hrefs = [element.get("href") or "" for element in root.iter(f"{SVG}a")]
    assert len(hrefs) == len(hostile.nodes)
    assert f"/service?name={HOSTILE[0]}" in hrefs


def test_colours_follow_significance_where_it_is_known(hostile: Graph) -> None:
    """What `diff` calls chance is drawn as no clear change, however far its share moved."""
    moved = [e for e in drawing(hostile).iter(f"{SVG}path") if "ts-up3" in (e.get("class") or "")]
    assert moved
    marks = pl.Series("significant", [False] * len(hostile.edges), pl.Boolean)
    calm = hostile.kept(hostile.edges.with_columns(marks))
    drawn = drawing(calm, legend=False)
    assert not [e for e in drawn.iter(f"{SVG}path") if "ts-up" in (e.get("class") or "")]


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_png_is_drawn_from_a_fixed_theme(hostile: Graph, theme: str) -> None:
    """The other renderer sees the paper's colour, and no variable is left for it."""
    svg = draw(hostile, arrange(hostile), Look(theme=theme))  # pyright: ignore[reportArgumentType]
    assert "var(" not in svg
    image = as_png(svg)
    assert image.startswith(b"\x89PNG\r\n\x1a\n")
    assert resvg_py.svg_to_bytes(svg_string=draw(hostile, arrange(hostile), Look(theme="light")))


@pytest.mark.skipif(
    shutil.which("rsvg-convert") is None, reason="librsvg is not installed: it did not draw the SVG"
)
def test_librsvg_draws_it_too(hostile: Graph, tmp_path: Path) -> None:
    (tmp_path / "graph.svg").write_text(
        draw(hostile, arrange(hostile), Look(theme="light")), encoding="utf-8"
    )
    run("rsvg-convert", "-o", tmp_path / "graph.png", tmp_path / "graph.svg")
    assert (tmp_path / "graph.png").stat().st_size > 5_000


def test_a_terminal_is_sent_no_escape_sequence_of_a_name(hostile: Graph) -> None:
    tables = renamed(rollups(SHOP))
    for shown in (
        text.graph_text(hostile, width=120),
        tree_text(*call_tree(tables, Selection(), base=tables), width=120),
    ):
        console = Console(file=io.StringIO(), width=120, color_system=None, highlight=False)
        console.print(shown)
        printed = console.file.getvalue()  # pyright: ignore[reportAttributeAccessIssue]
        assert not unseen(printed)
        assert max(len(line) for line in printed.splitlines()) <= 140
