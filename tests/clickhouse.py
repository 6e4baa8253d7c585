"""ClickHouse for tests: its engine (chdb) behind the HTTP interface, on loopback; rows as writers make them.

    python clickhouse.py FOLDER        prints its port, and serves until its standard input ends

The engine is the real one, of a real version, in a process of its own; its HTTP interface is not part of
the package and stands here: POST /?database=..., X-ClickHouse-User and -Key, errors as text with a status.
Faults are asked for by POST /_fault in JSON: ``cut`` (bytes after which an answer ends),
``say`` (what is sent there), ``refuse`` (a word no query may have, with the server's code ``code``),
``instead`` (of a text in queries another, so many ``times``), as a replica that lags behind answers.
"""

from __future__ import annotations

import base64
import http.client
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span

KINDS = ("Unspecified", "Internal", "Server", "Client", "Producer", "Consumer")
CODES = ("Unset", "Ok", "Error")
JAEGER_TYPES = {"bool": "Bool", "double": "Float64", "int": "Int64", "str": "String", "complex": "String"}
USER, PASSWORD = "reader", "s3cret"


# -- tables, as their owners make them --


def collector_table(columns: str = "Map(LowCardinality(String), String)", duration: str = "UInt64") -> str:
    items = "arrayMap(kv -> concat(kv.1, '=', kv.2), CAST({}, 'Array(Tuple(String, String))'))"
    more = "" if columns == "JSON" else "".join(
        f", {kind}AttributeItems Array(String) ALIAS {items.format(f'{kind}Attributes')}"
        for kind in ("Resource", "Span")
    )  # fmt: skip
    return f"""CREATE TABLE otel_traces (
        Timestamp DateTime64(9) CODEC(Delta(8), ZSTD(1)), TraceId String, SpanId String, ParentSpanId String,
        TraceState String, SpanName LowCardinality(String), SpanKind LowCardinality(String),
        ServiceName LowCardinality(String), ResourceAttributes {columns}, ScopeName String,
        ScopeVersion String, SpanAttributes {columns}, Duration {duration},
        StatusCode LowCardinality(String), StatusMessage String,
        Events Nested (Timestamp DateTime64(9), Name LowCardinality(String), Attributes {columns}),
        Links Nested (TraceId String, SpanId String, TraceState String, Attributes {columns}){more})
    ENGINE = MergeTree PARTITION BY toDate(Timestamp)
    ORDER BY (ServiceName, SpanName, toDateTime(Timestamp), Timestamp)"""


def _jaeger_columns(prefix: str = "") -> str:
    return ", ".join(
        f"{prefix}{kind}_attributes Nested (key String, value {of})" for kind, of in JAEGER_TYPES.items()
    )


JAEGER_TABLE = f"""CREATE TABLE spans (
        id String, trace_id String, trace_state String, parent_span_id String, name String, kind String,
        start_time DateTime64(9), status_code String, status_message String, duration Int64,
        {_jaeger_columns()}, events Nested (name String, timestamp DateTime64(9), {_jaeger_columns()}),
        links Nested (trace_id String, span_id String, trace_state String, {_jaeger_columns()}),
        service_name String, {_jaeger_columns("resource_")}, scope_name String, scope_version String,
        {_jaeger_columns("scope_")}, resource_schema_url String, flags UInt32)
    ENGINE = MergeTree PARTITION BY toDate(start_time)
    ORDER BY (service_name, name, toDateTime(start_time))"""

SIGNOZ_TABLE = """CREATE TABLE signoz_index_v3 (
        ts_bucket_start UInt64, resource_fingerprint String, timestamp DateTime64(9),
        trace_id FixedString(32), span_id String, trace_state String, parent_span_id String, flags UInt32,
        name LowCardinality(String), kind Int8, kind_string String, duration_nano UInt64,
        status_code Int16, status_message String, status_code_string String,
        attributes_string Map(LowCardinality(String), String),
        attributes_number Map(LowCardinality(String), Float64),
        attributes_bool Map(LowCardinality(String), Bool),
        resources_string Map(LowCardinality(String), String), events Array(String), links String)
    ENGINE = MergeTree PARTITION BY toDate(timestamp)
    ORDER BY (ts_bucket_start, resource_fingerprint, name, timestamp)"""


