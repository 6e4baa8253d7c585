"""OTLP JSON against protobuf's own JSON mapping: the same message, or a sentence saying what is wrong."""

from __future__ import annotations

import base64
import copy
import json
import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import json_format
from google.protobuf.message import Message
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from laid_out import damaged
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue
from test_wire import requests

from tracescope.ingest.otlp_json import Malformed, transcode, transcode_any
from tracescope.kernels import plain_json

CHECKED = settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
REAL = Path(__file__).parent / "data/otlp"
IDS = {"traceId", "spanId", "parentSpanId"}
NUMBERS = {"startTimeUnixNano", "endTimeUnixNano", "timeUnixNano", "intValue"}
#: Counts and flags that no column and nothing kept needs.
UNUSED = (
    "dropped_attributes_count",
    "dropped_events_count",
    "dropped_links_count",
    "flags",
    "schema_url",
)


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


def without_unused(message: Message) -> Message:
    """The message without what no column or kept byte needs."""
    for field, value in message.ListFields():
        if field.name in UNUSED:
            message.ClearField(field.name)
        elif field.message_type is not None:
            for part in value if field.is_repeated else (value,):
                without_unused(part)
    return message


class Judge(json_format._Parser):  # type: ignore[name-defined]
    """The protobuf library's reader, but for ids in hex and two things that it passes over.

    Where an object should stand it takes texts and lists too, and with unknown members it ignores
    names of enums that nobody knows: spans would lose what their sender meant.
    """

    def ConvertMessage(self, value: Any, message: Message, path: str) -> None:  # noqa: N802 - its name
        if not isinstance(value, dict):
            raise json_format.ParseError(f"{path} is no object")
        super().ConvertMessage(value, message, path)

    def _ConvertAndSetScalar(self, message: Message, field: Any, js_value: Any, path: str) -> None:  # noqa: N802
        names = field.enum_type.values_by_name if field.enum_type is not None else {}
        if names and isinstance(js_value, str) and js_value not in names:
            int(js_value)  # raises a ValueError, which the library tells on
        if field.json_name not in IDS:
            super()._ConvertAndSetScalar(message, field, js_value, path)
        elif isinstance(js_value, str) and re.fullmatch("([0-9a-fA-F]{2})*", js_value):
            setattr(message, field.name, bytes.fromhex(js_value))
        else:
            raise json_format.ParseError(f"{path} is not hex")


def judged(document: Any) -> bytes | None:
    """What the protobuf library makes of a document whose ids are hex; None for an error."""
    message = ExportTraceServiceRequest()
    try:
        Judge(True, None, 100).ConvertMessage(document, message, "")
    except (json_format.ParseError, ValueError, OverflowError, TypeError):
        return None
    return without_unused(message).SerializeToString(deterministic=True)


ODD: list[Any] = [
    None, True, False, 0, 1, -1, 7, 2**31, 2**32, 2**63, 2**64, 2**70, -(2**63), -(2**63) - 1, 0.0, -0.0,
    1.0, 1.5, 1e3, 1e18, 1e19, 1e300, "", "0", "1", "-1", "+5", "007", "1e3", "1.0", "1.5", "1e400", " 1",
    "1_0", "0x10", "9223372036854775807", "9223372036854775808", "18446744073709551615",
    "18446744073709551616", "true", "false", "null", "NaN", "nan", "Infinity", "-Infinity", "inf",
    "SPAN_KIND_CLIENT", "STATUS_CODE_ERROR", "FRIENDLY", "aa", "AA" * 16, "zz", "a", "qqqqqqqqqqo=",
    "qqqqqqqqqqqqqqqqqqqqqg==", "*", "a b", "ü", "\U0001f600", [], {}, [None], [1], ["a"], [{}], [[]],
    {"a": 1}, {"values": None}, {"values": [None]}, {"values": [{}]}, {"stringValue": None},
    {"stringValue": "x", "intValue": None}, {"stringValue": "x", "intValue": 1}, {"intValue": "1e3"},
    {"boolValue": "false"}, {"doubleValue": "-Infinity"}, {"bytesValue": "_-8"},
    {"kvlistValue": {"values": [{"key": "k", "value": {"boolValue": False}}]}},
    {"arrayValue": {"values": [{"arrayValue": {}}, {"intValue": 0}, {"stringValue": ""}]}},
]  # fmt: skip
SNAKES = {
    "traceId": "trace_id", "stringValue": "string_value", "resourceSpans": "resource_spans",
    "intValue": "int_value", "startTimeUnixNano": "start_time_unix_nano", "scopeSpans": "scope_spans",
    "traceState": "trace_state",
}  # fmt: skip


