"""Who calls whom, as real instrumentations, proxies and brokers report it."""

from __future__ import annotations

import polars as pl
import pytest
from reported import ARRIVED_NS, case, of_spans, reported, request

from tracescope.config import Settings
from tracescope.conventions.identity import topic_of
from tracescope.ingest.decode import decode
from tracescope.schema import KIND_PRODUCER, UNIT_LONG, UNIT_REQUEST

HTTP = "http.request.method=GET"


def test_two_servers_with_one_index_or_database_name_are_two_databases() -> None:
    """Redis has an index 0 on every server; nobody shares it by that alone."""
    for name, servers in (
        ("redis-index-is-no-identity", {"redis/cart-redis.internal", "redis/session-redis.internal"}),
        ("redis-namespace", {"redis/redis-cart.shop.svc", "redis/redis-session.shop.svc"}),
    ):
        seen = case(name)
        assert seen.nodes("database") == servers
        assert seen.found("shared_database") == []
    seen = reported(
        f"orders server GET /o 0-9 {HTTP}\n  orders client q 1-5 db.system=mysql db.name=app "
        "server.address=orders-primary db.operation=SELECT",
        f"users server GET /u 0-9 {HTTP}\n  users client q 1-5 db.system=mysql db.name=app "
        "server.address=users-primary db.operation=SELECT",
    )
    assert seen.nodes("database") == {"mysql/app@orders-primary", "mysql/app@users-primary"}
    assert seen.found("shared_database") == []


def test_one_database_of_its_name_is_called_by_its_name_alone() -> None:
    """Wherever it runs, and when only one of its callers says where."""
    where = "server.address=orders-db.cabc123.eu-west-1.rds.amazonaws.com"
    seen = reported(
        f"orders server GET /o 0-9 {HTTP}\n  orders client q 1-5 db.system=mysql db.name=app {where}",
        f"users server GET /u 0-9 {HTTP}\n  users client q 1-5 db.system=mysql db.name=app {where}",
        f"old server GET /u 0-9 {HTTP}\n  old client q 1-5 db.system=mysql db.name=app",
    )
    assert seen.nodes("database") == {"mysql/app"}
    (shared,) = seen.found("shared_database")
    assert shared.nodes == ("mysql/app", "orders", "users")


def test_shards_and_pods_that_moved_are_one_database() -> None:
    """Ordinals and addresses in names are templates; addresses alone do not name what has a name."""
    for hosts, name in (
        ([f"db-{n}.db.shop.svc.cluster.local" for n in range(10)], "mysql/app"),
        ([f"ip-10-0-3-{n}.ec2.internal" for n in range(10)], "mysql/app"),
        ([f"10.0.3.{n}" for n in range(10)], "mysql/app"),
        ([f"fd00::{n}" for n in range(10)], "mysql/app"),
    ):
        seen = reported(
            *(
                f"a server GET / 0-9 {HTTP}\n"
                f"  a client q 1-5 db.system=mysql db.name=app server.address={host}"
                for host in hosts
            )
        )
        assert seen.nodes("database") == {name}


def test_findings_never_rest_on_a_name_that_stands_for_several() -> None:
    """No server, no name: every caller has its own; a template of servers is not one point."""
    for said in ("db.system=redis", "db.system=redis db.namespace=0", "db.system=sqlite db.name=main"):
        seen = reported(
            f"a server GET /a 0-9 {HTTP}\n  a client GET 1-8 {said}",
            f"b server GET /b 0-9 {HTTP}\n  b client GET 1-8 {said}",
        )
        assert len(seen.nodes("database")) == 2, said
        assert seen.found("shared_database") == []
    shards = reported(
        *(
            f"{service} server GET / 0-9 {HTTP}\n  {service} client GET 1-8 db.system=redis "
            f"server.address=redis-{n}.redis.svc"
            for n, service in enumerate("abcdef")
        )
    )
    assert shards.nodes("database") == {"redis/redis-{n}.redis.svc"}
    for kind in ("shared_database", "single_point", "blast_radius", "fan_in"):
        assert shards.found(kind) == [], kind


