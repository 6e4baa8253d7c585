"""What real instrumentations send, and what it means: every name that is read, and cases as they came."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from click.testing import CliRunner
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from test_import_files import spans_of
from test_rollup import sealed

from tracescope import schema
from tracescope.analysis.rollups.merge import Tables
from tracescope.cli import main
from tracescope.conventions import keeping, semconv
from tracescope.conventions.operations import (
    summarise_query,
    template_declared,
    template_name,
    template_route,
)
from tracescope.ingest.decode import decode
from tracescope.ingest.files import read
from tracescope.ingest.resolve import RESOLVED, resolve

CASES = Path(__file__).parent / "data" / "cases"
START_NS = 1_790_000_000 * 10**9
MS = 1_000_000


def case(name: str) -> Tables:
    """Rollups of a case's file."""
    return sealed([spans_of(CASES / name)])


def entries(tables: Tables, unit: int) -> dict[tuple[str, str], tuple[int, int]]:
    """Units and errors of each entry."""
    rows = tables["entry_hours"].filter(pl.col("unit") == unit).join(tables["entries"], on="entry_id")
    summed = rows.group_by("service", "operation").agg(pl.col("units").sum(), pl.col("errors").sum())
    return {(service, name): (units, errors) for service, name, units, errors in summed.iter_rows()}


def edges(tables: Tables) -> dict[tuple[str, str, str | None, str], int]:
    """Calls of each edge: kind, caller, callee, operation."""
    rows = tables["path_hours"].join(tables["paths"], on="path_id")
    summed = rows.group_by("kind", "caller", "callee", "operation").agg(pl.col("calls").sum())
    return {(schema.EDGE_KINDS[kind], *names): calls for kind, *names, calls in summed.iter_rows()}


def run(*arguments: str | Path, exit_codes: tuple[int, ...] = (0,)) -> str:
    result = CliRunner().invoke(main, [str(argument) for argument in arguments], catch_exceptions=False)
    assert result.exit_code in exit_codes, result.output
    return result.stdout


# -- every name of the tables --------------------------------------------------------------------

#: What else a span needs for a meaning to show in its operation, its peer or its class.
BESIDE: dict[str, tuple[int, str, dict[str, str]]] = {
    "db_namespace": (3, "x", {"db.system": "s"}),
    "db_collection": (3, "x", {"db.system": "s"}),
    "db_operation": (3, "x", {"db.system": "s"}),
    "db_summary": (3, "x", {"db.system": "s"}),
    "rpc_service": (3, "x", {"rpc.method": "m"}),
    "messaging_operation": (3, "x", {"messaging.system": "s"}),
    "task": (5, "x", {"messaging.system": "s"}),
    "job_class": (5, "x", {"messaging.system": "active_job"}),
    "http_method": (2, "x", {"http.route": "/r"}),
    "url_path": (2, "GET", {"http.request.method": "GET"}),
    "faas_name": (2, "", {}),
    "gen_ai_target": (3, "x", {"gen_ai.operation.name": "chat"}),
    "message_count": (5, "x", {"messaging.system": "s", "messaging.operation.type": "receive"}),
    "port": (3, "x", {"server.address": "localhost"}),
    "network_port": (3, "x", {"network.peer.address": "127.0.0.1"}),
    "own_name": (2, "x", {"http.request.method": "GET"}),
    "proxy": (3, "x", {"http.request.method": "GET"}),
    "messaging_source": (5, "x", {"messaging.system": "s"}),
    "messaging_routing_key": (4, "x", {"messaging.system": "rabbitmq", "messaging.destination.name": ""}),
    "aws_target": (3, "x", {"rpc.system": "aws-api", "rpc.service": "S", "rpc.method": "M"}),
}
VALUES: dict[str, str | int] = {
    "db_text": "SELECT a FROM tables", "graphql_document": "query Basket { a }", "component": "grpc",
    "messaging_operation": "process", "graphql_type": "query", "url_path": "/some/path",
    "http_status": 101, "protocol": "websocket", "scheme": "wss", "upgrade": "websocket",
    "media_type": "text/event-stream", "call_type": "server_streaming", "trigger": "timer",
    "rpc_status": 14, "message_count": 0, "port": 5432,
    "network_port": 5432, "proxy": "sidecar~10.0.0.7~shop-1.default~x",
}  # fmt: skip