def altered(node: Any, draw: random.Random, chance: float) -> Any:
    """A document with some values made odd, members added, renamed and left out."""
    if draw.random() < chance:
        return copy.deepcopy(draw.choice(ODD))
    if isinstance(node, list):
        return [altered(item, draw, chance) for item in node]
    if not isinstance(node, dict):
        return node
    out: dict[str, Any] = {}
    for key, value in node.items():
        name = SNAKES.get(key, key) if draw.random() < chance else key
        if draw.random() > chance / 2:
            out[name] = altered(value, draw, chance)
        if draw.random() < chance / 4:
            out[draw.choice([*SNAKES, *SNAKES.values(), "kind", "flags", "[x]"])] = draw.choice(ODD)
    return out


@settings(CHECKED, max_examples=600)
@given(st.randoms(use_true_random=False))
def test_json_is_taken_as_the_protobuf_library_takes_it(draw: random.Random) -> None:
    """The same documents, with the same values, byte for byte; by the kernel or the slow way."""
    document = altered(json.loads(EVERYTHING), draw, draw.choice([0.003, 0.01, 0.03, 0.1]))
    text = json.dumps(document, ensure_ascii=draw.random() < 0.5).encode()
    right = judged(document) if isinstance(document, dict) else None
    written = plain_json.transcode(text)
    assert slowly(text) == right
    assert written is None or written == right


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ({"stringValue": None}, AnyValue()),
        ({"intValue": "1e3"}, AnyValue(int_value=1000)),
        ({"boolValue": False}, AnyValue(bool_value=False)),
        ({"doubleValue": "NaN"}, AnyValue(double_value=float("nan"))),
        ({"intValue": 2**70}, None),
        ({"intValue": 9_999_999_999_999_999_999}, None),
        ({"boolValue": "false"}, None),
        ({"stringValue": "x", "intValue": 1}, None),
    ],
)
def test_values_are_those_of_protobufs_json_or_refused(value: Any, written: AnyValue | None) -> None:
    """Never the word None, never a number that wraps around, never a text taken for true."""
    text = span(attributes=[{"key": "a", "value": value}])
    if written is None:
        with pytest.raises(Malformed):
            transcode(text)
    else:
        assert first(text).attributes[0].value.SerializeToString() == written.SerializeToString()


def test_a_member_given_twice_is_refused() -> None:
    """Whichever of the two counts would be a guess."""
    text = span(name="a").replace(b'"name"', b'"name": "b", "name"')
    with pytest.raises(Malformed, match="two members 'name'"):
        transcode(text)


@CHECKED
@given(st.randoms(use_true_random=False))
def test_protobuf_is_never_larger_than_the_json_it_was_written_from(draw: random.Random) -> None:
    """So a request within its limit stays within it."""
    text = json.dumps(altered(json.loads(EVERYTHING), draw, 0.05), separators=(",", ":")).encode()
    assert len(slowly(text) or b"") <= len(text)
    events = b"{}," * 5000 + b"{}"
    text = b'{"resourceSpans":[{"scopeSpans":[{"spans":[{"events":[' + events + b"]}]}]}]}"
    assert len(transcode(text)) <= len(text)


@CHECKED
@given(requests(), st.randoms(use_true_random=False))
def test_any_message_survives_its_json(data: bytes, draw: random.Random) -> None:
    """Written by protobuf's own mapping with OTLP's differences, read back to the same message."""
    message = ExportTraceServiceRequest.FromString(data)
    message.DiscardUnknownFields()
    document = {"resourceSpans": [], **json_format.MessageToDict(message, use_integers_for_enums=True)}
    text = json.dumps(reshaped(document, draw)).encode()
    assert transcode(text) == without_unused(message).SerializeToString(deterministic=True)


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
    text = damaged(EVERYTHING, draw, most=3)
    written = plain_json.transcode(text)
    assert written is None or written == slowly(text)


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
        ({"attributes": [{"key": "a", "value": {"doubleValue": "x"}}]}, "doubleValue is 'x', not a number"),
        ({"attributes": [{"key": "a", "value": {"bytesValue": 7}}]}, "bytesValue is 7, not base64"),
        ({"attributes": "a"}, "shaped like OTLP"),
        ({"attributes": {"a": 1}}, "shaped like OTLP"),
        ({"links": [{"traceId": "q"}]}, "traceId 'q' is not hex"),
        ({"events": [7]}, "shaped like OTLP"),
        ({"name": 7}, "name is 7, not a string"),
        ({"status": "bad"}, "shaped like OTLP"),
    ],
)
def test_what_otlp_does_not_allow_is_named(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(Malformed) as failure:
        transcode(span(**fields))
    assert message in failure.value.message


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"7", b"null", b'{"resourceSpans": 7}', b"\xff"])
def test_what_is_no_otlp_is_refused(text: bytes) -> None:
    with pytest.raises(Malformed):
        transcode(text)


