"""What a service mesh's proxy reports is its application's.

    cart      CLIENT        cart      CLIENT        one call, whatever the proxies call themselves
      cart.mesh CLIENT        cart      CLIENT
        pricing.mesh SERVER     pricing   SERVER
          pricing   SERVER        pricing   SERVER

A proxy beside an application (a sidecar) has its application's service where the trace shows both.  One
that stands for itself, as a gateway does, keeps its own.
"""

# Inner kernels carry no annotations: their types are what the compiler infers from the arrays given.
# pyright: reportMissingParameterType=false, reportUnknownParameterType=false

from __future__ import annotations

import numpy as np

from tracescope.kernels import kernel
from tracescope.schema import CLASS_SIDECAR, KIND_CLIENT, KIND_SERVER


@kernel
def fold_sidecars(parent, begin, child, kind, edge_class, service):
    """Service of each span, and the span whose operation it has; both ``(n,)``.

    An outbound proxy's CLIENT stands below a span of its application, an inbound proxy's SERVER above one.
    """
    n = len(parent)
    owner = service.copy()
    stands_for = np.arange(n).astype(np.int32)
    for i in range(n):
        if edge_class[i] != CLASS_SIDECAR:
            continue
        p = parent[i]
        if kind[i] == KIND_CLIENT and p >= 0 and edge_class[p] != CLASS_SIDECAR:
            owner[i] = service[p]
        elif kind[i] == KIND_SERVER:
            for c in range(begin[i], begin[i + 1]):
                j = child[c]
                if kind[j] == KIND_SERVER and edge_class[j] != CLASS_SIDECAR:
                    owner[i], stands_for[i] = service[j], j
                    break
    return owner, stands_for