#: Columns that came later; the exporter goes on to fill the Maps.
SIGNOZ_JSON_TABLE = SIGNOZ_TABLE.replace(
    "events Array(String)",
    """attributes JSON(max_dynamic_paths=0), attributes_promoted JSON, resource JSON(max_dynamic_paths=100),
        scope JSON(name String, version String, attributes JSON(max_dynamic_paths=0), max_dynamic_paths=0),
        events Array(String)""",
)

SIGNOZ_2_TABLE = """CREATE TABLE signoz_index_v2 (
        timestamp DateTime64(9), traceID FixedString(32), spanID String, parentSpanID String,
        serviceName LowCardinality(String), name LowCardinality(String), kind Int8, durationNano UInt64,
        statusCode Int16, events Array(String), hasError Bool, stringTagMap Map(String, String),
        numberTagMap Map(String, Float64), boolTagMap Map(String, Bool),
        resourceTagsMap Map(LowCardinality(String), String), isRemote LowCardinality(String),
        statusMessage String, statusCodeString String, spanKind String)
    ENGINE = MergeTree PARTITION BY toDate(timestamp)
    ORDER BY (serviceName, hasError, toStartOfHour(timestamp), name, timestamp)"""


# -- rows, as their writers make them --


def _plain(value: AnyValue) -> Any:
    """A value as JSON has it."""
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_plain(each) for each in value.array_value.values]
    if kind == "kvlist_value":
        return {each.key: _plain(each.value) for each in value.kvlist_value.values}
    if kind == "bytes_value":
        return base64.b64encode(value.bytes_value).decode()
    return None if kind is None else getattr(value, kind)


def _text(value: AnyValue) -> str:
    """A value as the Collector writes it where only text fits."""
    plain = _plain(value)
    return plain if isinstance(plain, str) else json.dumps(plain, separators=(",", ":"), ensure_ascii=False)


def _texts(attributes: Sequence[KeyValue]) -> dict[str, str]:
    return {each.key: _text(each.value) for each in attributes}


def _plains(attributes: Sequence[KeyValue]) -> dict[str, Any]:
    return {each.key: _plain(each.value) for each in attributes}


def each_span(request: ExportTraceServiceRequest) -> Iterator[tuple[Any, Any, Span]]:
    for resource in request.resource_spans:
        for scope in resource.scope_spans:
            for span in scope.spans:
                yield resource.resource, scope.scope, span


def _service(resource: Any) -> str:
    return _texts(resource.attributes).get("service.name", "")


def _time(nanoseconds: int) -> str:
    return f"{nanoseconds // 10**9}.{nanoseconds % 10**9:09}"


def collector_rows(
    request: ExportTraceServiceRequest,
    *,
    of: Callable[[Sequence[KeyValue]], Any] = _texts,
    signed: bool = False,
) -> Iterator[dict[str, Any]]:
    for resource, scope, span in each_span(request):
        length = span.end_time_unix_nano - span.start_time_unix_nano
        yield {
            "Timestamp": _time(span.start_time_unix_nano), "TraceId": span.trace_id.hex(),
            "SpanId": span.span_id.hex(), "ParentSpanId": span.parent_span_id.hex(),
            "TraceState": span.trace_state, "SpanName": span.name, "SpanKind": KINDS[span.kind],
            "ServiceName": _service(resource), "ResourceAttributes": of(resource.attributes),
            "ScopeName": scope.name, "ScopeVersion": scope.version,
            "SpanAttributes": of(span.attributes), "Duration": length if signed else length % 2**64,
            "StatusCode": CODES[span.status.code], "StatusMessage": span.status.message,
            "Events.Timestamp": [_time(each.time_unix_nano) for each in span.events],
            "Events.Name": [each.name for each in span.events],
            "Events.Attributes": [of(each.attributes) for each in span.events],
            "Links.TraceId": [each.trace_id.hex() for each in span.links],
            "Links.SpanId": [each.span_id.hex() for each in span.links],
            "Links.TraceState": [each.trace_state for each in span.links],
            "Links.Attributes": [of(each.attributes) for each in span.links],
        }  # fmt: skip


def old_collector_rows(request: ExportTraceServiceRequest) -> Iterator[dict[str, Any]]:
    """As the exporter wrote before: signed durations, and names with their enumeration before them."""
    for row in collector_rows(request, signed=True):
        kind, code = f"SPAN_KIND_{row['SpanKind'].upper()}", f"STATUS_CODE_{row['StatusCode'].upper()}"
        yield row | {"SpanKind": kind, "StatusCode": code}


