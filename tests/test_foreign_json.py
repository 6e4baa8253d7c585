"""Jaeger and Zipkin JSON: kernels and slow ways agree; every wrapping is read, whole and in portions."""

from __future__ import annotations

import copy
import io
import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tracescope.errors import InputError
from tracescope.ingest import sequence, zipkin_traces
from tracescope.ingest.documents import Malformed, read, read_any, read_together
from tracescope.ingest.sequence import Documents, Text
from tracescope.kernels import plain_jaeger, plain_zipkin

CASES = Path(__file__).parent / "data" / "cases"
CHECKED = settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
BEGIN_US = 1_790_000_000_000_000

TRACE: dict[str, Any] = {
    "traceID": "abc",
    "spans": [
        {
            "traceID": "abc", "spanID": "1", "operationName": "GET / \"é\" \U0001f600", "startTime": BEGIN_US,
            "duration": 2000, "processID": "p1", "flags": 1, "warnings": None,
            "tags": [
                {"key": "span.kind", "type": "string", "value": "server"},
                {"key": "ratio", "type": "float64", "value": 0.1},
                {"key": "quoted", "type": "float64", "value": "12.5"},
                {"key": "otel.status_code", "value": "OK"},
            ],
            "logs": [
                {"timestamp": BEGIN_US + 1, "fields": [
                    {"key": "a", "value": 1.5}, {"key": "event", "type": "string", "value": "boom"},
                    {"key": "b", "type": "bool", "value": "true"}]},
                {"timestamp": BEGIN_US + 2, "fields": []},
            ],
        },
        {
            "spanID": "2", "operationName": "SELECT", "startTime": str(BEGIN_US + 500), "duration": 1000,
            "processID": "p2",
            "references": [
                {"refType": "FOLLOWS_FROM", "traceID": "def", "spanID": "9"},
                {"refType": "CHILD_OF", "traceID": "0abc", "spanID": "1"},
            ],
            "tags": [
                {"key": "error", "type": "bool", "value": True},
                {"key": "rows", "type": "int64", "value": "7"},
                {"key": "w3c.tracestate", "value": "ot=th:8"}, {"key": "n", "type": "int64", "value": -3},
                {"key": "otel.status_description", "value": "bad"}, {"key": "none", "value": None},
            ],
        },
        {
            "spanID": "3", "operationName": "later", "startTime": BEGIN_US + 900, "processID": "p1",
            "references": [{"refType": "FOLLOWS_FROM", "traceID": "abc", "spanID": "2"}], "logs": None,
        },
        {"spanID": "4", "operationName": "o", "startTime": BEGIN_US, "processID": "p3", "parentSpanID": "1"},
        {"spanID": "5", "startTime": BEGIN_US, "process": {"serviceName": "own", "tags": [
            {"key": "ip", "value": "10.0.0.7"}]}},
    ],
    "processes": {
        "p1": {"serviceName": "web", "tags": [{"key": "hostname", "value": "h1"}, {"key": "n", "value": 5}]},
        "p2": {"serviceName": ""},
    },
}  # fmt: skip
JAEGER = json.dumps({"data": [TRACE, {**TRACE, "traceID": "abd"}], "total": 0, "errors": None}).encode()


def record(identity: str, service: str, kind: str | None = None, **more: Any) -> dict[str, Any]:
    """A record of Zipkin v2."""
    made: dict[str, Any] = {
        "traceId": "5",
        "id": identity,
        "name": service,
        "timestamp": BEGIN_US,
        "duration": 10,
    }
    made["localEndpoint"] = {"serviceName": service}
    return made | ({"kind": kind} if kind else {}) | more


NINTH = {"serviceName": "billing", "ipv4": "10.0.0.9"}
RECORDS: list[dict[str, Any]] = [
    record("a", "web", "CLIENT", remoteEndpoint={"serviceName": "shop", "ipv4": "10.0.0.2", "port": 80}),
    record("a", "shop", "SERVER", shared=True, remoteEndpoint={"ipv6": "::1"},
           tags={"error": "", "é": "\U0001f600"}),
    record("a", "shop", "SERVER", shared=True, timestamp=BEGIN_US + 5),
    record("b", "shop", "CLIENT", parentId="a"),
    record("c", "web", parentId="a", annotations=[{"timestamp": BEGIN_US + 1, "value": "wire"}]),
    record("d", "web", "PRODUCER", parentId="c", tags={"kafka.topic": "orders"}, duration=None),
    record("e", "billing", "CONSUMER", parentId="d", remoteEndpoint={"serviceName": "kafka"}),
    record("e", "billing", "CONSUMER", parentId="d", localEndpoint=NINTH),
    record("f", "billing", parentId="e", localEndpoint=NINTH),
    record("a", "web", "CLIENT", traceId="5" * 32, parentId="a"),
    {"traceId": "6", "id": "1", "timestamp": BEGIN_US},
]  # fmt: skip
ZIPKIN = json.dumps([RECORDS, [record("a", "other", traceId="7")]]).encode()


