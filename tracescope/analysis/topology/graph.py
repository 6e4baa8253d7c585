"""Dependency graphs of a period: who calls whom, how often, and for how much of the clock.

    service      services that send spans, one edge for each (kind, caller, callee); a queue becomes an
                 edge from its producers to its consumers
    dependency   all that they lean on as well: databases, queues, systems that send no spans
    operation    the same with one edge for each (kind, caller, callee, operation)

    path rollups ─► flows (one row a call path) ─► assigned to edges of a level ─► Graph
                                                        base ─► the same ─► joined: change

networkx is a view made at the edge (`Graph.view`); inside, a graph is two frames.  With a base the
frames hold the union of both periods, so that a layout of them fits base, head and change.

Source: design, sections 2 (shares) and 8 (the JSON shape).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final, Literal

import polars as pl

from tracescope import schema
from tracescope.analysis.rollups.flows import (
    MEASURES,
    Selection,
    Tables,
    clocks,
    flows,
    kept_entries,
    nested,
    services_of,
    weight,
)
from tracescope.analysis.statistics.sketch import midpoint_of

if TYPE_CHECKING:
    import networkx as nx

    from tracescope.analysis.report import Edge

Level = Literal["service", "dependency", "operation"]
LEVELS: Final[tuple[Level, ...]] = ("service", "dependency", "operation")
NODE_TYPES: Final = ("service", "database", "queue", "external")
QUANTILES: Final = {"p50_ms": 0.5, "p95_ms": 0.95, "p99_ms": 0.99}
#: Rollups that `graph` reads; without ``path_sketches`` there are no quantiles.
TABLES: Final = ("path_hours", "entry_hours", "path_sketches")

_ENDS: Final = ["caller_type", "caller", "callee_type", "callee"]
_EDGE: Final = ["kind", *_ENDS, "operation"]
_COUNTS: Final = ("calls", "sampled_calls", "errors")
#: What compared graphs carry twice, the base's with ``_base`` behind.
COMPARED: Final = (
    "calls", "sampled_calls", "calls_per_unit", "errors", "share", "inclusive_share", "own_ms",
    "inclusive_ms", "mean_ms", *QUANTILES,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Graph:
    """Nodes and edges of a period, or of the union of two.

    Attributes
    ----------
    level, environment, start_ns, end_ns
        What it shows.
    nodes
        ``id, name, type, namespace, entry, units, calls, share``, by id.  ``id`` is the name, but
        where a queue, say, and a service share one.  ``type`` is one of `NODE_TYPES`; ``units`` are
        the units of work that start here; ``share`` is a service's own work, of anything else its
        callers' time in it.
    edges
        ``kind, caller, callee`` (node ids), ``operation`` (null but at the operation level),
        ``uninstrumented, unit, calls, sampled_calls, calls_per_unit, errors, share,
        inclusive_share, own_ms, inclusive_ms, mean_ms, p50_ms, p95_ms, p99_ms``, most critical time
        first.  ``unit`` is the kind of unit of work that most of the calls serve; shares are parts
        of its critical time, ``own`` of the edge's own segments and ``inclusive`` with all below;
        ``own_ms`` and ``inclusive_ms`` are per unit, ``mean_ms`` and the quantiles per call.
        ``calls`` and ``errors`` are weighted by the sampling probability, ``sampled_calls`` are not.
        Where the tables' hours are weighed as the diff's are, so are all of these.
    base
        Bounds of the period it is compared with; then edges carry each of `COMPARED` with ``_base``
        too, ``change`` (of share) and ``state``: both, new or gone; after `judged` ``significant``.
    units
        Units of work by kind, weighted; ``base_units`` the base's.
    notes
        What a reader should know of the periods.
    """

    level: Level
    environment: str
    start_ns: int
    end_ns: int
    nodes: pl.DataFrame
    edges: pl.DataFrame
    base: tuple[int, int] | None = None
    units: Mapping[str, float] = field(default_factory=dict[str, float])
    base_units: Mapping[str, float] = field(default_factory=dict[str, float])
    notes: tuple[str, ...] = ()

    def view(self) -> nx.MultiDiGraph[str]:
        """The same as a networkx multigraph, edges keyed by kind and operation."""
        import networkx as nx

        graph: nx.MultiDiGraph[str] = nx.MultiDiGraph(level=self.level, environment=self.environment)
        for row in self.nodes.iter_rows(named=True):
            graph.add_node(row["id"], **{key: value for key, value in row.items() if key != "id"})
        for row in self.edges.iter_rows(named=True):
            rest = {key: value for key, value in row.items() if key not in ("caller", "callee")}
            graph.add_edge(row["caller"], row["callee"], key=(row["kind"], row["operation"]), **rest)
        return graph

    def kept(self, edges: pl.DataFrame) -> Graph:
        """The same with these of its edges only, and the nodes they join."""
        ends = set(edges["caller"].to_list()) | set(edges["callee"].to_list())
        nodes = self.nodes.filter(pl.col("id").is_in(sorted(ends)))
        return replace(self, nodes=nodes, edges=edges)


def graph(
    tables: Tables,
    level: Level,
    *,
    base: Tables | None = None,
    selection: Selection | None = None,
    namespaces: Mapping[str, str] | None = None,
    environment: str = "",
    start_ns: int = 0,
    end_ns: int = 0,
    base_bounds: tuple[int, int] = (0, 0),
) -> Graph:
    """The graph of some rollups, and how it differs from that of others.

    Parameters
    ----------
    tables, base
        ``entries``, ``paths`` and `TABLES`, of the period and of the one it is compared with.
    level
        One of `LEVELS`.
    selection
        Which part of it; all by default.
    namespaces
        Namespace by service name; `namespace_of` fills in for what is not in it.
    environment, start_ns, end_ns, base_bounds
        What the rollups are of; carried along.
    """
    chosen = selection or Selection()
    known = services_of(tables, base)
    head_edges, head_nodes, units = _side(tables, level, chosen, known)
    edges, nodes, base_units = head_edges, head_nodes, dict[str, float]()
    if base is not None:
        base_edges, base_nodes, base_units = _side(base, level, chosen, known)
        edges = _compared(head_edges, base_edges)
        nodes = _united(head_nodes, base_nodes)
    edges, nodes = _named(edges, nodes, namespaces or {})
    counts = [name for name in edges.columns if name.removesuffix("_base") in _COUNTS]
    edges = edges.with_columns(pl.col(counts).round().cast(pl.Int64))
    nodes = nodes.with_columns(pl.col("units", "calls").round().cast(pl.Int64))
    order = ["inclusive_ms", "caller", "callee", "kind", "operation"]
    made = Graph(
        level, environment, start_ns, end_ns,
        nodes.sort("id"), edges.sort(order, descending=[True, *[False] * 4]),
        base_bounds if base is not None else None, units, base_units,
    )  # fmt: skip
    return _narrowed(made, chosen)


def namespace_of(name: str) -> str:
    """What a service's name says of its namespace: ``shop/cart`` and ``shop.cart`` are of ``shop``."""
    for mark in ("/", "."):
        head, found, _ = name.rpartition(mark)
        if found:
            return head
    return ""


