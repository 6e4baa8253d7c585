"""Spark: the same rollups as threads give, though workers and executors are killed; one cluster for all."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable, Generator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import buckets
import pytest
from click.testing import CliRunner
from dying import Broken, Watched
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status
from stores import ARRIVED, land, new_store, request, sealed_checksum
from test_engines import PER_SLICE, TESTS, check, landed, seal_with_a_death, world

from tracescope.cli import main
from tracescope.engine import spark as engine
from tracescope.engine.rebuild import rebuild
from tracescope.engine.seal import seal
from tracescope.engine.spark import Spark
from tracescope.errors import StoreError, UsageError
from tracescope.ingest.decode import decode
from tracescope.store import SpanStore, open_store

pyspark = pytest.importorskip("pyspark", reason="pyspark is not installed")
if shutil.which("java") is None:
    pytest.skip("there is no Java", allow_module_level=True)


@pytest.fixture(scope="module")
def cluster(_s3_servers: Callable[[str], buckets.S3Server]) -> Generator[Any]:
    """A master and two executors of one core, each a Java process with its own Python workers."""
    storage = find_spec("obstore") is not None and (buckets.seaweedfs() or find_spec("moto"))
    variables = _s3_servers(buckets.best()).variables if storage else {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPARK_LOCAL_IP", "127.0.0.1")
        patch.setenv("PYSPARK_PYTHON", sys.executable)
        patch.setenv("PYTHONPATH", str(TESTS))
        conf = {
            "spark.executor.memory": "512m",
            "spark.executorEnv.PYTHONPATH": str(TESTS),
            "spark.sql.shuffle.partitions": "4",
            "spark.executorEnv.SPARK_LOCAL_IP": "127.0.0.1",
            **{f"spark.executorEnv.{name}": value for name, value in variables.items()},
        }
        with engine.session("local-cluster[2,1,512]", conf, 2) as session:
            session.sparkContext.setLogLevel("OFF")
            yield session
        shutil.rmtree(Path(pyspark.__file__).parent / "work", ignore_errors=True)


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, int]:
    """Checksum and distinct spans of the world, sealed by one thread at once."""
    store = landed(tmp_path_factory.mktemp("expected") / "store")
    seal(store, workers=1)
    return sealed_checksum(store), len(world())


@pytest.mark.parametrize("slices", PER_SLICE)
def test_a_cluster_and_slices_change_nothing(
    slices: int, tmp_path: Path, expected: tuple[str, int], cluster: Any
) -> None:
    """One checksum, sealed and made anew."""
    store = landed(tmp_path / "store")
    pool = Watched(Spark(cluster))
    memory = pool.memory(PER_SLICE[slices])
    seal(store, memory_bytes=memory, pool=pool)
    assert max(pool.runs) >= slices
    check(store, expected)
    rebuild(store, memory_bytes=memory, pool=pool)
    check(store, expected)


@pytest.mark.parametrize("where", ["bucket"], indirect=True)
def test_a_store_in_object_storage_is_sealed_by_executors_through_its_mirror(
    tmp_path: Path, expected: tuple[str, int], cluster: Any, where: str
) -> None:
    """They write to the bucket by themselves, as their environment lets them, and the driver publishes."""
    del where
    store = landed(tmp_path / "store")
    pool = Watched(Spark(cluster))
    seal(store, memory_bytes=pool.memory(PER_SLICE[4]), pool=pool)
    check(store, expected)
    rebuild(store, memory_bytes=pool.memory(PER_SLICE[4]), pool=pool)
    check(store, expected)
    url = json.loads((tmp_path / "store" / "MIRROR.json").read_text())["url"]
    other = open_store(buckets.mirror(tmp_path / "other", url))
    assert (sealed_checksum(other), other.status().stored) == expected


@pytest.mark.parametrize("above", [0, 2], ids=["python worker", "executor"])
def test_what_is_killed_once_changes_nothing(
    above: int, tmp_path: Path, expected: tuple[str, int], cluster: Any
) -> None:
    """With kill -9, after it has written its spans: they are nobody's, and no span is there twice."""
    seal_with_a_death(tmp_path, Spark(cluster), expected, spans=1000, above=above)


def test_a_task_that_fails_on_spark_changes_nothing(tmp_path: Path, cluster: Any) -> None:
    """Spark tries it as often as it may; then the store is as it was, and what failed is said in a line."""
    store = landed(tmp_path / "store")
    before = store.sealed.pointer().sequence

    with pytest.raises(StoreError, match="a task failed on Spark: FileNotFoundError: no such folder"):
        seal(store, pool=Broken(Spark(cluster)))
    assert store.sealed.pointer().sequence == before


def test_commands_use_the_session_that_there_is(
    tmp_path: Path, expected: tuple[str, int], cluster: Any
) -> None:
    """As in a notebook, or under spark-submit."""
    assert cluster is not None
    store = landed(tmp_path / "store")
    for verb in ("seal", "rebuild"):
        ran = CliRunner().invoke(main, [verb, "--store", str(store.root), "--engine", "spark"])
        assert ran.exit_code == 0, ran.output
    check(store, expected)


