"""Reading a latency sketch: bins and midpoints by the definition of an exponential histogram."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tracescope.analysis.statistics.sketch import ZERO_BIN, bin_of, midpoint_of


@given(st.lists(st.integers(1, 2**62 + 2**61), min_size=1, max_size=20))
def test_a_value_lies_in_its_bin_between_two_powers_of_a_sixteenth(values: list[int]) -> None:
    """Above the lower edge and at most at the upper one; edges within rounding, powers of two exactly."""
    for value, number in zip(values, bin_of(np.array(values, np.int64)).tolist(), strict=True):
        assert math.log2(value) <= (number + 1) / 16 * (1 + 1e-12)
        assert math.log2(value) >= number / 16 * (1 - 1e-12)


def test_a_power_of_two_is_the_last_of_its_bin() -> None:
    """At every power, one less and one more; where a float rounds up, too."""
    powers = [2**k for k in range(63)]
    assert bin_of(np.array(powers, np.int64)).tolist() == [16 * k - 1 for k in range(63)]
    above = np.array([power + 1 for power in powers[5:]], np.int64)
    assert bin_of(above).tolist() == [16 * k for k in range(5, 63)]
    below = np.array([power - 1 for power in powers[5:]], np.int64)
    assert bin_of(below).tolist() == [16 * k - 1 for k in range(5, 63)]
    assert bin_of(np.array([2**63 - 1], np.int64)).tolist() == [16 * 63 - 1]
    assert bin_of(np.array([3, 5, 7, 1000], np.int64)).tolist() == [25, 37, 44, 159]


def test_nothing_has_a_bin_of_its_own() -> None:
    assert bin_of(np.array([0, -5, 1], np.int64)).tolist() == [ZERO_BIN, ZERO_BIN, -1]
    assert ZERO_BIN == -16
    assert midpoint_of(np.array([ZERO_BIN], np.int16)).tolist() == [0.0]


def test_a_midpoint_is_the_geometric_mean_of_its_edges() -> None:
    """And lies in its own bin."""
    bins = np.arange(-1, 16 * 40, dtype=np.int16)
    exact = [math.sqrt(2.0 ** (one / 16) * 2.0 ** ((one + 1) / 16)) for one in bins.tolist()]
    np.testing.assert_allclose(midpoint_of(bins), exact, rtol=1e-12)
    large = bins[bins > 16 * 10]
    assert (bin_of(midpoint_of(large).round().astype(np.int64)) == large).all()


def test_values_at_the_edge_of_a_bin_are_told_as_the_c_library_tells_them() -> None:
    """Integers nearest to an edge, of every octave: in the bin that Python's logarithm gives."""
    edges = np.array([round(2.0 ** (k / 16)) + d for k in range(160, 16 * 50) for d in (-1, 0, 1)], np.int64)
    exact = []
    for value in edges.tolist():
        octave = value.bit_length() - 1
        part = math.log2(value / 2**octave) * 16
        exact.append(octave * 16 + (math.ceil(part) - 1 if value != 2**octave else -1))
    assert bin_of(edges).tolist() == exact
