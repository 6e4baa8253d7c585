"""What looks like growth and is none: `diff` must not blame anybody for it."""

from __future__ import annotations

import numpy as np
import pytest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import TracesData
from simulated import START_NS, Work, call, compare, edge, parallel, period, query, serve, spans

from tracescope import schema
from tracescope.analysis.diff import Options, diff
from tracescope.analysis.report import Report
from tracescope.ingest.decode import decode

DAY_NS = schema.DAY_NS


def shop(ms: float = 5.0, own: float = 2.0) -> Work:
    return serve(
        "gateway",
        "GET /cart",
        own,
        [call("cart", "GET /cart", 1.0, [query("postgresql/cart", "SELECT", ms)])],
    )


def blamed(report: Report) -> list[str]:
    """Edges said to take more."""
    return [e.name for e in report.edges if e.significant and e.credited_ms > 0]


def days(program, first: int, count: int, *, per_hour: int = 2, seed: int = 0, jitter: float = 0.05):
    """Rollups of some days, counted from a Monday."""
    start = START_NS + first * DAY_NS
    made = spans(program, start_ns=start, hours=24 * count, per_hour=per_hour, seed=seed, jitter=jitter)
    return period(made, start, 24 * count)


def test_a_change_of_the_sampling_probability_is_neither_growth_nor_mix() -> None:
    """Half-way through head, fast requests are sampled at one in eight; each then counts for eight."""
    eighth = int(2**56 * 7 / 8)

    def base(_: np.random.Generator, at: float) -> Work:
        number = round(at * 24 * 16)
        return serve("shop", "slow", 100.0) if number % 2 else serve("shop", "fast", 10.0)

    def head(_: np.random.Generator, at: float) -> Work:
        number = round(at * 24 * 9)
        if at < 0.5:  # nine an hour, each stands for 16/9 of base's: one slow, one fast
            return serve("shop", "slow", 100.0) if number % 2 else serve("shop", "fast", 10.0)
        # one in eight fast ones is kept: eight slow ones for each
        return (
            serve("shop", "fast", 10.0, threshold=eighth) if number % 9 == 0 else serve("shop", "slow", 100.0)
        )

    start, later = START_NS, START_NS + DAY_NS
    report = diff(
        period(spans(base, start_ns=start, hours=24, per_hour=16), start, 24),
        period(spans(head, start_ns=later, hours=24, per_hour=9), later, 24),
        Options(),
    )
    assert blamed(report) == []
    assert abs(report.clock["delta_ms"]) < 0.01 * report.clock["base_ms"]
    assert any("sampling probability changed" in note for note in report.notes)


def test_one_more_monday_is_no_growth() -> None:
    """Mondays are three times as slow; head has three of them, base one."""

    def week(first: int, count: int):
        return lambda _rng, at: shop(15.0 if (first + int(at * count)) % 7 == 0 else 5.0)

    report = diff(days(week(1, 13), 1, 13), days(week(14, 15), 14, 15, seed=1), Options())
    assert blamed(report) == []
    assert report.clock["head_raw_ms"] - report.clock["base_raw_ms"] > 0.1 * report.clock["base_raw_ms"]
    assert abs(report.clock["delta_ms"]) < 0.02 * report.clock["base_ms"]


def test_a_share_that_rises_because_other_work_shrank_is_no_finding() -> None:
    """The database's share goes from a fifth to a half, its milliseconds stay."""
    report = compare(shop(own=20.0), shop(own=4.0), jitter=0.05)
    database = edge(report, "cart -> postgresql/cart")
    assert database.share_head > 2 * database.share_base
    assert blamed(report) == []
    assert report.state == "growth-stable"


def test_traffic_that_doubles_with_flat_latency_is_no_finding() -> None:
    """Twice the requests, the same milliseconds each."""
    halves = [days(shop(), number, 1, per_hour=4 * (number + 1), seed=number) for number in (0, 1)]
    report = diff(halves[0], halves[1], Options())
    assert report.head.units == 2 * report.base.units
    assert blamed(report) == []


def test_a_spike_of_one_day_is_transient_and_not_ranked() -> None:
    """One day of head's fourteen is twenty times as slow: shown as transient, no edge grows."""

    def spiked(_: np.random.Generator, at: float) -> Work:
        return shop(100.0 if 5 / 14 <= at < 6 / 14 else 5.0)

    report = diff(days(shop(), 0, 14), days(spiked, 14, 14, seed=1), Options())
    database = edge(report, "cart -> postgresql/cart")
    assert blamed(report) == []
    assert database.effects["transient"] == pytest.approx(95 / 14, rel=0.1)
    assert abs(database.credited_ms) < 0.1
    assert report.clock["delta_ms"] == pytest.approx(95 / 14, rel=0.1)