def test_executors_without_the_package_are_told_of() -> None:
    """Whatever module of it they lack."""
    for name in ("tracescope", "pyarrow"):
        error = engine.failure(RuntimeError(f"x\nModuleNotFoundError: No module named '{name}'\n"))
        assert isinstance(error, UsageError)
        assert error.exit_code == 2
        assert error.message == f"the Spark executors have no {name}"


def test_a_machine_without_java_or_pyspark_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before Spark's own start, which says it in twenty lines."""
    monkeypatch.setattr(pyspark.sql.SparkSession, "getActiveSession", lambda: None)
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.delenv("PYSPARK_GATEWAY_PORT", raising=False)
    monkeypatch.setenv("PATH", os.devnull)
    with pytest.raises(UsageError, match="needs Java 17"), engine.session("local[2,4]", {}, 2):
        pass
    monkeypatch.setattr(engine, "find_spec", lambda name: None if name == "pyspark" else name)
    with (
        pytest.raises(UsageError, match="needs pyspark, which is not installed"),
        engine.session(None, {}, 2),
    ):
        pass


# -- a lake's tables --

MAP = "MAP<STRING, STRING>"
#: As Databricks makes it, less what says nothing of a span itself.
COLUMNS = (
    "trace_id STRING, span_id STRING, trace_state STRING, parent_span_id STRING, name STRING, kind STRING, "
    f"start_time_unix_nano LONG, end_time_unix_nano LONG, attributes {MAP}, "
    f"events ARRAY<STRUCT<time_unix_nano: LONG, name: STRING, attributes: {MAP}>>, "
    f"links ARRAY<STRUCT<trace_id: STRING, span_id: STRING, trace_state: STRING, attributes: {MAP}>>, "
    f"status STRUCT<message: STRING, code: STRING>, resource STRUCT<attributes: {MAP}>, "
    "instrumentation_scope STRUCT<name: STRING, version: STRING>"
)


def shop() -> ExportTraceServiceRequest:
    """Traces that fail, that cross the hour, and that publish to one another."""
    lines = []
    for number in range(40):
        at = f"{8 + number // 12:02}:{number % 12 * 5 + 4:02}:59"
        lines += [
            f"T{number} gateway checkout {at} +3s http.route=/checkout",
            f"  T{number} orders place {at} +2s db.system.name=postgresql db.namespace=orders",
            f"M{number} mailer send {at} +1s messaging.system=kafka messaging.destination.name=mail",
        ]
    message = request("\n".join(lines))
    for number in range(40):
        sent, received = (message.resource_spans[3 * number + at].scope_spans[0].spans[0] for at in (1, 2))
        sent.kind, received.kind = Span.SPAN_KIND_PRODUCER, Span.SPAN_KIND_CONSUMER
        received.links.add(trace_id=sent.trace_id, span_id=sent.span_id)
        failed = message.resource_spans[3 * number].scope_spans[0].spans[0]
        if number % 5 == 0:
            failed.status.code = Status.STATUS_CODE_ERROR
        failed.trace_state = "ot=th:8" if number % 2 else ""
    return message


def rows_of(message: ExportTraceServiceRequest) -> list[dict[str, Any]]:
    """Rows of a table; all attributes are texts."""

    def of(attributes: Any) -> dict[str, str]:
        return {each.key: each.value.string_value for each in attributes}

    return [
        {
            "trace_id": span.trace_id.hex(), "span_id": span.span_id.hex(), "trace_state": span.trace_state,
            "parent_span_id": span.parent_span_id.hex(), "name": span.name,
            "kind": Span.SpanKind.Name(span.kind),
            "start_time_unix_nano": span.start_time_unix_nano, "end_time_unix_nano": span.end_time_unix_nano,
            "attributes": of(span.attributes), "events": [],
            "links": [
                {"trace_id": link.trace_id.hex(), "span_id": link.span_id.hex()} for link in span.links
            ],
            "status": {"message": "", "code": Status.StatusCode.Name(span.status.code)},
            "resource": {"attributes": of(resource.resource.attributes)}, "instrumentation_scope": None,
        }
        for resource in message.resource_spans for span in resource.scope_spans[0].spans
    ]  # fmt: skip


def backfilled(store: Path, *arguments: str) -> str:
    """What a backfill says."""
    ran = CliRunner().invoke(main, ["backfill", "--store", str(store), *arguments])
    assert ran.exit_code == 0, ran.output
    return ran.stderr


def received(path: Path, message: ExportTraceServiceRequest) -> SpanStore:
    """A store that received the same over OTLP."""
    store = new_store(path)
    land(store, decode([message.SerializeToString()], ARRIVED).spans, "b")
    seal(store)
    return store


