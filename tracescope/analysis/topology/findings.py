"""What an architecture review would point at in a graph, each time with the figures it rests on.

    graph of dependencies ─┬► cycles, hubs, shared databases, new and vanished edges
    flows (call paths)    ─┴► longest synchronous chain, blast radius, single points, chatty pairs

A finding is an observation with evidence, never a verdict: whether a shared database is wrong is for
people to say.  Figures over flows count what was seen: a path that no request took is not there.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

import polars as pl

from tracescope.analysis.rollups.flows import Selection, Tables, clocks, flows, kept_entries
from tracescope.analysis.rollups.names import WHOLE, one_thing
from tracescope.analysis.topology.graph import Graph

#: Kinds of edges that their caller waits on.
SYNCHRONOUS: Final = ("http", "rpc", "db", "external")
#: Callers, and callees, from which on a node is a hub.
HUB: Final = 5
#: Calls per unit of work, where there are any, from which on a pair is chatty.
CHATTY: Final = 5.0
#: Part of the requests from which on a blast radius is worth a word, and a node is a single point.
WIDE: Final = 0.2
SINGLE: Final = 0.5
#: Expected calls below which an edge that is not seen proves nothing (a chance of 1 % to miss it).
EXPECTED: Final = -math.log(0.01)
#: Findings of one kind that are told.
MOST: Final = 5
_WRITES: Final = (
    "insert", "update", "delete", "upsert", "replace", "merge", "set", "del", "hset", "lpush", "rpush",
    "zadd", "incr", "save", "put", "index", "create", "drop", "alter", "truncate", "findandmodify",
    "bulkwrite",
)  # fmt: skip

Evidence = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Finding:
    """One observation.

    Attributes
    ----------
    kind
        cycle, chain, fan_in, fan_out, blast_radius, single_point, chatty, shared_database, new_edge
        or vanished_edge.
    text
        It in one sentence.
    nodes
        Ids of the graph's nodes it is about, in its order.
    evidence
        Figures and names it rests on; shares are parts of 1.
    """

    kind: str
    text: str
    nodes: tuple[str, ...]
    evidence: Evidence


@dataclass(frozen=True, slots=True)
class Blast:
    """Who waits when a node slows.

    Attributes
    ----------
    node
        Its id.
    waiting
        Services that wait, directly or through others, by name; a queue between sets free.
    entries
        Entries, as ``service operation``, that wait.
    unit
        Kind of unit of work that ``traffic`` is of: requests where any wait, else messages.
    traffic
        Least and most part of these units that have the node in their flow; the rollups do not say
        how paths of one entry overlap, so it lies between.
    critical
        About this part has it on its critical path: visits over calls per unit, which errs low where
        calls run side by side.
    """

    node: str
    waiting: tuple[str, ...]
    entries: tuple[str, ...]
    unit: str
    traffic: tuple[float, float]
    critical: float


def findings(graph: Graph, tables: Tables, selection: Selection | None = None) -> tuple[Finding, ...]:
    """All findings, kind by kind, the strongest of a kind first.

    Parameters
    ----------
    graph
        At the dependency (or operation) level; compared with a base, it tells new and vanished edges.
    tables
        The rollups it was made of.
    selection
        What it was asked for with.
    """
    rows = flows(tables, selection or Selection())
    spread = blast_radius(graph, tables, selection)
    return (
        *_cycles(graph),
        *longest_chain(rows),
        *_hubs(graph, rows),
        *_wide(spread),
        *_single_points(graph, spread),
        *_chatty(rows),
        *_shared_databases(graph, rows),
        *_came_and_went(graph),
    )


def _percent(part: float) -> str:
    return f"{part * 100:.3g} %"


def _range(low: float, high: float) -> str:
    return _percent(high) if high - low < 0.005 else f"{low * 100:.3g} to {_percent(high)}"


def _listed(names: Sequence[str], most: int = 4) -> str:
    rest = len(names) - most
    return ", ".join(names[:most]) + (f" and {rest} more" if rest > 0 else "")


# -- shape ------------------------------------------------------------------------------------------


def cycles(graph: Graph, *, synchronous: bool) -> list[list[str]]:
    """A shortest cycle through each strongly connected set of services, as node ids.

    Queues are left out when only synchronous cycles are asked for; then nothing breaks the wait.
    """
    import networkx as nx

    seen = graph.edges.filter(pl.col("calls") > 0)
    if synchronous:
        seen = seen.filter(pl.col("kind").is_in(SYNCHRONOUS))
    made: nx.DiGraph[str] = nx.DiGraph(
        seen.filter(pl.col("caller") != pl.col("callee")).select("caller", "callee").rows()
    )
    found: list[list[str]] = []
    for members in sorted(nx.strongly_connected_components(made), key=lambda each: (-len(each), min(each))):
        if len(members) < 2:
            continue
        inside = made.subgraph(sorted(members))
        first = min(members)
        ways = (nx.shortest_path(inside, after, first) for after in sorted(inside.successors(first)))
        found.append([first, *min(ways, key=len)][:-1])
    return found


def _cycles(graph: Graph) -> list[Finding]:
    out: list[Finding] = []
    hard = cycles(graph, synchronous=True)
    known = {frozenset(each) for each in hard}
    for synchronous, each in [(True, c) for c in hard] + [
        (False, c) for c in cycles(graph, synchronous=False) if frozenset(c) not in known
    ]:
        ring = [*each, each[0]]
        edges = graph.edges.filter(
            pl.struct("caller", "callee").is_in([{"caller": a, "callee": b} for a, b in pairwise(ring)])
        )
        how = "synchronously" if synchronous else "over a queue"
        out.append(
            Finding(
                "cycle",
                f"{' → '.join(ring)} call each other in a circle, {how}",
                tuple(each),
                {
                    "synchronous": synchronous,
                    "calls": [int(n) for n in edges["calls"].to_list()],
                    "share": float(edges["share"].sum()),
                },
            )
        )
    return out


def depths(rows: pl.DataFrame) -> list[int]:
    """Synchronous hops from the entry to each flow's end; a queue begins anew."""
    out: list[int] = []
    for parent, kind, callee in rows.select("parent", "kind", "callee").iter_rows():
        above = out[parent] if parent >= 0 else 0
        out.append(0 if kind == "queue" else above + (callee is not None))
    return out


