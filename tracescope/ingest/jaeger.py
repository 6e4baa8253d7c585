"""Jaeger JSON (its UI's download, and its API) to OTLP.

Source: jaegertracing/jaeger model/json; OpenTelemetry, "Jaeger transformation".
"""

from __future__ import annotations

from typing import Any

from tracescope.ingest.otlp_json import Json, Malformed, encode_request

_KINDS = {"internal": 1, "server": 2, "client": 3, "producer": 4, "consumer": 5}


def _attribute(tag: Json) -> Json:
    key, value, kind = tag["key"], tag.get("value"), tag.get("type", "string")
    if kind == "bool" or isinstance(value, bool):
        return {"key": key, "value": {"boolValue": value in (True, "true")}}
    if kind == "int64" or (kind != "string" and isinstance(value, int)):
        return {"key": key, "value": {"intValue": value}}
    if kind == "float64" or isinstance(value, float):
        return {"key": key, "value": {"doubleValue": value}}
    return {"key": key, "value": {"stringValue": str(value)}}


def _hex(value: str, size: int) -> str:
    """Ids are sent without leading zeros."""
    return value.rjust(size, "0") if value else ""


def _span(span: Json) -> Json:
    tags = [tag for tag in span.get("tags") or [] if tag["key"] != "span.kind"]
    kind = next((tag["value"] for tag in span.get("tags") or [] if tag["key"] == "span.kind"), "")
    failed = any(tag["key"] == "error" and tag.get("value") in (True, "true") for tag in tags)
    parent, links = "", []
    for reference in span.get("references") or []:
        here = reference.get("traceID", span["traceID"]) == span["traceID"]
        if not parent and reference["refType"] == "CHILD_OF" and here:
            parent = reference["spanID"]
        else:
            trace = _hex(reference.get("traceID", span["traceID"]), 32)
            links.append({"traceId": trace, "spanId": _hex(reference["spanID"], 16)})
    if (
        not parent
        and (only := links[:1])
        and only[0]["traceId"] == _hex(span["traceID"], 32)
        and kind != "consumer"
    ):
        parent = only[0]["spanId"]  # FOLLOWS_FROM alone still says who started it
        links = links[1:]
    parent = parent or span.get("parentSpanID", "")
    start = int(span["startTime"]) * 1000
    return {
        "traceId": _hex(span["traceID"], 32),
        "spanId": _hex(span["spanID"], 16),
        "parentSpanId": _hex(parent, 16),
        "name": span.get("operationName", ""),
        "kind": _KINDS.get(str(kind).lower(), 0),
        "startTimeUnixNano": start,
        "endTimeUnixNano": start + int(span.get("duration") or 0) * 1000,
        "attributes": [_attribute(tag) for tag in tags],
        "links": links,
        "status": {"code": 2} if failed else {},
    }


def transcode(document: Any) -> bytes:
    """ExportTraceServiceRequest bytes of ``{"data": [trace, ...]}`` or one trace.

    Raises
    ------
    Malformed
        A field that every Jaeger span has is missing.
    """
    traces = document.get("data", [document]) if isinstance(document, dict) else document
    resource_spans: list[Json] = []
    try:
        for trace in traces:
            by_process: dict[str, list[Json]] = {}
            processes = trace.get("processes") or {}
            for span in trace["spans"]:
                span.setdefault("traceID", trace.get("traceID"))
                if "process" in span:
                    processes = {**processes, span["spanID"]: span["process"]}
                    span["processID"] = span["spanID"]
                by_process.setdefault(span["processID"], []).append(_span(span))
            for name, spans in by_process.items():
                process = processes.get(name) or {}
                attributes = [_attribute(tag) for tag in process.get("tags") or []]
                attributes.append(
                    {"key": "service.name", "value": {"stringValue": process.get("serviceName", "")}}
                )
                resource_spans.append(
                    {"resource": {"attributes": attributes}, "scopeSpans": [{"spans": spans}]}
                )
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise Malformed(f"not shaped like Jaeger JSON: {type(error).__name__}: {error}") from error
    return encode_request({"resourceSpans": resource_spans})
