"""Clocks that differ: every answer inside its call, and the time where it was spent."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from random import Random

import polars as pl
import pytest
import simulated
import twin
from builders import EPOCH_NS, MS, Made, frame, tree
from calls import calls, outside
from hypothesis import given, settings
from hypothesis import strategies as st
from simulated import START_NS, call, period, serve
from test_import_files import spans_of

from tracescope import schema
from tracescope.analysis.diff import Options, diff
from tracescope.analysis.rollups.process import Names, span_arrays
from tracescope.analysis.rollups.trace_path import TracePath, critical_path
from tracescope.conventions import semconv
from tracescope.kernels.forest import Forest, build_forest
from tracescope.kernels.walk import walk

Said = dict[str, str]
CASES = Path(__file__).parent / "data" / "cases"
SEEDS = st.integers(0, 2**32)
CHECKED = settings(max_examples=150, deadline=None)


def reconciled(spans: list[Made], *, skew: bool = True) -> tuple[list[Made], Forest]:
    """Spans with their times corrected, by number, and their forest."""
    rows = frame(spans)
    forest = build_forest(span_arrays(rows, Names(rows)), skew=skew)
    offsets = zip(forest.order.tolist(), forest.offset_ns.tolist(), strict=True)
    moved = [replace(spans[at], start=spans[at].start + by, end=spans[at].end + by) for at, by in offsets]
    return sorted(moved, key=lambda span: span.span), forest


def times(spans: list[Made]) -> dict[int, tuple[float, float]]:
    """Start and end of each span in ms."""
    return {one.span: ((one.start - EPOCH_NS) / MS, (one.end - EPOCH_NS) / MS) for one in spans}


def own_ns(spans: list[Made], *, skew: bool) -> dict[int, int]:
    """Critical time of each span."""
    rows = frame(spans)
    forest = build_forest(span_arrays(rows, Names(rows)), skew=skew)
    return {
        spans[at].span: int(own)
        for at, own in zip(forest.order.tolist(), walk(forest, eps=False).own_ns.tolist(), strict=True)
    }


def path_ms(path: TracePath) -> dict[str, float]:
    """Critical time by service and operation, in ms."""
    rows = path.spans.group_by("service", "operation").agg(pl.col("own_ns").sum() / 1e6)
    return {f"{service} {operation}": own for service, operation, own in rows.iter_rows()}


# -- laws ----------------------------------------------------------------------------------------


@CHECKED
@given(SEEDS, st.sampled_from([0.0, 0.5, 1.0]), st.booleans())
def test_no_answer_lies_outside_its_call_where_offsets_can_be_had(
    seed: int, named: float, serial: bool
) -> None:
    """Each clock has one true offset, so the calls' constraints have a solution, and it is found."""
    sent = calls(seed, named=named, serial=serial)
    moved, forest = reconciled(sent.spans)
    assert outside(moved) == []
    assert forest.counters()["skew_uncertain"] == forest.counters()["detached"] == 0


@CHECKED
@given(SEEDS, st.sampled_from([0.0, 0.5, 1.0]))
def test_time_stays_with_the_span_that_spent_it(seed: int, named: float) -> None:
    """Of calls one after another, each span's critical time is that of true clocks."""
    sent = calls(seed, named=named)
    assert own_ns(sent.spans, skew=True) == own_ns(sent.true, skew=False)


@CHECKED
@given(SEEDS, st.sampled_from([0.0, 0.5, 1.0]), st.booleans())
def test_clocks_that_are_right_are_left_alone(seed: int, named: float, serial: bool) -> None:
    """Where zero is feasible for all of them, nothing moves."""
    sent = calls(seed, named=named, skewed=0.0, serial=serial)
    moved, forest = reconciled(sent.spans)
    assert moved == sent.spans
    assert not forest.offset_ns.any()


@CHECKED
@given(SEEDS, st.sampled_from([0.0, 0.5, 1.0]), SEEDS)
def test_the_order_of_spans_says_nothing_about_clocks(seed: int, named: float, shuffle: int) -> None:
    sent = calls(seed, named=named)
    shuffled = list(sent.spans)
    Random(shuffle).shuffle(shuffled)
    assert reconciled(shuffled)[0] == reconciled(sent.spans)[0]