def chain_of(rows: pl.DataFrame, row: int) -> list[str]:
    """Names along a flow, from where it enters (or leaves a queue) to its end."""
    names: list[str] = []
    columns = rows.select("parent", "kind", "caller", "callee").rows()
    at = row
    while at >= 0 and columns[at][1] != "queue":
        parent, _, caller, callee = columns[at]
        names.append(callee)
        if parent < 0 or columns[parent][1] == "queue":
            names.append(caller)
        at = parent
    return names[::-1]


def longest_chain(rows: pl.DataFrame) -> list[Finding]:
    """The flow with the most synchronous hops."""
    reached = depths(rows)
    remote = rows["callee"].is_not_null().to_list()
    units = rows["units"].to_list()
    best = max(
        (at for at in range(len(rows)) if remote[at]),
        key=lambda at: (reached[at], units[at], -at),
        default=None,
    )
    if best is None or not reached[best]:
        return []
    names = chain_of(rows, best)
    row = rows.row(best, named=True)
    return [
        Finding(
            "chain",
            f"the longest synchronous chain has {reached[best]} hops: {' → '.join(names)}",
            tuple(names),
            {
                "hops": reached[best],
                "units": row["units"],
                "unit": row["unit"],
                "operation": row["operation"],
            },
        )
    ]


def _hubs(graph: Graph, rows: pl.DataFrame) -> list[Finding]:
    unsure = set(rows.filter(~one_thing(rows))["callee"].to_list())
    callers: dict[str, set[str]] = defaultdict(set)
    callees: dict[str, set[str]] = defaultdict(set)
    for caller, callee in graph.edges.filter(pl.col("calls") > 0).select("caller", "callee").iter_rows():
        if caller != callee:
            callers[callee].add(caller)
            callees[caller].add(callee)
    out: list[Finding] = []
    for kind, near, word in (("fan_in", callers, "is called by"), ("fan_out", callees, "calls")):
        ranked = sorted(near.items(), key=lambda each: (-len(each[1]), each[0]))
        for node, others in [each for each in ranked if kind == "fan_out" or each[0] not in unsure][:MOST]:
            if len(others) >= HUB:
                names = sorted(others)
                text = f"{node} {word} {len(names)} others: {_listed(names)}"
                out.append(Finding(kind, text, (node,), {"count": len(names), "others": names}))
    return out


# -- who waits --------------------------------------------------------------------------------------


