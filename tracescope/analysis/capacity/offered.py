"""Offered work: what a resource is asked to do, in calls times the time that each takes in quiet hours.

Calls alone are no load: an export that reads ten times as much as before keeps a database as busy as ten
exports did.  So a call counts for as many as the work that it brings, measured where nothing waits:

    load = sum over edges that reach the resource of calls * quiet-hour time / mean quiet-hour time

What an edge's calls take in quiet hours is measured once for each stretch of time, and changes from the first
stretch only where that is beyond doubt and beyond what waiting explains: the edge of the resource whose
time changed least shows how much longer, or how many times as long, everybody waits.  An edge that got slower
itself is no load for itself: that is its growth, which the load model has a term for.

Source: design, section 7; Cochran, "Sampling Techniques", 1977, section 6.4 (error of a ratio); Kish, "Survey
Sampling", 1965, section 11.7 (effective number of unequal calls).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final, NamedTuple

import polars as pl

#: The part of slots that is quiet, and calls that must lie in them, else all slots count.
QUIET_PART: Final = 0.3
QUIET_CALLS: Final = 150
#: Quiet-hour times that differ by less than this factor, or by so many standard errors, are the same.
HEAVIER: Final = 1.3
CLEARLY: Final = 4.0
#: A resource that is asked for so much more has an aggressor, if one edge brings more than this part of it.
LOUD: Final = 0.15
MOST: Final = 0.5


class Quiet(NamedTuple):
    """Time of a call in quiet hours, in seconds, and its relative standard error."""

    seconds: float
    error: float


def ratio_error(off: float, total: float, slots: int) -> float:
    """Relative standard error of a call's mean time over slots; infinite of a single one.

    Parameters
    ----------
    off
        Sum over slots of the squares by which their time misses the mean times their calls.
    total
        Time in all slots, in the unit whose square `off` has.
    slots
        How many there are.
    """
    return math.sqrt(off * slots / (slots - 1)) / total if slots > 1 else math.inf


class Asked(NamedTuple):
    """What one edge asks of a resource: calls a second, and seconds that each counts for."""

    per_s: float
    seconds: float

    @property
    def work(self) -> float:
        """Seconds of work a second."""
        return self.per_s * self.seconds


def quiet_times(counted: pl.DataFrame) -> dict[tuple[str, int, int], Quiet]:
    """Quiet-hour time of every edge in every stretch.

    Parameters
    ----------
    counted
        ``resource, stretch, slot, edge_id, arrived, own_ns``, the edges that a resource's load is made of.

    Returns
    -------
    dict
        By resource, edge and stretch; without those that made no calls.
    """
    # a slot is as busy as its calls make it if each takes what it does on the average; column by column, as a
    # window within another would see the other's rows alone
    mean = pl.col("own_ns").sum().over("edge_id") / pl.col("arrived").sum().over("edge_id")
    work = pl.col("work").sum().over("resource", "slot", "stretch")
    order = pl.col("work").rank("dense").over("resource", "stretch").alias("order")
    quiet = pl.col("order") <= QUIET_PART * pl.col("order").max().over("resource", "stretch")
    rows = (
        counted.with_columns((pl.col("arrived") * mean).alias("work"))
        .with_columns(work).with_columns(order).with_columns(quiet.alias("quiet"))
    )  # fmt: skip
    keys = ("resource", "edge_id", "stretch")
    enough = (pl.col("arrived") * pl.col("quiet")).sum().over(keys) >= QUIET_CALLS
    kept = rows.filter(pl.col("quiet") | ~enough).sort(*keys, "slot")
    ratio = pl.col("own_ns").sum().over(keys) / pl.col("arrived").sum().over(keys)
    sums = (
        kept.with_columns(((pl.col("own_ns") - ratio * pl.col("arrived")) ** 2).alias("off"))
        .group_by(keys, maintain_order=True)
        .agg(pl.col("arrived", "own_ns", "off").sum(), pl.len().alias("slots"))
    )
    out: dict[tuple[str, int, int], Quiet] = {}
    for resource, edge, stretch, arrived, own_ns, off, slots in sums.iter_rows():
        if arrived > 0 and own_ns > 0:
            quiet = Quiet(own_ns / arrived / 1e9, ratio_error(off, own_ns, slots))
            out[str(resource), int(edge), int(stretch)] = quiet
    return out


def call_seconds(times: Mapping[tuple[str, int, int], Quiet]) -> dict[tuple[str, int, int], float]:
    """Seconds that a call counts for in every stretch: those of its first one, unless it clearly got heavier.

    Parameters
    ----------
    times
        Of `quiet_times`.
    """
    first: dict[tuple[str, int], int] = {}
    together: dict[tuple[str, int], list[int]] = {}
    for resource, edge, stretch in sorted(times):
        first[resource, edge] = min(first.get((resource, edge), stretch), stretch)
        together.setdefault((resource, stretch), []).append(edge)
    out: dict[tuple[str, int, int], float] = {}
    for (resource, stretch), edges in together.items():
        pairs = {
            edge: (times[resource, edge, first[resource, edge]], times[resource, edge, stretch])
            for edge in edges
        }
        seen = {edge: pair for edge, pair in pairs.items() if first[resource, edge] < stretch}
        least = min(seen.values(), key=_changed, default=None)
        for edge, (before, now) in pairs.items():
            times_the_work = 1.0
            if least is not None and edge in seen:
                times_the_work = _times_the_work(before, now, least)
            out[resource, edge, stretch] = before.seconds * times_the_work
    return out


def _changed(pair: tuple[Quiet, Quiet]) -> float:
    """By how much a call's time may have changed."""
    before, now = pair
    return abs(math.log(now.seconds / before.seconds)) + 2 * math.hypot(before.error, now.error)


