"""OTLP over HTTP, line by line of the specification, with clients that know nothing of the server."""

from __future__ import annotations

import contextlib
import gzip
import itertools
import json
import resource
import socket
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx2 as httpx
import pytest
import zstandard
from google.protobuf.json_format import MessageToDict
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.logs.v1.logs_pb2 import LogsData
from opentelemetry.proto.metrics.v1.metrics_pb2 import MetricsData
from receivers import Running, eventually, request

from tracescope.errors import ConfigError, InputError, TooLargeError
from tracescope.ingest.cors import Cors
from tracescope.ingest.inflate import gunzip, unzstd

MIB = 1024 * 1024
numbers = itertools.count(0, 1000)
JSON = "application/json"


@pytest.fixture(scope="module")
def receiver(tmp_path_factory) -> Iterator[Running]:
    used = {"max_request_mb": 1, "slow_client_s": 2, "max_connections": 20, "grpc": "127.0.0.1:0"}
    with Running(tmp_path_factory.mktemp("http") / "store", used) as running:
        yield running


def as_json(message: ExportTraceServiceRequest) -> bytes:
    """OTLP's JSON: protobuf's, with ids in hex and enums as numbers."""
    found = MessageToDict(message, use_integers_for_enums=True)
    for group in found["resourceSpans"]:
        for scope in group["scopeSpans"]:
            for span, sent in zip(
                scope["spans"], message.resource_spans[0].scope_spans[0].spans, strict=True
            ):
                span["traceId"], span["spanId"] = sent.trace_id.hex(), sent.span_id.hex()
    return json.dumps(found).encode()


def as_proto(message: ExportTraceServiceRequest) -> bytes:
    return message.SerializeToString()


ENCODINGS: dict[str, Callable[[bytes], bytes]] = {
    "identity": lambda data: data,
    "gzip": gzip.compress,
    "zstd": lambda data: zstandard.ZstdCompressor().compress(data),
}


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("kind", ["application/x-protobuf", JSON, "application/json; charset=utf-8"])
def test_every_encoding_of_both_types_is_acknowledged_in_its_own(receiver, kind, encoding) -> None:
    """partial_success is unset, and the spans are there."""
    message = request(next(numbers), 12)
    data = as_json(message) if kind.startswith(JSON) else as_proto(message)
    before = receiver.counts()
    answer = receiver.post(ENCODINGS[encoding](data), kind, content_encoding=encoding)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == kind.partition(";")[0]
    if kind.startswith(JSON):
        assert answer.json() == {}
    else:
        assert not ExportTraceServiceResponse.FromString(answer.content).HasField("partial_success")
    assert receiver.counts() == (before[0] + 12, before[1] + 12)


@pytest.mark.parametrize(
    ("kind", "body"), [("application/x-protobuf", b""), (JSON, b"{}"), (JSON, b'{"resourceSpans":[]}')]
)
def test_empty_requests_succeed(receiver, kind, body) -> None:
    assert receiver.post(body, kind).status_code == 200


CASES = Path(__file__).parent / "data" / "cases"


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b'{"a": 1}', "no span, and 'a' is not a member of a request"),
        (b'{"resourceMetrics": [{"scopeMetrics": []}]}', "metrics, and no traces"),
        (b'{"resourceLogs": []}', "logs, and no traces"),
        (b'{"resourceSpans": [{"scopeMetrics": []}]}', "'scopeMetrics' is not a member of a group of spans"),
        (b'{"resourceSpans": [{"scopeSpans": [{"span": []}]}]}', "'span' is not a member of a scope's spans"),
        (b'{"spans": [{"traceId": "aa"}]}', "'spans' is not a member of a request"),
        (b'[{"resourceSpans": []}]', "a list, not an object: wrapped OTLP, which `tracescope import` reads"),
        (b'{"result": {"resourceSpans": [{}]}}', "wrapped OTLP"),
        ((CASES / "jaeger-v3-result.json").read_bytes(), "wrapped OTLP"),
        ((CASES / "jaeger-json-lines.jsonl").read_bytes().splitlines()[0], "Jaeger JSON"),
        ((CASES / "brave-kafka-poll.json").read_bytes(), "Zipkin JSON"),
        (b'[{"TraceId": "a", "SpanId": "b", "SpanName": "c"}]', "ClickHouse"),
    ],
)
def test_a_body_of_which_nothing_is_stored_is_never_acknowledged(receiver, body, reason) -> None:
    """Whatever else its sender meant, it hears why: 200 is for spans, and for requests that are empty."""
    before = receiver.counts()
    answer = receiver.post(body, JSON)
    assert answer.status_code == 400
    assert reason in answer.json()["message"]
    assert receiver.counts() == before


