"""Attribute names, old and new, as tables: the same meaning, peers in their order, odd values."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tracescope import schema
from tracescope.conventions import semconv
from tracescope.ingest.decode import decode, scan
from tracescope.schema import (
    CLASS_DB,
    CLASS_HTTP,
    CLASS_MESSAGING,
    CLASS_NONE,
    CLASS_RPC,
    CLASS_SIDECAR,
    KIND_CLIENT,
    KIND_CONSUMER,
    KIND_INTERNAL,
    KIND_PRODUCER,
    KIND_SERVER,
    MSG_NONE,
    MSG_PROCESS,
    MSG_RECEIVE,
    MSG_SEND,
)

START_NS = 1_790_000_000 * 10**9
Said = dict[str, str]


def meaning(attributes: Said, kind: int, name: str = "span") -> tuple[int, int, str | None, str]:
    """What a span with these attributes becomes, all the way from its bytes."""
    request = ExportTraceServiceRequest()
    span = request.resource_spans.add().scope_spans.add().spans.add(
        trace_id=b"a" * 16, span_id=b"b" * 8, kind=kind, name=name, start_time_unix_nano=START_NS
    )  # type: ignore[arg-type] # fmt: skip
    for key, value in attributes.items():
        span.attributes.add(key=key).value.string_value = value
    row = decode([request.SerializeToString()], START_NS).spans.row(0, named=True)
    return row["edge_class"], row["messaging_op"], row["peer"], row["operation"]


UPGRADES: list[tuple[str, int, str, Said, Said, tuple[int, int, str | None, str]]] = [
    (
        "http client", KIND_CLIENT, "GET",
        {"http.method": "GET", "http.url": "https://cart:8080/items/17?full=1", "net.peer.name": "cart"},
        {"http.request.method": "GET", "url.full": "https://cart:8080/items/17?full=1",
         "server.address": "cart"},
        (CLASS_HTTP, MSG_NONE, "cart", "GET"),
    ),
    (
        "http server", KIND_SERVER, "GET /items/{id}",
        {"http.method": "GET", "http.route": "/items/{id}", "http.target": "/items/17",
         "net.host.name": "cart"},
        {"http.request.method": "GET", "http.route": "/items/{id}", "url.path": "/items/17",
         "server.address": "cart"},
        (CLASS_HTTP, MSG_NONE, "cart", "GET /items/{id}"),
    ),
    (
        "http server without a route", KIND_SERVER, "GET",
        {"http.method": "GET", "http.target": "/items/17?x=1"},
        {"http.request.method": "GET", "url.path": "/items/17"},
        (CLASS_HTTP, MSG_NONE, None, "GET /items/{id}"),
    ),
    (
        "database", KIND_CLIENT, "SELECT shop.orders",
        {"db.system": "postgresql", "db.name": "shop", "db.operation": "SELECT", "db.sql.table": "orders",
         "net.peer.name": "10.0.0.5"},
        {"db.system.name": "postgresql", "db.namespace": "shop", "db.operation.name": "SELECT",
         "db.collection.name": "orders", "server.address": "10.0.0.5"},
        (CLASS_DB, MSG_NONE, "postgresql/shop", "SELECT orders"),
    ),
    (
        "database by its text", KIND_CLIENT, "query",
        {"db.system": "mysql", "db.name": "shop", "db.statement": "select * from orders where id = 17"},
        {"db.system.name": "mysql", "db.namespace": "shop", "db.query.text": "SELECT * FROM orders"},
        (CLASS_DB, MSG_NONE, "mysql/shop", "SELECT orders"),
    ),
    (
        "internal database span", KIND_INTERNAL, "find",
        {"db.system": "mongodb", "db.name": "shop", "db.operation": "find", "db.mongodb.collection": "carts"},
        {"db.system.name": "mongodb", "db.namespace": "shop", "db.operation.name": "find",
         "db.collection.name": "carts"},
        (CLASS_DB, MSG_NONE, "mongodb/shop", "find carts"),
    ),
    (
        "publish", KIND_PRODUCER, "orders publish",
        {"messaging.system": "kafka", "messaging.destination": "orders", "messaging.operation": "publish"},
        {"messaging.system": "kafka", "messaging.destination.name": "orders",
         "messaging.operation.type": "send"},
        (CLASS_MESSAGING, MSG_SEND, "orders", "orders publish"),
    ),
    (
        "a client that sends", KIND_CLIENT, "send orders",
        {"messaging.system": "aws_sqs", "messaging.destination": "orders", "messaging.operation": "create"},
        {"messaging.system": "aws_sqs", "messaging.destination.name": "orders",
         "messaging.operation.type": "publish"},
        (CLASS_MESSAGING, MSG_SEND, "orders", "send orders"),
    ),
    (
        "process", KIND_CONSUMER, "orders process",
        {"messaging.system": "kafka", "messaging.kafka.topic": "orders", "messaging.operation": "process"},
        {"messaging.system": "kafka", "messaging.destination.name": "orders",
         "messaging.operation.type": "process"},
        (CLASS_MESSAGING, MSG_PROCESS, "orders", "process orders"),
    ),
    (
        "receive", KIND_CONSUMER, "poll orders",
        {"messaging.system": "kafka", "messaging.destination": "orders", "messaging.operation": "receive"},
        {"messaging.system": "kafka", "messaging.destination.name": "orders",
         "messaging.operation.type": "receive"},
        (CLASS_MESSAGING, MSG_RECEIVE, "orders", "poll orders"),
    ),
    (
        "rpc client", KIND_CLIENT, "shop.Cart/Get",
        {"rpc.system": "grpc", "rpc.service": "shop.Cart", "rpc.method": "Get", "net.peer.name": "cart"},
        {"rpc.system.name": "grpc", "rpc.method": "shop.Cart/Get", "server.address": "cart"},
        (CLASS_RPC, MSG_NONE, "cart", "shop.Cart/Get"),
    ),
    (
        "rpc server", KIND_SERVER, "/shop.Cart/Get",
        {"rpc.system": "grpc", "rpc.service": "shop.Cart", "rpc.method": "Get"},
        {"rpc.system": "grpc", "rpc.service": "shop.Cart", "rpc.method": "shop.Cart/Get"},
        (CLASS_RPC, MSG_NONE, "shop.Cart", "shop.Cart/Get"),
    ),
    (
        "a peer that is named", KIND_CLIENT, "charge",
        {"peer.service": "psp", "net.peer.name": "psp.example"},
        {"service.peer.name": "psp", "server.address": "psp.example"},
        (CLASS_NONE, MSG_NONE, "psp", "charge"),
    ),
]  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "name", "old", "new", "wanted"), [row[1:] for row in UPGRADES], ids=[row[0] for row in UPGRADES]
)
def test_a_library_upgrade_changes_no_meaning(
    kind: int, name: str, old: Said, new: Said, wanted: tuple[int, int, str | None, str]
) -> None:
    """Old names, new names, and both at once (the conventions' `dup` mode) are one."""
    assert meaning(old, kind, name) == wanted
    assert meaning(new, kind, name) == wanted
    assert meaning({**old, **new}, kind, name) == wanted
    assert meaning({**new, **old}, kind, name) == wanted


PEERS = ("service.peer.name", "peer.service", "server.address", "network.peer.address")


@pytest.mark.parametrize(
    "more",
    [{}, {"http.request.method": "GET"}, {"rpc.system": "grpc", "rpc.service": "s", "rpc.method": "M"}],
    ids=["plain", "http", "rpc"],
)
@pytest.mark.parametrize("missing", range(len(PEERS) + 1))
def test_peers_resolve_in_their_order(more: Said, missing: int) -> None:
    """Names before addresses, addresses before what the call itself names."""
    left = PEERS[missing:]
    peer = meaning({**more, **{key: key for key in reversed(left)}}, KIND_CLIENT)[2]
    assert peer == (left[0] if left else more.get("rpc.service"))


@pytest.mark.parametrize(
    ("said", "peer"),
    [
        ({"db.namespace": "shop", "server.address": "db1"}, "redis/shop@db1"),
        ({"db.namespace": "shop"}, "redis/shop"),
        ({"peer.service": "cache", "server.address": "db1"}, "redis/cache"),
        ({"server.address": "db1"}, "redis/db1"),
        ({}, "redis"),
    ],
)
def test_databases_are_named_by_system_and_namespace(said: Said, peer: str) -> None:
    """Not one `redis` for all of them."""
    assert meaning({"db.system": "redis", **said}, KIND_CLIENT)[2] == peer


@pytest.mark.parametrize(
    ("said", "name", "operation"),
    [
        ({"db.operation.name": "GET"}, "x", "GET"),
        ({"db.query.summary": "SELECT a JOIN b"}, "x", "SELECT a JOIN b"),
        ({"db.query.text": 'INSERT INTO "orders" (id) VALUES (17)'}, "x", "INSERT orders"),
        ({"db.query.text": "/* app */ update only items set n = 4"}, "x", "UPDATE items"),
        ({"db.query.text": "-- note\nDELETE FROM `carts`"}, "x", "DELETE carts"),
        ({"db.query.text": "BEGIN"}, "x", "BEGIN"),
        ({"db.query.text": "17"}, "x", "query"),
        ({"db.query.text": "HGETALL user:17"}, "x", "HGETALL"),
        ({}, "GET user", "GET user"),
    ],
)
def test_queries_become_summaries_without_literals(said: Said, name: str, operation: str) -> None:
    assert meaning({"db.system": "x", **said}, KIND_CLIENT, name)[3] == operation


@pytest.mark.parametrize(
    ("path", "template"),
    [
        ("/orders/17", "/orders/{id}"),
        ("/orders/17?full=1#top", "/orders/{id}"),
        ("/a/550e8400-e29b-41d4-a716-446655440000/b", "/a/{id}/b"),
        ("/blob/deadbeefdeadbeef", "/blob/{id}"),
        ("/u/jane@mail.example", "/u/{id}"),
        ("/day/2026-08-01", "/day/{id}"),
        ("https://api.example:8443/v1/users/9", "/v1/users/{id}"),
        ("/v2/status", "/v2/status"),
        ("/token/abcDEF123456abcDEF123456", "/token/{id}"),
        ("", ""),
        ("//", "//"),
    ],
)
def test_raw_paths_are_templated(path: str, template: str) -> None:
    assert semconv.template_path(path) == template


@example("0\x1f0")
@example("3\t\tMarch")
@given(st.text(max_size=60))
def test_templating_is_done_once(path: str) -> None:
    """A template's template is itself, and what identified something is gone."""
    once = semconv.template_path(path)
    assert semconv.template_path(once) == once or "://" in once
    assert "?" not in once


@pytest.mark.parametrize(
    ("said", "kind", "name", "wanted"),
    [
        # a database system on a SERVER span is a service that says what it is
        ({"db.system": "redis"}, KIND_SERVER, "x", (CLASS_NONE, MSG_NONE, None, "x")),
        # empty values say nothing
        ({"db.system": "", "peer.service": ""}, KIND_CLIENT, "x", (CLASS_NONE, MSG_NONE, None, "x")),
        ({"peer.service": "", "server.address": "h"}, KIND_CLIENT, "x", (CLASS_NONE, MSG_NONE, "h", "x")),
        # unknown messaging operations are none
        ({"messaging.system": "kafka", "messaging.operation": "Fly"}, KIND_CLIENT, "x",
         (CLASS_MESSAGING, MSG_NONE, "kafka", "x")),
        ({"messaging.destination.name": "t", "messaging.operation": "PROCESS"}, KIND_CONSUMER, "x",
         (CLASS_MESSAGING, MSG_PROCESS, "t", "process t")),
        # kinds alone make messages
        ({}, KIND_PRODUCER, "x", (CLASS_MESSAGING, MSG_SEND, None, "x")),
        ({}, KIND_CONSUMER, "x", (CLASS_MESSAGING, MSG_NONE, None, "x")),
        # names alone make RPC and paths
        ({}, KIND_CLIENT, "/shop.Cart/Get", (CLASS_RPC, MSG_NONE, None, "shop.Cart/Get")),
        ({}, KIND_SERVER, "/orders/17", (CLASS_NONE, MSG_NONE, None, "/orders/{id}")),
        # a URL with a user keeps neither user nor query
        ({"http.url": "https://u:secret@h.example/a/1?t=2"}, KIND_CLIENT, "GET",
         (CLASS_HTTP, MSG_NONE, "h.example", "GET")),
        ({"http.url": "://"}, KIND_CLIENT, "", (CLASS_HTTP, MSG_NONE, None, "")),
        ({"db.system": "x", "db.statement": "\x00\x01"}, KIND_CLIENT, "y",
         (CLASS_DB, MSG_NONE, "x", "query")),
    ],
)  # fmt: skip
def test_odd_values_get_a_meaning(
    said: Said, kind: int, name: str, wanted: tuple[int, int, str | None, str]
) -> None:
    assert meaning(said, kind, name) == wanted


@given(
    st.dictionaries(st.sampled_from(sorted(semconv.SPAN_ATTRIBUTES)), st.text(min_size=1, max_size=20)),
    st.integers(0, 5),
    st.text(max_size=20),
)
def test_any_values_get_one_meaning(found: Said, kind: int, name: str) -> None:
    """No text crashes, and there is always an operation."""
    said = semconv.meaning(found, kind, name)
    assert 0 <= said.edge_class <= CLASS_SIDECAR
    assert said.operation is not None
    assert said == semconv.meaning(dict(reversed(found.items())), kind, name)


@pytest.mark.parametrize(
    ("said", "column", "value"),
    [
        ({"deployment.environment": "prod"}, "environment", "prod"),
        ({"deployment.environment": "x", "deployment.environment.name": "prod"}, "environment", "prod"),
        ({"service.name": "cart"}, "service_name", "cart"),
        ({"service.name": ""}, "service_name", schema.UNKNOWN_SERVICE),
        ({}, "service_name", schema.UNKNOWN_SERVICE),
        ({"service.instance.id": "i"}, "host", "i"),
        ({"service.instance.id": "i", "k8s.pod.name": "p"}, "host", "p"),
        ({"k8s.pod.name": "p", "host.name": "n"}, "host", "n"),
        ({"host.name": "n", "host.id": "d"}, "host", "d"),
        ({"service.instance.id": "i", "host.id": "d"}, "service_instance", "i"),
    ],
)
def test_resources_are_read_in_their_order(said: Said, column: str, value: str) -> None:
    """Hosts: `host.id`, `host.name`, `k8s.pod.name`, `service.instance.id`; the first that exists."""
    request = ExportTraceServiceRequest()
    part = request.resource_spans.add()
    for key, text in said.items():
        part.resource.attributes.add(key=key).value.string_value = text
    part.scope_spans.add().spans.add(trace_id=b"a" * 16, span_id=b"b" * 8, start_time_unix_nano=START_NS)
    assert decode([request.SerializeToString()], START_NS).spans[column].to_list() == [value]


def test_a_server_takes_no_meaning_from_where_its_client_calls_from() -> None:
    """A client's port is another for each connection: it must not make each request one of its own."""
    spans = ExportTraceServiceRequest()
    scope = spans.resource_spans.add().scope_spans.add()
    for number in range(1, 51):
        span = scope.spans.add(
            trace_id=b"a" * 16, span_id=number.to_bytes(8, "big"), kind=KIND_SERVER, name="GET",
            start_time_unix_nano=START_NS,
        )  # type: ignore[arg-type] # fmt: skip
        span.attributes.add(key="http.request.method").value.string_value = "GET"
        span.attributes.add(key="network.peer.port").value.int_value = 40_000 + number
        span.attributes.add(key="net.peer.port").value.int_value = 40_000 + number
        span.attributes.add(key="network.peer.address").value.string_value = f"10.0.0.{number}"
    found = scan([spans.SerializeToString()], START_NS)
    assert len(found.combinations) == 1


def test_a_service_or_a_provider_alone_is_a_remote_call() -> None:
    """An RPC's service without its system, and a function's provider without its name."""
    said = semconv.meaning({"rpc_service": "shop.Cart"}, KIND_CLIENT, "Add")
    assert (said.edge_class, said.peer) == (CLASS_RPC, "shop.Cart")
    said = semconv.meaning({"faas_provider": "aws"}, KIND_CLIENT, "resize")
    assert (said.edge_class, said.peer, said.operation) == (CLASS_RPC, "aws", "resize")
    said = semconv.meaning(
        {"faas_provider": "aws", "http_method": "GET", "address": "x.test"}, KIND_CLIENT, "GET"
    )
    assert said.edge_class == schema.CLASS_HTTP
