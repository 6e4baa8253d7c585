"""OpenTelemetry's attribute names, old and new, and what they say about a span.

Tables, and pure functions over the few values they yield.  A library upgrade renames attributes;
read as one, it does not look like growth.

Source: OpenTelemetry semantic conventions 1.20 to 1.38 (HTTP, RPC, database, messaging, peer,
resource), with the names they replaced.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from tracescope.schema import (
    CLASS_DB,
    CLASS_HTTP,
    CLASS_MESSAGING,
    CLASS_NONE,
    CLASS_RPC,
    KIND_CLIENT,
    KIND_CONSUMER,
    KIND_INTERNAL,
    KIND_PRODUCER,
    KIND_SERVER,
    KIND_UNSPECIFIED,
    MSG_NONE,
    MSG_PROCESS,
    MSG_RECEIVE,
    MSG_SEND,
    MSG_SETTLE,
)

#: Meaning -> attribute names, the one that wins first.
SPAN_ATTRIBUTES: Final[dict[str, tuple[str, ...]]] = {
    "peer": ("service.peer.name", "peer.service"),
    "address": (
        "server.address", "net.peer.name", "net.host.name", "network.peer.address", "net.peer.ip",
        "net.sock.peer.name", "net.sock.peer.addr", "http.host",
    ),
    "db_system": ("db.system.name", "db.system", "db.type"),
    "db_namespace": (
        "db.namespace", "db.name", "db.instance", "db.redis.database_index", "db.mongodb.database",
    ),
    "db_collection": (
        "db.collection.name", "db.sql.table", "db.mongodb.collection", "db.cassandra.table",
        "db.cosmosdb.container", "aws.dynamodb.table_names",
    ),
    "db_operation": ("db.operation.name", "db.operation"),
    "db_summary": ("db.query.summary",),
    "db_text": ("db.query.text", "db.statement"),
    "messaging_system": ("messaging.system",),
    "messaging_destination": (
        "messaging.destination.template", "messaging.destination.name", "messaging.destination",
        "messaging.kafka.topic", "message_bus.destination",
    ),
    "messaging_operation": ("messaging.operation.type", "messaging.operation", "messaging.operation.name"),
    "rpc_system": ("rpc.system.name", "rpc.system"),
    "rpc_service": ("rpc.service",),
    "rpc_method": ("rpc.method", "grpc.method"),
    "http_method": ("http.request.method", "http.method"),
    "http_route": ("http.route", "url.template"),
    "url_path": ("url.path", "http.target", "url.full", "http.url"),
    "component": ("component", "faas.trigger"),
    "own_address": ("net.host.ip",),  # the sender's, as the Collector notes a Zipkin endpoint's
}  # fmt: skip
RESOURCE_ATTRIBUTES: Final[dict[str, tuple[str, ...]]] = {
    "service_name": ("service.name",),
    "service_instance": ("service.instance.id",),
    "service_version": ("service.version",),
    "environment": ("deployment.environment.name", "deployment.environment"),
    "host": (
        "host.id", "host.name", "k8s.pod.name", "k8s.pod.uid", "container.id", "hostname", "ip", "host.ip",
    ),
}  # fmt: skip
#: Hosts' names and addresses that every host has: they tell no clock from another.
EVERY_HOST: Final = frozenset(
    {"", "localhost", "localhost.localdomain", "127.0.0.1", "127.0.1.1", "::1", "0.0.0.0", "::", "unknown"}
)

#: Meanings whose values differ from call to call until they are folded: as paths, or as queries.
FOLDED_PATHS: Final = ("url_path",)
FOLDED_QUERIES: Final = ("db_text",)

#: Cut before anything is kept; URLs only when they carry a query.
DENIED: Final = ("db.query.text", "db.statement", "url.query")
DENIED_PREFIXES: Final = ("http.request.header.", "http.response.header.", "db.query.parameter.")
DENIED_WITH_QUERY: Final = ("url.full", "http.url", "http.target")

_MESSAGING: Final = {
    "send": MSG_SEND, "create": MSG_SEND, "publish": MSG_SEND, "receive": MSG_RECEIVE, "poll": MSG_RECEIVE,
    "process": MSG_PROCESS, "deliver": MSG_PROCESS, "settle": MSG_SETTLE, "ack": MSG_SETTLE,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Meaning:
    """What a span's attributes say: class, messaging operation, peer (None: unnamed), operation."""

    edge_class: int
    messaging_op: int
    peer: str | None
    operation: str


_SEGMENT_IS_ID = re.compile(
    r"""^(?: \d+ | [0-9a-fA-F]{8}-[0-9a-fA-F-]{27} | [0-9a-fA-F]{16,} | (?=[A-Za-z_-]*\d)[A-Za-z0-9_-]{20,}
           | [^@/]+@[^@/]+\.[a-z]+ | \d[\d.,:;_-]*\d )$""",
    re.VERBOSE,
)


def template_path(path: str) -> str:
    """Replace what identifies one thing in a raw path: ``/orders/17?x=1`` -> ``/orders/{id}``."""
    path = path.split("?", 1)[0].split("#", 1)[0]
    if "://" in path:
        path = "/" + path.split("://", 1)[1].partition("/")[2]
    return "/".join("{id}" if _SEGMENT_IS_ID.match(part) else part for part in path.split("/"))


