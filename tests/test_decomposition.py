"""Call trees with known times: what changed is what `diff` says changed, and what it cost.

Every tree's clock can be worked out by hand (`tests/simulated.py`), so the oracle is arithmetic.
"""

from __future__ import annotations

import numpy as np
import pytest
from simulated import (
    Work,
    call,
    compare,
    edge,
    inside,
    later,
    parallel,
    publish,
    query,
    serve,
    told,
)

from tracescope.analysis.report import Report

CART = "cart -> pricing GET /price"


def table(name: str, ms: float, times: int = 1) -> Work:
    return query(f"postgresql/{name}", f"SELECT {name}", ms, times)


ORDERS = call("orders", "GET /o", 3.0, [table("orders", 5)])


def gateway(*children: Work, ms: float = 2.0) -> Work:
    return serve("gateway", "GET /cart", ms, children)


def delta(report: Report) -> float:
    assert sum(report.effects_total.values()) == pytest.approx(
        report.clock["delta_ms"], abs=1e-9 * report.clock["base_ms"]
    )
    return report.clock["delta_ms"]


def test_an_n_plus_1_is_credited_to_the_edge_that_repeats_and_not_to_what_lies_under_it() -> None:
    """1 -> 5 calls of a service with four leaves under it, 3 ms each: +12 ms of calls on one edge."""
    leaves = [query(f"redis/{k}", "GET", 0.5) for k in range(4)]

    def shop(times: int) -> Work:
        return gateway(
            call("cart", "GET /cart", 1.0, [call("pricing", "GET /price", 1.0, leaves, times=times)])
        )

    report = compare(shop(1), shop(5))
    assert delta(report) == pytest.approx(12.0)
    assert told(report) == {CART: {"calls": pytest.approx(12.0)}}
    assert report.edges[0].name == "cart -> pricing"
    assert report.edges[0].calls_per_unit_head == 5


def test_a_new_subtree_is_new_at_its_top_only() -> None:
    """A service and its database appear under one call: +4 ms on that call."""
    report = compare(
        gateway(table("cart", 5)),
        gateway(table("cart", 5), call("fraud", "POST /check", 1.0, [table("rules", 3)])),
    )
    assert delta(report) == pytest.approx(4.0)
    assert told(report) == {"gateway -> fraud POST /check": {"new": pytest.approx(4.0)}}


def test_a_gone_subtree_is_gone_at_its_top_only() -> None:
    """The same, backwards."""
    report = compare(
        gateway(table("cart", 5), call("fraud", "POST /check", 1.0, [table("rules", 3)])),
        gateway(table("cart", 5)),
    )
    assert delta(report) == pytest.approx(-4.0)
    assert told(report) == {"gateway -> fraud POST /check": {"gone": pytest.approx(-4.0)}}


def test_parallel_calls_made_serial_are_criticality_of_the_calls_that_now_wait() -> None:
    """max(10, 9, 8) becomes 10 + 9 + 8."""
    calls = [table("a", 10), table("b", 9), table("c", 8)]
    report = compare(gateway(parallel(*calls)), gateway(*calls))
    assert delta(report) == pytest.approx(17.0)
    assert told(report) == {
        "gateway -> postgresql/b SELECT b": {"criticality": pytest.approx(9.0)},
        "gateway -> postgresql/c SELECT c": {"criticality": pytest.approx(8.0)},
    }


def test_noisy_parallel_calls_made_serial_are_still_criticality() -> None:
    """Each branch is sometimes the longest; most of the change is criticality all the same."""
    calls = [table("a", 10), table("b", 9), table("c", 8)]
    report = compare(gateway(parallel(*calls)), gateway(*calls), jitter=0.1)
    assert report.effects_total["criticality"] >= 0.9 * delta(report)


@pytest.mark.parametrize("jitter", [0.0, 0.05])
def test_a_wider_parallel_fan_out_that_costs_nothing_is_nobodys_fault(jitter: float) -> None:
    """3 -> 8 equal calls at the same time: only what waiting for the slowest of more costs."""
    report = compare(
        gateway(parallel(table("cart", 10, times=3))),
        gateway(parallel(table("cart", 10, times=8))),
        jitter=jitter,
    )
    assert report.effects_total["calls"] == pytest.approx(0.0, abs=0.1)
    assert report.effects_total["criticality"] == pytest.approx(0.0, abs=0.1)
    assert delta(report) == pytest.approx(0.0, abs=10 * 2 * jitter + 1e-9)


