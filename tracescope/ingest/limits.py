"""How much one client, and all of them together, may take."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of both transports.

    Attributes
    ----------
    request_bytes
        Of a request, as sent and inflated.
    request_spans
        Of a request: a span of forty bytes takes as much room as one of four hundred.
    json_values
        Of a JSON request that is not written as senders write it, and so is read value by value.
    connections
        Open at once, a transport; more are turned away.
    streams
        Requests at once on one gRPC connection; more wait.
    header_bytes
        Of a request's headers.
    slow_client_s
        A whole request, its headers and its body, must arrive within so long.
    connection_age_s
        A gRPC connection is asked to reconnect after so long, and ended half a minute later.
    """

    request_bytes: int = 64 * 1024 * 1024
    request_spans: int = 200_000
    json_values: int = 1_000_000
    connections: int = 2048
    streams: int = 128
    header_bytes: int = 16 * 1024
    slow_client_s: int = 30
    connection_age_s: int = 600
