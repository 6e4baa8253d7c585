"""Zipkin v2 JSON to OTLP.

Two peculiarities: client and server may share one span id (``shared``), and production data has
spans without a timestamp or a duration.

Source: openzipkin/zipkin-api zipkin2-api.yaml; OpenTelemetry, "Zipkin transformation".
"""

from __future__ import annotations

import hashlib
from typing import Any

from tracescope.ingest.otlp_json import Json, Malformed, encode_request

_KINDS = {"SERVER": 2, "CLIENT": 3, "PRODUCER": 4, "CONSUMER": 5}
_MESSAGING = {"PRODUCER": "send", "CONSUMER": "process"}


def _shared_id(span_id: str) -> str:
    """A span id for the server's half of a shared span, the same on every import."""
    return hashlib.blake2b(span_id.encode(), digest_size=8, person=b"zipkin.shared").hexdigest()


def _key(span: Json) -> tuple[str, str]:
    return span["traceId"], span["id"]


def _span(span: Json, split: set[tuple[str, str]], children_of: dict[tuple[str, str], str]) -> Json:
    kind = span.get("kind", "")
    span_id, parent = span["id"].rjust(16, "0"), span.get("parentId", "").rjust(16, "0").strip()
    parent = parent if span.get("parentId") else ""
    if _key(span) in split and kind == "SERVER":
        parent, span_id = span_id, _shared_id(span_id)
    elif span.get("parentId") and (span["traceId"], span["parentId"]) in split:
        server = children_of.get((span["traceId"], span["parentId"]))
        if server == (span.get("localEndpoint") or {}).get("serviceName"):
            parent = _shared_id(parent)
    start = int(span.get("timestamp") or 0) * 1000
    tags: Json = span.get("tags") or {}
    attributes = [{"key": key, "value": {"stringValue": str(value)}} for key, value in tags.items()]
    remote = (span.get("remoteEndpoint") or {}).get("serviceName")
    if remote and kind in ("CLIENT", "PRODUCER", "CONSUMER"):
        key = "messaging.destination.name" if kind in _MESSAGING else "service.peer.name"
        attributes.append({"key": key, "value": {"stringValue": remote}})
    if kind in _MESSAGING:
        attributes.append({"key": "messaging.operation.type", "value": {"stringValue": _MESSAGING[kind]}})
    return {
        "traceId": span["traceId"].rjust(32, "0"),
        "spanId": span_id,
        "parentSpanId": parent,
        "name": span.get("name", ""),
        "kind": _KINDS.get(kind, 1 if span.get("localEndpoint") else 0),
        "startTimeUnixNano": start,
        "endTimeUnixNano": start + int(span.get("duration") or 0) * 1000,
        "attributes": attributes,
        "status": {"code": 2} if "error" in tags else {},
    }


def transcode(document: Any) -> bytes:
    """ExportTraceServiceRequest bytes of an array of spans, or of traces.

    Raises
    ------
    Malformed
        A field that every Zipkin span has is missing.
    """
    try:
        spans: list[Json] = [
            span for item in document for span in (item if isinstance(item, list) else [item])
        ]
        kinds: dict[tuple[str, str], set[str]] = {}
        servers: dict[tuple[str, str], str] = {}
        for span in spans:
            kinds.setdefault(_key(span), set()).add(span.get("kind", ""))
            if span.get("kind") == "SERVER":
                servers[_key(span)] = (span.get("localEndpoint") or {}).get("serviceName", "")
        split = {key for key, found in kinds.items() if {"CLIENT", "SERVER"} <= found}
        by_service: dict[str, list[Json]] = {}
        for span in spans:
            name = (span.get("localEndpoint") or {}).get("serviceName") or ""
            by_service.setdefault(name, []).append(_span(span, split, servers))
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise Malformed(f"not shaped like Zipkin v2 JSON: {type(error).__name__}: {error}") from error
    return encode_request(
        {
            "resourceSpans": [
                {
                    "resource": {"attributes": [{"key": "service.name", "value": {"stringValue": name}}]},
                    "scopeSpans": [{"spans": found}],
                }
                for name, found in by_service.items()
            ]
        }
    )