# -- edges of a level -------------------------------------------------------------------------------


def _side(
    tables: Tables, level: Level, selection: Selection, services: frozenset[str]
) -> tuple[pl.DataFrame, pl.DataFrame, dict[str, float]]:
    """Edges, nodes and units of one period, ends still as type and name."""
    rows = flows(tables, selection, services)
    if level != "operation":
        rows = rows.with_columns(
            pl.when(pl.col("kind") == "queue").then(pl.col("operation")).otherwise(None).alias("leg"),
            pl.lit(None, pl.String).alias("operation"),
        )
    else:
        rows = rows.with_columns(pl.col("operation").alias("leg"))
    remote = rows.filter(pl.col("callee").is_not_null())
    remote = remote.with_columns(nested(rows, _EDGE).filter(rows["callee"].is_not_null()))
    remote = _hops(remote) if level == "service" else remote.with_columns(pl.lit(1.0).alias("factor"))
    totals = _totals(tables, selection, rows)
    edges = _edges(remote, totals)
    if "path_sketches" in tables:
        edges = edges.join(
            _quantiles(tables["path_sketches"], remote), on=_EDGE, how="left", nulls_equal=True
        )
    else:
        edges = edges.with_columns(pl.lit(None, pl.Float64).alias(name) for name in QUANTILES)
    nodes = _nodes(rows, remote, edges, totals, tables, level)
    return edges, nodes, dict(totals.select("unit", "units").iter_rows())


