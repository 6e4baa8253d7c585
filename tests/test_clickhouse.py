"""ClickHouse as a source: its engine writes the OTLP, of every table that is known and in every form."""

from __future__ import annotations

import importlib.util
import pickle
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from functools import cache
from pathlib import Path

import clickhouse
import polars as pl
import pytest
import stores
from click.testing import CliRunner, Result
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from stores import ARRIVED, new_store, sealed_checksum

from tracescope import docs
from tracescope.cli import main
from tracescope.conventions import keeping
from tracescope.engine.import_files import import_files
from tracescope.engine.lake import Terms
from tracescope.engine.processes import Processes
from tracescope.engine.spread import Fetching, fetched
from tracescope.engine.tasks import Done, Task, Threads
from tracescope.errors import InputError, PeriodError, SourceError
from tracescope.ingest.decode import decode
from tracescope.ingest.files import read_pieces
from tracescope.sources import Options, open_source
from tracescope.sources import clickhouse as source
from tracescope.sources.clickhouse_tables import Range, recognise

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("chdb") is None, reason="chdb-core, ClickHouse's engine, is not installed"
)

#: What a server refuses to write in each form: none, protobuf as a cloud does, any setting as for a reader.
FORMS: dict[str, dict[str, object]] = {
    "protobuf": {},
    "json": {"refuse": "FORMAT Protobuf", "code": 344},
    "plain_json": {"refuse": "SETTINGS", "code": 164},
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[clickhouse.Server]:
    running = clickhouse.Server(tmp_path_factory.mktemp("clickhouse") / "server")
    for schema in clickhouse.SCHEMAS:
        running.fill(schema, schema, spans())
    yield running
    running.stop()


@pytest.fixture(scope="module")
def wanted(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], str]:
    """The checksum of what a table keeps, as OTLP."""

    @cache
    def of(kept: bytes) -> str:
        folder = tmp_path_factory.mktemp("otlp")
        (folder / "spans.pb").write_bytes(kept)
        store = new_store(folder / "store")
        assert import_files(store, [folder / "spans.pb"], arrived_ns=ARRIVED).new == 5
        return sealed_checksum(store)

    return lambda schema: of(kept_by(schema).SerializeToString())


def kept_by(schema: str) -> ExportTraceServiceRequest:
    """The spans without what a table has no column for."""
    found = spans()
    for _, scope, span in clickhouse.each_span(found):
        if schema == "signoz_2":
            del span.links[:]
            span.trace_state = ""
        if schema in ("signoz", "signoz_2"):
            scope.Clear()
    return found


@pytest.fixture(autouse=True)
def _no_fault(server: clickhouse.Server) -> None:
    server.fault()


def spans() -> ExportTraceServiceRequest:
    """Traces with what tables keep in ways of their own."""
    found = stores.request(
        "A gateway checkout 10:59:59 +2s http.request.method=GET http.route=/api/{id}\n"
        "  A orders list 11:00:00 +1s db.system=postgresql db.namespace=orders\n"
        "B gateway checkout 11:59:59 +0s\n"
        "  B orders nothing 11:59:59 +0s\n"
        "C gateway publish 12:00:00 +1s"
    )
    first, second, third, _, last = (part.scope_spans[0].spans[0] for part in found.resource_spans)
    first.attributes.add(key="quoted").value.string_value = 'it\'s \\ "so"\n\té'
    first.attributes.add(key="long").value.string_value = "ü" * 9000  # over 16,383 bytes
    first.attributes.add(key="longer than a byte").value.string_value = "x" * 200
    first.attributes.add(key="empty").value.string_value = ""
    second.name = "SELECT ŝpans 🛒 'orders'"
    second.kind = 3
    second.attributes.add(key="http.response.status_code").value.int_value = 500
    second.attributes.add(key="big").value.int_value = -(2**40)
    second.attributes.add(key="yes").value.bool_value = True
    second.attributes.add(key="no").value.bool_value = False
    second.attributes.add(key="share").value.double_value = 0.25
    second.status.code, second.status.message = 2, "nö\0pe"
    third.trace_state = "ot=th:8"
    for number in range(3):
        at = third.start_time_unix_nano + number
        event = third.events.add(name=f"exception {number}", time_unix_nano=at)
        event.attributes.add(key="exception.type").value.string_value = "Böse" * number
    last.kind = 5
    last.links.add(trace_id=first.trace_id, span_id=first.span_id)
    last.links.add(trace_id=second.trace_id, span_id=second.span_id)
    last.end_time_unix_nano = last.start_time_unix_nano - 5  # a clock went back
    scope = found.resource_spans[1].scope_spans[0].scope
    scope.name, scope.version = "io.opentelemetry.jdbc", "2.1"
    return found


