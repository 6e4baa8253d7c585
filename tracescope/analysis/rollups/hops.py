"""Queue hops of which only the consumer's half is here: what they leave out, and from when on that is told.

    one store                        two stores, a trace whole in one of them
    producer ──► consumer            producer │ consumer ─ ─ ► ?
          wait is measured                    │ its link leads nowhere: the wait counts as zero

A link that leads nowhere is counted when hops are joined (`tracescope.analysis.rollups.merge.join_hops`);
here the count becomes a sentence, for all answers that are made of the period.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import polars as pl

from tracescope import schema
from tracescope.periods import format_utc

#: Messages whose producer is missing are worth a word beyond this part of all.
UNMATCHED_PART: Final = 0.03
#: What the sentence on them ends with.
_WAITS: Final = "their wait counts as zero, and the latency of messages is too low"


def unmatched_part(tables: Mapping[str, pl.DataFrame]) -> float:
    """The largest part of messages whose wait is unknown because their producer is not here.

    Parameters
    ----------
    tables
        ``counters`` and ``entry_hours`` of all environments: a counter knows of none.

    Returns
    -------
    float
        0 where there are no such links.  An upper bound: the links of a mere poll that is no unit of its own
        are counted beside those of messages.
    """
    lost = int(tables["counters"].filter(pl.col("reason") == "unmatched_hop")["count"].sum())
    if not lost:
        return 0.0
    messages = int(tables["entry_hours"].filter(pl.col("unit") == schema.UNIT_MESSAGE)["units"].sum())
    return min(lost / messages, 1.0) if messages else 1.0


def hop_notes(tables: Mapping[str, pl.DataFrame], start_ns: int, end_ns: int) -> list[str]:
    """What a reader should know of the messages of a period.

    Parameters
    ----------
    tables
        As for `unmatched_part`; nothing is said where one of them is missing or was not read.
    start_ns, end_ns
        The period.
    """
    if "counters" not in tables or "entry_hours" not in tables:
        return []
    part = unmatched_part(tables)
    if part <= UNMATCHED_PART:
        return []
    return [
        f"up to {part:.0%} of the messages from {format_utc(start_ns)} to {format_utc(end_ns)} "
        "name a producer "
        f"that is not in this store (another one may hold it, or it was not sampled): {_WAITS}"
    ]


def of_hops(notes: Sequence[str]) -> str | None:
    """The last of an answer's notes that is on its hops, for what has no room for all; None without one."""
    return next((note for note in reversed(notes) if note.endswith(_WAITS)), None)
