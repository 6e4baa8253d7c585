"""`tracescope explain`."""

from __future__ import annotations

import click

from tracescope.cli import shell
from tracescope.periods import pair


@click.command(name="explain")
@click.argument("edge")
@shell.period_arguments
@click.option("--operation", metavar="NAME", help="Which of several edges of that name.")
@shell.store_options
@shell.print_options("table", "json")
def explain_command(
    edge: str,
    base: str | None,
    head: str | None,
    operation: str | None,
    store: str | None,
    env: str | None,
    tz: str | None,
    form: str,
    output: str | None,
) -> None:
    """Explain one edge: what changed, its load curve, its weeks, who calls it, and traces to look at.

    EDGE is as `tracescope diff` prints it: 'orders -> postgresql/orders', perhaps with its operation.
    BASE and HEAD are periods as in `tracescope diff`.
    """
    used = shell.settings(store=store, env=env, tz=tz)
    from tracescope.analysis.diff import Options
    from tracescope.engine.explain import explain_edge
    from tracescope.report import explain as render

    opened = shell.existing(used.store)
    periods = pair(base, head, shell.context(opened, used.tz))
    options = Options(alpha=used.alpha, min_effect_ms=used.min_effect or None, zone=used.tz)
    found = explain_edge(
        opened, *periods, edge=edge, operation=operation, options=options, environment=used.env or None
    )
    if form == "json":
        shell.emit(shell.to_json(render.explain_json(found)), output)
        return
    shell.show(lambda _: render.explain_text(found), output)
