"""Distributions of ours against SciPy's."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import special

from tracescope.analysis.statistics import distributions as ours

Floats = NDArray[np.float64]
DOF = np.array([0.7, 1, 1.5, 2, 3, 4.5, 7, 11.3, 30, 100, 1e3, 12_345.6, 1e6, 1e9, np.inf])


@given(st.floats(0.2, 1e7), st.floats(-1e6, 1e6))
def test_the_distribution_of_students_t_is_scipys(dof: float, t: float) -> None:
    """To seven digits, in both tails, for whole and for broken degrees of freedom."""
    assert float(ours.student_cdf(dof, t)) == pytest.approx(
        float(special.stdtr(dof, t)), rel=1e-8, abs=1e-300
    )


@pytest.mark.parametrize("t", [-40.0, -8.0, -3.0, -1.0, -1e-9, 0.0, 0.5, 2.0, 60.0, -math.inf, math.inf])
def test_of_many_at_once_every_probability_is_its_own(t: float) -> None:
    """Values broadcast; one that takes many terms changes none of the others."""
    many = ours.student_cdf(DOF, t)
    np.testing.assert_allclose(many, special.stdtr(DOF, t), rtol=1e-7, atol=1e-200)
    np.testing.assert_allclose(many, [float(ours.student_cdf(dof, t)) for dof in DOF], rtol=1e-9)


def test_what_is_not_a_number_stays_so() -> None:
    """No freedom, no probability; an unknown value has none either."""
    assert np.isnan(ours.student_cdf(np.array([0.0, -1.0, 3.0]), np.array([1.0, 1.0, np.nan]))).all()
    assert np.isnan(ours.student_quantile(np.array([0.0, np.nan]), 0.975)).all()


@pytest.mark.parametrize("probability", [0.55, 0.8, 0.9, 0.975, 0.99, 0.9999])
def test_quantiles_of_students_t_are_scipys(probability: float) -> None:
    """To eight digits, from the heaviest tails to the normal's."""
    np.testing.assert_allclose(
        ours.student_quantile(DOF, probability), special.stdtrit(DOF, probability), rtol=1e-8
    )
    assert float(ours.student_quantile(3.0, probability)) == pytest.approx(
        float(special.stdtrit(3.0, probability)), rel=1e-8
    )


@given(st.floats(1e-12, 1 - 1e-12))
def test_quantiles_of_the_normal_are_scipys(probability: float) -> None:
    """To twelve digits; without end at both ends."""
    assert ours.normal_quantile(probability) == pytest.approx(
        float(special.ndtri(probability)), rel=1e-12, abs=1e-14
    )
    assert ours.normal_quantile(0.0) == -math.inf
    assert ours.normal_quantile(1.0) == math.inf


@given(st.integers(0, 3000), st.integers(0, 3000))
def test_tails_of_the_binomial_are_scipys(least: int, trials: int) -> None:
    """Counts of any size, none and all among them."""
    theirs = 1.0 if least == 0 else float(special.bdtrc(least - 1, trials, 0.5)) if least <= trials else 0.0
    assert ours.binomial_tail(least, trials) == pytest.approx(theirs, rel=1e-9, abs=1e-200)


@given(st.integers(1, 40), st.integers(1, 40), st.data())
def test_fishers_exact_test_is_the_sum_of_all_ways_to_draw(
    of_first: int, of_second: int, data: st.DataObject
) -> None:
    """Counted out: how many draws of the marked ones have so few among the second."""
    first = data.draw(st.integers(0, of_first))
    second = data.draw(st.integers(0, of_second))
    marked = first + second
    ways = sum(
        math.comb(of_second, k) * math.comb(of_first, marked - k) for k in range(second + 1) if k <= marked
    )
    told = ours.hypergeometric_tail(first, of_first, second, of_second)
    assert told == pytest.approx(ways / math.comb(of_first + of_second, marked), rel=1e-9)


def test_fishers_exact_test_of_millions_is_the_normals_and_ends_soon() -> None:
    """Terms fall away from the middle: of ten million ways some ten thousand matter."""
    first, second, of = 10_004_000, 9_996_000, 20_000_000
    told = ours.hypergeometric_tail(first, of, second, of)
    spread = math.sqrt(of * 0.5 * 0.5 * of / (2 * of - 1))
    assert told == pytest.approx(float(special.ndtr((second + 0.5 - of / 2) / spread)), rel=0.02)


def test_a_quantile_takes_a_few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Newton's steps square what is missing, from the normal's quantile on, once the tail is reached."""
    asked: list[int] = []
    known = ours.student_cdf

    def counted(*values: Floats | float) -> Floats:
        asked.append(1)
        return known(*values)

    monkeypatch.setattr(ours, "student_cdf", counted)
    for dof, most in ((3.21, 12), (17.3, 8), (2345.6, 5)):
        asked.clear()
        ours.student_quantile(np.array([dof]), 0.9751)
        assert len(asked) <= most, (dof, len(asked))


@settings(max_examples=60)
@given(st.floats(0.05, 2e4), st.floats(0.05, 2e4), st.just(0.0) | st.floats(1e-90, 1.0))
def test_the_incomplete_beta_function_is_scipys(a: float, b: float, x: float) -> None:
    """Whichever side its fraction is taken from, and at both ends."""
    found = float(ours.incomplete_beta(np.array([a]), np.array([b]), np.array([x]))[0])
    assert found == pytest.approx(float(special.betainc(a, b, x)), rel=1e-8, abs=1e-250)


def test_answers_that_are_remembered_are_those_of_the_same_question() -> None:
    """Of other arrays, other probabilities and other shapes in turn; what one asks for is its own copy."""
    asked = [
        (np.array(dof), p) for dof in ([2.0, 5.0], [5.0, 2.0], [[2.0], [5.0]], 2.0) for p in (0.8, 0.975)
    ]
    for _ in range(2):
        for dof, p in asked:
            found = ours.student_quantile(dof, p)
            assert found.shape == dof.shape
            np.testing.assert_allclose(found, special.stdtrit(dof, p), rtol=1e-8)
            found += 1.0  # nobody else's
