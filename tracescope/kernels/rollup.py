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

import numpy as np

from tracescope.kernels import inlined, kernel
from tracescope.kernels.roles import (
    ROLE_CALL,
    ROLE_CONSUMER,
    ROLE_DB,
    ROLE_INTERNAL,
    ROLE_LEAF_CALL,
    ROLE_PUBLISH,
    ROLE_SERVER,
)
from tracescope.schema import (
    CLASS_HTTP,
    CLASS_RPC,
    EDGE_DB,
    EDGE_EXTERNAL,
    EDGE_HTTP,
    EDGE_QUEUE,
    EDGE_RPC,
    EDGE_SELF,
    STATUS_ERROR,
    UNIT_DETACHED,
    UNIT_MESSAGE,
)

#: Columns of `accumulate`'s sums.
(
    CALLS, CALLS_VISITED, VISITS, OWN, INCLUSIVE, OWN_ALL, BUSY, CHILD_SUM, CHILD_UNION,
    DETACHED, ERRORS, UNITS, SLOW, SLOW_HI, SLOW_LO, TYPICAL, TYPICAL_HI, TYPICAL_LO,
) = range(18)  # fmt: skip
SUMS = 18


@inlined
def _hash4(a, b, c, d):
    x = np.uint64(a) * np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ np.uint64(b) ^ (x >> np.uint64(29))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ np.uint64(c) ^ (x >> np.uint64(31))) * np.uint64(0x94D049BB133111EB)
    x = (x ^ np.uint64(d) ^ (x >> np.uint64(29))) * np.uint64(0xBF58476D1CE4E5B9)
    return x ^ (x >> np.uint64(32))


@kernel
def _intern(rows, size, table, a, b, c, d):
    """Number of the row (a, b, c, d), added when new; returns number, size, rows and table."""
    mask = np.uint64(len(table) - 1)
    slot = _hash4(a, b, c, d) & mask
    while table[slot] >= 0:
        r = table[slot]
        if rows[r, 0] == a and rows[r, 1] == b and rows[r, 2] == c and rows[r, 3] == d:
            return r, size, rows, table
        slot = (slot + np.uint64(1)) & mask
    if size == len(rows):
        grown = np.empty((2 * size, 4), np.int64)
        grown[:size] = rows
        rows = grown
    rows[size, 0], rows[size, 1], rows[size, 2], rows[size, 3] = a, b, c, d
    table[slot] = size
    size += 1
    if 2 * size > len(table):
        table = np.full(2 * len(table), -1, np.int64)
        mask = np.uint64(len(table) - 1)
        for r in range(size):
            slot = _hash4(rows[r, 0], rows[r, 1], rows[r, 2], rows[r, 3]) & mask
            while table[slot] >= 0:
                slot = (slot + np.uint64(1)) & mask
            table[slot] = r
    return size - 1, size, rows, table


@inlined
def _edge_kind(mine, theirs):
    """`http` unless either side says `rpc`."""
    return EDGE_RPC if mine == CLASS_RPC or theirs == CLASS_RPC else EDGE_HTTP