def test_base64_ids_are_refused_with_a_hint() -> None:
    """What another exporter really wrote: protobuf's mapping instead of OTLP's."""
    lines = (REAL / "traces.jsonl").read_bytes().splitlines()
    assert lines
    for line in lines:
        with pytest.raises(Malformed, match="base64") as failure:
            transcode(line)
        assert "hex" in (failure.value.hint or "")
        assert told(transcode(line, lenient=True)) == told(transcode_any(line, lenient=True))


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


@pytest.mark.parametrize(
    ("document", "words"),
    [
        (b'{"resourceSpans":' + b"1" * 5000 + b"}", "a number has more than 4300 digits"),
        (
            b'{"resourceSpans":[{"scopeSpans":[{"spans":[{"kind":Infinity}]}]}]}',
            "kind is inf, not an integer",
        ),
        (
            b'{"resourceSpans":[{"scopeSpans":[{"spans":[{"attributes":[{"key":"a","value":'
            b'{"bytesValue":"\\ud800"}}]}]}]}]}',
            "bytesValue is '\\ud800', not base64",
        ),
        (b'{"resourceSpans":[null]}', "resourceSpans is null, not an object"),
        (b'{"resourceSpans":true}', "resourceSpans is true, not a list"),
        (b'{"resourceSpans":{"a":[1]}}', "resourceSpans is an object, not a list"),
        (b"null", "null, not an object"),
        (b"17", "a number, not an object"),
        (b'"x"', "a string, not an object"),
        (b"\xef\xbb\xbf{}", "not JSON: Unexpected UTF-8 BOM (column 1)"),
    ],
    ids=str,
)
def test_what_no_request_can_be_is_malformed_in_the_words_of_json(document: bytes, words: str) -> None:
    """Whatever Python makes of it: nothing else than malformed comes of any bytes."""
    with pytest.raises(Malformed) as failure:
        transcode_any(document)
    assert failure.value.message.startswith(words)


#: A span with every member that there is, each as it should be.
FULL_SPAN: dict[str, Any] = {
    "traceId": "a" * 32, "spanId": "b" * 16, "parentSpanId": "c" * 16, "traceState": "x=y", "flags": 1,
    "name": "n", "kind": 2, "startTimeUnixNano": "1", "endTimeUnixNano": "2", "droppedAttributesCount": 1,
    "attributes": [
        {"key": "a", "value": {"intValue": "5"}},
        {"key": "b", "value": {"arrayValue": {"values": [{"doubleValue": 1.5}]}}},
        {"key": "c", "value": {"kvlistValue": {"values": [{"key": "d", "value": {"boolValue": True}}]}}},
        {"key": "e", "value": {"bytesValue": "YQ=="}},
    ],
    "events": [{"name": "e", "timeUnixNano": "1", "attributes": []}],
    "links": [{"traceId": "a" * 32, "spanId": "b" * 16, "attributes": []}],
    "status": {"code": 2, "message": "m"},
}  # fmt: skip
#: One of each kind of value, and those that Python stumbles over.
OTHER_KINDS = (
    *(None, True, -1, 1.5, float("inf"), 10**400, "", "x", "\ud800", "9" * 30, "NaN"),
    *([], [None], [7], {}, {"a": 1}),
)


def paths_in(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path to every value within a value."""
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
        yield (*path, key)
        if isinstance(inner, dict | list):
            yield from paths_in(inner, (*path, key))


def test_a_member_of_any_other_kind_is_read_or_malformed() -> None:
    """At every place of a request; the message is JSON's and names no type of Python's."""
    spans = [{"scope": {}, "spans": [FULL_SPAN]}]
    text = json.dumps({"resourceSpans": [{"resource": {"attributes": []}, "scopeSpans": spans}]})
    refused = 0
    for path in paths_in(json.loads(text)):
        for odd in OTHER_KINDS:
            changed = json.loads(text)
            within = changed
            for key in path[:-1]:
                within = within[key]
            within[path[-1]] = odd
            message = refusal(json.dumps(changed).encode())
            refused += bool(message)
            assert not re.search(r"\b(None|True|False|NoneType|dict|codec)\b", message), (path, odd)
    assert refused > 500


def refusal(document: bytes) -> str:
    """Why a document is malformed; empty where it is not."""
    try:
        transcode(document)
    except Malformed as error:
        return error.message
    return ""