WEB, SHOP = {"serviceName": "web", "ipv4": "10.0.0.1", "port": 80}, {"serviceName": "shop", "ipv6": "::1"}


def note(value: str, at_us: int, endpoint: Any = WEB) -> dict[str, Any]:
    """An annotation of Zipkin v1."""
    return {"timestamp": BEGIN_US + at_us, "value": value, "endpoint": endpoint}


def tag(key: str, value: Any, endpoint: Any = WEB) -> dict[str, Any]:
    """A binary annotation of Zipkin v1."""
    return {"key": key, "value": value, "endpoint": endpoint}


FIRST_VERSION: list[dict[str, Any]] = [
    {
        "traceId": "5", "id": "a", "name": "get /é \"x\"", "timestamp": BEGIN_US, "duration": 500,
        "annotations": [note("cs", 0), note("cr", 500), note("sr", 100, SHOP), note("ss", 300, SHOP),
                        note("wire", 50), note("wire\n", 200, SHOP)],
        "binaryAnnotations": [tag("http.path", "/x"), tag("ok", True, SHOP), tag("n", 7, SHOP),
                              tag("http.path", "/\"y"), tag("none", None), tag("sa", True, SHOP),
                              tag("ca", "true", {"serviceName": "", "ipv4": "10.0.0.9"})],
    },
    {"traceId": "5", "id": "b", "parentId": "a", "name": "local", "timestamp": BEGIN_US + 5, "duration": 9,
     "binaryAnnotations": [tag("lc", "spring", SHOP), tag("error", "boom", {})]},
    {"traceId": "5", "id": "c", "parentId": "a", "name": "send", "timestamp": BEGIN_US + 5,
     "annotations": [note("ms", 5, SHOP)],
     "binaryAnnotations": [tag("ma", True, {"serviceName": "kafka"}), tag("kafka.topic", "orders", SHOP)]},
    {"traceId": "5", "id": "c", "name": "take", "annotations": [note("mr", 25), note("late", 20)]},
    {"traceId": "5", "id": "d", "name": "", "timestamp": BEGIN_US, "binaryAnnotations": [],
     "annotations": [note("cs", 3), note("cr", 9)]},
    record("e", "web", "CLIENT", parentId="d"),
]  # fmt: skip
ZIPKIN_V1 = json.dumps([FIRST_VERSION, [{**one, "traceId": "6"} for one in FIRST_VERSION[:3]]]).encode()


def in_elasticsearch(span: dict[str, Any], number: int) -> dict[str, Any]:
    """A span of TRACE as Jaeger writes it to Elasticsearch where it is told to map tags to fields."""
    tags = {
        one["key"].replace(".", "@"): one["value"]
        for one in span.get("tags", ())
        if one.get("type") not in ("int64", "float64") or not isinstance(one["value"], str)
    }
    process = {"serviceName": "web", "tags": [], "tag": {"host@name": f"h{number % 2}", "n": 5}}
    return {"traceID": "abc", **span, "tags": [], "tag": tags, "process": process}


MAPPED = json.dumps([in_elasticsearch(span, number) for number, span in enumerate(TRACE["spans"])]).encode()
OBJECTS = json.dumps({"data": [TRACE | {"spans": [
    span | {"tags": {one["key"]: one["value"] for one in span.get("tags", ())}} for span in TRACE["spans"]
]}]}).encode()  # fmt: skip


def spans_of(requests: Sequence[bytes]) -> list[tuple[bytes, bytes]]:
    """Each span with its resource, in an order of their own."""
    return sorted(
        (group.resource.SerializeToString(deterministic=True), span.SerializeToString(deterministic=True))
        for data in requests
        for group in ExportTraceServiceRequest.FromString(data).resource_spans
        for scope in group.scope_spans
        for span in scope.spans
    )


