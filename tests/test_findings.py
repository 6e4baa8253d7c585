"""Architecture findings, each on the smallest system that shows it, and on one that does not."""

from __future__ import annotations

import pytest
from flows import rollups

from tracescope.analysis.rollups.flows import Selection, flows
from tracescope.analysis.topology.findings import (
    Finding,
    _listed,
    _range,
    blast_radius,
    chain_of,
    depths,
    findings,
)
from tracescope.analysis.topology.graph import graph

SHOP = """
request web POST /buy: 40 units, 1000 ms
  http web -> cart [POST /cart]: 40 calls, 40 own, 500 inclusive, 40 visits
    db cart -> redis/carts [HSET cart]: 40 calls, 40 own, 40 visits
    queue cart -> mail [publish]: 40 calls, 10 own, 40 visits
  http web -> orders [POST /orders]: 40 calls, 40 own, 400 inclusive, 40 visits
    db orders -> postgresql/shop [INSERT orders]: 40 calls, 300 own, 40 visits
request web GET /home: 60 units, 1000 ms
  http web -> catalog [GET /items]: 60 calls, 60 own, 600 inclusive, 60 visits
    db catalog -> postgresql/shop [SELECT items]: 600 calls, 400 own, 60 units, 600 visits
message mailer process mail: 40 units, 2000 ms
  queue mail -> mailer [wait]: 40 calls, 1500 own, 2000 inclusive, 40 visits
    db mailer -> postgresql/mail [SELECT mail]: 40 calls, 100 own, 40 visits
"""


def found(text: str, kind: str, base: str | None = None) -> list[Finding]:
    tables = rollups(text)
    made = graph(tables, "dependency", base=None if base is None else rollups(base))
    return [each for each in findings(made, tables) if each.kind == kind]


def test_a_synchronous_cycle_is_told_with_its_way_round() -> None:
    (cycle,) = found(
        """
request a GET /: 10 units, 100 ms
  http a -> b [x]: 10 calls, 10 own, 50 inclusive
    http b -> c [y]: 7 calls, 10 own
request c GET /: 10 units, 100 ms
  rpc c -> a [z]: 3 calls, 10 own
""",
        "cycle",
    )
    assert cycle.nodes == ("a", "b", "c")
    assert cycle.text == "a → b → c → a call each other in a circle, synchronously"
    assert cycle.evidence["synchronous"]
    assert sorted(cycle.evidence["calls"]) == [3, 7, 10]


def test_a_cycle_over_a_queue_is_another_kind() -> None:
    """Who is in the circle does not wait for himself."""
    (cycle,) = found(
        """
request a GET /: 10 units, 100 ms
  queue a -> jobs [publish]: 10 calls, 10 own
message worker process jobs: 10 units, 100 ms
  queue jobs -> worker [wait]: 10 calls, 10 own
    http worker -> a [done]: 10 calls, 10 own
""",
        "cycle",
    )
    assert cycle.nodes == ("a", "jobs", "worker")
    assert not cycle.evidence["synchronous"]


def test_a_system_without_cycles_has_none() -> None:
    assert found(SHOP, "cycle") == []


def test_the_longest_chain_counts_synchronous_hops_and_begins_anew_after_a_queue() -> None:
    (chain,) = found(SHOP, "chain")
    assert chain.evidence["hops"] == 2
    (chain,) = found(
        SHOP
        + "      http mailer -> smtp [x]: 40 calls, 1 own\n        http smtp -> dns [x]: 40 calls, 1 own\n",
        "chain",
    )
    assert chain.evidence["hops"] == 3
    assert chain.nodes == ("mailer", "postgresql/mail", "smtp", "dns")


def test_hubs_have_many_callers_or_callees() -> None:
    calls = "".join(
        f"  http web -> s{at} [x]: 1 calls, 1 own, 2 inclusive\n    db s{at} -> x/y [q]: 1 calls, 1 own\n"
        for at in range(5)
    )
    text = f"request web GET /: 1 units, 100 ms\n{calls}"
    (wide,) = found(text, "fan_out")
    (narrow,) = found(text, "fan_in")
    assert (wide.nodes, wide.evidence["count"]) == (("web",), 5)
    assert (narrow.nodes, narrow.evidence["others"]) == (("x/y",), ["s0", "s1", "s2", "s3", "s4"])
    assert found(SHOP, "fan_in") == []


