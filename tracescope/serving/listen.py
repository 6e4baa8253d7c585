"""HTTP listeners on the one event loop: bound before anything starts, patient only so long.

uvicorn serves; what it does not limit is limited here: connections, those whose TLS handshake goes on
included, and the time that a client may take for that and to send its headers.  The body's time is the
application's to limit.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
import ssl
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from tracescope.errors import ConfigError, in_words
from tracescope.ingest.access import Tls
from tracescope.ingest.limits import Limits
from tracescope.ingest.meters import Meters
from tracescope.places import EXAMPLES, host_and_port

if TYPE_CHECKING:
    from starlette.types import ASGIApp

log = logging.getLogger(__name__)

KEEP_ALIVE_S: Final = 120
#: So many connections more than the limit are answered that there are too many; further ones are closed.
_BEYOND_LIMIT: Final = 16
#: When no file can be opened, the next connection is waited for so long.
_NO_FILES_S: Final = 0.5
#: What they may ask nevertheless: who watches must not be locked out by who fills the port.
_WATCHED: Final = ("/healthz", "/readyz", "/metrics")
#: ... and how long they may take.
_SPARE_S: Final = 2.0
#: Why an address cannot be had.
_WHY: Final = {
    errno.EADDRINUSE: "another program listens there",
    errno.EADDRNOTAVAIL: "it is no address of this machine",
    errno.EACCES: "this user may not listen on ports below 1024",
    socket.EAI_NONAME: "there is no such host",
}
_SLOW: Final = b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"


def bind(address: str, flag: str) -> socket.socket:
    """A listening socket at ``HOST:PORT``; port 0 picks a free one.

    Raises
    ------
    ConfigError
        The address is none, or cannot be bound.
    """
    host, port = host_and_port(address, flag, EXAMPLES[flag.removeprefix("--")])
    try:
        found = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, protocol, _, where = found[0]
        opened = socket.socket(family, kind, protocol)
        try:
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            opened.bind(where)
            opened.listen(1024)
        except OSError:
            opened.close()
            raise
    except (OSError, OverflowError, UnicodeError) as error:
        why = _WHY.get(getattr(error, "errno", None) or 0, in_words(error))
        raise ConfigError(
            f"cannot listen on {address}: {why}",
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
        _patience_s: float = limits.slow_client_s

        def connection_made(self, transport: asyncio.Transport) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
            super().connection_made(transport)
            meters.connections.inc()
            if len(self.connections) > limits.connections:
                self.app = _spare(self.app)
                self._patience_s = min(_SPARE_S, limits.slow_client_s)
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
            self._timer = self.loop.call_later(self._patience_s, self._end)

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


def _spare(app: Any) -> Any:
    """An application for one connection too many: it answers who watches, and nobody else."""

    async def answer(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http" and scope["path"] in _WATCHED:
            await app(scope, receive, send)
            return
        headers = [(b"retry-after", b"1"), (b"content-length", b"0"), (b"connection", b"close")]
        await send({"type": "http.response.start", "status": 503, "headers": headers})
        await send({"type": "http.response.body", "body": b""})

    return answer


class _Server(uvicorn.Server):
    """A server that accepts connections itself, and leaves signals to whoever runs the loop."""

    def __init__(self, config: uvicorn.Config, limits: Limits) -> None:
        super().__init__(config)
        self._limits = limits
        self._accepting: list[asyncio.Task[None]] = []
        self._opening: set[asyncio.Task[None]] = set()

    @contextmanager
    def capture_signals(self) -> Generator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        self.servers: list[asyncio.Server] = []
        self._accepting = [asyncio.create_task(self._accept(one)) for one in sockets or ()]
        self.started = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        ended = [*self._accepting, *self._opening]
        for task in ended:
            task.cancel()
        await asyncio.gather(*ended, return_exceptions=True)
        await super().shutdown(sockets)

    async def _accept(self, listening: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                opened, _ = await loop.sock_accept(listening)
            except OSError as error:  # no file can be opened, or the client has gone
                log.warning("a connection cannot be accepted: %s", error.strerror)
                await asyncio.sleep(_NO_FILES_S)
                continue
            if (
                len(self.server_state.connections) + len(self._opening)
                >= self._limits.connections + _BEYOND_LIMIT
            ):
                opened.close()
                continue
            task = asyncio.create_task(self._open(opened))
            self._opening.add(task)
            task.add_done_callback(self._opening.discard)

    async def _open(self, opened: socket.socket) -> None:
        """Let a connection in, after its handshake where there is TLS."""
        tls = self.config.ssl
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                self._protocol,
                opened,
                ssl=tls,
                ssl_handshake_timeout=self._limits.slow_client_s if tls is not None else None,
            )
        except (OSError, ssl.SSLError) as error:
            opened.close()
            log.debug("a connection was not opened: %s", error)
        except asyncio.CancelledError:
            opened.close()
            raise

    def _protocol(self) -> asyncio.Protocol:
        made: Any = self.config.http_protocol_class
        return made(config=self.config, server_state=self.server_state, app_state={})


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
    server = _Server(config, limits)
    task = asyncio.create_task(server.serve(sockets=[opened]))
    while not server.started and not task.done():
        await asyncio.sleep(0.01)
    if task.done():
        await task
    return Listener(bound(opened), server, task)