def by_id(requests: Sequence[bytes]) -> dict[str, tuple[str, Span]]:
    """Service and span of each span id."""
    out: dict[str, tuple[str, Span]] = {}
    for data in requests:
        for group in ExportTraceServiceRequest.FromString(data).resource_spans:
            service = next(a.value.string_value for a in group.resource.attributes if a.key == "service.name")
            for scope in group.scope_spans:
                for span in scope.spans:
                    assert span.span_id.hex() not in out, "two spans of one id"
                    out[span.span_id.hex()] = service, span
    return out


# -- kernels and slow ways --


@pytest.mark.parametrize(
    ("kernel", "text"),
    [
        (plain_jaeger, JAEGER), (plain_jaeger, MAPPED), (plain_jaeger, OBJECTS), (plain_zipkin, ZIPKIN),
        (plain_zipkin, ZIPKIN_V1),
    ],
    ids=["Jaeger", "Elasticsearch", "objects", "Zipkin", "Zipkin v1"],
)  # fmt: skip
def test_what_tools_write_is_plain(kernel: Any, text: bytes) -> None:
    """Every field that real traces have is written by the kernel, as the slow way would."""
    made = kernel.transcode(text)
    assert made is not None
    assert made[1] == []
    assert spans_of([made[0]]) == spans_of(read_any(text).requests)


ODD: list[Any] = [
    None, True, False, 0, 1, -1, 7, 2**40, 2**63, 2**64, -(2**63), 0.0, 1.5, 1e3, 1e300, "", "0", "-1", "1e3",
    "12.5", "true", "false", "x", "A1", "é", "\U0001f600", "g", "0" * 33, [], {},
    [None], [1], ["a"], [{}], {"a": 1},
    "SERVER", "server", "CLIENT", "CHILD_OF", "FOLLOWS_FROM", "string", "bool", "int64", "float64", "binary",
    "YWJj", "OK", "ERROR", "event", "error", "span.kind", {"serviceName": "s", "ipv4": "1.2.3.4"},
    {"key": "k", "value": 1}, [{"key": "k", "type": "bool", "value": "yes"}], {"serviceName": None},
]  # fmt: skip
NAMES = (
    "traceID", "spanID", "type", "value", "key", "tags", "tag", "kind", "shared", "parentId", "duration",
    "timestamp", "processID", "process", "references", "binaryAnnotations", "annotations", "endpoint",
    "parentSpanID",
)  # fmt: skip


def altered(node: Any, draw: random.Random, chance: float) -> Any:
    """A document with some values made odd, members added and left out."""
    if draw.random() < chance:
        return copy.deepcopy(draw.choice(ODD))
    if isinstance(node, list):
        return [altered(item, draw, chance) for item in node]
    if not isinstance(node, dict):
        return node
    out = {key: altered(value, draw, chance) for key, value in node.items() if draw.random() > chance / 2}
    if draw.random() < chance / 3:
        out[draw.choice(NAMES)] = copy.deepcopy(draw.choice(ODD))
    return out


@CHECKED
@given(st.randoms(use_true_random=False), st.sampled_from([JAEGER, MAPPED, OBJECTS, ZIPKIN, ZIPKIN_V1]))
def test_kernels_and_slow_ways_give_the_same_spans(draw: random.Random, given: bytes) -> None:
    """Whatever stands in a document: what the kernel takes, the slow way takes, and as the same spans."""
    form: Any = "zipkin" if given in (ZIPKIN, ZIPKIN_V1) else "jaeger"
    document = altered(json.loads(given), draw, draw.choice([0.003, 0.01, 0.05]))
    text = json.dumps(document, ensure_ascii=draw.random() < 0.5, indent=draw.choice([None, 1])).encode()
    kernel = plain_jaeger if form == "jaeger" else plain_zipkin
    made = kernel.transcode(text)
    if made is None or not made[0]:
        return
    fast = [made[0]]
    try:
        for odd in made[1]:
            fast += read_any(odd, form).requests
    except Malformed:
        with pytest.raises(Malformed):
            read_any(text, form)
        return
    assert spans_of(fast) == spans_of(read_any(text, form).requests)


