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
    from tracescope.analysis.diff import Options
    from tracescope.engine.compare import compare
    from tracescope.engine.seal import seal
    from tracescope.periods import Period, format_utc
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
    base = Period(start, start + DAYS_COMPARED * DAY_NS, "the shop's first month")
    head = Period(end - DAYS_COMPARED * DAY_NS, end, "its last")
    report = compare(opened, base, head, options=Options(zone="UTC"))
    limit = len(report.edges) if form == "json" else used.top
    print_report(replace(report, edges=report.edges[:limit]), form, output)
    ranges = " ".join(f"{format_utc(p.start_ns)}/{format_utc(p.end_ns)}" for p in (base, head))
    click.echo(f"\nagain: tracescope diff {ranges} --tz UTC --store {path}", err=True)
