"""What people say of findings and changes, put beside what was measured: owners, mutes and marks.

A muted finding loses nothing but its place: it stands after the others, with the reason and the end.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Final

from tracescope import schedule
from tracescope.analysis.report import Mute
from tracescope.errors import ConfigError, InputError, UsageError
from tracescope.near import suggestion
from tracescope.periods import Context, format_utc, instant_of
from tracescope.schema import DAY_NS

if TYPE_CHECKING:
    from tracescope.analysis.report import Change, EdgeKey, Report

#: Characters of a mute's reason at most.
MOST_REASON: Final = 400
_NS: Final = 10**9


def attend(
    report: Report, owners: Mapping[str, str], mutes: Mapping[str, tuple[int, str]], now_ns: int
) -> Report:
    """The report whose findings know their owner and their mute, muted ones last.

    Parameters
    ----------
    report
        As it was measured.
    owners
        Who owns a service or node; names may have ``*``.
    mutes
        Until when (ns) and why, by a finding's id.
    now_ns
        A mute that ended before is none.
    """
    if not report.findings or not (owners or mutes):
        return report
    found = [
        replace(each, owner=owner_of(each.cause, owners), mute=_mute(mutes.get(each.id), now_ns))
        for each in report.findings
    ]
    return replace(report, findings=tuple(sorted(found, key=lambda each: each.mute is not None)))


def marked(report: Report, marks: Mapping[str, int]) -> Report:
    """The report whose changes know the marks within a day of them, for every surface alike.

    Parameters
    ----------
    report
        As it was measured.
    marks
        Named instants of the store, in ns.
    """
    if not marks:
        return report
    edges = [replace(each, change=_beside(each.change, marks)) for each in report.edges]
    findings = [replace(each, since=_beside(each.since, marks)) for each in report.findings]
    return replace(report, edges=tuple(edges), findings=tuple(findings))


def _beside(change: Change | None, marks: Mapping[str, int]) -> Change | None:
    if change is None:
        return None
    low_ns, high_ns = change.low_ns - DAY_NS, change.high_ns + DAY_NS
    near = [(at_ns, name) for name, at_ns in marks.items() if low_ns <= at_ns <= high_ns]
    return replace(change, marks=tuple(name for _, name in sorted(near))) if near else change


def _mute(said: tuple[int, str] | None, now_ns: int) -> Mute | None:
    return Mute(*said) if said is not None and said[0] > now_ns else None


def owner_of(cause: EdgeKey, owners: Mapping[str, str]) -> str:
    """Who owns what is called, or else who calls it; empty where nobody is named.

    A name that stands there whole wins over patterns, a longer pattern over a shorter one; ``*`` alone is
    for what nobody else owns.
    """
    for name in (cause.callee, cause.caller):
        if name is None:
            continue
        if name in owners:
            return owners[name]
        fitting = [
            pattern for pattern in owners if "*" in pattern and pattern != "*" and fnmatchcase(name, pattern)
        ]
        if fitting:
            return owners[max(fitting, key=lambda pattern: (len(pattern), pattern))]
    return owners.get("*", "")


def mute_end(text: str, context: Context) -> int:
    """When a mute ends, in ns: so long from now (``12h``, ``3d``, ``2w``), or an instant to come.

    Raises
    ------
    PeriodError
        It cannot be read.
    UsageError
        It has passed.
    """
    try:
        every_s = schedule.parse(text).every_s
    except ConfigError:
        every_s = 0
    end_ns = context.now_ns + every_s * _NS if every_s else instant_of(text, context)
    if end_ns <= context.now_ns:
        raise UsageError(
            f"the end {text[:40]!r} is {format_utc(end_ns)}, which has passed",
            "such as 2w, or a date to come",
        )
    return end_ns


def mute_reason(text: str) -> str:
    """A mute's reason; raises UsageError where there is none, or more than `MOST_REASON` characters."""
    if not text.strip():
        raise UsageError("a mute needs its reason", "such as 'fixed with the next release'")
    if len(text) > MOST_REASON:
        raise UsageError(
            f"the reason has {len(text)} characters, expected {MOST_REASON} at most", "say it in a sentence"
        )
    return text.strip()


def named(digits: str, known: Mapping[str, str], where: str) -> str:
    """The one id of `known` that begins with some digits.

    Raises
    ------
    UsageError
        Several do.
    InputError
        None does; `where` says where it is missing.
    """
    found = [name for name in known if name.startswith(digits.lower())] if digits else []
    if len(found) == 1:
        return found[0]
    if found:
        raise UsageError(
            f"{digits[:20]!r} begins {len(found)} ids: {', '.join(sorted(found))}", "write more of it"
        )
    listed = f"there are {', '.join(known)}" if known else "`tracescope diff` shows the ids of findings"
    raise InputError(f"no finding {digits[:20]!r} {where}", suggestion(digits, known, listed))
