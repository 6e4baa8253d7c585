"""`tracescope demo`."""

from __future__ import annotations

import shutil
import socket
import webbrowser
from dataclasses import replace
from pathlib import Path

import click

from tracescope import config
from tracescope.cli import shell
from tracescope.cli.diff import print_report
from tracescope.errors import StoreError


@click.command(name="demo")
@click.option(
    "--seed",
    type=shell.Whole(),
    default=1,
    show_default=True,
    help="Random seed; another one gives another shop.",
)
@shell.store_option_of("Folder of the demo's own store; replaced only if a demo made it.")
@click.option("--open", "shown", is_flag=True, help="Show its page in the browser afterwards.")
@shell.print_options("table", "wide", "json", "markdown")
def demo_command(seed: int, store: shell.Given, shown: bool, form: str, output: str | None) -> None:
    """Generate three months of a growing shop's traces in seconds, and show what changed.

    A database contends, an N+1 spreads, a queue backs up; a shift of traffic and a one-off spike
    must not be blamed. --open shows the same on the web page, until Ctrl-C.
    """
    from tracescope import demo
    from tracescope.periods import first_and_last, format_utc
    from tracescope.store import is_begun, open_store

    used = shell.settings(store=store)
    path = config.default_demo() if store is None else Path(used.one_store)
    if path.exists() and any(path.iterdir()) and not is_begun(path):
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
            workers=used.workers,
            memory_bytes=used.memory_mb * 1024 * 1024,
            progress=lambda done, days: status.update(
                f"making three months of a growing shop: day {done} of {days}"
                if done < days
                else "finding critical paths …"
            ),
        )
    periods = first_and_last(shell.context(opened, "UTC"))
    base, head = (f"{format_utc(one.start_ns)}/{format_utc(one.end_ns)}" for one in periods)
    asked = replace(used, store=str(path), tz="UTC", env="", include="", exclude="")
    report = shell.ask(asked, base=base, head=head).report()
    limit = len(report.edges) if form == "json" else used.top
    print_report(replace(report, edges=report.edges[:limit]), form, output)
    shell.echo(f"\nagain:  tracescope diff {base} {head} --tz UTC --store {path}", err=True)
    page = f"tracescope serve --grpc off --http off --store {path}"
    if not shown:
        shell.echo(f"as a page: {page}   (or `tracescope demo --open`)", err=True)
        return
    from tracescope.cli.serve import show_page

    shell.echo(f"its page, until Ctrl-C; again: {page}", err=True)
    show_page(replace(asked, web="127.0.0.1:0" if _in_use(used.web) else used.web), webbrowser.open)


def _in_use(address: str) -> bool:
    """Whether somebody listens at an address already, or it is none."""
    host, _, port = address.rpartition(":")
    with socket.socket() as probe:
        probe.settimeout(1)
        return not port.isdigit() or probe.connect_ex((host or "127.0.0.1", int(port))) == 0
