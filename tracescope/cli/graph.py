"""`tracescope graph`."""

from __future__ import annotations

import click

from tracescope.cli import shell
from tracescope.errors import InsufficientDataError
from tracescope.periods import parse


@click.command(name="graph")
@click.argument("period", default="all")
@click.option(
    "--level",
    type=click.Choice(("service", "dependency", "operation")),
    default="service",
    show_default=True,
    help="service: services that send spans; dependency: databases, queues and external systems too; "
    "operation: an edge for each operation.",
)
@shell.store_option
@shell.env_option
@shell.zone_option
@shell.format_option("table", "json", "dot")
@shell.output_option
def graph_command(
    period: str,
    level: str,
    store: str | None,
    env: str | None,
    tz: str | None,
    form: str,
    output: str | None,
) -> None:
    """Who calls whom in a PERIOD, how often, and for how much of the clock."""
    used = shell.settings(store=store, env=env, tz=tz)
    from tracescope.analysis.graph import as_dot, graph
    from tracescope.engine import rollups
    from tracescope.report import graph_json, text

    opened = shell.existing(used.store)
    chosen = parse(period, shell.context(opened, used.tz))
    found = rollups(
        opened,
        chosen.start_ns,
        chosen.end_ns,
        environment=used.env or None,
        tables=("path_hours", "entry_hours"),
    )
    if found.tables["entry_hours"].is_empty():
        raise InsufficientDataError(
            f"{chosen.text} ({chosen.utc()}) holds no traces",
            "`tracescope status` shows what the store covers",
        )
    shown = graph(
        found.tables,
        level,  # pyright: ignore[reportArgumentType] - click has checked it
        environment=found.environment,
        start_ns=found.start_ns,
        end_ns=found.end_ns,
    )
    if form == "table":
        shell.show(lambda width: text.graph_text(shown, width=width), output)
    else:
        shell.emit(shell.to_json(graph_json(shown)) if form == "json" else as_dot(shown), output)
