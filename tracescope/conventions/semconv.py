"""OpenTelemetry's attribute names, old and new, and what they say about a span.

Tables, and pure functions over the few values they yield.  A library upgrade renames attributes;
read as one, it does not look like growth.  What becomes an operation is templated by
`tracescope.conventions.operations`: no literal is ever an operation.

Source: OpenTelemetry semantic conventions 1.20 to 1.38 (HTTP, RPC, database, messaging, GraphQL, FaaS,
generative AI, AWS, peer, resource), with the names they replaced; OpenTracing's and Zipkin's tags; task
names as the instrumentations of Celery, Sidekiq, Resque, Delayed Job, BullMQ and Oban write them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from tracescope.conventions.identity import NO_NAMES, Names, database_of, peer_of, split_topic, topic_of
from tracescope.conventions.lifetimes import LIFE_ATTRIBUTES, brought_nothing, life
from tracescope.conventions.operations import (
    COMMANDS,
    summarise_query,
    template_declared,
    template_name,
    template_path,
    template_route,
)
from tracescope.conventions.outcomes import OUTCOME_ATTRIBUTES, says_failed
from tracescope.schema import (
    CLASS_DB,
    CLASS_GRAPHQL,
    CLASS_HTTP,
    CLASS_MESSAGING,
    CLASS_MODEL,
    CLASS_NONE,
    CLASS_RPC,
    CLASS_SIDECAR,
    CLASS_TRANSPORT,
    KIND_CLIENT,
    KIND_CONSUMER,
    KIND_INTERNAL,
    KIND_PRODUCER,
    KIND_SERVER,
    KIND_UNSPECIFIED,
    LIFE_SCHEDULED,
    MSG_EMPTY,
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
        "server.address", "net.peer.name", "http.host", "net.sock.peer.name", "peer.hostname", "peer.address",
    ),
    "port": ("server.port", "net.peer.port", "peer.port"),
    "network": ("network.peer.address", "net.peer.ip", "net.sock.peer.addr", "peer.ipv4", "peer.ipv6"),
    "network_port": ("network.peer.port", "net.sock.peer.port"),
    "own_name": ("net.host.name",),
    "proxy": ("node_id", "upstream_cluster", "upstream_cluster.name"),
    "db_system": ("db.system.name", "db.system", "db.type"),
    "db_namespace": (
        "db.namespace", "db.name", "db.instance", "db.redis.database_index", "db.mongodb.database",
    ),
    "db_collection": (
        "db.collection.name", "db.sql.table", "db.mongodb.collection", "db.cassandra.table",
        "db.cosmosdb.container", "aws.dynamodb.table_names", "db.elasticsearch.path_parts.index",
    ),
    "db_operation": ("db.operation.name", "db.operation"),
    "db_summary": ("db.query.summary",),
    "db_text": (
        "db.query.text", "db.statement", "sql.query", "db.sql.query", "db.query", "sql", "cassandra.query",
        "cql.query", "mongodb.query", "elasticsearch.body", "db.elasticsearch.body",
        "jdbc.query[0]", "jdbc.query",
    ),
    "messaging_system": ("messaging.system",),
    "messaging_destination": (
        "messaging.destination.template", "messaging.destination.name", "messaging.destination",
        "messaging.kafka.topic", "message_bus.destination", "messaging.bullmq.queue.name",
        "bullmq.queue.name",
        "aws.sqs.queue.url", "aws.sqs.queue_url", "aws.queue_url", "aws.queue.url", "aws.sns.topic.arn",
        "aws.kinesis.stream_name", "aws.stream_name", "symfony.messenger.transport",
    ),
    "messaging_operation": (
        "messaging.operation.type", "messaging.operation", "messaging.operation.name", "celery.action",
    ),
    "messaging_source": ("messaging.source.name", "messaging.source"),
    "messaging_routing_key": (
        "messaging.rabbitmq.destination.routing_key", "messaging.rabbitmq.routing_key",
    ),
    "task": (
        "celery.task_name", "messaging.sidekiq.job_class", "messaging.resque.job_class",
        "messaging.delayed_job.name", "messaging.active_job.job_class", "messaging.bullmq.job.name",
        "messaging.bull.job.name", "bull.job.name", "messaging.oban.worker", "oban.job.worker",
        "messaging.rq.job_name", "messaging.dramatiq.actor_name", "messaging.message.job_name",
        "bullmq.job.name", "messaging.socket.io.event_name", "messaging.symfony.message",
        "symfony.messenger.message", "nservicebus.enclosed_message_types",
    ),
    "job_class": ("code.namespace",),  # of Active Job, which names jobs so
    "rpc_system": ("rpc.system.name", "rpc.system"),
    "rpc_service": ("rpc.service",),
    "rpc_method": ("rpc.method", "grpc.method"),
    "http_method": ("http.request.method", "http.method"),
    "http_route": ("http.route", "url.template"),
    "url_path": ("url.path", "http.target", "url.full", "http.url"),
    "component": ("component",),
    "own_address": ("net.host.ip",),  # the sender's, as the Collector notes a Zipkin endpoint's
    "graphql_name": ("graphql.operation.name", "selected_operation_name"),
    "graphql_type": ("graphql.operation.type", "graphql.operation.kind", "selected_operation_type"),
    "graphql_document": ("graphql.document", "graphql.source"),
    "faas_invoked": ("faas.invoked_name", "aws.lambda.function.name"),
    "faas_provider": ("faas.invoked_provider",),
    "faas_name": ("faas.name", "aws.lambda.invoked_arn", "faas.id"),
    "gen_ai_provider": ("gen_ai.provider.name", "gen_ai.system"),
    "gen_ai_operation": ("gen_ai.operation.name", "llm.request.type"),
    "gen_ai_target": (
        "gen_ai.request.model", "gen_ai.response.model", "gen_ai.tool.name", "gen_ai.agent.name",
    ),
    "aws_target": (
        "aws.s3.bucket", "aws.bucket.name", "aws.secretsmanager.secret.arn",
        "aws.step_functions.state_machine.arn",
    ),
    **LIFE_ATTRIBUTES,
    **OUTCOME_ATTRIBUTES,
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

#: Meanings that say something of calls only: of a SERVER they are its client's address and passing port.
OF_CALLS: Final = ("port", "network", "network_port")
#: Meanings whose values differ from call to call until they are folded: as paths, or as queries.
FOLDED_PATHS: Final = ("url_path",)
FOLDED_QUERIES: Final = ("db_text", "graphql_document")

_MESSAGING: Final = {
    "send": MSG_SEND, "create": MSG_SEND, "publish": MSG_SEND, "apply_async": MSG_SEND,
    "receive": MSG_RECEIVE, "poll": MSG_RECEIVE,
    "process": MSG_PROCESS, "deliver": MSG_PROCESS, "run": MSG_PROCESS,
    "settle": MSG_SETTLE, "ack": MSG_SETTLE,
}  # fmt: skip
#: What the methods of queues that are called like any service do, by their names' beginnings.
_QUEUE_METHODS: Final = (
    ("Send", MSG_SEND), ("Publish", MSG_SEND), ("PutRecord", MSG_SEND), ("Receive", MSG_RECEIVE),
    ("GetRecords", MSG_RECEIVE), ("Delete", MSG_SETTLE), ("ChangeMessageVisibility", MSG_SETTLE),
)  # fmt: skip
#: Systems that call a handler for each message: nobody polls them, whatever their operation is called.
_PUSHES: Final = frozenset({"socket.io"})
#: Databases whose clients name spans by the command and the key it is about.
_KEY_VALUE: Final = frozenset({"redis", "valkey", "memcached", "keydb", "dragonfly", "etcd"})


@dataclass(frozen=True, slots=True)
class Meaning:
    """What a span's attributes say: class, messaging operation, peer (None: unnamed), operation, outcome."""

    edge_class: int
    messaging_op: int
    peer: str | None
    operation: str
    failed: bool = False