def as_rows(*requests: bytes) -> pl.DataFrame:
    found = decode(list(requests), ARRIVED).spans
    return found.drop("raw", "resource", "content_hash").sort("trace_hi", "trace_lo", "span_id")


def given(url: str) -> pl.DataFrame:
    """What all parts of a source hold."""
    found: list[bytes] = []
    for part in open_source(url, Options()).parts(frozenset()):
        if part.messages:
            found += part.read()
        else:
            for chunk in read_pieces(part.read(), part.shown, "auto", 0):
                found += chunk.requests().data
    return as_rows(*found)


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


# -- what is read --


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("schema", clickhouse.SCHEMAS)
def test_every_table_in_every_form_gives_the_rollups_of_the_same_spans_as_otlp(
    server: clickhouse.Server, tmp_path: Path, wanted: Callable[[str], str], schema: str, form: str
) -> None:
    """Durations of 0 and below, links, states, events, long and empty values, all of Unicode."""
    server.fault(**FORMS[form])
    parts = open_source(server.url(schema), Options()).parts(frozenset())
    assert {part.messages for part in parts} == {form == "protobuf"}
    store = new_store(tmp_path / "store")
    done = import_files(store, [open_source(server.url(schema), Options())], arrived_ns=ARRIVED)
    assert (done.read, done.new, done.rejected) == (5, 5, {})
    assert sealed_checksum(store) == wanted(schema)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("schema", clickhouse.SCHEMAS)
def test_every_field_of_a_span_comes_back(server: clickhouse.Server, schema: str, form: str) -> None:
    """Times to the nanosecond, ids, kinds, statuses, names; SigNoz alone kept no scope, before no links."""
    server.fault(**FORMS[form])
    assert given(server.url(schema)).equals(as_rows(kept_by(schema).SerializeToString()))


@pytest.mark.parametrize("schema", ["json_collector", "jaeger", "signoz", "json_signoz", "signoz_2"])
def test_types_of_attributes_come_back_where_the_table_has_them(
    server: clickhouse.Server, schema: str
) -> None:
    """An integer is no text; the Collector's Map columns alone hold nothing but texts."""
    (part, *_) = open_source(server.url(schema), Options()).parts(frozenset())
    typed: dict[str, object] = {}
    for message in part.read():
        for _, _, span in clickhouse.each_span(ExportTraceServiceRequest.FromString(message)):
            for each in span.attributes:
                typed[each.key] = getattr(each.value, each.value.WhichOneof("value") or "")
    (part, *_) = list(open_source(server.url(schema), Options()).parts(frozenset()))[1:]
    for message in part.read():
        for _, _, span in clickhouse.each_span(ExportTraceServiceRequest.FromString(message)):
            for each in span.attributes:
                typed[each.key] = getattr(each.value, each.value.WhichOneof("value") or "")
    wanted = {"http.response.status_code": 500, "big": -(2**40), "yes": True, "no": False, "share": 0.25}
    assert {key: typed[key] for key in wanted} == wanted
    assert typed["empty"] == ""