def test_the_blast_radius_holds_all_that_wait_and_their_part_of_the_traffic() -> None:
    """All requests use postgresql/shop, in both entries; the mailer waits for its own database only."""
    tables = rollups(SHOP)
    spread = {each.node: each for each in blast_radius(graph(tables, "dependency"), tables)}
    shop = spread["postgresql/shop"]
    assert shop.waiting == ("catalog", "orders", "web")
    assert shop.entries == ("web GET /home", "web POST /buy")
    assert shop.traffic == (pytest.approx(1.0), pytest.approx(1.0))
    assert spread["redis/carts"].traffic[1] == pytest.approx(0.4)
    assert spread["redis/carts"].waiting == ("cart", "web")
    mail = spread["postgresql/mail"]
    assert (mail.unit, mail.waiting, mail.traffic[1]) == ("message", ("mailer",), pytest.approx(1.0))
    assert "mailer" not in spread  # nobody waits for a consumer
    assert spread["mail"].waiting == ("cart", "web")  # but for the broker they do


def test_paths_of_one_entry_give_a_range_of_traffic() -> None:
    """Rollups do not say whether the same requests took both paths."""
    tables = rollups("""
request web GET /: 100 units, 100 ms
  http web -> a [x]: 30 calls, 1 own, 2 inclusive
    db a -> x/y [q]: 30 calls, 1 own
  http web -> b [x]: 40 calls, 1 own, 2 inclusive
    db b -> x/y [q]: 40 calls, 1 own
""")
    shared = next(b for b in blast_radius(graph(tables, "dependency"), tables) if b.node == "x/y")
    assert shared.traffic == (pytest.approx(0.4), pytest.approx(0.7))


def test_what_is_left_to_run_holds_nobody_up() -> None:
    tables = rollups("""
request web GET /: 10 units, 100 ms
  http web -> audit [x]: 10 calls, 1 own, 10 detached
""")
    assert blast_radius(graph(tables, "dependency"), tables) == []


def test_a_single_point_is_on_the_critical_path_of_most_traffic() -> None:
    single = found(SHOP, "single_point")
    assert ("postgresql/shop",) in [each.nodes for each in single]
    assert ("redis/carts",) not in [each.nodes for each in single]
    beside = SHOP.replace("600 visits", "0 visits").replace("300 own, 40 visits", "300 own, 0 visits")
    assert ("postgresql/shop",) not in [each.nodes for each in found(beside, "single_point")]


def test_a_chatty_pair_calls_many_times_in_each_unit_that_calls_at_all() -> None:
    (pair,) = found(SHOP, "chatty")
    assert pair.nodes == ("catalog", "postgresql/shop")
    assert pair.evidence["calls_per_unit"] == pytest.approx(10)


def test_a_shared_database_names_its_callers_and_writers() -> None:
    (shared,) = found(SHOP, "shared_database")
    assert shared.nodes == ("postgresql/shop", "catalog", "orders")
    assert shared.evidence["callers"] == {
        "catalog": pytest.approx(600 / 640),
        "orders": pytest.approx(40 / 640),
    }
    assert shared.evidence["writers"] == ["orders"]


def test_new_and_vanished_edges_say_whether_they_may_only_be_rare() -> None:
    """40 calls that are missing prove something, 2 do not."""
    more = (
        SHOP
        + """
request web GET /more: 40 units, 100 ms
  http web -> fresh [x]: 40 calls, 1 own
  http web -> seldom [x]: 2 calls, 1 own
"""
    )
    sure, rare = found(more, "new_edge", base=SHOP)
    assert (sure.nodes, sure.evidence["sure"]) == (("web", "fresh"), True)
    assert (rare.nodes, rare.evidence["sure"]) == (("web", "seldom"), False)
    assert "may only be rare" in rare.text
    assert [each.nodes for each in found(SHOP, "vanished_edge", base=more)] == [sure.nodes, rare.nodes]
    assert found(SHOP, "new_edge", base=SHOP) == []


