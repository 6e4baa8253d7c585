"""`tracescope status`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from tracescope.cli import shell

if TYPE_CHECKING:
    from tracescope.report import contract
    from tracescope.store import SpanStore, Status


@click.command(name="status")
@shell.stores_option
@shell.format_option("text", "json")
def status_command(store: shell.Given, form: str) -> None:
    """What the store holds, what it covers, what was refused, and how a running receiver fares.

    Of several stores each is told by itself.
    """
    used = shell.settings(store=store)
    opened = shell.existing(*used.stores).stores
    if form == "json":
        if len(opened) == 1:
            shell.echo(shell.to_json(_json(opened[0])))
            return
        several: contract.Statuses = {
            "schema": "tracescope.statuses/1",
            "stores": [{**_json(one), "store": one.name} for one in opened],
        }
        shell.echo(shell.to_json(several))
        return
    for number, one in enumerate(opened):
        shell.echo("\n" * bool(number) + _text(one), nl=False)


def _asked(store: SpanStore) -> tuple[Status, dict[str, Any] | None, str]:
    """What a store holds, how its receiver fares, and why its clock is not believed."""
    from tracescope.engine import clock
    from tracescope.engine.upkeep import status
    from tracescope.serving import state

    return status(store), state.read(store), clock.doubt(store, shell.now_ns())


def _json(store: SpanStore) -> contract.Status:
    from tracescope.report import status_json

    status, receiver, doubt = _asked(store)
    return {**status_json(status), "receiver": receiver, "clock": doubt or None}


def _text(store: SpanStore) -> str:
    from tracescope.report import text
    from tracescope.serving import state

    status, receiver, doubt = _asked(store)
    told = text.status_text(status, store.name)
    told += f"clock      {doubt}\n" if doubt else ""
    return told + (f"receiver   {state.describe(receiver)}\n" if receiver is not None else "")
