"""OTLP JSON against protobuf's own JSON mapping: the same message, or a sentence saying what is wrong."""

from __future__ import annotations

import base64
import json
import random
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import json_format
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from test_wire import requests

from tracescope.ingest.otlp_json import Malformed, transcode, transcode_any
from tracescope.kernels import plain_json

CHECKED = settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
REAL = Path(__file__).parent / "data/otlp"
IDS = {"traceId", "spanId", "parentSpanId"}
NUMBERS = {"startTimeUnixNano", "endTimeUnixNano", "timeUnixNano", "intValue"}
#: Counts and flags that no column and nothing kept needs.
UNUSED = ("dropped_attributes_count", "dropped_events_count", "dropped_links_count", "flags")


def reshaped(node: Any, draw: random.Random) -> Any:
    """Protobuf's JSON as OTLP writes it: hex ids, integers either way, fields nobody knows."""
    if isinstance(node, list):
        return [reshaped(item, draw) for item in node]
    if not isinstance(node, dict):
        return node
    out: dict[str, Any] = {}
    for key, value in node.items():
        if key in IDS:
            text = base64.b64decode(value).hex()
            out[key] = text.upper() if draw.random() < 0.3 else text
        elif key in NUMBERS:
            out[key] = int(value) if draw.random() < 0.5 else value
        else:
            out[key] = reshaped(value, draw)
    if draw.random() < 0.3:
        out["someFieldOfTomorrow"] = {"a": [1, None, {"b": "c"}]}
    return out


def without_unused(message: ExportTraceServiceRequest) -> ExportTraceServiceRequest:
    """The message without what no column or kept byte needs."""
    kept = ExportTraceServiceRequest()
    kept.CopyFrom(message)
    for part in kept.resource_spans:
        part.ClearField("schema_url")
        part.resource.ClearField("dropped_attributes_count")
        part.resource.SetInParent()
        for scope in part.scope_spans:
            scope.ClearField("schema_url")
            if scope.scope.ByteSize() == 0:
                scope.ClearField("scope")
            for span in scope.spans:
                for name in UNUSED:
                    span.ClearField(name)
                if span.status.ByteSize() == 0:
                    span.ClearField("status")
    return kept


@CHECKED
@given(requests(), st.randoms(use_true_random=False))
def test_any_message_survives_its_json(data: bytes, draw: random.Random) -> None:
    """Written by protobuf's own mapping with OTLP's differences, read back to the same message."""
    message = ExportTraceServiceRequest.FromString(data)
    message.DiscardUnknownFields()
    document = {"resourceSpans": [], **json_format.MessageToDict(message, use_integers_for_enums=True)}
    text = json.dumps(reshaped(document, draw)).encode()
    assert without_unused(ExportTraceServiceRequest.FromString(transcode(text))) == without_unused(message)


def slowly(text: bytes) -> bytes | None:
    """What the slow way makes of a text; None for an error."""
    try:
        return transcode_any(text)
    except (Malformed, ValueError, OverflowError):
        return None


@CHECKED
@given(requests(), st.randoms(use_true_random=False), st.booleans())
def test_plain_documents_become_the_same_bytes_either_way(
    data: bytes, draw: random.Random, ascii_only: bool
) -> None:
    """Members in any order, spaces anywhere, escapes or characters: the kernel's bytes, or none."""
    message = ExportTraceServiceRequest.FromString(data)
    message.DiscardUnknownFields()
    document = {"resourceSpans": [], **json_format.MessageToDict(message, use_integers_for_enums=True)}
    shuffled = stirred(reshaped(document, draw), draw)
    text = json.dumps(shuffled, ensure_ascii=ascii_only, indent=draw.choice([None, 1])).encode(
        errors="surrogatepass"
    )
    written = plain_json.transcode(text)
    assert written is None or written == transcode_any(text)


def stirred(node: Any, draw: random.Random) -> Any:
    """The same document with the members of every object in another order."""
    if isinstance(node, list):
        return [stirred(item, draw) for item in node]
    if not isinstance(node, dict):
        return node
    members = [(key, stirred(value, draw)) for key, value in node.items()]
    draw.shuffle(members)
    return dict(members)


