"""Zipkin JSON to OTLP: version 2, and version 1 by way of it.

Nearly all traces are plain enough for the kernel `plain_zipkin`; what is here reads the others, and the
two give the same spans.

Several records may share one span id: client and server of a call, several servers of one message, the
proxy and the service behind it.  The first of them keeps the id: a sender before a receiver, one that is
not marked as shared before one that is, then the earlier, then by endpoint.  Each other gets an id of
its own and hangs below the first; children hang below the record that lives where they do.

    web     CLIENT a |--------------|
    shop    SERVER a   |---------|        becomes a' below a
    shop    b, child of a  |---|          becomes a child of a': it is shop's

Production data has records without a timestamp, reported after the fact; they complete the record of the
same id and endpoint.  What has no start even so is refused and counted.

Source: openzipkin/zipkin-api zipkin2-api.yaml and zipkin-api.yaml, openzipkin/zipkin V1SpanConverter;
OpenTelemetry, "OpenTelemetry to Zipkin Transformation".
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from tracescope.ingest.jaeger import hex_id, misshapen, time_ns
from tracescope.ingest.otlp_json import Json, encode_request

_KINDS = {"SERVER": 2, "CLIENT": 3, "PRODUCER": 4, "CONSUMER": 5}
_SENDERS = ("CLIENT", "PRODUCER")
_RECEIVERS = ("SERVER", "CONSUMER")
_MESSAGING = {"PRODUCER": "send", "CONSUMER": "process"}
#: Tags that name what a message was sent to, where the remote endpoint is the broker.
TOPICS = ("kafka.topic", "rabbit.queue", "rabbit.exchange", "jms.queue", "jms.topic")
_MOST = 2**63 - 1

Endpoint = tuple[str, str]


def endpoint(span: Json, side: str = "localEndpoint") -> Endpoint:
    """Service and address of one side."""
    found = span.get(side) or {}
    return found.get("serviceName") or "", found.get("ipv4") or found.get("ipv6") or ""


def _key(span: Json) -> tuple[str, str]:
    return hex_id(span["traceId"], 32), hex_id(span["id"], 16)


def other_id(span_id: str, number: int) -> str:
    """Id of the record that is `number` behind the one that keeps `span_id`, the same on every import.

    A bijection of 64 bits for each number: ids that differ stay different.
    """
    mask = 2**64 - 1
    mixed = (int(span_id, 16) + number * 0x9E3779B97F4A7C15) & mask
    mixed = ((mixed ^ mixed >> 30) * 0xBF58476D1CE4E5B9) & mask
    mixed = ((mixed ^ mixed >> 27) * 0x94D049BB133111EB) & mask
    return f"{mixed ^ mixed >> 31:016x}"


@dataclass(slots=True)
class _Sharing:
    """Records of one span id that differ in kind, endpoint or start; the first keeps the id."""

    records: list[Json] = field(default_factory=list[Json])
    numbers: dict[tuple[Any, ...], int] = field(default_factory=dict[tuple[Any, ...], int])

    def add(self, span: Json) -> None:
        """Take a record, unless one like it is there."""
        if _about(span) not in self.numbers:
            self.numbers[_about(span)] = len(self.records)
            self.records.append(span)

    def order(self) -> None:
        """Put the record that keeps the id first."""
        self.records.sort(
            key=lambda span: (
                span.get("kind") not in _SENDERS,
                span.get("shared") is True,
                _start(span),
                endpoint(span),
                _KINDS.get(span.get("kind") or "", 0),
            )
        )
        self.numbers = {_about(span): number for number, span in enumerate(self.records)}

    def id_of(self, span: Json) -> str:
        """The id that a record gets."""
        number, span_id = self.numbers[_about(span)], _key(span)[1]
        return other_id(span_id, number) if number else span_id

    def parent_for(self, child: Json) -> Json:
        """The record that lives where a child does: the same address if possible, a receiver if possible."""
        here = endpoint(child)
        for known_by in (2, 1):  # service and address; else the service alone
            for receives in (True, False):
                for span in self.records:
                    if (span.get("kind") in _RECEIVERS) == receives and (
                        endpoint(span)[:known_by] == here[:known_by]
                    ):
                        return span
        return self.records[0]


def _start(span: Json) -> int:
    return time_ns(span.get("timestamp"))


def _about(span: Json) -> tuple[Any, ...]:
    return span.get("kind") or "", endpoint(span), _start(span)


def _whole(spans: Sequence[Json]) -> list[Json]:
    """Records with a timestamp; what was reported later without one completes the record it belongs to."""
    out = [dict(span) for span in spans if span.get("timestamp")]
    late = [span for span in spans if not span.get("timestamp")]
    of: dict[tuple[Any, ...], Json] = {}
    for span in out:
        of.setdefault((_key(span), endpoint(span)), span)
    for span in late:
        owner = of.get((_key(span), endpoint(span)))
        if owner is None:
            out.append(span)  # counted later: a span without a start
            continue
        owner.setdefault("duration", span.get("duration") or 0)
        owner["tags"] = {**(span.get("tags") or {}), **(owner.get("tags") or {})}
    return out


def _shared(spans: Sequence[Json]) -> dict[tuple[str, str], _Sharing]:
    """By trace and span id."""
    found: dict[tuple[str, str], _Sharing] = {}
    for span in spans:
        found.setdefault(_key(span), _Sharing()).add(span)
    for sharing in found.values():
        sharing.order()
    return found


def _string(key: str, value: Any) -> Json:
    text = value if isinstance(value, str) else "" if value is None else str(value)
    return {"key": key, "value": {"stringValue": text}}


def _about_peer(span: Json, tags: Json) -> list[Json]:
    """Attributes of the remote endpoint, and of what a message was sent to or came from."""
    kind = span.get("kind") or ""
    remote, address = endpoint(span, "remoteEndpoint")
    topic = next((tags[name] for name in TOPICS if name in tags), None)
    out: list[Json] = []
    if kind in _MESSAGING:
        if topic or remote:
            out.append(_string("messaging.destination.name", topic or remote))
        out.append(_string("messaging.operation.type", _MESSAGING[kind]))
    elif remote and kind == "CLIENT":
        out.append(_string("service.peer.name", remote))
    if address:
        out.append(_string("client.address" if kind == "SERVER" else "network.peer.address", address))
    return out


def _span(span: Json, shared: dict[tuple[str, str], _Sharing]) -> Json:
    """One record as OTLP."""
    trace_id, span_id = key = _key(span)
    made = shared[key].id_of(span)
    parent = hex_id(span.get("parentId"), 16)
    if made != span_id:
        parent = span_id
    elif parent and parent != span_id and (above := shared.get((trace_id, parent))):
        parent = above.id_of(above.parent_for(span))
    kind = span.get("kind") or ""
    tags: Json = span.get("tags") or {}
    start = _start(span)
    end = start + int(span.get("duration") or 0) * 1000
    return {
        "traceId": trace_id,
        "spanId": made,
        "parentSpanId": parent,
        "name": span.get("name"),
        "kind": _KINDS.get(kind, 1 if span.get("localEndpoint") else 0),
        "startTimeUnixNano": start,
        "endTimeUnixNano": end if 0 <= end <= _MOST else 0,
        "attributes": [*(_string(key, value) for key, value in tags.items()), *_about_peer(span, tags)],
        "events": [
            {"timeUnixNano": time_ns(one.get("timestamp")), "name": one.get("value")}
            for one in span.get("annotations") or ()
        ],
        "status": {"code": 2} if "error" in tags else None,
    }


def encode(records: Iterable[Json]) -> bytes:
    """ExportTraceServiceRequest bytes of records of one or more traces, each trace whole.

    Raises
    ------
    Malformed
        A field that every Zipkin span has is missing or of another kind.
    """
    by_endpoint: dict[Endpoint, Json] = {}
    try:
        spans = _whole([half for span in records for half in (_halves(span) if is_v1(span) else (span,))])
        shared = _shared(spans)
        for span in spans:
            here = endpoint(span)
            if here not in by_endpoint:
                by_endpoint[here] = {"resource": _resource(here), "scopeSpans": [{"spans": []}]}
            by_endpoint[here]["scopeSpans"][0]["spans"].append(_span(span, shared))
    except (KeyError, TypeError, AttributeError, ValueError, OverflowError) as error:
        raise misshapen("Zipkin", error) from error
    return encode_request({"resourceSpans": list(by_endpoint.values())})


def _resource(here: Endpoint) -> Json:
    service, address = here
    found = [_string("service.name", service)]
    return {"attributes": [*found, _string("host.ip", address)] if address else found}


# -- version 1 --

_CLIENT = ("cs", "cr")
_SERVER = ("sr", "ss")
_SIDES = {
    **dict.fromkeys(_CLIENT, "CLIENT"),
    **dict.fromkeys(_SERVER, "SERVER"),
    "ms": "PRODUCER",
    "mr": "CONSUMER",
}
_ADDRESSES = {"sa": "CLIENT", "ca": "SERVER", "ma": ""}


def is_v1(span: Json) -> bool:
    """Whether a record is of version 1: its annotations name their endpoints."""
    if "binaryAnnotations" in span:
        return True
    return any(isinstance(one, dict) and "endpoint" in one for one in span.get("annotations") or ())


def _side_of(here: Endpoint, span: Json, sides: dict[str, Json]) -> Json:
    """The side that an annotation belongs to: the first one at its endpoint, or one without a kind."""
    for side in sides.values():
        if endpoint(side) == here:
            return side
    if not here[0] and sides:
        return next(iter(sides.values()))
    return _new_side(sides, "", here, span)


def _new_side(sides: dict[str, Json], kind: str, here: Endpoint, span: Json) -> Json:
    side: Json = {name: span[name] for name in ("traceId", "id", "parentId", "name") if span.get(name)}
    side |= {"tags": {}, "annotations": [], "localEndpoint": _endpoint_of(here)}
    if kind:
        side["kind"] = kind
    sides[kind or f"{here}"] = side
    return side


def _endpoint_of(here: Endpoint) -> Json:
    service, address = here
    known_as = "ipv6" if ":" in address else "ipv4"
    return {"serviceName": service} | ({known_as: address} if address else {})


def _v1_endpoint(one: Json) -> Endpoint:
    found = one.get("endpoint") or {}
    address = found.get("ipv4") or found.get("ipv6") or ""
    if isinstance(address, int):  # as Thrift has it
        address = str(ipaddress.ip_address(address & 0xFFFFFFFF))
    return found.get("serviceName") or "", address


def _halves(span: Json) -> list[Json]:
    """The records of version 2 that one of version 1 holds: a client's and a server's often share one."""
    annotations: list[Json] = sorted(span.get("annotations") or (), key=lambda one: one.get("timestamp") or 0)
    sides: dict[str, Json] = {}
    for one in annotations:
        if kind := _SIDES.get(one.get("value", "")):
            side = sides.get(kind) or _new_side(sides, kind, _v1_endpoint(one), span)
            at = int(one.get("timestamp") or 0)
            side.setdefault("timestamp", at)
            side["until"] = at
    for one in annotations:
        if one.get("value") not in _SIDES:
            _side_of(_v1_endpoint(one), span, sides)["annotations"].append(one)
    _read_binary(span, sides)
    if not sides:
        _new_side(sides, "", ("", ""), span)
    return _timed(span, list(sides.values()))


def _read_binary(span: Json, sides: dict[str, Json]) -> None:
    for one in span.get("binaryAnnotations") or ():
        key, value = one["key"], one.get("value")
        if key in _ADDRESSES and value in (True, "true", 1):
            kind = _ADDRESSES[key]
            for side in sides.values():
                if (side.get("kind") or "") == kind or (key == "ma" and side.get("kind") in _MESSAGING):
                    side["remoteEndpoint"] = _endpoint_of(_v1_endpoint(one))
        else:
            side = _side_of(_v1_endpoint(one), span, sides)
            if key != "lc" or value:  # the local component: it only says where
                side["tags"][key] = value


def _timed(span: Json, sides: list[Json]) -> list[Json]:
    """Sides with their times: of their annotations, or of the record where it is theirs."""
    start, duration = int(span.get("timestamp") or 0), int(span.get("duration") or 0)
    first = min(sides, key=lambda side: (side.get("kind") not in _SENDERS, not side.get("kind")))
    for side in sides:
        until = side.pop("until", 0)
        begun = side.get("timestamp") or 0
        if side is first and start:
            side["timestamp"], begun = start, start
        if side is first and duration:
            side["duration"] = duration
        elif until > begun:
            side["duration"] = until - begun
        if not side.get("timestamp") and side["annotations"]:
            side["timestamp"] = min(int(one.get("timestamp") or 0) for one in side["annotations"])
        side["shared"] = side.get("kind") in _RECEIVERS and len(sides) > 1
    return sides