def test_one_odd_trace_does_not_slow_the_others_down() -> None:
    """It alone is read the slow way; nothing of it comes twice."""
    odd = copy.deepcopy(TRACE)
    odd["spans"][2]["tags"] = [{"key": "b", "type": "binary", "value": "YWJj"}]
    text = json.dumps({"data": [TRACE, odd, TRACE]}).encode()
    made = plain_jaeger.transcode(text)
    assert made is not None
    assert [json.loads(part) for part in made[1]] == [odd]
    assert spans_of(read(text).requests) == spans_of(read_any(text).requests)
    untimed = [
        *RECORDS,
        {"traceId": "5", "id": "b", "localEndpoint": {"serviceName": "shop"}, "tags": {"a": "b"}},
    ]
    text = json.dumps([RECORDS, untimed]).encode()
    made = plain_zipkin.transcode(text)
    assert made is not None
    assert [json.loads(part) for part in made[1]] == [untimed]
    assert spans_of(read(text).requests) == spans_of(read_any(text).requests)


# -- Jaeger --


def test_jaeger_tags_logs_and_references_become_what_they_stand_for() -> None:
    """Kinds, errors, trace states, events, parents and links."""
    found = by_id(read(json.dumps(TRACE).encode()).requests)
    assert {number: service for number, (service, _) in found.items()} == {
        f"{number:016x}": service for number, service in enumerate(["web", "", "web", "", "own"], 1)
    }
    by_number = {int(number, 16): span for number, (_, span) in found.items()}
    first, second, third, fourth = (by_number[number] for number in (1, 2, 3, 4))
    assert [event.name for event in first.events] == ["boom", ""]
    assert [pair.key for pair in first.events[0].attributes] == ["a", "b"]
    assert (first.kind, first.status.code) == (2, 1)
    assert (second.status.code, second.status.message, second.trace_state) == (2, "bad", "ot=th:8")
    assert second.parent_span_id.hex() == f"{1:016x}", "leading zeros of a trace id say nothing"
    assert [link.span_id.hex() for link in second.links] == [f"{9:016x}"]
    assert third.parent_span_id.hex() == f"{2:016x}", "FOLLOWS_FROM alone says who started it"
    assert not third.links
    assert fourth.parent_span_id.hex() == f"{1:016x}"


ELASTIC = {
    **TRACE["spans"][0],
    "process": {"serviceName": "web", "tag": {"host@name": "h"}},
    "tag": {"db@type": "x"},
}


@pytest.mark.parametrize(
    "document",
    [
        {"data": [TRACE]}, TRACE, [TRACE], {"data": TRACE}, {"result": TRACE}, [[TRACE]],
        TRACE["spans"][4] | {"traceID": "abc"}, [TRACE["spans"][4] | {"traceID": "abc"}] * 2, ELASTIC,
        {"_index": "jaeger-span-2026", "_source": ELASTIC},
        {"took": 3, "hits": {"hits": [{"_source": ELASTIC}, {"_source": ELASTIC | {"spanID": "8"}}]}},
    ],
)  # fmt: skip
def test_jaeger_in_every_wrapping_holds_the_same_spans(document: Any) -> None:
    """Of its API, its UI, lists, lines and Elasticsearch."""
    flat = json.dumps(document)
    spans = flat.count('"startTime"')
    for text in (flat, json.dumps(document, indent=2)):
        found = spans_of(read(text.encode()).requests)
        assert len(found) == spans
        assert found == spans_of(read_any(text.encode()).requests)


def test_tags_of_elasticsearch_are_members_with_their_dots_back() -> None:
    ((_, span),) = spans_of(read(json.dumps({"_source": ELASTIC}).encode()).requests)
    assert "db.type" in [pair.key for pair in Span.FromString(span).attributes]


# -- Zipkin --


def test_records_that_share_an_id_keep_all_their_spans() -> None:
    """The sender keeps the id, receivers hang below it, and children below the record of their service."""
    found = by_id(read(json.dumps(RECORDS[:9]).encode()).requests)
    assert len(found) == 9
    spans = [(service, span) for service, span in found.values()]
    client = next(span for service, span in spans if service == "web" and span.kind == 3)
    servers = sorted(
        (span for service, span in spans if service == "shop" and span.kind == 2),
        key=lambda span: span.start_time_unix_nano,
    )
    assert client.span_id.hex() == f"{0xA:016x}"
    assert [server.parent_span_id for server in servers] == [client.span_id] * 2
    called = next(span for service, span in spans if service == "shop" and span.kind == 3)
    assert called.parent_span_id == servers[0].span_id
    listener = next(span for _, span in spans if span.span_id.hex() == f"{0xF:016x}")
    consumers = [(span.span_id, service) for service, span in spans if span.kind == 5]
    assert listener.parent_span_id in [span_id for span_id, _ in consumers]
    assert listener.parent_span_id.hex() != f"{0xE:016x}", "the record of its address, not the other"


