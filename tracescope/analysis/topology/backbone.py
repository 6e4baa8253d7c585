"""The part of a large graph that is worth seeing first, and how to see more or less of it.

    all 300 nodes ─► backbone: strongest edges, each with the heaviest way to it from an entry
                       ├─ expanded: so many hops more around a node
                       └─ collapsed: a namespace as one node

Above about 60 boxes a drawing answers no question.  The backbone keeps those that do: edges whose
share changed most, and those with the largest share, alternating, until the limit is reached.
"""

from __future__ import annotations

import heapq
from collections.abc import Collection, Iterable
from dataclasses import replace
from typing import Any, Final

import polars as pl

from tracescope.analysis.topology.graph import COMPARED, Graph

#: Nodes above which a drawing starts with the backbone.
LARGEST: Final = 60
#: Sums over the edges that a collapsed edge stands for; the rest of `COMPARED` has no sum.
_ADDED: Final = ("own_added_ms", "own_added_part")
_ADDITIVE: Final = ("calls", "sampled_calls", "errors", "calls_per_unit", "share", "own_ms")


def backbone(graph: Graph, limit: int = LARGEST) -> Graph:
    """The graph itself when it has at most `limit` nodes, else its backbone of about as many."""
    if len(graph.nodes) <= limit:
        return graph
    return _among(graph, _chosen(graph, limit))


def expanded(whole: Graph, shown: Graph, node: str, hops: int = 1) -> Graph:
    """`shown` and all of `whole` that lies within `hops` edges of `node`, whatever their direction."""
    near = {node}
    edges = whole.edges.select("caller", "callee").rows()
    for _ in range(hops):
        near |= {b for a, b in edges if a in near} | {a for a, b in edges if b in near}
    return _among(whole, near | set(shown.nodes["id"].to_list()))


def collapsed(graph: Graph, namespaces: Iterable[str] | None = None) -> Graph:
    """Each of `namespaces` (all that have a name, by default) as one node.

    Edges between the same two ends and of one kind become one: calls, own time and shares add up;
    inclusive time, which overlaps, is the largest of them; quantiles, which do not add, are null.
    Nodes get ``inside``, how many nodes each stands for, and where the graph is judged ``growing``, how
    many edges and services in it take significantly more time; 0 for what is one node.
    """
    graph = _counted(graph)
    wanted = set(graph.nodes["namespace"].to_list()) - {""} if namespaces is None else set(namespaces)
    ids = dict(graph.nodes.select("id", "namespace").iter_rows())
    plain = set(graph.nodes.filter(~pl.col("namespace").is_in(sorted(wanted)))["id"].to_list())
    box = {space: f"{space} (namespace)" if space in plain else space for space in wanted}
    moved = {name: box[space] if space in wanted else name for name, space in ids.items()}
    inside = pl.col("namespace").is_in(sorted(wanted))
    shares = [name for name in ("share", "share_base") if name in graph.nodes.columns]
    merged = (
        graph.nodes.filter(inside)
        .group_by("namespace")
        .agg(
            pl.col("namespace").first().alias("name"),
            pl.lit("namespace").alias("type"),
            pl.col("entry").any(),
            pl.col("units", "calls").sum(),
            pl.col(shares).filter(pl.col("type") == "service").sum(),
            *[pl.col(name).sum() for name in _ADDED if name in graph.nodes.columns],
            pl.len().cast(pl.Int64).alias("inside"),
            pl.col("growing").sum(),
        )
        .with_columns(pl.col("namespace").replace_strict(box, return_dtype=pl.String).alias("id"))
        .select(graph.nodes.columns)
    )
    nodes = pl.concat([graph.nodes.filter(~inside), merged]).sort("id")
    return replace(graph, nodes=nodes, edges=_merged(graph, moved))


def _counted(graph: Graph) -> Graph:
    """A graph whose nodes carry ``inside`` and, for the namespaces they are in, ``growing``."""
    space = dict(graph.nodes.select("id", "namespace").iter_rows())
    growing = dict.fromkeys(space, 0)
    if "added_ms" in graph.edges.columns:
        for caller, callee, added in graph.edges.select("caller", "callee", "added_ms").iter_rows():
            if added > 0 and space[caller] and space[caller] == space[callee]:
                growing[caller] += 1
    if "own_added_ms" in graph.nodes.columns:
        for name, added in graph.nodes.select("id", "own_added_ms").iter_rows():
            growing[name] += added > 0
    counts = [growing[name] for name in graph.nodes["id"].to_list()]
    return replace(
        graph,
        nodes=graph.nodes.with_columns(
            pl.lit(0, pl.Int64).alias("inside"), pl.Series("growing", counts, pl.Int64)
        ),
    )