def _joined(*parts: str | None) -> str:
    return " ".join(part for part in parts if part)


#: What kind of thing an ARN names, where it says so before the name.
_ARN_KIND = re.compile(r"^(?:function|secret|stateMachine|execution|express|stream|table|rule|event-bus)[:/]")


def _last_of_name(text: str) -> str:
    """What a URL or an ARN names at its end: a queue, a topic, a function, a secret."""
    if text.startswith("arn:"):
        return re.split("[:/]", _ARN_KIND.sub("", text.split(":", 5)[-1]))[0]
    return text.rstrip("/").rpartition("/")[2] if "://" in text else text


def _collections(text: str) -> str:
    """Tables of one call, in an order of their own: a list's order is the caller's.

    Where attributes are of one value each, as in Jaeger, a list is written as JSON.
    """
    if text.startswith("[") and text.endswith("]"):
        text = text[1:-1].replace('"', "")
    return ", ".join(sorted({template_declared(name.strip()) for name in text.split(",")}))


def _database_operation(attributes: Mapping[str, str], name: str) -> str:
    verb, collection = attributes.get("db_operation"), attributes.get("db_collection")
    collection = _collections(collection) if collection else None
    if verb:
        verb = template_name(verb, database=True)
        return _joined(verb, collection if collection not in verb.split() else None)
    if summary := attributes.get("db_summary"):  # as its name says, unless somebody puts a statement there
        whole = any(mark in summary for mark in "'=(*")
        return template_name(summary, database=True) if whole else template_declared(summary)
    if text := attributes.get("db_text"):
        said = summarise_query(text)
        return f"PREPARE {said}" if _PREPARES.search(name) else said
    command = re.split(r"[\s:]", name, maxsplit=1)[0].upper()
    if attributes.get("db_system", "").lower() in _KEY_VALUE and command in COMMANDS:
        return command
    name = template_name(name, database=True)
    return _joined(name, collection if collection not in re.split(r"[\s.]", name) else None)