def _hops(rows: pl.DataFrame) -> pl.DataFrame:
    """Contract queues to edges from producer to consumer; leave out what sends no spans.

    A consumer's waits are divided over the topic's producers by the messages each one sent.
    """
    direct = rows.filter((pl.col("kind") != "queue") & (pl.col("callee_type") == "service"))
    waits = rows.filter((pl.col("kind") == "queue") & (pl.col("leg") == schema.QUEUE_WAIT))
    routes = rows.filter((pl.col("kind") == "queue") & (pl.col("leg") == schema.QUEUE_ROUTE))
    sends = rows.filter((pl.col("kind") == "queue") & (pl.col("callee_type") == "queue")).join(
        routes, on=["path_id", "unit"], how="anti"
    )
    sent = _carried(sends.group_by("caller", "callee").agg(pl.col("calls").sum()), routes)
    part = (pl.col("calls") / pl.col("calls").sum().over("callee")).alias("factor")
    producers = sent.select(pl.col("caller").alias("producer"), pl.col("callee").alias("topic"), part)
    hops = (
        waits.join(producers, left_on="caller", right_on="topic")
        .with_columns(pl.col("producer").alias("caller"), pl.lit("service").alias("caller_type"))
        .drop("producer")
        .with_columns(pl.col((*MEASURES, "units")) * pl.col("factor"))
    )
    direct = direct.with_columns(pl.lit(1.0).alias("factor"))
    return pl.concat([direct, hops.select(direct.columns)])


def _carried(sent: pl.DataFrame, routes: pl.DataFrame) -> pl.DataFrame:
    """``caller, callee, calls`` of what was sent to topics, and by routes to the queues behind them.

    What a route carries is divided over those who send to where it begins.
    """
    part = (pl.col("calls") / pl.col("calls").sum().over("callee")).alias("part")
    carried = (
        routes.group_by(pl.col("caller").alias("from"), pl.col("callee").alias("queue"))
        .agg(pl.col("calls").sum().alias("hops"))
        .join(sent.select("caller", pl.col("callee").alias("from"), part), on="from")
        .select("caller", pl.col("queue").alias("callee"), (pl.col("hops") * pl.col("part")).alias("calls"))
    )
    return pl.concat([sent, carried]).group_by("caller", "callee").agg(pl.col("calls").sum())


def _totals(tables: Tables, selection: Selection, rows: pl.DataFrame) -> pl.DataFrame:
    """``unit, units, clock_ns`` of the entries that take part."""
    entries = kept_entries(tables, selection)
    if selection.through is not None:
        entries = entries.join(rows, on="entry_id", how="semi")
    return (
        clocks(tables, entries)
        .group_by("unit", maintain_order=True)
        .agg(pl.col("units", "clock_ns").sum())
        .sort("unit")
    )