@CHECKED
@given(SEEDS, st.sampled_from([0.0, 0.5, 1.0]), SEEDS)
def test_offsets_are_those_of_the_twin_even_where_calls_contradict_each_other(
    seed: int, named: float, noise: int
) -> None:
    """Some answers are moved, stretched or robbed of their host, so that no offsets fit them all."""
    random = Random(noise)
    spans: list[Made] = []
    for span in calls(seed, named=named, serial=False).spans:
        start, end, host = span.start, span.end, span.host
        if random.random() < 0.1:
            start, end = start + random.choice((-700, 3, 700)) * MS, end + random.choice((-700, 3, 900)) * MS
        if random.random() < 0.1:
            host = None
        spans.append(replace(span, start=start, end=max(start, end), host=host))
    moved, forest = reconciled(spans)
    (wanted, _), *_ = twin.analyse(spans)
    assert times(moved) == times([wanted.spans[span.span] for span in moved])
    assert bool(forest.counters()["skew_uncertain"]) == wanted.uncertain


# -- kinds ---------------------------------------------------------------------------------------

BROWSER_AND_TWO = """
    rum 0-500 op=load
      rum 50-450 client http
        api 80-430 server host=h1 op=/items
          api 100-400 client http host=h1
            stock 150-390 server host=h2 op=/stock
"""


@pytest.mark.parametrize("by", [-90_000, -120, 120, 250, 90_000, 86_400_000])
def test_backends_of_a_browser_whose_clock_is_off_go_in_step(by: int) -> None:
    """Ahead or behind, by more than the trace's length or less: what the backends say of each other stays."""
    ahead = {None: 0, "h1": by * MS, "h2": by * MS}
    spans = [
        replace(one, start=one.start + ahead[one.host], end=one.end + ahead[one.host])
        for one in tree(BROWSER_AND_TWO)
    ]
    moved, forest = reconciled(spans)
    assert outside(moved) == []
    at = times(moved)
    assert at[4][0] - at[3][0] == 20
    assert at[5][0] - at[4][0] == 50
    assert own_ns(spans, skew=True) == {1: 100 * MS, 2: 50 * MS, 3: 50 * MS, 4: 60 * MS, 5: 240 * MS}
    assert forest.counters()["skew_uncertain"] == 0
    assert forest.counters()["skew_corrected"] == 3


@pytest.mark.parametrize(
    ("words", "offsets"),
    [
        ("a|a|b|b", [0, 0, -200, -200]),  # neither side names a host: one clock a service
        ("a|a|b host=h|b host=h", [0, 0, -200, -200]),  # only the child does
        ("a host=g|a host=g|b|b", [0, 0, -200, -200]),  # only the parent
        ("a host=g|a host=g|b host=h|b", [0, 0, -200, -200]),  # a service names its host in part
        ("a host=g|a|b host=h|b host=h", [0, 0, -200, -200]),
        ("a host=g|a|b|b host=h", [0, 0, -200, -200]),
        ("a|a|a|a", [0, 0, -200, -200]),  # two instances of one service that names none
        ("a host=g|a host=g|a host=h|a host=h", [0, 0, -200, -200]),  # or does
        ("a host=g|a host=g|b host=g|b host=g", [0, 0, 0, 0]),  # one clock that both name: it was so
    ],
)
def test_clocks_are_hosts_or_else_services(words: str, offsets: list[int]) -> None:
    """A call of 80 ms whose answer of 60 ms lies 200 ms later than it can."""
    sent = tree("""
        x 0-100 server
          x 10-90 client http
            x 230-290 server
              x 240-280
    """)
    names = [part.partition(" ") for part in words.split("|")]
    spans = [
        replace(one, service=service, host=host.removeprefix("host=") or None)
        for one, (service, _, host) in zip(sent, names, strict=True)
    ]
    moved, forest = reconciled(spans)
    assert [one.start - sent.start for one, sent in zip(moved, spans, strict=True)] == [
        by * MS for by in offsets
    ]
    assert forest.counters()["detached"] == (not any(offsets))
    assert forest.counters()["skew_uncertain"] == 0


