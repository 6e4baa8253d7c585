"""What failed is known from spans to rollups: outcomes without a status, retries, lost work of a unit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
from builders import frame, tree
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from stores import DAY, HOUR, land, many, new_store
from test_rollup import sealed

from tracescope import schema
from tracescope.engine.compare import read_sides
from tracescope.engine.rebuild import rebuild
from tracescope.engine.seal import seal
from tracescope.ingest.decode import decode
from tracescope.periods import Period
from tracescope.schema import STATUS_ERROR, STATUS_OK, STATUS_UNSET
from tracescope.store import SpanStore
from tracescope.store.landing import checksum_of

SERVER, CLIENT = schema.KIND_SERVER, schema.KIND_CLIENT


def status_of(attributes: dict[str, str | int], kind: int, code: int = STATUS_UNSET) -> int:
    """A span's status as it is stored."""
    message = ExportTraceServiceRequest()
    span = message.resource_spans.add().scope_spans.add().spans.add()
    span.trace_id, span.span_id, span.name, span.kind = b"\1" * 16, b"\2" * 8, "call", kind
    span.start_time_unix_nano, span.end_time_unix_nano = DAY, DAY + 1000
    span.status.code = code
    span.events.add(name="exception", time_unix_nano=DAY)  # recorded, which says nothing
    for key, value in attributes.items():
        if isinstance(value, int):
            span.attributes.add(key=key).value.int_value = value
        else:
            span.attributes.add(key=key).value.string_value = value
    return int(decode([message.SerializeToString()], DAY + HOUR).spans["status"][0])


@pytest.mark.parametrize(
    ("attributes", "kind", "failed"),
    [
        ({"http.status_code": 503}, SERVER, True),
        ({"http.response.status_code": 500}, CLIENT, True),
        ({"http.status_code": "502"}, SERVER, True),
        ({"http.status_code": 404}, SERVER, False),
        ({"http.response.status_code": 404}, CLIENT, False),
        ({"http.status_code": 600}, SERVER, False),
        ({"rpc.grpc.status_code": 0}, CLIENT, False),
        ({"rpc.grpc.status_code": 5}, CLIENT, True),
        ({"rpc.grpc.status_code": 5}, SERVER, False),
        ({"rpc.grpc.status_code": 14}, SERVER, True),
        ({"rpc.grpc.status_code": 99}, CLIENT, False),
        ({"rpc.response.status_code": "DEADLINE_EXCEEDED"}, SERVER, True),
        ({"rpc.response.status_code": "NOT_FOUND"}, SERVER, False),
        ({"rpc.connect_rpc.error_code": "unavailable"}, CLIENT, True),
        ({}, SERVER, False),
    ],
)
def test_a_span_without_a_status_ended_as_its_protocol_says(
    attributes: dict[str, str | int], kind: int, failed: bool
) -> None:
    """HTTP 5xx and gRPC's codes, as the conventions judge them; a recorded exception says nothing."""
    assert status_of(attributes, kind) == (STATUS_ERROR if failed else STATUS_UNSET)
    assert status_of(attributes, kind, STATUS_OK) == STATUS_OK, "a status that is set is final"
    assert status_of(attributes, kind, STATUS_ERROR) == STATUS_ERROR


def on_edge(tables: dict[str, pl.DataFrame], callee: str) -> dict[str, int]:
    """Sums of the calls of one callee."""
    rows = tables["path_hours"].join(tables["paths"].filter(callee=callee), on="path_id", how="semi")
    return rows.select(pl.col(pl.Int64).sum()).row(0, named=True)


RETRIED = """
    shop 0-100 server
      shop 0-10 client error peer=pay op=charge
      shop 12-30 client error peer=pay op=charge
      shop 40-60 client peer=pay op=charge
      shop 60-70 client peer=pay op=charge
      shop 70-80 client peer=stock op=reserve
"""


def test_a_call_after_a_failed_one_of_the_same_edge_is_a_retry() -> None:
    """Two of the four calls follow a failure; the last follows a success, and is work of its own."""
    tables = sealed([frame(tree(RETRIED))])
    found = on_edge(tables, "pay")
    assert (found["calls"], found["errors"], found["retries"]) == (4, 2, 2)
    assert found["failed_ns"] == 28 * 10**6
    assert on_edge(tables, "stock")["retries"] == 0


