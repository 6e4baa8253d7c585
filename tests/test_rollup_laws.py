"""Rollups against their slow, obvious twin, on hundreds of traces of a kind at a time, row by row."""

from __future__ import annotations

import polars as pl
import pytest
from builders import frame, tree
from drawn import Draw, anything, calls, drawn, messages, nested
from tables import check_rollups

from tracescope import schema
from tracescope.analysis.rollups.process import process

KINDS: list[tuple[Draw, int]] = [(anything, 200), (messages, 200), (nested, 200), (calls, 60)]


@pytest.mark.parametrize(("draw", "traces"), KINDS, ids=[draw.__name__ for draw, _ in KINDS])
def test_rollups_are_those_of_the_twin(draw: Draw, traces: int) -> None:
    """Calls, times, failures, retries, exemplars and sketches of every path, entry and service."""
    check_rollups(drawn(draw, traces))


def test_a_question_to_a_database_that_a_layer_below_asks_again_is_one_call() -> None:
    """Of the same edge, directly inside; what asks it again later is another one."""
    ask = "a {} client db peer=pg/x op='SELECT y'"
    spans = tree(
        f"a 0-100 server\n  {ask.format('10-90')}\n    {ask.format('20-80')}\n  {ask.format('91-95')}"
    )
    check_rollups(spans)
    tables = process(frame(spans)).tables
    questions = tables["paths"].filter(pl.col("kind") == schema.EDGE_DB)
    assert tables["path_hours"].join(questions, on="path_id", how="semi")["calls"].to_list() == [2]
