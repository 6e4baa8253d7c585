"""`tracescope status`."""

from __future__ import annotations

import click

from tracescope.cli import shell


@click.command(name="status")
@shell.store_option
@shell.format_option("text", "json")
def status_command(store: str | None, form: str) -> None:
    """What the store holds, what it covers, and what was refused for which reason."""
    used = shell.settings(store=store)
    from tracescope.engine import status as count
    from tracescope.report import status_json, text

    status = count(shell.existing(used.store))
    if form == "json":
        click.echo(shell.to_json(status_json(status)))
    else:
        click.echo(text.status_text(status, used.store), nl=False)
