"""From walked spans to dense sums per call path.

Two kernels.  `attribute` gives every span the edge that its time belongs to and the call path that
it stands on, interning both as it goes; `accumulate` sums.  Names stay integer codes throughout.

    gateway SERVER                    entry node
      gateway INTERNAL                  its time: self of gateway, below the entry node
      gateway CLIENT -> orders SERVER   one node: http gateway -> orders
        orders SERVER                     its time: self of orders, below that node
          orders CLIENT (db)                node: db orders -> postgresql/orders

INTERNAL spans are no nodes, so new middleware makes nothing new.

Source: design, sections 4 (which edge a segment belongs to), 5 and 6.
"""

# Inner kernels carry no annotations: their types are what the compiler infers from the arrays given.
# pyright: reportMissingParameterType=false, reportUnknownParameterType=false

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tracescope.kernels import bare, inlined, kernel
from tracescope.kernels.roles import (
    ROLE_CALL,
    ROLE_CONSUMER,
    ROLE_DB,
    ROLE_INTERNAL,
    ROLE_LEAF_CALL,
    ROLE_POLL,
    ROLE_PUBLISH,
    ROLE_SERVER,
    ROLE_TRANSPORT,
)
from tracescope.kernels.tally import Table, grown, has_room, hash4, new_table, number_of, with_room
from tracescope.schema import (
    CLASS_HTTP,
    CLASS_RPC,
    CLASS_SIDECAR,
    EDGE_DB,
    EDGE_EXTERNAL,
    EDGE_HTTP,
    EDGE_QUEUE,
    EDGE_RPC,
    EDGE_SELF,
    STATUS_ERROR,
    UNIT_DETACHED,
    UNIT_LONG,
    UNIT_MESSAGE,
)

#: Columns of `accumulate`'s sums.
(
    CALLS, CALLS_VISITED, VISITS, OWN, INCLUSIVE, OWN_ALL, BUSY, CHILD_SUM, CHILD_UNION,
    DETACHED, ERRORS, FAILED, RETRIES, CALLS_IN_FAILED, OWN_IN_FAILED, UNITS,
    SLOW, SLOW_HI, SLOW_LO, TYPICAL, TYPICAL_HI, TYPICAL_LO,
) = range(22)  # fmt: skip
SUMS = 22


class Spans(NamedTuple):
    """What call paths are made of, per span in order ``(n,)``.

    The first four as in `tracescope.kernels.forest.Forest`; the others are codes of one table of names, -1
    for none, but for ``edge_class``: CLASS_*.
    """

    parent: NDArray[Any]
    role: NDArray[Any]
    callee: NDArray[Any]
    answers: NDArray[Any]
    edge_class: NDArray[Any]
    service: NDArray[Any]
    peer: NDArray[Any]
    operation: NDArray[Any]
    environment: NDArray[Any]


class Groups(NamedTuple):
    """Walk groups, in the order in which `Forest.sequence` has their spans.

    ``start`` ``(g + 1,)`` are bounds in ``sequence`` ``(n,)``; ``root``, ``kind`` (UNIT_*) and ``producer``
    (position of the span that published the first message; -1: none) are per group ``(g,)``.
    """

    sequence: NDArray[Any]
    start: NDArray[Any]
    root: NDArray[Any]
    kind: NDArray[Any]
    producer: NDArray[Any]


class Fixed(NamedTuple):
    """Codes of the names that no span gives: of publishing, of waiting, and of what has no name."""

    publish: int
    wait: int
    unknown: int


class Places(NamedTuple):
    """Where time stands: nodes, as positions in `attribute`'s; -1 for none.

    Attributes
    ----------
    opens, owns, selfs ``(n,)``
        Node that the span opens, node that its own time belongs to, node of its service's own time.
    via ``(n,)``
        Node of the call that the span's service must have had, where nobody reported it.
    home ``(n,)``
        Span that opened the node the span stands under.
    head ``(g,)``
        A message's wait node, else the entry's node.
    late ``(g,)``
        Node that a detached group's root would have opened under its parent.
    """

    opens: NDArray[Any]
    owns: NDArray[Any]
    selfs: NDArray[Any]
    via: NDArray[Any]
    home: NDArray[Any]
    head: NDArray[Any]
    late: NDArray[Any]