def test_protobuf_of_other_signals_is_never_acknowledged(receiver) -> None:
    """Metrics, logs and messages that are no request at all."""
    metrics, logs = MetricsData(), LogsData()
    metric = metrics.resource_metrics.add().scope_metrics.add().metrics.add(name="http.server.duration")
    metric.gauge.data_points.add(as_int=1)
    logs.resource_logs.add().scope_logs.add().log_records.add(time_unix_nano=1)
    for message, reason in ((metrics, "metrics, and no traces"), (logs, "logs, and no traces")):
        answer = receiver.post(message.SerializeToString())
        assert answer.status_code == 400
        assert reason in Status.FromString(answer.content).message
    answer = receiver.post(b"\x12\x03abc")
    assert answer.status_code == 400
    assert "field 2 is none of a request" in Status.FromString(answer.content).message


@pytest.mark.parametrize("name", ["snake-case-over-http.json", "tempo-v1-batches.json"])
def test_the_names_of_protobuf_and_of_tempo_are_read(receiver, name) -> None:
    """Both are OTLP by other names."""
    text = (CASES / "snake-case-over-http.json").read_bytes()
    if "tempo" in name:
        text = text.replace(b'"resource_spans"', b'"batches"')
    before = receiver.counts()
    assert receiver.post(text.replace(b"440f30", f"{next(numbers):06x}".encode()), JSON).status_code == 200
    assert receiver.counts() == (before[0] + 4, before[1] + 4)


@pytest.mark.parametrize("body", [b'{"resourceSpans": null}', b'{"resourceSpans": [{}]}', b" {} "])
def test_requests_that_are_truly_empty_succeed(receiver, body) -> None:
    """Nulls are defaults, and groups may be empty."""
    assert receiver.post(body, JSON).status_code == 200


def test_the_path_may_end_in_a_slash(receiver) -> None:
    """As some clients write it."""
    url = f"http://{receiver.http}/v1/traces/"
    answer = httpx.post(url, content=as_proto(request(next(numbers), 2)), headers=PROTOBUF)
    assert answer.status_code == 200


# -- web pages --

PROTOBUF = {"content-type": "application/x-protobuf"}
ASKING = {
    "origin": "https://a.shop.example",
    "access-control-request-method": "POST",
    "access-control-request-headers": "content-type,x-token",
}


@pytest.fixture(scope="module")
def shared(tmp_path_factory) -> Iterator[Running]:
    used = {
        "cors_allowed_origins": "https://*.shop.example, http://localhost:*",
        "cors_allowed_headers": "X-Token",
        "cors_max_age_s": 600,
    }
    with Running(tmp_path_factory.mktemp("cors") / "store", used) as running:
        yield running


def test_no_page_may_send_unless_the_settings_say_so(receiver) -> None:
    """Off by default: a preflight is a method that is not allowed, and no answer can be read by a page."""
    url = f"http://{receiver.http}/v1/traces"
    answer = httpx.options(url, headers=ASKING)
    assert answer.status_code == 405
    answer = httpx.post(url, content=b"", headers={**PROTOBUF, "origin": "https://a.shop.example"})
    assert answer.status_code == 200
    assert not [name for name in answer.headers if name.startswith("access-control")]


