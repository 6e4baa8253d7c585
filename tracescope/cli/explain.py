"""`tracescope explain`."""

from __future__ import annotations

import click

from tracescope.cli import shell


@click.command(name="explain")
@click.argument("edge")
@shell.period_arguments
@click.option("--operation", metavar="NAME", help="Which of several edges of that name.")
@shell.question_options
@shell.store_options
@shell.print_options("table", "json")
def explain_command(
    edge: str,
    base: str | None,
    head: str | None,
    operation: str | None,
    entry: str | None,
    include: str | None,
    exclude: str | None,
    where: tuple[str, ...],
    quantile: float | None,
    alpha: float | None,
    min_effect: float | None,
    store: shell.Given,
    env: str | None,
    tz: str | None,
    form: str,
    output: str | None,
) -> None:
    """Explain one edge: what changed, its load curve, its weeks, who calls it, and traces to look at.

    EDGE is as `tracescope diff` prints it: 'orders -> postgresql/orders', perhaps with its operation.
    BASE and HEAD are periods as in `tracescope diff`.
    """
    used = shell.settings(
        store=store, env=env, tz=tz, include=include, exclude=exclude, alpha=alpha, min_effect=min_effect
    )
    from tracescope.analysis.rollups.where import conditions
    from tracescope.report import explain as render

    answers = shell.ask(
        used, base=base, head=head, entry=entry, where=conditions(where, used.policy), quantile=quantile
    )
    found = answers.explain(answers.edge(edge, operation))
    if form == "json":
        shell.emit(shell.to_json(render.explain_json(found)), output)
        return
    shell.show(lambda _: render.explain_text(found), output)