def span_with(kind: int, name: str, attributes: dict[str, Any]) -> dict[str, Any]:
    """The row that a span's bytes become."""
    request = ExportTraceServiceRequest()
    span = request.resource_spans.add().scope_spans.add().spans.add(
        trace_id=b"a" * 16, span_id=b"b" * 8, kind=kind, name=name, start_time_unix_nano=START_NS
    )  # type: ignore[arg-type] # fmt: skip
    for key, value in attributes.items():
        item = span.attributes.add(key=key).value
        if isinstance(value, int):
            item.int_value = value
        elif isinstance(value, list):
            for one in value:
                item.array_value.values.add().string_value = one
        else:
            item.string_value = value
    return decode([request.SerializeToString()], START_NS).spans.row(0, named=True)


READ = [(meaning, name) for meaning, names in semconv.SPAN_ATTRIBUTES.items() for name in names]


@pytest.mark.parametrize(("meaning", "name"), READ, ids=[name for _, name in READ])
def test_every_name_that_is_read_changes_what_a_span_becomes(meaning: str, name: str) -> None:
    """From the bytes of a span that carries it, beside what its convention sends with it."""
    columns = ("edge_class", "messaging_op", "peer", "operation", "host", "status")
    kind, called, beside = BESIDE.get(meaning, (3, "x", {}))
    without = span_with(kind, called, beside)
    found = span_with(kind, called, {**beside, name: VALUES.get(meaning, "orders")})
    assert [found[column] for column in columns] != [without[column] for column in columns]


# -- cases ---------------------------------------------------------------------------------------


def test_statements_in_span_names_are_one_edge_with_its_n_plus_1(tmp_path: Path) -> None:
    """7,200 names, no `db.*` text: `SELECT books`, 2 to 18 calls, +97 ms; no literal in any table."""
    spans = spans_of(CASES / "sql-literals-in-span-name.jsonl.gz")
    assert set(spans["operation"]) == set(spans["name"]) == {"GET /books", "SELECT books"}
    assert not spans["raw"].bin.contains(b"books.id").any()
    run("import", CASES / "sql-literals-in-span-name.jsonl.gz", "--store", tmp_path)
    report = json.loads(
        run("diff", *halves(spans), "--store", tmp_path, "--format", "json", "--tz", "UTC", exit_codes=(0, 4))
    )
    edge = report["edges"][0]
    assert (edge["caller"], edge["callee"], edge["operation"]) == ("blog", "mysql/lib", "SELECT books")
    assert (edge["calls_per_unit_base"], edge["calls_per_unit_head"]) == (pytest.approx(2), pytest.approx(18))
    assert edge["credited_ms"] == pytest.approx(97, abs=2)
    assert "n+1" in json.dumps(edge)


def halves(spans: pl.DataFrame) -> tuple[str, str]:
    """The two halves of what some spans cover, as periods."""
    first, last = int(spans["start_ns"].min()), int(spans["end_ns"].max()) + 1  # type: ignore[arg-type]
    hours = first // schema.HOUR_NS, -(-last // schema.HOUR_NS)
    middle = (hours[0] + hours[1]) // 2

    def instant(hour: int) -> str:
        return datetime.fromtimestamp(hour * 3600, UTC).strftime("%Y-%m-%dT%H:%MZ")

    return f"{instant(hours[0])}/{instant(middle)}", f"{instant(middle)}/{instant(hours[1])}"


def test_zipkins_sql_query_is_used_and_not_kept() -> None:
    """`sql.query` alone makes a database span; neither names nor numbers of it are stored."""
    spans = spans_of(CASES / "zipkin-sql-query-kept.json")
    asked = spans.filter(pl.col("edge_class") == schema.CLASS_DB)
    assert asked["operation"].to_list() == ["UPDATE guest"]
    assert not spans["raw"].bin.contains(b"Jane").any()


def test_tasks_of_one_queue_are_entries_of_their_own_and_the_failing_one_shows() -> None:
    """Celery: ten tasks each; errors are of one of them."""
    found = entries(case("celery-tasks.jsonl.gz"), schema.UNIT_MESSAGE)
    assert found == {
        ("worker", "process tasks.send_mail"): (10, 10),
        ("worker", "process tasks.render_video"): (10, 0),
    }


def test_a_shift_between_tasks_is_two_entries() -> None:
    """The mix of tasks is told from their growth only where they are not one operation."""
    spans = spans_of(CASES / "celery-mix-is-not-growth.jsonl.gz").filter(pl.col("kind") == 5)
    assert set(spans["operation"]) == {"process tasks.send_mail", "process tasks.render_video"}