def test_pages_of_allowed_origins_may_ask_and_send(shared) -> None:
    """The preflight names what is allowed, and answers, errors too, can be read."""
    url = f"http://{shared.http}/v1/traces"
    answer = httpx.options(url, headers=ASKING)
    assert (answer.status_code, answer.content) == (204, b"")
    allowed = {name: value for name, value in answer.headers.items() if name.startswith("access-control")}
    assert allowed == {
        "access-control-allow-origin": "https://a.shop.example",
        "access-control-allow-credentials": "true",
        "access-control-allow-methods": "POST",
        "access-control-allow-headers": "content-type,x-token",
        "access-control-max-age": "600",
    }
    for body, status in ((b"", 200), (b"\x0a\x7f", 400)):
        answer = httpx.post(url, content=body, headers={**PROTOBUF, "origin": "http://localhost:3000"})
        assert answer.status_code == status
        assert answer.headers["access-control-allow-origin"] == "http://localhost:3000"
        assert answer.headers["vary"] == "Origin"


@pytest.mark.parametrize(
    "changed",
    [
        {"origin": "https://shop.example.evil"},
        {"origin": "http://a.shop.example"},
        {"access-control-request-headers": "x-other"},
        {"access-control-request-method": "PUT"},
    ],
)
def test_other_origins_methods_and_headers_are_not_allowed(shared, changed) -> None:
    """The browser sees no permission, and sends nothing."""
    answer = httpx.options(f"http://{shared.http}/v1/traces/", headers={**ASKING, **changed})
    assert answer.status_code == 204
    assert not [name for name in answer.headers if name.startswith("access-control")]
    if "origin" in changed:
        sent = {**PROTOBUF, "origin": changed["origin"]}
        answer = httpx.post(f"http://{shared.http}/v1/traces", content=b"", headers=sent)
        assert "access-control-allow-origin" not in answer.headers


def test_an_origin_that_is_none_is_refused_at_the_start() -> None:
    with pytest.raises(ConfigError, match=r"shop\.example/path"):
        Cors.of("https://shop.example/path", "", 0)


def test_a_chunked_body_is_as_good_as_one_with_a_length(receiver) -> None:
    data = as_proto(request(next(numbers), 3))
    before = receiver.counts()
    assert receiver.post(iter([data[:10], data[10:]])).status_code == 200
    assert receiver.counts() == (before[0] + 3, before[1] + 3)


@pytest.mark.parametrize("kind", ["application/x-protobuf", JSON])
def test_rejected_spans_are_told_in_the_request_s_encoding(receiver, kind) -> None:
    message = request(next(numbers), 3)
    message.resource_spans[0].scope_spans[0].spans[0].trace_id = bytes(16)
    if kind == JSON:
        partial = receiver.post(as_json(message), kind).json()["partialSuccess"]
        assert partial["rejectedSpans"] == "1"
        assert "invalid_trace_id" in partial["errorMessage"]
    else:
        found = ExportTraceServiceResponse.FromString(receiver.post(as_proto(message), kind).content)
        assert found.partial_success.rejected_spans == 1


def spans_json(span: str) -> str:
    return f'{{"resourceSpans": [{{"scopeSpans": [{{"spans": [{span}]}}]}}]}}'


DEEP = '{"arrayValue": {"values": [' * 2000 + "]}}" * 2000


@pytest.mark.parametrize(
    "body",
    [
        "{",
        "[]",
        '"text"',
        '{"resourceSpans": 7}',
        spans_json('{"traceId": "xy"}'),
        spans_json('{"kind": "no"}'),
        spans_json('{"startTimeUnixNano": "-1"}'),
        spans_json('{"events": [{"timeUnixNano": "99999999999999999999999"}]}'),
        spans_json('{"attributes": [{"key": "a", "value": {"doubleValue": "no"}}]}'),
        spans_json(f'{{"attributes": [{{"key": "a", "value": {DEEP}}}]}}'),
        "\ufeff{}",
    ],
)
def test_malformed_json_is_400_with_a_json_status(receiver, body) -> None:
    """Whatever is wrong with it; never a 500."""
    answer = receiver.post(body.encode(), JSON)
    assert answer.status_code == 400
    assert answer.headers["content-type"] == JSON
    assert answer.json()["code"] == 3
    assert answer.json()["message"]


