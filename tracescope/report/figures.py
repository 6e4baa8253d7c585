"""Numbers, shares, durations and dates as people read them: one style on every surface.

Three significant digits, a true minus, a space before units; dates as ``27 Sep 2026 21:00`` in UTC.
JSON and commands that can be given back have ISO 8601 instead (`tracescope.report.iso`, `format_utc`).
"""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from tracescope.schema import DAY_NS

if TYPE_CHECKING:
    from tracescope.analysis.report import Extent

MINUTE_NS: Final = 60 * 10**9
#: From this many units for each that was seen, both counts are given.
_SCALED: Final = 1.05


def number(value: float, sign: bool = False) -> str:
    """Three significant digits, thousands apart, a minus that is one."""
    if not math.isfinite(value):
        return "?"
    size = abs(value)
    digits = 0 if size >= 99.95 else 1 if size >= 9.995 else 2
    text = f"{size:,.{digits}f}"
    negative = value < 0 and float(text.replace(",", "")) != 0
    positive = value > 0 and float(text.replace(",", "")) != 0
    return ("−" if negative else "+" if sign and positive else "") + text


def count(value: float) -> str:
    """A count a person can read: 950, 12.3 k, 4.56 M."""
    for limit, divisor, unit in ((1e3, 1, ""), (1e6, 1e3, " k"), (1e9, 1e6, " M"), (math.inf, 1e9, " G")):
        if abs(value) < limit:
            scaled = value / divisor
            return (f"{scaled:.0f}" if divisor == 1 else f"{scaled:.3g}") + unit
    raise AssertionError("the last limit is infinite")


def more_of(number: int, one: str, several: str) -> str:
    """What a list leaves out: ``1 more edge``, ``7 more edges``."""
    return f"{number} more {one if number == 1 else several}"


def duration(ns: float) -> str:
    """A duration with the unit that suits it."""
    for limit, divisor, unit in ((1e3, 1, "ns"), (1e6, 1e3, "µs"), (1e9, 1e6, "ms"), (math.inf, 1e9, "s")):
        if abs(ns) < limit:
            return f"{ns / divisor:.3g} {unit}"
    raise AssertionError("the last limit is infinite")


def share(value: float) -> str:
    """A share as a percentage with one digit."""
    return f"{value * 100:.1f} %" if math.isfinite(value) else "–"


def interval(pair: tuple[float, float] | None) -> str:
    """An interval in words; ``insufficient`` for None."""
    if pair is None:
        return "insufficient"
    return f"{number(pair[0], sign=True)} … {number(pair[1], sign=True)}"


def day(ns: int) -> str:
    """A day in UTC: ``3 Nov 2026``."""
    return _day(_utc(ns))


def instant(ns: int) -> str:
    """An instant in UTC: ``3 Nov 2026 14:05``, with seconds where there are any."""
    found = _utc(ns)
    return f"{_day(found)} {found:{_clock(ns)}}"


def between(start_ns: int, end_ns: int) -> str:
    """A period in UTC: ``26 Aug 16:00 – 25 Sep 2026 16:00``; days alone where both ends are midnights."""
    start, end = _utc(start_ns), _utc(end_ns)
    days = not (start_ns % DAY_NS or end_ns % DAY_NS)
    if days:
        end -= timedelta(days=1)
    first = _day(start) if start.year != end.year else f"{start.day} {start:%b}"
    if days:
        return _day(end) if start == end else f"{first} – {_day(end)}"
    clock = max(_clock(start_ns), _clock(end_ns), key=len)
    if start.date() == end.date():
        return f"{_day(end)} {start:{clock}} – {end:{clock}}"
    return f"{first} {start:{clock}} – {_day(end)} {end:{clock}}"


def requests(extent: Extent) -> str:
    """How many requests a period stands for, and of how many there were traces where these are fewer."""
    said = f"{count(extent.units)} requests"
    if 0 < extent.units_seen < extent.units / _SCALED:
        said += f", {count(extent.units_seen)} of them seen"
    return said


def _utc(ns: int) -> datetime:
    return datetime.fromtimestamp(ns // 10**9, UTC)


def _day(instant: datetime) -> str:
    return f"{instant.day} {instant:%b} {instant.year}"


def _clock(ns: int) -> str:
    return "%H:%M:%S" if ns % MINUTE_NS else "%H:%M"


def times_text(known: float | None, at_least: float | None) -> str:
    """A multiple of today's load; at least that where nobody saw the wall."""
    if known is not None:
        return f"{number(known)}×"
    return "?" if at_least is None else f"≥ {number(at_least)}×"
