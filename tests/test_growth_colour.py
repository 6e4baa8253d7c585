"""What edges and services add, in the colours of drawings and of every export; boxes tell what is inside."""

from __future__ import annotations

from answered import edge, grown
from flows import rollups

from tracescope.analysis.topology.backbone import collapsed
from tracescope.analysis.topology.graph import Graph, graph, judged
from tracescope.report.export import as_cytoscape, as_dot, as_graphml, as_mermaid, growth_color
from tracescope.report.palette import color_of
from tracescope.report.structurizr import as_structurizr
from tracescope.report.svg import Look, arrange, draw, ink, ink_of

SHOP = """
request web POST /buy: 10 units, 1000 ms
  http web -> a.cart [x]: 10 calls, 10 own, 700 inclusive
    http a.cart -> a.price [x]: 20 calls, 20 own, 300 inclusive
      db a.price -> postgresql/prices [SELECT p]: 20 calls, 280 own
  http web -> b.mail [x]: 10 calls, 10 own, 60 inclusive
"""
CLOCKS = {"request": 20.0}


def made() -> Graph:
    """An edge inside of namespace a adds 2 ms, a's own work 2 ms, one into a database takes 2 ms less."""
    changes = [
        grown("a.cart -> a.price", "calls"),
        grown("a.price", "latency_unsplit"),
        edge("a.price -> postgresql/prices", (3.0, 1.0), -2.0, (-2.5, -1.5), kind="db", significant=True),
        edge("web -> b.mail", (1.0, 9.0), 8.0, (-1.0, 17.0)),
    ]
    return judged(graph(rollups(SHOP), "dependency", base=rollups(SHOP)), changes, CLOCKS)


def added(found: Graph) -> dict[tuple[str, str], float]:
    return {(a, b): ms for a, b, ms in found.edges.select("caller", "callee", "added_ms").iter_rows()}


def test_edges_and_own_work_add_what_is_significant_only() -> None:
    """What could be chance adds nothing, however large."""
    found = made()
    assert added(found) == {
        ("web", "a.cart"): 0.0, ("a.cart", "a.price"): 2.0, ("a.price", "postgresql/prices"): -2.0,
        ("web", "b.mail"): 0.0,
    }  # fmt: skip
    own = dict(found.nodes.select("id", "own_added_ms").iter_rows())
    assert own.pop("a.price") == 2.0
    assert set(own.values()) == {0.0}


def test_colours_follow_the_part_of_the_mean() -> None:
    """Over 5 %, over 1 %, any, none, less."""
    assert [ink_of(part) for part in (0.06, 0.05, 0.011, 0.01, 0.001, 0.0, -0.001)] == [
        "up3", "up2", "up2", "up1", "up1", "flat", "down",
    ]  # fmt: skip
    found = made()
    inks = {
        (row["caller"], row["callee"]): ink(row, Look(), compared=True)
        for row in found.edges.iter_rows(named=True)
    }
    assert inks["a.cart", "a.price"] == "up3"
    assert inks["a.price", "postgresql/prices"] == "down"
    assert inks["web", "b.mail"] == "flat"


def test_every_export_carries_the_colour() -> None:
    """Where nothing changed there is none."""
    found, red, blue = made(), color_of("up3"), color_of("down")
    rows = found.edges.rows(named=True)
    assert sorted(growth_color(found, row) for row in rows) == ["", "", *sorted((blue, red))]
    for text in (as_dot(found), as_mermaid(found), as_graphml(found), as_structurizr(found)):
        assert red in text
        assert blue in text
    colors = [each["data"].get("color") for each in as_cytoscape(found)["elements"]["edges"]]
    assert sorted(filter(None, colors)) == sorted((red, blue))
    drawn = draw(found, arrange(found))
    assert "+2.00 ms" in drawn
    assert 'class="ts-tint ts-up3"' in drawn


def test_a_collapsed_box_tells_what_is_inside_and_how_much_of_it_grows() -> None:
    """Two services and the database of one: a growing edge between them, and a growing service."""
    found = collapsed(made(), ["a"])
    box = found.nodes.filter(id="a").row(0, named=True)
    assert (box["inside"], box["growing"], box["own_added_ms"]) == (3, 2, 2.0)
    assert found.nodes.filter(id="web").row(0, named=True)["inside"] == 0
    drawn = draw(found, arrange(found))
    assert "▲2" in drawn
    assert "3 nodes inside, 2 of its edges grow" in drawn
