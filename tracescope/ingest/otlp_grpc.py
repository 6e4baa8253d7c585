"""The OTLP gRPC receiver: raw bytes in, a durable journal behind, an answer by content.

A request is answered only after its bytes are in the journal and fsynced.  Bytes that are not OTLP
get INVALID_ARGUMENT and never reach the journal; spans that cannot be used are counted in
``partial_success`` and must not be sent again; a journal that cannot be written gets UNAVAILABLE, and
the sender keeps what it has.

Source: OpenTelemetry Protocol Specification 1.11, section OTLP/gRPC.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import grpc
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from tracescope.errors import ConfigError, MalformedOtlpError, StoreError
from tracescope.ingest.decode import inspect
from tracescope.store.journal import Journal

EXPORT = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
MAX_MESSAGE_BYTES = 64 * 1024 * 1024
WORKERS = 16
#: How long an answer waits for the disk.
FSYNC_DEADLINE_S = 30.0


class _Traces(grpc.GenericRpcHandler):
    """Answers `EXPORT` with raw bytes on both sides."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    def service(
        self, handler_call_details: grpc.HandlerCallDetails
    ) -> grpc.RpcMethodHandler[bytes, bytes] | None:
        """The handler of our one method; None lets gRPC answer UNIMPLEMENTED."""
        if handler_call_details.method != EXPORT:
            return None
        return grpc.unary_unary_rpc_method_handler(self._export)

    def _export(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        arrived_ns = time.time_ns()
        try:
            accepted, rejected = inspect(request, arrived_ns)
        except MalformedOtlpError as error:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        if accepted or rejected:
            try:
                self._journal.append(request, arrived_ns).result(FSYNC_DEADLINE_S)
            except (StoreError, TimeoutError) as error:
                context.abort(grpc.StatusCode.UNAVAILABLE, f"not stored, send again: {error}")
        return response(rejected)


def response(rejected: dict[str, int]) -> bytes:
    """An ExportTraceServiceResponse; ``partial_success`` only when spans were rejected."""
    message = ExportTraceServiceResponse()
    if rejected:
        message.partial_success.rejected_spans = sum(rejected.values())
        message.partial_success.error_message = ", ".join(
            f"{reason}: {count}" for reason, count in rejected.items()
        )
    return message.SerializeToString()


@dataclass(frozen=True, slots=True)
class Receiver:
    """A running server and the address it is bound to."""

    server: grpc.Server
    address: str

    def stop(self, grace_s: float) -> None:
        """Take no more requests, and wait for the running ones."""
        self.server.stop(grace_s).wait()


def serve(journal: Journal, address: str) -> Receiver:
    """Start receiving.

    Parameters
    ----------
    journal
        Where acknowledged bytes go.
    address
        ``HOST:PORT``; port 0 picks a free one.

    Raises
    ------
    ConfigError
        The address cannot be bound.
    """
    options = [
        ("grpc.so_reuseport", 0),
        ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ]
    server = grpc.server(ThreadPoolExecutor(WORKERS, "otlp-grpc"), options=options)
    server.add_generic_rpc_handlers((_Traces(journal),))
    host, _, port = address.rpartition(":")
    try:
        if not host or not port.isdigit():
            raise ConfigError(f"--grpc {address!r} is no HOST:PORT", "for example 127.0.0.1:4317")
        bound = server.add_insecure_port(address)
    except RuntimeError as error:
        raise ConfigError(
            f"cannot listen on {address}: the port is taken, or the address is not of this machine",
            "choose another with --grpc HOST:PORT; port 0 picks a free one",
        ) from error
    server.start()
    return Receiver(server, f"{host}:{bound}")
