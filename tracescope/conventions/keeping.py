"""Which attributes are kept: what the conventions know to be harmless, plain words, what settings say.

Judged by key, once for each, in this order:

    drop_attributes   cut          a setting; wins over everything
    keep_attributes   kept         a setting
    known             kept         names of the conventions that hold no literal, and no map
    URLs              kept         while they have no query, fragment, parameter or user
    sensitive         cut          query texts, headers, bodies, prompts, messages, people, secrets, ...
    any other         kept         while the value is a truth value, a small number or a short plain word

Keys inside maps are judged likewise: a map with a key that is cut is cut as a whole; and so are names of
events.  What is cut is still
read for the names of edges: of a query its summary stays, of a path its template.

Source: OpenTelemetry semantic conventions and the names they replaced; OpenTracing, Zipkin, OpenInference
and vendors' names of the same things.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from enum import IntEnum
from functools import lru_cache
from typing import Final, NamedTuple


class Verdict(IntEnum):
    """What is done with an attribute of some key; the wire kernel knows these numbers."""

    KNOWN = 0
    CUT = 1
    CUT_WITH_QUERY = 2
    PLAIN_ONLY = 3
    KEPT = 4


class Policy(NamedTuple):
    """Patterns of keys that settings add: `drop` wins over `keep`, and both over what is built in.

    A pattern is a key in which ``*`` stands for any characters, case apart.  `names` are pairs of an address,
    in lower case, and what it is called.
    """

    drop: tuple[str, ...] = ()
    keep: tuple[str, ...] = ()
    names: tuple[tuple[str, str], ...] = ()


DEFAULT: Final = Policy()

#: Keys of the conventions whose values name kinds of things.
KNOWN: Final = frozenset((
    "aws.dynamodb.table_names", "aws.ecs.task.family", "aws.kinesis.stream_name",
    "aws.lambda.function.name", "aws.operation", "aws.region", "aws.s3.bucket", "aws.service",
    "celery.action", "celery.state", "celery.task_name", "cloud.availability_zone", "cloud.platform",
    "cloud.provider", "cloud.region", "code.column", "code.column.number", "code.file.path",
    "code.filepath", "code.function", "code.function.name", "code.line.number", "code.lineno",
    "code.namespace", "component", "container.image.name", "container.image.tag", "container.image.tags",
    "container.name", "container.runtime", "db.cassandra.consistency_level", "db.cassandra.page_size",
    "db.cassandra.table", "db.client.connection.pool.name", "db.client.connection.state",
    "db.collection.name", "db.connection.pool.name", "db.cosmosdb.container", "db.cosmosdb.operation_type",
    "db.instance", "db.mongodb.collection", "db.mongodb.database", "db.name", "db.namespace",
    "db.operation", "db.operation.batch.size", "db.operation.name", "db.query.summary",
    "db.redis.database_index", "db.response.returned_rows", "db.response.status_code", "db.sql.table",
    "db.stored_procedure.name", "db.system", "db.system.name", "db.type", "deployment.environment",
    "deployment.environment.name", "dns.question.name", "error.type", "event.name", "exception",
    "exception.escaped",
    "exception.type", "faas.coldstart", "faas.cron", "faas.document.collection", "faas.document.operation",
    "faas.invoked_name", "faas.invoked_provider", "faas.invoked_region", "faas.max_memory", "faas.name",
    "faas.trigger", "faas.version", "feature_flag.key", "feature_flag.provider.name",
    "feature_flag.provider_name", "feature_flag.result.reason", "feature_flag.result.variant",
    "feature_flag.variant", "gen_ai.agent.name", "gen_ai.operation.name", "gen_ai.output.type",
    "gen_ai.provider.name", "gen_ai.request.choice.count", "gen_ai.request.frequency_penalty",
    "gen_ai.request.max_tokens", "gen_ai.request.model", "gen_ai.request.presence_penalty",
    "gen_ai.request.temperature", "gen_ai.request.top_k", "gen_ai.request.top_p",
    "gen_ai.response.finish_reasons", "gen_ai.response.model", "gen_ai.system", "gen_ai.tool.name",
    "gen_ai.tool.type", "gen_ai.usage.completion_tokens", "gen_ai.usage.input_tokens",
    "gen_ai.usage.output_tokens", "gen_ai.usage.prompt_tokens", "graphql.operation.name",
    "graphql.operation.type", "grpc.method", "grpc.status_code", "host.arch", "host.id", "host.name",
    "host.type", "hostname", "http.flavor", "http.host", "http.method", "http.request.body.size",
    "http.request.method", "http.request.method_original", "http.request.resend_count",
    "http.request.size", "http.request_content_length", "http.request_content_length_uncompressed",
    "http.resend_count", "http.response.body.size", "http.response.size", "http.response.status_code",
    "http.response_content_length", "http.response_content_length_uncompressed", "http.route",
    "http.scheme", "http.server_name", "http.status_code", "http.status_text", "http.user_agent",
    "instance", "internal.span.format", "k8s.cluster.name", "k8s.container.name", "k8s.cronjob.name",
    "k8s.daemonset.name", "k8s.deployment.name", "k8s.job.name", "k8s.namespace.name", "k8s.node.name",
    "k8s.pod.name", "k8s.replicaset.name", "k8s.statefulset.name", "level", "message_bus.destination",
    "messaging.batch.message_count", "messaging.bullmq.job.name", "messaging.bullmq.queue.name",
    "messaging.consumer.group.name", "messaging.consumer_group", "messaging.delayed_job.name",
    "messaging.destination", "messaging.destination.anonymous", "messaging.destination.kind",
    "messaging.destination.name", "messaging.destination.partition.id",
    "messaging.destination.subscription.name", "messaging.destination.template",
    "messaging.destination.temporary", "messaging.destination_kind", "messaging.destination_publish.name",
    "messaging.kafka.consumer.group", "messaging.kafka.consumer_group",
    "messaging.kafka.destination.partition", "messaging.kafka.offset", "messaging.kafka.partition",
    "messaging.kafka.topic", "messaging.message.body.size", "messaging.message.envelope.size",
    "messaging.message.payload_compressed_size_bytes", "messaging.message.payload_size_bytes",
    "messaging.message_payload_size_bytes", "messaging.oban.worker", "messaging.operation",
    "messaging.operation.name", "messaging.operation.type", "messaging.protocol",
    "messaging.rabbitmq.destination.routing_key", "messaging.rabbitmq.routing_key",
    "messaging.resque.job_class", "messaging.sidekiq.job_class", "messaging.system",
    "net.app.protocol.name", "net.app.protocol.version", "net.host.connection.type", "net.host.name",
    "net.host.port", "net.peer.ip", "net.peer.name", "net.peer.port", "net.protocol.name",
    "net.protocol.version", "net.sock.family", "net.sock.host.addr", "net.sock.host.port",
    "net.sock.peer.addr", "net.sock.peer.name", "net.sock.peer.port", "net.transport",
    "network.connection.type", "network.io.direction", "network.local.address", "network.local.port",
    "network.peer.address", "network.peer.port", "network.protocol.name", "network.protocol.version",
    "network.transport", "network.type", "oban.job.worker", "os.type", "os.version", "otel.library.name",
    "otel.library.version", "otel.scope.name", "otel.scope.version", "otel.status_code", "peer.address",
    "peer.hostname", "peer.ipv4", "peer.ipv6", "peer.port", "peer.service", "process.executable.name",
    "process.pid", "process.runtime.name", "process.runtime.version", "rpc.connect_rpc.error_code",
    "rpc.grpc.status_code", "rpc.jsonrpc.error_code", "rpc.jsonrpc.version", "rpc.message.compressed_size",
    "rpc.message.id", "rpc.message.type", "rpc.message.uncompressed_size", "rpc.method",
    "rpc.method_original", "rpc.response.status_code", "rpc.service", "rpc.system", "rpc.system.name",
    "sampler.param", "sampler.type", "server.address", "server.port", "service.instance.id",
    "service.name", "service.namespace", "service.peer.name", "service.version", "span.kind",
    "telemetry.auto.version", "telemetry.distro.name", "telemetry.distro.version",
    "telemetry.sdk.language", "telemetry.sdk.name", "telemetry.sdk.version", "thread.id", "thread.name",
    "tls.cipher", "tls.protocol.name", "tls.protocol.version", "tls.resumed", "url.domain",
    "url.extension", "url.port", "url.scheme", "url.template", "user_agent.original", "webengine.name",
    "webengine.version",
))  # fmt: skip

#: Keys whose values are URLs or parts of them.
URLS: Final = frozenset((
    "http.target", "http.url", "http.path", "url.full", "url.original", "url.path", "aws.queue_url",
    "aws.queue.url", "aws.sqs.queue.url", "aws.sqs.queue_url", "messaging.url", "peer.url",
))  # fmt: skip

#: Patterns of keys whose values may be anybody's business; keys of `KNOWN` are not meant.
SENSITIVE: Final = (
    # what is said to databases and caches
    "db.*", "*sql*", "*query*", "*statement*", "*command*", "redis.*", "mongodb.*", "cassandra.*",
    "cql.*", "elasticsearch.*", "jdbc.*", "neo4j.*", "aws.dynamodb.*", "aws.s3.*", "*.key", "*.keys",
    "*cache_key*",
    # what is asked of models and of GraphQL
    "gen_ai.*", "llm.*", "ai.*", "langchain.*", "traceloop.*", "openai.*", "anthropic.*", "*prompt*",
    "*completion*", "graphql.*", "*document*", "*variables*", "input", "output", "*input.*", "*output.*",
    "*.input", "*.output",
    # what is sent and answered
    "*header*", "*body*", "*payload*", "*content*", "*metadata*", "*param*", "*argument*", "*args*",
    "*argv*", "*request.data*", "*response.data*", "*fragment*", "*referer*", "*referrer*",
    "*form*data*",
    # what went wrong, in words
    "exception.*", "error.*", "*message", "*message.*", "*msg*", "*stack*", "*traceback*", "*reason*",
    "log.*", "*status_description*", "*description*", "event",
    # what goes along
    "*baggage*", "*environment_variable*", "*.env.*", "*cmdline*", "*command_line*",
    # who it is about
    "user", "*user.*", "*user_*", "*_user", "*userid*", "*username*", "*login*", "*account*",
    "*customer*", "*person*", "*patient*", "*member*", "*session*", "client.*", "*client_ip*",
    "*client_addr*", "source.*", "*remote_addr*", "*remote_ip*", "*forwarded*", "*email*", "*e_mail*",
    "*phone*", "*mobile_number*", "*ssn*", "*birth*", "*passport*", "*iban*", "*card*", "*cvv*", "*cvc*",
    "*first_name*", "*last_name*", "*full_name*", "*fullname*", "*street*", "*postal*", "*zip_code*",
    "geo.*", "*latitude*", "*longitude*", "*device.id*",
    # what opens doors
    "*passw*", "*passphrase*", "*pwd*", "*secret*", "*token*", "*authori*", "*authent*", "*auth.*",
    "auth", "*cookie*", "*credential*", "*api_key*", "*api-key*", "*apikey*", "*access_key*",
    "*accesskey*", "*private_key*", "*privatekey*", "*connection_string*", "*connectionstring*",
    "*conn_str*", "*dsn*", "*jwt*", "*bearer*", "*signature*", "*otp*", "*pin", "*salt*", "*nonce*",
    "*csrf*", "*xsrf*", "*certificate*", "*.hash",
)  # fmt: skip


@lru_cache(maxsize=1024)
def _expression(pattern: str) -> re.Pattern[str]:
    text = ".*".join(re.escape(part) for part in pattern.split("*"))
    return re.compile(text, re.IGNORECASE | re.DOTALL | re.ASCII)


def matches(key: str, patterns: Iterable[str]) -> bool:
    """Whether a key matches one of some patterns."""
    return any(_expression(pattern).fullmatch(key) for pattern in patterns)


def judge(key: str, policy: Policy = DEFAULT) -> Verdict:
    """What is done with attributes of this key."""
    if matches(key, policy.drop):
        return Verdict.CUT
    if matches(key, policy.keep):
        return Verdict.KEPT
    if key in URLS:
        return Verdict.CUT_WITH_QUERY
    if key in KNOWN:
        return Verdict.KNOWN
    return Verdict.CUT if matches(key, SENSITIVE) else Verdict.PLAIN_ONLY


def rules(policy: Policy) -> list[tuple[str, Verdict]]:
    """Patterns of the keys that have no place in the tables, the first that matches wins."""
    return [
        *((pattern, Verdict.CUT) for pattern in policy.drop),
        *((pattern, Verdict.KEPT) for pattern in policy.keep),
        *((pattern, Verdict.CUT) for pattern in SENSITIVE),
    ]
