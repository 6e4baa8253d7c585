"""Rows of entries, worked out by hand: their means, weights, quantiles and what their tests say."""

from __future__ import annotations

import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest
from rolled import HALF, rolled

from tracescope import schema
from tracescope.analysis.comparison.decompose import Tree
from tracescope.analysis.comparison.entries import _tested, adjusted, entry_rows, quantiles
from tracescope.analysis.comparison.entry_tests import EntryTests
from tracescope.analysis.comparison.matched import Side, Unit
from tracescope.analysis.report import Entry, State
from tracescope.analysis.statistics.sketch import PER_OCTAVE

MS = 1_000_000
NOTHING = np.zeros(0)


def bin_ms(at: int) -> float:
    return 2 ** ((at + 0.5) / PER_OCTAVE) / MS


def judged(**more: list[float]) -> EntryTests:
    """Of two entries, and of all of them last."""
    usual = {
        "rise_ms": [2.0, -1.0, 1.0], "reach_ms": [0.5, 0.25, 0.5], "detectable_ms": [1.5, 0.75, 1.0],
        "mean_p": [0.01, 0.3, 0.2], "rank_p": [0.2, 0.02, 0.2], "slower": [0.75, 0.5, 0.5],
    }  # fmt: skip
    made = {name: np.array(more.get(name, values)) for name, values in usual.items()}
    return EntryTests(**made, seen=np.array(more.get("seen", [[90.0, 10.0, 100.0], [80.0, 60.0, 140.0]])))


def rows(base: dict[str, list[float]], head: dict[str, list[float]], **more: object) -> list[Entry]:
    """Of ``a GET`` and ``b PUT`` with these sums of either period, in two blocks."""
    sides = []
    for given in (base, head):
        usual = {"units": [0.0, 0.0], "clock_ns": [0.0, 0.0], "errors": [0.0, 0.0], "failed_ns": [0.0, 0.0]}
        values = {name: np.array([row, row]) / 2 for name, row in {**usual, **given}.items()}
        sides.append(Side({}, values, NOTHING, NOTHING))
    names = pl.DataFrame({"entry_id": [7, 9], "service": ["a", "b"], "operation": ["GET", "PUT"]})
    none = np.zeros(0, np.int64)
    unit = Unit(0, names.with_row_index("index"), pl.DataFrame(), Tree(none, none, none), *sides, 0.0)
    split = SimpleNamespace(mix=np.array(more.get("mix", [0.0, 0.0])))
    sketches = [
        {"entry_id": 7, "bin": 100, "count": 95}, {"entry_id": 7, "bin": 200, "count": 5},
    ]  # fmt: skip
    periods = [
        replace(rolled(entry_sketches=part), rules=frozenset({rule}))
        for part, rule in zip(([], sketches), more.get("rules", (schema.RULES,) * 2), strict=True)  # type: ignore[arg-type]
    ]
    return entry_rows(unit, split, more.get("tests", judged()), *periods)  # type: ignore[arg-type]


BASE = {"units": [60.0, 20.0], "clock_ns": [600.0 * MS, 800.0 * MS]}
HEAD = {"units": [30.0, 90.0], "clock_ns": [450.0 * MS, 2700.0 * MS]}


def test_a_row_has_means_of_its_own_units_and_weights_among_all() -> None:
    """Busiest in head first; a quantile where there is a sketch."""
    b, a = rows(BASE, HEAD)
    assert (a.unit, a.service, a.operation, b.service, b.operation) == ("request", "a", "GET", "b", "PUT")
    assert (a.units_base, a.units_head, b.units_base, b.units_head) == (60.0, 30.0, 20.0, 90.0)
    assert (a.ms_base, a.ms_head, b.ms_base, b.ms_head) == pytest.approx((10.0, 15.0, 40.0, 30.0))
    assert (a.weight_base, a.weight_head, b.weight_base, b.weight_head) == (0.75, 0.25, 0.25, 0.75)
    assert (a.p95_base_ms, a.p95_head_ms, b.p95_head_ms) == (None, pytest.approx(bin_ms(100)), None)
    assert (a.state, b.state) == (State.COMPARED, State.COMPARED)
    assert [one.service for one in rows(HEAD, {**BASE, "units": [20.0, 20.0]})] == ["a", "b"]
    near = {**BASE, "units": [20.0, 20.0 * (1 + 1e-14)]}
    assert [one.service for one in rows(HEAD, near)] == ["a", "b"]  # that is rounding


def test_the_shift_of_an_entry_is_shown_against_the_mean_of_all() -> None:
    """Mix of weights at the entry's own clock, less what the same shift is worth at that of all."""
    b, a = rows(BASE, HEAD, mix=[-6.25, 17.5])
    middle = (1400 / 80 + 3150 / 120) / 2
    assert a.mix_ms == pytest.approx(-6.25 + 0.5 * middle)
    assert b.mix_ms == pytest.approx(17.5 - 0.5 * middle)