def test_what_names_no_peer_is_unknown_to_its_caller_alone() -> None:
    """One node a caller and operation; a host of one's own is told apart by its ports."""
    seen = case("ports-and-unknown")
    unknown = {each for each in seen.edges() if each[1].startswith("unknown")}
    assert unknown == {
        (caller, f"unknown ({caller} {operation})")
        for caller in "ab"
        for operation in ("charge", "dns.lookup")
    }
    assert [each for each in seen.found("blast_radius") if "unknown" in each.text] == []
    local = reported(
        f"a server GET / 0-9 {HTTP}\n"
        f"  a client GET 1-3 {HTTP} server.address=localhost server.port=3500\n"
        f"  a client GET 4-6 {HTTP} server.address=127.0.0.1 server.port=9090\n"
        "  a client GET 6-7 db.system=redis server.address=localhost server.port=6379\n",
        f"b server GET / 0-9 {HTTP}\n  b client GET 1-3 {HTTP} server.address=localhost server.port=3500\n",
    )
    assert local.nodes("external") == {"localhost:3500 (a)", "localhost:3500 (b)", "localhost:9090"}
    assert local.nodes("database") == {"redis/localhost:6379"}


def test_ports_are_shown_where_two_of_a_host_are_called() -> None:
    one = f"a server GET / 0-9 {HTTP}\n  a client GET 1-3 {HTTP} server.address=vm1 server.port=8080\n"
    assert reported(one).nodes("external") == {"vm1"}
    two = one + f"  a client GET 4-6 {HTTP} server.address=vm1 server.port=8081\n"
    assert reported(two).nodes("external") == {"vm1:8080", "vm1:8081"}


def test_a_service_by_its_short_and_its_whole_name_is_one_host() -> None:
    """Within a cluster `cart`, `cart.shop` and `cart.shop.svc` are the same; two namespaces' are not."""
    hosts = ("cart", "cart.shop", "cart.shop.svc", "cart.shop.svc.cluster.local")
    for port in ("", " server.port=8080"):
        seen = reported(
            *(
                f"a server GET / 0-9 {HTTP}\n  a client GET 1-3 {HTTP} server.address={host}{port}"
                for host in hosts
            )
        )
        assert seen.nodes("external") == {"cart"}
        assert seen.edges() == {("a", "cart"): 4}
    for said, name in (
        ("db.system=postgresql db.namespace=shop", "postgresql/shop"), ("db.system=redis", "redis/cart"),
    ):  # fmt: skip
        seen = reported(
            *(
                f"a server GET / 0-9 {HTTP}\n  a client q 1-5 {said} server.address={host}"
                for host in (hosts[0], *hosts[2:])
            )
        )
        assert seen.nodes("database") == {name}
    two = reported(
        *(
            f"a server GET / 0-9 {HTTP}\n  a client GET 1-3 {HTTP} server.address={host}"
            for host in ("cart", "cart.shop.svc", "cart.test.svc")
        )
    )
    assert two.nodes("external") == {"cart", "cart.shop.svc", "cart.test.svc"}


def _hop(producer: str, consumer: str, sent: str, taken: str, trace: int) -> tuple[str, str]:
    """Who publishes to `events` and who takes it from there, in two traces, with what each says of it."""
    topic = "messaging.system=kafka messaging.destination.name=events"
    process = f"{topic} messaging.operation.type=process {taken} link={trace}:2"
    return (
        f"{producer} server POST /x 0-20 {HTTP}\n  {producer} producer events publish 5-9 {topic} {sent}",
        f"{consumer} consumer events process 30-60 {process}",
    )


def test_a_driver_below_a_mapper_asks_the_same_database() -> None:
    """The mapper names the database, the driver the server alone: one node, whose time is both's."""
    mapper = "db.system=postgresql db.name=orders db.statement=SELECT server.address=pg"
    for inner in ("server.address=pg", "net.peer.name=pg", ""):
        seen = reported(
            f"api server GET / 0-50 {HTTP}\n"
            f"  api client orders 5-45 {mapper}\n"
            f"    api client postgres 11-44 db.system=postgresql db.statement=SELECT {inner}\n"
        )
        assert seen.nodes("database") == {"postgresql/orders"}, inner
        assert seen.own_ms() == {("api", "postgresql/orders"): 40.0}, inner
    other = reported(
        f"api server GET / 0-50 {HTTP}\n"
        f"  api client orders 5-45 {mapper}\n"
        "    api client postgres 11-44 db.system=postgresql db.statement=SELECT server.address=replica\n"
    )
    assert other.nodes("database") == {"postgresql/orders", "postgresql/replica"}


