"""A request costs what its bytes may cost, whatever it says: bounds that a stranger cannot pass."""

from __future__ import annotations

import gzip
import time
import traceback
from collections.abc import Callable
from pathlib import Path

import orjson
import pytest
import zstandard
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Status
from receivers import request

from tracescope.conventions import keeping
from tracescope.conventions.keeping import Policy
from tracescope.errors import InputError, TooLargeError
from tracescope.ingest import inflate
from tracescope.ingest.decode import decode, judge, scan
from tracescope.ingest.inflate import gunzip, unzstd
from tracescope.ingest.intake import INLINE_BYTES, Intake
from tracescope.ingest.limits import Limits
from tracescope.ingest.otlp_http import transcode
from tracescope.ingest.protobuf import delimited
from tracescope.ingest.scanned import Scanned
from tracescope.kernels import wire
from tracescope.store.journal import Journal

NOW = time.time_ns()


def spans(*fields: bytes, count: int = 1) -> bytes:
    """A request of `count` spans without a flaw, each with some fields more."""
    made = request(0, 1).resource_spans[0].scope_spans[0].spans[0].SerializeToString() + b"".join(fields)
    return delimited(1, delimited(2, delimited(2, made) * count))


def text(key: str, value: str, number: int = 9) -> bytes:
    return delimited(number, delimited(1, key.encode()) + delimited(2, delimited(1, value.encode())))


@pytest.mark.parametrize(
    ("hostile", "refused"),
    [
        (delimited(1, delimited(2, b"\x12\x00" * 500_000)), 500_000),
        (b"\x0a\x00" * 500_000, 0),
        (delimited(1, b"\x12\x00" * 500_000), 0),
        (delimited(1, delimited(2, delimited(2, b"\x4a\x00" * 4) * 100_000)), 100_000),
        (delimited(1, b"\x12\x00" * 9 + delimited(1, text("service.name", "x", 1) * 50_000)), 0),
        (
            delimited(
                1, b"".join(delimited(2, delimited(1, delimited(1, b"%06d" % n))) for n in range(60_000))
            ),
            0,
        ),
    ],
    ids=["spans", "resources", "scopes", "attributes", "resource's attributes", "scopes' names"],
)
def test_what_no_span_needs_takes_no_room(hostile: bytes, refused: int) -> None:
    """Empty messages, two bytes each, are counted and have no row; names that no span has are not kept."""
    found = scan([hostile], NOW)
    assert judge(found) == (0, {"invalid_trace_id": refused} if refused else {})
    assert [len(part) for part in (found.rows, found.combinations, found.resource_codes)] == [0, 0, 0]
    made = found.rows.base, found.resource_codes.base  # the room that was made for them
    assert all(room is not None and len(room) <= 2 for room in made)
    kept = Scanned.of(found, NOW)
    assert sum(map(len, kept.strings)) < 2000


def test_what_a_flawed_span_leaves_behind_is_not_in_the_next() -> None:
    """Of a span that is refused, its status, parent, links and words go with it."""
    message = request(0, 2)
    first, second = message.resource_spans[0].scope_spans[0].spans
    first.trace_id = bytes(16)
    first.parent_span_id, first.status.code, first.trace_state = (
        b"12345678",
        Status.STATUS_CODE_ERROR,
        "ot=th:8",
    )
    first.links.add(trace_id=bytes(range(16)), span_id=bytes(range(8)))
    first.attributes.add(key="db.system").value.string_value = "redis"
    both = decode([message.SerializeToString()], NOW)
    del message.resource_spans[0].scope_spans[0].spans[0]
    assert both.rejected == {"invalid_trace_id": 1}
    assert both.spans.equals(decode([message.SerializeToString()], NOW).spans)
    assert second.name == "POST /orders"


def test_of_long_names_and_values_the_front_counts() -> None:
    """A name of a megabyte is 1,024 bytes of it, cut where a character ends; a long value goes."""
    name = "-" + "é" * 500_000
    raw = scan([spans(delimited(5, name.encode()))], NOW)
    at, size = raw.strings[raw.rows[0, wire.C_NAME]]
    assert raw.heap[at : at + size].tobytes() == name.encode()[: wire.LONGEST_STRING - 1]
    long = "x" * (wire.LONGEST_VALUE + 1)
    found = decode(
        [spans(delimited(5, name.encode()), text("db.namespace", long), text("http.route", long))], NOW
    )
    assert found.spans["name"][0].startswith("-" + "é" * 100)
    assert len(found.spans["raw"][0]) < 100
    kept = decode([spans(text("db.namespace", long))], NOW, policy=Policy(keep=("db.namespace",)))
    assert long.encode() in kept.spans["raw"][0]


def test_a_span_of_more_than_a_mebibyte_is_refused_and_counted() -> None:
    """Events, links or attributes without end; a long name, which is not kept, is no reason."""
    found = decode([spans(b"\x5a\x00" * 600_000), spans(delimited(5, b"x" * 2_000_000)), spans()], NOW)
    assert found.accepted == 2
    assert found.rejected == {"too_large": 1}