@kernel
def attribute(
    sequence, group_start, group_root, group_kind, group_producer, parent, role, callee, answers, blocks,
    edge_class, service, peer, operation, environment, publish, wait, unknown,
):  # fmt: skip
    """Give every span its edge and call path.

    Inputs are per span ``(n,)`` or per walk group ``(g,)``; names are codes of one table, in which
    `publish`, `wait` and `unknown` are the codes of the fixed names.

    Returns
    -------
    edges ``(e, 4)``
        kind, caller, callee (-1: none), operation.
    nodes ``(p, 4)``
        parent node (-1: an entry), edge or environment, service or -1, operation or -1.
    opens, owns, selfs ``(n,)``
        Node that the span opens (-1: none), node that its own time belongs to, node of its
        service's own time (-1: none).
    home ``(n,)``
        Span that opened the node the span stands under.
    head ``(g,)``
        A message's wait node, else the entry's node.
    late ``(g,)``
        Node that a detached group's root would have opened under its parent (-1: none).
    """
    n = len(parent)
    edges, edge_table, edge_count = np.empty((64, 4), np.int64), np.full(256, -1, np.int64), 0
    nodes, node_table, node_count = np.empty((64, 4), np.int64), np.full(256, -1, np.int64), 0
    opens = np.full(n, -1, np.int64)
    owns = np.full(n, -1, np.int64)
    selfs = np.full(n, -1, np.int64)
    under = np.full(n, -1, np.int64)  # node that the span's calls hang under
    home = np.full(n, -1, np.int64)
    head = np.full(len(group_root), -1, np.int64)
    late = np.full(len(group_root), -1, np.int64)
    for turn in range(2):
        for k in range(n if turn == 0 else len(group_root)):
            if turn == 0:
                i = sequence[k]
            else:  # what each detached group's root would have opened, had it been waited for
                i = np.int64(group_root[k])
                if group_kind[k] != UNIT_DETACHED:
                    continue
            p = parent[i]
            r = role[i]
            if turn == 0 and not blocks[i]:
                base, node_count, nodes, node_table = _intern(
                    nodes, node_count, node_table, -1, environment[i], service[i], operation[i]
                )
                inherited = np.int64(-1)
                opener = np.int64(i)
                is_root = True
            else:
                base, inherited, opener = under[p], selfs[p], home[p]
                is_root = False
            kind, other, name = -1, np.int64(-1), np.int64(operation[i])
            if r == ROLE_CALL:
                other = np.int64(service[callee[i]])
                kind = _edge_kind(edge_class[i], edge_class[callee[i]])
                name = np.int64(operation[callee[i]])
            elif r == ROLE_LEAF_CALL:
                other = np.int64(peer[i]) if peer[i] >= 0 else np.int64(unknown)
                named = peer[i] >= 0 and (edge_class[i] == CLASS_HTTP or edge_class[i] == CLASS_RPC)
                kind = _edge_kind(edge_class[i], edge_class[i]) if named else EDGE_EXTERNAL
            elif r == ROLE_DB:
                other = np.int64(peer[i]) if peer[i] >= 0 else np.int64(unknown)
                kind = EDGE_DB
            elif r == ROLE_PUBLISH:
                other = np.int64(peer[i]) if peer[i] >= 0 else np.int64(unknown)
                kind, name = EDGE_QUEUE, np.int64(publish)
            elif not is_root and service[i] != service[p] and not answers[i]:
                other = np.int64(service[i])
                kind = _edge_kind(edge_class[i], edge_class[p])
            caller = np.int64(service[i])
            served = r == ROLE_SERVER or r == ROLE_CONSUMER or r == ROLE_INTERNAL
            if served and kind >= 0:
                caller = np.int64(service[p])
            node = base
            if kind >= 0:
                code, edge_count, edges, edge_table = _intern(
                    edges, edge_count, edge_table, kind, caller, other, name
                )
                nested = r == ROLE_DB and not is_root and role[p] == ROLE_DB and nodes[base, 1] == code
                if not nested:
                    node, node_count, nodes, node_table = _intern(
                        nodes, node_count, node_table, base, code, -1, -1
                    )
                    if turn == 1:
                        late[k] = node
                        continue
                    opens[i] = node
                    opener = np.int64(i)
            if turn == 1:
                continue
            if is_root:
                head[_group_of(group_start, k)] = base
                g = _group_of(group_start, k)
                if group_kind[g] == UNIT_MESSAGE:
                    topic = np.int64(peer[i])
                    q = group_producer[g]
                    if topic < 0 and q >= 0:
                        topic = np.int64(peer[q])
                    if topic < 0:
                        topic = np.int64(unknown)
                    code, edge_count, edges, edge_table = _intern(
                        edges, edge_count, edge_table, EDGE_QUEUE, topic, service[i], wait
                    )
                    node, node_count, nodes, node_table = _intern(
                        nodes, node_count, node_table, base, code, -1, -1
                    )
                    head[g] = node
            starts_service = served and (is_root or opens[i] >= 0 or answers[i])
            if starts_service or (is_root and not served):
                code, edge_count, edges, edge_table = _intern(
                    edges, edge_count, edge_table, EDGE_SELF, service[i], -1, operation[i]
                )
                # a CLIENT at the root of a unit still has a service whose own time may follow
                at = node if starts_service else base
                selfs[i], node_count, nodes, node_table = _intern(
                    nodes, node_count, node_table, at, code, -1, -1
                )
            else:
                selfs[i] = inherited
            under[i] = node
            home[i] = opener
            owns[i] = selfs[i] if served else node
    return edges[:edge_count].copy(), nodes[:node_count].copy(), opens, owns, selfs, home, head, late


@inlined
def _group_of(group_start, k):
    """Group whose spans hold position `k` of the sequence."""
    lo, hi = 0, len(group_start) - 1
    while hi - lo > 1:
        middle = (lo + hi) // 2
        if group_start[middle] <= k:
            lo = middle
        else:
            hi = middle
    return lo


@inlined
def _trace_hash(hi, lo):
    """63 bits of a trace id; the smallest of many is a fair draw."""
    return np.int64(_hash4(hi, lo, 0, 0) >> np.uint64(1))


