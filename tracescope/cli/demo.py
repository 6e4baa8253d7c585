"""`tracescope demo`."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import click

from tracescope import config
from tracescope.cli import shell
from tracescope.cli.diff import print_report
from tracescope.errors import StoreError

DAYS_COMPARED = 30


@click.command(name="demo")
@click.option("--seed", type=int, default=1, show_default=True, help="Another seed, another shop.")
@click.option(
    "--store", metavar="DIR", help="Folder of the demo's own store; replaced only if a demo made it."
)
@shell.print_options("table", "wide", "json", "markdown")
def demo_command(seed: int, store: str | None, form: str, output: str | None) -> None:
    """Three months of a growing shop, made in seconds, and what changed in them.

    A database contends, an N+1 spreads, a queue backs up; a shift of traffic and a one-off spike
    must not be blamed.
    """
    from tracescope import demo
    from tracescope.engine.seal import seal
    from tracescope.periods import format_utc
    from tracescope.schema import DAY_NS, HOUR_NS
    from tracescope.store import open_store

    used = shell.settings()
    path = Path(store) if store is not None else config.default_demo()
    if path.exists() and any(path.iterdir()):
        if not open_store(path).demo:
            raise StoreError(f"{path} holds a store that no demo made", "choose another folder with --store")
        shutil.rmtree(path)
    opened = open_store(path, create=True, demo=True)
    now = shell.now_ns()
    screen = shell.console(stderr=True)
    with screen.status("making three months of a growing shop …") as status:
        demo.generate(
            opened,
            seed=seed,
            now_ns=now,
            progress=lambda done, days: status.update(
                f"making three months of a growing shop: day {done} of {days}"
            ),
        )
        status.update("finding critical paths …")
        seal(opened, workers=used.workers, memory_bytes=used.memory_mb * 1024 * 1024)
    end = now // HOUR_NS * HOUR_NS
    start = end - demo.DAYS * DAY_NS
    periods = [(start, start + DAYS_COMPARED * DAY_NS), (end - DAYS_COMPARED * DAY_NS, end)]
    base, head = (f"{format_utc(first)}/{format_utc(last)}" for first, last in periods)
    asked = replace(used, store=str(path), tz="UTC", env="", include="", exclude="")
    report = shell.ask(asked, base=base, head=head).report()
    limit = len(report.edges) if form == "json" else used.top
    print_report(replace(report, edges=report.edges[:limit]), form, output)
    shell.echo(f"\nagain: tracescope diff {base} {head} --tz UTC --store {path}", err=True)