def test_workflows_and_activities_keep_their_names() -> None:
    """Temporal: names are types, ids are in attributes."""
    spans = spans_of(CASES / "temporal.jsonl.gz")
    assert set(spans["operation"]) == {
        "StartWorkflow:Order", "RunWorkflow:Order", "StartActivity:Charge", "RunActivity:Charge",
    }  # fmt: skip


def test_one_route_is_an_entry_for_each_graphql_operation() -> None:
    """The engine's span says what the request asks for."""
    found = entries(case("graphql-two-operations.jsonl.gz"), schema.UNIT_REQUEST)
    assert found == {
        ("api", "POST /graphql query Basket"): (10, 0),
        ("api", "POST /graphql query Report"): (10, 0),
    }


def test_functions_are_named_by_who_invokes_them() -> None:
    """`faas.invoked_name` where nothing answers; the function's own name where it does."""
    found = edges(case("faas.jsonl.gz"))
    named = {edge[2:] for edge in found if edge[1] == "shop" and edge[0] != "self"}
    assert ("audit", "Lambda/Invoke audit") in named
    assert ("price-fn", "price") in named


def test_tables_of_dynamodb_are_told_apart() -> None:
    """`aws.dynamodb.table_names` is a list."""
    found = edges(case("dynamodb-tables.jsonl.gz"))
    assert {edge[3]: calls for edge, calls in found.items() if edge[0] == "db"} == {
        "GetItem baskets": 10, "GetItem users": 10,
    }  # fmt: skip


def test_errors_are_counted_for_every_unit_and_edge() -> None:
    """Statuses survive what is cut of their words."""
    spans = spans_of(CASES / "celery-tasks.jsonl.gz")
    tables = sealed([spans])
    assert int((spans["status"] == schema.STATUS_ERROR).sum()) == 10
    assert int(tables["entry_hours"]["errors"].sum()) == 10
    assert int(tables["path_hours"]["errors"].sum()) >= 10


# -- siblings of the cases -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "name", "attributes", "operation"),
    [
        (3, "x", {"db.system": "dynamodb", "db.operation": "BatchGetItem",
                  "aws.dynamodb.table_names": ["users", "carts"]}, "BatchGetItem carts, users"),
        (3, "GET jane", {"db.system": "redis", "db.redis.database_index": 3}, "GET"),
        (3, "x", {"db.system": "x", "db.statement": "hunter2 is my word"}, "query"),
        (3, "x", {"db.system": "x", "db.statement": "justaword"}, "query"),
        (5, "default process", {"messaging.system": "sidekiq", "messaging.destination": "default",
                                "messaging.sidekiq.job_class": "MailJob"}, "process MailJob"),
        (5, "x", {"messaging.destination.name": "q", "messaging.bullmq.job.name": "resize"},
         "process resize"),
        (2, "POST", {"http.request.method": "POST", "http.route": "/graphql",
                     "graphql.operation.name": "Basket", "graphql.operation.type": "query"},
         "POST /graphql query Basket"),
        (1, "graphql", {"graphql.document": "mutation Pay { pay(id: 17) }"}, "mutation Pay"),
        (3, "chat", {"gen_ai.system": "openai", "gen_ai.operation.name": "chat",
                     "gen_ai.request.model": "gpt-4o"}, "chat gpt-4o"),
        (3, "PDO::prepare", {"db.system": "mysql", "db.statement": "SELECT 1 FROM a"}, "PREPARE SELECT a"),
        (3, "x", {"db.system": "es", "db.statement": "GET /a/_search"}, "GET /a/_search"),
        (3, "query", {"jdbc.query[0]": "select id from orders where id = 17"}, "SELECT orders"),
        (1, "Invoke", {"faas.name": "Nightly"}, "Nightly"),
        (2, "/twirp/shop.Cart/Get", {"rpc.system": "twirp"}, "shop.Cart/Get"),
        (3, "x", {"rpc.system": "connect_rpc", "rpc.service": "shop.Cart", "rpc.method": "Get"},
         "shop.Cart/Get"),
        (3, "x", {"rpc.system": "grpc", "rpc.service": "shop.Cart", "rpc.method": "/shop.Cart/Get"},
         "shop.Cart/Get"),
        (3, "S3.GetObject", {"rpc.system": "aws-api", "rpc.service": "S3", "rpc.method": "GetObject",
                             "aws.s3.bucket": "images"}, "S3/GetObject images"),
        (2, "GET", {"http.request.method": "GET", "http.route": "/users/4711"}, "GET /users/{id}"),
    ],
)  # fmt: skip
def test_conventions_name_operations(kind: int, name: str, attributes: Any, operation: str) -> None:
    assert span_with(kind, name, attributes)["operation"] == operation


