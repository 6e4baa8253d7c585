"""Dependency graphs of a period: who calls whom, how often, and for how much of the clock.

    service      services that send spans, one edge for each (kind, caller, callee); a queue becomes an
                 edge from its producers to its consumers
    dependency   all that they lean on as well: databases, queues, systems that send no spans
    operation    the same with one edge for each (kind, caller, callee, operation)

networkx is a view made at the edge (`Graph.view`); inside, a graph is two frames.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

import polars as pl

from tracescope import schema

if TYPE_CHECKING:
    import networkx as nx

Level = Literal["service", "dependency", "operation"]
LEVELS: Final[tuple[Level, ...]] = ("service", "dependency", "operation")

_NODE_TYPES: Final = {"db": "database", "queue": "queue", "external": "external"}
_MEASURES: Final = ("calls", "errors", "own_ns", "inclusive_ns", "busy_ns")


@dataclass(frozen=True, slots=True)
class Graph:
    """Nodes and edges of a period.

    Attributes
    ----------
    level, environment, start_ns, end_ns
        What it shows.
    nodes
        ``id, type``: type is service, database, queue or external.
    edges
        ``kind, caller, callee, operation, uninstrumented, calls, errors, unit, share, own_ms,
        inclusive_ms, mean_ms``, most critical time first; ``operation`` is null but at the
        operation level.  ``unit`` is the kind of unit of work that most of the calls serve;
        ``share`` is the part of its critical time that the edge's own segments take, ``own_ms`` and
        ``inclusive_ms`` are per unit, ``mean_ms`` is per call.
    """

    level: Level
    environment: str
    start_ns: int
    end_ns: int
    nodes: pl.DataFrame
    edges: pl.DataFrame

    def view(self) -> nx.MultiDiGraph[str]:
        """The same as a networkx multigraph, edges keyed by kind and operation."""
        import networkx as nx

        graph: nx.MultiDiGraph[str] = nx.MultiDiGraph(level=self.level, environment=self.environment)
        for name, kind in self.nodes.iter_rows():
            graph.add_node(name, type=kind)
        for row in self.edges.iter_rows(named=True):
            rest = {key: value for key, value in row.items() if key not in ("caller", "callee")}
            graph.add_edge(row["caller"], row["callee"], key=(row["kind"], row["operation"]), **rest)
        return graph


def graph(
    tables: Mapping[str, pl.DataFrame],
    level: Level,
    *,
    environment: str = "",
    start_ns: int = 0,
    end_ns: int = 0,
) -> Graph:
    """The graph of some rollups.

    Parameters
    ----------
    tables
        ``path_hours``, ``entry_hours`` and ``paths``.
    level
        One of `LEVELS`.
    environment, start_ns, end_ns
        What the rollups are of; carried along.
    """
    sums = tables["path_hours"].group_by("path_id", "unit").agg(pl.col(_MEASURES).sum())
    names = ["kind", "caller", "callee", "operation"]
    rows = (
        sums.join(tables["paths"].select("path_id", *names, "uninstrumented"), on="path_id")
        .filter(pl.col("callee").is_not_null())
        .group_by(*names, "unit")
        .agg(pl.col("uninstrumented").all(), pl.col(_MEASURES).sum())
        .with_columns(
            pl.col("kind").replace_strict(dict(enumerate(schema.EDGE_KINDS)), return_dtype=pl.String)
        )
    )
    nodes = _nodes(rows, tables["paths"])
    if level == "service":
        rows, nodes = _services_only(rows, nodes)
    if level != "operation":
        rows = rows.with_columns(pl.lit(None, pl.String).alias("operation"))
    totals = tables["entry_hours"].group_by("unit").agg(pl.col("units").sum(), pl.col("clock_ns").sum())
    named = dict(enumerate(schema.UNIT_NAMES))
    edges = (
        rows.group_by(*names, "unit")
        .agg(pl.col("uninstrumented").all(), pl.col(_MEASURES).sum())
        .join(totals, on="unit", how="left")
        .with_columns(
            (pl.col("own_ns") / pl.col("clock_ns").clip(1)).alias("share"),
            (pl.col("own_ns") / pl.col("units").clip(1) / 1e6).alias("own_ms"),
            (pl.col("inclusive_ns") / pl.col("units").clip(1) / 1e6).alias("inclusive_ms"),
            pl.col("unit").replace_strict(named, return_dtype=pl.String),
        )
        .sort("calls", "unit", descending=[True, False])
        .group_by(names, maintain_order=True)
        .agg(
            pl.col("uninstrumented").all(),
            pl.col("calls", "errors").sum(),
            pl.col("unit", "share", "own_ms", "inclusive_ms").first(),
            (pl.col("busy_ns").sum() / pl.col("calls").sum().clip(1) / 1e6).alias("mean_ms"),
        )
    )
    order = ["inclusive_ms", "caller", "callee", "kind", "operation"]
    edges = edges.sort(order, descending=[True, *[False] * 4])
    return Graph(level, environment, start_ns, end_ns, nodes.sort("id"), edges)


def _nodes(rows: pl.DataFrame, paths: pl.DataFrame) -> pl.DataFrame:
    """Every end of an edge, and services that only work for themselves, with its type."""
    kinds: dict[str, str] = {}
    ends = ["kind", "caller", "callee", "uninstrumented"]
    wait = (pl.col("kind") == "queue") & (pl.col("operation") == schema.QUEUE_WAIT)
    for kind, caller, callee, uninstrumented, waits in rows.select(*ends, wait.alias("waits")).iter_rows():
        kinds[caller] = "queue" if waits else "service"
        if waits:
            kinds.setdefault(callee, "service")
        elif kind in _NODE_TYPES:
            kinds.setdefault(callee, _NODE_TYPES[kind])
        else:
            kinds.setdefault(callee, "external" if uninstrumented else "service")
    for caller in paths.filter(pl.col("callee").is_null())["caller"].unique().to_list():
        kinds[caller] = "service"  # it has spans of its own
    types = {"id": pl.String, "type": pl.String}
    return pl.DataFrame({"id": list(kinds), "type": list(kinds.values())}, schema=types)


def _services_only(rows: pl.DataFrame, nodes: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Contract queues and leave out what sends no spans."""
    services = nodes.filter(pl.col("type") == "service")
    direct = rows.filter(pl.col("kind") != "queue").join(
        services.select(callee="id"), on="callee", how="semi"
    )
    waits = rows.filter((pl.col("kind") == "queue") & (pl.col("operation") == schema.QUEUE_WAIT))
    sends = rows.filter((pl.col("kind") == "queue") & (pl.col("operation") != schema.QUEUE_WAIT))
    hops = sends.select(producer="caller", topic="callee", sent="calls").join(
        waits, left_on="topic", right_on="caller"
    )
    total = pl.col("sent").sum().over("topic", "callee")
    hops = hops.with_columns(pl.col(_MEASURES) * pl.col("sent") / total).with_columns(
        pl.col(_MEASURES).round().cast(pl.Int64), caller="producer"
    )
    return pl.concat([direct, hops.select(direct.columns)]), services


def as_dot(shown: Graph) -> str:
    """Graphviz source; line width follows the share of the clock."""
    shapes = {"service": "box", "database": "cylinder", "queue": "cds", "external": "ellipse"}

    def quoted(text: str) -> str:
        return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'

    lines = ["digraph tracescope {", "  rankdir=LR;", '  node [fontname="sans-serif"];']
    lines += [f"  {quoted(name)} [shape={shapes[kind]}];" for name, kind in shown.nodes.iter_rows()]
    for edge in shown.edges.iter_rows(named=True):
        label = f"{edge['operation']}\n" if edge["operation"] else ""
        text = quoted(f"{label}{edge['calls']} calls, {edge['mean_ms']:.3g} ms")
        style = ", style=dashed" if edge["kind"] == "queue" else ""
        lines.append(
            f"  {quoted(edge['caller'])} -> {quoted(edge['callee'])} "
            f"[label={text}, penwidth={1 + 6 * edge['share']:.2f}{style}];"
        )
    return "\n".join([*lines, "}"]) + "\n"