@pytest.mark.parametrize("jitter", [0.0, 0.05])
def test_a_branch_that_takes_over_because_it_got_slower_is_latency_of_that_branch(jitter: float) -> None:
    """max(10, 8) becomes max(10, 14): +4 ms, all of them b's, although a lost 10 and b gained 14."""
    report = compare(
        gateway(parallel(table("a", 10), table("b", 8))),
        gateway(parallel(table("a", 10), table("b", 14))),
        jitter=jitter,
    )
    slow = edge(report, "gateway -> postgresql/b")
    assert slow.effects["latency_unsplit"] == pytest.approx(delta(report), abs=0.1)
    assert slow.effects["criticality"] == 0.0
    assert abs(edge(report, "gateway -> postgresql/a").credited_ms) < 0.05


@pytest.mark.parametrize("below", [False, True], ids=["queries", "services"])
def test_branches_that_change_places_are_nobodys_fault(below: bool) -> None:
    """max(10, 8) becomes max(8, 10): b got slower and a faster, and their caller waits as long as before.

    With a whole service in each branch as with a query: what lies below a branch is netted with it.
    """

    def branch(name: str, ms: float) -> Work:
        if not below:
            return table(name, ms)
        return call(name, f"GET /{name}", 0.4 * ms, [table(name, 0.6 * ms)])

    def shop(a: float, b: float) -> Work:
        return gateway(parallel(branch("a", a), branch("b", b)))

    report = compare(shop(10, 8), shop(8, 10), jitter=0.15)
    assert delta(report) == pytest.approx(0.0, abs=0.5)
    of = dict.fromkeys("ab", 0.0)
    for found in report.edges:
        if found.caller in of or found.name != "gateway (itself)":
            of[found.name.split("(")[0].rstrip("/ ").split("/")[-1].split()[-1]] += found.credited_ms
    assert sum(of.values()) == pytest.approx(delta(report), abs=0.1)
    assert min(map(abs, of.values())) < 0.02, of


def test_middleware_spans_make_nothing_new() -> None:
    """INTERNAL spans around calls, own time unchanged: no effect anywhere."""
    plain = gateway(call("orders", "GET /orders", 3.0, [table("orders", 5)]))
    wrapped = gateway(
        inside(
            "auth",
            1.0,
            [
                call(
                    "orders",
                    "GET /orders",
                    1.0,
                    [inside("log", 1.0, [inside("trace", 1.0, [table("orders", 5)])])],
                )
            ],
        ),
        ms=1.0,
    )
    report = compare(plain, wrapped)
    assert delta(report) == pytest.approx(0.0)
    assert told(report) == {}


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (ORDERS, call("orders-v2", "GET /o", 3.0, [table("orders", 5)])),
        (ORDERS, call("orders", "GET /o2", 3.0, [table("orders", 5)])),
        (table("orders", 5), query("postgres/orders", "SELECT orders", 5)),
    ],
    ids=["service", "operation", "database"],
)
def test_a_renamed_path_is_not_a_change(before: Work, after: Work) -> None:
    """Gone here and new there, at the same cost: netted."""
    report = compare(gateway(before), gateway(after))
    assert told(report) == {}
    assert report.state == "growth-stable"


def test_a_renamed_path_that_also_got_slower_keeps_what_it_got_slower_by() -> None:
    """5 ms as one name, 7 ms as another: +2 ms of latency, nothing new, nothing gone."""
    report = compare(gateway(table("orders", 5)), gateway(query("postgres/orders", "SELECT orders", 7)))
    assert report.effects_total["latency_unsplit"] == pytest.approx(2.0)
    assert report.effects_total["new"] == report.effects_total["gone"] == 0.0


def test_what_grew_below_a_renamed_service_is_credited_to_where_it_grew() -> None:
    """A new name above, a slower query below: 4 ms of latency at the query, and nothing at the name."""

    def shop(service: str, ms: float, *more: Work) -> Work:
        return gateway(
            call(service, "POST /reserve", 3.0, [table("stock", 5), query("redis/hot", "GET", ms), *more])
        )

    report = compare(
        shop("inventory", 2.0), shop("stock-keeping", 6.0, query("mongodb/audit", "INSERT", 1.5))
    )
    assert told(report) == {
        "stock-keeping -> redis/hot GET": {"latency_unsplit": 4.0},
        "stock-keeping -> mongodb/audit INSERT": {"new": 1.5},
    }
    assert sum(report.effects_total.values()) == pytest.approx(report.clock["delta_ms"], abs=1e-9)
    assert edge(report, "stock-keeping -> redis/hot").own_ms_base == pytest.approx(2.0)
    assert any(
        "inventory POST /reserve → gateway -> stock-keeping POST /reserve" in note for note in report.notes
    )