def test_three_hosts_in_a_ring_are_solved_together() -> None:
    """The least that fits the calls to h2, 30, leaves no place for h3.

    h2 may be 30 to 50 later by its own calls, h3 must be 40 to 45, and within 5 of h2.
    """
    spans = tree("""
        a 0-1000 server host=h1
          a 100-200 client host=h1
            b 80-140 server host=h2
          a 300-400 client host=h1
            c 260-355 server host=h3
          a 500-700 client host=h1
            b 470-650 server host=h2
              b 500-600 client host=h2
                c 505-595 server host=h3
    """)
    moved, forest = reconciled(spans)
    assert outside(moved) == []
    assert times(moved)[3] == (115, 175)
    assert times(moved)[5] == (300, 395)
    assert forest.counters()["skew_uncertain"] == 0


def test_a_ring_that_contradicts_itself_is_settled_and_marked() -> None:
    """h2 must be 100 later, h3 200, but h3 as h2: the farthest from no offset is left out, and it is said."""
    spans = tree("""
        a 0-1000 server host=h1
          a 100-200 client host=h1
            b 0-100 server host=h2
              b 20-40 client host=h2
                c 20-40 server host=h3
          a 300-400 client host=h1
            c 100-200 server host=h3
    """)
    moved, forest = reconciled(spans)
    assert times(moved)[3] == (100, 200)
    assert times(moved)[5] == (120, 140)
    assert outside(moved) == [7]
    assert forest.counters()["skew_uncertain"] == 1


def test_many_calls_outvote_one_that_contradicts_them() -> None:
    """A SERVER that ran after its CLIENT gave up, where five say that the clocks are right."""
    ordinary = "\n".join(
        f"  a {at}-{at + 50} client host=h1\n    b {at + 5}-{at + 45} server host=h2"
        for at in range(10, 300, 60)
    )
    late = "  a 400-450 client host=h1\n    b 480-520 server host=h2"
    spans = tree(f"a 0-900 server host=h1\n{ordinary}\n{late}")
    moved, forest = reconciled(spans)
    assert moved == spans
    assert forest.counters()["skew_uncertain"] == 1


def test_one_call_that_contradicts_a_ring_spoils_no_other() -> None:
    """Of 40 hosts in step, one answer is late in a way that only a ring of calls can tell."""
    text = ["a 0-9000 server host=h0"]
    for k in range(40):
        at = 10 + 200 * k
        text.append(f"  a {at}-{at + 150} client host=h0\n    b {at + 10}-{at + 140} server host=h{k + 1}")
        late = 60 if k == 20 else 0
        text.append(f"      b {at + 20}-{at + 60} client host=h{k + 1}")
        text.append(f"        c {at + 30 + late}-{at + 50 + late} server host=h{(k + 1) % 40 + 1}")
    spans = tree("\n".join(text))
    moved, forest = reconciled(spans)
    assert moved == spans
    assert len(outside(moved)) == 1
    assert forest.counters()["skew_uncertain"] == 1


def test_an_answer_longer_than_its_call_is_put_to_its_start_and_marked() -> None:
    """It proves no offset, but it is no background work either."""
    spans = tree("a 0-100 server host=h1\n  a 10-90 client host=h1\n    b 5010-5150 server host=h2")
    moved, forest = reconciled(spans)
    assert times(moved)[3] == (10, 150)
    assert forest.counters()["skew_uncertain"] == 1
    assert forest.counters()["detached"] == 0