def test_findings_follow_the_selection() -> None:
    tables, chosen = rollups(SHOP), Selection(keep_entry=lambda _, operation: operation == "POST /buy")
    made = graph(tables, "dependency", selection=chosen)
    assert "chatty" not in {each.kind for each in findings(made, tables, chosen)}


# -- by what is just enough -------------------------------------------------------------------------


def pairs(text: str, kind: str, base: str | None = None) -> list[tuple[str, ...]]:
    return [each.nodes for each in found(text, kind, base)]


def test_a_cycle_is_the_shortest_way_round_and_the_largest_circle_stands_first() -> None:
    """Of calls that were made, to others; a synchronous circle is not told again over its queue."""
    ring = """
request a GET /: 10 units, 100 ms
  http a -> b [x]: 1 calls, 10 own
    http b -> a [x]: 1 calls, 20 own
    http b -> c [x]: 1 calls, 10 own
      http c -> a [x]: 1 calls, 10 own
  queue b -> a [publish]: 1 calls, 1 own
  http a -> a [x]: 5 calls, 1 own
request x GET /: 10 units, 100 ms
  rpc x -> y [x]: 1 calls, 10 own
  http y -> x [x]: 1 calls, 10 own
"""
    told = found(ring, "cycle")
    assert [each.nodes for each in told] == [("a", "b"), ("x", "y")]
    assert told[0].evidence["share"] == pytest.approx(30 / 200)
    assert "in a circle, synchronously" in told[1].text
    assert pairs(ring.replace("http b -> a [x]: 1 calls", "http b -> a [x]: 0 calls"), "cycle")[0] == (
        "a",
        "b",
        "c",
    )
    queued = ring.replace("http b -> a [x]: 1 calls, 20 own", "queue b -> a [x]: 1 calls, 20 own")
    over = [(each.nodes, each.evidence["synchronous"]) for each in found(queued, "cycle")]
    assert over == [(("a", "b", "c"), True), (("x", "y"), True)]
    assert found("request a GET /: 1 units, 1 ms\n  http a -> a [x]: 5 calls, 1 own", "cycle") == []


def test_of_two_ways_round_the_shorter_is_told() -> None:
    """Both begin at the first name."""
    text = """
request a GET /: 1 units, 9 ms
  http a -> b [x]: 1 calls, 1 own
    http b -> c [x]: 1 calls, 1 own
      http c -> a [x]: 1 calls, 1 own
  http a -> d [x]: 1 calls, 1 own
    http d -> a [x]: 1 calls, 1 own
"""
    assert pairs(text, "cycle") == [("a", "d")]


def test_circles_as_large_stand_by_their_first_names() -> None:
    calls = (("a", "z"), ("z", "a"), ("b", "c"), ("c", "b"))
    rows = "".join(f"  http {one} -> {other} [x]: 1 calls, 1 own\n" for one, other in calls)
    assert pairs(f"request a GET /: 1 units, 9 ms\n{rows}", "cycle") == [("a", "z"), ("b", "c")]


def test_what_may_be_several_things_is_no_hub_of_callers() -> None:
    """A numbered database of a report may stand for many."""
    rows = "".join(f"  db {one} -> x/{{}} [q]: 1 calls, 1 own\n" for one in "abcde")
    for name, hubs in (("one", [("x/one",)]), ("00", [])):
        text = "request web GET /: 1 units, 9 ms\n" + rows.replace("{}", name)
        assert pairs(text, "fan_in") == hubs