def test_a_name_that_changes_in_the_middle_of_head_is_one_path() -> None:
    """The release is rolled out on some day of HEAD: before and after it is the same call."""

    def program(_rng: np.random.Generator, at: float) -> Work:
        name = "orders" if at < 0.6 else "orders-v2"
        return gateway(call(name, "GET /o", 3.0, [table("orders", 5)]))

    report = compare(gateway(ORDERS), program, hours=96)
    assert told(report) == {}
    assert edge(report, "orders-v2 (itself)").own_ms_base == pytest.approx(3.0)


def test_everything_doubled_is_a_finding_although_no_share_moves() -> None:
    """Shares stay, milliseconds double: each edge is credited its own."""

    def shop(factor: float) -> Work:
        return gateway(
            call("orders", "GET /orders", 3.0 * factor, [table("orders", 5 * factor)]), ms=2.0 * factor
        )

    report = compare(shop(1), shop(2), jitter=0.02)
    assert report.state == "drifting"
    found = {e.name: e.credited_ms for e in report.edges if e.significant}
    assert found == {
        "orders -> postgresql/orders": pytest.approx(5, rel=0.05),
        "orders (itself)": pytest.approx(3, rel=0.05),
        "gateway (itself)": pytest.approx(2, rel=0.05),
    }
    assert all(abs(e.share_head - e.share_base) < 0.02 for e in report.edges)


def test_a_shift_of_traffic_between_entries_is_mix_by_midpoint_weights() -> None:
    """Slow 300 ms from 25 to 75 % of traffic while fast goes from 100 to 180 ms: of +120 ms, 80 are mix.

    (Standardised to base they would be 100, with logarithmic weights 85.)
    """

    def shop(slow_of_4: int, fast_ms: float):
        turn = iter(range(10**6))
        return lambda _rng, _at: (
            serve("shop", "slow", 300.0) if next(turn) % 4 < slow_of_4 else serve("shop", "fast", fast_ms)
        )

    report = compare(shop(1, 100.0), shop(3, 180.0))
    assert delta(report) == pytest.approx(120.0)
    assert report.effects_total["mix"] == pytest.approx(80.0)
    assert report.clock["delta_mix_adjusted_ms"] == pytest.approx(40.0)
    credited = {e.operation: e.credited_ms for e in report.edges}
    assert credited == {"slow": pytest.approx(0.0), "fast": pytest.approx(40.0)}


def test_messages_have_a_clock_of_their_own() -> None:
    """A queue that backs up moves no request: +20 ms per message, +0 per request."""
    base = gateway(publish("orders", 10, "shipping", 4))
    head = gateway(publish("orders", 30, "shipping", 4))
    report = compare(base, head)
    assert delta(report) == pytest.approx(0.0)
    assert report.other_clocks["message"]["base_ms"] == pytest.approx(14.0)
    assert report.other_clocks["message"]["delta_ms"] == pytest.approx(20.0)
    assert report.edges[0].unit == "message"
    assert report.edges[0].operation == "wait"
    assert report.edges[0].credited_ms == pytest.approx(20.0)
    assert sum(report.effects_total.values()) == pytest.approx(0.0, abs=1e-9)


def test_more_messages_per_request_are_calls_of_the_publish_edge() -> None:
    """One message becomes three: the publish edge is called three times, the message's clock stays."""

    def shop(times: int) -> Work:
        return gateway(*[publish("orders", 10, "shipping", 4)] * times)

    report = compare(shop(1), shop(3))
    sent = edge(report, "gateway -> orders", "publish")
    assert (sent.calls_per_unit_base, sent.calls_per_unit_head) == (1.0, 3.0)
    assert report.other_clocks["message"]["delta_ms"] == pytest.approx(0.0)


def test_detached_work_has_a_clock_of_its_own() -> None:
    """What nobody waits for gets slower: the request does not."""
    report = compare(
        gateway(inside("a", 10), later("gateway", "audit", 50)),
        gateway(inside("a", 10), later("gateway", "audit", 90)),
    )
    assert delta(report) == pytest.approx(0.0)
    assert report.other_clocks["detached"]["delta_ms"] == pytest.approx(40.0)


def test_a_call_that_is_no_longer_waited_for_reads_blocking_rule_changed_and_is_not_ranked() -> None:
    """From waited for to detached: neither faster nor gone, and nothing to rank."""
    report = compare(
        gateway(inside("a", 10), call("audit", "POST /log", 30)),
        gateway(inside("a", 10), later("audit", "POST /log", 30)),
    )
    changed = edge(report, "gateway -> audit")
    assert changed.note == "blocking rule changed"
    assert not changed.significant
    assert changed.q_value is None
    assert changed.shrunk_ms == 0.0