def json_collector_rows(request: ExportTraceServiceRequest) -> Iterator[dict[str, Any]]:
    return collector_rows(request, of=_plains)


def _jaeger_groups(attributes: Sequence[KeyValue]) -> dict[str, tuple[list[str], list[Any]]]:
    """Keys and values by type; what is no scalar is text, its kind before the key."""
    groups: dict[str, tuple[list[str], list[Any]]] = {kind: ([], []) for kind in JAEGER_TYPES}
    names = {
        "bool_value": "bool", "double_value": "double", "int_value": "int", "string_value": "str",
    }  # fmt: skip
    complex_names = {"bytes_value": "@bytes@", "array_value": "@slice@", "kvlist_value": "@map@"}
    for each in attributes:
        kind = each.value.WhichOneof("value")
        keys, values = groups[names.get(kind, "complex")]
        keys.append(complex_names.get(kind, "") + each.key)
        values.append(_plain(each.value) if kind in names else _text(each.value))
    return groups


def _jaeger_attributes(prefix: str, attributes: Sequence[KeyValue]) -> dict[str, Any]:
    found = _jaeger_groups(attributes)
    return {
        f"{prefix}{kind}_attributes.{part}": found[kind][number]
        for kind in JAEGER_TYPES for number, part in enumerate(("key", "value"))
    }  # fmt: skip


def _jaeger_inside(name: str, of: Sequence[Sequence[KeyValue]]) -> dict[str, Any]:
    """Attributes of events or links: an array of pairs for each of them."""
    found = [_jaeger_groups(each) for each in of]
    return {
        f"{name}.{kind}_attributes": [
            [{"key": key, "value": value} for key, value in zip(*each[kind], strict=True)] for each in found
        ]
        for kind in JAEGER_TYPES
    }  # fmt: skip


def jaeger_rows(request: ExportTraceServiceRequest) -> Iterator[dict[str, Any]]:
    for resource, scope, span in each_span(request):
        yield {
            "id": span.span_id.hex(), "trace_id": span.trace_id.hex(), "trace_state": span.trace_state,
            "parent_span_id": span.parent_span_id.hex(), "name": span.name, "kind": KINDS[span.kind].lower(),
            "start_time": _time(span.start_time_unix_nano), "status_code": CODES[span.status.code],
            "status_message": span.status.message,
            "duration": span.end_time_unix_nano - span.start_time_unix_nano,
            "flags": span.flags, "service_name": _service(resource),
            "scope_name": scope.name, "scope_version": scope.version,
            **_jaeger_attributes("", span.attributes), **_jaeger_attributes("scope_", scope.attributes),
            **_jaeger_attributes(
                "resource_", [each for each in resource.attributes if each.key != "service.name"]
            ),
            "events.name": [each.name for each in span.events],
            "events.timestamp": [_time(each.time_unix_nano) for each in span.events],
            **_jaeger_inside("events", [each.attributes for each in span.events]),
            "links.trace_id": [each.trace_id.hex() for each in span.links],
            "links.span_id": [each.span_id.hex() for each in span.links],
            "links.trace_state": [each.trace_state for each in span.links],
            **_jaeger_inside("links", [each.attributes for each in span.links]),
        }  # fmt: skip


