"""Whether two periods have enough in common to be compared, and what looks renamed between them.

What one period lacks is new or gone, and says nothing of growth; where nearly all of both is like
that, a comparison is of two systems, and no state of it is true.  A rename looks the same, so that
entries which look alike are told in pairs; they are not scored.

Source: design, section 6; Jaccard index and Ratcliff/Obershelp similarity of names (difflib).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Final

import polars as pl

from tracescope import schema
from tracescope.analysis.rollups.period import PeriodRollups
from tracescope.errors import IncomparableError

#: Periods of which no more than this part of either is in both are not compared.
FEWEST_IN_COMMON: Final = 0.1
#: An entry with less of its period's requests is not looked at for renames.
RENAMED_PART: Final = 0.01
#: So many entries of each period are looked at, most requests first.
RENAMED_AMONG: Final = 50
#: Entries at least so much alike look renamed, of 0 to 1.
LOOKS_RENAMED: Final = 0.6
#: Pairs and names that a message lists.
LISTED: Final = 5

Name = tuple[str, str]  # service, operation


@dataclass(frozen=True, slots=True)
class Renamed:
    """An entry of BASE that resembles one of HEAD, and their similarity from 0 to 1."""

    before: Name
    after: Name
    similarity: float

    def __str__(self) -> str:
        return f"{' '.join(self.before)} → {' '.join(self.after)}"


def check_overlap(base: PeriodRollups, head: PeriodRollups) -> list[str]:
    """What looks renamed between two periods, as notes.

    Raises
    ------
    IncomparableError
        Entries by their requests, or services by their spans, hardly overlap.
    """
    entries = _entries(base), _entries(head)
    pairs = _renamed(base, head, *entries)
    told = f"; these look renamed: {', '.join(map(str, pairs[:LISTED]))}" if pairs else ""
    for what, sides in (("entries", entries), ("services", (_services(base), _services(head)))):
        if _hardly_overlap(*sides):
            raise IncomparableError(
                f"incomparable: BASE and HEAD have hardly any {what} in common "
                f"(BASE: {_listed(sides[0])}; HEAD: {_listed(sides[1])}){told}",
                "choose two periods of one system, or `--env`; `tracescope graph PERIOD` shows what is there",
            )
    return [f"looks renamed: {pair}; told, not scored" for pair in pairs[:LISTED]]


def _entries(period: PeriodRollups) -> dict[Name, int]:
    """Requests by entry; units of any kind where there are none."""
    hours = period.tables["entry_hours"]
    requests = hours.filter(pl.col("unit") == schema.UNIT_REQUEST)
    found = (requests if requests["units"].sum() else hours).join(period.tables["entries"], on="entry_id")
    rows = found.group_by("service", "operation").agg(pl.col("units").sum())
    return {(service, operation): units for service, operation, units in rows.iter_rows() if units}


def _services(period: PeriodRollups) -> dict[Name, int]:
    """Spans by service."""
    if "service_hours" not in period.tables:
        return {}
    rows = period.tables["service_hours"].group_by("service").agg(pl.col("spans").sum())
    return {(service, ""): spans for service, spans in rows.iter_rows() if spans}


def _hardly_overlap(base: Mapping[Name, int], head: Mapping[Name, int]) -> bool:
    if not base or not head:
        return False
    parts = [sum(n for name, n in side.items() if name in base and name in head) / sum(side.values())
             for side in (base, head)]  # fmt: skip
    return max(parts) < FEWEST_IN_COMMON


def _listed(side: Mapping[Name, int]) -> str:
    names = sorted(side, key=lambda name: (-side[name], name))
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return ", ".join(" ".join(name).strip() for name in names[:LISTED]) + more


# -- renames -------------------------------------------------------------------------------------


def _renamed(
    base: PeriodRollups, head: PeriodRollups, before: Mapping[Name, int], after: Mapping[Name, int]
) -> list[Renamed]:
    """Pairs of similar entries that each exist in one period only, most similar first."""
    gone, new = _only(before, after), _only(after, before)
    if not gone or not new:
        return []
    below = _below(base, gone), _below(head, new)
    found = [
        Renamed(a, b, alike)
        for a in gone
        for b in new
        if (alike := _similarity(a, b, below[0].get(a, frozenset()), below[1].get(b, frozenset())))
        >= LOOKS_RENAMED
    ]
    found.sort(key=lambda pair: (-pair.similarity, pair.before, pair.after))
    taken: set[tuple[str, Name]] = set()
    out: list[Renamed] = []
    for pair in found:
        ends = {("before", pair.before), ("after", pair.after)}
        if not taken & ends:
            taken |= ends
            out.append(pair)
    return out


def _only(mine: Mapping[Name, int], other: Mapping[Name, int]) -> list[Name]:
    """Entries worth a look that one period has and the other lacks."""
    least = RENAMED_PART * sum(mine.values())
    names = [name for name, units in mine.items() if name not in other and units >= least]
    return sorted(names, key=lambda name: (-mine[name], name))[:RENAMED_AMONG]


def _below(period: PeriodRollups, entry_names: list[Name]) -> dict[Name, frozenset[tuple[str | None, ...]]]:
    """What each entry calls: kind, callee and operation of the edges below it."""
    names = pl.DataFrame(entry_names, schema=["service", "operation"], orient="row")
    entries = period.tables["entries"].join(names, on=["service", "operation"], how="semi")
    calls = period.tables["paths"].filter(pl.col("kind") != schema.EDGE_KINDS.index("self"))
    rows = calls.join(
        entries.select("entry_id", entry_service="service", entry="operation"), on="entry_id"
    ).select("entry_service", "entry", pl.col("kind").cast(pl.String), "callee", "operation")
    out: dict[Name, set[tuple[str | None, ...]]] = {}
    for service, entry, *edge in rows.iter_rows():
        out.setdefault((service, entry), set()).add(tuple(edge))
    return {name: frozenset(edges) for name, edges in out.items()}


def _similarity(
    a: Name, b: Name, below_a: frozenset[tuple[str | None, ...]], below_b: frozenset[tuple[str | None, ...]]
) -> float:
    """Similarity of two entries: the mean of that of their callees and of their names.

    Of entries that call nothing only names are left, and those of short routes are alike by chance: the
    service or the operation has to be the same then.
    """
    names = (_likeness(a[0], b[0]) + _likeness(a[1], b[1])) / 2
    if not below_a and not below_b:
        return names if a[0] == b[0] or a[1] == b[1] else 0.0
    return (names + len(below_a & below_b) / len(below_a | below_b)) / 2


def _likeness(a: str, b: str) -> float:
    return SequenceMatcher(None, a, b, autojunk=False).ratio()