def test_what_processes_below_a_receive_has_its_queue() -> None:
    """MassTransit: the exchange is the producer's, the queue the receiving span's; both are connected."""
    sent = "messaging.system=rabbitmq messaging.destination.name=OrderSubmitted messaging.operation=send"
    queue = "messaging.system=rabbitmq messaging.destination.name=submit-order"
    taken = f"{queue} messaging.operation=receive link=1:2"
    seen = reported(
        f"web server POST /o 0-50 {HTTP}\n  web producer OrderSubmitted send 10-15 {sent}",
        f"wrk consumer submit-order receive 40-140 {taken}\n"
        "  wrk consumer process 45-130 messaging.system=rabbitmq messaging.operation=process",
    )
    assert seen.edges() == {
        ("web", "OrderSubmitted"): 1, ("OrderSubmitted", "submit-order"): 1, ("submit-order", "wrk"): 1,
    }  # fmt: skip


def test_partitions_and_answers_have_no_topics_of_their_own() -> None:
    """Pulsar's partitions are one topic; what is drawn anew for each answer is a template."""
    partition = "persistent://public/default/orders-partition-{}"
    to = "messaging.system=pulsar messaging.operation.type={} messaging.destination.name={}"
    seen = reported(
        *(
            f"a producer orders send 0-5 {to.format('send', partition.format(number))}\n"
            f"  b consumer orders process 9-30 {to.format('process', partition.format(number))}"
            for number in range(3)
        )
    )
    assert seen.edges() == {("a", "orders"): 3, ("orders", "b"): 3}
    assert {operation for _, callee, operation in seen.operations() if callee == "b"} == {"wait"}
    for name, template in (
        ("_INBOX.aB3dE5fG7h.1", "_INBOX.{id}"),
        ("amq.rabbitmq.reply-to.g1h2AA9yZXBseQ", "amq.rabbitmq.reply-to.{id}"),
        ("orders.anonymous.Xq3b9Zt0Rr2", "orders.anonymous.{id}"),
        ("web1_api_bus_oyryyy8nxeyyyh1rbdp6mcgx1", "web1_api_bus_{id}"),
        ("temp-queue://ID:web-34567-1699-1:3:1", "temp-queue:{id}"),
        ("event_bus_orders", "event_bus_orders"), ("orders-v2", "orders-v2"), ("bus-events", "bus-events"),
    ):  # fmt: skip
        assert topic_of({"messaging_destination": name}, KIND_PRODUCER) == template


def test_a_worker_that_waits_for_its_next_job_is_no_request() -> None:
    """Blocking commands of Redis are polls, like any other that waits until something comes."""
    seen = reported(
        f"a server GET / 0-20 {HTTP}\n  a client GET 5-8 db.system=redis server.address=redis",
        "b client BRPOP 0-2000 db.system=redis db.operation=BRPOP server.address=redis",
        "b client XREADGROUP 0-5000 db.system=redis db.statement=XREADGROUP db.operation=XREADGROUP",
    )
    units = seen.tables["entry_hours"].group_by("unit").agg(pl.col("units").sum(), pl.col("clock_ns").sum())
    assert set(units.iter_rows()) == {(UNIT_REQUEST, 1, 20_000_000), (UNIT_LONG, 2, 7_000_000_000)}


def test_topics_of_one_name_on_two_brokers_are_two() -> None:
    """Whoever consumes from one of them has nothing to do with the other; one broker's name is not shown."""
    broker = "server.address={} server.port=9092"
    eu, us = broker.format("kafka.eu.internal"), broker.format("kafka.us.internal")
    two = reported(*_hop("shop", "mail", eu, eu, 1), *_hop("bank", "audit", us, us, 3))
    assert two.edges() == {
        ("shop", "events@kafka.eu.internal"): 1, ("events@kafka.eu.internal", "mail"): 1,
        ("bank", "events@kafka.us.internal"): 1, ("events@kafka.us.internal", "audit"): 1,
    }  # fmt: skip
    assert two.edges("service") == {("shop", "mail"): 1, ("bank", "audit"): 1}
    one = reported(*_hop("shop", "mail", eu, eu, 1))
    assert one.edges() == {("shop", "events"): 1, ("events", "mail"): 1}