def signoz_rows(request: ExportTraceServiceRequest) -> Iterator[dict[str, Any]]:
    """Numbers are doubles, the parent is a reference before the links, which keep no state."""
    for resource, _, span in each_span(request):
        typed = {each.key: (each.value.WhichOneof("value"), each.value) for each in span.attributes}
        numbers = ("int_value", "double_value")
        references = [
            {"traceId": span.trace_id.hex(), "spanId": span.parent_span_id.hex(), "refType": "CHILD_OF"},
            *(
                {"traceId": each.trace_id.hex(), "spanId": each.span_id.hex(), "refType": "FOLLOWS_FROM"}
                for each in span.links
            ),
        ]
        events = (
            {"name": each.name, "timeUnixNano": each.time_unix_nano, "attributeMap": _texts(each.attributes)}
            for each in span.events
        )
        yield {
            "ts_bucket_start": span.start_time_unix_nano // 10**9 // 1800 * 1800,
            "resource_fingerprint": _service(resource), "timestamp": _time(span.start_time_unix_nano),
            "trace_id": span.trace_id.hex(), "span_id": span.span_id.hex(), "trace_state": span.trace_state,
            "parent_span_id": span.parent_span_id.hex(), "flags": span.flags, "name": span.name,
            "kind": span.kind, "kind_string": KINDS[span.kind],
            "duration_nano": (span.end_time_unix_nano - span.start_time_unix_nano) % 2**64,
            "status_code": span.status.code, "status_message": span.status.message,
            "status_code_string": CODES[span.status.code],
            "attributes_string": {
                key: _text(value)
                for key, (kind, value) in typed.items()
                if kind not in (*numbers, "bool_value")
            },
            "attributes_number": {
                key: float(_plain(value)) for key, (kind, value) in typed.items() if kind in numbers
            },
            "attributes_bool": {
                key: value.bool_value for key, (kind, value) in typed.items() if kind == "bool_value"
            },
            "resources_string": _texts(resource.attributes),
            "events": [json.dumps(each, ensure_ascii=False) for each in events],
            "links": json.dumps(references),
        }  # fmt: skip


def json_signoz_rows(request: ExportTraceServiceRequest) -> Iterator[dict[str, Any]]:
    """Columns of JSON beside the Maps; in every other row instead of them, as if Maps were filled no more."""
    rows = zip(signoz_rows(request), each_span(request), strict=True)
    for number, (row, (resource, scope, span)) in enumerate(rows):
        maps = ("attributes_string", "attributes_number", "attributes_bool", "resources_string")
        yield row | ({key: {} for key in maps} if number % 2 else {}) | {
            "attributes": _plains(span.attributes), "resource": _plains(resource.attributes),
            "scope": {
                "name": scope.name, "version": scope.version, "attributes": _plains(scope.attributes),
            },
        }  # fmt: skip


def signoz_2_rows(request: ExportTraceServiceRequest) -> Iterator[dict[str, Any]]:
    """The same values by other names, without what was not kept."""
    for row in signoz_rows(request):
        yield {
            "timestamp": row["timestamp"], "traceID": row["trace_id"], "spanID": row["span_id"],
            "parentSpanID": row["parent_span_id"], "serviceName": row["resource_fingerprint"],
            "name": row["name"], "kind": row["kind"], "durationNano": row["duration_nano"],
            "statusCode": row["status_code"], "events": row["events"], "hasError": row["status_code"] == 2,
            "stringTagMap": row["attributes_string"], "numberTagMap": row["attributes_number"],
            "boolTagMap": row["attributes_bool"], "resourceTagsMap": row["resources_string"],
            "isRemote": "unknown", "statusMessage": row["status_message"],
            "statusCodeString": row["status_code_string"], "spanKind": row["kind_string"],
        }  # fmt: skip


#: What each kind of database holds: its table, and how a writer fills it.
SCHEMAS: dict[str, tuple[str, str, Callable[[ExportTraceServiceRequest], Iterator[dict[str, Any]]]]] = {
    "collector": ("otel_traces", collector_table(), collector_rows),
    "old_collector": ("otel_traces", collector_table(duration="Int64"), old_collector_rows),
    "json_collector": ("otel_traces", collector_table("JSON"), json_collector_rows),
    "jaeger": ("spans", JAEGER_TABLE, jaeger_rows),
    "signoz": ("signoz_index_v3", SIGNOZ_TABLE, signoz_rows),
    "json_signoz": ("signoz_index_v3", SIGNOZ_JSON_TABLE, json_signoz_rows),
    "signoz_2": ("signoz_index_v2", SIGNOZ_2_TABLE, signoz_2_rows),
}


# -- the server --


