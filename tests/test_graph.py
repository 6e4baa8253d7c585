"""Graphs of call paths: levels, shares, quantiles, filters and the change between two periods."""

from __future__ import annotations

from dataclasses import replace

import pytest
from answered import grown
from flows import rollups

from tracescope.analysis.report import Edge
from tracescope.analysis.rollups.flows import Selection, call_tree
from tracescope.analysis.topology.graph import Graph, graph, judged, namespace_of

SHOP = """
request web POST /buy: 10 units, 1000 ms
  self web -> (itself) [POST /buy]: 10 calls, 100 own
  http web -> cart [POST /cart]: 10 calls, 50 own, 700 inclusive, 2 errors
    self cart -> (itself) [POST /cart]: 10 calls, 150 own
    db cart -> postgresql/orders [INSERT orders]: 20 calls, 300 own
    db cart -> postgresql/orders [SELECT orders]: 10 calls, 100 own
    queue cart -> mail [publish]: 10 calls, 100 own
  external web -> !api.psp [POST]: 10 calls, 200 own
request web GET /home: 30 units, 1000 ms
  self web -> (itself) [GET /home]: 30 calls, 1000 own
message mailer process mail: 10 units, 2000 ms
  queue mail -> mailer [wait]: 10 calls, 1500 own, 2000 inclusive
    self mailer -> (itself) [process mail]: 10 calls, 500 own
"""


def edges(made: Graph) -> dict[tuple[str, str], dict[str, object]]:
    return {(row["caller"], row["callee"]): row for row in made.edges.iter_rows(named=True)}


def test_dependencies_are_nodes_of_their_own() -> None:
    """Databases, topics and external hosts are nodes, with the type that their edges show."""
    made = graph(rollups(SHOP), "dependency")
    assert dict(made.nodes.select("id", "type").iter_rows()) == {
        "api.psp": "external", "cart": "service", "mail": "queue", "mailer": "service",
        "postgresql/orders": "database", "web": "service",
    }  # fmt: skip
    assert {(e["caller"], e["callee"], e["kind"]) for e in made.edges.iter_rows(named=True)} == {
        ("web", "cart", "http"), ("cart", "postgresql/orders", "db"), ("cart", "mail", "queue"),
        ("mail", "mailer", "queue"), ("web", "api.psp", "external"),
    }  # fmt: skip


def test_edges_sum_their_paths_and_shares_are_of_the_units_own_clock() -> None:
    """Own shares of edges and services of one kind of unit add up to 1."""
    made = graph(rollups(SHOP), "dependency")
    orders = edges(made)["cart", "postgresql/orders"]
    assert (orders["calls"], orders["unit"]) == (30, "request")
    assert orders["share"] == pytest.approx(400 / 2000)
    assert orders["own_ms"] == pytest.approx(400 / 40)
    assert orders["calls_per_unit"] == pytest.approx(30 / 40)
    cart = edges(made)["web", "cart"]
    assert (cart["share"], cart["inclusive_share"]) == (pytest.approx(50 / 2000), pytest.approx(700 / 2000))
    assert cart["errors"] == 2
    wait = edges(made)["mail", "mailer"]
    assert (wait["unit"], wait["share"]) == ("message", pytest.approx(0.75))
    of_requests = sum(e["share"] for e in edges(made).values() if e["unit"] == "request")
    services = sum(made.nodes.filter(type="service", entry=True)["share"]) + 150 / 2000
    assert of_requests + services == pytest.approx(1.0)


def test_a_queue_becomes_an_edge_between_services_split_by_what_each_producer_sent() -> None:
    """At service level topics are contracted; producers share the waits by their messages."""
    text = (
        SHOP
        + """
request admin POST /news: 30 units, 100 ms
  queue admin -> mail [publish]: 30 calls, 100 own
"""
    )
    made = graph(rollups(text), "service")
    assert set(made.nodes["type"]) == {"service"}
    found = edges(made)
    assert set(found) == {("web", "cart"), ("cart", "mailer"), ("admin", "mailer")}
    assert found["admin", "mailer"]["share"] == pytest.approx(0.75 * 30 / 40)
    assert found["cart", "mailer"]["share"] == pytest.approx(0.75 * 10 / 40)