def test_depths_count_from_the_entry_and_own_work_is_no_hop() -> None:
    """A queue is where the next begins."""
    rows = flows(
        rollups("""
request a GET /: 1 units, 9 ms
  http a -> b [x]: 1 calls, 1 own
    self b -> (itself) [x]: 1 calls, 1 own
    queue b -> t [publish]: 1 calls, 1 own
      http t -> c [x]: 1 calls, 1 own
        db c -> d [x]: 1 calls, 1 own
"""),
        Selection(),
    )
    by_callee = dict(
        zip(rows["callee"].to_list(), zip(depths(rows), range(len(rows)), strict=True), strict=True)
    )
    assert {name: hops for name, (hops, _) in by_callee.items()} == {"b": 1, None: 1, "t": 0, "c": 1, "d": 2}
    assert chain_of(rows, by_callee["d"][1]) == ["t", "c", "d"]
    assert chain_of(rows, by_callee["b"][1]) == ["a", "b"]


def test_of_chains_as_long_that_of_most_units_is_told() -> None:
    text = """
request a GET /: 90 units, 9 ms
  http a -> b [x]: 20 calls, 1 own, 20 units
    db b -> few [q]: 20 calls, 1 own, 20 units
  http a -> c [y]: 30 calls, 1 own, 30 units
    db c -> many [r]: 30 calls, 1 own, 30 units
  http a -> d [z]: 90 calls, 1 own, 90 units
"""
    (chain,) = found(text, "chain")
    assert chain.text == "the longest synchronous chain has 2 hops: a → c → many"
    assert chain.evidence == {"hops": 2, "units": 30, "unit": "request", "operation": "r"}
    assert found("request a GET /: 1 units, 9 ms\n  queue a -> t [publish]: 1 calls, 1 own", "chain") == []
    assert found("request a GET /: 1 units, 9 ms\n  self a -> (itself) [x]: 1 calls, 1 own", "chain") == []


def star(count: int, more: str = "") -> str:
    calls = "".join(f"  http web -> s{at:02} [x]: 1 calls, 1 own\n" for at in range(count))
    return f"request web GET /: 1 units, 100 ms\n{calls}{more}"


def test_a_hub_has_five_others_and_itself_is_none() -> None:
    """Calls that were made; names of the first four, and how many more."""
    assert pairs(star(4, "  http web -> web [x]: 1 calls, 1 own\n"), "fan_out") == []
    assert pairs(star(4, "  http web -> s09 [x]: 0 calls, 1 own\n"), "fan_out") == []
    (five,) = found(star(5), "fan_out")
    assert five.text == "web calls 5 others: s00, s01, s02, s03 and 1 more"
    assert _listed(["a", "b", "c", "d"]) == "a, b, c, d"
    many = "".join(star(5 + at).replace("web", f"w{at}").replace("s0", f"s{at}0") for at in range(7))
    assert pairs(many, "fan_out") == [(f"w{at}",) for at in (6, 5, 4, 3, 2)]
    alike = "".join(star(5).replace("web", name) for name in ("zoo", "ape"))
    assert pairs(alike, "fan_out") == [("ape",), ("zoo",)]


@pytest.mark.parametrize(
    ("low", "high", "words"),
    [(0.2, 0.204, "20.4 %"), (0.2, 0.206, "20 to 20.6 %"), (0.4, 0.7, "40 to 70 %"), (1.0, 1.0, "100 %")],
)
def test_a_range_of_less_than_half_a_point_is_one_figure(low: float, high: float, words: str) -> None:
    assert _range(low, high) == words


def test_a_wide_radius_holds_a_fifth_of_the_units_and_two_who_wait() -> None:
    """Five at most, the widest first."""

    def shop(units: int) -> str:
        return f"""
request web GET /: 100 units, 100 ms
  http web -> a [x]: {units} calls, 1 own, 2 inclusive
    db a -> x/y [q]: {units} calls, 1 own
"""

    (wide,) = found(shop(20), "blast_radius")
    assert wide.nodes == ("x/y",)
    assert wide.text == "when x/y slows, 20 % of requests and 2 services wait: a, web"
    assert wide.evidence == {
        "waiting": ["a", "web"], "entries": ["web GET /"], "unit": "request",
        "traffic_share_least": pytest.approx(0.2), "traffic_share_most": pytest.approx(0.2),
    }  # fmt: skip
    assert found(shop(19), "blast_radius") == []
    rows = "".join(f"    db a -> x/{at} [q]: {90 - at} calls, 1 own\n" for at in range(7))
    text = f"request web GET /: 100 units, 100 ms\n  http web -> a [x]: 100 calls, 1 own, 2 inclusive\n{rows}"
    assert pairs(text, "blast_radius") == [(f"x/{at}",) for at in range(5)]