def _edges(rows: pl.DataFrame, totals: pl.DataFrame) -> pl.DataFrame:
    top = pl.when(pl.col("nested")).then(0.0).otherwise(pl.col("inclusive_ns"))
    clock, units = pl.col("clock_ns").clip(1), pl.col("units").clip(1e-9)
    return (
        rows.with_columns(top.alias("inclusive_ns"))
        .group_by(*_EDGE, "unit", maintain_order=True)
        .agg(pl.col("uninstrumented").all(), pl.col((*MEASURES, "sampled_calls")).sum())
        .join(totals, on="unit", how="left")
        .with_columns(
            (pl.col("own_ns") / clock).alias("share"),
            (pl.col("inclusive_ns") / clock).alias("inclusive_share"),
            (pl.col("own_ns") / units / 1e6).alias("own_ms"),
            (pl.col("inclusive_ns") / units / 1e6).alias("inclusive_ms"),
            (pl.col("calls") / units).alias("calls_per_unit"),
        )
        .sort("calls", "unit", descending=[True, False])
        .group_by(_EDGE, maintain_order=True)
        .agg(
            pl.col("uninstrumented").all(),
            pl.col("unit").first(),
            pl.col("calls", "sampled_calls", "errors").sum(),
            pl.col("calls_per_unit", "share", "inclusive_share", "own_ms", "inclusive_ms").first(),
            (pl.col("busy_ns").sum() / pl.col("calls").sum().clip(1e-9) / 1e6).alias("mean_ms"),
        )
    )


def _quantiles(sketches: pl.DataFrame, rows: pl.DataFrame) -> pl.DataFrame:
    """`_EDGE` and `QUANTILES` of the edges' calls in ms, at most 2.2 % off."""
    where = rows.select("path_id", "unit", "factor", *_EDGE)
    coded = {name: code for code, name in enumerate(schema.UNIT_NAMES)}
    where = where.with_columns(pl.col("unit").replace_strict(coded, return_dtype=pl.Int8))
    binned = (
        sketches.group_by("path_id", "unit", "bin")
        .agg((pl.col("count") * weight()).sum())
        .join(where, on=["path_id", "unit"])
        .group_by(*_EDGE, "bin")
        .agg((pl.col("count") * pl.col("factor")).sum())
        .sort("bin")
    )
    middles = midpoint_of(binned["bin"].to_numpy()) / 1e6
    reached = pl.col("count").cum_sum()
    return (
        binned.with_columns(pl.Series("ms", middles))
        .group_by(_EDGE, maintain_order=True)
        .agg(
            # 1e-9: weighted counts that add up to exactly the quantile must reach it
            pl.col("ms").filter(reached >= q * pl.col("count").sum() * (1 - 1e-9)).first().alias(name)
            for name, q in QUANTILES.items()
        )
    )


def _nodes(
    rows: pl.DataFrame,
    remote: pl.DataFrame,
    edges: pl.DataFrame,
    totals: pl.DataFrame,
    tables: Tables,
    level: Level,
) -> pl.DataFrame:
    """``type, name, entry, units, calls, share`` of every end of an edge and of every working service."""
    ends = [
        remote.select(type="caller_type", name="caller"),
        remote.select(type="callee_type", name="callee"),
        rows.filter(pl.col("caller_type") == "service").select(type="caller_type", name="caller"),
    ]
    found = pl.concat(ends).unique()
    if level == "service":
        found = found.filter(pl.col("type") == "service")
    into = edges.group_by(type="callee_type", name="callee").agg(pl.col("calls", "share").sum())
    own = (
        rows.filter(pl.col("callee").is_null())
        .group_by("caller", "unit")
        .agg(pl.col("own_ns", "calls").sum())
        .join(totals, on="unit", how="left")
        .sort("calls", "unit", descending=[True, False])
        .group_by("caller", maintain_order=True)
        .agg((pl.col("own_ns") / pl.col("clock_ns").clip(1)).first().alias("self_share"))
    )
    starts = (
        tables["entry_hours"]
        .filter(pl.col("unit") == schema.UNIT_REQUEST)
        .group_by("entry_id")
        .agg((pl.col("units") * weight()).sum())
        .join(tables["entries"], on="entry_id")
        .join(rows.select("entry_id").unique(), on="entry_id", how="semi")
        .group_by(pl.col("service").alias("name"))
        .agg(pl.col("units").sum())
        .with_columns(pl.lit("service").alias("type"))
    )
    work = own.select(pl.lit("service").alias("type"), pl.col("caller").alias("name"), "self_share")
    return (
        found.join(into, on=["type", "name"], how="left")
        .join(work, on=["type", "name"], how="left")
        .join(starts, on=["type", "name"], how="left")
        .select(
            "type",
            "name",
            (pl.col("units").fill_null(0) > 0).alias("entry"),
            pl.col("units", "calls").fill_null(0.0),
            pl.when(pl.col("type") == "service")
            .then(pl.col("self_share"))
            .otherwise(pl.col("share"))
            .fill_null(0.0)
            .alias("share"),
        )
    )