class _Graph(NamedTuple):
    """Edges and nodes met so far."""

    edges: Table
    nodes: Table


_NONE = np.int64(-1)

#: Edges and nodes that one span may add.
_MOST_EDGES, _MOST_NODES = 4, 5


# -- edges and nodes -----------------------------------------------------------------------------


@inlined
def _edge_kind(mine, theirs):
    """`http` unless either side says `rpc`."""
    return EDGE_RPC if mine == CLASS_RPC or theirs == CLASS_RPC else EDGE_HTTP


@inlined
def _known(name, fixed):
    return np.int64(name) if name >= 0 else np.int64(fixed.unknown)


@inlined
def _edge_of(i, p, spans, fixed):
    """Kind (-1: none), caller, callee and operation of the edge that a span opens; `p` is -1 at a root."""
    r, service, edge_class = spans.role[i], spans.service, spans.edge_class
    kind, caller, other, name = -1, np.int64(service[i]), _NONE, np.int64(spans.operation[i])
    if r == ROLE_CALL:
        answered = spans.callee[i]
        other = np.int64(service[answered])
        kind = _edge_kind(edge_class[i], edge_class[answered])
        name = np.int64(spans.operation[answered])
    elif r == ROLE_LEAF_CALL or (r == ROLE_POLL and p >= 0):
        other = _known(spans.peer[i], fixed)
        of_class = edge_class[i]
        named = spans.peer[i] >= 0 and (
            of_class == CLASS_HTTP or of_class == CLASS_RPC or of_class == CLASS_SIDECAR
        )
        kind = _edge_kind(edge_class[i], edge_class[i]) if named else EDGE_EXTERNAL
    elif r == ROLE_DB:
        other = _known(spans.peer[i], fixed)
        kind = EDGE_DB
    elif r == ROLE_PUBLISH:
        other = _known(spans.peer[i], fixed)
        kind, name = EDGE_QUEUE, np.int64(fixed.publish)
    elif (
        p >= 0 and r != ROLE_TRANSPORT and service[i] != service[p] and not spans.answers[i]
    ):  # served without a call
        caller, other = np.int64(service[p]), np.int64(service[i])
        kind = _edge_kind(edge_class[i], edge_class[p])
    return kind, caller, other, name


@inlined
def _calls(r):
    """Whether a role is that of a call."""
    return r == ROLE_CALL or r == ROLE_LEAF_CALL or r == ROLE_DB or r == ROLE_PUBLISH


@inlined
def _moves(i, p, spans):
    """Whether a call stands below another service's span."""
    return p >= 0 and _calls(spans.role[i]) and spans.service[i] != spans.service[p]


@inlined
def _nested(i, p, spans, nodes, base, code):
    """Whether a span is the same question to a database as the one it stands in."""
    return spans.role[i] == ROLE_DB and p >= 0 and spans.role[p] == ROLE_DB and nodes.rows[base, 1] == code


@inlined
def _self_node(i, above, spans, graph):
    """Node of the own time of a span's service, below a node."""
    code = number_of(graph.edges, EDGE_SELF, spans.service[i], _NONE, spans.operation[i])
    return number_of(graph.nodes, above, code, _NONE, _NONE)


@bare
def _entered(i, p, base, spans, graph):
    """Node, below `base`, of the call that must have led from a span's parent to its service."""
    kind = _edge_kind(spans.edge_class[i], spans.edge_class[p])
    code = number_of(graph.edges, kind, spans.service[p], spans.service[i], spans.operation[i])
    return number_of(graph.nodes, base, code, _NONE, _NONE)


@inlined
def _opened(i, p, base, spans, fixed, graph):
    """Node, below `base`, of the edge that a span opens, or -1."""
    kind, caller, other, name = _edge_of(i, p, spans, fixed)
    if kind < 0:
        return _NONE
    code = number_of(graph.edges, kind, caller, other, name)
    if _nested(i, p, spans, graph.nodes, base, code):
        return _NONE
    return number_of(graph.nodes, base, code, _NONE, _NONE)


