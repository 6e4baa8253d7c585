"""`tracescope report`."""

from __future__ import annotations

from pathlib import Path

import click

from tracescope.cli import shell


@click.command(name="report")
@shell.period_arguments
@shell.question_options
@shell.store_options
@shell.print_options("html", "markdown", "pdf", default="pdf where FILE ends in .pdf, else html")
def report_command(
    base: str | None,
    head: str | None,
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
    form: str | None,
    output: str | None,
) -> None:
    """Write one self-contained file for an architecture review.

    BASE and HEAD are periods as in `tracescope diff`. The file has the decision summary, the graph,
    a page for each growing edge, the method and all numbers; it makes no request and runs no script.
    -o review.pdf writes the same for paper; that needs the pdf extra.
    """
    used = shell.settings(
        store=store, env=env, tz=tz, include=include, exclude=exclude, alpha=alpha, min_effect=min_effect
    )
    from tracescope.analysis.rollups.where import conditions

    answers = shell.ask(
        used, base=base, head=head, entry=entry, where=conditions(where, used.policy), quantile=quantile
    )
    from tracescope.report.review import command_of, review
    from tracescope.report.review_markdown import review_as_markdown

    if form == "markdown":
        command = command_of(answers, Path(output or "review.md").name)
        shell.emit(review_as_markdown(answers, f"{command} --format markdown"), output)
        return

    chosen = form or ("pdf" if output is not None and output.lower().endswith(".pdf") else "html")
    if chosen == "pdf":
        from tracescope.report.pdf import as_pdf

        command = command_of(answers, Path(output or "review.pdf").name)
        shell.emit_bytes(as_pdf(review(answers, command, theme="light")), output, "PDF")
    else:
        shell.emit(review(answers, command_of(answers)), output)
    if output is not None:
        shell.echo(f"{output} ({Path(output).stat().st_size >> 10} KiB)", err=True)
