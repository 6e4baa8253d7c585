"""Requests named by the GraphQL operation that they ask for.

    api SERVER  POST /graphql          becomes  POST /graphql query Basket
      api INTERNAL  graphql.execute    its attributes say: query Basket

One route serves every operation, and only a span of the engine within the request says which: it names the
request of its own service that it stands in.  Of spans of the engine within one another the outermost counts;
a request that asks for several names them all, in an order of their own.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tracescope.kernels.roles import ROLE_SERVER
from tracescope.schema import CLASS_GRAPHQL

Ints = NDArray[np.signedinteger[Any]]


def asked_for(
    parent: Ints, role: Ints, service: Ints, edge_class: Ints, operation: Ints, texts: list[str]
) -> dict[int, str]:
    """What requests are named by, beside their own operations, by position of their SERVER spans.

    Parameters
    ----------
    parent, role, service, edge_class, operation
        ``(n,)`` of spans: position of the parent (-1: none), ROLE_*, codes of names, CLASS_*.
    texts
        Names by code.
    """
    asking = np.flatnonzero(edge_class == CLASS_GRAPHQL)
    asking = asking[role[asking] != ROLE_SERVER]
    at = parent[asking]
    climbs = np.ones(len(asking), np.bool_)
    while climbs.any():
        here = at[climbs]
        ends = (here < 0) | (service[here] != service[asking[climbs]]) | (edge_class[here] == CLASS_GRAPHQL)
        served = ~ends & (role[here] == ROLE_SERVER)
        at[climbs] = np.where(ends, -1, np.where(served, here, parent[here]))
        climbs[climbs] = ~(ends | served)
    named: defaultdict[int, set[str]] = defaultdict(set)
    for request, code in zip(at.tolist(), operation[asking].tolist(), strict=True):
        if request >= 0:
            named[request].add(texts[code])
    return {request: ", ".join(sorted(said)) for request, said in named.items()}
