"""What each span is to the critical path: it serves, calls, publishes, asks a database, or just works.

Source: design, section 4 (each segment belongs to exactly one edge).
"""

# Inner kernels carry no annotations: their types are what the compiler infers from the arrays given.
# pyright: reportMissingParameterType=false, reportUnknownParameterType=false

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tracescope.kernels import bare, inlined, kernel
from tracescope.schema import (
    CLASS_DB,
    CLASS_MODEL,
    CLASS_TRANSPORT,
    KIND_CLIENT,
    KIND_CONSUMER,
    KIND_PRODUCER,
    KIND_SERVER,
    MSG_EMPTY,
    MSG_RECEIVE,
    MSG_SEND,
    MSG_SETTLE,
)

#: CALL has its SERVER here, LEAF_CALL has not.  POLL asks a queue for messages, whatever its kind.
#: TRANSPORT is what a call is made with, whose time is the call's.
(
    ROLE_INTERNAL,
    ROLE_SERVER,
    ROLE_CONSUMER,
    ROLE_CALL,
    ROLE_LEAF_CALL,
    ROLE_DB,
    ROLE_PUBLISH,
    ROLE_POLL,
    ROLE_TRANSPORT,
) = range(9)


#: Kinds, messaging operations and classes that a table of roles has room for.
_KINDS, _OPS, _CLASSES = 6, 8, 9


def _role_of(kind: int, op: int, edge_class: int) -> int:
    """The role that a span has by what it says of itself; -1 for none."""
    if kind == KIND_SERVER:
        return ROLE_SERVER
    if op in (MSG_RECEIVE, MSG_EMPTY) and kind != KIND_PRODUCER:
        return ROLE_POLL
    if kind == KIND_CONSUMER:
        return ROLE_LEAF_CALL if op == MSG_SETTLE else ROLE_CONSUMER
    if kind == KIND_PRODUCER or (kind == KIND_CLIENT and op == MSG_SEND):
        return ROLE_PUBLISH
    if edge_class == CLASS_DB:
        return ROLE_DB
    return ROLE_LEAF_CALL if kind == KIND_CLIENT or edge_class == CLASS_MODEL else -1


#: `_role_of` by kind, messaging operation and class: branches on what changes with each span cost more.
_ROLES = np.array(
    [
        [[_role_of(kind, op, edge_class) for edge_class in range(_CLASSES)] for op in range(_OPS)]
        for kind in range(_KINDS)
    ],
    np.int8,
)

#: So many spans of sockets and handshakes may stand in one another below a call.
NESTED = 8
#: How far above the wire a class of span is, by CLASS_*: what a call is made with lies below it.
_LEVEL = np.array([0, 5, 5, 4, 3, 0, 5, 1, 2], np.int8)
_HIGHEST = 5


@inlined
def _is_below(parent, edge_class, service, seen, i):
    """Whether a span may be what the call around it, of its own service, is made with."""
    p, r = parent[i], seen[i]
    if p < 0 or service[p] != service[i] or not (r == ROLE_LEAF_CALL or r == ROLE_INTERNAL):
        return False
    q = seen[p]
    asks = q == ROLE_LEAF_CALL or q == ROLE_DB or q == ROLE_PUBLISH or q == ROLE_POLL
    return asks and 0 < _LEVEL[edge_class[i]] < _LEVEL[edge_class[p]]


@kernel
def _find_transport(parent, edge_class, service, seen, role):
    """Mark what calls of their own service are made with: HTTP, handshakes and look-ups."""
    n = len(parent)
    some = False
    for i in range(n):
        if 0 < _LEVEL[edge_class[i]] < _HIGHEST:
            some = some or _is_below(parent, edge_class, service, seen, i)
    if not some:
        return
    below = np.zeros(n, np.bool_)
    busy = np.zeros(n, np.bool_)  # makes calls of another sort as well
    for i in range(n):
        p = parent[i]
        if _is_below(parent, edge_class, service, seen, i):
            below[i] = True
        elif seen[i] >= ROLE_CALL and p >= 0 and service[p] == service[i]:
            busy[p] = True
    for i in range(n):
        if below[i] and not busy[parent[i]]:
            role[i] = ROLE_TRANSPORT
    for i in range(n):  # a handshake's own connection
        p = i
        for _ in range(NESTED):
            if edge_class[p] != CLASS_TRANSPORT or role[p] == ROLE_TRANSPORT or parent[p] < 0:
                break
            p = parent[p] if service[parent[p]] == service[p] else p
        below[i] = p != i and role[p] == ROLE_TRANSPORT
    for i in range(n):
        if below[i]:
            role[i] = ROLE_TRANSPORT


