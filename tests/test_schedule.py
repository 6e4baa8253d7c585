"""When something is due again, by its own pace or by the clock of a zone."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from tracescope import schedule
from tracescope.errors import ConfigError

BERLIN = ZoneInfo("Europe/Berlin")


def at(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=BERLIN).timestamp()


@pytest.mark.parametrize(
    ("text", "last", "now", "due"),
    [
        ("12h", "2026-11-02 00:00", "2026-11-02 11:59", False),
        ("12h", "2026-11-02 00:00", "2026-11-02 12:00", True),
        ("1w", "2026-11-02 00:00", "2026-11-08 23:59", False),
        ("09:00", "2026-11-02 09:00", "2026-11-03 08:59", False),
        ("09:00", "2026-11-02 08:59", "2026-11-02 09:00", True),
        ("9:30", "2026-11-02 09:31", "2026-11-03 00:00", False),
        ("mon 09:00", "2026-11-02 09:00", "2026-11-09 08:59", False),
        ("Monday 09:00", "2026-11-02 09:00", "2026-11-09 09:00", True),
        ("mon 09:00", "2026-11-01 09:00", "2026-11-05 12:00", True),  # missed, and done once
        ("mon 09:00", "2026-11-05 12:00", "2026-11-06 12:00", False),
        ("09:00", "2026-10-24 09:00", "2026-10-25 08:59", False),  # 25 h later: clocks went back
        ("09:00", "2026-10-24 09:00", "2026-10-25 09:00", True),
    ],
)
def test_it_is_due_once_the_pace_or_the_clock_has_passed(text: str, last: str, now: str, due: bool) -> None:
    """What was missed is due once, however late; the zone's clock counts."""
    assert schedule.parse(text).due(at(last), at(now), BERLIN) is due


@pytest.mark.parametrize("text", ["", "daily", "0d", "1m", "24:00", "9", "foo 09:00", "1d 09:00", "-1h"])
def test_what_is_no_schedule_is_refused_with_examples(text: str) -> None:
    """The message shows how one is written."""
    with pytest.raises(ConfigError) as error:
        schedule.parse(text)
    assert "mon 09:00" in (error.value.hint or "")