def blast_radius(graph: Graph, tables: Tables, selection: Selection | None = None) -> list[Blast]:
    """Who waits when a node slows, for every node that something waits on, widest first."""
    chosen = selection or Selection()
    rows = flows(tables, chosen)
    ids = {(kind, name): made for made, name, kind in graph.nodes.select("id", "name", "type").iter_rows()}
    entries = {e: f"{s} {o}" for e, _, s, o in tables["entries"].iter_rows()}
    spent = {(e, u): units for e, u, units, _ in clocks(tables, kept_entries(tables, chosen)).iter_rows()}
    totals: dict[str, float] = defaultdict(float)
    for (_, unit), units in spent.items():
        totals[unit] += units
    reach: dict[str, _Reach] = defaultdict(_Reach)
    columns = rows.select(
        "parent", "kind", "caller", "callee", "callee_type", "entry_id", "unit", "units", "visits", "calls",
        "detached_calls", "caller_type",
    ).rows()  # fmt: skip
    sure = one_thing(rows).to_list()
    for row, line in enumerate(columns):
        _, _, _, callee, callee_type, entry, unit, units, visits, calls, detached, caller_type = line
        made = ids.get((callee_type, callee))
        if made is None or not sure[row] or detached >= calls or caller_type == "queue":
            continue  # nobody waits for a consumer, nor for what is left to run
        above = _above(columns, row)
        if any(columns[at][3] == callee for at in above):
            continue  # counted where it stands first
        mine = reach[made]
        mine.waiting |= {columns[at][2] for at in (row, *above)}
        mine.units[entry, unit].append(units)
        mine.critical[entry, unit].append(min(units, visits * units / max(calls, 1e-9)))
    found = [_blast(node, mine, entries, spent, totals) for node, mine in reach.items()]
    return sorted(found, key=lambda b: (b.unit != "request", -b.traffic[1], -len(b.waiting), b.node))


class _Reach:
    """What was gathered about a node: who waits, and per entry the units of each of its paths."""

    def __init__(self) -> None:
        self.waiting: set[str] = set()
        self.units: dict[tuple[int, str], list[float]] = defaultdict(list)
        self.critical: dict[tuple[int, str], list[float]] = defaultdict(list)


def _above(columns: Sequence[tuple[Any, ...]], row: int) -> list[int]:
    """Rows above one, up to the entry or to the queue it came from."""
    out: list[int] = []
    at: int = columns[row][0]
    while at >= 0:
        parent, kind = columns[at][:2]
        if kind == "queue":
            break
        out.append(at)
        at = parent
    return out


def _blast(
    node: str,
    mine: _Reach,
    entries: Mapping[int, str],
    spent: Mapping[tuple[int, str], float],
    totals: Mapping[str, float],
) -> Blast:
    unit = "request" if any(u == "request" for _, u in mine.units) else min(u for _, u in mine.units)
    low = high = critical = 0.0
    for key, parts in mine.units.items():
        if key[1] == unit:
            low += max(parts)
            high += min(sum(parts), spent.get(key, 0.0))
            critical += max(mine.critical[key])
    total = max(totals[unit], 1e-9)
    return Blast(
        node,
        tuple(sorted(mine.waiting)),
        tuple(sorted({entries[e] for e, u in mine.units if u == unit})),
        unit,
        (min(low / total, 1.0), min(max(low, high) / total, 1.0)),
        min(critical / total, 1.0),
    )


def _wide(spread: Sequence[Blast]) -> list[Finding]:
    worth = [each for each in spread if each.traffic[1] >= WIDE and len(each.waiting) > 1]
    return [
        Finding(
            "blast_radius",
            f"when {each.node} slows, {_range(*each.traffic)} of {each.unit}s and {len(each.waiting)} "
            f"services wait: {_listed(each.waiting)}",
            (each.node,),
            {
                "waiting": list(each.waiting),
                "entries": list(each.entries),
                "unit": each.unit,
                "traffic_share_least": each.traffic[0],
                "traffic_share_most": each.traffic[1],
            },
        )
        for each in worth[:MOST]
    ]


def _single_points(graph: Graph, spread: Sequence[Blast]) -> list[Finding]:
    entered = set(graph.nodes.filter(pl.col("entry"))["id"].to_list())
    worth = [each for each in spread if each.critical >= SINGLE and each.node not in entered]
    worth.sort(key=lambda each: (each.unit != "request", -each.critical, each.node))
    return [
        Finding(
            "single_point",
            f"about {_percent(each.critical)} of {each.unit}s have {each.node} on their critical path",
            (each.node,),
            {"critical_share": each.critical, "unit": each.unit, "entries": list(each.entries)},
        )
        for each in worth[:MOST]
    ]