def test_operations_are_edges_at_operation_level_only() -> None:
    made = graph(rollups(SHOP), "operation")
    assert set(made.edges.filter(callee="postgresql/orders")["operation"]) == {
        "INSERT orders",
        "SELECT orders",
    }
    assert graph(rollups(SHOP), "dependency").edges["operation"].null_count() == 5


def test_an_edge_that_calls_itself_again_is_not_counted_twice() -> None:
    """The window of a nested call lies in the window of the outer one."""
    made = graph(
        rollups("""
request a GET /: 1 units, 100 ms
  http a -> b [x]: 1 calls, 10 own, 90 inclusive
    http b -> a [y]: 1 calls, 10 own, 70 inclusive
      http a -> b [x]: 1 calls, 10 own, 40 inclusive
"""),
        "dependency",
    )
    assert edges(made)["a", "b"]["inclusive_share"] == pytest.approx(0.9)
    assert edges(made)["a", "b"]["share"] == pytest.approx(0.2)


def test_quantiles_come_from_the_sketches_of_all_paths() -> None:
    """90 calls of 1 ms and 10 of 100 ms: the median is 1 ms, the 95th percentile 100, to 2.2 %."""
    made = graph(
        rollups("""
request a GET /: 100 units, 2000 ms
  db a -> x/y [one]: 90 calls, 90 own, 1 each
  db a -> x/y [two]: 10 calls, 1000 own, 100 each
"""),
        "dependency",
    )
    row = edges(made)["a", "x/y"]
    assert row["p50_ms"] == pytest.approx(1, rel=0.022)
    assert row["p95_ms"] == pytest.approx(100, rel=0.022)


def test_sampled_units_count_for_what_they_stand_for() -> None:
    """A threshold of three quarters means that each unit stands for four; shares do not move."""
    made, whole = graph(rollups(SHOP, threshold=3 << 54), "dependency"), graph(rollups(SHOP), "dependency")
    assert edges(made)["web", "cart"]["calls"] == 40
    assert edges(made)["web", "cart"]["sampled_calls"] == 10
    for column in ("share", "own_ms", "calls_per_unit", "mean_ms", "p95_ms"):
        assert made.edges[column].to_list() == pytest.approx(whole.edges[column].to_list())


def test_entries_choose_flows_and_shares_are_of_those_entries() -> None:
    made = graph(rollups(SHOP), "dependency", selection=Selection(keep_entry=lambda _, o: o == "POST /buy"))
    assert edges(made)["cart", "postgresql/orders"]["share"] == pytest.approx(0.4)
    assert made.units == {"request": 10}


def test_through_keeps_what_leads_to_a_node_and_what_follows() -> None:
    """The way from web to mail stays; the payment provider and the home page have nothing to do with it."""
    made = graph(rollups(SHOP), "dependency", selection=Selection(through="mail"))
    assert set(edges(made)) == {("web", "cart"), ("cart", "mail"), ("mail", "mailer")}
    assert made.units == {"request": 10, "message": 10}
    below = graph(rollups(SHOP), "dependency", selection=Selection(through="cart"))
    assert set(edges(below)) == {("web", "cart"), ("cart", "postgresql/orders"), ("cart", "mail")}


def test_service_kind_and_namespace_choose_edges_and_leave_shares_alone() -> None:
    tables, spaces = rollups(SHOP), {"cart": "sales", "mailer": "post"}
    whole = edges(graph(tables, "dependency"))
    for selection, left in (
        (Selection(service="web"), {("web", "cart"), ("web", "api.psp")}),
        (Selection(kinds=frozenset({"db"})), {("cart", "postgresql/orders")}),
        (Selection(namespace="post"), {("mail", "mailer")}),
    ):
        made = graph(tables, "dependency", selection=selection, namespaces=spaces)
        assert set(edges(made)) == left
        assert all(row["share"] == whole[name]["share"] for name, row in edges(made).items())
        assert set(made.nodes["id"]) == {end for edge in left for end in edge}


