"""`tracescope status`."""

from __future__ import annotations

import click

from tracescope.cli import shell


@click.command(name="status")
@shell.store_option
@shell.format_option("text", "json")
def status_command(store: str | None, form: str) -> None:
    """What the store holds, what it covers, what was refused, and how a running receiver fares."""
    used = shell.settings(store=store)
    from tracescope.engine import clock
    from tracescope.engine.upkeep import status as count
    from tracescope.report import status_json, text
    from tracescope.serving import state

    opened = shell.existing(used.store)
    status, receiver, doubt = count(opened), state.read(opened), clock.doubt(opened, shell.now_ns())
    if form == "json":
        shell.echo(shell.to_json({**status_json(status), "receiver": receiver, "clock": doubt or None}))
        return
    shell.echo(text.status_text(status, used.store), nl=False)
    if doubt:
        shell.echo(f"clock      {doubt}")
    if receiver is not None:
        shell.echo(f"receiver   {state.describe(receiver)}")
