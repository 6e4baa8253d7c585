"""Backbones of large graphs: strong edges with the way to them, in as few nodes as asked for."""

from __future__ import annotations

import random
from itertools import pairwise

import networkx as nx
import polars as pl
import pytest
from flows import rollups

from tracescope.analysis.topology.backbone import backbone, collapsed, expanded, heaviest_ways
from tracescope.analysis.topology.graph import Graph, graph

SHOP = """
request web POST /buy: 10 units, 1000 ms
  http web -> a.cart [x]: 10 calls, 10 own, 700 inclusive
    http a.cart -> a.price [x]: 20 calls, 20 own, 300 inclusive, 4 errors
      db a.price -> postgresql/prices [SELECT p]: 20 calls, 280 own
    db a.cart -> redis/carts [GET c]: 10 calls, 100 own
  http web -> b.mail [x]: 10 calls, 10 own, 60 inclusive
    http b.mail -> a.price [x]: 5 calls, 5 own
"""


def large(services: int = 200, seed: int = 7) -> Graph:
    """A tree of services with some more calls; shares fall steeply, three changed."""
    rng = random.Random(seed)
    names = [f"s{at:03d}" for at in range(services)]
    pairs = {(names[rng.randrange(at)], names[at]) for at in range(1, services)}
    pairs |= {(a, b) for a, b in (sorted(rng.sample(names, 2)) for _ in range(services // 2))}
    weights = {pair: rng.paretovariate(1.1) for pair in sorted(pairs)}
    total = 2 * sum(weights.values())
    changed = set(rng.sample(sorted(pairs), 3))
    rows = [
        {
            "kind": "http", "caller": a, "callee": b, "operation": None, "uninstrumented": False,
            "unit": "request",
            "share": w / total, "share_base": 0.0 if (a, b) in changed else w / total, "calls": 1,
            "inclusive_share": w / total, "inclusive_share_base": w / total,
            "change": w / total if (a, b) in changed else 0.0, "state": "both",
        }
        for (a, b), w in weights.items()
    ]  # fmt: skip
    nodes = pl.DataFrame({
        "id": names, "name": names, "type": ["service"] * services, "namespace": [""] * services,
        "entry": [name == "s000" for name in names], "units": [0] * services, "calls": [1] * services,
        "share": [0.0] * services, "share_base": [0.0] * services,
    })  # fmt: skip
    return Graph("dependency", "", 0, 0, nodes, pl.DataFrame(rows), (0, 0))


def test_a_small_graph_is_its_own_backbone() -> None:
    made = graph(rollups(SHOP), "dependency")
    assert backbone(made) is made


@pytest.mark.parametrize("limit", [25, 60])
def test_a_backbone_keeps_what_changed_most_and_what_is_strongest(limit: int) -> None:
    """At most so many nodes; the strongest changes and shares are among them."""
    whole = large()
    made = backbone(whole, limit)
    assert len(made.nodes) <= limit
    kept = set(made.edges.select("caller", "callee").iter_rows())
    by_change = whole.edges.sort("change", descending=True).select("caller", "callee").row(0)
    by_share = whole.edges.sort("share", descending=True).select("caller", "callee").row(0)
    assert {by_change, by_share} <= kept
    ids = set(made.nodes["id"])
    assert all(a in ids and b in ids for a, b in kept)


def test_every_edge_of_a_backbone_can_be_reached_from_an_entry() -> None:
    made = backbone(large(), 40)
    found = nx.DiGraph(made.edges.select("caller", "callee").rows())
    assert set(found) == {"s000"} | nx.descendants(found, "s000")


def test_the_heaviest_way_is_the_one_whose_lightest_edge_is_heaviest() -> None:
    """The same as the best of all simple ways, tried one by one."""
    whole = large(14, seed=3)
    view = nx.DiGraph()
    for edge in whole.edges.iter_rows(named=True):
        view.add_edge(edge["caller"], edge["callee"], carried=edge["inclusive_share"])
    ways = heaviest_ways(whole)

    def narrowest(way: tuple[str, ...] | list[str]) -> float:
        return min((view.edges[a, b]["carried"] for a, b in pairwise(way)), default=1.0)

    for name in view:
        if name != "s000":
            best = max(narrowest(way) for way in nx.all_simple_paths(view, "s000", name))
            assert ways[name][0] == "s000"
            assert ways[name][-1] == name
            assert narrowest(ways[name]) == pytest.approx(best)


def test_expanding_adds_what_is_near_in_both_directions() -> None:
    whole = large()
    shown = backbone(whole, 10)
    node = shown.nodes["id"][-1]
    more = expanded(whole, shown, node, hops=1)
    near = nx.Graph(whole.edges.select("caller", "callee").rows())[node]
    assert set(more.nodes["id"]) == set(shown.nodes["id"]) | set(near)
    assert len(expanded(whole, shown, node, hops=2).nodes) >= len(more.nodes)


def test_a_namespace_becomes_one_node_and_its_edges_add_up() -> None:
    whole = graph(rollups(SHOP), "dependency", base=rollups(SHOP))
    made = collapsed(whole)
    assert dict(made.nodes.select("id", "type").iter_rows()) == {
        "web": "service",
        "a": "namespace",
        "b": "namespace",
    }
    edges = {(e["caller"], e["callee"], e["kind"]): e for e in made.edges.iter_rows(named=True)}
    assert set(edges) == {("web", "a", "http"), ("web", "b", "http"), ("b", "a", "http")}
    assert edges["b", "a", "http"]["calls"] == 5
    assert set(edges["web", "a", "http"]) == set(whole.edges.columns)


def test_only_the_namespaces_asked_for_are_collapsed() -> None:
    """Calls of two services in it to the same third become one edge; errors add up, means are weighted."""
    whole = graph(rollups(SHOP), "dependency", namespaces={"a.cart": "x", "b.mail": "x"})
    made = collapsed(whole, ["x"])
    price = made.edges.filter(callee="a.price").row(0, named=True)
    assert (price["caller"], price["calls"], price["errors"]) == ("x", 25, 4)
    assert price["mean_ms"] == pytest.approx((20 * 15 + 5 * 1) / 25)
    assert price["share"] == pytest.approx(0.025)
    assert made.edges.filter(callee="x")["calls"].item() == 20