def test_a_dependency_is_of_the_namespace_that_alone_uses_it() -> None:
    made = graph(rollups(SHOP), "dependency", namespaces={"cart": "sales", "mailer": "post"})
    spaces = dict(made.nodes.select("id", "namespace").iter_rows())
    assert spaces["postgresql/orders"] == "sales"
    assert spaces["mail"] == ""  # of both
    assert [namespace_of(name) for name in ("shop/cart", "shop.eu.cart", "cart")] == ["shop", "shop.eu", ""]


def test_a_topic_named_like_a_service_is_another_node() -> None:
    made = graph(
        rollups("""
request mail GET /: 1 units, 10 ms
  queue mail -> mail [publish]: 1 calls, 5 own
message worker process mail: 1 units, 10 ms
  queue mail -> worker [wait]: 1 calls, 5 own
"""),
        "dependency",
    )
    assert dict(made.nodes.select("id", "type").iter_rows()) == {
        "mail": "service", "mail (queue)": "queue", "worker": "service",
    }  # fmt: skip
    assert set(edges(made)) == {("mail", "mail (queue)"), ("mail (queue)", "worker")}


def test_two_periods_give_the_union_with_both_values() -> None:
    """Values of each side, the change of share, and which edges are new or gone."""
    head = SHOP.replace("!api.psp [POST]: 10 calls, 200", "!api.other [POST]: 10 calls, 200").replace(
        "[INSERT orders]: 20 calls, 300", "[INSERT orders]: 50 calls, 400"
    )
    made = graph(rollups(head), "dependency", base=rollups(SHOP), base_bounds=(1, 2))
    found = edges(made)
    orders = found["cart", "postgresql/orders"]
    assert (orders["calls"], orders["calls_base"], orders["state"]) == (60, 30, "both")
    assert orders["change"] == pytest.approx(0.05)
    assert (found["web", "api.other"]["state"], found["web", "api.other"]["share_base"]) == ("new", 0)
    assert (found["web", "api.psp"]["state"], found["web", "api.psp"]["share"]) == ("gone", 0)
    assert found["web", "api.psp"]["unit"] == "request"
    assert {"api.other", "api.psp"} <= set(made.nodes["id"])
    assert made.base == (1, 2)


def test_a_graph_is_a_networkx_graph_too() -> None:
    view = graph(rollups(SHOP), "dependency").view()
    assert view.nodes["postgresql/orders"]["type"] == "database"
    assert view.edges["web", "cart", ("http", None)]["calls"] == 10


def test_the_call_tree_holds_the_shares_of_entries_and_paths() -> None:
    """A path's inclusive share is at least its own and its children's; entries add up to 1 by unit."""
    entries, paths = call_tree(rollups(SHOP), Selection())
    requests = entries.filter(unit="request")
    assert requests["share"].sum() == pytest.approx(1.0)
    cart = paths.filter(caller="web", callee="cart").row(0, named=True)
    below = paths.filter(caller="cart")
    assert cart["inclusive_share"] == pytest.approx(0.35)
    assert cart["inclusive_share"] == pytest.approx(cart["share"] + below["inclusive_share"].sum())
    assert set(below["parent"]) == {paths.with_row_index().filter(callee="cart")["index"].item()}


def test_the_call_tree_of_two_periods_holds_what_is_gone() -> None:
    head = SHOP.replace("  external web -> !api.psp [POST]: 10 calls, 200 own\n", "")
    _, paths = call_tree(rollups(head), Selection(), base=rollups(SHOP))
    gone = paths.filter(callee="api.psp").row(0, named=True)
    assert (gone["inclusive_share"], gone["change"]) == (0, pytest.approx(-0.1))


# -- by a few calls ---------------------------------------------------------------------------------


def test_a_graph_that_is_not_told_of_a_period_is_of_none() -> None:
    made = graph(rollups(SHOP), "dependency")
    assert (made.start_ns, made.end_ns, made.base, made.environment) == (0, 0, None, "")
    assert made.units == {"message": 10.0, "request": 40.0}
    assert graph(rollups(SHOP), "dependency", base=rollups(SHOP)).base == (0, 0)