_COMMENT = re.compile(r"/\*.*?\*/|--[^\n]*", re.DOTALL)
_TABLE = re.compile(r"\b(?:from|into|update|join|table)\s+(?:only\s+)?([\w.\"`\[\]$-]+)", re.IGNORECASE)
_WORD = re.compile(r"[A-Za-z_]+")


def summarise_query(text: str) -> str:
    """Reduce a query to its verb and first collection: ``SELECT orders``; never a literal."""
    text = _COMMENT.sub(" ", text[:4096]).strip()
    verb = _WORD.match(text)
    if verb is None:
        return "query"
    table = _TABLE.search(text)
    name = verb.group().upper()
    if table is None or name not in _VERBS_WITH_TABLE:
        return name
    return f"{name} {table.group(1).strip(chr(34) + '`[]')}"


_VERBS_WITH_TABLE: Final = frozenset(
    {
        "SELECT",
        "INSERT",
        "UPDATE",
        "DELETE",
        "MERGE",
        "REPLACE",
        "TRUNCATE",
        "WITH",
        "CREATE",
        "DROP",
        "ALTER",
    }
)


def _database(found: Mapping[str, str], name: str) -> tuple[str, str]:
    """Peer and operation of a database span."""
    system = found["db_system"]
    place = found.get("db_namespace") or found.get("peer") or found.get("address")
    peer = f"{system}/{place}" if place else system
    verb, collection = found.get("db_operation"), found.get("db_collection")
    if verb:
        return peer, f"{verb} {collection}" if collection else verb
    if summary := found.get("db_summary"):
        return peer, summary
    if text := found.get("db_text"):
        return peer, summarise_query(text)
    return peer, f"{name} {collection}" if collection and collection not in name else name


def _rpc_operation(found: Mapping[str, str], name: str) -> str:
    service, method = found.get("rpc_service"), found.get("rpc_method")
    if service and method:
        return method if "/" in method else f"{service}/{method}"
    if method and "/" in method:
        return method.removeprefix("/")
    return (method or name).removeprefix("/")


def _http_operation(found: Mapping[str, str], name: str, kind: int) -> str:
    method = found.get("http_method")
    route = found.get("http_route")
    if route is None and kind == KIND_SERVER and "url_path" in found and name in (method, f"HTTP {method}"):
        route = template_path(found["url_path"])
    if route:
        return f"{method} {route}" if method else route
    return template_path(name) if "/" in name else name


def _host(url: str) -> str | None:
    """Host and port of a whole URL; None for a path."""
    _, found, rest = url.partition("://")
    return re.split(r"[/?#]", rest, maxsplit=1)[0].rpartition("@")[2] or None if found else None


#: ``/package.Service/Method``: neither part may be what identifies one thing in a raw path.
_GRPC_NAME = re.compile(r"^/(?:(?:[A-Za-z_]\w*\.)+[A-Za-z_]\w*|[A-Z]\w*)/[A-Za-z_]\w*$")


def meaning(found: Mapping[str, str], kind: int, name: str) -> Meaning:
    """Resolve one combination of attribute values (`SPAN_ATTRIBUTES` meanings), kind and span name.

    Peers resolve by ``service.peer.name``, ``peer.service``, ``server.address``,
    ``network.peer.address``, then the database, destination or RPC service they name.
    """
    peer = found.get("peer") or found.get("address")
    if "db_system" in found and kind in (KIND_CLIENT, KIND_INTERNAL, KIND_UNSPECIFIED):
        peer, operation = _database(found, name)
        return Meaning(CLASS_DB, MSG_NONE, peer, operation)
    if (
        "messaging_system" in found
        or "messaging_destination" in found
        or kind in (KIND_PRODUCER, KIND_CONSUMER)
    ):
        says = _MESSAGING.get(found.get("messaging_operation", "").lower(), MSG_NONE)
        if says == MSG_NONE and kind == KIND_PRODUCER:
            says = MSG_SEND
        topic = found.get("messaging_destination") or found.get("messaging_system") or peer
        if kind == KIND_CONSUMER and topic and says in (MSG_NONE, MSG_PROCESS, MSG_RECEIVE):
            return Meaning(CLASS_MESSAGING, says, topic, f"process {topic}" if says != MSG_RECEIVE else name)
        return Meaning(CLASS_MESSAGING, says, topic, name)
    if "rpc_system" in found or "rpc_method" in found or found.get("component", "").lower() == "grpc" or (
        _GRPC_NAME.match(name) and "http_method" not in found
    ):  # fmt: skip
        return Meaning(CLASS_RPC, MSG_NONE, peer or found.get("rpc_service"), _rpc_operation(found, name))
    if "http_method" in found or "http_route" in found or "url_path" in found:
        host = peer or _host(found.get("url_path", ""))
        return Meaning(CLASS_HTTP, MSG_NONE, host, _http_operation(found, name, kind))
    return Meaning(CLASS_NONE, MSG_NONE, peer, template_path(name) if name.startswith("/") else name)
