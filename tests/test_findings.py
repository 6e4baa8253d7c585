"""Architecture findings, each on the smallest system that shows it, and on one that does not."""

from __future__ import annotations

import pytest
from flows import rollups

from tracescope.analysis.rollups.flows import Selection
from tracescope.analysis.topology.findings import Finding, blast_radius, findings
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