def test_units_that_call_nothing_count_for_the_others() -> None:
    """Calls, times and shares are of all units of work."""
    text = """
request web GET /: 10 units, 300 ms
  http web -> cart [x]: 20 calls, 50 own, 100 inclusive
request web GET /idle: 40 units, 200 ms
"""
    cart = edges(graph(rollups(text), "service"))["web", "cart"]
    assert (cart["calls_per_unit"], cart["own_ms"], cart["inclusive_ms"]) == pytest.approx((0.4, 1.0, 2.0))
    assert (cart["share"], cart["inclusive_share"]) == pytest.approx((0.1, 0.2))


def test_an_edge_is_of_the_kind_of_unit_that_most_of_its_calls_serve() -> None:
    """Its calls and errors are of all; of as many of each, of the first by name."""
    text = """
request web GET /: 10 units, 100 ms
  db web -> pg/x [q]: {} calls, 50 own, 50 inclusive, 1 errors
message web run: 20 units, 400 ms
  db web -> pg/x [q]: 30 calls, 100 own, 100 inclusive, 2 errors
"""
    for calls, unit, share, each in (
        (29, "message", 0.25, 1.5),
        (31, "request", 0.5, 3.1),
        (30, "message", 0.25, 1.5),
    ):
        found = edges(graph(rollups(text.format(calls)), "dependency"))["web", "pg/x"]
        assert (found["unit"], found["share"], found["calls_per_unit"]) == (
            unit,
            pytest.approx(share),
            pytest.approx(each),
        )
        assert (found["calls"], found["errors"]) == (calls + 30, 3)


def test_what_sends_spans_on_one_way_sends_them() -> None:
    """An edge has no spans behind it only where none of its paths has."""
    text = """
request web GET /: 10 units, 100 ms
  http web -> !api [x]: 10 calls, 50 own
request web GET /b: 10 units, 100 ms
  http web -> {}api [x]: 10 calls, 50 own
"""
    assert [
        edges(graph(rollups(text.format(mark)), "dependency"))["web", "api"]["uninstrumented"]
        for mark in ("", "!")
    ] == [False, True]


def test_nodes_without_work_of_their_own_have_no_share() -> None:
    """Nor have those whose units took no time."""
    text = """
request web GET /: 10 units, 100 ms
  http web -> cart [x]: 10 calls, 50 own
detached job run: 10 units, 0 ms
  self job -> (itself) [run]: 10 calls, 0 own
"""
    shares = dict(graph(rollups(text), "dependency").nodes.select("id", "share").iter_rows())
    assert shares == {"web": 0.0, "cart": 0.0, "job": 0.0}


def test_a_node_of_one_period_has_nothing_in_the_other() -> None:
    text = """
request web GET /: 10 units, 100 ms
  self web -> (itself) [GET /]: 10 calls, 40 own
  http web -> {} [x]: 10 calls, 50 own
    self {} -> (itself) [x]: 10 calls, 50 own
"""
    head, base = (rollups(text.format(name, name)) for name in ("fresh", "gone"))
    rows = {row["id"]: row for row in graph(head, "service", base=base).nodes.iter_rows(named=True)}
    assert [rows["gone"][name] for name in ("units", "calls", "share", "share_base")] == [0, 0, 0.0, 0.5]
    assert [rows["fresh"][name] for name in ("units", "calls", "share", "share_base")] == [0, 10, 0.5, 0.0]
    assert (rows["web"]["entry"], rows["gone"]["entry"]) == (True, False)
    assert (rows["web"]["share"], rows["web"]["share_base"]) == (0.4, 0.4)


def test_a_route_between_topics_is_no_edge_between_services() -> None:
    """What is sent to where it begins is waited for where it ends."""
    text = """
request web POST /: 10 units, 100 ms
  queue web -> orders [publish]: 10 calls, 10 own
    queue orders -> jobs [route]: 10 calls, 0 own
message worker run: 10 units, 100 ms
  queue jobs -> worker [wait]: 10 calls, 50 own
"""
    assert set(edges(graph(rollups(text), "service"))) == {("web", "worker")}