def test_a_consumer_that_names_no_broker_or_another_address_of_it_is_connected() -> None:
    """What a joined hop was sent to is where it was taken from, by whatever name and among however many."""
    named = "server.address=kafka.eu.internal"
    for taken in ("", "server.address=kafka-headless.kafka.svc", "server.address=10.0.0.7"):
        seen = reported(*_hop("shop", "mail", named, taken, 1))
        assert seen.edges() == {("shop", "events"): 1, ("events", "mail"): 1}, taken
        other = _hop("bank", "audit", "server.address=kafka.us.internal", "", 3)
        seen = reported(*_hop("shop", "mail", named, taken, 1), *other)
        assert seen.edges("service") == {("shop", "mail"): 1, ("bank", "audit"): 1}, taken


def test_a_hop_whose_sides_name_two_destinations_is_connected() -> None:
    """An exchange and its queue: the graph, `--through` and the services' edge know the way."""
    seen = case("rabbit-exchange-and-queue")
    assert seen.edges() == {
        ("a", "business.exchange"): 1,
        ("business.exchange", "operation.queue"): 1,
        ("operation.queue", "b"): 1,
    }
    assert seen.edges("service") == {("a", "b"): 1}
    for name in ("business.exchange", "operation.queue"):
        assert seen.edges(through=name) == seen.edges()
    assert seen.own_ms()["business.exchange", "operation.queue"] == 0


def test_a_joined_hop_between_traces_is_connected_too() -> None:
    """SNS to SQS by a link, and a consumer that names its group only."""
    sent = (
        f"shop server POST /x 0-20 {HTTP}\n  shop producer events publish 5-9 messaging.system=aws_sns "
        "messaging.destination.name=arn:aws:sns:eu-west-1:123:events messaging.operation.type=send"
    )
    taken = (
        "mail consumer process 30-50 messaging.system=aws_sqs messaging.operation.type=process link=1:2 "
        "messaging.destination.name=https://sqs.eu-west-1.amazonaws.com/123/events-q"
    )
    seen = reported(sent, taken)
    assert seen.edges("service") == {("shop", "mail"): 1}
    assert set(seen.edges(through="events")) == {
        ("shop", "events"), ("events", "events-q"), ("events-q", "mail")
    }  # fmt: skip
    group = (
        "mail consumer poll 30-50 messaging.system=kafka messaging.operation.type=process "
        "messaging.consumer.group.name=mailers link=1:2"
    )
    seen = reported(sent, group)
    assert set(seen.edges()) == {("shop", "events"), ("events", "mail")}
    assert seen.edges("service") == {("shop", "mail"): 1}


def test_producers_share_what_comes_out_of_a_queue_behind_their_exchange() -> None:
    """Half of the exchange's messages reach the queue: each producer by what it sent."""
    trace = (
        "{0} producer publish 0-2 messaging.system=rabbitmq messaging.destination.name=ex\n"
        "  b consumer process 5-9 messaging.system=rabbitmq messaging.destination.name=q"
    )
    seen = reported(*(trace.format(name) for name in ("a", "a", "a", "c")))
    assert seen.edges("service") == {("a", "b"): 3, ("c", "b"): 1}


def test_the_default_exchange_is_named_by_its_routing_key() -> None:
    seen = case("rabbit-default-exchange")
    assert seen.nodes("queue") == {"mail", "invoice"}
    assert set(seen.edges()) == {
        ("shop", "mail"), ("shop", "invoice"), ("mail", "worker"), ("invoice", "worker")
    }  # fmt: skip


