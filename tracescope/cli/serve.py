"""`tracescope serve`: receive, drain, seal and prune until told to stop."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Callable, Iterable
from functools import cache
from typing import TYPE_CHECKING

import click
from prometheus_client import Metric
from prometheus_client.registry import Collector

from tracescope.cli import shell
from tracescope.config import Settings
from tracescope.errors import ConfigError, UsageError

if TYPE_CHECKING:
    import socket

    from starlette.types import ASGIApp

    from tracescope.serving.runtime import Runtime
    from tracescope.session import Session

#: What is printed on stdout, once each port listens.
_TITLES = {"grpc": "OTLP gRPC", "http": "OTLP HTTP", "web": "web page"}


@click.command(name="serve")
@click.option("--grpc", metavar="HOST:PORT", help="Where to receive OTLP over gRPC; port 0 picks one; off.")
@click.option("--http", metavar="HOST:PORT", help="Where to receive OTLP over HTTP; off.")
@click.option("--web", metavar="HOST:PORT", help="Where to show the web page, health and metrics; off.")
@click.option("--max-memory", "max_memory_mb", type=int, metavar="MIB", help="Memory before senders wait.")
@click.option("--max-disk", "max_disk_mb", type=int, metavar="MIB", help="Disk; oldest raw spans go first.")
@click.option("--max-request-mb", type=int, metavar="MIB", help="Largest request, as sent and inflated.")
@click.option("--tls-cert", metavar="FILE", help="Certificate chain, PEM.")
@click.option("--tls-key", metavar="FILE", help="Its private key, PEM.")
@click.option("--tls-client-ca", metavar="FILE", help="Ask clients for a certificate that this CA signed.")
@click.option("--token-file", metavar="FILE", help="Bearer tokens, one a line; read again when it changes.")
@click.option("--log-format", type=click.Choice(("logfmt", "json")), help="Form of event lines on stderr.")
@shell.store_option
def serve_command(**flags: str | int | None) -> None:
    """Receive spans over OTLP, keep them, and seal hours as they close.

    A request is acknowledged after its bytes are durable. Stop with Ctrl-C or SIGTERM; after a
    crash, or SIGKILL, everything acknowledged is there on the next start.
    """
    used = shell.settings(**flags)
    if used.grpc == used.http == "off":
        raise UsageError("nothing to serve: --grpc and --http are off", "try --grpc 127.0.0.1:4317")
    if used.log_format not in ("logfmt", "json"):
        raise ConfigError(f"log_format is {used.log_format!r}, neither logfmt nor json")
    from tracescope.cli.upkeep import compile_decoder
    from tracescope.serving.allocator import keep_blocks
    from tracescope.serving.events import Events
    from tracescope.serving.runtime import Runtime, open_sockets, prepare
    from tracescope.store import open_store, recover
    from tracescope.store.journal import Journal

    keep_blocks()
    events = Events("json" if used.log_format == "json" else "logfmt")
    events.adopt_logging()
    access, limits = prepare(used)
    opened = open_store(used.store, create=True)
    journal = Journal.open(opened.journal_folder)
    try:
        sockets = open_sockets(used)
        recover(opened)
        compile_decoder()
        runtime = Runtime(used, opened, journal, events, access, limits)
    except BaseException:
        journal.close()
        raise
    asyncio.run(_run(runtime, sockets, used))


async def _run(runtime: Runtime, sockets: dict[str, socket.socket], used: Settings) -> None:
    """Run until SIGINT or SIGTERM; a second one is the default again, and ends at once."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def ask() -> None:
        stop.set()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, ask)
    from tracescope.serving.routes import Later

    @cache
    def session() -> Session:
        """What page and series show, remembered once for both."""
        from tracescope.session import Session

        return Session(used.store, used)

    if used.web != "off":
        runtime.meters.registry.register(_Series(session))
    page = Later(lambda: _page(runtime, used, session()))
    await runtime.run(sockets, page, stop, lambda: _announce(runtime, used))


class _Series(Collector):
    """The service graph's series, made when they are first asked for: until then they cost no memory."""

    def __init__(self, session: Callable[[], Session]) -> None:
        self._session = session
        self._made: Collector | None = None

    def describe(self) -> Iterable[Metric]:
        """Nothing: what there is, `collect` tells."""
        return ()

    def collect(self) -> Iterable[Metric]:
        """See `tracescope.serving.graph_metrics`."""
        if self._made is None:
            from tracescope.serving.graph_metrics import GraphSeries

            self._made = GraphSeries(self._session())
        return self._made.collect()


def _page(runtime: Runtime, used: Settings, session: Session) -> ASGIApp:
    """The web page; on loopback it answers to loopback's names only, elsewhere to any."""
    from tracescope.serving.listen import is_loopback
    from tracescope.web.app import LOCAL_HOSTS, make_app

    tokens = runtime.access.tokens
    return make_app(
        session,
        hosts=LOCAL_HOSTS if is_loopback(used.web) else None,
        allow=tokens.allow if tokens is not None else None,
    )


def _announce(runtime: Runtime, used: Settings) -> None:
    for name, address in runtime.addresses.items():
        shell.echo(f"{_TITLES[name]} on {address}, store {used.store}")
    sys.stdout.flush()
