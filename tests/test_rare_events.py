"""Rare calls: what few events can show, wherever in a period they lie."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import polars as pl
import pytest
from simulated import START_NS, call, query, serve, spans

from tracescope import schema
from tracescope.analysis.diff import diff
from tracescope.analysis.report import Edge, Report
from tracescope.analysis.rollups.period import PeriodRollups
from tracescope.analysis.rollups.process import process
from tracescope.engine.compare import slot_of
from tracescope.periods import Period

USUAL = serve("gateway", "GET /cart", 2.0, [query("pg/cart", "SELECT cart", 5.0)])
CHECKED = serve(
    "gateway", "GET /cart", 2.0, [query("pg/cart", "SELECT cart", 5.0), call("fraud", "POST /check", 8.0)]
)
#: The requests of two hours, a hundred in each, in the order in which they come.
REQUESTS = 100


def hour(number: int, made: pl.DataFrame) -> PeriodRollups:
    """Rollups of one hour, cut as finely as `diff` cuts it."""
    start, end = (START_NS + (number + k) * schema.HOUR_NS for k in (0, 1))
    slot = slot_of(Period(start, end, ""))
    return PeriodRollups(start, end, slot, "", process(made, slot_ns=slot).tables)


def compared(checked: Collection[int]) -> Report:
    """An hour in which nobody calls `fraud`, and one in which the requests with these numbers do."""

    def program(_: np.random.Generator, passed: float) -> object:
        return CHECKED if round(passed * REQUESTS) in checked else USUAL

    made = [
        spans(one, start_ns=START_NS + k * schema.HOUR_NS, hours=1, per_hour=REQUESTS, seed=k, jitter=0.2)  # type: ignore[arg-type]
        for k, one in enumerate((USUAL, program))
    ]
    return diff(hour(0, made[0]), hour(1, made[1]))


def fraud(report: Report) -> Edge:
    """Its new edge that carries most of the time."""
    return max((edge for edge in report.edges if "fraud" in edge.name), key=lambda edge: edge.credited_ms)


@pytest.mark.parametrize(
    "checked", [(98, 99), (97, 99), (95, 99), (49, 50), (0, 1), (20, 80), tuple(range(94, 100))]
)
def test_a_few_calls_are_a_few_calls_wherever_they_lie(checked: tuple[int, ...]) -> None:
    """Two calls, or six, among a hundred requests are no certainty, at the end no more than in the middle."""
    found = fraud(compared(checked))
    assert not found.significant
    assert found.q_value is not None
    assert found.q_value > 0.3
    assert found.credited_ms_ci is not None
    assert found.credited_ms_ci[0] < 0 < found.credited_ms_ci[1]


def test_calls_of_the_last_fifth_are_as_sure_as_as_many_spread_over_all() -> None:
    """Twenty calls show a new dependency, whether it was deployed late or is asked now and then."""
    late, spread = (fraud(compared(tuple(which))) for which in (range(80, 100), range(0, 100, 5)))
    for found in (late, spread):
        assert found.significant
        assert found.credited_ms == pytest.approx(1.6, rel=0.15)
    assert late.q_value is not None
    assert spread.q_value is not None
    assert late.q_value == pytest.approx(spread.q_value, rel=1.0)