def _times_the_work(before: Quiet, now: Quiet, least: tuple[Quiet, Quiet]) -> float:
    """How many times the work a call is: 1 unless its time changed by more than its waiting, and than chance.

    What waits takes as many times as long as the one that changed least, or as much longer, or in between.
    """
    was, is_now = least
    alike = before.seconds * is_now.seconds / was.seconds, before.seconds + is_now.seconds - was.seconds
    expected = min(max(now.seconds, min(alike)), max(alike))
    change = now.seconds / expected
    error = math.sqrt(before.error**2 + now.error**2 + was.error**2 + is_now.error**2)
    return change if abs(math.log(change)) > max(CLEARLY * error, math.log(HEAVIER)) else 1.0


class Aggressor(NamedTuple):
    """The other edge that brings most of a resource's added load.

    ``more`` is the rise of all the work asked of the resource, ``part`` what of that rise is this edge's;
    ``calls`` and ``each`` are its factors: how many more calls, and how much more work each; infinite where
    it asked for nothing before.
    """

    edge: int
    more: float
    part: float
    calls: float
    each: float

    def words(self, name: str) -> str:
        """What the victim's page says of it."""
        how = [
            text
            for factor, text in (
                (self.calls, f"{self.calls:.3g} times the calls"),
                (self.each, f"{self.each:.3g} times the work in each call"),
            )
            if factor >= HEAVIER
        ]
        did = "it is new there" if math.isinf(self.calls) else " and ".join(how) or "more of the same calls"
        part = "all" if self.part > 0.95 else f"{self.part:.0%}"
        return f"the work asked of what it calls rose by {self.more:.0%}, and {part} of that is {name}: {did}"


def aggressor(victim: int, before: Mapping[int, Asked], now: Mapping[int, Asked]) -> Aggressor | None:
    """The other edge that brings more than half of what a resource is asked for beyond before.

    Parameters
    ----------
    victim
        ``edge_id`` of the edge that waits for the resource.
    before, now
        What every edge asks of the resource.

    Returns
    -------
    Aggressor or None
        None where the resource is asked for less than `LOUD` more, or most of it by the victim or by nobody
        in particular.
    """
    was = sum(asked.work for asked in before.values())
    rises = {
        edge: asked.work - (before[edge].work if edge in before else 0.0)
        for edge, asked in sorted(now.items())
    }
    added = sum(asked.work for asked in now.values()) - was
    others = [edge for edge in rises if edge != victim]
    if not others or was <= 0 or added < LOUD * was:
        return None
    most = max(others, key=lambda edge: rises[edge])
    part = rises[most] / added
    if part <= MOST:
        return None
    if most not in before:
        return Aggressor(most, added / was, min(part, 1.0), math.inf, 1.0)
    calls = now[most].per_s / before[most].per_s
    return Aggressor(most, added / was, min(part, 1.0), calls, now[most].seconds / before[most].seconds)
