"""`tracescope serve`: receive, drain, seal and prune until told to stop."""

from __future__ import annotations

import signal
import sys
import threading
import time
from typing import TYPE_CHECKING

import click

from tracescope.cli import shell
from tracescope.config import Settings
from tracescope.errors import StoreBusyError, TracescopeError, UsageError

if TYPE_CHECKING:
    from tracescope.store import SpanStore
    from tracescope.store.journal import Journal

DRAIN_EVERY_S = 1.0
SEAL_EVERY_S = 30.0
PRUNE_EVERY_S = 3600.0
STOP_GRACE_S = 5.0


@click.command(name="serve")
@click.option("--grpc", metavar="HOST:PORT", help="Where to receive OTLP over gRPC; port 0 picks one; off.")
@click.option("--http", metavar="HOST:PORT", help="Where to receive OTLP over HTTP; off.")
@click.option("--web", metavar="HOST:PORT", help="Where to show the web page; off.")
@shell.store_option
def serve_command(grpc: str | None, http: str | None, web: str | None, store: str | None) -> None:
    """Receive spans over OTLP, keep them, and seal hours as they close.

    A request is acknowledged after its bytes are durable. Stop with Ctrl-C or SIGTERM; after a
    crash, or SIGKILL, everything acknowledged is there on the next start.
    """
    used = shell.settings(grpc=grpc, http=http, web=web, store=store)
    for name, value in (("http", used.http), ("web", used.web)):
        if value != "off":
            raise UsageError(f"--{name} {value}: this version has no {name} server", f"use --{name} off")
    if used.grpc == "off":
        raise UsageError("nothing to serve: --grpc is off", "try --grpc 127.0.0.1:4317")
    from tracescope.cli.upkeep import compile_kernels
    from tracescope.ingest.otlp_grpc import serve
    from tracescope.store import open_store, recover
    from tracescope.store.journal import Journal

    opened = open_store(used.store, create=True)
    journal = Journal.open(opened.journal_folder)
    try:
        recover(opened)
        compile_kernels()
        receiver = serve(journal, used.grpc)
    except BaseException:
        journal.close()
        raise
    stopping = threading.Event()

    def stop(number: int, frame: object) -> None:
        stopping.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    click.echo(f"OTLP gRPC on {receiver.address}, store {used.store}")
    sys.stdout.flush()
    keeper = threading.Thread(target=_keep, args=(opened, used, stopping), name="sealing", daemon=True)
    keeper.start()
    while not stopping.wait(DRAIN_EVERY_S):
        _drain(opened, journal, DRAIN_EVERY_S)
    receiver.stop(STOP_GRACE_S)
    journal.close()
    _drain(opened, journal, 0.0)
    keeper.join()


def _drain(store: SpanStore, journal: Journal, older_than_s: float) -> None:
    """Land what was acknowledged; what fails stays in the journal and is tried again."""
    from tracescope.ingest.drain import drain

    try:
        drain(store, journal.take(older_than_s=older_than_s))
    except (OSError, TracescopeError) as error:
        click.echo(f"tracescope: spans stay in the journal: {error}", err=True)


def _keep(store: SpanStore, used: Settings, stopping: threading.Event) -> None:
    """Seal hours that have gone quiet, and apply retention."""
    from tracescope.engine import prune, seal_quiet

    pruned = time.monotonic()
    while not stopping.wait(SEAL_EVERY_S):
        try:
            seal_quiet(
                store,
                now_ns=time.time_ns(),
                grace_s=used.seal_grace_minutes * 60,
                workers=1,
                memory_bytes=used.memory_mb * 1024 * 1024,
            )
            if time.monotonic() - pruned >= PRUNE_EVERY_S:
                pruned = time.monotonic()
                prune(
                    store,
                    now_ns=time.time_ns(),
                    spans_days=used.retain_spans_days,
                    rollups_days=used.retain_rollups_days,
                    sealing_first=False,
                )
        except StoreBusyError:
            continue
        except (OSError, TracescopeError) as error:
            click.echo(f"tracescope: sealing will be tried again: {error}", err=True)