# -- two periods ------------------------------------------------------------------------------------


def _compared(head: pl.DataFrame, base: pl.DataFrame) -> pl.DataFrame:
    """Edges of either period: the head's values, the base's, and what became of each."""
    earlier = base.select(
        *_EDGE,
        pl.col("uninstrumented").alias("uninstrumented_base"),
        pl.col("unit").alias("unit_base"),
        *(pl.col(name).alias(f"{name}_base") for name in COMPARED),
        pl.lit(value=True).alias("was"),
    )
    both = head.with_columns(pl.lit(value=True).alias("there")).join(
        earlier, on=_EDGE, how="full", coalesce=True, nulls_equal=True
    )
    amounts = [name for name in COMPARED if not name.startswith("p") and name != "mean_ms"]
    state = pl.when(pl.col("was").is_null()).then(pl.lit("new")).when(pl.col("there").is_null())
    return both.with_columns(
        pl.col("unit").fill_null(pl.col("unit_base")),
        pl.col("uninstrumented").fill_null(pl.col("uninstrumented_base")),
        *(pl.col(name, f"{name}_base").fill_null(0) for name in amounts),
        state.then(pl.lit("gone")).otherwise(pl.lit("both")).alias("state"),
    ).select(
        *_EDGE,
        "uninstrumented",
        "unit",
        *COMPARED,
        *(f"{name}_base" for name in COMPARED),
        (pl.col("share") - pl.col("share_base")).alias("change"),
        "state",
    )


def judged(graph: Graph, changes: Iterable[Edge], clocks_ms: Mapping[str, float]) -> Graph:
    """A compared graph with what `diff` finds of its edges and of its services' own work.

    Edges get ``significant`` (whether the change is no chance), ``added_ms`` per unit of work and
    ``added_part`` of base's clock; nodes get the latter two of their own work as ``own_added_ms`` and
    ``own_added_part``.  What is not significant adds 0.  An edge that stands for several operations is
    significant when one of them is; a contracted queue when the wait is.  A shift of traffic between
    entries moves shares, but is no edge's doing: there it stays false.

    Parameters
    ----------
    graph
        Of head against base.
    changes
        The diff's edges.
    clocks_ms
        Base's mean clock of each kind of unit.
    """
    added: dict[tuple[str, str, str, str | None], tuple[float, float]] = {}
    own: dict[str, tuple[float, float]] = {}
    for change in changes:
        if not change.significant:
            continue
        clock = clocks_ms.get(change.unit, 0.0)
        more = (change.credited_ms, change.credited_ms / clock if clock else 0.0)
        if change.callee is None:
            own[change.caller] = _both(own.get(change.caller), more)
            continue
        operation = change.operation if graph.level == "operation" else None
        key = (change.kind, change.caller, change.callee, operation)
        added[key] = _both(added.get(key), more)
        if graph.level == "service" and change.operation == schema.QUEUE_WAIT:
            key = (change.kind, "", change.callee, None)
            added[key] = _both(added.get(key), more)
    names = dict(graph.nodes.select("id", "name").iter_rows())
    found = [
        added.get((kind, names[caller], names[callee], operation))
        or (added.get((kind, "", names[callee], None)) if kind == "queue" else None)
        for kind, caller, callee, operation in graph.edges.select(
            "kind", "caller", "callee", "operation"
        ).iter_rows()
    ]
    mine = [
        own.get(name, _NOTHING) if kind == "service" else _NOTHING
        for name, kind in graph.nodes.select("name", "type").iter_rows()
    ]
    edges = graph.edges.with_columns(
        pl.Series("significant", [each is not None for each in found], pl.Boolean),
        *_columns(("added_ms", "added_part"), [each or _NOTHING for each in found]),
    )
    nodes = graph.nodes.with_columns(_columns(("own_added_ms", "own_added_part"), mine))
    return replace(graph, nodes=nodes, edges=edges)


