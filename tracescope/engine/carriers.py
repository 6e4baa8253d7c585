"""Which attribute values carry a change, from the raw spans of both periods.

Of many spans a part of the traces is looked at, drawn by their ids: what carries a change that matters shows
in twenty thousand requests as well as in a million.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

import polars as pl

from tracescope.analysis.comparison.carriers import find_carriers
from tracescope.analysis.report import Carriers
from tracescope.analysis.rollups.carried import Requests, requests_of, together
from tracescope.analysis.rollups.where import Condition, carrying
from tracescope.engine.raw import raw_spans
from tracescope.engine.rollups import BUDGET, Budget
from tracescope.engine.slices import by_slice, source
from tracescope.errors import InsufficientDataError
from tracescope.periods import Period
from tracescope.schema import HOUR_NS
from tracescope.store import Snapshot, SpanStore

#: Spans of a period that are looked at, at most.
MOST_SPANS: Final = 200_000
#: Traces are drawn by their ids modulo this prime.
_DRAWN_OF: Final = 10_007
#: Hours that are read together.
_TOGETHER: Final = 24


@dataclass(frozen=True, slots=True)
class Asked:
    """Whose requests are looked at, and by which attributes.

    Attributes
    ----------
    environment
        ``deployment.environment.name``.
    keys
        Attributes looked at; all of few values if there are none.
    where
        Only traces whose spans carry these attributes.
    keep_entry
        Which entries take part, of service and operation; None for all.
    budget
        What slices of raw spans may take.
    """

    environment: str
    keys: tuple[str, ...] = ()
    where: tuple[Condition, ...] = ()
    keep_entry: Callable[[str, str], bool] | None = None
    budget: Budget = BUDGET


def carriers(store: SpanStore, periods: tuple[Period, Period], alpha: float, asked: Asked) -> Carriers:
    """Attribute values that carry the change between two periods.

    Parameters
    ----------
    store, periods
        What of what.
    alpha
        False discoveries allowed.
    asked
        See `Asked`.

    Raises
    ------
    InsufficientDataError
        Raw spans are gone.
    """

    def read(snapshot: Snapshot) -> tuple[list[Requests], list[str]]:
        sides: list[Requests] = []
        notes: list[str] = []
        for name, period in zip(("BASE", "HEAD"), periods, strict=True):
            count = raw_spans(snapshot, period)
            if not count:
                raise InsufficientDataError(
                    f"raw spans of {name} are gone, and --explain-by needs them",
                    "choose a later period; the setting retain_spans_days keeps more",
                )
            part = min(1.0, MOST_SPANS / count)
            if part < 1:
                notes.append(f"{part:.2g} of the traces of {name} were looked at, drawn by their ids")
            sides.append(_requests(store, snapshot, period, asked, part))
        return sides, notes

    (base, head), notes = store.reading(read)
    found = find_carriers(base, head, alpha)
    return replace(found, notes=(*notes, *found.notes))


def _requests(store: SpanStore, snapshot: Snapshot, period: Period, asked: Asked, part: float) -> Requests:
    first, last = period.start_ns // HOUR_NS, -(-period.end_ns // HOUR_NS)
    drawn = (pl.col("trace_hi") ^ pl.col("trace_lo")).abs() % _DRAWN_OF < part * _DRAWN_OF
    found: list[Requests] = []
    for begin in range(first, last, _TOGETHER):
        end = min(begin + _TOGETHER, last)
        inside = max(period.start_ns, begin * HOUR_NS), min(period.end_ns, end * HOUR_NS)
        spans = source(store, snapshot, begin, end).scan()
        if part < 1:
            spans = spans.filter(drawn)

        def work(rows: pl.DataFrame, inside: tuple[int, int] = inside) -> Requests:
            rows = carrying(rows, asked.where) if asked.where else rows
            return requests_of(rows, inside, asked.environment, asked.keys)

        found += by_slice(spans, asked.budget.memory_bytes, 1, work)
    whole = together(found)
    return whole if asked.keep_entry is None else whole.of_entries(asked.keep_entry)
