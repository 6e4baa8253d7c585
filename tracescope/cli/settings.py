"""`tracescope config show` and `tracescope completion`."""

from __future__ import annotations

import json

import click
from click.shell_completion import get_completion_class

from tracescope import config
from tracescope.cli import shell


@click.group(name="config")
def config_command() -> None:
    """Settings: flags, TRACESCOPE_*, ./tracescope.toml, the user's tracescope.toml."""


@config_command.command(name="show")
@shell.format_option("text", "json")
def show_command(form: str) -> None:
    """Every setting, its value, where that comes from and what it is for."""
    settings, origin = config.load()
    values = config.shown(settings)
    about = config.documentation()
    if form == "json":
        rows = {
            name: {"value": value, "origin": origin[name], "about": about[name]}
            for name, value in values.items()
        }
        shell.echo(shell.to_json(rows))
        return
    for name, value in values.items():
        shown = f'"{value}"' if isinstance(value, str) else value
        if isinstance(value, tuple):
            shown = json.dumps(value)
        shell.echo(f"{name} = {shown}  # {origin[name]}: {about[name]}")


@click.command(name="completion")
@click.argument("kind", metavar="SHELL", type=click.Choice(("bash", "zsh", "fish")))
def completion_command(kind: str) -> None:
    """Print what a SHELL must source: `source <(tracescope completion bash)`."""
    from tracescope.cli import main

    found = get_completion_class(kind)
    assert found is not None, "click completes bash, zsh and fish"
    shell.echo(found(main, {}, "tracescope", "_TRACESCOPE_COMPLETE").source())