#: Names of what sends a statement that is asked later, or never: the same text, and no query yet.
_PREPARES: Final = re.compile(r"(?:::|\.|->)prepare$", re.IGNORECASE)

#: Commands that wait until something comes: a worker's poll, which nobody waits for.
_BLOCKING: Final = frozenset(
    {
        "BLPOP", "BRPOP", "BRPOPLPUSH", "BLMOVE", "BLMPOP", "BZPOPMIN", "BZPOPMAX", "BZMPOP", "XREADGROUP",
        "XREAD", "SUBSCRIBE", "PSUBSCRIBE", "SSUBSCRIBE", "LISTEN",
    }
)  # fmt: skip

#: Operation of what waits for a connection, out of a pool or a new one, and asks nothing yet.
ACQUIRE: Final = "wait for a connection"
#: Callee of what waits for a connection and does not say to which database.
POOL: Final = "connection pool"

_WORDS = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")
_POOLS: Final = frozenset({"pool", "pooled", "datasource", "hikari", "dbcp", "deadpool", "pgbouncer"})
_DRIVERS: Final = frozenset(
    {
        "asyncpg", "aiomysql", "aiopg", "psycopg", "pgx", "sqlx", "sqlalchemy", "npgsql", "redis", "lettuce",
        "jedis", "mongo", "mongodb", "jdbc", "db", "database", "sql", "ecto", "knex", "sequelize", "prisma",
        "tarn",
    }
)  # fmt: skip
_LOCKS: Final = frozenset({"lock", "locks", "mutex", "semaphore", "redlock", "lease"})
_TAKES: Final = frozenset({"acquire", "checkout", "borrow", "lease", "wait", "take", "obtain", "get"})