@pytest.mark.parametrize(
    ("quick", "p50", "p95", "p99"),
    [
        (50, 1, 100, 100),
        (49, 100, 100, 100),
        (95, 1, 1, 100),
        (94, 1, 100, 100),
        (99, 1, 1, 1),
        (30, 100, 100, 100),
    ],
)
def test_a_quantile_of_calls_is_the_time_that_so_many_do_not_exceed(
    quick: int, p50: float, p95: float, p99: float
) -> None:
    """Of a hundred calls so many take 1 ms and the others 100: exactly as many are enough."""
    text = f"""
request a GET /: 100 units, 2000 ms
  db a -> x/y [one]: {quick} calls, 90 own, 1 each
  db a -> x/y [two]: {100 - quick} calls, 1000 own, 100 each
"""
    row = edges(graph(rollups(text), "dependency"))["a", "x/y"]
    assert (row["p50_ms"], row["p95_ms"], row["p99_ms"]) == pytest.approx((p50, p95, p99), rel=0.022)


def test_a_services_own_work_is_of_the_kind_of_unit_that_most_of_it_serves() -> None:
    text = """
request web GET /: 10 units, 100 ms
  self web -> (itself) [x]: {} calls, 50 own
message web run: 20 units, 400 ms
  self web -> (itself) [y]: 30 calls, 100 own
"""
    for calls, share in ((31, 0.5), (29, 0.25)):
        made = graph(rollups(text.format(calls)), "service")
        assert made.nodes["share"].to_list() == pytest.approx([share])


def test_units_that_start_at_a_service_count_as_often_as_they_stand_for() -> None:
    """Each stands for four."""
    whole, sampled = (graph(rollups(SHOP, **more), "service").nodes for more in ({}, {"threshold": 3 << 54}))
    assert dict(whole.select("id", "units").iter_rows())["web"] == 40
    assert sampled["units"].to_list() == [4 * units for units in whole["units"]]
    assert sampled["entry"].to_list() == whole["entry"].to_list()


def test_what_is_not_significant_adds_nothing_to_a_graph() -> None:
    """Several operations of an edge, and what a service does itself, add up; each part is of base's clock."""
    whole = graph(rollups(SHOP), "dependency", base=rollups(SHOP))

    def change(name: str, kind: str, ms: float, **more: object) -> Edge:
        return replace(grown(name, "latency_growth", kind=kind), credited_ms=ms, **more)

    changes = [
        change("cart -> postgresql/orders", "db", 2.0, operation="INSERT orders"),
        change("cart -> postgresql/orders", "db", 3.0, operation="SELECT orders"),
        change("web -> cart", "http", 9.0, significant=False),
        change("web", "self", 4.0), change("web", "self", 1.0, operation="GET /home"),
        change("mailer", "self", 5.0, unit="message"),
    ]  # fmt: skip
    made = judged(whole, changes, {"request": 50.0})
    found = edges(made)
    orders, cart = found["cart", "postgresql/orders"], found["web", "cart"]
    assert (orders["significant"], orders["added_ms"], orders["added_part"]) == (True, 5.0, 0.1)
    assert (cart["significant"], cart["added_ms"], cart["added_part"]) == (False, 0.0, 0.0)
    nodes = {
        row["id"]: (row["own_added_ms"], row["own_added_part"]) for row in made.nodes.iter_rows(named=True)
    }
    assert nodes["web"] == (5.0, 0.1)
    assert nodes["mailer"] == (5.0, 0.0)  # of a kind without a clock
    assert nodes["cart"] == nodes["postgresql/orders"] == (0.0, 0.0)


def test_a_queue_that_grew_is_judged_by_its_wait_whoever_published() -> None:
    """Contracted to an edge between services."""
    whole = graph(rollups(SHOP), "service", base=rollups(SHOP))
    wait = replace(
        grown("mail -> mailer", "latency_growth", kind="queue", operation="wait", unit="message"),
        credited_ms=3.0,
    )
    found = edges(judged(whole, [wait], {"message": 30.0}))
    assert (found["cart", "mailer"]["significant"], found["cart", "mailer"]["added_part"]) == (True, 0.1)
    assert not found["web", "cart"]["significant"]
