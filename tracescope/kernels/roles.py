"""What each span is to the critical path: it serves, calls, publishes, asks a database, or just works.

Source: design, section 4 (each segment belongs to exactly one edge).
"""

# Inner kernels carry no annotations: their types are what the compiler infers from the arrays given.
# pyright: reportMissingParameterType=false, reportUnknownParameterType=false

from __future__ import annotations

import numpy as np

from tracescope.kernels import kernel
from tracescope.schema import (
    CLASS_DB,
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
(
    ROLE_INTERNAL,
    ROLE_SERVER,
    ROLE_CONSUMER,
    ROLE_CALL,
    ROLE_LEAF_CALL,
    ROLE_DB,
    ROLE_PUBLISH,
    ROLE_POLL,
) = range(8)


@kernel
def find_roles(parent, begin, child, kind, edge_class, messaging_op, service, start_ns):
    """ROLE_* of each span, the first SERVER that answers it, and whether it answers its parent.

    A retried or hedged call has several answers, all of one service; a database that sends spans of its own
    answers too, and stays a database.

    Sources without kinds are read by services alone: what starts in another service than its
    parent was called, and a span whose one child lies in another service called it.
    """
    n = len(parent)
    role = np.zeros(n, np.int8)
    callee = np.full(n, -1, np.int32)
    answers = np.zeros(n, np.bool_)
    for i in range(n):
        k = kind[i]
        p = parent[i]
        if k == KIND_SERVER:
            role[i] = ROLE_SERVER
        elif (messaging_op[i] == MSG_RECEIVE or messaging_op[i] == MSG_EMPTY) and k != KIND_PRODUCER:
            role[i] = ROLE_POLL
        elif k == KIND_CONSUMER:
            role[i] = ROLE_LEAF_CALL if messaging_op[i] == MSG_SETTLE else ROLE_CONSUMER
        elif k == KIND_PRODUCER or (k == KIND_CLIENT and messaging_op[i] == MSG_SEND):
            role[i] = ROLE_PUBLISH
        elif edge_class[i] == CLASS_DB:
            role[i] = ROLE_DB
        elif k == KIND_CLIENT:
            role[i] = ROLE_LEAF_CALL
        elif p >= 0 and service[p] != service[i]:
            role[i] = ROLE_SERVER
    seen = role.copy()  # what wraps what is settled before any role changes
    for i in range(n):
        r = seen[i]
        if begin[i] == begin[i + 1] or (r != ROLE_LEAF_CALL and r != ROLE_DB and r != ROLE_INTERNAL):
            continue
        found = np.int32(-1)
        wraps = False
        for c in range(begin[i], begin[i + 1]):
            j = child[c]
            if seen[j] == ROLE_SERVER and (kind[j] == KIND_SERVER or service[j] != service[i]):
                if found < 0 or start_ns[j] < start_ns[found]:
                    found = j
            elif service[j] == service[i] and seen[j] >= ROLE_CALL:
                wraps = True
        if r == ROLE_LEAF_CALL:
            if found >= 0:
                role[i] = ROLE_CALL
            elif wraps:
                role[i] = ROLE_INTERNAL
        elif r == ROLE_INTERNAL:
            if found < 0 or begin[i + 1] - begin[i] > 1 or service[found] == service[i]:
                continue
            role[i] = ROLE_CALL
        if found < 0:
            continue
        callee[i] = found
        for c in range(begin[i], begin[i + 1]):
            j = child[c]
            if seen[j] == ROLE_SERVER and service[j] == service[found]:
                answers[j] = kind[j] == KIND_SERVER or service[j] != service[i]
    return role, callee, answers