def test_a_queue_hop_says_nothing_about_clocks() -> None:
    """A consumer keeps its clock; one below a browser goes with the producer's."""
    hop = "a 20-25 producer peer=t host=h1\n    w 130-170 consumer peer=t host=h2"
    moved, _ = reconciled(tree(f"a 0-100 server host=h1\n  {hop}"))
    assert times(moved)[3] == (130, 170)
    spans = tree("""
        rum 0-500 client http
          a 1020-1080 server host=h1
            a 1030-1035 producer peer=t host=h1
              w 1130-1170 consumer peer=t host=h2
    """)
    moved, _ = reconciled(spans)
    at = times(moved)
    assert at[4][0] - at[3][1] == 95


def test_a_clock_no_call_binds_goes_with_its_callers_where_its_own_time_would_detach_it() -> None:
    """A SERVER that closes late does not vote; its call was moved by another's vote."""
    spans = tree("""
        a 0-500 server host=h1
          a 10-400 client host=h1
            b 1020-1380 server host=h2
              b 1030-1100 client host=h2
                c 1040-1111 server host=h3
    """)
    moved, forest = reconciled(spans)
    assert forest.counters()["detached"] == 0
    assert times(moved)[5][0] - times(moved)[4][0] == 10


@pytest.mark.parametrize("ring", [False, True])
def test_thousands_of_hosts_in_one_trace_finish(ring: bool) -> None:
    """A mesh, or a ring so long that the search for the smallest offsets is cut off; all of them off."""
    random = Random(5)
    size, made = (40_000, 40_000) if ring else (3000, 20_000)
    off = [random.randint(-50, 50) * MS for _ in range(size)]
    spans = [Made(1, 0, EPOCH_NS, EPOCH_NS + 10**10, kind=schema.KIND_SERVER, host="h0")]
    for k in range(made):
        one, other = (k, (k + 1) % size) if ring else (random.randrange(size), random.randrange(size))
        at = EPOCH_NS + k * 40_000
        one_at, other_at = at + off[one], at + off[other]
        spans.append(Made(2 * k + 2, 1, one_at, one_at + 2 * MS, kind=schema.KIND_CLIENT, host=f"h{one}"))
        spans.append(
            Made(2 * k + 3, 2 * k + 2, other_at + MS // 2, other_at + MS, service="b",
                 kind=schema.KIND_SERVER, host=f"h{other}")
        )  # fmt: skip
    moved, forest = reconciled(spans)
    assert forest.counters()["skew_uncertain"] == 0
    assert outside(moved) == []


# -- what was sent -------------------------------------------------------------------------------


def one_trace(name: str, trace: int = 0) -> pl.DataFrame:
    spans = spans_of(CASES / name)
    ids = spans.select("trace_hi", "trace_lo").unique(maintain_order=True)
    return spans.join(ids[trace : trace + 1], on=["trace_hi", "trace_lo"])


def test_a_browser_that_names_no_host_is_90_s_ahead() -> None:
    path = critical_path(one_trace("browser-skew-no-host.jsonl"))
    assert path_ms(path) == {
        "web-rum pageload": 100, "web-rum HTTP GET": 50, "api GET /items": 50, "api SELECT items": 300,
    }  # fmt: skip
    assert path.units["clock_ns"].to_list() == [500 * MS]
    assert path.counters == {"skew_corrected": 2}


@pytest.mark.parametrize("trace", range(20))
def test_a_browsers_call_is_250_ms_off_with_a_host_or_without(trace: int) -> None:
    path = critical_path(one_trace("browser-xhr-skew-250ms.jsonl.gz", trace))
    assert sorted(path_ms(path).values()) == [100, 200]
    assert path.counters == {"skew_corrected": 1}


def test_zipkin_endpoints_are_known_by_address() -> None:
    path = critical_path(one_trace("zipkin-endpoint-ip-skew.json"))
    assert path_ms(path) == {
        "shop get /cart": 50, "shop post": 2, "price post /price": 28, "price compute": 120,
    }  # fmt: skip
    assert path.counters == {"skew_corrected": 2}


def test_times_as_sent_can_be_shown() -> None:
    path = critical_path(one_trace("browser-skew-no-host.jsonl"), skew=False)
    assert path.spans["offset_ns"].to_list() == [0, 0, 0, 0]
    assert path.counters == {"detached": 1}