class _Spans(NamedTuple):
    """What roles are told by, per span ``(n,)``; ``begin`` ``(n + 1,)`` are the bounds of its children.

    ``seen`` is each one's role by what it says of itself: what stands around it is settled by that, before
    any role changes.
    """

    parent: NDArray[Any]
    begin: NDArray[Any]
    kind: NDArray[Any]
    service: NDArray[Any]
    start_ns: NDArray[Any]
    seen: NDArray[Any]


@kernel
def _declared(parent, kind, edge_class, messaging_op, service):
    """ROLE_* of each span by what it says of itself; a server where it only is in another service."""
    role = np.zeros(len(parent), np.int8)
    for i in range(len(parent)):
        k, op = kind[i], messaging_op[i]
        p = parent[i]
        known = _ROLES[k if 0 <= k < _KINDS else 0, op if 0 <= op < _OPS else 0, edge_class[i]]
        if known >= 0:
            role[i] = known
        elif p >= 0 and service[p] != service[i]:
            role[i] = ROLE_SERVER
    return role


@bare
def _look_up(spans, role, asker, callee, proxy, wraps):
    """Tell every span what stands below it: servers, a proxy's calls, and calls that it only wraps.

    `asker` becomes what each span may answer: its parent, or the call that its parent makes.
    """
    service, start_ns = spans.service, spans.start_ns
    for i in range(len(role)):
        a = p = spans.parent[i]
        while a >= 0 and role[a] == ROLE_TRANSPORT:
            a = spans.parent[a]
        asker[i] = a
        if a < 0:
            continue
        if spans.seen[i] == ROLE_SERVER and (spans.kind[i] == KIND_SERVER or service[i] != service[a]):
            if callee[a] < 0 or start_ns[i] < start_ns[callee[a]]:
                callee[a] = i
        elif service[i] != service[p]:
            if spans.kind[i] == KIND_CLIENT and (proxy[p] < 0 or start_ns[i] < start_ns[proxy[p]]):
                proxy[p] = i
        elif spans.seen[i] >= ROLE_CALL and role[i] != ROLE_TRANSPORT:
            wraps[p] = True


@bare
def _settle_calls(spans, role, callee, proxy, wraps):
    """Let what somebody answers be a call; `callee` keeps those of calls alone."""
    for i in range(len(role)):
        r = spans.seen[i]
        found = callee[i]
        callee[i] = -1
        if role[i] == ROLE_TRANSPORT or (r != ROLE_LEAF_CALL and r != ROLE_DB and r != ROLE_INTERNAL):
            continue
        if r == ROLE_LEAF_CALL:
            if found < 0:
                found = proxy[i]
            if found >= 0:
                role[i] = ROLE_CALL
            elif wraps[i]:
                role[i] = ROLE_INTERNAL
        elif r == ROLE_INTERNAL:
            if found < 0 or spans.begin[i + 1] - spans.begin[i] > 1:
                continue
            if spans.service[found] == spans.service[i]:
                continue
            role[i] = ROLE_CALL
        callee[i] = found


@bare
def _find_answers(spans, asker, callee, answers):
    """Mark what answers the call above it: in the service of the first that does."""
    kind, service = spans.kind, spans.service
    for i in range(len(answers)):
        a = asker[i]
        if a < 0 or callee[a] < 0 or service[i] != service[callee[a]]:
            continue
        elsewhere = service[i] != service[a]
        if spans.seen[i] == ROLE_SERVER:
            answers[i] = kind[i] == KIND_SERVER or elsewhere
        else:
            answers[i] = elsewhere and kind[i] == KIND_CLIENT and kind[callee[a]] == KIND_CLIENT


@kernel
def find_roles(parent, begin, kind, edge_class, messaging_op, service, start_ns):
    """ROLE_* of each span, the first SERVER that answers it, and whether it answers its parent.

    A retried or hedged call has several answers, all of one service; a database that sends spans of its own
    answers too, and stays a database.  What answers the transport of a call answers the call.  A proxy may
    answer by the call that it makes in turn.

    Sources without kinds are read by services alone: what starts in another service than its
    parent was called, and a span whose one child lies in another service called it.
    """
    n = len(parent)
    role = _declared(parent, kind, edge_class, messaging_op, service)
    spans = _Spans(parent, begin, kind, service, start_ns, role.copy())
    _find_transport(parent, edge_class, service, spans.seen, role)
    asker, callee, proxy = np.empty(n, np.int32), np.full(n, -1, np.int32), np.full(n, -1, np.int32)
    wraps, answers = np.zeros(n, np.bool_), np.zeros(n, np.bool_)
    _look_up(spans, role, asker, callee, proxy, wraps)
    _settle_calls(spans, role, callee, proxy, wraps)
    _find_answers(spans, asker, callee, answers)
    return role, callee, answers
