"""Nothing that may be somebody's business reaches the disk, in any format, at any place."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from click.testing import CliRunner
from google.protobuf.json_format import MessageToDict
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from receivers import Running, eventually

from tracescope.cli import main
from tracescope.conventions import keeping
from tracescope.conventions.keeping import Policy, Verdict
from tracescope.engine.seal import seal

START_NS = 1_790_000_000 * 10**9

#: What is kept whole nowhere: old and new names of the conventions, of OpenTracing and of vendors.
SENSITIVE = [
    "db.statement", "db.query.text", "db.sql.query", "sql.query", "sql", "db.query", "db.query.parameter.0",
    "db.query.parameter.name", "db.operation.parameter.id", "db.statement.parameters", "db.params",
    "db.connection_string", "db.user", "db.password", "mongodb.query", "mongodb.command", "mongodb.reply",
    "db.mongodb.query", "db.mongodb.command", "cassandra.query", "db.cassandra.query", "cql.query",
    "elasticsearch.body", "elasticsearch.params", "db.elasticsearch.body", "redis.command", "redis.args",
    "redis.raw_command", "db.redis.args", "redis.key", "cache.key", "aws.s3.key", "aws.dynamodb.filter",
    "aws.dynamodb.projection", "jdbc.query", "sql.parameters",
    "graphql.document", "graphql.source", "graphql.variables", "graphql.variables.name",
    "gen_ai.prompt", "gen_ai.completion", "gen_ai.prompt.0.content", "gen_ai.completion.0.content",
    "gen_ai.input.messages", "gen_ai.output.messages", "gen_ai.system_instructions",
    "gen_ai.tool.call.arguments", "gen_ai.tool.call.result", "gen_ai.tool.definitions", "llm.prompts",
    "llm.input_messages.0.message.content", "input.value", "output.value", "traceloop.entity.input",
    "gen_ai.conversation.id",
    "http.request.header.authorization", "http.request.header.x-api-key", "http.response.header.set-cookie",
    "http.request.header.cookie", "http.request.body", "http.response.body", "http.request.body.content",
    "http.headers", "rpc.request.metadata.authorization", "rpc.grpc.request.metadata.token",
    "rpc.connect_rpc.request.metadata.x", "messaging.message.body", "messaging.message.payload",
    "messaging.kafka.message.key", "messaging.message.header.id", "message.payload",
    "authorization", "Authorization", "auth.token", "cookie", "set-cookie", "password", "user_password",
    "passwd", "db.passphrase", "secret", "client_secret", "aws.secret_access_key", "token", "access_token",
    "refreshToken", "api_key", "apiKey", "x-api-key", "private_key", "jwt", "bearer", "connection_string",
    "ConnectionString", "sentry.dsn", "session.id", "session_id", "csrf_token",
    "exception.message", "exception.stacktrace", "error.message", "error.stack", "message", "stack", "event",
    "status.message", "otel.status_description", "log.message",
    "baggage", "baggage.user", "enduser.id", "enduser.pseudo.id", "enduser.role", "enduser.scope", "user.id",
    "user.name", "user.email", "user.full_name", "user.hash", "user_id", "username", "customer.name",
    "client.address", "http.client_ip", "client.ip", "source.address", "geo.location.lat", "email",
    "contact.phone", "card_number", "iban",
    "url.query", "url.fragment", "http.query", "process.command_args", "process.command_line",
    "process.environment_variable.HOME", "k8s.pod.annotation.token",
]  # fmt: skip
#: URLs stay while they are paths.
URLS = ["url.full", "http.url", "http.target", "url.original", "url.path"]


#: Where attributes are kept.
PLACES = ("resource", "span", "event", "link")


def marker(number: int) -> str:
    """A word that is found nowhere else; of letters alone, so that no form gives it away."""
    return "zzq" + "".join(chr(ord("a") + int(digit)) for digit in f"{number:05}") + "xq"


class Markers:
    """A new marker each time; all of them can be looked for."""

    def __init__(self) -> None:
        self.given: dict[str, str] = {}

    def __call__(self, where: str) -> str:
        made = marker(len(self.given))
        self.given[made] = where
        return made


def add(attributes: Any, key: str, value: str) -> None:
    attributes.add(key=key).value.string_value = value


def everywhere(mark: Markers) -> ExportTraceServiceRequest:
    """Every sensitive name at every place, nested too; names, statuses and URLs beside them."""
    request = ExportTraceServiceRequest()
    part = request.resource_spans.add()
    add(part.resource.attributes, "service.name", "shop")
    scope = part.scope_spans.add()
    scope.scope.name = "io.example"
    for number, key in enumerate([*SENSITIVE, *URLS]):
        span = scope.spans.add(
            trace_id=(number + 1).to_bytes(16, "big"), span_id=(number + 1).to_bytes(8, "big"),
            kind=2 + number % 2, name=f"look up '{mark('name')}'",
            start_time_unix_nano=START_NS, end_time_unix_nano=START_NS + 10**6,
        )  # type: ignore[arg-type] # fmt: skip
        span.status.code = 2  # pyright: ignore[reportAttributeAccessIssue]
        span.status.message = f"no {mark('status')} here"
        add(span.attributes, "tier", "gold")
        event = span.events.add(name=f"{mark('event name')} came in", time_unix_nano=START_NS)
        link = span.links.add(trace_id=b"l" * 16, span_id=b"l" * 8)
        places = {
            "resource": part.resource, "scope": scope.scope, "span": span, "event": event, "link": link
        }  # fmt: skip
        for place, message in places.items():
            text = mark(f"{place} {key}")
            value = f"https://u:{mark(key)}@h/a?x={text}" if key in URLS else text
            add(message.attributes, key, value)
            inner = message.attributes.add(key="app.context").value.kvlist_value.values
            add(inner, key, mark(f"{place} map {key}"))
            items = message.attributes.add(key="app.items").value.array_value.values
            add(items.add().kvlist_value.values, key, mark(f"{place} list {key}"))
            message.attributes.add(key=key).value.array_value.values.add().string_value = (
                "https://h/?" if key in URLS else ""
            ) + mark(f"{place} array {key}")
            message.attributes.add(key=key).value.bytes_value = mark(f"{place} bytes {key}").encode()
    return request


def jaeger(mark: Markers) -> dict[str, Any]:
    """The same as Jaeger's tags, logs and process tags."""

    def tags(place: str) -> list[dict[str, str]]:
        return [{"key": key, "type": "string", "value": mark(f"jaeger {place} {key}")} for key in SENSITIVE]

    span = {
        "traceID": "1", "spanID": "2", "operationName": f"GET /x?token={mark('jaeger name')}",
        "startTime": START_NS // 1000, "duration": 1000, "processID": "p1", "references": [],
        "tags": [*tags("tag"), {"key": "span.kind", "type": "string", "value": "client"}],
        "logs": [{"timestamp": START_NS // 1000, "fields": tags("log")}],
    }  # fmt: skip
    process = {"serviceName": "shop", "tags": tags("process")}
    return {"data": [{"traceID": "1", "spans": [span], "processes": {"p1": process}}]}


def zipkin(mark: Markers) -> list[dict[str, Any]]:
    """The same as Zipkin's tags and annotations."""
    tags = {key: mark(f"zipkin {key}") for key in SENSITIVE}
    tags["error"] = f"no such user {mark('zipkin error')}"
    tags["http.url"] = f"http://h/?q={mark('zipkin url')}"
    return [
        {
            "traceId": "1" * 32, "id": "2" * 16, "kind": "CLIENT", "name": f"get '{mark('zipkin name')}'",
            "timestamp": START_NS // 1000, "duration": 1000, "localEndpoint": {"serviceName": "shop"},
            "tags": tags,
            "annotations": [{"timestamp": START_NS // 1000, "value": mark("zipkin annotation")}],
        }
    ]  # fmt: skip


def otlp_json(mark: Markers) -> dict[str, Any]:
    """OTLP JSON: ids in hex, bytes in base64."""
    document = MessageToDict(everywhere(mark))
    for part in document["resourceSpans"]:
        for scope in part["scopeSpans"]:
            for span in scope["spans"]:
                for holder in (span, *span.get("links", ())):
                    for name in ("traceId", "spanId", "parentSpanId"):
                        if name in holder:
                            holder[name] = base64.b64decode(holder[name]).hex()
                span["kind"], span["status"]["code"] = 2, 2
    return document


def contents(folder: Path) -> Iterator[tuple[Path, bytes]]:
    """Every file's bytes; of Parquet, whose pages are compressed, every value and the footer's too."""
    for path in sorted(folder.rglob("*")):
        if not path.is_file():
            continue
        yield path, path.read_bytes()
        if path.suffix == ".parquet" or path.read_bytes()[:4] == b"PAR1":
            for column in pl.read_parquet(path, hive_partitioning=False).iter_columns():
                if column.dtype == pl.String:
                    yield path, "\0".join(column.drop_nulls().unique().to_list()).encode()
                elif column.dtype == pl.Binary:
                    yield path, b"\0".join(column.drop_nulls().unique().to_list())


def found(folder: Path, mark: Markers) -> list[str]:
    """Places whose markers are anywhere in the folder."""
    out: set[str] = set()
    files = 0
    for path, written in contents(folder):
        files += 1
        data = written.lower()
        if b"zzq" in data:
            out |= {f"{where} in {path.name}" for text, where in mark.given.items() if text.encode() in data}
    assert files > 3
    return sorted(out)


WRITTEN: dict[str, tuple[str, Callable[[Markers], bytes]]] = {
    "OTLP protobuf": ("spans.pb", lambda mark: everywhere(mark).SerializeToString()),
    "OTLP JSON": ("spans.jsonl", lambda mark: json.dumps(otlp_json(mark)).encode()),
    "Jaeger": ("jaeger.json", lambda mark: json.dumps(jaeger(mark)).encode()),
    "Zipkin": ("zipkin.json", lambda mark: json.dumps(zipkin(mark)).encode()),
}


@pytest.mark.parametrize("form", WRITTEN)
def test_no_file_of_a_store_holds_what_was_imported_under_a_sensitive_name(form: str, tmp_path: Path) -> None:
    """Landed, sealed, names and all; each name at each place with a marker of its own."""
    mark = Markers()
    name, write = WRITTEN[form]
    (tmp_path / name).write_bytes(write(mark))
    store = tmp_path / "store"
    result = CliRunner().invoke(main, ["import", str(tmp_path / name), "--store", str(store)])
    assert result.exit_code == 0, result.output
    assert " 0 new" not in f" {result.output}", result.output
    assert len(mark.given) > 100
    assert found(store, mark) == []


def test_nothing_received_stays_once_the_journal_is_drained(tmp_path: Path) -> None:
    """The journal holds requests as they came until they land; then no file does."""
    mark = Markers()
    with Running(tmp_path / "store", {"grpc": "off"}) as receiver:
        assert receiver.post(everywhere(mark).SerializeToString()).status_code == 200
        assert receiver.post(json.dumps(otlp_json(mark)).encode(), "application/json").status_code == 200
        eventually(lambda: bool(receiver.store.snapshot().landed), "spans have landed")
    assert found(tmp_path / "store", mark) == []
    seal(receiver.store)
    assert found(tmp_path / "store", mark) == []


def test_everything_stays_for_who_asks_for_all_and_goes_for_who_drops_it(tmp_path: Path) -> None:
    """The settings reach import and serve; a pattern that drops wins; the search does find."""
    mark = Markers()
    (tmp_path / "spans.pb").write_bytes(everywhere(mark).SerializeToString())

    def kept(name: str, **settings: str) -> list[str]:
        store = tmp_path / name
        given = {f"TRACESCOPE_{key.upper()}": value for key, value in settings.items()}
        arguments = ["import", str(tmp_path / "spans.pb"), "--store", str(store)]
        assert CliRunner(env=given).invoke(main, arguments).exit_code == 0
        return [line.partition(" in ")[0] for line in found(store, mark)]

    everything = kept("all", keep_attributes="all")
    assert "span user.email" in everything
    assert "event map password" in everything
    assert "link array http.url" in everything
    some = kept("some", keep_attributes="user.*,app.*", drop_attributes="*.email")
    assert "span user.name" in some
    assert not {one for one in some if "user.email" in one or "password" in one}
    with Running(tmp_path / "served", {"grpc": "off", "keep_attributes": "user.name"}) as receiver:
        assert receiver.post(everywhere(mark).SerializeToString()).status_code == 200
        eventually(lambda: bool(receiver.store.snapshot().landed), "spans have landed")
    wanted = {f"{place} {form}user.name" for place in PLACES for form in ("", "array ", "bytes ")}
    assert {one.partition(" in ")[0] for one in found(tmp_path / "served", mark)} == wanted


@pytest.mark.parametrize(
    ("key", "policy", "verdict"),
    [
        ("http.route", Policy(), Verdict.KNOWN),
        ("gen_ai.usage.input_tokens", Policy(), Verdict.KNOWN),
        ("app.region", Policy(), Verdict.PLAIN_ONLY),
        ("url.full", Policy(), Verdict.CUT_WITH_QUERY),
        ("db.anything.new", Policy(), Verdict.CUT),
        ("X-API-KEY", Policy(), Verdict.CUT),
        ("http.route", Policy(drop=("http.*",)), Verdict.CUT),
        ("HTTP.Route", Policy(drop=("http.*",)), Verdict.CUT),
        ("db.statement", Policy(keep=("db.*",)), Verdict.KEPT),
        ("db.statement", Policy(drop=("*",), keep=("db.*",)), Verdict.CUT),
        ("db", Policy(keep=("db.*",)), Verdict.PLAIN_ONLY),
        ("a.b.c", Policy(keep=("a*c",)), Verdict.KEPT),
        ("a.b.cd", Policy(keep=("a*c",)), Verdict.PLAIN_ONLY),
    ],
)
def test_keys_are_judged_by_settings_then_by_what_is_known(
    key: str, policy: Policy, verdict: Verdict
) -> None:
    """Drop, keep, known, sensitive, any other; a pattern is of the whole key, case apart."""
    assert keeping.judge(key, policy) == verdict


def test_every_sensitive_name_is_cut_and_no_known_one_is_meant() -> None:
    """By name alone, whatever the value."""
    assert {key: keeping.judge(key) for key in SENSITIVE} == dict.fromkeys(SENSITIVE, Verdict.CUT)
    assert not {key for key in keeping.KNOWN if keeping.judge(key) != Verdict.KNOWN}