def test_the_oldest_table_of_signoz_gives_its_tags_and_its_service(server: clickhouse.Server) -> None:
    """One Map of texts, no resource and no message of the status: the service has a column."""
    server.query("CREATE DATABASE IF NOT EXISTS signoz_1")
    server.query(
        "CREATE TABLE signoz_index_v2 (timestamp DateTime64(9), traceID FixedString(32), spanID String, "
        "parentSpanID String, serviceName LowCardinality(String), name LowCardinality(String), kind Int8, "
        "durationNano UInt64, statusCode Int16, events Array(String), "
        "tagMap Map(LowCardinality(String), String)) ENGINE = MergeTree ORDER BY timestamp",
        "signoz_1",
    )
    server.query(
        "INSERT INTO signoz_index_v2 VALUES ('2026-09-30 08:00:00.000000001', repeat('ab', 16), "
        "repeat('cd', 8), '', 'shop', 'GET /', 2, 5, 2, [], map('http.route', '/'))",
        "signoz_1",
    )
    (part,) = open_source(server.url("signoz_1"), Options()).parts(frozenset())
    (message,) = part.read()
    ((resource, _, span),) = clickhouse.each_span(ExportTraceServiceRequest.FromString(message))
    assert (span.name, span.kind, span.status.code) == ("GET /", 2, 2)
    assert span.end_time_unix_nano - span.start_time_unix_nano == 5
    assert [(each.key, each.value.string_value) for each in span.attributes] == [("http.route", "/")]
    assert [(a.key, a.value.string_value) for a in resource.attributes] == [("service.name", "shop")]


def test_json_columns_of_servers_without_the_function_for_all_values_are_read_too(
    server: clickhouse.Server,
) -> None:
    """Versions before 26.4 know paths and types only: values are taken out of the document."""
    table = "json_collector.otel_traces"
    rows = server.query(f"DESCRIBE TABLE {table}").decode().splitlines()
    columns = dict(row.split("\t")[:2] for row in rows)
    everything = Range(0, 2**62)
    answers = []
    for all_values in (True, False):
        found = recognise(table, columns, all_values=all_values)
        assert found is not None
        text = found.spans(everything, "json")
        assert ("JSONAllValues" in text) == all_values
        answers.append(sorted(server.query(text).splitlines()))
    assert answers[0] == answers[1]
    assert answers[0]


