"""What a clock is put on: requests, messages, and what is neither because nobody waits for it."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
from builders import MS, Made, frame, tree
from test_import_files import spans_of
from test_rollup import sealed

from tracescope import schema
from tracescope.analysis.rollups.long_lived import find_long_lived, set_apart
from tracescope.analysis.rollups.merge import Tables
from tracescope.analysis.rollups.period import PeriodRollups

CASES = Path(__file__).parent / "data" / "cases"
REQUEST, MESSAGE, DETACHED, LONG = range(4)


def rolled(spans: list[Made]) -> Tables:
    """Rollups of some traces, each a slice of its own."""
    return sealed([frame([one for one in spans if one.trace == trace]) for trace in {s.trace for s in spans}])


def case(name: str) -> Tables:
    """Rollups of a case's file."""
    return sealed([spans_of(CASES / name)])


def clocks(tables: Tables, unit: int) -> list[tuple[str, int, float]]:
    """Entries of one kind of unit: service, units and mean clock in ms."""
    rows = tables["entry_hours"].filter(pl.col("unit") == unit).join(tables["entries"], on="entry_id")
    summed = rows.group_by("service").agg(pl.col("units").sum(), pl.col("clock_ns").sum()).sort("service")
    return [(service, units, clock / units / MS) for service, units, clock in summed.iter_rows()]


def own(tables: Tables, unit: int) -> dict[str, tuple[int, float]]:
    """Calls and critical time in ms of each edge of one kind of unit, by ``kind caller -> callee``."""
    rows = tables["path_hours"].filter(pl.col("unit") == unit).join(tables["paths"], on="path_id")
    out: dict[str, tuple[int, float]] = {}
    for kind, caller, callee, calls, spent in rows.select(
        "kind", "caller", "callee", "calls", "own_ns"
    ).iter_rows():
        name = f"{schema.EDGE_KINDS[kind]} {caller} -> {callee}"
        before = out.get(name, (0, 0.0))
        out[name] = before[0] + calls, before[1] + spent / MS
    return out


def counted(tables: Tables, reason: str) -> int:
    return int(tables["counters"].filter(pl.col("reason") == reason)["count"].sum())


# -- idle is not latency -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "poll",
    [
        "w 0-20000 client receive messaging peer=orders",
        "w 0-20000 consumer receive messaging peer=orders",
        "w 0-20000 internal receive messaging peer=orders",
        "w 0-20000 client empty messaging peer=orders link=8:9",
        "w 0-20000 client receive messaging peer=orders\n  w 1-19999 client http peer=sqs",
        "w 0-20000 internal\n  w 0-20000 client receive messaging peer=orders",
        "w 0-20000 internal\n  w 1-19999 internal\n    w 2-19999 consumer empty messaging peer=orders",
    ],
    ids=["client", "consumer", "internal", "known to be empty", "over http", "in a loop", "deep in a loop"],
)
def test_a_poll_that_found_nothing_is_no_unit_whatever_its_kind(poll: str) -> None:
    """No request, no message, no edge: it is counted, and that is all."""
    tables = rolled([*tree("a 0-20 server"), *tree(poll, trace=2)])
    assert tables["entry_hours"].select("unit", "units").rows() == [(REQUEST, 1)]
    assert own(tables, REQUEST) == {"self a -> None": (1, 20.0)}
    assert counted(tables, "idle_poll") >= 1


def test_a_poll_that_failed_keeps_its_error_and_stays_out_of_the_clock_of_requests() -> None:
    tables = rolled([*tree("a 0-20 server"), *tree("w 0-20000 client receive peer=orders error", trace=2)])
    assert tables["entry_hours"].select("unit", "units", "errors").rows() == [(REQUEST, 1, 0), (LONG, 1, 1)]
    assert counted(tables, "idle_poll") == 0


def test_an_acknowledgement_that_stands_alone_is_no_unit_and_one_in_a_message_is_its_work() -> None:
    alone = rolled(tree("w 0-20 client settle messaging peer=orders"))
    assert alone["entry_hours"].is_empty()
    assert counted(alone, "lone_settle") == 1
    for kind in ("client", "consumer"):
        inside = rolled(
            tree(
                f"""
                a 0-10 producer peer=orders
                  w 20-60 consumer process peer=orders
                    w 50-60 {kind} settle messaging peer=orders
                """
            )
        )
        assert clocks(inside, MESSAGE) == [("w", 1, 50.0)]
        assert own(inside, MESSAGE)["external w -> orders"] == (1, 10.0)


def test_a_poll_in_a_request_is_a_call_that_the_request_waits_for() -> None:
    """Somebody waits for the answer, so its time is theirs, whatever it found."""
    tables = rolled(tree("a 0-50 server\n  a 10-40 client receive messaging peer=orders"))
    assert own(tables, REQUEST) == {"self a -> None": (1, 20.0), "external a -> orders": (1, 30.0)}


