"""Plain OTLP JSON: what exporters write is plain in any layout, and read as the slow way reads it."""

from __future__ import annotations

import random
from typing import Any

import pytest
from laid_out import Number, Text, cases, damaged, laid_out

from tracescope.ingest.otlp_json import Malformed, transcode_any
from tracescope.kernels.plain_json import transcode

TEXTS = tuple(map(Text, (
    "", "x", "orders", "GET /a?b=1", "Läden \"&\"\\<Söhne>\n", "\t\x01\x1f\x7f", "a" * 7 + "\\",
    "a" * 8 + '"', "\U0001f600é\u07ff\u0800\uffff/", "b" * 130, "null", "\U00010000\U0010ffff",
)))  # fmt: skip
DOUBLES = ("0", "-0.0", "0.0", "7", "-12.5e-3", "1e22", "1E+5", "2.5e-10", "123456789.125", "0.1", "-1e0")
WHOLES = ("0", "7", "-7", "127", "128", "-1", "9223372036854775807", "-9", "999999999999999999", "1000000")
TIMES = ("1795431600791203715", "0", "1", "18446744073709551", "9999999999999999999")


def number(rng: random.Random, texts: tuple[str, ...]) -> Any:
    """A number, as one or in a string."""
    text = rng.choice(texts)
    return Number(text) if rng.random() < 0.5 else text


def value(rng: random.Random, inside: bool = False) -> dict[str, Any]:
    """An AnyValue of any kind that is plain."""
    match rng.randrange(6 if inside else 7):
        case 0:
            return {"boolValue": rng.random() < 0.5}
        case 1:
            return {"intValue": number(rng, WHOLES)}
        case 2:
            return {"doubleValue": Number(rng.choice(DOUBLES))}
        case 3:
            return rng.choice(({}, {"stringValue": None}, {"arrayValue": None}))
        case 6:
            values = [value(rng, inside=True) for _ in range(rng.choice((0, 1, 3)))]
            return {"arrayValue": rng.choice(({"values": values}, {"values": values}, {}))}
        case _:
            return {"stringValue": rng.choice(TEXTS)}


def attributes(rng: random.Random) -> list[dict[str, Any]]:
    """KeyValues, of which now and then the value or the key is missing."""
    each = [{"key": rng.choice(TEXTS), "value": value(rng)} for _ in range(rng.choice((0, 1, 2)))]
    return [{key: one[key] for key in one if rng.random() < 0.95} for one in each]


def some(rng: random.Random, members: dict[str, Any]) -> dict[str, Any]:
    """Most of an object's members; some are null, and some are there that nobody knows."""
    out = {key: None if rng.random() < 0.05 else one for key, one in members.items() if rng.random() < 0.8}
    if rng.random() < 0.2:
        out[rng.choice(("later", "valuesOfTomorrow", "aNameOfMoreThanThirtyTwoCharacters"))] = value(rng)
    return out


def identity(rng: random.Random, size: int) -> str:
    text = rng.randbytes(size).hex()
    return rng.choice(("", text, text, text, text.upper(), text[2:]))


def span(rng: random.Random) -> dict[str, Any]:
    kinds = ("SPAN_KIND_SERVER", "SPAN_KIND_CONSUMER", "SPAN_KIND_UNSPECIFIED", 0, 2, 5, Number("9"))
    link = {"traceId": identity(rng, 16), "spanId": identity(rng, 8), "traceState": "a=b", "flags": 1,
            "attributes": attributes(rng), "droppedAttributesCount": 4294967295}  # fmt: skip
    event = {"timeUnixNano": number(rng, TIMES), "name": rng.choice(TEXTS), "attributes": attributes(rng)}
    status = {"message": rng.choice(TEXTS), "code": rng.choice(("STATUS_CODE_ERROR", 1, 2, 0))}
    return some(rng, {
        "traceId": identity(rng, 16), "spanId": identity(rng, 8), "parentSpanId": identity(rng, 8),
        "traceState": rng.choice(TEXTS), "name": rng.choice(TEXTS), "kind": rng.choice(kinds),
        "startTimeUnixNano": number(rng, TIMES), "endTimeUnixNano": number(rng, TIMES),
        "attributes": attributes(rng), "events": [some(rng, event) for _ in range(rng.choice((0, 0, 1, 2)))],
        "links": [some(rng, link) for _ in range(rng.choice((0, 0, 1, 2)))], "status": some(rng, status),
        "flags": 257, "droppedAttributesCount": 0, "droppedEventsCount": 7, "droppedLinksCount": "8",
    })  # fmt: skip