def test_what_a_call_is_made_with_is_the_calls_time_and_not_a_call() -> None:
    """Databases, queues and RPCs over HTTP, and HTTP over its handshakes."""
    seen = case("db-over-http")
    assert set(seen.own_ms()) == {("web", "elasticsearch/es.internal"), ("web", "dynamodb")}
    assert seen.own_ms()["web", "elasticsearch/es.internal"] == pytest.approx(60, abs=0.01)
    assert seen.own_ms()["web", "dynamodb"] == pytest.approx(20, abs=0.01)
    assert case("orm-over-driver").own_ms() == {("web", "postgresql/shop"): pytest.approx(60, abs=0.01)}
    seen = reported(
        f"a server GET / 0-100 {HTTP}\n"
        "  a producer orders publish 1-20 messaging.system=aws_sns messaging.destination.name=orders\n"
        f"    a client POST 2-19 {HTTP} server.address=sns.eu-west-1.amazonaws.com\n"
        "  a client shop.Cart/Get 30-50 rpc.system=grpc rpc.service=shop.Cart rpc.method=Get "
        "server.address=cart\n"
        f"    a client POST 31-49 {HTTP} server.address=cart\n"
        "      cart server shop.Cart/Get 35-45 rpc.system=grpc rpc.service=shop.Cart rpc.method=Get\n"
        f"  a client GET 60-90 {HTTP} server.address=api.example\n"
        "    a client dns.lookup 60-65\n"
        "    a internal tls.connect 65-70\n"
        "      a internal tcp.connect 65-67\n"
    )
    assert {each: pytest.approx(ms) for each, ms in seen.own_ms().items()} == {
        ("a", "orders"): 19, ("a", "cart"): 10, ("a", "api.example"): 30
    }  # fmt: skip
    assert ("a", "cart", "shop.Cart/Get") in seen.operations()


def test_http_under_http_is_the_inner_call_still() -> None:
    """A client library over another: the outer wraps, the inner names where the call went."""
    seen = reported(
        f"a server GET / 0-100 {HTTP}\n"
        f"  a client GET 1-20 {HTTP} server.address=proxy\n"
        f"    a client GET 2-19 {HTTP} server.address=api.example\n"
    )
    assert seen.edges() == {("a", "api.example"): 1}


@pytest.mark.parametrize(
    "name",
    [
        "pg-pool.connect", "HikariDataSource.getConnection", "asyncpg.pool.acquire", "pool.acquire",
        "sqlalchemy.pool.checkout", "GenericObjectPool.borrowObject", "redis.pool.get_connection",
    ],
)  # fmt: skip
def test_waiting_for_a_connection_is_no_query(name: str) -> None:
    """Told as what it is, of the database where the span says which."""
    seen = reported(
        f"a server GET / 0-100 {HTTP}\n  a internal {name} 1-20\n"
        f"  a client {name} 21-30 db.system=postgresql db.name=shop server.address=pg\n"
        "  a client SELECT 31-40 db.system=postgresql db.name=shop server.address=pg db.operation=SELECT\n"
    )
    assert seen.operations() == {
        ("a", "connection pool", "wait for a connection"),
        ("a", "postgresql/shop", "wait for a connection"),
        ("a", "postgresql/shop", "SELECT"),
    }


@pytest.mark.parametrize(
    "name", ["lock.acquire", "redis.get", "pool.query", "carpool.get", "redlock acquire"]
)
def test_other_waits_and_reads_stay_what_they_are(name: str) -> None:
    seen = reported(f"a server GET / 0-9 {HTTP}\n  a client {name} 1-5 db.system=redis server.address=r\n")
    assert {operation for *_, operation in seen.operations()} != {"wait for a connection"}
    assert seen.nodes("database") == {"redis/r"}


def test_a_call_below_another_services_span_makes_the_missing_edge() -> None:
    """A proxy of which only the outgoing call is reported."""
    seen = case("proxy-client-in-other-service")
    assert seen.edges() == {("shopfront", "orders"): 1, ("orders", "edgeproxy"): 1, ("edgeproxy", "stock"): 1}
    (stock,) = (each for each in seen.found("blast_radius") if each.nodes == ("stock",))
    assert stock.evidence["waiting"] == ["edgeproxy", "orders", "shopfront"]
    database = reported(
        f"a server GET / 0-9 {HTTP}\n  dbproxy client q 1-8 db.system=mysql db.name=app server.address=m\n"
    )
    assert database.edges() == {("a", "dbproxy"): 1, ("dbproxy", "mysql/app"): 1}