def test_malformed_protobuf_is_400_with_a_protobuf_status(receiver) -> None:
    answer = receiver.post(as_proto(request(next(numbers), 2))[:-1])
    assert answer.status_code == 400
    assert answer.headers["content-type"] == "application/x-protobuf"
    assert "malformed OTLP at byte" in Status.FromString(answer.content).message


@pytest.mark.parametrize("encoding", ["gzip", "zstd"])
@pytest.mark.parametrize(
    "damage", [lambda data: data[:-4], lambda data: b"plain text", lambda data: data + b"junk!"]
)
def test_a_damaged_stream_is_400(receiver, encoding, damage) -> None:
    data = ENCODINGS[encoding](as_proto(request(next(numbers), 20)))
    assert receiver.post(damage(data), content_encoding=encoding).status_code == 400


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("kind", ["application/x-protobuf", JSON])
def test_beyond_the_limit_is_413_as_sent_and_inflated(receiver, kind, encoding) -> None:
    message = request(next(numbers), 1, pad=2 * MIB)
    data = ENCODINGS[encoding](as_json(message) if kind == JSON else as_proto(message))
    answer = receiver.post(data, kind, content_encoding=encoding)
    assert answer.status_code == 413
    assert "retry-after" not in answer.headers


def test_a_body_without_a_length_is_read_to_the_limit_only(receiver) -> None:
    """Chunks without end: the answer comes before they do."""
    sent = 0

    def endless() -> Iterator[bytes]:
        nonlocal sent
        for _ in range(4096):
            sent += 65_536
            yield bytes(65_536)

    with contextlib.suppress(httpx.WriteError, httpx.ReadError, httpx.RemoteProtocolError):
        # the server may close while we are still sending
        assert receiver.post(endless()).status_code == 413
    assert sent < 64 * MIB


@pytest.mark.parametrize("inflate", [gunzip, unzstd])
def test_a_decompression_bomb_costs_bounded_memory(inflate) -> None:
    """Half a GiB of zeros behind a limit of a MiB: the process's peak hardly moves."""
    zeros = bytes(16 * MIB)
    if inflate is gunzip:
        packer = zlib.compressobj(1, wbits=31)
        bomb = b"".join(packer.compress(zeros) for _ in range(32)) + packer.flush()
    else:
        packer = zstandard.ZstdCompressor(level=1).compressobj()
        bomb = b"".join(packer.compress(zeros) for _ in range(32)) + packer.flush()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(TooLargeError):
        inflate(bomb, MIB)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 96 * 1024


def test_inflating_gives_what_was_deflated_in_any_number_of_members() -> None:
    """A size exactly at the limit is taken."""
    data = bytes(range(256)) * 100
    assert gunzip(gzip.compress(data), len(data)) == data
    assert gunzip(gzip.compress(data[:100]) + gzip.compress(data[100:]), len(data)) == data
    pack = zstandard.ZstdCompressor().compress
    assert unzstd(pack(data[:100]) + pack(data[100:]), len(data)) == data
    with pytest.raises(TooLargeError):
        gunzip(gzip.compress(data), len(data) - 1)
    with pytest.raises(TooLargeError):
        unzstd(pack(data), len(data) - 1)
    for inflate in (gunzip, unzstd):
        with pytest.raises(InputError):
            inflate(b"", 10)


@pytest.mark.parametrize("kind", [None, "text/plain", "application/octet-stream"])
def test_another_type_or_none_is_415(receiver, kind) -> None:
    assert receiver.post(b"x", kind).status_code == 415


def test_another_encoding_is_415(receiver) -> None:
    assert receiver.post(b"x", content_encoding="br").status_code == 415


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "HEAD"])
def test_another_method_is_405_and_names_post(receiver, method) -> None:
    answer = httpx.request(method, f"http://{receiver.http}/v1/traces")
    assert answer.status_code == 405
    assert answer.headers["allow"] == "POST"


