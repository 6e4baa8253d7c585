"""What a database, a queue or another system is called: two never share a name, and one never has ten.

    server.address  db-0.db.shop.svc.cluster.local   the server  db-{n}.db.shop.svc
    server.address  10.0.3.7, server.port 5432       a bare address: only where nothing else names it
    server.address  localhost, server.port 6379      localhost:6379: the host is shared

A database is ``system/namespace@server`` (or ``system/server``): two servers with one database name are
two.  What tells replicas of one thing apart (ordinals, addresses, the ends of pods' names) is a template,
so that ten shards are one node and a pod that moved is not new.  Reports show less where less will do:
`tracescope.analysis.rollups.names`.

Source: OpenTelemetry semantic conventions, ``server.address``, ``db.namespace`` and
``messaging.destination.name``; Kubernetes, DNS for Services and Pods, and names of Pods.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from ipaddress import ip_address
from typing import Final, NamedTuple

from tracescope.schema import KIND_CONSUMER, KIND_SERVER

#: What says nothing of where it is: every caller has its own.
_LOOPBACK: Final = frozenset(
    {
        "localhost", "localhost.localdomain", "ip6-localhost", "0.0.0.0", "::", "host.docker.internal",
        "gateway.docker.internal", "host.containers.internal", "kubernetes.docker.internal",
    }
)  # fmt: skip

#: Ports that say nothing beside the system or the scheme that is spoken on them.
_USUAL_PORTS: Final[dict[str, tuple[str, ...]]] = {
    "": ("80", "443"),
    "postgresql": ("5432",), "mysql": ("3306",), "mariadb": ("3306",), "redis": ("6379",),
    "valkey": ("6379",), "mongodb": ("27017",), "mssql": ("1433",), "oracle": ("1521",),
    "cassandra": ("9042",),
    "memcached": ("11211",), "elasticsearch": ("9200", "443"), "opensearch": ("9200", "443"),
    "clickhouse": ("8123", "9000", "8443"), "couchdb": ("5984",), "couchbase": ("11210",), "neo4j": ("7687",),
    "cockroachdb": ("26257",), "influxdb": ("8086",), "dynamodb": ("443",), "cosmosdb": ("443",),
    "kafka": ("9092", "9093"), "rabbitmq": ("5672", "5671"), "activemq": ("61616",), "artemis": ("61616",),
    "jms": ("61616",), "nats": ("4222",), "pulsar": ("6650", "6651"), "mqtt": ("1883", "8883"),
    "rocketmq": ("9876", "10911"), "nsq": ("4150",), "sidekiq": ("6379",), "bullmq": ("6379",),
}  # fmt: skip
#: From here on ports are handed out anew at every start, but for these.
_EPHEMERAL: Final = 32768
_NOT_EPHEMERAL: Final = ("50051",)

#: Database systems by the name that version 1.28 of the conventions gave some of them anew.
_SYSTEMS: Final = {
    "postgres": "postgresql", "microsoft.sql_server": "mssql", "sqlserver": "mssql", "oracle.db": "oracle",
    "ibm.db2": "db2", "aws.dynamodb": "dynamodb", "aws.redshift": "redshift", "azure.cosmosdb": "cosmosdb",
    "gcp.spanner": "spanner", "sap.hana": "hanadb", "sap.maxdb": "maxdb", "softwareag.adabas": "adabas",
    "intersystems.cache": "cache", "actian.ingres": "ingres", "mongo": "mongodb", "memcache": "memcached",
}  # fmt: skip
#: Databases inside the process that asks them.
EMBEDDED: Final = frozenset({"sqlite", "h2", "h2database", "hsqldb", "derby", "duckdb"})
#: Namespaces that a server has unless somebody names another.
_GENERIC: Final = frozenset(
    {
        "default",
        "postgres",
        "public",
        "main",
        "master",
        "admin",
        "test",
        "local",
        "dbo",
        "sys",
        "neo4j",
        "system",
    }
)


class Server(NamedTuple):
    """Where a call goes, as far as it is known.

    Attributes
    ----------
    text
        A name, or an address, with its port where that says something.
    named
        Whether it is a name; an address tells where something is, and not what it is.
    local
        Whether it is the caller's own host, whose ports tell its servers apart.
    """

    text: str
    named: bool = False
    local: bool = False


_PORT = re.compile(r"^(.*?):(\d{1,5})$", re.DOTALL)

#: Hosts and addresses whose reading is remembered: they come back with every request.
_REMEMBERED: Final = 16_384


@lru_cache(maxsize=_REMEMBERED)
def split_address(text: str, port: str | None = None) -> tuple[str, str | None]:
    """Host (lower case, no brackets) and port of an address as instrumentations write it."""
    text = text.strip().split(",", 1)[0].rstrip(".")
    if "://" in text:
        text = re.split(r"[/?#]", text.split("://", 1)[1], maxsplit=1)[0].rpartition("@")[2]
    if text.startswith("["):
        inside, _, rest = text[1:].partition("]")
        return inside.lower(), rest.lstrip(":") or port
    if text.count(":") == 1 and (attributes := _PORT.match(text)):
        return attributes[1].lower(), attributes[2]
    return text.lower(), port


@lru_cache(maxsize=_REMEMBERED)
def is_address(host: str) -> bool:
    """Whether a host is an IPv4 or IPv6 address rather than a name."""
    try:
        ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return True


@lru_cache(maxsize=_REMEMBERED)
def is_loopback(host: str) -> bool:
    """Whether a host is the caller's own, whoever the caller is."""
    if host in _LOOPBACK:
        return True
    return is_address(host) and ip_address(host.partition("%")[0]).is_loopback


