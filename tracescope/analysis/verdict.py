"""The verdict: one state for the whole, its reasons, and what a reader should know of the data.

Source: design, sections 6 and 7.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from tracescope import schema
from tracescope.analysis import blocks as blocking
from tracescope.analysis.matched import Period, Unit
from tracescope.analysis.report import Edge

#: Units that could not be put together beyond this part are worth a word on every output.
INCOMPLETE_PART: Final = 0.2
#: A wall so near is worth a word of its own.
NEAR_WEEKS: Final = 12.0
#: ... and callees' spans that were lost, beyond this one.
LOST_PART: Final = 0.001


def data_notes(requests: Unit, base: Period, head: Period, matched: blocking.Matched) -> list[str]:
    """What a reader should know of the data before trusting the result."""
    notes: list[str] = []
    for name, side in (("base", requests.base), ("head", requests.head)):
        units = side.entries["units"].sum()
        part = side.entries["incomplete"].sum() / units if units else 0.0
        if part > INCOMPLETE_PART:
            notes.append(
                f"{part:.0%} of {name}'s requests are incomplete: their traces name spans that are not here"
            )
    if requests.lost_part > LOST_PART:
        notes.append(
            f"up to {requests.lost_part:.1%} of a call's spans lack their callee's; they count as the rest do"
        )
    kinds = [set(period.tables["entry_hours"]["threshold"].unique().to_list()) for period in (base, head)]
    if kinds[0] != kinds[1]:
        notes.append("the sampling probability changed between the periods; counts are weighted by it")
    elif kinds[0] == {schema.NO_THRESHOLD}:
        notes.append("no sampling probability in the traces: volumes are of sampled traces")
    fewest = min(matched.base.blocks, matched.head.blocks)
    if fewest < blocking.FEWEST_BLOCKS:
        notes.append(
            f"only {fewest} blocks of time to compare; {blocking.FEWEST_BLOCKS} are needed to tell "
            "change from chance"
        )
    return notes


def verdict(edges: Sequence[Edge], matched: blocking.Matched) -> tuple[str, tuple[str, ...]]:
    """State and reasons, from edges that grow significantly and the wall of each."""
    if min(matched.base.blocks, matched.head.blocks) < blocking.FEWEST_BLOCKS:
        return "insufficient data", ("too few blocks of time to tell change from chance",)
    worse = [edge for edge in edges if edge.significant and edge.credited_ms > 0]
    if not worse:
        return "growth-stable", ("no edge takes significantly more time than before",)
    reasons = tuple(f"{edge.name}: {edge.credited_ms:+.3g} ms per {edge.unit}" for edge in worse[:3])
    full = [edge for edge in worse if edge.weeks_to_wall == 0]
    if full:
        return "at the wall", (f"{full[0].name} has no headroom left at peak load", *reasons)
    near = [edge for edge in worse if edge.weeks_to_wall is not None and edge.weeks_to_wall <= NEAR_WEEKS]
    if near:
        soonest = min(near, key=lambda edge: edge.weeks_to_wall or 0.0)
        return "approaching", (
            f"{soonest.name} reaches its wall in {soonest.weeks_to_wall:.1f} weeks",
            *reasons,
        )
    return "drifting", reasons
