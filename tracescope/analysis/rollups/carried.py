"""Requests with what their spans carry: one row a request, and one a request, attribute and value.

    request 7    gateway GET /   212 ms   |  catalog: service.version = 2.0.0-canary,  tenant.id = acme

Attributes of resources are told apart by the service whose they are; those of spans belong to whatever
request has a span that carries them.  Attributes that say what a call is (its route, its statement, its
status) are left out unless they are asked for: edges and entries are named by them already.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from typing import Any, Final

import polars as pl

from tracescope import schema
from tracescope.analysis.rollups.flows import weight
from tracescope.analysis.rollups.process import Names, span_arrays
from tracescope.analysis.rollups.where import attribute_text
from tracescope.kernels.forest import build_forest
from tracescope.kernels.traces import group_traces

#: Beginnings of keys that say what a call is, how it ended or which thread it ran on.
STRUCTURE: Final = (
    "http.", "url.", "db.", "rpc.", "messaging.", "net.", "network.", "server.", "client.", "peer.", "code.",
    "thread.", "exception.", "error", "otel.", "telemetry.", "process.", "graphql.", "faas.", "gen_ai.",
    "aws.", "user_agent.", "enduser.", "span.", "internal.", "sampler.", "component", "grpc.", "dns.", "tls.",
    "service.name", "service.namespace", "service.peer.name", "deployment.environment",
)  # fmt: skip
#: Longer values are no names of anything.
LONGEST_VALUE: Final = 80


@dataclass(frozen=True, slots=True)
class Requests:
    """Requests of a period.

    Attributes
    ----------
    units
        ``unit, start_ns, service, operation, ms, failed, weight``: a row each, ``unit`` counts from 0.
    values
        ``unit, service, key, value``: what they carry; ``service`` is empty for attributes of spans.
    """

    units: pl.DataFrame
    values: pl.DataFrame

    def of_entries(self, keep_entry: Callable[[str, str], bool]) -> Requests:
        """Those of some entries, of service and operation."""
        names = self.units.select("service", "operation").iter_rows()
        units = self.units.filter(pl.Series([keep_entry(*name) for name in names], dtype=pl.Boolean))
        numbers = units.select("unit").with_row_index("new").with_columns(pl.col("new").cast(pl.Int64))
        values = self.values.join(numbers, on="unit").with_columns(unit="new").select(list(_VALUES))
        return Requests(units.with_columns(unit=numbers["new"]), values)


_VALUES: Final = {"unit": pl.Int64, "service": pl.String, "key": pl.String, "value": pl.String}


def requests_of(
    spans: pl.DataFrame, keep: tuple[int, int], environment: str, keys: Collection[str]
) -> Requests:
    """Requests of whole traces, with what they carry.

    Parameters
    ----------
    spans
        SPANS rows, duplicates included.
    keep
        Half-open interval in ns: only traces whose earliest start lies in it count.
    environment
        Only requests of this ``deployment.environment.name``.
    keys
        Attributes wanted; all but `STRUCTURE` if there are none.
    """
    traces = group_traces(
        *(spans[name].to_numpy() for name in ("trace_hi", "trace_lo", "span_id", "content_hash", "start_ns")),
        window_ns=(schema.TRACE_WINDOW_HOURS + 1) * schema.HOUR_NS,
        keep=keep,
    )
    forest = build_forest(span_arrays(spans, Names(spans)), traces)
    rows = spans[forest.order].with_columns(group=pl.Series(forest.group))
    asked = forest.unit_kind == schema.UNIT_REQUEST
    group, root = forest.unit_group[asked], forest.group_root[forest.unit_group[asked]]
    thresholds = rows.group_by("group").agg(pl.col("threshold").max())
    units = (
        pl.DataFrame(
            {
                "group": pl.Series(group, dtype=pl.Int32),
                "start_ns": forest.unit_start_ns[asked],
                "service": rows["service_name"][root],
                "operation": rows["operation"][root],
                "environment": rows["environment"][root],
                "ms": (forest.unit_end_ns - forest.unit_start_ns)[asked] / 1e6,
                "failed": rows["status"][root] == schema.STATUS_ERROR,
            }
        )
        .filter(pl.col("environment") == environment)
        .join(thresholds, on="group", how="left", maintain_order="left")
        .with_columns(weight=weight())
        .with_row_index("unit")
        .with_columns(pl.col("unit").cast(pl.Int64))
    )
    mine = rows.join(units.select("group", "unit"), on="group").select(
        "unit", "service_name", "resource", "raw"
    )
    values = pl.concat([_of_resources(mine, keys), _of_spans(mine, keys)]).unique(maintain_order=True)
    return Requests(units.drop("group", "environment", "threshold"), values)


def _selected(keys: Collection[str]) -> Callable[[str], bool]:
    if keys:
        chosen = frozenset(keys)
        return lambda key: key in chosen
    return lambda key: not key.startswith(STRUCTURE)


def _pairs(attributes: Any, selects: Callable[[str], bool]) -> Iterator[tuple[str, str]]:
    """Wanted keys with their values as text; what is no scalar has none."""
    for pair in attributes:
        if selects(pair.key):
            value = attribute_text(pair.value)
            if value is not None and len(value) <= LONGEST_VALUE:
                yield pair.key, value


def _of_resources(rows: pl.DataFrame, keys: Collection[str]) -> pl.DataFrame:
    from opentelemetry.proto.resource.v1.resource_pb2 import Resource

    selects = _selected(keys)
    distinct = rows["resource"].drop_nulls().unique(maintain_order=True)
    found = [
        (raw, key, value)
        for raw in distinct.to_list()
        for key, value in _pairs(Resource.FromString(raw).attributes, selects)
    ]
    table = pl.DataFrame(found, {"resource": pl.Binary, "key": pl.String, "value": pl.String}, orient="row")
    carried = rows.select("unit", "resource", service="service_name").unique().join(table, on="resource")
    return carried.select(list(_VALUES)).unique().sort(list(_VALUES))


def _of_spans(rows: pl.DataFrame, keys: Collection[str]) -> pl.DataFrame:
    from opentelemetry.proto.trace.v1.trace_pb2 import Span

    selects = _selected(keys)
    likely = rows.filter(pl.col("raw").is_not_null())
    if keys:  # only slices that hold the wanted bytes are parsed
        likely = likely.filter(pl.any_horizontal(pl.col("raw").bin.contains(key.encode()) for key in keys))
    found = [
        (unit, "", key, value)
        for unit, raw in likely.select("unit", "raw").iter_rows()
        for key, value in _pairs(Span.FromString(raw).attributes, selects)
    ]
    return pl.DataFrame(found, _VALUES, orient="row").unique().sort(list(_VALUES))


def together(parts: list[Requests]) -> Requests:
    """Requests of several parts, numbered on."""
    units: list[pl.DataFrame] = []
    values: list[pl.DataFrame] = []
    first = 0
    for part in parts:
        units.append(part.units.with_columns(pl.col("unit") + first))
        values.append(part.values.with_columns(pl.col("unit") + first))
        first += len(part.units)
    return Requests(pl.concat(units), pl.concat(values))