@pytest.mark.parametrize("kind", ["client", "consumer"])
@pytest.mark.parametrize("form", ["child", "link"])
def test_a_poll_that_began_before_its_message_counts_from_the_publishing(kind: str, form: str) -> None:
    """95 to 130: what came before was idle."""
    sent = tree("a 0-100 server\n  a 90-95 producer peer=orders", at_ns=2_000_000_000 * 10**9)
    at = {"at_ns": 2_000_000_000 * 10**9, "first": 9}
    poll = f"w -10000-130 {kind} receive peer=orders"
    work = "\n  w 100-125 client db peer=postgresql/ledger"
    if form == "child":
        made = tree(poll.replace("-10000-130", "0-130") + " parent=2" + work, **at)
    else:
        made = tree(poll.replace("-10000-130", "0-130") + " link=2" + work, **at)
    tables = rolled([*sent, *made])
    assert clocks(tables, MESSAGE) == [("w", 1, 35.0)]
    assert own(tables, MESSAGE) == {
        "queue orders -> w": (1, 0.0), "self w -> None": (1, 10.0), "db w -> postgresql/ledger": (1, 25.0),
    }  # fmt: skip


def test_a_poll_in_another_trace_than_its_message_ends_the_wait_where_work_begins() -> None:
    """How long it polled says nothing: the message was published at 10, and work on it began at 80."""
    sent = tree("a 0-20 server\n  a 5-10 producer peer=orders")
    for polled in (5, 12, 79):
        poll = tree(
            f"w {polled}-100 consumer receive peer=orders link=1:2\n  w 80-95 client db peer=pg/x", trace=2
        )
        tables = rolled([*sent, *poll])
        assert clocks(tables, MESSAGE) == [("w", 1, 90.0)]
        assert own(tables, MESSAGE)["queue orders -> w"] == (1, 70.0)


def test_a_message_polled_and_processed_is_one_unit_whatever_the_shape() -> None:
    """Below the poll or beside it, in its trace or the publisher's; the wait ends where processing starts."""
    sent = "a 0-20 server\n  a 5-10 producer peer=orders"
    process = "w 110-150 consumer process peer=orders"
    loop = "w 0-200 internal\n  w 60-105 {} receive peer=orders link=1:2\n  {} link=1:2"
    for kind in ("client", "consumer"):
        for below in (
            f"w 60-105 {kind} receive peer=orders link=1:2\n  {process} link=1:2",
            f"w 60-105 {kind} receive peer=orders link=1:2\n  {process}",
            f"w 60-155 {kind} receive peer=orders\n  {process} link=1:2",
            loop.format(kind, process),
        ):
            tables = rolled([*tree(sent), *tree(below, trace=2)])
            assert clocks(tables, MESSAGE) == [("w", 1, 140.0)], below
            assert own(tables, MESSAGE)["queue orders -> w"] == (1, 100.0), below
            assert [unit for _, unit, _ in clocks(tables, REQUEST)] == [1], below


# -- a hop is a hop ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "outer", ["w 90-170 server", "w 90-170 internal", "w 90-170 internal\n  w 91-169 internal"]
)
def test_a_consumer_below_its_own_services_span_is_a_hop(outer: str) -> None:
    sent = tree("a 0-20 server\n  a 5-10 producer peer=orders")
    indent = "    " if "\n" in outer else "  "
    for where, trace in (("link=2", 1), ("link=1:2", 2)):
        made = tree(f"{outer}\n{indent}w 110-150 consumer process peer=orders {where}", trace=trace, first=9)
        tables = rolled([*sent, *made])
        assert clocks(tables, MESSAGE) == [("w", 1, 140.0)]
        assert own(tables, MESSAGE)["queue orders -> w"] == (1, 100.0)


def test_work_that_another_service_does_about_what_was_published_is_a_message() -> None:
    """A framework's SERVER span, say, below the publisher's."""
    tables = rolled(
        tree("a 0-20 server\n  a 5-10 producer peer=orders\n    w 110-150 server peer=own-address")
    )
    assert clocks(tables, MESSAGE) == [("w", 1, 140.0)]
    assert own(tables, MESSAGE)["queue orders -> w"] == (1, 100.0)


def test_a_consumer_that_marks_an_arrival_lasts_as_long_as_its_listener() -> None:
    tables = case("brave-kafka-poll.json")
    assert clocks(tables, MESSAGE) == [("billing", 1, pytest.approx(288.5))]
    spent = own(tables, MESSAGE)
    assert [row for name, row in spent.items() if name.startswith("queue")] == [(1, pytest.approx(38.0))]
    assert sum(ms for _, ms in spent.values()) == pytest.approx(288.5)
    assert sum(ms for name, (_, ms) in spent.items() if "ledger" in name) == pytest.approx(200.0)
    assert clocks(tables, DETACHED) == []


