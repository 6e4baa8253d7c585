"""`tracescope seal`, and what it and `rebuild` may be told about who does the work."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

import click

from tracescope.cli import shell
from tracescope.errors import UsageError

if TYPE_CHECKING:
    from tracescope.config import Settings
    from tracescope.engine.tasks import Pool

#: Who may work on slices.
ENGINES: Final = ("threads", "processes", "spark")
_MINUTE_NS: Final = 60 * 10**9
F = TypeVar("F", bound=Callable[..., Any])


class Engine(NamedTuple):
    """Who works on slices, and for Spark its master and configuration."""

    name: str
    master: str | None
    conf: tuple[str, ...]

    @contextmanager
    def pool(self, settings: Settings) -> Generator[Pool]:
        """Start it; what it cannot do is said before anything is changed."""
        if self.name != "spark" and (self.master is not None or self.conf):
            raise UsageError("--master and --conf are of --engine spark", "add it, or leave them out")
        if self.name == "threads":
            from tracescope.engine.tasks import Threads

            yield Threads(settings.workers)
        elif self.name == "processes":
            from tracescope.engine.processes import Processes

            with Processes(settings.workers) as processes:
                yield processes
        else:
            from tracescope.engine.spark import Spark, session

            with session(self.master, _pairs(self.conf), settings.workers) as made:
                yield Spark(made)


def _pairs(conf: tuple[str, ...]) -> dict[str, str]:
    """``KEY=VALUE`` of Spark's configuration."""
    pairs = dict(each.split("=", 1) for each in conf if "=" in each)
    if len(pairs) < len(conf):
        wrong = next((each for each in conf if "=" not in each), "a key that is given twice")
        raise UsageError(f"--conf wants KEY=VALUE, not {wrong!r}", "such as spark.executor.memory=4g")
    return pairs


def engine_options(function: F) -> F:
    """``--engine``, ``--master``, ``--conf``, ``--workers`` and ``--memory-mb``."""
    for option in (
        click.option(
            "--memory-mb",
            type=shell.Whole(64),
            metavar="MIB",
            help="Memory that it may use; with spark each task.",
        ),
        click.option(
            "--workers",
            type=shell.Whole(1),
            help="Number of slices to work on at once; Spark decides by itself.",
        ),
        click.option(
            "--conf", multiple=True, metavar="KEY=VALUE", help="Spark's configuration; may be repeated."
        ),
        click.option("--master", metavar="URL", help="Spark's master, such as spark://host:7077."),
        click.option(
            "--engine",
            type=click.Choice(ENGINES),
            default=ENGINES[0],
            show_default=True,
            help="Who works on slices: threads or processes of this machine, or Spark (extra spark).",
        ),
    ):
        function = option(function)
    return function


@click.command(name="seal")
@engine_options
@click.option("--open-hours", is_flag=True, help="Also seal hours that are not over yet, or only just ended.")
@shell.store_option
def seal_command(
    engine: str,
    master: str | None,
    conf: tuple[str, ...],
    workers: int | None,
    memory_mb: int | None,
    open_hours: bool,
    store: shell.Given,
) -> None:
    """Seal hours that are over: their landed spans become rollups, and are kept beside them.

    `serve` does so by itself. Where several receive more than one machine seals, let this do it on a cluster
    every hour, and give them a long `seal_grace_minutes`.
    """
    used = shell.settings(store=store, workers=workers, memory_mb=memory_mb)
    from tracescope.engine.seal import seal

    opened = shell.existing(used.one_store)
    limit_ns = None if open_hours else shell.now_ns() - used.seal_grace_minutes * _MINUTE_NS
    with Engine(engine, master, conf).pool(used) as pool:
        done = seal(opened, before_ns=limit_ns, memory_bytes=used.memory_mb * 1024 * 1024, pool=pool)
    shell.echo(f"{done.hours} hours sealed with {done.spans} spans", err=True)


@click.command(name="backfill")
@click.argument("table")
@click.option(
    "--format",
    "form",
    metavar="NAME",
    help="What files lie at TABLE, a path or URL: parquet, delta, or another that Spark reads.",
)
@click.option("--where", default="", metavar="SQL", help="Only rows of which this is true, in Spark's SQL.")
@click.option("--by-hour", is_flag=True, help="Rows of an hour lie together already: do not shuffle them.")
@click.option("--master", metavar="URL", help="Spark's master, such as spark://host:7077.")
@click.option("--conf", multiple=True, metavar="KEY=VALUE", help="Spark's configuration; may be repeated.")
@click.option("--memory-mb", type=shell.Whole(64), metavar="MIB", help="Memory that each task may use.")
@shell.store_option
def backfill_command(
    table: str,
    form: str | None,
    where: str,
    by_hour: bool,
    master: str | None,
    conf: tuple[str, ...],
    memory_mb: int | None,
    store: shell.Given,
) -> None:
    """Read a lake's TABLE of OTLP spans by Spark, and seal them (extra spark).

    TABLE is a name that Spark knows, such as catalog.schema.otel_spans, with --format a path or URL, or
    clickhouse://host/database: its hours and slices are tasks.
    """
    used = shell.settings(store=store, memory_mb=memory_mb)
    folder = used.one_store  # refused before a cluster is asked for
    from tracescope.engine import spread
    from tracescope.engine.lake import Origin, Terms, backfill
    from tracescope.engine.spark import Spark, session
    from tracescope.places import scheme_of
    from tracescope.sources import Options, open_source
    from tracescope.store import open_store

    memory_bytes = used.memory_mb * 1024 * 1024
    asked = None
    if scheme_of(table) in spread.SCHEMES:
        spread.refuse_others({"--format": form, "--where": where, "--by-hour": by_hour})
        asked = Options(settings=used.sources)
        open_source(table, asked)  # refused before a cluster is asked for
    with session(master, _pairs(conf), used.workers) as running:
        opened = open_store(folder, create=True, group_access=used.group_access)
        terms = Terms(shell.now_ns(), (), used.policy)
        if asked is not None:
            done = spread.fetched(opened, Spark(running), table, asked, terms, memory_bytes)
        else:
            origin = Origin(table, form, where, by_hour)
            done = backfill(opened, running, Spark(running), origin, terms, memory_bytes)
    rejected = ", ".join(f"{count} {reason}" for reason, count in sorted(done.rejected.items()))
    shell.echo(
        f"{done.read} spans read: {done.new} new, {done.duplicates} duplicates, "
        f"{sum(done.rejected.values())} rejected{f' ({rejected})' if rejected else ''}",
        err=True,
    )
