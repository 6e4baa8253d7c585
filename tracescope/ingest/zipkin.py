"""Zipkin v2 JSON to OTLP.

Client and server may share one span id, several servers even (a message that many consume): each
server's half gets an id of its own, and children hang below the half that lives where they do.
Production data has records without a timestamp, reported after the fact; they complete the record
of the same id and endpoint.  What has no start even so is refused and counted.

Source: openzipkin/zipkin-api zipkin2-api.yaml; OpenTelemetry, "Zipkin transformation".
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

from tracescope.ingest.otlp_json import Json, Malformed, encode_request

_KINDS = {"SERVER": 2, "CLIENT": 3, "PRODUCER": 4, "CONSUMER": 5}
_MESSAGING = {"PRODUCER": "send", "CONSUMER": "process"}


@dataclass(frozen=True, slots=True)
class _Halves:
    """Server halves of client span ids: position of each record, and what they are known by."""

    #: (trace, span) -> (service, address) of its servers, in the order of their numbers.
    servers: dict[tuple[str, str], list[tuple[str, str]]]

    def id_of(self, span: Json, number: int) -> str:
        """Span id of a server's half, the same on every import."""
        text = f"{span['id']}/{number}" if number else span["id"]
        return hashlib.blake2b(text.encode(), digest_size=8, person=b"zipkin.shared").hexdigest()

    def parent_of(self, span: Json) -> str:
        """Id of a span's parent: the half that lives where the span does, when its parent has halves."""
        parent: str = span.get("parentId") or ""
        found = self.servers.get((span["traceId"], parent), ())
        here = _endpoint(span)
        for known_by in (2, 1):  # service and address; else the service alone
            for number, there in enumerate(found):
                if there[:known_by] == here[:known_by]:
                    return self.id_of({"id": parent}, number)
        return parent


def _endpoint(span: Json) -> tuple[str, str]:
    local = span.get("localEndpoint") or {}
    return local.get("serviceName") or "", local.get("ipv4") or local.get("ipv6") or ""


def _key(span: Json) -> tuple[str, str]:
    return span["traceId"], span["id"]


def _whole(spans: list[Json]) -> list[Json]:
    """Records with a timestamp; what was reported later without one completes the record it belongs to."""
    timed = [span for span in spans if span.get("timestamp")]
    of: dict[tuple[Any, ...], Json] = {}
    for span in timed:
        of.setdefault((_key(span), _endpoint(span)), span)
    out = list(timed)
    for span in spans:
        if span.get("timestamp"):
            continue
        owner = of.get((_key(span), _endpoint(span)))
        if owner is None:
            out.append(span)  # counted later: a span without a start
            continue
        owner.setdefault("duration", span.get("duration") or 0)
        owner["tags"] = {**(span.get("tags") or {}), **(owner.get("tags") or {})}
    return out


def _split(spans: list[Json]) -> tuple[_Halves, dict[int, int]]:
    """Span ids that a client shares with servers; and the number of each server's record, by identity."""
    clients = {_key(span) for span in spans if span.get("kind") == "CLIENT"}
    servers: dict[tuple[str, str], list[Json]] = {}
    for span in spans:
        if span.get("kind") == "SERVER" and _key(span) in clients:
            servers.setdefault(_key(span), []).append(span)
    numbers: dict[int, int] = {}
    for found in servers.values():
        found.sort(key=lambda span: (span.get("timestamp") or 0, _endpoint(span)))
        numbers |= {id(span): number for number, span in enumerate(found)}
    return _Halves({key: [_endpoint(s) for s in found] for key, found in servers.items()}), numbers


def _span(span: Json, halves: _Halves, number: int | None) -> Json:
    """One record as OTLP; `number` is that of a server's half."""
    kind = span.get("kind", "")
    if number is None:
        span_id, parent = span["id"], halves.parent_of(span)
    else:
        span_id, parent = halves.id_of(span, number), span["id"]
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
        "spanId": span_id.rjust(16, "0"),
        "parentSpanId": parent.rjust(16, "0") if parent else "",
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
        given: list[Json] = [
            span for item in document for span in (item if isinstance(item, list) else [item])
        ]
        spans = _whole(given)
        halves, numbers = _split(spans)
        by_endpoint: dict[tuple[str, str], list[Json]] = {}
        for span in spans:
            made = _span(span, halves, numbers.get(id(span)))
            by_endpoint.setdefault(_endpoint(span), []).append(made)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise Malformed(f"not shaped like Zipkin v2 JSON: {type(error).__name__}: {error}") from error
    return encode_request(
        {
            "resourceSpans": [
                {
                    "resource": {
                        "attributes": [
                            {"key": key, "value": {"stringValue": value}}
                            for key, value in (("service.name", name), ("host.ip", address))
                            if value
                        ]
                    },
                    "scopeSpans": [{"spans": found}],
                }
                for (name, address), found in by_endpoint.items()
            ]
        }
    )