def test_another_path_is_404(receiver) -> None:
    assert httpx.post(f"http://{receiver.http}/v1/metrics").status_code == 404


def test_overload_is_503_with_retry_after_and_shows_in_readiness(receiver) -> None:
    """And ends when its cause does."""
    ready = f"http://{receiver.http}/readyz"
    assert httpx.get(ready).json() == {"ready": True, "reasons": []}
    pressure = receiver.runtime._pressure
    pressure.disk_limit_bytes = 1
    try:
        eventually(lambda: httpx.get(ready).status_code == 503, "not ready")
        assert "of disk" in httpx.get(ready).json()["reasons"][0]
        answer = receiver.post(as_proto(request(next(numbers), 1)))
        assert answer.status_code == 503
        assert int(answer.headers["retry-after"]) >= 1
        counted = 'tracescope_requests_total{outcome="overloaded",transport="http"} 1.0'
        assert counted in httpx.get(f"http://{receiver.http}/metrics").text.splitlines()
        assert Status.FromString(answer.content).code == 14
        assert httpx.get(f"http://{receiver.http}/healthz").status_code == 200
    finally:
        pressure.disk_limit_bytes = 0
    eventually(lambda: httpx.get(ready).status_code == 200, "ready again")
    assert receiver.post(as_proto(request(next(numbers), 1))).status_code == 200
    events = [json.loads(line)["event"] for line in receiver.log.getvalue().splitlines()]
    assert events.count("refusing") == events.count("accepting") == 1


def raw(receiver: Running) -> socket.socket:
    host, port = receiver.http.split(":")
    return socket.create_connection((host, int(port)), timeout=20)


def answered(connection: socket.socket) -> bytes:
    """All that comes until the server closes."""
    found = b""
    while piece := connection.recv(65_536):
        found += piece
    return found


def test_headers_that_dribble_in_are_ended(receiver) -> None:
    """A byte a moment never makes a request; the connection is not the client's for ever."""
    with raw(receiver) as connection:
        connection.sendall(b"POST /v1/traces HTTP/1.1\r\nHost: x\r\n")
        begin = time.monotonic()
        try:
            while time.monotonic() - begin < 20:
                connection.sendall(b"X")
                time.sleep(0.2)
        except OSError:
            pass
        else:
            pytest.fail("the connection was kept open")


def test_a_connection_that_says_nothing_is_ended(receiver) -> None:
    with raw(receiver) as connection:
        assert b" 408 " in answered(connection)


def test_a_body_that_dribbles_in_gets_408(receiver) -> None:
    with raw(receiver) as connection:
        connection.sendall(
            b"POST /v1/traces HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-protobuf\r\n"
            b"Content-Length: 100\r\n\r\nabc"
        )
        assert b" 408 " in answered(connection)


def test_headers_beyond_the_limit_are_refused(receiver) -> None:
    """More than 16 KiB of them."""
    with raw(receiver) as connection:
        connection.sendall(
            b"POST /v1/traces HTTP/1.1\r\nHost: localhost\r\nX-Long: " + b"y" * 40_000 + b"\r\n\r\n"
        )
        assert b" 431 " in answered(connection)


def test_more_connections_than_allowed_are_turned_away_with_retry_after(receiver) -> None:
    """Those that are open go on."""
    idle = [raw(receiver) for _ in range(20)]
    more = [raw(receiver) for _ in range(4)]
    try:
        for connection in more:
            connection.sendall(b"POST /v1/traces HTTP/1.1\r\nhost: localhost\r\n\r\n")
        answers = [answered(connection) for connection in more]
    finally:
        for connection in (*idle, *more):
            connection.close()
    turned_away = [answer for answer in answers if b" 503 " in answer]
    assert len(turned_away) == 4
    assert b"retry-after" in turned_away[0]
    assert receiver.post(as_proto(request(next(numbers), 1))).status_code == 200
