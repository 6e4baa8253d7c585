"""`tracescope digest`."""

from __future__ import annotations

import click

from tracescope.cli import shell
from tracescope.errors import UsageError


@click.command(name="digest")
@shell.period_arguments
@shell.entry_options
@shell.store_options
@click.option("--page", metavar="URL", default="", help="Address of the web page, for whoever reads it.")
@shell.print_options("text", "slack", "teams", "json")
def digest_command(
    base: str | None,
    head: str | None,
    entry: str | None,
    include: str | None,
    exclude: str | None,
    store: shell.Given,
    env: str | None,
    tz: str | None,
    page: str,
    form: str,
    output: str | None,
) -> None:
    """Five lines for a chat: the verdict, the first findings, and where to look.

    BASE and HEAD are periods as in `tracescope diff`. --format slack and teams print what an incoming
    webhook of theirs accepts: `tracescope digest --format slack | curl --json @- "$WEBHOOK"`.
    """
    if page and not page.startswith(("http://", "https://")):
        raise UsageError(
            f"--page is {page[:60]!r}, expected an address", "such as https://tracescope.example"
        )
    settings = shell.settings(store=store, env=env, tz=tz, include=include, exclude=exclude)
    from tracescope.report import digest

    answers = shell.ask(settings, base=base, head=head, entry=entry)
    report = answers.report()
    lines = digest.lines(report, page, answers.marks())
    if form == "text":
        shell.emit("\n".join(lines), output)
        return
    message = {
        "slack": lambda: digest.as_slack(lines, page),
        "teams": lambda: digest.as_teams(lines, page),
        "json": lambda: digest.as_json(report, lines, page),
    }[form]()
    shell.emit(shell.to_json(message), output)