def test_a_resource_keeps_no_more_than_its_bound() -> None:
    """It stands beside every one of its spans."""
    about = b"".join(text("host.name", "h" * 900, 1) for _ in range(100))
    message = delimited(1, delimited(1, text("service.name", "orders", 1) + about)) + spans()
    both = ExportTraceServiceRequest.FromString(message)
    both.resource_spans[0].scope_spans.extend(both.resource_spans[1].scope_spans)
    found = decode([both.SerializeToString()], NOW)
    assert found.spans["service_name"].to_list() == ["orders", "unknown_service"]
    assert max(map(len, found.spans["resource"])) <= wire.LARGEST_RESOURCE


def checked(folder: Path, body: bytes, limits: Limits, to_protobuf: Callable[[bytes], bytes] | None = None):
    journal = Journal.open(folder)
    intake = Intake(journal, limits=limits)
    try:
        return intake.check(body, "", to_protobuf, NOW)
    finally:
        intake.close()
        journal.close()


def test_more_spans_than_a_request_may_have_are_refused_before_they_are_read(tmp_path: Path) -> None:
    """At the bound they are taken; one more is too large, and says how many."""
    limits = Limits(request_spans=1000)
    assert checked(tmp_path, spans(count=1000), limits).accepted == 1000
    with pytest.raises(TooLargeError, match="1001 spans; at most 1000"):
        checked(tmp_path, spans(count=1001), limits)
    with pytest.raises(TooLargeError, match="bytes as protobuf"):
        checked(tmp_path, b"{}", Limits(request_bytes=100), lambda _: spans(count=9))


def test_a_small_span_weighs_in_the_journal_what_it_will_take(tmp_path: Path) -> None:
    """Else a segment of eight megabytes could be a gigabyte of table."""
    assert checked(tmp_path, spans(count=100), Limits()).weight >= 100 * 400


def test_a_refused_request_is_let_go_of_while_its_error_is_on_its_way(tmp_path: Path) -> None:
    """Else eight of them hold eight times what one inflates to."""
    journal = Journal.open(tmp_path)
    intake = Intake(journal, limits=Limits(request_bytes=10_000_000))
    with pytest.raises(TooLargeError) as refused:
        intake.check_apart(zstandard.compress(bytes(20_000_000)), "zstd", None, NOW)
    frames = [frame for frame, _ in traceback.walk_tb(refused.value.__traceback__)]
    held = [value for frame in frames for value in frame.f_locals.values() if isinstance(value, bytes | list)]
    assert [frame.f_code.co_name for frame in frames][1:] == ["check_apart"]
    assert max(map(len, held), default=0) < 10_000
    assert refused.value.__context__ is refused.value.__cause__ is None
    intake.close()
    journal.close()


@pytest.mark.parametrize("lie", [0, 100])
def test_a_body_that_claims_to_be_small_is_not_inflated_on_the_event_loop(tmp_path: Path, lie: int) -> None:
    """A second member, or a false trailer, says that little comes out."""
    journal = Journal.open(tmp_path)
    intake = Intake(journal)
    body = gzip.compress(bytes(20 * INLINE_BYTES)) + gzip.compress(b"x" * lie)
    assert len(body) < INLINE_BYTES
    assert intake.check_small(body, "gzip", None, NOW) is None
    small = gzip.compress(spans())
    assert intake.check_small(small, "gzip", None, NOW) is not None
    intake.close()
    journal.close()


@pytest.mark.parametrize(("squeeze", "expand"), [(gzip.compress, gunzip), (zstandard.compress, unzstd)])
def test_a_body_has_a_bounded_number_of_compressed_parts(
    squeeze: Callable[[bytes], bytes], expand: Callable[[bytes, int], bytes]
) -> None:
    """So many make one message; one more is refused, as is one that is cut short or followed by junk."""
    most = inflate.MAX_MEMBERS
    assert expand(squeeze(b"abc") * most, 10_000) == b"abc" * most
    for broken in (
        squeeze(b"abc") * (most + 1),
        squeeze(b"abc" * 99)[:-2],
        squeeze(b"abc") + b"junk",
        b"\x1f",
    ):
        with pytest.raises(InputError):
            expand(broken, 10_000)
    with pytest.raises(TooLargeError):
        expand(squeeze(bytes(10_001)), 10_000)
    assert expand(squeeze(bytes(10_000)), 10_000) == bytes(10_000)


def test_a_json_request_of_too_many_values_is_refused_without_being_read() -> None:
    """Three bytes of text would be a hundred of memory; what is written as senders write it has no bound."""
    strange = orjson.dumps({"resourceSpans": [{"scopeSpans": [{"spans": [{"flags": None}] * 2000}]}]})
    plain = orjson.dumps({"resourceSpans": [{"scopeSpans": [{"spans": [{}] * 2000}]}]})
    with pytest.raises(TooLargeError, match="JSON values; at most 1000"):
        transcode(strange.replace(b"flags", b"\\u0066lags"), 1000)
    assert len(transcode(plain, 1000)) >= 4000


def test_policies_are_not_fooled_by_length() -> None:
    """What settings drop is dropped at any length, and what they keep is kept."""
    for size in (10, wire.LONGEST_VALUE, wire.LONGEST_VALUE + 1):
        body = spans(text("app.note", "x" * size))
        assert b"app.note" not in decode([body], NOW, policy=Policy(drop=("app.*",))).spans["raw"][0]
        assert b"app.note" in decode([body], NOW, policy=Policy(keep=("app.*",))).spans["raw"][0]
    assert Policy() == keeping.DEFAULT
