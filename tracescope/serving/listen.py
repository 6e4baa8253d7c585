"""HTTP listeners on the one event loop: bound before anything starts, patient only so long.

uvicorn serves; what it does not limit is limited here: connections, and the time that a client may
take to send its headers.  The body's time is the application's to limit.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from tracescope.errors import ConfigError
from tracescope.ingest.access import Tls
from tracescope.ingest.limits import Limits
from tracescope.ingest.meters import Meters

if TYPE_CHECKING:
    from starlette.types import ASGIApp

KEEP_ALIVE_S: Final = 120
_LAST_PORT: Final = 65_535
_FULL: Final = (
    b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
)
_SLOW: Final = b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"


def bind(address: str, flag: str) -> socket.socket:
    """A listening socket at ``HOST:PORT``; port 0 picks a free one.

    Raises
    ------
    ConfigError
        The address is none, or cannot be bound.
    """
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit() or int(port) > _LAST_PORT:
        raise ConfigError(f"{flag} {address!r} is no HOST:PORT", "for example 127.0.0.1:4318")
    try:
        found = socket.getaddrinfo(
            host.strip("[]"), int(port), type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        family, kind, protocol, _, where = found[0]
        opened = socket.socket(family, kind, protocol)
        try:
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            opened.bind(where)
            opened.listen(1024)
        except OSError:
            opened.close()
            raise
    except (OSError, OverflowError) as error:
        raise ConfigError(
            f"cannot listen on {address}: the port is taken, or the address is not of this machine ({error})",
            f"choose another with {flag} HOST:PORT; port 0 picks a free one",
        ) from error
    opened.setblocking(False)
    return opened


def is_loopback(address: str) -> bool:
    """Whether only this machine can reach ``HOST:PORT``."""
    return address.startswith(("127.", "localhost:", "[::1]:", "::1:"))


def url_of(address: str, *, tls: bool = False) -> str:
    """``HOST:PORT`` as something to click on; an address for everybody is shown as this machine's."""
    host, _, port = address.rpartition(":")
    if host in ("0.0.0.0", "[::]", "::"):
        host = "localhost"
    return f"{'https' if tls else 'http'}://{host}:{port}"


def bound(opened: socket.socket) -> str:
    """``HOST:PORT`` of a socket."""
    host, port = opened.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _protocol(limits: Limits, meters: Meters) -> type[asyncio.Protocol]:
    """The protocol of uvicorn, which turns away what is too much and ends what is too slow."""

    class Patient(H11Protocol):
        _timer: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
            super().connection_made(transport)
            meters.connections.inc()
            if len(self.connections) > limits.connections:
                transport.write(_FULL)
                transport.close()
                return
            self._watch()

        def connection_lost(self, exc: Exception | None) -> None:
            meters.connections.dec()
            self._rest()
            super().connection_lost(exc)

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            if self._between_requests():
                if self._timer is None:
                    self._watch()
            else:
                self._rest()

        def _between_requests(self) -> bool:
            # uvicorn has no cycle before the first request, though it says otherwise
            cycle: Any = self.cycle
            return cycle is None or cycle.response_complete

        def _watch(self) -> None:
            self._timer = self.loop.call_later(limits.slow_client_s, self._end)

        def _rest(self) -> None:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None

        def _end(self) -> None:
            self._timer = None
            if self._between_requests() and not self.transport.is_closing():
                self.transport.write(_SLOW)
                self.transport.close()

    return Patient


class _Server(uvicorn.Server):
    """A server that leaves signals to whoever runs the loop."""

    @contextmanager
    def capture_signals(self) -> Generator[None]:
        yield


@dataclass(frozen=True, slots=True)
class Listener:
    """One running HTTP server."""

    address: str
    server: uvicorn.Server
    task: asyncio.Task[None]

    async def stop(self) -> None:
        """Take no more connections, and wait for the running requests."""
        self.server.should_exit = True
        await self.task


async def listen(
    opened: socket.socket,
    app: ASGIApp,
    *,
    tls: Tls | None,
    limits: Limits,
    meters: Meters,
    grace_s: int,
) -> Listener:
    """Serve `app` on a bound socket until stopped.

    Parameters
    ----------
    opened
        Made by `bind`.
    app
        An ASGI application.
    tls, limits, meters
        Certificates, limits, and where connections are counted.
    grace_s
        How long stopping waits for requests.
    """
    config = uvicorn.Config(
        app,  # pyright: ignore[reportArgumentType] - the same protocol under another name
        http=_protocol(limits, meters),
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=grace_s,
        h11_max_incomplete_event_size=limits.header_bytes,
    )
    config.load()
    if tls is not None:
        config.ssl = tls.context()
    server = _Server(config)
    task = asyncio.create_task(server.serve(sockets=[opened]))
    while not server.started and not task.done():
        await asyncio.sleep(0.01)
    if task.done():
        await task
    return Listener(bound(opened), server, task)
