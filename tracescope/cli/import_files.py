"""`tracescope import`."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from tracescope.cli import shell
from tracescope.visible import line

if TYPE_CHECKING:
    from tracescope.ingest.documents import Form

#: Freed memory that is kept, by the block and in all: what chunks are turned into is about as large.
_KEPT_BYTES = 4 * 1024 * 1024
#: Skipped files that are named.
_SHOWN = 3
FORMS = ("auto", "otlp-json", "otlp-proto", "jaeger", "zipkin")


@click.command(name="import")
@click.argument("files", nargs=-1, required=True)
@click.option(
    "--format",
    "form",
    type=click.Choice(FORMS),
    default="auto",
    show_default=True,
    help="Format of the files.",
)
@click.option("--workers", type=shell.Whole(1), help="Number of chunks to work on at once.")
@click.option(
    "--memory-mb",
    type=shell.Whole(64),
    metavar="MIB",
    help="Memory limit of the import, the program included; at least 600.",
)
@click.option("--since", metavar="WHEN", help="Of URLs: from the hour of an instant, or 7d.")
@click.option("--until", metavar="WHEN", help="Of URLs: up to the end of the hour of an instant.")
@shell.store_option
def import_command(
    files: tuple[str, ...],
    form: str,
    workers: int | None,
    memory_mb: int | None,
    since: str | None,
    until: str | None,
    store: shell.Given,
) -> None:
    """Read trace files into the store: OTLP JSON or protobuf, Jaeger, Zipkin; .gz and .zst.

    FILES are names, globs, folders or URLs; - is stdin. What a file is, its content tells; among several,
    those that hold no traces are skipped. A file that is damaged leaves the store as it was; importing one
    twice changes nothing. A URL (s3://, gs://, az://, file://, clickhouse://, kafka://) is a place of many
    files, a table or a topic; each import reads what is new there.
    """
    used = shell.settings(store=store, workers=workers, memory_mb=memory_mb)
    from tracescope.engine.import_files import import_files
    from tracescope.report.text import count
    from tracescope.serving.allocator import give_back, keep_blocks
    from tracescope.sources import Options, resolve
    from tracescope.store import open_store

    between = {name: said for name, said in (("since", since), ("until", until)) if said}
    kind: Form = form  # pyright: ignore[reportAssignmentType] - click has checked it
    asked = Options(kind, used.workers, given=between, settings=used.sources)
    places = resolve(files, asked)  # before a store is made
    keep_blocks(_KEPT_BYTES, _KEPT_BYTES)
    opened = open_store(used.one_store, create=True, group_access=used.group_access)
    begun = time.monotonic()
    with progress_bar() as advance:
        result = import_files(
            opened,
            places,
            arrived_ns=shell.now_ns(),
            form=kind,
            workers=used.workers,
            memory_bytes=used.memory_mb * 1024 * 1024,
            policy=used.policy,
            progress=advance,
            let_go=give_back,
        )
    took = max(time.monotonic() - begun, 1e-9)
    refused = ", ".join(f"{n} {reason}" for reason, n in sorted(result.rejected.items()))
    shell.echo(
        f"{result.new} new, {result.duplicates} duplicates, {sum(result.rejected.values())} rejected"
        + (f" ({refused})" if refused else "")
        + f"; {count(result.read / took)} spans/s",
        err=True,
    )
    if result.outside or result.parts_outside:
        unread = f", and {result.parts_outside:,} parts unread" if result.parts_outside else ""
        shell.echo(f"left out, of another time: {result.outside:,} spans{unread}", err=True)
    if result.known:
        shell.echo(f"not read again: {result.known:,} parts imported before", err=True)
    if result.skipped:
        kinds = ", ".join(f"{number} {name}" for name, number in sorted(result.skipped.items()))
        shell.echo(f"skipped documents without traces: {kinds}", err=True)
    if result.skipped_files:
        shell.echo(_skipped_files(result.skipped_files), err=True)
    if not result.sealed:
        shell.echo("another process is sealing; `serve` or the next import will seal these hours", err=True)


def _skipped_files(files: list[tuple[str, str]]) -> str:
    """One line on files that hold no traces: how many, and why the first of them."""
    some = "; ".join(reason for _, reason in files[:_SHOWN])
    more = f"; and {len(files) - _SHOWN} more" if len(files) > _SHOWN else ""
    return f"skipped {len(files)} file{'s' * (len(files) > 1)} without traces: {some}{more}"


@contextmanager
def progress_bar() -> Generator[Callable[[str, int, int, int], None] | None]:
    """A bar on stderr while files are read; nothing where stderr is no terminal."""
    screen = shell.console(stderr=True)
    if not screen.is_terminal:
        yield None
        return
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn

    names = TextColumn("{task.description}", markup=False), TextColumn("{task.fields[spans]}")
    columns = names[0], BarColumn(), DownloadColumn(), names[1]
    with Progress(*columns, console=screen, transient=True) as bar:
        task = bar.add_task("", total=None, spans="")

        def advance(source: str, position: int, total: int, spans: int) -> None:
            bar.update(
                task,
                description=line(source),
                completed=position,
                total=total or None,
                spans=f"{spans:,} spans",
            )

        yield advance