def document(rng: random.Random) -> dict[str, Any]:
    """A request with every sort of member."""
    scope = {
        "name": rng.choice(TEXTS),
        "version": "1.2",
        "attributes": attributes(rng),
        "droppedAttributesCount": 1,
    }
    scopes = [
        some(rng, {"scope": some(rng, scope), "spans": [span(rng) for _ in range(rng.choice((0, 1, 2)))],
                   "schemaUrl": "https://opentelemetry.io/schemas/1.30.0"})
        for _ in range(rng.choice((0, 1, 1, 2)))
    ]  # fmt: skip
    resource = {"attributes": attributes(rng), "droppedAttributesCount": 0}
    name = rng.choice(("scopeSpans", "scopeSpans", "instrumentationLibrarySpans"))
    part = some(rng, {"resource": some(rng, resource), "schemaUrl": "x"}) | {name: scopes}
    return {rng.choice(("resourceSpans", "resourceSpans", "batches")): [part] * rng.choice((1, 1, 0, 2))}


def slowly(text: bytes, **options: Any) -> bytes | None:
    """What the slow way makes of a text; None for an error."""
    try:
        return transcode_any(text, **options)
    except (Malformed, ValueError, OverflowError):
        return None


@pytest.mark.parametrize("seed", range(6))
def test_what_exporters_write_is_plain_in_any_layout(seed: int) -> None:
    """Members in any order, spaces anywhere, characters escaped or not: the bytes of the slow way."""
    rng = random.Random(seed)
    for _ in range(8):
        text = laid_out(document(rng), rng, rng.choice((0.0, 0.05, 0.3))).encode()
        text = rng.choice((b"", b" \n")) + text + rng.choice((b"", b"\r\n\t "))
        assert slowly(text) is not None, text
        assert transcode(text) == slowly(text), text
        assert transcode(text, lenient=True) == slowly(text), text


@pytest.mark.parametrize("seed", range(6))
def test_a_damaged_document_is_never_read_as_something_else(seed: int) -> None:
    """It is not plain, or as the slow way reads it."""
    rng = random.Random(seed)
    for _ in range(25):
        text = damaged(laid_out(document(rng), rng, rng.choice((0.0, 0.3))).encode(), rng)
        written = transcode(text)
        assert written is None or written == slowly(text), text