def test_several_servers_without_a_client_hang_below_the_one_that_is_not_shared() -> None:
    """A proxy and the service behind it, in any order in the file."""
    records = json.loads((CASES / "two-server-records-one-id.json").read_bytes())
    for order in (records, records[::-1]):
        found = by_id(read(json.dumps(order).encode()).requests)
        assert len(found) == 3
        ingress = found["fce9d2bbba2243e8"]
        assert ingress[0] == "ingress"
        details = next(span for service, span in found.values() if service == "details")
        assert details.parent_span_id == ingress[1].span_id
        assert ingress[1].parent_span_id.hex() == "977664d09433c9e2"


def test_version_1_is_read_as_version_1() -> None:
    """One record may hold a client and a server; who is who, annotations say."""
    found = by_id(read((CASES / "zipkin-v1-read-as-v2.json").read_bytes()).requests)
    kinds = sorted((service, span.kind) for service, span in found.values())
    assert kinds == [("front", 2), ("front", 3), ("stock", 2)]
    spans = {(service, span.kind): span for service, span in found.values()}
    assert spans["stock", 2].parent_span_id == spans["front", 3].span_id
    assert spans["front", 3].parent_span_id == spans["front", 2].span_id
    served = spans["stock", 2]
    assert (served.end_time_unix_nano - served.start_time_unix_nano) == 76_000_000
    assert [pair.key for pair in spans["front", 2].attributes] == ["http.path"]


def test_endpoint_addresses_are_kept() -> None:
    """Of both sides: clocks are told apart by them."""
    data = read((CASES / "zipkin-endpoint-ip-skew.json").read_bytes()).requests
    addresses = {
        pair.value.string_value
        for group in ExportTraceServiceRequest.FromString(data[0]).resource_spans
        for pair in group.resource.attributes
        if pair.key == "host.ip"
    }
    assert addresses == {"10.0.0.1", "10.0.0.2"}
    client = next(span for service, span in by_id(read(json.dumps(RECORDS[:1]).encode()).requests).values())
    said = {pair.key: pair.value.string_value for pair in client.attributes}
    assert said == {"service.peer.name": "shop", "network.peer.address": "10.0.0.2"}


def test_a_message_goes_to_its_topic_and_not_to_its_broker() -> None:
    found = by_id(read((CASES / "brave-kafka-poll.json").read_bytes()).requests)
    named = {
        (service, pair.value.string_value)
        for service, span in found.values()
        for pair in span.attributes
        if pair.key == "messaging.destination.name"
    }
    assert named == {("shop", "orders"), ("billing", "orders")}


@pytest.mark.parametrize(
    "document",
    [RECORDS, [RECORDS], [[one] for one in RECORDS], [{**one, "debug": True} for one in RECORDS]],
)
def test_zipkin_in_every_wrapping_is_read(document: Any) -> None:
    """Lists of records and of traces; alone."""
    assert len(spans_of(read(json.dumps(document).encode()).requests)) == len(RECORDS)
    assert len(spans_of(read(json.dumps(RECORDS[0]).encode()).requests)) == 1