# -- long-lived work -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "work",
    [
        "a 0-600000 server stream",
        "a 0-600000 server\n  a 1-599999 internal stream",
        "b 0-600000 client\n  a 2-599000 server stream",
        "a 0-3000 internal scheduled",
        "a 0-5000 internal\n  a 1-4000 client receive peer=orders\n  a 4500-4900 client db peer=pg/x",
    ],
    ids=["stream", "wrapped", "seen by its server", "scheduled", "loop that works"],
)
def test_long_lived_work_has_a_clock_of_its_own(work: str) -> None:
    tables = rolled([*tree("a 0-20 server"), *tree(work, trace=2)])
    assert clocks(tables, REQUEST) == [("a", 1, 20.0)]
    assert [units for _, units, _ in clocks(tables, LONG)] == [1]


def test_a_short_stream_in_a_request_leaves_it_a_request() -> None:
    tables = rolled(tree("a 0-100 server\n  a 10-50 client stream"))
    assert clocks(tables, REQUEST) == [("a", 1, 100.0)]


# -- cases ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "service", "units", "clock_ms", "wait_ms"),
    [
        ("receive-poll-before-message.jsonl", "accounting", 1, 35.0, 0.0),
        ("receive-client-then-process.jsonl.gz", "worker", 10, 140.0, 100.0),
        ("lambda-sqs-process-under-server.jsonl.gz", "bill-fn", 10, 140.0, 100.0),
        ("lambda-sqs-batch-and-messages.jsonl.gz", "bill-fn", 20, 150.0, 80.0),
        ("kafka-java-receive.jsonl.gz", "worker", 30, 134.0, 114.0),
    ],
)
def test_messages_of_a_case_are_as_many_and_as_long_as_they_were(
    name: str, service: str, units: int, clock_ms: float, wait_ms: float
) -> None:
    tables = case(name)
    assert clocks(tables, MESSAGE) == [(service, units, pytest.approx(clock_ms, abs=0.001))]
    calls, waited = own(tables, MESSAGE)[f"queue orders -> {service}"]
    assert (calls, waited / calls) == (units, pytest.approx(wait_ms, abs=0.001))


def test_late_work_below_a_call_stays_detached() -> None:
    tables = case("temporal.jsonl.gz")
    assert clocks(tables, REQUEST) == [("starter", 10, pytest.approx(20.0))]
    assert [units for _, units, _ in clocks(tables, DETACHED)] == [10, 10]


def test_a_websocket_is_told_by_its_status_and_a_stream_that_says_nothing_by_its_length() -> None:
    """101 sets the one apart as it is read; the other is a request until a period is looked at."""
    tables = case("websocket.jsonl.gz")
    assert clocks(tables, LONG) == [("chat", 1, pytest.approx(3_000_000.0))]
    assert clocks(tables, REQUEST) == [
        ("chat", 200, pytest.approx(20.0)), ("feed", 1, pytest.approx(3_000_000.0)),
    ]  # fmt: skip
    whole = PeriodRollups(0, 0, schema.HOUR_NS, "", tables)
    apart = set_apart(whole, find_long_lived(whole))
    assert [service for service, _, _ in clocks(dict(apart.tables), REQUEST)] == ["chat"]


def test_a_batch_polled_in_one_trace_and_processed_in_the_publishers_is_as_many_messages() -> None:
    """Each process span is its publisher's child; the poll's links name the same messages, and add none."""
    sent = [
        one
        for n in (1, 2, 3)
        for one in tree(
            "a 0-20 server\n  a 5-10 producer peer=orders\n    w 110-150 consumer process peer=orders",
            trace=n,
        )
    ]
    poll = tree("w 60-105 client receive peer=orders link=1:2 link=2:2 link=3:2", trace=4)
    tables = rolled([*sent, *poll])
    assert clocks(tables, MESSAGE) == [("w", 3, 140.0)]
    assert own(tables, MESSAGE) == {"queue orders -> w": (3, 300.0), "self w -> None": (3, 120.0)}
    elsewhere = [
        one for n in (1, 2, 3) for one in tree("a 0-20 server\n  a 5-10 producer peer=orders", trace=n)
    ]
    others = [
        one
        for n in (1, 2, 3)
        for one in tree(f"w 110-150 consumer process peer=orders link={n}:2", trace=10 + n)
    ]
    tables = rolled([*elsewhere, *poll, *others])
    assert clocks(tables, MESSAGE) == [("w", 3, 140.0)]