@pytest.mark.parametrize("address", ["10.0.0.2", "10.0.0.1"])
def test_jaeger_processes_are_known_by_their_ip_tag(address: str, tmp_path: Path) -> None:
    """Two instances of one service; of one address, both name one clock, and the work was late."""

    def process(ip: str) -> object:
        return {"serviceName": "shop", "tags": [{"key": "ip", "type": "string", "value": ip}]}

    def span(number: int, parent: int, kind: str, start: int, duration: int, process: str) -> object:
        return {
            "traceID": "ab", "spanID": f"{number}", "operationName": f"op{number}", "startTime": start,
            "duration": duration, "processID": process,
            "references": [{"refType": "CHILD_OF", "traceID": "ab", "spanID": f"{parent}"}] if parent else [],
            "tags": [{"key": "span.kind", "type": "string", "value": kind}],
        }  # fmt: skip

    at = 1_790_000_000_000_000
    spans = [
        span(1, 0, "server", at, 100_000, "p1"),
        span(2, 1, "client", at + 10_000, 80_000, "p1"),
        span(3, 2, "server", at + 500_000, 60_000, "p2"),
    ]
    processes = {"p1": process("10.0.0.1"), "p2": process(address)}
    file = tmp_path / "jaeger.json"
    file.write_text(json.dumps({"data": [{"traceID": "ab", "spans": spans, "processes": processes}]}))
    path = critical_path(spans_of(file))
    moved = address != "10.0.0.1"
    assert path.counters == ({"skew_corrected": 1} if moved else {"detached": 1})
    assert path.spans["own_ns"].to_list() == ([20 * MS, 20 * MS, 60 * MS] if moved else
                                              [20 * MS, 80 * MS, 60 * MS])  # fmt: skip


def sent_by(
    file: Path, browser: Said, backend: Said, *, call: Said | None = None, answer: Said | None = None
) -> TracePath:
    """A browser's call of 400 ms, and its answer of 350 ms by a clock that is five seconds ahead."""

    def attributes(said: Said | None) -> list[object]:
        return [{"key": key, "value": {"stringValue": value}} for key, value in (said or {}).items()]

    def span(number: int, name: str, kind: int, start_ms: int, ms: int, said: Said | None = None) -> object:
        start = 1_790_000_000_000_000_000 + start_ms * MS
        return {
            "traceId": f"{7:032x}", "spanId": f"{number:016x}", "name": name, "kind": kind,
            "parentSpanId": f"{number - 1:016x}" if number > 1 else "", "startTimeUnixNano": str(start),
            "endTimeUnixNano": str(start + ms * MS), "attributes": attributes(said),
        }  # fmt: skip

    sides = (
        (browser, [span(1, "load", 1, 0, 500), span(2, "GET", 3, 50, 400, call)]),
        (backend, [span(3, "/x", 2, 5080, 350, answer), span(4, "SELECT", 3, 5100, 300, answer)]),
    )
    made = [
        {"resource": {"attributes": attributes(said)}, "scopeSpans": [{"spans": spans}]}
        for said, spans in sides
    ]
    file.write_text(json.dumps({"resourceSpans": made}) + "\n")
    return critical_path(spans_of(file))


@pytest.mark.parametrize("name", [*semconv.RESOURCE_ATTRIBUTES["host"], "service.instance.id", "net.host.ip",
                                  "net.host.name"])  # fmt: skip
def test_a_clock_is_known_by_whatever_names_a_host(name: str, tmp_path: Path) -> None:
    """Two instances of one service have two clocks by any of the names, and one where it is the same."""
    one, other = ({"service.name": "shop", name: value} for value in ("one", "two"))
    path = sent_by(tmp_path / "two.jsonl", one, other)
    assert path.spans["own_ns"].to_list() == [100 * MS, 50 * MS, 50 * MS, 300 * MS]
    assert path.counters == {"skew_corrected": 2}
    late = sent_by(tmp_path / "one.jsonl", one, one)
    assert late.counters == {"detached": 1}
    assert late.notes == (
        "1 SERVER span lies outside the CLIENT span, by one clock or by what other calls say of two: "
        "work that nobody waited for",
    )