def test_units_that_succeed_have_a_mean_where_failures_were_measured() -> None:
    """Of clock and units less those that failed; none where all did."""
    failed = {"errors": [10.0, 20.0], "failed_ns": [100.0 * MS, 800.0 * MS]}
    b, a = rows({**BASE, **failed}, HEAD)
    assert (a.ok_ms_base, b.ok_ms_base) == (pytest.approx(500 / 50), None)
    assert (a.ok_ms_head, b.ok_ms_head) == pytest.approx((15.0, 30.0))
    b, a = rows(BASE, HEAD, rules=(schema.FAILURES_SINCE - 1, schema.FAILURES_SINCE))
    assert (a.ok_ms_base, a.ok_ms_head) == (None, pytest.approx(15.0))


@pytest.mark.parametrize(("units", "state"), [(10.0, State.COMPARED), (9.0, State.INSUFFICIENT)])
def test_ten_units_of_either_period_can_be_compared(units: float, state: State) -> None:
    few = {"units": [units, 50.0], "clock_ns": [1.0 * MS, 1.0 * MS]}
    for pair in ((BASE, few), (few, HEAD)):
        assert next(one for one in rows(*pair) if one.service == "a").state is state


def test_a_period_without_units_of_an_entry_has_no_mean_of_it_and_no_weight() -> None:
    none = {"units": [0.0, 90.0], "clock_ns": [0.0, 900.0 * MS]}
    a = next(one for one in rows(none, HEAD) if one.service == "a")
    assert (a.ms_base, a.weight_base, a.ok_ms_base, a.state) == (None, 0.0, None, State.INSUFFICIENT)
    made = rows({}, HEAD)
    assert [(one.ms_base, one.weight_base, one.mix_ms) for one in made] == [
        (None, 0.0, pytest.approx(-one.weight_head * 3150 / 120 / 2)) for one in made
    ]


def test_what_tests_say_of_an_entry() -> None:
    """Twice the smaller of two one-sided p-values for a rise, 1 for a fall; an interval of its reach."""
    assert _tested(judged(), 0) == {
        "rise_ms": 2.0, "rise_ms_ci": (1.5, 2.5), "detectable_ms": 1.5, "slower": 0.75,
        "q_value": pytest.approx(0.02), "units_seen": 80.0,
    }  # fmt: skip
    assert _tested(judged(rise_ms=[-2.0, 1.0, 0.0]), 0)["q_value"] == 1.0
    assert _tested(judged(rise_ms=[0.0, 1.0, 0.0]), 0)["q_value"] == 1.0
    assert _tested(judged(rise_ms=[0.5, 1.0, 0.0]), 1)["q_value"] == pytest.approx(0.04)
    assert _tested(judged(mean_p=[0.7, 0.3, 0.2], rank_p=[0.8, 0.3, 0.2]), 0)["q_value"] == 1.0
    unknown = _tested(judged(reach_ms=[math.inf] * 3), 0)
    assert (unknown["rise_ms"], unknown["rise_ms_ci"], unknown["detectable_ms"]) == (2.0, None, None)
    assert _tested(judged(seen=[[0.0] * 3, [9.0] * 3]), 0) == {"units_seen": 0.0}
    assert _tested(judged(seen=[[0.5] * 3, [9.0] * 3]), 0)["units_seen"] == 0.5


def test_p_values_are_adjusted_over_the_entries_of_which_something_is_known() -> None:
    """Benjamini and Hochberg, in place."""
    b, a = rows(BASE, HEAD)
    made = adjusted([replace(a, q_value=0.04), replace(b, q_value=None), replace(b, q_value=0.01)])
    assert [one.q_value for one in made] == [0.04, None, 0.02]
    assert [one.service for one in made] == ["a", "b", "b"]
    assert adjusted([]) == []


def test_the_quantile_of_an_entry_is_the_first_bin_that_reaches_nineteen_of_twenty() -> None:
    """Of its kind of unit, over all hours, each counted as often as it stands for."""
    sketches = [
        {"entry_id": 7, "bin": 10, "count": 19, "slot": 3}, {"entry_id": 7, "bin": 20, "count": 1},
        {"entry_id": 8, "bin": 10, "count": 18}, {"entry_id": 8, "bin": 20, "count": 1},
        {"entry_id": 8, "bin": 15, "count": 1}, {"entry_id": 8, "bin": 30, "count": 99, "unit": 1},
        {"entry_id": 9, "bin": 10, "count": 19}, {"entry_id": 9, "bin": 20, "count": 1, "threshold": HALF},
    ]  # fmt: skip
    found = quantiles(rolled(entry_sketches=sketches), schema.UNIT_REQUEST)
    assert found == pytest.approx({7: bin_ms(10), 8: bin_ms(15), 9: bin_ms(20)})
    assert quantiles(rolled(), schema.UNIT_REQUEST) == {}
