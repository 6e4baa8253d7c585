"""Who a finding concerns, and which are muted: what people say of findings, put beside what was measured.

A muted finding loses nothing but its place: it stands after the others, with the reason and the end.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from tracescope.analysis.report import Mute

if TYPE_CHECKING:
    from tracescope.analysis.report import EdgeKey, Report


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
