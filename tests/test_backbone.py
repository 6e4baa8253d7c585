"""Backbones of large graphs: strong edges with the way to them, in as few nodes as asked for."""

from __future__ import annotations

import random
from dataclasses import replace
from itertools import pairwise

import networkx as nx
import polars as pl
import pytest
from answered import grown
from flows import rollups

from tracescope.analysis.report import Edge
from tracescope.analysis.topology.backbone import backbone, collapsed, expanded, heaviest_ways
from tracescope.analysis.topology.graph import Graph, graph, judged

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


# -- by a few edges ---------------------------------------------------------------------------------


def small(
    *edges: tuple[str, str, float, float, float], entries: str = "a", base: bool = True, **more: object
) -> Graph:
    """Caller, callee, share in base and head, and the inclusive share of both."""
    names = sorted({name for caller, callee, *_ in edges for name in (caller, callee)})
    rows = [
        {"caller": a, "callee": b, "share": now, "inclusive_share": inclusive, "change": now - before,
         "share_base": before, "inclusive_share_base": 0.0, **more}
        for a, b, before, now, inclusive in edges
    ]  # fmt: skip
    frame = pl.DataFrame(rows)
    if not base:
        frame = frame.drop("change", "share_base", "inclusive_share_base")
    nodes = pl.DataFrame({"id": names, "entry": [name in entries for name in names]})
    return Graph("dependency", "", 0, 0, nodes, frame, (0, 0) if base else None)


def shown(made: Graph, limit: int) -> list[str]:
    return backbone(made, limit).nodes["id"].to_list()


def test_changes_and_shares_take_turns_until_the_limit_and_what_does_not_fit_is_passed_over() -> None:
    """The largest change first, up or down; each with the way to it."""
    made = small(
        ("a", "b", 0.30, 0.30, 0.9), ("a", "c", 0.01, 0.05, 0.1), ("a", "d", 0.10, 0.02, 0.1),
        ("b", "e", 0.05, 0.05, 0.2), ("e", "f", 0.20, 0.21, 0.2),
    )  # fmt: skip
    assert shown(made, 2) == ["a", "d"]
    assert shown(made, 3) == ["a", "b", "d"]
    assert shown(made, 4) == ["a", "b", "c", "d"]
    assert shown(made, 5) == ["a", "b", "c", "d", "e"]  # what leads to f does not fit beside these
    assert shown(made, 6) == ["a", "b", "c", "d", "e", "f"]
    assert backbone(made, 6) is made
    assert backbone(made, 5).edges.select("caller", "callee").rows() == [
        ("a", "b"),
        ("a", "c"),
        ("a", "d"),
        ("b", "e"),
    ]


def test_an_edge_that_was_strong_before_is_strong() -> None:
    """Of one period alone shares decide."""
    made = small(("a", "b", 0.50, 0.50, 0.5), ("a", "c", 0.60, 0.60, 0.5), ("a", "d", 0.2, 0.9, 0.5))
    assert shown(made, 3) == ["a", "c", "d"]
    gone = small(("a", "b", 0.50, 0.50, 0.5), ("a", "c", 0.9, 0.3, 0.5), ("a", "d", 0.55, 0.54, 0.5))
    assert shown(gone, 3) == ["a", "c", "d"]
    alone = small(
        ("a", "b", 0.0, 0.50, 0.5), ("a", "c", 0.0, 0.4, 0.5), ("a", "d", 0.0, 0.6, 0.5), base=False
    )
    assert shown(alone, 3) == ["a", "b", "d"]


def test_the_first_edge_is_shown_whatever_its_way_takes() -> None:
    made = small(("a", "b", 0.0, 0.1, 0.9), ("b", "c", 0.0, 0.1, 0.9), ("c", "d", 0.0, 0.8, 0.9))
    assert shown(made, 2) == ["a", "b", "c", "d"]


def test_of_ways_that_carry_as_much_the_shortest_is_told_and_entries_are_where_ways_begin() -> None:
    """Or nodes that nobody calls; by what either period carried."""
    made = small(
        ("a", "b", 0.0, 0.1, 0.5), ("b", "d", 0.0, 0.1, 0.5), ("a", "c", 0.0, 0.1, 0.5),
        ("c", "e", 0.0, 0.1, 0.5),
        ("e", "d", 0.0, 0.1, 0.9), ("x", "d", 0.0, 0.1, 0.2), ("b", "y", 0.0, 0.1, 0.1),
        ("y", "b", 0.0, 0.1, 0.1),
    )  # fmt: skip
    ways = heaviest_ways(made)
    assert ways["d"] == ("a", "b", "d")
    assert ways["x"] == ("x",)
    assert heaviest_ways(small(("a", "b", 0.0, 0.1, 0.5), ("b", "a", 0.0, 0.1, 0.5), entries="b")) == {
        "b": ("b",), "a": ("b", "a"),
    }  # fmt: skip
    other = pl.col("caller").is_in(["c", "e"]) | (pl.col("callee") == "c")
    carried = pl.when(other).then(0.8).otherwise(0.0)
    before = replace(made, edges=made.edges.with_columns(inclusive_share_base=carried))
    assert heaviest_ways(before)["d"] == ("a", "c", "e", "d")