#: Letters and digits of the random ends of pods' names.
_RANDOM = "[bcdfghjklmnpqrstvwxz2456789]"
_REGION = re.compile(
    r"^(?:us|eu|ap|sa|ca|me|af|il|mx|cn|europe|asia|africa|australia|northamerica|southamerica)"
    r"(?:-[a-z]+)+-?\d{1,2}[a-f]?$"
)
_DASHED_IP = re.compile(r"(?<![a-z0-9])(?:\d{1,3}-){3}\d{1,3}(?![a-z0-9])")
_POD = re.compile(rf"-(?:{_RANDOM}{{8,10}}|[a-f0-9]{{8,10}})-{_RANDOM}{{5}}$")
_HEX = re.compile(r"(?:^|(?<=[-_]))(?=[a-f]*\d)[0-9a-f]{8,}(?=$|[-_])")
_UUID = re.compile(r"[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}")
_ORDINAL = re.compile(r"(?<=[-_])\d+(?=$|[-_])")
_NUMBERED = re.compile(
    r"(?<![a-z0-9])(shard|node|replica|pod|instance|broker|worker|member|host|server)\d+(?=$|[-_])"
)


@lru_cache(maxsize=_REMEMBERED)
def template_host(host: str) -> str:
    """A host's name without what tells replicas of one thing apart.

    ``shard-03.db`` -> ``shard-{n}.db``, ``ip-10-0-3-7.ec2.internal`` -> ``ip-{ip}.ec2.internal``,
    ``cart-7c9f8d6b54-x2x4z`` -> ``cart-{pod}``; regions and other words with digits stay.
    """
    if host.endswith(".svc.cluster.local"):
        host = host.removesuffix(".cluster.local")
    return ".".join(_template_label(label, first=at == 0) for at, label in enumerate(host.split(".")))


def _template_label(label: str, *, first: bool) -> str:
    if label.isdigit():
        return "{n}"
    label = _DASHED_IP.sub("{ip}", _UUID.sub("{id}", label))
    if first:
        label = _POD.sub("-{pod}", label)
    elif _REGION.match(label):
        return label
    return _NUMBERED.sub(r"\1{n}", _ORDINAL.sub("{n}", _HEX.sub("{id}", label)))


#: Fields that say where a call goes, as pairs of address and port, the one that wins first.
_PLACES: Final = (("address", "port"), ("url_path", ""), ("network", "network_port"))

Names = Mapping[str, str]
#: Nobody says what an address is.
NO_NAMES: Final[Names] = {}


