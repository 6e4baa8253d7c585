"""`tracescope digest`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from tracescope.cli import shell
from tracescope.errors import InsufficientDataError, TracescopeError, UsageError

if TYPE_CHECKING:
    from tracescope.session import Answers


@click.command(name="digest")
@shell.period_arguments
@shell.entry_options
@shell.store_options
@click.option("--page", metavar="URL", default="", help="Address of the web page, for whoever reads it.")
@click.option("--send", is_flag=True, help="Post it now to `webhook_url`, in its `webhook_form`.")
@shell.print_options("text", "slack", "teams", "json", default="text")
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
    send: bool,
    form: str | None,
    output: str | None,
) -> None:
    """Five lines for a chat: the verdict, the first findings, and where to look.

    BASE and HEAD are periods as in `tracescope diff`. --format slack and teams print what an incoming
    webhook of theirs accepts: `tracescope digest --format slack | curl --json @- "$WEBHOOK"`.
    --send posts it once, whatever was told before; `tracescope serve` does so when the verdict changes.
    """
    if page and not page.startswith(("http://", "https://")):
        raise UsageError(
            f"--page is {page[:60]!r}, expected an address", "such as https://tracescope.example"
        )
    settings = shell.settings(store=store, env=env, tz=tz, include=include, exclude=exclude)
    from tracescope.report import digest

    answers = shell.ask(settings, base=base, head=head, entry=entry)
    if send:
        if form or output:
            raise UsageError("--send posts in `webhook_form`", "leave out --format and -o")
        _send(answers, page or settings.page_url)
        return
    report = answers.report()
    lines = digest.lines(report, page)
    if form in (None, "text"):
        shell.emit("\n".join(lines), output)
        return
    message = {
        "slack": lambda: digest.as_slack(lines, page),
        "teams": lambda: digest.as_teams(lines, page),
        "json": lambda: digest.as_json(report, lines, page),
    }[form]()
    shell.emit(shell.to_json(message), output)


def _send(answers: Answers, page: str) -> None:
    """Post the digest to the webhook of the settings.

    Raises
    ------
    UsageError
        There is no webhook.
    TracescopeError
        It was not taken.
    """
    import asyncio

    from tracescope.config import shown_address
    from tracescope.report import digest, json_bytes
    from tracescope.serving.posting import post

    settings = answers.settings
    if not settings.webhook_url:
        raise UsageError(
            "no webhook to send to", "set webhook_url in tracescope.toml, or TRACESCOPE_WEBHOOK_URL"
        )
    try:
        made = digest.payload(answers.report(), settings.webhook_form, page)
    except InsufficientDataError as error:
        made = digest.unknown(error.message, settings.webhook_form, page)
    outcome = asyncio.run(post(settings.webhook_url, json_bytes(made["message"])))
    where = shown_address(settings.webhook_url)
    if not outcome.accepted:
        raise TracescopeError(
            f"the digest was not sent to {where}: {outcome.said}, after {outcome.tries} tries",
            "`tracescope digest` prints it",
        )
    shell.echo(f"sent to {where} ({made['state']})", err=True)