def test_one_per_cent_of_lost_spans_is_no_new_dependency() -> None:
    """In head every hundredth call lost its SERVER span; the caller's span still names the peer."""

    def lossy(_: np.random.Generator, at: float) -> Work:
        lost = round(at * 24 * 50) % 100 == 0
        return serve(
            "gateway", "GET /cart", 2.0,
            [call("cart", "GET /cart", 1.0, [query("postgresql/cart", "SELECT", 5.0)], lost=lost)],
        )  # fmt: skip

    start, later = START_NS, START_NS + DAY_NS
    report = diff(
        period(spans(shop(), start_ns=start, hours=24, per_hour=50, jitter=0.05), start, 24),
        period(spans(lossy, start_ns=later, hours=24, per_hour=50, jitter=0.05, seed=1), later, 24),
        Options(min_effect_ms=1e-3),
    )
    assert blamed(report) == []
    assert report.effects_total["new"] == 0.0
    assert abs(edge(report, "gateway -> cart").credited_ms) < 1e-3
    assert sum(report.effects_total.values()) == pytest.approx(report.clock["delta_ms"], abs=1e-9)


def test_a_branch_that_grows_off_the_critical_path_is_no_finding() -> None:
    """A prefetch beside a slower query doubles and is still not waited for."""

    def program(ms: float) -> Work:
        return serve(
            "shop",
            "GET /",
            2.0,
            [parallel(query("postgresql/a", "SELECT", 40.0), query("redis/b", "GET", ms))],
        )

    report = compare(program(8.0), program(16.0), jitter=0.05)
    assert blamed(report) == []


OLD = {
    "server": {"http.method": "GET", "http.route": "/cart"},
    "client": {"http.method": "GET", "http.route": "/items", "net.peer.name": "cart"},
    "db": {"db.system": "postgresql", "db.name": "cart", "db.operation": "SELECT", "db.sql.table": "items"},
}
NEW = {
    "server": {"http.request.method": "GET", "http.route": "/cart"},
    "client": {"http.request.method": "GET", "http.route": "/items", "server.address": "cart"},
    "db": {
        "db.system.name": "postgresql", "db.namespace": "cart", "db.operation.name": "SELECT",
        "db.collection.name": "items",
    },
}  # fmt: skip


def test_renamed_attributes_after_a_library_upgrade_change_nothing() -> None:
    """Semantic conventions of 1.20 in base, of 1.30 in head: the same paths, nothing new or gone."""

    def written(names: dict[str, dict[str, str]], start_ns: int):
        data = TracesData()
        part = data.resource_spans.add()
        part.resource.attributes.append(KeyValue(key="service.name", value=AnyValue(string_value="gateway")))
        scope = part.scope_spans.add()
        for number in range(96):
            at = start_ns + number * schema.HOUR_NS // 4
            for span, (role, kind, begin, end) in enumerate(
                (("server", 2, 0, 20), ("client", 3, 1, 9), ("db", 3, 10, 18)), 1
            ):
                made = scope.spans.add(
                    trace_id=(start_ns + number).to_bytes(16, "big"), span_id=span.to_bytes(8, "big"),
                    parent_span_id=b"" if span == 1 else (1).to_bytes(8, "big"), name=role, kind=kind,
                    start_time_unix_nano=at + begin * 10**6, end_time_unix_nano=at + end * 10**6,
                )  # fmt: skip
                for key, value in names[role].items():
                    made.attributes.append(KeyValue(key=key, value=AnyValue(string_value=value)))
        return period(decode([data.SerializeToString()], start_ns + DAY_NS).spans, start_ns, 24)

    report = diff(written(OLD, START_NS), written(NEW, START_NS + DAY_NS), Options())
    assert {e.name for e in report.edges} == {
        "gateway (itself)", "gateway -> cart", "gateway -> postgresql/cart"
    }  # fmt: skip
    assert all(value == 0 for e in report.edges for value in e.effects.values())


def test_a_large_rise_that_cannot_be_told_from_chance_is_no_clean_bill() -> None:
    """A database that swings between 5 and 120 ms for days on end: nobody is blamed, nor declared stable."""
    slow_days = {2, 3, 4, 5, 10, 11}

    def swinging(_: np.random.Generator, at: float) -> Work:
        return shop(120.0 if int(at * 14) in slow_days else 5.0)

    report = diff(days(lambda *_: shop(), 0, 14), days(swinging, 14, 14, seed=1), Options())
    database = edge(report, "cart -> postgresql/cart")
    assert database.credited_ms > 20
    assert blamed(report) == []
    assert report.state == "insufficient data"
    assert "could be chance" in report.reasons[0]
    assert report.reasons[0].startswith("cart -> postgresql/cart")
