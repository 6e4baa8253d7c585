"""`tracescope mute`."""

from __future__ import annotations

import click

from tracescope import schedule
from tracescope.cli import shell
from tracescope.errors import ConfigError, InputError, UsageError
from tracescope.periods import Context, format_utc, instant_of

_NS = 10**9
#: Characters of a reason at most.
_REASON = 400


@click.command(name="mute")
@click.argument("finding", required=False)
@shell.period_arguments
@click.option("--until", metavar="INSTANT", help="When it ends: a date, a mark, or so long: 12h, 3d, 2w.")
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
    from tracescope.report.names import one_line
    from tracescope.store import mutes_in

    opened = shell.existing(*(used.stores if finding is None else (used.one_store,)))
    known: dict[str, tuple[int, str]] = {}
    for one in opened.stores:
        known |= mutes_in(one.root)
    if finding is None:
        if until or reason or ended:
            raise UsageError("no finding is named", "`tracescope diff` shows their ids")
        for name, (until_ns, why) in sorted(known.items(), key=lambda item: item[1]):
            over = " (ended)" if until_ns <= shell.now_ns() else ""
            shell.echo(f"{name}  until {format_utc(until_ns)}{over}  {one_line(why, _REASON)}")
        return
    if ended:
        name = _named(finding, dict.fromkeys(known, ""), "is muted")
        opened.unmute(name)
        shell.echo(f"{name} is muted no more", err=True)
        return
    if not until or not reason or not reason.strip():
        raise UsageError(
            "a mute needs its end and its reason", "such as --until 2w --reason 'fixed with the next release'"
        )
    if len(reason) > _REASON:
        raise UsageError(f"--reason has {len(reason)} characters, expected {_REASON} at most")
    end_ns = _end(until, shell.context(opened, used.tz))
    report = shell.ask(used, base=base, head=head).report()
    name = _named(finding, {each.id: each.sentence for each in report.findings}, "was found in these periods")
    opened.mute(name, end_ns, reason.strip(), now_ns=shell.now_ns())
    shell.echo(f"{name} is muted until {format_utc(end_ns)}", err=True)


def _end(text: str, context: Context) -> int:
    """When a mute ends, in ns; so long from now, or an instant to come."""
    try:
        every_s = schedule.parse(text).every_s
    except ConfigError:
        every_s = 0
    end_ns = context.now_ns + every_s * _NS if every_s else instant_of(text, context)
    if end_ns <= context.now_ns:
        raise UsageError(f"--until {text[:40]!r} is {format_utc(end_ns)}, which has passed")
    return end_ns


def _named(digits: str, known: dict[str, str], where: str) -> str:
    """The one id that begins with what was written."""
    found = [name for name in known if name.startswith(digits.lower())]
    if len(found) == 1:
        return found[0]
    if found:
        raise UsageError(
            f"{digits[:20]!r} begins {len(found)} ids: {', '.join(sorted(found))}", "write more of it"
        )
    listed = ", ".join(known)
    raise InputError(
        f"no finding {digits[:20]!r} {where}",
        f"there are {listed}" if listed else "`tracescope diff` shows the ids of findings",
    )
