"""`process`: spans in, partial rollups out; the unit of work at any scale.

Dedupe, forest, critical path and sums for any set of whole traces, on any engine: nothing here
knows a store, a clock or a process pool.  Results of disjoint sets of traces merge by the rules of
`tracescope.analysis.rollups.merge`, and are the same whatever the order of the rows.

Names are integer codes throughout; only distinct call paths are hashed and named.

Source: design, sections 4, 5 and 9.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl

from tracescope import schema
from tracescope.analysis.rollups.failed import called_again, without_calls
from tracescope.analysis.rollups.graphql import asked_for
from tracescope.analysis.rollups.path_ids import path_id, routes_of
from tracescope.conventions.identity import is_named_by
from tracescope.errors import KernelError
from tracescope.kernels import forest as forests
from tracescope.kernels import rollup as kernel
from tracescope.kernels.roles import ROLE_CONSUMER, ROLE_LEAF_CALL, ROLE_POLL, ROLE_TRANSPORT
from tracescope.kernels.sketch import bin_of
from tracescope.kernels.tally import sum_by, tally
from tracescope.kernels.traces import Traces, group_traces
from tracescope.kernels.walk import Walk, walk

I64 = np.ndarray[Any, np.dtype[np.int64]]
Ints = np.ndarray[Any, np.dtype[np.signedinteger[Any]]]  # positions, of 32 or 64 bits

_HIGHEST = np.iinfo(np.int64).max


@dataclass(frozen=True, slots=True)
class Partial:
    """Rollups of some traces.

    Attributes
    ----------
    tables
        Every table of `schema.ROLLUPS` and `schema.DIMENSIONS`, checked, sorted by its keys.
    rows, order, hours
        The spans given, positions of those that count ``(n,)``, and the hour of each one's trace.
    """

    tables: dict[str, pl.DataFrame]
    rows: pl.DataFrame
    order: I64
    hours: I64

    def spans(self) -> pl.DataFrame:
        """Rows that count, with the ``hour`` their trace starts in; by hour, trace and span."""
        by_hour = np.argsort(self.hours, kind="stable")  # a table's files are hours
        kept = self.rows[self.order[by_hour]]
        return kept.with_columns(pl.Series("hour", self.hours[by_hour], dtype=pl.Int32))


class Names:
    """One table of names for all the columns of a call."""

    def __init__(self, spans: pl.DataFrame) -> None:
        self._names = pl.Categories.random()
        self._type = pl.Categorical(self._names)
        self._alive: list[pl.Series] = []  # the names live as long as a column that uses them
        fixed = pl.Series([schema.QUEUE_PUBLISH, schema.QUEUE_WAIT, "unknown"])
        self.publish, self.wait, self.unknown = (int(code) for code in self._codes(fixed))
        self.columns = {
            name: self._codes(spans[name])
            for name in ("service_name", "peer", "operation", "environment", "host")
        }
        self.column = self._names.to_series()
        self.texts: list[str] = self.column.to_list()

    def add(self, texts: Sequence[str]) -> np.ndarray[Any, np.dtype[np.int32]]:
        """Codes of names that no column has yet, or has."""
        codes = self._codes(pl.Series(texts, dtype=pl.String))
        self.column = self._names.to_series()
        self.texts = self.column.to_list()
        return codes

    def _codes(self, column: pl.Series) -> np.ndarray[Any, np.dtype[np.int32]]:
        if len(column) > 1 and _is_constant(column):  # an environment, mostly
            return np.full(len(column), self._codes(column.head(1))[0], np.int32)
        self._alive.append(column.cast(self._type))
        return self._alive[-1].to_physical().cast(pl.Int32).fill_null(-1).to_numpy()

    def text(self, code: int) -> str | None:
        """The name behind a code; None for -1."""
        return None if code < 0 else self.texts[code]


def _is_constant(column: pl.Series) -> bool:
    return column.null_count() == 0 and column[0] == column[-1] and bool((column == column[0]).all())


#: Names under which proxies beside applications report, where their attributes do not say what they are.
_SIDECAR_NAME = re.compile(
    r"^(?:linkerd2?-proxy|istio-proxy|envoy-sidecar|consul-dataplane|.+[-.](?:sidecar|sidecar-proxy|istio-proxy"
    r"|linkerd-proxy))$"
)


def span_arrays(spans: pl.DataFrame, names: Names) -> forests.SpanArrays:
    """Columns of SPANS as the forest takes them."""
    links = spans["links"]
    lengths = np.zeros(len(spans) + 1, np.int64)
    flat = b""
    if links.null_count() < len(links):
        lengths[1:] = links.bin.size().fill_null(0).to_numpy() // 24
        flat = b"".join(links.drop_nulls().to_list())
    words = np.frombuffer(flat, ">i8").astype(np.int64).reshape(-1, 3)
    plain = (
        "trace_hi", "trace_lo", "span_id", "parent_span_id", "start_ns", "end_ns", "kind", "edge_class",
        "messaging_op", "status", "content_hash",
    )  # fmt: skip
    columns = {name: spans[name].to_numpy() for name in plain}
    if (proxies := np.flatnonzero([_SIDECAR_NAME.search(text) is not None for text in names.texts])).size:
        mine = np.isin(names.columns["service_name"], proxies)
        columns["edge_class"] = np.where(mine, np.int8(schema.CLASS_SIDECAR), columns["edge_class"])
    return forests.SpanArrays(
        **columns,
        service=names.columns["service_name"],
        host=names.columns["host"],
        link_offset=np.cumsum(lengths),
        link_hi=np.ascontiguousarray(words[:, 0]),
        link_lo=np.ascontiguousarray(words[:, 1]),
        link_span=np.ascontiguousarray(words[:, 2]),
    )


def process(
    spans: pl.DataFrame,
    *,
    slot_ns: int = schema.HOUR_NS,
    keep: tuple[int, int] | None = None,
    skew: bool = True,
    slower_than: pl.DataFrame | None = None,
) -> Partial:
    """Roll whole traces up.

    Parameters
    ----------
    spans
        SPANS rows in any order, duplicates included; only those of `schema.ROLLED` are needed.
    slot_ns
        Length of a slot; an hour for everything that is kept.
    keep
        Half-open interval in ns: only traces whose earliest start lies in it count.
    skew
        Correct clocks between hosts.
    slower_than
        ``slot, entry_id, least_ns``: what a request's clock must reach to count.  Units of other
        kinds, entries and slots do not count then, and no hop is left to be joined.

    Raises
    ------
    KernelError
        More spans than 32-bit positions hold.
    """
    whole = set(spans.columns).issuperset(schema.SPANS)
    schema.check(spans, schema.SPANS if whole else schema.ROLLED, "spans")
    spans = given = spans.rechunk()  # of columns in pieces every gather costs more, and kernels compile anew
    if len(spans) >= 2**31 - 1:
        raise KernelError(f"{len(spans)} spans in one call; give `process` fewer traces at a time")
    traces = group_traces(
        *(spans[name].to_numpy() for name in ("trace_hi", "trace_lo", "span_id", "content_hash", "start_ns")),
        window_ns=(schema.TRACE_WINDOW_HOURS + 1) * schema.HOUR_NS,
        keep=keep,
    )
    spans = spans.select(list(schema.ROLLED))
    places: I64 | None = None
    if len(traces.order) < len(spans):
        kept = np.zeros(len(spans), np.bool_)
        kept[traces.order] = True
        spans = spans.filter(pl.Series(kept))
        traces = replace(traces, order=(np.cumsum(kept) - 1)[traces.order])
        places = np.flatnonzero(kept)
    names = Names(spans)
    arrays = span_arrays(spans, names)
    forest = forests.build_forest(arrays, traces, skew=skew)
    work = _Work(spans, names, arrays, traces, forest, walk(forest), slot_ns)
    tables = work.tables(slower_than)
    checked = {
        name: schema.check(_canonical(frame, name), table, name)
        for name, table in {**schema.ROLLUPS, **schema.DIMENSIONS}.items()
        for frame in (tables[name],)
    }
    hours = work.slot_of_trace[forest.trace] if len(forest.order) else np.empty(0, np.int64)
    order = forest.order if places is None else places[forest.order]
    return Partial(checked, given, order, hours)


def _canonical(frame: pl.DataFrame, name: str) -> pl.DataFrame:
    """Rows by their keys; of integers, which are most, three times as fast as polars sorts them."""
    keys = [frame[key] for key in schema.KEYS[name]]
    if any(key.dtype == pl.String for key in keys):
        return frame.sort(schema.KEYS[name])
    return frame[np.lexsort([key.to_numpy() for key in reversed(keys)])]


def _table(columns: Sequence[Any] | I64) -> I64:
    """Columns side by side."""
    out = np.empty((len(columns[0]), len(columns)), np.int64)
    for at, column in enumerate(columns):
        out[:, at] = column
    return out


def _tally(keys: Sequence[Any], measures: Sequence[Any] | I64) -> tuple[I64, I64]:
    """Distinct keys, of which there are up to four, and the sums of their rows, by column."""
    zeros = np.broadcast_to(np.int64(0), len(keys[0]))
    distinct, sums, _ = tally(_table([*keys, *[zeros] * (4 - len(keys))]), _table(measures))
    return distinct.T, sums.T


class _Work:
    """One call of `process`: arrays in sorted order and the tables made from them."""

    def __init__(
        self,
        spans: pl.DataFrame,
        names: Names,
        arrays: forests.SpanArrays,
        traces: Traces,
        forest: forests.Forest,
        path: Walk,
        slot_ns: int,
    ) -> None:
        self.names = names
        self.forest = forest
        self.path = path
        order = forest.order
        self.rows = spans
        self.service = forest.service
        self.edge_class = forests.gather(arrays.edge_class, order)
        self.status = forests.gather(spans["status"].to_numpy(), order)
        self.codes = {
            name: forests.gather(names.columns[name], order) for name in ("peer", "operation", "environment")
        }
        self.codes["operation"] = self.codes["operation"][forest.stands_for]
        self.publisher = forest.unit_producer.copy()
        while (made_with := (self.publisher >= 0) & (forest.role[self.publisher] == ROLE_TRANSPORT)).any():
            self.publisher[made_with] = forest.parent[self.publisher[made_with]]
        self._read_names()
        self.traces = traces
        self.slot_of_trace = (traces.first_ns // slot_ns).astype(np.int64)
        self.threshold = forests.gather(spans["threshold"].to_numpy(), order)
        self._name_by_graphql()
        self._contexts()

    def _read_names(self) -> None:
        """Let spans have the name of what the span around them reaches, where they name less themselves.

        What processes a message and names no destination has that of the receive span around it; a driver
        that names a server has the database that the mapper around it names.
        """
        forest, peer, service = self.forest, self.codes["peer"], self.service
        above = forest.parent
        inner = np.flatnonzero(above >= 0)
        outer = above[inner]
        same = (service[inner] == service[outer]) & (self.edge_class[inner] == self.edge_class[outer])
        inner, outer = inner[same & (peer[outer] >= 0)], outer[same & (peer[outer] >= 0)]
        receives = np.isin(forest.role[outer], (ROLE_CONSUMER, ROLE_POLL))
        takes = (peer[inner] < 0) & (self.edge_class[inner] == schema.CLASS_MESSAGING) & receives
        takes &= forest.role[inner] == ROLE_CONSUMER
        queries = (self.edge_class[inner] == schema.CLASS_DB) & (peer[inner] != peer[outer])
        pairs, which = np.unique(
            np.stack([peer[inner[queries]], peer[outer[queries]]], axis=1), axis=0, return_inverse=True
        )
        names_less = [is_named_by(self.names.text(a), self.names.text(b)) for a, b in pairs.tolist()]
        takes[queries] = np.array(names_less, np.bool_)[which.reshape(-1)] if len(pairs) else False
        if takes.any():
            named = peer.copy()
            named[inner[takes]] = peer[outer[takes]]
            self.codes["peer"] = named

    def _name_by_graphql(self) -> None:
        """Let requests be told apart by the GraphQL operations that they ask for."""
        forest, operation = self.forest, self.codes["operation"]
        named = asked_for(
            forest.parent, forest.role, self.service, self.edge_class, operation, self.names.texts
        )
        if named:
            requests = np.fromiter(named, np.int64, len(named))
            own = [self.names.texts[code] for code in operation[requests].tolist()]
            whole = [  # a server that says itself what it is asked for has it once
                name if f" {name}".endswith(f" {said}") else f"{name} {said}"
                for name, said in zip(own, named.values(), strict=True)
            ]
            renamed = operation.copy()
            renamed[requests] = self.names.add(whole)
            self.codes["operation"] = renamed

    # -- contexts: (slot, unit, threshold) of each walk group --

    def _contexts(self) -> None:
        forest = self.forest
        groups = len(forest.group_root)
        grouped = self.threshold[forest.sequence]
        begin = forest.group_start[:-1]
        highest = np.maximum.reduceat(grouped, begin) if groups else np.empty(0, np.int64)
        carried = np.where(grouped == schema.NO_THRESHOLD, _HIGHEST, grouped)
        lowest = np.minimum.reduceat(carried, begin) if groups else np.empty(0, np.int64)
        self.group_mixed = lowest < highest
        if groups:  # what carries no threshold was sampled as the unit it stands in
            silent = self.threshold == schema.NO_THRESHOLD
            self.threshold = np.where(silent, highest[forest.group], self.threshold)
        kind = np.full(groups, -1, np.int64)
        kind[forest.unit_group] = forest.unit_kind
        slot = self.slot_of_trace[forest.trace[forest.group_root]] if groups else np.empty(0, np.int64)
        distinct, _, number = tally(
            _table([slot, kind, highest, np.zeros(groups, np.int64)]), np.empty((groups, 0), np.int64)
        )
        self.contexts = distinct
        self.group_kind = kind
        self.group_threshold = highest
        self.group_slot = slot
        self.group_context = np.where(kind < 0, -1, number.astype(np.int64))

    # -- tables --

    def tables(self, slower_than: pl.DataFrame | None = None) -> dict[str, pl.DataFrame]:
        """Every rollup and dimension of these spans."""
        forest, names, path = self.forest, self.names, self.path
        groups = len(forest.group_root)
        producer = np.full(groups, -1, np.int64)
        known = np.flatnonzero(self.publisher >= 0)[::-1]  # the first of a batch names the topic
        producer[forest.unit_group[known]] = self.publisher[known]
        wait = sum_by(forest.unit_group, forest.unit_wait_ns, groups)
        clock = sum_by(forest.unit_group, forest.unit_end_ns - forest.unit_start_ns, groups)
        spans = kernel.Spans(
            forest.parent, forest.role, forest.callee, forest.answers, self.edge_class, self.service,
            self.codes["peer"], self.codes["operation"], self.codes["environment"],
        )  # fmt: skip
        walked = kernel.Groups(
            forest.sequence, forest.group_start, forest.group_root, self.group_kind, producer
        )
        edges, nodes, places = kernel.attribute(
            spans, walked, kernel.Fixed(names.publish, names.wait, names.unknown)
        )
        opens, via, late, head = places.opens, places.via, places.late, places.head
        self._name_nodes(edges, nodes, self._uninstrumented(edges, nodes, (opens, via, late)))
        entry_of_group = self._entry_of_head(nodes, head)
        if slower_than is not None:
            self._keep_slow(entry_of_group, clock, slower_than)
        message = self.group_kind == schema.UNIT_MESSAGE
        root = forest.order[forest.group_root]
        counted = kernel.Counted(
            forest.sequence, forest.group_start, forest.group_root, forest.hops, self.group_context,
            np.where(message, head, -1), wait, clock,
            self.rows["trace_hi"].to_numpy()[root], self.rows["trace_lo"].to_numpy()[root],
        )  # fmt: skip
        times = kernel.Times(
            forest.group, forest.parent, forest.answers, self.status,
            called_again(forest, self.status, opens, places.home), forest.start_ns, forest.end_ns,
            path.own_ns, path.inclusive_ns, path.visited, path.self_ns, path.child_sum_ns,
            path.child_union_ns,
        )  # fmt: skip
        cells, sums, (span_cell, via_cell, head_cell) = kernel.accumulate(counted, times, places)
        routes, ways = self._routes(entry_of_group)
        self.paths = pl.concat([self.paths, ways])
        return {
            "path_hours": pl.concat([self._path_hours(cells, sums), routes]),
            "path_sketches": self._path_sketches(cells, (span_cell, via_cell), head_cell),
            **self._entry_tables(entry_of_group, without_calls(forest, opens, via, late)),
            "service_hours": self._service_hours(),
            "counters": self._counters(),
            "hop_halves": self._hop_halves(entry_of_group, head)
            if slower_than is None
            else schema.empty(schema.HOP_HALVES),
            "entries": self.entries,
            "paths": self.paths,
        }

    def _keep_slow(self, entry_of_group: I64, clock: I64, slower_than: pl.DataFrame) -> None:
        """Let only requests count whose clock reaches what `slower_than` asks of their slot and entry."""
        groups = pl.DataFrame({"slot": self.group_slot, "entry_id": entry_of_group})
        asked = groups.join(slower_than, on=["slot", "entry_id"], how="left", maintain_order="left")
        slow = (pl.Series(clock) >= asked["least_ns"]).fill_null(value=False).to_numpy()
        counts = slow & (self.group_kind == schema.UNIT_REQUEST)
        self.group_context = np.where(counts, self.group_context, -1)

    def _uninstrumented(
        self, edges: I64, nodes: I64, opened: tuple[Ints, Ints, Ints]
    ) -> np.ndarray[Any, Any]:
        """Whether nobody answered any call of an edge ``(e,)``; `opened` is opens, via and late."""
        forest = self.forest
        opens, via, late = opened
        calls, entered, silent = (np.flatnonzero(each >= 0) for each in opened)
        root = forest.group_root[silent]
        code = nodes[np.concatenate([opens[calls], via[entered], late[silent]]), 1]
        leaf = np.concatenate(
            [
                (forest.role[calls] == ROLE_LEAF_CALL) | (forest.role[calls] == ROLE_POLL),
                np.zeros(len(entered), np.bool_),
                ((forest.role[root] == ROLE_LEAF_CALL) | (forest.role[root] == ROLE_POLL))
                & (self.service[root] == self.service[forest.parent[root]]),
            ]
        )
        out = np.zeros(len(edges), np.bool_)
        out[code[leaf]] = True
        out[code[~leaf]] = False
        return out

    def _name_nodes(self, edges: I64, nodes: I64, uninstrumented: np.ndarray[Any, Any]) -> None:
        """Ids and names of nodes; parents come before children in `nodes`."""
        text = self.names.text
        self.node_id = np.zeros(len(nodes), np.int64)
        entry = np.zeros(len(nodes), np.int64)
        depth = np.zeros(len(nodes), np.int64)
        described: list[tuple[str, str | None, str | None, str | None]] = []
        edge_ids = np.zeros(len(edges), np.int64)
        for number, (kind, caller, callee, operation) in enumerate(edges.tolist()):
            edge = (schema.EDGE_KINDS[kind], text(caller), text(callee), text(operation))
            described.append(edge)
            edge_ids[number] = path_id(0, *edge)
        entries: list[tuple[int, str, str, str]] = []
        paths: list[tuple[Any, ...]] = []
        for number, (parent, second, service, operation) in enumerate(nodes.tolist()):
            if parent < 0:
                root = (text(second) or "", text(service) or "", text(operation) or "")
                self.node_id[number] = entry[number] = path_id(0, *root)
                entries.append((int(entry[number]), *root))
                continue
            edge = described[second]
            above = int(self.node_id[parent])
            self.node_id[number] = path_id(above, *edge)
            entry[number], depth[number] = entry[parent], depth[parent] + 1
            kind = int(edges[second, 0])
            row = int(self.node_id[number]), above, int(entry[number]), int(depth[number]), kind
            paths.append((*row, *edge[1:], int(edge_ids[second]), bool(uninstrumented[second])))
        self.node_entry = entry
        self.entries = pl.DataFrame(entries, schema=schema.dtypes(schema.ENTRIES), orient="row")
        self.paths = pl.DataFrame(paths, schema=schema.dtypes(schema.PATHS), orient="row")

    def _entry_of_head(self, nodes: I64, head: Ints) -> I64:
        return self.node_entry[head] if len(head) else np.empty(0, np.int64)

    def _in_context(self, contexts: I64) -> dict[str, I64]:
        chosen = self.contexts[contexts]
        return {name: chosen[:, at] for at, name in enumerate(("slot", "unit", "threshold"))}

    def _frame(self, table: schema.Table, columns: dict[str, Any]) -> pl.DataFrame:
        return pl.DataFrame(
            [pl.Series(name, columns[name]).cast(dtype) for name, dtype in schema.dtypes(table).items()]
        )

    def _path_hours(self, cells: I64, sums: I64) -> pl.DataFrame:
        keys = self._in_context(cells[:, 1])
        measures = [
            name for name in schema.PATH_HOURS if name not in ("slot", "unit", "path_id", "threshold")
        ]
        drawn = sums[:, kernel.TYPICAL]
        drawn[drawn == np.iinfo(np.int64).max] = 0
        columns = {name: sums[:, at] for at, name in enumerate(measures)}
        return self._frame(schema.PATH_HOURS, {**keys, "path_id": self.node_id[cells[:, 0]], **columns})

    def _routes(self, entry_of_group: I64) -> tuple[pl.DataFrame, pl.DataFrame]:
        """Hops whose two sides name different destinations, as rows of ``path_hours`` and ``paths``."""
        forest = self.forest
        producer, root = self.publisher, forest.group_root[forest.unit_group]
        sent = np.where(producer >= 0, self.codes["peer"][producer], -1)
        taken = np.where(self.edge_class[root] == schema.CLASS_MESSAGING, self.codes["peer"][root], -1)
        context = self.group_context[forest.unit_group]
        units = np.flatnonzero(
            (context >= 0)
            & (forest.unit_kind == schema.UNIT_MESSAGE)
            & (sent >= 0)
            & (taken >= 0)
            & (sent != taken)
        )
        entry = entry_of_group[forest.unit_group[units]]
        (of, entries, sources, targets), (hops,) = _tally(
            (context[units], entry, sent[units], taken[units]), (np.broadcast_to(np.int64(1), len(units)),)
        )
        found = pl.DataFrame(
            {**self._in_context(of), "entry_id": entries, "hops": hops}
            | {"sent": self._texts(pl.Series(sources)), "topic": self._texts(pl.Series(targets))}
        )
        return routes_of(found)

    def _path_sketches(self, cells: I64, span_cells: tuple[Ints, Ints], head_cell: Ints) -> pl.DataFrame:
        forest = self.forest
        opened = np.concatenate([np.flatnonzero(each >= 0) for each in span_cells])
        weight = forest.hops[forest.group[opened]].astype(np.int64)
        waited = head_cell[forest.unit_group]
        units = np.flatnonzero(waited >= 0)
        cell = np.concatenate([*(each[each >= 0] for each in span_cells), waited[units]])
        duration = np.concatenate(
            [forest.end_ns[opened] - forest.start_ns[opened], forest.unit_wait_ns[units]]
        )
        counts = np.concatenate([weight, np.ones(len(units), np.int64)])
        (at, bins, *_), (count,) = _tally((cell, bin_of(duration)), (counts,))
        keys = self._in_context(cells[at, 1])
        return self._frame(
            schema.PATH_SKETCHES, {**keys, "path_id": self.node_id[cells[at, 0]], "bin": bins, "count": count}
        )

    def _entry_tables(self, entry_of_group: I64, leafless: np.ndarray[Any, Any]) -> dict[str, pl.DataFrame]:
        """Units that count, by entry, and by entry and bin; groups ``(g,)`` that called nothing are told."""
        forest = self.forest
        units = np.flatnonzero(self.group_context[forest.unit_group] >= 0)
        group = forest.unit_group[units]
        context, entry = self.group_context[group], entry_of_group[group]
        clock = forest.unit_end_ns[units] - forest.unit_start_ns[units]
        failed = self.status[forest.group_root[group]] == schema.STATUS_ERROR
        ones = np.broadcast_to(np.int64(1), len(units))
        flags = forest.unit_incomplete[units], forest.unit_skewed[units], self.group_mixed[group], failed
        counted = (ones, clock, *flags, clock * failed, leafless[group])
        (of, entry_id, *_), sums = _tally((context, entry), counted)
        names = [name for name in schema.ENTRY_HOURS if name not in schema.KEYS["entry_hours"]]
        measures = dict(zip(names, sums, strict=True))
        hours = {**self._in_context(of), "entry_id": entry_id, **measures}
        (of, entry_id, bins, _), (count,) = _tally((context, entry, bin_of(clock)), (ones,))
        sketches = {**self._in_context(of), "entry_id": entry_id, "bin": bins, "count": count}
        return {
            "entry_hours": self._frame(schema.ENTRY_HOURS, hours),
            "entry_sketches": self._frame(schema.ENTRY_SKETCHES, sketches),
        }

    def _texts(self, codes: pl.Series) -> pl.Series:
        return self.names.column.gather(codes.set(codes < 0, None).cast(pl.UInt32))

    def _service_hours(self) -> pl.DataFrame:
        slot = np.empty(len(self.rows), np.int64)
        slot[self.forest.order] = self.slot_of_trace[self.forest.trace]
        codes = self.names.columns
        rows = self.rows.select(
            environment=pl.Series(codes["environment"]),
            service=pl.Series(codes["service_name"]),
            instance=pl.col("service_instance").fill_null(""),
            version=pl.col("service_version").fill_null(""),
            start_ns="start_ns",
            end_ns=pl.max_horizontal("start_ns", "end_ns"),
            slot=pl.Series(slot),
        )
        summed = rows.group_by(schema.KEYS["service_hours"]).agg(
            pl.len().alias("spans"),
            pl.col("start_ns").min().alias("first_ns"),
            pl.col("end_ns").max().alias("last_ns"),
        )
        columns: dict[str, Any] = {name: summed[name] for name in summed.columns}
        columns |= {name: self._texts(summed[name]) for name in ("environment", "service")}
        return self._frame(schema.SERVICE_HOURS, columns)

    def _counters(self) -> pl.DataFrame:
        """Counters by reason, on the slot of the trace they were counted in."""
        beyond = np.where(self.traces.later, np.diff(self.traces.start), 0)
        counts = np.column_stack([self.forest.counts, beyond])
        some = np.flatnonzero(counts.any(axis=1))
        (slots, *_), sums = _tally((self.slot_of_trace[some],), counts[some].T)
        of, at = np.nonzero(sums)
        reasons = [(*forests.COUNTERS, "beyond_window")[number] for number in of.tolist()]
        return self._frame(schema.COUNTERS, {"slot": slots[at], "reason": reasons, "count": sums[of, at]})

    def _only_polled(self) -> np.ndarray[Any, Any]:
        """Groups ``(g,)`` that are a poll without children, with nothing else to tell of it."""
        forest = self.forest
        root = forest.group_root
        told = np.zeros(len(root), np.bool_)
        told[forest.unit_group[forest.unit_incomplete | forest.unit_skewed]] = True
        alone = forest.child_start[root + 1] == forest.child_start[root]
        failed = self.status[root] == schema.STATUS_ERROR
        return (forest.role[root] == ROLE_POLL) & alone & ~failed & ~told & ~self.group_mixed

    def _hop_halves(self, entry_of_group: I64, head: Ints) -> pl.DataFrame:
        forest = self.forest
        unit = forest.hop_unit
        group = forest.unit_group[unit]
        lonely = forest.unconsumed
        zero = np.zeros(len(lonely), np.int64)
        rows = self.rows
        root = forest.group_root[group]
        asks = self.edge_class[root] == schema.CLASS_MESSAGING
        consumers = {
            "slot": self.group_slot[group],
            "side": np.where(self._only_polled()[group], 2, 1),
            "key_hi": forest.hop_hi,
            "key_lo": forest.hop_lo,
            "key_span": forest.hop_span,
            "time_ns": forest.group_from_ns[group],
            "clock_ns": forest.unit_end_ns[unit] - forest.unit_start_ns[unit],
            "path_id": self.node_id[head[group]],
            "entry_id": entry_of_group[group],
            "threshold": self.group_threshold[group],
            "topic": self._texts(pl.Series(np.where(asks, self.codes["peer"][root], -1))),
            "failed": self.status[root] == schema.STATUS_ERROR,
        }
        producers = {
            "slot": self.slot_of_trace[forest.trace[lonely]],
            "side": zero,
            "key_hi": rows["trace_hi"].to_numpy()[forest.order[lonely]],
            "key_lo": rows["trace_lo"].to_numpy()[forest.order[lonely]],
            "key_span": rows["span_id"].to_numpy()[forest.order[lonely]],
            "time_ns": forest.end_ns[lonely],
            "clock_ns": forest.end_ns[lonely] - forest.start_ns[lonely],
            "path_id": zero,
            "entry_id": zero,
            "threshold": self.threshold[lonely],
            "topic": self._texts(pl.Series(self.codes["peer"][lonely])),
            "failed": zero,
        }
        return pl.concat([self._frame(schema.HOP_HALVES, columns) for columns in (consumers, producers)])
