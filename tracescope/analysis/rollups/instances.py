"""How many instances of a service live: between any two instants, and for how much load each stands.

    a  |-----------|
    b  |-----|-- replaced by a rolling deploy
    c         |--------|            alive: overlap of their lives with the time asked for, over that time

An instance lives from its first to its last span, stretched by the mean gap between its spans, so that
few samples do not hide it; one that a rolling deploy replaces ends where the next begins.

Source: design, section 7 (live instances by overlapping life).
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

#: Spans of an instance, in the mean, from which on its life is known.
FEWEST_SPANS: Final = 20


@dataclass(frozen=True, slots=True)
class Lives:
    """When each instance of a service began and ended, in seconds from `origin_ns`, each in order."""

    origin_ns: int
    begin: Floats
    end: Floats
    spans: float

    @staticmethod
    def of(rows: pl.DataFrame) -> Lives:
        """From rows of ``service_hours`` of one service, at least one."""
        lives = rows.group_by("instance").agg(
            pl.col("first_ns").min(), pl.col("last_ns").max(), pl.col("spans").sum()
        )
        origin = int(lives["first_ns"].min())  # pyright: ignore[reportArgumentType]
        first, last = ((lives[name].to_numpy() - origin) / 1e9 for name in ("first_ns", "last_ns"))
        spans = lives["spans"].to_numpy()
        half = (last - first) / np.maximum(spans - 1, 1) / 2
        return Lives(origin, np.sort(first - half), np.sort(last + half), float(spans.mean()))

    @property
    def known(self) -> bool:
        """Whether there are spans enough to tell when instances live."""
        return self.spans >= FEWEST_SPANS

    def between(self, start_ns: Ints, end_ns: Ints) -> Floats:
        """Mean number alive in stretches of time ``[start_ns, end_ns)`` ``(n,)``."""
        start, end = ((at - self.origin_ns) / 1e9 for at in (start_ns, end_ns))
        return (self._lived(end) - self._lived(start)) / np.maximum(end - start, 1e-9)

    def _lived(self, until: Floats) -> Floats:
        """Seconds that all instances together have lived by each instant."""
        total = np.zeros(len(until))
        for sign, instants in ((1.0, self.begin), (-1.0, self.end)):
            before = np.concatenate([[0.0], np.cumsum(instants)])
            count = np.searchsorted(instants, until)
            total += sign * (count * until - before[count])
        return total


def fleets(service_hours: pl.DataFrame, services: Collection[str]) -> dict[str, Lives]:
    """Lives of the instances of some services, where resources name instances and spans are enough."""
    rows = service_hours.filter((pl.col("instance") != "") & pl.col("service").is_in(list(services)))
    parts = rows.partition_by("service", as_dict=True)
    found = {str(name): Lives.of(part) for (name,), part in parts.items()}
    return {name: lives for name, lives in found.items() if lives.known}
