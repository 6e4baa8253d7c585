"""`tracescope report`."""

from __future__ import annotations

from pathlib import Path

import click

from tracescope.cli import shell
from tracescope.cli.compare import print_report


@click.command(name="report")
@click.argument("base", required=False)
@click.argument("head", required=False)
@shell.store_option
@shell.env_option
@shell.zone_option
@shell.format_option("html", "markdown")
@shell.output_option
def report_command(
    base: str | None,
    head: str | None,
    store: str | None,
    env: str | None,
    tz: str | None,
    form: str,
    output: str | None,
) -> None:
    """Write one self-contained file for an architecture review.

    BASE and HEAD are periods as in `tracescope diff`. The file has the decision summary, the graph,
    a page for each growing edge, the method and all numbers; it makes no request and runs no script.
    """
    used = shell.settings(store=store, env=env, tz=tz)
    from tracescope.web import pages
    from tracescope.web.answers import Answers
    from tracescope.web.view import View

    shell.existing(used.store)
    if base is not None and head is None and ".." in base:
        base, _, head = base.partition("..")
    answers = Answers(used.store, used)
    view = View(base=base or "", head=head or "")
    if form == "markdown":
        print_report(answers.report(view), "markdown", output)
        return
    command = pages.command_of(answers.report(view))
    shell.emit(pages.review(answers, view, command), output)
    if output is not None:
        click.echo(f"{output} ({Path(output).stat().st_size >> 10} KiB)", err=True)