def test_hours_of_many_spans_are_read_in_slices_and_messages_by_their_traces(
    server: clickhouse.Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Slices part the traces of an hour without a rest, and messages the spans of a slice."""
    server.fill("collector", "sliced", *(many(number) for number in range(4)))
    whole = given(server.url("sliced"))
    assert len(whole) == 4 * 60
    monkeypatch.setattr(source, "SLICE_SPANS", 100)
    monkeypatch.setattr(source, "MESSAGE_SPANS", 7)
    parts = list(open_source(server.url("sliced"), Options()).parts(frozenset()))
    assert [part.name.rpartition(".")[2] for part in parts] == ["0-3", "1-3", "2-3"]
    assert all(sum(1 for _ in part.read()) > 5 for part in parts)
    assert given(server.url("sliced")).equals(whole)


@pytest.fixture
def in_slices(server: clickhouse.Server, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URL of an hour that is read in three slices."""
    if "sliced" not in server.query("SHOW DATABASES").decode().split():
        server.fill("collector", "sliced", *(many(number) for number in range(4)))
    monkeypatch.setattr(source, "SLICE_SPANS", 100)
    monkeypatch.setattr(source, "MESSAGE_SPANS", 7)
    return server.url("sliced")


@pytest.mark.parametrize("form", ["protobuf", "json"])
def test_a_slice_that_comes_short_of_its_own_count_is_an_error(
    server: clickhouse.Server, in_slices: str, tmp_path: Path, form: str
) -> None:
    """An answer that ends whole, but a message early, has nothing wrong but its number of spans."""
    server.fault(**FORMS[form])
    part = next(iter(open_source(in_slices, Options()).parts(frozenset())))
    assert part.messages == (form == "protobuf")
    pieces = list(part.read())
    last = pieces[-1].splitlines(keepends=True)[-1] if form == "json" else pieces[-1]
    framed = len(last) + (0 if form == "json" else len(_varint(len(last) + 3)) + 3)
    server.fault(cut=sum(map(len, _answers(pieces, form))) - framed, **FORMS[form])
    with pytest.raises(InputError, match=r"\d+ of \d+ spans came"):
        list(part.read())
    store = new_store(tmp_path / "store")
    with pytest.raises(InputError, match="went away while it was read"):
        import_files(store, [open_source(in_slices, Options())], arrived_ns=ARRIVED)
    assert store.stored() == 0
    server.fault(**FORMS[form])
    assert import_files(store, [open_source(in_slices, Options())], arrived_ns=ARRIVED).new == 240


def _varint(value: int) -> bytes:
    return bytes([value & 0x7F | 0x80]) + _varint(value >> 7) if value > 0x7F else bytes([value])


def _answers(pieces: list[bytes], form: str) -> Iterator[bytes]:
    """What the server sent: protobuf has lengths before its messages, and a count (of one byte) within."""
    for piece in pieces:
        yield piece if form == "json" else _varint(len(piece) + 3) + piece + bytes(3)


def test_slices_that_are_fewer_than_their_hour_are_counted_again_and_then_refused(
    server: clickhouse.Server, in_slices: str, tmp_path: Path
) -> None:
    """A replica that lags behind once is asked again; twice is told, and nothing is stored."""
    store = new_store(tmp_path / "store")
    lagging = ["AS slice, count()", "AS slice, count() - 1"]
    server.fault(instead=lagging, times=source.COUNTED_TIMES)
    with pytest.raises(InputError, match="the 3 slices of 2026-09-30T08 have 237 spans and the hour 240"):
        import_files(store, [open_source(in_slices, Options())], arrived_ns=ARRIVED)
    assert store.stored() == 0
    server.fault(instead=lagging, times=source.COUNTED_TIMES - 1)
    assert import_files(store, [open_source(in_slices, Options())], arrived_ns=ARRIVED).new == 240
    server.fault(refuse="AS slice", code=241)  # what is known already is not counted
    assert import_files(store, [open_source(in_slices, Options())], arrived_ns=ARRIVED).known == 3


def many(number: int) -> ExportTraceServiceRequest:
    return stores.request(
        "\n".join(f"S{number}x{each} shop GET 08:{each:02}:00 +1s k=v{each % 3}" for each in range(60))
    )


# -- by tasks --


@pytest.mark.parametrize("form", ["protobuf", "json"])
def test_tasks_of_other_processes_give_what_an_import_gives_and_twice_nothing(
    server: clickhouse.Server, in_slices: str, tmp_path: Path, form: str
) -> None:
    """The ledger counts each part once, also when a task comes twice; an import reads none of them again."""
    server.fault(**FORMS[form])
    one = new_store(tmp_path / "one")
    assert import_files(one, [open_source(in_slices, Options())], arrived_ns=ARRIVED).new == 240
    terms = Terms(ARRIVED, (), keeping.DEFAULT)
    for name, pool in (("threads", Threads(2)), ("processes", Processes(2))):
        store = new_store(tmp_path / name)
        with nullcontext(pool) if isinstance(pool, Threads) else pool as workers:
            done = fetched(store, _Twice(workers), in_slices, Options(), terms, 10**9)
            assert (done.read, done.new, done.rejected) == (240, 240, {})
            again = fetched(store, workers, in_slices, Options(), terms, 10**9)
        assert (again.read, again.new) == (0, 0)
        assert sealed_checksum(store) == sealed_checksum(one)
        assert store.sealed.pointer().ledger.accepted == 240
        assert import_files(store, [open_source(in_slices, Options())], arrived_ns=ARRIVED).known == 3


class _Twice:
    """Runs every task two times, as a cluster that believes one lost."""

    def __init__(self, pool: Threads | Processes) -> None:
        self.workers, self.inside, self.together, self.room = pool.workers, False, pool.together, pool.room
        self._pool = pool

    def run(self, tasks: Sequence[Task]) -> Iterator[Done]:
        list(self._pool.run(tasks))
        return self._pool.run(tasks)


def test_a_task_is_plain_data_whose_description_shows_no_secret(
    server: clickhouse.Server, in_slices: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under 10 kB; a user and a password that the URL has not are those of the worker's environment."""
    opened = open_source(in_slices, Options())
    assert isinstance(opened, source.ClickHouse)
    plan = next(iter(opened.plans(frozenset())))
    terms = Terms(ARRIVED, (), keeping.DEFAULT)
    task = Fetching(in_slices, {}, plan, "p-x", str(tmp_path), terms)
    assert clickhouse.PASSWORD not in repr(task)
    assert len(pickle.dumps(task)) < 10_000
    bare = server.url("sliced", user="", password="").replace(":@", "")
    monkeypatch.setenv("CLICKHOUSE_USER", clickhouse.USER)
    monkeypatch.setenv("CLICKHOUSE_PASSWORD", clickhouse.PASSWORD)
    store = new_store(tmp_path / "store")
    with Processes(1) as workers:
        assert fetched(store, workers, bare, Options(), terms, 10**9).new == 240


def test_a_task_that_fails_leaves_the_store_as_it_was(
    server: clickhouse.Server, in_slices: str, tmp_path: Path
) -> None:
    """An answer that is cut off in one of three slices: nothing landed, nothing staged."""
    store = new_store(tmp_path / "store")
    terms = Terms(ARRIVED, (), keeping.DEFAULT)
    server.fault(cut=700)
    with pytest.raises(InputError):
        fetched(store, Threads(1), in_slices, Options(), terms, 10**9)
    assert store.stored() == 0
    assert not list((tmp_path / "store" / "staging").iterdir())
    server.fault()
    assert fetched(store, Threads(1), in_slices, Options(), terms, 10**9).new == 240


# -- twice, and later --


def test_the_second_import_reads_only_hours_that_have_grown(
    server: clickhouse.Server, tmp_path: Path
) -> None:
    """Twice gives 0 new; a late span makes its hour be read again, and is the only new one."""
    server.fill("collector", "growing", stores.request("G shop GET 10:00:00 +1s\nH shop GET 11:00:00 +1s"))
    url, store = server.url("growing"), tmp_path / "store"
    first = run("import", url, "--store", store)
    assert (first.exit_code, first.stderr.partition(",")[0]) == (0, "2 new"), first.output
    again = run("import", url, "--store", store)
    assert again.stderr.startswith("0 new, 0 duplicates")
    assert "not read again: 2 parts" in again.stderr
    late = stores.request("\n".join(["I shop GET 10:30:00 +1s", "J shop GET 10:31:00 +1s"]))
    late.resource_spans[0].scope_spans[0].spans[0].span_id = b"latelate"
    server.fill("collector", "growing", late)
    third = run("import", url, "--store", store)
    assert third.stderr.startswith("2 new, 1 duplicates")
    assert "not read again: 1 parts" in third.stderr


def test_since_and_until_read_whole_hours_in_between(server: clickhouse.Server, tmp_path: Path) -> None:
    """As options of the URL and as flags; relative to now, too."""
    server.fill(
        "signoz", "spanning",
        stores.request("K s a 08:10:00 +1s\nL s a 09:10:00 +1s\nM s a 10:10:00 +1s\nN s a 11:10:00 +1s"),
    )  # fmt: skip
    between = "since=2026-09-30T09:30:00Z&until=2026-09-30T10:05:00Z"
    assert len(given(server.url("spanning", between))) == 2
    assert len(given(server.url("spanning", "until=2026-09-30T09:00:00Z"))) == 1
    assert len(given(server.url("spanning", "since=1h"))) == 0
    flags = ("--since", "2026-09-30T09:30", "--until", "2026-09-30T11:00")
    done = run("import", server.url("spanning"), *flags, "--store", tmp_path / "store")
    assert done.stderr.startswith("2 new"), done.output
    refused = run("import", str(tmp_path), "--since", "1d", "--store", tmp_path / "store")
    assert refused.exit_code == 2
    assert "--since and --until are of URLs" in refused.stderr


# -- what goes wrong --


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (lambda s: s.url("collector", user="nobody"), "Authentication failed"),
        (lambda s: s.url("nowhere"), "nowhere does not exist"),
        (lambda s: s.url("collector", "table=missing"), "missing"),
        (lambda s: s.url("system", "table=one"), "not a table of spans"),
        (lambda s: s.url("system"), "no table named otel_traces"),
        (lambda s: "clickhouse://127.0.0.1:9000/otel", "native protocol"),
        (lambda s: s.url("collector", "tabel=x"), "no option 'tabel'"),
        (lambda s: s.url("collector", "since=soon"), "cannot read the period 'soon'"),
        (lambda s: s.url("collector", "secure=perhaps"), "neither 1 nor 0"),
        (lambda s: "clickhouse:///otel", "names no host"),
        (lambda s: "clickhouse://127.0.0.1:port/otel", "port"),
        (lambda s: "clickhouses://127.0.0.1/otel?ca=/no/such.pem", "/no/such.pem"),
    ],
)  # fmt: skip
def test_a_wrong_request_gets_a_sentence_without_its_secret_and_exit_2(
    server: clickhouse.Server, tmp_path: Path, asked: Callable[[clickhouse.Server], str], said: str
) -> None:
    """What was expected stands beside it; no store is filled and there is no traceback."""
    url = asked(server)
    done = run("import", url, "--store", tmp_path / "store")
    assert done.exit_code == 2, done.output
    assert said in done.stderr
    assert clickhouse.PASSWORD not in done.stderr
    assert re.search(r"expected|give |there are|name |did you mean|try ", done.stderr), done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("form", ["protobuf", "json"])