def _merged(graph: Graph, moved: dict[str, str]) -> pl.DataFrame:
    suffixes = ("", "_base") if graph.base is not None else ("",)
    names = [f"{name}{suffix}" for suffix in suffixes for name in COMPARED if name != "mean_ms"]
    added = [name for name in names if name.removesuffix("_base") in _ADDITIVE]
    largest = [name for name in names if name.removesuffix("_base") in ("inclusive_share", "inclusive_ms")]
    edges = graph.edges.with_columns(
        pl.col("caller", "callee").replace_strict(moved, return_dtype=pl.String)
    ).filter(pl.col("caller") != pl.col("callee"))
    busy = [
        (pl.col(f"mean_ms{s}") * pl.col(f"calls{s}")).sum() / pl.col(f"calls{s}").sum().clip(1)
        for s in suffixes
    ]
    grouped = edges.group_by("kind", "caller", "callee", maintain_order=True).agg(
        pl.lit(None, pl.String).alias("operation"),
        pl.col("uninstrumented").all(),
        pl.col("unit").first(),
        pl.col(added).sum(),
        pl.col(largest).max(),
        *(each.alias(f"mean_ms{suffix}") for each, suffix in zip(busy, suffixes, strict=True)),
        *(pl.lit(None, pl.Float64).alias(name) for name in names if name not in (*added, *largest)),
        *([_state(), pl.col("change").sum()] if graph.base is not None else []),
        *([pl.col("significant").any()] if "significant" in edges.columns else []),
        *[pl.col(name).sum() for name in ("added_ms", "added_part") if name in edges.columns],
    )
    order = ["inclusive_ms", "caller", "callee", "kind"]
    return grouped.select(graph.edges.columns).sort(order, descending=[True, False, False, False])


def _state() -> pl.Expr:
    same = pl.col("state").n_unique() == 1
    return pl.when(same).then(pl.col("state").first()).otherwise(pl.lit("both")).alias("state")


def _among(graph: Graph, names: Collection[str]) -> Graph:
    """The nodes of these names and all edges between them."""
    kept = sorted(names)
    edges = graph.edges.filter(pl.col("caller").is_in(kept) & pl.col("callee").is_in(kept))
    nodes = graph.nodes.filter(pl.col("id").is_in(kept))
    return replace(graph, nodes=nodes, edges=edges)


def _chosen(graph: Graph, limit: int) -> set[str]:
    """Nodes of the backbone."""
    edges = graph.edges.rows(named=True)
    by_share = sorted(range(len(edges)), key=lambda at: (-_strength(edges[at]), at))
    by_change = sorted(by_share, key=lambda at: -abs(edges[at].get("change", 0.0)))
    if graph.base is None:
        by_change = by_share
    ways = heaviest_ways(graph)
    chosen: set[str] = set()
    for pair in zip(by_change, by_share, strict=True):
        for at in pair:
            more = {edges[at]["caller"], edges[at]["callee"], *ways.get(edges[at]["caller"], ())}
            if len(chosen | more) > limit and chosen:
                continue
            chosen |= more
        if len(chosen) >= limit:
            break
    return chosen


def _strength(edge: dict[str, Any]) -> float:
    return max(edge["share"], edge.get("share_base", 0.0))


def heaviest_ways(graph: Graph) -> dict[str, tuple[str, ...]]:
    """For each node that entries reach, the nodes of the way to it that carries most, entry first.

    Of all ways the one whose lightest edge (by inclusive share) is heaviest; of equals the shortest.
    """
    below: dict[str, list[tuple[float, str]]] = {}
    called: set[str] = set()
    for edge in graph.edges.iter_rows(named=True):
        carried = max(edge["inclusive_share"], edge.get("inclusive_share_base", 0.0))
        below.setdefault(edge["caller"], []).append((carried, edge["callee"]))
        called.add(edge["callee"])
    starts = graph.nodes.filter(pl.col("entry") | ~pl.col("id").is_in(sorted(called)))["id"].to_list()
    found: dict[str, tuple[str, ...]] = {}
    heap: list[tuple[float, int, str, tuple[str, ...]]] = [
        (-1.0, 0, name, (name,)) for name in sorted(starts)
    ]
    heapq.heapify(heap)
    while heap:
        narrow, hops, name, way = heapq.heappop(heap)
        if name in found:
            continue
        found[name] = way
        for carried, callee in below.get(name, []):
            if callee not in found:
                heapq.heappush(heap, (max(narrow, -carried), hops + 1, callee, (*way, callee)))
    return found