class Server:
    """A running server, ended with its standard input."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        self.process = subprocess.Popen(
            [sys.executable, __file__, str(folder)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=folder,
        )  # fmt: skip
        assert self.process.stdout is not None
        self.port = int(self.process.stdout.readline())

    def url(self, database: str, asked: str = "", user: str = USER, password: str = PASSWORD) -> str:
        return f"clickhouse://{user}:{password}@127.0.0.1:{self.port}/{database}{'?' * bool(asked)}{asked}"

    def query(self, text: str, database: str = "default") -> bytes:
        return self._post(f"/?database={database}", text)

    def fault(self, **about: object) -> None:
        """What goes wrong from now on; nothing without arguments."""
        self._post("/_fault", json.dumps(about))

    def fill(self, schema: str, database: str, *requests: ExportTraceServiceRequest) -> None:
        """Make a table if there is none, and insert spans as its writer would."""
        table, statement, rows_of = SCHEMAS[schema]
        self.query(f"CREATE DATABASE IF NOT EXISTS {database}")
        self.query(statement.replace("CREATE TABLE", "CREATE TABLE IF NOT EXISTS"), database)
        for request in requests:
            rows = "\n".join(json.dumps(row, ensure_ascii=False) for row in rows_of(request))
            self.query(f"INSERT INTO {table} FORMAT JSONEachRow\n{rows}", database)

    def _post(self, path: str, text: str) -> bytes:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        headers = {"X-ClickHouse-User": USER, "X-ClickHouse-Key": PASSWORD}
        connection.request("POST", path, text.encode("utf-8", "surrogatepass"), headers)
        response = connection.getresponse()
        answer = response.read()
        connection.close()
        assert response.status == 200, answer.decode(errors="replace")[:2000]
        return answer

    def kill(self) -> None:
        self.process.kill()
        self.stop()

    def stop(self) -> None:
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            pipe.close()
        self.process.wait(30)


class _Handler(BaseHTTPRequestHandler):
    """One request: a query, or what shall go wrong."""

    protocol_version = "HTTP/1.1"
    run: Callable[[str, str], bytes]
    fault: dict[str, Any] = {}  # noqa: RUF012 - of the whole server

    def do_POST(self) -> None:
        text = self.rfile.read(int(self.headers["Content-Length"])).decode("utf-8", "surrogatepass")
        if self.path == "/_fault":
            _Handler.fault = json.loads(text)
            return self._answer(200, b"")
        if (self.headers["X-ClickHouse-User"], self.headers["X-ClickHouse-Key"]) != (USER, PASSWORD):
            user = self.headers["X-ClickHouse-User"]
            said = (
                f"Code: 516. DB::Exception: {user}: Authentication failed: password is incorrect, or there "
            )
            return self._answer(403, (said + "is no user with such name. (AUTHENTICATION_FAILED)").encode())
        if (word := self.fault.get("refuse")) and word in text:
            said = f"Code: {self.fault['code']}. DB::Exception: {word} is refused here. (REFUSED)"
            return self._answer(500, said.encode())
        if self.fault.get("times", 0) and self.fault["instead"][0] in text:
            self.fault["times"] -= 1
            text = text.replace(*self.fault["instead"])
        database = parse_qs(urlsplit(self.path).query).get("database", ["default"])[0]
        try:
            answer = _Handler.run(text, database)
        except Exception as error:  # noqa: BLE001 - whatever the engine says is the answer
            status = 404 if "UNKNOWN_" in str(error) else 500
            return self._answer(status, f"{error} (version 26.9.2.1 (official build))\n".encode())
        if "FORMAT Protobuf" in text or "FORMAT JSONEachRow" in text:
            return self._stream(answer)
        return self._answer(200, answer)

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _stream(self, body: bytes) -> None:
        """As the server streams: chunks, after an error its text, and with `abort` no end."""
        cut = int(self.fault.get("cut", len(body)))
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for begin in range(0, cut, 100_000):
            self._chunk(memoryview(body)[begin : min(begin + 100_000, cut)])
        if cut < len(body) and (said := self.fault.get("say")):
            self._chunk(said.encode())
        if cut < len(body) and "abort" in self.fault:
            self.close_connection = True
            return
        self.wfile.write(b"0\r\n\r\n")

    def _chunk(self, data: bytes | memoryview) -> None:
        for piece in (b"%x\r\n" % len(data), data, b"\r\n") if data else ():
            self.wfile.write(piece)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the library's name
        """Nothing: pytest has its own."""


def _serve(folder: str) -> None:
    from chdb import session

    engine, lock = session.Session(folder), threading.Lock()

    def run(query: str, database: str) -> bytes:
        with lock:
            engine.query(f"USE `{database}`")
            found = engine.query(query, "TabSeparated")
            return b"" if found is None else found.bytes()

    _Handler.run = staticmethod(run)  # type: ignore[assignment]
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(server.server_address[1], flush=True)
    sys.stdin.read()
    os._exit(0)  # the engine waits for threads of its own


if __name__ == "__main__":
    _serve(sys.argv[1] + "/data")