@bare
def _waited(g, i, base, spans, groups, fixed, graph):
    """Node, below `base`, of a message's wait in the queue that its consumer `i` took it from."""
    q = groups.producer[g]
    asks = spans.role[i] == ROLE_CONSUMER or spans.role[i] == ROLE_POLL  # others' peers are no destinations
    topic = spans.peer[q] if q >= 0 and (spans.peer[i] < 0 or not asks) else spans.peer[i]
    code = number_of(graph.edges, EDGE_QUEUE, _known(topic, fixed), spans.service[i], fixed.wait)
    return number_of(graph.nodes, base, code, _NONE, _NONE)


# -- every span's place --------------------------------------------------------------------------


@bare
def _attribute_spans(g, k, spans, groups, fixed, graph, places, under):
    """Go on at position `k` of group `g` until rows may not suffice; returns where."""
    while g < len(groups.root):
        while k < groups.start[g + 1]:
            if not has_room(graph.edges, _MOST_EDGES) or not has_room(graph.nodes, _MOST_NODES):
                return g, k
            i = np.int64(groups.sequence[k])
            is_root = k == groups.start[g]
            if is_root:
                p = _NONE
                root = spans.environment[i], spans.service[i], spans.operation[i]
                base = number_of(graph.nodes, _NONE, root[0], root[1], root[2])
                places.head[g] = base
                inherited, opener = _NONE, i
            else:
                p = np.int64(spans.parent[i])
                base, inherited = np.int64(under[p]), np.int64(places.selfs[p])
                opener = np.int64(places.home[p])
            if _moves(i, p, spans):
                if not spans.answers[i]:  # what called its service is missing
                    base = _entered(i, p, base, spans, graph)
                    places.via[i] = base
                inherited = _self_node(i, base, spans, graph)
            node = _opened(i, p, base, spans, fixed, graph)
            if node >= 0:
                places.opens[i] = node
                opener = i
            else:
                node = base
            if is_root and groups.kind[g] == UNIT_MESSAGE:
                node = _waited(g, i, base, spans, groups, fixed, graph)
                places.head[g] = node
            r = spans.role[i]
            served = r == ROLE_SERVER or r == ROLE_CONSUMER or r == ROLE_INTERNAL
            served |= is_root and (r == ROLE_POLL or r == ROLE_TRANSPORT)
            starts_service = served and (is_root or places.opens[i] >= 0 or spans.answers[i])
            if starts_service or (is_root and not served):
                # a CLIENT at the root of a unit still has a service whose own time may follow
                inherited = _self_node(i, node if starts_service else base, spans, graph)
            places.selfs[i], under[i], places.home[i] = inherited, node, opener
            places.owns[i] = inherited if served else places.owns[p] if r == ROLE_TRANSPORT else node
            k += 1
        g += 1
    return g, k


@bare
def _attribute_late(g, spans, groups, fixed, graph, places, under):
    """What each detached group's root would have opened, had it been waited for; as `_attribute_spans`."""
    while g < len(groups.root):
        if not has_room(graph.edges, 1) or not has_room(graph.nodes, 1):
            break
        i = np.int64(groups.root[g])
        p = np.int64(spans.parent[i])
        if p >= 0 and (groups.kind[g] == UNIT_DETACHED or groups.kind[g] == UNIT_LONG):
            base = np.int64(under[p])
            if _moves(i, p, spans) and not spans.answers[i]:
                places.late[g] = _entered(i, p, base, spans, graph)
            else:
                places.late[g] = _opened(i, p, base, spans, fixed, graph)
        g += 1
    return g


