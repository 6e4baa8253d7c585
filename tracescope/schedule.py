"""When something is due again: every so often, or at a time of the day or the week.

12h, 1d, 2w            so long after it was last done
09:00, mon 09:00       by the clock of a time zone; what was missed is done once
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final, NamedTuple

from tracescope.errors import ConfigError

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

_UNIT_S: Final = {"h": 3600, "d": 86_400, "w": 7 * 86_400}
_DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_EVERY: Final = re.compile(r"([1-9][0-9]{0,2})([hdw])")
_CLOCK: Final = re.compile(rf"(?:({'|'.join(_DAYS)})[a-z]* +)?([01]?[0-9]|2[0-3]):([0-5][0-9])")


class Schedule(NamedTuple):
    """A rule of when.

    Attributes
    ----------
    every_s
        Seconds from one time to the next; 0 where the clock decides.
    weekday
        0 for Monday; None for every day.
    hour, minute
        Of the day.
    """

    every_s: int
    weekday: int | None = None
    hour: int = 0
    minute: int = 0

    def due(self, last_s: float, now_s: float, zone: ZoneInfo) -> bool:
        """Whether it is due at `now_s`, when it was last done at `last_s`, both since 1970."""
        if self.every_s:
            return now_s - last_s >= self.every_s
        now = datetime.fromtimestamp(now_s, zone)
        at = now.replace(hour=self.hour, minute=self.minute, second=0, microsecond=0, fold=0)
        days_back = 0 if self.weekday is None else (now.weekday() - self.weekday) % 7
        step = 1 if self.weekday is None else 7
        at -= timedelta(days=days_back)
        if at.timestamp() > now_s:
            at -= timedelta(days=step)
        return last_s < at.timestamp()


def parse(text: str) -> Schedule:
    """A schedule of its text.

    Raises
    ------
    ConfigError
        It is none.
    """
    wanted = text.strip().lower()
    if every := _EVERY.fullmatch(wanted):
        return Schedule(int(every[1]) * _UNIT_S[every[2]])
    if clock := _CLOCK.fullmatch(wanted):
        weekday = _DAYS.index(clock[1]) if clock[1] else None
        return Schedule(0, weekday, int(clock[2]), int(clock[3]))
    raise ConfigError(
        f"{text[:40]!r} is not a schedule",
        "write how often, as 12h, 1d or 1w, or when, as `09:00` or `mon 09:00`",
    )