def test_calls_made_at_the_same_time_or_by_another_span_are_no_retries() -> None:
    """A call that had begun when the other failed, one under another parent, and another operation."""
    tables = sealed([frame(tree("""
        shop 0-100 server
          shop 0-10 client error peer=pay op=charge
          shop 5-30 client peer=pay op=charge
          shop 30-40 client error peer=pay op=refund
          shop 40-50 client error peer=pay op=cancel
          cart 50-90 server
            cart 60-70 client peer=pay op=cancel
    """))])  # fmt: skip
    assert on_edge(tables, "pay")["errors"] == 3
    assert on_edge(tables, "pay")["retries"] == 0


def test_what_a_failed_unit_took_is_told_apart() -> None:
    """Its clock, its calls and its critical time; a unit that called nothing is leafless."""
    fine = tree("shop 0-100 server\n  shop 0-60 client peer=pay op=charge", trace=1)
    lost = tree("shop 0-30 server error\n  shop 0-20 client error peer=pay op=charge", trace=2)
    early = tree("shop 0-5 server error", trace=3)
    tables = sealed([frame([*fine, *lost, *early])])
    entry = tables["entry_hours"].row(0, named=True)
    assert (entry["units"], entry["errors"], entry["leafless"]) == (3, 2, 1)
    assert (entry["clock_ns"], entry["failed_ns"]) == (135 * 10**6, 35 * 10**6)
    found = on_edge(tables, "pay")
    assert (found["calls"], found["calls_in_failed"]) == (2, 1)
    assert (found["own_ns"], found["own_in_failed_ns"]) == (80 * 10**6, 20 * 10**6)


def test_the_wait_of_a_failed_message_belongs_to_its_failed_clock_across_traces() -> None:
    """Joined later or seen at once, the message failed with its whole clock."""
    sent = tree("shop 0-10 producer send peer=jobs", trace=1)
    taken = tree("worker 30-50 consumer process peer=jobs error link=1:1", trace=2, first=9)
    for tables in (sealed([frame([*sent, *taken])]), sealed([frame(sent), frame(taken)])):
        entry = tables["entry_hours"].filter(unit=schema.UNIT_MESSAGE).row(0, named=True)
        assert (entry["clock_ns"], entry["failed_ns"], entry["errors"]) == (40 * 10**6, 40 * 10**6, 1)
        rows = tables["path_hours"].join(tables["paths"].filter(operation="wait"), on="path_id", how="semi")
        assert rows.select("own_ns", "own_in_failed_ns").rows() == [(20 * 10**6, 20 * 10**6)]


#: Columns that schema version 2 did not have.
SINCE = {
    "path_hours": ["failed_ns", "retries", "calls_in_failed", "own_in_failed_ns"],
    "entry_hours": ["failed_ns", "leafless"], "hop_halves": ["failed"],
}  # fmt: skip


def as_version_2(store: SpanStore) -> None:
    """Let a store's files be as schema version 2 wrote them."""
    pointer = store.sealed.pointer()
    for name, files in pointer.files.items():
        columns = SINCE.get({"path_days": "path_hours"}.get(name, name), [])
        for at, file in enumerate(files):
            path = store.sealed.folder / file.path
            pl.read_parquet(path, hive_partitioning=False).drop(columns).write_parquet(path)
            size, check = checksum_of(path)
            files[at] = replace(file, size=size, check=check, version=2)
    pointer.hours = {hour: replace(state, rules=2) for hour, state in pointer.hours.items()}
    store.sealed.publish(pointer)


def test_a_store_of_version_2_is_read_and_made_anew_by_a_rebuild(tmp_path: Path) -> None:
    """What it did not measure reads as nothing, names are the same; a rebuild measures it."""
    store = new_store(tmp_path)
    failing = many(6).with_columns(status=pl.lit(STATUS_ERROR, pl.Int8))
    land(store, failing, "all fail")
    seal(store)
    period = Period(DAY, DAY + 24 * HOUR, "a day")
    whole = read_sides(store, period, period).head.tables["entry_hours"]
    assert whole["failed_ns"].sum() == whole["clock_ns"].sum() > 0
    as_version_2(store)
    former = read_sides(store, period, period, zone="UTC")
    assert former.head.tables["entry_hours"]["failed_ns"].sum() == 0
    assert former.head.tables["path_hours"]["calls_in_failed"].sum() == 0
    assert former.head.tables["entry_hours"]["errors"].sum() == whole["errors"].sum()
    assert former.head.rules == {2}
    assert not any("rules" in note for note in former.notes)
    rebuild(store)
    made = read_sides(store, period, period).head.tables["entry_hours"]
    assert made.equals(whole)
