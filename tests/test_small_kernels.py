"""Small kernels against plain Python: sums by key, and bins of durations."""

from __future__ import annotations

import math
from collections import defaultdict

import numpy as np
import pytest

from tracescope.kernels.sketch import PER_OCTAVE, ZERO_BIN, bin_of
from tracescope.kernels.tally import hash4, sum_by, tally


def added_up(keys: np.ndarray, measures: np.ndarray) -> tuple[list[list[int]], list[list[int]], list[int]]:
    """Rows by first appearance, the slow way."""
    sums: dict[tuple[int, ...], list[int]] = defaultdict(lambda: [0] * measures.shape[1])
    number: dict[tuple[int, ...], int] = {}
    of: list[int] = []
    for key, row in zip(map(tuple, keys.tolist()), measures.tolist(), strict=True):
        sums[key] = [a + b for a, b in zip(sums[key], row, strict=True)]
        of.append(number.setdefault(key, len(number)))
    return [list(key) for key in sums], list(sums.values()), of


@pytest.mark.parametrize(
    ("rows", "distinct"),
    [(0, 1), (1, 1), (300, 7), (255, 10**6), (256, 10**6), (257, 10**6), (5000, 3000)],
)
def test_rows_with_one_key_are_added_up_by_first_appearance(rows: int, distinct: int) -> None:
    """At the room that there is for 256 keys, and far beyond."""
    rng = np.random.default_rng(rows)
    each = rng.integers(0, distinct, rows)
    keys = np.stack([each % 11, -each, each // 3, each * 2**40], axis=1).astype(np.int64)
    measures = rng.integers(-(10**12), 10**12, (rows, 3))
    found = tally(keys, measures)
    wanted = added_up(keys, measures)
    assert [part.tolist() for part in found] == [*wanted]


@pytest.mark.parametrize("column", range(4))
def test_keys_that_differ_in_one_number_are_different(column: int) -> None:
    """Whichever of the four, by one or by a high bit, and with signs."""
    keys = np.zeros((5, 4), np.int64)
    keys[:, column] = [0, 1, -1, 2**62, 2**32]
    distinct, _, number = tally(keys, np.ones((5, 1), np.int64))
    assert number.tolist() == [0, 1, 2, 3, 4]
    assert distinct.tolist() == keys.tolist()


def test_hashes_spread_over_the_low_bits() -> None:
    """Small neighbouring numbers fill a table of twice their number about as chance would."""
    from tracescope.kernels import kernel

    @kernel
    def slots(mask):  # type: ignore[no-untyped-def]
        out = np.zeros(4096, np.int64)
        for k in range(4096):
            out[k] = hash4(k % 8, k // 8 % 8, k // 64 % 8, k // 512) & mask
        return out

    used = len(np.unique(slots(np.uint64(8191))))
    assert used > 0.9 * 8192 * (1 - math.exp(-0.5))


def test_values_are_added_up_by_their_index() -> None:
    index = np.array([2, 0, 2, 5])
    assert sum_by(index, np.array([10, 1, -3, 7]), 7).tolist() == [1, 0, 7, 0, 0, 7, 0]


# -- bins -------------------------------------------------------------------------------------------


def test_a_bin_holds_what_lies_above_its_lower_bound_and_up_to_its_upper() -> None:
    """(2 ** (i / 16), 2 ** ((i + 1) / 16)], by whole numbers around every bound up to some seconds."""
    assert PER_OCTAVE == 16
    values = sorted({
        value for i in range(16, 16 * 33) for value in (int(2 ** (i / 16)), int(2 ** (i / 16)) + 1)
    })  # fmt: skip
    bins = bin_of(np.array(values, np.int64)).tolist()
    for value, found in zip(values, bins, strict=True):
        # exact: value ** 16 against powers of two
        assert 2**found < value**16 <= 2 ** (found + 1), value
    assert bins == sorted(bins)


def test_nothing_and_the_largest_durations_have_a_bin() -> None:
    """Zero and below share one; powers of two end theirs, up to the last."""
    values = np.array([0, -5, -(2**62), 1, 2, 3, 2**62, 2**62 + 1, 2**63 - 1], np.int64)
    zero, below, far, one, two, three, *large = bin_of(values).tolist()
    assert zero == below == far == ZERO_BIN == -16
    assert (one, two, three) == (-1, 15, 25)
    assert large == [62 * 16 - 1, 62 * 16, 62 * 16 + 15]
    for power in range(5, 62):
        exact = bin_of(np.array([2**power, 2**power + 1], np.int64)).tolist()
        assert exact == [16 * power - 1, 16 * power]


def test_what_a_double_rounds_up_to_a_power_of_two_stays_below_it() -> None:
    """From 2 ** 53 on the number before a power of two is that power as a double, and is in its last bin."""
    powers = range(50, 63)
    below = bin_of(np.array([2**power - 1 for power in powers], np.int64)).tolist()
    assert below == [16 * power - 1 for power in powers]
