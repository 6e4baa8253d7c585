"""What today's rules and settings say of spans that were kept: their bytes are read once more.

A kept span has its bytes less its name and what was not kept; of what was cut, the summary that names are
made of is among them.  So what attributes mean can be resolved again: classes, peers, operations, outcomes
and hosts, by the rules of this version and by the names that the settings give to addresses now.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import polars as pl

from tracescope.conventions.keeping import Policy
from tracescope.ingest.decode import decode
from tracescope.ingest.protobuf import delimited

#: Columns that rules make of attributes.
RESOLVED: Final = ("edge_class", "messaging_op", "peer", "operation", "status", "name", "host")
#: Spans read at once.
_AT_ONCE: Final = 50_000
#: Field numbers, the same in TracesData and in a request.
_RESOURCE_SPANS, _RESOURCE, _SCOPE_SPANS, _SCOPE, _SCOPE_NAME, _SPANS, _SPAN_NAME = 1, 1, 2, 1, 1, 2, 5


def resolve(spans: pl.DataFrame, policy: Policy) -> pl.DataFrame:
    """The same spans with the columns of `RESOLVED` as today's rules and settings make them.

    Parameters
    ----------
    spans
        SPANS rows, and any other columns.
    policy
        What addresses are called.

    Raises
    ------
    MalformedOtlpError
        Kept bytes are damaged.
    """
    parts = [_resolved(part, policy) for part in spans.iter_slices(_AT_ONCE)]
    return pl.concat(parts) if parts else spans


def _resolved(spans: pl.DataFrame, policy: Policy) -> pl.DataFrame:
    arrived_ns = int(spans.select(pl.max_horizontal(pl.col("start_ns").max(), pl.col("end_ns").max())).item())
    made = decode([b"".join(_messages(spans))], arrived_ns, policy=policy).spans
    if len(made) < len(spans):  # accepted once, and refused by rules of today: nothing is lost
        return spans
    return spans.with_columns(made[name] for name in RESOLVED)


def _messages(spans: pl.DataFrame) -> Iterator[bytes]:
    """One ResourceSpans for each span, in their order."""
    for resource, scope, name, raw in spans.select("resource", "scope", "name", "raw").iter_rows():
        about = b"" if scope is None else delimited(_SCOPE, delimited(_SCOPE_NAME, scope.encode()))
        span = delimited(_SPANS, raw + delimited(_SPAN_NAME, name.encode()))
        group = delimited(_RESOURCE, resource) + delimited(_SCOPE_SPANS, about + span)
        yield delimited(_RESOURCE_SPANS, group)