def test_who_waits_is_told_of_each_node_once_on_a_path_and_of_messages_where_no_request_waits() -> None:
    """Below itself it is counted where it stands first; requests count before messages."""
    tables = rollups("""
request web GET /: 100 units, 100 ms
  http web -> a [x]: 50 calls, 1 own, 9 inclusive, 50 visits
    http a -> b [x]: 50 calls, 1 own, 9 inclusive, 25 visits
      http b -> a [y]: 30 calls, 1 own, 30 visits
message job run: 200 units, 100 ms
  http job -> b [x]: 40 calls, 1 own, 40 visits
  http job -> c [x]: 40 calls, 1 own, 10 units, 20 visits
  queue job -> t [x]: 40 calls, 1 own, 39 detached
  queue job -> u [x]: 40 calls, 1 own, 40 detached
""")
    spread = blast_radius(graph(tables, "dependency"), tables)
    assert [each.node for each in spread] == ["b", "a", "t", "c"]
    b, a, t, c = spread
    assert (a.waiting, a.unit, a.traffic, a.critical) == (("web",), "request", (0.5, 0.5), 0.5)
    assert (b.waiting, b.unit, b.traffic, b.critical) == (("a", "job", "web"), "request", (0.5, 0.5), 0.25)
    assert b.entries == ("web GET /",)
    assert (t.unit, t.traffic) == ("message", (0.2, 0.2))
    assert (c.traffic, c.critical) == ((0.05, 0.05), pytest.approx(5 / 200))


def test_a_single_point_is_on_the_path_of_half_of_the_units_and_no_entry() -> None:
    """Five at most; requests before messages, the most critical first."""

    def shop(visits: int) -> str:
        return f"""
request web GET /: 100 units, 100 ms
  http web -> a [x]: 100 calls, 1 own, {visits} visits
message job run: 10 units, 100 ms
  db job -> pg [q]: 10 calls, 1 own, 10 visits
"""

    assert pairs(shop(50), "single_point") == [("a",), ("pg",)]
    assert pairs(shop(49), "single_point") == [("pg",)]
    (first, _) = found(shop(60), "single_point")
    assert first.text == "about 60 % of requests have a on their critical path"
    assert first.evidence == {
        "critical_share": pytest.approx(0.6),
        "unit": "request",
        "entries": ["web GET /"],
    }
    entered = shop(60) + "request a GET /a: 1 units, 1 ms\n  self a -> (itself) [x]: 1 calls, 1 own\n"
    assert pairs(entered, "single_point") == [("pg",)]
    rows = "".join(f"  db web -> x/{at} [q]: 100 calls, 1 own, {80 + at} visits\n" for at in range(7))
    assert pairs(f"request web GET /: 100 units, 100 ms\n{rows}", "single_point") == [
        (f"x/{at}",) for at in (6, 5, 4, 3, 2)
    ]


def test_a_pair_is_chatty_from_five_calls_in_each_unit_that_calls() -> None:
    """Of all paths together; a service's own work is no call.  Five at most."""
    text = """
request web GET /: 100 units, 100 ms
  http web -> a [x]: 50 calls, 100 own, 10 units, 100 busy
  http web -> b [x]: 49 calls, 1 own, 10 units
  self web -> (itself) [x]: 900 calls, 1 own, 10 units
  http web -> c [x]: 40 calls, 1 own, 10 units
request web GET /more: 100 units, 100 ms
  http web -> c [x]: 30 calls, 1 own, 2 units
"""
    c, a = found(text, "chatty")
    assert (c.nodes, c.evidence["calls_per_unit"]) == (("web", "c"), pytest.approx(70 / 12))
    assert a.text == "web calls a 5 times in each request that calls it at all (x)"
    assert (a.evidence["units"], a.evidence["operation"], a.evidence["mean_ms"]) == (
        10,
        "x",
        pytest.approx(2.0),
    )
    assert (
        pairs("request a GET /: 9 units, 9 ms\n  http a -> b [x]: 9 calls, 1 own, 0 units\n", "chatty") == []
    )
    rows = "".join(f"  db web -> x/{at} [q]: {60 + at} calls, 1 own, 10 units\n" for at in range(7))
    assert pairs(f"request web GET /: 100 units, 100 ms\n{rows}", "chatty") == [
        ("web", f"x/{at}") for at in (6, 5, 4, 3, 2)
    ]