@pytest.mark.parametrize(
    "fault",
    [
        {"cut": 700, "abort": 1},
        {"cut": 700},
        {"cut": 0},
        {"cut": 700, "say": "Code: 241. DB::Exception: Memory limit exceeded. (MEMORY_LIMIT_EXCEEDED)\n"},
        {"cut": 0, "say": "Code: 241. DB::Exception: Memory limit exceeded. (MEMORY_LIMIT_EXCEEDED)\n"},
    ],
)
def test_an_answer_that_ends_early_is_an_error_and_the_next_import_reads_all(
    server: clickhouse.Server, tmp_path: Path, fault: dict[str, object], form: str
) -> None:
    """Cut off with and without an end, with and without the server's words: nothing of it is kept."""
    opened = open_source(server.url("collector"), Options())
    store = new_store(tmp_path / "store")
    server.fault(**fault, **FORMS[form])
    with pytest.raises(InputError) as caught:
        import_files(store, [opened], arrived_ns=ARRIVED)
    if "say" in fault:
        assert "Memory limit exceeded" in caught.value.message
    assert clickhouse.PASSWORD not in str(caught.value)
    assert store.stored() == 0
    server.fault(**FORMS[form])
    assert import_files(store, [opened], arrived_ns=ARRIVED).new == 5


