"""`tracescope graph`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from tracescope.cli import shell
from tracescope.cli.compare import entry_filter
from tracescope.errors import UsageError
from tracescope.periods import parse

if TYPE_CHECKING:
    from tracescope.analysis.flows import Selection
    from tracescope.engine import Mapped

FORMS = ("tree", "table", "json", "csv", "dot")


@click.command(name="graph")
@click.argument("period", default="all")
@click.option("--diff", "base", metavar="BASE", help="Compare with this period: both values and the change.")
@click.option(
    "--level",
    type=click.Choice(("service", "dependency", "operation")),
    help="service: services that send spans; dependency: databases, queues and external systems too; "
    "operation: an edge for each operation.  [default: dependency in drawings, else service]",
)
@click.option("--entry", metavar="REGEX", help="Only units of entries whose 'service operation' matches.")
@click.option("--through", metavar="NODE", help="Only flows that pass through this service or dependency.")
@click.option("--service", metavar="NAME", help="Only edges with this service at an end.")
@click.option("--kind", multiple=True, metavar="KIND", help="Only edges of this kind; may be repeated.")
@click.option("--namespace", metavar="NAME", help="Only edges with a node of this namespace at an end.")
@shell.store_option
@shell.env_option
@shell.zone_option
@shell.format_option(*FORMS)
@shell.output_option
def graph_command(
    period: str,
    base: str | None,
    level: str | None,
    entry: str | None,
    through: str | None,
    service: str | None,
    kind: tuple[str, ...],
    namespace: str | None,
    store: str | None,
    env: str | None,
    tz: str | None,
    form: str,
    output: str | None,
) -> None:
    """Who calls whom in a PERIOD, how often, and for how much of the clock.

    In a terminal the heaviest call paths are drawn as a tree; other formats hold every node and edge.
    """
    used = shell.settings(store=store, env=env, tz=tz)
    from tracescope.engine import map_period

    selection = select(entry, through, service, kind, namespace)
    opened = shell.existing(used.store)
    context = shell.context(opened, used.tz)
    found = map_period(
        opened,
        parse(period, context),
        level or "service",  # pyright: ignore[reportArgumentType] - click has checked it
        base=None if base is None else parse(base, context),
        selection=selection,
        environment=used.env or None,
    )
    for note in found.notes:
        click.echo(f"note: {note}", err=True)
    _print(found, selection, form, output)


def select(
    entry: str | None,
    through: str | None,
    service: str | None,
    kinds: tuple[str, ...],
    namespace: str | None,
) -> Selection:
    """The selection that options ask for; raises UsageError."""
    from tracescope.analysis.flows import Selection
    from tracescope.schema import EDGE_KINDS

    for name in kinds:
        if name not in EDGE_KINDS:
            raise UsageError(f"no edge kind {name!r}", f"kinds are {', '.join(EDGE_KINDS)}")
    keep = entry_filter(entry or "", "", "")
    return Selection(keep, through, service, frozenset(kinds), namespace)


def _print(found: Mapped, selection: Selection, form: str, output: str | None) -> None:
    from tracescope.report import export, graph_json, text

    made = found.graph
    if form == "tree":
        from tracescope.analysis.flows import call_tree
        from tracescope.report.tree import tree_text

        parts = call_tree(found.tables, selection, base=found.base_tables)
        shell.show(lambda width: tree_text(*parts, width=width), output)
    elif form == "table":
        shell.show(lambda width: text.graph_text(made, width=width), output)
    elif form == "json":
        shell.emit(shell.to_json(graph_json(made)), output)
    elif form == "csv":
        shell.emit(export.as_csv(made), output)
    else:
        shell.emit(export.as_dot(made), output)