def _acquires(attributes: Mapping[str, str], kind: int, name: str) -> bool:
    """Whether a span waits for a connection: its name says so, and it asks nothing."""
    if kind not in (KIND_CLIENT, KIND_INTERNAL, KIND_UNSPECIFIED) or len(name) > 80:
        return False
    if not attributes.keys().isdisjoint(_ASKS):
        return False
    words = [word.lower() for word in _WORDS.findall(name)]
    if not _LOCKS.isdisjoint(words):
        return False
    if words[-2:] == ["check", "out"]:
        words[-2:] = ["checkout"]
    if words[-1:] in (["connection"], ["conn"], ["object"], ["client"]):
        verb, of_pool = words[-2:-1], True
    else:
        verb, of_pool = words[-1:], False
    pooled = not _POOLS.isdisjoint(words) or ("data" in words and "source" in words)
    if verb in (["connect"], ["dial"]):  # to a pool, or as the driver says for a new one
        return not of_pool and (pooled or "db_system" in attributes)
    if words[-2:] == ["engine", "connection"]:  # Prisma's
        return True
    if not verb or verb[0] not in _TAKES:
        return False
    known = "db_system" in attributes or not _DRIVERS.isdisjoint(words)
    return pooled or (known and (of_pool or verb[0] in ("acquire", "checkout")))


#: Meanings beside which a function's provider says nothing of what is called.
_SAYS_MORE: Final = frozenset({"faas_invoked", "http_method", "url_path", "messaging_system"})
#: Meanings of which each alone says that a span is of a remote call.
_RPC: Final = frozenset({"rpc_system", "rpc_service", "rpc_method"})
#: Meanings of what asks something, rather than waiting to be able to.
_ASKS: Final = frozenset(
    {"db_text", "db_summary", "db_operation", "http_method", "rpc_method", "messaging_system", "url_path"}
)

#: What spans of every function are called by hosts that name the function beside.
_INVOKES: Final = frozenset({"Invoke", "invoke", "Execute"})

#: How Envoy's node or cluster tells a proxy beside an application from one that stands for itself.
_SIDECAR = re.compile(r"sidecar|^(?:in|out)bound\|")

#: How names of spans of sockets, handshakes and look-ups begin, as runtimes and HTTP clients report them.
_TRANSPORT_NAME = re.compile(
    r"^(?:dns|tcp|tls|ssl|socket|ipc|net|quic)[. _:/-]"
    r"(?:lookup|resolve|query|connect|connection|handshake|dial|client handshake)\b"
    r"|^http[.](?:getconn|dns|connect|tls|send|receive|headers)$"
    r"|^HTTP (?:connection_setup|wait_for_connection)\b"
    r"|^(?:RESOLVE|getaddrinfo|connect|dial)$",
    re.IGNORECASE,
)


def _rpc_operation(attributes: Mapping[str, str], name: str) -> str:
    """``package.Service/Method``, whichever of the attributes hold it, or the span's name."""
    service, method = attributes.get("rpc_service"), attributes.get("rpc_method")
    whole = method.lstrip("/").removeprefix("twirp/") if method else ""
    if service and method and "/" not in whole:
        whole = f"{service}/{method}"
    if whole:
        return template_declared(whole)
    return template_name(name.lstrip("/").removeprefix("twirp/"))


#: What proxies call every request that they let in, whatever it asks for.
_PLACES: Final = ("ingress", "inbound")


def _http_operation(attributes: Mapping[str, str], name: str, kind: int) -> str:
    method = attributes.get("http_method")
    route = attributes.get("http_route")
    if route:
        return _joined(method, template_route(route))
    if kind == KIND_SERVER and "url_path" in attributes and name in (method, f"HTTP {method}", *_PLACES):
        return _joined(method, template_path(attributes["url_path"]))
    return template_name(name)


#: ``/package.Service/Method``: neither part may be what identifies one thing in a raw path.
_GRPC_NAME = re.compile(r"^/(?:twirp/)?(?:(?:[A-Za-z_]\w*\.)+[A-Za-z_]\w*|[A-Z]\w*)/[A-Za-z_]\w*$")
_GRAPHQL_HEAD = re.compile(r"\s*(query|mutation|subscription)\b\s*([A-Za-z_]\w*)?")


def _graphql_operation(attributes: Mapping[str, str]) -> str:
    """Type and name of a GraphQL operation, from its document's head where nothing else says them."""
    head = _GRAPHQL_HEAD.match(attributes.get("graphql_document", ""))
    kind, name = (head.group(1), head.group(2)) if head else (None, None)
    if head is None and attributes.get("graphql_document", "").lstrip().startswith("{"):
        kind = "query"
    said = _joined(attributes.get("graphql_type") or kind, attributes.get("graphql_name") or name)
    return template_declared(said)


