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
from tracescope.kernels.tally import hash4, intern, roomier
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


@inlined
def _edge_kind(mine, theirs):
    """`http` unless either side says `rpc`."""
    return EDGE_RPC if mine == CLASS_RPC or theirs == CLASS_RPC else EDGE_HTTP


@inlined
def _known(name, unknown):
    return np.int64(name) if name >= 0 else np.int64(unknown)


@inlined
def _edge_of(i, p, role, callee, answers, edge_class, service, peer, operation, publish, unknown):
    """Kind (-1: none), caller, callee and operation of the edge that a span opens; `p` is -1 at a root."""
    r = role[i]
    kind, caller, other, name = -1, np.int64(service[i]), np.int64(-1), np.int64(operation[i])
    if r == ROLE_CALL:
        other = np.int64(service[callee[i]])
        kind = _edge_kind(edge_class[i], edge_class[callee[i]])
        name = np.int64(operation[callee[i]])
    elif r == ROLE_LEAF_CALL or (r == ROLE_POLL and p >= 0):
        other = _known(peer[i], unknown)
        of_class = edge_class[i]
        named = peer[i] >= 0 and (
            of_class == CLASS_HTTP or of_class == CLASS_RPC or of_class == CLASS_SIDECAR
        )
        kind = _edge_kind(edge_class[i], edge_class[i]) if named else EDGE_EXTERNAL
    elif r == ROLE_DB:
        other = _known(peer[i], unknown)
        kind = EDGE_DB
    elif r == ROLE_PUBLISH:
        other = _known(peer[i], unknown)
        kind, name = EDGE_QUEUE, np.int64(publish)
    elif (
        p >= 0 and r != ROLE_TRANSPORT and service[i] != service[p] and not answers[i]
    ):  # served without a call
        caller, other = np.int64(service[p]), np.int64(service[i])
        kind = _edge_kind(edge_class[i], edge_class[p])
    return kind, caller, other, name


@inlined
def _calls(r):
    """Whether a role is that of a call."""
    return r == ROLE_CALL or r == ROLE_LEAF_CALL or r == ROLE_DB or r == ROLE_PUBLISH


@inlined
def _enters(i, p, role, service, answers):
    """Whether a call stands below another service's span, so that what called its service is missing."""
    return p >= 0 and _calls(role[i]) and service[i] != service[p] and not answers[i]


@inlined
def _nested(i, p, role, nodes, base, code):
    """Whether a span is the same question to a database as the one it stands in."""
    return role[i] == ROLE_DB and p >= 0 and role[p] == ROLE_DB and nodes[base, 1] == code