def test_long_texts_and_lists_keep_their_lengths_and_the_doubles_their_places() -> None:
    """Where a length takes two or three bytes, all that was written after it moves on."""
    for size in (0, 100, 125, 126, 127, 128, 130, 16380, 16384, 17000):
        values = [{"doubleValue": 0.5}, {"stringValue": "é" * (size // 2)}, {"doubleValue": 1.5}]
        pairs = [
            {"key": "k", "value": {"arrayValue": {"values": values}}},
            {"key": "d", "value": {"doubleValue": 9}},
        ]
        text = laid_out(
            {"resourceSpans": [{"resource": {"attributes": pairs}}]}, random.Random(size)
        ).encode()
        assert transcode(text) == slowly(text) is not None, size


#: Texts of members of objects; + is plain, - is not.
MEMBERS = r"""
span kind
    + 0
    + 5
    + null
    + 2147483647
    - 2147483648
    - -1
    - "5"
    + "SPAN_KIND_CLIENT"
    - "SPAN_KIND_CLIEN"
    - "SPAN_KIND_CLIENTS"
    - "\u0053PAN_KIND_CLIENT"
    - ""
    - 1.0
    - true
    - []
span startTimeUnixNano
    + 1
    + "1"
    + "007"
    + 9999999999999999999
    - 10000000000000000000
    + "0000000000000000000"
    - "00000000000000000001"
    - -1
    - "-1"
    - 1e3
    - 1.0
    - ""
    - "1 "
    - 00
    - true
    - {}
    - "1
span droppedLinksCount
    + 4294967295
    - 4294967296
    + "0"
    + null
    - {}
    - -1
span traceId
    + "aB09"
    + null
    - "abc"
    - "ag"
    - "ga"
    - "@/:G"
    - "`g"
    - "a\u0061"
    - 7
span name
    + null
    + "\ud83d\ude00"
    + "\ud7ff\ue000"
    + "\udbff\udfff"
    + "\ud800\udc00"
    - "\ud83d"
    - "\ude00"
    - "\ud83d\u0041"
    - "\ud83d\ue000"
    - "\ud83dx12345"
    - "\ud83d\n2345"
    - "\u00g0"
    - "\u00"
    - "\x"
    - "\é"
    - "␟"
    - 7
    - true
    - []
span status
    + {}
    + null
    + {"code":3}
    + {"message":""}
    - []
    - 7
    - {"code":"STATUS_CODE_OK","code":1}
    - {"\u0063ode":1}
    - {"a_b":1}
    - {"[a]":1}
    - {"message":7,"code":1}
    - {"message":"x","code":"x"}
span attributes
    + []
    + null
    + [{}]
    + [{"value":{}}]
    - {}
    - [null]
    - [[]]
    - [{"key":7}]
    - [{"keyStrindex":1}]
    - [{"key":"a","value":{"kvlistValue":{"values":[]}}}]
    - [{"value":{"bytesValue":""}}]
    - [{"value":{"stringValueStrindex":1}}]
    + [{"value":{"boolValue":null}}]
    - [{"value":{"boolValue":1}}]
    + [{"value":{"doubleValue":-0e0}}]
    - [{"value":{"doubleValue":-0}}]
    + [{"value":{"doubleValue":1e99}}]
    - [{"value":{"doubleValue":1e100}}]
    - [{"value":{"doubleValue":"1"}}]
    - [{"value":{"doubleValue":01}}]
    - [{"value":{"doubleValue":1.}}]
    - [{"value":{"doubleValue":-}}]
    - [{"value":{"doubleValue":1e}}]
    - [{"value":{"doubleValue":1e+}}]
    - [{"value":{"doubleValue":.5}}]
    - [{"value":{"doubleValue":+5}}]
    + [{"value":{"intValue":9223372036854775807}}]
    - [{"value":{"intValue":9223372036854775808}}]
    + [{"value":{"intValue":-999999999999999999}}]
    - [{"value":{"intValue":-1000000000000000000}}]
    - [{"value":{"intValue":1,"boolValue":true}}]
    - [{"value":{"arrayValue":[]}}]
    - [{"value":{"arrayValue":{"values":{}}}}]
    - [{"value":{"arrayValue":{"values":[{"arrayValue":{}}]}}}]
    - [{"value":{"arrayValue":{"values":[{"boolValue":true},{"a":1,"b":2}]}}}]
    + [{"value":{"arrayValue":{"values":[{},{}]}}}]
    - [{"value":{"arrayValue":{"values":[{"boolValue":"true"}]}}}]
    - [{"key":7,"value":{}}]
    - [{"key":"a","value":7}]
span events
    + [{}]
    + [{"name":"x"}]
    - [{"timeUnixNano":"x","name":"n"}]
    - [{"name":7,"attributes":[]}]
    - [{"droppedAttributesCount":-1}]
    - [{"attributes":7}]
    - {}
    - [7]
span links
    + [{}]
    - [{"traceId":"a","spanId":"aa"}]
    - [{"traceId":"aa","spanId":"a","traceState":"x"}]
    - [{"traceState":7,"attributes":[]}]
    - [{"droppedAttributesCount":-1}]
    - [{"flags":"x"}]
    - {}
span spanId
    + "aa"
    - "a"
span traceState
    - 7
span endTimeUnixNano
    - "x"
span flags
    + 0
    - 4294967296
scope scope
    + null
    + {}
    - []
    - {"name":7,"version":"x"}
    - {"version":7,"attributes":[]}
    - {"attributes":{}}
    - {"droppedAttributesCount":"x"}
scope schemaUrl
    + ""
    + null
    - 7
scope instrumentationLibrary
    + null
    - {}
scope spans
    + []
    + null
    + [{},{}]
    - {}
    - [7]
    - [{},null]
resource resource
    + {}
    + null
    - []
    - {"droppedAttributesCount":"x"}
    - {"entityRefs":[]}
    - {"attributes":{}}
resource schemaUrl
    + "x"
    - []
resource scopeSpans
    + []
    + [{}]
    - {}
    - [[]]
    - [{},7]
resource instrumentationLibrarySpans
    + [{}]
    - [7]
document resourceSpans
    + []
    + [{}]
    - null
    - {}
    - [7]
    - [{},[]]
document batches
    + [{}]
"""


#: Where members stand.
PLACES = {
    "document": "{%s}",
    "resource": '{"resourceSpans":[{%s}]}',
    "scope": '{"resourceSpans":[{"scopeSpans":[{%s}]}]}',
    "span": '{"resourceSpans":[{"scopeSpans":[{"spans":[{%s}]}]}]}',
}
CASES = cases(MEMBERS)


@pytest.mark.parametrize("member", CASES)
def test_a_member_is_plain_as_exporters_write_it_and_never_misread(member: str) -> None:
    """To the bounds of its type; of what is not plain the slow way knows what is wrong."""
    place, name = member.split()
    for text, plain in CASES[member]:
        made = (PLACES[place] % f'"{name}":{text}').encode()
        written = transcode(made)
        assert (written is not None) == plain, text
        assert written is None or written == slowly(made), text


def test_a_text_that_is_not_utf_8_is_not_plain() -> None:
    """Strings are copied as they are."""
    text = (PLACES["span"] % '"name":"?"').encode()
    assert transcode(text) is not None
    assert transcode(text.replace(b"?", b"\xff")) is None
    assert transcode(text.replace(b"?", "é".encode())) is not None


def test_documents_stand_in_what_tools_wrap_around_them_where_that_is_allowed() -> None:
    """In lists, in objects, with ids in base64."""
    rng = random.Random(3)
    for _ in range(20):
        inner: Any = document(rng)
        text = laid_out({rng.choice(("trace", "result")): inner}, rng).encode()
        assert transcode(text) is None
        assert transcode(text, lenient=True) == slowly(laid_out(inner, random.Random(1)).encode())
    one, two = (laid_out(document(rng), rng) for _ in range(2))
    assert transcode(f"[{one} , {two}]".encode()) is None
    joined = transcode(f"[{one} , {two}]".encode(), lenient=True)
    assert joined == (slowly(one.encode()) or b"") + (slowly(two.encode()) or b"")
    for text in (
        b'{"resourceSpans":[],"batches":[]}',
        b"[7]",
        b"{}",
        b"[[]]",
        b"7",
    ):
        assert transcode(text, lenient=True) is None
    span = b'{"traceId":"qqqqqqqqqqqqqqqqqqqqqg==","spanId":"u7u7u7u7u7s="}'
    base64 = b'{"batches":[{"scopeSpans":[{"spans":[' + span + b"]}]}]}"
    hexes = base64.replace(b"qqqqqqqqqqqqqqqqqqqqqg==", b"aa" * 16).replace(b"u7u7u7u7u7s=", b"bb" * 8)
    assert transcode(base64, lenient=True) == transcode(hexes) == transcode(hexes, lenient=True)
    assert transcode(base64) is None
    for bad in (b"u7u7u7u7u7-=", b"u7u7u7u7u===", b"u7u7u7u7u7==", b"u7u7u7u7u7u7", b"u7u7=7u7u7s="):
        assert transcode(base64.replace(b"u7u7u7u7u7s=", bad), lenient=True) is None, bad


def test_lists_and_objects_stand_in_one_another_up_to_64() -> None:
    """In members that nobody knows too."""
    for depth, plain in ((64, True), (65, False)):
        text = b'{"resourceSpans":[],"later":' + b"[" * (depth - 1) + b"7" + b"]" * (depth - 1) + b"}"
        assert (transcode(text) is not None) == plain, depth
        text = b'{"resourceSpans":[],"later":' + b'{"a":' * (depth - 1) + b"[]" + b"}" * (depth - 1) + b"}"
        assert (transcode(text) is not None) == plain, depth