def server_of(attributes: Names, kind: int, names: Names = NO_NAMES, system: str = "") -> Server | None:
    """Where a call goes: the first name that a span's attributes give, else the first bare address.

    Parameters
    ----------
    attributes
        Values by their meanings (`tracescope.conventions.semconv.SPAN_ATTRIBUTES`).
    kind
        KIND_* of the span; what serves a call stands where it says itself.
    names
        What a team calls an address: ``host:port`` or ``host``, in lower case.
    system
        The database system whose usual port says nothing.
    """
    if given := attributes.get("peer"):
        return Server(given, named=True)
    bare: Server | None = None
    for place, port in _PLACES:
        text = None if kind == KIND_SERVER and place == "network" else attributes.get(place)
        if not text or (place == "url_path" and "://" not in text):
            continue
        here = _server(
            text, attributes.get(port) if kind != KIND_SERVER else None, names, _USUAL_PORTS.get(system, ())
        )
        if here is not None and here.named:
            return here
        bare = bare or here
    if bare is None and kind == KIND_SERVER and (own := attributes.get("own_name")):
        return _server(own, None, names, ())
    return bare


def _server(text: str, said: str | None, names: Names, usual: tuple[str, ...]) -> Server | None:
    if text.startswith("/"):  # a socket in the file system
        return Server("localhost:socket", local=True)
    host, port = split_address(text, said)
    if not host or "{id}" in host:
        return None
    if names:
        whole = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        if given := names.get(whole) or names.get(host) or names.get(f"[{host}]"):
            return Server(given, named=True)
    if is_loopback(host):
        return Server(_with_port("localhost", port, ()), local=True)
    if is_address(host):
        return Server(_with_port(f"[{host}]" if ":" in host and port else host, port, ()))
    return Server(_with_port(template_host(host), port, usual), named=True)


def _with_port(host: str, port: str | None, usual: tuple[str, ...]) -> str:
    if not port or not port.isdigit() or port in ("0", *usual, *_USUAL_PORTS[""]):
        return host
    return host if int(port) >= _EPHEMERAL and port not in _NOT_EPHEMERAL else f"{host}:{port}"


def peer_of(
    attributes: Names, kind: int, names: Names = NO_NAMES, otherwise: str | None = None
) -> str | None:
    """What a span's other side is called; `otherwise` (an RPC's service) is better than an address."""
    where = server_of(attributes, kind, names)
    if where is None or (otherwise and not where.named):
        return otherwise or None
    return where.text


# -- databases ------------------------------------------------------------------------------------


class Database(NamedTuple):
    """Parts of a database's identity; "" for what is not known."""

    system: str
    namespace: str
    server: str

    @property
    def named(self) -> bool:
        """Whether its namespace says which database it is, wherever it runs."""
        return names_a_database(self.system, self.namespace)


def system_of(text: str) -> str:
    """A database system by the name that old and new conventions have in common."""
    text = text.strip().lower()
    return _SYSTEMS.get(text, text)


def names_a_database(system: str, namespace: str) -> bool:
    """Whether a namespace is more than an index, or than what every server has."""
    plain = namespace.lower()
    return bool(plain) and not plain.isdigit() and plain not in _GENERIC and system not in EMBEDDED


def database_of(attributes: Names, kind: int, names: Names = NO_NAMES) -> str:
    """Identity of the database that a span asks: ``system/namespace@server``, or as much as is known."""
    system = system_of(attributes.get("db_system") or "sql")
    namespace = attributes.get("db_namespace", "")
    where = server_of(attributes, kind, names, system)
    if system == "postgresql":  # newer instrumentations add the schema
        namespace = namespace.partition("|")[0]
    if system in EMBEDDED:
        return (
            f"{system}/{_template_label(_BASENAME.split(namespace)[-1], first=True)}" if namespace else system
        )
    if not namespace:
        return f"{system}/{where.text}" if where else system
    known = where and (where.named or where.local or not names_a_database(system, namespace))
    return f"{system}/{namespace}@{where.text}" if where and known else f"{system}/{namespace}"


_BASENAME = re.compile(r"[/\\:]")


def split_database(identity: str) -> Database:
    """Parts of a name that `database_of` built; an ambiguous part counts as the namespace."""
    system, _, rest = identity.partition("/")
    namespace, attributes, where = rest.rpartition("@")
    if attributes:
        return Database(system, namespace, where)
    host = split_address(rest)[0]
    is_server = bool(rest) and ("." in host or ":" in rest or host == "localhost")
    return Database(system, "", rest) if is_server else Database(system, rest, "")