@bare
def _attribute_spans(
    g, k, sequence, group_start, group_kind, group_producer, parent, role, callee, answers,
    edge_class, service, peer, operation, environment, publish, wait, unknown,
    edges, edge_count, edge_table, nodes, node_count, node_table, opens, owns, selfs, via, under, home, head,
):  # fmt: skip
    """Go on at position `k` of group `g` until rows may not suffice; returns where, and counts."""
    while g < len(group_start) - 1:
        while k < group_start[g + 1]:
            if edge_count + 4 > len(edges) or node_count + 5 > len(nodes):
                return g, k, edge_count, node_count
            i = np.int64(sequence[k])
            p = np.int64(parent[i])
            is_root = k == group_start[g]
            if is_root:
                p = np.int64(-1)
                base = intern(nodes, node_count, node_table, -1, environment[i], service[i], operation[i])
                node_count = max(node_count, base + 1)
                head[g] = base
                inherited, opener = np.int64(-1), i
            else:
                base, inherited, opener = np.int64(under[p]), np.int64(selfs[p]), np.int64(home[p])
            if _enters(i, p, role, service, answers):
                code = intern(
                    edges, edge_count, edge_table, _edge_kind(edge_class[i], edge_class[p]), service[p],
                    service[i], operation[i],
                )  # fmt: skip
                edge_count = max(edge_count, code + 1)
                base = intern(nodes, node_count, node_table, base, code, -1, -1)
                node_count = max(node_count, base + 1)
                via[i] = base
            if p >= 0 and _calls(role[i]) and service[i] != service[p]:
                code = intern(edges, edge_count, edge_table, EDGE_SELF, service[i], -1, operation[i])
                edge_count = max(edge_count, code + 1)
                inherited = intern(nodes, node_count, node_table, base, code, -1, -1)
                node_count = max(node_count, inherited + 1)
            kind, caller, other, name = _edge_of(
                i, p, role, callee, answers, edge_class, service, peer, operation, publish, unknown
            )
            node = base
            if kind >= 0:
                code = intern(edges, edge_count, edge_table, kind, caller, other, name)
                edge_count = max(edge_count, code + 1)
                if not _nested(i, p, role, nodes, base, code):
                    node = intern(nodes, node_count, node_table, base, code, -1, -1)
                    node_count = max(node_count, node + 1)
                    opens[i] = node
                    opener = i
            if is_root and group_kind[g] == UNIT_MESSAGE:
                q = group_producer[g]
                asks = role[i] == ROLE_CONSUMER or role[i] == ROLE_POLL  # others' peers are no destinations
                topic = peer[q] if q >= 0 and (peer[i] < 0 or not asks) else peer[i]
                code = intern(
                    edges, edge_count, edge_table, EDGE_QUEUE, _known(topic, unknown), service[i], wait
                )
                edge_count = max(edge_count, code + 1)
                node = intern(nodes, node_count, node_table, base, code, -1, -1)
                node_count = max(node_count, node + 1)
                head[g] = node
            r = role[i]
            served = r == ROLE_SERVER or r == ROLE_CONSUMER or r == ROLE_INTERNAL
            served |= is_root and (r == ROLE_POLL or r == ROLE_TRANSPORT)
            starts_service = served and (is_root or opens[i] >= 0 or answers[i])
            if starts_service or (is_root and not served):
                code = intern(edges, edge_count, edge_table, EDGE_SELF, service[i], -1, operation[i])
                edge_count = max(edge_count, code + 1)
                # a CLIENT at the root of a unit still has a service whose own time may follow
                inherited = intern(
                    nodes, node_count, node_table, node if starts_service else base, code, -1, -1
                )
                node_count = max(node_count, inherited + 1)
            selfs[i], under[i], home[i] = inherited, node, opener
            owns[i] = inherited if served else owns[p] if r == ROLE_TRANSPORT else node
            k += 1
        g += 1
    return g, k, edge_count, node_count


@bare
def _attribute_late(
    g, group_root, group_kind, parent, role, callee, answers, edge_class, service, peer, operation,
    publish, unknown, edges, edge_count, edge_table, nodes, node_count, node_table, under, late,
):  # fmt: skip
    """What each detached group's root would have opened, had it been waited for; as `_attribute_spans`."""
    while g < len(group_root):
        if edge_count == len(edges) or node_count == len(nodes):
            break
        i = np.int64(group_root[g])
        p = np.int64(parent[i])
        if p >= 0 and (group_kind[g] == UNIT_DETACHED or group_kind[g] == UNIT_LONG):
            kind, caller, other, name = _edge_of(
                i, p, role, callee, answers, edge_class, service, peer, operation, publish, unknown
            )
            if _enters(i, p, role, service, answers):
                kind = _edge_kind(edge_class[i], edge_class[p])
                caller, other, name = np.int64(service[p]), np.int64(service[i]), np.int64(operation[i])
            if kind >= 0:
                code = intern(edges, edge_count, edge_table, kind, caller, other, name)
                edge_count = max(edge_count, code + 1)
                base = np.int64(under[p])
                if not _nested(i, p, role, nodes, base, code):
                    late[g] = intern(nodes, node_count, node_table, base, code, -1, -1)
                    node_count = max(node_count, np.int64(late[g]) + 1)
        g += 1
    return g, edge_count, node_count