def test_shared_databases_stand_by_who_writes_and_then_by_who_uses() -> None:
    """Ten at most; a database of one service is its own."""

    def used(name: str, *callers: tuple[str, str]) -> str:
        return "".join(f"  db {one} -> {name} [{how} x]: 10 calls, 1 own\n" for one, how in callers)

    rows = (
        used("x/read", ("a", "SELECT"), ("b", "SELECT"), ("c", "get")),
        used("x/wrote", ("a", "SELECT"), ("b", "insert")),
        used("x/both", ("a", "HSET"), ("b", "Update")),
        used("x/own", ("a", "INSERT")),
        used("x/two", ("a", "SELECT"), ("b", "SELECT")),
    )
    text = "request web GET /: 100 units, 100 ms\n" + "".join(rows)
    told = found(text, "shared_database")
    assert [each.nodes[0] for each in told] == ["x/both", "x/wrote", "x/read", "x/two"]
    assert [each.text.partition("services: ")[2] for each in told] == [
        "a, b; a, b write",
        "a, b; b writes",
        "a, b, c",
        "a, b",
    ]
    assert told[0].evidence["callers"] == {"a": 0.5, "b": 0.5}
    many = "".join(used(f"x/{name}", ("a", "SELECT"), ("b", "SELECT")) for name in "abcdefghijkl")
    assert len(found("request web GET /: 100 units, 100 ms\n" + many, "shared_database")) == 10


@pytest.mark.parametrize(
    ("seen", "units", "sure"), [(5, 40, True), (4, 40, False), (10, 20, True), (10, 18, False)]
)
def test_an_edge_that_is_missing_proves_something_from_five_expected_calls_on(
    seen: int, units: int, sure: bool
) -> None:
    """Of as many units in the other period: a chance of a hundredth to miss it is 4.6 calls."""

    def shop(of: int, more: str = "") -> str:
        return f"request web GET /: {of} units, 100 ms\n  http web -> a [x]: {of} calls, 1 own\n{more}"

    whole = shop(40, f"  http web -> b [y]: {seen} calls, 30 own\n")
    for text, base, kind, word in (
        (whole, shop(units), "new_edge", "new"), (shop(units), whole, "vanished_edge", "gone"),
    ):  # fmt: skip
        (one,) = found(text, kind, base=base)
        assert one.evidence["sure"] == sure
        assert one.evidence["expected_calls"] == pytest.approx(seen * units / 40)
        assert (one.evidence["sampled_calls"], one.evidence["share"]) == (seen, pytest.approx(0.3))
        rare = "" if sure else f"; with {seen} calls seen it may only be rare"
        assert one.text == f"web → b (http) is {word} since BASE{rare}"


def test_what_came_stands_before_what_went_and_what_is_sure_first() -> None:
    """Most calls first."""
    base = "request web GET /: 40 units, 9 ms\n  http web -> old [x]: 40 calls, 1 own\n"
    head = "request web GET /: 40 units, 9 ms\n" + "".join(
        f"  http web -> {name} [x]: {n} calls, 1 own\n"
        for name, n in (("few", 2), ("some", 10), ("most", 30))
    )
    tables = rollups(head)
    told = [
        each
        for each in findings(graph(tables, "dependency", base=rollups(base)), tables)
        if "edge" in each.kind
    ]
    assert [(each.kind, each.nodes[1]) for each in told] == [
        ("new_edge", "most"), ("new_edge", "some"), ("new_edge", "few"), ("vanished_edge", "old"),
    ]  # fmt: skip