@kernel
def attribute(spans, groups, fixed):
    """Give every span its edge and call path.

    Parameters
    ----------
    spans, groups, fixed
        `Spans`, `Groups` and `Fixed`.

    Returns
    -------
    edges ``(e, 4)``
        kind, caller, callee (-1: none), operation.
    nodes ``(p, 4)``
        parent node (-1: an entry), edge or environment, service or -1, operation or -1.
    places
        `Places`.
    """
    n, size = len(spans.parent), len(groups.root)
    graph = _Graph(new_table(64), new_table(64))
    places = Places(
        np.full(n, -1, np.int32), np.empty(n, np.int32), np.empty(n, np.int32), np.full(n, -1, np.int32),
        np.empty(n, np.int32), np.empty(size, np.int32), np.full(size, -1, np.int32),
    )  # fmt: skip
    under = np.empty(n, np.int32)  # node that the span's calls hang under
    g, k, done = 0, 0, 0
    while True:
        g, k = _attribute_spans(g, k, spans, groups, fixed, graph, places, under)
        if g == size:
            done = _attribute_late(done, spans, groups, fixed, graph, places, under)
        if done == size:
            edges, nodes = graph.edges, graph.nodes
            return edges.rows[: edges.size[0]].copy(), nodes.rows[: nodes.size[0]].copy(), places
        graph = _Graph(grown(graph.edges), grown(graph.nodes))


# -- sums ----------------------------------------------------------------------------------------


class Times(NamedTuple):
    """What is summed, per span in order ``(n,)``.

    ``own_ns`` to ``child_union_ns`` as in `tracescope.kernels.walk.Walk`; ``again`` says which spans are
    calls made again after they failed; ``group`` is each span's walk group.
    """

    group: NDArray[Any]
    parent: NDArray[Any]
    answers: NDArray[Any]
    status: NDArray[Any]
    again: NDArray[Any]
    start_ns: NDArray[Any]
    end_ns: NDArray[Any]
    own_ns: NDArray[Any]
    inclusive_ns: NDArray[Any]
    visited: NDArray[Any]
    self_ns: NDArray[Any]
    child_sum_ns: NDArray[Any]
    child_union_ns: NDArray[Any]


class Counted(NamedTuple):
    """Walk groups as they count; ``sequence``, ``start`` and ``root`` as in `Groups`.

    Attributes
    ----------
    hops
        Units that share the group.
    context
        Number of its slot, unit and threshold; -1 leaves the group out.
    wait_node
        Node of a message's wait, or -1.
    wait_ns, clock_ns
        Sums of its units' waits and clocks.
    trace_hi, trace_lo
        Id of its trace.
    """

    sequence: NDArray[Any]
    start: NDArray[Any]
    root: NDArray[Any]
    hops: NDArray[Any]
    context: NDArray[Any]
    wait_node: NDArray[Any]
    wait_ns: NDArray[Any]
    clock_ns: NDArray[Any]
    trace_hi: NDArray[Any]
    trace_lo: NDArray[Any]


class CellsOf(NamedTuple):
    """Cells that spans open ``(n,)``, of calls that must have been ``(n,)``, of messages' waits ``(g,)``."""

    span: NDArray[Any]
    via: NDArray[Any]
    head: NDArray[Any]


class _Cells(NamedTuple):
    """Sums so far, by row of node and context ``(c,)``; ``last`` is the group that came last."""

    table: Table
    sums: NDArray[Any]
    last: NDArray[Any]


class _Unit(NamedTuple):
    """What all spans of a walk group share, as they are summed.

    Attributes
    ----------
    group, root, context
        Its number, first span, and context.
    weight
        How often everything in it counts.
    failed
        1 where the whole of it failed.
    hi, lo, draw
        Its trace's id, and a hash of that.
    """

    group: np.int64
    root: np.int64
    context: np.int64
    weight: np.int64
    failed: np.int64
    hi: np.int64
    lo: np.int64
    draw: np.int64


#: Cells that one span may add, and one that waited before it.
_MOST_CELLS, _MOST_WITH_WAIT = 4, 5


@inlined
def _trace_hash(hi, lo):
    """63 bits of a trace id; the smallest of many is a fair draw."""
    return np.int64(hash4(hi, lo, 0, 0) >> np.uint64(1))


@inlined
def _unit_of(g, groups, times):
    root = np.int64(groups.root[g])
    hi, lo = groups.trace_hi[g], groups.trace_lo[g]
    failed = np.int64(times.status[root] == STATUS_ERROR)
    weight = np.int64(groups.hops[g])
    return _Unit(np.int64(g), root, groups.context[g], weight, failed, hi, lo, _trace_hash(hi, lo))