@kernel
def attribute(
    sequence, group_start, group_root, group_kind, group_producer, parent, role, callee, answers,
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
    via ``(n,)``
        Node of the call that the span's service must have had, where nobody reported it (-1: none).
    home ``(n,)``
        Span that opened the node the span stands under.
    head ``(g,)``
        A message's wait node, else the entry's node.
    late ``(g,)``
        Node that a detached group's root would have opened under its parent (-1: none).
    """
    n = len(parent)
    groups = len(group_root)
    edges, edge_table, edge_count = np.empty((64, 4), np.int64), np.full(256, -1, np.int32), 0
    nodes, node_table, node_count = np.empty((64, 4), np.int64), np.full(256, -1, np.int32), 0
    opens = np.full(n, -1, np.int32)
    owns, selfs, via = np.empty(n, np.int32), np.empty(n, np.int32), np.full(n, -1, np.int32)
    under, home = np.empty(n, np.int32), np.empty(n, np.int32)  # node that the span's calls hang under
    head, late = np.empty(groups, np.int32), np.full(groups, -1, np.int32)
    g, k, done = 0, 0, 0
    while True:
        if g < groups:
            g, k, edge_count, node_count = _attribute_spans(
                g, k, sequence, group_start, group_kind, group_producer, parent, role, callee, answers,
                edge_class, service, peer, operation, environment, publish, wait, unknown,
                edges, edge_count, edge_table, nodes, node_count, node_table, opens, owns, selfs, via, under,
                home, head,
            )  # fmt: skip
        if g == groups:
            done, edge_count, node_count = _attribute_late(
                done, group_root, group_kind, parent, role, callee, answers, edge_class, service, peer,
                operation, publish, unknown, edges, edge_count, edge_table, nodes, node_count, node_table,
                under, late,
            )  # fmt: skip
        if done == groups:
            return (
                edges[:edge_count].copy(), nodes[:node_count].copy(), opens, owns, selfs, via, home, head,
                late,
            )  # fmt: skip
        edges, edge_table = roomier(edges, edge_count)
        nodes, node_table = roomier(nodes, node_count)


@inlined
def _trace_hash(hi, lo):
    """63 bits of a trace id; the smallest of many is a fair draw."""
    return np.int64(hash4(hi, lo, 0, 0) >> np.uint64(1))


@bare
def _draw(row, duration, hi, lo, draw):
    """Let a call be its path's slowest or typical one, if it is."""
    if (
        duration > row[SLOW]
        or (row[SLOW_HI] == 0 and row[SLOW_LO] == 0)
        or (duration == row[SLOW] and (hi < row[SLOW_HI] or (hi == row[SLOW_HI] and lo < row[SLOW_LO])))
    ):
        row[SLOW], row[SLOW_HI], row[SLOW_LO] = duration, hi, lo
    if draw < row[TYPICAL]:
        row[TYPICAL], row[TYPICAL_HI], row[TYPICAL_LO] = draw, hi, lo


@inlined
def _cell(cells, count, table, sums, last, node, context, g, weight):
    """Cell of a path in a context, and how many there are; a group that is new to it is counted."""
    cell = intern(cells, count, table, node, context, 0, 0)
    if cell == count:
        sums[cell] = 0
        sums[cell, TYPICAL] = np.iinfo(np.int64).max
        last[cell] = -1
        count += 1
    if last[cell] != g:
        last[cell] = g
        sums[cell, UNITS] += weight
    return cell, count


@bare
def _add_spans(
    g, k, sequence, group_start, group_root, hops, group_cell_key, group_wait, group_clock, head,
    parent, answers, opens, owns, selfs, via, home, status, again, start_ns, end_ns, own_ns, inclusive_ns,
    visited, self_ns, child_sum, child_union, group_hi, group_lo,
    cells, count, table, sums, last, span_cell, via_cell, head_cell,
):  # fmt: skip
    """Go on at position `k` of group `g` until cells may not suffice; returns where, and how many."""
    while g < len(group_root):
        context = group_cell_key[g]
        if context < 0:
            g, k = g + 1, group_start[g + 1]
            continue
        weight = np.int64(hops[g])
        root = np.int64(group_root[g])
        hi, lo = group_hi[g], group_lo[g]
        draw = _trace_hash(hi, lo)
        lost = np.int64(status[root] == STATUS_ERROR)  # the whole unit
        if k == group_start[g] and head[g] >= 0:
            if count + 5 > len(cells):  # for the first span as well, or this would be counted again
                return g, k, count
            cell, count = _cell(cells, count, table, sums, last, head[g], context, g, weight)
            head_cell[g] = cell
            sums[cell, CALLS] += weight
            sums[cell, CALLS_VISITED] += weight
            sums[cell, VISITS] += weight
            sums[cell, OWN] += group_wait[g]
            sums[cell, OWN_ALL] += group_wait[g]
            sums[cell, INCLUSIVE] += group_clock[g]
            sums[cell, BUSY] += group_wait[g] // weight
            sums[cell, CALLS_IN_FAILED] += weight * lost
            sums[cell, OWN_IN_FAILED] += group_wait[g] * lost
            _draw(sums[cell], group_clock[g] // weight, hi, lo, draw)
        while k < group_start[g + 1]:
            if count + 4 > len(cells):
                return g, k, count
            i = np.int64(sequence[k])
            duration = end_ns[i] - start_ns[i]
            seen = visited[i]
            failed = weight * (status[i] == STATUS_ERROR)
            for opened in (via[i], opens[i]):
                if opened < 0:
                    continue
                cell, count = _cell(cells, count, table, sums, last, opened, context, g, weight)
                if opened == opens[i]:
                    span_cell[i] = cell
                else:
                    via_cell[i] = cell
                sums[cell, CALLS] += weight
                sums[cell, CALLS_VISITED] += weight * (i == root or visited[home[parent[i]]])
                sums[cell, VISITS] += weight * seen
                sums[cell, INCLUSIVE] += weight * inclusive_ns[i]
                sums[cell, BUSY] += duration
                sums[cell, ERRORS] += failed
                sums[cell, FAILED] += duration * (status[i] == STATUS_ERROR)
                sums[cell, CALLS_IN_FAILED] += weight * lost
                if opened == opens[i]:
                    sums[cell, RETRIES] += weight * again[i]
                if seen:
                    sums[cell, CHILD_SUM] += weight * child_sum[i]
                    sums[cell, CHILD_UNION] += weight * child_union[i]
                _draw(sums[cell], duration, hi, lo, draw)
            if owns[i] >= 0:
                cell, count = _cell(cells, count, table, sums, last, owns[i], context, g, weight)
                sums[cell, OWN] += weight * own_ns[i]
                sums[cell, OWN_ALL] += weight * self_ns[i]
                sums[cell, OWN_IN_FAILED] += weight * own_ns[i] * lost
                if selfs[i] == owns[i]:
                    sums[cell, INCLUSIVE] += weight * own_ns[i]
                    sums[cell, BUSY] += self_ns[i]
                    if seen:
                        sums[cell, CHILD_SUM] += weight * child_sum[i]
                        sums[cell, CHILD_UNION] += weight * child_union[i]
            # a service's own time: once for each time it is entered
            enters = i == root or answers[i] or via[i] >= 0 or (opens[i] >= 0 and owns[i] != opens[i])
            if selfs[i] >= 0 and enters:
                cell, count = _cell(cells, count, table, sums, last, selfs[i], context, g, weight)
                seen = visited[home[i]]
                sums[cell, CALLS] += weight
                sums[cell, CALLS_VISITED] += weight * seen
                sums[cell, VISITS] += weight * seen
                sums[cell, ERRORS] += failed
                sums[cell, CALLS_IN_FAILED] += weight * lost
                _draw(sums[cell], duration, hi, lo, draw)
            k += 1
        g += 1
    return g, k, count


@bare
def _add_late(
    g, group_root, hops, group_cell_key, late, group, parent, home, status, visited, cells, count, table, sums
):  # fmt: skip
    """Calls that nobody waited for, on the path they were made on; as `_add_spans`."""
    while g < len(group_root):
        p = parent[group_root[g]]
        if late[g] >= 0 and p >= 0 and group_cell_key[group[p]] >= 0:
            if count == len(cells):
                break
            above = group[p]
            cell = intern(cells, count, table, late[g], group_cell_key[above], 0, 0)
            if cell == count:
                sums[cell] = 0
                sums[cell, TYPICAL] = np.iinfo(np.int64).max
                count += 1
            weight = np.int64(hops[above])
            sums[cell, CALLS] += weight
            sums[cell, CALLS_VISITED] += weight * visited[home[p]]
            sums[cell, DETACHED] += weight
            sums[cell, CALLS_IN_FAILED] += weight * (status[group_root[above]] == STATUS_ERROR)
        g += 1
    return g, count


@kernel
def accumulate(
    sequence, group_start, group_root, hops, group_cell_key, group_wait, group_clock, head, late,
    group, parent, answers, opens, owns, selfs, via, home, status, again, start_ns, end_ns, own_ns,
    inclusive_ns, visited, self_ns, child_sum, child_union, group_hi, group_lo,
):  # fmt: skip
    """Sum spans into cells: one for each (call path, context) pair.

    ``group_cell_key`` ``(g,)`` numbers the context (slot, unit, threshold) of each walk group; -1
    leaves the group out; ``group_hi`` and ``group_lo`` are its trace's id.  ``again`` ``(n,)`` says which
    spans are calls made again after they failed.  Everything counts once
    for each of a batch's hops, but for busy time.

    Returns
    -------
    cells ``(c, 4)``
        node, context, 0, 0.
    sums ``(c, SUMS)``
        Columns as named above.
    span_cell ``(n,)``
        Cell that the span opens, or -1.
    via_cell ``(n,)``
        Cell of the call that must have been, or -1.
    head_cell ``(g,)``
        Cell of each message's wait, or -1.
    """
    groups = len(group_root)
    cells, table, count = np.empty((256, 4), np.int64), np.full(1024, -1, np.int32), 0
    sums, last = np.empty((256, SUMS), np.int64), np.empty(256, np.int32)  # group that was last in a cell
    span_cell, head_cell = np.full(len(parent), -1, np.int32), np.full(groups, -1, np.int32)
    via_cell = np.full(len(parent), -1, np.int32)
    g, k, done = 0, np.int64(0), 0
    while True:
        if g < groups:
            g, k, count = _add_spans(
                g, k, sequence, group_start, group_root, hops, group_cell_key, group_wait, group_clock, head,
                parent, answers, opens, owns, selfs, via, home, status, again, start_ns, end_ns, own_ns,
                inclusive_ns, visited, self_ns, child_sum, child_union, group_hi, group_lo,
                cells, count, table, sums, last, span_cell, via_cell, head_cell,
            )  # fmt: skip
        if g == groups:
            done, count = _add_late(
                done, group_root, hops, group_cell_key, late, group, parent, home, status, visited,
                cells, count, table, sums,
            )  # fmt: skip
        if done == groups:
            return cells[:count].copy(), sums[:count].copy(), span_cell, via_cell, head_cell
        cells, table = roomier(cells, count)
        more, marks = np.empty((len(cells), SUMS), np.int64), np.empty(len(cells), np.int32)
        more[:count], marks[:count] = sums[:count], last[:count]
        sums, last = more, marks