_NOTHING: Final = (0.0, 0.0)


def _both(known: tuple[float, float] | None, more: tuple[float, float]) -> tuple[float, float]:
    return more if known is None else (known[0] + more[0], known[1] + more[1])


def _columns(names: tuple[str, str], pairs: Sequence[tuple[float, float]]) -> list[pl.Series]:
    return [pl.Series(name, [pair[at] for pair in pairs], pl.Float64) for at, name in enumerate(names)]


def _united(head: pl.DataFrame, base: pl.DataFrame) -> pl.DataFrame:
    earlier = base.select("type", "name", "entry", pl.col("share").alias("share_base"))
    both = head.join(earlier, on=["type", "name"], how="full", coalesce=True, suffix="_was")
    return both.select(
        "type",
        "name",
        (pl.col("entry").fill_null(value=False) | pl.col("entry_was").fill_null(value=False)).alias("entry"),
        pl.col("units", "calls", "share", "share_base").fill_null(0.0),
    )


def _named(
    edges: pl.DataFrame, nodes: pl.DataFrame, namespaces: Mapping[str, str]
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Give nodes their ids and namespaces, and edges the ids of their ends."""
    nodes = nodes.sort("name", "type")
    taken = set(nodes.filter(pl.col("type") == "service")["name"].to_list())
    ids: dict[tuple[str, str], str] = {}
    for kind in NODE_TYPES:
        for name in nodes.filter(pl.col("type") == kind)["name"].to_list():
            free = kind == "service" or name not in taken
            ids[kind, name] = name if free else f"{name} ({kind})"
            taken.add(ids[kind, name])
    rows = [(kind, name, made) for (kind, name), made in ids.items()]
    mapped = pl.DataFrame(rows, {"type": pl.String, "name": pl.String, "id": pl.String}, orient="row")
    for end in ("caller", "callee"):
        edges = (
            edges.join(mapped, left_on=[f"{end}_type", end], right_on=["type", "name"], how="left")
            .with_columns(pl.col("id").alias(end))
            .drop("id", f"{end}_type")
        )
    nodes = nodes.join(mapped, on=["type", "name"])
    spaces = {
        made: namespaces.get(name) or namespace_of(name)
        for (kind, name), made in ids.items()
        if kind == "service"
    }
    users: dict[str, set[str]] = {}
    for caller, callee in edges.select("caller", "callee").iter_rows():
        for end, other in ((caller, callee), (callee, caller)):
            if end not in spaces and other in spaces:
                users.setdefault(end, set()).add(spaces[other])
    for name, found in users.items():  # what one namespace alone uses is of it
        spaces[name] = found.pop() if len(found) == 1 else ""
    column = [spaces.get(name, "") for name in nodes["id"].to_list()]
    rest = [name for name in nodes.columns if name not in ("id", "name", "type")]
    nodes = nodes.with_columns(pl.Series("namespace", column, pl.String))
    return edges, nodes.select("id", "name", "type", "namespace", *rest)


def _narrowed(whole: Graph, selection: Selection) -> Graph:
    edges = whole.edges
    if selection.kinds:
        edges = edges.filter(pl.col("kind").is_in(sorted(selection.kinds)))
    if selection.service is not None:
        edges = edges.filter(
            (pl.col("caller") == selection.service) | (pl.col("callee") == selection.service)
        )
    if selection.namespace is not None:
        inside = whole.nodes.filter(pl.col("namespace") == selection.namespace)["id"].to_list()
        edges = edges.filter(pl.col("caller").is_in(inside) | pl.col("callee").is_in(inside))
    return whole if edges is whole.edges else whole.kept(edges)