@bare
def _draw(row, duration, unit):
    """Let a call be its path's slowest or typical one, if it is."""
    hi, lo = unit.hi, unit.lo
    if (
        duration > row[SLOW]
        or (row[SLOW_HI] == 0 and row[SLOW_LO] == 0)
        or (duration == row[SLOW] and (hi < row[SLOW_HI] or (hi == row[SLOW_HI] and lo < row[SLOW_LO])))
    ):
        row[SLOW], row[SLOW_HI], row[SLOW_LO] = duration, hi, lo
    if unit.draw < row[TYPICAL]:
        row[TYPICAL], row[TYPICAL_HI], row[TYPICAL_LO] = unit.draw, hi, lo


@inlined
def _new_cell(cells, node, context):
    """Cell of a path in a context, made where there is none."""
    count = cells.table.size[0]
    cell = number_of(cells.table, node, context, 0, 0)
    if cell == count:
        cells.sums[cell] = 0
        cells.sums[cell, TYPICAL] = np.iinfo(np.int64).max
        cells.last[cell, 0] = -1
    return cell


@inlined
def _cell(cells, node, unit):
    """Cell of a path in a unit's context; a group that is new to it is counted."""
    cell = _new_cell(cells, node, unit.context)
    if cells.last[cell, 0] != unit.group:
        cells.last[cell, 0] = unit.group
        cells.sums[cell, UNITS] += unit.weight
    return cell