def test_records_of_a_trace_that_lie_apart_are_put_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each service reports for itself: in lines, or far away in one list; the same spans in any order."""
    whole = spans_of(read(json.dumps(RECORDS).encode()).requests)
    lines = [Text(json.dumps([one]).encode(), number) for number, one in enumerate(RECORDS, 1)]
    random.Random(5).shuffle(lines)
    for size in (1, 100_000):
        monkeypatch.setattr(zipkin_traces, "CHUNK_BYTES", size)
        texts = list(zipkin_traces.together(iter(lines)))
        assert len(texts) == (3 if size == 1 else 1)
        assert spans_of([part for text in texts for part in read(text.data).requests]) == whole


# -- documents one after another, and in portions --


def read_stream(data: bytes) -> list[Text]:
    return list(Documents(io.BytesIO(data), "text"))


SEVERAL: list[Any] = [{"a": '}]"\\'}, [], [[1, {"b": [2]}]], {"c": {"d": "é"}}]


@pytest.mark.parametrize("separator", ["", "\n", "\r\n\r\n", " \n\x1e"])
@pytest.mark.parametrize("indent", [None, 2])
def test_documents_stand_in_sequence_whatever_is_between_them(separator: str, indent: int | None) -> None:
    """Lines, pretty ones, none at all between them, and the record separators of JSON text sequences."""
    text = separator + separator.join(json.dumps(one, indent=indent) for one in SEVERAL) + separator
    for mark in (b"", b"\xef\xbb\xbf"):
        found = read_stream(mark + text.encode())
        assert [json.loads(one.data) for one in found] == SEVERAL
        lines = [text.encode()[: text.encode().index(one.data)].count(b"\n") + 1 for one in found]
        if separator.strip("\x1e "):
            assert [one.line for one in found] == lines


@settings(CHECKED, max_examples=60)
@given(st.randoms(use_true_random=False), st.sampled_from([200, 1000, 5000]))
def test_a_document_in_portions_holds_what_it_held_whole(draw: random.Random, size: int) -> None:
    """Of every format, with what else stands in it; items neither lost nor doubled, lines known."""
    copies = [
        copy.deepcopy(TRACE) | {"traceID": f"{draw.getrandbits(60):x}"} for _ in range(draw.randrange(1, 9))
    ]
    for trace in copies:
        trace["spans"] = [{**span, "traceID": trace["traceID"]} for span in trace["spans"]] * draw.randrange(
            1, 4
        )
    otlp = json.loads((CASES / "jaeger-v3-result.json").read_bytes())["result"]["resourceSpans"]
    document = draw.choice([
        {"data": copies, "total": 5}, copies, copies[0],
        {"hits": {"hits": [{"_source": span} for span in copies[0]["spans"]]}},
        {"resourceSpans": otlp * 5, "resourceLogs": [{}] * 9}, {"result": {"resourceSpans": otlp * 3}},
        [{"resourceSpans": otlp}] * 4, {"batches": otlp * 4}, [RECORDS] * draw.randrange(1, 9),
    ])  # fmt: skip
    text = json.dumps(document, indent=draw.choice([None, 1])).encode()
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(sequence, "CHUNK_BYTES", size)
        patched.setattr(sequence, "LARGE_BYTES", 2 * size)
        patched.setattr(sequence, "_BLOCK", draw.choice([64, 1000]))
        portions = read_stream(b"\n" + text + b"\n{}")
    assert portions[-1].data == b"{}"
    assert portions[-1].line == text.count(b"\n") + 3
    together = [request for portion in portions[:-1] for request in read_any(portion.data).requests]
    assert spans_of(together) == spans_of(read_any(text).requests)


def test_a_portion_is_no_larger_than_it_must_be() -> None:
    """Some megabytes, whatever the document has."""
    spans = [{**TRACE["spans"][0], "spanID": f"{number:x}"} for number in range(1, 40_000)]
    text = json.dumps({"data": [{**TRACE, "spans": spans}, TRACE]}).encode()
    assert len(text) > sequence.LARGE_BYTES
    portions = read_stream(text)
    assert max(len(portion.data) for portion in portions) < 1.1 * sequence.CHUNK_BYTES
    assert sum(len(spans_of(read(portion.data).requests)) for portion in portions) == len(spans) + 5


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b'{"a": 1}\n\nxx{}', "text:3: not JSON: 'xx{}' between documents"),
        (b'{"a": 1}\n{"b": [', "text:2: not JSON: the document that begins here does not end"),
        (b'{"a": 1}]', "text:1: not JSON: ']' between documents"),
        (b'{}\n{"a": "b', "text:2: not JSON: the document that begins here does not end"),
        (b"[" * 5000, "text:1: lists and objects nested too deeply"),
    ],
)
def test_what_stands_between_documents_or_does_not_end_is_told_with_its_line(
    text: bytes, message: str
) -> None:
    with pytest.raises(InputError) as failure:
        read_stream(text)
    assert failure.value.message == message


def test_small_documents_of_one_kind_are_read_at_once() -> None:
    """Lines; where one of them is odd, each by itself."""
    lines = [json.dumps({"data": [TRACE]}).encode()] * 3
    together = read_together(lines)
    assert together is not None
    assert spans_of(together.requests) == spans_of([part for line in lines for part in read(line).requests])
    assert read_together([*lines, b'{"resourceLogs": []}']) is None