@pytest.mark.parametrize("value", sorted(semconv.EVERY_HOST))
@pytest.mark.parametrize("name", ["host.name", "host.ip", "net.host.ip"])
def test_a_name_that_every_host_has_names_none(name: str, value: str, tmp_path: Path) -> None:
    sides = [{"service.name": service, name: value} for service in ("web", "shop")]
    assert sent_by(tmp_path / "sent.jsonl", *sides).counters == {"skew_corrected": 2}


def test_the_collector_notes_a_zipkin_endpoint_on_each_span(tmp_path: Path) -> None:
    """Not every span has one; what has none is on its parent's clock."""
    shop = {"service.name": "shop"}
    addresses = [{"net.host.ip": address} for address in ("10.0.0.1", "10.0.0.2")]
    path = sent_by(tmp_path / "sent.jsonl", shop, shop, call=addresses[0], answer=addresses[1])
    assert path.counters == {"skew_corrected": 2}
    assert path.spans["own_ns"].to_list() == [100 * MS, 50 * MS, 50 * MS, 300 * MS]


@pytest.mark.parametrize("endpoint", [{"ipv4": "10.0.0.2"}, {"ipv6": "2001:db8::2"}, {}])
def test_zipkin_endpoints_may_lack_an_address(endpoint: Said, tmp_path: Path) -> None:
    """Half of the records of one process do; a shared span is a call and its answer."""
    document = json.loads((CASES / "zipkin-endpoint-ip-skew.json").read_text())
    document[2]["localEndpoint"] = {"serviceName": "price"}
    document[3]["localEndpoint"] = {"serviceName": "price", **endpoint}
    file = tmp_path / "zipkin.json"
    file.write_text(json.dumps(document))
    path = critical_path(spans_of(file))
    assert sorted(path_ms(path).values()) == [2, 28, 50, 120]
    assert path.counters == {"skew_corrected": 2}


# -- words ---------------------------------------------------------------------------------------


def test_a_path_tells_in_words_whose_clock_was_moved_and_how_far() -> None:
    path = critical_path(one_trace("browser-skew-no-host.jsonl"))
    assert path.notes == ("clock of api moved by +89,970.000 ms (2 spans) to put answers inside their calls",)
    assert critical_path(one_trace("browser-skew-no-host.jsonl"), skew=False).notes == ()


def test_a_path_tells_in_words_where_calls_prove_no_offset() -> None:
    spans = tree("a 0-100 server host=h1\n  a 10-90 client host=h1\n    b 5010-5150 server host=h2")
    moved, uncertain = critical_path(frame(spans)).notes
    assert moved == "clock of b moved by -5,000.000 ms (1 span) to put answers inside their calls"
    assert uncertain.startswith("clocks uncertain: calls contradict each other, or none proves an offset")


def test_a_comparison_tells_of_clocks_that_could_not_be_reconciled() -> None:
    """Answers longer than their calls, ten seconds late in head."""
    shop = serve("gateway", "GET /cart", 2.0, [call("orders", "GET /o", 30.0)])
    rows = [
        simulated.spans(shop, start_ns=START_NS + k * schema.DAY_NS, hours=24, per_hour=4) for k in (0, 1)
    ]
    late = (pl.col("service_name") == "orders") & (pl.col("kind") == schema.KIND_SERVER)
    rows[1] = rows[1].with_columns(
        (pl.col("start_ns") + pl.when(late).then(10**10).otherwise(0)).alias("start_ns"),
        (pl.col("end_ns") + pl.when(late).then(10**10 + 10**8).otherwise(0)).alias("end_ns"),
    )
    base, head = (period(made, START_NS + k * schema.DAY_NS, 24) for k, made in enumerate(rows))
    told = [note for note in diff(base, head, Options()).notes if "clocks" in note]
    assert told == [
        "clocks of 100% of head's requests could not be reconciled: their calls contradict each other "
        "or prove no offset, and time between services may be off"
    ]