def _graphql(attributes: Mapping[str, str], kind: int, name: str, names: Names) -> Meaning | None:
    """A GraphQL operation: on the HTTP span itself, or on a span of the engine within it."""
    said = "graphql_name" in attributes or "graphql_type" in attributes or "graphql_document" in attributes
    operation = _graphql_operation(attributes) if said else ""
    if not operation:
        return None
    peer = peer_of(attributes, kind, names)
    if kind == KIND_CLIENT or "http_method" in attributes or "http_route" in attributes:
        if "http_method" in attributes or "http_route" in attributes:
            operation = f"{_http_operation(attributes, name, kind)} {operation}"
        return Meaning(CLASS_HTTP, MSG_NONE, peer, operation)
    return Meaning(CLASS_GRAPHQL, MSG_NONE, peer, operation)


def _task_of(attributes: Mapping[str, str]) -> str | None:
    """What a job or a typed message is called; of a .NET type the name, of several the first."""
    of_job = "job_class" if attributes.get("messaging_system") == "active_job" else "task"
    said = attributes.get("task") or attributes.get(of_job)
    return (
        template_declared(re.split("[,;]", said.lstrip('["'), maxsplit=1)[0].rstrip(']" ')) if said else None
    )


def _message(attributes: Mapping[str, str], kind: int, name: str, names: Names) -> Meaning:
    """A span that publishes, waits for, works on or settles messages."""
    says = _MESSAGING.get(attributes.get("messaging_operation", "").lower(), MSG_NONE)
    if says == MSG_RECEIVE and attributes.get("messaging_system", "").lower() in _PUSHES:
        says = MSG_PROCESS
    if says == MSG_NONE and kind == KIND_CLIENT:
        method = attributes.get("rpc_method", "")
        says = next((op for beginning, op in _QUEUE_METHODS if method.startswith(beginning)), MSG_NONE)
    if says == MSG_NONE and kind == KIND_PRODUCER:
        says = MSG_SEND
    topic = topic_of(attributes, kind, names)
    said = template_declared(split_topic(topic)[0]) if topic else ""
    if topic is None and kind not in (KIND_PRODUCER, KIND_CONSUMER):
        topic = attributes.get("messaging_system") or peer_of(attributes, kind, names)
    task = _task_of(attributes)
    if kind == KIND_CONSUMER and says in (MSG_NONE, MSG_PROCESS) and (task or topic):
        return Meaning(CLASS_MESSAGING, says, topic, f"process {task or said}")
    if task and says == MSG_PROCESS:
        return Meaning(CLASS_MESSAGING, says, topic, f"process {task}")
    return Meaning(CLASS_MESSAGING, says, topic, template_name(name))


def _is_message(attributes: Mapping[str, str], kind: int) -> bool:
    if kind in (KIND_PRODUCER, KIND_CONSUMER) or "messaging_system" in attributes:
        return True
    if "messaging_destination" not in attributes:
        return False
    method = attributes.get("rpc_method")  # a queue's API has calls that move no message
    return method is None or method.startswith(tuple(beginning for beginning, _ in _QUEUE_METHODS))


#: What a generative model is asked for, rather than an agent or a tool.
_OF_MODELS: Final = frozenset({"chat", "text_completion", "generate_content", "embeddings", "completion"})


def _called(attributes: Mapping[str, str], kind: int, name: str, names: Names) -> Meaning | None:
    """Calls that name what they reach otherwise than by address: functions and models."""
    peer = attributes.get("peer")
    if kind == KIND_CLIENT and "faas_provider" in attributes and attributes.keys().isdisjoint(_SAYS_MORE):
        provider = attributes["faas_provider"]
        return Meaning(CLASS_RPC, MSG_NONE, peer_of(attributes, kind, names, provider), template_name(name))
    if kind == KIND_CLIENT and "faas_invoked" in attributes:
        function = template_declared(_last_of_name(attributes["faas_invoked"]))
        known = "rpc_method" in attributes
        operation = _joined(_rpc_operation(attributes, name) if known else "invoke", function)
        return Meaning(CLASS_RPC, MSG_NONE, peer or function, operation)
    if "gen_ai_operation" in attributes or "gen_ai_provider" in attributes:
        operation = attributes.get("gen_ai_operation")
        target = attributes.get("gen_ai_target")
        said = template_declared(_joined(operation, target)) if operation else template_name(name)
        asks = kind == KIND_CLIENT or (kind != KIND_SERVER and operation in _OF_MODELS)
        provider = attributes.get("gen_ai_provider", "").lower()  # older libraries write it as a title
        peer = peer_of(attributes, kind, names, provider or None) if asks else peer
        return Meaning(CLASS_MODEL if asks else CLASS_NONE, MSG_NONE, peer, said)
    return None


