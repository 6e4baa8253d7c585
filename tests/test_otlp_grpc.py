"""OTLP over gRPC, line by line of the specification, with gRPC's own client."""

from __future__ import annotations

import gzip
import itertools
import threading
from collections.abc import Iterator

import grpc
import pytest
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from grpc_health.v1 import health_pb2, health_pb2_grpc
from receivers import Running, eventually, request

from tracescope.ingest.otlp_grpc import EXPORT

MIB = 1024 * 1024
numbers = itertools.count(0, 1000)


@pytest.fixture(scope="module")
def receiver(tmp_path_factory) -> Iterator[Running]:
    with Running(tmp_path_factory.mktemp("grpc") / "store", {"max_request_mb": 1}) as running:
        yield running


def refused(receiver: Running, message, **how) -> grpc.RpcError:
    with pytest.raises(grpc.RpcError) as failure:
        receiver.send(message, **how)
    return failure.value


@pytest.mark.parametrize("compressed", [False, True])
def test_full_success_leaves_partial_success_unset(receiver, compressed) -> None:
    """Plain and gzip alike; the spans are there at once."""
    before = receiver.counts()
    answer = receiver.send(request(next(numbers), 30), gzip=compressed)
    assert not answer.HasField("partial_success")
    assert receiver.counts() == (before[0] + 30, before[1] + 30)


def test_an_empty_request_succeeds_and_leaves_nothing(receiver) -> None:
    """Without spans there is nothing to keep."""
    before = receiver.counts()
    assert not receiver.send(b"").HasField("partial_success")
    assert not receiver.send(b"", gzip=True).HasField("partial_success")
    assert receiver.counts() == before


def test_rejected_spans_are_counted_in_partial_success_with_their_reasons(receiver) -> None:
    """The rest of the request is kept."""
    message = request(next(numbers), 5)
    spans = message.resource_spans[0].scope_spans[0].spans
    spans[0].trace_id, spans[1].trace_id = bytes(16), b"short"
    spans[2].span_id = bytes(8)
    spans[3].start_time_unix_nano = spans[3].start_time_unix_nano + 3 * 86_400 * 10**9
    before = receiver.counts()
    answer = receiver.send(message)
    assert answer.partial_success.rejected_spans == 4
    for reason in ("invalid_trace_id: 2", "invalid_span_id: 1", "future_time: 1"):
        assert reason in answer.partial_success.error_message
    assert receiver.counts() == (before[0] + 1, before[1] + 1)


def test_an_end_before_its_start_is_kept(receiver) -> None:
    """It is mended and counted when the hour is analysed, not refused."""
    message = request(next(numbers), 1)
    span = message.resource_spans[0].scope_spans[0].spans[0]
    span.end_time_unix_nano = span.start_time_unix_nano - 1
    assert not receiver.send(message).HasField("partial_success")


@pytest.mark.parametrize(
    "damaged",
    [
        pytest.param(lambda data: data[:-3], id="cut"),
        pytest.param(lambda data: b"\xff" * 40, id="junk"),
        pytest.param(lambda data: gzip.compress(data)[:-9], id="gzip cut"),
        pytest.param(lambda data: gzip.compress(data) + b"junk", id="gzip and junk"),
        pytest.param(lambda data: gzip.compress(data[:-3]), id="gzip of a cut request"),
    ],
)
def test_what_is_malformed_gets_invalid_argument_and_leaves_nothing(receiver, damaged) -> None:
    """Never UNAVAILABLE: sending it again could not help."""
    before = receiver.counts()
    failure = refused(receiver, damaged(request(next(numbers), 3).SerializeToString()))
    assert failure.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert failure.details()
    assert receiver.counts() == before


@pytest.mark.parametrize("compressed", [False, True])
def test_beyond_the_limit_is_resource_exhausted_without_retry_info(receiver, compressed) -> None:
    """As sent, and once inflated: two MiB of one letter are two KiB of gzip."""
    failure = refused(receiver, request(next(numbers), 1, pad=2 * MIB), gzip=compressed)
    assert failure.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "grpc-status-details-bin" not in dict(failure.trailing_metadata())


def test_overload_is_unavailable_with_retry_info(receiver) -> None:
    """And the health service says so, until it is over."""
    health = health_pb2_grpc.HealthStub(receiver.channel)

    def state(service: str = "") -> int:
        return health.Check(health_pb2.HealthCheckRequest(service=service)).status

    assert state() == health_pb2.HealthCheckResponse.SERVING
    pressure = receiver.runtime._pressure
    pressure.memory_limit_bytes = 1
    try:
        eventually(lambda: receiver.runtime.intake.pressure != "", "pressure is seen")
        failure = refused(receiver, request(next(numbers), 1))
        assert failure.code() == grpc.StatusCode.UNAVAILABLE
        found = Status.FromString(dict(failure.trailing_metadata())["grpc-status-details-bin"])
        info = RetryInfo()
        assert found.details[0].Unpack(info)
        assert info.retry_delay.ToMilliseconds() > 0
        eventually(lambda: state() == health_pb2.HealthCheckResponse.NOT_SERVING, "not serving")
    finally:
        pressure.memory_limit_bytes = 0
    eventually(lambda: state() == health_pb2.HealthCheckResponse.SERVING, "serving again")
    assert not receiver.send(request(next(numbers), 1)).HasField("partial_success")


def test_the_health_service_knows_the_trace_service_and_no_other(receiver) -> None:
    """An unknown service is NOT_FOUND."""
    health = health_pb2_grpc.HealthStub(receiver.channel)
    service = "opentelemetry.proto.collector.trace.v1.TraceService"
    found = health.Check(health_pb2.HealthCheckRequest(service=service))
    assert found.status == health_pb2.HealthCheckResponse.SERVING
    with pytest.raises(grpc.RpcError) as failure:
        health.Check(health_pb2.HealthCheckRequest(service="nothing"))
    assert failure.value.code() == grpc.StatusCode.NOT_FOUND


def test_a_request_sent_again_does_not_double(receiver) -> None:
    """A sender that saw no answer sends again; spans count once, whatever is accepted."""
    message = request(next(numbers), 20)
    before = receiver.counts()
    receiver.send(message)
    receiver.send(message, gzip=True)
    assert receiver.counts() == (before[0] + 40, before[1] + 20)


def test_a_slow_stream_does_not_hold_others_up(receiver) -> None:
    """Forty requests that never finish cost no thread: the next one is answered."""
    release = threading.Event()

    def never() -> Iterator[bytes]:
        release.wait(60)
        yield from ()

    call = receiver.channel.stream_unary(EXPORT)
    stuck = [call.future(never(), timeout=60) for _ in range(40)]
    try:
        assert not receiver.send(request(next(numbers), 1)).HasField("partial_success")
    finally:
        release.set()
        for one in stuck:
            one.cancel()