@pytest.mark.parametrize("kind", [0, 1, 2, 3])
@pytest.mark.parametrize(
    ("literal", "digits"),
    [
        ("jane.roe@mail.example", False), ("550e8400-e29b-41d4-a716-446655440000", True), ("4711", True),
        ("2026-11-27T10:00:00.123Z", True), ("0x7f3a99", True), ("10.1.2.3:8080", True),
        ("2001:db8::1", True),
        ("'Jane Roe'", False), ("deadbeefcafe0123", True), ("dQw4w9WgXcQ12AbCdEf", True),
        ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.SflKxwRJSMeKKF2QT4fwpM", True),
        ("user=jane", False), ("01ARZ3NDEKTSV4RRFFQ69G5FAV", True),
    ],
)  # fmt: skip
def test_no_literal_of_a_name_becomes_an_operation(literal: str, digits: bool, kind: int) -> None:
    """Wherever it stands in a name of whatever kind."""
    for text in (f"look up {literal}", f"{literal} came", f"{literal}", f"a/{literal}/b", f"order-{literal}"):
        operation = span_with(kind, text, {})["operation"]
        assert literal not in operation
        assert "jane" not in operation.lower()
        if digits:
            assert not re.search(r"\d", operation), operation


@pytest.mark.parametrize(
    ("text", "summary"),
    [
        ("WITH t AS (SELECT 1 FROM a) SELECT * FROM t JOIN b ON 1 = 1", "SELECT b"),
        ("with t as (select x from a) select * from t", "SELECT a"),
        ("INSERT INTO archive.orders SELECT * FROM orders", "INSERT archive.orders"),
        ('SELECT * FROM "public"."orders" o', "SELECT public.orders"),
        ("SELECT EXTRACT(YEAR FROM created_at) FROM visits", "SELECT visits"),
        ("SELECT * FROM [dbo].[Order Details]", "SELECT dbo.Order Details"),
        ("CALL pay(17, 'x')", "CALL pay"),
        ("{? = call pay(?)}", "CALL pay"),
        ("EXEC dbo.get_user 17", "EXEC dbo.get_user"),
        ("/* from=jane */ SELECT 'FROM jane' FROM t -- from x", "SELECT t"),
        ("UPDATE user SET name = 'x'", "UPDATE user"),
        ("SELECT * FROM (SELECT * FROM t) x", "SELECT t"),
        ("SELECT * FROM orders_2026_08", "SELECT orders_{id}"),
        ('{"find": "users", "filter": {"name": "jane"}}', "find users"),
        ('{"name": "jane"}', "query"),
        ("MATCH (n:Person {name: 'Jane'}) RETURN n", "MATCH Person"),
        ("SELECT $$jane$$ FROM q", "SELECT q"),
        ("", "query"),
    ],
)
def test_statements_are_summarised(text: str, summary: str) -> None:
    assert summarise_query(text) == summary


def test_names_of_kinds_of_things_stay() -> None:
    """Digits alone make no literal of a version, a protocol or a class."""
    for name in ("GET /v2/status", "S3Client.getObject", "oauth2", "sha256 digest", "Neo4jRepository.find"):
        assert template_name(name) == name
    assert template_declared("tasks.stage2") == "tasks.stage2"
    assert template_route(r"^users/(?P<pk>\d+)/$") == r"^users/(?P<pk>\d+)/$"


def test_kept_spans_mean_the_same_when_they_are_read_again() -> None:
    """What was cut left its summary: their meaning is in the bytes that are kept."""
    policy = keeping.DEFAULT
    for path in sorted(CASES.glob("*.jsonl*")):
        for chunk in read([path]):
            spans = decode(chunk.requests().data, 2 * START_NS).spans
            again = resolve(spans.with_columns(operation=pl.lit("lost"), host=pl.lit("lost")), policy)
            assert again.schema == spans.schema
            for name in RESOLVED:
                assert again[name].equals(spans[name], null_equal=True), (path.name, name)