def meaning(attributes: Mapping[str, str], kind: int, name: str, names: Names = NO_NAMES) -> Meaning:
    """`_meaning`, and how the span lives (`lifetimes`) and ended (`outcomes`)."""
    said = _meaning(attributes, kind, name, names)
    if says_failed(attributes, kind):
        said = replace(said, failed=True)
    if said.messaging_op == MSG_RECEIVE and brought_nothing(attributes):
        return replace(said, messaging_op=MSG_EMPTY)
    if said.messaging_op != MSG_NONE:
        return said
    if said.edge_class == CLASS_DB and said.operation.partition(" ")[0].upper() in _BLOCKING:
        return replace(said, messaging_op=LIFE_SCHEDULED)
    return replace(said, messaging_op=life(attributes, kind, name, said.edge_class == CLASS_NONE))


def _meaning(attributes: Mapping[str, str], kind: int, name: str, names: Names) -> Meaning:
    """Resolve one combination of attribute values (`SPAN_ATTRIBUTES` meanings), kind and span name.

    Peers resolve by ``service.peer.name``, ``peer.service``, ``server.address``, the URL,
    ``network.peer.address``, then the database, destination or RPC service they name; see
    `tracescope.conventions.identity`.  `names` is what a team calls an address.
    """
    if said := _graphql(attributes, kind, name, names):
        return said
    if _acquires(attributes, kind, name):
        peer = database_of(attributes, kind, names) if "db_system" in attributes else POOL
        return Meaning(CLASS_DB, MSG_NONE, peer, ACQUIRE)
    if ("db_system" in attributes or "db_text" in attributes) and kind in (
        KIND_CLIENT,
        KIND_INTERNAL,
        KIND_UNSPECIFIED,
    ):
        return Meaning(
            CLASS_DB, MSG_NONE, database_of(attributes, kind, names), _database_operation(attributes, name)
        )
    if said := _called(attributes, kind, name, names):
        return said
    if _is_message(attributes, kind):
        return _message(attributes, kind, name, names)
    grpc = attributes.get("component", "").lower() == "grpc"
    if not attributes.keys().isdisjoint(_RPC) or grpc or (
        _GRPC_NAME.match(name) and "http_method" not in attributes
    ):  # fmt: skip
        target = (
            template_declared(_last_of_name(attributes["aws_target"])) if "aws_target" in attributes else None
        )
        operation = _joined(_rpc_operation(attributes, name), target)
        peer = peer_of(attributes, kind, names, attributes.get("rpc_service"))
        return Meaning(CLASS_RPC, MSG_NONE, peer, operation)
    peer = peer_of(attributes, kind, names)
    if "http_method" in attributes or "http_route" in attributes or "url_path" in attributes:
        edge_class = CLASS_SIDECAR if _SIDECAR.search(attributes.get("proxy", "")) else CLASS_HTTP
        return Meaning(edge_class, MSG_NONE, peer, _http_operation(attributes, name, kind))
    if _TRANSPORT_NAME.match(name) and kind in (KIND_CLIENT, KIND_INTERNAL, KIND_UNSPECIFIED):
        return Meaning(CLASS_TRANSPORT, MSG_NONE, peer, template_name(name))
    if "faas_name" in attributes and (name in _INVOKES or (kind == KIND_SERVER and not name)):
        name = _last_of_name(attributes["faas_name"])
    return Meaning(CLASS_NONE, MSG_NONE, peer, template_name(name))
