"""`tracescope mute`."""

from __future__ import annotations

from pathlib import Path

import click

from tracescope.cli import shell
from tracescope.errors import UsageError
from tracescope.periods import format_utc


@click.command(name="mute")
@click.argument("finding", required=False)
@shell.period_arguments
@click.option("--until", metavar="INSTANT", help="When it ends: a date, a mark, or a duration: 12h, 3d, 2w.")
@click.option("--reason", metavar="TEXT", help="Why, for whoever reads it later.")
@click.option("--end", "ended", is_flag=True, help="End the mute of the FINDING now.")
@shell.stores_option
@shell.zone_option
def mute_command(
    finding: str | None,
    base: str | None,
    head: str | None,
    until: str | None,
    reason: str | None,
    ended: bool,
    store: shell.Given,
    tz: str | None,
) -> None:
    """Acknowledge a FINDING until an instant, with a reason; without one, list what is muted.

    FINDING is the id that `tracescope diff` shows, or its first digits; BASE and HEAD are the periods in
    which it was found, as in `diff`. A muted finding stands after the others and is not sent.
    """
    used = shell.settings(store=store, tz=tz)
    from tracescope.engine.attention import MOST_REASON
    from tracescope.report.names import one_line
    from tracescope.store import mutes_in

    if finding is None:
        if until or reason or ended:
            raise UsageError("no finding is named", "`tracescope diff` shows their ids")
        known: dict[str, tuple[int, str]] = {}
        for one in shell.existing(*used.stores).stores:
            known |= mutes_in(one.root)
        for name, (until_ns, why) in sorted(known.items(), key=lambda item: item[1]):
            over = " (ended)" if until_ns <= shell.now_ns() else ""
            shell.echo(f"{name}  until {format_utc(until_ns)}{over}  {one_line(why, MOST_REASON)}")
        return
    shell.existing(used.one_store)
    answers = shell.ask(used, base=base, head=head)
    if ended:
        mutes_in(Path(used.one_store))  # damage is an error here, not an empty list
        shell.echo(f"{answers.session.unmute(finding)} is muted no more", err=True)
        return
    if not until or not reason or not reason.strip():
        raise UsageError(
            "a mute needs its end and its reason", "such as --until 2w --reason 'fixed with the next release'"
        )
    name, end_ns = answers.mute(finding, until, reason)
    shell.echo(f"{name} is muted until {format_utc(end_ns)}", err=True)