@kernel
def accumulate(
    sequence, group_start, group_root, hops, group_cell_key, group_wait, group_clock, head, late,
    group, parent, answers, opens, owns, selfs, home, status, start_ns, end_ns, own_ns, inclusive_ns,
    visited, self_ns, child_sum, child_union, trace_hi, trace_lo,
):  # fmt: skip
    """Sum spans into cells: one for each (call path, context) pair.

    ``group_cell_key`` ``(g,)`` numbers the context (slot, unit, threshold) of each walk group; -1
    leaves the group out.  Everything counts once for each of a batch's hops, but for busy time.

    Returns
    -------
    cells ``(c, 4)``
        node, context, 0, 0.
    sums ``(c, SUMS)``
        Columns as named above.
    span_cell ``(n,)``
        Cell that the span opens, or -1.
    head_cell ``(g,)``
        Cell of each message's wait, or -1.
    """
    n = len(parent)
    cells, table, count = np.empty((256, 4), np.int64), np.full(1024, -1, np.int64), 0
    sums = np.zeros((256, SUMS), np.int64)
    last = np.full(256, -1, np.int64)
    span_cell = np.full(n, -1, np.int64)
    head_cell = np.full(len(group_root), -1, np.int64)
    for g in range(len(group_root)):
        context = group_cell_key[g]
        if context < 0:
            continue
        weight = np.int64(hops[g])
        root = group_root[g]
        for k in range(group_start[g] - 1, group_start[g + 1]):
            i = np.int64(sequence[k]) if k >= group_start[g] else np.int64(root)
            waiting = k < group_start[g]
            if waiting and head[g] < 0:
                continue
            for part in range(3):
                if waiting:
                    node = head[g] if part == 0 else np.int64(-1)
                elif part == 0:
                    node = opens[i]
                elif part == 1:
                    node = owns[i]
                else:  # a service's own time: once for each time it is entered
                    entered = i == root or answers[i] or (opens[i] >= 0 and owns[i] != opens[i])
                    node = selfs[i] if entered else np.int64(-1)
                if node < 0:
                    continue
                before = count
                cell, count, cells, table = _intern(cells, count, table, node, context, 0, 0)
                if count > before:
                    if count > len(sums):
                        grown = np.zeros((2 * len(sums), SUMS), np.int64)
                        grown[: count - 1] = sums[: count - 1]
                        sums = grown
                        marks = np.full(2 * len(last), -1, np.int64)
                        marks[: count - 1] = last[: count - 1]
                        last = marks
                    sums[cell, TYPICAL] = np.iinfo(np.int64).max
                row = sums[cell]
                if last[cell] != g:
                    last[cell] = g
                    row[UNITS] += weight
                duration = end_ns[i] - start_ns[i]
                if waiting:
                    head_cell[g] = cell
                    duration = group_clock[g] // weight
                    row[CALLS] += weight
                    row[CALLS_VISITED] += weight
                    row[VISITS] += weight
                    row[OWN] += group_wait[g]
                    row[OWN_ALL] += group_wait[g]
                    row[INCLUSIVE] += group_clock[g]
                    row[BUSY] += group_wait[g] // weight
                elif part == 0:
                    span_cell[i] = cell
                    seen = visited[i]
                    p = parent[i]
                    above = i == root or visited[home[p]]
                    row[CALLS] += weight
                    row[CALLS_VISITED] += weight * above
                    row[VISITS] += weight * seen
                    row[INCLUSIVE] += weight * inclusive_ns[i]
                    row[BUSY] += duration
                    row[ERRORS] += weight * (status[i] == STATUS_ERROR)
                    if seen:
                        row[CHILD_SUM] += weight * child_sum[i]
                        row[CHILD_UNION] += weight * child_union[i]
                elif part == 1:
                    row[OWN] += weight * own_ns[i]
                    row[OWN_ALL] += weight * self_ns[i]
                    if selfs[i] == node:
                        row[INCLUSIVE] += weight * own_ns[i]
                        row[BUSY] += self_ns[i]
                        if visited[i]:
                            row[CHILD_SUM] += weight * child_sum[i]
                            row[CHILD_UNION] += weight * child_union[i]
                    continue
                else:
                    seen = visited[home[i]]
                    row[CALLS] += weight
                    row[CALLS_VISITED] += weight * seen
                    row[VISITS] += weight * seen
                    row[ERRORS] += weight * (status[i] == STATUS_ERROR)
                hi, lo = trace_hi[i], trace_lo[i]
                if (
                    duration > row[SLOW]
                    or (row[SLOW_HI] == 0 and row[SLOW_LO] == 0)
                    or (
                        duration == row[SLOW]
                        and (hi < row[SLOW_HI] or (hi == row[SLOW_HI] and lo < row[SLOW_LO]))
                    )
                ):
                    row[SLOW], row[SLOW_HI], row[SLOW_LO] = duration, hi, lo
                draw = _trace_hash(hi, lo)
                if draw < row[TYPICAL]:
                    row[TYPICAL], row[TYPICAL_HI], row[TYPICAL_LO] = draw, hi, lo
    for g in range(len(group_root)):  # calls that nobody waited for, on the path they were made on
        p = parent[group_root[g]]
        if late[g] < 0 or p < 0 or group_cell_key[group[p]] < 0:
            continue
        above = group[p]
        cell, grown_count, cells, table = _intern(cells, count, table, late[g], group_cell_key[above], 0, 0)
        if grown_count > count:
            count = grown_count
            if count > len(sums):
                grown = np.zeros((2 * len(sums), SUMS), np.int64)
                grown[: count - 1] = sums[: count - 1]
                sums = grown
            sums[cell, TYPICAL] = np.iinfo(np.int64).max
        weight = np.int64(hops[above])
        sums[cell, CALLS] += weight
        sums[cell, CALLS_VISITED] += weight * visited[home[p]]
        sums[cell, DETACHED] += weight
    return cells[:count].copy(), sums[:count].copy(), span_cell, head_cell
