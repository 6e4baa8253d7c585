"""`tracescope mcp`."""

from __future__ import annotations

import click

from tracescope.cli import shell


@click.command(name="mcp")
@shell.store_options
def mcp_command(store: shell.Given, env: str | None, tz: str | None) -> None:
    """Serve the store to an agent as tools (Model Context Protocol), over standard input and output.

    Tools: diff, explain, graph, trace, forecast, mute, quality. Only a mute changes the store. Needs the
    extra: python -m pip install 'tracescope[mcp]'.
    """
    used = shell.settings(store=store, env=env, tz=tz)
    from tracescope.mcp import make_server
    from tracescope.session import Session

    shell.stay()
    make_server(Session(used.stores, used)).run("stdio")
