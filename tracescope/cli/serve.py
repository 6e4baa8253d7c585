"""`tracescope serve`: receive, drain, seal and prune until told to stop."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Callable, Iterable, Mapping
from functools import cache, partial
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

    from tracescope.ingest.access import Access
    from tracescope.ingest.meters import Meters
    from tracescope.serving.runtime import Runtime
    from tracescope.session import Session

#: What is printed on stdout, once each port listens.
_TITLES = {"grpc": "OTLP gRPC", "http": "OTLP HTTP", "web": "web page"}


@click.command(name="serve")
@click.option("--grpc", metavar="HOST:PORT", help="Where to receive OTLP over gRPC; port 0 picks one; off.")
@click.option("--http", metavar="HOST:PORT", help="Where to receive OTLP over HTTP; or off.")
@click.option("--web", metavar="HOST:PORT", help="Where to show the web page, health and metrics; or off.")
@click.option("--kafka", metavar="URL", help="A Kafka topic of OTLP to follow: kafka://BROKER:9092/TOPIC.")
@click.option(
    "--max-memory",
    "max_memory_mb",
    type=shell.Whole(),
    metavar="MIB",
    help="Memory limit; beyond it senders have to wait.",
)
@click.option(
    "--max-disk",
    "max_disk_mb",
    type=shell.Whole(),
    metavar="MIB",
    help="Disk limit; the oldest raw spans are removed first.",
)
@click.option(
    "--max-request-mb", type=shell.Whole(), metavar="MIB", help="Largest request, as sent and inflated."
)
@click.option("--tls-cert", metavar="FILE", help="Certificate chain, PEM.")
@click.option("--tls-key", metavar="FILE", help="Private key of the certificate, PEM.")
@click.option("--tls-client-ca", metavar="FILE", help="Ask clients for a certificate that this CA signed.")
@click.option("--token-file", metavar="FILE", help="Bearer tokens, one a line; read again when it changes.")
@click.option("--insecure", is_flag=True, default=None, help="Let others reach it without TLS and token.")
@click.option("--log-format", type=click.Choice(("logfmt", "json")), help="Format of event lines on stderr.")
@shell.stores_option
def serve_command(**flags: str | int | None) -> None:
    """Receive spans over OTLP, keep them, and seal hours as they close.

    A request is acknowledged after its bytes are durable. Stop with Ctrl-C or SIGTERM; after a
    crash, or SIGKILL, everything acknowledged is there on the next start. With --grpc off and
    --http off only the page of a store is shown: nothing is received or sent, and nothing written but
    the marks and mutes that are made on it.
    """
    settings = shell.settings(**flags)
    if settings.grpc == settings.http == settings.web == "off" and not settings.kafka:
        raise UsageError("nothing to serve: --grpc, --http and --web are off", "try --web 127.0.0.1:8317")
    if settings.log_format not in ("logfmt", "json"):
        raise ConfigError(
            f"log_format is {settings.log_format!r}, neither logfmt nor json", "such as --log-format json"
        )
    if settings.grpc == settings.http == "off" and not settings.kafka:
        show_page(settings)
        return
    if len(settings.stores) > 1:
        raise UsageError(
            f"receivers write to one store, and {len(settings.stores)} are given",
            "give one with --store; with --grpc off and --http off the page shows several as one",
        )
    from tracescope.cli.upkeep import compile_decoder
    from tracescope.ingest.scanned import Scanned
    from tracescope.serving.allocator import keep_blocks
    from tracescope.serving.events import Events
    from tracescope.serving.runtime import Runtime, open_sockets, prepare, refuse_exposed
    from tracescope.store import open_store, recover
    from tracescope.store.journal import Journal

    shell.stay()
    keep_blocks()
    events = Events("json" if settings.log_format == "json" else "logfmt")
    events.adopt_logging()
    access, limits = prepare(settings)
    refuse_exposed(settings, access)
    if settings.kafka:
        from tracescope.sources import Options
        from tracescope.sources.kafka import open_source

        open_source(settings.kafka, Options())  # what is wrong with it is said before anything listens
    opened = open_store(settings.one_store, create=True, group_access=settings.group_access)
    journal = Journal[Scanned].open(opened.journal_folder)
    try:
        sockets = open_sockets(settings)
        recover(opened)
        compile_decoder()
        runtime = Runtime(settings, opened, journal, events, access, limits)
    except BaseException:
        journal.close()
        raise
    asyncio.run(_run(runtime, sockets, settings))


async def _run(runtime: Runtime, sockets: dict[str, socket.socket], settings: Settings) -> None:
    """Run until SIGINT or SIGTERM."""
    from tracescope.serving.page_process import SERIES, PageProcess
    from tracescope.serving.telling import Teller, is_configured

    page = PageProcess(settings, lambda: _receivers(runtime.addresses, runtime.access))
    if settings.web != "off":
        runtime.series = partial(page.ask, SERIES)
    telling = None
    if is_configured(settings):
        telling = asyncio.create_task(Teller(settings, page.ask, runtime.events, runtime.meters).run())
    try:
        await runtime.run(sockets, page, _until_stopped(), lambda: _announce(runtime.addresses, settings))
    finally:
        if telling is not None:
            telling.cancel()
        await page.close()


def show_page(settings: Settings, opened: Callable[[str], object] | None = None) -> None:
    """Show the page of a store until stopped, and receive nothing.

    Parameters
    ----------
    settings
        Settings; the store must be there.
    opened
        Called with the page's address once it can be asked for.
    """
    from tracescope.ingest.meters import Meters
    from tracescope.serving.events import Events
    from tracescope.serving.listen import bind, url_of
    from tracescope.serving.runtime import prepare, refuse_exposed, warn_if_exposed
    from tracescope.serving.telling import is_configured
    from tracescope.serving.viewer import view

    shell.stay()
    shell.existing(*settings.stores)
    events = Events("json" if settings.log_format == "json" else "logfmt")
    events.adopt_logging()
    (access, limits), meters = prepare(settings), Meters()
    refuse_exposed(settings, access)
    if is_configured(settings):
        events(
            "not_telling", level="warning", why="a page without a receiver sends nothing: digest --send does"
        )
    socket = bind(settings.web, "--web")

    def started(address: str) -> None:
        warn_if_exposed(events, "web", address, access)
        _announce({"web": address}, settings)
        if opened is not None:
            opened(url_of(address, tls=access.tls is not None))

    async def run() -> None:
        page = _page_of(settings, meters)
        await view(socket, page, (access, limits, meters), _until_stopped(), started)

    asyncio.run(run())


def _until_stopped() -> asyncio.Event:
    """Set by SIGINT or SIGTERM; a second one is the default again, and ends at once."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def ask() -> None:
        stop.set()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, ask)
    return stop


def _page_of(settings: Settings, meters: Meters) -> ASGIApp:
    """The web page, made when it is first asked for, with its series among the meters."""
    from tracescope.serving.routes import Later

    @cache
    def session() -> Session:
        """What page and series show, remembered once for both."""
        from tracescope.session import Session

        return Session(settings.stores, settings)

    def page() -> ASGIApp:
        from tracescope.web.app import make_app

        return make_app(session(), hosts=None)

    meters.registry.register(_Series(session))
    return Later(page)


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


def _receivers(addresses: Mapping[str, str], access: Access) -> dict[str, str]:
    """Where spans are received, as an SDK is told."""
    from tracescope.serving.listen import url_of

    tls = access.tls is not None
    return {
        name: at if name == "grpc" else url_of(at, tls=tls) for name, at in addresses.items() if name != "web"
    }


def _announce(addresses: Mapping[str, str], settings: Settings) -> None:
    """Say where everything listens; what a browser or an SDK is given has its scheme."""
    from tracescope.serving.listen import url_of

    for name, address in addresses.items():
        where = address if name == "grpc" else url_of(address, tls=bool(settings.tls_cert))
        shell.echo(f"{_TITLES[name]} on {where}, store {' and '.join(settings.stores)}")
    sys.stdout.flush()