def test_a_table_of_spans_gives_what_otlp_gives_and_twice_nothing_new(tmp_path: Path, cluster: Any) -> None:
    """Parquet files with attributes as maps; rows of every hour and trace lie all over them."""
    message = shop()
    table = cluster.createDataFrame(rows_of(message), COLUMNS).repartition(3)
    table.write.parquet(str(tmp_path / "lake"))
    store = tmp_path / "store"
    arguments = (str(tmp_path / "lake"), "--format", "parquet")
    assert "120 spans read: 120 new, 0 duplicates, 0 rejected" in backfilled(store, *arguments)
    expected = received(tmp_path / "received", message)
    assert expected.sealed.scan(expected.sealed.pointer(), "hop_halves").collect().height > 0
    opened = new_store(store)
    assert sealed_checksum(opened) == sealed_checksum(expected)
    assert not list((store / "staging").iterdir())
    assert "120 spans read: 0 new, 120 duplicates, 0 rejected" in backfilled(store, *arguments, "--by-hour")
    assert sealed_checksum(opened) == sealed_checksum(expected)


def test_a_clickhouse_table_is_read_by_executors_as_import_reads_it(tmp_path: Path, cluster: Any) -> None:
    """Hours are tasks; a worker that dies over one changes nothing, and twice gives nothing new."""
    pytest.importorskip("chdb", reason="chdb-core, ClickHouse's engine, is not installed")
    import clickhouse

    message = shop()
    server = clickhouse.Server(tmp_path / "server")
    try:
        server.fill("collector", "otel", message)
        url = server.url("otel")
        assert CliRunner().invoke(main, ["import", url, "--store", str(tmp_path / "one")]).exit_code == 0
        assert "120 spans read: 120 new, 0 duplicates, 0 rejected" in backfilled(tmp_path / "store", url)
        assert "0 spans read: 0 new" in backfilled(tmp_path / "store", url)
        stores = [new_store(tmp_path / name) for name in ("one", "store")]
        assert sealed_checksum(stores[0]) == sealed_checksum(stores[1])
        assert [store.sealed.pointer().ledger.accepted for store in stores] == [120, 120]
        ran = CliRunner().invoke(main, ["backfill", url, "--by-hour", "--store", str(tmp_path / "store")])
        assert (ran.exit_code, "--by-hour is of a lake's tables" in ran.stderr) == (2, True)
        wrong = server.url("otel", password="wrong")
        ran = CliRunner().invoke(main, ["backfill", wrong, "--store", str(tmp_path / "other")])
        assert ran.exit_code == 2, ran.output
        assert "Authentication failed" in ran.stderr
        assert "wrong" not in ran.stderr.replace("wrong password", "")
    finally:
        server.stop()


def test_a_table_read_again_counts_no_span_twice(tmp_path: Path, cluster: Any) -> None:
    """Batches are named by what they hold: the same partitions are batches that the ledger has."""
    cluster.createDataFrame(rows_of(shop()), COLUMNS).repartition(3).write.parquet(str(tmp_path / "lake"))
    for _ in range(2):
        backfilled(tmp_path / "store", str(tmp_path / "lake"), "--format", "parquet")
        assert new_store(tmp_path / "store").sealed.pointer().ledger.accepted == 120


def test_attributes_of_a_variant_keep_their_types(tmp_path: Path, cluster: Any) -> None:
    """As in Databricks' second version of the table; a row without an id is refused and counted."""
    message = shop()
    rows = rows_of(message)
    for number in range(0, len(message.resource_spans), 3):
        span = message.resource_spans[number].scope_spans[0].spans[0]
        span.attributes.add(key="http.response.status_code").value.int_value = 503 if number % 2 else 200
        rows[number]["attributes"]["http.response.status_code"] = "503" if number % 2 else "200"
    table = cluster.createDataFrame([*rows, {**rows[0], "trace_id": "no id"}], COLUMNS)
    text = "regexp_replace(to_json({}), '\"(\\\\d+)\"', '$1')"  # numbers as such
    typed = table.withColumns(
        {
            "attributes": pyspark.sql.functions.expr(f"parse_json({text.format('attributes')})"),
            "resource": pyspark.sql.functions.expr(
                "named_struct('attributes', parse_json(to_json(resource.attributes)))"
            ),
        }
    )
    assert dict(typed.dtypes)["attributes"] == "variant"
    typed.createOrReplaceTempView("otel_spans")
    said = backfilled(tmp_path / "store", "otel_spans", "--where", "start_time_unix_nano > 0")
    assert "121 spans read: 120 new, 0 duplicates, 1 rejected (1 invalid_trace_id)" in said
    expected = received(tmp_path / "received", message)
    assert sealed_checksum(new_store(tmp_path / "store")) == sealed_checksum(expected)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["nothing.here"], "nothing.here cannot be read: "),
        (["/nowhere/at/all", "--format", "parquet"], "/nowhere/at/all cannot be read: "),
        (["numbers"], "numbers is not a table of OTLP spans: it lacks column trace_id"),
        (["numbers", "--where", "id >"], "numbers cannot be read: "),
    ],
)
def test_what_holds_no_spans_is_said_in_a_sentence(
    arguments: list[str], told: str, tmp_path: Path, cluster: Any
) -> None:
    """Exit code 2, and the store holds nothing."""
    cluster.range(3).createOrReplaceTempView("numbers")
    ran = CliRunner().invoke(main, ["backfill", "--store", str(tmp_path / "store"), *arguments])
    assert ran.exit_code == 2, ran.output
    assert told in ran.stderr
    assert new_store(tmp_path / "store").status().accepted == 0