def test_expanding_by_no_hop_shows_the_node_itself() -> None:
    """One by default; against the direction of calls as well."""
    whole = small(("a", "b", 0, 0, 0), ("b", "c", 0, 0, 0), ("c", "d", 0, 0, 0), ("d", "e", 0, 0, 0))
    nothing = whole.kept(whole.edges.clear())
    for hops, ids in ((0, "c"), (1, "bcd"), (2, "abcde")):
        assert expanded(whole, nothing, "c", hops).nodes["id"].to_list() == list(ids)
    assert expanded(whole, nothing, "c").nodes["id"].to_list() == list("bcd")


JUDGED = """
request web POST /buy: 10 units, 1000 ms
  self web -> (itself) [x]: 10 calls, 100 own
  http web -> a.cart [x]: 10 calls, 10 own, 700 inclusive
    self a.cart -> (itself) [x]: 10 calls, 100 own
    http a.cart -> a.price [x]: 20 calls, 20 own, 300 inclusive, 4 errors
    rpc a.cart -> a.price [y]: 10 calls, 40 own, 200 inclusive, 1 errors
    http a.cart -> b [z]: 10 calls, 30 own, 50 inclusive
    http a.cart -> b [w]: 10 calls, 10 own, 80 inclusive
"""


def growing(kind: str, caller: str, callee: str | None, ms: float) -> Edge:
    return replace(
        grown(f"{caller} -> {callee}" if callee else caller, "latency_growth", kind=kind), credited_ms=ms
    )


def test_a_namespace_counts_what_grows_in_it() -> None:
    """Edges between its own nodes, and services by themselves; not what leads into it, or got faster."""
    whole = graph(rollups(JUDGED), "dependency", base=rollups(JUDGED), namespaces={"b": "b"})
    changes = [
        growing("http", "a.cart", "a.price", 3.0), growing("rpc", "a.cart", "a.price", -1.0),
        growing("http", "web", "a.cart", 2.0), growing("self", "a.cart", None, 0.5),
        growing("self", "web", None, 4.0),
    ]  # fmt: skip
    made = collapsed(judged(whole, changes, {"request": 100.0}))
    rows = {row["id"]: row for row in made.nodes.iter_rows(named=True)}
    assert {name: (row["inside"], row["growing"]) for name, row in rows.items()} == {
        "a": (2, 2), "b": (1, 0), "web": (0, 1),
    }  # fmt: skip
    assert rows["a"]["share"] == pytest.approx(0.1)
    assert rows["a"]["own_added_ms"] == pytest.approx(0.5)
    assert (rows["a"]["name"], rows["a"]["entry"], rows["web"]["entry"]) == ("a", False, True)
    edges = {(e["caller"], e["callee"]): e for e in made.edges.iter_rows(named=True)}
    assert set(edges) == {("web", "a"), ("a", "b")}
    assert (edges["web", "a"]["significant"], edges["web", "a"]["added_ms"]) == (True, 2.0)
    assert not edges["a", "b"]["significant"]
    assert made.edges["caller"].to_list() == ["web", "a"]  # by inclusive time
    plain = collapsed(whole).nodes
    assert plain["growing"].to_list() == [0, 0, 0]


def test_a_collapsed_edge_adds_up_what_adds_up_and_has_the_largest_of_what_overlaps() -> None:
    """Quantiles have no sum; a state that differs is of both."""
    tables = rollups(JUDGED)
    whole = graph(tables, "operation", base=rollups(JUDGED.replace("[w]", "[v]")), namespaces={"b": "b"})
    made = collapsed(whole, ["a"])
    edge = made.edges.filter(caller="a").row(0, named=True)
    assert (edge["callee"], edge["operation"], edge["calls"], edge["calls_base"]) == ("b", None, 20, 20)
    assert (edge["own_ms"], edge["inclusive_ms"]) == pytest.approx((4.0, 8.0))
    assert (edge["share"], edge["inclusive_share"]) == pytest.approx((0.04, 0.08))
    assert (edge["p50_ms"], edge["p99_ms"], edge["p95_ms_base"]) == (None, None, None)
    assert edge["state"] == "both"
    assert edge["change"] == pytest.approx(0.0)
    assert made.edges.filter(callee="a")["state"].to_list() == ["both"]
    new = collapsed(graph(tables, "operation", base=rollups(SHOP), namespaces={"b": "b"}), ["a"])
    assert new.edges.filter(callee="b")["state"].to_list() == ["new"]


def test_a_namespace_named_like_a_node_outside_of_it_is_told_apart() -> None:
    text = JUDGED.replace("web", "a")
    made = collapsed(graph(rollups(text), "dependency", namespaces={"b": ""}), ["a"])
    assert {"a", "a (namespace)"} <= set(made.nodes["id"])
