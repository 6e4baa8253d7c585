"""`tracescope report`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from tracescope.cli import shell
from tracescope.cli.diff import print_report

if TYPE_CHECKING:
    from tracescope.session import Answers
    from tracescope.web.view import View


@click.command(name="report")
@shell.period_arguments
@shell.store_options
@shell.print_options("html", "markdown", "pdf", default="pdf where FILE ends in .pdf, else html")
def report_command(
    base: str | None,
    head: str | None,
    store: str | None,
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
    used = shell.settings(store=store, env=env, tz=tz)
    from tracescope.session import Answers
    from tracescope.web import pages
    from tracescope.web.view import View

    shell.existing(used.store)
    if base is not None and head is None and ".." in base:
        base, _, head = base.partition("..")
    answers = Answers(used.store, used)
    view = View(base=base or "", head=head or "")
    if form == "markdown":
        print_report(answers.report(view), "markdown", output)
        return
    chosen = form or ("pdf" if output is not None and output.lower().endswith(".pdf") else "html")
    if chosen == "pdf":
        _write_pdf(answers, view, output)
    else:
        command = pages.command_of(answers.report(view))
        shell.emit(pages.review(answers, view, command), output)
    if output is not None:
        click.echo(f"{output} ({Path(output).stat().st_size >> 10} KiB)", err=True)


def _write_pdf(answers: Answers, view: View, output: str | None) -> None:
    from tracescope.report.pdf import as_pdf
    from tracescope.web import pages

    command = pages.command_of(answers.report(view), Path(output or "review.pdf").name)
    shell.emit_bytes(as_pdf(pages.review(answers, view, command, theme="light")), output, "PDF")