@settings(CHECKED, max_examples=400)
@given(st.randoms(use_true_random=False))
def test_damaged_documents_are_never_read_as_something_else(draw: random.Random) -> None:
    """Bytes changed, cut out and doubled in a document with everything in it."""
    text = bytearray(EVERYTHING)
    for _ in range(draw.randrange(1, 4)):
        at = draw.randrange(len(text))
        match draw.randrange(4):
            case 0:
                text[at] = draw.choice(b'{}[]",:\\ue0-.1\x00\x80n ')
            case 1:
                del text[at : at + draw.randrange(1, 12)]
            case 2:
                text[at:at] = text[at : at + draw.randrange(1, 30)]
            case _:
                text[at:at] = draw.choice((b"null", b'"', b"1e5", b"\\u0041", b" ", b"{}", b"-"))
    written = plain_json.transcode(bytes(text))
    assert written is None or written == slowly(bytes(text))


def test_a_document_cut_anywhere_is_not_plain() -> None:
    """And nothing is read past its end."""
    assert plain_json.transcode(EVERYTHING) == transcode_any(EVERYTHING)
    for end in range(len(EVERYTHING)):
        assert plain_json.transcode(EVERYTHING[:end]) is None


@pytest.mark.parametrize("number", ["1" + "0" * 310, "1" + "0" * 290 + "e30", "1e400", "-" + "9" * 400])
def test_numbers_that_no_double_holds_are_not_plain(number: str) -> None:
    text = span(attributes=[{"key": "a", "value": {"doubleValue": 7}}]).replace(b"7}", number.encode() + b"}")
    assert number.encode() in text
    assert plain_json.transcode(text) is None


EVERYTHING = json.dumps(
    {
        "resourceSpans": [
            {
                "resource": {
                    "attributes": [
                        {"key": "service.name", "value": {"stringValue": "Läden \"&\" <Söhne>\n"}},
                        {"key": "process.command_args", "value": {"arrayValue": {"values": [
                            {"stringValue": "x" * 130}, {"doubleValue": 0.1}, {"intValue": "7"}]}}},
                    ],
                    "droppedAttributesCount": 1,
                },
                "schemaUrl": "https://opentelemetry.io/schemas/1.30.0",
                "scopeSpans": [
                    {
                        "scope": {"name": "io.example", "version": "1.2", "attributes": []},
                        "spans": [
                            {
                                "traceId": "5b8efff798038103d269b633813fc60c",
                                "spanId": "EEE19B7EC3C1B174",
                                "parentSpanId": "",
                                "traceState": "ot=th:8",
                                "flags": 257,
                                "name": "GET /a\u00fc",
                                "kind": 2,
                                "startTimeUnixNano": "1795431600791203715",
                                "endTimeUnixNano": 1795431600805770140,
                                "attributes": [
                                    {"key": "http.response.status_code", "value": {"intValue": "-200"}},
                                    {"key": "ratio", "value": {"doubleValue": -12.5e-3}},
                                    {"key": "cached", "value": {"boolValue": False}},
                                    {"key": "empty", "value": {}},
                                ],
                                "events": [
                                    {"timeUnixNano": "1795431600791203715", "name": "exception",
                                     "attributes": [{"key": "a", "value": {"stringValue": "b"}}]},
                                    {},
                                ],
                                "links": [{"traceId": "aa" * 16, "spanId": "bb" * 8}, {}],
                                "status": {"message": "no", "code": 2},
                            },
                            {"spanId": "bb" * 8, "startTimeUnixNano": 0, "status": {}, "kind": 0},
                        ],
                    }
                ],
            }
        ]
    }
).encode()  # fmt: skip


def span(**fields: Any) -> bytes:
    whole = {"traceId": "aa" * 16, "spanId": "bb" * 8, **fields}
    return json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": [whole]}]}]}).encode()


def first(text: bytes) -> Any:
    return ExportTraceServiceRequest.FromString(transcode(text)).resource_spans[0].scope_spans[0].spans[0]