# -- pairs ------------------------------------------------------------------------------------------


def _chatty(rows: pl.DataFrame) -> list[Finding]:
    """Pairs with many calls in each unit of work that calls at all."""
    keys = ["kind", "caller", "callee", "operation"]
    pairs = (
        rows.filter(pl.col("callee").is_not_null() & (pl.col("units") > 0))
        .group_by(*keys, "unit")
        .agg(pl.col("calls", "units", "busy_ns").sum())
        .with_columns((pl.col("calls") / pl.col("units")).alias("each"))
        .filter(pl.col("each") >= CHATTY)
        .sort("each", *keys, descending=[True, *[False] * 4])
    )
    return [
        Finding(
            "chatty",
            f"{row['caller']} calls {row['callee']} {row['each']:.3g} times in each {row['unit']} that calls "
            f"it at all ({row['operation']})",
            (row["caller"], row["callee"]),
            {
                "operation": row["operation"],
                "calls_per_unit": row["each"],
                "units": row["units"],
                "mean_ms": row["busy_ns"] / max(row["calls"], 1e-9) / 1e6,
            },
        )
        for row in pairs.head(MOST).iter_rows(named=True)
    ]


def _shared_databases(graph: Graph, rows: pl.DataFrame) -> list[Finding]:
    """Databases that more than one service uses; those that several write first.

    Who uses one is told by whole names: what only looks alike in a report is not shared.
    """
    names = {
        name: made for made, name in graph.nodes.filter(type="database").select("id", "name").iter_rows()
    }
    users: dict[tuple[str, str], dict[str, float]] = defaultdict(lambda: defaultdict(float))
    writers: dict[tuple[str, str], set[str]] = defaultdict(set)
    whole = WHOLE["callee"] if WHOLE["callee"] in rows.columns else "callee"
    used = rows.filter(one_thing(rows) & (pl.col("callee_type") == "database"))
    for caller, full, callee, operation, calls in used.select(
        "caller", pl.col(whole).alias("whole"), "callee", "operation", "calls"
    ).iter_rows():
        users[callee, full][caller] += calls
        if operation.partition(" ")[0].lower() in _WRITES:
            writers[callee, full].add(caller)
    out: list[Finding] = []
    for name in sorted(users, key=lambda each: (-len(writers[each]), -len(users[each]), each)):
        if len(users[name]) < 2 or name[0] not in names:
            continue
        made = names[name[0]]
        total = max(sum(users[name].values()), 1e-9)
        parts = {caller: calls / total for caller, calls in sorted(users[name].items())}
        wrote = sorted(writers[name])
        also = f"; {_listed(wrote)} write{'s' if len(wrote) == 1 else ''}" if wrote else ""
        out.append(
            Finding(
                "shared_database",
                f"{made} is used by {len(parts)} services: {_listed(list(parts))}{also}",
                (made, *parts),
                {"callers": parts, "writers": wrote},
            )
        )
    return out[: 2 * MOST]


# -- since BASE -------------------------------------------------------------------------------------


def _came_and_went(graph: Graph) -> list[Finding]:
    """Edges of one period only; with few ``expected_calls`` their absence proves nothing."""
    if graph.base is None:
        return []
    out: list[Finding] = []
    for state, kind, here, there in (
        ("new", "new_edge", "sampled_calls", (graph.base_units, graph.units)),
        ("gone", "vanished_edge", "sampled_calls_base", (graph.units, graph.base_units)),
    ):
        found = graph.edges.filter(state=state).sort(
            here, "caller", "callee", descending=[True, False, False]
        )
        for row in found.iter_rows(named=True):
            other, own = (side.get(row["unit"], 0.0) for side in there)
            expected = row[here] * other / own if own else 0.0
            sure = expected >= EXPECTED
            word = "is new since BASE" if state == "new" else "is gone since BASE"
            text = f"{row['caller']} → {row['callee']} ({row['kind']}) {word}"
            if not sure:
                text += f"; with {row[here]} calls seen it may only be rare"
            out.append(
                Finding(
                    kind,
                    text,
                    (row["caller"], row["callee"]),
                    {
                        "kind": row["kind"],
                        "operation": row["operation"],
                        "sampled_calls": row[here],
                        "expected_calls": expected,
                        "sure": sure,
                        "share": row["share"] if state == "new" else row["share_base"],
                    },
                )
            )
    return sorted(out, key=lambda each: (each.kind, not each.evidence["sure"]))
