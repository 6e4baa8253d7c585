"""Blocks as Tempo writes them, from OTLP: the public schema of vParquet4 and vParquet5, one row a trace."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl
from google.protobuf.json_format import MessageToJson
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import KeyValue

BLOCK = "0b9e4a5c-8f6d-4a53-9d0e-3f1c1a2b3c4d"
RESOURCE = {
    "service.name": "ServiceName", "cluster": "Cluster", "namespace": "Namespace", "pod": "Pod",
    "container": "Container", "k8s.cluster.name": "K8sClusterName", "k8s.namespace.name": "K8sNamespaceName",
    "k8s.pod.name": "K8sPodName", "k8s.container.name": "K8sContainerName",
}  # fmt: skip
SPAN = {"http.method": "HttpMethod", "http.url": "HttpUrl", "http.status_code": "HttpStatusCode"}


class Spare(NamedTuple):
    """An attribute that has a dedicated column."""

    scope: str
    kind: str
    name: str


def _attribute(given: KeyValue) -> dict[str, Any]:
    found: dict[str, Any] = {
        "Key": given.key, "IsArray": False, "Value": [], "ValueInt": [], "ValueDouble": [], "ValueBool": [],
        "ValueUnsupported": None,
    }  # fmt: skip
    names = {
        "string_value": "Value",
        "int_value": "ValueInt",
        "double_value": "ValueDouble",
        "bool_value": "ValueBool",
    }
    kind = given.value.WhichOneof("value")
    if kind in names:
        found[names[kind]] = [getattr(given.value, kind)]
        return found
    values = given.value.array_value.values if kind == "array_value" else ()
    kinds = {value.WhichOneof("value") for value in values}
    if kind == "array_value" and (not kinds or (len(kinds) == 1 and kinds <= names.keys())):
        found["IsArray"] = True
        for each in kinds:
            found[names[each]] = [getattr(value, each) for value in values]
    else:
        found["ValueUnsupported"] = MessageToJson(given.value, indent=None)
    return found


class _Columns:
    """The columns of one scope: fixed ones by attribute, and spare ones."""

    def __init__(self, version: int, scope: str, fixed: dict[str, str], spare: Sequence[Spare]) -> None:
        self.version = version
        self.fixed = {"service.name": "ServiceName"} if version == 5 and scope == "resource" else fixed
        if version == 5 and scope != "resource":
            self.fixed = {}
        counts: dict[str, int] = {}
        self.spare: dict[str, str] = {}
        for one in spare:
            if one.scope == scope:
                counts[one.kind] = counts.get(one.kind, 0) + 1
                self.spare[one.name] = f"{one.kind.capitalize()}{counts[one.kind]:02}"

    def split(self, given: Iterable[KeyValue]) -> dict[str, Any]:
        """Attributes by column."""
        row: dict[str, Any] = {"Attrs": [], **dict.fromkeys(self.fixed.values())}
        spare: dict[str, Any] = {
            name: [] if self.version == 5 else None for name in spare_names(self.version)
        }
        for attribute in given:
            kind = attribute.value.WhichOneof("value")
            fixed, column = self.fixed.get(attribute.key), self.spare.get(attribute.key, "")
            wanted = "int_value" if fixed == "HttpStatusCode" or column.startswith("Int") else "string_value"
            values = attribute.value.array_value.values
            if fixed and kind == wanted:
                row[fixed] = getattr(attribute.value, kind)
            elif column and kind == wanted:
                value = getattr(attribute.value, kind)
                spare[column] = [value] if self.version == 5 else value
            elif (
                column
                and self.version == 5
                and values
                and {v.WhichOneof("value") for v in values} == {wanted}
            ):
                spare[column] = [getattr(value, wanted) for value in values]
            else:
                row["Attrs"].append(_attribute(attribute))
        if "ServiceName" in row:
            row["ServiceName"] = row["ServiceName"] or ""
        return {**row, "DedicatedAttributes": spare}


def spare_names(version: int) -> list[str]:
    ints = [f"Int{n:02}" for n in range(1, 6)] if version == 5 else []
    return [f"String{n:02}" for n in range(1, (20 if version == 5 else 10) + 1)] + ints


ATTRIBUTE = pl.Struct(
    {
        "Key": pl.String, "IsArray": pl.Boolean, "Value": pl.List(pl.String), "ValueInt": pl.List(pl.Int64),
        "ValueDouble": pl.List(pl.Float64), "ValueBool": pl.List(pl.Boolean), "ValueUnsupported": pl.String,
    }
)  # fmt: skip


def _schema(version: int) -> dict[str, Any]:
    attributes = {"Attrs": pl.List(ATTRIBUTE), "DroppedAttributesCount": pl.Int32}
    kinds = {"S": pl.String, "I": pl.Int64}
    spare = {
        "DedicatedAttributes": pl.Struct(
            {
                name: pl.List(kinds[name[0]]) if version == 5 else kinds[name[0]]
                for name in spare_names(version)
            }
        )
    }
    event = {
        "TimeSinceStartNano": pl.UInt64,
        "Name": pl.String,
        **attributes,
        **(spare if version == 5 else {}),
    }
    link = {"TraceID": pl.Binary, "SpanID": pl.Binary, "TraceState": pl.String, **attributes}
    fixed = (
        {} if version == 5 else {"HttpMethod": pl.String, "HttpUrl": pl.String, "HttpStatusCode": pl.Int64}
    )
    span = {
        "SpanID": pl.Binary, "ParentSpanID": pl.Binary, "ParentID": pl.Int32, "NestedSetLeft": pl.Int32,
        "NestedSetRight": pl.Int32, "Name": pl.String, "Kind": pl.Int64, "TraceState": pl.String,
        "StartTimeUnixNano": pl.UInt64, "DurationNano": pl.UInt64, "StatusCode": pl.Int64,
        "StatusMessage": pl.String, **attributes, "Events": pl.List(pl.Struct(event)),
        "DroppedEventsCount": pl.Int32, "Links": pl.List(pl.Struct(link)), "DroppedLinksCount": pl.Int32,
        **fixed, **spare,
    }  # fmt: skip
    scope = {"Name": pl.String, "Version": pl.String, **attributes}
    names = ["ServiceName"] if version == 5 else list(RESOURCE.values())
    resource = {**attributes, **dict.fromkeys(names, pl.String), **spare}
    scopes = pl.Struct({"Scope": pl.Struct(scope), "Spans": pl.List(pl.Struct(span))})
    return {
        "TraceID": pl.Binary,
        "TraceIDText": pl.String,
        "rs": pl.List(pl.Struct({"Resource": pl.Struct(resource), "ss": pl.List(scopes)})),
    }


def _span(span: Any, of_span: _Columns, of_event: _Columns) -> dict[str, Any]:
    start = span.start_time_unix_nano
    events = [
        {
            "TimeSinceStartNano": (event.time_unix_nano - start) % 2**64, "Name": event.name,
            "DroppedAttributesCount": event.dropped_attributes_count, **of_event.split(event.attributes),
        }
        for event in span.events
    ]  # fmt: skip
    links = [
        {
            "TraceID": link.trace_id, "SpanID": link.span_id, "TraceState": link.trace_state,
            "DroppedAttributesCount": link.dropped_attributes_count,
            "Attrs": [_attribute(one) for one in link.attributes],
        }
        for link in span.links
    ]  # fmt: skip
    return {
        "SpanID": span.span_id, "ParentSpanID": span.parent_span_id, "ParentID": 0, "NestedSetLeft": 1,
        "NestedSetRight": 2, "Name": span.name, "Kind": span.kind, "TraceState": span.trace_state,
        "StartTimeUnixNano": start, "DurationNano": (span.end_time_unix_nano - start) % 2**64,
        "StatusCode": span.status.code, "StatusMessage": span.status.message,
        "DroppedAttributesCount": span.dropped_attributes_count, "Events": events,
        "DroppedEventsCount": span.dropped_events_count, "Links": links,
        "DroppedLinksCount": span.dropped_links_count, **of_span.split(span.attributes),
    }  # fmt: skip


def write_block(
    folder: Path, requests: Iterable[ExportTraceServiceRequest], version: int, spare: Sequence[Spare] = ()
) -> None:
    """Write a block's data and meta.json into a folder."""
    of_resource = _Columns(version, "resource", RESOURCE, spare)
    of_span, of_event = _Columns(version, "span", SPAN, spare), _Columns(version, "event", {}, spare)
    flat = [
        (span.trace_id, resource.resource, scope.scope, span)
        for message in requests
        for resource in message.resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]
    flat.sort(key=lambda row: (row[0], row[1].SerializeToString(), row[2].SerializeToString()))
    rows: list[dict[str, Any]] = []
    for trace, of_trace in groupby(flat, key=lambda row: row[0]):
        resources: list[dict[str, Any]] = []
        for _, of_one in groupby(of_trace, key=lambda row: row[1].SerializeToString()):
            some = list(of_one)
            scopes = [
                {
                    "Scope": {
                        "Name": group[0][2].name, "Version": group[0][2].version,
                        "Attrs": [_attribute(one) for one in group[0][2].attributes],
                        "DroppedAttributesCount": group[0][2].dropped_attributes_count,
                    },
                    "Spans": [_span(span, of_span, of_event) for *_, span in group],
                }
                for _, each in groupby(some, key=lambda row: row[2].SerializeToString())
                for group in [list(each)]
            ]  # fmt: skip
            about = some[0][1]
            attributes = {"DroppedAttributesCount": about.dropped_attributes_count} | of_resource.split(
                about.attributes
            )
            resources.append({"Resource": attributes, "ss": scopes})
        rows.append({"TraceID": trace, "TraceIDText": trace.hex(), "rs": resources})
    folder.mkdir(parents=True, exist_ok=True)
    schema = _schema(version)
    pl.DataFrame(rows, schema=schema).write_parquet(
        folder / "data.parquet", compression="snappy", row_group_size=500
    )
    columns = [
        {"n": one.name}
        | ({} if one.scope == "span" else {"s": one.scope})
        | ({} if one.kind == "string" else {"t": one.kind})
        for one in spare
    ]
    meta = {
        "format": f"vParquet{version}",
        "blockID": folder.name,
        "tenantID": "single-tenant",
        "totalObjects": len(rows),
    }
    (folder / "meta.json").write_text(json.dumps(meta | ({"dedicatedColumns": columns} if columns else {})))
