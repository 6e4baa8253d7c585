"""Rollups against their slow, obvious twin, on hundreds of traces of a kind at a time, row by row."""

from __future__ import annotations

import pytest
from drawn import Draw, anything, calls, drawn, messages, nested
from tables import check_rollups

KINDS: list[tuple[Draw, int]] = [(anything, 200), (messages, 200), (nested, 200), (calls, 60)]


@pytest.mark.parametrize(("draw", "traces"), KINDS, ids=[draw.__name__ for draw, _ in KINDS])
def test_rollups_are_those_of_the_twin(draw: Draw, traces: int) -> None:
    """Calls, times, failures, retries, exemplars and sketches of every path, entry and service."""
    check_rollups(drawn(draw, traces))