@bare
def _add_wait(unit, groups, cells, cells_of):
    """A message's wait in its queue."""
    g, weight = unit.group, unit.weight
    wait, clock = groups.wait_ns[g], groups.clock_ns[g]
    cell = _cell(cells, groups.wait_node[g], unit)
    cells_of.head[g] = cell
    row = cells.sums[cell]
    row[CALLS] += weight
    row[CALLS_VISITED] += weight
    row[VISITS] += weight
    row[OWN] += wait
    row[OWN_ALL] += wait
    row[INCLUSIVE] += clock
    row[BUSY] += wait // weight
    row[CALLS_IN_FAILED] += weight * unit.failed
    row[OWN_IN_FAILED] += wait * unit.failed
    _draw(row, clock // weight, unit)


@inlined
def _add_below(row, i, unit, times):
    """Time that what a visited span called took, one by one and together."""
    if times.visited[i]:
        row[CHILD_SUM] += unit.weight * times.child_sum_ns[i]
        row[CHILD_UNION] += unit.weight * times.child_union_ns[i]


@bare
def _add_call(i, opened, unit, times, places, cells, cells_of):
    """A call that a span is or that must have led to it, on the path that it opened."""
    weight, is_own = unit.weight, opened == places.opens[i]
    duration = times.end_ns[i] - times.start_ns[i]
    failed = times.status[i] == STATUS_ERROR
    cell = _cell(cells, opened, unit)
    if is_own:
        cells_of.span[i] = cell
    else:
        cells_of.via[i] = cell
    row = cells.sums[cell]
    row[CALLS] += weight
    row[CALLS_VISITED] += weight * (i == unit.root or times.visited[places.home[times.parent[i]]])
    row[VISITS] += weight * times.visited[i]
    row[INCLUSIVE] += weight * times.inclusive_ns[i]
    row[BUSY] += duration
    row[ERRORS] += weight * failed
    row[FAILED] += duration * failed
    row[CALLS_IN_FAILED] += weight * unit.failed
    if is_own:
        row[RETRIES] += weight * times.again[i]
    _add_below(row, i, unit, times)
    _draw(row, duration, unit)


@bare
def _add_self(i, unit, times, places, cells):
    """A span's own time, on the path that it belongs to."""
    weight = unit.weight
    row = cells.sums[_cell(cells, places.owns[i], unit)]
    row[OWN] += weight * times.own_ns[i]
    row[OWN_ALL] += weight * times.self_ns[i]
    row[OWN_IN_FAILED] += weight * times.own_ns[i] * unit.failed
    if places.selfs[i] == places.owns[i]:
        row[INCLUSIVE] += weight * times.own_ns[i]
        row[BUSY] += times.self_ns[i]
        _add_below(row, i, unit, times)


@inlined
def _enters(i, unit, times, places):
    """Whether a service is entered with a span, whose own time is counted once each time."""
    opens = places.opens[i]
    return (
        i == unit.root or times.answers[i] or places.via[i] >= 0 or (opens >= 0 and places.owns[i] != opens)
    )


@bare
def _add_entered(i, unit, times, places, cells):
    """A service that is entered with a span, as a call of its own time."""
    weight = unit.weight
    row = cells.sums[_cell(cells, places.selfs[i], unit)]
    seen = weight * times.visited[places.home[i]]
    row[CALLS] += weight
    row[CALLS_VISITED] += seen
    row[VISITS] += seen
    row[ERRORS] += weight * (times.status[i] == STATUS_ERROR)
    row[CALLS_IN_FAILED] += weight * unit.failed
    _draw(row, times.end_ns[i] - times.start_ns[i], unit)


@bare
def _add_spans(g, k, groups, times, places, cells, cells_of):
    """Go on at position `k` of group `g` until cells may not suffice; returns where."""
    while g < len(groups.root):
        if groups.context[g] < 0:
            g, k = g + 1, groups.start[g + 1]
            continue
        unit = _unit_of(g, groups, times)
        if k == groups.start[g] and groups.wait_node[g] >= 0:
            # room for the first span as well, or the wait would be counted again
            if not has_room(cells.table, _MOST_WITH_WAIT):
                return g, k
            _add_wait(unit, groups, cells, cells_of)
        while k < groups.start[g + 1]:
            if not has_room(cells.table, _MOST_CELLS):
                return g, k
            i = np.int64(groups.sequence[k])
            for opened in (places.via[i], places.opens[i]):
                if opened >= 0:
                    _add_call(i, opened, unit, times, places, cells, cells_of)
            if places.owns[i] >= 0:
                _add_self(i, unit, times, places, cells)
            if places.selfs[i] >= 0 and _enters(i, unit, times, places):
                _add_entered(i, unit, times, places, cells)
            k += 1
        g += 1
    return g, k


@bare
def _add_late(g, groups, times, places, cells):
    """Calls that nobody waited for, on the path they were made on; as `_add_spans`."""
    while g < len(groups.root):
        p = times.parent[groups.root[g]]
        if places.late[g] >= 0 and p >= 0 and groups.context[times.group[p]] >= 0:
            if not has_room(cells.table, 1):
                break
            above = times.group[p]
            row = cells.sums[_new_cell(cells, places.late[g], groups.context[above])]
            weight = np.int64(groups.hops[above])
            row[CALLS] += weight
            row[CALLS_VISITED] += weight * times.visited[places.home[p]]
            row[DETACHED] += weight
            row[CALLS_IN_FAILED] += weight * (times.status[groups.root[above]] == STATUS_ERROR)
        g += 1
    return g


@kernel
def accumulate(groups, times, places):
    """Sum spans into cells: one for each (call path, context) pair.

    Everything counts once for each of a batch's hops, but for busy time.

    Parameters
    ----------
    groups, times, places
        `Counted`, `Times` and `Places`.

    Returns
    -------
    cells ``(c, 4)``
        node, context, 0, 0.
    sums ``(c, SUMS)``
        Columns as named above.
    cells_of
        `CellsOf`; -1 for none.
    """
    n, size = len(times.parent), len(groups.root)
    cells = _Cells(new_table(256), np.empty((256, SUMS), np.int64), np.empty((256, 1), np.int64))
    cells_of = CellsOf(np.full(n, -1, np.int32), np.full(n, -1, np.int32), np.full(size, -1, np.int32))
    g, k, done = 0, 0, 0
    while True:
        g, k = _add_spans(g, k, groups, times, places, cells, cells_of)
        if g == size:
            done = _add_late(done, groups, times, places, cells)
        count = cells.table.size[0]
        if done == size:
            return cells.table.rows[:count].copy(), cells.sums[:count].copy(), cells_of
        cells = _Cells(grown(cells.table), with_room(cells.sums, count), with_room(cells.last, count))
