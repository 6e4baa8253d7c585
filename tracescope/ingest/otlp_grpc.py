"""The OTLP gRPC receiver: raw bytes on both sides, on an event loop.

Bytes that are not OTLP get INVALID_ARGUMENT and never reach the journal; spans that cannot be used
are counted in ``partial_success`` and must not be sent again; too large is RESOURCE_EXHAUSTED without
RetryInfo, which means do not send again; what cannot be kept now is UNAVAILABLE with RetryInfo.

gRPC's own decompression is off: it knows no limit, and holds up the loop.  A slow client costs a
coroutine, not a thread.  Our one method is registered as if its requests were a stream, of which one
message is read: on the wire that is the same, but so the handler runs before the message is here.  Who may
not send, or sends too slowly, is answered then; gRPC itself would wait for a unary request for ever.

Source: OpenTelemetry Protocol Specification 1.11, section OTLP/gRPC.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any, Final, NoReturn, cast

import grpc
import grpc.aio
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1._async import HealthServicer
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from tracescope.errors import ConfigError, InputError, OverloadedError, StoreError, TooLargeError
from tracescope.ingest.access import Access, client_name
from tracescope.ingest.intake import RETRY_AFTER_S, Intake, explain
from tracescope.ingest.limits import Limits
from tracescope.places import host_and_port

SERVICE: Final = "opentelemetry.proto.collector.trace.v1.TraceService"
EXPORT: Final = f"/{SERVICE}/Export"
_NONE_AND_GZIP: Final = 0b101
_KEEPALIVE_MS: Final = 60_000
_GRACE_MS: Final = 30_000


class _Traces(grpc.GenericRpcHandler):
    """Answers `EXPORT`."""

    def __init__(self, intake: Intake, access: Access, slow_client_s: float) -> None:
        self._intake = intake
        self._access = access
        self._slow_client_s = slow_client_s
        self._handler = grpc.stream_unary_rpc_method_handler(self._export)  # pyright: ignore[reportArgumentType]

    def service(
        self, handler_call_details: grpc.HandlerCallDetails
    ) -> grpc.RpcMethodHandler[Any, Any] | None:
        """The handler of our one method; None lets gRPC answer UNIMPLEMENTED."""
        return self._handler if handler_call_details.method == EXPORT else None

    async def _export(self, stream: object, context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
        """Read one message from `context`, not from the stream, and answer it."""
        if self._access.tokens is not None:
            given = dict(context.invocation_metadata() or ()).get("authorization")
            if problem := self._access.problem(given, client_name(context.peer())):
                self._intake.meters.requests.labels("grpc", "unauthenticated").inc()
                if problem.wait_s:
                    await _later(context, problem.sentence, problem.wait_s)
                await context.abort(grpc.StatusCode.UNAUTHENTICATED, problem.sentence)
        try:
            return response(await self._intake.accept("grpc", await self._receive(context)))
        except TooLargeError as error:
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, str(error))
        except InputError as error:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        except OverloadedError as error:
            await _later(context, str(error), error.retry_after_s)
        except StoreError as error:
            await _later(context, f"not stored, send again: {error}", RETRY_AFTER_S)

    async def _receive(self, context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
        """The request's message; aborts the call when it does not come in time.

        gRPC holds what has come of it, and does not say how much: the calls are counted, and none is begun
        under pressure.
        """
        meters = self._intake.meters
        try:
            self._intake.admit(0)
        except OverloadedError:
            meters.requests.labels("grpc", "overloaded").inc()
            raise
        try:
            async with asyncio.timeout(self._slow_client_s):
                with meters.receiving.track_inprogress():
                    message = cast("object", await context.read())  # its type says bytes; it may be EOF
        except TimeoutError:
            meters.requests.labels("grpc", "refused").inc()
            await context.abort(
                grpc.StatusCode.DEADLINE_EXCEEDED, f"the request took longer than {self._slow_client_s} s"
            )
        if not isinstance(message, bytes):
            raise InputError("the call ended without a request", "send an ExportTraceServiceRequest")
        return message


async def _later(
    context: grpc.aio.ServicerContext[bytes, bytes], message: str, retry_after_s: float
) -> NoReturn:
    """UNAVAILABLE, with the time after which to send again."""
    code = grpc.StatusCode.UNAVAILABLE
    details = overloaded(code.value[0], message, retry_after_s).SerializeToString()
    await context.abort(code, message, trailing_metadata=(("grpc-status-details-bin", details),))


def overloaded(code: int, message: str, retry_after_s: float) -> Status:
    """A Status that carries RetryInfo."""
    delay = Duration()
    delay.FromMilliseconds(round(retry_after_s * 1000))
    detail = AnyMessage()
    detail.Pack(RetryInfo(retry_delay=delay))
    return Status(code=code, message=message, details=[detail])


def response(rejected: dict[str, int]) -> bytes:
    """An ExportTraceServiceResponse; ``partial_success`` only when spans were rejected."""
    if not rejected:
        return b""
    message = ExportTraceServiceResponse()
    message.partial_success.rejected_spans = sum(rejected.values())
    message.partial_success.error_message = explain(rejected)
    return message.SerializeToString()


@dataclass(frozen=True, slots=True)
class Receiver:
    """A running server and the address it is bound to."""

    server: grpc.aio.Server
    health: HealthServicer
    address: str

    async def set_ready(self, ready: bool) -> None:
        """What the health service answers."""
        state = (
            health_pb2.HealthCheckResponse.SERVING if ready else health_pb2.HealthCheckResponse.NOT_SERVING
        )
        for name in ("", SERVICE):
            await self.health.set(name, state)

    async def stop(self, grace_s: float) -> None:
        """Take no more requests, and wait for the running ones."""
        await self.health.enter_graceful_shutdown()
        await self.server.stop(grace_s)


def _options(limits: Limits) -> list[tuple[str, int]]:
    return [
        ("grpc.so_reuseport", 0),
        ("grpc.per_message_decompression", 0),
        ("grpc.compression_enabled_algorithms_bitset", _NONE_AND_GZIP),
        ("grpc.max_receive_message_length", limits.request_bytes),
        ("grpc.max_concurrent_streams", limits.streams),
        ("grpc.max_allowed_incoming_connections", limits.connections),
        ("grpc.max_metadata_size", limits.header_bytes),
        ("grpc.absolute_max_metadata_size", limits.header_bytes),
        ("grpc.server_handshake_timeout_ms", limits.slow_client_s * 1000),
        ("grpc.keepalive_time_ms", _KEEPALIVE_MS),
        ("grpc.keepalive_timeout_ms", limits.slow_client_s * 1000),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.min_recv_ping_interval_without_data_ms", 5_000),
        ("grpc.max_connection_age_ms", limits.connection_age_s * 1000),
        ("grpc.max_connection_age_grace_ms", _GRACE_MS),
    ]


async def serve(intake: Intake, address: str, access: Access, limits: Limits) -> Receiver:
    """Start receiving.

    Parameters
    ----------
    intake
        What keeps the requests.
    address
        ``HOST:PORT``; port 0 picks a free one.
    access, limits
        Who may send, and how much.

    Raises
    ------
    ConfigError
        The address cannot be bound.
    """
    server = grpc.aio.server(options=_options(limits))
    healthy = HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(healthy, server)
    server.add_generic_rpc_handlers((_Traces(intake, access, limits.slow_client_s),))
    host, _ = host_and_port(address, "--grpc", "127.0.0.1:4317")
    try:
        if access.tls is None:
            bound = server.add_insecure_port(address)
        else:
            bound = server.add_secure_port(address, access.tls.credentials())
    except RuntimeError as error:
        raise ConfigError(
            f"cannot listen on {address}: the port is taken, or the address is not of this machine",
            "choose another with --grpc HOST:PORT; port 0 picks a free one",
        ) from error
    await server.start()
    receiver = Receiver(server, healthy, f"{host}:{bound}")
    await receiver.set_ready(True)
    return receiver
