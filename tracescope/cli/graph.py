"""`tracescope graph`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, cast

import click

from tracescope.cli import shell
from tracescope.errors import UsageError

if TYPE_CHECKING:
    from tracescope.analysis.rollups.flows import Selection
    from tracescope.analysis.topology.findings import Finding
    from tracescope.analysis.topology.graph import Graph, Level
    from tracescope.engine.graph import Mapped
    from tracescope.report.svg import Look

FORMS = (
    "tree", "table", "findings", "json", "csv", "svg", "png", "dot", "mermaid", "graphml", "cytoscape",
    "structurizr",
)  # fmt: skip
#: Drawn by us: of a large graph only the backbone.
DRAWN = ("svg", "png")
#: Forms that people look at; they show dependencies unless told otherwise.
DIAGRAMS = (*DRAWN, "dot", "mermaid", "structurizr", "findings")


@click.command(name="graph")
@click.argument("period", default="all")
@click.option("--diff", "base", metavar="BASE", help="Compare with this period: both values and the change.")
@click.option(
    "--level",
    type=click.Choice(("service", "dependency", "operation")),
    help="service: services that send spans; dependency: databases, queues and external systems too; "
    "operation: an edge for each operation.  [default: dependency in drawings, else service]",
)
@shell.entry_options
@click.option("--through", metavar="NODE", help="Only flows that pass through this service or dependency.")
@click.option("--service", metavar="NAME", help="Only edges with this service at an end.")
@click.option("--kind", multiple=True, metavar="KIND", help="Only edges of this kind; may be repeated.")
@click.option("--namespace", metavar="NAME", help="Only edges with a node of this namespace at an end.")
@click.option(
    "--nodes",
    type=shell.Whole(2),
    metavar="N",
    help="Maximum number of nodes: the backbone.  [default: 60 in drawings, else all]",
)
@click.option("--collapse", is_flag=True, help="Each namespace as one node.")
@click.option(
    "--width",
    type=click.Choice(("own", "inclusive")),
    default="own",
    show_default=True,
    help="Share that line widths show: an edge's own, or with all that lies below it.",
)
@click.option(
    "--theme",
    type=click.Choice(("auto", "light", "dark")),
    help="Colours of drawings.  [default: auto in SVG, light in PNG]",
)
@shell.store_options
@shell.print_options(*FORMS)
def graph_command(
    period: str,
    base: str | None,
    level: str | None,
    entry: str | None,
    include: str | None,
    exclude: str | None,
    through: str | None,
    service: str | None,
    kind: tuple[str, ...],
    namespace: str | None,
    nodes: int | None,
    collapse: bool,
    width: str,
    theme: str | None,
    store: shell.Given,
    env: str | None,
    tz: str | None,
    form: str,
    output: str | None,
) -> None:
    """Who calls whom in a PERIOD, how often, and for how much of the clock.

    In a terminal the heaviest call paths are drawn as a tree; other formats hold every node and edge.
    """
    used = shell.settings(store=store, env=env, tz=tz, include=include, exclude=exclude)
    from tracescope.analysis.topology.backbone import LARGEST, backbone, collapsed
    from tracescope.report.svg import SLIDE, Look

    asked = select(through, service, kind, namespace)
    chosen = cast("Level", level or ("dependency" if form in DIAGRAMS else "service"))
    answers = shell.ask(used, base=base, head=None if base is None else period, entry=entry)
    found = (
        answers.period_map(period, chosen, asked)
        if base is None
        else answers.mapped(chosen, quantiles=True, selection=asked)
    )
    selection = found.selection
    for note in found.notes:
        shell.echo(f"note: {note}", err=True)
    if form == "tree":
        _print_tree(found, selection, output)
        return
    if form == "findings":
        from tracescope.report.text import findings_text

        shell.emit(findings_text(_findings(found, selection)), output)
        return
    made = found.graph if base is None else answers.judged(found)
    made = collapsed(made) if collapse else made
    limit = nodes if nodes is not None else LARGEST if form in DRAWN else len(made.nodes)
    shown = backbone(made, limit)
    if len(shown.nodes) < len(made.nodes):
        shell.echo(f"the backbone: {len(shown.nodes)} of {len(made.nodes)} nodes (--nodes)", err=True)
    if form == "table":
        from tracescope.report import text

        shell.show(lambda wide: text.graph_text(shown, width=wide), output)
    elif form in DRAWN:
        heading = f"{found.graph.environment or 'all environments'} · {_when(found.graph)}"
        look = Look(
            width="share" if width == "own" else "inclusive_share",
            theme=theme or ("auto" if form == "svg" else "light"),  # pyright: ignore[reportArgumentType] - click has checked it
            heading=heading,
            fit=SLIDE,
        )
        _draw(shown, form, look, output)
    elif form == "json":
        from tracescope.report import findings_json, graph_json

        made_json = graph_json(shown)
        if chosen != "service":  # what to say of databases and topics needs them as nodes
            made_json["findings"] = findings_json(_findings(found, selection))
        shell.emit(shell.to_json(made_json), output)
    else:
        shell.emit(_exported(shown, form), output)


def _findings(mapped: Mapped, selection: Selection) -> tuple[Finding, ...]:
    from tracescope.analysis.topology.findings import findings

    return findings(mapped.graph, mapped.tables, selection)


def _when(graph: Graph) -> str:
    """The periods that a graph is of, in words."""
    from tracescope.report.figures import between

    periods = [*([graph.base] if graph.base is not None else []), (graph.start_ns, graph.end_ns)]
    return " → ".join(between(*period) for period in periods) + " UTC"


def select(
    through: str | None,
    service: str | None,
    kinds: tuple[str, ...],
    namespace: str | None,
) -> Selection:
    """The selection that options ask for; raises UsageError."""
    from tracescope.analysis.rollups.flows import Selection
    from tracescope.schema import EDGE_KINDS

    for name in kinds:
        if name not in EDGE_KINDS:
            raise UsageError(f"no edge kind {name!r}", f"kinds are {', '.join(EDGE_KINDS)}")
    return Selection(None, through, service, frozenset(kinds), namespace)


def _print_tree(mapped: Mapped, selection: Selection, output: str | None) -> None:
    from tracescope.analysis.rollups.flows import call_tree
    from tracescope.report.tree import tree_text

    parts = call_tree(mapped.tables, selection, base=mapped.base_tables)
    shell.show(lambda width: tree_text(*parts, width=width), output)


def _draw(graph: Graph, form: str, look: Look, output: str | None) -> None:
    from tracescope.report.png import as_png
    from tracescope.report.svg import arrange, draw

    drawn = draw(graph, arrange(graph, width=look.width), look)
    if form == "svg":
        shell.emit(drawn, output)
        return
    shell.emit_bytes(as_png(drawn), output, "PNG")


def _exported(graph: Graph, form: str) -> str:
    from tracescope.report import export
    from tracescope.report.structurizr import as_structurizr

    makers: dict[str, Callable[[], str]] = {
        "csv": lambda: export.as_csv(graph),
        "dot": lambda: export.as_dot(graph),
        "mermaid": lambda: export.as_mermaid(graph),
        "graphml": lambda: export.as_graphml(graph),
        "cytoscape": lambda: shell.to_json(export.as_cytoscape(graph)),
        "structurizr": lambda: as_structurizr(graph),
    }
    return makers[form]()