def is_named_by(inner: str | None, outer: str | None) -> bool:
    """Whether a query within another's span names no more of its database than the other, and less."""
    if inner is None or outer is None:
        return inner is None
    less, more = split_database(inner), split_database(outer)
    if less.namespace == more.server and not less.server:  # a server's short name, split as a namespace
        less = Database(less.system, "", more.server)
    one = less.system == more.system and (less.server in ("", more.server) or not more.server)
    return one and not less.namespace and bool(more.namespace)


# -- queues ---------------------------------------------------------------------------------------

#: Names of RabbitMQ's default exchange, which has none.
_DEFAULT_EXCHANGE: Final = frozenset({"amq.default", "(default)", "<default>", "(anonymous)"})
#: Destinations that one caller has for its answers, by what comes before the part that is drawn anew.
_TEMPORARY = re.compile(
    r"^(_INBOX\.|amq\.gen-|amq\.rabbitmq\.reply-to\.|.+\.anonymous\.|.+_bus_(?=[a-z0-9]{20,}$)|temp-(?:queue|topic):"
    r"|ActiveMQ\.Temp(?:Queue|Topic)?|spring\.gen-|ID:)(?=.{8}).*",
    re.DOTALL,
)
#: What a topic's partitions are called where each is a topic of its own.
_PARTITION = re.compile(r"-partition-\d+$")


def topic_of(attributes: Names, kind: int, names: Names = NO_NAMES) -> str | None:
    """Identity of a destination: ``topic@broker``, or the topic alone where nothing names its broker.

    Two brokers may each have a topic of one name; a broker's bare address tells where it is today, and is
    left out.  None where a span names no destination.
    """
    topic = _topic_of(attributes, kind)
    if topic is None:
        return None
    system = attributes.get("messaging_system", "").lower()
    broker = server_of(attributes, kind, names, system)
    known = broker is not None and (broker.named or broker.local) and broker.text.lower() != system
    return f"{topic}@{broker.text}" if broker is not None and known else topic


def split_topic(identity: str) -> tuple[str, str]:
    """A destination's own name, and its broker's where that is known."""
    topic, found, broker = identity.rpartition("@")
    return (topic, broker) if found and topic else (identity, "")


def _topic_of(attributes: Names, kind: int) -> str | None:
    """A destination's own name; None where a span names none.

    Of a queue's URL, an ARN or a resource's path it is the last part; RabbitMQ's default exchange has no
    name, and what is sent to it goes to the queue that the routing key names.
    """
    destination = attributes.get("messaging_destination", "")
    if kind == KIND_CONSUMER:
        destination = attributes.get("messaging_source") or destination
    if not destination or destination.lower() in _DEFAULT_EXCHANGE:
        destination = attributes.get("messaging_routing_key") or ""
    if "://" in destination and not destination.startswith("temp-"):
        destination = destination.rstrip("/").rpartition("/")[2]
    elif destination.startswith("arn:"):
        destination = re.split("[:/]", destination)[-1]
    elif destination.startswith("projects/"):
        destination = destination.rpartition("/")[2]
    if found := _TEMPORARY.match(destination):
        return f"{found.group(1)}{{id}}"
    return _template_topic(_UUID.sub("{id}", _PARTITION.sub("", destination))) or None


_LEVEL = re.compile(r"([./])")
_LONG_NUMBER = re.compile(r"\d{3,}$")
_NUMBER = re.compile(r"(?<=[-_])\d+$|\d{3,}$")


def _template_topic(topic: str) -> str:
    """A destination of several levels (NATS, MQTT) without what tells things of one kind apart.

    ``orders.91.created`` -> ``orders.{id}.created``, ``devices/dev-17/state`` -> ``devices/dev-{n}/state``; a
    destination of one level is a name as it is.
    """
    levels = _LEVEL.split(topic)
    if len(levels) == 1:
        return topic
    numbers = _NUMBER if "/" in levels else _LONG_NUMBER
    for at in range(0, len(levels), 2):
        level = levels[at]
        levels[at] = "{id}" if level.isdigit() else numbers.sub("{n}", _HEX.sub("{id}", level))
    return "".join(levels)
