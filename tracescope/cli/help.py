"""`tracescope help`."""

from __future__ import annotations

import click

from tracescope import docs
from tracescope.cli import shell


@click.command(name="help")
@click.argument("topic", required=False)
def help_command(topic: str | None) -> None:
    """Show a page of the manual; without a TOPIC, list them."""
    if topic is None:
        for name, about in docs.TOPICS.items():
            shell.echo(f"{name:10} {about}")
        return
    from rich.markdown import Markdown

    text = docs.read(topic)
    if shell.console().is_terminal:
        shell.show(lambda _: Markdown(text), None)
    else:
        shell.echo(text)
