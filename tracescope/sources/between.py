"""Reading what lies between two instants, from places that cannot be asked for it.

    place       told before it is read                    what is read of it
    block       its meta.json: first and last start       all, and spans outside are left out
    object      year=/month=/day=[/hour=[/minute=]] of    the same
                its key, which is when it was written,
                in an unknown time zone
    file        nothing                                   the same

What is told to lie outside is not read; spans decide the rest.  A part of which spans were left out has
another name in the ledger than one that was read whole, so that a wider import reads it again; so have those
that were decoded with it, for which nobody counts.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Final

from tracescope.schema import DAY_NS, HOUR_NS
from tracescope.sources import Between, Options
from tracescope.sources.asked import hour_of

#: Time zones are at most so far before and behind UTC.
_WEST_NS: Final = 12 * HOUR_NS
_EAST_NS: Final = 14 * HOUR_NS
#: Spans are written at most so long after they began, by what waits for them, retries and resends.
LATE_NS: Final = 2 * DAY_NS
_LATEST_NS: Final = 2**63 - 1
#: Folders that the Collector's S3 exporter names.
_KEY: Final = re.compile(
    r"(?:^|/)year=(\d{4})/month=(\d\d)/day=(\d\d)(?:/hour=(\d\d))?(?:/minute=(\d\d))?(?=/)"
)


def between_of(options: Options, shown: str) -> Between | None:
    """What `since` and `until` among the options say, in whole hours; None where neither is given.

    Raises
    ------
    PeriodError
        One is no instant.
    """
    since, until = options.given.get("since", ""), options.given.get("until", "")
    if not since and not until:
        return None
    return Between(
        hour_of(since, "since", shown) if since else 0,
        hour_of(until, "until", shown, last=True) if until else _LATEST_NS,
    )


def written_outside(key: str, between: Between | None) -> bool:
    """Whether an object's key tells that none of its spans is between."""
    found = _KEY.search(key) if between is not None else None
    if found is None or between is None:
        return False
    year, month, day, hour, minute = (int(each) if each else 0 for each in found.groups())
    try:
        at = int(datetime(year, month, day, hour, minute, tzinfo=UTC).timestamp()) * 10**9
    except ValueError:  # names no day
        return False
    span_ns = 60 * 10**9 if found[5] else HOUR_NS if found[4] else DAY_NS
    last_ns = at + span_ns + _WEST_NS
    first_ns = at - _EAST_NS - LATE_NS
    return last_ns <= between.first_ns or first_ns >= between.end_ns