def test_a_server_that_is_not_there_or_dies_is_told_with_exit_1(tmp_path: Path) -> None:
    """The request may be right: the next run may find it."""
    server = clickhouse.Server(tmp_path / "server")
    server.fill("collector", "gone", stores.request("A s a 08:10:00 +1s"))
    url = server.url("gone")
    server.kill()
    done = run("import", url, "--store", tmp_path / "store")
    assert done.exit_code == 1
    assert "cannot be reached" in done.stderr
    assert "run the import again" in done.stderr


def test_settings_may_not_be_changed_by_what_a_url_names(server: clickhouse.Server) -> None:
    """Names of databases and tables are quoted: nothing of them is read as SQL."""
    for name in ("x` FORMAT Null; --", "x\\", "a.b` SETTINGS max_threads=1 --", "ü"):
        with pytest.raises(SourceError):
            list(open_source(server.url("collector", f"table={name}"), Options()).parts(frozenset()))


def test_periods_of_a_url_are_refused_as_periods() -> None:
    with pytest.raises(PeriodError):
        open_source("clickhouse://localhost/x?until=never", Options())


# -- what is written about it --


def test_the_recipe_of_the_documentation_is_the_query_that_is_sent() -> None:
    """The Collector's table with Map columns, whole hours, with no slices."""
    names = "Timestamp, TraceId, SpanId, ParentSpanId, SpanName, Duration, SpanAttributes, ScopeName"
    columns = dict.fromkeys(names.split(", "), "String")
    found = recognise("otel_traces", columns)
    assert found is not None
    text = found.spans(Range(1_790_000_000 * 10**9, 1_790_003_600 * 10**9), "json")
    recipe = docs.read("recipes")
    assert re.sub(r"\s+", "", text) in re.sub(r"\s+", "", recipe)