def test_a_proxy_that_answers_with_its_own_call_doubles_none() -> None:
    """Client, proxy's client, server: an egress proxy; and an ingress that serves and passes on."""
    seen = reported(
        f"a server GET / 0-100 {HTTP}\n"
        f"  a client GET 10-90 {HTTP} server.address=b\n"
        f"    egress client GET 15-85 {HTTP} server.address=b\n"
        f"      b server GET /b 20-80 {HTTP} http.route=/b\n"
    )
    assert seen.edges() == {("a", "egress"): 1, ("egress", "b"): 1}
    assert {each: pytest.approx(ms) for each, ms in seen.own_ms().items()} == {
        ("a", "egress"): 10, ("egress", "b"): 10
    }  # fmt: skip
    seen = reported(
        f"nginx server GET /b 0-100 {HTTP}\n  b server GET /b 10-80 {HTTP} http.route=/b\n",
    )
    assert seen.edges() == {("nginx", "b"): 1}


MESH = """
cart server GET /cart 0-100 http.request.method=GET http.route=/cart
  cart client GET 10-90 http.request.method=GET server.address=pricing
    {0} client pricing:8080/* 12-88 http.method=GET {2}
      {1} server pricing:8080/* 15-85 http.method=GET http.url=http://pricing:8080/prices/17 {2}
        pricing server GET /prices/{{id}} 17-83 http.request.method=GET http.route=/prices/{{id}}
"""


@pytest.mark.parametrize(
    "proxies",
    [
        ("cart.shop", "pricing.shop", "component=proxy node_id=sidecar~10.0.0.7~cart-7c9~shop"),
        ("cart", "pricing", "component=proxy node_id=sidecar~10.0.0.7~cart-7c9~shop"),
        ("linkerd-proxy", "linkerd-proxy", "component=x"),
    ],
)
def test_a_hop_that_mesh_and_application_report_is_one_call(proxies: tuple[str, str, str]) -> None:
    """Whatever the proxies call themselves; the application names the operation."""
    seen = reported(MESH.format(*proxies))
    assert seen.operations() == {("cart", "pricing", "GET /prices/{id}")}
    assert seen.own_ms()["cart", "pricing"] == pytest.approx(10)


@pytest.mark.parametrize("name", ["istio-own-names", "istio-same-names"])
def test_a_mesh_that_is_traced_counts_each_call_once(name: str) -> None:
    assert case(name).edges() == {("cart", "pricing"): 10, ("pricing", "postgresql/pricing"): 10}


def test_a_server_within_a_server_of_its_own_service_is_one_call() -> None:
    assert case("double-server").edges() == {("web", "api"): 10, ("api", "postgresql/shop"): 10}


def test_a_page_that_names_the_span_that_made_it_was_not_called_by_it() -> None:
    """The browser's load goes on around the server's request: no edge from the shop to its front end."""
    assert set(case("browser-rum").edges()) == {("web-frontend", "shop")}


def test_a_team_says_what_an_address_is() -> None:
    """With a port before without; in the place of what spans say, for databases and other systems."""
    trace = (
        f"a server GET / 0-9 {HTTP}\n"
        "  a client q 1-3 db.system=mysql db.name=app server.address=10.0.3.7 network.peer.port=3306\n"
        "  a client q 4-5 db.system=mysql db.name=app server.address=10.0.3.8\n"
        f"  a client GET 6-8 {HTTP} http.url=http://10.0.3.9:8080/x\n"
        f"  a client GET 8-9 {HTTP} http.url=http://10.0.3.9:9090/x\n"
    )
    names = {"10.0.3.7": "orders-db", "10.0.3.8": "users-db", "10.0.3.9:8080": "psp"}
    policy = Settings(names=names).policy
    seen = of_spans(decode([request(trace)], ARRIVED_NS, policy=policy).spans)
    assert seen.nodes("database") == {"mysql/app@orders-db", "mysql/app@users-db"}
    assert seen.nodes("external") == {"psp", "10.0.3.9:9090"}