@pytest.mark.parametrize("value", [1_790_000_000_000_000_001, "1790000000000000001"])
def test_times_are_strings_or_numbers_and_lose_no_digit(value: int | str) -> None:
    assert first(span(startTimeUnixNano=value)).start_time_unix_nano == 1_790_000_000_000_000_001


@pytest.mark.parametrize(
    ("kind", "number"), [(3, 3), ("SPAN_KIND_CLIENT", 3), ("4", 4), (0, 0), ("SPAN_KIND_UNSPECIFIED", 0)]
)
def test_kinds_are_integers_and_names_are_understood(kind: int | str, number: int) -> None:
    assert first(span(kind=kind)).kind == number


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"spanId": "xyz"}, "spanId 'xyz' is not hex"),
        ({"spanId": 17}, "spanId 17 is not hex"),
        ({"startTimeUnixNano": "soon"}, "startTimeUnixNano is 'soon', not an integer"),
        ({"startTimeUnixNano": 1.5}, "startTimeUnixNano is 1.5, not an integer"),
        ({"startTimeUnixNano": -1}, "startTimeUnixNano -1 does not fit 64 bits"),
        ({"endTimeUnixNano": "18446744073709551616"}, "does not fit 64 bits"),
        ({"endTimeUnixNano": [1]}, "not an integer"),
        ({"kind": "SPAN_KIND_FRIENDLY"}, "kind is 'SPAN_KIND_FRIENDLY', not an integer"),
        ({"attributes": [{"key": "a", "value": {"intValue": "x"}}]}, "intValue is 'x'"),
        ({"attributes": [{"key": "a", "value": {"doubleValue": "x"}}]}, "shaped like OTLP"),
        ({"attributes": [{"key": "a", "value": {"bytesValue": "*"}}]}, "shaped like OTLP"),
        ({"attributes": "a"}, "shaped like OTLP"),
        ({"attributes": {"a": 1}}, "shaped like OTLP"),
        ({"links": [{"traceId": "q"}]}, "link traceId 'q' is not hex"),
        ({"events": [7]}, "shaped like OTLP"),
        ({"name": 7}, "shaped like OTLP"),
        ({"status": "bad"}, "shaped like OTLP"),
    ],
)
def test_what_otlp_does_not_allow_is_named(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(Malformed) as failure:
        transcode(span(**fields))
    assert message in failure.value.message


@pytest.mark.parametrize(
    "text", [b"", b"{", b"[]", b"7", b"null", b'{"spans": []}', b'{"resourceSpans": 7}', b"\xff"]
)
def test_what_is_no_otlp_is_refused(text: bytes) -> None:
    with pytest.raises(Malformed):
        transcode(text)


@pytest.mark.parametrize("signal", ["resourceLogs", "resourceMetrics"])
def test_lines_of_other_signals_are_no_traces_and_no_error(signal: str) -> None:
    assert transcode(json.dumps({signal: []}).encode()) == b""


def test_base64_ids_are_refused_with_a_hint() -> None:
    """What another exporter really wrote: protobuf's mapping instead of OTLP's."""
    lines = (REAL / "traces.jsonl").read_bytes().splitlines()
    assert lines
    for line in lines:
        with pytest.raises(Malformed, match="base64") as failure:
            transcode(line)
        assert "hex" in (failure.value.hint or "")


def test_the_real_lines_with_hex_ids_are_the_protobuf_beside_them() -> None:
    """The same 19 spans, once the ids are written as OTLP wants them."""
    lines = (REAL / "traces.jsonl").read_text().splitlines()
    documents = [reshaped(json.loads(line), random.Random(1)) for line in lines]
    found = [one for document in documents for one in told(transcode(json.dumps(document).encode()))]
    assert len(found) == 19
    assert sorted(found) == sorted(told((REAL / "traces.pb").read_bytes()))


def told(data: bytes) -> list[tuple[Any, ...]]:
    """Ids, name, kind and times of the spans of a message."""
    return [
        (one.trace_id, one.span_id, one.name, one.kind, one.start_time_unix_nano, one.end_time_unix_nano)
        for part in ExportTraceServiceRequest.FromString(data).resource_spans
        for scope in part.scope_spans
        for one in scope.spans
    ]
