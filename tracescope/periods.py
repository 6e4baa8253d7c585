"""Periods as people say them: ``last-month``, ``30d``, ``2026-W40``, ``A..B``; always half-open.

    last-month   |========)                 calendar words follow the zone's own midnights,
    this-month            |=====) now       summer time included
    30d               |=========) now

Pure: the clock and the zone are arguments.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from tracescope.errors import PeriodError
from tracescope.near import suggestion
from tracescope.schema import DAY_NS, HOUR_NS

_UNITS: Final = {"m": 60 * 10**9, "h": HOUR_NS, "d": DAY_NS, "w": 7 * DAY_NS}
WORDS: Final = (
    "today", "yesterday", "this-week", "last-week", "this-month", "last-month", "this-year", "last-year",
    "all",
)  # fmt: skip
#: Instants before this (year 2) are beyond what calendars of all zones hold.
_FIRST_NS: Final = -62_104_060_800 * 10**9
#: Days at either end of a demo's store that are compared: the shop's first month and its last.
DEMO_DAYS: Final = 30
_HINT: Final = "try last-month, this-week, 30d, 2026-08, 2026-W40, 2026-08-01/2026-08-15 or a marked name"


@dataclass(frozen=True, slots=True)
class Period:
    """``[start_ns, end_ns)`` and the words it was asked for with."""

    start_ns: int
    end_ns: int
    text: str

    @property
    def length_ns(self) -> int:
        """Its length in ns."""
        return self.end_ns - self.start_ns

    def utc(self) -> str:
        """Both ends in UTC."""
        return f"{format_utc(self.start_ns)} .. {format_utc(self.end_ns)}"


@dataclass(frozen=True, slots=True)
class Context:
    """What words refer to: now, the zone, what the store holds, named instants, if it is a demo."""

    now_ns: int
    zone: str
    first_ns: int = 0
    last_ns: int = 0
    marks: Mapping[str, int] | None = None
    demo: bool = False


def format_utc(ns: int) -> str:
    """An instant in UTC, seconds only where there are any."""
    instant = datetime.fromtimestamp(ns // 10**9, UTC)
    return instant.strftime("%Y-%m-%dT%H:%MZ" if instant.second == 0 else "%Y-%m-%dT%H:%M:%SZ")


def zone_of(name: str) -> ZoneInfo:
    """A time zone by its IANA name; raises PeriodError."""
    try:
        return ZoneInfo(name or "(none)")
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise PeriodError(
            f"no time zone {name!r}", "give an IANA name such as Europe/Berlin or UTC"
        ) from error


def _ns(day: date, zone: ZoneInfo) -> int:
    """Midnight at which `day` begins in `zone`."""
    return int(datetime(day.year, day.month, day.day, tzinfo=zone).timestamp()) * 10**9


def _month_after(day: date) -> date:
    return date(day.year + day.month // 12, day.month % 12 + 1, 1)


def _month_before(day: date) -> date:
    return date(day.year - (day.month == 1), (day.month - 2) % 12 + 1, 1)


def _word(text: str, context: Context, zone: ZoneInfo) -> tuple[int, int] | None:
    today = datetime.fromtimestamp(context.now_ns / 10**9, zone).date()
    monday = today - timedelta(days=today.weekday())
    month = today.replace(day=1)
    year = today.replace(month=1, day=1)
    days: dict[str, tuple[date, date | None]] = {
        "today": (today, None),
        "yesterday": (today - timedelta(days=1), today),
        "this-week": (monday, None),
        "last-week": (monday - timedelta(days=7), monday),
        "this-month": (month, None),
        "last-month": (_month_before(month), month),
        "this-year": (year, None),
        "last-year": (year.replace(year=year.year - 1), year),
    }
    if text not in days:
        return None
    start, end = days[text]
    return _ns(start, zone), context.now_ns if end is None else _ns(end, zone)


def _instant(text: str, zone: ZoneInfo, marks: Mapping[str, int]) -> int | None:
    if text in marks:
        return marks[text]
    try:
        instant = datetime.fromisoformat(text)
    except ValueError:
        return None
    if instant.tzinfo is None:
        instant = instant.replace(tzinfo=zone)
    try:
        seconds = int(instant.replace(microsecond=0).timestamp())
    except OverflowError:  # year 1, east of Greenwich
        return _FIRST_NS - 1
    part = _FRACTION.search(text)  # a datetime holds microseconds; what commands print holds nanoseconds
    return seconds * 10**9 + (int(part[1][:9].ljust(9, "0")) if part else 0)


_MONTH = re.compile(r"^(\d{4})-(\d{2})$")
_WEEK = re.compile(r"^(\d{4})-W(\d{2})$")
_YEAR = re.compile(r"^(\d{4})$")
_FRACTION = re.compile(r"[.,](\d+)")
#: Characters of a mark: it is shown in lists and beside points of time.
_LONGEST_MARK: Final = 100
_MARK = re.compile(r"^[A-Za-z][\w.-]*$")
_LENGTH = re.compile(r"^(\d{1,6})([mhdw])$")


def _calendar(text: str, zone: ZoneInfo) -> tuple[int, int] | None:
    """A year, month, ISO week or day."""
    try:
        if found := _MONTH.match(text):
            start = date(int(found[1]), int(found[2]), 1)
            return _ns(start, zone), _ns(_month_after(start), zone)
        if found := _WEEK.match(text):
            start = date.fromisocalendar(int(found[1]), int(found[2]), 1)
            return _ns(start, zone), _ns(start + timedelta(days=7), zone)
        if found := _YEAR.match(text):
            return _ns(date(int(found[1]), 1, 1), zone), _ns(date(int(found[1]) + 1, 1, 1), zone)
        if re.match(r"^\d{4}-\d{2}-\d{2}$", text):
            start = date.fromisoformat(text)
            return _ns(start, zone), _ns(start + timedelta(days=1), zone)
    except (ValueError, OverflowError) as error:
        raise PeriodError(f"no such period {text!r}: {error}", _HINT) from error
    return None


def parse(text: str, context: Context) -> Period:
    """One period.

    Parameters
    ----------
    text
        A word of `WORDS`, ``<n>m|h|d|w``, year, month, ISO week, day, ``A/B`` of instants, days or
        marks, or one mark or instant, which lasts until now.

    Raises
    ------
    PeriodError
        It cannot be read, or ends before it starts.
    """
    zone = zone_of(context.zone)
    marks = context.marks or {}
    if text == "all":
        if not context.last_ns:
            raise PeriodError("the store is empty, so `all` is not a period", "import something first")
        found = (context.first_ns, context.last_ns + 1)
    elif "/" in text:
        left, _, right = text.partition("/")
        ends = [_edge(part, zone, marks) for part in (left, right)]
        found = (ends[0], ends[1])
    elif length := _LENGTH.match(text):
        found = (context.now_ns - int(length[1]) * _UNITS[length[2]], context.now_ns)
    elif word := _word(text, context, zone):
        found = word
    elif calendar := _calendar(text, zone):
        found = calendar
    elif (instant := _instant(text, zone, marks)) is not None:
        found = (instant, context.now_ns)
    else:
        raise PeriodError(f"cannot read the period {text!r}", suggestion(text, [*WORDS, *marks], _HINT))
    if found[0] < _FIRST_NS:
        raise PeriodError(f"the period {text!r} starts before the calendar begins", _HINT)
    if found[1] <= found[0]:
        raise PeriodError(
            f"the period {text!r} is empty: {format_utc(found[0])} is not before {format_utc(found[1])}",
            _HINT,
        )
    return Period(found[0], found[1], text)


def _edge(text: str, zone: ZoneInfo, marks: Mapping[str, int]) -> int:
    """One end of ``A/B``: a mark, an instant, or where a day, month, week or year begins."""
    if text not in marks and (calendar := _calendar(text, zone)):
        return calendar[0]
    instant = _instant(text, zone, marks)
    if instant is None:
        raise PeriodError(f"cannot read {text!r} as an instant", suggestion(text, marks, _HINT))
    return instant


def pair(base: str | None, head: str | None, context: Context) -> tuple[Period, Period]:
    """BASE and HEAD, as git reads them: what changed since BASE.

    HEAD is by default the time from BASE's end until now; ``A..B`` and ``A..`` work
    too.  Without either, last week and this week.
    A BASE that ends now is compared with the equal span before it; ``all`` with its own halves.
    """
    if base is None:
        return parse("last-week", context), parse("this-week", context)
    if head is None and ".." in base:
        base, _, head = base.partition("..")
        head = head or None
    if head is not None:
        return parse(base, context), parse(head, context)
    first = parse(base, context)
    if base == "all":
        middle = (first.start_ns + first.end_ns) // 2
        middle = middle // HOUR_NS * HOUR_NS if first.length_ns > 4 * HOUR_NS else middle
        return Period(first.start_ns, middle, "all (first half)"), Period(
            middle, first.end_ns, "all (second half)"
        )
    if first.end_ns >= context.now_ns:
        before = Period(first.start_ns - first.length_ns, first.start_ns, f"the {base} before")
        return before, first
    return first, Period(first.end_ns, context.now_ns, f"since {base}")


def first_and_last(context: Context) -> tuple[Period, Period]:
    """The first and the last `DEMO_DAYS` of a store, by whole hours; its halves if it is shorter."""
    start = context.first_ns // HOUR_NS * HOUR_NS
    end = -(-context.last_ns // HOUR_NS) * HOUR_NS
    length = DEMO_DAYS * DAY_NS
    if end - start < 2 * length:
        return pair("all", None, context)
    return (
        Period(start, start + length, f"the first {DEMO_DAYS} days"),
        Period(end - length, end, f"the last {DEMO_DAYS} days"),
    )


def check_mark(name: str) -> None:
    """Raise PeriodError for what cannot name an instant."""
    if name in WORDS or not _MARK.match(name) or ".." in name or len(name) > _LONGEST_MARK:
        raise PeriodError(
            f"{name[:60]!r} cannot name an instant",
            f"start with a letter; letters, digits, . _ and - may follow, {_LONGEST_MARK} at most",
        )


def instant_of(text: str, context: Context) -> int:
    """An instant as a user writes it, in ns: ISO, a day's beginning, or a mark; raises PeriodError."""
    return parse(f"{text}/9999-01-01", context).start_ns
