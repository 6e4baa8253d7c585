"""Whether the clock may be believed where it decides what is removed.

Retention counts from now, and a clock that is a year ahead once would remove every raw span.  So now is
compared with what the store saw last: a step ahead of more than two days is doubted, and nothing is removed
by age, until spans say that it is so late, or the clock has gone on evenly for a day.

    clock.json     {"seen_ns": when a clock that was believed was looked at last}
"""

from __future__ import annotations

import json
from typing import Final

from tracescope import schema
from tracescope.periods import format_utc
from tracescope.store import SpanStore
from tracescope.store.landing import write_durably

FILE: Final = "clock.json"
#: A step so far ahead is doubted.
LEAP_NS: Final = 2 * schema.DAY_NS
#: A clock that is doubted is believed once it has gone on evenly for so long.
HELD_S: Final = 24 * 3600.0
#: Evenly: within this of what the time since start says.
_EVEN_S: Final = 600.0
#: What was seen is written down so often.
_NOTED_NS: Final = schema.HOUR_NS


def seen_ns(store: SpanStore) -> int:
    """When the store was last looked at by a clock that was believed, or got spans; 0 for never."""
    try:
        return int(json.loads((store.root / FILE).read_bytes())["seen_ns"])
    except FileNotFoundError:
        pass
    except (OSError, ValueError, KeyError, TypeError):
        pass  # damaged: what arrived last tells as well
    found = store.snapshot()
    return max(found.pointer.ledger.arrived_ns, found.ledger.arrived_ns)


def doubt(store: SpanStore, now_ns: int) -> str:
    """Why the clock is not believed; empty where it is."""
    seen = seen_ns(store)
    if not seen or now_ns - seen <= LEAP_NS or store.extent()[1] >= now_ns - schema.DAY_NS:
        return ""
    days = (now_ns - seen) / schema.DAY_NS
    return (
        f"the clock says {format_utc(now_ns)}, {days:.0f} days after this store saw it last, and no span is "
        "so new: nothing is removed by age until spans are, or the clock has held for a day"
    )


def note(store: SpanStore, now_ns: int) -> None:
    """Write down that a clock that is believed was seen."""
    write_durably(store.root / FILE, json.dumps({"seen_ns": now_ns}).encode())


class Clock:
    """The clock as a running receiver sees it.

    Attributes
    ----------
    doubt
        Why it is not believed; empty where it is.
    """

    def __init__(self, store: SpanStore) -> None:
        self._store = store
        self._noted_ns = 0
        self._since: tuple[int, float] | None = None
        self.doubt = ""

    def look(self, now_ns: int, running_s: float) -> None:
        """Compare now with what was seen, and with the time that has passed since it was first doubted."""
        if 0 <= now_ns - self._noted_ns < _NOTED_NS:
            self.doubt, self._since = "", None
            return
        told = doubt(self._store, now_ns)
        if told:
            if self._since is None or abs(self._ahead_s(now_ns, running_s)) > _EVEN_S:
                self._since = now_ns, running_s
            if running_s - self._since[1] < HELD_S:
                self.doubt = told
                return
        self.doubt, self._since, self._noted_ns = "", None, now_ns
        note(self._store, now_ns)

    def _ahead_s(self, now_ns: int, running_s: float) -> float:
        """How much further the clock went since it was doubted than time did."""
        assert self._since is not None
        return (now_ns - self._since[0]) / 1e9 - (running_s - self._since[1])
